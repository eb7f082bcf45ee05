"""Threads for the core's blocking calls, awaited on the engine's loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

T = TypeVar("T")

MAX_THREADS = 16
"""As many as a step may run at once: the threads only wait for processes and files."""


class Workers:
    """Of one session. The threads are started when they are needed."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None

    def begin(self, work: Callable[[], object]) -> None:
        """Nobody waits for it, nor for what it raises."""
        self._threads().submit(work)

    async def run(self, work: Callable[[], T], cancel: Callable[[], object] | None = None) -> T:
        """``work``'s result. Where the waiting is cancelled and there is ``cancel``, that is called and ``work`` waited for all
        the same: its result is what there is then. Without it the thread is left to itself.

        A future of the loop's own, and not ``run_in_executor`` under a shield: with those the loop goes round three times
        before whoever waits goes on."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()

        def tell() -> None:
            if not ended.done():
                ended.set_result(None)

        def wake(_: object) -> None:
            with suppress(RuntimeError):  # where nobody waits any more, the loop may be closed by now
                loop.call_soon_threadsafe(tell)

        running = self._threads().submit(work)
        running.add_done_callback(wake)
        try:
            await ended
        except asyncio.CancelledError:
            if cancel is None:
                raise
            cancel()
            if not running.done():
                ended = loop.create_future()
                await ended
        return running.result()

    def close(self) -> None:
        """What waits for a thread is not begun any more."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _threads(self) -> ThreadPoolExecutor:
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor

            self._pool = ThreadPoolExecutor(max_workers=MAX_THREADS, thread_name_prefix="claw-tool")
        return self._pool
