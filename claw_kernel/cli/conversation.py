"""A notebook's conversation as text on stdout, printed as its records grow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from claw_kernel.messages import ImageBlock, TurnRecord, Usage
from claw_kernel.question import printable

_RESULT_LINES = 8
_DIFF_LINES = 40


class Conversation:
    """Give it every record as it is drawn (``update``) and every cell when it is done (``show_cell``)."""

    def __init__(self) -> None:
        self._shown_steps: dict[str, int] = {}

    def update(self, document: Mapping[str, Any]) -> None:
        """Print what is new in the record of a turn (JSON form, docs/record.md), running or finished."""
        turn_id = str(document["turn_id"])
        if turn_id not in self._shown_steps:
            self._shown_steps[turn_id] = 0
            _print_block("You", str(document["prompt"]))
        for step in document["steps"][self._shown_steps[turn_id] :]:
            self._shown_steps[turn_id] += 1
            _print_step(step)

    def show_cell(self, cell: Mapping[str, Any]) -> None:
        """Print an ordinary code cell and what it put out; the cells of turns have been printed as records."""
        source = str(cell["source"])
        if cell["cell_type"] != "code" or source.startswith("%%claw"):
            return
        _print_block("Cell", source)
        for output in cell.get("outputs", ()):
            _print_output(output)
        print(flush=True)

    def summary(self, records: Sequence[TurnRecord]) -> str:
        """What the records hold, in one line."""
        calls = sum(len(step.results) for record in records for step in record.steps)
        figures = sum(
            isinstance(block, ImageBlock)
            for record in records
            for step in record.steps
            for result in step.results
            for block in result.content
        )
        usage = sum((record.usage for record in records), Usage())
        approvals = sum(len(record.approvals) for record in records)
        counts = [
            (len(records), "turn"),
            (sum(len(record.steps) for record in records), "step"),
            (calls, "tool call"),
            (approvals, "approval"),
            (figures, "figure"),
        ]
        held = ", ".join(f"{count} {name}{'' if count == 1 else 's'}" for count, name in counts)
        return f"Its record holds {held}; usage {usage.input_tokens:,} tokens in, {usage.output_tokens:,} out"


def _print_block(who: str, text: str) -> None:
    for index, line in enumerate(printable(text).rstrip("\n").split("\n")):
        print(f"{who + ':' if index == 0 else '':>6} {line}".rstrip())
    print(flush=True)


def _print_step(step: Mapping[str, Any]) -> None:
    calls = []
    for block in step["content"]:
        if block["type"] == "text" and block["text"].strip():
            _print_block("Claw", block["text"].strip("\n"))
        elif block["type"] == "tool_call":
            calls.append(block)
    results = {result["call_id"]: result for result in step.get("results", ())}
    for call in calls:
        _print_call(call, results.get(call["id"], {}))
    if calls:
        print(flush=True)


def _print_call(call: Mapping[str, Any], result: Mapping[str, Any]) -> None:
    details = result.get("details", {})
    seconds = details.get("duration_seconds")
    took = f"  ({seconds:.1f} s)" if isinstance(seconds, int | float) else ""
    mark = "✗" if result.get("is_error") else "✓"
    print(f"     {mark} {printable(str(details.get('title') or call['name']))}{took}")
    text = details.get("diff") or "\n".join(
        block["text"] if block["type"] == "text" else f"[{block['media_type']}]" for block in result.get("content", ())
    )
    lines = printable(str(text)).strip("\n").split("\n")
    limit = _DIFF_LINES if "diff" in details else _RESULT_LINES
    for line in lines[:limit]:
        print(f"       │ {line}".rstrip())
    if len(lines) > limit:
        print(f"       │ … {len(lines) - limit} more lines")


def _print_output(output: Mapping[str, Any]) -> None:
    match output["output_type"]:
        case "stream":
            text = output["text"]
        case "error":
            text = f"{output['ename']}: {output['evalue']}"
        case _:
            data = output["data"]
            text = data.get("text/plain", "") if "text/plain" in data else f"[{', '.join(data)}]"
    text = printable("".join(text)).strip("\n")
    if text:
        print("\n".join(f"       {line}".rstrip() for line in text.split("\n")))
