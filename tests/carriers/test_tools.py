"""The table of docs/carriers.md is what the tools do."""

from __future__ import annotations

import importlib.util

import pytest

from tests.carriers.tools import DOCUMENT, TOOLS, row, run_tool

NEEDS = {"papermill": "papermill", "jupytext": "jupytext", "nbdime": "nbdime", "nbstripout": "nbstripout"}


@pytest.mark.parametrize("name", TOOLS)
def test_what_survives_is_what_the_table_says(name, tmp_path):
    for word, module in NEEDS.items():
        if word in name and importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")

    found = run_tool(name, tmp_path / "tool")

    assert row(name, found) in DOCUMENT.read_text(encoding="utf-8").splitlines(), (
        "run make tables, and judge what changed"
    )
    assert found.turns >= 3, "a turn is lost where only one carrier is"
