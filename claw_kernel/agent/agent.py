"""The agent of one session: what a front end holds. Methods may be called from any thread unless said otherwise."""

from __future__ import annotations

from collections.abc import Iterable

from claw_kernel.agent.turn import Turn
from claw_kernel.gate import Gate
from claw_kernel.messages import ImageBlock, TextBlock
from claw_kernel.session import Session
from claw_kernel.settings import Settings
from claw_kernel.tools.namespace import Namespace


class Agent:
    """Runs turns on the engine's event loop (one background thread per process, started on first use).

    ``session``: the conversation (records, transcript). ``gate``: asks and remembers; ``gate.core`` is the Rust core.
    ``settings``: as loaded. ``model``: ``provider/model`` or None where none could be found yet.
    """

    session: Session
    gate: Gate
    settings: Settings

    def __init__(self, settings: Settings, *, session: Session | None = None, namespace: Namespace | None = None) -> None:
        raise NotImplementedError

    @property
    def model(self) -> str | None: ...

    def set_model(self, name: str) -> None:
        """From the next turn on. Raises SettingsError where the name cannot be one (``provider/model``)."""

    def start(
        self,
        prompt: str,
        *,
        content: tuple[TextBlock | ImageBlock, ...] | None = None,
        cell_id: str = "",
        ways: Iterable[str] = (),
        model: str | None = None,
        max_turns: int | None = None,
        max_cost_usd: float | None = None,
    ) -> Turn:
        """Begin a turn and return at once. ``content``: what is sent (default: the prompt as text). ``ways``: who can answer
        an approval now: any of ``extension``, ``widget``, ``stdin``; empty: nobody can, and what the policy would ask is denied.
        ``max_turns`` limits model requests. Raises nothing for a provider's fault: that ends the turn with an error."""
        raise NotImplementedError

    def close(self) -> None:
        """Cancel what runs, close providers and the core. The agent is not used afterwards."""
