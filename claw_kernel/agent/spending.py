"""What a turn has spent, request by request, and whether a limit is met. Prices are looked up beside the work, never before it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

from claw_kernel.agent.turn import Turn
from claw_kernel.errors import ClawError
from claw_kernel.limits import Before, Limits, Spent, cost_limit_met, limit_met, total_tokens
from claw_kernel.messages import LostAnswer, StopReason, Usage, UsageChanged, UsageCounted

SHOWN_EVERY_SECONDS = 0.2
"""The least time between two live figures: a price takes a tenth of a millisecond, which steps need not wait for."""
PRICES_AFTER_SECONDS = 0.05
"""By then the first request has left; importing the price table beside it would delay it."""

Price = Callable[[str, Usage], float | None]
"""``(provider/model, usage)`` of one request to US dollars, or None where the price is unknown: tiers go by the request."""


class Spending:
    """Of one turn. ``model`` is ``provider/model``. ``price`` may be called once ``preload`` has returned, in a thread; None: at once.
    Lives on the engine's event loop."""

    def __init__(
        self,
        turn: Turn,
        model: str,
        *,
        limits: Limits,
        before: Before,
        price: Price,
        preload: Callable[[], object] | None,
    ) -> None:
        self._turn, self._model = turn, model
        self._limits, self._before, self._price = limits, before, price
        self.usage = Usage()
        """Of the requests that are over."""
        self.lost: tuple[LostAnswer, ...] = ()
        self._under_way: UsageCounted | None = None
        self._unpriced = [(model, Usage())]
        """With nothing at first, so that the cost is unknown where the price is, and not nothing."""
        self._cost: float | None = 0.0
        self._shown = Usage()
        self._shown_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._loading = asyncio.ensure_future(_load(preload)) if preload is not None else None
        if self._loading is not None:
            self._loading.add_done_callback(self._show_again)

    # --- what the provider counts ---

    def count(self, counted: UsageCounted) -> None:
        """A new count of the answer under way, or the last one of an answer that is lost."""
        if counted.is_lost:
            self._under_way = None
            self._lose(counted.usage, counted.model)
        else:
            self._under_way = counted
            self._show_soon()

    def pay(self, usage: Usage, model: str = "") -> None:
        """For an answer that is there. ``model``: where it was not the one that was asked."""
        self._under_way = None
        self._add(usage, model)

    def abandon(self) -> Usage | None:
        """The request under way ended without an answer: what is known to have been paid for the part that came. None: nothing."""
        counted, self._under_way = self._under_way, None
        return replace(counted.usage, is_least=True) if counted is not None else None

    def lose(self) -> None:
        """The same, and nothing of the answer is kept."""
        model = self._under_way.model if self._under_way is not None else ""
        if (usage := self.abandon()) is not None:
            self._lose(usage, model)

    def _lose(self, usage: Usage, model: str) -> None:
        self.lost = (*self.lost, LostAnswer(usage, model))
        self._add(usage, model)

    def _add(self, usage: Usage, model: str) -> None:
        self.usage += usage
        self._unpriced.append((model or self._model, usage))
        self._show_soon()

    # --- limits ---

    async def limit_reached(self, requests: int, elapsed_seconds: float) -> StopReason | None:
        """Raises ClawError where a cost limit is set and a price is unknown."""
        limits, model = self._limits, self._model
        turn = Spent.of(self.usage, elapsed_seconds, None, model)
        if (reason := limit_met(limits, turn, requests, self._before)) is not None or not limits.has_cost:
            return reason
        cost = await self.cost() if turn.tokens else 0.0
        reason, unpriced = cost_limit_met(limits, Spent.of(self.usage, 0.0, cost, model), self._before)
        if unpriced:
            raise ClawError(
                f"A cost limit is set, but the price of {unpriced} is unknown.",
                "Add it under `prices` in the settings, or remove the limit.",
            )
        return reason

    # --- money ---

    async def cost(self) -> float | None:
        """US dollars of the requests that are over; None where a price is unknown."""
        if self._loading is not None:
            await self._loading
        return self._cost_so_far()

    async def close(self) -> float | None:
        """The turn is over: its cost."""
        cost = await self.cost()
        if self._timer is not None:
            self._timer.cancel()
        return cost

    def _cost_so_far(self) -> float | None:
        unpriced, self._unpriced = self._unpriced, []
        for model, usage in unpriced:
            if self._cost is not None:
                price = self._price(model, usage)
                self._cost = None if price is None else self._cost + price
        return self._cost

    # --- live figures ---

    def _show_soon(self) -> None:
        if self._timer is None:
            wait_seconds = max(self._shown_at + SHOWN_EVERY_SECONDS - time.monotonic(), 0.0)
            self._timer = asyncio.get_running_loop().call_later(wait_seconds, self._show)

    def _show(self) -> None:
        self._timer, self._shown_at = None, time.monotonic()
        now = self._under_way
        usage = self.usage + now.usage if now is not None else self.usage
        if usage == self._shown or not total_tokens(usage) or self._turn.is_finished:
            return
        self._shown = usage
        cost: float | None = None
        if self._loading is None or self._loading.done():
            cost = self._cost_so_far()
            if cost is not None and now is not None:
                price = self._price(now.model or self._model, now.usage)
                cost = None if price is None else cost + price
        self._turn.emit(UsageChanged(usage, cost))

    def _show_again(self, _: object) -> None:
        """With the price, now that it is known."""
        self._shown = Usage()
        self._show_soon()


async def _load(preload: Callable[[], object]) -> None:
    """While the model's first words are awaited, not after its last ones."""
    await asyncio.sleep(PRICES_AFTER_SECONDS)
    await asyncio.to_thread(preload)
