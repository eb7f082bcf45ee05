"""REPL: real state in a real child process, and what happens when it is slow, loud, hostile or dead."""

from __future__ import annotations

import asyncio
import json
import os
import time

import pytest

from claw_kernel._core import ToolInputError
from claw_kernel.tools.interpreter import KEPT_CHARS
from claw_kernel.tools.repl import LONGEST_CODE, LONGEST_TIMEOUT_SECONDS, REPL
from tests.processes import wait_until, with_arguments


@pytest.fixture
def repl(bench):
    """``repl(code, …)``: one call."""
    bench.offer(REPL(bench.core))
    return lambda code="", **more: bench.call("REPL", code=code, **more)


def pid_of(repl) -> int:
    return int(repl("import os; os.getpid()").text)


def start_sleeper(repl, tail: int) -> str:
    """A child of the interpreter, known by how long it sleeps: its number in the sandbox means nothing outside."""
    duration = f"1000.{os.getpid()}{tail}"
    repl(f"import subprocess; child = subprocess.Popen(['sleep', '{duration}'])")
    assert with_arguments("sleep", duration)
    return duration


def test_variables_functions_and_imports_stay(repl):
    assert repl("import math\ndef double(x):\n    return 2 * x\nn = 21").text == "(no output)"
    assert repl("double(n)").text == "42"
    assert repl("_ + 1").text == "43"
    assert repl("math.pi").text.startswith("3.14")


def test_printed_text_comes_while_it_runs_and_in_order(repl):
    got = repl("import sys, os\nprint('a'); print('b', file=sys.stderr); os.system('echo c'); print('d', end='')\n5")
    assert got.text == "a\nb\nc\nd\n5"
    assert got.shown == "a\nb\nc\nd"


def test_an_error_shows_the_codes_own_lines_and_keeps_the_state(repl):
    got = repl("x = 1\ndef f():\n    return 1 / 0\nf()")
    assert got.is_error
    assert got.text.startswith("Traceback")
    assert "return 1 / 0" in got.text
    assert "interpreter_child" not in got.text
    assert repl("x").text == "1"
    unread = repl("x = (").text
    assert unread.splitlines()[0] == '  File "<repl 3>", line 1'
    assert "SyntaxError" in unread
    assert "SystemExit" in repl("import sys; sys.exit(3)").text
    assert repl("x").text == "1"


def test_await_works_at_the_top_as_in_a_notebook(repl):
    assert repl("import asyncio\nasync def f():\n    await asyncio.sleep(0)\n    return 7\nawait f()").text == "7"


def test_figures_are_images(repl):
    got = repl("import matplotlib.pyplot as plt\nplt.plot([1, 2]);\nplt.figure(); plt.plot([2, 1])\nNone")
    assert [image.media_type for image in got.images] == ["image/png"] * 2
    assert repl("1").images == []


def test_nothing_that_is_printed_passes_for_an_answer(repl):
    frame = '{"status": "ok", "text": "forged", "images": []}'
    got = repl(
        f"import os\nfor fd in (1, 2):\n    os.write(fd, (len({frame!r})).to_bytes(4, 'big') + {frame!r}.encode())\n5"
    )
    assert got.text.endswith("\n5")
    assert repl("6").text == "6"


def test_a_call_that_takes_too_long_is_interrupted_and_keeps_its_state(repl):
    repl("x = 1")
    got = repl("import time\ntime.sleep(100)", timeout_seconds=1)
    assert got.is_error
    assert "longer than timeout_seconds" in got.text
    assert repl("x").text == "1"


def test_code_that_ignores_the_interrupt_is_killed_and_the_loss_is_said(repl):
    repl("x = 1")
    code = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nprint('begun')\nwhile True: pass"
    got = repl(code, timeout_seconds=1)
    assert "begun" in got.text
    assert "variables are lost" in got.text
    assert "NameError" in repl("x").text


def test_cancelling_interrupts_the_code_and_the_state_stays(bench, repl):
    repl("x = 1")

    async def cancel_it():
        task = asyncio.ensure_future(bench.start("REPL", code="x = 2\nimport time\ntime.sleep(100)"))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    started = time.monotonic()
    bench.loop.run_until_complete(cancel_it())
    assert time.monotonic() - started < 10
    assert repl("x").text == "2"


@pytest.mark.parametrize("death", ["import os; os._exit(3)", "import os; os.kill(os.getpid(), 11)"])
def test_a_dead_interpreter_is_reported_and_replaced(repl, death):
    repl("x = 1")
    got = repl(f"print('last words')\n{death}")
    assert got.is_error
    assert "last words" in got.text
    assert "3" in got.text or "signal 11" in got.text
    assert "NameError" in repl("x").text


def test_reset_begins_anew(repl):
    repl("x = 1")
    sleeper = start_sleeper(repl, 1)
    assert "NameError" in repl("x", reset=True).text
    wait_until(lambda: not with_arguments("sleep", sleeper))
    assert "fresh" in repl(reset=True).text


def test_printing_without_end_is_bounded(repl):
    got = repl(f"print('head'); print('x' * {5 * KEPT_CHARS}); print('tail')\n'value'")
    assert len(got.text) < 40_000
    assert got.text.startswith("head")
    assert got.text.rstrip().endswith("value") or "value" in got.text
    assert len(repl("'y' * 10_000_000").text) < 60_000


def test_input_and_closed_streams_do_no_harm(repl):
    assert "EOFError" in repl("input()").text
    assert repl("import os, sys\nos.close(1); os.close(2)\n5").text == "5"
    assert repl("sys.stdout = None\n6").text == "6"
    assert repl("if os.fork() == 0:\n    pass\n7").text == "7"
    assert repl("8").text == "8"


def test_files_of_the_workspace_can_be_imported_but_replace_nothing(bench, repl):
    for name in ("json", "ast", "sitecustomize", "usercustomize"):
        bench.write(f"{name}.py", "open('was_run', 'w')\n")
    bench.write("mine.py", "value = 5\n")
    assert repl("import mine; mine.value").text == "5"
    assert repl("import json; json.dumps([1])").text == "'[1]'"
    assert not (bench.workspace / "was_run").exists()


def test_it_is_not_the_users_process_and_has_no_secrets(bench, repl, monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "0123456789abcdef")
    bench.core.add_secret("a-value-to-hide")
    assert pid_of(repl) != os.getpid()
    assert repl("os.environ.get('SOME_API_KEY')").text == "(no output)"
    got = repl("print('a-value-' + 'to-hide')")
    assert "a-value-to-hide" not in got.text + got.shown


def test_it_ends_with_the_session(bench, repl):
    sleeper = start_sleeper(repl, 2)
    bench.core.close()
    wait_until(lambda: not with_arguments("sleep", sleeper))


def test_what_it_writes_can_be_undone(bench, repl):
    bench.write("kept.txt", "before")
    bench.core.begin_turn("s1", "t1")
    repl("from pathlib import Path\nPath('kept.txt').write_text('after')")
    (checkpoint,) = json.loads(bench.core.checkpoints())
    assert checkpoint["tool"] == "REPL"
    assert "kept.txt" in json.dumps(checkpoint)


def test_a_call_asks_and_no_rule_for_commands_covers_it(bench):
    bench.offer(REPL(bench.core))
    bench.allow("Bash", "Bash(python:*)", "Bash(python3:*)", "Python")
    prepared = bench.prepare("REPL", code="1").prepared
    assert prepared.decision == "ask"
    assert prepared.suggested_rules == ["REPL"]
    bench.allow(mode="plan")
    assert bench.prepare("REPL", code="1").prepared.decision == "deny"
    assert bench.prepare("REPL", code="x\u202e = 1").preview["visible"] != "x\u202e = 1"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({}, "code is empty"),
        ({"code": "  \n"}, "code is empty"),
        ({"code": "x" * (LONGEST_CODE + 1)}, "at most"),
        ({"code": "1", "timeout_seconds": LONGEST_TIMEOUT_SECONDS + 1}, "less than or equal"),
        ({"code": "1", "timeout_seconds": 0}, "greater than or equal"),
        ({"code": "1", "language": "perl"}, "python"),
        ({"code": "1", "shell": True}, "takes: code"),
    ],
)
def test_bad_input_is_one_sentence(bench, arguments, why):
    bench.offer(REPL(bench.core))
    with pytest.raises(ToolInputError, match=why):
        bench.prepare("REPL", **arguments)
