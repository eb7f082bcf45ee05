"""Reading the stream of one answer: whatever a server sends, in whatever pieces, becomes events or one error with a name."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from claw_kernel.errors import OverloadedError, ProtocolError, ProviderError, RateLimitError, StreamError
from claw_kernel.messages import (
    Message,
    MessageFinished,
    ProviderEvent,
    TextBlock,
    TextDelta,
    ThinkingBlock,
    ThinkingDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
    UsageCounted,
)
from claw_kernel.providers import _faults
from claw_kernel.providers._faults import Server
from claw_kernel.providers._sse import LONGEST_FRAME_BYTES, SseParser
from claw_kernel.providers._wire import Decoder
from claw_kernel.providers.settings import Timeouts

if TYPE_CHECKING:
    import httpx

_AFTER_WHOLE_SECONDS = 3.0
"""How long usage and the end mark are waited for once the message itself is whole: some servers send neither."""
_AFTER_END_SECONDS = 0.02
"""How long the end of the response is waited for after the end mark, so that the connection can be used again."""
_LONGEST_HEAD_BYTES = 64 * 1024
_BLANK = b"\xef\xbb\xbf\r\n\t "
_FIELDS = (b":", b"data", b"event", b"id", b"retry")
"""What a stream of events may begin with."""
_NOTHING_YET = Usage()
"""Of an answer that has begun, by a server that counts at its end."""
_STRANGE = (TypeError, AttributeError, KeyError, IndexError, ValueError)
"""What reading a value of another kind than the format has there comes to."""


async def read_answer(
    response: httpx.Response,
    decoder: Decoder,
    server: Server,
    model: str,
    first_byte_seconds: float,
    timeouts: Timeouts,
) -> AsyncGenerator[ProviderEvent, None]:
    """Decode the stream. Where it breaks after a completed block, that much is the message; before, the ``ProviderError`` is raised."""
    import httpx

    from claw_kernel.providers._transport import read_parts

    parser = SseParser()
    parts = read_parts(response)
    limit = first_byte_seconds
    problem: ProviderError | None = None
    counted: Usage | None = None
    head = b""
    document: bytearray | None = None
    has_frames = False
    heard_at = time.monotonic()
    while not decoder.is_ended:
        try:
            async with asyncio.timeout(_AFTER_WHOLE_SECONDS if decoder.is_whole else limit):
                part = await anext(parts, b"")
            limit = timeouts.idle_seconds
            if not has_frames and document is None:
                head = (head + part).lstrip(_BLANK)[:_LONGEST_HEAD_BYTES]  # blanks only keep it open
                document = bytearray() if head.startswith((b"{", b"[")) else None
            if document is None:
                frames = parser.feed(part) if part else parser.finish()
                has_frames = has_frames or any(data for _, data in frames)
                events = _decode(frames, decoder, server.name)
            else:
                document += part
                if len(document) > LONGEST_FRAME_BYTES:
                    raise ValueError("an answer without an end")
                events = [] if part else _decode_document(bytes(document), decoder, server.name)
        except TimeoutError:
            problem = StreamError(
                f"{server.name} sent nothing for {in_seconds(limit)}.", "Try again, or choose another model."
            )
            break
        except httpx.HTTPError as error:
            network = _faults.read_network(server, error)
            problem = StreamError(network.message, network.remedy)
            break
        except ValueError as error:
            problem = ProtocolError(f"{server.name} sent something that is no event stream: {error}.", "Try again.")
            break
        except ProviderError as error:
            problem = error
            break
        if decoder.usage is not counted or (counted is None and events):
            counted = decoder.usage or _NOTHING_YET
            yield UsageCounted(counted)
        for event in events:
            yield event
        if not part:
            break
        if events:
            heard_at = time.monotonic()
        elif time.monotonic() - heard_at > timeouts.silent_seconds:
            problem = StreamError(
                f"{server.name} kept the connection open for {in_seconds(timeouts.silent_seconds)} and said nothing.",
                "Try again, or choose another model.",
            )
            break
    if decoder.is_ended:
        # The last bytes are usually here already; reading them keeps the connection for the next request.
        with suppress(httpx.HTTPError, TimeoutError):
            async with asyncio.timeout(_AFTER_END_SECONDS):
                while await anext(parts, b""):
                    pass
    if decoder.is_whole:
        yield _finish(decoder, server.name)
        return
    if problem is None and not has_frames and head and not head.startswith(_FIELDS):
        content_type = response.headers.get("content-type", "")
        problem = _faults.read_wrong_content(server, model, content_type, bytes(document or head))
    if problem is None:
        where = "in the middle" if has_frames else "before it began"
        problem = StreamError(f"{server.name} ended its answer {where}.", "Try again.")
    if not _has_completed_block(decoder):
        raise problem
    yield _finish(decoder, server.name, in_few_words(problem, server.name))


def _decode(frames: list[tuple[bytes, bytes]], decoder: Decoder, name: str) -> list[ProviderEvent]:
    """The events of one read. Raises ProtocolError where a frame is no JSON object, or holds something of another kind than the
    format has there."""
    if not frames:
        return []
    is_last = False
    if frames[-1][1] == b"[DONE]":
        is_last = True
        frames = [frame for frame in frames if frame[1] != b"[DONE]"]
    values: Any
    try:
        # All frames of a read are one parse.
        values = json.loads(b"[%s]" % b",".join([data for _, data in frames]))
    except (ValueError, RecursionError):
        values = None
    if values is None or len(values) != len(frames):
        frames = [frame for frame in frames if frame[1].strip() and frame[1] != b"[DONE]"]
        values = [_read_frame(data, name) for _, data in frames]
    pairs = [(frame[0], value) for frame, value in zip(frames, values, strict=True) if value and type(value) is dict]
    events = _feed(pairs, decoder, name)
    if is_last:
        decoder.end()
    return events


def _decode_document(document: bytes, decoder: Decoder, name: str) -> list[ProviderEvent]:
    """The events of an answer in one piece, from a server that takes no notice of ``stream``; none where it is no answer."""
    try:
        answer = json.loads(document.lstrip(_BLANK).decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return []
    if not isinstance(answer, dict) or answer.get("error"):
        return []
    try:
        frames = decoder.unfold(answer)
    except _STRANGE as error:
        raise _strange(name, error) from error
    events = _feed(frames, decoder, name)
    if frames:
        decoder.end()
    return events


def _feed(frames: list[tuple[bytes, dict[str, Any]]], decoder: Decoder, name: str) -> list[ProviderEvent]:
    try:
        events = decoder.feed(frames)
        _check_texts(text for event in events for text in _texts_of_event(event))
        return events
    except _STRANGE as error:
        raise _strange(name, error) from error


def _has_completed_block(decoder: Decoder) -> bool:
    try:
        return decoder.has_completed_block
    except _STRANGE:
        return False


def _finish(decoder: Decoder, name: str, incomplete: str = "") -> MessageFinished:
    try:
        finished = decoder.finish(incomplete)
        _check_texts(_texts_of_message(finished.message))
    except _STRANGE as error:
        raise _strange(name, error) from error
    return finished if isinstance(finished.model, str) else replace(finished, model="")


def _check_texts(values: Iterable[object]) -> None:
    """Raises TypeError. JSON has more kinds of values than a format has places for, and types say nothing of a server."""
    wrong = next((value for value in values if not isinstance(value, str)), "")
    if not isinstance(wrong, str):
        raise TypeError(f"{type(wrong).__name__} in the place of text")


def _texts_of_event(event: ProviderEvent) -> Iterator[object]:
    match event:
        case TextDelta() | ThinkingDelta():
            yield event.text
        case ToolCallDelta():
            yield from (event.call_id, event.name, event.arguments)


def _texts_of_message(message: Message) -> Iterator[object]:
    for block in message.content:
        match block:
            case TextBlock():
                yield block.text
            case ThinkingBlock():
                yield from (block.text, block.signature, block.redacted)
            case ToolCall():
                yield from (block.id, block.name)


def _strange(name: str, error: Exception) -> ProtocolError:
    return ProtocolError(
        f"{name} sent an answer that its API does not know ({error}).", "Check the base URL and the API, or try again."
    )


def _read_frame(data: bytes, name: str) -> Any:
    try:
        return json.loads(data.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        raise ProtocolError(
            f"{name} sent an event that is no JSON: {data[:60].decode('utf-8', 'replace')!r}.",
            "Check the base URL and the API, or try again.",
        ) from None


def in_few_words(error: ProviderError, name: str) -> str:
    """For a notice: the error's line without its full stop."""
    if isinstance(error, RateLimitError):
        return f"rate limited by {name}"
    if isinstance(error, OverloadedError):
        return f"{name} is overloaded"
    return error.message.rstrip(".")


def in_seconds(value: float) -> str:
    """``0.5 s``, ``30 s``, ``5 minutes``, ``3 hours``."""
    if value >= 120:
        minutes = round(value / 60)
        return f"{minutes} minutes" if minutes < 120 else f"{round(minutes / 60)} hours"
    return f"{value:.2g} s" if value < 10 else f"{value:.0f} s"
