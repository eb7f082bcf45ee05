"""Approvals of a notebook that runs headless, asked at the terminal it was started from."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from claw_kernel.headless.execution import Answers


def terminal_answers() -> Answers | None:
    """None where no person is at hand."""
    return None
