"""One suite that every provider passes: each wire format, and each dialect of Chat Completions."""

import asyncio
import json

import pytest

from claw_kernel.errors import ContextOverflowError, OverloadedError
from claw_kernel.messages import (
    ImageBlock,
    Message,
    ModelRequest,
    Step,
    TextBlock,
    ThinkingBlock,
    ToolCall,
    ToolResult,
    ToolSpec,
    TurnRecord,
    Usage,
)
from claw_kernel.providers import ProviderSettings, Retries, open_provider
from claw_kernel.providers.known import KNOWN
from claw_kernel.session import Session
from tests.model_server import DONE, FRAMES, JSON, Response, chat_chunk, text, thinking, tool_call
from tests.providers.conftest import HELLO, QUICK, ask_all, collect

SUBJECTS = {
    "anthropic": ("anthropic", "anthropic"),
    "responses": (None, "openai-responses"),
    **{name: (name, "openai-chat") for name, known in KNOWN.items() if known.api == "openai-chat"},
    "local": (None, "openai-chat"),
}
PNG = ImageBlock("image/png", "iVBORw0KGgo=")
TOOLS = (ToolSpec("Bash", "Run a command.", {"type": "object", "properties": {}}),)
TWO = [tool_call("call_a", "Bash", {"command": 'echo "ü🎉"'}), tool_call("call_b", "Read", {"path": "x"})]
OVERFLOWS = {
    "anthropic": (400, "prompt is too long: 215000 tokens > 200000 maximum"),
    "responses": (400, "Your input exceeds the context window of this model. (context_length_exceeded)"),
    "openai": (400, "This model's maximum context length is 128000 tokens. However, your messages resulted in 130000 tokens."),
    "azure": (400, "This model's maximum context length is 128000 tokens, however you requested 150000 tokens"),
    "openrouter": (400, "This endpoint's maximum context length is 163840 tokens. However, you requested about 170000 tokens"),
    "deepseek": (400, "This model's maximum context length is 131072 tokens. However, you requested 140000 tokens"),
    "groq": (400, "Please reduce the length of the messages or completion."),
    "mistral": (400, "Prompt contains 140000 tokens and 0 draft tokens, too large for model with 131072 maximum context length"),
    "xai": (400, "This model's maximum prompt length is 131072 but the request contains 140000 tokens."),
    "gemini": (400, "The input token count (1200000) exceeds the maximum number of tokens allowed (1048575)."),
    "moonshot": (400, "Invalid request: Your request exceeded model token limit: 262144"),
    "dashscope": (400, "Range of input length should be [1, 129024]"),
    "ollama": (400, "input length exceeds the context length"),
    "llamacpp": (400, "the request exceeds the available context size, try increasing it"),
    "vllm": (400, "This model's maximum context length is 4096 tokens. However, your request has 5000 input tokens."),
    "lmstudio": (400, "The number of tokens to keep from the initial prompt is greater than the context length"),
    "local": (413, ""),
}  # fmt: skip


@pytest.fixture(params=SUBJECTS)
def subject(request):
    return request.param


def api_of(subject):
    return SUBJECTS[subject][1]


def settings_of(subject, server, retries=QUICK):
    name, api = SUBJECTS[subject]
    return ProviderSettings({}, server.base_url, None if name else api, retries=retries)


def frames(subject, *blocks, **options):
    return FRAMES[api_of(subject)](list(blocks), **options)


def ask(subject, server, messages=HELLO, retries=QUICK, **fields):
    name = f"{SUBJECTS[subject][0]}/m" if SUBJECTS[subject][0] else "m"
    settings = settings_of(subject, server, retries)
    return ask_all(settings.api, server.base_url, [{"messages": messages, **fields}], retries=retries, model=name)[0]


def test_text_thinking_and_usage(subject, server):
    server.answer(frames(subject, thinking("Hm, ö🎉"), text("Grüße 🎉\n")))
    exchange = ask(subject, server)
    thought, said = exchange.content
    assert (thought.text, said) == ("Hm, ö🎉", TextBlock("Grüße 🎉\n"))
    assert exchange.shown[:2] == ("Grüße 🎉\n", "Hm, ö🎉")
    assert exchange.finished.stop == "end_turn"
    assert exchange.finished.usage == Usage(10, 20, 5, 3 if subject == "anthropic" else 0)


def test_parallel_calls_with_arguments_in_fragments(subject, server):
    server.answer(frames(subject, text("I look."), *TWO))
    exchange = ask(subject, server, tools=TOOLS)
    assert exchange.content == (
        TextBlock("I look."),
        ToolCall("call_a", "Bash", {"command": 'echo "ü🎉"'}),
        ToolCall("call_b", "Read", {"path": "x"}),
    )
    shown = exchange.shown[2]
    assert {call: (name, json.loads(written)) for call, (name, written) in shown.items()} == {
        "call_a": ("Bash", {"command": 'echo "ü🎉"'}),
        "call_b": ("Read", {"path": "x"}),
    }
    assert exchange.finished.stop == "tool_use"


@pytest.mark.parametrize("offset", [0, 1, 2, 3])
def test_unicode_at_every_cut(subject, server, offset):
    """Pieces of three bytes from each place on: every character of several bytes is cut at each of them."""
    body = b"".join(frames(subject, thinking("ö🎉"), text("ü🎉é\u2028"), TWO[0]))
    pieces = [body[:offset], *(body[i : i + 3] for i in range(offset, len(body), 3))]
    server.answer([piece for piece in pieces if piece])
    exchange = ask(subject, server)
    assert [block.text for block in exchange.content[:2]] == ["ö🎉", "ü🎉é\u2028"]
    assert exchange.content[2].input == {"command": 'echo "ü🎉"'}


def test_images_in_a_prompt_and_in_a_result(subject, server):
    messages = (
        Message("user", (TextBlock("what is this?"), PNG)),
        Message("assistant", (ToolCall("call_a", "Plot", {}), ToolCall("call_b", "Plot", {}))),
        Message("user", (ToolResult("call_a", (TextBlock("a plot"), PNG)), ToolResult("call_b", (PNG,)))),
    )
    server.answer(frames(subject, text("ok")))
    assert ask(subject, server, messages).content
    assert json.dumps(server.requests[-1].json).count(PNG.data) == 3


def test_an_empty_answer_is_asked_for_once_more(subject, server):
    server.answer(frames(subject), frames(subject, text("here")))
    assert ask(subject, server).content == (TextBlock("here"),)


def test_overflow(subject, server):
    status, said = OVERFLOWS[subject]
    server.answer(Response(status, JSON, [json.dumps({"error": {"message": said}}).encode() if said else b""]))
    exchange = ask(subject, server)
    assert type(exchange.error) is ContextOverflowError, exchange.error
    assert len(server.requests) == 1


def test_an_error_inside_a_200_stream(subject, server):
    error = {"error": {"type": "overloaded_error", "code": 529, "message": "Overloaded"}}
    frame = b"event: error\ndata: %s\n\n" % json.dumps({"type": "error", **error}).encode()
    kept = 3 if api_of(subject) == "openai-chat" else 4
    server.answer([*frames(subject, text("half of it"))[:kept], frame])
    exchange = ask(subject, server, retries=Retries(limit=0))
    assert type(exchange.error) is OverloadedError
    server.answer([frame], frames(subject, text("here")))
    assert ask(subject, server).content == (TextBlock("here"),)


def test_what_was_whole_before_an_error_is_kept(server):
    """In one read, too: the finish reason had come already."""
    whole = b"".join(frames("openai", text("all of it"))[:-2])
    server.answer([whole + b'data: {"error":{"message":"late"}}\n\n'])
    assert ask("openai", server).content == (TextBlock("all of it"),)


def test_a_refusal_is_named(subject, server):
    api = api_of(subject)
    if api == "anthropic":
        wire = b"".join(frames(subject, text("I"), stop="refusal"))
        details = b'"stop_details":{"type":"refusal","category":"cyber","explanation":null},"stop_reason":"refusal"'
        server.answer([wire.replace(b'"stop_reason":"refusal"', details)])
    elif api == "openai-responses":
        server.answer(frames(subject, text("I"), status="incomplete", reason="content_filter"))
    else:
        server.answer([chat_chunk({"content": "I"}), chat_chunk({}, "content_filter"), DONE])
    exchange = ask(subject, server)
    assert exchange.finished.stop == "refusal"
    assert exchange.notices[-1].endswith("by its policy: cyber" if api == "anthropic" else "stopped the answer")


def test_calls_of_a_refused_answer_are_none(subject, server):
    api = api_of(subject)
    stop = {"anthropic": {"stop": "refusal"}, "openai-chat": {"stop": "content_filter"}}
    stopped = stop.get(api, {"status": "incomplete", "reason": "content_filter"})
    server.answer(frames(subject, text("I"), tool_call("c1", "Bash", {"command": "ls"}), **stopped))
    finished = ask(subject, server).finished
    assert (finished.stop, finished.message.content) == ("refusal", (TextBlock("I"),))


def test_citations_come_along(subject, server):
    api, url, title = api_of(subject), "https://example.org/a", "A page"
    said = frames(subject, text("It is so."))
    if api == "anthropic":
        cited = {"type": "web_search_result_location", "url": url, "title": title, "cited_text": "so"}
        delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "citations_delta", "citation": cited}}
        said.insert(-3, b"event: content_block_delta\ndata: %s\n\n" % json.dumps(delta).encode())
    elif api == "openai-responses":
        note = json.dumps([{"type": "url_citation", "url": url, "title": title}]).encode()
        said = [frame.replace(b'"annotations":[]', b'"annotations":' + note) for frame in said]
    else:
        note = {"type": "url_citation", "url_citation": {"url": url, "title": title}}
        said.insert(-3, chat_chunk({"annotations": [note, note]}))
    server.answer(said)
    (block,) = ask(subject, server).content
    assert block.text == "It is so."
    assert [(citation.url, citation.title) for citation in block.citations] == [(url, title)]


def test_cancel_closes_at_once_and_the_next_request_works(subject, server):
    server.answer([*frames(subject, text("hello there"))[:4], 5.0])

    async def run():
        name = f"{SUBJECTS[subject][0]}/m" if SUBJECTS[subject][0] else "m"
        provider, model = open_provider(name, settings_of(subject, server))
        task = asyncio.create_task(collect(provider, ModelRequest(model, "", HELLO)))
        await asyncio.sleep(0.1)
        task.cancel()
        async with asyncio.timeout(2):
            with pytest.raises(asyncio.CancelledError):
                await task
        server.clear()
        server.answer(frames(subject, text("next")))
        exchange = await collect(provider, ModelRequest(model, "", HELLO))
        await provider.aclose()
        return exchange

    assert asyncio.run(run()).content == (TextBlock("next"),)


@pytest.mark.parametrize("other", ["anthropic", "responses", "openai", "openrouter", "mistral", "gemini", "deepseek"])
def test_a_switch_in_the_middle_of_a_session_stays_valid(subject, server, other):
    """What ``subject`` answered goes to ``other``: without its thoughts and signatures, with ids that ``other`` takes."""
    server.answer(frames(subject, thinking("secret thought", "sig=="), text("I look."), *TWO))
    answer = ask(subject, server, tools=TOOLS).finished
    calls = [block for block in answer.message.content if isinstance(block, ToolCall)]
    step = Step(answer.message.content, tuple(ToolResult(call.id, (TextBlock("ok"), PNG)) for call in calls))
    session = Session()
    session.add(
        TurnRecord("t1", session.session_id, "p", (TextBlock("p"),), f"{subject}/m", "2026-01-01T00:00:00Z", (step, Step((TextBlock("done"),))), stop_reason="end_turn")
    )  # fmt: skip
    server.answer(frames(other, text("fine")))
    messages = (*session.transcript(f"{other}/n"), *HELLO)
    assert ask(other, server, messages, tools=TOOLS).content == (TextBlock("fine"),)
    body = json.dumps(server.requests[-1].json)
    if other != subject:
        assert "secret thought" not in body
        assert "sig==" not in body
    assert any(isinstance(block, ThinkingBlock) for block in answer.message.content)
