"""``claw export`` and ``claw blame`` on notebooks as a session leaves them."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest

from claw_kernel.messages import Approval, ImageBlock, Step, TextBlock, ToolCall, ToolResult, TurnRecord
from claw_kernel.session import write_record
from claw_kernel.session.record import MIME_TYPE

CODE = "means = {kind: sum(found) / len(found) for kind, found in groups.items()}\nprint(object())\nmeans"
HOSTILE = (
    "See ![x](https://evil.example/p.png?q=1) <img src=https://evil.example/2> [a](javascript:alert(1)) <script>1</script>\n\n"
    "```python\nprint('a < b')\n```"
)


def python(call_id: str, code: str, text: str, *, is_error: bool = False) -> Step:
    call = ToolCall(call_id, "Python", {"code": code})
    return Step((call,), (ToolResult(call_id, (TextBlock(text),), is_error=is_error),), stop="tool_use")


def record(number: int, prompt: str, *steps: Step) -> dict:
    return write_record(
        TurnRecord(
            turn_id=f"t_{number}",
            session_id="s_1",
            prompt=prompt,
            content=(TextBlock(prompt),),
            model="anthropic/claude-test",
            started_at=f"2026-11-21T10:00:0{number}.000Z",
            steps=steps,
            approvals=(Approval("c_2", "ask", "no rule allows it", "", "allow_once", "widget"),),
            stop_reason="end_turn",
            cell_id=f"cell{number}",
            parent_id=f"t_{number - 2}" if number > 2 else "",
        )
    )


@pytest.fixture
def notebook(claw) -> Path:
    new = nbformat.v4
    shown = [new.new_output("execute_result", {"text/plain": "2"}, execution_count=3)]
    pixel = ImageBlock("image/png", base64.b64encode(b"\x89PNG\r\n\x1a\n").decode())
    look = Step((ToolCall("c_9", "Read", {"file_path": "p.png"}),), (ToolResult("c_9", (pixel,)),), stop="tool_use")
    turns = {
        2: record(
            2,
            "Group them & tell me sk-canary-value-1234567890.",
            python("c_0", "print(rows[:1])", "[('a', 1)]"),
            python("c_1", "groups = broken", "NameError", is_error=True),
            python(
                "c_2",
                "groups = {}\nfor kind, value in rows:\n    groups.setdefault(kind, []).append(value)",
                "(no output)",
            ),
            python("c_3", CODE, "<object object at 0x7f0011223344>\n{'a': 2.0, 'b': 5.0}"),
            Step((TextBlock(HOSTILE),)),
        ),
        5: record(5, "Thanks.", look, Step((TextBlock("Welcome."),))),
    }
    cells = [
        new.new_markdown_cell("# Title", id="cell0"),
        new.new_code_cell("%load_ext claw_magics\nrows = [('a', 1), ('b', 5), ('a', 3)]", id="cell1"),
        new.new_code_cell("%%claw\n" + turns[2]["prompt"], id="cell2", metadata={"claw": turns[2], "tags": ["x"]}),
        new.new_code_cell("unneeded = [n for n in range(3)]", id="cell3"),
        new.new_code_cell("len(groups)", id="cell4", outputs=shown),
        new.new_code_cell(
            "%%claw\nThanks.", id="cell5", outputs=[new.new_output("display_data", {MIME_TYPE: turns[5]})]
        ),
        new.new_code_cell("%claw status", id="cell6"),
    ]
    path = claw.workspace / "session.ipynb"
    nbformat.write(new.new_notebook(cells=cells, metadata={"claw": {"format": 2, "session_id": "s_1"}}), path)
    return path


def test_a_plain_notebook_holds_what_the_results_need_and_is_proven(claw, notebook):
    done = claw.run("export", str(notebook), "--to", "notebook", "-o", "plain.ipynb")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all outputs equal" in done.stdout
    assert "2 left out" in done.stdout
    text = (claw.workspace / "plain.ipynb").read_text()
    assert "claw" not in text.lower()
    plain = nbformat.reads(text, 4)
    nbformat.validate(plain)
    sources = [cell.source for cell in plain.cells]
    assert sources == [
        "# Title",
        "rows = [('a', 1), ('b', 5), ('a', 3)]",
        "groups = {}\nfor kind, value in rows:\n    groups.setdefault(kind, []).append(value)",
        CODE,
        "len(groups)",
    ]
    assert plain.cells[-1].outputs[0]["data"]["text/plain"] == "2"
    again = claw.run("export", str(notebook), "-o", "plain.ipynb")
    assert again.returncode == 2
    assert "exists already" in again.stderr


def test_an_output_that_differs_is_named_and_a_failing_cell_too(claw, notebook):
    notebook.write_text(notebook.read_text().replace("'b': 5.0", "'b': 6.0"))
    done = claw.run("export", str(notebook), "-o", "plain.ipynb")
    assert done.returncode == 1
    assert "cell 4, text: was \"<object object at 0x7f0011223344>\\n{'a': 2.0, 'b': 6.0}\"" in done.stdout
    notebook.write_text(notebook.read_text().replace("rows = [", "rows = nowhere["))
    done = claw.run("export", str(notebook), "-o", "other.ipynb")
    assert done.returncode == 1
    assert "NameError" in done.stdout
    assert (claw.workspace / "other.ipynb").exists()


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def test_transcripts_load_nothing_and_hold_no_secret(claw, notebook):
    made = {}
    for form in ("markdown", "html", "jsonl"):
        done = claw.run("export", str(notebook), "--to", form, SERVICE_TOKEN="sk-canary-value-1234567890")
        assert done.returncode == 0, done.stderr
        assert "sk-canary" not in done.stdout
        assert "[secret]" in done.stdout.replace("\\", "")
        made[form] = done.stdout
    page = Page()
    page.feed(made["html"])
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "iframe", "link", "object", "embed", "form"}
    assert "default-src 'none'" in made["html"]
    sources = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    assert sources
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert not any("javascript" in (attributes.get("href") or "") for _, attributes in page.tags)
    assert "print(&#x27;a &lt; b&#x27;)" in made["html"] or "print('a &lt; b')" in made["html"]
    assert "print('a < b')" in made["markdown"]
    assert not re.search(r"(?<!!)!\[x\]\(http", made["markdown"])
    lines = [json.loads(line) for line in made["jsonl"].splitlines()]
    assert [line["type"] for line in lines].count("turn") == 2
    roles = [line["role"] for line in lines if line["type"] == "message" and line["turn_id"] == "t_5"]
    assert roles == ["user", "assistant", "user", "assistant"]


def test_blame_names_agent_both_human_and_unknown(claw, notebook):
    document = json.loads(notebook.read_text())
    code = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": []}
    document["cells"].append({**code, "id": "taken", "source": CODE + "  \n"})
    document["cells"].append({**code, "id": "changed", "source": CODE.replace("object()", "id")})
    document["cells"].append({**code, "id": "answer", "source": "print('a < b')"})
    notebook.write_text(json.dumps(document))
    done = claw.run("blame", str(notebook), "--json")
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [origin["author"] for origin in found] == [
        "unknown", "unknown", "human", "unknown", "unknown", "human", "unknown", "agent", "both", "agent",
    ]  # fmt: skip
    assert found[2]["model"] == "anthropic/claude-test"
    assert found[2]["approver"] == "a person (widget)"
    assert found[7]["turn_id"] == "t_2"
    assert "changed since" in found[8]["how"]
    assert "t_2" in claw.run("blame", str(notebook)).stdout


def test_blame_of_a_notebook_that_another_session_edited(claw, notebook):
    edited = claw.workspace / "edited.ipynb"
    source = "total = sum(values)\nprint(total)"
    cell = nbformat.v4.new_code_cell(source.replace("total)", "total, 2)"), id="there")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), edited)
    document = json.loads(notebook.read_text())
    call = ToolCall("c_7", "NotebookEdit", {"notebook_path": "edited.ipynb", "cell_id": "there", "new_source": source})
    written = record(5, "Thanks.", Step((call,), (ToolResult("c_7", (TextBlock("Done."),)),), stop="tool_use"))
    document["cells"][5]["outputs"][0]["data"][MIME_TYPE] = written
    notebook.write_text(json.dumps(document))
    assert json.loads(claw.run("blame", str(edited), "--json").stdout)["author"] == "unknown"
    found = json.loads(claw.run("blame", str(edited), "--from", str(notebook), "--json").stdout)
    assert (found["author"], found["turn_id"]) == ("both", "t_5")
    assert found["how"] == "written with NotebookEdit, and changed since"
