"""Records as JSON and back, and the transcript of a session that goes on tomorrow."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from claw_kernel.errors import SessionError
from claw_kernel.messages import (
    Approval,
    ImageBlock,
    Step,
    TextBlock,
    ThinkingBlock,
    ToolCall,
    ToolResult,
    TurnError,
    TurnRecord,
    Usage,
)
from claw_kernel.session import Session, read_notebook, read_record, write_record
from tests.engine.conftest import call, play


def record(number: int = 1, **changes) -> TurnRecord:
    made = TurnRecord(
        turn_id=f"t_{number}",
        session_id="s_1",
        prompt="do",
        content=(TextBlock("do"), ImageBlock("image/png", "aGk=")),
        model="scripted/x",
        started_at=f"2026-01-01T00:00:0{number}.000Z",
        steps=(
            Step(
                (
                    ThinkingBlock("hm", "sig"),
                    TextBlock("I run it."),
                    ToolCall("c1", "Bash", {"command": "ls", "n": [1]}),
                ),
                (ToolResult("c1", (TextBlock("a\nb"), ImageBlock("image/png", "aGk=")), details={"title": "$ ls"}),),
                Usage(1, 2, 3, 4),
                "tool_use",
            ),
            Step((TextBlock("done"),)),
        ),
        approvals=(Approval("c1", "ask", "no rule", "", "allow_once", "widget"),),
        stop_reason="end_turn",
        usage=Usage(1, 2, 3, 4),
        cell_id=f"cell{number}",
    )
    return replace(made, **changes)


def test_a_record_survives_json_and_is_written_the_same_twice():
    first = write_record(record())

    again = read_record(json.loads(json.dumps(first)))

    assert again == record()
    assert json.dumps(write_record(again)) == json.dumps(first)


def test_an_error_survives_json():
    failed = record(steps=(), stop_reason="error", error=TurnError("auth", "No key.", "Set one."))

    assert read_record(write_record(failed)) == failed


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ([], "not a JSON object"),
        ({"format": 99}, "format 99"),
        ({"format": 1, "turn_id": "t"}, "session_id"),
        ({**write_record(record()), "steps": [{"content": [{"type": "bomb"}]}]}, "steps"),
    ],
)
def test_a_record_that_cannot_be_read_is_one_clear_error(document, says):
    with pytest.raises(SessionError, match=says):
        read_record(document)


def test_secrets_are_replaced_when_a_record_is_written():
    leaky = record(prompt="my key is hunter2hunter2")

    text = json.dumps(write_record(leaky, lambda s: s.replace("hunter2hunter2", "[secret]")))

    assert "hunter2" not in text


def test_a_fresh_session_continues_with_exactly_the_earlier_messages(make_agent, workspace):
    (workspace / "a.txt").write_text("hello\n")
    replies = [{"text": "I look.", "tool_calls": [call("Read", file_path="a.txt")]}, {"text": "It says hello."}]
    agent = make_agent(replies)
    first = play(agent.start("What is in a.txt?", cell_id="one"))[-1].record
    sent = agent.session.transcript(first.model)
    stored = json.loads(json.dumps([write_record(r) for r in agent.session.records]))
    header = json.loads(json.dumps(agent.session.header()))

    tomorrow = Session()
    assert tomorrow.merge(stored, header) == []

    assert tomorrow.transcript(first.model) == sent
    assert tomorrow.header() == header


def test_the_fuller_of_two_versions_of_a_turn_wins_and_unreadable_ones_are_named():
    cut = write_record(record(steps=record().steps[:1], stop_reason=None))

    session = Session()
    second = write_record(record(2, parent_id="t_1"))
    warnings = session.merge([cut, write_record(record()), {"format": 1}, second])

    assert [r.turn_id for r in session.records] == ["t_1", "t_2"]
    assert len(session.records[0].steps) == 2
    assert len(warnings) == 1


def test_a_call_whose_result_was_lost_gets_one():
    lost = record(steps=(Step(record().steps[0].content, (), Usage(), "tool_use"),), stop_reason=None)

    session = Session()
    session.merge([write_record(lost)])

    results = session.records[0].steps[0].results
    assert [(r.call_id, r.is_error) for r in results] == [("c1", True)]


@pytest.mark.parametrize("content", [(), (TextBlock(" "),)])
def test_a_request_that_somebody_emptied_still_stands_before_its_answer(content):
    session = Session()
    session.add(record(1, content=content, prompt=""))
    first = session.transcript("scripted/x")[0]
    assert first.role == "user"
    assert "not there any more" in first.content[0].text


def test_reasoning_goes_back_only_to_the_model_that_gave_it():
    session = Session()
    session.merge([write_record(record())])

    same = [b.type for m in session.transcript("scripted/x") for b in m.content]
    other = [b.type for m in session.transcript("anthropic/y") for b in m.content]

    assert "thinking" in same
    assert "thinking" not in other


def test_running_a_cell_again_begins_a_branch(make_agent):
    agent = make_agent([{"text": "one"}])
    play(agent.start("first", cell_id="A"))
    play(agent.start("second", cell_id="B"))
    play(agent.start("first again", cell_id="A"))

    assert [r.prompt for r in agent.session.records] == ["first again"]
    assert [r.prompt for r in agent.session.turns] == ["first", "second", "first again"]

    play(agent.start("second again", cell_id="B"))
    assert [r.prompt for r in agent.session.records] == ["first again", "second again"]


def test_a_turn_that_failed_before_the_model_spoke_leaves_alternating_roles(make_agent):
    agent = make_agent([{"text": "fine"}])
    play(agent.start("lost", model="nosuch/model"))
    last = play(agent.start("again"))[-1].record

    messages = agent.session.transcript(last.model)
    assert [m.role for m in messages] == ["user", "assistant", "user", "assistant"]
    assert "not answered" in messages[1].content[0].text


def test_a_notebook_file_gives_its_records_from_both_carriers(tmp_path):
    stored, other = write_record(record()), write_record(record(2))
    cells = [
        {"cell_type": "code", "metadata": {"claw": stored}, "outputs": []},
        {"cell_type": "code", "metadata": {}, "outputs": [{"data": {"application/vnd.claw.turn+json": other}}]},
        {"cell_type": "markdown", "metadata": {}, "source": ""},
    ]
    path = tmp_path / "n.ipynb"
    path.write_text(json.dumps({"cells": cells, "metadata": {"claw": {"session_id": "s_1"}}, "nbformat": 4}))

    assert read_notebook(path) == ([stored, other], {"session_id": "s_1"})


@pytest.mark.parametrize(("content", "says"), [(None, "no file"), ("{", "cannot be read"), ("{}", "not a notebook")])
def test_a_file_that_is_no_notebook_is_one_clear_error(tmp_path, content, says):
    path = tmp_path / "n.ipynb"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SessionError, match=says):
        read_notebook(path)


def test_a_cleared_session_does_not_take_the_old_turns_back():
    session = Session()
    session.merge([write_record(record())])
    session.clear()

    session.merge([write_record(record())], {"session_id": "s_1"})

    assert session.records == ()
    assert session.session_id != "s_1"
