"""The tools that talk to the person, through the loop: limits and bad inputs, and what they may and may not change."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claw_kernel._core import ToolInputError
from claw_kernel.agent import Agent
from claw_kernel.gate import AnswerError
from claw_kernel.messages import ApprovalRequested, ToolCall, TurnRecord
from claw_kernel.settings import Settings, load_settings
from claw_kernel.tools.ask_user_question import MAX_OPTIONS, MAX_QUESTIONS
from claw_kernel.tools.config import LOWERABLE
from claw_kernel.tools.exit_plan_mode import MAX_PLAN
from claw_kernel.tools.registry import made
from claw_kernel.tools.send_user_message import MAX_MESSAGE
from claw_kernel.tools.todo_write import MAX_CONTENT, MAX_TODOS, todos_of
from tests.engine.conftest import call, play

OPTIONS = [{"label": "Yes"}, {"label": "No", "description": "and stop"}]
QUESTION = {"question": "Go on?", "header": "Go", "options": OPTIONS}
SEVERAL = {**QUESTION, "header": "Which", "multiSelect": True}
PLAN = {"plan": "# Clean up\n\n1. delete `x`"}


def texts(record: TurnRecord) -> list[str]:
    return [result.content[0].text for step in record.steps for result in step.results]


def converse(agent: Agent, answer: Any, **options: Any) -> TurnRecord:
    """A turn whose requests ``answer(request)`` answers with the arguments of ``resolve``."""

    def reply(event: Any) -> None:
        if isinstance(event, ApprovalRequested):
            agent.gate.resolve(event.request.request_id, *answer(event.request))

    turn = agent.start("go", ways=("extension",), **options)
    play(turn, reply)
    return turn.record


# --- bad inputs: the model is told, nothing happens --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("TodoWrite", {"todos": "all"}, "todos"),
        ("TodoWrite", {"todos": [{"content": "a", "status": "doing"}]}, "todos.0.status"),
        ("TodoWrite", {"todos": [{"content": "a" * (MAX_CONTENT + 1), "status": "pending"}]}, "at most"),
        ("TodoWrite", {"todos": [{"content": "a", "status": "pending"}] * (MAX_TODOS + 1)}, f"at most {MAX_TODOS}"),
        ("TodoWrite", {}, "todos"),
        ("SendUserMessage", {"message": ""}, "at least 1"),
        ("SendUserMessage", {"message": "x" * (MAX_MESSAGE + 1)}, "at most"),
        ("AskUserQuestion", {"questions": []}, "at least 1"),
        ("AskUserQuestion", {"questions": [QUESTION] * (MAX_QUESTIONS + 1)}, f"at most {MAX_QUESTIONS}"),
        ("AskUserQuestion", {"questions": [{**QUESTION, "options": OPTIONS[:1]}]}, "at least 2"),
        ("AskUserQuestion", {"questions": [{**QUESTION, "options": [OPTIONS[0]] * 2}]}, "labels that differ"),
        (
            "AskUserQuestion",
            {"questions": [{**QUESTION, "options": [{"label": str(n)} for n in range(MAX_OPTIONS + 1)]}]},
            f"at most {MAX_OPTIONS}",
        ),
        ("AskUserQuestion", {"questions": [{**QUESTION, "default": "Yes"}]}, "default"),
        ("EnterPlanMode", {"mode": "default"}, "takes: no arguments"),
        ("ExitPlanMode", PLAN, "Plan mode is not on"),
        ("ExitPlanMode", {"plan": "x" * (MAX_PLAN + 1)}, "at most"),
        ("Config", {"setting": "max_turns", "value": "many"}, "value"),
    ],
)
def test_a_bad_input_is_an_error_that_says_what_fits(make_agent, name, given, said):
    agent = make_agent([{"tool_calls": [call(name, **given)]}, {"text": "ok"}])
    record = converse(agent, lambda _: pytest.fail("nothing may be asked"))
    result = record.steps[0].results[0]
    assert result.is_error
    assert said in result.content[0].text


# --- todos ------------------------------------------------------------------------------------------------------------


def test_the_newest_accepted_list_is_the_list(make_agent):
    todos = [
        {"content": "a", "status": "completed"},
        {"content": "b", "status": "in_progress", "activeForm": "doing b"},
    ]
    replies = [
        {"tool_calls": [call("TodoWrite", todos=todos)]},
        {"tool_calls": [call("TodoWrite", todos=[{"content": "c", "status": "wrong"}])]},
        {"text": "ok"},
    ]
    turn = make_agent(replies).start("go")
    play(turn)
    assert todos_of(turn.record) == [
        {"content": "a", "status": "completed"},
        {"content": "doing b", "status": "in_progress"},
    ]
    assert turn.record.steps[0].results[0].details["title"] == "Todos 1/2 · doing b"


def test_a_strangers_list_is_no_list(make_agent):
    turn = make_agent([{"tool_calls": [call("TodoWrite", todos=[])]}, {"text": "ok"}]).start("go")
    play(turn)
    step = turn.record.steps[0]
    for bad_input in ({"todos": "x"}, {"todos": [1]}, {}):
        bad = dataclasses.replace(step, content=(ToolCall(step.results[0].call_id, "TodoWrite", bad_input),))
        assert todos_of(dataclasses.replace(turn.record, steps=(bad,))) is None


# --- questions --------------------------------------------------------------------------------------------------------


def test_answers_reach_the_model_and_the_record(make_agent):
    agent = make_agent([{"tool_calls": [call("AskUserQuestion", questions=[QUESTION, SEVERAL])]}, {"text": "ok"}])
    record = converse(agent, lambda _: ("answered", "widget", "", (("No",), ("Yes", "something of mine"))))
    result = record.steps[0].results[0]
    assert not result.is_error
    assert result.content[0].text == "The user answers:\nGo on?\n  No\nGo on?\n  Yes, something of mine"
    assert result.details["answers"] == [["No"], ["Yes", "something of mine"]]
    assert (record.approvals[0].answer, record.approvals[0].answered_by) == ("answered", "widget")


@pytest.mark.parametrize(
    ("answer", "selections"),
    [
        ("allow_once", ()),
        ("approve", ()),
        ("answered", ()),
        ("answered", (("Yes",),)),
        ("answered", (("Yes", "No"), ("Yes",))),
        ("answered", ((), ("Yes",))),
        ("answered", ((" ",), ("Yes",))),
        ("answered", (("x" * 2001,), ("Yes",))),
        ("answered", (("Yes",), ("Yes", "No", "a", "b"))),
        ("deny", (("Yes",),)),
    ],
)
def test_an_answer_that_does_not_fit_answers_nothing(make_agent, answer, selections):
    agent = make_agent([{"tool_calls": [call("AskUserQuestion", questions=[QUESTION, SEVERAL])]}, {"text": "ok"}])

    def reply(event):
        if isinstance(event, ApprovalRequested):
            with pytest.raises(AnswerError):
                agent.gate.resolve(event.request.request_id, answer, "extension", "", selections)
            assert agent.gate.pending() == [event.request]
            assert agent.gate.resolve(event.request.request_id, "deny", "extension")

    turn = agent.start("go", ways=("extension",))
    play(turn, reply)
    assert "does not answer" in texts(turn.record)[0]


def test_an_approval_takes_no_answer_of_another_kind(make_agent):
    agent = make_agent([{"tool_calls": [call("Bash", command="touch x")]}, {"text": "ok"}])

    def reply(event):
        if isinstance(event, ApprovalRequested):
            for answer in ("approve", "accept_edits", "answered"):
                with pytest.raises(AnswerError):
                    agent.gate.resolve(event.request.request_id, answer, "extension")
            agent.gate.resolve(event.request.request_id, "deny", "extension")

    play(agent.start("go", ways=("extension",)), reply)


def test_where_nobody_can_be_asked_the_model_is_told(make_agent):
    agent = make_agent([{"tool_calls": [call("AskUserQuestion", questions=[QUESTION])]}, {"text": "ok"}])
    turn = agent.start("go")
    play(turn)
    assert "Nobody can be asked here" in texts(turn.record)[0]
    assert turn.record.approvals[0].answered_by == "policy"


def test_a_question_lapses_when_the_turn_is_cancelled(make_agent):
    agent = make_agent([{"tool_calls": [call("AskUserQuestion", questions=[QUESTION])]}, {"text": "ok"}])
    turn = agent.start("go", ways=("extension",))
    play(turn, lambda event: turn.cancel() if isinstance(event, ApprovalRequested) else None)
    assert turn.record.stop_reason == "interrupted"
    assert agent.gate.pending() == []
    assert turn.record.steps[0].results[0].is_error


def test_a_deny_rule_keeps_questions_away(make_agent):
    agent = make_agent([{"tool_calls": [call("AskUserQuestion", questions=[QUESTION])]}, {"text": "ok"}])
    agent.add_rule("deny", "AskUserQuestion")
    record = converse(agent, lambda _: pytest.fail("it was asked"))
    assert "Denied by the permission policy" in texts(record)[0]


# --- plan mode --------------------------------------------------------------------------------------------------------

WRITES = [
    call("Write", file_path="x", content="x"),
    call("Bash", command="touch x"),
    call("Bash", command="make"),
]


def test_plan_mode_holds_from_the_next_call_even_against_allow_rules(make_agent, workspace):
    """In the same step, too; and only a person's answer ends it."""
    replies = [{"tool_calls": [call("EnterPlanMode"), *WRITES]}, {"text": "ok"}]
    agent = make_agent(replies, permission_mode="bypassPermissions")
    for rule in ("Bash", "Edit(**)", "Write"):
        agent.add_rule("allow", rule)
    record = converse(agent, lambda _: pytest.fail("nothing may be asked"))
    assert agent.permission_mode == "plan"
    assert all("In plan mode only reading is allowed" in text for text in texts(record)[1:])
    assert list(workspace.iterdir()) == []


@pytest.mark.parametrize("before", ["default", "acceptEdits", "dontAsk", "bypassPermissions"])
@pytest.mark.parametrize(("answer", "after"), [("approve", None), ("accept_edits", "acceptEdits"), ("deny", "plan")])
def test_a_plan_ends_by_the_answer_to_the_plan_that_was_shown(make_agent, before, answer, after):
    agent = make_agent([{"tool_calls": [call("ExitPlanMode", **PLAN)]}, {"text": "ok"}], permission_mode=before)
    agent.enter_plan("%claw plan")
    shown = []

    def reply(request):
        shown.append(request)
        return (answer, "extension", "in memory")

    record = converse(agent, reply)
    assert shown[0].preview == {"kind": "plan", "plan": PLAN["plan"]}
    assert shown[0].suggested_rules == ()
    assert agent.permission_mode == (after or before)
    assert "in memory" in texts(record)[0]
    assert record.steps[0].results[0].is_error == (answer == "deny")
    assert (record.approvals[0].answer, record.approvals[0].message) == (answer, "in memory")


def test_without_a_person_plan_mode_stays(make_agent):
    agent = make_agent([{"tool_calls": [call("ExitPlanMode", **PLAN)]}, {"text": "ok"}], permission_mode="plan")
    turn = agent.start("go")
    play(turn)
    assert agent.permission_mode == "plan"
    assert "Nobody can approve a plan here" in texts(turn.record)[0]
    assert "Plan mode is on" in turn.record.content[-1].text


def test_a_mode_of_one_cell_does_not_come_back_with_a_plan(make_agent):
    agent = make_agent([{"text": "ok"}])
    agent.set_permission_mode("acceptEdits", "%%claw --mode")
    agent.enter_plan("EnterPlanMode")
    agent.end_mode("acceptEdits", "default", "%%claw --mode")
    assert agent.leave_plan("approved") == "default"


def test_a_resumed_session_has_the_mode_of_the_settings(make_agent):
    """Records say that a plan was approved with edits; a new agent on them has only what the person's settings give."""
    first = make_agent([{"tool_calls": [call("ExitPlanMode", **PLAN)]}, {"text": "ok"}], permission_mode="plan")
    converse(first, lambda _: ("accept_edits", "extension"))
    assert first.permission_mode == "acceptEdits"
    for mode in ("default", "plan", "dontAsk"):
        assert make_agent([{"text": "ok"}], session=first.session, permission_mode=mode).permission_mode == mode


# --- Config -----------------------------------------------------------------------------------------------------------

FIELDS = [field.name for field in dataclasses.fields(Settings)]


def test_config_reads_and_lowers(make_agent):
    replies = [
        {
            "tool_calls": [
                call("Config", setting="max_turns"),
                call("Config", setting="max_turns", value=7),
                call("Config", setting="max_turns", value=8),
                call("Config", setting="max_turns", value=2.5),
                call("Config", setting="permission_mode", value=1),
                call("Config", setting="nonsense"),
                call("Config"),
            ]
        },
        {"text": "ok"},
    ]
    agent = make_agent(replies)
    said = texts(converse(agent, lambda _: pytest.fail("nothing may be asked")))
    assert said[0] == "max_turns = 100 (default)"
    assert said[1] == "max_turns is 7 from the next turn on."
    assert "only lower" in said[2]
    assert "positive whole number" in said[3]
    assert "only the user may" in said[4]
    assert "no setting 'nonsense'" in said[5]
    assert "base_url = not set" in said[6]
    assert agent.settings.max_turns == 7


def test_config_shows_no_login(make_agent):
    agent = make_agent([{"tool_calls": [call("Config", setting="base_url")]}, {"text": "ok"}])
    agent.settings = agent.settings.with_options("test", base_url="http://me:password@127.0.0.1:9/v1")
    assert "password" not in texts(converse(agent, lambda _: pytest.fail("asked")))[0]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(
    setting=st.sampled_from([*FIELDS, *LOWERABLE, "permissions", "sandbox", "env.PATH", "__class__"])
    | st.text(max_size=12),
    value=st.floats()
    | st.integers()
    | st.sampled_from(["plan", "bypassPermissions", "http://evil", "x/y", True, None, []]),
)
def test_config_can_never_raise_its_own_rights(tmp_path: Path, setting: str, value: Any) -> None:
    """Whatever it is called with: policy and settings are as before, but for limits that are lower."""
    agent = Agent(load_settings(str(tmp_path), {"CLAW_HOME": str(tmp_path / "home")}))
    try:
        before, policy = agent.settings, agent.gate.core.policy()
        tool = next(made(tool) for tool in agent._python_tools(None) if tool.spec.name == "Config")
        given = {"setting": setting, "value": value}
        try:
            tool.intend(given)
        except ToolInputError:
            pass
        else:
            coroutine = tool.run(given, lambda *_: None)
            with pytest.raises(StopIteration):  # it waits for nothing
                coroutine.send(None)
        assert agent.gate.core.policy() == policy
        for name in FIELDS:
            old, new = getattr(before, name), getattr(agent.settings, name)
            if name in LOWERABLE:
                assert new == old or (new >= 0 and (old is None or new < old))
            elif name != "sources":
                assert new == old
    finally:
        agent.close()


# --- StructuredOutput -------------------------------------------------------------------------------------------------

SCHEMA = {
    "type": "object",
    "properties": {"title": {"type": "string"}, "count": {"type": "integer", "minimum": 0}},
    "required": ["title", "count"],
    "additionalProperties": False,
}


def test_a_result_that_fits_ends_the_turn(make_agent):
    replies = [
        {"tool_calls": [call("StructuredOutput", title="a", count=-1, more=1)]},
        {"tool_calls": [call("StructuredOutput", title="a", count=2)]},
        {"text": "never asked"},
    ]
    agent = make_agent(replies)
    turn = agent.start("go", schema=SCHEMA)
    play(turn)
    record = turn.record
    assert turn.result == {"title": "a", "count": 2}
    assert record.stop_reason == "end_turn"
    assert len(record.steps) == 2
    assert "$.count: -1 is less than the minimum of 0" in texts(record)[0]
    assert "'more' was unexpected" in texts(record)[0]
    later = agent.start("and now")
    play(later)
    assert "StructuredOutput" not in [spec.name for spec in agent.tools.specs]
    assert later.result is None


def test_a_result_that_is_no_object_is_wrapped(make_agent):
    schema = {"type": "array", "items": {"$ref": "#/$defs/n"}, "$defs": {"n": {"type": "number"}}}
    turn = make_agent([{"tool_calls": [call("StructuredOutput", value=[1, 2.5])]}]).start("go", schema=schema)
    play(turn)
    assert turn.result == [1, 2.5]
    wrong = make_agent([{"tool_calls": [call("StructuredOutput", values=[1])]}, {"text": "no"}]).start(
        "go", schema=schema
    )
    play(wrong)
    assert "as the argument value" in texts(wrong.record)[0]


def test_a_turn_without_a_result_has_failed(make_agent):
    turn = make_agent([{"text": "I will not."}]).start("go", schema=SCHEMA)
    play(turn)
    assert turn.record.stop_reason == "error"
    assert "without a result that fits" in turn.record.error.message
    assert "StructuredOutput" in turn.record.content[-1].text


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"$ref": "http://127.0.0.1:9/other.json"}, "is not followed"),
        ({"properties": {"a": {"$ref": "file:///etc/passwd"}}}, "is not followed"),
        ({"type": "objekt"}, "no JSON schema"),
        ({"description": "x" * 60_000}, "longer than"),
        ({"type": "object", "properties": {"a": {"$dynamicRef": "other"}}}, "is not followed"),
    ],
)
def test_a_bad_schema_is_refused_before_anything_is_sent(make_agent, schema, said):
    from claw_kernel.errors import SettingsError

    with pytest.raises(SettingsError, match=said):
        make_agent([{"text": "ok"}]).start("go", schema=schema)


def test_a_schema_without_end_is_an_error_and_no_crash(make_agent):
    schema = {"type": "object", "properties": {"a": {"$ref": "#"}}, "allOf": [{"$ref": "#"}]}
    turn = make_agent([{"tool_calls": [call("StructuredOutput", a={})]}, {"text": "no"}]).start("go", schema=schema)
    play(turn)
    assert "nested too deeply" in texts(turn.record)[0]
