"""What operators may change in a service. Each act names a person and leaves its audit row in the service's own schema, in the
transaction of the act; where the act is outside the database, the row is committed before it."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

from services.runtime.database import Connection, Database
from services.runtime.failpoints import Failpoints
from services.runtime.messaging import parking
from services.runtime.messaging import replay as replaying
from services.runtime.messaging.changes import AcknowledgePage, AuditEntry, Changes
from services.runtime.messaging.inbox import Projection, lock, replay_topic
from services.runtime.messaging.unit_of_work import UnitOfWork, Wake, read_context
from services.runtime.metrics import Metrics
from services.runtime.service import Service
from services.runtime.settings import DatabaseSettings, KafkaSettings

__all__ = ["acknowledge", "audit", "event_of", "rebuild", "replay", "resend", "retry_all"]


_EMPTYING_S = 600
"""How long the tables of a projection may take to be emptied; its consumer waits for that."""


async def audit(connection: Connection, *, by: str, action: str, target: str, reason: str = "", patient: str = "") -> None:
    """Add an audit row."""
    await connection.execute(
        "insert into audit (actor, action, target, reason, patient, policy) values ($1, $2, $3, $4, $5, 'operator')",
        by,
        action,
        target,
        reason,
        patient,
    )


async def resend(connection: Connection, *, source: str, from_sequence: int, by: str, reason: str = "") -> int:
    """Queue kept events of one source for the live topic again. Returns how many.

    Raises:
        LookupError: there are none.
    """
    async with connection.transaction():
        kept = await connection.fetchval(
            "select count(*) from outbox where source = $1 and sequence >= $2", source, from_sequence
        )
        if not kept:
            raise LookupError(f"the outbox holds no event of {source} from sequence {from_sequence} on")
        queued = await replaying.resend(connection, source=source, from_sequence=from_sequence)
        await audit(connection, by=by, action="outbox.resend", target=f"{source} {from_sequence}", reason=reason)
    return queued


async def retry_all(connection: Connection, *, consumer: str, by: str, reason: str = "") -> int:
    """Try every parked event of one consumer again. Returns how many there were."""
    rows = await connection.fetch("select id from parked where consumer = $1", consumer)
    return await parking.retry(connection, [row["id"] for row in rows], by=by, reason=reason)


async def event_of(connection: Connection, *, source: str, sequence: int) -> tuple[int, UUID]:
    """Epoch and id of an event, from its owner's outbox.

    Raises:
        LookupError: the outbox does not hold it.
    """
    row = await connection.fetchrow("select epoch, event_id from outbox where source = $1 and sequence = $2", source, sequence)
    if row is None:
        raise LookupError(f"the outbox holds no event {sequence} of {source}")
    return row["epoch"], row["event_id"]


async def replay(
    connection: Connection, kafka: KafkaSettings, service: Service, *, per_second: int, by: str, reason: str = ""
) -> int:
    """Send a service's whole outbox to its replay topic. Returns how many events."""
    topic = service.topic(kafka.topic_prefix)
    await audit(connection, by=by, action="outbox.replay", target=topic, reason=reason)
    return await replaying.replay(connection, kafka, topic, per_second=per_second)


async def rebuild(
    connection: Connection, kafka: KafkaSettings, service: Service, consumer: str, *, by: str, reason: str
) -> list[str]:
    """Empty a projection, and have it made anew from the replays that begin from now on. Returns the owners to replay.

    Raises:
        LookupError: the service has no such consumer.
        ValueError: it is no projection that can be made anew.
    """
    found = next((one for one in service.subscriptions if one.consumer == consumer), None)
    if found is None:
        raise LookupError(f"{service.name} has no consumer {consumer}")
    if not isinstance(found, Projection) or not found.tables:
        raise ValueError(f"{consumer} does more than keep rows, or does not say which: it cannot be made anew")
    kinds = [kind for kind in map(service.registry.get, found.handlers) if kind is not None]
    topics = sorted({kind.topic(kafka.topic_prefix) for kind in kinds})
    live = [(topic, lane) for topic in topics for lane in range(kafka.partitions)]
    again = [(replay_topic(topic), lane) for topic, lane in live]
    async with connection.transaction():
        # Whoever is at work on a partition finishes first; what comes after finds the mark.
        await lock(connection, service.schema, consumer, [*live, *again])
        await connection.execute(f"set local statement_timeout = '{_EMPTYING_S}s'")
        for table in found.tables:
            await connection.execute(f"delete from {table}", timeout=_EMPTYING_S)
        for table in ("consumer_cursor", "consumer_partition", "parked"):
            await connection.execute(f"delete from {table} where consumer = $1", consumer)
        await connection.executemany(
            "insert into consumer_partition (consumer, topic, partition, watermark) values ($1, $2, $3, clock_timestamp())",
            [(consumer, *partition) for partition in again],
        )
        await audit(connection, by=by, action="consumer.rebuild", target=consumer, reason=reason)
    return sorted({kind.owner for kind in kinds})


async def acknowledge(connection: Connection, service: Service, database: DatabaseSettings, page: UUID, *, by: str) -> None:
    """Take a page over: its ladder stops.

    Raises:
        LookupError: no such page is open.
    """
    metrics = Metrics()
    writer = UnitOfWork(
        Database(database, service.schema, metrics),
        registry=service.registry,
        service=service.name,
        topic_prefix="none",  # it writes no event
        partitions=1,
        ladders={},  # it raises no page
        metrics=metrics,
        wake=Wake(asyncio.Event(), asyncio.Event()),
        failpoints=Failpoints(),
    )
    async with connection.transaction():
        if not await connection.fetchval("select 1 from page where id = $1 and status = 'open' for update", page):
            raise LookupError(f"no open page {page}")
        wanted: Sequence[Changes] = [
            Changes(pages=[AcknowledgePage(page, by)], audit=[AuditEntry(by, "page.acknowledge", str(page))])
        ]
        await writer.write(connection, wanted, await read_context(connection))
