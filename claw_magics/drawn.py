"""The turns that this kernel drew: for a page that was reloaded, and to draw them anew."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import field
from typing import TYPE_CHECKING, Any

from claw_kernel.late_dataclass import dataclass

if TYPE_CHECKING:
    from claw_kernel.agent import Turn
    from claw_kernel.messages import AnsweredBy

TURNS_KEPT = 20
"""Drawn turns that ``sync`` can restore after a page was reloaded (docs/protocol.md)."""


@dataclass()
class DrawnTurn:
    """The last drawing of one turn. ``mark``: the line above it that says that the model does not see it."""

    turn_id: str
    session_id: str
    cell_id: str
    bundle: dict[str, Any] | None = None
    answers: dict[str, AnsweredBy] = field(default_factory=dict)
    turn: Turn | None = None
    mark: str = ""

    @property
    def is_running(self) -> bool:
        return self.turn is not None and not self.turn.is_finished

    def take(self, bundle: dict[str, Any]) -> None:
        """Called with each bundle that is drawn."""
        self.bundle = bundle

    def note_answer(self, request_id: str, by: AnsweredBy) -> None:
        """Called when a request was answered or has lapsed."""
        self.answers[request_id] = by

    def document(self) -> dict[str, Any]:
        """As docs/protocol.md has it."""
        return {
            "turn_id": self.turn_id,
            "cell_id": self.cell_id,
            "display_id": f"claw-{self.turn_id}",
            "is_running": self.is_running,
            "bundle": self.bundle or {},
        }


class DrawnTurns:
    """The last ``TURNS_KEPT``, oldest first. Thread-safe."""

    def __init__(self) -> None:
        self._turns: OrderedDict[str, DrawnTurn] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, drawn: DrawnTurn) -> DrawnTurn:
        with self._lock:
            self._turns[drawn.turn_id] = drawn
            while len(self._turns) > TURNS_KEPT:
                self._turns.popitem(last=False)
        return drawn

    def documents(self) -> list[dict[str, Any]]:
        """As docs/protocol.md has them."""
        with self._lock:
            return [drawn.document() for drawn in self._turns.values()]

    def finished(self) -> list[DrawnTurn]:
        with self._lock:
            return [drawn for drawn in self._turns.values() if not drawn.is_running]

    def answered_by(self, request_id: str) -> str:
        """Who answered a request of a turn that is still remembered, or empty."""
        with self._lock:
            return next((d.answers[request_id] for d in self._turns.values() if request_id in d.answers), "")
