"""What the policy reads in a line, against what bash runs of it: random lines, judged by the core and executed by bash where
PATH holds nothing but programs that record their names.

``CLAW_FUZZ_LINES=200000`` makes it thorough, ``CLAW_FUZZ_SEED`` other lines.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from claw_kernel._core import Core
from tests.attacks.lines import PROGRAMS, random_line

REAL_WRAPPERS = ("timeout", "nice", "nohup", "stdbuf", "env", "xargs")
"""These run what they are given, and nothing else: they are the real ones."""
LINES = int(os.environ.get("CLAW_FUZZ_LINES", "2000"))
EVERYTHING = [{"behavior": "allow", "rule": f"Bash({name}:*)", "source": ""} for name in PROGRAMS]


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """The only folder on PATH. ``log`` beside it gets a line for each program that runs."""
    folder = tmp_path / "programs"
    folder.mkdir()
    recorder = tmp_path / "recorder"
    recorder.write_text(f'#!/bin/sh\necho "${{0##*/}}" >> "{tmp_path / "log"}"\n')
    recorder.chmod(0o755)
    for name in (*PROGRAMS, "x", "E", "echo", "f", "sub"):
        (folder / name).symlink_to(recorder)
    for name in REAL_WRAPPERS:
        if found := shutil.which(name):
            (folder / name).symlink_to(found)
    return folder


@pytest.mark.timeout(180 + LINES // 10)
def test_whatever_runs_was_seen(tmp_path: Path, programs: Path) -> None:
    """Of a line that is allowed by a rule for each program alone, every program that really ran is one the policy saw there:
    a rule against it denies the line. And the line writes no file."""
    seed, count = int(os.environ.get("CLAW_FUZZ_SEED", "1")), LINES
    work = tmp_path / "work"
    (work / "sub").mkdir(parents=True)
    for folder in (work, work / "sub"):
        (folder / "p1").symlink_to(programs / "p2")  # the same name where the line may look first
    before = sorted(work.rglob("*"))
    core = Core(str(work), state_dir=str(tmp_path / "state"), session_id="fuzz")
    rng = random.Random(seed)
    log, allowed, seen = tmp_path / "log", 0, 0
    try:
        for number in range(count):
            line = random_line(rng)
            if decide(core, line, EVERYTHING) != "allow":
                continue
            allowed += 1
            log.unlink(missing_ok=True)
            subprocess.run(
                ["/bin/bash", "-c", line],
                cwd=work,
                env={"PATH": str(programs)},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=20,
            )
            ran = set(log.read_text().split()) if log.exists() else set()
            where = f"line {number} of seed {seed}: {line!r} ran {sorted(ran)}"
            assert ran <= set(PROGRAMS), where
            for name in ran:
                seen += 1
                against = {"behavior": "deny", "rule": f"Bash({name}:*)", "source": ""}
                assert decide(core, line, [*EVERYTHING, against]) == "deny", where
            assert sorted(work.rglob("*")) == before, where
    finally:
        core.close()
    assert allowed > count / 10, "the lines are too wild to say anything"
    assert seen > count / 10, "hardly anything ran"


def decide(core: Core, line: str, rules: list[dict[str, str]]) -> str:
    core.set_policy(json.dumps({"rules": rules}))
    return core.prepare("Bash", json.dumps({"command": line})).decision
