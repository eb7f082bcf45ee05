"""Machines that refuse some layers, played by a filter of system calls over the whole program."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are those of x86-64")

REFUSE = """
    import ctypes, json, os, struct, sys
    def refuse(calls):
        program = struct.pack("HBBI", 0x20, 0, 0, 0)
        for number, errno in calls:
            program += struct.pack("HBBI", 0x15, 0, 1, number) + struct.pack("HBBI", 0x06, 0, 0, 0x50000 | errno)
        program += struct.pack("HBBI", 0x06, 0, 0, 0x7fff0000)
        buffer = ctypes.create_string_buffer(program)
        libc = ctypes.CDLL(None, use_errno=True)
        header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
        assert libc.prctl(38, 1, 0, 0, 0) == 0
        assert libc.prctl(22, 2, ctypes.c_char_p(header), 0, 0) == 0, ctypes.get_errno()
    refuse({calls})
    os.environ["MY_SETTING"] = "do-not-show-this"
    from claw_kernel._core import CancelToken, Core
    core = Core("work", state_dir="state", sandbox=json.dumps({sandbox}))
    core.set_policy(json.dumps({{"mode": "default", "rules": [{{"behavior": "allow", "rule": "Bash", "source": "t"}}]}}))
    prepared = core.prepare("Bash", json.dumps({{"command": {command!r}.replace("PID", str(os.getpid()))}}))
    report = json.loads(core.sandbox_report())
    text = json.loads(core.run(prepared, CancelToken()).content)[0]["text"]
    print(json.dumps([report, prepared.decision, prepared.reason, text]))
    core.close()
"""
UNSHARE, MOUNT_SETATTR, OPEN_TREE, EPERM, ENOSYS = 272, 442, 428, 1, 38


@pytest.fixture
def place():
    """Not below /tmp: what is hidden there is hidden anyway."""
    place = Path("/var/lib" if os.geteuid() == 0 else Path.home()) / f"claw-weaker-{os.getpid()}"
    for name in ("work", "outside", "home/.ssh"):
        (place / name).mkdir(parents=True)
    (place / "home/.ssh/id").write_text("a-secret")
    (place / "outside/plain").write_text("plain")
    yield place
    shutil.rmtree(place)


def run(place, calls, command, mode="on"):
    sandbox = {"mode": mode, "home": str(place / "home")}
    script = textwrap.dedent(REFUSE).format(calls=calls, sandbox=sandbox, command=command.replace("PLACE", str(place)))
    done = subprocess.run([sys.executable, "-c", script], cwd=place, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


COMMAND = """
cat PLACE/outside/plain; echo; cat PLACE/home/.ssh/id; echo x > in && cat in
(echo x > PLACE/outside/new) 2>&1; (echo x > /dev/tcp/127.0.0.1/9) 2>&1
tr '\\0' '\\n' < /proc/PID/environ; kill -0 PID; sleep 1002 & true
"""


def test_without_namespaces_it_asks_and_still_confines(place):
    report, decision, reason, _ = run(place, [(UNSHARE, EPERM)], "true")
    assert decision == "ask"
    assert "cannot give the whole sandbox" in reason
    assert "No namespaces (Operation not permitted" in report["missing"][0]

    assert run(place, [(UNSHARE, EPERM)], "true", mode="weaker-ok")[1] == "allow"
    _, _, _, text = run(place, [(UNSHARE, EPERM)], COMMAND, mode="weaker-ok")
    assert text.startswith("plain\n"), text
    assert "x\n" in text
    assert "a-secret" not in text
    assert "do-not-show-this" not in text
    assert "Operation not permitted" in text  # the socket
    assert not (place / "outside/new").exists()
    assert (place / "work/in").exists()


def test_without_the_new_mount_calls_the_old_ones_do_the_same(place):
    calls = [(MOUNT_SETATTR, ENOSYS), (OPEN_TREE, ENOSYS)]
    report, _, _, text = run(place, calls, COMMAND + "mkdir .vscode; ls -d .git; chmod 700 PLACE/outside")
    assert report["missing"] == []
    assert text.startswith("plain\n"), text
    assert "x\n" in text
    assert "a-secret" not in text
    assert "Read-only file system" in text
    assert "taken back" in text
    assert not (place / "outside/new").exists()
