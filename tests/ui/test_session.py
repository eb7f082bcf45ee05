"""The session in the notebook while a person works on it: branches, Run All, deleted and moved cells, two tabs, a reload from disk."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.ui.lab import LabPage
from tests.ui.test_claw import LOAD, ask

pytestmark = pytest.mark.ui

SLOW = "one two three four five six seven eight nine ten eleven twelve"
SCRIPT = {
    "turns": [
        {"when": "slow", "replies": [{"text": SLOW, "chunk_seconds": 0.15}]},
        {"when": "", "replies": [{"text": "You said: {{prompt}}"}]},
    ]
}
PATH = "%claw session"
TREE = "%claw history"


@pytest.fixture
def server(start_server):
    server = start_server()
    (server.notebooks / "script.json").write_text(json.dumps(SCRIPT))
    return server


def command(page: LabPage, name: str) -> None:
    page.page.evaluate("async name => { await jupyterapp.commands.execute(name); }", name)


def select(page: LabPage, index: int) -> None:
    page.page.evaluate("i => { jupyterapp.shell.currentWidget.content.activeCellIndex = i; }", index)


def rerun(page: LabPage, index: int) -> None:
    before = page.metadata(index)["turn_id"]
    page.start_cell(index)
    wait_other(page, index, before)


def wait_other(page: LabPage, index: int, before: str) -> None:
    page.page.wait_for_function(
        "([i, before]) => { const found = jupyterapp.shell.currentWidget.content.model.sharedModel.cells[i]"
        ".getMetadata('claw'); return found && found.turn_id !== before; }",
        arg=[index, before],
    )


def header(page: LabPage) -> dict[str, Any]:
    return page.page.evaluate("() => jupyterapp.shell.currentWidget.content.model.sharedModel.getMetadata('claw')")


def told(page: LabPage, index: int) -> str:
    """What a command says when its cell is run now."""
    page.page.wait_for_timeout(200)  # what the page reports of the notebook is on its way
    page.run_cell(index)
    page.page.wait_for_timeout(100)
    return page.cell_text(index)


def test_a_branch_is_kept_in_the_file_and_run_all_in_a_fresh_kernel_sends_nothing(server, open_page) -> None:
    server.write("tree.ipynb", [LOAD, ask("alpha"), ask("beta"), TREE])
    page = open_page(server, "tree.ipynb")
    for index in (0, 1, 2):
        page.run_cell(index)
    first = page.wait_metadata(1)
    second = page.wait_metadata(2)
    assert second["parent_id"] == first["turn_id"]

    rerun(page, 1)
    rerun(page, 2)
    page.page.wait_for_function(
        "() => jupyterapp.shell.currentWidget.content.model.sharedModel.getMetadata('claw').branches?.length === 2"
    )
    kept = [page.metadata(1)["turn_id"], page.metadata(2)["turn_id"]]
    found = header(page)
    assert [record["turn_id"] for record in found["branches"]] == [first["turn_id"], second["turn_id"]]
    assert found["turns"] == kept
    assert "○ 1" in told(page, 3)
    page.shoot("claw-history")

    page.save()
    page.restart_kernel()
    command(page, "notebook:run-all-cells")
    page.wait_cell(3)
    page.page.wait_for_timeout(300)
    assert "not sent again" in page.cell_text(1)
    assert "You said: beta" in page.cell_text(2)
    assert [page.metadata(1)["turn_id"], page.metadata(2)["turn_id"]] == kept
    page.shoot("claw-recorded")
    rerun(page, 2)
    assert "not sent again" not in page.cell_text(2)


def test_a_deleted_cells_turn_leaves_the_conversation_and_comes_back_with_it(server, open_page) -> None:
    server.write("delete.ipynb", [LOAD, ask("alpha"), ask("beta"), PATH])
    page = open_page(server, "delete.ipynb")
    for index in (0, 1, 2):
        page.run_cell(index)
    page.wait_metadata(2)
    assert "alpha" in told(page, 3)

    select(page, 1)
    command(page, "notebook:delete-cell")
    assert "alpha" not in told(page, 2)
    command(page, "notebook:undo-cell-action")
    page.page.wait_for_timeout(200)
    assert "alpha" in told(page, 3)


def test_a_cell_moved_and_one_copied_during_a_turn_leave_one_turn_in_its_cell(server, open_page) -> None:
    server.write("move.ipynb", [LOAD, ask("slow"), "x = 1", PATH])
    page = open_page(server, "move.ipynb")
    page.run_cell(0)
    page.start_cell(1)
    page.wait_text("one two")
    select(page, 1)
    command(page, "notebook:move-cell-down")
    stored = page.wait_metadata(2)
    assert stored["stop_reason"] == "end_turn"
    assert page.metadata(1) is None
    assert page.cell_text(2).count(SLOW) == 1

    select(page, 2)
    command(page, "notebook:copy-cell")
    command(page, "notebook:paste-cell-below")
    assert told(page, 4).count("slow") == 1
    assert page.metadata(2)["turn_id"] == stored["turn_id"]
    rerun(page, 3)
    assert told(page, 4).count("slow") == 2
    assert page.metadata(2)["turn_id"] == stored["turn_id"]


@pytest.mark.parametrize("when", ["after", "during"])
def test_a_notebook_reloaded_from_disk_gets_its_turns_back(server, open_page, when) -> None:
    server.write("revert.ipynb", [LOAD, ask("slow")])
    page = open_page(server, "revert.ipynb")
    page.run_cell(0)
    page.start_cell(1)
    page.wait_text("one two")
    if when == "after":
        page.wait_metadata(1)
    page.page.evaluate("async () => { await jupyterapp.shell.currentWidget.context.revert(); }")
    stored = page.wait_metadata(1)
    page.wait_text(SLOW)
    assert page.cell_text(1).count(SLOW) == 1
    page.save()
    saved = server.read("revert.ipynb")
    assert saved.cells[1].metadata.claw == stored
    assert len(saved.cells[1].outputs) == 1


def test_two_tabs_keep_each_others_turns(server, open_page) -> None:
    """The second tab was opened before the turn and is saved after it: the file still has the turn, once."""
    server.write("tabs.ipynb", [LOAD, ask("alpha"), "y = 2", ask("beta")])
    one = open_page(server, "tabs.ipynb")
    one.run_cell(0)
    two = open_page(server, "tabs.ipynb", is_kernel_busy=True)
    two.page.wait_for_timeout(1500)  # it has greeted the kernel
    one.run_cell(1)
    stored = one.wait_metadata(1)
    two.page.wait_for_timeout(1500)
    assert two.metadata(1) is None

    two.page.evaluate(
        "() => { jupyterapp.shell.currentWidget.content.model.cells.get(2).sharedModel.setSource('y = 3'); }"
    )
    two.run_cell(3)
    own = two.wait_metadata(3)
    two.save()
    saved = server.read("tabs.ipynb")
    assert saved.cells[1].metadata.claw == stored
    assert saved.cells[2].source == "y = 3"
    assert saved.metadata.claw["turns"] == [stored["turn_id"], own["turn_id"]]
