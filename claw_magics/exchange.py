"""What passes between Claw and the person beside the answer: messages, the list of steps, questions, plans; as Markdown and
as plain text. A call is known by its tool's name and its input, which may be a stranger's: what does not fit is not drawn here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from claw_kernel.tools.todo_write import todos_in

Document = Mapping[str, Any]

_MARKS = {"completed": "✓", "in_progress": "▸"}


def message_of(call: Document) -> str | None:
    """The text of a ``SendUserMessage`` that was shown; None for any other call."""
    if call["tool"] != "SendUserMessage" or is_refused(call):
        return None
    return _text(call, "message", "text")


def sources_of(block: Document) -> list[str]:
    """A line for each source that the provider names for a text block: title and address, as they came."""
    citations = block.get("citations")
    named = (
        [source for source in citations if isinstance(source, Mapping)] if isinstance(citations, list | tuple) else []
    )
    lines = [": ".join(str(source[key]) for key in ("title", "url") if source.get(key)) for source in named]
    return [" ".join(line.split()) for line in lines if line]


def plan_of(call: Document) -> str | None:
    """The plan of an ``ExitPlanMode`` that was answered; while it waits, the card shows it."""
    if call["tool"] != "ExitPlanMode" or "result" not in call or _is_invalid(call):
        return None
    return _text(call, "plan", "plan")


def answers_of(call: Document) -> list[tuple[str, str]] | None:
    """Each question of an ``AskUserQuestion`` with what was answered; None while it waits, and where it was not answered."""
    if call["tool"] != "AskUserQuestion":
        return None
    answers = (call.get("result") or {}).get("details", {}).get("answers")
    questions = (call.get("input") or call.get("preview") or {}).get("questions")
    if not isinstance(answers, list) or not isinstance(questions, list) or len(answers) != len(questions):
        return None
    return [
        (str(question.get("question", "")), ", ".join(str(text) for text in chosen))
        for question, chosen in zip(questions, answers, strict=True)
        if isinstance(question, dict) and isinstance(chosen, list)
    ]


def latest_todos(document: Document) -> list[dict[str, str]] | None:
    """The list of a turn as it is now; None where the turn has none."""
    calls: list[Document] = []
    for step in document["steps"]:
        results = {result["call_id"]: result for result in step.get("results", ())}
        for block in step["content"]:
            if block["type"] == "tool_call":
                call = {"tool": block["name"], "input": block.get("input", {}), "result": results.get(block["id"], {})}
                calls.append(call)
    calls += (document.get("live") or {}).get("calls", ())
    lists = (todos_of_call(call) for call in reversed(calls))
    return next((todos for todos in lists if todos is not None), None)


def todos_of_call(call: Document) -> list[dict[str, str]] | None:
    """The list that a ``TodoWrite`` made; None for any other call, and where it was refused or has not run."""
    if call["tool"] != "TodoWrite" or is_refused(call):
        return None
    preview = call.get("preview")
    return todos_in(call.get("input") or (preview if isinstance(preview, dict) else {}))


def todo_lines(todos: Sequence[Mapping[str, str]]) -> list[str]:
    """One line each, for a console."""
    return [f"{_MARKS.get(todo['status'], '·')} {todo['content']}" for todo in todos]


def is_refused(call: Document) -> bool:
    """The call failed or was denied."""
    return bool((call.get("result") or {}).get("is_error"))


def _is_invalid(call: Document) -> bool:
    return bool((call.get("result") or {}).get("details", {}).get("status") == "invalid")


def _text(call: Document, argument: str, shown: str) -> str | None:
    found = (call.get("input") or {}).get(argument) or (call.get("preview") or {}).get(shown)
    return found if isinstance(found, str) and found.strip() else None
