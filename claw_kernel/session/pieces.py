"""A notebook as the pieces of code that ran in its namespace: cells of a person's, and what the agent ran for the others."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field, replace
from typing import Any

from claw_kernel.errors import SessionError
from claw_kernel.late_dataclass import dataclass
from claw_kernel.messages import TextBlock, ToolCall, ToolResult, TurnRecord, answer_text
from claw_kernel.session.notebook import METADATA_KEY, drawn_records
from claw_kernel.session.record import read_record
from claw_kernel.session.slicing import Code, read_code

PYTHON_TOOL = "Python"
_PROMPT = re.compile(r"\s*%%claw\b([^\r\n]*)")
_COMMAND = re.compile(r"\s*/[A-Za-z][\w-]*(?:[ \t][^\r\n]*)?\s*\Z")
_PYTHON_CELL = re.compile(r"\s*%%python[ \t]*(?:\r?\n|\Z)")
_CLAW_LINE = re.compile(
    r"^[ \t]*(?:%(?:re)?load_ext[ \t]+claw_magics\b|%claw\b|(?:import|from)[ \t]+claw_(?:magics|kernel)\b).*(?:\r?\n|\Z)",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Piece:
    """``cell``: number of its cell among all cells, from 1. ``by``: ``person`` (a cell's own text), ``agent`` (a call of the Python
    tool) or ``answer`` (a value that the turn's answer was bound to). ``outputs``: as nbformat has them; of the agent's code only
    what its result keeps, and ``is_cut`` where that is not all."""

    cell: int
    by: str
    source: str
    code: Code
    outputs: tuple[dict[str, Any], ...] = ()
    turn_id: str = ""
    call_id: str = ""
    is_last_of_turn: bool = False
    is_cut: bool = False
    is_failed: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Its first line that says something."""
        lines = [line.strip() for line in self.source.splitlines() if line.strip()]
        line = next((line for line in lines if not line.startswith("#")), lines[0] if lines else "")
        return line if len(line) <= 80 else line[:79] + "…"


def is_claw_notebook(document: Mapping[str, Any]) -> bool:
    """Whether its kernel is the Claw kernel, in which a cell is a prompt."""
    metadata = document.get("metadata", {})
    return bool(metadata.get("kernelspec", {}).get("name") == "claw")


def is_prompt(source: str, *, is_claw_kernel: bool) -> bool:
    """Whether a cell with this text goes to the model."""
    if _PROMPT.match(source):
        return True
    text = source.strip()
    return is_claw_kernel and bool(text) and text[0] not in "%!" and not _COMMAND.match(source)


def plain_source(source: str, *, is_claw_kernel: bool) -> str:
    """The Python of a cell that is no prompt, without what speaks of Claw."""
    if is_claw_kernel:
        if _COMMAND.match(source):
            return ""
        if (mark := _PYTHON_CELL.match(source)) is not None:
            source = source[mark.end() :]
    return _CLAW_LINE.sub("", source)


def read_pieces(document: Mapping[str, Any], *, with_failed: bool = False) -> list[Piece]:
    """In the order of the notebook, which is the session's. ``with_failed``: also code of the agent that raised an error, and may have
    done something before it did."""
    is_claw_kernel = is_claw_notebook(document)
    pieces: list[Piece] = []
    for number, cell in enumerate(document.get("cells", ()), start=1):
        if cell.get("cell_type") != "code":
            continue
        source = cell_text(cell)
        if is_prompt(source, is_claw_kernel=is_claw_kernel):
            record = cell_record(cell)
            if record is not None:
                pieces += [piece for piece in _of_turn(number, source, record) if with_failed or not piece.is_failed]
            continue
        text = plain_source(source, is_claw_kernel=is_claw_kernel)
        if text.strip():
            outputs = own_outputs(cell)
            is_failed = any(output.get("output_type") == "error" for output in outputs)
            code = _code(text, is_failed=is_failed)
            pieces.append(
                Piece(number, "person", text, code, outputs, is_failed=is_failed, metadata=cell.get("metadata", {}))
            )
    return pieces


def own_outputs(cell: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """A cell's outputs without records of turns."""
    return tuple(output for output in cell.get("outputs", ()) if not is_record(output))


def cell_text(cell: Mapping[str, Any]) -> str:
    """A cell's source, which files may hold as a list of lines."""
    source = cell.get("source", "")
    return source if isinstance(source, str) else "".join(source)


def cell_record(cell: Mapping[str, Any]) -> TurnRecord | None:
    """The turn that a cell shows, from whichever carrier has more of it; None where there is none that can be read."""
    found: list[TurnRecord] = []
    for stored in (cell.get("metadata", {}).get(METADATA_KEY), *drawn_records(cell)):
        try:
            found += [read_record(stored)] if stored else []
        except SessionError:
            continue
    return max(found, key=lambda record: (len(record.steps), record.stop_reason is not None), default=None)


def calls_of(record: TurnRecord) -> Iterator[tuple[ToolCall, ToolResult | None]]:
    """Every call of a turn with its result, in order."""
    for step in record.steps:
        results = {result.call_id: result for result in step.results}
        for block in step.content:
            if isinstance(block, ToolCall):
                yield block, results.get(block.id)


def _of_turn(number: int, source: str, record: TurnRecord) -> list[Piece]:
    ran = [
        (call, result)
        for call, result in calls_of(record)
        if call.name == PYTHON_TOOL and isinstance(call.input.get("code"), str) and result and _has_run(result)
    ]
    last = next((call for call, result in reversed(ran) if not result.is_error), None)
    pieces = [
        Piece(
            number, "agent", code, _code(code, is_failed=result.is_error), tuple(_outputs(result)), record.turn_id, call.id,
            is_last_of_turn=call is last, is_cut=_is_cut(result), is_failed=result.is_error,
        )
        for call, result in ran
        for code in [call.input["code"]]
    ]  # fmt: skip
    pieces = [piece for piece in pieces if piece.code.is_readable or not piece.is_failed]  # no line of it has run
    if (
        (name := _bound_name(source))
        and record.stop_reason == "end_turn"
        and "--schema" not in source.split("\n", 1)[0]
    ):
        text = f"{name} = {answer_text(record)!r}"
        pieces.append(Piece(number, "answer", text, Code(binds=frozenset({name})), turn_id=record.turn_id))
    return pieces


def _has_run(result: ToolResult) -> bool:
    return not result.is_error or result.details.get("status") == "error"


def _code(source: str, *, is_failed: bool) -> Code:
    """Code that failed may have bound what it binds, or not."""
    code = read_code(source)
    return replace(code, binds=frozenset(), changes=code.changes | code.binds) if is_failed else code


def _bound_name(source: str) -> str:
    """The variable of ``--into``."""
    match = _PROMPT.match(source)
    try:
        words = shlex.split(match[1]) if match else []
    except ValueError:
        return ""
    for word, following in zip(words, [*words, ""][1:], strict=True):
        name = following if word == "--into" else word.removeprefix("--into=") if word.startswith("--into=") else ""
        if name.isidentifier():
            return name
    return ""


def _outputs(result: ToolResult) -> Iterable[dict[str, Any]]:
    for block in result.content:
        if isinstance(block, TextBlock):
            if block.text and block.text != "(no output)":
                yield {"output_type": "stream", "name": "stdout", "text": block.text}
        else:
            yield {"output_type": "display_data", "data": {block.media_type: block.data}, "metadata": {}}
    for shown in result.details.get("outputs", ()):
        # Its text is in the result's already.
        yield {"output_type": "display_data", "data": shown, "metadata": {}, "is_told": False}


def _is_cut(result: ToolResult) -> bool:
    """The record holds less than what was shown: the output was long, or had a secret in it."""
    texts = [block.text for block in result.content if isinstance(block, TextBlock)]
    return bool(result.details.get("spill_path")) or any("[secret]" in text for text in texts)


def is_record(output: Mapping[str, Any]) -> bool:
    """Whether an output is the record of a turn, drawn."""
    return any("vnd.claw" in kind for kind in output.get("data", {}))
