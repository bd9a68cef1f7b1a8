"""As whom an operator's command reaches the servers: by the environment, or by the local stack's record and secrets."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit

import asyncpg
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.cli.stack.errors import StackError
from services.cli.stack.ports import HOST
from services.cli.stack.postgres import SUPERUSER
from services.cli.stack.state import Home, PartRecord
from services.cli.stack.supervisor import DATABASE, External
from services.runtime.database import Connection, Database
from services.runtime.metrics import Metrics
from services.runtime.service import Service
from services.runtime.settings import DatabaseSettings, Environment, KafkaSettings, ProcessSettings, load

__all__ = ["Access", "OperatorSettings"]


class OperatorSettings(BaseSettings):
    """What only an operator's commands read."""

    model_config = SettingsConfigDict(env_prefix="TELEMED_", frozen=True, extra="ignore")

    secrets_dir: Path | None = Field(
        default=None, description="folder of `<role>.password` files, one for each service's role; the stack's own when unset"
    )


class Access:
    """Connections for operators. Nothing secret is taken from arguments, and nothing is printed."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._external = External.from_environment()

    @property
    def environment(self) -> Environment:
        """What kind of deployment this is. The stack of this folder is local, as it tells its services."""
        if self._external.database or "TELEMED_ENV" in os.environ:
            return load(ProcessSettings).env
        return Environment.LOCAL

    @asynccontextmanager
    async def owner(self) -> AsyncIterator[Connection]:
        """A connection as the owner of the database: for the clinic clock and what belongs to no single service."""
        connection: Connection = await asyncpg.connect(
            self.owner_dsn(), timeout=5, command_timeout=60, server_settings={"application_name": "telemed.operator"}
        )
        try:
            yield connection
        finally:
            await connection.close(timeout=5)

    @asynccontextmanager
    async def role(self, service: Service) -> AsyncIterator[Connection]:
        """A connection as a service's own role: PostgreSQL itself keeps it out of every other schema."""
        database = Database(self.settings(service), service.schema, Metrics())
        connection = await database.connect("operator", idle_in_transaction_s=60)
        try:
            yield connection
        finally:
            await connection.close(timeout=5)

    def owner_dsn(self) -> str:
        """Connection URL of the owner."""
        if self._external.database:
            return load(DatabaseSettings).dsn()
        return self._local(SUPERUSER).dsn(user=SUPERUSER, password=_read(self._home.data / "postgres.password"))

    def settings(self, service: Service) -> DatabaseSettings:
        """Settings of a connection as the service's role."""
        if self._external.database:
            given = load(DatabaseSettings)
            if urlsplit(given.url.get_secret_value()).username == service.role:
                return given
            url = given.dsn(user=service.role)
        else:
            url = self._local(service.role).url.get_secret_value()
        return DatabaseSettings(url=SecretStr(url), password=SecretStr(_read(self._password_file(service))))

    def kafka(self) -> KafkaSettings:
        """Where Kafka is, and the shape of the topics."""
        if self._external.kafka:
            return load(KafkaSettings)
        return KafkaSettings(bootstrap=self._part("kafka", "TELEMED_KAFKA_BOOTSTRAP").address, security_protocol="PLAINTEXT")

    def passwords(self, services: Sequence[Service]) -> dict[str, str]:
        """The password of each role that has a file; the others keep what they have."""
        files = {service.role: self._password_file(service) for service in services}
        return {role: _read(file) for role, file in files.items() if file.exists()}

    def _password_file(self, service: Service) -> Path:
        folder = load(OperatorSettings).secrets_dir or self._home.data / "secrets"
        return folder / f"{service.role}.password"

    def _local(self, user: str) -> DatabaseSettings:
        port = self._part("postgres", "TELEMED_DATABASE_URL").port
        return DatabaseSettings(url=SecretStr(f"postgresql://{quote(user, safe='')}@{HOST}:{port}/{DATABASE}"))

    def _part(self, name: str, variable: str) -> PartRecord:
        record = self._home.read()
        if record is None:
            raise StackError(f"no stack runs in {self._home.folder}: start it with `telemed up`, or set {variable}")
        for part in record.parts:
            if part.name == name:
                return part
        raise StackError(f"the stack in {self._home.folder} uses a {name} of yours: set {variable} as for `telemed up`")


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise StackError(f"{file} cannot be read: {error.strerror}") from None
