"""What is known of models, and what is asked of a server on this machine."""

import asyncio
import json

import pytest

from claw_kernel.errors import SettingsError
from claw_kernel.messages import Message, TextBlock, Usage
from claw_kernel.providers import ProviderSettings, open_provider
from claw_kernel.providers.catalogue import (
    ALIASES,
    context_window,
    describe_model,
    find_context_window,
    resolve_alias,
)
from claw_kernel.providers.known import KNOWN
from claw_kernel.providers.prices import cost_usd
from claw_kernel.settings import load_settings
from tests.model_server import FRAMES, JSON, ModelServer, Response, text
from tests.providers.conftest import ask_all


@pytest.mark.parametrize(
    ("model", "window"),
    [
        ("anthropic/claude-sonnet-4-5-20250929", 200_000),
        ("openai/gpt-4o", 128_000),
        ("deepseek/deepseek-v3.2", 128_000),
        ("moonshot/kimi-k2.6", 262_144),
        ("gemini/gemini-2.5-flash", 1_048_576),
        ("anthropic/claude-of-tomorrow", None),
        ("openai/gpt-of-tomorrow", None),
        ("ollama/gpt-oss-20b", None),
        ("scripted/hello", None),
        ("nobody/nothing", None),
    ],
)
def test_the_window_is_known_or_unknown(model, window):
    assert context_window(model) == window


def test_the_user_knows_better():
    overrides = {"ollama/qwen3": {"context_window": 32_768, "has_images": True}}
    card = describe_model("ollama/qwen3", overrides)
    assert (card.context_window, card.has_images, card.has_thinking) == (32_768, True, True)
    assert describe_model("q", overrides, {"q": "ollama/qwen3"}) == card


def test_abilities():
    assert describe_model("anthropic/claude-3-haiku-20240307").output_limit == 4_096
    assert describe_model("openrouter/anthropic/claude-sonnet-4-5").has_images is True
    assert describe_model("groq/openai/gpt-oss-120b").has_images is False
    assert describe_model("vllm/who-knows").has_images is None


@pytest.mark.parametrize("alias", sorted(ALIASES))
def test_an_alias_stands_for_a_model_whose_price_and_window_are_known(alias):
    model = resolve_alias(alias)
    provider, _, name = model.partition("/")
    assert cost_usd(provider, name, Usage(1, 1))
    assert context_window(alias) or name == "gemini-2.5-pro"
    keys = {variable: "k" * 20 for known in KNOWN.values() for variable in known.key_variables}
    opened, _ = open_provider(alias, ProviderSettings(keys))
    assert opened.name == provider


def test_aliases_of_the_user(tmp_path):
    (tmp_path / "settings.json").write_text(json.dumps({"aliases": {"fast": "ollama/qwen3", "opus": "ollama/big"}}))
    settings = load_settings(str(tmp_path), {"CLAW_HOME": str(tmp_path), "HOME": str(tmp_path)})
    assert resolve_alias("fast", settings.aliases) == "ollama/qwen3"
    assert resolve_alias("opus", settings.aliases) == "ollama/big"
    assert open_provider("fast", ProviderSettings({}, aliases=settings.aliases))[1] == "qwen3"
    with pytest.raises(SettingsError, match="no provider"):
        resolve_alias("a", {"a": "b"})
    (tmp_path / "settings.json").write_text(json.dumps({"aliases": {"fast": "opus"}}))
    with pytest.raises(SettingsError, match="aliases"):
        load_settings(str(tmp_path), {"CLAW_HOME": str(tmp_path), "HOME": str(tmp_path)})


def test_a_project_cannot_say_what_a_model_is(tmp_path):
    (tmp_path / ".claw").mkdir()
    (tmp_path / ".claw" / "settings.json").write_text(
        json.dumps({"aliases": {"opus": "ollama/big"}, "models": {"a/b": {"context_window": 9}}})
    )
    settings = load_settings(str(tmp_path), {"CLAW_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)})
    assert not settings.aliases
    assert not settings.models
    assert any("aliases, models ignored" in notice for notice in settings.notices)


SAID = {
    "ollama": {
        "/api/ps": {"models": [{"name": "m", "context_length": 8192}]},
        "/api/show": {"parameters": "num_ctx    4096\nstop x"},
    },
    "ollama, not loaded": {"/api/ps": {"models": []}, "/api/show": {"parameters": "stop x\nnum_ctx    4096"}},
    "ollama, unsaid": {"/api/ps": {"models": []}, "/api/show": {"parameters": "stop x"}},
    "llamacpp": {"/props": {"default_generation_settings": {"n_ctx": 16_384}}},
    "vllm": {"/v1/models": {"data": [{"id": "other", "max_model_len": 1}, {"id": "m", "max_model_len": 40_960}]}},
    "lmstudio": {"/api/v0/models": {"data": [{"id": "m", "loaded_context_length": 6000, "max_context_length": 9000}]}},
    "local": {"/v1/models": {"data": [{"id": "m", "context_window": 7000}]}},
}
WINDOWS = [8192, 4096, None, 16_384, 40_960, 6000, 7000]


@pytest.mark.parametrize(("kind", "window"), list(zip(SAID, WINDOWS, strict=True)))
def test_a_server_on_this_machine_is_asked(kind, window):
    def say(request):
        value = SAID[kind].get(request.path)
        return Response(200 if value else 404, JSON, [json.dumps(value or {}).encode()], is_chunked=False)

    with ModelServer(pages=say) as server:
        provider = kind.partition(",")[0]
        settings = ProviderSettings({}, server.base_url)
        assert asyncio.run(find_context_window(f"{provider}/m", settings)) == window


def test_nobody_answers():
    settings = ProviderSettings({}, "http://127.0.0.1:9")
    assert asyncio.run(find_context_window("vllm/m", settings)) is None


def test_ollama_is_not_trusted_to_say_what_it_drops():
    """It cuts a long conversation to its window without a word; the person is told, each time it happens."""
    loaded = {"models": [{"name": "m", "context_length": 4096}]}

    def say(request):
        return Response(200, JSON, [json.dumps(loaded).encode()], is_chunked=False)

    with ModelServer(pages=say) as server:
        server.answer(*[FRAMES["openai-chat"]([text("ok")])] * 3)
        long, short = ((Message("user", (TextBlock("word " * n),)),) for n in (4000, 10))
        exchanges = ask_all(None, server.base_url, [{"messages": m} for m in (long, short, long)], model="ollama/m")
    assert [len(exchange.notices) for exchange in exchanges] == [1, 0, 1]
    assert "OLLAMA_CONTEXT_LENGTH=32768" in exchanges[0].notices[0]
    assert [request.path for request in server.requests].count("/api/ps") == 1
