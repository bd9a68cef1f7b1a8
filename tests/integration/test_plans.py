"""A treatment plan over HTTP and events: limits, signature, hold, release, stop, and what other services make of it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from services.cli.demo.story import Story
from tests.support.care import Answer, Care
from tests.support.consultation import corrected
from tests.support.servers import Servers
from tests.support.stage import planned

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def scene(servers: Servers, tmp_path: Path) -> AsyncIterator[tuple[Care, Story]]:
    async with planned(servers, tmp_path) as made:
        yield made


async def ask(scene: tuple[Care, Story], login: str, method: str, path: str, body: object = None, **more: Any) -> Answer:
    care, story = scene
    return await care.call(login, "treatment_planning", method, f"/plans/{story.plan}{path}", body, **more)


def terms(sessions: list[dict[str, Any]], **changed: Any) -> dict[str, Any]:
    kept = [{name: one[name] for name in ("session", "starts", "phase") if name in one} for one in sessions]
    return {
        "dose": {"value": "0.5", "unit": "mg/kg"},
        "basis": "actual",
        "duration": {"value": "40", "unit": "min"},
        "sessions": kept,
        **changed,
    }


@pytest.mark.timeout(240)
async def test_a_plan_is_edited_within_limits_signed_held_released_and_stopped(scene: tuple[Care, Story]) -> None:
    care, story = scene
    room = "select count(*) from session where state = 'scheduled'"
    assert await care.value("session_logging", room) == 6
    planned_messages = "select count(*) from reminder where status = 'planned'"
    assert await care.value("follow_up", planned_messages) == 18
    plan = (await ask(scene, "psychiatrist.a", "GET", "")).ok()
    assert (plan["status"], plan["number"], plan["draft"]) == ("active", 1, None)
    sessions = plan["signed"]["sessions"]

    # Everything that is outside the limits is named at once, and nothing changes.
    close = [sessions[0], {**sessions[1], "starts": sessions[0]["starts"].replace("T15:30", "T16:30")}, *sessions[2:]]
    wrong = terms(close, dose={"value": "1.1", "unit": "mg/kg"}, duration={"value": "30", "unit": "min"}, reason="stronger")
    refused = await ask(scene, "psychiatrist.a", "PUT", "/draft", wrong, version=plan["version"])
    assert (refused.status, refused.code) == (422, "outside-limits")
    named = {(error["pointer"], error["code"]) for error in refused.body["errors"]}
    assert {
        ("/dose", "above-hard-maximum"),
        ("/dose", "step-too-large"),
        ("/step_reason", "needs-reason"),
        ("/duration", "needs-override"),
        ("/sessions/1", "gap"),
    } <= named
    stranger = [{**sessions[0], "session": story.patient}, *sessions[1:]]
    refused = await ask(scene, "psychiatrist.a", "PUT", "/draft", terms(stranger), version=plan["version"])
    assert [error["pointer"] for error in refused.body["errors"]] == ["/sessions/0/session"]
    assert (await ask(scene, "psychiatrist.a", "GET", "")).ok() == plan

    # Who may not: a nurse neither edits nor signs, and who does not treat the patient does not even see that there is a plan.
    assert (await ask(scene, "nurse.a", "PUT", "/draft", terms(sessions), version=plan["version"])).status == 403
    assert (await ask(scene, "therapist.a", "GET", "")).status == 404
    assert (await ask(scene, "patient.b", "GET", "")).status == 404
    assert (await ask(scene, "patient.a", "GET", "")).ok()["number"] == 1

    # Session 6 is off and session 5 is a day later: an amendment, which says why.
    moved = [*sessions[:4], {**sessions[4], "starts": sessions[4]["starts"].replace("02-03", "02-04")}]
    edited = (await ask(scene, "psychiatrist.a", "PUT", "/draft", terms(moved), version=plan["version"])).ok()
    draft = (await ask(scene, "psychiatrist.a", "GET", "/draft")).ok()
    signature = {"signature": {"meaning": "approved", "licence": "US-NY", "shown": draft["shown"]}}
    assert (await ask(scene, "psychiatrist.a", "POST", "/versions", signature)).code == "reason-required"
    because = terms(moved, reason="patient-asked")
    edited = (await ask(scene, "psychiatrist.a", "PUT", "/draft", because, version=edited["version"])).ok()
    assert (await ask(scene, "psychiatrist.a", "POST", "/versions", signature)).code == "not-what-was-shown"
    draft = (await ask(scene, "psychiatrist.a", "GET", "/draft")).ok()
    signature["signature"]["shown"] = draft["shown"]
    signed = (await ask(scene, "psychiatrist.a", "POST", "/versions", signature)).ok()
    assert (signed["number"], len(signed["signed"]["sessions"])) == (2, 5)
    await story.stage.settle()
    assert await care.value("session_logging", room) == 5
    ended = await care.rows("session_logging", "select id, ending from session where state = 'closed'")
    assert [(str(row["id"]), row["ending"]) for row in ended] == [(sessions[5]["session"], "cancelled")]
    about = "select status, count(*) as number from reminder where about = $1 group by status order by status"
    gone = await care.rows("follow_up", about, sessions[5]["session"])
    assert [tuple(row) for row in gone] == [("withdrawn", 3)]
    again = await care.rows("follow_up", about, sessions[4]["session"])
    assert [tuple(row) for row in again] == [("planned", 3), ("withdrawn", 3)]
    kept = await care.rows("follow_up", about, sessions[0]["session"])
    assert [tuple(row) for row in kept] == [("planned", 3)], "what did not change is not planned again"

    # Anybody of the team holds; only a prescriber releases.
    assert (await ask(scene, "nurse.a", "POST", "/hold", {"reason": "clinical-review"})).ok()["status"] == "held"
    assert (await ask(scene, "nurse.a", "POST", "/hold", {"reason": "clinical-review"})).code == "not-active"
    await story.stage.settle()
    assert await care.value("session_logging", "select status from plan_fact") == "held"
    assert await care.value("follow_up", planned_messages) == 0, "of what is held nobody is reminded"
    await corrected(care, story.patient, zone="America/Chicago")
    await story.stage.settle()
    assert await care.value("follow_up", planned_messages) == 0, "nor when the patient's clock changes meanwhile"
    assert (await ask(scene, "nurse.a", "POST", "/release")).status == 403
    assert (await ask(scene, "psychiatrist.a", "POST", "/release")).ok()["status"] == "active"
    await story.stage.settle()
    assert await care.value("follow_up", f"{planned_messages} and zone = 'America/Chicago'") == 15

    # Consent that is withdrawn takes the ground away: held by the event, and no release without another consent.
    consents = await care.rows("consultation", "select id from consent")
    withdrawn = await care.call("patient.a", "consultation", "POST", f"/consents/{consents[0]['id']}/withdrawal")
    assert withdrawn.status == 200
    await story.stage.settle()
    plan = (await ask(scene, "psychiatrist.a", "GET", "")).ok()
    assert (plan["status"], plan["reason"]) == ("held", "consent-withdrawn")
    assert await care.value("follow_up", planned_messages) == 0
    assert (await ask(scene, "psychiatrist.a", "POST", "/release")).code == "no-consent"

    stopped = (await ask(scene, "psychiatrist.a", "POST", "/stop", {"reason": "patient-asked"})).ok()
    assert stopped["status"] == "stopped"
    await story.stage.settle()
    assert await care.value("session_logging", room) == 0
    assert await care.value("follow_up", planned_messages) == 0, "nobody is reminded of what is off"
    assert (
        await care.value("follow_up", "select count(*) from timer where kind = 'follow_up.message' and status = 'waiting'") == 0
    )
    acts = (await ask(scene, "psychiatrist.a", "GET", "/history")).ok()["acts"]
    assert [one["act"] for one in acts] == ["stopped", "held", "released", "held"]
    assert acts[1]["by"] == "treatment_planning"
