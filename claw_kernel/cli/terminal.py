"""Approvals at a terminal: asked on stderr, answered by a line on stdin, without ever blocking the turn."""

from __future__ import annotations

import os
import select
import sys
from typing import Protocol

from claw_kernel.messages import AnsweredBy, AnswerName, ApprovalRequest, ApprovalRequested, ApprovalResolved, Event
from claw_kernel.question import Dialog, open_dialog


class Resolver(Protocol):
    """Takes the answer: the gate of this process, or the way to that of a kernel."""

    def resolve(
        self,
        request_id: str,
        answer: AnswerName,
        by: AnsweredBy,
        message: str = "",
        selections: tuple[tuple[str, ...], ...] = (),
    ) -> bool: ...


class Terminal:
    """Give it every batch of the turn's events, empty ones too: it looks at the keyboard then."""

    def __init__(self, gate: Resolver) -> None:
        self._gate = gate
        self._waiting: list[ApprovalRequest] = []
        self._typed = b""
        self._dialog: Dialog | None = None

    def take(self, batch: list[Event]) -> None:
        for event in batch:
            if isinstance(event, ApprovalRequested):
                self._waiting.append(event.request)
                if len(self._waiting) == 1:
                    self._ask()
            elif isinstance(event, ApprovalResolved):
                self._drop(event.request_id)
        if self._waiting and (line := self._line()) is not None:
            self._answer(line)

    def _ask(self) -> None:
        self._dialog = open_dialog(self._waiting[0])
        self._write(self._dialog)

    def _write(self, dialog: Dialog) -> None:
        shown = dialog.show()
        if shown:
            # What was typed before the question could be seen is no answer to it.
            import termios

            termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)
            self._typed = b""
        sys.stderr.write(shown + dialog.prompt())
        sys.stderr.flush()

    def _drop(self, request_id: str) -> None:
        was_asked = bool(self._waiting) and self._waiting[0].request_id == request_id
        self._waiting = [request for request in self._waiting if request.request_id != request_id]
        if was_asked:
            sys.stderr.write("\n")
            if self._waiting:
                self._ask()

    def _line(self) -> str | None:
        """A line typed since, None while there is none. The end of input is a no: nobody is there any more."""
        if not select.select([sys.stdin], [], [], 0)[0]:
            return None
        chunk = os.read(sys.stdin.fileno(), 4096)
        if not chunk:
            return "n"
        self._typed += chunk
        if b"\n" not in self._typed:
            return None
        line, _, self._typed = self._typed.partition(b"\n")
        return line.decode("utf-8", "replace")

    def _answer(self, line: str) -> None:
        if self._dialog is None:
            return
        reply = self._dialog.take(line)
        if reply is None:
            self._write(self._dialog)
            return
        request = self._waiting.pop(0)
        self._gate.resolve(request.request_id, reply.answer, "stdin", reply.message, reply.selections)
        if self._waiting:
            self._ask()
