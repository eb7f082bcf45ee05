"""A real Jupyter server with the built extension, and one notebook page of it in headless Chromium."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import nbformat
from playwright.sync_api import Browser, BrowserContext, Page

ROOT = Path(__file__).resolve().parents[2]
EXTENSION = ROOT / "labextension/wheel_data/data/share/jupyter/labextensions/claw-jupyter"
CHROMIUM = os.environ.get("CLAW_TEST_CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
START_SECONDS = 60.0
TURN_MIME = "application/vnd.claw.turn+json"


class LabServer:
    """``jupyter lab`` (or ``notebook``) on a free port, with every Jupyter folder private to ``home``.

    The extension is found by JUPYTER_PATH in the repository, so that what is tested is what was built, however the
    package is installed. ``overlay`` is a folder of packages (another ipykernel) that kernels import first.
    """

    def __init__(
        self,
        home: Path,
        *,
        application: str = "lab",
        overlay: str = "",
        is_extension_enabled: bool = True,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.notebooks = home / "notebooks"
        self.is_lab = application == "lab"
        config = home / "config"
        notifications = home / "settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
        for folder in (self.notebooks, config / "labconfig", home / "user", notifications.parent):
            folder.mkdir(parents=True, exist_ok=True)
        notifications.write_text('{"fetchNews": "false"}')
        if not is_extension_enabled:
            page_config = {"disabledExtensions": {"claw-jupyter": True}}
            (config / "labconfig/page_config.json").write_text(json.dumps(page_config))
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        paths = [overlay] if overlay else []
        env = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "IPYTHON"))}
        env |= {
            "JUPYTER_CONFIG_DIR": str(config),
            "JUPYTER_DATA_DIR": str(home / "data"),
            "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
            "JUPYTER_PATH": str(EXTENSION.parents[1]),
            "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
            "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
            "IPYTHONDIR": str(home / "ipython"),
            "HOME": str(home / "user"),
            "PYTHONPATH": os.pathsep.join([*paths, str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
            **(environment or {}),
        }
        command = [sys.executable, "-m", "jupyter", application, "--no-browser", f"--ServerApp.port={self.port}"]
        command += [
            "--ServerApp.ip=127.0.0.1",
            "--ServerApp.disable_check_xsrf=True",
            "--IdentityProvider.token=",
            "--ServerApp.password=",
        ]
        command += [f"--ServerApp.root_dir={self.notebooks}", "--ServerApp.open_browser=False"]
        command.append(f"--{'LabApp' if self.is_lab else 'JupyterNotebookApp'}.expose_app_in_browser=True")
        if os.name == "posix" and os.geteuid() == 0:
            command.append("--allow-root")
        self.log = home / "server.log"
        with self.log.open("w") as log:
            self._process = subprocess.Popen(
                command, env=env, cwd=self.notebooks, stdout=log, stderr=log, start_new_session=True
            )
        self._wait()

    def _wait(self) -> None:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if self._process.poll() is not None:
                raise RuntimeError(f"the Jupyter server ended at once:\n{self.log.read_text()[-3000:]}")
            try:
                self.request("/api/status")
            except OSError:
                time.sleep(0.1)
            else:
                return
        self.close()
        raise RuntimeError(
            f"the Jupyter server did not start in {START_SECONDS:.0f} s:\n{self.log.read_text()[-3000:]}"
        )

    def request(self, path: str, method: str = "GET") -> Any:
        """The server's JSON answer."""
        request = urllib.request.Request(self.url + path, method=method)
        with urllib.request.urlopen(request, timeout=15) as response:
            body = response.read()
        return json.loads(body) if body else None

    def write(
        self, name: str, cells: list[Any], *, kernel: str = "python3", metadata: dict[str, Any] | None = None
    ) -> None:
        """Put a notebook there: each cell is source text or a whole nbformat cell."""
        spec = self.request("/api/kernelspecs")["kernelspecs"][kernel]["spec"]
        notebook = nbformat.v4.new_notebook()
        notebook.metadata = nbformat.from_dict(
            {
                "kernelspec": {"name": kernel, "display_name": spec["display_name"], "language": spec["language"]},
                **(metadata or {}),
            }
        )
        notebook.cells = [nbformat.v4.new_code_cell(cell) if isinstance(cell, str) else cell for cell in cells]
        nbformat.write(notebook, self.notebooks / name)

    def read(self, name: str) -> Any:
        """The notebook as it is on disk, validated."""
        notebook = nbformat.read(self.notebooks / name, as_version=4)
        nbformat.validate(notebook)
        return notebook

    def stop_kernels(self) -> None:
        for session in self.request("/api/sessions"):
            self.request(f"/api/sessions/{session['id']}", "DELETE")

    def close(self) -> None:
        """End the server and, through it, its kernels."""
        if self._process.poll() is None:
            with contextlib.suppress(OSError):
                self.stop_kernels()
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait(10)


class LabPage:
    """One browser window with one notebook in it. ``errors`` collects what the page's console complained about."""

    def __init__(self, browser: Browser, server: LabServer, context: BrowserContext | None = None) -> None:
        self.server = server
        self.context = context or browser.new_context(viewport={"width": 1100, "height": 900})
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(20_000)
        self.errors: list[str] = []
        self.page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def open(self, name: str, *, is_kernel_busy: bool = False) -> None:
        """Open the notebook and wait until its kernel can be used (or, when it is busy, is connected)."""
        path = f"/lab/tree/{name}?reset" if self.server.is_lab else f"/notebooks/{name}"
        self.page.goto(self.server.url + path)
        self._wait_for_notebook(is_kernel_busy)

    def reload(self, *, is_kernel_busy: bool = True) -> None:
        self.page.reload()
        self._wait_for_notebook(is_kernel_busy)

    def _wait_for_notebook(self, is_kernel_busy: bool) -> None:
        status = "!== 'connecting'" if is_kernel_busy else "=== 'idle'"
        self.page.wait_for_function(
            "() => { const w = window.jupyterapp?.shell.currentWidget;"
            f" return w?.sessionContext?.session?.kernel && w.sessionContext.kernelDisplayStatus {status}; }}",
            timeout=40_000,
        )
        self.page.evaluate("async () => { await jupyterapp.shell.currentWidget.context.ready; }")
        if not is_kernel_busy:
            self.page.evaluate(
                "async () => { await jupyterapp.shell.currentWidget.sessionContext.session.kernel.info; }"
            )

    def start_cell(self, index: int) -> None:
        """Run a cell and do not wait for it."""
        self.page.evaluate(
            "i => { const w = jupyterapp.shell.currentWidget; w.content.activeCellIndex = i;"
            " void jupyterapp.commands.execute('notebook:run-cell'); }",
            index,
        )

    def wait_cell(self, index: int, seconds: float = 30) -> None:
        self.page.wait_for_function(
            "i => { const m = jupyterapp.shell.currentWidget.content.widgets[i].model;"
            " return m.executionCount !== null && (m.executionState ?? 'idle') === 'idle'; }",
            arg=index,
            timeout=seconds * 1000,
        )

    def run_cell(self, index: int, seconds: float = 30) -> None:
        self.start_cell(index)
        self.wait_cell(index, seconds)

    def restart_kernel(self) -> None:
        self.page.evaluate(
            "async () => { await jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart(); }"
        )
        self._wait_for_notebook(is_kernel_busy=False)

    def cell_text(self, index: int) -> str:
        """What the cell's output says on the screen."""
        return str(self.page.locator(".jp-Notebook .jp-Cell").nth(index).locator(".jp-Cell-outputArea").inner_text())

    def wait_text(self, text: str, seconds: float = 20) -> None:
        self.page.get_by_text(text).first.wait_for(state="visible", timeout=seconds * 1000)

    def button(self, label: str) -> Any:
        """The extension's button of a card."""
        return self.page.locator(".claw-Card-actions").get_by_role("button", name=label, exact=True)

    def save(self) -> None:
        self.page.evaluate("async () => { await jupyterapp.shell.currentWidget.context.save(); }")

    @property
    def is_dirty(self) -> bool:
        return bool(self.page.evaluate("() => jupyterapp.shell.currentWidget.context.model.dirty"))

    def metadata(self, index: int) -> Any:
        """``metadata.claw`` of a cell in the open document, or None."""
        return self.page.evaluate(
            "i => jupyterapp.shell.currentWidget.content.model.sharedModel.cells[i].getMetadata('claw') ?? null", index
        )

    def wait_metadata(self, index: int, seconds: float = 10) -> Any:
        self.page.wait_for_function(
            "i => jupyterapp.shell.currentWidget.content.model.sharedModel.cells[i].getMetadata('claw') !== undefined",
            arg=index,
            timeout=seconds * 1000,
        )
        return self.metadata(index)

    def shoot(self, name: str) -> None:
        """Screenshots in the light and the dark theme, into CLAW_TEST_SHOTS; nothing where that is not set."""
        folder = os.environ.get("CLAW_TEST_SHOTS")
        if not folder:
            return
        Path(folder).mkdir(parents=True, exist_ok=True)
        for theme in ("Dark", "Light"):
            self.page.evaluate(
                "async theme => { await jupyterapp.commands.execute('apputils:change-theme', {theme}); }",
                f"JupyterLab {theme}",
            )
            self.page.wait_for_function(
                "dark => document.body.dataset.jpThemeLight === String(!dark)", arg=theme == "Dark"
            )
            self.page.wait_for_timeout(400)
            self.page.screenshot(path=str(Path(folder) / f"{name}-{theme.lower()}.png"))

    def close(self) -> None:
        self.context.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
