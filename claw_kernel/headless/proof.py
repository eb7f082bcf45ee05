"""Running a plain notebook from its beginning, to see whether it gives what was recorded."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claw_kernel.errors import SessionError
from claw_kernel.headless.execution import NotebookRun
from claw_kernel.headless.workspace_copy import copy_workspace
from claw_kernel.session.graduation import Difference, Graduation, compare
from claw_kernel.session.normaliser import Normaliser
from claw_kernel.session.request_hash import places_of

if TYPE_CHECKING:
    from nbformat import NotebookNode


class _Silence:
    """Nobody watches."""

    def cell_started(self, index: int, cell: NotebookNode) -> None: ...

    def turn_drawn(self, index: int, document: Mapping[str, Any]) -> None: ...

    def cell_finished(self, index: int, cell: NotebookNode, problem: str) -> None: ...


def prove(
    found: Graduation, workspace: Path, *, env: Mapping[str, str], cell_seconds: int
) -> tuple[list[Difference], tuple[str, ...]]:
    """Run the plain notebook in a fresh kernel with ``env`` in a copy of ``workspace``, keep its outputs, and compare them with those that
    were recorded. Also the kinds of difference that are looked past. Raises SessionError where it cannot be run to its end,
    SettingsError where the workspace cannot be copied."""
    with tempfile.TemporaryDirectory(prefix="claw-export-", ignore_cleanup_errors=True) as scratch:
        place = Path(scratch).resolve() / workspace.name
        copy_workspace(workspace, place)
        home = str(Path.home())
        normal = Normaliser(places_of(str(workspace), home) | places_of(str(place), home))
        kernel = str(found.notebook.metadata.kernelspec.name)
        run = NotebookRun(found.notebook, place, env, _Silence(), kernel, cell_seconds)
        end = run.execute()
    if end.name in ("interrupted", "terminated"):
        raise KeyboardInterrupt
    if end.name != "done":
        raise SessionError(
            f"The plain notebook fails at {end.message}.",
            "Name the folder it belongs to with --workspace, keep all code with --all, or give it more time with --timeout.",
        )
    return compare(found, normal), normal.kinds
