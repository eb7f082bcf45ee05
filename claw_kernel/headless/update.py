"""Accepting a replay: the new results take the place of the recorded ones, in both carriers of the notebook."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from claw_kernel.headless.document import cell_of, open_notebook, save_notebook, session_of
from claw_kernel.headless.execution import last_record
from claw_kernel.messages import Step, TurnRecord
from claw_kernel.session import read_record, write_record
from claw_kernel.session.notebook import METADATA_KEY, drawn_records
from claw_kernel.session.record import MIME_TYPE, scrub
from claw_kernel.session.request_hash import request_hash

if TYPE_CHECKING:
    from claw_kernel.headless.replay import Replay


def update_notebook(it: Replay) -> int:
    """How many turns changed. What the model said, when, and what it cost stays as it was recorded. Raises SessionError."""
    notebook = open_notebook(it.path)
    records = session_of(notebook)[0].records
    assert it.executed is not None
    count = 0
    for record in records:
        index = cell_of(notebook, record)
        played = last_record(it.executed.cells[index]) if index is not None else None
        if index is None or played is None:
            continue
        updated = _at_home(_merged(record, played), it.workspace, it.settings.cwd)
        document = write_record(updated)
        count += document != write_record(record)
        cell, executed = notebook.cells[index], it.executed.cells[index]
        if cell.metadata.get(METADATA_KEY):
            cell.metadata[METADATA_KEY] = document
        if drawn_records(cell):
            cell.outputs = executed.outputs
            for output in cell.outputs:
                if MIME_TYPE in output.get("data", {}):
                    output["data"][MIME_TYPE] = document
    save_notebook(notebook, it.path)
    return count


def _merged(record: TurnRecord, played: TurnRecord) -> TurnRecord:
    """``record`` with the results of ``played``, and requests hashed as they would have been."""
    model = record.model.partition("/")[2]
    steps = tuple(_merged_step(old, new, model) for old, new in zip(record.steps, played.steps, strict=False))
    return replace(
        record,
        content=played.content,
        steps=(*steps, *record.steps[len(steps) :]),
        approvals=played.approvals,
        environment={**record.environment, **played.environment},
    )


def _merged_step(old: Step, new: Step, model: str) -> Step:
    hashed = request_hash(model, new.request_parts) if new.request_parts is not None else ""
    return replace(old, content=new.content, results=new.results, request_hash=hashed, request_parts=new.request_parts)


def _at_home(record: TurnRecord, ran_in: str, workspace: str) -> TurnRecord:
    """``record`` with the folder it was replayed in called by the name of the workspace it is a copy of."""
    if ran_in == workspace:
        return record
    pattern = re.compile(re.escape(ran_in) + r"(?![\w.-])")
    return read_record(scrub(write_record(record), lambda text: pattern.sub(lambda _: workspace, text)))
