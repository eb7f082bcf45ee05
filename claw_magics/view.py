"""The live view of one turn: events folded into the document that is drawn (docs/record.md, "While a turn runs")."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import field
from typing import Any, assert_never

from claw_kernel.late_dataclass import dataclass
from claw_kernel.messages import (
    Answer,
    Approval,
    ApprovalRequest,
    ApprovalRequested,
    ApprovalResolved,
    ContextCompacted,
    Event,
    Message,
    MessageFinished,
    ProviderNotice,
    StepFinished,
    StepStarted,
    StreamRestarted,
    TextBlock,
    TextDelta,
    ThinkingBlock,
    ThinkingDelta,
    ToolCall,
    ToolCallDelta,
    ToolFinished,
    ToolOutput,
    ToolStarted,
    TurnFinished,
    TurnRecord,
    TurnStarted,
    Usage,
    UsageChanged,
)
from claw_kernel.session.notebook import REPLACED_KEY
from claw_kernel.session.record import scrub, write_record, write_value

OUTPUT_TAIL = 4_000
"""Characters of a running call's output that are kept for the screen; the whole is in its result."""


@dataclass()
class CallView:
    """One call of the step under way. ``state``: ``writing`` (by the model), ``waiting`` (for its turn or an answer),
    ``running``, ``done``. ``started_at`` is ISO 8601, empty before it ran."""

    call_id: str
    tool: str
    title: str = ""
    preview: dict[str, Any] | None = None
    output: str = ""
    state: str = "writing"
    started_at: str = ""
    result: dict[str, Any] | None = None

    def document(self) -> dict[str, Any]:
        """As docs/record.md has it; what is empty is left out."""
        found = {
            "call_id": self.call_id,
            "tool": self.tool,
            "title": self.title,
            "preview": self.preview,
            "output": self.output,
            "state": self.state,
            "started_at": self.started_at,
            "result": self.result,
        }
        return {key: value for key, value in found.items() if value not in ("", None)}


@dataclass()
class TurnView:
    """``redact`` passes every string that is drawn. ``steps`` grows; a step's document is made once."""

    record: TurnRecord
    kernel_id: str
    redact: Callable[[str], str]
    cell_id: str = ""
    steps: list[dict[str, Any]] = field(default_factory=list)
    calls: dict[str, CallView] = field(default_factory=dict)
    pending: dict[str, ApprovalRequest] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    waiting_for: str = ""
    """What a silent model is waited for: the newest passing notice."""
    replaced: Callable[[], list[TurnRecord]] = list
    """The turns that the cell showed before, where its output must keep them."""
    limit: int | None = None
    """Characters that the finished record keeps of one output."""
    is_finished: bool = False
    usage: Usage = field(default_factory=Usage)
    """Of the turn so far."""
    cost_usd: float | None = None
    step_bytes: int = 0
    """Size of the finished steps as JSON, which every drawing sends again."""
    _text: list[str] = field(default_factory=list)
    _thinking: list[str] = field(default_factory=list)
    _compactions: list[dict[str, Any]] = field(default_factory=list)
    """Of the step under way; a finished one holds its own."""
    _asked: dict[str, ApprovalRequest] = field(default_factory=dict)
    _base: dict[str, Any] | None = None

    def fold(self, event: Event) -> None:
        """Take in one event."""
        match event:
            case TextDelta():
                self.waiting_for = ""
                self._text.append(event.text)
            case ThinkingDelta():
                self._thinking.append(event.text)
            case ToolCallDelta():
                self._call(event.call_id, event.name)
            case MessageFinished():
                self.waiting_for = ""
                self._take_message(event.message)
            case ToolStarted():
                call = self._call(event.call_id, event.tool)
                call.title, call.preview, call.state = event.title, event.preview, "running"
                call.started_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            case ToolOutput():
                if event.text:
                    call = self._call(event.call_id, "")
                    call.output = (call.output + event.text)[-OUTPUT_TAIL:]
            case ToolFinished():
                call = self._call(event.result.call_id, "")
                call.state, call.result = "done", scrub(write_value(event.result), self.redact)
            case ApprovalRequested():
                request = event.request
                self.pending[request.request_id] = self._asked[request.request_id] = request
                call = self._call(request.call_id, request.tool)
                call.title, call.preview, call.state = request.title, request.preview, "waiting"
            case ApprovalResolved():
                self.pending.pop(event.request_id, None)
                asked = self._asked.get(event.request_id)
                if asked is not None:
                    self.answers[asked.call_id] = event.answer
            case ProviderNotice():
                if event.is_passing:
                    self.waiting_for = event.text
                else:
                    self.notices.append(event.text)
            case StepStarted() | StreamRestarted():
                self._clear_step()
            case ContextCompacted():
                self._clear_step()
                self.waiting_for = ""
                self._compactions.append(scrub(write_value(event.compaction), self.redact))
            case StepFinished():
                step = scrub(write_value(event.step), self.redact)
                self.steps.append(step)
                self.step_bytes += len(json.dumps(step))
                self._compactions.clear()
                self._clear_step()
            case UsageChanged():
                self.usage, self.cost_usd = event.usage, event.cost_usd
            case TurnStarted():
                self.record, self._base = event.record, None
            case TurnFinished():
                self.record, self.is_finished = event.record, True
                self.pending.clear()
            case _:
                assert_never(event)

    def text(self) -> str:
        """The answer of the step under way, so far."""
        if len(self._text) > 1:
            self._text = ["".join(self._text)]
        return self._text[0] if self._text else ""

    def thinking(self) -> str:
        if len(self._thinking) > 1:
            self._thinking = ["".join(self._thinking)]
        return self._thinking[0] if self._thinking else ""

    def document(self) -> dict[str, Any]:
        """The record so far with ``live``; the record alone once the turn is finished."""
        if self.is_finished:
            found = write_record(self.record, self.redact, self.limit)
            if replaced := self.replaced():
                found[REPLACED_KEY] = [write_record(record, self.redact, self.limit) for record in replaced]
            return found
        if self._base is None:
            self._base = write_record(self.record, self.redact)
        found = {key: value for key, value in self._base.items() if key != "stop_reason"}
        found["steps"] = list(self.steps)
        if approvals := self._approvals():
            found["approvals"] = approvals
        if notices := [*self.record.notices, *self.notices, *filter(None, [self.waiting_for])]:
            found["notices"] = notices
        # The order of keys is part of the format: ``stop_reason`` comes behind these.
        found["stop_reason"] = None
        if self.usage != Usage():
            found["usage"] = write_value(self.usage)
        if self.cost_usd is not None:
            found["cost_usd"] = self.cost_usd
        live = {
            "compactions": list(self._compactions),
            "text": self.text(),
            "thinking": self.thinking(),
            "calls": [call.document() for call in self.calls.values()],
            "pending": [write_value(request) for request in self.pending.values()],
        }
        found["live"] = {
            **scrub({key: item for key, item in live.items() if item}, self.redact),
            "kernel_id": self.kernel_id,
        }
        return found

    def _approvals(self) -> list[dict[str, Any]]:
        """What was answered so far, as the record will hold it."""
        asked = {request.call_id: request for request in self._asked.values()}
        found = [
            Approval(call_id, "ask", asked[call_id].reason, "", answer.name, answer.by, answer.message)
            for call_id, answer in self.answers.items()
        ]
        return [scrub(write_value(approval), self.redact) for approval in found]

    def _call(self, call_id: str, tool: str) -> CallView:
        call = self.calls.get(call_id)
        if call is None:
            call = self.calls[call_id] = CallView(call_id, tool, title=tool)
        return call

    def _take_message(self, message: Message) -> None:
        texts: list[str] = []
        thoughts: list[str] = []
        for block in message.content:
            if isinstance(block, TextBlock):
                texts.append(block.text)
            elif isinstance(block, ThinkingBlock):
                thoughts.append(block.text)
            elif isinstance(block, ToolCall):
                self._call(block.id, block.name).state = "waiting"
        self._text, self._thinking = ["".join(texts)], ["".join(thoughts)]

    def _clear_step(self) -> None:
        self._text, self._thinking = [], []
        self.calls.clear()
