"""Other versions of ipykernel, each in a folder of its own that a kernel imports first."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

INSTALLED = "installed"
VERSIONS = (INSTALLED, "7.1.0", "6.31.0")


def build_overlay(version: str) -> Path | None:
    """The folder with ipykernel ``version`` (made once, kept in the user's cache); None for the installed one.

    CLAW_TEST_KERNEL_PYTHONPATH names a folder to use in place of the installed version.
    """
    if version == INSTALLED:
        named = os.environ.get("CLAW_TEST_KERNEL_PYTHONPATH")
        return Path(named) if named else None
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "claw-jupyter-tests"
    folder = cache / f"ipykernel-{version}-py{sys.version_info.major}{sys.version_info.minor}"
    if not (folder / "ipykernel").is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            "--no-deps",
            "--target",
            str(folder),
            f"ipykernel=={version}",
        ]
        subprocess.run(command, check=True, timeout=180)
    return folder
