"""Tomorrow, with a fresh kernel: the model is sent the earlier turns exactly as they were."""

from __future__ import annotations

import json
from typing import Any

import nbformat
import pytest

from tests.kernels import TURN, Kernels
from tests.model_server import ModelServer, anthropic_frames, text, tool_call


def messages_of(request: Any) -> list[dict[str, Any]]:
    """The messages on the wire, without the marks for the provider's cache, which move to the newest message."""
    found = request.json["messages"]
    for message in found:
        for block in message["content"]:
            block.pop("cache_control", None)
    return found


@pytest.mark.parametrize("carrier", ["hello", "file"])
def test_a_fresh_kernel_sends_the_earlier_turns_exactly(kernels: Kernels, carrier: str) -> None:
    """Brought by the extension's hello, or read from the notebook's file where there is no extension."""
    (kernels.workspace / "a.txt").write_text("héllo\n")
    with ModelServer() as server:
        server.answer(
            anthropic_frames([text("I look."), tool_call("c1", "Read", {"file_path": "a.txt", "limit": 1.0})]),
            anthropic_frames([text("It says héllo.")]),
            anthropic_frames([text("Thanks.")]),
            anthropic_frames([text("You asked for a.txt.")]),
        )
        variables = {
            "ANTHROPIC_API_KEY": "test-key-123456",
            "CLAW_BASE_URL": server.base_url,
            "CLAW_MODEL": "anthropic/claude-test",
        }
        first = kernels.start(**variables)
        drawn = [
            first.run("%%claw\nWhat is in @a.txt?", cell_id="one"),
            first.run("%%claw\nGood.", cell_id="two"),
        ]
        assert all(cell.is_ok for cell in drawn), drawn
        header = first.request("header")["header"]
        sent = messages_of(server.requests[-1])
        records = json.loads(json.dumps([cell.turn for cell in drawn]))
        first.close()

        notebook = nbformat.v4.new_notebook()
        for cell in drawn:
            output = nbformat.v4.new_output("display_data", {TURN: cell.turn, "text/plain": ""})
            notebook.cells.append(nbformat.v4.new_code_cell("%%claw", outputs=[output]))
        path = kernels.directory / "yesterday.ipynb"
        nbformat.write(notebook, path)

        if carrier == "hello":
            second = kernels.start(**variables)
            assert second.hello(records=records, header=header)["session_id"] == header["session_id"]
        else:
            second = kernels.start(**variables, JPY_SESSION_NAME=str(path))
        assert second.run("%%claw\nWhat did I ask for?", cell_id="three").is_ok

        again = messages_of(server.requests[-1])
        assert again[: len(sent)] == sent
        assert again[len(sent) :] == [
            {"role": "assistant", "content": [{"type": "text", "text": "Thanks."}]},
            {"role": "user", "content": [{"type": "text", "text": "What did I ask for?"}]},
        ]
        assert "test-key-123456" not in path.read_text()
