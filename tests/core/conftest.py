"""A core over an empty workspace, and the short way through its gate."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from claw_kernel._core import CancelToken, Core, Prepared, ToolOutput


@dataclass(frozen=True)
class Result:
    """A finished call."""

    text: str
    status: str
    details: dict[str, Any]
    content: list[dict[str, Any]]


class Bench:
    """Calls tools through ``prepare``, ``run`` and ``finish``, as the engine does."""

    def __init__(self, folder: Path, **sandbox: Any) -> None:
        """``sandbox``: its settings, such as ``mode="off"``."""
        self.workspace = folder / "work"
        self.outside = folder / "outside"
        self.state = folder / "state"
        self.workspace.mkdir()
        self.outside.mkdir()
        self.core = Core(str(self.workspace), state_dir=str(self.state), session_id="s1", sandbox=json.dumps(sandbox))
        self.set_policy("bypassPermissions")

    def set_policy(self, mode: str = "default", **rules: list[str]) -> None:
        """``allow=[…]``, ``ask=[…]``, ``deny=[…]``."""
        written = [{"behavior": b, "rule": rule, "source": "test"} for b, texts in rules.items() for rule in texts]
        self.core.set_policy(json.dumps({"mode": mode, "rules": written}))

    def prepare(self, tool: str, **arguments: Any) -> Prepared:
        return self.core.prepare(tool, json.dumps(arguments))

    def call(
        self,
        tool: str,
        *,
        cancel: CancelToken | None = None,
        on_output: Callable[[str], None] | None = None,
        **arguments: Any,
    ) -> Result:
        prepared = self.prepare(tool, **arguments)
        output = self.core.run(prepared, cancel or CancelToken(), on_output)
        return self.read(self.core.finish(prepared, output))

    @staticmethod
    def read(output: ToolOutput) -> Result:
        content = json.loads(output.content)
        text = "\n".join(block["text"] for block in content if block["type"] == "text")
        return Result(text, output.status, json.loads(output.details), content)

    def write(self, name: str, content: bytes | str) -> Path:
        """Puts a file into the workspace, not through the tools."""
        path = self.workspace / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.core.close()


@pytest.fixture
def free_bench(tmp_path: Path) -> Iterator[Bench]:
    """The same with commands outside the sandbox: what they print of process numbers is the machine's."""
    bench = Bench(tmp_path, mode="off")
    yield bench
    bench.core.close()
