"""``%claw undo``, ``rewind`` and ``checkpoints``: files as they were before a turn or a call; ``rewind`` also the conversation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from claw_kernel import restoring
from claw_kernel.question import printable
from claw_kernel.restoring import conflict_text, show_done, show_nothing, show_plan, target_of
from claw_magics.history import find_turn, turn_numbers
from claw_magics.report import CommandOutput, Report, UsageError, take_nothing, unknown

if TYPE_CHECKING:
    from claw_kernel._core import Core
    from claw_kernel.messages import TurnRecord
    from claw_magics.host import Host

OPTIONS = ("--yes", "--force")
REWIND_OPTIONS = (*OPTIONS, "--conversation", "--both")


def undo(host: Host, rest: str) -> CommandOutput:
    words, chosen = _options("undo", rest, OPTIONS)
    if len(words) > 1 or (words and not words[0].isascii()) or (words and not words[0].isdecimal()):
        raise UsageError(f"%claw undo takes a number of turns, not {rest[:60]!r}.")
    count = int(words[0][:6]) if words else None
    output, _ = _restore(host, {"kind": "undo", "count": count}, f"undo {rest}".strip(), chosen)
    return output


def rewind(host: Host, rest: str) -> CommandOutput:
    words, chosen = _options("rewind", rest, REWIND_OPTIONS)
    if len(words) != 1:
        raise UsageError("%claw rewind needs a turn: its number (%claw session lists them) or a checkpoint such as c7.")
    word = words[0]
    target = _target(host, word)
    if target["kind"] == "checkpoint":
        if {"--conversation", "--both"} & chosen:
            raise UsageError("The conversation goes back to a turn, not to a checkpoint: give the turn's number.")
        output, _ = _restore(host, target, f"rewind {rest}", chosen)
        return output
    turn = find_turn(host, word)
    if "--conversation" in chosen:
        return _rewind_conversation(host, turn)
    if any(item["turn_id"] in target["ids"] for item in _list(host)):
        output, is_done = _restore(host, target, f"rewind {rest}", chosen)
    else:
        nothing = Report()
        nothing.line("No files to put back: neither that turn nor a later one has changed any.")
        output, is_done = nothing.output(), True
    if not is_done:
        return output
    question = f"Take the conversation back to before turn {word} too?"
    answer = "--both" in chosen or ("--yes" not in chosen and host.confirm(output, question))
    if answer:
        return _joined(output if "--both" in chosen else None, _rewind_conversation(host, turn))
    report = Report()
    report.line(f"%claw rewind {word} --conversation takes the conversation back too.")
    return _joined(output if answer is not False or "--yes" in chosen else None, report.output())


def _rewind_conversation(host: Host, turn: TurnRecord) -> CommandOutput:
    from claw_magics.conversation import check_idle

    check_idle(host, "rewound")
    session = host.session
    numbers = turn_numbers(host)
    end = session.newest_end(turn.turn_id)
    session.use(session.before(turn.turn_id))
    report = Report()
    report.line(
        f"The conversation is as it was before turn {numbers[turn.turn_id]}. What came after is kept: "
        f"%claw history use {numbers[end]} returns to it."
    )
    return report.output()


def _joined(first: CommandOutput | None, second: CommandOutput) -> CommandOutput:
    if first is None:
        return second
    return CommandOutput(f"{first.markdown}\n\n{second.markdown}", f"{first.plain}\n{second.plain}")


def complete_rewind(host: Host, words: Sequence[str]) -> Sequence[str]:
    if words:
        return [option for option in REWIND_OPTIONS if option not in words]
    return [*(str(number) for number, _ in enumerate(host.session.turns, start=1)), *(c["id"] for c in _list(host))]


def show_checkpoints(host: Host, rest: str) -> CommandOutput:
    take_nothing("checkpoints", rest)
    report = Report()
    found = _list(host)
    if not found:
        report.line("No checkpoints: no call of this session has changed files.")
        return report.output()
    restoring.show_checkpoints(report, found, turn_numbers(host), "%claw")
    return report.output()


def _restore(host: Host, target: Mapping[str, Any], line: str, chosen: set[str]) -> tuple[CommandOutput, bool]:
    """What to show, and whether the files are as they were then."""
    from claw_kernel._core import RestoreError
    from claw_magics.conversation import check_idle

    check_idle(host, "rewound")
    is_sure, is_forced = "--yes" in chosen, "--force" in chosen
    core = _core(host)
    try:
        plan = json.loads(core.preview_restore(json.dumps(target)))
        report = Report()
        show_plan(report, plan, turn_numbers(host))
        if not plan["files"]:
            show_nothing(report, plan, target, "%claw")
            return report.output(), True
        if plan["conflicts"] and not is_forced:
            host.show(report.output())
            raise UsageError(conflict_text(plan, f"%claw {line}"))
        if not is_sure:
            answer = host.confirm(report.output(), "Put these files back?")
            if answer is None:
                report.line(f"Nothing was changed yet: %claw {line} --yes does it.")
                return report.output(), False
            report = Report()
            if not answer:
                report.line("Nothing was changed.")
                return report.output(), False
        done = json.loads(core.restore(json.dumps(target), force=is_forced))
    except RestoreError as error:
        raise UsageError(str(error)) from None
    show_done(report, done, "%claw", is_both="--both" in chosen)
    host.tell_model(_note(done))
    return report.output(), True


def _note(done: Mapping[str, Any]) -> str:
    paths = [printable(file["path"]) for file in done["files"]]
    named = ", ".join(paths[:10]) + (f" and {len(paths) - 10} more" if len(paths) > 10 else "")
    return f"[The user has put files back with %claw undo or rewind, so they are not as you left them: {named}.]"


def _target(host: Host, word: str) -> dict[str, Any]:
    ids = [record.turn_id for record in host.session.turns]  # files change in the order of time, on whatever branch
    found = target_of(word, ids)
    if found is None:
        raise UsageError(unknown("turn", word, (), f"%claw session lists {len(ids)}; a checkpoint is written c7."))
    return found


def _options(name: str, rest: str, known: Sequence[str]) -> tuple[list[str], set[str]]:
    words = rest.split()
    for word in words:
        if word.startswith("-") and word not in known:
            raise UsageError(unknown("option", word, known, f"see %claw help {name}."))
    return [word for word in words if word not in known], set(words).intersection(known)


def _core(host: Host) -> Core:
    """With the session's own checkpoints open, also where this kernel has not run a turn yet."""
    host.recall(host.agent.settings.env)
    core = host.agent.gate.core
    core.begin_turn(host.session.session_id, "")
    return core


def _list(host: Host) -> list[dict[str, Any]]:
    turn = host.current_turn
    if turn is not None and not turn.is_finished:
        return []  # completion while a cell runs
    found: list[dict[str, Any]] = json.loads(_core(host).checkpoints())
    return found
