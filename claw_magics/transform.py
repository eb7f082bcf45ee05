"""The input transform: a ``%%claw`` cell becomes a cell that awaits its turn.

A cell magic is a synchronous call: while it runs, no widget message reaches the kernel. An awaiting cell leaves the
kernel's loop free. Where a cell cannot await (inside ``%%time``, in IPython without a kernel) the registered cell magic
of the same name runs the turn synchronously.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from claw_magics.host import Host

_FIRST_LINE = re.compile(r"%%claw(?:[ \t]+(?P<options>[^\r\n]*))?[\r\n]*\Z")
_COMMAND = re.compile(r"/(?P<command>[A-Za-z][\w-]*(?:[ \t][^\r\n]*)?)\Z")
_PYTHON = re.compile(r"\s*%%python[ \t]*(?:\r?\n|\Z)")
_NEWLINE = "\n"


class ClawCellTransform:
    """First of all transforms: a cell that the Claw kernel announced is a prompt, whatever its text looks like to IPython."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def __call__(self, lines: list[str]) -> list[str]:
        cell = "".join(lines)
        return _claw_kernel_cell(cell.removesuffix(_NEWLINE)) if self._host.is_expected_cell(cell) else lines


class CellTransform:
    """Just before IPython's own ``cell_magic``, behind what strips blank lines and indentation: rewrites ``%%claw`` cells."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def __call__(self, lines: list[str]) -> list[str]:
        first = _FIRST_LINE.match(lines[0]) if lines else None
        # Inside another cell magic the code is compiled for a synchronous run: there the registered magic is used.
        if first is None or self._host.kernel is None or _is_inside_cell_magic():
            return lines
        return [_awaiting_cell(first["options"] or "", "".join(lines[1:]))]


def _claw_kernel_cell(cell: str) -> list[str]:
    """``/command``, ``%%python`` and IPython's own ``%`` and ``!`` forms; everything else is a prompt."""
    text = cell.strip()
    if (command := _COMMAND.match(text)) is not None:
        return [f"get_ipython().claw_host.run_command({command['command']!r}){_NEWLINE}"]
    if (python := _PYTHON.match(cell)) is not None:
        return cell[python.end() :].splitlines(keepends=True)
    if not text or text[0] in "%!":
        return cell.splitlines(keepends=True)
    return [_awaiting_cell("", cell)]


def _awaiting_cell(options: str, body: str) -> str:
    # repr keeps quotes, backslashes and line ends of the prompt on one logical line.
    return f"await get_ipython().claw_host.run_cell({options!r}, {body!r}){_NEWLINE}"


def _is_inside_cell_magic() -> bool:
    frame: Any = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "run_cell_magic":
            return True
        frame = frame.f_back
    return False


def install(ip: Any, host: Host) -> None:
    """Put both transforms where they belong; ``uninstall`` takes them out."""
    ip.input_transformers_cleanup.insert(0, ClawCellTransform(host))
    for transforms in _lists(ip):
        names = [getattr(item, "__name__", "") for item in transforms]
        if "cell_magic" in names:
            # Beside IPython's own: a console that asks whether a cell is complete looks before this point, and goes on
            # asking for lines until a blank one ends the cell.
            transforms.insert(names.index("cell_magic"), CellTransform(host))
            return


def uninstall(ip: Any) -> None:
    """Take every transform of ours out again."""
    for transforms in _lists(ip):
        transforms[:] = [item for item in transforms if not isinstance(item, ClawCellTransform | CellTransform)]


def _lists(ip: Any) -> list[list[Any]]:
    """IPython's lists of transforms of whole lines; where ``cell_magic`` is differs between its versions."""
    manager = ip.input_transformer_manager
    return [
        found
        for name in ("cleanup_transforms", "line_transforms")
        if (found := getattr(manager, name, None)) is not None
    ]
