"""Keys of providers that ``claw login`` stored: in the system's keyring where there is one, else in a file of the user's own.

The environment comes first (:mod:`claw_kernel.providers`). No project and no notebook is ever asked. The ``keyring`` package is an
extra (``pip install "claw-jupyter[keyring]"``). Opening a keyring takes longer than all else before a first request, so the file also
notes which keys lie in one (with an empty text), and no other is looked for there.
"""

from __future__ import annotations

import json
import os
import stat
from dataclasses import field
from pathlib import Path
from typing import Any

from claw_kernel.errors import SettingsError
from claw_kernel.late_dataclass import dataclass

SERVICE = "claw-jupyter"
"""What the keys are filed under in a keyring."""
FILE_NAME = "credentials.json"
_KEYRING = "the system's keyring"


@dataclass(frozen=True)
class StoredKey:
    """``place``: where it was found, to be shown."""

    key: str = field(repr=False)
    place: str


def find_key(provider: str, home: str) -> StoredKey | None:
    """The stored key of a provider. Raises SettingsError for a file that others may read or that cannot be read."""
    path = Path(home) / FILE_NAME
    key = _read_file(path).get(provider)
    if key is None:
        return None
    if key:
        return StoredKey(key, str(path))
    ring = _open_keyring()
    try:
        found = ring.get_password(SERVICE, provider) if ring is not None else None
    except Exception as error:  # each keyring has errors of its own: locked, refused, its daemon gone
        raise SettingsError(
            f"{_KEYRING.capitalize()} did not give the key of {provider}: {error}.",
            f"Unlock it, or run `claw login {provider}` again.",
        ) from None
    return StoredKey(found, _KEYRING) if found else None


def store_key(provider: str, key: str, home: str) -> str:
    """Keep ``key`` in the keyring, or in the file where there is none; where it is now. Raises SettingsError."""
    ring = _open_keyring()
    if ring is not None:
        try:
            ring.set_password(SERVICE, provider, key)
        except Exception as error:  # each keyring has errors of its own
            raise SettingsError(
                f"The keyring did not take the key: {error}.", "Unlock it, or uninstall keyring."
            ) from None
        _write_file(Path(home) / FILE_NAME, provider, "")
        return _KEYRING
    path = Path(home) / FILE_NAME
    _write_file(path, provider, key)
    return str(path)


def remove_key(provider: str, home: str) -> list[str]:
    """Forget the key of a provider; where it was. Raises SettingsError."""
    places = []
    path = Path(home) / FILE_NAME
    if _read_file(path).get(provider):
        places.append(str(path))
    _write_file(path, provider, None)
    ring = _open_keyring()
    if ring is not None and ring.get_password(SERVICE, provider):
        ring.delete_password(SERVICE, provider)
        places.append(_KEYRING)
    return places


def _open_keyring() -> Any:
    """The ``keyring`` module where it is installed and has a place to keep things, else None."""
    try:
        import keyring
        from keyring.backends import fail, null
    except ImportError:
        return None
    try:
        backend = keyring.get_keyring()
        if isinstance(backend, fail.Keyring | null.Keyring):
            return None
        backend.get_password(SERVICE, "")  # a keyring that is locked for good, or whose daemon is gone, says so here
    except Exception:  # each keyring has errors of its own; without one there is the file
        return None
    return keyring


def _read_file(path: Path) -> dict[str, str]:
    try:
        with path.open("rb") as file:
            facts = os.fstat(file.fileno())
            if hasattr(os, "geteuid") and (stat.S_IMODE(facts.st_mode) & 0o077 or facts.st_uid != os.geteuid()):
                raise SettingsError(
                    f"{path} holds keys, and others may read it or own it.",
                    f"Run: chmod 600 {path}, and renew the keys.",
                )
            content = json.load(file)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be read: {error}.", "Mend or remove the file.") from None
    keys = content if isinstance(content, dict) else {}
    return {name: key for name, key in keys.items() if isinstance(key, str)}


def _write_file(path: Path, provider: str, key: str | None) -> None:
    keys = _read_file(path)
    changed = {name: value for name, value in keys.items() if name != provider} | (
        {provider: key} if key is not None else {}
    )
    if changed == keys:
        return
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Made with its rights: at no moment can anybody else open it.
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(changed, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise SettingsError(f"{path} cannot be written: {error.strerror}.", "Mend its rights.") from None
