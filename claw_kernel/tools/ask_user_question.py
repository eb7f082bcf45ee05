"""``AskUserQuestion``: questions with options, asked by the same ways as an approval."""

from __future__ import annotations

from typing import Annotated, Any

from claw_kernel._core import ToolInputError, ToolOutput
from claw_kernel.messages import Answer, AnswerName, Limit, ToolSpec
from claw_kernel.tools.arguments import MaxLen, MinLen, arguments, check_arguments, doc, schema_of
from claw_kernel.tools.registry import Intent, text_output

NAME = "AskUserQuestion"
MAX_QUESTIONS = 4
MAX_OPTIONS = 4


@arguments
class Option:
    label: Annotated[str, MinLen(1), MaxLen(100)]
    description: Annotated[str, MaxLen(500), doc("What it would mean.")] = ""


@arguments
class Question:
    question: Annotated[str, MinLen(1), MaxLen(1000)]
    header: Annotated[str, MinLen(1), MaxLen(30), doc("One or two words.")]
    options: Annotated[
        tuple[Option, ...], MinLen(2), MaxLen(MAX_OPTIONS), doc("The user can also answer in their own words.")
    ]
    multiSelect: Annotated[bool, doc("Several may be chosen.")] = False  # noqa: N815


@arguments
class AskUserQuestionArguments:
    questions: Annotated[tuple[Question, ...], MinLen(1), MaxLen(MAX_QUESTIONS)]


class AskUserQuestion:
    answers: tuple[AnswerName, ...] = ("answered", "deny")
    spec = ToolSpec(
        NAME,
        "Ask the user to choose, where the way to go on is theirs to decide and cannot be found out. Put the option you "
        "would take first.",
        schema_of(AskUserQuestionArguments),
        limits=(Limit("questions at once", MAX_QUESTIONS), Limit("options of a question", MAX_OPTIONS)),
    )

    def intend(self, arguments: dict[str, Any]) -> Intent:
        questions = check_arguments(AskUserQuestionArguments, arguments, NAME).questions
        for number, question in enumerate(questions, 1):
            labels = [option.label.strip() for option in question.options]
            if not all(labels) or len(set(labels)) < len(labels):
                raise ToolInputError(f"{NAME}: the options of question {number} need labels that differ.")
        preview = {"kind": "questions", "questions": [_shown(question) for question in questions]}
        title = f"Question: {', '.join(question.header for question in questions)}"
        return Intent(title, (), preview, is_read_only=False)

    def conclude(self, arguments: dict[str, Any], answer: Answer) -> ToolOutput:
        if answer.name != "answered":
            return _unanswered(answer)
        questions = check_arguments(AskUserQuestionArguments, arguments, NAME).questions
        lines = [
            f"{question.question}\n  {', '.join(chosen)}"
            for question, chosen in zip(questions, answer.selections, strict=True)
        ]
        if answer.message:
            lines.append(f"They add: {answer.message}")
        return text_output("The user answers:\n" + "\n".join(lines), answers=[list(one) for one in answer.selections])


def _unanswered(answer: Answer) -> ToolOutput:
    if answer.by == "policy":
        text = "Nobody can be asked here. Take the option you can best justify and say so, or end with what you need to know."
        return text_output(text, is_error=True)
    said = f": {answer.message}" if answer.message else ". Go on without, or say what you would need."
    return text_output(f"The user does not answer{said}", is_error=True)


def _shown(question: Question) -> dict[str, Any]:
    return {
        "question": question.question,
        "header": question.header,
        "options": [{"label": option.label.strip(), "description": option.description} for option in question.options],
        "multiSelect": question.multiSelect,
    }
