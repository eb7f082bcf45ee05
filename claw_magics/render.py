"""From a turn's document (docs/record.md) to what front ends show: pure functions, nothing is printed here.

``text/markdown`` is for front ends without the labextension, ``text/plain`` for consoles. Tool output never leaves its
fence, and nothing that a model or a tool wrote becomes HTML or an image that a page would load by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from claw_kernel.limits import STOPPED_AT
from claw_kernel.session.compaction import compaction_line
from claw_kernel.session.record import MIME_TYPE
from claw_magics.exchange import (
    answers_of,
    latest_todos,
    message_of,
    plan_of,
    sources_of,
    todo_lines,
    todos_of_call,
)

OUTPUT_LINES = 12
"""Lines of a call's output that are shown: its end, where errors and totals stand."""
DIFF_LINES = 60
LINE_WIDTH = 240
Document = Mapping[str, Any]

_STOPS: dict[str, str] = {
    "max_tokens": "the model met its output limit",
    **{reason: f"stopped: {what} was reached" for reason, what in STOPPED_AT.items()},
    "loop": "stopped: the model went round in circles, also after it was told so",
    "refusal": "the model refused",
    "interrupted": "interrupted",
    "incomplete": "incomplete: the kernel ended before the turn did",
}
_ANSWERS = {
    "allow_once": "allowed once",
    "allow_always": "allowed always",
    "deny": "denied",
    "approve": "approved",
    "accept_edits": "approved, edits accepted",
    "answered": "answered",
}


def render_bundle(document: Document) -> dict[str, Any]:
    """The MIME bundle of a turn, live or finished."""
    return {MIME_TYPE: document, "text/markdown": render_markdown(document), "text/plain": render_plain(document)}


def render_markdown(document: Document) -> str:
    """GitHub-flavoured Markdown without raw HTML."""
    approvals = approvals_by_call(document)
    parts = [f"*{_inline(notice)}*" for notice in document.get("notices", ())]
    for step in document["steps"]:
        parts.extend(_markdown_step(step, approvals))
    live = document.get("live")
    if live is not None:
        parts.extend(_markdown_live(live, approvals))
    if todos := latest_todos(document):
        parts.append(_markdown_todos(todos))
    if (error := document.get("error")) is not None:
        parts.append(f"**✗ {_inline(_error_line(error))}**")
    if (stop := _STOPS.get(document.get("stop_reason") or "")) is not None:
        parts.append(f"**■ {stop}**")
    if foot := footer(document):
        parts.append(f"*{_inline(foot)}*")
    return "\n\n".join(part for part in parts if part)


def render_plain(document: Document) -> str:
    """The same for a console, without escapes."""
    approvals = approvals_by_call(document)
    parts = [f"[{notice}]" for notice in document.get("notices", ())]
    for step in document["steps"]:
        parts.extend(_plain_step(step, approvals))
    live = document.get("live")
    if live is not None:
        if live.get("text"):
            parts.append(printable(live["text"].strip("\n")))
        parts.extend(plain_call(call, approvals.get(call["call_id"])) for call in live.get("calls", ()))
        parts.extend(
            f"? {pending['title']} waits for an answer" + (f": {pending['reason']}" if pending["reason"] else "")
            for pending in live.get("pending", ())
        )
    parts.extend(printable(line) for line in todo_lines(latest_todos(document) or ()))
    parts.extend(plain_end(document))
    return "\n".join(part for part in parts if part)


def plain_end(document: Document) -> Iterator[str]:
    """The last lines of a turn: error or limit, and the footer."""
    if (error := document.get("error")) is not None:
        yield f"✗ {_error_line(error)}"
    if (stop := _STOPS.get(document.get("stop_reason") or "")) is not None:
        yield f"■ {stop}"
    if foot := footer(document):
        yield foot


def footer(document: Document) -> str:
    """``model · tokens · cost · time``; while the turn runs, tokens and cost as far as they are known."""
    usage, cost = document.get("usage") or {}, document.get("cost_usd")
    is_live = document.get("live") is not None
    if is_live and not usage:
        return ""
    sent = sum(usage.get(key, 0) for key in ("input_tokens", "cache_read_tokens", "cache_write_tokens"))
    least = "at least " if usage.get("is_least") else ""
    parts = [document.get("model") or "no model", f"{least}{sent:,} tokens in, {usage.get('output_tokens', 0):,} out"]
    if cost is not None:
        parts.append(f"${cost:.4f}" if cost < 1 else f"${cost:.2f}")
    elif not is_live:
        parts.append("cost unknown")
    return " · ".join([*parts, "so far" if is_live else seconds(document.get("duration_seconds", 0.0))])


def seconds(duration_seconds: float) -> str:
    """``0.2 s``, ``12 s``, ``3 min 5 s``."""
    if duration_seconds < 10:
        return f"{duration_seconds:.1f} s"
    if duration_seconds < 60:
        return f"{duration_seconds:.0f} s"
    return f"{int(duration_seconds // 60)} min {int(duration_seconds % 60)} s"


def approvals_by_call(document: Document) -> dict[str, dict[str, Any]]:
    """The decided calls of a turn."""
    return {approval["call_id"]: approval for approval in document.get("approvals", ())}


def decision_text(approval: Mapping[str, Any] | None) -> str:
    """``allowed once (widget)``, ``denied: <reason>``, or empty where nobody was asked and nothing was refused."""
    if approval is None:
        return ""
    answer, by = approval.get("answer"), approval.get("answered_by")
    message = approval.get("message") or ""
    if answer is not None:
        by_policy = by == "policy"
        text = _ANSWERS.get(answer, answer) + ("" if by_policy else f" ({by})")
        return f"{text}: {message or approval['reason']}" if answer == "deny" and (message or by_policy) else text
    return f"denied: {approval['reason']}" if approval["decision"] == "deny" else ""


def fence(text: str, language: str = "") -> str:
    """A fenced block that ``text`` cannot close: the fence is longer than any run of backticks in it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    ticks = "`" * max(3, longest + 1)
    return f"{ticks}{language}\n{text.rstrip(chr(10))}\n{ticks}"


def code_span(text: str) -> str:
    """``text`` as inline code on one line."""
    flat = " ".join(printable(text).split())
    if not flat:
        return ""
    longest = max((len(run) for run in re.findall(r"`+", flat)), default=0)
    ticks = "`" * (longest + 1)
    pad = " " if flat[0] == "`" or flat[-1] == "`" else ""
    return f"{ticks}{pad}{flat}{pad}{ticks}"


_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """``text`` without terminal escapes and control characters; of a line overwritten with carriage returns its last state."""
    text = _ANSI.sub("", text).replace("\r\n", "\n")
    if "\r" in text:
        text = "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    return _CONTROL.sub("", text)


def tail(text: str, lines: int = OUTPUT_LINES) -> str:
    """The last lines of ``text``, saying how many were left out."""
    kept = printable(text).rstrip("\n").split("\n")
    left_out = len(kept) - lines
    shown = [line if len(line) <= LINE_WIDTH else line[: LINE_WIDTH - 1] + "…" for line in kept[-lines:]]
    return "\n".join([f"… {left_out} {_lines(left_out)} before", *shown] if left_out > 0 else shown)


def head(text: str, lines: int = DIFF_LINES) -> str:
    """The first lines of ``text``, saying how many were left out."""
    kept = printable(text).rstrip("\n").split("\n")
    left_out = len(kept) - lines
    return "\n".join([*kept[:lines], f"… {left_out} {_lines(left_out)} more"] if left_out > 0 else kept)


def _lines(count: int) -> str:
    return "line" if count == 1 else "lines"


def result_text(result: Mapping[str, Any]) -> str:
    """The text a call gave, images left out."""
    return "\n".join(block["text"] for block in result.get("content", ()) if block["type"] == "text")


def safe_markdown(text: str) -> str:
    """Markdown of a model with raw HTML and images made inert, so that showing an answer sends nothing to anybody.

    Only what CommonMark surely reads as code is left as it is: fences that begin at a line's start, and code spans
    closed on their line in a paragraph without a stray backtick. Elsewhere code shows ``&lt;`` for ``<``.
    """
    shown: list[str] = []
    mark = ""
    is_dubious = False
    for line in text.split("\n"):
        if mark:
            shown.append(line)
            if re.fullmatch(rf" {{0,3}}{re.escape(mark[0])}{{{len(mark)},}}[ \t]*", line):
                mark = ""
        elif (opening := _FENCE.match(line)) is not None:
            mark, is_dubious = opening["mark"], False
            shown.append(line)
        else:
            pieces = [(match["code"], match["rest"]) for match in _CODE_SPAN.finditer(line)]
            is_dubious = bool(line.strip()) and (
                is_dubious or any("`" in rest for code, rest in pieces if code is None)
            )
            shown.append(_inert(line) if is_dubious else "".join(code or _inert(rest) for code, rest in pieces))
    if mark:
        # An open fence (still streaming, or forgotten) must not swallow what stands behind the answer.
        shown.append(mark)
    return "\n".join(shown)


_FENCE = re.compile(r"(?P<mark>`{3,}(?=[^`]*\Z)|~{3,})")
_CODE_SPAN = re.compile(r"(?P<code>(?<![`\\])(?P<ticks>`+)(?!`).*?(?<!`)(?P=ticks)(?!`))|(?P<rest>`+|[^`]+)")


def _inert(text: str) -> str:
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text).replace("![", "!\\[")


def _markdown_step(step: Document, approvals: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    results = {result["call_id"]: result for result in step.get("results", ())}
    if step.get("compaction"):
        yield f"*{_inline(compaction_line(step['compaction']))}*"
    for block in step["content"]:
        if block["type"] == "text":
            yield safe_markdown(block["text"].strip("\n"))
            if sources := sources_of(block):
                yield "\n".join(["Sources:", "", *(f"* {_inline(line)}" for line in sources)])
        elif block["type"] == "tool_call":
            yield _markdown_call(finished_call(block, results), approvals.get(block["id"]))


def _plain_step(step: Document, approvals: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    results = {result["call_id"]: result for result in step.get("results", ())}
    if step.get("compaction"):
        yield f"[{printable(compaction_line(step['compaction']))}]"
    for block in step["content"]:
        if block["type"] == "text":
            yield printable(block["text"].strip("\n"))
            if sources := sources_of(block):
                yield "\n".join(["Sources:", *(f"- {printable(line)}" for line in sources)])
        elif block["type"] == "tool_call":
            yield plain_call(finished_call(block, results), approvals.get(block["id"]))


def _markdown_live(live: Document, approvals: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for compaction in live.get("compactions", ()):
        yield f"*{_inline(compaction_line(compaction))}*"
    if live.get("text"):
        yield safe_markdown(live["text"].strip("\n"))
    elif live.get("thinking"):
        yield "*thinking …*"
    elif not live.get("calls"):
        yield "*…*"
    for call in live.get("calls", ()):
        yield _markdown_call(call, approvals.get(call["call_id"]))
    for pending in live.get("pending", ()):
        # Why it is asked stands where it is answered, too.
        yield f"**? {_inline(pending['tool'])} waits for your answer.**"


def finished_call(block: Document, results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A stored call in the form of a live one, with its input."""
    result = results.get(block["id"])
    title = (result or {}).get("details", {}).get("title") or block["name"]
    given = block.get("input")
    return {
        "call_id": block["id"],
        "tool": block["name"],
        "title": title,
        "state": "done",
        "input": given if isinstance(given, dict) else {},
        "result": result or {},
    }


def _call_facts(call: Document, approval: Mapping[str, Any] | None) -> list[str]:
    """What stands behind a call's title: outcome, decision, time."""
    result = call.get("result")
    if result is None:
        state = call["state"]
        return [{"writing": "…", "waiting": "waiting", "running": "running …"}.get(state, "")]
    details = result.get("details", {})
    facts = [decision_text(approval)]
    if details.get("signal"):
        facts.append(f"signal {details['signal']}")
    elif details.get("exit_code"):
        facts.append(f"exit code {details['exit_code']}")
    status = details.get("status")
    if status and status != "error":
        facts.append(str(status).replace("_", " "))
    if "duration_seconds" in details:
        facts.append(seconds(details["duration_seconds"]))
    if details.get("not_undoable"):
        facts.append(f"undo will not bring back: {printable(str(details['not_undoable']))}")
    return [fact for fact in facts if fact]


def _call_mark(call: Document) -> str:
    if "result" not in call:
        return "▸"
    return "✗" if call["result"].get("is_error") else "✓"


def _markdown_todos(todos: list[dict[str, str]]) -> str:
    """A list; the marks are words of Markdown that every front end draws."""
    drawn = {"completed": "- ✓ ~~{}~~", "in_progress": "- ▸ **{}**"}
    return "\n".join(drawn.get(todo["status"], "- {}").format(_inline(todo["content"])) for todo in todos)


def _markdown_call(call: Document, approval: Mapping[str, Any] | None) -> str:
    if (message := message_of(call)) is not None:
        return safe_markdown(message.strip("\n"))
    if todos_of_call(call) is not None:
        return ""  # the turn's one list shows it
    facts = "".join(f" · {_inline(fact)}" for fact in _call_facts(call, approval))
    line = f"{_call_mark(call)} **{_inline(call['tool'])}** {code_span(_short_title(call))}{facts}"
    if (plan := plan_of(call)) is not None:
        quoted = "\n".join(f"> {row}".rstrip() for row in safe_markdown(plan.strip("\n")).split("\n"))
        return f"{line}\n\n{quoted}"
    if (answers := answers_of(call)) is not None:
        return "\n".join([line, "", *(f"- {_inline(asked)} **{_inline(said)}**" for asked, said in answers)])
    diff, text = _call_output(call)
    if diff:
        return f"{line}\n\n{fence(head(diff), 'diff')}"
    shown = tail(text)
    return f"{line}\n\n{fence(shown, 'text')}" if shown.strip() else line


def plain_call(call: Document, approval: Mapping[str, Any] | None) -> str:
    """One call for a console: a line, and its output indented."""
    if (message := message_of(call)) is not None:
        return printable(message.strip("\n"))
    facts = "".join(f" · {fact}" for fact in _call_facts(call, approval))
    line = f"{_call_mark(call)} {call['tool']} {' '.join(printable(_short_title(call)).split())}{facts}"
    diff, text = _call_output(call)
    shown = head(diff) if diff else tail(text)
    if (answers := answers_of(call)) is not None:
        shown = "\n".join(printable(f"{asked} → {said}") for asked, said in answers)
    return "\n".join([line, *(f"    {row}" for row in shown.split("\n"))]) if shown.strip() else line


def _short_title(call: Document) -> str:
    """The title without the tool's name, which stands before it."""
    title = str(call.get("title") or "")
    for start in (f"{call['tool']}: ", f"{call['tool']} "):
        if title.startswith(start):
            return title[len(start) :]
    return "" if title == call["tool"] else title


def _call_output(call: Document) -> tuple[str, str]:
    """Diff and output of a call. A reading tool's text is for the model: its title says enough."""
    result = call.get("result")
    if result is None:
        preview = call.get("preview") or {}
        # While it waits, the diff stands where it is answered: widget, prompt, the extension's card.
        is_shown = preview.get("kind") == "diff" and call["state"] != "waiting"
        return (preview["diff"] if is_shown else ""), call.get("output", "")
    details = result.get("details", {})
    if diff := details.get("diff"):
        return diff, ""
    if call["tool"] in _QUIET and not result.get("is_error"):
        return "", ""
    return "", result_text(result)


_QUIET = (
    "Read",
    "Glob",
    "Grep",
    "Write",
    "Edit",
    "Inspect",
    "TodoWrite",
    "ToolSearch",
    "EnterPlanMode",
    "ExitPlanMode",
)


def _error_line(error: Mapping[str, Any]) -> str:
    return f"{error['message']} {error.get('remedy', '')}".strip()


_SPECIAL = re.compile(r"([\\`*_\[\]<>#|~$])")


def _inline(text: str) -> str:
    """``text`` as itself within a line of Markdown."""
    return _SPECIAL.sub(r"\\\1", " ".join(printable(text).split()))
