"""Ids of tool calls that are unique in their conversation.

Some servers number the calls of each answer anew (``call_0``, ``functions.Bash:0``), some give none. Others refuse a
conversation with an id in it twice, and everything here that goes by id would mix the calls up.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from claw_kernel.messages import Message, ToolCall, ToolResult


class CallIds:
    """The ids used so far. ``begin`` starts an answer of the model; within it, one id of its is always the same one of ours.
    A call that is shown and then given up (a stream that broke) uses none."""

    def __init__(self, messages: Iterable[Message] = ()) -> None:
        self._used = {block.id for message in messages for block in message.content if isinstance(block, ToolCall)}
        self._ours: dict[str, str] = {}

    def begin(self) -> None:
        self._ours = {}

    def own(self, call_id: str) -> str:
        """``call_id``, or where an earlier answer had it (or it is empty) one like it that nothing has."""
        if call_id not in self._ours:
            self._ours[call_id] = self._new(call_id, set(self._ours.values()))
        return self._ours[call_id]

    def own_message(self, message: Message) -> Message:
        """The model's answer, its calls under ids of their own; the same object where they are so already."""
        taken: set[str] = set()

        def own(call: ToolCall) -> ToolCall:
            call_id = self.own(call.id)
            if call_id in taken:
                call_id = self._new(call.id, taken | set(self._ours.values()))
            taken.add(call_id)
            return call if call_id == call.id else replace(call, id=call_id)

        content = tuple(own(block) if isinstance(block, ToolCall) else block for block in message.content)
        self._used |= taken
        return message if content == message.content else replace(message, content=content)

    def _new(self, call_id: str, taken: set[str]) -> str:
        own, number = call_id, len(self._used)
        while not own or own in self._used or own in taken:
            own = f"{call_id or 'call'}_{number}"
            number += 1
        return own


def with_own_ids(messages: Iterable[Message]) -> list[Message]:
    """A transcript whose turns may come from several notebooks: a call whose id was used before, and its result, get another.
    Each call has its result in the message after it, in the same order. Other messages are the same objects."""
    ids = CallIds()
    found: list[Message] = []
    for message in messages:
        own = message
        if message.role == "assistant":
            ids.begin()
            own = ids.own_message(message)
        elif found:
            calls = (block.id for block in found[-1].content if isinstance(block, ToolCall))
            content = tuple(
                replace(block, call_id=next(calls, block.call_id)) if isinstance(block, ToolResult) else block
                for block in message.content
            )
            own = message if content == message.content else replace(message, content=content)
        found.append(own)
    return found
