"""The checks that watch every other test see what they are there to see, and no session makes a request they refuse."""

from __future__ import annotations

import asyncio
import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claw_kernel.agent.call_ids import CallIds, with_own_ids
from claw_kernel.errors import InvalidRequestError
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
)
from claw_kernel.providers import ProviderSettings, invariants, open_provider
from claw_kernel.session import Session
from claw_kernel.session.record import repaired
from claw_kernel.session.turn_messages import append_message
from tests.model_server import ModelServer, take_violations
from tests.providers.conftest import APIS, HELLO, ask
from tests.request_invariants import find_violation

JSON = {"content-type": "application/json"}
PNG = ImageBlock("image/png", "iVBORw0KGgo=")
SCHEMA = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}
TOOLS = (ToolSpec("Bash", "Run a command.", SCHEMA),)
SESSION = (
    Message("user", (TextBlock("Look"), PNG)),
    Message("assistant", (TextBlock("I look."), ToolCall("a", "Bash", {}), ToolCall("b", "Bash", {}))),
    Message("user", (ToolResult("a", (TextBlock("1"), PNG)), ToolResult("b", (TextBlock("2"),)), TextBlock("and?"))),
)
PATHS = {"anthropic": "/v1/messages", "openai-chat": "/v1/chat/completions", "openai-responses": "/v1/responses"}


def wire(api):
    return open_provider("m", ProviderSettings({}, "http://127.0.0.1:9", api))[0]._wire


def violation(api, value):
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return find_violation(PATHS[api], JSON, body)


def put(value, *keys):
    """A change of a request: ``value`` in the place that ``keys`` lead to; ``None`` takes it away."""

    def change(body):
        *way, last = keys
        for key in way:
            body = body[key]
        if value is None:
            del body[last]
        else:
            body[last] = value

    return change


CHANGES = {
    "anthropic": {
        "no result": (put(None, "messages", 2, "content", 1), "calls without results right after them: ['b']"),
        "no call": (put(None, "messages", 1, "content", 2), "a result without its call right before it: 'b'"),
        "results in the wrong place": (lambda b: b["messages"][2]["content"].reverse(), "do not come first"),
        "two results": (put("a", "messages", 2, "content", 1, "tool_use_id"), "a result without its call"),
        "an id twice": (put("a", "messages", 1, "content", 2, "id"), "an id used twice: 'a'"),
        "an empty id": (put("", "messages", 1, "content", 1, "id"), "an empty id"),
        "an id no server takes": (put("a.b", "messages", 1, "content", 1, "id"), "characters that no server takes"),
        "a long id": (put("a" * 65, "messages", 1, "content", 1, "id"), "an id of 65 characters"),
        "an empty text": (put(" \n", "messages", 1, "content", 0, "text"), "an empty text block"),
        "an empty message": (put([], "messages", 0, "content"), "an empty message"),
        "a role": (put("tool", "messages", 0, "role"), "message 0 is the tool's"),
        "two of one role": (put("user", "messages", 1, "role"), "message 1 is the user's: roles alternate"),
        "the model's word last": (lambda b: b["messages"].pop(), "calls without results"),
        "five breakpoints": (
            lambda b: [put({"type": "ephemeral"}, "cache_control")(block) for m in b["messages"] for block in m["content"]],
            "cache breakpoints",
        ),
        "no tool's schema": (put({"type": "array"}, "tools", 0, "input_schema"), "the schema of Bash: it is no object"),
        "a wrong schema": (put({"type": "object", "required": "x"}, "tools", 0, "input_schema"), "the schema of Bash"),
        "a required unknown": (put(["x"], "tools", 0, "input_schema", "required"), "not described"),
        "no schema at the top": (put([], "tools", 0, "input_schema", "oneOf"), "at its top"),
        "a tool's name": (put("a b", "tools", 0, "name"), "the tool name 'a b'"),
        "no base64": (put("?", "messages", 0, "content", 1, "source", "data"), "no base64"),
        "an image of another kind": (put("image/svg+xml", "messages", 0, "content", 1, "source", "media_type"), "svg"),
        "thinking at the end": (
            lambda b: b["messages"].append(
                {"role": "assistant", "content": [{"type": "thinking", "thinking": "", "signature": "x"}]}
            ),
            "ends in thinking",
        ),
        "no model": (put("", "model"), "no model"),
        "no limit": (put(0, "max_tokens"), "the output limit is 0"),
        "a missing field": (put(None, "messages", 1, "content", 1, "input"), "a field is missing"),
    },
    "openai-chat": {
        "no result": (put(None, "messages", 4), "calls without results right after them: ['b']"),
        "no call": (put(None, "messages", 2, "tool_calls", 1), "a result without its call right before it: 'b'"),
        "an id twice": (put("a", "messages", 2, "tool_calls", 1, "id"), "an id used twice"),
        "a long id": (put("a" * 41, "messages", 2, "tool_calls", 0, "id"), "an id of 41 characters"),
        "arguments": (put("{", "messages", 2, "tool_calls", 0, "function", "arguments"), "no JSON object"),
        "an empty result": (put("", "messages", 3, "content"), "an empty text block"),
        "an empty message": (put("", "messages", 5, "content"), "an empty text block"),
        "a role": (put("developer", "messages", 0, "role"), "roles"),
        "two of one role": (lambda b: b["messages"].append(b["messages"][-1]), "two messages of the user's in a row"),
        "a late system text": (lambda b: b["messages"].append({"role": "system", "content": "x"}), "not the first"),
        "a wrong schema": (put({"type": "object", "required": 1}, "tools", 0, "function", "parameters"), "the schema"),
        "no data": (put("https://x/y.png", "messages", 5, "content", 0, "image_url", "url"), "an image as 'https"),
    },
    "openai-responses": {
        "no result": (put(None, "input", 5), "calls without results right after them: ['b']"),
        "no call": (put(None, "input", 3), "a result without its call right before it: 'b'"),
        "an id twice": (put("a", "input", 3, "call_id"), "an id used twice"),
        "arguments": (put("[]", "input", 2, "arguments"), "no JSON object"),
        "storage": (put(True, "store"), "the provider is to store"),
        "reasoning alone": (
            lambda b: b["input"].insert(
                5, {"type": "reasoning", "id": "r", "summary": [], "encrypted_content": "x"}
            ),
            "reasoning without the item it led to",
        ),
        "an empty text": (put("", "input", 6, "content", 0, "text"), "an empty text block"),
        "a kind of item": (put("file_search_call", "input", 2, "type"), "an item of type"),
    },
}  # fmt: skip


@pytest.mark.parametrize(("api", "name"), [(api, name) for api, changes in CHANGES.items() for name in changes])
def test_each_violation_is_seen(api, name):
    change, said = CHANGES[api][name]
    body = json.loads(wire(api).body(ModelRequest("m", "Be brief.", SESSION, TOOLS)))
    assert violation(api, copy.deepcopy(body)) == ""
    change(body)
    assert said in violation(api, body)


def test_a_violation_is_answered_with_400_and_noted(api):
    """Which is what fails the test that sent it; here it is on purpose."""
    unanswered = (*HELLO, Message("assistant", (ToolCall("c", "Bash", {}),)), Message("user", (TextBlock("go on"),)))
    with ModelServer() as server:
        error = ask(api, server.base_url, unanswered).error
    assert type(error) is InvalidRequestError
    assert "calls without results" in str(error)
    (noted,) = take_violations()
    assert noted.startswith(f"POST {PATHS[api]}: ")


REFUSED = {
    "no messages": ((), "no messages"),
    "the model begins": ((Message("assistant", (TextBlock("x"),)), *HELLO), "message 0 is the assistant's"),
    "an empty message": ((Message("user", (TextBlock(" "),)),), "message 0 is empty"),
    "a call unanswered": ((*SESSION[:2], *HELLO), "are answered by []"),
    "an answer without its call": ((Message("user", (ToolResult("a", ()),)),), "are answered by ['a']"),
    "an id twice": ((*SESSION, *SESSION[1:]), "the id 'a' is used twice"),
    "text before the results": (
        (*SESSION[:2], Message("user", (TextBlock("x"), *SESSION[2].content))),
        "a tool result stands after something else",
    ),
    "the model's word last": (SESSION[:2], "the last message is not the user's"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_scripted_model_refuses_what_real_ones_refuse(name):
    messages, said = REFUSED[name]
    request = ModelRequest("hello", "", messages, TOOLS)
    assert said in invariants.find_violation(request)

    async def play():
        provider, _ = open_provider("scripted/hello", ProviderSettings())
        return [event async for event in provider.stream(request)]

    with pytest.raises(InvalidRequestError, match="The request is illegal"):
        asyncio.run(play())


# --- whatever a session holds, its requests are legal -----------------------------------------------------------------

TEXTS = st.sampled_from(["", " ", "fine", "ünï 𝄞", "half \ud83d of a pair"]).map(TextBlock)
IDS = st.sampled_from(["", "call_0", "call_1", "functions.Bash:0", "x" * 50, "y" * 500])
RESULTS = st.lists(
    st.builds(ToolResult, IDS, st.lists(TEXTS | st.just(PNG), max_size=2).map(tuple), st.booleans()), max_size=3
)
REASONING = '{"type":"reasoning","id":"r","summary":[],"encrypted_content":"x"}'
THOUGHTS = st.builds(ThinkingBlock, st.just("hm"), signature=st.sampled_from(["", "c2ln", REASONING])) | st.just(
    ThinkingBlock("", redacted="x")
)
CALLS = st.builds(ToolCall, IDS, st.just("Bash"), st.just({"command": "x"}), st.sampled_from(["", '{"comm']))
STEPS = st.builds(Step, st.lists(TEXTS | THOUGHTS | CALLS, max_size=4).map(tuple), RESULTS.map(tuple))
MODELS = st.sampled_from(["local/m", "anthropic/other"])


@st.composite
def sessions(draw):
    """A session as a notebook may hold it: crashed, edited, merged from several, begun with another model."""
    session = Session("s")
    for number in range(draw(st.integers(0, 4))):
        steps = draw(st.lists(STEPS, max_size=3).map(tuple))
        record = TurnRecord(
            f"t{number}", "s", "go", (TextBlock("go"),), draw(MODELS), f"2026-11-21T00:00:0{number}Z", steps
        )
        session.add(repaired(record))
    return session


@settings(max_examples=100, deadline=None)
@given(sessions())
def test_whatever_a_session_holds_its_requests_are_legal(session):
    messages = with_own_ids(session.transcript("local/m"))
    append_message(messages, Message("user", (TextBlock("and now?"),)))
    request = ModelRequest("m", "Be brief.", tuple(messages), TOOLS)
    assert invariants.find_violation(request) == ""
    for api in APIS:
        assert violation(api, wire(api).body(request)) == "", api


def test_ids_that_were_used_before_are_made_anew():
    """As from a server that numbers the calls of each answer from 0, or gives no ids."""
    ids = CallIds(SESSION)
    ids.begin()
    first = ids.own_message(Message("assistant", (ToolCall("a", "Bash", {}), ToolCall("", "Bash", {}))))
    assert ids.own("a") == first.content[0].id, "what is shown while it is written has the same id"
    ids.begin()
    second = ids.own_message(Message("assistant", (ToolCall("a", "Bash", {}), ToolCall("new", "Bash", {}))))
    found = [call.id for message in (first, second) for call in message.content]
    assert len({"a", "b", "", *found}) == 3 + len(found)
    assert found[-1] == "new"


def test_a_transcript_without_repeated_ids_stays_the_same_objects():
    assert all(a is b for a, b in zip(with_own_ids(SESSION), SESSION, strict=True))
