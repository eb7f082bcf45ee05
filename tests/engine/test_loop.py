"""The loop of a turn, by its events and its record."""

from __future__ import annotations

import sys
import time

import pytest

from claw_kernel.messages import (
    ApprovalRequested,
    StepFinished,
    TextBlock,
    ToolCall,
    ToolFinished,
    ToolStarted,
    TurnFinished,
)
from tests.engine.conftest import call, play


def results_of(record):
    return [result for step in record.steps for result in step.results]


def assert_valid(messages) -> None:
    """Each call has its result in the next message, in order; roles alternate; nothing is empty."""
    for index, message in enumerate(messages):
        assert message.content
        assert message.role == ("user" if index % 2 == 0 else "assistant")
        calls = [block.id for block in message.content if isinstance(block, ToolCall)]
        if calls:
            assert [b.call_id for b in messages[index + 1].content if b.type == "tool_result"] == calls


def test_a_turn_is_this_list_of_events(make_agent, workspace):
    (workspace / "a.txt").write_text("hello\n")
    agent = make_agent(
        [{"text": "I look.", "tool_calls": [call("Read", file_path="a.txt")]}, {"text": "It says hello."}]
    )

    events = play(agent.start("What is in a.txt?"))

    kinds = [event.type for event in events if event.type not in ("tool_call_delta", "usage_changed")]
    assert (
        kinds
        == [
            "turn_started",
            "step_started",
            "provider_notice",
            "text_delta",
            "message_finished",
            "tool_started",
            "tool_finished",
            "step_finished",
            "step_started",
            "text_delta",
            "message_finished",
            "step_finished",
            "turn_finished",
        ]
        or kinds.count("provider_notice") == 2
    )
    record = events[-1].record
    assert record.stop_reason == "end_turn"
    assert "hello" in results_of(record)[0].content[0].text
    assert record.steps[-1].content == (TextBlock("It says hello."),)
    assert any("scripted" in notice for notice in record.notices)


def test_calls_that_change_nothing_run_together_and_results_keep_call_order(make_agent, workspace):
    for name in "abc":
        (workspace / name).write_text(name)
    calls = [call("Read", file_path="missing"), *(call("Read", file_path=name) for name in "abc")]
    agent = make_agent([{"tool_calls": calls}, {"text": "done"}])

    record = play(agent.start("go"))[-1].record

    assert [r.is_error for r in results_of(record)] == [True, False, False, False]
    assert [c.id for c in record.steps[0].content if isinstance(c, ToolCall)] == [r.call_id for r in results_of(record)]


def test_sleeping_commands_overlap(make_agent):
    agent = make_agent(
        [{"tool_calls": [call("Bash", command="sleep 0.5")] * 8}, {"text": "done"}], permission_mode="bypassPermissions"
    )

    started = time.monotonic()
    record = play(agent.start("go"))[-1].record

    assert not any(result.is_error for result in results_of(record))
    assert time.monotonic() - started < 2.5  # one after the other they take 4 s


def test_a_writing_call_is_judged_on_the_state_left_by_the_one_before(make_agent, workspace):
    (workspace / "a.txt").write_text("one\n")
    calls = [
        call("Read", file_path="a.txt"),
        call("Edit", file_path="a.txt", old_string="one", new_string="two"),
        call("Edit", file_path="a.txt", old_string="two", new_string="three"),
    ]
    agent = make_agent([{"tool_calls": calls}, {"text": "done"}], permission_mode="acceptEdits")

    record = play(agent.start("go"))[-1].record

    assert [r.is_error for r in results_of(record)] == [False, False, False]
    assert (workspace / "a.txt").read_text() == "three\n"


def test_where_nobody_can_be_asked_the_call_is_denied_at_once_with_the_reason(make_agent, workspace):
    agent = make_agent([{"tool_calls": [call("Bash", command="touch x")]}, {"text": "ok"}])

    started = time.monotonic()
    record = play(agent.start("go", ways=()))[-1].record

    assert time.monotonic() - started < 1
    assert not (workspace / "x").exists()
    assert "nobody can be asked" in results_of(record)[0].content[0].text
    assert record.approvals[0].answered_by == "policy"
    assert record.stop_reason == "end_turn"


def test_the_first_answer_wins_and_later_ones_change_nothing(make_agent, workspace):
    agent = make_agent([{"tool_calls": [call("Bash", command="touch x")]}, {"text": "ok"}])
    answers = []

    def answer(event):
        if isinstance(event, ApprovalRequested):
            answers.append(agent.gate.resolve(event.request.request_id, "deny", "widget", "use touch y"))
            answers.append(agent.gate.resolve(event.request.request_id, "allow_once", "extension"))

    record = play(agent.start("go", ways=("widget",)), answer)[-1].record

    assert answers == [True, False]
    assert not (workspace / "x").exists()
    assert "use touch y" in results_of(record)[0].content[0].text
    assert agent.gate.resolve("a_unknown", "allow_once", "widget") is False


def test_allow_always_adds_exactly_the_rule_that_was_shown(make_agent, workspace):
    replies = [
        {"tool_calls": [call("Bash", command="touch x")]},
        {"tool_calls": [call("Bash", command="touch y")]},
        {"tool_calls": [call("Bash", command="rm x")]},
        {"text": "ok"},
    ]
    agent = make_agent(replies)
    asked = []

    def answer(event):
        if isinstance(event, ApprovalRequested):
            asked.append(event.request)
            agent.gate.resolve(event.request.request_id, "allow_always" if len(asked) == 1 else "deny", "widget")

    play(agent.start("go", ways=("widget",)), answer)

    assert asked[0].suggested_rules
    assert [request.title for request in asked] == ["$ touch x", "$ rm x"]
    assert (workspace / "y").exists()
    assert (workspace / "x").exists()
    granted = [rule for rule in agent.rules() if rule.behavior == "allow"]
    assert [rule.rule for rule in granted] == list(asked[0].suggested_rules)


@pytest.mark.parametrize("where", ["stream", "bash", "approval"])
def test_an_interrupt_ends_the_turn_quickly_and_leaves_a_valid_transcript(make_agent, where):
    replies = {
        "stream": [{"text": "word " * 400, "chunk_seconds": 0.05}],
        "bash": [{"tool_calls": [call("Bash", command="sleep 60"), call("Bash", command="touch never")]}],
        "approval": [{"tool_calls": [call("Bash", command="touch x && sleep 60")]}],
    }[where]
    mode = "default" if where == "approval" else "bypassPermissions"
    agent = make_agent(replies, permission_mode=mode)
    turn = agent.start("go", ways=("widget",))
    trigger = {"stream": "text_delta", "bash": "tool_started", "approval": "approval_requested"}[where]
    cancelled_at = []

    def cancel(event):
        if event.type == trigger and not cancelled_at:
            time.sleep(0.1)
            cancelled_at.append(time.monotonic())
            turn.cancel()

    events = play(turn, cancel)

    assert time.monotonic() - cancelled_at[0] < 1
    record = events[-1].record
    assert record.stop_reason == "interrupted"
    messages = agent.session.transcript(record.model)
    assert_valid(messages)
    if where == "stream":
        assert record.steps[0].content[0].text.startswith("word")
    else:
        assert all(result.is_error for result in results_of(record))
        assert agent.gate.pending() == []


def test_bad_calls_are_answered_and_the_turn_goes_on(make_agent):
    replies = [
        {"tool_calls": [call("Bash"), call("Nothing", x=1), call("Read", file_path=7)]},
        {"text": "ok"},
    ]
    record = play(make_agent(replies).start("go"))[-1].record

    assert [result.is_error for result in results_of(record)] == [True, True, True]
    assert "command" in results_of(record)[0].content[0].text
    assert record.stop_reason == "end_turn"


def test_the_turn_limit_is_named(make_agent):
    agent = make_agent([{"tool_calls": [call("Glob", pattern="*")]}] * 5)

    events = play(agent.start("go", max_turns=2))

    assert events[-1].record.stop_reason == "max_turns"
    assert len([event for event in events if isinstance(event, StepFinished)]) == 2


def test_a_cost_limit_without_a_known_price_is_an_error_that_says_so(make_agent):
    agent = make_agent([{"tool_calls": [call("Glob", pattern="*")]}, {"text": "ok"}])

    record = play(agent.start("go", max_cost_usd=1.0))[-1].record

    assert record.stop_reason == "error"
    assert "price" in record.error.message


def test_the_cost_limit_is_named(make_agent, tmp_path):
    agent = make_agent([{"tool_calls": [call("Glob", pattern="*")]}] * 5)
    prices = {agent.model: {"input": 1e6, "output": 1e6}}
    agent.configure("test", prices=prices)

    record = play(agent.start("go", max_cost_usd=0.01))[-1].record

    assert record.stop_reason == "max_cost"
    assert record.cost_usd > 0.01


def test_each_tool_that_started_also_finished(make_agent):
    agent = make_agent([{"tool_calls": [call("Glob", pattern="*"), call("Grep", pattern="x")]}, {"text": "ok"}])

    events = play(agent.start("go"))

    started = [event.call_id for event in events if isinstance(event, ToolStarted)]
    finished = [event.result.call_id for event in events if isinstance(event, ToolFinished)]
    assert sorted(started) == sorted(finished)
    assert isinstance(events[-1], TurnFinished)


def test_an_unknown_model_is_one_line_with_a_remedy(make_agent):
    agent = make_agent([])

    record = play(agent.start("go", model="antropic/claude"))[-1].record

    assert record.stop_reason == "error"
    assert "anthropic" in f"{record.error.message} {record.error.remedy}"


def test_python_in_a_command_is_the_interpreter_that_runs_us(make_agent):
    """A kernel's environment is seldom activated; a command must find its packages all the same."""
    command = "python -c 'import sys; print(sys.prefix)'"
    agent = make_agent(
        [{"tool_calls": [call("Bash", command=command)]}, {"text": "ok"}], permission_mode="bypassPermissions"
    )

    record = play(agent.start("go"))[-1].record

    assert results_of(record)[0].content[0].text.strip() == sys.prefix
