"""What ``claw run`` and ``claw replay`` write while a notebook runs: its conversation, or one JSON object per event."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from claw_kernel.cli.conversation import Conversation
from claw_kernel.headless.execution import Watch
from claw_kernel.session.notebook import drawn_records

if TYPE_CHECKING:
    from nbformat import NotebookNode


def open_watch(output_format: str) -> Watch:
    """``text``, ``stream-json``, or nothing while it runs (``json``, ``quiet``)."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding=None if output_format == "text" else "utf-8", errors="replace")
    match output_format:
        case "text":
            return TextWatch()
        case "stream-json":
            return StreamWatch()
        case _:
            return QuietWatch()


class QuietWatch:
    """Writes nothing."""

    def cell_started(self, index: int, cell: NotebookNode) -> None: ...

    def turn_drawn(self, index: int, document: Mapping[str, Any]) -> None: ...

    def cell_finished(self, index: int, cell: NotebookNode, problem: str) -> None: ...


class TextWatch(QuietWatch):
    """The conversation and the code cells, as they are done."""

    def __init__(self) -> None:
        self._conversation = Conversation()

    def turn_drawn(self, index: int, document: Mapping[str, Any]) -> None:  # noqa: ARG002
        self._conversation.update(document)

    def cell_finished(self, index: int, cell: NotebookNode, problem: str) -> None:  # noqa: ARG002
        if not drawn_records(cell):
            self._conversation.show_cell(cell)


class StreamWatch(QuietWatch):
    """One object per line: ``cell_started``, ``turn_started``, ``step_finished``, ``turn_finished``, ``cell_finished``. Cells count
    from 0; records are as docs/record.md has them."""

    def __init__(self) -> None:
        self._steps: dict[str, int] = {}
        self._finished: set[str] = set()

    def cell_started(self, index: int, cell: NotebookNode) -> None:
        write_event("cell_started", cell=index, cell_id=str(cell.get("id", "")), source=str(cell.source))

    def turn_drawn(self, index: int, document: Mapping[str, Any]) -> None:
        turn_id = str(document.get("turn_id", ""))
        if turn_id not in self._steps:
            self._steps[turn_id] = 0
            kept = {key: value for key, value in document.items() if key not in ("live", "steps", "stop_reason")}
            write_event("turn_started", cell=index, turn_id=turn_id, record=kept)
        for step in document["steps"][self._steps[turn_id] :]:
            write_event("step_finished", cell=index, turn_id=turn_id, index=self._steps[turn_id], step=step)
            self._steps[turn_id] += 1
        if "live" not in document and turn_id not in self._finished:
            self._finished.add(turn_id)
            write_event("turn_finished", cell=index, turn_id=turn_id, record=dict(document))

    def cell_finished(self, index: int, cell: NotebookNode, problem: str) -> None:
        write_event("cell_finished", cell=index, cell_id=str(cell.get("id", "")), problem=problem)


def write_event(kind: str, **fields: Any) -> None:
    """One line on stdout, at once."""
    sys.stdout.write(json.dumps({"type": kind, **fields}, ensure_ascii=False) + "\n")
    sys.stdout.flush()
