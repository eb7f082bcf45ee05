"""The loop of one turn, to be read aloud: limits, request, stream, tool calls, results, again.

Runs on the engine's event loop. Whatever happens, the record it leaves has exactly one result for each tool call, and the
last event is ``TurnFinished``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import assert_never

from claw_kernel.agent.call_ids import CallIds
from claw_kernel.agent.calls import CallRunner
from claw_kernel.agent.cancellation import Cancellation, InterruptedTurnError
from claw_kernel.agent.compaction import Compactor, Room, combined
from claw_kernel.agent.guards import TOLD_PASSAGE, LoopGuard, PassageGuard, Verdict, without_repeats
from claw_kernel.agent.summary import PATH_ARGUMENTS
from claw_kernel.agent.turn import Turn
from claw_kernel.errors import ClawError, ContextOverflowError, ProtocolError
from claw_kernel.gate import Gate
from claw_kernel.instructions import Instructions
from claw_kernel.limits import Before, Limits, Spent, cost_limit_met, limit_met
from claw_kernel.messages import (
    Compaction,
    ContextCompacted,
    Message,
    MessageFinished,
    ModelRequest,
    ModelStop,
    ProviderNotice,
    RequestParts,
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
    ToolResult,
    TurnError,
    TurnRecord,
    Usage,
)
from claw_kernel.providers import PlayedProvider, Provider
from claw_kernel.providers.prices import turn_cost
from claw_kernel.session.request_hash import RequestHasher, request_hash
from claw_kernel.session.turn_messages import append_message
from claw_kernel.tools import ToolSet

MAX_NOTICES = 20
GO_ON = "[The connection was lost while you answered. Everything above arrived; go on exactly where it ends.]"
REPEATED = "the model wrote the same passage again and again"
MAX_ASK_AGAIN = 2
"""How often a model that ended without the result it was asked for is asked for it again."""
MAX_GO_ON = 3
"""How often in a row an answer that was cut off is asked to go on, after what the provider itself tried again."""


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
        spent: Before,
        price: Price,
        hasher: RequestHasher,
        compactor: Compactor,
        instructions: Instructions,
    ) -> None:
        self.turn = turn
        self._provider, self._model, self._system = provider, model, system
        self._messages, self._tools = messages, tools
        self._limits, self._price = limits, price
        self._call_ids = CallIds(messages)
        self._compactor, self._instructions = compactor, instructions
        self._compaction: Compaction | None = None
        self._record = turn.record
        self._steps: list[Step] = []
        self._partial: list[str] = []
        self._lost = 0
        self._asked_again = 0
        self._hasher, self._asked, self._asked_at = hasher, RequestParts(), 0.0
        self._unhashed: ModelRequest | None = None
        self._answered_after = 0.0
        self._has_overflowed = False
        self._spent, self._loop_guard, self._said_again = spent, LoopGuard(limits.max_repeats), 0
        # What a person wrote, or a model said long ago, may repeat itself.
        self._is_watched = bool(limits.max_repeats) and provider.name not in ("scripted", "recorded")
        self._cancellation = Cancellation(turn)
        refuse = provider.refusal if isinstance(provider, PlayedProvider) else None
        self._calls = CallRunner(turn, tools, gate, ways, self._cancellation, refuse)

    async def run(self) -> StopReason:
        """All steps of the turn. Raises ClawError for what ends it, ``InterruptedTurnError`` where it was cancelled."""
        self._start_clock()
        while True:
            if (reason := await self._limit_reached()) is not None:
                return reason
            if isinstance(self._provider, PlayedProvider):
                if (played := self._provider.compaction()) is not None:
                    self._take_room(self._compactor.played(self._record, played))
            elif not self._compactor.is_at_ease:
                await self._make_room()
            index = len(self._steps)
            self.turn.emit(StepStarted(index))
            try:
                answer = await self._cancellation.until_cancelled(self._request())
            except InterruptedTurnError:
                self._keep_partial_answer(index)
                raise
            except ContextOverflowError as error:
                if self._has_overflowed:
                    raise
                self._has_overflowed = True
                await self._make_room(error)
                continue
            self._has_overflowed = False
            if warning := self._compactor.take(answer):
                self._say(warning)
            append_message(self._messages, answer.message)
            calls = [block for block in answer.message.content if isinstance(block, ToolCall)]
            results: list[ToolResult] = []
            try:
                if calls:
                    await self._calls.run(calls, results)
            finally:
                verdict = self._guard_loop(calls, results)
                self._finish_step(index, answer, calls, results)
            if self._cancellation.is_cancelled:
                raise InterruptedTurnError
            if verdict == "stop":
                return "loop"
            output = self.turn.output
            if output is not None and output.has_result:
                return "end_turn"
            if answer.incomplete == REPEATED:
                self._said_again += 1
                if self._said_again > 1:
                    return "loop"
                self._say(f"{REPEATED}; it was stopped and told so")
                continue
            if answer.incomplete:
                self._lost = 0 if calls else self._lost + 1
                if self._lost > MAX_GO_ON:
                    raise ProtocolError(f"The answer was cut off: {answer.incomplete}.", "Run the cell again to go on.")
                self._say(f"{answer.incomplete}; what had arrived is kept, and the model goes on from there")
                continue
            self._lost = 0
            if not calls:
                if output is not None and _stop_reason(answer.stop) == "end_turn":
                    self._asked_again += 1
                    if self._asked_again > MAX_ASK_AGAIN:
                        raise ClawError("The model ended without a result that fits the schema.", "Run it again.")
                    continue
                return _stop_reason(answer.stop)

    @property
    def record(self) -> TurnRecord:
        """The record so far."""
        return self._record

    # --- limits ---

    async def _limit_reached(self) -> StopReason | None:
        record, limits = self._record, self._limits
        turn = Spent.of(record.usage, self._cancellation.elapsed_seconds, None, record.model)
        if (reason := limit_met(limits, turn, len(self._steps), self._spent)) is not None or not limits.has_cost:
            return reason
        cost = await asyncio.to_thread(turn_cost, record, self._price) if turn.tokens else 0.0
        reason, unpriced = cost_limit_met(limits, Spent.of(record.usage, 0.0, cost, record.model), self._spent)
        if unpriced:
            raise ClawError(
                f"A cost limit is set, but the price of {unpriced} is unknown.",
                "Add it under `prices` in the settings, or remove the limit.",
            )
        return reason

    def _start_clock(self) -> None:
        """The time limits of the turn and of the conversation, whichever ends first."""
        limits = self._limits
        session = (
            None if limits.max_session_seconds is None else limits.max_session_seconds - self._spent.session.seconds
        )
        times = [seconds for seconds in (limits.max_seconds, session) if seconds is not None]
        if times:
            self._cancellation.expire_after(max(min(times), 0.0))

    @property
    def interrupted_by(self) -> StopReason:
        """Why the turn was cancelled: by a person, or by its clock."""
        if not self._cancellation.is_expired:
            return "interrupted"
        turn = Spent(seconds=self._cancellation.elapsed_seconds)
        return limit_met(replace(self._limits, max_turns=len(self._steps) + 1), turn, 0, self._spent) or "max_seconds"

    # --- the request ---

    def _keep_partial_answer(self, index: int) -> None:
        """What the person has seen of an interrupted answer stays in the transcript, so that they can refer to it."""
        text = "".join(self._partial)
        if text.strip():
            message = Message("assistant", (TextBlock(text),))
            append_message(self._messages, message)
            self._finish_step(index, MessageFinished(message, Usage(), "other"), [], [])

    async def _make_room(self, error: ContextOverflowError | None = None) -> None:
        """Have less sent from the next request on, where that is due."""
        compactor, record = self._compactor, self._record
        work = compactor.after_overflow(record, error, self._ask) if error else compactor.make_room(record, self._ask)
        room = await self._cancellation.until_cancelled(work)
        if room is not None:
            self._take_room(room)

    def _take_room(self, room: Room) -> None:
        record = self._record
        self._messages = room.messages
        self._compaction = combined(self._compaction, room.compaction)
        self._record = replace(record, usage=record.usage + room.compaction.usage)
        self.turn.update(self._record)
        if room.compaction.summary:
            self._instructions.forget()
        self.turn.emit(ContextCompacted(room.compaction))

    async def _ask(self, messages: list[Message]) -> MessageFinished:
        """A request beside the turn, for the notes of a summary: it begins with the bytes the model has seen before."""
        self.turn.emit(ProviderNotice("summarising the conversation so far", is_passing=True))
        stream = self._provider.stream(self._request_of(tuple(messages)))
        try:
            async for event in stream:
                if isinstance(event, MessageFinished):
                    return event
        finally:
            if (close := getattr(stream, "aclose", None)) is not None:
                await close()
        raise ProtocolError(f"{self._provider.name} ended its answer without a final message.", "Try again.")

    def _request_of(self, messages: tuple[Message, ...]) -> ModelRequest:
        max_tokens, effort = self._compactor.max_tokens(), self._limits.effort
        return ModelRequest(self._model, self._system, messages, self._tools.specs, max_tokens, effort)

    async def _request(self) -> MessageFinished:
        self._partial = []
        self._call_ids.begin()
        messages = tuple(self._messages)
        if messages[-1].role == "assistant":
            # The answer so far is whole text without a call. The request to go on is no part of the transcript: what
            # comes is joined to what is there.
            output = self.turn.output
            asked = f"[{output.request}]" if output is not None and not self._lost else GO_ON
            asked = TOLD_PASSAGE if self._said_again else asked
            messages = (*messages, Message("user", (TextBlock(asked),)))
        request = self._request_of(messages)
        self._unhashed, self._asked_at = request, time.monotonic()
        # The loop comes to it when the request is out: what is only noted must not keep the model waiting.
        asyncio.get_running_loop().call_soon(self._hash)
        emit = self.turn.emit
        guard = PassageGuard(is_on=self._is_watched)
        stream = self._provider.stream(request)
        try:
            async for event in stream:
                match event:
                    case MessageFinished():
                        message = self._call_ids.own_message(self._tools.with_own_names(event.message))
                        finished = replace(event, message=message)
                        self._answered_after = round(time.monotonic() - self._asked_at, 3)
                        emit(finished)
                        return finished
                    case ProviderNotice():
                        if not event.is_passing:
                            self._note(event.text)
                        emit(event)
                    case TextDelta():
                        self._partial.append(event.text)
                        emit(event)
                        if guard.take(event.text):
                            return self._stopped_repeating(guard.passage)
                    case StreamRestarted():
                        self._partial, guard = [], PassageGuard(is_on=self._is_watched)
                        emit(event)
                    case ToolCallDelta():
                        emit(replace(event, call_id=self._call_ids.own(event.call_id)))
                    case ThinkingDelta():
                        emit(event)
                    case _:
                        assert_never(event)
        finally:
            if (close := getattr(stream, "aclose", None)) is not None:
                await close()
        raise ProtocolError(f"{self._provider.name} ended its answer without a final message.", "Try again.")

    def _hash(self) -> RequestParts:
        """Of the newest request."""
        if self._unhashed is not None:
            self._asked, self._unhashed = self._hasher.parts(self._unhashed), None
        return self._asked

    def _stopped_repeating(self, passage: int) -> MessageFinished:
        """The answer, cut off where it began to go round. What the provider counted of it never came: it stands at the end."""
        text = without_repeats("".join(self._partial), passage)
        finished = MessageFinished(Message("assistant", (TextBlock(text),)), Usage(), "other", incomplete=REPEATED)
        self._answered_after = round(time.monotonic() - self._asked_at, 3)
        self.turn.emit(finished)
        return finished

    def _guard_loop(self, calls: list[ToolCall], results: list[ToolResult]) -> Verdict:
        """What the model is told of going round in circles stands at the end of its last result."""
        self._instruct(calls, results)
        if len(results) < len(calls):
            return "go"
        verdict, told = self._loop_guard.take(calls, results)
        if told:
            results[-1] = replace(results[-1], content=(*results[-1].content, TextBlock(told)))
        return verdict

    def _instruct(self, calls: list[ToolCall], results: list[ToolResult]) -> None:
        """Instructions for files that were touched for the first time stand behind the result that touched them."""
        for place, (call, result) in enumerate(zip(calls, results, strict=False)):
            path = next((call.input[name] for name in PATH_ARGUMENTS if isinstance(call.input.get(name), str)), "")
            if path and not result.is_error and (text := self._instructions.touch(path)):
                results[place] = replace(result, content=(*result.content, TextBlock(text)))

    # --- the step's end ---

    def _finish_step(
        self, index: int, answer: MessageFinished, calls: list[ToolCall], results: list[ToolResult]
    ) -> None:
        self._calls.answer_rest(calls, results)
        content = tuple(b for b in answer.message.content if isinstance(b, TextBlock | ThinkingBlock | ToolCall))
        asked = self._hash()
        step = Step(
            content,
            tuple(results),
            answer.usage,
            answer.stop,
            answer.answered_by,
            request_hash=request_hash(self._model, asked),
            request_parts=asked,
            duration_seconds=self._answered_after,
            compaction=self._compaction,
        )
        self._compaction = None
        self._steps.append(step)
        if results:
            append_message(self._messages, Message("user", tuple(results)))
            self._compactor.meter.add(tuple(results))
        approvals = self._calls.approvals
        self._record = replace(
            self._record,
            steps=tuple(self._steps),
            approvals=(*self._record.approvals, *(approvals[c.id] for c in calls if c.id in approvals)),
            usage=self._record.usage + answer.usage,
        )
        self.turn.update(self._record)
        self.turn.emit(StepFinished(index, step))

    def settle(self) -> None:
        """The turn is over: its clock stops. Where a request failed after a compaction, that is kept, and what it cost."""
        self._cancellation.close()
        if self._compaction is not None:
            self._finish_step(len(self._steps), MessageFinished(Message("assistant", ()), Usage(), "other"), [], [])

    def _say(self, text: str) -> None:
        """One line for the person, now and in the record."""
        self._note(text)
        self.turn.emit(ProviderNotice(text))

    def _note(self, text: str) -> None:
        notices = self._record.notices
        if text not in notices and len(notices) < MAX_NOTICES:
            self._record = replace(self._record, notices=(*notices, text))
            self.turn.update(self._record)


async def run_turn(loop: TurnLoop) -> TurnRecord:
    """Run ``loop`` and turn whatever ends it into a stop reason. ``TurnFinished`` is left to the caller."""
    started = time.monotonic()
    reason: StopReason
    error: TurnError | None = None
    try:
        reason = await loop.run()
    except InterruptedTurnError:
        reason = loop.interrupted_by
    except ClawError as problem:
        reason, error = "error", problem.to_turn_error()
    except asyncio.CancelledError:
        reason = "interrupted"
    except Exception as problem:  # a bug must still leave a finished turn and a valid transcript
        reason, error = (
            "error",
            TurnError("internal", f"Claw failed: {type(problem).__name__}: {problem}", "Please report it."),
        )
    loop.settle()
    return replace(loop.record, stop_reason=reason, error=error, duration_seconds=round(time.monotonic() - started, 3))


def _stop_reason(stop: ModelStop) -> StopReason:
    match stop:
        case "max_tokens" | "refusal":
            return stop
        case "end_turn" | "stop_sequence" | "tool_use" | "other":
            return "end_turn"
        case _:
            assert_never(stop)
