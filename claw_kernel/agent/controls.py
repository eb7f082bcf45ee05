"""What a person, or a tool for them, changes of a session while it lives: model, permissions, settings."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, cast

from claw_kernel._core import RuleError
from claw_kernel.errors import SettingsError
from claw_kernel.gate import Gate
from claw_kernel.providers import Provider
from claw_kernel.settings import (
    Behavior,
    PermissionMode,
    Rule,
    Settings,
    describe_settings,
    load_settings,
    tightened_by,
)
from claw_kernel.tools import ToolSet


class Controls:
    """Part of an ``Agent``, which sets the attributes. Methods may be called from any thread."""

    settings: Settings
    gate: Gate
    tools: ToolSet
    _model: str | None
    _mode_before_plan: PermissionMode = "default"
    _providers: dict[str, tuple[Provider, str]]

    # --- what a person may change ---

    @property
    def model(self) -> str | None:
        """``provider/model``, or None where none was chosen or found yet."""
        return self._model

    def set_model(self, name: str) -> None:
        """From the next turn on. Raises SettingsError where the name cannot be one (``provider/model``)."""
        self.settings = self.settings.with_options("%claw model", model=name)
        self._model = self.settings.model

    @property
    def permission_mode(self) -> PermissionMode:
        mode: PermissionMode = json.loads(self.gate.core.policy())["mode"]
        return mode

    def set_permission_mode(self, mode: str, source: str = "%claw permissions") -> None:
        """From the next call on. Raises SettingsError."""
        before = self.permission_mode
        self.settings = self.settings.with_options(source, permission_mode=mode)
        if mode == "plan" and before != "plan":
            self._mode_before_plan = before
        policy = json.loads(self.gate.core.policy())
        self.gate.core.set_policy(json.dumps({**policy, "mode": mode}))

    def end_mode(self, mode: str, before: str, source: str) -> None:
        """``mode`` held for one cell: back to ``before``, unless the mode was changed meanwhile. A plan that is approved later
        does not bring it back either."""
        if self.permission_mode == mode:
            self.set_permission_mode(before, source)
        elif self._mode_before_plan == mode:
            self._mode_before_plan = cast("PermissionMode", before)

    def add_rule(self, behavior: Behavior, rule: str, source: str = "%claw permissions") -> None:
        """For this session. Raises SettingsError."""
        try:
            self.gate.core.add_rule(behavior, rule, source)
        except RuleError as error:
            raise SettingsError(str(error)) from None

    def reload_rules(self) -> None:
        """Read the settings files again for their rules (the folder's trust has changed); what was added in this session
        stays. Raises SettingsError."""
        fresh = load_settings(self.settings.cwd, self.settings.env)
        written = {(rule.behavior, rule.rule, rule.source) for rule in self.settings.rules}
        added = [rule for rule in self.rules() if (rule.behavior, rule.rule, rule.source) not in written]
        self._set_rules(replace(fresh, rules=(*fresh.rules, *added)))
        self.settings = replace(self.settings, rules=fresh.rules, notices=fresh.notices, is_trusted=fresh.is_trusted)

    def tighten(self, permissions: Any, source: str) -> None:
        """Add what a notebook's header says of permissions; it can only tighten. Raises SettingsError."""
        tightened = tightened_by(replace(self.settings, permission_mode=self.permission_mode), permissions, source)
        self._set_rules(replace(tightened, rules=(*self.rules(), *tightened.rules[len(self.settings.rules) :])))
        self.settings = replace(self.settings, permission_mode=tightened.permission_mode, notices=tightened.notices)
        if tightened.permission_mode != self.permission_mode:
            self.set_permission_mode(tightened.permission_mode, source)

    def _set_rules(self, settings: Settings) -> None:
        policy = json.loads(replace(settings, permission_mode=self.permission_mode).policy())
        try:
            self.gate.core.set_policy(json.dumps(policy))
        except RuleError as error:
            raise SettingsError(str(error), "Mend or remove the rule.") from None

    def rules(self) -> list[Rule]:
        """The rules in force, each with its source."""
        found = json.loads(self.gate.core.policy())["rules"]
        return [Rule(rule["behavior"], rule["rule"], rule["source"]) for rule in found]

    def configure(self, source: str, **values: Any) -> None:
        """Change settings of this session (``claw_kernel.settings.SETTABLE``). Raises SettingsError."""
        self.settings = self.settings.with_options(source, **values)
        if "model" in values:
            self._model = self.settings.model
        if "permission_mode" in values:
            self.set_permission_mode(self.settings.permission_mode, source)
        if {"base_url", "api", "fallback_models", "ca_file"} & set(values):
            self._providers.clear()
        self.gate.core.set_checkpoint_limits(self.settings.checkpoint_limits())

    # --- what the tools may see and change of it (claw_kernel/tools/planning.py, config.py) ---

    @property
    def is_planning(self) -> bool:
        return self.permission_mode == "plan"

    def enter_plan(self, source: str) -> None:
        """Only reading from the next call on."""
        self.set_permission_mode("plan", source)
        self.tools.load(["ExitPlanMode"])

    def leave_plan(self, source: str, *, accept_edits: bool = False) -> str:
        """Back to the mode before plan mode, or to ``acceptEdits``, by a person's word."""
        self.set_permission_mode("acceptEdits" if accept_edits else self._mode_before_plan, source)
        return self.permission_mode

    def describe(self) -> list[tuple[str, str, str]]:
        """``(name, value, source)`` of each setting."""
        return describe_settings(self.settings)

    def limit(self, setting: str) -> float | None:
        """The value of a setting that is a number; None: not set."""
        value: float | None = getattr(self.settings, setting)
        return value

    def lower(self, setting: str, value: float) -> None:
        """Set a limit, from the next turn on. Raises SettingsError."""
        self.configure("Config, called by the model", **{setting: value})
