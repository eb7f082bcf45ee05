"""What a turn adds to a transcript: the messages that go to a model."""

from __future__ import annotations

from dataclasses import replace

from claw_kernel.messages import AssistantBlock, ContentBlock, Message, TextBlock, ThinkingBlock, ToolCall, TurnRecord
from claw_kernel.session.packing import unpacked_result


def turn_messages(record: TurnRecord, model: str) -> list[Message]:
    """The messages one turn adds to a transcript for ``model`` (``provider/model``)."""
    messages = [Message("user", _asked(record))]
    for step in record.steps:
        keep_thinking = (step.model or record.model) == model
        spoken: tuple[AssistantBlock, ...] = tuple(
            block if keep_thinking else _unsigned(block)
            for block in step.content
            if not (isinstance(block, ThinkingBlock) and not keep_thinking)
            and not (isinstance(block, TextBlock) and not block.text.strip())
        )
        # A message of nothing but reasoning is refused by providers, and says nothing without the answer it led to.
        if any(not isinstance(block, ThinkingBlock) for block in spoken):
            messages.append(Message("assistant", spoken))
        if step.results:
            messages.append(Message("user", tuple(map(unpacked_result, step.results))))
    if len(messages) == 1:
        # Without this the next prompt would run into this one, and the model would answer both.
        reason = "interrupted" if record.stop_reason in ("interrupted", "incomplete", None) else "an error"
        messages.append(Message("assistant", (TextBlock(f"[This request was not answered: {reason}.]"),)))
    return messages


def _asked(record: TurnRecord) -> tuple[ContentBlock, ...]:
    """What was asked. A record that somebody emptied still needs a question before its answer."""
    is_empty = all(isinstance(block, TextBlock) and not block.text.strip() for block in record.content)
    return (TextBlock("[The text of this request is not there any more.]"),) if is_empty else record.content


def _unsigned(block: AssistantBlock) -> AssistantBlock:
    return replace(block, signature="") if isinstance(block, ToolCall) and block.signature else block


def append_message(messages: list[Message], message: Message) -> None:
    """Append, joining with the last message where the role is the same (a turn that ended before the model spoke)."""
    if messages and messages[-1].role == message.role:
        content: tuple[ContentBlock, ...] = (*messages[-1].content, *message.content)
        messages[-1] = Message(message.role, content)
    else:
        messages.append(message)
