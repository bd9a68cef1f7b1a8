"""One test's world: its own database and topics on the shared servers, and ledger services as real processes."""

import asyncio
import contextlib
import json
import os
import secrets
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import psutil
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from services.runtime.messaging import kafka as clients
from services.runtime.messaging import topics
from services.runtime.messaging.relay import HEARTBEAT_HEADER
from services.runtime.service import Service
from services.runtime.settings import (
    AuditSettings,
    DatabaseSettings,
    HttpSettings,
    KafkaSettings,
    MessagingSettings,
    OidcSettings,
    ProcessSettings,
    ServiceSettings,
    SmtpSettings,
)
from tests.support.ledger.app import SERVICE
from tests.support.program import Program
from tests.support.servers import LEDGER_PASSWORD, TEMPLATE, Servers
from tests.support.tokens import bearer
from tests.support.waiting import eventually

__all__ = ["PARTITIONS", "Process", "Reply", "World", "drop_topics", "dump", "make_world"]

PARTITIONS = 4
ROOT = Path(__file__).parents[2]

SHORT = {
    "TELEMED_MESSAGING_HEARTBEAT_S": "0.5",
    "TELEMED_MESSAGING_POLL_S": "0.25",
    "TELEMED_MESSAGING_SEND_TIMEOUT_S": "3",
    "TELEMED_MESSAGING_GAP_ALARM_S": "1",
    "TELEMED_MESSAGING_WATCHDOG_S": "5",
    "TELEMED_MESSAGING_PARK_FIRST_RETRY_S": "0.2",
    "TELEMED_MESSAGING_PARK_MAX_RETRY_S": "2",
    "TELEMED_MESSAGING_LEASE_S": "2",
    "TELEMED_KAFKA_SESSION_TIMEOUT_S": "6",
}
"""Real-time settings of CI. Clinical intervals are never shortened: for those the clinic clock is moved."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the service answered; status 0 when the connection broke: the outcome is unknown."""

    status: int
    body: Any = None


@dataclass
class Process:
    """A ledger service as its own process."""

    popen: Program
    log: Path
    failpoint_log: Path
    memory_when_ready: int = 0

    @property
    def port(self) -> int:
        """Where it listens, as it has told; 0 until it has.

        It takes whichever is free: of two that are started at once with ports that were looked up before, one would find its
        own taken, and whoever asks it would be answered by the other.
        """
        told = (json.loads(line)["port"] for line in self.log.read_text().splitlines() if '"event": "ready"' in line)
        return next(told, 0)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def send(self, number: signal.Signals) -> None:
        """Send our own child a signal."""
        self.popen.send_signal(number)

    async def ended(self, within_s: float = 20.0) -> int:
        """Wait for its end; returns the exit code (negative: the signal that ended it)."""
        return await asyncio.wait_for(asyncio.to_thread(self.popen.wait), within_s)

    async def kill(self) -> None:
        """kill -9."""
        self.send(signal.SIGKILL)
        await self.ended()

    def fired(self) -> list[str]:
        """Failpoints that have fired in this process, in order."""
        if not self.failpoint_log.exists():
            return []
        return [line.split()[1] for line in self.failpoint_log.read_text().splitlines()]

    async def ready(self, within_s: float = 120.0) -> "Process":
        """Wait until it says so."""
        async with aiohttp.ClientSession() as session:

            async def is_ready() -> bool:
                self._still_runs()
                if not self.port:
                    return False
                with contextlib.suppress(aiohttp.ClientError, OSError):
                    async with session.get(f"{self.url}/readyz") as response:
                        return response.status == 200
                return False

            await eventually(is_ready, within_s=within_s, what="ready")
        self.memory_when_ready = self.memory_when_ready or self.memory
        return self

    @property
    def memory(self) -> int:
        """Bytes that it holds of the machine's memory."""
        return int(psutil.Process(self.popen.pid).memory_info().rss)

    @property
    def _tasks(self) -> Path:
        return self.failpoint_log.with_suffix(".tasks")

    async def tasks(self) -> list[str]:
        """What its event loop has in hand: the coroutine of each task, by name."""
        self._tasks.unlink(missing_ok=True)
        self.send(signal.SIGUSR1)

        async def told() -> bool:
            return self._tasks.exists()

        await eventually(told, what="it tells its tasks")
        return self._tasks.read_text(encoding="ascii").splitlines()

    def _still_runs(self) -> None:
        if self.popen.poll() is not None:
            raise AssertionError(f"it ended with {self.popen.returncode}: {self.log.read_text()[-2000:]}")

    async def get(self, path: str) -> tuple[int, str]:
        """A plain GET."""
        try:
            async with aiohttp.ClientSession() as session, session.get(self.url + path) as response:
                return response.status, await response.text()
        except aiohttp.ClientError:
            self._still_runs()
            raise

    async def metric(self, line_start: str) -> float:
        """Value of a metric's line, 0 if there is none."""
        _, text = await self.get("/metrics")
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(line_start))


@dataclass
class World:
    """See the module."""

    servers: Servers
    database: str
    prefix: str
    folder: Path
    kafka: KafkaSettings
    environment: dict[str, str]
    processes: list[Process] = field(default_factory=list)

    # --- the service -----------------------------------------------------------------------------------------------

    # ``wait`` is no bool for mypy, which would then refuse a whole environment given as ``**dict``.
    async def spawn(self, *, wait: object = True, failpoints: str = "", **environment: str) -> Process:
        """Start a ledger process. Keyword arguments are more environment."""
        number = len(self.processes)
        log, failpoint_log = self.folder / f"ledger-{number}.log", self.folder / f"failpoints-{number}.log"
        variables = {
            **_inherited(),
            **self.environment,
            "TELEMED_HTTP_PORT": "0",
            "TELEMED_FAILPOINTS": failpoints,
            "TELEMED_FAILPOINT_LOG": str(failpoint_log),
            "LEDGER_TASKS": str(failpoint_log.with_suffix(".tasks")),
            **environment,
        }
        popen = await asyncio.to_thread(self.servers.launch, ["tests.support.ledger"], log, variables)
        process = Process(popen, log, failpoint_log)
        self.processes.append(process)
        return await process.ready() if wait else process

    async def post(self, process: Process, entry: str, account: str, amount: int = 1, **more: object) -> Reply:
        """Post an entry under its own idempotency key. A broken connection is an answer too: unknown."""
        body = json.dumps({"account": account, "entry": entry, "amount": amount, **more})
        return await self.call(process, "/entries", body, key=entry)

    async def call(self, process: Process, path: str, body: str, *, key: str = "") -> Reply:
        """POST some JSON, as a nurse."""
        headers = {**bearer(), "Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session,
                session.post(process.url + path, data=body, headers=headers) as response,
            ):
                text = await response.text()
                return Reply(response.status, json.loads(text) if text.startswith("{") else text)
        except (aiohttp.ClientError, OSError, TimeoutError):
            return Reply(0)

    async def set_timer(self, process: Process, **wanted: object) -> Reply:
        """Set a timer through the service."""
        return await self.call(process, "/timers", json.dumps(wanted))

    # --- looking at it from outside --------------------------------------------------------------------------------

    @asynccontextmanager
    async def owner(self) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
        """A connection as the database's owner."""
        connection = await asyncpg.connect(
            self.servers.postgres.url(self.database), server_settings={"search_path": "ledger, runtime"}
        )
        try:
            yield connection
        finally:
            await connection.close()

    async def value(self, query: str, *args: object) -> Any:
        """First value of a query, as the owner."""
        async with self.owner() as connection:
            return await connection.fetchval(query, *args)

    async def rows(self, query: str, *args: object) -> list[asyncpg.Record]:
        """Rows of a query, as the owner."""
        async with self.owner() as connection:
            return await connection.fetch(query, *args)

    async def advance(self, seconds: float) -> None:
        """Move the clinic clock."""
        async with self.owner() as connection:
            await connection.execute("update clinic_clock set shift = shift + make_interval(secs => $1)", seconds)

    @property
    def topic(self) -> str:
        """The ledger's live topic."""
        return SERVICE.topic(self.prefix)

    async def dump(self, topic: str | None = None) -> list[ConsumerRecord[bytes, bytes]]:
        """Every record of a topic by partition and offset, heartbeats left out."""
        return await dump(self.kafka, topic or self.topic)

    async def produce(
        self, value: bytes | None, *, key: bytes | None = None, headers: Mapping[str, bytes] | None = None, topic: str = ""
    ) -> None:
        """Put a raw record on a topic, past everything of ours."""
        producer = clients.producer(self.kafka, "raw")
        await producer.start()
        try:
            await producer.send_and_wait(topic or self.topic, value=value, key=key, headers=list((headers or {}).items()))
        finally:
            await producer.stop()

    def settings(self, **messaging: float) -> ServiceSettings:
        """Settings of a service that runs inside the test process."""
        environment = {**self.environment, "TELEMED_HTTP_PORT": "0"}
        with _environ(environment):
            return ServiceSettings(
                ProcessSettings(),
                DatabaseSettings(),
                self.kafka,
                SmtpSettings(),
                HttpSettings(),
                MessagingSettings(**messaging),  # type: ignore[arg-type]
                OidcSettings(),
                AuditSettings(),
            )

    async def settled(self, entries: int, *, within_s: float = 60.0) -> None:
        """Wait until everything committed is published and applied by both consumers."""

        async def done() -> bool:
            row = await self.rows(
                """select (select count(*) from entry) as entries, (select count(*) from outbox_pending) as pending,
                          (select count(*) from effect) as effects, (select coalesce(sum(total), 0) from total) as total,
                          (select coalesce(sum(amount), 0) from entry) as sum"""
            )
            last = dict(row[0])
            return bool(
                last["entries"] >= entries
                and not last["pending"]
                and last["effects"] >= last["entries"]
                and last["total"] == last["sum"]
            )

        await eventually(done, within_s=within_s, what=f"{entries} entries settled")

    async def close(self) -> None:
        """End every process, drop the database and the topics."""
        for process in self.processes:
            if process.popen.poll() is None:
                process.send(signal.SIGCONT)
                process.send(signal.SIGKILL)
            await process.ended()
        async with contextlib.AsyncExitStack() as stack:
            connection = await asyncpg.connect(self.servers.postgres.url())
            stack.push_async_callback(connection.close)
            await connection.execute(f"drop database if exists {self.database} with (force)")
        await drop_topics(self.kafka, [SERVICE])


async def dump(kafka: KafkaSettings, topic: str) -> list[ConsumerRecord[bytes, bytes]]:
    """Every record of a topic by partition and offset, heartbeats left out."""
    consumer: AIOKafkaConsumer = clients.consumer(kafka, "dump", None, poll_records=5000)
    await consumer.start()
    found: list[ConsumerRecord[bytes, bytes]] = []
    try:
        partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        for partition in partitions:
            consumer.seek(partition, 0)
        while sum([await consumer.position(partition) for partition in partitions]) < sum(ends.values()):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found += records
    finally:
        await consumer.stop()
    found.sort(key=lambda record: (record.partition, record.offset))
    return [record for record in found if HEARTBEAT_HEADER not in dict(record.headers)]


async def drop_topics(kafka: KafkaSettings, services: Sequence[Service]) -> None:
    """Delete a world's topics: the broker of the tests has a small heap, and each topic takes of it."""
    admin = await clients.admin(kafka)
    try:
        await admin.delete_topics(topics.names(kafka.topic_prefix, services))
    finally:
        await admin.close()


async def make_world(servers: Servers, folder: Path, *, bootstrap: str = "", more: Mapping[str, str] | None = None) -> World:
    """A fresh database cloned from the template, fresh topics; ``more`` environment for its services."""
    unique = secrets.token_hex(5)
    database, prefix = f"t_{unique}", f"t{unique}"
    connection = await asyncpg.connect(servers.postgres.url())
    try:
        await connection.execute(f"create database {database} template {TEMPLATE}")
        await connection.execute(f"grant connect on database {database} to {SERVICE.role}")
    finally:
        await connection.close()
    server = urlsplit(servers.postgres.url())
    environment = {
        **SHORT,
        "TELEMED_ENV": "local",
        "TELEMED_DATABASE_URL": f"postgresql://{SERVICE.role}:{LEDGER_PASSWORD}@{server.hostname}:{server.port}/{database}",
        "TELEMED_KAFKA_BOOTSTRAP": bootstrap or servers.kafka.bootstrap,
        "TELEMED_KAFKA_TOPIC_PREFIX": prefix,
        "TELEMED_KAFKA_PARTITIONS": str(PARTITIONS),
        "TELEMED_SMTP_URL": servers.mail.url,
        "TELEMED_AUDIT_KEY_FILE": str(servers.seal_key),
        "TELEMED_AUDIT_HEADS_FILE": str(folder / "audit" / "ledger.heads"),
        # Its events would stand among those that the checks count.
        "TELEMED_AUDIT_PUBLISH_S": "3600",
        **(more or {}),
    }
    with _environ(environment):
        kafka = KafkaSettings()
    await topics.ensure(kafka, [SERVICE])
    return World(servers, database, prefix, folder, kafka, environment)


def _inherited() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("TELEMED_")}


@contextlib.contextmanager
def _environ(values: Mapping[str, str]) -> Any:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
