"""The way bytes travel to a server and back, as httpx's transports. Imported when the first request is about to be sent.

A model is spoken to with httpx's requests, responses and transports, below httpx's client: that would log each request into
the cells of whoever logs, keep cookies and read ``.netrc``. Through a proxy the transport is httpx's own. A direct connection has
one of ours (``_connection.py``): servers send a stream of tokens as one HTTP chunk per token, on each of which httpx's own
spends 20 µs of Python, where here all chunks of one network read are one piece; and 0.7 ms on each request.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping
from functools import lru_cache
from pathlib import Path

import httpx

from claw_kernel.errors import SettingsError
from claw_kernel.providers._connection import KEEPALIVE_SECONDS, READ_BYTES, Connection
from claw_kernel.proxies import proxy_for
from claw_kernel.settings import without_login

_HAPPY_EYEBALLS_SECONDS = 0.25
"""RFC 8305: how long IPv6 is tried before IPv4 is tried beside it."""
_PORTS = {"http": 80, "https": 443}
_GZIP_BEGINS = b"\x1f\x8b"
"""No text begins so: some gateways compress without saying it (RFC 1952)."""


def open_transport(base_url: str, env: Mapping[str, str], ca_file: str = "") -> httpx.AsyncBaseTransport:
    """The way to one server, by the proxy that ``env`` names for it. Redirects are never followed: a key must not travel to
    another host. Raises SettingsError for certificates that cannot be read and a proxy that cannot be asked, and
    ``httpx.InvalidURL``."""
    url = httpx.URL(base_url)
    proxy = proxy_for(url.scheme, url.raw_host.decode("ascii"), url.port, env)
    if proxy:
        return ProxiedTransport(proxy, _tls(env, ca_file))
    if url.scheme != "https":
        return DirectTransport()
    context = _tls(env, ca_file)
    context.set_alpn_protocols(["http/1.1"])
    return DirectTransport(context)


def make_request(
    method: str, url: str, headers: Mapping[str, str], body: bytes = b"", connect_seconds: float | None = None
) -> httpx.Request:
    """A name and password in ``url`` become a header. Silence is watched by the reader of a response, who knows what it waits
    for. Raises ``httpx.InvalidURL``."""
    address = _read_url(url)
    # With these two given there is nothing left for httpx to add, which would take longer than all the rest.
    fields = {"host": address.netloc.decode("ascii"), **headers, "content-length": str(len(body))}
    timeouts = {"connect": connect_seconds, "read": None, "write": None, "pool": None}
    request = httpx.Request(
        method, address, headers=fields, stream=httpx.ByteStream(body), extensions={"timeout": timeouts}
    )
    if address.userinfo:
        return next(httpx.BasicAuth(address.username, address.password).auth_flow(request))
    return request


_read_url = lru_cache(maxsize=8)(httpx.URL)
"""Reading one takes as long as the rest of a request, and a session has one or two."""


async def read_parts(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """The body as it comes, in pieces that are not empty, unpacked where it is compressed. Raises ``httpx.HTTPError``.

    Not ``response.aiter_bytes()``: that is three generators more for each piece, and what a gateway has compressed without
    saying so would stay so."""
    unpack: Callable[[bytes], bytes] | None = None
    is_first = True
    async for part in response.stream:  # type: ignore[union-attr]  # an async transport gives an async stream
        if is_first:
            is_first = False
            is_packed = response.headers.get("content-encoding", "") in {"gzip", "x-gzip", "deflate"}
            unpack = _unpacking() if is_packed or part.startswith(_GZIP_BEGINS) else None
        if data := unpack(part) if unpack is not None else part:
            yield data


class DirectTransport(httpx.AsyncBaseTransport):
    """Connections to one server. A connection carries one request at a time and is kept for the next."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        """``context``: for TLS; a server of ``http`` needs none."""
        self._context = context
        self._idle: list[Connection] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Raises ``httpx.TransportError``, and ``httpx.InvalidURL`` for a host that cannot be a name."""
        connection = self._take_idle()
        if connection is not None:
            try:
                return await connection.exchange(request)
            except httpx.TransportError:
                if connection.has_answered:
                    raise
                # The server closed the kept connection at the same moment: a new one, at once.
        connection = await self._connect(request)
        return await connection.exchange(request)

    async def aclose(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _take_idle(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable():
                return connection
            connection.close()
        return None

    async def _connect(self, request: httpx.Request) -> Connection:
        url = request.url
        host = url.raw_host.decode("ascii")
        try:
            async with asyncio.timeout(request.extensions.get("timeout", {}).get("connect")):
                streams = await asyncio.open_connection(
                    host,
                    url.port or _PORTS[url.scheme],
                    limit=READ_BYTES,
                    happy_eyeballs_delay=_HAPPY_EYEBALLS_SECONDS,
                    ssl=self._context,
                    server_hostname=host if self._context is not None else None,
                )
        except TimeoutError as error:
            raise httpx.ConnectTimeout("no connection in time") from error
        except OSError as error:
            raise httpx.ConnectError(str(error)) from error
        except UnicodeError as error:
            raise httpx.InvalidURL(str(error)) from error
        return Connection(*streams, self._idle)


class ProxiedTransport(httpx.AsyncHTTPTransport):
    """By way of a proxy, whose faults are told apart from those of the server as ``httpx.ProxyError``."""

    def __init__(self, proxy: str, context: ssl.SSLContext) -> None:
        """Raises SettingsError for a proxy that cannot be asked."""
        self._shown = without_login(proxy)
        kept = httpx.Limits(keepalive_expiry=KEEPALIVE_SECONDS)
        try:
            asked = httpx.Proxy(proxy, ssl_context=context if proxy.startswith("https:") else None)
            super().__init__(verify=context, trust_env=False, limits=kept, proxy=asked)
        except (httpx.InvalidURL, ValueError, ImportError):  # the last: SOCKS needs a package that is not there
            raise SettingsError(
                f"The proxy {self._shown} cannot be used.",
                "Name one of http:// or https:// in HTTPS_PROXY or ALL_PROXY.",
            ) from None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Raises ``httpx.TransportError``."""
        try:
            return await super().handle_async_request(request)
        except httpx.ConnectError as error:
            raise httpx.ProxyError(f"The proxy {self._shown} does not answer") from error
        except httpx.ProxyError as error:
            raise httpx.ProxyError(f"The proxy {self._shown} refused the connection ({error})") from error


def _tls(env: Mapping[str, str], ca_file: str) -> ssl.SSLContext:
    """With the certificates that ``SSL_CERT_FILE`` or ``SSL_CERT_DIR`` name, else the usual ones, and those of ``ca_file``."""
    file, folder = env.get("SSL_CERT_FILE") or None, env.get("SSL_CERT_DIR") or None
    if not file and not folder:
        import certifi

        file = certifi.where()
    try:
        context = ssl.create_default_context(cafile=file, capath=None if file else folder)
    except (OSError, ssl.SSLError) as error:
        raise _unreadable(f"SSL_CERT_FILE {file}", error) from None
    if ca_file:
        try:
            context.load_verify_locations(Path(ca_file).expanduser())
        except (OSError, ssl.SSLError) as error:
            raise _unreadable(f"ca_file {ca_file}", error) from None
    return context


def _unreadable(what: str, error: OSError) -> SettingsError:
    return SettingsError(f"{what} cannot be used: {error.strerror or error}.", "Name a file with certificates (PEM).")


def _unpacking() -> Callable[[bytes], bytes]:
    import zlib

    either = 32 + zlib.MAX_WBITS  # a header of gzip or of zlib, with the largest window
    decompress = zlib.decompressobj(either).decompress

    def unpack(part: bytes) -> bytes:
        try:
            return decompress(part)
        except zlib.error as error:
            raise httpx.DecodingError("what came cannot be unpacked") from error

    return unpack
