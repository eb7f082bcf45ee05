"""HTTP/1.1 on one connection, over asyncio's streams, in httpx's terms: keep-alive, chunked and counted bodies."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator

import httpx

READ_BYTES = 256 * 1024
KEEPALIVE_SECONDS = 60.0
"""Tools run between two requests; a new TLS connection costs two round trips. Hosted providers keep theirs longer."""
_LONGEST_HEAD_BYTES = 256 * 1024
_LONGEST_SIZE_LINE = 1024
_SMALL_BODY_BYTES = 64 * 1024


class Connection:
    """Carries one request at a time. ``idle``: where it waits for the next one."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, idle: list[Connection]) -> None:
        self._reader = reader
        self._writer = writer
        self._idle = idle
        self._idle_since = 0.0
        self.has_answered = False

    def is_usable(self) -> bool:
        is_open = not (self._reader.at_eof() or self._writer.is_closing())
        return is_open and time.monotonic() - self._idle_since < KEEPALIVE_SECONDS

    def keep(self) -> None:
        """For the next request."""
        self._idle_since = time.monotonic()
        self._idle.append(self)

    def close(self) -> None:
        """At once, without waiting for what was not sent."""
        self._writer.transport.abort()

    async def exchange(self, request: httpx.Request) -> httpx.Response:
        """Send a request and read the response's head. Raises ``httpx.TransportError``."""
        self.has_answered = False
        try:
            head, body = _write_head(request), await request.aread()
            if len(body) <= _SMALL_BODY_BYTES:
                self._writer.write(head + body)
            else:
                self._writer.write(head)
                self._writer.write(body)
            await self._writer.drain()
            while True:
                answer = await self._reader.readuntil(b"\r\n\r\n")
                self.has_answered = True
                version, status, headers, told = _read_head(answer)
                if not 100 <= status < 200:  # 1xx come before the response
                    break
            stream = _Body(self, self._reader, version, status, told)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
            self.close()
            raise httpx.RemoteProtocolError("the server sent no HTTP response") from error
        except OSError as error:
            self.close()
            raise httpx.NetworkError(str(error)) from error
        except BaseException:  # cancelled, for instance: nothing of this connection can be used again
            self.close()
            raise
        return httpx.Response(status, headers=headers, stream=stream, extensions={"http_version": version})


class _Body(httpx.AsyncByteStream):
    """The body of one response. Once it is closed its connection is kept, if it was read to its end, for the next request."""

    def __init__(
        self,
        connection: Connection,
        reader: asyncio.StreamReader,
        version: bytes,
        status: int,
        told: dict[bytes, bytes],
    ) -> None:
        """``told``: the headers by name in lower case. Raises ValueError where they do not say how long the body is."""
        self._connection: Connection | None = connection
        self._reader = reader
        self._is_read = False
        said = told.get(b"connection", b"").lower()
        self._is_kept = b"close" not in said and (version == b"HTTP/1.1" or b"keep-alive" in said)
        self._chunks: _Chunks | None = None
        self._left: int | None = None
        """Bytes of a counted body still to come."""
        length = told.get(b"content-length", b"")
        if b"chunked" in told.get(b"transfer-encoding", b"").lower():
            self._chunks = _Chunks()
        elif length:
            if not length.isdigit():
                raise ValueError("a length that is none")
            self._left = int(length)
        elif status in {204, 304}:
            self._left = 0
        else:
            self._is_kept = False  # the body ends with the connection

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        """In the pieces the network gives. Raises ``httpx.TransportError``."""
        chunks = self._chunks
        while self._left != 0 and not (chunks and chunks.is_ended):
            try:
                data = await self._reader.read(READ_BYTES)
            except OSError as error:
                raise httpx.ReadError(str(error)) from error
            if not data:
                if chunks is not None or self._left is not None:
                    raise httpx.RemoteProtocolError("the connection ended within a response")
                break
            if chunks is not None:
                data = chunks.feed(data)
                if not data:
                    continue
            elif self._left is not None:
                self._is_kept = self._is_kept and len(data) <= self._left
                data = data[: self._left]
                self._left -= len(data)
            yield data
        self._is_read = True
        if chunks is not None and chunks.has_rest:
            self._is_kept = False

    async def aclose(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            if self._is_read and self._is_kept:
                connection.keep()
            else:
                connection.close()


def _write_head(request: httpx.Request) -> bytes:
    """Raises ``httpx.LocalProtocolError`` for a header that would be two."""
    fields = [b"%s: %s" % field for field in request.headers.raw]
    head = b"\r\n".join([b"%s %s HTTP/1.1" % (request.method.encode(), request.url.raw_path), *fields, b"", b""])
    if not head.count(b"\r") == head.count(b"\n") == len(fields) + 2:
        raise httpx.LocalProtocolError("a header with a line break in it")
    return head


def _read_head(head: bytes) -> tuple[bytes, int, list[tuple[bytes, bytes]], dict[bytes, bytes]]:
    """Version, status, and the headers as they came and by name in lower case, the last of a name. Raises ValueError for what is
    no HTTP response."""
    first, *lines = head[:-4].split(b"\r\n")
    version, _, rest = first.partition(b" ")
    if version not in {b"HTTP/1.1", b"HTTP/1.0"}:
        raise ValueError("no HTTP response")
    headers: list[tuple[bytes, bytes]] = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon:
            raise ValueError("a header without a colon")
        headers.append((name, value.strip()))
    return version, int(rest[:3]), headers, {name.lower(): value for name, value in headers}


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
        """The payload in ``data``; an unfinished size line is kept. Raises ``httpx.RemoteProtocolError``."""
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
