"""``claw login`` and ``claw logout``: keys of providers, stored for this user."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from claw_kernel.cli import DONE, FAILED, UsageError, nearest
from claw_kernel.cli.arguments import Parser

_EPILOG = """\
The key is typed, or read from stdin: claw login anthropic < key.txt. It is never an argument, which other processes
could see. It goes into the system's keyring (with pip install "claw-jupyter[keyring]"), else into ~/.claw/credentials.json,
which only you can read. A variable such as ANTHROPIC_API_KEY comes before it."""


def login(arguments: list[str]) -> int:
    """Raises UsageError and SettingsError."""
    from claw_kernel.credentials import store_key
    from claw_kernel.settings import load_settings

    provider = _provider("login", "Store the key of a model provider.", arguments)
    key = _read_key(provider)
    settings = load_settings()
    place = store_key(provider, key, settings.home)
    print(f"The key for {provider} is in {place}.")
    variable = _set_variable(provider, settings.env)
    if variable:
        print(f"{variable} is set, and is used instead of it.")
    return DONE


def logout(arguments: list[str]) -> int:
    """Raises UsageError and SettingsError. Exit code 1 where no key was stored."""
    from claw_kernel.credentials import remove_key
    from claw_kernel.settings import load_settings

    provider = _provider("logout", "Remove the stored key of a model provider.", arguments)
    settings = load_settings()
    places = remove_key(provider, settings.home)
    print(
        f"The key for {provider} was removed from {' and '.join(places)}."
        if places
        else f"No key for {provider} is stored."
    )
    variable = _set_variable(provider, settings.env)
    if variable:
        print(f"{variable} is still set.")
    return DONE if places else FAILED


def _provider(command: str, description: str, arguments: list[str]) -> str:
    from claw_kernel.providers.known import KNOWN

    parser = Parser(command, description, _EPILOG)
    parser.add_argument("provider", metavar="PROVIDER", help="anthropic, openai, openrouter …")
    name: str = parser.read(arguments).provider
    if name not in KNOWN and name != "local":
        raise UsageError(f"there is no provider {name!r}{nearest(name, list(KNOWN))} Known: {', '.join(KNOWN)}, local.")
    return name


def _set_variable(provider: str, env: Mapping[str, str]) -> str:
    from claw_kernel.providers.known import KNOWN, LOCAL

    return next((name for name in KNOWN.get(provider, LOCAL).key_variables if env.get(name)), "")


def _read_key(provider: str) -> str:
    """Raises UsageError for what cannot be a key."""
    if sys.stdin.isatty():
        from getpass import getpass

        key = getpass(f"Key for {provider} (it is not shown): ").strip()
    else:
        key = sys.stdin.readline().strip()
    if not key:
        raise UsageError("no key given.")
    if not key.isascii() or not key.isprintable() or " " in key or len(key) > 10_000:
        raise UsageError("this holds characters that no key has; copy it again.")
    return key
