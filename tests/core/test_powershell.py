"""PowerShell where there is none, and with a stand-in: a program named pwsh that shows how it was called."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from claw_kernel._core import RuleError
from claw_kernel.tools import ToolSet


@pytest.fixture
def pwsh(tmp_path, monkeypatch):
    folder = tmp_path / "programs"
    folder.mkdir()
    (folder / "pwsh").write_text('#!/bin/sh\nfor word in "$@"; do echo "<$word>"; done\n')
    (folder / "pwsh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def names(bench) -> set[str]:
    return {spec.name for spec in ToolSet(bench.core).all_specs}


@pytest.mark.skipif(shutil.which("pwsh") is not None, reason="PowerShell is installed")
def test_where_there_is_none_it_is_not_offered_and_a_call_says_why(bench):
    assert "PowerShell" not in names(bench)
    result = bench.call("PowerShell", command="Get-Date")
    assert result.status == "error"
    assert "not installed" in result.text


def test_it_is_offered_and_gets_its_script_as_one_word(free_bench, pwsh):
    assert "PowerShell" in names(free_bench)
    result = free_bench.call("PowerShell", command="Get-Date; 'a b'")
    assert result.text.splitlines() == [
        "<-NoLogo>",
        "<-NoProfile>",
        "<-NonInteractive>",
        "<-Command>",
        "<Get-Date; 'a b'>",
    ]


def test_only_the_exact_rule_allows_it(bench, pwsh):
    bench.set_policy(
        "acceptEdits", allow=["PowerShell(Get-Date)", "Bash", "Bash(ls)"], deny=["PowerShell(Remove-Item x)"]
    )
    verdict = {text: bench.prepare("PowerShell", command=text).decision for text in ("Get-Date", "Get-Date; ls", "ls")}
    assert verdict == {"Get-Date": "allow", "Get-Date; ls": "ask", "ls": "ask"}
    assert bench.prepare("PowerShell", command="Remove-Item x").decision == "deny"
    asked = bench.prepare("PowerShell", command="Get-ChildItem")
    assert asked.suggested_rules == ["PowerShell(Get-ChildItem)"]
    assert json.loads(asked.effects) == [{"effect": "run", "command": "Get-ChildItem"}]
    bench.set_policy("default", allow=["PowerShell(ls)"])
    assert bench.prepare("Bash", command="make").decision == "ask"
    bench.set_policy("plan", allow=["PowerShell(ls)"])
    assert bench.prepare("PowerShell", command="ls").decision == "deny"
    with pytest.raises(RuleError, match="exactly"):
        bench.set_policy("default", allow=["PowerShell(Get-Date:*)"])


def test_a_pwsh_that_lies_in_the_workspace_is_not_the_one(bench, monkeypatch):
    planted = bench.write("pwsh", "#!/bin/sh\ntouch planted\n")
    planted.chmod(0o755)
    monkeypatch.setenv("PATH", f"{bench.workspace}{os.pathsep}/usr/bin:/bin")
    if shutil.which("pwsh", path="/usr/bin:/bin"):
        pytest.skip("PowerShell is installed")
    assert bench.call("PowerShell", command="x").status == "error"
    assert not (bench.workspace / "planted").exists()


def test_looking_for_it_starts_nothing(pwsh):
    script = "from claw_kernel._core import Core; import time; Core.specs(); s = time.perf_counter(); Core.specs(); print(time.perf_counter() - s)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.1
