"""Records of older formats, brought to the present one (docs/record.md, "Formats")."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from claw_kernel.messages import FORMAT

Documents = list[dict[str, Any]]


def upgraded(documents: Iterable[Any]) -> list[Any]:
    """``documents`` in the present format; what is no record of an older one is passed on as it is, for the reader to judge."""
    found = list(documents)
    for version in range(1, FORMAT):
        old = [(index, document) for index, document in enumerate(found) if _format(document) == version]
        if old:
            new = UPGRADES[version]([dict(document) for _, document in old])
            for (index, _), document in zip(old, new, strict=True):
                found[index] = {**document, "format": version + 1}
    return found


def _from_1(documents: Documents) -> Documents:
    """Format 1 had no tree: turns followed each other in the order they began, one per cell."""
    by_turn: dict[str, dict[str, Any]] = {}
    for document in documents:
        by_turn.setdefault(str(document.get("turn_id", "")), document)
    before: dict[str, str] = {}
    parents: dict[str, str] = {}
    for turn_id, document in sorted(by_turn.items(), key=lambda item: (str(item[1].get("started_at", "")), item[0])):
        session_id = str(document.get("session_id", ""))
        parents[turn_id] = str(document.get("parent_id") or before.get(session_id, ""))
        before[session_id] = turn_id
    return [_with_parent(document, parents[str(document.get("turn_id", ""))]) for document in documents]


def _with_parent(document: dict[str, Any], parent_id: str) -> dict[str, Any]:
    return {**document, "parent_id": parent_id} if parent_id else document


def _format(document: Any) -> int:
    version = document.get("format") if isinstance(document, Mapping) else None
    return version if isinstance(version, int) and not isinstance(version, bool) else 0


UPGRADES: dict[int, Callable[[Documents], Documents]] = {1: _from_1}
"""From each older format to the next one. All records of a notebook pass together: some fields depend on the others."""
