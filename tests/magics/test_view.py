"""Events folded into the document that is drawn."""

from __future__ import annotations

from claw_kernel.messages import ProviderNotice, TextBlock, TextDelta, TurnRecord, TurnStarted
from claw_magics.view import TurnView


def test_a_retry_is_shown_while_it_is_waited_for_and_other_notices_stay() -> None:
    record = TurnRecord("t", "s", "hi", (TextBlock("hi"),), "m/x", "2026-01-01T00:00:00Z", notices=("settings",))
    view = TurnView(record, "k", lambda text: text)

    def notices() -> list[str]:
        return view.document().get("notices", [])

    view.fold(TurnStarted(record))
    view.fold(ProviderNotice("scripted"))
    view.fold(ProviderNotice("again in 1 s (1/4)", is_passing=True))
    assert notices() == ["settings", "scripted", "again in 1 s (1/4)"]
    view.fold(ProviderNotice("again in 2 s (2/4)", is_passing=True))
    assert notices() == ["settings", "scripted", "again in 2 s (2/4)"]
    view.fold(TextDelta("Hello"))
    assert notices() == ["settings", "scripted"]
