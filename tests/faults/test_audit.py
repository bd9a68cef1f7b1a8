"""The sealed audit: whoever changes it is found out, and no crash of the sealer leaves a row out or forks the chain."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.cli.operate.audit import heads_of, public_keys, verify
from services.runtime.audit.seal import COLUMNS, FIRST, Head, Key, seal
from tests.support.ledger.app import SERVICE
from tests.support.load import NO_BROKER, Load
from tests.support.waiting import eventually
from tests.support.world import World

pytestmark = pytest.mark.asyncio


@dataclass
class Trail:
    """A ledger's audit, as whoever owns the database sees it, and what an auditor says of it."""

    world: World
    copy: Path

    @property
    def heads(self) -> Path:
        return Path(self.world.environment["TELEMED_AUDIT_HEADS_FILE"])

    async def sealed(self) -> None:
        """Wait until every row is sealed and the file knows it."""

        async def all_sealed() -> bool:
            unsealed = await self.world.value(
                """select count(*) from audit
                   where not id <@ (select coalesce(range_agg(s), '{}') from audit_seal a, unnest(a.ids) s)"""
            )
            newest = await self.world.value("select max(number) from audit_seal")
            known = heads_of(self.heads) if self.heads.exists() else []
            return unsealed == 0 and bool(known) and known[-1].number == newest

        await eventually(all_sealed, what="every row is sealed")

    async def owner(self, *statements: str) -> None:
        """What somebody with all rights does."""
        async with self.world.owner() as owner, owner.transaction():
            for statement in statements:
                await owner.execute(statement)

    async def findings(self, *, heads: bool = True) -> set[str]:
        """Codes of what the auditor finds."""
        known = heads_of(self.heads) if heads and self.heads.exists() else []
        keys = public_keys([self.world.servers.seal_key])
        async with self.world.owner() as connection:
            return {finding.code async for finding in verify(connection, SERVICE.name, keys, known)}


@pytest_asyncio.fixture
async def trail(world: World, tmp_path: Path, seed: int) -> AsyncIterator[Trail]:
    """Some sealed rows, and nobody who seals any more."""
    ledger = await world.spawn(**NO_BROKER)
    made = Trail(world, tmp_path)
    async with Load(seed) as load:
        for _ in range(4):
            await load.run([ledger], 8)
            await made.sealed()
    await ledger.kill()
    assert await made.findings() == set()
    yield made


TOP = "(select max(id) from audit)"
SOME = "(select id from audit where action = 'entry.post' order by id limit 1 offset 9)"


_ROW = "insert into audit (actor, action, target) values ('x', 'y', 'z')"
TAMPERING = {
    "edit": ([f"update audit set actor = 'somebody' where id = {SOME}"], {"rows-edited"}),
    "another time": ([f"update audit set at = at + interval '1 second' where id = {SOME}"], {"rows-edited"}),
    "swap": (
        [
            f"""update audit a set target = b.target from audit b
                where a.id in ({SOME}, {SOME} + 1) and b.id = {SOME} * 2 + 1 - a.id"""
        ],
        {"rows-edited"},
    ),
    "delete in the middle": ([f"delete from audit where id = {SOME}"], {"row-missing"}),
    "delete the last ten": ([f"delete from audit where id > {TOP} - 10"], {"row-missing"}),
    "delete every row": (["delete from audit"], {"row-missing"}),
    "delete everything": (["delete from audit", "delete from audit_seal"], {"database-behind-its-heads"}),
    "an older dump": (
        [
            "delete from audit where id <@ (select range_agg(s) from audit_seal a, unnest(a.ids) s where a.number > 2)",
            "delete from audit_seal where number > 2",
        ],
        {"database-behind-its-heads"},
    ),
    "delete a seal": (["delete from audit_seal where number = 2"], {"seal-missing"}),
    "edit a hash": (["update audit_seal set rows_hash = sha256('x') where number = 2"], {"seal-edited", "rows-edited"}),
    "edit a time": (["update audit_seal set sealed_at = sealed_at + interval '1 s' where number = 2"], {"seal-edited"}),
    "edit a signature": (
        ["update audit_seal set signature = decode(repeat('00', 64), 'hex') where number = 2"],
        {"signature-wrong"},
    ),
    "add a row": (
        ["insert into audit (at, actor, action, target) values (now() - interval '1 hour', 'x', 'entry.post', 'y')"],
        {"row-unsealed"},
    ),
}


async def test_whoever_changes_the_audit_is_found_out(trail: Trail) -> None:
    """Each kind of tampering on a copy of the same audit."""
    wrong = {}
    connection = await asyncpg.connect(trail.world.servers.postgres.url())
    whole = trail.world.database
    try:
        for number, (name, (statements, found)) in enumerate(TAMPERING.items()):
            trail.world.database = f"{whole}_{number}"
            await connection.execute(f"create database {trail.world.database} template {whole}")
            await trail.owner(*statements)
            told = await trail.findings()
            if told != found:
                wrong[name] = told
            await connection.execute(f"drop database {trail.world.database} with (force)")
    finally:
        trail.world.database = whole
        await connection.close()
    assert wrong == {}


async def test_a_forgery_that_is_chained_anew_without_the_key_is_found_by_its_signature_and_by_the_heads(trail: Trail) -> None:
    """Rows edited, every hash computed anew, and signed by a key of the forger's own under the known name."""
    await trail.owner(f"update audit set actor = 'somebody' where id = {SOME}")
    forger = Key(trail.world.servers.seal_key.stem, Ed25519PrivateKey.generate())
    async with trail.world.owner() as owner:
        seals = await owner.fetch("select number, ids, sealed_at from audit_seal order by number")
        last = Head(0, FIRST)
        await owner.execute("delete from audit_seal")
        for old in seals:
            rows = await owner.fetch(
                f"select {', '.join(COLUMNS)} from audit where id <@ $1::int8multirange order by id", old["ids"]
            )
            made = seal(rows, last, SERVICE.name, forger, old["sealed_at"])
            last = Head(made.number, made.hash)
            await owner.execute(
                """insert into audit_seal (number, ids, count, rows_hash, previous, sealed_at, key, hash, signature)
                   values ($1, $2, $3, $4, $5, $6, $7, $8, $9)""",
                made.number,
                [asyncpg.Range(first, end + 1) for first, end in made.ids],
                made.count,
                made.rows_hash,
                made.previous,
                made.sealed_at,
                made.key,
                made.hash,
                made.signature,
            )
    assert await trail.findings(heads=False) == {"signature-wrong"}
    assert await trail.findings() == {"signature-wrong", "not-the-head-that-was-published"}


async def test_an_older_dump_that_is_written_on_is_named_at_once_and_by_the_auditor(trail: Trail, seed: int) -> None:
    await trail.owner(
        "delete from audit where id <@ (select range_agg(s) from audit_seal a, unnest(a.ids) s where a.number > 2)",
        "delete from audit_seal where number > 2",
    )
    heir = await trail.world.spawn(**NO_BROKER)

    async def paged() -> bool:
        return bool(await trail.world.value("select 1 from page where code = 'runtime.audit-behind-its-heads'"))

    await eventually(paged, what="somebody is called")
    async with Load(seed + 1) as load:
        await load.run([heir], 8)
    await trail.sealed()
    # If fewer seals are made than were lost, the last ones are still missing.
    assert await trail.findings() - {"database-behind-its-heads"} == {"not-the-head-that-was-published"}


async def test_the_services_own_role_can_neither_write_a_seal_nor_change_a_row(trail: Trail) -> None:
    connection = await asyncpg.connect(
        trail.world.environment["TELEMED_DATABASE_URL"], server_settings={"search_path": "ledger"}
    )
    try:
        for statement in (
            "delete from audit_seal",
            "update audit_seal set count = 1",
            "insert into audit_seal select * from audit_seal limit 1",
            "update audit set actor = 'x'",
            "delete from audit",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
        await connection.execute(f"set role {SERVICE.role}_sealer")
        for statement in ("delete from audit_seal", "update audit set actor = 'x'", _ROW):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    finally:
        await connection.close()


@pytest.mark.parametrize("place", ["seal.before_commit", "seal.after_commit", "seal.after_file"])
async def test_a_sealer_killed_at_any_place_leaves_no_row_out_and_one_chain(
    world: World, tmp_path: Path, seed: int, place: str
) -> None:
    trail = Trail(world, tmp_path)
    doomed = await world.spawn(**NO_BROKER, failpoints=f"{place}=kill@2")
    async with Load(seed) as load:
        load.start([doomed])
        await doomed.ended()
        await load.stop()
        assert place in doomed.fired()
        heir = await world.spawn(**NO_BROKER)
        await load.run([heir], 10)
    await trail.sealed()
    assert await trail.findings() == set()
    numbers = [head.number for head in heads_of(trail.heads)]
    assert numbers == sorted(set(numbers)), "the file has every seal once"


async def test_two_replicas_make_one_chain(world: World, tmp_path: Path, seed: int) -> None:
    trail = Trail(world, tmp_path)
    ledgers = [await world.spawn(**NO_BROKER) for _ in range(2)]
    async with Load(seed) as load:
        load.start(ledgers)
        await trail_grows(world, 3)
        await ledgers.pop(0).kill()
        await trail_grows(world, 3)
        await load.stop()
    await trail.sealed()
    assert await trail.findings() == set()


async def trail_grows(world: World, by: int) -> None:
    before = await world.value("select coalesce(max(number), 0) from audit_seal")

    async def more() -> bool:
        return bool(await world.value("select max(number) >= $1 from audit_seal", before + by))

    await eventually(more, what="rows are sealed")


async def test_a_row_that_is_committed_late_is_sealed_late(world: World, tmp_path: Path, seed: int) -> None:
    """Its id was given out before rows that are sealed by now; a restart of the sealer in between forgets nothing."""
    trail = Trail(world, tmp_path)
    ledger = await world.spawn(**NO_BROKER)
    async with Load(seed) as load, world.owner() as slow:
        transaction = slow.transaction()
        await transaction.start()
        late = await slow.fetchval("insert into audit (actor, action, target) values ('slow', 'entry.post', 'x') returning id")
        await load.run([ledger], 6)
        await trail_sealed_beyond(world, late)
        await ledger.kill()
        ledger = await world.spawn(**NO_BROKER)
        await load.run([ledger], 6)
        await transaction.commit()
        await trail.sealed()
    assert await world.value("select max(number) > 1 from audit_seal where $1::bigint <@ ids", late)
    assert await trail.findings() == set()


async def trail_sealed_beyond(world: World, row: int) -> None:
    async def beyond() -> bool:
        return bool(await world.value("select exists (select 1 from audit_seal where upper(ids) > $1 + 1)", row))

    await eventually(beyond, what="later rows are sealed")


async def test_a_file_of_seals_that_cannot_be_written_is_an_alarm_and_catches_up(
    world: World, tmp_path: Path, seed: int
) -> None:
    trail = Trail(world, tmp_path)
    await asyncio.to_thread(trail.heads.parent.mkdir)
    await asyncio.to_thread(trail.heads.mkdir)
    ledger = await world.spawn(**NO_BROKER)
    async with Load(seed) as load:
        await load.run([ledger], 5)

        async def alarmed() -> bool:
            paged = await world.value("select 1 from page where code = 'runtime.audit-not-sealed'")
            return bool(paged) and await ledger.metric("telemed_audit_heads_failing") == 1

        await eventually(alarmed, what="somebody is called")
        assert (await ledger.get("/readyz"))[0] == 200
        await asyncio.to_thread(shutil.rmtree, trail.heads)
        await load.run([ledger], 5)
    await trail.sealed()
    assert heads_of(trail.heads)[0].number == 1
    assert await trail.findings() == set()


async def test_the_newest_seal_goes_out_as_an_event(world: World, seed: int) -> None:
    ledger = await world.spawn(TELEMED_AUDIT_PUBLISH_S="0.5")
    async with Load(seed) as load:
        await load.run([ledger], 5)

        async def published() -> list[dict[str, object]]:
            bodies = [json.loads(record.value or b"{}") for record in await world.dump()]
            return [body for body in bodies if body["type"] == "org.telemed.ledger.audit-sealed.v1"]

        told = await eventually(published, what="a seal on the topic")
    data = told[-1]["data"]
    assert isinstance(data, dict)
    assert data["hash"] == (await world.value("select hash from audit_seal where number = $1", data["number"])).hex()
