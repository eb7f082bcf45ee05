"""A session as a tree: branches, the way back, deleted and moved cells, and what a notebook gives back of all that."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest

from claw_kernel.errors import SessionError
from claw_kernel.messages import FORMAT, Step, TextBlock, TurnRecord
from claw_kernel.session import Session, write_record


class Clock:
    """Turns that begin one after the other."""

    def __init__(self, session: Session) -> None:
        self.session, self.count = session, 0

    def run(self, cell_id: str, prompt: str = "") -> TurnRecord:
        self.count += 1
        asked = prompt or f"p{self.count}"
        made = TurnRecord(
            f"t{self.count}",
            self.session.session_id,
            asked,
            (TextBlock(asked),),
            "scripted/x",
            f"2026-01-01T00:{self.count // 60:02}:{self.count % 60:02}.000Z",
            (Step((TextBlock(f"a{self.count}"),)),),
            stop_reason="end_turn",
            cell_id=cell_id,
        )
        made = self.session.begin(made)
        self.session.add(made)
        return made


@pytest.fixture
def session() -> Session:
    return Session("s_1")


@pytest.fixture
def run(session):
    return Clock(session).run


def ids(session: Session) -> list[str]:
    return [record.turn_id for record in session.records]


def reopened(session: Session) -> Session:
    """What a fresh kernel makes of the saved notebook."""
    fresh = Session()
    documents = json.loads(json.dumps([write_record(record) for record in (*session.turns, *session.others)]))
    random.Random(1).shuffle(documents)
    assert fresh.merge(documents, json.loads(json.dumps(session.header()))) == []
    return fresh


def test_a_cell_that_runs_again_makes_a_branch_and_later_cells_go_on_from_it(session, run):
    for cell in "ABC":
        run(cell)
    assert [turn.turn_id for turn in session.following("A")] == ["t2", "t3"]

    run("A")
    assert ids(session) == ["t4"]
    run("C")

    assert ids(session) == ["t4", "t5"]
    assert [lines + turn.turn_id for lines, turn in session.drawing()] == ["│  t1", "│  t2", "│  t3", "t4", "t5"]
    assert ids(reopened(session)) == ids(session)


def test_a_branch_can_be_returned_to_and_the_next_turn_goes_on_there(session, run):
    for cell in "ABA":
        run(cell)

    session.use(session.newest_end("t1"))
    assert ids(session) == ["t1", "t2"]
    assert ids(reopened(session)) == ["t1", "t2"]

    run("D")
    assert ids(session) == ["t1", "t2", "t4"]
    with pytest.raises(SessionError, match="no turn t9"):
        session.use("t9")


def test_the_transcript_is_that_of_the_path(session, run):
    for cell in "ABA":
        run(cell)

    assert [m.content[0].text for m in session.transcript("scripted/x")] == ["p3", "a3"]
    session.use("t2")
    assert [m.content[0].text for m in session.transcript("scripted/x")] == ["p1", "a1", "p2", "a2"]


def test_a_turn_in_which_nothing_was_said_leaves_no_branch(session):
    failed = TurnRecord("t1", "s_1", "p", (TextBlock("p"),), "m/x", "2026-01-01T00:00:00Z", cell_id="A")
    session.add(replace(failed, stop_reason="error"))

    session.begin(replace(failed, turn_id="t2"))

    assert session.turns == ()


def test_the_turn_of_a_deleted_cell_leaves_the_conversation_and_comes_back_with_its_cell(session, run):
    for cell in "ABC":
        run(cell)
    page = [("A", ["t1"]), ("B", ["t2"]), ("C", ["t3"])]
    session.see(page)

    session.see([page[0], page[2]], ["t1", "t2", "t3"])
    assert ids(session) == ["t1", "t3"]
    assert ids(reopened(session)) == ["t1", "t3"]
    assert run("D").parent_id == "t3"

    session.see([*page, ("D", ["t4"])], ["t1", "t3", "t4"])
    assert ids(session) == ["t1", "t2", "t3", "t4"]


def test_a_turn_whose_cell_another_page_does_not_have_yet_stays(session, run):
    run("A")
    session.see([("A", ["t1"])])
    run("B")

    session.see([("A", ["t1"])], ["t1"])

    assert ids(session) == ["t1", "t2"]


def test_a_copied_cell_is_a_picture_of_the_turn_and_a_turn_of_its_own_when_it_runs(session, run):
    run("A")
    session.see([("copy", ["t1"]), ("A", ["t1"])])
    assert session.cell_of("t1") == "A"

    run("copy")

    assert ids(session) == ["t1", "t2"]


def test_a_cell_that_was_cut_and_pasted_under_a_new_id_is_the_turns_cell(session, run):
    run("A")
    run("B")
    session.see([("new", ["t1"]), ("B", ["t2"])], ["t1", "t2"])

    run("new")

    assert ids(session) == ["t3"]


def test_the_notebooks_order_can_be_taken_over_and_is_kept(session, run):
    for cell in "ABC":
        run(cell)

    wanted = session.in_notebook_order(["B", "A", "C"])
    assert wanted == ["t2", "t1", "t3"]
    session.arrange(wanted)

    assert ids(session) == wanted
    assert ids(reopened(session)) == wanted
    assert [turn.parent_id for turn in session.turns] == ["", "t1", "t2"], "records say what was asked when"


def test_turns_recorded_after_the_header_was_written_are_the_newest(session, run):
    run("A")
    run("B")
    header = session.header()
    run("A")

    fresh = Session()
    fresh.merge([write_record(record) for record in session.turns], header)

    assert ids(fresh) == ["t3"]


def test_a_lost_turn_in_the_middle_is_passed_over(session, run):
    for cell in "ABC":
        run(cell)

    fresh = Session()
    fresh.merge([write_record(record) for record in session.turns if record.turn_id != "t2"])

    assert ids(fresh) == ["t1", "t3"]


def test_conversations_of_one_notebook_are_kept_apart_and_can_be_changed_between(session, run):
    run("A")
    session.clear()
    second = session.session_id
    run("B")
    assert [turn.turn_id for turn in session.others] == ["t1"]

    session.switch("s_1")
    assert (ids(session), [turn.turn_id for turn in session.others]) == (["t1"], ["t2"])
    assert ids(reopened(session)) == ["t1"]
    session.switch(second)
    assert ids(session) == ["t2"]


def test_parents_in_a_circle_are_cut():
    documents = [
        write_record(TurnRecord(f"t{n}", "s", "p", (TextBlock("p"),), "m/x", f"2026-01-0{n}", parent_id=f"t{3 - n}"))
        for n in (1, 2)
    ]
    fresh = Session()

    assert fresh.merge(documents) == []

    assert set(ids(fresh)) <= {"t1", "t2"}


def test_records_of_format_1_follow_each_other_in_the_order_they_began():
    documents = [
        {"format": 1, "turn_id": f"t{n}", "session_id": "s", "prompt": "p", "content": [], "model": "m/x",
         "started_at": f"2026-01-0{n}", "steps": [], "stop_reason": "end_turn"}
        for n in (3, 1, 2)
    ]  # fmt: skip
    fresh = Session()

    assert fresh.merge(documents) == []

    assert ids(fresh) == ["t1", "t2", "t3"]
    assert {record.format for record in fresh.records} == {FORMAT}


def test_a_turn_is_recorded_while_its_prompt_and_all_before_it_are_the_same(session, run):
    run("A", "one")
    run("B", "two")

    assert session.recorded("two", "B").turn_id == "t2"
    assert session.recorded("other", "B") is None
    run("A", "one")
    assert session.recorded("two", "B") is None
