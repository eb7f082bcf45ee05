"""What a wire format has to offer, and the parts of building and reading messages that all of them share."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from claw_kernel.messages import (
    Citation,
    ContentBlock,
    ImageBlock,
    Message,
    MessageFinished,
    ModelRequest,
    ProviderEvent,
    TextBlock,
    ToolCall,
    ToolResult,
    Usage,
)
from claw_kernel.providers.settings import Api

LONGEST_KEPT_BYTES = 64 * 1024 * 1024
"""Serialised messages kept per provider: more than the largest request any provider takes (100 MB) needs in practice."""


class Decoder(Protocol):
    """Reads one response. ``feed`` takes the JSON objects of one network read with their event names and returns the
    events they make, neighbouring text joined; it raises a ``ProviderError`` for an error the server reports inside."""

    is_whole: bool
    """Everything of the message is there (a stop reason came), though more frames may follow."""
    is_ended: bool
    """The format's own end mark came."""
    usage: Usage | None
    """What the server has counted so far, cumulative: another object where it has counted anew. None: it has not."""

    @property
    def has_completed_block(self) -> bool:
        """A text or a tool call of the message is complete."""
        ...

    def feed(self, frames: list[tuple[bytes, dict[str, Any]]]) -> list[ProviderEvent]: ...

    def end(self) -> None:
        """The end mark ``[DONE]`` was read."""
        ...

    def unfold(self, answer: dict[str, Any]) -> list[tuple[bytes, dict[str, Any]]]:
        """The frames that say the same as the answer of a server that was asked for a stream and sent it as one JSON object;
        none where it is no answer of this format."""
        ...

    def finish(self, incomplete: str = "") -> MessageFinished:
        """The message; its stop is ``tool_use`` too where calls were announced and none came. ``incomplete``: why only its
        completed blocks are there."""
        ...


class WireFormat(Protocol):
    """One way to write requests and read responses. Lives as long as its provider: it keeps what it serialised."""

    api: Api
    path: str
    """Appended to the base URL."""

    def headers(self, request: ModelRequest) -> dict[str, str]: ...

    def body(self, request: ModelRequest) -> bytes: ...

    def is_ignoring_effort(self, request: ModelRequest) -> bool:
        """The person said how much to think, and nothing of it is sent."""
        ...

    def decoder(self, request: ModelRequest) -> Decoder: ...


def dump(value: Any) -> bytes:
    """Compact JSON. Half of a surrogate pair, which no UTF-8 can hold, becomes ``?``."""
    return _encode(value).encode("utf-8", "replace")


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class KeptBytes:
    """The JSON of messages, kept by identity: a message is frozen, so it is serialised once in its life, or in a format that
    numbers them once for each ``place`` it stands at."""

    def __init__(self, write: Callable[[Message, int], bytes]) -> None:
        self._write = write
        self._kept: dict[tuple[int, int], tuple[Message, bytes]] = {}
        self._size = 0

    def __call__(self, message: Message, place: int = 0) -> bytes:
        key = (id(message), place)
        kept = self._kept.get(key)
        # The message is held, so its id cannot come to mean another one.
        if kept is not None:
            return kept[1]
        written = self._write(message, place)
        self._kept[key] = (message, written)
        self._size += len(written)
        while self._size > LONGEST_KEPT_BYTES and len(self._kept) > 1:
            self._size -= len(self._kept.pop(next(iter(self._kept)))[1])
        return written


class KeptMessages:
    """Messages rewritten before they are sent, each once: what was not changed stays the same object, and so do its bytes."""

    def __init__(self, rewrite: Callable[[Message], Message]) -> None:
        self._rewrite = rewrite
        self._kept: dict[int, tuple[Message, Message]] = {}

    def __call__(self, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        kept = self._kept
        self._kept = {id(m): kept.get(id(m)) or (m, self._rewrite(m)) for m in messages}
        return tuple([self._kept[id(m)][1] for m in messages])


def without_images(message: Message) -> Message:
    """``message`` for a model that sees none: it is told where one was."""
    if not any(isinstance(block, ImageBlock | ToolResult) for block in message.content):
        return message
    content = tuple(
        replace(block, content=tuple(_in_words(part) for part in block.content))
        if isinstance(block, ToolResult)
        else _in_words(block)
        for block in message.content
    )
    return message if content == message.content else Message(message.role, content)


_B = TypeVar("_B", bound=ContentBlock)


def _in_words(block: _B) -> _B | TextBlock:
    if not isinstance(block, ImageBlock):
        return block
    return TextBlock(f"[An image ({block.media_type}) stood here; this model cannot see images.]")


class KeptValue:
    """The JSON of the newest ``tools`` or ``system``, which stay the same object for a session."""

    def __init__(self) -> None:
        self._source: object = self
        self._bytes = b""

    def get(self, source: object, write: Callable[[], bytes]) -> bytes:
        if source is not self._source:
            self._bytes = write()
            self._source = source
        return self._bytes


def read_tool_call(call_id: str, name: str, arguments: str) -> ToolCall:
    """Only one complete JSON object is an input; no arguments at all are an empty one; the rest is ``malformed``."""
    if not arguments.strip():
        return ToolCall(call_id, name, {})
    try:
        value = json.loads(arguments)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict):
        return ToolCall(call_id, name, value)
    return ToolCall(call_id, name, {}, malformed=arguments)


def arguments_of(call: ToolCall) -> dict[str, Any]:
    """What goes back to the model for a call: its input. Malformed text goes back wrapped, because every provider wants
    an object there and the model should see what it wrote."""
    return {"malformed_arguments": call.malformed} if call.malformed else call.input


def read_count(value: Any) -> int:
    """A count of tokens; 0 for what is none. Some servers send whole numbers as ``12.0``."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return max(value, 0) if isinstance(value, int) and not isinstance(value, bool) else 0


def counted_usage(sent: Any, answered: Any, cached: Any = 0, written: Any = 0) -> Usage | None:
    """None where nothing of it is a count."""
    usage = Usage(read_count(sent), read_count(answered), read_count(cached), read_count(written))
    return usage if usage != Usage() else None


def final_usage(usage: Usage | None, incomplete: str) -> Usage:
    """Of an answer that is over: a least, where it broke off or the server has counted nothing."""
    return replace(usage or Usage(), is_least=True) if usage is None or incomplete else usage


def read_citation(value: Any) -> Citation | None:
    """One citation in any of the formats; None for what names neither an address nor a title."""
    if not isinstance(value, dict):
        return Citation(value) if isinstance(value, str) and value else None
    inner = value.get("url_citation")
    found: dict[str, Any] = inner if isinstance(inner, dict) else value

    def text(*names: str) -> str:
        return next((found[name] for name in names if isinstance(found.get(name), str)), "")

    url, title = text("url", "source"), text("title", "document_title", "filename")
    return Citation(url, title, text("cited_text", "quote", "content")) if url or title else None


_NO_NAME = re.compile(r"[^A-Za-z0-9_-]")
LONGEST_NAME = 64
"""Characters of a tool's name that every server takes (OpenAI's bound; Anthropic's is 128)."""


def fit_name(name: str) -> str:
    """The name of a called tool as any server takes it: models make up names, and the call stays in the conversation."""
    return _NO_NAME.sub("_", name)[:LONGEST_NAME] or "unnamed"


def fit_id(call_id: str, *, longest: int = 64, is_short: bool = False) -> str:
    """``call_id``, or a stand-in that depends on it alone where the server would refuse it. Anthropic takes letters, digits,
    ``_`` and ``-`` up to 64; Responses up to 64; Mistral exactly nine letters and digits (``is_short``)."""
    if is_short:
        if len(call_id) == 9 and call_id.isascii() and call_id.isalnum():
            return call_id
        return hashlib.blake2s(call_id.encode("utf-8", "replace")).hexdigest()[:9]
    if 0 < len(call_id) <= longest and call_id.isascii() and call_id.replace("_", "a").replace("-", "a").isalnum():
        return call_id
    return "call_" + hashlib.blake2s(call_id.encode("utf-8", "replace")).hexdigest()[:24]
