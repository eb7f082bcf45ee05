"""A notebook file that is changed in few places: every other byte stays as it was."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from json.decoder import scanstring  # type: ignore[attr-defined]  # where a JSON string ends, in C
from pathlib import Path
from typing import Any

from claw_kernel.errors import SessionError

_SPACE = re.compile(r"[ \t\n\r]*")
_decode = json.JSONDecoder().raw_decode


class NotebookFile:
    """A notebook's text as it was read, and the way back to disk in one step."""

    def __init__(self, path: str | Path) -> None:
        """Raises SessionError where there is no notebook at ``path``."""
        from claw_kernel.session.notebook import MAX_BYTES, check_cells

        self.path = Path(path)
        try:
            self._state = self.path.stat()
            if self._state.st_size > MAX_BYTES:
                raise SessionError(
                    f"{path} is larger than {MAX_BYTES // 1_000_000} MB.", "Clear outputs and try again."
                )
            # Bytes, so that line ends stay as they are.
            self.text = self.path.read_bytes().decode("utf-8")
            self.document: dict[str, Any] = json.loads(self.text)
        except FileNotFoundError:
            raise SessionError(f"There is no file {path}.", "Give the path of a notebook.") from None
        except (OSError, ValueError, RecursionError) as error:
            raise SessionError(f"{path} cannot be read as a notebook: {error}.") from None
        check_cells(self.document, path)

    def write(self, text: str, backup: Path | None = None) -> None:
        """Put ``text`` in the file's place in one step, with its rights; the file as it was goes to ``backup``.

        Raises SessionError where it cannot be written, or was changed since it was read.
        """
        target = self.path.resolve()
        try:
            now = target.stat()
            if (now.st_mtime_ns, now.st_size, now.st_ino) != (
                self._state.st_mtime_ns,
                self._state.st_size,
                self._state.st_ino,
            ):
                raise SessionError(f"{self.path} was changed meanwhile; nothing was written.", "Run the command again.")
            if backup is not None:
                shutil.copy2(target, backup)
            descriptor, draft = tempfile.mkstemp(dir=target.parent, prefix=".claw-", suffix=".ipynb")
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(text.encode("utf-8"))
                    file.flush()
                    os.fsync(file.fileno())
                shutil.copymode(target, draft)
                Path(draft).replace(target)
            except BaseException:
                Path(draft).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise SessionError(
                f"{self.path} cannot be written: {error.strerror or error}.", "Mend its rights."
            ) from None


def with_member(text: str, path: Sequence[str], value: Any) -> str:
    """The JSON object ``text`` with ``value`` at ``path`` (keys of objects in objects, made where they are missing); all else
    byte by byte as it was."""
    at = _SPACE.match(text).end()  # type: ignore[union-attr]
    indent = _indent(text, at)
    for depth, key in enumerate(path):
        members, end = _members(text, at)
        span = members.get(key)
        is_last = depth == len(path) - 1
        if span is not None and (is_last or text[span[0]] != "{"):
            wanted = value if is_last else _nested(path[depth + 1 :], value)
            return text[: span[0]] + _write(wanted, indent, depth + 1) + text[span[1] :]
        if span is None:
            new = _write({key: _nested(path[depth + 1 :], value)}, indent, depth)[1:-1].rstrip()
            if not members:
                return text[: at + 1] + new + _line(indent, depth) + text[end - 1 :]
            last = max(stop for _, stop in members.values())
            return text[:last] + "," + ("" if indent is not None else " ") + new + text[last:]
        at = span[0]
    return text


def _nested(keys: Sequence[str], value: Any) -> Any:
    for key in reversed(keys):
        value = {key: value}
    return value


def _members(text: str, at: int) -> tuple[dict[str, tuple[int, int]], int]:
    """Where the values of the object that begins at ``at`` stand, and where it ends. ``text`` is valid JSON."""
    found: dict[str, tuple[int, int]] = {}
    position = _skip(text, at + 1)
    while text[position] != "}":
        key, position = scanstring(text, position + 1)
        start = _skip(text, _skip(text, position) + 1)
        _, stop = _decode(text, start)
        found[key] = (start, stop)
        position = _skip(text, stop)
        if text[position] == ",":
            position = _skip(text, position + 1)
    return found, position + 1


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found is not None
    return found.end()


def _indent(text: str, at: int) -> int | None:
    """Blanks by which the file indents, as nbformat (1) or others do; None: it is written in one line."""
    found = re.match(r"\{\r?\n( *)", text[at:])
    return len(found[1]) if found else None


def _line(indent: int | None, depth: int) -> str:
    return "" if indent is None else "\n" + " " * indent * depth


def _write(value: Any, indent: int | None, depth: int) -> str:
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return text.replace("\n", "\n" + " " * (indent or 0) * depth)
