"""The same tools from settings to record: a real agent on a scripted model."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from claw_kernel.errors import SettingsError
from claw_kernel.messages import ApprovalRequested
from tests.engine.conftest import call, make_agent, play, workspace
from tests.processes import wait_until, with_arguments

__all__ = ["make_agent", "workspace"]  # fixtures


def texts_of(record) -> list[str]:
    return [block.text for step in record.steps for result in step.results for block in result.content]


def write_settings(tmp_path: Path, **content) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "settings.json").write_text(json.dumps(content))


def test_a_host_is_asked_for_once_and_then_its_rule_holds(make_agent, tmp_path, web):
    write_settings(tmp_path, web={"allow_private_hosts": ["127.0.0.1"]})
    web.add("/a", "<h1>First</h1>")
    web.add("/b", "<h1>Second</h1>")
    fetches = [call("WebFetch", url=f"{web.url}/a"), call("WebFetch", url=f"{web.url}/b")]
    agent = make_agent([{"tool_calls": fetches[:1]}, {"tool_calls": fetches[1:]}, {"text": "done"}])
    asked = []

    def answer(event):
        if isinstance(event, ApprovalRequested):
            asked.append(event.request)
            agent.gate.resolve(event.request.request_id, "allow_always", "widget")

    record = play(agent.start("go", ways=("widget",)), answer)[-1].record

    assert [request.suggested_rules for request in asked] == [("WebFetch(domain:127.0.0.1)",)]
    assert ["# First" in texts_of(record)[0], "# Second" in texts_of(record)[1]] == [True, True]


def test_a_private_address_is_refused_before_anybody_is_asked(make_agent, web):
    agent = make_agent([{"tool_calls": [call("WebFetch", url=web.url)]}, {"text": "done"}])
    events = play(agent.start("go", ways=("widget",)))
    assert not any(isinstance(event, ApprovalRequested) for event in events)
    assert "allow_private_hosts" in texts_of(events[-1].record)[0]
    assert web.seen == []


def test_a_key_never_reaches_the_record(make_agent, tmp_path, web):
    key = "tvly-0123456789abcdef"
    write_settings(tmp_path, web={"search": {"engine": "tavily", "url": f"{web.url}/s", "key": key}})
    results = {"results": [{"title": "T", "url": "https://e.example/", "content": f"your key is {key}"}]}
    web.add("/s", json.dumps(results), "application/json")
    agent = make_agent(
        [{"tool_calls": [call("WebSearch", query="sky")]}, {"text": "done"}], permission_mode="bypassPermissions"
    )
    record = play(agent.start("go"))[-1].record
    assert texts_of(record) == ["1. T\n   https://e.example/\n   your key is [secret]"]
    assert web.seen[0].headers["authorization"] == f"Bearer {key}"


def test_the_interpreter_lives_as_long_as_the_session(make_agent):
    sleep = [
        "sleep",
        f"1002.{os.getpid()}",
    ]  # a process of the interpreter's: its number in the sandbox means nothing here
    calls = [
        call("REPL", code=f"import subprocess; n = 1; child = subprocess.Popen({sleep})"),
        call("REPL", code="n + 1"),
    ]
    agent = make_agent(
        [{"tool_calls": calls}, {"text": "one"}, {"tool_calls": [call("REPL", code="n + 2")]}, {"text": "two"}],
        permission_mode="bypassPermissions",
    )
    assert texts_of(play(agent.start("go"))[-1].record)[1] == "2"
    assert with_arguments(*sleep)
    agent.close()
    wait_until(lambda: not with_arguments(*sleep))


def test_a_granted_host_that_is_none_is_named(make_agent, tmp_path):
    write_settings(tmp_path, web={"allow_private_hosts": ["no host"]})
    with pytest.raises(SettingsError, match="allow_private_hosts"):
        make_agent([{"text": "x"}])
