"""What a killed kernel left of this notebook's turns, and taking it back (``%claw history recover``)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from claw_kernel.messages import Event, TurnRecord
from claw_kernel.session.journal import Journal, Lost, find_lost, forget_saved
from claw_kernel.session.record import write_record
from claw_magics.drawn import DrawnTurn
from claw_magics.report import CommandOutput, Report

if TYPE_CHECKING:
    from claw_magics.host import Host


def journal_of(host: Host) -> Callable[[Event], None] | None:
    """Notes the turn that begins; None where no notebook is known that it could be taken back into."""
    path = host.notebook_path
    if not path.endswith(".ipynb"):
        return None
    return Journal(host.agent.settings.state_dir, path, host.agent.gate.core.redact).take


def lost_notices(host: Host) -> list[str]:
    """One line where a killed kernel left a turn, once per kernel."""
    if host.lost is not None:
        return []
    host.lost = _find(host)
    if not host.lost:
        return []
    count = len(host.lost)
    what = "1 turn was" if count == 1 else f"{count} turns were"
    return [f"{what} cut off when the kernel ended: %claw history recover takes back what is left"]


def recover(host: Host) -> CommandOutput:
    """Take the turns in, and show them, so that they are saved with the notebook."""
    host.recall(host.agent.settings.env)
    report = Report()
    found = _find(host)
    host.lost = []
    if not found:
        report.line("Nothing to take back: no turn of this notebook was cut off, or the notebook has them all.")
        return report.output()
    cells = host.outlines.await_cells(host.connection)
    for lost in found:
        _take_in(host, lost)
        place = _show(host, lost.record, cells)
        steps = len(lost.record.steps)
        report.line(
            f"Taken back: “{' '.join(lost.record.prompt.split())[:80]}” with {steps} {'step' if steps == 1 else 'steps'}{place}. Its calls "
            "have run; nothing is done again. Save the notebook to keep it."
        )
    return report.output()


def forget(host: Host, turn_ids: Iterable[str]) -> None:
    """The notebook with these turns is on the disk."""
    forget_saved(host.agent.settings.state_dir, turn_ids)


def _show(host: Host, record: TurnRecord, cells: Sequence[str]) -> str:
    """In the turn's own cell where its page has it among its ``cells``, which asks for what was drawn when this cell has ended; else here. Where it
    stands, in words."""
    from claw_magics.branches import finished_bundle
    from claw_magics.screen import publish

    bundle = finished_bundle(host, record)
    host.drawn.add(DrawnTurn(record.turn_id, record.session_id, record.cell_id, bundle))
    if record.cell_id not in cells:
        publish(host.ip, bundle, display_id=f"claw-{record.turn_id}")
        return ""
    host.ask_page([{"turn_id": record.turn_id}])
    is_overtaken = any(turn.started_at > record.started_at for turn in host.session.replaced_by(record))
    number = cells.index(record.cell_id) + 1
    return f", kept beside the newer turn of cell {number}" if is_overtaken else f", in cell {number}"


def _find(host: Host) -> list[Lost]:
    session = host.session
    path = host.notebook_path
    known = {record.turn_id: record for record in (*session.others, *session.turns)}
    return find_lost(host.agent.settings.state_dir, session.session_id, str(Path(path)) if path else "", known)


def _take_in(host: Host, lost: Lost) -> None:
    session = host.session
    if lost.record.turn_id in {record.turn_id for record in session.turns}:
        session.add(lost.record)  # a fuller version of what the notebook shows
    else:
        session.merge([write_record(lost.record)], is_asked_for=True)
