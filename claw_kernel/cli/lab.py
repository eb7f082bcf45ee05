"""``claw lab``: JupyterLab, in this process's place."""

from __future__ import annotations

import os
import sys

from claw_kernel.cli import DONE

_HELP = """usage: claw lab [JUPYTERLAB ARGUMENT …]

Open JupyterLab in the current directory. All arguments are passed on: claw lab --no-browser --port 8899
JupyterLab's own options: claw lab -- --help"""


def run(arguments: list[str]) -> int:
    """Does not return where JupyterLab could be started."""
    if arguments in (["-h"], ["--help"]):
        print(_HELP)
        return DONE
    if arguments[:1] == ["--"]:
        arguments = arguments[1:]
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "jupyterlab", *arguments])  # noqa: S606 - a program, not a shell
    raise AssertionError  # execv either takes this process's place or raises
