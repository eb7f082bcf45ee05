"""An httpx client whose cost is per network read, not per chunk of the server's.

Servers send a stream of tokens as one HTTP chunk per token, and the HTTP parser below httpx spends some 50 µs of
Python on each. ``_MergingStream`` sits between the socket and that parser and joins the chunks that arrived
together into one; httpcore offers the place for it (a network backend). Nothing else changes: TLS, pooling, keep-alive,
time-outs and cancellation are httpcore's. Where a proxy is configured the stock httpx client is used as it is.

This module imports httpx at its top: it is imported when the first request is about to be sent.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpcore
import httpx

from claw_kernel.providers.settings import Timeouts

_KEEPALIVE_SECONDS = 60.0
"""Tools run between two requests; a new TLS connection costs two round trips. Hosted providers keep theirs longer."""

_LONGEST_SIZE_LINE = 1024


def open_client(base_url: str, env: Mapping[str, str], timeouts: Timeouts) -> httpx.AsyncClient:
    """A client for one server. Redirects are never followed: a key must not travel to another host."""
    # Silence on a stream is watched by the reader of the stream, which knows what it waits for.
    limits = httpx.Timeout(None, connect=timeouts.connect_seconds)
    parts = urlsplit(base_url)
    if not is_loopback(parts.hostname) and _has_proxy(env):
        return httpx.AsyncClient(timeout=limits, follow_redirects=False)
    context = httpx.create_ssl_context() if parts.scheme == "https" else None
    return httpx.AsyncClient(transport=_Transport(context), timeout=limits, follow_redirects=False, trust_env=False)


def is_loopback(host: str | None) -> bool:
    return host is not None and (host == "localhost" or host == "::1" or host.startswith("127."))


def _has_proxy(env: Mapping[str, str]) -> bool:
    return any(value and name.lower() in {"http_proxy", "https_proxy", "all_proxy"} for name, value in env.items())


class _Transport(httpx.AsyncBaseTransport):
    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context,
            max_connections=None,
            keepalive_expiry=_KEEPALIVE_SECONDS,
            network_backend=_MergingBackend(),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.AsyncByteStream)
        url = request.url
        try:
            response = await self._pool.handle_async_request(
                httpcore.Request(
                    request.method,
                    httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        except Exception as error:
            raise _to_httpx(error) from error
        return httpx.Response(
            response.status,
            headers=response.headers,
            stream=_Body(response.stream),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        await self._pool.aclose()


class _Body(httpx.AsyncByteStream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._stream:
                yield part
        except Exception as error:
            raise _to_httpx(error) from error

    async def aclose(self) -> None:
        await self._stream.aclose()


def _to_httpx(error: Exception) -> Exception:
    """The two libraries name their exceptions alike."""
    same = getattr(httpx, type(error).__name__, None) if type(error).__module__.startswith("httpcore") else None
    return same(str(error)) if same is not None else error


class _MergingBackend(httpcore.AsyncNetworkBackend):
    def __init__(self) -> None:
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        stream = await self._backend.connect_tcp(host, port, timeout, local_address, socket_options)
        return _MergingStream(stream)

    async def sleep(self, seconds: float) -> None:
        await self._backend.sleep(seconds)


class _MergingStream(httpcore.AsyncNetworkStream):
    """Passes a response's head on as it is; in a chunked body, the chunks of one read become one chunk."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self._buffer = b""
        self._state = "head"
        self._left = 0  # bytes of the current chunk still to come
        self._is_after_payload = False  # the line end after a chunk's bytes comes next

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        if self._state != "head":
            self._state, self._buffer = "head", b""
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        return _MergingStream(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        while True:
            data = await self._stream.read(max_bytes, timeout)
            if not data or self._state == "rest":
                return data  # an early end is the parser's to judge
            if self._state == "head":
                return self._read_head(data)
            merged = self._merge(data)
            if merged:
                return merged

    def _read_head(self, data: bytes) -> bytes:
        """Pass ``data`` on; where the head ends in it, what follows is merged."""
        already = len(self._buffer)
        seen = self._buffer + data
        end = seen.find(b"\r\n\r\n")
        if end < 0:
            self._buffer = seen
            return data
        self._buffer = b""
        status, *lines = seen[:end].lower().split(b"\r\n")
        is_final = not status.startswith((b"http/1.1 1", b"http/1.0 1"))
        is_chunked = any(line.startswith(b"transfer-encoding:") and b"chunked" in line for line in lines)
        if not (is_final and is_chunked):
            self._state = "rest"
            return data
        self._state, self._left, self._is_after_payload = "chunks", 0, False
        return data[: end + 4 - already] + self._merge(seen[end + 4 :])

    def _merge(self, data: bytes) -> bytes:
        """The payload of all chunks in ``data`` as one chunk; an unfinished size line is kept for the next read."""
        data = self._buffer + data
        parts: list[bytes] = []
        position, end, left, is_after_payload, tail = 0, len(data), self._left, self._is_after_payload, b""
        while position < end:
            if left:
                part = data[position : position + left]
                parts.append(part)
                position += len(part)
                left -= len(part)
                is_after_payload = not left
                continue
            start = position
            if is_after_payload:
                if end - position < 2:
                    break
                start += 2
            line_end = data.find(b"\r\n", start)
            if line_end < 0 and end - start < _LONGEST_SIZE_LINE:
                break
            try:
                left = int(data[start:line_end].split(b";", 1)[0], 16) if line_end >= 0 else 0
            except ValueError:
                left = 0
            if left <= 0:  # the last chunk with its trailers, or nothing a chunk begins with: the parser judges
                self._state, tail, left = "rest", data[start:], 0
                position = end
                break
            is_after_payload = False
            position = line_end + 2
        self._left, self._is_after_payload, self._buffer = left, is_after_payload, data[position:]
        payload = b"".join(parts)
        return (b"%x\r\n%s\r\n" % (len(payload), payload) if payload else b"") + tail
