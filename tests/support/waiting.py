"""Waiting for a condition with a generous deadline: liveness, never speed."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

__all__ = ["eventually"]

T = TypeVar("T")


async def eventually(condition: Callable[[], Awaitable[T]], *, within_s: float = 30.0, what: str = "") -> T:
    """Ask again and again until the answer is true; returns it.

    Raises:
        AssertionError: with the last answer, when the deadline has passed.
    """
    deadline = time.monotonic() + within_s
    while True:
        answer = await condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s: {what or condition.__name__}; last answer {answer!r}")
        await asyncio.sleep(0.02)
