"""``telemed seed`` and ``telemed demo``: fill the local stack with a clinic, and play a patient's whole path through it."""

import asyncio
import datetime as dt
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import click

from services.cli.catalogue import load_services
from services.cli.demo import morning
from services.cli.demo.course import FIRST_DAY
from services.cli.demo.report import listening, summary
from services.cli.demo.seed import seed as plant
from services.cli.demo.stage import Stage, Unexpected
from services.cli.demo.story import Story
from services.cli.operate import clock
from services.cli.operate.access import Access
from services.cli.stack.errors import StackError
from services.cli.stack.identity import Keys, Person, issuer_url, people, refuse_in_production
from services.cli.stack.ports import HOST
from services.cli.stack.settings import StackSettings
from services.cli.stack.state import Home
from services.runtime.settings import load

__all__ = ["commands"]

_PATIENT = "patient.a"
_ROSTER = dt.timedelta(days=200)
"""How far ahead the roster is filled."""


@click.command()
@click.pass_obj
def seed(home: Home) -> None:
    """Make a clinic of the stack's people.

    Staff with licences, site, opening hours, a roster without a hole. What is there is left as it is.
    """
    refuse_in_production()

    async def work() -> None:
        async with _stage(home, click.echo) as stage:
            await plant(stage, until=await stage.now() + _ROSTER)

    _run(work())


@click.command()
@click.option("--patients", type=click.IntRange(1, len(morning.OUTCOMES)), help="Play a clinic morning of so many patients.")
@click.option("--seed", type=int, default=7, show_default=True, help="Who comes that morning, and in which order.")
@click.option("--pace", type=click.FloatRange(min=1), metavar="N", help="Play infusions at N times real time, for watching.")
@click.option("--quiet", is_flag=True, help="Print the summary only.")
@click.pass_obj
def demo(home: Home, patients: int | None, seed: int, pace: float | None, quiet: bool) -> None:
    """Play a patient's whole path, or a clinic morning.

    Everything is a public call to the running stack, and what comes of it is compared with what must. The clinic
    clock is moved from due instant to due instant; no interval is shortened. Exit code 1 if anything differs.
    """
    refuse_in_production()
    say = (lambda _: None) if quiet else click.echo
    number = int(time.time())
    booked = morning.book(patients, seed, number) if patients else ()

    async def work() -> bool:
        async with _stage(home, say, [one.who.login for one in booked]) as stage:
            stage.pace = pace
            now = await stage.now()
            weeks = max(0, -(-((now.date() - FIRST_DAY).days + 1) // 7))
            first = FIRST_DAY + dt.timedelta(weeks=weeks)
            async with listening(stage, Access(home).kafka(), say) as found:
                await plant(stage, until=now + dt.timedelta(weeks=weeks) + _ROSTER)
                if booked:
                    await morning.play(stage, first, booked)
                else:
                    await Story(stage, first, number=number).play()
                await stage.settle()
                for line in await summary(stage, found, _outbox()):
                    click.echo(line)
            return all(check.holds for check in stage.checks)

    sys.exit(0 if _run(work()) else 1)


def _run(work: Any) -> Any:
    try:
        return asyncio.run(work)
    except (Unexpected, clock.NotQuiet) as error:
        click.echo(f"telemed: {error}", err=True)
        sys.exit(1)
    except (OSError, aiohttp.ClientError) as error:
        raise StackError(f"not reached: {str(error) or type(error).__name__}") from None


@asynccontextmanager
async def _stage(home: Home, say: Any, guests: Sequence[str] = ()) -> AsyncIterator[Stage]:
    """The running stack of this folder as a stage, with accounts for more patients than its issuer knows by name."""
    record = home.read()
    if record is None:
        raise StackError(f"no stack runs in {home.folder}: start it with `telemed up`")
    services = load_services()
    addresses = {part.name: part.address for part in record.parts}
    missing = [service.name for service in services if service.name not in addresses]
    if missing:
        raise StackError(f"not running: {', '.join(missing)}")
    keys, issuer = Keys(home.issuer_keys), issuer_url(load(StackSettings))
    known = {**people(), **{login: Person(login, str(uuid4()), login, ("patient",)) for login in guests}}

    def bearer(login: str) -> Mapping[str, str]:
        token = keys.token(known[login], issuer, client="demo", signed_in_at=int(time.time()))
        return {"Authorization": f"Bearer {token}"}

    access = Access(home)
    async with aiohttp.ClientSession() as session, access.owner() as connection:
        patient = known[_PATIENT]
        taken = "select exists (select 1 from consultation.patient where account = $1)"
        if await connection.fetchval(taken, UUID(patient.person)):
            # Played before: an account is one patient's, so the next one signs in as somebody new.
            known[_PATIENT] = replace(patient, person=str(uuid4()))

        async def mails() -> Sequence[Mapping[str, Any]]:
            async with session.get(f"{_outbox()}/messages.json") as response:
                found: list[Mapping[str, Any]] = (await response.json())["messages"]
                return found

        yield Stage(
            session=session,
            urls={service.name: addresses[service.name] for service in services},
            bearer=bearer,
            ids={login: person.person for login, person in known.items()},
            connection=connection,
            services=services,
            prefix=access.kafka().topic_prefix,
            mails=mails,
            say=say,
        )


def _outbox() -> str:
    """Where the local stack shows its mail."""
    stack = load(StackSettings)
    return f"http://{HOST}:{stack.port(stack.mail_port)}"


commands: tuple[click.Command, ...] = (seed, demo)
