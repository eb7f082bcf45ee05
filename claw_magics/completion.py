"""Completion of commands, options, ``@`` paths and ``{variables}``: in prompts of the Claw kernel, and (``matcher.py``) in the
``%%claw`` cells and ``%claw`` lines of a Python notebook."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claw_kernel.late_dataclass import dataclass
from claw_magics.commands import COMMANDS

if TYPE_CHECKING:
    from claw_magics.host import Host

MAX_MATCHES = 200

_COMMAND = re.compile(r"\s*(?:/|%claw[ \t]+)(?P<words>[^\n]*)\Z")
_OPTIONS = re.compile(r"\s*%%claw[ \t]+(?P<words>[^\n]*)\Z")
_PATH = re.compile(r"(?<![\w@.`/\\+-])@(?P<quote>\"?)(?P<path>[^\s\"'`<>|;(){}\[\]@]*)\Z")
_QUOTED_PATH = re.compile(r"(?<![\w@.`/\\+-])@\"(?P<path>[^\"\n]*)\Z")
_NEEDS_QUOTES = re.compile(r"[\s'`<>|;(){}\[\]@]")
_VARIABLE = re.compile(r"(?<![{$\\])\{(?P<name>(?:[^\W\d]\w*)?)\Z")


@dataclass(frozen=True)
class Completion:
    """``matches`` replace the text from ``start`` to ``end`` (characters). ``types`` has one word per match, in the terms of
    ``_jupyter_types_experimental``: ``command``, ``option``, ``value``, ``path``, ``instance``."""

    matches: tuple[str, ...] = ()
    start: int = 0
    end: int = 0
    types: tuple[str, ...] = ()


def complete(host: Host, code: str, cursor_pos: int) -> Completion:
    """What may stand at the cursor; nothing, where it is plain prose. Asks no server."""
    from claw_kernel.errors import ClawError

    cursor_pos = max(0, min(cursor_pos, len(code)))
    try:
        return _complete(host, code, cursor_pos)
    except ClawError:  # settings that cannot be read: the next cell says so
        return Completion((), cursor_pos, cursor_pos)


def _complete(host: Host, code: str, cursor_pos: int) -> Completion:
    before = code[:cursor_pos]
    line = before[before.rfind("\n") + 1 :]
    is_first_line = not before[: len(before) - len(line)].strip()
    if is_first_line and (found := _OPTIONS.match(line)) is not None:
        return _complete_options(host, found["words"], cursor_pos)
    if is_first_line and (found := _COMMAND.match(line)) is not None:
        return _complete_command(host, found["words"], cursor_pos)
    if (found := _QUOTED_PATH.search(line)) is not None or (found := _PATH.search(line)) is not None:
        return _complete_path(host, found["path"], cursor_pos, is_quoted='@"' in found[0])
    if (found := _VARIABLE.search(line)) is not None:
        return _complete_variable(host, found["name"], cursor_pos)
    return Completion((), cursor_pos, cursor_pos)


def _complete_command(host: Host, text: str, end: int) -> Completion:
    words = text.split()
    typed = "" if not words or text[-1:].isspace() else words.pop()
    if not words:
        return _completion(((name, "command") for name in COMMANDS if name.startswith(typed)), typed, end)
    command = COMMANDS.get(words[0])
    if command is None:
        return Completion((), end, end)
    choices = command.complete(host, words[1:])
    return _completion(((choice, "value") for choice in choices if choice.startswith(typed)), typed, end)


def _complete_options(host: Host, text: str, end: int) -> Completion:
    from claw_magics.options import FLAGS, MODES, OPTIONS

    words = text.split()
    typed = "" if not words or text[-1:].isspace() else words.pop()
    last = words[-1] if words else ""
    if "=" in typed and typed.partition("=")[0] in OPTIONS:
        last, _, typed = typed.partition("=")
    if last == "--mode":
        return _completion(((mode, "value") for mode in MODES if mode.startswith(typed)), typed, end)
    if last == "--model":
        names = COMMANDS["model"].complete(host, ())
        return _completion(((name, "value") for name in names if name.startswith(typed)), typed, end)
    if last in OPTIONS:
        return Completion((), end, end)
    return _completion(
        ((name, "option") for name in (*OPTIONS, *FLAGS) if name.startswith(typed) and name not in words), typed, end
    )


def _complete_path(host: Host, typed: str, end: int, *, is_quoted: bool) -> Completion:
    folder, slash, start = typed.rpartition("/")
    # Completing must not be what makes the agent.
    root = Path(host.agent.settings.cwd if host.gate is not None else Path.cwd()).resolve()
    try:
        place = (root / folder).resolve()
        if (slash and not folder) or not place.is_relative_to(root):
            return Completion((), end, end)
        with os.scandir(place) as found:
            entries = [
                entry.name + ("/" if entry.is_dir() else "")
                for entry in found
                if entry.name.startswith(start) and (start or not entry.name.startswith("."))
            ]
    except (OSError, ValueError):
        return Completion((), end, end)
    paths = [folder + slash + name for name in sorted(entries) if '"' not in name]
    shown = [path if is_quoted or not _NEEDS_QUOTES.search(path) else f'"{path}"' for path in paths]
    return _completion(((path, "path") for path in shown), typed, end)


def _complete_variable(host: Host, typed: str, end: int) -> Completion:
    from claw_magics.inspection import user_names

    names = user_names(host.ip.user_ns, getattr(host.ip, "user_ns_hidden", {}))
    return _completion(((name, "instance") for name in names if name.startswith(typed)), typed, end)


def _completion(found: Iterable[tuple[str, str]], typed: str, end: int) -> Completion:
    shown: list[Any] = list(found)[:MAX_MATCHES]
    return Completion(tuple(text for text, _ in shown), end - len(typed), end, tuple(kind for _, kind in shown))
