"""Long sessions: what a step costs does not grow with the transcript, and providers find their cached prefix again."""

from __future__ import annotations

import json
import os
import statistics
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from claw_kernel.messages import StepStarted
from tests.engine.conftest import play
from tests.engine.long_sessions import Reader, open_agent, serving
from tests.model_server import Request, Response

STEPS = 400


KEPT = 42
"""Requests that are looked at; the others would take 400 MB."""


class ForgettingReader(Reader):
    def __call__(self, request: Request) -> Response:
        answer = super().__call__(request)
        if self.taken > KEPT:
            request.body = b""
        return answer


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def engine_seconds() -> float:
    """CPU of the engine's thread."""
    [engine] = [thread for thread in threading.enumerate() if thread.name == "claw-engine"]
    assert engine.ident is not None
    return time.clock_gettime(time.pthread_getcpuclockid(engine.ident))


@pytest.fixture(scope="module")
def long_turn(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """400 steps with results of 4 KB in a window that holds them all: what the engine had taken when each began, memory at
    some, and the first requests."""
    if not sys.platform.startswith("linux"):
        pytest.skip("threads and memory are measured as Linux shows them")
    folder = tmp_path_factory.mktemp("long")
    workspace = folder / "workspace"
    workspace.mkdir()
    times: list[float] = []
    memory: dict[int, int] = {}
    with serving(ForgettingReader(workspace, steps=STEPS, talk=0)) as server:
        agent = open_agent(folder / "home", workspace, server, context_window=10_000_000)
        turn = agent.start("Read.")

        def watch(event: Any) -> None:
            if isinstance(event, StepStarted):
                times.append(engine_seconds())
                if event.index % 100 == 0:
                    memory[event.index] = resident_bytes()

        play(turn, watch)
        record = agent.session.records[-1]
        agent.close()
        requests = [request for request in server.requests if request.method == "POST"][:KEPT]
    assert (record.stop_reason, len(record.steps)) == ("end_turn", STEPS + 1)
    return times, memory, [request.body for request in requests]


def test_a_step_takes_no_longer_at_the_end_but_for_its_request(long_turn: Any) -> None:
    """The engine's own CPU. A step at the end sends 1.3 MB more than one at the beginning: joining and writing that is a few ms;
    a loop that went through the transcript in Python would take tens."""
    times, _, _ = long_turn
    steps = [later - before for before, later in pairwise(times)]
    first, last = statistics.median(steps[20:120]), statistics.median(steps[-100:])
    assert last - first < 0.015, (first, last)


def test_memory_grows_by_what_was_said(long_turn: Any) -> None:
    """Per step some 4 KB of result, its call, its JSON; not what was said before."""
    _, memory, _ = long_turn
    assert (memory[400] - memory[200]) / 200 < 150_000, memory


def without_marks(body: bytes) -> bytes:
    """Providers compare what is said; a breakpoint is a mark beside it."""
    return body.replace(b',"cache_control":{"type":"ephemeral"}', b"")


def common(one: bytes, other: bytes) -> int:
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[:middle] == other[:middle] else (low, middle - 1)
    return low


def test_nine_tenths_of_the_input_are_the_prefix_from_step_three_on(long_turn: Any) -> None:
    bodies = [without_marks(body) for body in long_turn[2]]
    kept = [common(before, body) for before, body in pairwise(bodies[:41])]
    assert sum(kept[1:]) >= 0.9 * sum(len(body) for body in bodies[2:41])
    # All but the closing brackets of the request before is found again, from the first on.
    assert all(size >= len(before) - 8 for size, before in zip(kept, bodies, strict=False))


def test_breakpoints_stand_where_they_pay(long_turn: Any) -> None:
    """The last tool, the system text and the last message; no more than the four that are allowed."""
    for body in long_turn[2][:40]:
        request = json.loads(body)
        assert "cache_control" in request["tools"][-1]
        assert "cache_control" in request["system"][-1]
        assert "cache_control" in request["messages"][-1]["content"][-1]
        assert body.count(b"cache_control") <= 4


def test_instructions_and_date_come_before_the_messages_and_never_move(long_turn: Any, tmp_path: Path) -> None:
    bodies = [json.loads(body) for body in long_turn[2][:40]]
    assert len({json.dumps([body["tools"], body["system"]]) for body in bodies}) == 1
    assert "Today: " in bodies[0]["system"][0]["text"].rpartition("\n")[2]
