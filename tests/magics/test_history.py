"""The conversation as a tree, by commands and in real kernels; recorded turns that are not sent again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from claw_kernel.session import write_record
from tests.magics.test_commands import Shell, record, shell

__all__ = ["shell"]


def load(shell: Shell, *records) -> None:
    shell.host.session.merge([write_record(one) for one in records])


@pytest.fixture
def branched(shell: Shell) -> Shell:
    load(shell, record(1, "first"), record(2, "second"), record(3, "other", parent_id="t_1"))
    return shell


def path(shell: Shell) -> list[str]:
    return [turn.turn_id for turn in shell.host.session.records]


def test_history_draws_branches_and_returns_to_one(branched: Shell) -> None:
    text = branched.plain("history")
    assert text.splitlines()[:3] == ["● 1  first", "│  ○ 2  second", "● 3  other   ◀ the next turn goes on here"]
    assert "%claw history use 2" in text

    assert "goes on from turn 2" in branched.plain("history use 2")
    assert path(branched) == ["t_1", "t_2"]
    assert "lists 3" in branched.error("history use 9")
    assert "1 turn on other branches" in branched.plain("session")


def test_fork_goes_on_right_after_a_turn_and_says_the_way_back(branched: Shell) -> None:
    assert "%claw history use 3" in branched.plain("fork 1")
    assert path(branched) == ["t_1"]
    branched.plain("history use 3")
    assert path(branched) == ["t_1", "t_3"]


def test_rewind_takes_the_conversation_back_and_keeps_what_came_after(branched: Shell) -> None:
    assert "history use 3 returns" in branched.plain("rewind 3 --conversation")
    assert path(branched) == ["t_1"]
    text = branched.plain("rewind 1")
    assert "No files to put back" in text
    assert "rewind 1 --conversation" in text
    assert path(branched) == ["t_1"]
    branched.plain("rewind 1 --both")
    assert path(branched) == []
    assert "not to a checkpoint" in branched.error("rewind c1 --both")


def test_conversations_are_listed_and_changed_between(branched: Shell) -> None:
    branched.plain("clear")
    text = branched.plain("sessions")
    assert "s_old" in text
    assert "first" in text
    branched.plain("sessions use s_old")
    assert path(branched) == ["t_1", "t_3"]
    assert "no conversation s_x" in branched.error("sessions use s_x")


SCRIPT = {
    "turns": [
        {"when": "one", "replies": [{"text": "answer one"}]},
        {"when": "", "replies": [{"text": "something else"}]},
    ]
}


def notebook(tmp_path: Path, *prompts: str) -> Path:
    cells = [{"cell_type": "code", "id": f"cell{n}", "metadata": {}, "source": f"%%claw\n{prompt}", "outputs": [],
              "execution_count": None} for n, prompt in enumerate(prompts)]  # fmt: skip
    place = tmp_path / "n.ipynb"
    kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    load_cell = {**cells[0], "id": "load", "source": "%load_ext claw_magics"}
    document = {
        "cells": [load_cell, *cells],
        "metadata": {"kernelspec": kernelspec},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    place.write_text(json.dumps(document))
    return place


def run(place: Path, tmp_path: Path, **environment: str) -> list[list[str]]:
    """What each cell shows as plain text, by nbclient and saved to the file."""
    import os

    import nbformat
    from nbclient import NotebookClient

    script = tmp_path / "script.json"
    script.write_text(json.dumps(SCRIPT))
    document = nbformat.read(place, as_version=4)
    env = {**os.environ, "CLAW_HOME": str(tmp_path / "home"), "CLAW_MODEL": f"scripted/{script}", **environment}
    env["JUPYTER_PATH"] = ""
    NotebookClient(document, timeout=60, resources={"metadata": {"path": str(tmp_path)}}).execute(env=env)
    nbformat.write(document, place)
    return [[out.get("data", {}).get("text/plain", "") for out in cell.outputs] for cell in document.cells[1:]]


def test_a_program_that_names_the_notebook_gets_recorded_turns_and_sends_what_changed(tmp_path: Path) -> None:
    place = notebook(tmp_path, "one", "two")
    first = run(place, tmp_path)
    assert "answer one" in first[0][-1]

    again = run(place, tmp_path, CLAW_NOTEBOOK=str(place))
    assert "not sent again" in again[0][0]
    assert again[0][-1] == first[0][-1]
    assert "not sent again" in again[1][0]

    document = json.loads(place.read_text())
    document["cells"][1]["source"] = "%%claw\nchanged"
    place.write_text(json.dumps(document))
    third = run(place, tmp_path, CLAW_NOTEBOOK=str(place))
    assert not any("not sent again" in text for cell in third for text in cell)

    live = run(place, tmp_path, CLAW_NOTEBOOK=str(place), CLAW_RERUN="live")
    assert not any("not sent again" in text for cell in live for text in cell)
