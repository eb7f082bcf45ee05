"""What front ends show of a turn: Markdown and plain text made from a turn's document."""

from __future__ import annotations

from typing import Any

import pytest

from claw_magics.render import (
    code_span,
    fence,
    footer,
    head,
    printable,
    render_bundle,
    render_markdown,
    render_plain,
    tail,
)


def document(*blocks: dict[str, Any], results: list[dict[str, Any]] | None = None, **fields: Any) -> dict[str, Any]:
    step = {"content": list(blocks), "results": results or []}
    return {
        "format": 1,
        "turn_id": "t_1",
        "session_id": "s_1",
        "prompt": "p",
        "model": "scripted/tour",
        "started_at": "2026-11-21T10:00:00.000Z",
        "duration_seconds": 3.21,
        "steps": [step],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 1200, "output_tokens": 34},
        **fields,
    }


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


def tool_call(name: str = "Bash", call_id: str = "c1") -> dict[str, Any]:
    return {"type": "tool_call", "id": call_id, "name": name, "input": {}}


def tool_result(output: str, call_id: str = "c1", **fields: Any) -> dict[str, Any]:
    details = fields.pop("details", {"title": "$ ls", "duration_seconds": 0.1})
    return {"type": "tool_result", "call_id": call_id, "content": [text(output)], "details": details, **fields}


def test_a_turn_has_all_three_forms() -> None:
    bundle = render_bundle(document(text("Hello **you**.")))
    assert set(bundle) == {"application/vnd.claw.turn+json", "text/markdown", "text/plain"}
    assert "Hello **you**." in bundle["text/markdown"]
    assert "Hello **you**." in bundle["text/plain"]


def test_sources_are_shown_as_they_came() -> None:
    cited = {
        **text("It is so."),
        "citations": [{"title": "A *page*", "url": "https://example.org/a"}, {"quote": "x"}, 7],
    }
    assert "Sources:" in render_markdown(document(cited))
    assert "A *page*" not in render_markdown(document(cited))
    assert "- A *page*: https://example.org/a" in render_plain(document(cited))
    assert "Sources" not in render_plain(document(text("It is so.")))


def test_footer_says_unknown_cost() -> None:
    assert footer(document()) == "scripted/tour · 1,200 tokens in, 34 out · cost unknown · 3.2 s"
    assert "$0.0123" in footer(document(cost_usd=0.0123))
    assert "$0.0000" in footer(document(cost_usd=0.0))


def test_a_call_shows_title_outcome_and_output() -> None:
    shown = render_markdown(
        document(
            tool_call(),
            results=[
                tool_result("boom", is_error=True, details={"title": "$ ls", "exit_code": 2, "duration_seconds": 0.1})
            ],
        )
    )
    assert "✗ **Bash** `$ ls` · exit code 2 · 0.1 s" in shown
    assert "```text\nboom\n```" in shown


def test_tool_output_cannot_leave_its_fence() -> None:
    evil = "```\n<script>alert(1)</script>\n![x](https://evil/)\n````"
    shown = render_markdown(document(tool_call(), results=[tool_result(evil)]))
    assert f"`````text\n{evil}\n`````" in shown


@pytest.mark.parametrize("value", ["`", "a``b", "```", " x ", "a\nb"])
def test_a_code_span_holds_any_title(value: str) -> None:
    span = code_span(value)
    ticks = len(span) - len(span.lstrip("`"))
    inner = span[ticks:-ticks]
    assert "`" * ticks not in inner.replace("`" * (ticks + 1), "")
    assert "\n" not in span


@pytest.mark.parametrize(
    ("answer", "absent"),
    [
        ("see <img src=https://evil/?k=1>", "<img"),
        ("see ![x](https://evil/?k=1)", "![x]"),
        ("![x][r]\n\n[r]: https://evil/", "![x]"),
        ("x ` y\n`<img src=x>` z", "<img"),
        (r"\`<img src=x>\`", "<img"),
        ("- a\n  ```\n<img src=x>", "<img"),
        ("<https://a`b> <img src=x> `", "<https"),
        ("<!-- --><iframe src=x>", "<iframe"),
    ],
)
def test_an_answer_loads_nothing_from_elsewhere(answer: str, absent: str) -> None:
    """HTML and images a model writes (or was made to write) stay text, whatever Markdown they hide behind."""
    assert absent not in render_markdown(document(text(answer)))


def test_code_of_an_answer_is_left_alone() -> None:
    answer = "Use `a<b>` and\n\n```html\n<b>![x](y)</b>\n```\n\n1 < 2"
    assert answer in render_markdown(document(text(answer)))


def test_an_open_fence_does_not_swallow_the_footer() -> None:
    shown = render_markdown(document(text("```python\nx = 1")))
    assert "```python\nx = 1\n```\n\n*" in shown


def test_diff_of_an_edit() -> None:
    details = {"title": "Edit a.py", "diff": "-old\n+new", "duration_seconds": 0.0}
    shown = render_markdown(document(tool_call("Edit"), results=[tool_result("ok", details=details)]))
    assert "✓ **Edit** `a.py`" in shown
    assert "```diff\n-old\n+new\n```" in shown


@pytest.mark.parametrize(("state", "is_shown"), [("waiting", False), ("running", True)])
def test_an_edits_diff_stands_once_while_it_is_asked_about(state: str, is_shown: bool) -> None:
    preview = {"kind": "diff", "path": "a.py", "diff": "-old\n+new"}
    call = {"call_id": "c1", "tool": "Edit", "title": "Edit a.py", "state": state, "preview": preview}
    asked = [
        {"request_id": "a1", "call_id": "c1", "tool": "Edit", "title": "Edit a.py", "reason": "", "preview": preview}
    ]
    live = {"calls": [call], **({} if is_shown else {"pending": asked})}
    for shown in (render_markdown(document(live=live)), render_plain(document(live=live))):
        assert ("+new" in shown) == is_shown


def test_decisions_stand_behind_the_call() -> None:
    approvals = [
        {"call_id": "c1", "decision": "ask", "reason": "r", "answer": "allow_once", "answered_by": "widget"},
        {
            "call_id": "c2",
            "decision": "ask",
            "reason": "r",
            "answer": "deny",
            "answered_by": "stdin",
            "message": "not now",
        },
    ]
    shown = render_markdown(
        document(
            tool_call(),
            tool_call(call_id="c2"),
            results=[tool_result("a"), tool_result("b", "c2", is_error=True)],
            approvals=approvals,
        )
    )
    assert "allowed once (widget)" in shown.replace("\\", "")
    assert "denied (stdin): not now" in shown.replace("\\", "")


@pytest.mark.parametrize("reason", ["max_turns", "max_cost", "interrupted", "max_tokens", "refusal"])
def test_stop_reasons_are_named(reason: str) -> None:
    shown = render_markdown(document(text("x"), stop_reason=reason))
    assert "■" in shown
    assert "■" in render_plain(document(text("x"), stop_reason=reason))


def test_an_error_is_one_line_with_the_remedy() -> None:
    error = {"kind": "auth", "message": "The key was refused.", "remedy": "Set ANTHROPIC_API_KEY."}
    shown = render_plain(document(stop_reason="error", error=error))
    assert "✗ The key was refused. Set ANTHROPIC_API_KEY." in shown.splitlines()


def test_a_live_turn_shows_what_runs_and_what_waits() -> None:
    live = {
        "text": "Let me look.",
        "calls": [{"call_id": "c1", "tool": "Bash", "title": "$ ls", "state": "running", "output": "a\nb"}],
        "pending": [
            {
                "request_id": "a_1",
                "call_id": "c2",
                "tool": "Bash",
                "title": "$ rm x",
                "reason": "no rule allows it",
                "preview": {"kind": "command", "command": "rm x", "visible": "rm x", "cwd": "/"},
            }
        ],
        "kernel_id": "k_1",
    }
    shown = render_markdown(document(stop_reason=None, live=live, steps=[]))
    assert "▸ **Bash** `$ ls` · running" in shown
    assert "Bash waits for your answer." in shown
    assert shown.endswith("1,200 tokens in, 34 out · so far*"), "what it costs is shown while it runs"


def test_terminal_escapes_and_overwritten_lines_are_gone() -> None:
    assert printable("\x1b[31mred\x1b[0m\x07 \x1b]0;title\x07x") == "red x"
    assert printable("10%\r50%\r100%\ndone\r\n") == "100%\ndone\n"


def test_long_output_is_cut_at_its_head() -> None:
    shown = tail("\n".join(str(n) for n in range(100)))
    assert shown.startswith("… 88 lines before\n88\n")
    assert shown.endswith("99")
    assert tail("a\nb\nc", 2) == "… 1 line before\nb\nc"
    assert head("a\nb\nc", 2) == "a\nb\n… 1 line more"


def test_fence_is_longer_than_any_in_the_text() -> None:
    assert fence("a ```` b").startswith("`````\n")
