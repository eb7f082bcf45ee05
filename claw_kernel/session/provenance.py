"""Who wrote the cells of a notebook, as far as its session's records say: the agent, a person, both, or nobody knows."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal, TypeAlias

from claw_kernel.messages import Approval, TextBlock, TurnRecord
from claw_kernel.session.pieces import PYTHON_TOOL, calls_of, cell_record, cell_text, is_claw_notebook, is_prompt

Author: TypeAlias = Literal["human", "agent", "both", "unknown"]

NEAR = 0.6
"""Share of equal text (difflib) from which a cell counts as an agent's text that was changed."""
_FENCED = re.compile(r"^```[^\n`]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_MAX_COMPARED = 20_000
"""Characters of a text that is compared in detail."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Of one cell. ``cell``: its number among all, from 1. ``how``: on what the verdict stands, in words. ``model`` and
    ``approver`` are empty where no agent had a part, or nothing had to be approved."""

    cell: int
    kind: str
    author: Author
    how: str
    title: str = ""
    turn_id: str = ""
    model: str = ""
    approver: str = ""


@dataclass(frozen=True, slots=True)
class _Written:
    """A text that an agent wrote, and by what call."""

    text: str
    how: str
    record: TurnRecord
    call_id: str = ""
    cell_id: str = ""


def blame(
    document: Mapping[str, Any], records: Sequence[TurnRecord], path: str = "", others: Sequence[TurnRecord] = ()
) -> list[Origin]:
    """One for each cell. ``records``: of this notebook's session. ``others``: of sessions in other notebooks, which may have
    edited the file ``path``."""
    name = PurePosixPath(path).name
    written = [found for record in records for found in _written(record, name)]
    written += [found for record in others for found in _written(record, name) if found.how.startswith("written")]
    is_claw_kernel = is_claw_notebook(document)
    by_turn = {record.turn_id: record for record in records}
    origins = []
    for number, cell in enumerate(document.get("cells", ()), start=1):
        source = cell_text(cell)
        kind = str(cell.get("cell_type", ""))
        title = next((line.strip() for line in source.splitlines() if line.strip()), "")[:60]
        if kind == "code" and is_prompt(source, is_claw_kernel=is_claw_kernel):
            shown = cell_record(cell)
            origins.append(_of_prompt(number, title, source, by_turn.get(shown.turn_id, shown) if shown else None))
        else:
            found = _nearest(source, str(cell.get("id", "")), written)
            origins.append(_of_text(number, kind, title, source, found))
    return origins


def _of_prompt(number: int, title: str, source: str, record: TurnRecord | None) -> Origin:
    if record is None:
        return Origin(number, "prompt", "unknown", "a request that no record goes with", title)
    is_same = _normal(record.prompt) == _normal(re.sub(r"\A\s*%%claw[^\n]*\n?", "", source))
    author: Author = "human" if is_same else "unknown"
    how = "request; its output is the agent's" if is_same else "the request was changed since it was sent"
    asked = [approval for approval in record.approvals if approval.answered_by]
    approver = ", ".join(dict.fromkeys(_approver(approval) for approval in asked))
    return Origin(number, "prompt", author, how, title, record.turn_id, record.model, approver)


def _of_text(number: int, kind: str, title: str, source: str, found: tuple[_Written, bool] | None) -> Origin:
    if not source.strip() or found is None:
        return Origin(number, kind, "unknown", "no recorded call wrote it", title)
    written, is_equal = found
    record = written.record
    approval = next((a for a in record.approvals if a.call_id == written.call_id), None)
    how = written.how if is_equal else f"{written.how}, and changed since"
    author: Author = "agent" if is_equal else "both"
    return Origin(
        number, kind, author, how, title, record.turn_id, record.model, _approver(approval) if approval else ""
    )


def _nearest(source: str, cell_id: str, written: Sequence[_Written]) -> tuple[_Written, bool] | None:
    """What the agent wrote that is this text, or near it; the newest first."""
    wanted = _normal(source)
    for found in reversed(written):
        if _normal(found.text) == wanted:
            return found, True
    for found in reversed(written):
        if cell_id and found.cell_id == cell_id:
            return found, False
    best: tuple[float, _Written] | None = None
    for found in reversed(written):
        share = _likeness(wanted, _normal(found.text), best[0] if best else NEAR)
        if share and (best is None or share > best[0]):
            best = share, found
    return (best[1], False) if best else None


def _likeness(one: str, other: str, at_least: float) -> float:
    """Share of equal text; 0 where it is below ``at_least``."""
    if not one or not other or len(one) > _MAX_COMPARED or len(other) > _MAX_COMPARED:
        return 0.0
    matcher = difflib.SequenceMatcher(None, one, other, autojunk=False)
    if matcher.real_quick_ratio() < at_least or matcher.quick_ratio() < at_least:
        return 0.0
    share = matcher.ratio()
    return share if share >= at_least else 0.0


def _written(record: TurnRecord, name: str) -> Iterable[_Written]:
    """Texts of a turn that may stand in a cell of the notebook called ``name``."""
    for call, result in calls_of(record):
        if result is None or result.is_error:
            continue
        given = call.input
        place = PurePosixPath(str(given.get("notebook_path") or given.get("file_path") or "")).name
        if call.name == PYTHON_TOOL and isinstance(given.get("code"), str):
            yield _Written(given["code"], "code it ran", record, call.id)
        elif call.name == "NotebookEdit" and place == name and isinstance(given.get("new_source"), str):
            how = "written with NotebookEdit"
            yield _Written(given["new_source"], how, record, call.id, str(given.get("cell_id") or ""))
        elif call.name == "Write" and place == name and isinstance(given.get("content"), str):
            for text in _cells_of(given["content"]):
                yield _Written(text, "written with Write", record, call.id)
    for step in record.steps:
        for block in step.content:
            if isinstance(block, TextBlock):
                for text in _FENCED.findall(block.text):
                    yield _Written(text, "taken from its answer", record)


def _cells_of(text: str) -> list[str]:
    """Texts of the cells of a notebook in JSON."""
    try:
        document = json.loads(text)
        return [cell_text(cell) for cell in document["cells"]]
    except (ValueError, TypeError, KeyError, AttributeError):
        return []


def _approver(approval: Approval) -> str:
    if approval.answered_by and approval.answered_by != "policy":
        return f"a person ({approval.answered_by})" if approval.answer != "deny" else "denied"
    return f"rule {approval.rule}" if approval.rule else "policy"


def _normal(text: str) -> str:
    """Without what an editor changes on its own."""
    return "\n".join(line.rstrip() for line in text.strip().splitlines())
