"""``%claw session`` and ``%claw clear``: the conversation as a list, out to a file and in from a notebook."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from claw_kernel.errors import SessionError
from claw_magics.report import CommandOutput, Report

if TYPE_CHECKING:
    from claw_kernel.session import Session
    from claw_magics.host import Host

_PROMPT_CHARS = 80
_ENDS = {"end_turn": "done"}


def show(host: Host) -> CommandOutput:
    """The header and one line per turn."""
    from claw_magics.status import cost_text, spent, time_text

    session = host.session
    report = Report()
    records = session.records
    report.line(f"Session {session.session_id}, begun {time_text(session.created_at)}, {count_turns(len(records))}.")
    if records:
        numbers = {record.turn_id: number for number, record in enumerate(session.turns, start=1)}
        rows = [
            (
                str(numbers[record.turn_id]),
                record.started_at[:19].replace("T", " "),
                first_line(record.prompt),
                str(len(record.steps)),
                _ENDS.get(record.stop_reason or "", record.stop_reason) or "running",
                cost_text(spent(record)),
            )
            for record in records
        ]
        report.table(("Turn", "Began (UTC)", "Request", "Steps", "Ended", "Cost"), rows)
        if left := len(session.turns) - len(records):
            report.line(f"{count_turns(left)} on other branches: %claw history.")
    return report.output()


def blame(host: Host) -> CommandOutput:
    """Who wrote each cell of the notebook, as its file has them; in a replay, as the replayed file has them. Raises SessionError."""
    from claw_kernel.session import provenance
    from claw_kernel.session.notebook_file import NotebookFile

    host.recall(host.agent.settings.env)
    report = Report()
    path, session = host.notebook_path, host.session
    if replayed := host.agent.settings.replay:
        path, session = replayed, _session_of(replayed)  # the turns of a replay are others than the file's
    if not path.endswith(".ipynb") and not Path(path).is_file():  # `claw run --output` takes any name
        # No error: nothing in the cell is wrong, and a run by a program goes on.
        report.line("The notebook's file is not known here. Save it, and run claw blame NOTEBOOK in a terminal.")
        return report.output()
    found = provenance.blame(NotebookFile(path).document, (*session.turns, *session.others), path)
    turns = {record.turn_id: (str(number), record) for number, record in enumerate(session.turns, start=1)}
    rows = []
    for o in found:
        number, record = turns.get(o.turn_id, (o.turn_id, None))
        title = first_line(record.prompt) if record and o.title.startswith("%%claw") else o.title
        rows.append((str(o.cell), title, o.author, o.how, number, o.model, o.approver))
    report.table(("Cell", "Begins", "Author", "How", "Turn", "Model", "Approved by"), rows)
    report.line("As the records have it, and the notebook as it was saved last.")
    return report.output()


def _session_of(path: str) -> Session:
    """The session that a notebook's file holds. Raises SessionError."""
    from claw_kernel.session import Session
    from claw_kernel.session.notebook import read_notebook

    session = Session()
    session.merge(*read_notebook(path))
    return session


def clear(host: Host) -> CommandOutput:
    """Raises SessionError while a turn runs."""
    check_idle(host, "cleared")
    count = len(host.session.records)
    host.session.clear()
    report = Report()
    report.line(f"New conversation {host.session.session_id}: the model no longer sees {count_turns(count)} of before.")
    report.line("Their records stay in the notebook, and rules that were granted stay in force.")
    return report.output()


def load(host: Host, path: str) -> CommandOutput:
    """Take in the turns of a notebook, or of a file that ``export`` wrote. Raises SessionError."""
    from claw_kernel.session import read_notebook

    check_idle(host, "changed")
    place = _resolve(host, path)
    records, header = _read_export(place) if place.suffix == ".json" else read_notebook(place)
    session = host.session
    before = {record.turn_id for record in session.records}
    warnings = session.merge(records, header, is_asked_for=True)
    added = [record for record in session.records if record.turn_id not in before]
    if not records:
        raise SessionError(f"{place} holds no turns of Claw.", "Give the path of a notebook in which Claw ran.")
    if not added and not warnings and before:
        raise SessionError(
            f"Nothing was taken from {place}: its turns are here already, or belong to another conversation.",
            "Begin a new one with %claw clear, then load.",
        )
    report = Report()
    report.line(
        f"{count_turns(len(added))} taken from {place}; session {session.session_id} now has {len(session.records)}."
    )
    for warning in warnings:
        report.line(warning)
    return report.output()


def export(host: Host, path: str) -> CommandOutput:
    """Write header and records as JSON, secrets replaced. Raises SessionError; an existing file is kept."""
    from claw_kernel.session import write_record

    place = _resolve(host, path)
    redact = host.agent.gate.core.redact
    document = {
        "header": host.session.header(),
        "records": [write_record(record, redact) for record in host.session.records],
    }
    try:
        with place.open("x", encoding="utf-8") as file:
            json.dump(document, file, ensure_ascii=False, indent=1)
            file.write("\n")
    except FileExistsError:
        raise SessionError(f"{place} exists already.", "Give another name.") from None
    except OSError as error:
        raise SessionError(f"{place} cannot be written: {error.strerror}.", "Give another path.") from None
    report = Report()
    report.line(f"{count_turns(len(document['records']))} written to {place}")
    return report.output()


def _read_export(place: Path) -> tuple[list[object], dict[str, object] | None]:
    try:
        document = json.loads(place.read_text(encoding="utf-8"))
        return list(document["records"]), document.get("header")
    except FileNotFoundError:
        raise SessionError(f"There is no file {place}.", "Give the path of a notebook.") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise SessionError(
            f"{place} was not written by %claw session export.", "Give the path of a notebook."
        ) from None


def _resolve(host: Host, path: str) -> Path:
    return Path(host.agent.settings.cwd) / Path(path).expanduser()


def check_idle(host: Host, done: str) -> None:
    """Raises SessionError while a turn runs."""
    turn = host.current_turn
    if turn is not None and not turn.is_finished:
        raise SessionError(f"The conversation cannot be {done} while a turn runs.", "Interrupt it first.")


def count_turns(count: int) -> str:
    """``1 turn``, ``3 turns``."""
    return "1 turn" if count == 1 else f"{count} turns"


def first_line(prompt: str) -> str:
    """Of a prompt, cut where it is long."""
    first = next((line.strip() for line in prompt.splitlines() if line.strip()), "")
    return first if len(first) <= _PROMPT_CHARS else first[: _PROMPT_CHARS - 1] + "…"
