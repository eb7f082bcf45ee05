"""What a start imports. It is most of the time from `claw prompt` to the first request (benchmarks/README.md)."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys

from tests.model_server import ModelServer, anthropic_frames, text

UNWANTED = {
    "difflib", "claw_kernel.providers.openai_chat", "claw_kernel.session.journal", "claw_kernel.session.signature",
    "claw_kernel.telemetry", "claw_kernel.tools.config", "claw_kernel.tools.exit_plan_mode", "claw_kernel.tools.lsp",
    "claw_kernel.tools.repl", "claw_kernel.tools.web_search", "httpcore", "pydantic", "certifi",
}  # fmt: skip
"""Of the standard library, of ours and of others."""
MOST_OF_OURS = 84
"""Modules of ours. Each costs 0.2 ms; when this is raised, let it be for something that every start needs."""


def imported(*arguments: str, env: dict[str, str], cwd: str) -> set[str]:
    command = [sys.executable, "-X", "importtime", *arguments]
    done = subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return set(re.findall(r"^import time: +\d+ \| +\d+ \| +(\S+)$", done.stderr, re.MULTILINE))


def test_a_start_imports_little(tmp_path):
    env = {"CLAW_HOME": str(tmp_path / "home"), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    with ModelServer() as server:
        server.answer(anthropic_frames([text("done")]))
        prompt = ["prompt", "go", "--model", "m", "--api", "anthropic", "--base-url", server.base_url]
        found = imported("-m", "claw_kernel.cli", *prompt, env=env, cwd=str(tmp_path))
        assert len(server.requests) == 1
    of_httpx = imported("-c", "import httpx", env=env, cwd=str(tmp_path))  # and what is loaded for every program
    ours = {name for name in found if name.split(".")[0] == "claw_kernel"}
    foreign = {name for name in found - ours - of_httpx if name.split(".")[0] not in sys.stdlib_module_names}
    # Names that are only tried: copy asks for Jython's, pathlib and subprocess for Windows'.
    assert foreign - {"org", "org.python", "org.python.core"} == set()
    assert all(importlib.util.find_spec(name) for name in UNWANTED), "a name that is none proves nothing"
    assert found & UNWANTED == set()
    assert "claw_kernel.providers.anthropic" in ours
    assert len(ours) <= MOST_OF_OURS
