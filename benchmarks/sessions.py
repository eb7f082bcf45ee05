"""What a large session in a notebook costs: opening it again, memory, and saving.

    python benchmarks/sessions.py [--rounds N]

A notebook of 1,000 turns with 100 MB of tool output, in both carriers, as Claw writes it: four outputs of 25 kB a turn (Bash gives at
most 30), half of them text that shrinks well (logs), half that shrinks badly (hexadecimal noise). The conversation was summarised before its last twenty turns, as
one of 100 MB has been in any model. Each figure is taken in a process of its own; times are minima.

*Resume*: reading the file, merging both carriers, and the transcript of the next request, modules loaded. *Memory*: the most the
process had, less what it had before. *Save*: what the kernel does when the page has saved (the journals of all turns that are
not saved yet, here ten, and the header), beside what JupyterLab's server does to save the same notebook (``nbformat``, without the disk).
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from claw_kernel.messages import Compaction, Step, TextBlock, ToolCall, ToolResult, TurnRecord
from claw_kernel.session.journal import FOLDER, forget_saved
from claw_kernel.session.notebook import METADATA_KEY, read_notebook
from claw_kernel.session.record import MIME_TYPE, write_record
from claw_kernel.session.session import Session

TURNS = 1_000
CALLS = 4
OUTPUT = 25_000
RECENT = 20
UNSAVED = 10
WORDS = (
    "warning",
    "info",
    "loaded",
    "file",
    "step",
    "loss",
    "epoch",
    "done",
    "retry",
    "host",
    "value",
    "of",
    "the",
    "in",
)


def output_text(number: int) -> str:
    chance = random.Random(number)
    if number % 2:
        return chance.randbytes(OUTPUT // 2).hex()
    lines = []
    size = 0
    while size < OUTPUT:
        lines.append(
            f"2026-11-21T10:{chance.randrange(60):02}:00 {' '.join(chance.choices(WORDS, k=8))} {chance.random():.6f}"
        )
        size += len(lines[-1]) + 1
    return "\n".join(lines)[:OUTPUT]


def turn(number: int) -> TurnRecord:
    name = f"t_{number:016x}"
    calls = {f"c_{place}_{number:016x}": output_text(number * CALLS + place) for place in range(CALLS)}
    compaction = Compaction(name, 0, "What was done so far.") if number == TURNS - RECENT else None
    steps = (
        Step(
            tuple(ToolCall(call, "Bash", {"command": "make"}) for call in calls),
            tuple(ToolResult(call, (TextBlock(text),), details={"title": "$ make"}) for call, text in calls.items()),
            stop="tool_use",
            compaction=compaction,
        ),
        Step((TextBlock("Done."),)),
    )
    before = f"t_{number - 1:016x}" if number else ""
    return TurnRecord(
        name, "s_bench", "Build it.", (TextBlock("Build it."),), "local/model", f"2026-11-21T{number // 60:02}:{number % 60:02}:00Z",
        steps=steps, stop_reason="end_turn", cell_id=f"cell-{number}", parent_id=before,
    )  # fmt: skip


def write(path: Path) -> None:
    import nbformat
    from nbformat import v4

    cells = []
    for number in range(TURNS):
        record = turn(number)
        document = write_record(record, None, 256_000)
        output = v4.new_output("display_data", {MIME_TYPE: document, "text/markdown": "Done.", "text/plain": "Done."})
        cell = v4.new_code_cell("%%claw\nBuild it.", metadata={METADATA_KEY: document}, outputs=[output])
        cell["id"] = f"cell-{number}"
        cells.append(cell)
    header = {"format": 2, "session_id": "s_bench", "turns": [f"t_{number:016x}" for number in range(TURNS)]}
    nbformat.write(v4.new_notebook(cells=cells, metadata={METADATA_KEY: header}), str(path))


def peak_bytes() -> int:
    """The most memory this process has had. Linux's ``ru_maxrss`` counts what the process was before it was this program."""
    if sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    found = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(found.split()[1]) * 1024


def resume(path: Path) -> dict[str, float]:
    """Once to load the modules, on a small notebook; then measured."""
    small = path.with_name("small.ipynb")
    small.write_text(json.dumps({"cells": [{"metadata": {METADATA_KEY: write_record(turn(0))}}]}))
    Session().merge(*read_notebook(small))
    before = peak_bytes()
    began = time.perf_counter()
    session = Session()
    warnings = session.merge(*read_notebook(path))
    messages = session.transcript("local/model")
    seconds = time.perf_counter() - began
    assert not warnings
    assert len(session.records) == TURNS
    assert len(messages) > RECENT
    return {"seconds": seconds, "bytes": peak_bytes() - before}


def save(path: Path) -> dict[str, float]:
    """The server's work and the kernel's, each the least of three."""
    import nbformat

    content = json.loads(path.read_text(encoding="utf-8"))
    session = Session()
    session.merge(*read_notebook(path))
    state = path.parent / "state"
    (state / FOLDER).mkdir(parents=True, exist_ok=True)
    theirs, ours = [], []
    for _ in range(3):
        began = time.perf_counter()
        document = nbformat.from_dict(content)
        nbformat.validate(document)
        nbformat.writes(document, version=nbformat.NO_CONVERT)
        theirs.append(time.perf_counter() - began)
        names = [f"t_{number:016x}" for number in range(UNSAVED)]
        for name in names:
            (state / FOLDER / f"{name}.jsonl").write_text("x" * OUTPUT)
        began = time.perf_counter()
        forget_saved(str(state), names)
        session.header()
        ours.append(time.perf_counter() - began)
    return {"theirs": min(theirs), "ours": min(ours)}


def main() -> None:
    parser = argparse.ArgumentParser(description="What a large session costs.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--measure", choices=("resume", "save"), help=argparse.SUPPRESS)
    parser.add_argument("--notebook", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps({"resume": resume, "save": save}[options.measure](options.notebook)))
        return
    with tempfile.TemporaryDirectory(prefix="claw-sessions-") as folder:
        path = Path(folder) / "large.ipynb"
        write(path)
        size = path.stat().st_size

        def measured(what: str) -> dict[str, float]:
            command = [sys.executable, __file__, "--measure", what, "--notebook", str(path)]
            found: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
            return found

        resumed = [measured("resume") for _ in range(options.rounds)]
        saved = measured("save")
        print(
            f"{TURNS:,} turns, {TURNS * CALLS * OUTPUT / 1e6:.0f} MB of output, both carriers: a file of {size / 1e6:.1f} MB\n"
        )
        print("| figure | unit | claw | aim |\n| --- | --- | --- | --- |")
        print(f"| resume | ms | {min(run['seconds'] for run in resumed) * 1000:.0f} | 300 |")
        print(f"| memory over the file's size | ratio | {min(run['bytes'] for run in resumed) / size:.2f} | 2 |")
        print(f"| save, the server's part | ms | {saved['theirs'] * 1000:.0f} | - |")
        share = saved["ours"] / saved["theirs"] * 100
        print(f"| save, added by Claw | ms (%) | {saved['ours'] * 1000:.1f} ({share:.2f} %) | 5 % |")


if __name__ == "__main__":
    main()
