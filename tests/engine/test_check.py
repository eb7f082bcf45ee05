"""``claw session check``, and the schema of what it checks."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import jsonschema
import pytest

from claw_kernel.cli import main
from claw_kernel.messages import Compaction, Step, TextBlock
from claw_kernel.session import Session, read_record, write_record
from claw_kernel.session.check import check_session
from claw_kernel.session.notebook import notebook_records, store
from claw_kernel.session.schema import SCHEMA_FILE, schema, schema_text
from tests.engine.test_notebook import draw, notebook
from tests.engine.test_session import record


def validator(definition: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator({**schema(), "$ref": f"#/$defs/{definition}"})


def whole_notebook() -> dict:
    session = Session("s_1")
    document = notebook("cell1", "cell2")
    compacted = Step((TextBlock("x"),), request_hash=f"sha256:{'0' * 64}", compaction=Compaction("t_1", 1, "so far"))
    for one in (record(), record(2, steps=(*record().steps, compacted)), record(3, cell_id="cell1")):
        made = session.begin(one)
        session.add(made)
        store(document, write_record(made), session.header())
    draw(document, 0, write_record(session.records[-1]))
    return document


def test_the_schema_in_the_repository_is_that_of_the_types():
    assert SCHEMA_FILE.read_text() == schema_text(), "run: python -m claw_kernel.session.schema"


def test_what_is_stored_fits_the_schema():
    document = whole_notebook()

    validator("Header").validate(document["metadata"]["claw"])
    for cell in document["cells"]:
        validator("TurnRecord").validate(cell["metadata"]["claw"])
    with pytest.raises(jsonschema.ValidationError):
        validator("TurnRecord").validate({**cell["metadata"]["claw"], "steps": [{"content": [{"type": "bomb"}]}]})


def check(tmp_path: Path, document: dict, capsys) -> tuple[int, dict]:
    place = tmp_path / "n.ipynb"
    place.write_text(json.dumps(document))
    code = main(["session", "check", str(place), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_whole_session_passes_on_the_command_line(tmp_path, capsys):
    code, found = check(tmp_path, whole_notebook(), capsys)

    assert (code, found["is_whole"], found["problems"], found["formats"]) == (0, True, [], [2])
    assert sorted(found["turns"]) == ["t_1", "t_2", "t_3"]


def test_a_turn_whose_cell_was_deleted_is_no_damage(tmp_path, capsys):
    """It left the path with its cell, and the header remembers that."""
    document = whole_notebook()
    document["metadata"]["claw"].setdefault("off_path", []).append("t_deleted")
    assert check(tmp_path, document, capsys)[0] == 0
    document["metadata"]["claw"]["turns"].append("t_lost")
    assert check(tmp_path, document, capsys)[0] == 1


def test_a_long_output_that_was_stored_before_outputs_were_packed_is_whole(tmp_path, capsys):
    """In one carrier or in both; the other may hold it packed."""
    document = whole_notebook()
    stored = document["cells"][1]["metadata"]["claw"]
    (result,) = stored["steps"][0]["results"]
    result["content"] = [{"type": "text", "text": "".join(f"line {number}\n" for number in range(3000))}]
    packed = write_record(read_record(copy.deepcopy(stored)))
    assert "stored" in packed["steps"][0]["results"][0]["content"][0]
    for drawn in (stored, packed):
        output = {"output_type": "display_data", "metadata": {}, "data": {"application/vnd.claw.turn+json": drawn}}
        document["cells"][1]["outputs"] = [output]
        code, found = check(tmp_path, document, capsys)
        assert (code, found["problems"]) == (0, [])


def test_exit_codes_tell_kinds_of_files_apart(tmp_path, capsys):
    assert check(tmp_path, notebook("a"), capsys)[0] == 6
    newer = whole_notebook()
    newer["cells"][1]["metadata"]["claw"]["format"] = 99
    assert check(tmp_path, newer, capsys)[0] == 7
    assert main(["session", "check", str(tmp_path / "none.ipynb")]) == 2
    assert "There is no file" in capsys.readouterr().err


def test_a_conversation_begun_anew_beside_another_is_whole_and_one_that_takes_its_turns_is_not(tmp_path, capsys):
    document = whole_notebook()
    session = Session()
    session.merge(notebook_records(document), document["metadata"]["claw"])
    session.clear()
    kept = document["metadata"]["claw"]
    document["metadata"]["claw"] = {**session.header(), "branches": kept["branches"]}
    code, found = check(tmp_path, document, capsys)
    assert (code, found["problems"]) == (0, [])

    document["metadata"]["claw"] = {**kept, "session_id": "s_forged"}
    code, found = check(tmp_path, document, capsys)
    assert code == 1
    assert {problem["message"] for problem in found["problems"]} == {
        "The header lists it, but its record is of another session."
    }
    assert main(["replay", str(tmp_path / "n.ipynb")]) != 0
    assert "3 of its turns are of others" in capsys.readouterr().err


def damaged(kind: str) -> dict:
    document = whole_notebook()
    stored = document["cells"][1]["metadata"]["claw"]
    match kind:
        case "schema":
            del stored["prompt"]
        case "tree":
            stored["parent_id"] = "t_9"
        case "pairing":
            stored["steps"][0]["results"] = []
        case "hash":
            stored["steps"][2]["request_hash"] = "sha256:1"
        case "carriers":
            document["cells"][0]["outputs"][0]["data"]["application/vnd.claw.turn+json"]["prompt"] = "other"
        case "id":
            stored["steps"].append(copy.deepcopy(stored["steps"][0]))
        case "form":
            stored["notices"] = []
        case "header":
            document["metadata"]["claw"]["turns"] = ["t_8"]
    return document


@pytest.mark.parametrize("kind", ["schema", "tree", "pairing", "hash", "carriers", "id", "header", "form"])
def test_each_kind_of_damage_is_named(tmp_path, capsys, kind):
    code, found = check(tmp_path, damaged(kind), capsys)

    assert kind in {problem["kind"] for problem in found["problems"]}
    assert code == (0 if kind == "form" else 1)
    assert all(problem["message"].endswith(".") for problem in found["problems"])


def test_records_of_format_1_are_whole():
    first, second = write_record(record()), write_record(record(2))
    found = check_session([{**first, "format": 1}, {**second, "format": 1}], None)

    assert found.is_whole
    assert found.formats == (1,)
