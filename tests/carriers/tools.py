"""What people do to notebook files with other tools, and what of a session survives each: run for real, written as a table.

``make tables`` writes docs/carriers.md; a test compares.
"""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from claw_kernel.messages import Step, TextBlock, TurnRecord
from claw_kernel.session import Session, write_record
from claw_kernel.session.check import check_session
from claw_kernel.session.notebook import branches, drawn_records, notebook_header, notebook_records, store
from claw_kernel.session.record import MIME_TYPE

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/carriers.md"
PROMPTS = ("load the table", "plot it", "fit a line")
SCRIPT = {"turns": [{"when": "", "replies": [{"text": "You said: {{prompt}}"}]}]}


def sample() -> dict[str, Any]:
    """Three turns and one that was replaced, as JupyterLab with the extension saves them."""
    cells = [
        {"cell_type": "code", "id": f"cell{n}", "metadata": {}, "source": f"%%claw\n{prompt}", "outputs": [], "execution_count": n}
        for n, prompt in enumerate(PROMPTS, start=1)
    ]  # fmt: skip
    load = {**cells[0], "id": "load", "source": "%load_ext claw_magics", "metadata": {}, "execution_count": 1}
    kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    document = {"cells": [load, *cells], "metadata": {"kernelspec": kernelspec}, "nbformat": 4, "nbformat_minor": 5}
    session = Session("s_sample")
    for number, (cell, prompt) in enumerate(
        [(1, PROMPTS[0]), (1, PROMPTS[0]), (2, PROMPTS[1]), (3, PROMPTS[2])], start=1
    ):
        add_turn(document, session, f"t_{number}", document["cells"][cell], prompt)
    return document


def add_turn(document: dict[str, Any], session: Session, turn_id: str, cell: dict[str, Any], prompt: str) -> None:
    asked = (TextBlock(prompt),)
    began = f"2026-11-21T10:00:0{turn_id[-1]}.000Z"
    steps = (Step((TextBlock(f"You said: {prompt}"),)),)
    made = session.begin(
        TurnRecord(
            turn_id,
            session.session_id,
            prompt,
            asked,
            "scripted/x",
            began,
            steps,
            cell_id=cell["id"],
            stop_reason="end_turn",
        )
    )
    session.add(made)
    written = write_record(made)
    data = {MIME_TYPE: written, "text/markdown": prompt, "text/plain": prompt}
    cell["outputs"] = [{"output_type": "display_data", "data": data, "metadata": {}}]
    store(document, copy.deepcopy(written), session.header())


@dataclass(frozen=True, slots=True)
class Place:
    """A folder of its own for one tool, with the notebook in it."""

    folder: Path

    @property
    def notebook(self) -> Path:
        return self.folder / "n.ipynb"

    def write(self, document: dict[str, Any], name: str = "n.ipynb") -> Path:
        path = self.folder / name
        path.write_text(json.dumps(document, indent=1, sort_keys=True), encoding="utf-8")
        return path

    def run(self, *command: str, **environment: str) -> None:
        env = {**os.environ, "CLAW_HOME": str(self.folder / "home"), **environment}
        env["CLAW_MODEL"] = f"scripted/{self.folder / 'script.json'}"
        env["GIT_CONFIG_GLOBAL"] = os.devnull
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=self.folder, env=env, capture_output=True, text=True, timeout=150
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()[-1500:]}")


def _nbclient(place: Place, **environment: str) -> Path:
    place.run("nbconvert", "--to", "notebook", "--execute", "--output", "out.ipynb", "n.ipynb", **environment)
    return place.folder / "out.ipynb"


def _recorded(place: Place) -> Path:
    return _nbclient(place, CLAW_NOTEBOOK=str(place.notebook))


def _papermill(place: Place) -> Path:
    place.run("papermill", "n.ipynb", "out.ipynb", "--no-progress-bar", CLAW_NOTEBOOK=str(place.notebook))
    return place.folder / "out.ipynb"


def _nbconvert(place: Place) -> Path:
    place.run("nbconvert", "--to", "notebook", "--output", "out.ipynb", "n.ipynb")
    return place.folder / "out.ipynb"


def _clear_output(place: Place) -> Path:
    place.run("nbconvert", "--clear-output", "--inplace", "n.ipynb")
    return place.notebook


def _clear_metadata(place: Place) -> Path:
    place.run(
        "nbconvert", "--to", "notebook", "--ClearMetadataPreprocessor.enabled=True", "--output", "out.ipynb", "n.ipynb"
    )
    return place.folder / "out.ipynb"


def _nbstripout(place: Place) -> Path:
    place.run("nbstripout", "n.ipynb")
    return place.notebook


def _jupytext(place: Place) -> Path:
    place.run("jupytext", "--to", "py:percent", "n.ipynb")
    place.run("jupytext", "--to", "notebook", "--output", "out.ipynb", "n.py")
    return place.folder / "out.ipynb"


def _jupytext_update(place: Place) -> Path:
    place.run("jupytext", "--to", "py:percent", "n.ipynb")
    place.run("jupytext", "--to", "notebook", "--update", "--output", "n.ipynb", "n.py")
    return place.notebook


def _nbdime(place: Place) -> Path:
    """Two people each append a cell with a turn."""
    base = sample()
    place.write(base, "base.ipynb")
    for number, name in ((5, "local"), (6, "remote")):
        document = copy.deepcopy(base)
        session = Session()
        session.merge(notebook_records(document), notebook_header(document))
        cell = {
            "cell_type": "code",
            "id": name,
            "metadata": {},
            "source": f"%%claw\n{name}",
            "outputs": [],
            "execution_count": None,
        }
        document["cells"].append(cell)
        add_turn(document, session, f"t_{number}", cell, name)
        place.write(document, f"{name}.ipynb")
    # nbmerge ends with 1 where it left something to a person; the file is written all the same.
    command = [
        "nbdime.nbmergeapp",
        "base.ipynb",
        "local.ipynb",
        "remote.ipynb",
        "--out",
        "out.ipynb",
    ]
    subprocess.run([sys.executable, "-m", *command], cwd=place.folder, capture_output=True, timeout=150)
    return place.folder / "out.ipynb"


def _vscode(place: Place) -> Path:
    """Keys in the order of VS Code, sources as lists of lines; all metadata and unknown MIME types are kept."""
    document = json.loads(place.notebook.read_text())
    order = ("cell_type", "execution_count", "id", "metadata", "outputs", "source")
    document["cells"] = [
        {key: cell[key].splitlines(keepends=True) if key == "source" else cell[key] for key in order if key in cell}
        for cell in document["cells"]
    ]
    whole = {key: document[key] for key in ("cells", "metadata", "nbformat", "nbformat_minor")}
    place.notebook.write_text(json.dumps(whole, indent=1, ensure_ascii=False))
    return place.notebook


def _paste(place: Place) -> Path:
    """All cells into a new notebook, where JupyterLab gives them new ids."""
    document = json.loads(place.notebook.read_text())
    cells = [{**cell, "id": f"pasted{number}"} for number, cell in enumerate(document["cells"])]
    return place.write({**document, "cells": cells, "metadata": {}})


TOOLS: dict[str, Callable[[Place], Path]] = {
    "nbclient (`jupyter nbconvert --execute`)": _nbclient,
    "the same with `CLAW_NOTEBOOK`": _recorded,
    "papermill with `CLAW_NOTEBOOK`": _papermill,
    "`jupyter nbconvert --to notebook`": _nbconvert,
    "`jupyter nbconvert --clear-output`": _clear_output,
    "`jupyter nbconvert`, ClearMetadataPreprocessor": _clear_metadata,
    "nbstripout": _nbstripout,
    "jupytext to `py:percent` and back": _jupytext,
    "jupytext, `--update`": _jupytext_update,
    "nbdime merge of two appended turns": _nbdime,
    "saved as VS Code saves": _vscode,
    "cells pasted into a new notebook": _paste,
}


@dataclass(frozen=True, slots=True)
class Survival:
    """``cells``, ``outputs``, ``branches``: how many turns of the sample each carrier still has. ``conversation``: the prompts a fresh kernel goes
    on with. ``is_whole``: what ``claw session check`` says of the file."""

    header: bool
    cells: int
    outputs: int
    branches: int
    turns: int
    conversation: tuple[str, ...]
    is_whole: bool


def survival(path: Path) -> Survival:
    document = json.loads(path.read_text(encoding="utf-8"))
    mine = {f"t_{number}" for number in range(1, 7)}
    cells = [cell.get("metadata", {}).get("claw", {}).get("turn_id") for cell in document["cells"]]
    outputs = [record["turn_id"] for cell in document["cells"] for record in drawn_records(cell)]
    session = Session()
    records, header = notebook_records(document), notebook_header(document)
    session.merge(records, header)
    return Survival(
        header is not None,
        len(mine.intersection(filter(None, cells))),
        len(mine.intersection(outputs)),
        len(branches(document)),
        len(mine.intersection(turn.turn_id for turn in session.turns)),
        tuple(turn.prompt for turn in session.records),
        check_session(records, header).is_whole,
    )


def run_tool(name: str, folder: Path) -> Survival:
    """Raises RuntimeError where the tool fails."""
    folder.mkdir()
    place = Place(folder)
    place.write(sample())
    (folder / "script.json").write_text(json.dumps(SCRIPT))
    return survival(TOOLS[name](place))


def row(name: str, found: Survival) -> str:
    expected = PROMPTS if "nbdime" not in name else (*PROMPTS, "remote")
    said = "the same" if found.conversation == expected else f"{len(found.conversation)} turns"
    whole = "whole" if found.is_whole else "damaged"
    header = "kept" if found.header else "lost"
    return (
        f"| {name} | {header} | {found.cells} | {found.outputs} | {found.branches} | {found.turns} | {said} | {whole} |"
    )


def document_text(rows: dict[str, Survival]) -> str:
    return f"""\
# What of a session survives other tools

Written by `make tables`: each tool is run on a notebook with three turns in cells and one that was replaced (a branch); a test runs
them again and compares.

| tool | header | turns in cell metadata | turns in outputs | turns in branches | turns a fresh kernel finds | conversation | `claw session check` |
| --- | --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(row(name, found) for name, found in rows.items())}

* A program that runs the cells writes new outputs. With `CLAW_NOTEBOOK` (the notebook's path) they are the recorded turns; without it the
  kernel cannot know the notebook, asks again, and the new turns are another conversation (`%claw sessions`), beside the old one.
* What clears outputs leaves metadata, and what drops metadata leaves outputs; a turn is lost only where both go. A replaced turn lies
  in the header alone.
* Two merged branches of one file: both turns go on from the same one, and the newer is the conversation; `%claw history` has both.
"""


def main() -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        found = {name: run_tool(name, Path(folder) / str(number)) for number, name in enumerate(TOOLS)}
    DOCUMENT.write_text(document_text(found), encoding="utf-8")


if __name__ == "__main__":
    main()
