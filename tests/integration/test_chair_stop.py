"""STOP, and "the patient asks to stop": from any state, before any other check, and no batch is waited for."""

import asyncio
import datetime as dt
from pathlib import Path

import pytest

from schemas.events import consultation
from tests.support.chair import CALM, Chair, ml
from tests.support.room import room, say
from tests.support.servers import Servers
from tests.support.waiting import eventually

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(300)]


async def test_from_any_state_without_a_key_and_without_a_word(servers: Servers, tmp_path: Path) -> None:
    async with room(servers, tmp_path, patients=4, sessions=1) as (one, two, three, four):
        # Scheduled: written down, and nothing else happens.
        stopped = (await one.ask("nurse.b", "stop", {}, key="")).ok()
        assert stopped["state"] == "scheduled"
        assert await one.rows("select kind, data ->> 'stop_asked' from entry where session = $1", one.id) == [
            ("facts", "emergency")
        ]
        # Checked in, held, ready: what has not begun does not begin until a prescriber has decided.
        for chair in (one, two, three, four):
            await chair.arrive()
        assert (await one.ask("nurse.b", "stop", {"reason": "patient-asked"})).ok()["state"] == "held"
        assert (await one.ask("nurse.b", "stop", {"reason": "patient-asked"})).ok()["state"] == "held"
        for chair in (two, three):
            await chair.prepare()
            await chair.waste("0.18")
        assert (await two.ask("nurse.a", "start-evaluations")).ok()["outcome"] == "OPEN"
        assert (await two.ask("nurse.b", "stop", {"reason": "patient-asked"})).ok()["state"] == "held"
        shut = await two.ask("nurse.a", "start")
        assert "/gate/K-S-CHECKIN" in [error["pointer"] for error in shut.body["errors"]], shut.body
        # Infusing and paused: the infusion is over.
        (await three.ask("nurse.a", "start")).ok()
        (await three.ask("nurse.a", "pause", {"reason": "patient-asked"})).ok()
        stopped = (await three.ask("prescriber.a", "stop", {})).ok()
        assert (stopped["state"], stopped["rate"], stopped["paused_at"], stopped["pump_volume"]) == ("recovery", *[None] * 3)
        # Recovery and closed: taken, and nothing moves. Who presses again calls nobody twice.
        assert (await three.ask("nurse.b", "stop", {})).ok()["state"] == "recovery"
        await three.stage.settle()
        assert await three.rows("select tier, family from alert") == [("STOP", "stopped:emergency")]
        assert await three.rows(PAGES) == [("session.alert-stop", 1), ("session.alert-stop-prescriber", 1)]
        (await three.ask("nurse.a", "closure", {"ending": "left-against-advice"})).ok()
        assert (await three.ask("nurse.b", "stop", {})).ok()["state"] == "closed"
        moves = await three.rows("select from_state, to_state from move where session = $1 order by recorded_at", three.id)
        assert moves == [
            ("scheduled", "checked-in"),
            ("checked-in", "infusing"),
            ("infusing", "paused"),
            ("paused", "recovery"),
            ("recovery", "closed"),
        ]
        # Who may not see the patient cannot; an unknown session is none.
        assert (await four.ask("therapist.a", "stop", {})).status == 404


PAGES = "select code, count(*) from page where code like 'session.%' group by 1 order by 1"


async def test_a_humans_stop_calls_everybody_and_an_emergency_in_recovery_does_it_again(
    servers: Servers, tmp_path: Path
) -> None:
    """The patient asks to stop: the same alert as when it is typed as a symptom. Its pages are in the commit of the STOP."""
    async with room(servers, tmp_path, sessions=1) as (chair,):
        await chair.start()
        await chair.tend(2)
        stopped = (await chair.ask("nurse.b", "stop", {"reason": "patient-asked"}, key="")).ok()
        assert await chair.rows(PAGES) == [("session.alert-stop", 1), ("session.alert-stop-prescriber", 1)]
        await chair.stage.settle()
        raised = await chair.rows("select id::text, tier, family, value, at from alert")
        assert [row[1:4] for row in raised] == [("STOP", "stopped:patient-asked", "patient-asked")]
        assert raised[0][4] == dt.datetime.fromisoformat(stopped["ended_at"])
        assert await chair.rows("select distinct subject from page") == [(raised[0][0],)], "it can be acknowledged"
        assert await chair.rows("select cause from review where decision is null") == [("alert-red",)]
        called = "select recipient from page_attempt t join page p on p.id = t.page_id where p.subject = $1"
        everybody = [chair.care.id(login) for login in ("nurse.a", "prescriber.a", "psychiatrist.a")]
        assert sorted(row[0] for row in await chair.rows(called, raised[0][0])) == sorted(everybody)
        # Asked to stop where nothing runs is written down, and so is an emergency while everybody is being called. Once
        # somebody has answered, an emergency calls again, and again only once somebody has answered to that.
        for again, wanted in (("patient-asked", 1), ("emergency", 1), (None, 1), ("emergency", 2), ("emergency", 2), (None, 2)):
            if again is not None:
                assert (await chair.ask("nurse.b", "stop", {"reason": again})).ok()["state"] == "recovery"
            else:
                [(alert,)] = await chair.rows("select id from alert where nurse_at is null")
                (await chair.ask("nurse.a", f"/alerts/{alert}/acknowledgement")).ok()
            await chair.stage.settle()
            assert await chair.rows(PAGES) == [("session.alert-stop", wanted), ("session.alert-stop-prescriber", wanted)]
        (await chair.ask("nurse.b", "stop", {"reason": "emergency"})).ok()
        assert (await chair.rows(PAGES))[0] == ("session.alert-stop", 3), "in its commit"
        await chair.stage.settle()
        families = [("stopped:patient-asked",), ("stopped:emergency",), ("stopped:emergency",)]
        assert await chair.rows("select family from alert order by raised_at") == families
        assert await chair.rows("select count(*) from page where subject not in (select id::text from alert)") == [(0,)]
        # It is a prescriber's to close.
        closing = {"action": "stopped"}
        assert (await chair.ask("nurse.a", f"/alerts/{raised[0][0]}/resolution", closing)).code == "not-of-your-role"


async def test_no_batch_is_waited_for(servers: Servers, tmp_path: Path) -> None:
    """A batch that hangs in the middle of its commit holds everything that recording holds: STOP is done all the same."""
    async with room(servers, tmp_path) as (chair,):
        await chair.start()
        (await chair.ask("nurse.a", "vitals", CALM.body())).ok()
        before = await chair.rows("select count(*) from outbox where source like $1", f"%{chair.id}")
        async with chair.care.owner("session_logging") as connection, asyncio.timeout(60):
            hung = connection.transaction()
            await hung.start()
            held = await connection.fetchval("select version from log_head where session = $1 for update", chair.id)
            source = f"/session_logging/sessions/{chair.id}"
            assert await connection.fetchval("select sequence from stream where source = $1 for update", source)
            await connection.execute(
                "insert into sample (session, device, seq, at, recorded_at) values ($1, 'other', 1, now(), now())", chair.id
            )
            # A set that somebody types does wait, so the locks bite.
            typed = asyncio.create_task(chair.ask("nurse.a", "vitals", CALM.body()))
            waits = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"

            async def bites() -> bool:
                return bool(await chair.care.value("session_logging", waits))

            await eventually(bites, what="a typed set waits for the batch")
            stopped = (await chair.ask("nurse.b", "stop", {})).ok()
            assert stopped["state"] == "recovery"
            assert await chair.rows("select state from session where id = $1", chair.id) == [("recovery",)]
            assert await connection.fetchval("select version from log_head where session = $1", chair.id) == held
            await hung.rollback()
        # What was typed meanwhile is kept, and what follows from the STOP is told once nobody holds the source any more.
        assert (await typed).status == 200
        await chair.stage.settle()
        told = await chair.rows(
            "select type from outbox where source like $1 order by id offset $2", f"%{chair.id}", before[0][0]
        )
        assert "org.telemed.session_logging.session-changed.v1" in [row[0] for row in told]


async def test_consent_that_is_withdrawn_at_the_chair_is_a_stop(servers: Servers, tmp_path: Path) -> None:
    async with room(servers, tmp_path, patients=2) as (chair, waiting):
        await waiting.arrive()
        assert (await waiting.ask("nurse.b", "consent-withdrawal")).ok()["state"] == "held"
        await waiting.prepare()
        await waiting.waste("0.18")
        shut = await waiting.ask("nurse.a", "start")
        assert "/gate/K-S-CONSENT-WITHDRAWN" in [error["pointer"] for error in shut.body["errors"]], shut.body
        await chair.start()
        await chair.tend(2)
        stopped = (await chair.ask("nurse.b", "consent-withdrawal", key="")).ok()
        assert (stopped["state"], stopped["rate"]) == ("recovery", None)
        # The page is in the commit of the STOP; its alert follows under the same id, and nobody is called twice.
        assert await chair.rows(PAGES) == [("session.alert-stop", 1), ("session.alert-stop-prescriber", 1)]
        await chair.stage.settle()
        raised = await chair.rows("select tier, family, id::text, at from alert where family = 'consent_withdrawn'")
        assert [(tier, family) for tier, family, *_ in raised] == [("STOP", "consent_withdrawn")]
        assert await chair.rows("select subject from page where code = 'session.alert-stop'") == [(raised[0][2],)]
        assert raised[0][3] == dt.datetime.fromisoformat(stopped["ended_at"])
        told = await chair.rows(
            """select convert_from(body, 'UTF8')::jsonb #>> '{data,withdrawn_at}' from outbox
               where type = 'org.telemed.session_logging.consent-withdrawn.v1' and source like $1""",
            f"%{chair.id}",
        )
        assert [dt.datetime.fromisoformat(row[0]) for row in told] == [raised[0][3]]
        # What the pump had delivered is read afterwards; the STOP did not wait for it.
        (await chair.ask("nurse.a", "pump-volume", {"pump_volume": ml("5.0")})).ok()


async def test_consent_that_was_withdrawn_elsewhere_is_not_paged_anew_at_the_chair(servers: Servers, tmp_path: Path) -> None:
    """Nobody could acknowledge that page: its alert is open under another id."""
    async with room(servers, tmp_path, sessions=1) as (chair,):
        await chair.start()
        case = (await chair.rows("select care_case from session where id = $1", chair.id))[0][0]
        await say(chair, consultation.CONSENT_WITHDRAWN, f"/consultation/patients/{chair.patient}", 1, case=case)
        await chair.care.until("session_logging", "select count(*) = 1 from alert where family = 'consent_withdrawn'")
        assert (await chair.ask("nurse.b", "consent-withdrawal", key="")).ok()["state"] == "recovery"
        await chair.stage.settle()
        assert await chair.rows("select tier, family from alert") == [("STOP", "consent_withdrawn")]
        assert await chair.rows("select count(*) from page where subject not in (select id::text from alert)") == [(0,)]
        assert await chair.rows(PAGES) == [("session.alert-stop", 1), ("session.alert-stop-prescriber", 1)]


async def test_who_starts_and_who_stops_at_the_same_moment(servers: Servers, tmp_path: Path) -> None:
    """Whichever comes first, the infusion does not run in the end."""
    async with room(servers, tmp_path, patients=2) as chairs:
        for chair in chairs:
            await chair.arrive()
            await chair.prepare()
            await chair.waste("0.18")

        async def race(chair: Chair) -> None:
            started, stopped = await asyncio.gather(chair.ask("nurse.a", "start"), chair.ask("nurse.b", "stop", {}))
            assert stopped.status == 200, stopped.body
            assert started.status in (200, 409)
            state = (await chair.shown())["state"]
            assert state in ({"recovery"} if started.status == 200 else {"held"}), (started.body, state)

        for chair in chairs:
            await race(chair)
