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
from tests.support.care import Care, care
from tests.support.servers import Servers

__all__ = ["Turns", "on_stage", "planned"]


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
    async with care(servers, folder) as made:
        await made.spawn(*made.services)
        async with on_stage(made) as stage:
            # The mail server is shared by all tests: each has a patient of its own.
            story = Story(stage, FIRST_DAY, number=int(made.database.removeprefix("c_"), 16))
            await seed(stage, until=story.at(120, "00:00"))
            await story.to_the_plan()
            await stage.settle()
            yield made, story
