"""One prompt to its final answer, as its front end sees it: a stream of events, a cancel, a record."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any

from claw_kernel._core import CancelToken
from claw_kernel.messages import ApprovalRequested, Event, TurnFinished, TurnRecord

if TYPE_CHECKING:
    from claw_kernel.tools.structured_output import StructuredOutput

READ_SECONDS = 0.02
"""A reader that has just looked is left alone so long: each time it is woken it takes the interpreter from the engine, and a
quick step would spend more on that than on its tools. Nobody sees 50 pictures a second apart from 500."""
_EVERY: tuple[type, ...] = (object,)
_AWAITED: tuple[type, ...] = (ApprovalRequested, TurnFinished)
"""A person, or the next cell, waits for these: the reader is woken for them at once."""


class Turn:
    """Made by ``Agent.start``. Has one reader, which takes events in batches: all that came since it last looked. The first event
    after a pause wakes it at once, those that follow after ``READ_SECONDS``."""

    def __init__(self, record: TurnRecord, output: StructuredOutput | None = None) -> None:
        """``output``: where the caller gave a schema, the tool that takes the result."""
        self.turn_id = record.turn_id
        self.output = output
        self.cancel_token = CancelToken()
        self._record = record
        self._events: list[Event] = []
        self._lock = threading.Lock()
        self._wakes_for: tuple[type, ...] = ()
        self._wake: Callable[[], None] = lambda: None
        self._is_finished = False
        self._on_cancel: Callable[[], None] | None = None
        self._observers: list[Callable[[Event], None]] = []

    @property
    def record(self) -> TurnRecord:
        """The record so far (finished steps); the final one once ``is_finished``."""
        return self._record

    @property
    def result(self) -> Any:
        """The value that fits the caller's schema; None while there is none, or where no schema was given."""
        return self.output.result if self.output is not None else None

    @property
    def is_finished(self) -> bool:
        return self._is_finished

    def cancel(self) -> None:
        """Stop the turn, from any thread: the model's stream is closed, running tools are killed with their process groups,
        every call gets its result, ``TurnFinished`` with ``interrupted`` follows within 100 ms. Twice does nothing more."""
        # Rust tools watch the token themselves and must not wait for the engine's loop to come round.
        self.cancel_token.cancel()
        if self._on_cancel is not None:
            self._on_cancel()

    async def batches(self) -> AsyncIterator[list[Event]]:
        """Batches until after ``TurnFinished``. Wakes the reader's loop once per batch, not once per event."""
        loop = asyncio.get_running_loop()
        woken = asyncio.Event()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the reader's loop is closed: nobody reads any more
                loop.call_soon_threadsafe(woken.set)

        try:
            while True:
                woken.clear()
                self._wake_for(_EVERY, wake)
                await woken.wait()
                if not (batch := self._take()):
                    continue
                yield batch
                if isinstance(batch[-1], TurnFinished):
                    return
                woken.clear()
                self._wake_for(_AWAITED, wake)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(READ_SECONDS):
                        await woken.wait()
        finally:
            self._wake_for((), wake)

    def batches_blocking(self, poll_seconds: float = 0.05) -> Iterator[list[Event]]:
        """The same for a thread without an event loop. Yields an empty batch every ``poll_seconds`` without events."""
        woken = threading.Event()
        while True:
            woken.clear()
            self._wake_for(_EVERY, woken.set)
            woken.wait(poll_seconds)
            batch = self._take()
            yield batch
            if batch:
                if isinstance(batch[-1], TurnFinished):
                    return
                woken.clear()
                self._wake_for(_AWAITED, woken.set)
                woken.wait(READ_SECONDS)

    def take_leading(self, is_wanted: Callable[[Event], bool]) -> list[Event]:
        """The events that come next, as far as they are wanted; the reader gets the rest. Any thread."""
        with self._lock:
            count = next((n for n, event in enumerate(self._events) if not is_wanted(event)), len(self._events))
            taken, self._events = self._events[:count], self._events[count:]
            return taken

    # --- the engine's side ---

    def emit(self, event: Event) -> None:
        """Add an event; any thread."""
        for observe in self._observers:
            observe(event)
        with self._lock:
            self._events.append(event)
            if isinstance(event, TurnFinished):
                self._record = event.record
                self._is_finished = True
            if not isinstance(event, self._wakes_for):
                return
            self._wakes_for = ()  # the reader will take all
        self._wake()

    def update(self, record: TurnRecord) -> None:
        self._record = record

    def observe(self, observe: Callable[[Event], None]) -> None:
        """``observe`` sees each event before the reader does, in the thread it comes from. Set before the turn begins."""
        self._observers.append(observe)

    def when_cancelled(self, callback: Callable[[], None]) -> None:
        """``callback`` is called by ``cancel``, in the canceller's thread."""
        self._on_cancel = callback
        if self.cancel_token.is_cancelled:
            callback()

    def _wake_for(self, kinds: tuple[type, ...], wake: Callable[[], None]) -> None:
        """Have ``wake`` called once, for the first event of these kinds that nobody has taken; maybe it is there already."""
        with self._lock:
            self._wake = wake
            is_there = any(isinstance(event, kinds) for event in self._events)
            self._wakes_for = () if is_there else kinds
        if is_there:
            wake()

    def _take(self) -> list[Event]:
        with self._lock:
            batch, self._events = self._events, []
            return batch
