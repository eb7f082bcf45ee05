"""Who can answer an approval in this cell, and opening and closing those ways. Every answer goes to ``gate.resolve``."""

from __future__ import annotations

import importlib.util
import sys
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from claw_kernel.late_dataclass import dataclass
from claw_kernel.messages import Answer, AnsweredBy, ApprovalRequest
from claw_kernel.question import Dialog, Reply, open_dialog
from claw_kernel.session.record import scrub
from claw_magics.render import decision_text
from claw_magics.screen import publish
from claw_magics.stdin import Prompt

if TYPE_CHECKING:
    from claw_kernel.gate import Gate
    from claw_magics.widgets import Card

Way: TypeAlias = Literal["extension", "widget", "stdin"]


@dataclass(frozen=True)
class CellFacts:
    """What is known of the front end whose cell runs.

    ``has_extension``: the connection that sent the cell has said hello. ``has_cells``: it is a notebook, whose widgets
    can be clicked. ``can_pump``: clicks reach the kernel while the cell awaits. ``is_blocking``: the cell cannot await.
    """

    has_extension: bool = False
    has_cells: bool = False
    allows_stdin: bool = False
    can_pump: bool = False
    is_blocking: bool = False


def detect_ways(setting: str, facts: CellFacts) -> tuple[Way, ...]:
    """The ways to answer, best first; empty where nobody can. ``setting`` is ``auto``, one way's name, or ``none``."""
    can_click = facts.has_cells and facts.can_pump and not facts.is_blocking and has_ipywidgets()
    possible: dict[Way, bool] = {
        "extension": facts.has_extension,
        "widget": can_click,
        "stdin": facts.allows_stdin,
    }
    wanted = [way for way in possible if setting in ("auto", way)]
    # One way is enough: a second card or input box for the same question would stay behind unanswered.
    return next(((way,) for way in wanted if possible[way]), ())


def has_ipywidgets() -> bool:
    """Without importing it."""
    return "ipywidgets" in sys.modules or importlib.util.find_spec("ipywidgets") is not None


class Approvals:
    """The open requests of one cell. ``post`` runs a function on the reader's thread, from any thread; ``on_resolved`` is
    told who answered which request."""

    def __init__(
        self,
        ip: Any,
        gate: Gate,
        ways: tuple[Way, ...],
        prompt: Prompt | None,
        post: Callable[[Callable[[], Any]], Any],
        on_resolved: Callable[[str, AnsweredBy], None],
    ) -> None:
        self._ip, self._gate, self._ways, self._prompt, self._post = ip, gate, ways, prompt, post
        self._on_resolved = on_resolved
        self._requests: dict[str, ApprovalRequest] = {}
        self._cards: dict[str, Card] = {}
        self._to_ask: deque[ApprovalRequest] = deque()
        self._asking: ApprovalRequest | None = None
        self._dialog: Dialog | None = None

    def open(self, request: ApprovalRequest) -> None:
        """Ask by every way there is. The extension needs nothing: it draws what is pending."""
        self._requests[request.request_id] = request
        if "widget" in self._ways:
            try:
                self._show_card(request)
            except Exception as error:  # a broken or ill-matched ipywidgets: nobody could ever answer
                self._give_up(request, error)
        if "stdin" in self._ways:
            self._to_ask.append(request)

    def close(self, request_id: str, answer: Answer) -> None:
        """Somebody answered, or the request lapsed: take back every other way."""
        request = self._requests.pop(request_id, None)
        if request is None:
            return
        self._on_resolved(request_id, answer.by)
        card = self._cards.pop(request_id, None)
        if card is not None:
            self._replace_card(card, request, answer)
        if request in self._to_ask:
            self._to_ask.remove(request)
        if self._asking is request:
            self._asking = self._dialog = None
            if self._prompt is not None:
                self._prompt.abandon()

    def poll(self) -> None:
        """Ask the next question by stdin, or take its answer. Called by the reader a few times a second."""
        if self._prompt is None:
            return
        if self._asking is None and self._to_ask:
            self._asking = self._to_ask.popleft()
        if self._asking is None:
            return
        try:
            self._poll(self._prompt, self._asking)
        except Exception as error:  # the front end is gone, or its stdin is closed
            asked, self._asking, self._dialog = self._asking, None, None
            self._give_up(asked, error)

    def _poll(self, prompt: Prompt, asking: ApprovalRequest) -> None:
        if self._dialog is None:
            self._dialog = open_dialog(asking)
            self._ask(prompt, self._dialog)
        line = prompt.poll()
        if line is None:
            return
        reply = self._dialog.take(line)
        if reply is None:
            self._ask(prompt, self._dialog)
            return
        self._asking = self._dialog = None
        self._resolve(asking, reply, "stdin")

    @staticmethod
    def _ask(prompt: Prompt, dialog: Dialog) -> None:
        sys.stdout.write(dialog.show())
        prompt.ask(dialog.prompt())

    def _resolve(self, request: ApprovalRequest, reply: Reply, by: AnsweredBy) -> None:
        self._gate.resolve(request.request_id, reply.answer, by, reply.message, reply.selections)

    def _give_up(self, request: ApprovalRequest, error: Exception) -> None:
        """A question that cannot be asked is a no, with the reason."""
        reason = f"the question could not be asked ({type(error).__name__}: {error})"
        self._gate.resolve(request.request_id, "deny", "policy", reason)

    def close_all(self) -> None:
        """The cell ends: nothing may stay open."""
        for request_id in list(self._requests):
            self.close(request_id, Answer("deny", "interrupt"))

    def _show_card(self, request: ApprovalRequest) -> None:
        from claw_magics.widgets import open_card

        def on_reply(reply: Reply) -> None:
            # In a thread of the front end's choosing: the answer is given where the reader is.
            self._post(lambda: self._resolve(request, reply, "widget"))

        card = open_card(request, on_reply)
        self._cards[request.request_id] = card
        publish(self._ip, card.mimebundle(request), display_id=f"claw-approval-{request.request_id}")

    def _replace_card(self, card: Card, request: ApprovalRequest, answer: Answer) -> None:
        from claw_magics.widgets import decided_markdown

        card.close()
        entry = {"decision": "ask", "reason": request.reason, "answer": answer.name, "answered_by": answer.by}
        said = answer.message or "; ".join(", ".join(chosen) for chosen in answer.selections)
        decision = decision_text({**entry, "message": said})
        if answer.by == "interrupt":
            decision = "lapsed: the turn was interrupted"
        bundle = {"text/markdown": decided_markdown(request, decision), "text/plain": f"{request.title} {decision}"}
        bundle = scrub(bundle, self._gate.core.redact)  # it is saved with the notebook
        publish(self._ip, bundle, display_id=f"claw-approval-{request.request_id}", is_update=True)
