"""Notebooks that a stranger made to break, fool or flood whoever opens them: each command says one sentence and obeys nothing."""

from __future__ import annotations

import base64
import json
import re
import time
import zlib
from pathlib import Path
from typing import Any

import pytest

from claw_kernel.cli import main

ESCAPES = "\x1b]0;title\x07\x1b[31mred\u202egnp.exe\x9b2J"
MARKUP = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'><svg onload=alert(1)>"


def record(number: int = 1, **changes: Any) -> dict[str, Any]:
    call = {"type": "tool_call", "id": f"c_{number}", "name": "Bash", "input": {"command": "echo a"}}
    result = {"type": "tool_result", "call_id": f"c_{number}", "content": [{"type": "text", "text": "a\n"}]}
    return {
        "format": 2,
        "turn_id": f"t_{number}",
        "session_id": "s_1",
        "prompt": "Hi",
        "content": [{"type": "text", "text": "Hi"}],
        "model": "m/x",
        "started_at": "2026-11-21T10:00:00.000Z",
        "steps": [
            {"content": [call], "results": [result], "stop": "tool_use"},
            {"content": [{"type": "text", "text": "Done."}], "stop": "end_turn"},
        ],
        "stop_reason": "end_turn",
    } | changes


def cell(of: Any = None, source: Any = "%%claw\nHi", **changes: Any) -> dict[str, Any]:
    metadata = {} if of is None else {"claw": of}
    made = {"cell_type": "code", "id": "a", "execution_count": 1, "metadata": metadata, "outputs": [], "source": source}
    return made | changes


def notebook(*cells: Any, header: Any = None) -> str:
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    metadata |= {} if header is None else {"claw": header}
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": list(cells)}, indent=1)


def with_result(**block: Any) -> dict[str, Any]:
    made = record()
    made["steps"][0]["results"][0]["content"] = [block]
    return made


def hostile_markup() -> dict[str, Any]:
    made = record(prompt=MARKUP, model=MARKUP, turn_id=f"t_{MARKUP}", started_at=MARKUP)
    made["steps"][0]["content"][0]["name"] = MARKUP
    made["steps"][0]["results"][0]["details"] = {
        "title": MARKUP, "diff": MARKUP, "path": MARKUP, "exit_code": MARKUP,
        "outputs": [{"data": {"text/html": MARKUP, "image/svg+xml": MARKUP, "text/markdown": MARKUP}}],
    }  # fmt: skip
    cited = [{"url": "javascript:alert(1)", "title": MARKUP, "quote": MARKUP}]
    links = "[a](javascript:alert(1)) [b](data:text/html,x) ![i](https://evil.example/i.png) <a href=vbscript:1>c</a>"
    made["steps"][1]["content"] = [{"type": "text", "text": MARKUP + links, "citations": cited}]
    return made


DEEP = "[" * 100_000 + "]" * 100_000
BOMB = base64.b64encode(zlib.compress(b"a" * 50_000_000, 9)).decode()
HEADER = {"format": 2, "session_id": "s_1"}
NOTEBOOKS = {
    "deep metadata": notebook(cell(record())).replace('"prompt": "Hi"', f'"prompt": "Hi", "more": {DEEP}'),
    "deep arguments": notebook(cell(record())).replace('"command": "echo a"', f'"command": {DEEP}'),
    "deep header": notebook(cell(record()), header=HEADER).replace('"s_1"\n', f'"s_1", "more": {DEEP}\n'),
    "cells that are none": notebook("x", 1, None),
    "metadata that is a list": notebook(cell(metadata=[])),
    "outputs that are a text": notebook(cell(outputs="text")),
    "an output without data": notebook(cell(outputs=[{"output_type": "display_data", "data": None}, 5])),
    "a source that is an object": notebook(cell(record(), source={"a": 1})),
    "a source whose lines are none": notebook(cell(record(), source=["x = 1\n", ["y"], None])),
    "a format that is a list": notebook(cell(record(format=[2]))),
    "a turn without an id": notebook(cell({key: item for key, item in record().items() if key != "turn_id"})),
    "a header that is a list": notebook(cell(record()), header=[1, 2]),
    "a header of other types": notebook(
        cell(record()),
        header={
            "format": 2,
            "session_id": 5,
            "turns": "abc",
            "off_path": {"a": 1},
            "branches": {"a": 3},
            "permissions": [1],
            "signatures": "zz",
            "compaction": 7,
        },
    ),
    "signatures that are none": notebook(
        cell(record()),
        header={
            **HEADER,
            "signatures": [
                5,
                {"turns": 5},
                {"turns": ["a"], "signed_at": 5, "signature": 7},
                {"turns": [f"t_1 sha256:{'0' * 64}"], "signed_at": "x", "signature": "A" * 10_000},
            ],
        },
    ),
    "escapes for a terminal": notebook(
        cell(
            record(
                turn_id=f"t_{ESCAPES}",
                prompt=ESCAPES,
                model=ESCAPES,
                session_id=ESCAPES,
                parent_id=f"p{ESCAPES}",
                approvals=[
                    {
                        "call_id": f"c{ESCAPES}",
                        "decision": "ask",
                        "reason": ESCAPES,
                        "rule": ESCAPES,
                        "answer": "allow_once",
                        "answered_by": ESCAPES,
                    }
                ],
            )
        ),
        cell(source=f"x = '{ESCAPES}'"),
        header={"format": 2, "session_id": ESCAPES, "turns": [f"t{ESCAPES}"]},
    ),
    "a bomb": notebook(cell(with_result(type="text", text="x", stored={"characters": 50_000_000, "packed": BOMB}))),
    "a packed text that is none": notebook(
        cell(
            with_result(type="text", text="x", stored={"characters": -5, "omitted": -1, "sha256": "zz", "packed": "!!"})
        )
    ),
    "markup": notebook(cell(hostile_markup())),
    "an image with attributes": notebook(
        cell(with_result(type="image", media_type='image/png" onerror="alert(1)', data='"><script>1</script>'))
    ),
    "numbers that are none": notebook(cell(record())).replace(
        '"stop_reason": "end_turn"', '"cost_usd": 1e999, "duration_seconds": NaN, "stop_reason": "end_turn"'
    ),
    "half a character": notebook(cell(record())).replace("echo a", "echo \\ud800 \\u0000"),
    "a circle": notebook(cell(record(1, parent_id="t_2")), cell(record(2, parent_id="t_1"))),
    "many fences": notebook(
        cell(record(steps=[{"content": [{"type": "text", "text": "```\n" * 20_000}], "stop": "end_turn"}]))
    ),
    "many texts like many cells": notebook(
        cell(
            record(
                steps=[
                    {
                        "content": [
                            {
                                "type": "tool_call",
                                "id": f"c{n}",
                                "name": "Python",
                                "input": {"code": f"x{n} = {n}\n" * 20},
                            }
                        ],
                        "results": [{"type": "tool_result", "call_id": f"c{n}", "content": []}],
                    }
                    for n in range(400)
                ]
            )
        ),
        *(cell(source=f"y{n} = {n}\n" * 20) for n in range(100)),
    ),
    "many turns": notebook(
        cell(record()),
        header={
            **HEADER,
            "branches": [record(n, parent_id=f"t_{n - 1}", steps=[], content=[]) for n in range(2, 5_000)],
        },
    ),
    "nothing": "",
    "a number": "5",
    "a list": "[]",
}
COMMANDS = (
    ("session", "check"), ("session", "verify"), ("session", "scrub", "--check"), ("blame",), ("export", "--to", "html"),
    ("export", "--to", "markdown"), ("export", "--to", "jsonl"), ("export", "--no-run", "-o", "plain.ipynb"),
)  # fmt: skip


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_each_command_says_what_it_finds_and_obeys_nothing(name, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLAW_HOME", str(tmp_path / "home"))
    text = NOTEBOOKS[name]
    for command in COMMANDS:
        Path("n.ipynb").write_text(text, "utf-8")
        Path("plain.ipynb").unlink(missing_ok=True)
        began = time.process_time()
        code = main([*command, "n.ipynb"])  # no exception gets out
        shown = capfd.readouterr()
        assert code in range(8), command
        assert Path("n.ipynb").read_text("utf-8") == text
        assert len(shown.err) < 10_000, command
        if "--to" not in command:
            assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", shown.out + shown.err), command
            assert len(shown.out) < 5_000_000
        if command[-1] == "html":
            assert not re.search(r"<(script|svg|iframe|[^>]*(onerror|javascript|vbscript|data:text))", shown.out)
            assert "&amp;lt;" not in shown.out
            assert "evil.example" not in re.findall(r'src="([^"]*)"', shown.out)
        # Far above what any takes on a quiet machine, far below what a square of these sizes takes.
        assert time.process_time() - began < 30, command
    assert not list(tmp_path.glob("*.before*"))


def test_of_turns_that_cannot_be_read_none_is_signed(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLAW_HOME", str(tmp_path / "home"))
    Path("n.ipynb").write_text(notebook(cell(record()), cell({"format": 2}), cell(record(turn_id=["t_2"]))), "utf-8")
    assert main(["session", "sign", "n.ipynb"]) == 0
    assert "1 turn signed" in capfd.readouterr().out
