"""Bash: what is printed, how it ends, and that nothing of it is left."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from claw_kernel._core import CancelToken, ToolInputError
from tests.processes import is_alive, read_pids


def test_both_streams_in_order_and_the_exit_code(bench):
    result = bench.call("Bash", command="echo one; echo two >&2; echo three; exit 3")
    assert result.text == "one\ntwo\nthree\n[exit code 3]"
    assert result.status == "error"
    assert result.details["exit_code"] == 3


def test_success_without_output(bench):
    result = bench.call("Bash", command="true")
    assert (result.text, result.status) == ("(no output)", "ok")


def test_runs_in_the_workspace_without_input(bench):
    assert bench.call("Bash", command="pwd; cat").text == f"{bench.workspace}\n"


def test_a_signal_is_told(bench):
    result = bench.call("Bash", command="echo x; kill -SEGV $$")
    assert "[killed by SIGSEGV]" in result.text
    assert result.details["signal"] == "SIGSEGV"


def test_invalid_utf8_survives(bench):
    seen: list[str] = []
    result = bench.call("Bash", command=r"printf 'a\377b\303'; printf '\251\n'", on_output=seen.append)
    assert result.text.startswith("a�b")
    assert "".join(seen).startswith("a�b")


def test_output_streams_while_it_runs(bench):
    seen: list[tuple[float, str]] = []
    start = time.monotonic()
    bench.call(
        "Bash",
        command="for i in 1 2 3; do echo $i; sleep 0.2; done",
        on_output=lambda text: seen.append((time.monotonic() - start, text)),
    )
    assert "".join(text for _, text in seen) == "1\n2\n3\n"
    assert seen[0][0] < 0.4 < seen[-1][0]


def test_a_flood_is_handed_on_at_most_every_50_ms(bench):
    calls: list[str] = []
    start = time.monotonic()
    bench.call("Bash", command="timeout 1 yes", on_output=calls.append)
    assert len(calls) <= (time.monotonic() - start) / 0.05 + 3
    assert max(map(len, calls)) <= 16 * 1024


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_callback_that_fails_does_not_end_the_call(bench):
    def fail(_text: str) -> None:
        raise RuntimeError("display is gone")

    assert bench.call("Bash", command="echo hi", on_output=fail).text == "hi\n"


def test_long_output_keeps_head_and_tail_and_the_whole_can_be_read(bench):
    result = bench.call("Bash", command="seq 1 20000")
    assert len(result.text) < 32_000
    assert result.text.startswith("1\n2\n")
    assert result.text.endswith("19999\n20000\n")
    path = result.details["spill_path"]
    assert path in result.text
    assert Path(path).read_text() == "".join(f"{n}\n" for n in range(1, 20001))
    assert Path(path).stat().st_mode & 0o777 == 0o600
    assert bench.call("Read", file_path=path, offset=10_000, limit=2).text.startswith("10000\t10000\n10001\t10001\n")
    assert bench.prepare("Write", file_path=path, content="x").decision == "deny"


def test_the_file_with_the_whole_has_a_limit(bench):
    result = bench.call("Bash", command="head -c 70000000 /dev/zero | tr '\\0' x")
    assert Path(result.details["spill_path"]).stat().st_size == 64 << 20
    assert "first 64 MiB" in result.text


TREE = """
echo printed
echo $$ > pid0
sleep 100 & echo $! > pid1
setsid sleep 100 & echo $! > pid2
(setsid bash -c 'trap "" TERM; echo $$ > pid3; while true; do sleep 1; done' &)
env -i setsid sleep 100 & echo $! > pid4
trap "" TERM
wait
sleep 100
"""


def test_a_timeout_kills_the_whole_tree_and_keeps_what_was_printed(free_bench):
    result = free_bench.call("Bash", command=TREE, timeout=700)
    assert result.status == "timed_out"
    assert result.text.startswith("printed\n[timed out after 0.7 s")
    assert [pid for pid in read_pids(free_bench.workspace, 5) if is_alive(pid)] == []


def test_cancel_is_quick_and_kills_the_whole_tree(free_bench):
    token, done = CancelToken(), []
    thread = threading.Thread(target=lambda: done.append(free_bench.call("Bash", command=TREE, cancel=token)))
    thread.start()
    pids = read_pids(free_bench.workspace, 5)
    start = time.monotonic()
    token.cancel()
    thread.join(5)
    assert time.monotonic() - start < 0.5
    assert done[0].status == "cancelled"
    assert done[0].text.startswith("printed\n[cancelled")
    assert [pid for pid in pids if is_alive(pid)] == []


def test_a_plain_command_is_cancelled_in_under_100_ms(bench):
    best = 1.0
    for _ in range(5):
        token = CancelToken()
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(bench.call, "Bash", command="sleep 60", cancel=token)
            time.sleep(0.1)
            start = time.monotonic()
            token.cancel()
            assert future.result(5).status == "cancelled"
            best = min(best, time.monotonic() - start)
    assert best < 0.1


def test_a_cancelled_token_starts_nothing(bench):
    token = CancelToken()
    token.cancel()
    token.cancel()
    assert token.is_cancelled
    assert bench.call("Bash", command="touch made", cancel=token).status == "cancelled"
    assert not (bench.workspace / "made").exists()


def test_a_background_process_does_not_hold_the_call(free_bench):
    start = time.monotonic()
    result = free_bench.call("Bash", command="sleep 30 & echo $! > pid1; echo started")
    assert time.monotonic() - start < 2
    assert result.text.startswith("started\n[the shell has ended;")
    assert result.status == "ok"
    (pid,) = read_pids(free_bench.workspace, 1)
    assert is_alive(pid)
    free_bench.core.close()
    assert not is_alive(pid)


def test_close_ends_what_runs(free_bench):
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(free_bench.call, "Bash", command="echo $$ > pid1; sleep 60; true")
        (pid,) = read_pids(free_bench.workspace, 1)
        free_bench.core.close()
        assert future.result(5).status == "cancelled"
    assert not is_alive(pid)


def test_secrets_are_not_in_the_environment(bench, monkeypatch):
    for name in ("ANTHROPIC_API_KEY", "MY_SECRET", "GH_TOKEN", "DB_PASSWORD", "AWS_CREDENTIAL_FILE"):
        monkeypatch.setenv(name, "do-not-show-this")
    monkeypatch.setenv("BASH_ENV", "/nonexistent")
    monkeypatch.setenv("HARMLESS", "kept")
    text = bench.call("Bash", command="env").text
    assert "do-not-show-this" not in text
    assert "BASH_ENV" not in text
    assert "HARMLESS=kept" in text


def test_eight_commands_run_at_the_same_time(bench):
    start = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: bench.call("Bash", command="sleep 0.5"), range(8)))
    assert [result.status for result in results] == ["ok"] * 8
    assert time.monotonic() - start < 3  # one after the other they take 4


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "missing field `command`"),
        ({"command": ""}, "empty"),
        ({"command": "x", "timeout": 0}, "from 1 to 600000"),
        ({"command": "x", "timeout": 600_001}, "from 1 to 600000"),
        ({"command": "x", "timeout": "five"}, "timeout: invalid type"),
        ({"command": "x", "cwd": "/"}, "unknown field `cwd`"),
        ({"command": "a\0b"}, "NUL"),
        ({"command": "x" * (128 << 10)}, "longer than 131071 bytes"),
    ],
)
def test_bad_arguments_are_explained(bench, arguments, says):
    with pytest.raises(ToolInputError, match=says):
        bench.prepare("Bash", **arguments)


def test_an_unknown_tool_names_the_known_ones(bench):
    with pytest.raises(ToolInputError, match=r"Bash, BashOutput, .*Read, Write, Edit"):
        bench.prepare("Bsh", command="x")
