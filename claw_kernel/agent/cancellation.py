"""Waiting for work that the person may cancel."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, TypeVar

from claw_kernel.agent.turn import Turn

T = TypeVar("T")


class InterruptedTurnError(Exception):
    """The turn was cancelled while something was awaited."""


class Cancellation:
    """Of one turn, on the engine's loop."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._cancelled = asyncio.Event()
        loop = asyncio.get_running_loop()

        def cancel() -> None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._cancelled.set)

        turn.when_cancelled(cancel)

    @property
    def is_cancelled(self) -> bool:
        return self._turn.cancel_token.is_cancelled

    async def until_cancelled(self, work: Coroutine[Any, Any, T]) -> T:
        """``work``'s result; where the turn is cancelled first, ``work`` is cancelled, waited for, and
        InterruptedTurnError raised."""
        task = asyncio.ensure_future(work)
        stop = asyncio.ensure_future(self._cancelled.wait())
        try:
            await asyncio.wait((task, stop), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise InterruptedTurnError
        finally:
            stop.cancel()
            await _cancel(task)


async def _cancel(task: asyncio.Task[Any]) -> None:
    """Cancel and wait until it is over; what it raises then is of no interest."""
    if not task.done():
        task.cancel()
        with contextlib.suppress(BaseException):
            await task
