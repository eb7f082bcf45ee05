"""Turns that go round in circles: found, told once to the model, and then stopped."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from typing import Literal, TypeAlias

from claw_kernel.messages import ImageBlock, TextBlock, ToolCall, ToolResult

Verdict: TypeAlias = Literal["go", "tell", "stop"]

TELL_BEFORE = 2
"""So many rounds before the turn is stopped the model is told. With the default of ``max_repeats``, 5 (Gemini CLI and Crush stop
at five equal calls), that is after the third."""
LONGEST_ROUND = 3
"""Steps that may make up a round. OpenHands looks for one and for two by turns; three costs nothing more."""
FAILED_STEPS = 8
"""Steps in a row of which every call failed, whatever was called, until the model is told; twice as many end the turn."""
WAITING_TOOLS = ("Sleep", "BashOutput")
"""Calls that are meant to be made again until something has changed."""

TOLD_REPEATS = (
    "[From Claw: you have made the same calls with the same results {times} times. Making them again will change nothing: use "
    "what they gave, try something else, or say what is in the way. After {left} more the turn is stopped.]"
)
TOLD_FAILURES = (
    "[From Claw: every call of the last {times} steps has failed. Stop and think about what they have in common; if you "
    "cannot go on, tell the user what you need.]"
)
TOLD_PASSAGE = (
    "[From Claw: you were writing the same passage again and again, so the answer was stopped. Do not go on with it: say in "
    "a sentence what you meant, or take the next step.]"
)


class LoopGuard:
    """Over the steps of one turn. ``max_repeats``: after so many equal rounds the turn ends; 0: never."""

    def __init__(self, max_repeats: int) -> None:
        self._max_repeats = max_repeats
        self._rounds: deque[int] = deque(maxlen=LONGEST_ROUND * max(max_repeats, 1))
        self._failed = 0
        self._is_told = False

    def take(self, calls: Sequence[ToolCall], results: Sequence[ToolResult]) -> tuple[Verdict, str]:
        """A step with these calls is done: whether to go on, and what to tell the model."""
        if not self._max_repeats or not calls:
            return "go", ""
        self._failed = self._failed + 1 if all(result.is_error for result in results) else 0
        if self._failed >= 2 * FAILED_STEPS:
            return "stop", ""
        if self._failed == FAILED_STEPS:
            return "tell", TOLD_FAILURES.format(times=FAILED_STEPS)
        if any(call.name in WAITING_TOOLS for call in calls):
            self._rounds.clear()
            return "go", ""
        self._rounds.append(hash((*map(_call_key, calls), *map(_result_key, results))))
        times = max(self._times(length) for length in range(1, LONGEST_ROUND + 1))
        if times == 1:
            self._is_told = False
        if times >= self._max_repeats:
            return "stop", ""
        if times >= max(self._max_repeats - TELL_BEFORE, 2) and not self._is_told:
            self._is_told = True
            return "tell", TOLD_REPEATS.format(times=times, left=self._max_repeats - times)
        return "go", ""

    def _times(self, length: int) -> int:
        """How often the last ``length`` steps have just been made in a row."""
        steps = list(self._rounds)
        last = steps[-length:]
        times = 0
        while len(last) == length and steps[len(steps) - length * (times + 1) : len(steps) - length * times] == last:
            times += 1
            if length * (times + 1) > len(steps):
                break
        return times


def _call_key(call: ToolCall) -> tuple[str, str]:
    return call.name, call.malformed or json.dumps(call.input, sort_keys=True, ensure_ascii=False)


def _result_key(result: ToolResult) -> tuple[bool, tuple[str, ...]]:
    texts = (
        b.text if isinstance(b, TextBlock) else b.data if isinstance(b, ImageBlock) else "" for b in result.content
    )
    return result.is_error, tuple(texts)


MIN_REPEATS = 10
CHUNK_CHARACTERS = 50
"""A passage of at least 50 characters that stands there ten times in a row (Gemini CLI's numbers)."""
LONGEST_PASSAGE = 400
_LOOK_EVERY = 256
_TAIL = LONGEST_PASSAGE * MIN_REPEATS
_LEAST_LETTERS = 4
"""Different letters of a passage: rules, tables of zeros and the like repeat for a reason."""


class PassageGuard:
    """Over the text of one answer while it streams. Looks every few hundred characters, so a token costs an append."""

    def __init__(self, *, is_on: bool = True) -> None:
        self._is_on = is_on
        self._parts: list[str] = []
        self._tail = ""
        self._new = 0
        self._fences = 0
        self.passage = 0
        """Length of the passage that repeats, once ``take`` has said so."""

    def take(self, text: str) -> bool:
        """More text came. True where it goes round in circles; code blocks are left alone."""
        if not self._is_on:
            return False
        self._parts.append(text)
        self._new += len(text)
        if self._new < _LOOK_EVERY:
            return False
        new = "".join(self._parts)
        self._fences += (self._tail[-2:] + new).count("```")
        self._tail = (self._tail + new)[-_TAIL:]
        self._parts, self._new = [], 0
        return self._fences % 2 == 0 and self._repeats()

    def _repeats(self) -> bool:
        tail = self._tail
        chunk = tail[-CHUNK_CHARACTERS:]
        before = tail.rfind(chunk, 0, -1)
        if before < 0:
            return False
        passage = len(tail) - CHUNK_CHARACTERS - before
        times = max(MIN_REPEATS, -(-MIN_REPEATS * CHUNK_CHARACTERS // passage))
        if passage * times > len(tail):
            return False
        if tail[-passage * times : -passage] != tail[-passage * (times - 1) :]:
            return False
        if len({letter for letter in tail[-passage:].lower() if letter.isalpha()}) < _LEAST_LETTERS:
            return False
        self.passage = passage
        return True


def without_repeats(text: str, passage: int) -> str:
    """``text`` with the passage that it ends with there once."""
    end = len(text)
    while end >= 2 * passage and text[end - passage : end] == text[end - 2 * passage : end - passage]:
        end -= passage
    return text[:end]
