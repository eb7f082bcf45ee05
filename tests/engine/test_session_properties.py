"""Any sequence of what a person does to a notebook leaves a whole session whose transcript is what they see."""

from __future__ import annotations

import copy
import json

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from claw_kernel.messages import Step, TextBlock, ToolCall, ToolResult, TurnRecord
from claw_kernel.session import Session, read_record, write_record
from claw_kernel.session.check import check_session
from claw_kernel.session.notebook import branches, drawn_records, notebook_header, notebook_records, store
from claw_kernel.session.record import MIME_TYPE

MODEL = "scripted/x"
PLACES = st.integers(0, 9)


def turn_ids(cell: dict) -> list[str]:
    stored = cell["metadata"].get("claw")
    return [*([stored["turn_id"]] if stored else []), *(record["turn_id"] for record in drawn_records(cell))]


class Notebook(RuleBasedStateMachine):
    """A notebook in memory, one page that reports its cells to the kernel's session as the extension does, and undo."""

    def __init__(self) -> None:
        super().__init__()
        self.session = Session()
        self.document: dict = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        self.undone: list[list[dict]] = []
        self.seen: set[str] = set()
        self.seen_cells: set[str] = set()
        self.count = 0
        self.path: list[str] = []
        """The model: ids of the turns that the person takes for the conversation."""

    def cell(self, place: int) -> dict:
        return self.document["cells"][place % len(self.document["cells"])]

    def changed(self) -> None:
        outline = [(cell["id"], turn_ids(cell)) for cell in self.document["cells"]]
        self.session.see(outline, frozenset(self.seen), frozenset(self.seen_cells))
        self.seen_cells |= {cell_id for cell_id, _ in outline}
        self.seen |= {turn_id for _, ids in outline for turn_id in ids}

    def remember(self) -> None:
        self.undone.append(copy.deepcopy(self.document["cells"]))

    def new_cell(self, **others) -> dict:
        self.count += 1
        return {"cell_type": "code", "id": f"c{self.count}", "metadata": {}, "source": "%%claw", "outputs": [],
                "execution_count": None, **others}  # fmt: skip

    @rule(place=PLACES)
    def insert(self, place: int) -> None:
        self.remember()
        self.document["cells"].insert(place % (len(self.document["cells"]) + 1), self.new_cell())
        self.changed()

    @precondition(lambda self: self.document["cells"])
    @rule(place=PLACES, prompt=st.text(max_size=8), has_tool=st.booleans())
    def run(self, place: int, prompt: str, has_tool: bool) -> None:
        cell = self.cell(place)
        self.count += 1
        turn_id = f"t{self.count}"
        mine = next((known for known in reversed(self.path) if self.session.cell_of(known) == cell["id"]), None)
        self.path = [*(self.path if mine is None else self.path[: self.path.index(mine)]), turn_id]
        call, result = ToolCall("c", "Bash", {"command": prompt}), ToolResult("c", (TextBlock(prompt),))
        first = (Step((call,), (result,), stop="tool_use"),) if has_tool else ()
        began = f"2026-01-01T00:{self.count // 60:02}:{self.count % 60:02}.000Z"
        steps = (*first, Step((TextBlock(turn_id),)))
        asked = (TextBlock(prompt),)
        made = TurnRecord(
            turn_id,
            self.session.session_id,
            prompt,
            asked,
            MODEL,
            began,
            steps,
            cell_id=cell["id"],
            stop_reason="end_turn",
        )
        made = self.session.begin(made)
        self.session.add(made)
        written = write_record(made)
        cell["outputs"] = [{"output_type": "display_data", "data": {MIME_TYPE: written}, "metadata": {}}]
        assert store(self.document, copy.deepcopy(written), self.session.header())
        self.undone.clear()  # records are not undone, and what was undone before is of no interest here
        self.changed()

    @precondition(lambda self: self.document["cells"])
    @rule(place=PLACES)
    def delete(self, place: int) -> None:
        self.remember()
        cell = self.cell(place)
        self.document["cells"].remove(cell)
        self.forget_deleted()

    def forget_deleted(self) -> None:
        cells = {cell["id"] for cell in self.document["cells"]}
        shown = {turn_id for cell in self.document["cells"] for turn_id in turn_ids(cell)}
        # A turn that was gone before this page was opened, and that a person went back to, has no cell to lose.
        gone = {known for known in self.path if self.session.cell_of(known) not in cells}
        gone = {known for known in gone if known in self.seen or self.session.cell_of(known) in self.seen_cells}
        self.path = [known for known in self.path if known in shown or known not in gone]
        self.changed()

    @precondition(lambda self: self.document["cells"])
    @rule(place=PLACES, to=PLACES)
    def move(self, place: int, to: int) -> None:
        self.remember()
        cell = self.cell(place)
        self.document["cells"].remove(cell)
        self.document["cells"].insert(to % (len(self.document["cells"]) + 1), cell)
        self.changed()

    @precondition(lambda self: self.document["cells"])
    @rule(place=PLACES)
    def split(self, place: int) -> None:
        """The second half keeps outputs and metadata under a new id; both show the turn."""
        self.remember()
        cell = self.cell(place)
        index = self.document["cells"].index(cell)
        self.document["cells"].insert(
            index + 1, self.new_cell(**{k: copy.deepcopy(cell[k]) for k in ("metadata", "outputs")})
        )
        self.changed()

    @precondition(lambda self: self.session.turns)
    @rule(place=PLACES, is_whole=st.booleans())
    def go_to_a_branch(self, place: int, is_whole: bool) -> None:
        """``%claw history use`` and ``fork``: the page writes the header then, and cells show what the path has of them."""
        turns = self.session.turns
        turn_id = turns[place % len(turns)].turn_id
        self.session.use(self.session.newest_end(turn_id) if is_whole else turn_id)
        self.path = [record.turn_id for record in self.session.records]
        assert turn_id in self.path
        self.write_header()
        self.show_path()
        self.undone.clear()
        self.changed()

    @precondition(lambda self: self.session.turns)
    @rule()
    def arrange(self) -> None:
        cells = [cell["id"] for cell in self.document["cells"]]
        before = set(self.path)
        self.session.arrange(self.session.in_notebook_order(cells))
        self.path = [record.turn_id for record in self.session.records]
        assert set(self.path) == before
        self.write_header()

    def show_path(self) -> None:
        """As the page does (``branches.ts``): a kept turn of the path goes back into its cell, and what that shows is kept."""
        for record in branches(self.document):
            cell = next((cell for cell in self.document["cells"] if cell["id"] == record["cell_id"]), None)
            if record["turn_id"] not in self.path or cell is None or set(turn_ids(cell)) & set(self.path):
                continue
            shown = cell["metadata"].get("claw")
            kept = [known for known in branches(self.document) if known["turn_id"] != record["turn_id"]]
            cell["metadata"]["claw"] = record
            cell["outputs"] = [{"output_type": "display_data", "data": {MIME_TYPE: record}, "metadata": {}}]
            self.document["metadata"]["claw"]["branches"] = [*kept, *([shown] if shown else [])]

    def write_header(self) -> None:
        kept = branches(self.document)
        header = self.session.header()
        self.document["metadata"]["claw"] = {**header, "branches": kept} if kept else header

    @precondition(lambda self: self.document["cells"])
    @rule(place=PLACES)
    def merge_below(self, place: int) -> None:
        """JupyterLab keeps the upper cell's id and metadata, and no outputs; one with an id of its own is new."""
        index = place % len(self.document["cells"])
        if index + 1 == len(self.document["cells"]):
            return
        self.remember()
        below = self.document["cells"].pop(index + 1)
        self.document["cells"][index]["outputs"] = []
        self.forget_deleted()
        del below

    @precondition(lambda self: self.document["cells"])
    @rule(place=PLACES)
    def clear_outputs(self, place: int) -> None:
        self.cell(place)["outputs"] = []
        self.changed()

    @precondition(lambda self: self.undone)
    @rule()
    def undo(self) -> None:
        before = set(self.path)
        self.document["cells"] = self.undone.pop()
        self.changed()
        # What comes back is on the path again, where it was.
        shown = {turn_id for cell in self.document["cells"] for turn_id in turn_ids(cell)}
        self.path = [record.turn_id for record in self.session.records]
        assert before <= set(self.path) | ({*before} - shown)
        self.forget_deleted()

    @rule()
    def restart(self) -> None:
        """The header is as the last turn left it; the file has passed through JSON, keys sorted."""
        self.document = json.loads(json.dumps(self.document, sort_keys=True))
        self.session = Session()
        records, header = notebook_records(self.document), notebook_header(self.document)
        assert self.session.merge(records, header) == []
        self.seen, self.seen_cells = set(), set()
        self.changed()
        self.undone.clear()

    @invariant()
    def the_transcript_is_the_path(self) -> None:
        assert [record.turn_id for record in self.session.records] == self.path
        said = [
            b.text
            for m in self.session.transcript(MODEL)
            for b in m.content
            if m.role == "assistant" and isinstance(b, TextBlock)
        ]
        assert said == self.path

    @invariant()
    def what_is_stored_is_whole(self) -> None:
        documents = notebook_records(self.document)
        problems = check_session(documents, None).problems
        assert [problem for problem in problems if problem.kind != "tree"] == []  # the parent of a turn may be deleted
        shown = [turn_id for cell in self.document["cells"] for turn_id in turn_ids(cell)]
        kept = [record["turn_id"] for record in branches(self.document)]
        assert len(kept) == len(set(kept))
        for document in documents:
            assert json.dumps(write_record(read_record(document)), sort_keys=True) == json.dumps(
                document, sort_keys=True
            )
        assert set(self.path) <= {*shown, *kept}


TestNotebook = Notebook.TestCase
TestNotebook.settings = settings(
    max_examples=60, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
