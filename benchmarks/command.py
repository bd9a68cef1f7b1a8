"""One durable command over HTTP, side by side: ours, FastAPI with SQLAlchemy, and what two bare INSERTs cost PostgreSQL."""

import asyncio
import contextlib
import functools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit
from uuid import uuid4

from benchmarks.latency import Program, database_cpu, program
from benchmarks.report import Goal, Section, Table
from benchmarks.rounds import Contender, Results, Void, quantile, spread
from benchmarks.stage import ROOT, Arena, Stage
from services.cli.stack import postgres
from services.cli.stack.ports import free_ports
from services.runtime.settings import DatabaseSettings
from services.runtime.waiting import within
from tests.support.load import NO_BROKER
from tests.support.tokens import token

__all__ = ["main"]

CONNECTIONS = (1, 16, 64)
_ACCOUNTS = 500
_PADDING = "x" * 257  # an event of about 700 bytes
_FEW, _MANY = 16, 64
_OURS, _PEER, _LIMIT = "telemed", "FastAPI + SQLAlchemy", "pgbench, two INSERTs"


@dataclass
class _Client(asyncio.Protocol):
    """One connection that asks for the next thing as soon as it has the answer to the last."""

    requests: "_Requests"
    status: bytes
    done: "asyncio.Future[None]"
    times: list[float] = field(default_factory=list)
    _buffer: bytes = b""
    _sent_at: float = 0.0
    _transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass
        self._ask()

    def _ask(self) -> None:
        assert self._transport is not None
        if time.perf_counter() >= self.requests.until:
            self._transport.close()
            if not self.done.done():
                self.done.set_result(None)
            return
        self._sent_at = time.perf_counter()
        self._transport.write(self.requests.next())

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(re.search(rb"(?i)\r\ncontent-length: (\d+)", head)[1])  # type: ignore[index] # both answer with one
        if len(rest) < length:
            return
        self.times.append(time.perf_counter() - self._sent_at)
        if head.split(b" ", 2)[1] != self.status and not self.done.done():
            self.done.set_exception(Void(f"answered {(head.split(b' ', 2)[1] + rest)[:200]!r}"))
            return
        self._buffer = b""
        self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(Void("a connection was closed"))


class _Requests:
    """What is asked for: entries for accounts in turn, each under a key of its own; or one account, read again and again."""

    def __init__(self, seconds: float, *, read: bool = False) -> None:
        self.until = time.perf_counter() + seconds
        self._read = read
        self._count = 0
        # The cost of making tokens is nobody's: a client uses one for an hour.
        self._authorization = f"Authorization: Bearer {token()}"

    def next(self) -> bytes:
        self._count += 1
        account = f"a{self._count * 7919 % _ACCOUNTS}"
        if self._read:
            return f"GET /accounts/{account} HTTP/1.1\r\nHost: bench\r\n{self._authorization}\r\n\r\n".encode()
        entry = uuid4().hex
        body = json.dumps({"account": account, "entry": entry, "amount": 1, "padding": _PADDING})
        head = (
            f"POST /entries HTTP/1.1\r\nHost: bench\r\n{self._authorization}\r\nIdempotency-Key: {entry}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return (head + body).encode()


async def _drive(url: str, connections: int, seconds: float, *, read: bool = False) -> list[float]:
    """Keep so many connections busy for so long; returns how long each answer took."""
    server = urlsplit(url)
    loop = asyncio.get_running_loop()
    requests = _Requests(seconds, read=read)
    clients = [_Client(requests, b"200" if read else b"201", loop.create_future()) for _ in range(connections)]
    for client in clients:
        await loop.create_connection(lambda client=client: client, server.hostname or "", server.port or 0)  # type: ignore[misc]
    await within(seconds + 30, asyncio.gather(*(client.done for client in clients)))
    return [took for client in clients for took in client.times]


async def _spent(arena: Arena, server: Program) -> dict[str, float]:
    """Processor time so far: of the server, of its connections in PostgreSQL, of this process, which is the client."""
    async with arena.owner() as owner:
        return {"server us": server.cpu(), "PostgreSQL us": await database_cpu(owner), "client us": time.process_time()}


async def _driven(
    arena: Arena, server: Program, connections: int, seconds: float, *, read: bool = False
) -> tuple[list[float], dict[str, float]]:
    """How long each answer took, and the figures of all of them."""
    before = await _spent(arena, server)
    times = await _drive(server.url, connections, seconds, read=read)
    spent = {name: after - before[name] for name, after in (await _spent(arena, server)).items()}
    figures = {name: took / len(times) * 1e6 for name, took in spent.items()}
    return times, {**_measured(times, seconds), **figures, "server busy %": spent["server us"] / seconds * 100}


def _measured(times: list[float], seconds: float) -> dict[str, float]:
    return {
        "per s": len(times) / seconds,
        "p50 ms": quantile(times, 0.5) * 1000,
        "p99 ms": quantile(times, 0.99) * 1000,
    }


async def _commands(arena: Arena, server: Program, connections: int, seconds: float) -> Mapping[str, float]:
    before = await _rows(arena)
    times, figures = await _driven(arena, server, connections, seconds)
    after = await _rows(arena)
    # Five rows for each answer: what is not there was not durable, whatever it was answered.
    for table, count in after.items():
        if count - before[table] != len(times):
            raise Void(f"{count - before[table]} rows of {table} for {len(times)} answers")
    return figures


async def _rows(arena: Arena) -> dict[str, int]:
    tables = {
        "entry": "entry",
        "idempotency": "idempotency where status = 201",
        "outbox": "outbox",
        "outbox_pending": "outbox_pending",
        "audit": "audit where action = 'entry.post'",
    }
    async with arena.owner() as owner:
        return {name: await owner.fetchval(f"select count(*) from {source}") for name, source in tables.items()}


async def _reads(arena: Arena, server: Program, connections: int, seconds: float) -> Mapping[str, float]:
    return (await _driven(arena, server, connections, seconds, read=True))[1]


async def _pgbench(arena: Arena, script: Path, connections: int, seconds: float) -> Mapping[str, float]:
    server = urlsplit(arena.servers.postgres.url(arena.database))
    process = await asyncio.create_subprocess_exec(
        postgres.program("pgbench"),
        *("--no-vacuum", "--protocol=prepared", f"--client={connections}", f"--jobs={min(2, connections)}"),
        *(f"--time={max(1, int(seconds))}", f"--file={script}", f"--host={server.hostname}", f"--port={server.port}"),
        *(f"--username={server.username}", arena.database),
        env={**os.environ, "PGPASSWORD": server.password or ""},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    found = re.search(rb"tps = ([0-9.]+)", output)
    latency = re.search(rb"latency average = ([0-9.]+) ms", output)
    if process.returncode or not found or not latency:
        raise Void(output.decode(errors="replace")[-300:])
    return {"per s": float(found[1]), "p50 ms": float(latency[1])}


@asynccontextmanager
async def _peer(arena: Arena, pool: int) -> AsyncIterator[Program]:
    port = free_ports(1)[0]
    log = arena.folder / f"peer-{port}.log"
    command = [sys.executable, "-m", "uvicorn", "benchmarks.command_peer:app", "--port", str(port), "--loop", "uvloop"]
    environment = {
        **os.environ,
        "PEER_DATABASE_URL": arena.url().replace("postgresql://", "postgresql+asyncpg://"),
        "PEER_POOL": str(pool),
    }
    with log.open("wb") as output:
        popen = await asyncio.to_thread(
            subprocess.Popen,
            [*command, "--no-access-log", "--log-level", "warning"],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
        )
    made = Program(popen, f"http://127.0.0.1:{port}", log)
    try:
        await made.ready()
        yield made
    finally:
        popen.terminate()
        await asyncio.to_thread(popen.wait, 15)


async def main(stage: Stage) -> Section:
    """See the module."""
    seconds = stage.options.size(5, 1)
    async with contextlib.AsyncExitStack() as stack:
        arenas = {}
        for name in (_OURS, _PEER, _LIMIT):
            arenas[name] = await stage.arena()
            stack.push_async_callback(arenas[name].close)
        for name in (_OURS, _PEER):
            async with arenas[name].owner() as owner:
                await owner.execute(
                    "insert into account select 'a' || n, 0, 1 from generate_series(0, $1::int - 1) n", _ACCOUNTS
                )
        ours = await stack.enter_async_context(program(arenas[_OURS], "benchmarks.ledger", "command", **NO_BROKER))
        await ours.ready()
        contenders: dict[str, Contender] = {}
        for count in CONNECTIONS[: stage.options.size(3, 1)]:
            contenders[f"{_OURS} {count}"] = functools.partial(_commands, arenas[_OURS], ours, count, seconds)
        contenders["audited read"] = functools.partial(_reads, arenas[_OURS], ours, _FEW, seconds)
        if not stage.options.quick:
            peer = await stack.enter_async_context(
                _peer(arenas[_PEER], DatabaseSettings.model_fields["http_connections"].default)
            )
            script = stage.folder / "two-inserts.sql"
            await asyncio.to_thread(script.write_text, _TWO_INSERTS, encoding="ascii")
            async with arenas[_LIMIT].owner() as owner:
                for table in ("bench_a", "bench_b"):
                    await owner.execute(f"create table public.{table} (id bigint generated always as identity, value text)")
            for count in CONNECTIONS:
                contenders[f"{_PEER} {count}"] = functools.partial(_commands, arenas[_PEER], peer, count, seconds)
                contenders[f"{_LIMIT} {count}"] = functools.partial(_pgbench, arenas[_LIMIT], script, count, seconds)
        results = await stage.rounds(contenders, full=3)
    return _section(results)


_TWO_INSERTS = f"""begin;
insert into public.bench_a (value) values ('{"x" * 60}');
insert into public.bench_b (value) values ('{"x" * 700}');
commit;
"""


def _section(results: Results) -> Section:
    rows = []
    for count in CONNECTIONS:
        for name in (_OURS, _PEER, _LIMIT):
            contender = f"{name} {count}"
            shown = [spread(results.of(contender, metric), digits) for metric, digits in _SHOWN]
            peer = f"{_PEER} {count}"
            against = results.ratio(contender, peer, "per s") if results.of(peer, "per s") else []
            rows.append([str(count), name, *shown[:3], spread(against, 2) if name != _PEER else "1", *shown[3:]])
    reads = [spread(results.of("audited read", metric), digits) for metric, digits in _SHOWN]
    rows.append([str(_FEW), "telemed, audited reads", *reads[:3], "-", *reads[3:]])
    faster = results.median(f"{_OURS} {_MANY}", "per s") / results.median(f"{_PEER} {_MANY}", "per s")
    tail = results.median(f"{_OURS} {_MANY}", "p99 ms") / results.median(f"{_PEER} {_MANY}", "p99 ms")
    read = results.median("audited read", "per s")
    return Section(
        name="command",
        title="Command: one durable write over HTTP",
        how=(
            "A client in a process of its own keeps so many connections busy for 5 s: each sends its next command when it has the answer "
            "to the last. A command is a request with a bearer token, validated, authorised, and five durable rows in one transaction: "
            "idempotency key with its reply, account and entry, event, pending event, audit. Both servers are one process with uvloop and "
            "connection pools of the same size; nobody publishes meanwhile. *pgbench* runs a transaction of two INSERTs on prepared "
            "statements: what PostgreSQL can do here (its p50 is the average). Rows are counted after each round. *Audited read*: 16 "
            "connections read accounts; each answer leaves when its audit row is committed."
        ),
        tables=[Table(_COLUMNS, rows)],
        goals=[
            Goal(">= 4x FastAPI + SQLAlchemy at 64 connections, plain path", f"{faster:.1f}x", faster >= _PLAIN),
            Goal(">= 8x, coalesced", f"{faster:.1f}x", faster >= _COALESCED, _busy(results, f"{_OURS} {_MANY}")),
            Goal("p99 <= 1/5 of it", f"1/{1 / tail:.1f}" if tail else "-", tail <= 1 / 5, _busy(results, f"{_OURS} {_MANY}")),
            Goal("audited reads >= 3,000/s in one process", f"{read:,.0f}/s", read >= _READS, _busy(results, "audited read")),
        ],
        void=results.void,
    )


def _busy(results: Results, contender: str) -> str:
    """Where the time goes, as measured: the server is one process, and so at most one core."""
    busy, server, database = (results.median(contender, name) for name in ("server busy %", "server us", "PostgreSQL us"))
    return (
        f"the server's one process is busy for {busy:.0f} % of a core: an answer costs it {server:,.0f} us of Python and"
        f" PostgreSQL {database:,.0f} us"
    )


_SHOWN = (
    ("per s", 0),
    ("p50 ms", 1),
    ("p99 ms", 1),
    ("server busy %", 0),
    ("server us", 0),
    ("PostgreSQL us", 0),
    ("client us", 0),
)
_COLUMNS = [
    *("connections", "contender", "answers/s", "p50 ms", "p99 ms", "x FastAPI"),
    *("server busy, % of a core", "CPU us an answer: server", "PostgreSQL", "client"),
]
_PLAIN, _COALESCED, _READS = 4, 8, 3000
