"""Sending a request over HTTP until its answer is there: one client, retries, what is said meanwhile (``_stream.py`` reads it)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from claw_kernel.errors import (
    ContextOverflowError,
    NetworkError,
    ProtocolError,
    ProviderError,
    StreamError,
)
from claw_kernel.messages import (
    ContentBlock,
    Message,
    MessageFinished,
    ModelRequest,
    ProviderEvent,
    ProviderNotice,
    StreamRestarted,
    TextBlock,
    ThinkingBlock,
    ToolCall,
    Usage,
    UsageCounted,
)
from claw_kernel.providers import _faults
from claw_kernel.providers._faults import Server
from claw_kernel.providers._leaked import take_leaked_calls
from claw_kernel.providers._stream import in_few_words, in_seconds, read_answer
from claw_kernel.providers._wire import KeptMessages, WireFormat, without_images
from claw_kernel.providers.settings import ProviderSettings
from claw_kernel.proxies import is_loopback

if TYPE_CHECKING:
    import httpx

_LONGEST_ERROR_BYTES = 64 * 1024
_BYTES_PER_TOKEN = 4
"""Of English and code; other text has more tokens, so a request that is too long by this is too long."""
_UNWRITTEN = "(cut off before its arguments)"
_LEAST_CUT_TOKENS = 2_048
"""The smallest window a server was ever seen to load a model with unless it was told to."""


class HttpProvider:
    """A provider: one server, one wire format. Errors, retries and time-outs as ``Provider.stream`` promises."""

    def __init__(self, server: Server, wire: WireFormat, settings: ProviderSettings) -> None:
        self.name = server.name
        self._server = server
        self._wire = wire
        self._settings = settings
        self._env, self._ca_file = settings.env, settings.ca_file
        self._untold: set[str] = set()
        self._windows: dict[str, int | None] = {}
        self._timeouts = settings.timeouts
        self._retries = settings.retries
        self._blind = KeptMessages(without_images)
        self._headers = {
            "content-type": "application/json",
            "accept": "text/event-stream",
            # Compressing a stream of tokens delays them; what comes compressed all the same is unpacked.
            "accept-encoding": "identity",
            "user-agent": "claw-jupyter",
            "connection": "keep-alive",
        }
        self._transport: httpx.AsyncBaseTransport | None = None

    async def aclose(self) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.aclose()

    async def stream(self, request: ModelRequest) -> AsyncIterator[ProviderEvent]:
        """See ``Provider.stream``. Sends at most ``1 + Retries.limit`` requests, and one more where the output limit left the
        prompt no room."""
        request = self._fitted(request)
        if untold := self._untold_effort(request):
            yield ProviderNotice(untold)
        body = self._wire.body(request)
        attempt = 0
        is_shortened = has_lacked = False
        while True:
            has_deltas = False
            counted: Usage | None = None
            try:
                async with aclosing(self._attempt(request, body)) as events:
                    async for event in events:
                        if isinstance(event, UsageCounted):
                            counted = replace(event.usage, is_least=True)
                        else:
                            has_deltas = True
                        if isinstance(event, MessageFinished):
                            event = self._mended(event, request)  # noqa: PLW2901
                            if lack := _find_lack(event, request):
                                if not has_lacked and attempt < self._retries.limit:
                                    has_lacked, counted = True, event.usage
                                    raise StreamError(f"{self.name} {lack}.", "Try again.")
                                yield ProviderNotice(f"{self.name} {lack}")
                            if event.stop == "tool_use" and not _has_calls(event):
                                event = replace(event, stop="end_turn")  # noqa: PLW2901
                            if cut := await self._cut_notice(request.model, body):
                                yield cut
                        yield event
                return
            except ProviderError as error:
                if counted is not None:
                    yield UsageCounted(counted, is_lost=True)
                room = error.room_tokens if isinstance(error, ContextOverflowError) else None
                if room and room < request.max_tokens and not is_shortened:
                    is_shortened = True
                    request = replace(request, max_tokens=room)
                    body = self._wire.body(request)
                    yield ProviderNotice(f"the answer may have {room} tokens: the conversation fills the rest")
                    continue
                if not error.is_retryable:
                    raise
                # An answer that is no stream at all will hardly be one the third time.
                limit = min(1, self._retries.limit) if isinstance(error, ProtocolError) else self._retries.limit
                if attempt >= limit:
                    raise _give_up(error, attempt + 1) from error
                wait_seconds = self._wait_seconds(error, attempt)
                attempt += 1
                reason = in_few_words(error, self.name)
            if has_deltas:
                yield StreamRestarted(reason)
            yield ProviderNotice(
                f"{reason}; trying again in {in_seconds(wait_seconds)} ({attempt}/{limit})", is_passing=True
            )
            await asyncio.sleep(wait_seconds)

    def _fitted(self, request: ModelRequest) -> ModelRequest:
        """What the catalogue says of the model: no longer answer than it can give, no images for one that sees none."""
        card = self._server.card(request.model)
        if card.output_limit is not None and card.output_limit < request.max_tokens:
            request = replace(request, max_tokens=card.output_limit)
        if card.has_images is False:
            request = replace(request, messages=self._blind(request.messages))
        return request

    def _untold_effort(self, request: ModelRequest) -> str:
        """Said once of each model: that it is not told how much to think."""
        model = request.model
        if request.effort is None or model in self._untold or not self._wire.is_ignoring_effort(request):
            return ""
        self._untold.add(model)
        hint = (
            ""
            if self._server.card(model).has_thinking is not None
            else "; if it is, say so under `models` in the settings"
        )
        return f"{self.name}/{model} is not known to be told how much to think, so effort {request.effort} changes nothing{hint}"

    def _mended(self, finished: MessageFinished, request: ModelRequest) -> MessageFinished:
        """With calls that the server left in the text taken out of it, without halves of characters, and without a call that
        seems to be whole only because nothing of its arguments was written before the limit."""
        content = tuple([_whole(block) for block in finished.message.content])
        if finished.stop == "refusal":  # what a filter has stopped is not to be acted on
            content = tuple([block for block in content if not isinstance(block, ToolCall)])
        last = content[-1] if content else None
        if isinstance(last, ToolCall) and finished.stop in {"max_tokens", "context_overflow"} and last.input == {}:
            content = (*content[:-1], replace(last, malformed=last.malformed or _UNWRITTEN))
        if finished.incomplete or not content or not isinstance(content[-1], TextBlock):
            return replace(finished, message=Message("assistant", content))
        last = content[-1]
        text, calls = take_leaked_calls(last.text, {tool.name for tool in request.tools})
        if not calls:
            return replace(finished, message=Message("assistant", content))
        before = (*content[:-1], replace(last, text=text)) if text else content[:-1]
        return replace(finished, message=Message("assistant", (*before, *calls)), stop="tool_use")

    async def _cut_notice(self, model: str, body: bytes) -> ProviderNotice | None:
        """Said where a server that drops what does not fit must have dropped something: its answer rests on a part."""
        tokens = len(body) // _BYTES_PER_TOKEN
        if not self._server.known.dialect.cuts_silently or tokens < _LEAST_CUT_TOKENS or b'"image_url"' in body:
            return None
        if model not in self._windows:
            from claw_kernel.providers.local import ask_context_window

            self._windows[model] = await ask_context_window(f"{self.name}/{model}", self._settings, is_loaded=True)
        window = self._windows[model]
        if window is None or tokens <= window:
            return None
        return ProviderNotice(
            f"{self.name} has {model} loaded with a window of {window} tokens and dropped what did not fit of this conversation; "
            f"start it with OLLAMA_CONTEXT_LENGTH={max(32_768, 2 * window)}"
        )

    def _wait_seconds(self, error: ProviderError, attempt: int) -> float:
        import random

        retries = self._retries
        wait: float = min(retries.first_seconds * 2.0**attempt, retries.longest_seconds)
        wait *= 1 - retries.jitter * random.random()  # noqa: S311 - spreading load, not hiding anything
        floor = error.retry_after_seconds or 0.0
        if floor > retries.patience_seconds:
            error.message = f"{error.message.rstrip('.')}; it asks to wait {in_seconds(floor)}."
            error.remedy = f"Run the cell again in {in_seconds(floor)}, or choose another model."
            error.args = (error.message,)
            raise error
        return max(wait, floor)

    async def _send(self, request: ModelRequest, body: bytes) -> httpx.Response:
        from claw_kernel.providers._transport import make_request, open_transport

        if self._transport is None:
            self._transport = open_transport(self._server.base_url, self._env, self._ca_file)
        headers = {**self._headers, **self._wire.headers(request)}
        address = self._address(request.model)
        return await self._transport.handle_async_request(
            make_request("POST", address, headers, body, self._timeouts.connect_seconds)
        )

    def _address(self, model: str) -> str:
        server = self._server
        base, path = server.base_url.rstrip("/"), server.known.path
        if not path or self._wire.api != server.known.api or base.endswith("/v1"):
            return base + self._wire.path
        if "/deployments/" in base:  # the deployment is named already
            path = path.partition("{model}")[2]
        return base + path.replace("{model}", quote(model, safe="")).replace("{version}", quote(server.version))

    def _first_byte_seconds(self) -> float:
        timeouts = self._timeouts
        if is_loopback(urlsplit(self._server.base_url).hostname):
            return max(timeouts.first_byte_seconds, timeouts.local_first_byte_seconds)
        return timeouts.first_byte_seconds

    async def _attempt(self, request: ModelRequest, body: bytes) -> AsyncGenerator[ProviderEvent, None]:
        """One request: its deltas and its ``MessageFinished``, or the ``ProviderError`` that ended it."""
        import httpx

        first_byte = self._first_byte_seconds()
        response: httpx.Response | None = None
        try:
            async with asyncio.timeout(first_byte):
                response = await self._send(request, body)
                if response.status_code != 200:
                    raise _faults.read_status(
                        self._server, request.model, response.status_code, response.headers, await _read_some(response)
                    )
                content_type = response.headers.get("content-type", "")
                if "html" in content_type:
                    raise _faults.read_wrong_content(
                        self._server, request.model, content_type, await _read_some(response)
                    )
            decoder = self._wire.decoder(request)
            async with aclosing(
                read_answer(response, decoder, self._server, request.model, first_byte, self._timeouts)
            ) as events:
                async for event in events:
                    yield event
        except TimeoutError:
            raise StreamError(
                f"{self.name} at {self._server.shown} sent nothing for {in_seconds(first_byte)}.",
                "Try again, or choose another model.",
            ) from None
        except httpx.ConnectTimeout:
            raise NetworkError(
                f"{self._server.shown} cannot be reached: no connection within "
                f"{in_seconds(self._timeouts.connect_seconds)}.",
                "Check the network, the base URL and the proxy settings.",
            ) from None
        except httpx.InvalidURL as error:
            raise NetworkError(
                f"{self._server.shown} is no usable address: {error}.", "Check the base URL.", is_retryable=False
            ) from None
        except (httpx.HTTPError, OSError) as error:
            raise _faults.read_network(self._server, error) from error
        finally:
            if response is not None:
                await response.aclose()


def _whole(block: ContentBlock) -> ContentBlock:
    """Where servers cut a character of two UTF-16 units between two frames the halves are joined; a lone half is no character."""
    if not isinstance(block, TextBlock | ThinkingBlock) or block.text.isascii():
        return block
    try:
        block.text.encode()
    except UnicodeEncodeError:
        return replace(block, text=block.text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
    return block


def _find_lack(finished: MessageFinished, request: ModelRequest) -> str:
    """What is missing in an answer that nothing cut short: now and then models end before they begin, and servers lose calls."""
    if finished.incomplete or _has_calls(finished):
        return ""
    if finished.stop == "tool_use" and request.tools:
        return "announced a tool call and sent none"
    is_ended = finished.stop in {"end_turn", "tool_use", "other"}
    is_empty = all(isinstance(block, ThinkingBlock) for block in finished.message.content)
    return "answered with nothing" if is_ended and is_empty else ""


def _has_calls(finished: MessageFinished) -> bool:
    return any(isinstance(block, ToolCall) for block in finished.message.content)


async def _read_some(response: httpx.Response) -> bytes:
    from claw_kernel.providers._transport import read_parts

    body = b""
    async for part in read_parts(response):
        body += part
        if len(body) >= _LONGEST_ERROR_BYTES:
            break
    return body


def _give_up(error: ProviderError, attempts: int) -> ProviderError:
    error.message = f"{error.message.rstrip('.')}; gave up after {attempts} attempts."
    error.args = (error.message,)
    return error
