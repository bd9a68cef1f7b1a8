"""The only place that writes: ``Changes`` in, rows out, one transaction for one command or for many decisions together.

Order inside a transaction: idempotency key, what the decision reads, state rows (their version check is the lock), stream
positions (which give out sequences), outbox with its pending rows, timers, pages, audit, reply. Nothing is published
anywhere else.
"""

import asyncio
import functools
import hashlib
import random
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple
from uuid import UUID

from uuid_utils.compat import uuid7

from schemas.envelope import MAX_EVENT_BYTES
from schemas.registry import Registry
from services.runtime.database import (
    CONFLICTS,
    LOST,
    OF_A_STATEMENT,
    TAKEN,
    Budget,
    Conflict,
    Connection,
    Database,
    OutcomeUnknown,
    Reader,
    Unavailable,
)
from services.runtime.failpoints import Failpoints
from services.runtime.log import get_logger
from services.runtime.messaging.changes import (
    AcknowledgePage,
    Append,
    CancelTimers,
    Changes,
    Context,
    NewEvent,
    Put,
    RaisePage,
    Rejected,
    Remove,
    Reply,
    RezoneTimers,
    Row,
    RowChange,
    RowChanges,
    SetTimer,
    merge_rows,
)
from services.runtime.messaging.ladders import OPERATIONS, PAGE_KIND, Ladder
from services.runtime.messaging.lanes import lane_of
from services.runtime.messaging.schedule import LocalRule, due_at
from services.runtime.messaging.together import Asked, Group, Together, decide_in_turn, settled
from services.runtime.metrics import Metrics
from services.runtime.tracing import current_traceparent

__all__ = ["Decide", "EventTooLarge", "IdempotencyKey", "UnitOfWork", "Wake", "read_context"]

_log = get_logger()
_OF_KEY = "where issuer = $1 and subject = $2 and client = $3 and route = $4 and key = $5"
_AUDIT = """insert into audit (actor, action, target, reason, patient, client, origin, policy, request)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9)"""

Decide = Callable[[Reader, Context], Awaitable[Changes | Rejected]]


class EventTooLarge(Exception):
    """An event is over 64 KiB. Refused here (HTTP 413/422), never at the broker, where it would block its lane."""


class _TwinInProgress(Exception):
    """Another request holds the same idempotency key and has not committed yet."""


class IdempotencyKey(NamedTuple):
    """Who may replay what: a reply is found only by the same issuer, subject, client and route.

    Attributes:
        body_hash: SHA-256 of the request body; another body under the same key is an error.
    """

    issuer: str
    subject: str
    client: str
    route: str
    key: str
    body_hash: bytes

    @classmethod
    def of(cls, issuer: str, subject: str, client: str, route: str, key: str, body: bytes) -> "IdempotencyKey":
        """Make a key from a request."""
        return cls(issuer, subject, client, route, key, hashlib.sha256(body).digest())


@dataclass(frozen=True, slots=True)
class Wake:
    """In-process hints after a commit; each loop also polls, and the poll is the truth."""

    relay: asyncio.Event
    timers: asyncio.Event

    def after(self, written: Iterable[RowChanges]) -> None:
        """Wake whoever has new work."""
        work = [changes for changes in written if isinstance(changes, Changes)]
        if any(changes.events for changes in work):
            self.relay.set()
        if any(changes.timers or changes.pages for changes in work):
            self.timers.set()


async def read_context(connection: Connection) -> Context:
    """The clocks and the epoch, as one row.

    The clinic clock is the database's clock plus the offset that only ``telemed clock advance`` moves.
    """
    row = await connection.fetchrow("select runtime.clinic_now() as now, clock_timestamp() as recorded, epoch from kernel")
    if row is None:
        raise LookupError("the kernel row is missing")
    return Context(now=row["now"], recorded=row["recorded"], epoch=row["epoch"])


class UnitOfWork:
    """Runs commands and writes ``Changes`` for one service."""

    def __init__(
        self,
        database: Database,
        *,
        registry: Registry,
        service: str,
        topic_prefix: str,
        partitions: int,
        ladders: dict[str, Ladder],
        metrics: Metrics,
        wake: Wake,
        failpoints: Failpoints,
        attempts: int = 8,
    ) -> None:
        self._database = database
        self._registry = registry
        self._service = service
        self._prefix = topic_prefix
        self._partitions = partitions
        self._ladders = ladders
        self._metrics = metrics
        self.wake = wake
        self.failpoints = failpoints
        self._attempts = attempts
        self._together = Together(self._alone, self._all, database.sizes[Budget.HTTP], database.acquire_timeout_s)

    async def execute(
        self, decide: Decide, *, key: IdempotencyKey | None = None, one_snapshot: bool = False
    ) -> Reply | Rejected:
        """Run one command: read, decide, write, in one transaction that others may share who come at the same time.

        With ``one_snapshot`` everything that ``decide`` reads is of one moment (repeatable read): for a command that checks a
        version in one statement and reads the row in another, between which somebody else may commit. Such a command has its
        transaction to itself.

        ``decide`` may run again after a conflict, so it must not act on the outside.

        Returns:
            The reply (also when it is replayed from its idempotency key), or the rejection.

        Raises:
            Unavailable: nothing was written.
            OutcomeUnknown: the connection broke while committing; ask again with the same key.
            EventTooLarge: nothing was written.
        """
        if one_snapshot:
            return await self._execute_alone(decide, key, one_snapshot=True)
        return await self._together.run(decide, key, current_traceparent())

    async def _alone(self, asked: Asked) -> Reply | Rejected:
        key = IdempotencyKey(*asked.key) if asked.key is not None else None  # type: ignore[arg-type] # as ``execute`` gave it
        return await self._execute_alone(asked.decide, key, traceparent=asked.traceparent)

    async def _execute_alone(
        self, decide: Decide, key: IdempotencyKey | None, *, one_snapshot: bool = False, traceparent: str | None = None
    ) -> Reply | Rejected:
        for attempt in range(1, self._attempts + 1):
            started = time.perf_counter()
            outcome = "error"
            try:
                reply = await self._execute_once(decide, key, one_snapshot, traceparent)
            except (*CONFLICTS, *TAKEN) as error:
                outcome = "conflict"
                self._metrics.conflicts.inc()
                if attempt == self._attempts:
                    _log.warning("command-gave-up", count=attempt, error_class=type(error).__name__)
                    return Rejected("conflict", status=409, final=False)
                await asyncio.sleep(random.uniform(0, min(0.25, 0.005 * 2**attempt)))  # noqa: S311 - jitter, not a secret
            else:
                outcome = "rejected" if isinstance(reply, Rejected) else "done"
                return reply
            finally:
                self._metrics.command_seconds.labels(outcome).observe(time.perf_counter() - started)
        raise AssertionError("unreachable")

    async def _execute_once(
        self, decide: Decide, key: IdempotencyKey | None, one_snapshot: bool, traceparent: str | None
    ) -> Reply | Rejected:
        committing = False
        changes = Changes()
        try:
            isolation: Literal["repeatable_read", "read_committed"] = "repeatable_read" if one_snapshot else "read_committed"
            async with self._database.acquire(Budget.HTTP) as connection, connection.transaction(isolation=isolation):
                if key is None:
                    context = await read_context(connection)
                else:
                    claimed = await self._claim(connection, key)
                    if not isinstance(claimed, Context):
                        return claimed
                    context = claimed
                decided = await decide(Reader(connection), context)
                if isinstance(decided, Rejected):
                    reply: Reply | Rejected = decided
                    if key is not None:
                        await self._settle(connection, key, Reply(decided.status, decided.body) if decided.final else None)
                else:
                    changes = decided
                    await self.write(connection, [changes], context, traceparent)
                    reply = changes.reply or Reply(204)
                    if key is not None:
                        await self._settle(connection, key, reply)
                await self.failpoints.hit("command.before_commit")
                committing = True
        except _TwinInProgress:
            return Rejected("request-in-progress", status=409, final=False)
        except LOST as error:
            raise (OutcomeUnknown if committing else Unavailable)(type(error).__name__) from None
        await self.failpoints.hit("command.after_commit")
        self.wake.after([changes])
        return reply

    async def _all(self, group: Group) -> Sequence[Reply | Rejected | None]:
        """Commit a group in one transaction. What may be another one's, by its key, is left out: it is run alone."""
        started = time.perf_counter()
        committing = False
        outcomes: dict[Asked, Reply | Rejected] = {}
        written: list[Changes] = []
        try:
            async with self._database.acquire(Budget.HTTP) as connection, connection.transaction():
                # Many wait for the one that wants a row which somebody holds: it may wait longer when it is alone.
                await connection.execute("set local lock_timeout = '100ms'")
                ours = await self._claim_all(connection, group)
                context = await read_context(connection)

                async def write(changes: Sequence[Changes]) -> None:
                    written.extend(changes)
                    await self.write(connection, changes, context)

                decided = await decide_in_turn(ours, Reader(connection), context, write)
                for asked, found in zip(ours, decided, strict=True):
                    outcomes[asked] = found if isinstance(found, Rejected) else found.reply or Reply(204)
                await self._settle_all(connection, outcomes)
                await self.failpoints.hit("command.before_commit")
                committing = True
        except LOST as error:
            if not committing and isinstance(error, OF_A_STATEMENT):
                raise
            raise settled((OutcomeUnknown if committing else Unavailable)(type(error).__name__)) from None
        except CONFLICTS:
            self._metrics.conflicts.inc()
            raise
        await self.failpoints.hit("command.after_commit")
        self.wake.after(written)
        took = time.perf_counter() - started
        for outcome in outcomes.values():
            self._metrics.command_seconds.labels("rejected" if isinstance(outcome, Rejected) else "done").observe(took)
        return [outcomes.get(asked) for asked in group]

    async def _claim_all(self, connection: Connection, group: Group) -> list[Asked]:
        """Take the keys of a group, in the order of the keys. Returns those whose key is new, and those without one."""
        keyed: dict[tuple[object, ...], Asked] = {}
        for asked in group:
            if asked.key is not None:
                keyed.setdefault(asked.key[:5], asked)
        if not keyed:
            return list(group)
        keys = [keyed[identity].key or () for identity in sorted(keyed, key=repr)]
        mine = await connection.fetch(
            """with asked as materialized (
                   select a.*, pg_try_advisory_xact_lock(hashtextextended(lock, 0)) as free
                   from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bytea[], $7::text[])
                        a (issuer, subject, client, route, key, body_hash, lock))
               insert into idempotency (issuer, subject, client, route, key, body_hash)
               select issuer, subject, client, route, key, body_hash from asked where free
               on conflict do nothing returning issuer, subject, client, route, key""",
            *zip(*keys, strict=True),
            ["\n".join((self._service, *map(str, key[:5]))) for key in keys],
        )
        new = {keyed[tuple(row)] for row in mine}
        return [asked for asked in group if asked.key is None or asked in new]

    async def _settle_all(self, connection: Connection, outcomes: Mapping[Asked, Reply | Rejected]) -> None:
        kept, dropped = [], []
        for asked, outcome in outcomes.items():
            if asked.key is None:
                continue
            if isinstance(outcome, Rejected) and not outcome.final:
                dropped.append(asked.key[:5])
            else:
                kept.append((*asked.key[:5], outcome.status, outcome.body))
        if kept:
            await connection.execute(
                """update idempotency i set status = k.status, reply = k.reply
                   from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::smallint[], $7::bytea[])
                        k (issuer, subject, client, route, key, status, reply)
                   where (i.issuer, i.subject, i.client, i.route, i.key) = (k.issuer, k.subject, k.client, k.route, k.key)""",
                *zip(*kept, strict=True),
            )
        if dropped:
            await connection.executemany(f"delete from idempotency {_OF_KEY}", dropped)

    async def _claim(self, connection: Connection, key: IdempotencyKey) -> Context | Reply | Rejected:
        """Take the key for this transaction, and read the context on the way; or say what became of the request that took it
        before. A twin that has it at this moment is not waited for: the lock goes with its transaction, however that ends."""
        row = await connection.fetchrow(
            """with lock as (select pg_try_advisory_xact_lock(hashtextextended($7, 0)) as free),
                    mine as (insert into idempotency (issuer, subject, client, route, key, body_hash)
                             select $1, $2, $3, $4, $5, $6 from lock where free
                             on conflict do nothing returning true)
               select free, exists (select 1 from mine) as mine,
                      runtime.clinic_now() as now, clock_timestamp() as recorded, epoch
               from kernel, lock""",
            *key,
            "\n".join((self._service, *key[:5])),
        )
        if row is None:
            raise LookupError("the kernel row is missing")
        if not row["free"]:
            raise _TwinInProgress
        if row["mine"]:
            return Context(now=row["now"], recorded=row["recorded"], epoch=row["epoch"])
        stored = await connection.fetchrow(f"select body_hash, status, reply from idempotency {_OF_KEY}", *key[:5])
        if stored is None:
            raise Conflict
        if stored["body_hash"] != key.body_hash:
            return Rejected("idempotency-key-reused", status=422, final=False)
        return Reply(stored["status"], stored["reply"])

    async def _settle(self, connection: Connection, key: IdempotencyKey, reply: Reply | None) -> None:
        if reply is None:
            await connection.execute(f"delete from idempotency {_OF_KEY}", *key[:5])
        else:
            query = f"update idempotency set status = $6, reply = $7 {_OF_KEY}"
            await connection.execute(query, *key[:5], reply.status, reply.body)

    # --- writing, for one decision or many -------------------------------------------------------------------------

    async def write(
        self, connection: Connection, decided: Sequence[RowChanges], context: Context, traceparent: str | None = None
    ) -> None:
        """Write everything that some decisions want, set-wise, inside the caller's transaction.

        Args:
            traceparent: of events that name none; by default of what runs now.

        Raises:
            Conflict: a row or stream is not as it was read; nothing of this transaction may be kept.
            EventTooLarge: see the class.
        """
        await self._write_rows(connection, merge_rows([row for changes in decided for row in changes.rows]))
        full = [changes for changes in decided if isinstance(changes, Changes)]
        events = [event for changes in full for event in changes.events]
        await self._write_events(connection, events, context, traceparent or current_traceparent())
        timers = [timer for changes in full for timer in changes.timers]
        for page in [page for changes in full for page in changes.pages]:
            timers += await self._write_page(connection, page, context)
        await self._write_timers(connection, timers)
        audit = [astuple(entry) for changes in full for entry in changes.audit]
        if audit:
            await connection.executemany(_AUDIT, audit)

    async def _write_rows(self, connection: Connection, rows: Sequence[RowChange]) -> None:
        # Tables in order of first appearance (a parent before its child), keys in order inside (so that two batches lock
        # rows in the same order).
        tables: dict[str, dict[tuple[str, bool], list[list[Any]]]] = defaultdict(lambda: defaultdict(list))
        for row in rows:
            query, guarded, args = _statement(row)
            tables[row.table][query, guarded].append(args)
        for (query, guarded), batch in [group for statements in tables.values() for group in statements.items()]:
            batch.sort(key=repr)
            if guarded:
                if len(await connection.fetchmany(query, batch)) != len(batch):
                    raise Conflict
            else:
                await connection.executemany(query, batch)

    async def _write_events(
        self, connection: Connection, events: Sequence[NewEvent], context: Context, traceparent: str | None
    ) -> None:
        if not events:
            return
        sources = sorted({event.source for event in events})
        known = await connection.fetch(
            "select source, sequence, last_event_id from stream where source = any($1) order by source for update", sources
        )
        last: dict[str, tuple[int, UUID]] = {row["source"]: (row["sequence"], row["last_event_id"]) for row in known}
        rows = []
        for event in events:
            sequence, last_id = last.get(event.source, (0, UUID(int=0)))
            # Ids increase along a source: that is how a consumer tells an old duplicate from a forked history.
            event_id = UUID(int=max(uuid7().int, last_id.int + 1))
            last[event.source] = (sequence + 1, event_id)
            rows.append(self._outbox_row(event, event_id, sequence + 1, context, event.traceparent or traceparent))
        columns = list(zip(*rows, strict=True))
        positions = [(source, *last[source]) for source in sources]
        expected = {row["source"]: row["sequence"] for row in known}
        written = await connection.fetchval(
            """with added as (
                   insert into outbox (event_id, source, epoch, sequence, type, topic, key, lane, body, traceparent)
                   select e.* from unnest($1::uuid[], $2::text[], $3::int[], $4::bigint[], $5::text[], $6::text[], $7::text[],
                                          $8::smallint[], $9::bytea[], $10::text[]) e
                   returning id, lane),
               queued as (insert into outbox_pending (lane, id) select lane, id from added),
               moved as (
                   insert into stream as s (source, epoch, sequence, last_event_id)
                   select p.source, $11::int, p.sequence, p.id
                   from unnest($12::text[], $13::bigint[], $14::uuid[]) p (source, sequence, id)
                   on conflict (source) do update set epoch = excluded.epoch, sequence = excluded.sequence,
                       last_event_id = excluded.last_event_id
                   where s.source = any($15::text[])
                   returning 1)
               select count(*) from moved""",
            *columns,
            context.epoch,
            sources,
            [sequence for _, sequence, _ in positions],
            [event_id for _, _, event_id in positions],
            # A stream that we saw as new but that exists by now was created by someone else in between.
            list(expected),
        )
        if written != len(sources):
            raise Conflict

    def _outbox_row(
        self, event: NewEvent, event_id: UUID, sequence: int, context: Context, traceparent: str | None
    ) -> tuple[Any, ...]:
        kind = self._registry.get(event.type)
        if kind is None or kind.owner not in (self._service, "runtime"):
            raise ValueError(f"{event.type} is not a registered event of {self._service}")
        if type(event.data) is not kind.data:
            raise TypeError(f"{event.type} carries {kind.data.__name__}")
        body = kind.envelope(
            id=event_id,
            source=event.source,
            type=event.type,
            time=event.time or context.now,
            recordedtime=context.recorded,
            dataschema=kind.dataschema,
            partitionkey=event.partitionkey,
            sequence=sequence,
            epoch=context.epoch,
            correlationid=event.correlationid,
            causationid=event.causationid,
            traceparent=traceparent,
            data=event.data,
        ).encode()
        if len(body) > MAX_EVENT_BYTES:
            raise EventTooLarge(event.type)
        return (
            event_id,
            event.source,
            context.epoch,
            sequence,
            event.type,
            kind.topic(self._prefix),
            event.partitionkey,
            lane_of(event.partitionkey, self._partitions),
            body,
            traceparent,
        )

    async def _write_timers(self, connection: Connection, timers: Sequence[SetTimer | CancelTimers | RezoneTimers]) -> None:
        # In the order given: "cancel the old ones, then set new ones" and its reverse mean different things.
        for timer in timers:
            match timer:
                case SetTimer():
                    rule = timer.due if isinstance(timer.due, LocalRule) else None
                    due: datetime = due_at(timer.due) if isinstance(timer.due, LocalRule) else timer.due
                    await connection.execute(
                        """insert into timer (kind, dedupe_key, subject, due_at, local_time, zone, payload, expires_at)
                           values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (dedupe_key) do nothing""",
                        timer.kind,
                        timer.dedupe_key,
                        timer.subject,
                        due,
                        rule and rule.local,
                        rule and rule.zone,
                        dict(timer.payload),
                        timer.expires_at,
                    )
                case CancelTimers():
                    await connection.execute(
                        """update timer set status = 'cancelled', finished_at = clock_timestamp()
                           where subject = $1 and status = 'waiting' and (kind = any($2) or cardinality($2) = 0)""",
                        timer.subject,
                        list(timer.kinds),
                    )
                case RezoneTimers():
                    rows = await connection.fetch(
                        """select id, local_time from timer
                           where subject = $1 and status = 'waiting' and zone is not null for update""",
                        timer.subject,
                    )
                    await connection.executemany(
                        "update timer set zone = $2, due_at = $3 where id = $1",
                        [(row["id"], timer.zone, due_at(LocalRule(row["local_time"], timer.zone))) for row in rows],
                    )

    async def _write_page(
        self, connection: Connection, page: RaisePage | AcknowledgePage, context: Context
    ) -> list[SetTimer | CancelTimers | RezoneTimers]:
        if isinstance(page, AcknowledgePage):
            taken = await connection.fetchval(
                """update page set status = 'acknowledged', acknowledged_by = $2, acknowledged_at = $3
                   where id = $1 and status = 'open' returning true""",
                page.page_id,
                page.by,
                context.now,
            )
            return [CancelTimers(str(page.page_id), (PAGE_KIND,))] if taken else []
        page_id = uuid7()
        raised = await connection.fetchval(
            """insert into page (id, code, dedupe_key, subject, raised_at) values ($1, $2, $3, $4, $5)
               on conflict (dedupe_key) do nothing returning true""",
            page_id,
            page.code,
            page.dedupe_key,
            page.subject,
            context.now,
        )
        if not raised:
            return []
        return [
            SetTimer(
                PAGE_KIND,
                f"page:{page_id}:{number}",
                str(page_id),
                context.now + rung.after,
                {"rung": number, "role": rung.role, "channel": rung.channel},
            )
            for number, rung in enumerate(self._ladders.get(page.code, OPERATIONS).rungs)
        ]


def _statement(row: RowChange) -> tuple[str, bool, list[Any]]:
    """The statement of a row, whether it must hit exactly one row, and its arguments."""
    match row:
        case Row():
            query = _row_sql(row.table, tuple(row.key), tuple(row.values), row.expected == 0)
            guard = [] if row.expected == 0 else [row.expected]
            return query, True, [*row.key.values(), *row.values.values(), row.version, *guard]
        case Append():
            return _append_sql(row.table, tuple(row.values)), False, list(row.values.values())
        case Put():
            return _put_sql(row.table, tuple(row.key), tuple(row.values)), False, [*row.key.values(), *row.values.values()]
        case Remove():
            return _remove_sql(row.table, tuple(row.key)), False, list(row.key.values())


def _slots(start: int, count: int) -> str:
    return ", ".join(f"${number}" for number in range(start, start + count))


@functools.cache
def _row_sql(table: str, key: tuple[str, ...], values: tuple[str, ...], new: bool) -> str:
    columns = (*key, *values, "version")
    if new:
        return (
            f"insert into {table} ({', '.join(columns)}) values ({_slots(1, len(columns))}) on conflict do nothing returning 1"
        )
    where = " and ".join(f"{name} = ${number}" for number, name in enumerate(key, start=1))
    sets = ", ".join(f"{name} = ${number}" for number, name in enumerate(columns, start=1) if name not in key)
    return f"update {table} set {sets} where {where} and version = ${len(columns) + 1} returning 1"


@functools.cache
def _append_sql(table: str, columns: tuple[str, ...]) -> str:
    return f"insert into {table} ({', '.join(columns)}) values ({_slots(1, len(columns))})"


@functools.cache
def _put_sql(table: str, key: tuple[str, ...], values: tuple[str, ...]) -> str:
    columns = (*key, *values)
    sets = ", ".join(f"{name} = excluded.{name}" for name in values)
    action = f"update set {sets}" if sets else "nothing"
    return (
        f"insert into {table} ({', '.join(columns)}) values ({_slots(1, len(columns))}) "
        f"on conflict ({', '.join(key)}) do {action}"
    )


@functools.cache
def _remove_sql(table: str, key: tuple[str, ...]) -> str:
    where = " and ".join(f"{name} = ${number}" for number, name in enumerate(key, start=1))
    return f"delete from {table} where {where}"
