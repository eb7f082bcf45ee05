"""A session played from its own record: the same words and calls, request hashes that agree, edits that are found."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from claw_kernel.messages import TextDelta, ToolCall
from claw_kernel.session import Session, read_record, write_record
from claw_kernel.session.integrity import Check, check_records, rechained
from claw_kernel.session.record import MIME_TYPE
from claw_kernel.settings import load_settings
from tests.engine.conftest import call, play

REPLIES = [
    {"thinking": "Hm.", "text": "I look.", "tool_calls": [call("Read", file_path="a.txt")]},
    {"tool_calls": [call("Bash", command="wc -l a.txt"), call("Glob", pattern="*.txt")]},
    {"text": "One line.\n\n" + "It says hello, and more of it. " * 30},
]


def notebook_of(records, path: Path, change=None) -> Path:
    """A notebook file with the records; ``change`` may edit them, as a person with an editor would."""
    documents = [write_record(record) for record in records]
    if change is not None:
        change(documents)
    cells = [
        {
            "cell_type": "code",
            "id": f"c{n}",
            "metadata": {},
            "source": "%%claw\n" + document["prompt"],
            "execution_count": None,
            "outputs": [{"output_type": "display_data", "metadata": {}, "data": {MIME_TYPE: document}}],
        }
        for n, document in enumerate(documents)
    ]
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return path


@pytest.fixture
def recorded(make_agent, workspace):
    """Two turns on a scripted model."""
    (workspace / "a.txt").write_text("hello\n")
    agent = make_agent(REPLIES)
    for prompt in ("What is in a.txt?", "And again?"):
        play(agent.start(prompt))
    return agent.session.records


def test_every_step_is_hashed_and_the_chain_holds_after_a_way_through_json(recorded):
    steps = [step for record in recorded for step in record.steps]
    assert len(steps) == 6
    assert len({step.request_hash for step in steps}) == 6
    assert all(step.request_hash.startswith("sha256:") and len(step.request_hash) == 71 for step in steps)
    read = [read_record(json.loads(json.dumps(write_record(record)))) for record in recorded]
    assert check_records(read) == check_records(recorded)
    assert check_records(read).edits == ()
    assert check_records(read).unchecked == 0


def test_the_same_session_elsewhere_has_the_same_hashes(recorded, make_agent, workspace, tmp_path):
    elsewhere = tmp_path / "other" / "place"
    elsewhere.mkdir(parents=True)
    (elsewhere / "a.txt").write_text("hello\n")
    first = make_agent(REPLIES)
    from claw_kernel.agent import Agent

    settings = load_settings(str(elsewhere), {"CLAW_HOME": str(tmp_path / "h2"), "PATH": "/usr/bin:/bin"})
    second = Agent(settings.with_options("test", model=first.model))
    try:
        (workspace / "a.txt").write_text("hello\n")
        (turn,) = (first.start("What is in a.txt?"),)
        play(turn)
        again = second.start("What is in a.txt?")
        play(again)
    finally:
        second.close()
    parts = [[step.request_parts for step in t.record.steps] for t in (turn, again)]
    assert parts[0] == parts[1]


def test_the_record_is_played_without_a_model(recorded, make_agent, workspace, tmp_path):
    notebook = notebook_of(recorded, tmp_path / "nb.ipynb")
    agent = make_agent([], env={"CLAW_REPLAY": str(notebook)})
    for number, prompt in enumerate(("What is in a.txt?", "And again?")):
        events = play(agent.start(prompt))
        played = agent.session.records[number]
        assert [step.content for step in played.steps] == [step.content for step in recorded[number].steps]
        assert [step.usage for step in played.steps] == [step.usage for step in recorded[number].steps]
        assert len([event for event in events if isinstance(event, TextDelta)]) > 5
        assert [step.request_parts for step in played.steps] == [s.request_parts for s in recorded[number].steps]
    assert played.stop_reason == "end_turn"
    assert played.model == "recorded/nb.ipynb"
    assert played.cost_usd == 0
    assert [notice for notice in played.notices if "differs" in notice] == []
    assert "recorded model" in agent.session.records[0].notices[0]


def test_by_the_name_of_the_model_too(recorded, make_agent, workspace, tmp_path):
    notebook = notebook_of(recorded, tmp_path / "nb.ipynb")
    agent = make_agent([])
    agent.set_model(f"recorded/{notebook}")
    play(agent.start("What is in a.txt?"))
    assert agent.session.records[0].stop_reason == "end_turn"


def test_what_differs_is_named(recorded, make_agent, workspace, tmp_path):
    (workspace / "a.txt").write_text("hello\nworld\n")
    agent = make_agent([], env={"CLAW_REPLAY": str(notebook_of(recorded, tmp_path / "nb.ipynb"))})
    turn = agent.start("What is in a.txt?")
    play(turn)
    assert "the request differs from the recorded one: message 3" in turn.record.notices
    assert turn.record.stop_reason == "end_turn"


def test_a_record_that_ends_says_so(recorded, make_agent, tmp_path):
    def cut(documents):
        del documents[0]["steps"][2:]
        documents[0]["stop_reason"] = "max_turns"

    agent = make_agent([], env={"CLAW_REPLAY": str(notebook_of(recorded, tmp_path / "nb.ipynb", cut))})
    turn = agent.start("What is in a.txt?")
    play(turn)
    assert turn.record.error.kind == "record_end"
    assert "ends here (max_turns) after 2 answers" in turn.record.error.message
    turn = agent.start("Something else")
    play(turn)
    assert "no turn with this request" in turn.record.error.message


def test_what_broke_off_breaks_off_again(make_agent, workspace, tmp_path):
    """A stream that was lost in the middle, and an answer that was stopped because it went round: the turn goes on after each, as
    it did, to the same end and with the same requests."""
    from tests.engine.long_sessions import open_agent
    from tests.model_server import Drop, ModelServer, Response, anthropic_frames, text, tool_call

    look = tool_call("c1", "Glob", {"pattern": "*"})
    half = anthropic_frames([text("I look."), look])
    with ModelServer() as server:
        server.answer(
            anthropic_frames([text("First. " + "I will now look at the file once more to be sure. " * 200)]),
            Response(parts=[*half[:6], Drop()]),
            anthropic_frames([look]),
            anthropic_frames([text("Done.")]),
        )
        live = open_agent(tmp_path / "live", workspace, server)
        try:
            play(live.start("Go."))
        finally:
            live.close()
    (record,) = live.session.records
    assert [bool(step.incomplete) for step in record.steps] == [True, True, False, False]
    agent = make_agent([], env={"CLAW_REPLAY": str(notebook_of([record], tmp_path / "nb.ipynb"))})
    play(agent.start("Go."))
    (played,) = agent.session.records
    assert (played.stop_reason, len(played.steps)) == ("end_turn", 4)
    assert [step.content for step in played.steps] == [step.content for step in record.steps]
    parts = [[step.request_parts.messages for step in each.steps] for each in (record, played)]
    assert parts[0] == parts[1]


def edit_command(documents):
    documents[0]["steps"][1]["content"][0]["input"]["command"] = "touch gotcha"


def edit_result(documents):
    documents[0]["steps"][0]["results"][0]["content"][0]["text"] = "1\tnothing"


def edit_prompt(documents):
    documents[1]["prompt"] = documents[1]["content"][0]["text"] = "Other words"


def edit_hash(documents):
    documents[0]["steps"][1]["request_hash"] = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("change", "where"),
    [(edit_command, (0, 1)), (edit_result, (0, 0)), (edit_prompt, (1, None)), (edit_hash, (0, 1))],
)
def test_an_edit_is_found_where_it_is_and_nowhere_else(recorded, change, where):
    documents = [write_record(record) for record in recorded]
    change(documents)
    records = [read_record(document) for document in documents]
    assert [(edit.turn_id, edit.step) for edit in check_records(records).edits] == [
        (records[where[0]].turn_id, where[1])
    ]


@pytest.mark.parametrize("is_accepting", [False, True])
def test_an_edited_call_is_refused_also_where_rules_allow_it(recorded, make_agent, workspace, tmp_path, is_accepting):
    notebook = notebook_of(recorded, tmp_path / "nb.ipynb", edit_command)
    env = {"CLAW_REPLAY": str(notebook), "CLAW_ACCEPT_EDITS": str(is_accepting)}
    agent = make_agent([], env=env, permission_mode="bypassPermissions")
    turn = agent.start("What is in a.txt?")
    play(turn)
    result = turn.record.steps[1].results[0]
    assert (workspace / "gotcha").exists() is is_accepting
    assert result.is_error is not is_accepting
    if not is_accepting:
        assert "edited after it was recorded" in result.content[0].text
        assert result.details["status"] == "denied"
    assert turn.record.stop_reason == "end_turn"


def test_a_turn_without_an_end_is_not_vouched_for(recorded):
    document = write_record(recorded[0])
    del document["steps"][2:]
    check = check_records([read_record(document)])
    assert (check.edits, check.unchecked) == ((), 1)


def test_paths_of_calls_are_moved_to_this_workspace(recorded, tmp_path):
    from claw_kernel.providers.recorded import RecordedProvider

    place = recorded[0].environment["workspace"]

    def aim(document):
        document["steps"][0]["content"][-1]["input"]["file_path"] = f"{place}/a.txt"

    document = write_record(recorded[0])
    aim(document)
    provider = RecordedProvider([read_record(document)], "nb", workspace="/elsewhere", is_accepting_edits=True)
    (moved,) = [
        b for b in provider._in_place(provider._records[0].steps[0], provider._records[0]) if isinstance(b, ToolCall)
    ]
    assert moved.input["file_path"] == "/elsewhere/a.txt"


def test_hashing_costs_what_a_step_adds(recorded):
    """Not what the transcript holds: the messages before are not looked at again."""
    from claw_kernel.messages import Message, ModelRequest, TextBlock
    from claw_kernel.session.request_hash import RequestHasher

    seen: list[str] = []

    def redact(text: str) -> str:
        seen.append(text)
        return text

    hasher = RequestHasher(redact, {})
    messages = [Message("user" if n % 2 == 0 else "assistant", (TextBlock(f"text {n}"),)) for n in range(400)]
    for end in range(1, 401):
        hasher.parts(ModelRequest("m", "s", tuple(messages[:end])))
    assert sum(text.startswith("text ") for text in seen) == 400


def test_a_fresh_session_can_be_read_from_the_notebook(recorded, tmp_path):
    from claw_kernel.session import read_notebook

    session = Session()
    assert session.merge(*read_notebook(notebook_of(recorded, tmp_path / "nb.ipynb"))) == []
    assert session.records == recorded


@pytest.fixture
def compacted(tmp_path, workspace):
    """Two turns: outputs are cleared in them, and the conversation is summarised."""
    from tests.engine.long_sessions import Reader, open_agent, serving

    with serving(Reader(workspace, steps=45)) as server:
        agent = open_agent(tmp_path / "home", workspace, server, None, context_window=24_000, max_tokens=2_000)
        try:
            for prompt in ("Read it again and again.", "And once more."):
                play(agent.start(prompt))
        finally:
            agent.close()
    assert {bool(one.summary) for one in compactions(agent.session.records)} == {True, False}
    return agent.session.records


def compactions(records):
    return [step.compaction for record in records for step in record.steps if step.compaction]


def test_a_session_that_was_compacted_is_not_taken_for_edited(compacted):
    records = [read_record(json.loads(json.dumps(write_record(record)))) for record in compacted]
    assert check_records(records) == Check((), 0)
    assert check_records(rechained(records)) == Check((), 0)


def test_an_edit_of_the_step_before_a_compaction_is_found(compacted):
    documents = [write_record(record) for record in compacted]
    steps = documents[0]["steps"]
    last = next(place for place, step in enumerate(steps) if step.get("compaction", {}).get("summary")) - 1
    steps[last]["results"][0]["is_error"] = True
    records = [read_record(document) for document in documents]
    assert [(edit.turn_id, edit.step) for edit in check_records(records).edits] == [(records[0].turn_id, last)]
    assert check_records(rechained(records)) == Check((), 0)


def test_what_was_compacted_is_compacted_again(compacted, make_agent, workspace, tmp_path):
    agent = make_agent([], env={"CLAW_REPLAY": str(notebook_of(compacted, tmp_path / "nb.ipynb"))})
    for prompt in ("Read it again and again.", "And once more."):
        play(agent.start(prompt))
    played = agent.session.records
    ids = dict(zip((r.turn_id for r in compacted), (r.turn_id for r in played), strict=True))
    for before, now in zip(compacted, played, strict=True):
        assert [step.request_parts.messages for step in now.steps] == [s.request_parts.messages for s in before.steps]
        assert [notice for notice in now.notices if "message" in notice] == []
        assert (now.stop_reason, now.usage, now.cost_usd) == ("end_turn", before.usage, 0)
    expected = [replace(one, turn_id=ids.get(one.turn_id, ""), model="") for one in compactions(compacted)]
    assert compactions(played) == expected


def test_a_result_that_differs_after_a_summary_is_named(compacted, make_agent, workspace, tmp_path):
    (workspace / "part.txt").write_text("something else\n")
    agent = make_agent([], env={"CLAW_REPLAY": str(notebook_of(compacted, tmp_path / "nb.ipynb"))})
    turn = agent.start("Read it again and again.")
    play(turn)
    assert "the request differs from the recorded one: message 3" in turn.record.notices
    assert turn.record.stop_reason == "end_turn"
