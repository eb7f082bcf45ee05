"""Models that could be used here: by key, and by asking the servers on this machine."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from claw_kernel.providers import ProviderSettings
    from claw_kernel.settings import Settings

SEARCH_SECONDS = 2.0
"""The search itself takes 0.3 s; more means that this machine is very busy."""


def find_models(settings: Settings) -> list[tuple[str, str]]:
    """``(name, where)``: what local servers list now, and the hosted providers whose key is set."""
    from claw_kernel.agent.engine import engine_loop
    from claw_kernel.providers.known import DEFAULT_MODELS, KNOWN
    from claw_kernel.providers.local import find_local_models

    defaults = dict(DEFAULT_MODELS)
    found = [
        (f"{known.name}/{defaults.get(known.name, '…')}", f"{variable} is set")
        for known in KNOWN.values()
        if not known.is_local
        for variable in known.key_variables
        if settings.env.get(variable)
    ]
    search = asyncio.run_coroutine_threadsafe(find_local_models(_provider_settings(settings)), engine_loop())
    try:
        local = search.result(timeout=SEARCH_SECONDS)
    except TimeoutError:
        search.cancel()
        local = []
    return found + [(name, "answers on this machine") for name in local]


def check_model(name: str, settings: Settings) -> None:
    """Raises ClawError where ``name`` could not be used: no such provider, no key. Sends nothing."""
    from claw_kernel.agent.engine import engine_loop
    from claw_kernel.providers import open_provider

    provider, _ = open_provider(name, _provider_settings(settings))
    asyncio.run_coroutine_threadsafe(provider.aclose(), engine_loop()).result(timeout=SEARCH_SECONDS)


def known_names(settings: Settings) -> list[str]:
    """Beginnings of names for completion, without asking any server."""
    from claw_kernel.providers.known import DEFAULT_MODELS, KNOWN

    chosen = [settings.model] if settings.model else []
    return list(
        dict.fromkeys([*chosen, *(f"{p}/{m}" for p, m in DEFAULT_MODELS), *(f"{p}/" for p in KNOWN), "scripted/hello"])
    )


def _provider_settings(settings: Settings) -> ProviderSettings:
    from claw_kernel.providers import ProviderSettings

    return ProviderSettings(env=settings.env, base_url=settings.base_url, api=settings.api, cwd=settings.cwd)
