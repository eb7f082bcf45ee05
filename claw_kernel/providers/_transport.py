"""The way bytes travel to a server and back. Imported when the first request is about to be sent.

It speaks HTTP/1.1 over asyncio's streams itself (``_connection.py``) and does not use httpx, for two reasons. Servers send a
stream of tokens as one HTTP chunk per token, and httpx's stack spends some 50 µs of Python on each, where here all chunks of
one network read are one piece. And importing httpx takes as long as half of all else before the first request, its client
0.7 ms of each request. Where a proxy is configured httpx is asked all the same (``_proxied.py``).
"""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol
from urllib.parse import SplitResult, quote, unquote_to_bytes, urlsplit

from claw_kernel.errors import SettingsError
from claw_kernel.providers._connection import READ_BYTES, AddressError, Connection, ConnectTimeoutError, Response
from claw_kernel.providers.settings import Timeouts

_HAPPY_EYEBALLS_SECONDS = 0.25
"""RFC 8305: how long IPv6 is tried before IPv4 is tried beside it."""
_PORTS = {"http": 80, "https": 443}
_SAFE = "/%:@!$&'()*+,;=~"
"""What stays as it is in a path (RFC 3986); ``%``: it may be quoted already."""


class Transport(Protocol):
    """The way to one server. Redirects are never followed: a key must not travel to another host."""

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Response:
        """Raises OSError, with ``ConnectTimeoutError`` and ``BrokenResponseError`` among its kinds, and AddressError."""
        ...

    async def aclose(self) -> None:
        """Close what is kept for another request."""
        ...


def open_transport(base_url: str, env: Mapping[str, str], timeouts: Timeouts, ca_file: str = "") -> Transport:
    """Raises SettingsError for certificates that cannot be read."""
    parts = urlsplit(base_url)
    context = _tls(env, ca_file) if parts.scheme == "https" else None
    if not is_loopback(parts.hostname) and _has_proxy(env):
        from claw_kernel.providers._proxied import Proxied

        return Proxied(timeouts.connect_seconds, context)
    if context is not None:
        context.set_alpn_protocols(["http/1.1"])
    return _Direct(timeouts.connect_seconds, context)


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


def is_loopback(host: str | None) -> bool:
    return host is not None and (host == "localhost" or host == "::1" or host.startswith("127."))


def _has_proxy(env: Mapping[str, str]) -> bool:
    return any(value and name.lower() in {"http_proxy", "https_proxy", "all_proxy"} for name, value in env.items())


class _Direct:
    """Connections to one server. A connection carries one request at a time and is kept for the next."""

    def __init__(self, connect_seconds: float, context: ssl.SSLContext | None) -> None:
        self._connect_seconds, self._context = connect_seconds, context
        self._idle: list[Connection] = []

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Response:
        parts = urlsplit(url)
        head = _request_head(parts, headers, len(body))
        connection = self._take_idle()
        if connection is not None:
            try:
                return await connection.exchange(head, body)
            except OSError:
                if connection.has_answered:
                    raise
                # The server closed the kept connection at the same moment: a new one, at once.
        connection = await self._connect(parts)
        return await connection.exchange(head, body)

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

    async def _connect(self, parts: SplitResult) -> Connection:
        host = _ascii_host(parts)
        try:
            async with asyncio.timeout(self._connect_seconds):
                streams = await asyncio.open_connection(
                    host,
                    parts.port or _PORTS[parts.scheme],
                    limit=READ_BYTES,
                    happy_eyeballs_delay=_HAPPY_EYEBALLS_SECONDS,
                    ssl=self._context,
                    server_hostname=host if self._context is not None else None,
                )
        except TimeoutError as error:
            raise ConnectTimeoutError("no connection in time") from error
        return Connection(*streams, self._idle)


def _request_head(parts: SplitResult, headers: Mapping[str, str], length: int) -> bytes:
    """Raises AddressError."""
    host = _ascii_host(parts)
    place = f"[{host}]" if ":" in host else host
    if parts.port not in (None, _PORTS[parts.scheme]):
        place += f":{parts.port}"
    target = quote(parts.path, safe=_SAFE) or "/"
    if parts.query:
        target += f"?{quote(parts.query, safe=_SAFE + '?')}"
    fields = {**headers, "host": place, "connection": "keep-alive", "content-length": str(length)}
    user, at, _ = parts.netloc.rpartition("@")
    if at:
        fields["authorization"] = f"Basic {b64encode(unquote_to_bytes(user)).decode()}"
    lines = [f"POST {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return "\r\n".join(lines).encode("ascii")


def _ascii_host(parts: SplitResult) -> str:
    """As DNS knows it. Raises AddressError where it cannot be a name."""
    host = parts.hostname or ""
    try:
        return host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise AddressError(str(error)) from error
