"""The tool calls of a step: prepared, judged, asked for, run, and answered with exactly one result each."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from claw_kernel._core import ToolInputError, ToolOutput
from claw_kernel.agent.cancellation import Cancellation, InterruptedTurnError
from claw_kernel.agent.turn import Turn
from claw_kernel.gate import Gate
from claw_kernel.messages import (
    Answer,
    Approval,
    ApprovalRequest,
    ApprovalRequested,
    ApprovalResolved,
    ToolCall,
    ToolFinished,
    ToolResult,
    ToolStarted,
)
from claw_kernel.messages import ToolOutput as ToolOutputEvent
from claw_kernel.tools import PreparedCall, ToolSet
from claw_kernel.tools.registry import error_result

INTERRUPTED = "Interrupted by the user; this call did not finish."
NOT_RUN = "Interrupted by the user before this call ran."
TOO_LATE = "The time limit of this turn was reached; this call did not run to its end."


class CallRunner:
    """Runs the calls of one turn. ``approvals``: what was decided, by call."""

    def __init__(
        self,
        turn: Turn,
        tools: ToolSet,
        gate: Gate,
        ways: frozenset[str],
        cancellation: Cancellation,
        refuse: Callable[[ToolCall], str] | None = None,
    ) -> None:
        """``refuse``: why a call is not to be run whatever the policy says; empty for most."""
        self._turn, self._tools, self._gate = turn, tools, gate
        self._ways, self._cancellation, self._refusal = ways, cancellation, refuse
        self.approvals: dict[str, Approval] = {}

    async def run(self, calls: list[ToolCall], results: list[ToolResult]) -> None:
        """Calls that change nothing run together, the others one after the other; ``results`` fills in call order."""
        waiting = list(calls)
        while waiting and not self._cancellation.is_cancelled:
            # A call is prepared only when all before it that may change something are done: it is judged (and its diff
            # computed) on the state it will meet.
            batch = [self._prepare(waiting.pop(0))]
            while waiting and _may_share(batch[-1]):
                following = self._prepare(waiting[0])
                if not _may_share(following):
                    break
                batch.append(following)
                waiting.pop(0)
            if len(batch) == 1:
                results.append(await self._run_call(batch[0]))
            else:
                results.extend(await asyncio.gather(*(self._run_call(ready) for ready in batch)))

    def _prepare(self, call: ToolCall) -> PreparedCall | ToolResult:
        if self._refusal is not None and (why := self._refusal(call)):
            self.approvals[call.id] = Approval(call.id, "deny", why)
            return error_result(call, why, status="denied")
        try:
            return self._tools.prepare(call)
        except ToolInputError as error:
            return error_result(call, str(error), status="invalid")

    async def _run_call(self, ready: PreparedCall | ToolResult) -> ToolResult:
        """One call from decision to result; never raises."""
        if isinstance(ready, ToolResult):
            result = ready
        else:
            try:
                result = await self._decide_and_run(ready)
            except InterruptedTurnError:
                result = error_result(ready.call, self._not_run(), title=ready.title, status="cancelled")
            except Exception as error:  # a bug in a tool must not lose the turn; the model and the record are told
                text = f"{ready.call.name} failed inside Claw: {type(error).__name__}: {error}"
                result = error_result(ready.call, text, title=ready.title, status="error")
        self._turn.emit(ToolFinished(result))
        return result

    async def _decide_and_run(self, ready: PreparedCall) -> ToolResult:
        prepared, call = ready.prepared, ready.call
        answer: Answer | None = None
        is_question = ready.asking is not None and prepared.decision != "deny"
        if prepared.decision == "ask" or is_question:
            answer = await self._ask(ready)
        self.approvals[call.id] = Approval(
            call.id,
            prepared.decision,
            prepared.reason,
            prepared.rule,
            answer.name if answer else None,
            answer.by if answer else None,
            answer.message if answer else "",
        )
        if prepared.decision == "deny":
            return self._refuse(ready, f"Denied by the permission policy: {prepared.reason}", "policy:deny")
        if answer is not None and ready.asking is not None:
            output = ready.asking.conclude(call.input, answer)
            return self._tools.finish(ready, output, f"{answer.by}:{answer.name}", 0.0)
        if answer is not None and answer.name == "deny":
            said = f": {answer.message}" if answer.message else "."
            who = "by the permission policy" if answer.by == "policy" else "by the user"
            return self._refuse(ready, f"Denied {who}{said}", f"{answer.by}:deny")
        return await self._run_allowed(ready, f"{answer.by}:{answer.name}" if answer else "")

    async def _ask(self, ready: PreparedCall) -> Answer:
        prepared = ready.prepared
        request = ApprovalRequest(
            "",
            ready.call.id,
            prepared.name,
            ready.title,
            prepared.reason,
            ready.preview,
            tuple(prepared.suggested_rules),
        )
        if ready.asking is not None:
            request = replace(request, reason="", suggested_rules=(), answers=ready.asking.answers)
        if (refusal := self._gate.refuse(request, self._ways)) is not None:
            return refusal
        announced: list[ApprovalRequest] = []

        def announce(opened: ApprovalRequest) -> None:
            announced.append(opened)
            self._turn.emit(ApprovalRequested(opened))

        try:
            with self._cancellation.asking():
                answer = await self._cancellation.until_cancelled(self._gate.ask(request, self._turn.turn_id, announce))
        except InterruptedTurnError:
            for opened in announced:
                self._turn.emit(ApprovalResolved(opened.request_id, Answer("deny", "interrupt")))
            raise
        self._turn.emit(ApprovalResolved(announced[0].request_id, answer))
        return answer

    def _refuse(self, ready: PreparedCall, text: str, answer: str) -> ToolResult:
        output = ToolOutput(_text_content(text), "error")
        result = self._tools.finish(ready, output, answer, 0.0)
        return replace(result, details={**result.details, "status": "denied"})

    async def _run_allowed(self, ready: PreparedCall, answer: str) -> ToolResult:
        call_id = ready.call.id
        emit = self._turn.emit

        def on_output(text: str, bundle: dict[str, Any] | None) -> None:
            emit(ToolOutputEvent(call_id, text, bundle))

        emit(ToolStarted(call_id, ready.prepared.name, ready.title, ready.preview))
        started = time.monotonic()
        running = self._tools.run(ready, self._turn.cancel_token, on_output)
        try:
            # Rust tools watch the token themselves and give what they have; Python tools are cancelled.
            output = await (self._cancellation.until_cancelled(running) if ready.tool is not None else running)
        except InterruptedTurnError:
            output = ToolOutput(_text_content(TOO_LATE if self._cancellation.is_expired else INTERRUPTED), "cancelled")
        return self._tools.finish(ready, output, answer, time.monotonic() - started)

    def answer_rest(self, calls: list[ToolCall], results: list[ToolResult]) -> None:
        """A result for each call that has none, because the turn was interrupted."""
        for call in calls[len(results) :]:
            missing = error_result(call, self._not_run(), status="cancelled")
            results.append(missing)
            self._turn.emit(ToolFinished(missing))

    def _not_run(self) -> str:
        return TOO_LATE if self._cancellation.is_expired else NOT_RUN


def _may_share(ready: PreparedCall | ToolResult) -> bool:
    return isinstance(ready, ToolResult) or ready.is_read_only


def _text_content(text: str) -> str:
    return json.dumps([{"type": "text", "text": text}])
