"""Records for tests of the drawing: what docs/record.md allows, with every kind of block in it."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

DIFF = """--- a/stats.py
+++ b/stats.py
@@ -1,4 +1,4 @@
 def mean(values):
-    return sum(values) / len(values) - 1
+    return sum(values) / len(values)

 def spread(values):
"""

ANSWER = """The mean was **off by one**: `mean` subtracted 1 from the quotient. I fixed it and ran the tests.

| species | n | mean mass (g) |
| --- | --- | --- |
| Adelie | 151 | 3701 |
| Gentoo | 123 | 5076 |

1. changed `stats.py`

2. ran `pytest`

```python
mean([1, 2, 3])   # 2.0
```
"""


def png(width: int = 240, height: int = 120) -> str:
    """A small image as base64: a blue-green ramp."""
    rows = b"".join(b"\x00" + b"".join(bytes((40, 90 + x // 2, 60 + y)) for x in range(width)) for y in range(height))

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    image = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return base64.b64encode(image).decode()


def _text(text: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text}]


def base(turn_id: str = "t_1") -> dict[str, Any]:
    return {
        "format": 1,
        "turn_id": turn_id,
        "session_id": "s_test",
        "prompt": "the mean is wrong",
        "model": "scripted/demo",
        "started_at": "2026-11-21T10:00:00.123Z",
    }


def _call(call_id: str, name: str, given: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_call", "id": call_id, "name": name, "input": given}


def _result(call_id: str, text: str, *, is_error: bool = False, **details: Any) -> dict[str, Any]:
    found = {"type": "tool_result", "call_id": call_id, "content": _text(text), "details": details}
    return {**found, "is_error": True} if is_error else found


def finished(turn_id: str = "t_1") -> dict[str, Any]:
    """A whole turn: thinking, a command that failed, an edit with its diff, code with a figure, a denied call, the answer."""
    failing = (
        "\x1b[31mF\x1b[0m.\n"
        + "\n".join(f"line {n}" for n in range(40))
        + "\nAssertionError: 1.0 != 2.0\n1 failed, 1 passed"
    )
    steps = [
        {
            "content": [
                {
                    "type": "thinking",
                    "text": "The test compares with 2.0.\nSo I look at the test first.",
                    "signature": "x",
                },
                {"type": "text", "text": "I run the tests first."},
                _call("c_1", "Bash", {"command": "pytest -q"}),
            ],
            "results": [
                _result("c_1", failing, is_error=True, title="$ pytest -q", exit_code=1, duration_seconds=1.84)
            ],
        },
        {
            "content": [
                _call("c_2", "Edit", {"path": "stats.py", "old": "- 1", "new": ""}),
                _call("c_3", "Python", {"code": "import stats\nstats.plot()"}),
                _call("c_4", "Bash", {"command": "rm -rf build"}),
            ],
            "results": [
                _result("c_2", "Edited stats.py", title="Edit stats.py", diff=DIFF, duration_seconds=0.01),
                _result(
                    "c_3",
                    "<Figure>",
                    title="Python: import stats",
                    duration_seconds=0.42,
                    outputs=[
                        {"image/png": png(), "text/plain": "<Figure size 240x120>"},
                        {"text/html": "<table><tr><th>n</th></tr><tr><td>274</td></tr></table>", "text/plain": "274"},
                    ],
                ),
                _result("c_4", "Denied by the person: keep the build folder", is_error=True, title="$ rm -rf build"),
            ],
        },
        {"content": _text(ANSWER), "stop": "end_turn"},
    ]
    return {
        **base(turn_id),
        "duration_seconds": 7.31,
        "steps": steps,
        "approvals": [
            {"call_id": "c_2", "decision": "ask", "answer": "allow_always", "answered_by": "extension"},
            {
                "call_id": "c_4",
                "decision": "ask",
                "answer": "deny",
                "answered_by": "widget",
                "message": "keep the build folder",
            },
        ],
        "notices": ["scripted model: these replies were written beforehand"],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 5120, "output_tokens": 431, "cache_read_tokens": 4000},
    }


COMMAND = "pytest -q tests/test_stats.py"
RULES = ["Bash(pytest:*)"]


def pending(
    turn_id: str = "t_2",
    *,
    preview: dict[str, Any] | None = None,
    tool: str = "Bash",
    title: str = f"$ {COMMAND}",
    rules: list[str] | None = None,
) -> dict[str, Any]:
    """A turn that waits for an answer."""
    shown = preview or {"kind": "command", "command": COMMAND, "visible": COMMAND, "cwd": "/home/me/project"}
    call = {"call_id": "c_1", "tool": tool, "title": title, "preview": shown, "state": "waiting"}
    request = {
        "request_id": f"a_{turn_id}",
        "call_id": "c_1",
        "tool": tool,
        "title": title,
        "reason": "no rule allows it",
        "preview": shown,
        "suggested_rules": RULES if rules is None else rules,
    }
    live = {"text": "I run the tests first.", "calls": [call], "pending": [request]}
    return {**base(turn_id), "steps": [], "stop_reason": None, "live": live}


def running(turn_id: str = "t_2", *, output: str = "collected 2 items\n", started_at: str = "") -> dict[str, Any]:
    """The same turn after it was allowed."""
    record = pending(turn_id)
    call = {**record["live"]["calls"][0], "state": "running", "output": output, "started_at": started_at}
    approvals = [{"call_id": "c_1", "decision": "ask", "answer": "allow_once", "answered_by": "extension"}]
    return {**record, "approvals": approvals, "live": {"text": record["live"]["text"], "calls": [call]}}


def done(turn_id: str = "t_2") -> dict[str, Any]:
    """The same turn at its end."""
    step = {
        "content": [*_text("I run the tests first."), _call("c_1", "Bash", {"command": COMMAND})],
        "results": [_result("c_1", "2 passed in 0.01s", title=f"$ {COMMAND}", exit_code=0, duration_seconds=0.52)],
    }
    return {
        **base(turn_id),
        "duration_seconds": 2.5,
        "steps": [step, {"content": _text("All tests pass.")}],
        "approvals": [{"call_id": "c_1", "decision": "ask", "answer": "allow_once", "answered_by": "extension"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 812, "output_tokens": 64},
    }
