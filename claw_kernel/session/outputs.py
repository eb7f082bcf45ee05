"""What cells show, of one run beside another: outputs as texts by kind and place, compared past what may differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from claw_kernel.late_dataclass import dataclass

IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")
_COMPARED = ("text/plain", "text/html", "text/latex", "text/markdown", "image/svg+xml", *IMAGES)


@dataclass(frozen=True)
class OutputDifference:
    """``what``: kind and place of the output, ``output 1 text/html``. ``before`` and ``now``: whole; of an image its size in words."""

    what: str
    before: str
    now: str


def shown(outputs: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """What a cell shows, by kind and place; what a stream printed in pieces is one text, as it stood in the end."""
    streams: dict[str, str] = {}
    number = 0
    for output in outputs:
        if output.get("output_type") == "stream":
            name = str(output.get("name", "stdout"))
            streams[name] = streams.get(name, "") + _text(output.get("text", ""))
        elif output.get("output_type") == "error":
            yield "error", f"{output.get('ename')}: {output.get('evalue')}"
        else:
            number += 1
            for kind, value in output.get("data", {}).items():
                if kind in _COMPARED:
                    yield f"output {number} {kind}", _text(value)
    for name, text in streams.items():
        yield name, "\n".join(map(_last_written, text.split("\n")))


def told(outputs: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """As the Python tool tells a model what its code showed (``claw_kernel/tools/python.py``)."""
    texts: list[str] = []
    number = 0
    for output in outputs:
        if output.get("output_type") == "stream":
            texts.append(_text(output.get("text", "")))
            continue
        data = output.get("data", {})
        image = next((kind for kind in IMAGES if kind in data), None)
        if image:
            number += 1
            yield f"figure {number} {image}", _text(data[image])
        if (text := _text(data.get("text/plain", ""))) and output.get("is_told", True):
            texts.append(f"[figure: {text}]" if image else text)
    yield "text", "\n".join(text.rstrip("\n") for text in texts if text.strip())


def compare_outputs(
    before: Mapping[str, str], now: Mapping[str, str], normal: Callable[[str], str]
) -> Iterator[OutputDifference]:
    """Both by kind and place, as ``shown`` and ``told`` give them."""
    for what in dict.fromkeys([*before, *now]):
        one, other = before.get(what, ""), now.get(what, "")
        if what.rsplit(" ", 1)[-1] in IMAGES:
            if "".join(one.split()) != "".join(other.split()):
                yield OutputDifference(what, _size(one), _size(other))
        elif normal(one) != normal(other):
            yield OutputDifference(what, one, other)


def _last_written(line: str) -> str:
    """Of a line that a progress bar wrote over and over, what it ended with."""
    return line.rstrip("\r").rsplit("\r", 1)[-1]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "".join(map(str, value)) if isinstance(value, list) else str(value)


def _size(image: str) -> str:
    return f"{len(image) * 3 // 4:,} bytes" if image else "nothing"
