"""Attacks that need a clinical service: declared refusals at the chair, nothing changed by them, and nothing in the log.

What is possible, however strange, is no attack and is kept (decision A3); and what is missing never refuses a suicide answer
(decision A4).
"""

import datetime as dt
import re
from pathlib import Path
from typing import Any

import pytest

from services.runtime.edge.openapi import errors_of
from services.session_logging.app import SERVICE
from tests.support import leaks
from tests.support.attacks import attack
from tests.support.care import Answer
from tests.support.chair import CALM, SINCE, Chair, ml, quantity
from tests.support.room import room
from tests.support.servers import Servers
from tests.support.unchanged import unchanged

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(300)]

CANARY = "zoe-canary-escort-7351"
STOCK = {"strength": quantity("50", "mg/mL"), "bag": ml("100.00")}
VIAL = {"vial": "V-1", "lot": "L-1", "expires": "2028-12-31"}
Tried = tuple[str, str, Any, int, str]
"""Who asks what, with which body; status and code of the answer, the code of a field where there is one."""


async def refuse(chair: Chair, *tried: Tried) -> None:
    """Each of these is refused as its route declares, and all of them together change nothing."""
    async with unchanged(chair.care, chair.stage, least=10):
        for login, what, body, status, code in tried:
            answer = await chair.ask(login, what, body)
            assert answer.status == status, (what, body, answer.status, answer.body)
            assert code in {answer.code, *(error["code"] for error in answer.body.get("errors", ()))}, (what, body, answer.body)
            declared(chair, what, answer)


def declared(chair: Chair, what: str, answer: Answer) -> None:
    path = what if what.startswith("/") else f"{chair.path}/{what}"
    (route,) = [
        one
        for one in SERVICE.routes
        if one.method == "POST" and re.fullmatch(re.sub("{[a-z_]+}", "[^/]+", one.path_template), path)
    ]
    assert (answer.status, answer.code) in {(kind.status, kind.code) for kind in errors_of(route)}, (what, answer.body)
    assert answer.headers["Content-Type"].startswith("application/problem+json")


@attack(74, 75, 76, 77, 78, 79, 80, 81, 82)
async def test_at_the_chair(servers: Servers, tmp_path: Path) -> None:
    async with room(servers, tmp_path, sessions=1) as (chair,):
        await steps_before_their_time(chair)
        await chair.arrive(escort_name=CANARY)
        await answers_that_are_none(chair)
        await doses(chair)
        await wastes(chair)
        await chair.waste("0.18")
        await chair.begin()
        await vitals(chair)
        await samples(chair)
        await after_the_session(chair)
        assert leaks.leaks([CANARY], leaks.logs(chair.care)) == []
        assert CANARY in str(await chair.rows("select data from entry where kind = 'facts'"))


async def steps_before_their_time(chair: Chair) -> None:
    """Nobody is here yet; then nobody has been given anything."""
    signature = {"signature": {"meaning": "discharged", "licence": "US-NY", "shown": "0" * 64}}
    steps: dict[str, Any] = {
        "facts": {"hcg": "negative"},
        "vitals": CALM.body(),
        "dose": STOCK,
        "drug": {**STOCK, **VIAL, "drawn": ml("1.00"), "into_bag": ml("0.82")},
        "wastes": {"volume": ml("0.18")},
        "decisions": {"about": "resume", "start": True, "reason": "Seen at the bedside"},
        "start-evaluations": None,
        "start": None,
        "rate": {"rate": quantity("150.0", "mL/h")},
        "pause": {"reason": "other"},
        "resume": {"rate": quantity("150.0", "mL/h"), "patient_agrees": True},
        "end": {"pump_volume": ml("100.0")},
        "pump-volume": {"pump_volume": ml("100.0")},
        "discharge-evaluations": None,
        "discharge": signature,
        "handover": None,
        "device": {"device": "monitor-x"},
    }
    await refuse(
        chair,
        *(("prescriber.a", what, body, 409, "illegal-move") for what, body in steps.items()),
        ("nurse.a", "check-in", {"device": "monitor-x"}, 409, "not-today")
        if chair.planned.date() != (await chair.stage.now()).date()
        else ("nurse.a", "closure", {"ending": "no-show"}, 422, "not-yet"),
    )


async def answers_that_are_none(chair: Chair) -> None:
    """Malformed is refused, item by item; incomplete is kept and graded as what it proves, and not lower."""
    path = f"/patients/{chair.patient}"
    phq = {"instrument": "phq9", "answers": [0] * 9}
    await refuse(
        chair,
        ("nurse.a", f"{path}/assessments", {**phq, "answers": [0] * 10}, 422, "item-count"),
        ("nurse.a", f"{path}/assessments", {**phq, "answers": [0] * 8}, 422, "item-count"),
        ("nurse.a", f"{path}/assessments", {**phq, "answers": [4] + [0] * 8}, 422, "answers-malformed"),
        ("nurse.a", f"{path}/assessments", {**phq, "total": 0}, 422, "unknown-field"),
        ("nurse.a", f"{path}/suicide-screens", {**SINCE, "level": "NONE"}, 422, "unknown-field"),
        ("nurse.a", f"{path}/suicide-screens", {**SINCE, "q4": "no"}, 422, "invalid-body"),
    )
    twice = b'{"version": "since-last", "q4": true, "q4": false}'
    async with unchanged(chair.care, chair.stage, least=10):
        url = f"{chair.care.running['session_logging'].url}{path}/suicide-screens"
        headers = {**chair.care.bearer("nurse.a"), "Content-Type": "application/json", "Idempotency-Key": "twice"}
        async with chair.care.session.post(url, data=twice, headers=headers) as response:
            assert response.status == 422
            assert (await response.json())["errors"][0]["code"] == "repeated-key"
    missing = (await chair.ask("nurse.a", f"{path}/suicide-screens", {"version": "since-last", "q1": True})).ok()
    assert missing["level"] == "INCOMPLETE"
    disclosed = (await chair.ask("nurse.a", f"{path}/suicide-screens", {"version": "since-last", "q4": True})).ok()
    assert (disclosed["level"], disclosed["help"]) == ("HIGH", "988")


async def doses(chair: Chair) -> None:
    """Other units are never converted, and nothing is no dose."""
    zero = quantity("0", "mg/mL")
    await refuse(
        chair,
        ("nurse.a", "facts", {"weight": quantity("180.8", "[lb_av]")}, 422, "wrong-unit"),
        ("nurse.a", "facts", {"weight": quantity("82000", "g")}, 422, "wrong-unit"),
        ("nurse.a", "facts", {"weight": quantity("-82.0", "kg")}, 422, "negative"),
        ("nurse.a", "dose", {**STOCK, "strength": quantity("50", "ug/mL")}, 422, "wrong-unit"),
        ("nurse.a", "dose", {**STOCK, "strength": quantity("-50", "mg/mL")}, 422, "negative"),
        ("nurse.a", "dose", {**STOCK, "bag": quantity("0.1", "L")}, 422, "wrong-unit"),
    )
    (await chair.ask("nurse.a", "facts", {"weight": quantity("0", "kg")})).ok()
    nothing = (await chair.ask("nurse.a", "dose", STOCK)).ok()
    assert (nothing["outcome"], nothing["missing"], nothing["dose"]) == ("HOLD", ["weight"], None)
    (await chair.ask("nurse.a", "facts", {"weight": quantity("82.0", "kg"), "hcg": "negative"})).ok()
    await refuse(
        chair,
        ("nurse.a", "dose", {**STOCK, "strength": zero}, 422, "not-possible"),
        ("nurse.a", "dose", {**STOCK, "bag": ml("0")}, 422, "not-possible"),
    )
    (await chair.ask("nurse.a", "dose", STOCK)).ok()
    drug = {**STOCK, **VIAL, "drawn": ml("1.00"), "into_bag": ml("0.82")}
    await refuse(
        chair,
        # 41 mg as if they were micrograms, 0.5 mg/kg as if it were 0.5 mg, and a tenth of the strength.
        ("nurse.a", "drug", {**drug, "into_bag": quantity("41", "mg")}, 422, "wrong-unit"),
        ("nurse.a", "drug", {**drug, "drawn": ml("9.00"), "into_bag": ml("8.20")}, 422, "not-the-dose"),
        ("nurse.a", "drug", {**drug, "strength": quantity("5", "mg/mL")}, 422, "not-the-dose"),
        ("nurse.a", "drug", {**drug, "drawn": ml("0"), "into_bag": ml("0")}, 422, "not-the-dose"),
        ("nurse.a", "drug", {**drug, "drawn": ml("-1.00")}, 422, "negative"),
        ("nurse.a", "drug", {**drug, "drawn": ml("0.50")}, 422, "not-the-dose"),
    )
    (await chair.ask("nurse.a", "drug", drug)).ok()
    # What is in the bag is the dose; another weight makes it none, and no new one is settled over it (decision B9).
    (await chair.ask("nurse.a", "facts", {"weight": quantity("62.0", "kg")})).ok()
    await refuse(chair, ("nurse.a", "dose", STOCK, 409, "drug-drawn"))
    assert "K-S-DOSE" in (await chair.ask("nurse.a", "start-evaluations")).ok()["shut_by"]
    (await chair.ask("nurse.a", "facts", {"weight": quantity("82.0", "kg")})).ok()


async def wastes(chair: Chair) -> None:
    """Never more than there is, and never alone."""
    await refuse(
        chair,
        ("nurse.a", "wastes", {"volume": ml("1.01")}, 422, "more-than-drawn"),
        ("nurse.a", "wastes", {"volume": ml("-0.18")}, 422, "negative"),
        ("nurse.a", "wastes", {"volume": ml("0")}, 422, "zero"),
        ("nurse.a", "wastes", {"volume": ml("0.185")}, 422, "not-measurable"),
        ("nurse.a", "wastes", {"volume": quantity("9", "mg")}, 422, "wrong-unit"),
    )
    mine = (await chair.ask("nurse.b", "wastes", {"volume": ml("0.10")})).ok()["waste"]
    await refuse(
        chair,
        ("nurse.b", f"/wastes/{mine}/witness", None, 403, "self-witnessed"),
        # Who has drawn it does not witness either.
        ("nurse.a", f"/wastes/{mine}/witness", None, 403, "self-witnessed"),
    )
    # What remains of the day's questions, so that the gate opens.
    (await chair.ask("nurse.a", f"/patients/{chair.patient}/suicide-screens", SINCE)).ok()
    decided = {"about": "risk", "start": True, "reason": "Seen face to face, no plan and no intent"}
    (await chair.ask("prescriber.a", "decisions", decided)).ok()
    (await chair.ask("nurse.a", "vitals", CALM.body(cadss6=[0] * 6))).ok()


async def vitals(chair: Chair) -> None:
    """The impossible is refused; the possible is kept and raises what its face value raises, to be verified."""
    calm = CALM.body()
    await refuse(
        chair,
        ("nurse.a", "vitals", {**calm, "spo2": quantity("101", "%")}, 422, "not-possible"),
        ("nurse.a", "vitals", {**calm, "heart_rate": quantity("1000", "/min")}, 422, "not-possible"),
        ("nurse.a", "vitals", {**calm, "heart_rate": quantity("-1", "/min")}, 422, "negative"),
        ("nurse.a", "vitals", {**calm, "sbp": quantity("NaN", "mm[Hg]")}, 422, "invalid-body"),
        ("nurse.a", "vitals", {**calm, "sbp": quantity("17.1", "kPa")}, 422, "wrong-unit"),
        ("nurse.a", "rate", {"rate": quantity("2.5", "mL/min")}, 422, "wrong-unit"),
        ("nurse.a", "rate", {"rate": quantity("-150.0", "mL/h")}, 422, "negative"),
        ("nurse.a", "rate", {"rate": quantity("150.1", "mL/h")}, 422, "above-plan"),
    )
    (await chair.ask("nurse.a", "vitals", {**calm, "heart_rate": quantity("0", "/min")})).ok()
    (await chair.ask("nurse.a", "vitals", {**calm, "sbp": quantity("80", "mm[Hg]"), "dbp": quantity("90", "mm[Hg]")})).ok()
    raised = set(await chair.rows("select tier, family, verify from alert"))
    assert {("RED", "heart_rate_low", True), ("RED", "sbp_low", True)} <= raised, raised


async def samples(chair: Chair) -> None:
    """A number that is none refuses the batch; another value under a known number refuses its row; a large number is one."""
    begun, device = chair.started, (await chair.shown())["device"]
    assert begun is not None
    await chair.care.advance(30)
    row = {"seq": 2**31, "at": (begun + dt.timedelta(seconds=3)).isoformat(), "spo2": 98}
    await refuse(
        chair,
        ("integration.a", "samples", {"device": device, "samples": [{**row, "seq": -1}]}, 422, "invalid-body"),
        ("integration.a", "samples", {"device": device, "samples": [{**row, "seq": 2**53 + 1}]}, 422, "invalid-body"),
        ("integration.a", "samples", {"device": device, "samples": [{**row, "seq": 2**64}]}, 422, "invalid-body"),
        ("integration.a", "samples", {"device": device, "samples": [{**row, "spo2": "98"}]}, 422, "invalid-body"),
        ("integration.a", "samples", {"device": device, "samples": []}, 422, "invalid-body"),
    )
    assert (await chair.ask("integration.a", "samples", {"device": device, "samples": [row]})).ok()["accepted"] == [2**31]
    again = (await chair.ask("integration.a", "samples", {"device": device, "samples": [{**row, "spo2": 60}]})).ok()
    assert (again["accepted"], again["refused"]) == ([], [{"seq": 2**31, "code": "conflicting"}])
    assert await chair.rows("select spo2 from sample") == [(98,)]


async def after_the_session(chair: Chair) -> None:
    """What was true in the session may still come; what is true after it may not."""
    await chair.end("50.0")
    (await chair.ask("nurse.a", "closure", {"ending": "left-against-advice"})).ok()
    await chair.care.advance(60)
    later = (await chair.stage.now()).astimezone(dt.UTC).isoformat()
    await refuse(
        chair,
        ("nurse.a", "vitals", {**CALM.body(), "at": later}, 422, "after-session"),
        ("nurse.a", "vitals", CALM.body(), 409, "illegal-move"),
        ("nurse.a", "start", None, 409, "illegal-move"),
        ("nurse.a", "rate", {"rate": quantity("60.0", "mL/h")}, 409, "illegal-move"),
    )
    # Of a batch each row is judged for itself: the answer says which are none.
    row = {"seq": 7, "at": later, "spo2": 98}
    sent = (await chair.ask("integration.a", "samples", {"device": "monitor-" + chair.id[-4:], "samples": [row]})).ok()
    assert (sent["accepted"], sent["refused"]) == ([], [{"seq": 7, "code": "after-session"}])
