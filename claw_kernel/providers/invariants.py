"""What every request must hold, whoever is asked: what all providers refuse otherwise.

The scripted model refuses the same, so that a conversation that it takes is one that a real one takes.
"""

from __future__ import annotations

from claw_kernel.messages import ContentBlock, Message, ModelRequest, TextBlock, ThinkingBlock, ToolCall, ToolResult


def find_violation(request: ModelRequest) -> str:
    """One clause that names what is illegal; empty where nothing is.

    Roles alternate, the user begins and ends. No message is empty. Each call is answered once, in the message right after it,
    before anything else there. No id is empty or used twice, no call is without a name. Tools have names of their own and
    describe an object.
    """
    if not request.messages:
        return "it has no messages"
    seen: set[str] = set()
    expected: tuple[str, ...] = ()
    for number, message in enumerate(request.messages):
        if message.role != ("assistant" if number % 2 else "user"):
            return f"message {number} is the {message.role}'s: roles must alternate"
        if not any(map(_says_something, message.content)):
            return f"message {number} is empty"
        if violation := _find_in(message, expected, seen):
            return f"message {number}: {violation}"
        expected = tuple(block.id for block in message.content if isinstance(block, ToolCall))
    if request.messages[-1].role != "user":
        return "the last message is not the user's"
    names = [tool.name for tool in request.tools]
    if len(set(names)) < len(names):
        return "two tools have one name"
    wrong = [tool.name for tool in request.tools if not tool.name or tool.input_schema.get("type") != "object"]
    return f"the schema of {wrong[0]!r} describes no object" if wrong else ""


def _find_in(message: Message, expected: tuple[str, ...], seen: set[str]) -> str:
    """``expected``: the calls that must be answered here. ``seen``: the ids of all calls so far."""
    leading = next((n for n, b in enumerate(message.content) if not isinstance(b, ToolResult)), len(message.content))
    answered = [block.call_id for block in message.content if isinstance(block, ToolResult)]
    if len(answered) > leading:
        return "a tool result stands after something else"
    if sorted(answered) != sorted(expected):
        return f"the calls {list(expected)} are answered by {answered}"
    for block in message.content:
        if isinstance(block, ToolCall):
            if message.role != "assistant" or not block.id or not block.name:
                return "a call without an id, a name, or the model's having made it"
            if block.id in seen:
                return f"the id {block.id!r} is used twice"
            seen.add(block.id)
        elif isinstance(block, ThinkingBlock) and message.role != "assistant":
            return "reasoning of the user's"
    return ""


def _says_something(block: ContentBlock) -> bool:
    if isinstance(block, TextBlock):
        return bool(block.text.strip())
    return not isinstance(block, ThinkingBlock)  # alone it is no message for any provider
