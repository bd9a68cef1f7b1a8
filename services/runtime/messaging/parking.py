"""Events that wait: tried again with back-off in their aggregate's order, alarmed when they wait too long, ended by a human.

Parking lives in PostgreSQL and not in retry topics, because those overtake: here an aggregate waits for its own event and
nobody else does.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from services.runtime.database import TRANSIENT, Budget, Connection, Database, Reader, Record
from services.runtime.failpoints import Failpoints
from services.runtime.log import get_logger
from services.runtime.messaging.changes import Changes, Context, RaisePage
from services.runtime.messaging.inbox import Inbox, Incoming, try_next
from services.runtime.messaging.unit_of_work import read_context
from services.runtime.settings import MessagingSettings
from services.runtime.tracing import processing
from services.runtime.waiting import within

__all__ = ["Drain", "Freshness", "NotParked", "baseline", "freshness", "retry", "skip"]

_log = get_logger()


@dataclass(slots=True)
class Drain:
    """Tries what is parked for one consumer."""

    inbox: Inbox
    database: Database
    settings: MessagingSettings
    failpoints: Failpoints
    wake: asyncio.Event

    async def run(self) -> None:
        """Drain until cancelled."""
        while True:
            try:
                tried = await self.run_once()
            except Exception as error:  # noqa: BLE001 - requests must go on, whatever the clients make of their servers
                _log.warning("drain-interrupted", consumer=self.inbox.subscription.consumer, error_class=type(error).__name__)
                tried = 0
            if not tried:
                with suppress(TimeoutError):
                    await within(self.settings.poll_s, self.wake.wait())
                self.wake.clear()

    async def run_once(self) -> int:
        """Try everything that is due, once; alarm old gaps. Returns how many were tried."""
        async with self.database.acquire(Budget.CONSUMERS) as connection:
            await self._alarm_gaps(connection)
            due = await connection.fetch(
                """select * from parked where consumer = $1 and status = 'waiting' and next_at <= clock_timestamp()
                   order by source, sequence, id limit 100""",
                self.inbox.subscription.consumer,
            )
        for row in due:
            await self._try(row)
        return len(due)

    async def _try(self, row: Record) -> None:
        record = _incoming(row)
        try:
            with processing(self.inbox.subscription.consumer, [record.headers]):
                async with self.database.acquire(Budget.CONSUMERS) as connection, connection.transaction():
                    changes = await self.inbox.process(connection, [record], draining=row["id"])
        except TRANSIENT:
            raise
        except Exception as error:  # noqa: BLE001 - a handler's rows may break a rule of the database each time
            async with self.database.acquire(Budget.CONSUMERS) as connection, connection.transaction():
                changes = await self.inbox.park_failed(connection, record, error, draining=True)
        self.inbox.unit_of_work.wake.after(changes)
        await self.failpoints.hit("drain.after_commit")

    async def _alarm_gaps(self, connection: Connection) -> None:
        """A gap that does not heal in time means lost events: someone must re-send or baseline."""
        consumer = self.inbox.subscription.consumer
        async with connection.transaction():
            old = await connection.fetch(
                """update parked set alarmed_at = clock_timestamp()
                   where consumer = $1 and reason = 'gap' and alarmed_at is null
                     and parked_at < clock_timestamp() - make_interval(secs => $2)
                   returning source, sequence""",
                consumer,
                self.settings.gap_alarm_s,
            )
            pages = [
                RaisePage("runtime.gap", f"gap:{consumer}:{row['source']}:{row['sequence']}", row["source"]) for row in old
            ]
            if pages:
                written = [Changes(pages=pages)]
                await self.inbox.unit_of_work.write(connection, written, await read_context(connection))
        if pages:
            self.inbox.unit_of_work.wake.after(written)


def _incoming(row: Record) -> Incoming:
    headers = tuple((name, bytes.fromhex(value)) for name, value in row["headers"])
    return Incoming(
        row["topic"],
        row["partition"],
        row["record_offset"],
        row["key"],
        row["body"],
        headers,
        row["parked_at"].timestamp(),
    )


# --- may a gate rely on what we know? ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Freshness:
    """How far a consumer's facts about one partition key can be trusted.

    Attributes:
        behind_s: seconds since everything committed was known here; None if that was never so.
        parked: whether an event of that key waits.
    """

    behind_s: float | None
    parked: bool

    def holds(self, limit_s: float) -> bool:
        """False means ``facts-stale``: a gate that needs these facts must not open."""
        return self.behind_s is not None and self.behind_s <= limit_s and not self.parked


async def freshness(read: Reader, *, consumer: str, topic: str, lane: int, partitionkey: str, context: Context) -> Freshness:
    """Judge the facts that a consumer holds about one partition key (a patient)."""
    row = await read.fetchrow(
        """select (select watermark from consumer_partition where consumer = $1 and topic = $2 and partition = $3) as watermark,
                  exists (select 1 from parked where consumer = $1 and topic = $2 and key = $4) as parked""",
        consumer,
        topic,
        lane,
        partitionkey.encode(),
    )
    if row is None or row["watermark"] is None:
        return Freshness(None, bool(row and row["parked"]))
    return Freshness(max(0.0, (context.recorded - row["watermark"]).total_seconds()), row["parked"])


# --- what an operator may do -------------------------------------------------------------------------------------------


class NotParked(LookupError):
    """There is no parked event with that id."""


async def retry(connection: Connection, parked_ids: Sequence[int], *, by: str, reason: str = "") -> int:
    """Try some parked events again at once, dead ones too. Returns how many there were."""
    async with connection.transaction():
        rows = await connection.fetch(
            """update parked set status = 'waiting', attempts = 0, next_at = clock_timestamp()
               where id = any($1) returning id, consumer, source, sequence""",
            list(parked_ids),
        )
        await _audit(
            connection, [(by, "parked.retry", f"{row['consumer']} {row['source']} {row['sequence']}", reason) for row in rows]
        )
    return len(rows)


async def skip(connection: Connection, parked_id: int, *, by: str, reason: str) -> None:
    """Drop one parked event for its consumer, for ever: the cursor moves past it. A clinical fact may be lost: a named person
    and a reason are kept.

    Raises:
        NotParked: no such row.
        ValueError: without a reason, or while an earlier event of the source is still missing.
    """
    if not reason.strip():
        raise ValueError("a reason is needed")
    async with connection.transaction():
        row = await connection.fetchrow("delete from parked where id = $1 returning *", parked_id)
        if row is None:
            raise NotParked(parked_id)
        if not row["source"].startswith("kafka:"):
            cursor = await connection.fetchval(
                "select sequence from consumer_cursor where consumer = $1 and source = $2 for update",
                row["consumer"],
                row["source"],
            )
            if row["sequence"] > (cursor or 0) + 1:
                raise ValueError("an earlier event of this source is missing: re-send it, or set a baseline")
            await try_next(connection, row["consumer"], [row["source"]])
            if row["sequence"] == (cursor or 0) + 1:
                await _set_cursor(connection, row["consumer"], row["source"], row["epoch"], row["sequence"], row["event_id"])
        target = f"{row['consumer']} {row['source']} {row['sequence']}"
        await _audit(connection, [(by, "parked.skip", target, reason)])


async def baseline(
    connection: Connection, *, consumer: str, source: str, epoch: int, sequence: int, event_id: UUID, by: str, reason: str
) -> None:
    """Declare that a consumer knows a source up to an event that it has not seen. The only other way out of a gap.

    Raises:
        ValueError: without a reason, or if the cursor is there already.
    """
    if not reason.strip():
        raise ValueError("a reason is needed")
    async with connection.transaction():
        moved = await _set_cursor(connection, consumer, source, epoch, sequence, event_id)
        if not moved:
            raise ValueError("the cursor is at or past that event already")
        await _audit(connection, [(by, "consumer.baseline", f"{consumer} {source} {sequence}", reason)])


async def _set_cursor(connection: Connection, consumer: str, source: str, epoch: int, sequence: int, event_id: UUID) -> bool:
    moved = await connection.fetchval(
        """insert into consumer_cursor as c (consumer, source, epoch, sequence, event_id) values ($1, $2, $3, $4, $5)
           on conflict (consumer, source) do update
               set epoch = excluded.epoch, sequence = excluded.sequence, event_id = excluded.event_id,
                   updated_at = clock_timestamp()
               where (c.epoch, c.sequence) < (excluded.epoch, excluded.sequence)
           returning true""",
        consumer,
        source,
        epoch,
        sequence,
        event_id,
    )
    await try_next(connection, consumer, [source])
    return bool(moved)


async def _audit(connection: Connection, entries: Sequence[tuple[str, str, str, str]]) -> None:
    await connection.executemany("insert into audit (actor, action, target, reason) values ($1, $2, $3, $4)", entries)
