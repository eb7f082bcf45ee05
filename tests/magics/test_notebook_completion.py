"""Tab in a Python notebook: what is Claw's in a cell is completed as in the Claw kernel, Python stays Python's."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def complete(each_kernel):
    kernel = each_kernel.start()
    (each_kernel.workspace / "prepare.py").write_text("")
    kernel.run("penguins = 1", cell_id=None)

    def ask(code: str) -> dict[str, Any]:
        return kernel.client.complete(code, reply=True, timeout=10)["content"]

    return ask


def test_tab_in_a_python_notebook(complete) -> None:
    for code, wanted, start in (
        ("%claw mod", "model", 6),
        ("x = 1\n%claw permissions mode pl", "plan", 29),
        ("%%claw --max-c", "--max-cost", 7),
        ("%%claw --rec", "--recorded", 7),
        ("%%claw\nWhat is in {pen", "penguins", 19),
        ("%%claw\nLook at @prep", "prepare.py", 16),
        ("pengu", "penguins", 0),
    ):
        found = complete(code)
        assert wanted in found["matches"], (code, found)
        assert found["cursor_start"] == start, (code, found)
        assert found["cursor_end"] == len(code)
    assert "model" not in complete("mod")["matches"]
