"""``%%claw`` cells in real kernels: streaming, ending, failing, interrupting."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.kernels import TURN, Kernel, Kernels, bash, call

FAST = {"text": "All **done**."}
TERMINAL = """
from IPython.core.interactiveshell import InteractiveShell
ip = InteractiveShell.instance()
ip.run_line_magic("load_ext", "claw_magics")
ip.run_cell("%%claw --mode bypassPermissions\\ngo")
print("found", ip.user_ns.get("found"))
ip.run_cell("%%claw\\ngo")
"""


def test_a_cell_streams_and_ends(each_kernel: Kernels) -> None:
    """The answer grows in one display, and the finished record replaces the live view."""
    words = " ".join(f"word{n}" for n in range(40))
    kernel = each_kernel.start({"text": words, "chunk_seconds": 0.02})
    seen: list[str] = []

    def watch(_kernel: Kernel, channel: str, message: dict[str, Any]) -> None:
        data = message["content"].get("data", {}) if channel == "iopub" else {}
        if TURN in data and "live" in data[TURN]:
            seen.append(data[TURN]["live"].get("text", ""))

    cell = kernel.run("%%claw\nSay it.", watch)
    assert cell.is_ok
    assert len({len(text) for text in seen}) >= 4, "the answer came in pieces"
    assert 3 <= cell.updates <= 20, "at most ten drawings a second"
    turn = cell.turn
    assert "live" not in turn
    assert turn["stop_reason"] == "end_turn"
    assert turn["prompt"] == "Say it."
    assert turn["cell_id"] == "cell-1"
    assert turn["steps"][0]["content"][0]["text"] == words
    assert words in cell.markdown
    assert "cost" in cell.markdown
    assert not cell.errors


def test_tool_calls_are_drawn(kernels: Kernels) -> None:
    (kernels.workspace / "a.txt").write_text("hello\n")
    kernel = kernels.start({"text": "", "tool_calls": [call("Read", file_path="a.txt")]}, FAST)
    cell = kernel.run("%%claw\nread")
    assert cell.is_ok, cell
    assert "✓ **Read** `a.txt`" in cell.markdown.replace("\\", "")
    assert "All **done**." in cell.markdown


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("%%claw --modell x\nhello", "Did you mean --model?"),
        ("%%claw --max-turns none\nhello", "--max-turns takes a number"),
        ("%%claw\n\n", "There is no request in this cell"),
        ("%%claw what is in df?\n", "the request itself goes on the lines below"),
        ("%claw hepl", "help"),
    ],
)
def test_a_mistyped_line_is_one_line_and_an_error(kernels: Kernels, code: str, said: str) -> None:
    """Nothing is sent to a model, "Run All" stops, and there is no traceback."""
    kernel = kernels.start(FAST)
    cell = kernel.run(code)
    assert cell.reply["status"] == "error"
    assert len(cell.errors) == 1
    (line,) = cell.errors[0]["traceback"]
    assert said in line
    assert "\n" not in line.strip()
    assert TURN not in json.dumps(cell.outputs)


def test_run_all_stops_behind_an_error(kernels: Kernels) -> None:
    kernel = kernels.start(FAST)
    first, second = kernel.wait([kernel.send("%%claw --nope\nx"), kernel.send("print('ran')")])
    assert first.reply["status"] == "error"
    assert second.reply["status"] == "aborted"
    assert "ran" not in second.stdout


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("scripted/there-is-none", "There is no built-in script"),
        ("nonsense", "nonsense"),
        ("ollama/x", ""),
    ],
)
def test_a_failed_turn_is_one_line_with_the_remedy(kernels: Kernels, model: str, said: str) -> None:
    kernel = kernels.start(
        CLAW_MODEL=model, CLAW_BASE_URL="http://127.0.0.1:9/v1" if model.startswith("ollama") else ""
    )
    cell = kernel.run("%%claw\nhello")
    assert cell.reply["status"] == "error"
    (line,) = cell.errors[0]["traceback"]
    assert said in line
    assert "Traceback" not in json.dumps(cell.outputs)
    assert kernel.run("1 + 1").is_ok


def test_broken_settings_are_one_line(kernels: Kernels) -> None:
    kernel = kernels.start(FAST)
    (kernels.directory / "home" / "settings.json").write_text("{broken")
    cell = kernel.run("%%claw\nhello")
    (line,) = cell.errors[0]["traceback"]
    assert "settings.json is not valid JSON" in line
    assert "Mend or remove the file." in line
    (kernels.directory / "home" / "settings.json").unlink()
    assert kernel.run("%%claw\nhello").is_ok, "mended without a restart"


def test_limits_end_the_cell_as_an_error_by_name(kernels: Kernels) -> None:
    kernel = kernels.start({"text": "", "tool_calls": [call("Glob", pattern="*")]}, FAST)
    cell = kernel.run("%%claw --max-turns 1\nlook")
    assert cell.turn["stop_reason"] == "max_turns"
    assert "max\\_turns" in cell.markdown or "max_turns" in cell.markdown
    assert "max_turns" in cell.errors[0]["traceback"][0]


def test_code_runs_in_the_live_namespace_and_shows_its_figure(kernels: Kernels) -> None:
    """Variables stay, prints go to the model, the figure is visible without the extension."""
    code = "import matplotlib.pyplot as plt\nseen = answer * 2\nprint('seen', seen)\nplt.plot([1, 2]);"
    kernel = kernels.start({"text": "", "tool_calls": [call("Python", code=code)]}, FAST)
    assert kernel.run("%matplotlib inline\nanswer = 21").is_ok
    cell = kernel.run("%%claw --mode bypassPermissions\nplot it", timeout=90)
    assert cell.is_ok, cell
    result = cell.turn["steps"][0]["results"][0]
    assert result["content"][0]["text"].startswith("seen 42")
    assert any(block["type"] == "image" for block in result["content"])
    assert any("image/png" in output.get("data", {}) for output in cell.outputs)
    assert kernel.run("print(seen)").stdout == "42\n"
    assert (
        kernel.run("%%claw --mode default --max-turns 1\nagain", allow_stdin=False, cell_id=None).turn["approvals"][0][
            "decision"
        ]
        == "ask"
    ), "the mode held for its cell only"


def test_nested_in_another_magic(kernels: Kernels) -> None:
    """Under %%time the kernel's loop stands still; the turn runs all the same, code in the namespace included."""
    kernel = kernels.start({"text": "", "tool_calls": [call("Python", code="found = 6 * 7")]}, FAST)
    cell = kernel.run("%%time\n%%claw --mode bypassPermissions\nwork")
    assert cell.is_ok, cell
    assert "All **done**." in cell.markdown
    assert "Wall time" in cell.stdout
    assert kernel.run("print(found)").stdout == "42\n"


def test_nested_code_that_awaits_is_told_so(kernels: Kernels) -> None:
    code = "import asyncio\nawait asyncio.sleep(0.01)"
    kernel = kernels.start({"text": "", "tool_calls": [call("Python", code=code)]}, FAST)
    cell = kernel.run("%%time\n%%claw --mode bypassPermissions\nwork")
    result = cell.turn["steps"][0]["results"][0]
    assert result["is_error"]
    assert "without await" in result["content"][0]["text"]


def test_run_all_keeps_its_order(each_kernel: Kernels) -> None:
    """Cells queued behind an awaiting one run after it, one by one, on every ipykernel."""
    kernel = each_kernel.start({"text": "one two three four five", "chunk_seconds": 0.1})
    codes = ["order = []", "%%claw\ngo\n", "order.append(1)", "%%claw\ngo\n", "order.append(2)", "print(order)"]
    cells = kernel.wait([kernel.send(code, cell_id=f"c{n}") for n, code in enumerate(codes)])
    assert all(cell.is_ok for cell in cells)
    assert cells[-1].stdout == "[1, 2]\n"
    assert cells[1].seconds < cells[2].seconds < cells[3].seconds < cells[4].seconds


def is_running(live: dict[str, Any]) -> bool:
    return any(call["state"] == "running" for call in live.get("calls", ()))


def check_interrupted(kernel: Kernel, cell: Any, seconds: float) -> None:
    assert seconds < 1, seconds
    assert cell.turn["stop_reason"] == "interrupted"
    assert cell.reply["status"] == "error"
    (line,) = cell.errors[0]["traceback"]
    assert "interrupted" in line.lower()
    for step in cell.turn["steps"]:
        calls = [block["id"] for block in step["content"] if block["type"] == "tool_call"]
        assert calls == [result["call_id"] for result in step.get("results", [])]
    assert kernel.run("print('next')").stdout == "next\n"


def test_interrupt_during_a_stream(each_kernel: Kernels) -> None:
    kernel = each_kernel.start({"text": "word " * 2000, "chunk_seconds": 0.05})
    check_interrupted(kernel, *kernel.run_and_interrupt("%%claw\nsay", lambda live: live.get("text")))


def test_interrupt_during_bash(each_kernel: Kernels) -> None:
    kernel = each_kernel.start(bash("sleep 60"), FAST)
    cell, seconds = kernel.run_and_interrupt(
        "%%claw --mode bypassPermissions\nsleep",
        is_running,
    )
    check_interrupted(kernel, cell, seconds)


def test_interrupt_during_an_approval(each_kernel: Kernels) -> None:
    kernel = each_kernel.start(bash("rm -rf build"), FAST)
    check_interrupted(kernel, *kernel.run_and_interrupt("%%claw\nclean", lambda live: live.get("pending")))


def test_interrupt_of_code_that_computes(each_kernel: Kernels) -> None:
    """The main thread is inside the agent's own blocking code."""
    kernel = each_kernel.start({"text": "", "tool_calls": [call("Python", code="import time\ntime.sleep(60)")]}, FAST)

    cell, seconds = kernel.run_and_interrupt("%%claw --mode bypassPermissions\nsleep", is_running, after_seconds=0.3)
    check_interrupted(kernel, cell, seconds)


def test_interrupt_nested_in_another_magic(kernels: Kernels) -> None:
    kernel = kernels.start({"text": "word " * 2000, "chunk_seconds": 0.05})
    cell, seconds = kernel.run_and_interrupt("%%time\n%%claw\nsay", lambda live: live.get("text"))
    assert seconds < 1
    assert cell.turn["stop_reason"] == "interrupted"
    assert kernel.run("1").is_ok


def test_a_long_answer_is_drawn_cheaply(kernels: Kernels) -> None:
    """20,000 deltas make few drawings, and their traffic stays bounded."""
    kernel = kernels.start({"text": "word " * 20_000, "chunk_seconds": 0.00001})
    sent = 0

    def watch(_kernel: Kernel, channel: str, message: dict[str, Any]) -> None:
        nonlocal sent
        if channel == "iopub" and TURN in message["content"].get("data", {}):
            sent += len(json.dumps(message["content"]["data"]))

    cell = kernel.run("%%claw\nlong", watch, timeout=90)
    assert cell.is_ok
    assert cell.updates <= cell.seconds * 10 + 3
    assert sent <= 2_000_000 * (cell.seconds + 2)


def test_a_console_prints_only_what_is_new(kernels: Kernels) -> None:
    """Without cells the answer is streamed as text once, and the record follows as an output no console prints."""
    kernel = kernels.start({"text": "one two three", "chunk_seconds": 0.15})
    cell = kernel.run("%%claw\ncount", cell_id=None)
    assert cell.stdout.count("one two three") == 1
    assert "tokens" in cell.stdout
    assert cell.turn["stop_reason"] == "end_turn"
    assert all("text/plain" not in output.get("data", {}) for output in cell.outputs)


def test_prompts_attach_variables_and_files_the_rules_allow(kernels: Kernels) -> None:
    (kernels.workspace / "notes.txt").write_text("the word is ibex")
    (kernels.workspace / "secret.txt").write_text("the word is lynx")
    (kernels.workspace / ".claw").mkdir()
    rules = {"permissions": {"deny": ["Read(secret.txt)"]}}
    (kernels.workspace / ".claw" / "settings.json").write_text(json.dumps(rules))
    kernel = kernels.start(FAST)
    kernel.run("size = 12345")
    cell = kernel.run("%%claw\nUse {size}, @notes.txt and @secret.txt.")
    sent = json.dumps(cell.turn["content"])
    assert "12345" in sent
    assert "ibex" in sent
    assert "lynx" not in json.dumps(cell.turn)
    assert any("secret.txt" in notice for notice in cell.turn["notices"])


def test_a_rerun_cell_replaces_its_turn(kernels: Kernels) -> None:
    kernel = kernels.start(FAST)
    for _ in range(2):
        kernel.run("%%claw\nhello", cell_id="a")
    kernel.run("%%claw\nhello", cell_id="b")
    assert len(kernel.request("header")["header"]["turns"]) == 2


def test_unloading_takes_everything_back(kernels: Kernels) -> None:
    kernel = kernels.start(FAST)
    assert kernel.run("%%claw\nhello").is_ok
    assert kernel.run("%unload_ext claw_magics").is_ok
    cell = kernel.run("%%claw\nhello")
    assert "claw" in cell.stderr or cell.errors, "the magic is gone"
    assert not any(TURN in output.get("data", {}) for output in cell.outputs)
    assert kernel.run("print(hasattr(get_ipython(), 'claw_host'))").stdout == "False\n"
    assert kernel.run("%load_ext claw_magics").is_ok
    assert kernel.run("%%claw\nhello").is_ok, "and comes back"


def test_loading_imports_no_network_library(kernels: Kernels) -> None:
    """What %load_ext adds to IPython is small: no HTTP, MCP or Jupyter server module, no core, no pydantic."""
    kernel = kernels.start(FAST, is_loaded=False)
    kernel.run("import sys; before = set(sys.modules)")
    kernel.run("%load_ext claw_magics", cell_id=None)
    names = kernel.run("print(' '.join(set(sys.modules) - before))").stdout.split()
    assert "claw_magics.host" in names
    unwanted = (
        "httpx",
        "httpcore",
        "http.client",
        "urllib3",
        "requests",
        "mcp",
        "jupyter_server",
        "pydantic",
        "claw_kernel._core",
    )
    assert not [name for name in names if name.startswith(unwanted)]


def test_ipython_without_a_kernel(kernels: Kernels) -> None:
    """In a terminal the registered magic runs the cell, also code that awaits; nobody at the keyboard: denied, no hang."""
    awaits = call("Python", code="import asyncio\nawait asyncio.sleep(0)\nfound = 42")
    model = kernels.script({"text": "Hm.", "tool_calls": [awaits]}, {"text": "Done."})
    code = TERMINAL
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=kernels.environment(model),
        cwd=kernels.workspace,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "found 42" in done.stdout, done
    assert "denied" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("first_line", ["%%claw", "%%time\n%%claw"])
def test_what_computing_code_prints_is_drawn_meanwhile(each_kernel: Kernels, first_line: str) -> None:
    """The main thread is busy with the code; its output must not wait for its end."""
    code = "import time\nfor n in range(3):\n    print('round', n, flush=True)\n    time.sleep(0.6)"
    kernel = each_kernel.start({"tool_calls": [call("Python", code=code)]}, FAST)
    seen: list[str] = []

    def watch(_kernel: Kernel, channel: str, message: dict[str, Any]) -> None:
        live = message["content"].get("data", {}).get(TURN, {}).get("live", {}) if channel == "iopub" else {}
        seen.extend(running.get("output", "") for running in live.get("calls", ()) if running["state"] == "running")

    cell = kernel.run(f"{first_line} --mode bypassPermissions\ngo", watch)
    assert cell.is_ok
    assert "round 0\n" in seen, "alone, while the later rounds were still to come"
    assert not kernel.comms[1:]
    result = cell.turn["steps"][0]["results"][0]["content"][0]["text"]
    assert result == "round 0\nround 1\nround 2"
