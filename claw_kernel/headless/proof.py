"""Running a plain notebook from its beginning, to see whether it gives what was recorded."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claw_kernel.errors import sentence
from claw_kernel.headless.execution import NotebookRun
from claw_kernel.headless.workspace_copy import copy_workspace
from claw_kernel.late_dataclass import dataclass
from claw_kernel.session.file_changes import FileChange, write_file
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


@dataclass(frozen=True)
class Proof:
    """``differences``: outputs that are not the recorded ones. ``failure``: why it did not run to its end, empty where it did. ``kinds``: what
    was looked past. ``changes``: files that were put as the session left them, because they are not so in the workspace."""

    differences: tuple[Difference, ...]
    failure: str
    kinds: tuple[str, ...]
    changes: tuple[FileChange, ...] = ()

    @property
    def is_proven(self) -> bool:
        return not self.differences and not self.failure


def prove(
    found: Graduation,
    workspace: Path,
    changes: Sequence[FileChange] = (),
    *,
    env: Mapping[str, str],
    cell_seconds: int,
    redact: Callable[[str], str] = str,
) -> Proof:
    """Run the plain notebook in a fresh kernel with ``env`` in a copy of ``workspace``, keep its outputs, and compare them with those that
    were recorded: with the files as they are today, and where that proves nothing, with those of ``changes`` as the session left them.
    ``redact``: takes secrets out of both, since a record may be without them. Raises SettingsError where the workspace cannot be copied."""
    proof = _proof(found, workspace, (), env, cell_seconds, redact)
    known = tuple(change for change in changes if change.state == "known")
    return proof if proof.is_proven or not known else _proof(found, workspace, known, env, cell_seconds, redact)


def _proof(
    found: Graduation,
    workspace: Path,
    changes: tuple[FileChange, ...],
    env: Mapping[str, str],
    cell_seconds: int,
    redact: Callable[[str], str],
) -> Proof:
    with tempfile.TemporaryDirectory(prefix="claw-export-", ignore_cleanup_errors=True) as scratch:
        place = Path(scratch).resolve() / workspace.name
        copy_workspace(workspace, place)
        for change in changes:
            write_file(place, change, replace=True)
        home = str(Path.home())
        normal = Normaliser(places_of(str(workspace), home) | places_of(str(place), home))
        kernel = str(found.notebook.metadata.kernelspec.name)
        run = NotebookRun(found.notebook, place, env, _Silence(), kernel, cell_seconds)
        end = run.execute()
    if end.name in ("interrupted", "terminated"):
        raise KeyboardInterrupt
    if end.name != "done":
        return Proof((), f"The plain notebook fails at {sentence(end.message)}", normal.kinds, changes)
    return Proof(tuple(compare(found, lambda text: normal(redact(text)))), "", normal.kinds, changes)
