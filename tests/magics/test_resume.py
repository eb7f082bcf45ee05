"""Tomorrow with a fresh kernel: what is gone is said, to the person and to the model, and the cells that rebuild it are found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.kernels import TURN, Execution, Kernels
from tests.model_server import ModelServer, anthropic_frames, text, tool_call

CELLS = (
    "import numpy as np\nimport pandas as pd",
    "raw = {'bill': [39.1, 46.5, 49.3], 'species': ['Adelie', 'Gentoo', 'Gentoo']}",
    "unrelated = [n ** 2 for n in range(10)]",
    "df = pd.DataFrame(raw)\ndf['long'] = df.bill > 40",
    "%%claw\nCompute the means.",
    "class Strange:\n    def __repr__(self): open('touched', 'w')\n    __eq__ = __hash__ = __len__ = __repr__\nodd = Strange()",
    "%%claw\nGood.",
)


@pytest.fixture
def server():
    with ModelServer() as server:
        yield server


def variables(server: ModelServer) -> dict[str, str]:
    return {
        "ANTHROPIC_API_KEY": "test-key-123456",
        "CLAW_BASE_URL": server.base_url,
        "CLAW_MODEL": "anthropic/claude-test",
    }


@pytest.fixture
def yesterday(kernels: Kernels, server: ModelServer) -> Path:
    """A notebook as it was left: five code cells, one turn that ran code, one that did not."""
    (kernels.directory / "home").mkdir(exist_ok=True)
    settings = {"permissions": {"allow": ["Python"]}}
    (kernels.directory / "home" / "settings.json").write_text(json.dumps(settings))
    server.answer(
        anthropic_frames([tool_call("c1", "Python", {"code": "means = df.groupby('species').bill.mean()\nmeans"})]),
        anthropic_frames([text("Adelie 39.1, Gentoo 47.9.")]),
        anthropic_frames([text("Yes.")]),
    )
    kernel = kernels.start(**variables(server))
    done = [kernel.run(source, cell_id=f"cell-{number}") for number, source in enumerate(CELLS)]
    assert all(cell.is_ok for cell in done), done
    header = kernel.request("header")["header"]
    kernel.close()
    path = kernels.workspace / "yesterday.ipynb"
    nbformat.write(notebook_of(done, header), path)
    return path


def notebook_of(done: list[Execution], header: dict[str, Any]) -> Any:
    document = nbformat.v4.new_notebook(metadata={"claw": header})
    for number, (source, cell) in enumerate(zip(CELLS, done, strict=True)):
        outputs = [nbformat.v4.new_output("display_data", {TURN: cell.turn})] if source.startswith("%%claw") else []
        document.cells.append(nbformat.v4.new_code_cell(source, outputs=outputs, id=f"cell-{number}"))
    return document


def last_environment(path: Path) -> dict[str, Any]:
    cells = json.loads(path.read_text())["cells"]
    return cells[-1]["outputs"][0]["data"][TURN]["environment"]


def test_a_turn_says_what_it_ran_on_without_running_any_code_of_a_variable(yesterday: Path, kernels: Kernels) -> None:
    found = last_environment(yesterday)
    assert set(found["libraries"]) >= {"numpy", "pandas"}
    shown = found["variables"]
    assert set(shown) == {"raw", "unrelated", "df", "means", "Strange", "odd"}
    assert shown["odd"] == "Strange"
    assert shown["df"].startswith("pandas.DataFrame 3x3 #")
    assert shown["unrelated"].startswith("list 10 #")
    assert not (kernels.workspace / "touched").exists()


def test_what_is_gone_is_told_and_rebuilt_by_the_cells_it_needs(
    yesterday: Path, kernels: Kernels, server: ModelServer
) -> None:
    server.answer(anthropic_frames([text("It is gone.")]), anthropic_frames([text("Now it is back.")]))
    kernel = kernels.start(**variables(server), JPY_SESSION_NAME=str(yesterday))
    kernel.run("unrelated = [n ** 2 for n in range(10)]", cell_id="new-0")
    asked = kernel.run("%%claw\nWhat is in df?", cell_id="new-1")
    assert asked.is_ok, asked.errors[0]["evalue"] + "\n".join(asked.errors[0]["traceback"])
    told = server.requests[-1].json["messages"][-1]["content"][-1]["text"]
    assert "Gone: Strange" in told
    assert "df (pandas.DataFrame 3x3" in told
    assert "unrelated" not in told
    assert "Cells that rebuild it, in order: 1, 2, 4, 5, 6 " in told
    # After what providers have cached: the messages before are the recorded ones.
    assert "Gone" not in json.dumps(server.requests[-1].json["messages"][:-1])
    assert any("are gone" in notice for notice in asked.turn["notices"]), asked.turn["notices"]

    shown = kernel.run("%claw resume").markdown
    assert "pandas.DataFrame 3x3" in shown
    assert "unrelated" not in shown
    ran = kernel.run("%claw resume --run --yes")
    assert "All is as it was" in ran.markdown, ran
    assert kernel.run("assert means.round(1).to_dict() == {'Adelie': 39.1, 'Gentoo': 47.9}").is_ok
    assert not (kernels.workspace / "touched").exists()
    again = kernel.run("%%claw\nAnd now?", cell_id="new-2")
    assert "notices" not in again.turn
    assert len(server.requests[-1].json["messages"][-1]["content"]) == 1


def test_other_values_and_types_are_named_and_a_whole_namespace_says_nothing(
    yesterday: Path, kernels: Kernels, server: ModelServer
) -> None:
    server.answer(anthropic_frames([text("All there.")]))
    kernel = kernels.start(**variables(server), JPY_SESSION_NAME=str(yesterday))
    for source in (*CELLS[:4], "means = df.groupby('species').bill.mean()", CELLS[5]):
        assert kernel.run(source).is_ok
    kernel.run("raw['bill'][0] = 39.2")
    shown = kernel.run("%claw resume").markdown
    assert "other than it was: raw." in shown
    assert "| cell 2 |" in shown
    kernel.run("raw['bill'][0] = 39.1")
    assert "has what the last turn left" in kernel.run("%claw resume").markdown
    asked = kernel.run("%%claw\nIs all there?", cell_id="new")
    assert "notices" not in asked.turn
    # Nobody runs a file's code by opening it: without an answer nothing is run.
    kernel.run("del df")
    assert "--yes" in kernel.run("%claw resume --run", allow_stdin=False).markdown
    assert not kernel.run("df").is_ok


def test_a_kernel_without_the_notebooks_file_says_what_is_gone_all_the_same(
    yesterday: Path, kernels: Kernels, server: ModelServer
) -> None:
    document = json.loads(yesterday.read_text())
    records = [output["data"][TURN] for cell in document["cells"] for output in cell["outputs"]]
    kernel = kernels.start(**variables(server))
    kernel.hello(records=records, header=document["metadata"]["claw"])
    shown = kernel.run("%claw resume").markdown
    assert "are gone" in shown
    assert "not known here" in shown


def test_blame_in_the_notebook(yesterday: Path, kernels: Kernels, server: ModelServer) -> None:
    kernel = kernels.start(**variables(server), JPY_SESSION_NAME=str(yesterday))
    shown = kernel.run("%claw blame").markdown
    assert shown.count("| human |") == 7  # two requests, and five cells that no recorded call wrote
    assert "unknown" not in shown
    assert "anthropic/claude-test" in shown


def test_blame_where_no_file_is_known_is_a_line_and_no_error(kernels: Kernels, server: ModelServer) -> None:
    kernel = kernels.start(**variables(server))
    shown = kernel.run("%claw blame")
    assert not shown.errors
    assert "run claw blame NOTEBOOK in a terminal" in shown.markdown
