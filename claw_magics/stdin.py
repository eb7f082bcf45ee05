"""Asking by text: the prompt a console, or a front end without widgets, answers.

A kernel's ``input()`` blocks its loop and cannot be given up. ``KernelPrompt`` sends the same ``input_request`` and is
polled, so that another way may answer first and the ticker, the drawing and the interrupt go on.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Any, Protocol

from claw_magics.pump import shell_ident


class Prompt(Protocol):
    """One question at a time."""

    def ask(self, text: str) -> None:
        """Show ``text`` and wait for a line. May block where nothing else can answer."""
        ...

    def poll(self) -> str | None:
        """The line, once; None while there is none."""
        ...

    def abandon(self) -> None:
        """Another way has answered: a line that still comes is dropped."""
        ...


class KernelPrompt:
    """Asks the front end that sent the running cell's request."""

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel
        self._is_open = False

    def ask(self, text: str) -> None:
        import zmq

        kernel = self._kernel
        sys.stdout.flush()
        sys.stderr.flush()
        with contextlib.suppress(zmq.ZMQError):
            while True:  # what answers an earlier, abandoned prompt
                kernel.stdin_socket.recv_multipart(zmq.NOBLOCK)
        content = {"prompt": text, "password": False}
        parent = kernel.get_parent("shell")
        kernel.session.send(kernel.stdin_socket, "input_request", content, parent=parent, ident=shell_ident(kernel))
        self._is_open = True

    def poll(self) -> str | None:
        import zmq

        if not self._is_open:
            return None
        _, reply = self._kernel.session.recv(self._kernel.stdin_socket, zmq.NOBLOCK)
        if reply is None:
            return None
        self._is_open = False
        return str(reply["content"].get("value", ""))

    def abandon(self) -> None:
        self._is_open = False


class TerminalPrompt:
    """IPython in a terminal: nothing but the keyboard can answer there, so ``ask`` may block."""

    def __init__(self) -> None:
        self._line: str | None = None

    def ask(self, text: str) -> None:
        try:
            self._line = input(text)
        except EOFError:
            self._line = "n"

    def poll(self) -> str | None:
        line, self._line = self._line, None
        return line

    def abandon(self) -> None:
        self._line = None
