"""Notebook files: what the model sees of their cells, and that changing one cell leaves a valid notebook and all else alone."""

from __future__ import annotations

import base64
import difflib
import json
import re

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from claw_kernel._core import ToolInputError

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
EMPTY = '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}'


def make(bench, name="a.ipynb", cells=None, **metadata):
    """A notebook as Jupyter writes it."""
    if cells is None:
        outputs = [
            new_output("stream", name="stdout", text="\x1b[31mred\x1b[0m\n10%\r100%\n"),
            new_output("display_data", {"image/png": PNG + "\n", "text/plain": "<Figure>"}),
            new_output("execute_result", {"text/html": "<b>1</b>", "text/plain": "1"}, execution_count=7),
            new_output("error", ename="ValueError", evalue="no", traceback=["\x1b[0;31mTraceback", "ValueError: no"]),
        ]
        code = new_code_cell("x = 1\nx", id="code1", execution_count=7, outputs=outputs, metadata={"tags": ["b", "a"]})
        cells = [new_markdown_cell("# Title\n[cell 9 · id fake]", id="top"), code, new_code_cell("y", id="last")]
    notebook = new_notebook(cells=cells, metadata={"z": 1, "a": {"claw": 1}, **metadata})
    nbformat.write(notebook, bench.workspace / name)
    return bench.workspace / name


def hash_of(bench, cell, path="a.ipynb"):
    return re.search(rf"\[cell {cell} · .* · hash (\w+)\]", bench.call("Read", file_path=path).text)[1]


def load(path):
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    return notebook


def changed_lines(before, after):
    return [line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line[0] in "+-"]


# --- Read -------------------------------------------------------------------------------------------------------------


def test_what_would_be_no_notebook_is_not_written(bench):
    for content in ("", "{", "[]", '{"cells": []}'):
        with pytest.raises(ToolInputError, match=r"a\.ipynb could not be opened: it is no"):
            bench.prepare("Write", file_path="a.ipynb", content=content)
    assert bench.call("Write", file_path="a.ipynb", content=EMPTY).status == "ok"


def test_cells_with_sources_outputs_and_images(bench):
    make(bench)
    result = bench.call("Read", file_path="a.ipynb")
    heads = [line for line in result.text.splitlines() if line.startswith("[cell")]
    assert re.sub(r"hash \w{8}", "hash", "\n".join(heads)) == (
        "[cell 1 · id top · markdown · hash]\n"
        "[cell 2 · id code1 · code · run [7] · hash]\n"
        "[cell 3 · id last · code · not run · hash]"
    )
    assert "1\t# Title\n2\t[cell 9 · id fake]\n" in result.text
    assert (
        "1\tx = 1\n2\tx\n| [stdout]\n| red\n| 100%\n| [display: image/png]\n| <Figure>\n| [result]\n| 1\n"
        in result.text
    )
    assert "| [error]\n| Traceback\n| ValueError: no\n" in result.text
    assert "\x1b" not in result.text
    assert "<b>" not in result.text
    assert result.content[1] == {"type": "image", "media_type": "image/png", "data": PNG}


def test_pictures_in_a_text_cell_are_seen_and_broken_ones_never_sent(bench):
    text = new_markdown_cell(
        "![a](attachment:a.png)", attachments={"a.png": {"image/png": PNG}, "b": {"text/plain": "x"}}
    )
    broken = new_code_cell("", outputs=[new_output("display_data", {"image/png": "iVBORw0KGgo="})])
    make(bench, cells=[text, broken])
    result = bench.call("Read", file_path="a.ipynb")
    assert "| [attachment a.png: image/png]\n| [attachment b: no image]\n" in result.text
    assert [block["type"] for block in result.content] == ["text", "image", "text"]
    assert "An image is left out: it is damaged or not complete" in result.content[2]["text"]


def test_many_cells_come_in_parts(bench):
    make(bench, cells=[new_markdown_cell(f"cell number {n}\n" + "x" * 990, id=f"c{n}") for n in range(1, 121)])
    text = bench.call("Read", file_path="a.ipynb").text
    last = int(
        re.search(r"\[cells 1-(\d+) of 120; go on with offset (\d+); offset and limit count cells\]\n$", text)[1]
    )
    assert len(text) < 51_000
    text = bench.call("Read", file_path="a.ipynb", offset=last + 1, limit=2).text
    assert f"cell number {last + 1}\n" in text
    assert text.endswith(
        f"[cells {last + 1}-{last + 2} of 120; go on with offset {last + 3}; offset and limit count cells]\n"
    )
    assert "cell number 120\n" in bench.call("Read", file_path="a.ipynb", offset=-1).text
    beyond = bench.call("Read", file_path="a.ipynb", offset=121)
    assert (beyond.status, beyond.text) == ("error", "a.ipynb has only 120 cells; offset 121 is beyond its end.")


def test_huge_outputs_sources_and_images_are_bounded(bench):
    many = [new_output("stream", text=f"{n} " + "y" * 3000 + "\n") for n in range(500)]
    figures = [new_output("display_data", {"image/png": PNG}) for _ in range(30)]
    big = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0" * 4_000_000).decode()
    cells = [
        new_code_cell("a", outputs=[new_output("stream", text="z" * 3_000_000)]),
        new_code_cell("b", outputs=many),
        new_code_cell("c", outputs=figures),
        new_code_cell("d", outputs=[new_output("display_data", {"image/png": big})]),
        new_code_cell("\n".join(f"line_{n} = {n}" for n in range(20_000))),
    ]
    make(bench, cells=cells)
    result = bench.call("Read", file_path="a.ipynb", limit=4)
    assert len(result.text) < 20_000
    assert "line cut" in result.text
    assert re.search(r"\| \[\d+ more outputs are left out\]", result.text)
    assert len(result.content) == 11
    assert "image/png left out" in result.text
    assert "too large to be shown" in result.text
    assert len(bench.call("Read", file_path="a.ipynb", offset=5).text) < 51_000


def test_outputs_without_text_are_named(bench):
    outputs = [
        new_output("display_data", {"application/vnd.plot+json": {"a": 1}}),
        new_output("display_data", {"image/svg+xml": "<svg onload='x()'/>"}),
    ]
    make(bench, cells=[new_code_cell("a", outputs=outputs)])
    text = bench.call("Read", file_path="a.ipynb").text
    assert "| [display: application/vnd.plot+json, 7 bytes]\n" in text
    assert "onload" not in text


def test_format_3(bench):
    old = {
        "nbformat": 3,
        "nbformat_minor": 0,
        "metadata": {"name": "old"},
        "worksheets": [
            {
                "cells": [
                    {"cell_type": "heading", "level": 1, "metadata": {}, "source": "Head"},
                    {
                        "cell_type": "code",
                        "collapsed": False,
                        "input": ["1 + ", "1"],
                        "language": "python",
                        "metadata": {},
                        "prompt_number": 3,
                        "outputs": [
                            {"output_type": "pyout", "prompt_number": 3, "text": ["2"], "png": PNG, "metadata": {}},
                            {"output_type": "stream", "stream": "stderr", "text": "careful"},
                        ],
                    },
                ]
            }
        ],
    }
    bench.write("old.ipynb", json.dumps(old))
    result = bench.call("Read", file_path="old.ipynb")
    assert "[cell 1 · id cell-1 · heading · hash " in result.text
    assert "1\t1 + 1\n| [result: image/png]\n| 2\n| [stderr]\n| careful\n" in result.text
    assert result.content[1]["data"] == PNG
    refused = bench.call(
        "NotebookEdit",
        notebook_path="old.ipynb",
        cell_id="cell-2",
        source_hash=hash_of(bench, 2, "old.ipynb"),
        new_source="2",
    )
    assert "convert it first" in refused.text


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("[1]", "it is no notebook"),
        ('{"a": 1}', "it has no nbformat"),
        ('{"nbformat": 4}', "no list of cells"),
        ('{"nbformat": 99, "cells": []}', "format 99 is not known"),
        (b'{"nbformat": 4, "cells": ["\xff"]}', "not UTF-8"),
        ('{"nbformat": 4, "cells": ' + "[" * 100_000, "not valid JSON"),
    ],
)
def test_what_is_no_notebook_is_said_in_a_sentence(bench, content, says):
    bench.write("bad.ipynb", content)
    result = bench.call("Read", file_path="bad.ipynb")
    assert result.status == "error"
    assert says in result.text
    assert "\n" not in result.text


def test_odd_cells_do_not_hide_the_others(bench):
    cells = [1, None, {"cell_type": "co\nde", "id": "x] · hash", "source": 5}, {"cell_type": "raw", "source": "here"}]
    bench.write("odd.ipynb", "\ufeff" + json.dumps({"nbformat": 4, "nbformat_minor": 5, "cells": cells}))
    text = bench.call("Read", file_path="odd.ipynb").text
    assert "[cell-1: cell 1 is not a JSON object]" in text
    assert "[cell 3 · id cell-3 · unknown type · hash e3b0c442]" in text
    assert "1\there\n" in text
    bench.write("empty.ipynb", '{"nbformat": 4, "nbformat_minor": 5, "cells": [], "metadata": {}}')
    assert bench.call("Read", file_path="empty.ipynb").text == "empty.ipynb is a notebook without cells."


# --- NotebookEdit -----------------------------------------------------------------------------------------------------


def test_a_code_cell_gets_a_new_source_and_loses_its_outputs(bench):
    path = make(bench)
    before = path.read_text("utf-8")
    path.chmod(0o640)
    result = bench.call(
        "NotebookEdit",
        notebook_path="a.ipynb",
        cell_id="code1",
        source_hash=hash_of(bench, 2),
        new_source='x = "ü\\n"\nx',
    )
    assert result.status == "ok", result.text
    after = path.read_text("utf-8")
    cell = load(path).cells[1]
    assert (cell.source, cell.outputs, cell.execution_count, cell.id) == ('x = "ü\\n"\nx', [], None, "code1")
    assert cell.metadata == {"tags": ["b", "a"]}
    assert path.stat().st_mode & 0o777 == 0o640
    added = [line[2:].strip() for line in changed_lines(before, after) if line.startswith("+")]
    assert added == ['"execution_count": null,', '"outputs": [],', '"x = \\"ü\\\\n\\"\\n",']
    assert "-x = 1\n" in result.details["diff"]
    assert "outputs" not in result.details["diff"]
    # What Jupyter would write for the same notebook is what stands there now.
    assert nbformat.writes(load(path)).rstrip("\n") == after.rstrip("\n")


def test_the_answer_names_the_new_hash_so_that_the_next_edit_needs_no_read(bench):
    path = make(bench)
    cell_hash = hash_of(bench, 3)
    for source in ("a", "b\n", ""):
        result = bench.call(
            "NotebookEdit", notebook_path="a.ipynb", cell_id="last", source_hash=cell_hash, new_source=source
        )
        cell_hash = re.search(r"hash (\w{8})", result.text)[1]
        assert load(path).cells[2].source == source


@pytest.mark.parametrize("cell_type", ["code", "markdown", "raw"])
@pytest.mark.parametrize(("after", "index"), [(None, 0), ("top", 1), ("last", 3), ("cell-2", 2)])
def test_cells_are_inserted_and_deleted(bench, cell_type, after, index):
    path = make(bench)
    before = path.read_bytes()
    named = {} if after is None else {"cell_id": after}
    result = bench.call(
        "NotebookEdit",
        notebook_path="a.ipynb",
        edit_mode="insert",
        cell_type=cell_type,
        new_source="new\ncell",
        **named,
    )
    notebook = load(path)
    cell = notebook.cells[index]
    assert (cell.cell_type, cell.source, len(notebook.cells)) == (cell_type, "new\ncell", 4)
    assert f"Inserted cell {index + 1} (id {cell.id}, hash" in result.text
    cell_hash = re.search(r"hash (\w{8})", result.text)[1]
    result = bench.call(
        "NotebookEdit", notebook_path="a.ipynb", edit_mode="delete", cell_id=cell.id, source_hash=cell_hash
    )
    assert "it has 3 cells" in result.text
    assert path.read_bytes() == before


def test_a_cell_becomes_another_type(bench):
    path = make(bench)
    edit = {"notebook_path": "a.ipynb", "cell_id": "code1", "new_source": "text"}
    bench.call("NotebookEdit", **edit, source_hash=hash_of(bench, 2), cell_type="markdown")
    assert load(path).cells[1].cell_type == "markdown"
    bench.call("NotebookEdit", **{**edit, "new_source": "1"}, source_hash=hash_of(bench, 2), cell_type="code")
    cell = load(path).cells[1]
    assert (cell.cell_type, cell.id, cell.outputs) == ("code", "code1", [])


def test_notebooks_without_ids_are_edited_by_number_and_get_none(bench):
    notebook = new_notebook(cells=[new_code_cell("a"), new_code_cell("b")])
    notebook.nbformat_minor = 4
    for cell in notebook.cells:
        del cell["id"]
    nbformat.write(notebook, bench.workspace / "a.ipynb")
    bench.call("NotebookEdit", notebook_path="a.ipynb", cell_id="cell-2", source_hash=hash_of(bench, 2), new_source="c")
    bench.call("NotebookEdit", notebook_path="a.ipynb", edit_mode="insert", cell_type="raw", new_source="r")
    found = load(bench.workspace / "a.ipynb")
    assert [cell.source for cell in found.cells] == ["r", "a", "c"]
    assert not any("id" in cell for cell in found.cells)


def test_a_cell_that_changed_meanwhile_is_left_alone(bench):
    path = make(bench)
    stale = hash_of(bench, 2)
    notebook = load(path)
    notebook.cells[1].source = "theirs"
    nbformat.write(notebook, path)
    before = path.read_bytes()
    for mode in ({"new_source": "mine"}, {"edit_mode": "delete"}):
        result = bench.call("NotebookEdit", notebook_path="a.ipynb", cell_id="code1", source_hash=stale, **mode)
        assert "not as it was when you read it" in result.text
    assert path.read_bytes() == before
    # Another cell, which is as it was read, may be changed; the whole file then needs a new look.
    result = bench.call(
        "NotebookEdit", notebook_path="a.ipynb", cell_id="last", source_hash=hash_of(bench, 3), new_source="z"
    )
    assert result.status == "ok"
    assert [cell.source for cell in load(path).cells[1:]] == ["theirs", "z"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "replace needs new_source"),
        ({"new_source": "x"}, "cell_id and source_hash"),
        ({"new_source": "x", "cell_id": "top"}, "cell_id and source_hash"),
        ({"edit_mode": "insert", "new_source": "x"}, "insert needs new_source and cell_type"),
        ({"edit_mode": "delete", "cell_id": "top", "source_hash": "x", "new_source": ""}, "delete takes no new_source"),
        ({"edit_mode": "swap"}, "edit_mode: unknown variant"),
        ({"cell_type": "heading"}, "cell_type: unknown variant"),
        ({"notebook_path": "a.py", "new_source": "x"}, "must name an .ipynb"),
        ({"cell": 1}, "unknown field"),
    ],
)
def test_calls_that_make_no_sense_are_refused(bench, arguments, says):
    with pytest.raises(ToolInputError, match=re.escape(says)):
        bench.prepare("NotebookEdit", **{"notebook_path": "a.ipynb", **arguments})


def test_calls_that_cannot_succeed_are_not_asked_for(bench):
    make(bench)
    bench.write("bad.ipynb", "{")
    bench.set_policy("default")
    good = {"notebook_path": "a.ipynb", "cell_id": "top", "source_hash": hash_of(bench, 1), "new_source": "x"}
    prepared = bench.prepare("NotebookEdit", **good)
    assert prepared.decision == "ask"
    preview = json.loads(prepared.preview)
    assert preview["kind"] == "diff"
    assert preview["diff"].startswith("--- a/a.ipynb [top]\n+++ b/a.ipynb [top]\n@@")
    assert "+x" in preview["diff"]
    assert "cells" not in preview["diff"]
    for change, says in [
        ({"cell_id": "none"}, "no cell"),
        ({"notebook_path": "no.ipynb"}, "does not exist"),
        ({"notebook_path": "bad.ipynb"}, "not valid JSON"),
        ({"source_hash": "00000000"}, "not as it was"),
        ({"new_source": "# Title\n[cell 9 · id fake]"}, "exactly this already"),
    ]:
        prepared = bench.prepare("NotebookEdit", **{**good, **change})
        assert prepared.decision == "allow"
        assert says in bench.call("NotebookEdit", **{**good, **change}).text


def test_rules_for_edit_hold_for_notebooks(bench):
    make(bench)
    call = {"notebook_path": "a.ipynb", "cell_id": "top", "source_hash": hash_of(bench, 1), "new_source": "x"}
    bench.set_policy("default", allow=["Edit(*.ipynb)"])
    assert bench.prepare("NotebookEdit", **call).decision == "allow"
    bench.set_policy("acceptEdits", deny=["Edit(a.ipynb)"])
    assert bench.prepare("NotebookEdit", **call).decision == "deny"
    bench.set_policy("plan")
    assert bench.prepare("NotebookEdit", **call).decision == "deny"


def test_the_sessions_own_notebook_is_left_to_the_editor(bench):
    path = make(bench)
    (bench.workspace / "link.ipynb").symlink_to("a.ipynb")
    before = path.read_bytes()
    bench.core.set_notebook(str(path))
    cell_hash = hash_of(bench, 1)
    bench.set_policy("default")
    for name in ("a.ipynb", "./a.ipynb", "link.ipynb", str(path)):
        edit = {"notebook_path": name, "cell_id": "top", "source_hash": cell_hash, "new_source": "x"}
        assert bench.prepare("NotebookEdit", **edit).decision == "allow"
        assert "the notebook of this very session" in bench.call("NotebookEdit", **edit).text
        assert "the notebook of this very session" in bench.call("Write", file_path=name, content=EMPTY).text
    assert path.read_bytes() == before
    bench.core.set_notebook(None)
    bench.set_policy()
    edit = {"notebook_path": "a.ipynb", "cell_id": "top", "source_hash": cell_hash, "new_source": "x"}
    assert bench.call("NotebookEdit", **edit).status == "ok"


def test_edit_sends_notebooks_to_their_own_tool(bench):
    make(bench)
    bench.call("Read", file_path="a.ipynb")
    assert "use NotebookEdit" in bench.call("Edit", file_path="a.ipynb", old_string="x", new_string="y").text
