"""A recorded turn beside the same turn played again: each tool call's result is the same, drifted, missing or refused. And what the
code cells between them show, beside what they showed."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any, Literal, TypeAlias

from claw_kernel.late_dataclass import dataclass
from claw_kernel.messages import ImageBlock, TextBlock, ToolCall, ToolResult, TurnRecord
from claw_kernel.providers.recorded import DIFFERS
from claw_kernel.session.integrity import places_of_record
from claw_kernel.session.normaliser import Normaliser
from claw_kernel.session.outputs import compare_outputs, shown
from claw_kernel.session.packing import is_cut, is_same_text, kept_of_both, unpacked_result
from claw_kernel.session.pieces import cell_text, is_prompt, own_outputs, plain_source

Outcome: TypeAlias = Literal["same", "drifted", "missing", "refused"]
"""``missing``: the call was not reached, or nothing was recorded for it. ``refused``: today's policy did not allow what had been
allowed, or the call was edited."""
OUTCOMES: tuple[Outcome, ...] = ("same", "drifted", "missing", "refused")
_DIFF_LINES = 60


@dataclass(frozen=True)
class CallComparison:
    """``step`` and ``call`` count from 1. ``diff``: unified, of the texts after normalising. ``reason``: one line."""

    step: int
    call: int
    call_id: str
    tool: str
    title: str
    outcome: Outcome
    reason: str = ""
    diff: str = ""


@dataclass(frozen=True)
class TurnComparison:
    """``number`` counts from 1; ``cell`` is the index of its cell. ``problem``: why it was not played to its end."""

    number: int
    turn_id: str
    prompt: str
    cell: int | None
    calls: tuple[CallComparison, ...]
    problem: str = ""
    notices: tuple[str, ...] = ()
    signature: str = ""

    @property
    def outcome(self) -> Outcome:
        """The worst of its calls'; missing where it was not played to its end."""
        return worst((*(call.outcome for call in self.calls), *(("missing",) if self.problem else ())))


@dataclass(frozen=True)
class CellComparison:
    """A code cell's outputs. ``cell``: its index. ``title``: its first line. ``diff`` as of a call, an output's name before each."""

    cell: int
    title: str
    outcome: Outcome
    reason: str = ""
    diff: str = ""


def compare_cell(
    index: int,
    recorded: Mapping[str, Any],
    played: Mapping[str, Any],
    normalise: Callable[[str], str],
    *,
    is_claw_kernel: bool,
) -> CellComparison | None:
    """None where there is nothing to compare: a request, a line command of Claw, or a cell without outputs that were kept."""
    source = cell_text(recorded)
    if recorded.get("cell_type") != "code" or is_prompt(source, is_claw_kernel=is_claw_kernel):
        return None
    plain = plain_source(source, is_claw_kernel=is_claw_kernel).strip()
    if not plain or recorded.get("execution_count") is None:
        return None
    title = plain.splitlines()[0][:80]
    if played.get("execution_count") is None:
        return CellComparison(index, title, "missing", "it was not run")
    before, now = (dict(shown(own_outputs(cell))) for cell in (recorded, played))
    found = list(compare_outputs(before, now, normalise))
    if not found:
        return CellComparison(index, title, "same")
    diffs = [
        f"{one.what}:\n{_diff(normalise(one.before).split(chr(10)), normalise(one.now).split(chr(10)))[0]}"
        for one in found
    ]
    named = ", ".join(one.what for one in found)
    return CellComparison(
        index, title, "drifted", f"{named} {'differs' if len(found) == 1 else 'differ'}", "\n".join(diffs)
    )


def compare_turn(
    number: int, cell: int | None, recorded: TurnRecord, played: TurnRecord | None, normaliser: Normaliser
) -> TurnComparison:
    """``normaliser`` knows this machine's folders; those of the record's are added."""
    normalise = replace(normaliser, places={**normaliser.places, **places_of_record(recorded)})
    results = {result.call_id: result for step in played.steps for result in step.results} if played else {}
    edits = _refusals(played)
    problem = _problem(recorded, played)
    calls = []
    for step_number, step in enumerate(recorded.steps, 1):
        before = {result.call_id: result for result in step.results}
        asked = [block for block in step.content if isinstance(block, ToolCall)]
        for call_number, call in enumerate(asked, 1):
            compared = _compare(before.get(call.id), results.get(call.id), problem, edits.get(call.id, ""), normalise)
            title = _title(before.get(call.id), results.get(call.id), call)
            calls.append(CallComparison(step_number, call_number, call.id, call.name, title, *compared))
    notices = tuple(notice for notice in played.notices if notice.startswith(DIFFERS)) if played else ()
    return TurnComparison(number, recorded.turn_id, recorded.prompt, cell, tuple(calls), problem, notices)


def _problem(recorded: TurnRecord, played: TurnRecord | None) -> str:
    if played is None:
        return "its cell was not run, or showed no turn"
    if played.stop_reason == "end_turn" or played.stop_reason == recorded.stop_reason:
        return ""
    is_over = played.error is not None and played.error.kind == "record_end"
    if is_over and len(played.steps) == len(recorded.steps):
        return ""  # the recorded turn was cut off there too
    said = played.error.message if played.error is not None else str(played.stop_reason)
    return f"it ended before its end: {said}"


def _refusals(played: TurnRecord | None) -> dict[str, str]:
    """Calls that did not run, with the reason the policy or the record's check gave."""
    if played is None:
        return {}
    return {
        approval.call_id: approval.reason if approval.decision == "deny" else approval.message or approval.reason
        for approval in played.approvals
        if approval.decision == "deny" or approval.answer == "deny"
    }


def _compare(
    before: ToolResult | None, after: ToolResult | None, problem: str, refusal: str, normalise: Callable[[str], str]
) -> tuple[Outcome, str, str]:
    if after is None:
        return "missing", problem or "it was not called", ""
    if _is_denied(after) and not (before is not None and _is_denied(before)):
        return "refused", refusal or _text(after), ""
    if before is None:
        return "missing", "no result was recorded", ""
    if _is_denied(before) and _is_denied(after):
        return "same", "denied, as it was", ""
    before, after, is_partial = _alike(before, after)
    old, new = _lines(before, normalise), _lines(after, normalise)
    if old == new:
        return "same", "in the part that the record keeps" if is_partial else "", ""
    diff, changed = _diff(old, new)
    return "drifted", f"{changed} line{'' if changed == 1 else 's'} differ", diff


def _diff(old: list[str], new: list[str]) -> tuple[str, int]:
    """Unified, cut; and how many lines differ."""
    diff = list(difflib.unified_diff(old, new, "recorded", "now", n=2, lineterm=""))
    more = [f"… {len(diff) - _DIFF_LINES} more lines"] if len(diff) > _DIFF_LINES else []
    return "\n".join([*diff[:_DIFF_LINES], *more]), sum(line[:1] in "+-" for line in diff[2:])


def _alike(recorded: ToolResult, now: ToolResult) -> tuple[ToolResult, ToolResult, bool]:
    """Both unpacked. Of texts that differ and are cut only what was kept of both is compared: then True."""
    if not (is_cut(recorded) or is_cut(now)) or len(recorded.content) != len(now.content):
        return unpacked_result(recorded), unpacked_result(now), False
    pairs: list[tuple[TextBlock | ImageBlock, TextBlock | ImageBlock]] = []
    is_partial = False
    for one, other in zip(recorded.content, now.content, strict=True):
        if not isinstance(one, TextBlock) or not isinstance(other, TextBlock):
            pairs.append((one, other))
        elif is_same_text(one, other):
            pairs.append((other, other))
        else:
            is_partial = True
            first, second = kept_of_both(one, other)
            pairs.append((TextBlock(first), TextBlock(second)))
    old, new = zip(*pairs, strict=True)
    return replace(recorded, content=old), replace(now, content=new), is_partial


def _lines(result: ToolResult, normalise: Callable[[str], str]) -> list[str]:
    lines = ["[error]"] if result.is_error else []
    for block in result.content:
        if isinstance(block, TextBlock):
            lines += normalise(block.text).rstrip("\n").split("\n")
        elif isinstance(block, ImageBlock):
            digest = sha256(block.data.encode()).hexdigest()[:16]
            lines.append(f"[{block.media_type}, {len(block.data) * 3 // 4} bytes, sha256 {digest}]")
    return lines


def _is_denied(result: ToolResult) -> bool:
    return result.details.get("status") == "denied"


def _text(result: ToolResult) -> str:
    return " ".join(block.text for block in result.content if isinstance(block, TextBlock)).strip()


def _title(before: ToolResult | None, after: ToolResult | None, call: ToolCall) -> str:
    for result in (after, before):
        if result is not None and result.details.get("title"):
            return str(result.details["title"])
    return call.name


def count_outcomes(found: Iterable[CallComparison | CellComparison]) -> dict[Outcome, int]:
    """How many came out how; each outcome has its entry."""
    outcomes = [one.outcome for one in found]
    return {outcome: outcomes.count(outcome) for outcome in OUTCOMES}


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """``same`` where there are none."""
    found = set(outcomes)
    order: tuple[Outcome, ...] = ("refused", "missing", "drifted")
    return next((outcome for outcome in order if outcome in found), "same")
