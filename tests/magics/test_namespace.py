"""Code of the agent in the user's namespace, in a real kernel: each test runs cells and looks at what a front end sees."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from tests.kernels import ROOT, VERSIONS, overlay

SETUP = """
import asyncio, json, os, signal, sys, threading, time
from claw_magics.namespace import LiveNamespace
ns = LiveNamespace(get_ipython())
engine = asyncio.new_event_loop()
threading.Thread(target=engine.run_forever, daemon=True).start()

def on_engine(coroutine):
    return asyncio.run_coroutine_threadsafe(coroutine, engine)

class bound:
    def __enter__(self):
        loop = asyncio.get_running_loop()
        ns.bind(lambda function: asyncio.run_coroutine_threadsafe(function(), loop))
    def __exit__(self, *args):
        ns.bind(None)

async def run(code, seen=None):
    with bound():
        return await asyncio.wrap_future(on_engine(ns.run_code(code, ([] if seen is None else seen).append)))

def text(result, name="stdout"):
    return "".join(o["text"] for o in result.outputs if o["output_type"] == "stream" and o["name"] == name)

def kinds(result):
    return [o["output_type"] for o in result.outputs]
"""


class Notebook:
    """A kernel and what its cells show."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self.manager = manager
        self.client = client

    def run(self, code: str, timeout: float = 60, interrupt_after: str | None = None) -> dict[str, Any]:
        """Outputs of one cell; with ``interrupt_after`` the kernel is interrupted once that text was printed."""
        shown: dict[str, Any] = {"stdout": "", "stderr": "", "bundles": [], "error": None}

        def take(message: dict[str, Any]) -> None:
            content = message["content"]
            if message["msg_type"] == "stream":
                shown[content["name"]] += content["text"]
                if interrupt_after and interrupt_after in shown["stdout"] and "interrupted_at" not in shown:
                    shown["interrupted_at"] = time.monotonic()
                    self.manager.interrupt_kernel()
            elif message["msg_type"] in ("display_data", "execute_result"):
                shown["bundles"].append(content["data"])
            elif message["msg_type"] == "error":
                shown["error"] = content

        reply = self.client.execute_interactive(code, output_hook=take, timeout=timeout, allow_stdin=False)
        shown["finished_at"] = time.monotonic()
        shown["reply"] = reply["content"]
        return shown

    def check(self, code: str, **options: Any) -> dict[str, Any]:
        """The same for a cell that must not fail."""
        shown = self.run(code, **options)
        plain = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join((shown["error"] or {}).get("traceback", [])))
        assert shown["reply"]["status"] == "ok", plain
        return shown


@pytest.fixture(scope="module", params=VERSIONS)
def kernel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    """One kernel for all tests, on each ipykernel that cells must work on."""
    manager = KernelManager(kernel_name="python3")
    parts = (overlay(request.param, request.config.cache), str(ROOT), os.environ.get("PYTHONPATH", ""))
    private = str(tmp_path_factory.mktemp("ipython"))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, parts)), "IPYTHONDIR": private}
    manager.start_kernel(env=env)
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    notebook = Notebook(manager, client)
    notebook.check(SETUP)
    yield notebook
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def test_outputs_come_back_and_the_cell_stays_clean(kernel: Notebook) -> None:
    shown = kernel.check("""
r = await run("import sys\\nprint('a'); print('b', file=sys.stderr); print('c')\\ndisplay('d')\\nx1 = 5\\nx1 + 1")
assert kinds(r) == ["stream", "stream", "stream", "display_data", "execute_result"], r
assert [o.get("text") for o in r.outputs[:3]] == ["a\\n", "b\\n", "c\\n"]
assert r.outputs[-1]["data"]["text/plain"] == "6"
assert x1 == 5 and not r.is_error and not r.is_interrupted
""")
    assert (shown["stdout"], shown["stderr"], shown["bundles"]) == ("", "", [])


def test_history_and_underscore_are_untouched(kernel: Notebook) -> None:
    kernel.check("'kept'")
    shown = kernel.check("""
ip = get_ipython()
before = (ip.execution_count, _, __, len(ip.history_manager.input_hist_raw), set(Out))
r = await run("123456")
assert r.outputs[0]["output_type"] == "execute_result"
assert before == (ip.execution_count, _, __, len(ip.history_manager.input_hist_raw), set(Out))
assert _ == 'kept'
'cell value'
""")
    assert [bundle["text/plain"] for bundle in shown["bundles"]] == ["'cell value'"]


def test_trailing_semicolon_hides_the_value(kernel: Notebook) -> None:
    kernel.check("""
assert (await run("1 + 1;  # why")).outputs == ()
assert kinds(await run("s = ';'\\ns")) == ["execute_result"]
""")


def test_magics_await_and_shell_commands(kernel: Notebook) -> None:
    kernel.check("""
r = await run("import asyncio\\nawait asyncio.sleep(0.01)\\n%who_ls int\\n!echo from shell")
assert "from shell" in text(r), r
r = await run("%%bash\\necho in bash")
assert "in bash" in text(r), r
r = await run("print?")
assert "Prints the values" in text(r) and "\\x1b" not in text(r), r
""")


def test_errors_are_plain_lines(kernel: Notebook) -> None:
    shown = kernel.check("""
r = await run("def f():\\n    return 1 / 0\\nprint('before')\\nf()")
error = r.outputs[-1]
assert r.is_error and not r.is_interrupted
assert (error["ename"], error["evalue"]) == ("ZeroDivisionError", "division by zero")
assert not any("\\x1b" in line or "\\n" in line for line in error["traceback"])
assert "return 1 / 0" in "\\n".join(error["traceback"])
r = await run("for")
assert r.is_error and r.outputs[-1]["ename"] == "SyntaxError"
r = await run("import sys; sys.exit(3)")
assert r.is_error and r.outputs[0]["ename"] == "SystemExit"
""")
    assert shown["error"] is None


def test_figures_come_back_as_png_and_not_at_the_cells_end(kernel: Notebook) -> None:
    kernel.check("assert 'matplotlib.pyplot' not in sys.modules\nassert (await run('1;')).outputs == ()")
    shown = kernel.check("""
import base64
r = await run("import matplotlib.pyplot as plt\\nplt.plot([1, 2, 3]);")
figures = [o for o in r.outputs if "image/png" in o.get("data", {})]
assert len(figures) == 1, kinds(r)
assert base64.b64decode(figures[0]["data"]["image/png"]).startswith(b"\\x89PNG")
""")
    assert shown["bundles"] == []
    shown = kernel.check("plt.plot([3, 2, 1]);")
    assert sum("image/png" in bundle for bundle in shown["bundles"]) == 1


def test_other_tasks_print_to_the_cell_meanwhile(kernel: Notebook) -> None:
    shown = kernel.check("""
async def chatter():
    for i in range(5):
        print("chatter", i)
        await asyncio.sleep(0.05)
other = asyncio.ensure_future(chatter())
code = "import asyncio\\nfor i in range(5):\\n    print('agent', i)\\n    await asyncio.sleep(0.05)"
a, b = await asyncio.gather(run(code), run(code.replace("agent", "second")))
await other
assert text(a) == "".join(f"agent {i}\\n" for i in range(5)), a
assert text(b) == "".join(f"second {i}\\n" for i in range(5)), b
""")
    assert shown["stdout"] == "".join(f"chatter {i}\n" for i in range(5))


def test_output_appears_while_sync_code_runs(kernel: Notebook) -> None:
    """Printed text reaches the engine while the main thread is busy, in few pieces."""
    kernel.check("""
seen = []
class Seen(list):
    def append(self, output):
        list.append(self, (time.monotonic(), threading.current_thread().name, output))
seen = Seen()
r = await run("import time\\nfor i in range(600):\\n    print(i)\\n    time.sleep(0.001)\\nended = time.monotonic()", seen)
assert "".join(o["text"] for _, _, o in seen) == text(r) == "".join(f"{i}\\n" for i in range(600))
assert seen[0][0] < ended - 0.2, "only at the end"
assert 3 <= len(seen) <= 5 + 20 * (ended - seen[0][0]), len(seen)
assert "MainThread" not in {name for _, name, _ in seen}
""")


def test_log_handlers_made_before_are_captured(kernel: Notebook) -> None:
    kernel.check("""
import logging
log = logging.getLogger("t"); log.addHandler(logging.StreamHandler()); log.warning("outside")
r = await run("log.warning('inside')")
assert text(r, "stderr") == "inside\\n", r
""")


def test_a_progress_bar_is_kept_as_it_ends(kernel: Notebook) -> None:
    kernel.check("""
r = await run("for i in range(0, 101, 10):\\n    print(f'\\\\r{i} %', end='')\\nprint()\\nprint('done')")
assert text(r) == "100 %\\ndone\\n", r
""")


def test_display_updates_and_clear_output(kernel: Notebook) -> None:
    kernel.check("""
r = await run("h = display('one', display_id=True)\\nh.update('two')")
assert [o["data"]["text/plain"] for o in r.outputs] == ["'two'"], r
r = await run("from IPython.display import clear_output\\nprint('old')\\nclear_output(wait=True)\\nprint('new')")
assert text(r) == "new\\n"
""")


def test_input_is_refused_with_a_sentence(kernel: Notebook) -> None:
    kernel.check("""
for code in ("input('name? ')", "import getpass; getpass.getpass()", "exit()"):
    r = await run(code)
    assert r.is_error and "not available" in r.outputs[-1]["evalue"], (code, r)
""")


@pytest.mark.parametrize("code", ["%%claw\nhello", "%claw permissions mode bypassPermissions", "x = %claw status"])
def test_claw_inside_agent_code_is_refused(kernel: Notebook, code: str) -> None:
    kernel.check(f"""
try:
    r = await run({code!r})
except RuntimeError as error:
    assert "cannot call Claw again" in str(error)
else:
    raise AssertionError(r)
r = await run("get_ipython().find_line_magic('claw')")
assert r.is_error and "cannot call Claw again" in r.outputs[-1]["evalue"], r
""")


def test_unreachable_without_a_reading_cell(kernel: Notebook) -> None:
    kernel.check("""
try:
    await asyncio.wrap_future(on_engine(ns.run_code("1", print)))
except RuntimeError as error:
    assert "no cell is waiting" in str(error)
else:
    raise AssertionError("ran")
""")


@pytest.mark.parametrize(
    "code",
    [
        "print('go', flush=True); open(started, 'w').close(); time.sleep(30)",
        "open(started, 'w').close()\nwhile True: pass",
        "import subprocess; open(started, 'w').close(); subprocess.run(['sleep', '30'])",
        "import asyncio; open(started, 'w').close(); await asyncio.sleep(30)",
        "await asyncio.sleep(0); open(started, 'w').close()\nwhile True: pass",
    ],
    ids=["sleep", "compute", "subprocess", "await", "compute in async"],
)
def test_cancelling_interrupts_the_code(kernel: Notebook, code: str, tmp_path: Any) -> None:
    kernel.check(f"""
started = {str(tmp_path / "started")!r}
async def scenario():
    task = asyncio.ensure_future(ns.run_code({code!r}, lambda output: None))
    while not os.path.exists(started):
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    begun = time.monotonic()
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return begun, time.monotonic()
    raise AssertionError("not cancelled")
kept = 42
with bound():
    begun, returned = await asyncio.wrap_future(on_engine(scenario()))
    freed = time.monotonic()
assert returned - begun < 0.5, returned - begun
assert freed - begun < 2, freed - begun
assert kept == 42 and text(await run("print(kept)")) == "42\\n"
assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
""")
    kernel.check("assert kept == 42; time.sleep(0.1)")


def test_interrupting_sync_code_keeps_the_kernel(kernel: Notebook) -> None:
    result = kernel.check(
        """
code = '''
partial = 'done'
print('partial')
threading.Thread(target=print, args=("running",), kwargs={"flush": True}).start()  # a thread's text goes to the cell
for _ in range(300): time.sleep(0.1)
'''
r = await run(code)
assert r.is_interrupted and r.is_error and text(r) == "partial\\n", r
assert r.outputs[-1]["ename"] == "KeyboardInterrupt"
""",
        interrupt_after="running",
    )
    assert result["finished_at"] - result["interrupted_at"] < 2
    kernel.check("assert partial == 'done'")


def test_endless_output_is_cut_with_a_notice(kernel: Notebook) -> None:
    kernel.check("""
r = await run("for i in range(80):\\n    print('x' * 100_000)\\nlast = i")
assert last == 79 and len(text(r)) <= 5_000_000
assert "the rest is not kept" in text(r, "stderr")
""")


def test_repr_is_interruptible_and_its_prints_are_dropped(kernel: Notebook) -> None:
    shown = kernel.check("""
class Loud:
    def __repr__(self):
        print("printed by repr")
        return "Loud!"
class Slow:
    def __repr__(self):
        time.sleep(30)
loud, slow = Loud(), Slow()
async def describe(name, **options):
    return await asyncio.wrap_future(on_engine(ns.describe(name, **options)))
with bound():
    assert (await describe("loud")).is_opaque
    assert "Loud!" in (await describe("loud", with_repr=True)).summary
    async def scenario():
        task = asyncio.ensure_future(ns.describe("slow", with_repr=True))
        await asyncio.sleep(0.3)
        task.cancel()
        await asyncio.wait([task])
    begun = time.monotonic()
    await asyncio.wrap_future(on_engine(scenario()))
    assert "loud" in {v.name for v in await asyncio.wrap_future(on_engine(ns.list_variables()))}
    assert time.monotonic() - begun < 3
""")
    assert shown["stdout"] == ""
