"""The child interpreter of one session as the tool ``REPL`` holds it: started when needed, interrupted, ended, started anew."""

from __future__ import annotations

import codecs
import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from claw_kernel._core import Process
from claw_kernel.late_dataclass import dataclass

KEPT_CHARS = 1_000_000
"""Of the printed text, the beginning and the end; ``Core.finish`` shortens further and keeps this much in a file."""
LONGEST_FRAME_BYTES = 32 * 1024 * 1024
GRACE_SECONDS = 2.0
"""How long interrupted code may take to end before the interpreter is killed."""
_TICK_SECONDS = 0.02
_SHOW_EVERY_SECONDS = 0.05
_SHOWN_CHARS = 16 * 1024

CHILD = Path(__file__).with_name("interpreter_child.py")


@dataclass(frozen=True)
class Ran:
    """``printed``: standard output and error as they came. ``text``: the value's repr, or the traceback. ``died``: why the
    interpreter and its state are gone; empty where they are not."""

    status: Literal["ok", "error", "interrupted", "timed_out"]
    printed: str
    text: str = ""
    images: tuple[str, ...] = ()
    died: str = ""


class Interpreter:
    """One process. ``run`` is called by one thread at a time."""

    def __init__(self, start: Callable[[list[str]], Process]) -> None:
        """``start`` is given the argv. Raises what it raises.

        ``-P`` and ``-E``: neither the workspace nor variables decide which modules this interpreter begins with. The user's
        own packages stay, since the kernel has them too (``-I`` would drop them)."""
        self._process = start([sys.executable, "-P", "-E", str(CHILD)])
        self._frames = bytearray()

    def kill(self) -> None:
        self._process.kill()

    def run(self, code: str, timeout_seconds: float, stop: threading.Event, show: Callable[[str], None]) -> Ran:
        """Blocks until the code is done, ``timeout_seconds`` are over or ``stop`` is set. ``show`` gets text as it is printed."""
        printed = _Printed(show)
        deadline: float | None = time.monotonic() + timeout_seconds
        kill_at: float | None = None
        reason: Literal["interrupted", "timed_out"] = "interrupted"
        try:
            self._send({"code": code})
            while (answer := self._read(printed)) is None:
                now = time.monotonic()
                if kill_at is not None and now >= kill_at:
                    self._process.kill()
                    self._drain(printed)
                    return Ran(reason, printed.text(), died="it did not react to the interrupt and was killed")
                if kill_at is None and (stop.is_set() or (deadline is not None and now >= deadline)):
                    reason = "interrupted" if stop.is_set() else "timed_out"
                    kill_at = now + GRACE_SECONDS
                    self._send({"interrupt": True})
            self._drain(printed)
        except (EOFError, OSError):
            self._drain(printed)
            return Ran("error" if kill_at is None else reason, printed.text(), died=self._end())
        status = reason if kill_at is not None and answer["status"] == "interrupted" else answer["status"]
        return Ran(status, printed.text(), str(answer["text"]), tuple(answer["images"]))

    def _send(self, request: dict[str, Any]) -> None:
        frame = json.dumps(request).encode()
        self._process.write(len(frame).to_bytes(4, "big") + frame)

    def _read(self, printed: _Printed) -> dict[str, Any] | None:
        """The answer, if it has come. Raises EOFError where the process has ended or answers nonsense."""
        text = self._process.read_error(timeout=_TICK_SECONDS)
        if text:
            printed.add(text)
        # With its error stream closed there is nothing to wait for there.
        part = self._process.read_output(1 << 20, timeout=_TICK_SECONDS if text == b"" else 0)
        if part == b"":
            raise EOFError
        self._frames += part or b""
        if len(self._frames) < 4:
            return None
        size = int.from_bytes(self._frames[:4], "big")
        if size > LONGEST_FRAME_BYTES:
            self._process.kill()
            raise EOFError
        if len(self._frames) < 4 + size:
            return None
        frame = bytes(self._frames[4 : 4 + size])
        del self._frames[: 4 + size]
        try:
            answer: dict[str, Any] = json.loads(frame)
        except ValueError:
            self._process.kill()
            raise EOFError from None
        return answer

    def _drain(self, printed: _Printed) -> None:
        """What was printed before the answer lies in the pipe already."""
        deadline = time.monotonic() + GRACE_SECONDS  # threads of the code may go on printing
        while time.monotonic() < deadline and (text := self._process.read_error(timeout=0)):
            printed.add(text)
        printed.close()

    def _end(self) -> str:
        code = self._process.wait(GRACE_SECONDS)
        self._process.kill()
        if code is None:
            return "it stopped answering"
        if code < 0:
            return f"it was ended by signal {-code}" + (" (perhaps out of memory)" if code == -9 else "")
        return f"it ended with exit code {code}"


class _Printed:
    """Text as it comes, with a bounded memory: the first and the last half of ``KEPT_CHARS``."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._head: list[str] = []
        self._head_chars = 0
        self._tail = ""
        self._left_out = 0
        self._unshown = ""
        self._shown_at = 0.0

    def add(self, content: bytes) -> None:
        text = self._decoder.decode(content)
        room = KEPT_CHARS // 2 - self._head_chars
        if room > 0:
            self._head.append(text[:room])
            self._head_chars += len(text[:room])
        self._tail += text[max(room, 0) :]
        if len(self._tail) > KEPT_CHARS:
            self._left_out += len(self._tail) - KEPT_CHARS // 2
            self._tail = self._tail[-KEPT_CHARS // 2 :]
        self._unshown = (self._unshown + text)[-_SHOWN_CHARS:]
        if time.monotonic() - self._shown_at >= _SHOW_EVERY_SECONDS:
            # Whole lines, so that a secret is not shown in two halves.
            lines, newline, rest = self._unshown.rpartition("\n")
            if newline:
                self._show(lines + newline)
                self._unshown = rest
                self._shown_at = time.monotonic()

    def close(self) -> None:
        if self._unshown:
            self._show(self._unshown)
            self._unshown = ""

    def text(self) -> str:
        gap = f"\n… {self._left_out:,} characters left out …\n" if self._left_out else ""
        return "".join(self._head) + gap + self._tail
