"""Outbox to Kafka: the only publisher. One lane per partition, one transaction-level advisory lock per lane.

A run takes the locks of whichever lanes are free, reads their pending rows in id order, hands one batch per lane to the
producer, waits until the broker has acknowledged, deletes the pending rows, commits. However two relays overlap, each sends
contiguous runs in order, so the *first* appearance of every sequence on the topic is in order; consumers drop the rest.
(Plain ``SKIP LOCKED`` would not do: it was measured to put a third of events out of per-key order.)
"""

import asyncio
import json
import time
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from schemas.envelope import Attributes, headers_of
from services.runtime.database import Connection, Database, Record
from services.runtime.failpoints import Failpoints
from services.runtime.log import get_logger
from services.runtime.messaging import kafka as clients
from services.runtime.messaging.changes import AuditEntry, Changes, RaisePage
from services.runtime.messaging.unit_of_work import UnitOfWork, read_context
from services.runtime.metrics import Metrics
from services.runtime.settings import KafkaSettings, MessagingSettings
from services.runtime.tracing import publishing
from services.runtime.waiting import within

__all__ = ["HEARTBEAT_HEADER", "Relay"]

HEARTBEAT_HEADER = "telemed-heartbeat"
"""Marks the one record outside the outbox: ``as_of``, the instant before which everything committed is published."""

_log = get_logger()


@dataclass(slots=True)
class _Batch:
    """Rows handed to the producer for one lane, and the broker's answer to come."""

    lane: int
    ids: list[int]
    answer: "asyncio.Future[object]"


@dataclass(slots=True)
class Relay:
    """Publishes one service's outbox. Any number may run; each lane is served by whoever holds its lock."""

    database: Database
    unit_of_work: UnitOfWork
    kafka: KafkaSettings
    settings: MessagingSettings
    schema: str
    topic: str
    metrics: Metrics
    failpoints: Failpoints
    interrupted: bool = False
    _producer: AIOKafkaProducer | None = None
    _under_way: list[_Batch] = field(default_factory=list)
    _beat_at: dict[int, float] = field(default_factory=dict)
    _ran_at: float = float("-inf")

    async def run(self) -> None:
        """Publish until cancelled. No failure of the broker or the database ends it."""
        delay = 0.1
        while True:
            connection: Connection | None = None
            try:
                connection = await self._connect()
                await self._check_tail(connection)
                while True:
                    busy = await self.run_once(connection)
                    delay, self.interrupted = 0.1, False
                    await self._rest(busy)
            except Exception as error:  # noqa: BLE001 - commands must go on, whatever the clients make of their servers
                # aiokafka meets a half-started broker that does not show all partitions yet with an AssertionError.
                # The producer object is kept: the idempotent one outlives every outage, and a new one beside an abandoned
                # one would send a late second copy.
                self.interrupted = True
                _log.warning("relay-interrupted", error_class=type(error).__name__)
                await asyncio.sleep(delay)
                delay = min(2.0, delay * 2)
            finally:
                if connection is not None:
                    connection.terminate()

    async def close(self) -> None:
        """One last chance for what is under way (3 s), then end the producer."""
        if self._producer is not None:
            with suppress(TimeoutError, KafkaError):
                await within(3, self._producer.stop())
            await clients.end_producer(self._producer)
            self._producer = None

    async def run_once(self, connection: Connection) -> bool:
        """Publish one batch of every lane that is free.

        Returns:
            Whether there may be more to do at once (a full batch, or a lane that someone else held).
        """
        started = time.perf_counter()
        # A stopped relay must not hold its lanes for ever: PostgreSQL ends a session that idles in its transaction for
        # send_timeout + 2 s (set on the connection).
        async with connection.transaction():
            if self._under_way:
                # From an earlier run; nothing else is sent before it. Acknowledged is acknowledged: deleting is right
                # whoever holds the lanes now.
                await self._delete(connection, await self._acknowledged())
                return True
            lanes, beat = await self._lock_lanes(connection)
            rows = await connection.fetch(
                """select o.id, o.event_id, o.source, o.epoch, o.sequence, o.type, o.topic, o.key, o.lane, o.body,
                          o.traceparent, o.recorded_at
                   from outbox o
                   where o.id = any (array(
                       select p.id from unnest($1::smallint[]) l (lane)
                       cross join lateral (select id from outbox_pending where lane = l.lane order by id limit $2) p))
                   order by o.id""",
                lanes,
                self.settings.relay_batch,
            )
            await self.failpoints.hit("relay.after_read")
            with publishing(self.topic, [row["traceparent"] for row in rows]):
                left = await self._send(rows, lanes, beat)
                sent = await self._acknowledged()
            await self.failpoints.hit("relay.after_send")
            await self._delete(connection, sent)
            await self.failpoints.hit("relay.before_commit")
        if rows:
            self.metrics.relay_batch.observe(time.perf_counter() - started)
            self.metrics.relay_sent.inc(sum(len(batch.ids) for batch in sent))
        return left or len(lanes) < self.kafka.partitions

    # --- one run ---------------------------------------------------------------------------------------------------

    async def _lock_lanes(self, connection: Connection) -> tuple[list[int], bytes]:
        """The lanes that are ours for this transaction, and the heartbeat that is true for those we empty.

        ``as_of`` is taken before the pending rows are read, so whatever was committed before it will be seen. ``last_event`` is
        the newest committed event: if a later database does not know it, that database was set back.
        """
        locks = zlib.crc32(f"telemed.{self.schema}.lane".encode()) - 2**31
        row = await connection.fetchrow(
            """select clock_timestamp() as as_of, (select event_id from outbox order by id desc limit 1) as last_event,
                      array(select lane::int from unnest($2::int[]) lane where pg_try_advisory_xact_lock($1, lane)) as lanes""",
            locks,
            list(range(self.kafka.partitions)),
        )
        assert row is not None  # noqa: S101 - a select without a from always has one row
        last = str(row["last_event"]) if row["last_event"] else None
        return row["lanes"], json.dumps({"as_of": row["as_of"].isoformat(), "last_event": last}).encode()

    async def _send(self, rows: Sequence[Record], lanes: Sequence[int], beat: bytes) -> bool:
        """Hand the producer one batch per lane and topic; an emptied lane gets its heartbeat when it is due.

        Returns:
            Whether rows of these lanes were left for the next run.
        """
        waiting: dict[int, dict[str, list[Record]]] = {lane: {} for lane in lanes}
        for row in rows:
            waiting[row["lane"]].setdefault(row["topic"], []).append(row)
        left = False
        for lane, topics in waiting.items():
            full = sum(map(len, topics.values())) >= self.settings.relay_batch
            beating = not full and time.monotonic() - self._beat_at.get(lane, float("-inf")) >= self.settings.heartbeat_s
            if beating:
                topics.setdefault(self.topic, [])
            for topic, events in topics.items():
                left |= await self._submit(topic, lane, events, beat if beating and topic == self.topic else None) or full
        return left

    async def _submit(self, topic: str, lane: int, events: Sequence[Record], beat: bytes | None) -> bool:
        """Hand over one batch. True if not all events fitted: the rest goes with the next run."""
        producer = await self._started_producer()
        builder = producer.create_batch()
        ids: list[int] = []
        for row in events:
            attributes = Attributes(row["event_id"], row["type"], row["source"], row["epoch"], row["sequence"], row["key"])
            headers = headers_of(attributes, row["traceparent"])
            stamp = int(row["recorded_at"].timestamp() * 1000)
            if builder.append(key=row["key"].encode(), value=row["body"], timestamp=stamp, headers=headers) is None:
                break
            ids.append(row["id"])
        all_in = len(ids) == len(events)
        if beat is not None and all_in:
            stamp = int(time.time() * 1000)
            if builder.append(key=None, value=beat, timestamp=stamp, headers=[(HEARTBEAT_HEADER, b"1")]):
                self._beat_at[lane] = time.monotonic()
        builder.close()
        answer = await within(self.settings.send_timeout_s, producer.send_batch(builder, topic, partition=lane))
        self._under_way.append(_Batch(lane, ids, answer))
        return not all_in

    async def _acknowledged(self) -> list[_Batch]:
        """Wait until everything under way is acknowledged, not for ever. Unanswered batches are awaited again by the next run,
        never sent anew beside themselves.

        Raises:
            TimeoutError: the broker is silent; the lanes are let go, the batches stay under way.
            KafkaError: the producer is beyond repair and was replaced.
        """
        batches = self._under_way
        if not batches:
            return []
        _, unanswered = await asyncio.wait([batch.answer for batch in batches], timeout=self.settings.send_timeout_s)
        if unanswered:
            raise TimeoutError
        self._under_way = []
        for batch in batches:
            error = asyncio.CancelledError() if batch.answer.cancelled() else batch.answer.exception()
            if error is not None:
                await self._replace_producer(error)
                raise KafkaError(type(error).__name__)
        return batches

    async def _delete(self, connection: Connection, batches: Sequence[_Batch]) -> None:
        sent = [(batch.lane, batch.ids) for batch in batches if batch.ids]
        if sent:
            await connection.executemany("delete from outbox_pending where lane = $1 and id = any ($2::bigint[])", sent)

    # --- around the runs -------------------------------------------------------------------------------------------

    async def _connect(self) -> Connection:
        # By index whatever the statistics say: a backlog comes suddenly, and a join or a sort that seems cheap for few rows
        # walks the whole outbox (measured: 25 us of PostgreSQL a row with 100k pending instead of 4, growing with both tables).
        connection = await self.database.connect(
            "relay",
            idle_in_transaction_s=self.settings.send_timeout_s + 2,
            enable_seqscan="off",
            enable_bitmapscan="off",
        )
        # The one connection that stands all the time also hears that the clinic clock was moved. A hint: one that has died
        # without a word hears nothing (asyncpg #519), and whoever waits for it looks by itself after a while.
        await connection.add_listener("clinic_clock", lambda *_: self.unit_of_work.wake.timers.set())
        return connection

    async def _started_producer(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = clients.producer(self.kafka, f"telemed.{self.schema}.relay")
            try:
                await within(self.settings.send_timeout_s, producer.start())
            except BaseException:
                await clients.end_producer(producer)
                raise
            self._producer = producer
        return self._producer

    async def _replace_producer(self, error: BaseException) -> None:
        """After a fatal error (``ProducerFenced``, a sequence out of order) every later send of the old object raises the same
        again (aiokafka #1017), so there is a new one."""
        _log.error("relay-producer-replaced", error_class=type(error).__name__)
        self.metrics.relay_rebuilds.inc()
        self._under_way = []
        if self._producer is not None:
            await clients.end_producer(self._producer)
            self._producer = None

    async def _rest(self, busy: bool) -> None:
        """At once on the first wake, then at most one run per interval; a poll in any case."""
        wake = self.unit_of_work.wake.relay
        interval = self.settings.relay_interval_ms / 1000
        if not busy:
            with suppress(TimeoutError):
                await within(self.settings.poll_s, wake.wait())
        wake.clear()
        pause = interval - (time.monotonic() - self._ran_at)
        if pause > 0:
            await asyncio.sleep(pause)
        self._ran_at = time.monotonic()

    async def _check_tail(self, connection: Connection) -> None:
        """Compare the last record of each partition with this database, which may have been set back since.

        Published events that the outbox does not know mean that committed facts were lost (a restore, a failover to a replica
        that lagged). The epoch is raised, so that consumers can tell the new history from the lost one, and a human is paged.
        """
        last = await self._last_events()
        if not last:
            return
        known = await connection.fetch("select event_id::text from outbox where event_id = any($1::uuid[])", list(last))
        ahead = set(last) - {row["event_id"] for row in known}
        if not ahead:
            return
        page = RaisePage("runtime.events-ahead", f"events-ahead:{min(ahead)}", self.schema)
        audit = AuditEntry("runtime", "epoch.raise", self.schema, f"{len(ahead)} unknown published events")
        async with connection.transaction():
            await connection.execute("select 1 from kernel for update")
            # Once per lost history: every replica, and every start until something is published, finds the same tail.
            if await connection.fetchval("select 1 from page where dedupe_key = $1", page.dedupe_key):
                return
            await connection.execute("update kernel set epoch = epoch + 1")
            await self.unit_of_work.write(connection, [Changes(pages=[page], audit=[audit])], await read_context(connection))
        self.metrics.events_ahead.inc(len(ahead))
        _log.error("events-ahead-of-database", count=len(ahead))

    async def _last_events(self) -> list[str]:
        """Event id that ends each partition: of its last record, or of the last event its heartbeat names."""
        reader = clients.consumer(self.kafka, f"telemed.{self.schema}.tail", None, poll_records=50)
        found: list[str] = []
        try:
            await within(self.settings.send_timeout_s, reader.start())
            wanted = [TopicPartition(self.topic, lane) for lane in range(self.kafka.partitions)]
            reader.assign(wanted)
            ends = await within(self.settings.send_timeout_s, reader.end_offsets(wanted))
            open_ends = {partition: end for partition, end in ends.items() if end > 0}
            for partition, end in open_ends.items():
                reader.seek(partition, end - 1)
            for partition in wanted:
                if partition not in open_ends:
                    reader.pause(partition)
            deadline = time.monotonic() + self.settings.send_timeout_s
            while open_ends and time.monotonic() < deadline:
                for partition, records in (await within(self.settings.send_timeout_s, reader.getmany(timeout_ms=200))).items():
                    if records and open_ends.pop(partition, None) is not None:
                        headers = dict(records[-1].headers)
                        event = (
                            json.loads(records[-1].value or b"{}").get("last_event") or ""
                            if HEARTBEAT_HEADER in headers
                            else headers.get("ce_id", b"").decode()
                        )
                        found += [event] if event else []
        finally:
            await clients.close_consumer(reader)
        return found
