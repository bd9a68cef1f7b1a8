"""The infusion room loses its process, its bus and its neighbours; the patient in the chair loses nothing by it.

Rows 47, 55 and 57 to 59 of the fault matrix as the room meets them; what the kernel does about the same rows is in
``test_timers.py`` and ``test_edge.py``.
"""

import asyncio
import datetime as dt
import random
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from schemas.events import consultation
from tests.support.care import Answer, Care
from tests.support.chair import CALM, Chair, ml, quantity
from tests.support.load import NO_BROKER
from tests.support.room import room, say
from tests.support.room_checks import forbidden
from tests.support.servers import Servers
from tests.support.timings import Timings
from tests.support.waiting import eventually
from tests.support.world import Process

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(600)]

ROOM = "session_logging"
RED = CALM.body() | {"sbp": quantity("182", "mm[Hg]")}
_ENTRY = "select count(*) from entry where session = $1 and kind = "
_TOLD = "select count(*) from outbox where source like '%' || $1::text and type like '%."
_CALLED = "select count(*) from page p join alert a on a.id::text = p.subject where a.session = $1 and a.family = "

ACTS: dict[str, dict[str, int]] = {
    "start": {
        f"{_ENTRY}'start'": 1,
        "select count(*) from move where session = $1 and to_state = 'infusing'": 1,
        "select count(*) from gate_evaluation where session = $1 and gate = 'start' and outcome = 'OPEN'": 1,
        f"{_TOLD}infusion-started.%'": 1,
    },
    "rate": {f"{_ENTRY}'rate'": 1, f"{_TOLD}infusion-rate-changed.%'": 1},
    "samples": {
        "select count(*) from sample where session = $1": 20,
        "select count(*) from alert where session = $1 and family = 'spo2_low' and tier = 'RED'": 1,
        f"{_CALLED}'spo2_low'": 2,
    },
    "vitals": {
        f"{_ENTRY}'vitals' and data ->> 'sbp' = '182 mm[Hg]'": 1,
        "select count(*) from alert where session = $1 and family = 'sbp_high' and tier = 'RED'": 1,
        f"{_CALLED}'sbp_high'": 2,
        "select count(*) from timer t join alert a on a.id::text = t.subject where a.session = $1 and a.family = 'sbp_high'": 1,
    },
    "acknowledgement": {
        "select count(*) from alert where session = $1 and family = 'sbp_high' and nurse_by is not null": 1,
        f"{_CALLED}'sbp_high' and p.status = 'acknowledged'": 1,
        f"{_TOLD}alert-acknowledged.%'": 1,
    },
    "stop": {
        f"{_ENTRY}'end'": 1,
        "select count(*) from move where session = $1 and to_state = 'recovery'": 1,
        "select count(*) from session where id = $1 and rate is null and ended_at is not null": 1,
    },
    "discharge": {
        "select count(*) from session where id = $1 and state = 'closed' and ending = 'aborted'": 1,
        "select count(*) from signature where subject = 'sessions/' || $1::text || '/discharge'": 1,
        f"{_TOLD}session-discharged.%'": 1,
    },
}
"""What each act leaves behind once it is done, and how often; nothing of it before."""


@contextmanager
def asked(care: Care, process: Process) -> Iterator[None]:
    """Calls in here go to this replica."""
    other, care.running[ROOM] = care.running[ROOM], process
    try:
        yield
    finally:
        care.running[ROOM] = other


async def done(chair: Chair, act: str) -> dict[str, int]:
    """How often each trace of an act is there."""
    return {query: (await chair.rows(query, chair.id))[0][0] for query in ACTS[act]}


async def call(chair: Chair, act: str) -> tuple[str, str, Any]:
    """Who asks what, and with which body. Whatever has to be there before is done here."""
    if act == "rate":
        return "nurse.a", "rate", {"rate": quantity("120.0", "mL/h")}
    if act == "samples":
        (begun,) = (await chair.rows("select started_at from session where id = $1", chair.id))[0]
        await chair.care.advance(30)
        return "integration.a", "samples", batch(chair, begun, range(20), spo2=90)
    if act == "vitals":
        return "nurse.a", "vitals", RED
    if act == "acknowledgement":
        ((alert,),) = await chair.rows("select id from alert where session = $1 and family = 'sbp_high'", chair.id)
        return "nurse.a", f"/alerts/{alert}/acknowledgement", None
    if act == "stop":
        return "nurse.b", "stop", {}
    if act == "discharge":
        (await chair.ask("nurse.a", "pump-volume", {"pump_volume": ml("50.0")})).ok()
        await chair.waste("0.41")
        await chair.rest(125)
        for (alert,) in await chair.rows("select id from alert where session = $1 and status = 'open'", chair.id):
            (await chair.ask("prescriber.a", f"/alerts/{alert}/resolution", {"action": "stopped"})).ok()
        await chair.well()
        shown = (await chair.ask("prescriber.a", "discharge-evaluations")).ok()["shown"]
        signature = {"meaning": "discharged", "licence": "US-NY", "shown": shown}
        return "prescriber.a", "discharge", {"signature": signature}
    return "nurse.a", act, None


def batch(chair: Chair, begun: dt.datetime, seconds: Any, spo2: int = 98, **more: object) -> dict[str, Any]:
    """Samples of the chair's monitor, numbered by the seconds since the start."""
    rows = [
        {"seq": second, "at": (begun + dt.timedelta(seconds=second)).isoformat(), "heart_rate": 80, "spo2": spo2}
        for second in seconds
    ]
    return {"device": chair.door()["device"], "samples": rows, **more}


async def test_a_process_killed_around_any_commit_of_the_chair_has_done_it_once(servers: Servers, tmp_path: Path) -> None:
    """At the first chair it dies before each commit, at the second after it and before the answer: asked again under the same
    key, each act is there once, with its event, its alert and its pages.
    """
    async with room(servers, tmp_path, patients=2, sessions=1) as chairs:
        care = chairs[0].care
        for chair in chairs:
            await chair.arrive()
            await chair.prepare()
            await chair.waste("0.18")
        walk = [(act, chair, when) for act in ACTS for chair, when in zip(chairs, ("before", "after"), strict=True)]

        async def doomed(when: str) -> Process:
            return await care.replica(ROOM, TELEMED_FAILPOINTS=f"command.{when}_commit=kill")

        following = asyncio.create_task(doomed("before"))
        for number, (act, chair, when) in enumerate(walk):
            victim = await following
            if number + 1 < len(walk):
                following = asyncio.create_task(doomed(walk[number + 1][2]))
            login, what, body = await call(chair, act)
            assert set((await done(chair, act)).values()) == {0}, (act, when)
            key = secrets.token_hex(8)
            with asked(care, victim), pytest.raises(aiohttp.ClientError):
                await chair.ask(login, what, body, key=key)
            assert (await victim.ended(), victim.fired()) == (-9, [f"command.{when}_commit"]), "the fault bit"
            there = await done(chair, act)
            assert there == (ACTS[act] if when == "after" else dict.fromkeys(there, 0)), (act, when)
            (await chair.ask(login, what, body, key=key)).ok()
            assert await done(chair, act) == ACTS[act], (act, when)
            assert await forbidden(chair) == {}


async def test_an_alert_of_silence_is_raised_once_whenever_its_timer_dies(servers: Servers, tmp_path: Path) -> None:
    async with room(servers, tmp_path, sessions=1) as (chair,):
        care = chair.care
        await chair.start()
        (await chair.ask("nurse.a", "vitals", CALM.body())).ok()
        await care.running[ROOM].kill()
        raised = "select family, tier, count(*) from alert group by 1, 2"
        paged = "select code, count(*) from page where code like 'session.alert-%' group by 1 order by 1"
        red = ([("spo2_gap", "RED", 1)], [("session.alert-red", 1), ("session.alert-red-prescriber", 1)])
        # Five minutes after the typed saturation its silence is RED; whoever finds that out dies of it.
        await care.advance(6 * 60)
        for failpoint, wanted in (
            ("timer.after_effect", ([], [])),
            ("timer.before_commit", ([], [])),
            ("timer.after_commit", red),
        ):
            victim = await care.replica(ROOM, ready=False, TELEMED_FAILPOINTS=f"{failpoint}=kill")
            assert (await victim.ended(60), victim.fired()) == (-9, [failpoint]), "the fault bit"
            assert (await chair.rows(raised), await chair.rows(paged)) == wanted, failpoint
        await care.spawn(ROOM)
        await chair.stage.settle()
        assert (await chair.rows(raised), await chair.rows(paged)) == red


async def test_a_chair_that_is_left_alone_by_everything_else(servers: Servers, tmp_path: Path, timings: Timings) -> None:
    """No board and no other service runs here. Another patient's facts wait; the monitor repeats itself, is late and has a
    wrong clock; the process dies, Kafka goes: what is dangerous is raised once and calls somebody.
    """
    async with room(servers, tmp_path, patients=2, sessions=1) as (chair, other):
        await neighbour_waits(chair, other)
        await chair.begin()
        begun = chair.started
        assert begun is not None
        await late_block(chair, begun)
        await storm(chair, begun, 200 if timings.rounds < 20 else 10_000)
        await clock_steps(chair)
        await dies_while_it_streams(chair, begun)
        await without_kafka(chair)
        assert await forbidden(chair) == {}


async def neighbour_waits(chair: Chair, other: Chair) -> None:
    """A fact of another patient cannot be applied: that patient's gate is shut, this one's is open."""
    for one in (chair, other):
        await one.arrive()
        await one.ready()
    await say(other, consultation.RISK_FLAGGED, f"/consultation/patients/{other.patient}", 2, level="HIGH")
    await chair.care.until(ROOM, "select count(*) = 1 from parked where consumer = 'session_logging.facts'")
    assert (await chair.ask("nurse.a", "start-evaluations")).ok()["outcome"] == "OPEN"
    shut = (await other.ask("nurse.a", "start-evaluations")).ok()["shut_by"]
    assert shut == ["facts_as_of.consultation"]


async def late_block(chair: Chair, begun: dt.datetime) -> None:
    """Row 57: half a minute is missing and comes late. Row 58: twice, backwards, from a clock that is five minutes ahead."""
    for wait, seconds in ((31, range(30)), (50, range(60, 80))):
        await chair.care.advance(wait)
        (await chair.ask("integration.a", "samples", batch(chair, begun, seconds))).ok()
    assert await chair.rows("select family from alert where session = $1", chair.id) == [], "a gap below a minute is none"
    ahead = (await chair.stage.now() + dt.timedelta(minutes=5)).astimezone(dt.UTC).isoformat()
    block = batch(chair, begun, reversed(range(30, 60)), spo2=90, sent_at=ahead)
    taken = (await chair.ask("integration.a", "samples", block)).ok()
    assert (len(taken["accepted"]), taken["refused"]) == (30, [])
    assert 299 < taken["offset_s"] <= 300
    again = (await chair.ask("integration.a", "samples", block)).ok()
    assert (again["accepted"], len(again["duplicates"])) == ([], 30)
    found = await chair.rows("select tier, family, late, at from alert where session = $1", chair.id)
    assert [row[:3] for row in found] == [("RED", "spo2_low", True)]
    assert begun + dt.timedelta(seconds=30) <= found[0][3] < begun + dt.timedelta(seconds=60), "judged on its true time"
    assert await chair.rows("select count(*) from sample") == [(80,)]


async def storm(chair: Chair, begun: dt.datetime, copies: int) -> None:
    """Row 55: the same few batches again and again, all at once and in no order; a typed set is taken all the while."""
    await chair.care.advance(20)
    kinds = [batch(chair, begun, range(first, first + 5)) for first in (80, 85, 90, 95)]
    sent = random.Random(55).choices(kinds, k=copies) + kinds
    few = asyncio.Semaphore(32)

    async def send(body: dict[str, Any]) -> Answer:
        async with few:
            return await chair.ask("integration.a", "samples", body)

    async with asyncio.TaskGroup() as group:
        storming = [group.create_task(send(body)) for body in sent]
        typed = await chair.ask("nurse.a", "vitals", CALM.body())
    assert typed.status == 200
    accepted = [seq for one in storming if one.result().status == 200 for seq in one.result().body["accepted"]]
    assert sorted(accepted) == list(range(80, 100)), "each row was taken by one of them"
    assert {one.result().status for one in storming} <= {200, 409, 503}, "or it is to be sent again"
    assert await chair.rows("select count(*), count(distinct seq) from sample") == [(100, 100)]


async def clock_steps(chair: Chair) -> None:
    """Row 47: the clock is set back by an hour in the middle of an infusion. Minutes at the chair go on: what is dangerous is
    raised, once, and called for again after its minutes; silence is noticed; nothing counts as of before the session.
    """
    before = await chair.stage.now()
    await chair.care.advance(-3600)
    await chair.care.until(ROOM, "select held > '59 min' from runtime.clinic_clock")
    assert await chair.stage.now() > before - dt.timedelta(seconds=6)
    (await chair.ask("nurse.a", "vitals", RED)).ok()
    raised = "select id, tier, at >= $1 from alert where family = 'sbp_high'"
    ((alert, *found),) = await chair.rows(raised, before - dt.timedelta(seconds=6))
    assert found == ["RED", True]
    await chair.care.advance(61)
    again = """select count(*) from timer t join page p on p.id::text = t.subject
               where p.subject = $1 and t.status = 'done' and t.due_at > p.raised_at"""
    await chair.care.until(ROOM, f"select ({again}) > 0", str(alert))
    await chair.stage.settle()
    assert len(await chair.rows(raised, before)) == 1


async def dies_while_it_streams(chair: Chair, begun: dt.datetime) -> None:
    """Row 59: kill -9 in the middle of the stream. The monitor sends again what was not answered; nothing is missing."""
    await chair.care.advance(40)
    log = await chair.rows("select id from entry where session = $1 order by id", chair.id)
    reached = asyncio.Event()

    async def stream() -> None:
        for second in range(100, 130):
            while True:
                try:
                    answer = await chair.ask("integration.a", "samples", batch(chair, begun, [second]))
                    if answer.status == 200:
                        break
                except aiohttp.ClientError:
                    await asyncio.sleep(0.1)
            if second == 110:
                reached.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(stream())
        await reached.wait()
        await chair.care.running[ROOM].kill()
        await chair.care.spawn(ROOM, **NO_BROKER)
    assert await chair.rows("select count(*), max(seq) from sample") == [(130, 129)]
    assert await chair.rows("select id from entry where session = $1 order by id", chair.id) == log


async def without_kafka(chair: Chair) -> None:
    """The process that came back has no broker: alerts, pages and STOP do without one, and what was said goes out later."""
    (await chair.ask("nurse.a", "vitals", CALM.body() | {"heart_rate": quantity("135", "/min")})).ok()
    called = "select p.id from page p join alert a on a.id::text = p.subject where a.family = 'heart_rate_high'"
    for (page,) in await chair.rows(called):

        async def mailed(page: Any = page) -> bool:
            return bool(chair.care.servers.mail.raw(f"X-Telemed-Page: {page}"))

        await eventually(mailed, what="somebody was called")
    assert len(await chair.rows(called)) == 2
    (await chair.ask("nurse.b", "consent-withdrawal")).ok()
    await chair.care.until(ROOM, "select count(*) = 1 from alert where family = 'consent_withdrawn' and tier = 'STOP'")
    waiting = "select count(*) from outbox_pending"
    assert (await chair.rows(waiting))[0][0] > 0, "nothing could be published"
    await chair.care.running[ROOM].kill()
    await chair.care.spawn(ROOM)
    await chair.care.until(ROOM, waiting.replace("count(*)", "count(*) = 0"))
