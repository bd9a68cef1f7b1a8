"""Faults of the broker and of the way to it: rows 11, 12, 15, 16, 45 of the fault matrix."""

import asyncio
import json
import signal
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio
from aiokafka import TopicPartition
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError
from pydantic import SecretStr

from services.cli.stack.ports import HOST
from services.runtime.messaging import kafka as clients
from services.runtime.messaging.lanes import lane_of
from tests.faults.conftest import OwnBroker, apart
from tests.support.certificates import Authority
from tests.support.ledger_checks import check_ledger
from tests.support.load import Load
from tests.support.producers import impersonate, remembered
from tests.support.proxy import ANSWERS, REQUESTS, proxy_to
from tests.support.servers import Servers
from tests.support.timings import Timings
from tests.support.waiting import eventually
from tests.support.world import PARTITIONS, Process, World, make_world

pytestmark = pytest.mark.asyncio


@dataclass
class Scene:
    """A world, its replicas, and the client that torments them."""

    world: World
    load: Load
    ledgers: list[Process]
    answered: Counter[int] = field(default_factory=Counter)

    async def pending(self) -> int:
        return int(await self.world.value("select count(*) from outbox_pending"))

    async def published(self) -> int:
        return int(await self.world.value("select (select count(*) from outbox) - (select count(*) from outbox_pending)"))

    async def publishes(self) -> None:
        """Wait until more is published than now."""
        before = await self.published()

        async def more() -> bool:
            return await self.published() > before

        await eventually(more, within_s=60, what="the relay publishes")

    async def waits(self) -> bool:
        """Whether a relay stands in its transaction with events that it has read and that nobody has acknowledged."""
        transactions = """select exists (select 1 from pg_stat_activity where datname = current_database()
                          and application_name = 'telemed.ledger.relay' and state = 'idle in transaction')"""
        return bool(await self.pending() and await self.world.value(transactions))

    async def metric(self, name: str) -> float:
        return sum([await ledger.metric(name) for ledger in self.ledgers])

    async def states(self) -> set[str]:
        """What the replicas answer at /readyz; a broker that is gone must not make them unready."""
        found = set()
        for ledger in self.ledgers:
            status, text = await ledger.get("/readyz")
            assert status == 200, text
            found.add(json.loads(text)["status"])
        return found

    async def all_degraded(self) -> bool:
        return await self.states() == {"degraded"}


@pytest_asyncio.fixture
async def scenes(servers: Servers, own_broker: OwnBroker, tmp_path: Path, seed: int) -> AsyncIterator[list[Scene]]:
    """One replica, and two, side by side on the own broker: they go through the same fault."""
    async with AsyncExitStack() as stack:
        made = []
        for replicas in (1, 2):
            folder = tmp_path / str(replicas)
            folder.mkdir()
            world = apart(await make_world(servers, folder, bootstrap=own_broker.broker.bootstrap))
            stack.push_async_callback(world.close)
            load = await stack.enter_async_context(Load(seed + replicas))
            made.append(Scene(world, load, []))
        yield made


async def spawn(scenes: Sequence[Scene], **environment: str) -> None:
    """Start the first scene's one replica and the second one's two, and their clients."""
    wanted = [scene for number, scene in enumerate(scenes, start=1) for _ in range(number)]
    for scene in wanted:
        scene.ledgers.append(await scene.world.spawn(wait=False, **environment))
    await asyncio.gather(*(ledger.ready() for scene in scenes for ledger in scene.ledgers))
    for scene in scenes:
        scene.load.start(scene.ledgers, workers=2, pause_s=0.1)
    await asyncio.gather(*(scene.publishes() for scene in scenes))


async def check(scenes: Sequence[Scene]) -> list[dict[str, int]]:
    """End the clients, then the ledger checks of both."""
    for scene in scenes:
        await scene.load.stop()
        # Before what is unknown is asked again: a request that ``stop`` has cut may still be worked on, which is a 409 then.
        scene.answered = scene.load.statuses
    counted = await asyncio.gather(*(check_ledger(scene.world, scene.load, within_s=60) for scene in scenes))
    for scene in scenes:
        assert all(b'"request-in-progress"' in body for body in scene.load.refused), scene.load.refused
    return counted


async def test_row_11_a_broker_that_is_gone_costs_nobody_a_command(
    scenes: list[Scene], own_broker: OwnBroker, timings: Timings
) -> None:
    """Row 11: HTTP stays 2xx, the outbox grows; when it is back, the same producer object goes on: no loss, no double."""
    await spawn(scenes)
    await own_broker.broker.stop()
    before = [await scene.pending() for scene in scenes]
    # How long it is gone is the fault.
    await asyncio.sleep(timings.broker_down_s)
    for scene, pending in zip(scenes, before, strict=True):
        assert await scene.pending() > pending + 10, "the outbox does not grow: the broker was not needed"
        await eventually(scene.all_degraded, what="degraded, not unready")
    await own_broker.broker.restart()
    await asyncio.gather(*(scene.publishes() for scene in scenes))
    counted = await check(scenes)
    for scene in scenes:
        assert set(scene.answered) == {201}, (scene.answered, scene.load.refused)
        assert await scene.metric("telemed_relay_rebuilds_total") == 0, "the producer was replaced"
    assert counted[0]["duplicates"] == 0, "one relay with one producer object sends nothing twice"


async def test_row_12_a_broker_killed_in_the_middle_of_batches_loses_and_doubles_nothing(
    scenes: list[Scene], own_broker: OwnBroker, timings: Timings
) -> None:
    """Row 12: an orderly restart under load, then kill -9 with batches in its hands, and again."""
    await spawn(scenes)
    broker = own_broker.broker
    for number in range(max(2, timings.rounds - 1)):
        if number:
            # It stands still until a relay of each scene waits for its answer.
            broker.send(signal.SIGSTOP)
            await asyncio.gather(*(eventually(scene.waits, what="a batch is under way") for scene in scenes))
            await broker.kill()
            assert broker.returncode == -9
        else:
            await broker.stop()
        await broker.restart()
        await asyncio.gather(*(scene.publishes() for scene in scenes))
    await check(scenes)
    for scene in scenes:
        assert set(scene.answered) == {201}, (scene.answered, scene.load.refused)
        assert await scene.metric("telemed_relay_rebuilds_total") == 0, "the producer was replaced"


async def test_row_15_a_producer_that_the_broker_has_forgotten_goes_on_in_order(
    world_apart: World, own_broker: OwnBroker, seed: int
) -> None:
    """Row 15: idle for longer than the broker remembers producers; what it says next is neither lost nor out of order."""
    world, broker = world_apart, own_broker.broker
    # Its heartbeats would keep the producer known.
    ledger = await world.spawn(TELEMED_MESSAGING_HEARTBEAT_S="3600")
    async with Load(seed, accounts=1) as load:
        (account,) = load.accounts
        lane = lane_of(account, PARTITIONS)
        await load.run([ledger], 5, workers=1)
        await world.settled(5)
        assert await remembered(broker.port, world.topic, lane)
        try:
            await _remember_producers_for(world, "1000")

            async def forgotten() -> bool:
                return not await remembered(broker.port, world.topic, lane)

            await eventually(forgotten, what="the broker has forgotten the producer")
            await load.run([ledger], 5, workers=1)
            await world.settled(10)
        finally:
            await _remember_producers_for(world, "86400000")
        await check_ledger(world, load)


async def _remember_producers_for(world: World, milliseconds: str) -> None:
    admin = await clients.admin(world.kafka)
    try:
        setting = {"producer.id.expiration.ms": milliseconds}
        await admin.alter_configs([ConfigResource(ConfigResourceType.BROKER, "1", setting)])
    finally:
        await admin.close()


async def test_row_16_a_producer_beyond_repair_is_replaced_at_once(
    world_apart: World, own_broker: OwnBroker, seed: int
) -> None:
    """Row 16: somebody else wrote under its id, so the broker refuses its sequences for ever; a new producer goes on."""
    world = world_apart
    ledgers = [await world.spawn() for _ in range(2)]
    async with Load(seed, accounts=1) as load:
        (account,) = load.accounts
        lane = lane_of(account, PARTITIONS)
        await load.run(ledgers, 10, workers=1)
        await world.settled(10)
        copies = [record for record in await world.dump() if record.partition == lane]
        known = await remembered(own_broker.broker.port, world.topic, lane)
        assert known
        for one in known:
            await impersonate(world.kafka, one, TopicPartition(world.topic, lane), copies[:7])

        async def replaced() -> bool:
            return sum([await ledger.metric("telemed_relay_rebuilds_total") for ledger in ledgers]) >= 1

        # Its next heartbeat is refused; 5 s is what the matrix grants.
        await eventually(replaced, within_s=5, what="the producer is replaced")
        log = b"".join(ledger.log.read_bytes() for ledger in ledgers)
        assert b"OutOfOrderSequenceNumber" in log
        await load.run(ledgers, 10)
        counted = await check_ledger(world, load)
        assert counted["duplicates"] >= 7


async def test_row_45_a_network_that_lets_only_one_direction_through_is_an_outage_of_the_broker(
    scenes: list[Scene], own_broker: OwnBroker, timings: Timings
) -> None:
    """Row 45: first the answers of the broker vanish, then what is sent to it; then connections are cut. As row 11."""
    async with proxy_to(own_broker.behind, port=own_broker.proxy) as proxy:
        await spawn(scenes, TELEMED_KAFKA_BOOTSTRAP=f"{HOST}:{own_broker.proxy}")
        for direction in (ANSWERS, REQUESTS):
            swallowed = proxy.swallowed
            proxy.hold(direction)
            await asyncio.sleep(timings.cut_s)
            assert proxy.swallowed > swallowed, "nothing was held back"
            for scene in scenes:
                assert await scene.pending() > 0
                await eventually(scene.all_degraded, what="degraded, not unready")
            if direction == REQUESTS:
                proxy.reset()
            proxy.resume()
            await asyncio.gather(*(scene.publishes() for scene in scenes))
        await check(scenes)
        for scene in scenes:
            assert set(scene.answered) == {201}, (scene.answered, scene.load.refused)
            assert await scene.metric("telemed_relay_rebuilds_total") == 0, "the producer was replaced"
        for scene in scenes:
            await asyncio.gather(*(ledger.kill() for ledger in scene.ledgers))


async def test_a_broker_that_asks_for_tls_a_certificate_and_a_password_is_served_as_any_other(
    servers: Servers, own_broker: OwnBroker, tmp_path: Path, seed: int
) -> None:
    """Topics are made, events published and consumed, all over its own listener; and whoever lacks one of the three is out."""
    world = apart(await make_world(servers, tmp_path, more=own_broker.safe))
    try:
        ledgers = [await world.spawn() for _ in range(2)]
        async with Load(seed) as load:
            await load.run(ledgers, 20)
            await check_ledger(world, load)
        known = world.kafka
        stranger = Authority(tmp_path, "stranger")
        forged = stranger.vouch_for("forged")
        for wrong in (
            {"security_protocol": "SASL_PLAINTEXT"},
            {"ca_file": stranger.file},
            {"cert_file": None, "key_file": None},
            {"cert_file": forged, "key_file": forged},
            {"password": SecretStr("another")},
            {"username": "another"},
        ):
            with pytest.raises(KafkaError):
                await clients.admin(known.model_copy(update=wrong))
    finally:
        await world.close()
