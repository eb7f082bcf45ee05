"""``claw undo``, ``claw rewind`` and ``claw checkpoints`` on what ``claw prompt`` and notebooks have done."""

from __future__ import annotations

import json
import os
import pty

import pytest

from claw_kernel._core import CancelToken, Core
from claw_kernel.messages import Step, TextBlock, TurnRecord
from claw_kernel.session import write_record
from tests.cli.conftest import bash


def turn(number):
    return write_record(
        TurnRecord(
            turn_id=f"t_{number}",
            session_id="s_notebook",
            prompt="p",
            content=(TextBlock("p"),),
            model="scripted/x",
            started_at=f"2026-11-21T10:00:0{number}.000Z",
            steps=(Step((TextBlock("Done."),)),),
            stop_reason="end_turn",
            duration_seconds=1.0,
        )
    )


@pytest.fixture
def worked(claw):
    """A workspace in which a prompt has overwritten, made and removed files."""
    (claw.workspace / "a.txt").write_text("one\n")
    (claw.workspace / "b.txt").write_text("kept\n")
    model = claw.script(bash("echo two > a.txt; rm b.txt; mkdir new; echo 3 > new/c.txt"), {"text": "Done."})
    done = claw.run("prompt", "go", "--model", model, "--allow", "Bash", CLAW_SANDBOX="off")
    assert done.returncode == 0, done.stderr
    assert not (claw.workspace / "b.txt").exists(), done.stdout
    return claw


def is_as_before(claw):
    files = {path.name for path in claw.workspace.iterdir()} - {"script.json", ".claw"}
    return files == {"a.txt", "b.txt"} and (claw.workspace / "a.txt").read_text() == "one\n"


def test_undo_shows_waits_for_a_yes_and_can_be_undone(worked):
    shown = worked.run("undo")
    assert shown.returncode == 1
    assert "claw undo --yes does it" in shown.stdout
    assert "a.txt" in shown.stdout
    assert not is_as_before(worked)

    done = worked.run("undo", "--yes")
    assert done.returncode == 0, done.stderr
    assert "claw undo takes this back (c2)" in done.stdout
    assert is_as_before(worked)

    assert worked.run("undo", "--yes").returncode == 0
    assert (worked.workspace / "new/c.txt").read_text() == "3\n"
    assert worked.run("rewind", "c1", "--yes").returncode == 0
    assert is_as_before(worked)


def test_at_a_terminal_it_asks(worked):
    for answer, code in (("n", 1), ("y", 0)):
        parent, child = pty.openpty()
        process = worked.start("undo", stdin=child, stdout=-1, stderr=-1)
        os.close(child)
        os.write(parent, f"{answer}\n".encode())
        _, asked = process.communicate(timeout=60)
        os.close(parent)
        assert "Put these files back? [y/N]" in asked
        assert process.returncode == code
    assert is_as_before(worked)


def test_checkpoints_and_sessions_are_listed(worked):
    listed = worked.run("checkpoints")
    assert listed.returncode == 0
    assert "c1" in listed.stdout
    assert "a.txt" in listed.stdout
    sessions = worked.run("checkpoints", "--sessions").stdout
    session_id = next(word for word in sessions.split() if word.startswith("s_"))
    assert worked.run("undo", "--session", session_id[:8], "--yes").returncode == 0
    assert is_as_before(worked)


def test_an_edit_since_is_not_overwritten_unless_told(worked):
    (worked.workspace / "a.txt").write_text("theirs\n")
    refused = worked.run("undo", "--yes")
    assert refused.returncode == 1
    assert "edited since by someone else. claw undo --force overwrites them" in refused.stdout
    assert (worked.workspace / "a.txt").read_text() == "theirs\n"
    assert worked.run("undo", "--yes", "--force").returncode == 0
    assert is_as_before(worked)


def test_a_session_that_is_open_elsewhere_is_left_alone(worked):
    sessions = worked.run("checkpoints", "--sessions").stdout
    session_id = next(word for word in sessions.split() if word.startswith("s_"))
    state = next(worked.home.parent.rglob("checkpoints")).parent
    kernel = Core(str(worked.workspace), state_dir=str(state), session_id=session_id)
    try:
        kernel.checkpoints()
        assert "open in another process" in worked.run("checkpoints", "--sessions").stdout
        refused = worked.run("undo", "--yes")
        assert refused.returncode == 2
        assert "%claw undo there" in refused.stderr
        assert not is_as_before(worked)
    finally:
        kernel.close()


def test_a_notebook_names_its_session_and_its_turns(worked):
    state = next(worked.home.parent.rglob("checkpoints")).parent
    core = Core(str(worked.workspace), state_dir=str(state), session_id="s_notebook")
    core.set_policy(json.dumps({"mode": "bypassPermissions"}))
    for number in (1, 2, 3):
        core.begin_turn("s_notebook", f"t_{number}")
        call = core.prepare("Write", json.dumps({"file_path": f"n{number}", "content": "x"}))
        core.finish(call, core.run(call, CancelToken(), None, f"call{number}"))
    core.close()
    del core  # as its process ends
    cells = [
        {
            "cell_type": "code",
            "id": f"cell{number}",
            "source": "%%claw\np",
            "metadata": {"claw": turn(number)},
            "execution_count": None,
            "outputs": [],
        }
        for number in (1, 2)
    ]
    document = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (worked.workspace / "x.ipynb").write_text(json.dumps(document))
    # What lies under a session's id is offered, and named where the notebook has no such turn: its record may be forged.
    strange = "Of turns that this notebook does not hold (deleted here, or those of a copy): c3."
    assert strange in worked.run("undo", "--session", "x.ipynb").stdout
    assert strange not in worked.run("undo").stdout
    done = worked.run("rewind", "2", "--session", "x.ipynb", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (worked.workspace / "n1").exists()
    assert not (worked.workspace / "n2").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("undo", "zwei"), "a number of turns from 1"),
        (("undo", "0"), "a number of turns from 1"),
        (("undo", "--now"), "unknown option '--now'"),
        (("undo", "--session", "s_none"), "no session of this workspace"),
        (("rewind", "x"), "there is no turn 'x'"),
        (("checkpoints", "--session", "missing.ipynb"), "missing.ipynb"),
    ],
)
def test_what_cannot_be_done_is_one_line(worked, arguments, said):
    done = worked.run(*arguments)
    assert done.returncode in (1, 2)
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_nothing_to_undo(claw):
    assert "No checkpoints" in claw.run("undo").stdout
    assert claw.run("checkpoints").returncode == 0
    assert "No session" in claw.run("checkpoints", "--sessions").stdout
