"""What a notebook holds of a session: records from both carriers, and the header (docs/record.md); storing a turn in it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from claw_kernel.errors import SessionError
from claw_kernel.session.record import MIME_TYPE

METADATA_KEY = "claw"
BRANCHES_KEY = "branches"
"""In the header: records of turns that no cell shows any more."""
REPLACED_KEY = "replaced"
"""In a drawn record: the turns its cell showed before, where nobody writes the notebook's metadata."""
_CELLS = b' "cells": [\n'
_CELL_END = b"  }"
MAX_BYTES = 200_000_000
"""A larger file is not read for its session: it would hold the kernel for seconds."""


def read_notebook(path: str | Path) -> tuple[list[Any], dict[str, Any] | None]:
    """``(records, header)`` of the notebook file at ``path``, records unvalidated and possibly double.

    Raises SessionError where the file is missing, too large or no notebook.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise SessionError(f"{path} is larger than {MAX_BYTES // 1_000_000} MB.", "Clear outputs and try again.")
        with suppress(ValueError, AttributeError):  # what is wrong with it shows when it is read as a whole
            if (found := _by_cells(path)) is not None:
                return found
        document = _from_json(path.read_bytes())
    except FileNotFoundError:
        raise SessionError(f"There is no file {path}.", "Give the path of a notebook.") from None
    except (OSError, ValueError) as error:
        raise SessionError(f"{path} cannot be read as a notebook: {error}.") from None
    check_cells(document, path)
    return notebook_records(document), notebook_header(document)


def check_cells(document: Any, path: str | Path) -> None:
    """What everything here relies on: objects where nbformat has them. Raises SessionError."""
    is_notebook = isinstance(document, dict) and isinstance(document.get("cells"), list)
    if not is_notebook or not isinstance(document.get("metadata", {}), dict):
        raise SessionError(f"{path} is not a notebook of format 4.", "Give the path of an .ipynb file.")
    for number, cell in enumerate(document["cells"], start=1):
        if not _is_cell(cell):
            raise SessionError(f"Cell {number} of {path} is not one of a notebook of format 4.", "Mend the file.")


def _is_cell(cell: Any) -> bool:
    return (
        isinstance(cell, dict)
        and isinstance(cell.get("metadata", {}), dict)
        and _is_text(cell.get("source", ""))
        and isinstance(outputs := cell.get("outputs", []), list)
        and all(isinstance(output, dict) and isinstance(output.get("data", {}), dict) for output in outputs)
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(line, str) for line in value))


def _from_json(raw: bytes) -> Any:
    # Four times as fast as json for large files; merging needs pydantic in any case.
    from pydantic_core import from_json

    return from_json(raw)


def _by_cells(path: Path) -> tuple[list[Any], dict[str, Any] | None] | None:
    """The same from a file as nbformat and JupyterLab write it, indented by one blank, read cell by cell, so that the file is never in
    memory as a whole; of two equal copies of a record one is kept. None for other files. (A line end cannot stand inside a JSON
    string, so a line of this form is what it seems.)"""
    found: list[Any] = []
    frame: list[bytes] = []
    cell: list[bytes] = []
    is_inside = False
    with path.open("rb", buffering=1 << 20) as file:
        for line in file:
            if not is_inside:
                is_inside = line == _CELLS and not found
                frame.append(b'"cells":[' if is_inside else line)
            elif line.startswith(_CELL_END):
                cell.append(b"}")
                if not _is_cell(one := _from_json(b"".join(cell))):
                    return None
                of_cell = notebook_records({"cells": [one]})
                for record in of_cell:
                    found += [found[-1] if found and found[-1] == record else record]
                cell.clear()
            elif line.startswith(b" ]"):
                is_inside = False
                frame.append(line)
            else:
                cell.append(line)
    document = _from_json(b"".join(frame))
    if not isinstance(document, dict) or document.get("cells") != [] or cell:
        return None
    return [*found, *notebook_records(document)], notebook_header(document)


def notebook_records(document: Mapping[str, Any]) -> list[Any]:
    """All records of a notebook in memory (a dict or an nbformat node), metadata first, in cell order; at the end those that
    no cell shows any more."""
    found: list[Any] = []
    for cell in document.get("cells", ()):
        found += [stored] if (stored := cell.get("metadata", {}).get(METADATA_KEY)) else []
        for drawn in drawn_records(cell):
            found.append(drawn)
            found += _list(drawn, REPLACED_KEY)
    return [*found, *_list(document.get("metadata", {}).get(METADATA_KEY), BRANCHES_KEY)]


def notebook_header(document: Mapping[str, Any]) -> dict[str, Any] | None:
    """The header, where there is one."""
    header = document.get("metadata", {}).get(METADATA_KEY)
    return dict(header) if isinstance(header, Mapping) else None


def drawn_records(cell: Mapping[str, Any]) -> list[Any]:
    """The records in the outputs of a cell, unvalidated."""
    outputs = cell.get("outputs", ())
    bundles = [output.get("data", {}) for output in outputs if isinstance(output, Mapping)]
    return [bundle[MIME_TYPE] for bundle in bundles if isinstance(bundle, Mapping) and bundle.get(MIME_TYPE)]


def find_cell(document: Mapping[str, Any], cell_id: str, turn_id: str) -> dict[str, Any] | None:
    """The code cell of a turn: by its id, else the first that shows the turn."""
    shows: dict[str, Any] | None = None
    for cell in document.get("cells", ()):
        if cell.get("cell_type") != "code":
            continue
        if cell_id and cell.get("id") == cell_id:
            found: dict[str, Any] = cell
            return found
        if shows is None and turn_id in map(_turn_id, drawn_records(cell)):
            shows = cell
    return shows


def store(document: dict[str, Any], record: Mapping[str, Any], header: Mapping[str, Any] | None = None) -> bool:
    """Put a finished turn (as ``write_record`` gives it) into a notebook in memory, as the labextension does in an open one:
    the record into its cell's metadata, the header, if any, into the notebook's. The turn that the cell showed before goes to
    the branches. False, and nothing is changed, where no cell has the record's ``cell_id`` or shows its turn."""
    cell = find_cell(document, str(record.get("cell_id", "")), str(record.get("turn_id", "")))
    if cell is None:
        return False
    metadata = cell.setdefault("metadata", {})
    kept = {turn_id: stored for stored in branches(document) if (turn_id := _turn_id(stored))}
    displaced = metadata.get(METADATA_KEY)
    for drawn in drawn_records(cell):
        if _turn_id(drawn) == record.get("turn_id"):
            kept |= {_turn_id(old): old for old in _list(drawn, REPLACED_KEY)}
    if (turn_id := _turn_id(displaced)) and turn_id != record.get("turn_id"):
        kept[turn_id] = displaced
    metadata[METADATA_KEY] = dict(record)
    of_notebook = document.setdefault("metadata", {})
    shown = {_turn_id(stored) for cell in document["cells"] for stored in _shown(cell)}
    kept = {turn_id: stored for turn_id, stored in kept.items() if turn_id not in shown}
    whole = dict(header if header is not None else of_notebook.get(METADATA_KEY) or {})
    whole.pop(BRANCHES_KEY, None)
    if kept:
        whole[BRANCHES_KEY] = list(kept.values())
    if whole:
        of_notebook[METADATA_KEY] = whole
    return True


def branches(document: Mapping[str, Any]) -> list[Any]:
    """The records that no cell shows any more, because their cells ran again."""
    return _list(document.get("metadata", {}).get(METADATA_KEY), BRANCHES_KEY)


def _shown(cell: Mapping[str, Any]) -> list[Any]:
    stored = cell.get("metadata", {}).get(METADATA_KEY)
    return [*([stored] if stored else []), *drawn_records(cell)]


def _turn_id(record: Any) -> str:
    return str(record.get("turn_id", "")) if isinstance(record, Mapping) else ""


def _list(holder: Any, key: str) -> list[Any]:
    found = holder.get(key) if isinstance(holder, Mapping) else None
    return list(found) if isinstance(found, list) else []
