"""Glob and Grep on small trees, by ripgrep's rules."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time

import pytest

from claw_kernel._core import CancelToken


@pytest.fixture
def tree(bench):
    bench.write(".git/HEAD", "x")
    bench.write(".gitignore", "ignored/\n*.log\n")
    bench.write("src/a.py", "import os\nTODO one\nprint(os)\n")
    bench.write("src/b.py", "todo two\r\nx\r\n")
    bench.write("src/deep/c.ts", "// TODO three\n")
    bench.write("README.md", "TODO four\nTODO five\n")
    bench.write("ignored/d.py", "TODO hidden\n")
    bench.write("e.log", "TODO log\n")
    bench.write(".hidden", "TODO dot\n")
    bench.write("binary.bin", b"TODO\0\0")
    return bench


def lines(result) -> list[str]:
    return result.text.splitlines()


def test_glob_finds_newest_first(tree):
    os.utime(tree.workspace / "src/a.py", (2_000_000_000, 2_000_000_000))
    os.utime(tree.workspace / "src/b.py", (1_000_000_000, 1_000_000_000))
    assert lines(tree.call("Glob", pattern="*.py")) == ["src/a.py", "src/b.py"]
    assert lines(tree.call("Glob", pattern="src/**/*.{py,ts}"))[0] == "src/a.py"
    assert lines(tree.call("glob_search", pattern="*.ts", path="src")) == ["src/deep/c.ts"]
    assert lines(tree.call("Glob", pattern=f"{tree.workspace}/src/*.py")) == ["src/a.py", "src/b.py"]
    assert tree.call("Glob", pattern="*.none").text == "No files match *.none."


def test_glob_finds_hidden_files_where_they_are_named_and_does_not_flood(bench):
    for name in (".github/workflows/ci.yml", ".env", "a.py", ".git/config", "node_modules/x.js", "sub/.hid/b.py"):
        bench.write(name, "")
    bench.write(".gitignore", "node_modules\n")
    found = lambda pattern: sorted(lines(bench.call("Glob", pattern=pattern)))  # noqa: E731
    assert found("**/*") == found("*") == found("./**/*") == ["a.py"]
    assert found(".github/**/*.yml") == found("{.github,src}/**") == [".github/workflows/ci.yml"]
    assert found(".env") == [".env"]
    assert found("sub/.hid/*.py") == ["sub/.hid/b.py"]
    assert found(".git/*") == [".git/config"]
    assert "stays below path" in bench.call("Glob", pattern="../*").text


def test_a_name_with_a_line_end_stays_on_one_line(bench):
    bench.write("a\nb.txt", "x\n")
    assert bench.call("Glob", pattern="*.txt").text == "a\\nb.txt"
    assert bench.call("Grep", pattern="x", output_mode="content").text == "a\\nb.txt:1:x"


def test_glob_keeps_the_newest_hundred(bench):
    for n in range(150):
        os.utime(bench.write(f"f{n:03}.txt", ""), (1_000_000 + n, 1_000_000 + n))
    found = lines(bench.call("Glob", pattern="*.txt"))
    assert found[0] == "f149.txt"
    assert found[99] == "f050.txt"
    assert found[100].startswith("[the newest 100 of 150 files")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, ["README.md", "src/a.py", "src/deep/c.ts"]),
        ({"-i": True}, ["README.md", "src/a.py", "src/b.py", "src/deep/c.ts"]),
        ({"output_mode": "count"}, ["README.md:2", "src/a.py:1", "src/deep/c.ts:1"]),
        ({"output_mode": "content", "path": "src/a.py"}, ["src/a.py:2:TODO one"]),
        ({"output_mode": "content", "path": "src", "-n": False}, ["src/a.py:TODO one", "src/deep/c.ts:// TODO three"]),
        (
            {"output_mode": "content", "path": "src/a.py", "-C": 1},
            ["src/a.py-1-import os", "src/a.py:2:TODO one", "src/a.py-3-print(os)"],
        ),
        ({"output_mode": "content", "path": "src/a.py", "-B": 1}, ["src/a.py-1-import os", "src/a.py:2:TODO one"]),
        ({"output_mode": "content", "path": "src/a.py", "-A": 1}, ["src/a.py:2:TODO one", "src/a.py-3-print(os)"]),
        ({"glob": "*.{ts,md}"}, ["README.md", "src/deep/c.ts"]),
        ({"type": "py"}, ["src/a.py"]),
        ({"glob": "!*.md"}, ["src/a.py", "src/deep/c.ts"]),
        ({"head_limit": 1}, ["README.md", "[there is more; go on with offset 1]"]),
        ({"head_limit": 1, "offset": 2}, ["src/deep/c.ts"]),
        ({"head_limit": 0}, ["README.md", "src/a.py", "src/deep/c.ts"]),
        ({"path": "e.log"}, ["e.log"]),
    ],
)
def test_grep(tree, arguments, expected):
    assert lines(tree.call("Grep", pattern="TODO", **arguments)) == expected


def test_multiline(tree):
    result = tree.call("Grep", pattern=r"import.*?one", multiline=True, output_mode="content")
    assert lines(result) == ["src/a.py:1:import os", "src/a.py:2:TODO one"]


def test_what_is_found_in_a_file_does_not_depend_on_the_one_before(bench):
    """A long line makes the searcher's memory grow; then a NUL far behind a match would be met before it."""
    for n in range(8):
        bench.write(f"a{n}.txt", b"x" * 1_000_000 + b"\n")
    for n in range(8):
        bench.write(f"b{n}.txt", b"needle\n" + b"filler\n" * 30_000 + b"\0\n")
    for _ in range(3):
        assert lines(bench.call("Grep", pattern="needle")) == [f"b{n}.txt" for n in range(8)]


def test_across_lines_matches_are_counted_only_where_they_can_run_across(bench):
    bench.write("a.txt", "x x\nx\n")
    assert bench.call("Grep", pattern="x", multiline=True, output_mode="count").text == "a.txt:2"
    assert bench.call("Grep", pattern=r"x\s", multiline=True, output_mode="count").text == "a.txt:3"


def test_crlf_does_not_show(tree):
    assert tree.call("Grep", pattern="two", output_mode="content").text == "src/b.py:1:todo two"


@pytest.mark.parametrize(
    ("tool", "arguments", "says"),
    [
        ("Grep", {"pattern": "("}, "Escape"),
        ("Grep", {"pattern": r"a\nb"}, "multiline"),
        ("Grep", {"pattern": "(?=a)"}, "grep -P"),
        ("Grep", {"pattern": "x", "type": "pyton"}, "no file type"),
        ("Grep", {"pattern": "x", "glob": "[a"}, "glob"),
        ("Glob", {"pattern": "[a"}, "glob"),
        ("Glob", {"pattern": "*", "path": "none"}, "does not exist"),
    ],
)
def test_bad_patterns_are_explained(tree, tool, arguments, says):
    result = tree.call(tool, **arguments)
    assert result.status == "error"
    assert says in result.text


def test_files_that_must_not_be_read_are_left_out(tree):
    tree.set_policy("bypassPermissions", deny=["Read(src/deep/**)", "Read(README.md)"])
    assert lines(tree.call("Grep", pattern="TODO")) == ["src/a.py"]
    assert "c.ts" not in tree.call("Glob", pattern="*.ts").text


@pytest.mark.skipif(shutil.which("rg") is None, reason="ripgrep is not installed")
@pytest.mark.parametrize("options", [[], ["-i"], ["-g", "*.py"], ["-t", "md"], ["-g", "!src/**"]])
def test_the_same_files_as_ripgrep(tree, options):
    found = subprocess.run(["rg", "-l", *options, "TODO"], cwd=tree.workspace, capture_output=True, text=True).stdout
    arguments = {"-i": True} if options == ["-i"] else {}
    if options[:1] == ["-g"]:
        arguments = {"glob": options[1]}
    if options[:1] == ["-t"]:
        arguments = {"type": options[1]}
    assert sorted(lines(tree.call("Grep", pattern="TODO", **arguments))) == sorted(found.split())


def test_a_search_is_cancelled(bench):
    with (bench.workspace / "huge").open("wb") as file:
        file.truncate(20 << 30)
        file.seek(0)
        file.write(b"a\n")
    bench.write("slow.txt", ("a" * 200 + "\n") * 400_000)
    token = CancelToken()
    threading.Timer(0.05, token.cancel).start()
    start = time.monotonic()
    bench.call("Grep", pattern=r"(a*)*b$", cancel=token, multiline=True)
    assert time.monotonic() - start < 3
