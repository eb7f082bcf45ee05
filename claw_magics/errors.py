"""How a cell ends as an error without a traceback: the person's mistake or the turn's end is one line."""

from __future__ import annotations


class CellError(Exception):
    """Ends the cell as an error, so that "Run All" stops; IPython shows ``str(error)`` and no traceback."""

    is_shown_above = False
    """The turn's drawing in a page says it already; the saved error still holds the whole text."""

    def _render_traceback_(self) -> list[str]:
        """Asked by IPython in place of a traceback."""
        return [f"{type(self).__name__}: {'see above' if self.is_shown_above else self}"]


class ClawUsageError(CellError):
    """A cell or command line that cannot be understood; nothing was sent to a model."""


class ClawSettingsError(CellError):
    """Settings, a model's name or a session that cannot be used; nothing was sent to a model."""


class TurnFailed(CellError):  # noqa: N818  (this name is what the person reads)
    """The turn ended with an error, which its output shows with the remedy."""


class TurnStopped(CellError):  # noqa: N818
    """The turn met a limit (``max_turns``, ``max_cost`` …) or went round in circles, before its end."""


class TurnInterrupted(CellError):  # noqa: N818
    """The person stopped the turn."""
