"""Kafka to the inbox: fetch, one transaction per poll or per few events, offsets as a lazy hint.

Hazards of aiokafka handled here: a fetch task may die in silence, or a topic be made anew under a live consumer, and nothing
is ever read again (so a watchdog compares positions with the broker's end offsets); a fatal coordinator error shows only in
the next poll (so every poll is bounded); an offset commit fails in a rebalance (expected: the new owner does the work again,
the cursors drop it), or after the broker has died none is answered any more, the group has lost its member, and every event
waits for a commit (so the watchdog counts them, too); the revocation callback delays the whole group (so it does nothing:
cursors and locks protect, not it).
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from schemas.envelope import Headers
from services.runtime.database import CONFLICTS, LOST, TRANSIENT, Budget, Database
from services.runtime.failpoints import Failpoints
from services.runtime.log import get_logger
from services.runtime.messaging import kafka as clients
from services.runtime.messaging.inbox import Inbox, Incoming, Rebuild, Subscription, is_mark, rebuilding, replay_topic
from services.runtime.metrics import Metrics
from services.runtime.settings import KafkaSettings, MessagingSettings
from services.runtime.tracing import processing
from services.runtime.waiting import within

__all__ = ["Consumer", "portions", "topics_of"]

_log = get_logger()
_OF_ALL: tuple[type[Exception], ...] = (*LOST, Rebuild)
"""No fault of any record: the database is away, or all begins anew."""
_OF_THE_BATCH: tuple[type[Exception], ...] = (*_OF_ALL, asyncpg.LockNotAvailableError)
"""Or the partition's other owner is still at it."""


def topics_of(inbox: Inbox) -> list[str]:
    """The live topics of everything a subscription handles."""
    kinds = [inbox.registry.get(name) for name in inbox.subscription.handlers]
    if None in kinds:
        raise ValueError(f"{inbox.subscription.consumer} handles a type that is not in the registry")
    return sorted({kind.topic(inbox.prefix) for kind in kinds if kind is not None})


@dataclass(slots=True)
class Consumer:
    """Reads for one subscription, for as long as the process lives."""

    inbox: Inbox
    database: Database
    kafka: KafkaSettings
    settings: MessagingSettings
    metrics: Metrics
    failpoints: Failpoints
    client_id: str
    handled: asyncio.Event = field(default_factory=asyncio.Event)
    interrupted: bool = False
    _client: AIOKafkaConsumer | None = None
    _done: dict[TopicPartition, int] = field(default_factory=dict)
    _committed_at: float = 0.0
    _progress_at: float = 0.0
    _stuck: bool = False
    _unanswered: int = 0

    @property
    def subscription(self) -> Subscription:
        """What this consumer is for."""
        return self.inbox.subscription

    async def run(self) -> None:
        """Read until cancelled. Whatever fails, a new consumer takes over where the cursors stand."""
        delay = 0.1
        while True:
            try:
                await self._run_client()
            except Rebuild:
                delay = 0.1
            except Exception as error:  # noqa: BLE001 - requests must go on, whatever the clients make of their servers
                self.interrupted = True
                _log.warning("consumer-interrupted", consumer=self.subscription.consumer, error_class=type(error).__name__)
                await asyncio.sleep(delay)
                delay = min(5.0, delay * 2)
            self.metrics.rebuilds.labels(self.subscription.consumer).inc()

    async def _run_client(self) -> None:
        replaying = await self._rebuilding()
        topics = [replay_topic(topic) if replaying else topic for topic in topics_of(self.inbox)]
        group = f"{self.inbox.prefix}.{self.subscription.consumer}" + (".replay" if replaying else "")
        client = clients.consumer(self.kafka, self.client_id, group, poll_records=self.settings.poll_records)
        self._client, self._done, self._stuck, self._unanswered = client, {}, False, 0
        self._progress_at = self._committed_at = time.monotonic()
        try:
            client.subscribe(topics)
            await within(30, client.start())
            self.interrupted = False
            async with asyncio.TaskGroup() as tasks:
                watchdog = tasks.create_task(self._watch(client))
                try:
                    while not replaying or await self._rebuilding():
                        await self._poll(client)
                    raise Rebuild
                finally:
                    watchdog.cancel()
        except BaseExceptionGroup as group_error:
            raise group_error.exceptions[0] from None
        finally:
            with suppress(KafkaError, OSError, TimeoutError):
                await within(3, self._commit(client))
            await clients.close_consumer(client)

    async def _poll(self, client: AIOKafkaConsumer) -> None:
        if self._stuck:
            raise Rebuild
        fetched = await within(
            self.settings.poll_s + 10,
            client.getmany(timeout_ms=int(self.settings.poll_s * 1000), max_records=self.settings.poll_records),
        )
        records = [
            Incoming(r.topic, r.partition, r.offset, r.key, r.value, _present(r.headers), r.timestamp / 1000)
            for batch in fetched.values()
            for r in batch
        ]
        if records:
            await self.failpoints.hit("consumer.polled")
        try:
            for portion in portions(records, self.subscription.max_events):
                await self._handle(portion)
        except TRANSIENT as error:
            # Never fetched past: everything not done is read again.
            _log.warning("consumer-batch-put-back", consumer=self.subscription.consumer, error_class=type(error).__name__)
            self._seek_back(client, records)
            await asyncio.sleep(0.2)
        if time.monotonic() - self._committed_at >= self.settings.offset_commit_s:
            await self._commit(client)

    async def _handle(self, records: Sequence[Incoming]) -> None:
        """One transaction for all; if the database refuses it, one for each, and what fails alone is parked."""
        started = time.perf_counter()
        try:
            await self._transaction(records)
        except _OF_THE_BATCH:
            raise
        except Exception as error:  # noqa: BLE001 - one bad record must not stop the rest: each is tried alone
            _log.warning("consumer-batch-split", consumer=self.subscription.consumer, error_class=type(error).__name__)
            for record in records:
                await self._handle_alone(record)
        self.metrics.handler_seconds.labels(self.subscription.consumer).observe(time.perf_counter() - started)
        for record in records:
            self._done[TopicPartition(record.topic, record.partition)] = record.offset + 1
        self._progress_at = time.monotonic()
        await self.failpoints.hit("consumer.after_commit")

    async def _handle_alone(self, record: Incoming) -> None:
        for attempt in range(1, 4):
            try:
                await self._transaction([record])
            except _OF_ALL:
                raise
            except CONFLICTS:
                if attempt == 3:
                    raise
                await asyncio.sleep(0.01 * attempt)
            except Exception as error:  # noqa: BLE001 - whatever a handler's rows did to the database is this record's failure
                async with self.database.acquire(Budget.CONSUMERS) as connection, connection.transaction():
                    changes = await self.inbox.park_failed(connection, record, error)
                self.inbox.unit_of_work.wake.after(changes)
                return
            else:
                return

    async def _transaction(self, records: Sequence[Incoming]) -> None:
        with processing(self.subscription.consumer, [record.headers for record in records]):
            async with self.database.acquire(Budget.CONSUMERS) as connection, connection.transaction():
                changes = await self.inbox.process(connection, records)
        self.inbox.unit_of_work.wake.after(changes)
        self.handled.set()

    def _seek_back(self, client: AIOKafkaConsumer, records: Sequence[Incoming]) -> None:
        first: dict[TopicPartition, int] = {}
        for record in records:
            partition = TopicPartition(record.topic, record.partition)
            first.setdefault(partition, max(record.offset, self._done.get(partition, 0)))
        for partition in client.assignment() & first.keys():
            client.seek(partition, first[partition])

    async def _commit(self, client: AIOKafkaConsumer) -> None:
        self._committed_at = time.monotonic()
        offsets = {partition: self._done[partition] for partition in client.assignment() & self._done.keys()}
        if not offsets:
            return
        await self.failpoints.hit("consumer.before_offset_commit")
        try:
            await within(5, client.commit(offsets))
        except (KafkaError, TimeoutError) as error:
            # Expected in a rebalance. The offsets are a hint: the next owner reads these records again and drops them.
            _log.info("offsets-not-committed", consumer=self.subscription.consumer, error_class=type(error).__name__)
            self._unanswered = self._unanswered + 1 if isinstance(error, TimeoutError) else 0
        else:
            self._done, self._unanswered = {}, 0

    # --- watchdog --------------------------------------------------------------------------------------------------

    async def _watch(self, client: AIOKafkaConsumer) -> None:
        """Lag without progress, or a position beyond the log's end, means that this object reads nothing any more; commits
        that are not answered, that it is no member of its group any more. After its broker was killed one may hear nothing at
        all while others do."""
        heard_at = time.monotonic()
        while True:
            await asyncio.sleep(self.settings.watchdog_s / 4)
            try:
                lag, heard_at = await self._lag(client), time.monotonic()
            except (KafkaError, TimeoutError, OSError):
                # The broker is gone, which is no fault of this object: unless it is for long, and perhaps for this object only.
                deaf = time.monotonic() - heard_at > 4 * self.settings.watchdog_s
                lag, self._unanswered = None if deaf else 0, 0
            if lag is None or self._unanswered > 1 or (lag and time.monotonic() - self._progress_at > self.settings.watchdog_s):
                _log.error("consumer-stuck", consumer=self.subscription.consumer, count=lag or 0)
                self._stuck = True
            elif lag == 0:
                self._progress_at = time.monotonic()

    async def _lag(self, client: AIOKafkaConsumer) -> int | None:
        """Records not yet read in our partitions; None if a log is shorter than what we have read of it."""
        assignment = list(client.assignment())
        if not assignment:
            return 0
        # Positions first: they move on while the ends are asked for, and would seem to lie beyond a log that grows.
        positions = {partition: await within(10, client.position(partition)) for partition in assignment}
        ends = await within(10, client.end_offsets(assignment))
        behind = {partition: ends[partition] - position for partition, position in positions.items()}
        for partition, records in behind.items():
            self.metrics.lag.labels(self.subscription.consumer, partition.topic, str(partition.partition)).set(max(0, records))
        return None if min(behind.values()) < 0 else sum(behind.values())

    async def _rebuilding(self) -> bool:
        async with self.database.acquire(Budget.CONSUMERS) as connection:
            return await rebuilding(connection, self.subscription)


def portions(records: Sequence[Incoming], size: int) -> list[Sequence[Incoming]]:
    """Records in order, at most ``size`` events at a time. Marks count for nothing: a consumer that takes its events one by one
    would else spend a transaction on every heartbeat of every partition."""
    cuts = [place for place, record in enumerate(records) if not is_mark(record)][size::size]
    return [records[start:end] for start, end in pairwise([0, *cuts, len(records)])] if records else []


def _present(headers: Headers) -> Headers:
    """Kafka allows a header without a value (None to aiokafka); for us that is an empty one."""
    return [(name, value or b"") for name, value in headers] if None in [value for _, value in headers] else headers
