"""The turns of a session as a tree: which turn goes on from which, and the one path that is the conversation now.

A turn's record says what it went on from when it was asked (``parent_id``) and never changes. What a person does to the
notebook since (a cell deleted, another order chosen) is kept here, beside the records.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from claw_kernel.messages import TurnRecord


class Tree:
    """Not thread-safe. ``head`` is the turn the next one goes on from, empty before the first."""

    def __init__(self) -> None:
        self.turns: dict[str, TurnRecord] = {}
        self.head = ""
        self._parents: dict[str, str] = {}
        self._gone: set[str] = set()

    # --- reading ---

    def parent(self, turn_id: str) -> str:
        """The turn before, or empty. Turns whose cells were deleted are passed over."""
        parent = self._parents.get(turn_id, "")
        while parent in self._gone:
            parent = self._parents.get(parent, "")
        return parent

    def path(self, turn_id: str) -> list[str]:
        """From the first turn to ``turn_id``."""
        found = []
        while turn_id:
            if turn_id not in self._gone:
                found.append(turn_id)
            turn_id = self._parents.get(turn_id, "")
        return found[::-1]

    def visible(self) -> list[TurnRecord]:
        """All turns whose cells were not deleted, in the order they began."""
        return [record for turn_id, record in self.turns.items() if turn_id not in self._gone]

    @property
    def hidden(self) -> frozenset[str]:
        """The turns whose cells were deleted."""
        return frozenset(self._gone)

    def children(self) -> dict[str, list[str]]:
        """The turns that go on from each, in the order they began; the first turns under the empty name."""
        found: dict[str, list[str]] = {}
        for record in self.visible():
            found.setdefault(self.parent(record.turn_id), []).append(record.turn_id)
        return found

    def newest_end(self, turn_id: str) -> str:
        """Where the branch that ``turn_id`` is on goes to: from each turn on to the one that began last."""
        children = self.children()
        while turn_id in children:
            turn_id = children[turn_id][-1]
        return turn_id

    # --- changing ---

    def add(self, record: TurnRecord, parent_id: str) -> None:
        """A new turn, or a newer version of one that is known (which keeps its place)."""
        if record.turn_id not in self.turns:
            self._parents[record.turn_id] = parent_id if parent_id in self.turns else ""
        self.turns[record.turn_id] = record

    def remove(self, turn_id: str) -> None:
        """For good. What went on from it goes on from the turn before it."""
        parent = self._parents.pop(turn_id, "")
        self.turns.pop(turn_id, None)
        self._gone.discard(turn_id)
        for child, known in self._parents.items():
            if known == turn_id:
                self._parents[child] = parent
        if self.head == turn_id:
            self.head = parent

    def hide(self, turn_ids: Iterable[str]) -> bool:
        """Leave out turns whose cells were deleted. Whether that changed anything."""
        new = {turn_id for turn_id in turn_ids if turn_id in self.turns} - self._gone
        self._gone |= new
        return bool(new)

    def show(self, turn_ids: Iterable[str]) -> bool:
        """Take in again turns whose cells are back. Whether that changed anything."""
        back = self._gone.intersection(turn_ids)
        self._gone -= back
        return bool(back)

    def arrange(self, turn_ids: Sequence[str]) -> None:
        """Make ``turn_ids`` the path, each going on from the one before it. The records keep saying what was asked when."""
        before = ""
        parents = dict(self._parents)
        for turn_id in turn_ids:
            parents[turn_id], before = before, turn_id
        self._parents = without_cycles(parents)
        self.head = before

    def take_in(self, records: Mapping[str, TurnRecord], header_path: Sequence[str]) -> None:
        """Add what a notebook holds. ``header_path``: the ids the notebook's header gives as its path, which is how its
        person left it. A turn whose parent is not there goes on from the turn that began before it."""
        merged = {**records, **self.turns}
        ordered = sorted(merged.values(), key=lambda record: (record.started_at, record.turn_id))
        parents = dict(self._parents)
        before = ""
        for record in ordered:
            if record.turn_id not in self.turns:
                known = not record.parent_id or record.parent_id in merged
                parents[record.turn_id] = record.parent_id if known else before
            before = record.turn_id
        before = ""
        for turn_id in header_path:
            if turn_id in merged:
                if turn_id not in self.turns:
                    parents[turn_id] = before
                before = turn_id
        self.turns = {record.turn_id: record for record in ordered}
        self._parents = without_cycles(parents)


def without_cycles(parents: Mapping[str, str]) -> dict[str, str]:
    """``parents`` with each circle in it cut: a stranger's file may say anything."""
    found = dict(parents)
    done: set[str] = {""}
    for start in found:
        walked: set[str] = set()
        turn_id = start
        while turn_id not in done:
            walked.add(turn_id)
            parent = found.get(turn_id, "")
            if parent in walked:
                found[turn_id] = parent = ""
            turn_id = parent
        done |= walked
    return found


def draw(tree: Tree) -> Iterator[tuple[str, str]]:
    """``(lines before it, turn id)`` of each turn, for a drawing as text: the path as the trunk, and under each turn the
    branches that leave the path behind it."""
    children = tree.children()
    on_path = set(tree.path(tree.head))
    waiting: list[tuple[str, str]] = []

    def push(parent: str, indent: str) -> None:
        below = children.get(parent, [])
        if not below:
            return
        trunk = next((turn_id for turn_id in below if turn_id in on_path), below[-1])
        waiting.append(
            (indent, trunk)
        )  # what is pushed last is drawn first: branches stand above what goes straight on
        waiting.extend((f"{indent}│  ", turn_id) for turn_id in reversed(below) if turn_id != trunk)

    push("", "")
    while waiting:
        indent, turn_id = waiting.pop()
        yield indent, turn_id
        push(turn_id, indent)
