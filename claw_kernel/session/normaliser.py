"""What may differ between two runs without saying anything: times, durations, folders, addresses, process ids, temporary names.

A report names the kinds that were at work (:attr:`Normaliser.kinds`), so that nobody takes "same" for more than it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from claw_kernel.errors import SettingsError
from claw_kernel.late_dataclass import dataclass
from claw_kernel.session.record import scrub
from claw_kernel.session.request_hash import without_places

_CLOCK = r"\d{1,2}:\d{2}:\d{2}(?:[.,]\d+)?"
_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*"
_PATTERNS: dict[str, tuple[str, ...]] = {
    "uuids": (r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b",),
    "times": (
        rf"\b\d{{4}}-\d{{2}}-\d{{2}}[T ]{_CLOCK}(?:Z|\s?[+-]\d{{2}}:?\d{{2}}\b)?",
        rf"\b(?:\w{{3}},? )?(?:\d{{1,2}} {_MONTH}|{_MONTH} +\d{{1,2}}),? (?:\d{{4}} )?{_CLOCK}(?: \w{{3,4}})?(?: \d{{4}})?",
        rf"\b{_CLOCK}\b",
    ),
    "durations": (
        r"(?<![\w.])\d+(?:\.\d+)?\s?(?:ns|µs|us|ms|s|sec|secs|seconds?|min|minutes?)\b(?:\s?±\s?\d+(?:\.\d+)?\s?\w+)?",
    ),
    "addresses": (r"\b0x[0-9a-fA-F]{4,}\b",),
    "process ids": (r"\b(?i:pid|process)(?:[ =:#]+)\d+\b",),
    "temporary names": (
        r"(?:/private)?/(?:tmp|var/tmp|var/folders/[\w+]+/[\w+]+/T|dev/shm)/[^\s\"'`:,;)\]}>]+",
        r"\b(?:tmp|ipykernel_)[A-Za-z0-9_]{5,}\b",
        r"\b[tsajc]_[0-9a-f]{16}\b",
        r"(?<=/state/outputs/)[0-9a-f]{16,}(?=\.txt)",  # where the whole of a long output is kept
    ),
    "new or overwritten (%%writefile)": (r"(?m)^(?:Overw|W)riting (?=\S+$)",),
}
_MAX_PATTERN = 1_000


@dataclass(frozen=True)
class Normaliser:
    """``places``: folders and what stands for them (``request_hash.places_of``); ``own``: the user's regular expressions."""

    places: Mapping[str, str]
    own: tuple[re.Pattern[str], ...] = ()

    @property
    def kinds(self) -> tuple[str, ...]:
        """What is looked past, for the report."""
        return ("folders (workspace, home)", *_PATTERNS, *(f"/{pattern.pattern}/" for pattern in self.own))

    def __call__(self, text: str) -> str:
        for pattern in self.own:
            text = pattern.sub("<…>", text)
        text = without_places(text, self.places)
        for name, pattern in _COMPILED:
            text = pattern.sub(f"<{name}>", text)
        return text

    def of_json(self, value: Any) -> Any:
        """The same for every text in a JSON value."""
        return scrub(value, self)


_COMPILED = [(name, re.compile(text)) for name, texts in _PATTERNS.items() for text in texts]


def read_patterns(texts: Iterable[str], source: str) -> tuple[re.Pattern[str], ...]:
    """Raises SettingsError where one is no regular expression."""
    found = []
    for text in texts:
        try:
            if not text or len(text) > _MAX_PATTERN:
                raise re.error("it is empty or too long")
            found.append(re.compile(text, re.MULTILINE))
        except re.error as error:
            raise SettingsError(f"{text!r} ({source}) is no regular expression: {error}.", "Mend it.") from None
    return tuple(found)
