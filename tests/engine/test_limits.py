"""Limits and loop guards: a turn that meets one ends with its name, is whole as far as it went, and can be gone on with."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from claw_kernel.agent import Agent
from claw_kernel.agent.guards import FAILED_STEPS, LoopGuard, PassageGuard, without_repeats
from claw_kernel.limits import total_tokens
from claw_kernel.messages import TextBlock, ToolCall, ToolResult, TurnRecord, Usage
from tests.engine.conftest import call, play
from tests.engine.long_sessions import Reader, is_for_notes, last_text, open_agent, serving
from tests.model_server import ModelServer, anthropic_frames, text, tool_call

PRICES = {"anthropic/m": {"input": 1_000_000.0, "output": 0.0}}
"""A dollar a token makes sums easy to read."""


@pytest.fixture
def agents(tmp_path: Path, workspace: Path) -> Any:
    made: list[Agent] = []

    def make(server: ModelServer, **options: Any) -> Agent:
        made.append(open_agent(tmp_path / "home", workspace, server, **options))
        return made[-1]

    yield make
    for agent in made:
        agent.close()


def last(agent: Agent) -> TurnRecord:
    return agent.session.turns[-1]


class Counting(Reader):
    """Each answer costs 100 tokens: 80 in, 20 out."""

    def usage(self, request: Any) -> dict[str, int]:
        return {"input_tokens": 80}


@pytest.mark.parametrize(
    ("setting", "value", "reason", "steps"),
    [
        ("max_turns", 3, "max_turns", 3),
        ("max_turn_tokens", 250, "max_turn_tokens", 3),
        ("max_cost_usd", 100.0, "max_cost", 2),
        ("max_session_tokens", 150, "max_session_tokens", 2),
        ("max_session_cost_usd", 160.0, "max_session_cost", 2),
        ("max_session_turns", 4, "max_session_turns", 4),
        ("max_notebook_tokens", 300, "max_notebook_tokens", 3),
        ("max_notebook_turns", 2, "max_notebook_turns", 2),
        ("max_notebook_cost_usd", 240.0, "max_notebook_cost", 3),
    ],
)
def test_each_limit_has_its_stop_reason(
    agents: Any, workspace: Path, setting: str, value: float, reason: str, steps: int
) -> None:
    with serving(Counting(workspace, steps=10)) as server:
        agent = agents(server, prices=PRICES, **{setting: value})
        play(agent.start("Read."))
        assert (last(agent).stop_reason, len(last(agent).steps)) == (reason, steps)
        # It is resumable: with more room the next turn goes on from there.
        agent.configure("test", **{setting: 1_000_000})
        play(agent.start("Go on."))
        assert last(agent).stop_reason == "end_turn"
        assert len(server.requests) == 11


def test_what_was_paid_stays_paid(agents: Any, workspace: Path) -> None:
    """A conversation's limit counts all its turns, the notebook's those of the conversations before as well."""
    with serving(Counting(workspace, steps=1)) as server:
        agent = agents(server, prices=PRICES, max_session_cost_usd=200.0, max_notebook_tokens=500)
        for _ in range(2):
            play(agent.start("Read."))
        assert last(agent).stop_reason == "end_turn"  # 240 dollars, but the second began at 160
        play(agent.start("More."))
        assert (last(agent).stop_reason, last(agent).steps) == ("max_session_cost", ())
        agent.session.clear()
        play(agent.start("Read."))
        assert last(agent).stop_reason == "end_turn"
        play(agent.start("Read."))
        play(agent.start("Read."))
        assert last(agent).stop_reason == "max_notebook_tokens"


def test_what_a_summary_costs_counts_before_the_next_request(agents: Any, workspace: Path) -> None:
    """And the session goes on with that summary when the limit is raised."""
    options = {"context_window": 24_000, "max_tokens": 2_000}
    with serving(Reader(workspace, steps=40)) as server:
        free = agents(server, **options)
        play(free.start("Read."))
        steps = last(free).steps
    place = next(place for place, step in enumerate(steps) if step.compaction and step.compaction.summary)
    spent = total_tokens(sum((step.usage for step in steps[:place]), Usage()))
    with serving(Reader(workspace, steps=40)) as server:
        agent = agents(server, **options, max_turn_tokens=spent + 1)
        play(agent.start("Read."))
        record = last(agent)
        assert (record.stop_reason, len(record.steps)) == ("max_turn_tokens", place + 1)
        assert is_for_notes(server.requests[-1])
        kept = record.steps[-1].compaction
        assert kept is not None
        agent.settings = agent.settings.with_options("test", max_turn_tokens=10**9)
        play(agent.start("Go on."))
        assert last(agent).stop_reason == "end_turn"
        after = next(n for n, request in enumerate(server.requests) if is_for_notes(request)) + 1
        assert "was shortened to save room" in json.dumps(server.requests[after].json["messages"])


def test_the_requests_of_a_notebook_add_up(agents: Any, workspace: Path) -> None:
    with serving(Counting(workspace, steps=1)) as server:
        agent = agents(server, max_notebook_turns=5, max_session_turns=3)
        ends = []
        for _ in range(6):
            play(agent.start("Read."))
            ends.append((last(agent).stop_reason, len(last(agent).steps)))
            if ends[-1][0] == "max_session_turns":
                agent.session.clear()
        assert ends == [
            ("end_turn", 2),
            ("end_turn", 1),
            ("max_session_turns", 0),
            ("end_turn", 1),
            ("end_turn", 1),
            ("max_notebook_turns", 0),
        ]


def test_an_unknown_price_under_a_money_limit_is_an_error_that_says_what_to_do(agents: Any, workspace: Path) -> None:
    with serving(Counting(workspace, steps=5)) as server:
        agent = agents(server, max_session_cost_usd=10.0)
        play(agent.start("Read."))
        error = last(agent).error
        assert error is not None
        assert "anthropic/m" in error.message
        assert "prices" in error.remedy
        assert len(server.requests) == 1


@pytest.mark.parametrize("setting", ["max_seconds", "max_session_seconds", "max_notebook_seconds"])
def test_a_time_limit_ends_what_runs(make_agent: Any, setting: str) -> None:
    agent = make_agent(
        [{"tool_calls": [call("Bash", command="sleep 60")]}, {"text": "never"}],
        permission_mode="bypassPermissions",
        **{setting: 0.3},
    )
    started = time.monotonic()
    play(agent.start("Wait."))
    assert time.monotonic() - started < 20
    assert last(agent).stop_reason == setting
    [result] = last(agent).steps[0].results
    assert result.is_error


def test_the_time_limit_waits_for_the_person(make_agent: Any) -> None:
    agent = make_agent([{"tool_calls": [call("Bash", command="touch there")]}, {"text": "done"}], max_seconds=1.0)
    turn = agent.start("Touch.", ways=("widget",))

    def answer(event: Any) -> None:
        if event.type == "approval_requested":
            time.sleep(1.5)
            agent.gate.resolve(event.request.request_id, "allow_once", "widget")

    play(turn, answer)
    assert last(agent).stop_reason == "end_turn"


def test_a_managed_limit_is_kept(make_agent: Any, tmp_path: Path) -> None:
    from claw_kernel.errors import SettingsError

    managed = tmp_path / "managed.json"
    managed.write_text('{"max_session_cost_usd": 5}')
    agent = make_agent([{"text": "x"}], env={"CLAW_MANAGED_SETTINGS": str(managed)})
    with pytest.raises(SettingsError, match="managed"):
        agent.configure("%claw config", max_session_cost_usd=50)


# --- going round in circles ---


def test_equal_calls_are_told_once_and_then_stopped(agents: Any, workspace: Path) -> None:
    (workspace / "a.txt").write_text("a")
    answer = anthropic_frames([tool_call("t", "Read", {"file_path": "a.txt"})])
    with ModelServer(repeat=True) as server:
        server.answer(answer)
        agent = agents(server)
        play(agent.start("Read."))
        record = last(agent)
        assert (record.stop_reason, len(record.steps)) == ("loop", 5)
        told = [place for place, step in enumerate(record.steps) if len(step.results[0].content) > 1]
        assert told == [2]
        assert "same results 3 times" in record.steps[2].results[0].content[1].text  # type: ignore[union-attr]
        # What the model was told is in the record, so a fresh kernel sends the same.
        assert "same results 3 times" in server.requests[-1].body.decode()


def step(
    name: str, result: str, *, is_error: bool = False, **arguments: Any
) -> tuple[list[ToolCall], list[ToolResult]]:
    return [ToolCall("c", name, arguments)], [ToolResult("c", (TextBlock(result),), is_error)]


def verdicts(guard: LoopGuard, steps: Any) -> list[str]:
    return [guard.take(*one)[0] for one in steps]


def test_alternation_is_seen() -> None:
    pair = [step("Read", "a", file_path="a"), step("Read", "b", file_path="b")]
    assert verdicts(LoopGuard(5), pair * 5) == ["go"] * 5 + ["tell"] + ["go"] * 3 + ["stop"]


def test_progress_and_waiting_are_no_circle() -> None:
    assert set(verdicts(LoopGuard(5), [step("Bash", f"{n} left", command="make") for n in range(50)])) == {"go"}
    polling = [
        step("Sleep", "Slept.", seconds=5),
        step("BashOutput", "", bash_id="1"),
        step("Bash", "", command="tail log"),
    ]
    assert set(verdicts(LoopGuard(5), polling * 20)) == {"go"}
    assert set(verdicts(LoopGuard(0), [step("Read", "a", file_path="a")] * 50)) == {"go"}


def test_nothing_but_failures() -> None:
    failing = [step("Read", "no such file", is_error=True, file_path=f"{n}") for n in range(2 * FAILED_STEPS)]
    found = verdicts(LoopGuard(5), failing)
    assert (found.index("tell"), found.index("stop")) == (FAILED_STEPS - 1, 2 * FAILED_STEPS - 1)


PASSAGE = "I will now look at the file once more to be sure of what it says. "


def test_a_passage_without_end_is_cut_off_told_and_then_stopped(agents: Any, workspace: Path) -> None:
    with ModelServer(repeat=True) as server:
        server.answer(anthropic_frames([text("First. " + PASSAGE * 200)]))
        agent = agents(server)
        play(agent.start("Go."))
        record = last(agent)
        assert (record.stop_reason, len(record.steps)) == ("loop", 2)
        [block] = record.steps[0].content
        assert isinstance(block, TextBlock)
        assert block.text.count("once more") <= 2
        assert "writing the same passage" in last_text(server.requests[1])


@pytest.mark.parametrize("size", [1, 7, 1_000, 100_000])
def test_passages_are_seen_however_they_come(size: int) -> None:
    def found(whole: str) -> bool:
        guard = PassageGuard()
        return any(guard.take(whole[at : at + size]) for at in range(0, len(whole), size))

    assert found("Intro. " + PASSAGE * 60)
    assert found("Ha! Haha, so. " * 100)
    assert not found("".join(f"Line {n} of the report says {n * 7919 % 1013}.\n" for n in range(500)))
    assert not found("-" * 5_000)
    assert not found("| 0 | 0 |\n" * 500)
    assert not found("```python\n" + "values.append(previous)\n" * 500)


def test_what_is_kept_holds_the_passage_once() -> None:
    assert without_repeats("ab" + "xyz" * 9, 3) == "abxyz"
