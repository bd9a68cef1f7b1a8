"""What operators look at. Each function reads as the service's own role and returns rows of plain values, never a body."""

from collections.abc import Mapping, Sequence
from typing import Any

from services.runtime.database import Connection, Record

__all__ = ["Rows", "epoch", "open_pages", "outbox", "parked", "parked_one", "timers"]

Rows = Sequence[Mapping[str, Any]]


async def outbox(connection: Connection, service: str) -> Rows:
    """How much of a service's outbox waits for the broker, and for how long; one row per lane that has something, or one."""
    rows = await connection.fetch(
        """select $1::text as service, p.lane, count(*) as pending,
                  round(extract(epoch from clock_timestamp() - min(o.recorded_at)), 1) as oldest_s
           from outbox_pending p join outbox o on o.id = p.id group by p.lane order by p.lane""",
        service,
    )
    return _plain(rows) or [{"service": service, "lane": None, "pending": 0, "oldest_s": None}]


async def parked(
    connection: Connection, service: str, *, consumer: str | None = None, source: str | None = None, limit: int = 200
) -> Rows:
    """Events that wait, in the order in which they would be tried."""
    rows = await connection.fetch(
        """select $1::text as service, id, consumer, source, sequence, type, reason, error_class as error, status, attempts,
                  next_at, parked_at
           from parked where ($2::text is null or consumer = $2) and ($3::text is null or source = $3)
           order by consumer, source, sequence, id limit $4""",
        service,
        consumer,
        source,
        limit,
    )
    return _plain(rows)


async def parked_one(connection: Connection, parked_id: int) -> Mapping[str, Any] | None:
    """Everything about one parked event but what it says: its body, its key and its headers stay in the database."""
    row = await connection.fetchrow(
        """select p.id, p.consumer, p.source, p.epoch, p.sequence, p.event_id::text as event_id, p.type, p.reason,
                  p.error_class as error, p.status, p.attempts, p.next_at, p.parked_at, p.alarmed_at, p.topic, p.partition,
                  p.record_offset as "offset", octet_length(p.body) as body_bytes, c.epoch as cursor_epoch,
                  c.sequence as cursor_sequence
           from parked p left join consumer_cursor c on c.consumer = p.consumer and c.source = p.source where p.id = $1""",
        parked_id,
    )
    return dict(row) if row else None


async def timers(connection: Connection, service: str, *, due: bool, limit: int = 200) -> Rows:
    """Waiting timers and calls under way, the earliest first; with ``due`` only those whose time has come (clinic clock)."""
    rows = await connection.fetch(
        """select $1::text as service, id, kind, subject, status, due_at, expires_at, attempts,
                  round(extract(epoch from runtime.clinic_now() - due_at), 1) as late_s
           from timer where status in ('waiting', 'sending') and (not $2 or due_at <= runtime.clinic_now())
           order by due_at, id limit $3""",
        service,
        due,
        limit,
    )
    return _plain(rows)


async def epoch(connection: Connection, service: str) -> Rows:
    """The epoch of a service's history, and when and why it was raised last."""
    rows = await connection.fetch(
        """select $1::text as service, k.epoch, a.at as raised_at, a.reason
           from kernel k
           left join lateral (select at, reason from audit where action = 'epoch.raise' order by id desc limit 1) a on true""",
        service,
    )
    return _plain(rows)


async def open_pages(connection: Connection, service: str) -> Rows:
    """Pages that nobody has acknowledged, the oldest first, with how often somebody was called."""
    rows = await connection.fetch(
        """select $1::text as service, p.id::text as id, p.code, p.subject, p.raised_at,
                  (select count(*) from page_attempt a where a.page_id = p.id) as calls
           from page p where p.status = 'open' order by p.raised_at, p.id""",
        service,
    )
    return _plain(rows)


def _plain(rows: Sequence[Record]) -> Rows:
    return [dict(row) for row in rows]
