"""``%claw model``, ``permissions``, ``trust`` and ``config``: what a person chooses, for this session."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from claw_magics.report import CommandOutput, Report, UsageError, unknown

if TYPE_CHECKING:
    from claw_magics.host import Host

SOURCE = "%claw"
BEHAVIORS = ("allow", "ask", "deny")


def choose_model(host: Host, rest: str) -> CommandOutput:
    agent = host.agent
    report = Report()
    if rest:
        from claw_magics.models import check_model

        if agent.settings.replay is None:
            check_model(rest, agent.settings)
        agent.set_model(rest)
        report.line(f"Model from the next turn on: {agent.model}")
        if agent.settings.replay is not None:
            report.line(f"No model is asked while answers are played from {agent.settings.replay}.")
        return report.output()
    from claw_kernel.settings import without_login
    from claw_magics.models import find_models, ways_to_a_model

    agent.take_keys()
    found = find_models(agent.settings)
    report.line(
        f"Model: {agent.model or ('none chosen; the first turn takes the first of these' if found else 'none')}"
    )
    if found:
        report.table(("Found", "Where"), found)
        report.line("%claw model NAME switches to one of these, or to any other.")
    elif agent.settings.base_url:
        report.line(
            f"{without_login(agent.settings.base_url)} lists no models: choose one by name, %claw model local/NAME."
        )
    else:
        report.line("No key is set, and no model server answers on this machine. Any of these gives you one:")
        report.table(("A model from", "How"), ways_to_a_model())
    return report.output()


def complete_model(host: Host, words: Sequence[str]) -> Sequence[str]:
    from claw_magics.models import known_names

    return () if words else known_names(host.agent.settings)


def change_permissions(host: Host, rest: str) -> CommandOutput:
    from claw_magics.options import MODES

    agent = host.agent
    word, _, value = rest.partition(" ")
    value = value.strip()
    report = Report()
    if word == "mode":
        if value not in MODES:
            raise UsageError(unknown("permission mode", value, MODES, f"write one of {', '.join(MODES)}."))
        agent.set_permission_mode(value, f"{SOURCE} permissions")
        report.line(f"Permission mode from the next call on: {agent.permission_mode}")
        return report.output()
    if word in BEHAVIORS:
        if not value:
            raise UsageError(f"%claw permissions {word} needs a rule such as Bash(git status:*) or Edit(src/**).")
        agent.add_rule(word, value, f"{SOURCE} permissions")  # type: ignore[arg-type]  # one of BEHAVIORS
        report.line(f"For this session: {word} {value}")
        return report.output()
    if word not in ("", "list") or value:
        raise UsageError(unknown("word", word, ("mode", *BEHAVIORS, "list"), "see %claw help permissions."))
    report.line(f"Permission mode: {agent.permission_mode}")
    rules = agent.rules()
    if rules:
        report.table(("Rule", "Behavior", "From"), [(rule.rule, rule.behavior, rule.source) for rule in rules])
    else:
        report.line("No rules: the mode alone decides.")
    return report.output()


def change_trust(host: Host, rest: str) -> CommandOutput:
    from claw_kernel.trust import revoke, trust

    agent = host.agent
    state_dir, folder = agent.settings.state_dir, agent.settings.cwd
    report = Report()
    if rest == "revoke":
        revoke(state_dir, folder)
    elif not rest:
        trust(state_dir, folder)
    else:
        raise UsageError(unknown("word", rest, ("revoke",), "write %claw trust, or %claw trust revoke."))
    agent.reload_rules()
    report.line(
        f"{folder} is {'no longer' if rest else 'now'} trusted: its own settings {'only tighten' if rest else 'count'}."
    )
    rules = [rule for rule in agent.rules() if rule.source.startswith(f"{folder}/.claw/")]
    if rules:
        report.table(("Rule", "Behavior", "From"), [(rule.rule, rule.behavior, rule.source) for rule in rules])
    return report.output()


def change_plan(host: Host, rest: str) -> CommandOutput:
    """Into plan mode, or with ``off`` back to the mode before."""
    agent = host.agent
    report = Report()
    if rest == "off":
        if not agent.is_planning:
            raise UsageError("Plan mode is not on.")
        agent.leave_plan(f"{SOURCE} plan")
        report.line(f"Plan mode is off; permission mode from the next call on: {agent.permission_mode}")
    elif rest:
        raise UsageError(unknown("word", rest, ("off",), "write %claw plan, or %claw plan off."))
    else:
        agent.enter_plan(f"{SOURCE} plan")
        report.line("Plan mode: nothing is written or run until you approve a plan; %claw plan off leaves it.")
    return report.output()


def complete_permissions(host: Host, words: Sequence[str]) -> Sequence[str]:
    from claw_magics.options import MODES

    if not words:
        return ("mode", *BEHAVIORS, "list")
    if words[0] == "mode" and len(words) == 1:
        return MODES
    return [spec.name for spec in host.agent.tools.all_specs] if words[0] in BEHAVIORS and len(words) == 1 else ()


def change_config(host: Host, rest: str) -> CommandOutput:
    from claw_kernel.settings import SETTABLE, describe_settings, without_login

    report = Report()
    word, _, given = rest.partition(" ")
    if word == "set":
        key, _, value = given.strip().partition(" ")
        if key not in SETTABLE:
            raise UsageError(unknown("setting", key, SETTABLE, f"settings are {', '.join(SETTABLE)}."))
        if not value.strip():
            raise UsageError(f"%claw config set {key} needs a value.")
        host.agent.configure(f"{SOURCE} config", **{key: value.strip()})
        shown = str(getattr(host.agent.settings, key))
        report.line(f"For this session: {key} = {without_login(shown) if key == 'base_url' else shown}")
        return report.output()
    if word:
        raise UsageError(unknown("word", word, ("set",), "write %claw config, or %claw config set KEY VALUE."))
    report.table(("Setting", "Value", "From"), describe_settings(host.agent.settings))
    return report.output()


def complete_config(host: Host, words: Sequence[str]) -> Sequence[str]:  # noqa: ARG001
    from claw_kernel.settings import SETTABLE

    return ("set",) if not words else SETTABLE if list(words) == ["set"] else ()
