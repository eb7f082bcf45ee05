"""``claw run``: real kernels without anybody in front, within limits and a policy, stopped and gone on with."""

from __future__ import annotations

import base64
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
    assert "1 finished turn stays" in done.stderr
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
    assert "1 finished turn stays" in done.stderr
    again = nbformat.read(claw.workspace / "o.ipynb", as_version=4)
    assert again.cells[1].metadata["claw"]["turn_id"] == records[0].turn_id
    assert again.cells[2].metadata["claw"]["stop_reason"] == "end_turn"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_the_kernel_starts_ends_the_run_in_good_order(claw, tmp_path, number):
    put(claw, SCRIPT, "import time\ntime.sleep(60)")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    claw.environment["TMPDIR"] = str(scratch)
    process = claw.start(
        "run", "nb.ipynb", "--output", "o.ipynb", "--output-format", "json",
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    give_up = time.monotonic() + 60
    while not list(scratch.glob("claw-kernel-*/*")) and time.monotonic() < give_up:  # its sockets
        time.sleep(0.01)
    process.send_signal(number)
    out, said = process.communicate(timeout=60)
    assert process.returncode == 143, said
    assert json.loads(out)["end"]["name"] == "terminated"
    assert said.startswith("claw: stopped by a signal")
    assert list(scratch.iterdir()) == []


def test_after_a_cell_that_failed_no_finished_turn_is_sent_again_unless_what_stands_before_it_changed(claw):
    """Also where it was the last cell, behind all turns."""
    one = {"turns": [{"when": "", "replies": [{"text": "One."}]}]}
    first = ("%load_ext claw_magics\n%claw model scripted/s.json", "year = 2026", "%%claw\nfirst")

    def go_on(last: str, *options: str, year: str = first[1]) -> tuple[int, str, str]:
        put(claw, one, first[0], year, first[2], last)
        done = claw.run("run", "nb.ipynb", *options, "--output", "o.ipynb", "--output-format", "json", timeout=120)
        saved = nbformat.read(claw.workspace / "o.ipynb", as_version=4)
        return done.returncode, done.stderr, saved.cells[2].metadata["claw"]["turn_id"]

    code, said, turn = go_on("1 / 0")
    assert (code, "running it again goes on" in said) == (6, True)
    code, said, again = go_on("import time\ntime.sleep(30)", "--timeout", "2")
    assert (code, again, "1 finished turn stays" in said) == (6, turn, True)
    code, said, again = go_on("1")
    assert (code, again, "1 finished turn stays" in said) == (0, turn, True)
    code, _, again = go_on("1 / 0")  # that run had reached its end, so this one began anew
    assert (code, again != turn) == (6, True)
    code, said, other = go_on("1", year="year = 2027")
    assert (code, other != again, said) == (0, True, "")


def test_what_code_cells_show_holds_no_secret_wherever_it_is_written(claw):
    token = "canary-value-1234567890"
    shows = "import base64, os, sys\ntoken = os.environ['SERVICE_TOKEN']\nprint(token[:5], end='', flush=True)\nprint(token[5:])"
    put(
        claw,
        SCRIPT,
        shows,
        "print(base64.b64encode(token.encode()).decode(), file=sys.stderr)\n{'a': [token]}",
        "raise ValueError(token)",
    )
    done = claw.run("run", "nb.ipynb", "--output-format", "stream-json", SERVICE_TOKEN=token, timeout=120)
    assert done.returncode == 6
    saved = (claw.workspace / "nb.out.ipynb").read_text()
    assert saved.count("[secret]") >= 4
    assert "ValueError: [secret]" in done.stderr
    for text in (saved, done.stdout, done.stderr):
        assert token not in text
        assert base64.b64encode(token.encode()).decode()[:24] not in text
    checked = claw.run("session", "scrub", "--check", "nb.out.ipynb", "nb.ipynb", SERVICE_TOKEN=token)
    assert (checked.returncode, checked.stdout) == (0, "nb.out.ipynb: nothing found.\nnb.ipynb: nothing found.\n")


def test_the_output_is_never_put_in_the_place_of_something_else(claw):
    put(claw, SCRIPT, "1 + 1")
    folder = claw.workspace
    (folder / "link.ipynb").symlink_to("nb.ipynb")
    (folder / "text.ipynb").write_text("no notebook\n")
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("%%claw\nhi", id="mine")])
    made.cells[0].metadata["claw"] = {"format": 2, "turn_id": "t_1", "steps": []}
    nbformat.write(made, folder / "session.ipynb")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    for name, said in {
        "o.html": "ends in .ipynb",
        "missing/o.ipynb": "no such directory",
        "nb.ipynb": "is the notebook itself",
        "link.ipynb": "is the notebook itself",
        "text.ipynb": "is there and was kept",
        "session.ipynb": "holds the session of another notebook",
    }.items():
        done = claw.run("run", "nb.ipynb", "--output", name)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
        done = claw.run("replay", "session.ipynb" if name == "session.ipynb" else "nb.ipynb", "--output", name)
        assert done.returncode == 2
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    # What is empty, and where a link leads, may be written; the link stays.
    (folder / "o.ipynb").touch()
    (folder / "to.ipynb").symlink_to("o.ipynb")
    assert claw.run("run", "nb.ipynb", "--output", "to.ipynb").returncode == 0
    assert (folder / "to.ipynb").is_symlink()
    assert nbformat.read(folder / "o.ipynb", as_version=4).cells[0].outputs[0].data["text/plain"] == "2"


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
