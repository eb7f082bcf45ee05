"""What ``claw doctor`` looks at around Claw: settings, the state directory, model providers, what confines a process."""

from __future__ import annotations

import http.client
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from claw_kernel.cli.finding import Finding

if TYPE_CHECKING:
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
    """Which keys are set (by name), which servers on this machine answer, and which model would be used."""
    from claw_kernel.providers.known import KNOWN

    keys = [
        f"{known.name} ({variable})"
        for known in KNOWN.values()
        for variable in [next((name for name in known.key_variables if found.env.get(name)), "")]
        if variable and not known.is_local
    ]
    stored = _stored_keys(found)
    if keys or stored:
        yield Finding("model", "ok", f"keys set: {', '.join([*keys, *stored])}")
    servers = [
        f"{known.name} on port {known.port} ({', '.join(models[:3]) or 'no model loaded'})"
        for known in KNOWN.values()
        if known.is_local and (models := _local_models(known.port)) is not None
    ]
    if servers:
        yield Finding("model", "ok", f"servers on this machine: {', '.join(servers)}")
    if found.model is not None:
        yield _chosen_model(found)
    elif not keys and not stored and not servers:
        local = [
            f"a server on this machine, {known.name}: {known.start_hint}" for known in KNOWN.values() if known.is_local
        ]
        yield Finding(
            "model",
            "warn",
            "no key is set and no server on this machine answers; only scripted models work.",
            "\n".join(
                [
                    "Any one of these:",
                    "a key, typed in once: claw login anthropic (or openai, gemini, openrouter …)",
                    "a key in the environment: ANTHROPIC_API_KEY, OPENAI_API_KEY …",
                    *local,
                    "any other server: --base-url http://HOST:PORT/v1 --model local/NAME (in settings: base_url, model)",
                ]
            ),
        )


def _stored_keys(found: Settings) -> list[str]:
    """Providers whose key ``claw login`` stored and no variable comes before, with where it is. Raises SettingsError."""
    from claw_kernel.credentials import find_key
    from claw_kernel.providers.known import KNOWN

    unset = [known for known in KNOWN.values() if not any(found.env.get(name) for name in known.key_variables)]
    keys = [(known.name, find_key(known.name, found.home)) for known in unset]
    return [f"{name} ({key.place})" for name, key in keys if key is not None]


def _chosen_model(found: Settings) -> Finding:
    from claw_kernel.providers.known import KNOWN

    source = found.sources.get("model", "default")
    if found.base_url:
        return Finding("model", "ok", f"{found.model} at {found.base_url} is chosen ({source})")
    known = KNOWN.get(str(found.model).partition("/")[0])
    is_set = known is not None and (
        any(found.env.get(name) for name in known.key_variables)
        or any(stored.startswith(f"{known.name} (") for stored in _stored_keys(found))
    )
    if known is not None and not known.is_local and not is_set:
        remedy = f"Run `claw login {known.name}` or set {known.key_variables[0]}; keys are made at {known.keys_url}"
        return Finding("model", "warn", f"{found.model} is chosen ({source}), but no key for it is set.", remedy)
    return Finding("model", "ok", f"{found.model} is chosen ({source})")


def _local_models(port: int) -> list[str] | None:
    """The models a server on this machine offers; None where none of that kind listens."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PROBE_SECONDS)
    try:
        connection.request("GET", "/v1/models")
        response = connection.getresponse()
        document = json.loads(response.read(1_000_000))
        return [str(model["id"]) for model in document["data"]] if response.status == 200 else None
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return None
    finally:
        connection.close()


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
