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
    better, so that is looked at too. The other way round, work that waits for something that somebody else has cancelled
    (aiokafka cancels futures of its own when it closes a connection) raises ``CancelledError`` though nobody has cancelled us.

    Raises:
        TimeoutError: it did not; the work is cancelled.
        ConnectionAbortedError: what it waited for was cancelled, and we were not.
    """
    task = asyncio.current_task()
    asked_before = task.cancelling() if task is not None else 0
    try:
        async with asyncio.timeout(seconds):
            result = await work
    except asyncio.CancelledError:
        if task is None or task.cancelling() > asked_before:
            raise
        raise ConnectionAbortedError("what was waited for is cancelled") from None
    if task is not None and task.cancelling() > asked_before:
        raise asyncio.CancelledError
    return result
