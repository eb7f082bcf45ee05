"""A session replayed: the notebook runs in a fresh kernel, the model's side comes from its record, the tools run for real under
today's policy, and each result is compared with the recorded one, as are the outputs of the code cells between them.

By default in a copy of the workspace, so that nothing of the person's files changes; what code in the notebook does elsewhere is
done for real either way.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from claw_kernel.errors import SessionError
from claw_kernel.headless.comparison import CellComparison, TurnComparison, compare_cell, compare_turn
from claw_kernel.headless.document import cell_of, empty, open_notebook, session_of, store_turns
from claw_kernel.headless.execution import CLAW_KERNEL, Budget, NotebookRun, Watch, last_record, redactor
from claw_kernel.headless.report import Report
from claw_kernel.headless.workspace_copy import copy_workspace
from claw_kernel.late_dataclass import dataclass
from claw_kernel.messages import TurnRecord
from claw_kernel.session.integrity import check_records, places_of_record
from claw_kernel.session.normaliser import Normaliser, read_patterns
from claw_kernel.session.notebook import notebook_header, notebook_records
from claw_kernel.session.request_hash import places_of
from claw_kernel.settings import tightened_by

if TYPE_CHECKING:
    from nbformat import NotebookNode

    from claw_kernel.headless.execution import Answers
    from claw_kernel.settings import Settings

DROPPED = (
    "JPY_SESSION_NAME",
    "CLAW_NOTEBOOK",
    "CLAW_REPLAY",
    "CLAW_POLICY",
    "CLAW_ACCEPT_EDITS",
    "CLAW_MAX_COST",
    "CLAW_MAX_TURNS",
)
"""Variables of the environment that say something of another kernel."""


@dataclass()
class Replay:
    """``settings``: today's, for the workspace as it lies there. ``is_in_place``: run there, not in a copy."""

    path: Path
    settings: Settings
    watch: Watch
    kernel_name: str
    is_in_place: bool = False
    is_accepting_edits: bool = False
    is_signature_required: bool = False
    cell_seconds: int | None = None
    budget: Budget = field(default_factory=Budget)
    answers: Answers | None = None
    handles_signals: bool = True
    executed: NotebookNode | None = None
    """The notebook as it ran, with the records of the replay."""
    workspace: str = ""
    """Where it ran."""

    _run: NotebookRun | None = None

    def interrupt(self) -> None:
        """Stop it; ``execute`` then reports what there was. Any thread."""
        if self._run is not None:
            self._run.interrupt()

    def execute(self) -> Report:
        """Raises SessionError where the notebook holds no turns, SettingsError where the workspace cannot be copied."""
        notebook = open_notebook(self.path)
        session, warnings = session_of(notebook)
        records = session.records
        if not records and session.others:
            raise SessionError(
                f"The conversation of {self.path.name} holds no turns; {len(session.others)} of its turns are of others.",
                "Go on with one of them (%claw sessions) and save, or run it live.",
            )
        if not records:
            raise SessionError(
                f"{self.path.name} holds no recorded turns.", warnings[0] if warnings else "Run it live first."
            )
        notes, signatures = self._judge(notebook, records, warnings)
        if permissions := (notebook_header(notebook) or {}).get("permissions"):
            self.settings = tightened_by(self.settings, permissions, "the notebook's header")
        with self._place() as (workspace, environment):
            self.workspace = str(workspace)
            self.executed = open_notebook(self.path)
            empty(self.executed)
            run = self._run = NotebookRun(
                self.executed,
                workspace,
                environment,
                self.watch,
                self.kernel_name,
                self.cell_seconds,
                self.budget,
                is_stopping_at_turns=False,
                answers=self.answers,
                handles_signals=self.handles_signals,
                redact=redactor(self.settings.secrets()),
            )
            end = run.execute()
            store_turns(self.executed)
            normaliser = self._normaliser(self.workspace)
            turns = [
                replace(
                    self._compare(number, notebook, record, normaliser), signature=signatures.get(record.turn_id, "")
                )
                for number, record in enumerate(records, 1)
            ]
            theirs = {place: name for record in records for place, name in places_of_record(record).items()}
            normaliser = replace(normaliser, places={**normaliser.places, **theirs})
            cells = tuple(self._compared_cells(notebook, normaliser))
        return Report(self.path.name, tuple(turns), cells, end, normaliser.kinds, notes)

    def _normaliser(self, workspace: str) -> Normaliser:
        own = read_patterns(self.settings.normalise, "normalise")
        places = places_of(workspace, self.settings.env.get("HOME", ""))
        return Normaliser({**places, **places_of(str(Path(workspace).resolve()), "")}, own)

    def _compare(
        self, number: int, notebook: NotebookNode, record: TurnRecord, normaliser: Normaliser
    ) -> TurnComparison:
        cell = cell_of(notebook, record)
        assert self.executed is not None
        played = last_record(self.executed.cells[cell]) if cell is not None else None
        return compare_turn(number, cell, record, played, normaliser)

    def _compared_cells(self, notebook: NotebookNode, normaliser: Normaliser) -> Iterator[CellComparison]:
        assert self.executed is not None
        is_claw_kernel = self.kernel_name == CLAW_KERNEL
        redact = redactor(self.settings.secrets())  # what was recorded may be of before Claw, or of a page
        for index, (recorded, played) in enumerate(zip(notebook.cells, self.executed.cells, strict=True)):
            found = compare_cell(
                index, recorded, played, lambda text: normaliser(redact(text)), is_claw_kernel=is_claw_kernel
            )
            if found is not None:
                yield replace(found, title=redact(found.title))

    def _judge(
        self, notebook: NotebookNode, records: tuple[TurnRecord, ...], warnings: list[str]
    ) -> tuple[tuple[str, ...], dict[str, str]]:
        """What is to be said of the record itself, and the verdict on each turn's signature."""
        from claw_kernel.session.signature import known_signers, verify_session

        check = check_records(records)
        signers = known_signers(self.settings.home)
        verdicts = verify_session(notebook_records(notebook), notebook_header(notebook), signers).turns
        named = {
            turn_id: f"{verdict.name.replace('_', ' ')}{f' by {verdict.signer}' if verdict.signer else ''}"
            for turn_id, verdict in verdicts.items()
            if verdict.name != "unsigned"
        }
        numbers = {record.turn_id: number for number, record in enumerate(records, 1)}
        notes = [*warnings]
        for edit in check.edits:
            place = f"turn {numbers.get(edit.turn_id, 0)}" + (
                f", step {edit.step + 1}" if edit.step is not None else ""
            )
            said = "accepted" if self.is_accepting_edits else "its calls are refused (--accept-edited runs them)"
            notes.append(f"{place} {edit.what}: it was edited after it was recorded; {said}.")
        if not any(step.request_parts for record in records for step in record.steps):
            notes.append("the record holds no request hashes, so it cannot be told whether it was edited.")
        elif check.unchecked:
            notes.append(f"{check.unchecked} step(s) with calls are vouched for by no later request.")
        if self.is_signature_required and (
            bad := [
                n for turn_id, n in numbers.items() if turn_id not in verdicts or verdicts[turn_id].name != "signed"
            ]
        ):
            raise SessionError(
                f"Turn {bad[0]} of {self.path.name} is not signed by a key you know.",
                "Sign it with claw session sign, or leave --require-signed out.",
            )
        return tuple(notes), named

    @contextmanager
    def _place(self) -> Iterator[tuple[Path, dict[str, str]]]:
        """The workspace to run in and the kernel's environment."""
        with tempfile.TemporaryDirectory(prefix="claw-replay-", ignore_cleanup_errors=True) as scratch:
            source = Path(self.settings.cwd)
            target = source
            if not self.is_in_place:
                target = Path(scratch).resolve() / source.name
                copy_workspace(source, target)
            policy = Path(scratch) / "policy.json"
            policy.write_text(json.dumps(policy_document(self.settings, str(target))), "utf-8")
            environment = kernel_environment(self.settings.env, policy)
            environment["CLAW_REPLAY"] = str(self.path.resolve())
            environment["CLAW_ACCEPT_EDITS"] = "1" if self.is_accepting_edits else "0"
            yield target, environment


def kernel_environment(env: Mapping[str, str], policy: Path | None) -> dict[str, str]:
    """The environment of a kernel that nobody looks at; ``policy`` is what it may do on top of the settings it reads itself."""
    found = {name: value for name, value in env.items() if name not in DROPPED}
    policies = [path for path in (env.get("CLAW_POLICY", ""), str(policy or "")) if path]
    if policies:
        found["CLAW_POLICY"] = os.pathsep.join(policies)
    return found


def policy_document(settings: Settings, workspace: str) -> dict[str, object]:
    """Today's rules and limits of ``settings`` for a kernel in ``workspace``: a copy of a trusted folder has its rules, and a rule
    that names the folder by its path holds for the copy as well."""
    home = settings.env.get("HOME", "")
    permissions: dict[str, object] = {"mode": settings.permission_mode}
    for behavior in ("allow", "ask", "deny"):
        sources = {rule.rule: rule.source for rule in settings.rules if rule.behavior == behavior}
        moved = {_moved(rule, settings.cwd, workspace, home): source for rule, source in sources.items()}
        permissions[behavior] = [{"rule": rule, "source": source} for rule, source in (moved | sources).items()]
    document: dict[str, object] = {"permissions": permissions, "normalise": list(settings.normalise)}
    hidden = [str(path) for path in settings.sandbox.get("hidden", ())]
    if hidden:
        places = [_moved(path, settings.cwd, workspace, home) for path in hidden]
        document["sandbox"] = {"hidden": list(dict.fromkeys([*hidden, *places]))}
    if settings.model:
        document["model"] = settings.model
    return document


def _moved(text: str, source: str, target: str, home: str) -> str:
    for prefix in (source, "~" + source.removeprefix(home) if home and source.startswith(home + "/") else ""):
        if prefix and prefix in text:
            return text.replace(prefix, target)
    return text
