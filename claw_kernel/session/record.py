"""A record as JSON and back (docs/record.md). What is read is a stranger's data and validated; what is written is canonical."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from claw_kernel.errors import SessionError
from claw_kernel.messages import FORMAT, Step, ToolCall, ToolResult, TurnRecord

if TYPE_CHECKING:
    from pydantic import TypeAdapter

MIME_TYPE = "application/vnd.claw.turn+json"
_ORDER = (
    "format", "turn_id", "session_id", "parent_id", "cell_id", "prompt", "content", "model", "started_at", "duration_seconds",
    "steps", "approvals", "notices", "stop_reason", "error", "usage", "lost", "cost_usd",
    "environment",
)  # fmt: skip
_NOT_STORED = {"live", "replaced"}
"""Keys of a drawn record (docs/record.md) that are no part of the turn."""
_ALWAYS = {"format", "turn_id", "session_id", "prompt", "model", "started_at", "steps", "stop_reason", "type"}


def write_record(
    record: TurnRecord, redact: Callable[[str], str] | None = None, limit: int | None = None
) -> dict[str, Any]:
    """The JSON object of ``record``; every string passes ``redact``, then long outputs are packed, and cut where they have more
    than ``limit`` characters. Writing what was read gives the same object."""
    from claw_kernel.session.packing import pack_document, redact_packed

    document = _plain(record)
    ordered = {key: document[key] for key in _ORDER if key in document}
    if redact is not None:
        ordered = scrub(redact_packed(ordered, redact), redact)
    return pack_document(ordered, limit)


def write_value(value: Any) -> Any:
    """Any value of ``claw_kernel.messages`` (an event, a block) as JSON, by the same rules as a record."""
    return _plain(value)


def read_record(document: Any) -> TurnRecord:
    """Raises SessionError, saying what does not fit, for anything that is not a record of this format."""
    if not isinstance(document, Mapping):
        raise SessionError("A stored turn is not a JSON object.", "Remove it from the notebook's metadata.")
    version = document.get("format")
    if isinstance(version, int) and version > FORMAT:
        raise SessionError(
            f"This notebook's session has format {version}; this version of Claw reads up to {FORMAT}.",
            "Update claw-jupyter.",
        )
    from pydantic import ValidationError

    from claw_kernel.session.upgrade import upgraded

    (document,) = upgraded([document])
    try:
        record: TurnRecord = _adapter().validate_python({k: v for k, v in document.items() if k not in _NOT_STORED})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SessionError(
            f"A stored turn cannot be read: {where}: {first['msg']}.", "Remove it from the notebook's metadata."
        ) from None
    return record


def scrub(value: Any, redact: Callable[[str], str]) -> Any:
    """``value`` with every string in it passed through ``redact``; what did not change is the same object."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {redact(key): scrub(item, redact) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [scrub(item, redact) for item in value]
    return value


@cache
def _adapter() -> TypeAdapter[TurnRecord]:
    from pydantic import TypeAdapter

    return TypeAdapter(TurnRecord)


@cache
def _defaults(kind: type) -> dict[str, Any]:
    """The default of each field that may be left out."""
    found: dict[str, Any] = {}
    for item in fields(kind):
        if item.name in _ALWAYS:
            continue
        if item.default is not MISSING:
            found[item.name] = item.default
        elif item.default_factory is not MISSING:
            found[item.name] = item.default_factory()
    return found


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        defaults = _defaults(type(value))
        document = {}
        # The tag comes first, as a person reading the file expects it.
        names = sorted((item.name for item in fields(value)), key=lambda name: name != "type")
        for name in names:
            item = getattr(value, name)
            if name in defaults and item == defaults[name]:
                continue
            document[name] = _plain(item)
        return document
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def repaired(record: TurnRecord) -> TurnRecord:
    """``record`` with exactly one result for each tool call, in call order: what a crash or an edit took is answered."""
    steps = tuple(_repaired_step(step) for step in record.steps)
    return record if steps == record.steps else replace(record, steps=steps)


def _repaired_step(step: Step) -> Step:
    from claw_kernel.messages import TextBlock

    calls = [block for block in step.content if isinstance(block, ToolCall)]
    by_call = {result.call_id: result for result in reversed(step.results)}
    lost = (TextBlock("No result was recorded: the session ended while this call was running."),)
    results = tuple(by_call.get(call.id) or ToolResult(call.id, lost, is_error=True) for call in calls)
    if results == step.results:
        return step
    return replace(step, results=results)
