"""A process that dies around its commit: effects and timers happen once all the same."""

import pytest

from tests.support.ledger_checks import check_ledger
from tests.support.load import Load
from tests.support.waiting import eventually
from tests.support.world import World

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("failpoint", ["consumer.before_commit", "consumer.after_commit", "consumer.before_offset_commit"])
async def test_rows_7_and_8_a_consumer_killed_around_its_commit_applies_everything_once(
    world: World, seed: int, failpoint: str
) -> None:
    """Rows 7 and 8: the record comes again, and takes effect once."""
    doomed = await world.spawn(failpoints=f"{failpoint}=kill@2")
    async with Load(seed) as load:
        load.start([doomed], workers=2, pause_s=0.01)
        assert await doomed.ended(30) == -9
        assert failpoint in doomed.fired()
        await load.stop()
        heir = await world.spawn()
        await load.settle(heir)
        await load.run([heir], 10)
        await check_ledger(world, load)


async def test_a_timer_whose_process_dies_after_its_effect_fires_once(world: World, seed: int) -> None:
    """Claim, effect and "done" are one transaction: a death in between undoes all of it."""
    doomed = await world.spawn(failpoints="timer.after_effect=kill")
    async with world.owner() as connection:
        due = await connection.fetchval("select clinic_now()")
    for number in range(5):
        subject = f"t{number}"
        await world.set_timer(doomed, kind="ledger.fire", key=subject, subject=subject, due=due.isoformat())
    assert await doomed.ended(30) == -9
    assert doomed.fired() == ["timer.after_effect"]
    heir = await world.spawn()
    for number in range(5):
        await world.set_timer(heir, kind="ledger.fire", key=f"t{number}", subject=f"t{number}", due=due.isoformat())

    async def all_done() -> bool:
        return await world.value("select count(*) = 5 from timer where status = 'done'") is True

    await eventually(all_done, what="five timers done")
    assert await world.value("select count(*) from fired") == 5
    async with Load(seed) as load:
        await load.run([heir], 10)
        await check_ledger(world, load)
