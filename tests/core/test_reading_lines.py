"""Lines that only read in the workspace run without being asked, as long as the whole sandbox holds them."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from tests.core.conftest import Bench

MODES = ("default", "acceptEdits", "plan")


@pytest.fixture
def reading(bench: Bench) -> Bench:
    if missing := json.loads(bench.core.sandbox_report())["missing"]:
        pytest.skip(f"this machine cannot give the whole sandbox: {missing}")
    (bench.workspace / "a.txt").write_text("one\ntwo\n")
    (bench.workspace / "src").mkdir()
    bench.set_policy()
    return bench


def decisions(bench: Bench, line: str) -> set[str]:
    found = set()
    for mode in MODES:
        bench.set_policy(mode)
        found.add(bench.prepare("Bash", command=line).decision)
    return found


@pytest.mark.parametrize(
    "line", ["ls -la", "cat a.txt", "grep -rn one . | head -5", "find . -name '*.txt'", "cd src && ls", "wc -l < a.txt"]
)
def test_what_only_reads_is_not_asked_and_says_why(reading, line):
    assert decisions(reading, line) == {"allow"}
    assert "in the workspace" in reading.prepare("Bash", command=line).reason
    assert reading.call("Bash", command=line).status == "ok"


def test_rules_go_before(reading):
    reading.set_policy(deny=["Bash(cat:*)"])
    assert reading.prepare("Bash", command="ls && cat a.txt").decision == "deny"
    reading.set_policy(ask=["Bash(cat:*)"])
    assert reading.prepare("Bash", command="ls && cat a.txt").decision == "ask"
    reading.set_policy(deny=["Read(a.txt)"])
    assert reading.prepare("Bash", command="cat a.txt").decision == "deny"
    assert reading.prepare("Bash", command="grep -r one .").decision == "ask"
    reading.set_policy("plan", ask=["Bash(ls:*)"])
    assert reading.prepare("Bash", command="ls").decision == "ask"


def test_a_filter_needs_no_rule_of_its_own(reading):
    reading.set_policy(allow=["Bash(make:*)"])
    assert reading.prepare("Bash", command="make test | tail -5").decision == "allow"
    # What it names could be a link by then.
    assert reading.prepare("Bash", command="make test && cat a.txt").decision == "ask"
    assert reading.prepare("Bash", command="make test | tee log").decision == "ask"


def test_without_the_whole_sandbox_it_is_asked(reading, tmp_path):
    (tmp_path / "free").mkdir()
    free = Bench(tmp_path / "free", mode="off")
    free.set_policy()
    assert free.prepare("Bash", command="ls").decision == "ask"
    assert reading.prepare("Bash", command="ls", without_sandbox=True).decision == "ask"
    assert reading.prepare("Bash", command="ls", run_in_background=True).decision == "ask"


def test_pipes_that_never_end_are_asked(reading):
    os.mkfifo(reading.workspace / "pipe")
    assert "allow" not in decisions(reading, "cat pipe")


def test_a_program_in_the_workspace_does_not_pass_for_the_systems(reading, monkeypatch):
    planted = reading.workspace / "bin" / "cat"
    planted.parent.mkdir()
    planted.write_text("#!/bin/sh\necho planted\n")
    planted.chmod(0o755)
    assert decisions(reading, "cat a.txt") == {"allow"}
    monkeypatch.setenv("PATH", f"{planted.parent}:{os.environ['PATH']}")
    assert "allow" not in decisions(reading, "cat a.txt")


def git(bench: Bench, *arguments: str) -> None:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *arguments]
    subprocess.run(command, cwd=bench.workspace, check=True, capture_output=True)


def test_git_shows_a_plain_repository_and_no_other(reading):
    assert "allow" not in decisions(reading, "git status")
    git(reading, "init", "-q")
    git(reading, "add", ".")
    git(reading, "commit", "-qm", "first")
    for line in ("git status --short", "git --no-pager log --oneline -3", "git diff HEAD -- src", "git show --stat"):
        assert decisions(reading, line) == {"allow"}, line
        assert reading.call("Bash", command=line).status == "ok"
    for line in ("git push", "git -C src status", "git diff --no-index a.txt /etc/passwd", "git log --output=x"):
        assert "allow" not in decisions(reading, line), line
    git(reading, "config", "core.fsmonitor", "touch ran")
    assert "allow" not in decisions(reading, "git status --short")
