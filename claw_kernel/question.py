"""A request asked by text: what is shown, and what the typed lines mean. For every front end with a keyboard only."""

from __future__ import annotations

import re
from typing import Any, Protocol

from claw_kernel.late_dataclass import dataclass
from claw_kernel.messages import AnswerName, ApprovalRequest

MAX_SELECTION = 2_000
"""Characters of an answer in the person's own words."""
_ESCAPE = r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])"
_CONTROL = "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"


def printable(text: str) -> str:
    """``text`` without what a terminal would obey: escape sequences, control characters but tab and newline, and what turns the
    direction of writing round."""
    return re.sub(_CONTROL, "", re.sub(_ESCAPE, "", text))


@dataclass(frozen=True)
class Reply:
    """What was typed, as ``Gate.resolve`` takes it."""

    answer: AnswerName
    message: str = ""
    selections: tuple[tuple[str, ...], ...] = ()


class Dialog(Protocol):
    """One request. ``show`` is printed, ``prompt`` stands before the line that is typed; then again, until there is a reply."""

    def show(self) -> str:
        """What has not been shown yet; whole lines, or empty."""
        ...

    def prompt(self) -> str: ...

    def take(self, line: str) -> Reply | None:
        """The reply; None where another line is needed."""
        ...


def open_dialog(request: ApprovalRequest) -> Dialog:
    """The dialog for what is asked."""
    match request.preview.get("kind"):
        case "questions":
            return _Questions(request)
        case "plan":
            return _Plan(request)
        case _:
            return _Approval(request)


class _Approval:
    """May this call run? Whatever is not clearly a yes is a no; an empty line asks again."""

    def __init__(self, request: ApprovalRequest) -> None:
        self._request = request
        self._is_shown = False

    def show(self) -> str:
        """In full: the command or code with hidden characters visible, or the diff."""
        from claw_kernel._core import visible

        if self._is_shown:
            return ""
        self._is_shown = True
        request, preview = self._request, self._request.preview
        shown = str(preview.get("visible") or preview.get("diff") or "")
        if preview.get("kind") == "diff":
            shown = _visible_lines(shown)
        lines = [f"Claw asks: {visible(request.title)}", f"  because {printable(request.reason)}"]
        if cwd := preview.get("cwd"):
            lines.append(f"  in {visible(str(cwd))}")
        lines += [f"  | {line}" for line in shown.split("\n")] if shown else []
        if request.suggested_rules:
            rules = ", ".join(visible(rule) for rule in request.suggested_rules)
            lines.append(f"  a: allow always, which adds the rule {rules} to this session")
        return "\n".join(lines) + "\n"

    def prompt(self) -> str:
        always = ", [a] allow always" if self._request.suggested_rules else ""
        return f"[y] allow once{always}, [n] deny, or type why not: "

    def take(self, line: str) -> Reply | None:
        word = line.strip()
        match word.lower():
            case "":
                return None
            case "y" | "yes":
                return Reply("allow_once")
            case "a" | "always":
                return Reply("allow_always") if self._request.suggested_rules else None
            case "n" | "no":
                return Reply("deny")
            case _:
                return Reply("deny", word)


class _Plan:
    """Shall this plan be carried out? Whatever is not clearly a yes keeps planning."""

    def __init__(self, request: ApprovalRequest) -> None:
        self._plan = str(request.preview.get("plan", ""))
        self._is_shown = False

    def show(self) -> str:
        if self._is_shown:
            return ""
        self._is_shown = True
        lines = [f"  | {line}" for line in _visible_lines(self._plan.strip("\n")).split("\n")]
        return "\n".join(["Claw asks: carry out this plan?", *lines]) + "\n"

    def prompt(self) -> str:
        return "[y] approve, [e] approve and accept edits, [n] keep planning, or type what to change: "

    def take(self, line: str) -> Reply | None:
        word = line.strip()
        match word.lower():
            case "":
                return None
            case "y" | "yes":
                return Reply("approve")
            case "e":
                return Reply("accept_edits")
            case "n" | "no":
                return Reply("deny")
            case _:
                return Reply("deny", word)


class _Questions:
    """One question after the other; a number chooses, other words are the answer."""

    def __init__(self, request: ApprovalRequest) -> None:
        self._questions: list[dict[str, Any]] = request.preview["questions"]
        self._selections: list[tuple[str, ...]] = []
        self._shown = 0

    def show(self) -> str:
        if self._shown > len(self._selections):
            return ""
        self._shown += 1
        question = self._questions[len(self._selections)]
        lines = [f"Claw asks: {_visible_lines(question['question'])}"]
        for number, option in enumerate(question["options"], 1):
            more = f" - {option['description']}" if option.get("description") else ""
            lines.append(f"  {number}. {_visible_lines(option['label'] + more)}")
        return "\n".join(lines) + "\n"

    def prompt(self) -> str:
        question = self._questions[len(self._selections)]
        count = len(question["options"])
        several = ", several with commas" if question.get("multiSelect") else ""
        return f"[1-{count}]{several}, your own words, or [n] for no answer: "

    def take(self, line: str) -> Reply | None:
        text = line.strip()
        if not text:
            return None
        if text.lower() == "n":
            return Reply("deny")
        chosen = self._chosen(text)
        if not chosen:
            return None
        self._selections.append(chosen)
        if len(self._selections) < len(self._questions):
            return None
        return Reply("answered", selections=tuple(self._selections))

    def _chosen(self, text: str) -> tuple[str, ...]:
        """Labels for numbers; nothing where a number is no option's. Anything else is the answer itself."""
        question = self._questions[len(self._selections)]
        labels = [option["label"] for option in question["options"]]
        words = re.split(r"[\s,]+", text) if question.get("multiSelect") else [text]
        if not all(re.fullmatch(r"[0-9]{1,2}", word) for word in words if word):
            return (text[:MAX_SELECTION],)
        numbers = dict.fromkeys(int(word) for word in words if word)
        if not all(1 <= number <= len(labels) for number in numbers):
            return ()
        return tuple(labels[number - 1] for number in numbers)


def _visible_lines(text: str) -> str:
    from claw_kernel._core import visible

    return "\n".join(visible(line) for line in text.split("\n"))
