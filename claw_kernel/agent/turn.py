"""One prompt to its final answer, as its front end sees it: a stream of events, a cancel, a record."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any

from claw_kernel._core import CancelToken
from claw_kernel.messages import Event, TurnFinished, TurnRecord

if TYPE_CHECKING:
    from claw_kernel.tools.structured_output import StructuredOutput


class Turn:
    """Made by ``Agent.start``. Has one reader, which takes events in batches: all that came since it last looked."""

    def __init__(self, record: TurnRecord, output: StructuredOutput | None = None) -> None:
        """``output``: where the caller gave a schema, the tool that takes the result."""
        self.turn_id = record.turn_id
        self.output = output
        self.cancel_token = CancelToken()
        self._record = record
        self._events: list[Event] = []
        self._lock = threading.Lock()
        self._arrived = threading.Event()
        self._notify: Callable[[], None] | None = None
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
        arrived = asyncio.Event()

        def notify() -> None:
            with contextlib.suppress(RuntimeError):  # the reader's loop is closed: nobody reads any more
                loop.call_soon_threadsafe(arrived.set)

        with self._lock:
            self._notify = notify
            if self._events:
                arrived.set()
        try:
            while True:
                await arrived.wait()
                arrived.clear()
                batch = self._take()
                if batch:
                    yield batch
                    if isinstance(batch[-1], TurnFinished):
                        return
        finally:
            with self._lock:
                self._notify = None

    def batches_blocking(self, poll_seconds: float = 0.05) -> Iterator[list[Event]]:
        """The same for a thread without an event loop. Yields an empty batch every ``poll_seconds`` without events."""
        while True:
            self._arrived.wait(poll_seconds)
            batch = self._take()
            yield batch
            if batch and isinstance(batch[-1], TurnFinished):
                return

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
            if len(self._events) > 1:
                return  # the reader has been woken for the first and will take all
            self._arrived.set()
            notify = self._notify
        if notify is not None:
            notify()

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

    def _take(self) -> list[Event]:
        with self._lock:
            batch, self._events = self._events, []
            self._arrived.clear()
            return batch
