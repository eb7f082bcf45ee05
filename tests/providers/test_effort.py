"""How much a model is to think, as each server is told, and what of its thoughts goes back."""

import json

import pytest

from claw_kernel.messages import ImageBlock, Message, TextBlock, ThinkingBlock, ToolCall, ToolResult, ToolSpec
from tests.model_server import FRAMES, chat_chunk, text
from tests.providers.conftest import HELLO, ask, ask_all
from tests.providers.test_oracles import request_type

TOOLS = (ToolSpec("Bash", "Run a command.", {"type": "object"}),)
CALL = Message("assistant", (ThinkingBlock("hm", "sig=="), ToolCall("c1", "Bash", {})))
BARE_CALL = Message("assistant", (ToolCall("c1", "Bash", {}),))
RESULT = Message("user", (ToolResult("c1", (TextBlock("ok"),)),))

EFFORTS = [
    # model, api, effort, and what of the request it makes
    ("anthropic/claude-sonnet-4-5", None, "high", {"thinking": {"type": "enabled", "budget_tokens": 16_384}, "max_tokens": 16_384 + 16_384}),
    ("anthropic/claude-opus-4-1", None, "max", {"thinking": {"type": "enabled", "budget_tokens": 30_976}, "max_tokens": 32_000}),
    ("anthropic/claude-sonnet-4-5", None, "none", {"max_tokens": 16_384}),
    ("anthropic/claude-opus-4-6", None, "max", {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "max"}}),
    ("anthropic/claude-sonnet-5", None, "none", {"thinking": {"type": "disabled"}}),
    ("anthropic/claude-opus-5-5", None, "none", {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "low"}}),
    ("anthropic/claude-3-haiku", None, "high", {"max_tokens": 4_096}),
    ("openai/gpt-5", None, "none", {"reasoning_effort": "minimal"}),
    ("openai/gpt-5.2", None, "max", {"reasoning_effort": "xhigh"}),
    ("openai/o4-mini", None, "max", {"reasoning_effort": "high"}),
    ("openai/gpt-4o", None, "high", {}),
    ("openai/gpt-of-tomorrow", None, "high", {}),
    ("openai/gpt-5.1", "openai-responses", "none", {"reasoning": {"effort": "none", "summary": "auto"}}),
    ("openai/gpt-5", "openai-responses", "high", {"reasoning": {"effort": "high", "summary": "auto"}}),
    ("openrouter/z-ai/glm-4.6", None, "medium", {"reasoning": {"effort": "medium"}}),
    ("deepseek/deepseek-chat", None, "high", {"thinking": {"type": "enabled"}}),
    ("deepseek/deepseek-chat", None, "none", {"thinking": {"type": "disabled"}}),
    ("moonshot/kimi-k2.6", None, "none", {"thinking": {"type": "disabled"}}),
    ("dashscope/qwen3-max", None, "low", {"enable_thinking": True, "thinking_budget": 2_048}),
    ("dashscope/qwen3-max", None, "none", {"enable_thinking": False}),
    ("groq/openai/gpt-oss-120b", None, "none", {"reasoning_effort": "low"}),
    ("groq/llama-3.3-70b-versatile", None, "high", {}),
    ("xai/grok-3-mini", None, "medium", {"reasoning_effort": "high"}),
    ("xai/grok-4-0709", None, "high", {}),
    ("gemini/gemini-2.5-flash", None, "none", {"reasoning_effort": "none"}),
    ("gemini/gemini-2.5-pro", None, "none", {"reasoning_effort": "low"}),
    ("mistral/mistral-large-latest", None, "high", {}),
    ("vllm/qwen3-32b", None, "none", {"chat_template_kwargs": {"enable_thinking": False}}),
    ("llamacpp/gpt-oss-20b", None, "max", {"reasoning_effort": "high", "chat_template_kwargs": {"enable_thinking": True, "reasoning_effort": "high"}}),
    ("lmstudio/whatever", None, "max", {"reasoning_effort": "high"}),
    ("ollama/whatever", None, "none", {"reasoning_effort": "none"}),
]  # fmt: skip
FIELDS = ("thinking", "output_config", "reasoning_effort", "reasoning", "enable_thinking", "thinking_budget", "chat_template_kwargs")  # fmt: skip


def sent(server, model, api=None, **fields):
    kind = api or ("anthropic" if model.startswith("anthropic/") else "openai-chat")
    server.answer(FRAMES[kind]([text("ok")]))
    name = model.removeprefix("openai/") if api == "openai-responses" else model
    assert ask_all(api, server.base_url, [{"messages": HELLO, **fields}], model=name)[0].content
    return server.requests[-1]


@pytest.mark.parametrize(("model", "api", "effort", "expected"), EFFORTS)
def test_an_effort_as_each_server_is_told(server, model, api, effort, expected):
    body = sent(server, model, api, effort=effort).json
    assert {name: body[name] for name in FIELDS if name in body} == {k: v for k, v in expected.items() if k in FIELDS}
    assert body.get("max_tokens") == expected.get("max_tokens", body.get("max_tokens"))


@pytest.mark.parametrize(("model", "api", "effort", "expected"), EFFORTS)
def test_an_effort_that_is_not_sent_is_said_once(server, model, api, effort, expected):
    kind = api or ("anthropic" if model.startswith("anthropic/") else "openai-chat")
    server.answer(*[FRAMES[kind]([text("ok")])] * 2)
    name = model.removeprefix("openai/") if api == "openai-responses" else model
    request = {"messages": HELLO, "effort": effort}
    exchanges = ask_all(api, server.base_url, [request, request], model=name)
    is_sent = bool({*FIELDS} & {*expected}) or effort == "none"
    assert [len(exchange.notices) for exchange in exchanges] == [0 if is_sent else 1, 0]
    if not is_sent:
        assert f"effort {effort} changes nothing" in exchanges[0].notices[0]


@pytest.mark.parametrize("model", ["anthropic/claude-sonnet-4-5", "anthropic/claude-opus-5", "openai/gpt-5", "groq/m"])
def test_nothing_is_said_where_the_person_said_nothing(server, model):
    assert not {*FIELDS} & {*sent(server, model).json}


@pytest.mark.parametrize("effort", ["none", "low", "medium", "high", "max"])
@pytest.mark.parametrize(
    ("model", "api"),
    [("anthropic/claude-sonnet-4-5", "anthropic"), ("anthropic/claude-opus-5", "anthropic"), ("openai/gpt-5.2", "openai-responses")],
)  # fmt: skip
def test_an_effort_fits_the_official_types(server, model, api, effort):
    body = sent(server, model, "openai-responses" if api == "openai-responses" else None, effort=effort).json
    request_type(api).validate_python(body)


def test_a_budget_may_be_used_between_calls(server):
    request = sent(server, "anthropic/claude-sonnet-4-5", effort="low")
    assert request.headers["anthropic-beta"] == "interleaved-thinking-2025-05-14"
    assert "anthropic-beta" not in sent(server, "anthropic/claude-opus-5", effort="low").headers


def test_no_budget_where_the_calls_came_without_a_thought(server):
    """As after a fallback in the middle of a step: the API refuses thinking there."""
    fields = {"effort": "high", "tools": TOOLS}
    messages = (*HELLO, CALL, RESULT)
    assert "thinking" in sent(server, "anthropic/claude-sonnet-4-5", messages=messages, **fields).json
    messages = (*HELLO, BARE_CALL, RESULT)
    assert "thinking" not in sent(server, "anthropic/claude-sonnet-4-5", messages=messages, **fields).json
    assert "thinking" in sent(server, "anthropic/claude-opus-5", messages=messages, **fields).json


def test_interleaved_thoughts_go_back_in_order(server):
    content = (
        ThinkingBlock("one", "s1"),
        TextBlock("I look."),
        ThinkingBlock("", redacted="opaque"),
        ThinkingBlock("two", "s2"),
        ToolCall("c1", "Bash", {}),
    )
    body = sent(server, "anthropic/claude-sonnet-5", messages=(*HELLO, Message("assistant", content), RESULT)).json
    assert body["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "one", "signature": "s1"},
        {"type": "text", "text": "I look."},
        {"type": "redacted_thinking", "data": "opaque"},
        {"type": "thinking", "thinking": "two", "signature": "s2"},
        {"type": "tool_use", "id": "c1", "name": "Bash", "input": {}},
    ]


def test_openrouter_gets_its_details_back_unchanged(server):
    details = [
        {"type": "reasoning.text", "text": "hm, ", "index": 0, "format": "anthropic-claude-v1"},
        {"type": "reasoning.text", "text": "so", "signature": "sig", "index": 0, "format": "anthropic-claude-v1"},
        {"type": "reasoning.encrypted", "data": "opaque", "index": 1},
    ]
    call = {"index": 0, "id": "c1", "function": {"name": "Bash", "arguments": "{}"}}
    frames = [chat_chunk({"reasoning": d.get("text"), "reasoning_details": [d]}) for d in details]
    server.answer([*frames, chat_chunk({"tool_calls": [call]}), chat_chunk({}, "tool_calls"), b"data: [DONE]\n\n"])
    answer = ask(None, server.base_url, model="openrouter/m").finished.message
    assert answer.content[0].text == "hm, so"
    body = sent(server, "openrouter/m", messages=(*HELLO, answer, RESULT)).json
    assert body["messages"][2]["reasoning_details"] == [{**details[1], "text": "hm, so"}, details[2]]
    assert "reasoning_details" not in sent(server, "groq/m", messages=(*HELLO, answer, RESULT)).json["messages"][2]


def test_the_newer_gemini_models_take_calls_of_other_models(server):
    messages = (*HELLO, BARE_CALL, RESULT)
    for model, signature in [
        ("gemini/gemini-3.5-flash", "skip_thought_signature_validator"),
        ("gemini/gemini-2.5-pro", None),
    ]:
        call = sent(server, model, messages=messages).json["messages"][2]["tool_calls"][0]
        assert call.get("extra_content", {}).get("google", {}).get("thought_signature") == signature


def test_models_that_do_not_reason_are_not_asked_for_reasoning(server):
    assert "include" not in sent(server, "openai/gpt-4o", "openai-responses").json
    assert "include" in sent(server, "openai/gpt-5", "openai-responses").json


def test_a_model_that_sees_no_images_is_told_where_one_was(server):
    png = ImageBlock("image/png", "iVBORw0KGgo=")
    messages = (
        Message("user", (TextBlock("what is this?"), png)),
        BARE_CALL,
        Message("user", (ToolResult("c1", (TextBlock("a plot"), png)),)),
    )
    body = json.dumps(sent(server, "groq/openai/gpt-oss-120b", messages=messages).json)
    assert png.data not in body
    assert body.count("this model cannot see images") == 2
    assert png.data in json.dumps(sent(server, "groq/who-knows", messages=messages).json)


def test_azure(server):
    env = {"AZURE_OPENAI_API_KEY": "key-of-azure", "AZURE_OPENAI_ENDPOINT": server.base_url}
    for base, extra, path in [
        (server.base_url, {}, "/openai/deployments/my%20gpt/chat/completions?api-version=2024-10-21"),
        (server.base_url, {"OPENAI_API_VERSION": "2026-01-01"}, "/openai/deployments/my%20gpt/chat/completions?api-version=2026-01-01"),
        (f"{server.base_url}/openai/deployments/it", {}, "/openai/deployments/it/chat/completions?api-version=2024-10-21"),
        (f"{server.base_url}/openai/v1", {}, "/openai/v1/chat/completions"),
    ]:  # fmt: skip
        server.answer(FRAMES["openai-chat"]([text("ok")]))
        env["AZURE_OPENAI_ENDPOINT"] = base
        assert ask(None, None, model="azure/my gpt", env={**env, **extra}).content
        request = server.requests[-1]
        assert request.path == path
        assert request.headers["api-key"] == "key-of-azure"
        assert "authorization" not in request.headers
