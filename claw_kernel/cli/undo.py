"""``claw undo``, ``claw rewind`` and ``claw checkpoints``: files as they were before a turn or a call of a session in this
workspace, of ``claw prompt`` or of a notebook."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from claw_kernel.cli import DONE, FAILED, UsageError
from claw_kernel.cli.arguments import Parser

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from claw_kernel._core import Core

_MAX_TURNS = 10_000


def run(name: str, arguments: list[str]) -> int:
    """``name``: which of the three. Raises UsageError, SettingsError and SessionError."""
    match name:
        case "undo":
            parser = _parser(name, "Take back what the last turns changed: shown first, then done. Again: redo.")
            parser.add_argument("count", metavar="N", nargs="?", type=_count, help="how many turns (default: the last)")
        case "rewind":
            parser = _parser(name, "Put files back as they were before a turn or a call: shown first, then done.")
            parser.add_argument("place", metavar="WHERE", help="a checkpoint such as c7, or a notebook's turn (1, 2 …)")
        case _:
            parser = _parser(name, "List what the calls of a session changed, oldest first.")
            parser.add_argument("--sessions", action="store_true", help="list the sessions of this workspace instead")
    options = parser.read(arguments)
    if name == "checkpoints" and options.sessions:
        return _show_sessions()
    session_id, turn_ids = _session(options.session)
    if not session_id:
        print("No checkpoints: no call of a session in this workspace has changed files.")
        return DONE if name == "checkpoints" else FAILED
    core = _open(session_id)
    try:
        match name:
            case "undo":
                line = "claw undo" if options.count is None else f"claw undo {options.count}"
                return _restore(core, {"kind": "undo", "count": options.count}, turn_ids, line, options)
            case "rewind":
                return _restore(
                    core, _target(options.place, turn_ids), turn_ids, f"claw rewind {options.place}", options
                )
            case _:
                return _show_checkpoints(core, session_id, turn_ids)
    finally:
        core.close()


def _parser(name: str, description: str) -> Parser:
    parser = Parser(name, description, "The workspace is the folder it is run in. Git's own files are not put back.")
    parser.add_argument(
        "--session",
        metavar="ID",
        help="of which session, or of which notebook file (default: the session that changed files last; "
        "claw checkpoints --sessions lists them)",
    )
    if name != "checkpoints":
        parser.add_argument("--yes", action="store_true", help="do it without asking")
        parser.add_argument("--force", action="store_true", help="overwrite what someone else has edited since")
    return parser


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:9]) <= _MAX_TURNS:
        raise argparse.ArgumentTypeError(f"a number of turns from 1 is wanted, not {text[:60]!r}")
    return int(text)


def _target(place: str, turn_ids: list[str]) -> dict[str, Any]:
    from claw_kernel.restoring import target_of

    target = target_of(place, turn_ids)
    if target is None:
        known = f"the notebook has {len(turn_ids)} turns; " if turn_ids else ""
        raise UsageError(
            f"there is no turn {place[:60]!r}: {known}claw checkpoints lists what can be named, such as c7."
        )
    return target


def _open(session_id: str) -> Core:
    from claw_kernel._core import Core
    from claw_kernel.settings import load_settings

    settings = load_settings()
    try:
        core = Core(
            settings.cwd,
            state_dir=settings.state_dir,
            session_id=session_id,
            sandbox=json.dumps(settings.sandbox_options()),
        )
    except OSError as error:
        raise UsageError(f"{settings.cwd} cannot be used as workspace: {error}.") from None
    core.set_checkpoint_limits(settings.checkpoint_limits())
    return core


def _known_sessions() -> list[str]:
    core = _open("")
    try:
        return core.checkpoint_sessions()
    finally:
        core.close()


def _session(given: str | None) -> tuple[str, list[str]]:
    """Its id, and the ids of its turns where a notebook tells them. The id is empty where there is none."""
    if given is not None and given.endswith(".ipynb"):
        return _notebook_session(given)
    known = _known_sessions()
    if given is None:
        return (known[0] if known else ""), []
    found = [session_id for session_id in known if session_id.startswith(given)]
    if len(found) != 1:
        problem = (
            "several sessions begin so" if found else "no session of this workspace has changed files under that id"
        )
        raise UsageError(f"--session {given[:60]!r}: {problem}; claw checkpoints --sessions lists them.")
    return found[0], []


def _notebook_session(path: str) -> tuple[str, list[str]]:
    from claw_kernel.session.notebook import read_notebook
    from claw_kernel.session.session import Session

    records, header = read_notebook(path)
    session = Session()
    session.merge(records, header)
    turn_ids = [record.turn_id for record in session.turns]
    return (session.session_id if turn_ids else ""), turn_ids


def _show_sessions() -> int:
    from claw_kernel.question import printable
    from claw_kernel.report import Report

    rows = []
    for session_id in _known_sessions():
        core = _open(session_id)
        try:
            found = json.loads(core.checkpoints())
            state = "open in another process" if core.is_session_shared() else ""
        finally:
            core.close()
        if found:
            at, title = found[-1]["at"][:19].replace("T", " "), printable(found[-1]["title"])[:60]
            rows.append((session_id, str(len(found)), at, title, state))
    if not rows:
        print("No session of this workspace has changed files.")
        return DONE
    report = Report()
    report.table(("Session", "Checkpoints", "Last (UTC)", "Last call", ""), rows)
    print(report.output().plain)
    return DONE


def _show_checkpoints(core: Core, session_id: str, turn_ids: list[str]) -> int:
    from claw_kernel.report import Report
    from claw_kernel.restoring import show_checkpoints

    found = json.loads(core.checkpoints())
    if not found:
        print("No checkpoints: no call of this session has changed files here.")
        return DONE
    report = Report()
    report.line(f"Session {session_id}:")
    show_checkpoints(report, found, _numbers(turn_ids), "claw")
    print(report.output().plain)
    return DONE


def _restore(core: Core, target: Mapping[str, Any], turn_ids: list[str], line: str, options: argparse.Namespace) -> int:
    from claw_kernel._core import RestoreError
    from claw_kernel.report import Report
    from claw_kernel.restoring import conflict_text, show_done, show_nothing, show_plan

    if core.is_session_shared():
        raise UsageError(
            "this session is open in another process, such as the notebook's kernel, which would not know of it; use "
            "%claw undo there, or end that process first."
        )
    if options.session:
        line += f" --session {options.session}"
    try:
        plan = json.loads(core.preview_restore(json.dumps(target)))
        report = Report()
        show_plan(report, plan, _numbers(turn_ids))
        if not plan["files"]:
            show_nothing(report, plan, target, "claw")
            print(report.output().plain)
            return DONE
        print(report.output().plain, flush=True)
        if plan["conflicts"] and not options.force:
            print(conflict_text(plan, line))
            return FAILED
        if not options.yes and not _is_wanted(f"{line} --yes"):
            return FAILED
        done = json.loads(core.restore(json.dumps(target), force=options.force))
    except RestoreError as error:
        print(f"claw: {str(error).replace('%claw ', 'claw ')}", file=sys.stderr)
        return FAILED
    report = Report()
    show_done(report, done, "claw")
    print(report.output().plain)
    return FAILED if done["failures"] else DONE


def _is_wanted(line: str) -> bool:
    """Asked at a terminal; elsewhere nobody can answer."""
    if not sys.stdin.isatty():
        print(f"Nothing was changed yet: {line} does it.")
        return False
    sys.stderr.write("Put these files back? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return True
    print("Nothing was changed.")
    return False


def _numbers(turn_ids: list[str]) -> dict[str, int]:
    return {turn_id: number for number, turn_id in enumerate(turn_ids, start=1)}
