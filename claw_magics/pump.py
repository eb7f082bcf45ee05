"""Widget clicks reach the kernel while a cell awaits, on every ipykernel from 6.29 on.

ipykernel 7.4 dispatches comm messages during an awaiting cell by itself. Before, the kernel's own reader of the shell
channel stands still while a cell runs; the pump reads in its place, lets comm messages through and keeps everything
else in order for later. It touches private names of ipykernel: each is looked for first, and where one is missing
``can_pump`` is false and approvals are asked for by stdin instead.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

_COMM_TYPES = {"comm_open", "comm_msg", "comm_close"}


def can_pump(kernel: Any) -> bool:
    """Whether comm messages can be dispatched while a cell of ``kernel`` awaits."""
    return kernel is not None and (_is_native(kernel) or _has_lock(kernel) or _has_queue(kernel))


@contextlib.asynccontextmanager
async def comms_open(kernel: Any) -> AsyncIterator[None]:
    """Inside the block, comm messages to ``kernel`` are dispatched as they come. Call it from a running cell."""
    if kernel is None or _is_native(kernel):
        yield
    elif _has_lock(kernel):
        with _bypassed_lock(kernel):
            yield
    elif _has_queue(kernel):
        async with _pumped_queue(kernel):
            yield
    else:
        yield


def _is_native(kernel: Any) -> bool:
    """ipykernel 7.4 and later."""
    dispatch = getattr(type(kernel), "dispatch_shell", None)
    return dispatch is not None and "concurrent" in inspect.signature(dispatch).parameters


def _has_lock(kernel: Any) -> bool:
    """ipykernel 7.0 to 7.3: ``shell_main`` takes this lock around ``dispatch_shell``."""
    names = ("_main_asyncio_lock", "dispatch_shell", "get_parent", "set_parent")
    return all(hasattr(kernel, name) for name in names)


def _has_queue(kernel: Any) -> bool:
    """ipykernel 6: shell messages wait in ``msg_queue`` for a task that is busy with our cell."""
    return all(hasattr(kernel, name) for name in ("msg_queue", "get_parent", "set_parent", "_parent_ident"))


def shell_ident(kernel: Any) -> Any:
    """The routing identity of the request the kernel is busy with."""
    read = getattr(kernel, "_get_shell_context_var", None)
    if read is not None and hasattr(kernel, "_shell_parent_ident"):
        return read(kernel._shell_parent_ident)
    variable = getattr(kernel, "_shell_parent_ident", None)
    if variable is not None and hasattr(variable, "get"):
        return variable.get()
    return kernel._parent_ident["shell"]


def _message_type(kernel: Any, message: Any) -> str | None:
    """Peek at a message without using up its signature; None where it is none (the kernel's own one-frame signals)."""
    try:
        _, frames = kernel.session.feed_identities(message, copy=False)
        header = frames[1]
        found = json.loads(getattr(header, "bytes", header))["msg_type"]
    except Exception:
        return None
    return str(found)


@contextlib.contextmanager
def _aside(kernel: Any, parent: tuple[Any, Any]) -> Iterator[None]:
    """Around the dispatch of one comm message: the cell's request and its SIGINT handler are put back afterwards."""
    saved = getattr(kernel, "saved_sigint_handler", None)
    try:
        yield
    finally:
        kernel.set_parent(*parent, channel="shell")
        if saved is not None:
            kernel.saved_sigint_handler = saved


class _OpenLock:
    """Stands in for the kernel's lock: the real one is taken in ``dispatch`` for everything but comm messages."""

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, *exception: object) -> None:
        pass

    def locked(self) -> bool:
        return False


@contextlib.contextmanager
def _bypassed_lock(kernel: Any) -> Iterator[None]:
    lock, original = kernel._main_asyncio_lock, kernel.dispatch_shell
    parent = (shell_ident(kernel), kernel.get_parent("shell"))

    async def dispatch(message: Any, /, subshell_id: str | None = None, **options: Any) -> Any:
        if subshell_id is None and _message_type(kernel, message) not in _COMM_TYPES:
            async with lock:
                return await original(message, subshell_id=subshell_id, **options)
        if subshell_id is not None:
            return await original(message, subshell_id=subshell_id, **options)
        with _aside(kernel, parent):
            return await original(message, subshell_id=subshell_id, **options)

    kernel._main_asyncio_lock, kernel.dispatch_shell = _OpenLock(), dispatch
    try:
        yield
    finally:
        kernel._main_asyncio_lock = lock
        del kernel.dispatch_shell


@contextlib.asynccontextmanager
async def _pumped_queue(kernel: Any) -> AsyncIterator[None]:
    queue, kept = kernel.msg_queue, []
    parent = (shell_ident(kernel), kernel.get_parent("shell"))

    async def pump() -> None:
        while True:
            item = await queue.get()
            dispatch, arguments = item[-2], item[-1]
            if not arguments or _message_type(kernel, arguments[0]) not in _COMM_TYPES:
                kept.append(item)
                continue
            with _aside(kernel, parent):
                await dispatch(*arguments)

    task = asyncio.ensure_future(pump())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        # Cells that were queued while ours ran keep their order.
        for item in [*kept, *(queue.get_nowait() for _ in range(queue.qsize()))]:
            queue.put_nowait(item)
