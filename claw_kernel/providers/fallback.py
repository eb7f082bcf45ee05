"""Other models in the place of one that cannot be had: a provider like the others, around those it asks in turn."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import cast

from claw_kernel.errors import (
    ClawError,
    ContextOverflowError,
    ModelNotFoundError,
    NetworkError,
    OverloadedError,
    ProviderError,
    QuotaError,
    RateLimitError,
    ServerError,
    StreamError,
)
from claw_kernel.messages import (
    AssistantBlock,
    Message,
    MessageFinished,
    ModelRequest,
    ProviderEvent,
    ProviderNotice,
    StreamRestarted,
    TextBlock,
    ThinkingBlock,
    ToolCall,
    UsageCounted,
)
from claw_kernel.providers import Provider
from claw_kernel.providers._wire import KeptMessages

STAY_SECONDS = 300.0
"""How long the one that answered is asked first: a model that was overloaded a moment ago would cost each step its retries
again, and a provider's cache of the conversation lives as long."""
_UNAVAILABLE = (
    OverloadedError,
    RateLimitError,
    ServerError,
    NetworkError,
    StreamError,
    QuotaError,
    ModelNotFoundError,
)
"""What another model may help against. A wrong key or a refused request is the person's to mend."""


class FallbackProvider:
    """``provider`` (for ``name``, ``provider/model``) first; where it gave up, each of ``names`` in turn. A fallback answers with
    its own model's name in ``MessageFinished.answered_by``. ``open_model`` as ``open_provider``; it is called when one is needed.
    """

    def __init__(
        self, provider: Provider, name: str, names: Sequence[str], open_model: Callable[[str], tuple[Provider, str]]
    ) -> None:
        self.name = provider.name
        self._primary = _Candidate(name, provider)
        self._candidates = [self._primary, *(_Candidate(other) for other in names if other != name)]
        self._open_model = open_model
        self._origins: dict[object, str] = {}
        self._first = self._primary
        self._stay_until = 0.0

    async def aclose(self) -> None:
        for candidate in self._candidates:
            if candidate.provider is not None:
                await candidate.provider.aclose()

    async def stream(self, request: ModelRequest) -> AsyncIterator[ProviderEvent]:
        """See ``Provider.stream``. Where none can be had, raises an overflow of a fallback, else the first error."""
        if self._first is not self._primary and time.monotonic() > self._stay_until:
            self._first = self._primary
        waiting = [self._first, *(one for one in self._candidates if one is not self._first)]
        first_error: ProviderError | None = None
        overflow: ContextOverflowError | None = None
        for place, candidate in enumerate(waiting):
            has_deltas = False
            try:
                provider = self._opened(candidate)
                async with aclosing(self._ask(candidate, provider, request)) as events:
                    async for event in events:
                        has_deltas = has_deltas or not isinstance(event, ProviderNotice | UsageCounted)
                        yield event
                return
            except _UNAVAILABLE as error:
                first_error = first_error or error
                reason = error.message.rstrip(".")
            except ClawError as error:
                if candidate is self._primary:
                    raise
                if isinstance(error, ContextOverflowError):
                    overflow = error
                reason = f"{candidate.name} cannot be used: {error.message.rstrip('.')}"
            if has_deltas:
                yield StreamRestarted(reason)
            if place + 1 < len(waiting):
                yield ProviderNotice(f"{reason}; {waiting[place + 1].name} is asked instead")
        assert first_error is not None
        # What is too long can be shortened, and then the model that can be had answers.
        raise overflow or first_error

    def _opened(self, candidate: _Candidate) -> Provider:
        """Raises ClawError where the model cannot be used at all."""
        if candidate.provider is None:
            candidate.provider, candidate.model = self._open_model(candidate.name)
            candidate.name = f"{candidate.provider.name}/{candidate.model}"
        return candidate.provider

    async def _ask(
        self, candidate: _Candidate, provider: Provider, request: ModelRequest
    ) -> AsyncGenerator[ProviderEvent, None]:
        is_primary = candidate is self._primary
        if self._origins or not is_primary:
            if candidate.messages is None:
                candidate.messages = KeptMessages(lambda message: self._understood(message, candidate))
            request = replace(
                request, messages=candidate.messages(request.messages), model=candidate.model or request.model
            )
        async for event in provider.stream(request):
            if isinstance(event, MessageFinished):
                for block in event.message.content:
                    if isinstance(block, ThinkingBlock | ToolCall):
                        self._origins[_mark(block)] = candidate.name
                if not is_primary:
                    event = replace(event, answered_by=candidate.name)  # noqa: PLW2901
                    self._stay_until = time.monotonic() + STAY_SECONDS
                self._first = candidate
            elif isinstance(event, UsageCounted) and not is_primary:
                event = replace(event, model=candidate.name)  # noqa: PLW2901
            yield event

    def _understood(self, message: Message, candidate: _Candidate) -> Message:
        """``message`` without what only the model understands that gave it: thoughts and signatures."""
        if message.role == "user":
            return message
        content: list[AssistantBlock] = []
        for block in cast("tuple[AssistantBlock, ...]", message.content):
            if isinstance(block, TextBlock) or self._origins.get(_mark(block), self._primary.name) == candidate.name:
                content.append(block)
            elif isinstance(block, ToolCall):
                content.append(replace(block, signature=""))
        return Message("assistant", tuple(content))


class _Candidate:
    """A model that may be asked. ``model``: its provider's name for it, empty: the request's."""

    def __init__(self, name: str, provider: Provider | None = None) -> None:
        self.name = name
        self.provider = provider
        self.model = ""
        self.messages: KeptMessages | None = None


def _mark(block: object) -> object:
    """What a block is known again by after it went through the loop."""
    return (block.signature or block.id) if isinstance(block, ToolCall) else block
