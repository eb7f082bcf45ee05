"""The JSON Schema of what a session stores, generated from the types. ``python -m claw_kernel.session.schema`` writes the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from claw_kernel.messages import FORMAT, TurnRecord
from claw_kernel.session.header import Header

SCHEMA_FILE = Path(__file__).with_name("session.schema.json")


def schema() -> dict[str, Any]:
    """Of a record (the whole) and of the header (``#/$defs/Header``)."""
    from pydantic import TypeAdapter

    record = TypeAdapter(TurnRecord).json_schema(ref_template="#/$defs/{model}")
    header = TypeAdapter(Header).json_schema(ref_template="#/$defs/{model}")
    definitions = {**header.pop("$defs", {}), **record.pop("$defs", {})}
    definitions.setdefault("TurnRecord", record)
    definitions.setdefault("Header", header)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Claw for Jupyter: record of a turn, format {FORMAT}",
        "$ref": "#/$defs/TurnRecord",
        "$defs": dict(sorted(definitions.items())),
    }


def schema_text() -> str:
    """The file's content."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SCHEMA_FILE.write_text(schema_text(), encoding="utf-8")
