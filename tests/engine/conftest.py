"""A real agent on a scripted model, in a private workspace."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from claw_kernel.agent import Agent, Turn
from claw_kernel.messages import Event
from claw_kernel.session import Session
from claw_kernel.settings import load_settings


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    path = tmp_path / "workspace"
    path.mkdir()
    return path


@pytest.fixture
def make_agent(tmp_path: Path, workspace: Path) -> Iterator[Callable[..., Agent]]:
    """``make_agent(replies, **settings)``: an agent whose model plays ``replies`` in order."""
    made: list[Agent] = []

    def make(replies: list[dict], *, session: Session | None = None, env: dict | None = None, **options) -> Agent:
        script = tmp_path / f"script{len(made)}.json"
        script.write_text(json.dumps({"title": "test", "turns": [{"when": "", "replies": replies}]}))
        home = {"CLAW_HOME": str(tmp_path / "home"), "PATH": "/usr/local/bin:/usr/bin:/bin", **(env or {})}
        settings = load_settings(str(workspace), home).with_options("test", model=f"scripted/{script}", **options)
        agent = Agent(settings, session=session)
        made.append(agent)
        return agent

    yield make
    for agent in made:
        agent.close()


def play(turn: Turn, on_event: Callable[[Event], None] | None = None) -> list[Event]:
    """All events of a turn; ``on_event`` may answer or cancel meanwhile."""
    events: list[Event] = []
    for batch in turn.batches_blocking():
        for event in batch:
            events.append(event)
            if on_event is not None:
                on_event(event)
    return events


def call(name: str, **arguments) -> dict:
    return {"name": name, "input": arguments}
