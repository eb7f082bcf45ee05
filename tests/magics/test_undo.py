"""``%claw undo``, ``rewind`` and ``checkpoints`` in real kernels whose scripted model changes files for real."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from tests.kernels import Execution, Kernel, Kernels, bash, call

ALLOW = {"CLAW_PERMISSION_MODE": "bypassPermissions"}
DONE = {"text": "Done."}
MESS = "rm -r sub; echo new > a.txt; mv b.txt moved.txt; ln -sf /etc link; mkdir made; echo x > made/file"


def files(folder: Path) -> dict[str, Any]:
    """Contents, links, modes and times of everything."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        seen = path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else "folder"
        found[str(path.relative_to(folder))] = (seen, status.st_mode, 0 if path.is_symlink() else status.st_mtime_ns)
    return found


def fill(folder: Path) -> None:
    (folder / "sub" / "empty").mkdir(parents=True)
    (folder / "sub" / "run.sh").write_text("#!/bin/sh\n")
    (folder / "sub" / "run.sh").chmod(0o750)
    (folder / "a.txt").write_bytes("naïve\r\n".encode("latin-1"))
    (folder / "b.txt").write_text("b\n")
    (folder / "link").symlink_to("a.txt")


def command(kernel: Kernel, line: str, *, answer: str | None = None) -> Execution:
    """Run ``%claw line``; with an answer it may ask."""

    def watch(kernel: Kernel, channel: str, message: dict[str, Any]) -> None:
        if channel == "stdin" and message["header"]["msg_type"] == "input_request":
            assert answer is not None
            kernel.answer(answer)

    return kernel.run(f"%claw {line}", watch, allow_stdin=answer is not None)


def shown(cell: Execution) -> str:
    return "\n".join(output["data"]["text/plain"] for output in cell.outputs if "data" in output)


def test_what_a_command_did_is_shown_asked_for_and_taken_back(kernels: Kernels) -> None:
    fill(kernels.workspace)
    before = files(kernels.workspace)
    kernel = kernels.start(bash(MESS), DONE, **ALLOW)
    turn = kernel.run("%%claw\ntidy").turn
    assert turn["steps"][0]["results"][0]["details"]["checkpoint"]["id"] == "c1"
    after = files(kernels.workspace)
    assert after != before

    listed = shown(command(kernel, "checkpoints"))
    assert "c1" in listed
    assert "rm -r sub" in listed

    # Nobody can be asked: it is only shown.
    cell = command(kernel, "undo")
    assert "%claw undo --yes does it" in shown(cell)
    for name in ("a.txt", "b.txt", "sub/run.sh", "made/file", "link"):
        assert name in shown(cell)
    assert "+1 -1" in shown(cell)
    assert files(kernels.workspace) == after

    cell = command(kernel, "undo", answer="n")
    assert "Nothing was changed." in shown(cell)
    assert files(kernels.workspace) == after
    cell = command(kernel, "undo", answer="y")
    assert cell.is_ok, cell
    assert "Done: " in shown(cell)
    assert "conversation stays" in shown(cell)
    assert files(kernels.workspace) == before

    # Again: redo; and once more: undo.
    cell = command(kernel, "undo --yes")
    assert "Redo" in shown(cell) or "Done" in shown(cell)
    assert files(kernels.workspace) == after
    command(kernel, "undo --yes")
    assert files(kernels.workspace) == before


def test_the_model_learns_of_an_undo_with_the_next_prompt(kernels: Kernels) -> None:
    kernel = kernels.start(call_reply("Write", file_path="new.txt", content="x"), DONE, **ALLOW)
    kernel.run("%%claw\nwrite")
    command(kernel, "undo --yes")
    assert not (kernels.workspace / "new.txt").exists()
    turn = kernel.run("%%claw\nwhat now?", cell_id="cell-2").turn
    assert "new.txt" in turn["content"][-1]["text"]
    assert "put files back" in turn["content"][-1]["text"]


def call_reply(name: str, **arguments: Any) -> dict[str, Any]:
    return {"tool_calls": [call(name, **arguments)]}


def test_an_edit_by_someone_else_is_refused_and_overwritten_only_when_told(kernels: Kernels) -> None:
    fill(kernels.workspace)
    kernel = kernels.start(bash("echo 1 > a.txt; echo 1 > b.txt"), DONE, **ALLOW)
    kernel.run("%%claw\nchange")
    (kernels.workspace / "a.txt").write_text("mine\n")
    cell = command(kernel, "undo --yes")
    assert not cell.is_ok
    assert "1 file has been edited since by someone else" in cell.errors[0]["evalue"]
    assert "edited since by someone else" in shown(cell)
    assert (kernels.workspace / "b.txt").read_text() == "1\n"
    assert command(kernel, "undo --yes --force").is_ok
    assert (kernels.workspace / "b.txt").read_text() == "b\n"
    assert (kernels.workspace / "a.txt").read_bytes() == "naïve\r\n".encode("latin-1")
    command(kernel, "undo --yes")
    assert (kernels.workspace / "a.txt").read_text() == "mine\n"


def test_rewind_to_a_turn_and_to_one_call_after_a_restart(kernels: Kernels) -> None:
    fill(kernels.workspace)
    before = files(kernels.workspace)
    kernel = kernels.start(bash("echo 1 >> a.txt"), bash("rm b.txt"), DONE, **ALLOW)
    records = [kernel.run(f"%%claw\nturn {n}", cell_id=f"cell-{n}").turn for n in (1, 2)]
    os.kill(kernel.manager.provisioner.pid, signal.SIGKILL)

    fresh = kernels.start(DONE, **ALLOW)
    header = {"session_id": records[0]["session_id"], "created_at": records[0]["started_at"]}
    fresh.hello(header=header, records=records)
    listed = shown(command(fresh, "checkpoints"))
    assert [f"c{n}" in listed for n in (1, 2, 3, 4)] == [True, True, True, False]
    middle = files(kernels.workspace)
    assert command(fresh, "rewind 2 --yes").is_ok
    assert (kernels.workspace / "a.txt").read_bytes().endswith(b"1\n")
    assert not (kernels.workspace / "b.txt").exists()
    assert command(fresh, "undo --yes").is_ok
    assert files(kernels.workspace) == middle
    assert command(fresh, "rewind c2 --yes").is_ok
    assert (kernels.workspace / "b.txt").exists()
    assert command(fresh, "rewind 1 --yes").is_ok
    assert files(kernels.workspace) == before


def test_code_in_the_namespace_is_covered_and_what_is_not_saved_is_named(kernels: Kernels) -> None:
    (kernels.workspace / ".gitignore").write_text("*.log\n")
    (kernels.workspace / "data.csv").write_text("1,2\n")
    (kernels.workspace / "large.bin").write_bytes(bytes(3 << 20))
    (kernels.workspace / "a.log").write_text("log\n")
    code = "import os\nfor name in ('data.csv', 'large.bin', 'a.log'): os.remove(name)"
    kernel = kernels.start(call_reply("Python", code=code), DONE, **ALLOW)
    turn = kernel.run("%%claw\nclean").turn
    said = turn["steps"][0]["results"][0]["details"]["not_undoable"]
    assert "large.bin (3.1 MB, too large)" in said
    assert "a.log" in said
    assert "data.csv" not in said
    text = shown(command(kernel, "undo"))
    assert "not saved: large.bin (3.1 MB, too large)" in text
    assert "not saved: a.log" in text
    assert command(kernel, "undo --yes").is_ok
    assert (kernels.workspace / "data.csv").read_text() == "1,2\n"


def test_mistakes_are_one_line(kernels: Kernels) -> None:
    kernel = kernels.start(DONE, **ALLOW)
    for line, said in [
        ("undo", "no turn of this session has changed files"),
        ("undo zwei", "takes a number of turns"),
        ("undo --now", "unknown option '--now'"),
        ("rewind", "needs a turn"),
        ("rewind 7", "unknown turn '7'"),
        ("rewind c7", "no checkpoint c7"),
        ("checkpoints x", "takes nothing"),
    ]:
        cell = command(kernel, line)
        assert not cell.is_ok, line
        assert said in cell.errors[0]["evalue"], cell.errors
    assert "No checkpoints" in shown(command(kernel, "checkpoints"))


def test_a_kernel_killed_while_it_writes_leaves_whole_files(kernels: Kernels) -> None:
    """Writes of 4 MiB one after the other, killed at moments spread over them."""
    path = kernels.workspace / "file"
    contents = [letter * (4 << 20) for letter in "ab"]
    for delay in (0.0, 0.004, 0.01, 0.02):
        path.write_text(contents[0])
        replies = [call_reply("Read", file_path="file", limit=1)]
        replies += [call_reply("Write", file_path="file", content=contents[n % 2]) for n in range(1, 9)]
        kernel = kernels.start(*replies, **ALLOW)
        pid = kernel.manager.provisioner.pid
        kernel.send("%%claw\nwrite")
        for _, message in kernel.messages(30):
            if json.dumps(message["content"], default=str).count("Replaced file"):
                break
        time.sleep(delay)
        os.kill(pid, signal.SIGKILL)
        kernel.close()
        assert path.read_text() in contents
        fresh = kernels.start(DONE, **ALLOW)
        command(fresh, "checkpoints")
        assert [found.name for found in kernels.workspace.iterdir()] == ["file"]
        fresh.close()
        kernels.started.clear()
