"""The journal of a running turn, outside the notebook: what a killed kernel leaves of a turn that no notebook holds yet.

One file per turn below the state folder, one line per event: the CRC-32 of the JSON behind it, a space, the JSON. A line that does not
fit its sum, and all behind it, was being written when the kernel died. The writer holds a lock on the file while it lives; the
system lets go of it also after kill -9.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from claw_kernel.errors import SessionError
from claw_kernel.late_dataclass import dataclass
from claw_kernel.messages import (
    Event,
    MessageFinished,
    StepFinished,
    TextBlock,
    ToolFinished,
    ToolResult,
    ToolStarted,
    TurnFinished,
    TurnRecord,
    TurnStarted,
)
from claw_kernel.session.record import read_record, scrub, write_record, write_value

FOLDER = "journal"
KEPT_SECONDS = 30 * 24 * 3600.0
"""Then a journal that nobody asked for is removed."""
ENDED = "The kernel ended while this call was running. It may have taken effect: look before you do it again."
NOT_BEGUN = "The kernel ended before this call ran."


class Journal:
    """Writes one turn. ``take`` is called with each event, in the engine's thread, and must not fail: a journal that cannot be written
    is given up, and the turn goes on. A line is with the operating system when ``take`` returns, so that kill -9 cannot take it; the
    disk is waited for in a thread of its own, after each step."""

    def __init__(self, state_dir: str, notebook: str, redact: Callable[[str], str]) -> None:
        self._folder = Path(state_dir) / FOLDER
        self._notebook, self._redact = notebook, redact
        self._file: int | None = None
        self.path: Path | None = None

    def take(self, event: Event) -> None:
        with contextlib.suppress(OSError):
            match event:
                case TurnStarted():
                    self._open(event.record)
                case MessageFinished():
                    self._write("message", write_value(event.message))
                case ToolStarted():
                    self._write("began", event.call_id)
                case ToolFinished():
                    self._write("result", write_value(event.result))
                case StepFinished():
                    self._write("step", write_value(event.step))
                    self._flush()
                case TurnFinished():
                    self._write("turn", write_record(event.record))
                    self._flush(is_last=True)
                case _:
                    return

    def _open(self, record: TurnRecord) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = self._folder / f"{record.turn_id}.jsonl"
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        _lock(self._file)
        self._write("begin", {"notebook": self._notebook, "record": write_record(record)})

    def _write(self, kind: str, value: Any) -> None:
        if self._file is None:
            return
        text = json.dumps(scrub({kind: value}, self._redact), ensure_ascii=True, separators=(",", ":")).encode()
        os.write(self._file, b"%08x %s\n" % (zlib.crc32(text), text))

    def _flush(self, *, is_last: bool = False) -> None:
        file = self._file
        if file is None:
            return
        if is_last:
            self._file = None
            _unlock(file)

        def flush() -> None:
            with contextlib.suppress(OSError):
                os.fsync(file)
            if is_last:
                os.close(file)

        threading.Thread(target=flush, name="claw-journal").start()


@dataclass(frozen=True)
class Lost:
    """What a journal holds of a turn whose kernel is gone. ``notebook``: the path of its notebook, empty where it had none."""

    path: Path
    notebook: str
    record: TurnRecord


def find_lost(state_dir: str, session_id: str, notebook: str, known: Mapping[str, TurnRecord]) -> list[Lost]:
    """Turns of this notebook that a kernel which is gone has not brought into it, oldest first; of this conversation, where their notebook was
    moved. (A copy of a notebook has its conversation too, and a stranger's may say so: neither is where they belong.) Journals of turns
    that are ``known`` as they ended are removed."""
    found: list[Lost] = []
    for path in _journals(state_dir):
        if _is_written(path):
            continue
        lost = read_journal(path)
        if lost is None or lost.path.stat().st_mtime < time.time() - KEPT_SECONDS:
            path.unlink(missing_ok=True)
            continue
        stored = known.get(lost.record.turn_id)
        if stored is not None and stored.stop_reason is not None and len(stored.steps) >= len(lost.record.steps):
            path.unlink(missing_ok=True)
        elif (notebook and lost.notebook == notebook) or (
            lost.record.session_id == session_id and not Path(lost.notebook).is_file()
        ):
            found.append(lost)
    return sorted(found, key=lambda lost: lost.record.started_at)


def forget_saved(state_dir: str, turn_ids: Iterable[str]) -> None:
    """Remove the journals of turns whose notebook is on the disk."""
    folder = Path(state_dir) / FOLDER
    for turn_id in turn_ids:
        path = folder / f"{turn_id}.jsonl"
        if path.parent == folder and path.name.startswith("t_") and not _is_written(path):
            with contextlib.suppress(OSError, ValueError):
                path.unlink(missing_ok=True)


def read_journal(path: Path) -> Lost | None:
    """None where not even the turn's beginning is whole."""
    begin: dict[str, Any] | None = None
    record: TurnRecord | None = None
    steps: list[dict[str, Any]] = []
    message: dict[str, Any] | None = None
    began: set[str] = set()
    results: dict[str, dict[str, Any]] = {}
    for line in _lines(path):
        if "begin" in line:
            begin = line["begin"]
        elif "message" in line:
            message, began, results = line["message"], set(), {}
        elif "began" in line:
            began.add(line["began"])
        elif "result" in line:
            results[line["result"]["call_id"]] = line["result"]
        elif "step" in line:
            steps.append(line["step"])
            message = None
        elif "turn" in line:
            begin, steps, message = {"notebook": (begin or {}).get("notebook", ""), "record": line["turn"]}, [], None
    if begin is None:
        return None
    if message is not None:
        steps.append(_cut_step(message, began, results))
    try:
        record = read_record({**begin["record"], **({"steps": steps} if steps else {})})
    except SessionError:
        return None
    if record.stop_reason is None:
        record = replace(record, stop_reason="incomplete")
    return Lost(path, str(begin.get("notebook", "")), record)


def _cut_step(message: dict[str, Any], began: set[str], results: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """The step that ran when the kernel died: each call gets a result, so that nothing is done twice unawares."""
    calls = [block for block in message.get("content", ()) if block.get("type") == "tool_call"]
    made = [
        results.get(call["id"])
        or write_value(ToolResult(call["id"], (TextBlock(ENDED if call["id"] in began else NOT_BEGUN),), is_error=True))
        for call in calls
    ]
    return {"content": message.get("content", []), "results": made, "stop": "tool_use" if calls else "other"}


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        data = path.read_bytes()
    except OSError:
        return
    for line in data.split(b"\n")[:-1]:
        head, _, text = line.partition(b" ")
        if head != b"%08x" % zlib.crc32(text):
            return
        try:
            value = json.loads(text)
        except ValueError:
            return
        if isinstance(value, dict):
            yield value


def _journals(state_dir: str) -> list[Path]:
    try:
        return sorted((Path(state_dir) / FOLDER).glob("t_*.jsonl"))
    except OSError:
        return []


def _lock(file: int) -> None:
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _unlock(file: int) -> None:
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        fcntl.flock(file, fcntl.LOCK_UN)


def _is_written(path: Path) -> bool:
    """Whether the kernel that writes it lives."""
    try:
        import fcntl

        with path.open("rb") as file:
            fcntl.flock(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (ImportError, OSError, ValueError):  # a name that cannot be one
        return False
    return False
