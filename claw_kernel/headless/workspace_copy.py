"""A copy of a workspace that a replay may change: made by reflinks where the file system has them, removed afterwards."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from claw_kernel.errors import SettingsError

LEFT_OUT = frozenset({"__pycache__", ".ipynb_checkpoints", ".mypy_cache", ".pytest_cache", ".ruff_cache"})
"""Made anew by whoever needs them."""
LINKED = frozenset({".venv", "venv", "node_modules", ".conda", ".tox", ".nox"})
"""Installed packages: large, and seldom written. The copy has a link to each, through which neither tools nor commands can write."""
MAX_BYTES = 4 << 30
MAX_FILES = 200_000


def copy_workspace(source: Path, target: Path) -> None:
    """Copy ``source`` to ``target``, which must not exist. Sockets and the like are left out. Raises SettingsError where it is
    too large (``MAX_BYTES``, ``MAX_FILES``) or cannot be read."""
    try:
        _check_size(source)
        _copy_folder(source, target)
    except OSError as error:
        raise SettingsError(
            f"The workspace cannot be copied: {error.strerror} ({error.filename}).", "Replay with --in-place."
        ) from None


def _check_size(source: Path) -> None:
    count = size = 0
    for folder, folders, files in os.walk(source):
        folders[:] = [name for name in folders if name not in LEFT_OUT | LINKED]
        count += len(files)
        for name in files:
            size += os.lstat(Path(folder, name)).st_size
        if count > MAX_FILES or size > MAX_BYTES:
            raise SettingsError(
                f"The workspace {source} is too large to be copied (over {MAX_FILES:,} files or {MAX_BYTES >> 30} GiB).",
                "Name a smaller one with --workspace, or replay with --in-place.",
            )


def _copy_folder(source: Path, target: Path) -> None:
    target.mkdir()
    with os.scandir(source) as entries:
        for entry in entries:
            place = target / entry.name
            if entry.is_symlink():
                place.symlink_to(Path(entry.path).readlink())
            elif entry.is_dir():
                if entry.name in LINKED:
                    place.symlink_to(Path(entry.path).absolute())
                elif entry.name not in LEFT_OUT:
                    _copy_folder(Path(entry.path), place)
            elif entry.is_file():
                _copy_file(Path(entry.path), place)
    shutil.copystat(source, target)
    target.chmod(stat.S_IMODE(source.stat().st_mode) | stat.S_IRWXU)


def _copy_file(source: Path, target: Path) -> None:
    from claw_kernel._core import copy_content

    copy_content(source, target)
    shutil.copystat(source, target)
