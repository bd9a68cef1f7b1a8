"""Moving the clinic clock: from due instant to due instant, and only while no service has earlier work left.

That keeps the order a real day would have: what is due at nine has all its effects, in every service, before it is ten.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.runtime.database import Connection
from services.runtime.service import Service

__all__ = ["Clock", "NotQuiet", "Standing", "Target", "advance", "follow", "quiet", "show", "standing"]


class NotQuiet(Exception):
    """The services did not finish their earlier work in time; the text says what is left."""


@dataclass(frozen=True, slots=True)
class Clock:
    """What ``telemed clock show`` tells.

    Attributes:
        ahead: of the clinic clock before the database's.
        held: part of that by which it was kept from falling back.
    """

    clinic: datetime
    real: datetime
    ahead: timedelta
    held: timedelta
    moved_by: str
    moved_at: datetime


@dataclass(frozen=True, slots=True)
class Standing:
    """One moment of the whole deployment, read in one snapshot.

    Attributes:
        now: the clinic clock.
        unfinished: what is not done yet of the work up to now, one line each.
        next_due: the next instant at which a timer of any service is due.
    """

    now: datetime
    unfinished: tuple[str, ...]
    next_due: datetime | None


@dataclass(frozen=True, slots=True)
class Target:
    """Where to: exactly one of a length, an instant, or the next due instant (neither given)."""

    by: timedelta | None = None
    to: datetime | None = None

    def instant(self, standing: Standing) -> datetime:
        """The instant, seen from a moment at which everything is done.

        Raises:
            ValueError: it lies in the past, or nothing is due.
        """
        if self.by is None and self.to is None:
            if standing.next_due is None:
                raise ValueError("no timer is waiting in any service")
            return standing.next_due
        wanted = self.to if self.to is not None else standing.now + (self.by or timedelta())
        if wanted <= standing.now:
            raise ValueError(f"the clinic clock is at {standing.now.isoformat()} and only goes forward")
        return wanted


async def show(connection: Connection) -> Clock:
    """Read the clocks, as the owner."""
    row = await connection.fetchrow(
        """select runtime.clinic_now() as clinic, clock_timestamp() as real, shift, held, moved_by, moved_at
           from runtime.clinic_clock"""
    )
    if row is None:
        raise LookupError("the clinic clock has no row")
    return Clock(*row)


async def follow(connection: Connection, *, by: str, reason: str) -> timedelta:
    """Let the clinic clock fall back by what it was held, so that it follows the database's clock again. Returns how far.

    Whatever waits goes on waiting for its instant, so nobody may be in the middle of minutes that count.

    Raises:
        ValueError: it is not held.
    """
    async with connection.transaction():
        held: timedelta = await connection.fetchval("select held from runtime.clinic_clock for update")
        if not held:
            raise ValueError("the clinic clock is not held: it follows the database's clock")
        await connection.execute(
            """update runtime.clinic_clock set shift = shift - held, held = '0', seen = clock_timestamp() + shift - held,
                      moved_by = $1, moved_at = clock_timestamp()""",
            by,
        )
        await _audit(connection, by, "clock.follow", str(held), reason)
    return held


async def advance(
    connection: Connection,
    services: Sequence[Service],
    prefix: str,
    target: Target,
    *,
    by: str,
    reason: str = "",
    wait_s: float = 60.0,
) -> list[datetime]:
    """Move the clock to the target in steps, waiting for quiet before each and after the last. Returns the instants.

    Args:
        connection: as the owner of the database.
        by: a named person; each step leaves a row in ``runtime.audit``.
        wait_s: how long the services may take to finish one step's work.

    Raises:
        NotQuiet: they took longer; the clock stays at the last step that was made.
        ValueError: see ``Target.instant``, or another move is under way.
    """
    if not await connection.fetchval("select pg_try_advisory_lock(hashtext('telemed.clinic-clock'))"):
        raise ValueError("someone else is moving the clinic clock")
    try:
        now = await quiet(connection, services, prefix, wait_s)
        end = target.instant(now)
        steps: list[datetime] = []
        while now.now < end:
            step = min(end, now.next_due or end)
            await _move(connection, step, by, reason)
            steps.append(step)
            now = await quiet(connection, services, prefix, wait_s)
        return steps
    finally:
        await connection.execute("select pg_advisory_unlock(hashtext('telemed.clinic-clock'))")


async def _move(connection: Connection, to: datetime, by: str, reason: str) -> None:
    async with connection.transaction():
        await connection.execute(
            """update runtime.clinic_clock set moved_by = $2, moved_at = clock_timestamp(),
                      shift = greatest(shift, $1::timestamptz - clock_timestamp())""",
            to,
            by,
        )
        await _audit(connection, by, "clock.advance", to.isoformat(), reason)


async def _audit(connection: Connection, *row: str) -> None:
    await connection.execute("insert into runtime.audit (actor, action, target, reason) values ($1, $2, $3, $4)", *row)


async def quiet(connection: Connection, services: Sequence[Service], prefix: str, wait_s: float) -> Standing:
    """Wait until no service has work left of what is due by now.

    Raises:
        NotQuiet: they took longer.
    """
    deadline = time.monotonic() + wait_s
    while True:
        found = await standing(connection, services, prefix)
        if not found.unfinished:
            return found
        if time.monotonic() > deadline:
            raise NotQuiet(f"not done after {wait_s:g} s, the clock stays: {'; '.join(found.unfinished)}")
        await asyncio.sleep(0.02)


async def standing(connection: Connection, services: Sequence[Service], prefix: str) -> Standing:
    """How far everybody is. One statement, one snapshot: whatever is under way shows as not done in it."""
    consumers: list[str] = []
    topics: list[str] = []
    for service in services:
        for subscription in service.subscriptions:
            kinds = [service.registry.get(name) for name in subscription.handlers]
            heard = sorted({kind.topic(prefix) for kind in kinds if kind is not None})
            consumers += [subscription.consumer] * len(heard)
            topics += heard

    def of_all(query: str) -> str:
        return " union all ".join(query.format(name=one.name, schema=one.schema) for one in services)

    row = await connection.fetchrow(
        f"""with clock as materialized (select runtime.clinic_now() as now),
                 head as materialized ({of_all(_HEADS)}),
                 reached as materialized ({of_all(_REACHED)}),
                 set_aside as materialized ({of_all(_SET_ASIDE)}),
                 behind as (
                     select consumer, count(*)
                     from unnest($1::text[], $2::text[]) listens (consumer, topic)
                     join head using (topic)
                     left join reached using (consumer, source)
                     where (reached.source is null or (reached.epoch, reached.sequence) < (head.epoch, head.sequence))
                       and not exists (select from set_aside where (set_aside.consumer, set_aside.source, set_aside.event_id)
                                                                 = (listens.consumer, head.source, head.last_event_id))
                     group by consumer)
            select now, (select min(due_at) from ({of_all(_NEXT_DUE)}) ahead) as next_due,
                   array(select format('%s: %s %s', name, count, what) from ({of_all(_OWN_WORK)}) work where count > 0)
                   || array(select format('%s: %s sources not read to their end', consumer, count) from behind) as unfinished
            from clock""",
        consumers,
        topics,
    )
    assert row is not None  # noqa: S101 - the clock has one row
    return Standing(row["now"], tuple(row["unfinished"]), row["next_due"])


_HEADS = """select topic, source, stream.epoch, sequence, last_event_id
            from {schema}.stream join {schema}.outbox using (source, sequence)"""
"""Each source's last event."""
_REACHED = "select consumer, source, epoch, sequence from {schema}.consumer_cursor"
_SET_ASIDE = """select consumer, source, event_id from {schema}.parked one
                where not exists (select from {schema}.parked early where early.reason = 'gap'
                                  and (early.consumer, early.source) = (one.consumer, one.source))"""
"""Where an event waits for an earlier one nothing is set aside: that one is on its way."""
_NEXT_DUE = "select min(due_at) as due_at from {schema}.timer, clock where status = 'waiting' and due_at > now"
_OWN_WORK = " union all ".join(
    f"select '{{name}}' as name, '{what}' as what, count(*) as count from {rows}"
    for what, rows in {
        "events not published": "{schema}.outbox_pending",
        "timers due": "{schema}.timer, clock where status = 'waiting' and due_at <= now",
        "calls under way": "{schema}.timer where status = 'sending'",
        "parked events about to be tried": "{schema}.parked where status = 'waiting' and next_at <= clock_timestamp()",
    }.items()
)
