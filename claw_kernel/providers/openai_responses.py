"""The OpenAI Responses API (https://platform.openai.com/docs/api-reference/responses-streaming), without storage at the
provider: each request carries the whole conversation, reasoning goes along encrypted."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, assert_never

from claw_kernel.errors import ProviderError
from claw_kernel.messages import (
    AssistantBlock,
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
from claw_kernel.providers._wire import (
    KeptBytes,
    KeptValue,
    arguments_of,
    counted_usage,
    dump,
    final_usage,
    fit_id,
    fit_name,
    read_citation,
    read_count,
    read_tool_call,
)
from claw_kernel.providers.catalogue import effort_level, is_told_effort
from claw_kernel.providers.settings import Api


class OpenAIResponses:
    """The wire format."""

    api: Api = "openai-responses"
    path = "/responses"

    def __init__(self, server: Server) -> None:
        self._server = server
        self._messages = KeptBytes(_write_message)
        self._tools = KeptValue()
        self._system = KeptValue()

    def headers(self, request: ModelRequest) -> dict[str, str]:  # noqa: ARG002
        return self._server.headers()

    def body(self, request: ModelRequest) -> bytes:
        parts = [
            b'{"model":%s,"max_output_tokens":%d,"stream":true,"store":false'
            % (dump(request.model), request.max_tokens),
        ]
        card = self._server.card(request.model)
        if card.has_thinking is not False:  # models that do not reason refuse to be asked for it
            parts.append(b',"include":["reasoning.encrypted_content"]')
            if request.effort is not None and (level := effort_level(card, request.effort)):
                parts.append(b',"reasoning":' + dump({"effort": level, "summary": "auto"}))
        if request.tools:
            parts.append(b',"tools":' + self._tools.get(request.tools, lambda: _write_tools(request)))
        if request.system:
            parts.append(b',"instructions":' + self._system.get(request.system, lambda: dump(request.system)))
        items = [self._messages(message, place) for place, message in enumerate(request.messages)]
        parts += [b',"input":[', b",".join([item for item in items if item]), b"]}"]
        return b"".join(parts)

    def is_ignoring_effort(self, request: ModelRequest) -> bool:
        card = self._server.card(request.model)
        return is_told_effort(card, request) and not (request.effort and effort_level(card, request.effort))

    def decoder(self, request: ModelRequest) -> _Decoder:
        return _Decoder(self._server, request.model)


def _write_tools(request: ModelRequest) -> bytes:
    return dump(
        [
            {
                "type": "function",
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.input_schema,
                "strict": False,  # strict schemas know no optional properties
            }
            for tool in request.tools
        ]
    )


def _write_message(message: Message, place: int) -> bytes:
    """The input items that say the same, joined by commas. ``place`` of the message in the conversation."""
    items: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    is_user = message.role == "user"
    for block in message.content:
        match block:
            case TextBlock():
                if not block.text.strip():
                    pass
                elif is_user:
                    parts.append({"type": "input_text", "text": block.text})
                else:
                    items.append(_write_answer(block.text, f"msg_{place}_{len(items)}"))
            case ImageBlock():
                parts.append(_write_image(block))
            case ThinkingBlock():
                item = _read_reasoning(block.signature)
                if item is not None:
                    items.append(item)
            case ToolCall():
                items.append(
                    {
                        "type": "function_call",
                        "call_id": fit_id(block.id),
                        "name": fit_name(block.name),
                        "arguments": dump(arguments_of(block)).decode(),
                    }
                )
            case ToolResult():
                output: list[dict[str, Any]] = []
                for part in block.content:
                    match part:
                        case TextBlock():
                            if part.text.strip():
                                output.append({"type": "input_text", "text": part.text})
                        case ImageBlock():
                            output.append(_write_image(part))
                        case _:
                            assert_never(part)
                is_text = all(part["type"] == "input_text" for part in output)
                text = "\n".join(part["text"] for part in output) if is_text else ""
                items.append(
                    {
                        "type": "function_call_output",
                        "call_id": fit_id(block.call_id),
                        "output": (text or "(no output)") if is_text else output,
                    }
                )
            case _:
                assert_never(block)
    while items and items[-1].get("type") == "reasoning":  # refused without what it led to, as of a cut answer
        items.pop()
    if parts:
        items.append({"role": "user", "content": parts})
    return b",".join([dump(item) for item in items])


def _write_answer(text: str, item_id: str) -> dict[str, Any]:
    """The form in which it was given: OpenAI takes shorter ones, llama.cpp wants the type, vLLM the id and the status. OpenAI
    refuses an id twice; one made of its place is the same in the next turn, and so is the prefix that is cached."""
    part = {"type": "output_text", "text": text, "annotations": []}
    return {
        "type": "message",
        "id": item_id,
        "role": "assistant",
        "status": "completed",
        "content": [part],
    }


def _write_image(image: ImageBlock) -> dict[str, Any]:
    return {"type": "input_image", "detail": "auto", "image_url": f"data:{image.media_type};base64,{image.data}"}


def _read_reasoning(signature: str) -> dict[str, Any] | None:
    """The reasoning item a signature holds; None for a signature of another provider."""
    if not signature.startswith('{"type":"reasoning"'):
        return None
    try:
        item = json.loads(signature)
    except (ValueError, RecursionError):
        return None
    return item if isinstance(item, dict) else None


class _Item:
    """An output item while it is being written."""

    __slots__ = ("call_id", "is_complete", "item", "kind", "name", "parts")

    def __init__(self, item: dict[str, Any]) -> None:
        self.item = item
        self.kind: str = item.get("type", "")
        self.call_id: str = item.get("call_id") or item.get("id") or ""
        self.name: str = item.get("name") or ""
        self.parts: list[str] = []
        self.is_complete = False

    def block(self) -> AssistantBlock | None:
        match self.kind:
            case "message":
                parts = [part for part in self.item.get("content") or () if isinstance(part, dict)]
                text = "".join(self.parts) or "".join(part.get("text") or part.get("refusal") or "" for part in parts)
                cited = [read_citation(value) for part in parts for value in part.get("annotations") or ()]
                return TextBlock(text, tuple(dict.fromkeys(c for c in cited if c is not None))) if text else None
            case "function_call":
                return read_tool_call(self.call_id, self.name, self.item.get("arguments") or "".join(self.parts))
            case "reasoning":
                item = self.item
                text = "".join(self.parts) or "\n".join(part.get("text", "") for part in item.get("summary") or ())
                if not item.get("encrypted_content"):
                    return ThinkingBlock(text) if text else None
                kept = {name: item.get(name) for name in ("type", "id", "summary", "encrypted_content")}
                kept["summary"] = kept["summary"] or []
                return ThinkingBlock(text, dump(kept).decode())
            case _:
                return None


class _Decoder:
    def __init__(self, server: Server, model: str) -> None:
        self.is_whole = False
        self.is_ended = False
        self._server = server
        self._asked = model
        self._model = model
        self._items: dict[int, _Item] = {}
        self._stop: ModelStop = "end_turn"
        self._has_refusal = False
        self.usage: Usage | None = None

    @property
    def has_completed_block(self) -> bool:
        kinds = {"message", "function_call"}
        return any(item.is_complete and item.kind in kinds and item.block() for item in self._items.values())

    def end(self) -> None:
        self.is_ended = True

    def unfold(self, answer: dict[str, Any]) -> list[tuple[bytes, dict[str, Any]]]:
        if not isinstance(answer.get("output"), list):
            return []
        status = answer.get("status")
        kind = f"response.{status}" if status in {"incomplete", "failed"} else "response.completed"
        return [(b"", {"type": kind, "response": answer})]

    def feed(self, frames: list[tuple[bytes, dict[str, Any]]]) -> list[ProviderEvent]:
        events: list[ProviderEvent] = []
        texts: list[str] = []
        for name, frame in frames:
            kind = frame.get("type") or name.decode("utf-8", "replace")
            if kind == "response.output_text.delta":
                text = frame.get("delta") or ""
                self._item(frame, "message").parts.append(text)
                texts.append(text)
                continue
            if texts:
                events.append(TextDelta("".join(texts)))
                texts = []
            self._read(kind, frame, events)
        if texts:
            events.append(TextDelta("".join(texts)))
        return events

    def _index(self, frame: dict[str, Any]) -> int:
        """Which item a frame is about. llama.cpp gives no index: there its id says it, or it is the newest."""
        index = frame.get("output_index")
        if isinstance(index, int):
            return index
        item_id = frame.get("item_id") or (frame.get("item") or {}).get("id")
        found = (index for index, item in self._items.items() if item_id and item.item.get("id") == item_id)
        return next(found, max(self._items, default=0))

    def _item(self, frame: dict[str, Any], kind: str) -> _Item:
        index = self._index(frame)
        item = self._items.get(index)
        if item is None:
            item = self._items[index] = _Item({"type": kind})
        return item

    def _read(self, kind: str, frame: dict[str, Any], events: list[ProviderEvent]) -> None:
        match kind:
            case "response.created" | "response.in_progress":
                self._model = (frame.get("response") or {}).get("model") or self._model
            case "response.output_item.added":
                item = self._items[frame.get("output_index", len(self._items))] = _Item(frame.get("item") or {})
                if item.kind == "function_call":
                    events.append(ToolCallDelta(item.call_id, item.name, ""))
            case "response.function_call_arguments.delta":
                item = self._item(frame, "function_call")
                fragment = frame.get("delta") or ""
                item.parts.append(fragment)
                last = events[-1] if events else None
                if isinstance(last, ToolCallDelta) and last.call_id == item.call_id:
                    events[-1] = ToolCallDelta(item.call_id, last.name, last.arguments + fragment)
                else:
                    events.append(ToolCallDelta(item.call_id, "", fragment))
            case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
                text = frame.get("delta") or ""
                self._item(frame, "reasoning").parts.append(text)
                last = events[-1] if events else None
                if isinstance(last, ThinkingDelta):
                    events[-1] = ThinkingDelta(last.text + text)
                else:
                    events.append(ThinkingDelta(text))
            case "response.reasoning_summary_part.added":
                parts = self._item(frame, "reasoning").parts
                if parts:
                    parts.append("\n\n")
                    events.append(ThinkingDelta("\n\n"))
            case "response.refusal.delta":
                text = frame.get("delta") or ""
                self._has_refusal = True
                self._item(frame, "message").parts.append(text)
                events.append(TextDelta(text))
            case "response.output_item.done":
                item = self._item(frame, "")
                done = frame.get("item") or {}
                item.item = done or item.item
                item.kind = done.get("type") or item.kind
                item.call_id = done.get("call_id") or item.call_id
                item.name = done.get("name") or item.name
                item.is_complete = True
            case "response.completed" | "response.incomplete":
                response = frame.get("response") or {}
                if not self._items:  # servers that send no items before the end
                    self._read_output(response.get("output") or (), events)
                self._finish_response(response, is_incomplete=kind == "response.incomplete")
                if self._stop == "refusal":
                    events.append(ProviderNotice(f"{self._server.name}'s content filter stopped the answer"))
            case "response.failed" | "error":
                self._take_usage(frame.get("response") or {})
                raise self._error(frame)
            case _:  # parts and marks that say nothing more
                pass

    def _read_output(self, output: Iterable[dict[str, Any]], events: list[ProviderEvent]) -> None:
        for index, value in enumerate(output):
            item = self._items[index] = _Item(value)
            match item.block():
                case TextBlock(text):
                    self._has_refusal |= any(part.get("type") == "refusal" for part in value["content"])
                    events.append(TextDelta(text))
                case ThinkingBlock(text) if text:
                    events.append(ThinkingDelta(text))
                case ToolCall():
                    events.append(ToolCallDelta(item.call_id, item.name, value.get("arguments") or ""))

    def _finish_response(self, response: dict[str, Any], *, is_incomplete: bool) -> None:
        self._take_usage(response)
        self._model = response.get("model") or self._model
        if is_incomplete:
            reason = (response.get("incomplete_details") or {}).get("reason")
            self._stop = "refusal" if reason == "content_filter" else "max_tokens"
        self.is_whole = self.is_ended = True

    def _take_usage(self, response: dict[str, Any]) -> None:
        usage = response.get("usage")
        if isinstance(usage, dict):
            details = usage.get("input_tokens_details") or {}
            cached, written = read_count(details.get("cached_tokens")), read_count(details.get("cache_write_tokens"))
            sent = read_count(usage.get("input_tokens")) - cached - written
            self.usage = counted_usage(sent, usage.get("output_tokens"), cached, written)

    def _error(self, frame: dict[str, Any]) -> ProviderError:
        error = (frame.get("response") or {}).get("error") or frame.get("error") or frame
        return _faults.read_error_object(self._server, self._asked, {"error": error})

    def finish(self, incomplete: str = "") -> MessageFinished:
        items = [item for _, item in sorted(self._items.items())]
        if incomplete:
            items = [item for item in items if item.is_complete or item.kind == "message"]
        content = tuple(block for block in (item.block() for item in items) if block is not None)
        has_calls = any(isinstance(block, ToolCall) for block in content)
        stop = self._stop
        if has_calls and stop == "end_turn":
            stop = "tool_use"
        elif self._has_refusal:
            stop = "refusal"
        elif incomplete:
            stop = "other"
        usage = final_usage(self.usage, incomplete)
        return MessageFinished(Message("assistant", content), usage, stop, self._model, incomplete)
