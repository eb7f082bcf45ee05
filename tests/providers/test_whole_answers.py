"""Servers that were asked for a stream and answer with one JSON document, as bytes on the wire, and the same events out of each."""

import json

import pytest

from claw_kernel.messages import TextBlock, ThinkingBlock, ToolCall
from tests.model_server import FRAMES, JSON, Response, text, thinking, tool_call
from tests.providers.conftest import HELLO, ask, ask_all

LS = {"command": "ls"}
TWO = [tool_call("call_a", "Bash", LS), tool_call("call_b", "Read", {"path": "x"})]
WHOLE = {
    "openai-chat": b"""{"id": "c1", "object": "chat.completion", "model": "gpt-test", "service_tier": null, "choices": [{"index": 0,
        "message": {"role": "assistant", "content": "Gr\xc3\xbc\xc3\x9fe", "refusal": null, "reasoning_content": "Hm", "tool_calls": [
            {"id": "call_a", "type": "function", "function": {"name": "Bash", "arguments": "{\\"command\\": \\"ls\\"}"}},
            {"id": "call_b", "type": "function", "function": {"name": "Read", "arguments": "{\\"path\\": \\"x\\"}"}}]},
        "logprobs": null, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 15, "completion_tokens": 20, "prompt_tokens_details": {"cached_tokens": 5}}}""",
    "anthropic": b"""{"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-test", "content": [
        {"type": "thinking", "thinking": "Hm", "signature": "sig=="}, {"type": "text", "text": "Gr\xc3\xbc\xc3\x9fe", "citations": null},
        {"type": "tool_use", "id": "call_a", "name": "Bash", "input": {"command": "ls"}},
        {"type": "tool_use", "id": "call_b", "name": "Read", "input": {"path": "x"}}],
        "stop_reason": "tool_use", "stop_sequence": null,
        "usage": {"input_tokens": 10, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 3, "output_tokens": 20}}""",
    "openai-responses": b"""{"id": "r1", "object": "response", "model": "gpt-test", "status": "completed", "error": null,
        "incomplete_details": null, "output": [
        {"type": "reasoning", "id": "rs0", "summary": [{"type": "summary_text", "text": "Hm"}], "encrypted_content": "sig=="},
        {"type": "message", "id": "m1", "role": "assistant", "status": "completed",
            "content": [{"type": "output_text", "text": "Gr\xc3\xbc\xc3\x9fe", "annotations": []}]},
        {"type": "function_call", "id": "fc2", "call_id": "call_a", "name": "Bash", "arguments": "{\\"command\\": \\"ls\\"}"},
        {"type": "function_call", "id": "fc3", "call_id": "call_b", "name": "Read", "arguments": "{\\"path\\": \\"x\\"}"}],
        "usage": {"input_tokens": 15, "output_tokens": 20, "input_tokens_details": {"cached_tokens": 5}}}""",
}  # fmt: skip
"""From a server that takes no notice of ``stream``: what it streams otherwise, as one JSON document."""


def shown(exchange):
    """What the screen has, blanks in a call's arguments aside."""
    said, thought, calls = exchange.shown
    return said, thought, {call_id: (name, json.loads(arguments)) for call_id, (name, arguments) in calls.items()}


@pytest.mark.parametrize("headers", [{"content-type": "application/json"}, {"content-type": "text/plain"}, {}, None])
@pytest.mark.parametrize("size", [7, 100_000])
def test_a_server_that_does_not_stream_is_read_all_the_same(server, api, size, headers):
    body = b"\n \n" + WHOLE[api]  # blanks keep the connection open while the model writes
    parts = [body[i : i + size] for i in range(0, len(body), size)]
    server.answer(Response(parts=parts) if headers is None else Response(200, headers, parts))
    server.answer(FRAMES[api]([thinking("Hm"), text("Grüße"), *TWO]))
    whole, streamed = ask_all(api, server.base_url, [{"messages": HELLO}] * 2)
    assert [type(block) for block in whole.content] == [ThinkingBlock, TextBlock, ToolCall, ToolCall]
    assert whole.finished == streamed.finished
    assert shown(whole) == shown(streamed)
    assert whole.notices == []
    assert server.connections == 1


def test_a_whole_answer_says_why_it_ended(server, api):
    """Cut at the output limit; a refusal where the format has a place for it."""
    cut = (
        WHOLE[api]
        .replace(b'"finish_reason": "tool_calls"', b'"finish_reason": "length"')
        .replace(b'"stop_reason": "tool_use"', b'"stop_reason": "max_tokens"')
        .replace(b'"status": "completed", "error"', b'"status": "incomplete", "error"')
    )
    server.answer(Response(200, JSON, [cut]))
    assert ask(api, server.base_url).finished.stop == "max_tokens"


def test_a_whole_answer_that_failed_is_its_error(server):
    body = b'{"object": "response", "status": "failed", "output": [], "error": {"code": "rate_limit_exceeded", "message": "slow"}}'
    server.answer(*[Response(200, JSON, [body])] * 5)
    assert ask("openai-responses", server.base_url).error.kind == "rate_limit"
    assert len(server.requests) == 5


@pytest.mark.parametrize("cut", [1, 40, 300])
def test_half_of_a_whole_answer_is_none(server, api, cut):
    """What it had of calls never runs; it is asked for once more."""
    server.answer(Response(200, JSON, [WHOLE[api][:-cut]]), FRAMES[api]([text("whole")]))
    assert ask(api, server.base_url).content == (TextBlock("whole"),)
    assert len(server.requests) == 2


def test_the_answer_of_another_api_is_named(server, api):
    other = next(name for name in WHOLE if name != api)
    server.answer(*[Response(200, JSON, [WHOLE[other]])] * 2)
    error = ask(api, server.base_url).error
    assert (error.kind, len(server.requests)) == ("protocol", 2)
    assert "answered with application/json instead of a stream of events" in error.message


def test_a_stream_that_is_called_json_is_a_stream(server, api):
    server.answer(Response(200, JSON, FRAMES[api]([text("hi")])))
    assert ask(api, server.base_url).content == (TextBlock("hi"),)


def test_responses_that_come_only_at_the_end_are_shown(server):
    frames = FRAMES["openai-responses"]([thinking("Hm"), text("Hello"), *TWO])
    server.answer(frames[:1] + frames[-1:])
    exchange = ask("openai-responses", server.base_url)
    assert [type(block) for block in exchange.content] == [ThinkingBlock, TextBlock, ToolCall, ToolCall]
    assert shown(exchange) == ("Hello", "Hm", {"call_a": ("Bash", LS), "call_b": ("Read", {"path": "x"})})
