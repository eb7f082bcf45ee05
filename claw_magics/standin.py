"""Draws for a reader whose thread is busy: code of the agent that computes for minutes keeps the cell's loop from drawing
what it prints meanwhile."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable
from typing import Self

LOOK_SECONDS = 0.25
BLOCKED_SECONDS = 0.2
"""A reader ticks every 0.05 s; one that has not ticked for so long is not at work."""


class StandIn:
    """A thread that calls ``draw`` while the reader's own thread does not tick. It runs in the context of the cell, so that what
    it displays belongs there. Use it as a context manager."""

    def __init__(self, draw: Callable[[], None]) -> None:
        self._draw = draw
        self._ticked_at = time.monotonic()
        self._ended = threading.Event()
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._run,), name="claw-stand-in", daemon=True)

    def tick(self) -> None:
        """The reader's thread is at work."""
        self._ticked_at = time.monotonic()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            if time.monotonic() - self._ticked_at > BLOCKED_SECONDS:
                self._draw()
