"""``claw export``: the session as a plain notebook without the agent, or as a transcript."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from claw_kernel.cli import DONE, FAILED, UsageError
from claw_kernel.cli.arguments import Parser

_EPILOG = """\
notebook: the code that the results need, the agent's included, in ordinary cells; requests and all traces of the agent are gone.
It is run from its beginning in a fresh kernel, in a temporary copy of the folder, and its outputs compared with the recorded ones.
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

    from claw_kernel.errors import SessionError
    from claw_kernel.headless.proof import prove
    from claw_kernel.session.graduation import Difference, graduate
    from claw_kernel.session.notebook_file import NotebookFile

    found = graduate(NotebookFile(options.notebook).document, keep_all=options.all)
    workspace = Path(options.workspace or Path(options.notebook).parent).resolve()
    if not workspace.is_dir():
        raise UsageError(f"--workspace {options.workspace} is not a directory.")
    failure = ""
    differences: list[Difference] = []
    kinds: tuple[str, ...] = ()
    if not options.no_run:
        try:
            differences, kinds = prove(found, workspace, env=os.environ, cell_seconds=options.timeout)
        except SessionError as error:
            failure = str(error)
    _write(output, nbformat.writes(found.notebook) + "\n")  # type: ignore[no-untyped-call]
    count = len(found.pieces)
    print(
        f"{output}: {count} code {'cell' if count == 1 else 'cells'}, {found.left_out} left out that no result needs."
    )
    if failure:
        print(f"Not proven: {failure}")
        return FAILED
    if options.no_run:
        print("Not proven: it was not run.")
        return DONE
    for difference in differences:
        print(f"cell {difference.cell}, {difference.what}: was {difference.before!r}, is {difference.now!r}")
    if differences:
        print(f"Not proven: {len(differences)} {'output differs' if len(differences) == 1 else 'outputs differ'}.")
        return FAILED
    print(f"Run from its beginning in a fresh kernel: all outputs equal, looking past {', '.join(kinds)}.")
    return DONE


def _transcript(options: Any, output: Path | None) -> int:
    from claw_kernel._core import Secrets
    from claw_kernel.session import Session, transcript
    from claw_kernel.session.notebook import read_notebook
    from claw_kernel.settings import load_settings

    session = Session()
    for warning in session.merge(*read_notebook(options.notebook)):
        print(f"claw: {warning}", file=sys.stderr)
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
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.") from None
