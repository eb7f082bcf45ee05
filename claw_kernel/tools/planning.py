"""The seam to the session's permission mode: what EnterPlanMode and ExitPlanMode need of the agent."""

from __future__ import annotations

from typing import Protocol

ENTERED = (
    "Plan mode is on: nothing can be written or run until the user has approved a plan. Read what you need, then call "
    "ExitPlanMode with the plan."
)
"""Told to the model, by the tool or with the prompt."""


class Planning(Protocol):
    """The running session's plan mode. The policy enforces it from the next call on."""

    @property
    def is_planning(self) -> bool: ...

    def enter_plan(self, source: str) -> None:
        """Only reading is allowed from now on. Raises SettingsError where the mode is managed."""
        ...

    def leave_plan(self, source: str, *, accept_edits: bool = False) -> str:
        """Back to the mode before, or to ``acceptEdits``; returns its name. Only a person's answer may call this. Raises
        SettingsError where the mode is managed."""
        ...
