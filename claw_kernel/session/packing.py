"""Long outputs in a record: compressed, and above a limit only their beginning and end, with a note of what is missing.

A packed text keeps a readable glimpse in its place, so that whatever reads a notebook and knows nothing of this shows something
sensible. Texts are unpacked where they are used (a request, an export, a comparison), not when a notebook is opened.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from typing import Any

from claw_kernel.messages import ImageBlock, TextBlock, ToolResult, TurnRecord

PACKED_FROM = 8_192
"""Characters. Shorter texts stay as they are: a person reads them in a diff."""
GLIMPSE = 1_024
"""Characters of each end of a packed text that stay readable."""
MAX_RATIO = 50
"""A text that shrinks more is not packed, and none is unpacked to more: a stranger's file must not swell in memory."""
_LEVEL = 6
_NOTE = r"\n\[\d+ characters of this output are not in the record; sha256 of all of it: [0-9a-f]{64}\]\n"

Block = TextBlock | ImageBlock


def pack_document(document: dict[str, Any], limit: int | None = None) -> dict[str, Any]:
    """``document``, a record as JSON, with the long texts of its results packed; what is packed already stays as it is.
    ``limit``: characters of one text that are kept; None: all. Changes ``document``."""
    for holder, place in _texts(document):
        block = holder[place]
        if "packed" not in block.get("stored", ()) and len(block["text"]) > min(PACKED_FROM, limit or PACKED_FROM):
            holder[place] = _packed(block, limit)
    return document


def redact_packed(document: dict[str, Any], redact: Callable[[str], str]) -> dict[str, Any]:
    """``document`` with what is packed in it redacted too; where nothing is secret it stays byte by byte. Changes ``document``."""
    for holder, place in _texts(document):
        stored = holder[place].get("stored") or {}
        if (
            (packed := stored.get("packed"))
            and (text := unpack(packed)) is not None
            and (clean := redact(text)) != text
        ):
            stored["packed"] = pack(clean)
    return document


def whole_text(block: TextBlock) -> str:
    """The text, as much of it as was kept."""
    text = unpack(block.stored.packed) if block.stored is not None and block.stored.packed else None
    return block.text if text is None else text


def whole_characters(block: TextBlock) -> int:
    """The length of the text as it was before anything was left out."""
    return block.stored.characters if block.stored is not None else len(block.text)


def unpacked_result(result: ToolResult) -> ToolResult:
    """``result`` as a model gets it; the same object where nothing in it is packed."""
    if not any(isinstance(block, TextBlock) and block.stored is not None for block in result.content):
        return result
    return replace(result, content=tuple(map(_unpacked, result.content)))


def unpacked_record(record: TurnRecord) -> TurnRecord:
    """``record`` with all texts that were kept as they were."""
    steps = tuple(replace(step, results=tuple(map(unpacked_result, step.results))) for step in record.steps)
    return replace(record, steps=steps)


def is_cut(result: ToolResult) -> bool:
    """Whether a part of the result is not in the record."""
    return any(isinstance(block, TextBlock) and _is_cut(block) for block in result.content)


def is_same_text(one: TextBlock, other: TextBlock) -> bool:
    """Whether two texts are the same, each of them cut or not."""
    return _digest(one) == _digest(other)


def kept_of_both(one: TextBlock, other: TextBlock) -> tuple[str, str]:
    """The beginning and the end of both texts as far as both records have them, for a comparison; whole texts whole."""
    if not (_is_cut(one) or _is_cut(other)):
        return whole_text(one), whole_text(other)
    (head, tail), (other_head, other_tail) = _ends(one), _ends(other)
    first, last = min(len(head), len(other_head)), min(len(tail), len(other_tail))
    texts = ((head, tail), (other_head, other_tail))
    cut_one, cut_other = (f"{begin[:first]}\n[…]\n{end[len(end) - last :]}" for begin, end in texts)
    return cut_one, cut_other


def _digest(block: TextBlock) -> str:
    return block.stored.sha256 if block.stored is not None and _is_cut(block) else _sha256(whole_text(block))


def _is_cut(block: TextBlock) -> bool:
    return block.stored is not None and block.stored.omitted > 0


def _ends(block: TextBlock) -> tuple[str, str]:
    text = whole_text(block)
    parts = re.split(_NOTE, text, maxsplit=1) if _is_cut(block) else []
    return (parts[0], parts[1]) if len(parts) == 2 else (text, text)


def pack(text: str) -> str:
    """Base64 of zlib's form of the text in UTF-8."""
    return base64.b64encode(zlib.compress(text.encode("utf-8", "surrogatepass"), _LEVEL)).decode("ascii")


def unpack(packed: str) -> str | None:
    """None for what is not packed, or swells to more than ``MAX_RATIO`` times its size."""
    try:
        reader = zlib.decompressobj()
        raw = reader.decompress(base64.b64decode(packed, validate=True), MAX_RATIO * len(packed))
        return raw.decode("utf-8", "surrogatepass") if reader.eof else None
    except (binascii.Error, zlib.error, ValueError):
        return None


def _packed(block: dict[str, Any], limit: int | None) -> dict[str, Any]:
    text: str = block["text"]
    stored: dict[str, Any] = block.get("stored", {"characters": len(text)})
    if limit is not None and len(text) > limit and "omitted" not in stored:
        digest, omitted = _sha256(text), len(text) - limit
        note = f"\n[{omitted} characters of this output are not in the record; sha256 of all of it: {digest}]\n"
        text = text[: limit - limit // 2] + note + text[len(text) - limit // 2 :]
        stored |= {"omitted": omitted, "sha256": digest}
    packed = pack(text) if len(text) > PACKED_FROM else ""
    if packed and len(text) // MAX_RATIO < len(packed) < len(text) // 2:
        between = f"\n[… {len(text) - 2 * GLIMPSE:,} more characters: claw export shows them …]\n"
        text = text[:GLIMPSE] + between + text[len(text) - GLIMPSE :]
        stored["packed"] = packed
    if len(stored) == 1:  # neither cut nor packed
        return block
    return {**block, "text": text, "stored": {key: stored[key] for key in _ORDER if key in stored}}


_ORDER = ("characters", "omitted", "sha256", "packed")


def _unpacked(block: Block) -> Block:
    if not isinstance(block, TextBlock) or block.stored is None:
        return block
    return replace(block, text=whole_text(block), stored=replace(block.stored, packed="") if _is_cut(block) else None)


def _texts(document: dict[str, Any]) -> Iterator[tuple[list[Any], int]]:
    """Where the texts of all results stand: a list, and the place in it."""
    for step in document.get("steps", ()):
        for result in step.get("results", ()):
            content = result.get("content", [])
            yield from ((content, place) for place, block in enumerate(content) if block.get("type") == "text")


def _sha256(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
