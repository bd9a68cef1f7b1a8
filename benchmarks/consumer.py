"""Consumer: the same topic read by ours, by a bare loop, and by FastStream."""

import asyncio
import contextlib
import dataclasses
import gc
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg
from pydantic import BaseModel
from uuid_utils.compat import uuid7

from benchmarks.ledger import MIRROR, TOTALS, ledger
from benchmarks.peers import peer
from benchmarks.report import Goal, Section, Table
from benchmarks.rounds import Contender, Results, Void, median, spread
from benchmarks.stage import Arena, Stage
from schemas.envelope import Attributes, headers_of
from services.runtime.failpoints import Failpoints
from services.runtime.messaging import kafka as clients
from services.runtime.messaging.inbox import Subscription
from services.runtime.messaging.lanes import lane_of
from services.runtime.serve import build
from tests.support.ledger.events import ENTRY_POSTED, EntryPosted, source_of

__all__ = ["main"]

ACCOUNTS = 500
POLL = 2000
FEW = 500
"""As many as FastStream is given at a time in its batch mode."""

_INBOX = """
create table inbox (event_id uuid primary key);
create table peer_total (account text primary key, total bigint not null, count bigint not null);
"""

SET_WISE, BARE, PEER = (
    "ours, set-wise projection (poll 2,000)",
    "bare getmany (2,000) + commit + json.loads",
    "FastStream default",
)
REACTION, PEER_BATCH = "ours, reaction (10 events a transaction)", "FastStream batch=True (500), our bulk SQL"


@dataclass
class Progress(Failpoints):
    """When how many events were dealt with: committed where there is something to commit.

    In place of a service's failpoints it is told of every batch of ours after its commit.
    """

    count: Callable[[], float] = field(default=lambda: 0)
    points: list[tuple[float, float]] = field(default_factory=list)

    def note(self, count: float) -> None:
        """So many in all by now."""
        self.points.append((time.perf_counter(), count))

    async def hit(self, name: str, detail: str = "") -> None:
        if name == "consumer.after_commit":
            self.note(self.count())

    def rate(self) -> float:
        """Events per second between the first batch done and the last: joining the group is not counted, for nobody."""
        (first_at, first), (last_at, last) = self.points[0], self.points[-1]
        return (last - first) / (last_at - first_at)


async def main(stage: Stage) -> Section:
    """See the module."""
    large, small = stage.options.size(60_000, 3_000), stage.options.size(2_000, 300)
    arena = await stage.arena()
    long = await _fill(arena, arena.topic, large)
    scene = _Scene(arena)
    contenders: dict[str, Contender] = {
        SET_WISE: partial(scene.ours, TOTALS, long),
        BARE: partial(scene.bare, arena.topic, long),
    }
    short_arena = await stage.arena()
    short = await _fill(short_arena, short_arena.topic, small)
    middle_arena = await stage.arena()
    middle = await _fill(middle_arena, middle_arena.topic, stage.options.size(10_000, 500))
    contenders[REACTION] = partial(_Scene(middle_arena).ours, MIRROR, middle)
    if not stage.options.quick:
        contenders[PEER] = partial(_Scene(short_arena).faststream, short_arena.topic, short, batch=False)
        contenders[PEER_BATCH] = partial(scene.faststream, arena.topic, long, batch=True)
    gc.collect()
    gc.freeze()
    try:
        results = await stage.rounds(contenders)
    finally:
        gc.unfreeze()
        for used in (arena, short_arena, middle_arena):
            await used.close()
    return _section(results, large, small, middle.count)


def _section(results: Results, large: int, small: int, middle: int) -> Section:
    rows = [
        [
            name,
            spread(results.of(name, "events/s")),
            spread(results.ratio(name, PEER, "events/s"), 1) if results.of(PEER, "events/s") else "-",
            spread(results.ratio(name, BARE, "events/s"), 2),
            spread(results.of(name, "cpu us")),
        ]
        for name in results.values
    ]
    peer = median(results.ratio(SET_WISE, PEER, "events/s")) if results.of(PEER, "events/s") else float("nan")
    bare = median(results.ratio(SET_WISE, BARE, "events/s"))
    goals = [
        Goal(
            "set-wise projection >= 50x FastStream's default handler",
            f"{peer:.0f}x",
            peer >= 50,
            "an event costs us about three times the processor time of the bare loop, most of it validating its model; "
            "50x needs less than that on one core",
        )
    ]
    if not results.of(PEER, "events/s"):
        goals = []
    goals.append(
        Goal(
            "set-wise projection >= 0.5x bare getmany + commit + parse",
            f"{bare:.2f}x",
            bare >= 0.5,
            "reading the headers, judging the cursor and validating the event against its model cost more than `json.loads` alone",
        )
    )
    return Section(
        name="consumer",
        title="Consumer: events a second",
        how=(
            f"700-byte events of {ACCOUNTS} accounts on 12 partitions; {large:,} for the fast contenders, {middle:,} for the reaction, "
            f"{small:,} for one transaction per event. From the first batch done to the last, so joining the group counts for nobody. "
            "*set-wise projection*: headers, cursor per account, validation, totals of accounts, one transaction a poll, exactly once. "
            "*reaction*: the same with a versioned row and an effect row per event. *bare*: `getmany`, offsets committed every poll, "
            "`json.loads`; no effect at all. *FastStream default*: acknowledged first, pydantic model, a transaction per event with "
            "an inbox row and an upsert (asyncpg); its batch mode with one bulk statement of each is a reference. After each run "
            "the rows are compared with what was sent."
        ),
        tables=[Table(["contender", "events/s", "x FastStream default", "x bare", "client CPU us/event"], rows)],
        goals=goals,
        void=results.void,
    )


@dataclass(frozen=True, slots=True)
class _Sent:
    count: int
    totals: dict[str, int]


async def _fill(arena: Arena, topic: str, count: int) -> _Sent:
    """Valid events, in order for each account."""
    producer = clients.producer(arena.kafka, "bench.fill")
    await producer.start()
    totals: dict[str, int] = {}
    sequences: dict[str, int] = {}
    now = datetime.now(UTC)
    try:
        lanes: dict[int, list[tuple[str, Attributes, bytes]]] = {}
        for number in range(count):
            account = f"a{number % ACCOUNTS}"
            sequences[account] = sequences.get(account, 0) + 1
            totals[account] = totals.get(account, 0) + 1
            event_id: UUID = uuid7()
            attributes = Attributes(event_id, ENTRY_POSTED.name, source_of(account), 1, sequences[account], account)
            data = EntryPosted(account=account, entry=f"e{number}", amount=1, balance=totals[account], padding="x" * 257)
            event = ENTRY_POSTED.envelope(
                id=event_id,
                source=attributes.source,
                type=ENTRY_POSTED.name,
                time=now + timedelta(milliseconds=number),
                recordedtime=now,
                dataschema=ENTRY_POSTED.dataschema,
                partitionkey=account,
                sequence=attributes.sequence,
                epoch=1,
                data=data,
            )
            lanes.setdefault(lane_of(account, arena.kafka.partitions), []).append((account, attributes, event.encode()))
        for lane, events in lanes.items():
            for start in range(0, len(events), 500):
                batch = producer.create_batch()
                for account, attributes, body in events[start : start + 500]:
                    stamp = int(time.time() * 1000)
                    appended = batch.append(key=account.encode(), value=body, timestamp=stamp, headers=headers_of(attributes))
                    assert appended is not None
                batch.close()
                await (await producer.send_batch(batch, topic, partition=lane))
    finally:
        await producer.stop()
    return _Sent(count, totals)


class _Scene:
    def __init__(self, arena: Arena) -> None:
        self.arena = arena
        self._number = 0

    async def ours(self, subscription: Subscription, sent: _Sent) -> Mapping[str, float]:
        """A consumer of the kernel on a fresh database, under a group of its own."""
        database = await self.arena.clone()
        settings = self.arena.settings(database)
        self._number += 1
        # Another name is another group, which starts from the beginning.
        renamed = dataclasses.replace(subscription, consumer=f"{subscription.consumer}.{self._number}")
        runtime = build(ledger(renamed), settings)
        consumer = runtime.consumers[0]
        applied = runtime.metrics.handled.labels(renamed.consumer, "applied")._value.get
        progress = Progress(count=applied)
        consumer.failpoints = progress
        try:
            await runtime.database.open()
            spent = await self._until(consumer.run(), progress, sent.count)
            await runtime.database.close()
            async with self.arena.owner(database) as owner:
                table = "total" if subscription is TOTALS else "mirror"
                found = {r["account"]: r["total"] for r in await owner.fetch(f"select account, total from {table}")}
                effects = await owner.fetchval("select count(*) from effect")
                moved = await owner.fetchval("select sum(sequence) from consumer_cursor")
                parked = await owner.fetchval("select count(*) from parked")
        finally:
            await self.arena.drop(database)
        wanted = 0 if subscription is TOTALS else sent.count
        if found != sent.totals or effects != wanted or moved != sent.count or parked:
            raise Void(f"{sum(found.values())} of {sent.count}, {effects} effects, cursors at {moved}, {parked} parked")
        return {"events/s": progress.rate(), "cpu us": spent / sent.count * 1e6}

    async def bare(self, topic: str, sent: _Sent) -> Mapping[str, float]:
        """No effect: the limit."""
        consumer = clients.consumer(self.arena.kafka, "bench.bare", self._group(), poll_records=POLL)
        consumer.subscribe([topic])
        progress = Progress()
        totals: dict[str, int] = {}

        async def loop() -> None:
            await consumer.start()
            seen = 0
            while True:
                batches = await consumer.getmany(timeout_ms=1000, max_records=POLL)
                for records in batches.values():
                    for record in records:
                        event = json.loads(record.value or b"null")
                        totals[event["partitionkey"]] = totals.get(event["partitionkey"], 0) + 1
                    seen += len(records)
                if batches:
                    await consumer.commit()
                    progress.note(seen)

        try:
            spent = await self._until(loop(), progress, sent.count)
        finally:
            await consumer.stop()
        if totals != sent.totals:
            raise Void(f"{sum(totals.values())} of {sent.count}")
        return {"events/s": progress.rate(), "cpu us": spent / sent.count * 1e6}

    async def faststream(self, topic: str, sent: _Sent, *, batch: bool) -> Mapping[str, float]:
        """FastStream as its documentation shows it, with an inbox so that a duplicate has no effect."""
        database = await self.arena.clone()
        async with self.arena.owner(database) as owner:
            await owner.execute(_INBOX)
        pool = await asyncpg.create_pool(
            self.arena.servers.postgres.url(database),
            min_size=1,
            max_size=4,
            server_settings={"search_path": "ledger, runtime"},
        )
        progress = Progress()
        broker = peer("faststream.kafka").KafkaBroker(self.arena.kafka.bootstrap, logger=None)
        # It takes only ``application/json`` for JSON; ours is ``application/cloudevents+json``.
        options = {"group_id": self._group(), "auto_offset_reset": "earliest", "decoder": _parse_many if batch else _parse}
        if batch:
            broker.subscriber(topic, batch=True, max_records=FEW, **options)(_bulk_handler(pool, progress))
        else:
            broker.subscriber(topic, **options)(_handler(pool, progress))
        logging.getLogger("aiokafka").setLevel(logging.ERROR)

        async def serve() -> None:
            await broker.start()
            await asyncio.Event().wait()

        try:
            try:
                spent = await self._until(serve(), progress, sent.count)
            finally:
                await broker.stop()
                await pool.close()
            async with self.arena.owner(database) as owner:
                found = {r["account"]: r["total"] for r in await owner.fetch("select account, total from peer_total")}
                inbox = await owner.fetchval("select count(*) from inbox")
        finally:
            await self.arena.drop(database)
        if found != sent.totals or inbox != sent.count:
            raise Void(f"{sum(found.values())} of {sent.count}, {inbox} in the inbox")
        return {"events/s": progress.rate(), "cpu us": spent / sent.count * 1e6}

    def _group(self) -> str:
        self._number += 1
        return f"{self.arena.kafka.topic_prefix}.group-{id(self)}-{self._number}"

    async def _until(self, working: Awaitable[None], progress: Progress, count: int) -> float:
        """Let it work until everything is done, or nothing moved for 20 s. Returns CPU seconds of this process."""
        spent = time.process_time()
        task = asyncio.ensure_future(working)
        deadline = time.monotonic() + 20
        seen = 0
        while not progress.points or progress.points[-1][1] < count:
            await asyncio.sleep(0.02)
            if len(progress.points) > seen:
                seen, deadline = len(progress.points), time.monotonic() + 20
            if task.done() or time.monotonic() > deadline:
                break
        spent = time.process_time() - spent
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        if not progress.points or progress.points[-1][1] < count:
            raise Void(f"{progress.points[-1][1] if progress.points else 0} of {count} after 20 s without progress")
        return spent


class _Data(BaseModel):
    account: str
    entry: str
    amount: int
    balance: int
    padding: str


class _Event(BaseModel):
    """What a handler of FastStream asks for."""

    id: UUID
    source: str
    type: str
    sequence: int
    data: _Data


async def _parse(message: Any) -> Any:
    return json.loads(message.body)


async def _parse_many(message: Any) -> Any:
    return [json.loads(body) for body in message.body]


def _handler(pool: Any, progress: Progress) -> Callable[..., Awaitable[None]]:
    seen = 0

    async def handle(event: _Event) -> None:
        nonlocal seen
        async with pool.acquire() as connection, connection.transaction():
            fresh = await connection.fetchval(
                "insert into inbox (event_id) values ($1) on conflict do nothing returning true", event.id
            )
            if fresh:
                await connection.execute(
                    """insert into peer_total as t (account, total, count) values ($1, $2, 1)
                       on conflict (account) do update set total = t.total + excluded.total, count = t.count + 1""",
                    event.data.account,
                    event.data.amount,
                )
        seen += 1
        progress.note(seen)

    return handle


def _bulk_handler(pool: Any, progress: Progress) -> Callable[..., Awaitable[None]]:
    seen = 0

    async def handle(events: list[_Event]) -> None:
        nonlocal seen
        async with pool.acquire() as connection, connection.transaction():
            fresh = {
                row["event_id"]
                for row in await connection.fetch(
                    "insert into inbox (event_id) select unnest($1::uuid[]) on conflict do nothing returning event_id",
                    [event.id for event in events],
                )
            }
            sums: dict[str, tuple[int, int]] = {}
            for event in events:
                if event.id in fresh:
                    total, count = sums.get(event.data.account, (0, 0))
                    sums[event.data.account] = total + event.data.amount, count + 1
            await connection.execute(
                """insert into peer_total as t (account, total, count)
                   select * from unnest($1::text[], $2::bigint[], $3::bigint[])
                   on conflict (account) do update set total = t.total + excluded.total, count = t.count + excluded.count""",
                list(sums),
                [total for total, _ in sums.values()],
                [count for _, count in sums.values()],
            )
        seen += len(events)
        progress.note(seen)

    return handle
