"""Reading streams of the Anthropic Messages API (https://docs.anthropic.com/en/api/messages-streaming)."""

from __future__ import annotations

from typing import Any

from claw_kernel.errors import ProviderError
from claw_kernel.messages import (
    AssistantBlock,
    Citation,
    Message,
    MessageFinished,
    ModelStop,
    ProviderEvent,
    ProviderNotice,
    TextBlock,
    TextDelta,
    ThinkingBlock,
    ThinkingDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from claw_kernel.providers import _faults
from claw_kernel.providers._faults import Server
from claw_kernel.providers._wire import counted_usage, dump, final_usage, fit_id, read_citation, read_tool_call

_STOPS: dict[str, ModelStop] = {
    "end_turn": "end_turn",
    "tool_use": "tool_use",
    "max_tokens": "max_tokens",
    "model_context_window_exceeded": "context_overflow",
    "stop_sequence": "stop_sequence",
    "refusal": "refusal",
}
_PROMPT_COUNTS = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


class _Open:
    """A block while it is being written."""

    __slots__ = ("call_id", "citations", "is_complete", "kind", "name", "parts", "redacted", "signature", "start_input")

    def __init__(self, start: dict[str, Any]) -> None:
        self.kind: str = start.get("type", "")
        self.parts: list[str] = [start.get("text") or start.get("thinking") or ""]
        self.signature: str = start.get("signature") or ""
        self.redacted: str = start.get("data") or ""
        self.call_id: str = start.get("id") or ""
        self.name: str = start.get("name") or ""
        self.start_input: Any = start.get("input")
        self.is_complete = False
        found = (read_citation(value) for value in start.get("citations") or ())
        self.citations: list[Citation] = [citation for citation in found if citation is not None]

    def block(self) -> AssistantBlock | None:
        text = "".join(self.parts)
        match self.kind:
            case "text":
                return TextBlock(text, tuple(dict.fromkeys(self.citations))) if text else None
            case "thinking":
                return ThinkingBlock(text, self.signature)
            case "redacted_thinking":
                return ThinkingBlock("", redacted=self.redacted)
            case "tool_use":
                if not text and isinstance(self.start_input, dict):  # gateways that send the input at once
                    return ToolCall(self.call_id, self.name, self.start_input)
                return read_tool_call(self.call_id, self.name, text)
            case _:  # server-side tools are not asked for; a new kind is passed over
                return None


class AnthropicDecoder:
    """A ``Decoder`` (``_wire.py``)."""

    def __init__(self, server: Server, model: str) -> None:
        self.is_whole = False
        self.is_ended = False
        self._server = server
        self._asked = model
        self._model = model
        self._open: dict[int, _Open] = {}
        self._stop = ""
        self.usage: Usage | None = None
        self._counts: dict[str, Any] = {}

    @property
    def has_completed_block(self) -> bool:
        return any(b.is_complete and b.kind in {"text", "tool_use"} and b.block() for b in self._open.values())

    def end(self) -> None:
        self.is_ended = True

    def unfold(self, answer: dict[str, Any]) -> list[tuple[bytes, dict[str, Any]]]:
        if answer.get("type") != "message" or not isinstance(answer.get("content"), list):
            return []
        frames: list[dict[str, Any]] = [{"type": "message_start", "message": answer}]
        for index, block in enumerate(answer["content"]):
            frames.append({"type": "content_block_start", "index": index, "content_block": block})
            if block.get("type") == "tool_use" and block.get("input"):
                delta = {"type": "input_json_delta", "partial_json": dump(block["input"]).decode()}
                frames.append({"type": "content_block_delta", "index": index, "delta": delta})
            frames.append({"type": "content_block_stop", "index": index})
        frames += [{"type": "message_delta", "delta": answer}, {"type": "message_stop"}]
        return [(b"", frame) for frame in frames]

    def feed(self, frames: list[tuple[bytes, dict[str, Any]]]) -> list[ProviderEvent]:
        events: list[ProviderEvent] = []
        texts: list[str] = []
        joined: type[TextDelta | ThinkingDelta] = TextDelta
        blocks = self._open
        for name, frame in frames:
            kind = frame.get("type") or name.decode("utf-8", "replace")
            if kind == "content_block_delta":
                delta = frame.get("delta") or {}
                block = blocks.get(frame.get("index", 0))
                if block is None:
                    block = blocks[frame.get("index", 0)] = _Open({"type": "text"})
                delta_kind = delta.get("type")
                if delta_kind == "text_delta":
                    if joined is not TextDelta:
                        _flush(texts, joined, events)
                        joined = TextDelta
                    text = delta.get("text") or ""
                    block.parts.append(text)
                    texts.append(text)
                elif delta_kind == "input_json_delta":
                    _flush(texts, joined, events)
                    fragment = delta.get("partial_json") or ""
                    block.parts.append(fragment)
                    _add_fragment(events, block.call_id, fragment)
                elif delta_kind == "thinking_delta":
                    if joined is not ThinkingDelta:
                        _flush(texts, joined, events)
                        joined = ThinkingDelta
                    text = delta.get("thinking") or ""
                    block.parts.append(text)
                    texts.append(text)
                elif delta_kind == "citations_delta":
                    citation = read_citation(delta.get("citation"))
                    if citation is not None:
                        block.citations.append(citation)
                elif delta_kind == "signature_delta":
                    block.signature += delta.get("signature") or ""
            elif kind == "content_block_start":
                block = blocks[frame.get("index", len(blocks))] = _Open(frame.get("content_block") or {})
                if block.kind == "tool_use":
                    _flush(texts, joined, events)
                    if not block.call_id or any(b is not block and b.call_id == block.call_id for b in blocks.values()):
                        block.call_id = fit_id(f"{block.call_id} {len(blocks)} {id(self)}")
                    events.append(ToolCallDelta(block.call_id, block.name, ""))
                elif block.parts[0] and block.kind in {"text", "thinking"}:
                    _flush(texts, joined, events)
                    joined = TextDelta if block.kind == "text" else ThinkingDelta
                    texts.append(block.parts[0])
            elif kind == "content_block_stop":
                block = blocks.get(frame.get("index", 0))
                if block is not None:
                    block.is_complete = True
            elif kind == "message_start":
                message = frame.get("message") or {}
                self._model = message.get("model") or self._model
                self._take_usage(message.get("usage"))
            elif kind == "message_delta":
                delta = frame.get("delta") or {}
                self._stop = delta.get("stop_reason") or self._stop
                if delta.get("stop_reason") == "refusal":
                    _flush(texts, joined, events)
                    events.append(ProviderNotice(_refusal_line(self._server, delta.get("stop_details"))))
                self.is_whole = bool(self._stop)
                self._take_usage(frame.get("usage"))
            elif kind == "message_stop":
                self.is_whole = self.is_ended = True
            elif kind == "error":
                raise self._error(frame)
        _flush(texts, joined, events)
        return events

    def _error(self, frame: dict[str, Any]) -> ProviderError:
        return _faults.read_error_object(self._server, self._asked, frame)

    def _take_usage(self, usage: Any) -> None:
        """Counters are cumulative: the last of each is the total. A prompt of no tokens is none: gateways fill in zeros."""
        if not isinstance(usage, dict):
            return
        counts = self._counts
        has_prompt = any(usage.get(name) for name in _PROMPT_COUNTS)
        counts.update(
            {n: count for n, count in usage.items() if count is not None and (has_prompt or n not in _PROMPT_COUNTS)}
        )
        self.usage = counted_usage(
            counts.get("input_tokens"),
            counts.get("output_tokens"),
            counts.get("cache_read_input_tokens"),
            counts.get("cache_creation_input_tokens"),
        )

    def finish(self, incomplete: str = "") -> MessageFinished:
        kept = list(self._open.values())
        if incomplete:  # text may be a part; a call may not, and thinking without its signature cannot go back
            kept = [block for block in kept if block.is_complete or block.kind == "text"]
        content = tuple(block for block in (open_block.block() for open_block in kept) if block is not None)
        has_calls = any(isinstance(block, ToolCall) for block in content)
        stop: ModelStop = _STOPS.get(self._stop, "other")
        if has_calls and stop in {"end_turn", "other"}:
            stop = "tool_use"
        elif not has_calls and not self._stop and not incomplete:
            stop = "end_turn"
        usage = final_usage(self.usage, incomplete)
        return MessageFinished(Message("assistant", content), usage, stop, self._model, incomplete)


def _refusal_line(server: Server, details: Any) -> str:
    """Who refused and why, as far as it was said."""
    said = details if isinstance(details, dict) else {}
    why = said.get("explanation") or str(said.get("category") or "").replace("_", " ")
    return f"{server.name} stopped the answer by its policy" + (f": {server.clean(str(why))}" if why else "")


def _flush(texts: list[str], joined: type[TextDelta | ThinkingDelta], events: list[ProviderEvent]) -> None:
    if texts:
        text = "".join(texts)
        if text:
            events.append(joined(text))
        texts.clear()


def _add_fragment(events: list[ProviderEvent], call_id: str, fragment: str) -> None:
    """Join with the fragment before it, where both came in one read."""
    if not fragment:
        return
    last = events[-1] if events else None
    if isinstance(last, ToolCallDelta) and last.call_id == call_id:
        events[-1] = ToolCallDelta(call_id, last.name, last.arguments + fragment)
    else:
        events.append(ToolCallDelta(call_id, "", fragment))
