"""Records in a notebook in memory: storing a turn, finding all of them again."""

from __future__ import annotations

import copy

from claw_kernel.session import write_record
from claw_kernel.session.notebook import branches, notebook_header, notebook_records, store
from claw_kernel.session.record import MIME_TYPE
from tests.engine.test_session import record


def notebook(*ids: str) -> dict:
    cells = [
        {
            "cell_type": "code",
            "id": name,
            "metadata": {},
            "source": "%%claw\ndo",
            "outputs": [],
            "execution_count": None,
        }
        for name in ids
    ]
    return {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def draw(document: dict, index: int, written: dict) -> None:
    output = {"output_type": "display_data", "data": {MIME_TYPE: written}, "metadata": {}}
    document["cells"][index]["outputs"] = [output]


def test_a_turn_is_stored_in_its_cell_and_the_header_in_the_notebook():
    document = notebook("cell1", "cell2")

    assert store(document, write_record(record(2)), {"session_id": "s_1"})

    assert document["cells"][1]["metadata"]["claw"]["turn_id"] == "t_2"
    assert notebook_header(document) == {"session_id": "s_1"}
    assert "claw" not in document["cells"][0]["metadata"]


def test_the_cell_that_shows_the_turn_is_its_cell_where_the_front_end_names_none():
    document = notebook("a", "b")
    written = write_record(record(cell_id=""))
    draw(document, 1, written)

    assert store(document, written)

    assert document["cells"][1]["metadata"]["claw"] == written


def test_without_a_cell_for_the_turn_nothing_is_changed():
    document = notebook("a")
    before = copy.deepcopy(document)

    assert not store(document, write_record(record()), {"session_id": "s_1"})

    assert document == before


def test_a_replaced_turn_is_kept_once_beside_the_header():
    document = notebook("cell1")
    old, new = write_record(record()), write_record(record(2, cell_id="cell1"))
    store(document, old, {"session_id": "s_1"})

    store(document, new, {"session_id": "s_1"})
    store(document, new, {"session_id": "s_1"})

    assert branches(document) == [old]
    assert notebook_records(document) == [new, old]


def test_turns_that_an_output_kept_while_nobody_wrote_metadata_move_to_the_branches():
    document = notebook("cell1")
    old, new = write_record(record()), write_record(record(2, cell_id="cell1"))
    draw(document, 0, {**new, "replaced": [old]})
    assert notebook_records(document) == [{**new, "replaced": [old]}, old]

    store(document, new, {"session_id": "s_1"})

    assert branches(document) == [old]
