"""What a turn, a session and a notebook may cost: the limits, and what the person reads where one is met."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

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
    "max_notebook_cost": "the cost limit of this notebook (max_notebook_cost_usd)",
    "max_notebook_tokens": "the limit of tokens of this notebook (max_notebook_tokens)",
}
"""Stop reasons that are limits: the turn is whole as far as it went, and the next one goes on from there."""


@dataclass(frozen=True)
class Limits:
    """Checked before each request; ``max_seconds`` also ends one that is under way, and does not count the time a person takes
    to answer. ``max_turns`` counts model requests. ``max_tokens`` and ``effort`` are of one request. None: no limit. Tokens are
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
    max_notebook_cost_usd: float | None = None
    max_notebook_tokens: int | None = None
    max_repeats: int = 5

    @property
    def has_cost(self) -> bool:
        return any(
            limit is not None for limit in (self.max_cost_usd, self.max_session_cost_usd, self.max_notebook_cost_usd)
        )


@dataclass(frozen=True)
class Spent:
    """By some turns together. ``cost_usd`` is of those whose price is known; ``unpriced`` names a model of the others."""

    tokens: int = 0
    seconds: float = 0.0
    cost_usd: float = 0.0
    unpriced: str = ""

    @classmethod
    def by(cls, records: Iterable[TurnRecord]) -> Spent:
        found = cls()
        for record in records:
            found += cls.of(record.usage, record.duration_seconds, record.cost_usd, record.model)
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
    session, notebook = before.session + turn, before.notebook + turn
    checks: tuple[tuple[StopReason, float, float | None], ...] = (
        ("max_turns", requests, limits.max_turns),
        ("max_seconds", turn.seconds, limits.max_seconds),
        ("max_turn_tokens", turn.tokens, limits.max_turn_tokens),
        ("max_session_seconds", session.seconds, limits.max_session_seconds),
        ("max_session_tokens", session.tokens, limits.max_session_tokens),
        ("max_notebook_tokens", notebook.tokens, limits.max_notebook_tokens),
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
