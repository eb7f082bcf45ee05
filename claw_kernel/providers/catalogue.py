"""What is known of models: context window, output limit, abilities, and the short names of some.

Windows come from the genai-prices package, which prices come from too; what it does not hold stands in
``_FAMILIES``, from the providers' own pages. The user's ``models`` setting comes before both, and a server on this machine is
asked (:mod:`claw_kernel.providers.local`). What nobody says stays None: unknown is not a number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from claw_kernel.errors import SettingsError
from claw_kernel.late_dataclass import dataclass
from claw_kernel.messages import Effort, ModelRequest
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


@dataclass(frozen=True)
class ModelCard:
    """What is known of one model; None where it is not. ``context_window`` and ``output_limit`` in tokens; ``has_…``: whether
    it takes images, reasons, calls tools, and can be held to a JSON schema by its server. ``efforts``: its own words for how
    much it reasons, the least first; empty: it takes none."""

    context_window: int | None = None
    output_limit: int | None = None
    has_images: bool | None = None
    has_thinking: bool | None = None
    has_tools: bool | None = None
    has_structured_output: bool | None = None
    efforts: tuple[str, ...] | None = None


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
    card = next((card for beginnings, card in _FAMILIES if name.startswith(beginnings)), ModelCard())
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


_ADAPTIVE = ("none", "low", "medium", "high", "max")
_ALWAYS_THINKING = _ADAPTIVE[1:]
_GENERAL_EFFORTS = ("none", "low", "medium", "high")
"""Sent where a model's own levels are not known: what most compatible servers take."""


THINKING_TOKENS: Mapping[Effort, int] = {"low": 2_048, "medium": 8_192, "high": 16_384, "max": 32_000}
"""For models that are given a budget: from what a plan takes to where more hardly helps, by the providers' own pages."""


def effort_level(card: ModelCard, effort: Effort) -> str:
    """The model's own word for ``effort``: the nearest of its levels, or "" where it takes none."""
    levels = _GENERAL_EFFORTS if card.efforts is None else card.efforts
    if not levels or card.has_thinking is False:
        return ""
    if effort == "none":
        return levels[0]
    return effort if effort in levels else levels[-1]


def is_told_effort(card: ModelCard, request: ModelRequest) -> bool:
    """Whether the person said how much to think; that a model which does not reason should not is no news to it."""
    return request.effort is not None and not (request.effort == "none" and card.has_thinking is False)


def _card(
    output_limit: int | None = None,
    *,
    images: bool | None,
    thinking: bool,
    schema: bool | None = None,
    efforts: tuple[str, ...] | None = None,
) -> ModelCard:
    return ModelCard(None, output_limit, images, thinking, True, schema, efforts)


_FAMILIES: tuple[tuple[tuple[str, ...], ModelCard], ...] = (
    # https://platform.claude.com/docs/en/about-claude/models/overview and …/build-with-claude/effort: a model without
    # efforts is given a budget of thinking, the others decide themselves how much.
    (("claude-3-7",), _card(64_000, images=True, thinking=True)),
    (("claude-3-5",), _card(8_192, images=True, thinking=False)),
    (("claude-3-",), _card(4_096, images=True, thinking=False)),
    (("claude-opus-4-6", "claude-sonnet-4-6"), _card(images=True, thinking=True, schema=True, efforts=_ADAPTIVE)),
    (("claude-opus-4-7", "claude-opus-4-8"), _card(128_000, images=True, thinking=True, schema=True, efforts=_ADAPTIVE)),
    (("claude-opus-4-0", "claude-opus-4-1", "claude-opus-4-2"), _card(32_000, images=True, thinking=True)),
    (("claude-opus-4", "claude-sonnet-4", "claude-haiku-4"), _card(64_000, images=True, thinking=True)),
    (("claude-opus-5-5", "claude-fable", "claude-mythos", "claude-sonnet-5-5"), _card(128_000, images=True, thinking=True, schema=True, efforts=_ALWAYS_THINKING)),
    (("claude-opus-", "claude-sonnet-", "claude-haiku-"), _card(128_000, images=True, thinking=True, schema=True, efforts=_ADAPTIVE)),
    # https://platform.openai.com/docs/models
    (("gpt-oss",), _card(images=False, thinking=True, efforts=("low", "medium", "high"))),
    (("gpt-5-chat", "gpt-5.1-chat", "gpt-5.2-chat", "gpt-5.3-chat"), _card(16_384, images=True, thinking=False, schema=True)),
    (("gpt-5-pro",), _card(272_000, images=True, thinking=True, schema=True, efforts=("high",))),
    (("gpt-5.1",), _card(128_000, images=True, thinking=True, schema=True, efforts=("none", "low", "medium", "high"))),
    (("gpt-5.",), _card(128_000, images=True, thinking=True, schema=True, efforts=("none", "low", "medium", "high", "xhigh"))),
    (("gpt-5",), _card(128_000, images=True, thinking=True, schema=True, efforts=("minimal", "low", "medium", "high"))),
    (("gpt-6", "gpt-7"), _card(images=True, thinking=True, schema=True, efforts=("none", "low", "medium", "high", "xhigh"))),
    (("gpt-4.1",), _card(32_768, images=True, thinking=False, schema=True)),
    (("gpt-4o", "chatgpt-4o"), _card(16_384, images=True, thinking=False, schema=True)),
    (("gpt-4-turbo",), _card(4_096, images=True, thinking=False, schema=False)),
    (("gpt-4", "gpt-3.5"), _card(images=False, thinking=False, schema=False)),
    (("o1-mini", "o1-preview", "o3-mini"), _card(images=False, thinking=True, efforts=("low", "medium", "high"))),
    (("o1", "o3", "o4"), _card(100_000, images=True, thinking=True, schema=True, efforts=("low", "medium", "high"))),
    # https://ai.google.dev/gemini-api/docs/openai: the pro models cannot be kept from thinking
    (("gemini-2.0",), _card(8_192, images=True, thinking=False, schema=True)),
    (("gemini-2.5-pro", "gemini-3"), _card(65_536, images=True, thinking=True, schema=True, efforts=("low", "medium", "high"))),
    (("gemini-",), _card(65_536, images=True, thinking=True, schema=True)),
    # https://api-docs.deepseek.com
    (("deepseek-",), _card(images=False, thinking=True)),
    # https://docs.x.ai/docs/guides/reasoning: grok-4 takes no effort
    (("grok-3-mini",), _card(images=False, thinking=True, efforts=("low", "high"))),
    (("grok-3", "grok-code"), _card(images=False, thinking=False)),
    (("grok-4-",), _card(images=True, thinking=True, efforts=())),
    # https://platform.moonshot.ai/docs
    (("kimi-k2.", "kimi-k3"), _card(images=True, thinking=True)),
    (("kimi-k2-thinking",), _card(images=False, thinking=True)),
    (("kimi-k2", "moonshot-v1-8k", "moonshot-v1-32k", "moonshot-v1-128k"), _card(images=False, thinking=False)),
    # Open models under the names that Ollama, vLLM and hosts give them
    (("qwen3-vl", "qwen2.5-vl", "qwen2.5vl", "qwen-vl", "llava", "gemma3", "gemma-3-", "llama4", "llama-4", "pixtral"), _card(images=True, thinking=False)),
    (("qwen3-coder",), _card(images=False, thinking=False)),
    (("qwen3-max", "qwen-plus", "qwen-turbo", "qwen3", "qwen-3", "qwq"), _card(images=None, thinking=True)),
    (("magistral",), _card(images=None, thinking=True, efforts=())),
    (("codestral", "mistral-nemo", "open-mistral", "mixtral", "llama3.1", "llama-3.1", "llama3.3", "llama-3.3"), _card(images=False, thinking=False)),
)  # fmt: skip
"""By the beginning of the name, the first that fits. Output limits and abilities where the maker's page says them."""
