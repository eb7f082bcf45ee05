"""What the machine says of its processes. Any of them may end while it is asked."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PATIENCE_SECONDS = 20.0


@dataclass(frozen=True)
class Child:
    """A process as its parent's list has it; ``state`` is ``Z`` of one that nobody has waited for."""

    name: str
    state: str


def children(parent: int | None = None) -> dict[int, Child]:
    """The processes that one has started, by default this one, whichever of its threads has."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            name, rest = (entry / "stat").read_text().split(" (", 1)[1].rsplit(") ", 1)
        except OSError:
            continue
        state, its_parent, *_ = rest.split()
        if int(its_parent) == (parent or os.getpid()):
            found[int(entry.name)] = Child(name, state)
    return found


def is_alive(pid: int) -> bool:
    """It runs or waits: it is neither gone nor a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0]
    except OSError:
        return False
    return state not in "ZX"


def with_arguments(*arguments: str) -> list[int]:
    """The processes that were started with exactly these, wherever they live."""
    wanted = "".join(f"{argument}\0" for argument in arguments).encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cmdline").read_bytes() == wanted:
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def open_files() -> int:
    """How many descriptors this process holds."""
    return len(list(Path("/proc/self/fd").iterdir()))


def read_pids(folder: Path, count: int) -> list[int]:
    """Numbers that a script has written to files of the names ``pid…``, once there are so many."""

    def written() -> list[int]:
        return [int(text) for path in folder.glob("pid*") if (text := path.read_text()).endswith("\n")]

    wait_until(lambda: len(written()) >= count)
    return written()


def wait_until(is_so: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
    """Fails where it is not so by then."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(0.02)
