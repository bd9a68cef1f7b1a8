"""The product's services as processes on real servers: one database, one prefix of topics, one identity provider for a test."""

import asyncio
import json
import os
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import asyncpg
from aiokafka import TopicPartition
from pydantic import SecretStr

from services.cli.catalogue import load_services
from services.cli.stack.identity import Person, people
from services.runtime.database import Connection, Database
from services.runtime.edge.principal import Role
from services.runtime.messaging import kafka as clients
from services.runtime.messaging import topics
from services.runtime.metrics import Metrics
from services.runtime.migrations import migrate
from services.runtime.service import Service
from services.runtime.settings import DatabaseSettings, KafkaSettings
from tests.support.provider import AUDIENCE, Provider, provider
from tests.support.servers import Servers
from tests.support.waiting import eventually
from tests.support.world import PARTITIONS, SHORT, Process, drop_topics

__all__ = ["Answer", "Care", "care"]

_TEMPLATE = "telemed_care_template"
_PASSWORD = "password-of-the-tests"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a service answered."""

    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def code(self) -> str:
        """Code of a problem document."""
        return str(self.body["code"])

    def ok(self) -> Any:
        """The body of a success; anything else is told in full."""
        assert self.status < 300, (self.status, self.body)
        return self.body


@dataclass
class Care:
    """See the module. Services are named as in the catalogue.

    Attributes:
        ports: where a service listens, for those that have to be found again; the others take a free port each time.
        runner: module that runs the services, which are named to it; else each runs itself.
    """

    servers: Servers
    provider: Provider
    database: str
    prefix: str
    folder: Path
    environment: dict[str, str]
    kafka: KafkaSettings
    session: aiohttp.ClientSession
    services: Mapping[str, Service]
    people: Mapping[str, Person]
    ports: dict[str, int] = field(default_factory=dict)
    runner: tuple[str, ...] = ()
    processes: list[Process] = field(default_factory=list)
    running: dict[str, Process] = field(default_factory=dict)

    async def spawn(self, *names: str, **environment: str) -> None:
        """Start one process of each service and wait until they are ready. Keyword arguments are more environment."""
        made = await asyncio.gather(*[self.replica(name, **environment) for name in names])
        self.running |= zip(names, made, strict=True)

    async def replica(self, name: str, *, ready: object = True, **environment: str) -> Process:
        """One more process of a service; the one that is asked stays the same.

        Args:
            name: of the service.
            ready: whether to wait until it is; one that is meant to die may not live to be.
            environment: more of it.
        """
        service = self.services[name]
        number = len(self.processes)
        log, failpoint_log = self.folder / f"{name}-{number}.log", self.folder / f"{name}-{number}.failpoints"
        variables = {
            **{variable: value for variable, value in os.environ.items() if not variable.startswith("TELEMED_")},
            **self.environment,
            "TELEMED_DATABASE_URL": self._url(name),
            "TELEMED_HTTP_PORT": str(self.ports.get(name, 0)),
            "TELEMED_FAILPOINT_LOG": str(failpoint_log),
            **environment,
        }
        popen = await asyncio.to_thread(self.servers.launch, [*self.runner, service.package], log, variables)
        process = Process(popen, log, failpoint_log)
        self.processes.append(process)
        return await process.ready() if ready else process

    def _url(self, name: str) -> str:
        server = urlsplit(self.servers.postgres.url())
        return f"postgresql://{self.services[name].role}:{_PASSWORD}@{server.hostname}:{server.port}/{self.database}"

    def urls(self) -> dict[str, list[str]]:
        """Where each service listens: every replica that lives."""
        found: dict[str, list[str]] = {}
        for process in self.processes:
            if process.popen.poll() is None:
                found.setdefault(process.log.name.rpartition("-")[0], []).append(process.url)
        return found

    # --- calling ---------------------------------------------------------------------------------------------------

    async def call(
        self,
        login: str | None,
        service: str,
        method: str,
        path: str,
        body: object = None,
        *,
        key: str | None = None,
        version: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request as one of the local stack's people (None: without a token).

        Args:
            login: who asks, e.g. ``nurse.a``.
            service: whom.
            method: of HTTP.
            path: with its query.
            body: sent as JSON.
            key: idempotency key; a POST gets one of its own unless it is given, ``""`` sends none.
            version: sent as ``If-Match``.
            headers: replace the others.
        """
        given: dict[str, str] = dict(self.bearer(login)) if login else {}
        if method == "POST" and key != "":
            given["Idempotency-Key"] = key or secrets.token_hex(8)
        if version is not None:
            given["If-Match"] = f'"{version}"'
        given |= headers or {}
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            given.setdefault("Content-Type", "application/json")
        url = self.running[service].url + path
        async with self.session.request(method, url, data=data, headers=given) as response:
            text = await response.read()
            is_json = "json" in response.headers.get("Content-Type", "")
            return Answer(response.status, json.loads(text) if is_json and text else text.decode(), response.headers)

    def bearer(self, login: str, **claims: Any) -> dict[str, str]:
        """The header of somebody's token, signed in just now unless ``auth_time`` says otherwise."""
        person = self.people[login]
        roles = tuple(Role(role) for role in person.roles)
        return self.provider.bearer(login, *roles, **{"person": person.person, **claims})

    def id(self, login: str) -> str:
        """Somebody's id in tokens, events and rows."""
        return self.people[login].person

    # --- looking at it from outside --------------------------------------------------------------------------------

    @asynccontextmanager
    async def owner(self, schema: str = "") -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
        """A connection as the database's owner, in a service's schema."""
        path = f"{schema}, runtime" if schema else "runtime"
        connection = await asyncpg.connect(self.servers.postgres.url(self.database), server_settings={"search_path": path})
        try:
            yield connection
        finally:
            await connection.close()

    @asynccontextmanager
    async def as_service(self, name: str) -> AsyncIterator[Connection]:
        """A connection as a service's role, as an operator's commands have it."""
        database = Database(DatabaseSettings(url=SecretStr(self._url(name))), self.services[name].schema, Metrics())
        connection = await database.connect("operator", idle_in_transaction_s=60)
        try:
            yield connection
        finally:
            await connection.close()

    async def rows(self, schema: str, query: str, *arguments: object) -> list[asyncpg.Record]:
        """Rows of a service's tables."""
        async with self.owner(schema) as connection:
            return await connection.fetch(query, *arguments)

    async def value(self, schema: str, query: str, *arguments: object) -> Any:
        """First value of a query on a service's tables."""
        async with self.owner(schema) as connection:
            return await connection.fetchval(query, *arguments)

    async def until(self, schema: str, query: str, *arguments: object, within_s: float = 30.0) -> Any:
        """Wait until a query's first value is true; returns it."""

        async def holds() -> Any:
            return await self.value(schema, query, *arguments)

        return await eventually(holds, within_s=within_s, what=query)

    async def read_out(self, consumer: str, topic: str) -> None:
        """Wait until a consumer has read all that is on a topic, heartbeats too."""
        partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        client = clients.consumer(self.kafka, "administrator", f"{self.prefix}.{consumer}", poll_records=1)
        await client.start()
        try:
            client.assign(partitions)
            ends = await client.end_offsets(partitions)

            async def committed() -> bool:
                return bool(ends == {one: await client.committed(one) for one in partitions})

            await eventually(committed, what=f"{consumer} has read {topic}")
        finally:
            await client.stop()

    async def advance(self, seconds: float) -> None:
        """Move the clinic clock on."""
        async with self.owner() as connection:
            await connection.execute("update clinic_clock set shift = shift + make_interval(secs => $1)", seconds)

    async def close(self) -> None:
        """End every process, drop the database and the topics."""
        for process in self.processes:
            if process.popen.poll() is None:
                process.popen.kill()
            await process.ended()


@asynccontextmanager
async def care(servers: Servers, folder: Path) -> AsyncIterator[Care]:
    """A fresh world for one test."""
    known = {service.name: service for service in load_services()}
    unique = secrets.token_hex(5)
    database, prefix = f"c_{unique}", f"c{unique}"
    async with AsyncExitStack() as stack:
        stack.push_async_callback(_drop, servers, database)
        connection = await asyncpg.connect(servers.postgres.url())
        if not await connection.fetchval("select 1 from pg_database where datname = $1", _TEMPLATE):
            await connection.execute(f"create database {_TEMPLATE}")
            passwords = {service.role: _PASSWORD for service in known.values()}
            await migrate(servers.postgres.url(_TEMPLATE), list(known.values()), passwords=passwords)
        await connection.execute(f"create database {database} template {_TEMPLATE}")
        for service in known.values():
            await connection.execute(f"grant connect on database {database} to {service.role}")
        await connection.close()
        made = await stack.enter_async_context(provider())
        environment = {
            **SHORT,
            "TELEMED_ENV": "local",
            "TELEMED_KAFKA_BOOTSTRAP": servers.kafka.bootstrap,
            "TELEMED_KAFKA_TOPIC_PREFIX": prefix,
            "TELEMED_KAFKA_PARTITIONS": str(PARTITIONS),
            "TELEMED_SMTP_URL": servers.mail.url,
            "TELEMED_AUDIT_KEY_FILE": str(servers.seal_key),
            "TELEMED_OIDC_ISSUER": made.url,
            "TELEMED_OIDC_AUDIENCE": AUDIENCE,
        }
        kafka = KafkaSettings(bootstrap=servers.kafka.bootstrap, topic_prefix=prefix, partitions=PARTITIONS)
        await topics.ensure(kafka, list(known.values()))
        stack.push_async_callback(drop_topics, kafka, list(known.values()))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        world = Care(servers, made, database, prefix, folder, environment, kafka, session, known, people())
        stack.push_async_callback(world.close)
        yield world


async def _drop(servers: Servers, database: str) -> None:
    # Its own connection: a test may have let the server crash since.
    connection = await asyncpg.connect(servers.postgres.url())
    try:
        await connection.execute(f"drop database if exists {database} with (force)")
    finally:
        await connection.close()
