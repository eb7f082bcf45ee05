"""Which front end runs the cell, and what it can do: read from the request, never guessed from the environment alone."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from claw_kernel.late_dataclass import dataclass

NOTEBOOK_VARIABLE = "CLAW_NOTEBOOK"
"""The notebook's path, for a program (nbclient, papermill) that runs its cells and does not tell the kernel which it is."""


@dataclass(frozen=True)
class Frontend:
    """``ui``: ``jupyterlab`` or ``notebook`` (said by the extension), ``vscode``, ``notebook-like`` (cells, but no
    extension), ``console``, ``terminal``, ``headless``. ``path``: the notebook's live path as the front end gives it."""

    ui: str
    version: str = ""
    path: str = ""
    has_extension: bool = False


def request_of(kernel: Any) -> Mapping[str, Any]:
    """The request of the running cell; empty where there is none."""
    get_parent = getattr(kernel, "get_parent", None)
    if get_parent is None:
        return {}
    try:
        found: Mapping[str, Any] = get_parent("shell") or {}
    except LookupError:
        return {}
    return found


def connection_of(kernel: Any) -> str:
    """The session id of the connection that sent the running cell; a page gets a new one with each reload."""
    return str(request_of(kernel).get("header", {}).get("session", ""))


def cell_id_of(kernel: Any) -> str:
    """The cell's id. VS Code's is a URI with the notebook's path, of which only the part behind ``#`` is an id."""
    return str(request_of(kernel).get("metadata", {}).get("cellId") or "").rpartition("#")[2]


def is_vscode(ip: Any) -> bool:
    return "__vsc_ipynb_file__" in getattr(ip, "user_ns", {})


def has_cells(ip: Any) -> bool:
    """Whether the request came from a cell of a notebook that a person looks at."""
    return bool(cell_id_of(getattr(ip, "kernel", None))) or is_vscode(ip)


def allows_stdin(ip: Any) -> bool:
    """Whether somebody can be asked by text: the front end says so, or a terminal is at hand."""
    kernel = getattr(ip, "kernel", None)
    if kernel is None:
        return sys.stdin is not None and sys.stdin.isatty()
    return bool(getattr(kernel, "_allow_stdin", False)) and hasattr(kernel, "stdin_socket")


def guess_frontend(ip: Any) -> Frontend:
    """The front end where no extension has said hello."""
    if getattr(ip, "kernel", None) is None:
        return Frontend("terminal")
    if is_vscode(ip):
        return Frontend("vscode", path=str(ip.user_ns["__vsc_ipynb_file__"]))
    if has_cells(ip):
        return Frontend("notebook-like")
    return Frontend("console" if allows_stdin(ip) else "headless")
