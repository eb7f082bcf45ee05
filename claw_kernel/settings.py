"""Settings: defaults < user file < project files < environment < options of one call, all bounded by the managed file. The
only reader of ``os.environ``.

Managed: ``/etc/claw/settings.json``, and the file ``$CLAW_MANAGED_SETTINGS`` names (beside it, never instead): what it sets
cannot be changed. User: ``$CLAW_HOME/settings.json`` (default ``~/.claw/settings.json``). Project:
``.claw/settings.json`` and ``.claw/settings.local.json`` in the workspace. Until the person trusts the folder
(:mod:`claw_kernel.trust`), a project file may only tighten (``ask`` and ``deny`` rules, the modes ``plan`` and ``dontAsk``)
and choose a model; trusted, it may allow and set limits too, but never grant hosts, the mode ``bypassPermissions``, or
where keys are sent (``base_url``, ``api``). Everything else in it is ignored with a notice. A notebook may only tighten.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claw_kernel.errors import SettingsError
from claw_kernel.late_dataclass import dataclass
from claw_kernel.limits import Limits
from claw_kernel.messages import Effort
from claw_kernel.policy_file import apply_policies
from claw_kernel.settings_fields import (
    ENVIRONMENT,
    SETTABLE,
    TIGHTENING_MODES,
    TRUSTED,
    Api,
    Approvals,
    Behavior,
    PermissionMode,
    Rerun,
    Rule,
    checked,
)
from claw_kernel.settings_file import read_file, read_permissions, validated
from claw_kernel.tool_settings import LanguageServerSettings, SearchSettings, read_tool_settings

if TYPE_CHECKING:
    from claw_kernel.providers.settings import ProviderSettings

__all__ = [
    "SETTABLE",
    "TIGHTENING_MODES",
    "Api",
    "Approvals",
    "Behavior",
    "PermissionMode",
    "Rule",
    "Settings",
    "describe_settings",
    "load_settings",
    "tightened_by",
    "without_login",
]

_SECRET_NAME_PARTS = ("KEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL", "AUTHORIZATION", "OTLP_HEADERS")


@dataclass(frozen=True)
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
    rerun: Rerun = "auto"
    """A cell with a recorded turn runs again: ``auto`` sends it where it runs alone, not where several cells run at once."""
    max_turns: int = 100
    """Model requests in one turn."""
    max_cost_usd: float | None = None
    """US dollars in one turn; None: no limit."""
    max_seconds: float | None = None
    """Of one turn, without the time a person takes to answer."""
    max_turn_tokens: int | None = None
    """Tokens of one turn, sent and received, cached ones included."""
    max_session_cost_usd: float | None = None
    max_session_seconds: float | None = None
    max_session_tokens: int | None = None
    max_session_turns: int | None = None
    """The same of a whole conversation."""
    max_notebook_cost_usd: float | None = None
    max_notebook_seconds: float | None = None
    max_notebook_tokens: int | None = None
    max_notebook_turns: int | None = None
    """The same of all conversations of a notebook."""
    max_repeats: int = 5
    """So many equal rounds of calls with equal results end a turn; 0: never."""
    max_tokens: int = 16_384
    """Output tokens of one response."""
    replay: str | None = None
    """A notebook: its records answer instead of any model."""
    accept_edits: bool = False
    """In a replay: run also calls that were edited after they were recorded."""
    context_window: int | None = None
    """Tokens that prompt and answer may have together; None: what is known of the model."""
    compact_percent: int = 90
    """Of the room for the prompt: when it is used up to here, the conversation is summarised."""
    telemetry: bool = False
    """OpenTelemetry spans and metrics of each turn (``claw_kernel/telemetry.py``)."""
    telemetry_content: bool = False
    """With what was said in them."""
    checkpoint_megabytes: int = 512
    """Contents of files kept for undo, in MiB for one session; 0: no checkpoints."""
    checkpoint_seconds: float = 3.0
    """Time for saving files before one call."""
    record_output_kilobytes: int = 256
    """Of one output of a tool, thousands of characters that the notebook keeps; of a longer one both ends and its hash."""
    sandbox: Mapping[str, Any] = field(default_factory=dict)
    """What was set of it: mode, writable, hidden, devices, limits, escalation, proxy, no_proxy."""
    prices: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """``{"provider/model": {"input": …, "output": …, "cache_read": …, "cache_write": …}}``, US dollars per million tokens."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Short names for models: ``{"fast": "groq/…"}``."""
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What is known of models beyond the catalogue: ``{"provider/model": {"context_window": 32768}}``, see ``ModelCard``."""
    effort: Effort | None = None
    """How much a model thinks before it answers; None: as its provider has it."""
    fallback_models: tuple[str, ...] = ()
    """Asked in this order where the chosen model cannot be had."""
    ca_file: str | None = None
    """Certificates (PEM) that servers of models may show, besides the usual ones."""
    normalise: tuple[str, ...] = ()
    """Regular expressions of what a replay looks past."""
    private_hosts: tuple[str, ...] = ()
    """Hosts on this machine or a private network that WebFetch may ask for."""
    search: SearchSettings | None = None
    language_servers: tuple[LanguageServerSettings, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    is_trusted: bool = False
    """The person trusts the workspace's own settings."""
    managed: dict[str, tuple[Any, str]] = field(default_factory=dict)
    """Fields that a managed file has set, with its value and path: nothing else changes them, but a mode may be tighter."""

    @property
    def state_dir(self) -> str:
        """Where the audit log and spilled outputs go."""
        return str(Path(self.home) / "state")

    def secrets(self) -> tuple[str, ...]:
        """Values of the environment that must never be stored: those whose name says so."""
        named = [value for name, value in self.env.items() if any(part in name.upper() for part in _SECRET_NAME_PARTS)]
        key = self.search.key if self.search else None
        return tuple(value for value in (*named, key or "") if len(value) >= 8)

    def for_providers(self, when_key_read: Callable[[str], object] | None = None) -> ProviderSettings:
        """What providers need to know of them."""
        from claw_kernel.providers.settings import ProviderSettings

        return ProviderSettings(
            env=self.env,
            base_url=self.base_url,
            api=self.api,
            cwd=self.cwd,
            aliases=self.aliases,
            models=self.models,
            home=self.home,
            ca_file=self.ca_file or "",
            when_key_read=when_key_read,
            is_accepting_edits=self.accept_edits,
        )

    def policy(self) -> str:
        """The JSON that ``Core.set_policy`` takes."""
        rules = [
            {"behavior": r.behavior, "rule": r.rule, "source": r.source}
            | ({"matches": r.matches, "not_matches": r.not_matches} if r.matches or r.not_matches else {})
            for r in self.rules
        ]
        return json.dumps({"mode": self.permission_mode, "rules": rules})

    def sandbox_options(self) -> dict[str, Any]:
        """What ``Core`` takes as ``sandbox``. Where no ``proxy`` is set, granted hosts are reached through the environment's."""
        named = {name.lower(): value for name, value in self.env.items() if name.lower().endswith("_proxy")}
        usual = next(filter(None, map(named.get, ("https_proxy", "all_proxy", "http_proxy"))), "")
        return {"proxy": usual, "no_proxy": named.get("no_proxy", ""), **self.sandbox}

    def is_managed(self, name: str, value: Any) -> bool:
        """True where a managed file keeps the field from having this value."""
        if name not in self.managed or value == self.managed[name][0]:
            return False
        if name == "sandbox":
            kept = self.managed[name][0]
            return bool(value != {**kept, **_tightened_sandbox(kept, value)})
        return name != "permission_mode" or value not in TIGHTENING_MODES

    def limits(self, **given: Any) -> Limits:
        """Of one turn; what is ``given`` and not None stands in for the setting."""
        values = {item.name: getattr(self, item.name) for item in fields(Limits)}
        return Limits(**values | {name: value for name, value in given.items() if value is not None})

    def checkpoint_limits(self) -> str:
        """The JSON that ``Core.set_checkpoint_limits`` takes."""
        return json.dumps({"megabytes": self.checkpoint_megabytes, "seconds": self.checkpoint_seconds})

    def with_options(self, source: str, **values: Any) -> Settings:
        """A copy with the given fields set (those that are None are left alone). Raises SettingsError naming ``source``."""
        given = {name: value for name, value in values.items() if value is not None}
        if "sandbox" in given:
            given["sandbox"] = {**self.sandbox, **given["sandbox"]}
        rules = given.pop("rules", ())
        for name, value in given.items():
            given[name] = checked(name, value, source)
            if self.is_managed(name, given[name]):
                path = self.managed[name][1]
                raise SettingsError(f"{name} cannot be {value!r} ({source}): it is managed by {path}.", "Leave it out.")
        sources = {**self.sources, **dict.fromkeys(given, source)}
        return replace(self, **given, rules=(*self.rules, *rules), sources=sources)


MANAGED_FILE = "/etc/claw/settings.json"


def load_settings(cwd: str | None = None, env: Mapping[str, str] | None = None) -> Settings:
    """Read all sources for the workspace ``cwd`` (default: the current directory).

    ``env`` stands in for the process's environment (tests, embedding). Raises SettingsError for a file that cannot be
    read or a value that makes no sense; an attempt of a project file to widen rights, or of any to change what is managed, is
    a notice instead.
    """
    env = dict(os.environ) if env is None else dict(env)
    home = Path(env.get("CLAW_HOME") or Path(env.get("HOME") or Path.home()) / ".claw")
    root = Path(cwd or Path.cwd()).resolve()
    settings = Settings(cwd=str(root), home=str(home), env=env)
    settings = _apply_managed(settings, Path(MANAGED_FILE))
    if named := env.get("CLAW_MANAGED_SETTINGS"):
        if not Path(named).exists():
            raise SettingsError(
                f"{named}, which CLAW_MANAGED_SETTINGS names, is not there.", "Make it, or mend the name."
            )
        settings = _apply_managed(settings, Path(named))
    settings = _apply_user(settings, home / "settings.json")
    files = [root / ".claw" / name for name in ("settings.json", "settings.local.json")]
    if (root / ".claw").resolve() != home.resolve() and any(path.is_file() for path in files):
        from claw_kernel.trust import is_trusted

        settings = replace(settings, is_trusted=is_trusted(settings.state_dir, str(root)))
        for path in files:
            settings = _apply_project(settings, path)
    for variable, key in ENVIRONMENT.items():
        if value := env.get(variable):
            settings = settings.with_options(variable, **{key: value})
    return apply_policies(settings, env.get("CLAW_POLICY", ""))


def with_present_keys(env: Mapping[str, str]) -> dict[str, str]:
    """``env`` with the keys of model providers that this process's environment has now."""
    from claw_kernel.providers.known import KNOWN

    names = [name for known in KNOWN.values() for name in known.key_variables]
    others = {name: value for name, value in env.items() if name not in names}
    return others | {name: os.environ[name] for name in names if name in os.environ}


def tightened_by(settings: Settings, permissions: Any, source: str) -> Settings:
    """``settings`` with what a notebook's header says of permissions (``{"mode", "ask", "deny"}``). Whoever sent the notebook
    can only tighten: what it allows is ignored with a notice. Raises SettingsError where it cannot be read."""
    file, rules = read_permissions(validated({"permissions": permissions}, Path(source)), source)
    kept = tuple(rule for rule in rules if rule.behavior != "allow")
    mode = file.get("permission_mode") if file.get("permission_mode") in TIGHTENING_MODES else None
    ignored = [*(["mode"] if mode is None and file else []), *(["allow"] if len(kept) < len(rules) else [])]
    if mode and settings.permission_mode in TIGHTENING_MODES:
        mode = "plan" if "plan" in (mode, settings.permission_mode) else "dontAsk"
    settings = settings.with_options(source, rules=kept, **({"permission_mode": mode} if mode else {}))
    return _noticed(settings, source, ignored, "ignored; a notebook may only tighten permissions")


def _apply_managed(settings: Settings, path: Path) -> Settings:
    source = str(path)
    file, rules = read_file(path)
    file = read_tool_settings(file, settings.env, source)
    settings = _noticed(settings, source, sorted(set(file) & set(settings.managed)), "ignored; managed already")
    file = {key: value for key, value in file.items() if key not in settings.managed}
    settings = settings.with_options(source, rules=rules, **file)
    return replace(settings, managed=settings.managed | {key: (getattr(settings, key), source) for key in file})


def _apply_user(settings: Settings, path: Path) -> Settings:
    file, rules = read_file(path)
    return _without_managed(settings, path, read_tool_settings(file, settings.env, str(path)), rules)


def _apply_project(settings: Settings, path: Path) -> Settings:
    file, rules = read_file(path)
    hosts = [rule for rule in rules if rule.behavior == "allow" and rule.rule.lstrip().startswith("Network")]
    kept_rules = tuple(
        rule for rule in rules if rule.behavior != "allow" or (settings.is_trusted and rule not in hosts)
    )
    allowed = TRUSTED if settings.is_trusted else ("model",)
    kept = {key: value for key, value in file.items() if key in allowed}
    tighter = {**settings.sandbox, **_tightened_sandbox(settings.sandbox, file.get("sandbox", {}))}
    if tighter != settings.sandbox:
        kept["sandbox"] = tighter
    mode = file.get("permission_mode")
    if mode in TIGHTENING_MODES:
        kept["permission_mode"] = mode
    elif mode == "bypassPermissions":
        kept.pop("permission_mode", None)
    settings = _without_managed(settings, path, kept, kept_rules)
    is_tightening = set(file.get("sandbox", {})) == set(_tightened_sandbox({}, file.get("sandbox", {})))
    never = [
        key
        for key in sorted(file)
        if (key not in TRUSTED and not (key == "sandbox" and is_tightening))
        or (key == "permission_mode" and mode == "bypassPermissions")
    ]
    untrusted = [key for key in sorted(file) if key not in kept and key not in never and key != "sandbox"]
    if any(rule not in kept_rules and rule not in hosts for rule in rules):
        untrusted.append("permissions.allow")
    if hosts:
        never.append("permissions.allow of Network")
    settings = _noticed(
        settings, str(path), never, "ignored; a project file may not set it. Put it into your own settings"
    )
    return _noticed(
        settings, str(path), untrusted, "ignored; this folder is not trusted. Read the file, then run claw trust"
    )


def _without_managed(settings: Settings, path: Path, file: dict[str, Any], rules: tuple[Rule, ...]) -> Settings:
    managed = []
    if "sandbox" in settings.managed and (wanted := file.get("sandbox")):
        tighter = {**settings.sandbox, **_tightened_sandbox(settings.sandbox, wanted)}
        managed += ["sandbox"] if any(tighter.get(key) != wanted[key] for key in wanted if key != "hidden") else []
        settings = settings.with_options(str(path), sandbox=tighter)
        file = {key: value for key, value in file.items() if key != "sandbox"}
    managed += [key for key in sorted(file) if settings.is_managed(key, file[key])]
    kept = {key: value for key, value in file.items() if key not in managed}
    return _noticed(settings.with_options(str(path), rules=rules, **kept), str(path), managed, "ignored; it is managed")


def _noticed(settings: Settings, source: str, ignored: list[str], why: str) -> Settings:
    if not ignored:
        return settings
    return replace(settings, notices=(*settings.notices, f"{source}: {', '.join(ignored)} {why}."))


def _tightened_sandbox(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """What anybody may say of the sandbox: that all of it must hold, more that is hidden, and that nothing leaves it."""
    kept: dict[str, Any] = {}
    if theirs.get("mode") == "on":
        kept["mode"] = "on"
    if theirs.get("escalation") == "never":
        kept["escalation"] = "never"
    if theirs.get("hidden"):
        kept["hidden"] = list(dict.fromkeys([*mine.get("hidden", ()), *theirs["hidden"]]))
    return kept


def describe_settings(settings: Settings) -> list[tuple[str, str, str]]:
    """``(name, value, source)`` of every setting a person may change, without logins, for ``%claw config``, ``claw doctor``
    and the model."""
    rows = []
    for item in fields(settings):
        if item.name in SETTABLE:
            value = getattr(settings, item.name)
            value = ", ".join(value) or None if isinstance(value, tuple) else value
            value = ("off", "on")[value] if isinstance(value, bool) else value
            shown = "not set" if value is None else without_login(str(value)) if item.name == "base_url" else str(value)
            rows.append((item.name, shown, settings.sources.get(item.name, "default")))
    return rows


def without_login(url: str) -> str:
    """A base URL without the name and password it may hold."""
    scheme, mark, place = url.partition("://")
    return scheme + mark + place.rpartition("@")[2]
