"""The official clients as oracles: what we send fits their types, and what they read from the same bytes is what we read."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import reduce
from operator import or_
from types import UnionType
from typing import IO, Annotated, Any, Literal, NotRequired, Required, Union, get_args, get_origin

import pytest
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict, get_type_hints, is_typeddict

from claw_kernel.agent import Agent
from claw_kernel.messages import (
    Effort,
    ImageBlock,
    Message,
    TextBlock,
    ThinkingBlock,
    ToolCall,
    ToolResult,
    ToolSpec,
    Usage,
)
from claw_kernel.settings import load_settings
from tests.model_server import FRAMES, ModelServer, text, thinking, tool_call
from tests.providers.conftest import HELLO, ask, ask_all

anthropic = pytest.importorskip("anthropic")
openai = pytest.importorskip("openai")

PNG = ImageBlock("image/png", "iVBORw0KGgo=")
SCHEMA = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}
TOOLS = (ToolSpec("Bash", "Run a command.", SCHEMA),)
SESSION = (
    Message("user", (TextBlock("Look at this: ünï 𝄞"), PNG)),
    Message(
        "assistant",
        (
            ThinkingBlock("hm", signature="c2ln"),
            TextBlock("I look."),
            ToolCall("toolu_1", "Bash", {"command": "ls"}),
            ToolCall("toolu_2", "Bash", {}, malformed='{"comm'),
        ),
    ),
    Message(
        "user",
        (
            ToolResult("toolu_1", (TextBlock("a.txt"), PNG)),
            ToolResult("toolu_2", (TextBlock("no JSON object"), PNG), is_error=True),
            TextBlock("and now?"),
        ),
    ),
)
ANSWERS = {
    "text": [text("Hello ünï 𝄞")],
    "calls": [text("I look."), tool_call("c1", "Bash", {"command": "ls"}), tool_call("c2", "Bash", {"command": 'a"b'})],
    "thinking": [thinking("hm"), text("so"), tool_call("c1", "Bash", {"command": "ls"})],
}


def request_type(api):
    from anthropic.types.message_create_params import MessageCreateParamsStreaming
    from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming
    from openai.types.responses.response_create_params import ResponseCreateParamsStreaming

    types = {
        "anthropic": MessageCreateParamsStreaming,
        "openai-chat": CompletionCreateParamsStreaming,
        "openai-responses": ResponseCreateParamsStreaming,
    }
    return TypeAdapter(strict(types[api], {}))


def strict(kind, known):
    """``kind`` without room for fields it does not name, and with lists for its iterables, which nobody would look into."""
    if is_typeddict(kind):
        if kind not in known:
            known[kind] = Any  # within itself
            fields = {}
            for name, hint in get_type_hints(kind, include_extras=True).items():
                is_required = get_origin(hint) is Required or name in kind.__required_keys__
                marked = Required if is_required else NotRequired
                fields[name] = marked[strict(get_args(hint)[0] if get_origin(hint) is Required else hint, known)]
            closed = TypedDict(kind.__name__, fields)
            closed.__pydantic_config__ = {"extra": "forbid"}
            known[kind] = closed
        return known[kind]
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is None or origin is Literal:
        return kind
    if origin is IO:  # never in JSON
        return str
    arguments = tuple(strict(argument, known) if argument is not Ellipsis else argument for argument in arguments)
    if origin is Iterable:
        return list[arguments[0]]
    if origin in (Union, UnionType):
        return reduce(or_, arguments)
    if origin is Annotated:
        return arguments[0]
    return origin[arguments[0] if len(arguments) == 1 else arguments]


def test_a_request_is_what_the_clients_own_types_allow(server, api):
    server.answer(FRAMES[api]([text("ok")]))
    assert ask_all(api, server.base_url, [{"messages": SESSION, "tools": TOOLS}])[0].content
    body = server.requests[-1].json
    request_type(api).validate_python(body)
    with pytest.raises(ValidationError):
        request_type(api).validate_python({**body, "unheard_of": 1})


REASONING = (
    *SESSION[:1],
    Message(
        "assistant",
        (
            ThinkingBlock("hm", signature="c2ln"),
            ThinkingBlock("", redacted="b3BhcXVl"),
            ThinkingBlock(
                "hm",
                '{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"hm"}],"encrypted_content":"x"}',
            ),
            TextBlock("I look."),
            ToolCall("toolu_1", "Bash", {"command": "plot"}, signature="c2ln"),
        ),
    ),
    Message("user", (ToolResult("toolu_1", (PNG,)),)),
    Message("assistant", (TextBlock("A curve."),)),
    Message("user", (TextBlock("thanks"), PNG)),
)
MODELS = {
    "anthropic": ["anthropic/claude-sonnet-5", "anthropic/claude-opus-4-1", "anthropic/claude-3-5-haiku-latest"],
    "openai-chat": ["openai/gpt-5", "openai/gpt-4.1", "gemini/gemini-2.5-pro"],
    "openai-responses": ["openai/gpt-5", "openai/o3", "openai/gpt-4.1"],
}
UNTHINKING = {"anthropic/claude-3-5-haiku-latest", "openai/gpt-4.1"}
GEMINIS_OWN = {"extra_content"}
"""Fields of a call that OpenAI's types know nothing of."""


@pytest.mark.parametrize("effort", [None, *get_args(Effort)])
def test_a_request_of_each_kind_of_model_with_each_effort(server, api, effort):
    """Thinking in each of its forms, images beside texts and in results, what a model said going back to it."""
    for model in MODELS[api]:
        server.answer(*[FRAMES[api]([text("ok")])] * 2)
        known = model.partition("/")[0]
        fields = [{"messages": messages, "tools": TOOLS, "effort": effort} for messages in (SESSION, REASONING)]
        if known == "openai":  # by its own variable, so that it stays OpenAI
            env = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": f"{server.base_url}/v1"}
            exchanges = ask_all(api, None, fields, model=model, env=env)
        else:
            exchanges = ask_all(None, server.base_url, fields, model=model)
        assert all(exchange.content for exchange in exchanges)
        for request in server.requests[-2:]:
            body = request.json
            for message in body.get("messages", ()):
                for call in message.get("tool_calls", ()) if known == "gemini" else ():
                    assert set(call) - {"id", "type", "function"} <= GEMINIS_OWN
                    call.pop("extra_content", None)
            request_type(api).validate_python(body)
            thoughts = {"thinking", "reasoning", "reasoning_effort", "output_config"} & set(body)
            if effort != "none":  # which some say by a field and others by none
                assert bool(thoughts) == (effort is not None and model not in UNTHINKING), (model, body)


def test_the_schemas_of_all_our_tools_are_what_the_clients_allow(server, api, tmp_path):
    agent = Agent(load_settings(str(tmp_path), {"CLAW_HOME": str(tmp_path / "home")}))
    tools = tuple(agent.tools.all_specs)
    agent.close()
    server.answer(FRAMES[api]([text("ok")]))
    assert ask_all(api, server.base_url, [{"messages": HELLO, "tools": tools}])[0].content
    body = server.requests[-1].json
    assert len(body["tools"]) == len(tools) > 20
    request_type(api).validate_python(body)


def read_anthropic(base_url):
    client = anthropic.Anthropic(base_url=base_url, api_key="k", max_retries=0)
    with client.messages.stream(model="m", max_tokens=9, messages=[{"role": "user", "content": "Hello"}]) as stream:
        message = stream.get_final_message()
    blocks = []
    for block in message.content:
        if block.type == "text":
            blocks.append(TextBlock(block.text))
        elif block.type == "thinking":
            blocks.append(ThinkingBlock(block.thinking, block.signature))
        else:
            blocks.append(ToolCall(block.id, block.name, block.input))
    usage = message.usage
    counts = (usage.input_tokens, usage.output_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens)
    return tuple(blocks), Usage(*counts)


def read_chat(base_url):
    client = openai.OpenAI(base_url=f"{base_url}/v1", api_key="k", max_retries=0)
    options = {"include_usage": True}
    with client.chat.completions.stream(
        model="m", messages=[{"role": "user", "content": "Hello"}], stream_options=options
    ) as stream:
        completion = stream.get_final_completion()
    message = completion.choices[0].message
    blocks = [TextBlock(message.content)] if message.content else []
    calls = message.tool_calls or ()
    blocks += [ToolCall(call.id, call.function.name, json.loads(call.function.arguments)) for call in calls]
    usage = completion.usage
    cached = usage.prompt_tokens_details.cached_tokens
    return tuple(blocks), Usage(usage.prompt_tokens - cached, usage.completion_tokens, cached)


def read_responses(base_url):
    client = openai.OpenAI(base_url=f"{base_url}/v1", api_key="k", max_retries=0)
    for event in client.responses.create(model="m", input="Hello", stream=True):
        last = event
    blocks = []
    for item in last.response.output:
        if item.type == "message":
            blocks.append(TextBlock("".join(part.text for part in item.content)))
        elif item.type == "function_call":
            blocks.append(ToolCall(item.call_id, item.name, json.loads(item.arguments)))
    usage = last.response.usage
    cached = usage.input_tokens_details.cached_tokens
    return tuple(blocks), Usage(usage.input_tokens - cached, usage.output_tokens, cached)


READERS = {"anthropic": read_anthropic, "openai-chat": read_chat, "openai-responses": read_responses}


@pytest.mark.parametrize("name", ANSWERS)
def test_the_clients_read_the_same_from_the_same_bytes(api, name):
    frames = FRAMES[api](ANSWERS[name])
    with ModelServer(unchecked="the official clients ask too") as server:
        server.answer(frames, frames)
        exchange = ask(api, server.base_url, HELLO)
        content, usage = READERS[api](server.base_url)
    ours = exchange.content
    if api != "anthropic":  # the OpenAI clients have no common place for reasoning
        ours = tuple(block for block in ours if not isinstance(block, ThinkingBlock))
    assert ours == content
    assert exchange.finished.usage == usage
