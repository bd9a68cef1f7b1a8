"""The whole path: the product's own services as processes, a patient's story through them, many patients at once, the journey."""

import asyncio
import bisect
import functools
import secrets
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from benchmarks.report import Goal, Section, Table
from benchmarks.rounds import Results, Void, quantile, spread
from benchmarks.stage import Stage
from services.cli.demo.seed import seed
from services.cli.demo.story import FIRST_DAY, Story
from services.follow_up.store.tasks import journey
from services.runtime.database import Connection, Reader
from services.runtime.edge.pages import MAX_PAGE
from tests.support.care import Care, care
from tests.support.stage import on_stage
from tests.support.world import SHORT

__all__ = ["main"]

FEW, MANY = 10, 10_000
"""Events of a journey that is read."""
CONNECTIONS = 16
_AGAIN_S = 0.1
# The instant of an effect is that at which its consumer's cursor moved, in the transaction of the effect.
_WATCHED = """
create schema bench;
create table bench.effect (service text, consumer text, source text, sequence bigint, at timestamptz);
create function bench.note() returns trigger language plpgsql security definer as $$
begin
    insert into bench.effect values (tg_table_schema, new.consumer, new.source, new.sequence, new.updated_at);
    return null;
end $$;
"""
_WATCH = "create trigger bench after insert or update on {schema}.consumer_cursor for each row execute function bench.note()"


_Read = Callable[[], Awaitable[None]]


class Hop(NamedTuple):
    """From the service that committed an event to one in which it had an effect."""

    owner: str
    reader: str


class _Flow(NamedTuple):
    """What went through.

    Attributes:
        ages: milliseconds from commit to effect, by hop.
        events: that somebody listens to.
        took_s: from the first commit to the last effect.
    """

    ages: Mapping[Hop, Sequence[float]]
    events: int
    took_s: float


async def main(stage: Stage) -> Section:
    """See the module."""
    patients = stage.options.size(300, 4)
    results = await stage.rounds({"path": functools.partial(_round, stage, patients)}, full=3)
    return _section(results, patients, quick=stage.options.quick)


async def _round(stage: Stage, patients: int) -> Mapping[str, float]:
    folder = Path(await asyncio.to_thread(tempfile.mkdtemp, dir=stage.folder))
    async with care(await stage.servers(), folder) as made:
        for name in SHORT:  # the timings of production
            del made.environment[name]
        async with made.owner() as owner:
            await owner.execute(_WATCHED)
            for service in made.services.values():
                await owner.execute(_WATCH.format(schema=service.schema))
            await made.spawn(*made.services)
            async with on_stage(made) as play:
                play.say = lambda _: None
                story = Story(play, FIRST_DAY, number=int(made.database.removeprefix("c_"), 16))
                await seed(play, until=story.at(120, "00:00"))
                await play.settle()
                measured = await _story(made, owner, story, quick=stage.options.quick)
                many, loaded = await _load(made, owner, play.settle, patients)
                return measured | loaded | await _journeys(made, owner, story.patient, many[:2], stage.options.size(100, 3))


# --- one patient -------------------------------------------------------------------------------------------------------


async def _story(made: Care, owner: Connection, story: Story, *, quick: bool) -> dict[str, float]:
    since, started, before = await _now(owner), time.perf_counter(), story.stage.steps
    await story.enquiry()
    if not quick:
        await story.intake()
        await story.findings()
        await story.decision_and_plan()
        await story.first_session()
        await story.amendment()
    await story.stage.settle()
    took = time.perf_counter() - started
    if differs := [check.name for check in story.stage.checks if not check.holds]:
        raise Void(f"the story differs: {', '.join(differs)}")
    flow = await _flow(made, owner, since)
    steps = float(story.stage.steps - before)
    measured = {"story steps": steps, "story events": float(flow.events), "story s": took}
    for hop, ages in flow.ages.items():
        name = f"{hop.owner} -> {hop.reader}"
        measured |= {f"{name} n": len(ages), f"{name} p50": quantile(ages, 0.5), f"{name} p99": quantile(ages, 0.99)}
    every = [age for ages in flow.ages.values() for age in ages]
    return measured | {"every hop n": len(every), "every hop p50": quantile(every, 0.5), "every hop p99": quantile(every, 0.99)}


async def _flow(made: Care, owner: Connection, since: datetime) -> _Flow:
    """How long each event took to each service that listens to it.

    Raises:
        Void: one has not arrived everywhere, or is parked.
    """
    effects: dict[tuple[str, str], list[tuple[int, datetime]]] = defaultdict(list)
    for row in await owner.fetch("select consumer, source, sequence, at from bench.effect order by sequence"):
        effects[row["consumer"], row["source"]].append((row["sequence"], row["at"]))
    ages: dict[Hop, list[float]] = defaultdict(list)
    first, last, events = since, since, 0
    for sender in made.services.values():
        query = f"select source, sequence, type, recorded_at from {sender.schema}.outbox where recorded_at > $1 order by id"
        for row in await owner.fetch(query, since):
            heard = False
            for reader in made.services.values():
                for subscription in reader.subscriptions:
                    if row["type"] not in subscription.handlers:
                        continue
                    known = effects[subscription.consumer, row["source"]]
                    # A batch moves the cursor once, to its last event of a source.
                    place = bisect.bisect_left(known, row["sequence"], key=lambda effect: effect[0])
                    if place == len(known):
                        raise Void(f"{row['type']} has not come to {subscription.consumer}")
                    at = known[place][1]
                    ages[Hop(sender.name, reader.name)].append((at - row["recorded_at"]).total_seconds() * 1000)
                    first, last, heard = (row["recorded_at"] if first == since else first), max(last, at), True
            events += heard
    for service in made.services.values():
        if await owner.fetchval(f"select count(*) from {service.schema}.parked"):
            raise Void(f"{service.name} has parked something")
    return _Flow(ages, events, (last - first).total_seconds())


async def _now(owner: Connection) -> datetime:
    found: datetime = await owner.fetchval("select clock_timestamp()")
    return found


# --- many patients -----------------------------------------------------------------------------------------------------


async def _load(
    made: Care, owner: Connection, settle: Callable[[], Awaitable[None]], patients: int
) -> tuple[Sequence[str], dict[str, float]]:
    """Many patients are registered, get a care team and a case: as fast as the front desk's connections are answered."""
    team = {
        "care_team": [
            {"staff": made.id("psychiatrist.a"), "role": "prescriber"},
            {"staff": made.id("nurse.a"), "role": "nurse"},
        ]
    }
    numbers, found, answers, refused = iter(range(patients)), [], [], 0

    async def desk() -> None:
        for number in numbers:
            person = {"given_name": "Bench", "family_name": f"Bench-{number}", "birth_date": "1980-01-01"}
            person |= {
                "email": f"bench.{number}@example.org",
                "zone": "America/New_York",
                "language": "en-US",
                "region": "US-NY",
            }
            made_one = await timed("front_desk.a", "POST", "/patients", person)
            path = f"/patients/{made_one['patient']}"
            await timed("front_desk.a", "PUT", f"{path}/care-team", team, version=1)
            await timed("nurse.a", "POST", f"{path}/cases", {"therapy": "ketamine"})
            found.append(made_one["patient"])

    async def timed(login: str, method: str, path: str, body: object, **more: Any) -> Any:
        nonlocal refused
        asked, key = time.perf_counter(), secrets.token_hex(8) if method == "POST" else None
        while (answer := await made.call(login, "consultation", method, path, body, key=key, **more)).status == 503:
            refused += 1  # too much at once: the same again, as a careful client does
            await asyncio.sleep(_AGAIN_S)
        answers.append((time.perf_counter() - asked) * 1000)
        return answer.ok()

    since, started = await _now(owner), time.perf_counter()
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(CONNECTIONS):
                group.create_task(desk())
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    took = time.perf_counter() - started
    await settle()
    flow = await _flow(made, owner, since)
    if flow.events < len(answers):
        raise Void(f"{len(answers)} commands, {flow.events} events")
    every = [age for ages in flow.ages.values() for age in ages]
    return found, {
        "load commands/s": len(answers) / took,
        "load refused": float(refused),
        "load answer p50": quantile(answers, 0.5),
        "load answer p99": quantile(answers, 0.99),
        "load events/s": flow.events / flow.took_s,
        "load effects/s": len(every) / flow.took_s,
        "load p50": quantile(every, 0.5),
        "load p99": quantile(every, 0.99),
    }


# --- the journey -------------------------------------------------------------------------------------------------------


async def _journeys(made: Care, owner: Connection, model: str, patients: Sequence[str], times: int) -> dict[str, float]:
    """Reads of a short and of a long journey: by our route, and of the same rows by the same statement alone."""
    for patient, size in zip(patients, (FEW, MANY), strict=True):
        await owner.execute("delete from follow_up.journey where patient = $1", UUID(patient))
        await owner.execute(
            # The story's events in their order, again and again: each page has what every other has.
            """insert into follow_up.journey (patient, at, id, type, source, sequence, data)
               select $1, '2027-01-01Z'::timestamptz + make_interval(mins => (row_number() over (order by number, at, id))::int),
                      gen_random_uuid(), type, source, sequence, data
               from follow_up.journey, generate_series(1, $3) as number where patient = $2 order by number, at, id limit $3""",
            UUID(patient),
            UUID(model),
            size,
        )
    await owner.execute("vacuum analyze follow_up.journey")
    few, many = patients
    pages = await _pages(made, many)
    plain = await asyncpg.connect(made.servers.postgres.url(made.database), server_settings={"search_path": "follow_up"})

    async def sql(patient: str, after: Sequence[str]) -> None:
        await journey(Reader(plain), UUID(patient), after, MAX_PAGE + 1)

    async def read(path: str) -> None:
        (await made.call("psychiatrist.a", "follow_up", "GET", path)).ok()

    last = await plain.fetchrow(
        "select at, id from journey where patient = $1 order by at desc, id desc offset $2 limit 1", UUID(many), MAX_PAGE
    )
    assert last is not None
    contenders: Mapping[str, tuple[_Read, _Read]] = {
        "few": (functools.partial(read, pages.few(few)), functools.partial(sql, few, ())),
        "first": (functools.partial(read, pages.paths[0]), functools.partial(sql, many, ())),
        "last": (
            functools.partial(read, pages.paths[-1]),
            functools.partial(sql, many, (last["at"].isoformat(), str(last["id"]))),
        ),
    }
    measured = {"whole s": pages.took_s, "whole pages": float(len(pages.paths))}
    try:
        for name, (ours, theirs) in contenders.items():
            for who, one in (("ours", ours), ("sql", theirs)):
                spent = []
                for _ in range(times + 1):
                    began = time.perf_counter()
                    await one()
                    spent.append((time.perf_counter() - began) * 1000)
                measured |= {f"{name} {who} p50": quantile(spent[1:], 0.5), f"{name} {who} p99": quantile(spent[1:], 0.99)}
    finally:
        await plain.close()
    return measured


class _Pages(NamedTuple):
    paths: Sequence[str]
    took_s: float

    def few(self, patient: str) -> str:
        """The same first page of somebody else."""
        return f"/patients/{patient}/{self.paths[0].split('/', 3)[3]}"


async def _pages(made: Care, patient: str) -> _Pages:
    """Read a whole journey page by page; which pages there were, and how long it took."""
    paths, steps, began = [f"/patients/{patient}/journey?limit={MAX_PAGE}"], 0, time.perf_counter()
    while True:
        answer = await made.call("psychiatrist.a", "follow_up", "GET", paths[-1])
        steps += len(answer.ok()["steps"])
        following = answer.headers.get("Link", "")
        if not following:
            break
        paths.append(following[1 : following.index(">")])
    if steps != MANY:
        raise Void(f"{steps} events in a journey of {MANY}")
    return _Pages(paths, time.perf_counter() - began)


# --- the report --------------------------------------------------------------------------------------------------------


def _section(results: Results, patients: int, *, quick: bool) -> Section:
    def of(metric: str, digits: int = 1) -> str:
        return spread(results.of("path", metric), digits)

    def ratio(name: str, other: str) -> list[float]:
        return [a / b for a, b in zip(results.of("path", name), results.of("path", other), strict=True)]

    hops = [name.removesuffix(" n") for name in results.values["path"] if name.endswith(" n") and name != "every hop n"]
    reads = {
        "few": f"{FEW} events, the whole journey",
        "first": f"{MANY:,} events, the first page",
        "last": f"{MANY:,} events, the last page",
    }
    flat = ratio("last ours p50", "first ours p50")
    return Section(
        name="path",
        title="The whole path",
        how=(
            "The product's services, one process each, with the settings of production on 4 partitions; broker, PostgreSQL and "
            "whoever asks on the same cores. *hop*: from the commit of an event (`outbox.recorded_at`) to its effect in a service that "
            "listens to it (the instant at which that consumer's cursor moves, in the transaction of the effect; a trigger of the bench "
            "notes it). *one patient*: "
            + ("the enquiry" if quick else "the demo's story from the enquiry to the first infusion and the amended plan")
            + ", each step a public call; the next one waits until every service is quiet, and the clinic clock is moved between them. *many "
            f"patients*: {CONNECTIONS} connections register {patients:,} patients, each with a care team and a case, as fast as they are "
            "answered; an effect is one event in one consumer. *journey*: a page of 200 by our route (token, policy, audit row "
            "committed before the answer leaves) and the same statement alone on a connection of its own; rows copied from the story's by "
            "SQL. A round is void when an event has not come to everybody who listens, when anything is parked, or when the story "
            "differs from what it must come to."
        ),
        tables=[
            Table(
                ["hop", "events", "commit to effect p50 ms", "p99 ms"],
                [[name, of(f"{name} n", 0), of(f"{name} p50"), of(f"{name} p99")] for name in [*sorted(hops), "every hop"]],
                f"One patient: {of('story steps', 0)} steps, {of('story events', 0)} events in {of('story s')} s.",
            ),
            Table(
                [
                    "commands/s",
                    "answered 503 first",
                    "answer p50 / p99 ms",
                    "events/s",
                    "effects/s",
                    "commit to effect p50 ms",
                    "p99 ms",
                ],
                [
                    [
                        of("load commands/s", 0),
                        of("load refused", 0),
                        f"{of('load answer p50')} / {of('load answer p99')}",
                        of("load events/s", 0),
                        of("load effects/s", 0),
                        of("load p50"),
                        of("load p99"),
                    ]
                ],
                "Many patients at once.",
            ),
            Table(
                ["journey", "p50 ms", "p99 ms", "the statement alone: p50 ms", "x of it"],
                [
                    [
                        label,
                        of(f"{name} ours p50"),
                        of(f"{name} ours p99"),
                        of(f"{name} sql p50"),
                        spread(ratio(f"{name} ours p50", f"{name} sql p50"), 1),
                    ]
                    for name, label in reads.items()
                ],
                f"The care journey; all {MANY:,} events in {of('whole pages', 0)} pages: {of('whole s', 2)} s.",
            ),
        ],
        goals=[
            Goal(
                f"journey: the last page of {MANY:,} events <= 1.5x the first (p50)",
                f"{quantile(flat, 0.5):.2f}x",
                quantile(flat, 0.5) <= 1.5,
            )
        ],
        void=results.void,
    )
