"""What a request to a model was, as digests: so that a record can be compared with the request of another day and machine.

Canonical form: the provider's name for the model; the system text; the tools (name, description, schema); and the blocks of all
messages with their role, as JSON with sorted keys. Left out is what changes hands with the model: reasoning, signatures, blank
texts. Secrets are replaced as in a stored record, and the folders of this machine by their meaning. Where one message ends
and the next of the same role begins does not count.

Messages are a chain, each block hashed onto the digest of all before, so that a step costs what it adds, and a stored digest vouches
for exactly what came between it and the one before.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, assert_never

from claw_kernel.messages import (
    ContentBlock,
    ImageBlock,
    Message,
    ModelRequest,
    RequestParts,
    TextBlock,
    ThinkingBlock,
    ToolCall,
    ToolResult,
    ToolSpec,
)
from claw_kernel.session.record import scrub

START = ""
"""The digest of no messages."""
_FACTS = r"(?m)^(Working directory|Platform|Today): .*$"
"""Lines of the system text (``claw_kernel.agent.prompt``) that differ by machine and day."""
_PART_CHARACTERS = 32


def places_of(workspace: str, home: str) -> dict[str, str]:
    """Folders of a machine, to what stands for them; ``home`` may be unknown."""
    return {path: name for path, name in ((workspace, "<workspace>"), (home, "<home>")) if len(path) > 1}


def without_places(text: str, places: Mapping[str, str]) -> str:
    """``text`` with the folders of a machine replaced, the longest first."""
    for path in sorted(places, key=len, reverse=True):
        if path in text:
            text = re.sub(re.escape(path) + r"(?![\w.-])", places[path], text)
    return text


class RequestHasher:
    """For the requests of one session. ``redact`` is what records pass before they are stored; ``places``: :func:`places_of`."""

    def __init__(self, redact: Callable[[str], str], places: Mapping[str, str]) -> None:
        self._redact, self._places = redact, places
        self._messages: tuple[Message, ...] = ()
        self._chain: list[str] = [START]
        """The digest of the messages before each, and of all."""
        self._system: tuple[str, str] = ("", "")
        self._tools: tuple[tuple[ToolSpec, ...], str] = ((), "")

    def parts(self, request: ModelRequest) -> RequestParts:
        """Costs the messages that were not in the request before."""
        if self._system[0] is not request.system:
            text = re.sub(_FACTS, r"\1: …", request.system)
            self._system = (request.system, _digest(without_places(self._redact(text), self._places)))
        if self._tools[0] is not request.tools:
            specs = [[spec.name, spec.description, spec.input_schema] for spec in request.tools]
            self._tools = (request.tools, _digest(self._clean(specs)))
        return RequestParts(self._system[1], self._tools[1], self._fold(request.messages))

    def _fold(self, messages: tuple[Message, ...]) -> str:
        pairs = zip(self._messages, messages, strict=False)
        shortest = min(len(self._messages), len(messages))
        same = next((place for place, (old, new) in enumerate(pairs) if old is not new), shortest)
        del self._chain[same + 1 :]
        for message in messages[same:]:
            self._chain.append(extend_chain(self._chain[-1], message.role, message.content, self._clean))
        self._messages = messages
        return self._chain[-1]

    def _clean(self, value: Any) -> Any:
        return scrub(value, lambda text: without_places(self._redact(text), self._places))


def extend_chain(
    digest: str, role: str, blocks: Iterable[ContentBlock], clean: Callable[[Any], Any] = lambda value: value
) -> str:
    """The digest of the messages so far with more blocks of ``role``."""
    for block in blocks:
        if (form := _canonical(block)) is not None:
            digest = _digest([digest, role, clean(form)])
    return digest


def request_hash(model: str, parts: RequestParts) -> str:
    """``sha256:`` and the digest of the whole request."""
    return f"sha256:{sha256(_json([model, parts.system, parts.tools, parts.messages])).hexdigest()}"


def differing_parts(one: RequestParts, other: RequestParts) -> list[str]:
    """``system``, ``tools``, ``messages``: those that are not the same."""
    return [name for name in ("system", "tools", "messages") if getattr(one, name) != getattr(other, name)]


def differing_message(recorded: Sequence[Message], sent: Sequence[Message], clean: Callable[[Any], Any]) -> int | None:
    """The number, from 1, of the first message that differs after both have passed ``clean``; None: none does."""
    for number, (one, other) in enumerate(zip(recorded, sent, strict=False), 1):
        if one is not other and _cleaned(one, clean) != _cleaned(other, clean):
            return number
    return None if len(recorded) == len(sent) else min(len(recorded), len(sent)) + 1


def _cleaned(message: Message, clean: Callable[[Any], Any]) -> list[Any]:
    return [clean(form) for block in message.content if (form := _canonical(block)) is not None]


def _canonical(block: ContentBlock) -> Any:
    """None for what does not count."""
    match block:
        case TextBlock():
            return {"text": block.text} if block.text.strip() else None
        case ThinkingBlock():
            return None
        case ImageBlock():
            return {"media_type": block.media_type, "image": sha256(block.data.encode()).hexdigest()}
        case ToolCall():
            return {"id": block.id, "name": block.name, "input": block.input, "malformed": block.malformed}
        case ToolResult():
            content = [_canonical(part) for part in block.content]
            return {"call_id": block.call_id, "content": content, "is_error": block.is_error}
        case _:
            assert_never(block)


def _digest(value: Any) -> str:
    return sha256(_json(value)).hexdigest()[:_PART_CHARACTERS]


def _json(value: Any) -> bytes:
    return _encode(value).encode("utf-8", "surrogatepass")


_encode = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=str).encode
