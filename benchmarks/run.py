"""What Claw costs beside the least a Python agent can be, on the same local server in the same run.

    python benchmarks/run.py [--rounds N] [--json FILE]

Prints a Markdown table. Times are medians over the rounds with (minimum - maximum); absolute times depend on the machine,
the ratio to the bare loop (benchmarks/bare_loop.py) is what to compare.
"""

from __future__ import annotations

import argparse
import compileall
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from server import DELTAS, Entry, Server

HERE = Path(__file__).parent
PROMPT = "go"
START_ARGUMENTS = ["--model", "bench", "--permission-mode", "bypassPermissions"]


def bare(url: str) -> list[str]:
    return [sys.executable, str(HERE / "bare_loop.py"), url, PROMPT]


def claw(url: str) -> list[str]:
    program = Path(sys.executable).with_name("claw")
    return [str(program), "prompt", PROMPT, "--base-url", url, *START_ARGUMENTS]


class Bench:
    def __init__(self, rounds: int) -> None:
        self.rounds = rounds
        self.rows: list[dict] = []
        self._scenario = ""
        self.workdir = tempfile.mkdtemp(prefix="claw-bench-")
        for package in (
            "claw_kernel",
            "claw_magics",
        ):  # as pip does when it installs; a checkout may never have been run
            compileall.compile_dir(HERE.parent / package, quiet=2)
        (Path(self.workdir) / "small.txt").write_text("x" * 100)
        self.server = Server(self.workdir)
        self.env = {
            **os.environ,
            "CLAW_HOME": f"{self.workdir}/home",
            "CLAW_MAX_REPEATS": "0",  # the server says and asks the same again and again
            "ANTHROPIC_API_KEY": "bench-key",
            "CLAW_API": "anthropic",
        }

    def run(self, command: list[str]) -> tuple[float, list[Entry]]:
        """Start time and the requests that came."""
        started = time.perf_counter()
        done = subprocess.run(command, cwd=self.workdir, env=self.env, capture_output=True, text=True, timeout=120)
        log = self.server.take()
        if done.returncode or not log:
            raise SystemExit(f"{' '.join(command)} failed ({done.returncode}): {done.stdout}{done.stderr}")
        return started, log

    def compare(
        self, name: str, unit: str, aim: str, scenario: str, figure: Callable[[float, list[Entry]], float]
    ) -> None:
        """One row: ours and the bare loop in turn, so that a drifting machine hits both."""
        ours, theirs = [], []
        url = self.server.url(scenario)
        self.run(claw(url))  # warm the disk
        for _ in range(self.rounds):
            ours.append(figure(*self.run(claw(url))))
            theirs.append(figure(*self.run(bare(url))))
        self.add(name, unit, aim, ours, theirs)

    def add(self, name: str, unit: str, aim: str, ours: list[float], theirs: list[float]) -> None:
        row = {"name": name, "unit": unit, "aim": aim, "claw": ours, "bare": theirs}
        self.rows.append(row)
        print(_line(row), flush=True)

    def command_line(self) -> None:
        self.compare("start to first request", "ms", "200 ms", "hello", lambda t, log: (log[0].arrived - t) * 1000)
        self.compare("one step with Bash `true`", "ms", "2x", "bash", lambda _, log: _median_gap(log))
        self.compare("one step with Read", "ms", "3x", "read", lambda _, log: _median_gap(log))
        self.compare(f"{DELTAS:,} text deltas", "ms", "0.8x", "stream", lambda _, log: _first_gap(log))
        self.compare("8 parallel `sleep 0.5`", "ms", "535 ms", "parallel", lambda _, log: _first_gap(log))
        _, log = self.run(claw(self.server.url("hello")))
        _, bare_log = self.run(bare(self.server.url("hello")))
        sizes = [len(e.body) - len(PROMPT) for e in (log[0], bare_log[0])]
        self.add("bytes sent beside the prompt", "bytes", "12 kB", [sizes[0]], [sizes[1]])
        self.add("the same if no tool were deferred", "bytes", "-", [sizes[0] + self._deferred_bytes()], [sizes[1]])

    def _deferred_bytes(self) -> int:
        """What ToolSearch saves in the first request of `claw prompt`."""
        from claw_kernel.agent import Agent
        from claw_kernel.settings import load_settings
        from claw_kernel.tools.table import sent_bytes

        agent = Agent(load_settings(self.workdir, self.env))
        sent, every = (
            {spec.name: sent_bytes(spec) for spec in specs} for specs in (agent.tools.specs, agent.tools.all_specs)
        )
        agent.close()
        return sum(every.values()) - sum(sent.values())

    def notebook(self) -> None:
        from jupyter_client.manager import start_new_kernel

        loads, warm, drawn, memory = [], [], [], []
        for _ in range(max(3, self.rounds // 2)):
            self._scenario = ""
            manager, client = start_new_kernel(kernel_name="python3", env=self.env, cwd=self.workdir)
            try:
                pid = manager.provisioner.process.pid
                _execute(client, "pass")
                before = _rss_mb(pid)
                text = _execute(
                    client, "import time; t=time.perf_counter()\n%load_ext claw_magics\nprint(time.perf_counter()-t)"
                )
                loads.append(float(text.split()[-1]) * 1000)
                arguments = "--model bench --mode bypassPermissions"
                for _ in range(4):
                    started = time.perf_counter()
                    self._cell(client, "hello", arguments)
                    warm.append((self.server.take()[0].arrived - started) * 1000)
                warm.pop(-4)  # the first turn of a kernel opens the provider
                memory.append(_rss_mb(pid) - before)
                self._cell(client, "stream", arguments)
                drawn.append(_first_gap(self.server.take()))
            finally:
                client.stop_channels()
                manager.shutdown_kernel(now=True)
        stream = next(row for row in self.rows if row["name"].endswith("text deltas"))
        self.add("%load_ext claw_magics", "ms", "60 ms", loads, [])
        self.add("warm cell to model request", "ms", "6 ms", warm, [])
        self.add(f"{DELTAS:,} text deltas drawn in a cell", "ms", "3x", drawn, stream["bare"])
        self.add("memory over the bare kernel", "MB", "60 MB", memory, [])

    def checkpoint(self) -> None:
        """What the checkpoint of a command adds on a tree of 10,000 files: both looks, nothing changed in between."""
        from claw_kernel._core import Core

        tree = Path(self.workdir) / "tree"
        for folder in range(500):
            place = tree / str(folder // 25) / str(folder % 25)
            place.mkdir(parents=True)
            for file in range(20):
                (place / f"{file}.py").write_text(f"x = {folder * file}\n" * 50)
        core = Core(str(tree), state_dir=f"{self.workdir}/state", session_id="bench")
        first, warm, reading = [], [], []
        for command, times in [("make", first), *[("make", warm)] * 20, *[("ls", reading)] * 20]:
            prepared = core.prepare("Bash", json.dumps({"command": command}))
            started = time.perf_counter()
            core.begin_checkpoint(prepared, "call")
            core.end_checkpoint(prepared)
            times.append((time.perf_counter() - started) * 1000)
        core.close()
        self.add("first checkpoint, 10,000 files", "ms", "1,000 ms", first, [])
        self.add("checkpoint of a command, 10,000 files", "ms", "30 ms", warm[2:], [])
        self.add("checkpoint of a command that only reads", "ms", "0 ms", reading, [])

    def _cell(self, client, scenario: str, arguments: str) -> None:
        if scenario != self._scenario:
            # The server tells the next reply by the number of answers so far, so each scenario begins a conversation.
            _execute(client, f"%claw config set base_url {self.server.url(scenario)}")
            _execute(client, "%claw clear")
            self._scenario = scenario
        _execute(client, f"%%claw {arguments}\n{PROMPT}")


def _execute(client, code: str) -> str:
    texts: list[str] = []

    def keep(message: dict) -> None:
        if message["msg_type"] == "stream":
            texts.append(message["content"]["text"])

    reply = client.execute_interactive(code, timeout=120, output_hook=keep)
    if reply["content"]["status"] != "ok":
        raise SystemExit(f"{code!r} failed: {reply['content'].get('evalue')} {''.join(texts)}")
    return "".join(texts)


def _median_gap(log: list[Entry]) -> float:
    """Milliseconds from the reply's last byte to the next request, median over the steps."""
    return statistics.median(b.arrived - a.sent_last for a, b in itertools.pairwise(log)) * 1000


def _first_gap(log: list[Entry]) -> float:
    return (log[1].arrived - log[0].sent_first) * 1000


def _rss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def _spread(values: list[float]) -> str:
    if not values:
        return "-"
    middle = statistics.median(values)
    return f"{middle:,.1f} ({min(values):,.1f}-{max(values):,.1f})" if len(values) > 1 else f"{middle:,.0f}"


def _line(row: dict) -> str:
    ratio = f"{statistics.median(row['claw']) / statistics.median(row['bare']):.2f}x" if row["bare"] else "-"
    return (
        f"| {row['name']} | {row['unit']} | {_spread(row['claw'])} | {_spread(row['bare'])} | {ratio} | {row['aim']} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="also write the raw figures there")
    options = parser.parse_args()
    bench = Bench(options.rounds)
    print("| figure | unit | claw | bare loop | ratio | aim |\n| --- | --- | --- | --- | --- | --- |", flush=True)
    bench.command_line()
    bench.notebook()
    bench.checkpoint()
    if options.json:
        options.json.write_text(json.dumps(bench.rows, indent=1))


if __name__ == "__main__":
    main()
