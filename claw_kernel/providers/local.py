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
        return [f"{LOCAL.name}/{model}" for model in await list_models(address)]
    asked = list(servers) if servers is not None else [known for known in KNOWN.values() if known.is_local]
    answers = await asyncio.gather(*(list_models(server_address(known, settings)) for known in asked))
    return [f"{known.name}/{model}" for known, models in zip(asked, answers, strict=True) for model in models]


async def list_models(base_url: str, key: str = "") -> list[str]:
    """The models an ``http`` server without login lists under ``base_url``; empty where nothing fitting answers in time.

    Talks to the address itself: a proxy has no business between a program and its own machine.
    """
    parts = urlsplit(base_url)
    if parts.scheme != "http" or not parts.hostname:
        return []
    path = parts.path.rstrip("/")
    places = [f"{path}/models"]
    if path in {"", "/v1"} and parts.port == KNOWN["ollama"].port:
        places.append("/api/tags")  # Ollama before it was compatible
    for place in places:
        try:
            async with asyncio.timeout(PROBE_SECONDS / len(places)):
                value = await _get(parts.hostname, parts.port or 80, place, key)
        except (OSError, ValueError, TimeoutError, asyncio.IncompleteReadError):
            continue
        models = _read_models(value)
        if models:
            return models
    return []


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
    root = parts.path.rstrip("/").removesuffix("/v1")
    places = _PLACES.get(server.name, (f"{parts.path.rstrip('/')}/models", "/props"))
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            for place in places[:1] if is_loaded else places:
                path = place if server.name not in _PLACES else root + place
                content = json.dumps({"model": name}) if place == "/api/show" else ""
                try:
                    value = await _get(parts.hostname, parts.port or 80, path, server.key, content)
                except (ValueError, asyncio.IncompleteReadError):
                    continue
                window = _read_window(value, name)
                if window is not None:
                    return window
    except (OSError, TimeoutError):
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


async def _get(host: str, port: int, path: str, key: str, content: str = "") -> Any:
    """A request of HTTP/1.0, so that the answer ends with the connection and nothing has to be imported for it. With
    ``content`` it is a POST."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        login = f"Authorization: Bearer {key}\r\n" if key else ""
        method = "POST" if content else "GET"
        length = f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n" if content else ""
        writer.write(
            f"{method} {path} HTTP/1.0\r\nHost: {host}:{port}\r\nAccept: application/json\r\n{login}{length}"
            f"Connection: close\r\n\r\n{content}".encode("latin-1")
        )
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if head.split(b" ", 2)[1:2] != [b"200"]:
            return None
        lengths = [line for line in head.split(b"\r\n") if line.startswith(b"content-length:")]
        if lengths:
            body = await reader.readexactly(min(int(lengths[0].split(b":")[1]), _LONGEST_ANSWER_BYTES))
        else:
            body = await reader.read(-1)
        return json.loads(body)
    finally:
        writer.close()


def _read_models(value: Any) -> list[str]:
    """Names from ``{"data": [{"id": …}]}``, or Ollama's ``{"models": [{"name": …}]}``."""
    if not isinstance(value, dict):
        return []
    entries = value.get("data") or value.get("models") or []
    names = [entry.get("id") or entry.get("name") for entry in entries if isinstance(entry, dict)]
    return [name for name in names if isinstance(name, str) and name and "embed" not in name.lower()]
