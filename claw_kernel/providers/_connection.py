"""HTTP/1.1 on one connection, over asyncio's streams: keep-alive, chunked and counted bodies."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping

READ_BYTES = 256 * 1024
_KEEPALIVE_SECONDS = 60.0
"""Tools run between two requests; a new TLS connection costs two round trips. Hosted providers keep theirs longer."""
_LONGEST_HEAD_BYTES = 256 * 1024
_LONGEST_SIZE_LINE = 1024
_SMALL_BODY_BYTES = 64 * 1024
_GZIP_BEGINS = b"\x1f\x8b"
"""No text begins so: some gateways compress without saying it (RFC 1952)."""


class BrokenResponseError(OSError):
    """What came is no HTTP response, or ends within one."""


class AddressError(ValueError):
    """A URL that cannot be the address of a server."""


class ConnectTimeoutError(OSError):
    """The server, or the proxy, did not take the connection in time."""


class Response:
    """``headers``: names in lower case. Closed by whoever got it."""

    def __init__(
        self,
        status: int,
        headers: Mapping[str, str],
        body: AsyncIterator[bytes],
        release: Callable[[], Awaitable[None]],
    ) -> None:
        """``release`` is called once."""
        self.status = status
        self.headers = headers
        self._body = body
        self._release: Callable[[], Awaitable[None]] | None = release

    async def parts(self) -> AsyncGenerator[bytes, None]:
        """The body as it comes, in pieces that are not empty, unpacked where it is compressed. Raises OSError."""
        unpack: Callable[[bytes], bytes] | None = None
        is_first = True
        async for part in self._body:
            if is_first:
                is_first = False
                is_packed = self.headers.get("content-encoding", "") in {"gzip", "x-gzip", "deflate"}
                unpack = _unpacking() if is_packed or part.startswith(_GZIP_BEGINS) else None
            if data := unpack(part) if unpack is not None else part:
                yield data

    async def aclose(self) -> None:
        """Keeps the connection for the next request where the body was read to its end."""
        release, self._release = self._release, None
        if release is not None:
            await release()


class Connection:
    """Carries one request at a time. ``idle``: where it waits for the next one."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, idle: list[Connection]) -> None:
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

    async def exchange(self, head: bytes, body: bytes) -> Response:
        """Send a request and read the response's head. Raises OSError."""
        self.has_answered = self._is_read = False
        try:
            if len(body) <= _SMALL_BODY_BYTES:
                self._writer.write(head + body)
            else:
                self._writer.write(head)
                self._writer.write(body)
            await self._writer.drain()
            while True:
                answer = await self._reader.readuntil(b"\r\n\r\n")
                self.has_answered = True
                version, status, headers = _read_head(answer)
                if not 100 <= status < 200:  # 1xx come before the response
                    break
            self._choose_framing(version, status, headers)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
            self.close()
            raise BrokenResponseError("the server sent no HTTP response") from error
        except BaseException:  # lost or cancelled: nothing of this connection can be used again
            self.close()
            raise
        return Response(status, headers, self._read_body(), self._release)

    def _choose_framing(self, version: bytes, status: int, headers: Mapping[str, str]) -> None:
        said = headers.get("connection", "").lower()
        self._is_kept = "close" not in said and (version == b"HTTP/1.1" or "keep-alive" in said)
        self._chunks = None
        self._length = None
        length = headers.get("content-length", "")
        if "chunked" in headers.get("transfer-encoding", "").lower():
            self._chunks = _Chunks()
        elif length:
            if not (length.isascii() and length.isdigit()):
                raise ValueError("a length that is none")
            self._length = int(length)
        elif status in {204, 304}:
            self._length = 0
        else:
            self._is_kept = False  # the body ends with the connection

    async def _read_body(self) -> AsyncGenerator[bytes, None]:
        """The body in the pieces the network gives. Raises OSError."""
        chunks = self._chunks
        while self._length != 0 and not (chunks and chunks.is_ended):
            data = await self._reader.read(READ_BYTES)
            if not data:
                if chunks is not None or self._length is not None:
                    raise BrokenResponseError("the connection ended within a response")
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

    async def _release(self) -> None:
        """The response was closed: keep the connection where the response was read to its end."""
        if self._is_read and self._is_kept:
            self._is_read = False
            self._idle.append(self)
        else:
            self.close()


def _unpacking() -> Callable[[bytes], bytes]:
    import zlib

    either = 32 + zlib.MAX_WBITS  # a header of gzip or of zlib, with the largest window
    decompress = zlib.decompressobj(either).decompress

    def unpack(part: bytes) -> bytes:
        try:
            return decompress(part)
        except zlib.error as error:
            raise BrokenResponseError("what came cannot be unpacked") from error

    return unpack


def _read_head(head: bytes) -> tuple[bytes, int, dict[str, str]]:
    """Version, status and headers, names in lower case, the last of a name. Raises ValueError for what is no HTTP response."""
    first, *lines = head[:-4].split(b"\r\n")
    version, _, rest = first.partition(b" ")
    if version not in {b"HTTP/1.1", b"HTTP/1.0"}:
        raise ValueError("no HTTP response")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon:
            raise ValueError("a header without a colon")
        headers[name.lower()] = value.strip()
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
        """The payload in ``data``; an unfinished size line is kept. Raises BrokenResponseError."""
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
                    raise BrokenResponseError("a chunk without a size")
                break
            line = data[start:line_end]
            try:
                left = int(line.split(b";", 1)[0] if b";" in line else line, 16)
            except ValueError as error:
                raise BrokenResponseError("a chunk without a size") from error
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
                raise BrokenResponseError("trailers without an end")
        self._left, self._is_after_payload, self._buffer = left, is_after_payload, data[position:]
        return parts[0] if len(parts) == 1 else b"".join(parts)
