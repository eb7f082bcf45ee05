"""Files that a session's tools changed, as its records say: whether they are so today, and if not, how the session left them.

Read off Write's content and the diffs of Edit. What commands changed is counted, not known. A record is a stranger's word: paths
outside the workspace, and names that begin with a dot, are left out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal, TypeAlias

from claw_kernel.errors import SessionError
from claw_kernel.late_dataclass import dataclass
from claw_kernel.messages import ToolCall, ToolResult, TurnRecord
from claw_kernel.session.pieces import calls_of

State: TypeAlias = Literal["as left", "known", "unclear"]
"""Today's file beside the session's: as the session left it · otherwise, and it is known how the session left it · not known."""
MAX_BYTES = 32 << 20
"""As the tools have it: a larger file was not changed by them."""
_HUNK = re.compile(r"^@@ [^\n]* @@[^\n]*\n", re.MULTILINE)
_COMMANDS = ("Bash", "PowerShell", "REPL", "Python")


@dataclass(frozen=True)
class FileChange:
    """``path``: from the workspace, with ``/``. ``turn_id`` and ``tool``: of the last call that changed it. ``text``: the whole file as
    the session left it, where it is ``known`` and not so today."""

    path: str
    turn_id: str
    tool: str
    state: State
    text: str = ""


@dataclass()
class _History:
    """What calls did to one file. ``text``: whole, once a Write says it; ``diffs``: what came after that, or at all."""

    turn_id: str = ""
    tool: str = ""
    text: str | None = None
    diffs: list[str] | None = None


def file_changes(records: Sequence[TurnRecord], workspace: Path) -> list[FileChange]:
    """One for each file in the order in which they were first changed. ``workspace``: where the files are today."""
    histories: dict[str, _History] = {}
    for record in records:
        for call, result in calls_of(record):
            if (path := _path_of(call, result, record)) is None:
                continue
            history = histories.setdefault(path, _History(diffs=[]))
            history.turn_id, history.tool = record.turn_id, call.name
            content, diff = call.input.get("content"), result.details.get("diff") if result else None
            if call.name == "Write" and isinstance(content, str) and "[secret]" not in content:
                history.text, history.diffs = content, []
            elif call.name == "Edit" and isinstance(diff, str) and history.diffs is not None:
                history.diffs.append(diff)
            else:
                history.diffs = None
    return [_judged(path, history, _today(workspace / path)) for path, history in histories.items()]


def command_changes(records: Sequence[TurnRecord]) -> int:
    """How many calls of commands and code changed files in the workspace; which, the record does not say."""
    return sum(
        call.name in _COMMANDS and result is not None and bool((result.details.get("checkpoint") or {}).get("changed"))
        for record in records
        for call, result in calls_of(record)
    )


def write_file(root: Path, change: FileChange, *, replace: bool = False) -> bool:
    """Put the file as the session left it below ``root``. False where another one is there, and ``replace`` is not set. Raises
    SessionError where it cannot be written, or a link leads out of ``root``."""
    place = root / change.path
    try:
        if not place.parent.resolve().is_relative_to(root.resolve()) or place.is_symlink():
            raise SessionError(f"{change.path} lies behind a link.", "Export into a folder without one.")
        place.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if replace else os.O_EXCL)
        with os.fdopen(os.open(place, flags, 0o644), "w", encoding="utf-8", newline="") as file:
            file.write(change.text)
    except FileExistsError:
        return _today(place) == change.text
    except OSError as error:
        raise SessionError(f"{place} cannot be written: {error.strerror}.", "Give another -o.") from None
    return True


def _path_of(call: ToolCall, result: ToolResult | None, record: TurnRecord) -> str | None:
    """The changed file's path from the workspace; None where the call changed none that concerns an export."""
    if call.name not in ("Write", "Edit") or result is None or result.is_error:
        return None
    path, workspace = result.details.get("path"), record.environment.get("workspace")
    if not isinstance(path, str) or not isinstance(workspace, str) or "\0" in path:
        return None
    try:
        inside = PurePosixPath(path.replace("\\", "/")).relative_to(PurePosixPath(workspace.replace("\\", "/")))
    except ValueError:
        return None
    is_plain = inside.parts and not any(part.startswith(".") or ":" in part for part in inside.parts)
    return str(inside) if is_plain and inside.suffix != ".ipynb" else None


def _judged(path: str, history: _History, today: str | None) -> FileChange:
    change = FileChange(path, history.turn_id, history.tool, "unclear")
    if history.diffs is None:
        return change
    left = history.text
    if left is None:
        if today is None:
            return change
        if _applied(today, history.diffs, is_back=True) is not None:
            return FileChange(path, history.turn_id, history.tool, "as left")
        left = today
    left = _applied(left, history.diffs)
    if left is None:
        return change
    return FileChange(path, history.turn_id, history.tool, *(("as left",) if left == today else ("known", left)))


def _applied(text: str, diffs: Sequence[str], *, is_back: bool = False) -> str | None:
    """``text`` after all ``diffs``, or before them; None where one does not fit."""
    for diff in reversed(diffs) if is_back else diffs:
        for before, after in _hunks(diff):
            old, new = (after, before) if is_back else (before, after)
            if not old or text.count(old) != 1:
                return None
            text = text.replace(old, new)
    return text


def _hunks(diff: str) -> Iterator[tuple[str, str]]:
    """Each hunk of a unified diff: the lines as they were, and as they became. One that cannot be read is empty, and so fits nothing."""
    if re.search(r"^… \d+ more lines of diff$", diff, re.MULTILINE):
        yield "", ""
    for body in _HUNK.split(diff)[1:]:
        sides: dict[str, list[str]] = {"-": [], "+": []}
        last = ""
        for line in body.split("\n")[:-1]:
            mark = line[:1]
            if mark == "\\":  # the line before ends the file without a line end
                for side in last:
                    sides[side][-1] = sides[side][-1].removesuffix("\n")
                continue
            last = "-+" if mark == " " else mark if mark in sides else ""
            for side in last:
                sides[side].append(line[1:] + "\n")
        yield "".join(sides["-"]), "".join(sides["+"])


def _today(path: Path) -> str | None:
    """Raises nothing: what cannot be read as text is not there."""
    try:
        if path.is_symlink() or path.stat().st_size > MAX_BYTES:
            return None
        return path.read_bytes().decode("utf-8")
    except (OSError, ValueError):
        return None
