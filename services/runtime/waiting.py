"""Waiting with an end."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

__all__ = ["within"]

T = TypeVar("T")


async def within(seconds: float, work: Awaitable[T]) -> T:
    """The result of some work, if it comes in time.

    ``asyncio.wait_for`` of Python 3.11 returns a result that comes together with a cancellation and forgets the cancellation:
    a busy consumer then goes on for ever and SIGTERM waits for it in vain. Work that swallows a cancellation by itself is no
    better, so that is looked at too.

    Raises:
        TimeoutError: it did not; the work is cancelled.
    """
    task = asyncio.current_task()
    asked_before = task.cancelling() if task is not None else 0
    async with asyncio.timeout(seconds):
        result = await work
    if task is not None and task.cancelling() > asked_before:
        raise asyncio.CancelledError
    return result
