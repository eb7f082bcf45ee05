"""What the open pages say of the notebook: its cells in order, the turns they show, and which cells were started together."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import field

from claw_kernel.late_dataclass import dataclass
from claw_kernel.session import Session

PAGES_KEPT = 16
RUNS_KEPT = 2_000
WAIT_SECONDS = 0.3
"""How long a cell waits for its page to say how it was started; the page says it a few milliseconds after the start."""
MEET_SECONDS = 1.0
"""How long a page is waited for that may not have met this kernel yet: after a restart it speaks once it has seen the extension load."""
_POLL_SECONDS = 0.005


@dataclass()
class Outline:
    """Of one page. ``seen``, ``seen_cells``: turns and cells that its notebook has shown since the page was opened. ``runs``: for each cell that was
    started and has not begun, whether others were started in the same moment."""

    cells: tuple[str, ...] = ()
    seen: set[str] = field(default_factory=set)
    seen_cells: set[str] = field(default_factory=set)
    runs: OrderedDict[str, bool] = field(default_factory=OrderedDict)


class Outlines:
    """Thread-safe: pages speak on the control thread. A page is known by the id of its connection."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._pages: OrderedDict[str, Outline] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, page: str, cells: Sequence[tuple[str, Sequence[str]]], runs: Mapping[str, bool]) -> None:
        """What a page says now. Without cells (a page that says nothing of them) nothing is taken as deleted."""
        with self._lock:
            outline = self._pages.setdefault(page, Outline())
            self._pages.move_to_end(page)
            while len(self._pages) > PAGES_KEPT:
                self._pages.popitem(last=False)
            outline.runs.update(runs)
            while len(outline.runs) > RUNS_KEPT:
                outline.runs.popitem(last=False)
            if not cells:
                return
            outline.cells = tuple(cell_id for cell_id, _ in cells)
            seen, seen_cells = frozenset(outline.seen), frozenset(outline.seen_cells)
            outline.seen |= {turn_id for _, turn_ids in cells for turn_id in turn_ids}
            outline.seen_cells |= set(outline.cells)
        self._session.see(cells, seen, seen_cells)

    def cells(self, page: str) -> tuple[str, ...]:
        """The ids of the notebook's cells as the page last said; empty where it never did."""
        with self._lock:
            outline = self._pages.get(page)
            return outline.cells if outline is not None else ()

    def await_cells(self, page: str) -> tuple[str, ...]:
        """The same, waiting for at most ``MEET_SECONDS`` for a page that has said nothing yet."""
        until = time.monotonic() + MEET_SECONDS
        while not (cells := self.cells(page)) and time.monotonic() < until:
            time.sleep(_POLL_SECONDS)
        return cells

    def take_run(self, page: str, cell_id: str) -> bool:
        """Whether the cell that begins was started together with others ("Run All"), by what its page says of the start; False
        where it says nothing in time. Blocks for at most ``WAIT_SECONDS``, and only where the page speaks of cells at all."""
        until = time.monotonic() + WAIT_SECONDS
        while True:
            with self._lock:
                outline = self._pages.get(page)
                if outline is None or not outline.cells:
                    return False
                if cell_id in outline.runs:
                    return outline.runs.pop(cell_id)
            if time.monotonic() >= until:
                return False
            time.sleep(_POLL_SECONDS)
