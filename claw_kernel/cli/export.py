"""``claw export``: the session as a plain notebook without the agent, or as a transcript."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claw_kernel.cli import DONE, FAILED, UsageError
from claw_kernel.cli.arguments import Parser
from claw_kernel.question import printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from claw_kernel.headless.proof import Proof
    from claw_kernel.session.file_changes import FileChange, State

_EPILOG = """\
notebook: the code that the results need, the agent's included, in ordinary cells; requests and all traces of the agent are gone.
It is run from its beginning in a fresh kernel, in a temporary copy of the folder, and its outputs compared with the recorded ones.
Files that the agent edited and that are not as it left them are put so in that copy, and written beside the plain notebook.
markdown, html, jsonl: the transcript, with secrets of your environment taken out. The HTML page loads nothing.
Exit codes: 0 done (a notebook: with equal outputs), 1 outputs differ or it fails, 2 usage."""
_FORMATS = ("notebook", "markdown", "html", "jsonl")


def run(arguments: list[str]) -> int:
    """Raises UsageError and SessionError."""
    parser = Parser("export", "Write a session as a plain notebook, proven by running it, or as a transcript.", _EPILOG)
    parser.add_argument("notebook", metavar="NOTEBOOK")
    parser.add_argument("--to", metavar="FORMAT", choices=_FORMATS, default="notebook", help=", ".join(_FORMATS))
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="an existing file is kept; transcripts go to stdout without it, or with -",
    )
    parser.add_argument(
        "--workspace", metavar="DIRECTORY", help="notebook: the folder it belongs to (default: the notebook's own)"
    )
    parser.add_argument("--all", action="store_true", help="notebook: keep all code that ran, needed or not")
    parser.add_argument("--no-run", action="store_true", help="notebook: do not run it; nothing is proven then")
    parser.add_argument("--timeout", metavar="SECONDS", type=int, default=600, help="notebook: for one cell (600)")
    options = parser.read(arguments)
    output = Path(options.output) if options.output and options.output != "-" else None
    if output is not None and output.exists():
        raise UsageError(f"{output} exists already; give another name.")
    if options.to == "notebook":
        if output is None:
            raise UsageError("a notebook needs a file: -o FILE.")
        return _notebook(options, output)
    return _transcript(options, output)


def _notebook(options: Any, output: Path) -> int:
    import nbformat

    from claw_kernel._core import Secrets
    from claw_kernel.headless.execution import redactor
    from claw_kernel.headless.proof import prove
    from claw_kernel.session import Session
    from claw_kernel.session.file_changes import command_changes, file_changes
    from claw_kernel.session.graduation import graduate
    from claw_kernel.session.notebook import notebook_header, notebook_records
    from claw_kernel.session.notebook_file import NotebookFile
    from claw_kernel.session.scrubbing import scrub_text
    from claw_kernel.settings import load_settings

    document = NotebookFile(options.notebook).document
    found = graduate(document, keep_all=options.all)
    workspace = Path(options.workspace or Path(options.notebook).parent).resolve()
    if not workspace.is_dir():
        raise UsageError(f"--workspace {options.workspace} is not a directory.")
    session = Session()
    session.merge(notebook_records(document), notebook_header(document))
    changes = file_changes(session.records, workspace)
    secrets = list(load_settings().secrets())
    proof = None
    if not options.no_run:
        proof = prove(found, workspace, changes, env=os.environ, cell_seconds=options.timeout, redact=redactor(secrets))
    text, hidden = scrub_text(nbformat.writes(found.notebook) + "\n", secrets)  # type: ignore[no-untyped-call]
    _write(output, text)
    count = len(found.pieces)
    print(
        f"{output}: {count} code {'cell' if count == 1 else 'cells'}, {found.left_out} left out that no result needs."
    )
    for finding in hidden:
        print(f"{output}:{finding.line}: {finding.kind} taken out")
    names = _Names({record.turn_id: number for number, record in enumerate(session.records, 1)})
    if proof is None:
        print("Not proven: it was not run.")
        for change in changes:
            if change.state != "as left":
                print(f"{names(change)} is not as the session left it.")
        return DONE
    for difference in proof.differences:
        said = f"cell {difference.cell}, {difference.what}: was {difference.before!r}, is {difference.now!r}"
        print(Secrets(secrets).redact(said))
    return _judge(proof, changes, command_changes(session.records), output, names)


def _judge(proof: Proof, changes: Sequence[FileChange], commands: int, output: Path, names: _Names) -> int:
    """Say what was found, and bring the files that the proof needed. Raises SessionError where one cannot be written."""
    from claw_kernel.session.file_changes import write_file

    if not proof.is_proven:
        count = len(proof.differences)
        print(f"Not proven: {proof.failure or f'{count} output differs' if count < 2 else f'{count} outputs differ'}")
        if proof.failure:
            print("Name its folder with --workspace, keep all code with --all, or give it more time with --timeout.")
        for change in changes:
            print(f"{names(change)} was changed by the session{_STATES[change.state]}")
        if commands:
            print(f"{commands} of its commands changed files too; what they hold now was taken.")
        return FAILED
    in_the_way = [change for change in proof.changes if not write_file(output.parent, change)]
    looked_past = f"all outputs equal, looking past {', '.join(proof.kinds)}."
    if not proof.changes:
        print(f"Run from its beginning in a fresh kernel: {looked_past}")
        return DONE
    print(f"Run from its beginning in a fresh kernel, with these files as the session left them: {looked_past}")
    for change in proof.changes:
        print(f"  {names(change)}{': another one is there, and was kept' if change in in_the_way else ': written'}")
    if in_the_way:
        print("Not proven for this folder: give -o a folder of its own, which gets those files too.")
    return FAILED if in_the_way else DONE


_STATES: dict[State, str] = {
    "as left": ", and is as it left it; cells before that were recorded with another.",
    "known": "; it was put as the session left it.",
    "unclear": "; whether it is still as it left it cannot be told.",
}


class _Names:
    """What a changed file is called: ``penguin_stats.py (Edit, turn 2)``."""

    def __init__(self, turns: Mapping[str, int]) -> None:
        self._turns = turns

    def __call__(self, change: FileChange) -> str:
        return printable(f"{change.path} ({change.tool}, turn {self._turns.get(change.turn_id, '?')})")


def _transcript(options: Any, output: Path | None) -> int:
    from claw_kernel._core import Secrets
    from claw_kernel.session import Session, transcript
    from claw_kernel.session.notebook import read_notebook
    from claw_kernel.settings import load_settings

    session = Session()
    for warning in session.merge(*read_notebook(options.notebook)):
        print(printable(f"claw: {warning}"), file=sys.stderr)
    if not session.records:
        print(f"claw: {options.notebook} holds no turns of Claw.", file=sys.stderr)
        return FAILED
    redact = Secrets(list(load_settings().secrets())).redact
    title = Path(options.notebook).stem
    match options.to:
        case "markdown":
            text = transcript.write_markdown(session.records, title, redact)
        case "html":
            text = transcript.write_html(session.records, title, redact)
        case _:
            text = "".join(f"{line}\n" for line in transcript.write_jsonl(session.records, redact))
    if output is None:
        sys.stdout.write(text)
    else:
        _write(output, text)
    return DONE


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.") from None
