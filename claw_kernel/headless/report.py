"""What a replay found, for people (lines of text, Markdown) and for machines (JSON, JUnit)."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree as ET

from claw_kernel.headless.comparison import CallComparison, Outcome, TurnComparison, count_outcomes
from claw_kernel.headless.execution import RunEnd
from claw_kernel.late_dataclass import dataclass
from claw_kernel.question import printable

_MARKS: dict[Outcome, str] = {"same": "✓", "drifted": "≠", "missing": "?", "refused": "✗"}
_PROMPT_CHARACTERS = 70


@dataclass(frozen=True)
class Report:
    """``kinds``: what the comparison looked past. ``notes``: what the person should know of the record itself. ``saved``: where the
    executed notebook went."""

    notebook: str
    turns: tuple[TurnComparison, ...]
    end: RunEnd
    kinds: tuple[str, ...]
    notes: tuple[str, ...] = ()
    saved: str = ""

    @property
    def outcome(self) -> Outcome:
        """The worst of all turns."""
        order: tuple[Outcome, ...] = ("refused", "missing", "drifted")
        found = {turn.outcome for turn in self.turns}
        return next((outcome for outcome in order if outcome in found), "same")

    @property
    def is_same(self) -> bool:
        """Everything ran, and every result is the recorded one."""
        return self.outcome == "same" and self.end.name == "done"

    def summary(self) -> str:
        """One line."""
        counts = count_outcomes(self.turns)
        total = sum(counts.values())
        found = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count) or "nothing to compare"
        if total and counts["same"] == total:
            found = "all same"
        return f"{_count(len(self.turns), 'turn')}, {_count(total, 'tool call')}: {found}"


def text_lines(report: Report) -> list[str]:
    """For a terminal: a line for each turn and call, the diff below what drifted."""
    lines = [f"Replay of {report.notebook}: the model's side from the record, the tools for real.", ""]
    for turn in report.turns:
        lines.append(f"turn {turn.number}  {_prompt(turn)}{f'  [{turn.signature}]' if turn.signature else ''}")
        for call in turn.calls:
            lines.append(f"  {_MARKS[call.outcome]} {call.outcome:<8} {_call_name(call)}{_because(call)}")
            lines += [f"      │ {line}" for line in call.diff.split("\n") if call.diff]
        if turn.problem:
            lines.append(f"  ? {turn.problem}")
        lines += [f"  · {notice}" for notice in turn.notices]
    lines += ["", report.summary()]
    if report.end.name != "done":
        lines.append(f"The run did not reach its end: {report.end.message}")
    lines += [f"Note: {note}" for note in report.notes]
    lines.append(f"Looked past: {', '.join(report.kinds)}.")
    if report.saved:
        lines.append(f"Saved: {report.saved}")
    return [printable(line) for line in lines]


def json_document(report: Report) -> dict[str, Any]:
    """The object of ``--report json``."""
    return {
        "format": 1,
        "notebook": report.notebook,
        "outcome": report.outcome,
        "is_same": report.is_same,
        "end": {"name": report.end.name, "message": report.end.message, "cell": report.end.cell},
        "counts": count_outcomes(report.turns),
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
    }


def write_json(report: Report) -> str:
    return json.dumps(json_document(report), ensure_ascii=False, indent=1) + "\n"


def write_junit(report: Report) -> str:
    """A test suite for each turn, a test case for each call and one for each turn's end."""
    root = ET.Element("testsuites", name="claw replay")
    for turn in report.turns:
        suite = ET.SubElement(root, "testsuite", name=f"turn {turn.number}: {_prompt(turn)}")
        for call in turn.calls:
            name = f"step {call.step}, call {call.call}: {_clean(call.title)}"
            case = ET.SubElement(suite, "testcase", classname=f"{report.notebook}.turn {turn.number}", name=name)
            if call.outcome != "same":
                failure = ET.SubElement(case, "failure", type=call.outcome, message=_clean(call.reason))
                failure.text = _clean(call.diff)
        case = ET.SubElement(suite, "testcase", classname=f"{report.notebook}.turn {turn.number}", name="end")
        if turn.problem:
            ET.SubElement(case, "failure", type="missing", message=_clean(turn.problem))
        suite.set("tests", str(len(suite)))
        suite.set("failures", str(sum(len(item) > 0 for item in suite)))
    suite = ET.SubElement(root, "testsuite", name="notebook", tests="1", failures="0")
    case = ET.SubElement(suite, "testcase", classname=report.notebook, name="ran to its end")
    if report.end.name != "done":
        suite.set("failures", "1")
        ET.SubElement(case, "failure", type=report.end.name, message=_clean(report.end.message))
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _call_name(call: CallComparison) -> str:
    shown = call.title if call.tool in call.title or call.title.startswith("$") else f"{call.tool}: {call.title}"
    return f"step {call.step}, {call.tool} {shown}" if call.title.startswith("$") else f"step {call.step}, {shown}"


def _because(call: CallComparison) -> str:
    return f"  ({call.reason})" if call.reason else ""


def _prompt(turn: TurnComparison) -> str:
    line = " ".join(_clean(turn.prompt).split())
    return line if len(line) <= _PROMPT_CHARACTERS else line[: _PROMPT_CHARACTERS - 1] + "…"


def _clean(text: str) -> str:
    """Without the control characters that neither XML nor a terminal takes."""
    return "".join(char for char in printable(text) if char in "\n\t" or char >= " ")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
