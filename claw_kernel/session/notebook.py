"""What a notebook file holds of a session: records from both carriers, and the header (docs/record.md)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from claw_kernel.errors import SessionError
from claw_kernel.session.record import MIME_TYPE

METADATA_KEY = "claw"
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
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SessionError(f"There is no file {path}.", "Give the path of a notebook.") from None
    except (OSError, ValueError) as error:
        raise SessionError(f"{path} cannot be read as a notebook: {error}.") from None
    if not isinstance(document, dict) or not isinstance(document.get("cells"), list):
        raise SessionError(f"{path} is not a notebook of format 4.", "Give the path of an .ipynb file.")
    return notebook_records(document), notebook_header(document)


def notebook_records(document: dict[str, Any]) -> list[Any]:
    """All records of a notebook in memory (a dict or an nbformat node), metadata first, in cell order."""
    found: list[Any] = []
    for cell in document.get("cells", ()):
        stored = cell.get("metadata", {}).get(METADATA_KEY)
        if stored:
            found.append(stored)
        for output in cell.get("outputs", ()):
            bundle = output.get("data", {}) if isinstance(output, dict) else {}
            if record := bundle.get(MIME_TYPE):
                found.append(record)
    return found


def notebook_header(document: dict[str, Any]) -> dict[str, Any] | None:
    """The header, where there is one."""
    header = document.get("metadata", {}).get(METADATA_KEY)
    return dict(header) if isinstance(header, dict) else None
