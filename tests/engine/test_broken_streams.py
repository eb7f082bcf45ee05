"""A stream that is cut, at every place where it can be: the turn recovers, and what was called runs once."""

from __future__ import annotations

import asyncio
import json

import pytest

from claw_kernel.agent.engine import engine_loop
from claw_kernel.agent.loop import GO_ON
from claw_kernel.messages import TextBlock
from claw_kernel.providers import ProviderSettings, Retries, open_provider
from tests.engine.conftest import play
from tests.model_server import FRAMES, Drop, ModelServer, Response, text, tool_call

APIS = ("anthropic", "openai-chat", "openai-responses")
FIRST = tool_call("call_one", "Bash", {"command": "echo one >> ran"})
SECOND = tool_call("call_two", "Bash", {"command": "echo two >> ran"})
SAID = "I write a line each. "
EVERY_BYTES = 11
"""Frames are cut at their ends and at each 11th byte inside: a few hundred places for each wire format."""


@pytest.fixture
def server():
    with ModelServer(repeat=True) as server:
        yield server


@pytest.fixture
def make(make_agent, server):
    """An agent that speaks ``api`` with the server and does not wait before it tries again."""

    def open_one(api):
        agent = make_agent([], permission_mode="bypassPermissions", max_turns=50)
        settings = ProviderSettings(
            base_url=server.base_url, api=api, retries=Retries(first_seconds=0.001, longest_seconds=0.002)
        )
        provider = asyncio.run_coroutine_threadsafe(_open(settings), engine_loop()).result(5)
        agent._providers["local/m"] = provider
        agent.set_model("local/m")
        return agent

    return open_one


async def _open(settings):
    return open_provider("local/m", settings)


def places(frames):
    """Where to cut: ``(frame, byte)``."""
    for index, frame in enumerate(frames):
        for byte in range(0, len(frame), EVERY_BYTES):
            yield index, byte


def model(api, broken):
    """Answers as a model does: what was called and has its result is not called again. The first answer is ``broken``."""
    is_first = True

    def answer(request):
        nonlocal is_first
        body = request.body
        if is_first:
            is_first = False
            return broken
        has_results = [name for name in ("call_one", "call_two") if _has_result(request.json, name)]
        if len(has_results) == 2:
            return Response(parts=FRAMES[api]([text("Done.")]))
        if has_results:
            return Response(parts=FRAMES[api]([SECOND]))
        blocks = [FIRST, SECOND]
        return Response(parts=FRAMES[api](blocks if GO_ON.encode() in body else [text(SAID), *blocks]))

    return answer


def _has_result(body, call_id):
    written = json.dumps(body.get("messages") or body.get("input"))
    return any(f'"{name}": "{call_id}"' in written for name in ("tool_use_id", "tool_call_id")) or (
        '"function_call_output"' in written and written.count(f'"call_id": "{call_id}"') == 2
    )


@pytest.mark.parametrize("api", APIS)
def test_a_stream_cut_anywhere_loses_nothing_and_runs_nothing_twice(api, make, server, workspace):
    frames = FRAMES[api]([text(SAID), FIRST, SECOND])
    agent = make(api)
    for index, byte in places(frames):
        (workspace / "ran").unlink(missing_ok=True)
        server.clear()
        broken = Response(parts=[*frames[:index], frames[index][:byte], Drop()])
        server.answer(model(api, broken))
        agent.session.clear()

        record = play(agent.start("go"))[-1].record

        where = f"cut in frame {index} at byte {byte}: {frames[index][:60]!r}"
        assert record.stop_reason == "end_turn", (where, record.error)
        assert (workspace / "ran").read_text() == "one\ntwo\n", where
        said = "".join(b.text for step in record.steps for b in step.content if isinstance(b, TextBlock))
        assert said == SAID + "Done.", where
        assert len(record.notices) <= 1, where


@pytest.mark.parametrize("api", APIS)
def test_a_server_that_cuts_every_answer_ends_the_turn_with_what_arrived(api, make, server):
    """It is asked to go on a few times and no more; the request to go on is no part of the conversation."""
    frames = FRAMES[api]([text(SAID), FIRST])
    place = 1 + next(index for index, frame in enumerate(frames) if b'\\"com' in frame)
    server.answer(Response(parts=[*frames[:place], Drop()]))
    agent = make(api)

    record = play(agent.start("go"))[-1].record

    assert record.stop_reason == "error"
    assert "cut off" in record.error.message
    assert len(server.requests) == 4
    assert SAID in json.dumps(
        [[getattr(b, "text", "") for b in m.content] for m in agent.session.transcript("local/m")]
    )
    assert GO_ON not in repr(agent.session.transcript("local/m"))
    assert GO_ON not in repr(record)
