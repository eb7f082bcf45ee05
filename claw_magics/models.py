"""Models that could be used here: by key, and by asking the servers on this machine."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from claw_kernel.settings import Settings

SEARCH_SECONDS = 2.0
"""The search itself takes 0.3 s; more means that this machine is very busy."""


def find_models(settings: Settings) -> list[tuple[str, str]]:
    """``(name, where)``: what local servers list now, and the hosted providers whose key is set or stored; where one server is
    named (``base_url``), what that one lists. Raises SettingsError."""
    from claw_kernel.agent.engine import engine_loop
    from claw_kernel.providers import find_keys
    from claw_kernel.providers.known import DEFAULT_MODELS
    from claw_kernel.providers.local import find_local_models
    from claw_kernel.settings import without_login

    given = settings.for_providers()
    defaults = dict(DEFAULT_MODELS)
    keys = {} if settings.base_url else find_keys(given)
    found = [(f"{provider}/{defaults.get(provider, '…')}", f"key in {place}") for provider, place in keys.items()]
    search = asyncio.run_coroutine_threadsafe(find_local_models(given), engine_loop())
    try:
        served = search.result(timeout=SEARCH_SECONDS)
    except TimeoutError:
        search.cancel()
        served = []
    where = f"served by {without_login(settings.base_url)}" if settings.base_url else "answers on this machine"
    return found + [(name, where) for name in served]


def ways_to_a_model() -> list[tuple[str, str]]:
    """``(what, how)``: for somebody who has none yet."""
    from claw_kernel.providers.known import KNOWN

    local = [(f"{known.name}, on this machine", known.start_hint) for known in KNOWN.values() if known.is_local]
    return [
        ("a key, typed in once", "claw login anthropic    in a terminal; or openai, gemini, openrouter …"),
        ("a key for this kernel", 'import os, getpass; os.environ["ANTHROPIC_API_KEY"] = getpass.getpass()'),
        *local,
        ("any other server", "%claw config set base_url http://HOST:PORT/v1, then %claw model local/NAME"),
        ("none, to look around", "%claw model scripted/hello"),
    ]


def check_model(name: str, settings: Settings) -> None:
    """Raises ClawError where ``name`` could not be used: no such provider, no key. Sends nothing."""
    from claw_kernel.agent.engine import engine_loop
    from claw_kernel.providers import open_provider

    provider, _ = open_provider(name, settings.for_providers())
    asyncio.run_coroutine_threadsafe(provider.aclose(), engine_loop()).result(timeout=SEARCH_SECONDS)


def known_names(settings: Settings) -> list[str]:
    """Beginnings of names for completion, without asking any server."""
    from claw_kernel.providers.known import DEFAULT_MODELS, KNOWN

    chosen = [settings.model] if settings.model else []
    return list(
        dict.fromkeys(
            [
                *chosen,
                *settings.aliases,
                *(f"{p}/{m}" for p, m in DEFAULT_MODELS),
                *(f"{p}/" for p in KNOWN),
                "scripted/hello",
            ]
        )
    )
