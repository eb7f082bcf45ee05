"""The notebooks a user opens first run offline, from a copy, and do what they say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from claw_kernel.session.notebook import notebook_records

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
POLICY = {
    "permissions": {"allow": ["Python", "Edit(penguin_stats.py)", "Bash(python test_penguin_stats.py)"]},
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A copy of the notebooks, and settings that allow what they need."""
    copy = tmp_path / "notebooks"
    shutil.copytree(NOTEBOOKS, copy, ignore=shutil.ignore_patterns("__pycache__", ".claw", ".ipynb_checkpoints"))
    home = tmp_path / "home"
    home.mkdir()
    (home / "settings.json").write_text(json.dumps(POLICY))
    monkeypatch.setenv("CLAW_HOME", str(home))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    return copy


@pytest.mark.parametrize("name", ["quickstart", "claw_kernel"])
def test_the_notebook_runs_and_holds_its_record(place, name):
    notebook = nbformat.read(place / f"{name}.ipynb", as_version=4)
    client = NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(place)}})
    client.execute()
    nbformat.validate(notebook)

    records = notebook_records(notebook)
    assert len(records) == 3
    assert [record["stop_reason"] for record in records] == ["end_turn"] * 3
    results = [result for record in records for step in record["steps"] for result in step.get("results", [])]
    failed = [r for r in results if r.get("is_error")]
    assert [r["details"]["title"] for r in failed] == ["$ python test_penguin_stats.py"], "only the first test run fails"
    assert "5.08" in json.dumps(records[2])  # mean mass of Gentoo in kg, computed by the mended module
    assert any(block["type"] == "image" for result in results for block in result["content"])
    assert "/ 1000" in (place / "penguin_stats.py").read_text()
    assert "/ 100)" in (NOTEBOOKS / "penguin_stats.py").read_text()
    scripted = [notice for record in records for notice in record.get("notices", [])]
    assert any("scripted" in notice for notice in scripted)


def test_a_notebook_without_a_policy_is_denied_and_says_why(place, monkeypatch):
    monkeypatch.setenv("CLAW_HOME", str(place / "nobody"))
    notebook = nbformat.read(place / "quickstart.ipynb", as_version=4)
    notebook.cells = [cell for cell in notebook.cells if cell.id in ("load", "data", "look")]
    NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(place)}}).execute()

    text = json.dumps(notebook_records(notebook))
    assert "nobody can be asked" in text


def test_the_committed_notebooks_have_no_outputs():
    for path in NOTEBOOKS.glob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            assert not cell.get("outputs"), path
