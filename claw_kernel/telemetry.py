"""What a turn did, as OpenTelemetry spans and metrics in the conventions for generative AI. Off by default.

https://github.com/open-telemetry/semantic-conventions-genai (in development; as of autumn 2026). This is the API package
alone: where the spans go is for whoever sets up the SDK (``opentelemetry-instrument``, or code in the notebook); without
one they go nowhere. A turn is ``invoke_agent claw``, its steps are ``chat {model}``, its calls ``execute_tool {name}``.
What was said stays out unless ``telemetry_content`` asks for it; then it is redacted and capped.

Made of a turn's events, so nothing else knows of it. Nothing is imported while it is off.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from claw_kernel import __version__
from claw_kernel.messages import (
    ContextCompacted,
    Event,
    ImageBlock,
    MessageFinished,
    ProviderNotice,
    StepStarted,
    StreamRestarted,
    TextBlock,
    TextDelta,
    ThinkingBlock,
    ThinkingDelta,
    ToolCall,
    ToolCallDelta,
    ToolFinished,
    ToolResult,
    ToolStarted,
    TurnFinished,
    TurnRecord,
    TurnStarted,
    Usage,
    answer_text,
)

if TYPE_CHECKING:
    from opentelemetry.metrics import Histogram
    from opentelemetry.trace import Span

AGENT = "claw"
LONGEST_TEXT = 16_000
"""Characters of one text; with arguments and result of a call it stays below the 64 kB that many back ends take."""

_PROVIDERS = {"mistral": "mistral_ai", "xai": "x_ai", "gemini": "gcp.gemini", "azure": "azure.ai.openai"}
"""Where the conventions' name is another than ours."""
_TOKEN_BUCKETS = [4**n for n in range(14)]
_DURATION_BUCKETS = [0.01 * 2**n for n in range(14)]
"""Both as the conventions advise."""

MISSING = "telemetry is on, but opentelemetry-api is not installed: pip install 'claw-jupyter[telemetry]'"

Observer = Callable[[Event], None]


def observe_turn(redact: Callable[[str], str], *, has_content: bool) -> Observer:
    """What takes the events of one turn, from the engine's thread and in order. The span's parent is the caller's current
    one. Raises ImportError where the API package is not installed."""
    turn = _Turn(redact, has_content=has_content)

    def observe(event: Event) -> None:
        with suppress(Exception):  # whatever a back end does, the turn goes on
            turn.take(event)

    return observe


class _Turn:
    def __init__(self, redact: Callable[[str], str], *, has_content: bool) -> None:
        from opentelemetry import context, metrics, trace

        self._redact = redact
        self._has_content = has_content
        self._trace = trace
        self._tracer = trace.get_tracer("claw-jupyter", __version__)
        self._parent = context.get_current()
        meter = metrics.get_meter("claw-jupyter", __version__)

        def histogram(name: str, unit: str, what: str, buckets: Iterable[float]) -> Histogram:
            return meter.create_histogram(name, unit, what, explicit_bucket_boundaries_advisory=list(buckets))

        self._tokens = histogram("gen_ai.client.token.usage", "{token}", "Tokens of a request", _TOKEN_BUCKETS)
        self._durations = histogram("gen_ai.client.operation.duration", "s", "Time of a request", _DURATION_BUCKETS)
        self._firsts = histogram(
            "gen_ai.client.operation.time_to_first_chunk", "s", "Time to the first of an answer", _DURATION_BUCKETS
        )
        self._agent: Span | None = None
        self._chat: Span | None = None
        self._chat_began = 0.0
        self._has_first = False
        self._calls: dict[str, Span] = {}
        self._asked: dict[str, ToolCall] = {}
        self._common: dict[str, Any] = {}

    def take(self, event: Event) -> None:
        match event:
            case TextDelta() | ThinkingDelta() | ToolCallDelta():
                self._take_first()
            case TurnStarted():
                self._start_turn(event.record)
            case StepStarted():
                self._start_chat()
            case ProviderNotice() if event.is_passing:
                self._note("claw.retry", **self._reason(event.text))
            case StreamRestarted():
                self._note("claw.stream_restarted", **self._reason(event.reason))
            case ContextCompacted():
                compaction = event.compaction
                self._note("claw.context_compacted", before=compaction.tokens_before, after=compaction.tokens_after)
                self._count(compaction.usage, self._common)
            case MessageFinished():
                self._finish_chat(event)
            case ToolStarted():
                self._start_call(event.call_id, event.tool)
            case ToolFinished():
                self._finish_call(event.result)
            case TurnFinished():
                self._finish_turn(event.record)
            case _:  # approvals, output of commands: nothing the conventions know
                pass

    # --- the turn ---

    def _start_turn(self, record: TurnRecord) -> None:
        provider, _, model = record.model.partition("/")
        self._common = {
            "gen_ai.provider.name": _PROVIDERS.get(provider, provider or "unknown"),
            **({"gen_ai.request.model": model} if model else {}),
        }
        attributes = {
            **self._common,
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": AGENT,
            "gen_ai.agent.version": __version__,
            "gen_ai.conversation.id": record.session_id,
            "claw.turn.id": record.turn_id,
        }
        if self._has_content:
            attributes["gen_ai.input.messages"] = self._messages("user", record.content)
        self._agent = self._tracer.start_span(f"invoke_agent {AGENT}", self._parent, attributes=attributes)

    def _finish_turn(self, record: TurnRecord) -> None:
        error = record.error.kind if record.error else "interrupted" if record.stop_reason == "interrupted" else ""
        for span in (*self._calls.values(), *([self._chat] if self._chat else [])):
            self._fail(span, error or "interrupted")
            span.end()
        if self._chat is not None:
            self._measure(error or "interrupted")
        self._calls, self._chat = {}, None
        if self._agent is None:
            return
        span = self._agent
        span.set_attributes(
            {**_usage(record.usage), "gen_ai.response.finish_reasons": [record.stop_reason or "incomplete"]}
        )
        if record.cost_usd is not None:
            span.set_attribute("claw.cost_usd", record.cost_usd)
        if self._has_content:
            span.set_attribute("gen_ai.output.messages", self._messages("assistant", (TextBlock(answer_text(record)),)))
        if error:
            self._fail(span, error, record.error.message if record.error else "")
        span.end()

    # --- a step ---

    def _start_chat(self) -> None:
        model = self._common.get("gen_ai.request.model", "")
        self._chat = self._tracer.start_span(
            f"chat {model}".strip(),
            self._inside(),
            kind=self._trace.SpanKind.CLIENT,
            attributes={**self._common, "gen_ai.operation.name": "chat", "gen_ai.request.stream": True},
        )
        self._chat_began = time.perf_counter()
        self._has_first = False

    def _take_first(self) -> None:
        if not self._has_first:
            self._has_first = True
            self._firsts.record(time.perf_counter() - self._chat_began, self._metric(self._common))

    def _finish_chat(self, event: MessageFinished) -> None:
        span, self._chat = self._chat, None
        if span is None:
            return
        attributes = {**_usage(event.usage), "gen_ai.response.finish_reasons": [event.stop]}
        common = dict(self._common)
        if event.model:
            attributes["gen_ai.response.model"] = common["gen_ai.response.model"] = event.model
        if self._has_content:
            attributes["gen_ai.output.messages"] = self._messages("assistant", event.message.content, event.stop)
        span.set_attributes(attributes)
        if event.incomplete:
            self._fail(span, "incomplete", event.incomplete)
        span.end()
        self._asked = {block.id: block for block in event.message.content if isinstance(block, ToolCall)}
        self._measure("", common)
        self._count(event.usage, common)

    def _measure(self, error: str, common: dict[str, Any] | None = None) -> None:
        attributes = self._metric(common or self._common) | ({"error.type": error} if error else {})
        self._durations.record(time.perf_counter() - self._chat_began, attributes)

    def _count(self, usage: Usage, common: dict[str, Any]) -> None:
        for kind, tokens in (("input", _all_input(usage)), ("output", usage.output_tokens)):
            if tokens:
                self._tokens.record(tokens, {**self._metric(common), "gen_ai.token.type": kind})

    def _metric(self, common: dict[str, Any]) -> dict[str, Any]:
        return {**common, "gen_ai.operation.name": "chat"}

    # --- a call ---

    def _start_call(self, call_id: str, tool: str) -> Span:
        attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": tool,
            "gen_ai.tool.type": "function",
            "gen_ai.tool.call.id": call_id,
        }
        if self._has_content and call_id in self._asked:
            attributes["gen_ai.tool.call.arguments"] = self._arguments(self._asked[call_id])
        span = self._tracer.start_span(f"execute_tool {tool}", self._inside(), attributes=attributes)
        self._calls[call_id] = span
        return span

    def _finish_call(self, result: ToolResult) -> None:
        """A call that never ran (denied, invalid, interrupted) has a span too: without duration."""
        call_id = result.call_id
        if call_id not in self._calls:
            self._start_call(call_id, self._asked[call_id].name if call_id in self._asked else "unknown")
        span = self._calls.pop(call_id)
        if result.is_error:
            self._fail(span, str(result.details.get("status") or "error"))
        if self._has_content:
            texts = "\n".join(part.text for part in result.content if isinstance(part, TextBlock))
            span.set_attribute("gen_ai.tool.call.result", self._cap(texts))
        span.end()

    # --- common ---

    def _inside(self) -> Any:
        return self._parent if self._agent is None else self._trace.set_span_in_context(self._agent, self._parent)

    def _note(self, name: str, **attributes: str | int) -> None:
        span = self._chat or self._agent
        if span is not None:
            span.add_event(name, attributes)

    def _fail(self, span: Span, kind: str, message: str = "") -> None:
        """``message`` is a reason, as in ``_reason``."""
        span.set_attribute("error.type", kind)
        span.set_status(self._trace.StatusCode.ERROR, self._reason(message).get("reason") or None)

    def _reason(self, message: str) -> dict[str, str]:
        """It may quote a server, and servers quote what they were sent: it is content."""
        return {"reason": self._cap(message)} if self._has_content else {}

    def _messages(self, role: str, content: Iterable[Any], stop: str = "") -> str:
        """As the conventions write messages: JSON of roles and parts."""
        parts: list[dict[str, Any]] = []
        for block in content:
            match block:
                case TextBlock():
                    parts.append({"type": "text", "content": self._cap(block.text)})
                case ThinkingBlock():
                    parts.append({"type": "reasoning", "content": self._cap(block.text)})
                case ToolCall():
                    call = {"id": block.id, "name": block.name, "arguments": self._arguments(block)}
                    parts.append({"type": "tool_call", **call})
                case ImageBlock():
                    parts.append({"type": "blob", "modality": "image", "mime_type": block.media_type})
                case _:
                    pass
        message = {"role": role, "parts": parts, **({"finish_reason": stop} if stop else {})}
        return json.dumps([message], ensure_ascii=False)

    def _arguments(self, call: ToolCall) -> str:
        return self._cap(json.dumps(call.input, ensure_ascii=False))

    def _cap(self, text: str) -> str:
        """Redacted first: half of a secret would not be found."""
        text = self._redact(text)
        return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}… [{len(text) - LONGEST_TEXT} more]"


def _all_input(usage: Usage) -> int:
    """The conventions count cached tokens too."""
    return usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens


def _usage(usage: Usage) -> dict[str, Any]:
    counts = {
        "input_tokens": _all_input(usage),
        "output_tokens": usage.output_tokens,
        "cache_read.input_tokens": usage.cache_read_tokens,
        "cache_creation.input_tokens": usage.cache_write_tokens,
    }
    return {f"gen_ai.usage.{name}": count for name, count in counts.items()}
