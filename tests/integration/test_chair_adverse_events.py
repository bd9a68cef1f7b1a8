"""Adverse events at a chair: a human grades, the software proposes, the grave ones call somebody and wait for a prescriber."""

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from tests.support.chair import CALM, Chair, quantity
from tests.support.room import room
from tests.support.servers import Servers

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(300)]

DIZZY: dict[str, Any] = {"term": "dizziness", "grade": 1, "relatedness": "probable", "action": "none"}


async def enter(chair: Chair, **more: Any) -> dict[str, Any]:
    """One that sets in now, unless it is said when; what it has called and opened is looked up apart."""
    now = (await chair.stage.now()).astimezone(dt.UTC).isoformat()
    return dict((await chair.ask("nurse.a", "adverse-events", {**DIZZY, "onset_at": now, **more})).ok())


async def calls(chair: Chair) -> tuple[int, list[str]]:
    """How often somebody was called for adverse events of the session, and the reviews that it has opened."""
    pages = await chair.rows("select count(*) from page where code = 'session.adverse-event' and subject = $1", chair.id)
    reviews = await chair.rows("select cause from review where session = $1", chair.id)
    return pages[0][0], [cause for (cause,) in reviews]


async def test_the_grade_is_proposed_by_what_was_measured_and_said(servers: Servers, tmp_path: Path) -> None:
    async with room(servers, tmp_path, patients=1, sessions=1) as (chair,):
        refused = await chair.ask("nurse.a", "adverse-events", {**DIZZY, "onset_at": chair.planned.isoformat()})
        assert (refused.status, refused.code) == (409, "illegal-move"), "nobody is here"
        await chair.start()
        assert chair.started is not None
        await chair.care.advance(300)
        # Each pressure twice in a row, and an event that sets in with the first of the two: 3.8 at every boundary.
        table = (
            (119, 79, None),
            (120, 79, 1),
            (119, 80, 1),
            (139, 89, 1),
            (140, 89, 2),
            (139, 90, 2),
            (159, 99, 2),
            (160, 99, 3),
            (159, 100, 3),
        )
        for place, (sbp, dbp, grade) in enumerate(table):
            times = [(chair.started + dt.timedelta(seconds=20 * place + 8 * twice)).isoformat() for twice in (1, 2)]
            for at in times:
                pressure = {"sbp": quantity(str(sbp), "mm[Hg]"), "dbp": quantity(str(dbp), "mm[Hg]")}
                (await chair.ask("nurse.a", "vitals", {**CALM.body(), **pressure, "at": at})).ok()
            made = await enter(chair, term="hypertension", onset_at=times[0])
            assert made["proposed_grade"] == grade, (sbp, dbp)
            other = await enter(chair, onset_at=times[0])
            assert other["proposed_grade"] is None, "pressures grade no dizziness"
        # One reading confirms nothing, and half a reading is half of one.
        at = (chair.started + dt.timedelta(seconds=200)).isoformat()
        (await chair.ask("nurse.a", "vitals", {"sbp": quantity("165", "mm[Hg]"), "at": at})).ok()
        late = (chair.started + dt.timedelta(seconds=210)).isoformat()
        (
            await chair.ask(
                "nurse.a", "vitals", {"sbp": quantity("119", "mm[Hg]"), "dbp": quantity("79", "mm[Hg]"), "at": late}
            )
        ).ok()
        assert (await enter(chair, term="hypertension", onset_at=late))["proposed_grade"] is None
        for said, grade in (
            ({"oral_intake": "eating"}, 1),
            ({"oral_intake": "less"}, 2),
            ({"oral_intake": "tube feeding or infusion needed"}, 3),
            ({"intervention": "none"}, 1),
            ({"intervention": "minimal or local"}, 2),
            ({"intervention": "hospitalisation or major"}, 3),
            ({"serious": ["hospitalisation"]}, 3),
            ({"serious": ["life-threatening"]}, 4),
            ({"serious": ["death"]}, 5),
            ({"serious": ["important medical event"]}, None),
        ):
            assert (await enter(chair, term="nausea", **said))["proposed_grade"] == grade, said
        # All of it on one sheet for the ambulance, and what was said is text there.
        page = await chair.care.call("nurse.b", "session_logging", "GET", f"{chair.path}/handover/page")
        assert (page.status, page.headers["Cache-Control"]) == (200, "no-store")
        for words in ("Emergency handover", "write by hand", "AMBER sbp_high", "119 mm[Hg]", "41.00 mg"):
            assert words in page.body, words
        assert (await chair.care.call("front_desk.a", "session_logging", "GET", f"{chair.path}/handover/page")).status == 403


async def test_what_is_grave_calls_and_waits_for_a_prescriber(servers: Servers, tmp_path: Path) -> None:
    async with room(servers, tmp_path, patients=6, sessions=2) as chairs:
        chair = chairs[0]
        for one in chairs:
            await one.arrive()
        # Grade as entered, as proposed, serious; whether somebody is called; whether it is looked at before the next session.
        table: tuple[tuple[dict[str, Any], tuple[int, list[str]]], ...] = (
            ({"grade": 1, "intervention": "none"}, (0, [])),
            ({"grade": 2}, (0, ["adverse-event"])),
            ({"grade": 1, "intervention": "minimal or local"}, (0, ["adverse-event"])),
            ({"grade": 3}, (1, ["adverse-event"])),
            ({"grade": 1, "intervention": "hospitalisation or major"}, (1, ["adverse-event"])),
            ({"grade": 1, "serious": ["death"]}, (1, ["adverse-event"])),
        )
        for one, (said, wanted) in zip(chairs, table, strict=True):
            made = await enter(one, **said, note="canary-4419: fell off the bed")
            assert await calls(one) == wanted, said
            assert made["outcome"] is None
        # A second one of the same session calls again, and opens nothing twice; the same call again is the same event.
        grave = {**DIZZY, "grade": 4, "onset_at": (await chair.stage.now()).astimezone(dt.UTC).isoformat()}
        for _ in range(2):
            (await chairs[3].ask("nurse.a", "adverse-events", grave, key="once")).ok()
        assert await calls(chairs[3]) == (2, ["adverse-event"])
        # What is none is named, and changes nothing.
        before = await chair.rows("select count(*) from adverse_event")
        now = await chair.stage.now()
        for change, pointer in (
            ({"grade": 0}, "/grade"),
            ({"grade": 6}, "/grade"),
            ({"term": "two words"}, "/term"),
            ({"relatedness": "surely"}, "/relatedness"),
            ({"serious": ["bad"]}, "/serious/0"),
            ({"intervention": "some"}, "/intervention"),
            ({"oral_intake": "none"}, "/oral_intake"),
            ({"outcome": "resolved"}, "/outcome"),
            ({"onset_at": "yesterday"}, "/onset_at"),
        ):
            refused = await chair.ask("nurse.a", "adverse-events", {**DIZZY, "onset_at": now.isoformat(), **change})
            assert (refused.status, [one["pointer"] for one in refused.body["errors"]]) == (422, [pointer]), change
        future = {**DIZZY, "onset_at": (now + dt.timedelta(minutes=5)).isoformat()}
        assert (await chair.ask("nurse.a", "adverse-events", future)).code == "in-the-future"
        assert (await chair.ask("therapist.a", "adverse-events", {**DIZZY, "onset_at": now.isoformat()})).status == 403
        assert await chair.rows("select count(*) from adverse_event") == before
        # It is over, and how it ended.
        known = await chair.rows("select id::text, onset_at from adverse_event where session = $1", chair.id)
        over = f"/adverse-events/{known[0][0]}/resolution"
        early = {"resolved_at": (known[0][1] - dt.timedelta(seconds=1)).isoformat()}
        assert (await chair.ask("nurse.a", over, early)).code == "in-the-future"
        ended = {"resolved_at": known[0][1].isoformat(), "outcome": "resolved-with-sequelae"}
        assert (await chair.ask("nurse.a", over, ended)).ok()["outcome"] == "resolved-with-sequelae"
        assert (await chair.ask("nurse.a", over, ended)).code == "resolved"
        # The next session of who had a grade 2 waits for a prescriber (decision B13).
        waits = chairs[1].other(2)
        (await chairs[1].ask("nurse.a", "closure", {"ending": "aborted", "note": "Sent home"})).ok()
        await waits.arrive(2)
        rule = "K-S-REVIEW-OPEN"
        assert rule in (await waits.ask("nurse.a", "start-evaluations")).ok()["shut_by"]
        review = await waits.rows("select id::text from review where session = $1", chairs[1].id)
        decided = f"/reviews/{review[0][0]}/decision"
        assert (await waits.ask("nurse.a", decided, {"decision": "continue"})).status == 403
        (await waits.ask("prescriber.a", decided, {"decision": "continue"})).ok()
        assert rule not in (await waits.ask("nurse.a", "start-evaluations")).ok()["shut_by"]
        await chair.stage.settle()
        assert not [row for row in await chair.rows("select body from outbox") if b"canary-4419" in bytes(row[0])]
