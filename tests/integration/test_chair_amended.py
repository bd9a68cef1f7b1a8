"""A plan that is amended while the patient is here, and a prescriber who leaves."""

from decimal import Decimal
from pathlib import Path

import pytest

from schemas.events import treatment_planning
from schemas.fields import Measure
from tests.support.chair import CALM, Chair, ml, quantity
from tests.support.room import room, say
from tests.support.servers import Servers
from tests.support.waiting import eventually

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(300)]


async def test_a_plan_that_is_amended_at_the_chair_and_a_prescriber_who_leaves(servers: Servers, tmp_path: Path) -> None:
    async with room(servers, tmp_path, patients=3, sessions=1) as (chair, paused, ready):
        await amended_while_paused(paused)
        await amended_before_the_start(ready)
        await the_prescriber_leaves(chair)


async def heard(chair: Chair, source: str, sequence: int) -> None:
    """What another service has said has come."""
    query = "select 1 from consumer_cursor where consumer = 'session_logging.facts' and source = $1 and sequence >= $2"
    await eventually(lambda: chair.rows(query, source, sequence), what=f"{source}, {sequence}")


async def signed(chair: Chair, number: int, *, dose: str = "0.5", duration: str = "40") -> None:
    """A version of the plan is signed while the patient is here; its event comes."""
    plan = (await chair.rows("select plan from session where id = $1", chair.id))[0][0]
    case = (await chair.rows("select care_case from session where id = $1", chair.id))[0][0]
    source = f"/treatment_planning/plans/{plan}"
    await say(
        chair,
        treatment_planning.PLAN_SIGNED,
        source,
        number - 1,
        plan=plan,
        case=case,
        version=number,
        therapy="ketamine",
        dose=Measure(value=Decimal(dose), unit="mg/kg"),
        basis="actual",
        duration=Measure(value=Decimal(duration), unit="min"),
        cap=None,
        sessions=[],
    )
    await heard(chair, source, number - 1)


async def amended_while_paused(chair: Chair) -> None:
    """The session keeps its terms until the prescriber on site takes the new version; then never faster, never more (A9)."""
    await chair.start()
    await chair.tend(8)
    take = "plan-version"
    assert (await chair.ask("prescriber.a", take, {"number": 2})).code == "illegal-move", "it runs"
    (await chair.ask("nurse.a", "pause", {"reason": "other"})).ok()
    assert (await chair.ask("prescriber.a", take, {"number": 2})).code == "not-the-version", "nobody has signed one"
    for number, dose, duration, code in ((2, "0.6", "60", "more-than-the-bag"), (3, "0.4", "30", "above-plan")):
        await signed(chair, number, dose=dose, duration=duration)
        assert (await chair.ask("prescriber.a", take, {"number": number})).code == code
    await signed(chair, 4, dose="0.1", duration="40")
    assert (await chair.ask("prescriber.a", take, {"number": 4})).code == "given-already", (
        "20 mL have run, and 19.5 % of the bag is all"
    )
    await signed(chair, 5, dose="0.4", duration="50")
    shown = await chair.shown()
    assert (shown["plan_number"], shown["dose"]["pump_rate"], shown["state"]) == (1, "150.0 mL/h", "paused"), (
        "nothing by itself"
    )
    assert (await chair.ask("nurse.a", take, {"number": 5})).status == 403
    assert (await chair.ask("psychiatrist.a", take, {"number": 5})).code == "not-on-site"
    assert (await chair.ask("prescriber.a", take, {"number": 4})).code == "not-the-version"
    taken = (await chair.ask("prescriber.a", take, {"number": 5})).ok()
    # 0.4 mg/kg x 82 kg = 32.80 mg = 0.65 mL of 0.82 mL in 100 mL: 79.26 mL, in 50 minutes.
    assert (taken["plan_number"], taken["dose"]["mass"], taken["dose"]["to_give"]) == (5, "32.50 mg", "79.26 mL")
    assert (taken["dose"]["pump_rate"], taken["state"], taken["rate"]) == ("95.1 mL/h", "paused", "150.0 mL/h")
    assert (await chair.ask("prescriber.a", take, {"number": 5})).code == "not-the-version", "it has it"
    # The gate of a resume asks by it from now on.
    for (alert,) in await chair.rows("select id::text from alert where session = $1 and status = 'open'", chair.id):
        (await chair.ask("prescriber.a", f"/alerts/{alert}/resolution", {"action": "prescriber-informed"})).ok()
    (await chair.ask("prescriber.a", "decisions", {"about": "resume", "start": True, "reason": "Slower from now on"})).ok()
    (await chair.ask("nurse.a", "vitals", CALM.body())).ok()
    rate = {"rate": quantity("95.2", "mL/h"), "patient_agrees": True}
    shut = await chair.ask("nurse.a", "resume", rate)
    assert "/gate/K-R-RATE" in [one["pointer"] for one in shut.body["errors"]], shut.body
    (await chair.ask("nurse.a", "resume", {**rate, "rate": quantity("95.1", "mL/h")})).ok()
    (await chair.ask("nurse.a", "end", {"pump_volume": ml("79.2")})).ok()
    said = {one["kind"]: one["data"] for one in (await chair.record())["entries"]}
    assert (said["plan-version"]["from_version"], said["plan-version"]["to_version"]) == (1, 5)
    told = await chair.rows(
        """select convert_from(body, 'UTF8')::jsonb #>> '{data,plan_version}' from outbox
           where type like '%.session-changed.%' and source = $1 order by id desc limit 1""",
        f"/session_logging/sessions/{chair.id}",
    )
    assert told == [("5",)]


async def amended_before_the_start(chair: Chair) -> None:
    """A dose that was settled and not drawn is settled anew."""
    await chair.arrive()
    (await chair.ask("nurse.a", "facts", {"weight": quantity("82.0", "kg"), "hcg": "negative"})).ok()
    stock = {"strength": quantity("50", "mg/mL"), "bag": ml("100.00")}
    (await chair.ask("nurse.a", "dose", stock)).ok()
    await signed(chair, 2, duration="50")
    assert (await chair.ask("prescriber.a", "plan-version", {"number": 2})).ok()["dose"] is None
    assert "K-S-DOSE" in (await chair.ask("nurse.a", "start-evaluations")).ok()["shut_by"]
    assert (await chair.ask("nurse.a", "dose", stock)).ok()["dose"]["pump_rate"] == "120.0 mL/h"


async def the_prescriber_leaves(chair: Chair) -> None:
    """Who was named as on site has gone: nothing starts, and nobody decides, until somebody is named again."""
    await chair.arrive()
    await chair.ready()
    assert (await chair.ask("nurse.a", "start-evaluations")).ok()["shut_by"] == []
    both = {"prescriber_left": True, "prescriber_on_site": chair.care.id("prescriber.a")}
    assert (await chair.ask("nurse.a", "facts", both)).status == 422
    (await chair.ask("nurse.a", "facts", {"prescriber_left": True})).ok()
    shut = (await chair.ask("nurse.a", "start-evaluations")).ok()["shut_by"]
    assert shut == ["prescriber_on_site"], shut
    decided = {"about": "risk", "start": True, "reason": "By telephone"}
    assert (await chair.ask("prescriber.a", "decisions", decided)).code == "not-on-site"
    (await chair.ask("nurse.a", "facts", {"prescriber_on_site": chair.care.id("prescriber.a")})).ok()
    assert (await chair.ask("nurse.a", "start-evaluations")).ok()["shut_by"] == []
