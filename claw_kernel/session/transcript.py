"""A session as a document for people (Markdown, HTML) and as lines of JSON for programs.

What a model or a tool wrote is a stranger's: in Markdown no HTML and no picture of it takes effect, and the HTML page loads nothing.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from claw_kernel.messages import ImageBlock, Step, TextBlock, ThinkingBlock, ToolCall, ToolResult, TurnRecord
from claw_kernel.session.packing import whole_text
from claw_kernel.session.record import scrub, write_record, write_value
from claw_kernel.session.turn_messages import turn_messages

_CODE = re.compile(r"(^(`{3,}|~{3,}).*?(?:^\2`*[ \t]*$|\Z)|`[^`\n]+`)", re.MULTILINE | re.DOTALL)
_PICTURE = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]+")
_HARMLESS_LINK = re.compile(r"(?:https?://|mailto:|#)", re.IGNORECASE)
_ANSWERS = {
    "allow": "allowed",
    "allow_once": "allowed once",
    "allow_always": "allowed always",
    "deny": "denied",
    "approve": "approved",
    "accept_edits": "approved, edits accepted",
}
_DIFF_CLASSES = {"+": "added", "-": "gone", "@": "place"}
_LINES_OPEN = 30
"""Longer results are folded in the HTML page."""
_STYLE = """
:root{color-scheme:light dark;--text:#1b1b1b;--page:#fff;--code:#f4f4f4;--line:#d8d8d8;--soft:#666;--quote:#fdf6ec;--mark:#d97706;
--added:#116329;--gone:#a40e26;--link:#0b57d0}
@media(prefers-color-scheme:dark){:root{--text:#ddd;--page:#181818;--code:#262626;--line:#444;--soft:#a0a0a0;--quote:#2b2418;
--added:#7ee787;--gone:#ff9b9b;--link:#8ab4f8}}
body{max-width:52rem;margin:2rem auto;padding:0 1rem;font:16px/1.5 system-ui,sans-serif;color:var(--text);background:var(--page);
overflow-wrap:anywhere}
pre{padding:.6rem .8rem;overflow:auto;background:var(--code);border-radius:4px;font-size:13px;line-height:1.4;overflow-wrap:normal}
pre.result,details pre{background:none;border:1px solid var(--line)}
code{font-family:ui-monospace,monospace;font-size:.9em}pre code{font-size:1em}
summary{color:var(--soft);cursor:pointer}a{color:var(--link)}
blockquote{margin:0;padding:.1rem 1rem;border-left:4px solid var(--mark);background:var(--quote)}
.added{color:var(--added)}.gone{color:var(--gone)}.place{color:var(--soft)}
img{max-width:100%;background:#fff}table{border-collapse:collapse;display:block;overflow-x:auto}
td,th{border:1px solid var(--line);padding:.2rem .5rem}h2{margin-top:2.5rem;border-top:1px solid var(--line);padding-top:1.5rem}
"""


def write_markdown(records: Sequence[TurnRecord], title: str, redact: Callable[[str], str]) -> str:
    """Prompts as quotes, calls and results as code, answers as they were written."""
    parts = [f"# {_plain(title)}"]
    for number, record in enumerate(records, start=1):
        facts = [record.model, f"{record.started_at[:10]} {record.started_at[11:16]} UTC"]
        facts += [] if record.stop_reason == "end_turn" else [(record.stop_reason or "running").replace("_", " ")]
        facts += [f"${record.cost_usd:.4f}"] if record.cost_usd else []
        parts.append(f"## {number}. {_plain(_first_line(redact(record.prompt)))}")
        parts.append(_quoted(harmless(redact(record.prompt))))
        parts.append("*" + " · ".join(map(_plain, facts)) + "*")
        for step in record.steps:
            parts += _step(step, record, redact)
        if record.error is not None:
            parts.append(f"**Error:** {_plain(redact(record.error.message))}")
    return "\n\n".join(parts) + "\n"


def write_html(records: Sequence[TurnRecord], title: str, redact: Callable[[str], str]) -> str:
    """One page that holds all it shows. Its policy forbids it to load or run anything."""
    import mistune

    class Renderer(mistune.HTMLRenderer):
        def image(self, text: str, url: str, title: str | None = None) -> str:  # noqa: ARG002
            if _PICTURE.fullmatch(url):
                return f'<img src="{url}" alt="{html.escape(text)}">'
            return html.escape(f"{text} ({url})")

        def link(self, text: str, url: str, title: str | None = None) -> str:  # noqa: ARG002
            if _HARMLESS_LINK.match(url):
                return f'<a href="{html.escape(url)}" rel="noopener noreferrer nofollow">{text}</a>'
            return text

        def text(self, text: str) -> str:
            # ``harmless`` has written some as entities already.
            return html.escape(html.unescape(text), quote=False)

        def block_code(self, code: str, info: str | None = None) -> str:
            lines = code.rstrip("\n").split("\n")
            escaped = [html.escape(line, quote=False) for line in lines]
            if info == "diff":
                escaped = [f'<span class="{_DIFF_CLASSES.get(line[:1], "")}">{line}</span>' for line in escaped]
            block = f"<pre><code>{chr(10).join(escaped)}</code></pre>\n"
            if info or len(lines) <= _LINES_OPEN:
                return block if info else block.replace("<pre>", '<pre class="result">', 1)
            return f"<details><summary>{len(lines):,} lines</summary>{block}</details>\n"

    render = mistune.create_markdown(renderer=Renderer(escape=True), plugins=["table", "strikethrough"])
    body = render(write_markdown(records, title, redact))
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )


def write_jsonl(records: Iterable[TurnRecord], redact: Callable[[str], str]) -> Iterator[str]:
    """A line for each turn (its record without the steps), each message as models get them, and each approval."""
    for record in records:
        head = {
            key: value for key, value in write_record(record).items() if key not in ("steps", "content", "approvals")
        }
        yield _line({"type": "turn", **head}, redact)
        for message in turn_messages(record, record.model):
            found = {"type": "message", "turn_id": record.turn_id, **write_value(message)}
            yield _line(found, redact)
        for approval in record.approvals:
            yield _line({"type": "approval", "turn_id": record.turn_id, **write_value(approval)}, redact)


def harmless(text: str) -> str:
    """Markdown in which no HTML and no picture takes effect; code stays as it is."""
    parts = _CODE.split(text)
    # Of each match two groups come back: the code and its fence.
    for at in range(0, len(parts), 3):
        parts[at] = parts[at].replace("<", "&lt;").replace("![", "!\\[")
    return "".join(part for at, part in enumerate(parts) if at % 3 != 2)


def _step(step: Step, record: TurnRecord, redact: Callable[[str], str]) -> Iterator[str]:
    results = {result.call_id: result for result in step.results}
    for block in step.content:
        match block:
            case TextBlock():
                yield harmless(redact(block.text))
            case ThinkingBlock():
                if block.text:
                    yield "*Reasoning*\n\n" + _quoted(harmless(redact(block.text)))
            case ToolCall():
                yield from _call(block, results.get(block.id), record, redact)


def _call(call: ToolCall, result: ToolResult | None, record: TurnRecord, redact: Callable[[str], str]) -> Iterator[str]:
    approval = next((found for found in record.approvals if found.call_id == call.id), None)
    said = (approval.answer or approval.decision) if approval else ""
    answer = f" · {_ANSWERS.get(said, said)}" if said else ""
    by = f" by {approval.answered_by}" if approval and approval.answered_by else ""
    failed = " · failed" if result is not None and result.is_error else ""
    yield f"**{_plain(call.name)}**{_plain(answer + by + failed)}"
    code = call.input.get("code") if call.name == "Python" else call.input.get("command")
    diff = result.details.get("diff") if result is not None else None
    plan = call.input.get("plan") if call.name == "ExitPlanMode" else None
    if isinstance(plan, str):
        yield _quoted(harmless(redact(plan)))
    elif isinstance(code, str):
        yield _fenced(redact(code), "python" if call.name == "Python" else "sh")
    elif isinstance(diff, str) and diff:
        yield _fenced(redact(diff), "diff")
    else:
        yield _fenced(json.dumps(scrub(call.input, redact), ensure_ascii=False, indent=1), "json")
    for block in result.content if result else ():
        match block:
            case TextBlock():
                yield _fenced(redact(whole_text(block)), "")
            case ImageBlock():
                source = f"data:{block.media_type};base64,{redact(block.data)}"
                yield f"![figure]({source})" if _PICTURE.fullmatch(source) else "(a picture)"


def _fenced(text: str, language: str) -> str:
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines())


def _first_line(text: str) -> str:
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return first if len(first) <= 80 else first[:79] + "…"


def _plain(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>|#$~!])", r"\\\1", text)


def _line(value: dict[str, Any], redact: Callable[[str], str]) -> str:
    return json.dumps(scrub(value, redact), ensure_ascii=False)
