"""``claw session sign`` and ``verify``: who vouched for a turn, and whether it is still that turn."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
from pathlib import Path

import nbformat
import pytest

from claw_kernel.messages import Step, TextBlock, ToolCall, ToolResult, TurnRecord
from claw_kernel.session import write_record
from claw_kernel.session.notebook_file import with_member


def record(number: int, command: str = "ls") -> dict:
    call = ToolCall(f"call_{number}", "Bash", {"command": command})
    step = Step((TextBlock("I look."), call), (ToolResult(call.id, (TextBlock("a.txt"),)),), stop="tool_use")
    return write_record(
        TurnRecord(
            turn_id=f"t_{number}",
            session_id="s_1",
            prompt=f"request {number}",
            content=(TextBlock(f"request {number}"),),
            model="scripted/x",
            started_at=f"2026-11-21T10:00:0{number}.000Z",
            steps=(step, Step((TextBlock("Done."),))),
            stop_reason="end_turn",
            duration_seconds=2.0,
        )
    )


@pytest.fixture
def notebook(claw) -> Path:
    document = nbformat.v4.new_notebook(metadata={"claw": {"format": 1, "session_id": "s_1"}})
    for number in (1, 2, 3):
        cell = nbformat.v4.new_code_cell("%%claw\nrequest", metadata={"claw": record(number)}, id=f"cell{number}")
        document.cells.append(cell)
    path = claw.workspace / "Ünsere.ipynb"
    nbformat.write(document, path)
    return path


def edit(path: Path, change) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def verdicts(claw, path: Path, *arguments: str) -> tuple[int, dict[str, str]]:
    done = claw.run("session", "verify", str(path), "--json", *arguments)
    found = json.loads(done.stdout)
    return done.returncode, {turn: verdict["verdict"] for turn, verdict in found["turns"].items()}


def test_signing_changes_nothing_else_and_signing_again_nothing_at_all(claw, notebook):
    before = notebook.read_text()
    assert verdicts(claw, notebook) == (4, dict.fromkeys(("t_1", "t_2", "t_3"), "unsigned"))
    signed = claw.run("session", "sign", str(notebook))
    assert signed.returncode == 0, signed.stderr
    assert "3 turns signed" in signed.stdout
    assert verdicts(claw, notebook) == (0, dict.fromkeys(("t_1", "t_2", "t_3"), "signed"))
    after = notebook.read_text()
    document = json.loads(after)
    nbformat.validate(nbformat.from_dict(document))
    head, tail = after.split(',\n   "signatures": [', 1)
    assert head + tail[tail.index("\n   ]") + len("\n   ]") :] == before
    claw.run("session", "sign", str(notebook))
    assert notebook.read_text() == after
    assert stat.S_IMODE((claw.home / "signing_key").stat().st_mode) == 0o600


def test_an_edit_a_removal_and_another_order_show(claw, notebook):
    claw.run("session", "sign", str(notebook))
    signed = notebook.read_text()

    def command(document):
        document["cells"][1]["metadata"]["claw"]["steps"][0]["content"][1]["input"]["command"] = "rm -rf /"

    edit(notebook, command)
    assert verdicts(claw, notebook) == (1, {"t_1": "signed", "t_2": "edited", "t_3": "signed"})
    notebook.write_text(signed)
    edit(notebook, lambda document: document["cells"].pop(1))
    done = claw.run("session", "verify", str(notebook))
    assert done.returncode == 1
    assert "t_2  removed" in done.stdout
    notebook.write_text(signed)
    edit(notebook, lambda document: document["cells"].reverse())
    done = claw.run("session", "verify", str(notebook))
    assert done.returncode == 1
    assert "another order" in done.stdout
    notebook.write_text(signed)
    # The list of the signature itself is covered, and so is the session it belongs to.
    edit(notebook, lambda document: document["metadata"]["claw"].update(session_id="s_2"))
    assert set(verdicts(claw, notebook)[1].values()) == {"edited"}


def test_another_spelling_of_the_same_values_is_the_same_record(claw, notebook):
    """Front ends in JavaScript write 2.0 as 2, and sort keys."""
    claw.run("session", "sign", str(notebook))
    text = notebook.read_text()
    assert '"duration_seconds": 2.0' in text
    notebook.write_text(json.dumps(json.loads(text.replace(": 2.0", ": 2")), sort_keys=True))
    assert verdicts(claw, notebook)[0] == 0


def test_turns_that_came_later_are_unsigned_until_they_are_signed(claw, notebook):
    claw.run("session", "sign", str(notebook))

    def add(document):
        document["cells"].append({**document["cells"][0], "id": "new", "metadata": {"claw": record(4)}})

    edit(notebook, add)
    assert verdicts(claw, notebook)[0] == 4
    claw.run("session", "sign", str(notebook))
    assert verdicts(claw, notebook)[0] == 0
    assert len(json.loads(notebook.read_text())["metadata"]["claw"]["signatures"]) == 1


@pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="ssh-keygen is not installed")
def test_a_colleague_checks_with_a_public_key_and_with_openssh(claw, notebook, tmp_path):
    key = tmp_path / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ann", "-f", str(key)], check=True)
    signed = claw.run("session", "sign", str(notebook), "--key", str(key))
    assert signed.returncode == 0, signed.stderr
    public = " ".join(key.with_suffix(".pub").read_text().split()[:2])
    assert public in signed.stdout
    assert verdicts(claw, notebook) == (5, dict.fromkeys(("t_1", "t_2", "t_3"), "unknown_key"))
    signers = tmp_path / "signers"
    signers.write_text(f'# ours\nann@example.org namespaces="claw-session" {public}\n')
    assert verdicts(claw, notebook, "--signers", str(signers))[0] == 0
    (claw.home / "allowed_signers").write_text(signers.read_text())
    assert verdicts(claw, notebook)[0] == 0
    # Without Claw: what docs/record.md says is signed, given to OpenSSH.
    header = json.loads(notebook.read_text())["metadata"]["claw"]
    block = header["signatures"][0]
    said = {"session_id": header["session_id"], "signed_at": block["signed_at"], "turns": block["turns"]}
    armoured = f"-----BEGIN SSH SIGNATURE-----\n{block['signature']}\n-----END SSH SIGNATURE-----\n"
    (tmp_path / "sig").write_text(armoured)
    command = ["ssh-keygen", "-Y", "verify", "-f", str(signers), "-I", "ann@example.org", "-n", "claw-session"]
    message = json.dumps(said, sort_keys=True, separators=(",", ":")).encode()
    assert subprocess.run([*command, "-s", str(tmp_path / "sig")], input=message, capture_output=True).returncode == 0


@pytest.mark.parametrize("content", ["", "ssh-ed25519 AAAA", "-----BEGIN OPENSSH PRIVATE KEY-----\nx\n"])
def test_a_key_that_is_none_is_one_line(claw, notebook, tmp_path, content):
    (tmp_path / "key").write_text(content)
    done = claw.run("session", "sign", str(notebook), "--key", str(tmp_path / "key"))
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "key cannot be used" in done.stderr


@pytest.mark.parametrize("indent", [None, 1, 4])
@pytest.mark.parametrize(
    "document", [{}, {"a": 1}, {"a": {}}, {"a": {"b": [1]}}, {"a": {"b": 1, "c": 2}}, {'é\\"': "x}"}]
)
def test_a_member_is_put_in_place_like_any_other(indent, document):
    text = json.dumps(document, indent=indent, ensure_ascii=False)
    changed = with_member(text, ("a", "b"), {"new": [1, "ü"]})
    wanted = json.loads(text)
    if not isinstance(wanted.get("a"), dict):
        wanted["a"] = {}
    wanted["a"]["b"] = {"new": [1, "ü"]}
    assert json.loads(changed) == wanted
    if document:
        assert changed == json.dumps(wanted, indent=indent, ensure_ascii=False)
