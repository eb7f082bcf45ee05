"""The notebook on the screen tells which turns the model sees, and leads from one branch to another; nothing is lost on the way."""

from __future__ import annotations

import json

import pytest

from tests.ui.lab import LabPage
from tests.ui.test_claw import LOAD, ask
from tests.ui.test_session import SCRIPT, header, rerun, wait_other

pytestmark = pytest.mark.ui


@pytest.fixture
def server(start_server):
    server = start_server()
    (server.notebooks / "script.json").write_text(json.dumps(SCRIPT))
    return server


def standing(page: LabPage, index: int) -> str:
    """``path``, ``branch`` or ``conversation``: how the turn of a cell is drawn."""
    cell = page.page.locator(".jp-Notebook .jp-Cell").nth(index)
    return str(cell.locator(".claw-Turn").get_attribute("data-standing"))


def wait_standing(page: LabPage, index: int, wanted: str) -> None:
    page.page.locator(".jp-Notebook .jp-Cell").nth(index).locator(f".claw-Turn[data-standing={wanted}]").wait_for(
        timeout=10_000
    )


def source(page: LabPage, index: int) -> str:
    return str(
        page.page.evaluate("i => jupyterapp.shell.currentWidget.content.model.sharedModel.cells[i].getSource()", index)
    )


def test_a_rewind_marks_what_the_model_no_longer_sees_and_a_click_returns(server, open_page) -> None:
    server.write("rewind.ipynb", [LOAD, ask("alpha"), ask("beta"), "%claw rewind 2 --conversation", "%claw session"])
    page = open_page(server, "rewind.ipynb")
    for index in (0, 1, 2):
        page.run_cell(index)
    second = page.wait_metadata(2)["turn_id"]
    page.run_cell(3)
    wait_standing(page, 2, "branch")
    assert standing(page, 1) == "path"
    assert "the model does not see this turn" in page.cell_text(2)
    assert header(page)["off_path"] == [second]  # a colleague who opens the file sees the same
    page.shoot("branch-rewind")

    page.save()
    page.restart_kernel()
    page.run_cell(0)
    page.run_cell(4)
    assert "beta" not in page.cell_text(4)
    page.page.get_by_role("button", name="Return to it").click()
    wait_standing(page, 2, "path")
    page.run_cell(4)
    assert "beta" in page.cell_text(4)


def test_a_cell_shows_the_turn_of_the_branch_and_its_prompt(server, open_page) -> None:
    """Two answers of one cell: going back shows the old prompt and answer, and going on the new ones; both stay in the file."""
    server.write("versions.ipynb", [LOAD, ask("alpha"), ask("beta"), "%claw history use 2"])
    page = open_page(server, "versions.ipynb")
    for index in (0, 1, 2):
        page.run_cell(index)
    old = page.wait_metadata(1)["turn_id"]
    beta = page.wait_metadata(2)["turn_id"]
    page.page.evaluate(
        "text => jupyterapp.shell.currentWidget.content.model.sharedModel.cells[1].setSource(text)", ask("gamma")
    )
    rerun(page, 1)
    new = page.metadata(1)["turn_id"]
    wait_standing(page, 2, "branch")
    page.shoot("branch-versions")

    page.run_cell(3)
    wait_other(page, 1, new)
    assert page.metadata(1)["turn_id"] == old
    wait_standing(page, 2, "path")
    assert "You said: alpha" in page.cell_text(1)
    assert source(page, 1) == ask("alpha")
    assert header(page)["turns"] == [old, beta]
    assert [kept["turn_id"] for kept in header(page)["branches"]] == [new]

    page.page.get_by_role("button", name="Later turn of this cell: gamma").click()
    wait_other(page, 1, old)
    assert "You said: gamma" in page.cell_text(1)
    assert source(page, 1) == ask("gamma")
    wait_standing(page, 2, "branch")
    page.save()
    saved = server.read("versions.ipynb")
    assert saved.cells[1].metadata.claw.turn_id == new
    assert [kept.turn_id for kept in saved.metadata.claw.branches] == [old]
    assert saved.metadata.claw.turns == [new]


def test_a_new_conversation_marks_the_turns_of_the_old_one(server, open_page) -> None:
    server.write("clear.ipynb", [LOAD, ask("alpha"), "%claw clear", "%claw memory add weights are in grams"])
    page = open_page(server, "clear.ipynb")
    page.run_cell(0)
    page.run_cell(1)
    old = page.wait_metadata(1)["session_id"]
    page.run_cell(2)
    wait_standing(page, 1, "conversation")
    page.shoot("branch-conversation")
    page.page.get_by_role("button", name="Go on with it").click()
    wait_standing(page, 1, "path")
    assert header(page)["session_id"] == old
    page.run_cell(3)
    page.page.wait_for_timeout(300)
    assert header(page)["memory"] == ["weights are in grams"]


def test_without_the_extension_a_line_says_it(start_server, open_page) -> None:
    server = start_server(is_extension_enabled=False)
    (server.notebooks / "script.json").write_text(json.dumps(SCRIPT))
    server.write("plain.ipynb", [LOAD, ask("alpha"), ask("beta"), "%claw fork 1", "%claw history use 2"])
    page = open_page(server, "plain.ipynb")
    for index in (0, 1, 2, 3):
        page.run_cell(index)
    page.wait_text("the model does not see this turn")
    assert "On another branch" in page.cell_text(2)
    assert "%claw history use 2 returns to it" in page.cell_text(2)
    assert "On another branch" not in page.cell_text(1)
    page.shoot("branch-text")
    page.run_cell(4)
    page.page.wait_for_timeout(300)
    assert "On another branch" not in page.cell_text(2)
