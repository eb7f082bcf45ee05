"""Who wrote the cells of a notebook, as far as its session's records say: the agent, a person, both, or nobody knows.

The agent writes into cells only by calls, which are recorded whole; so a cell that no call wrote is a person's. Where the records
are not whole, or a command or code may have written the file, that cannot be said.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from heapq import nlargest
from pathlib import PurePosixPath
from typing import Any, Literal, TypeAlias

from claw_kernel.late_dataclass import dataclass
from claw_kernel.messages import Approval, TextBlock, ToolCall, ToolResult, TurnRecord
from claw_kernel.session.notebook import notebook_header, notebook_records
from claw_kernel.session.pieces import PYTHON_TOOL, calls_of, cell_record, cell_text, is_claw_notebook, is_prompt

Author: TypeAlias = Literal["human", "agent", "both", "unknown"]

NEAR = 0.6
"""Share of equal text (difflib) from which a cell counts as an agent's text that was changed."""
_FENCED = re.compile(r"^```[^\n`]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INSERTED = re.compile(r"Inserted cell \d+ \(id ([\w-]+), hash ")
_MAX_COMPARED = 20_000
"""Characters of a text that is compared in detail."""
_CANDIDATES = 5
"""Texts that a cell is compared with in detail: those that share most words with it."""
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class _Written:
    """A text that an agent wrote, and by what call. ``has_kept``: lines of what stood in the cell before stayed."""

    text: str
    how: str
    record: TurnRecord
    call_id: str = ""
    cell_id: str = ""
    has_kept: bool = False


def blame(
    document: Mapping[str, Any], records: Sequence[TurnRecord], path: str = "", others: Sequence[TurnRecord] = ()
) -> list[Origin]:
    """One for each cell. ``records``: all of this notebook, on the path or not. ``others``: of sessions in other notebooks, which may
    have edited the file ``path``."""
    name = PurePosixPath(path).name
    written = [found for record in records for found in _written(record, name)]
    written += [found for record in others for found in _written(record, name) if found.how.startswith("written")]
    is_claw_kernel = is_claw_notebook(document)
    by_turn = {record.turn_id: record for record in records}
    by_cell = {record.cell_id: record for record in records if record.cell_id}
    own = {found.cell_id for found in written if found.cell_id and not found.has_kept}
    # Lines that stayed are a person's, unless the agent had written that cell.
    written = [replace(found, has_kept=False) if found.cell_id in own else found for found in written]
    library = _Library(written)
    doubt = _doubt(document, records, others, name)
    origins = []
    for number, cell in enumerate(document.get("cells", ()), start=1):
        source = cell_text(cell)
        kind = str(cell.get("cell_type", ""))
        title = next((line.strip() for line in source.splitlines() if line.strip()), "")[:60]
        found = library.nearest(source, str(cell.get("id", "")))
        if kind == "code" and is_prompt(source, is_claw_kernel=is_claw_kernel):
            shown = cell_record(cell)
            # A cell that was not saved since it ran, or was stripped, shows no turn.
            record = by_turn.get(shown.turn_id, shown) if shown else by_cell.get(str(cell.get("id", "")))
            if record is not None or found is None or not found[1]:
                origins.append(_of_prompt(number, title, source, record, found, doubt))
                continue
            kind = "prompt"
        origins.append(_of_text(number, kind, title, source, found, doubt, cell))
    return origins


def _of_prompt(
    number: int, title: str, source: str, record: TurnRecord | None, found: tuple[_Written, bool] | None, doubt: str
) -> Origin:
    if record is None:
        how = doubt or "a request that was not sent as it stands"
        return Origin(number, "prompt", "unknown" if doubt else "human", how, title)
    is_same = _normal(record.prompt) == _normal(re.sub(r"\A\s*%%claw[^\n]*\n?", "", source))
    author: Author = "human"
    how = "request; its output is the agent's" if is_same else "request, changed since it was sent"
    if found is not None and found[1] and found[0].how.startswith("written"):
        author, how = "agent", f"request that the agent wrote ({found[0].how}, turn {found[0].record.turn_id})"
    elif not is_same and doubt:
        author, how = "unknown", f"{how}; {doubt}"
    asked = [approval for approval in record.approvals if approval.answered_by]
    approver = ", ".join(dict.fromkeys(_approver(approval) for approval in asked))
    return Origin(number, "prompt", author, how, title, record.turn_id, record.model, approver)


def _of_text(
    number: int,
    kind: str,
    title: str,
    source: str,
    found: tuple[_Written, bool] | None,
    doubt: str,
    cell: Mapping[str, Any],
) -> Origin:
    if not source.strip():
        return Origin(number, kind, "unknown", "empty", title)
    if found is None:
        if "injected-parameters" in cell.get("metadata", {}).get("tags", ()):
            return Origin(number, kind, "unknown", "put there by the program that ran the notebook", title)
        return Origin(number, kind, "unknown" if doubt else "human", doubt or "no recorded call wrote it", title)
    written, is_equal = found
    record = written.record
    approval = next((a for a in record.approvals if a.call_id == written.call_id), None)
    how = f"{written.how}{', over a text of which lines stayed' if written.has_kept else ''}"
    author: Author = "agent" if is_equal and not written.has_kept else "both"
    return Origin(
        number,
        kind,
        author,
        how if is_equal else f"{how}, and changed since",
        title,
        record.turn_id,
        record.model,
        _approver(approval) if approval else "",
    )


def _doubt(document: Mapping[str, Any], records: Sequence[TurnRecord], others: Sequence[TurnRecord], name: str) -> str:
    """Why a cell that no call wrote may yet be the agent's, in words; empty where it may not."""
    known = {record.turn_id for record in records}
    header = notebook_header(document) or {}
    listed = [turn for key in ("turns", "off_path") for turn in header.get(key) or () if isinstance(turn, str)]
    stored = {str(found.get("turn_id")) for found in notebook_records(document) if isinstance(found, Mapping)}
    if lost := [turn for turn in dict.fromkeys([*listed, *sorted(stored)]) if turn not in known]:
        return f"turn {lost[0][:40]} is not in the notebook, or cannot be read"
    if not records:
        return "no session is in this notebook"
    for record in (*records, *others):
        for call, result in calls_of(record):
            text = call.input.get("command") or call.input.get("code")
            if result is not None and isinstance(text, str) and name and (name in text or "*.ipynb" in text):
                return f"{call.name} of turn {record.turn_id} named this file, and may have written it"
    return ""


class _Library:
    """What the agent wrote, to be searched by text."""

    def __init__(self, written: Sequence[_Written]) -> None:
        newest_first = list(reversed(written))
        self._texts = [(found, _normal(found.text)) for found in newest_first]
        self._words = [frozenset(_WORD.findall(text)) for _, text in self._texts]
        self._equal = {text: found for found, text in reversed(self._texts)}
        self._of_cell = {found.cell_id: found for found in written if found.cell_id}

    def nearest(self, source: str, cell_id: str) -> tuple[_Written, bool] | None:
        """What is this text, then True, or near it; the newest first."""
        wanted = _normal(source)
        if (found := self._equal.get(wanted)) is not None:
            return found, True
        if cell_id and (found := self._of_cell.get(cell_id)) is not None:
            return found, False
        words = frozenset(_WORD.findall(wanted))
        shares = ((len(words & other) / len(words | other or {""}), -at) for at, other in enumerate(self._words))
        best: tuple[float, _Written] | None = None
        for share, at in nlargest(_CANDIDATES, shares):
            found, text = self._texts[-at]
            likeness = _likeness(wanted, text, best[0] if best else NEAR) if share else 0.0
            if likeness and (best is None or likeness > best[0]):
                best = likeness, found
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
            yield _by_notebook_edit(call, result, record)
        elif call.name == "Write" and place == name and isinstance(given.get("content"), str):
            for text in _cells_of(given["content"]):
                yield _Written(text, "written with Write", record, call.id)
    for step in record.steps:
        for block in step.content:
            if isinstance(block, TextBlock):
                for text in _FENCED.findall(block.text):
                    yield _Written(text, "taken from its answer", record)


def _by_notebook_edit(call: ToolCall, result: ToolResult, record: TurnRecord) -> _Written:
    cell_id, has_kept = str(call.input.get("cell_id") or ""), False
    if call.input.get("edit_mode") == "insert":  # the id given is that of the cell before
        told = " ".join(block.text for block in result.content if isinstance(block, TextBlock))
        cell_id = found[1] if (found := _INSERTED.match(told)) else ""
    else:
        diff = str(result.details.get("diff", "")).split("\n@@", 1)[-1]
        has_kept = any(line[:1] == " " and line.strip() for line in diff.splitlines()[1:])
    return _Written(call.input["new_source"], "written with NotebookEdit", record, call.id, cell_id, has_kept)


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
