"""A session: its turns as a tree, the path in it that is the conversation now, and the transcript that goes to the model."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from claw_kernel.errors import SessionError
from claw_kernel.ids import new_id
from claw_kernel.messages import (
    ImageBlock,
    Message,
    TextBlock,
    TurnRecord,
)
from claw_kernel.session.compaction import has_compaction, sent_records
from claw_kernel.session.header import write_header
from claw_kernel.session.memory import MOST_CHARS, MOST_NOTES, read_notes
from claw_kernel.session.record import repaired
from claw_kernel.session.tree import Tree, draw
from claw_kernel.session.turn_messages import append_message, turn_messages
from claw_kernel.session.versions import read_records


def now() -> str:
    """The present in UTC, to the millisecond."""
    seconds, thousandths = divmod(time.time_ns() // 1_000_000, 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{thousandths:03}Z"


FACTS: dict[str, type] = {"instructions_hash": str, "policy_hash": str, "instruction_files": list}


class Session:
    """Thread-safe. All turns of a conversation, as a tree; ``records`` is the path in it that the next turn goes on from. The
    transcript only grows at its end while turns are added to the path, so that a provider's cache of it holds."""

    def __init__(self, session_id: str | None = None, created_at: str | None = None) -> None:
        self.session_id = session_id or new_id("s")
        self.created_at = created_at or now()
        self._tree = Tree()
        self._others: dict[str, TurnRecord] = {}
        self._cells: dict[str, str] = {}
        self._lock = threading.RLock()
        self._model = ""
        self._messages: list[Message] = []
        self._path: tuple[TurnRecord, ...] | None = ()
        self._is_stale = True
        self._is_own = session_id is not None
        self.permissions: dict[str, Any] = {}
        """What the notebook's header says of permissions, as it was found; who reads it lets it tighten only."""
        self.signatures: list[Any] = []
        """The header's signatures, as they were found: they hold for the turns they list (``signature.py``)."""
        self.facts: dict[str, Any] = {}
        """More of the header: hashes of the instructions and the policy of the newest turn, and the instruction files."""
        self.memory: tuple[str, ...] = ()
        """What is to be remembered in this notebook, in whatever conversation; a stranger's word where the notebook is one."""
        self._signatures_of: dict[str, list[Any]] = {}
        """Of the conversations that were left."""

    # --- reading ---

    @property
    def records(self) -> tuple[TurnRecord, ...]:
        """The turns on the current path, in order."""
        with self._lock:
            if self._path is None:
                turns = self._tree.turns
                self._path = tuple(turns[turn_id] for turn_id in self._tree.path(self._tree.head))
            return self._path

    @property
    def turns(self) -> tuple[TurnRecord, ...]:
        """All turns, on the path or not, in the order they began; a person counts them from 1. Without those whose cells were
        deleted."""
        with self._lock:
            return tuple(self._tree.visible())

    @property
    def others(self) -> tuple[TurnRecord, ...]:
        """Turns of other conversations of this notebook or kernel."""
        with self._lock:
            return tuple(self._others.values())

    def cell_of(self, turn_id: str) -> str:
        """The id of the cell that shows the turn, empty where none is known."""
        with self._lock:
            record = self._tree.turns.get(turn_id) or self._others.get(turn_id)
            return self._cells.get(turn_id) or (record.cell_id if record else "")

    def drawing(self) -> list[tuple[str, TurnRecord]]:
        """The tree from top to bottom: what to draw before each turn, and the turn."""
        with self._lock:
            return [(lines, self._tree.turns[turn_id]) for lines, turn_id in draw(self._tree)]

    def replaced_by(self, record: TurnRecord) -> list[TurnRecord]:
        """The turns that the record's cell showed before it, oldest first."""
        if not record.cell_id:
            return []
        return [
            turn
            for turn in (*self.others, *self.turns)
            if turn.turn_id != record.turn_id and self.cell_of(turn.turn_id) == record.cell_id
        ]

    def following(self, cell_id: str) -> tuple[TurnRecord, ...]:
        """The turns on the path that leave it when this cell runs again: those after its own."""
        records = self.records
        index = self._index(cell_id, records)
        return records[index + 1 :] if index is not None else ()

    def recorded(self, prompt: str, cell_id: str, after: str | None = None) -> TurnRecord | None:
        """The turn on the path that answered this very prompt in this cell, where it ended as asked; None where there is none,
        or where anything before it has changed since (then it is not on the path). Where cells have no ids, ``after`` names
        the turn before the wanted one (empty: the wanted one is the first)."""
        records = self.records
        index = self._index(cell_id, records)
        if after is not None:
            ids = ["", *(record.turn_id for record in records)]
            index = ids.index(after) if after in ids[:-1] else None
        if index is None or records[index].prompt != prompt or records[index].stop_reason != "end_turn":
            return None
        return records[index]

    # --- turns ---

    def begin(self, record: TurnRecord) -> TurnRecord:
        """``record`` as it begins: with the turn it goes on from. Where its cell has a turn on the path, it takes that one's
        place, and that turn and all after it leave the path; they stay in the tree."""
        with self._lock:
            records = self.records
            index = self._index(record.cell_id, records)
            before = records if index is None else records[:index]
            if index is not None:
                replaced = records[index]
                self._move(before[-1].turn_id if before else "")
                if not replaced.steps and index == len(records) - 1:
                    self._tree.remove(replaced.turn_id)  # nothing was said in it
            return replace(record, parent_id=before[-1].turn_id if before else "")

    def note_facts(self, instructions: str, policy: str, files: Mapping[str, str] | None = None) -> None:
        """What the turn that begins is asked with; the header holds the hashes. ``files``: of each instruction file that is sent,
        its name and text."""
        with self._lock:
            self.facts = {"instructions_hash": _sha256(instructions), "policy_hash": _sha256(policy)}
            if files:
                self.facts["instruction_files"] = [
                    {"path": path, "hash": _sha256(text)} for path, text in files.items()
                ]

    def remember(self, notes: Iterable[str]) -> None:
        """Keep these notes in the notebook, in place of those before. Raises SessionError where they are too many or too long."""
        kept = [" ".join(note.split()) for note in notes]
        if tuple(kept) != read_notes(kept):
            raise SessionError(
                f"A notebook keeps at most {MOST_NOTES} notes of at most {MOST_CHARS:,} characters.",
                "Shorten it, or take one away with %claw memory forget NUMBER.",
            )
        with self._lock:
            self.memory = tuple(kept)

    def add(self, record: TurnRecord) -> None:
        """Add a finished turn, which is then the end of the path. One that did not pass ``begin`` does so here."""
        with self._lock:
            is_new = record.turn_id not in self._tree.turns
            if is_new and not record.parent_id:
                record = self.begin(record)
            records = self.records
            end = records[-1].turn_id if records else ""
            self._tree.add(record, record.parent_id)
            self._cells[record.turn_id] = record.cell_id
            if not is_new:
                self._path, self._is_stale = None, True
            elif record.parent_id == end:
                self._tree.head = record.turn_id
                self._path = (*records, record)
                if has_compaction(record):
                    self._is_stale = True
                if not self._is_stale:
                    self._extend(record)
            else:
                self._move(record.turn_id)

    def clear(self) -> None:
        """Begin a new conversation under a new id; the turns of the old one stay known as another."""
        with self._lock:
            self._leave()
            self.session_id = new_id("s")
            self.created_at = now()

    def switch(self, session_id: str) -> None:
        """Go on with another conversation. Raises SessionError where it has no turns here."""
        with self._lock:
            if session_id == self.session_id:
                return
            wanted = {record.turn_id: record for record in self._others.values() if record.session_id == session_id}
            if not wanted:
                raise SessionError(f"There is no conversation {session_id} here.", "%claw sessions lists them.")
            self._leave()
            self._others = {turn_id: r for turn_id, r in self._others.items() if turn_id not in wanted}
            self.session_id = session_id
            self.signatures = self._signatures_of.pop(session_id, [])
            self._tree.take_in(wanted, ())
            newest = next(reversed(self._tree.turns.values()))
            self.created_at = next(iter(self._tree.turns.values())).started_at
            self._move(newest.turn_id)

    def use(self, turn_id: str) -> None:
        """Make ``turn_id`` the end of the path: the next turn goes on from it. Empty: from before the first. Raises
        SessionError."""
        with self._lock:
            if turn_id and turn_id not in {record.turn_id for record in self.turns}:
                raise SessionError(f"There is no turn {turn_id} in this conversation.", "%claw history lists them.")
            self._move(turn_id)

    def newest_end(self, turn_id: str) -> str:
        """The end of the branch that the turn is on."""
        with self._lock:
            return self._tree.newest_end(turn_id)

    def before(self, turn_id: str) -> str:
        """The turn that ``turn_id`` goes on from, or empty."""
        with self._lock:
            return self._tree.parent(turn_id)

    # --- the notebook ---

    def see(
        self,
        cells: Iterable[tuple[str, Sequence[str]]],
        seen_before: Collection[str] = (),
        cells_before: Collection[str] = (),
    ) -> None:
        """A page says what its notebook shows: each cell's id with the turns in it, in order. A turn of ``seen_before``, or of a
        cell of ``cells_before`` (what the same page said earlier), whose cell is gone has been deleted by a person: it leaves the
        conversation until its cell is back. Of a turn that stands in two cells (a copy) the one it was asked in counts, else the first."""
        with self._lock:
            order = list(cells)
            ids = {cell_id for cell_id, _ in order}
            shown: dict[str, str] = {}
            for cell_id, turn_ids in order:
                for turn_id in turn_ids:
                    record = self._tree.turns.get(turn_id)
                    if turn_id not in shown or (record is not None and record.cell_id == cell_id):
                        shown[turn_id] = cell_id
            gone = set(cells_before) - ids
            deleted = [t for t in seen_before if t not in shown and self.cell_of(t) not in ids]
            if gone:
                deleted += [t for t in self._tree.turns if t not in shown and self.cell_of(t) in gone]
            self._cells |= shown
            # A turn that its cell no longer shows comes and goes with the cell.
            back = [*shown, *(turn_id for turn_id in self._tree.hidden if self.cell_of(turn_id) in ids)]
            has_shown, has_hidden = self._tree.show(back), self._tree.hide(deleted)
            if has_shown or has_hidden:
                self._path, self._is_stale = None, True

    def in_notebook_order(self, cell_ids: Sequence[str]) -> list[str]:
        """The ids of the path's turns as their cells stand in the notebook; turns without a cell there keep their place behind
        the one they followed."""
        place = {cell_id: index for index, cell_id in enumerate(cell_ids)}
        positions: list[tuple[int, int]] = []
        last = -1
        records = self.records
        for number, record in enumerate(records):
            last = place.get(self.cell_of(record.turn_id), last)
            positions.append((last, number))
        return [records[number].turn_id for _, number in sorted(positions)]

    def arrange(self, turn_ids: Sequence[str]) -> None:
        """Make these turns the path, in this order."""
        with self._lock:
            self._tree.arrange(turn_ids)
            self._path, self._is_stale = None, True

    def merge(
        self, documents: Iterable[Any], header: Mapping[str, Any] | None = None, *, is_asked_for: bool = False
    ) -> list[str]:
        """Take in the turns a notebook holds (JSON objects from any carrier) and return a warning for each that cannot be
        read. What this session already knows wins; of two versions of a turn the one with more steps, then the finished one.
        A session without turns takes on the notebook's id and path, unless it was begun on purpose (``clear``): what came
        before stays out, except where a person asks for it."""
        header = header or {}
        if isinstance(permissions := header.get("permissions"), dict) and not self.permissions:
            self.permissions = permissions
        if not self.facts:
            self.facts = {name: header[name] for name, kind in FACTS.items() if isinstance(header.get(name), kind)}
        if isinstance(signatures := header.get("signatures"), list) and not self.signatures:
            self.signatures = signatures
        if not self.memory:
            self.memory = read_notes(header.get("memory"))
        found, warnings = read_records(documents)
        with self._lock:
            is_first = not self._tree.turns
            if is_first and found and (is_asked_for or not self._is_own):
                newest = max(found.values(), key=lambda record: record.started_at)
                wanted = header.get("session_id")
                self.session_id = str(wanted or newest.session_id)
                self.created_at = str(header.get("created_at") or newest.started_at)
            new: dict[str, TurnRecord] = {}
            for turn_id, record in found.items():
                if record.session_id != self.session_id:
                    self._others.setdefault(turn_id, record)
                    continue
                self._others.pop(turn_id, None)
                if turn_id not in self._tree.turns:
                    new[turn_id] = repaired(record)
            if new:
                end = self._tree.head
                path = _ids(header.get("turns"))
                self._tree.take_in(new, path)
                if is_first:
                    known = {*path, *_ids(header.get("off_path"))}
                    unknown = [turn_id for turn_id in self._tree.turns if turn_id not in known]
                    end = unknown[-1] if unknown else next((t for t in reversed(path) if t in self._tree.turns), "")
                self._move(end if is_first else self._tree.newest_end(end))
        return warnings

    def header(self) -> dict[str, Any]:
        """The notebook's ``metadata.claw``."""
        with self._lock:
            kept = {**self.facts, "permissions": self.permissions, "memory": list(self.memory)}
            known = tuple(self._tree.turns)
            return write_header(
                self.session_id,
                self.created_at,
                self.records,
                self.turns,
                known,
                {**kept, "signatures": self.signatures},
            )

    def transcript(self, model: str) -> list[Message]:
        """The messages of the turns on the path, for a request to ``model`` (``provider/model``). Reasoning stays with the model
        that gave it. No two messages in a row have the same role, no content is empty."""
        with self._lock:
            if self._is_stale or model != self._model:
                self._model = model
                self._messages = []
                self._is_stale = False
                for record in sent_records(self.records):
                    self._extend(record)
            return list(self._messages)

    # --- inside, with the lock held ---

    def _index(self, cell_id: str, records: Sequence[TurnRecord]) -> int | None:
        """The cell's newest turn among ``records``."""
        if not cell_id:
            return None
        found = (n for n in range(len(records) - 1, -1, -1) if self.cell_of(records[n].turn_id) == cell_id)
        return next(found, None)

    def _move(self, head: str) -> None:
        self._tree.head = head
        self._path, self._is_stale = None, True

    def _leave(self) -> None:
        self._others |= self._tree.turns
        self._tree = Tree()
        self._path, self._is_stale = (), True
        self._is_own = True
        self._signatures_of[self.session_id] = self.signatures
        self.signatures = []

    def _extend(self, record: TurnRecord) -> None:
        for message in turn_messages(record, self._model):
            append_message(self._messages, message)


def prompt_content(prompt: str) -> tuple[TextBlock | ImageBlock, ...]:
    """A prompt without attachments."""
    return (TextBlock(prompt),)


def _sha256(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _ids(value: Any) -> list[str]:
    """A list of ids from a stranger's header."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
