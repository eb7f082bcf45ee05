"""Waiting for work that the person may cancel."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

from claw_kernel.agent.turn import Turn

T = TypeVar("T")


class InterruptedTurnError(Exception):
    """The turn was cancelled while something was awaited."""


class Cancellation:
    """Of one turn, on the engine's loop, and its clock: a turn that may take only so long is cancelled when that is over. The
    time for which a person is asked does not count."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        loop = asyncio.get_running_loop()
        self._waiting: set[asyncio.Task[Any]] = set()
        self._is_noted = False

        def cancel() -> None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._note)

        turn.when_cancelled(cancel)
        self.is_expired = False
        self._started_at = time.monotonic()
        self._asked_at = 0.0
        self._asking = 0
        self._asked_seconds = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def expire_after(self, limit_seconds: float) -> None:
        """Cancel the turn once it has taken so long."""
        left = limit_seconds - self.elapsed_seconds
        if left <= 0:
            self.is_expired = True
            self._turn.cancel()
        else:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(left, 0.01), self.expire_after, limit_seconds)

    def close(self) -> None:
        """The turn is over: its time limit does nothing any more."""
        if self._timer is not None:
            self._timer.cancel()

    @property
    def elapsed_seconds(self) -> float:
        """Since the turn began, without the time for which a person was asked."""
        now = time.monotonic()
        asking = now - self._asked_at if self._asking else 0.0
        return now - self._started_at - self._asked_seconds - asking

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """While open, a person is asked; may be open several times at once."""
        if not self._asking:
            self._asked_at = time.monotonic()
        self._asking += 1
        try:
            yield
        finally:
            self._asking -= 1
            if not self._asking:
                self._asked_seconds += time.monotonic() - self._asked_at

    @property
    def is_cancelled(self) -> bool:
        return self._turn.cancel_token.is_cancelled

    async def until_cancelled(self, work: Coroutine[Any, Any, T]) -> T:
        """``work``'s result; where the turn is cancelled first, ``work`` is cancelled too, and once it is over
        InterruptedTurnError raised. Several tasks may wait at once."""
        task = asyncio.current_task()
        if task is None or self._is_noted:
            work.close()
            raise InterruptedTurnError
        self._waiting.add(task)
        try:
            return await work
        except (Exception, asyncio.CancelledError):
            # What it raises when it is cancelled is of no interest, unless somebody else has cancelled this task as well.
            if self._is_noted and task.cancelling() <= 1:
                raise InterruptedTurnError from None
            raise
        finally:
            self._waiting.discard(task)
            if self._is_noted:
                task.uncancel()

    def _note(self) -> None:
        if not self._is_noted:
            self._is_noted = True
            for task in self._waiting:
                task.cancel()
