"""Commands in Python code are named in the request and judged by the rules that deny commands."""

from __future__ import annotations

import json

import pytest

from claw_kernel.tools.escapes import find_escapes
from claw_kernel.tools.python import Python


@pytest.mark.parametrize(
    ("code", "commands"),
    [
        ("!ls -l", ["ls -l"]),
        ("x = !ls", ["ls"]),
        ("if 1:\n    !rm x", ["rm x"]),
        ("%sx rm x", ["rm x"]),
        ("%system rm x", ["rm x"]),
        ("%%bash\nls\nrm x", ["ls\nrm x"]),
        ("%%sh\nrm x", ["rm x"]),
        ("%%script bash -x\nrm x", ["bash -x", "rm x"]),
        ("%%script perl\nrm x", ["perl"]),
        ("%timeit -n1 -r 1 !rm x", ["rm x"]),
        ("from subprocess import Popen\nPopen(args=['rm', 'x'])", ["rm x"]),
        ("os.execvp('rm', ['rm', 'x'])", ["rm x"]),
        ("os.spawnvp(os.P_WAIT, 'rm', ['rm', 'x'])", ["rm x"]),
        ("await asyncio.create_subprocess_shell('rm x')", ["rm x"]),
        ("%%time\n!rm x", ["rm x"]),
        ("%time get_ipython().system('rm x')", ["rm x"]),
        ("get_ipython().system('rm x')", ["rm x"]),
        ("ip.getoutput('rm x')", ["rm x"]),
        ("import os\nos.system('rm x')", ["rm x"]),
        ("import subprocess\nsubprocess.run(['rm', 'a b'])", ["rm 'a b'"]),
        ("subprocess.check_output('rm x', shell=True)", ["rm x"]),
        ("os.system(command)", [None]),
        ("print('!ls')", []),
        ("a = b != c", []),
        ("def run(x): return x\nrun('ls')", []),
        ("not python at all (", []),
    ],
)
def test_commands_are_found(code, commands):
    assert [escape.command for escape in find_escapes(code)] == commands


def test_they_stand_in_the_title_and_among_the_effects(bench):
    intent = Python(None).intend({"code": "data = load()\n!rm x\n"})

    assert "runs commands: !rm x" in intent.title
    assert {"effect": "run", "command": "rm x"} in intent.effects
    for rules, expected in (
        ({}, "ask"),
        ({"allow": ["Python"]}, "allow"),
        ({"allow": ["Python"], "deny": ["Bash(rm:*)"]}, "deny"),
        ({"allow": ["Bash(rm:*)"]}, "ask"),
    ):
        bench.set_policy("default", **rules)
        assert bench.core.prepare("Python", "{}", json.dumps(intent.effects)).decision == expected
    # A rule for Python allows all that code may do, also what cannot be read; a removal of everything asks all the same.
    bench.set_policy("default", allow=["Python"])
    for code, expected in (("!echo $(date) > x", "allow"), ("!rm -rf /", "ask")):
        effects = json.dumps(Python(None).intend({"code": code}).effects)
        assert bench.core.prepare("Python", "{}", effects).decision == expected
