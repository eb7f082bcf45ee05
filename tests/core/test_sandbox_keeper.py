"""What the commands of a session share in the sandbox, what they do not, and that it is made anew when it must be."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import tempfile
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from claw_kernel._core import Core
from tests.core.conftest import Bench
from tests.processes import children, wait_until, with_arguments


@pytest.fixture(scope="module", autouse=True)
def whole_sandbox(tmp_path_factory):
    core = Core(str(tmp_path_factory.mktemp("probe")), state_dir=str(tmp_path_factory.mktemp("probe-state")))
    if missing := json.loads(core.sandbox_report())["missing"]:
        pytest.skip(f"this machine cannot give the whole sandbox: {missing}")


def python(bench: Bench, code: str, **options) -> str:
    bench.write("code.py", textwrap.dedent(code))
    return bench.call("Bash", command=f"{sys.executable} code.py", **options).text


def launchers() -> dict[int, str]:
    """Those this process has started, and their states."""
    return {pid: child.state for pid, child in children().items() if child.name == "claw-sandbox"}


def test_nothing_is_started_before_the_first_command_and_nothing_is_left(tmp_path):
    before = launchers()
    bench = Bench(tmp_path)
    bench.call("Glob", pattern="*")
    assert launchers() == before
    for command in ("echo x > a", "cat a", "true", "echo y > a"):
        assert bench.call("Bash", command=command).status == "ok"
    assert len(launchers()) == len(before) + 2, "one for commands that write, one for those that do not"
    bench.core.close()
    assert launchers() == before
    assert bench.call("Bash", command="cat a").text == "y\n", "a closed core still runs what it is asked to"
    bench.core.close()


def test_a_command_sees_a_server_of_another_but_neither_its_memory_nor_its_processes(bench):
    bench.write(
        "serve.py",
        """
import http.server, pathlib
from multiprocessing import shared_memory
shared = shared_memory.SharedMemory("claw-test", create=True, size=64)
server = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
pathlib.Path("port").write_text(str(server.server_port))
server.serve_forever()
""",
    )
    job = bench.call("Bash", command=f"{sys.executable} serve.py", run_in_background=True)
    deadline = time.monotonic() + 20
    while not (bench.workspace / "port").exists():
        assert time.monotonic() < deadline, bench.call("BashOutput", bash_id=job.details["job"]).text
        time.sleep(0.05)
    text = python(
        bench,
        """
        import os, pathlib, urllib.request
        port = pathlib.Path("port").read_text()
        print(urllib.request.urlopen(f"http://127.0.0.1:{port}/port").read().decode() == port)
        print(os.listdir("/dev/shm"), len([name for name in os.listdir("/proc") if name.isdigit()]))
        """,
    )
    assert text == "True\n[] 2\n"  # process 1 and itself: a shell becomes its last command
    bench.call("KillShell", bash_id=job.details["job"])


def test_nothing_of_one_command_is_there_for_the_next(bench):
    made = python(
        bench,
        """
        import ctypes, os, pathlib
        libc = ctypes.CDLL(None, use_errno=True)
        print(libc.shmget(4711, 4096, 0o1666) >= 0, libc.msgget(4711, 0o1666) >= 0)
        pathlib.Path("/dev/shm/left").write_text("x")
        if os.fork() == 0:
            os.setsid()
            os.execvp("sleep", ["sleep", "1234567"])
        """,
    )
    assert made == "True True\n"
    found = python(
        bench,
        """
        import ctypes, os
        libc = ctypes.CDLL(None, use_errno=True)
        print(libc.shmget(4711, 4096, 0), libc.msgget(4711, 0), os.path.exists("/dev/shm/left"))
        """,
    )
    assert found == "-1 -1 False\n"
    assert with_arguments("sleep", "1234567") == []


def test_a_command_cannot_reach_its_process_1(bench):
    text = python(
        bench,
        """
        import os, signal
        for attempt in (
            lambda: open("/proc/1/mem", "rb"),
            lambda: os.readlink("/proc/1/fd/3"),
            lambda: open("/proc/1/environ").read(),
            lambda: os.readlink("/proc/1/root"),
        ):
            try:
                print("reached", attempt())
            except OSError as error:
                print(error.strerror)
        os.kill(1, signal.SIGKILL)
        os.kill(1, signal.SIGSEGV)
        print("still here")
        """,
    )
    assert text.splitlines() == ["Permission denied"] * 4 + ["still here"]


def test_a_place_that_has_come_to_be_protected_is_so_for_the_next_command(bench):
    assert bench.call("Bash", command="git init -q . && echo x > a").status == "ok"
    assert bench.call("Bash", command="git config core.fsmonitor ./evil").status == "error"
    bench.write(".vscode/settings.json", "{}")
    assert bench.call("Bash", command="cp /bin/true .vscode/settings.json").status == "error"
    assert (bench.workspace / ".vscode/settings.json").read_text() == "{}"


def test_a_harmless_line_cannot_write_whatever_its_programs_really_are(bench, monkeypatch):
    fake = bench.write("bin/ls", "#!/bin/sh\nmkdir .git; echo x > made; echo ran\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    text = bench.call("Bash", command="ls").text
    assert "ran" in text
    assert "Read-only file system" in text
    assert sorted(path.name for path in bench.workspace.iterdir()) == ["bin"]


def test_the_next_command_works_although_the_launcher_was_killed(bench):
    bench.call("Bash", command="echo a > b")
    before = launchers()
    assert before
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: set(launchers().values()) == {"Z"})
    assert bench.call("Bash", command="echo c > b; cat b").text == "c\n"
    assert "Z" not in launchers().values()


def test_a_long_line_and_a_large_environment_arrive(bench):
    words = " ".join("x" * 90 for _ in range(1300))
    assert bench.call("Bash", command=f"echo {words} | wc -c").text.strip() == str(len(words) + 1)


def waiting() -> list[int]:
    """The processes 1 that the launchers of this process keep ready."""
    return [pid for keeper in launchers() for pid in children(keeper)]


def test_commands_that_begin_together_all_run_and_a_few_processes_wait_for_the_next(bench):
    def call(number: int) -> str:
        return bench.call("Bash", command=f"sleep 0.2; echo {number}").text

    with ThreadPoolExecutor(12) as pool:
        for _ in range(2):
            assert list(pool.map(call, range(12))) == [f"{number}\n" for number in range(12)]
    wait_until(lambda: len(waiting()) == 4)


def test_the_next_command_works_although_those_that_waited_were_killed(bench):
    for _ in range(3):
        assert bench.call("Bash", command="echo a").text == "a\n"
        for pid in waiting():
            with suppress(ProcessLookupError):  # the process 1 of the command before, which ends by itself
                os.kill(pid, signal.SIGKILL)
    assert bench.call("Bash", command="echo b").text == "b\n"
    assert len(launchers()) == 1


def test_a_socket_in_the_machines_folder_for_temporary_files_needs_no_other_launcher(bench):
    bench.call("Bash", command="true")
    before = launchers()
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{folder}/socket")
        server.listen()
        assert bench.call("Bash", command=f"test -S {folder}/socket").status == "error", "it cannot be seen"
        assert bench.call("Bash", command="true").status == "ok"
        assert launchers().keys() == before.keys()
