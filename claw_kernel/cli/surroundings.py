"""What ``claw doctor`` looks at around Claw: settings, the state directory, model providers, what confines a process."""

from __future__ import annotations

import asyncio
import json
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from claw_kernel.cli.finding import Finding

if TYPE_CHECKING:
    from claw_kernel.providers import ProviderSettings
    from claw_kernel.settings import Settings

_PROBE_SECONDS = 0.5


def settings(loaded: list[Settings]) -> Iterator[Finding]:
    """The settings files are readable and every rule is one. What was loaded is appended to ``loaded``."""
    from claw_kernel.agent import Agent
    from claw_kernel.settings import load_settings

    found = load_settings()
    Agent(found).close()
    loaded.append(found)
    files = [
        path
        for path in (Path(found.home) / "settings.json", Path(found.cwd) / ".claw" / "settings.json")
        if path.is_file()
    ]
    where = ", ".join(str(path) for path in files) or f"no file; yours would be {Path(found.home) / 'settings.json'}"
    yield Finding("settings", "ok", f"mode {found.permission_mode}, {len(found.rules)} rules ({where})")
    for notice in found.notices:
        yield Finding("settings", "warn", notice)


def state_directory(found: Settings) -> Iterator[Finding]:
    """The audit log and long outputs can be written."""
    place = Path(found.state_dir)
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        message = f"{place} cannot be written: {error.strerror}."
        yield Finding("state", "fail", message, "Mend its rights, or set CLAW_HOME to a directory of yours.")
        return
    yield Finding("state", "ok", f"{place} is writable")


def providers(found: Settings) -> Iterator[Finding]:
    """Where keys come from (never the keys), which servers on this machine answer, and whether there is a model to use."""
    from claw_kernel.errors import ClawError
    from claw_kernel.providers import find_keys, server_address
    from claw_kernel.providers.known import KNOWN

    given = found.for_providers()
    keys = find_keys(given)
    if keys:
        yield Finding("model", "ok", f"keys set: {', '.join(f'{name} ({place})' for name, place in keys.items())}")
    local = [known for known in KNOWN.values() if known.is_local]
    addresses = {known.name: server_address(known, replace(given, base_url=None)) for known in local}
    served = asyncio.run(_served_models(addresses))
    if served:
        shown = [f"{name} at {addresses[name]} ({', '.join(served[name][:3]) or 'no model loaded'})" for name in served]
        yield Finding("model", "ok", f"servers on this machine: {', '.join(shown)}")
    if not (found.model or found.base_url or keys or served):
        message = "no key is set and no server on this machine answers; only scripted models work."
        ways = [f"a server on this machine, {known.name}: {known.start_hint}" for known in local]
        yield Finding("model", "warn", message, "\n".join([*_KEYS, *ways, _ANY_SERVER]))
        return
    chosen = f"{found.model} is chosen ({found.sources.get('model', 'default')})" if found.model else ""
    try:
        yield _model(found, given, chosen)
    except ClawError as error:
        yield Finding("model", "warn", f"{chosen}: {error.message}" if chosen else error.message, error.remedy)


_KEYS = (
    "Any one of these:",
    "a key, typed in once: claw login anthropic (or openai, gemini, openrouter …)",
    "a key in the environment: ANTHROPIC_API_KEY, OPENAI_API_KEY …",
)
_ANY_SERVER = "any other server: --base-url http://HOST:PORT/v1 --model local/NAME (in settings: base_url, model)"


def _model(found: Settings, given: ProviderSettings, chosen: str) -> Finding:
    """The model that would be used; it is sent nothing. Raises ClawError where it cannot be used."""
    from claw_kernel.errors import ClawError
    from claw_kernel.providers import default_model, find_server, open_provider
    from claw_kernel.proxies import is_loopback

    model = found.model or asyncio.run(default_model(given))
    provider, _ = open_provider(model, given)
    asyncio.run(provider.aclose())
    if not chosen:
        return Finding("model", "ok", f"{model} is used where nobody chooses another")
    with suppress(ClawError):  # what plays a script or a record has no server
        server, _ = find_server(model, given)
        parts = urlsplit(server.base_url)
        if is_loopback(parts.hostname) and not _listens(parts):
            remedy = f"Start the server{f' ({server.known.start_hint})' if server.known.start_hint else ''}, or mend its address."
            return Finding("model", "warn", f"{chosen}, but nothing answers at {server.shown}.", remedy)
    return Finding("model", "ok", chosen)


def _listens(parts: SplitResult) -> bool:
    try:
        with socket.create_connection((parts.hostname, parts.port or 80), timeout=_PROBE_SECONDS):
            return True
    except OSError:
        return False


async def _served_models(addresses: Mapping[str, str]) -> dict[str, list[str]]:
    """What each server lists; without those where none of that kind answers."""
    from claw_kernel.providers.local import list_models

    lists = await asyncio.gather(*(list_models(address) for address in addresses.values()))
    return {name: models for name, models in zip(addresses, lists, strict=True) if models is not None}


def sandbox() -> Iterator[Finding]:
    """What of the sandbox this machine gives, found by putting it up."""
    import tempfile

    from claw_kernel._core import Core

    with tempfile.TemporaryDirectory(prefix="claw-doctor-") as folder:
        report = json.loads(Core(folder, state_dir=f"{folder}/state").sandbox_report())
    held = [
        *(["namespaces"] if report["namespaces"] else []),
        *([f"Landlock (version {report['landlock']})"] if report["landlock"] else []),
        *(["a filter of system calls"] if report["seccomp"] else []),
    ]
    if not report["missing"]:
        yield Finding("sandbox", "ok", f"commands are confined by {', '.join(held)}")
        return
    for missing in report["missing"]:
        yield Finding("sandbox", "warn", missing)
    yield Finding(
        "sandbox",
        "warn",
        f"commands are confined by {', '.join(held) or 'nothing'}, and each asks before it runs",
        "Allow unprivileged user namespaces (in a container: a seccomp profile that permits unshare and mount), or accept "
        'it with the setting "sandbox": {"mode": "weaker-ok"}.',
    )
