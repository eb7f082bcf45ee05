"""Is what a notebook holds of a session whole? Everything here reads a stranger's data and changes nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from typing import Any, Literal, TypeAlias

from claw_kernel.errors import SessionError
from claw_kernel.late_dataclass import dataclass
from claw_kernel.messages import FORMAT, ToolCall, TurnRecord
from claw_kernel.session.packing import pack_document, unpacked_record
from claw_kernel.session.record import read_record, write_record
from claw_kernel.session.tree import without_cycles
from claw_kernel.session.upgrade import upgraded

ProblemKind: TypeAlias = Literal["schema", "format", "id", "tree", "pairing", "hash", "carriers", "form", "header"]
"""``schema``: does not fit the record's schema · ``format``: of a newer Claw · ``id``: an id that is missing or there twice ·
``tree``: a parent that is not there, or a circle · ``pairing``: calls and results that do not match · ``hash``: no sha256 ·
``carriers``: two versions of one turn that contradict each other · ``form``: not written as Claw writes it · ``header``."""
HARMLESS: tuple[ProblemKind, ...] = ("form",)
"""Worth knowing, but the session is whole."""
_HASH = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong. ``turn_id``: empty where it is about the whole."""

    kind: ProblemKind
    turn_id: str
    message: str

    @property
    def is_harmless(self) -> bool:
        return self.kind in HARMLESS


@dataclass(frozen=True)
class Check:
    """What was found in a notebook. ``turns``: ids of those that can be read. ``formats``: of the records as they stand."""

    turns: tuple[str, ...]
    formats: tuple[int, ...]
    problems: tuple[Problem, ...]

    @property
    def is_whole(self) -> bool:
        return all(problem.is_harmless for problem in self.problems)


def check_session(documents: Iterable[Any], header: Mapping[str, Any] | None) -> Check:
    """``documents``: all records of a notebook, unvalidated and possibly double (``read_notebook``)."""
    found = list(documents)
    problems: list[Problem] = []
    versions: dict[str, list[TurnRecord]] = {}
    for stored, document in zip(found, upgraded(found), strict=True):
        turn_id = str(document.get("turn_id", "")) if isinstance(document, Mapping) else ""
        try:
            record = read_record(document)
        except SessionError as error:
            version = stored.get("format") if isinstance(stored, Mapping) else None
            is_newer = isinstance(version, int) and version > FORMAT
            problems.append(Problem("format" if is_newer else "schema", turn_id, str(error)))
            continue
        versions.setdefault(record.turn_id, []).append(record)
        if stored is document and not _is_canonical(document, record):
            problems.append(Problem("form", turn_id, "It is not written as Claw writes it."))
    records = {turn_id: max(known, key=_weight) for turn_id, known in versions.items()}
    for turn_id, known in versions.items():
        if any(_contradicts(one, records[turn_id]) for one in known):
            problems.append(Problem("carriers", turn_id, "Metadata and output hold two different versions of it."))
    for record in records.values():
        problems += _record_problems(record, records)
    problems += _tree_problems(records)
    problems += _header_problems(header, records)
    formats = [document.get("format") for document in found if isinstance(document, Mapping)]
    known_formats = sorted({version for version in formats if isinstance(version, int)})
    return Check(tuple(records), tuple(known_formats), tuple(dict.fromkeys(problems)))


def _record_problems(record: TurnRecord, records: Mapping[str, TurnRecord]) -> Iterator[Problem]:
    turn_id = record.turn_id
    if not turn_id:
        yield Problem("id", "", "A turn has no id.")
    if not record.session_id:
        yield Problem("id", turn_id, "It names no session.")
    if record.parent_id and record.parent_id not in records:
        yield Problem("tree", turn_id, f"It goes on from turn {record.parent_id}, which is not there.")
    seen: set[str] = set()
    for number, step in enumerate(record.steps, start=1):
        calls = [block.id for block in step.content if isinstance(block, ToolCall)]
        results = [result.call_id for result in step.results]
        if doubled := (set(calls) & seen) | {call for call in calls if calls.count(call) > 1}:
            yield Problem("id", turn_id, f"Step {number}: call ids are there twice: {', '.join(sorted(doubled))}.")
        seen.update(calls)
        if calls != results:
            yield Problem("pairing", turn_id, f"Step {number}: {_difference(calls, results)}.")
        if step.request_hash and not _HASH.fullmatch(step.request_hash):
            yield Problem("hash", turn_id, f"Step {number}: request_hash is no sha256.")
    known_calls = {approval.call_id for approval in record.approvals}
    if unknown := known_calls - seen:
        yield Problem("pairing", turn_id, f"Decisions about calls that are not there: {', '.join(sorted(unknown))}.")


def _difference(calls: list[str], results: list[str]) -> str:
    missing = [call for call in calls if call not in results]
    extra = [result for result in results if result not in calls]
    if missing:
        return f"no result for {', '.join(missing)}"
    if extra:
        return f"results without a call: {', '.join(extra)}"
    return "results are doubled" if len(results) > len(calls) else "results are not in the order of the calls"


def _tree_problems(records: Mapping[str, TurnRecord]) -> Iterator[Problem]:
    parents = {record.turn_id: record.parent_id for record in records.values()}
    for turn_id, parent in without_cycles(parents).items():
        if parent != parents[turn_id]:
            yield Problem("tree", turn_id, "Turns go on from each other in a circle.")


def _header_problems(header: Mapping[str, Any] | None, records: Mapping[str, TurnRecord]) -> Iterator[Problem]:
    if header is None:
        return
    from pydantic import TypeAdapter, ValidationError

    from claw_kernel.session.header import Header

    try:
        TypeAdapter(Header).validate_python({key: value for key, value in header.items() if key != "branches"})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        yield Problem("header", "", f"The header cannot be read: {where}: {first['msg']}.")
        return
    session_id = header.get("session_id", "")
    # A session without turns is one that was begun on purpose (%claw clear), beside others. Not so of ``off_path``: a turn whose
    # cell was deleted stands there for good.
    for turn_id in header.get("turns", ()):
        if turn_id not in records:
            yield Problem("header", turn_id, "The header lists it, but its record is not there.")
        elif records[turn_id].session_id != session_id:
            yield Problem("header", turn_id, "The header lists it, but its record is of another session.")
    for name in ("instructions_hash", "policy_hash"):
        if header.get(name) and not _HASH.fullmatch(str(header[name])):
            yield Problem("hash", "", f"The header's {name} is no sha256.")


def _is_canonical(document: Mapping[str, Any], record: TurnRecord) -> bool:
    """Key order is no matter: Jupyter servers sort keys. Neither is a long text that is not packed: before texts were, none was."""
    stored = {key: value for key, value in document.items() if key not in ("live", "replaced")}
    written = write_record(record)
    return stored == written or pack_document(deepcopy(stored)) == written


def _weight(record: TurnRecord) -> tuple[int, bool]:
    return len(record.steps), record.stop_reason is not None


def _contradicts(one: TurnRecord, best: TurnRecord) -> bool:
    """An earlier version of a turn is the beginning of the later one."""
    if _weight(one) == _weight(best):
        return one != best and unpacked_record(one) != unpacked_record(best)
    return one.steps != best.steps[: len(one.steps)] or one.prompt != best.prompt
