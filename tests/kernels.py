"""Real kernels for tests: started as a front end starts them, on the installed ipykernel and on older ones.

``ipykernel`` versions other than the installed one are unpacked once into pytest's cache and put first on PYTHONPATH.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
JUPYTER_DATA = ROOT / "labextension" / "wheel_data" / "data" / "share" / "jupyter"
"""Where the kernelspec is while the package is installed in editable form."""
INSTALLED = "installed"
VERSIONS = (INSTALLED, "7.1.0", "6.31.0")
TURN = "application/vnd.claw.turn+json"


def overlay(version: str, cache: Any) -> str:
    """The directory that holds ipykernel ``version``, or an empty text for the installed one."""
    if version == INSTALLED:
        return ""
    target = Path(cache.mkdir(f"ipykernel-{version}"))
    if not (target / "complete").exists():
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(target)]
        done = subprocess.run([*command, f"ipykernel=={version}"], capture_output=True, text=True, timeout=300)
        if done.returncode:
            pytest.fail(f"ipykernel {version} could not be fetched: {done.stderr.strip().splitlines()[-1]}")
        (target / "complete").touch()
    return str(target)


@dataclass
class Execution:
    """One cell's messages as a front end would hold them. ``displays``: display_id to the last bundle."""

    reply: dict[str, Any] = field(default_factory=dict)
    outputs: list[dict[str, Any]] = field(default_factory=list)
    displays: dict[str, dict[str, Any]] = field(default_factory=dict)
    updates: int = 0
    stdout: str = ""
    stderr: str = ""
    seconds: float = 0.0

    @property
    def is_ok(self) -> bool:
        return self.reply.get("status") == "ok"

    @property
    def turn(self) -> dict[str, Any]:
        """The document of the turn the cell drew."""
        for output in self.outputs:
            bundle = self.displays.get(output.get("display_id", ""), output.get("data", {}))
            if TURN in bundle:
                return bundle[TURN]
        raise AssertionError(f"no turn was drawn: {self.outputs}")

    @property
    def markdown(self) -> str:
        """The turn's Markdown, and that of every other display below it."""
        shown = [self.displays.get(o.get("display_id", ""), o.get("data", {})) for o in self.outputs]
        return "\n\n".join(bundle["text/markdown"] for bundle in shown if "text/markdown" in bundle)

    @property
    def errors(self) -> list[dict[str, Any]]:
        return [output for output in self.outputs if output["output_type"] == "error"]

    def take(self, message: dict[str, Any]) -> None:
        """Apply one iopub message."""
        kind, content = message["header"]["msg_type"], message["content"]
        if kind == "stream":
            if content["name"] == "stdout":
                self.stdout += content["text"]
            else:
                self.stderr += content["text"]
        elif kind in ("display_data", "execute_result", "error"):
            display_id = content.get("transient", {}).get("display_id", "")
            self.outputs.append({**content, "output_type": kind, "display_id": display_id})
            if display_id:
                self.displays[display_id] = content["data"]
        elif kind == "update_display_data":
            self.updates += 1
            self.displays[content["transient"]["display_id"]] = content["data"]


Watch = Callable[["Kernel", str, dict[str, Any]], None]
"""Called with the channel's name and each message while a cell runs; may answer, click or interrupt."""


class Kernel:
    """A running kernel and the one connection a page has to it."""

    def __init__(self, manager: Any, *, is_busy: bool = False) -> None:
        """``is_busy``: a cell is running, so that the shell channel would not answer."""
        self.manager = manager
        self.client = manager.blocking_client()
        self.client.start_channels()
        if not is_busy:
            self.client.wait_for_ready(timeout=60)
        self.comms: list[dict[str, Any]] = []

    def send(self, code: str, *, cell_id: str | None = "cell-1", allow_stdin: bool = True, **content: Any) -> str:
        """Send a cell and return the request's id. ``cell_id`` None: a front end without cells."""
        request = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": allow_stdin,
            "stop_on_error": True,
            **content,
        }
        metadata = {"cellId": cell_id} if cell_id else {}
        message = self.client.session.msg("execute_request", request, metadata=metadata)
        self.client.shell_channel.send(message)
        return str(message["header"]["msg_id"])

    def run(self, code: str, watch: Watch | None = None, *, timeout: float = 40, **options: Any) -> Execution:
        """Run one cell to its end."""
        return self.wait([self.send(code, **options)], watch, timeout=timeout)[0]

    def wait(self, requests: list[str], watch: Watch | None = None, *, timeout: float = 40) -> list[Execution]:
        """Wait until every request has its reply and the kernel is idle again."""
        found = {request: Execution() for request in requests}
        idle: set[str] = set()
        began = time.monotonic()
        for channel, message in self.messages(timeout):
            request = message["parent_header"].get("msg_id", "")
            kind = message["header"]["msg_type"]
            execution = found.get(request)
            if channel == "iopub":
                if kind == "comm_open":
                    self.comms.append(message["content"])
                if execution is not None:
                    execution.take(message)
                    if kind == "status" and message["content"]["execution_state"] == "idle":
                        idle.add(request)
            elif channel == "shell" and execution is not None and kind == "execute_reply":
                execution.reply = message["content"]
                execution.seconds = time.monotonic() - began
            if watch is not None:
                watch(self, channel, message)
            if all(execution.reply for execution in found.values()) and idle >= set(requests):
                return list(found.values())
        raise AssertionError(f"no end after {timeout} s: {found}")

    def messages(self, timeout: float) -> Iterator[tuple[str, dict[str, Any]]]:
        """Messages of all channels as they come."""
        import zmq

        channels = {name: getattr(self.client, f"{name}_channel") for name in ("iopub", "shell", "stdin")}
        poller = zmq.Poller()
        for channel in channels.values():
            poller.register(channel.socket, zmq.POLLIN)
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            poller.poll(100)
            for name, channel in channels.items():
                while channel.msg_ready():
                    yield name, channel.get_msg(timeout=1)

    def request(self, op: str, **content: Any) -> dict[str, Any]:
        """A ``claw_request`` on the control channel, as the labextension sends it, and its reply."""
        return self.control({"version": 1, "op": op, **content})

    def control(self, content: Any) -> dict[str, Any]:
        """Any content as a ``claw_request``."""
        message = self.client.session.msg("claw_request", content)
        self.client.control_channel.send(message)
        end = time.monotonic() + 10
        while time.monotonic() < end:
            reply = self.client.control_channel.get_msg(timeout=10)
            if reply["parent_header"].get("msg_id") == message["header"]["msg_id"]:
                return reply["content"]
        raise AssertionError("no reply on the control channel")

    def hello(self, **content: Any) -> dict[str, Any]:
        """What the labextension says first."""
        fields = {"ui": "jupyterlab", "ui_version": "4.6.6", "path": "x.ipynb", "header": None, "records": []}
        return self.request("hello", **{**fields, **content})

    def comm(self, comm_id: str, data: dict[str, Any]) -> None:
        """A comm message on the main shell channel, as a front end without subshells sends it."""
        content = {"comm_id": comm_id, "data": data}
        self.client.shell_channel.send(self.client.session.msg("comm_msg", content))

    def click(self, description: str) -> None:
        """Click the newest button with this label."""
        for comm in reversed(self.comms):
            state = comm.get("data", {}).get("state", {})
            if state.get("_model_name") == "ButtonModel" and state.get("description") == description:
                self.comm(comm["comm_id"], {"method": "custom", "content": {"event": "click"}})
                return
        raise AssertionError(f"no button {description!r}")

    def interrupt(self) -> None:
        """As the stop button does it: a message or a signal, whichever the kernelspec says."""
        self.manager.interrupt_kernel()

    def run_and_interrupt(
        self, code: str, is_time: Callable[[dict[str, Any]], Any], *, after_seconds: float = 0.0
    ) -> tuple[Execution, float]:
        """Run a cell, interrupt ``after_seconds`` behind the first drawing whose ``live`` part fits, and return the cell and how
        many seconds the interrupt took to end it."""
        at: list[float] = []
        timers: list[threading.Timer] = []

        def interrupt() -> None:
            at.append(time.monotonic())
            self.interrupt()

        def watch(_kernel: Kernel, channel: str, message: dict[str, Any]) -> None:
            live = message["content"].get("data", {}).get(TURN, {}).get("live", {}) if channel == "iopub" else {}
            if not timers and is_time(live):
                timers.append(threading.Timer(after_seconds, interrupt))
                timers[0].start()

        cell = self.run(code, watch)
        assert at, "nothing to interrupt was seen"
        return cell, time.monotonic() - at[0]

    def answer(self, text: str) -> None:
        """Type a line into the open prompt."""
        self.client.input(text)

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()


@dataclass
class Kernels:
    """Starts kernels in a private home and workspace whose model plays a script; ends them all."""

    directory: Path
    cache: Any
    version: str = INSTALLED
    started: list[Kernel] = field(default_factory=list)
    sockets: tempfile.TemporaryDirectory[str] = field(default_factory=tempfile.TemporaryDirectory)

    @property
    def workspace(self) -> Path:
        path = self.directory / "workspace"
        path.mkdir(exist_ok=True)
        return path

    def script(self, *replies: dict[str, Any], **options: Any) -> str:
        """Write a script; the model's name. Replies are played in order for each prompt."""
        path = self.directory / f"{uuid.uuid4().hex[:8]}.json"
        path.write_text(json.dumps({"title": "test", "turns": [{"when": "", "replies": list(replies)}], **options}))
        return f"scripted/{path}"

    def environment(self, model: str = "", **variables: str) -> dict[str, str]:
        """What the kernel's process sees."""
        (self.directory / "home").mkdir(exist_ok=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("CLAW_", "JPY_", "JUPYTER_"))}
        found = {
            **kept,
            "CLAW_HOME": str(self.directory / "home"),
            "IPYTHONDIR": str(self.directory / "ipython"),
            "JUPYTER_PATH": str(JUPYTER_DATA),
            "PYTHONPATH": os.pathsep.join(
                part for part in (overlay(self.version, self.cache), str(ROOT), kept.get("PYTHONPATH", "")) if part
            ),
            **variables,
        }
        return {**found, "CLAW_MODEL": model} if model else found

    def start(
        self, *replies: dict[str, Any], name: str = "python3", is_loaded: bool = True, **variables: str
    ) -> Kernel:
        """A kernel with the extension loaded whose model plays ``replies``."""
        from jupyter_client import KernelManager
        from jupyter_client.kernelspec import KernelSpecManager

        specs = KernelSpecManager()
        specs.kernel_dirs.insert(0, str(JUPYTER_DATA / "kernels"))
        manager = KernelManager(kernel_name=name, kernel_spec_manager=specs)
        # Of five ports found free, one may be taken before the kernel binds it. The folder's path is short: a socket's has 107 bytes.
        if os.name == "posix":
            manager.transport, manager.ip = "ipc", f"{self.sockets.name}/{len(self.started)}"
        env = self.environment(self.script(*replies) if replies else "", **variables)
        manager.start_kernel(env=env, cwd=str(self.workspace))
        kernel = Kernel(manager)
        self.started.append(kernel)
        if name == "python3" and is_loaded:
            loaded = kernel.run("%load_ext claw_magics", cell_id=None)
            assert loaded.is_ok, loaded
            # Loading is silent: whatever it printed would stand in every notebook.
            assert not loaded.outputs, loaded
            assert not loaded.stdout + loaded.stderr, loaded
        return kernel

    def close(self) -> None:
        for kernel in self.started:
            kernel.close()
        self.sockets.cleanup()


def call(name: str, **arguments: Any) -> dict[str, Any]:
    """A tool call of a scripted reply."""
    return {"name": name, "input": arguments}


def bash(command: str, text: str = "") -> dict[str, Any]:
    """A scripted reply that runs a command."""
    return {"text": text, "tool_calls": [call("Bash", command=command)]}
