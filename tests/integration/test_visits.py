"""Visits over HTTP, over signed calls of the platform, and over events: who was there decides, in whatever order it is told."""

import datetime as dt
import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import jwt
import pytest
import pytest_asyncio

from tests.support.care import Care
from tests.support.consultation import post, staffed
from tests.support.servers import Servers
from tests.support.visits import KEY, LIVEKIT, SECRET, ask, called, deliver, planned, said, scheduled, signed, state

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(180)]

_RECORDED: list[str] = json.loads(Path(__file__).with_name("livekit_calls.json").read_text(encoding="utf-8"))
"""What a LiveKit 1.13.5 said of one visit, each body as it came (`docs/video.md`); the room's name and the credential of its
relay are replaced."""


@pytest_asyncio.fixture
async def clinic(servers: Servers, tmp_path: Path) -> AsyncIterator[Care]:
    async with staffed(servers, tmp_path) as made:
        yield made


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
    # That the room is closed ends every connection in it, and the visit when nobody comes back.
    (await called(clinic, visit, "room_finished", "8")).ok()
    assert await state(clinic, visit) == "started"
    await clinic.advance(361)
    await clinic.until("video_visits", "select state = 'ended' from visit")
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


def recorded(visit: str) -> list[bytes]:
    """The recorded calls as if they were about this visit, the last of them just now."""
    later = int(time.time()) - max(int(json.loads(body)["createdAt"]) for body in _RECORDED)

    def moved(found: re.Match[str]) -> str:
        return f'"{found[1]}":"{int(found[2]) + later}"'

    own = visit.rsplit("/", 1)[1]
    texts = [re.sub(r'"(createdAt|joinedAt|creationTime)":"(\d+)"', moved, body) for body in _RECORDED]
    return [text.replace("visit-X", f"visit-{own}").replace('"id":"EV_', f'"id":"EV_{own[-6:]}_').encode() for text in texts]


def event(body: bytes) -> str:
    return str(json.loads(body)["event"])


async def there(clinic: Care, visit: str) -> list[tuple[str, float | None, float | None]]:
    """Who was there, from when to when, in seconds since the first one came."""
    query = "select role, joined_at, left_at from presence where visit = $1 order by joined_at, role"
    rows = await clinic.rows("video_visits", query, UUID(visit.rsplit("/", 1)[1]))
    began = min(row["joined_at"] for row in rows if row["joined_at"])
    ends = [[None if at is None else (at - began).total_seconds() for at in (row["joined_at"], row["left_at"])] for row in rows]
    return [(row["role"], *end) for row, end in zip(rows, ends, strict=True)]


_THERE = [
    ("clinician", 0, 25),
    ("patient", 0, 22),  # was killed after one second; the server waits before it says so
    ("patient", 23, 25),
    ("clinician", 47, 50),  # both have come back into a new room, after the first was closed
    ("patient", 47, 50),
    ("patient", None, -2),  # never connected: somebody's end without a beginning
]


async def test_what_a_real_server_said_of_a_visit(clinic: Care) -> None:
    _, visit = await scheduled(clinic, 10, LIVEKIT)
    bodies = recorded(visit)
    for body in bodies:
        (await deliver(clinic, body)).ok()
        if event(body) == "room_finished":
            assert await state(clinic, visit) == "started", "an empty room is no end: they may come back"
    assert await there(clinic, visit) == _THERE
    await clinic.advance(361)
    await clinic.until("video_visits", "select state = 'ended' from visit")
    (over,) = await said(clinic, "visit-ended")
    assert over["together"] == 22 + 2 + 3
    assert [len(await said(clinic, kind)) for kind in ("visit-started", "visit-missed")] == [1, 0]
    kinds = await clinic.rows("video_visits", "select kind, count(*) as number from platform_call group by kind")
    assert {row["kind"]: row["number"] for row in kinds} == {"joined": 5, "left": 5, "aborted": 1, "closed": 2, "other": 4}


async def test_calls_of_a_real_server_that_are_lost_or_late(clinic: Care) -> None:
    patient, visit = await scheduled(clinic, 10, LIVEKIT)
    # Lost: that somebody came. That they leave says since when they had been there.
    for body in recorded(visit):
        if event(body) != "participant_joined":
            (await deliver(clinic, body)).ok()
    assert await there(clinic, visit) == _THERE
    assert await state(clinic, visit) == "started"

    # Lost: that somebody left. The room is closed; when that is said once more, late, it evicts nobody from the next room.
    visit = await planned(clinic, patient, 10)
    bodies = recorded(visit)
    first, second = [number for number, body in enumerate(bodies) if event(body) == "room_finished"]
    for body in bodies[:second]:
        if event(body) != "participant_left":
            (await deliver(clinic, body)).ok()
    again = bodies[first].replace(b'"id":"EV_', b'"id":"EV_again_')
    (await deliver(clinic, again)).ok()
    ends = [("clinician", 0, 45), ("patient", 0, 45), ("patient", 23, 45), ("clinician", 47, None), ("patient", 47, None)]
    assert (await there(clinic, visit))[:5] == ends

    # The server dies with all that it had not told yet; who comes back is in a new room, and once.
    visit = await planned(clinic, patient, 10)
    bodies = [body for body in recorded(visit) if event(body) == "participant_joined"]
    for body in bodies:
        (await deliver(clinic, body)).ok()
    ends = [("clinician", 0, 47), ("patient", 0, 47), ("patient", 23, 47), ("clinician", 47, None), ("patient", 47, None)]
    assert await there(clinic, visit) == ends


async def test_a_visit_by_video_is_held_in_person_where_video_is_no_longer_configured(clinic: Care) -> None:
    _, visit = await scheduled(clinic, 10, LIVEKIT)
    assert (await ask(clinic, "nurse.b", "GET", visit)).ok()["video_configured"] is True
    there = {"role": "patient", "there": True}
    assert (await ask(clinic, "nurse.b", "POST", f"{visit}/presence", there)).code == "by-video"
    await clinic.running["video_visits"].kill()
    await clinic.spawn("video_visits")
    shown = (await ask(clinic, "nurse.b", "GET", visit)).ok()
    assert (shown["by_video"], shown["video_configured"]) == (True, False)
    assert (await ask(clinic, "patient.a", "POST", f"{visit}/join-tokens", key="")).code == "not-by-video"
    (await ask(clinic, "nurse.b", "POST", f"{visit}/presence", there)).ok()
    (await ask(clinic, "nurse.b", "POST", f"{visit}/presence", {**there, "role": "clinician"})).ok()
    assert await state(clinic, visit) == "started"
