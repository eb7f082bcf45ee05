"""A whole turn against a server that is none of ours: llama.cpp, over each of the three wire formats it speaks."""

from __future__ import annotations

import json

import pytest

from tests.llama_server import MISSING, LlamaServer, tool_call

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"there is no {' and no '.join(MISSING)} for this platform")

SAID = "I make the file."
COMMAND = 'printf "made by llama" > made.txt'


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    arguments = ['{"command": "', 'printf \\"made by ', 'llama\\" > made.txt', '"}']
    asked = ["I ", "make ", "the ", "file.", *tool_call("Bash", arguments)]
    with LlamaServer(tmp_path_factory.mktemp("llama"), asked=asked, answered=["It ", "is ", "there."]) as server:
        yield server


@pytest.mark.parametrize("api", ["anthropic", "openai-chat", "openai-responses"])
def test_a_turn_with_a_tool_call(claw, llama, api):
    options = ["--base-url", llama.base_url, "--api", api, "--model", "table", "--output-format", "stream-json"]
    done = claw.run("prompt", "make the file", *options, "--permission-mode", "bypassPermissions")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    record = events[-1]["record"]
    assert done.returncode == 0, done.stdout + done.stderr
    assert record["stop_reason"] == "end_turn"
    first, last = record["steps"]
    (said, called) = first["content"]
    assert said["text"].strip() == SAID
    assert (called["name"], called["input"]) == ("Bash", {"command": COMMAND})
    assert first["results"][0]["call_id"] == called["id"]
    assert (claw.workspace / "made.txt").read_text() == "made by llama"
    assert last["content"][-1]["text"] == "It is there."
    assert first["usage"]["output_tokens"] > 8
    assert record["usage"]["cache_read_tokens"] > first["usage"]["input_tokens"] / 2, (
        "the server found its prefix again"
    )
    shown = "".join(event["text"] for event in events if event["type"] == "text_delta")
    assert shown.replace("\n", "") == SAID + "It is there."


@pytest.mark.parametrize("api", ["anthropic", "openai-chat", "openai-responses"])
def test_a_prompt_that_is_too_long(claw, llama, api):
    """Its overflow is recognised in each format."""
    options = ["--base-url", llama.base_url, "--api", api, "--model", "table", "--output-format", "json"]
    done = claw.run("prompt", *options, stdin="ü" * 13_000)
    assert json.loads(done.stdout)["error"]["kind"] == "context_overflow", done.stdout
