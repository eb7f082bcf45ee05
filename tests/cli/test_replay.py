"""``claw replay`` and ``claw run --replay``: real kernels on recorded answers, results compared, edits refused, no key, no network."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import nbformat
import pytest

from claw_kernel.session import read_record
from claw_kernel.session.notebook import notebook_records
from claw_kernel.session.record import MIME_TYPE
from tests.cli.conftest import CommandLine

ROOT = Path(__file__).parents[2]
POLICY = """\
[permissions]
mode = "dontAsk"
allow = ["Python", "Edit(penguin_stats.py)", "Bash(python test_penguin_stats.py)", "Bash(cat:*)"]
"""


def network_of_nothing() -> list[str]:
    """The beginning of a command line that runs in a network namespace without any interface, or nothing where there is none."""
    if shutil.which("unshare") is None:
        return []
    for options in (["unshare", "-n"], ["unshare", "-r", "-n"]):
        if subprocess.run([*options, "true"], capture_output=True).returncode == 0:
            return options
    return []


class Recorder(CommandLine):
    """A workspace with a notebook in it that was run, and replays of it."""

    def record(self, name: str, *options: str) -> None:
        """Run the notebook live on its scripted model, and let the result take its place."""
        done = self.run("run", name, "--output", f"out-{name}", *options, timeout=170)
        assert done.returncode == 0, done.stdout + done.stderr
        (self.workspace / f"out-{name}").replace(self.workspace / name)

    def replay(self, name: str, *options: str) -> tuple[int, dict, str]:
        """Exit code, JSON report, and what was said; without key and network."""
        command = [*network_of_nothing(), *self.command("replay", name, "--output-format", "json", *options)]
        done = subprocess.run(
            command, cwd=self.workspace, env=self.environment, capture_output=True, text=True, timeout=170
        )
        return done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr


def outcomes(report: dict) -> list[tuple[int, int, str, str]]:
    return [
        (turn["turn"], call["step"], call["tool"], call["outcome"])
        for turn in report["turns"]
        for call in turn["calls"]
    ]


def edit(path: Path, change) -> None:
    """What a person with an editor does to a notebook's records, in both carriers."""
    document = json.loads(path.read_text())
    for record in notebook_records(document):
        change(record)
    path.write_text(json.dumps(document))


# --- the tour ---


@pytest.fixture(scope="module")
def tour(tmp_path_factory):
    """The first notebooks as they stand in the repository, run once."""
    recorder = Recorder(tmp_path_factory.mktemp("tour"))
    recorder.workspace.rmdir()
    shutil.copytree(ROOT / "notebooks", recorder.workspace, ignore=shutil.ignore_patterns("__pycache__", ".claw"))
    (recorder.workspace / "ci.toml").write_text(POLICY)
    recorder.record("quickstart.ipynb", "--policy", "ci.toml")
    shutil.copy(ROOT / "notebooks" / "penguin_stats.py", recorder.workspace)
    return recorder


def digest_of(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_tour_replays_the_same_without_key_and_network_and_changes_nothing(tour):
    before = digest_of(tour.workspace)
    code, report, said = tour.replay("quickstart.ipynb", "--policy", "ci.toml")
    assert (code, said) == (0, "")
    assert report["is_same"] is True
    assert report["counts"] == {"same": 8, "drifted": 0, "missing": 0, "refused": 0}
    # The first rows of the table, and the figure's title.
    assert [(cell["title"], cell["outcome"]) for cell in report["cells"]] == [
        ("import pandas as pd", "same"),
        ("figure.axes[0].get_title()", "same"),
    ]
    assert report["notes"] == []
    assert [turn["notices"] for turn in report["turns"]] == [[], [], []]
    assert "times" in report["looked_past"]
    assert digest_of(tour.workspace) == before


def test_the_tour_of_the_claw_kernel_replays_the_same(tour):
    specs = str(ROOT / "labextension/wheel_data/data/share/jupyter")  # where they are in an editable installation
    tour.environment["JUPYTER_PATH"] = specs
    tour.record("claw_kernel.ipynb", "--policy", "ci.toml")
    shutil.copy(ROOT / "notebooks" / "penguin_stats.py", tour.workspace)
    code, report, said = tour.replay("claw_kernel.ipynb", "--policy", "ci.toml")
    assert (code, report["counts"]["same"], said) == (0, 8, ""), report


def test_a_changed_file_is_named_by_turn_step_and_tool_and_an_edited_command_is_refused(tour):
    """One replay for both, since a kernel with pandas takes its time."""
    path = tour.workspace / "penguins.csv"
    lines = path.read_text().splitlines(keepends=True)
    heavy = [line for line in lines if not line.startswith("Gentoo")]
    path.write_text("".join(heavy))

    def swap(record):
        for step in record["steps"]:
            for block in step["content"]:
                if block["type"] == "tool_call" and block["name"] == "Bash":
                    block["input"]["command"] = "cat /etc/hostname"
                    return

    kept = (tour.workspace / "quickstart.ipynb").read_bytes()
    edit(tour.workspace / "quickstart.ipynb", swap)
    try:
        code, report, _ = tour.replay(
            "quickstart.ipynb", "--policy", "ci.toml", "--report", "junit", "junit.xml", "--report", "json", "r.json"
        )
    finally:
        path.write_text("".join(lines))
        (tour.workspace / "quickstart.ipynb").write_bytes(kept)
    assert code == 4
    found = outcomes(report)
    assert (1, 2, "Python", "drifted") in found
    assert (2, 2, "Bash", "refused") in found
    assert (2, 1, "Grep", "same") in found
    (drifted,) = [call for call in report["turns"][0]["calls"] if call["tool"] == "Python"]
    assert "-Gentoo" in drifted["diff"]
    (refused,) = [call for call in report["turns"][1]["calls"] if call["outcome"] == "refused"]
    assert "edited after it was recorded" in refused["reason"]
    assert any("turn 2, step 2" in note for note in report["notes"])
    assert json.loads((tour.workspace / "r.json").read_text()) == report
    suites = ET.parse(tour.workspace / "junit.xml").getroot()
    failures = {case.get("name"): case[0].get("type") for case in suites.iter("testcase") if len(case)}
    assert failures["step 2, call 1: Bash"] == "refused"
    assert "drifted" in failures.values()


# --- a small notebook ---


def small_notebook(folder: Path, *cells: str, kernel: str = "python3") -> Path:
    made = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source, id=f"c{n}") for n, source in enumerate(cells)],
        metadata={"kernelspec": {"name": kernel, "display_name": kernel}},
    )
    path = folder / "nb.ipynb"
    nbformat.write(made, path)
    return path


SCRIPT = {
    "turns": [
        {
            "when": "Look",
            "replies": [
                {
                    "text": "I look.",
                    "tool_calls": [
                        {"name": "Bash", "input": {"command": "cat a.txt"}},
                        {
                            "name": "Python",
                            "input": {"code": "import time, os\nprint(seen + 1, time.time() > 0, os.getcwd())"},
                        },
                    ],
                },
                {"text": "Done: {{result}}"},
            ],
        },
        {
            "when": "Write",
            "replies": [
                {"tool_calls": [{"name": "Write", "input": {"file_path": "made.txt", "content": "x\n"}}]},
                {"text": "Written."},
            ],
        },
    ]
}
CELLS = ("%load_ext claw_magics\n%claw model scripted/s.json", "seen = 41", "%%claw\nLook around", "%%claw\nWrite it")
ALLOWED = ("--allow", "Bash(cat:*)", "--allow", "Python", "--allow", "Write")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    recorder = Recorder(tmp_path_factory.mktemp("small"))
    (recorder.workspace / "s.json").write_text(json.dumps(SCRIPT))
    (recorder.workspace / "a.txt").write_text("hello\n")
    small_notebook(recorder.workspace, *CELLS)
    recorder.record("nb.ipynb", *ALLOWED)
    (recorder.workspace / "made.txt").unlink()
    (recorder.workspace / "s.json").unlink()  # from here on nothing but the record can answer
    return recorder


def test_what_was_approved_then_is_refused_where_nothing_allows_it_now(small):
    code, report, _ = small.replay("nb.ipynb", "--allow", "Bash(cat:*)", "--permission-mode", "dontAsk")
    assert code == 4
    assert outcomes(report) == [
        (1, 1, "Bash", "same"),
        (1, 1, "Python", "refused"),
        (2, 1, "Write", "refused"),
    ]
    assert not (small.workspace / "made.txt").exists()


def test_paths_of_the_copy_are_no_drift_and_update_takes_new_results(small, tmp_path):
    path = small.workspace / "nb.ipynb"
    kept = path.read_bytes()
    (small.workspace / "a.txt").write_text("goodbye\n")
    try:
        code, report, _ = small.replay("nb.ipynb", *ALLOWED)
        assert code == 5
        assert outcomes(report) == [(1, 1, "Bash", "drifted"), (1, 1, "Python", "same"), (2, 1, "Write", "same")]
        diff = report["turns"][0]["calls"][0]["diff"].splitlines()
        assert diff[-2:] == ["-hello", "+goodbye"]
        assert report["turns"][0]["notices"] == ["the request differs from the recorded one: message 3"]

        code, _, said = small.replay("nb.ipynb", *ALLOWED, "--update")
        assert (code, "2 turns now hold" in said or "1 turn now hold" in said) == (5, True), said
        records = [read_record(found) for found in notebook_records(json.loads(path.read_text()))]
        assert str(small.workspace) in json.dumps([str(record) for record in records])
        assert "claw-replay-" not in path.read_text()
        nbformat.validate(nbformat.read(path, as_version=4))
        code, report, _ = small.replay("nb.ipynb", *ALLOWED)
        assert (code, report["notes"]) == (0, []), report
    finally:
        path.write_bytes(kept)
        (small.workspace / "a.txt").write_text("hello\n")


def test_an_output_cut_by_the_setting_replays_the_same_and_is_named_where_its_kept_part_differs(tmp_path):
    recorder = Recorder(tmp_path)
    home = Path(recorder.environment["CLAW_HOME"])
    home.mkdir(parents=True, exist_ok=True)
    (home / "settings.json").write_text(json.dumps({"record_output_kilobytes": 16}))
    command = {"name": "Bash", "input": {"command": "cat a.txt"}}
    script = {"turns": [{"when": "Look", "replies": [{"tool_calls": [command]}, {"text": "Done."}]}]}
    (recorder.workspace / "s.json").write_text(json.dumps(script))
    lines = [f"line {number} of a long output\n" for number in range(900)]
    (recorder.workspace / "a.txt").write_text("".join(lines))
    small_notebook(recorder.workspace, CELLS[0], "%%claw\nLook around")
    recorder.record("nb.ipynb", *ALLOWED)
    notebook = recorder.workspace / "nb.ipynb"
    first = notebook_records(json.loads(notebook.read_text()))[0]
    stored = first["steps"][0]["results"][0]["content"][0]["stored"]
    assert stored["omitted"] == len("".join(lines)) - 16_000

    code, report, _ = recorder.replay("nb.ipynb", *ALLOWED)
    assert (code, outcomes(report)) == (0, [(1, 1, "Bash", "same")]), report
    lines[2] = "another line\n"
    (recorder.workspace / "a.txt").write_text("".join(lines))
    code, report, _ = recorder.replay("nb.ipynb", *ALLOWED)
    assert (code, outcomes(report)) == (5, [(1, 1, "Bash", "drifted")])
    assert "+another line" in report["turns"][0]["calls"][0]["diff"]
    code, _, _ = recorder.replay("nb.ipynb", *ALLOWED, "--update")
    updated = notebook_records(json.loads(notebook.read_text()))[0]["steps"][0]["results"][0]["content"][0]["stored"]
    assert updated["omitted"] == len("".join(lines)) - 16_000
    code, report, _ = recorder.replay("nb.ipynb", *ALLOWED)
    assert (code, report["turns"][0]["calls"][0]["reason"]) == (0, "")


def test_a_session_that_was_compacted_replays_the_same(tmp_path):
    recorder = Recorder(tmp_path)
    notes = {"when": "From Claw, not from the user: this", "replies": [{"text": "## Next\nwrite it"}]}
    # The summary quotes the first prompt, so the second one is looked for first.
    script = {"turns": [notes, *sorted(SCRIPT["turns"], key=lambda turn: turn["when"], reverse=True)]}
    (recorder.workspace / "s.json").write_text(json.dumps(script))
    (recorder.workspace / "a.txt").write_text("hello\n")
    small_notebook(recorder.workspace, *CELLS[:3], "%claw compact", CELLS[3])
    recorder.record("nb.ipynb", *ALLOWED)
    second = notebook_records(json.loads((recorder.workspace / "nb.ipynb").read_text()))[-1]
    (recorder.workspace / "made.txt").unlink()
    assert "## Next\nwrite it" in second["steps"][0]["compaction"]["summary"]
    code, report, _ = recorder.replay("nb.ipynb", *ALLOWED)
    assert (code, report["is_same"], report["notes"]) == (0, True, []), report
    assert [turn["notices"] for turn in report["turns"]] == [[], []]


def test_outputs_of_code_cells_are_compared_named_and_taken_over(tmp_path):
    recorder = Recorder(tmp_path)
    (recorder.workspace / "s.json").write_text(json.dumps(SCRIPT))
    (recorder.workspace / "a.txt").write_text("hello\n")
    small_notebook(
        recorder.workspace,
        *CELLS[:3],
        "import os, sys, time\nprint(os.getcwd(), time.ctime(), object())\nfor n in range(3):\n    print(end=f'\\r{n} of 3')",
        "text = open('a.txt').read()\nprint(text)\ntext.strip()",
        "%claw status",
        "len(text)",
        "print(len(text), os.environ.get('SERVICE_TOKEN'))",
    )
    recorder.environment["SERVICE_TOKEN"] = "canary-value-1234567890"
    recorder.record("nb.ipynb", *ALLOWED)
    path = recorder.workspace / "nb.ipynb"
    code, report, _ = recorder.replay("nb.ipynb", *ALLOWED)
    assert code == 0, report
    assert [(cell["cell"], cell["outcome"]) for cell in report["cells"]] == [(n, "same") for n in (1, 3, 4, 6, 7)]

    recorder.environment["SERVICE_TOKEN"] = "canary-value-0987654321"
    (recorder.workspace / "a.txt").write_text("howdy\n")
    code, report, _ = recorder.replay("nb.ipynb", *ALLOWED, "--report", "junit", "r.xml")
    assert (code, report["outcome"]) == (5, "drifted")
    found = {cell["cell"]: cell for cell in report["cells"]}
    # Another token is no drift: of neither is anything kept.
    assert [found[n]["outcome"] for n in (1, 3, 4, 6, 7)] == ["same", "same", "drifted", "same", "same"]
    assert "canary-value" not in json.dumps(report) + (recorder.workspace / "r.xml").read_text() + path.read_text()
    assert found[4]["reason"] == "output 1 text/plain, stdout differ"
    assert "-'hello'" in found[4]["diff"]
    assert "+'howdy'" in found[4]["diff"]
    failures = [case.get("name") for case in ET.parse(recorder.workspace / "r.xml").iter("testcase") if len(case)]
    assert "cell 5: text = open('a.txt').read()" in failures

    # A cell that fails, and those behind it that are never reached.
    (recorder.workspace / "a.txt").rename(recorder.workspace / "b.txt")
    code, report, _ = recorder.replay("nb.ipynb", *ALLOWED)
    assert code == 6
    assert [cell["outcome"] for cell in report["cells"]] == ["same", "same", "drifted", "missing", "missing"]
    (recorder.workspace / "b.txt").rename(recorder.workspace / "a.txt")

    code, _, said = recorder.replay("nb.ipynb", *ALLOWED, "--update")
    assert "and 1 code cell the new outputs" in said
    assert nbformat.read(path, as_version=4).cells[4].outputs[1]["data"]["text/plain"] == "'howdy'"
    code, report, _ = recorder.replay("nb.ipynb", *ALLOWED)
    assert code == 0, report


def test_in_place_and_through_run_replay_with_events(small):
    try:
        done = small.run(
            "run",
            "nb.ipynb",
            "--replay",
            "--in-place",
            *ALLOWED,
            "--output",
            "o.ipynb",
            "--output-format",
            "stream-json",
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert (small.workspace / "made.txt").read_text() == "x\n"
        kinds = [json.loads(line)["type"] for line in done.stdout.splitlines()]
        assert kinds[-1] == "run_finished"
        assert kinds.count("turn_finished") == 2
        saved = nbformat.read(small.workspace / "o.ipynb", as_version=4)
        nbformat.validate(saved)
        assert saved.cells[2].metadata["claw"]["model"] == "recorded/nb.ipynb"
    finally:
        for name in ("made.txt", "o.ipynb"):
            (small.workspace / name).unlink(missing_ok=True)


def test_commands_that_need_the_file_know_it_in_a_run_and_stop_no_replay(tmp_path):
    recorder = Recorder(tmp_path)
    (recorder.workspace / "s.json").write_text(json.dumps({"turns": [{"when": "Hi", "replies": [{"text": "Hello."}]}]}))
    cells = ("%load_ext claw_magics\n%claw model scripted/s.json", "%%claw\nHi", "%claw blame", "%claw replay", "1 + 1")
    path = small_notebook(recorder.workspace, *cells)
    recorder.record("nb.ipynb")
    shown = nbformat.read(path, as_version=4).cells
    assert "| scripted/s.json |" in shown[2].outputs[0]["data"]["text/markdown"]
    assert ".." not in shown[3].outputs[0]["data"]["text/markdown"]

    code, report, said = recorder.replay("nb.ipynb", "--output", "o.ipynb")
    assert (code, report["end"]["name"]) == (0, "done"), (report, said)
    replayed = nbformat.read(recorder.workspace / "o.ipynb", as_version=4).cells
    assert replayed[2].outputs == shown[2].outputs  # of the file's turns, not of the replay's
    assert "nothing is replayed inside it" in replayed[3].outputs[0]["data"]["text/markdown"]


@pytest.mark.parametrize("runner", ["nbclient", "papermill"])
def test_other_runners_replay_by_the_environment_alone(small, runner):
    (small.workspace / "ci.toml").write_text(POLICY.replace('"Python"', '"Python", "Write"'))
    programs = {
        "nbclient": "import nbformat\nfrom nbclient import NotebookClient\nnb = nbformat.read('nb.ipynb', 4)\n"
        "NotebookClient(nb, timeout=60).execute()\nnbformat.write(nb, 'o.ipynb')",
        "papermill": "import papermill\npapermill.execute_notebook('nb.ipynb', 'o.ipynb', progress_bar=False)",
    }
    try:
        done = subprocess.run(
            [sys.executable, "-c", programs[runner]],
            cwd=small.workspace,
            env=small.environment | {"CLAW_REPLAY": "nb.ipynb", "CLAW_POLICY": "ci.toml"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        drawn = [
            output["data"][MIME_TYPE]
            for cell in nbformat.read(small.workspace / "o.ipynb", as_version=4).cells
            for output in cell.get("outputs", ())
            if MIME_TYPE in output.get("data", {})
        ]
        assert [record["stop_reason"] for record in drawn] == ["end_turn", "end_turn"]
        assert {record["model"] for record in drawn} == {"recorded/nb.ipynb"}
        assert "hello" in json.dumps(drawn[0]["steps"][0]["results"])
    finally:
        for name in ("made.txt", "o.ipynb", "ci.toml"):
            (small.workspace / name).unlink(missing_ok=True)


def test_mistakes_are_one_line(small):
    cases = [
        (("replay", "none.ipynb"), 2, "there is no notebook 'none.ipynb'"),
        (("replay", "a.txt"), 2, "cannot be read as a notebook"),
        (("replay", "nb.ipynb", "--report", "html", "x"), 2, "--report takes json or junit"),
        (("replay", "nb.ipynb", "--normalise", "("), 2, "no regular expression"),
        (("replay", "nb.ipynb", "--allow", "Bsh"), 2, "there is no tool"),
        (("replay", "nb.ipynb", "--policy", "none.toml"), 2, "there is no policy"),
        (("replay", "nb.ipynb", "--require-signed"), 2, "is not signed"),
        (("run", "nb.ipynb"), 2, "say --replay or --live"),
        (("run", "nb.ipynb", "--live", "--replay"), 2, "exclude each other"),
    ]
    for arguments, code, said in cases:
        done = small.run(*arguments)
        assert (done.returncode, said in done.stderr) == (code, True), (arguments, done.stderr)
        assert "Traceback" not in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_at_a_terminal_the_person_is_asked_and_answers(small):
    pexpect = pytest.importorskip("pexpect")
    command = small.command("replay", "nb.ipynb", "--allow", "Bash(cat:*)", "--allow", "Python")
    child = pexpect.spawn(
        command[0],
        command[1:],
        cwd=str(small.workspace),
        env=small.environment | {"TERM": "dumb"},
        timeout=90,
        encoding="utf-8",
    )
    child.expect("made.txt")
    child.expect(r"\] ")
    child.sendline("y")
    child.expect("2 turns, 3 tool calls: all same")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert not (small.workspace / "made.txt").exists()


def test_in_the_notebook_the_report_is_shown(small):
    """``%claw replay`` of the saved file, with the rules of the session it is asked in."""
    (small.workspace / "asking.py").write_text(
        "import nbformat\nfrom nbclient import NotebookClient\n"
        "cells = ['%load_ext claw_magics\\n%claw permissions allow Bash(cat:*)', '%claw replay nb.ipynb']\n"
        "nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])\n"
        "NotebookClient(nb, timeout=80, kernel_name='python3').execute()\n"
        "print(nb.cells[1].outputs[-1]['data']['text/plain'])"
    )
    try:
        done = subprocess.run(
            [sys.executable, "asking.py"],
            cwd=small.workspace, env=small.environment, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    finally:
        (small.workspace / "asking.py").unlink()
    assert done.returncode == 0, done.stderr
    assert "2 turns, 3 tool calls: 1 same, 2 refused" in done.stdout
    assert "nobody can be asked" in done.stdout
