"""Latency: from the commit of a command to the effect of its event in another process."""

import asyncio
import contextlib
import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from benchmarks.ledger import ACCOUNTS, TICK_S
from benchmarks.report import Goal, Section, Table
from benchmarks.rounds import Contender, Results, Void, quantile, spread
from benchmarks.stage import ROOT, Arena, Stage
from services.cli.stack.ports import free_ports

__all__ = ["Program", "main", "program"]

SLOW, FAST = 50, 1000


@dataclass
class Program:
    """A ledger of ``benchmarks.ledger`` as its own process."""

    popen: "subprocess.Popen[bytes]"
    url: str
    log: Path

    @property
    def process(self) -> psutil.Process:
        """For its memory and its time."""
        return psutil.Process(self.popen.pid)

    async def ready(self, within_s: float = 60.0) -> float:
        """Wait until it says so; returns when."""
        deadline = time.monotonic() + within_s
        async with aiohttp.ClientSession() as session:
            while time.monotonic() < deadline:
                if self.popen.poll() is not None:
                    raise Void(f"it ended: {self.log.read_text()[-500:]}")
                with contextlib.suppress(aiohttp.ClientError, OSError):
                    async with session.get(self.url + "/readyz") as response:
                        if response.status == 200:
                            return time.perf_counter()
                await asyncio.sleep(0.01)
        raise Void("it is not ready")

    async def ask(self, **wanted: object) -> dict[str, Any]:
        """One line in, one line out."""
        assert self.popen.stdin is not None
        assert self.popen.stdout is not None
        self.popen.stdin.write(json.dumps(wanted).encode() + b"\n")
        self.popen.stdin.flush()
        line = await asyncio.to_thread(self.popen.stdout.readline)
        if not line:
            raise Void(f"it ended: {self.log.read_text()[-500:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def metrics(self) -> dict[str, float]:
        """Every line of its metrics."""
        async with aiohttp.ClientSession() as session, session.get(self.url + "/metrics") as response:
            lines = (await response.text()).splitlines()
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        times = self.process.cpu_times()
        return times.user + times.system


@asynccontextmanager
async def program(arena: Arena, module: str, *arguments: str, **environment: str) -> AsyncIterator[Program]:
    """Start ``python -m module``; end it afterwards. Keyword arguments are more environment."""
    port = free_ports(1)[0]
    log = arena.folder / f"program-{port}.log"
    with log.open("wb") as output:
        popen = await asyncio.to_thread(
            subprocess.Popen,
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            env={**os.environ, **arena.environment(), "TELEMED_HTTP_PORT": str(port), **environment},
        )
    try:
        yield Program(popen, f"http://127.0.0.1:{port}", log)
    finally:
        assert popen.stdin is not None
        assert popen.stdout is not None
        popen.stdin.close()
        popen.stdout.close()
        popen.terminate()
        try:
            await asyncio.to_thread(popen.wait, 15)
        except subprocess.TimeoutExpired:
            popen.kill()
            await asyncio.to_thread(popen.wait)


async def main(stage: Stage) -> Section:
    """See the module."""
    seconds = {SLOW: stage.options.size(10, 1), FAST: stage.options.size(5, 1)}
    contenders: dict[str, Contender] = {}
    async with contextlib.AsyncExitStack() as stack:
        for shape in ("reaction",) if stage.options.quick else ("projection", "reaction"):
            arena = await stage.arena()
            stack.push_async_callback(arena.close)
            writer = await stack.enter_async_context(program(arena, "benchmarks.ledger", "writer"))
            reader = await stack.enter_async_context(program(arena, "benchmarks.ledger", shape))
            await reader.ready()
            scene = _Scene(arena, writer, reader)
            await scene.load(SLOW, SLOW // 2)  # until the consumer has its partitions
            for rate, length in seconds.items():
                contenders[f"{rate}/s, {shape}"] = functools.partial(scene.load, rate, rate * length)
        results = await stage.rounds(contenders)
    return _section(results, seconds)


def _section(results: Results, seconds: Mapping[int, int]) -> Section:
    def ms(name: str, metric: str) -> str:
        return spread(results.of(name, metric), 1)

    rows = [
        [
            name,
            ms(name, "p50"),
            ms(name, "p99"),
            ms(name, "max"),
            f"{ms(name, 'due p50')} / {ms(name, 'due p99')}",
            spread(results.of(name, "writer us")),
            spread(results.of(name, "consumer us")),
            spread(results.of(name, "postgres us")),
            spread(results.of(name, "broker us")),
            spread(results.of(name, "per run"), 1),
            spread(results.of(name, "per tx"), 1),
        ]
        for name in results.values
    ]
    slow, fast = f"{SLOW}/s, reaction", f"{FAST}/s, reaction"
    p50, p99, due = results.median(slow, "p50"), results.median(slow, "p99"), results.median(fast, "due p99")
    other = results.median(f"{FAST}/s, projection", "due p99")
    return Section(
        name="latency",
        title="Latency: commit to effect",
        how=(
            f"Open loop, {SLOW * seconds[SLOW]:,} events at {SLOW}/s and {FAST * seconds[FAST]:,} at {FAST}/s in each round, {ACCOUNTS} "
            "accounts, 700-byte events. A writing service process (commands, relay), a consuming service process, broker and "
            "PostgreSQL on the same cores. A command is one account row, one entry and one event; all that are due at a tick "
            f"({TICK_S * 1000:.0f} ms, or each one when it is due) are written in one transaction. Commit is `outbox.recorded_at`, effect "
            "is `effect.at`, both by the database's clock inside their transactions; *due* counts from when the command was "
            "scheduled, the writer's own queueing included. *reaction*: at most 10 events a transaction, a versioned row and an "
            "effect row for each event. *projection*: one transaction a poll. CPU is per event."
        ),
        tables=[
            Table(
                [
                    "rate, consumer",
                    "commit to effect p50 ms",
                    "p99 ms",
                    "max ms",
                    "due to effect p50 / p99 ms",
                    "writer + relay us",
                    "consumer us",
                    "PostgreSQL us",
                    "broker us",
                    "events a relay run",
                    "events a consumer transaction",
                ],
                rows,
            )
        ],
        goals=[
            Goal(f"{SLOW}/s: commit to effect p50 <= 10 ms", f"{p50:.1f} ms", p50 <= 10),
            Goal(f"{SLOW}/s: commit to effect p99 <= 30 ms", f"{p99:.1f} ms", p99 <= 30),
            Goal(
                f"{FAST}/s: due to effect p99 <= 100 ms (reaction, the harder one)",
                f"{due:.1f} ms (projection: {other:.1f})",
                due <= 100,
            ),
        ],
        void=results.void,
    )


@dataclass
class _Scene:
    arena: Arena
    writer: Program
    reader: Program
    relay_runs: float = 0.0

    async def load(self, rate: int, count: int) -> Mapping[str, float]:
        """One load, until its last effect."""
        async with self.arena.owner() as owner:
            before = await owner.fetchval("select coalesce(max(id), 0) from outbox")
            counted = await self._counters(owner)
            answer = await asyncio.wait_for(self.writer.ask(rate=rate, count=count), count / rate * 4 + 60)
            rows: list[Any] = []
            deadline = time.monotonic() + 30
            while len(rows) < count and time.monotonic() < deadline:
                await asyncio.sleep(0.2)
                rows = await owner.fetch(
                    """select o.source, o.sequence, extract(epoch from o.recorded_at)::float8 as recorded,
                              extract(epoch from e.at)::float8 as at
                       from outbox o join effect e on e.event_id = o.event_id where o.id > $1""",
                    before,
                )
            spent = {name: value - counted[name] for name, value in (await self._counters(owner)).items()}
            written = await owner.fetchval("select count(*) from outbox where id > $1", before)
        if written != count or len(rows) != count:
            raise Void(f"{count} commands, {written} events, {len(rows)} effects")
        scheduled = {(source, sequence): instant for source, sequence, instant in answer["due"]}
        ages = [(row["at"] - row["recorded"]) * 1000 for row in rows]
        waits = [(row["at"] - scheduled[row["source"], row["sequence"]]) * 1000 for row in rows]
        measured = {
            "p50": quantile(ages, 0.5),
            "p99": quantile(ages, 0.99),
            "max": max(ages),
            "due p50": quantile(waits, 0.5),
            "due p99": quantile(waits, 0.99),
            "per run": count / max(1.0, answer["relay_runs"] - self.relay_runs),
            "per tx": count / max(1.0, spent.pop("transactions")),
            **{f"{name} us": seconds / count * 1e6 for name, seconds in spent.items()},
        }
        self.relay_runs = answer["relay_runs"]
        return measured

    async def _counters(self, owner: Any) -> dict[str, float]:
        read = await self.reader.metrics()
        return {
            "transactions": sum(v for k, v in read.items() if k.startswith("telemed_consumer_batch_seconds_count")),
            "writer": self.writer.cpu(),
            "consumer": self.reader.cpu(),
            "broker": _cpu(self.arena.servers.kafka.pid),
            "postgres": await database_cpu(owner),
        }


async def database_cpu(owner: Any) -> float:
    """Seconds of processor time so far of every connection's process in the owner's database."""
    rows = await owner.fetch("select pid from pg_stat_activity where datname = current_database()")
    return sum(_cpu(row["pid"]) for row in rows)


def _cpu(pid: int) -> float:
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return times.user + times.system
