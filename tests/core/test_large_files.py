"""Read of files too large to be held: any slice, quickly, in little memory."""

from __future__ import annotations

import os
import resource
import time

import pytest

LINE = b"%08d a line of a log that has some text, as such lines do, and then ends here.\n"
BLOCK_LINES = 10_000


@pytest.fixture(scope="module")
def gigabyte(tmp_path_factory):
    """A file of 1 GB whose lines hold their numbers."""
    path = tmp_path_factory.mktemp("large") / "log.txt"
    lines = 0
    with path.open("wb") as file:
        while file.tell() < 1_000_000_000:
            file.write(b"".join(LINE % n for n in range(lines + 1, lines + BLOCK_LINES + 1)))
            lines += BLOCK_LINES
    yield path, lines
    path.unlink()


def shown(first, last):
    return "".join(f"{n}\t{(LINE % n).decode()}" for n in range(first, last + 1))


def test_a_slice_deep_in_a_gigabyte(bench, gigabyte):
    path, lines = gigabyte
    os.link(path, bench.workspace / "log.txt")
    os.utime(path, (1, 1))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    first = lines * 9 // 10
    cold = bench.call("Read", file_path="log.txt", offset=first, limit=3)
    said = cold.text.replace(f" of {lines};", ";")  # where it was quick, its lines are counted already
    assert said == shown(first, first + 2) + f"[lines {first}-{first + 2}; go on with offset {first + 3}]\n"
    # Its lines are counted by now: the promise is 50 ms, also where other things run beside it.
    times = []
    for offset in (first + 1000, 2, lines // 2, first - 5):
        started = time.perf_counter()
        result = bench.call("Read", file_path="log.txt", offset=offset, limit=100)
        times.append(time.perf_counter() - started)
        assert result.text.startswith(shown(offset, offset + 99))
    assert min(times) < 0.05
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 50_000  # KiB


def test_the_end_and_what_lies_beyond_it(bench, gigabyte):
    path, lines = gigabyte
    os.link(path, bench.workspace / "log.txt")
    assert bench.call("Read", file_path="log.txt", offset=-2).text == shown(lines - 1, lines)
    beyond = bench.call("Read", file_path="log.txt", offset=lines + 1)
    assert (beyond.status, beyond.text) == (
        "error",
        f"log.txt has only {lines} lines; offset {lines + 1} is beyond its end.",
    )
    known = bench.call("Read", file_path="log.txt", offset=5, limit=1).text
    assert known.endswith(f"[lines 5-5 of {lines}; go on with offset 6]\n")


def test_a_file_that_changed_is_counted_anew(bench):
    size = 40 << 20
    path = bench.write("a.txt", b"x\n" * (size // 2))
    os.utime(path, (1, 1))
    line = size // 2 - 1
    for _ in range(2):
        assert bench.call("Read", file_path="a.txt", offset=line).text == f"{line}\tx\n{line + 1}\tx\n"
    path.write_bytes(b"y" * (size - 6) + b"\nlast\n")
    assert bench.call("Read", file_path="a.txt", offset=2).text == "2\tlast\n"
    with path.open("ab") as file:
        file.write(b"more")
    assert bench.call("Read", file_path="a.txt", offset=-2).text == "2\tlast\n3\tmore\n"
    assert "has only 3 lines" in bench.call("Read", file_path="a.txt", offset=4).text


@pytest.mark.parametrize("start", [0, 1, 2])
def test_lines_around_the_borders_of_what_is_counted_at_once(bench, start):
    mib = 1 << 20
    content = bytearray(b"a" * (34 * mib))
    for border in range(1, 34):
        content[border * mib + start - 1] = ord("\n")
    bench.write("a.txt", bytes(content))
    for line in (2, 3, 17, 34):
        text = bench.call("Read", file_path="a.txt", offset=line, limit=1).text
        assert text.startswith(f"{line}\t" + "a" * 2000 + " … [line cut]\n"), text[:50]
    assert "has only 34 lines" in bench.call("Read", file_path="a.txt", offset=35).text


def test_one_endless_line_takes_no_memory(bench):
    path = bench.workspace / "a.txt"
    with path.open("wb") as file:
        for _ in range(300):
            file.write(b"z" * (1 << 20))
        file.write(b"\nend")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert bench.call("Read", file_path="a.txt", limit=1).text.startswith("1\t" + "z" * 2000 + " … [line cut]\n")
    assert bench.call("Read", file_path="a.txt", offset=2).text == "2\tend\n"
    assert bench.call("Read", file_path="a.txt", offset=-1).text == "2\tend\n"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def test_small_files_count_from_the_end_too(bench):
    bench.write("a.txt", "1\n2\n3")
    assert bench.call("Read", file_path="a.txt", offset=-2).text == "2\t2\n3\t3\n"
    assert bench.call("Read", file_path="a.txt", offset=-99).text == "1\t1\n2\t2\n3\t3\n"
    assert (
        bench.call("Read", file_path="a.txt", offset=-2, limit=1).text
        == "2\t2\n[lines 2-2 of 3; go on with offset 3]\n"
    )
