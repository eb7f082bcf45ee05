"""What a turn costs: request by request, as far as the provider counted, while it runs and in its record."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from claw_kernel.agent.engine import engine_loop
from claw_kernel.agent.loop import GO_ON
from claw_kernel.messages import ContextCompacted, LostAnswer, TextDelta, Usage, UsageChanged
from claw_kernel.providers import ProviderSettings, Retries, open_provider
from claw_kernel.session.record import read_record, write_record
from tests.engine.conftest import play
from tests.engine.long_sessions import Reader, open_agent, serving
from tests.model_server import FRAMES, JSON, Drop, ModelServer, Response, anthropic_frames, text, tool_call

READ = tool_call("c1", "Read", {"file_path": "part.txt"})
WHOLE = Usage(10, 20, 5, 3)
"""What the server's answers count, of which the first frame says all but the words."""
BEGUN = Usage(10, 1, 5, 3, is_least=True)
DOLLARS = {"input": 1_000_000.0, "output": 1_000_000.0}
"""A dollar a token makes sums easy to read."""


@pytest.fixture
def server() -> Any:
    with ModelServer() as server:
        yield server


@pytest.fixture
def agents(tmp_path: Path, workspace: Path) -> Any:
    (workspace / "part.txt").write_text("x\n")
    made: list[Any] = []

    def make(server: ModelServer, api: str | None = "anthropic", **options: Any) -> Any:
        options = {"model": "anthropic/m" if api == "anthropic" else "local/m", **options}
        made.append(open_agent(tmp_path / "home", workspace, server, api=api, **options))
        return made[-1]

    yield make
    for agent in made:
        agent.close()


def impatient(agent: Any, server: ModelServer, model: str = "anthropic/m", api: str = "anthropic") -> None:
    """It does not wait before it tries again."""
    settings = ProviderSettings(base_url=server.base_url, api=api, retries=Retries(2, 0.001, 0.002))  # type: ignore[arg-type]

    async def opened() -> Any:
        return open_provider(model, settings)

    agent._providers[model] = asyncio.run_coroutine_threadsafe(opened(), engine_loop()).result(5)


def test_it_is_shown_while_the_turn_runs_and_is_exact_at_its_end(server: ModelServer, agents: Any) -> None:
    frames = anthropic_frames([text("abc " * 50, deltas=100)])
    server.answer(anthropic_frames([READ]), [*frames[:3], 0.3, *frames[3:-2], 0.3, *frames[-2:], 0.3])
    agent = agents(server, prices={"anthropic/m": DOLLARS})
    events = play(agent.start("Read."))
    shown = [event for event in events if isinstance(event, UsageChanged)]
    assert len(shown) < 8  # by the count, not by the word
    assert [(one.usage, one.cost_usd) for one in shown][-1] == (WHOLE + WHOLE, 76.0)
    assert (WHOLE + Usage(10, 1, 5, 3), 57.0) in [(one.usage, one.cost_usd) for one in shown]
    first_word = next(n for n, event in enumerate(events) if isinstance(event, TextDelta))
    assert any(isinstance(event, UsageChanged) for event in events[:first_word])
    record = agent.session.records[-1]
    assert (record.usage, record.cost_usd) == (WHOLE + WHOLE, 76.0)


@pytest.mark.parametrize(
    ("api", "known"), [("anthropic", BEGUN), ("openai-chat", Usage(is_least=True)), ("openai-responses", Usage(is_least=True))]
)  # fmt: skip
@pytest.mark.parametrize("has_text", [True, False])
def test_an_interrupted_answer_costs_what_was_counted(
    server: ModelServer, agents: Any, api: str, known: Usage, *, has_text: bool
) -> None:
    blocks = [text("Half of it. And more.")] if has_text else [tool_call("c", "Read", {"file_path": "part.txt"})]
    frames = FRAMES[api](blocks)
    server.answer([*frames[: 6 if has_text else 5], 5.0, *frames[5:]])
    agent = agents(server, api, max_session_tokens=19)
    turn = agent.start("Read.")
    play(turn, lambda event: turn.cancel() if event.type in ("text_delta", "tool_call_delta") else None)
    record = agent.session.records[-1]
    assert (record.stop_reason, record.usage) == ("interrupted", known)
    assert bool(record.steps) is has_text
    assert record.lost == (() if has_text else (LostAnswer(known),))
    assert read_record(json.loads(json.dumps(write_record(record)))) == record
    if api == "anthropic":  # what is counted is spent
        play(agent.start("Again."))
        assert agent.session.records[-1].stop_reason == "max_session_tokens"


def test_answers_that_break_off_are_paid_for_too(server: ModelServer, agents: Any) -> None:
    broken = [*anthropic_frames([text("Half of it. And more.")])[:5], Drop()]
    server.answer(broken, broken, anthropic_frames([text("Whole.")]))
    agent = agents(server, prices={"anthropic/m": DOLLARS})
    impatient(agent, server)
    play(agent.start("Say."))
    record = agent.session.records[-1]
    assert record.stop_reason == "end_turn"
    assert (record.steps[0].usage, record.lost) == (WHOLE, (LostAnswer(BEGUN),) * 2)
    assert (record.usage, record.cost_usd) == (WHOLE + BEGUN + BEGUN, 38.0 + 2 * 19.0)
    # Then none is whole: what was counted of them is all there is.
    server.answer(broken, broken, broken)
    play(agent.start("Say."))
    record = agent.session.records[-1]
    assert (record.stop_reason, record.steps, record.usage) == ("error", (), BEGUN + BEGUN + BEGUN)
    assert record.cost_usd == 57.0


def test_a_kept_part_of_an_answer_is_a_least(server: ModelServer, agents: Any) -> None:
    frames = anthropic_frames([text("Whole block."), READ])
    end = next(n for n, frame in enumerate(frames) if b"content_block_stop" in frame) + 1
    server.answer([*frames[:end], Drop()], anthropic_frames([text("The rest.")]))
    agent = agents(server)
    impatient(agent, server)
    play(agent.start("Say."))
    record = agent.session.records[-1]
    assert [step.usage for step in record.steps] == [BEGUN, WHOLE]
    assert record.usage == BEGUN + WHOLE
    assert agent.session.header()["usage"]["is_least"] is True  # so is what the notebook says of all turns


def test_a_server_that_counts_nothing_is_not_free(server: ModelServer, agents: Any) -> None:
    frames = [frame for frame in FRAMES["openai-chat"]([text("hi")]) if b"prompt_tokens" not in frame]
    server.answer(frames)
    agent = agents(server, "openai-chat")
    play(agent.start("Say."))
    assert agent.session.records[-1].usage == Usage(is_least=True)


def test_prices_go_by_the_request(server: ModelServer, agents: Any) -> None:
    """Gemini costs twice as much above 200,000 tokens of one prompt; a turn of three short ones is not one long one."""
    usage = {"prompt_tokens": 100_000, "completion_tokens": 1_000, "total_tokens": 101_000}
    answers = [[READ], [tool_call("c2", "Read", {"file_path": "part.txt"})], [text("Done.")]]
    server.answer(*(FRAMES["openai-chat"](blocks, usage=usage) for blocks in answers))
    agent = agents(server, None, model="gemini/gemini-2.5-pro", context_window=1_000_000)
    play(agent.start("Read."))
    record = agent.session.records[-1]
    assert record.usage == Usage(300_000, 3_000)
    assert record.cost_usd == pytest.approx(3 * (100_000 * 1.25 + 1_000 * 10) / 1e6)


def test_each_answer_costs_what_its_model_costs(server: ModelServer, tmp_path: Path, workspace: Path) -> None:
    from claw_kernel.agent import Agent
    from claw_kernel.settings import load_settings

    env = {"CLAW_HOME": str(tmp_path / "h"), "ANTHROPIC_API_KEY": "k" * 20, "ANTHROPIC_BASE_URL": server.base_url}
    prices = {"anthropic/first": DOLLARS, "anthropic/second": {"input": 10_000_000.0, "output": 10_000_000.0}}
    options = {"model": "anthropic/first", "fallback_models": ["anthropic/second"], "prices": prices}
    gone = Response(404, JSON, [b'{"error":{"type":"not_found_error","message":"model: first"}}'])
    (workspace / "part.txt").write_text("x\n")
    server.answer(anthropic_frames([READ]), gone, anthropic_frames([text("Done.")]))
    agent = Agent(load_settings(str(workspace), env).with_options("test", **options))
    try:
        play(agent.start("Read."))
    finally:
        agent.close()
    record = agent.session.records[-1]
    assert [step.model for step in record.steps] == ["", "anthropic/second"]
    assert record.cost_usd == 38.0 + 380.0


def full(blocks: list[Any], api: str) -> list[bytes]:
    """An answer that the window ended."""
    stop = "model_context_window_exceeded"
    return FRAMES[api](blocks, stop=stop)  # type: ignore[no-any-return]


@pytest.mark.parametrize("has_call", [True, False])
def test_a_window_that_is_full_in_the_answer_is_met_once(agents: Any, workspace: Path, *, has_call: bool) -> None:
    reader = Reader(workspace, steps=3)
    blocks = [text("Half an answer."), *([tool_call("c9", "Read", {"file_path": "part.txt"})] if has_call else [])]

    def answer(request: Any) -> Response:
        is_first_long = reader.taken == 3 and not done
        if is_first_long:
            done.append(request)
            return Response(parts=full(blocks, "anthropic"))
        return reader(request)

    done: list[Any] = []
    with serving(answer) as server:
        agent = agents(server, context_window=100_000, max_tokens=2_000)
        (workspace / "part.txt").write_text("".join(f"{n:03} {'x' * 60}\n" for n in range(60)))
        events = play(agent.start("Read."))
        record = agent.session.records[-1]
        assert (record.stop_reason, record.error) == ("end_turn", None)
        assert sum(isinstance(event, ContextCompacted) for event in events) == 1
        assert any("was full before the answer was at its end" in notice for notice in record.notices)
        assert [step.stop for step in record.steps].count("context_overflow") == 1
        last = server.requests[-1].json["messages"]
        assert "Half an answer." in json.dumps(last)
        assert (GO_ON in json.dumps(last)) is not has_call


def test_a_window_that_is_full_in_every_answer_ends_the_turn(agents: Any) -> None:
    with serving(lambda _: Response(parts=full([text("Half an answer.")], "anthropic"))) as server:
        agent = agents(server, context_window=100_000)
        play(agent.start("Read."))
        record = agent.session.records[-1]
        assert record.error is not None
        assert (record.stop_reason, record.error.kind) == ("error", "context_overflow")
        assert len(server.requests) <= 3
