"""Saying again that the kernel is busy.

ipykernel says *idle* after every control request, also while a cell runs. A page would then show an idle kernel, and a server that ends
kernels that have long been idle would end one at work. So after each request of ours it is said anew what the shell does.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

_EXECUTE = "execute_request"


class BusyStatus:
    """Knows from its installation on which cells of ``kernel`` run, on any thread."""

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel
        self._running: list[Any] = []
        self._execute: Callable[..., Any] | None = None
        self._is_in_doubt = False

    def install(self) -> None:
        """Nothing happens where this kernel has no such handler."""
        handlers = getattr(self._kernel, "shell_handlers", {})
        if _EXECUTE not in handlers or not hasattr(self._kernel, "_publish_status"):
            return
        execute = self._execute = handlers[_EXECUTE]

        async def run(stream: Any, ident: Any, parent: Any) -> None:
            self._running.append(parent)
            # A request that came just before may have ended between ipykernel's word on this cell and now.
            if self._is_in_doubt:
                self._is_in_doubt = False
                self._publish("busy", parent)
            try:
                done = execute(stream, ident, parent)
                if inspect.isawaitable(done):
                    await done
            finally:
                self._running.remove(parent)

        handlers[_EXECUTE] = run

    def uninstall(self) -> None:
        if self._execute is not None:
            self._kernel.shell_handlers[_EXECUTE] = self._execute

    def say_soon(self) -> None:
        """After ipykernel's own word on the request that is being answered. On the control thread's loop."""
        self._is_in_doubt = True
        asyncio.get_running_loop().call_soon(self._say)

    def _say(self) -> None:
        said = None
        # The cell may end at any time on its own thread: what was said is looked at again, until it holds.
        while (running := next(iter(list(self._running)), None)) is not said:
            self._publish("busy" if running else "idle", running or said)
            said = running

    def _publish(self, state: str, parent: Any) -> None:
        self._kernel._publish_status(state, "shell", parent=parent)
