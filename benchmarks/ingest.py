"""A monitor's samples: how many a second, how soon they are answered, how many chairs one process holds.

The service is the real one, behind its own edge; the sessions are copies of one that was started by public calls.
"""

import asyncio
import datetime as dt
import functools
import itertools
import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import psutil

from benchmarks.latency import database_cpu
from benchmarks.report import Goal, Section, Table
from benchmarks.rounds import Results, Void, median, quantile, spread
from benchmarks.stage import Stage
from services.runtime.database import Connection
from tests.support.chair import Chair
from tests.support.room import room
from tests.support.world import SHORT

__all__ = ["main"]

_OURS, _INSERTS, _COPY = "telemed over HTTP", "one INSERT per sample", "COPY, duplicates dropped"
_BATCH, _HOURS_S = 600, 7200
_SESSIONS, _ANSWER_MS, _ALERT_MS = 500, 50.0, 250.0
_CONNECTIONS = 32
_RED_S = 5
"""How long a saturation of 90 % in a stream takes to be RED; each monitor of a load shows one for ten."""
_COLUMNS = ("session", "device", "seq", "at", "recorded_at", "heart_rate", "resp_rate", "spo2", "origin")
_PLAIN = """create table public.{name} (session uuid, device text, seq bigint, at timestamptz, recorded_at timestamptz,
                heart_rate integer, resp_rate integer, spo2 integer, origin text, primary key (session, device, seq));
            create index on public.{name} (session, device, at)"""


@dataclass
class _Room:
    """The service with one started session.

    Attributes:
        shift: of the clinic clock before the real one.
    """

    chair: Chair
    owner: Connection
    shift: dt.timedelta
    head: str
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def now(self) -> dt.datetime:
        return dt.datetime.now(dt.UTC) + self.shift

    async def spent(self) -> tuple[float, float]:
        """Seconds of processor time so far: of the service, and of PostgreSQL for it."""
        times = self._process.cpu_times()
        return times.user + times.system, await database_cpu(self.owner)

    async def close(self, sessions: Sequence[UUID]) -> None:
        """Nothing more is due in them."""
        await self.owner.execute("update session set state = 'closed' where id = any($1)", sessions)

    async def sessions(self, count: int, started: dt.timedelta) -> list[tuple[UUID, str]]:
        """More sessions like it, each with a patient, a nurse and a monitor of its own, that have been running for some time."""
        rows = await self.owner.fetch(
            """insert into session select made.* from session s, generate_series(1, $2::int) n,
               jsonb_populate_record(null::session, to_jsonb(s) || jsonb_build_object(
                   'id', gen_random_uuid(), 'patient', gen_random_uuid(), 'nurse', gen_random_uuid(),
                   'device', 'bench-' || $3::int || '-' || n, 'checked_in_at', $4::timestamptz - interval '30 min',
                   'started_at', $4::timestamptz, 'moved_at', $4::timestamptz, 'version', 1)) made
               where s.id = $1 returning id, device""",
            UUID(self.chair.id),
            count,
            next(self._numbers),
            self.now - started,
        )
        return [(row["id"], row["device"]) for row in rows]

    def request(self, session: UUID, body: Mapping[str, Any]) -> bytes:
        """A batch as it goes over the wire."""
        content = json.dumps(body).encode()
        return (
            f"POST /sessions/{session}/samples HTTP/1.1\r\n{self.head}Content-Length: {len(content)}\r\n\r\n".encode() + content
        )

    @asynccontextmanager
    async def wire(self) -> "AsyncIterator[_Wire]":
        """A connection to the service."""
        server = urlsplit(self.chair.care.running["session_logging"].url)
        reader, writer = await asyncio.open_connection(server.hostname, server.port)
        try:
            yield _Wire(reader, writer)
        finally:
            writer.close()

    @property
    def _process(self) -> psutil.Process:
        return psutil.Process(self.chair.care.running["session_logging"].popen.pid)

    def memory(self) -> float:
        """Resident memory of the service, MB."""
        return float(self._process.memory_info().rss) / 2**20


@dataclass
class _Wire:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, request: bytes, accepted: int) -> None:
        """Send a batch; all of it has to be taken."""
        self.writer.write(request)
        head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length: ")[2].split(b"\r\n", 1)[0])
        body = await self.reader.readexactly(length)
        if not head.startswith(b"http/1.1 200") or len(json.loads(body)["accepted"]) != accepted:
            raise Void(f"answered {(head[9:12] + b' ' + body)[:200]!r}")


@asynccontextmanager
async def _opened(stage: Stage) -> AsyncIterator[_Room]:
    folder = stage.folder / "ingest"
    await asyncio.to_thread(folder.mkdir)
    async with room(await stage.servers(), folder, sessions=1) as (chair,):
        await chair.start()
        made = chair.care
        await made.running["session_logging"].kill()
        for name in SHORT:  # the timings of production
            del made.environment[name]
        await made.spawn("session_logging")
        bearer = made.bearer("integration.a")["Authorization"]
        head = f"Host: bench\r\nAuthorization: {bearer}\r\nContent-Type: application/json\r\n"
        async with made.owner("session_logging") as owner:
            clinic = await owner.fetchval("select runtime.clinic_now()")
            yield _Room(chair, owner, clinic - dt.datetime.now(dt.UTC), head)


def _sample(seq: int, at: dt.datetime, spo2: int = 98) -> dict[str, Any]:
    return {"seq": seq, "at": at.isoformat(), "heart_rate": 70 + seq % 9, "resp_rate": 14, "spo2": spo2}


async def main(stage: Stage) -> Section:
    """See the module."""
    async with _opened(stage) as made:
        for name in ("bench_insert", "bench_copy"):
            await made.owner.execute(_PLAIN.format(name=name))
        count = stage.options.size(_HOURS_S, 2 * _BATCH)
        results = await stage.rounds(
            {
                _OURS: functools.partial(_ours, made, count),
                _INSERTS: functools.partial(_inserts, made, stage.options.size(2000, 200)),
                _COPY: functools.partial(_copy, made, count),
            },
            full=3,
        )
        loads = await _loads(made, stage)
    return _section(results, loads, count)


# --- one session, as fast as it goes ------------------------------------------------------------------------------------


async def _ours(made: _Room, count: int) -> Mapping[str, float]:
    """A monitor that was cut off sends hours at once, batch after batch on one connection; then a block that it had missed."""
    [(session, device)] = await made.sessions(1, dt.timedelta(seconds=count + 60))
    start = made.now - dt.timedelta(seconds=count + 50)
    batches = []
    for first in range(1, count + 1, _BATCH):
        samples = [_sample(seq, start + dt.timedelta(seconds=seq)) for seq in range(first, first + _BATCH)]
        batches.append(made.request(session, {"device": device, "samples": samples}))
    late = [_sample(count + seq, start + dt.timedelta(seconds=300.5 + seq)) for seq in range(1, 61)]
    times = []
    async with made.wire() as wire:
        # What the silence before has raised is not the batches' to write.
        await wire.ask(made.request(session, {"device": device, "samples": [_sample(0, start)]}), 1)
        before = await made.spent()
        for batch in batches:
            sent = time.perf_counter()
            await wire.ask(batch, _BATCH)
            times.append(time.perf_counter() - sent)
        server, database = (now - then for now, then in zip(await made.spent(), before, strict=True))
        sent = time.perf_counter()
        await wire.ask(made.request(session, {"device": device, "samples": late}), len(late))
        late_ms = (time.perf_counter() - sent) * 1000
    await made.close([session])
    kept = await made.owner.fetchval("select count(*) from sample where session = $1", session)
    if kept != count + 1 + len(late):
        raise Void(f"{kept} samples are kept of {count + 1 + len(late)}")
    return {
        "per s": count / sum(times),
        "first ms": times[0] * 1000,
        "last ms": times[-1] * 1000,
        "late ms": late_ms,
        "server us": server / count * 1e6,
        "PostgreSQL us": database / count * 1e6,
    }


async def _inserts(made: _Room, count: int) -> Mapping[str, float]:
    insert = await made.owner.prepare(
        "insert into public.bench_insert values ($1,$2,$3,$4,$5,$6,$7,$8,$9) on conflict do nothing"
    )
    rows = _plain_rows(made, count)
    began = time.perf_counter()
    for row in rows:
        await insert.fetch(*row)
    took = time.perf_counter() - began
    await _counted(made, "bench_insert", rows)
    return {"per s": count / took}


async def _copy(made: _Room, count: int) -> Mapping[str, float]:
    rows = _plain_rows(made, count)
    began = time.perf_counter()
    for first in range(0, count, _BATCH):
        async with made.owner.transaction():
            await made.owner.execute("create temp table staged (like public.bench_copy) on commit drop")
            await made.owner.copy_records_to_table("staged", records=rows[first : first + _BATCH], columns=_COLUMNS)
            await made.owner.execute("insert into public.bench_copy select * from staged on conflict do nothing")
    took = time.perf_counter() - began
    await _counted(made, "bench_copy", rows)
    return {"per s": count / took}


def _plain_rows(made: _Room, count: int) -> list[tuple[Any, ...]]:
    session, start = UUID(int=next(made._numbers)), made.now
    instants = [start + dt.timedelta(seconds=seq) for seq in range(count)]
    return [(session, "monitor-1", seq, at, start, 70 + seq % 9, 14, 98, None) for seq, at in enumerate(instants)]


async def _counted(made: _Room, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
    kept = await made.owner.fetchval(f"select count(*) from public.{table} where session = $1", rows[0][0])
    if kept != len(rows):
        raise Void(f"{kept} rows of {len(rows)} in {table}")


# --- many sessions, as fast as they measure -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Load:
    """What came of a load.

    Attributes:
        every: seconds of samples in a batch.
        answers: ms from when each batch was due to its answer.
        alerts: the same of the batches whose commit raised an alert: by then its row is there.
        busy: of the service, % of a core; ``database`` likewise.
        memory: of the service before and after, MB.
        behind: broken off, because batches were seconds late.
    """

    sessions: int
    every: int
    answers: Sequence[float]
    alerts: Sequence[float]
    busy: float
    database: float
    memory: tuple[float, float]
    behind: bool

    @property
    def holds(self) -> bool:
        """Whether the bounds do."""
        in_time = quantile(self.answers, 0.99) <= _ANSWER_MS and quantile(self.alerts, 0.99) <= _ALERT_MS
        return in_time and not self.behind

    def row(self) -> list[str]:
        """As the table shows it."""
        return [
            f"{self.sessions:,}",
            f"{self.every} s",
            f"{self.sessions / self.every:,.0f}",
            *(f"{quantile(self.answers, share):,.1f}" for share in (0.5, 0.99)),
            f"{max(self.answers):,.0f}",
            "broken off" if self.behind else f"{quantile(self.alerts, 0.99):,.1f}",
            f"{self.busy:.0f}",
            f"{self.database:.0f}",
            f"{self.memory[0]:.0f} - {self.memory[1]:.0f}",
        ]


async def _loads(made: _Room, stage: Stage) -> list[_Load]:
    """The wanted number of sessions; then more of them, or fewer, to where the bounds begin to hold."""
    if stage.options.quick:
        return [await _load(made, stage, 3, 1, 9)]
    done = [await _load(made, stage, _SESSIONS, 5, 60), await _load(made, stage, _SESSIONS, 1, 15)]
    for sessions in (750, 1000, 1250) if done[0].holds else (375, 250, 125):
        done.append(await _load(made, stage, sessions, 5, 25))
        if done[-1].holds != done[0].holds:
            break
    for sessions in (50, 100, 150, 200, 300):
        done.append(await _load(made, stage, sessions, 1, 15))
        if not done[-1].holds:
            break
    return done


async def _load(made: _Room, stage: Stage, count: int, every: int, seconds: int) -> _Load:
    """Each monitor measures once a second and sends what it has every so many seconds, each in its own turn."""
    sessions = await made.sessions(count, dt.timedelta(seconds=1))
    queue: asyncio.Queue[tuple[float, bytes, bool]] = asyncio.Queue()
    answers: list[float] = []
    alerts: list[float] = []
    red = range(2 * every, 2 * every + 10)
    behind = False

    async def send() -> None:
        async with made.wire() as wire:
            while True:
                due, request, raises = await queue.get()
                await wire.ask(request, every)
                answers.append((time.perf_counter() - due) * 1000)
                if raises:
                    alerts.append(answers[-1])
                queue.task_done()

    async with asyncio.TaskGroup() as group:
        senders = [group.create_task(send()) for _ in range(min(_CONNECTIONS, count))]
        memory, spent = made.memory(), await made.spent()
        began, clinic = time.perf_counter(), made.now
        # Nothing is sent in the first turn: the monitors begin to measure in it, one after the other.
        for turn, (place, (session, device)) in itertools.product(range(1, seconds // every), enumerate(sessions)):
            due = (turn + place / count) * every
            await asyncio.sleep(max(0.0, began + due - time.perf_counter()))
            behind = time.perf_counter() > began + due + 5 or queue.qsize() > 5 * count
            if behind:
                break
            first, at = turn * every, clinic + dt.timedelta(seconds=due - every + 1)
            samples = [
                _sample(first + second, at + dt.timedelta(seconds=second), 90 if first + second in red else 98)
                for second in range(every)
            ]
            request = made.request(session, {"device": device, "samples": samples})
            queue.put_nowait((began + due, request, first <= red.start + _RED_S < first + every))
        await queue.join()
        took = time.perf_counter() - began
        busy, database = ((after - before) / took * 100 for after, before in zip(await made.spent(), spent, strict=True))
        for sender in senders:
            sender.cancel()
    ids = [session for session, _ in sessions]
    raised = await made.owner.fetchval("select count(*) from alert where session = any($1) and family = 'spo2_low'", ids)
    await made.close(ids)
    if raised != len(alerts) or (raised != count and not behind):
        raise Void(f"{raised} alerts of {count} sessions, {len(alerts)} awaited")
    done = _Load(count, every, answers, alerts, busy, database, (memory, made.memory()), behind)
    stage.say(" | ".join(done.row()))
    return done


# --- the report ---------------------------------------------------------------------------------------------------------


def _section(results: Results, loads: Sequence[_Load], count: int) -> Section:
    rows = [
        [name, spread(results.of(name, "per s")), spread(results.ratio(name, _INSERTS, "per s"), 1),
         spread(results.ratio(name, _COPY, "per s"), 2)]
        for name in (_OURS, _INSERTS, _COPY)
    ]  # fmt: skip
    figures = [
        (f"the first batch of {_BATCH}", "first ms"),
        (f"the last one, behind {count - _BATCH:,} samples", "last ms"),
        (f"60 calm samples that come late, among {count:,}", "late ms"),
    ]
    by_inserts, by_copy = (median(results.ratio(_OURS, other, "per s")) for other in (_INSERTS, _COPY))
    server, database = (results.median(_OURS, f"{who} us") for who in ("server", "PostgreSQL"))
    cost = f"a sample costs the service {server:.0f} us of Python (its HTTP body, its judgement, the fold, its row) and PostgreSQL {database:.0f} us"
    wanted = [load for load in loads if load.sessions == _SESSIONS]
    grown = max((load.memory[1] - load.memory[0] for load in loads), default=0.0)
    return Section(
        name="ingest",
        title="Ingest: samples of monitors",
        how=(
            f"*One session*: two hours of a monitor that was cut off, {count:,} samples in batches of {_BATCH} on one connection, through "
            "the edge of the real service: token, validation, each row judged, duplicates known, the signed rules folded, alerts, audit, "
            "summary event, one transaction a batch. *INSERT*: a prepared statement and a commit for each sample, on one connection. "
            f"*COPY*: {_BATCH} at a time into a temporary table and from there with `on conflict do nothing`, a commit each; both into the "
            "same columns and keys, and neither judges anything. *Many sessions*: one service process with its relay, broker, PostgreSQL and "
            f"the load on the same cores, {_CONNECTIONS} connections; each monitor measures once a second and sends its batch in its own turn; "
            "each has one desaturation that is RED. Times count from when a batch was due: what a monitor "
            "keeps until it sends comes on top. The row of an alert is there when the batch that raises it is answered, for both are one commit. Processor time is % of a core; PostgreSQL's is of the connections that lived through the load, so it may be too low."
        ),
        tables=[
            Table(["contender", "samples/s", "x INSERT", "x COPY"], rows, "One session, as fast as it goes."),
            Table(["a batch", "answered after ms"], [[what, spread(results.of(_OURS, name), 0)] for what, name in figures]),
            Table(
                [
                    "sessions",
                    "a batch every",
                    "batches/s",
                    "answer p50 ms",
                    "p99 ms",
                    "max ms",
                    "alert row p99 ms",
                    "service %",
                    "PostgreSQL %",
                    "service MB",
                ],
                [load.row() for load in loads],
                "Many sessions, as fast as they measure.",
            ),
        ],
        goals=[
            Goal(">= 20x one INSERT per sample", f"{by_inserts:.1f}x", by_inserts >= 20, cost),
            Goal(">= 0.6x COPY with duplicates dropped", f"{by_copy:.2f}x", by_copy >= 0.6, cost),
            *(
                Goal(
                    f"{_SESSIONS} sessions at 1 Hz, a batch every {load.every} s: answer p99 <= {_ANSWER_MS:.0f} ms, alert row p99 <="
                    f" {_ALERT_MS:.0f} ms",
                    f"{quantile(load.answers, 0.99):,.0f} ms, {quantile(load.alerts, 0.99):,.0f} ms",
                    load.holds,
                    f"{load.sessions / load.every:,.0f} batches a second want more than the one process (busy {load.busy:.0f} % of a core) "
                    f"and PostgreSQL ({load.database:.0f} %) have of two cores beside the load",
                )
                for load in wanted
            ),
            Goal("memory flat: at most 10 MB more after any load", f"{grown:.0f} MB", grown <= 10),
        ],
        notes=[
            f"the largest number that held both bounds, of those tried, with a batch every {every} s: "
            f"{max((load.sessions for load in loads if load.every == every and load.holds), default=0):,} sessions"
            for every in sorted({load.every for load in loads})
        ],
        void=results.void,
    )
