"""Processes that Python tools talk to."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

import pytest

from claw_kernel._core import Core
from tests.processes import children


def prepare(core: Core):
    return core.prepare("REPL", "{}", effects=json.dumps([{"effect": "run", "command": "python"}]))


def start(bench, code: str, **options):
    return bench.core.spawn(prepare(bench.core), [sys.executable, "-u", "-c", code], **options)


def test_a_conversation(bench):
    process = start(
        bench, "import sys\nfor line in sys.stdin: print(line.upper(), end='')\nprint('e', file=sys.stderr)"
    )
    process.write(b"one\n")
    assert process.read_output() == b"ONE\n"
    assert process.read_output(timeout=0.05) is None
    assert process.wait(timeout=0) is None
    process.write(b"two\n")
    process.close_input()
    assert process.read_output() == b"TWO\n"
    assert process.read_output() == b""
    assert process.read_error() == b"e\n"
    assert process.wait() == 0
    with pytest.raises(BrokenPipeError):
        process.write(b"x")


def test_folder_environment_and_merged_output(bench):
    (bench.workspace / "sub").mkdir()
    code = "import os,sys; print(os.getcwd(), os.environ['GIVEN'], flush=True); print('e', file=sys.stderr)"
    process = start(bench, code, cwd="sub", environment={"GIVEN": "value"}, merge_output=True)
    process.wait()
    text = b""
    while part := process.read_output():
        text += part
    assert text.decode() == f"{bench.workspace}/sub value\ne\n"
    assert process.read_error() == b""


def test_a_signal_is_a_negative_number(bench):
    assert start(bench, "import os; os.kill(os.getpid(), 11)").wait() == -11


def test_kill_wakes_readers_and_writers(bench):
    process = start(bench, "import time; time.sleep(60)")
    seen: list[object] = []

    def write() -> None:
        try:
            process.write(b"x" * (1 << 20))
        except BrokenPipeError as error:
            seen.append(error)

    threads = [threading.Thread(target=write), threading.Thread(target=lambda: seen.append(process.read_output()))]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    process.kill()
    process.kill()
    for thread in threads:
        thread.join(5)
    assert len(seen) == 2
    assert b"" in seen
    assert process.wait() in (-15, -9)


def test_close_ends_them_with_all_they_started(bench):
    code = "import subprocess,sys,time; c=subprocess.Popen(['sleep','60']); print(c.pid, flush=True); time.sleep(60)"
    process = start(bench, code)
    assert process.read_output()
    bench.core.close()
    assert process.wait(timeout=5) in (-15, -9)
    assert not Path(f"/proc/{process.pid}").exists()
    assert [child for child in children().values() if child.state == "Z"] == [], "nothing stays while it is held"


def test_what_is_dropped_ends(bench):
    process = start(bench, "import time; time.sleep(60)")
    pid = process.pid
    del process
    assert not Path(f"/proc/{pid}").exists()


def test_a_program_in_the_workspace_is_not_found_by_name(bench, monkeypatch):
    fake = bench.write("bin/mytool", "#!/bin/sh\necho fake\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:/usr/bin:/bin")
    with pytest.raises(FileNotFoundError, match="outside the workspace"):
        bench.core.spawn(prepare(bench.core), ["mytool"])
    with pytest.raises(FileNotFoundError, match="relative"):
        bench.core.spawn(prepare(bench.core), ["./bin/mytool"])
    assert bench.core.spawn(prepare(bench.core), ["true"]).wait() == 0


def test_a_denied_call_starts_nothing(bench):
    bench.set_policy(deny=["REPL"])
    with pytest.raises(PermissionError, match="Not started"):
        bench.core.spawn(prepare(bench.core), ["true"])
    bench.set_policy("bypassPermissions")
    with pytest.raises(PermissionError, match="outside the workspace"):
        bench.core.spawn(prepare(bench.core), ["true"], cwd="..")
    with pytest.raises(OSError, match="No program"):
        bench.core.spawn(prepare(bench.core), [])
