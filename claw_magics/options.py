"""The first line of a ``%%claw`` cell: ``[--model NAME] [--max-turns N] [--max-cost USD] [--mode MODE] [--plan]
[--schema FILE] [--into NAME] [--live] [--recorded]``."""

from __future__ import annotations

import difflib
import keyword
import shlex
from collections.abc import Callable
from typing import Any

from claw_kernel.late_dataclass import dataclass
from claw_kernel.settings_fields import Rerun
from claw_magics.errors import ClawUsageError

USAGE = (
    "%%claw [--model NAME] [--max-turns N] [--max-cost USD] [--mode MODE] [--plan] [--schema FILE] [--into NAME] "
    "[--live] [--recorded], then your request on the lines below"
)
MODES = ("default", "acceptEdits", "plan", "dontAsk", "bypassPermissions")


@dataclass(frozen=True)
class CellOptions:
    """Options of one cell; None where the settings decide. ``max_cost_usd`` is in US dollars. ``schema``: the file of a JSON
    schema that the result is to fit; ``into``: the variable that gets the result, or without a schema the answer's text.
    ``rerun``: ``live`` sends the request in any case, ``recorded`` never."""

    model: str | None = None
    max_turns: int | None = None
    max_cost_usd: float | None = None
    mode: str | None = None
    schema: str | None = None
    into: str | None = None
    rerun: Rerun | None = None


def parse_options(line: str) -> CellOptions:
    """Raises ClawUsageError naming what was not understood and what is nearest to it."""
    try:
        words = shlex.split(line)
    except ValueError:
        raise ClawUsageError(f"The first line has an unclosed quote: {line.strip()} · usage: {USAGE}.") from None
    found: dict[str, Any] = {}
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        if word in _FLAGS:
            field, given = _FLAGS[word]
            found[field] = given
            continue
        if name not in _OPTIONS:
            raise ClawUsageError(_unknown(word))
        field, read, wanted = _OPTIONS[name]
        if not equals:
            if not words:
                raise ClawUsageError(f"{name} needs {wanted}.")
            value = words.pop(0)
        try:
            found[field] = read(value)
        except ValueError:
            raise ClawUsageError(f"{name} takes {wanted}, not {value!r}.{_nearest_mode(name, value)}") from None
    return CellOptions(**found)


def _count(text: str) -> int:
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


def _amount(text: str) -> float:
    amount = float(text.removeprefix("$"))
    if not 0 <= amount < float("inf"):
        raise ValueError(text)
    return amount


def _mode(text: str) -> str:
    if text not in MODES:
        raise ValueError(text)
    return text


def _name(text: str) -> str:
    if not text.strip():
        raise ValueError(text)
    return text


def _variable(text: str) -> str:
    if not text.isidentifier() or keyword.iskeyword(text):
        raise ValueError(text)
    return text


_FLAGS = {"--plan": ("mode", "plan"), "--live": ("rerun", "live"), "--recorded": ("rerun", "recorded")}
_OPTIONS: dict[str, tuple[str, Callable[[str], Any], str]] = {
    "--model": ("model", _name, "a model's name such as anthropic/claude-sonnet-5"),
    "--max-turns": ("max_turns", _count, "a number of model requests, 1 or more"),
    "--max-cost": ("max_cost_usd", _amount, "an amount in US dollars such as 0.50"),
    "--mode": ("mode", _mode, f"one of {', '.join(MODES)}"),
    "--schema": ("schema", _name, "the path of a JSON schema"),
    "--into": ("into", _variable, "the name of a variable"),
}


def _unknown(word: str) -> str:
    if not word.startswith("-"):
        return f"{word!r} is not an option: the request itself goes on the lines below %%claw · usage: {USAGE}."
    near = difflib.get_close_matches(word.partition("=")[0], [*_OPTIONS, *_FLAGS], n=1, cutoff=0.4)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"%%claw has no option {word.partition('=')[0]}.{hint} It takes {', '.join([*_OPTIONS, '--plan'])}."


def _nearest_mode(name: str, value: str) -> str:
    near = difflib.get_close_matches(value, MODES, n=1, cutoff=0.4) if name == "--mode" else []
    return f" Did you mean {near[0]}?" if near else ""
