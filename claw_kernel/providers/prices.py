"""What tokens cost: dated prices from the genai-prices package, corrected by the user's own table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields

from claw_kernel.messages import Compaction, Step, TurnRecord, Usage
from claw_kernel.providers.catalogue import PRICE_TABLE_NAMES
from claw_kernel.providers.known import KNOWN


def preload() -> None:
    """Import the price table (some 150 ms), in a thread, while a first answer is awaited."""
    import genai_prices  # noqa: F401


def turn_cost(record: TurnRecord, price: Callable[[str, Usage], float | None]) -> float | None:
    """US dollars of a turn so far, or None where a price is unknown. Steps that another model answered (a fallback) cost what
    that one costs. ``price``: ``(provider/model, usage)`` to US dollars. Takes some 150 ms the first time."""
    paid: list[Step | Compaction] = [*record.steps, *(step.compaction for step in record.steps if step.compaction)]
    rest, others = record.usage, [one for one in paid if one.model not in ("", record.model)]
    for step in others:
        rest = Usage(*(getattr(rest, item.name) - getattr(step.usage, item.name) for item in fields(Usage)))
    costs = [price(record.model, rest), *(price(step.model, step.usage) for step in others)]
    known = [cost for cost in costs if cost is not None]
    return sum(known) if len(known) == len(costs) else None


def cost_usd(
    provider: str, model: str, usage: Usage, overrides: Mapping[str, Mapping[str, float]] | None = None
) -> float | None:
    """US dollars, or None where the price is unknown (scripted and local models among them): unknown is not free.

    ``overrides``: ``{"provider/model": {"input": …, "output": …, "cache_read": …, "cache_write": …}}`` in US dollars per
    million tokens; a missing cache price is the input price. Takes some 150 ms the first time: call it after the turn.
    """
    if provider == "recorded":  # nothing is sent
        return 0.0
    table = (overrides or {}).get(f"{provider}/{model}")
    if table is not None and "input" in table and "output" in table:
        per_million = (
            usage.input_tokens * table["input"]
            + usage.output_tokens * table["output"]
            + usage.cache_read_tokens * table.get("cache_read", table["input"])
            + usage.cache_write_tokens * table.get("cache_write", table["input"])
        )
        return per_million / 1_000_000
    known = KNOWN.get(provider)
    if known is None or known.is_local:
        return None
    import genai_prices

    counted = genai_prices.Usage(
        input_tokens=usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        output_tokens=usage.output_tokens,
    )
    try:
        return float(
            genai_prices.calc_price(counted, model, provider_id=PRICE_TABLE_NAMES.get(provider, provider)).total_price
        )
    except (LookupError, ValueError):  # not in the table, or a counter it has no price for
        return None
