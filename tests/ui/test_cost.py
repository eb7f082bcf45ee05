"""What a turn costs stands in its cell while it runs, and so does a line where the conversation was compacted."""

from __future__ import annotations

import json

import pytest

from tests.model_server import ModelServer, Response, anthropic_frames, text, tool_call
from tests.ui.test_claw import LOAD

pytestmark = pytest.mark.ui

USAGE = {"input_tokens": 12_000, "cache_read_input_tokens": 3_000}
NOTES = "## State\nThe file was read twice.\n## Next\nsay what is in it"
ASKS_FOR_NOTES = b"[From Claw, not from the user: this conversation"


def model(request) -> Response:
    """A call, and then an answer that takes its time; notes where they are asked for."""
    if ASKS_FOR_NOTES in request.body[-8_000:]:
        return Response(parts=anthropic_frames([text(NOTES)], usage=USAGE))
    if b"tool_result" not in request.body:
        return Response(parts=anthropic_frames([tool_call("c1", "Read", {"file_path": "data.csv"})], usage=USAGE))
    frames = anthropic_frames([text("The file has three columns and no rows at all.")], usage=USAGE)
    return Response(parts=frames if b"And now?" in request.body else [*frames[:6], 3.0, *frames[6:]])


def test_the_footer_has_the_cost_while_the_turn_runs_and_a_compaction_its_line(
    start_server, open_page, tmp_path
) -> None:
    with ModelServer(repeat=True) as provider:
        provider.answer(model)
        prices = {"anthropic/m": {"input": 3.0, "output": 15.0, "cache_read": 0.3}}
        (tmp_path / "settings.json").write_text(json.dumps({"model": "anthropic/m", "prices": prices}))
        environment = {
            "CLAW_HOME": str(tmp_path),
            "CLAW_BASE_URL": provider.base_url,
            "CLAW_API": "anthropic",
        }
        server = start_server(environment=environment)
        (server.notebooks / "data.csv").write_text("a,b,c\n")
        server.write(
            "cost.ipynb", [LOAD, "%%claw\nWhat is in data.csv?", "%claw compact keep the names", "%%claw\nAnd now?"]
        )
        page = open_page(server, "cost.ipynb")
        page.run_cell(0)
        page.start_cell(1)
        footer = page.page.locator(".jp-Cell").nth(1).locator(".claw-Footer")
        footer.filter(has_text="30,000 in (6,000 cached) / 21 out · $0.07").wait_for(timeout=10_000)
        page.shoot("claw-cost-live")
        record = page.wait_metadata(1)
        assert record["cost_usd"] == pytest.approx((24_000 * 3 + 6_000 * 0.3 + 40 * 15) / 1e6)
        assert "30,000 in (6,000 cached) / 40 out · $0.07" in footer.inner_text()
        page.run_cell(2)
        page.run_cell(3)
        record = page.wait_metadata(3)
        assert NOTES in record["steps"][0]["compaction"]["summary"]
        assert "the conversation so far is now sent as a summary: about" in page.cell_text(3)
        assert "(you asked for it)" in page.cell_text(3)
        page.shoot("claw-compaction")
