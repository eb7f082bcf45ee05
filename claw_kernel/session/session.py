"""A session: records in the order they began, and the transcript that goes to the model."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from claw_kernel.errors import SessionError
from claw_kernel.messages import (
    FORMAT,
    AssistantBlock,
    ContentBlock,
    ImageBlock,
    Message,
    TextBlock,
    ThinkingBlock,
    ToolCall,
    TurnRecord,
    Usage,
)
from claw_kernel.session.record import read_record, repaired


def now() -> str:
    """The present in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Session:
    """Thread-safe. The transcript only grows at its end while turns are added, so that a provider's cache of it holds."""

    def __init__(self, session_id: str | None = None, created_at: str | None = None) -> None:
        self.session_id = session_id or f"s_{uuid.uuid4().hex[:16]}"
        self.created_at = created_at or now()
        self._records: dict[str, TurnRecord] = {}
        self._lock = threading.RLock()
        self._model = ""
        self._messages: list[Message] = []
        self._is_stale = True
        self._is_own = session_id is not None
        self.permissions: dict[str, Any] = {}
        """What the notebook's header says of permissions, as it was found; who reads it lets it tighten only."""
        self.signatures: list[Any] = []
        """The header's signatures, as they were found: they hold for the turns they list (``signature.py``)."""

    @property
    def records(self) -> tuple[TurnRecord, ...]:
        """In the order in which the turns began."""
        with self._lock:
            return tuple(self._records.values())

    def add(self, record: TurnRecord) -> None:
        """Add a finished turn. An earlier turn of the same cell is replaced: the notebook shows only the new one."""
        with self._lock:
            replaced = [
                known.turn_id
                for known in self._records.values()
                if record.cell_id and known.cell_id == record.cell_id and known.turn_id != record.turn_id
            ]
            for turn_id in replaced:
                del self._records[turn_id]
            is_new = record.turn_id not in self._records
            self._records[record.turn_id] = record
            if replaced or not is_new or self._is_stale:
                self._is_stale = True
            else:
                self._extend(record)

    def forget(self, cell_id: str) -> None:
        """Drop the turn of a cell that is about to run again, so that the model does not see the old answer."""
        with self._lock:
            for record in [r for r in self._records.values() if cell_id and r.cell_id == cell_id]:
                del self._records[record.turn_id]
                self._is_stale = True

    def clear(self) -> None:
        """Begin a new conversation under a new id."""
        with self._lock:
            self.session_id = f"s_{uuid.uuid4().hex[:16]}"
            self.created_at = now()
            self.signatures = []
            self._records = {}
            self._is_own = True
            self._is_stale = True

    def merge(
        self, documents: Iterable[Any], header: Mapping[str, Any] | None = None, *, is_asked_for: bool = False
    ) -> list[str]:
        """Take in the turns a notebook holds (JSON objects from either carrier) and return a warning for each that cannot be
        read. What this session already knows wins; of two versions of a turn the one with more steps, then the finished one.
        A session without turns takes on the notebook's id, unless it was begun on purpose (``clear``): what came before
        stays out, except where a person asks for it."""
        warnings: list[str] = []
        if isinstance(permissions := (header or {}).get("permissions"), dict) and not self.permissions:
            self.permissions = permissions
        if isinstance(signatures := (header or {}).get("signatures"), list) and not self.signatures:
            self.signatures = signatures
        found: dict[str, TurnRecord] = {}
        for document in documents:
            try:
                record = read_record(document)
            except SessionError as error:
                warnings.append(str(error))
                continue
            known = found.get(record.turn_id)
            if known is None or _weight(record) > _weight(known):
                found[record.turn_id] = record
        with self._lock:
            if not self._records and found and (is_asked_for or not self._is_own):
                newest = max(found.values(), key=lambda record: record.started_at)
                wanted = (header or {}).get("session_id") or newest.session_id
                self.session_id = str(wanted)
                self.created_at = str((header or {}).get("created_at") or newest.started_at)
            cells = {record.cell_id for record in self._records.values() if record.cell_id}
            for record in found.values():
                if record.turn_id in self._records or record.cell_id in cells or record.session_id != self.session_id:
                    continue
                self._records[record.turn_id] = repaired(record)
                self._is_stale = True
            if self._is_stale:
                self._records = dict(sorted(self._records.items(), key=lambda item: item[1].started_at))
        return warnings

    def header(self) -> dict[str, Any]:
        """The notebook's ``metadata.claw``."""
        with self._lock:
            records = list(self._records.values())
        usage = sum((record.usage for record in records), Usage())
        costs = [record.cost_usd for record in records]
        known = [cost for cost in costs if cost is not None]
        return {
            "format": FORMAT,
            "session_id": self.session_id,
            "created_at": self.created_at,
            "model": records[-1].model if records else "",
            "turns": [record.turn_id for record in records],
            "usage": {
                "input_tokens": usage.input_tokens,
                "output_tokens": usage.output_tokens,
                "cache_read_tokens": usage.cache_read_tokens,
                "cache_write_tokens": usage.cache_write_tokens,
            },
            # One turn of unknown price makes the total unknown: a smaller number would be wrong.
            "cost_usd": round(sum(known), 6) if len(known) == len(costs) else None,
            **({"permissions": self.permissions} if self.permissions else {}),
            **({"signatures": self.signatures} if self.signatures else {}),
        }

    def transcript(self, model: str) -> list[Message]:
        """The messages of all turns, for a request to ``model`` (``provider/model``). Reasoning stays with the model that
        gave it. No two messages in a row have the same role, no content is empty."""
        with self._lock:
            if self._is_stale or model != self._model:
                self._model = model
                self._messages = []
                self._is_stale = False
                for record in self._records.values():
                    self._extend(record)
            return list(self._messages)

    def _extend(self, record: TurnRecord) -> None:
        for message in turn_messages(record, self._model):
            append_message(self._messages, message)


def turn_messages(record: TurnRecord, model: str) -> list[Message]:
    """The messages one turn adds to a transcript for ``model`` (``provider/model``)."""
    messages = [Message("user", record.content)]
    for step in record.steps:
        keep_thinking = (step.model or record.model) == model
        spoken: tuple[AssistantBlock, ...] = tuple(
            block if keep_thinking else _unsigned(block)
            for block in step.content
            if not (isinstance(block, ThinkingBlock) and not keep_thinking)
            and not (isinstance(block, TextBlock) and not block.text.strip())
        )
        # A message of nothing but reasoning is refused by providers, and says nothing without the answer it led to.
        if any(not isinstance(block, ThinkingBlock) for block in spoken):
            messages.append(Message("assistant", spoken))
        if step.results:
            messages.append(Message("user", step.results))
    if len(messages) == 1:
        # Without this the next prompt would run into this one, and the model would answer both.
        reason = "interrupted" if record.stop_reason in ("interrupted", "incomplete", None) else "an error"
        messages.append(Message("assistant", (TextBlock(f"[This request was not answered: {reason}.]"),)))
    return messages


def _unsigned(block: AssistantBlock) -> AssistantBlock:
    return replace(block, signature="") if isinstance(block, ToolCall) and block.signature else block


def append_message(messages: list[Message], message: Message) -> None:
    """Append, joining with the last message where the role is the same (a turn that ended before the model spoke)."""
    if messages and messages[-1].role == message.role:
        content: tuple[ContentBlock, ...] = (*messages[-1].content, *message.content)
        messages[-1] = Message(message.role, content)
    else:
        messages.append(message)


def prompt_content(prompt: str) -> tuple[TextBlock | ImageBlock, ...]:
    """A prompt without attachments."""
    return (TextBlock(prompt),)


def _weight(record: TurnRecord) -> tuple[int, bool]:
    return len(record.steps), record.stop_reason is not None
