"""The loop of one turn, to be read aloud: limits, request, stream, tool calls, results, again.

Runs on the engine's event loop. Whatever happens, the record it leaves has exactly one result for each tool call, and the
last event is ``TurnFinished``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import replace
from typing import Any, assert_never

from claw_kernel.agent.call_ids import CallIds
from claw_kernel.agent.calls import CallRunner
from claw_kernel.agent.cancellation import Cancellation, InterruptedTurnError
from claw_kernel.agent.compaction import Compactor, Room, combined
from claw_kernel.agent.exchange import REPEATED, Exchange
from claw_kernel.agent.guards import TOLD_PASSAGE, LoopGuard, Verdict
from claw_kernel.agent.spending import Spending
from claw_kernel.agent.summary import PATH_ARGUMENTS
from claw_kernel.agent.turn import Turn
from claw_kernel.errors import ClawError, ContextOverflowError, ProtocolError
from claw_kernel.gate import Gate
from claw_kernel.instructions import Instructions
from claw_kernel.limits import Before, Limits, Spent, limit_met
from claw_kernel.messages import (
    Compaction,
    ContextCompacted,
    Message,
    MessageFinished,
    ModelStop,
    ProviderNotice,
    Step,
    StepFinished,
    StepStarted,
    StopReason,
    TextBlock,
    ThinkingBlock,
    ToolCall,
    ToolResult,
    TurnError,
    TurnRecord,
    Usage,
)
from claw_kernel.providers import PlayedProvider, Provider
from claw_kernel.session.request_hash import RequestHasher, request_hash
from claw_kernel.session.turn_messages import append_message
from claw_kernel.tools import ToolSet

MAX_NOTICES = 20
GO_ON = "[Your answer was cut off here. Everything above arrived; go on exactly where it ends.]"
ROOM = "Ask for a shorter answer, or choose a model with a larger context window."
MAX_ASK_AGAIN = 2
"""How often a model that ended without the result it was asked for is asked for it again."""
MAX_GO_ON = 3
"""How often in a row an answer that was cut off is asked to go on, after what the provider itself tried again."""


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
        before: Before,
        spending: Spending,
        hasher: RequestHasher,
        compactor: Compactor,
        instructions: Instructions,
    ) -> None:
        self.turn = turn
        self._played = provider if isinstance(provider, PlayedProvider) else None
        self._model = model
        self._messages, self._limits, self._before = messages, limits, before
        self._compactor, self._instructions = compactor, instructions
        self._compaction: Compaction | None = None
        self._record = turn.record
        self._steps: list[Step] = []
        self._lost = 0
        self._asked_again = 0
        self._has_overflowed = False
        self._loop_guard, self._said_again = LoopGuard(limits.max_repeats), 0
        self._spending = spending
        self._exchange = Exchange(
            turn,
            provider,
            model,
            system,
            tools,
            effort=limits.effort,
            call_ids=CallIds(messages),
            hasher=hasher,
            spending=spending,
            note=self._note,
            # What a person wrote, or a model said long ago, may repeat itself.
            is_watched=bool(limits.max_repeats) and provider.name not in ("scripted", "recorded"),
        )
        self._cancellation = Cancellation(turn)
        refuse = self._played.refusal if self._played is not None else None
        self._calls = CallRunner(turn, tools, gate, ways, self._cancellation, refuse)

    async def run(self) -> StopReason:
        """All steps of the turn. Raises ClawError for what ends it, ``InterruptedTurnError`` where it was cancelled."""
        self._start_clock()
        while True:
            if (reason := await self._limit_reached()) is not None:
                return reason
            if self._played is not None:
                if (played := self._played.compaction()) is not None:
                    self._spending.pay(played.usage)
                    self._take_room(self._compactor.played(self._record, played))
            elif not self._compactor.is_at_ease:
                await self._make_room()
                # The notes of a summary are a request too, and no small one.
                if self._compaction is not None and (reason := await self._limit_reached()) is not None:
                    return reason
            index = len(self._steps)
            self.turn.emit(StepStarted(index))
            try:
                answer = await self._cancellation.until_cancelled(self._ask())
            except InterruptedTurnError:
                self._keep_partial_answer(index)
                raise
            except ContextOverflowError as error:
                await self._meet_overflow(error)
                continue
            if warning := self._compactor.take(answer):
                self._say(warning)
            if answer.message.content:
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
            if answer.stop == "context_overflow":
                full = f"the window of {self._record.model} was full before the answer was at its end"
                self._say(f"{full}; the model goes on with less of the conversation before it")
                await self._meet_overflow(ContextOverflowError(f"{full[0].upper()}{full[1:]}.", ROOM))
                continue
            self._has_overflowed = False
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

    def _start_clock(self) -> None:
        """The time limits of the turn, the conversation and the notebook, whichever ends first."""
        limits, before = self._limits, self._before
        scopes = (
            (limits.max_seconds, 0.0),
            (limits.max_session_seconds, before.session.seconds),
            (limits.max_notebook_seconds, before.notebook.seconds),
        )
        times = [limit - spent for limit, spent in scopes if limit is not None]
        if times:
            self._cancellation.expire_after(max(min(times), 0.0))

    async def _limit_reached(self) -> StopReason | None:
        return await self._spending.limit_reached(len(self._steps), self._cancellation.elapsed_seconds)

    @property
    def interrupted_by(self) -> StopReason:
        """Why the turn was cancelled: by a person, or by its clock."""
        if not self._cancellation.is_expired:
            return "interrupted"
        turn = Spent(seconds=self._cancellation.elapsed_seconds)
        return limit_met(replace(self._limits, max_turns=len(self._steps) + 1), turn, 0, self._before) or "max_seconds"

    # --- the request ---

    async def _ask(self) -> MessageFinished:
        messages = tuple(self._messages)
        if messages[-1].role == "assistant":
            # The answer so far is whole text without a call. The request to go on is no part of the transcript: what
            # comes is joined to what is there.
            output = self.turn.output
            asked = f"[{output.request}]" if output is not None and not self._lost else GO_ON
            asked = TOLD_PASSAGE if self._said_again else asked
            messages = (*messages, Message("user", (TextBlock(asked),)))
        return await self._exchange.ask(messages, self._compactor.max_tokens())

    def _keep_partial_answer(self, index: int) -> None:
        """What the person has seen of an interrupted answer stays in the transcript, so that they can refer to it."""
        text = self._exchange.partial
        if text.strip():
            usage = self._spending.abandon() or Usage()
            self._spending.pay(usage)
            message = Message("assistant", (TextBlock(text),))
            append_message(self._messages, message)
            self._finish_step(index, MessageFinished(message, usage, "other"), [], [])

    async def _meet_overflow(self, error: ContextOverflowError) -> None:
        """Once: twice in a row is the end of the turn."""
        if self._has_overflowed:
            raise error
        self._has_overflowed = True
        if self._played is None:
            await self._make_room(error)

    async def _make_room(self, error: ContextOverflowError | None = None) -> None:
        """Have less sent from the next request on, where that is due."""
        compactor, record = self._compactor, self._record

        def ask(messages: list[Message]) -> Awaitable[MessageFinished]:
            self.turn.emit(ProviderNotice("summarising the conversation so far", is_passing=True))
            return self._exchange.ask_beside(messages, compactor.max_tokens())

        work = compactor.after_overflow(record, error, ask) if error else compactor.make_room(record, ask)
        room = await self._cancellation.until_cancelled(work)
        if room is not None:
            self._take_room(room)

    def _take_room(self, room: Room) -> None:
        self._messages = room.messages
        self._compaction = combined(self._compaction, room.compaction)
        self._account()
        if room.compaction.summary:
            self._instructions.forget()
        self.turn.emit(ContextCompacted(room.compaction))

    # --- the step's end ---

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

    def _finish_step(
        self, index: int, answer: MessageFinished, calls: list[ToolCall], results: list[ToolResult]
    ) -> None:
        self._calls.answer_rest(calls, results)
        content = tuple(b for b in answer.message.content if isinstance(b, TextBlock | ThinkingBlock | ToolCall))
        asked = self._exchange.asked()
        step = Step(
            content,
            tuple(results),
            answer.usage,
            answer.stop,
            answer.answered_by,
            request_hash=request_hash(self._model, asked),
            request_parts=asked,
            duration_seconds=self._exchange.answered_after_seconds,
            compaction=self._compaction,
            incomplete=answer.incomplete,
        )
        self._compaction = None
        self._steps.append(step)
        if results:
            append_message(self._messages, Message("user", tuple(results)))
            self._compactor.meter.add(tuple(results))
        approvals = self._calls.approvals
        decided = (*self._record.approvals, *(approvals[c.id] for c in calls if c.id in approvals))
        self._account(steps=tuple(self._steps), approvals=decided)
        self.turn.emit(StepFinished(index, step))

    def settle(self) -> None:
        """The turn is over: its clock stops. Where a request failed after a compaction, that is kept, and what it cost."""
        self._cancellation.close()
        self._spending.lose()
        self._account()
        if self._compaction is not None:
            self._finish_step(len(self._steps), MessageFinished(Message("assistant", ()), Usage(), "other"), [], [])

    def _account(self, **changes: Any) -> None:
        self._record = replace(self._record, usage=self._spending.usage, lost=self._spending.lost, **changes)
        self.turn.update(self._record)

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
        case "context_overflow":
            return "max_tokens"
        case "end_turn" | "stop_sequence" | "tool_use" | "other":
            return "end_turn"
        case _:
            assert_never(stop)
