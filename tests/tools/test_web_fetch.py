"""WebFetch against real servers: what is refused, followed, cut, converted and kept."""

from __future__ import annotations

import asyncio
import base64
import gzip
import shutil
import ssl
import subprocess
import time

import pytest

from claw_kernel._core import ToolInputError
from claw_kernel.tools.address import AddressRefusedError, check_host, resolve
from claw_kernel.tools.download import Network
from claw_kernel.tools.web_fetch import PAGE_CHARS, WebFetch
from tests.tools.conftest import WebServer, serve

LOCAL = frozenset({"127.0.0.1", "localhost"})


@pytest.fixture
def fetch(bench):
    """``fetch(url, offset=…)`` where the user has granted loopback."""
    offer(bench)
    return lambda url, **more: bench.call("WebFetch", url=url, **more)


def offer(bench, hosts=LOCAL, **network) -> None:
    bench.offer(WebFetch(bench.core, Network(private_hosts=hosts, **network)))


# --- what is decided ---


def test_an_unknown_host_asks_and_offers_the_rule_for_it(bench):
    bench.allow("WebFetch(domain:example.org)", deny=["WebFetch(domain:bad.example.org)"])
    offer(bench)
    decision = {
        url: bench.prepare("WebFetch", url=url).prepared.decision
        for url in (
            "https://example.org/a",
            "http://EXAMPLE.org./a",
            "https://www.example.org/",
            "https://bad.example.org",
        )
    }
    assert list(decision.values()) == ["allow", "allow", "ask", "deny"]
    assert bench.prepare("WebFetch", url="https://www.example.org/").prepared.suggested_rules == [
        "WebFetch(domain:www.example.org)"
    ]
    bench.allow(mode="plan")
    assert bench.prepare("WebFetch", url="https://example.org/").prepared.decision == "ask"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/", "http://127.1/", "http://2130706433/", "http://0x7f000001/", "http://0177.0.0.1/",
        "http://0/", "http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/", "http://[64:ff9b::7f00:1]/",
        "http://localhost/", "http://LOCALHOST./", "http://a.localhost/", "http://printer/", "http://nas.local/",
        "http://metadata.google.internal/", "http://169.254.169.254/latest/meta-data/", "http://[fd00:ec2::254]/",
        "http://100.100.100.200/", "http://168.63.129.16/", "http://10.1.2.3/", "http://192.168.0.1/", "http://172.16.0.1/",
        "http://100.64.0.1/", "http://224.0.0.1/", "http://255.255.255.255/", "http://[fe80::1]/", "http://[ff02::1]/",
        "http://[2002:7f00:1::]/", "https://0.0.0.0/",
    ],
)  # fmt: skip
def test_private_addresses_are_refused_in_every_spelling(bench, url):
    offer(bench, hosts=frozenset())
    with pytest.raises(ToolInputError, match=r"private network|no proper host|not a URL"):
        bench.prepare("WebFetch", url=url)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("file:///etc/passwd", "http and https"),
        ("ftp://example.org/", "http and https"),
        ("javascript:alert(1)", "http and https"),
        ("example.org/page", "http and https"),
        ("https://user:pass@example.org/", "user name or password"),
        ("https://example.org@evil.example/", "user name or password"),
        ("https://", "host"),
        ("https://exa mple.org/", "URL|host"),
        ("https://evil.example\x00.example.org/", "URL|host"),
        ("https://a\r\nb.example/", "URL|host"),
        ("https://" + "a" * 3000, "longer than"),
        ("", "at least 1"),
    ],
)
def test_what_is_no_public_web_address_is_refused(bench, url, why):
    offer(bench)
    with pytest.raises(ToolInputError, match=why):
        bench.prepare("WebFetch", url=url)


def test_a_name_is_judged_by_where_it_leads(bench):
    """The same name may be public when it is checked and private when it is used: only checked addresses are used."""
    with pytest.raises(AddressRefusedError, match="allow_private_hosts"):
        asyncio.run(resolve("localhost", 80, ()))
    assert set(asyncio.run(resolve("localhost", 80, LOCAL))) <= {"127.0.0.1", "::1"}
    with pytest.raises(AddressRefusedError):
        check_host("localhost", ())


def test_http_becomes_https_but_not_on_granted_hosts(bench):
    offer(bench)
    assert "https://example.org/x" in bench.prepare("WebFetch", url="http://example.org/x").title
    assert "http://127.0.0.1:8000/x" in bench.prepare("WebFetch", url="http://127.0.0.1:8000/x").title


# --- what is sent and followed ---


def test_a_page_comes_as_markdown_and_the_request_says_who_asks_and_nothing_else(fetch, web):
    web.add("/", "<title>A  page</title><h1>Hi</h1><p>See <a href='b?x=1#y'>this</a>.</p><script>evil()</script>")
    got = fetch(web.url + "/#top")
    assert not got.is_error
    assert "Title: A page" in got.text
    assert f"# Hi\n\nSee [this]({web.url}/b?x=1#y)." in got.text
    assert "evil" not in got.text
    (request,) = web.seen
    assert request.path == "/"
    assert request.headers["user-agent"].startswith("claw-jupyter/")
    assert not {"cookie", "authorization", "referer"} & set(request.headers)


def test_a_redirect_on_the_host_is_followed_without_its_cookies(fetch, web):
    web.redirect("/a", "/b")
    web.redirect("/b", f"{web.url}/c", 308)
    web.add("/c", "arrived", "text/plain")
    got = fetch(web.url + "/a")
    assert got.text.endswith("arrived")
    assert f"{web.url}/c" in got.text
    assert [request.path for request in web.seen] == ["/a", "/b", "/c"]
    assert all("cookie" not in request.headers for request in web.seen)


def test_a_redirect_to_another_host_is_reported_and_not_followed(fetch, web):
    web.redirect("/a", f"http://localhost:{web.port}/b")
    got = fetch(web.url + "/a")
    assert not got.is_error
    assert f"http://localhost:{web.port}/b" in got.text
    assert [request.path for request in web.seen] == ["/a"]


@pytest.mark.parametrize(
    "target", ["http://169.254.169.254/latest/", "file:///etc/passwd", "http://10.0.0.1/", "//[::1]:1/"]
)
def test_a_redirect_to_a_private_place_is_refused(fetch, web, target):
    web.redirect("/a", target)
    got = fetch(web.url + "/a")
    assert got.is_error
    assert "Not fetched" in got.text
    assert len(web.seen) == 1


def test_a_redirect_without_end_is_ended(fetch, web):
    web.redirect("/a", "/a")
    assert "more than 10 times" in fetch(web.url + "/a").text
    assert len(web.seen) == 11


def test_a_proxy_of_the_environment_is_used_but_not_for_excepted_hosts(bench, web):
    env = {"https_proxy": web.url, "http_proxy": web.url, "no_proxy": "other.example"}
    web.add("http://granted.example/x", "through the proxy", "text/plain")
    offer(bench, frozenset({"granted.example", "127.0.0.1"}), env=env)
    assert bench.call("WebFetch", url="http://granted.example/x").text.endswith("through the proxy")
    assert web.seen[0].path == "http://granted.example/x"
    web.add("/direct", "direct", "text/plain")
    assert bench.call("WebFetch", url=web.url + "/direct").text.endswith("direct")
    assert web.seen[1].path == "/direct"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")
def test_the_certificate_must_be_the_hosts_although_the_connection_goes_to_an_address(bench, tmp_path, monkeypatch):
    servers = {name: WebServer(0) for name in ("localhost", "other.example")}
    running = []
    for name, server in servers.items():
        command = (
            f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={name} -addext subjectAltName=DNS:{name}"
        )
        made = ["-keyout", str(tmp_path / f"{name}.key"), "-out", str(tmp_path / f"{name}.pem")]
        subprocess.run([*command.split(), *made], check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / f"{name}.pem", tmp_path / f"{name}.key")

        def wrap(http, context=context):
            http.socket = context.wrap_socket(http.socket, server_side=True)

        running.append(serve(server, wrap))
        server.add("/", "over TLS", "text/plain")
    trusted = tmp_path / "trusted.pem"
    trusted.write_text("".join((tmp_path / f"{name}.pem").read_text() for name in servers))
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    offer(bench)
    assert bench.call("WebFetch", url=f"https://localhost:{servers['localhost'].port}/").text.endswith("over TLS")
    got = bench.call("WebFetch", url=f"https://localhost:{servers['other.example'].port}/")
    assert got.is_error
    assert "certificate" in got.text
    for http in running:
        http.shutdown()
        http.server_close()


# --- limits ---


def test_a_large_body_is_cut_where_the_limit_is(bench, web):
    offer(bench, max_bytes=1000)
    web.add("/", "x" * 5000, "text/plain")
    got = bench.call("WebFetch", url=web.url)
    assert "x" * 1000 in got.text
    assert "x" * 1001 not in got.text
    assert "the rest was not fetched" in got.text


def test_a_compressed_bomb_is_cut_before_it_unfolds(bench, web):
    offer(bench, max_bytes=100_000)
    web.add("/", gzip.compress(b"a" * 200_000_000), "text/plain", Content_Encoding="gzip")
    started = time.monotonic()
    got = bench.call("WebFetch", url=web.url)
    assert "[Characters 0 to 25,000 of 100," in got.text
    assert time.monotonic() - started < 20


def test_compression_that_was_not_asked_for_or_is_broken_is_refused(fetch, web):
    web.add("/br", b"x", "text/plain", Content_Encoding="br")
    web.add("/bad", b"not gzip", "text/plain", Content_Encoding="gzip")
    assert "was not asked for" in fetch(web.url + "/br").text
    assert "compression is broken" in fetch(web.url + "/bad").text


def test_a_server_that_trickles_or_says_nothing_is_given_up(bench, web):
    def trickle(handler):
        handler.send_response(200)
        handler.end_headers()
        for _ in range(100):
            handler.wfile.write(b"x")
            handler.wfile.flush()
            time.sleep(0.1)

    web.pages["/slow"] = trickle
    web.pages["/silent"] = lambda handler: time.sleep(5)
    offer(bench, silence_seconds=0.5, total_seconds=1.5)
    assert "did not send the page within" in bench.call("WebFetch", url=web.url + "/slow").text
    assert "sent nothing for" in bench.call("WebFetch", url=web.url + "/silent").text


def test_a_long_page_is_read_piece_by_piece(fetch, web):
    text = "".join(f"line {number}\n" for number in range(10_000))
    web.add("/", text, "text/plain")
    offset, pieces = 0, []
    while True:
        got = fetch(web.url, offset=offset).text
        body, is_part, notice = got.partition("\n\n")[2].rpartition("\n[Characters ")
        if not is_part:
            pieces.append(got.partition("\n\n")[2])
            break
        pieces.append(body)
        offset = int(notice.rpartition("offset=")[2].rstrip(".]"))
    assert "".join(pieces) == text
    assert len(pieces) == -(-len(text) // PAGE_CHARS)
    assert len(web.seen) == 1  # the others came from the cache
    got = fetch(web.url, offset=10**9)
    assert got.is_error
    assert "past its end" in got.text


def test_hostile_html_ends_in_time(bench, web):
    """Comments that never close take Python's HTML parser minutes: it works in a process that is ended."""
    bench.offer(WebFetch(bench.core, Network(private_hosts=LOCAL), conversion_seconds=3))
    web.add("/comments", "<!--" * 400_000)
    started = time.monotonic()
    assert "could not be turned into text" in bench.call("WebFetch", url=web.url + "/comments").text
    assert time.monotonic() - started < 20
    offer(bench)
    web.add("/deep", "<div>" * 10_000 + "bottom")
    assert "bottom" in bench.call("WebFetch", url=web.url + "/deep").text


# --- kinds of content ---


def test_tables_code_and_images_survive_and_scripts_do_not(fetch, web):
    web.add(
        "/a/",
        "<base href='/z/'><table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>"
        "<pre><code>x_y = 1\n  z</code></pre><img src=p.png alt=pic><a href='javascript:alert(1)'>no</a>"
        "<img src='data:image/png;base64,AAAA' alt=d><form>kept<select><option>secret</select></form><style>.s{}</style><p hidden>unseen</p>",
    )
    text = fetch(web.url + "/a/").text
    assert "| a | b |\n| --- | --- |\n| 1 | 2 |" in text
    assert "```\nx_y = 1\n  z\n```" in text
    assert f"![pic]({web.url}/z/p.png)" in text
    for gone in ("javascript", "data:", "secret", ".s{}", "unseen"):
        assert gone not in text


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("<p>Привет</p>".encode("cp1251"), "text/html; charset=windows-1251"),
        ("<meta charset=windows-1251><p>Привет</p>".encode("cp1251"), "text/html"),
        ("Привет".encode(), "text/plain"),
        ("Привет".encode("utf-16"), "text/plain"),
        ('{"a": "Привет"}'.encode(), "application/json"),
        ("<p>Привет</p>".encode(), "text/html; charset=no-such-thing"),
    ],
)
def test_text_is_read_in_its_own_charset(fetch, web, body, content_type):
    web.add("/", body, content_type)
    assert "Привет" in fetch(web.url).text


def test_images_are_seen_and_other_files_are_named(fetch, web):
    png = base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    )
    web.add("/broken", png[:50], "image/png")
    web.add("/i", png, "application/octet-stream")
    web.add("/p", b"%PDF-1.7 ...", "application/pdf")
    web.add("/z", b"PK\x03\x04\0\0", "application/zip")
    web.add("/e", "gone for good", "text/plain", 410)
    assert fetch(web.url + "/i").images[0].media_type == "image/png"
    broken = fetch(web.url + "/broken")
    assert "An image is left out: it is damaged" in broken.text
    assert broken.images == []
    assert "Read the file" in fetch(web.url + "/p").text
    assert "application/zip" in fetch(web.url + "/z").text
    got = fetch(web.url + "/e")
    assert got.is_error
    assert "HTTP 410" in got.text
    assert "gone for good" in got.text


def test_pages_are_kept_but_errors_are_not(fetch, web):
    web.add("/", "one", "text/plain")
    web.add("/e", "no", "text/plain", 500)
    for _ in range(2):
        assert fetch(web.url).text.endswith("one")
        assert fetch(web.url + "/e").is_error
    assert [request.path for request in web.seen] == ["/", "/e", "/e"]


def test_a_host_that_does_not_answer_is_one_sentence(fetch):
    got = fetch("http://127.0.0.1:1/")
    assert got.is_error
    assert "127.0.0.1" in got.text
    assert "\n" not in got.text
