"""What a server can do wrong, in detail; whole turns against each kind of fault: tests/engine/test_fault_table.py."""

import json
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from dataclasses import replace
from email.utils import formatdate

import pytest

from claw_kernel.errors import (
    AuthError,
    ContextOverflowError,
    InvalidRequestError,
    ModelNotFoundError,
    NetworkError,
    QuotaError,
    RateLimitError,
    ServerError,
    SettingsError,
)
from claw_kernel.messages import Message, TextBlock, ToolCall
from claw_kernel.providers import Timeouts
from tests.model_server import FRAMES, JSON, Drop, ModelServer, Response, text, thinking, tool_call
from tests.providers.conftest import HELLO, QUICK, ask, ask_all

KEY = "sk-very-secret-0123456789"


def refusal(status, message, kind="invalid_request_error", headers=None, **more):
    error = {"type": kind, "message": message, **more}
    return Response(status, {**JSON, **(headers or {})}, [json.dumps({"type": "error", "error": error}).encode()])


def good(api, said="fine"):
    return FRAMES[api]([text(said)])


def one_line(error):
    line = str(error)
    assert "\n" not in line
    assert len(line) < 600
    assert error.remedy, "no remedy"
    assert KEY not in line
    return line


# --- refused for good: one request ------------------------------------------------------------------------------------

FINAL = {
    "401": (
        refusal(401, f"invalid x-api-key {KEY}", "authentication_error"),
        AuthError,
        r"refused the key in \w+ \(401\)",
    ),
    "403": (refusal(403, "not for you", "permission_error"), AuthError, r"does not allow this"),
    "404 model": (refusal(404, "model: m", "not_found_error"), ModelNotFoundError, r"does not know the model 'm'"),
    "400 model": (refusal(400, "The model `m` does not exist", code="model_not_found"), ModelNotFoundError, "'m'"),
    "404 path": (
        Response(404, {"content-type": "text/html"}, [b"<html>Not Found</html>"]),
        InvalidRequestError,
        "base URL",
    ),
    "400": (refusal(400, "messages: wrong\nin two lines"), InvalidRequestError, r"messages: wrong in two lines\."),
    "output limit": (
        refusal(400, "max_tokens: 16384 > 4096, which is the maximum allowed number of output tokens for m"),
        InvalidRequestError,
        "Set max_tokens to",
    ),
    "402": (refusal(402, "Payment required"), QuotaError, "no quota or credit"),
    "429 quota": (refusal(429, "You exceeded your current quota", code="insufficient_quota"), QuotaError, "credit"),
    "400 credit": (refusal(400, "Your credit balance is too low"), QuotaError, "Add credit"),
    "redirect": (
        Response(307, {"location": "http://example.invalid/v1"}, []),
        InvalidRequestError,
        "redirects to http://ex",
    ),
    "overflow": (
        refusal(400, "prompt is too long: 210000 tokens > 200000 maximum"),
        ContextOverflowError,
        "longer than",
    ),
    "413": (refusal(413, "Request exceeds the maximum size", "request_too_large"), ContextOverflowError, "Clear"),
    "should-retry false": (refusal(500, "no", headers={"x-should-retry": "false"}), ServerError, "failed"),
}


@pytest.mark.parametrize("name", FINAL)
def test_refused_for_good(server, api, name):
    answer, error, line = FINAL[name]
    server.answer(answer)
    exchange = ask(api, server.base_url, env={"CLAW_API_KEY": KEY})
    assert type(exchange.error) is error
    assert re.search(line, one_line(exchange.error))
    assert exchange.notices == []
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "message",
    [
        "Rate limit reached for gpt-x. Please try again in 0.1s. You can add a payment method at https://x/account/billing.",
        "Rate limit reached. Upgrade to Dev Tier today at https://console.groq.com/settings/billing",
        "You exceeded your current quota, please check your plan and billing details. Please retry in 0.2s.",
    ],
)
def test_a_rate_limit_that_mentions_money_passes(server, message):
    server.answer(refusal(429, message), good("openai-chat"))
    assert ask("openai-chat", server.base_url).content == (TextBlock("fine"),)


def test_a_server_that_wants_a_key_names_the_variable(server, api):
    server.answer(refusal(401, "no key"))
    assert "Set CLAW_API_KEY" in one_line(ask(api, server.base_url).error)


@pytest.mark.parametrize(
    "message",
    [
        "prompt is too long: 213462 tokens > 200000 maximum",
        "This model's maximum context length is 128000 tokens. However, your messages resulted in 130000 tokens.",
        "Your input exceeds the context window of this model.",
        "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575).",
        "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
        "Please reduce the length of the messages or completion.",
        "the request exceeds the available context size, try increasing it",
        "Trying to keep the first 5000 tokens when context the overflows. However, the model is loaded with context length of only 4096",
        "Your request exceeded model token limit: 262144; it exceeds the model's token limit",
        "Prompt contains 40000 tokens, too large for model with 32768 maximum context length",
        "input is too long for requested model",  # Bedrock
        "prompt token count of 130512 exceeds the limit of 128000",  # GitHub Copilot
        "invalid params, context window exceeds limit (2013)",  # MiniMax
        "Prompt exceeds max length",  # z.ai
        "Range of input length should be [1, 129024]",  # DashScope
        "This endpoint's maximum context length is 131072 tokens. You requested about 150000 tokens (134000 of text input).",  # OpenRouter
        "The input (140000 tokens) is longer than the model's context length (131072 tokens).",  # SGLang
    ],
)
def test_overflow_of_each_provider_is_recognised(server, message):
    server.answer(refusal(400, message))
    assert type(ask("openai-chat", server.base_url).error) is ContextOverflowError


def test_an_overflow_is_recognised_behind_many_words(server):
    """Gateways put their own before the provider's."""
    said = "BadRequestError: " + "deployment of a gateway, " * 40 + "prompt is too long: 213462 tokens > 200000 maximum"
    server.answer(refusal(400, said))
    error = ask("openai-chat", server.base_url).error
    assert type(error) is ContextOverflowError
    assert len(error.message) < 400


def test_a_limit_of_the_rate_is_no_overflow(server):
    server.answer(*[refusal(429, "Token limit exceeded, try again later")] * 5)
    assert type(ask("openai-chat", server.base_url).error) is RateLimitError


@pytest.mark.parametrize("status", [400, 413])
def test_a_refusal_without_a_word_is_an_overflow(server, status):
    """Cerebras answers so; what else a server refuses, it gives a reason for."""
    server.answer(Response(status, {}, []))
    error = ask("openai-chat", server.base_url).error
    assert type(error) is ContextOverflowError
    assert str(status) in one_line(error)


@pytest.mark.parametrize(
    ("message", "room"),
    [
        ("input length and `max_tokens` exceed context limit: 190000 + 16384 > 200000, decrease input length", 10_000),
        ("This endpoint's maximum context length is 131072 tokens. You requested about 140384 tokens (124000 of text input).", 7_072),
        ("prompt is too long: 199900 + 16384 > 200000", None),
    ],
)  # fmt: skip
def test_the_answer_gets_what_the_prompt_leaves_of_the_window(server, api, message, room):
    """Where the two together were too long the answer is shortened, once; where nearly nothing is left it is an overflow."""
    server.answer(refusal(400, message), good(api))
    exchange = ask(api, server.base_url)
    if room is None:
        assert type(exchange.error) is ContextOverflowError
        assert len(server.requests) == 1
        return
    assert exchange.content == (TextBlock("fine"),)
    assert exchange.notices == [f"the answer may have {room} tokens: the conversation fills the rest"]
    first, second = (request.json for request in server.requests)
    assert {name: second[name] for name in second if second[name] != first[name]} in (
        {"max_tokens": room}, {"max_completion_tokens": room}, {"max_output_tokens": room},
    )  # fmt: skip


# --- for a while: retried ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers", [{"retry-after-ms": "250"}, {"retry-after": "0.25"}, {"retry-after-ms": "250", "retry-after": "9"}]
)
def test_retry_after_is_a_floor(server, api, headers):
    server.answer(refusal(429, "slow", headers=headers), good(api))
    exchange = ask(api, server.base_url)
    assert exchange.content == (TextBlock("fine"),)
    assert exchange.notices == ["rate limited by local; trying again in 0.25 s (1/4)"]
    first, second = server.requests
    assert second.received_at - first.received_at >= 0.25


def test_retry_after_as_a_date(server, api):
    server.answer(refusal(503, "soon", headers={"retry-after": formatdate(time.time() + 2, usegmt=True)}), good(api))
    exchange = ask(api, server.base_url)
    assert exchange.content == (TextBlock("fine"),)
    first, second = server.requests
    assert second.received_at - first.received_at > 0.5


@pytest.mark.parametrize("value", ["soon", "", "-5", "nan", "inf", "Tue, 99 Foo"])
def test_a_senseless_retry_after_is_passed_over(server, api, value):
    server.answer(refusal(429, "slow", headers={"retry-after": value}), good(api))
    assert ask(api, server.base_url).content == (TextBlock("fine"),)


@pytest.mark.parametrize(("status", "told", "requests"), [(400, "true", 2), (500, "false", 1)])
def test_a_server_that_says_whether_to_try_again_knows(server, status, told, requests):
    """As the official clients have it."""
    refused = Response(status, {**JSON, "x-should-retry": told}, [b'{"error":{"message":"not now"}}'])
    server.answer(refused, FRAMES["anthropic"]([text("hi")]))
    exchange = ask("anthropic", server.base_url)
    assert len(server.requests) == requests
    assert (exchange.error is None) is (told == "true")


def test_a_refusal_written_as_a_stream_is_read(server):
    """LiteLLM's proxy answers so with status 500."""
    body = b'data: {"error": {"message": "no such deployment", "type": "internal_server_error"}}\n\ndata: [DONE]\n\n'
    server.answer(*[Response(500, JSON, [body])] * 5)
    assert "failed (500): no such deployment;" in ask("openai-chat", server.base_url).error.message


def test_a_long_retry_after_is_not_waited_for(server, api):
    server.answer(refusal(429, "slow", headers={"retry-after": "900"}))
    exchange = ask(api, server.base_url)
    assert type(exchange.error) is RateLimitError
    assert "it asks to wait 15 minutes." in one_line(exchange.error)
    assert exchange.error.retry_after_seconds == 900
    assert len(server.requests) == 1


# --- the stream breaks ------------------------------------------------------------------------------------------------


def cut(frames, at, drop=None):
    """The frames up to the first that holds ``at``, then the connection is lost."""
    place = next(i for i, frame in enumerate(frames) if at in frame) + 1
    return Response(parts=[*frames[:place], 0.02, drop or Drop()])


@pytest.mark.parametrize("drop", [Drop(), Drop(is_reset=False)])
def test_cut_in_the_first_text(server, api, drop):
    """Nothing was complete: the request is sent again and the screen told to forget."""
    frames = FRAMES[api]([text("one two three four")])
    server.answer(cut(frames, b"one t", drop), good(api, "whole"))
    exchange = ask(api, server.base_url)
    assert exchange.content == (TextBlock("whole"),)
    assert exchange.shown[0] == "whole"
    assert len(exchange.restarts) == 1
    assert len(exchange.notices) == 1
    assert len(server.requests) == 2


def test_an_end_without_its_mark_is_a_cut(server, api):
    """The connection ends properly but the message does not."""
    frames = FRAMES[api]([text("one two three four")])
    server.answer(Response(parts=frames[: len(frames) // 2]), good(api, "whole"))
    exchange = ask(api, server.base_url)
    assert exchange.content == (TextBlock("whole"),)
    assert len(exchange.restarts) == 1


def test_cut_in_thinking(server, api):
    """Thinking alone is no answer."""
    frames = FRAMES[api]([thinking("long thoughts"), text("x")])
    server.answer(cut(frames, b"thoug"), good(api, "whole"))
    exchange = ask(api, server.base_url)
    assert exchange.content == (TextBlock("whole"),)
    assert exchange.shown == ("whole", "", {})


def test_cut_in_tool_arguments_of_the_first_block(server, api):
    frames = FRAMES[api]([tool_call("c1", "Bash", {"command": "rm -rf build"})])
    server.answer(cut(frames, b"rm"), good(api, "whole"))
    exchange = ask(api, server.base_url)
    assert exchange.content == (TextBlock("whole"),)
    assert len(server.requests) == 2


def test_cut_in_tool_arguments_after_text(server, api):
    """The text is kept, the call is not: half of its arguments must never run."""
    frames = FRAMES[api]([text("Let me look."), tool_call("c1", "Bash", {"command": "rm -rf build"})])
    server.answer(cut(frames, b"rm"))
    exchange = ask(api, server.base_url)
    assert exchange.content == (TextBlock("Let me look."),)
    assert "was lost" in exchange.finished.incomplete
    assert exchange.finished.stop == "other"
    assert len(server.requests) == 1


def test_cut_after_a_completed_call(server, api):
    """The completed call is kept and runs once; the one being written is dropped; nothing is asked again."""
    calls = [tool_call("c1", "Bash", {"command": "ls"}), tool_call("c2", "Bash", {"command": "pwd; ls -la"})]
    frames = FRAMES[api](calls)
    server.answer(cut(frames, b"pwd"))
    exchange = ask(api, server.base_url)
    assert exchange.content == (ToolCall("c1", "Bash", {"command": "ls"}),)
    assert "was lost" in exchange.finished.incomplete
    assert exchange.finished.stop == "tool_use"
    assert exchange.restarts == []
    assert len(server.requests) == 1


def test_an_error_object_after_a_completed_call(server, api):
    frames = FRAMES[api]([tool_call("c1", "Bash", {"command": "ls"}), tool_call("c2", "Bash", {"command": "pwd"})])
    place = next(i for i, frame in enumerate(frames) if b"pwd" in frame) + 1
    error = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'
    server.answer([*frames[:place], error])
    exchange = ask(api, server.base_url)
    assert exchange.content == (ToolCall("c1", "Bash", {"command": "ls"}),)
    assert exchange.finished.incomplete == "local is overloaded"


def test_an_end_mark_that_never_comes(server, api):
    """The message is whole when its stop reason is there: a server that then goes away or hangs loses nothing."""
    frames = FRAMES[api]([text("all of it")])
    last = {"anthropic": -1, "openai-chat": -2, "openai-responses": len(frames)}[api]
    server.answer(Response(parts=[*frames[:last], 0.02, Drop()]))
    exchange = ask(api, server.base_url)
    assert exchange.content == (TextBlock("all of it"),)
    assert exchange.finished.incomplete == ""
    assert len(server.requests) == 1


ERRORS_IN_STREAM = {
    "overloaded": (b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}', "overloaded"),
    "rate limit": (b'{"type":"error","error":{"type":"rate_limit_error","message":"slow"}}', "rate limited"),
    "status as code": (b'{"error":{"code":502,"message":"Provider returned error"}}', r"failed \(502\)"),
    "text alone": (b'{"error":"something broke"}', "something broke"),
}


@pytest.mark.parametrize("name", ERRORS_IN_STREAM)
def test_an_error_object_in_a_stream(server, api, name):
    data, notice = ERRORS_IN_STREAM[name]
    server.answer([b"event: error\ndata: %s\n\n" % data], good(api))
    exchange = ask(api, server.base_url)
    assert exchange.content == (TextBlock("fine"),)
    assert re.search(notice, exchange.notices[0])


def test_a_final_error_object_in_a_stream(server, api):
    data = b'{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 3 > 2"}}'
    server.answer([b"event: error\ndata: %s\n\n" % data])
    assert type(ask(api, server.base_url).error) is ContextOverflowError
    assert len(server.requests) == 1


def test_an_error_object_with_status_200(server, api):
    server.answer(Response(200, JSON, [b'{"error":{"code":401,"message":"no"}}']))
    assert type(ask(api, server.base_url).error) is AuthError


def test_pings_keep_a_stream_alive(server, api):
    frames = FRAMES[api]([text("one two three")])
    pings = [part for _ in range(8) for part in (b": ping\n\n", 0.1)]
    server.answer([*frames[:4], *pings, *frames[4:]])
    exchange = ask(api, server.base_url, timeouts=Timeouts(idle_seconds=0.5))
    assert exchange.content == (TextBlock("one two three"),)
    assert exchange.notices == []


# --- no server --------------------------------------------------------------------------------------------------------


def test_pings_alone_do_not_keep_it_alive_for_ever(server, api):
    ping = b'event: ping\ndata: {"type":"ping"}\n\n' if api == "anthropic" else b": still here\n\n"
    server.answer(*[Response(parts=[ping, 0.05] * 200)] * 2)
    timeouts = Timeouts(silent_seconds=0.3)
    error = ask(api, server.base_url, timeouts=timeouts, retries=replace(QUICK, limit=1)).error
    assert (error.kind, len(server.requests)) == ("stream", 2)
    assert "kept the connection open for 0.3 s and said nothing" in error.message


def test_connection_refused(api):
    with ModelServer() as server:
        address = server.base_url
    exchange = ask(api, address)
    assert type(exchange.error) is NetworkError
    assert not exchange.error.is_retryable
    line = one_line(exchange.error)
    assert address in line
    assert "connection refused" in line
    assert "Start the server" in line
    assert exchange.notices == []


def test_a_password_in_the_address_is_not_shown(api):
    with ModelServer() as server:
        address = server.base_url.replace("//", f"//me:{KEY}@")
    assert "connection refused" in one_line(ask(api, address).error)  # which looks for the secret


def test_connection_refused_on_every_address_of_a_name(api):
    with ModelServer() as server:
        port = server.port
    exchange = ask(api, f"http://localhost:{port}")
    assert "connection refused" in one_line(exchange.error)
    assert exchange.notices == []


def test_a_server_without_tls(api):
    """https to a plain server: said once, never retried."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer_plainly():
            for _ in range(2):
                connection, _ = listener.accept()
                connection.recv(10)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer_plainly, daemon=True).start()
        exchange = ask(api, f"https://127.0.0.1:{listener.getsockname()[1]}")
    assert type(exchange.error) is NetworkError
    assert "TLS" in one_line(exchange.error)
    assert exchange.notices == []


def test_a_broken_connection_is_replaced(server, api):
    """The server closes a kept connection between two requests, as load balancers do."""
    server.answer(good(api, "one"), Response(parts=[Drop()], is_raw=True), good(api, "two"))
    first, second = ask_all(api, server.base_url, [{"messages": m} for m in (HELLO, HELLO)], retries=QUICK)
    assert first.content == (TextBlock("one"),)
    assert second.content == (TextBlock("two"),)


def test_an_answer_before_the_whole_request_was_read(api):
    """A server that refuses a large request early and closes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse():
            connection, _ = listener.accept()
            connection.recv(10_000)
            body = b'{"error":{"message":"request exceeds the maximum size"}}'
            connection.sendall(
                b"HTTP/1.1 413 X\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s" % (len(body), body)
            )
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1_000_000):
                pass
            connection.close()

        threading.Thread(target=refuse, daemon=True).start()
        large = (Message("user", (TextBlock("x" * 20_000_000),)),)
        exchange = ask(api, f"http://127.0.0.1:{listener.getsockname()[1]}", large)
    assert type(exchange.error) is ContextOverflowError


def test_interim_responses_are_passed_over(server, api):
    frames = b"".join(FRAMES[api]([text("fine")]))
    head = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
    head += b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n" % len(frames)
    server.answer(Response(parts=[head + frames], is_raw=True))
    assert ask(api, server.base_url).content == (TextBlock("fine"),)


def certificate(folder):
    """A certificate for 127.0.0.1, made now."""
    options = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2", "-nodes"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", *options, *files], check=True, capture_output=True
    )
    return folder / "cert.pem", folder / "key.pem"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")
def test_tls(api, tmp_path):
    """A stream and a kept connection over TLS; a certificate nobody vouches for is refused, once, with the remedy."""
    cert, key = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    with ModelServer(tls=context) as server:
        address = server.base_url.replace("http:", "https:")
        refused = ask(api, address)
        assert type(refused.error) is NetworkError
        assert "certificate" in one_line(refused.error)
        assert "SSL_CERT_FILE" in refused.error.remedy
        assert refused.notices == []
        env = {"SSL_CERT_FILE": str(cert)}
        server.answer(good(api, "one"), good(api, "two " * 50_000))
        before = server.connections
        one, two = ask_all(api, address, [{"messages": HELLO}] * 2, env=env)
        assert one.content == (TextBlock("one"),)
        assert two.content == (TextBlock("two " * 50_000),)
        assert server.connections == before + 1
        server.answer(good(api, "three"))
        assert ask(api, address, ca_file=str(cert)).content == (TextBlock("three"),)
        with pytest.raises(SettingsError, match=r"ca_file .* cannot be used"):
            ask(api, address, ca_file=str(key))
        with pytest.raises(SettingsError, match=r"SSL_CERT_FILE .*none\.pem cannot be used: No such file"):
            ask(api, address, env={"SSL_CERT_FILE": str(tmp_path / "none.pem")})


def test_a_proxy_is_used_where_one_is_set(api):
    """The request for another host goes to the proxy, which answers for it."""
    with ModelServer() as proxy:
        proxy.answer(good(api))
        exchange = ask(api, "http://model.invalid", env={"HTTP_PROXY": proxy.base_url})
        assert exchange.content == (TextBlock("fine"),)
        assert proxy.requests[0].path.startswith("http://model.invalid/")


def test_a_proxy_is_not_asked_for_this_machine(server, api):
    server.answer(good(api))
    env = {"HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9", "ALL_PROXY": "http://127.0.0.1:9"}
    assert ask(api, server.base_url, env=env).content == (TextBlock("fine"),)
