"""One prompt to its final answer, as its front end sees it: a stream of events, a cancel, a record."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from claw_kernel.messages import Event, TurnRecord


class Turn:
    """Made by ``Agent.start``. Has one reader, which takes events in batches: all that came since it last looked."""

    turn_id: str

    @property
    def record(self) -> TurnRecord:
        """The record so far (finished steps); the final one once ``is_finished``."""
        raise NotImplementedError

    @property
    def is_finished(self) -> bool: ...

    def cancel(self) -> None:
        """Stop the turn, from any thread: the model's stream is closed, running tools are killed with their process groups,
        every call gets its result, ``TurnFinished`` with ``interrupted`` follows within 100 ms. Twice does nothing more."""

    async def batches(self) -> AsyncIterator[list[Event]]:
        """Batches until after ``TurnFinished``. Wakes the reader's loop once per batch, not once per event."""
        raise NotImplementedError
        yield []

    def batches_blocking(self, poll_seconds: float = 0.05) -> Iterator[list[Event]]:
        """The same for a thread without an event loop. Yields an empty batch every ``poll_seconds`` without events."""
        raise NotImplementedError
        yield []
