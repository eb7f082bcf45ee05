"""The summary that stands for the older part of a conversation: the model's notes, and beside them what must not depend on a
model: what the user said, word for word, the list of steps, files, variables and answers, all read off the records."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence

from claw_kernel.messages import TextBlock, ToolCall, ToolResult, TurnRecord
from claw_kernel.token_estimate import text_tokens

REQUEST = """\
[From Claw, not from the user: this conversation has nearly filled what you can read at once. Before it is shortened, write \
down what you need to go on with the work as if nothing had happened. Call no tools; your next message is the notes and \
nothing else. The user's own words, the list of steps and the names of files are added by the program, so leave them out. \
Use these headings, and drop those under which there is nothing to say:
## Aim: what the work is for, and how one will know that it is done
## State: what is finished, what is half done, what was tried and failed, with the reason
## Decisions: what was chosen over what, and why
## Constraints: everything the user asked for, insisted on or forbade, in their words between quotation marks
## Findings: results, numbers, names, messages and lines of code that are still needed, copied exactly
## Variables: of the notebook's kernel or the REPL, with type, shape and meaning
## Next: the step you were about to take
Be exact rather than complete; one page is enough.]"""
FOCUS = "\n[The user says about these notes: {instructions}]"

_HEAD = (
    "[From Claw: the conversation up to here was shortened to save room. This stands for it; the user has not written it, "
    "except where they are quoted.]"
)
_NOTES = "\n\n# The assistant's notes\n"
"""Stands before the model's part, which comes last."""
MAX_USER_TOKENS = 20_000
"""Of the user's messages that are kept whole (Codex keeps as many); a smaller window allows a tenth of itself."""
_MAX_FILES = 60
_MAX_NAMES = 80
_MAX_ANSWERS = 30

_WRITERS = ("Write", "Edit", "NotebookEdit")
PATH_ARGUMENTS = ("file_path", "notebook_path", "path", "filename")

_BINDING = (
    r"(?i)\b(never|must|shall|should|only|always|avoid|without|no|not|none|nobody|nothing|nowhere|neither|nor|cannot|keep|leave"
    r"|\w+n['\u2019]t|(do|does|did|must|should|would|could|ca|wo)nt"
    r"|forb[aio]d\w*|prohibit\w*|ban|banned|refrain|stop|stay|hold|hands|off|limits|except|exclud\w+|unless|until|before|instead"
    r"|ensure|make sure|insist|prefer|require\w*|ask|touch|skip|ignore"
    r"|nicht|nichts|nie|niemals|niemand|kein|keine[mnrs]?|nur|immer|ohne|muss|darf|ne|jamais|pas|rien|aucune?|sans|toujours|seulement"
    r"|nunca|nada|ning[uú]n\w*|siempre|solo|s[oó]lo|sin|debes?|mai|niente|nessun\w*|sempre|senza|non)\b"
    r"|不要|不能|不得|别|禁止|必须|只能|しない|ないで|だけ|必ず|нельзя|никогда|только|всегда|ничего|\b\u043d\u0435\b"
)
"""Words of a sentence that binds. Rather one sentence too many is kept: what is missed here is lost."""


def summary_text(records: Sequence[TurnRecord], notes: str, *, window_tokens: int) -> str:
    """``records``: everything so far, from the beginning and not only from the last summary on. ``notes`` is the model's part;
    empty: it wrote none, and the last words of each turn stand in."""
    parts = [_HEAD, *_said(records, min(MAX_USER_TOKENS, window_tokens // 10))]
    parts += _section("List of steps, as it stands", _todos(records))
    parts += _section("What the user answered and refused", _kept_answers(list(_answers(records))))
    changed, read = _files(records)
    parts += _section("Files changed", changed[-_MAX_FILES:])
    parts += _section("Files read", [path for path in read if path not in changed][-_MAX_FILES:])
    if names := _variables(records)[-_MAX_NAMES:]:
        parts.append(f"# Names set by the assistant's code\n{', '.join(names)}")
    if not notes.strip():
        parts += _section("What the assistant last said in each turn (it wrote no notes)", _last_words(records))
    return "\n\n".join(parts) + (f"{_NOTES}{notes.strip()}" if notes.strip() else "")


def notes_in(summary: str) -> str:
    """The model's part of a summary; empty where it wrote none."""
    return summary.partition(_NOTES)[2]


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return ["\n".join((f"# {title}", *(f"- {line}" for line in lines)))] if lines else []


def _said(records: Sequence[TurnRecord], budget: int) -> list[str]:
    """The user's messages, the newest whole; of older ones, where the budget is used up, the sentences that bind. These have a
    budget of their own, of which one message takes at most half: what binds in a log that was pasted is endless."""
    kept: list[str] = []
    left = binding_left = budget
    for record in reversed(records):
        prompt = record.prompt.strip()
        left -= text_tokens(prompt)
        if left >= 0 or record is records[-1]:
            kept.append(prompt)
            continue
        start = prompt[:200] + ("…" if len(prompt) > 200 else "")
        binding = [s for s in _sentences(prompt) if s not in start and re.search(_BINDING, s)]
        binding = _of_both_ends(list(dict.fromkeys(binding)), binding_left // 2)
        binding_left -= sum(map(text_tokens, binding))
        kept.append("\n".join([f"(shortened) {start}", *binding]))
    numbered = [f"{number}. {text}" for number, text in enumerate(reversed(kept), 1) if text]
    return ["\n".join(("# What the user said, word for word", *numbered))] if numbered else []


def _of_both_ends(sentences: list[str], budget: int) -> list[str]:
    """As many as there is room for, and where some are missing a line that says so: around what they paste people write
    before it and behind it."""
    first, last, left = 0, len(sentences), budget
    while first < last:
        is_front = first <= len(sentences) - last
        left -= text_tokens(sentences[first] if is_front else sentences[last - 1])
        if left < 0:
            missing = f"[{last - first} more sentences of this message are left out here]"
            return [*sentences[:first], missing, *sentences[last:]]
        first, last = (first + 1, last) if is_front else (first, last - 1)
    return sentences


def _sentences(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"(?<=[.!?。!?])\s+|\n+", text) if part.strip()]


def _last_words(records: Sequence[TurnRecord]) -> list[str]:
    found = []
    for record in records[-10:]:
        texts = [block.text for step in record.steps for block in step.content if isinstance(block, TextBlock)]
        if texts and texts[-1].strip():
            found.append(texts[-1].strip()[:600])
    return found


def _calls(records: Sequence[TurnRecord]) -> Iterator[tuple[ToolCall, ToolResult | None]]:
    for record in records:
        for step in record.steps:
            results = {result.call_id: result for result in step.results}
            for block in step.content:
                if isinstance(block, ToolCall):
                    yield block, results.get(block.id)


def _todos(records: Sequence[TurnRecord]) -> list[str]:
    latest: list[str] = []
    for call, result in _calls(records):
        todos = call.input.get("todos")
        if call.name == "TodoWrite" and isinstance(todos, list) and result is not None and not result.is_error:
            shown = [todo for todo in todos if isinstance(todo, dict)]
            latest = [f"{todo.get('content', '')} ({todo.get('status', 'pending')})" for todo in shown]
    return latest


def _answers(records: Sequence[TurnRecord]) -> Iterator[tuple[str, bool]]:
    """Each with whether it holds the user's own words."""
    titles = {
        call.id: str((result.details if result else {}).get("title", call.name)) for call, result in _calls(records)
    }
    for call, result in _calls(records):
        answers = result.details.get("answers") if result is not None else None
        questions = call.input.get("questions")
        if isinstance(answers, list) and isinstance(questions, list):
            for question, chosen in zip(questions, answers, strict=False):
                if isinstance(question, dict) and isinstance(chosen, list):
                    yield f"{question.get('question', '')} → {', '.join(map(str, chosen))}", True
    for record in records:
        for approval in record.approvals:
            if approval.answer == "deny" and approval.answered_by not in ("policy", "interrupt"):
                said = f": “{approval.message}”" if approval.message else ""
                yield f"refused {titles.get(approval.call_id, 'a call')}{said}", bool(said)


def _kept_answers(answers: list[tuple[str, bool]]) -> list[str]:
    """The newest, and before them all that hold the user's own words: what was said to a refusal is said for good."""
    first = len(answers) - _MAX_ANSWERS
    kept = (answer for place, (answer, is_said) in enumerate(answers) if is_said or place >= first)
    return list(dict.fromkeys(kept))


def _files(records: Sequence[TurnRecord]) -> tuple[list[str], list[str]]:
    """Changed and read, each in the order of its last use."""
    changed: dict[str, None] = {}
    read: dict[str, None] = {}
    for call, result in _calls(records):
        if result is None or result.is_error:
            continue
        found = changed if call.name in _WRITERS else read if call.name == "Read" else None
        if found is None:
            continue
        paths = [str(call.input[name]) for name in PATH_ARGUMENTS if call.input.get(name)]
        for path in paths:
            found.pop(path, None)
            found[path] = None
    return list(changed), list(read)


def _variables(records: Sequence[TurnRecord]) -> list[str]:
    names: dict[str, None] = {}
    for call, result in _calls(records):
        code = call.input.get("code")
        if call.name not in ("Python", "REPL") or not isinstance(code, str) or result is None or result.is_error:
            continue
        try:
            tree = ast.parse(code)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        for node in tree.body:
            for name in _names_set(node):
                names.pop(name, None)
                names[name] = None
    return list(names)


def _names_set(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    for target in targets:
        if target is not None:
            yield from (item.id for item in ast.walk(target) if isinstance(item, ast.Name))
