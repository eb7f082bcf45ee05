"""The commands of ``%claw`` (``/command`` in the Claw kernel): one registry, from which help, completion and the table
in the guide are derived. A command never calls a model.

A function here may raise ClawError: :func:`run_command` makes it the one line that is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from claw_kernel.late_dataclass import dataclass
from claw_magics.choices import (
    change_config,
    change_permissions,
    change_plan,
    change_trust,
    choose_model,
    complete_config,
    complete_model,
    complete_permissions,
)
from claw_magics.context import compact, complete_memory, memory, show_budget, show_context
from claw_magics.conversation import count_turns
from claw_magics.history import (
    complete_history,
    complete_sessions,
    complete_turns,
    fork,
    history,
    sessions,
)
from claw_magics.report import CommandOutput, Report, UsageError, error_output, markdown_table, take_nothing, unknown
from claw_magics.status import list_tools, show_cost, show_status, show_todos, show_versions
from claw_magics.undo import OPTIONS, complete_rewind, rewind, show_checkpoints, undo

if TYPE_CHECKING:
    from claw_magics.host import Host


@dataclass(frozen=True)
class Command:
    """``group``: the heading of the help it stands under. ``usage`` holds one form per line. ``run`` gets what stands behind the
    name; ``complete`` gives the words that may come next, after those already there."""

    group: str
    name: str
    usage: str
    summary: str
    run: Callable[[Host, str], CommandOutput]
    complete: Callable[[Host, Sequence[str]], Sequence[str]] = lambda host, words: ()  # noqa: ARG005


def run_command(host: Host, line: str) -> CommandOutput:
    """Run one command line (without ``%claw`` or ``/``). Raises nothing for a person's mistake."""
    from claw_kernel.errors import ClawError
    from claw_magics.capture import IN_AGENT_CODE, current_capture

    if current_capture() is not None:
        # Code of the agent would change its own rights here.
        return error_output(IN_AGENT_CODE)
    name, _, rest = line.strip().partition(" ")
    name = name.removeprefix("/")
    command = COMMANDS.get(name)
    if command is None and name:
        return error_output(_not_a_command(host, name, rest))
    try:
        return command.run(host, rest.strip()) if command is not None else _overview(host)
    except (ClawError, UsageError) as error:
        return error_output(str(error))


def _not_a_command(host: Host, name: str, rest: str) -> str:
    """A mistyped command, or a request that stands where a command is meant."""
    if len(rest.split()) > 1 and not host.is_claw_kernel:
        return f"{name[:60]!r} is no command; a request to the agent goes into a cell that begins with %%claw."
    return unknown("command", name, COMMANDS, f"{_prefix(host)}help lists them.")


def _prefix(host: Host) -> str:
    return "/" if host.is_claw_kernel else "%claw "


def inspect_command(line: str) -> str:
    """Help of the command that ``line`` (``/model …``) begins with, as text that is Markdown too; empty where it is none."""
    command = COMMANDS.get(line.strip().removeprefix("/").partition(" ")[0])
    if command is None:
        return ""
    forms = "\n".join(f"    /{form}" for form in command.usage.splitlines())
    return f"{command.summary}\n\n{forms}"


def commands_markdown() -> str:
    """The table of the guide."""
    rows = [
        (f"%claw {form}", "" if position else command.summary)
        for command in COMMANDS.values()
        for position, form in enumerate(command.usage.splitlines())
    ]
    return markdown_table(("Command", "What it does"), rows)


def _overview(host: Host) -> CommandOutput:
    """``%claw`` alone: where one stands, and what most people need."""
    agent, prefix = host.agent, _prefix(host)
    report = Report()
    model = agent.model or f"no model chosen yet ({prefix}model shows what is there)"
    report.line(
        f"{model} · mode {agent.permission_mode} · {count_turns(len(host.session.records))} in this conversation"
    )
    if not host.is_claw_kernel:
        report.line("A cell that begins with %%claw is a request to the agent; %%claw --help lists its options.")
    rows = [(prefix + name, COMMANDS[name].summary) for name in EVERYDAY]
    report.table(("Command", "What it does"), rows)
    report.line(f"{prefix}help lists all {len(COMMANDS)}.")
    return report.output()


def _help(host: Host, rest: str) -> CommandOutput:
    report, prefix = Report(), _prefix(host)
    if rest:
        command = COMMANDS.get(rest.removeprefix("/"))
        if command is None:
            raise UsageError(unknown("command", rest, COMMANDS, f"{prefix}help lists them."))
        report.line(command.summary)
        report.block("\n".join(prefix + form for form in command.usage.splitlines()))
        return report.output()
    for group in dict.fromkeys(command.group for command in COMMANDS.values()):
        rows = [
            (prefix + command.usage.splitlines()[0], command.summary)
            for command in COMMANDS.values()
            if command.group == group
        ]
        report.table((group, ""), rows)
    report.line("{variable} and @file in a request attach what they name.")
    return report.output()


def _clear(host: Host, rest: str) -> CommandOutput:
    from claw_magics.conversation import clear

    take_nothing("clear", rest)
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


def _resume(host: Host, rest: str) -> CommandOutput:
    from claw_magics.resume import resume

    return resume(host, rest)


def _blame(host: Host, rest: str) -> CommandOutput:
    from claw_magics.conversation import blame

    take_nothing("blame", rest)
    return blame(host)


def _replay(host: Host, rest: str) -> CommandOutput:
    from claw_magics.replay import run_replay

    return run_replay(host, rest)


EVERYDAY = ("status", "model", "permissions", "cost", "history", "undo")
"""What ``%claw`` alone shows."""

COMMANDS: dict[str, Command] = {
    command.name: command
    for command in (
        Command(
            "Every day",
            "help",
            "help [COMMAND]",
            "List the commands, or explain one.",
            _help,
            lambda host, words: () if words else list(COMMANDS),  # noqa: ARG005
        ),
        Command(
            "Every day",
            "status",
            "status",
            "Session, model, permissions, front end and usage at a glance.",
            show_status,
        ),
        Command(
            "Every day",
            "model",
            "model [PROVIDER/MODEL]",
            "Show the model and what else was found, or switch.",
            choose_model,
            complete_model,
        ),
        Command(
            "Every day",
            "config",
            "config\nconfig set KEY VALUE",
            "Show each setting with its source, or change one for this session.",
            change_config,
            complete_config,
        ),
        Command("Every day", "version", "version", "Versions of Claw and of what it runs on.", show_versions),
        Command(
            "What it may do",
            "permissions",
            "permissions\npermissions mode MODE\npermissions allow RULE\npermissions ask RULE\npermissions deny RULE",
            "Show the permission mode and rules, or change them for this session.",
            change_permissions,
            complete_permissions,
        ),
        Command(
            "What it may do",
            "trust",
            "trust\ntrust revoke",
            "Let the settings that this folder brings take effect, or no longer.",
            change_trust,
            lambda host, words: () if words else ("revoke",),  # noqa: ARG005
        ),
        Command(
            "What it may do",
            "plan",
            "plan [off]",
            "Plan mode: only reading until you have approved a plan, or left it with off.",
            change_plan,
            lambda host, words: () if words else ("off",),  # noqa: ARG005
        ),
        Command(
            "What it may do",
            "tools",
            "tools",
            "List the agent's tools, what they touch and a rule for each.",
            list_tools,
        ),
        Command(
            "The conversation",
            "clear",
            "clear",
            "Begin a new conversation; what the notebook holds stays in it.",
            _clear,
        ),
        Command(
            "The conversation",
            "session",
            "session\nsession load NOTEBOOK\nsession export FILE",
            "Show the conversation's turns, take in those of a notebook file, or write them to a file.",
            _session,
            lambda host, words: () if words else ("list", "load", "export"),  # noqa: ARG005
        ),
        Command(
            "The conversation",
            "sessions",
            "sessions\nsessions use ID",
            "List the conversations of this notebook, or go on with another one.",
            sessions,
            complete_sessions,
        ),
        Command(
            "The conversation",
            "history",
            "history\nhistory use TURN\nhistory use notebook\nhistory recover",
            "Draw the conversation with its branches; go on with another branch, or in the order of the cells; take back what a killed "
            "kernel left.",
            history,
            complete_history,
        ),
        Command(
            "The conversation",
            "fork",
            "fork [TURN]",
            "Go on from a turn (its number in %claw history); what came after it is kept as a branch.",
            fork,
            complete_turns,
        ),
        Command("The conversation", "todos", "todos", "The list of steps as the model left it.", show_todos),
        Command(
            "The conversation",
            "memory",
            "memory\nmemory add NOTE\nmemory forget NUMBER",
            "What the model is told in every conversation: notes kept in the notebook, and instruction files with their state.",
            memory,
            complete_memory,
        ),
        Command(
            "Taking back",
            "undo",
            "undo [N] [--yes] [--force]",
            "Take back the file changes of the last turn (or the last N), after showing them; again: redo.",
            undo,
            lambda host, words: [option for option in OPTIONS if option not in words],  # noqa: ARG005
        ),
        Command(
            "Taking back",
            "rewind",
            "rewind TURN [--conversation | --both] [--yes] [--force]",
            "Put files, the conversation or both back as they were before a turn (its number; files: also a checkpoint, c7).",
            rewind,
            complete_rewind,
        ),
        Command(
            "Taking back",
            "checkpoints",
            "checkpoints",
            "List the calls whose file changes can be taken back.",
            show_checkpoints,
        ),
        Command("Room and cost", "cost", "cost", "Tokens and cost of each turn, and in total.", show_cost),
        Command(
            "Room and cost",
            "budget",
            "budget",
            "Limits of a cell, the conversation and the notebook, and what is spent.",
            show_budget,
        ),
        Command("Room and cost", "context", "context", "How full the model's context is, and by what.", show_context),
        Command(
            "Room and cost",
            "compact",
            "compact [WHAT TO KEEP]",
            "Have the conversation summarised before the next request; the notebook keeps all of it.",
            compact,
        ),
        Command(
            "The saved notebook",
            "resume",
            "resume [--run] [--yes]",
            "What of the last turn's variables and versions is gone or differs, and the cells that rebuild it; run them.",
            _resume,
            lambda host, words: [option for option in ("--run", "--yes") if option not in words],  # noqa: ARG005
        ),
        Command(
            "The saved notebook",
            "replay",
            "replay [NOTEBOOK] [--accept-edited]",
            "Run the saved notebook in a copy on its recorded answers, and compare what the tools give.",
            _replay,
            lambda host, words: () if "--accept-edited" in words else ("--accept-edited",),  # noqa: ARG005
        ),
        Command(
            "The saved notebook",
            "blame",
            "blame",
            "For each cell who wrote it, the agent or a person, with turn, model and who approved.",
            _blame,
        ),
    )
}
