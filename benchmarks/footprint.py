"""Footprint: how long a start takes, and what an idle process costs."""

import asyncio
import contextlib
import functools
import os
import random
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

from benchmarks.latency import Program, program
from benchmarks.report import Goal, Section, Table
from benchmarks.rounds import Contender, Results, Void, median, spread
from benchmarks.stage import ROOT, Arena, Stage
from services.cli.stack.ports import is_open
from services.cli.stack.settings import StackSettings
from services.cli.stack.state import Home
from tests.support.ledger.app import SERVICE

__all__ = ["main"]

_LEDGER = "tests.support.ledger"
_MB = 1024 * 1024


async def main(stage: Stage) -> Section:
    """See the module."""
    stack = _LocalStack(stage.folder / "home")
    arena = await stage.arena()
    idle_s = stage.options.size(30, 1)
    try:
        idle = [await _idle(arena, idle_s) for _ in range(stage.options.size(3, 1))]
        contenders: dict[str, Contender] = {"service": functools.partial(_start, arena)}
        if not stage.options.quick:  # the end-to-end tests start the stack
            contenders["telemed up"] = stack.up
        results = await stage.rounds(contenders)
    finally:
        await stack.down()
        await arena.close()
    return _section(results, idle, idle_s)


def _section(results: Results, idle: list[Mapping[str, float]], idle_s: int) -> Section:
    def of(metric: str) -> list[float]:
        return [one[metric] for one in idle]

    up, broker, rss = results.median("telemed up", "s"), results.median("telemed up", "broker MB"), median(of("rss MB"))
    return Section(
        name="footprint",
        title="Footprint: starts and idle costs",
        how=(
            "*telemed up*: the command itself, on data of an earlier start, until it returns (`--detach`) with PostgreSQL, Kafka, mail "
            "and the tests' ledger ready. *service*: `python -m` of the ledger (two consumers, timers, relay, HTTP) until `/readyz` "
            f"answers 200, and what it holds and uses when {idle_s} s have passed without any work."
        ),
        tables=[
            Table(
                ["what", "measured"],
                [
                    ["`telemed up`, second start to ready", spread(results.of("telemed up", "s"), 1) + " s"],
                    ["broker after that start: resident", spread(results.of("telemed up", "broker MB")) + " MB"],
                    ["service: start to ready", spread(results.of("service", "s"), 2) + " s"],
                    ["service, idle: resident", spread(of("rss MB"), 1) + " MB"],
                    ["service, idle: of its own (unique)", spread(of("uss MB"), 1) + " MB"],
                    ["service, idle: processor time", spread(of("cpu %"), 2) + " % of a core"],
                ],
            )
        ],
        goals=[
            Goal("`telemed up`, second start <= 12 s", f"{up:.1f} s", up <= 12),
            Goal("broker <= 200 MB", f"{broker:.0f} MB", broker <= 200),
            Goal("idle service <= 90 MB", f"{rss:.1f} MB", rss <= 90),
        ],
        void=results.void,
    )


async def _start(arena: Arena) -> Mapping[str, float]:
    started = time.perf_counter()
    async with program(arena, _LEDGER) as running:
        return {"s": await running.ready() - started}


async def _idle(arena: Arena, seconds: int) -> Mapping[str, float]:
    async with program(arena, _LEDGER) as running:
        await running.ready()
        await asyncio.sleep(seconds / 3)
        cpu, since = running.cpu(), time.perf_counter()
        await asyncio.sleep(seconds * 2 / 3)
        used = (running.cpu() - cpu) / (time.perf_counter() - since)
        memory = _memory(running)
        return {"rss MB": memory.rss / _MB, "uss MB": memory.uss / _MB, "cpu %": used * 100}


def _memory(running: Program) -> "psutil._ntuples.pfullmem":
    return running.process.memory_full_info()


class _LocalStack:
    """``telemed`` as one types it, with its ports moved out of everybody's way."""

    def __init__(self, home: Path) -> None:
        self.home = home
        settings = StackSettings()
        ports = [
            settings.postgres_port,
            settings.kafka_port,
            settings.kafka_controller_port,
            settings.smtp_port,
            settings.mail_port,
        ]
        ports.append(SERVICE.port)
        while True:
            self.offset = random.randrange(100, 9_000)
            if not any(is_open(port + self.offset) for port in ports):
                break

    async def up(self) -> Mapping[str, float]:
        """Start, look, stop."""
        started = time.perf_counter()
        await self._telemed("up", "--detach", "--port-offset", str(self.offset))
        took = time.perf_counter() - started
        try:
            record = Home(self.home).read()
            if record is None or record.phase != "ready":
                raise Void("it says that it is not ready")
            broker = next(part for part in record.parts if part.name == "kafka")
            return {"s": took, "broker MB": psutil.Process(broker.pid).memory_info().rss / _MB}
        finally:
            await self.down()

    async def down(self) -> None:
        """Stop it if it runs."""
        if self.home.exists():
            await self._telemed("down")

    async def _telemed(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "services.cli.main", "--home", str(self.home), *arguments]
        done = await asyncio.to_thread(
            subprocess.run,
            command,
            cwd=ROOT,
            env={**os.environ, "TELEMED_SERVICES": _LEDGER},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        if done.returncode:
            with contextlib.suppress(IndexError):
                raise Void(done.stderr.strip().splitlines()[-1])
            raise Void(f"exit code {done.returncode}")
