"""Durable timers: one table per service, written and cancelled in the transactions that cause and void them.

Due is judged by the clinic clock, which is kept from falling back; leases and waits run on real time. A timer whose effect is
in this database is claimed and carried out in one transaction, so it needs no lease. Only a call to the outside has one: its
attempt is committed before the call, and after a crash in between its handler says whether to call again (a page) or to hand
over to a human (a reminder).
"""

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from services.runtime import tracing
from services.runtime.database import LOST, TRANSIENT, Budget, Connection, Database, Reader, Record
from services.runtime.failpoints import Failpoints
from services.runtime.log import get_logger
from services.runtime.messaging.changes import Changes, Context, RaisePage, RowChanges
from services.runtime.messaging.fold import Folded, Handler, fold
from services.runtime.messaging.schedule import LocalRule, due_at, tzdata_version
from services.runtime.messaging.unit_of_work import UnitOfWork, read_context
from services.runtime.metrics import Metrics
from services.runtime.settings import MessagingSettings
from services.runtime.waiting import within

__all__ = ["OutsideCall", "Timer", "TimerHandler", "Timers"]

_log = get_logger()
_GIVE_UP = 8  # attempts of a failing timer, over about a day of back-off


class Timer(NamedTuple):
    """A timer that came due.

    Attributes:
        dedupe_key: stable; also the key under which an outside call is made.
        due_at: when it was due (clinic time).
        attempts: calls made before this one.
    """

    id: int
    kind: str
    dedupe_key: str
    subject: str
    due_at: datetime
    payload: Mapping[str, Any]
    attempts: int


class OutsideCall(ABC):
    """A timer whose effect is a call to the outside: a mail, a message, a webhook."""

    resend_when_uncertain: bool = False
    """Whether to call again when a crash left it unknown whether the last call went out."""

    @abstractmethod
    async def prepare(self, read: Reader, timer: Timer, context: Context) -> Any | None:
        """Read what the call needs, and check again that it is still wanted: None cancels it."""

    @abstractmethod
    async def call(self, request: Any, key: str) -> str:
        """Make the call, bounded in time, under a key that is the same at every attempt. Returns an outcome code."""

    @abstractmethod
    def done(self, timer: Timer, request: Any, outcome: str, context: Context) -> Changes:
        """What to write when the call was made."""

    def uncertain(self, timer: Timer, context: Context) -> Changes:
        """What to write when it is unknown whether the call was made and it is not made again: tell a human."""
        return Changes(pages=[RaisePage("runtime.call-uncertain", f"uncertain:{timer.dedupe_key}", timer.subject)])

    def missed(self, timer: Timer, context: Context) -> Changes:
        """What to write when it expired before it could be made."""
        return Changes(pages=[RaisePage("runtime.call-missed", f"missed:{timer.dedupe_key}", timer.subject)])


TimerHandler = Handler[Timer, Any, Any] | OutsideCall


@dataclass(slots=True)
class Timers:
    """Carries out one service's timers. Any number may run; a claim locks its rows."""

    database: Database
    unit_of_work: UnitOfWork
    handlers: Mapping[str, TimerHandler]
    settings: MessagingSettings
    metrics: Metrics
    failpoints: Failpoints
    _inside: list[str] = field(default_factory=list)
    _outside: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for kind, handler in self.handlers.items():
            (self._outside if isinstance(handler, OutsideCall) else self._inside).append(kind)

    async def run(self) -> None:
        """Carry out what comes due until cancelled."""
        derived = False
        while True:
            wait = self.settings.poll_s
            try:
                if not derived:
                    await self.derive_after_tzdata_change()
                    derived = True
                await self._keep_clock()
                await self.settle_leases()
                done = await self.run_inside() + await self.run_outside()
                wait = 0.0 if done else await self._until_next()
            except Exception as error:  # noqa: BLE001 - requests must go on, whatever the clients make of their servers
                _log.warning("timers-interrupted", error_class=type(error).__name__)
            if wait:
                with suppress(TimeoutError):
                    await within(wait, self.unit_of_work.wake.timers.wait())
            self.unit_of_work.wake.timers.clear()

    async def _keep_clock(self) -> None:
        """Clinic time does not go back when the database's clock is set back; a human is told that it stands ahead (ADR 35)."""
        async with self.database.acquire(Budget.TIMERS) as connection, connection.transaction():
            if held := await connection.fetchval("select runtime.keep_clock()"):
                context = await read_context(connection)
                page = RaisePage("runtime.clock-set-back", f"clock-set-back:{context.now.isoformat()}", "clinic-clock")
                await self.unit_of_work.write(connection, [Changes(pages=[page])], context)
                _log.error("clock-set-back", seconds=held.total_seconds())

    # --- effects in this database ----------------------------------------------------------------------------------

    async def run_inside(self) -> int:
        """Claim and carry out due timers, all in one transaction. Returns how many."""
        try:
            return await self._run_inside(self.settings.timer_batch)
        except LOST:
            raise
        except Exception as error:  # noqa: BLE001 - one timer's rows must not stop the others: each is tried alone
            _log.warning("timer-batch-split", error_class=type(error).__name__)
        done = 0
        while alone := await self._run_inside(1, alone=True):
            done += alone
        return done

    async def _run_inside(self, limit: int, *, alone: bool = False) -> int:
        async with self.database.acquire(Budget.TIMERS) as connection, connection.transaction():
            context = await read_context(connection)
            rows = await self._claim(connection, self._inside, limit, context)
            timers = await self._sort_out(connection, rows, context)
            if not timers:
                return len(rows)
            items = [(timer, self.handlers[timer.kind], timer, str(timer.id)) for timer in timers]
            folded: Folded[Timer] = Folded()
            try:
                with tracing.timing():
                    async with connection.transaction():
                        folded = await fold(items, Reader(connection), context)
                        await self.unit_of_work.write(connection, [changes for _, changes in folded.done], context)
            except TRANSIENT:
                raise
            except Exception as error:
                if not alone:
                    raise
                folded = Folded(failed=[(timer, error) for timer in timers])
            await self.failpoints.hit("timer.after_effect")
            await self._finish(connection, [timer for timer, _ in folded.done], "done")
            for timer, failure in folded.failed:
                await self._postpone(connection, timer, type(failure).__name__, context)
            await self.failpoints.hit("timer.before_commit")
        self.unit_of_work.wake.after(changes for _, changes in folded.done)
        for timer, _ in folded.done:
            self._observe(timer, "done", context)
        await self.failpoints.hit("timer.after_commit")
        return len(rows)

    async def _claim(self, connection: Connection, kinds: Sequence[str], limit: int, context: Context) -> list[Record]:
        return await connection.fetch(
            """select id, kind, dedupe_key, subject, due_at, local_time, zone, payload, expires_at, attempts from timer
               where status = 'waiting' and due_at <= $1 and kind = any($2) order by due_at, id limit $3
               for update skip locked""",
            context.now,
            list(kinds),
            limit,
        )

    async def _sort_out(self, connection: Connection, rows: Sequence[Record], context: Context) -> list[Timer]:
        """Put back what the zone rules say is not due yet, mark missed what is of no use any more; the rest is due."""
        due: list[Timer] = []
        for row in rows:
            timer = Timer(
                row["id"], row["kind"], row["dedupe_key"], row["subject"], row["due_at"], row["payload"], row["attempts"]
            )
            if row["zone"] and not row["attempts"]:
                derived = due_at(LocalRule(row["local_time"], row["zone"]))
                if derived > context.now:
                    await connection.execute("update timer set due_at = $2 where id = $1", timer.id, derived)
                    continue
            if row["expires_at"] is not None and row["expires_at"] <= context.now:
                await self._finish(connection, [timer], "missed")
                self._observe(timer, "missed", context)
                handler = self.handlers[timer.kind]
                if isinstance(handler, OutsideCall):
                    await self.unit_of_work.write(connection, [handler.missed(timer, context)], context)
                continue
            due.append(timer)
        return due

    # --- calls to the outside --------------------------------------------------------------------------------------

    async def run_outside(self) -> int:
        """Make due calls: attempts committed first, then the calls side by side, then their results. Returns how many."""
        async with self.database.acquire(Budget.TIMERS) as connection, connection.transaction():
            context = await read_context(connection)
            rows = await self._claim(connection, self._outside, 10, context)
            timers = await self._sort_out(connection, rows, context)
            prepared: list[tuple[Timer, Any]] = []
            for timer in timers:
                handler = self.handlers[timer.kind]
                assert isinstance(handler, OutsideCall)  # noqa: S101 - _outside holds no other
                try:
                    async with connection.transaction():
                        request = await handler.prepare(Reader(connection), timer, context)
                except TRANSIENT:
                    raise
                except Exception as error:  # noqa: BLE001 - one call's bug must not stop the others
                    await self._postpone(connection, timer, type(error).__name__, context)
                    continue
                if request is None:
                    await self._finish(connection, [timer], "cancelled")
                else:
                    prepared.append((timer, request))
            await connection.execute(
                """update timer set status = 'sending', attempts = attempts + 1,
                       lease_until = clock_timestamp() + make_interval(secs => $2) where id = any($1)""",
                [timer.id for timer, _ in prepared],
                self.settings.lease_s,
            )
        if prepared:
            await self.failpoints.hit("call.after_attempt")
            with tracing.timing():
                await asyncio.gather(*(self._call(timer, request) for timer, request in prepared))
        return len(rows)

    async def _call(self, timer: Timer, request: Any) -> None:
        handler = self.handlers[timer.kind]
        assert isinstance(handler, OutsideCall)  # noqa: S101 - see above
        error: Exception | None = None
        outcome = ""
        try:
            outcome = await within(self.settings.lease_s / 2, handler.call(request, timer.dedupe_key))
        except Exception as caught:  # noqa: BLE001 - whatever the outside did, this attempt failed and is tried again
            error = caught
        await self.failpoints.hit("call.after_call")
        changes: list[RowChanges] = []
        async with self.database.acquire(Budget.TIMERS) as connection, connection.transaction():
            context = await read_context(connection)
            # Whoever settled the lease meanwhile has the last word.
            if not await connection.fetchval("select 1 from timer where id = $1 and status = 'sending' for update", timer.id):
                return
            if error is not None:
                await self._postpone(connection, timer, type(error).__name__, context)
                return
            status = "done"
            try:
                async with connection.transaction():
                    changes = [handler.done(timer, request, outcome, context)]
                    await self.unit_of_work.write(connection, changes, context)
            except TRANSIENT:
                raise
            except Exception as failure:  # noqa: BLE001 - the call was made, only its record failed: a human must look
                _log.error("call-not-recorded", kind=timer.kind, error_class=type(failure).__name__)
                status, changes = "uncertain", [handler.uncertain(timer, context)]
                await self.unit_of_work.write(connection, changes, context)
            await self._finish(connection, [timer], status)
            self._observe(timer, status, context)
        self.unit_of_work.wake.after(changes)

    async def settle_leases(self) -> int:
        """Calls whose process died: make them again, or tell a human that it is unknown. Returns how many."""
        async with self.database.acquire(Budget.TIMERS) as connection, connection.transaction():
            context = await read_context(connection)
            rows = await connection.fetch(
                """select id, kind, dedupe_key, subject, due_at, payload, attempts from timer
                   where status = 'sending' and lease_until < clock_timestamp() limit 100 for update skip locked"""
            )
            changes = []
            for row in rows:
                timer = Timer(*row.values())
                handler = self.handlers.get(timer.kind)
                if isinstance(handler, OutsideCall) and handler.resend_when_uncertain:
                    await connection.execute("update timer set status = 'waiting', lease_until = null where id = $1", timer.id)
                    continue
                await self._finish(connection, [timer], "uncertain")
                self._observe(timer, "uncertain", context)
                if isinstance(handler, OutsideCall):
                    changes.append(handler.uncertain(timer, context))
            await self.unit_of_work.write(connection, changes, context)
        self.unit_of_work.wake.after(changes)
        return len(rows)

    # --- shared ----------------------------------------------------------------------------------------------------

    async def _finish(self, connection: Connection, timers: Sequence[Timer], status: str) -> None:
        if timers:
            await connection.execute(
                """update timer set status = $2, lease_until = null, finished_at = clock_timestamp() where id = any($1)""",
                [timer.id for timer in timers],
                status,
            )

    async def _postpone(self, connection: Connection, timer: Timer, error_class: str, context: Context) -> None:
        """A failed attempt: try later, and in the end tell a human."""
        attempts = timer.attempts + 1
        _log.warning("timer-failed", kind=timer.kind, error_class=error_class, attempt=attempts)
        self._observe(timer, "failed", context)
        if attempts >= _GIVE_UP:
            await self._finish(connection, [timer], "failed")
            page = RaisePage("runtime.timer-failed", f"timer-failed:{timer.dedupe_key}", timer.subject)
            await self.unit_of_work.write(connection, [Changes(pages=[page])], context)
            return
        limit = min(6 * 3600.0, 2.0 * 4 ** (attempts - 1))
        delay = timedelta(seconds=random.uniform(limit / 2, limit))  # noqa: S311 - jitter, not a secret
        await connection.execute(
            "update timer set status = 'waiting', lease_until = null, attempts = $2, due_at = $3 where id = $1",
            timer.id,
            attempts,
            context.now + delay,
        )

    def _observe(self, timer: Timer, outcome: str, context: Context) -> None:
        self.metrics.timers.labels(timer.kind, outcome).inc()
        if outcome == "done":
            self.metrics.timer_late.labels(timer.kind).observe(max(0.0, (context.now - timer.due_at).total_seconds()))

    async def _until_next(self) -> float:
        """Seconds until the next waiting timer is due, at most one poll: the clinic clock may be moved meanwhile."""
        async with self.database.acquire(Budget.TIMERS) as connection:
            seconds = await connection.fetchval(
                """select extract(epoch from due_at - runtime.clinic_now()) from timer
                   where status = 'waiting' and kind = any($1) order by due_at, id limit 1""",
                list(self.handlers),
            )
        return self.settings.poll_s if seconds is None else min(self.settings.poll_s, max(0.01, float(seconds)))

    async def derive_after_tzdata_change(self) -> int:
        """New zone rules (tzdata) since the last start: derive every waiting wall-clock timer anew. Returns how many moved."""
        version = tzdata_version()
        async with self.database.acquire(Budget.TIMERS) as connection, connection.transaction():
            if await connection.fetchval("select tzdata from kernel for update") == version:
                return 0
            rows = await connection.fetch(
                "select id, local_time, zone, due_at from timer where status = 'waiting' and zone is not null for update"
            )
            moved = [
                (row["id"], due) for row in rows if (due := due_at(LocalRule(row["local_time"], row["zone"]))) != row["due_at"]
            ]
            await connection.executemany("update timer set due_at = $2 where id = $1", moved)
            await connection.execute("update kernel set tzdata = $1", version)
        return len(moved)
