"""The queue of one client of a stream: what may be left out is, what may not never is, and order means what it says."""

import asyncio

import pytest

from services.runtime.edge.stream import Frame, Outlet, body

pytestmark = pytest.mark.asyncio


def session(position: int, key: str = "s1") -> Frame:
    return Frame(body("session", f'"{position}"'), str(position), key)


def alert(position: int) -> Frame:
    return Frame(body("alert", f'"{position}"'), str(position))


async def test_a_newer_row_takes_the_place_of_the_older_behind_everything_that_waits() -> None:
    outlet = Outlet()
    for frame in (session(1), alert(2), session(3, "s2"), session(4)):
        outlet.offer(frame)
    frames, last = await outlet.take()
    # 4 stands last: whoever has it has everything before it too.
    assert ([frame.id for frame in frames], last) == (["2", "3", "4"], False)


async def test_alerts_are_all_there_and_too_many_end_the_stream_with_a_reason() -> None:
    outlet = Outlet(limit=3)
    for position in range(1, 1000):
        outlet.offer(session(position))
    for position in (1001, 1002):
        outlet.offer(alert(position))
    assert [frame.id for frame in (await outlet.take())[0]] == ["999", "1001", "1002"]
    for position in range(2001, 2010):
        outlet.offer(alert(position))
    frames, last = await outlet.take()
    assert ([frame.wire for frame in frames], last) == ([b'event: close\ndata: {"reason": "overflow"}\n\n'], True)


async def test_what_waits_is_sent_before_the_end_and_nothing_after_it() -> None:
    outlet = Outlet()
    outlet.offer(alert(1))
    outlet.end("token-expired")
    outlet.end("stopping")
    outlet.offer(alert(2))
    frames, last = await outlet.take()
    assert last
    assert b"".join(frame.wire for frame in frames) == (
        b'id: 1\nevent: alert\ndata: "1"\n\nevent: close\ndata: {"reason": "token-expired"}\n\n'
    )


async def test_whoever_has_more_than_the_queue_takes_waits_until_it_was_sent() -> None:
    outlet = Outlet(limit=2)
    outlet.offer(alert(1))
    waiting = asyncio.create_task(outlet.sent())
    await asyncio.sleep(0)
    assert not waiting.done()
    await outlet.take()
    await waiting
