"""Getting one document over HTTP from a stranger: to checked addresses only, bounded in size and time, without any identity.

httpx's transport is used below its client: a client would keep cookies, read ``.netrc`` and follow redirects. httpx is
imported when the first document is fetched.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Mapping
from dataclasses import field
from typing import TYPE_CHECKING

from claw_kernel import _core
from claw_kernel.late_dataclass import dataclass
from claw_kernel.proxies import proxy_for
from claw_kernel.tools.address import AddressRefusedError, check_host, resolve

if TYPE_CHECKING:
    import httpx

USER_AGENT = f"claw-jupyter/{_core.__version__} (WebFetch)"
MAX_BYTES = 10 * 1024 * 1024
"""After decompression; what is longer is cut."""
MAX_REDIRECTS = 10
TOTAL_SECONDS = 60.0
"""A server that sends a byte a second must not hold the turn."""
MAX_URL_CHARS = 2_000
_REDIRECTS = {301, 302, 303, 307, 308}
_DEFAULT_PORTS = {"http": 80, "https": 443}


class DownloadError(Exception):
    """The document was not got; ``str(error)`` is a sentence for the model that says what to do."""


@dataclass(frozen=True)
class Network:
    """What the settings say. ``env``: where proxies are named (``https_proxy``, ``no_proxy`` …). ``private_hosts``: hosts
    that may be on this machine or a private network. Times in seconds."""

    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    private_hosts: frozenset[str] = frozenset()
    connect_seconds: float = 10.0
    silence_seconds: float = 20.0
    """Longest wait for the next bytes."""
    total_seconds: float = TOTAL_SECONDS
    max_bytes: int = MAX_BYTES


@dataclass(frozen=True)
class Document:
    """What a server answered. ``url``: where it came from in the end. ``content_type``: as sent, may be empty."""

    url: str
    status: int
    content_type: str
    body: bytes
    is_cut: bool


@dataclass(frozen=True)
class Elsewhere:
    """The server redirects to another one, which was not followed."""

    status: int
    url: str


def read_url(url: str, private_hosts: Collection[str] = ()) -> httpx.URL:
    """The URL to fetch: ``http`` becomes ``https`` except on granted hosts. Raises DownloadError for what is not fetched."""
    import httpx

    if len(url) > MAX_URL_CHARS:
        raise DownloadError(f"The URL is longer than {MAX_URL_CHARS} characters.")
    try:
        parsed = httpx.URL(url.strip())
        if parsed.scheme not in _DEFAULT_PORTS:
            raise DownloadError("Only http and https addresses are fetched; write https://…")
        if parsed.userinfo:
            raise DownloadError("A URL with a user name or password in it is not fetched.")
        host = check_host(parsed.raw_host.decode("ascii"), private_hosts)
    except (httpx.InvalidURL, UnicodeError) as error:
        raise DownloadError(f"{url!r} is not a URL: {str(error).rstrip('.')}.") from None
    except AddressRefusedError as error:
        raise DownloadError(str(error)) from None
    parsed = parsed.copy_with(host=host.strip("[]"), fragment=None)
    if parsed.scheme == "http" and host not in private_hosts and parsed.port in {None, 80}:
        parsed = parsed.copy_with(scheme="https", port=None)
    return parsed


def host_of(url: httpx.URL) -> str:
    """As rules name it: ASCII, lower case, without port; IPv6 in brackets."""
    host = url.raw_host.decode("ascii")
    return f"[{host}]" if ":" in host else host


async def download(url: httpx.URL, network: Network, accept: str) -> Document | Elsewhere:
    """Fetch ``url`` (from ``read_url``), following redirects on its host. Raises DownloadError."""
    import httpx

    try:
        async with asyncio.timeout(network.total_seconds):
            for _ in range(MAX_REDIRECTS + 1):
                answer = await _get(url, network, accept)
                if isinstance(answer, Document):
                    return answer
                target = read_url(answer.url, network.private_hosts)
                if _server(target) != _server(url):
                    return Elsewhere(answer.status, str(target))
                url = target
            raise DownloadError(f"{host_of(url)} redirects more than {MAX_REDIRECTS} times.")
    except TimeoutError:
        raise DownloadError(f"{host_of(url)} did not send the page within {network.total_seconds:.0f} s.") from None
    except AddressRefusedError as error:
        raise DownloadError(str(error)) from None
    except httpx.ConnectTimeout:
        raise DownloadError(f"{host_of(url)} did not accept a connection in time.") from None
    except httpx.TimeoutException:
        raise DownloadError(f"{host_of(url)} sent nothing for {network.silence_seconds:.0f} s.") from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ImportError, ValueError) as error:  # the last two: odd proxies
        why = str(error) or type(error).__name__
        raise DownloadError(f"{host_of(url)} cannot be read: {why}. Check the address.") from None


def _server(url: httpx.URL) -> tuple[str, int]:
    return host_of(url), url.port or _DEFAULT_PORTS[url.scheme]


async def _get(url: httpx.URL, network: Network, accept: str) -> Document | Elsewhere:
    """One request. Also a redirect within the host comes back as ``Elsewhere``."""
    import httpx

    host, port = _server(url)
    timeouts = httpx.Timeout(network.silence_seconds, connect=network.connect_seconds).as_dict()
    headers = {
        "Host": url.netloc.decode("ascii"),
        "User-Agent": USER_AGENT,
        "Accept": accept,
        "Accept-Language": "en, *;q=0.5",
        # Only what can be unpacked within a bound.
        "Accept-Encoding": "gzip",
        "Connection": "close",
    }
    proxy = proxy_for(url.scheme, host, url.port, network.env)
    if proxy is None:
        targets = [url.copy_with(host=address) for address in await resolve(host, port, network.private_hosts)]
    else:
        # The proxy looks the name up. Where we can, too, a private address is refused here.
        with contextlib.suppress(OSError):
            await resolve(host, port, network.private_hosts)
        targets = [url]
    transport = httpx.AsyncHTTPTransport(
        verify=httpx.create_ssl_context(),  # the usual certificates, or SSL_CERT_FILE
        trust_env=False,
        proxy=httpx.Proxy(proxy) if proxy else None,
        limits=httpx.Limits(max_keepalive_connections=0),
    )
    try:
        for index, target in enumerate(targets):
            # The connection goes to the address that was checked; the certificate must be the host's all the same.
            extensions = {"timeout": timeouts} if proxy else {"timeout": timeouts, "sni_hostname": host.strip("[]")}
            request = httpx.Request("GET", target, headers=headers, extensions=extensions)
            try:
                response = await transport.handle_async_request(request)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if index + 1 == len(targets):
                    raise
                continue
            try:
                return await _read(response, url, network)
            finally:
                await response.aclose()
        raise DownloadError(f"{host} has no address.")
    finally:
        await transport.aclose()


async def _read(response: httpx.Response, url: httpx.URL, network: Network) -> Document | Elsewhere:
    if response.status_code in _REDIRECTS and (target := response.headers.get("location")):
        return Elsewhere(response.status_code, str(url.join(target)))
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding not in {"", "identity", "gzip", "x-gzip"}:
        raise DownloadError(f"{host_of(url)} sent the page compressed as {encoding!r}, which was not asked for.")
    import zlib

    unpacker = zlib.decompressobj(wbits=31) if "gzip" in encoding else None
    body = bytearray()
    is_cut = False
    async for sent in response.stream:  # type: ignore[union-attr]  # an async transport gives an async stream
        part = sent
        while part and not is_cut:
            left = network.max_bytes - len(body)
            try:
                piece = unpacker.decompress(part, max(left, 1)) if unpacker else part
            except zlib.error:
                raise DownloadError(f"{host_of(url)} sent a page whose compression is broken.") from None
            body += piece[:left]
            is_cut = len(piece) > left or (left <= 0)
            part = unpacker.unconsumed_tail if unpacker else b""
        if is_cut:
            break
    return Document(str(url), response.status_code, response.headers.get("content-type", ""), bytes(body), is_cut)
