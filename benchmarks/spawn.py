"""What the gate and the sandbox add to starting `true`, beside a bare posix_spawn in the same run.

    python benchmarks/spawn.py [--rounds N]

Prints a Markdown table: medians over the rounds with (minimum - maximum), in milliseconds; the ways take turns, so that a
drifting machine hits all.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from claw_kernel._core import CancelToken, Core


def bare() -> None:
    """The same program in the same shell, its output read to the end."""
    reader, writer = os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, writer, 1), (os.POSIX_SPAWN_DUP2, writer, 2)]
    pid = os.posix_spawn("/bin/bash", ["bash", "-c", "true"], os.environ, file_actions=actions)
    os.close(writer)
    while os.read(reader, 4096):
        pass
    os.close(reader)
    os.waitpid(pid, 0)


def gate(folder: str, mode: str) -> Callable[[], None]:
    """``prepare · run · finish`` of Bash."""
    Path(f"{folder}/{mode}/work").mkdir(parents=True)
    core = Core(f"{folder}/{mode}/work", state_dir=f"{folder}/{mode}/state", sandbox=json.dumps({"mode": mode}))
    core.set_policy(json.dumps({"mode": "bypassPermissions"}))

    def call() -> None:
        prepared = core.prepare("Bash", '{"command": "true"}')
        output = core.finish(prepared, core.run(prepared, CancelToken()))
        assert output.status == "ok", output.content

    return call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="claw-bench-") as folder:
        ways = {"bare posix_spawn": bare, "gate": gate(folder, "off"), "gate and sandbox": gate(folder, "on")}
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds + 5):
            for name, call in ways.items():
                started = time.perf_counter()
                call()
                times[name].append((time.perf_counter() - started) * 1000)
    base = statistics.median(times["bare posix_spawn"][5:])
    print("| start of `true` | ms | added | ratio |\n| --- | --- | --- | --- |")
    for name, values in times.items():
        kept = values[5:]
        middle = statistics.median(kept)
        print(
            f"| {name} | {middle:.1f} ({min(kept):.1f}-{max(kept):.1f}) | {middle - base:.1f} | {middle / base:.2f}x |"
        )


if __name__ == "__main__":
    main()
