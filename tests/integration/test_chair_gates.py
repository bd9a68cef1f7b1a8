"""The gates of start, resume and discharge through the edge: every row at its boundary, and what opens one again.

One service, alone. What it hears of others comes as their events; their own calls are in ``test_chair_interlocks.py``.
"""

import datetime as dt
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from schemas.events import consultation, follow_up
from schemas.registry import EventType
from services.session_logging.domain.sessions import MOVES, SessionState
from services.session_logging.subscriptions import FACTS
from services.therapies.evidence import Outcome
from services.therapies.ketamine.gates import FACT_OWNERS, SIGNALS
from tests.support.care import Answer
from tests.support.chair import CALM, SINCE, Chair, ml, quantity
from tests.support.ketamine_cases import DISCHARGE_LIMITS, RESUME_BAND, START_BANDS
from tests.support.room import another, room, say
from tests.support.servers import Servers
from tests.support.waiting import eventually

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(300)]

UNITS = {"sbp": "mm[Hg]", "dbp": "mm[Hg]", "heart_rate": "/min", "resp_rate": "/min", "spo2": "%"}
STOCK = {"strength": quantity("50", "mg/mL"), "bag": ml("100.00")}


def measured(**values: int) -> dict[str, Any]:
    """A calm set but for these values; a systolic one is beside a diastolic one that is below it."""
    body: dict[str, Any] = CALM.body() | ({"dbp": quantity("60", "mm[Hg]")} if "sbp" in values and "dbp" not in values else {})
    for name, value in values.items():
        body[name] = quantity(str(value), UNITS[name]) if name in UNITS else value
    return body


def only(**values: int) -> dict[str, Any]:
    """A set of these values alone."""
    return {name: value for name, value in measured(**values).items() if name in values}


def keys(answer: Answer) -> set[str]:
    """What a refusal names."""
    return {error["pointer"].rpartition("/")[2] for error in answer.body["errors"]}


async def shut_by(chair: Chair) -> set[str]:
    return set((await chair.ask("nurse.a", "start-evaluations")).ok()["shut_by"])


async def becomes(chair: Chair, wanted: set[str]) -> None:
    """Wait until what another service has said has come."""

    async def holds() -> bool:
        return await shut_by(chair) == wanted

    await eventually(holds, what=f"shut by {wanted}")


async def facts(chair: Chair, **said: object) -> None:
    (await chair.ask("nurse.a", "facts", said)).ok()


async def vitals(chair: Chair, body: Mapping[str, object]) -> None:
    (await chair.ask("nurse.a", "vitals", body)).ok()


async def screen(chair: Chair, **yes: bool | None) -> None:
    (await chair.ask("nurse.a", f"/patients/{chair.patient}/suicide-screens", SINCE | yes)).ok()


async def decide(chair: Chair, about: str, start: bool = True) -> None:
    body = {"about": about, "start": start, "reason": "canary-5519: seen face to face"}
    (await chair.ask("prescriber.a", "decisions", body)).ok()


async def override(chair: Chair, rule: str, login: str = "prescriber.a") -> Answer:
    return await chair.ask(login, "overrides", {"rule": rule, "reason": "canary-5519: seen and weighed"})


async def taken_back(chair: Chair) -> None:
    """The newest set was of somebody else."""
    newest = "select id from entry where session = $1 and kind = 'vitals' order by recorded_at desc, id desc limit 1"
    [(entry,)] = await chair.rows(newest, chair.id)
    (await chair.ask("nurse.a", f"/entries/{entry}/correction", {"reason": "Of another patient"})).ok()


async def heard(chair: Chair, told: EventType, sequence: int, **data: Any) -> None:
    """What another service says of the patient."""
    owner = told.name.split(".")[-3]
    await say(chair, told, f"/{owner}/patients/{chair.patient}", sequence, **data)


async def sessions_of(chair: Chair, sets: str, *arguments: object) -> None:
    """Other sessions as they would stand: rows, for nobody is to be treated for this."""
    async with chair.care.owner("session_logging") as owner:
        await owner.execute(f"update session set {sets}", *arguments)


# --- the start -----------------------------------------------------------------------------------------------------------


async def test_every_row_of_the_start_at_its_boundary(servers: Servers, tmp_path: Path) -> None:
    async with room(servers, tmp_path, sessions=5) as (chair,):
        await chair.arrive()
        await chair.wait(minutes=5)
        measured_at = await chair.stage.now()
        await chair.ready()
        assert await shut_by(chair) == set()
        await the_age_of_vitals(chair, measured_at)
        await each_vital(chair)
        await what_is_said_at_the_door(chair)
        await what_consultation_says(chair)
        await the_series(chair)
        await the_nurses_patients(chair)
        await facts_that_wait(chair, shut_by)
        assert await shut_by(chair) == set()


async def the_age_of_vitals(chair: Chair, measured_at: dt.datetime) -> None:
    await chair.until(measured_at + dt.timedelta(minutes=14, seconds=55))
    assert await shut_by(chair) == set()
    await chair.until(measured_at + dt.timedelta(minutes=15, seconds=30))
    assert await shut_by(chair) == {*SIGNALS, "moaa_s"}
    await vitals(chair, CALM.body())


async def each_vital(chair: Chair) -> None:
    wrong = []
    for signal, row in START_BANDS.items():
        for value, wanted in row.items():
            await vitals(chair, measured(**{signal: value}))
            found = (await chair.ask("nurse.a", "start-evaluations")).ok()
            reasons = [] if wanted is Outcome.OPEN else [SIGNALS[signal]]
            if (found["outcome"], found["shut_by"]) != (wanted.value, reasons):
                wrong.append((signal, value, wanted, found["outcome"], found["shut_by"]))
            await taken_back(chair)
    assert wrong == []
    for body, outcome, shut in (
        (measured(moaa_s=4), "NO_START", "K-S-MOAAS"),
        (measured() | {"on_oxygen": True}, "HOLD", "on_oxygen"),
        (measured(sbp=90, dbp=90), "HOLD", "sbp"),
    ):
        await vitals(chair, body)
        found = (await chair.ask("nurse.a", "start-evaluations")).ok()
        assert (found["outcome"], found["shut_by"]) == (outcome, [shut])
        await taken_back(chair)


async def what_is_said_at_the_door(chair: Chair) -> None:
    now = await chair.stage.now()
    passing = {"last_solids": now - dt.timedelta(hours=14), "last_clear_fluids": now - dt.timedelta(hours=14)}

    def ago(**span: float) -> str:
        return (now - dt.timedelta(**span)).astimezone(dt.UTC).isoformat()

    right: dict[str, object] = {name: at.astimezone(dt.UTC).isoformat() for name, at in passing.items()}
    right |= {"substances": False, "glp1": False, "hcg": "negative", "pdmp_checked": True, "changes": []}
    right |= {"consent_reconfirmed": True}
    glp1 = {"glp1": True, "glp1_last": ago(days=6.99), "gi_symptoms": False, "glp1_checklist_complete": True}
    for said, wanted in (
        ({"last_solids": ago(hours=7, minutes=58)}, {"K-S-FASTING"}),
        ({"last_solids": ago(hours=8)}, set()),
        ({"last_clear_fluids": ago(hours=1, minutes=58)}, {"K-S-FASTING"}),
        ({"last_clear_fluids": ago(hours=2)}, set()),
        ({"substances": True}, {"substances"}),
        ({"substances": True, "substances_at": ago(hours=47, minutes=58)}, {"K-S-SUBSTANCES"}),
        ({"substances": True, "substances_at": ago(hours=48)}, set()),
        ({"glp1": True}, {"glp1"}),
        ({**glp1, "glp1_checklist_complete": False}, {"K-S-GLP1"}),
        ({**glp1, "gi_symptoms": True}, {"K-S-GLP1-SYMPTOMS"}),
        (glp1, set()),
        ({"glp1": True, "glp1_last": ago(days=7, minutes=1), "glp1_checklist_complete": False}, set()),
        ({"hcg": "positive"}, {"K-S-HCG"}),
        ({"hcg": "refused"}, {"K-S-HCG-REFUSED"}),
        ({"pdmp_checked": False}, {"K-S-PDMP"}),
        ({"consent_reconfirmed": False}, {"K-S-CONSENT"}),
        ({"changes": ["illness"]}, {"K-S-CHECKIN"}),
    ):
        await facts(chair, **said)
        assert await shut_by(chair) == wanted, said
        await facts(chair, **right)
    assert await shut_by(chair) == set()


async def what_consultation_says(chair: Chair) -> None:
    """Each as its event; the last decision, and the last consent, hold."""
    case = (await chair.rows("select care_case from session where id = $1", chair.id))[0][0]
    today = (await chair.stage.now()).date()
    holds = {"case": case, "valid_until": today, "examined_at": await chair.stage.now()}
    yesterday = today - dt.timedelta(days=1)
    for told, (kind, data, wanted) in enumerate(
        (
            (consultation.CONSENT_GIVEN, {"version": "2"}, {"K-S-CONSENT"}),
            (consultation.CONSENT_GIVEN, {"version": "3"}, set()),
            (consultation.DECISION_SIGNED, {**holds, "valid_until": yesterday}, {"K-S-ELIGIBILITY"}),
            (consultation.DECISION_SIGNED, holds, set()),
            (consultation.DECISION_SIGNED, {**holds, "kind": "revoked"}, {"K-S-ELIGIBILITY"}),
            (consultation.DECISION_SIGNED, {**holds, "proposed": "INELIGIBLE"}, {"K-S-INELIGIBLE"}),
            (consultation.DECISION_SIGNED, {**holds, "proposed": "INCOMPLETE"}, {"K-S-ELIGIBILITY"}),
            (consultation.DECISION_SIGNED, {**holds, "examined_at": None}, {"K-S-IN-PERSON"}),
            (consultation.DECISION_SIGNED, {**holds, "pregnancy_possible": None}, {"hcg_due"}),
            (consultation.DECISION_SIGNED, holds, set()),
        ),
        1,
    ):
        await heard(chair, kind, told, **{"case": case, **data})
        await becomes(chair, wanted)


async def the_series(chair: Chair) -> None:
    """36 hours from start to start, and three in any seven local days (decision A16)."""
    now = await chair.stage.now()
    one = "started_at = $2, state = 'closed' where id = $1"
    for span, wanted in ((dt.timedelta(hours=35, minutes=58), {"K-S-SERIES"}), (dt.timedelta(hours=36), set())):
        await sessions_of(chair, one, UUID(chair.other(2).id), now - span)
        assert await shut_by(chair) == wanted
    for number, days in ((3, 4), (4, 7)):
        await sessions_of(chair, one, UUID(chair.other(number).id), now - dt.timedelta(days=days))
    assert await shut_by(chair) == set()
    await sessions_of(chair, one, UUID(chair.other(4).id), now - dt.timedelta(days=6))
    assert await shut_by(chair) == {"K-S-SERIES"}
    await sessions_of(chair, "started_at = null where ordinal > 1")


async def the_nurses_patients(chair: Chair) -> None:
    """Two infusing or paused, four with those in recovery, this one included (decision B4)."""
    others = await crowd(chair)
    for states, wanted in (
        (("infusing",), set()),
        (("infusing", "paused"), {"K-S-NURSE-LOAD"}),
        (("infusing", "recovery", "discharge-ready"), set()),
        (("recovery",) * 4, {"K-S-NURSE-LOAD"}),
    ):
        await stand(others, "nurse.a", *states)
        assert await shut_by(chair) == wanted, states
    await stand(others, "nurse.a")


async def crowd(chair: Chair) -> list[Chair]:
    """Four other patients of the clinic."""
    return [await another(chair, sessions=1) for _ in range(4)]


async def stand(others: list[Chair], nurse: str, *states: str) -> None:
    """They are a nurse's, in these states; the rest is closed."""
    for place, one in enumerate(others):
        state = states[place] if place < len(states) else "closed"
        await sessions_of(one, "state = $2, nurse = $3 where id = $1", UUID(one.id), state, UUID(one.care.id(nurse)))


async def test_what_a_prescriber_has_seen_is_what_their_word_is_about(servers: Servers, tmp_path: Path) -> None:
    async with room(servers, tmp_path, patients=4, sessions=2) as (risky, held, hasty, heavier):
        await risky.arrive()
        await risky.wait(minutes=5)
        for chair in (risky, held, hasty, heavier):
            if chair is not risky:
                await chair.arrive()
        await a_recheck_has_its_time(hasty)
        await an_override_is_of_what_was_seen(held)
        await a_weight_is_confirmed_for_itself(heavier)
        await a_grave_answer_waits_for_a_prescriber(risky)
        bodies = await risky.rows("select body from outbox")
        assert not [row for row in bodies if b"canary-5519" in bytes(row[0])], "words stay in the room"


async def a_recheck_has_its_time(chair: Chair) -> None:
    """Five minutes after the hold, of the signal that was held; the third hold is another day (decision A19)."""
    await chair.ready()
    await vitals(chair, measured(sbp=150))
    held_at = await chair.stage.now()
    assert await shut_by(chair) == {"K-S-SBP"}
    await chair.until(held_at + dt.timedelta(minutes=2))
    await vitals(chair, measured(sbp=128))
    assert await shut_by(chair) == {"K-S-RECHECK"}
    await vitals(chair, only(moaa_s=5))
    assert await shut_by(chair) == {"K-S-RECHECK"}, "no pressure, no recheck"
    await chair.until(held_at + dt.timedelta(minutes=6))
    await vitals(chair, only(resp_rate=14))
    assert await shut_by(chair) == {"K-S-RECHECK"}, "nor does an early one become one by waiting"
    await vitals(chair, measured(sbp=128))
    assert await shut_by(chair) == set()
    # Later than ten minutes it is a recheck as well: the patient has rested for longer.
    await vitals(chair, measured(sbp=150))
    await chair.wait(minutes=12)
    await vitals(chair, CALM.body())
    assert await shut_by(chair) == set()
    await vitals(chair, measured(sbp=150))
    found = (await chair.ask("nurse.a", "start-evaluations")).ok()
    assert (found["outcome"], set(found["shut_by"])) == ("NO_START", {"K-S-SBP", "K-S-THIRD-HOLD"})


async def an_override_is_of_what_was_seen(chair: Chair) -> None:
    """Decision A8: by the prescriber on site, where it may be, and until something else is seen."""
    await chair.ready()
    for rule, status, code in (("K-S-HCG", 422, "never-overridden"), ("K-S-FASTING", 409, "not-held")):
        answer = await override(chair, rule)
        assert (answer.status, answer.code) == (status, code)
    # Fasting, by the hour that was said; another hour is another question.
    now = await chair.stage.now()

    async def ate(hours: float) -> None:
        await facts(chair, last_solids=(now - dt.timedelta(hours=hours)).astimezone(dt.UTC).isoformat())

    await ate(7)
    assert await shut_by(chair) == {"K-S-FASTING"}
    assert (await override(chair, "K-S-FASTING", "nurse.a")).status == 403
    assert (await override(chair, "K-S-FASTING", "psychiatrist.a")).code == "not-on-site"
    (await override(chair, "K-S-FASTING")).ok()
    assert await shut_by(chair) == set()
    await ate(3)
    assert await shut_by(chair) == {"K-S-FASTING"}
    await ate(14)
    # Pressure: not before its recheck. Then the prescriber decides, about the value that the recheck has given.
    await vitals(chair, measured(sbp=142))
    for rule, code in (("K-S-SBP", "recheck-first"), ("K-S-HCG", "never-overridden"), ("K-S-DBP", "not-held")):
        assert (await override(chair, rule)).code == code
    assert await shut_by(chair) == {"K-S-SBP"}, "what was refused shuts nothing"
    await chair.wait(minutes=5, seconds=1)
    await vitals(chair, measured(sbp=148))
    (await override(chair, "K-S-SBP")).ok()
    assert await shut_by(chair) == set()
    assert (await chair.shown())["state"] == "ready"
    await chair.wait(minutes=1)
    await vitals(chair, measured(sbp=159))
    assert await shut_by(chair) == {"K-S-SBP"}, "nobody has looked at that one"
    assert (await chair.ask("nurse.a", "start")).code == "gate-shut"
    await vitals(chair, measured(sbp=160))
    assert (await override(chair, "K-S-SBP")).code == "never-overridden"
    await taken_back(chair)
    (await override(chair, "K-S-SBP")).ok()
    # Everybody sees by whom.
    await chair.begin()
    told = """select convert_from(body, 'UTF8')::jsonb -> 'data' from outbox
              where type like '%.gate-evaluated.v1' and source like '%' || $1 order by id desc limit 1"""
    said = json.loads((await chair.rows(told, chair.id))[0][0])
    by = [{"rule": "K-S-SBP", "by": chair.care.id("prescriber.a")}]
    assert (said["gate"], said["outcome"], said["rules"], said["overrides"]) == ("start", "OPEN", [], by)
    assert (await override(chair, "K-S-SBP")).code == "illegal-move"
    (await chair.ask("nurse.a", "stop", {})).ok()


async def a_weight_is_confirmed_for_itself(chair: Chair) -> None:
    """Measured again, and confirmed by the prescriber: that weight, and no other that is typed later (decisions A15, B9)."""
    last = {"started_at": chair.planned - dt.timedelta(days=3), "dose": json.dumps({"weight": "82.0 kg"})}
    sets = "started_at = $2, dose = $3, state = 'closed' where id = $1"
    await sessions_of(chair, sets, UUID(chair.other(2).id), *last.values())

    async def missing() -> list[str]:
        return list((await chair.ask("nurse.a", "dose", STOCK)).ok()["missing"])

    async def weighs(kg: str, **more: object) -> None:
        await facts(chair, weight=quantity(kg, "kg"), **more)

    await weighs("86.1")
    assert await missing() == [], "five per cent"
    await weighs("86.2")
    assert await missing() == ["weight", "weight_confirmed"]
    await facts(chair, weight_remeasured=True)
    assert await missing() == ["weight_confirmed"]
    await decide(chair, "weight")
    assert await missing() == []
    await weighs("86.20")
    assert await missing() == [], "the same weight"
    await weighs("70.0")
    assert await missing() == ["weight", "weight_confirmed"], "neither was said of this one"
    await facts(chair, weight_remeasured=True)
    await decide(chair, "weight")
    assert await missing() == []
    assert "K-S-DOSE" not in await shut_by(chair)
    await decide(chair, "weight", start=False)
    assert "K-S-DOSE" in await shut_by(chair)
    assert await missing() == ["weight_confirmed"], "the last word holds"


async def a_grave_answer_waits_for_a_prescriber(chair: Chair) -> None:
    """Decision A7: a calmer answer that follows, whose ever, takes none back; only who has seen the patient does."""
    await chair.ready()
    assert await shut_by(chair) == set()
    for answers in ({"q4": True}, {"q3": True}, {"q3": True, "q6": None}):
        await screen(chair, **answers)
        assert "K-S-RISK" in await shut_by(chair)
        await screen(chair)
        assert await shut_by(chair) == {"K-S-RISK"}, answers
        await decide(chair, "risk")
        assert await shut_by(chair) == set()
    await decide(chair, "risk", start=False)
    await screen(chair)
    assert await shut_by(chair) == {"K-S-RISK-NO"}
    await decide(chair, "risk")

    # Of another service: heard, though it was answered before the prescriber decided about something else.
    answered = await chair.stage.now()
    await decide(chair, "risk")
    await heard(chair, follow_up.RISK_FLAGGED, 1, level="MODERATE", proven=None, assessed_at=answered)
    await becomes(chair, {"K-S-RISK"})
    await decide(chair, "risk")
    await heard(chair, follow_up.RISK_FLAGGED, 2, level="HIGH", proven=None, assessed_at=await chair.stage.now())
    await becomes(chair, {"K-S-RISK", "K-S-CHECKIN"})
    await heard(chair, follow_up.RISK_FLAGGED, 3, level="NONE", proven=None, assessed_at=await chair.stage.now())
    await eventually(lambda: chair.rows("select 1 from risk_fact where level = 'NONE'"), what="the calmer one is heard")
    await decide(chair, "changes")
    assert await shut_by(chair) == {"K-S-RISK"}
    await decide(chair, "risk")
    assert await shut_by(chair) == set()

    # The screen before leaving is asked for because of it; and one that comes while they rest is the room's (3.7).
    await chair.begin()
    assert await chair.rows("select baseline_risk from session where id = $1", chair.id) == [("HIGH",)]
    await chair.end()
    await chair.recover()
    assert (await chair.shown())["state"] == "discharge-ready"
    await heard(chair, follow_up.RISK_FLAGGED, 4, level="HIGH", proven=None, assessed_at=await chair.stage.now())
    waiting = "select family, tier from alert where session = $1 and status = 'open'"
    [(family, tier)] = await eventually(lambda: chair.rows(waiting, chair.id), what="the room is told")
    assert (family.partition(":")[0], tier) == ("decision_needed", "RED")
    assert (await chair.shown())["state"] == "recovery"
    called = "select code from page where subject = (select id::text from alert where session = $1) order by code"
    assert await chair.rows(called, chair.id) == [("session.alert-red",), ("session.alert-red-prescriber",)]
    await heard(chair, follow_up.RISK_FLAGGED, 5, level="NONE", proven=None, assessed_at=await chair.stage.now())
    await eventually(lambda: chair.rows("select 1 from risk_fact where level = 'NONE'"), what="the calmer one is heard")
    [(alert,)] = await chair.rows("select id from alert where session = $1", chair.id)
    (await chair.ask("prescriber.a", f"/alerts/{alert}/resolution", {"action": "other"})).ok()

    async def leaves() -> set[str]:
        return set((await chair.ask("prescriber.a", "discharge-evaluations")).ok()["gate"]["shut_by"])

    assert await leaves() == {"K-X-RISK-HIGH"}
    await decide(chair, "risk")
    assert await leaves() == set()
    await screen(chair, q4=True)
    await screen(chair)
    assert await leaves() == {"K-X-RISK-HIGH"}
    await decide(chair, "risk")
    signed = (await chair.discharge("prescriber.a")).ok()
    assert signed["ending"] == "completed"


# --- on after a pause ----------------------------------------------------------------------------------------------------


async def goes_on(chair: Chair, rate: str = "150.0", *, agrees: bool = True) -> set[str]:
    """What keeps the pump standing; nothing if it runs."""
    answer = await chair.ask("nurse.a", "resume", {"rate": quantity(rate, "mL/h"), "patient_agrees": agrees})
    return set() if answer.status == 200 else keys(answer)


async def would_go_on(chair: Chair) -> set[str]:
    """The same, beside a rate that nothing allows: so nothing begins."""
    found = await goes_on(chair, "150.1")
    assert "K-R-RATE" in found
    return found - {"K-R-RATE"}


async def test_every_row_of_a_resume_at_its_boundary(servers: Servers, tmp_path: Path) -> None:
    async with room(servers, tmp_path, sessions=2) as (chair,):
        others = await crowd(chair)
        await stand(others, "nurse.a")
        await chair.start()
        await chair.tend(4)
        (await chair.ask("nurse.a", "pause", {"reason": "patient-asked"})).ok()
        await vitals(chair, CALM.body())
        # An order, that was not taken back since, and the patient's own word.
        assert await goes_on(chair) == {"K-R-ORDER"}
        await decide(chair, "resume")
        await decide(chair, "resume", start=False)
        assert await goes_on(chair) == {"K-R-ORDER"}, "do not resume"
        await decide(chair, "resume")
        assert await goes_on(chair, agrees=False) == {"K-R-AGREES"}
        assert await would_go_on(chair) == set()
        await the_band(chair)
        await facts_that_wait(chair, would_go_on)
        await whose_hands_are_full(chair, others)
        # It goes on; the next pause wants an order of its own, and after half an hour only ending is left.
        assert await goes_on(chair) == set()
        (await chair.ask("nurse.a", "pause", {"reason": "patient-asked"})).ok()
        paused_at = await chair.stage.now()
        assert await would_go_on(chair) == {"K-R-ORDER", "vitals"}
        await decide(chair, "resume")
        for minutes in (*range(4, 30, 4), 29.9, 30.1):
            await chair.until(paused_at + dt.timedelta(minutes=minutes))
            await vitals(chair, CALM.body())
            assert await would_go_on(chair) == ({"K-R-PAUSED"} if minutes > 30 else set()), minutes
        # There was a RED: the next session waits until a prescriber has said how to go on (decision B13).
        (await chair.ask("nurse.a", "stop", {})).ok()
        (await chair.ask("nurse.a", "closure", {"ending": "eloped"})).ok()
        await chair.arrive(2)
        await chair.ready()
        assert await shut_by(chair) == {"K-S-REVIEW-OPEN"}
        [(review,)] = await chair.rows("select id from review where decision is null")
        (await chair.ask("prescriber.a", f"/reviews/{review}/decision", {"decision": "continue"})).ok()
        assert await shut_by(chair) == set()


async def the_band(chair: Chair) -> None:
    wrong = []
    for signal, value, opens in RESUME_BAND:
        await vitals(chair, measured(**{signal: value}))
        if (found := await would_go_on(chair)) != (set() if opens else {"K-R-VITALS"}):
            wrong.append((signal, value, opens, found))
        await taken_back(chair)
    assert wrong == []
    without = {name: value for name, value in CALM.body().items() if name != "moaa_s"}
    await vitals(chair, without)
    assert await would_go_on(chair) == {"moaa_s"}, "a whole set"
    await vitals(chair, CALM.body())
    taken_at = await chair.stage.now()
    await chair.until(taken_at + dt.timedelta(minutes=4, seconds=50))
    at = (await chair.stage.now()).astimezone(dt.UTC).isoformat()
    batch = {"device": (await chair.shown())["device"], "samples": [{"seq": 1, "at": at, "spo2": 98}]}
    (await chair.ask("integration.a", "samples", batch)).ok()
    assert await would_go_on(chair) == set()
    await chair.until(taken_at + dt.timedelta(minutes=5, seconds=10))
    assert await would_go_on(chair) == {"vitals"}
    # A RED that no prescriber has answered.
    await vitals(chair, measured(heart_rate=131))
    await vitals(chair, CALM.body())
    assert await would_go_on(chair) == {"K-R-RED"}
    [(alert,)] = await chair.rows("select id from alert where tier = 'RED' and session = $1", chair.id)
    (await chair.ask("nurse.a", f"/alerts/{alert}/acknowledgement")).ok()
    assert await would_go_on(chair) == {"K-R-RED"}
    (await chair.ask("prescriber.a", f"/alerts/{alert}/acknowledgement")).ok()
    assert await would_go_on(chair) == set()


async def facts_that_wait(chair: Chair, shut: Callable[[Chair], Awaitable[set[str]]]) -> None:
    """Consent and plan come as events: an owner who has fallen silent, or whose events wait, stops a resume like a start."""
    silent = """update consumer_partition set watermark = $3::timestamptz where consumer = $1 and topic = $2"""
    parked = """insert into parked (consumer, source, epoch, sequence, event_id, type, topic, partition, record_offset, key,
                                    headers, reason, status)
                values ($1, '/a/b', 1, 99, gen_random_uuid(), 'x', $2, 0, 0, $3, '{}', 'failed', 'dead')"""
    async with chair.care.owner("session_logging") as owner:
        for name in FACT_OWNERS:
            topic = f"{chair.care.prefix}.{name.replace('_', '-')}.events"
            await owner.execute(silent, FACTS, topic, dt.datetime.now(dt.UTC) - dt.timedelta(seconds=61))
            assert await shut(chair) == {f"facts_as_of.{name}"}
            await owner.execute(silent, FACTS, topic, dt.datetime(2100, 1, 1, tzinfo=dt.UTC))
            await owner.execute(parked, FACTS, topic, chair.patient.encode())
            assert await shut(chair) == {f"facts_as_of.{name}"}
            await owner.execute("delete from parked")
    assert await shut(chair) == set()


async def whose_hands_are_full(chair: Chair, others: list[Chair]) -> None:
    """Three pumps, or five patients, are too many for one nurse: a handover is taken all the same, and somebody is called."""
    for states, wanted in (
        (("infusing",), set()),
        (("infusing", "paused"), {"K-S-NURSE-LOAD"}),
        (("recovery",) * 3, set()),
        (("recovery",) * 4, {"K-S-NURSE-LOAD"}),
    ):
        await stand(others, "nurse.a", *states)
        assert await would_go_on(chair) == wanted, states
    await stand(others, "nurse.a")
    called = "select subject from page where code = 'session.nurse-overloaded'"
    for states, crowded in ((("infusing",), 0), (("infusing", "paused"), 1), (("recovery",) * 3, 1), (("recovery",) * 4, 2)):
        await stand(others, "nurse.b", *states)
        assert (await chair.ask("nurse.b", "handover")).ok()["nurse"] == chair.care.id("nurse.b")
        assert await chair.rows(called) == [(chair.id,)] * crowded, states
        assert await would_go_on(chair) == ({"K-S-NURSE-LOAD"} if len(states) in (2, 4) else set()), states
    taken = [one["data"] for one in (await chair.record())["entries"] if one["kind"] == "handover"]
    assert [(one["infusing"], one["total"], one["too_many"]) for one in taken] == [
        (2, 2, False),
        (3, 3, True),
        (1, 4, False),
        (1, 5, True),
    ]
    await stand(others, "nurse.b")
    (await chair.ask("nurse.a", "handover")).ok()


# --- home ----------------------------------------------------------------------------------------------------------------


async def test_every_row_of_a_discharge_at_its_boundary(servers: Servers, tmp_path: Path) -> None:
    async with room(servers, tmp_path, sessions=1) as (chair,):
        await chair.start()
        await chair.end()
        assert chair.started is not None
        for minute in (0, 2, *range(16, 120, 14)):
            await chair.minute(minute)
            await vitals(chair, CALM.body())
        await chair.well()
        await chair.minute(119.9)
        asked = (await chair.ask("nurse.a", "discharge-evaluations")).ok()
        assert asked["gate"]["shut_by"] == ["K-X-TIME"]
        assert dt.datetime.fromisoformat(asked["earliest"]) == chair.started + dt.timedelta(hours=2)
        await chair.minute(120.1)
        assert await leaves(chair) == set()
        await what_is_seen(chair)
        await two_sets(chair)
        await each_limit(chair)
        # A low pressure was RED: a prescriber signs.
        assert await leaves(chair, "nurse.a") == {"K-X-PRESCRIBER"}
        assert await leaves(chair) == set()


async def leaves(chair: Chair, login: str = "prescriber.a") -> set[str]:
    """What keeps the patient here, once every alert is closed."""
    for (alert,) in await chair.rows("select id from alert where status = 'open' and session = $1", chair.id):
        (await chair.ask("prescriber.a", f"/alerts/{alert}/resolution", {"action": "rechecked"})).ok()
    return set((await chair.ask(login, "discharge-evaluations")).ok()["gate"]["shut_by"])


async def what_is_seen(chair: Chair) -> None:
    right: dict[str, object] = {"oriented_x4": True, "gait_steady": True, "vomiting": False, "aldrete": 9}
    right |= {"escort_seen": True, "instructions_given": True}
    for name, wrong, rule in (
        ("oriented_x4", False, "K-X-ORIENTED"),
        ("gait_steady", False, "K-X-GAIT"),
        ("vomiting", True, "K-X-VOMITING"),
        ("escort_seen", False, "K-X-ESCORT"),
        ("instructions_given", False, "K-X-INSTRUCTIONS"),
        ("aldrete", 8, "K-X-ALDRETE"),
    ):
        await facts(chair, **{name: wrong})
        assert await leaves(chair) == {rule}
        await facts(chair, **right)
    for answers, wanted in (([1, 1, 0, 0, 0, 0], set()), ([1, 1, 1, 0, 0, 0], {"K-X-CADSS6"})):
        await vitals(chair, {"cadss6": answers})
        assert await leaves(chair) == wanted
        await taken_back(chair)
    await screen(chair, q3=True)
    assert await leaves(chair, "nurse.a") == {"K-X-PRESCRIBER"}, "MODERATE"
    assert await leaves(chair) == set()
    await decide(chair, "risk")
    await screen(chair)
    assert await leaves(chair, "nurse.a") == set()


async def two_sets(chair: Chair) -> None:
    """The last two are a quarter of an hour apart, and nothing fails between."""
    now = await chair.stage.now()

    async def measure(body: Mapping[str, object], **ago: float) -> None:
        at = (now - dt.timedelta(**ago)).astimezone(dt.UTC).isoformat()
        await vitals(chair, {**body, "at": at})

    await measure(measured(sbp=150), minutes=14, seconds=50)
    await measure(CALM.body(), minutes=14, seconds=40)
    await vitals(chair, CALM.body())
    assert await leaves(chair) == {"K-X-VITALS"}
    await chair.wait(seconds=30)
    await vitals(chair, CALM.body())
    assert await leaves(chair) == set()
    await vitals(chair, measured() | {"on_oxygen": True})
    assert await leaves(chair) == {"K-X-VITALS"}
    await taken_back(chair)
    await vitals(chair, measured(moaa_s=4))
    assert await leaves(chair) == {"K-X-VITALS", "K-X-MOAAS"}
    await taken_back(chair)


async def each_limit(chair: Chair) -> None:
    wrong = []
    for signal, value, passes in DISCHARGE_LIMITS:
        await vitals(chair, measured(**{signal: value}))
        if (found := await leaves(chair)) != (set() if passes else {"K-X-VITALS"}):
            wrong.append((signal, value, passes, found))
        await taken_back(chair)
    assert wrong == []


# --- moves ---------------------------------------------------------------------------------------------------------------

LEAVES = {"eloped", "left-against-advice", "transferred"}
GO: dict[SessionState, tuple[str, set[str]]] = {
    SessionState.SCHEDULED: ("start", {"checked-in", "cancelled", "no-show", "voided"}),
    SessionState.CHECKED_IN: ("end", {"held", "ready", "infusing", "aborted", "voided", *LEAVES}),
    SessionState.HELD: ("resume", {"ready", "infusing", "aborted", "voided", *LEAVES}),
    SessionState.READY: ("rate", {"held", "infusing", "aborted", "voided", *LEAVES}),
    SessionState.INFUSING: ("check-in", {"paused", "recovery"}),
    SessionState.PAUSED: ("pause", {"infusing", "recovery"}),
    SessionState.RECOVERY: ("start", {"discharge-ready", "completed", *LEAVES}),
    SessionState.DISCHARGE_READY: ("end", {"recovery", "completed", *LEAVES}),
    SessionState.CLOSED: ("facts", set()),
}
"""Of each state an act that is not of it, and where it may go instead."""
BODIES: dict[str, Any] = {
    "end": {"pump_volume": ml("1.0")},
    "resume": {"rate": quantity("1.0", "mL/h"), "patient_agrees": True},
    "rate": {"rate": quantity("1.0", "mL/h")},
    "pause": {"reason": "other"},
    "facts": {"hcg": "negative"},
    "check-in": {},
}


async def test_an_illegal_move_is_refused_with_the_state_and_the_moves_that_are_not(servers: Servers, tmp_path: Path) -> None:
    assert set(GO) == set(MOVES)
    async with room(servers, tmp_path, sessions=1) as (chair,):
        for state, (act, moves) in GO.items():
            await sessions_of(chair, "state = $2 where id = $1", UUID(chair.id), state.value)
            refused = await chair.ask("nurse.a", act, BODIES.get(act))
            assert (refused.status, refused.code, refused.body["reason"]) == (409, "illegal-move", state.value), refused.body
            named = [error["pointer"] for error in refused.body.get("errors", ())]
            assert named == [f"/moves/{name}" for name in sorted(moves)], state
        assert await chair.rows("select count(*) from entry") == [(0,)]
