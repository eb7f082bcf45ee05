"""Each wire format gives the same message however the network cuts it."""

import asyncio
import gzip

import pytest

from claw_kernel.messages import ModelRequest, TextBlock, ThinkingBlock, ToolCall, Usage
from claw_kernel.providers import ProviderSettings, open_provider
from tests.model_server import EVENT_STREAM, FRAMES, Response, text, thinking, tool_call
from tests.providers.conftest import HELLO, ask, collect

BLOCKS = [
    thinking("Hm, ö🎉"),
    text("Grüße 🎉\n"),
    tool_call("call_1", "Bash", {"command": 'a "ü🎉'}),
    tool_call("call_2", "Read", {}),
]


def check_blocks(exchange, api):
    first, second, third, fourth = exchange.content
    assert isinstance(first, ThinkingBlock)
    assert first.text == "Hm, ö🎉"
    if api == "anthropic":
        assert first.signature == "sig=="
    assert second == TextBlock("Grüße 🎉\n")
    assert third == ToolCall("call_1", "Bash", {"command": 'a "ü🎉'})
    assert fourth == ToolCall("call_2", "Read", {})
    finished = exchange.finished
    assert finished.stop == "tool_use"
    assert finished.incomplete == ""
    assert finished.usage == Usage(10, 20, 5, 3 if api == "anthropic" else 0)
    assert finished.model in {"claude-test", "gpt-test"}
    shown_text, shown_thinking, calls = exchange.shown
    assert shown_text == second.text
    assert shown_thinking == first.text
    assert [name for name, _ in calls.values()] == ["Bash", "Read"]
    assert list(calls) == ["call_1", "call_2"]


def test_whole(server, api):
    server.answer(FRAMES[api](BLOCKS))
    check_blocks(ask(api, server.base_url), api)


def test_byte_by_byte(server, api):
    body = b"".join(FRAMES[api](BLOCKS))
    server.answer([body[i : i + 1] for i in range(len(body))])
    check_blocks(ask(api, server.base_url), api)


def test_one_chunk_of_everything(server, api):
    server.answer([b"".join(FRAMES[api](BLOCKS))])
    check_blocks(ask(api, server.base_url), api)


def test_cut_at_every_byte(server, api):
    """The body arrives in two reads, cut at each byte in turn: within UTF-8, within tool JSON, within line ends."""
    body = b"".join(FRAMES[api](BLOCKS))
    server.answer(*([body[:place], 0.001, body[place:]] for place in range(1, len(body))))

    async def run():
        provider, model = open_provider("m", ProviderSettings({}, server.base_url, api))
        left = iter(range(1, len(body)))

        async def ask_on():
            for _ in left:
                check_blocks(await collect(provider, ModelRequest(model, "", HELLO)), api)

        await asyncio.gather(*(ask_on() for _ in range(8)))
        await provider.aclose()

    asyncio.run(run())
    # All over a few connections: a stream that was read to its end leaves the connection usable.
    assert server.connections < len(body) / 20


def test_cut_within_chunk_frames(server, api):
    """HTTP chunk sizes, extensions and line ends cut over reads; a trailer at the end."""
    body = b"".join(FRAMES[api](BLOCKS))
    size = 29
    pieces = [body[i : i + size] for i in range(0, len(body), size)]
    wire = b"".join(b"%X;ext=1\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\nx-trailer: 1\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: Chunked\r\n\r\n"
    wire = head + wire
    parts = []
    for i in range(0, len(wire), 7):
        parts += [wire[i : i + 7], 0.0001]
    server.answer(Response(parts=parts, is_raw=True))
    check_blocks(ask(api, server.base_url), api)


@pytest.mark.parametrize("ending", [b"\r\n", b"\r", b"\n"])
def test_other_line_ends_comments_and_byte_order_mark(server, api, ending):
    frames = FRAMES[api](BLOCKS)
    body = b"\xef\xbb\xbf: hello\n\n" + b": keepalive\n\n".join(frames) + b"retry: 3\nid: 7\n\n"
    body = body.replace(b"\n", ending)
    server.answer([body[i : i + 3] for i in range(0, len(body), 3)])
    check_blocks(ask(api, server.base_url), api)


def test_no_blank_line_at_the_end(server, api):
    body = b"".join(FRAMES[api](BLOCKS)).rstrip(b"\n")
    server.answer(Response(parts=[body], is_chunked=False))
    check_blocks(ask(api, server.base_url), api)


def test_content_length_instead_of_chunks(server, api):
    body = b"".join(FRAMES[api](BLOCKS))
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n" % len(body)
    server.answer(Response(parts=[head[:20], 0.01, head[20:] + body[:50], 0.01, body[50:]], is_raw=True))
    check_blocks(ask(api, server.base_url), api)


def test_gzip(server, api):
    body = gzip.compress(b"".join(FRAMES[api](BLOCKS)))
    parts = [body[i : i + 10] for i in range(0, len(body), 10)]
    server.answer(Response(200, {**EVENT_STREAM, "content-encoding": "gzip"}, parts))
    check_blocks(ask(api, server.base_url), api)


def test_an_event_name_alone_says_the_type(server):
    """Gateways that leave ``type`` out of the data."""
    frames = FRAMES["anthropic"]([text("hello")])
    bare = [frame.replace(b'"type":"content_block_delta",', b"") for frame in frames]
    assert bare != frames
    server.answer(bare)
    assert ask("anthropic", server.base_url).content == (TextBlock("hello"),)


def test_data_over_several_lines(server):
    frame = b'data: {"choices":[{"delta":\ndata: {"content":"hi"},\ndata:"finish_reason":"stop"}]}\n\n'
    server.answer([frame, b"data: [DONE]\n\n"])
    assert ask("openai-chat", server.base_url).content == (TextBlock("hi"),)


def test_a_line_separator_in_text_is_text(server, api):
    """U+2028, U+0085 and form feed end no line of an event stream."""
    odd = "a\u2028b\u0085c\x0cd"
    server.answer(FRAMES[api]([text(odd)]))
    assert ask(api, server.base_url).content == (TextBlock(odd),)


def test_text_deltas_are_joined_per_read(server, api):
    server.answer(FRAMES[api]([text("word ", deltas=20_000)]))
    exchange = ask(api, server.base_url)
    assert exchange.content == (TextBlock("word " * 20_000),)
    assert exchange.shown[0] == "word " * 20_000
    assert len(exchange.events) < 1_000


def test_closing_the_iterator_closes_the_connection(server, api):
    server.answer([*FRAMES[api]([text("hello there")])[:5], 30.0])

    async def run():
        provider, model = open_provider("m", ProviderSettings({}, server.base_url, api))
        stream = provider.stream(ModelRequest(model, "", HELLO))
        async for _ in stream:
            break
        async with asyncio.timeout(0.5):
            await stream.aclose()
        await provider.aclose()

    asyncio.run(run())


@pytest.mark.parametrize("after_seconds", [0.0, 0.01, 0.1])
def test_cancel_at_any_point(server, api, after_seconds):
    """Before the request, before the answer and within it: the task ends at once, the provider serves the next request."""
    frames = FRAMES[api]([text("hello there")])
    slow = [part for frame in frames[:-1] for part in (frame, 0.03)]

    async def run():
        provider, model = open_provider("m", ProviderSettings({}, server.base_url, api))
        request = ModelRequest(model, "", HELLO)
        server.answer(frames)
        assert (await collect(provider, request)).content
        server.answer([0.05, *slow, 5.0])
        task = asyncio.create_task(collect(provider, request))
        await asyncio.sleep(after_seconds)
        task.cancel()
        async with asyncio.timeout(0.5):
            with pytest.raises(asyncio.CancelledError):
                await task
        await asyncio.sleep(0.1)
        server.clear()
        server.answer(FRAMES[api]([text("next")]))
        exchange = await collect(provider, request)
        await provider.aclose()
        return exchange

    assert asyncio.run(run()).content == (TextBlock("next"),)
