"""``claw run``: real kernels without anybody in front, within limits and a policy, stopped and gone on with."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import nbformat
import pytest

from claw_kernel.session import Session, read_record
from claw_kernel.session.notebook import notebook_header, notebook_records
from tests.cli.test_replay import CELLS, SCRIPT, small_notebook


def put(claw, script: dict = SCRIPT, *cells: str, kernel: str = "python3") -> None:
    (claw.workspace / "s.json").write_text(json.dumps(script))
    (claw.workspace / "a.txt").write_text("hello\n")
    small_notebook(claw.workspace, *(cells or CELLS), kernel=kernel)


def events_of(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


POLICY = '# what CI may do\n[permissions]\nmode = "dontAsk"\nallow = [\n  "Bash(cat:*)",\n  "Python",\n  "Write",\n]\n'


def test_a_notebook_runs_to_its_end_and_holds_its_records(claw):
    put(claw)
    (claw.workspace / "ci.toml").write_text(POLICY)
    done = claw.run(
        "run", "nb.ipynb", "--policy", "ci.toml", "--set-parameter", "seen=1", "--output", "o.ipynb",
        "--output-format", "stream-json", timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    events = events_of(done.stdout)
    kinds = [event["type"] for event in events]
    assert kinds.count("step_finished") == 4
    assert kinds[-1] == "run_finished"
    assert events[-1]["exit_code"] == 0
    assert read_record(next(e["record"] for e in events if e["type"] == "turn_finished")).stop_reason == "end_turn"
    saved = nbformat.read(claw.workspace / "o.ipynb", as_version=4)
    nbformat.validate(saved)
    assert "parameters" in saved.cells[0].metadata["tags"][0]
    assert saved.cells[3].metadata["claw"]["prompt"] == "Look around"
    header = notebook_header(saved)
    assert header["turns"] == [saved.cells[n].metadata["claw"]["turn_id"] for n in (3, 4)]
    assert (claw.workspace / "made.txt").read_text() == "x\n"


def test_a_notebook_of_the_claw_kernel(claw):
    put(claw, SCRIPT, "/model scripted/s.json", "%%python\nseen = 41", "Look around", kernel="claw")
    allowed = ("--allow", "Bash(cat:*)", "--allow", "Python")
    environment = {"JUPYTER_PATH": str(Path(__file__).parents[2] / "labextension/wheel_data/data/share/jupyter")}
    done = claw.run("run", "nb.ipynb", *allowed, timeout=120, **environment)
    assert done.returncode == 0, done.stderr
    assert "Claw: I look." in done.stdout
    assert (claw.workspace / "nb.out.ipynb").is_file()


LONG = {"turns": [{"when": "", "replies": [{"tool_calls": [{"name": "Bash", "input": {"command": "cat a.txt"}}]}] * 8}]}
TWO = ("%load_ext claw_magics\n%claw model scripted/s.json", "%%claw\nGo", "%%claw\nGo on")


@pytest.mark.parametrize(
    ("script", "cells", "options", "code", "said"),
    [
        (LONG, TWO, ("--allow", "Bash(cat:*)", "--max-turns", "3"), 3, "the turn met its limit of model requests"),
        (SCRIPT, CELLS, ("--permission-mode", "dontAsk"), 4, "denied: Python"),
        (SCRIPT, ("1 / 0", "2"), (), 6, "cell 1: ZeroDivisionError: division by zero"),
        (SCRIPT, ("import time\ntime.sleep(30)",), ("--timeout", "2"), 6, "took longer than 2 s"),
        (SCRIPT, ("import os\nos._exit(1)",), (), 6, "the kernel died"),
        (SCRIPT, ("%load_ext claw_magics", "%%claw\nhi"), ("--model", "anthropic/x"), 1, "No key for anthropic"),
        (SCRIPT, ("1",), ("--kernel", "none"), 6, "there is no kernel 'none'"),
    ],
    ids=["limit", "denied", "cell", "timeout", "kernel", "provider", "no kernel"],
)  # fmt: skip
def test_how_it_ended_is_the_exit_code(claw, script, cells, options, code, said):
    put(claw, script, *cells)
    done = claw.run("run", "nb.ipynb", *options, "--output-format", "json", timeout=120)
    assert (done.returncode, json.loads(done.stdout)["exit_code"]) == (code, code), done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    nbformat.validate(nbformat.read(claw.workspace / "nb.out.ipynb", as_version=4))


def test_a_limit_counts_over_the_whole_notebook_and_the_run_can_go_on(claw):
    replies = [{"tool_calls": [{"name": "Bash", "input": {"command": "cat a.txt"}}]}, {"text": "Done."}]
    put(claw, {"turns": [{"when": "", "replies": replies}]}, *TWO)
    options = ("--allow", "Bash(cat:*)", "--output", "o.ipynb", "--output-format", "json")
    done = claw.run("run", "nb.ipynb", *options, "--max-turns", "3", timeout=120)
    assert done.returncode == 3
    assert json.loads(done.stdout)["steps"] == 3
    first = nbformat.read(claw.workspace / "o.ipynb", as_version=4).cells[1].metadata["claw"]

    done = claw.run("run", "nb.ipynb", *options, "--max-turns", "10", timeout=120)
    assert done.returncode == 0, done.stderr
    assert "1 finished turn stay" in done.stderr
    saved = nbformat.read(claw.workspace / "o.ipynb", as_version=4)
    assert saved.cells[1].metadata["claw"] == first
    session = Session()
    session.merge(notebook_records(saved), notebook_header(saved))
    assert [record.stop_reason for record in session.records] == ["end_turn", "end_turn"]
    assert session.records[1].session_id == first["session_id"]  # it recalled what had been said


def test_after_sigterm_what_is_finished_is_saved_and_running_again_goes_on(claw):
    slow = {"tool_calls": [{"name": "Bash", "input": {"command": "touch started; sleep 60"}}]}
    script = {
        "turns": [{"when": "first", "replies": [{"text": "One."}]}, {"when": "", "replies": [slow, {"text": "Two."}]}]
    }
    put(claw, script, "%load_ext claw_magics\n%claw model scripted/s.json", "%%claw\nfirst", "%%claw\nslow one")
    command = claw.command(
        "run", "nb.ipynb", "--output", "o.ipynb", "--allow", "Bash", "--output-format", "stream-json"
    )
    process = subprocess.Popen(
        command, cwd=claw.workspace, env=claw.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    give_up = time.monotonic() + 60
    while not (claw.workspace / "started").exists() and time.monotonic() < give_up:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    out, said = process.communicate(timeout=60)
    assert process.returncode == 143, said
    assert events_of(out)[-1]["end"]["name"] == "terminated"
    saved = nbformat.read(claw.workspace / "o.ipynb", as_version=4)
    nbformat.validate(saved)
    records = [read_record(cell.metadata["claw"]) for cell in saved.cells if "claw" in cell.metadata]
    assert [record.stop_reason for record in records] == ["end_turn", "interrupted"]
    assert [result.is_error for result in records[1].steps[0].results] == [True]

    (claw.workspace / "s.json").write_text(json.dumps({"turns": [script["turns"][0], {"replies": [{"text": "Two."}]}]}))
    done = claw.run("run", "nb.ipynb", "--output", "o.ipynb", timeout=120)
    assert done.returncode == 0, done.stderr
    assert "1 finished turn stay" in done.stderr
    again = nbformat.read(claw.workspace / "o.ipynb", as_version=4)
    assert again.cells[1].metadata["claw"]["turn_id"] == records[0].turn_id
    assert again.cells[2].metadata["claw"]["stop_reason"] == "end_turn"


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("[permissions\n", "ci.toml, line 1: "),
        ('[permissions]\nmode = "dontAsk"\nalow = ["Bash"]\n', "ci.toml, line 3: unknown setting permissions.alow"),
        ('[permissions]\nallow = [\n  "Bash(ls"\n]\n', "ci.toml, line 3) cannot be read"),
        ('max_turns = 3\nbase_url = "http://x"\n', "ci.toml, line 2: a policy cannot set 'base_url'"),
        ('[sandbox]\nmode = "off"\n', "ci.toml, line 2: a policy can only tighten the sandbox"),
        ("# nothing\nmax_turns = 0\n", "ci.toml, line 2: max_turns cannot be 0"),
    ],
)  # fmt: skip
def test_a_policy_that_cannot_be_read_names_its_line(claw, policy, said):
    put(claw)
    (claw.workspace / "ci.toml").write_text(policy)
    done = claw.run("run", "nb.ipynb", "--policy", "ci.toml")
    assert done.returncode == 2
    assert said in done.stderr
    assert not (claw.workspace / "nb.out.ipynb").exists()


def test_a_notebook_cannot_widen_what_it_may_do(claw):
    """Its header may tighten, and does; what it allows there is not heard."""
    put(claw)
    path = claw.workspace / "nb.ipynb"
    document = json.loads(path.read_text())
    document["metadata"]["claw"] = {"permissions": {"allow": ["Write"], "deny": ["Bash"]}}
    path.write_text(json.dumps(document))
    done = claw.run("run", "nb.ipynb", "--allow", "Bash(cat:*)", "--allow", "Python", timeout=120)
    assert done.returncode == 4
    assert "denied: $ cat a.txt" in done.stderr
    assert not (claw.workspace / "made.txt").exists()
