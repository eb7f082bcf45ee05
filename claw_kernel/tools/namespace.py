"""The seam to the live kernel: what the tools ``Python`` and ``Inspect`` need of whoever owns the user's namespace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from typing import Any, Protocol

from claw_kernel.late_dataclass import dataclass


@dataclass(frozen=True)
class CodeResult:
    """What running code gave. ``outputs`` are Jupyter outputs in order, each ``{"output_type": "stream", "name", "text"}``,
    ``{"output_type": "display_data"|"execute_result", "data": {mime: …}, "metadata": {…}}`` or
    ``{"output_type": "error", "ename", "evalue", "traceback": [plain lines without ANSI]}``."""

    outputs: tuple[dict[str, Any], ...] = ()
    is_error: bool = False
    is_interrupted: bool = False


@dataclass(frozen=True)
class Variable:
    """One variable, described without running any code of its type. ``summary`` is safe text (type, shape, dtype, length, a
    preview for plain builtins and known array/frame types); ``is_opaque``: more would need its own ``__repr__``."""

    name: str
    type_name: str
    summary: str
    size_bytes: int | None = None
    is_opaque: bool = False
    details: dict[str, Any] = field(default_factory=dict)


class Namespace(Protocol):
    """The user's namespace. Methods are called on the engine's event loop; an implementation hops to the thread that
    owns the namespace, and raises ``RuntimeError`` with a sentence for the model where it cannot be reached."""

    async def run_code(self, code: str, on_output: Callable[[dict[str, Any]], None]) -> CodeResult:
        """Run ``code`` as a cell would (magics, top-level await), without touching history or ``_``. ``on_output`` gets each
        output as it appears. Cancelling this coroutine interrupts the code."""
        ...

    async def list_variables(self) -> tuple[Variable, ...]:
        """The user's own variables (no modules, no names IPython put there), sorted by name."""
        ...

    async def describe(self, name: str, *, with_repr: bool = False) -> Variable:
        """More about one variable; ``name`` may be dotted or indexed with constants (``df.columns`` is refused where it
        would run a property). ``with_repr`` runs the type's own ``repr`` (a person allowed it). Raises KeyError."""
        ...

    async def surroundings(self) -> dict[str, Any]:
        """What a turn ran on, for the ``environment`` of its record: versions, and the variables as short fingerprints. Runs
        none of the user's code, and takes little time."""
        ...
