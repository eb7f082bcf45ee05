"""The main job in a real JupyterLab: ``%%claw`` asks in the cell, a person answers while it runs, the session is in the file."""

from __future__ import annotations

import json
import time

import pytest

from tests.kernels import INSTALLED, VERSIONS
from tests.ui.lab import TURN_MIME

pytestmark = pytest.mark.ui

COMMAND = "date +%s.%N > started.txt; echo hello-$((40 + 2)); sleep 0.5; echo bye"
PLOT = """import matplotlib.pyplot as plt
from IPython.display import HTML
plt.plot([1, 3, 2])
plt.title('mass')
plt.show()
x = 41
HTML('<table><tr><td>in a table</td></tr></table>')"""
SCRIPT = {
    "turns": [
        {"when": "second words", "replies": [{"text": "I remember."}]},
        {
            "when": "greet",
            "replies": [
                {"text": "I run a command.", "tool_calls": [{"name": "Bash", "input": {"command": COMMAND}}]},
                {"text": "It said:\n\n```\n{{result}}\n```"},
            ],
        },
        {
            "when": "sleep",
            "replies": [
                {"tool_calls": [{"name": "Bash", "input": {"command": "touch begun.txt; echo begun; sleep 60"}}]},
                {"text": "Slept well."},
            ],
        },
        {
            "when": "plot",
            "replies": [
                {"text": "I draw it.", "tool_calls": [{"name": "Python", "input": {"code": PLOT}}]},
                {"text": "The second value is the highest."},
            ],
        },
        {
            "when": "count",
            "replies": [{"text": "One two three four five six seven eight nine ten", "chunk_seconds": 0.15}],
        },
        {"when": "", "replies": [{"text": "You said: {{prompt}}"}]},
    ]
}
LOAD = "%load_ext claw_magics"


def ask(prompt: str, options: str = "") -> str:
    return f"%%claw --model scripted/script.json {options}\n{prompt}"


@pytest.fixture
def server(start_server):
    return prepare(start_server())


def prepare(server):
    (server.notebooks / "script.json").write_text(json.dumps(SCRIPT))
    (server.notebooks / "started.txt").unlink(missing_ok=True)
    return server


@pytest.mark.parametrize("version", VERSIONS)
def test_a_click_while_the_cell_runs(start_server, open_page, version) -> None:
    """The cell asks, the button is clicked while it runs, the tool runs, the cell ends; header and record are in the file."""
    server = prepare(start_server(version))
    server.write("click.ipynb", [LOAD, ask("greet me"), "import ipykernel; print(ipykernel.__version__)"])
    page = open_page(server, "click.ipynb")
    page.run_cell(0)
    page.start_cell(1)
    page.button("Allow once").wait_for()
    page.shoot(f"claw-card-{version}")
    page.page.evaluate(
        "() => document.addEventListener('click', () => { window.clickedAt = Date.now() / 1000; }, true)"
    )
    page.button("Allow once").click()
    page.wait_cell(1)
    page.wait_text("It said:")
    latency = float((server.notebooks / "started.txt").read_text()) - page.page.evaluate("() => window.clickedAt")
    print(f"\nclick to tool start, ipykernel {version}: {latency * 1000:.0f} ms")
    assert latency < 1
    assert "hello-42" in page.cell_text(1)
    assert "cost unknown" in page.cell_text(1)
    assert "scripted" in page.cell_text(1)
    page.shoot(f"claw-done-{version}")

    stored = page.wait_metadata(1)
    page.save()
    saved = server.read("click.ipynb")
    cell = saved.cells[1]
    assert cell.metadata.claw == stored
    assert cell.outputs[0].data[TURN_MIME] == stored
    assert stored["stop_reason"] == "end_turn"
    assert stored["cell_id"] == cell.id
    assert [(entry["answer"], entry["answered_by"]) for entry in stored["approvals"]] == [("allow_once", "extension")]
    assert saved.metadata.claw["turns"] == [stored["turn_id"]]
    assert saved.metadata.claw["session_id"] == stored["session_id"]
    before = (server.notebooks / "click.ipynb").read_bytes()
    page.save()
    assert (server.notebooks / "click.ipynb").read_bytes() == before
    page.run_cell(2)
    if version != INSTALLED:
        assert page.cell_text(2).strip() == version


def test_deny_with_a_message(server, open_page) -> None:
    server.write("deny.ipynb", [LOAD, ask("greet me")])
    page = open_page(server, "deny.ipynb")
    page.run_cell(0)
    page.start_cell(1)
    page.button("Deny with message…").click()
    page.page.get_by_label("Message to the model").fill("use Python instead")
    page.page.keyboard.press("Enter")
    page.wait_cell(1)
    stored = page.wait_metadata(1)
    assert [(entry["answer"], entry["message"]) for entry in stored["approvals"]] == [("deny", "use Python instead")]
    assert not (server.notebooks / "started.txt").exists()
    page.shoot("claw-denied")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_reload_in_mid_approval(start_server, open_page, version) -> None:
    """The question is there again, can be answered, and the turn's end reaches the cell and the file."""
    server = prepare(start_server(version))
    server.write("reload.ipynb", [LOAD, ask("greet me")])
    page = open_page(server, "reload.ipynb")
    page.run_cell(0)
    page.start_cell(1)
    page.button("Allow once").wait_for()
    page.reload()
    page.button("Allow once").click()
    page.wait_text("It said:")
    assert page.cell_text(1).count("It said:") == 1
    stored = page.wait_metadata(1)
    page.save()
    saved = server.read("reload.ipynb")
    assert saved.cells[1].metadata.claw == stored
    assert len(saved.cells[1].outputs) == 1
    assert saved.metadata.claw["turns"] == [stored["turn_id"]]


def test_the_page_is_reloaded_while_the_model_speaks(server, open_page) -> None:
    """The stream goes on in the new page."""
    server.write("speak.ipynb", [LOAD, ask("count")])
    page = open_page(server, "speak.ipynb")
    page.run_cell(0)
    page.start_cell(1)
    page.wait_text("One two")
    page.reload()
    page.wait_text("nine ten")
    assert page.wait_metadata(1)["stop_reason"] == "end_turn"


def test_a_cell_that_blocks_the_kernel_can_be_answered(server, open_page) -> None:
    """``%%time`` around ``%%claw`` makes a cell that cannot await: the control channel reaches it."""
    server.write("blocking.ipynb", [LOAD, "%%time\n" + ask("greet me")])
    page = open_page(server, "blocking.ipynb")
    page.run_cell(0)
    page.start_cell(1)
    page.button("Allow once").click()
    page.wait_cell(1)
    page.wait_text("It said:")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_kernel_at_work_is_shown_busy(start_server, open_page, version) -> None:
    """On the screen and at the server, which may end idle kernels: in a cell of the person's own, and while a turn waits."""
    server = prepare(start_server(version))
    server.write("busy.ipynb", [LOAD, "import time; time.sleep(3)", ask("greet me"), "1"])
    page = open_page(server, "busy.ipynb")

    def states() -> tuple[str, str]:
        shown = page.page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.kernelDisplayStatus")
        name = next(
            session["kernel"]["id"] for session in server.request("/api/sessions") if session["path"] == "busy.ipynb"
        )
        return shown, server.request(f"/api/kernels/{name}")["execution_state"]

    page.run_cell(0)
    page.start_cell(1)
    page.page.wait_for_timeout(1_000)
    assert states() == ("busy", "busy")
    page.wait_cell(1)
    page.start_cell(2)
    page.button("Deny").wait_for()
    page.page.wait_for_timeout(500)
    assert states() == ("busy", "busy")
    page.button("Deny").click()
    page.wait_cell(2)
    page.page.wait_for_timeout(500)
    assert states() == ("idle", "idle")


def test_the_command_interrupts_a_running_tool(server, open_page) -> None:
    server.write("interrupt.ipynb", [LOAD, ask("sleep"), "print(40 + 2)"])
    page = open_page(server, "interrupt.ipynb")
    page.run_cell(0)
    page.start_cell(1)
    page.button("Allow once").click()
    page.wait_text("begun")
    begun = time.monotonic()
    page.page.evaluate("() => { void jupyterapp.commands.execute('claw:interrupt-turn'); }")
    page.wait_cell(1)
    assert time.monotonic() - begun < 3
    assert page.wait_metadata(1)["stop_reason"] == "interrupted"
    assert "interrupted" in page.cell_text(1)
    page.shoot("claw-interrupted")
    page.run_cell(2)
    assert page.cell_text(2).strip() == "42"


def test_the_kernel_is_interrupted_during_an_approval(server, open_page) -> None:
    server.write("stop.ipynb", [LOAD, ask("greet me"), "print(40 + 2)"])
    page = open_page(server, "stop.ipynb")
    page.run_cell(0)
    page.start_cell(1)
    page.button("Allow once").wait_for()
    page.page.evaluate("() => { void jupyterapp.commands.execute('notebook:interrupt-kernel'); }")
    page.wait_cell(1)
    assert page.button("Allow once").count() == 0
    assert page.wait_metadata(1)["stop_reason"] == "interrupted"
    page.run_cell(2)
    assert page.cell_text(2).strip() == "42"


def test_a_figure_and_a_table_are_drawn_in_the_turn(server, open_page) -> None:
    server.write("plot.ipynb", [LOAD, ask("plot"), "print(x)"])
    page = open_page(server, "plot.ipynb")
    page.run_cell(0)
    page.start_cell(1)
    page.button("Allow once").click()
    page.wait_cell(1, 60)
    page.wait_text("the highest")
    assert page.page.locator(".claw-Call-output img").count() == 1
    assert page.page.locator(".jp-Cell-outputArea img").count() == 1
    assert page.page.locator(".claw-Call-output td").inner_text() == "in a table"
    page.shoot("claw-plot")
    page.run_cell(2)
    assert page.cell_text(2).strip() == "41"


def test_a_restart_expires_the_question_and_keeps_the_session(server, open_page) -> None:
    """The old card cannot be answered; the next turn in the fresh kernel goes on in the same session."""
    server.write("restart.ipynb", [LOAD, ask("first words"), ask("greet me"), ask("second words")])
    page = open_page(server, "restart.ipynb")
    page.run_cell(0)
    page.run_cell(1)
    first = page.wait_metadata(1)
    page.start_cell(2)
    page.button("Allow once").wait_for()
    page.restart_kernel()
    page.wait_text("Expired: the kernel")
    assert page.button("Allow once").count() == 0
    page.run_cell(0)
    page.run_cell(3)
    second = page.wait_metadata(3)
    assert second["session_id"] == first["session_id"]
    page.save()
    assert server.read("restart.ipynb").metadata.claw["turns"][0] == first["turn_id"]


@pytest.mark.parametrize("version", VERSIONS)
def test_without_the_extension_a_widget_asks(start_server, open_page, version) -> None:
    """The ipywidgets card is clicked while the cell runs; the record is in the output."""
    server = prepare(start_server(version, is_extension_enabled=False))
    server.write("widget.ipynb", [LOAD, ask("greet me")])
    page = open_page(server, "widget.ipynb")
    page.run_cell(0)
    page.start_cell(1)
    allow = page.page.locator('button.jupyter-button:has-text("Allow once")')
    allow.wait_for()
    page.shoot(f"claw-widget-{version}")
    allow.click()
    page.wait_cell(1)
    page.wait_text("hello-42")
    assert allow.count() == 0
    page.save()
    saved = server.read("widget.ipynb")
    records = [output.data[TURN_MIME] for output in saved.cells[1].outputs if TURN_MIME in output.get("data", {})]
    assert [entry["answered_by"] for entry in records[0]["approvals"]] == ["widget"]


def test_the_claw_kernel_asks_in_its_cells(server, open_page) -> None:
    """Each cell of the Claw kernel is a prompt; the card and the stored record are the same."""
    server.write("kernel.ipynb", ["/model scripted/script.json", "greet me"], kernel="claw")
    page = open_page(server, "kernel.ipynb")
    page.run_cell(0)
    page.start_cell(1)
    page.button("Allow once").click()
    page.wait_cell(1)
    page.wait_text("It said:")
    assert page.wait_metadata(1)["stop_reason"] == "end_turn"
