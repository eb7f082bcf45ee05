"""Chat Completions (https://platform.openai.com/docs/api-reference/chat) and what its many servers make of it.

How requests differ is data (``Dialect``); how responses differ is borne by the decoder for every server alike.
"""

from __future__ import annotations

import json
from typing import Any, assert_never

from claw_kernel.messages import (
    Effort,
    ImageBlock,
    Message,
    ModelRequest,
    TextBlock,
    ThinkingBlock,
    ToolCall,
    ToolResult,
)
from claw_kernel.providers._chat_stream import ChatDecoder
from claw_kernel.providers._faults import Server
from claw_kernel.providers._wire import KeptBytes, KeptValue, arguments_of, dump, fit_id, fit_name
from claw_kernel.providers.catalogue import THINKING_TOKENS, ModelCard, effort_level, is_told_effort
from claw_kernel.providers.known import LOCAL, EffortForm
from claw_kernel.providers.settings import Api

_LONGEST_ID = 40
"""OpenAI's limit in this format ("string too long. Expected a string with maximum length 40"); its own ids have 29 characters."""


class OpenAIChat:
    """The wire format in one dialect. The prefix of a session's requests is byte-stable: these servers cache by prefix."""

    api: Api = "openai-chat"
    path = "/chat/completions"

    def __init__(self, server: Server) -> None:
        self._server = server
        self._dialect = server.known.dialect
        self._messages = KeptBytes(lambda message, _: self._write_message(message))
        self._model = ""
        self._names: dict[str, str] = {}
        self._tools = KeptValue()
        self._system = KeptValue()

    def headers(self, request: ModelRequest) -> dict[str, str]:  # noqa: ARG002
        return self._server.headers()

    def body(self, request: ModelRequest) -> bytes:
        dialect = self._dialect
        if request.model != self._model:
            self._model, self._messages = request.model, KeptBytes(lambda message, _: self._write_message(message))
        parts = [
            b'{"model":%s,"%s":%d,"stream":true'
            % (dump(request.model), dialect.max_tokens_field.encode(), request.max_tokens)
        ]
        if dialect.asks_usage:
            parts.append(b',"stream_options":{"include_usage":true}')
        cached = {"cache_control": {"type": "ephemeral"}} if request.model.startswith(dialect.asks_cache) else {}
        added = {**dialect.extra, **cached, **write_effort(self._server, request)}
        if added:
            parts.append(b"," + dump(added)[1:-1])
        if request.tools:
            parts.append(b',"tools":' + self._tools.get(request.tools, lambda: _write_tools(request)))
        messages = [self._messages(message) for message in request.messages]
        if request.system:
            system = self._system.get(request.system, lambda: dump({"role": "system", "content": request.system}))
            messages.insert(0, system)
        parts += [b',"messages":[', b",".join([message for message in messages if message]), b"]}"]
        return b"".join(parts)

    def is_ignoring_effort(self, request: ModelRequest) -> bool:
        return is_told_effort(self._server.card(request.model), request) and not write_effort(self._server, request)

    def decoder(self, request: ModelRequest) -> ChatDecoder:
        return ChatDecoder(self._server, request.model)

    def _write_message(self, message: Message) -> bytes:
        """The one or more messages of the format that say the same, joined by commas."""
        written = (
            self._write_assistant(message.content) if message.role == "assistant" else self._write_user(message.content)
        )
        return b",".join([dump(part) for part in written])

    def _write_assistant(self, content: tuple[Any, ...]) -> list[dict[str, Any]]:
        dialect = self._dialect
        text = "".join(block.text for block in content if isinstance(block, TextBlock))
        calls = [block for block in content if isinstance(block, ToolCall)]
        thoughts = [block for block in content if isinstance(block, ThinkingBlock)]
        if not text.strip():
            text = ""
        if not text and not calls:
            return []
        written: dict[str, Any] = {"role": "assistant", "content": text or None}
        if dialect.reasoning_field and calls:
            reasoning = "".join(thought.text for thought in thoughts)
            if reasoning:
                written[dialect.reasoning_field] = reasoning
        if dialect.has_details:
            details = [detail for thought in thoughts for detail in read_details(thought.signature)]
            if details:
                written["reasoning_details"] = details
        if calls:
            written["tool_calls"] = [self._write_call(call, place) for place, call in enumerate(calls)]
        return [written]

    def _fit_id(self, call_id: str) -> str:
        return fit_id(call_id, longest=_LONGEST_ID, is_short=self._dialect.call_ids == "short")

    def _write_call(self, call: ToolCall, place: int) -> dict[str, Any]:
        dialect = self._dialect
        call_id, name = self._fit_id(call.id), fit_name(call.name)
        if dialect.names_results:
            self._names[call_id] = name
        written: dict[str, Any] = {
            "id": call_id,
            "type": "function",
            "function": {"name": name, "arguments": dump(arguments_of(call)).decode()},
        }
        if dialect.is_signed:
            signature = call.signature
            if not signature and place == 0 and self._model.startswith(_STRICT_MODELS):
                signature = _UNSIGNED
            if signature:
                written["extra_content"] = {"google": {"thought_signature": signature}}
        return written

    def _write_user(self, content: tuple[Any, ...]) -> list[dict[str, Any]]:
        """Tool messages first; a tool message takes only text, so the images of results follow in a user message."""
        dialect = self._dialect
        tools: list[dict[str, Any]] = []
        parts: list[dict[str, Any]] = []
        for block in content:
            match block:
                case TextBlock():
                    if block.text.strip():
                        parts.append({"type": "text", "text": block.text})
                case ImageBlock():
                    parts.append(_write_image(block))
                case ToolResult():
                    images = [part for part in block.content if isinstance(part, ImageBlock)]
                    tools.append(self._write_result(block, has_images=bool(images)))
                    parts += [_write_image(image) for image in images]
                case ThinkingBlock() | ToolCall():  # never in a user message
                    pass
                case _:
                    assert_never(block)
        if not parts:
            return tools
        if tools and dialect.is_bridged:
            tools.append({"role": "assistant", "content": "I have the results."})
        is_text = all(part["type"] == "text" for part in parts)  # plain text is what every server takes
        return [*tools, {"role": "user", "content": "\n\n".join(part["text"] for part in parts) if is_text else parts}]

    def _write_result(self, result: ToolResult, *, has_images: bool) -> dict[str, Any]:
        call_id = self._fit_id(result.call_id)
        text = "\n".join(part.text for part in result.content if isinstance(part, TextBlock))
        written = {"role": "tool", "tool_call_id": call_id}
        if self._dialect.names_results and call_id in self._names:
            written["name"] = self._names[call_id]
        written["content"] = text if text.strip() else ("(see the image below)" if has_images else "(no output)")
        return written


_STRICT_MODELS = ("gemini-3", "gemini-4")
_UNSIGNED = "skip_thought_signature_validator"
"""What the newer Gemini models take in the place of a signature on the first call of a step, where the call was another
model's (https://ai.google.dev/gemini-api/docs/thought-signatures)."""


def write_effort(server: Server, request: ModelRequest) -> dict[str, Any]:
    """The fields that say how much to think; none where the person did not say, or the model cannot be told."""
    if request.effort is None or not server.known.dialect.effort:
        return {}
    card = server.card(request.model)
    is_tolerant = server.known.is_local or server.known is LOCAL or server.known.dialect.effort != "reasoning_effort"
    if card.has_thinking is None and not is_tolerant:
        return {}  # most hosted servers refuse the whole request for a field that the model does not know
    level = effort_level(card, request.effort)
    return _effort_fields(server.known.dialect.effort, card, request.effort, level) if level else {}


def _effort_fields(form: EffortForm, card: ModelCard, effort: Effort, level: str) -> dict[str, Any]:
    is_on = effort != "none"
    match form:
        case "":
            return {}
        case "reasoning_effort":
            return {"reasoning_effort": level}
        case "reasoning":
            return {"reasoning": {"effort": level}}
        case "thinking":
            return {"thinking": {"type": "enabled" if is_on else "disabled"}}
        case "enable_thinking":
            budget = {"thinking_budget": THINKING_TOKENS[effort]} if effort != "none" else {}
            return {"enable_thinking": is_on, **budget}
        case "template":
            own = {"reasoning_effort": level} if card.efforts else {}
            return {**own, "chat_template_kwargs": {"enable_thinking": is_on, **own}}
        case _:
            assert_never(form)


def read_details(signature: str) -> list[Any]:
    """The ``reasoning_details`` a signature holds; none in one of another provider."""
    if not signature.startswith('[{"'):
        return []
    try:
        details = json.loads(signature)
    except (ValueError, RecursionError):
        return []
    return details if isinstance(details, list) else []


def _write_tools(request: ModelRequest) -> bytes:
    return dump(
        [
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description, "parameters": tool.input_schema},
            }
            for tool in request.tools
        ]
    )


def _write_image(image: ImageBlock) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:{image.media_type};base64,{image.data}"}}
