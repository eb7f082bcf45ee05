"""Whether a record is what was sent on when it was made: each stored request vouches for the step before it.

This finds what was edited by hand, and what a merge got wrong. It proves nothing against somebody who makes the digests anew: for
that there are signatures, and whatever a record says, its calls are judged by today's policy like any others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from claw_kernel.messages import TurnRecord
from claw_kernel.session.packing import is_cut, unpacked_result
from claw_kernel.session.record import scrub
from claw_kernel.session.request_hash import START, extend_chain, places_of, request_hash, without_places
from claw_kernel.session.turn_messages import turn_messages


@dataclass(frozen=True, slots=True)
class Edit:
    """Something that is not what the model was sent. ``step`` counts from 0; None: the prompt, or what lies before the turn."""

    turn_id: str
    step: int | None
    what: str


@dataclass(frozen=True, slots=True)
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
    is_after_cut = False
    """Whether a result that is not whole has come since the last request that says what it was made of."""
    for record in records:
        clean = _cleaner(record)
        own, vouched = (extend_chain(chain, "user", record.content, clean) for chain in (own, vouched))
        if not pending[2]:
            pending = (record.turn_id, None, False)
        for index, step in enumerate(record.steps):
            parts = step.request_parts
            if parts is None or not parts.messages:
                unchecked += pending[2]
            else:
                model = record.model.partition("/")[2]
                is_whole = request_hash(model, parts) == step.request_hash
                if step.compaction is None and _follows(record, index) and parts.messages not in (own, vouched):
                    if is_after_cut:
                        unchecked += 1
                    else:
                        edits.append(Edit(pending[0], pending[1], "is not what the next request was made of"))
                elif not is_whole:
                    edits.append(Edit(record.turn_id, index, "has a request hash that does not fit its parts"))
                vouched, is_after_cut = parts.messages, False
            results = tuple(map(unpacked_result, step.results))
            is_after_cut = is_after_cut or any(map(is_cut, step.results))
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
    found = []
    for record in records:
        clean, model, steps = _cleaner(record), record.model.partition("/")[2], []
        chain = extend_chain(chain, "user", record.content, clean)
        for index, step in enumerate(record.steps):
            if step.request_parts is not None and step.compaction is None and _follows(record, index):
                parts = replace(step.request_parts, messages=chain)
                step = replace(step, request_parts=parts, request_hash=request_hash(model, parts))  # noqa: PLW2901
            steps.append(step)
            for role, blocks in (("assistant", step.content), ("user", tuple(map(unpacked_result, step.results)))):
                chain = extend_chain(chain, role, blocks, clean)
        if not steps:
            note = turn_messages(record, "")[-1]
            chain = extend_chain(chain, note.role, note.content, clean)
        found.append(replace(record, steps=tuple(steps)))
    return found


def _cleaner(record: TurnRecord) -> Callable[[Any], Any]:
    places = places_of_record(record)
    return lambda value: scrub(value, lambda text: without_places(text, places))


def _follows(record: TurnRecord, index: int) -> bool:
    """Whether the request of the step is the transcript and no more. After an answer that was cut off the model is asked to go
    on, in words that no record keeps; such a step has no calls."""
    return index == 0 or bool(record.steps[index - 1].results)
