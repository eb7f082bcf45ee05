"""Blocking calls on threads, awaited on a loop."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from claw_kernel.tools.workers import MAX_THREADS, Workers


def run(main):
    workers = Workers()
    try:
        return asyncio.run(main(workers))
    finally:
        workers.close()


def test_results_and_errors_come_back():
    async def main(workers):
        with pytest.raises(ZeroDivisionError):
            await workers.run(lambda: 1 // 0)
        return await asyncio.gather(*(workers.run(lambda number=number: number) for number in range(5 * MAX_THREADS)))

    assert run(main) == list(range(5 * MAX_THREADS))


def test_work_that_can_be_cancelled_is_waited_for_and_gives_what_it_has():
    async def main(workers):
        stop = threading.Event()
        task = asyncio.ensure_future(workers.run(lambda: stop.wait(10) and "what there was", stop.set))
        await asyncio.sleep(0.02)
        task.cancel()
        return await task

    assert run(main) == "what there was"


@pytest.mark.parametrize("pause", [0, 0.05])
def test_work_that_ends_as_it_is_cancelled_gives_its_result(pause):
    """Its end is known to the loop, or not yet, when the cancel comes."""

    async def main(workers):
        task = asyncio.ensure_future(workers.run(lambda: "done", lambda: None))
        await asyncio.sleep(0)
        time.sleep(pause)  # noqa: ASYNC251 - the loop is to stand still
        task.cancel()
        return await task

    assert run(main) == "done"


def test_other_work_is_left_to_its_thread():
    async def main(workers):
        go_on, ended = threading.Event(), threading.Event()
        task = asyncio.ensure_future(workers.run(lambda: go_on.wait(10) and ended.set()))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()
        return await asyncio.to_thread(ended.wait, 10)

    assert run(main)


def test_work_that_outlives_the_loop_ends_without_a_word(caplog):
    """As where a person interrupts ``claw prompt`` while a checkpoint is made."""
    go_on = threading.Event()

    async def main(workers):
        task = asyncio.ensure_future(workers.run(lambda: go_on.wait(10)))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main)
    go_on.set()
    for thread in threading.enumerate():
        if thread.name.startswith("claw-tool"):
            thread.join(10)
    assert caplog.text == ""
