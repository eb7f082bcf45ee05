"""Another model in the place of one that cannot be had."""

import asyncio
from functools import partial

import pytest

from claw_kernel.errors import AuthError, ContextOverflowError, OverloadedError
from claw_kernel.messages import (
    Message,
    ModelRequest,
    TextBlock,
    ThinkingBlock,
    ToolCall,
    ToolResult,
)
from claw_kernel.providers import ProviderSettings, Retries, open_provider
from claw_kernel.providers.fallback import FallbackProvider
from tests.model_server import FRAMES, JSON, Response, text, thinking, tool_call
from tests.providers.conftest import HELLO, collect

ONCE = Retries(limit=0)
OVERLOADED = Response(529, JSON, [b'{"error":{"type":"overloaded_error","message":"Overloaded"}}'])
UNKNOWN = Response(404, JSON, [b'{"error":{"type":"not_found_error","message":"model: first"}}'])
NO_KEY = Response(401, JSON, [b'{"error":{"type":"authentication_error","message":"invalid x-api-key"}}'])


def answer(*blocks):
    return FRAMES["anthropic"](list(blocks))


def converse(server, requests, names=("anthropic/second", "anthropic/third")):
    async def run():
        settings = ProviderSettings(
            {"ANTHROPIC_API_KEY": "k" * 20, "ANTHROPIC_BASE_URL": server.base_url}, retries=ONCE
        )
        primary, model = open_provider("anthropic/first", settings)
        provider = FallbackProvider(primary, "anthropic/first", names, partial(open_provider, settings=settings))
        try:
            return [await collect(provider, ModelRequest(model, "s", messages)) for messages in requests]
        finally:
            await provider.aclose()

    return asyncio.run(run())


def asked(server):
    return [request.json["model"] for request in server.requests]


@pytest.mark.parametrize("fault", [OVERLOADED, UNKNOWN, Response(429, JSON, [b"{}"]), Response(500, JSON, [b"{}"])])
def test_the_next_one_answers(server, fault):
    server.answer(fault, answer(text("here")))
    (exchange,) = converse(server, [HELLO])
    assert exchange.content == (TextBlock("here"),)
    assert exchange.finished.answered_by == "anthropic/second"
    assert "anthropic/second is asked instead" in exchange.notices[-1]
    assert asked(server) == ["first", "second"]


def test_the_first_says_nothing_of_fallbacks(server):
    server.answer(answer(text("here")))
    (exchange,) = converse(server, [HELLO])
    assert (exchange.finished.answered_by, exchange.notices) == ("", [])


def test_one_that_cannot_be_used_is_passed_over(server):
    server.answer(OVERLOADED, answer(text("here")))
    (exchange,) = converse(server, [HELLO], ["nobody/x", "openai/no-key", "anthropic/third"])
    assert exchange.finished.answered_by == "anthropic/third"
    assert len(exchange.notices) == 3


def test_none_can_be_had(server):
    server.answer(OVERLOADED, UNKNOWN, OVERLOADED)
    (exchange,) = converse(server, [HELLO])
    assert isinstance(exchange.error, OverloadedError)
    assert asked(server) == ["first", "second", "third"]


def test_a_fallback_for_which_it_is_too_long_says_so(server):
    """So that the conversation is shortened, and not given up because the first model cannot be had."""
    long = Response(400, JSON, [b'{"error":{"message":"prompt is too long: 30000 tokens > 16000 maximum"}}'])
    server.answer(UNKNOWN, long, OVERLOADED)
    (exchange,) = converse(server, [HELLO])
    assert type(exchange.error) is ContextOverflowError
    assert asked(server) == ["first", "second", "third"]


def test_a_wrong_key_is_the_persons_to_mend(server):
    server.answer(NO_KEY)
    (exchange,) = converse(server, [HELLO])
    assert isinstance(exchange.error, AuthError)
    assert asked(server) == ["first"]


def test_a_stream_that_broke_is_forgotten(server):
    server.answer([*answer(text("half of it"))[:4]], answer(text("whole")))
    (exchange,) = converse(server, [HELLO])
    assert exchange.shown[0] == "whole"
    assert len(exchange.restarts) == 1


def test_thoughts_stay_with_the_model_that_had_them(server):
    """In one turn: the first thinks and calls, the second answers that and calls, and is asked first from then on."""
    first = Message("assistant", (ThinkingBlock("hm", "sig=="), ToolCall("c1", "Bash", {})))
    done = Message("user", (ToolResult("c1", (TextBlock("ok"),)),))
    server.answer(OVERLOADED, answer(thinking("second's", "sig2"), tool_call("c2", "Bash", {})), answer(text("end")))

    messages = (*HELLO, first, done)
    second = Message("assistant", (ThinkingBlock("second's", "sig2"), ToolCall("c2", "Bash", {})))
    exchanges = converse(
        server, [messages, (*messages, second, Message("user", (ToolResult("c2", (TextBlock("ok"),)),)))]
    )
    assert exchanges[0].content == second.content
    assert asked(server) == ["first", "second", "second"]
    kinds = [[block["type"] for block in m["content"]] for m in server.requests[-1].json["messages"]]
    assert kinds == [["text"], ["tool_use"], ["tool_result"], ["thinking", "tool_use"], ["tool_result"]]
    assert kinds[:3] == [[b["type"] for b in m["content"]] for m in server.requests[1].json["messages"]]
    assert "thinking" in str(server.requests[0].json["messages"][1])
