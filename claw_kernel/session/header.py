"""The header of a session: the notebook's ``metadata.claw`` (docs/record.md)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import Any

from claw_kernel.late_dataclass import dataclass
from claw_kernel.messages import FORMAT, TurnRecord, Usage


@dataclass(frozen=True)
class CompactionState:
    """What the newest compaction on the path stands for: all before, and the first ``steps`` steps of this turn."""

    turn_id: str
    steps: int


@dataclass(frozen=True)
class InstructionHash:
    """An instruction file that was sent: its path (``~`` for the user's home, else relative to the workspace) and the hash of its text."""

    path: str
    hash: str


@dataclass(frozen=True)
class Header:
    """``turns``: the path, in order. ``off_path``: the other turns, in the order they began. ``branches``: the records of turns that no
    cell shows. ``usage`` and ``cost_usd`` are of all turns; no cost where one of them is unknown. ``instructions_hash`` and
    ``policy_hash``: of the newest turn, ``sha256:`` and the hexadecimal digest; ``instruction_files``: those that it was sent.
    ``memory``: notes that a person keeps in the notebook. ``permissions`` can only tighten."""

    session_id: str = ""
    created_at: str = ""
    model: str = ""
    turns: tuple[str, ...] = ()
    off_path: tuple[str, ...] = ()
    usage: Usage = field(default_factory=Usage)
    cost_usd: float | None = None
    compaction: CompactionState | None = None
    instructions_hash: str = ""
    policy_hash: str = ""
    instruction_files: tuple[InstructionHash, ...] = ()
    memory: tuple[str, ...] = ()
    permissions: dict[str, Any] = field(default_factory=dict)
    signatures: tuple[Any, ...] = ()
    branches: tuple[TurnRecord, ...] = ()
    format: int = FORMAT


def write_header(
    session_id: str,
    created_at: str,
    path: Sequence[TurnRecord],
    turns: Iterable[TurnRecord],
    known: Iterable[str],
    kept: Mapping[str, Any],
) -> dict[str, Any]:
    """As it is stored. ``turns``: all whose cells are there. ``known``: ids of all turns, also of cells that were deleted: one that
    is not named counts as newer than the header. ``kept``: what is written as it is, where it is not empty."""
    on_path = {record.turn_id: None for record in path}
    off_path = [turn_id for turn_id in known if turn_id not in on_path]
    usage, costs = Usage(), []
    for record in turns:
        usage += record.usage
        costs.append(record.cost_usd)
    priced = [cost for cost in costs if cost is not None]
    compacted = next((s.compaction for r in reversed(path) for s in reversed(r.steps) if s.compaction), None)
    return {
        "format": FORMAT,
        "session_id": session_id,
        "created_at": created_at,
        "model": path[-1].model if path else "",
        "turns": list(on_path),
        **({"off_path": off_path} if off_path else {}),
        "usage": {
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "cache_read_tokens": usage.cache_read_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
            **({"is_least": True} if usage.is_least else {}),
        },
        # One turn of unknown price makes the total unknown: a smaller number would be wrong.
        "cost_usd": round(sum(priced), 6) if len(priced) == len(costs) else None,
        **({"compaction": {"turn_id": compacted.turn_id, "steps": compacted.steps}} if compacted else {}),
        **{name: value for name, value in kept.items() if value},
    }
