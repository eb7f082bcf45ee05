"""The recovery journal: cut at any byte it gives back all but the step that ran, and never lets a call run twice unawares."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zlib

import pytest

from claw_kernel.agent import Agent
from claw_kernel.messages import ToolCall
from claw_kernel.session import Session, read_record, write_record
from claw_kernel.session.journal import ENDED, FOLDER, NOT_BEGUN, Journal, find_lost, forget_saved, read_journal
from claw_kernel.settings import load_settings
from tests.engine.conftest import call, play


@pytest.fixture
def played(make_agent, tmp_path, workspace):
    """A turn of three steps with its journal, and the record it ended with."""
    (workspace / "a.txt").write_text("hello\n")
    read = call("Read", file_path="a.txt")
    agent = make_agent(
        [
            {"text": "I look.", "tool_calls": [read, read]},
            {"text": "Again.", "tool_calls": [read]},
            {"text": "It says hello."},
        ]
    )
    journal = Journal(str(tmp_path / "state"), "/n.ipynb", lambda text: text.replace("hello", "[secret]"))
    record = play(agent.start("what is in it?", cell_id="A", observe=journal.take))[-1].record
    assert journal.path is not None
    return journal.path, record


def test_the_whole_journal_is_the_turn_without_secrets(played):
    path, record = played

    lost = read_journal(path)

    assert lost.record == read_record(write_record(record, lambda text: text.replace("hello", "[secret]")))
    assert lost.notebook == "/n.ipynb"
    assert b"hello" not in path.read_bytes()
    assert path.stat().st_mode & 0o077 == 0


def test_cut_at_any_byte_at_most_the_running_step_is_lost(played, tmp_path):
    path, record = played
    data = path.read_bytes()
    lines = data.split(b"\n")
    cut = tmp_path / "t_cut.jsonl"
    for end in range(len(data) + 1):
        cut.write_bytes(data[:end])
        lost = read_journal(cut)
        whole = data[:end].count(b"\n")
        if whole == 0:
            assert lost is None
            continue
        finished = sum(b'{"step":' in line or b'{"turn":' in line for line in lines[:whole])
        assert len(lost.record.steps) >= min(finished, len(record.steps)), end
        for step in lost.record.steps:
            calls = [block.id for block in step.content if isinstance(block, ToolCall)]
            assert [result.call_id for result in step.results] == calls, end


def test_a_call_that_had_begun_is_said_to_have_taken_effect_perhaps(played, tmp_path):
    lines = played[0].read_bytes().split(b"\n")
    began = next(number for number, line in enumerate(lines) if b'{"began":' in line)
    cut = tmp_path / "t_cut.jsonl"
    cut.write_bytes(b"\n".join(lines[: began + 1]) + b"\n")

    (step,) = read_journal(cut).record.steps

    assert [result.content[0].text for result in step.results] == [ENDED, NOT_BEGUN]
    assert all(result.is_error for result in step.results)


def test_a_damaged_line_ends_the_journal(played):
    path, _ = played
    data = path.read_bytes()
    second = data.index(b"\n") + 20
    path.write_bytes(data[:second] + b"#" + data[second + 1 :])

    assert read_journal(path).record.steps == ()


SCRIPT = """
import json, sys, time
from claw_kernel.agent import Agent
from claw_kernel.session.journal import Journal
from claw_kernel.settings import load_settings
home, workspace, script = sys.argv[1:]
settings = load_settings(workspace, {"CLAW_HOME": home, "PATH": "/usr/local/bin:/usr/bin:/bin"})
settings = settings.with_options("test", model=f"scripted/{script}", permission_mode="bypassPermissions", sandbox={"mode": "off"})
agent = Agent(settings)
agent.start("go", cell_id="A", observe=Journal(settings.state_dir, "/n.ipynb", lambda text: text).take)
time.sleep(60)
"""


def test_after_kill_9_the_turn_is_found_and_its_command_runs_once(tmp_path, workspace):
    command = "echo once >> ran.txt; sleep 30"
    replies = [{"text": "I run it.", "tool_calls": [call("Bash", command=command)]}, {"text": "Done."}]
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"title": "t", "turns": [{"when": "", "replies": replies}]}))
    home = tmp_path / "home"
    child = subprocess.Popen([sys.executable, "-c", SCRIPT, str(home), str(workspace), str(script)])
    try:
        until = time.monotonic() + 60
        while not (workspace / "ran.txt").exists() and time.monotonic() < until:
            time.sleep(0.05)
        state = load_settings(str(workspace), {"CLAW_HOME": str(home)}).state_dir
        assert find_lost(state, "", "/n.ipynb", {}) == [], "its kernel lives"
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait(10)

    (lost,) = find_lost(state, "", "/n.ipynb", {})
    session = Session()
    session.merge([write_record(lost.record)], is_asked_for=True)
    env = {"CLAW_HOME": str(home), "PATH": "/usr/local/bin:/usr/bin:/bin"}
    settings = load_settings(str(workspace), env)
    script.write_text(json.dumps({"title": "t", "turns": [{"when": "", "replies": [{"text": "I see."}]}]}))
    agent = Agent(settings.with_options("test", model=f"scripted/{script}"), session=session)
    try:
        record = play(agent.start("go on"))[-1].record
    finally:
        agent.close()

    assert lost.record.stop_reason == "incomplete"
    assert record.parent_id == lost.record.turn_id
    assert ENDED in repr(session.transcript(record.model))
    assert (workspace / "ran.txt").read_text() == "once\n"


def test_a_journal_goes_when_the_notebook_has_its_turn(played, tmp_path):
    path, record = played
    state = str(tmp_path / "state")
    assert [lost.record.turn_id for lost in find_lost(state, record.session_id, "", {})] == [record.turn_id]
    assert find_lost(state, "s_other", "/other.ipynb", {}) == []

    assert find_lost(state, record.session_id, "", {record.turn_id: record}) == []
    assert not path.exists()


def test_a_turn_goes_back_into_its_own_notebook_and_into_no_copy_of_it(played, tmp_path):
    """Also into one that only says it was this conversation."""
    path, record = played
    state, notebook = str(tmp_path / "state"), tmp_path / "n.ipynb"
    begin = json.loads(path.read_bytes().split(b"\n")[0].partition(b" ")[2])
    begin["begin"]["notebook"] = str(notebook)
    line = json.dumps(begin).encode()
    path.write_bytes(b"%08x %b\n" % (zlib.crc32(line), line))
    notebook.touch()

    assert find_lost(state, record.session_id, str(tmp_path / "copy.ipynb"), {}) == []
    assert len(find_lost(state, "s_other", str(notebook), {})) == 1
    notebook.rename(tmp_path / "moved.ipynb")
    assert len(find_lost(state, record.session_id, str(tmp_path / "moved.ipynb"), {})) == 1


def test_a_saved_turns_journal_is_removed(played, tmp_path):
    path, record = played

    forget_saved(str(tmp_path / "state"), ["../../x", "t_\0", record.turn_id])

    assert not path.exists()
    assert (tmp_path / "state" / FOLDER).exists()
