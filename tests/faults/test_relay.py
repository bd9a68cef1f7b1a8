"""Faults of the relay: rows 4, 5, 6, 9 of the fault matrix."""

import asyncio
import signal

import psutil
import pytest

from tests.support.ledger_checks import check_ledger, check_order_on_topic, records_by_event
from tests.support.load import NO_BROKER, Load
from tests.support.timings import Timings
from tests.support.waiting import eventually
from tests.support.world import PARTITIONS, Process, World

pytestmark = pytest.mark.asyncio

MOST_OWED = 100
"""Row 6: relays that send ten rows a second and lane, and are dead for most of the time, are asked for no more than this at
once: what the last ones inherit they can send within the deadline of the ledger checks, even if all of it is of one lane."""

LANES_HELD = """select count(*) from pg_locks l join pg_database d on d.oid = l.database
                where d.datname = current_database() and l.locktype = 'advisory'"""


async def pending(world: World) -> int:
    """Events that the outbox still owes to the topic."""
    return int(await world.value("select count(*) from outbox_pending"))


async def published(world: World) -> int:
    """Events that are marked as published."""
    return int(await world.value("select (select count(*) from outbox) - (select count(*) from outbox_pending)"))


async def test_rows_4_5_a_relay_killed_between_read_and_mark_loses_nothing_and_repeats_harmlessly(
    world_apart: World, seed: int
) -> None:
    """Row 4: kill -9 after the read: nothing was sent, the next one sends. Row 5: after the send, before the mark: it comes
    twice, takes effect once. The last one dies in its second batch, with the first one marked."""
    world = world_apart
    async with Load(seed) as load:
        writer = await world.spawn(wait=True, **NO_BROKER)
        await load.run([writer], 30)
        deaths = [
            ("relay.after_read=kill@1", 0, 30),
            ("relay.after_send=kill@1", 30, 30),
            ("relay.before_commit=kill@1", 60, 30),
        ]
        for failpoint, records, left in deaths:
            doomed = await world.spawn(wait=False, failpoints=failpoint)
            assert await doomed.ended(60) == -9
            assert doomed.fired() == [failpoint.partition("=")[0]]
            assert len(await world.dump()) == records, failpoint
            assert await pending(world) == left, failpoint
        small = {"TELEMED_MESSAGING_RELAY_BATCH": "2"}
        doomed = await world.spawn(wait=False, failpoints="relay.after_send=kill@2", **small)
        assert await doomed.ended(60) == -9
        assert 0 < await pending(world) < 30
        check_order_on_topic(await world.dump())
        await writer.kill()
        heirs = [await world.spawn() for _ in range(2)]
        await load.run(heirs, 10)
        counted = await check_ledger(world, load)
        assert counted["entries"] == 40
        assert counted["duplicates"] >= 60


@pytest.mark.parametrize("replicas", [1, 2])
async def test_row_6_relays_killed_at_random_moments_keep_the_order(
    world_apart: World, seed: int, replicas: int, timings: Timings
) -> None:
    """Row 6: kill -9 of a random relay in the middle of its batches, again and again, while commands come in."""
    world = world_apart
    async with Load(seed) as load:
        writer = await world.spawn(wait=True, **NO_BROKER)
        # One row at a time and lane, so that there is always a batch under way and a backlog behind it.
        small = {"TELEMED_MESSAGING_RELAY_BATCH": "1", "TELEMED_MESSAGING_RELAY_INTERVAL_MS": "100"}

        async def can_be_carried() -> bool:
            return await pending(world) < MOST_OWED

        load.start([writer], workers=3, pause_s=0.03, while_true=can_be_carried)
        relays = [await world.spawn(wait=False, **small) for _ in range(replicas)]
        for _ in range(timings.rounds):
            before = await published(world)

            async def publishes(before: int = before) -> bool:
                return await published(world) > before

            await eventually(publishes, what="a relay publishes")
            victim = load.random.choice(relays)
            await _stopped_at_work(world, victim, load)
            await victim.kill()
            relays.remove(victim)
            relays.append(await world.spawn(wait=False, **small))
        await load.stop()
        await writer.kill()
        await asyncio.gather(*(relay.ready() for relay in relays))
        await check_ledger(world, load)


@pytest.mark.parametrize("failpoint", ["relay.after_read", "relay.after_send"])
async def test_row_9_a_relay_that_stands_still_with_its_lanes_loses_them_and_may_come_back(
    world_apart: World, seed: int, failpoint: str
) -> None:
    """Row 9: SIGSTOP past the lane locks. PostgreSQL ends its transaction, the other relay goes on; SIGCONT: what it sends
    late is a second copy, its marks are refused."""
    world = world_apart
    async with Load(seed) as load:
        writer = await world.spawn(wait=True, **NO_BROKER)
        await load.run([writer], 20)
        zombie = await world.spawn(wait=False, failpoints=f"{failpoint}=stop@1")
        await eventually(lambda: _stopped(zombie), what="it stands still")
        assert zombie.fired() == [failpoint]
        assert await world.value(LANES_HELD) == PARTITIONS, "it does not hold the lanes"
        heir = await world.spawn()
        await load.run([heir], 20)

        async def taken_over() -> bool:
            return not await pending(world)

        await eventually(taken_over, within_s=30, what="the lanes are taken over")
        assert await _stopped(zombie), "it must still stand, or nothing was proven"
        before = records_by_event(await world.dump())
        assert len(before) == 40
        zombie.send(signal.SIGCONT)
        await zombie.ready()
        await writer.kill()
        await load.run([zombie, heir], 10)
        counted = await check_ledger(world, load)
        # Sent by the zombie before or after its sleep, and by its heir.
        assert counted["duplicates"] >= 20


async def _stopped_at_work(world: World, relay: Process, load: Load) -> None:
    """Let it stand still at a moment when events are still owed. When that is, is the fault: random, from the seed."""

    async def owes() -> bool:
        await asyncio.sleep(load.random.uniform(0, 0.4))
        relay.send(signal.SIGSTOP)
        await eventually(lambda: _stopped(relay), what="it stands still")
        if await pending(world):
            return True
        relay.send(signal.SIGCONT)
        return False

    await eventually(owes, what="a moment with a backlog")


async def _stopped(process: Process) -> bool:
    return psutil.Process(process.popen.pid).status() == psutil.STATUS_STOPPED
