"""What a response costs; an unknown price is unknown, never nothing."""

import pytest

from claw_kernel.messages import Usage
from claw_kernel.providers.prices import cost_usd

USAGE = Usage(input_tokens=1000, output_tokens=500, cache_read_tokens=2000, cache_write_tokens=400)


def test_each_counter_has_its_price():
    """claude-sonnet-4-5 costs 3 and 15 dollars a million, cached reads a tenth, cache writes a quarter more."""
    wanted = (1000 * 3 + 500 * 15 + 2000 * 0.30 + 400 * 3.75) / 1e6
    assert cost_usd("anthropic", "claude-sonnet-4-5", USAGE) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("anthropic", "no-such-model-9"),
        ("scripted", "tour.json"),
        ("ollama", "llama3"),
        ("local", "gpt-5"),
        ("lmstudio", "openai/gpt-5"),
        ("nobody", "gpt-5"),
    ],
)
def test_unknown_is_none(provider, model):
    assert cost_usd(provider, model, USAGE) is None


@pytest.mark.parametrize(
    ("provider", "model"), [("xai", "grok-4"), ("groq", "llama-3.3-70b-versatile"), ("openai", "gpt-5")]
)
def test_providers_whose_name_differs_in_the_table(provider, model):
    assert cost_usd(provider, model, Usage(1000, 1000)) > 0


def test_the_users_own_table_wins():
    table = {
        "anthropic/claude-sonnet-4-5": {"input": 1.0, "output": 2.0},
        "ollama/x": {"input": 1.0, "output": 1.0, "cache_read": 0.5},
    }
    assert cost_usd("anthropic", "claude-sonnet-4-5", USAGE, table) == pytest.approx((3400 * 1 + 500 * 2) / 1e6)
    assert cost_usd("ollama", "x", USAGE, table) == pytest.approx((1000 + 400 + 500 + 2000 * 0.5) / 1e6)
