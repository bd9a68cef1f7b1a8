"""How sessions end, and what each ending asks for and tells; what the database refuses whatever the code does."""

import asyncio
import datetime as dt
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from tests.support.chair import Chair
from tests.support.room import another, room
from tests.support.servers import Servers
from tests.support.stage import planned

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(300)]


@pytest_asyncio.fixture
async def chair(servers: Servers, tmp_path: Path) -> AsyncIterator[Chair]:
    """The patient has a signed plan; nobody is here yet."""
    async with room(servers, tmp_path, sessions=6) as (made,):
        yield made


async def told(chair: Chair, kind: str) -> list[dict[str, Any]]:
    """What was told of the session, by kind."""
    rows = await chair.rows(
        "select convert_from(body, 'UTF8')::jsonb -> 'data' from outbox where type like $1 and source = $2 order by id",
        f"%.{kind}.v1",
        f"/session_logging/sessions/{chair.id}",
    )
    return [json.loads(row[0]) for row in rows]


async def waiting(chair: Chair) -> list[str]:
    """Tasks that follow-up has opened because of the session."""
    await chair.stage.settle()
    rows = await chair.care.rows("follow_up", "select kind from care_task where session = $1 order by kind", chair.id)
    return [row["kind"] for row in rows]


async def reminders(chair: Chair) -> set[str]:
    """What became of the session's reminders."""
    await chair.stage.settle()
    rows = await chair.care.rows("follow_up", "select distinct status from reminder where about = $1", chair.id)
    return {row["status"] for row in rows}


async def test_who_has_not_begun(chair: Chair) -> None:
    # An illegal move is refused with the state and what is allowed there.
    refused = await chair.ask("nurse.a", "start")
    assert (refused.status, refused.code, refused.body["reason"]) == (409, "illegal-move", "scheduled")
    assert [one["pointer"] for one in refused.body["errors"]] == [
        f"/moves/{name}" for name in ("cancelled", "checked-in", "no-show", "voided")
    ]
    early = await chair.ask("nurse.a", "closure", {"ending": "no-show"})
    assert (early.status, early.code) == (422, "not-yet")

    # Voided: entered by mistake. It needs a reason; what was planned for it is withdrawn.
    chair.number = 6
    assert (await chair.ask("nurse.a", "closure", {"ending": "voided"})).code == "reason-missing"
    closed = (await chair.ask("nurse.a", "closure", {"ending": "voided", "note": "canary-8127: planned twice"})).ok()
    assert (closed["state"], closed["ending"]) == ("closed", "voided")
    refused = await chair.ask("nurse.a", "closure", {"ending": "cancelled"})
    assert (refused.code, refused.body["reason"], "errors" in refused.body) == ("illegal-move", "closed", False)

    # No-show: only once it should have begun.
    chair.number = 1
    await chair.until(chair.planned + dt.timedelta(minutes=30))
    missed = (await chair.ask("front_desk.a", "closure", {"ending": "no-show"})).status
    assert missed == 403, "the front desk closes no session"
    assert (await chair.ask("nurse.a", "closure", {"ending": "no-show"})).ok()["ending"] == "no-show"

    # Aborted before the start: a reason, and the drug that was drawn is accounted for.
    chair.number = 2
    assert (await chair.arrive(2))["state"] == "checked-in"
    await chair.prepare()
    body = {"ending": "aborted", "note": "Third hold; rescheduled"}
    assert (await chair.ask("nurse.a", "closure", {"ending": "aborted"})).code == "reason-missing"
    unbalanced = await chair.ask("nurse.a", "closure", body)
    assert [(one["pointer"], one["code"]) for one in unbalanced.body["errors"]] == [("/drawn", "discrepancy")]
    await chair.waste("1.00")
    at = (await chair.stage.now()).astimezone(dt.UTC).isoformat()
    await chair.wait(minutes=3)
    closed = (await chair.ask("nurse.a", "closure", {**body, "at": at})).ok()
    assert closed["ending"] == "aborted"

    # Each move names who, since when it was true, and when it was recorded.
    moves = (await chair.record())["moves"]
    assert [(one["from_state"], one["to_state"], one["ending"], one["by"]) for one in moves] == [
        ("scheduled", "checked-in", None, chair.care.id("nurse.a")),
        ("checked-in", "closed", "aborted", chair.care.id("nurse.a")),
    ]
    times = [dt.datetime.fromisoformat(moves[1][name]) for name in ("at", "recorded_at")]
    assert times[0] == dt.datetime.fromisoformat(at)
    assert dt.timedelta(minutes=3) <= times[1] - times[0] < dt.timedelta(minutes=4)
    changed = (await told(chair, "session-changed"))[-1]
    assert (changed["by"], changed["moved_at"][:19]) == (chair.care.id("nurse.a"), at[:19])
    assert [one["ending"] for one in await told(chair, "session-closed")] == ["aborted"]

    # Who walks out before the start has left all the same: called, whatever the ledger says.
    chair.number = 3
    await chair.arrive(3)
    await chair.prepare()
    gone = {"ending": "eloped", "at": chair.planned.replace(hour=3).isoformat()}
    assert (await chair.ask("nurse.a", "closure", gone)).code == "before-check-in"
    left = {"ending": "left-against-advice", "screened": "declined"}
    assert (await chair.ask("nurse.a", "closure", left)).ok()["ending"] == "left-against-advice"
    called = await chair.rows("select code, subject from page where code like 'session.%' order by code")
    assert called == [("session.drug-unaccounted", chair.id), ("session.left-without-discharge", chair.id)]
    bodies = await chair.rows("select body from outbox")
    assert not [row for row in bodies if b"canary-8127" in bytes(row[0])], "words stay in the room"


async def test_who_was_given_drug_goes_home_signed_or_by_themselves_or_in_an_ambulance(chair: Chair) -> None:
    # A bag that was not emptied, and a discharge by every criterion: aborted, with its contact after 24 hours.
    await chair.start()
    refused = await chair.ask("nurse.a", "closure", {"ending": "eloped"})
    assert (refused.code, refused.body["reason"]) == ("illegal-move", "infusing"), "the pump is stopped first"
    before = (chair.started or chair.planned) - dt.timedelta(minutes=1)
    early = await chair.ask("nurse.a", "pause", {"reason": "other", "at": before.astimezone(dt.UTC).isoformat()})
    assert early.code == "out-of-order", "it did not run yet"
    await chair.tend(10)
    await chair.end("25.0")
    for ending in ("aborted", "voided", "no-show"):
        answer = await chair.ask("nurse.a", "closure", {"ending": ending, "note": "Not by this door"})
        assert (answer.code, answer.body["reason"]) == ("illegal-move", "recovery")
    await chair.recover()
    # What was drawn is not all accounted for: nobody signs that.
    unbalanced = await chair.discharge()
    assert [one["code"] for one in unbalanced.body["errors"]] == ["discrepancy"]
    await chair.waste("0.61")
    signed = (await chair.discharge()).ok()
    assert (signed["state"], signed["ending"]) == ("closed", "aborted")
    assert len(await told(chair, "session-discharged")) == 1, "by which the contact after 24 hours is asked for"

    # Transferred: at once, whatever is missing; the prescriber is called, the hospital is called next day, and the next
    # session waits for a prescriber.
    await chair.start(2)
    await chair.end("5.0")
    called = (await chair.stage.now()).astimezone(dt.UTC).isoformat()
    untimed = await chair.ask("nurse.a", "closure", {"ending": "transferred"})
    assert (untimed.status, untimed.body["errors"]) == (422, [{"pointer": "/called_at", "code": "required"}])
    too_early = (chair.planned - dt.timedelta(hours=5)).astimezone(dt.UTC).isoformat()
    assert (await chair.ask("nurse.a", "closure", {"ending": "transferred", "called_at": too_early})).code == "before-check-in"
    closing = {"ending": "transferred", "called_at": called}
    assert (await chair.ask("nurse.a", "closure", closing)).ok()["ending"] == "transferred"
    assert await chair.rows("select subject from page where code = 'session.transferred'") == [(chair.id,)]
    assert await chair.rows("select cause from review where decision is null") == [("transferred",)]
    said = (await chair.record())["entries"][-1]
    assert (said["kind"], said["data"]["called_at"][:19]) == ("closed", called[:19])
    # Nor does the person begin under another id: what is open there, and when drug was given there, counts for both.
    survivor = await another(chair, sessions=1)
    await survivor.arrive()
    merge = "update patient_fact set merged_into = $1 where patient = $2"
    async with chair.care.owner("session_logging") as connection:
        await connection.execute(merge, survivor.patient, chair.patient)
    shut = await survivor.ask("nurse.a", "start-evaluations")
    assert {"K-S-REVIEW-OPEN", "K-S-SERIES"} <= set(shut.ok()["shut_by"])
    await chair.arrive(3)
    await chair.prepare()
    await chair.waste("0.18")
    await chair.stage.settle()
    shut = await chair.ask("nurse.a", "start")
    assert "/gate/K-S-REVIEW-OPEN" in [one["pointer"] for one in shut.body["errors"]], shut.body
    shut = await survivor.ask("nurse.a", "start-evaluations")
    assert {"K-S-REVIEW-OPEN", "K-S-OTHER-SESSION"} <= set(shut.ok()["shut_by"])


async def test_follow_up_acts_on_every_ending(servers: Servers, tmp_path: Path) -> None:
    async with planned(servers, tmp_path) as (care, story):
        chair = Chair(care, story.stage, story.patient, story.sessions)
        last = chair.other(6)
        assert "planned" in await reminders(last)
        (await last.ask("nurse.a", "closure", {"ending": "voided", "note": "Planned twice"})).ok()
        assert await reminders(last) == {"withdrawn"}
        await chair.arrive()
        (await chair.ask("nurse.a", "closure", {"ending": "eloped"})).ok()
        assert await waiting(chair) == ["welfare"]
        second = chair.other(2)
        await second.arrive(2)
        called = (await second.stage.now()).astimezone(dt.UTC).isoformat()
        (await second.ask("nurse.a", "closure", {"ending": "transferred", "called_at": called})).ok()
        assert await waiting(second) == ["hospital-call"]
        third = chair.other(3)
        await third.until(third.planned)
        (await third.ask("nurse.a", "closure", {"ending": "no-show"})).ok()
        assert await waiting(third) == []
        rows = await care.rows("follow_up", "select ending from session_fact where ending is not null order by ending")
        assert [row["ending"] for row in rows] == ["eloped", "no-show", "transferred", "voided"]
        assert await care.value("follow_up", "select count(*) from parked") == 0


async def test_one_infusion_of_a_patient_and_one_session_of_a_monitor(servers: Servers, tmp_path: Path) -> None:
    async with room(servers, tmp_path, sessions=3) as (chair,):
        await chair.start()
        device = (await chair.shown())["device"]
        other, third = chair.other(2), chair.other(3)
        async with chair.care.owner("session_logging") as connection:
            with pytest.raises(asyncpg.UniqueViolationError, match="session_infusing"):
                await connection.execute("update session set state = 'paused' where id = $1", other.id)
            with pytest.raises(asyncpg.UniqueViolationError, match="session_device"):
                await connection.execute("update session set device = $2 where id = $1", other.id, device)
            # More sessions of the same patient today, as nobody plans them.
            await connection.execute("update session set starts_at = (select min(starts_at) from session)")
        bound = await other.ask("nurse.a", "check-in", other.door(device=device))
        assert (bound.status, bound.code) == (409, "device-bound")
        # One monitor is scanned for two sessions at the same moment: one of them has it.
        answers = await asyncio.gather(
            *(one.ask("nurse.a", "check-in", one.door(device="monitor-9")) for one in (other, third)),
        )
        assert sorted(one.status for one in answers) == [200, 409]
        assert await chair.rows("select count(*) from session where device = 'monitor-9'") == [(1,)]
        # And the patient who has a running infusion is not given another.
        held = other if answers[0].status == 200 else third
        await held.prepare()
        shut = await held.ask("nurse.a", "start")
        assert "/gate/K-S-OTHER-SESSION" in [one["pointer"] for one in shut.body["errors"]], shut.body
        assert await chair.rows("select count(*) from session where state = 'infusing'") == [(1,)]
