"""What a consumer does with records, inside one transaction: judge, decide, write, advance the cursors.

The cursor rows move in the transaction of the effects, so a record may come twice, late, or to two owners at once: it takes
effect once, in order. Kafka's offsets are only a hint. An event that cannot be applied is parked here with its bytes, and only
its own aggregate waits for it.
"""

import hashlib
import json
import random
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import NAMESPACE_OID, uuid5

from schemas.dead_letter import DeadLetter
from schemas.envelope import Attributes, Envelope, EventData, Headers, Undecodable, attributes_of, decode
from schemas.registry import DEAD_LETTERED, Registry
from services.runtime.database import Conflict, Connection, Reader
from services.runtime.failpoints import Failpoints
from services.runtime.messaging.changes import Changes, Context, NewEvent, RaisePage, RowChanges
from services.runtime.messaging.cursor import Cursor, Verdict, classify, rolled_back
from services.runtime.messaging.fold import Handler, ProjectionHandler, fold
from services.runtime.messaging.relay import HEARTBEAT_HEADER
from services.runtime.messaging.unit_of_work import UnitOfWork, read_context
from services.runtime.metrics import Metrics
from services.runtime.settings import MessagingSettings

__all__ = [
    "REPLAY_END_HEADER",
    "Inbox",
    "Incoming",
    "Park",
    "Position",
    "Projection",
    "Rebuild",
    "Subscription",
    "Triage",
    "lock",
    "rebuilding",
    "replay_topic",
    "triage",
    "try_next",
]

REPLAY_END_HEADER = "telemed-replay-end"

Event = Envelope[EventData]


@dataclass(frozen=True)
class Subscription:
    """A consumer that reacts: its handlers may write anything, and see each event once.

    Attributes:
        consumer: name, unique in the product, e.g. ``follow_up.plans``; a new name starts from the beginning.
        handlers: handler per event type. Other types on the same topics only move the cursor.
        max_events: per transaction. Keep 10 or fewer for rows that people also command, hundreds where nobody waits.
    """

    consumer: str
    handlers: Mapping[str, Handler[Any, Any, Any]]
    max_events: int = 10


@dataclass(frozen=True)
class Projection(Subscription):
    """A consumer that only keeps a read model.

    Attributes:
        tables: that nothing else writes. A projection that names them can be made anew at any time (``telemed rebuild``): they
            are emptied, its replay topics are read to the end of a replay that began later, then the live topics again.
    """

    handlers: Mapping[str, ProjectionHandler[Any, Any, Any]]  # type: ignore[assignment]
    max_events: int = 2000
    tables: tuple[str, ...] = ()


class Incoming(NamedTuple):
    """One record as read from Kafka, or out of the parking table. ``timestamp``: seconds since 1970, when it was stored."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp: float = 0.0


class Position(NamedTuple):
    """What is known of a source before a batch: its cursor, and the first sequence that is parked."""

    cursor: Cursor | None
    parked_from: int | None


@dataclass(frozen=True, slots=True)
class Park:
    """A record that is set aside.

    Attributes:
        reason: ``gap``, ``behind`` (a parked event of its source), ``failed`` (its handler), ``incompatible``,
            ``undecodable``, ``misplaced`` or ``fork``.
        error_class: name of an error class, or a stable code.
    """

    record: Incoming
    attributes: Attributes
    reason: str
    error_class: str = ""

    @property
    def dead(self) -> bool:
        """Whether no retry can help, only a human."""
        return self.reason in ("undecodable", "misplaced", "fork")


@dataclass(slots=True)
class Triage:
    """Records of one batch, sorted by what becomes of them.

    Attributes:
        ready: in order, to be folded: record, attributes, event (None where the type is not handled).
        parks: set aside.
        duplicates: applied before.
        rolled_back: sources of which this consumer has applied facts that their owner lost, by how many.
    """

    ready: list[tuple[Incoming, Attributes, Event | None]] = field(default_factory=list)
    parks: list[Park] = field(default_factory=list)
    duplicates: int = 0
    rolled_back: dict[str, int] = field(default_factory=dict)


class Rebuild(Exception):
    """The consumer object is to be replaced by a new one."""


async def rebuilding(connection: Connection, subscription: Subscription) -> bool:
    """Whether a consumer has replay topics to read before the live ones."""
    if not isinstance(subscription, Projection) or not subscription.tables:
        return False
    query = "select exists (select 1 from consumer_partition where consumer = $1 and topic like '%.replay' and not replayed)"
    return bool(await connection.fetchval(query, subscription.consumer))


def replay_topic(live: str) -> str:
    """``telemed.ledger.events`` -> ``telemed.ledger.replay``."""
    return live.removesuffix("events") + "replay"


def triage(
    records: Iterable[tuple[Incoming, Attributes | Undecodable]],
    positions: Mapping[str, Position],
    *,
    handled: Iterable[str],
    registry: Registry,
    prefix: str,
    draining: bool = False,
) -> Triage:
    """Sort a batch, in order. Pure. Cursors are advanced provisionally, as if every ready event succeeded.

    Args:
        draining: the records come out of the parking table, and ``positions`` tell of the other ones that are parked.
    """
    outcome = Triage()
    types = frozenset(handled)
    cursors = {source: position.cursor for source, position in positions.items()}
    parked_from = {s: p.parked_from for s, p in positions.items() if p.parked_from is not None}
    for record, attributes in records:
        if isinstance(attributes, Undecodable):
            outcome.parks.append(_aside(record, "undecodable", attributes.code))
            continue
        kind = registry.get(attributes.type)
        if record.key != attributes.partitionkey.encode():
            outcome.parks.append(_aside(record, "misplaced", "key"))
            continue
        if kind is not None and record.topic not in (kind.topic(prefix), replay_topic(kind.topic(prefix))):
            outcome.parks.append(_aside(record, "misplaced", "topic"))
            continue
        source = attributes.source
        event = Cursor(attributes.epoch, attributes.sequence, attributes.id)
        first_parked = parked_from.get(source)
        verdict = classify(cursors.get(source), event)
        if verdict is Verdict.DUPLICATE:
            outcome.duplicates += 1
        elif verdict is Verdict.FORK:
            outcome.parks.append(Park(record, attributes, "fork"))
            parked_from[source] = attributes.sequence
        elif first_parked is not None and attributes.sequence >= first_parked + draining:
            # Also when it is drained: the cursor alone does not show that an earlier one waits, once an epoch has set it back.
            outcome.parks.append(Park(record, attributes, "behind"))
        elif verdict is Verdict.GAP:
            outcome.parks.append(Park(record, attributes, "gap"))
            parked_from[source] = attributes.sequence
        else:
            decoded: Event | None = None
            try:
                if attributes.type in types and kind is not None:
                    decoded = decode(kind.envelope, record.value, record.headers)
                elif registry.is_other_major(attributes.type):
                    raise Undecodable("unknown-major")  # noqa: TRY301 - the same outcome as a body that does not fit
            except Undecodable as error:
                outcome.parks.append(Park(record, attributes, "incompatible", error.code))
                parked_from[source] = attributes.sequence
                continue
            lost = rolled_back(cursors.get(source), event)
            if lost:
                outcome.rolled_back[source] = lost
            cursors[source] = event
            outcome.ready.append((record, attributes, decoded))
    return outcome


def _aside(record: Incoming, reason: str, code: str) -> Park:
    """A record that has no trustworthy place in any aggregate's order: it blocks nobody."""
    content = hashlib.sha256(record.value or b"").hexdigest()
    attributes = Attributes(
        uuid5(NAMESPACE_OID, content), "unknown", f"kafka:{record.topic}/{record.partition}", 0, record.offset, ""
    )
    return Park(record, attributes, reason, code)


@dataclass(slots=True)
class Inbox:
    """The transactional side of one consumer."""

    subscription: Subscription
    unit_of_work: UnitOfWork
    registry: Registry
    prefix: str
    schema: str
    settings: MessagingSettings
    metrics: Metrics
    failpoints: Failpoints

    async def process(
        self, connection: Connection, records: Sequence[Incoming], *, draining: int | None = None
    ) -> list[RowChanges]:
        """Judge and apply some records inside the caller's transaction.

        Args:
            connection: in a transaction; when it commits, the records are dealt with for ever.
            records: in the order of their partitions.
            draining: id of the parked row that the only record comes from; it leaves the table unless it must stay parked.

        Returns:
            What was written, for waking whoever has new work after the commit.

        Raises:
            Conflict: somebody else was faster; nothing of this transaction may be kept.
            Rebuild: a live record, and the projection is being made anew from its replay topics.
        """
        await self._lock(connection, records)
        live = draining is None and any(not record.topic.endswith(".replay") for record in records)
        if live and await rebuilding(connection, self.subscription):
            raise Rebuild
        if draining is not None and not await self._still_due(connection, draining):
            return []
        context = await read_context(connection)
        known = [(record, _attributes(record)) for record in records if not is_mark(record)]
        sources = {known.source for _, known in known if isinstance(known, Attributes)}
        positions = await self._positions(connection, sources, draining)
        sorted_out = triage(
            known,
            positions,
            handled=self.subscription.handlers,
            registry=self.registry,
            prefix=self.prefix,
            draining=draining is not None,
        )
        handlers = self.subscription.handlers
        folded = await fold(
            [
                ((record, event), handlers[event.type] if decoded else None, decoded, event.source)
                for record, event, decoded in sorted_out.ready
            ],
            Reader(connection),
            context,
        )
        parks = [
            *sorted_out.parks,
            *(Park(record, event, "failed", type(error).__name__) for (record, event), error in folded.failed),
            *(Park(record, event, "behind") for record, event in folded.behind),
        ]
        changes = [changes for _, changes in folded.done]
        if isinstance(self.subscription, Projection) and any(isinstance(change, Changes) for change in changes):
            raise TypeError(f"{self.subscription.consumer} is a projection: it writes rows only")
        for park in parks:
            changes += await self._park(connection, park, context, draining=draining is not None)
        for source in sorted_out.rolled_back:
            key = f"rolled-back:{self.subscription.consumer}:{source}:{context.epoch}"
            changes.append(Changes(pages=[RaisePage("runtime.rolled-back", key, source)]))
        await self.unit_of_work.write(connection, changes, context)
        applied = {event.source: event for (_, event), _ in folded.done}
        await self._advance(connection, list(applied.values()))
        if draining is not None and not parks:
            await connection.execute("delete from parked where id = $1", draining)
        waiting = [source for source, position in positions.items() if position.parked_from is not None]
        if waiting:
            await try_next(connection, self.subscription.consumer, waiting)
        await self._read_marks(connection, [record for record in records if is_mark(record)])
        if applied or parks:
            await self.failpoints.hit("consumer.before_commit")
        self._count(folded.done, parks, sorted_out.duplicates, context)
        return changes

    async def park_failed(
        self, connection: Connection, record: Incoming, error: Exception, *, draining: bool = False
    ) -> list[RowChanges]:
        """Set one record aside whose own transaction failed, in a fresh one."""
        await self._lock(connection, [record])
        context = await read_context(connection)
        known = _attributes(record)
        park = (
            _aside(record, "undecodable", known.code)
            if isinstance(known, Undecodable)
            else Park(record, known, "failed", type(error).__name__)
        )
        changes = await self._park(connection, park, context, draining=draining)
        await self.unit_of_work.write(connection, changes, context)
        self._count([], [park], 0, context)
        return changes

    # --- reading ---------------------------------------------------------------------------------------------------

    async def _lock(self, connection: Connection, records: Sequence[Incoming]) -> None:
        """One lock per (consumer, topic, partition): a member that lost its partition cannot write beside the new owner."""
        await lock(connection, self.schema, self.subscription.consumer, {(r.topic, r.partition) for r in records})

    async def _still_due(self, connection: Connection, parked_id: int) -> bool:
        """Asked under the lock: another replica may have tried it since it was found due, and an event that fails must be
        counted and announced once."""
        query = "select exists (select 1 from parked where id = $1 and status = 'waiting' and next_at <= clock_timestamp())"
        return bool(await connection.fetchval(query, parked_id))

    async def _positions(self, connection: Connection, sources: Iterable[str], draining: int | None) -> dict[str, Position]:
        rows = await connection.fetch(
            """select s.source, c.epoch, c.sequence, c.event_id,
                      (select min(p.sequence) from parked p
                       where p.consumer = $1 and p.source = s.source and p.id is distinct from $3::bigint) as parked_from
               from unnest($2::text[]) s (source)
               left join consumer_cursor c on c.consumer = $1 and c.source = s.source""",
            self.subscription.consumer,
            sorted(sources),
            draining,
        )
        return {
            row["source"]: Position(
                None if row["epoch"] is None else Cursor(row["epoch"], row["sequence"], row["event_id"]), row["parked_from"]
            )
            for row in rows
        }

    # --- writing ---------------------------------------------------------------------------------------------------

    async def _advance(self, connection: Connection, last: Sequence[Attributes]) -> None:
        if not last:
            return
        # The comparison is the last line of defence against a zombie: a cursor never moves back.
        moved = await connection.fetch(
            """insert into consumer_cursor as c (consumer, source, epoch, sequence, event_id)
               select $1, s.* from unnest($2::text[], $3::int[], $4::bigint[], $5::uuid[]) s
               on conflict (consumer, source) do update
                   set epoch = excluded.epoch, sequence = excluded.sequence, event_id = excluded.event_id,
                       updated_at = clock_timestamp()
                   where (c.epoch, c.sequence) < (excluded.epoch, excluded.sequence)
               returning 1""",
            self.subscription.consumer,
            [event.source for event in last],
            [event.epoch for event in last],
            [event.sequence for event in last],
            [event.id for event in last],
        )
        if len(moved) != len(last):
            raise Conflict

    async def _park(self, connection: Connection, park: Park, context: Context, *, draining: bool) -> list[RowChanges]:
        """Keep a record with its bytes. Urgent ones page at once, hopeless ones are announced."""
        record, event = park.record, park.attributes
        consumer = self.subscription.consumer
        row = await connection.fetchrow(
            f"""insert into parked as p (consumer, source, epoch, sequence, event_id, type, topic, partition, record_offset,
                                         key, headers, body, reason, error_class)
                values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
                on conflict (consumer, source, epoch, sequence, event_id) do
                {_TRIED_AGAIN if draining else "nothing"}
                returning id, attempts""",
            consumer,
            event.source,
            event.epoch,
            event.sequence,
            event.id,
            event.type,
            record.topic,
            record.partition,
            record.offset,
            record.key,
            # A NUL in a name of somebody else's header: jsonb cannot hold it, and nobody reads such a header.
            [[name.replace("\0", "\ufffd"), value.hex()] for name, value in record.headers],
            record.value,
            park.reason,
            park.error_class,
        )
        if row is None:
            return []  # another copy of it waits already
        dead = park.dead or (park.reason in ("failed", "incompatible") and row["attempts"] + 1 >= self.settings.park_attempts)
        await connection.execute(
            "update parked set status = $2, next_at = $3 where id = $1",
            row["id"],
            "dead" if dead else "waiting",
            self._next_try(park.reason, row["attempts"], context.recorded),
        )
        effects: list[RowChanges] = []
        kind = self.registry.get(event.type)
        if kind is not None and kind.urgent:
            page = RaisePage("runtime.urgent-parked", f"parked:{consumer}:{event.source}:{event.sequence}", event.source)
            effects.append(Changes(pages=[page]))
        if park.reason == "fork":
            self.metrics.forks.labels(consumer).inc()
        elif park.reason == "gap":
            self.metrics.gaps.labels(consumer).inc()
        if dead:
            self.metrics.dead.labels(consumer).inc()
            code = "runtime.fork" if park.reason == "fork" else "runtime.dead-letter"
            page = RaisePage(code, f"dead:{consumer}:{event.source}:{event.epoch}:{event.sequence}:{event.id}", event.source)
            effects.append(Changes(events=[self._announcement(park)], pages=[page]))
        return effects

    def _next_try(self, reason: str, attempts: int, now: datetime) -> datetime | None:
        """Full jitter up to first x 4^attempts, capped. What stands behind another one is tried when that one is done."""
        if reason == "behind":
            return None
        limit = min(self.settings.park_max_retry_s, self.settings.park_first_retry_s * 4 ** min(attempts, 20))
        return now + timedelta(seconds=random.uniform(limit / 2, limit))  # noqa: S311 - jitter, not a secret

    def _announcement(self, park: Park) -> NewEvent:
        record, event = park.record, park.attributes
        digest = hashlib.sha256(event.source.encode()).hexdigest()[:16]
        return NewEvent(
            source=f"/{self.schema}/dead-letters/{self.subscription.consumer}/{event.id}",
            type=DEAD_LETTERED.name,
            partitionkey=digest,
            data=DeadLetter(
                consumer=self.subscription.consumer,
                event_type=event.type if self.registry.get(event.type) else "unknown",
                source_hash=digest,
                sequence=event.sequence,
                error_class=park.error_class or park.reason,
                origin_topic=record.topic,
                origin_partition=record.partition,
                origin_offset=record.offset,
            ),
        )

    async def _read_marks(self, connection: Connection, marks: Sequence[Incoming]) -> None:
        """Heartbeats move the watermark, end markers finish a replay. Everything before them is dealt with by now."""
        beats: dict[tuple[str, int], datetime] = {}
        ends: dict[tuple[str, int], datetime] = {}
        for mark in marks:
            if (as_of := _as_of(mark)) is not None:
                (ends if mark.headers[0][0] == REPLAY_END_HEADER else beats)[mark.topic, mark.partition] = as_of
        await self._mark(
            connection,
            """insert into consumer_partition as p (consumer, topic, partition, watermark) values ($1, $2, $3, $4)
               on conflict (consumer, topic, partition) do update set watermark = greatest(p.watermark, excluded.watermark)""",
            beats,
        )
        # A replay that began before the rebuild is not the one that is waited for: later events are not in it.
        await self._mark(
            connection,
            """update consumer_partition set replayed = true, watermark = null
               where consumer = $1 and topic = $2 and partition = $3 and watermark <= $4 and not replayed""",
            ends,
        )

    async def _mark(self, connection: Connection, query: str, marks: Mapping[tuple[str, int], datetime]) -> None:
        if marks:
            rows = [(self.subscription.consumer, *mark, as_of) for mark, as_of in sorted(marks.items())]
            await connection.executemany(query, rows)

    def _count(
        self,
        done: Sequence[tuple[tuple[Incoming, Attributes], RowChanges]],
        parks: Sequence[Park],
        duplicates: int,
        context: Context,
    ) -> None:
        handled = self.metrics.handled
        consumer = self.subscription.consumer
        if done:
            handled.labels(consumer, "applied").inc(len(done))
            (record, _), _ = done[-1]
            age = context.recorded.timestamp() - record.timestamp
            self.metrics.event_age.labels(consumer).observe(max(0.0, age))
        if duplicates:
            handled.labels(consumer, "duplicate").inc(duplicates)
        for park in parks:
            handled.labels(consumer, park.reason).inc()


async def lock(connection: Connection, schema: str, consumer: str, partitions: Iterable[tuple[str, int]]) -> None:
    """Take the locks of some partitions of a consumer until the end of the transaction."""
    names = (f"{consumer}/{topic}/{partition}" for topic, partition in partitions)
    await connection.execute(
        "select pg_advisory_xact_lock($1, key) from unnest($2::int[]) key order by key",
        zlib.crc32(f"telemed.{schema}.consumer".encode()) - 2**31,
        sorted({zlib.crc32(name.encode()) - 2**31 for name in names}),
    )


async def try_next(connection: Connection, consumer: str, sources: Sequence[str]) -> None:
    """What waited for an event that is there by now may be tried; in that event's transaction, so no crash can forget it.

    What is of a history that its owner has lost (an older epoch) will never be due: it is tried to be dropped.
    """
    await connection.execute(
        """update parked p set next_at = clock_timestamp() from consumer_cursor c
           where p.consumer = $1 and p.source = any($2) and c.consumer = p.consumer and c.source = p.source
             and (p.sequence <= c.sequence + 1 or p.epoch < c.epoch)
             and p.status = 'waiting' and p.reason in ('gap', 'behind')""",
        consumer,
        list(sources),
    )


# A record that fails in a new way starts counting anew.
_TRIED_AGAIN = """update set attempts = case when p.reason = excluded.reason then p.attempts + 1 else 0 end,
                             reason = excluded.reason, error_class = excluded.error_class"""


def is_mark(record: Incoming) -> bool:
    """Whether it is a heartbeat or the end of a replay, and no event."""
    return bool(record.headers) and record.headers[0][0] in (HEARTBEAT_HEADER, REPLAY_END_HEADER)


def _as_of(mark: Incoming) -> datetime | None:
    try:
        return datetime.fromisoformat(json.loads(mark.value or b"")["as_of"])
    except (ValueError, KeyError, TypeError):
        return None  # not written by a relay of ours: it proves nothing


def _attributes(record: Incoming) -> Attributes | Undecodable:
    try:
        return attributes_of(record.value, record.headers)
    except Undecodable as error:
        return error
