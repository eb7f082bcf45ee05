"""The reader of a turn: takes its events on the cell's thread, draws, runs what must run there, and ends with the record.

Two forms of one reader: ``read`` for a cell that awaits, ``read_blocking`` for one that cannot.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import queue
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any, Protocol

from claw_kernel.agent.turn import Turn
from claw_kernel.messages import ApprovalRequested, ApprovalResolved, Event, ToolOutput, TurnFinished, TurnRecord
from claw_kernel.session.record import scrub
from claw_magics.approvals import Approvals
from claw_magics.screen import Screen
from claw_magics.standin import StandIn
from claw_magics.view import TurnView

TICK_SECONDS = 0.05
"""A signal that arrives while the loop sleeps is seen at the loop's next event; the ticker is that event."""
DRAW_SECONDS = 0.1
"""Front ends redraw Markdown smoothly up to 10 times a second, and nothing between here and there coalesces."""
BYTES_PER_SECOND = 1_000_000
"""Drawing sends the whole turn each time; large turns are drawn less often, so that the traffic stays bounded."""
DRAWING_SHARE = 0.1
"""Part of the time that may be spent on drawing."""
DRAIN_SECONDS = 5.0
"""How long an interrupted turn may take to end before the cell ends without it."""

Job = Callable[[], Awaitable[Any]]
_REACTED = (ApprovalRequested, ApprovalResolved, ToolOutput)


class Bindable(Protocol):
    """The part of the live namespace that a reader lends its thread to."""

    def bind(self, run_on_main: Any) -> None: ...


class Reader:
    """Reads one turn. ``namespace`` is bound to this thread while it reads."""

    def __init__(self, turn: Turn, view: TurnView, screen: Screen, approvals: Approvals, namespace: Bindable) -> None:
        self._turn, self._view, self._screen, self._approvals, self._namespace = (
            turn,
            view,
            screen,
            approvals,
            namespace,
        )
        self._draw_at = 0.0
        self._is_dirty = False
        self._lock = threading.RLock()  # between this thread and its stand-in
        self._stand_in = StandIn(self._draw_printed)
        self._redraw: asyncio.TimerHandle | None = None

    async def read(self) -> TurnRecord:
        """The turn's record. Being cancelled cancels the turn, which is then still read to its end."""
        with self._stand_in:
            return await self._read()

    async def _read(self) -> TurnRecord:
        loop = asyncio.get_running_loop()
        pulling = loop.create_task(self._pull(loop))
        ticking = loop.create_task(self._tick())
        jobs = _LoopJobs(loop, self._draw_what_is_new, self._turn)
        self._namespace.bind(jobs.run_on_main)
        give_up_at = float("inf")
        try:
            while not pulling.done() and time.monotonic() < give_up_at:
                patience = None if give_up_at == float("inf") else give_up_at - time.monotonic()
                try:
                    await asyncio.wait({pulling}, timeout=patience)
                except asyncio.CancelledError:
                    _uncancel()
                    self._turn.cancel()
                    give_up_at = min(give_up_at, time.monotonic() + DRAIN_SECONDS)
            if pulling.done():
                pulling.result()
        finally:
            self._turn.cancel()  # does nothing to a finished turn
            self._namespace.bind(None)
            jobs.close()
            if self._redraw is not None:
                self._redraw.cancel()
            for task in (pulling, ticking):
                task.cancel()
            await asyncio.gather(pulling, ticking, return_exceptions=True)
            self._finish()
        return self._view.record

    def read_blocking(self) -> TurnRecord:
        """The same without a loop. KeyboardInterrupt cancels the turn, which is then still read to its end."""
        with self._stand_in:
            return self._read_blocking()

    def _read_blocking(self) -> TurnRecord:
        jobs = _QueueJobs(self._turn)
        self._namespace.bind(jobs.run_on_main)
        give_up_at = float("inf")
        try:
            while not self._turn.is_finished and time.monotonic() < give_up_at:
                try:
                    self._pull_blocking(jobs, give_up_at)
                except KeyboardInterrupt:
                    self._turn.cancel()
                    give_up_at = min(give_up_at, time.monotonic() + DRAIN_SECONDS)
        finally:
            self._turn.cancel()
            self._namespace.bind(None)
            jobs.close()
            self._finish()
        return self._view.record

    async def _pull(self, loop: asyncio.AbstractEventLoop) -> None:
        async for batch in self._turn.batches():
            self._take(batch)
            if self._view.is_finished:
                return
            wait = self._draw_at - time.monotonic()
            if wait <= 0:
                self._draw()
            elif self._redraw is None:
                self._redraw = loop.call_later(wait, self._draw)

    async def _tick(self) -> None:
        while True:
            self._stand_in.tick()
            self._approvals.poll()
            await asyncio.sleep(TICK_SECONDS)

    def _pull_blocking(self, jobs: _QueueJobs, give_up_at: float) -> None:
        for batch in self._turn.batches_blocking(TICK_SECONDS):
            self._stand_in.tick()
            self._take(batch)
            if time.monotonic() >= self._draw_at:
                self._draw_what_is_new()
            jobs.run_waiting(self._draw_what_is_new)
            self._approvals.poll()
            if time.monotonic() >= give_up_at:
                return

    def _take(self, batch: list[Event]) -> None:
        fold = self._view.fold
        with self._lock:
            self._is_dirty = self._is_dirty or bool(batch)
            for event in batch:
                fold(event)
                if isinstance(event, _REACTED):
                    self._react(event)

    def _draw_printed(self) -> None:
        """In the stand-in's thread: what a running call prints. Everything else waits for the reader's own."""
        with self._lock:
            for event in self._turn.take_leading(_is_printed):
                self._view.fold(event)
                self._is_dirty = True
            if self._is_dirty and not self._view.is_finished and time.monotonic() >= self._draw_at:
                self._paint()

    def _react(self, event: Event) -> None:
        if isinstance(event, ApprovalRequested):
            self._draw()  # what the question is about stands above it
            self._approvals.open(event.request)
        elif isinstance(event, ApprovalResolved):
            self._approvals.close(event.request_id, event.answer)
        elif isinstance(event, ToolOutput) and event.bundle is not None:
            self._screen.show(scrub(event.bundle, self._view.redact))

    def _draw_what_is_new(self) -> None:
        """Before this thread is lent to code that may keep it for minutes: the person sees what runs."""
        # The call may have come by the shorter way, past the event that says it began.
        self._take(self._turn.take_leading(lambda event: not isinstance(event, TurnFinished)))
        if self._is_dirty and not self._view.is_finished:
            self._draw()

    def _draw(self) -> None:
        if self._redraw is not None:
            self._redraw.cancel()
            self._redraw = None
        self._paint()

    def _paint(self) -> None:
        with self._lock:
            self._is_dirty = False
            began = time.monotonic()
            size = self._screen.draw(self._view)
            ended = time.monotonic()
            self._draw_at = ended + max(DRAW_SECONDS, (ended - began) / DRAWING_SHARE, size / BYTES_PER_SECOND)

    def _finish(self) -> None:
        """The last drawing, which is unconditional and holds the record."""
        self._approvals.close_all()
        if not self._view.is_finished:
            record = self._turn.record
            if not self._turn.is_finished:
                record = replace(record, stop_reason="interrupted")
            self._view.fold(TurnFinished(record))
        self._draw()


def _is_printed(event: Event) -> bool:
    return isinstance(event, ToolOutput) and event.bundle is None


class _LoopJobs:
    """Jobs of the engine on the cell's loop, in the cell's context, so that what they print belongs to the cell."""

    can_await = True

    def __init__(self, loop: asyncio.AbstractEventLoop, draw: Callable[[], None], turn: Turn) -> None:
        self._loop, self._draw, self._turn = loop, draw, turn
        self._context = contextvars.copy_context()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_closed = False

    def run_on_main(self, job: Job) -> concurrent.futures.Future[Any]:
        """Any thread. Cancelling the future cancels the job."""
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()

        def begin() -> None:
            if self._is_closed:
                _fail(future, RuntimeError(_GONE))
                return
            if future.cancelled():
                return
            task = self._loop.create_task(self._run(job), context=self._context.copy())
            self._tasks.add(task)
            task.add_done_callback(lambda done: self._end(done, future))
            future.add_done_callback(
                lambda done: self._loop.call_soon_threadsafe(task.cancel) if done.cancelled() else None
            )

        self._loop.call_soon_threadsafe(begin)
        return future

    def close(self) -> None:
        self._is_closed = True
        for task in list(self._tasks):
            task.cancel()

    async def _run(self, job: Job) -> Any:
        await asyncio.sleep(0)  # lets the reader take the event that announces the job
        self._draw()
        return await job()

    def _end(self, task: asyncio.Task[Any], future: concurrent.futures.Future[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            future.cancel()
        elif (error := task.exception()) is not None:
            _fail(future, error)
        else:
            _deliver(future, task.result(), self._turn)


class _QueueJobs:
    """Jobs of the engine for a thread whose loop stands still: the reader runs them between two looks at the turn."""

    can_await = False

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._waiting: queue.SimpleQueue[tuple[Job, concurrent.futures.Future[Any]]] = queue.SimpleQueue()
        self._is_closed = False

    def run_on_main(self, job: Job) -> concurrent.futures.Future[Any]:
        """Any thread."""
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        if self._is_closed:
            _fail(future, RuntimeError(_GONE))
        else:
            self._waiting.put((job, future))
        return future

    def run_waiting(self, before: Callable[[], None]) -> None:
        """Reader's thread; ``before`` is called before each job. KeyboardInterrupt in the job's code passes through after the future was told."""
        with contextlib.suppress(queue.Empty):
            while True:
                job, future = self._waiting.get_nowait()
                if future.cancelled():
                    continue
                before()
                try:
                    result = _run_without_loop(_run(job))
                except KeyboardInterrupt:
                    future.cancel()
                    raise
                except BaseException as error:
                    _fail(future, error)
                else:
                    _deliver(future, result, self._turn)

    def close(self) -> None:
        self._is_closed = True
        with contextlib.suppress(queue.Empty):
            while True:
                _fail(self._waiting.get_nowait()[1], RuntimeError(_GONE))


_GONE = "The notebook's variables cannot be reached any more: the cell that asked has ended."
_AWAITS = (
    "This code awaits, which cannot work here: the cell runs under another cell magic (such as %%time), so the kernel's "
    "event loop stands still. It ran up to its first await. Write it without await."
)


async def _run(job: Job) -> Any:
    return await job()


def _run_without_loop(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that does not really wait; on IPython's own idle loop where there is one."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        from IPython.core import async_helpers

        loop: Any = async_helpers.get_asyncio_loop()  # type: ignore[no-untyped-call]
        return loop.run_until_complete(work)
    try:
        work.send(None)
    except StopIteration as stop:
        return stop.value
    work.close()
    raise RuntimeError(_AWAITS)


def _deliver(future: concurrent.futures.Future[Any], result: Any, turn: Turn) -> None:
    is_interrupted = getattr(result, "is_interrupted", False)
    if is_interrupted:
        # The person interrupted the code and means the turn. The flag goes first, so that no further step begins; the
        # rest follows behind the result, so that what the code printed is kept.
        turn.cancel_token.cancel()
    if future.set_running_or_notify_cancel():
        future.set_result(result)
    if is_interrupted:
        turn.cancel()


def _fail(future: concurrent.futures.Future[Any], error: BaseException) -> None:
    if future.set_running_or_notify_cancel():
        future.set_exception(error)


def _uncancel() -> None:
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()
