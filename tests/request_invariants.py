"""What every request of every test must hold, in each wire format: what the real servers refuse, refused here too.

``find_violation`` gives one sentence, or nothing. ``tests/model_server.py`` asks it about each request it gets, answers 400
where there is one, and ``tests/conftest.py`` fails the test that sent it. The same for what the scripted model is asked:
``claw_kernel/providers/invariants.py``.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from functools import lru_cache

from jsonschema import Draft202012Validator, SchemaError

NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
"""Names of tools, and ids of the Messages API (its documentation; OpenAI's of functions is the same)."""
LONGEST_ID = {"messages": 64, "chat/completions": 40, "responses": 64}
"""OpenAI answers 400 ``string too long. Expected a string with maximum length 40`` in Chat Completions, 64 in Responses."""
IMAGES = {"image/png", "image/jpeg", "image/gif", "image/webp"}
"""What all three formats take."""
NOT_AT_TOP = {"oneOf", "anyOf", "allOf", "enum", "not"}
"""Both Anthropic and OpenAI refuse them at the top level of a tool's schema."""
MOST_BREAKPOINTS = 4


class ViolationError(AssertionError):
    """What is illegal in a request."""


def find_violation(path, headers, body):
    """One sentence about what a server of the wire format that ``path`` ends with would refuse; empty: nothing."""
    kind = next((kind for kind in CHECKS if path.endswith(f"/{kind}")), None)
    if kind is None:
        return ""
    try:
        require(headers.get("content-type") == "application/json", "the content type is not JSON")
        try:
            value = json.loads(body.decode())
        except ValueError as error:
            raise ViolationError(f"the body is no JSON in UTF-8: {error}") from None
        require(isinstance(value.get("model"), str) and value["model"], "no model is named")
        CHECKS[kind](value)
    except ViolationError as error:
        return str(error)
    except (KeyError, TypeError, AttributeError) as error:
        return f"a field is missing or of the wrong type: {type(error).__name__}: {error}"
    return ""


def require(is_held, why):
    if not is_held:
        raise ViolationError(why)


# --- common -----------------------------------------------------------------------------------------------------------


def check_output_limit(value):
    require(isinstance(value, int) and value > 0, f"the output limit is {value!r}")


def check_tools(tools):
    """``(name, description, schema)`` of each."""
    names = [name for name, _, _ in tools]
    require(len(set(names)) == len(names), f"two tools have one name: {names}")
    for name, description, schema in tools:
        require(NAME.fullmatch(name), f"the tool name {name!r}")
        require(description.strip(), f"{name} has no description")
        fault = find_schema_fault(json.dumps(schema, sort_keys=True))
        require(not fault, f"the schema of {name}: {fault}")


@lru_cache(maxsize=1024)
def find_schema_fault(text):
    schema = json.loads(text)
    if not isinstance(schema, dict) or schema.get("type") != "object":
        return "it is no object"
    if found := NOT_AT_TOP & set(schema):
        return f"{found} at its top"
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        return error.message
    required = set(schema.get("required", ()))
    unknown = required - set(schema.get("properties", {}))
    return f"{unknown} are required and not described" if unknown else ""


def check_text(text):
    require(isinstance(text, str) and text.strip(), f"an empty text block: {text!r}")


def check_base64(data):
    try:
        require(base64.b64decode(data, validate=True), "an empty image")
    except binascii.Error as error:
        raise ViolationError(f"an image is no base64: {error}") from None


def check_data_url(url):
    match = re.fullmatch(r"data:([a-z/]+);base64,(.*)", url, re.DOTALL)
    require(match is not None and match[1] in IMAGES, f"an image as {url[:40]!r}")
    check_base64(match[2])


def check_arguments(text):
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    require(isinstance(value, dict), f"arguments that are no JSON object: {text[:60]!r}")


class Calls:
    """The calls seen so far, and those that still wait for their results."""

    def __init__(self, kind):
        self._longest = LONGEST_ID[kind]
        self._seen = set()
        self.open = []

    def call(self, call_id, name):
        require(isinstance(call_id, str) and call_id, "an empty id")
        require(len(call_id) <= self._longest, f"an id of {len(call_id)} characters: {call_id[:50]!r}")
        require(NAME.fullmatch(call_id), f"an id with characters that no server takes: {call_id!r}")
        require(call_id not in self._seen, f"an id used twice: {call_id!r}")
        require(NAME.fullmatch(name), f"a call of {name!r}")
        self._seen.add(call_id)
        self.open.append(call_id)

    def result(self, call_id):
        require(call_id in self.open, f"a result without its call right before it: {call_id!r}")
        self.open.remove(call_id)

    def all_answered(self):
        require(not self.open, f"calls without results right after them: {self.open}")


# --- Anthropic Messages -----------------------------------------------------------------------------------------------


def check_anthropic(body):
    check_output_limit(body["max_tokens"])
    check_tools([(tool["name"], tool["description"], tool["input_schema"]) for tool in body.get("tools", ())])
    for block in body.get("system", ()):
        check_text(block["text"])
    messages = body["messages"]
    require(messages, "no messages")
    calls = Calls("messages")
    for number, message in enumerate(messages):
        role = message["role"]
        require(role == ("assistant" if number % 2 else "user"), f"message {number} is the {role}'s: roles alternate")
        require(message["content"], "an empty message")
        check_anthropic_results(message["content"], calls)
        for block in message["content"]:
            check_anthropic_block(block, role, calls)
        require(not block["type"].endswith("thinking"), f"message {number} ends in thinking")
    calls.all_answered()
    require(messages[-1]["role"] == "user", "the last message is not the user's")
    marks = body_marks(body)
    require(marks <= MOST_BREAKPOINTS, f"{marks} cache breakpoints")


def check_anthropic_results(blocks, calls):
    kinds = [block["type"] for block in blocks]
    count = kinds.count("tool_result")
    require(kinds[:count] == ["tool_result"] * count, "tool results do not come first")
    for block in blocks[:count]:
        calls.result(block["tool_use_id"])
    calls.all_answered()


def check_anthropic_block(block, role, calls):
    match block["type"]:
        case "text":
            check_text(block["text"])
        case "image":
            require(role == "user", "an image of the assistant's")
            check_anthropic_image(block)
        case "tool_use":
            require(role == "assistant", "a call of the user's")
            require(isinstance(block["input"], dict), "an input that is no object")
            calls.call(block["id"], block["name"])
        case "tool_result":
            require(role == "user", "a result of the assistant's")
            content = block.get("content", ())
            require(content or not block.get("is_error"), "an error without a text")
            for part in content:
                if part["type"] == "text":
                    check_text(part["text"])
                else:
                    require(not block.get("is_error"), "an image in a result that is an error")
                    check_anthropic_image(part)
        case "thinking":
            require(role == "assistant", "thinking of the user's")
            require(block["signature"], "thinking without its signature")
            require("cache_control" not in block, "a breakpoint on thinking")
        case "redacted_thinking":
            require(block["data"], "redacted thinking without its data")
        case kind:
            raise ViolationError(f"a block of type {kind!r}")


def check_anthropic_image(block):
    require(block["type"] == "image", f"a part of type {block['type']!r}")
    source = block["source"]
    require(source["type"] == "base64" and source["media_type"] in IMAGES, f"an image as {source['media_type']!r}")
    check_base64(source["data"])


def body_marks(value):
    if isinstance(value, dict):
        return ("cache_control" in value) + sum(body_marks(item) for item in value.values())
    return sum(body_marks(item) for item in value) if isinstance(value, list) else 0


# --- Chat Completions -------------------------------------------------------------------------------------------------


def check_chat(body):
    check_output_limit(body.get("max_tokens", body.get("max_completion_tokens")))
    functions = [tool["function"] for tool in body.get("tools", ())]
    check_tools([(function["name"], function["description"], function["parameters"]) for function in functions])
    messages = body["messages"]
    roles = [message["role"] for message in messages]
    require(set(roles) <= {"system", "user", "assistant", "tool"}, f"roles {set(roles)}")
    require("system" not in roles[1:], "a system message that is not the first")
    require(roles[-1] in {"user", "tool"}, "the last message is the assistant's")
    calls = Calls("chat/completions")
    before = ""
    for message in messages:
        role = message["role"]
        if role == "tool":
            calls.result(message["tool_call_id"])
            check_text(message["content"])
        else:
            calls.all_answered()
            require(role != before, f"two messages of the {role}'s in a row")
            check_chat_content(message, role)
        for call in message.get("tool_calls", ()):
            require(role == "assistant", f"a call of the {role}'s")
            check_arguments(call["function"]["arguments"])
            calls.call(call["id"], call["function"]["name"])
        before = role
    calls.all_answered()


def check_chat_content(message, role):
    content = message.get("content")
    if content is None:
        require(role == "assistant" and message.get("tool_calls"), "an empty message")
    elif isinstance(content, str):
        check_text(content)
    else:
        require(content, "an empty message")
        for part in content:
            if part["type"] == "text":
                check_text(part["text"])
            else:
                require(part["type"] == "image_url" and role == "user", f"a part of type {part['type']!r}")
                check_data_url(part["image_url"]["url"])


# --- Responses --------------------------------------------------------------------------------------------------------


def check_responses(body):
    check_output_limit(body["max_output_tokens"])
    require(body["store"] is False, "the provider is to store the conversation")
    check_tools([(tool["name"], tool["description"], tool["parameters"]) for tool in body.get("tools", ())])
    require(body["input"], "no input")
    calls = Calls("responses")
    said = set()
    is_reasoning = False
    for item in body["input"]:
        kind = item.get("type", "message")
        if kind == "function_call_output":
            require(not is_reasoning, "reasoning without the item it led to")
            calls.result(item["call_id"])
            check_responses_output(item["output"])
            continue
        if kind == "function_call":
            check_arguments(item["arguments"])
            calls.call(item["call_id"], item["name"])
        elif kind == "reasoning":
            require(item["encrypted_content"] and item["id"], "reasoning without its content")
            require(isinstance(item["summary"], list), "reasoning without a summary")
        else:
            require(kind == "message", f"an item of type {kind!r}")
            require(item["role"] in {"user", "assistant"}, f"the role {item['role']!r}")
            if item["role"] == "user":  # the model may speak after it called, and before the results
                require(not is_reasoning, "reasoning without the item it led to")
                calls.all_answered()
                check_responses_content(item["content"])
            else:
                require(item["id"] and item["id"] not in said, f"the item id {item['id']!r} twice")
                said.add(item["id"])
                require(item["status"] == "completed", "an answer without its status")
                for part in item["content"]:
                    require(part["type"] == "output_text", f"a part of type {part['type']!r}")
                    check_text(part["text"])
        is_reasoning = kind == "reasoning"
    require(not is_reasoning, "reasoning without the item it led to")
    calls.all_answered()
    last = body["input"][-1]
    require(last.get("role") == "user" or last.get("type") == "function_call_output", "the end is the assistant's")


def check_responses_output(output):
    if isinstance(output, str):
        check_text(output)
    else:
        check_responses_content(output)


def check_responses_content(content):
    if isinstance(content, str):
        check_text(content)
        return
    require(content, "an empty message")
    for part in content:
        if part["type"] == "input_text":
            check_text(part["text"])
        else:
            require(part["type"] == "input_image", f"a part of type {part['type']!r}")
            check_data_url(part["image_url"])


CHECKS = {"messages": check_anthropic, "chat/completions": check_chat, "responses": check_responses}
