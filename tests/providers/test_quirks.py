"""What servers make of the wire formats, as bytes on the wire, and the same message out of each."""

import json
import re
import time

import pytest

from claw_kernel.messages import TextBlock, ThinkingBlock, ToolCall, ToolSpec, Usage
from claw_kernel.providers._leaked import take_leaked_calls
from claw_kernel.providers._wire import read_tool_call
from tests.model_server import (
    DONE,
    FRAMES,
    anthropic_frames,
    chat_chunk,
    chat_frames,
    text,
    tool_call,
)
from tests.providers.conftest import HELLO, ask, ask_all

LS = {"command": "ls"}
TWO = [tool_call("call_a", "Bash", LS), tool_call("call_b", "Read", {"path": "x"})]


def fragment(call_id=None, name=None, arguments=None, index=None, **more):
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    call = {"index": index, "id": call_id, "type": "function", "function": function, **more}
    return chat_chunk({"tool_calls": [{key: value for key, value in call.items() if value is not None}]})


def chat(server, *frames, finish="tool_calls"):
    server.answer([*frames, *([chat_chunk({}, finish)] if finish else []), DONE])
    return ask("openai-chat", server.base_url)


ONE_CALL = {
    "index missing": [fragment("call_a", "Bash", '{"comm'), fragment(arguments='and": "ls"}')],
    "index missing, id on every fragment": [fragment("call_a", "Bash", '{"comm'), fragment("call_a", None, 'and": "ls"}')],
    "name on every fragment": [fragment("call_a", "Bash", '{"comm', 0), fragment(None, "Bash", 'and": "ls"}', 0)],
    "id and name on every fragment": [
        fragment("call_a", "Bash", '{"comm', 0),
        fragment("call_a", "Bash", 'and": "ls"}', 0),
        fragment("call_a", "Bash", "", 0),
    ],
    "empty id on later fragments": [fragment("call_a", "Bash", '{"comm', 0), fragment("", "", 'and": "ls"}', 0)],
    "name sent in pieces": [fragment("call_a", "Ba", None, 0), fragment(None, "sh", None, 0), fragment(None, None, '{"command": "ls"}', 0)],
    "arguments as an object": [fragment("call_a", "Bash", {"command": "ls"}, 0)],
    "id after the name": [fragment(None, "Bash", "", 0), fragment("call_a", None, '{"command": "ls"}', 0)],
    "whole call in one chunk": [fragment("call_a", "Bash", '{"command": "ls"}', 0)],
    "in message instead of delta": [
        b"data: %s\n\n"
        % json.dumps(
            {"choices": [{"message": {"tool_calls": [{"id": "call_a", "function": {"name": "Bash", "arguments": '{"command": "ls"}'}}]}}]}
        ).encode()
    ],
    "nulls everywhere": [
        b'data: {"choices": null}\n\n',
        b'data: {"choices": [{"delta": null, "finish_reason": null}], "usage": null}\n\n',
        chat_chunk({"role": None, "content": None, "tool_calls": None}),
        fragment("call_a", "Bash", '{"command": "ls"}', 0),
        b'data: {"choices": []}\n\n',
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", ONE_CALL)
def test_one_call(server, name):
    exchange = chat(server, *ONE_CALL[name])
    (call,) = exchange.content
    assert (call.name, call.input, call.malformed) == ("Bash", LS, "")
    assert call.id
    if name != "id after the name":
        assert call.id == "call_a"
    assert exchange.finished.stop == "tool_use"
    assert [name for name, _ in exchange.shown[2].values()] in (["Bash"], ["Ba"])


TWO_CALLS = {
    "index always 0": [fragment("call_a", "Bash", '{"command": "ls"}', 0), fragment("call_b", "Read", '{"path": "x"}', 0)],
    "index always 0, in fragments": [
        fragment("call_a", "Bash", '{"comm', 0), fragment(None, None, 'and": "ls"}', 0),
        fragment("call_b", "Read", '{"path', 0), fragment(None, None, '": "x"}', 0),
    ],
    "no index": [fragment("call_a", "Bash", '{"command": "ls"}'), fragment("call_b", "Read", '{"path": "x"}')],
    "no index, no id": [fragment(None, "Bash", '{"command": "ls"}'), fragment(None, "Read", '{"path": "x"}')],
    "index 0 and no id": [fragment(None, "Bash", '{"command": "ls"}', 0), fragment(None, "Read", '{"path": "x"}', 0)],
    "empty ids": [fragment("", "Bash", '{"command": "ls"}', 0), fragment("", "Read", '{"path": "x"}', 1)],
    "the same id twice": [fragment("call_a", "Bash", '{"command": "ls"}', 0), fragment("call_a", "Read", '{"path": "x"}', 1)],
    "fragments in turn": [
        fragment("call_a", "Bash", '{"comm', 0), fragment("call_b", "Read", '{"path', 1),
        fragment(None, None, 'and": "ls"}', 0), fragment(None, None, '": "x"}', 1),
    ],
    "both in one chunk": [
        chat_chunk({"tool_calls": [
            {"id": "call_a", "function": {"name": "Bash", "arguments": '{"command": "ls"}'}},
            {"id": "call_b", "function": {"name": "Read", "arguments": '{"path": "x"}'}},
        ]})
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", TWO_CALLS)
def test_two_calls(server, name):
    first, second = chat(server, *TWO_CALLS[name]).content
    assert (first.name, first.input) == ("Bash", LS)
    assert (second.name, second.input) == ("Read", {"path": "x"})
    assert first.id
    assert second.id
    assert first.id != second.id


@pytest.mark.parametrize("finish", ["stop", "end_turn", "", "tool_calls", "weird"])
def test_calls_decide_the_stop_reason(server, finish):
    """Ollama and others say ``stop`` although they asked for tools, or say nothing before the end mark."""
    assert chat(server, fragment("call_a", "Bash", "{}", 0), finish=finish).finished.stop == "tool_use"


@pytest.mark.parametrize(
    ("finish", "stop"),
    [("stop", "end_turn"), ("length", "max_tokens"), ("content_filter", "refusal"), ("tool_calls", "end_turn"), ("", "end_turn"), ("odd", "other")],
)  # fmt: skip
def test_stop_reasons_of_chat(server, finish, stop):
    assert chat(server, chat_chunk({"content": "hi"}), finish=finish).finished.stop == stop


@pytest.mark.parametrize(
    "stop", ["end_turn", "max_tokens", "refusal", "stop_sequence", "model_context_window_exceeded", "pause_turn"]
)
def test_stop_reasons_of_messages(server, stop):
    server.answer(anthropic_frames([text("hi")], stop=stop))
    wanted = {"model_context_window_exceeded": "context_overflow", "pause_turn": "other"}.get(stop, stop)
    assert ask("anthropic", server.base_url).finished.stop == wanted


@pytest.mark.parametrize(("reason", "stop"), [("max_output_tokens", "max_tokens"), ("content_filter", "refusal")])
def test_stop_reasons_of_responses(server, reason, stop):
    server.answer(FRAMES["openai-responses"]([text("hi")], status="incomplete", reason=reason))
    exchange = ask("openai-responses", server.base_url)
    assert exchange.finished.stop == stop
    assert exchange.finished.incomplete == ""


@pytest.mark.parametrize("arguments", ['{"command": "l', "[1]", "null", '"x"', "{'command': 'ls'}", "ls"])
def test_arguments_that_are_no_object_never_become_an_input(server, api, arguments):
    """Cut at the output limit, or not JSON: given back to the model as they came."""
    frames = FRAMES[api](
        [tool_call("call_a", "Bash", {"command": "ls"})], **({"stop": "max_tokens"} if api == "anthropic" else {})
    )
    whole = json.dumps({"command": "ls"}, separators=(",", ":"))
    pieces = [whole[i : i + 5] for i in range(0, len(whole), 5)]
    wire = b"".join(frames)
    for piece in pieces[1:]:
        wire = wire.replace(b":%s}" % json.dumps(piece).encode(), b':""}')
    wire = wire.replace(json.dumps(pieces[0]).encode(), json.dumps(arguments).encode())
    wire = wire.replace(json.dumps(whole).encode(), json.dumps(arguments).encode())  # Responses repeat them whole
    server.answer([wire])
    (call,) = ask(api, server.base_url).content
    assert call == ToolCall("call_a", "Bash", {}, malformed=arguments)


@pytest.mark.parametrize("arguments", ["", " ", None, "{}"])
def test_no_arguments_are_an_empty_object(server, arguments):
    assert chat(server, fragment("call_a", "Bash", arguments, 0)).content == (ToolCall("call_a", "Bash", {}),)


@pytest.mark.parametrize("api", FRAMES)
def test_a_call_cut_off_before_its_arguments_is_none_without_arguments(server, api):
    """The limit of the answer was reached between the call's name and its arguments: it must not run with none."""
    frames = FRAMES[api]([text("I look."), tool_call("c1", "Bash", {"command": "ls"})], **{
        "anthropic": {"stop": "max_tokens"}, "openai-chat": {"stop": "length"}, "openai-responses": {"status": "incomplete"}
    }[api])  # fmt: skip
    unwritten = [frame.replace(b'{\\"command\\":\\"ls\\"}', b"") for frame in frames]
    lost = (b"input_json_delta", b'[{"index":0,"function":{"arguments"', b"function_call_arguments")
    server.answer([frame for frame in unwritten if not any(mark in frame for mark in lost)])
    finished = ask(api, server.base_url).finished
    call = finished.message.content[-1]
    assert (call.name, call.input, finished.stop) == ("Bash", {}, "max_tokens")
    assert call.malformed


def test_no_end_mark(server):
    """The stream just ends after its finish reason."""
    server.answer([frame for frame in chat_frames(TWO) if frame != DONE])
    assert len(ask("openai-chat", server.base_url).content) == 2


def test_neither_finish_reason_nor_usage(server):
    exchange = chat(server, chat_chunk({"content": "hi"}), finish=None)
    assert exchange.content == (TextBlock("hi"),)
    assert exchange.finished.usage == Usage(is_least=True)


def test_usage_in_the_choice(server):
    choice = {
        "index": 0,
        "delta": {"content": "hi"},
        "finish_reason": "stop",
        "usage": {"prompt_tokens": 4, "completion_tokens": 2},
    }
    server.answer([b"data: %s\n\n" % json.dumps({"choices": [choice]}).encode(), DONE])
    assert ask("openai-chat", server.base_url).finished.usage == Usage(4, 2)


def test_usage_with_deepseek_cache_hits(server):
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 2,
        "prompt_cache_hit_tokens": 90,
        "prompt_cache_miss_tokens": 10,
    }
    server.answer(chat_frames([text("hi")], usage=usage))
    assert ask("openai-chat", server.base_url).finished.usage == Usage(10, 2, 90, 0)


def test_reasoning_that_is_counted_beside_the_answer(server):
    """xAI and Gemini: the total says it."""
    usage = {"prompt_tokens": 279, "completion_tokens": 6, "total_tokens": 374}
    server.answer(chat_frames([text("hi")], usage=usage))
    assert ask("openai-chat", server.base_url).finished.usage == Usage(279, 95)


def test_a_prompt_of_no_tokens_at_the_end_of_a_message_is_no_count(server):
    zeros = b'"usage":{"output_tokens":20,"input_tokens":0,"cache_read_input_tokens":0,"cache_creation_input_tokens":0}'
    frames = [f.replace(b'"usage":{"output_tokens":20}', zeros) for f in anthropic_frames([text("hi")])]
    server.answer(frames)
    assert ask("anthropic", server.base_url).finished.usage == Usage(10, 20, 5, 3)


@pytest.mark.parametrize("api", ["openai-chat", "openai-responses"])
def test_what_was_written_to_a_cache_is_counted_apart(server, api):
    """OpenAI from GPT-5.6 on, and OpenRouter for Claude: writing costs more than reading anew."""
    details = {"cached_tokens": 60, "cache_write_tokens": 30}
    usage = {
        "openai-chat": {"prompt_tokens": 100, "completion_tokens": 2, "prompt_tokens_details": details},
        "openai-responses": {"input_tokens": 100, "output_tokens": 2, "input_tokens_details": details},
    }[api]
    server.answer(FRAMES[api]([text("hi")], usage=usage))
    assert ask(api, server.base_url).finished.usage == Usage(10, 2, 60, 30)


def test_usage_of_messages_is_cumulative(server):
    """Several message_delta events: the last counters count, they are not added."""
    frames = anthropic_frames([text("hi")])
    early = b'event: message_delta\ndata: {"type":"message_delta","delta":{},"usage":{"output_tokens":7,"input_tokens":11}}\n\n'
    server.answer([*frames[:-2], early, *frames[-2:]])
    assert ask("anthropic", server.base_url).finished.usage == Usage(11, 20, 5, 3)


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning", "reasoning_text"])
def test_reasoning_fields(server, field):
    exchange = chat(
        server,
        chat_chunk({field: "hm"}),
        chat_chunk({field: "m", "content": None}),
        chat_chunk({"content": "hi"}),
        finish="stop",
    )
    assert exchange.content == (ThinkingBlock("hmm"), TextBlock("hi"))


def test_two_reasoning_fields_with_the_same_text(server):
    frame = chat_chunk({"reasoning": "hmm", "reasoning_content": "hmm", "content": ""})
    assert chat(server, frame, chat_chunk({"content": "hi"}), finish="stop").content == (
        ThinkingBlock("hmm"),
        TextBlock("hi"),
    )


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_a_thought_between_tags_is_no_answer(server, size):
    """However it is cut into pieces, it comes as reasoning and not as text."""
    said = "\n<think>\nif a < b: </thin k> x</think>\n\nThe <think>tag</think> stays."
    frames = [chat_chunk({"content": said[i : i + size]}) for i in range(0, len(said), size)]
    exchange = chat(server, *frames, finish="stop")
    assert exchange.content == (
        ThinkingBlock("\nif a < b: </thin k> x"),
        TextBlock("The <think>tag</think> stays."),
    )
    assert exchange.shown[:2] == ("The <think>tag</think> stays.", "\nif a < b: </thin k> x")


@pytest.mark.parametrize("said", ["<thi", "<", "  <think", "<thing>", "a<think>b</think>"])
def test_what_only_looks_like_a_thought_is_text(server, said):
    frames = [chat_chunk({"content": letter}) for letter in said]
    assert chat(server, *frames, finish="stop").content == (TextBlock(said),)


def test_a_thought_and_then_a_call(server):
    call = {"index": 0, "id": "call_a", "function": {"name": "Bash", "arguments": "{}"}}
    exchange = chat(server, chat_chunk({"content": "<think>hm</think>"}), chat_chunk({"tool_calls": [call]}))
    assert exchange.content == (ThinkingBlock("hm"), ToolCall("call_a", "Bash", {}))


def test_content_as_a_list_of_parts(server):
    frame = chat_chunk({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]})
    assert chat(server, frame, finish="stop").content == (TextBlock("ab"),)


def test_content_and_call_in_one_delta(server):
    call = {"index": 0, "id": "call_a", "function": {"name": "Bash", "arguments": "{}"}}
    exchange = chat(server, chat_chunk({"content": "look", "tool_calls": [call]}))
    assert exchange.content == (TextBlock("look"), ToolCall("call_a", "Bash", {}))


def test_a_refusal_in_its_own_field(server):
    exchange = chat(server, chat_chunk({"refusal": "No."}), finish="stop")
    assert exchange.content == (TextBlock("No."),)
    assert exchange.finished.stop == "refusal"


def test_an_answer_without_content(server, api):
    """Asked once more; when the second is empty too, it is the answer, and the person is told."""
    server.answer(FRAMES[api]([]), FRAMES[api]([text("here")]))
    assert ask(api, server.base_url).content == (TextBlock("here"),)
    server.answer(FRAMES[api]([]), FRAMES[api]([]))
    exchange = ask(api, server.base_url)
    assert exchange.content == ()
    assert exchange.finished.stop == "end_turn"
    assert exchange.notices[-1] == "local answered with nothing"
    assert len(server.requests) == 4


def test_unknown_frames_and_blocks_are_passed_over(server):
    """New kinds of events, blocks and deltas must not break old clients (the API's versioning rules)."""
    frames = anthropic_frames([text("hi")])
    new = [
        b'event: fanfare\ndata: {"type":"fanfare"}\n\n',
        b'event: content_block_start\ndata: {"type":"content_block_start","index":7,"content_block":{"type":"hologram"}}\n\n',
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":7,"delta":{"type":"hologram_delta"}}\n\n',
    ]
    server.answer([frames[0], *new, *frames[1:]])
    assert ask("anthropic", server.base_url).content == (TextBlock("hi"),)


def test_a_service_tier_nobody_knows(server, api):
    """Servers write what they like there, in every frame, also among the counts."""
    wire = b"".join(FRAMES[api]([text("hi")]))
    for place in (b'"model":', b'"input_tokens":', b'"prompt_tokens":'):
        wire = wire.replace(place, b'"service_tier":"on_demand-9",' + place)
    assert wire.count(b"on_demand-9") > 1
    server.answer([wire], FRAMES[api]([text("hi")]))
    odd, usual = ask_all(api, server.base_url, [{"messages": HELLO}] * 2)
    assert odd.finished == usual.finished


def test_redacted_thinking(server):
    server.answer(anthropic_frames([{"type": "redacted_thinking", "data": "opaque=="}, text("hi")]))
    assert ask("anthropic", server.base_url).content == (ThinkingBlock("", redacted="opaque=="), TextBlock("hi"))


def test_a_gateway_that_sends_tool_input_at_once(server):
    frames = [frame for frame in anthropic_frames([tool_call("t1", "Bash", LS)]) if b"input_json_delta" not in frame]
    frames = [frame.replace(b'"input":{}', b'"input":{"command":"ls"}') for frame in frames]
    server.answer(frames)
    assert ask("anthropic", server.base_url).content == (ToolCall("t1", "Bash", LS),)


def test_responses_without_output_indexes(server):
    """As llama.cpp sends them: which item a frame is about is told by its id alone."""
    frames = FRAMES["openai-responses"]([text("I look."), tool_call("c1", "Bash", {"command": "ls"})])
    frames = [re.sub(rb'"output_index":\d+,', b"", frame) for frame in frames]
    named = [  # its frames of arguments have the id too
        frame.replace(
            b'"response.function_call_arguments.delta",', b'"response.function_call_arguments.delta","item_id":"fc1",'
        )
        for frame in frames
    ]
    server.answer(named)
    assert ask("openai-responses", server.base_url).content == (
        TextBlock("I look."),
        ToolCall("c1", "Bash", {"command": "ls"}),
    )


TOOLS = (ToolSpec("Bash", "Run a command.", {"type": "object"}), ToolSpec("Read", "Read.", {"type": "object"}))
LEAKED = {
    "Hermes": '<tool_call>\n{"name": "Bash", "arguments": {"command": "ls"}}\n</tool_call>',
    "Hermes, two": '<tool_call>{"name": "Bash", "arguments": {"command": "ls"}}</tool_call>\n'
    '<tool_call>{"name": "Read", "arguments": {"path": "x"}}</tool_call>',
    "Hermes, without its end": '<tool_call>\n{"name": "Bash", "arguments": {"command": "ls"}}\n',
    "arguments as text": '<tool_call>{"name": "Bash", "arguments": "{\\"command\\": \\"ls\\"}"}</tool_call>',
    "Qwen3-Coder": "<tool_call>\n<function=Bash>\n<parameter=command>\nls\n</parameter>\n</function>\n</tool_call>",
    "Qwen3-Coder, bare": "<function=Bash>\n<parameter=command>\nls\n</parameter>\n</function>",
    "Mistral": '[TOOL_CALLS][{"name": "Bash", "arguments": {"command": "ls"}}]',
    "Llama": '{"name": "Bash", "parameters": {"command": "ls"}}',
    "Llama, tagged": '<|python_tag|>{"name": "Bash", "parameters": {"command": "ls"}}',
    "after words": 'I look.\n<tool_call>{"name": "Bash", "arguments": {"command": "ls"}}</tool_call>',
}
NO_CALLS = [
    '<tool_call>{"name": "Nothing", "arguments": {}}</tool_call>',
    '<tool_call>{"name": "Bash", "arguments": {"comm',
    'Write <tool_call>{"name": "Bash", "arguments": {}}</tool_call> and it runs.',
    'So: {"name": "Bash", "parameters": {}}',
    '{"name": "Bash"}',
    '{"name": "Bash", "parameters": {}, "why": 1, "more": 2}',
]


@pytest.mark.parametrize("said", ["", "I look."])
def test_a_call_that_the_server_lost(server, said):
    """Ollama and others drop calls when they stream: the answer is asked for once more, and the person told if it stays so."""
    lost = [chat_chunk({"content": said}), chat_chunk({}, "tool_calls"), DONE]
    server.answer(lost, chat_frames(TWO))
    request = {"messages": HELLO, "tools": TOOLS}
    exchange = ask_all("openai-chat", server.base_url, [request])[0]
    assert [block.name for block in exchange.content] == ["Bash", "Read"]
    assert exchange.shown[0] == ""
    assert "local announced a tool call and sent none; trying again" in exchange.notices[0]
    server.answer(lost, lost)
    exchange = ask_all("openai-chat", server.base_url, [request])[0]
    assert exchange.content == ((TextBlock(said),) if said else ())
    assert exchange.finished.stop == "end_turn"
    assert exchange.notices[-1] == "local announced a tool call and sent none"
    assert len(server.requests) == 4


def say(server, said, tools=TOOLS):
    frames = [chat_chunk({"content": said[i : i + 4]}) for i in range(0, len(said), 4)]
    server.answer([*frames, chat_chunk({}, "stop"), DONE])
    return ask_all("openai-chat", server.base_url, [{"messages": HELLO, "tools": tools}])[0]


@pytest.mark.parametrize("name", LEAKED)
def test_a_call_that_leaked_into_the_text(server, name):
    exchange = say(server, LEAKED[name])
    calls = [block for block in exchange.content if isinstance(block, ToolCall)]
    assert (calls[0].name, calls[0].input) == ("Bash", LS)
    assert [call.name for call in calls[1:]] == (["Read"] if name == "Hermes, two" else [])
    assert [b.text for b in exchange.content if isinstance(b, TextBlock)] == (
        ["I look."] if name == "after words" else []
    )
    assert exchange.finished.stop == "tool_use"


@pytest.mark.parametrize("said", NO_CALLS)
def test_what_only_looks_like_a_call_is_text(server, said):
    assert say(server, said).content == (TextBlock(said),)


def test_no_call_leaks_where_no_tools_were_offered(server):
    assert say(server, LEAKED["Hermes"], tools=()).content == (TextBlock(LEAKED["Hermes"]),)


def test_halves_of_a_character(server):
    """A server that counts in UTF-16 cuts an emoji between two frames; a lone half is no character."""
    frame = b'data: {"choices":[{"delta":{"content":"%s"}}]}\n\n'
    halves = [frame % b"a\\ud83c", frame % b"\\udf89b", frame % b"\\ud83d.", chat_chunk({}, "stop"), DONE]
    server.answer(halves)
    assert ask("openai-chat", server.base_url).content == (TextBlock("a🎉b\ufffd."),)


def test_looking_for_leaked_calls_takes_one_pass():
    """However a model repeats the marks."""
    for mark in (
        "<tool_call>{}</tool_call>",
        "<tool_call>{",
        "<function=a></function>",
        "[TOOL_CALLS][",
        "<|python_tag|>{",
        "{",
    ):
        text = mark * 20_000 + "x"
        started = time.perf_counter()
        assert take_leaked_calls(text, {"a"}) == (text, [])
        assert time.perf_counter() - started < 2


def test_arguments_nested_beyond_any_use():
    """Deeper than a JSON parser goes: malformed, like any other arguments that cannot be read."""
    deep = "[" * 100_000
    assert read_tool_call("c", "Bash", deep).malformed == deep
    assert take_leaked_calls(f"[TOOL_CALLS]{deep}", {"Bash"})[1] == []


# --- what no server should send ---


def strange(*values):
    """Frames of these objects."""
    return [b"data: %s\n\n" % json.dumps(value).encode() for value in values]


def block(value, index=0):
    return {"type": "content_block_start", "index": index, "content_block": value}


def chunk(delta, finish=None):
    return {"choices": [{"delta": delta, "finish_reason": finish}]}


STRANGE = {
    "a choice that is text": ("openai-chat", [{"choices": ["x"]}]),
    "choices as an object": ("openai-chat", [{"choices": {"0": 1}}]),
    "a delta that is text": ("openai-chat", [{"choices": [{"delta": "x"}]}]),
    "a stop reason that is an object": ("openai-chat", [chunk({"content": "x"}), chunk({}, {"a": 1})]),
    "a name that is an object": ("openai-chat", [chunk({"tool_calls": [{"id": "c", "function": {"name": {"a": 1}}}]}, "stop")]),
    "a block that is a list": ("anthropic", [block([1])]),
    "an index that is an object": ("anthropic", [block({"type": "text"}, {"a": 1})]),
    "a text that is a number": ("anthropic", [block({"type": "text", "text": 5}), {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}]),
    "a name that is a number": ("anthropic", [block({"type": "tool_use", "id": "c", "name": 5}), {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}]),
    "a text that is a number, of a block that is done": ("anthropic", [block({"type": "text", "text": 5}), {"type": "content_block_stop", "index": 0}]),
    "an id that is a list": ("anthropic", [block({"type": "tool_use", "id": [1], "name": "Bash"})]),
    "a signature that is a list": ("anthropic", [block({"type": "thinking", "signature": [1]}), {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}]),
    "an item's name that is a list": ("openai-responses", [{"type": "response.output_item.added", "item": {"type": "function_call", "call_id": "c", "name": [1]}}]),
    "an item that is text": ("openai-responses", [{"type": "response.output_item.added", "item": "x"}]),
    "arguments that are a list": ("openai-responses", [{"type": "response.completed", "response": {"output": [{"type": "function_call", "name": "Bash", "arguments": [1]}]}}]),
}  # fmt: skip


@pytest.mark.parametrize("name", STRANGE)
def test_what_no_api_knows_is_one_named_error_after_one_more_try(server, name):
    api, values = STRANGE[name]
    server.answer(strange(*values), strange(*values))
    error = ask(api, server.base_url).error
    assert (error.kind, len(server.requests)) == ("protocol", 2)
    assert "that its API does not know" in error.message


@pytest.mark.parametrize("api", FRAMES)
def test_frames_that_are_no_objects_are_passed_over(server, api):
    server.answer([*strange([1, 2], "x", 3), *FRAMES[api]([text("hi")])])
    assert ask(api, server.base_url).content == (TextBlock("hi"),)


@pytest.mark.parametrize("api", FRAMES)
def test_a_model_without_a_name_answers_all_the_same(server, api):
    frames = [re.sub(rb'"model":"[^"]*"', b'"model":{"a":1}', frame) for frame in FRAMES[api]([text("hi")])]
    server.answer(frames)
    finished = ask(api, server.base_url).finished
    assert (finished.message.content, finished.model) == ((TextBlock("hi"),), "")


def test_an_id_that_is_a_number_is_one(server):
    exchange = chat(server, fragment(17, "Bash", '{"command": "ls"}', 0))
    assert exchange.content == (ToolCall("17", "Bash", LS),)


@pytest.mark.parametrize(
    ("said", "counted"),
    [
        ({"prompt_tokens": 12.0, "completion_tokens": 3}, Usage(12, 3)),
        ({"prompt_tokens": "12", "completion_tokens": None}, Usage(is_least=True)),
        ({"prompt_tokens": 12, "completion_tokens": -3}, Usage(12, 0)),
        ({"prompt_tokens": True}, Usage(is_least=True)),
        ([1, 2], Usage(is_least=True)),
    ],
)
def test_a_count_is_a_whole_number(server, said, counted):
    assert chat(server, chat_chunk({"content": "hi"}, usage=said), finish="stop").finished.usage == counted


@pytest.mark.parametrize("api", FRAMES)
@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (b"<html><body>Log in</body></html>", "protocol", "answered with a web page"),
        (b'{"error": {"message": "boom", "type": "invalid_request_error"}}', "invalid_request", "boom"),
        (b"what?", "protocol", "instead of a stream of events"),
        (b"", "stream", "ended its answer before it began"),
    ],
)
def test_a_stream_that_is_none_is_called_what_it_is(server, api, body, kind, words):
    server.answer(*[[body] if body else []] * 8)
    error = ask(api, server.base_url).error
    assert error.kind == kind
    assert words in error.message
