"""``%claw replay``: the notebook's file run again in a kernel of its own on its recorded answers, the report shown here."""

from __future__ import annotations

import concurrent.futures
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claw_kernel.errors import sentence
from claw_magics.report import CommandOutput, Report, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from claw_kernel.headless.report import Report as ReplayReport
    from claw_magics.host import Host

_PROMPT_CHARS = 60


class _Silence:
    """Watches without a word: the report says what there was."""

    def cell_started(self, index: int, cell: Any) -> None: ...

    def turn_drawn(self, index: int, document: Mapping[str, Any]) -> None: ...

    def cell_finished(self, index: int, cell: Any, problem: str) -> None: ...


def run_replay(host: Host, rest: str) -> CommandOutput:
    """In a copy of the workspace, with the rules and the mode of this session. Raises ClawError; KeyboardInterrupt stops it."""
    from claw_kernel.headless.document import kernel_of, open_notebook
    from claw_kernel.headless.replay import Replay

    agent = host.agent
    if agent.settings.replay is not None:
        report = Report()
        report.line("This is a replay already: nothing is replayed inside it.")
        return report.output()
    words = [word.strip("\"'") for word in rest.split()]
    is_accepting = "--accept-edited" in words
    words = [word for word in words if word != "--accept-edited"]
    if len(words) > 1:
        raise UsageError(
            "%claw replay takes one notebook and --accept-edited; claw replay --help lists what else there is."
        )
    name = words[0] if words else host.notebook_path
    if not name:
        raise UsageError("the notebook's file is not known here; write %claw replay NOTEBOOK.")
    path = Path(agent.settings.cwd, name).expanduser()
    settings = replace(agent.settings, rules=tuple(agent.rules()), permission_mode=agent.permission_mode)
    it = Replay(
        path,
        settings,
        _Silence(),
        kernel_of(open_notebook(path)),
        is_accepting_edits=is_accepting,
        handles_signals=False,
    )
    with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="claw-replay") as pool:
        future = pool.submit(it.execute)  # a loop runs in this thread already
        try:
            found = future.result()
        except KeyboardInterrupt:
            it.interrupt()
            found = future.result()
    return _output(found)


def _output(found: ReplayReport) -> CommandOutput:
    report = Report()
    report.line(f"Replay of {found.notebook} as it was last saved: {found.summary()}.")
    rows = [
        (str(turn.number), _short(turn.prompt), str(call.step), call.title, call.outcome, call.reason)
        for turn in found.turns
        for call in turn.calls
    ]
    if rows:
        report.table(("Turn", "Request", "Step", "Call", "Result", "Why"), rows)
    for turn in found.turns:
        if turn.problem:
            report.line(f"Turn {turn.number}: {sentence(turn.problem)}")
        for call in turn.calls:
            if call.diff:
                report.line(f"Turn {turn.number}, step {call.step}, {call.title}:")
                report.block(call.diff)
    if differing := [cell for cell in found.cells if cell.outcome != "same"]:
        cells = [(str(cell.cell + 1), cell.title, cell.outcome, cell.reason) for cell in differing]
        report.table(("Cell", "Begins", "Result", "Why"), cells)
        for cell in differing:
            if cell.diff:
                report.line(f"Cell {cell.cell + 1}:")
                report.block(cell.diff)
    if found.end.name != "done":
        report.line(f"The run did not reach its end: {sentence(found.end.message)}")
    for note in found.notes:
        report.line(f"Note: {note}")
    report.line(f"Looked past: {', '.join(found.kinds)}.")
    return report.output()


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _PROMPT_CHARS else line[: _PROMPT_CHARS - 1] + "…"
