"""What a turn, a session and a notebook may cost: the limits, and what the person reads where one is met."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from claw_kernel.late_dataclass import dataclass
from claw_kernel.messages import Effort, StopReason, TurnRecord, Usage

STOPPED_AT: Mapping[StopReason, str] = {
    "max_turns": "the limit of model requests for one cell (max_turns)",
    "max_cost": "the cost limit for one cell (max_cost_usd)",
    "max_seconds": "the time limit for one cell (max_seconds)",
    "max_turn_tokens": "the limit of tokens for one cell (max_turn_tokens)",
    "max_session_cost": "the cost limit of this conversation (max_session_cost_usd)",
    "max_session_seconds": "the time limit of this conversation (max_session_seconds)",
    "max_session_tokens": "the limit of tokens of this conversation (max_session_tokens)",
    "max_session_turns": "the limit of model requests of this conversation (max_session_turns)",
    "max_notebook_cost": "the cost limit of this notebook (max_notebook_cost_usd)",
    "max_notebook_seconds": "the time limit of this notebook (max_notebook_seconds)",
    "max_notebook_tokens": "the limit of tokens of this notebook (max_notebook_tokens)",
    "max_notebook_turns": "the limit of model requests of this notebook (max_notebook_turns)",
}
"""Stop reasons that are limits: the turn is whole as far as it went, and the next one goes on from there."""


@dataclass(frozen=True)
class Limits:
    """Checked before each request; those of seconds also end one that is under way, and do not count the time a person
    takes to answer. Those of turns count model requests. ``max_tokens`` and ``effort`` are of one request. None: no limit. Tokens are
    all that were sent and received."""

    max_turns: int
    max_cost_usd: float | None
    max_tokens: int
    effort: Effort | None = None
    max_seconds: float | None = None
    max_turn_tokens: int | None = None
    max_session_cost_usd: float | None = None
    max_session_seconds: float | None = None
    max_session_tokens: int | None = None
    max_session_turns: int | None = None
    max_notebook_cost_usd: float | None = None
    max_notebook_seconds: float | None = None
    max_notebook_tokens: int | None = None
    max_notebook_turns: int | None = None
    max_repeats: int = 5

    @property
    def has_cost(self) -> bool:
        return any(
            limit is not None for limit in (self.max_cost_usd, self.max_session_cost_usd, self.max_notebook_cost_usd)
        )


@dataclass(frozen=True)
class Spent:
    """By some turns together, in so many model requests. ``cost_usd`` is of those whose price is known; ``unpriced`` names a model of the others."""

    tokens: int = 0
    seconds: float = 0.0
    cost_usd: float = 0.0
    unpriced: str = ""
    requests: int = 0

    @classmethod
    def by(cls, records: Iterable[TurnRecord]) -> Spent:
        found = cls()
        for record in records:
            spent = cls.of(record.usage, record.duration_seconds, record.cost_usd, record.model)
            found += replace(spent, requests=len(record.steps))
        return found

    @classmethod
    def of(cls, usage: Usage, seconds: float, cost_usd: float | None, model: str) -> Spent:
        tokens = total_tokens(usage)
        return cls(tokens, seconds, cost_usd or 0.0, model if cost_usd is None and tokens else "")

    def __add__(self, other: Spent) -> Spent:
        return Spent(
            self.tokens + other.tokens,
            self.seconds + other.seconds,
            self.cost_usd + other.cost_usd,
            self.unpriced or other.unpriced,
            self.requests + other.requests,
        )


@dataclass(frozen=True)
class Before:
    """What was spent before this turn: in the conversation, and in the notebook with that."""

    session: Spent = Spent()
    notebook: Spent = Spent()


def total_tokens(usage: Usage) -> int:
    return usage.input_tokens + usage.output_tokens + usage.cache_read_tokens + usage.cache_write_tokens


def limit_met(limits: Limits, turn: Spent, requests: int, before: Before) -> StopReason | None:
    """The first limit that is met. Money is looked at apart, since prices take a while (:func:`cost_limit_met`)."""
    turn = replace(turn, requests=requests)
    session, notebook = before.session + turn, before.notebook + turn
    checks: tuple[tuple[StopReason, float, float | None], ...] = (
        ("max_turns", turn.requests, limits.max_turns),
        ("max_seconds", turn.seconds, limits.max_seconds),
        ("max_turn_tokens", turn.tokens, limits.max_turn_tokens),
        ("max_session_seconds", session.seconds, limits.max_session_seconds),
        ("max_session_tokens", session.tokens, limits.max_session_tokens),
        ("max_session_turns", session.requests, limits.max_session_turns),
        ("max_notebook_seconds", notebook.seconds, limits.max_notebook_seconds),
        ("max_notebook_tokens", notebook.tokens, limits.max_notebook_tokens),
        ("max_notebook_turns", notebook.requests, limits.max_notebook_turns),
    )
    return next((reason for reason, spent, limit in checks if limit is not None and spent >= limit), None)


def cost_limit_met(limits: Limits, turn: Spent, before: Before) -> tuple[StopReason | None, str]:
    """The first cost limit that is met, and the model whose price would have to be known to say so."""
    scopes: tuple[tuple[StopReason, Spent, float | None], ...] = (
        ("max_cost", turn, limits.max_cost_usd),
        ("max_session_cost", before.session + turn, limits.max_session_cost_usd),
        ("max_notebook_cost", before.notebook + turn, limits.max_notebook_cost_usd),
    )
    for reason, spent, limit in scopes:
        if limit is not None and spent.unpriced:
            return None, spent.unpriced
        if limit is not None and spent.tokens and spent.cost_usd >= limit:
            return reason, ""
    return None, ""
