"""Faults around a command: rows 1, 2, 3, 33, 37 of the fault matrix."""

import asyncio
import contextlib

import pytest

from tests.support.ledger_checks import check_ledger
from tests.support.load import NO_BROKER, Asked, Load
from tests.support.waiting import eventually
from tests.support.world import Process, World

pytestmark = pytest.mark.asyncio


async def test_rows_1_2_a_service_killed_around_its_commit_has_written_once(world: World, seed: int) -> None:
    """Row 1: kill -9 before the commit. Row 2: between commit and reply. Asked again, each entry is there once."""
    async with Load(seed) as load:
        for failpoint, written in (("command.before_commit", 0), ("command.after_commit", 1)):
            nth = load.random.randint(1, 12)
            # Without a broker: its consumers would leave partitions that the heir had to wait for.
            doomed = await world.spawn(wait=True, failpoints=f"{failpoint}=kill@{nth}", **NO_BROKER)
            for _ in range(nth):
                asked = load.new()
                answer = await load.ask(doomed, asked)
            assert answer.status == 0
            assert await doomed.ended() == -9
            assert failpoint in doomed.fired()
            found = await world.value("select count(*) from entry where id = $1", asked.entry)
            assert found == written, f"killed at {failpoint}, but {found} written"
        heir = await world.spawn()
        counted = await check_ledger(world, load, process=heir)
        assert counted["entries"] == len(load.asked)


async def test_row_3_a_client_that_hangs_up_at_any_moment_can_settle_it_with_its_key(world: World, seed: int) -> None:
    """Row 3: requests cut off at random milliseconds; some had been written, some not, and the key tells."""
    ledgers = [await world.spawn(failpoints="command.before_commit=delay:0.01") for _ in range(2)]
    async with Load(seed) as load:

        async def hang_up(ledger: Process, asked: Asked) -> None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(load.ask(ledger, asked), load.random.uniform(0.0, 0.06))

        for _ in range(20):
            await asyncio.gather(*(hang_up(load.random.choice(ledgers), load.new()) for _ in range(4)))
        cut_off = load.unsettled
        written = await world.value("select count(*) from entry where id = any($1)", [asked.entry for asked in cut_off])
        assert len(cut_off) > written >= 1, f"{len(cut_off)} cut off, {written} of them written: the fault did not bite"
        await check_ledger(world, load)


async def test_row_33_an_event_over_64_kib_is_refused_and_nothing_of_it_is_written(world: World, seed: int) -> None:
    """Row 33: refused at the outbox with 413, so that it never reaches the relay, where it would block its lane."""
    ledger = await world.spawn()
    async with Load(seed) as load:
        large = load.new(padding="x" * 70_000)
        assert (await load.ask(ledger, large)).status == 413
        for table in ("entry", "account", "outbox", "outbox_pending", "stream", "idempotency"):
            assert await world.value(f"select count(*) from {table}") == 0, table
        fits = load.new(account=large.account, padding="x" * 64_000)
        assert (await load.ask(ledger, fits)).status == 201
        assert (await load.post(ledger, account=large.account)).status == 201
        counted = await check_ledger(world, load)
        assert counted["entries"] == 2


async def test_row_37_a_deadlock_is_retried_and_answered_once(world: World, seed: int) -> None:
    """Row 37: another writer takes the same rows in the opposite order; PostgreSQL ends our transaction, we run it again."""
    ledger = await world.spawn()
    async with Load(seed, accounts=1) as load, world.owner() as rival:
        await load.run([ledger], 3, workers=1)
        (account,) = load.accounts
        # The rival must not be the one who is chosen to give way.
        await rival.execute("set deadlock_timeout = '20s'")
        async with rival.transaction():
            await rival.execute("select 1 from stream where source like '%' || $1 for update", account)
            command = asyncio.create_task(load.post(ledger))

            async def waits_for_us() -> bool:
                return bool(await world.value("select count(*) from pg_locks where not granted"))

            await eventually(waits_for_us, what="the command waits for the stream")
            await rival.execute("update account set balance = balance where id = $1", account)
        assert (await command).status == 201
        assert await ledger.metric("telemed_conflicts_total") >= 1
        # Counted when the backend reports, which may be a moment later.
        deadlocks = "select deadlocks from pg_stat_database where datname = current_database()"
        await eventually(lambda: world.value(deadlocks), what="PostgreSQL counted a deadlock")
        await check_ledger(world, load)


async def test_row_37_two_replicas_that_write_the_same_account_lose_nothing(world: World, seed: int) -> None:
    """Row 37: many commands on one account at once; version conflicts are run again, at most a few times."""
    ledgers = [await world.spawn() for _ in range(2)]
    async with Load(seed, accounts=1) as load:
        await load.run(ledgers, 60, workers=12)
        conflicts = [await ledger.metric("telemed_conflicts_total") for ledger in ledgers]
        assert all(conflicts), f"no conflict: {conflicts}"
        assert set(load.statuses) <= {201, 409}
        await check_ledger(world, load)
