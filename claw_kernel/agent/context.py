"""How full a model's context window is: what the provider counted last, plus an estimate of what came after."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import field

from claw_kernel.late_dataclass import dataclass
from claw_kernel.messages import ContentBlock, ToolSpec, TurnRecord, Usage
from claw_kernel.session.compaction import compactions_of, sent_records
from claw_kernel.token_estimate import content_tokens, text_tokens, tools_tokens

DEFAULT_WINDOW = 128_000
"""Tokens, where nobody knows a hosted model's window: what nearly all models of 2024 and later take."""
DEFAULT_LOCAL_WINDOW = 32_768
"""The same of a server on this machine that does not say; one that holds less is noticed by its counts."""
CLEAR_PERCENT = 75
"""From this share of the room on, old outputs are cleared."""
COMPACT_PERCENT = 90
"""From this share on a summary is written (Codex's threshold)."""
ANSWER_SHARE = 4
"""At most a quarter of the window is set aside for the answer."""
_TRUNCATED_AFTER_TOKENS = 500
"""By this much a transcript must have grown before a count that did not grow is taken for a cut."""

_LIMITS_IN_ERRORS = (
    r"maximum (?:context|prompt) length (?:is|of) (?P<n>[\d,_]+)",
    r"> ?(?P<n>[\d,_]+) maximum",
    r"available context size \(?(?P<n>[\d,_]+)",
    r"\"?n_ctx\"?\D{1,4}(?P<n>[\d,_]+)",
    r"context (?:length|window|limit|size)(?: of| is| only|:)* (?:only )?\(?(?P<n>[\d,_]+)",
    r"exceeds? the maximum (?:number of tokens allowed|of) \(?(?P<n>[\d,_]+)",
    r"with (?P<n>[\d,_]+) maximum context",
    r"(?:limit|maximum)(?: is| of|:)* (?P<n>[\d,_]+)(?: tokens)?",
)
"""Where servers name the window in their refusal: OpenAI and vLLM, Anthropic, llama.cpp, LM Studio, Gemini, Mistral, others."""


@dataclass(frozen=True)
class Window:
    """``tokens`` for prompt and answer together; ``answer``: what is set aside for the answer."""

    tokens: int
    answer: int
    compact_percent: int = COMPACT_PERCENT

    @classmethod
    def of(cls, tokens: int, max_tokens: int, compact_percent: int = COMPACT_PERCENT) -> Window:
        return cls(tokens, min(max_tokens, tokens // ANSWER_SHARE), compact_percent)

    @property
    def room(self) -> int:
        """For what is sent."""
        return self.tokens - self.answer

    @property
    def clear_at(self) -> int:
        return self.room * min(CLEAR_PERCENT, self.compact_percent) // 100

    @property
    def compact_at(self) -> int:
        return self.room * self.compact_percent // 100


@dataclass()
class ContextMeter:
    """Of one transcript and one model. ``counted`` covers everything up to and with the last answer, in the provider's
    tokens (0: it has counted nothing yet); ``estimated`` is what came after."""

    counted: int = 0
    estimated: int = 0
    _last_total: int = 0

    @property
    def tokens(self) -> int:
        """What the next request takes."""
        return self.counted + self.estimated

    def add(self, content: tuple[ContentBlock, ...]) -> None:
        self.estimated += content_tokens(content)

    def take(self, usage: Usage, content: tuple[ContentBlock, ...]) -> bool:
        """An answer of ``content`` came. True where the server must have dropped part of the prompt without a word (Ollama
        does): what was sent had grown, and what it counted had not."""
        total = prompt_tokens(usage)
        if not total:  # a server that counts nothing
            self.add(content)
            return False
        is_cut = total <= self._last_total and self.estimated > _TRUNCATED_AFTER_TOKENS
        if is_cut and total * 2 < self._last_total:  # it counts only what it had not cached
            self.add(content)
            return False
        self._last_total = total
        self.counted, self.estimated = total + usage.output_tokens, 0
        return is_cut

    def reset(self, estimated: int) -> None:
        """The transcript was made anew."""
        self.counted, self.estimated, self._last_total = 0, estimated, 0


@dataclass()
class CompactionState:
    """What a session remembers between turns, for as long as the kernel lives."""

    failures: int = 0
    """Summaries in a row that the model did not write."""
    learned: dict[str, int] = field(default_factory=dict)
    """Windows that servers turned out to have, by ``provider/model``."""
    is_asked: bool = False
    """A person wants the next request compacted."""
    instructions: str = ""
    """What they said it should keep."""

    def learn(self, model: str, tokens: int) -> None:
        self.learned[model] = min(tokens, self.learned.get(model, tokens))


@dataclass(frozen=True)
class ContextUse:
    """``tokens`` of ``window`` that the next request would take, ``is_counted`` by the provider or estimated; ``parts``: what of
    it is which, always estimated. ``is_assumed``: nobody knows the window."""

    model: str
    window: Window
    is_assumed: bool
    tokens: int
    is_counted: bool
    parts: tuple[tuple[str, int], ...]


def context_use(
    records: Sequence[TurnRecord],
    model: str,
    window: Window,
    *,
    is_assumed: bool,
    system: str,
    instructions: str,
    tools: Sequence[ToolSpec],
) -> ContextUse:
    """Of the transcript of ``records`` as it is sent now."""
    sent = sent_records(records)
    summary = next((one.summary for one in reversed(list(compactions_of(records))) if one.summary), "")
    steps = [step for record in sent for step in record.steps]
    parts = (
        ("system text", text_tokens(system) - text_tokens(instructions)),
        ("instruction files", text_tokens(instructions)),
        ("tools", tools_tokens(tools)),
        ("summary", text_tokens(summary)),
        ("prompts", max(sum(content_tokens(record.content) for record in sent) - text_tokens(summary), 0)),
        ("answers and calls", sum(content_tokens(step.content) for step in steps)),
        ("outputs of calls", sum(content_tokens(step.results) for step in steps)),
    )
    last = records[-1].steps[-1] if records and records[-1].steps and records[-1].model == model else None
    counted = (
        prompt_tokens(last.usage) + last.usage.output_tokens if last is not None and prompt_tokens(last.usage) else 0
    )
    tokens = counted or sum(tokens for _, tokens in parts)
    return ContextUse(model, window, is_assumed, tokens, counted > 0, parts)


def prompt_tokens(usage: Usage) -> int:
    """What the provider read of a request, from its cache or not."""
    return usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens


def window_in(message: str) -> int | None:
    """The window that a server names in an overflow error."""
    for pattern in _LIMITS_IN_ERRORS:
        if (found := re.search(pattern, message, re.IGNORECASE)) is not None:
            number = int(re.sub(r"\D", "", found["n"]) or 0)
            if number >= 256:  # less is no window, but a number of something else
                return number
    return None
