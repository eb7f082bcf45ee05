"""Calls that a model wrote into its text, because its server did not take them out: a chat template without a parser for it.

Only what is unmistakable counts: the text ends with it, it is whole, and it names tools that were offered. Everything else is text.
The calls then go through the policy like any other.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from claw_kernel.ids import new_id
from claw_kernel.messages import ToolCall

_CALL, _CALL_END = "<tool_call>", "</tool_call>"
_FUNCTION, _FUNCTION_END = "<function=", "</function>"
_PARAMETER, _PARAMETER_END = "<parameter=", "</parameter>"
_LIST = "[TOOL_CALLS]"
_PYTHON = "<|python_tag|>"


def take_leaked_calls(text: str, tools: Collection[str]) -> tuple[str, list[ToolCall]]:
    """The text before them and the calls; the whole text and none where there are no such calls. Each form is looked for from
    its first mark on, in one pass: what a model writes must not be able to keep this busy."""
    if not tools:
        return text, []
    for mark, read in (
        (_CALL, _read_tagged),
        (_FUNCTION, _read_functions),
        (_LIST, _read_list),
        (_PYTHON, _read_object),
    ):
        before, found, rest = text.partition(mark)
        if found:
            calls = read(rest)
            return (before.rstrip(), calls) if _are_offered(calls, tools) else (text, [])
    calls = _read_object(text) if text.lstrip().startswith("{") else []
    return ("", calls) if _are_offered(calls, tools) else (text, [])


def _are_offered(calls: list[ToolCall], tools: Collection[str]) -> bool:
    return bool(calls) and all(call.name in tools for call in calls)


def _read_tagged(rest: str) -> list[ToolCall]:
    """Hermes, Qwen: a JSON object between tags, or Qwen3-Coder's XML there. Only the last may lack its end."""
    calls: list[ToolCall] = []
    pieces = rest.split(_CALL)
    for place, piece in enumerate(pieces):
        inner, end, tail = piece.partition(_CALL_END)
        if tail.strip() or not (end or place == len(pieces) - 1):
            return []
        before, mark, functions = inner.partition(_FUNCTION)
        found = _read_functions(functions) if mark and not before.strip() else _read_object(inner)
        if not found:
            return []
        calls += found
    return calls


def _read_functions(rest: str) -> list[ToolCall]:
    """``<function=NAME><parameter=KEY>VALUE</parameter>…</function>``, behind its first mark."""
    calls: list[ToolCall] = []
    for piece in rest.split(_FUNCTION):
        name, _, body = piece.partition(">")
        body, end, tail = body.partition(_FUNCTION_END)
        if not end or tail.strip():
            return []
        arguments: dict[str, Any] = {}
        for parameter in body.split(_PARAMETER)[1:]:
            key, _, value = parameter.partition(">")
            arguments[key] = _typed(value.partition(_PARAMETER_END)[0].removeprefix("\n").removesuffix("\n"))
        calls += _calls([{"name": name, "arguments": arguments}])
    return calls


def _read_list(rest: str) -> list[ToolCall]:
    """Mistral: a list of objects."""
    value = _load(rest)
    return _calls(value) if isinstance(value, list) else []


def _read_object(rest: str) -> list[ToolCall]:
    """Llama: one object."""
    return _calls([_load(rest)])


def _calls(values: list[Any]) -> list[ToolCall]:
    """None at all where one of them is no call."""
    calls = [call for call in map(_call, values) if call is not None]
    return calls if len(calls) == len(values) else []


def _call(value: Any) -> ToolCall | None:
    """A call from ``{"name": …, "arguments" or "parameters": {…}}``; None for anything else."""
    if not isinstance(value, dict):
        return None
    name, arguments = value.get("name"), value.get("arguments", value.get("parameters"))
    if isinstance(arguments, str):
        arguments = _load(arguments)
    if not isinstance(name, str) or not isinstance(arguments, dict) or len(value) > 3:
        return None
    return ToolCall(new_id("call", characters=24), name, arguments)


def _typed(text: str) -> Any:
    """A parameter is bare text; numbers, lists and the like are JSON."""
    value = _load(text)
    return text if value is None or isinstance(value, str) else value


def _load(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
