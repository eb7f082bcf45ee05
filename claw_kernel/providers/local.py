"""OpenAI-compatible servers on this machine, found on their usual ports when no key is set."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from claw_kernel.providers.known import KNOWN, KnownProvider
from claw_kernel.providers.settings import ProviderSettings

PROBE_SECONDS = 0.3
"""For all ports together. A server on the same machine lists its models in a few ms; a closed port answers at once."""

_LONGEST_ANSWER_BYTES = 1024 * 1024


async def find_local_models(settings: ProviderSettings, servers: Iterable[KnownProvider] | None = None) -> list[str]:
    """``provider/model`` names of what is served now, in the order of the known providers (Ollama, llama.cpp, vLLM, LM
    Studio). Takes at most ``PROBE_SECONDS`` and raises nothing. Models for embeddings are left out."""
    from claw_kernel.providers import server_address

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


async def _get(host: str, port: int, path: str, key: str) -> Any:
    """A request of HTTP/1.0, so that the answer ends with the connection and nothing has to be imported for it."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        login = f"Authorization: Bearer {key}\r\n" if key else ""
        writer.write(
            f"GET {path} HTTP/1.0\r\nHost: {host}:{port}\r\nAccept: application/json\r\n{login}"
            "Connection: close\r\n\r\n".encode("latin-1")
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
