"""One line of what ``claw doctor`` reports."""

from __future__ import annotations

from typing import Literal

from claw_kernel.late_dataclass import dataclass


@dataclass(frozen=True)
class Finding:
    """``warn``: Claw works, with less; ``fail``: something of Claw does not work. ``remedy`` says how to mend it."""

    topic: str
    state: Literal["ok", "warn", "fail"]
    message: str
    remedy: str = ""
