"""Completion in a Python notebook: a matcher that IPython's completer asks, for ``%%claw`` cells and ``%claw`` lines alone.

It is there from ``%load_ext`` on, so what finds the completions is imported only where there is something to complete.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from claw_magics.host import Host

_IDENTIFIER = "claw"


def install(ip: Any, host: Host) -> None:
    """Have IPython's completer ask; ``uninstall`` takes it back."""
    if (completer := getattr(ip, "Completer", None)) is not None:
        completer.custom_matchers.append(_matcher(host))


def uninstall(ip: Any) -> None:
    if (completer := getattr(ip, "Completer", None)) is not None:
        completer.custom_matchers[:] = [
            one for one in completer.custom_matchers if getattr(one, "matcher_identifier", "") != _IDENTIFIER
        ]


def _matcher(host: Host) -> Callable[[Any], dict[str, Any]]:
    """A function, because IPython reads its ``__qualname__``."""

    def match(context: Any) -> dict[str, Any]:
        code, cursor = _claws_part(context.full_text, context.cursor_line, context.cursor_position)
        if not code:
            return {"completions": []}
        from IPython.core.completer import SimpleCompletion

        found = host.complete(code, cursor)
        return {
            "completions": [
                SimpleCompletion(text, type=kind) for text, kind in zip(found.matches, found.types, strict=True)
            ],
            "matched_fragment": code[found.start : cursor],
            "ordered": True,
            "suppress": True,  # where something is found, Python's own suggestions are left out
        }

    matcher: Any = match
    matcher.matcher_api_version = 2
    matcher.matcher_identifier = _IDENTIFIER
    return match


def _claws_part(cell: str, line_number: int, column: int) -> tuple[str, int]:
    """What of a Python notebook's cell is Claw's, with the cursor's place in it: a ``%%claw`` cell, or one ``%claw`` line."""
    lines = cell.split("\n")
    line = lines[line_number]
    if cell.lstrip().startswith("%%claw"):
        return cell, sum(len(before) + 1 for before in lines[:line_number]) + column
    return (line, column) if line.lstrip().startswith("%claw") else ("", 0)
