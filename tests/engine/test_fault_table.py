"""What a server can do wrong, as one table: how the turn ends, how many requests were sent, what the person reads, in each
wire format. In every row the model asks for one command, and it must have run as often as the row says: never twice.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import socket
import threading
import time
from dataclasses import dataclass
from email.utils import formatdate

import pytest

from claw_kernel.agent.engine import engine_loop
from claw_kernel.messages import ProviderNotice, TextBlock
from claw_kernel.providers import ProviderSettings, Retries, Timeouts, open_provider
from tests.engine.conftest import play
from tests.model_server import EVENT_STREAM, FRAMES, JSON, Drop, ModelServer, Response, text, tool_call

APIS = ("anthropic", "openai-chat", "openai-responses")
RETRIES = Retries(first_seconds=0.001, longest_seconds=0.004, jitter=0)
IMPATIENT = Timeouts(first_byte_seconds=1, local_first_byte_seconds=1, idle_seconds=1)
"""Where the fault is silence; elsewhere a busy machine has all the time it needs."""
CALL = tool_call("call_one", "Bash", {"command": "echo once >> ran"})
SECOND = tool_call("call_two", "Bash", {"command": "echo never >> ran"})
BEGUN = b'\\"com'
"""Of the call's arguments, in JSON in JSON: here they are being written."""
HTML = {"content-type": "text/html; charset=utf-8"}


# --- the faults -------------------------------------------------------------------------------------------------------


def status(number, message="", headers=None, **error):
    body = json.dumps({"error": {"message": message, **error}}).encode()
    return lambda api: Response(number, {**JSON, **(headers or {})}, [body])


def page(code):
    return lambda api: Response(code, HTML, [b"<html>Bad gateway</html>"])


def raw(*parts):
    return lambda api: Response(parts=list(parts), is_raw=True)


def stream(*parts, headers=EVENT_STREAM):
    return lambda api: Response(200, headers, list(parts))


def whole(pack=lambda body: body, headers=EVENT_STREAM):
    """A proper answer, packed in some way."""
    return lambda api: Response(200, headers, [pack(b"".join(FRAMES[api]([text("I call."), CALL])))])


def cut(mark, *blocks, then=None):
    """The answer up to the first frame that holds ``mark``, and then the connection is lost, or ``then`` happens."""

    def make(api):
        frames = FRAMES[api](list(blocks))
        place = next(number for number, frame in enumerate(frames) if mark in frame) + 1
        return Response(parts=[*frames[:place], *([0.02, Drop()] if then is None else [then])])

    return make


def date_in(seconds):
    def make(api):
        return status(429, headers={"retry-after": formatdate(time.time() + seconds, usegmt=True)})(api)

    return make


@dataclass(frozen=True)
class Row:
    fault: str
    make: object
    """The response of the first request, for a wire format; of each one where ``is_lasting``."""
    outcome: str
    """``answer``: the command has run and the turn ends well. Else the kind of the error that ends it."""
    requests: int
    line: str
    """What the person reads, with ``*`` for anything; empty: nothing, the fault is unseen."""
    is_lasting: bool = False
    runs: int = 1


# Recovered, a turn has two good requests: the one that asks for the command, and the one that says "Done.".
# fmt: off
TABLE = [
    # a limit of the rate
    Row("429",                        status(429, "slow"),                                    "answer", 3, "rate limited by local; trying again in 0.001 s (1/4)"),
    Row("429, Retry-After: 0.1",      status(429, headers={"retry-after": "0.1"}),            "answer", 3, "rate limited by local; trying again in 0.1 s (1/4)"),
    Row("429, retry-after-ms: 100",   status(429, headers={"retry-after-ms": "100"}),         "answer", 3, "rate limited by local; trying again in 0.1 s (1/4)"),
    Row("429, Retry-After: a date",   date_in(1.5),                                           "answer", 3, "rate limited by local; trying again in * s (1/4)"),
    Row("429, Retry-After: 900",      status(429, "slow", {"retry-after": "900"}),            "rate_limit", 1, "local limits the rate of requests (429): slow; it asks to wait 15 minutes. Run the cell again in 15 minutes, or choose another model.", runs=0),
    Row("429 that stays",             status(429, "slow"),                                    "rate_limit", 5, "rate limited by local; trying again in 0.001 s (1/4) | … | local limits the rate of requests (429): slow; gave up after 5 attempts. Wait a little, or choose another model.", is_lasting=True, runs=0),
    Row("429, no quota left",         status(429, "You exceeded your current quota", code="insufficient_quota"), "quota", 1, "local says the account has no quota or credit left (429): You exceeded your current quota. Add credit at the provider, or choose another model.", runs=0),
    # a server in trouble
    Row("529",                        status(529, "Overloaded"),                              "answer", 3, "local is overloaded; trying again in 0.001 s (1/4)"),
    Row("529 that stays",             status(529, "Overloaded"),                              "overloaded", 5, "local is overloaded; trying again in 0.001 s (1/4) | … | local is overloaded (529); gave up after 5 attempts. Try again in a while.", is_lasting=True, runs=0),
    Row("500",                        status(500, "oops"),                                    "answer", 3, "local failed (500): oops; trying again in 0.001 s (1/4)"),
    Row("502, a page",                page(502),                                              "answer", 3, "local failed (502); trying again in 0.001 s (1/4)"),
    Row("503",                        page(503),                                              "answer", 3, "local is overloaded; trying again in 0.001 s (1/4)"),
    Row("500 that stays",             status(500, "oops"),                                    "server", 5, "local failed (500): oops; trying again in 0.001 s (1/4) | … | local failed (500): oops; gave up after 5 attempts. Try again in a while.", is_lasting=True, runs=0),
    Row("408",                        status(408),                                            "answer", 3, "local failed (408); trying again in 0.001 s (1/4)"),
    Row("409",                        status(409),                                            "answer", 3, "local failed (409); trying again in 0.001 s (1/4)"),
    # a connection that is lost
    Row("reset before the first byte", raw(Drop()),                                           "answer", 3, "The connection to local at * was lost (*); trying again in 0.001 s (1/4)"),
    Row("closed before the first byte", raw(Drop(is_reset=False)),                            "answer", 3, "The connection to local at * was lost (*); trying again in 0.001 s (1/4)"),
    Row("reset, and it stays",        raw(Drop()),                                            "network", 5, "The connection to local at * was lost (*); trying again in 0.001 s (1/4) | … | The connection to local at * was lost (*); gave up after 5 attempts. Check the network and try again.", is_lasting=True, runs=0),
    Row("cut in the text",            cut(b"I ca", text("I call."), CALL),                    "answer", 3, "The connection to local at * was lost (*); trying again in 0.001 s (1/4)"),
    Row("ended in the text",          lambda api: Response(parts=FRAMES[api]([text("I call.")])[:3]), "answer", 3, "local ended its answer in the middle; trying again in 0.001 s (1/4)"),
    Row("cut in a call's arguments",  cut(BEGUN, CALL),                                     "answer", 3, "The connection to local at * was lost (*); trying again in 0.001 s (1/4)"),
    Row("the same after text",        cut(BEGUN, text("I call."), CALL),                    "answer", 3, "The connection to local at * was lost (*); what had arrived is kept, and the model goes on from there"),
    Row("cut after a completed call", cut(b"call_two", text("I call."), CALL, SECOND),        "answer", 2, "The connection to local at * was lost (*); what had arrived is kept, and the model goes on from there"),
    # silence
    Row("nothing comes",              raw(1.5),                                               "answer", 3, "local at * sent nothing for 1 s; trying again in 0.001 s (1/4)"),
    Row("silence in the text",        cut(b"I ca", text("I call."), CALL, then=1.5),          "answer", 3, "local sent nothing for 1 s; trying again in 0.001 s (1/4)"),
    Row("silence after a call",       cut(b"call_two", CALL, SECOND, then=1.5),               "answer", 2, "local sent nothing for 1 s; what had arrived is kept, and the model goes on from there"),
    # something else than an answer
    Row("no HTTP",                    raw(b"\x16\x03\x01\x02garbage\r\n\r\n"),                "answer", 3, "The connection to local at * was lost (*); trying again in 0.001 s (1/4)"),
    Row("bytes in place of a stream", stream(bytes(range(256)) * 4),                          "answer", 3, "http://* answered with something else instead of a stream of events; trying again in 0.001 s (1/1)"),
    Row("a frame that is no JSON",    stream(b"data: {not json}\n\n"),                        "answer", 3, "local sent an event that is no JSON: '{not json}'; trying again in 0.001 s (1/1)"),
    Row("a page with 200",            page(200),                                              "answer", 3, "http://* answered with a web page instead of a stream of events; trying again in 0.001 s (1/1)"),
    Row("a page with 200, always",    page(200),                                              "protocol", 2, "http://* answered with a web page instead of a stream of events; trying again in 0.001 s (1/1) | http://* answered with a web page instead of a stream of events; gave up after 2 attempts. Check the base URL, the API, and whether a login page or proxy is in the way.", is_lasting=True, runs=0),
    Row("JSON with 200",              stream(b'{"ok": true}', headers=JSON),                  "answer", 3, "http://* answered with application/json instead of a stream of events; trying again in 0.001 s (1/1)"),
    Row("an error object with 200",   stream(b'{"error": {"message": "busy", "code": 529}}', headers=JSON), "answer", 3, "local is overloaded; trying again in 0.001 s (1/4)"),
    Row("a stream as text/plain",     whole(headers={"content-type": "text/plain"}),          "answer", 2, ""),
    Row("a stream without a type",    whole(headers={}),                                      "answer", 2, ""),
    Row("gzip, announced",            whole(gzip.compress, {**EVENT_STREAM, "content-encoding": "gzip"}), "answer", 2, ""),
    Row("gzip, unannounced",          whole(gzip.compress),                                   "answer", 2, ""),
    Row("gzip, announced and not so", whole(headers={**EVENT_STREAM, "content-encoding": "gzip"}), "answer", 3, "The connection to local at * was lost (*); trying again in 0.001 s (1/4)"),
    Row("redirect",                   lambda api: Response(307, {"location": "https://elsewhere.example/v1"}, []), "invalid_request", 1, "http://* redirects to https://elsewhere.example/v1. Use that address as the base URL if you trust it: a key is never sent on to another host.", runs=0),
    # refused for good
    Row("400",                        status(400, "messages: wrong"),                         "invalid_request", 1, "local refused the request (400): messages: wrong. If it persists, clear the session or choose another model.", runs=0),
    Row("400, filtered",              status(400, "The prompt was flagged by the content management policy", code="content_filter"), "content_filter", 1, "local refused the content of this conversation (400): The prompt was flagged by the content management policy. Put it in other words, clear the session, or choose another model.", runs=0),
    Row("401",                        status(401, "no"),                                      "auth", 1, "local at * wants a key (401). Set CLAW_API_KEY.", runs=0),
    Row("402",                        status(402, "pay"),                                     "quota", 1, "local says the account has no quota or credit left (402): pay. Add credit at the provider, or choose another model.", runs=0),
    Row("404, the model",             status(404, "model m not found"),                       "model_not_found", 1, "local does not know the model 'm' (404). Choose another, such as one that * lists, with `%claw model` or --model.", runs=0),
    Row("404, a page",                page(404),                                              "invalid_request", 1, "There is no such service at * (404). Check the base URL and the API (anthropic, openai-chat, openai-responses).", runs=0),
]

UNREACHABLE = [
    Row("no TLS behind https",        "https",    "network", 0, "The TLS connection to 127.0.0.1 failed: *. Check the clock and, behind a company proxy, set * to its certificate.", runs=0),
    Row("a name nobody knows",        "name",     "network", 0, "The name no-such-host.invalid cannot be found; trying again in 0.001 s (1/4) | … | The name no-such-host.invalid cannot be found; gave up after 5 attempts. Check the network connection and the base URL.", runs=0),
    Row("nobody listens",             "refused",  "network", 0, "Nothing answers at * (connection refused). Start the server or check the base URL.", runs=0),
]
# fmt: on


# --- the test ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(make_agent):
    """Play a turn against an address and give ``(record, the lines a person reads)``."""

    def play_turn(api, base_url, row):
        agent = make_agent([], permission_mode="bypassPermissions")
        timeouts = IMPATIENT if "sent nothing" in row.line else Timeouts()
        settings = ProviderSettings(base_url=base_url, api=api, retries=RETRIES, timeouts=timeouts)
        agent._providers["local/m"] = asyncio.run_coroutine_threadsafe(_open(settings), engine_loop()).result(5)
        agent.set_model("local/m")
        events = play(agent.start("go"))
        record = events[-1].record
        lines = [event.text for event in events if isinstance(event, ProviderNotice)]
        if record.error is not None:
            lines.append(f"{record.error.message} {record.error.remedy}")
        return record, lines

    return play_turn


async def _open(settings):
    return open_provider("local/m", settings)


def model(api, row):
    """Answers as a model does: what has its result is not called again."""
    asked = 0

    def answer(request):
        nonlocal asked
        asked += 1
        if asked == 1 or row.is_lasting:
            return row.make(api)
        is_done = b"call_one" in request.body
        return Response(parts=FRAMES[api]([text("Done.")] if is_done else [CALL]))

    return answer


def check(row, record, lines, requests, ran):
    outcome = (
        record.error.kind if record.error else "answer" if record.stop_reason == "end_turn" else record.stop_reason
    )
    assert outcome == row.outcome, record.error
    assert requests == row.requests
    assert ran == "once\n" * row.runs
    if outcome == "answer":
        last = record.steps[-1].content[-1]
        assert isinstance(last, TextBlock)
        assert last.text == "Done."
    expected = row.line.split(" | … | ") if " | … | " in row.line else row.line.split(" | ") if row.line else []
    if " | … | " in row.line:
        lines = [lines[0], lines[-1]]
    assert len(lines) == len(expected), lines
    for line, wanted in zip(lines, expected, strict=True):
        assert "\n" not in line
        pattern = re.escape(wanted).replace(r"\*", ".+")
        assert re.fullmatch(pattern, line), f"{line!r} is not {wanted!r}"


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.fault)
def test_fault(run, workspace, row, api):
    with ModelServer(repeat=True) as server:
        server.answer(model(api, row))
        record, lines = run(api, server.base_url, row)
        ran = (workspace / "ran").read_text() if (workspace / "ran").exists() else ""
        check(row, record, lines, len(server.requests), ran)
        if row.requests > 1 and lines and "trying again" in lines[0]:
            assert server.requests[0].body == server.requests[1].body, "the same request is sent again"


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("row", UNREACHABLE, ids=lambda row: row.fault)
def test_no_server(run, row, api):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        if row.make == "https":
            threading.Thread(target=answer_plainly, args=(listener,), daemon=True).start()
        else:
            listener.close()
        address = {"https": f"https://127.0.0.1:{port}", "name": "http://no-such-host.invalid"}
        record, lines = run(api, address.get(row.make, f"http://127.0.0.1:{port}"), row)
    check(row, record, lines, 0, "")


def answer_plainly(listener):
    """As a server without TLS does: it reads what it takes for a request and says that it is none."""
    connection, _ = listener.accept()
    connection.recv(1000)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(1000):
        pass
    connection.close()
