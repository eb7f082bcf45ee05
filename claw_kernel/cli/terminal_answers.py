"""Approvals of a notebook that runs headless, asked at the terminal it was started from."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from claw_kernel.cli.terminal import Terminal
from claw_kernel.messages import (
    Answer,
    AnsweredBy,
    AnswerName,
    ApprovalRequest,
    ApprovalRequested,
    ApprovalResolved,
    Event,
)

if TYPE_CHECKING:
    from claw_kernel.headless.execution import Answers


def terminal_answers() -> Answers | None:
    """None where no person is at hand."""
    return TerminalAnswers() if sys.stdin.isatty() and sys.stderr.isatty() else None


class TerminalAnswers:
    """``ask`` looks at the keyboard and returns at once."""

    def __init__(self) -> None:
        self._terminal = Terminal(self)
        self._open: set[str] = set()
        self._given: list[dict[str, Any]] = []

    def ask(self, requests: list[dict[str, Any]]) -> dict[str, Any] | None:
        """See ``Answers.ask``."""
        asked = {str(request["request_id"]): request for request in requests}
        events: list[Event] = [ApprovalRequested(_request(asked[name])) for name in asked if name not in self._open]
        events += [ApprovalResolved(name, Answer("deny", "interrupt")) for name in self._open - set(asked)]
        self._open = set(asked)
        self._terminal.take(events)
        return self._given.pop(0) if self._given else None

    def resolve(
        self,
        request_id: str,
        answer: AnswerName,
        by: AnsweredBy,  # noqa: ARG002 - the kernel knows what this connection is
        message: str = "",
        selections: tuple[tuple[str, ...], ...] = (),
    ) -> bool:
        """What the terminal has read; it goes out with the next ``ask``."""
        found: dict[str, Any] = {"op": "resolve", "request_id": request_id, "answer": answer}
        if message:
            found["message"] = message
        if selections:
            found["selections"] = [list(chosen) for chosen in selections]
        self._given.append(found)
        return True


def _request(document: dict[str, Any]) -> ApprovalRequest:
    default = ("allow_once", "allow_always", "deny")
    return ApprovalRequest(
        document["request_id"],
        document["call_id"],
        document["tool"],
        document["title"],
        document.get("reason", ""),
        document.get("preview", {"kind": "none"}),
        tuple(document.get("suggested_rules", ())),
        tuple(document.get("answers", default)),
    )
