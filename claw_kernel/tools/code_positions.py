"""Places in source text: as a language server counts them, as the person sees them, and where a name stands."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

MAX_LINE_CHARS = 200


class QuestionError(Exception):
    """The question cannot be asked as it is; a sentence for the model."""


def path_of(uri: str) -> Path | None:
    parts = urlsplit(uri)
    return Path(unquote(parts.path)) if parts.scheme == "file" and parts.netloc in {"", "localhost"} else None


def lines_of(text: str) -> list[str]:
    """As the protocol counts them: ended by LF, CRLF or CR and nothing else."""
    return re.split(r"\r\n|\n|\r", text)


def units_of(text: str, encoding: str) -> int:
    """The length of ``text`` as the server counts it."""
    match encoding:
        case "utf-8":
            return len(text.encode("utf-8", "replace"))
        case "utf-32":
            return len(text)
        case _:
            return len(text) + sum(character > "\uffff" for character in text)


def column_of(text: str, units: int, encoding: str) -> int:
    """The character of ``text`` at so many of the server's units."""
    passed = 0
    for index, character in enumerate(text):
        if passed >= units:
            return index
        passed += units_of(character, encoding)
    return len(text)


def find_symbol(text: str, symbol: str, line: int | None) -> tuple[int, int]:
    """Line and column, from 0, of a whole word. Raises QuestionError saying what stands there instead."""
    # Of a dotted name the last part is what is asked about.
    name = symbol.strip().rpartition(".")[2] or symbol.strip()
    whole, last = (
        re.compile(rf"(?<!\w){re.escape(symbol.strip())}(?!\w)"),
        re.compile(rf"(?<!\w){re.escape(name)}(?!\w)"),
    )
    lines = lines_of(text)
    if line is not None and line > len(lines):
        raise QuestionError(f"The file has {len(lines)} lines; there is no line {line}.")
    candidates = range(len(lines)) if line is None else [line - 1]
    for pattern in (whole, last):
        for index in candidates:
            if match := pattern.search(lines[index]):
                return index, match.end() - len(name)
    if line is None:
        raise QuestionError(f"The file does not hold the name {symbol!r}.")
    raise QuestionError(f"Line {line} does not hold the name {symbol!r}; it reads: {lines[line - 1][:MAX_LINE_CHARS]}")
