"""The way bytes travel: httpx's requests and responses, with a transport of ours for direct connections.

httpx takes a transport in place of its own, and two things speak for that here. Servers send a stream of tokens as one
HTTP chunk per token, and httpx's own stack spends some 50 µs of Python on each, where here all chunks of one network
read are one piece. And its stack asks which async library runs on every lock it makes, and has to be imported first:
together half a millisecond per request and some 25 ms before the first one, measured against a server on the same machine.
Its client above the transport (cookies, redirects, hooks: none is wanted here) takes another 0.2 ms per request.

The transport speaks HTTP/1.1 over asyncio's streams: TLS, keep-alive, chunked and counted bodies. Where a proxy is
configured the stock httpx client is behind it. This module imports httpx at its top: it is imported when the first
request is about to be sent.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

import httpx

from claw_kernel.errors import SettingsError
from claw_kernel.providers.settings import Timeouts

_KEEPALIVE_SECONDS = 60.0
"""Tools run between two requests; a new TLS connection costs two round trips. Hosted providers keep theirs longer."""
_READ_BYTES = 256 * 1024
_LONGEST_HEAD_BYTES = 256 * 1024
_LONGEST_SIZE_LINE = 1024
_SMALL_BODY_BYTES = 64 * 1024
_HAPPY_EYEBALLS_SECONDS = 0.25
"""RFC 8305: how long IPv6 is tried before IPv4 is tried beside it."""


def open_transport(
    base_url: str, env: Mapping[str, str], timeouts: Timeouts, ca_file: str = ""
) -> httpx.AsyncBaseTransport:
    """The way to one server. Redirects are never followed: a key must not travel to another host. Raises SettingsError for a
    ``ca_file`` that cannot be read."""
    parts = urlsplit(base_url)
    context = None
    if parts.scheme == "https":
        context = httpx.create_ssl_context()  # the usual certificates, or SSL_CERT_FILE
        if ca_file:
            _load(context, ca_file)
    if not is_loopback(parts.hostname) and _has_proxy(env):
        return _Proxied(timeouts.connect_seconds, context)
    if context is not None:
        context.set_alpn_protocols(["http/1.1"])
    return _Direct(timeouts.connect_seconds, context)


def _load(context: ssl.SSLContext, ca_file: str) -> None:
    try:
        context.load_verify_locations(Path(ca_file).expanduser())
    except (OSError, ssl.SSLError) as error:
        why = error.strerror or error
        raise SettingsError(
            f"ca_file {ca_file} cannot be used: {why}.", "Name a file with certificates (PEM)."
        ) from None


def is_loopback(host: str | None) -> bool:
    return host is not None and (host == "localhost" or host == "::1" or host.startswith("127."))


def _has_proxy(env: Mapping[str, str]) -> bool:
    return any(value and name.lower() in {"http_proxy", "https_proxy", "all_proxy"} for name, value in env.items())


class _Proxied(httpx.AsyncBaseTransport):
    """Through the proxy that the environment names."""

    def __init__(self, connect_seconds: float, context: ssl.SSLContext | None) -> None:
        # Silence on a stream is watched by the reader of the stream, which knows what it waits for.
        limits = httpx.Timeout(None, connect=connect_seconds)
        self._client = httpx.AsyncClient(timeout=limits, follow_redirects=False, verify=context or True)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Raises the exceptions of httpx."""
        own = self._client.build_request(request.method, request.url, headers=request.headers, content=request.content)
        return await self._client.send(own, stream=True)

    async def aclose(self) -> None:
        await self._client.aclose()


class _Direct(httpx.AsyncBaseTransport):
    """Connections to one server. A connection carries one request at a time and is kept for the next."""

    def __init__(self, connect_seconds: float, context: ssl.SSLContext | None) -> None:
        self._connect_seconds, self._context = connect_seconds, context
        self._idle: list[_Connection] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Raises the exceptions of httpx."""
        if user := request.url.userinfo:
            request.headers["authorization"] = f"Basic {b64encode(unquote_to_bytes(user)).decode()}"
        connection = self._take_idle()
        if connection is not None:
            try:
                return await self._send(connection, request)
            except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError):
                if connection.has_answered:
                    raise
                # The server closed the kept connection at the same moment: a new one, at once.
        return await self._send(await self._connect(request), request)

    async def aclose(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _take_idle(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable():
                return connection
            connection.close()
        return None

    async def _connect(self, request: httpx.Request) -> _Connection:
        url = request.url
        host = url.raw_host.decode("ascii")
        try:
            async with asyncio.timeout(self._connect_seconds):
                streams = await asyncio.open_connection(
                    host,
                    url.port or (443 if url.scheme == "https" else 80),
                    limit=_READ_BYTES,
                    happy_eyeballs_delay=_HAPPY_EYEBALLS_SECONDS,
                    ssl=self._context,
                    server_hostname=host if self._context is not None else None,
                )
        except TimeoutError as error:
            raise httpx.ConnectTimeout("no connection in time", request=request) from error
        except OSError as error:
            raise httpx.ConnectError(str(error), request=request) from error
        return _Connection(*streams, self._idle)

    async def _send(self, connection: _Connection, request: httpx.Request) -> httpx.Response:
        try:
            status, headers = await connection.exchange_heads(request)
        except OSError as error:
            connection.close()
            raise httpx.ReadError(str(error), request=request) from error
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
            connection.close()
            raise httpx.RemoteProtocolError("the server sent no HTTP response", request=request) from error
        except BaseException:  # cancelled: nothing of this connection can be used again
            connection.close()
            raise
        return httpx.Response(status, headers=headers, stream=_Body(connection), request=request)


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, idle: list[_Connection]) -> None:
        self._reader = reader
        self._writer = writer
        self._idle = idle
        self._idle_since = 0.0
        self._is_kept = False
        self._length: int | None = None
        self._chunks: _Chunks | None = None
        self._is_read = False
        self.has_answered = False

    def is_usable(self) -> bool:
        is_open = not (self._reader.at_eof() or self._writer.is_closing())
        return is_open and time.monotonic() - self._idle_since < _KEEPALIVE_SECONDS

    def close(self) -> None:
        """At once, without waiting for what was not sent."""
        self._writer.transport.abort()

    async def exchange_heads(self, request: httpx.Request) -> tuple[int, list[tuple[bytes, bytes]]]:
        """Send the request and read the response's head. Raises OSError, ValueError, IncompleteReadError, LimitOverrunError."""
        self.has_answered = self._is_read = False
        head = b"%s %s HTTP/1.1\r\n" % (request.method.encode("ascii"), request.url.raw_path)
        head += b"".join([b"%s: %s\r\n" % header for header in request.headers.raw]) + b"\r\n"
        if len(request.content) <= _SMALL_BODY_BYTES:
            self._writer.write(head + request.content)
        else:
            self._writer.write(head)
            self._writer.write(request.content)
        await self._writer.drain()
        while True:
            head = await self._reader.readuntil(b"\r\n\r\n")
            self.has_answered = True
            version, status, headers = _read_head(head)
            if not 100 <= status < 200:  # 1xx come before the response
                break
        self._choose_framing(version, status, headers)
        return status, headers

    def _choose_framing(self, version: bytes, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        fields = {name.lower(): value.strip().lower() for name, value in headers}
        said = fields.get(b"connection", b"")
        self._is_kept = b"close" not in said and (version == b"HTTP/1.1" or b"keep-alive" in said)
        self._chunks = None
        self._length = None
        if b"chunked" in fields.get(b"transfer-encoding", b""):
            self._chunks = _Chunks()
        elif b"content-length" in fields:
            if not fields[b"content-length"].isdigit():
                raise ValueError("a length that is none")
            self._length = int(fields[b"content-length"])
        elif status in {204, 304}:
            self._length = 0
        else:
            self._is_kept = False  # the body ends with the connection

    async def read_body(self) -> AsyncIterator[bytes]:
        """The body in the pieces the network gives. Raises httpx.ReadError and httpx.RemoteProtocolError."""
        chunks = self._chunks
        while self._length != 0 and not (chunks and chunks.is_ended):
            try:
                data = await self._reader.read(_READ_BYTES)
            except OSError as error:
                raise httpx.ReadError(str(error)) from error
            if not data:
                if chunks is not None or self._length is not None:
                    raise httpx.RemoteProtocolError("the connection ended within a response")
                break
            if chunks is not None:
                data = chunks.feed(data)
                if not data:
                    continue
            elif self._length is not None:
                self._is_kept = self._is_kept and len(data) <= self._length
                data = data[: self._length]
                self._length -= len(data)
            yield data
        self._is_read = True
        self._idle_since = time.monotonic()
        if chunks is not None and chunks.has_rest:
            self._is_kept = False

    def release(self) -> None:
        """The response was closed: keep the connection where the response was read to its end."""
        if self._is_read and self._is_kept:
            self._is_read = False
            self._idle.append(self)
        else:
            self.close()


class _Body(httpx.AsyncByteStream):
    def __init__(self, connection: _Connection) -> None:
        self._connection: _Connection | None = connection

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._connection is not None:
            async for part in self._connection.read_body():
                yield part

    async def aclose(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.release()


def _read_head(head: bytes) -> tuple[bytes, int, list[tuple[bytes, bytes]]]:
    """Version, status and headers. Raises ValueError for what is no HTTP response."""
    first, *lines = head[:-4].split(b"\r\n")
    version, _, rest = first.partition(b" ")
    if version not in {b"HTTP/1.1", b"HTTP/1.0"}:
        raise ValueError("no HTTP response")
    headers = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon:
            raise ValueError("a header without a colon")
        headers.append((name, value.strip()))
    return version, int(rest[:3]), headers


class _Chunks:
    """A chunked body from what the network gives, all chunks of one read joined."""

    def __init__(self) -> None:
        self.is_ended = False
        self.has_rest = False
        """Bytes came after the end: the connection is out of step."""
        self._buffer = b""
        self._left = 0  # bytes of the current chunk still to come
        self._is_after_payload = False  # the line end after a chunk's bytes comes next
        self._is_last = False  # the chunk of size 0 was read; trailers follow

    def feed(self, data: bytes) -> bytes:
        """The payload in ``data``; an unfinished size line is kept. Raises httpx.RemoteProtocolError."""
        data = self._buffer + data if self._buffer else data
        parts: list[bytes] = []
        position, end, left, is_after_payload = 0, len(data), self._left, self._is_after_payload
        while position < end and not self._is_last:
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
            if line_end < 0:
                if end - start > _LONGEST_SIZE_LINE:
                    raise httpx.RemoteProtocolError("a chunk without a size")
                break
            line = data[start:line_end]
            try:
                left = int(line.split(b";", 1)[0] if b";" in line else line, 16)
            except ValueError as error:
                raise httpx.RemoteProtocolError("a chunk without a size") from error
            position = line_end + 2
            is_after_payload = False
            self._is_last = left <= 0
        if self._is_last:
            rest = data[position:]
            trailers_end = 0 if rest.startswith(b"\r\n") else rest.find(b"\r\n\r\n") + 2
            if rest.startswith(b"\r\n") or trailers_end > 1:
                self.is_ended = True
                self.has_rest = len(rest) > trailers_end + 2
            elif len(rest) > _LONGEST_HEAD_BYTES:
                raise httpx.RemoteProtocolError("trailers without an end")
        self._left, self._is_after_payload, self._buffer = left, is_after_payload, data[position:]
        return parts[0] if len(parts) == 1 else b"".join(parts)
