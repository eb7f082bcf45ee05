"""OpenAI-compatible servers on this machine: found on their usual ports when no key is set, and asked how much they take."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from claw_kernel.providers.known import KNOWN, LOCAL, KnownProvider
from claw_kernel.providers.settings import ProviderSettings

PROBE_SECONDS = 0.3
"""For all ports together. A server on the same machine lists its models in a few ms; a closed port answers at once."""

_LONGEST_ANSWER_BYTES = 1024 * 1024


async def find_local_models(settings: ProviderSettings, servers: Iterable[KnownProvider] | None = None) -> list[str]:
    """``provider/model`` names of what is served now, in the order of the known providers (Ollama, llama.cpp, vLLM, LM
    Studio); where the person named one server (``base_url``), of that one alone. Takes at most ``PROBE_SECONDS``. Raises
    SettingsError for a base URL that is none. Models for embeddings are left out."""
    from claw_kernel.providers import server_address

    if settings.base_url:
        address = server_address(LOCAL, replace(settings, api=settings.api or "openai-chat"))
        return [f"{LOCAL.name}/{model}" for model in await list_models(address) or ()]
    asked = list(servers) if servers is not None else [known for known in KNOWN.values() if known.is_local]
    answers = await asyncio.gather(*(list_models(server_address(known, settings)) for known in asked))
    return [f"{known.name}/{model}" for known, models in zip(asked, answers, strict=True) for model in models or ()]


async def list_models(base_url: str) -> list[str] | None:
    """The models an ``http`` server without login lists under ``base_url``; None where nothing fitting answers in time.

    Talks to the address itself: a proxy has no business between a program and its own machine.
    """
    parts = urlsplit(base_url)
    if parts.scheme != "http" or not parts.hostname:
        return None
    import httpx

    path = parts.path.rstrip("/")
    places = [f"{path}/models"]
    if path in {"", "/v1"} and parts.port == KNOWN["ollama"].port:
        places.append("/api/tags")  # Ollama before it was compatible
    found: list[str] | None = None
    for place in places:
        try:
            async with asyncio.timeout(PROBE_SECONDS / len(places)):
                value = await _ask(base_url, place)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, TimeoutError):
            continue
        models = _read_models(value)
        if models:
            return models
        found = models if found is None else found
    return found


async def ask_context_window(model: str, settings: ProviderSettings, *, is_loaded: bool = False) -> int | None:
    """How many tokens the server takes that ``provider/model`` is served by; None for a hosted one, and where none answers in
    time or says it. ``is_loaded``: only what it said first is asked, which knows of models that are at work. Takes at most ``PROBE_SECONDS`` and raises nothing."""
    from claw_kernel.errors import ClawError
    from claw_kernel.providers import find_server

    try:
        server, name = find_server(model, settings)
    except ClawError:
        return None
    parts = urlsplit(server.base_url)
    if parts.scheme != "http" or not parts.hostname:
        return None
    import httpx

    root = parts.path.rstrip("/").removesuffix("/v1")
    places = _PLACES.get(server.name, (f"{parts.path.rstrip('/')}/models", "/props"))
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            for place in places[:1] if is_loaded else places:
                path = place if server.name not in _PLACES else root + place
                content = json.dumps({"model": name}).encode() if place == "/api/show" else b""
                try:
                    value = await _ask(server.base_url, path, server.key, content)
                except (ValueError, httpx.RemoteProtocolError):
                    continue
                window = _read_window(value, name)
                if window is not None:
                    return window
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError):
        pass
    return None


_PLACES = {
    "ollama": ("/api/ps", "/api/show"),  # what is loaded with which num_ctx; what the Modelfile says
    "llamacpp": ("/props", "/v1/models"),
    "vllm": ("/v1/models",),
    "lmstudio": ("/api/v0/models", "/v1/models"),
}
_WINDOW_FIELDS = ("loaded_context_length", "max_model_len", "context_length", "context_window", "max_context_length")


def _read_window(value: Any, model: str) -> int | None:
    """From llama.cpp's ``/props``, Ollama's ``/api/show``, or the model's entry in a list of models."""
    if not isinstance(value, dict):
        return None
    generation = value.get("default_generation_settings")
    if isinstance(generation, dict) and _is_count(generation.get("n_ctx")):
        return int(generation["n_ctx"])
    if isinstance(value.get("parameters"), str):
        found = re.search(r"^num_ctx\s+(\d+)", value["parameters"], re.MULTILINE)
        return int(found[1]) if found else None
    entries = value.get("data") or value.get("models")
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and model in {entry.get("id"), entry.get("name"), entry.get("model")}:
            return next((int(entry[name]) for name in _WINDOW_FIELDS if _is_count(entry.get(name))), None)
    return None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


async def _ask(base_url: str, path: str, key: str = "", content: bytes = b"") -> Any:
    """What the server of ``base_url`` answers there, None where it has nothing to say. With ``content`` it is a POST. Raises
    ValueError for an answer that is no JSON, ``httpx.HTTPError`` and ``httpx.InvalidURL``."""
    from claw_kernel.providers._transport import DirectTransport, make_request, read_parts

    headers = {"accept": "application/json", "accept-encoding": "identity", "connection": "close"}
    headers |= {"authorization": f"Bearer {key}"} if key else {}
    headers |= {"content-type": "application/json"} if content else {}
    parts = urlsplit(base_url)
    request = make_request("POST" if content else "GET", f"http://{parts.netloc}{path}", headers, content)
    response = await DirectTransport().handle_async_request(request)
    try:
        if response.status_code != 200:
            return None
        body = b""
        async for part in read_parts(response):
            body += part
            if len(body) > _LONGEST_ANSWER_BYTES:
                return None
        return json.loads(body)
    except RecursionError:
        return None
    finally:
        await response.aclose()


def _read_models(value: Any) -> list[str] | None:
    """Names from ``{"data": [{"id": …}]}``, or Ollama's ``{"models": [{"name": …}]}``; None for anything else."""
    entries = value.get("data") or value.get("models", []) if isinstance(value, dict) else None
    if not isinstance(entries, list):
        return None
    names = [entry.get("id") or entry.get("name") for entry in entries if isinstance(entry, dict)]
    return [name for name in names if isinstance(name, str) and name and "embed" not in name.lower()]
