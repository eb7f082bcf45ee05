"""What the policy allows, against what bash really runs: random lines, judged by the core and executed by bash."""

from __future__ import annotations

import os
import random
import subprocess

ALLOWED = ("p0", "p1")
FORBIDDEN = ("p2", "p3")
PIECES = [
    *ALLOWED, *ALLOWED, *ALLOWED, *FORBIDDEN, "x", "-f", "a=b", "1", "2>&1", "''", '""', "'p2'", '"p2"', "'; p2'", '"; p2"', "\\", "\\;", "$x", "${x}",
    "$(p2)", "`p2`", "<(p2)", ";", ";", "&&", "||", "|", "|&", "&", "\n", "\n", "(", ")", "{", "}", "!", "#", "<<E", "E", "<<<", ">", ">>", "<", ">f",
    "2>", "&>", "if", "then", "fi", "do", "done", "for", "in", "case", "esac", ";;", "[[", "]]", "time", "coproc", "function", "()", "$'p2'",
    "$'\\n'", '$"p2"', "{p2,x}", "~", "*", "?", "[x]", "=", "+=", "\t", "\r", "'", '"', "$", "`", "-", "--", "eval", "command", "exec", "nohup", "nice",
    "timeout 5", "env", "cd sub", "cd", "x()", "p2=", "\u00a0", "$((1))", "@(p2)", "%", "^", "~p2", "\\\n", "\v", "#p2", "x#y",
]  # fmt: skip


def line(rng: random.Random) -> str:
    """Mostly plain words, so that many lines get far enough to be allowed; in between anything."""
    plain = ["p0", "p1", "x", "-f", "1", "'a b'", '"c"', "; p0", "&& p1", "| p0", "\np1", "2>&1"]
    wildness = rng.choice([0.1, 0.2, 0.5, 1.0])
    pieces = [rng.choice(PIECES if rng.random() < wildness else plain) for _ in range(rng.randint(0, 8))]
    start = rng.choice([*ALLOWED, *ALLOWED, *PIECES])
    return start + "".join(rng.choice(["", " ", " ", " "]) + piece for piece in pieces)


def test_what_is_allowed_runs_nothing_else(bench, tmp_path):
    """A line allowed by rules for p0 and p1 starts p0 and p1 and writes no file, however it is twisted."""
    seed, count = int(os.environ.get("CLAW_FUZZ_SEED", "1")), int(os.environ.get("CLAW_FUZZ_LINES", "3000"))
    programs, log = tmp_path / "programs", tmp_path / "log"
    programs.mkdir()
    (bench.workspace / "sub").mkdir()
    for name in (*ALLOWED, *FORBIDDEN, "x", "E", "sub"):
        (programs / name).write_text(f'#!/bin/sh\necho {name} >> "{log}"\n')
        (programs / name).chmod(0o755)
    bench.set_policy("default", allow=[f"Bash({name}:*)" for name in ALLOWED])
    rng, allowed = random.Random(seed), 0
    for _ in range(count):
        text = line(rng)
        if not text.strip() or bench.prepare("Bash", command=text).decision != "allow":
            continue
        allowed += 1
        log.unlink(missing_ok=True)
        subprocess.run(
            ["/bin/bash", "-c", text],
            cwd=bench.workspace,
            env={"PATH": f"{programs}:/usr/bin:/bin"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=20,
        )
        ran = set(log.read_text().split()) if log.exists() else set()
        assert ran <= set(ALLOWED), (text, ran)
        assert [path.name for path in bench.workspace.iterdir()] == ["sub"], text
    assert allowed > count / 40, "the lines are too wild to say anything"
