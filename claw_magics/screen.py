"""Where a turn is drawn: a cell of a notebook, or a console. Nothing else publishes or prints."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Protocol

from claw_kernel.session.record import MIME_TYPE
from claw_magics.exchange import todo_lines, todos_of_call
from claw_magics.render import approvals_by_call, finished_call, plain_call, plain_end, printable, render_bundle
from claw_magics.view import TurnView

OnDrawn = Callable[[dict[str, Any]], None]
"""Called with each bundle that was drawn."""


class Screen(Protocol):
    """One turn's place."""

    def draw(self, view: TurnView) -> int:
        """Draw the turn as it is now and return roughly how many bytes went out."""
        ...

    def show(self, bundle: dict[str, Any]) -> None:
        """Show an output (a figure) of code that a tool ran."""
        ...


class CellScreen:
    """One display per turn, updated in place. ``has_extension``: figures are drawn inside the turn, not beside it."""

    def __init__(self, ip: Any, turn_id: str, on_drawn: OnDrawn, *, has_extension: bool) -> None:
        self._ip, self._turn_id, self._on_drawn, self._has_extension = ip, turn_id, on_drawn, has_extension
        self._is_open = False

    def draw(self, view: TurnView) -> int:
        bundle = render_bundle(view.document())
        self._on_drawn(bundle)  # first: a page that reacts to the message asks for what was drawn
        publish(self._ip, bundle, display_id=f"claw-{self._turn_id}", is_update=self._is_open)
        self._is_open = True
        return view.step_bytes + 2 * len(bundle["text/markdown"]) + len(bundle["text/plain"])

    def show(self, bundle: dict[str, Any]) -> None:
        if not self._has_extension:
            publish(self._ip, bundle)


class ConsoleScreen:
    """Prints what is new and never repeats itself; the record follows at the end as an output that consoles do not print."""

    def __init__(self, ip: Any, on_drawn: OnDrawn, *, has_kernel: bool) -> None:
        self._ip, self._on_drawn, self._has_kernel = ip, on_drawn, has_kernel
        self._noticed: set[str] = set()
        self._steps = 0
        self._text = ""
        self._calls: set[str] = set()
        self._todo_count = 0
        self._is_line_open = False

    def draw(self, view: TurnView) -> int:
        document = view.document()
        approvals = approvals_by_call(document)
        written = 0
        for notice in [text for text in document.get("notices", ()) if text not in self._noticed]:
            self._noticed.add(notice)
            written += self._line(f"[{printable(notice)}]")
        for step in document["steps"][self._steps :]:
            results = {result["call_id"]: result for result in step.get("results", ())}
            text = "".join(block["text"] for block in step["content"] if block["type"] == "text")
            written += self._stream(text)
            for block in step["content"]:
                if block["type"] == "tool_call" and block["id"] not in self._calls:
                    written += self._call(finished_call(block, results), approvals)
            self._steps, self._text = self._steps + 1, ""
            self._calls.clear()
        live = document.get("live") or {}
        if live:
            written += self._stream(live.get("text", ""))
        for call in live.get("calls", ()):
            if "result" in call and call["call_id"] not in self._calls:
                self._calls.add(call["call_id"])
                written += self._call(call, approvals)
        if not live:
            for line in plain_end(document):
                written += self._line(line)
        sys.stdout.flush()
        if not live:
            bundle = render_bundle(document)
            self._on_drawn(bundle)
            if self._has_kernel:
                publish(self._ip, {MIME_TYPE: bundle[MIME_TYPE]})
        return written

    def show(self, bundle: dict[str, Any]) -> None:
        publish(self._ip, bundle)

    def _call(self, call: dict[str, Any], approvals: dict[str, dict[str, Any]]) -> int:
        """A call that is done; of a list of steps all where the steps are new, and the title where only their state is."""
        written = self._line(plain_call(call, approvals.get(call["call_id"])))
        todos = todos_of_call(call)
        if todos is not None and len(todos) != self._todo_count:
            self._todo_count = len(todos)
            for line in todo_lines(todos):
                written += self._line(f"    {printable(line)}")
        return written

    def _stream(self, text: str) -> int:
        """Print what ``text`` has beyond what was printed of it."""
        if not text.startswith(self._text):  # the stream broke and began again
            self._line("")
            self._text = ""
        new, self._text = text[len(self._text) :], text
        if new:
            sys.stdout.write(printable(new))
            self._is_line_open = not new.endswith("\n")
        return len(new)

    def _line(self, text: str) -> int:
        start = "\n" if self._is_line_open else ""
        self._is_line_open = False
        sys.stdout.write(f"{start}{text}\n" if text else start)
        return len(text)


def publish(ip: Any, bundle: dict[str, Any], *, display_id: str = "", is_update: bool = False) -> None:
    """Send a display message of the running cell."""
    transient = {"display_id": display_id} if display_id else {}
    ip.display_pub.publish(bundle, {}, transient=transient, update=is_update)
