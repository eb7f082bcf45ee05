"""The Claw kernel: an IPython kernel whose plain cells are prompts.

It is a Python kernel underneath, so that ``%%python``, ``!`` and ``%`` cells, widgets and plots work in one live
namespace. What a cell means is decided by the extension ``claw_magics``, which is loaded by its name; this module
reaches it only through ``shell.claw_host``.
"""

from __future__ import annotations

import inspect
import os
import re
import signal
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from ipykernel.ipkernel import IPythonKernel

from claw_kernel import __version__

EXTENSION = "claw_magics"
_PYTHON_CELL = re.compile(r"\s*%%python[ \t]*(?:\r?\n|\Z)")
_FENCE = re.compile(r"(?P<mark>`{3,}|~{3,})")
_COMPLETION_TYPES = "_jupyter_types_experimental"


class ClawKernel(IPythonKernel):
    """Each cell is a prompt; ``/command``, ``%%python``, ``%`` and ``!`` say otherwise."""

    implementation = "claw"
    implementation_version = __version__
    language_info = {  # noqa: RUF012  (the base class's trait has this form)
        "name": "claw",
        "version": __version__,
        "mimetype": "text/markdown",
        "file_extension": ".md",
        "codemirror_mode": "markdown",
        "pygments_lexer": "markdown",
        "nbconvert_exporter": "markdown",
    }
    banner = f"Claw {__version__}: each cell is a request to the agent; /help lists the commands, %%python runs Python."
    help_links = []  # noqa: RUF012

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]
        assert self.shell is not None
        self.shell.extension_manager.load_extension(EXTENSION)
        host = self._host
        if host is None:
            self.log.error("The IPython extension %s could not be loaded: install claw-jupyter anew.", EXTENSION)
        else:
            host.is_claw_kernel = True

    @property
    def _host(self) -> Any:
        """``claw_magics.host.Host``, or None where the extension is not loaded."""
        return getattr(self.shell, "claw_host", None)

    @property
    def kernel_info(self) -> dict[str, Any]:
        """Without "debugger": the cells are prompts, which have no lines to stop at."""
        found = dict(super().kernel_info)
        features = found.get("supported_features")
        if isinstance(features, list):
            found["supported_features"] = [feature for feature in features if feature != "debugger"]
        if "debugger" in found:
            found["debugger"] = False
        return found

    async def do_execute(
        self,
        code: str,
        silent: bool,
        store_history: bool = True,
        user_expressions: Mapping[str, str] | None = None,
        allow_stdin: bool = False,
        *,
        cell_meta: Mapping[str, Any] | None = None,
        cell_id: str | None = None,
    ) -> Any:
        """Silent requests are a front end's own Python; all others mean what ``claw_magics`` makes of them."""
        host = self._host
        announced = nullcontext() if host is None or silent else host.expected_cell(code)
        with announced:
            return await super().do_execute(  # type: ignore[no-untyped-call]
                code, silent, store_history, user_expressions, allow_stdin, cell_meta=cell_meta, cell_id=cell_id
            )

    async def interrupt_request(self, stream: Any, ident: Any, parent: Any) -> None:
        """On the control thread, also while the main thread computes: the turn is cancelled from here (which interrupts the
        agent's code too). Where no turn runs, or cancelling did not end it, the signal does what it does to any kernel."""
        host = self._host
        turn = host.current_turn if host is not None else None
        was_cancelled = turn is not None and turn.cancel_token.is_cancelled
        if turn is not None:
            turn.cancel()
        content: dict[str, Any] = {"status": "ok"}
        if turn is None or was_cancelled:
            try:
                self._interrupt_main_thread()
            except OSError as error:
                content = {"status": "error", "ename": type(error).__name__, "evalue": str(error), "traceback": []}
        assert self.session is not None
        self.session.send(stream, "interrupt_reply", content, parent, ident=ident)

    def _interrupt_main_thread(self) -> None:
        if os.name == "nt":
            signal.raise_signal(signal.SIGINT)
        else:
            # To this process alone: programs of the tools are in groups of their own and are ended by the turn.
            os.kill(os.getpid(), signal.SIGINT)

    async def do_complete(self, code: str, cursor_pos: int) -> dict[str, Any]:
        """Commands, ``@`` paths and variables in prompts; Python where the cell is Python."""
        host = self._host
        if host is None or _is_ipython(code):
            return await self._python_complete(code, cursor_pos)
        found = host.complete(code, len(code) if cursor_pos is None else cursor_pos)
        types = [
            {"start": found.start, "end": found.end, "text": match, "type": kind}
            for match, kind in zip(found.matches, found.types, strict=False)
        ]
        return {
            "status": "ok",
            "matches": list(found.matches),
            "cursor_start": found.start,
            "cursor_end": found.end,
            "metadata": {_COMPLETION_TYPES: types} if types else {},
        }

    async def _python_complete(self, code: str, cursor_pos: int) -> dict[str, Any]:
        skipped, python = _python_part(code)
        reply = super().do_complete(python, max(0, cursor_pos - skipped))  # type: ignore[no-untyped-call]
        found: dict[str, Any] = dict(await reply if inspect.isawaitable(reply) else reply)
        found["cursor_start"] += skipped
        found["cursor_end"] += skipped
        # Positions of the typed matches count from the same place.
        found["metadata"] = {
            key: [{**item, "start": item["start"] + skipped, "end": item["end"] + skipped} for item in items]
            for key, items in found.get("metadata", {}).items()
        }
        return found

    async def do_inspect(
        self, code: str, cursor_pos: int, detail_level: int = 0, omit_sections: Any = ()
    ) -> dict[str, Any]:
        """A command's help, or what Python knows of the name at the cursor."""
        host = self._host
        if host is not None and code.lstrip().startswith("/"):
            text = host.inspect_command(code.strip())
            data = {"text/plain": text, "text/markdown": text} if text else {}
            return {"status": "ok", "found": bool(text), "data": data, "metadata": {}}
        skipped, python = _python_part(code)
        reply = super().do_inspect(python, max(0, cursor_pos - skipped), detail_level, omit_sections)  # type: ignore[no-untyped-call]
        found: dict[str, Any] = await reply if inspect.isawaitable(reply) else reply
        return found

    async def do_is_complete(self, code: str) -> dict[str, Any]:
        """A prompt goes on behind a trailing backslash and inside an open fence; Python by Python's rules."""
        if _is_ipython(code):
            reply = super().do_is_complete(_python_part(code)[1])  # type: ignore[no-untyped-call]
            found: dict[str, Any] = await reply if inspect.isawaitable(reply) else reply
            return found
        if code.rstrip(" \t").endswith("\\") or _is_inside_fence(code):
            return {"status": "incomplete", "indent": ""}
        return {"status": "complete"}

    def do_history(  # type: ignore[override]
        self, hist_access_type: str, output: Any, raw: Any, session: int = 0, **options: Any
    ) -> Any:
        """IPython calls the running session 0 even where it was asked for by its number; the protocol knows only numbers."""
        reply = super().do_history(hist_access_type, output, raw, session, **options)  # type: ignore[no-untyped-call]
        if hist_access_type == "range" and session > 0:
            reply["history"] = [(session, *entry[1:]) for entry in reply["history"]]
        return reply


def _is_ipython(code: str) -> bool:
    return code.lstrip()[:1] in ("%", "!")


def _python_part(code: str) -> tuple[int, str]:
    """How many characters ``%%python`` takes at the start, and the code behind it."""
    match = _PYTHON_CELL.match(code)
    skipped = match.end() if match else 0
    return skipped, code[skipped:]


def _is_inside_fence(code: str) -> bool:
    mark = ""
    for line in code.split("\n"):
        match = _FENCE.match(line.lstrip(" "))
        if match is None:
            continue
        if not mark:
            mark = match["mark"]
        elif line.strip() == line.strip()[0] * len(line.strip()) and line.strip().startswith(mark):
            mark = ""
    return bool(mark)
