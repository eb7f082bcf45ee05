"""The first line of a ``%%claw`` cell: its options, what they may be, and the help that ``%%claw --help`` shows."""

from __future__ import annotations

import difflib
import keyword
import shlex
from collections.abc import Callable
from typing import Any

from claw_kernel.late_dataclass import dataclass
from claw_kernel.settings_fields import Rerun
from claw_magics.errors import ClawUsageError
from claw_magics.report import CommandOutput, Report

USAGE = "%%claw [OPTIONS], then your request on the lines below; %%claw --help lists the options"
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
        if word in FLAGS:
            field, given, _ = FLAGS[word]
            found[field] = given
            continue
        if (option := OPTIONS.get(name)) is None:
            raise ClawUsageError(_unknown(word))
        if not equals:
            if not words:
                raise ClawUsageError(f"{name} needs {option.wanted}.")
            value = words.pop(0)
        try:
            found[option.field] = option.read(value)
        except ValueError:
            raise ClawUsageError(f"{name} takes {option.wanted}, not {value!r}.{_nearest_mode(name, value)}") from None
    return CellOptions(**found)


def is_help(line: str) -> bool:
    """Whether the first line asks what may stand there."""
    return line.strip() in ("--help", "-h", "?", "help")


def cell_help() -> CommandOutput:
    """What ``%%claw --help`` shows."""
    report = Report()
    report.line("Ask the agent: %%claw and options on the first line, your request on the lines below.")
    report.block("%%claw --max-cost 0.50\nWhy does {df} have fewer rows after the merge in @prepare.py?")
    report.line("{df} attaches a description of your variable, @prepare.py attaches the file.")
    rows = [(f"{name} {option.placeholder}", option.meaning) for name, option in OPTIONS.items()]
    report.table(("Option", "What it does"), [*rows, *((name, meaning) for name, (_, _, meaning) in FLAGS.items())])
    report.line("%claw help lists the commands.")
    return report.output()


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


@dataclass(frozen=True)
class Option:
    """An option with a value. ``field`` of :class:`CellOptions`; ``read`` raises ValueError, then ``wanted`` says what to give."""

    field: str
    read: Callable[[str], Any]
    wanted: str
    placeholder: str
    meaning: str


OPTIONS: dict[str, Option] = {
    "--model": Option(
        "model", _name, "a model's name such as anthropic/claude-sonnet-5", "NAME", "The model for this cell."
    ),
    "--max-turns": Option(
        "max_turns", _count, "a number of model requests, 1 or more", "N", "At most so many model requests."
    ),
    "--max-cost": Option(
        "max_cost_usd", _amount, "an amount in US dollars such as 0.50", "USD", "No further request once this is spent."
    ),
    "--mode": Option("mode", _mode, f"one of {', '.join(MODES)}", "MODE", f"What it may do: {', '.join(MODES)}."),
    "--schema": Option("schema", _name, "the path of a JSON schema", "FILE", "The result is a value that fits this."),
    "--into": Option("into", _variable, "the name of a variable", "NAME", "The variable that gets the answer."),
}
FLAGS: dict[str, tuple[str, str, str]] = {
    "--plan": ("mode", "plan", "The same as --mode plan: only reading until you have approved a plan."),
    "--live": ("rerun", "live", "Send the request even where a record answers it."),
    "--recorded": ("rerun", "recorded", "Show the record and send nothing."),
}
"""Field, value and meaning of the options that take none."""


def _unknown(word: str) -> str:
    if not word.startswith("-"):
        return f"{word!r} is not an option: the request itself goes on the lines below %%claw · usage: {USAGE}."
    name = word.partition("=")[0]
    near = difflib.get_close_matches(name, [*OPTIONS, *FLAGS], n=1, cutoff=0.4)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"%%claw has no option {name}.{hint} It takes {', '.join([*OPTIONS, *FLAGS])}; %%claw --help explains them."


def _nearest_mode(name: str, value: str) -> str:
    near = difflib.get_close_matches(value, MODES, n=1, cutoff=0.4) if name == "--mode" else []
    return f" Did you mean {near[0]}?" if near else ""
