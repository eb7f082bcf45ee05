"""The engine's event loop: one per process, in a daemon thread of its own, started on first use.

Turns run here and not on the kernel's loop, so that streams, approvals and background work go on while a user's cell
computes.
"""

from __future__ import annotations

import asyncio
import os
import threading

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_owner_pid = 0


def engine_loop() -> asyncio.AbstractEventLoop:
    """The loop, running. A forked child gets one of its own: the parent's thread does not exist there."""
    global _loop, _owner_pid
    with _lock:
        if _loop is None or _loop.is_closed() or _owner_pid != os.getpid():
            loop = asyncio.new_event_loop()
            threading.Thread(target=_run, args=(loop,), name="claw-engine", daemon=True).start()
            _loop, _owner_pid = loop, os.getpid()
        return _loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()
