"""What of the records is sent after compaction. Pure: the records hold everything, and a fresh kernel computes the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from claw_kernel.messages import Compaction, ImageBlock, Step, TextBlock, ToolCall, ToolResult, TurnRecord
from claw_kernel.session.packing import whole_characters
from claw_kernel.token_estimate import result_tokens

LEAST_CLEARED_TOKENS = 100
"""A shorter output is never cleared: the line in its place takes some 30 itself."""


def compactions_of(records: Sequence[TurnRecord]) -> Iterator[Compaction]:
    """In the order in which they took effect."""
    for record in records:
        for step in record.steps:
            if step.compaction is not None:
                yield step.compaction


def has_compaction(record: TurnRecord) -> bool:
    return any(step.compaction is not None for step in record.steps)


def compaction_line(compaction: Mapping[str, Any]) -> str:
    """One line for the person, from a compaction as JSON."""
    count = len(compaction.get("cleared", ()))
    what = (
        "the conversation so far is now sent as a summary"
        if compaction.get("summary")
        else (
            f"the output{'' if count == 1 else 's'} of {count} older call{'' if count == 1 else 's'} "
            f"{'is' if count == 1 else 'are'} not sent any more"
        )
    )
    before, after = compaction.get("tokens_before", 0), compaction.get("tokens_after", 0)
    reason = f" ({compaction['reason']})" if compaction.get("reason") else ""
    return f"{what}: about {before:,} → {after:,} tokens{reason}"


def sent_records(records: Sequence[TurnRecord], latest: Compaction | None = None) -> tuple[TurnRecord, ...]:
    """``records`` (of one path, in order) as they go into a transcript: what a summary stands for left out, the summary in
    its place, and cleared outputs as one line each. ``latest``: a compaction that no step holds yet.

    A compaction that names a turn which is not on the path (it was deleted, or belongs to another branch) summarises
    nothing here; what it cleared stays cleared.
    """
    compactions = [*compactions_of(records), *([latest] if latest is not None else [])]
    if not compactions:
        return tuple(records)
    places = {record.turn_id: place for place, record in enumerate(records)}
    cut = next((c for c in reversed(compactions) if c.summary and c.turn_id in places), None)
    kept = list(records)
    if cut is not None:
        kept = kept[places[cut.turn_id] :]
        first = kept[0]
        summary = TextBlock(cut.summary)
        # Where steps of it are summarised too, so is its prompt: the summary holds it word for word.
        content = (summary,) if cut.steps else (summary, *first.content)
        kept[0] = replace(first, content=content, steps=first.steps[cut.steps :])
    cleared = {call_id for compaction in compactions for call_id in compaction.cleared}
    return tuple(_cleared(record, cleared) for record in kept) if cleared else tuple(kept)


def clearable(records: Sequence[TurnRecord]) -> list[tuple[str, int]]:
    """``(call id, tokens)`` of the outputs that could be cleared, oldest first. An id that two calls share is none:
    servers that number calls anew in each answer would lose a recent output with an old one."""
    results = [result for record in records for step in record.steps for result in step.results]
    counts = Counter(result.call_id for result in results)
    sizes = ((result.call_id, result_tokens(result)) for result in results if counts[result.call_id] == 1)
    return [(call_id, size) for call_id, size in sizes if size >= LEAST_CLEARED_TOKENS]


def _cleared(record: TurnRecord, cleared: Collection[str]) -> TurnRecord:
    steps = tuple(_cleared_step(step, cleared) for step in record.steps)
    return replace(record, steps=steps) if any(a is not b for a, b in zip(steps, record.steps, strict=True)) else record


def _cleared_step(step: Step, cleared: Collection[str]) -> Step:
    if not any(result.call_id in cleared for result in step.results):
        return step
    names = {block.id: block.name for block in step.content if isinstance(block, ToolCall)}
    return replace(
        step,
        results=tuple(
            _cleared_result(result, names.get(result.call_id, "a tool")) if result.call_id in cleared else result
            for result in step.results
        ),
    )


def _cleared_result(result: ToolResult, name: str) -> ToolResult:
    images = sum(isinstance(block, ImageBlock) for block in result.content)
    characters = sum(whole_characters(block) for block in result.content if isinstance(block, TextBlock))
    what = f"{characters:,} characters" + (f" and {images} image{'s' if images > 1 else ''}" if images else "")
    line = f"[{what} of output of {name} were removed here to save room. If you need them, ask for them again, a part at a time.]"
    return replace(result, content=(TextBlock(line),))
