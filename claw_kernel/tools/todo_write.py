"""``TodoWrite``: the list of what is to be done, as the person sees it. The newest accepted call is the list."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, Literal

from claw_kernel._core import ToolOutput
from claw_kernel.messages import Limit, ToolCall, ToolSpec, TurnRecord
from claw_kernel.tools.arguments import MaxLen, MinLen, arguments, check_arguments, doc, schema_of
from claw_kernel.tools.registry import Intent, OnOutput, text_output

NAME = "TodoWrite"
MAX_TODOS = 50
MAX_CONTENT = 300


@arguments
class Todo:
    content: Annotated[str, MinLen(1), MaxLen(MAX_CONTENT), doc("What is to be done.")]
    status: Literal["pending", "in_progress", "completed"]
    activeForm: Annotated[str, MaxLen(MAX_CONTENT), doc("The same while it is being done: Running tests.")] = ""  # noqa: N815


@arguments
class TodoWriteArguments:
    todos: Annotated[tuple[Todo, ...], MaxLen(MAX_TODOS), doc("The whole list; it replaces the one before.")]


class TodoWrite:
    spec = ToolSpec(
        NAME,
        "Keep a list of steps that the user sees, for work of three steps or more. Mark a step in_progress before you begin "
        "it (one at a time) and completed as soon as it is done.",
        schema_of(TodoWriteArguments),
        limits=(Limit("steps in the list", MAX_TODOS), Limit("characters of a step", MAX_CONTENT)),
    )

    def intend(self, arguments: dict[str, Any]) -> Intent:
        todos = check_arguments(TodoWriteArguments, arguments, NAME).todos
        shown = [{"content": _shown(todo), "status": todo.status} for todo in todos]
        return Intent(_title(todos), (), {"kind": "todos", "todos": shown}, is_read_only=False)

    async def run(self, arguments: dict[str, Any], on_output: OnOutput) -> ToolOutput:  # noqa: ARG002
        todos = check_arguments(TodoWriteArguments, arguments, NAME).todos
        counts = Counter(todo.status for todo in todos)
        said = ", ".join(f"{counts[status]} {status}" for status in ("completed", "in_progress", "pending"))
        advice = " Work on one step at a time." if counts["in_progress"] > 1 else ""
        return text_output(f"The user sees the list: {said}.{advice}" if todos else "The list is empty now.")


def todos_of(record: TurnRecord) -> list[dict[str, str]] | None:
    """The list as a turn left it, ``{"content", "status"}``; None where it did not touch it. Its record may be a stranger's."""
    for step in reversed(record.steps):
        refused = {result.call_id for result in step.results if result.is_error}
        for block in reversed(step.content):
            if isinstance(block, ToolCall) and block.name == NAME and block.id not in refused:
                found = todos_in(block.input)
                if found is not None:
                    return found
    return None


def todos_in(given: dict[str, Any]) -> list[dict[str, str]] | None:
    """The list in a call's input; None where it is none."""
    items = given.get("todos")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        return None
    found = []
    for item in items[:MAX_TODOS]:
        status = str(item.get("status") or "pending")
        active = item.get("activeForm") if status == "in_progress" else ""
        found.append({"content": str(active or item.get("content") or ""), "status": status})
    return found


def _shown(todo: Todo) -> str:
    return todo.activeForm or todo.content if todo.status == "in_progress" else todo.content


def _title(todos: tuple[Todo, ...]) -> str:
    done = sum(todo.status == "completed" for todo in todos)
    current = next((_shown(todo) for todo in todos if todo.status == "in_progress"), "")
    return f"Todos {done}/{len(todos)}" + (f" · {current}" if current else "")
