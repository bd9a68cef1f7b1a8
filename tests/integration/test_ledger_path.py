"""The whole path once, undisturbed: command -> outbox -> Kafka -> both consumers."""

import pytest

from tests.support.world import World

pytestmark = pytest.mark.asyncio


async def test_a_command_reaches_both_consumers_once_and_in_order(world: World) -> None:
    ledger = await world.spawn()
    for number in range(20):
        reply = await world.post(ledger, f"e{number}", f"a{number % 3}", amount=number)
        assert reply.status == 201
    await world.settled(20)
    effects = await world.rows("select source, sequence from effect order by id")
    assert len(effects) == 20
    for account in range(3):
        sequences = [row["sequence"] for row in effects if row["source"].endswith(f"/a{account}")]
        assert sequences == list(range(1, len(sequences) + 1))
    assert await world.value("select sum(total) from total") == sum(range(20))
    assert len(await world.dump()) == 20
