"""An approval asked by text: what is shown, and what the typed line means. For every front end with a keyboard only."""

from __future__ import annotations

import re

from claw_kernel.messages import AnswerName, ApprovalRequest

_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """``text`` without what a terminal would obey: escape sequences, and control characters but tab and newline."""
    return _CONTROL.sub("", _ESCAPE.sub("", text))


def question(request: ApprovalRequest) -> str:
    """What is asked, in full: the command or code with hidden characters visible, or the diff."""
    from claw_kernel._core import visible

    preview = request.preview
    shown = str(preview.get("visible") or preview.get("diff") or "")
    if preview.get("kind") == "diff":
        shown = "\n".join(visible(line) for line in shown.split("\n"))
    lines = [f"Claw asks: {visible(request.title)}", f"  because {printable(request.reason)}"]
    if cwd := preview.get("cwd"):
        lines.append(f"  in {visible(str(cwd))}")
    lines += [f"  | {line}" for line in shown.split("\n")] if shown else []
    if request.suggested_rules:
        rules = ", ".join(visible(rule) for rule in request.suggested_rules)
        lines.append(f"  a: allow always, which adds the rule {rules} to this session")
    return "\n".join(lines) + "\n"


def choices(request: ApprovalRequest) -> str:
    """The short line behind which the answer is typed."""
    always = ", [a] allow always" if request.suggested_rules else ""
    return f"[y] allow once{always}, [n] deny, or type why not: "


def read_answer(line: str, request: ApprovalRequest) -> tuple[AnswerName, str] | None:
    """The answer and its message; None for an empty line (ask again). Whatever is not clearly a yes is a no."""
    word = line.strip()
    match word.lower():
        case "":
            return None
        case "y" | "yes":
            return "allow_once", ""
        case "a" | "always":
            return ("allow_always", "") if request.suggested_rules else None
        case "n" | "no":
            return "deny", ""
        case _:
            return "deny", word
