"""A bounded wait: its end, its result, and that no cancellation is ever lost in it."""

import asyncio

import pytest

from services.runtime.waiting import within

pytestmark = pytest.mark.asyncio


async def test_a_result_in_time_is_returned() -> None:
    assert await within(5, asyncio.sleep(0, "done")) == "done"


async def test_work_that_takes_too_long_is_cancelled() -> None:
    never = asyncio.get_running_loop().create_future()
    with pytest.raises(TimeoutError):
        await within(0.01, never)
    assert never.cancelled()


async def test_a_cancellation_that_comes_together_with_the_result_is_not_lost() -> None:
    """``asyncio.wait_for`` of Python 3.11 loses it: a consumer with much to read could not be stopped."""
    arriving = asyncio.get_running_loop().create_future()

    async def wait_once() -> str:
        await within(5, arriving)
        return "went on"

    task = asyncio.create_task(wait_once())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    arriving.set_result(None)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_that_the_work_swallows_is_not_lost() -> None:
    async def deaf() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return

    async def wait_once() -> str:
        await within(5, deaf())
        return "went on"

    task = asyncio.create_task(wait_once())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_cleaning_up_after_a_cancellation_may_wait_too() -> None:
    cleaned = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(await within(5, asyncio.sleep(0, "yes")))

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned == ["yes"]


async def test_what_somebody_else_cancelled_is_a_lost_connection_not_our_end() -> None:
    """A worker would end, and its process with it, though nobody asked for that."""
    theirs = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(theirs.cancel)
    with pytest.raises(ConnectionAbortedError):
        await within(5, theirs)
