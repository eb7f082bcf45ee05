"""What tokens cost: dated prices from the genai-prices package, corrected by the user's own table."""

from __future__ import annotations

from collections.abc import Mapping

from claw_kernel.messages import Usage
from claw_kernel.providers.catalogue import PRICE_TABLE_NAMES
from claw_kernel.providers.known import KNOWN


def cost_usd(
    provider: str, model: str, usage: Usage, overrides: Mapping[str, Mapping[str, float]] | None = None
) -> float | None:
    """US dollars of one request (some prices depend on its length), or None where the price is unknown (scripted and local models
    among them): unknown is not free.

    ``overrides``: ``{"provider/model": {"input": …, "output": …, "cache_read": …, "cache_write": …}}`` in US dollars per
    million tokens; a missing cache price is the input price. Takes some
    150 ms the first time, to import the table: call it in a thread, while an answer is awaited.
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
