"""The operator's commands as an operator meets them: real processes of ``telemed`` against a real ledger."""

import asyncio
import contextlib
import io
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import click
import pytest
import pytest_asyncio

from services.cli.main import main
from services.cli.operate import commands
from services.cli.stack.ports import free_ports
from services.cli.stack.state import PartRecord, Record
from services.cli.stack.supervisor import DATABASE
from services.runtime.messaging import kafka as clients
from services.runtime.messaging.inbox import REPLAY_END_HEADER, replay_topic
from tests.support.ledger.app import SERVICE
from tests.support.ledger.events import source_of
from tests.support.load import NO_BROKER
from tests.support.servers import LEDGER_PASSWORD, TEMPLATE
from tests.support.waiting import eventually
from tests.support.world import PARTITIONS, ROOT, World

pytestmark = pytest.mark.asyncio

BY = ("--by", "Ann Operator")
WHY = ("--reason", "agreed with the clinic")
LEDGER = ("--service", "ledger")


@dataclass(frozen=True)
class Said:
    """How a command ended and what it printed."""

    code: int
    out: str
    error: str

    @property
    def ok(self) -> str:
        """What it printed, having worked."""
        assert self.code == 0, self.error
        return self.out

    @property
    def rows(self) -> Any:
        """What it printed for machines."""
        return json.loads(self.ok)


@dataclass
class Operator:
    """Someone with a shell, the owner's URL, and a folder with the passwords of the roles."""

    world: World
    home: Path
    environment: dict[str, str]

    async def run(self, *arguments: str, **changed: str | None) -> Said:
        """Run a command in a thread: a process of its own for each would cost a second of imports."""
        return await asyncio.to_thread(_call, arguments, self._variables(changed))

    def _variables(self, changed: Mapping[str, str | None]) -> dict[str, str]:
        return {name: value for name, value in {**self.environment, **changed}.items() if value is not None}

    async def run_process(self, *arguments: str, **changed: str | None) -> Said:
        """Run a command as its own process."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "services.cli.main",
            *arguments,
            cwd=ROOT,
            env=self._variables(changed),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, error = await asyncio.wait_for(process.communicate(), 90)
        return Said(process.returncode or 0, out.decode(), error.decode())

    async def refused(self, *arguments: str, **changed: str | None) -> str:
        """Run what must not work."""
        return one_line(await self.run(*arguments, **changed))


def _call(arguments: Sequence[str], environment: Mapping[str, str]) -> Said:
    before, argv = dict(os.environ), sys.argv
    out, error = io.StringIO(), io.StringIO()
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["telemed", *arguments]
    code: object = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            main()
    except SystemExit as end:
        code = end.code
    finally:
        sys.argv = argv
        os.environ.clear()
        os.environ.update(before)
    return Said(int(code) if isinstance(code, int) else 0, out.getvalue(), error.getvalue())


def one_line(said: Said) -> str:
    """The error of a command that was refused: exit code 2, one line on standard error, nothing on standard output."""
    assert said.code == 2, (said.out, said.error)
    assert said.out == ""
    assert said.error.startswith("telemed: "), said.error
    assert said.error.count("\n") == 1, said.error
    return said.error


@pytest_asyncio.fixture
async def operator(world: World, tmp_path: Path) -> Operator:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / f"{SERVICE.role}.password").write_text(LEDGER_PASSWORD + "\n", encoding="ascii")
    plain = {name: value for name, value in os.environ.items() if not name.startswith("TELEMED_")}
    environment = {
        **plain,
        **world.environment,
        "TELEMED_DATABASE_URL": world.servers.postgres.url(world.database),
        "TELEMED_SERVICES": SERVICE.package,
        "TELEMED_HOME": str(tmp_path / "home"),
        "TELEMED_SECRETS_DIR": str(secrets),
    }
    return Operator(world, tmp_path / "home", environment)


async def audited(world: World, action: str, *, schema: str = "ledger") -> list[tuple[str, str, str]]:
    """Who did it, to what, and why."""
    rows = await world.rows(f"select actor, target, reason from {schema}.audit where action = $1 order by id", action)
    return [(row["actor"], row["target"], row["reason"]) for row in rows]


async def effects(world: World, account: str) -> list[int]:
    rows = await world.rows("select sequence from effect where source = $1 order by id", source_of(account))
    return [row["sequence"] for row in rows]


async def parked(operator: Operator, *more: str) -> Any:
    return (await operator.run("parked", "list", "--json", *more)).rows


# --- who must be named -------------------------------------------------------------------------------------------------

READ_ONLY = {
    "audit verify", "clock show", "config check", "epoch show", "outbox stats", "pages list", "parked list", "parked show",
    "timers list",
}  # fmt: skip


def leaves(found: list[click.Command], prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    for command in found:
        if isinstance(command, click.Group):
            yield from leaves(list(command.commands.values()), f"{prefix}{command.name} ")
        else:
            yield prefix + str(command.name), command


async def test_every_command_that_writes_needs_a_named_person() -> None:
    found = dict(leaves(commands))
    assert set(found) >= READ_ONLY
    for name, command in found.items():
        by = [option for option in command.params if option.name == "by"]
        assert bool(by) != (name in READ_ONLY), name
        assert all(option.required for option in by), name


async def test_a_blank_name_or_reason_is_no_name_and_no_reason(operator: Operator) -> None:
    for arguments in (("--by", " ", *WHY), (*BY, "--reason", " "), (*BY,), WHY):
        said = await operator.run("parked", "skip", *LEDGER, "1", *arguments)
        assert said.code == 2
        assert "Error: " in said.error
    assert not await operator.world.value("select count(*) from audit where action = 'parked.skip'")


# --- parked events -----------------------------------------------------------------------------------------------------


async def test_a_parked_event_is_listed_shown_without_its_content_and_applied_by_a_retry(operator: Operator) -> None:
    world = operator.world
    async with world.owner() as connection:
        await connection.execute("insert into poison values ('a1')")
    ledger = await world.spawn(TELEMED_MESSAGING_PARK_FIRST_RETRY_S="600", TELEMED_MESSAGING_PARK_MAX_RETRY_S="600")
    for entry in ("canary-entry", "second"):
        assert (await world.post(ledger, entry, "a1", padding="canary-padding")).status == 201

    async def both_parked() -> bool:
        return bool(await world.value("select count(*) = 2 from parked where consumer = 'ledger.mirror'"))

    await eventually(both_parked)
    first, second = await parked(operator, *LEDGER)
    assert (first["reason"], first["error"], first["sequence"]) == ("failed", "Poisoned", 1)
    assert (second["reason"], second["sequence"]) == ("behind", 2)
    for form in ((), ("--json",)):
        shown = await operator.run("parked", "show", *LEDGER, str(first["id"]), *form)
        assert "canary" not in shown.out + shown.error
        assert source_of("a1") in shown.out
    assert await world.value("select position('canary-padding' in convert_from(body, 'UTF8')) > 0 from parked limit 1")
    assert "there is no parked event 999" in await operator.refused("parked", "show", *LEDGER, "999")
    assert "there is no parked event 999" in await operator.refused("parked", "retry", *LEDGER, "999", *BY)

    async with world.owner() as connection:
        await connection.execute("delete from poison")
    assert (await operator.run("parked", "retry", *LEDGER, str(first["id"]), *BY, *WHY)).ok == "trying 1\n"

    async def both_applied() -> bool:
        return await effects(world, "a1") == [1, 2]

    await eventually(both_applied)
    assert (await operator.run("parked", "list")).ok == "nothing is parked\n"
    assert await audited(world, "parked.retry") == [("Ann Operator", f"ledger.mirror {source_of('a1')} 1", WHY[1])]


async def test_a_skipped_event_is_never_applied_and_those_behind_it_flow(operator: Operator) -> None:
    world = operator.world
    async with world.owner() as connection:
        await connection.execute("insert into poison values ('a1')")
    ledger = await world.spawn(TELEMED_MESSAGING_PARK_FIRST_RETRY_S="600", TELEMED_MESSAGING_PARK_MAX_RETRY_S="600")
    for number in range(3):
        await world.post(ledger, f"e{number}", "a1")

    async def all_parked() -> bool:
        return bool(await world.value("select count(*) = 3 from parked"))

    await eventually(all_parked)
    async with world.owner() as connection:
        await connection.execute("delete from poison")
    head, *_, last = await parked(operator)
    assert "an earlier event of this source is missing" in await operator.refused(
        "parked", "skip", *LEDGER, str(last["id"]), *BY, *WHY
    )
    assert (await operator.run("parked", "skip", *LEDGER, str(head["id"]), *BY, *WHY)).ok

    async def rest_applied() -> bool:
        return await effects(world, "a1") == [2, 3]

    await eventually(rest_applied)
    assert await audited(world, "parked.skip") == [("Ann Operator", f"ledger.mirror {source_of('a1')} 1", WHY[1])]


async def test_retrying_a_whole_consumer_tries_all_that_it_has_parked(operator: Operator) -> None:
    world = operator.world
    async with world.owner() as connection:
        await connection.execute("insert into poison values ('a1'), ('a2')")
    ledger = await world.spawn(TELEMED_MESSAGING_PARK_FIRST_RETRY_S="600", TELEMED_MESSAGING_PARK_MAX_RETRY_S="600")
    for account in ("a1", "a2"):
        await world.post(ledger, f"of-{account}", account)

    async def both_parked() -> bool:
        return bool(await world.value("select count(*) = 2 from parked"))

    await eventually(both_parked)
    async with world.owner() as connection:
        await connection.execute("delete from poison")
    both_ways = await operator.run("parked", "retry", *LEDGER, "1", "--consumer", "ledger.mirror", *BY)
    assert (both_ways.code, both_ways.out) == (2, "")
    assert (await operator.run("parked", "retry", *LEDGER, "--consumer", "ledger.mirror", *BY)).ok == "trying 2\n"
    await world.settled(2)


# --- outbox, gaps, replay ----------------------------------------------------------------------------------------------


async def test_a_gap_is_closed_by_a_resend_or_passed_by_a_baseline(operator: Operator) -> None:
    world, source = operator.world, source_of("a1")
    # Nothing listens there: events are committed and stay.
    cut_off = await world.spawn(TELEMED_KAFKA_BOOTSTRAP=f"127.0.0.1:{free_ports(1)[0]}")
    for number in range(3):
        assert (await world.post(cut_off, f"e{number}", "a1")).status == 201
    (stats,) = (await operator.run("outbox", "stats", "--json")).rows
    assert (stats["service"], stats["pending"]) == ("ledger", 3)
    assert float(stats["oldest_s"]) >= 0
    await cut_off.kill()
    async with world.owner() as connection:  # the second one is lost on its way
        await connection.execute("delete from outbox_pending p using outbox o where o.id = p.id and o.sequence = 2")
    await world.spawn()

    async def gaps() -> bool:
        return bool(await world.value("select count(*) = 2 from parked where reason = 'gap' and sequence = 3"))

    await eventually(gaps)
    assert (await operator.run("outbox", "stats", "--json")).rows[0]["pending"] == 0

    one = ("--consumer", "ledger.mirror", "--source", source, "--sequence", "2")
    assert "give --owner" in await operator.refused("baseline", *LEDGER, *one, *BY, *WHY)
    assert "no consumer nobody" in await operator.refused(
        "baseline", *LEDGER, "--consumer", "nobody", *one[2:], "--owner", "ledger", *BY, *WHY
    )
    assert (await operator.run("baseline", *LEDGER, *one, "--owner", "ledger", *BY, *WHY)).ok

    async def passed() -> bool:
        return await effects(world, "a1") == [1, 3]

    await eventually(passed)
    assert "already" in await operator.refused("baseline", *LEDGER, *one, "--owner", "ledger", *BY, *WHY)
    assert await audited(world, "consumer.baseline") == [("Ann Operator", f"ledger.mirror {source} 2", WHY[1])]

    assert "holds no event" in await operator.refused("outbox", "resend", *LEDGER, "--source", source, "--from", "9", *BY)
    assert (await operator.run("outbox", "resend", *LEDGER, "--source", source, "--from", "2", *BY)).ok == "queued 2\n"

    async def summed() -> bool:
        return bool(await world.value("select total = 3 from total where account = 'a1'"))

    await eventually(summed)
    assert not await world.value("select count(*) from parked")
    assert await effects(world, "a1") == [1, 3], "whoever took the baseline must not apply the lost event afterwards"
    assert await audited(world, "outbox.resend") == [("Ann Operator", f"{source} 2", "")]


async def test_a_replay_sends_every_kept_event_and_ends_every_partition(operator: Operator) -> None:
    world = operator.world
    ledger = await world.spawn()
    for number in range(6):
        await world.post(ledger, f"e{number}", f"a{number}")
    await world.settled(6)
    assert (await operator.run("replay", *LEDGER, *BY, *WHY)).ok == "sent 6\n"
    records = await world.dump(replay_topic(world.topic))
    ends = [record for record in records if REPLAY_END_HEADER in dict(record.headers)]
    events = [record for record in records if record not in ends]
    live = await world.dump()
    assert sorted(record.value or b"" for record in events) == sorted(record.value or b"" for record in live)
    assert sorted(record.partition for record in ends) == list(range(PARTITIONS))
    assert await audited(world, "outbox.replay") == [("Ann Operator", world.topic, WHY[1])]
    assert await effects(world, "a1") == [1]


# --- timers, clock, pages ----------------------------------------------------------------------------------------------


async def set_timers(world: World, process: Any, *seconds: float) -> list[datetime]:
    now: datetime = await world.value("select clinic_now()")
    dues = [now + timedelta(seconds=later) for later in seconds]
    for number, due in enumerate(dues):
        await world.set_timer(process, kind="ledger.fire", key=f"t{number}", subject=f"s{number}", due=due.isoformat())
    return dues


async def test_the_clock_stops_at_every_due_instant_so_that_timers_fire_in_order(operator: Operator) -> None:
    world = operator.world
    ledger = await world.spawn()
    dues = await set_timers(world, ledger, 3600, 7200, 86400, 86400 * 3)
    assert [row["kind"] for row in (await operator.run("timers", "list", "--json")).rows] == ["ledger.fire"] * 4
    assert (await operator.run("timers", "list", "--due")).ok == "no timer waits\n"

    said = await operator.run("clock", "advance", "--next", *BY)
    assert said.ok == f"the clinic clock is at {dues[0].isoformat()}, after 1 steps\n"
    assert await world.value("select array_agg(dedupe_key) from fired") == ["t0"]

    said = await operator.run("clock", "advance", "--by-seconds", str(2 * 86400), *BY, *WHY)
    assert "after 3 steps" in said.ok
    fired = await world.rows("select dedupe_key, due_at, at from fired order by id")
    assert [row["dedupe_key"] for row in fired] == ["t0", "t1", "t2"]
    for row, following in zip(fired, dues[1:], strict=True):
        # Each fired at its own instant: the clock had not yet reached the next one.
        assert row["due_at"] <= row["at"] < following

    end = dues[3] + timedelta(hours=1)
    assert "after 2 steps" in (await operator.run("clock", "advance", "--to", end.isoformat(), *BY)).ok
    shown = (await operator.run("clock", "show", "--json")).rows
    assert datetime.fromisoformat(shown["clinic"]) >= end
    assert shown["moved_by"] == "Ann Operator"
    assert await world.value("select count(*) from fired") == 4
    steps = await audited(world, "clock.advance", schema="runtime")
    assert [datetime.fromisoformat(target) for _, target, _ in steps][-2:] == [dues[3], end]
    assert [reason for *_, reason in steps] == ["", *[WHY[1]] * 3, "", ""]

    assert "no timer is waiting" in await operator.refused("clock", "advance", "--next", *BY)
    assert "only goes forward" in await operator.refused("clock", "advance", "--to", dues[0].isoformat(), *BY)
    assert (await operator.run("clock", "advance", "--to", "2030-01-01T00:00:00", *BY)).code == 2
    assert (await operator.run("clock", "advance", "--next", "--by-seconds", "1", *BY)).code == 2


async def test_the_clock_stays_while_a_service_has_earlier_work_left(operator: Operator) -> None:
    world = operator.world
    ledger = await world.spawn()
    await set_timers(world, ledger, 3600)
    await world.post(ledger, "e0", "a1")
    await world.settled(1)
    await ledger.kill()
    before = await world.value("select shift from clinic_clock")

    async def stays(*left: str) -> None:
        error = await operator.refused("clock", "advance", "--next", "--wait", "0.2", *BY)
        for what in left:
            assert what in error
        assert await world.value("select shift from clinic_clock") == before

    async with world.owner() as connection:
        await connection.execute("insert into outbox_pending select lane, id from outbox")
        await stays("ledger: 1 events not published")
        await connection.execute("delete from outbox_pending")
        await connection.execute("update consumer_cursor set sequence = 0 where consumer = 'ledger.totals'")
        await stays("ledger.totals: 1 sources not read to their end")
        await connection.execute("update consumer_cursor set sequence = 1")
    # Nobody carries the timer out: the clock gets to it and no further.
    assert "1 timers due" in await operator.refused("clock", "advance", "--by-seconds", "7200", "--wait", "0.2", *BY)
    assert [row["late_s"] is not None for row in (await operator.run("timers", "list", "--due", "--json")).rows] == [True]
    assert await world.value("select clinic_now() < (select due_at from timer) + interval '10 minutes'")
    assert not await world.value("select count(*) from fired")


async def test_whoever_waits_for_the_clock_is_told_that_it_was_moved(operator: Operator) -> None:
    world = operator.world
    # Its polls come far too late for this test.
    ledger = await world.spawn(TELEMED_MESSAGING_POLL_S="600")
    await set_timers(world, ledger, 3600)
    await world.advance(3600)
    await eventually(lambda: world.value("select count(*) = 1 from fired"), what="the timer is carried out")


async def test_a_clock_that_was_held_follows_again_when_a_person_says_so(operator: Operator) -> None:
    world = operator.world
    assert "not held" in await operator.refused("clock", "follow", *BY, *WHY)
    await world.spawn(**NO_BROKER)
    await world.advance(3600)
    await eventually(lambda: world.value("select seen > clock_timestamp() + '50 min' from clinic_clock"), what="it is noted")
    await world.advance(-3600)
    await eventually(lambda: world.value("select held > '50 min' from clinic_clock"), what="it is held")
    assert [actor for actor, *_ in await audited(world, "clock.hold", schema="runtime")] == ["runtime"]
    # Held is not moved: it may be given back in production, too.
    said = await operator.run("clock", "follow", *BY, *WHY, TELEMED_ENV=None)
    assert said.ok.startswith("the clinic clock went back by ")
    shown = (await operator.run("clock", "show", "--json")).rows
    assert (shown["ahead"], shown["held"], shown["moved_by"]) == ("0:00:00", "0:00:00", BY[1])
    assert [row[::2] for row in await audited(world, "clock.follow", schema="runtime")] == [(BY[1], WHY[1])]
    assert await world.value("select shift = interval '0' from clinic_clock")


@pytest.mark.parametrize("environment", [None, "production"])
async def test_the_clock_never_moves_in_production(operator: Operator, environment: str | None) -> None:
    error = await operator.refused("clock", "advance", "--by-seconds", "60", *BY, TELEMED_ENV=environment)
    assert "production" in error
    assert await operator.world.value("select shift = interval '0' from clinic_clock")


async def test_a_page_is_listed_and_acknowledged_so_that_nobody_else_is_called(operator: Operator) -> None:
    world = operator.world
    ledger = await world.spawn()
    await world.post(ledger, "e0", "a1", page=True)

    async def called() -> Any:
        pages = (await operator.run("pages", "list", "--json")).rows
        return pages if pages and int(pages[0]["calls"]) else None

    (page,) = await eventually(called)
    assert page["code"] == "ledger.flagged"
    assert (await operator.run("pages", "acknowledge", *LEDGER, page["id"], *BY)).ok
    assert (await operator.run("pages", "list")).ok == "no page is open\n"
    assert await world.value("select acknowledged_by from page") == "Ann Operator"
    assert await audited(world, "page.acknowledge") == [("Ann Operator", page["id"], "")]
    await operator.run("clock", "advance", "--by-seconds", "3600", *BY)
    assert await world.value("select count(*) from page_attempt") == 1
    assert "no open page" in await operator.refused("pages", "acknowledge", *LEDGER, page["id"], *BY)


# --- deployment --------------------------------------------------------------------------------------------------------


async def test_migrate_and_topics_make_a_deployment_from_nothing(operator: Operator) -> None:
    world = operator.world
    database, prefix = f"{world.database}_new", f"{world.prefix}new"
    async with world.owner() as connection:
        await connection.execute(f"create database {database}")
    try:
        there = {"TELEMED_DATABASE_URL": world.servers.postgres.url(database), "TELEMED_KAFKA_TOPIC_PREFIX": prefix}
        applied = (await operator.run("migrate", "--phase", "pre", *BY, **there)).ok.splitlines()
        assert "applied ledger/0001_pre_ledger.sql" in applied
        assert (await operator.run("migrate", *BY, **there)).ok == "nothing to apply\n"
        made = (await operator.run("topics", "ensure", *BY, **there)).ok.splitlines()
        assert f"made {SERVICE.topic(prefix)}" in made
        assert (await operator.run("topics", "ensure", *BY, **there)).ok == "every topic is there\n"
        assert (await operator.run("epoch", "show", "--json", **there)).rows[0]["epoch"] == 1
        owner = await asyncpg.connect(there["TELEMED_DATABASE_URL"])
        try:
            rows = await owner.fetch(
                "select actor, action, target from runtime.audit union all select actor, action, target from ledger.audit"
            )
        finally:
            await owner.close()
        assert {row["actor"] for row in rows} == {"Ann Operator"}
        migrated = [f"applied {row['target']}" for row in rows if row["action"] == "schema.migrate"]
        assert sorted(migrated) == sorted(line.replace("ledger/", "").replace("runtime/", "") for line in applied)
        assert [row["target"] for row in rows if row["action"] == "topics.ensure"] == [prefix, prefix]
    finally:
        async with world.owner() as connection:
            await connection.execute(f"drop database {database} with (force)")
        admin = await clients.admin(world.kafka)
        try:
            await admin.delete_topics([name for name in await admin.list_topics() if name.startswith(f"{prefix}.")])
        finally:
            await admin.close()


async def test_config_check_names_every_problem_at_once_and_no_value(operator: Operator) -> None:
    there = {"TELEMED_HTTP_PORT": "8080"}
    assert (await operator.run("config", "check", **there)).ok == "every setting is in order\n"
    said = await operator.run(
        "config",
        "check",
        TELEMED_HTTP_PORT="canary",
        TELEMED_KAFKA_PARTITIONS="canary",
        TELEMED_MESSAGING_POLL_S="-77",
        TELEMED_SMTP_URL=None,
        TELEMED_KAFAK_BOOTSTRAP="canary",
    )
    assert (said.code, said.out) == (2, "")
    named = [line.split(":")[0] for line in said.error.splitlines()]
    assert sorted(named) == [
        "TELEMED_HTTP_PORT",
        "TELEMED_KAFAK_BOOTSTRAP",
        "TELEMED_KAFKA_PARTITIONS",
        "TELEMED_MESSAGING_POLL_S",
        "TELEMED_SMTP_URL",
    ]
    assert "canary" not in said.error
    assert "77" not in said.error
    owner = await operator.run("config", "check", *LEDGER, **there)
    assert owner.code == 2, "a service must not run as the owner of the database"
    assert SERVICE.role in owner.error
    own = {**there, "TELEMED_DATABASE_URL": operator.world.environment["TELEMED_DATABASE_URL"]}
    assert (await operator.run("config", "check", *LEDGER, **own)).ok


# --- how it reaches the servers ----------------------------------------------------------------------------------------


async def test_with_the_services_own_url_a_command_needs_no_other_secret(operator: Operator) -> None:
    own = {"TELEMED_DATABASE_URL": operator.world.environment["TELEMED_DATABASE_URL"], "TELEMED_SECRETS_DIR": None}
    assert (await operator.run("parked", "list", **own)).ok == "nothing is parked\n"
    # That role may not do what is the owner's.
    assert "permission denied" in await operator.refused("migrate", *BY, **own)
    assert "permission denied" in await operator.refused("clock", "advance", "--by-seconds", "60", *BY, **own)
    assert await operator.world.value("select shift = interval '0' from clinic_clock")


async def test_the_audit_is_shown_by_patient_and_verified(operator: Operator, tmp_path: Path) -> None:
    world = operator.world
    ledger = await world.spawn(**NO_BROKER)
    patient = "0192f0a0-0000-7000-8000-000000000001"
    wanted = json.dumps({"patient": patient, "reason": "unconscious in the hall", "minutes": 5})
    assert (await world.call(ledger, "/break-glass", wanted, key="glass-0001")).status == 201

    async def sealed() -> bool:
        unsealed = """select count(*) from audit
                      where not id <@ (select coalesce(range_agg(s), '{}') from audit_seal a, unnest(a.ids) s)"""
        heads = tmp_path / "audit" / "ledger.heads"
        return bool(await world.value(unsealed) == 0) and await asyncio.to_thread(heads.exists)

    await eventually(sealed, what="the rows are sealed")
    await ledger.kill()
    why = ("--by", "ada", "--reason", "complaint 12")
    shown = (await operator.run("audit", "show", "--patient", patient, *why, "--json")).rows
    assert [(row["actor"], row["action"]) for row in shown] == [("nurse.a", "glass.break"), ("ada", "audit.show")]
    assert shown[0]["policy"] == "Bearer: nurse; role"
    assert shown[0]["origin"] == "127.0.0.1"

    given = ("--public-key", str(world.servers.seal_key), "--heads", str(tmp_path / "audit"))
    assert (await operator.run("audit", "verify", *given)).ok == "nothing was changed\n"
    async with world.owner() as owner:
        await owner.execute("update audit set actor = 'nurse.b' where action = 'glass.break'")
    found = await operator.run("audit", "verify", *given)
    assert found.code == 1
    assert "rows-edited" in found.out
    assert "no key" in await operator.refused("audit", "verify")
    assert "no key that can be read" in await operator.refused("audit", "verify", "--public-key", str(tmp_path / "none.pem"))


async def test_what_cannot_be_reached_is_one_line_without_any_secret(operator: Operator, tmp_path: Path) -> None:
    secrets = tmp_path / "wrong"
    secrets.mkdir()
    (secrets / f"{SERVICE.role}.password").write_text("canary-password", encoding="ascii")
    wrong = await operator.refused("outbox", "stats", TELEMED_SECRETS_DIR=str(secrets))
    assert "canary" not in wrong
    closed = f"postgresql://postgres:canary-password@127.0.0.1:{free_ports(1)[0]}/nowhere"
    assert "canary" not in await operator.refused("clock", "show", TELEMED_DATABASE_URL=closed)
    assert "cannot be read" in await operator.refused("outbox", "stats", TELEMED_SECRETS_DIR=str(tmp_path / "none"))
    assert "there is no service nobody" in await operator.refused("parked", "list", "--service", "nobody")
    gone = f"127.0.0.1:{free_ports(1)[0]}"
    for command in (("replay", *LEDGER, *BY), ("topics", "ensure", *BY)):
        assert "Kafka" in one_line(await operator.run_process(*command, TELEMED_KAFKA_BOOTSTRAP=gone))


async def test_without_a_stack_and_without_variables_the_error_says_what_to_do(operator: Operator) -> None:
    nothing = dict.fromkeys(("TELEMED_DATABASE_URL", "TELEMED_KAFKA_BOOTSTRAP"))
    assert "telemed up" in await operator.refused("outbox", "stats", **nothing)


async def test_in_a_local_stacks_folder_commands_need_no_variables_at_all(operator: Operator, tmp_path: Path) -> None:
    """The record and the secrets of a running stack, here of the session's servers, say everything."""
    world = operator.world
    servers = world.servers
    secrets = operator.home / "data" / "secrets"
    secrets.mkdir(parents=True)
    (secrets / f"{SERVICE.role}.password").write_text(LEDGER_PASSWORD + "\n", encoding="ascii")
    (operator.home / "data" / "postgres.password").write_text(
        (servers.folder / "postgres.password").read_text(encoding="ascii"), encoding="ascii"
    )
    parts = [
        PartRecord("postgres", f"127.0.0.1:{servers.postgres.port}", "", port=servers.postgres.port),
        PartRecord("kafka", servers.kafka.bootstrap, ""),
    ]
    record = Record(os.getpid(), 0.0, "ready", parts)
    (operator.home / "running.json").write_text(json.dumps(asdict(record)), encoding="utf-8")
    async with world.owner() as connection:
        await connection.execute(f"create database {DATABASE} template {TEMPLATE}")
        await connection.execute(f"grant connect on database {DATABASE} to {SERVICE.role}")
    try:
        nothing = {name: None for name in operator.environment if name.startswith("TELEMED_")}
        here: dict[str, str | None] = {
            **nothing, "TELEMED_HOME": str(operator.home), "TELEMED_SERVICES": SERVICE.package,
        }  # fmt: skip
        assert (await operator.run("outbox", "stats", "--json", **here)).rows[0]["pending"] == 0
        assert "after 1 steps" in (await operator.run("clock", "advance", "--by-seconds", "60", *BY, **here)).ok
        assert (await operator.run("migrate", *BY, **here)).ok == "nothing to apply\n"
        production = {**here, "TELEMED_ENV": "production"}
        assert "production" in await operator.refused("clock", "advance", "--by-seconds", "60", *BY, **production)
    finally:
        async with world.owner() as connection:
            await connection.execute(f"drop database {DATABASE} with (force)")
