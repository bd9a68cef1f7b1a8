"""Faults around a command: rows 1, 2, 3, 33, 37 of the fault matrix."""

import pytest

from tests.support.ledger_checks import check_ledger
from tests.support.load import Load
from tests.support.world import World

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize(
    ("row", "failpoint"), [(1, "command.before_commit"), (2, "command.after_commit")], ids=["row1-before", "row2-after"]
)
async def test_rows_1_2_a_service_killed_around_its_commit_creates_once(
    world: World, seed: int, row: int, failpoint: str
) -> None:
    """Rows 1 and 2: kill -9 before the commit, or between commit and reply: asked again, it is there once."""
    async with Load(seed) as load:
        nth = load.random.randint(2, 12)
        doomed = await world.spawn(failpoints=f"{failpoint}=kill@{nth}")
        await load.run([doomed], 20)
        assert await doomed.ended() == -9
        assert failpoint in doomed.fired()
        (unknown, *_) = load.unsettled
        written = await world.value("select count(*) from entry where id = $1", unknown.entry)
        assert written == row - 1
        heir = await world.spawn()
        await check_ledger(world, load, process=heir)
