"""Approvals in real kernels: every way to answer, first answer wins, and nobody to ask."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import nbformat
import pytest

from claw_magics.approvals import CellFacts, detect_ways
from tests.kernels import TURN, Kernel, Kernels, bash, call

DONE = {"text": "Finished: {{result}}"}
TOUCH = bash("touch made")


def pending_of(message: dict[str, Any]) -> list[dict[str, Any]]:
    """The requests that a drawn turn shows as waiting."""
    return message["content"].get("data", {}).get(TURN, {}).get("live", {}).get("pending", [])


def when_pending(act: Any) -> Any:
    """A watcher that calls ``act(kernel, request)`` once, when the first request is drawn."""
    done: list[bool] = []

    def watch(kernel: Kernel, channel: str, message: dict[str, Any]) -> None:
        if channel == "iopub" and not done and pending_of(message):
            done.append(True)
            act(kernel, pending_of(message)[0])

    return watch


@pytest.mark.parametrize(
    ("setting", "facts", "ways"),
    [
        ("auto", CellFacts(has_extension=True, has_cells=True, allows_stdin=True, can_pump=True), ("extension",)),
        ("auto", CellFacts(has_cells=True, allows_stdin=True, can_pump=True), ("widget",)),
        ("auto", CellFacts(has_cells=True, allows_stdin=True, can_pump=False), ("stdin",)),
        ("auto", CellFacts(has_cells=True, allows_stdin=True, can_pump=True, is_blocking=True), ("stdin",)),
        ("auto", CellFacts(allows_stdin=True, can_pump=True), ("stdin",)),
        ("auto", CellFacts(can_pump=True), ()),
        ("stdin", CellFacts(has_extension=True, has_cells=True, allows_stdin=True, can_pump=True), ("stdin",)),
        ("stdin", CellFacts(has_extension=True), ()),
        ("widget", CellFacts(has_extension=True, has_cells=True, can_pump=True), ("widget",)),
        ("none", CellFacts(has_extension=True, has_cells=True, allows_stdin=True, can_pump=True), ()),
    ],
)
def test_ways_are_detected(setting: str, facts: CellFacts, ways: tuple[str, ...]) -> None:
    assert detect_ways(setting, facts) == ways


def test_answer_over_control(each_kernel: Kernels) -> None:
    """The extension's way: hello, the drawn request, resolve; a second answer comes too late and is told so."""
    kernel = each_kernel.start(TOUCH, DONE)
    hello = kernel.hello()
    assert hello["status"] == "ok"
    replies: list[dict[str, Any]] = []

    def act(kernel: Kernel, request: dict[str, Any]) -> None:
        assert request["title"] == "$ touch made"
        synced = kernel.request("sync")
        assert [item["request_id"] for item in synced["pending"]] == [request["request_id"]]
        assert synced["turns"][-1]["is_running"]
        assert synced["turns"][-1]["cell_id"] == "cell-1"
        assert synced["turns"][-1]["bundle"][TURN]["live"]["pending"]
        for answer in ("allow_once", "deny"):
            replies.append(kernel.request("resolve", request_id=request["request_id"], answer=answer))  # noqa: PERF401

    cell = kernel.run("%%claw\ntouch", when_pending(act))
    assert cell.is_ok
    assert [reply["is_accepted"] for reply in replies] == [True, False]
    assert (each_kernel.workspace / "made").exists()
    approval = cell.turn["approvals"][0]
    assert (approval["answer"], approval["answered_by"]) == ("allow_once", "extension")
    assert not kernel.comms[1:], "no widget beside the extension's card"
    late = kernel.request("resolve", request_id=cell.turn["turn_id"], answer="allow_once")
    assert late["is_accepted"] is False


def test_answer_over_control_while_the_cell_blocks(kernels: Kernels) -> None:
    """Under %%time the main thread is blocked; the control thread still answers."""
    kernel = kernels.start(TOUCH, DONE)
    kernel.hello()
    cell = kernel.run(
        "%%time\n%%claw\ntouch",
        when_pending(lambda k, request: k.request("resolve", request_id=request["request_id"], answer="allow_once")),
    )
    assert cell.is_ok, cell
    assert (kernels.workspace / "made").exists()


def test_after_a_reload_the_request_is_there_again(kernels: Kernels) -> None:
    """A new page has a new connection: its hello brings back the request and the drawing, and it may answer."""
    kernel = kernels.start(TOUCH, DONE)
    kernel.hello()

    def act(kernel: Kernel, request: dict[str, Any]) -> None:
        page = Kernel(kernel.manager, is_busy=True)
        try:
            hello = page.hello()
            assert [item["request_id"] for item in hello["pending"]] == [request["request_id"]]
            assert hello["turns"][-1]["bundle"][TURN]["live"]["pending"][0]["title"] == "$ touch made"
            answer = page.request("resolve", request_id=request["request_id"], answer="deny", message="not that file")
            assert answer["is_accepted"]
        finally:
            page.client.stop_channels()

    cell = kernel.run("%%claw\ntouch", when_pending(act))
    result = cell.turn["steps"][0]["results"][0]
    assert result["is_error"]
    assert "not that file" in result["content"][0]["text"]
    assert not (kernels.workspace / "made").exists()


def test_a_click_while_the_cell_runs(each_kernel: Kernels) -> None:
    """The widget's way, as a front end without subshells sends it; the card is replaced by the decision."""
    kernel = each_kernel.start(TOUCH, DONE)
    clicked: list[float] = []

    def watch(kernel: Kernel, channel: str, message: dict[str, Any]) -> None:
        data = message["content"].get("data", {}) if channel == "iopub" else {}
        if "application/vnd.jupyter.widget-view+json" in data and not clicked:
            clicked.append(time.monotonic())
            kernel.click("Allow once")

    cell = kernel.run("%%claw\ntouch", watch)
    assert clicked, "a card was shown"
    assert time.monotonic() - clicked[0] < 3
    assert cell.is_ok
    assert (each_kernel.workspace / "made").exists()
    assert cell.turn["approvals"][0]["answered_by"] == "widget"
    cards = [bundle for name, bundle in cell.displays.items() if name.startswith("claw-approval-")]
    assert [sorted(bundle) for bundle in cards] == [["text/markdown", "text/plain"]]
    assert "allowed once (widget)" in cards[0]["text/plain"]


def test_allow_always_adds_exactly_the_rule_that_was_shown(kernels: Kernels) -> None:
    """The next call the rule covers is not asked for; another one is."""
    kernel = kernels.start(bash("git status"), bash("git status"), bash("git log"), DONE)
    (kernels.workspace / "x").touch()
    kernel.hello()
    asked: list[dict[str, Any]] = []

    def watch(kernel: Kernel, channel: str, message: dict[str, Any]) -> None:
        for request in pending_of(message) if channel == "iopub" else []:
            if request["request_id"] not in [item["request_id"] for item in asked]:
                asked.append(request)
                answer = "allow_always" if len(asked) == 1 else "deny"
                kernel.request("resolve", request_id=request["request_id"], answer=answer)

    cell = kernel.run("%%claw\ngit", watch)
    titles = [request["title"] for request in asked]
    if titles:  # a policy may hold reading commands for harmless: then nothing was asked
        assert titles.count("$ git status") == 1, titles
        assert asked[0]["suggested_rules"]
    assert cell.is_ok


@pytest.mark.parametrize(("typed", "answer"), [("y", "allow_once"), ("n", "deny"), ("use make instead", "deny")])
def test_answer_by_stdin(each_kernel: Kernels, typed: str, answer: str) -> None:
    """A console shows the command in full and reads the answer; an empty line asks again."""
    kernel = each_kernel.start(TOUCH, DONE)
    lines = ["", typed]

    def watch(kernel: Kernel, channel: str, message: dict[str, Any]) -> None:
        if channel == "stdin" and message["header"]["msg_type"] == "input_request":
            assert "[y] allow once" in message["content"]["prompt"]
            kernel.answer(lines.pop(0))

    cell = kernel.run("%%claw\ntouch", watch, cell_id=None)
    assert not lines
    assert "  | touch made" in cell.stdout
    approval = cell.turn["approvals"][0]
    assert (approval["answer"], approval["answered_by"]) == (answer, "stdin")
    assert (each_kernel.workspace / "made").exists() == (answer == "allow_once")
    if typed.startswith("use"):
        assert typed in cell.turn["steps"][0]["results"][0]["content"][0]["text"]


def test_an_abandoned_prompt_does_not_answer_the_next(kernels: Kernels) -> None:
    """Interrupting takes the question back: what is typed into the dead box later goes nowhere."""
    kernel = kernels.start(TOUCH, DONE)
    state = {"interrupted": False}

    def interrupt(kernel: Kernel, channel: str, _message: dict[str, Any]) -> None:
        if channel == "stdin" and not state["interrupted"]:
            state["interrupted"] = True
            kernel.interrupt()

    first = kernel.run("%%claw\ntouch", interrupt, cell_id=None)
    assert first.turn["stop_reason"] == "interrupted"
    kernel.answer("y")
    prompts: list[str] = []

    def deny(kernel: Kernel, channel: str, message: dict[str, Any]) -> None:
        if channel == "stdin":
            prompts.append(message["content"]["prompt"])
            kernel.answer("n")

    second = kernel.run("%%claw\ntouch", deny, cell_id=None)
    assert len(prompts) == 1
    assert second.turn["approvals"][0]["answer"] == "deny"
    assert not (kernels.workspace / "made").exists()


def test_a_card_that_cannot_be_shown_is_a_no_with_the_reason(kernels: Kernels) -> None:
    """A module of the user's that hides ipywidgets must not leave a question nobody can answer."""
    (kernels.workspace / "ipywidgets.py").write_text("raise ImportError('not the real one')")
    kernel = kernels.start(TOUCH, DONE)
    cell = kernel.run("%%claw\ntouch")
    assert cell.is_ok, cell
    assert "not the real one" in cell.turn["approvals"][0]["message"]
    assert not (kernels.workspace / "made").exists()


def notebook(*sources: str) -> Any:
    made = nbformat.v4.new_notebook()
    made.cells = [nbformat.v4.new_code_cell(source) for source in sources]
    return made


def check_denied(executed: Any, workspace: Path) -> None:
    nbformat.validate(executed)
    turn = next(o.data[TURN] for cell in executed.cells for o in cell.outputs if TURN in o.get("data", {}))
    approval = turn["approvals"][0]
    assert (approval["answer"], approval["answered_by"]) == ("deny", "policy")
    assert "nobody can be asked" in approval["message"]
    assert not (workspace / "made").exists()
    assert turn.get("duration_seconds", 0) < 1


def test_nobody_to_ask_under_nbclient(kernels: Kernels, monkeypatch: pytest.MonkeyPatch) -> None:
    """Denied by policy at once, with the reason in the file, and the notebook goes on."""
    from nbclient import NotebookClient

    for name, value in kernels.environment(kernels.script(TOUCH, DONE)).items():
        monkeypatch.setenv(name, value)
    made = notebook("%load_ext claw_magics", "%%claw\ntouch", "print('after')")
    client = NotebookClient(
        made, timeout=60, kernel_name="python3", resources={"metadata": {"path": str(kernels.workspace)}}
    )
    executed = client.execute()
    check_denied(executed, kernels.workspace)
    assert executed.cells[2].outputs[0].text == "after\n"


def test_nobody_to_ask_under_papermill(kernels: Kernels, monkeypatch: pytest.MonkeyPatch) -> None:
    import papermill

    for name, value in kernels.environment(kernels.script(TOUCH, DONE)).items():
        monkeypatch.setenv(name, value)
    source, target = kernels.directory / "in.ipynb", kernels.directory / "out.ipynb"
    nbformat.write(notebook("%load_ext claw_magics", "%%claw\ntouch"), source)
    papermill.execute_notebook(
        str(source), str(target), kernel_name="python3", cwd=str(kernels.workspace), progress_bar=False
    )
    check_denied(nbformat.read(target, as_version=4), kernels.workspace)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"version": 1, "op": "nonsense"}, "unknown op"),
        ({"version": 2, "op": "sync"}, "version 1"),
        ({"op": "sync"}, "version 1"),
        ({"version": 1, "op": ["sync"]}, "op is a text"),
        ({"version": 1, "op": "resolve", "request_id": "a", "answer": "yes"}, "answer is one of"),
        ({"version": 1, "op": "resolve", "answer": "deny"}, "request_id is a text"),
        ({"version": 1, "op": "hello", "ui": "jupyterlab", "records": {}}, "records is a list"),
        ({"version": 1, "op": "hello", "ui": "jupyterlab", "header": 3}, "header is an object"),
        ({"version": 1, "op": "interrupt"}, "turn_id is a text"),
    ],
)
def test_a_bad_request_gets_an_error_and_changes_nothing(kernels: Kernels, content: Any, said: str) -> None:
    kernel = kernels.start({"text": "x"})
    reply = kernel.control(content)
    assert reply["status"] == "error"
    assert said in reply["message"]
    assert kernel.request("sync")["turns"] == []


def test_hello_brings_the_session_of_the_notebook(kernels: Kernels) -> None:
    """A fresh kernel that is given the stored records goes on with the conversation under its old id."""
    first = kernels.start({"text": "The code word is ibex."})
    cell = first.run("%%claw\nremember", cell_id="a")
    header = first.request("header")["header"]
    second = kernels.start({"text": "x"})
    hello = second.hello(header=header, records=[cell.turn, {"nonsense": 1}])
    assert hello["session_id"] == header["session_id"]
    following = second.run("%%claw\nand now?", cell_id="b")
    assert following.turn["session_id"] == header["session_id"]
    assert second.request("header")["header"]["turns"] == [cell.turn["turn_id"], following.turn["turn_id"]]
    assert any("cannot be read" in notice for notice in following.turn["notices"])


def test_interrupt_over_control(kernels: Kernels) -> None:
    kernel = kernels.start(TOUCH, DONE)
    kernel.hello()

    def act(kernel: Kernel, _request: dict[str, Any]) -> None:
        turn_id = kernel.request("sync")["turns"][-1]["turn_id"]
        assert kernel.request("interrupt", turn_id="t_other")["is_running"] is False
        assert kernel.request("interrupt", turn_id=turn_id)["is_running"] is True

    cell = kernel.run("%%claw\ntouch", when_pending(act))
    assert cell.turn["stop_reason"] == "interrupted"


def test_approvals_can_be_turned_off(kernels: Kernels) -> None:
    kernel = kernels.start(TOUCH, DONE, CLAW_APPROVALS="none")
    kernel.hello()
    cell = kernel.run("%%claw\ntouch")
    assert cell.turn["approvals"][0]["answered_by"] == "policy"


def test_parallel_requests_are_asked_one_after_the_other(kernels: Kernels) -> None:
    calls = [call("Bash", command="touch one"), call("Bash", command="touch two")]
    kernel = kernels.start({"text": "", "tool_calls": calls}, {"text": "ok"})
    prompts: list[str] = []

    def watch(kernel: Kernel, channel: str, message: dict[str, Any]) -> None:
        if channel == "stdin":
            prompts.append(message["content"]["prompt"])
            kernel.answer("y")

    cell = kernel.run("%%claw\ntouch", watch, cell_id=None)
    assert cell.is_ok
    assert len(prompts) == 2
    assert (kernels.workspace / "one").exists()
    assert (kernels.workspace / "two").exists()
