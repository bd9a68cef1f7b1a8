"""Faults of a process as a whole: rows 60, 61, 67 of the fault matrix."""

import asyncio
import contextlib
import signal
from typing import Any

import aiohttp
import pytest
from aiokafka import TopicPartition
from aiokafka.protocol.admin import DescribeGroupsRequest_v3, DescribeGroupsResponse_v3

from services.runtime.messaging import kafka as clients
from tests.support.ledger_checks import CONSUMERS, check_ledger, records_by_event
from tests.support.load import Load
from tests.support.waiting import eventually
from tests.support.world import PARTITIONS, World

pytestmark = pytest.mark.asyncio


async def test_row_60_a_stop_in_the_middle_of_everything_answers_what_it_took_and_ends_well(world: World, seed: int) -> None:
    """Row 60: SIGTERM under load, one replica after the other. No 5xx for what was accepted, offsets committed, exit 0."""
    ledgers = [await world.spawn() for _ in range(2)]
    async with Load(seed) as load:
        load.start(ledgers, workers=6, pause_s=0.005)
        for number in range(2):
            before = len(load.acknowledged)

            async def some_more(before: int = before) -> bool:
                return len(load.acknowledged) > before + 30

            await eventually(some_more, what="commands go through")
            doomed = ledgers[number]
            ledgers[number] = await world.spawn()
            doomed.send(signal.SIGTERM)
            assert await doomed.ended(15) == 0
            assert b"drain-timed-out" not in doomed.log.read_bytes()
        await load.stop()
        # A connection that was refused after the listener went is an unknown outcome, which the key settles; a 5xx is a broken
        # promise to somebody who was let in.
        assert set(load.statuses) <= {0, 201}, load.statuses
        await check_ledger(world, load)


async def test_row_60_a_request_that_was_accepted_before_the_stop_is_answered(world: World, seed: int) -> None:
    """Row 60: it stands at its commit when the signal comes. The stop commits the offsets of what was applied, too."""
    # Nothing but the stop commits them.
    late = {"TELEMED_MESSAGING_OFFSET_COMMIT_S": "3600"}
    ledger = await world.spawn(failpoints="command.before_commit=delay:1.5@6", **late)
    async with Load(seed) as load:
        await load.run([ledger], 5, workers=1)
        await world.settled(5)
        assert not any((await committed(world)).values())
        applied = await world.rows("select event_id from consumer_cursor where consumer = any($1)", CONSUMERS)
        asking = asyncio.create_task(load.post(ledger))

        async def at_its_commit() -> bool:
            return bool(ledger.fired())

        await eventually(at_its_commit, what="the command stands at its commit")
        ledger.send(signal.SIGTERM)
        assert (await asking).status == 201
        assert await ledger.ended(15) == 0
        offsets, on_topic = await committed(world), records_by_event(await world.dump())
        for (record,) in (on_topic[str(row["event_id"])] for row in applied):
            behind = [name for name in CONSUMERS if offsets[name, record.partition] <= record.offset]
            assert not behind, f"{behind} did not commit {record.partition}/{record.offset}"
        await check_ledger(world, load, process=await world.spawn())


async def committed(world: World) -> dict[tuple[str, int], int]:
    """Where the group of each consumer stands in each partition; 0 for nowhere."""
    found = {}
    for name in CONSUMERS:
        client = clients.consumer(world.kafka, "administrator", f"{world.prefix}.{name}", poll_records=1)
        await client.start()
        try:
            for number in range(PARTITIONS):
                found[name, number] = await client.committed(TopicPartition(world.topic, number)) or 0
        finally:
            await client.stop()
    return found


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGKILL])
async def test_row_61_a_second_signal_ends_it_at_once_and_is_as_safe_as_a_kill(
    world: World, seed: int, second: signal.Signals
) -> None:
    """Row 61: the first signal is held up by a command that will not end; nothing half-done is left."""
    doomed = await world.spawn(failpoints="command.before_commit=delay:30")
    async with Load(seed) as load:
        asking = asyncio.create_task(load.post(doomed))

        async def at_its_commit() -> bool:
            return bool(doomed.fired())

        await eventually(at_its_commit, what="the command stands at its commit")
        doomed.send(signal.SIGTERM)

        async def stopping() -> bool:
            with contextlib.suppress(aiohttp.ClientError, OSError):
                return (await doomed.get("/readyz"))[0] == 503
            return True

        await eventually(stopping, what="it takes nobody in any more")
        assert doomed.popen.poll() is None, "it ended before the second signal"
        doomed.send(second)
        assert await doomed.ended(5) == (130 if second == signal.SIGTERM else -9)
        assert (await asking).status == 0
        heir = await world.spawn()
        await load.run([heir], 5)
        counted = await check_ledger(world, load, process=heir)
        assert counted["entries"] == 6


async def test_row_67_an_event_loop_that_stands_still_is_counted_and_costs_no_membership(
    world: World, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 67: blocked for 2 s. The alarm counts it, the consumers keep their partitions, nothing is lost."""
    # aiokafka 0.14 reads an answer of version 3 as if it were of version 2.
    monkeypatch.setattr(DescribeGroupsRequest_v3, "RESPONSE_TYPE", DescribeGroupsResponse_v3)
    ledgers = [await world.spawn(failpoints="loop.tick=block:2@80"), await world.spawn()]
    async with Load(seed) as load:
        before: dict[tuple[str, str], bytes] = {}

        async def all_in() -> bool:
            before.clear()
            before.update(await members(world))
            return len(before) == 2 * len(CONSUMERS) and all(before.values())

        await eventually(all_in, what="everybody has partitions")
        assert not ledgers[0].fired(), "it stood still before there was a membership to lose"
        load.start(ledgers, workers=2)

        async def counted_it() -> bool:
            return await ledgers[0].metric("telemed_loop_stalls_total") >= 1

        await eventually(counted_it, what="the stall is counted")
        assert "loop.tick" in ledgers[0].fired()
        assert b"loop-stalled" in ledgers[0].log.read_bytes()
        await load.stop()
        await check_ledger(world, load)
        assert await members(world) == before, "somebody left or joined"
        for ledger in ledgers:
            assert await ledger.metric("telemed_consumer_rebuilds_total") == 0


async def members(world: World) -> dict[tuple[str, str], bytes]:
    """Group and member, and what the coordinator has assigned to it. Who is thrown out comes back under another name."""
    admin = await clients.admin(world.kafka)
    try:
        answers: Any = await admin.describe_consumer_groups([f"{world.prefix}.{name}" for name in CONSUMERS])
    finally:
        await admin.close()
    groups = [group for answer in answers for group in answer.groups]
    return {(group[1], member[0]): member[4] for group in groups for member in group[5]}


async def test_an_error_that_nobody_foresaw_ends_no_process(world: World, seed: int) -> None:
    """Client libraries meet half-started servers with assertions of their own. Commands are taken all the while, and the relay
    and the consumers go on."""
    places = ("relay.after_read", "relay.after_send", "consumer.polled", "consumer.after_commit")
    ledger = await world.spawn(failpoints=";".join(f"{place}=raise@{number}" for number, place in enumerate(places, start=2)))
    async with Load(seed) as load:
        load.start([ledger])

        async def all_fired() -> bool:
            return set(places) <= set(ledger.fired())

        await eventually(all_fired, what="each place has failed once")
        await load.stop()
        assert set(load.statuses) <= {0, 201}, load.statuses
        await check_ledger(world, load)
