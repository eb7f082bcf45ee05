"""``ExitPlanMode``: shows the plan and leaves plan mode by the person's answer, and by nothing else."""

from __future__ import annotations

from typing import Annotated, Any

from claw_kernel._core import ToolInputError, ToolOutput
from claw_kernel.errors import SettingsError
from claw_kernel.messages import Answer, AnswerName, Limit, ToolSpec
from claw_kernel.tools.arguments import MaxLen, MinLen, arguments, check_arguments, doc, schema_of
from claw_kernel.tools.planning import Planning
from claw_kernel.tools.registry import Intent, text_output

NAME = "ExitPlanMode"
MAX_PLAN = 20_000


@arguments
class ExitPlanModeArguments:
    plan: Annotated[str, MinLen(1), MaxLen(MAX_PLAN), doc("The whole plan, in Markdown.")]


class ExitPlanMode:
    answers: tuple[AnswerName, ...] = ("approve", "accept_edits", "deny")
    spec = ToolSpec(
        NAME,
        "In plan mode: show the user your plan. If they approve it, plan mode ends and you carry it out.",
        schema_of(ExitPlanModeArguments),
        limits=(Limit("characters of a plan", MAX_PLAN),),
        is_deferred=True,
    )

    def __init__(self, planning: Planning) -> None:
        self._planning = planning

    def intend(self, arguments: dict[str, Any]) -> Intent:
        plan = check_arguments(ExitPlanModeArguments, arguments, NAME).plan
        if not plan.strip():
            raise ToolInputError(f"{NAME}: the plan is empty; write what you would do.")
        if not self._planning.is_planning:
            raise ToolInputError("Plan mode is not on, so there is nothing to leave. Go on with the work.")
        return Intent(f"Plan: {_headline(plan)}", (), {"kind": "plan", "plan": plan}, is_read_only=False)

    def conclude(self, arguments: dict[str, Any], answer: Answer) -> ToolOutput:  # noqa: ARG002
        match answer.name:
            case "approve" | "accept_edits":
                source = f"plan approved by {answer.by}"
                try:
                    mode = self._planning.leave_plan(source, accept_edits=answer.name == "accept_edits")
                except SettingsError as error:
                    return text_output(f"Plan mode stays on: {error}", is_error=True)
                said = f" They add: {answer.message}" if answer.message else ""
                return text_output(
                    f"The user approves this plan. The permission mode is {mode} now: carry it out.{said}"
                )
            case _ if answer.by == "policy":
                text = (
                    "Nobody can approve a plan here, so plan mode stays on. End your turn with the plan as your answer."
                )
                return text_output(text, is_error=True)
            case _:
                said = f": {answer.message}" if answer.message else "."
                return text_output(f"The user wants to keep planning{said}", is_error=True)


def _headline(plan: str) -> str:
    line = next(line for line in plan.splitlines() if line.strip()).strip().lstrip("#").strip()
    return line if len(line) <= 80 else line[:79] + "…"
