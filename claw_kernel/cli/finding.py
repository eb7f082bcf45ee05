"""One line of what ``claw doctor`` reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """``warn``: Claw works, with less; ``fail``: something of Claw does not work. ``remedy`` says how to mend it."""

    topic: str
    state: Literal["ok", "warn", "fail"]
    message: str
    remedy: str = ""
