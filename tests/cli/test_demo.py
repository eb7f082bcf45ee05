"""``claw demo``: the quickstart notebook, headless, in any directory, without a trace elsewhere."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def digests(folder: Path) -> dict[str, str]:
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.glob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    from tests.cli.conftest import CommandLine

    claw = CommandLine(tmp_path_factory.mktemp("demo"))
    # A person's own settings must neither help nor hinder the demo.
    (claw.home / "settings.json").write_text('{"model": "local/none", "permissions": {"deny": ["Python", "Bash"]}}')
    before = digests(ROOT / "notebooks")
    done = claw.run("demo", "--output", "result", CLAW_PERMISSION_MODE="plan")
    assert done.returncode == 0, done.stdout + done.stderr
    assert digests(ROOT / "notebooks") == before
    return claw, done.stdout


def test_the_conversation_is_readable(demo):
    _, shown = demo
    order = [
        "You: What is in",
        "Claw:",
        "✓ Edit penguin_stats.py",
        "✓ $ python test_penguin_stats.py",
        "Saved: ",
        "3 turns",
    ]
    places = [shown.index(part) for part in order]
    assert places == sorted(places)
    assert "\x1b" not in shown


def test_the_saved_notebook_is_valid_and_its_records_can_be_read(demo):
    import nbformat

    from claw_kernel.session import read_record
    from claw_kernel.session.record import MIME_TYPE

    claw, _ = demo
    notebook = nbformat.read(claw.workspace / "result" / "quickstart.ipynb", as_version=4)
    nbformat.validate(notebook)
    documents = [
        output["data"][MIME_TYPE]
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if MIME_TYPE in output.get("data", {})
    ]
    records = [read_record(document) for document in documents]
    assert [record.stop_reason for record in records] == ["end_turn"] * 3
    assert all(
        len(step.results) == sum(block.type == "tool_call" for block in step.content)
        for r in records
        for step in r.steps
    )
    assert any("image/png" in output.get("data", {}) for cell in notebook.cells for output in _outputs(cell, MIME_TYPE))


def _outputs(cell, mime_type):
    """The cell's own outputs, and those its turn's tool calls made."""
    for output in cell.get("outputs", ()):
        yield output
        for step in output.get("data", {}).get(mime_type, {}).get("steps", ()):
            for result in step.get("results", ()):
                yield from result.get("details", {}).get("outputs", ())


def test_only_the_result_is_left_behind(demo):
    claw, _ = demo
    assert [path.name for path in claw.workspace.iterdir()] == ["result"]
    kept = ["penguin_stats.py", "penguins.csv", "quickstart.ipynb", "test_penguin_stats.py"]
    assert sorted(path.name for path in (claw.workspace / "result").iterdir()) == kept
    assert [path.name for path in claw.home.iterdir()] == ["settings.json"]


def test_the_saved_notebook_becomes_a_plain_one_that_is_proven(demo, tmp_path):
    claw, _ = demo
    done = claw.run("export", "result/quickstart.ipynb", "-o", str(tmp_path / "plain.ipynb"), timeout=170)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Run from its beginning in a fresh kernel: all outputs equal" in done.stdout
    # Beside the files as they are in the repository the agent's edit has to be brought.
    place = tmp_path / "notebooks"
    done = claw.run(
        "export", "result/quickstart.ipynb", "--workspace", str(ROOT / "notebooks"), "-o", f"{place}/plain.ipynb",
        timeout=170,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    fixed = (claw.workspace / "result" / "penguin_stats.py").read_bytes()
    assert (place / "penguin_stats.py").read_bytes() == fixed != (ROOT / "notebooks/penguin_stats.py").read_bytes()


def test_it_begins_anew_after_the_notebook_was_run(demo, tmp_path):
    """The folder as the tour leaves it, which is how JupyterLab leaves the one in a clone."""
    import json

    from claw_kernel.cli.demo import begin_anew

    claw, _ = demo
    folder = shutil.copytree(claw.workspace / "result", tmp_path / "notebooks")
    used, shipped = folder / "quickstart.ipynb", ROOT / "notebooks"
    notebook = json.loads(used.read_text("utf-8"))
    notebook["metadata"]["claw"] = {"format": 2}
    used.write_text(json.dumps(notebook), "utf-8")
    module = folder / "penguin_stats.py"
    assert module.read_bytes() != (shipped / "penguin_stats.py").read_bytes()
    begin_anew(folder)
    assert module.read_bytes() == (shipped / "penguin_stats.py").read_bytes()
    found = json.loads(used.read_text("utf-8"))
    assert found["cells"] == json.loads((shipped / "quickstart.ipynb").read_text("utf-8"))["cells"]
    assert "claw" not in found["metadata"]
