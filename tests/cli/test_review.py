"""The settings for nbdime and nbstripout that docs/guide.md gives, on the real programs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from claw_kernel.session.record import MIME_TYPE

GUIDE = (Path(__file__).parents[2] / "docs" / "guide.md").read_text("utf-8")
NBDIFF = "import sys; sys.argv[0] = 'nbdiff'; from nbdime.nbdiffapp import main; sys.exit(main())"


def write(path: Path, turn_id: str, prompt: str, answer: str) -> None:
    record = {
        "format": 1, "turn_id": turn_id, "session_id": "s_1", "prompt": prompt, "content": [{"type": "text", "text": prompt}],
        "model": "a/b", "started_at": "2026-11-21T10:00:00Z", "steps": [{"content": [{"type": "text", "text": answer}]}],
        "stop_reason": "end_turn",
    }  # fmt: skip
    output = nbformat.v4.new_output("display_data", {MIME_TYPE: record, "text/markdown": answer})
    cell = nbformat.v4.new_code_cell(f"%%claw\n{prompt}", id="one", metadata={"claw": record}, outputs=[output])
    cell.execution_count = len(answer)
    header = {"format": 1, "session_id": "s_1", "turns": [turn_id]}
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata={"claw": header}), path)


def run(folder: Path, *command: str) -> str:
    environment = {**os.environ, "HOME": str(folder), "JUPYTER_CONFIG_DIR": str(folder), "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


def test_nbdime_shows_what_people_wrote(tmp_path):
    pytest.importorskip("nbdime")
    write(tmp_path / "a.ipynb", "t_1", "What is in it?", "Two files.")
    write(tmp_path / "b.ipynb", "t_2", "What is in here?", "Three files.")
    assert "t_2" in run(tmp_path, "-c", NBDIFF, "a.ipynb", "b.ipynb", "--no-color")
    settings = re.search(r'^ {4}(\{"Diff".*\})$', GUIDE, re.MULTILINE)
    assert settings is not None
    (tmp_path / "nbdime_config.json").write_text(settings[1])
    shown = run(tmp_path, "-c", NBDIFF, "a.ipynb", "b.ipynb", "--no-color")
    assert "+What is in here?" in shown
    assert "t_2" not in shown
    assert "Three files" not in shown
    assert "execution_count" not in shown
    assert json.loads(settings[1])


def test_nbstripout_leaves_the_session_unless_told(tmp_path):
    pytest.importorskip("nbstripout")
    write(tmp_path / "a.ipynb", "t_1", "What is in it?", "Two files.")
    run(tmp_path, "-m", "nbstripout", "a.ipynb")
    text = (tmp_path / "a.ipynb").read_text()
    assert MIME_TYPE not in text
    exported = run(tmp_path, "-m", "claw_kernel.cli", "export", "a.ipynb", "--to", "jsonl")
    assert "Two files." in exported
    keys = re.search(r'--extra-keys "([^"]+)"', GUIDE)
    assert keys is not None
    run(tmp_path, "-m", "nbstripout", "--extra-keys", keys[1], "a.ipynb")
    text = (tmp_path / "a.ipynb").read_text()
    assert "t_1" not in text
    assert "What is in it?" in text
