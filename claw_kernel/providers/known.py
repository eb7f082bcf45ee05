"""The providers known by name, as data: where they are, which key they want, which wire format they speak and how it
differs. A provider that speaks a known wire format is one more line here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal, TypeAlias

from claw_kernel.late_dataclass import dataclass
from claw_kernel.providers.settings import Api

EffortForm: TypeAlias = Literal["", "reasoning_effort", "reasoning", "thinking", "enable_thinking", "template"]
"""How a server is told how much to think: ``"reasoning_effort": LEVEL`` · ``"reasoning": {"effort": LEVEL}`` ·
``"thinking": {"type": "enabled" or "disabled"}`` · ``"enable_thinking": true or false`` with ``thinking_budget`` · the same
switch among the arguments of the model's chat template, and ``reasoning_effort`` beside it. Empty: it cannot be told."""


@dataclass(frozen=True)
class Dialect:
    """How one server's Chat Completions differ from the common form.

    ``max_tokens_field``: the name of the output limit. ``asks_usage``: ``stream_options.include_usage`` is understood.
    ``reasoning_field``: reasoning goes back in this field on messages with tool calls (empty: it does not go back).
    ``has_details``: reasoning comes and goes back as a list ``reasoning_details`` too, which must not be changed.
    ``call_ids``: ``short`` means exactly nine letters and digits. ``is_bridged``: a user message may not follow a tool
    message directly. ``is_signed``: a call goes back with the thought signature it came with
    (https://ai.google.dev/gemini-api/docs/thought-signatures). ``names_results``: a tool message says the tool's name.
    ``effort``: see ``EffortForm``. ``extra``: sent with every request. ``cuts_silently``: what does not fit the context
    is dropped without a word. ``asks_cache``: the server caches a prompt for models with such names only where it is asked to.
    """

    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    asks_usage: bool = True
    reasoning_field: str = ""
    has_details: bool = False
    call_ids: Literal["any", "short"] = "any"
    is_bridged: bool = False
    is_signed: bool = False
    names_results: bool = False
    effort: EffortForm = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
    cuts_silently: bool = False
    asks_cache: tuple[str, ...] = ()


COMMON = Dialect()


@dataclass(frozen=True)
class KnownProvider:
    """``key_variables``: looked for in this order. ``base_url_variables``: each overrides ``base_url``. ``port``: the usual
    port of a server on this machine (0: a hosted provider). ``start_hint``: how to start such a server. ``key_header``: what
    carries the key (empty: as the wire format has it). ``path``: below the base URL, instead of the wire format's own;
    ``{model}`` and ``{version}`` stand for the model and for the value of ``version_variables`` or ``version``."""

    name: str
    api: Api
    base_url: str
    key_variables: tuple[str, ...] = ()
    base_url_variables: tuple[str, ...] = ()
    dialect: Dialect = COMMON
    keys_url: str = ""
    port: int = 0
    start_hint: str = ""
    key_header: str = ""
    path: str = ""
    version: str = ""
    version_variables: tuple[str, ...] = ()

    @property
    def is_local(self) -> bool:
        return self.port != 0


KNOWN: dict[str, KnownProvider] = {
    known.name: known
    for known in (
        KnownProvider(
            "anthropic",
            "anthropic",
            "https://api.anthropic.com",
            ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"),
            ("ANTHROPIC_BASE_URL",),
            keys_url="https://console.anthropic.com/settings/keys",
        ),
        KnownProvider(
            "openai",
            "openai-chat",
            "https://api.openai.com/v1",
            ("OPENAI_API_KEY",),
            ("OPENAI_BASE_URL",),
            Dialect(max_tokens_field="max_completion_tokens", effort="reasoning_effort"),
            "https://platform.openai.com/api-keys",
        ),
        KnownProvider(
            "azure",
            "openai-chat",
            "",
            ("AZURE_OPENAI_API_KEY",),
            ("AZURE_OPENAI_ENDPOINT",),
            Dialect(max_tokens_field="max_completion_tokens", effort="reasoning_effort"),
            "https://portal.azure.com",
            key_header="api-key",
            # https://learn.microsoft.com/azure/ai-services/openai/reference: the newest version that is no preview
            path="/openai/deployments/{model}/chat/completions?api-version={version}",
            version="2024-10-21",
            version_variables=("OPENAI_API_VERSION", "AZURE_OPENAI_API_VERSION"),
        ),
        KnownProvider(
            "openrouter",
            "openai-chat",
            "https://openrouter.ai/api/v1",
            ("OPENROUTER_API_KEY",),
            # https://openrouter.ai/docs/use-cases/reasoning-tokens, https://openrouter.ai/docs/features/prompt-caching
            dialect=Dialect(has_details=True, effort="reasoning", asks_cache=("anthropic/",)),
            keys_url="https://openrouter.ai/settings/keys",
        ),
        KnownProvider(
            "deepseek",
            "openai-chat",
            "https://api.deepseek.com/v1",
            ("DEEPSEEK_API_KEY",),
            dialect=Dialect(reasoning_field="reasoning_content", effort="thinking"),
            keys_url="https://platform.deepseek.com/api_keys",
        ),
        KnownProvider(
            "groq",
            "openai-chat",
            "https://api.groq.com/openai/v1",
            ("GROQ_API_KEY",),
            dialect=Dialect(max_tokens_field="max_completion_tokens", effort="reasoning_effort"),
            keys_url="https://console.groq.com/keys",
        ),
        KnownProvider(
            "mistral",
            "openai-chat",
            "https://api.mistral.ai/v1",
            ("MISTRAL_API_KEY",),
            dialect=Dialect(
                asks_usage=False, call_ids="short", is_bridged=True, names_results=True, effort="reasoning_effort"
            ),
            keys_url="https://console.mistral.ai/api-keys",
        ),
        KnownProvider(
            "xai",
            "openai-chat",
            "https://api.x.ai/v1",
            ("XAI_API_KEY",),
            dialect=Dialect(max_tokens_field="max_completion_tokens", effort="reasoning_effort"),
            keys_url="https://console.x.ai",
        ),
        KnownProvider(
            "gemini",
            "openai-chat",
            "https://generativelanguage.googleapis.com/v1beta/openai",
            ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
            dialect=Dialect(is_signed=True, effort="reasoning_effort"),
            keys_url="https://aistudio.google.com/apikey",
        ),
        KnownProvider(
            "moonshot",
            "openai-chat",
            "https://api.moonshot.ai/v1",
            ("MOONSHOT_API_KEY",),
            ("MOONSHOT_BASE_URL",),
            Dialect(reasoning_field="reasoning_content", effort="thinking"),
            keys_url="https://platform.moonshot.ai/console/api-keys",
        ),
        KnownProvider(
            "dashscope",
            "openai-chat",
            "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
            ("DASHSCOPE_API_KEY",),
            ("DASHSCOPE_BASE_URL",),
            Dialect(effort="enable_thinking"),
            keys_url="https://modelstudio.console.alibabacloud.com",
        ),
        KnownProvider(
            "ollama",
            "openai-chat",
            "http://127.0.0.1:11434/v1",
            ("OLLAMA_API_KEY",),
            ("OLLAMA_HOST",),
            Dialect(effort="reasoning_effort", cuts_silently=True),
            port=11434,
            start_hint="ollama serve",
        ),
        KnownProvider(
            "llamacpp",
            "openai-chat",
            "http://127.0.0.1:8080/v1",
            ("LLAMA_API_KEY",),
            ("LLAMACPP_BASE_URL",),
            Dialect(reasoning_field="reasoning_content", effort="template"),
            port=8080,
            start_hint="llama-server --jinja -m <model.gguf>",
        ),
        KnownProvider(
            "vllm",
            "openai-chat",
            "http://127.0.0.1:8000/v1",
            ("VLLM_API_KEY",),
            ("VLLM_BASE_URL",),
            Dialect(effort="template"),
            port=8000,
            start_hint="vllm serve <model> --enable-auto-tool-choice --tool-call-parser <parser>",
        ),
        KnownProvider(
            "lmstudio",
            "openai-chat",
            "http://127.0.0.1:1234/v1",
            ("LMSTUDIO_API_KEY",),
            ("LMSTUDIO_BASE_URL",),
            Dialect(effort="reasoning_effort"),
            port=1234,
            start_hint="lms server start",
        ),
    )
}
"""Servers on this machine need no key; theirs is used where it is set."""

LOCAL = KnownProvider(
    "local", "openai-chat", "", ("CLAW_API_KEY",), ("CLAW_BASE_URL",), Dialect(effort="reasoning_effort")
)
"""Any other server: its address comes from ``--base-url``. No other provider's key is ever sent to it."""

DEFAULT_MODELS: tuple[tuple[str, str], ...] = (
    # The mid-sized model of the newest generation whose price is known (genai-prices 0.2.3): able, and not the dearest.
    ("anthropic", "claude-sonnet-5"),
    # The name without a minor version: the one every account with the API can use.
    ("openai", "gpt-5"),
)
"""Provider and model used where nobody chose and a key is set, in this order."""
