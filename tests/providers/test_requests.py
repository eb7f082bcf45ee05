"""What is sent: legal in each wire format, with a prefix that stays the same bytes from request to request."""

import json
from itertools import pairwise

import pytest

from claw_kernel.messages import (
    ImageBlock,
    Message,
    ModelRequest,
    TextBlock,
    ThinkingBlock,
    ToolCall,
    ToolResult,
    ToolSpec,
)
from claw_kernel.providers import ProviderSettings, open_provider
from claw_kernel.providers.known import KNOWN
from tests.model_server import FRAMES, chat_chunk, text, thinking, tool_call
from tests.providers.conftest import HELLO, ask, ask_all

TOOLS = (
    ToolSpec("Bash", "Run a command.", {"type": "object", "properties": {"command": {"type": "string"}}}),
    ToolSpec("Read", "Read a file.", {"type": "object", "properties": {}}),
)
PNG = ImageBlock("image/png", "iVBORw0KGgo=")


def result(call_id, *content, is_error=False):
    return ToolResult(call_id, content or (TextBlock("done"),), is_error)


def session(steps, size=4000):
    """A prompt and ``steps`` tool calls with results of ``size`` characters."""
    messages = [Message("user", (TextBlock("Go"),))]
    for i in range(steps):
        messages.append(
            Message("assistant", (TextBlock(f"step {i}"), ToolCall(f"toolu_{i}", "Bash", {"command": "x"})))
        )
        messages.append(Message("user", (result(f"toolu_{i}", TextBlock(f"{i} " * (size // 2))),)))
    return messages


def sent(server, api, messages, **options):
    server.answer(FRAMES[api]([text("ok")]))
    assert ask(api, server.base_url, tuple(messages), **options).content
    return server.requests[-1].json


def test_a_request_begins_with_the_bytes_of_the_one_before(server, api):
    messages = session(40)
    requests = [{"messages": tuple(messages[: 2 * step + 1]), "tools": TOOLS} for step in range(41)]
    server.answer(*[FRAMES[api]([text("ok")])] * len(requests))
    ask_all(api, server.base_url, requests)
    bodies = [request.body for request in server.requests]
    for before, after in pairwise(bodies):
        kept = next(i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b)
        # Only the last breakpoint and the closing brackets of the request before are not there any more.
        assert len(before) - kept < 60


def test_breakpoints(server):
    """On the last tool, the system text and the last block: three, and a fourth where the look-back would miss."""
    server.answer(FRAMES["anthropic"]([text("ok")]))
    ask_all("anthropic", server.base_url, [{"messages": tuple(session(3)), "tools": TOOLS}])
    assert server.requests[-1].body.count(b"cache_control") == 3
    request = server.requests[-1].json
    assert request["tools"][-1]["cache_control"] == request["system"][0]["cache_control"] == {"type": "ephemeral"}
    assert request["messages"][-1]["content"][-1]["cache_control"] == {"type": "ephemeral"}


def test_a_breakpoint_more_where_a_step_added_many_blocks(server):
    calls = tuple(ToolCall(f"t{i}", "Bash", {}) for i in range(12))
    messages = [*HELLO, Message("assistant", calls), Message("user", tuple(result(call.id) for call in calls))]
    request = sent(server, "anthropic", messages)
    assert "cache_control" in request["messages"][0]["content"][-1]
    assert "cache_control" in request["messages"][2]["content"][-1]
    assert json.dumps(request).count("cache_control") == 3


def test_requests_hold_what_each_api_needs(server, api):
    server.answer(FRAMES[api]([text("ok")]))
    ask_all(api, server.base_url, [{"messages": HELLO, "tools": TOOLS, "max_tokens": 77}])
    request = server.requests[-1]
    body = request.json
    assert body["stream"] is True
    assert body["model"] == "m"
    assert 77 in body.values()
    assert len(body["tools"]) == 2
    path = {"anthropic": "/v1/messages", "openai-chat": "/v1/chat/completions", "openai-responses": "/v1/responses"}[
        api
    ]
    assert request.path == path
    assert "Be brief." in request.body.decode()
    if api == "anthropic":
        assert request.headers["anthropic-version"] == "2023-06-01"
        assert body["tools"][0]["input_schema"] == TOOLS[0].input_schema


def test_keys_go_where_they_belong(server):
    for model, env, header, value in [
        ("anthropic/m", {"ANTHROPIC_API_KEY": "k1"}, "x-api-key", "k1"),
        ("anthropic/m", {"ANTHROPIC_AUTH_TOKEN": "k2"}, "authorization", "Bearer k2"),
        ("openai/m", {"OPENAI_API_KEY": "k3"}, "authorization", "Bearer k3"),
    ]:
        api = "anthropic" if "anthropic" in model else "openai-chat"
        server.answer(FRAMES[api]([text("ok")]))
        assert ask(None, server.base_url, model=model, env=env).content
        assert server.requests[-1].headers[header] == value
        assert server.requests[-1].json["model"] == "m"


def test_no_key_of_a_provider_goes_to_another_server(server, api):
    env = {"ANTHROPIC_API_KEY": "k1", "OPENAI_API_KEY": "k2"}
    sent(server, api, HELLO, env=env)
    headers = server.requests[-1].headers
    assert "authorization" not in headers
    assert "x-api-key" not in headers


def test_images_in_results(server, api):
    """Inside the result where the API takes them there, else in a user message after the results."""
    calls = (ToolCall("a", "Plot", {}), ToolCall("b", "Plot", {}))
    results = (result("a", TextBlock("plotted"), PNG), result("b", PNG), TextBlock("go on"))
    body = sent(server, api, [*HELLO, Message("assistant", calls), Message("user", results)])
    if api == "anthropic":
        assert [part["type"] for part in body["messages"][-1]["content"][0]["content"]] == ["text", "image"]
        assert body["messages"][-1]["content"][1]["content"][0]["source"]["data"] == PNG.data
    elif api == "openai-chat":
        tool_a, tool_b, user = body["messages"][-3:]
        assert (tool_a["role"], tool_a["content"]) == ("tool", "plotted")
        assert (tool_b["role"], tool_b["content"]) == ("tool", "(see the image below)")
        assert [part["type"] for part in user["content"]] == ["image_url", "image_url", "text"]
        assert user["content"][0]["image_url"]["url"] == f"data:image/png;base64,{PNG.data}"
    else:
        first, second = [item for item in body["input"] if item.get("type") == "function_call_output"]
        assert [part["type"] for part in first["output"]] == ["input_text", "input_image"]
        assert [part["type"] for part in second["output"]] == ["input_image"]


def test_an_image_of_a_failed_result_stands_beside_it(server):
    """The Messages API takes only text in a result that is an error."""
    messages = [
        *HELLO,
        Message("assistant", (ToolCall("a", "Plot", {}),)),
        Message("user", (result("a", PNG, is_error=True),)),
    ]
    first, second = sent(server, "anthropic", messages)["messages"][-1]["content"]
    assert first["is_error"] is True
    assert [part["type"] for part in first["content"]] == ["text"]
    assert second["type"] == "image"


def test_an_image_in_the_prompt(server, api):
    body = sent(server, api, [Message("user", (TextBlock("what is this"), PNG))])
    assert PNG.data in json.dumps(body)


@pytest.mark.parametrize("call_id", ["toolu_01", "call|x/ü", "c" * 41, "c" * 64, "c" * 500, "fc.1", ""])
def test_ids_another_provider_gave_fit_this_one(server, api, call_id):
    """A call and its result get the same legal id."""
    body = sent(
        server,
        api,
        [*HELLO, Message("assistant", (ToolCall(call_id, "Bash", {}),)), Message("user", (result(call_id),))],
    )
    used = {
        "anthropic": lambda: (
            body["messages"][1]["content"][0]["id"],
            body["messages"][2]["content"][0]["tool_use_id"],
        ),
        "openai-chat": lambda: (body["messages"][2]["tool_calls"][0]["id"], body["messages"][3]["tool_call_id"]),
        "openai-responses": lambda: (body["input"][1]["call_id"], body["input"][2]["call_id"]),
    }[api]()
    assert used[0] == used[1]
    assert 0 < len(used[0]) <= 64
    assert used[0].replace("_", "").replace("-", "").isalnum()


@pytest.mark.parametrize("name", ["functions.Bash", "my tool!", "x" * 100, "книга", ""])
def test_names_that_a_model_made_up_fit_every_server(server, api, name):
    """The call was answered with an error and stays in the conversation; the test server refuses such names as real ones do."""
    messages = (*HELLO, Message("assistant", (ToolCall("c1", name, {}),)), Message("user", (result("c1"),)))
    server.answer(FRAMES[api]([text("ok")]))
    assert ask(api, server.base_url, messages).content == (TextBlock("ok"),)


def test_mistral_ids_and_order(server):
    """Exactly nine letters and digits, and no user message straight after a tool's."""
    messages = [
        *HELLO,
        Message("assistant", (ToolCall("call_1", "Bash", {}),)),
        Message("user", (result("call_1"), TextBlock("and?"))),
    ]
    server.answer(FRAMES["openai-chat"]([text("ok")]))
    assert ask(None, server.base_url, tuple(messages), model="mistral/m").content
    body = server.requests[-1].json
    call_id = body["messages"][2]["tool_calls"][0]["id"]
    assert len(call_id) == 9
    assert call_id.isalnum()
    assert [message["role"] for message in body["messages"][-3:]] == ["tool", "assistant", "user"]
    assert "stream_options" not in body


CHAT_SERVERS = [name for name, known in KNOWN.items() if known.api == "openai-chat"]


@pytest.mark.parametrize("name", CHAT_SERVERS)
def test_a_request_holds_no_field_that_the_server_may_refuse(server, name):
    """No ``store``, ``strict``, ``tool_choice``, ``developer`` role, second system message, or a field of another dialect."""
    dialect = KNOWN[name].dialect
    env = dict.fromkeys(KNOWN[name].key_variables, "k")
    content = (TextBlock("I look."), ToolCall("c1", "Bash", {}))
    messages = (*HELLO, Message("assistant", content), Message("user", (result("c1"), TextBlock("and?"))))
    server.answer(FRAMES["openai-chat"]([text("ok")]))
    request = {"messages": messages, "tools": TOOLS}
    assert ask_all(None, server.base_url, [request], model=f"{name}/m", env=env)[0].content
    body = server.requests[-1].json
    optional = {"stream_options"} if dialect.asks_usage else set()
    assert set(body) == {"model", dialect.max_tokens_field, "stream", "tools", "messages"} | optional
    assert all(set(tool["function"]) == {"name", "description", "parameters"} for tool in body["tools"])
    assert [m["role"] for m in body["messages"][:3]] == ["system", "user", "assistant"]
    assert all(m["role"] != "system" for m in body["messages"][1:])
    tool = next(m for m in body["messages"] if m["role"] == "tool")
    assert set(tool) == {"role", "tool_call_id", "content"} | ({"name"} if name == "mistral" else set())


@pytest.mark.parametrize(("model", "is_asked"), [("anthropic/claude-sonnet-5", True), ("openai/gpt-5", False)])
def test_openrouter_is_asked_to_cache_what_it_would_not(server, model, is_asked):
    server.answer(FRAMES["openai-chat"]([text("ok")]))
    ask(None, server.base_url, model=f"openrouter/{model}", env={"OPENROUTER_API_KEY": "k"})
    assert ("cache_control" in server.requests[0].json) is is_asked


def test_deepseek_gets_its_reasoning_back(server):
    thought = (ThinkingBlock("hmm"), ToolCall("c1", "Bash", {}))
    messages = (*HELLO, Message("assistant", thought), Message("user", (result("c1"),)))
    for model, field in [("deepseek/m", "hmm"), ("groq/m", None)]:
        server.answer(FRAMES["openai-chat"]([text("ok")]))
        assert ask(None, server.base_url, messages, model=model).content
        assert server.requests[-1].json["messages"][2].get("reasoning_content") == field


def test_gemini_gets_the_signature_of_its_call_back(server):
    signed = {"google": {"thought_signature": "c2ln"}}
    call = {"index": 0, "id": "c1", "function": {"name": "Bash", "arguments": "{}"}, "extra_content": signed}
    server.answer([chat_chunk({"tool_calls": [call]}), chat_chunk({}, "tool_calls"), b"data: [DONE]\n\n"])
    content = ask(None, server.base_url, model="gemini/m").content
    assert content == (ToolCall("c1", "Bash", {}, signature="c2ln"),)
    messages = (*HELLO, Message("assistant", content), Message("user", (result("c1"),)))
    for model, expected in [("gemini/m", signed), ("groq/m", None)]:
        server.answer(FRAMES["openai-chat"]([text("ok")]))
        assert ask(None, server.base_url, messages, model=model).content
        assert server.requests[-1].json["messages"][2]["tool_calls"][0].get("extra_content") == expected


def test_the_name_of_the_output_limit(server):
    for model, field in [
        ("openai/m", "max_completion_tokens"),
        ("ollama/m", "max_tokens"),
        ("xai/m", "max_completion_tokens"),
    ]:
        server.answer(FRAMES["openai-chat"]([text("ok")]))
        assert ask(None, server.base_url, model=model).content
        assert server.requests[-1].json[field] == 16_384


def test_thinking_goes_back_unchanged_or_not_at_all(server, api):
    content = (
        ThinkingBlock("signed", signature="sig=="),
        ThinkingBlock("", redacted="opaque=="),
        ThinkingBlock("unsigned"),
        ToolCall("c1", "Bash", {}),
    )
    body = sent(server, api, [*HELLO, Message("assistant", content), Message("user", (result("c1"),))])
    if api == "anthropic":
        assert body["messages"][1]["content"][:2] == [
            {"type": "thinking", "thinking": "signed", "signature": "sig=="},
            {"type": "redacted_thinking", "data": "opaque=="},
        ]
    assert "unsigned" not in json.dumps(body)
    if api != "anthropic":
        assert "sig==" not in json.dumps(body)


def test_encrypted_reasoning_goes_back_to_responses(server):
    server.answer(FRAMES["openai-responses"]([thinking("hmm", "enc=="), tool_call("c1", "Bash", {})]))
    answer = ask("openai-responses", server.base_url).finished.message
    body = sent(server, "openai-responses", [*HELLO, answer, Message("user", (result("c1"),))])
    reasoning = body["input"][1]
    assert reasoning == {
        "type": "reasoning",
        "id": "rs0",
        "summary": [{"type": "summary_text", "text": "hmm"}],
        "encrypted_content": "enc==",
    }
    assert body["include"] == ["reasoning.encrypted_content"]


def test_empty_texts_are_left_out(server, api):
    messages = [
        *HELLO,
        Message("assistant", (TextBlock(""), ToolCall("c1", "Bash", {}))),
        Message("user", (result("c1", TextBlock("")),)),
        Message("assistant", (TextBlock(""), TextBlock("done"))),
        Message("user", (TextBlock("go on"), TextBlock(""))),
    ]
    sent(server, api, messages)  # the server's check refuses empty blocks and messages


def test_what_no_utf8_can_hold(server, api):
    """Half of a surrogate pair, as a cut string from another program has it."""
    body = sent(server, api, [Message("user", (TextBlock("a\ud83db 🎉"),))])
    assert "a?b 🎉" in json.dumps(body, ensure_ascii=False)


def test_a_malformed_call_goes_back_as_an_object(server, api):
    messages = [
        *HELLO,
        Message("assistant", (ToolCall("c1", "Bash", {}, malformed='{"comm'),)),
        Message("user", (result("c1", is_error=True),)),
    ]
    assert "malformed_arguments" in json.dumps(sent(server, api, messages))


def test_serialising_does_not_grow_with_the_session(server, api):
    """Messages that were sent before are not written again: a step of a long session costs what its bytes cost."""
    provider, model = open_provider("m", ProviderSettings({}, server.base_url, api))
    messages = session(200)
    wire = provider._wire
    wire.body(ModelRequest(model, "s", tuple(messages), TOOLS))
    # Changing what was serialised shows whether it is serialised again (nothing else may do this to a frozen message).
    kept = wire._messages(messages[0])
    object.__setattr__(messages[0].content[0], "text", "changed")
    assert wire._messages(messages[0]) == kept
    assert b"changed" not in wire.body(ModelRequest(model, "s", tuple(messages), TOOLS))
