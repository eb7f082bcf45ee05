"""Edit: several edits in one call, and texts that are found although not exactly as they were given."""

from __future__ import annotations

import json

import pytest

from claw_kernel._core import ToolInputError


@pytest.fixture
def seen(bench):
    """Writes a file and has the model read it."""

    def put(content, name="a.py"):
        path = bench.write(name, content)
        bench.call("Read", file_path=name)
        return path

    return put


def pair(old, new, **more):
    return {"old_string": old, "new_string": new, **more}


def test_several_edits_are_made_in_order_on_what_came_before(bench, seen):
    path = seen("one\ntwo\nthree\n")
    path.chmod(0o751)
    edits = [pair("one", "1\nuno"), pair("uno\ntwo", "2"), pair("e", "E", replace_all=True)]
    prepared = bench.prepare("Edit", file_path="a.py", edits=edits)
    assert prepared.title == "Edit a.py (3 edits)"
    result = bench.call("MultiEdit", file_path="a.py", edits=edits)
    assert result.text == "Changed a.py in 4 places."
    assert path.read_text() == "1\n2\nthrEE\n"
    assert path.stat().st_mode & 0o777 == 0o751
    diff = result.details["diff"].splitlines()[3:]
    assert diff == ["-one", "-two", "-three", "+1", "+2", "+thrEE"]
    assert json.loads(prepared.preview)["diff"] == result.details["diff"]


@pytest.mark.parametrize(
    ("edits", "says"),
    [
        ([pair("one", "1"), pair("none", "x")], "edit 2 of 2: old_string was not found"),
        ([pair("o", "0"), pair("two", "x")], "edit 1 of 2: old_string occurs 2 times (lines 1, 2)"),
        ([pair("one", "1"), pair("one", "2"), pair("two", "x")], "edit 2 of 3: old_string was not found"),
        ([pair("one", "x"), pair("x", "one")], "the edits undo one another"),
    ],
)
def test_one_edit_that_fails_undoes_all_and_is_named(bench, seen, edits, says):
    path = seen("one\ntwo\nthree\n")
    before = path.stat()
    bench.set_policy("default")
    assert bench.prepare("Edit", file_path="a.py", edits=edits).decision == "allow"  # nobody is asked in vain
    result = bench.call("Edit", file_path="a.py", edits=edits)
    assert result.status == "error"
    assert says in result.text
    if "undo" not in says:
        assert result.text.endswith("Nothing was written, the other edits neither.")
    assert path.read_text() == "one\ntwo\nthree\n"
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert [path.name for path in bench.workspace.iterdir()] == ["a.py"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "give old_string and new_string, or edits"),
        ({"old_string": "a"}, "go together"),
        ({"new_string": "a"}, "go together"),
        ({"edits": []}, "from 1 to 100 edits"),
        ({"edits": [pair("a", "b")] * 101}, "from 1 to 100 edits"),
        ({"edits": [pair("a", "b")], "old_string": "a", "new_string": "b"}, "not both"),
        ({"edits": [pair("a", "b")], "replace_all": True}, "not both"),
        ({"edits": [pair("a", "b"), pair("", "b")]}, "edit 2 of 2: old_string is empty"),
        ({"edits": [pair("a", "a")]}, "are the same"),
        ({"edits": [{"old_string": "a"}]}, "edits[0]: missing field `new_string`"),
        ({"edits": [pair("a", "b", line=3)]}, "unknown field `line`"),
        ({"edits": "a"}, "edits: invalid type"),
    ],
)
def test_calls_that_make_no_sense_are_refused(bench, arguments, says):
    with pytest.raises(ToolInputError) as caught:
        bench.prepare("Edit", file_path="a.py", **arguments)
    assert says in str(caught.value)


def test_a_text_found_loosely_is_said_and_shown(bench, seen):
    path = seen("class A:\n\tdef f(self):\n\t\treturn “1”  \n")
    result = bench.call(
        "Edit", file_path="a.py", old_string="def f(self):\n    return “1”", new_string="def f(self):\n    return 2"
    )
    assert path.read_text() == "class A:\n\tdef f(self):\n\t\treturn 2\n"
    assert "found only apart from indentation; check what was done:\n--- a/a.py" in result.text
    assert "+\t\treturn 2" in result.text
    seen("say “hi”\n")
    result = bench.call("Edit", file_path="a.py", old_string='say "hi"', new_string="bye")
    assert "apart from typographic punctuation" in result.text
    seen("a  \nb\n")
    result = bench.call("Edit", file_path="a.py", edits=[pair("a\nb", "c"), pair("c", "d")])
    assert "apart from white space at the ends of lines" in result.text
    assert path.read_text() == "d\n"


def test_a_loose_match_must_be_the_only_one(bench, seen):
    path = seen("  x = 1\n\tx = 1\n")
    result = bench.call("Edit", file_path="a.py", old_string="x = 1\n", new_string="x = 2\n")
    assert "occurs 2 times" in result.text
    assert path.read_text() == "  x = 1\n\tx = 1\n"


def test_a_file_must_not_grow_beyond_what_can_be_edited(bench, seen):
    seen("x" * (1 << 20))
    result = bench.call("Edit", file_path="a.py", old_string="x", new_string="y" * 64, replace_all=True)
    assert "would be larger than 32 MiB" in result.text
