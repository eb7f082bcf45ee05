"""Branches in the notebook: what its cells show beside what the model sees, and the way from one branch to another."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from claw_kernel.messages import TurnFinished, TurnRecord
from claw_magics.conversation import check_idle
from claw_magics.screen import publish
from claw_magics.view import TurnView

if TYPE_CHECKING:
    from claw_magics.host import Host

ON_A_BRANCH = "On another branch: the model does not see this turn. `%claw history use {number}` returns to it."
IN_ANOTHER = (
    "In another conversation: the model does not see this turn. `%claw sessions use {session_id}` goes on with it."
)


def go_to(host: Host, turn_id: str) -> None:
    """Go on with the branch, or the conversation, that the turn is on. Raises SessionError. Any thread."""
    check_idle(host, "changed")
    session = host.session
    other = next((record for record in session.others if record.turn_id == turn_id), None)
    if other is not None:
        session.switch(other.session_id)
    session.use(session.newest_end(turn_id))


def bundles(host: Host, turn_ids: Collection[str]) -> list[dict[str, Any]]:
    """What a page shows of these turns in the place of others."""
    session = host.session
    return [
        {"turn_id": record.turn_id, "bundle": finished_bundle(host, record)}
        for record in (*session.others, *session.turns)
        if record.turn_id in turn_ids
    ]


def finished_bundle(host: Host, record: TurnRecord) -> dict[str, Any]:
    """The drawing of a turn from its record."""
    from claw_magics.render import render_bundle

    view = TurnView(record, host.kernel_id, host.agent.gate.core.redact, limit=host.output_limit)
    view.fold(TurnFinished(record))
    return render_bundle(view.document())


def mark_cells(host: Host) -> None:
    """Where no extension marks them: turns of this kernel that have left the conversation, or are back in it, are drawn anew
    with, or without, a line that says so."""
    if host.frontend.has_extension:
        return
    session = host.session
    on_path = {record.turn_id for record in session.records}
    numbers = {record.turn_id: number for number, record in enumerate(session.turns, start=1)}
    for drawn in host.drawn.finished():
        turn_id = drawn.turn_id
        if turn_id in on_path:
            mark = ""
        elif turn_id in numbers:
            mark = ON_A_BRANCH.format(number=numbers[turn_id])
        else:
            mark = IN_ANOTHER.format(session_id=drawn.session_id)
        if drawn.mark != mark and drawn.bundle is not None:
            drawn.mark = mark
            publish(host.ip, _marked(drawn.bundle, mark), display_id=f"claw-{turn_id}", is_update=True)


def _marked(bundle: dict[str, Any], mark: str) -> dict[str, Any]:
    if not mark:
        return bundle
    return {
        **bundle,
        "text/markdown": f"**○** {mark}\n\n{bundle['text/markdown']}",
        "text/plain": f"○ {mark.replace('`', '')}\n{bundle['text/plain']}",
    }
