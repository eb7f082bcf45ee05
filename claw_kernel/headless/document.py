"""A notebook file for a run: read and checked, emptied of what a run makes, and saved whole or not at all."""

from __future__ import annotations

from collections.abc import Container, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claw_kernel.errors import SessionError
from claw_kernel.ids import new_id
from claw_kernel.messages import TurnRecord
from claw_kernel.session import Session
from claw_kernel.session.notebook import METADATA_KEY, drawn_records, notebook_header, notebook_records, store

if TYPE_CHECKING:
    from nbformat import NotebookNode

_PARAMETERS = "parameters"
"""The tag of the cell whose values ``--set-parameter`` overrides, as papermill has it."""


def open_notebook(path: Path) -> NotebookNode:
    """Raises SessionError where there is no valid notebook."""
    import nbformat

    try:
        notebook: NotebookNode = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
        nbformat.validate(notebook)
    except FileNotFoundError:
        raise SessionError(f"There is no file {path}.", "Give the path of a notebook.") from None
    except Exception as error:  # nbformat raises a dozen kinds for a file that is no notebook
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise SessionError(f"{path} cannot be read as a notebook: {said}", "Give the path of an .ipynb file.") from None
    return notebook


def save_notebook(notebook: NotebookNode, path: Path) -> None:
    """Put the notebook in its place in one step. Raises SessionError, and what was there stays."""
    import nbformat

    target = path.resolve()  # a link stays one
    draft = target.with_name(f".{target.name}.{new_id('w')}")
    try:
        text = nbformat.writes(notebook)  # type: ignore[no-untyped-call]
        try:
            with draft.open("x", encoding="utf-8", newline="\n") as file:
                file.write(text if text.endswith("\n") else text + "\n")
            if target.exists():
                draft.chmod(target.stat().st_mode & 0o777)
            draft.replace(target)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise SessionError(f"{path} cannot be written: {error.strerror}.", "Give another --output.") from None


def kernel_of(notebook: NotebookNode) -> str:
    """The name of the kernel the notebook asks for."""
    return str(notebook.metadata.get("kernelspec", {}).get("name") or "python3")


def session_of(notebook: NotebookNode) -> tuple[Session, list[str]]:
    """The conversation the notebook holds, and a warning for each turn that cannot be read."""
    session = Session()
    warnings = session.merge(notebook_records(notebook), notebook_header(notebook))
    return session, warnings


def holds_another_session(notebook: NotebookNode, other: NotebookNode) -> bool:
    """Whether ``notebook`` holds turns, and none of its cells is one of ``other``'s: by id, where both have ids, else by text."""
    if not notebook_records(notebook) or not notebook.cells or not other.cells:
        return False
    key = "id" if all("id" in cell for cell in (*notebook.cells, *other.cells)) else "source"
    return {cell[key] for cell in notebook.cells}.isdisjoint(cell[key] for cell in other.cells)


def cell_of(notebook: NotebookNode, record: TurnRecord) -> int | None:
    """The index of the cell that shows the turn."""
    for index, cell in enumerate(notebook.cells):
        stored = cell.metadata.get(METADATA_KEY)
        shown = [*([stored] if isinstance(stored, dict) else []), *drawn_records(cell)]
        if any(isinstance(one, dict) and one.get("turn_id") == record.turn_id for one in shown):
            return index
    return None


def empty(notebook: NotebookNode, keep: Container[int] = ()) -> None:
    """Take out outputs and records, but of the cells in ``keep``; what the header says of permissions stays."""
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "code" and index not in keep:
            cell.outputs, cell.execution_count = [], None
            cell.metadata.pop(METADATA_KEY, None)
    permissions = (notebook_header(notebook) or {}).get("permissions")
    notebook.metadata.pop(METADATA_KEY, None)
    if permissions:
        notebook.metadata[METADATA_KEY] = {"permissions": permissions}


def store_turns(notebook: NotebookNode) -> None:
    """Records that the kernel has put into outputs go into the metadata too, as JupyterLab does it while a person works."""
    permissions = (notebook_header(notebook) or {}).get("permissions")
    session, _ = session_of(notebook)
    if not session.records:
        return
    header = {**session.header(), **({"permissions": permissions} if permissions else {})}
    for cell in notebook.cells:
        for document in drawn_records(cell):
            if "live" not in document:
                store(notebook, document, header)


def set_parameters(notebook: NotebookNode, assignments: Sequence[tuple[str, Any]]) -> None:
    """Put a cell with the values behind the one tagged ``parameters``, or first."""
    if not assignments:
        return
    from nbformat.v4 import new_code_cell

    source = "# Parameters\n" + "\n".join(f"{name} = {value!r}" for name, value in assignments)
    if kernel_of(notebook) == "claw":
        source = "%%python\n" + source
    cell = new_code_cell(source, metadata={"tags": ["injected-parameters"]})  # type: ignore[no-untyped-call]
    tagged = [n for n, cell in enumerate(notebook.cells) if _PARAMETERS in cell.metadata.get("tags", ())]
    notebook.cells.insert(tagged[0] + 1 if tagged else 0, cell)
