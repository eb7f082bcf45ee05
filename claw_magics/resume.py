"""``%claw resume``, and what a fresh kernel says before its first turn: the namespace beside the one that was recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from claw_kernel.errors import SessionError
from claw_kernel.session.environment import (
    Comparison,
    Rebuilding,
    compare,
    describe,
    note_for_model,
    rebuild,
)
from claw_magics.fingerprint import surroundings
from claw_magics.report import CommandOutput, Report, UsageError

if TYPE_CHECKING:
    from claw_kernel.session.pieces import Piece
    from claw_magics.host import Host


def reconcile(host: Host) -> str:
    """One line for the cell, empty where the namespace is the recorded one or none was recorded; tells the model."""
    found = _compare(host)
    if found is None or found.is_same:
        return ""
    host.tell_model(note_for_model(found, _rebuilding(host, found)))
    return f"This kernel is new: {describe(found)}. %claw resume shows it all, and what rebuilds it."


def resume(host: Host, rest: str) -> CommandOutput:
    """The comparison as tables; with ``--run`` the code that rebuilds the namespace is run, after it was shown and confirmed."""
    options = set(rest.split())
    if options - {"--run", "--yes"}:
        raise UsageError("%claw resume takes --run (run the cells that rebuild it) and --yes (without asking).")
    host.recall(host.agent.settings.env)
    found = _compare(host)
    report = Report()
    if found is None:
        report.line("No turn from before this kernel says what it ran on, so there is nothing to compare with.")
        return report.output()
    if found.is_same:
        report.line("The namespace has what the last turn left in it, on the same versions.")
        return report.output()
    report.line(f"Compared with the end of the last turn before this kernel: {describe(found)}.")
    rows = [(name, text, "gone") for name, text in found.gone.items()]
    rows += [(name, then, now) for name, (then, now) in {**found.differing, **found.versions}.items()]
    report.table(("Name", "Was", "Is"), rows)
    rebuilding = _rebuilding(host, found)
    _show_rebuilding(report, rebuilding, host)
    if "--run" not in options or not rebuilding.pieces:
        return report.output()
    count = len(rebuilding.pieces)
    question = f"Run {'this piece' if count == 1 else f'these {count} pieces'} of code now?"
    if "--yes" not in options:
        answer = host.confirm(report.output(), question)
        if answer is None:
            report.line("Nobody can be asked here: run %claw resume --run --yes.")
            return report.output()
        report = Report()
        if not answer:
            report.line("Nothing was run.")
            return report.output()
    if (runs := _page_runs(host, rebuilding.pieces)) is not None:
        host.ask_page(runs)
        report.line(
            "They run now, as if you ran them one after the other, until one fails; %claw resume then says what is still missing."
        )
        return report.output()
    _run(host, rebuilding.pieces, report)
    left = _compare(host)
    report.line("All is as it was." if left is None or left.is_same else f"Still: {describe(left)}.")
    return report.output()


def _compare(host: Host) -> Comparison | None:
    then = host.recorded_environment
    if not then:
        return None
    ip = host.ip
    return compare(then, surroundings(ip.user_ns, getattr(ip, "user_ns_hidden", {})))


def _rebuilding(host: Host, found: Comparison) -> Rebuilding:
    return rebuild(_pieces(host), found.names)


def _pieces(host: Host) -> list[Piece]:
    """The notebook's code as its file has it; nothing where the file is not known or cannot be read."""
    from claw_kernel.session.pieces import read_pieces

    return read_pieces(_document(host))


def _document(host: Host) -> Mapping[str, Any]:
    from claw_kernel.session.notebook_file import NotebookFile

    path = host.notebook_path
    try:
        return NotebookFile(path).document if path.endswith(".ipynb") else {}
    except SessionError:
        return {}


def _page_runs(host: Host, pieces: tuple[Piece, ...]) -> list[dict[str, str]] | None:
    """For the page: a person's cells by their ids, so that their outputs appear in them, and the agent's code, whose outputs its turn
    shows. None where no page has the cells."""
    ids = [str(cell.get("id", "")) for cell in _document(host).get("cells", ())]
    # First: only a page that has spoken is known to have the extension.
    said = host.outlines.await_cells(host.connection)
    known = said if host.frontend.has_extension else ()
    cells = [ids[piece.cell - 1] for piece in pieces]
    if not set(known).issuperset(cells):
        return None
    return [
        {"cell_id": cell} if piece.by == "person" else {"code": piece.source}
        for piece, cell in zip(pieces, cells, strict=True)
    ]


def _show_rebuilding(report: Report, rebuilding: Rebuilding, host: Host) -> None:
    if rebuilding.pieces:
        report.line("These rebuild it, in this order (%claw resume --run runs them):")
        by = {"person": "cell", "agent": "the agent's code in cell", "answer": "the answer in cell"}
        report.table(("Code", "Begins"), [(f"{by[piece.by]} {piece.cell}", piece.title) for piece in rebuilding.pieces])
    if rebuilding.without:
        report.line(f"No code in the notebook's file makes {', '.join(rebuilding.without)}.")
    if rebuilding.unread:
        report.line(f"Could not be read as Python: cell {', cell '.join(map(str, rebuilding.unread))}.")
    if not host.notebook_path.endswith(".ipynb"):
        report.line("The notebook's file is not known here, so no cells can be offered.")


def _run(host: Host, pieces: tuple[Piece, ...], report: Report) -> None:
    """As the person's own cells, until one fails."""
    for piece in pieces:
        if piece.code.awaits:
            report.line(f"Cell {piece.cell} awaits, which cannot be done from here: run it yourself, then this again.")
            return
        result: Any = host.ip.run_cell(piece.source, store_history=False)
        if not result.success:
            report.line(f"Cell {piece.cell} failed, and what comes behind it was not run.")
            return
    count = len(pieces)
    report.line(f"{count} {'piece' if count == 1 else 'pieces'} of code run.")
