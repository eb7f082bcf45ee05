"""The Anthropic Messages API (https://docs.anthropic.com/en/api/messages-streaming)."""

from __future__ import annotations

from typing import Any, assert_never

from claw_kernel.errors import ProviderError
from claw_kernel.messages import (
    AssistantBlock,
    Citation,
    ImageBlock,
    Message,
    MessageFinished,
    ModelRequest,
    ModelStop,
    ProviderEvent,
    ProviderNotice,
    TextBlock,
    TextDelta,
    ThinkingBlock,
    ThinkingDelta,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Usage,
)
from claw_kernel.providers import _faults
from claw_kernel.providers._faults import Server
from claw_kernel.providers._wire import KeptBytes, KeptValue, arguments_of, dump, fit_id, read_citation, read_tool_call
from claw_kernel.providers.catalogue import THINKING_TOKENS, effort_level
from claw_kernel.providers.settings import Api

_VERSION = "2023-06-01"
"""The API's only stable version header."""

_INTERLEAVED = "interleaved-thinking-2025-05-14"
"""Lets models with a budget think between tool calls too; the newer ones always may."""
_LEAST_BUDGET_TOKENS = 1_024
"""The API's own bound."""
_LEAST_ANSWER_TOKENS = 1_024

_CACHED = {"type": "ephemeral"}
_CACHED_BYTES = b',"cache_control":{"type":"ephemeral"}}'

_LOOK_BACK_BLOCKS = 18
"""A breakpoint finds an earlier one at most 20 blocks back (the API's documentation); 18 leaves room for the ends."""

_STOPS: dict[str, ModelStop] = {
    "end_turn": "end_turn",
    "tool_use": "tool_use",
    "max_tokens": "max_tokens",
    "model_context_window_exceeded": "max_tokens",
    "stop_sequence": "stop_sequence",
    "refusal": "refusal",
}


class AnthropicMessages:
    """The wire format. Prompt-cache breakpoints: the last tool, the system text, the last message, and the message the
    previous request ended with where a step added so many blocks that the look-back would miss it."""

    api: Api = "anthropic"

    def __init__(self, server: Server) -> None:
        self._server = server
        self.path = "/messages" if server.base_url.rstrip("/").endswith("/v1") else "/v1/messages"
        self._messages = KeptBytes(_write_message)
        self._tools = KeptValue()
        self._system = KeptValue()

    def headers(self, request: ModelRequest) -> dict[str, str]:
        bearer = self._server.variable.endswith("_TOKEN")
        headers = {"anthropic-version": _VERSION, **self._server.headers("authorization" if bearer else "x-api-key")}
        if "budget_tokens" in self._thinking(request)[0].get("thinking", {}):
            headers["anthropic-beta"] = _INTERLEAVED
        return headers

    def _thinking(self, request: ModelRequest) -> tuple[dict[str, Any], int]:
        """The fields that say how much to think, and the output limit, which counts thoughts too."""
        limit, effort = request.max_tokens, request.effort
        card = self._server.card(request.model)
        if effort is None or not card.has_thinking:
            return {}, limit
        if card.efforts:  # the model decides how much, within an effort
            level = effort_level(card, effort)
            if level == "none":
                return {"thinking": {"type": "disabled"}}, limit
            return {
                "thinking": {"type": "adaptive", "display": "summarized"},
                "output_config": {"effort": level},
            }, limit
        if effort == "none" or _lacks_thought(request.messages):
            return {}, limit
        budget = THINKING_TOKENS[effort]
        limit = min(limit + budget, card.output_limit or limit + budget)
        budget = min(budget, limit - _LEAST_ANSWER_TOKENS)
        if budget < _LEAST_BUDGET_TOKENS:
            return {}, request.max_tokens
        return {"thinking": {"type": "enabled", "budget_tokens": budget}}, limit

    def body(self, request: ModelRequest) -> bytes:
        thinking, limit = self._thinking(request)
        # What changes least comes first, and the messages last: each request begins with the bytes of the one before.
        parts = [b'{"model":%s,"max_tokens":%d,"stream":true' % (dump(request.model), limit)]
        if thinking:
            parts.append(b"," + dump(thinking)[1:-1])
        if request.tools:
            parts.append(b',"tools":' + self._tools.get(request.tools, lambda: _write_tools(request)))
        if request.system:
            parts.append(b',"system":' + self._system.get(request.system, lambda: _write_system(request.system)))
        written = [(message, self._messages(message)) for message in request.messages]
        written = [(message, data) for message, data in written if data]
        if written:
            message, data = written[-1]
            written[-1] = (message, _mark(data))
            if len(written) > 2 and sum(len(message.content) for message, _ in written[-2:]) > _LOOK_BACK_BLOCKS:
                message, data = written[-3]
                written[-3] = (message, _mark(data))
        parts += [b',"messages":[', b",".join([data for _, data in written]), b"]}"]
        return b"".join(parts)

    def decoder(self, request: ModelRequest) -> _Decoder:
        return _Decoder(self._server, request.model)


def _lacks_thought(messages: tuple[Message, ...]) -> bool:
    """The calls being answered came without a thought (another model's, or nothing was thought then): with a budget the API
    takes them only where thinking is off."""
    if not any(isinstance(block, ToolResult) for block in messages[-1].content):
        return False
    last = next((message for message in reversed(messages) if message.role == "assistant"), None)
    first = last.content[0] if last is not None and last.content else None
    return not (isinstance(first, ThinkingBlock) and (first.signature or first.redacted))


def _mark(message: bytes) -> bytes:
    """The user message with a breakpoint on its last block. (An assistant's may end in thinking, which takes none.)"""
    is_user = message.startswith(b'{"role":"user"')
    return message[:-3] + _CACHED_BYTES + b"]}" if is_user else message


def _write_tools(request: ModelRequest) -> bytes:
    tools: list[dict[str, Any]] = [
        {"name": tool.name, "description": tool.description, "input_schema": tool.input_schema}
        for tool in request.tools
    ]
    tools[-1]["cache_control"] = _CACHED
    return dump(tools)


def _write_system(system: str) -> bytes:
    return dump([{"type": "text", "text": system, "cache_control": _CACHED}])


def _write_message(message: Message) -> bytes:
    """Empty where nothing of the message can be sent."""
    blocks: list[dict[str, Any]] = []
    moved: list[dict[str, Any]] = []
    for block in message.content:
        match block:
            case TextBlock():
                if block.text.strip():  # the API refuses text without a visible character
                    blocks.append({"type": "text", "text": block.text})
            case ThinkingBlock():
                if block.redacted:
                    blocks.append({"type": "redacted_thinking", "data": block.redacted})
                elif block.signature:
                    blocks.append({"type": "thinking", "thinking": block.text, "signature": block.signature})
            case ImageBlock():
                blocks.append(_write_image(block))
            case ToolCall():
                blocks.append(
                    {"type": "tool_use", "id": fit_id(block.id), "name": block.name, "input": arguments_of(block)}
                )
            case ToolResult():
                result, images = _write_result(block)
                blocks.append(result)
                moved += images
            case _:
                assert_never(block)
    while blocks and blocks[-1]["type"] in {"thinking", "redacted_thinking"}:  # refused at the end, as of a cut answer
        blocks.pop()
    if moved:  # after the results, before the text
        place = max(place for place, block in enumerate(blocks) if block["type"] == "tool_result") + 1
        blocks[place:place] = moved
    return dump({"role": message.role, "content": blocks}) if blocks else b""


def _write_image(image: ImageBlock) -> dict[str, Any]:
    return {"type": "image", "source": {"type": "base64", "media_type": image.media_type, "data": image.data}}


def _write_result(result: ToolResult) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The result, and the images that have to stand beside it: the API takes only text in one that is an error."""
    content: list[dict[str, Any]] = []
    moved: list[dict[str, Any]] = []
    for part in result.content:
        match part:
            case TextBlock():
                if part.text.strip():
                    content.append({"type": "text", "text": part.text})
            case ImageBlock():
                (moved if result.is_error else content).append(_write_image(part))
            case _:
                assert_never(part)
    written: dict[str, Any] = {"type": "tool_result", "tool_use_id": fit_id(result.call_id)}
    if result.is_error:
        written["is_error"] = True
        content = content or [{"type": "text", "text": "The tool failed without a message."}]
    if content:
        written["content"] = content
    return written, moved


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
        self.citations: list[Citation] = []

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


class _Decoder:
    def __init__(self, server: Server, model: str) -> None:
        self.is_whole = False
        self.is_ended = False
        self._server = server
        self._asked = model
        self._model = model
        self._open: dict[int, _Open] = {}
        self._stop = ""
        self._usage: dict[str, int] = {}

    @property
    def has_completed_block(self) -> bool:
        return any(b.is_complete and b.kind in {"text", "tool_use"} and b.block() for b in self._open.values())

    def end(self) -> None:
        self.is_ended = True

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
        """Counters are cumulative: the last of each is the total."""
        if isinstance(usage, dict):
            self._usage.update({name: count for name, count in usage.items() if isinstance(count, int)})

    def finish(self, incomplete: str = "") -> MessageFinished:
        kept = list(self._open.values())
        if incomplete:  # text may be a part; a call may not, and thinking without its signature cannot go back
            kept = [block for block in kept if block.is_complete or block.kind == "text"]
        content = tuple(block for block in (open_block.block() for open_block in kept) if block is not None)
        has_calls = any(isinstance(block, ToolCall) for block in content)
        stop: ModelStop = _STOPS.get(self._stop, "other")
        if has_calls and stop in {"end_turn", "other"}:
            stop = "tool_use"
        elif not has_calls and (stop == "tool_use" or (not self._stop and not incomplete)):
            stop = "end_turn"
        usage = Usage(
            self._usage.get("input_tokens", 0),
            self._usage.get("output_tokens", 0),
            self._usage.get("cache_read_input_tokens", 0),
            self._usage.get("cache_creation_input_tokens", 0),
        )
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
