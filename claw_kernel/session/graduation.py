"""From a session to a plain notebook: the code its results need and nothing of the agent, proven by running it in a fresh kernel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from claw_kernel.errors import SessionError
from claw_kernel.late_dataclass import dataclass
from claw_kernel.session.notebook import METADATA_KEY
from claw_kernel.session.outputs import IMAGES, compare_outputs, shown, told
from claw_kernel.session.pieces import Piece, read_pieces
from claw_kernel.session.slicing import slice_back

_KEPT_METADATA = ("tags", "name", "collapsed", "scrolled", "jupyter", "slideshow")
MAX_SHOWN = 300


@dataclass(frozen=True)
class Difference:
    """An output that came out another way. ``cell``: number in the plain notebook, from 1; ``before`` and ``now`` are cut."""

    cell: int
    what: str
    before: str
    now: str


@dataclass(frozen=True)
class Graduation:
    """``notebook``: as nbformat has it, outputs empty until it ran. ``pieces``: by the position of their cell in it, from 0.
    ``left_out``: how many pieces of code no result needs."""

    notebook: Any
    pieces: dict[int, Piece]
    left_out: int


def graduate(document: Mapping[str, Any], *, keep_all: bool = False) -> Graduation:
    """The plain notebook of ``document``. A result is what a person's cell shows, a figure of the agent's, the last thing that its
    code showed in a turn, and a file that code writes; everything these need is kept, with whatever cannot be read. Raises SessionError where
    there is no code."""
    from nbformat import v4

    new_cell: Any = v4.new_code_cell
    pieces = read_pieces(document, with_failed=True)
    kept = set(range(len(pieces))) if keep_all else _needed(pieces)
    if not kept:
        raise SessionError("There is no code in this notebook that shows a result.", "Keep everything with --all.")
    cells: list[Any] = []
    made: dict[int, Piece] = {}
    for number, cell in enumerate(document.get("cells", ()), start=1):
        metadata = {key: value for key, value in cell.get("metadata", {}).items() if key in _KEPT_METADATA}
        if cell.get("cell_type") != "code":
            plain = {key: value for key, value in cell.items() if key not in ("metadata", "outputs", "execution_count")}
            cells.append({**plain, "metadata": metadata})
            continue
        for position, piece in enumerate(pieces[at] for at in sorted(kept) if pieces[at].cell == number):
            identity = str(cell.get("id") or f"cell-{number}")[:56] + (f"-{position}" if position else "")
            made[len(cells)] = piece
            own = dict(metadata if not position else {})
            if piece.is_failed:  # Jupyter goes on behind such a cell
                own["tags"] = list(dict.fromkeys([*own.get("tags", ()), "raises-exception"]))
            cells.append(new_cell(piece.source.rstrip("\n"), id=identity, metadata=own))
    return Graduation(_notebook(document, cells), made, len(pieces) - len(kept))


def compare(found: Graduation, normal: Callable[[str], str]) -> list[Difference]:
    """The outputs of the plain notebook, which has run, with those that were recorded, each text as ``normal`` makes it."""
    differences: list[Difference] = []
    for at, piece in found.pieces.items():
        if piece.by == "answer" or piece.is_cut or (piece.is_failed and piece.by == "agent"):
            continue
        # Of the agent's code the record keeps one text, in the order in which it came, and the pictures.
        view = shown if piece.by == "person" else told
        before, now = dict(view(piece.outputs)), dict(view(found.notebook.cells[at].outputs))
        differences += [
            Difference(at + 1, one.what, _cut(one.before), _cut(one.now))
            for one in compare_outputs(before, now, normal)
        ]
    return differences


# --- what is kept -----------------------------------------------------------------------------------------------------


def _needed(pieces: Sequence[Piece]) -> set[int]:
    roots = {at for at, piece in enumerate(pieces) if _is_result(piece)}
    chosen = set(slice_back([piece.code for piece in pieces], set(), roots))
    end = max(chosen, default=-1)
    # What cannot be read may matter, and so may programs it starts.
    return chosen | {
        at for at, piece in enumerate(pieces) if at < end and (piece.code.is_shell or not piece.code.is_readable)
    }


def _is_result(piece: Piece) -> bool:
    if piece.is_failed and piece.by == "agent":
        return False
    if piece.code.is_writing:
        return True
    if piece.by == "person":
        return any(output.get("output_type") != "error" for output in piece.outputs)
    has_figure = any(kind in IMAGES for output in piece.outputs for kind in output.get("data", {}))
    return has_figure or (piece.is_last_of_turn and bool(piece.outputs))


def _notebook(document: Mapping[str, Any], cells: list[Any]) -> Any:
    import nbformat

    metadata = {
        key: value
        for key, value in document.get("metadata", {}).items()
        if key in ("language_info", "title", "authors")
    }
    spec = document.get("metadata", {}).get("kernelspec") or {}
    if spec.get("name") in (None, METADATA_KEY):
        spec = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    metadata["kernelspec"] = spec
    plain = {
        "nbformat": 4,
        "nbformat_minor": max(5, document.get("nbformat_minor", 5)),
        "metadata": metadata,
        "cells": cells,
    }
    for number, cell in enumerate(cells, start=1):
        cell.setdefault("id", f"cell-{number}")
    notebook = nbformat.from_dict(plain)  # type: ignore[no-untyped-call]
    # Texts in lists of lines, as files hold them.
    for cell in notebook.cells:
        if not isinstance(cell.source, str):
            cell.source = "".join(cell.source)
    return notebook


def _cut(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"
