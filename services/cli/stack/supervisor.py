"""`telemed up`: all parts in order, watched while they run, and all of them gone afterwards."""

import asyncio
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import asyncpg
from aiokafka.errors import KafkaError

from services.cli.stack import livekit
from services.cli.stack.errors import StackError
from services.cli.stack.identity import AUDIENCE, issuer_url
from services.cli.stack.jars import Report
from services.cli.stack.parts import KafkaPart, Part, PostgresPart, ProgramPart, python
from services.cli.stack.ports import HOST, require_free
from services.cli.stack.process import Born, Identity
from services.cli.stack.settings import StackSettings
from services.cli.stack.state import Home, PartRecord, Record
from services.runtime.messaging import topics
from services.runtime.migrations import MigrationError, migrate
from services.runtime.service import Service
from services.runtime.settings import DatabaseSettings, KafkaSettings, load

__all__ = ["DATABASE", "External", "Supervisor"]

DATABASE = "telemed"
_BOARD = "staff_dashboard"
_LINKS = "follow_up"
_VISITS = "video_visits"
_LIVEKIT_SECRET = "livekit.secret"  # noqa: S105 - the name of a file
# How to connect as the owner of the database: no business of a service.
_OWNERS = frozenset(f"TELEMED_DATABASE_{name}{form}" for name in ("URL", "PASSWORD") for form in ("", "_FILE"))
_WATCH_S = 0.2
_FIRST_BACKOFF_S, _LONGEST_BACKOFF_S = 0.5, 30.0
# A part that ran this long was well: what ended it is a new matter.
_WELL_S = 60.0


@dataclass(frozen=True, slots=True)
class External:
    """Which servers are somebody else's, because the environment names them."""

    database: bool
    kafka: bool
    smtp: bool
    oidc: bool
    livekit: bool

    @classmethod
    def from_environment(cls) -> "External":
        """A part is external when its address is set."""

        def given(variable: str) -> bool:
            return bool(os.environ.get(variable) or os.environ.get(variable + "_FILE"))

        return cls(
            given("TELEMED_DATABASE_URL"),
            given("TELEMED_KAFKA_BOOTSTRAP"),
            given("TELEMED_SMTP_URL"),
            given("TELEMED_OIDC_ISSUER"),
            given("TELEMED_LIVEKIT_URL"),
        )


class Supervisor:
    """One stack, from nothing to ready to nothing. The caller holds the lock of ``home``."""

    def __init__(
        self,
        home: Home,
        cache: Path,
        settings: StackSettings,
        services: Sequence[Service],
        report: Report,
        say: Callable[[str], None],
    ) -> None:
        self._home = home
        self._cache = cache
        self._settings = settings
        self._services = services
        self._report = report
        self._say = say
        self._external = External.from_environment()
        me = Identity.of(os.getpid())
        self.record = Record(os.getpid(), me.created if me else 0.0)
        self._servers: list[Part] = []
        self._service_parts: list[Part] = []
        self._postgres: PostgresPart | None = None
        self._livekit: Part | None = None
        self._stopping = False

    async def run(self, ready: Callable[[Record], Callable[[], None]]) -> bool:
        """Start everything, call ``ready``, and watch until SIGINT or SIGTERM; a second signal ends everything at once.

        Args:
            ready: returns what is to be called before anything is stopped.

        Returns:
            Whether everything had become ready.

        Raises:
            StackError: when something does not start; by then everything is stopped again.
        """
        loop = asyncio.get_running_loop()
        work = asyncio.current_task()
        was_ready = False
        leave: Callable[[], None] = lambda: None  # noqa: E731 - nothing to do before it was ready

        def on_signal() -> None:
            if self._stopping:
                for part in self._all():
                    part.hurry()
            elif work is not None:
                self._stopping = True
                work.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, on_signal)
        try:
            await self._start()
            was_ready = True
            self._phase("ready")
            leave = ready(self.record)
            async with asyncio.TaskGroup() as group:
                for part in self._all():
                    group.create_task(self._watch(part))
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            if not self._stopping:
                raise
        except BaseExceptionGroup as errors:
            raise _first(errors) from None
        finally:
            self._stopping = True
            leave()
            await self._stop()
        return was_ready

    def _all(self) -> list[Part]:
        return [*self._service_parts, *reversed(self._servers)]

    def _phase(self, text: str) -> None:
        self.record.phase = text
        self._report(text, None)
        self._save()

    def _save(self) -> None:
        self.record.parts = [part.record for part in self._all()]
        self._home.write(self.record)

    # --- start ---

    # Order of start, the reverse of the order of end: postgres, mail, issuer, kafka, then the services.

    async def _start(self) -> None:
        self._phase("checking ports, memory and disk")
        await asyncio.to_thread(self._plan)
        await asyncio.to_thread(self._check)
        self._phase("starting the servers")
        async with asyncio.TaskGroup() as group:
            for part in self._servers:
                group.create_task(self._start_part(part))
        kafka = self._kafka_settings()
        owner = self._owner_dsn()
        self._phase("migrating the database and making topics")
        passwords = await asyncio.to_thread(self._passwords)
        try:
            if self._postgres is not None:
                await _create_database(self._postgres.server.url())
            await migrate(owner, self._services, passwords=passwords)
        except (OSError, TimeoutError, asyncpg.PostgresError, MigrationError) as error:
            raise StackError(f"the database cannot be migrated: {type(error).__name__}: {error}") from None
        try:
            await topics.ensure(kafka, self._services)
        except topics.TopicsDiffer as error:
            raise StackError(f"the topics at {kafka.bootstrap} differ: {error}") from None
        except (OSError, TimeoutError, KafkaError) as error:
            raise StackError(f"the topics cannot be made at {kafka.bootstrap}: {type(error).__name__}") from None
        self._phase("starting the services")
        await asyncio.to_thread(self._plan_services)
        async with asyncio.TaskGroup() as group:
            for part in self._service_parts:
                group.create_task(self._start_part(part))

    def _plan(self) -> None:
        """Decide which servers are ours."""
        settings, home = self._settings, self._home
        try:
            for folder in (home.data, home.logs, home.heads):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StackError(f"{error.filename} cannot be written: {error.strerror}") from None
        if not self._external.database:
            port = settings.port(settings.postgres_port)
            data = home.data / "postgres"
            record = PartRecord("postgres", f"{HOST}:{port}", str(data.with_name("postgres.log")), port=port)
            self._postgres = PostgresPart(record, data)
            self._servers.append(self._postgres)
        if not self._external.smtp:
            port = settings.port(settings.mail_port)
            page = f"http://{HOST}:{port}"
            record = PartRecord("mail", page, str(home.logs / "mail.log"), health=page + "/readyz", port=port)
            smtp_port = settings.port(settings.smtp_port)
            arguments = ["--outbox", str(home.data / "mail"), f"--smtp-port={smtp_port}", f"--http-port={port}"]
            env = {name: value for name, value in os.environ.items() if not name.startswith("TELEMED_")}
            command = python("services.cli.stack.mail", *arguments)
            self._servers.append(ProgramPart(record, command, env, settings.start_timeout_s))
        if not self._external.oidc:
            port = settings.port(settings.issuer_port)
            url = issuer_url(settings)
            record = PartRecord("issuer", url, str(home.logs / "issuer.log"), health=url + "/readyz", port=port)
            arguments = ["--keys", str(home.issuer_keys), f"--port={port}"]
            if board := self._origin(_BOARD):
                arguments.append(f"--client=board={board}/board")
            env = {name: value for name, value in os.environ.items() if not name.startswith("TELEMED_")}
            env["TELEMED_ENV"] = "local"
            command = python("services.cli.stack.issuer", *arguments)
            self._servers.append(ProgramPart(record, command, env, settings.start_timeout_s))
        if not self._external.livekit and (visits := self._origin(_VISITS)):
            self._plan_livekit(visits + livekit.WEBHOOK)
        if not self._external.kafka:
            port = settings.port(settings.kafka_port)
            data = home.data / "kafka"
            record = PartRecord("kafka", f"{HOST}:{port}", str(data / "broker.log"), port=port)
            controller = settings.port(settings.kafka_controller_port)
            self._servers.append(KafkaPart(record, data, self._cache, controller, self._report))

    def _plan_livekit(self, webhook: str) -> None:
        """A video server, where there is a program of it; without one visits are held in person."""
        binary = livekit.find(self._cache)
        if binary is None:
            self._say(
                "no video: there is no LiveKit server here (`telemed stack livekit` builds one); visits are held in person"
            )
            return
        settings, home = self._settings, self._home
        port = settings.port(settings.livekit_port)
        url = f"http://{HOST}:{port}"
        config = livekit.configuration(
            home.data / "livekit.json",
            port=port,
            udp_port=settings.port(settings.livekit_udp_port),
            secret=home.secret(_LIVEKIT_SECRET).read_text(encoding="ascii").strip(),
            webhook=webhook,
        )
        record = PartRecord("livekit", url.replace("http", "ws"), str(home.logs / "livekit.log"), health=url, port=port)
        command = livekit.command(binary, config)
        self._livekit = ProgramPart(record, command, {"PATH": os.defpath}, settings.start_timeout_s)
        self._servers.append(self._livekit)

    def _check(self) -> None:
        """Everything that can be known before anything is started."""
        import psutil  # of the local stack only: operators' commands import this module without it

        settings = self._settings
        available = psutil.virtual_memory().available // 2**20
        if available < settings.min_memory_mb:
            raise StackError(
                f"too little memory: {available} MB available, {settings.min_memory_mb} MB needed (TELEMED_STACK_MIN_MEMORY_MB)"
            )
        # The data's folder, and the one that a download goes to, or the nearest one above it that is there.
        cache = self._cache.expanduser().absolute()
        for folder in (self._home.folder, next(one for one in (cache, *cache.parents) if one.exists())):
            room = shutil.disk_usage(folder).free // 2**20
            if room < settings.min_disk_mb:
                raise StackError(
                    f"too little disk: {room} MB free at {folder}, {settings.min_disk_mb} MB needed (TELEMED_STACK_MIN_DISK_MB)"
                )
        wanted: list[tuple[int, str]] = [(part.record.port, part.record.name) for part in self._servers]
        if not self._external.smtp:
            wanted.append((settings.port(settings.smtp_port), "mail (SMTP)"))
        if not self._external.kafka:
            wanted.append((settings.port(settings.kafka_controller_port), "Kafka's controller"))
        wanted += [(settings.port(service.port), service.name) for service in self._services]
        for index, (port, what) in enumerate(wanted):
            if port in [other for other, _ in wanted[:index]]:
                raise StackError(f"port {port} is given twice, the second time to {what}")
            require_free(port, what)

    def _plan_services(self) -> None:
        for service in self._services:
            port = self._settings.port(service.port)
            url = f"http://{HOST}:{port}"
            log = self._home.logs / f"{service.name}.log"
            record = PartRecord(service.name, url, str(log), health=url + "/readyz", port=port)
            env = self._service_environment(service, port)
            self._service_parts.append(ProgramPart(record, python(service.package), env, self._settings.start_timeout_s))

    def _service_environment(self, service: Service, port: int) -> dict[str, str]:
        """What a service is told: its own role only, and passwords only as names of files."""
        env = {name: value for name, value in os.environ.items() if name not in _OWNERS}
        env |= {
            "TELEMED_ENV": "local",
            "TELEMED_DATABASE_URL": self._database(user=service.role),
            "TELEMED_DATABASE_PASSWORD_FILE": str(self._home.secret(f"{service.role}.password")),
            "TELEMED_HTTP_HOST": HOST,
            "TELEMED_HTTP_PORT": str(port),
            "TELEMED_AUDIT_KEY_FILE": str(self._home.seal_key()),
            "TELEMED_AUDIT_HEADS_FILE": str(self._home.heads / f"{service.name}.heads"),
            "PYTHONUNBUFFERED": "1",
        }
        if not self._external.kafka:
            env |= {
                "TELEMED_KAFKA_BOOTSTRAP": self._local_kafka(),
                "TELEMED_KAFKA_SECURITY_PROTOCOL": "PLAINTEXT",
            }
        if not self._external.oidc:
            env |= {"TELEMED_OIDC_ISSUER": issuer_url(self._settings), "TELEMED_OIDC_AUDIENCE": AUDIENCE}
        if board := self._origin(_BOARD):
            env.setdefault("TELEMED_HTTP_BOARD_ORIGIN", board)
        if service.name == _LINKS:
            env.setdefault("TELEMED_MESSAGES_LINK_URL", f"http://{HOST}:{port}/link")
        if service.name == _BOARD:
            for other in self._services:
                if other is not service:
                    env.setdefault(f"TELEMED_BOARD_{other.name.upper()}", f"http://{HOST}:{self._settings.port(other.port)}")
        if self._livekit is not None and service.name == _VISITS:
            env |= {
                "TELEMED_LIVEKIT_URL": self._livekit.record.address,
                "TELEMED_LIVEKIT_API_KEY": livekit.API_KEY,
                "TELEMED_LIVEKIT_API_SECRET_FILE": str(self._home.secret(_LIVEKIT_SECRET)),
            }
        if not self._external.smtp:
            env["TELEMED_SMTP_URL"] = f"smtp://{HOST}:{self._settings.port(self._settings.smtp_port)}"
        return env

    def _origin(self, name: str) -> str:
        """Where a service of this deployment listens; empty when it has none of that name."""
        ports = [self._settings.port(service.port) for service in self._services if service.name == name]
        return f"http://{HOST}:{ports[0]}" if ports else ""

    def _passwords(self) -> dict[str, str]:
        return {
            service.role: self._home.secret(f"{service.role}.password").read_text(encoding="ascii").strip()
            for service in self._services
        }

    def _local_kafka(self) -> str:
        return f"{HOST}:{self._settings.port(self._settings.kafka_port)}"

    def _kafka_settings(self) -> KafkaSettings:
        if self._external.kafka:
            return load(KafkaSettings)
        return KafkaSettings(bootstrap=self._local_kafka(), security_protocol="PLAINTEXT")

    def _owner_dsn(self) -> str:
        return self._postgres.server.url(DATABASE) if self._postgres else load(DatabaseSettings).dsn()

    def _database(self, *, user: str) -> str:
        """The URL of the database as another role, without a password."""
        if self._postgres is None:
            return load(DatabaseSettings).dsn(user=user)
        return f"postgresql://{quote(user, safe='')}@{HOST}:{self._postgres.record.port}/{DATABASE}"

    async def _start_part(self, part: Part) -> None:
        part.record.state = "starting"
        self._save()
        await part.start(self._born(part))
        part.record.state = "ready"
        self._save()

    def _born(self, part: Part) -> Born:
        def note(identity: Identity, ends_by: signal.Signals) -> None:
            part.record.pid, part.record.created, part.record.ends_by = identity.pid, identity.created, int(ends_by)
            self._save()

        return note

    # --- while it runs ---

    async def _watch(self, part: Part) -> None:
        """Start a part again whenever it has ended, later each time that it ends soon."""
        loop = asyncio.get_running_loop()
        backoff = _FIRST_BACKOFF_S
        started = loop.time()
        while True:
            await asyncio.sleep(_WATCH_S)
            if part.returncode is None:
                continue
            if loop.time() - started > _WELL_S:
                backoff = _FIRST_BACKOFF_S
            part.record.last_end = _how(part.returncode)
            part.record.state = "waiting to start again"
            self._save()
            self._say(f"{part.record.name} {part.record.last_end}; starting it again in {backoff:g} s")
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, _LONGEST_BACKOFF_S)
            started = loop.time()
            part.record.restarts += 1
            try:
                await self._start_part(part)
            except StackError as error:
                part.record.state = "failing"
                self._say(str(error))
            else:
                self._say(f"{part.record.name} is ready again")

    # --- stop ---

    async def _stop(self) -> None:
        """Services first and together, then the servers they lean on, last started first."""
        self.record.phase = "stopping"
        self._report("stopping", None)
        await asyncio.gather(*(part.stop() for part in self._service_parts))
        for part in reversed(self._servers):
            await part.stop()
        self._home.forget()


async def _create_database(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        if not await connection.fetchval("select 1 from pg_database where datname = $1", DATABASE):
            await connection.execute(f"create database {DATABASE}")
    finally:
        await connection.close()


def _how(returncode: int | None) -> str:
    if returncode is None:
        return "runs"
    if returncode < 0:
        return f"was ended by {signal.Signals(-returncode).name}"
    return f"ended with exit code {returncode}"


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error to show of several that came together: the first of ours, else simply the first."""
    leaves: list[BaseException] = []

    def collect(error: BaseException) -> None:
        if isinstance(error, BaseExceptionGroup):
            for inner in error.exceptions:
                collect(inner)
        else:
            leaves.append(error)

    collect(group)
    return next((error for error in leaves if isinstance(error, StackError)), leaves[0])
