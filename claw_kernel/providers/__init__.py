"""Who serves a model. ``open_provider`` is the one way in; adding a provider is one file and one line in ``_OPENERS``.

A model is named ``provider/model`` (``anthropic/claude-sonnet-5``, ``ollama/qwen3``, ``scripted/tour.json``).
Nothing here imports an HTTP library before a provider is opened.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from claw_kernel.messages import ModelRequest, ProviderEvent


class Provider(Protocol):
    """One way to reach models. Lives on the engine's event loop; one instance serves many sessions at once."""

    name: str
    """The part before the slash: ``anthropic``, ``openai``, ``ollama``, ``scripted`` …"""

    def stream(self, request: ModelRequest) -> AsyncIterator[ProviderEvent]:
        """Send ``request`` and yield its events; the last one is exactly one ``MessageFinished``.

        Retries (with ``ProviderNotice`` and, where deltas were already given, ``StreamRestarted``) happen inside.
        Raises a ``ProviderError`` when it gives up; every delta yielded before then must be forgotten by the caller.
        Closing the iterator (``aclose``) closes the connection at once. Text deltas are joined per network read.
        """
        ...

    async def aclose(self) -> None:
        """Close connections. The provider is not used afterwards."""
        ...
