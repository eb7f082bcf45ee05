"""What a command shows: lines and tables, as Markdown for a page and as plain text for a console."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from claw_kernel.late_dataclass import dataclass

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#$~])")
_NUMBER = re.compile(r"(?:\\\$)?[\d,]+(?:\.\d+)?|unknown")


@dataclass(frozen=True)
class CommandOutput:
    """The same content twice. ``is_error``: the command was not understood or could not be done; one line says why."""

    markdown: str
    plain: str
    is_error: bool = False


class Report:
    """Collects lines and tables. All text is taken as plain: names and values from elsewhere cannot become markup."""

    def __init__(self) -> None:
        self._markdown: list[str] = []
        self._plain: list[str] = []

    def heading(self, text: str) -> None:
        """Names what stands below it."""
        self._markdown.append(f"**{escape(text)}**")
        self._plain.append(f"{text}" if not self._plain else f"\n{text}")

    def line(self, text: str) -> None:
        self._markdown.append(escape(text))
        self._plain.append(text)

    def table(self, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        cells = [[one_line(cell) for cell in row] for row in rows]
        self._markdown.append(markdown_table(heads, cells))
        shown = [list(heads), *cells] if any(heads) else cells
        widths = [max(len(row[column]) for row in shown) for column in range(len(heads))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in shown]
        self._plain.append("\n".join(line.rstrip() for line in lines))

    def block(self, text: str) -> None:
        """Lines as they are, in one width."""
        fence = "`" * (max([2, *(len(run) for run in re.findall("`+", text))]) + 1)
        self._markdown.append(f"{fence}text\n{text}\n{fence}")
        self._plain.append(text)

    def output(self) -> CommandOutput:
        return CommandOutput("\n\n".join(self._markdown), "\n".join(self._plain))


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Numbers to the right; an empty head row is left to the first row, since Markdown has no table without one."""
    cells = [[escape(cell) for cell in row] for row in rows]
    if not any(heads) and cells:
        heads, cells = cells[0], cells[1:]
    columns = [[row[column] for row in cells] for column in range(len(heads))]
    marks = ["--:" if column and all(_NUMBER.fullmatch(cell) for cell in column) else ":--" for column in columns]
    return "\n".join(f"| {' | '.join(line)} |" for line in [heads, marks, *cells])


def escape(text: str) -> str:
    """``text`` as Markdown that shows exactly it."""
    return _SPECIAL.sub(r"\\\1", text)


def one_line(text: str) -> str:
    """``text`` without line breaks."""
    return " ".join(text.split())
