"""Visits over HTTP, over signed calls of the platform, and over events: who was there decides, in whatever order it is told."""

import base64
import datetime as dt
import hashlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
import pytest
import pytest_asyncio

from tests.support.care import Answer, Care
from tests.support.consultation import post, registered, staffed
from tests.support.servers import Servers

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(180)]

KEY, SECRET = "the-tests-key", "the-tests-secret-which-is-long-enough"
LIVEKIT = {
    "TELEMED_LIVEKIT_URL": "ws://127.0.0.1:7880",
    "TELEMED_LIVEKIT_API_KEY": KEY,
    "TELEMED_LIVEKIT_API_SECRET": SECRET,
}


@pytest_asyncio.fixture
async def clinic(servers: Servers, tmp_path: Path) -> AsyncIterator[Care]:
    async with staffed(servers, tmp_path) as made:
        yield made


async def ask(clinic: Care, login: str | None, method: str, path: str, body: object = None, **more: Any) -> Answer:
    return await clinic.call(login, "video_visits", method, path, body, **more)


async def scheduled(clinic: Care, minutes: int = 60, environment: dict[str, str] | None = None) -> tuple[str, str]:
    """The service runs, and a visit of the patient with the psychiatrist is in so many minutes."""
    await clinic.spawn("video_visits", **(environment or {}))
    patient = await registered(clinic)
    team = [("nurse.b", "nurse"), ("psychiatrist.a", "prescriber")]
    body = {"care_team": [{"staff": clinic.id(login), "role": role} for login, role in team]}
    (await clinic.call("front_desk.a", "consultation", "PUT", f"/patients/{patient}/care-team", body, version=3)).ok()
    await clinic.until("video_visits", "select jsonb_array_length(care_team) = 2 from patient_fact")
    await clinic.until("video_visits", "select count(*) = 4 from staff_fact")
    await clinic.until("video_visits", "select count(*) = 1 from calendar_fact")
    now = await clinic.value("", "select clinic_now()")
    wanted = {"clinician": clinic.id("psychiatrist.a"), "starts": (now + dt.timedelta(minutes=minutes)).isoformat()}
    made = (await ask(clinic, "front_desk.a", "POST", f"/patients/{patient}/visits", wanted)).ok()
    return patient, f"/visits/{made['visit']}"


async def said(clinic: Care, kind: str) -> list[dict[str, Any]]:
    rows = await clinic.rows(
        "video_visits", "select body from outbox where type = $1 order by id", f"org.telemed.video_visits.{kind}.v1"
    )
    return [json.loads(row["body"])["data"] for row in rows]


def signed(body: bytes, **claims: Any) -> str:
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    now = int(time.time())
    return jwt.encode({"iss": KEY, "nbf": now - 5, "exp": now + 300, "sha256": digest, **claims}, SECRET, "HS256")


async def called(
    clinic: Care,
    visit: str,
    event: str,
    number: str,
    *,
    role: str = "",
    sid: str = "",
    ago: float = 0,
    token: str | None = None,
) -> Answer:
    """The platform calls; its clock is real time."""
    document: dict[str, Any] = {"id": f"EV_{number}", "event": event, "createdAt": str(int(time.time() - ago))}
    document["room"] = {"name": f"visit-{visit.rsplit('/', 1)[1]}"}
    if role:
        document["participant"] = {"sid": sid, "identity": role}
    body = json.dumps(document).encode()
    headers = {"Authorization": token or signed(body), "Content-Type": "application/webhook+json"}
    url = clinic.running["video_visits"].url + "/webhooks/livekit"
    async with clinic.session.post(url, data=body, headers=headers) as response:
        text = await response.read()
        return Answer(response.status, json.loads(text) if text else None, response.headers)


async def state(clinic: Care, visit: str) -> str:
    return str((await ask(clinic, "nurse.b", "GET", visit)).ok()["state"])


async def test_without_a_platform_a_visit_is_in_person_and_says_so(clinic: Care) -> None:
    patient, visit = await scheduled(clinic)
    shown = (await ask(clinic, "patient.a", "GET", visit)).ok()
    assert (shown["by_video"], shown["state"]) == (False, "scheduled")
    assert (await ask(clinic, "patient.b", "GET", visit)).status == 404
    assert (await ask(clinic, "patient.a", "POST", f"{visit}/join-tokens", key="")).code == "not-by-video"
    (told,) = await said(clinic, "visit-scheduled")
    assert (told["patient"], told["minutes"], told["by_video"]) == (patient, 45, False)
    for role in ("patient", "clinician"):
        (await ask(clinic, "front_desk.a", "POST", f"{visit}/presence", {"role": role, "there": True})).ok()
    assert await state(clinic, visit) == "started"
    assert len(await said(clinic, "visit-started")) == 1
    await clinic.advance(600)
    for role in ("patient", "clinician"):
        (await ask(clinic, "nurse.b", "POST", f"{visit}/presence", {"role": role, "there": False})).ok()
    assert await state(clinic, visit) == "started", "they may come back"
    await clinic.advance(361)
    await clinic.until("video_visits", "select state = 'ended' from visit")
    (over,) = await said(clinic, "visit-ended")
    assert 600 <= over["together"] <= 660
    assert (await ask(clinic, "nurse.b", "POST", f"{visit}/presence", {"role": "patient", "there": True})).code == "visit-over"


async def test_a_join_is_time_boxed_and_asks_where_the_patient_is_today(clinic: Care) -> None:
    _, visit = await scheduled(clinic, 60, LIVEKIT)
    assert (await ask(clinic, "patient.a", "POST", f"{visit}/join-tokens", key="")).code == "not-now"
    await clinic.advance(50 * 60)
    assert (await ask(clinic, "patient.a", "POST", f"{visit}/join-tokens", key="")).code == "address-missing"
    there = {"region": "US-NJ", "address": "Canary street 7351"}
    (await ask(clinic, "patient.a", "POST", f"{visit}/location", there)).ok()
    refused = await ask(clinic, "psychiatrist.a", "POST", f"{visit}/join-tokens", key="")
    assert (refused.status, refused.code) == (403, "no-licence-there")
    (await ask(clinic, "patient.a", "POST", f"{visit}/location", {**there, "region": "US-NY"})).ok()
    for login, role in (("patient.a", "patient"), ("psychiatrist.a", "clinician")):
        made = (await ask(clinic, login, "POST", f"{visit}/join-tokens", key="")).ok()
        claims = jwt.decode(made["token"], SECRET, ["HS256"], issuer=KEY)
        assert (claims["sub"], claims["video"]["room"]) == (role, f"visit-{visit.rsplit('/', 1)[1]}")
        assert claims["exp"] - time.time() <= 600
        assert "name" not in claims
        # The token of a participant is signed with the same secret, and passes for no call of the platform.
        assert (await called(clinic, visit, "participant_joined", "x", role=role, sid="s", token=made["token"])).status == 401
    assert (await ask(clinic, "nurse.b", "POST", f"{visit}/join-tokens", key="")).status == 404, (
        "not the clinician of this visit"
    )
    assert (await called(clinic, visit, "room_started", "1", token="nonsense")).status == 401
    stale = signed(b"another body")
    assert (await called(clinic, visit, "room_started", "1", token=stale)).status == 401
    assert await clinic.value("video_visits", "select count(*) from platform_call") == 0
    outbox = await clinic.rows("video_visits", "select body from outbox")
    assert not [row for row in outbox if b"7351" in bytes(row["body"])], "the address stays"


async def test_calls_that_come_twice_late_and_in_another_order(clinic: Care) -> None:
    _, visit = await scheduled(clinic, 10, LIVEKIT)
    for _ in range(2):
        assert (await called(clinic, visit, "participant_joined", "1", role="patient", sid="P1", ago=50)).ok() == {
            "taken": True
        }
    assert await state(clinic, visit) == "scheduled"
    # The end of a connection comes before its beginning, and another one has begun meanwhile.
    (await called(clinic, visit, "participant_left", "3", role="clinician", sid="C1", ago=20)).ok()
    (await called(clinic, visit, "participant_joined", "4", role="clinician", sid="C2", ago=10)).ok()
    assert await state(clinic, visit) == "started"
    (await called(clinic, visit, "participant_joined", "2", role="clinician", sid="C1", ago=40)).ok()
    # The patient drops out and comes back; the old "left" is delivered again, much later, and evicts nobody.
    (await called(clinic, visit, "participant_joined", "6", role="patient", sid="P2", ago=4)).ok()
    (await called(clinic, visit, "participant_left", "5", role="patient", sid="P1", ago=5)).ok()
    (await called(clinic, visit, "participant_left", "5", role="patient", sid="P1", ago=5)).ok()
    await clinic.advance(400)
    assert await state(clinic, visit) == "started", "both are there"
    assert (await called(clinic, "/visits/018f0000-0000-7000-8000-0000000000ff", "room_finished", "7")).status == 200
    (await called(clinic, visit, "room_finished", "8")).ok()
    assert await state(clinic, visit) == "ended"
    assert [len(await said(clinic, kind)) for kind in ("visit-started", "visit-ended", "visit-missed")] == [1, 1, 0]
    kept = await clinic.value("video_visits", "select count(*) from platform_call")
    assert kept == 8


async def test_who_does_not_come_is_missing_and_a_late_message_takes_it_back(clinic: Care) -> None:
    _, visit = await scheduled(clinic, 10, LIVEKIT)
    (await called(clinic, visit, "participant_joined", "1", role="clinician", sid="C1")).ok()
    await clinic.advance(10 * 60 + 901)
    await clinic.until("video_visits", "select state = 'missed' from visit")
    (told,) = await said(clinic, "visit-missed")
    assert told["missing"] == "patient"
    # The clinic clock was moved: what the platform tells now was true before the judgement, and comes late.
    (await called(clinic, visit, "participant_joined", "2", role="patient", sid="P1")).ok()
    assert await state(clinic, visit) == "started"
    moved = await ask(clinic, "front_desk.a", "POST", f"{visit}/move", {"starts": "2030-01-01T10:00:00Z"})
    assert moved.code == "visit-over"


async def test_a_visit_is_moved_and_cancelled_and_its_judgement_moves_with_it(clinic: Care) -> None:
    patient, visit = await scheduled(clinic, 10)
    now = await clinic.value("", "select clinic_now()")
    past = await ask(clinic, "front_desk.a", "POST", f"{visit}/move", {"starts": (now - dt.timedelta(hours=1)).isoformat()})
    assert (past.status, past.code) == (422, "in-the-past")
    later = (now + dt.timedelta(hours=2)).isoformat()
    (await ask(clinic, "front_desk.a", "POST", f"{visit}/move", {"starts": later})).ok()
    await clinic.advance(30 * 60)
    assert await state(clinic, visit) == "scheduled"
    assert (await ask(clinic, "patient.a", "POST", f"{visit}/cancellation", {"reason": "patient-asked"})).status == 403
    (await ask(clinic, "front_desk.a", "POST", f"{visit}/cancellation", {"reason": "patient-asked"})).ok()
    assert await clinic.value("video_visits", "select count(*) from timer where status = 'waiting'") == 0
    assert [one["reason"] for one in await said(clinic, "visit-cancelled")] == ["patient-asked"]
    assert len(await said(clinic, "visit-scheduled")) == 2
    entered = await post(clinic, "front_desk.a", f"/patients/{patient}/entered-in-error", {"reason": "typed twice"})
    assert entered.status < 500
