"""``SendUserMessage``: a word to the person while the work goes on."""

from __future__ import annotations

from typing import Annotated, Any

from claw_kernel._core import ToolOutput
from claw_kernel.messages import Limit, ToolSpec
from claw_kernel.tools.arguments import MaxLen, MinLen, arguments, check_arguments, doc, schema_of
from claw_kernel.tools.registry import Intent, OnOutput, text_output

NAME = "SendUserMessage"
MAX_MESSAGE = 10_000


@arguments
class SendUserMessageArguments:
    message: Annotated[str, MinLen(1), MaxLen(MAX_MESSAGE), doc("Markdown.")]


class SendUserMessage:
    spec = ToolSpec(
        NAME,
        "Show the user a message now and go on working: a finding they should not wait for. It is no answer and no question.",
        schema_of(SendUserMessageArguments),
        limits=(Limit("characters of a message", MAX_MESSAGE),),
        is_deferred=True,
    )

    def intend(self, arguments: dict[str, Any]) -> Intent:
        text = check_arguments(SendUserMessageArguments, arguments, NAME).message
        return Intent("Message", (), {"kind": "message", "text": text}, is_read_only=False)

    async def run(self, arguments: dict[str, Any], on_output: OnOutput) -> ToolOutput:  # noqa: ARG002
        return text_output("The user sees it.")
