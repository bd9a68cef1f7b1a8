"""Plain SQL migrations, forward only: one schema and one role per service, one shared schema for the clinic clock.

Files are called ``NNNN_pre_what.sql`` (safe while the old code runs) or ``NNNN_post_what.sql`` (once it is gone). They are
applied by the owner under an advisory lock, each in its own transaction with its checksum; an applied file never changes.
"""

import hashlib
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import asyncpg

from services.runtime.service import Service
from services.runtime.settings import sealer_role

__all__ = ["Migration", "MigrationError", "files_in", "migrate", "pending"]

_HERE = Path(__file__).parent
_NAME = re.compile(r"^\d{4}_(pre|post)_[a-z0-9_]+\.sql$")
_IDENTIFIER = re.compile(r"^[a-z][a-z0-9_]{0,40}$")
# Insert and read only: what was said cannot be unsaid by the service that said it.
_APPEND_ONLY = ("outbox", "audit", "signature", "broken_glass")
_READ_ONLY = ("schema_migration", "audit_seal")


class MigrationError(Exception):
    """A migration is misnamed, was changed after it was applied, or is missing where code needs it."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file; ``origin`` is ``kernel``, the name of a library, or ``service``."""

    origin: str
    name: str
    phase: Literal["pre", "post"]
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of its text."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def files_in(origin: str, folder: Path) -> list[Migration]:
    """The migrations of a folder, in order.

    Raises:
        MigrationError: on a name that does not say its order and phase, or a number used twice.
    """
    found = []
    numbers: set[str] = set()
    for path in sorted(folder.glob("*.sql")):
        match = _NAME.match(path.name)
        if not match or path.name[:4] in numbers:
            raise MigrationError(f"{path.name}: call it NNNN_pre_what.sql or NNNN_post_what.sql, each number once")
        numbers.add(path.name[:4])
        phase: Literal["pre", "post"] = "pre" if match[1] == "pre" else "post"
        found.append(Migration(origin, path.name, phase, path.read_text(encoding="utf-8")))
    return found


def migrations_of(service: Service) -> list[Migration]:
    """The kernel's migrations, then those of libraries, then the service's own."""
    libraries = [migration for name, folder in service.libraries.items() for migration in files_in(name, folder)]
    return [*files_in("kernel", _HERE / "service"), *libraries, *files_in("service", service.migrations)]


async def migrate(
    owner_dsn: str,
    services: Sequence[Service],
    *,
    passwords: Mapping[str, str] | None = None,
    phase: Literal["pre", "post", "all"] = "all",
    by: str = "deployment",
) -> list[str]:
    """Bring every schema up to date and grant each role exactly what it needs.

    Args:
        owner_dsn: connection of the role that owns the database; no service runs as it.
        services: whose schemas.
        passwords: password per role name; a role not named keeps the one it has.
        phase: ``pre`` before the new code starts, ``post`` when the old code is gone.
        by: who does it, for the audit row that each migration leaves in its schema.

    Returns:
        ``schema/file`` of each migration that was applied.

    Raises:
        MigrationError: see the class.
    """
    connection = await asyncpg.connect(owner_dsn, command_timeout=300)
    applied: list[str] = []
    try:
        # Session lock on a connection of its own: two deploys at once take turns.
        await connection.execute("select pg_advisory_lock($1)", zlib.crc32(b"telemed.migrate"))
        await connection.execute("set lock_timeout = '4s'")
        database = await connection.fetchval("select current_database()")
        await connection.execute(f'revoke all on database "{database}" from public')
        await connection.execute("revoke all on schema public from public")
        shared = files_in("kernel", _HERE / "shared")
        applied += await _apply(connection, "runtime", shared, phase, by)
        for service in services:
            await _ensure_role(connection, service, database, (passwords or {}).get(service.role))
            applied += await _apply(connection, service.schema, migrations_of(service), phase, by)
            await _grant(connection, service)
    finally:
        await connection.close()
    return applied


async def pending(connection: "asyncpg.Connection[asyncpg.Record]", service: Service) -> list[str]:
    """Names of the service's migrations that the database lacks; a service refuses to start while there are ``pre`` ones."""
    known = {
        (row["origin"], row["name"]): row["checksum"]
        for row in await connection.fetch(f"select origin, name, checksum from {service.schema}.schema_migration")
    }
    lacking = []
    for migration in migrations_of(service):
        checksum = known.get((migration.origin, migration.name))
        if checksum is None:
            lacking.append(migration.name)
        elif checksum != migration.checksum:
            raise MigrationError(f"{service.schema}/{migration.name} was changed after it was applied")
    return lacking


async def _apply(
    connection: "asyncpg.Connection[asyncpg.Record]", schema: str, migrations: Iterable[Migration], phase: str, by: str
) -> list[str]:
    if not _IDENTIFIER.match(schema):
        raise MigrationError(f"not a schema name: {schema}")
    await connection.execute(f"create schema if not exists {schema}")
    await connection.execute(
        f"""create table if not exists {schema}.schema_migration (
                origin text not null, name text not null, checksum text not null,
                applied_at timestamptz not null default clock_timestamp(), primary key (origin, name))"""
    )
    done = {
        (row["origin"], row["name"]): row["checksum"]
        for row in await connection.fetch(f"select origin, name, checksum from {schema}.schema_migration")
    }
    applied = []
    for migration in migrations:
        checksum = done.get((migration.origin, migration.name))
        if checksum is not None:
            if checksum != migration.checksum:
                raise MigrationError(f"{schema}/{migration.name} was changed after it was applied")
            continue
        if phase not in ("all", migration.phase):
            if phase == "post":
                raise MigrationError(f"{schema}/{migration.name} is not applied: migrate with phase pre first")
            continue
        async with connection.transaction():
            await connection.execute(f"set local search_path = {schema}")
            await connection.execute(migration.sql)
            await connection.execute(
                f"insert into {schema}.schema_migration (origin, name, checksum) values ($1, $2, $3)",
                migration.origin,
                migration.name,
                migration.checksum,
            )
            # The first file of each schema makes this table.
            await connection.execute(
                f"insert into {schema}.audit (actor, action, target) values ($1, 'schema.migrate', $2)", by, migration.name
            )
        applied.append(f"{schema}/{migration.name}")
    return applied


async def _ensure_role(
    connection: "asyncpg.Connection[asyncpg.Record]", service: Service, database: str, password: str | None
) -> None:
    if not _IDENTIFIER.match(service.role):
        raise MigrationError(f"not a role name: {service.role}")
    if not await connection.fetchval("select 1 from pg_roles where rolname = $1", service.role):
        await connection.execute(
            f"create role {service.role} login nosuperuser nocreatedb nocreaterole noinherit noreplication nobypassrls"
        )
    if not await connection.fetchval("select 1 from pg_roles where rolname = $1", sealer_role(service.role)):
        await connection.execute(f"create role {sealer_role(service.role)} nologin")
    if password is not None:
        # ALTER ROLE takes no parameters; quote_literal is the server's own quoting.
        literal = await connection.fetchval("select quote_literal($1::text)", password)
        await connection.execute(f"alter role {service.role} password {literal}")
    await connection.execute(f'grant connect on database "{database}" to {service.role}')


async def _grant(connection: "asyncpg.Connection[asyncpg.Record]", service: Service) -> None:
    schema, role = service.schema, service.role
    async with connection.transaction():
        await connection.execute(f"revoke all on schema {schema} from public")
        await connection.execute(f"grant usage on schema {schema}, runtime to {role}")
        await connection.execute(f"grant select, insert, update, delete on all tables in schema {schema} to {role}")
        # A part of a partitioned table is reached through the whole, whose rights hold.
        parts = (
            "select relname from pg_class where relispartition and relkind in ('r', 'p') and relnamespace = to_regnamespace($1)"
        )
        for part in await connection.fetch(parts, schema):
            await connection.execute(f"revoke all on {schema}.{part['relname']} from {role}")
        for table in (*_APPEND_ONLY, *service.append_only):
            await connection.execute(f"revoke update, delete on {schema}.{table} from {role}")
        for table in _READ_ONLY:
            await connection.execute(f"revoke insert, update, delete on {schema}.{table} from {role}")
        # The sealer is taken on with SET ROLE, by one connection: nothing else of the service can write a seal.
        sealer = sealer_role(role)
        await connection.execute(f"grant {sealer} to {role} with inherit false, set true")
        await connection.execute(f"grant usage on schema {schema} to {sealer}")
        await connection.execute(f"grant select on {schema}.audit, {schema}.audit_seal to {sealer}")
        await connection.execute(f"grant insert on {schema}.audit_seal to {sealer}")
        functions = "runtime.clinic_now(), runtime.keep_clock(), runtime.oldest_transaction()"
        await connection.execute(f"grant execute on function {functions} to {role}")
