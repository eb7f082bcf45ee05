"""Loading the extension is cheap: it imports nothing that talks to a network or serves Jupyter."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("httpx", "httpcore", "mcp", "jupyter_server", "jupyterlab", "pydantic", "ipywidgets", "genai_prices", "nbformat")


def test_load_ext_imports_no_http_mcp_or_server_module():
    code = (
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance()\n"
        "import sys; print('--- load_ext', file=sys.stderr, flush=True)\n"
        "shell.run_line_magic('load_ext', 'claw_magics')\n"
    )
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    imported = [line.rsplit("|", 1)[-1].strip() for line in done.stderr.partition("--- load_ext")[2].splitlines()]

    assert "claw_magics" in imported
    assert [name for name in imported if name.partition(".")[0] in HEAVY] == []
