"""``EnterPlanMode``: the model binds its own hands until a person has approved its plan."""

from __future__ import annotations

from typing import Any

from claw_kernel._core import ToolOutput
from claw_kernel.errors import SettingsError
from claw_kernel.messages import ToolSpec
from claw_kernel.tools.arguments import arguments, check_arguments, schema_of
from claw_kernel.tools.planning import ENTERED, Planning
from claw_kernel.tools.registry import Intent, OnOutput, text_output

NAME = "EnterPlanMode"


@arguments
class EnterPlanModeArguments:
    pass


class EnterPlanMode:
    spec = ToolSpec(
        NAME,
        "Switch to plan mode before large or risky work: only reading is allowed until the user has approved your plan.",
        schema_of(EnterPlanModeArguments),
        is_deferred=True,
    )

    def __init__(self, planning: Planning) -> None:
        self._planning = planning

    def intend(self, arguments: dict[str, Any]) -> Intent:
        check_arguments(EnterPlanModeArguments, arguments, NAME)
        # Not read-only: what is called in the same step after it must meet the new mode.
        return Intent("Enter plan mode", (), {"kind": "none"}, is_read_only=False)

    async def run(self, arguments: dict[str, Any], on_output: OnOutput) -> ToolOutput:  # noqa: ARG002
        try:
            self._planning.enter_plan(NAME)
        except SettingsError as error:
            return text_output(str(error), is_error=True)
        return text_output(ENTERED)
