"""Settings: defaults < user file < project files < environment < options of one call. The only reader of ``os.environ``.

User file: ``$CLAW_HOME/settings.json`` (default ``~/.claw/settings.json``). Project files: ``.claw/settings.json`` and
``.claw/settings.local.json`` in the workspace. A project file may only tighten (``ask`` and ``deny`` rules, the modes
``plan`` and ``dontAsk``) and choose a model: everything else in it is ignored with a notice, because a repository must
not grant itself rights or send a key to another server.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from claw_kernel.errors import SettingsError

if TYPE_CHECKING:
    from pydantic import BaseModel

PermissionMode: TypeAlias = Literal["default", "acceptEdits", "plan", "dontAsk", "bypassPermissions"]
Api: TypeAlias = Literal["anthropic", "openai-chat", "openai-responses"]
Approvals: TypeAlias = Literal["auto", "extension", "widget", "stdin", "none"]
Behavior: TypeAlias = Literal["allow", "ask", "deny"]

_SECRET_NAME_PARTS = ("KEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL", "AUTHORIZATION")


@dataclass(frozen=True, slots=True)
class Rule:
    """A permission rule and the place it came from (a file, ``--allow``, ``%claw permissions``)."""

    behavior: Behavior
    rule: str
    source: str


@dataclass(frozen=True, slots=True)
class Settings:
    """What is in force. ``sources`` names, for each field that is not at its default, where its value came from."""

    cwd: str
    home: str
    env: Mapping[str, str] = field(repr=False)
    model: str | None = None
    base_url: str | None = None
    api: Api | None = None
    permission_mode: PermissionMode = "default"
    rules: tuple[Rule, ...] = ()
    approvals: Approvals = "auto"
    max_turns: int = 100
    """Model requests in one turn."""
    max_cost_usd: float | None = None
    """US dollars in one turn; None: no limit."""
    max_tokens: int = 16_384
    """Output tokens of one response."""
    prices: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """``{"provider/model": {"input": …, "output": …, "cache_read": …, "cache_write": …}}``, US dollars per million tokens."""
    sources: Mapping[str, str] = field(default_factory=dict)
    notices: tuple[str, ...] = ()

    @property
    def state_dir(self) -> str:
        """Where the audit log and spilled outputs go."""
        return str(Path(self.home) / "state")

    def secrets(self) -> tuple[str, ...]:
        """Values of the environment that must never be stored: those whose name says so."""
        return tuple(
            value
            for name, value in self.env.items()
            if len(value) >= 8 and any(part in name.upper() for part in _SECRET_NAME_PARTS)
        )

    def policy(self) -> str:
        """The JSON that ``Core.set_policy`` takes."""
        rules = [{"behavior": rule.behavior, "rule": rule.rule, "source": rule.source} for rule in self.rules]
        return json.dumps({"mode": self.permission_mode, "rules": rules})

    def with_options(self, source: str, **values: Any) -> Settings:
        """A copy with the given fields set (those that are None are left alone). Raises SettingsError naming ``source``."""
        given = {name: value for name, value in values.items() if value is not None}
        rules = given.pop("rules", ())
        for name, value in given.items():
            given[name] = _checked(name, value, source)
        sources = {**self.sources, **dict.fromkeys(given, source)}
        return replace(self, **given, rules=(*self.rules, *rules), sources=sources)


_CHOICES: dict[str, tuple[str, ...]] = {
    "permission_mode": get_args(PermissionMode),
    "api": get_args(Api),
    "approvals": get_args(Approvals),
}
_ENVIRONMENT = {
    "CLAW_MODEL": "model",
    "CLAW_BASE_URL": "base_url",
    "CLAW_API": "api",
    "CLAW_PERMISSION_MODE": "permission_mode",
    "CLAW_APPROVALS": "approvals",
    "CLAW_MAX_TURNS": "max_turns",
    "CLAW_MAX_COST": "max_cost_usd",
}
SETTABLE = ("model", "base_url", "api", "permission_mode", "approvals", "max_turns", "max_cost_usd", "max_tokens")
"""Fields that ``%claw config set`` and options may change."""


def _checked(name: str, value: Any, source: str) -> Any:
    """``value`` in the field's type, or SettingsError."""
    if choices := _CHOICES.get(name):
        if value not in choices:
            near = difflib.get_close_matches(str(value), choices, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise SettingsError(f"{name} cannot be {value!r} ({source}){hint}", f"Use one of {', '.join(choices)}.")
        return value
    try:
        if name in ("max_turns", "max_tokens"):
            number = int(value)
            if number < 1 or (isinstance(value, float) and value != number):
                raise ValueError
            return number
        if name == "max_cost_usd":
            amount = float(value)
            if not amount >= 0:
                raise ValueError
            return amount
    except (TypeError, ValueError):
        wanted = "a positive whole number" if name != "max_cost_usd" else "an amount in US dollars such as 0.50"
        raise SettingsError(f"{name} cannot be {value!r} ({source}).", f"Give {wanted}.") from None
    if name == "prices":
        return value
    if not isinstance(value, str) or not value.strip():
        raise SettingsError(f"{name} cannot be {value!r} ({source}).", "Give a non-empty text.")
    return value.strip()


def load_settings(cwd: str | None = None, env: Mapping[str, str] | None = None) -> Settings:
    """Read all sources for the workspace ``cwd`` (default: the current directory).

    ``env`` stands in for the process's environment (tests, embedding). Raises SettingsError for a file that cannot be
    read or a value that makes no sense; a project file's attempt to widen rights is a notice instead.
    """
    env = dict(os.environ) if env is None else dict(env)
    home = Path(env.get("CLAW_HOME") or Path(env.get("HOME") or Path.home()) / ".claw")
    root = Path(cwd or Path.cwd()).resolve()
    settings = Settings(cwd=str(root), home=str(home), env=env)
    settings = _apply_file(settings, home / "settings.json", is_project=False)
    for name in ("settings.json", "settings.local.json"):
        path = root / ".claw" / name
        if path.parent.resolve() != home.resolve():
            settings = _apply_file(settings, path, is_project=True)
    given = {key: env[name] for name, key in _ENVIRONMENT.items() if env.get(name)}
    for key, value in given.items():
        variable = next(name for name, field_name in _ENVIRONMENT.items() if field_name == key)
        settings = settings.with_options(variable, **{key: value})
    return settings


def _apply_file(settings: Settings, path: Path, *, is_project: bool) -> Settings:
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return settings
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}.", "Mend or remove the file.") from error
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise SettingsError(
            f"{path} is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}.",
            "Mend or remove the file.",
        ) from error
    file = _validated(content, path)
    source = str(path)
    permissions = file.pop("permissions", {})
    rules = tuple(
        Rule(behavior, rule, source) for behavior in ("allow", "ask", "deny") for rule in permissions.get(behavior, ())
    )
    if mode := permissions.get("mode"):
        file["permission_mode"] = mode
    if not is_project:
        return settings.with_options(source, rules=rules, **file)
    tightening = tuple(rule for rule in rules if rule.behavior != "allow")
    kept = {key: value for key, value in file.items() if key == "model"}
    if file.get("permission_mode") in ("plan", "dontAsk"):
        kept["permission_mode"] = file["permission_mode"]
    ignored = sorted(set(file) - set(kept)) + (["permissions.allow"] if len(tightening) < len(rules) else [])
    settings = settings.with_options(source, rules=tightening, **kept)
    if ignored:
        notice = (
            f"{path}: {', '.join(ignored)} ignored; a project file may only tighten. Put it into your own settings."
        )
        settings = replace(settings, notices=(*settings.notices, notice))
    return settings


def _validated(content: Any, path: Path) -> dict[str, Any]:
    from pydantic import ValidationError

    if not isinstance(content, dict):
        raise SettingsError(f"{path} does not hold a JSON object.", 'Write settings as {"model": "…"}.')
    try:
        return _file_model().model_validate(content).model_dump(exclude_none=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        known = ["mode", "allow", "ask", "deny"] if len(first["loc"]) > 1 else list(_file_model().model_fields)
        near = difflib.get_close_matches(str(first["loc"][-1]) if first["loc"] else "", known, 1)
        if first["type"] == "extra_forbidden":
            hint = f"Did you mean {near[0]}?" if near else f"Known settings: {', '.join(known)}."
            raise SettingsError(f"{path}: unknown setting {where}.", hint) from None
        raise SettingsError(f"{path}: {where}: {first['msg']}.", "Mend or remove the setting.") from None


_FILE_MODEL: type[BaseModel] | None = None


def _file_model() -> type[BaseModel]:
    """The shape of a settings file. Built on first use: pydantic costs 30 ms that most starts do not need."""
    global _FILE_MODEL  # noqa: PLW0603
    if _FILE_MODEL is None:
        from pydantic import BaseModel, ConfigDict

        class Permissions(BaseModel):
            model_config = ConfigDict(extra="forbid")
            mode: PermissionMode | None = None
            allow: list[str] = []
            ask: list[str] = []
            deny: list[str] = []

        class SettingsFile(BaseModel):
            model_config = ConfigDict(extra="forbid")
            model: str | None = None
            base_url: str | None = None
            api: Api | None = None
            permissions: Permissions | None = None
            approvals: Approvals | None = None
            max_turns: int | None = None
            max_cost_usd: float | None = None
            max_tokens: int | None = None
            prices: dict[str, dict[str, float]] | None = None

        # The annotations above are strings here; pydantic resolves them from this frame.
        Permissions.model_rebuild(_types_namespace={**globals(), **locals()})
        SettingsFile.model_rebuild(_types_namespace={**globals(), **locals()})
        _FILE_MODEL = SettingsFile
    return _FILE_MODEL


def describe_settings(settings: Settings) -> list[tuple[str, str, str]]:
    """``(name, value, source)`` of every setting a person may change, for ``%claw config`` and ``claw doctor``."""
    rows = []
    for item in fields(settings):
        if item.name in SETTABLE:
            value = getattr(settings, item.name)
            rows.append(
                (item.name, "not set" if value is None else str(value), settings.sources.get(item.name, "default"))
            )
    return rows
