"""Answers to requests for approval: only one that waits, only once."""

from __future__ import annotations

import asyncio

import pytest

from claw_kernel._core import Core
from claw_kernel.gate import Gate
from claw_kernel.messages import ApprovalRequest


@pytest.fixture
def gate(tmp_path):
    core = Core(str(tmp_path), state_dir=str(tmp_path / "state"), session_id="s")
    yield Gate(core)
    core.close()


def request(**fields) -> ApprovalRequest:
    given = {
        "request_id": "",
        "call_id": "c",
        "tool": "Bash",
        "title": "ls",
        "reason": "",
        "preview": {},
        "suggested_rules": ("Bash(ls:*)",),
    }
    return ApprovalRequest(**{**given, **fields})


@pytest.mark.parametrize("request_id", ["", "a_0123456789abcdef", "../../x", "a_*"])
def test_an_answer_to_a_request_nobody_made_changes_nothing(gate, request_id):
    before = gate.core.policy()
    assert not gate.resolve(request_id, "allow_always", "widget")
    assert gate.core.policy() == before


def test_the_answer_to_a_request_that_waits_counts_once(gate):
    async def ask():
        announced: list[ApprovalRequest] = []
        task = asyncio.ensure_future(gate.ask(request(request_id="chosen by a stranger"), "t", announced.append))
        await asyncio.sleep(0)
        assert announced[0].request_id != "chosen by a stranger"
        assert not gate.resolve("chosen by a stranger", "allow_once", "widget")
        assert gate.resolve(announced[0].request_id, "deny", "widget")
        assert not gate.resolve(announced[0].request_id, "allow_always", "widget")
        return await task

    assert asyncio.run(ask()).name == "deny"
    assert "Bash(ls" not in gate.core.policy()
