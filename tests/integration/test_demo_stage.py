"""The clinic clock while somebody watches a demo: small steps, at the pace that was asked for."""

import datetime as dt
import time
from pathlib import Path

import pytest

from tests.support.care import care
from tests.support.servers import Servers
from tests.support.stage import on_stage

pytestmark = pytest.mark.asyncio


async def test_the_clock_goes_at_a_pace_while_somebody_watches_and_at_once_otherwise(servers: Servers, tmp_path: Path) -> None:
    async with care(servers, tmp_path) as made:
        await made.spawn("clinic")
        async with on_stage(made) as stage:
            stage.pace = 600.0

            async def passed(length: dt.timedelta) -> tuple[float, int]:
                """Real seconds, and in how many steps the clock was moved."""
                moves = "select count(*) from audit where action = 'clock.advance'"
                before = await made.value("", moves)
                began, at = time.monotonic(), await stage.now() + length
                await stage.until(at)
                assert await stage.now() >= at
                return time.monotonic() - began, await made.value("", moves) - before

            assert (await passed(dt.timedelta(days=1)))[1] == 1
            with stage.watching():
                seconds, steps = await passed(dt.timedelta(minutes=20))
            assert seconds >= 1.9, "twenty minutes at 600 times real time are two seconds"
            assert steps >= 2
            assert (await passed(dt.timedelta(days=1)))[1] == 1
