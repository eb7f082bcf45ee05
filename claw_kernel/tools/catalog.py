"""Which tools' schemas are sent: about a dozen from the start, the others once they were found or called, and then always.

Schemas are only ever added at the end, so that a provider's cache of what stands before them holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Protocol

from claw_kernel.late_dataclass import dataclass
from claw_kernel.messages import ToolSpec

SENT_AT_ONCE = 12
"""So many tools are sent without deferring any: a search would cost more than their schemas."""
FOUND_AT_ONCE = 5
"""Tools that one search loads at most."""
_NAMED = 6
"""The score of a tool one word of whose name was asked for."""


@dataclass(frozen=True)
class Found:
    """What a search gave: tools that are now loaded, names that were loaded before, names that do not exist."""

    loaded: tuple[ToolSpec, ...] = ()
    known: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


class UnmadeTool(Protocol):
    """A deferred tool whose ``spec`` costs something to ask for."""

    name: str

    @property
    def spec(self) -> ToolSpec: ...


class Catalog:
    """The schemas of one session, in the order of ``offered``."""

    def __init__(self, offered: Sequence[ToolSpec | UnmadeTool]) -> None:
        is_deferring = len(offered) > SENT_AT_ONCE
        self._deferred = {
            one.name: one for one in offered if is_deferring and (not isinstance(one, ToolSpec) or one.is_deferred)
        }
        self.deferred = tuple(self._deferred)
        """Names of the tools that were deferred at the start, in a fixed order."""
        self.specs = tuple(_spec(one) for one in offered if one.name not in self._deferred)
        """The same object until a schema is added."""

    def waiting(self) -> tuple[str, ...]:
        """Names of the tools whose schemas are not sent yet."""
        return tuple(self._deferred)

    def add(self, spec: ToolSpec) -> None:
        """Send one more, from the next request on."""
        self.specs = (*self.specs, spec)

    def load(self, names: Iterable[str]) -> tuple[ToolSpec, ...]:
        """Send these too, from the next request on; names that are sent already or unknown are passed over."""
        found = tuple(_spec(self._deferred.pop(name)) for name in dict.fromkeys(names) if name in self._deferred)
        if found:
            self.specs = (*self.specs, *found)
        return found

    def search(self, query: str) -> Found:
        """Load what fits: ``select:Name,Name``, or words that are looked for in names and descriptions, best first."""
        if query.strip().lower().startswith("select:"):
            return self._select([name.strip() for name in query.partition(":")[2].split(",") if name.strip()])
        words = _words(query)
        known = tuple(spec.name for spec in self.specs if _score(spec, words) >= _NAMED and spec.name != "ToolSearch")
        ranked = sorted((-_score(_spec(one), words), name) for name, one in self._deferred.items())
        return Found(self.load(name for score, name in ranked[:FOUND_AT_ONCE] if score), known)

    def _select(self, names: list[str]) -> Found:
        waiting = {name.lower(): name for name in self._deferred}
        sent = {spec.name.lower(): spec.name for spec in self.specs}
        known = tuple(sent[name.lower()] for name in names if name.lower() in sent)
        missing = tuple(name for name in names if name.lower() not in waiting and name.lower() not in sent)
        return Found(self.load(waiting[name.lower()] for name in names if name.lower() in waiting), known, missing)


def _spec(one: ToolSpec | UnmadeTool) -> ToolSpec:
    return one if isinstance(one, ToolSpec) else one.spec


_WORD = r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+"


def _words(text: str) -> list[str]:
    """Words in lower case; ``NotebookEdit`` is two."""
    return [word.lower() for word in re.findall(_WORD, text)]


def _score(spec: ToolSpec, words: list[str]) -> int:
    """How well a tool fits: words of its name count most, then parts of its name, then words of its description."""
    name, said = set(_words(spec.name)), set(_words(spec.description))
    whole = spec.name.lower()
    points = 10 * (whole == "".join(words))
    for word in words:
        if word in name:
            points += _NAMED
        elif len(word) > 2 and (word in whole or word.rstrip("s") in whole):
            points += 4
        elif len(word) > 2 and (word in said or word.rstrip("s") in said):
            points += 1
    return points
