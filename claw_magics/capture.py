"""What code run for the agent prints, displays and raises, collected without disturbing the cell around it.

A :class:`Capture` is installed for one run (``claw_magics.patches``) and holds for its tasks only: a context variable says "this task
captures", so what other tasks print meanwhile reaches the cell as usual. Threads that the code starts have no such mark
and programs that write straight to the file descriptor are not seen: both show up in the cell, not in the capture.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeAlias

Output: TypeAlias = dict[str, Any]

MAX_CHARS = 5_000_000
"""Characters of output kept of one run; a program that prints forever must not fill the kernel's memory."""
FLUSH_SECONDS = 0.05
"""Printed text is passed on at most this often."""

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
IN_AGENT_CODE = "Code that the agent runs cannot call Claw again: do the work here, or with the other tools."
"""The refusal of ``%claw`` and ``%%claw`` in the agent's code: a turn would wait for itself, or set its own rights."""

current: ContextVar[Capture | None] = ContextVar("claw_capture", default=None)


def current_capture() -> Capture | None:
    """The capture of the task that calls, or None where no code of the agent is running in it."""
    return current.get()


def strip_ansi(text: str) -> str:
    """``text`` without terminal escape sequences."""
    return _ANSI.sub("", text) if "\x1b" in text else text


class Capture:
    """The outputs of one run, in order. ``on_output`` is called on ``loop``, whichever thread printed."""

    def __init__(
        self, on_output: Callable[[Output], None] | None = None, loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        self._on_output = on_output
        self._loop = loop
        self._lock = threading.Lock()
        self._items: list[Output | tuple[str, list[str]]] = []
        self._pending: list[Output] = []
        self._displays: dict[str, Output] = {}
        self._is_flush_due = False
        self._flushed_at = 0.0
        self._chars = 0
        self._is_full = False
        self._is_clear_waiting = False
        self.is_quiet = False
        """The code ends in ``;``: the value of its last expression is not shown."""

    # --- what the patched streams and hooks call ----------------------------------------------------------------------

    def write(self, name: str, text: str) -> None:
        """Text for the stream ``stdout`` or ``stderr``."""
        if text:
            self._add({"output_type": "stream", "name": name, "text": text}, len(text))

    def display(self, data: dict[str, Any], metadata: dict[str, Any], display_id: str | None) -> None:
        output: Output = {"output_type": "display_data", "data": _to_json(data), "metadata": _to_json(metadata)}
        if display_id is not None:
            with self._lock:
                self._displays[display_id] = output
        self._add(output, _count_chars(output["data"]))

    def update_display(self, data: dict[str, Any], metadata: dict[str, Any], display_id: str | None) -> bool:
        """False where the display is not one of this run's (then it is in an earlier cell)."""
        with self._lock:
            shown = self._displays.get(display_id or "")
            if shown is None:
                return False
            shown.update({"data": _to_json(data), "metadata": _to_json(metadata)})
            return True

    def show_value(self, data: dict[str, Any], metadata: dict[str, Any]) -> None:
        output: Output = {"output_type": "execute_result", "data": _to_json(data), "metadata": _to_json(metadata)}
        self._add(output, _count_chars(output["data"]))

    def show_error(self, name: str, value: str, traceback: list[str]) -> None:
        lines = [line for part in traceback for line in strip_ansi(part).splitlines()]
        if len(lines) > 400:  # a recursion error repeats itself
            lines = [*lines[:200], f"… {len(lines) - 300} lines left out …", *lines[-100:]]
        output = {"output_type": "error", "ename": name, "evalue": strip_ansi(value)[:20_000], "traceback": lines}
        self._add(output, sum(map(len, lines)))

    def clear(self, *, wait: bool) -> None:
        """``clear_output``: forget what was shown so far, with ``wait`` only once something new comes."""
        with self._lock:
            self._is_clear_waiting = wait
            if not wait:
                self._forget()

    # --- what the owner of the run calls ------------------------------------------------------------------------------

    def outputs(self) -> tuple[Output, ...]:
        """All outputs so far, text of one stream joined and without the lines that were written over."""
        with self._lock:
            found: list[Output] = []
            for item in self._items:
                if not isinstance(item, tuple):
                    found.append(item)
                elif text := _overwrite("".join(item[1])):
                    found.append({"output_type": "stream", "name": item[0], "text": text})
            return tuple(found)

    def flush(self) -> None:
        """Pass on what is pending. On ``loop`` only."""
        with self._lock:
            pending, self._pending = self._pending, []
            self._is_flush_due = False
            self._flushed_at = time.monotonic()
        if self._on_output is not None:
            for output in _join_streams(pending):
                self._on_output(output)

    def close(self) -> None:
        """Pass on nothing more: the run has ended, what it left behind may still print."""
        self._on_output = None

    def _add(self, output: Output, chars: int) -> None:
        with self._lock:
            if self._is_clear_waiting:
                self._is_clear_waiting = False
                self._forget()
            if self._is_full:
                return
            self._chars += chars
            if self._chars > MAX_CHARS:
                self._is_full = True
                if output["output_type"] == "stream":
                    cut = {**output, "text": output["text"][: chars - (self._chars - MAX_CHARS)]}
                    self._keep(cut)
                limit = f"\n[more than {MAX_CHARS:,} characters of output: the rest is not kept]\n"
                output = {"output_type": "stream", "name": "stderr", "text": limit}
            self._keep(output)
            is_due, self._is_flush_due = self._is_flush_due, True
        if not is_due and self._loop is not None:
            # The loop may be gone when a task outlives its turn; nobody listens then.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._arm)

    def _arm(self) -> None:
        wait = self._flushed_at + FLUSH_SECONDS - time.monotonic()
        if wait <= 0 or self._loop is None:
            self.flush()
        else:
            self._loop.call_later(wait, self.flush)

    def _keep(self, output: Output) -> None:
        self._pending.append(output)
        if output["output_type"] != "stream":
            self._items.append(output)
            return
        last = self._items[-1] if self._items else None
        if isinstance(last, tuple) and last[0] == output["name"]:
            last[1].append(output["text"])
        else:
            self._items.append((output["name"], [output["text"]]))

    def _forget(self) -> None:
        self._items.clear()
        self._displays.clear()
        self._chars, self._is_full = 0, False


def _join_streams(outputs: list[Output]) -> list[Output]:
    joined: list[Output] = []
    parts: list[str] = []

    def close() -> None:
        if parts:
            joined[-1]["text"] = "".join(parts)
            parts.clear()

    for output in outputs:
        if output["output_type"] != "stream":
            close()
            joined.append(output)
            continue
        if not (parts and joined[-1]["name"] == output["name"]):
            close()
            joined.append(dict(output))
        parts.append(output["text"])
    close()
    return joined


def _overwrite(text: str) -> str:
    """What a terminal would show in the end: a progress bar rewrites its line many times."""
    if "\r" not in text:
        return text
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines)


def _to_json(bundle: dict[str, Any]) -> dict[str, Any]:
    """A MIME bundle as JSON: bytes (images) as base64, what JSON cannot hold as text."""
    if all(type(value) is str for value in bundle.values()):
        return dict(bundle)
    encoded = {
        str(kind): base64.b64encode(value).decode("ascii") if isinstance(value, bytes) else value
        for kind, value in bundle.items()
    }
    try:
        found: dict[str, Any] = json.loads(json.dumps(encoded, default=lambda value: f"<{type(value).__name__}>"))
    except (ValueError, TypeError):  # circular, or keys that are not text
        found = {kind: value for kind, value in encoded.items() if type(value) is str}
    return found


def _count_chars(data: dict[str, Any]) -> int:
    return sum(len(value) if type(value) is str else len(json.dumps(value)) for value in data.values())
