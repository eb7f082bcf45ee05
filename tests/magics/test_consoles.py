"""The same cells in `jupyter console`: text only, approvals by the keyboard, nothing printed twice."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pexpect
import pytest

from tests.kernels import Kernels, bash

REPLIES = (bash("touch made; echo ok", text="Let me look."), {"text": "Finished: {{result}}"})


@pytest.fixture
def console(kernels: Kernels, request: pytest.FixtureRequest) -> Iterator[pexpect.spawn]:
    """A console on the kernel that is named by the test's parameter."""
    env = kernels.environment(kernels.script(*REPLIES), TERM="dumb", JUPYTER_CONFIG_DIR=str(kernels.directory))
    command = ["-m", "jupyter_console", "--simple-prompt", "--kernel", request.param]
    made = pexpect.spawn(
        sys.executable, command, env=env, cwd=str(kernels.workspace), encoding="utf-8", timeout=40, dimensions=(40, 120)
    )
    made.expect(r"In \[1\]: ")
    yield made
    made.close(force=True)


def answer_and_finish(console: pexpect.spawn) -> str:
    """Allow the command and return what was shown from the answer to the next prompt."""
    console.expect("touch made; echo ok")
    console.expect("why not: ")
    console.sendline("y")
    console.expect(r"In \[")
    return str(console.before)


@pytest.mark.parametrize("console", ["claw"], indirect=True)
def test_the_claw_kernel_in_a_console(console: pexpect.spawn, kernels: Kernels) -> None:
    console.sendline("touch it")
    shown = answer_and_finish(console)
    assert shown.count("Finished: ok") == 1
    assert "allowed once (stdin)" in shown
    assert (kernels.workspace / "made").exists()


@pytest.mark.parametrize("console", ["python3"], indirect=True)
def test_a_blocking_cell_in_a_console(console: pexpect.spawn, kernels: Kernels) -> None:
    """Called from Python, the cell cannot await: the question is asked and answered all the same."""
    console.sendline("%load_ext claw_magics")
    console.expect(r"In \[2\]: ")
    console.sendline("get_ipython().run_cell_magic('claw', '', 'touch it')")
    shown = answer_and_finish(console)
    assert shown.count("Finished: ok") == 1
    assert (kernels.workspace / "made").exists()


def test_a_console_asks_for_more_lines(kernels: Kernels) -> None:
    """Behind %%claw a console goes on asking for lines until a blank one."""
    kernel = kernels.start(*REPLIES)

    def status(code: str) -> str:
        request = kernel.client.is_complete(code)
        while (reply := kernel.client.get_shell_msg(timeout=10))["parent_header"]["msg_id"] != request:
            pass
        return str(reply["content"]["status"])

    assert status("%%claw") == "incomplete"
    assert status("%%claw\ntouch it") == "incomplete"
    assert status("%%claw\ntouch it\n\n") == "complete"
