"""What people do to a notebook while Claw works in it, or afterwards: nothing is lost, nothing is there twice."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest

from tests.ui.lab import LabPage
from tests.ui.test_branches import wait_standing
from tests.ui.test_claw import LOAD, ask
from tests.ui.test_session import PATH, command, header, select, told

pytestmark = pytest.mark.ui

WORDS = " ".join(f"w{number}" for number in range(1, 31))
SCRIPT = {
    "turns": [
        {"when": "patience", "replies": [{"text": WORDS, "chunk_seconds": 0.6}]},
        {"when": "slow", "replies": [{"text": WORDS, "chunk_seconds": 0.2}]},
        {
            "when": "steps",
            "replies": [
                {"text": "First.", "tool_calls": [{"name": "Bash", "input": {"command": "echo one >> done.txt"}}]},
                {"text": "Second.", "tool_calls": [{"name": "Bash", "input": {"command": "echo two >> done.txt; sleep 60"}}]},
                {"text": "Done."},
            ],
        },
        {"when": "code", "replies": [{"tool_calls": [{"name": "Python", "input": {"code": "b = a + 1"}}]}, {"text": "b is set."}]},
        {"when": "", "replies": [{"text": "You said: {{prompt}}"}]},
    ]
}  # fmt: skip


@pytest.fixture
def server(start_server):
    server = start_server()
    (server.notebooks / "script.json").write_text(json.dumps(SCRIPT))
    return server


def turns_in(page: LabPage) -> list[str | None]:
    """Of each cell the turn in its metadata."""
    return page.page.evaluate(
        "() => [...jupyterapp.shell.currentWidget.content.model.sharedModel.cells]"
        ".map(cell => cell.getMetadata('claw')?.turn_id ?? null)"
    )


@pytest.mark.parametrize("what", ["moved", "reverted"])
def test_a_turn_is_shown_live_in_the_cell_that_came_in_its_place(server, open_page, what) -> None:
    server.write("live.ipynb", [LOAD, ask("slow"), "x = 1"])
    page = open_page(server, "live.ipynb")
    page.run_cell(0)
    page.start_cell(1)
    page.wait_text("w1 w2")
    if what == "moved":
        select(page, 1)
        command(page, "notebook:move-cell-down")
    else:
        page.page.evaluate("async () => { await jupyterapp.shell.currentWidget.context.revert(); }")
    at = 2 if what == "moved" else 1
    turn = page.page.locator(".jp-Notebook .jp-Cell").nth(at).locator(".claw-Turn[data-state=running]")
    turn.wait_for(timeout=4_000)
    shown = turn.inner_text()
    page.page.wait_for_timeout(700)
    assert page.metadata(at) is None  # it has not ended
    assert len(page.cell_text(at)) > len(shown)
    assert page.wait_metadata(at)["stop_reason"] == "end_turn"
    assert page.cell_text(at).count(WORDS) == 1


def test_kill_9_in_mid_turn_keeps_all_but_the_running_step(server, open_page) -> None:
    """JupyterLab starts another kernel; the turn is taken back into its cell, and nothing that ran runs again."""
    done = server.notebooks / "done.txt"
    done.unlink(missing_ok=True)
    server.write(
        "killed.ipynb",
        [LOAD, "import os; print(os.getpid())", ask("steps", "--mode bypassPermissions"), "%claw history recover", ask("go on")],
    )  # fmt: skip
    page = open_page(server, "killed.ipynb")
    page.run_cell(0)
    page.run_cell(1)
    page.save()
    page.start_cell(2)
    for _ in range(100):
        if done.exists() and "two" in done.read_text():
            break
        time.sleep(0.1)
    os.kill(int(page.cell_text(1)), signal.SIGKILL)
    page.wait_text("the kernel that ran this turn is gone")
    page.shoot("killed")
    page._wait_for_notebook(is_kernel_busy=False)
    page.page.wait_for_timeout(500)
    if page.page.locator(".jp-Dialog").count():
        page.page.keyboard.press("Escape")
    page.run_cell(0)
    page.run_cell(3)
    stored = page.wait_metadata(2)
    assert stored["stop_reason"] == "incomplete"
    assert len(stored["steps"]) == 2
    assert "may have taken effect" in json.dumps(stored["steps"][1]["results"])
    assert "First." in page.cell_text(2)
    assert "in cell 3" in page.cell_text(3)
    page.shoot("recovered")
    page.run_cell(4)
    assert page.wait_metadata(4)["parent_id"] == stored["turn_id"]
    assert done.read_text() == "one\ntwo\n"
    page.save()
    assert server.read("killed.ipynb").metadata.claw.turns[0] == stored["turn_id"]


def test_the_cells_that_rebuild_the_namespace_run_in_the_notebook(server, open_page) -> None:
    server.write(
        "rebuild.ipynb",
        [LOAD, "a = 20\nprint('a is', a)", "print('not needed')", ask("code", "--mode bypassPermissions"),
         "%claw resume --run --yes", "print(a + b)"],
    )  # fmt: skip
    page = open_page(server, "rebuild.ipynb")
    for index in (0, 1, 2, 3):
        page.run_cell(index)
    page.wait_metadata(3)
    page.save()
    page.restart_kernel()
    command(page, "notebook:clear-all-cell-outputs")
    page.run_cell(0)
    page.run_cell(4)
    page.page.wait_for_function(
        "() => jupyterapp.shell.currentWidget.content.widgets[1].model.outputs.length > 0", timeout=10_000
    )
    assert page.cell_text(1).strip() == "a is 20"
    page.run_cell(5)
    assert page.cell_text(5).strip() == "41"
    assert page.cell_text(2) == ""
    page.shoot("resume-run")


def test_cells_duplicated_cut_cleared_split_and_merged(server, open_page) -> None:
    """One conversation of two turns stays that, whatever becomes of the cells; a cell cut into another notebook takes its turn along."""
    server.write("shape.ipynb", [LOAD, ask("alpha"), ask("beta"), PATH])
    server.write("other.ipynb", ["1"])
    page = open_page(server, "shape.ipynb")
    for index in (0, 1, 2):
        page.run_cell(index)
    alpha, beta = page.wait_metadata(1)["turn_id"], page.wait_metadata(2)["turn_id"]

    select(page, 1)
    command(page, "notebook:duplicate-below")
    assert turns_in(page) == [None, alpha, alpha, beta, None]
    assert told(page, 4).count("alpha") == 1
    select(page, 2)
    command(page, "notebook:delete-cell")
    assert told(page, 3).count("alpha") == 1

    command(page, "notebook:clear-all-cell-outputs")
    assert "beta" in told(page, 3)
    select(page, 1)
    page.page.evaluate(
        "() => { const w = jupyterapp.shell.currentWidget.content; w.mode = 'edit';"
        " w.activeCell.editor.setCursorPosition({line: 1, column: 2}); }"
    )
    command(page, "notebook:split-cell-at-cursor")
    assert told(page, 4).count("beta") == 1
    page.page.evaluate(
        "() => { const w = jupyterapp.shell.currentWidget.content; w.mode = 'command'; w.activeCellIndex = 1;"
        " w.extendContiguousSelectionTo(2); }"
    )
    command(page, "notebook:merge-cells")
    text = told(page, 3)
    assert (text.count("alpha"), text.count("beta")) == (1, 1)
    assert header(page)["turns"] == [alpha, beta]

    select(page, 2)
    command(page, "notebook:cut-cell")
    assert "beta" not in told(page, 2)
    page.save()
    page.page.evaluate("async () => { await jupyterapp.commands.execute('docmanager:open', {path: 'other.ipynb'}); }")
    page._wait_for_notebook(is_kernel_busy=False)
    select(page, 0)
    command(page, "notebook:paste-cell-below")
    page.page.wait_for_timeout(300)
    page.save()
    assert server.read("other.ipynb").cells[1].metadata.claw.turn_id == beta


def test_the_tab_is_closed_in_mid_turn_and_the_notebook_renamed(server, open_page) -> None:
    server.write("closed.ipynb", [LOAD, ask("patience")])
    page = open_page(server, "closed.ipynb")
    page.run_cell(0)
    page.save()
    page.start_cell(1)
    page.wait_text("w1 w2")
    page.page.close()
    page.page = page.context.new_page()
    page.open("closed.ipynb", is_kernel_busy=True)
    page.page.locator(".claw-Turn[data-state=running]").wait_for(timeout=8_000)
    page.page.evaluate("async () => { await jupyterapp.shell.currentWidget.context.rename('renamed.ipynb'); }")
    stored = page.wait_metadata(1, 30)
    assert stored["stop_reason"] == "end_turn"
    assert page.cell_text(1).count(WORDS) == 1
    page.save()
    saved = server.read("renamed.ipynb")
    assert saved.cells[1].metadata.claw == stored
    assert saved.metadata.claw["turns"] == [stored["turn_id"]]


def test_a_deletion_undone_in_mid_turn_and_restart_and_run_all(server, open_page) -> None:
    server.write("undone.ipynb", [LOAD, ask("slow"), ask("beta")])
    page = open_page(server, "undone.ipynb")
    page.run_cell(0)
    page.start_cell(1)
    page.wait_text("w1 w2")
    select(page, 1)
    command(page, "notebook:delete-cell")
    page.page.wait_for_timeout(300)
    command(page, "notebook:undo-cell-action")
    stored = page.wait_metadata(1, 15)
    assert page.cell_text(1).count(WORDS) == 1
    page.run_cell(2)
    beta = page.wait_metadata(2)
    assert beta["parent_id"] == stored["turn_id"]
    page.save()

    page.restart_kernel()
    command(page, "notebook:run-all-cells")
    page.wait_cell(2)
    page.page.wait_for_timeout(300)
    assert turns_in(page) == [None, stored["turn_id"], beta["turn_id"]]
    assert "not sent again" in page.cell_text(2)
    wait_standing(page, 2, "path")


def test_a_file_changed_on_disk_is_not_overwritten_unasked(server, open_page) -> None:
    """JupyterLab asks; the turn is in the page's document all the same, and after "Overwrite" in the file."""
    server.write("conflict.ipynb", [LOAD, ask("slow"), "y = 1"])
    page = open_page(server, "conflict.ipynb")
    page.run_cell(0)
    page.save()
    page.start_cell(1)
    page.wait_text("w1 w2")
    path = server.notebooks / "conflict.ipynb"
    path.write_text(path.read_text().replace("y = 1", "y = 2"))
    os.utime(path, (time.time() + 5, time.time() + 5))
    stored = page.wait_metadata(1)
    page.page.evaluate("() => { void jupyterapp.shell.currentWidget.context.save(); }")
    page.page.locator(".jp-Dialog").get_by_role("button", name="Overwrite").click()
    page.page.wait_for_timeout(800)
    saved = server.read("conflict.ipynb")
    assert saved.cells[1].metadata.claw == stored
    assert saved.metadata.claw["turns"] == [stored["turn_id"]]
