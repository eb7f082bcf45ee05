"""Names, keys and addresses: which provider serves a model, and what is said where none can."""

import asyncio
import socket
import subprocess
import sys
import time

import pytest

from claw_kernel.errors import AuthError, ClawError, ModelNotFoundError, SettingsError
from claw_kernel.providers import ProviderSettings, default_model, open_provider, server_address
from claw_kernel.providers.known import DEFAULT_MODELS, KNOWN
from claw_kernel.providers.local import find_local_models
from claw_kernel.providers.prices import cost_usd
from tests.model_server import FRAMES, ModelServer, text
from tests.providers.conftest import ask


def settings(base_url=None, api=None, **env):
    return ProviderSettings(env, base_url, api)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def nowhere(**env):
    """No local server is found, also where one runs on this machine."""
    closed = f"127.0.0.1:{free_port()}"
    variables = ("OLLAMA_HOST", "LLAMACPP_BASE_URL", "VLLM_BASE_URL", "LMSTUDIO_BASE_URL")
    return ProviderSettings({**dict.fromkeys(variables, closed), **env})


@pytest.mark.parametrize("name", KNOWN)
def test_each_known_provider_opens_with_its_key(name):
    known = KNOWN[name]
    env = {known.key_variables[0]: "k", "AZURE_OPENAI_ENDPOINT": "https://a.openai.azure.com"}
    provider, model = open_provider(f"{name}/some/model:x", ProviderSettings(env))
    assert (provider.name, model) == (name, "some/model:x")


@pytest.mark.parametrize("name", [name for name, known in KNOWN.items() if not known.is_local])
def test_a_missing_key_names_the_variable(name):
    with pytest.raises(AuthError) as caught:
        open_provider(f"{name}/m", settings(AZURE_OPENAI_ENDPOINT="https://a.openai.azure.com"))
    assert KNOWN[name].key_variables[0] in str(caught.value)
    assert KNOWN[name].keys_url in caught.value.remedy


@pytest.mark.parametrize("name", [name for name, known in KNOWN.items() if known.is_local])
def test_a_local_server_needs_no_key(name):
    assert open_provider(f"{name}/m", settings())[0].name == name


@pytest.mark.parametrize(
    ("model", "line"),
    [
        ("antropic/claude-x", "Did you mean anthropic/claude-x?"),
        ("Ollama/x", "Did you mean ollama/x?"),
        ("claude-sonnet-5", "Did you mean anthropic/claude-sonnet-5?"),
        ("gpt-5", "Did you mean openai/gpt-5?"),
        ("zzz", "Write provider/model"),
        ("zzz/x", "There is no provider 'zzz'"),
        ("anthropic/", "names no model"),
        ("local/x", "--base-url"),
        ("scripted/nothing-here", "hello"),
        ("scripted/nothing-here.json", "There is no script"),
    ],
)
def test_names_that_are_none(model, line):
    with pytest.raises(ClawError) as caught:
        open_provider(model, settings(ANTHROPIC_API_KEY="k"))
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "api", "name", "sent"),
    [
        ("foo", "openai-chat", "local", "foo"),
        ("foo", None, "local", "foo"),
        ("local/foo", "openai-chat", "local", "foo"),
        ("openai/gpt-oss-20b", "openai-chat", "local", "openai/gpt-oss-20b"),
        ("qwen/qwen3-8b", "openai-chat", "local", "qwen/qwen3-8b"),
        ("anthropic/claude-x", "anthropic", "anthropic", "claude-x"),
        ("anthropic/claude-x", None, "anthropic", "claude-x"),
        ("openai/gpt-5", None, "openai", "gpt-5"),
        ("foo", "openai-responses", "local", "foo"),
    ],
)
def test_another_address(model, api, name, sent):
    provider, model = open_provider(model, settings("http://127.0.0.1:1234", api))
    assert (provider.name, model) == (name, sent)


def test_responses_for_openai(server):
    server.answer(FRAMES["openai-responses"]([text("hi")]))
    env = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": server.base_url}
    provider, _ = open_provider("openai/gpt-5", ProviderSettings(env, api="openai-responses"))
    assert provider.name == "openai"
    with pytest.raises(SettingsError, match="does not speak"):
        open_provider("openai/gpt-5", ProviderSettings(env, api="anthropic"))
    assert ask("openai-responses", server.base_url).content
    assert server.requests[0].path == "/v1/responses"


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("http://127.0.0.1:1234", "http://127.0.0.1:1234/v1"),
        ("http://127.0.0.1:1234/", "http://127.0.0.1:1234/v1"),
        ("http://127.0.0.1:1234/v1/", "http://127.0.0.1:1234/v1"),
        ("https://host/path/api", "https://host/path/api"),
    ],
)
def test_addresses(given, address):
    assert server_address(KNOWN["ollama"], settings(given)) == address


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:11434/v1"),
        ("0.0.0.0:99", "http://127.0.0.1:99/v1"),
        ("gpu:11434", "http://gpu:11434/v1"),
        ("https://gpu.example", "https://gpu.example/v1"),
    ],
)
def test_ollama_host(given, address):
    assert server_address(KNOWN["ollama"], settings(OLLAMA_HOST=given)) == address


@pytest.mark.parametrize("given", ["ftp://x", "http://", "http://host:port", "http:///v1"])
def test_addresses_that_are_none(given):
    with pytest.raises(SettingsError, match="is no web address"):
        open_provider("m", settings(given))


def test_a_key_with_a_stray_character_is_said_before_it_is_sent():
    with pytest.raises(AuthError) as caught:
        open_provider("anthropic/m", settings(ANTHROPIC_API_KEY="sk-“quoted”"))
    assert "ANTHROPIC_API_KEY" in str(caught.value)
    assert "quoted" not in str(caught.value)


def test_a_key_with_a_line_end_is_used_without_it(server):
    server.answer(FRAMES["anthropic"]([text("hi")]))
    assert ask(None, server.base_url, model="anthropic/m", env={"ANTHROPIC_API_KEY": " k\n"}).content
    assert server.requests[0].headers["x-api-key"] == "k"


# --- nobody chose a model ---------------------------------------------------------------------------------------------


def test_default_models_have_a_price():
    """The names exist in the price table, so that a first session shows what it costs."""
    from claw_kernel.messages import Usage

    for provider, model in DEFAULT_MODELS:
        assert cost_usd(provider, model, Usage(1000, 1000)) > 0


def test_the_key_decides():
    assert asyncio.run(default_model(nowhere(ANTHROPIC_API_KEY="a", OPENAI_API_KEY="b"))).startswith("anthropic/")
    assert asyncio.run(default_model(nowhere(OPENAI_API_KEY="b"))).startswith("openai/")


def test_a_local_server_is_found():
    with ModelServer(models=["nomic-embed-text", "qwen3:8b", "llama4"]) as server:
        found = nowhere(VLLM_BASE_URL=server.base_url)
        assert asyncio.run(find_local_models(found)) == ["vllm/qwen3:8b", "vllm/llama4"]
        assert asyncio.run(default_model(found)) == "vllm/qwen3:8b"
        assert all("authorization" not in request.headers for request in server.requests)


def test_a_local_server_on_its_usual_port():
    """Where something else has the port, asking it still ends in time."""
    try:
        server = ModelServer(port=11434, models=["qwen3:8b"])
    except OSError:
        asyncio.run(find_local_models(ProviderSettings()))
        return
    with server:
        assert "ollama/qwen3:8b" in asyncio.run(find_local_models(ProviderSettings()))


def test_a_server_that_accepts_and_says_nothing_costs_a_third_of_a_second():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        silent = ProviderSettings(dict.fromkeys(nowhere().env, address))
        started = time.perf_counter()
        assert asyncio.run(find_local_models(silent)) == []
        assert time.perf_counter() - started < 0.6


def test_no_provider_at_all():
    with pytest.raises(AuthError) as caught:
        asyncio.run(default_model(nowhere()))
    line = str(caught.value)
    for said in (
        "ANTHROPIC_API_KEY",
        "claw login",
        "ollama serve",
        "%claw model",
        "claw doctor",
        "scripted/hello",
    ):
        assert said in line
    assert len(line) < 400
    with pytest.raises(AuthError):
        open_provider(None, nowhere())


def test_a_key_without_a_default_model_is_not_called_missing():
    with pytest.raises(AuthError) as caught:
        asyncio.run(default_model(nowhere(GROQ_API_KEY="k")))
    assert "keys are set for groq" in str(caught.value)


def test_the_model_of_a_given_server():
    with ModelServer(models=["foo"]) as server:
        assert asyncio.run(default_model(settings(server.base_url))) == "local/foo"
        assert asyncio.run(find_local_models(settings(server.base_url))) == ["local/foo"]
        assert open_provider("local/foo", settings(server.base_url, "openai-chat"))[1] == "foo"


@pytest.mark.parametrize("address", ["http://me:its-password@127.0.0.1:1/v1", "ftp://me:its-password@host"])
def test_no_message_shows_the_login_of_an_address(address):
    with pytest.raises(ClawError) as caught:
        asyncio.run(default_model(settings(address)))
    assert "its-password" not in str(caught.value)


# --- what is imported -------------------------------------------------------------------------------------------------


def imported_after(code):
    script = f"import sys\n{code}\nprint(' '.join(sys.modules))"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()


def test_opening_a_provider_imports_no_http_library():
    opened = imported_after(
        "from claw_kernel.providers import *\n"
        "open_provider('anthropic/m', ProviderSettings({'ANTHROPIC_API_KEY': 'k'}))\n"
        "open_provider('scripted/hello', ProviderSettings())"
    )
    assert "claw_kernel.providers" in opened
    assert not {"httpx", "httpcore", "h11", "anyio", "genai_prices", "pydantic"} & set(opened)


def test_no_official_client_is_ever_imported():
    """The wire formats are ours; the official clients may be missing."""
    from pathlib import Path

    import claw_kernel.providers

    for path in Path(claw_kernel.providers.__file__).parent.glob("*.py"):
        source = path.read_text(encoding="utf-8")
        for module in ("anthropic", "openai", "litellm"):
            assert f"import {module}\n" not in source
            assert f"from {module} " not in source


def test_error_kinds():
    with pytest.raises(ModelNotFoundError) as caught:
        open_provider("nope/x", settings())
    assert caught.value.to_turn_error().kind == "model_not_found"
