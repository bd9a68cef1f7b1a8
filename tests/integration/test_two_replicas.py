"""Two replicas of one service, undisturbed: they share the work and do none of it twice."""

import asyncio

import pytest

from tests.support.world import World

pytestmark = pytest.mark.asyncio


async def test_two_replicas_publish_each_event_once_and_in_order(world: World) -> None:
    """The lane locks at work: without them both relays send the same pending rows."""
    first, second = await asyncio.gather(world.spawn(), world.spawn())

    async def post(worker: int) -> None:
        for number in range(40):
            process = (first, second)[number % 2]
            assert (await world.post(process, f"e{worker}-{number}", f"a{worker}")).status == 201

    await asyncio.gather(*(post(worker) for worker in range(6)))
    await world.settled(240)
    records = await world.dump()
    assert len(records) == 240
    for worker in range(6):
        sequences = [int(dict(r.headers)["ce_sequence"]) for r in records if r.key == f"a{worker}".encode()]
        assert sequences == list(range(1, 41))
    assert await world.value("select count(*) from effect") == 240
