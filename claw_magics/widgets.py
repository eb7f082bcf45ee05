"""The approval card of ipywidgets, for front ends without the labextension. Imported only when a card is shown."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

from claw_kernel._core import visible
from claw_kernel.messages import AnswerName, ApprovalRequest
from claw_magics.render import code_span

OnAnswer = Callable[[AnswerName, str], None]
"""Called with the answer and the message to the model, in whatever thread the front end's click arrives."""

_BOX = (
    "border:1px solid var(--jp-border-color1,#bbb);border-radius:4px;padding:6px 10px;margin:2px 0;"
    "font-family:var(--jp-code-font-family,monospace);font-size:var(--jp-code-font-size,13px);"
    "white-space:pre-wrap;overflow-wrap:anywhere;max-height:24em;overflow:auto;line-height:1.4"
)
_QUESTIONS = {"command": "run this command?", "code": "run this code in your kernel?"}
"""Where the preview says it all; otherwise the title is the question."""
_ADDED = "background:rgba(46,160,67,.18)"
_REMOVED = "background:rgba(248,81,73,.18)"


class ApprovalCard:
    """One request as a card. ``on_answer`` is called at most once; ``close`` takes the card away."""

    def __init__(self, request: ApprovalRequest, on_answer: OnAnswer) -> None:
        import ipywidgets

        self._on_answer: OnAnswer | None = on_answer
        self._message = ipywidgets.Text(
            placeholder="Why not, for the model (optional)", layout=ipywidgets.Layout(width="22em")
        )
        buttons = [self._button(ipywidgets, "Allow once", "allow_once", "success")]
        rules = ", ".join(visible(rule) for rule in request.suggested_rules)
        if rules:
            always = self._button(ipywidgets, "Allow always", "allow_always", "")
            always.tooltip = f"Adds the rule {rules} to this session"
            buttons.append(always)
        buttons += [self._button(ipywidgets, "Deny", "deny", "danger"), self._message]
        rows = [
            ipywidgets.HTML(card_html(request)),
            ipywidgets.HBox(buttons, layout=ipywidgets.Layout(flex_flow="row wrap")),
        ]
        self.box = ipywidgets.VBox(rows)

    def mimebundle(self, request: ApprovalRequest) -> dict[str, Any]:
        """The card, with text for front ends that do not draw widgets."""
        bundle = self.box._repr_mimebundle_()
        found: dict[str, Any] = dict(bundle[0] if isinstance(bundle, tuple) else bundle)
        title = visible(request.title)
        hint = "No buttons here? Interrupt the cell, then run: %claw config set approvals stdin"
        markdown = f"**Claw asks:** {code_span(title)}\n\n*{hint}*"
        return {**found, "text/markdown": markdown, "text/plain": f"Claw asks: {title}\n{hint}"}

    def close(self) -> None:
        """Take the card and its buttons away; a click that comes later finds nothing."""
        self._on_answer = None
        for widget in (*self.box.children[1].children, *self.box.children, self.box):
            widget.close()

    def _button(self, ipywidgets: Any, label: str, answer: AnswerName, style: str) -> Any:
        button = ipywidgets.Button(description=label, button_style=style, layout=ipywidgets.Layout(width="auto"))
        button.on_click(lambda _: self._answer(answer))
        return button

    def _answer(self, answer: AnswerName) -> None:
        on_answer, self._on_answer = self._on_answer, None
        if on_answer is not None:
            on_answer(answer, self._message.value.strip() if answer == "deny" else "")


def card_html(request: ApprovalRequest) -> str:
    """The card's text as HTML; every string of it is escaped."""
    preview = request.preview
    question = _QUESTIONS.get(str(preview.get("kind")))
    title = f"<code>{_escape(visible(request.title))}</code>"
    parts = [f"<div><b>Claw asks: {question}</b></div>" if question else f"<div><b>Claw asks:</b> {title}</div>"]
    if preview.get("kind") == "diff":
        rows = [_diff_row(visible(line)) for line in str(preview.get("diff", "")).split("\n")]
        parts.append(f'<div style="{_BOX}">{"".join(rows)}</div>')
    elif shown := preview.get("visible"):
        parts.append(f'<div style="{_BOX}">{_escape(str(shown))}</div>')
    if cwd := preview.get("cwd"):
        parts.append(f"<div>in <code>{_escape(visible(str(cwd)))}</code></div>")
    parts.append(f"<div>because {_escape(request.reason)}</div>")
    if request.suggested_rules:
        rules = " ".join(f"<code>{_escape(visible(rule))}</code>" for rule in request.suggested_rules)
        parts.append(f"<div>Allow always adds the rule {rules} to this session.</div>")
    return "".join(parts)


def decided_markdown(request: ApprovalRequest, decision: str) -> str:
    """What takes the card's place once it is answered."""
    return f"{code_span(visible(request.title))} {decision}"


def _diff_row(line: str) -> str:
    style = _ADDED if line.startswith("+") else _REMOVED if line.startswith("-") else ""
    return f'<div style="{style}">{_escape(line) or "&nbsp;"}</div>'


def _escape(text: str) -> str:
    return html.escape(text, quote=True)
