"""One request to the model at a time, and its answer: what streams goes to the turn, what it costs to its account."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import assert_never

from claw_kernel.agent.call_ids import CallIds
from claw_kernel.agent.guards import PassageGuard, without_repeats
from claw_kernel.agent.spending import Spending
from claw_kernel.agent.turn import Turn
from claw_kernel.errors import ProtocolError
from claw_kernel.messages import (
    Effort,
    Message,
    MessageFinished,
    ModelRequest,
    ProviderEvent,
    ProviderNotice,
    RequestParts,
    StreamRestarted,
    TextBlock,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    Usage,
    UsageCounted,
)
from claw_kernel.providers import Provider
from claw_kernel.session.request_hash import RequestHasher
from claw_kernel.tools import ToolSet

REPEATED = "the model wrote the same passage again and again"


class Exchange:
    """With one model, for one turn. ``note`` gets what the person should find in the record. ``is_watched``: an answer that
    repeats itself is stopped."""

    def __init__(
        self,
        turn: Turn,
        provider: Provider,
        model: str,
        system: str,
        tools: ToolSet,
        *,
        effort: Effort | None,
        call_ids: CallIds,
        hasher: RequestHasher,
        spending: Spending,
        note: Callable[[str], None],
        is_watched: bool,
    ) -> None:
        self._turn, self._provider = turn, provider
        self._model, self._system, self._tools, self._effort = model, system, tools, effort
        self._call_ids, self._hasher, self._spending, self._note = call_ids, hasher, spending, note
        self._is_watched = is_watched
        self._parts = RequestParts()
        self._unhashed: ModelRequest | None = None
        self.answered_after_seconds = 0.0
        self._asked_at = 0.0
        self._partial: list[str] = []

    def asked(self) -> RequestParts:
        """What the newest request was made of."""
        if self._unhashed is not None:
            self._parts, self._unhashed = self._hasher.parts(self._unhashed), None
        return self._parts

    @property
    def partial(self) -> str:
        """The text of the answer under way."""
        return "".join(self._partial)

    async def ask_beside(self, messages: list[Message], max_tokens: int) -> MessageFinished:
        """A request beside the turn, for the notes of a summary: it begins with the bytes the model has seen before. Raises
        ProviderError."""
        stream = self._provider.stream(self._request(tuple(messages), max_tokens))
        try:
            async for event in stream:
                if isinstance(event, UsageCounted):
                    self._spending.count(event)
                elif isinstance(event, MessageFinished):
                    self._spending.pay(event.usage, event.answered_by)
                    return event
        finally:
            await _close(stream)
        raise self._no_message()

    async def ask(self, messages: tuple[Message, ...], max_tokens: int) -> MessageFinished:
        """The answer to the transcript, its deltas given to the turn. Raises ProviderError."""
        self._partial = []
        self._call_ids.begin()
        request = self._request(messages, max_tokens)
        self._unhashed, self._asked_at = request, time.monotonic()
        # The loop comes to it when the request is out: what is only noted must not keep the model waiting.
        asyncio.get_running_loop().call_soon(self.asked)
        emit = self._turn.emit
        guard = PassageGuard(is_on=self._is_watched)
        stream = self._provider.stream(request)
        try:
            async for event in stream:
                match event:
                    case MessageFinished():
                        message = self._call_ids.own_message(self._tools.with_own_names(event.message))
                        return self._finished(replace(event, message=message))
                    case ProviderNotice():
                        if not event.is_passing:
                            self._note(event.text)
                        emit(event)
                    case TextDelta():
                        self._partial.append(event.text)
                        emit(event)
                        if guard.take(event.text):
                            return self._finished(self._stopped(guard.passage))
                    case StreamRestarted():
                        self._partial, guard = [], PassageGuard(is_on=self._is_watched)
                        emit(event)
                    case ToolCallDelta():
                        emit(replace(event, call_id=self._call_ids.own(event.call_id)))
                    case ThinkingDelta():
                        emit(event)
                    case UsageCounted():
                        self._spending.count(event)
                    case _:
                        assert_never(event)
        finally:
            await _close(stream)
        raise self._no_message()

    def _request(self, messages: tuple[Message, ...], max_tokens: int) -> ModelRequest:
        return ModelRequest(self._model, self._system, messages, self._tools.specs, max_tokens, self._effort)

    def _finished(self, answer: MessageFinished) -> MessageFinished:
        self._spending.pay(answer.usage, answer.answered_by)
        self.answered_after_seconds = round(time.monotonic() - self._asked_at, 3)
        self._turn.emit(answer)
        return answer

    def _stopped(self, passage: int) -> MessageFinished:
        """The answer, cut off where it began to go round; so is the count of it, which stands at the end of most."""
        text = without_repeats(self.partial, passage)
        usage = self._spending.abandon() or Usage(is_least=True)
        return MessageFinished(Message("assistant", (TextBlock(text),)), usage, "other", incomplete=REPEATED)

    def _no_message(self) -> ProtocolError:
        return ProtocolError(f"{self._provider.name} ended its answer without a final message.", "Try again.")


async def _close(stream: AsyncIterator[ProviderEvent]) -> None:
    if (close := getattr(stream, "aclose", None)) is not None:
        await close()
