"""A program that a rule denies is denied wherever it stands in a line, and in every mode."""

from __future__ import annotations

import json

import pytest

from claw_kernel._core import Core

LINES = [
    "rm x", "/bin/rm x", "ls; rm x", "echo $(rm x)", "sudo rm x", "env A=1 rm x", "xargs rm", "bash -c 'rm x'", "A=1 rm x", "r\\m x",
    "find . -exec rm {} +", "if true; then rm x; fi", "timeout 5 rm x", "ls & rm x", "cat <(rm x)", "cat <<E\n$(rm x)\nE", "case x in x) rm x;; esac",
    "f() { rm x; }; f", "trap 'rm x' EXIT", "eval 'rm x'", "$'rm' x", "r''m x", "rm$IFS-x", "{rm,-x}", "echo `rm x`", "# a\nrm x", "rm \\\n x", "nohup nice rm x",
    "ssh host 'rm x'", "ssh -p 22 me@host 'ls; rm x'", "ls |& rm x", "(rm x)", "coproc rm x", "time rm x", "! rm x", "for i in 1; do rm $i; done", "echo a\nrm x", "rm<x", "rm>x",
    "env -S 'rm x'", "env -S'rm x'", "env --split-string='rm x'", "script -qc 'rm x' /dev/null", "script --command='rm x'", "flock y -c 'rm x'", "bash --norc -c 'rm x'", "su --command 'rm x' me",
    "watch -n1 'rm x'", "parallel -j2 'rm {}' ::: x", "/lib64/ld-linux-x86-64.so.2 /bin/rm x", "hyperfine --runs 2 'rm x'",
]  # fmt: skip
OTHERS = [
    "ls rm",
    "echo rm",
    "rmdir x",
    "git rm-x",
    "echo 'a; rm x'",
    'echo "(rm)"',
    "ls rm.txt",
    "cat a/rm",
    "ls -rm",
    "env A=rm ls",
    "bash --version",
    "command -v sh",
    "find . -name sh",
    "bash a.sh rm",
]


@pytest.fixture(scope="module")
def core(tmp_path_factory):
    folder = tmp_path_factory.mktemp("denials")
    (folder / "work").mkdir()
    core = Core(str(folder / "work"), state_dir=str(folder / "state"), session_id="denials")
    yield core
    core.close()


def decide(core, mode, line):
    rules = [{"behavior": "allow", "rule": "Bash"}, {"behavior": "deny", "rule": "Bash(rm:*)"}]
    core.set_policy(json.dumps({"mode": mode, "rules": rules}))
    return core.prepare("Bash", json.dumps({"command": line})).decision


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("mode", ["default", "acceptEdits", "dontAsk", "bypassPermissions"])
def test_a_denied_program_is_denied_wherever_it_stands(core, line, mode):
    assert decide(core, mode, line) == "deny"


@pytest.mark.parametrize("line", OTHERS)
def test_its_name_elsewhere_is_nothing(core, line):
    assert decide(core, "default", line) == "allow"
