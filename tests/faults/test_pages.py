"""Calling a human: row 54 for pages, the ladder by the clinic clock, without Kafka, until somebody answers."""

import signal
from functools import partial
from uuid import UUID

import pytest

from services.runtime.database import Reader
from services.runtime.messaging.changes import AcknowledgePage, Changes, Context, Reply
from tests.faults.test_timers import in_process, rounds_passed
from tests.support.ledger_checks import check_ledger
from tests.support.load import NO_BROKER, Load
from tests.support.waiting import eventually
from tests.support.world import World

pytestmark = pytest.mark.asyncio


async def page_of(world: World, entry: str) -> UUID:
    """The page that an entry raised."""
    page = await world.value("select id from page where dedupe_key = $1", f"flagged:{entry}")
    assert isinstance(page, UUID)
    return page


def mails(world: World, page: UUID) -> list[str]:
    """Raw mails about a page, every copy."""
    return world.servers.mail.raw(f"X-Telemed-Page: {page}")


async def has_mails(world: World, page: UUID, count: int) -> bool:
    """Whether so many copies went out."""
    return len(mails(world, page)) >= count


async def test_a_page_climbs_its_ladder_by_the_clinic_clock_without_kafka_until_somebody_answers(world: World) -> None:
    """No broker anywhere: the page goes out all the same, at once; the next rung after 60 s of clinic time; none after an
    acknowledgement. Two replicas send each rung once."""
    replicas = [await world.spawn(**NO_BROKER) for _ in range(2)]
    for entry in ("ignored", "answered"):
        assert (await world.post(replicas[0], entry, f"acc-{entry}", page=True)).status == 201
    ignored, answered = await page_of(world, "ignored"), await page_of(world, "answered")
    for page in (ignored, answered):
        await eventually(partial(has_mails, world, page, 1), what="the first rung")
    await rounds_passed(*replicas)
    assert (len(mails(world, ignored)), len(mails(world, answered))) == (1, 1), "a rung too early, or twice"

    async with in_process(world) as unit_of_work:

        async def acknowledge(_: Reader, __: Context) -> Changes:
            return Changes(pages=[AcknowledgePage(answered, "nurse-7")])

        assert await unit_of_work.execute(acknowledge) == Reply(204)
    await world.advance(60)
    await eventually(lambda: has_mails(world, ignored, 2), what="the second rung")
    await world.advance(3600)
    await rounds_passed(*replicas)
    assert (len(mails(world, ignored)), len(mails(world, answered))) == (2, 1)
    rows = await world.rows("select step, recipient, outcome from page_attempt where page_id = $1 order by step", ignored)
    assert [tuple(row) for row in rows] == [(0, "operator", "sent"), (1, "operator", "sent")]
    row = (await world.rows("select status, acknowledged_by from page where id = $1", answered))[0]
    assert tuple(row) == ("acknowledged", "nurse-7")
    # Nothing about anybody: a code, and an opaque id.
    for text in mails(world, ignored):
        assert "Page: ledger.flagged" in text
        assert "acc-ignored" not in text
        assert "ignored" not in text.replace(str(ignored), "")


async def test_row_54_a_page_whose_sender_was_killed_is_sent_again(world: World, seed: int) -> None:
    """Row 54 for pages: twice is better than not at all, and the copies can be told from a new page by their id."""
    async with Load(seed) as load:
        for failpoint, before, after in load.random.sample([("call.after_attempt", 0, 1), ("call.after_call", 1, 2)], 2):
            doomed = await world.spawn(failpoints=f"{failpoint}=kill@1", **NO_BROKER)
            asked = load.new(page=True)
            assert (await load.ask(doomed, asked)).status in (0, 201)
            assert await doomed.ended() == -signal.SIGKILL
            assert doomed.fired() == [failpoint]
            page = await page_of(world, asked.entry)
            assert len(mails(world, page)) == before
            heir = await world.spawn(**NO_BROKER)
            await eventually(partial(has_mails, world, page, after), what="sent again")
            await rounds_passed(heir)
            copies = mails(world, page)
            assert len(copies) == after
            assert len({line for text in copies for line in text.splitlines() if line.startswith("Message-ID")}) == 1
            await heir.kill()
        await world.spawn()
        await check_ledger(world, load)
