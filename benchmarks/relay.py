"""Relay: draining a backlog of the outbox, against a producer that has no outbox at all."""

import asyncio
import functools
import gc
import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from aiokafka import AIOKafkaProducer
from aiokafka.structs import ConsumerRecord

from benchmarks.report import Goal, Section, Table
from benchmarks.rounds import Results, Void, median, spread
from benchmarks.stage import Arena, Stage, ends, read_back
from schemas.envelope import Attributes, headers_of
from services.runtime.messaging import kafka as clients
from services.runtime.messaging.lanes import lane_of
from services.runtime.serve import build
from tests.support.ledger.app import SERVICE
from tests.support.ledger.events import ENTRY_POSTED, source_of

__all__ = ["main"]

KEYS = 500
BODY = 700
STEP = 200
BATCH = 1000
FLAT = 1.5
"""PostgreSQL time per row at the end of a drain, over that at its start, that still counts as flat: rounds differ by 1.3."""


@dataclass(frozen=True, slots=True)
class Message:
    """What a row of the backlog becomes on the topic."""

    lane: int
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


async def main(stage: Stage) -> Section:
    """See the module."""
    small, large = stage.options.size(30_000, 600), stage.options.size(200_000, 1_500)
    messages = _messages(large)
    arena = await stage.arena()
    scene = _Scene(arena, messages)
    contenders = {
        **{f"{size:,}: {name}": functools.partial(way, size) for size in (small, large) for name, way in scene.ways().items()},
        f"{large:,}: relay, old snapshot open": functools.partial(scene.relay, large, snapshot=True),
    }
    gc.collect()
    gc.freeze()  # as a service does, and for every contender alike
    try:
        await scene.next_topic()
        results = await stage.rounds(contenders, after_round=scene.next_topic)
    finally:
        gc.unfreeze()
        await scene.close()
    return _section(results, small, large)


def _section(results: Results, small: int, large: int) -> Section:
    rows = []
    for name in results.values:
        size, _, what = name.partition(": ")
        bare = f"{size}: bare send"
        start, end = results.of(name, "pg start"), results.of(name, "pg end")
        rows.append(
            [
                size,
                what,
                spread(results.of(name, "rows/s")),
                "1" if name == bare else spread(results.ratio(name, bare, "rows/s"), 2),
                spread(results.of(name, "cpu us"), 1),
                f"{spread(start, 1)} / {spread(end, 1)}" if start else "-",
            ]
        )
    ours, aged = f"{large:,}: relay", f"{large:,}: relay, old snapshot open"
    worst = min(median(results.ratio(f"{size:,}: relay", f"{size:,}: bare send", "rows/s")) for size in (small, large))
    size_ratio = median(
        a / b for a, b in zip(results.of(ours, "rows/s"), results.of(f"{small:,}: relay", "rows/s"), strict=True)
    )
    growth = {
        name: median(b / a for a, b in zip(results.of(name, "pg start"), results.of(name, "pg end"), strict=True))
        for name in (ours, aged)
    }
    held = median(results.ratio(aged, ours, "rows/s"))
    return Section(
        name="relay",
        title="Relay: draining the outbox",
        how=(
            f"{BODY}-byte bodies, {KEYS} keys, 12 partitions, acks=all, idempotent, the same records with the same headers for all; "
            f"every record read back, in order. *bare send*: `send` and gather, {STEP} at a time (batch 128 KB, linger 0). "
            f"*bare send_batch*: one `create_batch` of {BATCH} for each partition at a time, the limit. *relay*: `Relay.run_once` until "
            "nothing is pending. *old snapshot*: another connection has held a repeatable-read snapshot since before the drain. "
            "PostgreSQL time: all statements of a run for each 1,000 rows, over the first and the last third of the runs."
        ),
        tables=[
            Table(
                ["pending", "contender", "rows/s", "x bare send", "client CPU us/row", "PostgreSQL ms/1,000 rows: start / end"],
                rows,
            )
        ],
        goals=[
            Goal(
                "relay >= 1.5x the bare send loop (the worse of both sizes)",
                f"{worst:.2f}x",
                worst >= 1.5,
                "reading and deleting a row costs PostgreSQL 3 to 6 us on the cores that the relay and the broker share; the "
                "relay's own processor time is below the loop's",
            ),
            Goal(
                f"flat from {small:,} to {large:,}: rows/s >= 0.75x, PostgreSQL end / start <= {FLAT}",
                f"{size_ratio:.2f}x; {growth[ours]:.2f}",
                size_ratio >= 0.75 and growth[ours] <= FLAT,
            ),
            Goal(
                f"flat under an old snapshot: rows/s >= 0.75x of without, PostgreSQL end / start <= {FLAT}",
                f"{held:.2f}x; {growth[aged]:.2f}",
                held >= 0.75 and growth[aged] <= FLAT,
                "dead index entries of deleted pending rows are walked by every run until the snapshot is gone",
            ),
        ],
        void=results.void,
    )


def _value(number: int) -> bytes:
    """The body of a row, as SQL makes it too."""
    return b'{"n":%08d,"text":"%s"}' % (number, b"x" * (BODY - 25))


def _messages(count: int) -> list[Message]:
    keys = [f"a{number}" for number in range(KEYS)]
    lanes = [lane_of(key, 12) for key in keys]
    found = []
    for number in range(1, count + 1):
        key = keys[number % KEYS]
        event_id = UUID(hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest())
        attributes = Attributes(event_id, ENTRY_POSTED.name, source_of(key), 1, (number - 1) // KEYS + 1, key)
        found.append(Message(lanes[number % KEYS], key.encode(), _value(number), headers_of(attributes)))
    return found


class _Scene:
    """The contenders, and the topic of the round."""

    def __init__(self, arena: Arena, messages: list[Message]) -> None:
        self.arena = arena
        self.messages = messages
        self.topic = ""
        self._number = 0

    def ways(self) -> dict[str, Any]:
        return {"relay": self.relay, "bare send": self.bare_send, "bare send_batch": self.bare_batch}

    async def next_topic(self) -> None:
        """A topic per round, so that the disk does not fill."""
        if self.topic:
            await self.arena.delete_topics(self.topic)
        self._number += 1
        self.topic = await self.arena.new_topic(f"{self.arena.kafka.topic_prefix}.round-{self._number}")

    async def close(self) -> None:
        await self.arena.delete_topics(self.topic)
        await self.arena.close()

    async def relay(self, size: int, *, snapshot: bool = False) -> Mapping[str, float]:
        """Ours: one database, filled; then drained."""
        database = await self.arena.clone()
        runtime = build(SERVICE, self.arena.settings(database))
        relay = runtime.relay
        statements: list[float] = []
        runs: list[tuple[float, int]] = []
        try:
            async with self.arena.owner(database) as owner:
                await self._fill(owner, size)
                if snapshot:
                    await owner.execute("begin isolation level repeatable read")
                    await owner.fetchval("select count(*) from outbox_pending")
                connection = await relay._connect()
                connection.add_query_logger(lambda record: statements.append(record.elapsed))
                await relay._started_producer()
                since = await ends(self.arena.kafka, self.topic)
                relay._beat_at = dict.fromkeys(range(self.arena.kafka.partitions), float("inf"))  # no heartbeat: equal records
                cpu, started = time.process_time(), time.perf_counter()
                busy = True
                while busy:
                    statements.clear()
                    before = runtime.metrics.relay_sent._value.get()
                    busy = await relay.run_once(connection)
                    sent = int(runtime.metrics.relay_sent._value.get() - before)
                    if sent:
                        runs.append((sum(statements), sent))
                took, spent = time.perf_counter() - started, time.process_time() - cpu
                await connection.close()
                left = await owner.fetchval("select count(*) from outbox_pending") if not snapshot else 0
                if left:
                    raise Void(f"{left} rows are still pending")
        finally:
            await relay.close()
            await self.arena.drop(database)
        await self._check(since, size)
        # The last runs take what little is left: not what a run costs.
        full = [run for run in runs if run[1] * 2 > runs[0][1]]
        third = max(1, len(full) // 3)
        return {
            **_rates(size, took, spent),
            "pg start": _per_thousand(full[:third]),
            "pg end": _per_thousand(full[-third:]),
        }

    async def bare_send(self, size: int) -> Mapping[str, float]:
        """A loop as one would write it."""
        async with _producer(self.arena, max_batch_size=128 * 1024) as producer:
            since = await ends(self.arena.kafka, self.topic)
            cpu, started = time.process_time(), time.perf_counter()
            for start in range(0, size, STEP):
                sends = [
                    await producer.send(self.topic, value=message.value, key=message.key, headers=message.headers)
                    for message in self.messages[start : min(size, start + STEP)]
                ]
                await asyncio.gather(*sends)
            took, spent = time.perf_counter() - started, time.process_time() - cpu
        await self._check(since, size)
        return _rates(size, took, spent)

    async def bare_batch(self, size: int) -> Mapping[str, float]:
        """The most that the client can do."""
        lanes: dict[int, list[Message]] = {}
        for message in self.messages[:size]:
            lanes.setdefault(message.lane, []).append(message)
        async with _producer(self.arena, max_batch_size=clients.MAX_BATCH_BYTES) as producer:
            since = await ends(self.arena.kafka, self.topic)
            cpu, started = time.process_time(), time.perf_counter()
            done = dict.fromkeys(lanes, 0)
            while done:
                answers = []
                for lane, start in list(done.items()):
                    batch = producer.create_batch()
                    for message in lanes[lane][start : start + BATCH]:
                        if batch.append(key=message.key, value=message.value, timestamp=None, headers=message.headers) is None:
                            break
                    done[lane] += batch.record_count()
                    if done[lane] == len(lanes[lane]):
                        del done[lane]
                    batch.close()
                    answers.append(await producer.send_batch(batch, self.topic, partition=lane))
                await asyncio.gather(*answers)
            took, spent = time.perf_counter() - started, time.process_time() - cpu
        await self._check(since, size)
        return _rates(size, took, spent)

    async def _fill(self, owner: Any, size: int) -> None:
        keys = [f"a{number}" for number in range(KEYS)]
        await owner.execute(
            """with added as (
                   insert into outbox (event_id, source, epoch, sequence, type, topic, key, lane, body)
                   select md5(n::text)::uuid, '/ledger/accounts/' || k.key, 1, (n - 1) / $4 + 1, $5, $6, k.key, k.lane,
                          convert_to('{"n":' || lpad(n::text, 8, '0') || ',"text":"' || repeat('x', $7) || '"}', 'UTF8')
                   from generate_series(1, $1::int) n
                   join unnest($2::text[], $3::smallint[]) with ordinality k (key, lane, place) on k.place - 1 = n % $4
                   order by n returning id, lane)
               insert into outbox_pending (lane, id) select lane, id from added""",
            size,
            keys,
            [lane_of(key, self.arena.kafka.partitions) for key in keys],
            KEYS,
            ENTRY_POSTED.name,
            self.topic,
            BODY - 25,
        )

    async def _check(self, since: Any, size: int) -> None:
        """Exactly the wanted records, the same bytes, in order."""
        found = bad = 0
        newest: dict[int, int] = {}

        def take(record: ConsumerRecord[bytes, bytes]) -> None:
            nonlocal found, bad
            value = record.value or b""
            number = int(value[5:13])
            found += 1
            message = self.messages[number - 1]
            same = value == message.value and record.partition == message.lane and len(record.headers) == len(message.headers)
            bad += not same or number <= newest.get(record.partition, 0)
            newest[record.partition] = number

        await read_back(self.arena.kafka, self.topic, since, take)
        if found != size or bad:
            raise Void(f"{found} records of {size} on the topic, {bad} of them wrong or out of order")


def _rates(size: int, took: float, spent: float) -> dict[str, float]:
    return {"rows/s": size / took, "cpu us": spent / size * 1e6}


def _per_thousand(runs: list[tuple[float, int]]) -> float:
    return sum(elapsed for elapsed, _ in runs) * 1e6 / sum(sent for _, sent in runs)


class _producer:
    """A producer with the relay's guarantees and the batch size that suits it best."""

    def __init__(self, arena: Arena, *, max_batch_size: int) -> None:
        options = clients.connection_options(arena.kafka)
        self._producer = AIOKafkaProducer(
            **options,
            acks="all",
            enable_idempotence=True,
            linger_ms=0,
            max_batch_size=max_batch_size,
            max_request_size=4_000_000,
        )

    async def __aenter__(self) -> AIOKafkaProducer:
        await self._producer.start()
        return self._producer

    async def __aexit__(self, *_: object) -> None:
        await self._producer.stop()
