"""The operator's commands: what they are called, what they need, how their answers look. The work is in the other modules."""

import asyncio
import json
import logging
import os
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import click
from aiokafka.errors import KafkaError

from services.cli import settings_table
from services.cli.catalogue import load_services
from services.cli.operate import acts, audit, clock, reports
from services.cli.operate.access import Access
from services.cli.stack.errors import StackError
from services.cli.stack.state import Home
from services.runtime.messaging import parking, topics
from services.runtime.migrations import MigrationError, migrate
from services.runtime.service import Service
from services.runtime.settings import Environment, SettingsError, load, load_service
from services.session_logging.settings import SampleSettings
from services.session_logging.store import retention

__all__ = ["commands"]

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

_REFUSALS = (MigrationError, topics.TopicsDiffer, clock.NotQuiet, LookupError, ValueError)


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run an act; whatever refuses it becomes one line and exit code 2."""
    # The client speaks of a broker that it does not reach; the one line does already.
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())
    try:
        return asyncio.run(work)
    except parking.NotParked as error:
        raise StackError(f"there is no parked event {error}") from None
    except _REFUSALS as error:
        raise StackError(str(error)) from None
    except KafkaError as error:
        raise StackError(f"Kafka: {type(error).__name__}") from None
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise StackError(f"the database refuses: {error}") from None
    except (OSError, TimeoutError) as error:
        raise StackError(f"not reached: {str(error) or type(error).__name__}") from None


def _service(name: str) -> Service:
    known = {service.name: service for service in load_services()}
    wanted = name.replace("-", "_")
    if wanted not in known:
        raise StackError(f"there is no service {name}; there are: {', '.join(sorted(known)) or 'none yet'}")
    return known[wanted]


def _services(name: str | None) -> Sequence[Service]:
    return [_service(name)] if name else load_services()


# --- options -----------------------------------------------------------------------------------------------------------


def _person(_: click.Context, __: click.Parameter, value: str) -> str:
    if not value.strip():
        raise click.BadParameter("name a person")
    return value.strip()


def _aware(_: click.Context, __: click.Parameter, value: str | None) -> datetime | None:
    if value is None:
        return None
    try:
        instant = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter("write it like 2026-11-23T09:00:00+00:00") from None
    if instant.tzinfo is None:
        raise click.BadParameter("an instant needs its offset, e.g. +00:00")
    return instant


_by = click.option("--by", required=True, callback=_person, help="Who does it: a named person, kept in the audit.")
_why = click.option("--reason", default="", help="Why, kept in the audit.")
_must_say_why = click.option("--reason", required=True, callback=_person, help="Why, kept in the audit.")
_one_service = click.option("--service", required=True, help="The service that owns it.")
_any_service = click.option("--service", default=None, help="Only this service.")
_limit = click.option("--limit", type=click.IntRange(min=1), default=200, show_default=True)
_as_json = click.option("--json", "as_json", is_flag=True, help="JSON for machines.")


# --- answers -----------------------------------------------------------------------------------------------------------


def _text(value: object) -> str:
    if value is None:
        return "-"
    return value.isoformat(timespec="seconds") if isinstance(value, datetime) else str(value)


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value if value is None else str(value)


def _print(rows: reports.Rows, as_json: bool, nothing: str) -> None:
    if as_json:
        click.echo(json.dumps([dict(row) for row in rows], default=_plain, indent=1))
        return
    if not rows:
        click.echo(nothing)
        return
    lines = [list(rows[0]), *([_text(value) for value in row.values()] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _print_one(row: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(dict(row), default=_plain, indent=1))
        return
    width = max(map(len, row))
    for name, value in row.items():
        click.echo(f"{name.ljust(width)}  {_text(value)}")


async def _of_each(access: Access, services: Sequence[Service], read: Callable[..., Coroutine[Any, Any, reports.Rows]]) -> Any:
    found: list[Mapping[str, Any]] = []
    for service in services:
        async with access.role(service) as connection:
            found += await read(connection, service.name)
    return found


# --- deployment --------------------------------------------------------------------------------------------------------


@click.command("migrate")
@click.option("--phase", type=click.Choice(["pre", "post", "all"]), default="all", show_default=True)
@_by
@click.pass_obj
def migrate_command(home: Home, phase: Literal["pre", "post", "all"], by: str) -> None:
    """Bring every schema up to date, as the owner of the database.

    `pre` before the new code starts, `post` once the old code is gone. Each migration leaves a row in its schema's audit.
    Roles get the passwords of the files in TELEMED_SECRETS_DIR; a role without a file keeps the one it has.
    """
    access, services = Access(home), load_services()
    applied = _run(migrate(access.owner_dsn(), services, passwords=access.passwords(services), phase=phase, by=by))
    for name in applied:
        click.echo(f"applied {name}")
    if not applied:
        click.echo("nothing to apply")


@click.group("topics")
def topics_group() -> None:
    """The topics on Kafka."""


@topics_group.command("ensure")
@_by
@click.pass_obj
def topics_ensure(home: Home, by: str) -> None:
    """Make the topics that are missing, and check the others. Audited in runtime.audit, before anything is made."""
    access, services = Access(home), load_services()

    async def ensure() -> list[str]:
        kafka = access.kafka()
        async with access.owner() as connection:
            await connection.execute(
                "insert into runtime.audit (actor, action, target) values ($1, 'topics.ensure', $2)", by, kafka.topic_prefix
            )
        return await topics.ensure(kafka, services)

    made = _run(ensure())
    for name in made:
        click.echo(f"made {name}")
    if not made:
        click.echo("every topic is there")


@click.group("samples")
def samples_group() -> None:
    """What monitors have measured, second by second."""


@samples_group.command("keep")
@_by
@click.pass_obj
def samples_keep(home: Home, by: str) -> None:
    """Make the months to come of the samples' table, and drop those that are older than TELEMED_SAMPLES_KEEP_MONTHS.

    As the owner of the database, once a month. Until then nothing is lost: what has no month yet is kept beside them.
    """

    async def keep() -> retention.Kept:
        async with Access(home).owner() as connection:
            return await retention.keep_samples(connection, months=load(SampleSettings).keep_months, by=by)

    done = _run(keep())
    for name in done.made:
        click.echo(f"made {name}")
    for name in done.dropped:
        click.echo(f"dropped {name}")
    click.echo(f"moved {done.moved}")


@click.group("config")
def config_group() -> None:
    """The settings of this environment."""


@config_group.command("check")
@click.option("--service", default=None, help="Also check that the database role is this service's own.")
def config_check(service: str | None) -> None:
    """Read all settings as a service would when it starts here, and print every problem at once. No value is printed."""
    problems = [f"{name}: there is no such setting" for name in settings_table.unknown(os.environ)]
    try:
        settings = load_service()
    except SettingsError as error:
        problems += error.problems
    else:
        if service and urlsplit(settings.database.url.get_secret_value()).username != _service(service).role:
            problems.append(f"TELEMED_DATABASE_URL: {service} connects as the role {_service(service).role}")
    if problems:
        for problem in problems:
            click.echo(problem, err=True)
        click.get_current_context().exit(2)
    click.echo("every setting is in order")


@click.group("epoch")
def epoch_group() -> None:
    """The epochs of the services' histories."""


@epoch_group.command("show")
@_any_service
@_as_json
@click.pass_obj
def epoch_show(home: Home, service: str | None, as_json: bool) -> None:
    """Show each service's epoch: raised when published events were found that its database does not know."""
    _print(_run(_of_each(Access(home), _services(service), reports.epoch)), as_json, "no services yet")


# --- outbox ------------------------------------------------------------------------------------------------------------


@click.group("outbox")
def outbox_group() -> None:
    """What the services publish."""


@outbox_group.command("stats")
@_any_service
@_as_json
@click.pass_obj
def outbox_stats(home: Home, service: str | None, as_json: bool) -> None:
    """Show how many events wait for the broker, in which lanes, and since when."""
    _print(_run(_of_each(Access(home), _services(service), reports.outbox)), as_json, "no services yet")


@outbox_group.command("resend")
@_one_service
@click.option("--source", required=True, help="Aggregate instance, e.g. /ledger/accounts/42.")
@click.option("--from", "from_sequence", type=click.IntRange(min=1), required=True, help="First sequence to send again.")
@_by
@_why
@click.pass_obj
def outbox_resend(home: Home, service: str, source: str, from_sequence: int, by: str, reason: str) -> None:
    """Send kept events of one source again, with their ids and sequences: it closes a gap, and nobody applies one twice."""

    async def resend() -> int:
        async with Access(home).role(_service(service)) as connection:
            return await acts.resend(connection, source=source, from_sequence=from_sequence, by=by, reason=reason)

    click.echo(f"queued {_run(resend())}")


@click.command("replay")
@_one_service
@click.option("--per-second", type=click.IntRange(min=1), default=5000, show_default=True, help="Throttle.")
@_by
@_why
@click.pass_obj
def replay_command(home: Home, service: str, per_second: int, by: str, reason: str) -> None:
    """Send a service's whole outbox to its replay topic.

    Only consumers that are being rebuilt read it there.
    """
    access, owner = Access(home), _service(service)

    async def replay() -> int:
        async with access.role(owner) as connection:
            return await acts.replay(connection, access.kafka(), owner, per_second=per_second, by=by, reason=reason)

    click.echo(f"sent {_run(replay())}")


@click.command("rebuild")
@_one_service
@click.option("--consumer", required=True, help="The projection, e.g. staff_dashboard.board.")
@_by
@_must_say_why
@click.pass_obj
def rebuild_command(home: Home, service: str, consumer: str, by: str, reason: str) -> None:
    """Empty a projection and have it made anew.

    From replays that begin afterwards. Nothing is sent to anybody.

    The service keeps running; what the projection shows is incomplete until every owner was replayed.
    """
    access, owner = Access(home), _service(service)

    async def rebuild() -> list[str]:
        async with access.role(owner) as connection:
            return await acts.rebuild(connection, access.kafka(), owner, consumer, by=by, reason=reason)

    for name in _run(rebuild()):
        click.echo(f"now: telemed replay --service {name} --by {by!r}")


# --- parked events -----------------------------------------------------------------------------------------------------


@click.group("parked")
def parked_group() -> None:
    """Events that could not be applied, or wait behind one."""


@parked_group.command("list")
@_any_service
@click.option("--consumer", default=None, help="Only this consumer.")
@click.option("--source", default=None, help="Only this aggregate instance.")
@_limit
@_as_json
@click.pass_obj
def parked_list(home: Home, service: str | None, consumer: str | None, source: str | None, limit: int, as_json: bool) -> None:
    """List what waits, in the order in which it would be tried."""

    def read(connection: Any, name: str) -> Coroutine[Any, Any, reports.Rows]:
        return reports.parked(connection, name, consumer=consumer, source=source, limit=limit)

    _print(_run(_of_each(Access(home), _services(service), read)), as_json, "nothing is parked")


@parked_group.command("show")
@_one_service
@click.argument("parked_id", metavar="ID", type=int)
@_as_json
@click.pass_obj
def parked_show(home: Home, service: str, parked_id: int, as_json: bool) -> None:
    """Show where a parked event stands. Its body, key and headers are never printed: they are data about a person."""

    async def show() -> Mapping[str, Any]:
        async with Access(home).role(_service(service)) as connection:
            found = await reports.parked_one(connection, parked_id)
            if found is None:
                raise parking.NotParked(parked_id)
            return found

    _print_one(_run(show()), as_json)


@parked_group.command("retry")
@_one_service
@click.argument("parked_ids", metavar="[ID]...", type=int, nargs=-1)
@click.option("--consumer", default=None, help="Everything of this consumer, instead of ids.")
@_by
@_why
@click.pass_obj
def parked_retry(home: Home, service: str, parked_ids: tuple[int, ...], consumer: str | None, by: str, reason: str) -> None:
    """Try parked events again at once, dead ones too. Safe: an event takes effect once, in its aggregate's order."""
    if bool(parked_ids) == bool(consumer):
        raise click.UsageError("name ids, or a consumer")

    async def retry() -> int:
        async with Access(home).role(_service(service)) as connection:
            if consumer:
                return await acts.retry_all(connection, consumer=consumer, by=by, reason=reason)
            count = await parking.retry(connection, parked_ids, by=by, reason=reason)
            if not count:
                raise parking.NotParked(", ".join(map(str, parked_ids)))
            return count

    click.echo(f"trying {_run(retry())}")


@parked_group.command("skip")
@_one_service
@click.argument("parked_id", metavar="ID", type=int)
@_by
@_must_say_why
@click.pass_obj
def parked_skip(home: Home, service: str, parked_id: int, by: str, reason: str) -> None:
    """Drop one parked event for its consumer, for ever. What it says is lost there: repair first, skip last."""

    async def skip() -> None:
        async with Access(home).role(_service(service)) as connection:
            await parking.skip(connection, parked_id, by=by, reason=reason)

    _run(skip())
    click.echo("skipped")


@click.command("baseline")
@_one_service
@click.option("--consumer", required=True, help="The consumer that lacks the events.")
@click.option("--source", required=True, help="Aggregate instance, e.g. /ledger/accounts/42.")
@click.option("--sequence", type=click.IntRange(min=1), required=True, help="The last event it shall count as applied.")
@click.option("--owner", default=None, help="Service whose outbox still holds that event: its id and epoch are read there.")
@click.option("--event-id", type=click.UUID, default=None, help="Id of that event, where no outbox holds it.")
@click.option("--epoch", type=click.IntRange(min=1), default=None, help="Epoch of that event, where no outbox holds it.")
@_by
@_must_say_why
@click.pass_obj
def baseline_command(
    home: Home,
    service: str,
    consumer: str,
    source: str,
    sequence: int,
    owner: str | None,
    event_id: UUID | None,
    epoch: int | None,
    by: str,
    reason: str,
) -> None:
    """Let a consumer go on past events that are lost.

    It counts a source's events as applied up to one that it has not seen: what they said is
    missing at this consumer for ever. Repair first.
    """
    access = Access(home)

    async def baseline() -> None:
        if owner:
            async with access.role(_service(owner)) as connection:
                known = await acts.event_of(connection, source=source, sequence=sequence)
        elif event_id and epoch:
            known = (epoch, event_id)
        else:
            raise ValueError("give --owner, or --event-id with --epoch")
        if consumer not in {subscription.consumer for subscription in _service(service).subscriptions}:
            raise LookupError(f"{service} has no consumer {consumer}")
        async with access.role(_service(service)) as connection:
            await parking.baseline(
                connection,
                consumer=consumer,
                source=source,
                epoch=known[0],
                sequence=sequence,
                event_id=known[1],
                by=by,
                reason=reason,
            )

    _run(baseline())
    click.echo("baseline set")


# --- pages, timers, clock ----------------------------------------------------------------------------------------------


@click.group("pages")
def pages_group() -> None:
    """Calls for a human."""


@pages_group.command("list")
@_any_service
@_as_json
@click.pass_obj
def pages_list(home: Home, service: str | None, as_json: bool) -> None:
    """List the pages that nobody has acknowledged."""
    _print(_run(_of_each(Access(home), _services(service), reports.open_pages)), as_json, "no page is open")


@pages_group.command("acknowledge")
@_one_service
@click.argument("page", metavar="ID", type=click.UUID)
@_by
@click.pass_obj
def pages_acknowledge(home: Home, service: str, page: UUID, by: str) -> None:
    """Take a page over: nobody else is called for it."""
    access, owner = Access(home), _service(service)

    async def acknowledge() -> None:
        async with access.role(owner) as connection:
            await acts.acknowledge(connection, owner, access.settings(owner), page, by=by)

    _run(acknowledge())
    click.echo("acknowledged")


@click.group("timers")
def timers_group() -> None:
    """What the services will do when its time comes."""


@timers_group.command("list")
@click.option("--due", is_flag=True, help="Only those whose time has come, by the clinic clock.")
@_any_service
@_limit
@_as_json
@click.pass_obj
def timers_list(home: Home, due: bool, service: str | None, limit: int, as_json: bool) -> None:
    """List waiting timers and calls under way, the earliest first."""

    def read(connection: Any, name: str) -> Coroutine[Any, Any, reports.Rows]:
        return reports.timers(connection, name, due=due, limit=limit)

    _print(_run(_of_each(Access(home), _services(service), read)), as_json, "no timer waits")


@click.group("clock")
def clock_group() -> None:
    """The clinic clock.

    All clinical time is the database's clock plus an offset. It moves here, and where the database's clock is set back: clinic
    time goes on all the same.
    """


@clock_group.command("show")
@_as_json
@click.pass_obj
def clock_show(home: Home, as_json: bool) -> None:
    """Show the clinic clock beside the real one."""

    async def show() -> clock.Clock:
        async with Access(home).owner() as connection:
            return await clock.show(connection)

    _print_one(asdict(_run(show())), as_json)


@clock_group.command("advance")
@click.option("--by-seconds", type=click.FloatRange(min=0, min_open=True), default=None, help="So much further.")
@click.option("--to", callback=_aware, default=None, help="To this instant, e.g. 2026-11-23T09:00:00+00:00.")
@click.option("--next", "to_next", is_flag=True, help="To the next instant at which a timer of any service is due.")
@click.option("--wait", "wait_s", type=click.FloatRange(min=0), default=60.0, show_default=True, help="Seconds per step.")
@_by
@_why
@click.pass_obj
def clock_advance(
    home: Home, by_seconds: float | None, to: datetime | None, to_next: bool, wait_s: float, by: str, reason: str
) -> None:
    """Move the clinic clock forward. Never in production.

    It goes from due instant to due instant, and each time waits until every service has done its earlier work: outboxes
    published, topics read, timers carried out. Each step leaves a row in runtime.audit.
    """
    if [by_seconds is not None, to is not None, to_next].count(True) != 1:
        raise click.UsageError("give one of --by-seconds, --to and --next")
    access = Access(home)
    if access.environment is Environment.PRODUCTION:
        raise StackError("the clinic clock does not move in production (TELEMED_ENV unset means production)")
    target = clock.Target(by=None if by_seconds is None else timedelta(seconds=by_seconds), to=to)

    async def advance() -> list[datetime]:
        async with access.owner() as connection:
            return await clock.advance(
                connection, load_services(), access.kafka().topic_prefix, target, by=by, reason=reason, wait_s=wait_s
            )

    steps = _run(advance())
    click.echo(f"the clinic clock is at {steps[-1].isoformat()}, after {len(steps)} steps")


@clock_group.command("follow")
@_by
@_why
@click.pass_obj
def clock_follow(home: Home, by: str, reason: str) -> None:
    """Let the clinic clock fall back to the database's, after that was set back (page runtime.clock-set-back).

    First see that the database's clock is right, and that no patient is in a chair: clinic time goes back.
    """

    async def follow() -> timedelta:
        async with Access(home).owner() as connection:
            return await clock.follow(connection, by=by, reason=reason)

    click.echo(f"the clinic clock went back by {_run(follow())}")


# --- audit -------------------------------------------------------------------------------------------------------------


@click.group("audit")
def audit_group() -> None:
    """Who touched whose record; whether the audit was touched."""


@audit_group.command("show")
@click.option("--patient", required=True, help="Id of the patient.")
@_any_service
@_by
@_must_say_why
@_as_json
@click.pass_obj
def audit_show(home: Home, patient: str, service: str | None, by: str, reason: str, as_json: bool) -> None:
    """List every audit row about a patient, of every service. That it was looked at is written down as well."""

    def read(connection: Any, name: str) -> Coroutine[Any, Any, reports.Rows]:
        return audit.of_patient(connection, name, patient=patient, by=by, reason=reason)

    _print(_run(_of_each(Access(home), _services(service), read)), as_json, "nobody has touched this patient's record")


@audit_group.command("verify")
@_any_service
@click.option("--public-key", "keys", type=click.Path(path_type=Path), multiple=True, help="Key that seals; again for more.")
@click.option("--heads", type=click.Path(path_type=Path), default=None, help="Folder of the services' files of seals.")
@click.pass_obj
def audit_verify(home: Home, service: str | None, keys: tuple[Path, ...], heads: Path | None) -> None:
    """Find out whether audit rows or their seals were changed or taken away. Exit code 0 when not, 1 when so.

    Without files of seals a database that was set back, or emptied, cannot be told from an honest one.
    """
    access = Access(home)
    public = audit.public_keys(keys or sorted(home.audit.glob("*.pem")))
    if not public:
        raise StackError("no key to verify with: give --public-key")
    folder = heads or home.heads

    async def check(one: Service) -> list[str]:
        path = folder / f"{one.name}.heads"
        known = audit.heads_of(path) if path.exists() else []
        if not known:
            click.echo(f"{one.name}: no seals are known outside of the database", err=True)
        async with access.role(one) as connection:
            return [f"{one.name}: {finding}" async for finding in audit.verify(connection, one.name, public, known)]

    async def check_all() -> list[str]:
        return [finding for one in _services(service) for finding in await check(one)]

    found = _run(check_all())
    for finding in found:
        click.echo(finding)
    if found:
        sys.exit(1)
    click.echo("nothing was changed")


commands: list[click.Command] = [
    migrate_command,
    topics_group,
    samples_group,
    config_group,
    epoch_group,
    outbox_group,
    replay_command,
    rebuild_command,
    parked_group,
    baseline_command,
    pages_group,
    timers_group,
    clock_group,
    audit_group,
]
