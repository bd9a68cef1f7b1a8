"""Connections are a budget, and one that comes back to its pool carries nothing of whoever had it."""

import ast
import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from services.cli.catalogue import load_services
from services.cli.stack.postgres import MAX_CONNECTIONS
from services.runtime.database import Budget, Connection, Database, Unavailable
from services.runtime.messaging.changes import AuditEntry, Changes, Rejected, Reply
from services.runtime.messaging.unit_of_work import IdempotencyKey
from services.runtime.metrics import Metrics
from services.runtime.serve import build
from services.runtime.settings import DatabaseSettings
from tests.support.ledger.app import SERVICE
from tests.support.waiting import eventually
from tests.support.world import World

pytestmark = pytest.mark.asyncio

ROOT = Path(__file__).parents[2]
REPLICAS = 2
OWN = {"relay": 1, "sealer": 1}
"""Connections of their own, beside the pools."""
FEED = 1
"""The board's, in each of its processes while somebody streams."""
RESERVE = 20
"""For the server itself (superuser_reserved_connections is 3), a migration, and operators who look around."""
SERVICES_OF_THE_PRODUCT = 7


@asynccontextmanager
async def opened(world: World, **changed: object) -> AsyncIterator[Database]:
    settings = DatabaseSettings(**{**world.settings().database.model_dump(), **changed})
    database = Database(settings, "ledger", Metrics())
    await database.open()
    try:
        yield database
    finally:
        await database.close()


# --- the budget --------------------------------------------------------------------------------------------------------


async def test_all_services_twice_fit_into_what_the_database_takes(world: World) -> None:
    defaults = DatabaseSettings(url=world.settings().database.url)
    one = sum(Database(defaults, "any", Metrics()).sizes.values()) + sum(OWN.values())
    services = max(len(load_services()), SERVICES_OF_THE_PRODUCT)
    assert (one * services + FEED) * REPLICAS + RESERVE <= MAX_CONNECTIONS
    async with world.owner() as connection:
        assert int(await connection.fetchval("show max_connections")) == MAX_CONNECTIONS


async def test_a_busy_process_keeps_to_its_budgets_and_has_no_other_connection(world: World) -> None:
    ledger = await world.spawn()

    async def post(number: int) -> None:
        async def accepted() -> bool:  # under its own key again and again: a pool that is busy for a second answers 503
            return (await world.post(ledger, f"e{number}", f"a{number}")).status == 201

        await eventually(accepted, within_s=60)

    await asyncio.gather(*(post(number) for number in range(60)))
    await world.settled(60)
    rows = await world.rows(
        "select application_name as name, count(*) as n from pg_stat_activity "
        "where datname = current_database() and usename = $1 group by 1",
        SERVICE.role,
    )
    found = {row["name"].removeprefix("telemed.ledger."): row["n"] for row in rows}
    sizes = {budget.value: size for budget, size in Database(world.settings().database, "x", Metrics()).sizes.items()}
    allowed = {**sizes, **OWN}
    assert set(found) == set(allowed)
    assert found["http"] > 1, "it was busy"
    assert all(count <= allowed[name] for name, count in found.items()), found


async def test_when_no_connection_comes_free_in_time_the_caller_is_told_and_later_ones_work(world: World) -> None:
    async with opened(world, http_connections=2, acquire_timeout_s=0.2) as database:
        async with AsyncExitStack() as held:
            for _ in range(2):
                await held.enter_async_context(database.acquire(Budget.HTTP))
            with pytest.raises(Unavailable):
                async with database.acquire(Budget.HTTP):
                    pytest.fail("there was a third connection")
            async with database.acquire(Budget.TIMERS) as other:
                assert await other.fetchval("select 1") == 1, "one kind of work must not starve another"
        async with database.acquire(Budget.HTTP) as connection:
            assert await connection.fetchval("select 1") == 1
        assert database.idle()


async def test_the_server_finds_out_within_a_minute_that_a_client_is_gone_without_a_word(world: World) -> None:
    """Or its dead sessions would fill ``max_connections`` for the hours that an operating system waits."""
    async with opened(world) as database:
        for budget in Budget:
            async with database.acquire(budget) as connection:
                idle, interval, count = [
                    int(await connection.fetchval(f"show tcp_keepalives_{name}")) for name in ("idle", "interval", "count")
                ]
                assert 0 < idle + interval * count <= 60


# --- nothing is left on a connection -----------------------------------------------------------------------------------

# Connections of their own, closed afterwards: the migration runner, the sealer with its role, what a person runs by hand, the
# feed of the board, which listens.
_NOT_POOLED = (
    "services/runtime/migrations/",
    "services/runtime/audit/sealer.py",
    "services/cli/",
    "services/staff_dashboard/commands.py",
)
# The same, in files of which everything else is looked at: the relay listens on its own, samples are kept by hand on one.
_ON_THEIR_OWN = {
    "services/runtime/messaging/relay.py": ["add_listener"],
    "services/session_logging/store/retention.py": [
        "set search_path = session_logging, runtime",
        "set lock_timeout = '4s'",
    ],
}
_STATE = re.compile(
    r"(?:^|;)\s*(?:set\s+(?!local\b)(?:role|session|time\s+zone|[a-z_.]+\s*(?:=|\bto\b))|(?:reset|discard|listen|prepare)\s+\w)"
    r"|\bcreate\s+temp|\bpg_(?:try_)?advisory_lock(?:_shared)?\s*\(|\bset_config\s*\(",
    re.IGNORECASE,
)
_METHODS = {"add_listener", "add_log_listener", "set_builtin_type_codec"}


def statements(tree: ast.Module) -> Iterator[str]:
    """Strings that may be SQL, docstrings left out; the parts of an f-string are one."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {id(node.body[0].value) for node in ast.walk(tree) if isinstance(node, documented)
                  and node.body and isinstance(node.body[0], ast.Expr)}  # fmt: skip
    inside: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            inside |= {id(part) for part in node.values}
            yield "".join(part.value if isinstance(part, ast.Constant) else "x" for part in node.values)  # type: ignore[misc]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and not {id(node)} & (inside | docstrings):
            yield node.value


def session_state(tree: ast.Module) -> list[str]:
    found = [text for text in statements(tree) if _STATE.search(text)]
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return found + [call.attr for call in calls if isinstance(call, ast.Attribute) and call.attr in _METHODS]


@pytest.mark.parametrize(
    "code",
    [
        "c.execute('set lock_timeout = 1')",
        "c.execute('select 1; SET ROLE x')",
        "c.execute(f'set search_path = {schema}')",
        "c.execute('listen wake')",
        "c.fetchval('select pg_advisory_lock(1)')",
        "c.fetchval('select pg_try_advisory_lock($1, $2)', 1, 2)",
        "c.execute('create temp table t (i int)')",
        "c.execute(\"select set_config('a', 'b', false)\")",
        "c.add_listener('x', f)",
    ],
)
async def test_code_that_leaves_something_on_a_connection_is_noticed(code: str) -> None:
    assert session_state(ast.parse(code))


async def test_no_code_that_runs_on_a_pooled_connection_leaves_anything_on_it() -> None:
    for harmless in ("set local lock_timeout = '2s'", "update t set a = 1", "select pg_advisory_xact_lock(1)"):
        assert not session_state(ast.parse(f"c.execute({harmless!r})"))
    found = {}
    for path in (*(ROOT / "services").rglob("*.py"), *(ROOT / "tests" / "support" / "ledger").rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith(_NOT_POOLED):
            found[name] = session_state(ast.parse(path.read_text(encoding="utf-8")))
    assert {name: texts for name, texts in found.items() if texts} == _ON_THEIR_OWN


async def left_on(connection: Connection) -> list[str]:
    """What this session has that a new one has not."""
    rows = await connection.fetch(
        """select name from pg_settings where source = 'session' and setting <> reset_val
           union all select 'lock' from pg_locks where pid = pg_backend_pid() and locktype = 'advisory'
           union all select 'channel' from pg_listening_channels()
           union all select 'role' where current_user <> session_user
           union all select relname from pg_class where relpersistence = 't' and pg_table_is_visible(oid)"""
    )
    return [row["name"] for row in rows]


async def test_a_connection_comes_back_as_it_went_out(world: World) -> None:
    """All that runs on pooled connections, also what fails half-way: commands, idempotency keys, consumers, timers, drains."""
    runtime = build(SERVICE, world.settings())
    await runtime.database.open()
    try:

        async def decide(_: object, __: object) -> Changes | Rejected:
            return Changes(audit=[AuditEntry("a", "b", "c")], reply=Reply(200))

        async def refuse(_: object, __: object) -> Changes | Rejected:
            return Rejected("no", final=False)

        async def fail(_: object, __: object) -> Changes:
            raise RuntimeError

        for number, step in enumerate((decide, decide, refuse)):
            key = IdempotencyKey.of("i", "s", "c", "r", f"k{number}", b"")
            await asyncio.gather(*(runtime.unit_of_work.execute(step, key=key) for _ in range(6)))
        with pytest.raises(RuntimeError):
            await runtime.unit_of_work.execute(fail, key=IdempotencyKey.of("i", "s", "c", "r", "f", b""))
        works = [*(c.run() for c in runtime.consumers), *(d.run() for d in runtime.drains), runtime.timers.run()]
        tasks = [asyncio.create_task(work) for work in works]
        ledger = await world.spawn()
        for number in range(5):
            await world.post(ledger, f"e{number}", "a1", page=True)
        await world.settled(5)
        await ledger.kill()

        async def waiting() -> bool:
            return bool(await world.value("select count(*) = 0 from timer where status = 'waiting' and due_at <= clinic_now()"))

        await eventually(waiting)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert runtime.database.idle()
        for budget, size in runtime.database.sizes.items():
            async with AsyncExitStack() as held:
                for _ in range(size):
                    connection = await held.enter_async_context(runtime.database.acquire(budget))
                    assert await left_on(connection) == [], budget
        async with runtime.database.acquire(Budget.HTTP) as connection:
            await connection.execute("set lock_timeout = '77s'")
            assert await left_on(connection) == ["lock_timeout"], "the check sees what is left"
    finally:
        await runtime.database.close()
