"""What a long session costs: does a step get slower, does memory grow, is what was sent before sent again as it was.

    python benchmarks/growth.py [--rounds N]

200 steps that each read a file of 4 KB, and one answer of 20,000 and of 200,000 deltas: Claw and the bare loop in turn on the same
server. Processor time is the operating system's count of the process and all it waited for, memory the most it had (Linux).
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from run import _spread, bare, claw
from server import DELTAS, LONG_ROUNDS, MANY_DELTAS, RESULT_BYTES, Entry, Server

PREFIX_STEPS = 40
FROM_STEP = 3


@dataclass
class Run:
    """``cpu`` in seconds, ``memory`` (the most there was) in MB."""

    started: float
    log: list[Entry]
    cpu: float
    memory: float


class Growth:
    def __init__(self, rounds: int) -> None:
        self.rounds = rounds
        self.workdir = tempfile.mkdtemp(prefix="claw-growth-")
        (Path(self.workdir) / "small.txt").write_text("x" * 100)
        (Path(self.workdir) / "page.txt").write_text(("x" * 63 + "\n") * (RESULT_BYTES // 64))
        self.server = Server(self.workdir)
        self.env = {
            **os.environ,
            "ANTHROPIC_API_KEY": "bench-key",
            "CLAW_API": "anthropic",
        }

        # A window that is never full: what is measured is the loop, not what it does when there is no more room.
        Path(self.workdir, "long").mkdir()
        settings = {"context_window": 100_000_000, "max_turns": LONG_ROUNDS + 1}
        Path(self.workdir, "long", "settings.json").write_text(json.dumps(settings))

    def run(self, command: list[str]) -> Run:
        home = "long" if {self.server.url("growth"), self.server.url("page")} & set(command) else "home"
        env = {**self.env, "CLAW_HOME": f"{self.workdir}/{home}"}
        started = time.perf_counter()
        with subprocess.Popen(
            command, cwd=self.workdir, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as process:
            memory = pid = 0
            while not pid:
                time.sleep(0.02)
                memory = _most_memory_mb(process.pid) or memory
                pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                raise SystemExit(f"{' '.join(command)} failed: {process.stderr.read().decode()}")
        return Run(started, self.server.take(), usage.ru_utime + usage.ru_stime, memory)

    def pairs(self, scenario: str) -> tuple[list[Run], list[Run]]:
        """Ours and the bare loop's, in turn."""
        url = self.server.url(scenario)
        self.run(claw(url))
        both = [(self.run(claw(url)), self.run(bare(url))) for _ in range(self.rounds)]
        return [ours for ours, _ in both], [theirs for _, theirs in both]

    def measure(self) -> None:
        print("| figure | unit | claw | bare loop | aim |\n| --- | --- | --- | --- | --- |", flush=True)
        hello = self.pairs("hello")
        row("start to first request", "ms", "200 ms", hello, lambda run: (run.log[0].arrived - run.started) * 1000)
        growth = self.pairs("growth")
        row("one step, the first ten", "ms", "-", growth, lambda run: statistics.median(gaps(run.log)[:10]))
        row(
            f"one step, the last ten of {LONG_ROUNDS}",
            "ms",
            "-",
            growth,
            lambda run: statistics.median(gaps(run.log)[-10:]),
        )
        row("growth of a step per 100 kB", "ms", "0.5 ms", growth, slope)
        row(f"processor time of {LONG_ROUNDS} steps", "s", "-", growth, lambda run: run.cpu)
        first = [statistics.median(run.memory for run in side) for side in self.pairs("page")]
        grown = [[run.memory - least for run in side] for side, least in zip(growth, first, strict=True)]
        print(line(f"memory after {LONG_ROUNDS} steps over that after one", "MB", "-", *grown), flush=True)
        kept = [100 * prefix_share(run.log[: PREFIX_STEPS + 1]) for run in growth[0]]
        theirs = [100 * prefix_share(run.log[: PREFIX_STEPS + 1]) for run in growth[1]]
        print(
            line(f"input bytes kept as prefix, steps {FROM_STEP} to {PREFIX_STEPS}", "%", "90 %", kept, theirs),
            flush=True,
        )
        idle = [statistics.median(run.cpu for run in side) for side in hello]
        for scenario, count in (("stream", DELTAS), ("long-stream", MANY_DELTAS)):
            streams = self.pairs(scenario)
            costs = [[run.cpu - least for run in side] for side, least in zip(streams, idle, strict=True)]
            print(line(f"processor time of {count:,} deltas", "s", "-", *costs), flush=True)


def _most_memory_mb(pid: int) -> float:
    """The kernel's high-water mark of the process itself; ``ru_maxrss`` begins with that of whoever started it."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM:")), 0.0)


def gaps(log: list[Entry]) -> list[float]:
    """Milliseconds from a reply's last byte to the arrival of the next request, whole."""
    return [(after.arrived - before.sent_last) * 1000 for before, after in itertools.pairwise(log)]


def slope(run: Run) -> float:
    """Milliseconds that 100 kB more of conversation add to a step: Theil and Sen's median of slopes, deaf to outliers."""
    points = list(zip((entry.size / 100_000 for entry in run.log[1:]), gaps(run.log), strict=True))
    half = len(points) // 2
    return statistics.median((b[1] - a[1]) / (b[0] - a[0]) for a in points[:half] for b in points[half:])


def prefix_share(log: list[Entry]) -> float:
    """Of the bytes of all requests from the third step on: the part that the request before began with."""
    pairs = list(itertools.pairwise(log))[FROM_STEP - 1 :]
    return sum(common(a.body, b.body) for a, b in pairs) / sum(b.size for _, b in pairs)


def common(one: bytes, other: bytes) -> int:
    """How many bytes both begin with; by halves, as a loop over a megabyte of bytes takes too long."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[:middle] == other[:middle] else (low, middle - 1)
    return low


def row(name: str, unit: str, aim: str, sides: tuple[list[Run], list[Run]], figure) -> None:
    ours, theirs = ([figure(run) for run in side] for side in sides)
    print(line(name, unit, aim, ours, theirs), flush=True)


def line(name: str, unit: str, aim: str, ours: list[float], theirs: list[float]) -> str:
    shown = [_spread(values) if max(map(abs, values)) > 10 else spread_fine(values) for values in (ours, theirs)]
    return f"| {name} | {unit} | {shown[0]} | {shown[1]} | {aim} |"


def spread_fine(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    Growth(parser.parse_args().rounds).measure()


if __name__ == "__main__":
    main()
