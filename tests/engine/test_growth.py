"""Long sessions: what a step costs does not grow with the transcript. That the prefix stays: ``test_prefix.py``."""

from __future__ import annotations

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


class ForgettingReader(Reader):
    """The requests of all steps would take 400 MB."""

    def __call__(self, request: Request) -> Response:
        answer = super().__call__(request)
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
    """400 steps with results of 4 KB in a window that holds them all: what the engine had taken when each began, and memory at
    some."""
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
    assert (record.stop_reason, len(record.steps)) == ("end_turn", STEPS + 1)
    return times, memory


def test_a_step_takes_no_longer_at_the_end_but_for_its_request(long_turn: Any) -> None:
    """The engine's own CPU. A step at the end sends 1.3 MB more than one at the beginning: joining and writing that is a few ms;
    a loop that went through the transcript in Python would take tens."""
    times, _ = long_turn
    steps = [later - before for before, later in pairwise(times)]
    first, last = statistics.median(steps[20:120]), statistics.median(steps[-100:])
    assert last - first < 0.015, (first, last)


def test_memory_grows_by_what_was_said(long_turn: Any) -> None:
    """Per step some 4 KB of result, its call, its JSON; not what was said before."""
    _, memory = long_turn
    assert (memory[400] - memory[200]) / 200 < 150_000, memory
