"""Read on PDF files: pages as text, and a file made to break its reader breaks nothing."""

from __future__ import annotations

import re
import time
import zlib

import pytest

from claw_kernel._core import CancelToken, ToolInputError


def pdf(pages, *, extra=b"", trailer=b""):
    """A PDF whose pages show these lines; what a simple generator writes. ``bytes`` is a page's content as it is."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b"", b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"]
    kids = []
    for page in pages:
        stream = page
        if isinstance(page, str):
            lines = "".join(f"({line}) Tj 0 -14 Td " for line in page.split("\n"))
            stream = f"BT /F1 12 Tf 72 720 Td {lines}ET".encode("latin-1")
        packed = zlib.compress(stream)
        objects.append(b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(packed), packed))
        kids.append(b"%d 0 R" % (len(objects) + 1))
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R "
            b"/Resources << /Font << /F1 3 0 R >> >> >>" % len(objects)
        )
    objects[1] = b"<< /Type /Pages /Count %d /Kids [%s] >>" % (len(kids), b" ".join(kids))
    out, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += extra + b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return out + b"trailer\n<< /Size %d /Root 1 0 R %s >>\nstartxref\n%d\n%%%%EOF\n" % (
        len(objects) + 1,
        trailer,
        start,
    )


def test_pages_come_as_text(bench):
    bench.write("a.pdf", pdf(["First page\nsecond line", "Two", "Three"]))
    result = bench.call("Read", file_path="a.pdf")
    assert result.status == "ok", result.text
    assert result.text == ("[page 1 of 3]\nFirst page\nsecond line\n\n[page 2 of 3]\nTwo\n\n[page 3 of 3]\nThree\n\n")
    assert bench.call("Read", file_path="a.pdf", pages="2").text == (
        "[page 2 of 3]\nTwo\n\n[pages 2-2 of 3; go on with pages 3-3]\n"
    )
    assert "[page 2 of 3]\nTwo\n\n[page 3 of 3]" in bench.call("Read", file_path="a.pdf", pages="2-9").text


def test_at_most_twenty_pages_come_at_once(bench):
    bench.write("a.pdf", pdf([f"page number {n}" for n in range(1, 51)]))
    text = bench.call("Read", file_path="a.pdf").text
    assert len(re.findall(r"^page number", text, re.MULTILINE)) == 20
    assert text.endswith("[pages 1-20 of 50; go on with pages 21-40]\n")
    assert "page number 50" in bench.call("Read", file_path="a.pdf", pages="31-50").text
    with pytest.raises(ToolInputError, match="at most 20 pages"):
        bench.prepare("Read", file_path="a.pdf", pages="1-21")


def test_the_text_of_a_call_has_a_bound(bench):
    long = "\n".join("word " * 15 for _ in range(300))
    bench.write("a.pdf", pdf([long] * 5))
    text = bench.call("Read", file_path="a.pdf").text
    assert len(text) < 52_000
    last = int(re.search(r"\[pages 1-(\d) of 5; go on with pages \d-5\]\n$", text)[1])
    whole = bench.call("Read", file_path="a.pdf", pages=str(last)).text
    assert whole.partition("]\n")[2].partition("\n\n")[0] in text
    bench.write("b.pdf", pdf(["\n".join("word " * 15 for _ in range(3000))]))
    text = bench.call("Read", file_path="b.pdf").text
    assert len(text) < 52_000
    assert "the rest of this page is left out" in text


def test_figures_of_matplotlib_are_read(bench):
    import matplotlib.figure

    figure = matplotlib.figure.Figure()
    figure.subplots().set_title("Growth of naïve bacteria")
    figure.savefig(bench.workspace / "plot.pdf")
    assert "Growth of naïve bacteria" in bench.call("Read", file_path="plot.pdf").text


def test_pages_without_text_are_said_to_be_scanned(bench):
    bench.write("a.pdf", pdf([b"0 0 100 100 re f", b""]))
    text = bench.call("Read", file_path="a.pdf").text
    assert text.count("[no text on this page]") == 2
    assert "probably scanned" in text


def test_the_pages_that_are_not_there(bench):
    bench.write("a.pdf", pdf(["One"]))
    beyond = bench.call("Read", file_path="a.pdf", pages="7")
    assert (beyond.status, beyond.text) == ("error", "a.pdf has only 1 pages; there is no page 7.")
    bench.write("a.txt", "x")
    assert "is no PDF" in bench.call("Read", file_path="a.txt", pages="1").text
    for pages in ("", "0", "2-1", "x", "1,2"):
        with pytest.raises(ToolInputError, match="pages is a"):
            bench.prepare("Read", file_path="a.pdf", pages=pages)


ENCRYPTED = b"/Encrypt << /Filter /Standard /V 1 /R 2 /O <%s> /U <%s> /P -4 >> /ID [<00><00>]" % (
    b"ab" * 32,
    b"cd" * 32,
)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"%PDF-1.4\nnothing", "damaged"),
        (b"%PDF-1.7\n" + b"\xff\x00" * 50_000, "damaged"),
        (pdf(["One"], trailer=ENCRYPTED), "encrypted"),
    ],
)
def test_what_cannot_be_read_is_said_in_a_sentence(bench, content, says):
    bench.write("a.pdf", content)
    result = bench.call("Read", file_path="a.pdf")
    assert result.status == "error"
    assert says in result.text
    assert "\n" not in result.text


def test_every_cut_of_a_file_is_survived(bench):
    whole = pdf(["One", "Two"])
    for end in range(10, len(whole), len(whole) // 8):
        bench.write("a.pdf", whole[:end])
        assert bench.call("Read", file_path="a.pdf").status in ("ok", "error")


def test_bombs_end_the_reader_and_nothing_else(bench):
    nested = pdf([b"[" * 2_000_000 + b"]" * 2_000_000])
    packed = zlib.compress(b"q " * 200_000_000, 9)
    loop = (
        b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\n"
        b"2 0 obj\n<< /Type /Pages /Count 9999999 /Kids [2 0 R 2 0 R] >>\nendobj\ntrailer\n<< /Root 1 0 R >>\n"
    )
    bomb = (
        b"%%PDF-1.4\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\n"
        b"2 0 obj\n<< /Type /Pages /Count 1 /Kids [3 0 R] >>\nendobj\n"
        b"3 0 obj\n<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 4 0 R >>\nendobj\n"
        b"4 0 obj\n<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream\nendobj\ntrailer\n<< /Root 1 0 R >>\n"
        % (len(packed), packed)
    )
    for content in (nested, loop, bomb):
        bench.write("a.pdf", content)
        started = time.monotonic()
        result = bench.call("Read", file_path="a.pdf")
        assert time.monotonic() - started < 60
        assert result.status in ("ok", "error")
    bench.write("a.pdf", pdf(["still here"]))
    assert "still here" in bench.call("Read", file_path="a.pdf").text


def test_a_file_too_large_and_a_cancelled_call(bench):
    path = bench.write("a.pdf", pdf(["One"]))
    with path.open("r+b") as file:
        file.truncate(65 << 20)
    assert "a PDF of more than 64 MiB" in bench.call("Read", file_path="a.pdf").text
    bench.write("a.pdf", pdf(["One"]))
    cancel = CancelToken()
    cancel.cancel()
    assert bench.call("Read", file_path="a.pdf", cancel=cancel).status == "cancelled"
