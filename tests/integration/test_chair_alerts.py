"""The signed table of alerts through the edge: every tier at its boundary, repetition, dwell, silence, acknowledgement."""

import datetime as dt
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from schemas.events import consultation, follow_up
from tests.support.chair import CALM, Chair, quantity
from tests.support.room import MORNING, room, say
from tests.support.servers import Servers
from tests.support.waiting import eventually

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(600)]

UNITS = {"sbp": "mm[Hg]", "dbp": "mm[Hg]", "heart_rate": "/min", "resp_rate": "/min", "spo2": "%"}

EMERGENCIES = (
    *("uncontrollable-agitation", "patient-asks-to-stop", "new-arrhythmia", "syncope", "apnoea", "laryngospasm", "chest-pain"),
    *("dyspnoea", "focal-deficit", "seizure", "severe-headache", "visual-change", "anaphylaxis"),
)
# Each value with the alerts that it raises by itself, typed, over a baseline of 128/78.
BOUNDARIES: list[tuple[dict[str, Any], set[str]]] = [
    ({"sbp": 157}, set()),
    ({"sbp": 158}, {"AMBER sbp_high"}),  # a rise of exactly 30
    ({"sbp": 179}, {"AMBER sbp_high"}),
    ({"sbp": 180}, {"RED sbp_high"}),
    ({"sbp": 96}, set()),
    ({"sbp": 95}, {"AMBER sbp_low"}),
    ({"sbp": 90}, {"AMBER sbp_low"}),
    ({"sbp": 89}, {"RED sbp_low"}),
    ({"sbp": 80}, {"RED sbp_low"}),
    ({"sbp": 79, "dbp": 60}, {"STOP sbp_low"}),
    ({"dbp": 99}, set()),
    ({"dbp": 100}, {"AMBER dbp_high"}),
    ({"dbp": 109}, {"AMBER dbp_high"}),
    ({"dbp": 110}, {"RED dbp_high"}),
    ({"dbp": 119}, {"RED dbp_high"}),
    ({"dbp": 120}, {"STOP dbp_high"}),
    ({"heart_rate": 109}, set()),
    ({"heart_rate": 110}, {"AMBER heart_rate_high"}),
    ({"heart_rate": 129}, {"AMBER heart_rate_high"}),
    ({"heart_rate": 130}, {"RED heart_rate_high"}),
    ({"heart_rate": 51}, set()),
    ({"heart_rate": 50}, {"AMBER heart_rate_low"}),
    ({"heart_rate": 41}, {"AMBER heart_rate_low"}),
    ({"heart_rate": 40}, {"RED heart_rate_low"}),
    ({"heart_rate": 0}, {"RED heart_rate_low verify"}),
    ({"spo2": 95}, set()),
    ({"spo2": 94}, {"AMBER spo2_low"}),
    ({"spo2": 92}, {"AMBER spo2_low"}),
    ({"spo2": 91}, {"RED spo2_low"}),
    ({"spo2": 89}, {"RED spo2_low"}),
    ({"spo2": 88}, {"STOP spo2_low"}),
    ({"spo2": 49}, {"STOP spo2_low verify"}),
    ({"resp_rate": 11}, set()),
    ({"resp_rate": 10}, {"AMBER resp_rate_low"}),
    ({"resp_rate": 9}, {"AMBER resp_rate_low"}),
    ({"resp_rate": 8}, {"RED resp_rate_low"}),
    ({"resp_rate": 1}, {"RED resp_rate_low verify"}),
    ({"resp_rate": 0}, {"STOP resp_rate_low verify"}),
    ({"resp_rate": 24}, set()),
    ({"resp_rate": 25}, {"AMBER resp_rate_high"}),
    ({"resp_rate": 61}, {"AMBER resp_rate_high verify"}),
    ({"moaa_s": 4}, {"AMBER moaa_s"}),
    ({"moaa_s": 3}, {"AMBER moaa_s"}),
    ({"moaa_s": 2}, {"RED moaa_s"}),
    ({"moaa_s": 1}, {"STOP moaa_s"}),
    ({"moaa_s": 0}, {"STOP moaa_s"}),
    ({"cadss6": [4, 4, 3, 0, 0, 0]}, set()),
    ({"cadss6": [4, 4, 4, 0, 0, 0]}, {"AMBER cadss6"}),
    # Possible and not plausible: its face value, never less than AMBER, to be verified now (decision A3).
    ({"sbp": 40, "dbp": 35}, {"STOP sbp_low verify"}),
    ({"sbp": 110, "dbp": 110}, {"RED dbp_high verify"}),
    ({"sbp": 98, "dbp": 98}, {"AMBER bp_implausible verify"}),
    ({"symptoms": ["distress"]}, {"AMBER symptom:distress"}),
    ({"symptoms": ["nausea"]}, {"AMBER symptom:nausea"}),
    ({"symptoms": ["vomiting"]}, {"RED symptom:vomiting"}),
    ({"symptoms": ["severe-agitation"]}, {"RED symptom:severe agitation"}),
    ({"symptoms": ["panic"]}, {"RED symptom:panic"}),
    ({"symptoms": ["psychosis"]}, {"RED symptom:psychosis"}),
    *(({"symptoms": [code]}, {f"STOP symptom:{code.replace('-', ' ')}"}) for code in EMERGENCIES),
    # A RED pressure, or a low one at all, with any symptom is STOP.
    ({"sbp": 180, "symptoms": ["nausea"]}, {"STOP sbp_high", "AMBER symptom:nausea"}),
    ({"sbp": 95, "symptoms": ["nausea"]}, {"STOP sbp_low", "AMBER symptom:nausea"}),
]


def typed(values: dict[str, Any]) -> dict[str, Any]:
    """A set with these values and the calm ones beside them."""
    body = CALM.body()
    for name, value in values.items():
        body[name] = quantity(str(value), UNITS[name]) if name in UNITS else value
    return body


async def opened(chair: Chair) -> set[str]:
    """Open alerts, as the table above writes them."""
    rows = await chair.rows("select tier, family, verify from alert where status = 'open' and session = $1", chair.id)
    return {f"{tier} {family}{' verify' if verify else ''}" for tier, family, verify in rows}


async def settled(chair: Chair) -> None:
    """Calm again: two calm sets, symptoms over, and a prescriber has resolved whatever is open."""
    (await chair.ask("nurse.a", "symptoms-over")).ok()
    (await chair.ask("nurse.a", "vitals", CALM.body())).ok()
    for (alert,) in await chair.rows("select id from alert where status = 'open' and session = $1", chair.id):
        (await chair.ask("prescriber.a", f"/alerts/{alert}/resolution", {"action": "rechecked"})).ok()


async def test_every_tier_begins_at_its_boundary(servers: Servers, tmp_path: Path) -> None:
    async with room(servers, tmp_path, sessions=1) as (chair,):
        await chair.start()
        (await chair.ask("nurse.a", "vitals", CALM.body())).ok()
        wrong = []
        for values, wanted in BOUNDARIES:
            (await chair.ask("nurse.a", "vitals", typed(values))).ok()
            if (found := await opened(chair)) != wanted:
                wrong.append((values, wanted, found))
            await settled(chair)
        assert wrong == []
        # No alert has moved the session or the pump (decision A1).
        assert (await chair.shown())["state"] == "infusing"
        assert (await chair.shown())["rate"] == "150.0 mL/h"


async def test_the_next_pressure_after_a_red_and_the_one_that_does_not_come(servers: Servers, tmp_path: Path) -> None:
    async with room(servers, tmp_path, patients=2, sessions=1) as (chair, silent):
        await chair.start()
        (await chair.ask("nurse.a", "vitals", CALM.body())).ok()
        (await chair.ask("nurse.a", "vitals", typed({"sbp": 181}))).ok()
        # The same again only adds to the open one; a RED again in the next reading is STOP, pause or no pause (A10, B8).
        (await chair.ask("nurse.a", "vitals", typed({"sbp": 180}))).ok()
        assert await opened(chair) == {"RED sbp_high", "STOP sbp_high"}
        (await chair.ask("nurse.a", "vitals", typed({"sbp": 190}))).ok()
        assert len(await chair.rows("select 1 from alert where family = 'sbp_high'")) == 2
        # Another signal pages anew.
        (await chair.ask("nurse.a", "vitals", typed({"heart_rate": 131}))).ok()
        assert "RED heart_rate_high" in await opened(chair)
        pages = await chair.rows("select code, count(*) from page where code like 'session.alert-%' group by 1 order by 1")
        assert pages == [
            ("session.alert-red", 2),
            ("session.alert-red-prescriber", 2),
            ("session.alert-stop", 1),
            ("session.alert-stop-prescriber", 1),
        ]
        # The other half alone is neither the next pressure nor the recheck of the one that was RED.
        for half, wanted in (({"dbp": 115}, {"RED"}), ({"sbp": 128}, {"RED"}), ({"dbp": 115}, {"RED", "STOP"})):
            (await chair.ask("nurse.a", "vitals", {name: quantity(str(v), "mm[Hg]") for name, v in half.items()})).ok()
            assert {one.split()[0] for one in await opened(chair) if one.endswith("dbp_high")} == wanted, half

        await silent.start()
        (await silent.ask("nurse.a", "vitals", typed({"sbp": 180}))).ok()
        red = (await silent.rows("select raised_at from alert where session = $1", silent.id))[0][0]
        (await silent.ask("nurse.a", "vitals", {"spo2": quantity("98", "%")})).ok()
        (await silent.ask("nurse.a", "vitals", {"dbp": quantity("78", "mm[Hg]")})).ok()
        await silent.until(red + dt.timedelta(minutes=5, seconds=-1))
        assert await opened(silent) == {"RED sbp_high"}, "that is no systolic pressure, and five minutes are not over"
        await silent.until(red + dt.timedelta(minutes=5, seconds=1))
        assert "STOP bp_recheck" in await opened(silent)


async def test_what_the_gate_passed_on_is_accepted_and_fires_when_it_is_worse(servers: Servers, tmp_path: Path) -> None:
    async with room(servers, tmp_path, sessions=1) as (chair,):
        await chair.start(heart_rate=quantity("50", "/min"))
        (await chair.ask("nurse.a", "vitals", typed({"heart_rate": 50}))).ok()
        assert await opened(chair) == set()
        (await chair.ask("nurse.a", "vitals", typed({"heart_rate": 49}))).ok()
        assert await opened(chair) == {"AMBER heart_rate_low"}
        # AMBER calls nobody at first; without a recheck in five minutes a second nurse is called (decision A2).
        assert await chair.rows("select code from page where code like 'session.%'") == []
        alert, at = (await chair.rows("select id, raised_at from alert"))[0]
        called = "select subject from page where code = 'session.amber-unchecked'"
        (await chair.ask("nurse.a", "vitals", {"spo2": quantity("98", "%"), "sbp": quantity("128", "mm[Hg]")})).ok()
        await chair.until(at + dt.timedelta(minutes=4, seconds=59))
        assert await chair.rows(called) == []
        await chair.until(at + dt.timedelta(minutes=5, seconds=1))
        assert await chair.rows(called) == [(str(alert),)], "another signal is no recheck"
        # The same signal again, be it as before, is one: nobody else is called.
        (await chair.ask("nurse.a", f"/alerts/{alert}/resolution", {"action": "rechecked"})).ok()
        (await chair.ask("nurse.a", "vitals", typed({"heart_rate": 49}))).ok()
        await chair.wait(minutes=3)
        (await chair.ask("nurse.a", "vitals", {"heart_rate": quantity("49", "/min")})).ok()
        await chair.wait(minutes=3)
        await chair.stage.settle()
        assert len(await chair.rows("select 1 from alert where family = 'heart_rate_low'")) == 2
        assert await chair.rows(called) == [(str(alert),)]


async def test_a_late_value_opens_red_and_stop_and_a_late_answer_opens_nothing(servers: Servers, tmp_path: Path) -> None:
    async with room(servers, tmp_path, sessions=1) as (chair,):
        await chair.start()
        await chair.tend(8)
        started = chair.started
        assert started is not None

        def at(minute: float) -> str:
            return (started + dt.timedelta(minutes=minute)).astimezone(dt.UTC).isoformat()

        # Typed late, behind newer values (decision A13): AMBER says nothing any more, RED and STOP do, with their true time.
        (await chair.ask("nurse.a", "vitals", {"heart_rate": quantity("112", "/min"), "at": at(1)})).ok()
        assert await opened(chair) == set()
        (await chair.ask("nurse.a", "vitals", {"heart_rate": quantity("131", "/min"), "at": at(1.5)})).ok()
        (await chair.ask("nurse.a", "vitals", {"spo2": quantity("88", "%"), "at": at(2)})).ok()
        late = await chair.rows("select tier, family, late, at from alert order by at")
        assert [row[:3] for row in late] == [("RED", "heart_rate_high", True), ("STOP", "spo2_low", True)]
        assert [row[3] for row in late] == [started + dt.timedelta(minutes=1.5), started + dt.timedelta(minutes=2)]

        # Acknowledged, resolved, and then acknowledged again by somebody who is late: nothing opens, nobody is called.
        red = (await chair.rows("select id from alert where tier = 'RED'"))[0][0]
        for login in ("nurse.a", "nurse.b", "prescriber.a"):
            (await chair.ask(login, f"/alerts/{red}/acknowledgement")).ok()
        shown = await chair.rows("select nurse_by, prescriber_by from alert where id = $1", red)
        assert shown == [(chair.care.id("nurse.a"), chair.care.id("prescriber.a"))], "the first of each ladder"
        (await chair.ask("prescriber.a", f"/alerts/{red}/resolution", {"action": "rechecked"})).ok()
        before = await chair.rows("select id, status from page order by id")
        for login in ("nurse.b", "prescriber.a"):
            answer = await chair.ask(login, f"/alerts/{red}/acknowledgement")
            assert (answer.status, answer.code) == (409, "alert-closed")
        again = await chair.ask("prescriber.a", f"/alerts/{red}/resolution", {"action": "rechecked"})
        assert again.code == "alert-closed"
        await chair.wait(minutes=4)
        assert await chair.rows("select status from alert where id = $1", red) == [("resolved",)]
        about = [row for row in await chair.rows("select id, status, subject from page order by id") if row[2] == str(red)]
        assert [row[1] for row in about] == ["acknowledged"] * 2
        assert {row[0] for row in about} <= {row[0] for row in before}


async def test_silence_in_recovery_has_its_own_limits(servers: Servers, tmp_path: Path) -> None:
    async with room(servers, tmp_path, sessions=1) as (chair,):
        await chair.start()
        await chair.tend(2)
        await chair.end("5.0")
        for _ in range(2):  # awake twice: the saturation need not be watched without a break any more
            (await chair.ask("nurse.a", "vitals", CALM.body())).ok()
        last, started = (await chair.rows("select max(at) from entry where kind = 'vitals'"))[0][0], chair.started
        assert started is not None
        for minutes, wanted in ((17.9, set()), (18.1, {"AMBER"}), (22.6, {"AMBER", "RED"}), (30.1, {"AMBER", "RED", "STOP"})):
            await chair.until(last + dt.timedelta(minutes=minutes))
            await chair.stage.settle()
            found = await chair.rows("select tier, family from alert")
            assert {tier for tier, _ in found} == wanted, (minutes, found)
            assert {family for _, family in found} <= {"bp_gap"}
            # A monitor that goes on measuring a pulse puts off no look at the pressure that is missing.
            second = int((await chair.stage.now() - started).total_seconds())
            await play(chair, range(second - 1, second + 1), {})


CALM_SECOND = {"heart_rate": 80, "resp_rate": 14, "spo2": 98}
# Seconds of a stream with what differs from calm in them, and the alert that follows: each first a second short of its dwell.
STREAM: list[tuple[range, dict[str, int | None], tuple[int, str, str] | None]] = [
    (range(10, 20), {"heart_rate": 110}, None),
    (range(30, 41), {"heart_rate": 110}, (40, "heart_rate_high", "AMBER")),
    (range(50, 60), {"heart_rate": 130}, None),
    (range(70, 81), {"heart_rate": 130}, None),  # with a second in the middle that resets it
    (range(90, 100), {"heart_rate": 50}, None),
    (range(110, 121), {"heart_rate": 50}, (120, "heart_rate_low", "AMBER")),
    (range(130, 135), {"spo2": 91}, None),
    (range(140, 155), {"spo2": 94}, None),
    (range(160, 176), {"spo2": 94}, (175, "spo2_low", "AMBER")),
    (range(180, 186), {"spo2": 91}, (185, "spo2_low", "RED")),
    (range(190, 195), {"spo2": 88}, None),
    (range(200, 206), {"spo2": 88}, (205, "spo2_low", "STOP")),
    (range(210, 240), {"resp_rate": 10}, None),
    (range(250, 281), {"resp_rate": 10}, (280, "resp_rate_low", "AMBER")),
    (range(290, 320), {"resp_rate": 8}, None),
    (range(330, 361), {"resp_rate": 8}, (360, "resp_rate_low", "RED")),
    (range(370, 390), {"resp_rate": 0}, None),
    (range(400, 421), {"resp_rate": 0}, (420, "resp_rate_low", "STOP")),
    (range(430, 460), {"resp_rate": 25}, None),
    (range(470, 501), {"resp_rate": 25}, (500, "resp_rate_high", "AMBER")),
    (range(510, 521), {"heart_rate": 130}, (520, "heart_rate_high", "RED")),
]
# A second without a value neither counts nor resets, one outside the band resets (decision A11).
HOLES = {34: None, 35: None, 75: 129}


async def play(chair: Chair, seconds: range, values: dict[int, dict[str, int | None]]) -> None:
    """A monitor's stream, sent in two batches; each second is calm but for its values."""
    assert chair.started is not None
    device = (await chair.shown())["device"]
    samples = [
        {
            "seq": second,
            "at": (chair.started + dt.timedelta(seconds=second)).astimezone(dt.UTC).isoformat(),
            **CALM_SECOND,
            **values.get(second, {}),
        }
        for second in seconds
    ]
    half = len(samples) // 2
    for part in (samples[:half], samples[half:]):
        taken = (await chair.ask("integration.a", "samples", {"device": device, "samples": part})).ok()
        assert len(taken["accepted"]) == len(part)


async def streamed(chair: Chair) -> list[tuple[int, str, str]]:
    """Alerts about values: second of the infusion, family, tier."""
    rows = await chair.rows(
        "select at, family, tier from alert where session = $1 and family not like '%gap' order by at", chair.id
    )
    assert chair.started is not None
    return [(round((at - chair.started).total_seconds()), family, tier) for at, family, tier in rows]


async def test_a_stream_has_to_dwell_and_two_minutes_on_oxygen_are_stop(servers: Servers, tmp_path: Path) -> None:
    async with room(servers, tmp_path, patients=2, sessions=1) as (chair, oxygen):
        await chair.start()
        await oxygen.start()
        await oxygen.minute(9)
        values = {second: dict(differs) for seconds, differs, _ in STREAM for second in seconds}
        for second, value in HOLES.items():
            values[second] = {"heart_rate": value}
        await play(chair, range(1, 530), values)
        assert await streamed(chair) == [alert for _, _, alert in STREAM if alert is not None]

        # On room air two minutes at 91 % are RED, as five seconds are; on oxygen they are STOP, whatever else is open.
        await play(oxygen, range(1, 150), {second: {"spo2": 91} for second in range(10, 141)})
        assert await streamed(oxygen) == [(15, "spo2_low", "RED")]
        (await oxygen.ask("nurse.a", "vitals", {"on_oxygen": True})).ok()
        low: dict[int, dict[str, int | None]] = {second: {"spo2": 91} for second in (*range(160, 280), *range(290, 411))}
        await play(oxygen, range(150, 420), low)
        assert await streamed(oxygen) == [(15, "spo2_low", "RED"), (410, "spo2_low", "STOP")]
        # Each batch has gone on from where the one before has left the fold.
        assert await chair.rows("select folded = version from log_head") == [(True,), (True,)]


async def test_pages_follow_a_handover_and_nobody_responsible_is_red(servers: Servers, tmp_path: Path) -> None:
    async with room(servers, tmp_path, sessions=1) as (chair,):
        a, b = chair.care.id("nurse.a"), chair.care.id("nurse.b")
        async with chair.care.owner("session_logging") as owner:  # nurse.b is on duty, too
            await owner.execute(
                """insert into shift_fact (shift, role, staff, pager, starts_at, ends_at, active)
                   select gen_random_uuid(), role, $1, 'pager-b', starts_at, ends_at, true from shift_fact where staff = $2""",
                UUID(b),
                UUID(a),
            )
        called = """select t.step, array_agg(t.recipient order by t.recipient)
                    from page p join page_attempt t on t.page_id = p.id join alert a on a.id::text = p.subject
                    where a.family = $1 and p.code = 'session.alert-red' group by t.step order by t.step"""
        await chair.start()
        (await chair.ask("nurse.a", "vitals", CALM.body())).ok()
        (await chair.ask("nurse.a", "vitals", typed({"heart_rate": 131}))).ok()
        await chair.stage.settle()
        assert await chair.rows(called, "heart_rate_high") == [(0, [a])], "who is responsible, and not every nurse on duty"
        raised = (await chair.rows("select raised_at from alert"))[0][0]
        (await chair.ask("nurse.b", "handover")).ok()
        for seconds in (61, 121):
            await chair.until(raised + dt.timedelta(seconds=seconds))
        await chair.stage.settle()
        assert await chair.rows(called, "heart_rate_high") == [(0, [a]), (1, [b]), (2, sorted((a, b)))]

        # The nurse leaves and nobody has taken over: RED, and every nurse on duty is called (decision B4).
        left = (await chair.ask("nurse.a", "nurse-left")).ok()
        assert (left["nurse"], left["state"]) == (None, "infusing")
        assert "RED no_nurse" in await opened(chair)
        assert (await chair.ask("nurse.a", "nurse-left")).code == "nobody-responsible"
        await chair.stage.settle()
        assert await chair.rows(called, "no_nurse") == [(0, sorted((a, b)))]
        told = """select convert_from(body, 'utf8')::jsonb->'data'->>'nurse' from outbox
                  where type like '%session-changed%' order by id"""
        assert [row[0] for row in await chair.rows(told)][-2:] == [b, None]
        # Somebody is responsible again; that closes nothing, and a RED is a prescriber's to close.
        assert (await chair.ask("nurse.b", "handover")).ok()["nurse"] == b
        assert "RED no_nurse" in await opened(chair)
        [(alert,)] = await chair.rows("select id from alert where family = 'no_nurse'")
        assert (await chair.ask("nurse.b", f"/alerts/{alert}/resolution", {"action": "other"})).code == "not-of-your-role"
        (await chair.ask("prescriber.a", f"/alerts/{alert}/resolution", {"action": "other"})).ok()


async def called(chair: Chair, family: str = "%") -> dict[str, list[tuple[int, str]]]:
    """By code who was called about alerts of a session, with the rung of the ladder."""
    await chair.stage.settle()
    logins = {chair.care.id(login): login for login in ("nurse.a", "nurse.b", "prescriber.a", "psychiatrist.a")}
    rows = await chair.rows(
        """select p.code, t.step, t.recipient from page p join page_attempt t on t.page_id = p.id
           join alert a on a.id::text = p.subject where a.session = $1 and a.family like $2 order by 1, 2, 3""",
        chair.id,
        family,
    )
    found: dict[str, list[tuple[int, str]]] = {}
    for code, step, recipient in rows:
        found.setdefault(code.removeprefix("session."), []).append((step, logins.get(recipient, recipient)))
    return found


async def test_a_stop_calls_as_long_as_a_red_and_each_role_ends_its_own_ladder(servers: Servers, tmp_path: Path) -> None:
    """Nobody answers about the first; a nurse about the second; the third is RED. The last rung is that of three minutes."""
    async with room(servers, tmp_path, patients=3, sessions=1) as (alone, nursed, red):
        for one in (alone, nursed, red):
            await one.arrive()
            if one is red:  # a nurse has two patients who are infusing, and no more
                (await one.ask("nurse.b", "handover")).ok()
            await one.ready()
        for one, value in ((alone, {"spo2": 88}), (nursed, {"spo2": 88}), (red, {"heart_rate": 131})):
            await one.begin()
            (await one.ask("nurse.a", "vitals", typed(value))).ok()
        [(stop,)] = await nursed.rows("select id from alert where session = $1", nursed.id)
        at_once = {"alert-stop": [(0, "nurse.a"), (1, "psychiatrist.a")], "alert-stop-prescriber": [(0, "prescriber.a")]}
        assert await called(alone) == await called(nursed) == at_once
        (await nursed.ask("nurse.a", f"/alerts/{stop}/acknowledgement")).ok()

        raised = (await red.rows("select raised_at from alert where session = $1", red.id))[0][0]
        await red.until(raised + dt.timedelta(seconds=59))
        assert "pause-unrecorded" not in await called(red)
        await red.until(raised + dt.timedelta(seconds=61))
        assert await called(red) == {
            "alert-red": [(0, "nurse.a"), (1, "nurse.a")],
            "alert-red-prescriber": [(0, "prescriber.a")],
            "pause-unrecorded": [(0, "nurse.a")],
        }
        nurse, prescriber = at_once.values()
        ladders = (
            (61, [(2, "nurse.a")], [(1, "prescriber.a")]),
            (121, [(3, "nurse.a")], [(2, "prescriber.a")]),
            (181, [(4, "psychiatrist.a")], [(3, "psychiatrist.a")]),
        )
        for seconds, more, again in ladders:
            await red.until(raised + dt.timedelta(seconds=seconds))
            nurse, prescriber = nurse + more, prescriber + again
            assert await called(alone) == {"alert-stop": nurse, "alert-stop-prescriber": prescriber}, seconds
            assert await called(nursed) == {**at_once, "alert-stop-prescriber": prescriber}, seconds
        assert await called(red) == {
            "alert-red": [(0, "nurse.a"), (1, "nurse.a"), (2, "nurse.a"), (3, "psychiatrist.a")],
            "alert-red-prescriber": [(0, "prescriber.a"), (1, "psychiatrist.a")],
            "pause-unrecorded": [(0, "nurse.a")],
        }
        # A prescriber's answer ends the prescriber's ladder, and not the nurse's.
        (await alone.ask("prescriber.a", f"/alerts/{(await alone.rows(OLDEST, alone.id))[0][0]}/acknowledgement")).ok()
        status = "select p.code, p.status from page p join alert a on a.id::text = p.subject where a.session = $1 order by 1"
        assert await alone.rows(status, alone.id) == [
            ("session.alert-stop", "open"),
            ("session.alert-stop-prescriber", "acknowledged"),
        ]
        assert await nursed.rows(status, nursed.id) == [
            ("session.alert-stop", "acknowledged"),
            ("session.alert-stop-prescriber", "open"),
        ]


OLDEST = "select id from alert where session = $1 order by raised_at limit 1"


async def test_each_fact_that_arrives_meanwhile_asks_for_itself(servers: Servers, tmp_path: Path) -> None:
    """Decision B3: an answer to one is none to another, and a pause does not end over one that nobody has answered."""
    async with room(servers, tmp_path, sessions=1) as (chair,):
        await chair.start()
        (await chair.ask("nurse.a", "vitals", CALM.body())).ok()
        case = (await chair.rows("select care_case from session where id = $1", chair.id))[0][0]
        of_patient = f"/consultation/patients/{chair.patient}"
        open_ones = "select family, value from alert where tier = 'RED' and status = 'open' order by raised_at"
        pages = "select count(*) from page where code in ('session.alert-red', 'session.alert-red-prescriber')"

        async def told(families: list[str]) -> None:
            async def there() -> bool:
                return len(await chair.rows(open_ones)) >= len(families)

            await eventually(there, what=f"{families[-1]} is an alert")
            assert await chair.rows(open_ones) == [(f"decision_needed:{one}", one) for one in families]
            assert await chair.rows(pages) == [(2 * len(families),)]

        async def answered() -> None:
            for (alert,) in await chair.rows("select id from alert where prescriber_at is null"):
                (await chair.ask("prescriber.a", f"/alerts/{alert}/acknowledgement")).ok()

        async def resumes() -> list[str]:
            again = {"rate": quantity("150.0", "mL/h"), "patient_agrees": True}
            answer = await chair.ask("nurse.a", "resume", again)
            return [] if answer.status == 200 else [one["pointer"] for one in answer.body["errors"]]

        now = await chair.stage.now()
        found: dict[str, Any] = {"case": case, "test": "hcg", "finding": "positive", "taken_at": now}
        await say(chair, consultation.RESULT_REPORTED, of_patient, 1, **found)
        await told(["result-hcg"])
        await answered()
        (await chair.ask("nurse.a", "pause", {"reason": "alert"})).ok()
        order = {"about": "resume", "start": True, "reason": "Seen at the bedside"}
        (await chair.ask("prescriber.a", "decisions", order)).ok()
        (await chair.ask("nurse.a", "vitals", CALM.body())).ok()
        high: dict[str, Any] = {"level": "HIGH", "assessed_at": now}
        await say(chair, consultation.RISK_FLAGGED, of_patient, 2, **high)
        await told(["result-hcg", "risk-high"])
        assert await resumes() == ["/gate/K-R-RED"]
        await answered()
        # Another service has found the same: that, too, is a fact of its own.
        await say(chair, follow_up.RISK_FLAGGED, f"/follow_up/patients/{chair.patient}", 1, **high)
        await told(["result-hcg", "risk-high", "risk-high"])
        assert await resumes() == ["/gate/K-R-RED"]
        await answered()
        # The same person under another id.
        twice = uuid4()
        async with chair.care.owner("session_logging") as owner:
            same = "insert into patient_fact values ($1, null, 'America/New_York', 'en-US', 'US-NY', 'merged', '[]', $2)"
            await owner.execute(same, twice, UUID(chair.patient))
        await say(chair, consultation.RISK_FLAGGED, f"/consultation/patients/{twice}", 1, **high, patient=twice)
        await told(["result-hcg", "risk-high", "risk-high", "risk-high"])
        assert await resumes() == ["/gate/K-R-RED"]
        await answered()
        assert await resumes() == []


async def test_a_shift_that_ends_with_nobody_to_take_over_is_red_once(servers: Servers, tmp_path: Path) -> None:
    """Decision B4. The shift ends while the process is down. A handover moves its end, and so does a longer shift."""
    async with room(servers, tmp_path, patients=2, sessions=1) as (left, taken):
        a, b = (UUID(left.care.id(login)) for login in ("nurse.a", "nurse.b"))
        left_alone = "select tier from alert where family = 'no_nurse' and session = $1"

        async def roster(nurse: UUID, ends: dt.datetime) -> None:
            async with left.care.owner("session_logging") as owner:
                await owner.execute("update shift_fact set ends_at = $2 where staff = $1", nurse, ends)

        async with left.care.owner("session_logging") as owner:
            await owner.execute(
                "insert into shift_fact values (gen_random_uuid(), 'nurse', $1, 'pager-b', $2, $3, true)",
                b,
                MORNING - dt.timedelta(hours=3),
                MORNING,
            )
        for chair in (left, taken):
            await chair.arrive()
            await chair.ready()
        for chair in (left, taken):
            await chair.begin()
        await roster(a, MORNING)
        (await taken.ask("nurse.b", "handover")).ok()
        await roster(b, MORNING + dt.timedelta(hours=2))
        await left.until(MORNING - dt.timedelta(minutes=1))
        assert await left.rows(left_alone, left.id) == []
        await left.care.running["session_logging"].kill()
        await left.care.advance(5 * 60)
        await left.care.spawn("session_logging")
        await left.stage.settle()
        assert await left.rows(left_alone, left.id) == [("RED",)]
        assert await left.rows(left_alone, taken.id) == [], "who has taken over is on duty, longer than was planned"
        assert {who for _, who in (await called(left, "no_nurse"))["alert-red"]} == {"nurse.b"}, "who is responsible has gone"
        told = "select count(*) from entry where kind = 'shift-over' and session = $1"
        await left.wait(minutes=31)
        await left.stage.settle()
        assert (await left.rows(told, left.id), await left.rows(left_alone, left.id)) == ([(1,)], [("RED",)])
        # The other's shift is cut short: it is seen when the roster is looked at the next time.
        await roster(b, await left.stage.now())
        await left.wait(minutes=11)
        await left.stage.settle()
        assert await left.rows(left_alone, taken.id) == [("RED",)]
        # Somebody is responsible again, and has a shift; nobody has moved the pump.
        await roster(b, await left.stage.now() + dt.timedelta(hours=2))
        (await left.ask("nurse.b", "handover")).ok()
        await left.wait(minutes=31)
        await left.stage.settle()
        assert len(await left.rows(left_alone, left.id)) == 1
        assert (await left.shown())["state"] == "infusing"
