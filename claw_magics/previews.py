"""Short texts of plain values, in Python's spelling, for which nobody else's code runs."""

from __future__ import annotations

import itertools
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from typing import Any

from claw_magics.classes import full_type_name, is_one_of, library_name

_MAX_ITEMS = 8
_MAX_DEPTH = 2
_MAX_TEXT = 200
_MAX_INT_BITS = 2_000

SEQUENCES: dict[type, tuple[str, str]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
    deque: ("deque([", "])"),
}
_EMPTY = {id(set): "set()", id(frozenset): "frozenset()"}
MAPPINGS = (dict, OrderedDict, defaultdict, Counter)
SIZED = (str, bytes, bytearray)
_SIMPLE: dict[type, Callable[[Any], str]] = {
    int: lambda value: repr(value) if value.bit_length() <= _MAX_INT_BITS else f"an int of {value.bit_length():,} bits",
    float: repr,
    complex: repr,
    bool: repr,
    type(None): repr,
    type(Ellipsis): repr,
    type(NotImplemented): repr,
    range: repr,
    str: lambda value: repr(value) if len(value) <= _MAX_TEXT else repr(value[:_MAX_TEXT]) + "…",
    bytes: lambda value: repr(value[:80]) + ("…" if len(value) > 80 else ""),
    bytearray: lambda value: repr(bytes(value[:80])) + ("…" if len(value) > 80 else ""),
}


_SIMPLE_BY_ID = {id(cls): function for cls, function in _SIMPLE.items()}


def simple(cls: type) -> Callable[[Any], str] | None:
    """How to write a value of a plain class that holds no other values; None for any other class."""
    # By identity: hashing or comparing a class runs its metaclass.
    return _SIMPLE_BY_ID.get(id(cls))


def is_plain(cls: type) -> bool:
    return simple(cls) is not None or is_one_of(cls, SEQUENCES) or is_one_of(cls, MAPPINGS)


def preview(value: Any, *, max_chars: int = 160) -> str:
    """A short text of ``value`` in Python's spelling; strangers inside stand as ``<module.Type>``."""
    return cut(_preview(value, 0, [max_chars]), max_chars)


def _preview(value: Any, depth: int, budget: list[int]) -> str:
    cls = type(value)
    if (show := simple(cls)) is not None:
        text = show(value)
    elif is_one_of(cls, SEQUENCES):
        text = _preview_items(value, depth, budget)
    elif is_one_of(cls, MAPPINGS):
        text = _preview_mapping(value, depth, budget)
    else:
        from claw_magics.tables import preview_scalar

        text = preview_scalar(library_name(cls), value) or f"<{full_type_name(cls)}>"
    budget[0] -= len(text)
    return text


def _preview_items(value: Any, depth: int, budget: list[int]) -> str:
    opening, closing = SEQUENCES[type(value)]
    if not value:
        return _EMPTY.get(id(type(value)), opening + closing)
    if depth >= _MAX_DEPTH or budget[0] <= 0:
        return f"{opening}…{closing}"
    parts = []
    for item in _sample(value):
        parts.append(_preview(item, depth + 1, budget))
        if budget[0] <= 0:
            break
    text = ", ".join(parts)
    if len(value) > len(parts):
        text += ", …"
    elif type(value) is tuple and len(parts) == 1:
        text += ","
    return f"{opening}{text}{closing}"


def _preview_mapping(value: Any, depth: int, budget: list[int]) -> str:
    if not value:
        return "{}"
    if depth >= _MAX_DEPTH or budget[0] <= 0:
        return "{…}"
    parts = []
    for key, item in _sample(dict.items(value)):
        parts.append(f"{_preview(key, depth + 1, budget)}: {_preview(item, depth + 1, budget)}")
        if budget[0] <= 0:
            break
    if len(value) > len(parts):
        parts.append("…")
    return f"{{{', '.join(parts)}}}"


def _sample(values: Iterable[Any]) -> list[Any]:
    try:
        return list(itertools.islice(values, _MAX_ITEMS))
    except RuntimeError:  # another thread changed it while we looked
        return []


def cut(text: str, max_chars: int) -> str:
    return text if len(text) <= max_chars else text[: max_chars - 1] + "…"
