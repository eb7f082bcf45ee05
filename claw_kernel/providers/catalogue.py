"""What is known of models: context window, output limit, abilities, and the short names of some.

Windows come from the genai-prices package, which prices come from too; what it does not hold of a model stands in
``_FAMILIES``, from the providers' own pages. The user's ``models`` setting comes before both, and a server on this machine is
asked (:mod:`claw_kernel.providers.local`). What nobody says stays None: unknown is not a number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from claw_kernel.errors import SettingsError
from claw_kernel.providers.known import KNOWN

if TYPE_CHECKING:
    from claw_kernel.providers.settings import ProviderSettings

PRICE_TABLE_NAMES = {"gemini": "google", "xai": "x-ai", "moonshot": "moonshotai"}
"""Providers' names in the price table that differ from ours."""

ALIASES: Mapping[str, str] = {
    "opus": "anthropic/claude-opus-5",
    "sonnet": "anthropic/claude-sonnet-5",
    "haiku": "anthropic/claude-haiku-4-5",
    "gpt": "openai/gpt-5",
    "gpt-mini": "openai/gpt-5-mini",
    "gemini": "gemini/gemini-2.5-pro",
    "gemini-flash": "gemini/gemini-2.5-flash",
    "grok": "xai/grok-4-0709",
    "kimi": "moonshot/kimi-k2.6",
    "deepseek": "deepseek/deepseek-chat",
}
"""Short names. Each stands for a model whose price is known; the ``aliases`` setting adds to them and comes first."""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What is known of one model; None where it is not. ``context_window`` and ``output_limit`` in tokens; the others: whether
    it takes images, reasons, calls tools, and can be held to a JSON schema by its server."""

    context_window: int | None = None
    output_limit: int | None = None
    has_images: bool | None = None
    has_thinking: bool | None = None
    has_tools: bool | None = None
    has_structured_output: bool | None = None


FIELDS = tuple(field.name for field in fields(ModelCard))


def resolve_alias(name: str, aliases: Mapping[str, str] | None = None) -> str:
    """``provider/model`` for a short name; any other name as it is. Raises SettingsError for an alias of an alias."""
    target = (aliases or {}).get(name) or ALIASES.get(name)
    if target is None:
        return name
    if "/" not in target:
        raise SettingsError(
            f"The alias {name!r} stands for {target!r}, which has no provider.", "Write it as provider/model."
        )
    return target


def describe_model(
    model: str, overrides: Mapping[str, Mapping[str, Any]] | None = None, aliases: Mapping[str, str] | None = None
) -> ModelCard:
    """What the user's setting, the families and the price table know of ``provider/model``. Sends nothing.

    The table takes some 150 ms to import the first time: call it in a thread, or after :func:`prices.preload`.
    """
    card = describe_family(model, overrides, aliases)
    if card.context_window is None:
        card = replace(card, context_window=_table_window(resolve_alias(model, aliases)))
    return card


def describe_family(
    model: str, overrides: Mapping[str, Mapping[str, Any]] | None = None, aliases: Mapping[str, str] | None = None
) -> ModelCard:
    """The same without the price table: at once, but for most models without a context window."""
    model = resolve_alias(model, aliases)
    provider, _, name = model.partition("/")
    name = _bare(name)
    card = next((card for pattern, card in _FAMILIES if re.match(pattern, name)), ModelCard())
    if provider in KNOWN and KNOWN[provider].is_local:  # how much a server on this machine takes is its own affair
        card = replace(card, context_window=None, output_limit=None)
    given = {key: value for key, value in (overrides or {}).get(model, {}).items() if key in FIELDS}
    return replace(card, **given)


def context_window(
    model: str, overrides: Mapping[str, Mapping[str, Any]] | None = None, aliases: Mapping[str, str] | None = None
) -> int | None:
    """Tokens that prompt and answer of ``provider/model`` may have together; None where it is unknown. Call it in a thread
    (see :func:`describe_model`)."""
    return describe_model(model, overrides, aliases).context_window


async def find_context_window(model: str, settings: ProviderSettings) -> int | None:
    """The same, and a server on this machine (or at ``settings.base_url``) is asked where nothing else knows. Raises nothing."""
    import asyncio

    from claw_kernel.providers.local import ask_context_window

    window = await asyncio.to_thread(context_window, model, settings.models, settings.aliases)
    return window if window is not None else await ask_context_window(model, settings)


def _bare(name: str) -> str:
    """A model's name without the maker before it (OpenRouter, Groq) and without a variant behind it."""
    return name.rpartition("/")[2].partition(":")[0].lower()


def _table_window(model: str) -> int | None:
    provider, _, name = model.partition("/")
    known = KNOWN.get(provider)
    if known is None or known.is_local:
        return None
    from genai_prices.data_snapshot import get_snapshot

    try:
        _, found = get_snapshot().find_provider_model(name, None, PRICE_TABLE_NAMES.get(provider, provider), None)
    except LookupError:
        return None
    return found.context_window


def _card(output_limit: int | None = None, *, images: bool, thinking: bool, schema: bool | None = None) -> ModelCard:
    return ModelCard(None, output_limit, images, thinking, True, schema)


_FAMILIES: tuple[tuple[str, ModelCard], ...] = (
    # https://docs.claude.com/en/docs/about-claude/models/overview
    (r"claude-3-7-|claude-(sonnet-4|haiku-4|opus-4-5)", _card(64_000, images=True, thinking=True)),
    (r"claude-opus-4-[01]|claude-opus-4$|claude-opus-4-2025", _card(32_000, images=True, thinking=True)),
    (r"claude-3-5-", _card(8_192, images=True, thinking=False)),
    (r"claude-3-", _card(4_096, images=True, thinking=False)),
    (r"claude-[a-z]+-\d", _card(images=True, thinking=True, schema=True)),
    # https://platform.openai.com/docs/models
    (r"gpt-oss", _card(images=False, thinking=True)),
    (r"gpt-5(\.\d)?-chat", _card(16_384, images=True, thinking=False, schema=True)),
    (r"gpt-5", _card(128_000, images=True, thinking=True, schema=True)),
    (r"gpt-[6-9]", _card(images=True, thinking=True, schema=True)),
    (r"gpt-4\.1", _card(32_768, images=True, thinking=False, schema=True)),
    (r"gpt-4o|chatgpt-4o", _card(16_384, images=True, thinking=False, schema=True)),
    (r"gpt-4-turbo", _card(4_096, images=True, thinking=False, schema=False)),
    (r"gpt-4|gpt-3\.5", _card(images=False, thinking=False, schema=False)),
    (r"o1-mini|o3-mini", _card(images=False, thinking=True)),
    (r"o[134](-|$)", _card(100_000, images=True, thinking=True, schema=True)),
    # https://ai.google.dev/gemini-api/docs/models
    (r"gemini-2\.0", _card(8_192, images=True, thinking=False, schema=True)),
    (r"gemini-(2\.5|[3-9])", _card(images=True, thinking=True, schema=True)),
    # https://api-docs.deepseek.com/quick_start/pricing
    (r"deepseek-", _card(images=False, thinking=True)),
    # https://docs.x.ai/docs/models
    (r"grok-\d.*-non-reasoning", _card(images=True, thinking=False)),
    (r"grok-3-mini", _card(images=False, thinking=True)),
    (r"grok-3|grok-code", _card(images=False, thinking=False)),
    # https://platform.moonshot.ai/docs
    (r"kimi-k2\.[5-9]", _card(images=True, thinking=True)),
    (r"kimi-k2-thinking", _card(images=False, thinking=True)),
    (r"kimi-k2|moonshot-v1-\d+k$", _card(images=False, thinking=False)),
    # https://qwenlm.github.io, and what the local servers list
    (r"qwen[\d.]*-?vl|qwen2\.5-?vl|qvq", _card(images=True, thinking=False)),
    (r"qwen-?3|qwq", ModelCard(has_images=None, has_thinking=True, has_tools=True)),
    (r"magistral", _card(images=False, thinking=True)),
    (r"codestral|ministral-[38]b|mistral-nemo|mixtral", _card(images=False, thinking=False)),
    (r"llama-?3\.[13]", _card(images=False, thinking=False)),
)
"""By name, the first that fits. Output limits and abilities where the maker's page says them."""
