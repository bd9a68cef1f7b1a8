"""A world of services as the stage of the demo's story."""

import itertools
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from services.cli.demo.seed import seed
from services.cli.demo.stage import Stage
from services.cli.demo.story import FIRST_DAY, Story
from services.cli.stack.mail import Outbox
from services.cli.stack.ports import HOST, free_ports
from tests.support.care import Care, care
from tests.support.provider import issuer
from tests.support.servers import Servers
from tests.support.world import SHORT

__all__ = ["Shown", "Turns", "on_stage", "planned", "shown"]


class Turns(Mapping[str, str]):
    """Where services listen; with several replicas each in its turn."""

    def __init__(self, urls: Mapping[str, Sequence[str]]) -> None:
        self._urls = {name: itertools.cycle(where) for name, where in urls.items()}

    def __getitem__(self, name: str) -> str:
        return next(self._urls[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._urls)

    def __len__(self) -> int:
        return len(self._urls)


@asynccontextmanager
async def on_stage(care: Care) -> AsyncIterator[Stage]:
    """A stage over the services that run, every replica of them."""
    outbox = Outbox(care.servers.mail.folder)

    async def mails() -> Sequence[Mapping[str, Any]]:
        return outbox.messages()

    async with care.owner() as connection:
        yield Stage(
            session=care.session,
            urls=Turns(care.urls()),
            bearer=care.bearer,
            ids={login: person.person for login, person in care.people.items()},
            connection=connection,
            services=[care.services[name] for name in care.running],
            prefix=care.prefix,
            mails=mails,
            say=print,
        )


@asynccontextmanager
async def planned(servers: Servers, folder: Path) -> AsyncIterator[tuple[Care, Story]]:
    """Every service runs, and the demo's patient has a signed plan: Thursday, 21 January 2027."""
    async with care(servers, folder) as made, _played(made) as story:
        yield made, story


Shown = tuple[Care, Story, str]


@asynccontextmanager
async def shown(servers: Servers, folder: Path) -> AsyncIterator[Shown]:
    """The same as a browser needs it: every service keeps its port, pages know them, and people sign in at the local issuer.

    The first infusion runs: Monday, 25 January 2027, 10:30. The path of its session is the last of the three.
    """
    async with care(servers, folder) as made:
        made.ports = dict(zip(made.services, free_ports(len(made.services)), strict=True))
        urls = {name: f"http://{HOST}:{port}" for name, port in made.ports.items()}
        board = urls.pop("staff_dashboard")
        async with issuer(folder, f"{board}/board") as made.provider:
            # The product's own timings: no server is taken away here, and a browser beside them needs the machine too.
            made.environment = {name: value for name, value in made.environment.items() if name not in SHORT} | {
                "TELEMED_OIDC_ISSUER": made.provider.url,
                "TELEMED_HTTP_BOARD_ORIGIN": board,
                "TELEMED_MESSAGES_LINK_URL": f"{urls['follow_up']}/link",
                **{f"TELEMED_BOARD_{name.upper()}": url for name, url in urls.items()},
            }
            async with _played(made) as story:
                session, _ = await story.start_first()
                await story.stage.settle()
                yield made, story, session


@asynccontextmanager
async def _played(made: Care) -> AsyncIterator[Story]:
    await made.spawn(*made.services)
    async with on_stage(made) as stage:
        # The mail server is shared by all tests: each has a patient of its own.
        story = Story(stage, FIRST_DAY, number=int(made.database.removeprefix("c_"), 16))
        await seed(stage, until=story.at(120, "00:00"))
        await story.to_the_plan()
        await stage.settle()
        yield story
