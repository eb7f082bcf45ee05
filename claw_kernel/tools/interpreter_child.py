"""The child interpreter of ``REPL``: runs what it is sent, in one namespace. Started as a script; imports nothing of ours.

A frame is 4 bytes of length (big-endian) and a JSON object. Requests come on standard input: ``{"code"}`` or
``{"interrupt": true}``. Answers go out on what was standard output when this began; the code's own standard output and
error are both the error stream, so that nothing it prints can look like an answer.
"""

from __future__ import annotations

import ast
import asyncio
import base64
import builtins
import contextlib
import inspect
import io
import json
import linecache
import os
import queue
import signal
import sys
import threading
import traceback
from types import CodeType
from typing import Any

LONGEST_REPR = 50_000
MOST_FIGURES = 5
_FIGURE_DPI = 100
_OWN_CODE = "<repl "
"""How the names of the files begin that the code of calls seems to come from."""


def _read_requests(stream: io.BufferedReader, codes: queue.SimpleQueue[str | None], running: threading.Event) -> None:
    """In a thread: requests as they come. The end of the input ends the process, whatever it is doing."""
    while len(head := stream.read(4)) == 4:
        request = json.loads(stream.read(int.from_bytes(head, "big")))
        if "code" in request:
            codes.put(request["code"])
        elif running.is_set():
            # To the main thread itself, so that a sleeping system call ends too.
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    os._exit(0)


class Interpreter:
    """Runs code in ``self.namespace``, which stays."""

    def __init__(self) -> None:
        self.namespace: dict[str, Any] = {"__name__": "__main__", "__builtins__": builtins}
        self._count = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, code: str) -> dict[str, Any]:
        """``{"status": "ok"|"error"|"interrupted", "text", "images"}``: the value's repr or the traceback."""
        self._count += 1
        file = f"{_OWN_CODE}{self._count}>"
        linecache.cache[file] = (len(code), None, code.splitlines(keepends=True), file)
        status, text = "ok", ""
        try:
            body, last = _compile(code, file)
            self._evaluate(body)
            if last is not None and (value := self._evaluate(last)) is not None:
                self.namespace["_"] = value
                text = _shortened(repr(value))
        except KeyboardInterrupt:
            status = "interrupted"
        except BaseException as error:
            status, text = "error", _trace(error)
        images: list[str] = []
        try:
            images = _figures()
        except BaseException as error:
            status = "error"
            text += f"\nThe figure cannot be drawn: {_trace(error)}"
        return {"status": status, "text": text, "images": images}

    def _evaluate(self, code: CodeType) -> Any:
        found = eval(code, self.namespace)  # noqa: S307 - what this program is for
        if not code.co_flags & inspect.CO_COROUTINE:
            return found
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self._loop)
        return self._loop.run_until_complete(found)


def _compile(code: str, file: str) -> tuple[CodeType, CodeType | None]:
    """All but a last expression, and that. ``await`` may stand at the top, as in a notebook."""
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    tree = ast.parse(code, file)
    last = None
    if tree.body and isinstance(tree.body[-1], ast.Expr):
        last = compile(ast.Expression(tree.body.pop().value), file, "eval", flags)  # type: ignore[attr-defined]
    return compile(tree, file, "exec", flags), last


def _shortened(text: str) -> str:
    if len(text) <= LONGEST_REPR:
        return text
    half = LONGEST_REPR // 2
    return f"{text[:half]}\n… {len(text) - LONGEST_REPR:,} characters left out …\n{text[-half:]}"


def _trace(error: BaseException) -> str:
    """The traceback from the code's own first line on; of code that cannot be read there is none."""
    trace = error.__traceback__
    while trace is not None and not trace.tb_frame.f_code.co_filename.startswith(_OWN_CODE):
        trace = trace.tb_next
    return _shortened("".join(traceback.format_exception(type(error), error, trace)).rstrip())


def _figures() -> list[str]:
    """Open figures of matplotlib as PNG in base64, and they are closed."""
    plt = sys.modules.get("matplotlib.pyplot")
    images: list[str] = []
    for number in plt.get_fignums() if plt else ():
        figure = plt.figure(number)  # type: ignore[union-attr]
        if len(images) < MOST_FIGURES:
            buffer = io.BytesIO()
            figure.savefig(buffer, format="png", dpi=_FIGURE_DPI, bbox_inches="tight")
            images.append(base64.b64encode(buffer.getvalue()).decode("ascii"))
        plt.close(figure)  # type: ignore[union-attr]
    return images


def main() -> None:
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    os.close(null)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)  # type: ignore[union-attr]
    # Last, so that a file of the workspace does not pass for a module of Python.
    sys.path.append(os.getcwd())  # noqa: PTH109 - pathlib costs start-up
    sys.argv = [""]
    codes: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    running = threading.Event()
    threading.Thread(target=_read_requests, args=(requests, codes, running), daemon=True).start()
    interpreter = Interpreter()
    own_pid = os.getpid()
    while True:
        code = codes.get()
        try:
            running.set()
            answer = interpreter.run(code or "")
        except KeyboardInterrupt:  # it came a moment too late
            answer = {"status": "interrupted", "text": "", "images": []}
        running.clear()
        if os.getpid() != own_pid:  # a fork of the code came back here
            os._exit(0)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):  # the code closed or replaced it
                stream.flush()
        frame = json.dumps(answer).encode()
        answers.write(len(frame).to_bytes(4, "big") + frame)
        answers.flush()


if __name__ == "__main__":
    main()
