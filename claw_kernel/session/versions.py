"""Versions of a turn: a notebook holds each in two carriers, which tools may have changed one by one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from claw_kernel.errors import SessionError
from claw_kernel.messages import TurnRecord
from claw_kernel.session.record import read_record
from claw_kernel.session.upgrade import upgraded


def read_records(documents: Iterable[Any]) -> tuple[dict[str, TurnRecord], list[str]]:
    """The newest version of each turn, by id, and a sentence for each document that cannot be read."""
    found: dict[str, TurnRecord] = {}
    warnings: list[str] = []
    read: dict[str, Any] = {}
    for document in upgraded(documents):
        # The other carrier's copy says the same nearly always, and comparing costs a tenth of reading.
        turn_id = document.get("turn_id") if isinstance(document, Mapping) else None
        if isinstance(turn_id, str) and turn_id in read:
            if read[turn_id] is document or read[turn_id] == document:
                continue
        elif isinstance(turn_id, str):
            read[turn_id] = document
        try:
            record = read_record(document)
        except SessionError as error:
            warnings.append(str(error))
            continue
        known = found.get(record.turn_id)
        if known is None or _weight(record) > _weight(known):
            found[record.turn_id] = record
    return found, warnings


def _weight(record: TurnRecord) -> tuple[int, bool]:
    return len(record.steps), record.stop_reason is not None
