"""The event-stream parser against a plain reading of the specification, cut anywhere."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from claw_kernel.providers._sse import SseParser


def read_plainly(text):
    """The specification, line by line, on the whole stream."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    events, name, data = [], "", []
    for line in [*text.split("\n"), ""]:
        if not line:
            if data:
                events.append((name.encode(), "\n".join(data).encode()))
            name, data = "", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            data.append(value)
        elif field == "event":
            name = value
    return events


LINE = st.sampled_from(
    [
        "data: a",
        "data:b",
        'data: {"x": "ü🎉"}',
        "data",
        "data: ",
        "event: ping",
        "event:",
        "event: e:f",
        ": comment",
        "id: 1",
        "retry: 10",
        "xdata: no",
        "",
        "",
        "",
    ]
)
STREAM = st.lists(st.tuples(LINE, st.sampled_from(["\n", "\r\n", "\r"])), max_size=25).map(
    lambda lines: "".join(line + end for line, end in lines)
)


@settings(max_examples=400, deadline=None)
@given(stream=STREAM, bom=st.booleans(), cuts=st.lists(st.integers(0, 400), max_size=12))
def test_any_stream_cut_anywhere(stream, bom, cuts):
    stream = "\ufeff" * bom + stream
    raw = stream.encode()
    places = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    parser = SseParser()
    found = [event for a, b in pairwise(places) for event in parser.feed(raw[a:b])]
    found += parser.finish()
    assert found == read_plainly(stream)


def test_a_large_frame_in_small_reads():
    """A frame of 8 MB in reads of 4 KB takes time in proportion to its size."""
    parser = SseParser()
    payload = b"x" * (8 * 1024 * 1024)
    raw = b"data: " + payload + b"\n\n"
    found = [event for i in range(0, len(raw), 4096) for event in parser.feed(raw[i : i + 4096])]
    assert found == [(b"", payload)]
