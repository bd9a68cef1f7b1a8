"""PostgreSQL connections: a bounded budget for each kind of work, and what its failures mean.

Hazards of asyncpg that are handled here: an ``acquire`` without a timeout waits for ever; the reset query on release costs a
round trip per request (we set no session state: locks are transaction locks, settings are ``set local``); after a lost
connection or a cancelled await the outcome of a commit is unknown, never "rolled back". Connect to the server itself: a pooler
that lends a connection for a transaction only (pgbouncer) loses what it holds, prepared statements and ``LISTEN``.
"""

import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import asyncpg

from services.runtime.metrics import Metrics
from services.runtime.settings import DatabaseSettings
from services.runtime.waiting import within

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
    Record = asyncpg.Record
    Pool = asyncpg.Pool[asyncpg.Record]
else:
    Connection = asyncpg.Connection
    Record = asyncpg.Record
    Pool = asyncpg.Pool

__all__ = [
    "CONFLICTS",
    "LOST",
    "OF_A_STATEMENT",
    "TAKEN",
    "TRANSIENT",
    "Budget",
    "Conflict",
    "Connection",
    "Database",
    "OutcomeUnknown",
    "Reader",
    "Record",
    "Unavailable",
]


class Unavailable(Exception):
    """The database cannot be reached, or no connection came free in time; nothing was written. HTTP 503."""


class OutcomeUnknown(Exception):
    """The connection broke while committing: it may or may not have happened. Only the idempotency key settles it."""


class Conflict(Exception):
    """A row no longer has the version that the decision has read."""


LOST: tuple[type[Exception], ...] = (
    Unavailable,
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # asyncpg's word for an answer that a connection in the middle of being lost still gives
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.QueryCanceledError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.DiskFullError,
)
"""Errors after which the database, or our way to it, is gone for now."""

OF_A_STATEMENT: tuple[type[Exception], ...] = (TimeoutError, asyncpg.QueryCanceledError)
"""Those of them that one slow statement may be guilty of, and not the database."""

CONFLICTS: tuple[type[Exception], ...] = (
    Conflict,
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.LockNotAvailableError,
)
"""Errors that a fresh read may cure."""

TAKEN: tuple[type[Exception], ...] = (asyncpg.UniqueViolationError,)
"""Somebody else has just written what must be unique: a command that reads again finds it. For a consumer it is a bug."""

TRANSIENT: tuple[type[Exception], ...] = (*LOST, *CONFLICTS)
"""Errors of the moment: nobody's fault, tried again."""

_REFUSED: tuple[type[Exception], ...] = (*LOST, asyncpg.PostgresError)


class Budget(StrEnum):
    """What a connection is for. Each kind has its own pool, so that one cannot starve another."""

    HTTP = "http"
    CONSUMERS = "consumers"
    TIMERS = "timers"


class Reader:
    """The read side of a transaction: all that a command or handler gets of the database."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def fetch(self, query: str, *args: object) -> list[Record]:
        """All rows."""
        return await self._connection.fetch(query, *args)

    async def fetchrow(self, query: str, *args: object) -> Record | None:
        """The first row, or None."""
        return await self._connection.fetchrow(query, *args)

    async def fetchval(self, query: str, *args: object) -> Any:
        """The first value of the first row, or None."""
        return await self._connection.fetchval(query, *args)


class Database:
    """The pools of one service process, all as its own role with ``search_path`` pinned to its schema."""

    def __init__(self, settings: DatabaseSettings, schema: str, metrics: Metrics) -> None:
        self._settings = settings
        self._schema = schema
        self._metrics = metrics
        self._pools: dict[Budget, Pool] = {}

    @property
    def acquire_timeout_s(self) -> float:
        """How long one waits for a connection, then is refused."""
        return self._settings.acquire_timeout_s

    @property
    def sizes(self) -> Mapping[Budget, int]:
        """Connections per budget; the relay holds one more."""
        settings = self._settings
        return {
            Budget.HTTP: settings.http_connections,
            Budget.CONSUMERS: settings.consumer_connections,
            Budget.TIMERS: settings.timer_connections,
        }

    async def open(self) -> None:
        """Open every pool with one connection each.

        Raises:
            Unavailable: if the database cannot be reached.
        """
        for budget, size in self.sizes.items():
            try:
                self._pools[budget] = await asyncpg.create_pool(
                    self._settings.dsn(),
                    min_size=1,
                    max_size=size,
                    max_inactive_connection_lifetime=300,
                    reset=_nothing_to_reset,
                    init=_init,
                    **self._options(budget.value),
                )
            except _REFUSED as error:
                raise Unavailable(type(error).__name__) from None

    async def close(self) -> None:
        """Close every pool; connections still busy after three seconds are cut."""
        for pool in self._pools.values():
            try:
                await within(3, pool.close())
            except LOST:
                pool.terminate()

    async def connect(self, purpose: str, *, idle_in_transaction_s: float, **settings: str) -> Connection:
        """A connection of its own, outside the pools.

        Args:
            purpose: shown in ``pg_stat_activity``.
            idle_in_transaction_s: after which PostgreSQL ends a session that stands still inside a transaction; without it a
                stopped process would hold its locks for ever.
            settings: more settings of the session.
        """
        options = self._options(purpose, idle_in_transaction_s)
        options["server_settings"] |= settings
        connection: Connection = await asyncpg.connect(self._settings.dsn(), **options)
        await _init(connection)
        return connection

    def idle(self) -> bool:
        """Whether every open connection of every pool is free (no leak)."""
        return all(pool.get_idle_size() == pool.get_size() for pool in self._pools.values())

    @asynccontextmanager
    async def acquire(self, budget: Budget) -> AsyncIterator[Connection]:
        """A connection for a short while.

        Raises:
            Unavailable: if none comes free within the acquire timeout.
        """
        started = time.perf_counter()
        pool = self._pools[budget]
        try:
            connection = await pool.acquire(timeout=self._settings.acquire_timeout_s)
        except _REFUSED as error:
            raise Unavailable(type(error).__name__) from None
        self._metrics.pool_wait.labels(budget.value).observe(time.perf_counter() - started)
        try:
            yield connection  # type: ignore[misc]
        finally:
            await pool.release(connection)

    @asynccontextmanager
    async def reading(self, budget: Budget) -> AsyncIterator[Connection]:
        """A connection for reading only: whatever happens to it on the way, nothing was written.

        Raises:
            Unavailable: none came free in time, or it was lost, or a statement took too long.
        """
        try:
            async with self.acquire(budget) as connection:
                yield connection
        except LOST as error:
            raise Unavailable(type(error).__name__) from None

    def _options(self, purpose: str, idle_in_transaction_s: float = 15.0) -> dict[str, Any]:
        return {
            "timeout": 5,
            "command_timeout": self._settings.command_timeout_s,
            "server_settings": {
                "application_name": f"telemed.{self._schema}.{purpose}",
                "search_path": self._schema,
                "timezone": "UTC",
                "jit": "off",
                "lock_timeout": "2s",
                "statement_timeout": str(int(self._settings.command_timeout_s * 1000)),
                "idle_in_transaction_session_timeout": str(int(idle_in_transaction_s * 1000)),
                # A session whose client is gone without a word keeps its place in ``max_connections`` until the server finds
                # out: within a minute, instead of the two hours of an operating system.
                "tcp_keepalives_idle": "30",
                "tcp_keepalives_interval": "10",
                "tcp_keepalives_count": "3",
            },
        }


async def _nothing_to_reset(_: Connection) -> None:
    """No code of ours sets session state; a test proves it."""


async def _init(connection: Connection) -> None:
    await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=_dump, decoder=_parse, format="text")


def _dump(value: object) -> str:
    return json.dumps(value, default=str, allow_nan=False)


def _parse(text: str) -> Any:
    return json.loads(text, parse_float=Decimal)
