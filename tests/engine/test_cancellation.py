"""Waiting for work that the person may cancel."""

from __future__ import annotations

import asyncio

import pytest

from claw_kernel.agent.cancellation import Cancellation, InterruptedTurnError
from claw_kernel.agent.turn import Turn
from tests.engine.test_turn import new_turn


async def soon(value: object = None, *, after: float = 0.01) -> object:
    await asyncio.sleep(after)
    return value


async def cancelled_while(work, turn: Turn, cancellation: Cancellation):
    asyncio.get_running_loop().call_later(0.01, turn.cancel)
    return await cancellation.until_cancelled(work)


def test_work_that_nobody_cancels_gives_its_value():
    async def run():
        return await Cancellation(new_turn()).until_cancelled(soon(7))

    assert asyncio.run(run()) == 7


def test_errors_of_the_work_pass():
    async def fail():
        raise ValueError("its own")

    async def run():
        await Cancellation(new_turn()).until_cancelled(fail())

    with pytest.raises(ValueError, match="its own"):
        asyncio.run(run())


def test_cancelled_work_has_ended_when_the_turn_is_told():
    ended = []

    async def work():
        try:
            await asyncio.sleep(60)
        finally:
            await soon()
            ended.append(True)
            raise ValueError("of no interest")

    async def run():
        one = new_turn()
        with pytest.raises(InterruptedTurnError):
            await cancelled_while(work(), one, Cancellation(one))
        assert asyncio.current_task().cancelling() == 0
        await soon()  # the task goes on
        async with asyncio.timeout(1):
            await soon()

    asyncio.run(run())
    assert ended == [True]


def test_work_that_had_its_value_keeps_it():
    async def stubborn():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "what there was"

    async def run():
        one = new_turn()
        assert await cancelled_while(stubborn(), one, Cancellation(one)) == "what there was"
        assert asyncio.current_task().cancelling() == 0

    asyncio.run(run())


def test_nothing_begins_once_the_turn_is_cancelled():
    begun = []

    async def work():
        begun.append(True)

    async def run():
        one = new_turn()
        cancellation = Cancellation(one)
        one.cancel()
        one.cancel()
        await soon()
        with pytest.raises(InterruptedTurnError):
            await cancellation.until_cancelled(work())

    asyncio.run(run())
    assert begun == []


def test_several_wait_at_once_and_all_are_told():
    async def run():
        one = new_turn()
        cancellation = Cancellation(one)
        waiting = [asyncio.ensure_future(cancellation.until_cancelled(soon(after=60))) for _ in range(3)]
        done = asyncio.ensure_future(cancellation.until_cancelled(soon("done")))
        await done
        one.cancel()
        one.cancel()
        return await asyncio.gather(*waiting, done, return_exceptions=True)

    *told, done = asyncio.run(run())
    assert [type(one) for one in told] == [InterruptedTurnError] * 3
    assert done == "done"


def test_what_somebody_else_cancels_is_no_interrupt():
    async def run():
        waiting = asyncio.ensure_future(Cancellation(new_turn()).until_cancelled(soon(after=60)))
        await soon()
        waiting.cancel()
        await waiting

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run())


def test_a_turn_may_take_only_so_long():
    async def run():
        one = new_turn()
        cancellation = Cancellation(one)
        cancellation.expire_after(0.02)
        with pytest.raises(InterruptedTurnError):
            await cancellation.until_cancelled(soon(after=60))
        assert cancellation.is_expired

    asyncio.run(run())
