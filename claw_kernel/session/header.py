"""The header of a session: the notebook's ``metadata.claw`` (docs/record.md). ``Session.header`` makes it; this is its shape."""

from __future__ import annotations

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
