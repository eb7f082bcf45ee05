"""Making room in a model's context window: old outputs are cleared first, then a summary stands for the older part. What is
sent changes, what is recorded does not (:mod:`claw_kernel.session.compaction`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from claw_kernel.agent.call_ids import with_own_ids
from claw_kernel.agent.context import (
    DEFAULT_LOCAL_WINDOW,
    DEFAULT_WINDOW,
    CompactionState,
    ContextMeter,
    Window,
    prompt_tokens,
    window_in,
)
from claw_kernel.agent.summary import FOCUS, REQUEST, summary_text
from claw_kernel.errors import ContextOverflowError, ProviderError
from claw_kernel.late_dataclass import dataclass
from claw_kernel.messages import Compaction, Message, MessageFinished, TextBlock, TurnRecord, Usage
from claw_kernel.session.compaction import clearable, sent_records
from claw_kernel.session.turn_messages import append_message, turn_messages
from claw_kernel.token_estimate import content_tokens, message_tokens

PROTECTED_PERCENT = 20
"""Of the room: so much of the newest outputs is never cleared, and no output that the model has not seen yet. 40,000 tokens of a
window of 200,000, as opencode protects."""
WORTHWHILE_PERCENT = 10
"""Of the room: for less nothing is cleared, since the provider's cache is lost from there on (opencode: 20,000 tokens)."""
TAIL_PERCENT = 10
MAX_TAIL_TOKENS = 20_000
"""So much of the newest steps stays as it is behind a summary (pi keeps 20,000)."""
MAX_FAILURES = 3
"""So often in a row the model may fail to write notes; from then on summaries are made without it (Claude Code: 3)."""
REFILL_STEPS, MAX_REFILLS = 3, 3
"""A window that is full again within so many steps, so often in a row, ends the turn (Claude Code: 3)."""
ASKED_FOR = "you asked for it"
CLEARED_LINE_TOKENS = 30
UNWATCHED_TOKENS, UNWATCHED_LOCAL_TOKENS = 16_000, 6_000
"""A request smaller than this is not kept waiting for the model's window to be known: hosted models take 32,000 and more, a
server on this machine 8,192 and more, and what holds less says so in an error."""

Ask = Callable[[list[Message]], Awaitable[MessageFinished]]
"""Send these messages to the model as the next request would be sent; its answer. Raises ProviderError."""


@dataclass(frozen=True)
class Room:
    """What made room: the compaction, and the transcript as it is now sent."""

    compaction: Compaction
    messages: list[Message]


class Compactor:
    """Of one turn. ``before``: the records of the turns before it. ``model`` is ``provider/model``. ``window_tokens``: the
    context window where the person has set it, else ``window`` finds the model's, or None where nobody knows. ``fixed_tokens``: of what is sent with every request, system text and tools."""

    def __init__(
        self,
        before: Sequence[TurnRecord],
        model: str,
        *,
        window_tokens: int | None,
        window: Callable[[], Awaitable[int | None]],
        max_tokens: int,
        compact_percent: int,
        fixed_tokens: int,
        is_local: bool,
        state: CompactionState,
    ) -> None:
        self._before, self._model = tuple(before), model
        self._ask_window = window
        self._window_tokens = window_tokens
        self._max_tokens, self._compact_percent, self._fixed_tokens = max_tokens, compact_percent, fixed_tokens
        self._is_local, self._state = is_local, state
        self._has_answered = False
        self._summarised_at = -REFILL_STEPS
        self._refills = 0
        self.meter = ContextMeter()

    def begin(self, messages: Sequence[Message]) -> None:
        """Measure the transcript that the turn begins with: by the last answer's usage, where that was this model's, and an
        estimate of what came after; else by estimate."""
        last = self._before[-1] if self._before else None
        step = last.steps[-1] if last is not None and last.steps else None
        is_own = last is not None and last.model == self._model and step is not None and step.model in ("", self._model)
        if step is not None and is_own and (counted := prompt_tokens(step.usage)):
            self.meter.counted = counted + step.usage.output_tokens
            self.meter.estimated = content_tokens(step.results) + content_tokens(messages[-1].content)
            return
        self.meter.reset(self._fixed_tokens + message_tokens(messages))

    @property
    def is_at_ease(self) -> bool:
        """Nothing has to be looked at before the next request."""
        if self._state.is_asked:
            return False
        known = self._window_tokens or self._state.learned.get(self._model)
        if known is None:
            return self.meter.tokens < (UNWATCHED_LOCAL_TOKENS if self._is_local else UNWATCHED_TOKENS)
        return self.meter.tokens < self._known_window(known).clear_at

    def max_tokens(self) -> int:
        """For the answer: less than the setting where the server turned out to have a small window."""
        learned = self._state.learned.get(self._model)
        return self._max_tokens if learned is None else Window.of(learned, self._max_tokens).answer

    async def window(self) -> Window:
        """Of the model, as far as anybody knows it now."""
        tokens = self._window_tokens
        if tokens is None:
            tokens = await self._ask_window() or (DEFAULT_LOCAL_WINDOW if self._is_local else DEFAULT_WINDOW)
            # A server on this machine may say it only once the model is at work (Ollama): then it is asked once more.
            if self._has_answered or not self._is_local or tokens != DEFAULT_LOCAL_WINDOW:
                self._window_tokens = tokens
        return self._known_window(tokens)

    def _known_window(self, tokens: int) -> Window:
        tokens = min(tokens, self._state.learned.get(self._model, tokens))
        return Window.of(tokens, self._max_tokens, self._compact_percent)

    async def make_room(self, record: TurnRecord, ask: Ask) -> Room | None:
        """Before a request: what has to be done about its size, if anything. Raises ProviderError where the notes could not be
        asked for, and ContextOverflowError where nothing helps."""
        state, tokens = self._state, self.meter.tokens
        window = await self.window()
        if state.is_asked:
            room = await self._summarise(record, ask, window, ASKED_FOR, state.instructions)
            state.is_asked, state.instructions = False, ""
            return room
        if tokens < window.clear_at:
            return None
        cleared = self._clear(
            record, window, PROTECTED_PERCENT, f"{tokens * 100 // window.room} % of the context in use"
        )
        if tokens < window.compact_at or (cleared and cleared.compaction.tokens_after < window.clear_at):
            return self._measured(cleared)
        return await self._summarise(record, ask, window, f"{tokens * 100 // window.room} % of the context in use")

    async def after_overflow(self, record: TurnRecord, error: ContextOverflowError, ask: Ask) -> Room | None:
        """The server refused a request as too long. None: a shorter answer is all that is needed."""
        tokens = self.meter.tokens
        named = window_in(str(error))
        if named is not None:
            self._state.learn(self._model, named)
        elif tokens > (await self.window()).tokens // 2:
            self._state.learn(self._model, tokens * 95 // 100)
        window = await self.window()
        if named is not None and tokens < window.clear_at and self._max_tokens > window.answer:
            return None
        cleared = self._clear(record, window, PROTECTED_PERCENT // 4, "the model refused the request as too long")
        if cleared and cleared.compaction.tokens_after < window.clear_at:
            return self._measured(cleared)
        return await self._summarise(record, ask, window, "the model refused the request as too long")

    def played(self, record: TurnRecord, compaction: Compaction) -> Room:
        """What was made when the session was recorded."""
        return Room(compaction, _transcript((*self._before, record), self._model, compaction))

    def take(self, finished: MessageFinished) -> str:
        """Count an answer. A sentence for the person where the server drops what does not fit it without a word."""
        before, self._has_answered = self.meter.tokens, True
        if not self.meter.take(finished.usage, finished.message.content) or not self._is_local:
            return ""
        self._state.learn(self._model, self.meter.counted)
        return (
            f"{self._model} reads only about {self.meter.counted:,} of {before:,} tokens and drops the rest without a word; "
            "the conversation is kept below that. Start the server with a larger context (Ollama: num_ctx) for more"
        )

    # --- clearing ---

    def _clear(self, record: TurnRecord, window: Window, protected_percent: int, reason: str) -> Room | None:
        records = (*self._before, record)
        outputs = clearable(sent_records(records))
        protected = window.room * protected_percent // 100
        unseen = _unseen(record)
        kept = 0
        cleared: list[str] = []
        gain = 0
        for call_id, size in reversed(outputs):
            if call_id in unseen or (kept + size <= protected and not cleared):
                kept += size
            else:
                cleared.append(call_id)
                gain += size - CLEARED_LINE_TOKENS
        if gain * 100 < window.room * WORTHWHILE_PERCENT:
            return None
        compaction = Compaction(
            cleared=tuple(reversed(cleared)),
            reason=reason,
            tokens_before=self.meter.tokens,
            tokens_after=max(self.meter.tokens - gain, 0),
        )
        return Room(compaction, _transcript(records, self._model, compaction))

    def _measured(self, room: Room | None) -> Room | None:
        """``room``, which is taken. What stays was counted by the provider; the outputs that go were estimated when they came."""
        if room is not None:
            self.meter.reset(room.compaction.tokens_after)
        return room

    # --- the summary ---

    async def _summarise(
        self, record: TurnRecord, ask: Ask, window: Window, reason: str, instructions: str = ""
    ) -> Room:
        self._notice_refill(record)
        records = (*self._before, record)
        before = self.meter.tokens
        notes, usage, model = await self._notes(records, ask, window, instructions)
        summary = summary_text(records, notes, window_tokens=window.tokens)
        tail = min(MAX_TAIL_TOKENS, window.room * TAIL_PERCENT // 100)
        ways: list[tuple[int, tuple[str, ...], int]] = [(tail, (), window.clear_at), (0, (), window.clear_at)]
        if (newest := _newest_tokens(records)) > tail:
            # The model has asked for these outputs and would ask again, so they go last.
            long = tuple(call_id for call_id, _ in clearable(sent_records(records)) if call_id in _unseen(record))
            ways[:1] = [(newest, (), window.compact_at), (newest, long, window.clear_at)]
        for kept_tokens, cleared, limit in ways:
            turn_id, steps = _cut(records, kept_tokens)
            compaction = Compaction(turn_id, steps, summary, cleared, reason, before, 0, model, usage)
            messages = _transcript(records, self._model, compaction)
            after = self._fixed_tokens + message_tokens(messages)
            if after < limit:
                break
        else:
            raise ContextOverflowError(
                f"What cannot be left out (the system text, the tools and what you said) takes about {after:,} of the "
                f"{window.room:,} tokens that {self._model} has room for.",
                "Choose a model with a larger context window, or begin a new conversation with %claw clear.",
            )
        self._summarised_at = len(record.steps)
        self.meter.reset(after)
        return Room(replace(compaction, tokens_after=after), messages)

    def _notice_refill(self, record: TurnRecord) -> None:
        is_refill = len(record.steps) - self._summarised_at < REFILL_STEPS
        self._refills = self._refills + 1 if is_refill else 0
        if self._refills >= MAX_REFILLS:
            raise ContextOverflowError(
                f"The context of {self._model} fills up again as soon as it is summarised.",
                "Ask for smaller pieces of output, or choose a model with a larger context window.",
            )

    async def _notes(
        self, records: Sequence[TurnRecord], ask: Ask, window: Window, instructions: str
    ) -> tuple[str, Usage, str]:
        """The model's notes, what they cost and who wrote them; empty where it would not or can not."""
        state = self._state
        if state.failures >= MAX_FAILURES:
            return "", Usage(), ""
        wanted = TextBlock(REQUEST + (FOCUS.format(instructions=instructions) if instructions else ""))
        messages = _transcript(records, self._model)
        if self.meter.tokens + content_tokens((wanted,)) >= window.room:
            everything = tuple(call_id for call_id, _ in clearable(sent_records(records)))
            messages = _transcript(records, self._model, Compaction(cleared=everything))
        append_message(messages, Message("user", (wanted,)))
        try:
            finished = await ask(messages)
        except ContextOverflowError:
            state.failures += 1
            return "", Usage(), ""
        except ProviderError:
            state.failures += 1
            if state.failures < MAX_FAILURES:
                raise  # the next request would have met the same; nothing is lost by trying again later
            return "", Usage(), ""
        notes = "".join(block.text for block in finished.message.content if isinstance(block, TextBlock)).strip()
        state.failures = 0 if notes else state.failures + 1
        return notes, finished.usage, finished.answered_by or self._model


def combined(first: Compaction | None, second: Compaction) -> Compaction:
    """Two compactions before one request as one."""
    if first is None:
        return second
    return replace(
        second,
        turn_id=second.turn_id if second.summary else first.turn_id,
        steps=second.steps if second.summary else first.steps,
        summary=second.summary or first.summary,
        cleared=(*first.cleared, *second.cleared),
        tokens_before=first.tokens_before,
        model=second.model or first.model,
        usage=first.usage + second.usage,
    )


def _transcript(records: Sequence[TurnRecord], model: str, latest: Compaction | None = None) -> list[Message]:
    """The messages of ``records``, the last of which is under way, as they go to ``model``."""
    messages: list[Message] = []
    sent = sent_records(records, latest)
    for record in sent:
        for message in turn_messages(record, model):
            append_message(messages, message)
    if not sent[-1].steps:
        messages.pop()  # "not answered" is said of turns that are over
    return with_own_ids(messages)


def _unseen(record: TurnRecord) -> tuple[str, ...]:
    """The calls whose outputs no request has held yet: those of the newest step of the turn under way."""
    return tuple(result.call_id for result in record.steps[-1].results) if record.steps else ()


def _newest_tokens(records: Sequence[TurnRecord]) -> int:
    """What the newest step of the turn under way takes as it is sent, and what comes before its first step where it is that one."""
    record = sent_records(records)[-1]
    if not record.steps:
        return 0
    newest = record.steps[-1]
    before = content_tokens(record.content) if len(record.steps) == 1 else 0
    return content_tokens(newest.content) + content_tokens(newest.results) + before


def _cut(records: Sequence[TurnRecord], tail_tokens: int) -> tuple[str, int]:
    """``(turn id, steps)`` before which everything is summarised, so that at most ``tail_tokens`` of whole steps stay."""
    left = tail_tokens
    originals = {record.turn_id: record for record in records}
    cut = (records[-1].turn_id, len(records[-1].steps))
    for record in reversed(sent_records(records)):
        dropped = len(originals[record.turn_id].steps) - len(record.steps)
        for place in range(len(record.steps) - 1, -1, -1):
            step = record.steps[place]
            left -= content_tokens(step.content) + content_tokens(step.results)
            if place == 0:  # before its first step comes its prompt, or the summary that stands for what was before
                left -= content_tokens(record.content)
            if left < 0:
                return cut
            cut = (record.turn_id, dropped + place)
        if dropped:
            return cut
    return cut
