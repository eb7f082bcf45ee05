"""A policy file: what a run may do, written by whoever starts it (``claw run --policy ci.toml``, ``CLAW_POLICY``).

TOML (or JSON) in the words of the settings: ``permissions`` (mode, allow, ask, deny), ``sandbox`` (which it can only tighten),
limits, ``model``, ``prices``, ``normalise``. It comes on top of the user's and the project's settings. Errors name the line.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claw_kernel.errors import SettingsError
from claw_kernel.settings_fields import Rule
from claw_kernel.settings_file import read_permissions, validated

if TYPE_CHECKING:
    from claw_kernel.settings import Settings

_KEYS = ("permissions", "sandbox", "max_turns", "max_cost_usd", "max_tokens", "model", "prices", "normalise")
_SANDBOX = {"mode": ("on",), "escalation": ("never",), "hidden": None, "limits": None}
"""What of the sandbox may be said, with the values that tighten; None: any."""


def apply_policies(settings: Settings, paths: str) -> Settings:
    """``settings`` with the files of ``paths`` (separated as in ``PATH``) on top. Raises SettingsError."""
    for path in filter(None, paths.split(os.pathsep)):
        settings = apply_policy(settings, Path(path))
    return settings


def apply_policy(settings: Settings, path: Path) -> Settings:
    """``settings`` with the file's policy on top. Raises SettingsError that names file and line."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"The policy {path} cannot be read: {error}.", "Give a readable TOML file.") from None
    content = _parse(text, path)
    sources = _take_sources(content)
    for key in content:
        if key not in _KEYS:
            raise _at(path, text, key, f"a policy cannot set {key!r}; it can set {', '.join(_KEYS)}")
    for key, value in (content.get("sandbox") or {}).items() if isinstance(content.get("sandbox"), dict) else ():
        allowed = _SANDBOX.get(key, ())
        if allowed is not None and value not in allowed:
            tightening = ", ".join(f"{name} = {values[0]!r}" if values else name for name, values in _SANDBOX.items())
            raise _at(path, text, key, f"a policy can only tighten the sandbox ({tightening})")

    def located(error: SettingsError) -> SettingsError:
        said = error.message.removeprefix(f"{path}: ").replace(f" ({path})", "").rstrip(".")
        named = re.match(r"(?:unknown setting )?([\w.]+)", said)
        key = next((part for part in reversed((named[1] if named else "").split(".")) if not part.isdigit()), "")
        return _at(path, text, key, said)

    try:
        file, rules = read_permissions(validated(content, path), str(path))
        if hidden := file.get("sandbox", {}).get("hidden"):
            file["sandbox"]["hidden"] = [*settings.sandbox.get("hidden", ()), *hidden]
        return settings.with_options(str(path), rules=_with_sources(rules, sources, path, text), **file)
    except SettingsError as error:
        raise located(error) from None


def _parse(text: str, path: Path) -> dict[str, Any]:
    import tomllib  # with four modules of its own, and most starts have no policy

    try:
        content = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except json.JSONDecodeError as error:
        raise SettingsError(f"{path}, line {error.lineno}: {error.msg}.", "Mend the policy.") from None
    except tomllib.TOMLDecodeError as error:
        # "Expected '=' after a key in a key/value pair (at line 3, column 7)"
        place = re.search(r"^(.*) \(at (?:line (\d+), column \d+|end of document)\)$", str(error))
        said, line = (place[1], place[2] or str(len(text.splitlines()))) if place else (str(error), "1")
        raise SettingsError(f"{path}, line {line}: {said}.", "Mend the policy; it is TOML.") from None
    if not isinstance(content, dict):
        raise SettingsError(f"{path} does not hold a JSON object.", "Mend the policy.")
    return content


def _take_sources(content: dict[str, Any]) -> dict[str, str]:
    """A policy that ``claw run`` hands on says of each rule where it came from; taken out here."""
    permissions, found = content.get("permissions"), {}
    for rules in permissions.values() if isinstance(permissions, dict) else ():
        for rule in rules if isinstance(rules, list) else ():
            if isinstance(rule, dict) and isinstance(source := rule.pop("source", ""), str) and source:
                found[str(rule.get("rule"))] = source
    return found


def _with_sources(rules: tuple[Rule, ...], sources: dict[str, str], path: Path, text: str) -> tuple[Rule, ...]:
    """Each rule with the line it stands in as its source, so that an error in it, and ``explain``, name it."""
    found = []
    for rule in rules:
        if source := sources.get(rule.rule):
            found.append(replace(rule, source=source))
            continue
        line = next((n for n, content in enumerate(text.splitlines(), 1) if rule.rule in content), 0)
        found.append(replace(rule, source=f"{path}, line {line}" if line else str(path)))
    return tuple(found)


def _at(path: Path, text: str, key: str, said: str) -> SettingsError:
    pattern = re.compile(rf"^\s*(?:\[+\s*(?:[\w.]+\.)?)?[\"']?{re.escape(key)}[\"']?\s*[\]=:.]")
    line = next((n for n, content in enumerate(text.splitlines(), 1) if key and pattern.match(content)), 0)
    return SettingsError(f"{path}{f', line {line}' if line else ''}: {said}.", "Mend the policy.")
