"""Asking and remembering: the one place where a call waits for an answer, and the one ``resolve`` every answer passes."""

from __future__ import annotations

from claw_kernel._core import Core
from claw_kernel.messages import AnswerName, AnsweredBy, ApprovalRequest


class Gate:
    """First answer wins; later ones, and those to unknown or lapsed requests, change nothing."""

    core: Core

    def pending(self) -> list[ApprovalRequest]:
        """What waits for an answer now, oldest first. Any thread."""
        raise NotImplementedError

    def resolve(self, request_id: str, answer: AnswerName, by: AnsweredBy, message: str = "") -> bool:
        """True where this answer won. ``allow_always`` adds the request's ``suggested_rules`` to the session's policy (never
        broader than shown). Any thread."""
        raise NotImplementedError
