"""``%claw undo``, ``rewind`` and ``checkpoints``: files as they were before a turn or a call; ``rewind`` also the conversation."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from claw_kernel.question import printable
from claw_magics.history import find_turn, turn_numbers
from claw_magics.report import CommandOutput, Report, UsageError, take_nothing, unknown

if TYPE_CHECKING:
    from claw_kernel._core import Core
    from claw_kernel.messages import TurnRecord
    from claw_magics.host import Host

OPTIONS = ("--yes", "--force")
REWIND_OPTIONS = (*OPTIONS, "--conversation", "--both")
ROWS = 50
"""Files and checkpoints that are shown."""
_ACTIONS = {
    "create": "comes back",
    "delete": "is removed",
    "change": "gets its old content",
    "mode": "gets its old mode",
    "touch": "gets its old time",
}


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
    numbers = turn_numbers(host)
    rows = [
        (
            item["id"],
            item["at"][:19].replace("T", " "),
            _turn_of(item, numbers),
            printable(item["title"]),
            _changed(item),
        )
        for item in found[-ROWS:]
    ]
    if len(found) > ROWS:
        report.line(f"The last {ROWS} of {len(found)}:")
    report.table(("Checkpoint", "At (UTC)", "Turn", "Call", "Changed"), rows)
    report.line("%claw undo takes back the last turn; %claw rewind c1 puts files back as they were before c1.")
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
        _show_plan(report, plan, turn_numbers(host))
        if not plan["files"]:
            report.line("Nothing to do: the files are as they were.")
            return report.output(), True
        if plan["conflicts"] and not is_forced:
            host.show(report.output())
            count = plan["conflicts"]
            files = "1 file has" if count == 1 else f"{count} files have"
            raise UsageError(
                f"Nothing was changed: {files} been edited since by someone else. %claw {line} --force overwrites them."
            )
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
    _show_done(report, done, is_both="--both" in chosen)
    host.tell_model(_note(done))
    return report.output(), True


def _show_plan(report: Report, plan: Mapping[str, Any], numbers: Mapping[str, int]) -> None:
    calls = plan["calls"]
    turns = list(dict.fromkeys(_turn_of(call, numbers) for call in calls if call["restored_to"] is None))
    if plan["is_redo"] and len(calls) == 1:
        report.line(f"Redo: takes back the restore {calls[0]['id']}.")
    else:
        count = sum(call["restored_to"] is None for call in calls)
        named = f" of turn {', '.join(turns)}" if any(turns) else ""
        report.line(
            f"Takes back what {'1 call' if count == 1 else f'{count} calls'}{named} changed, from {calls[0]['id']} on."
        )
    files = plan["files"]
    if files:
        report.table(("File", "What happens", "Lines", ""), [_row(file) for file in files[:ROWS]])
        if len(files) > ROWS:
            report.line(f"… and {len(files) - ROWS} more files.")
    for file in plan["not_restored"][:ROWS]:
        size = f"{_size(file['size'])}, " if file["size"] is not None else ""
        if file["action"] == "lost":
            report.line(f"Cannot be put back, not saved: {printable(file['path'])} ({size}{file['reason']}).")
        else:
            report.line(
                f"Stays, because removing it could not be undone: {printable(file['path'])} ({size}{file['reason']})."
            )
    for call in calls:
        if call["git"] is not None:
            report.line(_git_text(call))
        if call["gap"]:
            report.line(f"{call['id']} may have changed more than was noted: {call['gap']}.")
        if call["is_interrupted"]:
            report.line(
                f"{call['id']}: the kernel ended during this call, so later changes of others may be among them."
            )


def _show_done(report: Report, done: Mapping[str, Any], *, is_both: bool) -> None:
    failures = done["failures"]
    count = len(done["files"]) - len(failures)
    report.line(
        f"Done: {'1 file' if count == 1 else f'{count} files'}.{'' if is_both else ' The conversation stays as it was.'}"
    )
    for failure in failures:
        report.line(f"Could not be put back: {printable(failure['path'])}: {failure['reason']}.")
    if done["id"] is not None:
        report.line(f"%claw undo takes this back ({done['id']}).")


def _note(done: Mapping[str, Any]) -> str:
    paths = [printable(file["path"]) for file in done["files"]]
    named = ", ".join(paths[:10]) + (f" and {len(paths) - 10} more" if len(paths) > 10 else "")
    return f"[The user has put files back with %claw undo or rewind, so they are not as you left them: {named}.]"


def _row(file: Mapping[str, Any]) -> tuple[str, str, str, str]:
    action = (
        f"is moved back from {printable(file['moved_from'])}" if file["action"] == "move" else _ACTIONS[file["action"]]
    )
    lines = f"+{file['added']} -{file['removed']}" if file["added"] is not None and file["kind"] == "file" else ""
    notes = []
    if file["is_conflict"]:
        notes.append("edited since by someone else")
    if file["is_final"]:
        notes.append("what is there now was not saved: no redo")
    name = printable(file["path"]) + ("/" if file["kind"] == "folder" else "")
    return name, action, lines, "; ".join(notes)


def _git_text(call: Mapping[str, Any]) -> str:
    (head, commit), (new_head, new_commit) = call["git"]["before"], call["git"]["after"]
    if (head, commit) == (new_head, new_commit):
        return f"{call['id']} also changed git's index, which is not taken back (git status shows it)."
    return (
        f"{call['id']} also moved git from {head[:40]} ({commit[:10] or 'no commit'}) to {new_head[:40]} ({new_commit[:10]}), "
        "which is not taken back (git reflog shows it)."
    )


def _changed(item: Mapping[str, Any]) -> str:
    paths = [printable(path) for path in item["paths"]]
    named = ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
    unsaved = (
        f" (not saved: {', '.join(printable(file['path']) for file in item['not_saved'][:3])})"
        if item["not_saved"]
        else ""
    )
    return named + unsaved


def _turn_of(item: Mapping[str, Any], numbers: Mapping[str, int]) -> str:
    return str(numbers.get(item["turn_id"], ""))


def _target(host: Host, word: str) -> dict[str, Any]:
    if found := re.fullmatch(r"c(\d{1,9})", word):
        return {"kind": "checkpoint", "number": int(found[1])}
    ids = [record.turn_id for record in host.session.turns]  # files change in the order of time, on whatever branch
    if word in ids:
        return {"kind": "turns", "ids": ids[ids.index(word) :]}
    if re.fullmatch(r"\d{1,9}", word) and 1 <= int(word) <= len(ids):
        return {"kind": "turns", "ids": ids[int(word) - 1 :]}
    raise UsageError(unknown("turn", word, (), f"%claw session lists {len(ids)}; a checkpoint is written c7."))


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


def _size(size: int) -> str:
    for unit, limit in (("B", 1e3), ("kB", 1e6), ("MB", 1e9)):
        if size < limit:
            return f"{size / (limit / 1e3):.{0 if unit == 'B' else 1}f} {unit}"
    return f"{size / 1e9:.1f} GB"
