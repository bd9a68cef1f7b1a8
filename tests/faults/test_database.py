"""Faults of the database and of the way to it: rows 35, 36, 40 to 44 of the fault matrix."""

import asyncio
import contextlib
import dataclasses
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from services.cli.stack.postgres import PostgresServer
from tests.support.ledger.app import SERVICE
from tests.support.ledger_checks import check_ledger, records_by_event
from tests.support.load import NO_BROKER, Answer, Load, hold
from tests.support.proxy import ANSWERS, REQUESTS, Proxy, proxy_to
from tests.support.servers import LEDGER_PASSWORD, Servers
from tests.support.timings import Timings
from tests.support.waiting import eventually
from tests.support.world import Process, World, make_world

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def world_there(servers: Servers, own_postgres: PostgresServer, tmp_path: Path) -> AsyncIterator[World]:
    """A world on the own server."""
    made = await make_world(dataclasses.replace(servers, postgres=own_postgres), tmp_path)
    async with made.owner() as owner:
        # A cloned sequence may give the same numbers again after a crash: its page came with values that are logged already
        # in the template only. After a checkpoint the next value is logged anew.
        await owner.execute("checkpoint")
    yield made
    await made.close()


async def unready(ledger: Process, *, because: str) -> None:
    """Wait until a process says that it is not ready, and this reason: the first one may be how its connections ended."""

    async def says_so() -> bool:
        status, text = await ledger.get("/readyz")
        return status == 503 and because in text

    await eventually(says_so, what=f"unready because of {because}")
    assert (await ledger.get("/livez"))[0] == 200, "a database that is gone is no reason to be restarted"


async def test_row_35_a_crash_of_the_database_under_load_costs_nothing_acknowledged(
    world_there: World, own_postgres: PostgresServer, timings: Timings, seed: int
) -> None:
    """Row 35: 503 while it is down, ready again without a restart of ours, every acknowledged command there."""
    world = world_there
    ledgers = [await world.spawn() for _ in range(2)]
    async with Load(seed) as load:
        load.start(ledgers, workers=4, pause_s=0.01)
        for _ in range(max(2, timings.rounds // 4)):
            before = len(load.acknowledged)

            async def some_more(before: int = before) -> bool:
                return len(load.acknowledged) > before + 10

            await eventually(some_more, what="commands go through")
            await own_postgres.stop("immediate")
            for ledger in ledgers:
                await unready(ledger, because="database")
            assert (await load.post(ledgers[0])).status == 503
            await own_postgres.restart()
            await asyncio.gather(*(ledger.ready() for ledger in ledgers))
        await load.stop()
        assert set(load.statuses) <= {0, 201, 503}, load.statuses
        assert load.statuses[503], "nobody met the fault"
        await check_ledger(world, load)


async def test_row_36_a_database_set_back_behind_what_it_published_says_what_is_lost_and_goes_on(
    world_there: World, own_postgres: PostgresServer, seed: int
) -> None:
    """Row 36: failover to a copy that lacks the last commits. Lost facts are found on the topic, the epoch is raised, people
    are called, new commands take effect."""
    world = world_there
    copy = own_postgres.data.with_name("copy")
    ledger = await world.spawn()
    async with Load(seed, accounts=3) as load:
        await load.run([ledger], 12)
        await world.settled(12)
        await ledger.kill()
        await own_postgres.stop()
        # With owner and rights: the server runs as another user when we are root.
        copying = await asyncio.create_subprocess_exec("cp", "-a", own_postgres.data, copy)
        assert await copying.wait() == 0
        await own_postgres.restart()

        ledger = await world.spawn()
        await load.run([ledger], 12)
        await world.settled(24)
        # An orderly end commits its offsets, so that nobody reads the lost facts again and takes them for facts.
        ledger.send(signal.SIGTERM)
        assert await ledger.ended() == 0
        await own_postgres.stop()
        await asyncio.to_thread(shutil.rmtree, own_postgres.data)
        copy.rename(own_postgres.data)
        await own_postgres.restart()

        kept = {row["id"] for row in await world.rows("select id from entry")}
        lost = {asked.entry for asked in load.acknowledged} - kept
        assert len(lost) == 12, "the copy lacks nothing: the fault did not bite"

        heir = await world.spawn()

        async def noticed() -> bool:
            return bool(await world.value("select count(*) from page where code = 'runtime.events-ahead'"))

        await eventually(noticed, what="somebody is called")
        assert await world.value("select count(*) from audit where action = 'epoch.raise'") == 1
        on_topic = b"".join(copies[0].value or b"" for copies in records_by_event(await world.dump()).values())
        assert all(entry.encode() in on_topic for entry in lost), "what is lost can be read on the topic"

        answers = [await load.post(heir, account) for account in load.accounts]
        assert {answer.status for answer in answers} == {201}
        await world.settled(15)
        epochs = await world.rows("select distinct epoch from outbox order by epoch")
        assert [row["epoch"] for row in epochs] == [1, 2]
        mirrored = await world.rows(
            """select a.id, a.balance, m.total from account a left join mirror m on m.account = a.id
               where a.balance is distinct from m.total"""
        )
        assert not mirrored, "the consumer follows the history of the owner"
        for entry in lost:  # said and found above; of everything else nothing may differ
            del load.asked[entry]
        await check_ledger(world, load, process=heir)


async def test_row_40_with_every_connection_in_use_the_next_are_refused_and_nothing_hangs(world: World, seed: int) -> None:
    """Row 40: 503 instead of a queue without end; health is true all the while."""
    held = await world.spawn(failpoints="command.before_commit=delay:4")
    async with Load(seed, accounts=30) as load:
        asking = await hold(held, load)
        asking += [asyncio.create_task(load.post(held, account)) for account in load.accounts[8:]]
        assert (await held.get("/readyz"))[0] == 200
        assert (await held.get("/livez"))[0] == 200
        answers: list[Answer] = await asyncio.gather(*asking)
        assert {answer.status for answer in answers} == {201, 503}
        await check_ledger(world, load, process=await world.spawn())


async def test_row_41_a_database_that_refuses_our_role_is_named_as_the_reason(
    world_there: World, own_postgres: PostgresServer, seed: int
) -> None:
    """Row 41: too many connections, and a password that is no longer ours."""
    world = world_there
    ledger = await world.spawn()
    async with Load(seed) as load:
        await load.run([ledger], 4)
        faults = (
            (f"alter role {SERVICE.role} connection limit 0", f"alter role {SERVICE.role} connection limit -1", "TooMany"),
            (
                f"alter role {SERVICE.role} password 'another'",
                f"alter role {SERVICE.role} password '{LEDGER_PASSWORD}'",
                "InvalidPassword",
            ),
        )
        for begin, end, reason in faults:
            async with world.owner() as owner:
                await owner.execute(begin)
                await owner.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity where usename = $1",
                    SERVICE.role,
                )
                await unready(ledger, because=reason)
                assert (await load.post(ledger)).status == 503
                await owner.execute(end)
            await ledger.ready()
        await check_ledger(world, load)


async def test_row_42_a_transaction_left_open_is_named_by_its_process_and_holds_nobody_back(
    world: World, timings: Timings, seed: int
) -> None:
    """Row 42: an old snapshot; what is committed meanwhile is published all the same."""
    ledger = await world.spawn()
    async with Load(seed) as load, world.owner() as forgetful:
        transaction = forgetful.transaction(isolation="repeatable_read")
        await transaction.start()
        pid = await forgetful.fetchval("select pg_backend_pid()")
        load.start([ledger], workers=2)
        # How long it stays open is the fault.
        await asyncio.sleep(timings.transaction_s)

        async def named() -> bool:
            return await ledger.metric(f'telemed_oldest_transaction_seconds{{pid="{pid}"}}') >= timings.transaction_s / 2

        await eventually(named, what="the metric names the process")
        await load.stop()
        await load.settle(ledger)
        await world.settled(len(load.acknowledged))
        await transaction.rollback()
        await check_ledger(world, load)


@contextlib.asynccontextmanager
async def through_a_proxy(world: World, **environment: str) -> AsyncIterator[tuple[Proxy, list[Process]]]:
    """Two replicas that reach the database over a network of ours."""
    server = world.servers.postgres
    async with proxy_to(server.port) as proxy:
        url = world.environment["TELEMED_DATABASE_URL"].replace(f":{server.port}/", f":{proxy.port}/")
        ledgers = [
            await world.spawn(TELEMED_DATABASE_URL=url, TELEMED_DATABASE_COMMAND_TIMEOUT_S="2", **environment) for _ in range(2)
        ]
        yield proxy, ledgers
        # The processes first: through what remains of the proxy they would only wait.
        for ledger in ledgers:
            if ledger.popen.poll() is None:
                await ledger.kill()


async def test_row_43_connections_dead_without_a_word_are_given_up_and_the_poll_finds_the_work(world: World, seed: int) -> None:
    """Row 43: no wake-up is trusted. What a replica without a broker commits wakes nobody, and each connection is dead."""
    writer = await world.spawn(**NO_BROKER)
    async with through_a_proxy(world) as (proxy, ledgers), Load(seed) as load:
        await load.run([writer], 5)
        await world.settled(5)
        lost = proxy.lose()
        assert lost >= 2, "no connection was lost"
        await load.run([writer], 10)
        await world.settled(15)
        await load.run(ledgers, 10)
        await writer.kill()
        await check_ledger(world, load, lost=lost)


async def test_row_44_a_half_open_way_to_the_database_leaves_unknown_outcomes_that_the_key_settles(
    world: World, timings: Timings, seed: int
) -> None:
    """Row 44: answers vanish, then requests; nobody waits for ever, and nothing is written twice."""
    async with through_a_proxy(world) as (proxy, ledgers), Load(seed) as load:
        load.start(ledgers, workers=4, pause_s=0.01)
        for direction in (ANSWERS, REQUESTS):
            before = len(load.acknowledged)

            async def some_more(before: int = before) -> bool:
                return len(load.acknowledged) > before + 10

            await eventually(some_more, what="commands go through")
            swallowed = proxy.swallowed
            proxy.hold(direction)
            await asyncio.sleep(timings.cut_s)
            assert proxy.swallowed > swallowed, "nothing was held back"
            proxy.reset()
            proxy.resume()
            await asyncio.gather(*(ledger.ready() for ledger in ledgers))
        await load.stop()
        assert load.statuses[503], "nobody met the fault"
        assert set(load.statuses) <= {0, 201, 409, 503}, load.statuses
        await check_ledger(world, load)


async def test_a_role_of_a_service_is_told_the_age_of_the_oldest_transaction_and_no_query_text(world: World) -> None:
    """What row 42 needs is all that it gets."""
    connection = await asyncpg.connect(world.environment["TELEMED_DATABASE_URL"])
    try:
        async with world.owner() as other, other.transaction(isolation="repeatable_read"):
            pid = await other.fetchval("select pg_backend_pid()")
            found = await connection.fetchrow("select * from runtime.oldest_transaction()")
            seen = await connection.fetchval("select query from pg_stat_activity where pid = $1", pid)
    finally:
        await connection.close()
    assert found is not None
    assert list(found.keys()) == ["pid", "age"]
    assert seen == "<insufficient privilege>"
