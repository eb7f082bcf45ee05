"""``%claw undo``, ``rewind`` and ``checkpoints``: files as they were before a turn or a call. The conversation stays."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from claw_kernel.question import printable
from claw_magics.report import CommandOutput, Report, UsageError, take_nothing, unknown

if TYPE_CHECKING:
    from claw_kernel._core import Core
    from claw_magics.host import Host

OPTIONS = ("--yes", "--force")
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
    words, is_sure, is_forced = _options("undo", rest)
    if len(words) > 1 or (words and not words[0].isascii()) or (words and not words[0].isdecimal()):
        raise UsageError(f"%claw undo takes a number of turns, not {rest[:60]!r}.")
    count = int(words[0][:6]) if words else None
    return _restore(
        host, {"kind": "undo", "count": count}, f"undo {rest}".strip(), is_sure=is_sure, is_forced=is_forced
    )


def rewind(host: Host, rest: str) -> CommandOutput:
    words, is_sure, is_forced = _options("rewind", rest)
    if len(words) != 1:
        raise UsageError("%claw rewind needs a turn: its number (%claw session lists them) or a checkpoint such as c7.")
    return _restore(host, _target(host, words[0]), f"rewind {rest}", is_sure=is_sure, is_forced=is_forced)


def complete_rewind(host: Host, words: Sequence[str]) -> Sequence[str]:
    if words:
        return [option for option in OPTIONS if option not in words]
    return [*(str(number) for number, _ in enumerate(host.session.records, start=1)), *(c["id"] for c in _list(host))]


def show_checkpoints(host: Host, rest: str) -> CommandOutput:
    take_nothing("checkpoints", rest)
    report = Report()
    found = _list(host)
    if not found:
        report.line("No checkpoints: no call of this session has changed files.")
        return report.output()
    numbers = _turn_numbers(host)
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


def _restore(host: Host, target: Mapping[str, Any], line: str, *, is_sure: bool, is_forced: bool) -> CommandOutput:
    from claw_kernel._core import RestoreError
    from claw_magics.conversation import check_idle

    check_idle(host, "rewound")
    core = _core(host)
    try:
        plan = json.loads(core.preview_restore(json.dumps(target)))
        report = Report()
        _show_plan(report, plan, _turn_numbers(host))
        if not plan["files"]:
            report.line("Nothing to do: the files are as they were.")
            return report.output()
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
                return report.output()
            report = Report()
            if not answer:
                report.line("Nothing was changed.")
                return report.output()
        done = json.loads(core.restore(json.dumps(target), force=is_forced))
    except RestoreError as error:
        raise UsageError(str(error)) from None
    _show_done(report, done)
    host.tell_model(_note(done))
    return report.output()


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


def _show_done(report: Report, done: Mapping[str, Any]) -> None:
    failures = done["failures"]
    count = len(done["files"]) - len(failures)
    report.line(f"Done: {'1 file' if count == 1 else f'{count} files'}. The conversation stays as it was.")
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


def _turn_numbers(host: Host) -> dict[str, int]:
    return {record.turn_id: number for number, record in enumerate(host.session.records, start=1)}


def _target(host: Host, word: str) -> dict[str, Any]:
    if found := re.fullmatch(r"c(\d{1,9})", word):
        return {"kind": "checkpoint", "number": int(found[1])}
    ids = [record.turn_id for record in host.session.records]
    if word in ids:
        return {"kind": "turns", "ids": ids[ids.index(word) :]}
    if re.fullmatch(r"\d{1,9}", word) and 1 <= int(word) <= len(ids):
        return {"kind": "turns", "ids": ids[int(word) - 1 :]}
    raise UsageError(unknown("turn", word, (), f"%claw session lists {len(ids)}; a checkpoint is written c7."))


def _options(name: str, rest: str) -> tuple[list[str], bool, bool]:
    words = rest.split()
    for word in words:
        if word.startswith("-") and word not in OPTIONS:
            raise UsageError(unknown("option", word, OPTIONS, f"see %claw help {name}."))
    return [word for word in words if word not in OPTIONS], "--yes" in words, "--force" in words


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
