"""The kernel's end of docs/protocol.md: the control request ``claw_request``.

It is answered on the control thread, also while a cell blocks the main thread, so everything here may run at any time
beside a turn. A request is a stranger's: what does not fit gets ``status: error`` and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, get_args

from claw_kernel.messages import AnsweredBy, AnswerName
from claw_kernel.session.record import write_value
from claw_magics.busy import BusyStatus
from claw_magics.frontend import Frontend

if TYPE_CHECKING:
    from claw_magics.host import Host

VERSION = 1
_ANSWERS: tuple[AnswerName, ...] = get_args(AnswerName)
MESSAGE_TYPE = "claw_request"
_CELL_PARTS = 2
_MESSAGE_LIMIT = 10_000
"""Characters of a message to the model that goes with an answer."""


class RequestError(ValueError):
    """What is wrong with a request, for the developer of a front end."""


class Control:
    """Answers requests for ``host``. Install it once per kernel."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._busy: BusyStatus | None = None
        self._operations: dict[str, Callable[[Mapping[str, Any], str], dict[str, Any]]] = {
            "hello": self._hello,
            "sync": self._sync,
            "resolve": self._resolve,
            "interrupt": self._interrupt,
            "header": self._header,
            "notebook": self._notebook,
            "ended": self._ended,
            "use": self._use,
            "turns": self._turns,
            "saved": self._saved,
        }

    def install(self, kernel: Any) -> bool:
        """False where this kernel has no control handlers to extend; then the other ways to answer remain."""
        handlers = getattr(kernel, "control_handlers", None)
        if handlers is None:
            return False

        busy = self._busy = BusyStatus(kernel)
        busy.install()

        async def handle(stream: Any, ident: Any, parent: Mapping[str, Any]) -> None:
            reply = self.answer(parent.get("content"), str(parent.get("header", {}).get("session", "")))
            kernel.session.send(stream, "claw_reply", reply, parent, ident=ident)
            busy.say_soon()

        handlers[MESSAGE_TYPE] = handle
        return True

    def uninstall(self, kernel: Any) -> None:
        """Take the handler out again."""
        handlers = getattr(kernel, "control_handlers", None)
        if handlers is not None:
            handlers.pop(MESSAGE_TYPE, None)
        if self._busy is not None:
            self._busy.uninstall()

    def answer(self, content: Any, connection: str) -> dict[str, Any]:
        """The reply's content. ``connection`` is the session id of the front end's connection."""
        try:
            if not isinstance(content, Mapping):
                raise RequestError("the content of a claw_request is a JSON object")
            if content.get("version") != VERSION:
                raise RequestError(f"this kernel speaks version {VERSION} of the protocol")
            operation = self._operations.get(_text(content, "op"))
            if operation is None:
                raise RequestError(f"unknown op; known are {', '.join(self._operations)}")
            return {"status": "ok", **operation(content, connection)}
        except RequestError as error:
            return {"status": "error", "message": str(error)}
        except Exception as error:  # a front end must get a reply to everything it asks
            return {"status": "error", "message": f"{type(error).__name__}: {error}"}

    def _hello(self, content: Mapping[str, Any], connection: str) -> dict[str, Any]:
        header = content.get("header")
        records = content.get("records", [])
        if header is not None and not isinstance(header, Mapping):
            raise RequestError("header is an object or null")
        if not isinstance(records, list):
            raise RequestError("records is a list")
        ui, version = _text(content, "ui"), _text(content, "ui_version", "")
        path = _text(content, "path", "")
        outline = _outline(content)
        self._host.greet(connection, Frontend(ui, version, path, has_extension=True), header, records)
        self._host.outlines.take(connection, *outline)
        return {"session_id": self._host.session.session_id, **self._sync(content, connection)}

    def _sync(self, _content: Mapping[str, Any], _connection: str) -> dict[str, Any]:
        host, gate = self._host, self._host.gate
        pending = (
            [{**write_value(asked), "turn_id": gate.turn_of(asked.request_id) or ""} for asked in gate.pending()]
            if gate is not None
            else []
        )
        return {
            "kernel_id": host.kernel_id,
            "pending": pending,
            "turns": host.drawn.documents(),
            "header": host.session.header(),
        }

    def _resolve(self, content: Mapping[str, Any], connection: str) -> dict[str, Any]:
        request_id = _text(content, "request_id")
        answer = next((name for name in _ANSWERS if name == content.get("answer")), None)
        if answer is None:
            raise RequestError(f"answer is one of {', '.join(_ANSWERS)}")
        message = _text(content, "message", "")[:_MESSAGE_LIMIT]
        selections = _selections(content)
        gate = self._host.gate
        by: AnsweredBy = "stdin" if self._host.is_terminal(connection) else "extension"
        try:
            is_accepted = gate is not None and gate.resolve(request_id, answer, by, message, selections)
        except ValueError as error:
            raise RequestError(str(error)) from None
        return {
            "is_accepted": is_accepted,
            "answered_by": by if is_accepted else self._host.drawn.answered_by(request_id),
        }

    def _interrupt(self, content: Mapping[str, Any], _connection: str) -> dict[str, Any]:
        turn_id = _text(content, "turn_id")
        turn = self._host.current_turn
        is_running = turn is not None and turn.turn_id == turn_id and not turn.is_finished
        if turn is not None and is_running:
            turn.cancel()
        return {"is_running": is_running}

    def _saved(self, content: Mapping[str, Any], _connection: str) -> dict[str, Any]:
        from claw_magics.recovery import forget

        forget(self._host, _texts(content, "turns"))
        return {}

    def _notebook(self, content: Mapping[str, Any], connection: str) -> dict[str, Any]:
        self._host.outlines.take(connection, *_outline(content))
        return {}

    def _ended(self, _content: Mapping[str, Any], connection: str) -> dict[str, Any]:
        return {"header": self._host.session.header(), "run": self._host.take_runs(connection)}

    def _use(self, content: Mapping[str, Any], _connection: str) -> dict[str, Any]:
        from claw_kernel.errors import SessionError
        from claw_magics.branches import go_to

        try:
            go_to(self._host, _text(content, "turn_id"))
        except SessionError as error:
            raise RequestError(str(error)) from None
        return {"header": self._host.session.header()}

    def _turns(self, content: Mapping[str, Any], _connection: str) -> dict[str, Any]:
        from claw_magics.branches import bundles

        return {"turns": bundles(self._host, set(_texts(content, "turns")))}

    def _header(self, _content: Mapping[str, Any], _connection: str) -> dict[str, Any]:
        return {"header": self._host.session.header()}


def _text(content: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = content.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, str) or (default is None and not value):
        raise RequestError(f"{name} is a text")
    return value


def _texts(content: Mapping[str, Any], name: str) -> list[str]:
    value = content.get(name, [])
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise RequestError(f"{name} is a list of texts")
    return value


def _outline(content: Mapping[str, Any]) -> tuple[list[tuple[str, list[str]]], dict[str, bool]]:
    """``cells`` and ``runs`` of a request."""
    cells, runs = content.get("cells", []), content.get("runs", {})
    if not isinstance(cells, list) or not all(
        isinstance(cell, list)
        and len(cell) == _CELL_PARTS
        and isinstance(cell[0], str)
        and isinstance(cell[1], list)
        and all(isinstance(turn_id, str) for turn_id in cell[1])
        for cell in cells
    ):
        raise RequestError("cells is a list of [cell id, [turn ids]]")
    if not isinstance(runs, Mapping) or not all(isinstance(value, bool) for value in runs.values()):
        raise RequestError("runs is an object of cell ids with true or false")
    return [(cell[0], cell[1]) for cell in cells], dict(runs)


def _selections(content: Mapping[str, Any]) -> tuple[tuple[str, ...], ...]:
    value = content.get("selections", [])
    if not isinstance(value, list) or not all(
        isinstance(chosen, list) and all(isinstance(text, str) for text in chosen) for chosen in value
    ):
        raise RequestError("selections is a list of lists of texts")
    return tuple(tuple(chosen) for chosen in value)
