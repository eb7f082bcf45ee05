"""The scripted provider: plays replies that a person wrote, and says so. ``scripted/<path>.json`` (relative to the working
directory) or ``scripted/<name>`` of a script that ships with the package (``scripts/``).

A script is a JSON object::

    {"title": "tour",
     "chunk_seconds": 0.02,
     "turns": [
       {"when": "columns",
        "replies": [
          {"thinking": "Look first.", "text": "Let me look.",
           "tool_calls": [{"name": "Bash", "input": {"command": "head -1 data.csv"}}]},
          {"text": "The columns are `{{result}}`."}]}]}

The turn is the first one whose ``when`` (a regular expression, case ignored, searched for; empty fits everything) fits the
text of the latest prompt; the reply is chosen by how many answers already followed that prompt. So a script keeps no state: it
goes on after a kernel restart, and a cell that runs again plays the same. After its last reply a turn stays at that one,
without its tool calls. Instead of ``turns`` there may be ``replies``: then the answers of the whole conversation are counted and
take the replies in order, except that a reply with ``when`` is only taken by a prompt it fits.

In texts and string values of inputs, ``{{result}}`` is the text of the last tool result of this turn, ``{{result:2}}`` that
of its second, ``{{prompt}}`` the prompt. Nothing else is evaluated. ``chunk_seconds`` (script or reply) is the pause
after each word (default 0: the text comes at once).

Usage is estimated as a quarter of the characters and there is no cost. Each turn begins with a notice that the model is scripted.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from claw_kernel.errors import InvalidRequestError, ModelNotFoundError, SettingsError
from claw_kernel.late_dataclass import dataclass
from claw_kernel.messages import (
    AssistantBlock,
    Message,
    MessageFinished,
    ModelRequest,
    ProviderEvent,
    ProviderNotice,
    TextBlock,
    TextDelta,
    ThinkingBlock,
    ThinkingDelta,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Usage,
)
from claw_kernel.providers.invariants import find_violation

_CHARACTERS_PER_TOKEN = 4
"""The usual rule of thumb for English text; the notice says that it is an estimate."""

_PLACE = re.compile(r"\{\{(result|prompt)(?::([1-9][0-9]*))?\}\}")


@dataclass(frozen=True)
class Reply:
    text: str
    thinking: str
    tool_calls: tuple[tuple[str, dict[str, Any]], ...]
    chunk_seconds: float
    when: re.Pattern[str] | None = None


@dataclass(frozen=True)
class ScriptTurn:
    when: re.Pattern[str] | None
    replies: tuple[Reply, ...]


@dataclass(frozen=True)
class Script:
    """``turns`` or ``replies``, never both."""

    title: str
    turns: tuple[ScriptTurn, ...]
    replies: tuple[Reply, ...]


def built_in_scripts() -> list[str]:
    """Names of the scripts that ship with the package."""
    return sorted(
        entry.name.removesuffix(".json")
        for entry in (files("claw_kernel.providers") / "scripts").iterdir()
        if entry.name.endswith(".json")
    )


def load_script(name: str, cwd: str) -> Script:
    """Raises ModelNotFoundError where there is no such script and SettingsError, naming the place, where it cannot be read."""
    path = Path(cwd, name).expanduser()
    if name.endswith(".json"):
        shown = name
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise ModelNotFoundError(
                f"There is no script {name!r} (looked for {path}).",
                f"Give the path of a .json file, or one of: {', '.join(built_in_scripts())}.",
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(
                f"The script {name!r} cannot be read: {error}.", "Give a readable UTF-8 file."
            ) from None
    else:
        shown = f"{name}.json"
        if name not in built_in_scripts():
            raise ModelNotFoundError(
                f"There is no built-in script {name!r}.",
                f"Give the path of a .json file, or one of: {', '.join(built_in_scripts())}.",
            )
        text = (files("claw_kernel.providers") / "scripts" / shown).read_text(encoding="utf-8")
    try:
        return _read_script(json.loads(text), Path(shown).name)
    except ValueError as error:
        raise SettingsError(
            f"The script {shown} cannot be read: {error}.", "See the format in claw_kernel.providers.scripted."
        ) from None


def _read_script(value: Any, shown: str) -> Script:
    script = _fields(value, "the script", {"title": str, "turns": list, "replies": list, "chunk_seconds": float})
    if ("turns" in script) == ("replies" in script):
        raise ValueError('it needs either "turns" or "replies"')
    pause = script.get("chunk_seconds", 0.0)
    turns = []
    for number, item in enumerate(script.get("turns", ()), 1):
        turn = _fields(item, f"turn {number}", {"when": str, "replies": list})
        if not turn.get("replies"):
            raise ValueError(f'turn {number} needs "replies"')
        where = f"turn {number}, reply "
        replies = tuple(_read_reply(reply, f"{where}{n}", pause) for n, reply in enumerate(turn["replies"], 1))
        turns.append(ScriptTurn(_pattern(turn.get("when", ""), f"turn {number}"), replies))
    replies = tuple(_read_reply(reply, f"reply {n}", pause) for n, reply in enumerate(script.get("replies", ()), 1))
    if not turns and not replies:
        raise ValueError("it has no replies")
    return Script(script.get("title") or shown, tuple(turns), replies)


def _read_reply(value: Any, where: str, pause: float) -> Reply:
    kinds = {"when": str, "text": str, "thinking": str, "tool_calls": list, "chunk_seconds": float}
    reply = _fields(value, where, kinds)
    calls = []
    for number, item in enumerate(reply.get("tool_calls", ()), 1):
        call = _fields(item, f"{where}, tool call {number}", {"name": str, "input": dict})
        if not call.get("name"):
            raise ValueError(f'{where}, tool call {number} needs "name"')
        calls.append((call["name"], call.get("input", {})))
    if not reply.get("text") and not calls:
        raise ValueError(f'{where} needs "text" or "tool_calls"')
    return Reply(
        reply.get("text", ""),
        reply.get("thinking", ""),
        tuple(calls),
        reply.get("chunk_seconds", pause),
        _pattern(reply["when"], where) if reply.get("when") else None,
    )


def _fields(value: Any, where: str, kinds: dict[str, type]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where} is not an object")  # noqa: TRY004 - one error for a bad script
    for name, item in value.items():
        if name not in kinds:
            raise ValueError(f"{where} has an unknown field {name!r} (known: {', '.join(kinds)})")
        wanted = kinds[name]
        is_number = isinstance(item, int | float) and not isinstance(item, bool)
        fits = (is_number and 0 <= item <= 60) if wanted is float else isinstance(item, wanted)
        if not fits:
            raise ValueError(f"{name!r} of {where} is no {'number of seconds' if wanted is float else wanted.__name__}")
    return value


def _pattern(text: str, where: str) -> re.Pattern[str] | None:
    try:
        return re.compile(text, re.IGNORECASE) if text else None
    except re.error as error:
        raise ValueError(f'"when" of {where} is no regular expression: {error}') from None


class ScriptedProvider:
    """A provider like the others, without a network. Stateless: what it says depends on the request alone."""

    name = "scripted"

    def __init__(self, script: Script, shown: str) -> None:
        self._script = script
        self._shown = shown

    async def aclose(self) -> None:
        """Nothing is held."""

    async def stream(self, request: ModelRequest) -> AsyncIterator[ProviderEvent]:
        """See ``Provider.stream``. Raises InvalidRequestError where the script has no reply to the prompt, and for a request
        that a real server would refuse."""
        if violation := find_violation(request):
            raise InvalidRequestError(f"The request is illegal: {violation}.", "Please report it.")
        prompt, since, answered = _read_transcript(request.messages)
        if not answered:
            yield ProviderNotice(
                f"scripted model: answers are written in {self._shown}, no model is called, token counts are estimates"
            )
        reply, is_past_end = self._choose(prompt, answered, request.messages)
        results = [block for message in since for block in message.content if isinstance(block, ToolResult)]
        text = _fill(reply.text, prompt, results)
        thinking = _fill(reply.thinking, prompt, results)
        calls = () if is_past_end else reply.tool_calls
        if is_past_end and not text:
            text = "The script has no further reply to this prompt."
        content: list[AssistantBlock] = []
        if thinking:
            content.append(ThinkingBlock(thinking))
            async for piece in _pieces(thinking, reply.chunk_seconds):
                yield ThinkingDelta(piece)
        if text:
            content.append(TextBlock(text))
            async for piece in _pieces(text, reply.chunk_seconds):
                yield TextDelta(piece)
        for number, (name, value) in enumerate(calls, 1):
            # Unique in the transcript and the same when the cell runs again.
            call = ToolCall(f"scripted_{len(request.messages)}_{number}", name, _fill_value(value, prompt, results))
            content.append(call)
            yield ToolCallDelta(call.id, name, json.dumps(call.input, ensure_ascii=False))
        usage = Usage(_tokens(request), _length(content) // _CHARACTERS_PER_TOKEN)
        yield MessageFinished(
            Message("assistant", tuple(content)), usage, "tool_use" if calls else "end_turn", model=request.model
        )

    def _choose(self, prompt: str, answered: int, messages: tuple[Message, ...]) -> tuple[Reply, bool]:
        """The reply, and whether the script is past its end."""
        script = self._script
        for turn in script.turns:
            if turn.when is None or turn.when.search(prompt):
                return turn.replies[min(answered, len(turn.replies) - 1)], answered >= len(turn.replies)
        if script.turns:
            known = ", ".join(repr(turn.when.pattern) for turn in script.turns if turn.when is not None)
            raise InvalidRequestError(
                f"The script {self._shown} has no reply to this prompt.",
                f"It answers prompts that match one of: {known}. Choose a real model for anything else.",
            )
        fitting = [reply for reply in script.replies if reply.when is not None and reply.when.search(prompt)]
        if fitting:
            return fitting[min(answered, len(fitting) - 1)], answered >= len(fitting)
        plain = [reply for reply in script.replies if reply.when is None]
        spoken = sum(message.role == "assistant" for message in messages)
        if not plain:
            raise InvalidRequestError(
                f"The script {self._shown} has no reply to this prompt.", "Choose a real model for anything else."
            )
        return plain[min(spoken, len(plain) - 1)], spoken >= len(plain)


def _read_transcript(messages: tuple[Message, ...]) -> tuple[str, tuple[Message, ...], int]:
    """The latest prompt, the messages after it, and how many of those are answers."""
    for place in range(len(messages) - 1, -1, -1):
        message = messages[place]
        texts = [block.text for block in message.content if isinstance(block, TextBlock)]
        if message.role == "user" and texts:
            since = messages[place + 1 :]
            return "\n".join(texts), since, sum(later.role == "assistant" for later in since)
    return "", messages, sum(message.role == "assistant" for message in messages)


def _fill(text: str, prompt: str, results: list[ToolResult]) -> str:
    def value(match: re.Match[str]) -> str:
        if match[1] == "prompt":
            return prompt
        place = int(match[2]) - 1 if match[2] else len(results) - 1
        if not 0 <= place < len(results):
            return "(no such result)"
        return "\n".join(part.text for part in results[place].content if isinstance(part, TextBlock)).strip()

    return _PLACE.sub(value, text)


def _fill_value(value: Any, prompt: str, results: list[ToolResult]) -> Any:
    if isinstance(value, str):
        return _fill(value, prompt, results)
    if isinstance(value, dict):
        return {name: _fill_value(item, prompt, results) for name, item in value.items()}
    if isinstance(value, list):
        return [_fill_value(item, prompt, results) for item in value]
    return value


async def _pieces(text: str, pause_seconds: float) -> AsyncIterator[str]:
    if not pause_seconds:
        yield text
        return
    for piece in re.findall(r"\s*\S+\s*$|\s*\S+|\s+", text):
        yield piece
        await asyncio.sleep(pause_seconds)


def _length(blocks: Any) -> int:
    total = 0
    for block in blocks:
        if isinstance(block, TextBlock | ThinkingBlock):
            total += len(block.text)
        elif isinstance(block, ToolCall):
            total += len(block.name) + len(json.dumps(block.input))
        elif isinstance(block, ToolResult):
            total += _length(block.content)
    return total


def _tokens(request: ModelRequest) -> int:
    characters = len(request.system) + sum(_length(message.content) for message in request.messages)
    return characters // _CHARACTERS_PER_TOKEN
