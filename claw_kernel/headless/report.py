"""What a replay found, for people (lines of text, Markdown) and for machines (JSON, JUnit)."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from operator import itemgetter
from typing import Any
from xml.etree import ElementTree as ET

from claw_kernel.headless.comparison import (
    CallComparison,
    CellComparison,
    Outcome,
    TurnComparison,
    count_outcomes,
    worst,
)
from claw_kernel.headless.execution import RunEnd
from claw_kernel.late_dataclass import dataclass
from claw_kernel.question import printable

_MARKS: dict[Outcome, str] = {"same": "✓", "drifted": "≠", "missing": "?", "refused": "✗"}
_PROMPT_CHARACTERS = 70
_NOT_XML = re.compile("[\x00-\x08\x0b-\x1f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True)
class Report:
    """``cells``: the code cells whose outputs were compared. ``kinds``: what the comparison looked past. ``notes``: what the person should
    know of the record itself. ``saved``: where the executed notebook went."""

    notebook: str
    turns: tuple[TurnComparison, ...]
    cells: tuple[CellComparison, ...]
    end: RunEnd
    kinds: tuple[str, ...]
    notes: tuple[str, ...] = ()
    saved: str = ""

    @property
    def outcome(self) -> Outcome:
        """The worst of all turns and cells."""
        return worst((*(turn.outcome for turn in self.turns), *(cell.outcome for cell in self.cells)))

    @property
    def calls(self) -> tuple[CallComparison, ...]:
        return tuple(call for turn in self.turns for call in turn.calls)

    @property
    def is_same(self) -> bool:
        """Everything ran, and every result is the recorded one."""
        return self.outcome == "same" and self.end.name == "done"

    def summary(self) -> str:
        """One line."""
        parts = [f"{_count(len(self.turns), 'turn')}, {_count(len(self.calls), 'tool call')}: {_found(self.calls)}"]
        if self.cells:
            parts.append(f"{_count(len(self.cells), 'code cell')}: {_found(self.cells)}")
        return "; ".join(parts)


def text_lines(report: Report) -> list[str]:
    """For a terminal: a line for each turn and call, the diff below what drifted."""
    lines = [f"Replay of {report.notebook}: the model's side from the record, the tools for real.", ""]
    places = {turn.turn_id: -1 if turn.cell is None else turn.cell for turn in report.turns}
    below: list[tuple[int, list[str]]] = [(places[turn.turn_id], _turn_lines(turn)) for turn in report.turns]
    below += [(cell.cell, _cell_lines(cell)) for cell in report.cells if cell.outcome != "same"]
    for _, text in sorted(below, key=itemgetter(0)):
        lines += text
    lines += ["", report.summary()]
    if report.end.name != "done":
        lines.append(f"The run did not reach its end: {report.end.message}")
    lines += [f"Note: {note}" for note in report.notes]
    lines.append(f"Looked past: {', '.join(report.kinds)}.")
    if report.saved:
        lines.append(f"Saved: {report.saved}")
    return [printable(line) for line in lines]


def _add_case(suite: ET.Element, place: str, name: str, failure: str, message: str = "", text: str = "") -> None:
    """``failure``: its kind; empty: it passed."""
    case = ET.SubElement(suite, "testcase", classname=place, name=name)
    if failure:
        ET.SubElement(case, "failure", type=failure, message=_clean(message)).text = _clean(text)


def _turn_lines(turn: TurnComparison) -> list[str]:
    lines = [f"turn {turn.number}  {_prompt(turn)}{f'  [{turn.signature}]' if turn.signature else ''}"]
    for call in turn.calls:
        lines.append(f"  {_MARKS[call.outcome]} {call.outcome:<8} {_call_name(call)}{_because(call)}")
        lines += [f"      │ {line}" for line in call.diff.split("\n") if call.diff]
    if turn.problem:
        lines.append(f"  ? {turn.problem}")
    return [*lines, *(f"  · {notice}" for notice in turn.notices)]


def _cell_lines(cell: CellComparison) -> list[str]:
    lines = [f"cell {cell.cell + 1}  {cell.title}", f"  {_MARKS[cell.outcome]} {cell.outcome:<8}{_because(cell)}"]
    return [*lines, *(f"      │ {line}" for line in cell.diff.split("\n") if cell.diff)]


def json_document(report: Report) -> dict[str, Any]:
    """The object of ``--report json``."""
    return {
        "format": 1,
        "notebook": report.notebook,
        "outcome": report.outcome,
        "is_same": report.is_same,
        "end": {"name": report.end.name, "message": report.end.message, "cell": report.end.cell},
        "counts": count_outcomes(report.calls),
        "cell_counts": count_outcomes(report.cells),
        "looked_past": list(report.kinds),
        "notes": list(report.notes),
        "turns": [
            {
                "turn": turn.number,
                "turn_id": turn.turn_id,
                "cell": turn.cell,
                "prompt": turn.prompt,
                "outcome": turn.outcome,
                "problem": turn.problem,
                "notices": list(turn.notices),
                "signature": turn.signature,
                "calls": [
                    {
                        "step": call.step,
                        "call": call.call,
                        "call_id": call.call_id,
                        "tool": call.tool,
                        "title": call.title,
                        "outcome": call.outcome,
                        "reason": call.reason,
                        "diff": call.diff,
                    }
                    for call in turn.calls
                ],
            }
            for turn in report.turns
        ],
        "cells": [
            {
                "cell": cell.cell,
                "title": cell.title,
                "outcome": cell.outcome,
                "reason": cell.reason,
                "diff": cell.diff,
            }
            for cell in report.cells
        ],
    }


def write_json(report: Report) -> str:
    text = json.dumps(json_document(report), ensure_ascii=False, indent=1) + "\n"
    return text.encode("utf-8", "replace").decode()  # a stranger's half of a pair cannot be written


def write_junit(report: Report) -> str:
    """A test suite for each turn, a test case for each call and one for each turn's end; one for code cells; one for the run."""
    root = ET.Element("testsuites", name="claw replay")
    for turn in report.turns:
        suite = ET.SubElement(root, "testsuite", name=f"turn {turn.number}: {_prompt(turn)}")
        place = f"{report.notebook}.turn {turn.number}"
        for call in turn.calls:
            name = f"step {call.step}, call {call.call}: {_clean(call.title)}"
            _add_case(suite, place, name, "" if call.outcome == "same" else call.outcome, call.reason, call.diff)
        _add_case(suite, place, "end", "missing" if turn.problem else "", turn.problem)
    if report.cells:
        suite = ET.SubElement(root, "testsuite", name="code cells")
        for cell in report.cells:
            failure = "" if cell.outcome == "same" else cell.outcome
            name = f"cell {cell.cell + 1}: {_clean(cell.title)}"
            _add_case(suite, f"{report.notebook}.cells", name, failure, cell.reason, cell.diff)
    suite = ET.SubElement(root, "testsuite", name="notebook")
    end = "" if report.end.name == "done" else report.end.name
    _add_case(suite, report.notebook, "ran to its end", end, report.end.message)
    for suite in root:
        suite.set("tests", str(len(suite)))
        suite.set("failures", str(sum(len(item) > 0 for item in suite)))
        suite.set("errors", "0")
    for name in ("tests", "failures", "errors"):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in root)))
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _found(compared: Sequence[CallComparison | CellComparison]) -> str:
    counts = count_outcomes(compared)
    if compared and counts["same"] == len(compared):
        return "all same"
    return ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count) or "nothing to compare"


def _call_name(call: CallComparison) -> str:
    shown = call.title if call.tool in call.title or call.title.startswith("$") else f"{call.tool}: {call.title}"
    return f"step {call.step}, {call.tool} {shown}" if call.title.startswith("$") else f"step {call.step}, {shown}"


def _because(call: CallComparison | CellComparison) -> str:
    return f"  ({call.reason})" if call.reason else ""


def _prompt(turn: TurnComparison) -> str:
    line = " ".join(_clean(turn.prompt).split())
    return line if len(line) <= _PROMPT_CHARACTERS else line[: _PROMPT_CHARACTERS - 1] + "…"


def _clean(text: str) -> str:
    """Without what XML does not take: control characters, halves of pairs, and U+FFFE and U+FFFF."""
    return _NOT_XML.sub("\ufffd", printable(text))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
