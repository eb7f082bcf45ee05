"""The tools that speak to the person, and see and change the session's own state. Each is made when it is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claw_kernel.tools import AskingTool, DeferredTool, PythonTool

if TYPE_CHECKING:
    from claw_kernel.tools.config import Configured
    from claw_kernel.tools.planning import Planning


def session_tools(planning: Planning, configured: Configured) -> tuple[DeferredTool, ...]:
    """``planning`` and ``configured``: the agent, as these tools know it."""

    def send_user_message() -> PythonTool:
        from claw_kernel.tools.send_user_message import SendUserMessage

        return SendUserMessage()

    def enter_plan_mode() -> PythonTool:
        from claw_kernel.tools.enter_plan_mode import EnterPlanMode

        return EnterPlanMode(planning)

    def exit_plan_mode() -> AskingTool:
        from claw_kernel.tools.exit_plan_mode import ExitPlanMode

        return ExitPlanMode(planning)

    def config() -> PythonTool:
        from claw_kernel.tools.config import Config

        return Config(configured)

    return (
        DeferredTool("SendUserMessage", send_user_message),
        DeferredTool("EnterPlanMode", enter_plan_mode),
        DeferredTool("ExitPlanMode", exit_plan_mode),
        DeferredTool("Config", config),
    )
