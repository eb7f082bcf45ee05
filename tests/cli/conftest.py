from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


class CommandLine:
    """``claw`` in a workspace and with a home of its own; nothing of the environment's keys or settings reaches it."""

    def __init__(self, folder: Path) -> None:
        self.workspace = folder / "workspace"
        self.home = folder / "home"
        self.workspace.mkdir()
        self.home.mkdir()
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "CLAW_HOME": str(self.home),
            "LANG": "C.UTF-8",
            **{name: value for name, value in os.environ.items() if name.startswith("PYTHON")},
        }

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "claw_kernel.cli", *arguments]

    def run(
        self, *arguments: str, stdin: str | None = None, timeout: float = 60, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        given: dict[str, Any] = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
        return subprocess.run(
            self.command(*arguments),
            cwd=self.workspace,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            **given,
        )

    def start(self, *arguments: str, **streams: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*arguments), cwd=self.workspace, env=self.environment, text=True, **streams
        )

    def script(self, *replies: dict[str, Any]) -> str:
        """The name of a model that gives these replies to any prompt."""
        turns = [{"when": "", "replies": list(replies)}]
        (self.workspace / "script.json").write_text(json.dumps({"title": "script", "turns": turns}))
        return "scripted/script.json"


@pytest.fixture
def claw(tmp_path):
    return CommandLine(tmp_path)


def bash(command: str, text: str = "") -> dict[str, Any]:
    """A reply that asks for Bash."""
    return {"text": text, "tool_calls": [{"name": "Bash", "input": {"command": command}}]}
