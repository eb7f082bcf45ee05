"""A small kernel side of docs/protocol.md, for tests of the extension alone: a notebook cell imports it.

It keeps what it drew and what it was asked in plain lists, so that a later cell can print them.
"""

from __future__ import annotations

import secrets
import threading
import time
from typing import Any

from comm import create_comm
from IPython import get_ipython
from IPython.display import display

TURN_MIME = "application/vnd.claw.turn+json"

kernel_id = f"k_{secrets.token_hex(4)}"
requests: list[dict[str, Any]] = []
drawn: dict[str, dict[str, Any]] = {}
answers: dict[str, dict[str, Any]] = {}
answered = threading.Event()


def _reply(content: dict[str, Any]) -> dict[str, Any]:
    op = content["op"]
    if op in ("hello", "sync"):
        return {"kernel_id": kernel_id, "session_id": "s_test", "pending": [], "turns": [*drawn.values()]}
    if op == "resolve":
        is_first = content["request_id"] not in answers
        if is_first:
            answers[content["request_id"]] = {**content, "at": time.time()}
            answered.set()
        return {"is_accepted": is_first, "answered_by": "extension"}
    if op == "interrupt":
        return {"is_running": True}
    turns = [turn_id for turn_id, turn in drawn.items() if not turn["is_running"]]
    return {
        "header": {
            "format": 1,
            "session_id": "s_test",
            "created_at": "2026-11-21T10:00:00Z",
            "model": "test/model",
            "turns": turns,
        }
    }


def start() -> None:
    """Answer control requests and say so on the comm."""
    kernel = get_ipython().kernel

    async def handle(stream: Any, ident: Any, parent: dict[str, Any]) -> None:
        content = parent["content"]
        requests.append(content)
        kernel.session.send(stream, "claw_reply", {"status": "ok", **_reply(content)}, parent, ident)

    kernel.control_handlers["claw_request"] = handle
    create_comm(target_name="claw", data={"version": 1, "kernel_id": kernel_id})


def cell_id() -> str:
    return str(get_ipython().kernel.get_parent("shell")["metadata"].get("cellId", ""))


def draw(record: dict[str, Any]) -> None:
    """Display the record, or update its display."""
    turn_id = record["turn_id"]
    record = {**record, "cell_id": record.get("cell_id") or cell_id()}
    if record.get("live"):
        record["live"] = {"kernel_id": kernel_id, **record["live"]}
    bundle = {TURN_MIME: record, "text/markdown": "(turn)", "text/plain": "(turn)"}
    display_id = f"claw-{turn_id}"
    is_known = turn_id in drawn
    drawn[turn_id] = {
        "turn_id": turn_id,
        "cell_id": record["cell_id"],
        "display_id": display_id,
        "is_running": "live" in record,
        "bundle": bundle,
    }
    display(bundle, raw=True, display_id=display_id, update=is_known)
