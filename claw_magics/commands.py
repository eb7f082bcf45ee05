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
    """``usage`` holds one form per line. ``run`` gets what stands behind the name; ``complete`` gives the words that may
    come next, after those already there."""

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
    name = name.removeprefix("/") or "help"
    command = COMMANDS.get(name)
    if command is None:
        return error_output(unknown("command", name, COMMANDS, "%claw help lists them."))
    try:
        return command.run(host, rest.strip())
    except (ClawError, UsageError) as error:
        return error_output(str(error))


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
        Command("status", "status", "Session, model, permissions, front end and usage at a glance.", show_status),
        Command(
            "model",
            "model [PROVIDER/MODEL]",
            "Show the model and what else was found, or switch.",
            choose_model,
            complete_model,
        ),
        Command(
            "permissions",
            "permissions\npermissions mode MODE\npermissions allow RULE\npermissions ask RULE\npermissions deny RULE",
            "Show the permission mode and rules, or change them for this session.",
            change_permissions,
            complete_permissions,
        ),
        Command(
            "trust",
            "trust\ntrust revoke",
            "Let the settings that this folder brings take effect, or no longer.",
            change_trust,
            lambda host, words: () if words else ("revoke",),  # noqa: ARG005
        ),
        Command(
            "plan",
            "plan [off]",
            "Plan mode: only reading until you have approved a plan, or left it with off.",
            change_plan,
            lambda host, words: () if words else ("off",),  # noqa: ARG005
        ),
        Command("todos", "todos", "The list of steps as the model left it.", show_todos),
        Command("tools", "tools", "List the agent's tools, what they touch and a rule for each.", list_tools),
        Command("cost", "cost", "Tokens and cost of each turn, and in total.", show_cost),
        Command(
            "budget", "budget", "Limits of a cell, the conversation and the notebook, and what is spent.", show_budget
        ),
        Command("context", "context", "How full the model's context is, and by what.", show_context),
        Command(
            "compact",
            "compact [WHAT TO KEEP]",
            "Have the conversation summarised before the next request; the notebook keeps all of it.",
            compact,
        ),
        Command(
            "memory",
            "memory\nmemory add NOTE\nmemory forget NUMBER",
            "What the model is told in every conversation: notes kept in the notebook, and instruction files with their state.",
            memory,
            complete_memory,
        ),
        Command("clear", "clear", "Begin a new conversation; what the notebook holds stays in it.", _clear),
        Command(
            "session",
            "session\nsession load NOTEBOOK\nsession export FILE",
            "Show the conversation's turns, take in those of a notebook file, or write them to a file.",
            _session,
            lambda host, words: () if words else ("list", "load", "export"),  # noqa: ARG005
        ),
        Command(
            "sessions",
            "sessions\nsessions use ID",
            "List the conversations of this notebook, or go on with another one.",
            sessions,
            complete_sessions,
        ),
        Command(
            "history",
            "history\nhistory use TURN\nhistory use notebook\nhistory recover",
            "Draw the conversation with its branches; go on with another branch, or in the order of the cells; take back what a killed "
            "kernel left.",
            history,
            complete_history,
        ),
        Command(
            "fork",
            "fork [TURN]",
            "Go on from a turn (its number in %claw history); what came after it is kept as a branch.",
            fork,
            complete_turns,
        ),
        Command(
            "resume",
            "resume [--run] [--yes]",
            "What of the last turn's variables and versions is gone or differs, and the cells that rebuild it; run them.",
            _resume,
            lambda host, words: [option for option in ("--run", "--yes") if option not in words],  # noqa: ARG005
        ),
        Command(
            "blame",
            "blame",
            "For each cell who wrote it, the agent or a person, with turn, model and who approved.",
            _blame,
        ),
        Command(
            "replay",
            "replay [NOTEBOOK] [--accept-edited]",
            "Run the saved notebook in a copy on its recorded answers, and compare what the tools give.",
            _replay,
            lambda host, words: () if "--accept-edited" in words else ("--accept-edited",),  # noqa: ARG005
        ),
        Command(
            "undo",
            "undo [N] [--yes] [--force]",
            "Take back the file changes of the last turn (or the last N), after showing them; again: redo.",
            undo,
            lambda host, words: [option for option in OPTIONS if option not in words],  # noqa: ARG005
        ),
        Command(
            "rewind",
            "rewind TURN [--conversation | --both] [--yes] [--force]",
            "Put files, the conversation or both back as they were before a turn (its number; files: also a checkpoint, c7).",
            rewind,
            complete_rewind,
        ),
        Command("checkpoints", "checkpoints", "List the calls whose file changes can be taken back.", show_checkpoints),
        Command(
            "config",
            "config\nconfig set KEY VALUE",
            "Show each setting with its source, or change one for this session.",
            change_config,
            complete_config,
        ),
        Command("version", "version", "Versions of Claw and of what it runs on.", show_versions),
    )
}
