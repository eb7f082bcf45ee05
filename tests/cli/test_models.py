"""Fallbacks, efforts and asked-for results, from the command line to the wire and back."""

import json
import os
import subprocess
import sys

import pytest

from tests.model_server import FRAMES, JSON, ModelServer, Response, text, thinking, tool_call


@pytest.fixture
def claw(tmp_path):
    env = {k: v for k, v in os.environ.items() if "KEY" not in k and "TOKEN" not in k and not k.startswith("CLAW")}
    env |= {"HOME": str(tmp_path), "CLAW_HOME": str(tmp_path / ".claw"), "ANTHROPIC_API_KEY": "sk-test-0123456789"}

    def run(server, *arguments):
        asked = [sys.executable, "-m", "claw_kernel.cli", "prompt", "--output-format", "stream-json", *arguments]
        given = env | {"ANTHROPIC_BASE_URL": server.base_url}
        done = subprocess.run(asked, capture_output=True, text=True, timeout=60, env=given, cwd=tmp_path, check=False)
        last = json.loads(done.stdout.splitlines()[-1])
        return done, last.get("record", last)

    return run


def test_a_fallback_is_named_in_the_step_and_priced_as_itself(claw, tmp_path):
    (tmp_path / ".claw").mkdir()
    (tmp_path / ".claw" / "settings.json").write_text(json.dumps({"fallback_models": ["anthropic/claude-haiku-4-5"]}))
    with ModelServer() as server:
        server.answer(Response(404, JSON, [b'{"error":{"message":"model: claude-opus-5 not found"}}']))
        server.answer(FRAMES["anthropic"]([thinking("hm"), text("here")]))
        done, record = claw(server, "hello", "--model", "opus", "--effort", "low")
    assert done.returncode == 0, done.stderr
    first, second = (request.json for request in server.requests)
    assert (first["model"], first["output_config"]) == ("claude-opus-5", {"effort": "low"})
    assert (second["model"], second["thinking"]["type"]) == ("claude-haiku-4-5", "enabled")
    (step,) = record["steps"]
    assert (record["model"], step["model"]) == ("anthropic/claude-opus-5", "anthropic/claude-haiku-4-5")
    assert any("claude-haiku-4-5 is asked instead" in notice for notice in record["notices"])
    assert record["cost_usd"] == pytest.approx((10 * 1 + 20 * 5 + 5 * 0.1 + 3 * 1.25) / 1e6, rel=0.01)


def test_a_result_that_was_not_given_is_asked_for_again(claw, tmp_path):
    (tmp_path / "n.json").write_text(json.dumps({"type": "object", "properties": {"n": {"type": "integer"}}}))
    with ModelServer() as server:
        server.answer(FRAMES["anthropic"]([text("It is 4.")]))
        server.answer(FRAMES["anthropic"]([tool_call("c1", "StructuredOutput", {"n": 4})]))
        done, _ = claw(server, "how many?", "--model", "anthropic/m", "--schema", str(tmp_path / "n.json"))
    assert done.returncode == 0, done.stderr
    assert "StructuredOutput" in json.dumps(server.requests[1].json["messages"][-1])
    with ModelServer() as server:
        server.answer(*[FRAMES["anthropic"]([text("It is 4.")])] * 3)
        done, _ = claw(server, "how many?", "--model", "anthropic/m", "--schema", str(tmp_path / "n.json"))
    assert done.returncode == 1
    assert len(server.requests) == 3
