"""Which folders a person trusts. Until a folder is trusted, its project files may only tighten what is allowed.

The list is kept in the state directory (``trusted.json``, mode 0600), never in a project. A folder is known by its canonical
path together with its inode and time of creation: one that is moved, or another one in its place, is not trusted.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from claw_kernel.errors import SettingsError
from claw_kernel.late_dataclass import dataclass


@dataclass(frozen=True)
class Folder:
    """A folder as it was when it was trusted. ``created_at_ns``: nanoseconds since 1970, 0 where nobody keeps it."""

    path: str
    inode: int
    created_at_ns: int


def is_trusted(state_dir: str, folder: str) -> bool:
    """False for what is no folder, and where the list cannot be relied on."""
    try:
        return _identify(folder) in trusted_folders(state_dir)
    except OSError:
        return False


def trust(state_dir: str, folder: str) -> Folder:
    """Put ``folder`` on the list. Raises SettingsError where it is no folder or the list cannot be written."""
    try:
        found = _identify(folder)
    except OSError as error:
        raise SettingsError(f"{folder} is no folder: {error.strerror or error}.", "Give the folder to trust.") from None
    _write(state_dir, [*(other for other in trusted_folders(state_dir) if other.path != found.path), found])
    return found


def revoke(state_dir: str, folder: str) -> bool:
    """Take ``folder`` off the list, also where it is gone by now; False where it was not on it. Raises SettingsError."""
    known = trusted_folders(state_dir)
    path = os.path.realpath(folder)
    kept = [other for other in known if other.path != path]
    if len(kept) < len(known):
        _write(state_dir, kept)
    return len(kept) < len(known)


def trusted_folders(state_dir: str) -> list[Folder]:
    """The list; empty where there is none, where it makes no sense, or where others may write it."""
    path = _list_path(state_dir)
    try:
        state = path.stat()
        if state.st_uid != os.geteuid() or state.st_mode & 0o022:
            return []
        return [Folder(str(f["path"]), int(f["inode"]), int(f["created_at_ns"])) for f in json.loads(path.read_bytes())]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def _identify(folder: str) -> Folder:
    from claw_kernel._core import folder_identity

    return Folder(*folder_identity(folder))


def _list_path(state_dir: str) -> Path:
    return Path(state_dir) / "trusted.json"


def _write(state_dir: str, folders: Iterable[Folder]) -> None:
    path = _list_path(state_dir)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".trusted-")  # made with mode 0600
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump([asdict(folder) for folder in folders], file, indent=1)
        Path(name).replace(path)
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror}.", "Mend its rights.") from None
