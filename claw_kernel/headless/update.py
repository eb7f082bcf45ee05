"""Accepting a replay: the new results take the place of the recorded ones, in both carriers of the notebook, and the new outputs that of
code cells' recorded ones."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from claw_kernel.headless.document import cell_of, open_notebook, save_notebook, session_of
from claw_kernel.headless.execution import last_record
from claw_kernel.messages import Step, TurnRecord
from claw_kernel.session import read_record, write_record
from claw_kernel.session.integrity import rechained
from claw_kernel.session.notebook import METADATA_KEY, drawn_records
from claw_kernel.session.packing import unpacked_record
from claw_kernel.session.record import MIME_TYPE, scrub, write_value

if TYPE_CHECKING:
    from claw_kernel.headless.replay import Replay


def update_notebook(it: Replay, drifted: Collection[int] = ()) -> int:
    """How many turns changed. ``drifted``: indexes of the code cells whose outputs are taken over. What the model said, when, and what it cost stays as it was recorded. Raises SessionError."""
    from nbformat import from_dict

    notebook = open_notebook(it.path)
    records = session_of(notebook)[0].records
    assert it.executed is not None
    played = {}
    for record in records:
        index = cell_of(notebook, record)
        if index is not None and (found := last_record(it.executed.cells[index])) is not None:
            played[record.turn_id] = (index, found)
    merged = [
        read_record(_at_home(write_value(unpacked_record(_merged(record, played[record.turn_id][1]))), it))
        if record.turn_id in played
        else record
        for record in records
    ]
    count = 0
    limit = it.settings.record_output_kilobytes * 1000
    for record, whole in zip(records, rechained(merged), strict=True):
        document = write_record(whole, limit=limit)
        updated = read_record(document)
        if updated == record or record.turn_id not in played:
            continue
        count += 1
        index = played[record.turn_id][0]
        cell = notebook.cells[index]
        if cell.metadata.get(METADATA_KEY):
            cell.metadata[METADATA_KEY] = document
        if drawn_records(cell):
            cell.outputs = [from_dict(_at_home(output, it)) for output in it.executed.cells[index].outputs]  # type: ignore[no-untyped-call]
            for output in cell.outputs:
                if MIME_TYPE in output.get("data", {}):
                    output["data"][MIME_TYPE] = document
    for index in drifted:
        notebook.cells[index].outputs = [
            from_dict(_at_home(output, it))  # type: ignore[no-untyped-call]
            for output in it.executed.cells[index].outputs
        ]
    save_notebook(notebook, it.path)
    return count


def _merged(record: TurnRecord, played: TurnRecord) -> TurnRecord:
    """``record`` with the results of ``played``."""
    steps = tuple(_merged_step(old, new) for old, new in zip(record.steps, played.steps, strict=False))
    return replace(
        record,
        content=played.content,
        steps=(*steps, *record.steps[len(steps) :]),
        approvals=played.approvals,
        environment={**record.environment, **played.environment},
    )


def _merged_step(old: Step, new: Step) -> Step:
    return replace(old, content=new.content, results=new.results, request_parts=new.request_parts)


def _at_home(value: Any, it: Replay) -> Any:
    """JSON with the folder it was replayed in called by the name of the workspace it is a copy of."""
    pattern = re.compile(re.escape(it.workspace) + r"(?![\w.-])")
    return scrub(value, lambda text: pattern.sub(lambda _: it.settings.cwd, text))
