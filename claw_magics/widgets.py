"""The cards of ipywidgets, for front ends without the labextension. Imported only when a card is shown."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from typing import Any

from claw_kernel._core import visible
from claw_kernel.messages import ApprovalRequest
from claw_kernel.question import MAX_SELECTION, Reply
from claw_magics.render import code_span

OnReply = Callable[[Reply], None]
"""Called with what was chosen, in whatever thread the front end's click arrives."""

_BOX = (
    "border:1px solid var(--jp-border-color1,#bbb);border-radius:4px;padding:6px 10px;margin:2px 0;"
    "font-family:var(--jp-code-font-family,monospace);font-size:var(--jp-code-font-size,13px);"
    "white-space:pre-wrap;overflow-wrap:anywhere;max-height:24em;overflow:auto;line-height:1.4"
)
_QUESTIONS = {
    "command": "run this command?",
    "code": "run this code in your kernel?",
    "plan": "carry out this plan?",
    "questions": "what do you choose?",
}
"""Where the preview says it all; otherwise the title is the question."""
_NOTE = "color:var(--jp-ui-font-color2,#666)"
_ADDED = "background:rgba(46,160,67,.18)"
_REMOVED = "background:rgba(248,81,73,.18)"


class Card:
    """One request as a card. ``on_reply`` is called at most once; ``close`` takes the card away."""

    def __init__(self, request: ApprovalRequest, on_reply: OnReply) -> None:
        import ipywidgets

        self._on_reply: OnReply | None = on_reply
        self.box = ipywidgets.VBox([ipywidgets.HTML(card_html(request)), *self._rows(ipywidgets, request)])

    def mimebundle(self, request: ApprovalRequest) -> dict[str, Any]:
        """The card, with text for front ends that do not draw widgets."""
        bundle = self.box._repr_mimebundle_()
        found: dict[str, Any] = dict(bundle[0] if isinstance(bundle, tuple) else bundle)
        title = visible(request.title)
        hint = "No buttons here? Interrupt the cell, then run: %claw config set approvals stdin"
        markdown = f"**Claw asks:** {code_span(title)}\n\n*{hint}*"
        return {**found, "text/markdown": markdown, "text/plain": f"Claw asks: {title}\n{hint}"}

    def close(self) -> None:
        """Take the card and its controls away; a click that comes later finds nothing."""
        self._on_reply = None
        _close(self.box)

    def _rows(self, ipywidgets: Any, request: ApprovalRequest) -> list[Any]:
        """What can be clicked and typed, below the card's text."""
        raise NotImplementedError

    def _button(self, ipywidgets: Any, label: str, style: str, reply: Callable[[], Reply | None]) -> Any:
        button = ipywidgets.Button(description=label, button_style=style, layout=ipywidgets.Layout(width="auto"))
        button.on_click(lambda _: self._reply(reply()))
        return button

    def _reply(self, reply: Reply | None) -> None:
        if reply is None:
            return  # not all is chosen yet
        on_reply, self._on_reply = self._on_reply, None
        if on_reply is not None:
            on_reply(reply)


class ApprovalCard(Card):
    """May this call run?"""

    def _rows(self, ipywidgets: Any, request: ApprovalRequest) -> list[Any]:
        message = _message(ipywidgets, "Why not, for the model (optional)")
        buttons = [self._button(ipywidgets, "Allow once", "success", lambda: Reply("allow_once"))]
        rules = ", ".join(visible(rule) for rule in request.suggested_rules)
        if rules:
            always = self._button(ipywidgets, "Allow always", "", lambda: Reply("allow_always"))
            always.tooltip = f"Adds the rule {rules} to this session"
            buttons.append(always)
        deny = self._button(ipywidgets, "Deny", "danger", lambda: Reply("deny", message.value.strip()))
        return [_row(ipywidgets, [*buttons, deny, message])]


class PlanCard(Card):
    """Shall this plan be carried out?"""

    def _rows(self, ipywidgets: Any, request: ApprovalRequest) -> list[Any]:  # noqa: ARG002
        message = _message(ipywidgets, "What to change (optional)")
        buttons = [
            self._button(ipywidgets, "Approve", "success", lambda: Reply("approve")),
            self._button(ipywidgets, "Approve and accept edits", "", lambda: Reply("accept_edits")),
            self._button(ipywidgets, "Keep planning", "", lambda: Reply("deny", message.value.strip())),
        ]
        return [_row(ipywidgets, [*buttons, message])]


class QuestionCard(Card):
    """Each question with its options as buttons and a field for own words, which win over what was chosen before."""

    def _rows(self, ipywidgets: Any, request: ApprovalRequest) -> list[Any]:
        rows: list[Any] = []
        fields: list[tuple[list[tuple[str, Any]], Any]] = []
        for question in request.preview["questions"]:
            rows.append(ipywidgets.HTML(_question_html(question)))
            toggles = [
                (option["label"], _toggle(ipywidgets, option["label"], option["description"]))
                for option in question["options"]
            ]
            if not question["multiSelect"]:
                _make_exclusive([toggle for _, toggle in toggles])
            own = _message(ipywidgets, "Something else")
            fields.append((toggles, own))
            rows.append(_row(ipywidgets, [*(toggle for _, toggle in toggles), own]))
        is_several = [question["multiSelect"] for question in request.preview["questions"]]

        def answered() -> Reply | None:
            selections = tuple(
                _chosen(toggles, own, is_several=several)
                for (toggles, own), several in zip(fields, is_several, strict=True)
            )
            return Reply("answered", selections=selections) if all(selections) else None

        buttons = [
            self._button(ipywidgets, "Answer", "success", answered),
            self._button(ipywidgets, "No answer", "", lambda: Reply("deny")),
        ]
        return [*rows, _row(ipywidgets, buttons)]


def open_card(request: ApprovalRequest, on_reply: OnReply) -> Card:
    """The card for what is asked."""
    match request.preview.get("kind"):
        case "questions":
            return QuestionCard(request, on_reply)
        case "plan":
            return PlanCard(request, on_reply)
        case _:
            return ApprovalCard(request, on_reply)


def _message(ipywidgets: Any, placeholder: str) -> Any:
    return ipywidgets.Text(placeholder=placeholder, layout=ipywidgets.Layout(width="22em"))


def _row(ipywidgets: Any, children: list[Any]) -> Any:
    return ipywidgets.HBox(children, layout=ipywidgets.Layout(flex_flow="row wrap"))


def _toggle(ipywidgets: Any, label: str, description: str) -> Any:
    return ipywidgets.ToggleButton(
        description=visible(label), tooltip=visible(description), layout=ipywidgets.Layout(width="auto")
    )


def _make_exclusive(toggles: list[Any]) -> None:
    """Pressing one releases the others."""

    def release(change: Any) -> None:
        if change["new"]:
            for toggle in toggles:
                if toggle is not change["owner"]:
                    toggle.value = False

    for toggle in toggles:
        toggle.observe(release, "value")


def _chosen(toggles: list[tuple[str, Any]], own: Any, *, is_several: bool) -> tuple[str, ...]:
    words = own.value.strip()[:MAX_SELECTION]
    labels = tuple(label for label, toggle in toggles if toggle.value)
    if not words:
        return labels
    return (*labels, words) if is_several else (words,)


def _close(widget: Any) -> None:
    for child in getattr(widget, "children", ()):
        _close(child)
    widget.close()


def card_html(request: ApprovalRequest) -> str:
    """The card's text as HTML; every string of it is escaped."""
    preview = request.preview
    question = _QUESTIONS.get(str(preview.get("kind")))
    title = f"<code>{_escape(visible(request.title))}</code>"
    parts = [f"<div><b>Claw asks: {question}</b></div>" if question else f"<div><b>Claw asks:</b> {title}</div>"]
    if preview.get("kind") == "diff":
        parts.append(f'<div style="{_BOX}">{_diff_html(str(preview.get("diff", "")))}</div>')
    elif preview.get("kind") == "plan":
        plan = "\n".join(visible(line) for line in str(preview["plan"]).strip("\n").split("\n"))
        parts.append(f'<div style="{_BOX}">{_escape(plan)}</div>')
    elif shown := preview.get("visible"):
        parts.append(f'<div style="{_BOX}">{_escape(str(shown))}</div>')
    if cwd := preview.get("cwd"):
        parts.append(f"<div>in <code>{_escape(visible(str(cwd)))}</code></div>")
    if request.reason:
        parts.append(f"<div>{_sentence(request.reason)}</div>")
    if request.suggested_rules:
        rules = " ".join(f"<code>{_escape(visible(rule))}</code>" for rule in request.suggested_rules)
        parts.append(f"<div>Allow always adds the rule {rules} to this session.</div>")
    return "".join(parts)


def decided_markdown(request: ApprovalRequest, decision: str) -> str:
    """What takes the card's place once it is answered."""
    return f"{code_span(visible(request.title))} {decision}"


def _question_html(question: dict[str, Any]) -> str:
    """The question, and what each option would mean; every string is escaped."""
    parts = [f"<b>{_escape(visible(question['header']))}</b> {_escape(visible(question['question']))}"]
    parts += [
        f"<i>{_escape(visible(option['label']))}</i>: {_escape(visible(option['description']))}"
        for option in question["options"]
        if option["description"]
    ]
    return "<br>".join(parts)


def _diff_html(diff: str) -> str:
    """Each line with its colour. In a hunk, a line ``-- a comment`` that goes is ``--- a comment``, and no heading."""
    rows, is_heading = [], True
    for line in diff.removesuffix("\n").split("\n"):
        is_heading = is_heading and not line.startswith("@@")
        is_note = is_heading or line.startswith("@@")
        style = _NOTE if is_note else _ADDED if line.startswith("+") else _REMOVED if line.startswith("-") else ""
        rows.append(f'<div style="{style}">{_escape(visible(line)) or "&nbsp;"}</div>')
    return "".join(rows)


def _sentence(text: str) -> str:
    """What stands between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", _escape(visible(text)))


def _escape(text: str) -> str:
    return html.escape(text, quote=True)
