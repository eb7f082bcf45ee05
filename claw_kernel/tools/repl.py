"""``REPL``: a Python of the agent's own, in a confined process beside the user's. Its variables stay from call to call."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from typing import Annotated, Any, Literal

from claw_kernel._core import Core, Process, ToolInputError, ToolOutput, visible
from claw_kernel.messages import Limit, ToolSpec
from claw_kernel.tools.arguments import Ge, Le, MaxLen, arguments, check_arguments, doc, schema_of
from claw_kernel.tools.interpreter import KEPT_CHARS, Interpreter, Ran
from claw_kernel.tools.interpreter_child import MOST_FIGURES
from claw_kernel.tools.python import code_title
from claw_kernel.tools.registry import Intent, OnOutput, text_output

NAME = "REPL"
TIMEOUT_SECONDS = 120
LONGEST_TIMEOUT_SECONDS = 600
"""As of Bash."""
LONGEST_CODE = 100_000


@arguments
class REPLArguments:
    code: Annotated[str, MaxLen(LONGEST_CODE)] = ""
    reset: Annotated[bool, doc("Begin with a fresh interpreter.")] = False
    timeout_seconds: Annotated[int, Ge(1), Le(LONGEST_TIMEOUT_SECONDS)] = TIMEOUT_SECONDS
    language: Literal["python"] = "python"


class REPL:
    spec = ToolSpec(
        NAME,
        "Run Python in an interpreter of your own, apart from the user's notebook: their variables are not there, and what "
        "you assign stays until the session ends. Printed text, the value of the last expression and matplotlib figures "
        "come back. Use it for calculations and trying things out; use the Python tool for the user's variables.",
        schema_of(REPLArguments),
        effects=("start",),
        limits=(
            Limit("for a call, unless it asks for more", TIMEOUT_SECONDS, "seconds"),
            Limit("at most", LONGEST_TIMEOUT_SECONDS, "seconds"),
            Limit("characters of code", LONGEST_CODE),
            Limit("characters of what is printed", KEPT_CHARS),
            Limit("figures", MOST_FIGURES),
        ),
        is_deferred=True,
    )

    def __init__(self, core: Core) -> None:
        self._core = core
        self._interpreter: Interpreter | None = None
        self._lost = ""
        """Why the state of earlier calls is gone, until the model was told."""
        self._lock = asyncio.Lock()

    def intend(self, arguments: dict[str, Any]) -> Intent:
        asked = check_arguments(REPLArguments, arguments, NAME)
        if not asked.code.strip() and not asked.reset:
            raise ToolInputError(f"{NAME}: code is empty.")
        title = code_title(asked.code) or "(reset)"
        preview = {"kind": "code", "code": asked.code, "visible": visible(asked.code)}
        return Intent(f"{NAME}: {title}", _EFFECTS, preview, is_read_only=False)

    async def run(self, arguments: dict[str, Any], on_output: OnOutput) -> ToolOutput:
        asked = check_arguments(REPLArguments, arguments, NAME)
        async with self._lock:
            if asked.reset and self._interpreter is not None:
                self._interpreter.kill()
                self._interpreter = None
            if asked.reset:
                self._lost = ""
            if not asked.code.strip():
                return text_output("The next call begins with a fresh interpreter.")
            try:
                if self._interpreter is None:
                    self._interpreter = await asyncio.to_thread(Interpreter, self._start)
            except OSError as error:
                return text_output(f"The interpreter cannot be started: {error}", is_error=True)
            lost, self._lost = self._lost, ""
            ran = await self._run(self._interpreter, asked, on_output)
        return _output(ran, lost)

    async def _run(self, interpreter: Interpreter, asked: REPLArguments, on_output: OnOutput) -> Ran:
        stop = threading.Event()

        def show(text: str) -> None:
            on_output(self._core.redact(text), None)

        running = asyncio.ensure_future(
            asyncio.to_thread(interpreter.run, asked.code, asked.timeout_seconds, stop, show)
        )
        try:
            ran = await asyncio.shield(running)
        except asyncio.CancelledError:
            stop.set()
            ran = await running
            self._note(ran)
            # The turn is over for the model, which gets no answer to this call.
            self._lost = ran.died
            raise
        self._note(ran)
        return ran

    def _note(self, ran: Ran) -> None:
        if ran.died:
            self._interpreter = None

    def _start(self, argv: list[str]) -> Process:
        prepared = self._core.prepare(NAME, "{}", json.dumps(_EFFECTS))
        return self._core.spawn(prepared, argv, environment={"MPLBACKEND": "agg"})


_EFFECTS = ({"effect": "start", "argv": [sys.executable]},)


def _output(ran: Ran, lost: str) -> ToolOutput:
    parts = [f"[The interpreter of the earlier calls is gone: {lost}. This is a fresh one.]"] if lost else []
    parts += [ran.printed.rstrip("\n"), ran.text]
    if ran.status == "timed_out":
        parts.append("[Stopped: it took longer than timeout_seconds.]")
    elif ran.status == "interrupted":
        parts.append("[Interrupted.]")
    if ran.died:
        parts.append(
            f"[The interpreter is gone: {ran.died}. All its variables are lost; the next call starts a fresh one.]"
        )
    text = "\n".join(part for part in parts if part.strip())
    content: list[dict[str, str]] = [{"type": "text", "text": text or "(no output)"}]
    content += [{"type": "image", "media_type": "image/png", "data": image} for image in ran.images]
    status: Literal["ok", "error", "cancelled", "timed_out"] = (
        "cancelled" if ran.status == "interrupted" else ran.status
    )
    return ToolOutput(json.dumps(content), "error" if ran.died and status == "ok" else status)
