"""Deferral: about a dozen schemas are sent, the others when they are found or called, and never in another order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claw_kernel.agent import Agent
from claw_kernel.messages import Step, TextBlock, ToolCall, ToolResult, ToolSpec, TurnRecord
from claw_kernel.session import Session
from claw_kernel.settings import load_settings
from claw_kernel.tools.catalog import FOUND_AT_ONCE, SENT_AT_ONCE, Catalog
from claw_kernel.tools.registry import DeferredTool, Intent, ToolSet
from tests.engine.conftest import play
from tests.model_server import ModelServer, anthropic_frames, text, tool_call


def spec(name: str, description: str = "", *, is_deferred: bool = False) -> ToolSpec:
    return ToolSpec(name, description, {"type": "object"}, is_deferred=is_deferred)


DEFERRED = [
    spec("NotebookEdit", "Change one cell of a notebook file.", is_deferred=True),
    spec("WebSearch", "Search the web.", is_deferred=True),
    spec("LSP", "Definitions, references and diagnostics from a language server.", is_deferred=True),
    spec("Sleep", "Wait for some seconds.", is_deferred=True),
    spec("Git", "Status, log, diff and blame of the repository.", is_deferred=True),
    spec("KillShell", "End a background job.", is_deferred=True),
]
SENT = [spec(f"Tool{number}") for number in range(SENT_AT_ONCE)]


def catalog() -> Catalog:
    return Catalog([*SENT, *DEFERRED])


def test_few_tools_are_all_sent() -> None:
    few = Catalog([*SENT[:8], *DEFERRED[:4]])
    assert few.deferred == ()
    assert len(few.specs) == SENT_AT_ONCE


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("edit notebook", "NotebookEdit"),
        ("notebookedit", "NotebookEdit"),
        ("git", "Git"),
        ("language server", "LSP"),
        ("background jobs", "KillShell"),
        ("search the web", "WebSearch"),
        ("select:Sleep", "Sleep"),
        ("select: lsp , sleep", "LSP"),
    ],
)
def test_the_best_comes_first(query: str, first: str) -> None:
    assert catalog().search(query).loaded[0].name == first


def test_what_is_found_is_sent_at_the_end_and_stays() -> None:
    tools = catalog()
    before = tools.specs
    assert tools.specs is before
    assert [found.name for found in tools.search("git").loaded] == ["Git"]
    assert tools.specs[: len(before)] == before
    assert [found.name for found in tools.specs[len(before) :]] == ["Git"]
    again = tools.search("select:Git,Nothing,Tool1")
    assert (again.loaded, again.known, again.missing) == ((), ("Git", "Tool1"), ("Nothing",))
    assert tools.search("zebra").loaded == ()
    named = tools.search("+git status")
    assert (named.loaded, named.known) == ((), ("Git",))


@given(st.lists(st.text(max_size=30) | st.sampled_from([item.name for item in DEFERRED]), max_size=12))
def test_the_prefix_is_stable(queries: list[str]) -> None:
    """Whatever is looked for: no schema moves, none is sent twice, and a search loads a handful at most."""
    tools = catalog()
    for query in queries:
        before = tools.specs
        found = tools.search(query)
        assert len(found.loaded) <= FOUND_AT_ONCE
        assert tools.specs == (*before, *found.loaded)
        assert found.loaded or tools.specs is before
        tools.load([query])
    names = [item.name for item in tools.specs]
    assert len(names) == len(set(names))


@pytest.fixture
def converse(tmp_path: Path, workspace: Path) -> Iterator[Any]:
    """``converse(answers, session)``: the turn, and the names of the schemas in each request as the server got it."""
    agents: list[Agent] = []

    def run(answers: list[list[Any]], session: Session | None = None) -> tuple[TurnRecord, list[list[str]]]:
        with ModelServer() as server:
            for answer in answers:
                server.answer(anthropic_frames(answer))
            settings = load_settings(str(workspace), {"CLAW_HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin"})
            settings = settings.with_options("test", model="local/m", base_url=server.base_url, api="anthropic")
            agent = Agent(settings, session=session)
            agents.append(agent)
            offered = [*agent._python_tools(None), *(Extra(number) for number in range(SENT_AT_ONCE))]
            agent.tools = ToolSet(agent.gate.core, offered)
            turn = agent.start("go")
            play(turn)
            return turn.record, [[tool["name"] for tool in request.json["tools"]] for request in server.requests]

    yield run
    for agent in agents:
        agent.close()


class Extra:
    """One of many deferred tools, however many this build has."""

    def __init__(self, number: int) -> None:
        self.spec = spec(f"Extra{number}", "Not called here.", is_deferred=True)

    def intend(self, arguments: dict[str, Any]) -> Intent:
        raise AssertionError(arguments)

    async def run(self, arguments: dict[str, Any], on_output: Any) -> Any:
        raise AssertionError(arguments, on_output)


def test_a_session_defers_finds_and_calls(converse: Any) -> None:
    record, sent = converse(
        [
            [tool_call("c1", "ToolSearch", {"query": "select:Config"})],
            [tool_call("c2", "Config", {"setting": "max_turns"})],
            [text("done")],
        ]
    )
    assert "Config" not in sent[0]
    assert sent[0][-1] == "ToolSearch"
    assert sent[1] == [*sent[0], "Config"]
    assert sent[2] == sent[1]
    found, asked = (step.results[0].content[0].text for step in record.steps[:2])
    assert "Config: Read this session's settings" in found
    assert asked == "max_turns = 100 (default)"


def test_a_deferred_tool_may_be_called_unseen(converse: Any) -> None:
    """It is validated; where the arguments do not fit, the error has the schema; and it is sent from then on."""
    record, sent = converse(
        [
            [tool_call("c1", "SendUserMessage", {"text": "hi"})],
            [tool_call("c2", "SendUserMessage", {"message": "hi"})],
            [text("done")],
        ]
    )
    first, second = (step.results[0] for step in record.steps[:2])
    assert first.is_error
    assert json.loads(first.content[0].text.partition("JSON schema: ")[2])["required"] == ["message"]
    assert not second.is_error
    assert "SendUserMessage" not in sent[0]
    assert sent[1] == [*sent[0], "SendUserMessage"] == sent[2]


def test_a_resumed_session_sends_what_its_transcript_used(converse: Any) -> None:
    session = Session("s_1")
    used = ToolCall("c1", "SendUserMessage", {"message": "hi"})
    step = Step((used,), (ToolResult("c1", (TextBlock("The user sees it."),)),))
    prompt = (TextBlock("before"),)
    session.add(TurnRecord("t_1", "s_1", "before", prompt, "local/m", "2026-01-01T00:00:00Z", (step,)))
    _, sent = converse([[text("again")]], session)
    assert sent[0][-1] == "SendUserMessage"


def test_a_tool_that_is_made_late_is_what_was_promised(tmp_path: Path) -> None:
    """Its name and that it is deferred are said before its module is imported."""
    agent = Agent(load_settings(str(tmp_path), {"CLAW_HOME": str(tmp_path / "home")}))
    try:
        late = [tool for tool in agent._python_tools(None) if isinstance(tool, DeferredTool)]
        assert len(late) == 7
        for tool in late:
            assert tool.spec.name == tool.name
            assert tool.spec.is_deferred
            assert tool.made() is tool.made()
    finally:
        agent.close()
