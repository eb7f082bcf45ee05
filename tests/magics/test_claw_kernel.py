# ruff: noqa: RUF012  (jupyter_kernel_test reads plain class attributes)
"""The Claw kernel: what it claims, what its cells mean, and that an interrupt never costs the kernel."""

from __future__ import annotations

import ast
import json
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jupyter_kernel_test
import pytest

from tests.kernels import JUPYTER_DATA, ROOT, TURN, Kernel, Kernels, bash, call

DONE = {"text": "All **done**."}


class TestConformance(jupyter_kernel_test.KernelTests):
    """The groups of jupyter_kernel_test, every one that the kernel claims."""

    kernel_name = "claw"
    language_name = "claw"
    file_extension = ".md"
    code_hello_world = "%%python\nprint('hello, world')"
    code_stderr = "%%python\nimport sys; print('test', file=sys.stderr)"
    code_page_something = "%%python\nprint?"
    code_generate_error = "%%python\nraise ValueError"
    code_execute_result = [{"code": "%%python\n1+2+3", "result": "6"}, {"code": "%%python\n[1, 2]", "result": "[1, 2]"}]
    code_display_data = [
        {"code": "%%python\nfrom IPython.display import HTML, display; display(HTML('<b>x</b>'))", "mime": "text/html"}
    ]
    code_inspect_sample = "%%python\nzip"
    code_clear_output = "%%python\nfrom IPython.display import clear_output; clear_output()"
    code_history_pattern = "*1?2?3"
    supported_history_operations = ("tail", "range", "search")
    completion_samples = [
        {"text": "/he", "matches": {"help"}},
        {"text": "%%python\nimpor", "matches": {"import"}},
    ]
    complete_code_samples = ["Summarise the data.", "", "%%python\nprint('x')", "/help", "```\ncode\n```"]
    incomplete_code_samples = [
        "a line that goes on \\",
        "Explain this:\n```python\nx = 1",
        "%%python\nfor n in range(3):",
    ]
    invalid_code_samples = ["%%python\nimport = 7q"]

    @classmethod
    def setUpClass(cls) -> None:
        """The kernelspec is found, and no key or setting of the machine is used."""
        cls.patch = pytest.MonkeyPatch()
        home = cls.enterClassContext(TemporaryDirectory())
        cls.patch.setenv("JUPYTER_PATH", str(JUPYTER_DATA))
        cls.patch.setenv("CLAW_HOME", home)
        cls.patch.setenv("IPYTHONDIR", str(Path(home) / "ipython"))
        cls.patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))))
        super().setUpClass()

    @classmethod
    def tearDownClass(cls) -> None:
        super().tearDownClass()
        cls.patch.undo()


@pytest.fixture
def start(kernels: Kernels) -> Any:
    """``start(*replies)``: a Claw kernel whose model plays them."""
    return lambda *replies, **variables: kernels.start(*replies, name="claw", **variables)


def test_a_plain_cell_is_a_prompt(start: Any) -> None:
    kernel = start({"text": "You said: {{prompt}}"})
    cell = kernel.run("What is in `df`?\nBe short.")
    assert cell.is_ok, cell
    assert cell.turn["prompt"] == "What is in `df`?\nBe short."
    assert "You said: What is in `df`?" in cell.markdown


@pytest.mark.parametrize(
    "prompt", ["x = 1", "  indented", ">>> 1 + 1", "help?", 'don\'t \'quote\' """me""" \\n', "/home/x/y.csv: read it"]
)
def test_a_prompt_is_never_read_as_code(start: Any, prompt: str) -> None:
    """Whatever looks like Python or IPython syntax reaches the model as typed."""
    kernel = start(DONE)
    cell = kernel.run(prompt)
    assert cell.is_ok, cell
    assert cell.turn["prompt"] == prompt


def test_python_and_prompts_share_one_namespace(start: Any) -> None:
    kernel = start(
        {"text": "", "tool_calls": [call("Python", code="total = sum(values)\nprint(total)")]}, {"text": "{{result}}"}
    )
    assert kernel.run("%%python\nvalues = [20, 22]").is_ok
    kernel.hello()

    def allow(kernel: Kernel, channel: str, message: dict[str, Any]) -> None:
        for request in (
            message["content"].get("data", {}).get(TURN, {}).get("live", {}).get("pending", [])
            if channel == "iopub"
            else []
        ):
            kernel.request("resolve", request_id=request["request_id"], answer="allow_once")

    cell = kernel.run("Add them up.", allow)
    assert "42" in cell.markdown
    assert kernel.run("%%python\ntotal").outputs[0]["data"]["text/plain"] == "42"
    assert kernel.run("%%python\nimport asyncio\nawait asyncio.sleep(0)\nprint('awaited')").stdout == "awaited\n"
    assert kernel.run("!echo shell").stdout.strip() == "shell"
    assert kernel.run("%who_ls list").is_ok


def test_code_of_the_agent_is_code(start: Any) -> None:
    """The Python tool runs in a kernel whose cells are prompts, also where its code equals one."""
    kernel = start(
        {"text": "", "tool_calls": [call("Python", code="x = 1")]}, DONE, CLAW_PERMISSION_MODE="bypassPermissions"
    )
    assert kernel.run("x = 1").is_ok
    assert kernel.run("%%python\nprint(x)").stdout == "1\n"


def test_commands(start: Any) -> None:
    kernel = start(DONE)
    cell = kernel.run("/help")
    assert cell.is_ok, cell
    assert "model" in cell.outputs[0]["data"]["text/plain"]
    wrong = kernel.run("/hepl")
    assert wrong.reply["status"] == "error"
    assert "help" in wrong.errors[0]["traceback"][0]


def test_empty_cells_do_nothing(start: Any) -> None:
    kernel = start(DONE)
    for code in ("", "  \n\n"):
        cell = kernel.run(code)
        assert cell.is_ok
        assert not cell.outputs


def test_silent_requests_are_a_front_ends_own_python(start: Any) -> None:
    kernel = start(DONE)
    assert kernel.run("seen = 1", silent=True, store_history=False).is_ok
    assert kernel.run("%%python\nprint(seen)").stdout == "1\n"


def test_kernel_info(start: Any) -> None:
    """The saved notebook names the language, and no debugger is promised for prompts."""
    kernel = start(DONE)
    info = kernel.client.kernel_info(reply=True, timeout=10)["content"]
    assert info["implementation"] == "claw"
    assert info["language_info"]["mimetype"] == "text/markdown"
    assert "debugger" not in info.get("supported_features", [])
    assert not info.get("debugger")


def test_history_holds_what_was_typed(start: Any) -> None:
    kernel = start(DONE)
    kernel.run("remember me")
    reply = kernel.client.history(hist_access_type="tail", n=5, reply=True, timeout=10)["content"]
    assert [entry[2] for entry in reply["history"]][-1] == "remember me"


def test_completion_of_prompts_and_python(start: Any) -> None:
    kernel = start(DONE)
    kernel.run("%%python\nmeasurements = 1")

    def complete(code: str) -> dict[str, Any]:
        return kernel.client.complete(code, reply=True, timeout=10)["content"]

    python = complete("%%python\nmeasur")
    assert "measurements" in python["matches"]
    assert python["cursor_start"] == len("%%python\n")
    assert "model" in complete("/mo")["matches"]
    prompt = complete("look at {measur")
    assert any("measurements" in match for match in prompt["matches"])


def test_inspect_of_commands_and_variables(start: Any) -> None:
    kernel = start(DONE)
    kernel.run("%%python\nmeasurements = [1, 2]")
    found = kernel.client.inspect("what about measurements", cursor_pos=20, reply=True, timeout=10)["content"]
    assert found["found"]
    assert "list" in found["data"]["text/plain"]
    command = kernel.client.inspect("/model", cursor_pos=3, reply=True, timeout=10)["content"]
    assert command["found"]
    assert "\n    /model" in command["data"]["text/markdown"]  # each form on a line of its own


def test_widgets_work_in_the_kernel(start: Any) -> None:
    """Comms reach it as they reach a Python kernel."""
    kernel = start(DONE)
    cell = kernel.run(
        "%%python\nimport ipywidgets\nb = ipywidgets.Button(description='Go'); b.on_click(lambda _: clicks.append(1))\nclicks = []\nb"
    )
    assert "application/vnd.jupyter.widget-view+json" in cell.outputs[0]["data"]
    kernel.click("Go")
    time.sleep(0.3)
    assert kernel.run("%%python\nprint(clicks)").stdout == "[1]\n"


@pytest.mark.parametrize(
    ("replies", "is_time"),
    [
        pytest.param(({"text": "word " * 2000, "chunk_seconds": 0.05},), lambda live: live.get("text"), id="stream"),
        pytest.param(
            (bash("sleep 60"), DONE),
            lambda live: any(c["state"] == "running" for c in live.get("calls", ())),
            id="bash",
        ),
        pytest.param(
            ({"text": "", "tool_calls": [call("Python", code="import time\ntime.sleep(60)")]}, DONE),
            lambda live: any(c["state"] == "running" for c in live.get("calls", ())),
            id="python",
        ),
    ],
)
def test_interrupt_stops_the_turn_and_keeps_the_kernel(each_kernel: Kernels, replies: Any, is_time: Any) -> None:
    kernel = each_kernel.start(*replies, name="claw", CLAW_PERMISSION_MODE="bypassPermissions")
    cell, seconds = kernel.run_and_interrupt("go", is_time, after_seconds=0.3)
    assert seconds < 1, seconds
    assert cell.turn["stop_reason"] == "interrupted"
    assert kernel.run("%%python\nprint('next')").stdout == "next\n"


def test_interrupt_during_an_approval(each_kernel: Kernels) -> None:
    kernel = each_kernel.start(bash("rm -rf build"), DONE, name="claw")
    cell, seconds = kernel.run_and_interrupt("clean", lambda live: live.get("pending"))
    assert seconds < 1, seconds
    assert cell.turn["stop_reason"] == "interrupted"
    assert kernel.run("%%python\nprint('next')").stdout == "next\n"


def test_interrupt_of_a_python_cell(each_kernel: Kernels) -> None:
    kernel = each_kernel.start(DONE, name="claw")
    at: list[float] = []

    def watch(kernel: Kernel, channel: str, message: dict[str, Any]) -> None:
        if channel == "iopub" and message["content"].get("text") == "sleeping\n":
            at.append(time.monotonic())
            kernel.interrupt()

    cell = kernel.run("%%python\nimport time\nprint('sleeping', flush=True)\ntime.sleep(60)", watch)
    assert time.monotonic() - at[0] < 1
    assert cell.errors[0]["ename"] == "KeyboardInterrupt"
    assert kernel.run("and now?").is_ok


def test_an_interrupt_between_cells_does_nothing(start: Any) -> None:
    kernel = start(DONE)
    kernel.run("one")
    kernel.interrupt()
    time.sleep(0.3)
    assert kernel.run("two").is_ok


def test_a_click_while_the_prompt_runs(each_kernel: Kernels) -> None:
    kernel = each_kernel.start(bash("touch made"), DONE, name="claw")

    def watch(kernel: Kernel, channel: str, message: dict[str, Any]) -> None:
        data = message["content"].get("data", {}) if channel == "iopub" else {}
        if message["header"]["msg_type"] == "display_data" and "application/vnd.jupyter.widget-view+json" in data:
            kernel.click("Allow once")

    cell = kernel.run("touch it", watch)
    assert cell.is_ok
    assert (each_kernel.workspace / "made").exists()


def test_the_kernel_does_not_import_the_magics() -> None:
    """claw_magics depends on claw_kernel, never the other way round: the extension is loaded by its name."""
    for path in (ROOT / "claw_kernel").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            else:
                continue
            assert not [name for name in names if name.split(".")[0] == "claw_magics"], path


def test_the_kernelspec_is_complete() -> None:
    spec = json.loads(Path(JUPYTER_DATA / "kernels" / "claw" / "kernel.json").read_text())
    assert spec["interrupt_mode"] == "message"
    assert spec["argv"][1:3] == ["-m", "claw_kernel"]
