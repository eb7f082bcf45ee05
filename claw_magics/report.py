"""What a line command answers: a report, or one line that says what to write instead."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from claw_kernel.report import CommandOutput, Report, escape, markdown_table, one_line

__all__ = [
    "CommandOutput",
    "Report",
    "UsageError",
    "error_output",
    "escape",
    "markdown_table",
    "take_nothing",
    "unknown",
]


def error_output(message: str) -> CommandOutput:
    """One line."""
    return CommandOutput(escape(one_line(message)), one_line(message), is_error=True)


class UsageError(Exception):
    """A command line that was not understood: one line that says what to write."""


def unknown(kind: str, name: str, known: Iterable[str], otherwise: str) -> str:
    """One line: ``unknown command 'stats'; did you mean 'status'?``"""
    near = difflib.get_close_matches(name.lower(), list(known), 1, cutoff=0.5)
    return f"unknown {kind} {name[:60]!r}; " + (f"did you mean {near[0]!r}?" if near else otherwise)


def take_nothing(name: str, rest: str) -> None:
    """Raises UsageError where something stands behind a command that takes nothing."""
    if rest:
        raise UsageError(f"%claw {name} takes nothing behind it, not {rest[:60]!r}.")
