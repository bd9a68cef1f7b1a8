"""Timers: picking up the one that is due among many that are not."""

import functools
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

from benchmarks.ledger import ledger
from benchmarks.peers import peer
from benchmarks.report import Goal, Section, Table
from benchmarks.rounds import Contender, Results, Void, median, quantile, spread
from benchmarks.stage import Arena, Stage
from services.runtime.serve import build

__all__ = ["main"]

SAMPLES = 300
SLOW_SAMPLES = 50
"""Of one that takes tens of milliseconds each."""


async def main(stage: Stage) -> Section:
    """See the module."""
    small, large = stage.options.size(10_000, 200), stage.options.size(1_000_000, 2_000)
    samples = stage.options.size(SAMPLES, 20)
    contenders: dict[str, Contender] = {}
    async with AsyncExitStack() as stack:
        arena = await stage.arena()
        stack.push_async_callback(arena.close)
        for size in (small, large):
            contenders[f"ours, {size:,} waiting"] = await _ours(arena, stack, size, samples)
            if not stage.options.quick:
                some = SLOW_SAMPLES if size == large else samples
                contenders[f"procrastinate, {size:,} waiting"] = await _procrastinate(arena, stack, size, some)
        results = await stage.rounds(contenders)
    return _section(results, small, large, samples)


def _section(results: Results, small: int, large: int, samples: int) -> Section:
    few, many, peer = f"ours, {small:,} waiting", f"ours, {large:,} waiting", f"procrastinate, {large:,} waiting"
    p50, p99 = (median(results.ratio(many, few, metric)) for metric in ("p50", "p99"))
    rows = [
        [
            name,
            spread(results.of(name, "p50"), 2),
            spread(results.of(name, "p99"), 2),
            spread(results.ratio(name, few, "p50"), 2),
        ]
        for name in results.values
    ]
    notes = []
    if results.of(peer, "p50"):
        notes.append(
            f"procrastinate with {large:,} waiting: {median(results.ratio(peer, many, 'p50')):.0f}x the time of ours (p50)"
        )
    return Section(
        name="timers",
        title="Timers: picking up one that is due",
        how=(
            f"Future rows first, by SQL, then `vacuum analyze`; each sample inserts one due row and times its pick-up; {samples} samples a "
            f"round ({SLOW_SAMPLES} for procrastinate with {large:,}). *ours*: `Timers.run_inside`: clock, claim, handler, its effect row, "
            "status, commit. *procrastinate*: its `procrastinate_fetch_job_v2` alone, on one connection; the waiting jobs were "
            "queued before the due one, as in life. Milliseconds."
        ),
        tables=[Table(["contender", "p50 ms", "p99 ms", f"x ours with {small:,} (p50)"], rows)],
        goals=[
            Goal(
                f"pick-up with {large:,} waiting <= 1.5x that with {small:,}",
                f"p50 {p50:.2f}x, p99 {p99:.2f}x",
                p50 <= 1.5 and p99 <= 1.5,
            )
        ],
        notes=notes,
        void=results.void,
    )


async def _ours(arena: Arena, stack: AsyncExitStack, size: int, samples: int) -> Contender:
    database = await arena.clone()
    stack.push_async_callback(arena.drop, database)
    owner = await stack.enter_async_context(arena.owner(database))
    await owner.execute(
        """insert into timer (kind, dedupe_key, subject, due_at)
           select 'ledger.fire', 'waiting:' || n, 'a' || n % 10000, now() + interval '30 days' + n * interval '10 seconds'
           from generate_series(1, $1::int) n""",
        size,
    )
    await owner.execute("vacuum analyze timer")
    runtime = build(ledger(), arena.settings(database))
    await runtime.database.open()
    stack.push_async_callback(runtime.database.close)
    done = 0

    async def insert() -> None:
        nonlocal done
        done += 1
        await owner.execute(
            """insert into timer (kind, dedupe_key, subject, due_at)
               values ('ledger.fire', $1, 'b', runtime.clinic_now() - interval '1 second')""",
            f"due:{done}",
        )

    async def pick_up() -> None:
        found = await runtime.timers.run_inside()
        if found != 1:
            raise Void(f"{found} picked up instead of 1")

    async def check() -> None:
        fired = await owner.fetchval("select count(distinct dedupe_key) from fired")
        rows = await owner.fetchval("select count(*) from fired")
        waiting = await owner.fetchval("select count(*) from timer where status = 'waiting'")
        if (fired, rows, waiting) != (done, done, size):
            raise Void(f"{done} were due, {rows} fired ({fired} different), {waiting} of {size} wait")

    return functools.partial(_measure, samples, insert, pick_up, check)


async def _procrastinate(arena: Arena, stack: AsyncExitStack, size: int, samples: int) -> Contender:
    database = await arena.clone()
    stack.push_async_callback(arena.drop, database)
    owner = await stack.enter_async_context(arena.owner(database))
    await owner.execute("create schema peer; set search_path = peer")
    await owner.execute(peer("procrastinate.schema").SchemaManager.get_schema())
    await owner.execute("alter table procrastinate_jobs disable trigger user")
    await owner.execute(
        """insert into procrastinate_jobs (queue_name, task_name, scheduled_at)
           select 'default', 'remind', now() + interval '30 days' + n * interval '10 seconds' from generate_series(1, $1::int) n""",
        size,
    )
    await owner.execute("alter table procrastinate_jobs enable trigger user")
    await owner.execute("vacuum analyze procrastinate_jobs")
    worker = await owner.fetchval("insert into procrastinate_workers default values returning id")
    wanted: Any = None

    async def insert() -> None:
        nonlocal wanted
        if wanted is not None:
            await owner.execute("select procrastinate_finish_job_v1($1, 'succeeded', true)", wanted)
        wanted = await owner.fetchval(
            """insert into procrastinate_jobs (queue_name, task_name, scheduled_at)
               values ('default', 'remind', now() - interval '1 second') returning id"""
        )

    async def pick_up() -> None:
        row = await owner.fetchrow("select id, status from procrastinate_fetch_job_v2(array['default'], $1)", worker)
        if row is None or row["id"] != wanted:
            raise Void("not the due job was picked up")

    async def check() -> None:
        waiting = await owner.fetchval("select count(*) from procrastinate_jobs where status = 'todo'")
        if waiting != size:
            raise Void(f"{waiting} of {size} wait")

    return functools.partial(_measure, samples, insert, pick_up, check)


async def _measure(
    samples: int,
    insert: Callable[[], Awaitable[None]],
    pick_up: Callable[[], Awaitable[None]],
    check: Callable[[], Awaitable[None]],
) -> Mapping[str, float]:
    times = []
    for _ in range(samples):
        await insert()
        started = time.perf_counter()
        await pick_up()
        times.append((time.perf_counter() - started) * 1000)
    await check()
    return {"p50": quantile(times, 0.5), "p99": quantile(times, 0.99)}
