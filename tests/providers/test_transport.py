"""The direct connection is a transport of httpx like any other; which proxy is asked where there is one."""

from __future__ import annotations

import asyncio
import logging
from importlib.util import find_spec

import httpx
import pytest

from claw_kernel.errors import NetworkError, SettingsError
from claw_kernel.messages import TextBlock
from claw_kernel.providers._transport import DirectTransport, make_request, open_transport, read_parts
from claw_kernel.proxies import is_loopback, proxy_for
from tests.model_server import FRAMES, ModelServer, Response, text
from tests.providers.conftest import ask

WHOLE = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-One: a\r\nx-one: b\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nTrailer: x\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\nhello",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 429\r\nContent-Length: 0\r\nRetry-After: 1\r\n\r\n",
]
BROKEN = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nhello",
    b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
    b"HTTP/1.1 200",
    b"",
]
SOCKS = pytest.param(
    "socks5://me:word@proxy:1", marks=pytest.mark.skipif(find_spec("socksio"), reason="socksio is here")
)


def exchanged(transport, *urls):
    """What httpx's client gets over ``transport``: status, headers, body; the kind of an error in its place."""

    async def ask():
        async with httpx.AsyncClient(transport=transport, trust_env=False) as client:
            found = []
            for url in urls:
                try:
                    response = await client.post(url, json={"a": 1})
                    found.append((response.status_code, response.headers.multi_items(), response.content))
                except httpx.HTTPError as error:
                    found.append(type(error))
            return found

    return asyncio.run(ask())


@pytest.mark.parametrize("wire", [*WHOLE, *BROKEN])
@pytest.mark.parametrize("cuts", ["none", "each byte"])
def test_it_gives_what_the_transport_of_httpx_gives(wire, cuts):
    found = []
    for transport in (DirectTransport(), httpx.AsyncHTTPTransport()):
        with ModelServer(unchecked="no request to a model") as server:
            parts = [wire] if cuts == "none" else [x for byte in wire for x in (bytes([byte]), 0.001)]
            server.answer(Response(parts=parts, is_raw=True))
            found += exchanged(transport, server.base_url + "/v1/x")
    assert found[0] == found[1]
    assert isinstance(found[0], tuple) == (wire in WHOLE)


def test_what_it_sends_is_what_the_transport_of_httpx_sends():
    url = "{}/a b/ü%20/{{m}}?q=x y&r=ä"
    sent = []
    for transport in (DirectTransport(), httpx.AsyncHTTPTransport()):
        with ModelServer(unchecked="no request to a model") as server:
            server.answer(Response(200, {}, [b"one"]), Response(200, {}, [b"two"]))
            got = exchanged(transport, *[url.format(server.base_url)] * 2)
            assert [body for _, _, body in got] == [b"one", b"two"]
            assert server.connections == 1
            one = server.requests[0]
            sent.append(
                (one.method, one.path, {**one.headers, "host": one.headers["host"].rpartition(":")[0]}, one.body)
            )
    assert sent[0] == sent[1]


def test_a_name_and_password_in_an_address_become_a_header():
    request = make_request("POST", "http://me:p%40ss@host:8000/v1", {"x-key": "k"}, b"body")
    assert request.headers["authorization"] == "Basic bWU6cEBzcw=="
    assert request.headers["host"] == "host:8000"
    assert request.headers["content-length"] == "4"
    assert request.url.raw_path == b"/v1"


def test_a_header_cannot_become_two(server):
    request = make_request("POST", server.base_url, {"x-key": "k\r\nx-other: y"}, b"{}")
    with pytest.raises(httpx.LocalProtocolError, match="line break"):
        asyncio.run(DirectTransport().handle_async_request(request))
    assert server.requests == []


def test_what_is_compressed_without_saying_so_is_unpacked(server):
    import gzip

    server.answer(Response(200, {}, [gzip.compress(b"word " * 1000)[:20], gzip.compress(b"word " * 1000)[20:]]))
    server.answer(Response(200, {}, [b"\x1f\x8bno gzip at all"]))

    async def ask():
        transport = DirectTransport()
        response = await transport.handle_async_request(make_request("POST", server.base_url, {}, b"{}"))
        body = b"".join([part async for part in read_parts(response)])
        broken = await transport.handle_async_request(make_request("POST", server.base_url, {}, b"{}"))
        with pytest.raises(httpx.DecodingError):
            [part async for part in read_parts(broken)]
        await broken.aclose()
        return body

    assert asyncio.run(ask()) == b"word " * 1000


def test_requests_to_a_model_write_no_log_into_the_cell(server, api, caplog):
    """As they would over httpx's client, for whoever has logging on in a notebook."""
    server.answer(FRAMES[api]([text("fine")]))
    with caplog.at_level(logging.INFO):
        assert ask(api, server.base_url).content == (TextBlock("fine"),)
        exchanged(DirectTransport(), server.base_url)
    assert [record.name for record in caplog.records] == ["httpx"]


# --- proxies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("env", "proxy"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        ({"https_proxy": "http://low:1", "HTTPS_PROXY": "http://high:1"}, "http://low:1"),
        ({"HTTPS_PROXY": "http://high:1", "https_proxy": ""}, None),
        ({"HTTP_PROXY": "http://p:1"}, None),
        ({"ALL_PROXY": "http://p:1", "HTTP_PROXY": "http://q:1"}, "http://p:1"),
        ({"HTTPS_PROXY": "proxy.corp:3128"}, "http://proxy.corp:3128"),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "example.com"}, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "api.example.com:8443"}, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "api.example.com:1"}, "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "ple.com,other"}, "http://p:1"),
    ],
)
def test_which_proxy_is_asked(env, proxy):
    assert proxy_for("https", "api.example.com", 8443, env) == proxy
    assert proxy_for("https", "127.0.0.1", 8443, env) is None
    assert proxy_for("https", "[::1]", None, env) is None


def test_what_is_this_machine():
    assert [is_loopback(host) for host in ("localhost", "127.0.0.1", "127.9.9.9", "::1")] == [True] * 4
    assert [is_loopback(host) for host in (None, "", "localhost.example", "10.0.0.1")] == [False] * 4


def test_the_proxy_is_the_one_of_the_settings_and_not_of_the_process(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    assert isinstance(open_transport("https://api.example.com", {}), DirectTransport)
    assert not isinstance(open_transport("https://api.example.com", {"HTTPS_PROXY": "http://p:1"}), DirectTransport)


@pytest.mark.parametrize("proxy", ["ftp://me:word@proxy:1", SOCKS, "http://me:word@proxy:port"])
def test_a_proxy_that_cannot_be_asked_is_one_line_without_its_password(proxy):
    with pytest.raises(SettingsError, match=r"The proxy \w+://proxy:\w+ cannot be used") as caught:
        open_transport("https://api.example.com", {"HTTPS_PROXY": proxy})
    assert "word" not in str(caught.value)


@pytest.mark.parametrize("is_listening", [False, True])
def test_the_fault_of_a_proxy_is_told_apart_from_the_servers(api, is_listening):
    with ModelServer(unchecked="a proxy's own requests") as proxy:
        proxy.answer(Response(407, {}, is_chunked=False))
        if not is_listening:
            proxy.close()
        env = {"HTTPS_PROXY": proxy.base_url.replace("://", "://me:word@")}
        error = ask(api, "https://model.invalid", env=env).error
    assert type(error) is NetworkError
    said = "refused the connection (407 X)" if is_listening else "does not answer"
    assert error.message == f"The proxy {proxy.base_url} {said}."
    assert "NO_PROXY" in error.remedy
