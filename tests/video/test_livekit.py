"""Two true WebRTC participants and a real LiveKit server: a visit through our public routes, and all that befalls one."""

import asyncio
import time
from collections import Counter

import aiohttp
import jwt
import pytest

from tests.support.care import Care
from tests.support.visits import ask, planned, said, state, treated
from tests.support.waiting import eventually
from tests.video.support import Delivery, Participant, Video, participant, token_for

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(300), pytest.mark.video]

HERE = {"region": "US-NY", "address": "12 Main Street, Albany"}
DEPARTURE_S = 20
"""After this time without anybody LiveKit closes a room; its own default."""
INTERRUPTED_S = 360
"""``visit.interrupted`` of the signed file."""
Measured = list[tuple[str, str]]


async def soon(clinic: Care, patient: str, minutes: int = 10) -> str:
    """A visit that may be joined now: the patient has said where they are."""
    visit = await planned(clinic, patient, minutes)
    (await ask(clinic, "patient.a", "POST", f"{visit}/location", HERE)).ok()
    return visit


async def see_each_other(*people: Participant) -> None:
    await asyncio.gather(*(one.happens("sees") for one in people))


async def until_state(clinic: Care, visit: str, wanted: str) -> None:
    async def there() -> bool:
        return await state(clinic, visit) == wanted

    await eventually(there, what=wanted)


def reason(delivery: Delivery) -> str:
    """Why somebody left, in the server's words."""
    return str(delivery.says["participant"].get("disconnectReason", "no reason given"))


def ms(seconds: float) -> str:
    return f"{seconds * 1000:,.0f} ms" if seconds < 10 else f"{seconds:,.1f} s"


async def test_a_visit_from_its_schedule_to_its_end(clinic: Care, video: Video, measured: Measured) -> None:
    visit = await planned(clinic, await treated(clinic), 30)
    assert (await ask(clinic, "patient.a", "POST", f"{visit}/join-tokens", key="")).code == "not-now"
    await clinic.advance(20 * 60)
    assert (await ask(clinic, "patient.a", "POST", f"{visit}/join-tokens", key="")).code == "address-missing"
    (await ask(clinic, "patient.a", "POST", f"{visit}/location", HERE)).ok()
    given = await token_for(clinic, "patient.a", visit)
    forged = jwt.encode(jwt.decode(given["token"], options={"verify_signature": False}), "x" * 32, "HS256")
    async with participant({**given, "token": forged}) as stranger:
        await stranger.happens("refused")
    began = time.time()
    async with participant(given) as patient:
        await patient.happens("joined")
        assert await state(clinic, visit) == "scheduled", "one alone is no visit"
        async with participant(await token_for(clinic, "psychiatrist.a", visit)) as clinician:
            await see_each_other(patient, clinician)
            await until_state(clinic, visit, "started")
            joins = [await video.come(visit, "participant_joined", number) for number in (1, 2)]
            slowest = max(one.at + one.took_s for one in joins) - began
            measured.append(("1. two people join", f"each sees the other; `started` {ms(slowest)} after the first was let in"))
            await patient.leave()
            await clinician.leave()
    for number, who in enumerate((patient, clinician), 1):
        gone = await video.come(visit, "participant_left", number)
        measured.append(
            (f"2. somebody leaves by the button ({number})", f"`participant_left` {ms(gone.at - who.left_at)} later")
        )
    together = clinician.left_at - (await clinician.happens("joined"))["at"]
    closed = await video.come(visit, "room_finished")
    after = closed.at - clinician.left_at
    measured.append(("3. the room is empty", f"`room_finished` {ms(after)} later; the visit goes on"))
    # The platform gives up after some seconds, the clinic after some minutes: who comes back has the same visit.
    assert after < INTERRUPTED_S
    assert await state(clinic, visit) == "started"
    async with (
        participant(await token_for(clinic, "patient.a", visit)) as patient,
        participant(await token_for(clinic, "psychiatrist.a", visit)) as clinician,
    ):
        await see_each_other(patient, clinician)
        await asyncio.gather(patient.leave(), clinician.leave())
    again = min(patient.left_at, clinician.left_at) - max([(await one.happens("joined"))["at"] for one in (patient, clinician)])
    await video.come(visit, "participant_left", 4)
    assert len({one.says["room"]["sid"] for one in video.of(visit, "participant_joined")}) == 2, "the second time in a new room"
    await clinic.advance(INTERRUPTED_S + 1)
    await until_state(clinic, visit, "ended")
    (over,) = await said(clinic, "visit-ended")
    # The server tells whole seconds: four instants, each cut off.
    assert abs(over["together"] - (together + again)) <= 4, (over, together, again)
    assert [len(await said(clinic, kind)) for kind in ("visit-scheduled", "visit-started", "visit-missed")] == [1, 1, 0]
    assert {one.status for one in video.deliveries} == {200}
    kinds = Counter(one.event for one in video.of(visit))
    measured.append(("4. all of that", "; ".join(f"{number} `{kind}`" for kind, number in sorted(kinds.items()))))
    took = sorted(one.took_s for one in video.deliveries)
    measured.append(("5. our answer to a call", f"median {ms(took[len(took) // 2])}, longest {ms(took[-1])}"))
    assert await clinic.value("video_visits", "select count(*) from presence where left_at is null or room = ''") == 0


async def test_who_drops_out_comes_back_and_a_second_device_takes_the_place(
    clinic: Care, video: Video, measured: Measured
) -> None:
    visit = await soon(clinic, await treated(clinic))
    async with participant(await token_for(clinic, "psychiatrist.a", visit)) as clinician:
        async with participant(await token_for(clinic, "patient.a", visit)) as patient:
            await see_each_other(patient, clinician)
            await patient.die()
        gone = await video.come(visit, "participant_left")
        measured.append(
            ("6. a participant is killed", f"`participant_left` ({reason(gone)}) {ms(gone.at - patient.left_at)} later")
        )
        assert await state(clinic, visit) == "started"
        async with participant(await token_for(clinic, "patient.a", visit)) as back:
            await back.happens("sees")
            async with participant(await token_for(clinic, "patient.a", visit)) as tablet:
                await tablet.happens("sees")
                await back.happens("disconnected")
                gone = await video.come(visit, "participant_left", 2)
                await video.come(visit, "participant_joined", 4)
                measured.append(("7. the same person joins on a second device", f"the first one leaves: {reason(gone)}"))
                there = "select role from presence where left_at is null order by role"
                assert [row["role"] for row in await clinic.rows("video_visits", there)] == ["clinician", "patient"]
                await clinic.advance(INTERRUPTED_S + 1)
                assert await state(clinic, visit) == "started", "both are there"
    await video.come(visit, "participant_left", 4)
    await clinic.advance(INTERRUPTED_S + 1)
    await until_state(clinic, visit, "ended")
    assert [len(await said(clinic, kind)) for kind in ("visit-started", "visit-ended", "visit-missed")] == [1, 1, 0]


async def test_who_waits_alone_has_met_nobody_and_who_never_connects_was_not_there(
    clinic: Care, video: Video, measured: Measured
) -> None:
    visit = await soon(clinic, await treated(clinic))
    async with participant(await token_for(clinic, "psychiatrist.a", visit)) as clinician:
        await video.come(visit, "participant_joined")
        given = await token_for(clinic, "patient.a", visit)
        # Signalling only, as behind a firewall that lets no media through.
        address = f"{given['url']}/rtc?access_token={given['token']}&protocol=16&sdk=python&auto_subscribe=1"
        began = time.time()
        async with aiohttp.ClientSession() as session, session.ws_connect(address) as socket:
            assert (await socket.receive()).type is aiohttp.WSMsgType.BINARY
            aborted = await video.come(visit, "participant_connection_aborted", within_s=100)  # after a minute
        measured.append(
            ("8. somebody signals and never connects", f"`participant_connection_aborted` {ms(aborted.at - began)} later")
        )
        assert await state(clinic, visit) == "scheduled"
        await clinic.advance(25 * 60 + 1)
        await until_state(clinic, visit, "missed")
        (missed,) = await said(clinic, "visit-missed")
        assert missed["missing"] == "patient"
        assert (await ask(clinic, "patient.a", "POST", f"{visit}/join-tokens", key="")).code == "visit-over"
        await clinician.leave()
    await video.come(visit, "room_finished")
    assert await state(clinic, visit) == "missed"
    measured.append(("9. only the clinician comes", "`visit-missed`, missing: patient"))


async def test_what_comes_twice_what_comes_late_and_what_never_comes(clinic: Care, video: Video, measured: Measured) -> None:
    visit = await soon(clinic, await treated(clinic))
    video.cut = 2
    async with participant(await token_for(clinic, "psychiatrist.a", visit)) as clinician:
        async with participant(await token_for(clinic, "patient.a", visit)) as patient:
            await see_each_other(patient, clinician)
            await until_state(clinic, visit, "started")
            came = Counter(one.says["id"] for one in video.of(visit) if one.status == 200)
            assert max(came.values()) >= 2, "the server has repeated nothing"
            assert len({(one.body, one.token) for one in video.of(visit)}) == len(came), "a repeat is the same to the byte"
            measured.append(
                ("a. our answer is lost twice", f"{sum(came.values()) - len(came)} calls come again, the same to the byte")
            )
            target, video.target = video.target, "http://127.0.0.1:9"
            await patient.leave()
            await tried(video, visit, "participant_left", 1)
            video.target = target
            gone = await video.come(visit, "participant_left")
            measured.append(
                (
                    "b. we are away until one call is given up",
                    f"the next one comes {ms(gone.at - patient.left_at)} after its cause",
                )
            )
            left_at = await clinic.value("video_visits", "select left_at from presence where role = 'patient'")
            assert 0 <= patient.left_at - left_at.timestamp() + 1 <= 2, "when it was, and not when it came"
        # Away for so long that the server gives up: that the clinician has left, nobody says.
        video.target = "http://127.0.0.1:9"
        await clinician.leave()
        lost = await tried(video, visit, "participant_left", 5)
        video.target = target
        await video.come(visit, "room_finished")
        assert not [one for one in video.of(visit, "participant_left") if one.status and "clinician" in one.body.decode()]
        measured.append(
            ("c. we are away for longer", f"{len(lost)} tries in {ms(lost[-1].at - lost[0].at)}, then the call is lost")
        )
    # The room is closed: whoever is still in it in our rows is not.
    assert await clinic.value("video_visits", "select count(*) from presence where left_at is null") == 0
    await clinic.advance(INTERRUPTED_S + 1)
    await until_state(clinic, visit, "ended")
    kept = await clinic.value("video_visits", "select count(*) from platform_call")
    assert kept == len({one.says["id"] for one in video.deliveries if one.status == 200})
    assert [len(await said(clinic, kind)) for kind in ("visit-started", "visit-ended", "visit-missed")] == [1, 1, 0]


async def tried(video: Video, visit: str, event: str, times: int) -> list[Delivery]:
    """Wait until a call has reached nobody so many times."""

    async def failed() -> list[Delivery]:
        found = [one for one in video.of(visit, event) if not one.status]
        latest = [one for one in found if one.says["id"] == found[-1].says["id"]]
        return latest if len(latest) >= times else []

    return await eventually(failed, within_s=60, what=f"{event} reaches nobody")


async def test_a_server_that_dies_takes_nobody_from_the_visit(clinic: Care, video: Video, measured: Measured) -> None:
    visit = await soon(clinic, await treated(clinic))
    async with (
        participant(await token_for(clinic, "patient.a", visit)) as patient,
        participant(await token_for(clinic, "psychiatrist.a", visit)) as clinician,
    ):
        await see_each_other(patient, clinician)
        await until_state(clinic, visit, "started")
        died = time.time()
        await video.kill()
        await video.start()
        # The clients come back by themselves, into a new room; nobody has said that they had left the old one.
        back = [await video.come(visit, "participant_joined", number) for number in (3, 4)]
        assert not video.of(visit, "participant_left")
        assert len({one.says["room"]["sid"] for one in video.of(visit, "participant_joined")}) == 2
        measured.append(("d. the server dies, and is started again", f"both are in a new room after {ms(back[-1].at - died)}"))
        there = await clinic.rows(
            "video_visits", "select role, count(*) as number from presence where left_at is null group by role"
        )
        assert {row["role"]: row["number"] for row in there} == {"patient": 1, "clinician": 1}
        await asyncio.gather(patient.leave(), clinician.leave())
    await video.come(visit, "participant_left", 2)
    await clinic.advance(INTERRUPTED_S + 1)
    await until_state(clinic, visit, "ended")
    assert [len(await said(clinic, kind)) for kind in ("visit-started", "visit-ended", "visit-missed")] == [1, 1, 0]
