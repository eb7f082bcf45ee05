"""Undo in words, the same on the command line and in a notebook: checkpoints, what a restore would do, what it did."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from claw_kernel.question import printable
from claw_kernel.report import Report

ROWS = 50
"""Files and checkpoints that are shown."""
_ACTIONS = {
    "create": "comes back",
    "delete": "is removed",
    "change": "gets its old content",
    "replace": "is put in the place of what is there now",
    "mode": "gets its old mode",
    "touch": "gets its old time or attributes",
}


def show_checkpoints(
    report: Report, found: Sequence[Mapping[str, Any]], numbers: Mapping[str, int], program: str
) -> None:
    """The last checkpoints (from ``Core.checkpoints``). ``numbers``: of turns, by id; ``program``: ``%claw`` or ``claw``."""
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
    report.line(f"{program} undo takes back the last turn; {program} rewind c1 puts files back as they were before c1.")


def target_of(word: str, turn_ids: Sequence[str]) -> dict[str, Any] | None:
    """What ``rewind`` is given, for the core: a checkpoint (``c7``), a turn's id or its number from 1. None: neither."""
    if found := re.fullmatch(r"c(\d{1,9})", word):
        return {"kind": "checkpoint", "number": int(found[1])}
    if word in turn_ids:
        return {"kind": "turns", "ids": list(turn_ids[turn_ids.index(word) :])}
    if re.fullmatch(r"\d{1,9}", word) and 1 <= int(word) <= len(turn_ids):
        return {"kind": "turns", "ids": list(turn_ids[int(word) - 1 :])}
    return None


def conflict_text(plan: Mapping[str, Any], line: str) -> str:
    """Why nothing was done, and the line that does it all the same."""
    count = plan["conflicts"]
    files = "1 file has" if count == 1 else f"{count} files have"
    return f"Nothing was changed: {files} been edited since by someone else. {line} --force overwrites them."


def show_nothing(report: Report, plan: Mapping[str, Any], target: Mapping[str, Any], program: str) -> None:
    """Instead of a restore that would do nothing. ``target``: what it was asked for; ``program``: ``%claw`` or ``claw``."""
    if not any(call["gap"] or call["git"] for call in plan["calls"]):
        report.line("Nothing to do: the files are as they were.")
    elif target["kind"] == "undo":
        more = (target["count"] or 1) + 1
        report.line(f"Nothing of that can be put back; {program} undo {more} takes back the turn before it, too.")
    else:
        report.line("Nothing of that can be put back.")


def show_plan(report: Report, plan: Mapping[str, Any], numbers: Mapping[str, int]) -> None:
    """What a restore would do. ``plan``: from ``Core.preview_restore``; ``numbers``: of turns, by id, where a notebook
    tells them."""
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
    if numbers and (unknown := [call["id"] for call in calls if call["turn_id"] and call["turn_id"] not in numbers]):
        named = ", ".join(unknown[:10]) + (f" and {len(unknown) - 10} more" if len(unknown) > 10 else "")
        report.line(f"Of turns that this notebook does not hold (deleted here, or those of a copy): {named}.")
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


def show_done(report: Report, done: Mapping[str, Any], program: str, *, is_both: bool = False) -> None:
    """What a restore did. ``program``: what stands before ``undo``; ``is_both``: the conversation goes back too."""
    failures = done["failures"]
    count = len(done["files"]) - len(failures)
    what = "Done: 1 file." if count == 1 else f"Done: {count} files." if count else "No file was changed."
    report.line(what if is_both else f"{what} The conversation stays as it was.")
    for failure in failures:
        report.line(f"Could not be put back: {printable(failure['path'])}: {failure['reason']}.")
    if done["id"] is not None:
        report.line(f"{program} undo takes this back ({done['id']}).")


def _row(file: Mapping[str, Any]) -> tuple[str, str, str, str]:
    action = (
        f"is moved back from {printable(file['moved_from'])}" if file["action"] == "move" else _ACTIONS[file["action"]]
    )
    if file["kind"] == "link" and file["action"] == "change":
        action = "points to its old target"
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
    if not paths and item["gap"]:
        named = "not known"
    unsaved = (
        f" (not saved: {', '.join(printable(file['path']) for file in item['not_saved'][:3])})"
        if item["not_saved"]
        else ""
    )
    return named + unsaved


def _turn_of(item: Mapping[str, Any], numbers: Mapping[str, int]) -> str:
    return str(numbers.get(item["turn_id"], ""))


def _size(size: int) -> str:
    for unit, limit in (("B", 1e3), ("kB", 1e6), ("MB", 1e9)):
        if size < limit:
            return f"{size / (limit / 1e3):.{0 if unit == 'B' else 1}f} {unit}"
    return f"{size / 1e9:.1f} GB"
