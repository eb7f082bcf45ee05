"""Asking and remembering: the one place where a call waits for an answer, and the one ``resolve`` every answer passes."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace

from claw_kernel._core import Core
from claw_kernel.ids import new_id
from claw_kernel.late_dataclass import dataclass
from claw_kernel.messages import Answer, AnsweredBy, AnswerName, ApprovalRequest
from claw_kernel.question import MAX_SELECTION

NOBODY = (
    "nobody can be asked here (no front end that can answer); allow it beforehand, for instance with --allow '{rule}' "
    "or %claw permissions allow {rule}"
)


class AnswerError(ValueError):
    """An answer that the request does not take; ``str(error)`` is for the developer of a front end."""


@dataclass()
class _Pending:
    request: ApprovalRequest
    turn_id: str
    future: asyncio.Future[Answer]


class Gate:
    """First answer wins; later ones, and those to unknown or lapsed requests, change nothing."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self._pending: dict[str, _Pending] = {}
        self._lock = threading.Lock()

    def pending(self) -> list[ApprovalRequest]:
        """What waits for an answer now, oldest first. Any thread."""
        with self._lock:
            return [item.request for item in self._pending.values()]

    def turn_of(self, request_id: str) -> str | None:
        """The turn a pending request belongs to. Any thread."""
        with self._lock:
            item = self._pending.get(request_id)
            return item.turn_id if item else None

    async def ask(self, request: ApprovalRequest, turn_id: str, announce: Callable[[ApprovalRequest], None]) -> Answer:
        """The first answer to ``request``, which gets a fresh id before it is ``announce``d. Engine loop only.

        Cancelling lapses the request: later answers find nothing.
        """
        request = replace(request, request_id=new_id("a"))
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        with self._lock:
            self._pending[request.request_id] = _Pending(request, turn_id, future)
        try:
            announce(request)
            return await future
        finally:
            with self._lock:
                self._pending.pop(request.request_id, None)

    def refuse(self, request: ApprovalRequest, ways: Iterable[str]) -> Answer | None:
        """The policy's own answer where nobody can be asked, else None."""
        if any(ways):
            return None
        rule = request.suggested_rules[0] if request.suggested_rules else request.tool
        return Answer("deny", "policy", NOBODY.format(rule=rule))

    def resolve(
        self,
        request_id: str,
        answer: AnswerName,
        by: AnsweredBy,
        message: str = "",
        selections: tuple[tuple[str, ...], ...] = (),
    ) -> bool:
        """True where this answer won. ``allow_always`` adds the request's ``suggested_rules`` to the session's policy (never
        broader than shown). Raises AnswerError, and the request goes on waiting, for an answer that does not fit it. Any
        thread."""
        with self._lock:
            item = self._pending.get(request_id)
            if item is None:
                return False
            _check_answer(item.request, answer, selections)
            # Taken out here, under the lock: of two racing answers exactly one finds it.
            del self._pending[request_id]
        if answer == "allow_always":
            if not item.request.suggested_rules:
                answer = "allow_once"
            for rule in item.request.suggested_rules:
                self.core.add_rule("allow", rule, f"session, answered by {by}")
        reply = Answer(answer, by, message, selections)

        def deliver() -> None:
            if not item.future.done():
                item.future.set_result(reply)

        with contextlib.suppress(RuntimeError):  # the engine's loop is gone: so is the turn that asked
            item.future.get_loop().call_soon_threadsafe(deliver)
        return True


def _check_answer(request: ApprovalRequest, answer: AnswerName, selections: tuple[tuple[str, ...], ...]) -> None:
    """Raises AnswerError."""
    if answer not in request.answers:
        raise AnswerError(f"this request takes the answers {', '.join(request.answers)}")
    if answer != "answered":
        if selections:
            raise AnswerError("selections go with the answer answered")
        return
    questions = request.preview["questions"]
    if len(selections) != len(questions):
        raise AnswerError(f"selections has one list for each of the {len(questions)} questions")
    for question, chosen in zip(questions, selections, strict=True):
        if not chosen or not all(text.strip() and len(text) <= MAX_SELECTION for text in chosen):
            raise AnswerError(f"each question is answered by texts of 1 to {MAX_SELECTION} characters")
        if len(chosen) > (len(question["options"]) + 1 if question.get("multiSelect") else 1):
            raise AnswerError("more was chosen than the question takes")
