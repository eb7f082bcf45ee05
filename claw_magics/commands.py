"""The commands of ``%claw`` (``/command`` in the Claw kernel): one registry, from which help, completion and the table
in the guide are derived. A command never calls a model.

A function here may raise ClawError: :func:`run_command` makes it the one line that is shown.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from claw_magics.report import CommandOutput, Report, error_output, markdown_table

if TYPE_CHECKING:
    from claw_magics.host import Host

SOURCE = "%claw"
BEHAVIORS = ("allow", "ask", "deny")


@dataclass(frozen=True, slots=True)
class Command:
    """``usage`` holds one form per line. ``run`` gets what stands behind the name; ``complete`` gives the words that may
    come next, after those already there."""

    name: str
    usage: str
    summary: str
    run: Callable[[Host, str], CommandOutput]
    complete: Callable[[Host, Sequence[str]], Sequence[str]] = lambda host, words: ()  # noqa: ARG005


class UsageError(Exception):
    """A command line that was not understood: one line that says what to write."""


def run_command(host: Host, line: str) -> CommandOutput:
    """Run one command line (without ``%claw`` or ``/``). Raises nothing for a person's mistake."""
    from claw_kernel.errors import ClawError
    from claw_magics.capture import IN_AGENT_CODE, current_capture

    if current_capture() is not None:
        # Code of the agent would change its own rights here.
        return error_output(IN_AGENT_CODE)
    name, _, rest = line.strip().partition(" ")
    name = name.removeprefix("/") or "help"
    command = COMMANDS.get(name)
    if command is None:
        return error_output(unknown("command", name, COMMANDS, "%claw help lists them."))
    try:
        return command.run(host, rest.strip())
    except (ClawError, UsageError) as error:
        return error_output(str(error))


def unknown(kind: str, name: str, known: Sequence[str] | dict[str, Command], otherwise: str) -> str:
    """One line: ``unknown command 'stats'; did you mean 'status'?``"""
    near = difflib.get_close_matches(name.lower(), list(known), 1, cutoff=0.5)
    return f"unknown {kind} {name[:60]!r}; " + (f"did you mean {near[0]!r}?" if near else otherwise)


def inspect_command(line: str) -> str:
    """Help of the command that ``line`` (``/model …``) begins with, as plain text; empty where it is none."""
    command = COMMANDS.get(line.strip().removeprefix("/").partition(" ")[0])
    return f"{command.summary}\n\n{command.usage}" if command is not None else ""


def commands_markdown() -> str:
    """The table of the guide."""
    rows = [
        (f"%claw {form}", "" if position else command.summary)
        for command in COMMANDS.values()
        for position, form in enumerate(command.usage.splitlines())
    ]
    return markdown_table(("Command", "What it does"), rows)


# --- help and version -------------------------------------------------------------------------------------------------


def _help(host: Host, rest: str) -> CommandOutput:
    report = Report()
    if rest:
        command = COMMANDS.get(rest.removeprefix("/"))
        if command is None:
            raise UsageError(unknown("command", rest, COMMANDS, "%claw help lists them."))
        report.line(command.summary)
        report.table(("Usage",), [(f"%claw {form}",) for form in command.usage.splitlines()])
        return report.output()
    prefix = "/" if host.is_claw_kernel else "%claw "
    report.table(
        ("Command", "What it does"),
        [(prefix + command.usage.splitlines()[0], command.summary) for command in COMMANDS.values()],
    )
    report.line("{variable} and @file in a request attach what they name.")
    return report.output()


def _version(host: Host, rest: str) -> CommandOutput:
    _take_nothing("version", rest)
    import platform

    import IPython

    from claw_kernel import __version__, _core

    kernel = sys.modules.get("ipykernel") if host.kernel is not None else None
    report = Report()
    report.table(
        ("Part", "Version"),
        [
            ("claw-jupyter", __version__),
            ("core", _core.__version__),
            ("Python", platform.python_version()),
            ("IPython", IPython.__version__),
            ("ipykernel", kernel.__version__ if kernel is not None else "none"),
        ],
    )
    return report.output()


# --- status, cost and tools -------------------------------------------------------------------------------------------


def _status(host: Host, rest: str) -> CommandOutput:
    _take_nothing("status", rest)
    agent, session, settings = host.agent, host.session, host.agent.settings
    records, front = session.records, host.frontend
    model = agent.model
    page = " with the extension" if front.has_extension else ""
    where = f", {front.path}" if front.path else ""
    rows = [
        ("Session", f"{session.session_id}, begun {session.created_at}"),
        ("Turns", str(len(records))),
        ("Model", model or "none chosen; the first turn looks for one"),
        ("Provider", _provider_text(model, settings.base_url)),
        ("Permission mode", f"{agent.permission_mode}, {len(agent.rules())} rules"),
        ("Tools", ", ".join(spec.name for spec in agent.tools.specs)),
        ("Front end", " ".join(part for part in (front.ui, front.version) if part) + page + where),
        ("Approvals", _approvals_text(host)),
        ("Working directory", settings.cwd),
        ("Tokens", _tokens_text(records)),
        ("Cost", _total_cost_text(records)),
    ]
    report = Report()
    report.table(("", ""), rows)
    for notice in settings.notices:
        report.line(notice)
    return report.output()


def _provider_text(model: str | None, base_url: str | None) -> str:
    name = (model or "").partition("/")[0]
    from claw_kernel.providers.known import KNOWN

    if base_url:
        return f"{name or 'local'} at {_without_login(base_url)}"
    known = KNOWN.get(name)
    if name == "scripted":
        return "scripted: plays a written list of replies"
    return f"{name} at {known.base_url}" if known is not None else "none"


def _approvals_text(host: Host) -> str:
    from claw_magics import frontend
    from claw_magics.approvals import CellFacts, detect_ways
    from claw_magics.pump import can_pump

    facts = CellFacts(
        has_extension=host.frontend.has_extension,
        has_cells=frontend.has_cells(host.ip),
        allows_stdin=frontend.allows_stdin(host.ip),
        can_pump=can_pump(host.kernel),
    )
    setting = host.agent.settings.approvals
    ways = detect_ways(setting, facts)
    found = ", ".join(ways) if ways else "nobody can be asked here: what the policy would ask is denied"
    return f"{found} (approvals: {setting})"


def _cost(host: Host, rest: str) -> CommandOutput:
    _take_nothing("cost", rest)
    records = host.session.records
    report = Report()
    if not records:
        report.line("No turn yet.")
        return report.output()
    rows = [
        (
            str(number),
            record.model or "none",
            f"{record.usage.input_tokens:,}",
            f"{record.usage.cache_read_tokens:,}",
            f"{record.usage.cache_write_tokens:,}",
            f"{record.usage.output_tokens:,}",
            cost_text(record.cost_usd),
        )
        for number, record in enumerate(records, start=1)
    ]
    report.table(("Turn", "Model", "Input", "Cache read", "Cache write", "Output", "Cost"), rows)
    report.line(f"Total: {_tokens_text(records)}; {_total_cost_text(records)}.")
    return report.output()


def cost_text(cost_usd: float | None) -> str:
    """``$0.0123``, or ``unknown``: a price that is not known is not a price of nothing."""
    if cost_usd is None:
        return "unknown"
    return f"${cost_usd:.2f}" if cost_usd >= 1 else f"${cost_usd:.4f}"


def _total_cost_text(records: Sequence[TurnRecord]) -> str:
    known = [record.cost_usd for record in records if record.cost_usd is not None]
    if not records or len(known) == len(records):
        return cost_text(sum(known))
    if not known:
        return "cost unknown"
    return f"cost unknown, at least {cost_text(sum(known))} ({len(records) - len(known)} turns of unknown price)"


def _tokens_text(records: Sequence[TurnRecord]) -> str:
    from claw_kernel.messages import Usage

    usage = sum((record.usage for record in records), Usage())
    read = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens
    return f"{read:,} in ({usage.cache_read_tokens:,} from cache), {usage.output_tokens:,} out"


def _tools(host: Host, rest: str) -> CommandOutput:
    _take_nothing("tools", rest)
    report = Report()
    rows = []
    for spec in host.agent.tools.specs:
        touches, example = _touches(spec)
        rows.append((spec.name, touches, example))
    report.table(("Tool", "Touches", "A rule for it"), rows)
    return report.output()


def _touches(spec: ToolSpec) -> tuple[str, str]:
    """From the arguments that the tool declares."""
    arguments = spec.input_schema.get("properties", {})
    if "command" in arguments:
        return "programs", f"{spec.name}(git status:*)"
    if "code" in arguments:
        return "the notebook's variables, and all that Python can", spec.name
    if {"content", "new_string"} & set(arguments):
        return "files, changing them", "Edit(src/**)"
    if {"file_path", "path", "pattern"} & set(arguments):
        return "files, reading them", "Read(data/**)"
    return (
        "the notebook's variables, reading them" if "names" in arguments else "nothing outside the session",
        spec.name,
    )


# --- model, permissions and config ------------------------------------------------------------------------------------


def _model(host: Host, rest: str) -> CommandOutput:
    agent = host.agent
    report = Report()
    if rest:
        from claw_magics.models import check_model

        check_model(rest, agent.settings)
        agent.set_model(rest)
        report.line(f"Model from the next turn on: {agent.model}")
        return report.output()
    from claw_magics.models import find_models

    report.line(f"Model: {agent.model or 'none chosen; the first turn looks for one'}")
    found = find_models(agent.settings)
    report.table(("Found", "Where"), found or [("none", "no key is set, and no local server answers")])
    report.line("%claw model NAME switches; scripted/hello needs no key.")
    return report.output()


def _complete_model(host: Host, words: Sequence[str]) -> Sequence[str]:
    from claw_magics.models import known_names

    return () if words else known_names(host.agent.settings)


def _permissions(host: Host, rest: str) -> CommandOutput:
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


def _complete_permissions(host: Host, words: Sequence[str]) -> Sequence[str]:
    from claw_magics.options import MODES

    if not words:
        return ("mode", *BEHAVIORS, "list")
    if words[0] == "mode" and len(words) == 1:
        return MODES
    return [spec.name for spec in host.agent.tools.specs] if words[0] in BEHAVIORS and len(words) == 1 else ()


def _config(host: Host, rest: str) -> CommandOutput:
    from claw_kernel.settings import SETTABLE, describe_settings

    report = Report()
    word, _, given = rest.partition(" ")
    if word == "set":
        key, _, value = given.strip().partition(" ")
        if key not in SETTABLE:
            raise UsageError(unknown("setting", key, SETTABLE, f"settings are {', '.join(SETTABLE)}."))
        if not value.strip():
            raise UsageError(f"%claw config set {key} needs a value.")
        host.agent.configure(f"{SOURCE} config", **{key: value.strip()})
        report.line(f"For this session: {key} = {_shown(key, getattr(host.agent.settings, key))}")
        return report.output()
    if word:
        raise UsageError(unknown("word", word, ("set",), "write %claw config, or %claw config set KEY VALUE."))
    rows = [(name, _shown(name, value), source) for name, value, source in describe_settings(host.agent.settings)]
    report.table(("Setting", "Value", "From"), rows)
    return report.output()


def _complete_config(host: Host, words: Sequence[str]) -> Sequence[str]:  # noqa: ARG001
    from claw_kernel.settings import SETTABLE

    return ("set",) if not words else SETTABLE if list(words) == ["set"] else ()


def _shown(key: str, value: object) -> str:
    return _without_login(str(value)) if key == "base_url" else str(value)


def _without_login(url: str) -> str:
    scheme, mark, place = url.partition("://")
    return scheme + mark + place.rpartition("@")[2]


# --- the session ------------------------------------------------------------------------------------------------------


def _clear(host: Host, rest: str) -> CommandOutput:
    from claw_magics.conversation import clear

    _take_nothing("clear", rest)
    return clear(host)


def _session(host: Host, rest: str) -> CommandOutput:
    from claw_magics import conversation

    word, _, value = rest.partition(" ")
    if word in ("", "list") and not value:
        return conversation.show(host)
    if word in ("load", "export"):
        path = value.strip().strip("\"'")
        if not path:
            raise UsageError(f"%claw session {word} needs the path of a file.")
        return conversation.load(host, path) if word == "load" else conversation.export(host, path)
    raise UsageError(unknown("word", word, ("list", "load", "export"), "see %claw help session."))


def _take_nothing(name: str, rest: str) -> None:
    if rest:
        raise UsageError(f"%claw {name} takes nothing behind it, not {rest[:60]!r}.")


if TYPE_CHECKING:
    from claw_kernel.messages import ToolSpec, TurnRecord

COMMANDS: dict[str, Command] = {
    command.name: command
    for command in (
        Command(
            "help",
            "help [COMMAND]",
            "List the commands, or explain one.",
            _help,
            lambda host, words: () if words else list(COMMANDS),  # noqa: ARG005
        ),
        Command("status", "status", "Session, model, permissions, front end and usage at a glance.", _status),
        Command(
            "model",
            "model [PROVIDER/MODEL]",
            "Show the model and what else was found, or switch.",
            _model,
            _complete_model,
        ),
        Command(
            "permissions",
            "permissions\npermissions mode MODE\npermissions allow RULE\npermissions ask RULE\npermissions deny RULE",
            "Show the permission mode and rules, or change them for this session.",
            _permissions,
            _complete_permissions,
        ),
        Command("tools", "tools", "List the agent's tools, what they touch and a rule for each.", _tools),
        Command("cost", "cost", "Tokens and cost of each turn, and in total.", _cost),
        Command("clear", "clear", "Begin a new conversation; what the notebook holds stays in it.", _clear),
        Command(
            "session",
            "session\nsession load NOTEBOOK\nsession export FILE",
            "Show the conversation's turns, take in those of a notebook file, or write them to a file.",
            _session,
            lambda host, words: () if words else ("list", "load", "export"),  # noqa: ARG005
        ),
        Command(
            "config",
            "config\nconfig set KEY VALUE",
            "Show each setting with its source, or change one for this session.",
            _config,
            _complete_config,
        ),
        Command("version", "version", "Versions of Claw and of what it runs on.", _version),
    )
}
