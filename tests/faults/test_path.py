"""A patient's path while services are killed at random steps: it comes to the same results, nothing lost and nothing twice."""

import random
from pathlib import Path

import pytest

from services.cli.demo.seed import seed as plant
from services.cli.demo.story import FIRST_DAY, Story
from tests.support.care import care
from tests.support.servers import Servers
from tests.support.stage import Turns, on_stage

pytestmark = pytest.mark.asyncio

_KILLS = 4


@pytest.mark.timeout(900)
async def test_services_are_killed_along_the_path(seed: int, servers: Servers, tmp_path: Path) -> None:
    chance = random.Random(seed)
    killed: list[tuple[int, str]] = []
    async with care(servers, tmp_path) as made:
        await made.spawn(*made.services)
        async with on_stage(made) as stage:
            story = Story(stage, FIRST_DAY, number=int(made.database.removeprefix("c_"), 16))
            await plant(stage, until=story.at(120, "00:00"))
            first = stage.steps
            steps = sorted(chance.sample(range(first + 2, first + 160), _KILLS))

            async def kill(step: int) -> None:
                if step not in steps:
                    return
                # Between the answer before and this request: whatever the victim was doing for others breaks off.
                victim = chance.choice(sorted(made.services))
                killed.append((step, victim))
                await made.running[victim].kill()
                await made.spawn(victim)
                stage.urls = Turns(made.urls())

            stage.before = kill
            await story.to_the_plan()
            await story.first_session()
            await story.amendment()
            await stage.settle()
            assert len(killed) == _KILLS, (killed, stage.steps)
            assert [(one.name, one.wanted, one.found) for one in stage.checks if not one.holds] == [], killed
            for service in stage.services:
                assert await made.value(service.name, "select count(*) from parked") == 0, (service.name, killed)
            settled = await made.rows("follow_up", "select status, count(*) as number from reminder group by status")
            counts = {row["status"]: row["number"] for row in settled}
            mails = len(made.servers.mail.raw(story.person["email"]))
            # A mail whose process died before it was written down is uncertain, and never sent again.
            assert counts.get("sent", 0) <= mails <= counts.get("sent", 0) + counts.get("uncertain", 0), (counts, mails)
            assert await made.value("session_logging", "select count(*) from alert") == 1
            assert await made.value("session_logging", "select count(*) from outbox where type like '%infusion-started%'") == 1
