"""The parts of the stack behind one interface, so that the supervisor starts, watches and stops them alike."""

import asyncio
import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

import aiohttp

from services.cli.stack.errors import StackError
from services.cli.stack.jars import Report
from services.cli.stack.kafka import KafkaBroker, prepare
from services.cli.stack.postgres import PostgresServer
from services.cli.stack.process import Born, Child, last_line
from services.cli.stack.state import PartRecord

__all__ = ["KafkaPart", "Part", "PostgresPart", "ProgramPart", "is_ready", "python"]


class Part(ABC):
    """Something that runs: started, watched, started again when it dies, stopped."""

    def __init__(self, record: PartRecord) -> None:
        self.record = record

    @abstractmethod
    async def start(self, born: Born) -> None:
        """Start it and wait until it is ready. Also used to start it again after it has ended."""

    @abstractmethod
    async def stop(self) -> None:
        """Stop it in order and wait until it is gone; nothing happens when it does not run."""

    @abstractmethod
    def hurry(self) -> None:
        """End it at once; ``stop()`` then returns soon."""

    @property
    @abstractmethod
    def returncode(self) -> int | None:
        """None while it runs."""


class PostgresPart(Part):
    """The database server."""

    def __init__(self, record: PartRecord, data: Path) -> None:
        super().__init__(record)
        self._data = data
        self._server: PostgresServer | None = None

    @property
    def server(self) -> PostgresServer:
        """The server, once it was started."""
        if self._server is None:
            raise StackError("PostgreSQL was not started")
        return self._server

    async def start(self, born: Born) -> None:
        if self._server is None:
            self._server = await PostgresServer.start(self._data, port=self.record.port, born=born)
        else:
            await self._server.restart()

    async def stop(self) -> None:
        if self._server is not None and self._server.alive:
            await self._server.stop()

    def hurry(self) -> None:
        if self._server is not None and self._server.alive:
            self._server.send(signal.SIGQUIT)

    @property
    def returncode(self) -> int | None:
        return self._server.returncode if self._server else None


class KafkaPart(Part):
    """The broker; its jars are fetched at the first start."""

    def __init__(self, record: PartRecord, data: Path, cache: Path, controller_port: int, report: Report) -> None:
        super().__init__(record)
        self._data = data
        self._cache = cache
        self._controller_port = controller_port
        self._report = report
        self._broker: KafkaBroker | None = None

    async def start(self, born: Born) -> None:
        if self._broker is not None:
            await self._broker.restart()
            return
        await prepare(self._cache, self._report)
        self._report("starting PostgreSQL, Apache Kafka and the mail server", None)
        self._broker = await KafkaBroker.start(
            self._data, self._cache, port=self.record.port, controller_port=self._controller_port, born=born
        )

    async def stop(self) -> None:
        if self._broker is not None and self._broker.alive:
            await self._broker.stop()

    def hurry(self) -> None:
        if self._broker is not None and self._broker.alive:
            self._broker.send(signal.SIGKILL)

    @property
    def returncode(self) -> int | None:
        return self._broker.returncode if self._broker else None


class ProgramPart(Part):
    """A service, the mail sink, the video server: a program that answers 200 at its health URL when it is ready."""

    # The runtime drains for at most 10 s; a little more, so that one which uses them up is not killed at the line.
    _STOP_S = 12.0

    def __init__(self, record: PartRecord, command: Sequence[str], env: Mapping[str, str], timeout_s: float) -> None:
        super().__init__(record)
        self._command = list(command)
        self._env = dict(env)
        self._timeout_s = timeout_s
        self._child: Child | None = None

    async def start(self, born: Born) -> None:
        log = Path(self.record.log)
        self._child = await Child.start(self._command, log=log, env=self._env, born=born)
        try:
            async with asyncio.timeout(self._timeout_s):
                while not await is_ready(self.record.health):
                    if self._child.returncode is not None:
                        raise StackError(f"{self.record.name} ended while it started: {last_line(log)}")
                    await asyncio.sleep(0.05)
        except TimeoutError:
            await self.stop()
            raise StackError(
                f"{self.record.name} is not ready after {self._timeout_s:.0f} s: {last_line(log)} (log: {log})"
            ) from None
        except asyncio.CancelledError:
            await self.stop()
            raise

    async def stop(self) -> None:
        if self._child is not None and self._child.returncode is None:
            await self._child.stop(timeout_s=self._STOP_S)

    def hurry(self) -> None:
        if self._child is not None and self._child.returncode is None:
            self._child.send(signal.SIGKILL)

    @property
    def returncode(self) -> int | None:
        return self._child.returncode if self._child else None


def python(module: str, *arguments: str) -> list[str]:
    """How to run a module of ours."""
    return [sys.executable, "-m", module, *arguments]


async def is_ready(url: str) -> bool:
    """Whether a health URL answers 200."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session,
            session.get(url, allow_redirects=False) as response,
        ):
            return response.status == 200
    except (aiohttp.ClientError, OSError, TimeoutError):
        return False
