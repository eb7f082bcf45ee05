"""A fresh namespace beside the one a turn was recorded on: what is gone, what differs, and the code that rebuilds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

from claw_kernel.late_dataclass import dataclass
from claw_kernel.messages import TurnRecord
from claw_kernel.session.pieces import Piece
from claw_kernel.session.slicing import slice_back

_NAMES_SHOWN = 8


@dataclass(frozen=True)
class Comparison:
    """``gone``: variable to what it was. ``differing``: to what it was and is. ``versions``: of Python and libraries, the same.
    Where a hash is missing on either side only kind and size were compared."""

    gone: dict[str, str] = field(default_factory=dict)
    differing: dict[str, tuple[str, str]] = field(default_factory=dict)
    versions: dict[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def is_same(self) -> bool:
        return not (self.gone or self.differing or self.versions)

    @property
    def names(self) -> set[str]:
        """The variables to rebuild."""
        return {*self.gone, *self.differing}


@dataclass(frozen=True)
class Rebuilding:
    """``pieces``: the smallest part of the notebook's code that gives the missing variables again, in order, as far as it can be
    read. ``without``: variables that no code in the notebook makes. ``unread``: cells that could not be read."""

    pieces: tuple[Piece, ...] = ()
    without: tuple[str, ...] = ()
    unread: tuple[int, ...] = ()


def last_environment(records: Sequence[TurnRecord]) -> dict[str, Any]:
    """What the newest turn ran on that says so; empty where none does."""
    return next((dict(record.environment) for record in reversed(records) if "variables" in record.environment), {})


def compare(then: Mapping[str, Any], now: Mapping[str, Any]) -> Comparison:
    """Both as ``TurnRecord.environment``; ``then`` comes from a file, and what does not fit is left out."""
    before, after = _texts(then.get("variables")), _texts(now.get("variables"))
    differing = {
        name: (text, after[name]) for name, text in before.items() if name in after and _differ(text, after[name])
    }
    libraries, current = _texts(then.get("libraries")), _texts(now.get("libraries"))
    versions = {
        name: (text, current[name]) for name, text in libraries.items() if name in current and current[name] != text
    }
    for name in ("python", "platform"):
        was, found = then.get(name), now.get(name)
        if isinstance(was, str) and isinstance(found, str) and was != found:
            versions[name] = (was, found)
    return Comparison({name: text for name, text in before.items() if name not in after}, differing, versions)


def rebuild(pieces: Sequence[Piece], names: set[str]) -> Rebuilding:
    """Which of ``pieces`` give ``names`` again."""
    codes = [piece.code for piece in pieces]
    chosen = [pieces[at] for at in slice_back(codes, names)]
    made = {name for piece in chosen for name in piece.code.binds | piece.code.changes}
    unread = sorted({piece.cell for piece in pieces if not piece.code.is_readable})
    return Rebuilding(tuple(chosen), tuple(sorted(names - made)), tuple(unread))


def describe(found: Comparison) -> str:
    """One line for a person."""
    parts = []
    if found.gone:
        count = len(found.gone)
        parts.append(f"{count} {'variable' if count == 1 else 'variables'} of the last turn {'is' if count == 1 else 'are'} gone"
                     f" ({names_text(found.gone)})")  # fmt: skip
    if found.differing:
        parts.append(f"other than it was: {names_text(found.differing)}")
    if found.versions:
        changed = (f"{name} {now} (was {then})" for name, (then, now) in found.versions.items())
        parts.append("other versions: " + ", ".join(list(changed)[:_NAMES_SHOWN]))
    return "; ".join(parts)


def note_for_model(found: Comparison, rebuilding: Rebuilding) -> str:
    """What the model has to know before it relies on what earlier turns left behind."""
    lines = ["The kernel was started anew since the turns above, and its namespace is not the one they ended with."]
    if found.gone:
        lines.append("Gone: " + ", ".join(f"{name} ({text})" for name, text in _first(found.gone)) + _more(found.gone))
    if found.differing:
        texts = (f"{name} (was {then}, is {now})" for name, (then, now) in _first(found.differing))
        lines.append("Different: " + ", ".join(texts) + _more(found.differing))
    if found.versions:
        lines.append("Versions: " + ", ".join(f"{n} {now} (was {then})" for n, (then, now) in found.versions.items()))
    if rebuilding.pieces:
        cells = dict.fromkeys(piece.cell for piece in rebuilding.pieces)
        lines.append(
            f"Cells that rebuild it, in order: {', '.join(map(str, cells))} (the user can run %claw resume --run)."
        )
    if rebuilding.without:
        lines.append(f"No code in the notebook makes {', '.join(rebuilding.without[:20])}.")
    return "[" + "\n".join(lines) + "]"


def names_text(names: Mapping[str, Any]) -> str:
    """A few names, and how many more there are."""
    return ", ".join(list(names)[:_NAMES_SHOWN]) + (
        f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    )


def _first(texts: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return list(texts.items())[:40]


def _more(texts: Mapping[str, Any]) -> str:
    return f" and {len(texts) - 40} more" if len(texts) > 40 else ""


def _differ(then: str, now: str) -> bool:
    kind, _, digest = then.partition(" #")
    current, _, found = now.partition(" #")
    return kind != current or bool(digest and found and digest != found)


def _texts(value: Any) -> dict[str, str]:
    """A stranger's: names and fingerprints go to the model and the screen, so only short ones of one line do."""
    if not isinstance(value, Mapping):
        return {}
    return {
        name: text
        for name, text in value.items()
        if isinstance(name, str)
        and name.isidentifier()
        and isinstance(text, str)
        and len(text) <= 200
        and text.isprintable()
    }
