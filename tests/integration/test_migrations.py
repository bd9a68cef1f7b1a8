"""Migrations and what they grant, on a real PostgreSQL: its own refusals are the proof."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from services.runtime.migrations import MigrationError, files_in, migrate, pending
from services.runtime.service import Service
from tests.support.ledger.app import SERVICE as LEDGER
from tests.support.servers import LEDGER_PASSWORD
from tests.support.world import World

pytestmark = pytest.mark.asyncio

PASSWORD = "diary-password"


@dataclass
class Diary:
    """A second service of three files, in the ledger's database."""

    world: World
    folder: Path
    files: dict[str, str] = field(
        default_factory=lambda: {
            "0001_pre_page.sql": "create table leaf (id integer primary key);",
            "0002_post_page.sql": "alter table leaf add column closed boolean not null default true;",
            "0003_pre_page.sql": "alter table leaf add column text text not null default '';",
        }
    )

    def service(self) -> Service:
        for name, text in self.files.items():
            (self.folder / name).write_text(text, encoding="utf-8")
        return Service(name="diary", package="none", migrations=self.folder, port=1)

    @property
    def owner_dsn(self) -> str:
        return self.world.servers.postgres.url(self.world.database)

    async def migrate(self, phase: str = "all") -> list[str]:
        """What was applied of the diary's own."""
        passwords = {"telemed_diary": PASSWORD}
        applied = await migrate(self.owner_dsn, [self.service()], passwords=passwords, phase=phase, by="Ann")  # type: ignore[arg-type]
        return [name.removeprefix("diary/") for name in applied if "_page" in name or "more" in name]

    async def columns(self) -> set[str]:
        found = await self.world.rows(
            "select column_name from information_schema.columns where table_schema = 'diary' and table_name = 'leaf'"
        )
        return {row["column_name"] for row in found}


@pytest_asyncio.fixture
async def diary(world: World, tmp_path: Path) -> Diary:
    folder = tmp_path / "migrations"
    folder.mkdir()
    return Diary(world, folder)


@asynccontextmanager
async def as_role(world: World, role: str, password: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    postgres = world.servers.postgres
    connection = await asyncpg.connect(
        host="127.0.0.1", port=postgres.port, user=role, password=password, database=world.database
    )
    try:
        yield connection
    finally:
        await connection.close()


# --- files and phases --------------------------------------------------------------------------------------------------


async def test_what_is_safe_beside_the_old_code_comes_first_and_the_rest_when_it_is_gone(diary: Diary) -> None:
    with pytest.raises(MigrationError, match="phase pre first"):
        await diary.migrate("post")
    assert await diary.migrate("pre") == ["0001_pre_page.sql", "0003_pre_page.sql"]
    assert await diary.columns() == {"id", "text"}
    async with diary.world.owner() as connection:
        assert await pending(connection, diary.service()) == ["0002_post_page.sql"]
    assert await diary.migrate("post") == ["0002_post_page.sql"]
    assert await diary.columns() == {"id", "text", "closed"}
    assert await diary.migrate() == []


async def test_each_migration_leaves_an_audit_row_in_its_schema(diary: Diary) -> None:
    await diary.migrate()
    rows = await diary.world.rows("select actor, target from diary.audit where action = 'schema.migrate' order by id")
    assert [row["target"] for row in rows][-3:] == list(diary.files)
    assert {row["actor"] for row in rows} == {"Ann"}


async def test_a_file_that_was_changed_after_it_was_applied_is_refused(diary: Diary) -> None:
    await diary.migrate()
    diary.files["0001_pre_page.sql"] += "\n-- a comment is a change too\n"
    with pytest.raises(MigrationError, match=r"0001_pre_page\.sql was changed"):
        await diary.migrate()
    async with diary.world.owner() as connection:
        with pytest.raises(MigrationError, match=r"0001_pre_page\.sql was changed"):
            await pending(connection, diary.service())


@pytest.mark.parametrize(
    "name", ["1_pre_x.sql", "0004_x.sql", "0004_mid_x.sql", "0004_pre_X.sql", "0004_pre_.sql", "0003_post_again.sql"]
)
async def test_a_file_whose_name_does_not_say_its_order_and_phase_is_refused(diary: Diary, name: str) -> None:
    diary.files[name] = "select 1;"
    with pytest.raises(MigrationError, match="each number once"):
        await diary.migrate()
    assert await diary.columns() == set(), "nothing of the folder may have been applied"


async def test_a_file_that_fails_half_way_leaves_nothing_and_stops_the_rest(diary: Diary) -> None:
    diary.files["0004_pre_more.sql"] = "create table half (id integer); select 1 / 0;"
    diary.files["0005_pre_more.sql"] = "create table later (id integer);"
    with pytest.raises(asyncpg.DivisionByZeroError):
        await diary.migrate()
    assert await diary.world.value("select to_regclass('diary.half')") is None
    assert await diary.world.value("select to_regclass('diary.later')") is None
    diary.files["0004_pre_more.sql"] = "create table half (id integer);"
    assert await diary.migrate() == ["0004_pre_more.sql", "0005_pre_more.sql"]


async def test_two_runs_at_once_take_turns_and_apply_each_file_once(diary: Diary) -> None:
    service = diary.service()
    runs = await asyncio.gather(*(migrate(diary.owner_dsn, [service]) for _ in range(3)))
    applied = [name for run in runs for name in run]
    assert len(applied) == len(set(applied))
    assert {"diary/0001_pre_page.sql", "diary/0002_post_page.sql", "diary/0003_pre_page.sql"} <= set(applied)
    assert sum(map(bool, runs)) == 1


async def test_the_kernels_and_the_ledgers_own_files_are_well_named() -> None:
    assert files_in("service", LEDGER.migrations)


# --- a service and its database must fit -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("delete from ledger.schema_migration where name = '0001_pre_ledger.sql'", "not migrated: 0001_pre_ledger.sql"),
        ("update ledger.schema_migration set checksum = '' where name = '0001_pre_ledger.sql'", "was changed after"),
    ],
)
async def test_a_service_refuses_to_start_on_a_database_that_is_behind(world: World, change: str, reason: str) -> None:
    async with world.owner() as connection:
        assert await connection.execute(change) != "UPDATE 0"
    ledger = await world.spawn(wait=False)
    assert await ledger.ended(60) == 1
    assert reason in ledger.log.read_text(encoding="utf-8")


# --- what a role may not do --------------------------------------------------------------------------------------------

REFUSED = {
    "make a table": "create table ledger.mine (id integer)",
    "make a table in public": "create table public.mine (id integer)",
    "make a temporary table": "create temp table mine (id integer)",
    "make a schema": "create schema mine",
    "make a function": "create function ledger.mine() returns integer language sql as 'select 1'",
    "change a table": "alter table ledger.account add column mine integer",
    "drop a table": "drop table ledger.effect",
    "empty a table": "truncate ledger.effect",
    "index a table": "create index on ledger.effect (amount)",
    "switch off a trigger or constraint": "alter table ledger.account disable trigger all",
    "correct the outbox": "update ledger.outbox set body = ''",
    "clear the outbox": "delete from ledger.outbox",
    "correct the audit": "update ledger.audit set actor = 'nobody'",
    "clear the audit": "delete from ledger.audit",
    "empty the audit": "truncate ledger.audit",
    "pretend a migration": "insert into ledger.schema_migration values ('kernel', 'x', 'x')",
    "forget a migration": "delete from ledger.schema_migration",
    "read another service's rows": "select * from diary.leaf",
    "read another service's outbox": "select * from diary.outbox",
    "write another service's rows": "insert into diary.leaf values (1)",
    "move the clinic clock": "update runtime.clinic_clock set shift = interval '1 day'",
    "read who moved the clinic clock": "select * from runtime.clinic_clock",
    "read the deployment's audit": "select * from runtime.audit",
    "write the deployment's audit": "insert into runtime.audit (actor, action, target) values ('a', 'b', 'c')",
    "become another service": "set role telemed_diary",
    "become the owner": "set role postgres",
    "become a superuser": "alter role telemed_ledger superuser",
    "make a role": "create role mine",
    "read a server's file": "select pg_read_file('PG_VERSION')",
    "run a program": "copy (select 1) to program 'cat > /dev/null'",
}
# The owner cannot do these in a transaction, or with the tables as they are; the others are tried as the owner first.
_ONLY_AS_ROLE = {"become a superuser"}


async def test_the_services_role_is_refused_by_postgresql_whatever_is_not_its_own(diary: Diary) -> None:
    await diary.migrate()
    world = diary.world
    async with world.owner() as owner, as_role(world, LEDGER.role, LEDGER_PASSWORD) as role:
        for what, statement in REFUSED.items():
            if what not in _ONLY_AS_ROLE:
                transaction = owner.transaction()
                await transaction.start()
                await owner.execute(statement)  # it is a right statement: only the role is wrong
                await transaction.rollback()
            assert await is_refused(role, statement), f"the role may {what}"


async def is_refused(connection: "asyncpg.Connection[asyncpg.Record]", statement: str) -> bool:
    try:
        await connection.execute(statement)
    except asyncpg.InsufficientPrivilegeError:
        return True
    return False


async def test_the_services_role_can_do_its_work(world: World) -> None:
    async with as_role(world, LEDGER.role, LEDGER_PASSWORD) as role:
        await role.execute("insert into ledger.audit (actor, action, target) values ('a', 'b', 'c')")
        assert await role.fetchval("select count(*) from ledger.audit where actor = 'a'") == 1
        assert await role.fetchval("select runtime.clinic_now() <= clock_timestamp()")
        assert await role.fetchval("select count(*) from ledger.outbox") == 0
        rights = await role.fetchrow(
            "select rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls, rolinherit from pg_roles "
            "where rolname = current_user"
        )
        assert rights is not None
        assert not any(rights.values())


async def test_a_new_table_is_granted_and_a_new_service_cannot_read_the_old_ones(diary: Diary) -> None:
    await diary.migrate()
    diary.files["0004_pre_more.sql"] = "create table more (id integer);"
    await diary.migrate()
    async with as_role(diary.world, "telemed_diary", PASSWORD) as role:
        await role.execute("insert into diary.more values (1)")
        for table in ("entry", "outbox", "audit", "page"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await role.execute(f"select * from ledger.{table}")
