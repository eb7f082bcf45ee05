"""``claw export`` and ``claw blame`` on notebooks as a session leaves them."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest

from claw_kernel.errors import SessionError
from claw_kernel.messages import Approval, ImageBlock, Step, TextBlock, ToolCall, ToolResult, TurnRecord
from claw_kernel.session import write_record
from claw_kernel.session.file_changes import FileChange, write_file
from claw_kernel.session.record import MIME_TYPE

CODE = "means = {kind: sum(found) / len(found) for kind, found in groups.items()}\nprint(object())\nmeans"
HOSTILE = (
    "See ![x](https://evil.example/p.png?q=1) <img src=https://evil.example/2> [a](javascript:alert(1)) <script>1</script>\n\n"
    "```python\nprint('a < b')\n```"
)


def python(call_id: str, code: str, text: str, *, is_error: bool = False) -> Step:
    call = ToolCall(call_id, "Python", {"code": code})
    details = {"status": "error"} if is_error else {}
    result = ToolResult(call_id, (TextBlock(text),), is_error=is_error, details=details)
    return Step((call,), (result,), stop="tool_use")


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
    assert "3 left out" in done.stdout
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


def test_code_that_failed_on_its_way_and_code_that_writes_a_file_are_kept(claw):
    new = nbformat.v4
    turn = record(
        2,
        "Try",
        python("c_1", "limit = 10\n1 / 0", "ZeroDivisionError", is_error=True),
        python("c_2", "other = 10\n1 / 0", "ZeroDivisionError", is_error=True),
        python("c_3", "limit = = 1", "SyntaxError", is_error=True),
        python("c_4", "limit + 1", "11"),
        Step((TextBlock("Done."),)),
    )
    failure = new.new_output("error", ename="KeyError", evalue="'a'", traceback=[])
    shown = [new.new_output("execute_result", {"text/plain": "'11'"}, execution_count=5)]
    cells = [
        new.new_code_cell("%%claw\nTry", id="cell2", metadata={"claw": turn}),
        new.new_code_cell("with open('out.txt', 'w') as file:\n    file.write(str(limit + 1))", id="cell3"),
        new.new_code_cell("found = {}\nfound['a']", id="cell4", outputs=[failure]),
        new.new_code_cell("found['b'] = open('out.txt').read()\nfound['b']", id="cell5", outputs=shown),
        new.new_code_cell(
            "%%writefile notes.txt\nfirst", id="cell6", outputs=[new.new_output("stream", text="Writing notes.txt\n")]
        ),
    ]
    (claw.workspace / "notes.txt").write_text("first\n")  # as the session left it: now it is overwritten
    nbformat.write(new.new_notebook(cells=cells), claw.workspace / "session.ipynb")
    done = claw.run("export", "session.ipynb", "-o", "plain/plain.ipynb")
    assert done.returncode == 0, done.stdout + done.stderr
    plain = nbformat.read(claw.workspace / "plain/plain.ipynb", 4)
    assert [(cell.source.split("\n")[0], cell.metadata.get("tags", [])) for cell in plain.cells] == [
        ("limit = 10", ["raises-exception"]),
        ("limit + 1", []),
        ("with open('out.txt', 'w') as file:", []),
        ("found = {}", ["raises-exception"]),
        ("found['b'] = open('out.txt').read()", []),
        ("%%writefile notes.txt", []),
    ]


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


def test_blame_names_agent_both_and_human(claw, notebook):
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
        "human", "human", "human", "human", "human", "human", "human", "agent", "both", "agent",
    ]  # fmt: skip
    assert found[2]["model"] == "anthropic/claude-test"
    assert found[2]["approver"] == "a person (widget)"
    assert found[7]["turn_id"] == "t_2"
    assert "changed since" in found[8]["how"]
    assert "t_2" in claw.run("blame", str(notebook)).stdout


def test_blame_of_a_request_whose_cell_shows_no_turn(claw, notebook):
    """It was not saved since it ran, or stripped; the record is elsewhere."""
    document = json.loads(notebook.read_text())
    cell = next(cell for cell in document["cells"] if "claw" in cell["metadata"])
    document["metadata"].setdefault("claw", {}).setdefault("branches", []).append(cell["metadata"].pop("claw"))
    cell["outputs"] = []
    notebook.write_text(json.dumps(document))
    found = [json.loads(line) for line in claw.run("blame", str(notebook), "--json").stdout.splitlines()]
    (origin,) = [one for one in found if one["cell"] == document["cells"].index(cell) + 1]
    assert (origin["model"], origin["how"]) == ("anthropic/claude-test", "request; its output is the agent's")


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


def notebook_edit(call_id: str, told: str, diff: str, **given: str) -> Step:
    call = ToolCall(call_id, "NotebookEdit", {"notebook_path": "session.ipynb", **given})
    result = ToolResult(call_id, (TextBlock(told),), details={"diff": diff})
    return Step((call,), (result,), stop="tool_use")


def test_blame_of_cells_that_the_agent_inserted_and_edited(claw, notebook):
    """What it inserted is its own, the cell before that is not; what it edited in part is of both; the rest is a person's."""
    inserted = notebook_edit(
        "c_7",
        "Inserted cell 5 (id new1, hash 12ab) of session.ipynb; it has 9 cells.",
        "--- a/x\n+++ b/x\n@@ -0,0 +1 @@\n+total = 3\n",
        edit_mode="insert", cell_id="cell3", cell_type="code", new_source="total = 3",
    )  # fmt: skip
    edited = notebook_edit(
        "c_8",
        "Changed cell 2 (id cell1, hash 34cd) of session.ipynb; it has 9 cells.",
        "--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n %load_ext claw_magics\n-rows = []\n+rows = [('a', 1)]\n",
        cell_id="cell1", source_hash="0", new_source="%load_ext claw_magics\nrows = [('a', 1)]",
    )  # fmt: skip
    document = json.loads(notebook.read_text())
    cells = document["cells"]
    cells[5]["outputs"][0]["data"][MIME_TYPE] = record(5, "Thanks.", inserted, edited)
    cells[1]["source"] = "%load_ext claw_magics\nrows = [('a', 1)]"
    cells.insert(4, {**cells[3], "id": "new1", "source": "total = 3"})
    notebook.write_text(json.dumps(document))

    def authors() -> dict[int, tuple[str, str]]:
        done = claw.run("blame", str(notebook), "--json")
        found = [json.loads(line) for line in done.stdout.splitlines()]
        return {origin["cell"]: (origin["author"], origin["how"]) for origin in found}

    found = authors()
    assert found[5][0] == "agent"
    assert found[4] == ("human", "no recorded call wrote it")
    assert found[2] == ("both", "written with NotebookEdit, over a text of which lines stayed")

    # What the records cannot tell is said to be so, with the reason.
    document["metadata"]["claw"]["turns"] = ["t_2", "t_gone"]
    notebook.write_text(json.dumps(document))
    assert authors()[4] == ("unknown", "turn t_gone is not in the notebook, or cannot be read")
    del document["metadata"]["claw"]["turns"]
    run = Step((ToolCall("c_9", "Bash", {"command": "sed -i s/a/b/ session.ipynb"}),), (ToolResult("c_9", ()),))
    cells[6]["outputs"][0]["data"][MIME_TYPE] = record(5, "Thanks.", run)
    notebook.write_text(json.dumps(document))
    assert authors()[4] == ("unknown", "Bash of turn t_5 named this file, and may have written it")


HELPER = "def total(values):\n    return sum(values)\n"


def test_files_that_the_agent_edited_come_with_the_plain_notebook(claw, notebook):
    """The module is as it was before the session: the proof takes it as the session left it, and brings it along."""
    diff = "--- a/h.py\n+++ b/h.py\n@@ -1,2 +1,2 @@\n def total(values):\n-    return max(values)\n+    return sum(values)\n"
    edit = ToolCall("c_5", "Edit", {"file_path": "h.py", "old_string": "max", "new_string": "sum"})
    outside = ToolCall("c_6", "Write", {"file_path": "../out.py", "content": "evil"})
    there = str(claw.workspace)
    step = Step(
        (edit, outside),
        (
            ToolResult("c_5", (), details={"diff": diff, "path": f"{there}/h.py"}),
            ToolResult("c_6", (), details={"path": f"{there}/../out.py"}),
        ),
        stop="tool_use",
    )
    mend = record(2, "Mend it.", step) | {"environment": {"workspace": there, "home": "/nowhere"}}
    cells = [
        nbformat.v4.new_code_cell("%%claw\nMend it.", id="cell2", metadata={"claw": mend}),
        nbformat.v4.new_code_cell("import h\nh.total([1, 2])", id="cell3"),
    ]
    cells[1].outputs = [nbformat.v4.new_output("execute_result", {"text/plain": "3"}, execution_count=2)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), notebook)
    helper = claw.workspace / "h.py"
    before = HELPER.replace("sum", "max")
    helper.write_text(before)

    done = claw.run("export", str(notebook), "-o", "plain.ipynb")
    assert done.returncode == 1, done.stdout
    assert "h.py (Edit, turn 1): another one is there, and was kept" in done.stdout
    assert helper.read_text() == before
    (claw.workspace / "own").mkdir()
    done = claw.run("export", str(notebook), "-o", "own/plain.ipynb")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "with these files as the session left them: all outputs equal" in done.stdout
    assert {path.name: path.read_text() for path in (claw.workspace / "own").glob("*.py")} == {"h.py": HELPER}
    assert not (claw.workspace.parent / "out.py").exists()

    helper.write_text(HELPER)
    done = claw.run("export", str(notebook), "-o", "again.ipynb")
    assert (done.returncode, "with these files" in done.stdout) == (0, False), done.stdout
    helper.write_text("def total(values):\n    return 0\n")
    done = claw.run("export", str(notebook), "-o", "other.ipynb")
    assert done.returncode == 1
    assert (
        "h.py (Edit, turn 1) was changed by the session; whether it is still as it left it cannot be told."
        in done.stdout
    )


def test_a_file_behind_a_link_is_not_written(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "out")
    (tmp_path / "root" / "x.py").symlink_to(tmp_path / "out" / "x.py")
    for path in ("link/new/x.py", "x.py"):
        with pytest.raises(SessionError, match="behind a link"):
            write_file(tmp_path / "root", FileChange(path, "t_1", "Write", "known", "x"), replace=True)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_secret_that_the_plain_notebook_shows_again_is_not_in_its_file(claw, notebook):
    """The record has ``[secret]``, but the code is run anew for the proof: its outputs pass no gate."""
    show = "import base64, os\nkey = os.environ['SERVICE_TOKEN']\nprint(key, base64.b64encode(key.encode()).decode())"
    turn = record(2, "Show it.", python("c_3", show, "[secret] [secret]"))
    raising = nbformat.v4.new_code_cell("raise ValueError(key)", id="cell3", metadata={"tags": ["raises-exception"]})
    raising.outputs = [nbformat.v4.new_output("error", ename="ValueError", evalue="other", traceback=[])]
    shown = nbformat.v4.new_code_cell("len(key)", id="cell4")
    shown.outputs = [nbformat.v4.new_output("execute_result", {"text/plain": "24"}, execution_count=2)]
    prompt = nbformat.v4.new_code_cell("%%claw\nShow it.", id="cell2", metadata={"claw": turn})
    nbformat.write(nbformat.v4.new_notebook(cells=[prompt, raising, shown]), notebook)
    canary = "sk-canary-value-12345678"
    done = claw.run("export", str(notebook), "-o", "plain.ipynb", "--all", SERVICE_TOKEN=canary)
    saved = (claw.workspace / "plain.ipynb").read_text()
    for text in (saved, done.stdout + done.stderr):
        assert canary not in text
        assert base64.b64encode(canary.encode()).decode()[:20] not in text
    assert "[secret]" in saved
    assert "taken out" in done.stdout
    nbformat.validate(nbformat.reads(saved, 4))
