"""Commands in the background: started, read, waited for, listed, ended; none outlives its core."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from claw_kernel._core import CancelToken, Core, ToolInputError
from tests.processes import is_alive, read_pids, wait_until


def start(bench, command, **arguments):
    result = bench.call("Bash", command=command, run_in_background=True, **arguments)
    assert result.status == "ok", result.text
    return result.details["job"]


def test_a_job_returns_at_once_and_its_output_comes_in_pieces(bench):
    begun = time.monotonic()
    job = start(bench, "echo one; sleep 60", description="x")
    assert time.monotonic() - begun < 5
    first = bench.call("BashOutput", bash_id=job, wait_seconds=20)
    assert first.text.startswith("one\n[job b1 has been running for")
    assert first.details["is_running"]
    assert bench.call("BashOutput", bash_id=job).text.startswith("(no new output)\n")


def test_the_end_of_a_job_is_told_with_its_code(bench):
    job = start(bench, "echo out; echo err >&2; exit 3")
    texts = []
    for _ in range(3):
        read = bench.call("BashOutput", bash_id=job, wait_seconds=20)
        texts.append(read.text)
        if not read.details["is_running"]:
            break
    assert re.search(r"\[job b1 ended with exit code 3 after \d+ s\]", texts[-1]), texts
    assert read.details["exit_code"] == 3
    assert read.status == "ok"
    assert re.sub(r"\[job b1 .*\]\n?|\(no new output\)\n", "", "".join(texts)) == "out\nerr\n"


def test_a_filter_waits_for_a_line_and_drops_the_others(bench):
    job = start(bench, "echo a; sleep 0.2; echo ready on 80; sleep 60")
    read = bench.call("BashOutput", bash_id=job, filter="^ready", wait_seconds=30)
    assert read.text.startswith("ready on 80\n[job")
    assert "(no new lines that match)" in bench.call("BashOutput", bash_id=job, filter="x").text


def test_waiting_is_cancelled_at_once(bench):
    job = start(bench, "sleep 60")
    token = CancelToken()
    threading.Timer(0.1, token.cancel).start()
    begun = time.monotonic()
    bench.call("BashOutput", bash_id=job, wait_seconds=60, cancel=token)
    assert time.monotonic() - begun < 5


def test_jobs_are_listed_and_killed_with_all_they_started(free_bench):
    assert "No job" in free_bench.call("BashOutput").text
    job = start(free_bench, "echo $$ > pid0; (setsid sleep 100 & echo $! > pid1); sleep 100; true")
    start(free_bench, "true")
    pids = read_pids(free_bench.workspace, 2)
    listed = free_bench.call("BashOutput").text.splitlines()
    assert listed[0].startswith("b1 has been running for")
    assert len(listed) == 2
    assert free_bench.call("KillShell", shell_id=job).text.startswith("Job b1 was killed with all it had started.")
    assert [pid for pid in pids if is_alive(pid)] == []
    assert "killed after" in free_bench.call("BashOutput", bash_id=job, wait_seconds=10).text
    assert "job b1 was killed after" in free_bench.call("KillShell", shell_id=job).text


def test_names_and_arguments_that_models_know_are_understood(bench):
    job = start(bench, "sleep 60")
    assert "running" in bench.call("TaskOutput", task_id=job).text
    assert "was killed" in bench.call("KillBash", bash_id=job).text


def test_a_job_dies_with_its_core(free_bench):
    start(free_bench, "echo $$ > pid0; setsid sleep 100 & echo $! > pid1; wait")
    pids = read_pids(free_bench.workspace, 2)
    free_bench.core.close()
    assert [pid for pid in pids if is_alive(pid)] == []


def test_a_job_of_a_killed_kernel_is_ended_by_the_next_core(free_bench):
    script = f"""
import json, time
from claw_kernel._core import CancelToken, Core
core = Core({str(free_bench.workspace)!r}, state_dir={str(free_bench.state)!r}, sandbox='{{"mode": "off"}}')
core.set_policy(json.dumps({{"mode": "bypassPermissions"}}))
command = "trap '' HUP TERM; echo $$ > pid0; sleep 1000; true"
core.run(core.prepare("Bash", json.dumps({{"command": command, "run_in_background": True}})), CancelToken())
time.sleep(100)
"""
    kernel = subprocess.Popen([sys.executable, "-c", script])
    try:
        (pid,) = read_pids(free_bench.workspace, 1)
        # A core beside one that lives leaves its jobs alone.
        Core(str(free_bench.workspace), state_dir=str(free_bench.state)).close()
        assert is_alive(pid)
    finally:
        os.kill(kernel.pid, signal.SIGKILL)
        kernel.wait()
    Core(str(free_bench.workspace), state_dir=str(free_bench.state)).close()
    assert not is_alive(pid)
    assert list((free_bench.state / "running").iterdir()) == []


def test_a_long_output_is_kept_in_a_file_and_its_end_is_given(bench):
    bench.core.add_secret("a-secret-value-1")
    job = start(bench, "seq 1 100000; echo a-secret-value-1")
    read = bench.call("BashOutput", bash_id=job, wait_seconds=0)
    while read.details["is_running"]:
        time.sleep(0.05)
        read = bench.call("BashOutput", bash_id=job)
    (listed,) = json.loads(bench.core.jobs())
    kept = Path(listed["path"])
    assert kept.read_text() == "".join(f"{n}\n" for n in range(1, 100_001)) + "[secret]\n"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert bench.call("Read", file_path=str(kept), offset=100_000).text.startswith("100000\t100000\n")
    assert bench.prepare("Write", file_path=str(kept), content="x").decision == "deny"


def test_unread_output_is_bounded_and_says_what_was_left_out(bench):
    job = start(bench, "seq 1 100000; echo done; sleep 60")
    path = Path(json.loads(bench.core.jobs())[0]["path"])
    wait_until(lambda: path.read_text().endswith("done\n"))
    read = bench.call("BashOutput", bash_id=job)
    assert len(read.text) < 65_000
    assert read.text.startswith("[… ")
    assert str(path) in read.text
    assert "99999\n100000\ndone\n[job b1 has been running" in read.text


def test_a_job_has_a_time_limit_where_one_is_given(bench):
    job = start(bench, "sleep 60", timeout=200)
    read = bench.call("BashOutput", bash_id=job, wait_seconds=20)
    assert "killed at its time limit" in read.text


def test_a_job_that_closes_its_output_still_runs(bench):
    job = start(bench, "echo $$ > pid0; exec >&- 2>&-; sleep 0.5; exit 4")
    assert "exit code 4" in bench.call("BashOutput", bash_id=job, wait_seconds=20).text


def test_the_end_is_told_with_the_next_result_and_only_once(bench):
    start(bench, "sleep 0.5; exit 2")  # longer than the call that starts it
    wait_until(lambda: not json.loads(bench.core.jobs())[0]["is_running"])
    assert "[job b1 ended with exit code 2" in bench.call("Bash", command="true").text
    assert "job b1" not in bench.call("Bash", command="true").text


def test_a_job_is_judged_as_its_command_and_reading_is_free(bench):
    bench.set_policy("default", allow=["Bash(sleep 60)"], deny=["Bash(rm:*)"])
    assert bench.prepare("Bash", command="make", run_in_background=True).decision == "ask"
    assert bench.prepare("Bash", command="rm x", run_in_background=True).decision == "deny"
    prepared = bench.prepare("Bash", command="sleep 60", run_in_background=True)
    assert prepared.decision == "allow"
    assert not prepared.is_read_only
    assert prepared.title == "$ sleep 60 (in the background)"
    assert bench.prepare("BashOutput", bash_id="b1").decision == "allow"
    assert bench.prepare("KillShell", shell_id="b1").decision == "allow"


def test_only_so_many_run_at_once(bench):
    for _ in range(16):
        start(bench, "sleep 60")
    refused = bench.call("Bash", command="sleep 60", run_in_background=True)
    assert refused.status == "error"
    assert "16 jobs run already" in refused.text
    bench.call("KillShell", shell_id="b3")
    wait_until(lambda: bench.call("Bash", command="sleep 60", run_in_background=True).status == "ok")


@pytest.mark.parametrize(
    ("tool", "arguments", "says"),
    [
        ("BashOutput", {"bash_id": "b9"}, "There is no job"),
        ("KillShell", {"shell_id": ""}, "There is no job"),
    ],
)
def test_an_unknown_job_is_explained(bench, tool, arguments, says):
    result = bench.call(tool, **arguments)
    assert result.status == "error"
    assert says in result.text


def test_sleep_waits_and_is_cancelled_at_once(bench):
    begun = time.monotonic()
    assert bench.call("Sleep", seconds=0.2).text == "Slept 0.2 s."
    assert time.monotonic() - begun >= 0.2
    token = CancelToken()
    threading.Timer(0.1, token.cancel).start()
    begun = time.monotonic()
    assert bench.call("Sleep", seconds=600, cancel=token).status == "cancelled"
    assert time.monotonic() - begun < 5
    bench.set_policy("plan")
    assert bench.prepare("Sleep", seconds=1).decision == "allow"
    assert bench.prepare("Sleep", seconds=1).is_read_only
    with pytest.raises(ToolInputError, match="from 0 to 600"):
        bench.prepare("Sleep", seconds=601)
