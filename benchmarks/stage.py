"""Where a bench plays: the real servers, started once a run, and databases and topics of its own on them."""

import asyncio
import contextlib
import random
import secrets
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.structs import ConsumerRecord
from pydantic import SecretStr

from benchmarks.rounds import Contender, Results, alternate
from services.cli.stack.jars import KAFKA_VERSION
from services.runtime.database import Connection
from services.runtime.messaging import kafka as clients
from services.runtime.messaging import topics
from services.runtime.messaging.relay import HEARTBEAT_HEADER
from services.runtime.settings import (
    AuditSettings,
    DatabaseSettings,
    Environment,
    HttpSettings,
    KafkaSettings,
    MessagingSettings,
    OidcSettings,
    ProcessSettings,
    ServiceSettings,
    SmtpSettings,
)
from tests.support.ledger.app import SERVICE
from tests.support.servers import LEDGER_PASSWORD, TEMPLATE, Servers

__all__ = ["PARTITIONS", "ROOT", "Arena", "Options", "Stage", "read_back"]

PARTITIONS = 12
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks for.

    Attributes:
        quick: one tiny round without the peers, to see that everything still works; the numbers mean nothing.
        seed: of the order inside the rounds.
        rounds: instead of what the bench thinks right.
    """

    quick: bool = False
    seed: int = 0
    rounds: int | None = None

    def size(self, full: int, quick: int) -> int:
        """A number of rows, rounds or seconds."""
        return quick if self.quick else full


@dataclass
class Stage:
    """See the module."""

    options: Options
    folder: Path
    _servers: Servers | None = None
    _own: bool = False
    _rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._rng = random.Random(self.options.seed)

    @classmethod
    @asynccontextmanager
    async def open(cls, options: Options, servers: Servers | None = None) -> AsyncIterator["Stage"]:
        """A stage in a temporary folder; servers are started when first asked for, unless some are given."""
        folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="telemed-bench-"))
        stage = cls(options, folder, servers)
        try:
            yield stage
        finally:
            if stage._own and stage._servers is not None:
                await stage._servers.stop()
            await asyncio.to_thread(shutil.rmtree, folder, True)

    async def servers(self) -> Servers:
        """PostgreSQL, Kafka and the mail sink."""
        if self._servers is None:
            self._own = True
            self._servers = await Servers.start(self.folder)
        return self._servers

    async def versions(self) -> list[str]:
        """Of what runs."""
        found = [f"Kafka {KAFKA_VERSION}"]
        if self._servers is not None:
            connection = await asyncpg.connect(self._servers.postgres.url())
            try:
                version = await connection.fetchval("show server_version")
            finally:
                await connection.close()
            found.insert(0, f"PostgreSQL {version}")
        return found

    def say(self, text: str) -> None:
        """Progress, beside the report."""
        sys.stderr.write(f"  {text}\n")
        sys.stderr.flush()

    async def rounds(
        self, contenders: Mapping[str, Contender], *, full: int = 5, after_round: Callable[[], Awaitable[None]] | None = None
    ) -> Results:
        """Alternated rounds of the wanted length."""
        return await alternate(
            contenders,
            rounds=self.options.rounds or self.options.size(full, 1),
            warm_up=self.options.size(1, 0),
            rng=self._rng,
            say=self.say,
            after_round=after_round,
        )

    async def arena(self) -> "Arena":
        """A fresh database, cloned from the template, and the ledger's topics under a prefix of their own."""
        servers = await self.servers()
        unique = secrets.token_hex(5)
        kafka = KafkaSettings(bootstrap=servers.kafka.bootstrap, topic_prefix=f"b{unique}", partitions=PARTITIONS)
        await topics.ensure(kafka, [SERVICE])
        arena = Arena(servers, self.folder, kafka, "")
        arena.database = await arena.clone()
        return arena


@dataclass
class Arena:
    """See ``Stage.arena``. Settings are the defaults of production, not the short timings of the tests."""

    servers: Servers
    folder: Path
    kafka: KafkaSettings
    database: str

    @property
    def topic(self) -> str:
        """The ledger's topic."""
        return SERVICE.topic(self.kafka.topic_prefix)

    async def clone(self) -> str:
        """One more fresh database; returns its name."""
        name = f"b_{secrets.token_hex(5)}"
        async with self.admin() as connection:
            await connection.execute(f"create database {name} template {TEMPLATE}")
            await connection.execute(f"grant connect on database {name} to {SERVICE.role}")
        return name

    async def drop(self, database: str) -> None:
        """Drop a database, whoever is connected."""
        async with self.admin() as connection:
            await connection.execute(f"drop database if exists {database} with (force)")

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[Connection]:
        """A connection to the server's own database."""
        connection = await asyncpg.connect(self.servers.postgres.url())
        try:
            yield connection
        finally:
            await connection.close()

    @asynccontextmanager
    async def owner(self, database: str = "") -> AsyncIterator[Connection]:
        """A connection as the database's owner."""
        connection = await asyncpg.connect(
            self.servers.postgres.url(database or self.database),
            server_settings={"search_path": "ledger, runtime"},
            command_timeout=300,
        )
        try:
            yield connection
        finally:
            await connection.close()

    def url(self, database: str = "") -> str:
        """Of the ledger's own role."""
        server = urlsplit(self.servers.postgres.url())
        return f"postgresql://{SERVICE.role}:{LEDGER_PASSWORD}@{server.hostname}:{server.port}/{database or self.database}"

    def environment(self) -> dict[str, str]:
        """For a ledger process."""
        return {
            "TELEMED_ENV": "local",
            "TELEMED_DATABASE_URL": self.url(),
            "TELEMED_KAFKA_BOOTSTRAP": self.kafka.bootstrap,
            "TELEMED_KAFKA_TOPIC_PREFIX": self.kafka.topic_prefix,
            "TELEMED_KAFKA_PARTITIONS": str(self.kafka.partitions),
            "TELEMED_SMTP_URL": self.servers.mail.url,
        }

    def settings(self, database: str = "") -> ServiceSettings:
        """For a ledger inside this process."""
        return ServiceSettings(
            ProcessSettings(env=Environment.LOCAL),
            DatabaseSettings(url=SecretStr(self.url(database))),
            self.kafka,
            SmtpSettings(url=self.servers.mail.url),
            HttpSettings(port=0),
            MessagingSettings(),
            OidcSettings(),
            AuditSettings(),
        )

    async def new_topic(self, name: str) -> str:
        """One more topic; what it held is gone soon after it is deleted."""
        admin = await clients.admin(self.kafka)
        try:
            await admin.create_topics([NewTopic(name, self.kafka.partitions, 1, topic_configs={"file.delete.delay.ms": "100"})])
            await topics._led(admin, [name], self.kafka.partitions)
        finally:
            await admin.close()
        return name

    async def delete_topics(self, *names: str) -> None:
        """Delete topics; without names, those of the arena."""
        admin = await clients.admin(self.kafka)
        try:
            await admin.delete_topics(list(names) or topics.names(self.kafka.topic_prefix, [SERVICE]))
        finally:
            await admin.close()

    async def close(self) -> None:
        """Drop the database and the topics."""
        await self.drop(self.database)
        await self.delete_topics()


async def ends(kafka: KafkaSettings, topic: str) -> dict[TopicPartition, int]:
    """End offset of each partition."""
    async with _reader(kafka) as reader:
        wanted = [TopicPartition(topic, number) for number in range(kafka.partitions)]
        found: dict[TopicPartition, int] = await reader.end_offsets(wanted)
        return found


async def read_back(
    kafka: KafkaSettings, topic: str, since: dict[TopicPartition, int], take: Callable[[ConsumerRecord[bytes, bytes]], None]
) -> None:
    """Show every record after some offsets, heartbeats left out, to ``take``: in order inside each partition."""
    async with _reader(kafka) as reader:
        wanted = [TopicPartition(topic, number) for number in range(kafka.partitions)]
        reader.assign(wanted)
        last = await reader.end_offsets(wanted)
        for partition in wanted:
            reader.seek(partition, since.get(partition, 0))
        left = {partition for partition in wanted if last[partition] > since.get(partition, 0)}
        while left:
            for partition, records in (await reader.getmany(timeout_ms=1000)).items():
                for record in records:
                    if not record.headers or record.headers[0][0] != HEARTBEAT_HEADER:
                        take(record)
                if records and records[-1].offset + 1 >= last[partition]:
                    left.discard(partition)


@asynccontextmanager
async def _reader(kafka: KafkaSettings) -> AsyncIterator[AIOKafkaConsumer]:
    reader = clients.consumer(kafka, "bench.reader", None, poll_records=10_000)
    await reader.start()
    try:
        yield reader
    finally:
        with contextlib.suppress(Exception):
            await reader.stop()
