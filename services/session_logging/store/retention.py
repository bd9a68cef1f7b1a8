"""How long samples are kept: the months of their table, made ahead, dropped when they are old. Done by the database's owner."""

import datetime as dt
from dataclasses import dataclass, field

from services.runtime.database import Connection

__all__ = ["Kept", "keep_samples"]

_AHEAD = 3


@dataclass(slots=True)
class Kept:
    """What was done, by the names of the months' tables; ``moved`` are samples that had lain outside of every month."""

    made: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    moved: int = 0


async def keep_samples(owner: Connection, *, months: int, by: str) -> Kept:
    """Make the months to come, move into theirs what lies outside of all, and drop those that are older than ``months``.

    Each month is a transaction of its own, with its row in the service's audit. Who uses the samples waits for it a moment;
    while somebody uses them for seconds, this gives up.

    Raises:
        asyncpg.LockNotAvailableError: somebody uses the samples; nothing of that month is done.
    """
    done = Kept()
    await owner.execute("set search_path = session_logging, runtime")
    await owner.execute("set lock_timeout = '4s'")
    rows = await owner.fetch(
        """with clock as (select date_trunc('month', clinic_now() at time zone 'UTC') as month)
           select month + make_interval(months => n) as month from clock, generate_series(0, $1::int) n
           union select date_trunc('month', at at time zone 'UTC') from sample_outside order by 1""",
        _AHEAD,
    )
    for row in rows:
        await _make(owner, row["month"].replace(tzinfo=dt.UTC), by, done)
    old = await owner.fetch(
        """select c.relname as name from pg_inherits i join pg_class c on c.oid = i.inhrelid
           where i.inhparent = 'sample'::regclass and c.relname <> 'sample_outside' and c.relname < to_char(
               clinic_now() at time zone 'UTC' - make_interval(months => $1), '"sample_"YYYY_MM') order by 1""",
        months,
    )
    for row in old:
        async with owner.transaction():
            await owner.execute(f"drop table {row['name']}")
            await _audit(owner, by, f"drop {row['name']}")
        done.dropped.append(row["name"])
    return done


async def _make(owner: Connection, month: dt.datetime, by: str, done: Kept) -> None:
    name, until = f"sample_{month:%Y_%m}", (month + dt.timedelta(days=32)).replace(day=1)
    async with owner.transaction():
        if await owner.fetchval("select to_regclass($1) is not null", name):
            return
        # Nobody may write outside what is about to have its month.
        await owner.execute("lock table sample in access exclusive mode")
        await owner.execute(f"create table {name} (like sample including defaults)")
        moved = await owner.execute(
            f"""with gone as (delete from sample_outside where at >= $1 and at < $2 returning *)
                insert into {name} select * from gone""",
            month,
            until,
        )
        bounds = f"from ('{month.isoformat()}') to ('{until.isoformat()}')"
        await owner.execute(f"alter table sample attach partition {name} for values {bounds}")
        await _audit(owner, by, f"make {name}")
    done.made.append(name)
    done.moved += int(moved.rpartition(" ")[2])


async def _audit(owner: Connection, by: str, what: str) -> None:
    await owner.execute(
        "insert into audit (actor, action, target, policy) values ($1, 'samples.keep', $2, 'operator')", by, what
    )
