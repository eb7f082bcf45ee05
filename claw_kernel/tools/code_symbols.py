"""Symbols of a language server in words."""

from __future__ import annotations

from typing import Any

MAX_SYMBOLS = 400
_KINDS = [
    "file",
    "module",
    "namespace",
    "package",
    "class",
    "method",
    "property",
    "field",
    "constructor",
    "enum",
    "interface",
    "function",
    "variable",
    "constant",
    "string",
    "number",
    "boolean",
    "array",
    "object",
    "key",
    "null",
    "enum-member",
    "struct",
    "event",
    "operator",
    "type-parameter",
]
"""``SymbolKind`` of the protocol, from 1."""


def kind_of(symbol: dict[str, Any]) -> str:
    kind = symbol.get("kind")
    return _KINDS[kind - 1] if isinstance(kind, int) and 0 < kind <= len(_KINDS) else "symbol"


def symbols_of_file(found: Any) -> str:
    rows: list[str] = []
    # Without recursion: a server may nest as deep as it likes.
    waiting = [(symbol, 0) for symbol in reversed(list(found or []))]
    while waiting and len(rows) < MAX_SYMBOLS:
        symbol, depth = waiting.pop()
        where = symbol.get("selectionRange") or symbol.get("range") or (symbol.get("location") or {}).get("range") or {}
        line = int((where.get("start") or {}).get("line", 0))
        rows.append(f"{line + 1:>5} {'  ' * min(depth, 20)}{kind_of(symbol)} {symbol.get('name')}")
        waiting.extend((child, depth + 1) for child in reversed(symbol.get("children") or []))
    if waiting:
        rows.append(f"… and at least {len(waiting)} more")
    return "\n".join(rows) or "The file has no symbols."
