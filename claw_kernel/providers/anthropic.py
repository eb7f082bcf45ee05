"""The Anthropic Messages API (https://docs.anthropic.com/en/api/messages); its streams: ``_anthropic_stream.py``."""

from __future__ import annotations

from typing import Any, assert_never

from claw_kernel.messages import (
    ImageBlock,
    Message,
    ModelRequest,
    TextBlock,
    ThinkingBlock,
    ToolCall,
    ToolResult,
)
from claw_kernel.providers._anthropic_stream import AnthropicDecoder
from claw_kernel.providers._faults import Server
from claw_kernel.providers._wire import (
    KeptBytes,
    KeptValue,
    arguments_of,
    dump,
    fit_id,
    fit_name,
)
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


class AnthropicMessages:
    """The wire format. Prompt-cache breakpoints: the last tool, the system text, the last message, and the message the
    previous request ended with where a step added so many blocks that the look-back would miss it."""

    api: Api = "anthropic"

    def __init__(self, server: Server) -> None:
        self._server = server
        self.path = "/messages" if server.base_url.rstrip("/").endswith("/v1") else "/v1/messages"
        self._messages = KeptBytes(lambda message, _: _write_message(message))
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

    def is_ignoring_effort(self, request: ModelRequest) -> bool:
        is_asked = request.effort not in (None, "none") and not _lacks_thought(request.messages)
        return is_asked and not self._thinking(request)[0]

    def decoder(self, request: ModelRequest) -> AnthropicDecoder:
        return AnthropicDecoder(self._server, request.model)


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
                    {
                        "type": "tool_use",
                        "id": fit_id(block.id),
                        "name": fit_name(block.name),
                        "input": arguments_of(block),
                    }
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
