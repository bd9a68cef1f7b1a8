"""Commands that come together, on the real database: each ends as it would have ended alone."""

import asyncio
import functools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from services.runtime import tracing
from services.runtime.database import Reader
from services.runtime.messaging.changes import Changes, Context, Rejected, Reply
from services.runtime.messaging.unit_of_work import Decide, IdempotencyKey
from services.runtime.serve import Runtime, build
from tests.support.ledger.app import SERVICE
from tests.support.ledger.commands import PostEntry, post_entry
from tests.support.ledger.events import source_of
from tests.support.waiting import eventually
from tests.support.world import World

pytestmark = pytest.mark.asyncio

Outcome = Reply | Rejected | BaseException


@asynccontextmanager
async def ledger(world: World) -> AsyncIterator[Runtime]:
    """A ledger inside this process, with nothing running but its database pools."""
    made = build(SERVICE, world.settings())
    await made.database.open()
    try:
        yield made
    finally:
        await made.database.close()


def post(entry: str, account: str, amount: int = 1, padding: str = "") -> Decide:
    return functools.partial(post_entry, PostEntry(account, entry, amount, padding=padding))


def keyed(entry: str, body: bytes = b"") -> IdempotencyKey:
    return IdempotencyKey.of("i", "s", "c", "r", entry, body)


async def start_together(
    runtime: Runtime, commands: Sequence[tuple[Decide, IdempotencyKey | None]]
) -> "list[asyncio.Task[Reply | Rejected]]":
    """Ask for all of them while an earlier command is being decided, so that they make up the next group."""
    deciding, go_on = asyncio.Event(), asyncio.Event()

    async def earlier(_: Reader, __: Context) -> Changes:
        deciding.set()
        await go_on.wait()
        return Changes()

    first = asyncio.create_task(runtime.unit_of_work.execute(earlier))
    await deciding.wait()
    asked = [asyncio.create_task(runtime.unit_of_work.execute(decide, key=key)) for decide, key in commands]
    await asyncio.sleep(0)
    go_on.set()
    await first
    return asked


async def together(runtime: Runtime, *commands: tuple[Decide, IdempotencyKey | None]) -> list[Outcome]:
    return list(await asyncio.gather(*await start_together(runtime, commands), return_exceptions=True))


def statuses(outcomes: Sequence[Outcome]) -> list[int | str]:
    return [one.status if isinstance(one, Reply | Rejected) else type(one).__name__ for one in outcomes]


async def test_they_share_one_transaction_and_their_positions_have_no_gap(world: World) -> None:
    """Also those on one account: each sees what the one before it has written."""
    async with ledger(world) as runtime:
        wanted = [(post(f"e{number}", f"a{number % 3}"), keyed(f"e{number}")) for number in range(12)]
        assert statuses(await together(runtime, *wanted)) == [201] * 12
    assert await world.value("select count(distinct xmin::text) from entry") == 1, "they were not one group"
    rows = await world.rows("select id, source, sequence, event_id from outbox order by id")
    for account in ("a0", "a1", "a2"):
        mine = [row for row in rows if row["source"] == source_of(account)]
        assert [row["sequence"] for row in mine] == [1, 2, 3, 4]
        assert [row["event_id"] for row in mine] == sorted(row["event_id"] for row in mine)
    assert await world.value("select array_agg(balance order by id) from account") == [4, 4, 4]


async def test_keys_say_the_same_in_a_group_as_alone(world: World) -> None:
    """Same key and body: replayed. Another body: 422. Each is done once."""
    async with ledger(world) as runtime:
        await runtime.unit_of_work.execute(post("old", "a"), key=keyed("old"))
        outcomes = await together(
            runtime,
            (post("new", "b"), keyed("new")),
            (post("old", "a"), keyed("old")),
            (post("new", "b"), keyed("new")),
            (post("new", "b"), keyed("new", b"another")),
            (post("other", "c"), keyed("other")),
        )
        assert set(statuses(outcomes[:1] + outcomes[4:])) == {201}
        assert statuses(outcomes[1:2]) == [201]
        assert statuses(outcomes[2:3])[0] in (201, 409), "a twin is replayed or told to wait"
        assert statuses(outcomes[3:4])[0] in (409, 422)
        assert statuses(await together(runtime, (post("new", "b"), keyed("new", b"another")))) == [422]
    assert await world.value("select array_agg(id order by id) from entry") == ["new", "old", "other"]
    assert await world.value("select count(*) from idempotency where status is null") == 0


async def bad_argument(read: Reader, _: Context) -> Changes:
    await read.fetchval("select $1::int", "no number")
    return Changes()


async def bad_statement(read: Reader, _: Context) -> Changes:
    await read.fetchval("select 1 / 0")
    return Changes()


async def bug(_: Reader, __: Context) -> Changes:
    raise KeyError("bug")


@pytest.mark.parametrize("guilty", [bad_argument, bad_statement, bug, post("large", "g", padding="x" * 70_000)])
async def test_whatever_fails_for_one_fails_for_it_alone(world: World, guilty: Decide) -> None:
    async with ledger(world) as runtime:
        outcomes = await together(
            runtime, (post("e1", "a"), keyed("e1")), (guilty, keyed("guilty")), (post("e2", "b"), keyed("e2"))
        )
        assert isinstance(outcomes[1], Exception), outcomes
        assert statuses([outcomes[0], outcomes[2]]) == [201, 201]
        assert runtime.database.idle()
    assert await world.value("select array_agg(id order by id) from entry") == ["e1", "e2"]
    assert await world.value("select array_agg(key order by key) from idempotency") == ["e1", "e2"]


async def test_a_decision_that_takes_too_long_fails_alone(world: World) -> None:
    async def slow(read: Reader, _: Context) -> Changes:
        await read.fetchval("select pg_sleep(60)")
        return Changes()

    world.environment["TELEMED_DATABASE_COMMAND_TIMEOUT_S"] = "1"
    async with ledger(world) as runtime:
        outcomes = await together(
            runtime, (post("e1", "a"), keyed("e1")), (slow, keyed("slow")), (post("e2", "b"), keyed("e2"))
        )
        assert isinstance(outcomes[1], Exception)
        assert statuses([outcomes[0], outcomes[2]]) == [201, 201]
    assert await world.value("select array_agg(id order by id) from entry") == ["e1", "e2"]


async def test_a_row_that_somebody_holds_keeps_only_those_waiting_who_want_it(world: World) -> None:
    """The others of the group are answered while it is still held."""
    async with ledger(world) as runtime, world.owner() as holder:
        await runtime.unit_of_work.execute(post("e0", "held"))
        async with holder.transaction():
            await holder.execute("select 1 from account where id = 'held' for update")
            asked = await start_together(
                runtime, [(post("e1", "held"), keyed("e1")), *((post(f"f{n}", f"a{n}"), keyed(f"f{n}")) for n in range(4))]
            )
            others = asked[1:]

            async def answered() -> bool:
                return all(task.done() for task in others)

            await eventually(answered, within_s=10, what="the others are answered")
            assert [task.result().status for task in others] == [201] * 4
            assert not asked[0].done(), "it had nothing to wait for: the fault did not bite"
        assert (await asked[0]).status in (201, 409)


async def test_an_event_bears_the_trace_of_its_own_command_and_of_no_other(world: World) -> None:
    async with ledger(world) as runtime:
        with tracing.serving("POST", "/entries", ""):
            traced = tracing.current_traceparent()
            one = asyncio.create_task(runtime.unit_of_work.execute(post("e1", "a")))
        two = asyncio.create_task(runtime.unit_of_work.execute(post("e2", "b")))
        three = asyncio.create_task(runtime.unit_of_work.execute(post("e3", "c")))
        await asyncio.gather(one, two, three)
    found = await world.rows("select key, traceparent from outbox order by key")
    assert [(row["key"], row["traceparent"]) for row in found] == [("a", traced), ("b", None), ("c", None)]


async def test_groups_that_want_the_same_rows_in_another_order_do_not_end_each_other(world: World) -> None:
    """Two processes: one wants ``a`` twice and then ``b``, the other ``b`` twice and then ``a``, at the same time."""
    both = asyncio.Event()
    arrived: list[str] = []

    def last(entry: str, account: str) -> Decide:
        async def decide(read: Reader, context: Context) -> Changes | Rejected:
            arrived.append(entry)
            if len(arrived) == 2:
                both.set()
            await both.wait()
            return await post(entry, account)(read, context)

        return decide

    async with ledger(world) as one, ledger(world) as other:
        for account in ("a", "b"):
            await one.unit_of_work.execute(post(f"first-{account}", account))
        outcomes = await asyncio.gather(
            together(one, (post("e1", "a"), None), (post("e2", "a"), None), (last("e3", "b"), None)),
            together(other, (post("f1", "b"), None), (post("f2", "b"), None), (last("f3", "a"), None)),
        )
    assert [statuses(found) for found in outcomes] == [[201] * 3, [201] * 3]
    assert await world.value("select array_agg(balance) from account") == [4, 4]
    gaps = """select count(*) from (select sequence - row_number() over (partition by source order by id) as gap from outbox) o
              where gap <> 0"""
    assert await world.value(gaps) == 0
    assert await world.value("select deadlocks from pg_stat_database where datname = current_database()") == 0
