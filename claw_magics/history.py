"""``%claw history``, ``fork`` and ``sessions``: the conversation as a tree, and the way to go on elsewhere in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from claw_magics import frontend
from claw_magics.conversation import check_idle, count_turns, first_line
from claw_magics.report import CommandOutput, Report, UsageError, take_nothing, unknown

if TYPE_CHECKING:
    from claw_kernel.messages import TurnRecord
    from claw_magics.host import Host


def history(host: Host, rest: str) -> CommandOutput:
    """The tree, or ``use TURN`` and ``use notebook``."""
    words = rest.split()
    if not words:
        return _show(host)
    if words == ["recover"]:
        from claw_magics.recovery import recover

        check_idle(host, "changed")
        return recover(host)
    if words[0] != "use":
        raise UsageError(unknown("word", words[0], ("use", "recover"), "see %claw help history."))
    if len(words) != 2:
        raise UsageError("%claw history use needs the number of a turn, or the word notebook.")
    return _use_notebook(host) if words[1] == "notebook" else _use(host, words[1])


def complete_history(host: Host, words: Sequence[str]) -> Sequence[str]:
    if not words:
        return ("use", "recover")
    numbers = [str(number) for number in range(1, len(host.session.turns) + 1)]
    return ["notebook", *numbers] if list(words) == ["use"] else ()


def fork(host: Host, rest: str) -> CommandOutput:
    """What comes next goes on from a turn, as a branch of its own."""
    check_idle(host, "changed")
    words = rest.split()
    if len(words) > 1:
        raise UsageError("%claw fork takes one turn: its number (%claw history lists them).")
    records = host.session.records
    if not words and not records:
        raise UsageError("There is no turn yet to go on from.")
    turn = find_turn(host, words[0]) if words else records[-1]
    leaving = host.session.records
    host.session.use(turn.turn_id)
    report = Report()
    numbers = turn_numbers(host)
    report.line(f"The next turn goes on from turn {numbers[turn.turn_id]}: {first_line(turn.prompt)}")
    if leaving and leaving[-1].turn_id != turn.turn_id:
        report.line(f"%claw history use {numbers[leaving[-1].turn_id]} returns to where you were.")
    else:
        report.line(f"%claw history use {numbers[turn.turn_id]} returns here later.")
    return report.output()


def complete_turns(host: Host, words: Sequence[str]) -> Sequence[str]:
    return () if words else [str(number) for number in range(1, len(host.session.turns) + 1)]


def sessions(host: Host, rest: str) -> CommandOutput:
    """The conversations of this notebook and kernel, or ``use ID``."""
    words = rest.split()
    if words[:1] == ["use"] and len(words) == 2:
        check_idle(host, "changed")
        host.session.switch(words[1])
        return _sessions(host, "The next turn goes on in it; the cells of the others stay as they are.")
    take_nothing("sessions", rest)
    return _sessions(host, "%claw sessions use ID goes on with another one; %claw clear begins a new one.")


def complete_sessions(host: Host, words: Sequence[str]) -> Sequence[str]:
    if not words:
        return ("use",)
    return sorted({record.session_id for record in host.session.others}) if list(words) == ["use"] else ()


def branch_notices(host: Host) -> list[str]:
    """What a person should know of the turn that begins: turns that leave the conversation, and an order of cells that is not
    the order of the conversation (once for each order)."""
    session, cell_id = host.session, frontend.cell_id_of(host.kernel)
    found = []
    if count := len(session.following(cell_id)):
        found.append(
            f"{count_turns(count)} after this cell's earlier one {'is' if count == 1 else 'are'} on a branch now and not sent: "
            "%claw history shows the way back"
        )
    if not found and (order := _other_order(host, cell_id)):
        found.append(order)
    return found


def find_turn(host: Host, word: str) -> TurnRecord:
    """By number or id. Raises UsageError."""
    turns = host.session.turns
    found = next((turn for turn in turns if turn.turn_id == word), None)
    if found is None and word.isascii() and word.isdecimal() and 1 <= int(word[:9]) <= len(turns):
        found = turns[int(word) - 1]
    if found is None:
        raise UsageError(unknown("turn", word, (), f"%claw history lists {len(turns)}."))
    return found


def turn_numbers(host: Host) -> dict[str, int]:
    """Turns are counted in the order they began, on all branches."""
    return {record.turn_id: number for number, record in enumerate(host.session.turns, start=1)}


def _show(host: Host) -> CommandOutput:
    session = host.session
    report = Report()
    if not session.turns:
        report.line("No turn yet.")
        return report.output()
    numbers = turn_numbers(host)
    path = [record.turn_id for record in session.records]
    lines = []
    for indent, turn in session.drawing():
        mark = "●" if turn.turn_id in path else "○"
        here = "   ◀ the next turn goes on here" if path and turn.turn_id == path[-1] else ""
        ended = "" if turn.stop_reason == "end_turn" else f" ({turn.stop_reason or 'running'})"
        lines.append(f"{indent}{mark} {numbers[turn.turn_id]}  {first_line(turn.prompt)}{ended}{here}")
    report.block("\n".join(lines))
    if len(path) < len(lines):
        other = next(record for record in reversed(session.turns) if record.turn_id not in path)
        report.line(
            f"● is what the model sees. %claw history use {numbers[other.turn_id]} goes on with the branch of turn "
            f"{numbers[other.turn_id]}; %claw fork TURN goes on right after a turn."
        )
    wanted = session.in_notebook_order(host.outlines.cells(host.connection))
    if wanted != path:
        order = ", ".join(str(numbers[turn_id]) for turn_id in wanted)
        report.line(
            f"In the notebook the cells stand in another order: {order}. %claw history use notebook makes it the order of the "
            "conversation; without it, it stays as it ran."
        )
    if session.others:
        report.line(f"{count_turns(len(session.others))} of other conversations: %claw sessions.")
    return report.output()


def _use(host: Host, word: str) -> CommandOutput:
    check_idle(host, "changed")
    turn = find_turn(host, word)
    session = host.session
    before = session.records
    session.use(session.newest_end(turn.turn_id))
    report = Report()
    report.line(f"The conversation goes on from turn {turn_numbers(host)[session.records[-1].turn_id]}.")
    cells = {session.cell_of(record.turn_id) for record in before} - {""}
    on_path = {record.turn_id for record in session.records}
    hidden = [record for record in before if record.turn_id not in on_path]
    if hidden and any(session.cell_of(record.turn_id) in cells for record in session.records):
        report.line(
            f"Cells that ran again since still show what came later ({count_turns(len(hidden))}), which the model no longer sees."
        )
    return _with_tree(host, report)


def _use_notebook(host: Host) -> CommandOutput:
    check_idle(host, "changed")
    session = host.session
    cells = host.outlines.await_cells(host.connection)
    if not cells:
        raise UsageError(
            "The order of the cells is not known here: that needs JupyterLab or Notebook 7 with the extension."
        )
    session.arrange(session.in_notebook_order(cells))
    report = Report()
    report.line("The order of the cells in the notebook is the order of the conversation now.")
    return _with_tree(host, report)


def _with_tree(host: Host, report: Report) -> CommandOutput:
    first, tree = report.output(), _show(host)
    return CommandOutput(f"{first.markdown}\n\n{tree.markdown}", f"{first.plain}\n{tree.plain}")


def _sessions(host: Host, last: str) -> CommandOutput:
    session = host.session
    found: dict[str, list[TurnRecord]] = {session.session_id: list(session.turns)}
    for record in session.others:
        found.setdefault(record.session_id, []).append(record)
    rows = [
        (
            "●" if session_id == session.session_id else "",
            session_id,
            str(len(turns)),
            turns[0].started_at[:19].replace("T", " ") if turns else "",
            first_line(turns[0].prompt) if turns else "",
        )
        for session_id, turns in found.items()
    ]
    report = Report()
    report.table(("", "Conversation", "Turns", "Began (UTC)", "First request"), rows)
    report.line(last)
    return report.output()


def _other_order(host: Host, cell_id: str) -> str:
    cells = host.outlines.cells(host.connection)
    session = host.session
    path = [record.turn_id for record in session.records]
    if not cells or not path:
        return ""
    place = {known: index for index, known in enumerate(cells)}
    is_moved = session.in_notebook_order(cells) != path
    known_cells = [place[cell] for turn_id in path if (cell := session.cell_of(turn_id)) in place]
    is_between = cell_id in place and cell_id not in {session.cell_of(t) for t in path} and known_cells != []
    is_above = is_between and place[cell_id] < max(known_cells)
    order = tuple(cell for cell in cells if cell == cell_id or cell in {session.cell_of(t) for t in path})
    if not (is_moved or is_above) or order == host.told_order:
        return ""
    host.told_order = order
    return "the cells stand in another order than they ran, which the model sees: %claw history says what you can do"
