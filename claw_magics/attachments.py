"""Files and directories that a prompt names with ``@``, as content for the model."""

from __future__ import annotations

import base64
import json
import os
import stat
from pathlib import Path
from typing import Any

from claw_kernel.messages import ImageBlock, TextBlock

MAX_LINES = 2_000
MAX_BYTES = 50_000
MAX_LINE_CHARS = 2_000
MAX_ENTRIES = 200
MAX_IMAGE_BYTES = 5_000_000
"""The smallest limit among providers for one image."""
MAX_NOTEBOOK_BYTES = 100_000_000

_IMAGE_STARTS = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"))


class Unreadable(Exception):  # noqa: N818  a reason, shown to the person as one line
    """Why a path cannot be attached."""


def attach(name: str, path: Path) -> list[TextBlock | ImageBlock]:
    """The content of ``path`` (real, and judged by the caller), called ``name`` in the prompt. Raises Unreadable."""
    try:
        if path.is_dir():
            return [_list_directory(name, path)]
        return _attach_file(name, path)
    except OSError as error:
        raise Unreadable(error.strerror or type(error).__name__) from None


def _attach_file(name: str, path: Path) -> list[TextBlock | ImageBlock]:
    # The path was resolved before: a link put there since is not followed, and a pipe or device would never end.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "rb") as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise Unreadable("it is not a regular file")
        start = file.read(MAX_BYTES * 4)
        if media_type := _image_type(start):
            if facts.st_size > MAX_IMAGE_BYTES:
                raise Unreadable(f"the image is larger than {MAX_IMAGE_BYTES:,} bytes")
            content = base64.b64encode(start + file.read()).decode("ascii")
            return [TextBlock(f"Image @{name}:"), ImageBlock(media_type, content)]
        if path.suffix == ".ipynb" and facts.st_size <= MAX_NOTEBOOK_BYTES:
            notebook = _notebook_text(start + file.read())
            if notebook is not None:
                return [TextBlock(f"Notebook @{name}:\n\n{_cut_text(notebook)}")]
    if b"\0" in start[:8_192]:
        raise Unreadable(f"it is a binary file of {facts.st_size:,} bytes")
    if not start:
        return [TextBlock(f"File @{name} is empty.")]
    return [TextBlock(f"File @{name}:\n\n{_number_lines(start, facts.st_size)}")]


def _number_lines(start: bytes, size: int) -> str:
    lines = start.decode("utf-8-sig", errors="replace").split("\n")
    is_whole = len(start) == size
    if is_whole and lines[-1] == "":
        lines.pop()
    shown: list[str] = []
    used = 0
    for number, line in enumerate(lines[:MAX_LINES], start=1):
        text = line.rstrip("\r")
        if len(text) > MAX_LINE_CHARS:
            text = text[:MAX_LINE_CHARS] + "…"
        used += len(text.encode("utf-8", "replace")) + 1
        if used > MAX_BYTES and shown:
            break
        shown.append(f"{number:6}\t{text}")
    if not is_whole or len(shown) < len(lines):
        shown.append(f"[cut here: lines 1 to {len(shown)} of a file of {size:,} bytes; Read shows the rest]")
    return "\n".join(shown)


def _list_directory(name: str, path: Path) -> TextBlock:
    entries = []
    with os.scandir(path) as found:
        for entry in found:
            if entry.name == ".git":
                continue
            if entry.is_symlink():
                entries.append(f"{entry.name} (link)")
            elif entry.is_dir():
                entries.append(f"{entry.name}/")
            else:
                entries.append(f"{entry.name} ({entry.stat(follow_symlinks=False).st_size:,} bytes)")
    entries.sort()
    more = [f"… {len(entries) - MAX_ENTRIES:,} more"] if len(entries) > MAX_ENTRIES else []
    listing = "\n".join(entries[:MAX_ENTRIES] + more) or "(empty)"
    return TextBlock(f"Directory @{name}:\n\n{listing}")


def _image_type(start: bytes) -> str | None:
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for magic, kind in _IMAGE_STARTS if start.startswith(magic)), None)


def _notebook_text(content: bytes) -> str | None:
    """The cells with their text outputs, or None where it is no notebook of format 4 (then it is shown as text)."""
    try:
        cells = json.loads(content)["cells"]
        return "\n\n".join(_cell_text(number, cell) for number, cell in enumerate(cells, start=1))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _cell_text(number: int, cell: dict[str, Any]) -> str:
    identity = f", id {cell['id']}" if cell.get("id") else ""
    parts = [f"[cell {number}, {cell['cell_type']}{identity}]\n{_joined(cell['source'])}"]
    for output in cell.get("outputs", ()):
        data = output.get("data", {})
        text = output.get("text") or data.get("text/plain") or "\n".join(output.get("traceback", ()))
        kinds = [kind for kind in data if kind.startswith("image/")]
        shown = f"({', '.join(kinds)})" if kinds else _joined(text)[:MAX_LINE_CHARS]
        if shown:
            parts.append(f"[output]\n{_plain(shown)}")
    return "\n".join(parts)


def _joined(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)


def _plain(text: str) -> str:
    from claw_magics.capture import strip_ansi

    return strip_ansi(text)


def _cut_text(text: str) -> str:
    if len(text) <= MAX_BYTES:
        return text
    return text[:MAX_BYTES] + f"\n[cut here: {MAX_BYTES:,} of {len(text):,} characters]"
