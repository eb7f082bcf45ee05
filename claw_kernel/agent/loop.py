"""The loop of one turn, to be read aloud: limits, request, stream, tool calls, results, again.

Runs on the engine's event loop. Whatever happens, the record it leaves has exactly one result for each tool call, and the
last event is ``TurnFinished``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any, TypeVar, assert_never

from claw_kernel._core import ToolInputError, ToolOutput
from claw_kernel.agent.turn import Turn
from claw_kernel.errors import ClawError, ProtocolError
from claw_kernel.gate import Gate
from claw_kernel.messages import (
    Answer,
    Approval,
    ApprovalRequest,
    ApprovalRequested,
    ApprovalResolved,
    Message,
    MessageFinished,
    ModelRequest,
    ModelStop,
    ProviderNotice,
    Step,
    StepFinished,
    StepStarted,
    StopReason,
    StreamRestarted,
    TextBlock,
    TextDelta,
    ThinkingBlock,
    ThinkingDelta,
    ToolCall,
    ToolCallDelta,
    ToolFinished,
    ToolResult,
    ToolStarted,
    TurnError,
    TurnRecord,
    Usage,
)
from claw_kernel.messages import ToolOutput as ToolOutputEvent
from claw_kernel.providers import Provider
from claw_kernel.session.session import append_message
from claw_kernel.tools import AskingTool, PreparedCall, ToolSet
from claw_kernel.tools.registry import error_result

T = TypeVar("T")

INTERRUPTED = "Interrupted by the user; this call did not finish."
NOT_RUN = "Interrupted by the user before this call ran."
MAX_NOTICES = 20
GO_ON = "[The connection was lost while you answered. Everything above arrived; go on exactly where it ends.]"
MAX_GO_ON = 3
"""How often in a row an answer that was cut off is asked to go on, after what the provider itself tried again."""


class _InterruptedError(Exception):
    """The turn was cancelled while something was awaited."""


@dataclass(frozen=True, slots=True)
class Limits:
    """``max_turns`` counts model requests; ``max_cost_usd`` is checked before each request but the first."""

    max_turns: int
    max_cost_usd: float | None
    max_tokens: int


Price = Callable[[str, Usage], float | None]
"""``(provider/model, usage)`` to US dollars, or None where the price is unknown. May block on first use: it loads a table."""


class TurnLoop:
    """One run of the loop. ``messages`` is the transcript up to and with the prompt; it grows with the turn."""

    def __init__(
        self,
        turn: Turn,
        *,
        provider: Provider,
        model: str,
        system: str,
        messages: list[Message],
        tools: ToolSet,
        gate: Gate,
        ways: frozenset[str],
        limits: Limits,
        price: Price,
    ) -> None:
        self.turn = turn
        self._provider, self._model, self._system = provider, model, system
        self._messages, self._tools, self._gate = messages, tools, gate
        self._ways, self._limits, self._price = ways, limits, price
        self._record = turn.record
        self._steps: list[Step] = []
        self._approvals: dict[str, Approval] = {}
        self._partial: list[str] = []
        self._lost = 0
        self._cancelled = asyncio.Event()
        loop = asyncio.get_running_loop()

        def cancel() -> None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._cancelled.set)

        turn.when_cancelled(cancel)

    async def run(self) -> StopReason:
        """All steps of the turn. Raises ClawError for what ends it, ``_InterruptedError`` where it was cancelled."""
        while True:
            if (reason := await self._limit_reached()) is not None:
                return reason
            index = len(self._steps)
            self.turn.emit(StepStarted(index))
            try:
                answer = await self._until_cancelled(self._request())
            except _InterruptedError:
                self._keep_partial_answer(index)
                raise
            append_message(self._messages, answer.message)
            calls = [block for block in answer.message.content if isinstance(block, ToolCall)]
            results: list[ToolResult] = []
            try:
                if calls:
                    await self._run_calls(calls, results)
            finally:
                self._finish_step(index, answer, calls, results)
            if self._is_cancelled:
                raise _InterruptedError
            output = self.turn.output
            if output is not None and output.has_result:
                return "end_turn"
            if answer.incomplete:
                self._lost = 0 if calls else self._lost + 1
                if self._lost > MAX_GO_ON:
                    raise ProtocolError(f"The answer was cut off: {answer.incomplete}.", "Run the cell again to go on.")
                self._say(f"{answer.incomplete}; what had arrived is kept, and the model goes on from there")
                continue
            self._lost = 0
            if not calls:
                if output is not None and _stop_reason(answer.stop) == "end_turn":
                    raise ClawError("The model ended without a result that fits the schema.", "Run it again.")
                return _stop_reason(answer.stop)

    @property
    def record(self) -> TurnRecord:
        """The record so far."""
        return self._record

    # --- limits ---

    async def _limit_reached(self) -> StopReason | None:
        if len(self._steps) >= self._limits.max_turns:
            return "max_turns"
        limit = self._limits.max_cost_usd
        if limit is None or not self._steps:
            return None
        cost = await asyncio.to_thread(self._price, self._record.model, self._record.usage)
        if cost is None:
            raise ClawError(
                f"A cost limit is set, but the price of {self._record.model} is unknown.",
                "Add it under `prices` in the settings, or remove the limit.",
            )
        return "max_cost" if cost >= limit else None

    # --- the request ---

    def _keep_partial_answer(self, index: int) -> None:
        """What the person has seen of an interrupted answer stays in the transcript, so that they can refer to it."""
        text = "".join(self._partial)
        if text.strip():
            message = Message("assistant", (TextBlock(text),))
            append_message(self._messages, message)
            self._finish_step(index, MessageFinished(message, Usage(), "other"), [], [])

    async def _request(self) -> MessageFinished:
        self._partial = []
        messages = tuple(self._messages)
        if messages[-1].role == "assistant":
            # The answer so far is whole text without a call. The request to go on is no part of the transcript: what
            # comes is joined to what is there.
            messages = (*messages, Message("user", (TextBlock(GO_ON),)))
        request = ModelRequest(self._model, self._system, messages, self._tools.specs, self._limits.max_tokens)
        emit = self.turn.emit
        stream = self._provider.stream(request)
        try:
            async for event in stream:
                match event:
                    case MessageFinished():
                        finished = replace(event, message=self._tools.with_own_names(event.message))
                        emit(finished)
                        return finished
                    case ProviderNotice():
                        if not event.is_passing:
                            self._note(event.text)
                        emit(event)
                    case TextDelta():
                        self._partial.append(event.text)
                        emit(event)
                    case StreamRestarted():
                        self._partial = []
                        emit(event)
                    case ThinkingDelta() | ToolCallDelta():
                        emit(event)
                    case _:
                        assert_never(event)
        finally:
            if (close := getattr(stream, "aclose", None)) is not None:
                await close()
        raise ProtocolError(f"{self._provider.name} ended its answer without a final message.", "Try again.")

    # --- tool calls ---

    async def _run_calls(self, calls: list[ToolCall], results: list[ToolResult]) -> None:
        """Calls that change nothing run together, the others one after the other; ``results`` fills in call order."""
        waiting = list(calls)
        while waiting and not self._is_cancelled:
            # A call is prepared only when all before it that may change something are done: it is judged (and its diff
            # computed) on the state it will meet.
            batch = [self._prepare(waiting.pop(0))]
            while waiting and _may_share(batch[-1]):
                following = self._prepare(waiting[0])
                if not _may_share(following):
                    break
                batch.append(following)
                waiting.pop(0)
            results.extend(await asyncio.gather(*(self._run_call(ready) for ready in batch)))

    def _prepare(self, call: ToolCall) -> PreparedCall | ToolResult:
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
            except _InterruptedError:
                result = error_result(ready.call, NOT_RUN, title=ready.title, status="cancelled")
            except Exception as error:  # a bug in a tool must not lose the turn; the model and the record are told
                text = f"{ready.call.name} failed inside Claw: {type(error).__name__}: {error}"
                result = error_result(ready.call, text, title=ready.title, status="error")
        self.turn.emit(ToolFinished(result))
        return result

    async def _decide_and_run(self, ready: PreparedCall) -> ToolResult:
        prepared, call = ready.prepared, ready.call
        answer: Answer | None = None
        is_question = isinstance(ready.tool, AskingTool) and prepared.decision != "deny"
        if prepared.decision == "ask" or is_question:
            answer = await self._ask(ready)
        self._approvals[call.id] = Approval(
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
        if answer is not None and isinstance(ready.tool, AskingTool):
            output = ready.tool.conclude(call.input, answer)
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
        if isinstance(ready.tool, AskingTool):
            request = replace(request, reason="", suggested_rules=(), answers=ready.tool.answers)
        if (refusal := self._gate.refuse(request, self._ways)) is not None:
            return refusal
        announced: list[ApprovalRequest] = []

        def announce(opened: ApprovalRequest) -> None:
            announced.append(opened)
            self.turn.emit(ApprovalRequested(opened))

        try:
            answer = await self._until_cancelled(self._gate.ask(request, self.turn.turn_id, announce))
        except _InterruptedError:
            for opened in announced:
                self.turn.emit(ApprovalResolved(opened.request_id, Answer("deny", "interrupt")))
            raise
        self.turn.emit(ApprovalResolved(announced[0].request_id, answer))
        return answer

    def _refuse(self, ready: PreparedCall, text: str, answer: str) -> ToolResult:
        output = ToolOutput(_text_content(text), "error")
        result = self._tools.finish(ready, output, answer, 0.0)
        return replace(result, details={**result.details, "status": "denied"})

    async def _run_allowed(self, ready: PreparedCall, answer: str) -> ToolResult:
        call_id = ready.call.id
        emit = self.turn.emit

        def on_output(text: str, bundle: dict[str, Any] | None) -> None:
            emit(ToolOutputEvent(call_id, text, bundle))

        emit(ToolStarted(call_id, ready.prepared.name, ready.title, ready.preview))
        started = time.monotonic()
        running = self._tools.run(ready, self.turn.cancel_token, on_output)
        try:
            # Rust tools watch the token themselves and give what they have; Python tools are cancelled.
            output = await (self._until_cancelled(running) if ready.tool is not None else running)
        except _InterruptedError:
            output = ToolOutput(_text_content(INTERRUPTED), "cancelled")
        return self._tools.finish(ready, output, answer, time.monotonic() - started)

    # --- the step's end ---

    def _finish_step(
        self, index: int, answer: MessageFinished, calls: list[ToolCall], results: list[ToolResult]
    ) -> None:
        for call in calls[len(results) :]:
            missing = error_result(call, NOT_RUN, status="cancelled")
            results.append(missing)
            self.turn.emit(ToolFinished(missing))
        content = tuple(b for b in answer.message.content if isinstance(b, TextBlock | ThinkingBlock | ToolCall))
        step = Step(content, tuple(results), answer.usage, answer.stop)
        self._steps.append(step)
        if results:
            append_message(self._messages, Message("user", tuple(results)))
        self._record = replace(
            self._record,
            steps=tuple(self._steps),
            approvals=(*self._record.approvals, *(self._approvals[c.id] for c in calls if c.id in self._approvals)),
            usage=self._record.usage + answer.usage,
        )
        self.turn.update(self._record)
        self.turn.emit(StepFinished(index, step))

    def _say(self, text: str) -> None:
        """One line for the person, now and in the record."""
        self._note(text)
        self.turn.emit(ProviderNotice(text))

    def _note(self, text: str) -> None:
        notices = self._record.notices
        if text not in notices and len(notices) < MAX_NOTICES:
            self._record = replace(self._record, notices=(*notices, text))
            self.turn.update(self._record)

    # --- cancelling ---

    @property
    def _is_cancelled(self) -> bool:
        return self.turn.cancel_token.is_cancelled

    async def _until_cancelled(self, work: Coroutine[Any, Any, T]) -> T:
        """``work``'s result; where the turn is cancelled first, ``work`` is cancelled, waited for, and this raises."""
        task = asyncio.ensure_future(work)
        stop = asyncio.ensure_future(self._cancelled.wait())
        try:
            await asyncio.wait((task, stop), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise _InterruptedError
        finally:
            stop.cancel()
            await _cancel(task)


async def _cancel(task: asyncio.Task[Any]) -> None:
    """Cancel and wait until it is over; what it raises then is of no interest."""
    if not task.done():
        task.cancel()
        with contextlib.suppress(BaseException):
            await task


async def run_turn(loop: TurnLoop) -> TurnRecord:
    """Run ``loop`` and turn whatever ends it into a stop reason. ``TurnFinished`` is left to the caller."""
    started = time.monotonic()
    reason: StopReason
    error: TurnError | None = None
    try:
        reason = await loop.run()
    except _InterruptedError:
        reason = "interrupted"
    except ClawError as problem:
        reason, error = "error", problem.to_turn_error()
    except asyncio.CancelledError:
        reason = "interrupted"
    except Exception as problem:  # a bug must still leave a finished turn and a valid transcript
        reason, error = (
            "error",
            TurnError("internal", f"Claw failed: {type(problem).__name__}: {problem}", "Please report it."),
        )
    return replace(loop.record, stop_reason=reason, error=error, duration_seconds=round(time.monotonic() - started, 3))


def _may_share(ready: PreparedCall | ToolResult) -> bool:
    return isinstance(ready, ToolResult) or ready.is_read_only


def _stop_reason(stop: ModelStop) -> StopReason:
    match stop:
        case "max_tokens" | "refusal":
            return stop
        case "end_turn" | "stop_sequence" | "tool_use" | "other":
            return "end_turn"
        case _:
            assert_never(stop)


def _text_content(text: str) -> str:
    return json.dumps([{"type": "text", "text": text}])
