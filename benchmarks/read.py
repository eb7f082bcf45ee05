"""Read of a slice deep in a large file in the page cache, beside ``wc -l`` of the whole file, in turn.

    python benchmarks/read.py [--rounds N] [--file PATH]

The lines before a slice must be counted the first time it is asked for; then they are remembered. Each first read here is
that of a fresh core. Prints a Markdown table of the fastest and the middle of all rounds, and how much memory all reads
together took at most. On a machine that does other things too the fastest says most.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from claw_kernel._core import CancelToken, Core

SIZE = 1 << 30
DEEP = 0.99


def build(path: Path) -> None:
    line = "This is one line of a large log; there are many like it, but this one is number {:09d}.\n"
    with path.open("w", encoding="ascii") as file:
        written = number = 0
        while written < SIZE:
            block = "".join(line.format(number + extra) for extra in range(10_000))
            written += file.write(block)
            number += 10_000


def children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measured(act: Callable[[], object], cpu_seconds: Callable[[], float]) -> tuple[float, float]:
    started, worked = time.perf_counter(), cpu_seconds()
    act()
    return time.perf_counter() - started, cpu_seconds() - worked


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--file", help="keep the file here, and use it where it is there already")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="claw-bench-") as scratch:
        path = Path(options.file or f"{scratch}/large.log")
        if not path.exists():
            build(path)
        counted = subprocess.run(["wc", "-l", str(path)], capture_output=True, check=True)  # also into the page cache
        deep = int(int(counted.stdout.split()[0]) * DEEP)
        slices: dict[str, dict[str, object]] = {
            f"the first read from line {deep:,} on": {"offset": deep, "limit": 100},
            "the same again": {"offset": deep, "limit": 100},
            "another slice": {"offset": deep // 2, "limit": 100},
            "its last 100 lines": {"offset": -100, "limit": 100},
        }
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in [*slices, "wc -l"]}
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for number in range(options.rounds):
            core = Core(str(path.parent), state_dir=f"{scratch}/state{number}")
            core.set_policy(json.dumps({"mode": "bypassPermissions"}))
            for name, asked in slices.items():
                arguments = json.dumps({"file_path": str(path), **asked})

                def read(core: Core = core, arguments: str = arguments) -> None:
                    prepared = core.prepare("Read", arguments)
                    core.finish(prepared, core.run(prepared, CancelToken()))

                found[name].append(measured(read, time.process_time))
            core.close()
            found["wc -l"].append(
                measured(lambda: subprocess.run(["wc", "-l", str(path)], stdout=subprocess.DEVNULL), children_seconds)
            )
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(f"A file of {path.stat().st_size / SIZE:.2f} GiB, {os.cpu_count()} cores, {options.rounds} rounds.\n")
        print("| read | fastest, ms | middle, ms | fastest, CPU ms |\n| --- | --- | --- | --- |")
        for name, times in found.items():
            wall, worked = ([pair[clock] * 1000 for pair in times] for clock in (0, 1))
            print(f"| {name} | {min(wall):.1f} | {statistics.median(wall):.1f} | {min(worked):.1f} |")
        print(f"\nMemory: {grown / 1024:.1f} MiB more at most.")


if __name__ == "__main__":
    main()
