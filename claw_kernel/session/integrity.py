"""Whether a record is what was sent on when it was made: each stored request vouches for the step before it.

This finds what was edited by hand, and what a merge got wrong. It proves nothing against somebody who makes the digests anew: for
that there are signatures, and whatever a record says, its calls are judged by today's policy like any others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from claw_kernel.late_dataclass import dataclass
from claw_kernel.messages import Step, TurnRecord
from claw_kernel.session.compaction import sent_records
from claw_kernel.session.packing import is_cut, unpacked_result
from claw_kernel.session.record import scrub
from claw_kernel.session.request_hash import START, extend_chain, places_of, request_hash, without_places
from claw_kernel.session.turn_messages import turn_messages


@dataclass(frozen=True)
class Edit:
    """Something that is not what the model was sent. ``step`` counts from 0; None: the prompt, or what lies before the turn."""

    turn_id: str
    step: int | None
    what: str


@dataclass(frozen=True)
class Check:
    """``unchecked``: steps with calls that no later request vouches for, such as those of a turn that was cut off, and those with a
    result that is not whole in the record (``packing.py``): what the request held of it cannot be made again."""

    edits: tuple[Edit, ...]
    unchecked: int


def places_of_record(record: TurnRecord) -> dict[str, str]:
    """The folders of the machine the record was made on, as far as it names them."""
    return places_of(str(record.environment.get("workspace") or ""), str(record.environment.get("home") or ""))


def check_records(records: Sequence[TurnRecord]) -> Check:
    """``records``: the turns of a session in order."""
    edits: list[Edit] = []
    unchecked = 0
    own = vouched = START
    pending: tuple[str, int | None, bool] = ("", None, False)
    """What the next request vouches for: turn, step, and whether that step has calls."""
    is_uncertain = False
    """Whether something has come since the last request that says what it was made of which cannot be made again: a result
    that is not whole in the record, a compacted conversation with something edited in it."""
    for place, record in enumerate(records):
        clean = _cleaner(record)
        own, vouched = (extend_chain(chain, "user", record.content, clean) for chain in (own, vouched))
        if not pending[2]:
            pending = (record.turn_id, None, False)
        for index, step in enumerate(record.steps):
            parts = step.request_parts
            if step.compaction is not None:
                compacted = _compacted_chain((*records[:place], record), index)
                own = vouched = compacted or START
                is_uncertain = not compacted or bool(edits)  # an edit that was found may be sent once more
            if parts is None or not parts.messages:
                unchecked += pending[2]
            else:
                model = record.model.partition("/")[2]
                is_whole = request_hash(model, parts) == step.request_hash
                if _follows(record, index) and parts.messages not in (own, vouched):
                    if is_uncertain:
                        unchecked += 1
                    else:
                        edits.append(Edit(pending[0], pending[1], "is not what the next request was made of"))
                elif not is_whole:
                    edits.append(Edit(record.turn_id, index, "has a request hash that does not fit its parts"))
                vouched, is_uncertain = parts.messages, False
            results = tuple(map(unpacked_result, step.results))
            is_uncertain = is_uncertain or any(map(is_cut, step.results))
            for role, blocks in (("assistant", step.content), ("user", results)):
                own, vouched = (extend_chain(chain, role, blocks, clean) for chain in (own, vouched))
            pending = (record.turn_id, index, bool(step.results))
        if not record.steps:
            note = turn_messages(record, "")[-1]
            own, vouched = (extend_chain(chain, note.role, note.content, clean) for chain in (own, vouched))
    return Check(tuple(edits), unchecked + pending[2])


def rechained(records: Sequence[TurnRecord]) -> list[TurnRecord]:
    """``records`` with requests hashed as what they hold now would have been: for who has changed results on purpose."""
    chain = START
    found: list[TurnRecord] = []
    for record in records:
        clean, model = _cleaner(record), record.model.partition("/")[2]
        steps: list[Step] = []
        chain = extend_chain(chain, "user", record.content, clean)
        for index, step in enumerate(record.steps):
            parts = step.request_parts
            if step.compaction is not None:
                current = replace(record, steps=(*steps, *record.steps[index:]))
                chain = _compacted_chain((*found, current), index) or (parts.messages if parts else chain)
            if parts is not None and _follows(record, index):
                parts = replace(parts, messages=chain)
                step = replace(step, request_parts=parts, request_hash=request_hash(model, parts))  # noqa: PLW2901
            steps.append(step)
            for role, blocks in (("assistant", step.content), ("user", tuple(map(unpacked_result, step.results)))):
                chain = extend_chain(chain, role, blocks, clean)
        if not steps:
            note = turn_messages(record, "")[-1]
            chain = extend_chain(chain, note.role, note.content, clean)
        found.append(replace(record, steps=tuple(steps)))
    return found


def _compacted_chain(records: Sequence[TurnRecord], index: int) -> str:
    """The digest of what was sent for step ``index`` of the last record, before which the conversation was compacted. Empty where
    that cannot be made again: a result is not whole in the record, or an id stands for two calls and one was sent under another."""
    last = records[-1]
    current = replace(last, steps=last.steps[:index])
    chain = START
    seen: set[str] = set()
    for record in sent_records((*records[:-1], current), last.steps[index].compaction):
        messages = turn_messages(record, "")
        if record.turn_id == last.turn_id and not record.steps:
            messages.pop()  # the note that a turn without steps was not answered
        for message in messages:
            chain = extend_chain(chain, message.role, message.content, _cleaner(record))
        results = [result for step in record.steps for result in step.results]
        if any(map(is_cut, results)) or any(result.call_id in seen for result in results):
            return ""
        seen.update(result.call_id for result in results)
    return chain


def _cleaner(record: TurnRecord) -> Callable[[Any], Any]:
    places = places_of_record(record)
    return lambda value: scrub(value, lambda text: without_places(text, places))


def _follows(record: TurnRecord, index: int) -> bool:
    """Whether the request of the step is the transcript and no more. After an answer that was cut off the model is asked to go
    on, in words that no record keeps; such a step has no calls."""
    return index == 0 or bool(record.steps[index - 1].results)
