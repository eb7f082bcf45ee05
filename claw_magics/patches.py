"""What has to be changed in IPython and in ``sys`` while code of the agent runs, so that a capture sees it.

Everything put in place looks at the calling task first and passes on what does not belong to the run. All of it is
private ground of IPython: each attribute is put back as it was found.
"""

from __future__ import annotations

import builtins
import contextlib
import getpass
import sys
from collections.abc import Callable, Iterator
from typing import Any

from claw_magics.capture import IN_AGENT_CODE, Capture, current, strip_ansi

_NO_INPUT = (
    "input() is not available to code that the agent runs: nobody can answer it. Put the value in a variable instead."
)
_NO_EXIT = "exit() is not available to code that the agent runs: it would end the user's kernel."


class _Patches:
    """Attributes set for a while; ``undo`` puts back what was there, unless somebody else has changed it since."""

    def __init__(self) -> None:
        self._undos: list[Callable[[], None]] = []

    def set(self, owner: Any, name: str, value: Any) -> None:
        """Raises AttributeError or TypeError where the object takes no attributes."""
        own = vars(owner)
        had, old = name in own, own.get(name)
        setattr(owner, name, value)

        def undo() -> None:
            if vars(owner).get(name) is not value:
                return
            if had:
                setattr(owner, name, old)
            else:
                delattr(owner, name)

        self._undos.append(undo)

    def set_trait(self, owner: Any, name: str, value: Any) -> None:
        """The same for a trait, which always has a value of its own."""
        old = getattr(owner, name)
        setattr(owner, name, value)
        self._undos.append(lambda: setattr(owner, name, old))

    def undo(self) -> None:
        while self._undos:
            with contextlib.suppress(Exception):  # one owner's refusal must not keep the others patched
                self._undos.pop()()


class _Stream:
    """Stands in for a ``sys.stdout`` that takes no attributes."""

    def __init__(self, stream: Any, name: str) -> None:
        self._stream = stream
        self._name = name

    def write(self, text: str) -> int:
        capture = current.get()
        if capture is None:
            written: int = self._stream.write(text)
            return written
        capture.write(self._name, text)
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def capturing(ip: Any, capture: Capture) -> Iterator[Capture]:
    """Collect what the calling task (and tasks it starts) gives through the shell ``ip``, until the block ends.

    One block at a time per shell. Nothing of it reaches history, ``_``, ``Out`` or the cell.
    """
    patches = _Patches()
    token = current.set(capture)
    try:
        _patch_streams(patches)
        _patch_display(patches, ip)
        _patch_questions(patches, ip)
        yield capture
    finally:
        patches.undo()
        current.reset(token)


def _patch_streams(patches: _Patches) -> None:
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            continue

        def write(text: str, original: Any = stream.write, name: str = name) -> int:
            capture = current.get()
            if capture is None:
                written: int = original(text)
                return written
            if type(text) is not str:
                raise TypeError(f"write() argument must be str, not {type(text).__name__}")
            capture.write(name, text)
            return len(text)

        try:
            # On the stream itself rather than in ``sys``: log handlers made earlier hold the stream.
            patches.set(stream, "write", write)
        except (AttributeError, TypeError):
            patches.set(sys, name, _Stream(stream, name))


def _patch_display(patches: _Patches, ip: Any) -> None:
    publish, clear_output = ip.display_pub.publish, ip.display_pub.clear_output

    def captured_publish(
        data: dict[str, Any], metadata: dict[str, Any] | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        capture = current.get()
        if capture is None:
            return publish(data, metadata, *args, **kwargs)
        display_id = (kwargs.get("transient") or {}).get("display_id")
        if not kwargs.get("update"):
            capture.display(data, metadata or {}, display_id)
        elif not capture.update_display(data, metadata or {}, display_id):
            return publish(data, metadata, *args, **kwargs)
        return None

    def captured_clear_output(wait: bool = False) -> Any:
        capture = current.get()
        return clear_output(wait) if capture is None else capture.clear(wait=wait)

    patches.set(ip.display_pub, "publish", captured_publish)
    patches.set(ip.display_pub, "clear_output", captured_clear_output)

    displayhook = ip.displayhook

    def captured_displayhook(value: Any) -> Any:
        capture = current.get()
        if capture is None:
            return displayhook(value)
        if value is not None and not capture.is_quiet:
            data, metadata = ip.display_formatter.format(value)
            if data:
                capture.show_value(data, metadata or {})
        return None

    patches.set_trait(ip.display_trap, "hook", captured_displayhook)
    if sys.displayhook is displayhook:  # the cell around us has set the trap already
        patches.set(sys, "displayhook", captured_displayhook)

    show = ip._showtraceback

    def captured_showtraceback(etype: Any, evalue: Any, stb: Any) -> Any:
        capture = current.get()
        if capture is None:
            return show(etype, evalue, stb)
        try:
            text = str(evalue)
        except Exception:
            text = "<the exception cannot be shown>"
        capture.show_error(getattr(etype, "__name__", str(etype)), text, [str(line) for line in stb])
        return None

    patches.set(ip, "_showtraceback", captured_showtraceback)


def _patch_questions(patches: _Patches, ip: Any) -> None:
    """What would ask the user, open a pager on the page or end the kernel."""
    refuse_exit = _guard(getattr(ip, "ask_exit", lambda: None), _NO_EXIT)
    patches.set(builtins, "input", _guard(builtins.input, _NO_INPUT))
    patches.set(getpass, "getpass", _guard(getpass.getpass, _NO_INPUT))
    patches.set(ip, "ask_exit", refuse_exit)
    if (payloads := getattr(ip, "payload_manager", None)) is not None:
        write_payload = payloads.write_payload

        def captured_payload(payload: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
            capture = current.get()
            if capture is None or payload.get("source") != "page":
                return write_payload(payload, *args, **kwargs)
            text = (payload.get("data") or {}).get("text/plain", "")
            capture.write("stdout", strip_ansi(str(text)) + "\n")
            return None

        patches.set(payloads, "write_payload", captured_payload)

    for name in ("find_magic", "find_line_magic", "find_cell_magic"):
        patches.set(ip, name, _guard_claw(getattr(ip, name)))


def _guard_claw(find: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(magic: str, *args: Any, **kwargs: Any) -> Any:
        if magic == "claw" and current.get() is not None:
            raise RuntimeError(IN_AGENT_CODE)
        return find(magic, *args, **kwargs)

    return guarded


def _guard(function: Callable[..., Any], message: str) -> Callable[..., Any]:
    def guarded(*args: Any, **kwargs: Any) -> Any:
        if current.get() is not None:
            raise RuntimeError(message)
        return function(*args, **kwargs)

    return guarded
