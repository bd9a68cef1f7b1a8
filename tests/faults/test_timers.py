"""Faults of time and of calls to the outside: rows 47, 48, 49, 54 of the fault matrix, and kills around a timer's commit."""

import random
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from services.runtime.database import Reader
from services.runtime.messaging.changes import Changes, Context, Reply, RezoneTimers
from services.runtime.messaging.unit_of_work import UnitOfWork
from services.runtime.serve import build
from tests.support.ledger.app import SERVICE
from tests.support.ledger_checks import check_ledger
from tests.support.load import NO_BROKER, Load
from tests.support.waiting import eventually
from tests.support.world import Process, World

pytestmark = pytest.mark.asyncio


async def clinic_now(world: World) -> datetime:
    """The clinic clock."""
    now = await world.value("select clinic_now()")
    assert isinstance(now, datetime)
    return now


async def set_clock(world: World, instant: datetime) -> None:
    """Move the clinic clock forward to an instant."""
    await world.advance((instant - await clinic_now(world)).total_seconds())


async def fired(world: World) -> list[str]:
    """Keys of the timers that fired, as often as they did."""
    return [row["dedupe_key"] for row in await world.rows("select dedupe_key from fired order by dedupe_key")]


async def statuses(world: World) -> dict[str, str]:
    """Status of every timer that was set by a test."""
    return {row["dedupe_key"]: row["status"] for row in await world.rows("select dedupe_key, status from timer")}


async def set_timers(world: World, process: Process, timers: Sequence[Mapping[str, object]]) -> None:
    """Set timers of the kind that writes a row, unless another one is named."""
    for timer in timers:
        reply = await world.set_timer(process, **{"kind": "ledger.fire", "subject": "s", **timer})
        assert reply.status in (200, 201, 204), reply


@asynccontextmanager
async def in_process(world: World) -> AsyncIterator[UnitOfWork]:
    """The ledger's unit of work inside this process."""
    runtime = build(SERVICE, world.settings())
    await runtime.database.open()
    try:
        yield runtime.unit_of_work
    finally:
        await runtime.database.close()


async def rounds_passed(*processes: Process) -> None:
    """Wait until every process has looked for due timers at least twice since now."""
    metric = 'telemed_pool_wait_seconds_count{budget="timers"}'
    before = [await process.metric(metric) for process in processes]

    async def looked() -> bool:
        now = [await process.metric(metric) for process in processes]
        # A round takes five connections, 0.25 s apart; the gauges take one every 2 s.
        return all(after >= earlier + 16 for after, earlier in zip(now, before, strict=True))

    await eventually(looked, what="some rounds passed")


async def test_row_47_a_clock_that_jumps_fires_nothing_early_and_nothing_twice(world: World, seed: int) -> None:
    """Row 47: the clinic clock jumps an hour ahead, under two replicas: what is due by then fires once, the rest waits.

    Set back by an hour it is held where it was, so that what waits for minutes does not wait an hour more; an operator is
    called, once. Pods whose own clocks are apart cannot differ in this: there is one clock, the database's, and none of theirs
    is asked (``tests/contract/test_hazards.py``).
    """
    chance = random.Random(seed)
    replicas = [await world.spawn() for _ in range(2)]
    start = await clinic_now(world)
    minutes = [1, 59, 62, 119, *chance.sample([*range(2, 59), *range(63, 119)], 29)]
    chance.shuffle(minutes)
    timers = [
        {"key": f"t{number}", "subject": f"s{number}", "due": (start + timedelta(minutes=number)).isoformat()}
        for number in minutes
    ]
    await set_timers(world, chance.choice(replicas), timers)
    await rounds_passed(*replicas)
    assert await fired(world) == []
    for hours in (1, 2):
        await world.advance(3600)
        due = sorted(f"t{number}" for number in minutes if number < 60 * hours)

        async def all_fired(due: list[str] = due) -> bool:
            return len(await fired(world)) >= len(due)

        await eventually(all_fired, what="what is due has fired")
        await rounds_passed(*replicas)
        assert await fired(world) == due
    before = await clinic_now(world)
    soon = {"key": "soon", "subject": "s", "due": (before + timedelta(minutes=2)).isoformat()}
    await set_timers(world, chance.choice(replicas), [soon])
    await world.advance(-3600)
    await eventually(lambda: world.value("select held > '59 min' from runtime.clinic_clock"), what="it is held")
    # Five seconds need not have been noted.
    assert await clinic_now(world) > before - timedelta(seconds=6)
    await rounds_passed(*replicas)
    assert await fired(world) == due
    await world.advance(130)
    await eventually(lambda: world.value("select exists (select from fired where dedupe_key = 'soon')"), what="it fired")
    assert await fired(world) == sorted([*due, "soon"])
    assert await world.value("select count(*) from page where code = 'runtime.clock-set-back'") == 1
    assert await world.value("select bool_and(at >= due_at) from fired")
    assert await world.value("select bool_and(f.due_at = t.due_at) from fired f join timer t using (dedupe_key)")
    async with Load(seed) as load:
        await load.run(replicas, 10)
        await check_ledger(world, load)


async def test_a_timer_whose_process_is_killed_around_its_commit_fires_once(world: World) -> None:
    """Kill -9 after the effect was written, before the commit, after the commit: once, whichever it was."""
    process = await world.spawn(**NO_BROKER)
    due = (await clinic_now(world) + timedelta(hours=1)).isoformat()
    await set_timers(world, process, [{"key": f"k{number}", "subject": f"s{number}", "due": due} for number in range(5)])
    await process.kill()
    await world.advance(3600)
    for failpoint, count in (("timer.after_effect", 0), ("timer.before_commit", 0), ("timer.after_commit", 5)):
        doomed = await world.spawn(wait=False, failpoints=f"{failpoint}=kill@1", **NO_BROKER)
        assert await doomed.ended() == -signal.SIGKILL
        assert doomed.fired() == [failpoint]
        assert len(await fired(world)) == count, failpoint
    heir = await world.spawn(**NO_BROKER)
    await rounds_passed(heir)
    assert await fired(world) == [f"k{number}" for number in range(5)]
    assert set((await statuses(world)).values()) == {"done"}


def wall_clocks(chance: random.Random) -> list[tuple[str, str, str, datetime]]:
    """Key, what the clock there shows, zone, and the instant that is meant; in order of the instants."""
    minute = chance.randrange(60)
    return [
        # The hour from 02:00 is missing: 02:30 means 03:30.
        ("gap", f"2027-03-14T02:{minute:02}", "America/New_York", datetime(2027, 3, 14, 7, minute, tzinfo=UTC)),
        # The hour from 01:00 comes twice: the first is meant.
        ("twice", f"2027-11-07T01:{minute:02}", "America/New_York", datetime(2027, 11, 7, 5, minute, tzinfo=UTC)),
        ("east", "2028-01-01T00:00", "Pacific/Kiritimati", datetime(2027, 12, 31, 10, 0, tzinfo=UTC)),
        ("west", "2027-12-31T23:59", "Etc/GMT+12", datetime(2028, 1, 1, 11, 59, tzinfo=UTC)),
        ("leap", f"2028-02-29T08:{minute:02}", "Europe/Berlin", datetime(2028, 2, 29, 7, minute, tzinfo=UTC)),
    ]


async def test_rows_48_49_wall_clock_timers_fire_at_the_local_time_that_was_meant(world: World, seed: int) -> None:
    """Rows 48, 49: in the hour that does not exist, in the one that comes twice, at year end on both edges, on leap day."""
    chance = random.Random(seed)
    meant = wall_clocks(chance)
    process = await world.spawn()
    timers = [{"key": key, "due": local, "zone": zone, "subject": key} for key, local, zone, _ in meant]
    await set_timers(world, process, chance.sample(timers, len(timers)))
    stored = {row["dedupe_key"]: row["due_at"] for row in await world.rows("select dedupe_key, due_at from timer")}
    assert stored == {key: instant for key, _, _, instant in meant}
    done: list[str] = []
    for key, _, _, instant in meant:
        await set_clock(world, instant - timedelta(minutes=5))
        await rounds_passed(process)
        assert await fired(world) == sorted(done), f"before {key}"
        await set_clock(world, instant)
        done.append(key)

        async def all_fired() -> bool:
            return len(await fired(world)) == len(done)

        await eventually(all_fired, what=key)
    assert await fired(world) == sorted(done)
    async with Load(seed) as load:
        await load.run([process], 10)
        await check_ledger(world, load)


async def test_row_48_a_change_of_zone_or_of_its_rules_keeps_the_wall_clock_and_sends_once(world: World, seed: int) -> None:
    """Row 48: the patient moves; the zone's rules change under a running process, so that a timer is claimed an hour early
    and put back; they change between two starts, so that waiting timers are derived anew."""
    chance = random.Random(seed)
    minute = chance.randrange(60)
    seven, thirteen = (datetime(2027, 6, 1, hour, minute, tzinfo=UTC) for hour in (7, 13))
    process = await world.spawn(**NO_BROKER)
    nine = [
        {"key": f"{name}-nine", "subject": name, "due": f"2027-06-01T09:{minute:02}", "zone": "America/New_York"}
        for name in "ab"
    ]
    other = {"key": "other", "subject": "a", "due": thirteen.isoformat()}
    await set_timers(world, process, chance.sample([*nine, other], 3))

    async with in_process(world) as unit_of_work:

        async def move(_: Reader, __: Context) -> Changes:
            return Changes(timers=[RezoneTimers("a", "Europe/Berlin")])

        assert await unit_of_work.execute(move) == Reply(204)
    due = "select due_at from timer where dedupe_key = $1"
    assert await world.value(due, "a-nine") == seven
    assert await world.value(due, "b-nine") == thirteen
    assert await world.value(due, "other") == thirteen, "an instant does not move"

    # As it would stand there if the rules had been others when it was written.
    await world.rows("update timer set due_at = due_at - interval '1 hour' where zone is not null")
    await set_clock(world, seven - timedelta(minutes=30))

    async def put_back() -> bool:
        return bool(await world.value(due, "a-nine") == seven)

    await eventually(put_back, what="claimed too early and put back")
    assert await fired(world) == []
    await set_clock(world, seven)
    await eventually(lambda: fired(world), what="nine o'clock in Berlin")

    await process.kill()
    await world.rows("update timer set due_at = due_at + interval '3 hours' where dedupe_key = 'b-nine'")
    await world.rows("update kernel set tzdata = 'an older one'")
    process = await world.spawn()

    async def derived() -> bool:
        return bool(await world.value(due, "b-nine") == thirteen)

    await eventually(derived, what="derived by the rules of now")
    await set_clock(world, thirteen)

    async def all_fired() -> bool:
        return len(await fired(world)) >= 3

    await eventually(all_fired, what="nine o'clock in New York")
    await rounds_passed(process)
    assert await fired(world) == ["a-nine", "b-nine", "other"]
    assert await world.value("select bool_and(at >= due_at) from fired")
    async with Load(seed) as load:
        await load.run([process], 10)
        await check_ledger(world, load)


async def test_row_54_a_reminder_whose_sender_was_killed_is_not_sent_again_and_a_human_is_told(world: World, seed: int) -> None:
    """Row 54: kill -9 after the attempt was committed, before or after the call. Nobody can know, so it is not sent twice."""
    process = await world.spawn(**NO_BROKER)
    mark = world.prefix
    keys = {"call.after_attempt": f"before-{mark}", "call.after_call": f"after-{mark}"}
    order = random.Random(seed).sample(sorted(keys), 2)
    for key in keys.values():
        await set_timers(world, process, [{"kind": "ledger.notify", "key": key, "subject": key, "due": "2027-01-01T00:00:00Z"}])
    await process.kill()
    # One by one: the other one is not due yet.
    await world.rows("update timer set due_at = '2027-01-02Z' where dedupe_key = $1", keys[order[1]])
    for failpoint in order:
        key = keys[failpoint]
        await set_clock(world, await world.value("select due_at from timer where dedupe_key = $1", key))
        doomed = await world.spawn(wait=False, failpoints=f"{failpoint}=kill@1", **NO_BROKER)
        assert await doomed.ended() == -signal.SIGKILL
        assert doomed.fired() == [failpoint]
        assert (await statuses(world))[key] == "sending"
    heir = await world.spawn()

    async def settled() -> bool:
        found = await statuses(world)
        return {found[key] for key in keys.values()} == {"uncertain"}

    await eventually(settled, what="handed over to a human")
    await eventually(lambda: _mails_about_pages(world), what="a page about each")
    await rounds_passed(heir)
    assert len(world.servers.mail.raw(f"<{keys['call.after_attempt']}@telemed>")) == 0
    assert len(world.servers.mail.raw(f"<{keys['call.after_call']}@telemed>")) == 1
    subjects = {row["subject"] for row in await world.rows("select subject from page where code = 'runtime.call-uncertain'")}
    assert subjects == set(keys.values())
    assert await fired(world) == []
    async with Load(seed) as load:
        await load.run([heir], 10)
        await check_ledger(world, load)


async def _mails_about_pages(world: World) -> bool:
    ids = [str(row["id"]) for row in await world.rows("select id from page")]
    return len(ids) == 2 and all(world.servers.mail.raw(f"X-Telemed-Page: {page}") for page in ids)
