"""``claw demo``: the quickstart notebook, run headless on a scripted model, its conversation printed as it goes.

The notebook runs in a temporary copy of its directory with a private home and Jupyter configuration, so that nothing of
this checkout or of the person's settings changes; the finished notebook is kept, with the files it works on as they are then.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claw_kernel.cli import DONE, FAILED, UsageError
from claw_kernel.cli.arguments import Parser
from claw_kernel.cli.conversation import Conversation

if TYPE_CHECKING:
    from nbclient import NotebookClient
    from nbformat import NotebookNode

_NOTEBOOK = "quickstart.ipynb"
_ALLOWED = ["Python", "Edit(penguin_stats.py)", "Bash(python test_penguin_stats.py)"]
"""What the tour does and the default policy would ask for: nobody can be asked in a headless run."""
_CELL_SECONDS = 120
_KEPT = (".py", ".csv")


def run(arguments: list[str]) -> int:
    """Exit code 1 where a cell or a turn failed. Raises UsageError."""
    parser = Parser("demo", "Run the quickstart notebook headless on a scripted model and print its conversation.")
    parser.add_argument("--output", metavar="DIRECTORY", default="demo-output", help="where the finished notebook goes")
    options = parser.read(arguments)
    source = _notebooks()
    output = Path(options.output).resolve()
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--output {options.output} cannot be written: {error.strerror}.") from None
    print(f"Running {source / _NOTEBOOK} headless. The model is scripted; the tools run for real.\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="claw-demo-") as scratch:
        workspace = Path(scratch) / "notebooks"
        shutil.copytree(source, workspace, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints", ".claw"))
        begin_anew(workspace)
        _make_private(Path(scratch))
        conversation = Conversation()
        notebook, problem = _execute(workspace, conversation)
        if output != source.resolve():
            for path in workspace.iterdir():
                if path.suffix in _KEPT:
                    shutil.copy(path, output)
    target = output / _NOTEBOOK
    return _report(notebook, target, conversation, problem)


def _notebooks() -> Path:
    """The directory of the first notebooks: beside this package in a clone, or the current directory's. Raises UsageError."""
    clone = Path(__file__).resolve().parents[2]
    for place in (clone / "notebooks", Path.cwd() / "notebooks", Path.cwd()):
        if (place / _NOTEBOOK).is_file():
            return place
    raise UsageError(f"there is no notebooks/{_NOTEBOOK} here; run claw demo in a clone of the project.")


def begin_anew(workspace: Path) -> None:
    """As if nobody had run the notebook in JupyterLab before: no outputs, no conversation, and what the tour edits as it came.
    Raises UsageError."""
    import nbformat

    from claw_kernel.providers.scripted import load_script

    path = workspace / _NOTEBOOK
    try:
        notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    except Exception as error:  # nbformat lets through whatever the JSON makes it raise
        raise UsageError(f"{_NOTEBOOK} cannot be read: {str(error).split(chr(10))[0]}") from None
    notebook.metadata.pop("claw", None)
    for cell in notebook.cells:
        cell.metadata.pop("claw", None)
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, path)  # type: ignore[no-untyped-call]
    replies = [reply for turn in load_script("quickstart", str(workspace)).turns for reply in turn.replies]
    edits = [given for reply in replies for name, given in reply.tool_calls if name == "Edit"]
    for file, before, after in [(edit["file_path"], edit["old_string"], edit["new_string"]) for edit in edits]:
        text = (workspace / file).read_text("utf-8")
        if before not in text:
            (workspace / file).write_text(text.replace(after, before), "utf-8")


def _make_private(scratch: Path) -> None:
    """Settings, Jupyter and IPython of the kernel to be started live under ``scratch``; rights are those of the tour."""
    home = scratch / "home"
    home.mkdir()
    (home / "settings.json").write_text(json.dumps({"permissions": {"allow": _ALLOWED}}), "utf-8")
    for name in [name for name in os.environ if name.startswith("CLAW_")]:
        del os.environ[name]
    os.environ |= {
        "CLAW_HOME": str(home),
        "JUPYTER_CONFIG_DIR": str(scratch / "jupyter" / "config"),
        "JUPYTER_DATA_DIR": str(scratch / "jupyter" / "data"),
        "JUPYTER_RUNTIME_DIR": str(scratch / "jupyter" / "runtime"),
        "IPYTHONDIR": str(scratch / "ipython"),
        # `python` in a command means this interpreter, whether or not its environment is active.
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""))),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _execute(workspace: Path, conversation: Conversation) -> tuple[NotebookNode, str]:
    """The executed notebook and, where a cell failed, one line that says how."""
    import nbformat
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    notebook = nbformat.read(workspace / _NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    client = _client(notebook, workspace, conversation)
    try:
        client.execute()
    except CellExecutionError as error:
        return notebook, f"{error.ename}: {error.evalue}"
    except (CellTimeoutError, DeadKernelError) as error:
        return notebook, str(error).split("\n")[0]
    return notebook, ""


def _client(notebook: NotebookNode, workspace: Path, conversation: Conversation) -> NotebookClient:
    from nbclient import NotebookClient

    from claw_kernel.session.record import MIME_TYPE

    class Client(NotebookClient):
        def process_message(self, msg: dict[str, Any], cell: NotebookNode, cell_index: int) -> Any:
            if msg["msg_type"] in ("display_data", "update_display_data"):
                document = msg["content"]["data"].get(MIME_TYPE)
                if document is not None:
                    conversation.update(document)
            return super().process_message(msg, cell, cell_index)

    async def finished(cell: NotebookNode, cell_index: int, execute_reply: Any) -> None:  # noqa: ARG001
        conversation.show_cell(cell)

    return Client(
        notebook,
        timeout=_CELL_SECONDS,
        kernel_name="python3",
        extra_arguments=["--IPKernelApp.log_level=40"],  # errors only: what it warns of does not concern a demo
        resources={"metadata": {"path": str(workspace)}},
        on_cell_executed=finished,
    )


def _report(notebook: NotebookNode, target: Path, conversation: Conversation, problem: str) -> int:
    import nbformat

    from claw_kernel.errors import ClawError
    from claw_kernel.session import read_record
    from claw_kernel.session.record import MIME_TYPE

    try:
        nbformat.validate(notebook)
    except nbformat.ValidationError as error:
        problem = problem or f"the notebook is not valid: {error}"
    nbformat.write(notebook, target)  # type: ignore[no-untyped-call]
    saved = nbformat.read(target, as_version=4)  # type: ignore[no-untyped-call]
    documents = [
        output["data"][MIME_TYPE]
        for cell in saved.cells
        for output in cell.get("outputs", ())
        if MIME_TYPE in output.get("data", {})
    ]
    try:
        records = [read_record(document) for document in documents]
    except ClawError as error:
        problem, records = problem or str(error), []
    failed = [record for record in records if record.stop_reason != "end_turn"]
    if not records and not problem:
        problem = "no turn was recorded"
    print(f"Saved: {target}")
    print(conversation.summary(records))
    for record in failed:
        said = f": {record.error.message} {record.error.remedy}" if record.error else ""
        print(f"claw: the turn {record.prompt!r} ended with {record.stop_reason}{said}", file=sys.stderr)
    if problem:
        print(f"claw: the notebook did not run through: {problem}", file=sys.stderr)
    elif not failed:
        print(
            "\nNext: `make lab` opens the notebooks in JupyterLab; `claw doctor` says which models this machine can use."
        )
    return FAILED if problem or failed else DONE
