"""Read, Write and Edit: what the model sees of a file, and that a file is never lost, mixed up or half written."""

from __future__ import annotations

import base64
import json
import os
import socket
import time

import pytest

from claw_kernel._core import CancelToken, ToolInputError, ToolOutput

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


# --- Read -------------------------------------------------------------------------------------------------------------


def test_lines_are_numbered_and_come_in_parts(bench):
    bench.write("a.txt", "".join(f"line {n}\n" for n in range(1, 3001)))
    whole = bench.call("Read", file_path="a.txt")
    assert whole.text.startswith("1\tline 1\n2\tline 2\n")
    assert whole.text.endswith("2000\tline 2000\n[lines 1-2000 of 3000; go on with offset 2001]\n")
    part = bench.call("Read", file_path=str(bench.workspace / "a.txt"), offset=2999)
    assert part.text == "2999\tline 2999\n3000\tline 3000\n"
    part = bench.call("read_file", path="a.txt", offset=2, limit=1)
    assert part.text == "2\tline 2\n[lines 2-2 of 3000; go on with offset 3]\n"


def test_an_offset_beyond_the_end_and_an_empty_file(bench):
    bench.write("a.txt", "x\n")
    bench.write("empty", "")
    beyond = bench.call("Read", file_path="a.txt", offset=5)
    assert beyond.status == "error"
    assert "has only 1 line;" in beyond.text
    assert bench.call("Read", file_path="empty").text == "empty is empty."


def test_long_lines_are_cut_and_the_result_has_a_bound(bench):
    bench.write("a.txt", "ä" * 3000 + "\nshort\n")
    text = bench.call("Read", file_path="a.txt").text
    assert "ä" * 2000 + " … [line cut]\n2\tshort\n" in text
    assert "longer than 2000" in text
    bench.write("b.txt", ("x" * 1000 + "\n") * 500)
    text = bench.call("Read", file_path="b.txt").text
    assert len(text) < 52_000
    assert "go on with offset" in text.splitlines()[-1]


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        ("naïve\r\nx\r\n".encode(), "1\tnaïve\n2\tx\n"),
        ("\ufeffmark".encode(), "1\tmark\n"),
        ("日本\n".encode("utf-16"), "1\t日本\n"),
        ("日本\n".encode("utf-16-be").join([b"\xfe\xff", b""]), "1\t日本\n"),
        (b"caf\xe9\n", "1\tcafé\n"),
    ],
)
def test_usual_encodings_are_read(bench, content, shown):
    bench.write("a.txt", content)
    assert bench.call("Read", file_path="a.txt").text == shown


def test_images_come_as_images(bench):
    bench.write("a.png", PNG)
    result = bench.call("Read", file_path="a.png")
    assert result.content[1] == {"type": "image", "media_type": "image/png", "data": base64.b64encode(PNG).decode()}
    assert result.content[0]["text"] == "a.png (image/png, 1 x 1 pixels)"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (PNG + b"\0" * 4_000_000, "make a smaller copy"),
        (PNG[:40], "damaged or not complete"),
        (PNG[:8], "damaged or not complete"),
        (b"\xff\xd8\xff\xe0" + b"x" * 100, "damaged or not complete"),
        (b"GIF89a", "damaged or not complete"),
        (PNG[:16] + (20_000).to_bytes(4, "big") + PNG[20:], "20000 x 1 pixels"),
    ],
    ids=["large", "cut", "head alone", "jpeg", "gif", "wide"],
)
def test_an_image_that_servers_refuse_never_gets_into_the_conversation(bench, content, says):
    bench.write("a.png", content)
    result = bench.call("Read", file_path="a.png")
    assert (result.status, [block["type"] for block in result.content]) == ("error", ["text"])
    assert says in result.text


def test_images_of_any_tool_are_looked_at(bench):
    """Of Python tools too: figures, pages of the web, what a notebook displays."""
    data = base64.b64encode(PNG).decode()
    given = [("image/jpeg", data), ("image/png", "AAAA"), ("image/png", "no base64")]
    blocks = [{"type": "image", "media_type": kind, "data": text} for kind, text in given]
    prepared = bench.core.prepare("REPL", "{}", "[]")
    content = bench.read(bench.core.finish(prepared, ToolOutput(json.dumps(blocks)))).content
    assert content[0] == {"type": "image", "media_type": "image/png", "data": data}
    assert [block["type"] for block in content] == ["image", "text", "text"]
    assert "An image is left out: it is no" in content[1]["text"]


def test_what_is_no_text_file_is_refused_without_a_hang(bench):
    os.mkfifo(bench.workspace / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(bench.workspace / "socket"))
        bench.write("binary", b"\x7fELF\0\0")
        (bench.workspace / "folder").mkdir()
        start = time.monotonic()
        for name, says in [("pipe", "a pipe"), ("binary", "binary"), ("folder", "Glob"), ("none", "does not exist")]:
            result = bench.call("Read", file_path=name)
            assert result.status == "error", name
            assert says in result.text, name
        for tool, arguments in (("Read", {}), ("Write", {"content": "x"})):
            assert "is a socket" in bench.call(tool, file_path="socket", **arguments).text
        assert bench.call("Read", file_path="a\0b").text.endswith("a\\u{0}b is no path: it holds a NUL character.")
        assert "folder" in bench.call("Read", file_path="binary/x").text
    assert time.monotonic() - start < 2


def test_a_slice_of_a_huge_file_is_read_without_loading_it(bench):
    path = bench.workspace / "huge"
    with path.open("wb") as file:
        file.write(b"first\nsecond\n" + b"x" * 10_000)
        file.truncate(2 << 30)  # the third line has two gigabytes
    start = time.monotonic()
    result = bench.call("Read", file_path="huge", limit=2)
    assert result.text.startswith("1\tfirst\n2\tsecond\n[lines 1-2;")
    assert time.monotonic() - start < 0.5


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "missing field `file_path`"),
        ({"file_path": ""}, "empty"),
        ({"file_path": "a", "limit": 0}, "at least 1"),
        ({"file_path": "a", "offset": 1.5}, "offset: invalid type"),
        ({"file_path": "a", "lines": 3}, "unknown field `lines`"),
    ],
)
def test_bad_arguments_of_read(bench, arguments, says):
    with pytest.raises(ToolInputError, match=says):
        bench.prepare("Read", **arguments)


# --- Write ------------------------------------------------------------------------------------------------------------


def test_write_creates_a_file_and_its_folders(bench):
    result = bench.call("Write", file_path="a/b/c.txt", content="x\ny\n")
    assert result.text == "Created a/b/c.txt (2 lines)."
    assert (bench.workspace / "a/b/c.txt").read_text() == "x\ny\n"
    assert "+x" in result.details["diff"]
    assert [entry.name for entry in (bench.workspace / "a/b").iterdir()] == ["c.txt"]


def test_a_file_that_was_not_read_is_not_overwritten(bench):
    path = bench.write("a.txt", "precious")
    result = bench.call("Write", file_path="a.txt", content="x")
    assert result.status == "error"
    assert "Read it first" in result.text
    assert path.read_text() == "precious"
    bench.call("Read", file_path="a.txt")
    assert bench.call("Write", file_path="a.txt", content="x").status == "ok"
    assert path.read_text() == "x"


def test_a_file_that_changed_since_is_not_overwritten(bench):
    path = bench.write("a.txt", "one")
    bench.call("Read", file_path="a.txt")
    path.write_text("two")
    for tool, arguments in [("Write", {"content": "x"}), ("Edit", {"old_string": "two", "new_string": "x"})]:
        result = bench.call(tool, file_path="a.txt", **arguments)
        assert "has changed since it was read" in result.text
    assert path.read_text() == "two"


def test_a_file_that_was_only_touched_counts_as_unchanged(bench):
    path = bench.write("a.txt", "one")
    bench.call("Read", file_path="a.txt")
    os.utime(path, (1, 1))
    assert bench.call("Edit", file_path="a.txt", old_string="one", new_string="two").status == "ok"


def test_a_change_between_decision_and_run_is_noticed(bench):
    path = bench.write("a.txt", "one")
    bench.call("Read", file_path="a.txt")
    prepared = bench.prepare("Edit", file_path="a.txt", old_string="one", new_string="two")
    path.write_text("one, and more")
    assert bench.core.run(prepared, CancelToken()).status == "error"
    assert path.read_text() == "one, and more"


def test_mode_and_links_are_kept(bench):
    path = bench.write("run.sh", "echo one\n")
    path.chmod(0o751)
    (bench.workspace / "link.sh").symlink_to("run.sh")
    bench.call("Read", file_path="link.sh")
    assert bench.call("Edit", file_path="link.sh", old_string="one", new_string="two").status == "ok"
    assert (bench.workspace / "link.sh").is_symlink()
    assert path.read_text() == "echo two\n"
    assert path.stat().st_mode & 0o7777 == 0o751


def test_other_names_of_a_hard_link_keep_their_content(bench):
    outside = bench.outside / "file"
    outside.write_text("outside")
    os.link(outside, bench.workspace / "hard")
    bench.call("Read", file_path="hard")
    result = bench.call("Write", file_path="hard", content="inside")
    assert "hard link" in result.text
    assert outside.read_text() == "outside"


def test_a_cancelled_write_leaves_the_file(bench):
    path = bench.write("a.txt", "one")
    bench.call("Read", file_path="a.txt")
    token = CancelToken()
    token.cancel()
    assert bench.call("Write", file_path="a.txt", content="two", cancel=token).status == "cancelled"
    assert path.read_text() == "one"
    assert [entry.name for entry in bench.workspace.iterdir()] == ["a.txt"]


# --- Edit -------------------------------------------------------------------------------------------------------------


def test_an_ambiguous_text_is_refused_with_its_lines(bench):
    path = bench.write("a.py", "x = 1\ny = 2\nx = 1\n")
    bench.call("Read", file_path="a.py")
    result = bench.call("Edit", file_path="a.py", old_string="x = 1", new_string="x = 3")
    assert "occurs 2 times (lines 1, 3)" in result.text
    assert path.read_text() == "x = 1\ny = 2\nx = 1\n"
    result = bench.call("Edit", file_path="a.py", old_string="x = 1", new_string="x = 3", replace_all=True)
    assert "in 2 places" in result.text
    assert path.read_text() == "x = 3\ny = 2\nx = 3\n"


def test_edits_follow_each_other_without_reading_again(bench):
    path = bench.write("a.txt", "a b")
    bench.call("Read", file_path="a.txt")
    bench.call("Edit", file_path="a.txt", old_string="a", new_string="x")
    assert bench.call("Edit", file_path="a.txt", old_string="b", new_string="y").status == "ok"
    assert path.read_text() == "x y"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"a\r\nOLD\r\nb", b"a\r\nNEW\r\n2\r\nb"),
        (b"a\nOLD\nb\n", b"a\nNEW\n2\nb\n"),
        ("\ufeffä OLD".encode(), "\ufeffä NEW\n2".encode()),
        ("ä OLD\r\n".encode("utf-16"), "ä NEW\r\n2\r\n".encode("utf-16")),
        (b"\xe9 OLD \xff\n", b"\xe9 NEW\n2 \xff\n"),
    ],
)
def test_encoding_and_line_ends_are_kept(bench, before, after):
    path = bench.write("a.txt", before)
    bench.call("Read", file_path="a.txt")
    assert bench.call("Edit", file_path="a.txt", old_string="OLD", new_string="NEW\n2").status == "ok"
    assert path.read_bytes() == after


def test_text_of_several_lines_is_found_in_a_file_with_crlf(bench):
    path = bench.write("a.txt", b"one\r\ntwo\r\nthree\r\n")
    bench.call("Read", file_path="a.txt")
    bench.call("Edit", file_path="a.txt", old_string="one\ntwo", new_string="1\n2")
    assert path.read_bytes() == b"1\r\n2\r\nthree\r\n"


def test_a_near_miss_says_where(bench):
    bench.write("a.py", "def f():\n\treturn 1\n")
    bench.call("Read", file_path="a.py")
    result = bench.call("Edit", file_path="a.py", old_string="def f():\n    return 1", new_string="x", replace_all=True)
    assert "Line 1" in result.text
    assert "white space" in result.text


def test_the_diff_is_shown_before_and_nothing_is_written(bench):
    import json

    path = bench.write("a.txt", "one\n")
    bench.call("Read", file_path="a.txt")
    preview = json.loads(bench.prepare("Edit", file_path="a.txt", old_string="one", new_string="two").preview)
    assert preview["kind"] == "diff"
    assert not preview["is_new"]
    assert "-one\n+two" in preview["diff"]
    assert path.read_text() == "one\n"


def test_nobody_is_asked_about_an_edit_that_cannot_succeed(bench):
    bench.set_policy("default")
    path = bench.write("a.txt", "one")
    prepared = bench.prepare("Edit", file_path="a.txt", old_string="one", new_string="two")
    assert prepared.decision == "allow"
    bench.call("Read", file_path="a.txt")  # even where it could succeed by now, it was not asked for
    output = bench.core.run(prepared, CancelToken())
    assert output.status == "error"
    assert path.read_text() == "one"
    assert bench.prepare("Edit", file_path="a.txt", old_string="one", new_string="two").decision == "ask"


@pytest.mark.parametrize(
    ("tool", "arguments", "says"),
    [
        ("Edit", {"file_path": "a", "old_string": "", "new_string": "x"}, "old_string is empty"),
        ("Edit", {"file_path": "a", "old_string": "x", "new_string": "x"}, "the same"),
        ("Edit", {"file_path": "a", "old_string": "x"}, "go together"),
        ("Write", {"file_path": "a/", "content": ""}, "must name a file"),
        ("Write", {"file_path": "a", "content": [3]}, "content: invalid type"),
    ],
)
def test_bad_arguments_of_edit_and_write(bench, tool, arguments, says):
    with pytest.raises(ToolInputError, match=says):
        bench.prepare(tool, **arguments)
