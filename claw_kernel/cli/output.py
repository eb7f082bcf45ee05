"""What ``claw prompt`` writes: the answer, one JSON object, or one event per line. One class per ``--output-format``."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, assert_never

from claw_kernel.messages import (
    ApprovalRequested,
    ApprovalResolved,
    ContextCompacted,
    Event,
    MessageFinished,
    ProviderNotice,
    StepFinished,
    StepStarted,
    StreamRestarted,
    TextBlock,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolFinished,
    ToolOutput,
    ToolStarted,
    TurnFinished,
    TurnRecord,
    TurnStarted,
    Usage,
    UsageChanged,
    answer_text,
)
from claw_kernel.question import printable
from claw_kernel.session.compaction import compaction_line
from claw_kernel.session.record import write_value

if TYPE_CHECKING:
    from claw_kernel.agent import Turn

Redact = Callable[[str], str]
_CLEAR_LINE = "\r\x1b[K"
"""Back to the beginning of the line, and nothing left of it (ECMA-48)."""


def open_output(output_format: str, redact: Redact, turn: Turn) -> Output:
    """``text``, ``json`` or ``stream-json``."""
    # JSON is UTF-8 whatever the locale says; half a surrogate pair from a model must not end the turn.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding=None if output_format == "text" else "utf-8", errors="replace")
    match output_format:
        case "json":
            return JsonOutput(redact, turn)
        case "stream-json":
            return StreamOutput(redact, turn)
        case _:
            return TerminalOutput(redact, turn) if sys.stdout.isatty() else TextOutput(redact, turn)


class Output:
    """Takes the turn's events in batches. ``redact`` removes the secrets of this process from what is written."""

    def __init__(self, redact: Redact, turn: Turn) -> None:
        self._redact = redact
        self._turn = turn

    def write(self, batch: list[Event]) -> None:
        raise NotImplementedError

    def say(self, text: str) -> None:
        """One line for the person, on stderr."""
        sys.stdout.flush()
        print("claw:", " ".join(printable(text).split()), file=sys.stderr)


class TextOutput(Output):
    """stdout gets the final answer when the turn ends; stderr one line per tool call, notices and a footer."""

    def __init__(self, redact: Redact, turn: Turn) -> None:
        super().__init__(redact, turn)
        self._titles: dict[str, str] = {}

    def write(self, batch: list[Event]) -> None:
        for event in batch:
            match event:
                case ToolStarted():
                    self._titles[event.call_id] = event.title
                    if event.preview.get("kind") == "message":
                        self._aside(f"» {event.preview['text'].strip()}")
                case ToolFinished():
                    self._tool_finished(event)
                case ProviderNotice():
                    self._note(event.text)
                case TurnStarted():
                    for notice in event.record.notices:
                        self._note(notice)
                case TurnFinished():
                    self._finish(event.record)
                case TextDelta():
                    self._text(event.text)
                case StreamRestarted():
                    self._restart(event.reason)
                case StepFinished() | ApprovalRequested():
                    self._close_line()
                case StepStarted() | ThinkingDelta() | ToolCallDelta() | MessageFinished() | ToolOutput():
                    pass
                case ContextCompacted():
                    self._note(compaction_line(write_value(event.compaction)))
                case ApprovalResolved():
                    pass
                case UsageChanged():
                    self._spent(event)
                case _:
                    assert_never(event)

    def _text(self, text: str) -> None:
        """More of an answer that may still be taken back."""

    def _restart(self, reason: str) -> None:
        """What came of this answer is void."""

    def _close_line(self) -> None:
        """Something else follows on the screen."""

    def _spent(self, event: UsageChanged) -> None:
        """What the turn has cost so far."""

    def _finish(self, record: TurnRecord) -> None:
        if text := self._result() or answer_text(record):
            sys.stdout.write(self._redact(text) + "\n")
            sys.stdout.flush()
        self._footer(record)

    def _result(self) -> str:
        """The value that fits the caller's schema, as JSON; empty where there is none."""
        output = self._turn.output
        if output is None or not output.has_result:
            return ""
        return json.dumps(output.result, ensure_ascii=False, indent=2)

    def _footer(self, record: TurnRecord) -> None:
        if record.error is None:
            self._aside(footer(record))

    def _tool_finished(self, event: ToolFinished) -> None:
        details = event.result.details
        title = str(details.get("title") or self._titles.get(event.result.call_id) or event.result.call_id)
        outcome = ""
        if event.result.is_error:
            outcome = f"  {details.get('status') or 'failed'}: {_first_line(event.result.content)}"
        seconds = details.get("duration_seconds")
        took = f"  {seconds:.1f} s" if isinstance(seconds, int | float) and seconds >= 0.1 else ""
        self._aside(f"{'✗' if event.result.is_error else '✓'} {_one_line(title, 100)}{took}{outcome}")

    def _note(self, text: str) -> None:
        self._aside(f"· {_one_line(text, 300)}")

    def _aside(self, line: str) -> None:
        sys.stdout.flush()
        print(self._redact(printable(line)), file=sys.stderr, flush=True)


class TerminalOutput(TextOutput):
    """The same where a person watches: the answer appears as it is written, and between two pieces of work a line that says what the
    turn has cost so far, which whatever comes next takes the place of."""

    def __init__(self, redact: Redact, turn: Turn) -> None:
        super().__init__(redact, turn)
        self._is_line_open = False
        self._is_status_shown = False
        self._has_status = sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"

    def write(self, batch: list[Event]) -> None:
        super().write(batch)
        sys.stdout.flush()

    def _text(self, text: str) -> None:
        text = self._redact(printable(text))
        if text:
            self._clear_status()
            sys.stdout.write(text)
            self._is_line_open = not text.endswith("\n")

    def _spent(self, event: UsageChanged) -> None:
        if self._has_status and not self._is_line_open:
            sys.stdout.flush()
            sys.stderr.write(f"{_CLEAR_LINE}— {spending(event.usage, event.cost_usd, unknown='')} …")
            sys.stderr.flush()
            self._is_status_shown = True

    def _clear_status(self) -> None:
        if self._is_status_shown:
            sys.stderr.write(_CLEAR_LINE)
            sys.stderr.flush()
            self._is_status_shown = False

    def _restart(self, reason: str) -> None:
        self._aside(f"· {_one_line(reason, 300)}: the answer starts again")

    def _finish(self, record: TurnRecord) -> None:
        self._close_line()
        if result := self._result():
            sys.stdout.write(self._redact(result) + "\n")
        self._footer(record)

    def _aside(self, line: str) -> None:
        self._close_line()
        super()._aside(line)

    def _close_line(self) -> None:
        self._clear_status()
        if self._is_line_open:
            sys.stdout.write("\n")
            sys.stdout.flush()
            self._is_line_open = False

    def say(self, text: str) -> None:
        self._close_line()
        super().say(text)


class JsonOutput(Output):
    """One object when the turn ends."""

    def write(self, batch: list[Event]) -> None:
        if isinstance(batch[-1], TurnFinished):
            found = summary(batch[-1].record)
            if self._turn.output is not None:
                found["result"] = self._turn.result
            _write_lines([json.dumps(found, ensure_ascii=False)], self._redact)


class StreamOutput(Output):
    """One JSON object per event and line, in the form of docs/record.md; the last is ``turn_finished`` with the record."""

    def write(self, batch: list[Event]) -> None:
        from claw_kernel.session.record import write_record, write_value

        lines = []
        for event in batch:
            if isinstance(event, TurnStarted | TurnFinished):
                document: dict[str, Any] = {"type": event.type, "record": write_record(event.record)}
            else:
                document = write_value(event)
            lines.append(json.dumps(document, ensure_ascii=False))
        _write_lines(lines, self._redact)


def summary(record: TurnRecord) -> dict[str, Any]:
    """The object of ``--output-format json``. ``cost_usd`` is null where the price is unknown. With ``--schema`` the caller
    adds ``result``."""
    from claw_kernel.session.record import write_value

    usage = record.usage
    return {
        "answer": answer_text(record),
        "stop_reason": record.stop_reason,
        "session_id": record.session_id,
        "turn_id": record.turn_id,
        "model": record.model,
        "usage": {
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "cache_read_tokens": usage.cache_read_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
            "is_least": usage.is_least,
        },
        "cost_usd": record.cost_usd,
        "duration_seconds": record.duration_seconds,
        "steps": len(record.steps),
        "tool_calls": sum(len(step.results) for step in record.steps),
        "error": write_value(record.error) if record.error else None,
    }


def footer(record: TurnRecord) -> str:
    """Model, tokens, cost and time in one line."""
    return f"— {record.model} · {spending(record.usage, record.cost_usd)} · {record.duration_seconds:.1f} s"


def spending(usage: Usage, cost_usd: float | None, unknown: str = "cost unknown") -> str:
    """Tokens and cost. ``unknown`` stands for a cost that is None."""
    read = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens
    cost = unknown if cost_usd is None else f"${cost_usd:.4f}"
    least = "at least " if usage.is_least else ""
    return f"{least}{read:,} in, {usage.output_tokens:,} out" + (f" · {cost}" if cost else "")


def _write_lines(lines: list[str], redact: Redact) -> None:
    # One write and one flush per batch: a pipe's reader sees each batch as soon as it is there.
    sys.stdout.write(redact("\n".join(lines)) + "\n")
    sys.stdout.flush()


def _first_line(content: Any) -> str:
    for block in content:
        if isinstance(block, TextBlock) and block.text.strip():
            return _one_line(block.text.strip().split("\n")[0], 200)
    return ""


def _one_line(text: str, width: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"
