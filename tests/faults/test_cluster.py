"""Faults that only a cluster has: rows 13 and 14 of the fault matrix, on three real brokers. In ``make faults`` only."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from services.cli.stack.kafka import KafkaBroker, default_cache
from tests.support.ledger_checks import check_ledger
from tests.support.load import Load
from tests.support.servers import Servers
from tests.support.waiting import eventually
from tests.support.world import Process, World, make_world

pytestmark = [pytest.mark.asyncio, pytest.mark.full]

_REPLICATED = {
    "TELEMED_KAFKA_REPLICATION": "3",
    "TELEMED_KAFKA_MIN_INSYNC_REPLICAS": "2",
    # A cluster stalls for 8 to 12 s when one of its brokers dies.
    "TELEMED_MESSAGING_SEND_TIMEOUT_S": "15",
}


@pytest_asyncio.fixture
async def brokers(tmp_path: Path) -> AsyncIterator[list[KafkaBroker]]:
    """Three brokers; every topic on all of them, two must have a record before it is acknowledged."""
    started = await KafkaBroker.start_cluster(tmp_path / "cluster", default_cache())
    yield started
    await asyncio.gather(*(broker.stop() for broker in started if broker.alive))


@pytest_asyncio.fixture
async def clustered(servers: Servers, brokers: list[KafkaBroker], tmp_path: Path) -> AsyncIterator[World]:
    """A world on the cluster."""
    bootstrap = ",".join(broker.bootstrap for broker in brokers)
    made = await make_world(servers, tmp_path, bootstrap=bootstrap, more=_REPLICATED)
    yield made
    await made.close()


async def under_load(world: World, load: Load) -> list[Process]:
    """Two replicas that take commands and publish them."""
    ledgers = [await world.spawn() for _ in range(2)]
    load.start(ledgers, workers=2, pause_s=0.05)
    await publishes(world)
    return ledgers


async def published(world: World) -> int:
    """Events that the broker has acknowledged."""
    return int(await world.value("select (select count(*) from outbox) - (select count(*) from outbox_pending)"))


async def publishes(world: World) -> None:
    """Wait until more is acknowledged than now."""
    before = await published(world)

    async def more() -> bool:
        return await published(world) > before + 5

    await eventually(more, within_s=60, what="the relay publishes")


async def test_row_13_one_of_three_brokers_dies_and_the_others_elect_a_leader(
    clustered: World, brokers: list[KafkaBroker], seed: int
) -> None:
    """Row 13: a stall, no more; no command is refused, nothing is lost or doubled. Each broker dies in its turn."""
    world = clustered
    async with Load(seed) as load:
        ledgers = await under_load(world, load)
        for broker in brokers:
            await broker.kill()
            assert broker.returncode == -9
            await publishes(world)
            await broker.restart(wait=False)
            await asyncio.gather(*(one.ready() for one in brokers))
        await load.stop()
        assert set(load.statuses) == {201}, (load.statuses, load.refused)
        await check_ledger(world, load, within_s=90)
        for ledger in ledgers:
            assert await ledger.metric("telemed_relay_rebuilds_total") == 0, "the producer was replaced"


async def test_row_14_without_enough_replicas_nothing_is_marked_as_sent(
    clustered: World, brokers: list[KafkaBroker], seed: int
) -> None:
    """Row 14: two of three are gone. The outbox keeps everything until one is back."""
    world = clustered
    async with Load(seed) as load:
        ledgers = await under_load(world, load)
        await asyncio.gather(*(broker.kill() for broker in brokers[:2]))

        async def stalls() -> bool:
            before = await published(world)
            taken = len(load.acknowledged)
            # How long nothing gets through is what is looked at.
            await asyncio.sleep(5)
            return await published(world) == before and len(load.acknowledged) > taken

        await eventually(stalls, within_s=60, what="commands are taken, nothing is acknowledged by the broker")
        for broker in brokers[:2]:
            await broker.restart(wait=False)
        await asyncio.gather(*(one.ready() for one in brokers))
        await publishes(world)
        await load.stop()
        assert set(load.statuses) == {201}, (load.statuses, load.refused)
        await check_ledger(world, load, within_s=90)
        for ledger in ledgers:
            assert await ledger.metric("telemed_relay_rebuilds_total") == 0, "the producer was replaced"
