"""A turn's events reach its one reader whole and in order, in few batches, whichever way it reads."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from claw_kernel.agent.turn import READ_SECONDS, Turn
from claw_kernel.messages import Event, TextDelta, TurnFinished, TurnRecord

COUNT = 300


def new_turn() -> Turn:
    return Turn(TurnRecord("t_1", "s_1", "go", (), "scripted/demo", "2026-11-21T12:00:00Z"))


def write(turn: Turn) -> None:
    for number in range(COUNT):
        turn.emit(TextDelta(str(number)))
        time.sleep(0.001)
    turn.emit(TurnFinished(turn.record))


def read(turn: Turn) -> list[list[Event]]:
    return [batch for batch in turn.batches_blocking() if batch]


def read_awaiting(turn: Turn) -> list[list[Event]]:
    async def batches() -> list[list[Event]]:
        return [batch async for batch in turn.batches()]

    return asyncio.run(batches())


@pytest.mark.parametrize("reader", [read, read_awaiting])
def test_quick_events_come_in_few_batches_and_none_is_lost(reader):
    turn = new_turn()
    writer = threading.Thread(target=write, args=(turn,))
    began = time.monotonic()
    writer.start()
    batches = reader(turn)
    took = time.monotonic() - began
    writer.join()
    events = [event for batch in batches for event in batch]
    assert [event.text for event in events[:-1] if isinstance(event, TextDelta)] == [str(n) for n in range(COUNT)]
    assert isinstance(events[-1], TurnFinished)
    assert len(batches) <= took / READ_SECONDS + 3


@pytest.mark.parametrize("reader", [read, read_awaiting])
def test_what_came_before_anybody_read_is_read(reader):
    turn = new_turn()
    turn.emit(TextDelta("a"))
    turn.emit(TurnFinished(turn.record))
    assert [[type(event).__name__ for event in batch] for batch in reader(turn)] == [["TextDelta", "TurnFinished"]]
