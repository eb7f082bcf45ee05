"""The settings that are one value: what each may be and who may set it. A new one is a line here and a field of
:class:`claw_kernel.settings.Settings`; files, environment, ``%claw config`` and completion follow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias, get_args

from claw_kernel.errors import SettingsError
from claw_kernel.late_dataclass import dataclass
from claw_kernel.messages import Effort

PermissionMode: TypeAlias = Literal["default", "acceptEdits", "plan", "dontAsk", "bypassPermissions"]
Api: TypeAlias = Literal["anthropic", "openai-chat", "openai-responses"]
Approvals: TypeAlias = Literal["auto", "extension", "widget", "stdin", "none"]
Rerun: TypeAlias = Literal["auto", "live", "recorded"]
Behavior: TypeAlias = Literal["allow", "ask", "deny"]

MAX_FALLBACK_MODELS = 3
"""Each is asked only after the one before was given up on, so a longer list would keep a person waiting for minutes."""
TIGHTENING_MODES = ("plan", "dontAsk")
"""Modes that anybody may set: they allow less than the others."""


@dataclass(frozen=True)
class Rule:
    """A permission rule and the place it came from (a file, ``--allow``, ``%claw permissions``)."""

    behavior: Behavior
    rule: str
    source: str
    matches: tuple[str, ...] = ()
    """Examples that the rule must match; checked when the policy is set."""
    not_matches: tuple[str, ...] = ()


@dataclass(frozen=True)
class Field:
    """``read`` gives the value in the field's type, or raises ValueError or TypeError; ``wanted`` then says what to give.
    ``variable``: of the environment. ``is_trusted``: a project's file may set it once its folder is trusted. ``is_in_files``:
    it stands in a file under its own name."""

    name: str
    kind: Any
    read: Callable[[Any], Any]
    wanted: str
    variable: str = ""
    is_trusted: bool = False
    is_in_files: bool = True


def checked(name: str, value: Any, source: str) -> Any:
    """``value`` in the field's type (what is not in ``FIELDS`` as it is). Raises SettingsError naming ``source``."""
    if (one := FIELDS.get(name)) is None:
        return value
    try:
        return one.read(value)
    except (TypeError, ValueError):
        choices = get_args(one.kind)
        import difflib

        near = difflib.get_close_matches(str(value), choices, 1) if choices else []
        hint = f"; did you mean {near[0]}?" if near else "."
        raise SettingsError(f"{name} cannot be {value!r} ({source}){hint}", f"{one.wanted}.") from None


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError
    return value.strip()


def _switch(value: Any) -> bool:
    if str(value).lower() not in ("true", "false", "1", "0", "on", "off"):
        raise ValueError
    return str(value).lower() in ("true", "1", "on")


def _choice(kind: Any) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if value not in get_args(kind):
            raise ValueError
        return value

    return read


def _whole(least: int = 1, most: float = float("inf")) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if isinstance(value, float) and not value.is_integer():  # so is none that is infinite
            raise ValueError
        number = int(value)
        if not least <= number <= most:
            raise ValueError
        return number

    return read


def _amount(most: float = float("inf")) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        amount = float(value)
        if not 0 <= amount <= most:
            raise ValueError
        return amount

    return read


def _models(value: Any) -> tuple[str, ...]:
    """Names in a list, or in one text with commas or spaces between them (``none``: no names)."""
    names = value.replace(",", " ").split() if isinstance(value, str) else list(value)
    names = [] if names == ["none"] else names
    if len(names) > MAX_FALLBACK_MODELS or not all(isinstance(name, str) and name.strip() for name in names):
        raise ValueError
    return tuple(names)


def _one_of(name: str, kind: Any, **others: Any) -> Field:
    return Field(name, kind, _choice(kind), f"Use one of {', '.join(get_args(kind))}", **others)


_TEXT = "Give a non-empty text"
_POSITIVE = "Give a positive whole number"
MAX_OUTPUT_KILOBYTES = 16_000
_DOLLARS = "Give an amount in US dollars such as 0.50"

FIELDS: dict[str, Field] = {
    one.name: one
    for one in (
        Field("model", str, _text, _TEXT, "CLAW_MODEL", is_trusted=True),
        Field("base_url", str, _text, _TEXT, "CLAW_BASE_URL"),
        _one_of("api", Api, variable="CLAW_API"),
        Field("ca_file", str, _text, _TEXT),
        _one_of("effort", Effort, variable="CLAW_EFFORT", is_trusted=True),
        Field(
            "fallback_models",
            list,
            _models,
            f"Give at most {MAX_FALLBACK_MODELS} models, or none",
            is_trusted=True,
        ),
        _one_of("permission_mode", PermissionMode, variable="CLAW_PERMISSION_MODE", is_trusted=True, is_in_files=False),
        _one_of("approvals", Approvals, variable="CLAW_APPROVALS", is_trusted=True),
        _one_of("rerun", Rerun, variable="CLAW_RERUN", is_trusted=True),
        Field("max_turns", int, _whole(), _POSITIVE, "CLAW_MAX_TURNS", is_trusted=True),
        Field("max_cost_usd", float, _amount(), _DOLLARS, "CLAW_MAX_COST", is_trusted=True),
        Field("max_seconds", float, _amount(), "Give seconds", "CLAW_MAX_SECONDS", is_trusted=True),
        Field("max_turn_tokens", int, _whole(), _POSITIVE, is_trusted=True),
        Field("max_session_cost_usd", float, _amount(), _DOLLARS, "CLAW_MAX_SESSION_COST", is_trusted=True),
        Field("max_session_seconds", float, _amount(), "Give seconds", is_trusted=True),
        Field("max_session_tokens", int, _whole(), _POSITIVE, is_trusted=True),
        Field("max_session_turns", int, _whole(), _POSITIVE, is_trusted=True),
        Field("max_notebook_cost_usd", float, _amount(), _DOLLARS, is_trusted=True),
        Field("max_notebook_seconds", float, _amount(), "Give seconds", is_trusted=True),
        Field("max_notebook_tokens", int, _whole(), _POSITIVE, is_trusted=True),
        Field("max_notebook_turns", int, _whole(), _POSITIVE, is_trusted=True),
        Field("max_repeats", int, _whole(0), "Give a whole number, 0 for never", "CLAW_MAX_REPEATS", is_trusted=True),
        Field("max_tokens", int, _whole(), _POSITIVE, is_trusted=True),
        Field("replay", str, _text, "Give the path of a notebook", "CLAW_REPLAY", is_in_files=False),
        Field("accept_edits", bool, _switch, "Give true or false", "CLAW_ACCEPT_EDITS", is_in_files=False),
        Field("context_window", int, _whole(1_024), "Give a number of tokens from 1024 on", is_trusted=True),
        Field("compact_percent", int, _whole(20, 95), "Give a percentage from 20 to 95", is_trusted=True),
        Field("telemetry", bool, _switch, "Give on or off", "CLAW_TELEMETRY"),
        Field("telemetry_content", bool, _switch, "Give on or off", "CLAW_TELEMETRY_CONTENT"),
        Field("checkpoint_megabytes", int, _whole(0, 1 << 20), "Give a whole number of MiB, 0 for no checkpoints"),
        Field("checkpoint_seconds", float, _amount(600), "Give seconds, from 0 to 600"),
        Field(
            "record_output_kilobytes",
            int,
            _whole(16, MAX_OUTPUT_KILOBYTES),
            f"Give a whole number from 16 to {MAX_OUTPUT_KILOBYTES}",
        ),
    )
}
"""In the order in which ``%claw config`` shows them; a person may change each of them with it."""

SETTABLE = tuple(FIELDS)
ENVIRONMENT = {one.variable: one.name for one in FIELDS.values() if one.variable}
TRUSTED = (*(one.name for one in FIELDS.values() if one.is_trusted), "prices")
"""What a project file may set once its folder is trusted."""
