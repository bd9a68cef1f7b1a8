"""Ketamine: alerts in the session. Every cell of the table, dwell, repetition, lateness, silence, order."""

import datetime as dt
import json
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.therapies.evidence import Evaluation, Outcome, Rejected
from services.therapies.ketamine.alerts import (
    Alert,
    AlertCase,
    AlertState,
    Event,
    EventKind,
    Reading,
    Source,
    Tier,
    advance,
    alerts,
    begin,
    continues,
    fold,
    kept,
    next_silence,
    order,
    resume,
    step,
)
from services.therapies.ketamine.gates import VitalsSet
from tests.support.ketamine_cases import START, vitals
from tests.support.rules import q, rules, wall

RULES = rules("ketamine")
T0 = START.at
UNITS = {"sbp": "mm[Hg]", "dbp": "mm[Hg]", "heart_rate": "/min", "resp_rate": "/min", "spo2": "%"}
ids = count()

AMBER, RED, STOP = Tier.AMBER, Tier.RED, Tier.STOP


def minute(n: float) -> dt.datetime:
    return T0 + dt.timedelta(minutes=n)


def reading(at: float, *, source: Source = Source.TYPED, recorded: float | None = None, **values: Any) -> Reading:
    """A reading ``at`` minutes after the start; numbers get their units."""
    given_: dict[str, Any] = {k: q(f"{v} {UNITS[k]}") if k in UNITS and v is not None else v for k, v in values.items()}
    when = minute(at if recorded is None else recorded)
    return Reading(id=f"r{next(ids)}", at=minute(at), recorded_at=when, source=source, **given_)


def event(at: float, kind: EventKind, **more: Any) -> Event:
    return Event(id=f"e{next(ids)}", at=minute(at), recorded_at=minute(at), kind=kind, **more)


def run(*entries: Reading | Event, until: float | None = None, baseline: VitalsSet | None = None) -> AlertState:
    base = vitals(heart_rate=72) if baseline is None else baseline
    last = max((e.recorded_at for e in entries), default=T0)
    state = fold(begin(T0, base, RULES), entries, last if until is None else minute(until), RULES)
    assert isinstance(state, AlertState), state
    return state


SILENCE = {"spo2_gap", "bp_gap"}


def said(state: AlertState) -> list[Alert]:
    """The alerts about what was measured; these tests feed one signal and let the others be silent."""
    return [a for a in state.alerts if a.family not in SILENCE]


def raised(state: AlertState) -> list[tuple[str, Tier]]:
    return [(a.family, a.tier) for a in said(state)]


def silent(state: AlertState) -> list[tuple[str, Tier]]:
    return [(a.family, a.tier) for a in state.alerts if a.family in SILENCE]


def tier_of(**values: Any) -> dict[str, Tier]:
    return {a.family: a.tier for a in said(run(reading(1, **values)))}


# --- The table, typed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "values", "expected"),
    [
        ("SBP 157, rise 29", {"sbp": 157, "dbp": 95}, {}),
        ("SBP 158, rise 30", {"sbp": 158, "dbp": 96}, {"sbp_high": AMBER}),
        ("V-V6", {"sbp": 160, "dbp": 95}, {"sbp_high": AMBER}),
        ("SBP 179", {"sbp": 179, "dbp": 95}, {"sbp_high": AMBER}),
        ("V-V7", {"sbp": 180, "dbp": 105}, {"sbp_high": RED, "dbp_high": AMBER}),
        ("V-V9", {"sbp": 150, "dbp": 110}, {"dbp_high": RED}),
        ("DBP 99", {"sbp": 140, "dbp": 99}, {}),
        ("DBP 100", {"sbp": 140, "dbp": 100}, {"dbp_high": AMBER}),
        ("DBP 109", {"sbp": 140, "dbp": 109}, {"dbp_high": AMBER}),
        ("DBP 119", {"sbp": 140, "dbp": 119}, {"dbp_high": RED}),
        ("DBP 120", {"sbp": 150, "dbp": 120}, {"dbp_high": STOP}),
        ("SBP 96", {"sbp": 96, "dbp": 60}, {}),
        ("SBP 95", {"sbp": 95, "dbp": 60}, {"sbp_low": AMBER}),
        ("SBP 90", {"sbp": 90, "dbp": 60}, {"sbp_low": AMBER}),
        ("SBP 89", {"sbp": 89, "dbp": 60}, {"sbp_low": RED}),
        ("SBP 80", {"sbp": 80, "dbp": 50}, {"sbp_low": RED}),
        ("SBP 79", {"sbp": 79, "dbp": 50}, {"sbp_low": STOP}),
        ("HR 109", {"heart_rate": 109}, {}),
        ("HR 110", {"heart_rate": 110}, {"heart_rate_high": AMBER}),
        ("HR 129", {"heart_rate": 129}, {"heart_rate_high": AMBER}),
        ("V-V14", {"heart_rate": 130}, {"heart_rate_high": RED}),
        ("HR 51", {"heart_rate": 51}, {}),
        ("HR 50", {"heart_rate": 50}, {"heart_rate_low": AMBER}),
        ("HR 41", {"heart_rate": 41}, {"heart_rate_low": AMBER}),
        ("HR 40", {"heart_rate": 40}, {"heart_rate_low": RED}),
        ("SpO2 95", {"spo2": 95}, {}),
        ("SpO2 94", {"spo2": 94}, {"spo2_low": AMBER}),
        ("SpO2 92", {"spo2": 92}, {"spo2_low": AMBER}),
        ("V-V12a", {"spo2": 91}, {"spo2_low": RED}),
        ("SpO2 89", {"spo2": 89}, {"spo2_low": RED}),
        ("V-V12b", {"spo2": 88}, {"spo2_low": STOP}),
        ("RR 11", {"resp_rate": 11}, {}),
        ("V-V13a", {"resp_rate": 10}, {"resp_rate_low": AMBER}),
        ("V-V13b", {"resp_rate": 9}, {"resp_rate_low": AMBER}),
        ("V-V13c", {"resp_rate": 8}, {"resp_rate_low": RED}),
        ("RR 1", {"resp_rate": 1}, {"resp_rate_low": RED}),
        ("RR 24", {"resp_rate": 24}, {}),
        ("RR 25", {"resp_rate": 25}, {"resp_rate_high": AMBER}),
        ("MOAA/S 5", {"moaa_s": 5}, {}),
        ("MOAA/S 4", {"moaa_s": 4}, {"moaa_s": AMBER}),
        ("MOAA/S 3", {"moaa_s": 3}, {"moaa_s": AMBER}),
        ("V-V15a", {"moaa_s": 2}, {"moaa_s": RED}),
        ("V-V15b", {"moaa_s": 1}, {"moaa_s": STOP}),
        ("MOAA/S 0", {"moaa_s": 0}, {"moaa_s": STOP}),
        ("CADSS-6 11", {"cadss6": 11}, {}),
        ("CADSS-6 12", {"cadss6": 12}, {"cadss6": AMBER}),
    ],
)  # fmt: skip
def test_every_cell_of_the_table(row: str, values: dict[str, Any], expected: dict[str, Tier]) -> None:
    assert tier_of(**values) == expected, row


SYMPTOMS = {
    AMBER: ["distress", "nausea"],
    RED: ["severe agitation", "panic", "psychosis", "vomiting"],
    STOP: [
        "uncontrollable agitation", "patient asks to stop", "new arrhythmia", "syncope", "apnoea", "laryngospasm", "chest pain",
        "dyspnoea", "focal deficit", "seizure", "severe headache", "visual change", "anaphylaxis",
    ],
}  # fmt: skip


@pytest.mark.parametrize(("tier", "symptom"), [(t, s) for t, names in SYMPTOMS.items() for s in names])
def test_symptoms(tier: Tier, symptom: str) -> None:
    assert tier_of(symptoms=frozenset({symptom})) == {f"symptom:{symptom}": tier}


def test_a_symptom_without_a_tier_raises_nothing_alone() -> None:
    assert tier_of(symptoms=frozenset({"dizziness"})) == {}


@pytest.mark.parametrize("kind", list(EventKind))
def test_events(kind: EventKind) -> None:
    expected = {
        EventKind.DECISION_NEEDED: [("decision_needed", RED)],
        EventKind.CONSENT_WITHDRAWN: [("consent_withdrawn", STOP)],
        EventKind.STOPPED: [("stopped", STOP)],
        EventKind.NO_NURSE: [("no_nurse", RED)],
    }
    assert raised(run(event(0.5, kind))) == expected.get(kind, [])
    assert silent(run(event(0.5, kind))) == ([("spo2_gap", STOP)] if kind is EventKind.DEVICE_LOST else [])


def test_each_fact_that_asks_for_a_decision_is_an_alert_of_its_own() -> None:
    held, high = (event(at, EventKind.DECISION_NEEDED, code=code) for at, code in ((0.1, "plan-held"), (0.2, "risk-high")))
    again = event(0.3, EventKind.DECISION_NEEDED, code="risk-high")
    found = said(run(held, high, again))
    assert [(a.family, a.tier, a.value) for a in found] == [
        ("decision_needed:plan-held", RED, "plan-held"),
        ("decision_needed:risk-high", RED, "risk-high"),
        ("decision_needed:risk-high", RED, "risk-high"),
    ]
    assert len({a.id for a in found}) == 3


def test_why_a_human_stops_is_a_signal_of_its_own() -> None:
    asked, sick = (event(at, EventKind.STOPPED, code=code) for at, code in ((0.1, "patient-asked"), (0.2, "emergency")))
    again = event(0.3, EventKind.STOPPED, code="emergency")
    assert raised(run(asked, sick, again)) == [("stopped:patient-asked", STOP), *[("stopped:emergency", STOP)] * 2]
    left = [event(at, EventKind.NO_NURSE) for at in (0.1, 0.2)]
    assert raised(run(*left)) == [("no_nurse", RED)] * 2, "who took over has left as well"


# --- Implausible, impossible ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "values", "expected"),
    [
        ("V-V19a SBP 40", {"sbp": 40, "dbp": 30}, {"sbp_low": STOP}),
        ("V-V19b DBP 200", {"sbp": 210, "dbp": 200}, {"sbp_high": RED, "dbp_high": STOP}),
        ("V-V19c equal, harmless by face", {"sbp": 97, "dbp": 97}, {"bp_implausible": AMBER}),
        ("SBP below DBP", {"sbp": 88, "dbp": 121}, {"sbp_low": RED, "dbp_high": STOP}),
        ("DBP 20", {"sbp": 120, "dbp": 20}, {"bp_implausible": AMBER}),
        ("HR 0", {"heart_rate": 0}, {"heart_rate_low": RED}),
        ("HR 221", {"heart_rate": 221}, {"heart_rate_high": RED}),
        ("RR 0", {"resp_rate": 0}, {"resp_rate_low": STOP}),
        ("RR 61", {"resp_rate": 61}, {"resp_rate_high": AMBER}),
        ("SpO2 49", {"spo2": 49}, {"spo2_low": STOP}),
    ],
)
def test_an_implausible_value_keeps_the_tier_of_its_face_value_and_asks_to_verify(
    row: str, values: dict[str, Any], expected: dict[str, Tier]
) -> None:
    found = said(run(reading(1, **values)))
    assert {a.family: a.tier for a in found} == expected, row
    assert all(a.verify for a in found)


def test_an_implausible_value_without_a_tier_asks_to_verify_unless_a_newer_one_is_there() -> None:
    """The shipped limits give every implausible rate a tier; another clinic's need not."""
    untiered = {key: limit for key, limit in RULES.values.items() if not key.startswith("alert.resp_rate_high")}
    rules = replace(RULES, values=untiered)

    def found(*readings: Reading) -> list[tuple[str, Tier, bool]]:
        state = begin(T0, vitals(), rules)
        for one in readings:
            result = step(state, one, rules)
            assert not isinstance(result, Rejected)
            state = result[0]
        return [(a.family, a.tier, a.verify) for a in said(state)]

    assert found(reading(1, resp_rate=61)) == [("resp_rate_implausible", AMBER, True)]
    assert found(reading(2, resp_rate=16), reading(1, recorded=2.5, resp_rate=61)) == []


@pytest.mark.parametrize(
    "values",
    [{"spo2": 101}, {"heart_rate": 1000}, {"sbp": -1, "dbp": 60}, {"sbp": 120, "dbp": 251}, {"resp_rate": 151}, {"moaa_s": 6},
     {"cadss6": 25}, {"moaa_s": -1}],
)  # fmt: skip
def test_only_the_impossible_is_refused(values: dict[str, Any]) -> None:
    result = step(begin(T0, vitals(), RULES), reading(1, **values), RULES)
    assert isinstance(result, Rejected)
    assert result.problems[0].code == "impossible"


def test_a_time_after_recording_is_refused() -> None:
    assert isinstance(step(begin(T0, vitals(), RULES), reading(2, recorded=1, spo2=98), RULES), Rejected)


# --- Dwell ------------------------------------------------------------------------------------------------------------


def samples(signal: str, values: list[Any], start: float = 0.0) -> list[Reading]:
    """One stream sample a second from ``start`` minutes on."""
    return [reading(start + i / 60, source=Source.STREAM, **{signal: v}) for i, v in enumerate(values)]


@pytest.mark.parametrize(
    ("signal", "value", "dwell", "family", "tier"),
    [
        ("spo2", 94, 15, "spo2_low", AMBER), ("spo2", 91, 5, "spo2_low", RED), ("spo2", 88, 5, "spo2_low", STOP),
        ("heart_rate", 110, 10, "heart_rate_high", AMBER), ("heart_rate", 130, 10, "heart_rate_high", RED),
        ("heart_rate", 50, 10, "heart_rate_low", AMBER), ("heart_rate", 40, 10, "heart_rate_low", RED),
        ("resp_rate", 10, 30, "resp_rate_low", AMBER), ("resp_rate", 8, 30, "resp_rate_low", RED),
        ("resp_rate", 0, 20, "resp_rate_low", STOP), ("resp_rate", 25, 30, "resp_rate_high", AMBER),
    ],
)  # fmt: skip
def test_dwell_of_each_stream_rule(signal: str, value: int, dwell: int, family: str, tier: Tier) -> None:
    """V-V11 among them: dwell is last minus first sample, so ``dwell`` seconds need ``dwell + 1`` samples."""
    short = run(*samples(signal, [value] * dwell)).alerts
    assert tier not in {a.tier for a in short}
    found = [a for a in run(*samples(signal, [value] * (dwell + 1))).alerts if a.tier is tier]
    assert [(a.family, a.since, a.at) for a in found] == [(family, T0, T0 + dt.timedelta(seconds=dwell))]


def test_v_v11() -> None:
    assert raised(run(*samples("spo2", [94] * 11))) == []
    assert raised(run(*samples("spo2", [94] * 16))) == [("spo2_low", AMBER)]


def test_a_missing_second_neither_counts_nor_resets() -> None:
    assert raised(run(*samples("spo2", [94] + [None] * 14 + [94]))) == [("spo2_low", AMBER)]
    assert raised(run(*samples("spo2", [94] + [None] * 13 + [94]))) == []


def test_a_sample_outside_the_band_resets() -> None:
    assert raised(run(*samples("spo2", [94] * 8 + [95] + [94] * 15))) == []
    assert raised(run(*samples("spo2", [94] * 8 + [95] + [94] * 16))) == [("spo2_low", AMBER)]


def test_a_worse_sample_stays_in_the_milder_band() -> None:
    assert raised(run(*samples("spo2", [94] * 10 + [90] * 3 + [94] * 3))) == [("spo2_low", AMBER)]


def test_two_minutes_on_oxygen() -> None:
    on = [reading(i / 60, source=Source.STREAM, spo2=91, on_oxygen=True) for i in range(121)]
    assert raised(run(*on[:-1])) == [("spo2_low", RED)]
    assert raised(run(*on)) == [("spo2_low", RED), ("spo2_low", STOP)]
    off = [replace(r, on_oxygen=False) for r in on]
    assert raised(run(*off)) == [("spo2_low", RED)]
    better = [replace(r, spo2=q("92 %")) if i == 60 else r for i, r in enumerate(on)]
    assert ("spo2_low", STOP) not in raised(run(*better))
    said_once = [replace(r, on_oxygen=None) if i else r for i, r in enumerate(on)]
    typed = [reading(0, spo2=91, on_oxygen=True), reading(1, heart_rate=80), reading(2, spo2=91)]
    both = [replace(r, heart_rate=q("80 /min")) for r in on]
    assert raised(run(*both)) == [("spo2_low", RED), ("spo2_low", STOP)], "beside another signal too"
    late = replace(reading(0.5, source=Source.STREAM, spo2=99), recorded_at=minute(1))
    assert ("spo2_low", STOP) in raised(run(*on, late)), "a good sample that comes late does not hide it"
    assert raised(run(*typed)) == [("spo2_low", RED), ("spo2_low", STOP)], "another signal in between changes nothing"
    assert raised(run(*said_once)) == [("spo2_low", RED), ("spo2_low", STOP)], "a sample that does not say changes nothing"


# --- One open alert per family, resolution ----------------------------------------------------------------------------


def test_the_same_tier_adds_and_a_higher_one_pages_anew() -> None:
    state = run(reading(1, heart_rate=112), reading(2, heart_rate=115), reading(3, heart_rate=131), reading(4, heart_rate=112))
    assert raised(state) == [("heart_rate_high", AMBER), ("heart_rate_high", RED)]


def test_another_signal_is_another_alert() -> None:
    assert raised(run(reading(1, heart_rate=112, spo2=93))) == [("heart_rate_high", AMBER), ("spo2_low", AMBER)]


def test_v_v17_a_later_normal_reading_never_closes_a_red() -> None:
    state = run(reading(1, sbp=182, dbp=90), reading(4, sbp=130, dbp=80))
    assert state.open["sbp_high"] == RED
    assert raised(state) == [("sbp_high", RED)]


def test_only_a_prescriber_resolves_red_and_stop() -> None:
    state = run(reading(1, heart_rate=131))
    refused = step(state, event(2, EventKind.RESOLVED, family="heart_rate_high", role="nurse"), RULES)
    assert isinstance(refused, Rejected)
    done = step(state, event(2, EventKind.RESOLVED, family="heart_rate_high", role="prescriber"), RULES)
    assert isinstance(done, tuple)
    assert "heart_rate_high" not in done[0].open
    amber = run(reading(1, heart_rate=112), event(2, EventKind.RESOLVED, family="heart_rate_high", role="nurse"))
    assert "heart_rate_high" not in amber.open


def test_after_resolution_it_is_raised_again_and_a_stream_dwells_again() -> None:
    resolved = event(2, EventKind.RESOLVED, family="heart_rate_high", role="nurse")
    assert raised(run(reading(1, heart_rate=112), resolved, reading(3, heart_rate=112))) == [("heart_rate_high", AMBER)] * 2
    first, again = samples("spo2", [93] * 20), samples("spo2", [93] * 16, start=0.5)
    done = event(0.4, EventKind.RESOLVED, family="spo2_low", role="nurse")
    found = run(*first, done, *again).alerts
    assert [a.at for a in found] == [T0 + dt.timedelta(seconds=15), T0 + dt.timedelta(seconds=45)]


# --- Accepted at start ------------------------------------------------------------------------------------------------


def test_an_amber_of_the_gate_is_accepted_and_fires_only_when_worse() -> None:
    base = vitals(heart_rate=115, spo2=94)
    assert run(baseline=base).accepted == {"heart_rate_high": q("115 /min"), "spo2_low": q("94 %")}
    assert raised(run(reading(1, heart_rate=115), baseline=base)) == []
    assert raised(run(reading(1, heart_rate=116), baseline=base)) == [("heart_rate_high", AMBER)]
    assert raised(run(reading(1, heart_rate=130), baseline=base)) == [("heart_rate_high", RED)]
    assert raised(run(*samples("spo2", [94] * 30), baseline=base)) == []
    assert raised(run(*samples("spo2", [93] * 16), baseline=base)) == [("spo2_low", AMBER)]


def test_a_pressure_that_the_gate_accepted_fires_only_when_worse() -> None:
    base = vitals(sbp=162, dbp=101)
    assert raised(run(reading(1, sbp=162, dbp=101), baseline=base)) == []
    assert raised(run(reading(1, sbp=163, dbp=101), baseline=base)) == [("sbp_high", AMBER)]
    assert raised(run(reading(1, sbp=162, dbp=102), baseline=base)) == [("dbp_high", AMBER)]
    assert raised(run(reading(1, sbp=180, dbp=101), baseline=base)) == [("sbp_high", RED)]


def test_without_a_baseline_the_absolute_limits_still_hold() -> None:
    entries = [reading(1, sbp=175, dbp=90)]
    state = fold(begin(T0, None, RULES), entries, minute(1), RULES)
    assert isinstance(state, AlertState)
    assert raised(state) == [("sbp_high", AMBER)]


# --- Repeated pressure, symptoms, recheck -----------------------------------------------------------------------------


@pytest.mark.parametrize("after", [0.5, 3, 4.9, 11])
def test_the_next_red_pressure_is_a_stop_whenever_it_comes(after: float) -> None:
    found = raised(run(reading(1, sbp=182, dbp=90), reading(1 + after, sbp=180, dbp=90)))
    assert ("sbp_high", STOP) in found
    found = raised(run(reading(1, sbp=150, dbp=110), reading(1 + after, sbp=150, dbp=112)))
    assert ("dbp_high", STOP) in found


def test_a_pressure_in_between_that_is_not_red_breaks_the_repetition() -> None:
    found = raised(run(reading(1, sbp=182, dbp=90), reading(3, sbp=170, dbp=90), reading(6, sbp=182, dbp=90)))
    assert ("sbp_high", STOP) not in found


def test_systolic_and_diastolic_repeat_each_for_itself() -> None:
    found = raised(run(reading(1, sbp=182, dbp=90), reading(3, sbp=150, dbp=112)))
    assert STOP not in {tier for _, tier in found}


def test_a_low_pressure_does_not_repeat_into_a_stop() -> None:
    assert raised(run(reading(1, sbp=88, dbp=50), reading(3, sbp=88, dbp=50))) == [("sbp_low", RED)]


@pytest.mark.parametrize(
    ("sbp", "dbp", "family", "stops"),
    [
        (182, 90, "sbp_high", True),
        (179, 90, "sbp_high", False),
        (150, 110, "dbp_high", True),
        (95, 60, "sbp_low", True),
        (96, 60, "sbp_low", False),
    ],
)
def test_any_symptom_makes_a_dangerous_pressure_a_stop(sbp: int, dbp: int, family: str, stops: bool) -> None:
    dizzy = frozenset({"dizziness"})
    together = run(reading(1, sbp=sbp, dbp=dbp, symptoms=dizzy))
    before = run(reading(0.5, symptoms=dizzy), reading(1, sbp=sbp, dbp=dbp))
    after = run(reading(1, sbp=sbp, dbp=dbp), reading(1.5, symptoms=dizzy))
    for state in (together, before, after):
        assert ((family, STOP) in raised(state)) is stops


def test_a_resolved_symptom_no_longer_counts() -> None:
    state = run(
        reading(0.5, symptoms=frozenset({"dizziness"})),
        event(1, EventKind.SYMPTOMS_RESOLVED),
        reading(2, sbp=182, dbp=90),
    )
    assert raised(state) == [("sbp_high", RED)]


def test_a_symptom_belongs_to_the_pressure_before_it() -> None:
    state = run(reading(1, sbp=182, dbp=90), reading(3, sbp=140, dbp=80), reading(4, symptoms=frozenset({"dizziness"})))
    assert ("sbp_high", STOP) not in raised(state)
    assert raised(run(reading(1, symptoms=frozenset({"dizziness"})))) == []


def test_a_red_pressure_without_recheck_for_five_minutes_is_a_stop() -> None:
    red = reading(1, sbp=182, dbp=90)
    assert ("bp_recheck", STOP) not in raised(run(red, until=5.99))
    found = said(run(red, until=6))[-1]
    assert (found.family, found.tier, found.at) == ("bp_recheck", STOP, minute(6))
    assert ("bp_recheck", STOP) not in raised(run(red, reading(5.9, sbp=150, dbp=80), until=9))
    assert ("bp_recheck", STOP) not in raised(run(reading(1, sbp=170, dbp=90), until=9))
    # Typed in late: the five minutes run from when anyone could know.
    assert ("bp_recheck", STOP) not in raised(run(reading(1, recorded=4, sbp=182, dbp=90), until=8.9))
    assert ("bp_recheck", STOP) in raised(run(reading(1, recorded=4, sbp=182, dbp=90), until=9))


def test_each_half_of_a_pressure_is_repeated_and_rechecked_by_itself() -> None:
    red, other = reading(1, dbp=115), reading(3, sbp=128)
    assert raised(run(red, other, reading(4, dbp=115))) == [("dbp_high", RED), ("dbp_high", STOP)]
    assert raised(run(red, other, reading(4, dbp=90), reading(5, dbp=115))) == [("dbp_high", RED)]
    assert ("bp_recheck", STOP) not in raised(run(red, other, until=5.99))
    assert ("bp_recheck", STOP) in raised(run(red, other, until=6)), "half a reading leaves the other half awaited"
    assert ("bp_recheck", STOP) not in raised(run(red, other, reading(5.9, dbp=90), until=9))
    both = reading(1, sbp=182, dbp=115)
    assert ("bp_recheck", STOP) in raised(run(both, other, until=6))
    assert ("bp_recheck", STOP) not in raised(run(both, other, reading(5.9, dbp=90), until=9))
    # What comes late behind the other half only is not late for its own, and a symptom belongs to each half in force.
    assert [(a.tier, a.late) for a in said(run(reading(5, sbp=128), reading(4, recorded=5.5, dbp=105)))] == [(AMBER, False)]
    assert ("dbp_high", STOP) in raised(run(red, other, reading(4, symptoms=frozenset({"dizziness"}))))
    state = run(red, other)
    known = json.loads(json.dumps(kept(state)))
    assert kept(resume(begin(T0, vitals(heart_rate=72), RULES), known)) == known


def test_another_red_recheck_starts_the_clock_again() -> None:
    state = run(reading(1, sbp=182, dbp=90), reading(4, sbp=150, dbp=112), until=8.9)
    assert ("bp_recheck", STOP) not in raised(state)
    assert ("bp_recheck", STOP) in raised(advance(state, minute(9), RULES)[0])


def test_a_pressure_that_comes_late_is_no_recheck_of_a_newer_one() -> None:
    red, late = reading(10, sbp=182, dbp=90), reading(4, recorded=11, sbp=128, dbp=80)
    assert ("bp_recheck", STOP) not in raised(run(red, late, until=14.9))
    assert ("bp_recheck", STOP) in raised(run(red, late, until=15))


# --- Late -------------------------------------------------------------------------------------------------------------


def test_a_stream_that_comes_behind_a_typed_set_ends_its_run_where_it_is_the_newest_of_the_stream() -> None:
    low = reading(1, source=Source.STREAM, spo2=90)
    typed = reading(1.2, spo2=98)
    late = reading(1.1, source=Source.STREAM, recorded=1.3, spo2=98)
    again = [reading(1.4 + n / 60, source=Source.STREAM, spo2=90) for n in range(6)]
    assert raised(run(low, typed, late)) == []
    assert raised(run(low, typed, late, *again)) == [("spo2_low", RED)], "the dwell counts from the new run"


def test_a_late_red_is_raised_with_its_true_time_and_a_late_amber_is_not() -> None:
    state = run(reading(10, sbp=130, dbp=80), reading(4, recorded=11, sbp=182, dbp=80))
    (found,) = said(state)
    assert (found.family, found.tier, found.at, found.late) == ("sbp_high", RED, minute(4), True)
    assert raised(run(reading(10, sbp=130, dbp=80), reading(4, recorded=11, sbp=170, dbp=80))) == []
    assert raised(run(reading(10, heart_rate=80), reading(4, recorded=11, heart_rate=112))) == []
    assert raised(run(reading(10, sbp=130, dbp=80), reading(4, recorded=11, sbp=97, dbp=97))) == []
    (pulse,) = said(run(reading(10, heart_rate=80), reading(4, recorded=11, heart_rate=131)))
    assert (pulse.tier, pulse.late) == (RED, True)


def test_an_amber_typed_late_without_a_newer_value_is_raised_and_marked() -> None:
    (found,) = said(run(reading(1, recorded=6, heart_rate=112)))
    assert (found.tier, found.late) == (AMBER, False)
    (found,) = said(run(reading(1, recorded=6.1, heart_rate=112)))
    assert (found.tier, found.late) == (AMBER, True)


def test_a_late_pressure_completes_a_repetition() -> None:
    state = run(reading(8, sbp=182, dbp=80), reading(5, recorded=9, sbp=184, dbp=80))
    assert raised(state) == [("sbp_high", RED), ("sbp_high", STOP)]
    assert said(state)[1].late


def test_after_the_session_a_value_is_a_task_and_a_time_after_it_is_refused() -> None:
    closed = event(20, EventKind.SESSION_CLOSED)
    state = run(reading(10, sbp=130, dbp=80, spo2=98), closed, reading(15, recorded=25, heart_rate=131), until=60)
    found = next(a for a in state.alerts if a.family == "heart_rate_high")
    assert found.after_session
    assert isinstance(step(state, reading(21, recorded=26, spo2=80), RULES), Rejected)
    assert not any(a.after_session for a in state.alerts if a.family != "heart_rate_high")


def test_a_late_stream_block_cannot_raise_twice() -> None:
    live = samples("spo2", [98] * 10, start=2)
    block = [replace(r, recorded_at=minute(3)) for r in samples("spo2", [90] * 30)]
    found = [a for a in run(*live, *block).alerts if a.family == "spo2_low"]
    assert [(a.tier, a.since) for a in found] == [(RED, T0)]


def seconds(first: int, last: int, spo2: int) -> list[Reading]:
    """One sample a second, both ends included."""
    return samples("spo2", [spo2] * (last - first + 1), start=first / 60)


def late_by(recorded_s: float, at_s: float, spo2: int) -> Reading:
    return replace(reading(at_s / 60, source=Source.STREAM, spo2=spo2), recorded_at=minute(recorded_s / 60))


@pytest.mark.parametrize(
    ("live", "late", "rest_from", "since"),
    [
        pytest.param([(10, 19, 93)], (14.5, 99), 20, 15, id="a good one in the middle: the run begins behind it"),
        pytest.param([(10, 19, 98)], (4, 99), 20, 20, id="a good one, and no run: none is made"),
        pytest.param([(0, 9, 98), (10, 19, 93)], (4.5, 99), 20, 10, id="a good one before the run: nothing changes"),
        pytest.param([(5, 14, 93)], (0, 93), 15, 0, id="a low one before all others joins an even run"),
        pytest.param([(5, 13, 93)], (0, 93), 14, 0, id="and an odd one"),
        pytest.param([(10, 14, 93), (15, 19, 98)], (4, 93), 20, 20, id="a low one of a run that has ended"),
    ],
)
def test_a_late_sample_moves_the_beginning_of_a_run(
    live: list[tuple[int, int, int]], late: tuple[float, int], rest_from: int, since: int
) -> None:
    """AMBER dwells 15 s, counted from where the run begins by true time."""
    before = [sample for part in live for sample in seconds(*part)]
    arrived = late_by(rest_from - 0.5, *late)
    assert raised(run(*before, arrived, *seconds(rest_from, since + 14, 93))) == []
    (found,) = said(run(*before, arrived, *seconds(rest_from, since + 15, 93)))
    assert (found.family, found.tier, found.since) == ("spo2_low", AMBER, minute(since / 60))


def test_a_late_sample_completes_a_red_that_is_over() -> None:
    live = [*seconds(10, 14, 91), *seconds(15, 17, 98)]
    assert raised(run(*live)) == []
    (found,) = said(run(*live, late_by(17.5, 9, 91)))
    assert (found.tier, found.since, found.at, found.late) == (RED, minute(9 / 60), minute(14 / 60), True)


def test_a_late_sample_joins_the_run_that_is_going_on() -> None:
    live = [*samples("spo2", [98]), *samples("spo2", [93] * 10, start=10 / 60)]
    late = replace(reading(4 / 60, source=Source.STREAM, spo2=93), recorded_at=minute(19.5 / 60))
    rest = samples("spo2", [93], start=20 / 60)
    assert raised(run(*live, *rest)) == []
    assert raised(run(*live, late, *rest)) == [("spo2_low", AMBER)]
    breaking = replace(late, spo2=q("99 %"))
    assert raised(run(*live, breaking, *rest)) == []


# --- Silence ----------------------------------------------------------------------------------------------------------


def with_stream(*entries: Reading | Event, until: float) -> AlertState:
    """A saturation of 98 every 30 s beside the entries, so that only the pressure can be missing."""
    beats = [reading(i / 2, source=Source.STREAM, spo2=98) for i in range(int(until * 2) + 1)]
    return run(*entries, *beats, until=until)


@pytest.mark.parametrize(
    ("until", "expected"),
    [
        (12, []),
        (12.01, [AMBER]),
        (15, [AMBER]),
        (15.01, [AMBER, RED]),
        (20, [AMBER, RED]),
        (20.01, [AMBER, RED, STOP]),
        (60, [AMBER, RED, STOP]),
    ],
)
def test_pressure_gap_during_infusion(until: float, expected: list[Tier]) -> None:
    assert [a.tier for a in with_stream(until=until).alerts] == expected
    after = with_stream(reading(10, sbp=130, dbp=80), until=10 + until)
    assert [(a.family, a.tier) for a in after.alerts] == [("bp_gap", t) for t in expected]


@pytest.mark.parametrize(
    ("until", "expected"),
    [
        (18, []),
        (18.01, [AMBER]),
        (22.5, [AMBER]),
        (22.51, [AMBER, RED]),
        (30, [AMBER, RED]),
        (30.01, [AMBER, RED, STOP]),
    ],
)
def test_pressure_gap_in_recovery(until: float, expected: list[Tier]) -> None:
    end = event(10, EventKind.INFUSION_ENDED)
    state = with_stream(reading(10, sbp=130, dbp=80), end, until=10 + until)
    assert [a.tier for a in state.alerts] == expected


def test_a_gap_alert_says_when_it_became_due_and_stays_open() -> None:
    state = with_stream(reading(13, sbp=130, dbp=80), until=14)
    (found,) = state.alerts
    assert (found.family, found.at, found.raised_at) == ("bp_gap", minute(12), minute(12))
    assert state.open == {"bp_gap": AMBER}


def test_a_resolved_gap_is_not_raised_again_for_the_same_silence_but_rises() -> None:
    done = event(13, EventKind.RESOLVED, family="bp_gap", role="nurse")
    state = with_stream(done, until=15.01)
    assert [a.tier for a in state.alerts] == [AMBER, RED]
    assert [a.tier for a in with_stream(done, reading(14, sbp=130, dbp=80), until=26.01).alerts] == [AMBER, AMBER]


@pytest.mark.parametrize(("seconds", "expected"), [(59.9, []), (60, [RED]), (299.9, [RED]), (300, [RED, STOP])])
def test_saturation_gap(seconds: float, expected: list[Tier]) -> None:
    assert [a.tier for a in run(until=seconds / 60).alerts] == expected
    late = run(reading(1 / 60, source=Source.STREAM, spo2=98), until=(seconds + 1) / 60)
    assert [(a.family, a.tier) for a in late.alerts] == [("spo2_gap", t) for t in expected]


def test_a_missing_or_nan_saturation_does_not_fill_the_gap() -> None:
    assert [a.tier for a in run(*samples("spo2", [98] + [None] * 60)).alerts] == [RED]
    assert silent(run(*samples("heart_rate", [70] * 61))) == [("spo2_gap", RED)]


def test_a_sample_at_the_sixtieth_second_is_in_time() -> None:
    assert silent(run(reading(0, source=Source.STREAM, spo2=98), reading(1, source=Source.STREAM, spo2=98))) == []


@pytest.mark.parametrize(("minutes", "expected"), [(4.99, []), (5, [RED]), (8.99, [RED]), (9, [RED, STOP])])
def test_a_typed_saturation_covers_five_minutes(minutes: float, expected: list[Tier]) -> None:
    assert [a.tier for a in run(reading(0, spo2=98), until=minutes).alerts] == expected


def test_saturation_stays_continuous_until_awake_on_two_sets_after_the_end() -> None:
    end = event(1, EventKind.INFUSION_ENDED)
    beats = [reading(i / 2, source=Source.STREAM, spo2=98) for i in range(9)]
    awake = [reading(2, moaa_s=5), reading(3, moaa_s=5)]
    assert silent(run(end, *beats, *awake, until=10)) == []
    assert silent(run(end, *beats, awake[0], until=10)) == [("spo2_gap", RED), ("spo2_gap", STOP)]
    drowsy = reading(3.5, moaa_s=3)
    assert ("spo2_gap", RED) in silent(run(end, *beats, *awake, drowsy, until=10))
    at_the_end = [reading(1, moaa_s=5), awake[0]]
    assert silent(run(end, *beats, *at_the_end, until=10)) == []
    drowsy_first = [reading(2, moaa_s=3), awake[1]]
    assert ("spo2_gap", RED) in silent(run(end, *beats, *drowsy_first, until=10)), "one set after a drowsy one is one"
    before_the_end = [reading(0.2, moaa_s=5), reading(0.4, moaa_s=5)]
    assert ("spo2_gap", RED) in silent(run(*before_the_end, end, *beats, until=10))


def test_what_one_silence_raises_comes_in_the_order_in_which_it_became_due() -> None:
    found = run(reading(1, sbp=182, dbp=90, spo2=98), until=20).alerts
    assert [(a.at, a.family, a.tier) for a in found] == [
        (minute(1), "sbp_high", RED),
        (minute(6), "bp_recheck", STOP),
        (minute(6), "spo2_gap", RED),
        (minute(10), "spo2_gap", STOP),
        (minute(13), "bp_gap", AMBER),
        (minute(16), "bp_gap", RED),
    ]
    at_once = {**RULES.values, "gap.spo2.STOP": replace(RULES.values["gap.spo2.RED"], key="gap.spo2.STOP")}
    state = fold(begin(T0, vitals(), replace(RULES, values=at_once)), [], minute(1), replace(RULES, values=at_once))
    assert isinstance(state, AlertState)
    assert silent(state) == [("spo2_gap", RED), ("spo2_gap", STOP)]


def test_a_closed_session_is_no_longer_silent() -> None:
    assert silent(run(reading(0.5, spo2=98), event(1, EventKind.SESSION_CLOSED), until=60)) == []


# --- The fold ---------------------------------------------------------------------------------------------------------


def test_an_entry_delivered_twice_changes_nothing() -> None:
    first, last = reading(1, heart_rate=112), reading(2, heart_rate=131)
    state = run(first, last)
    for known in (first, last):
        again = step(state, known, RULES)
        assert isinstance(again, tuple)
        assert again[1] == ()
        assert again[0] is state, "not even its log grows"


def test_what_was_recorded_before_the_clock_but_comes_after_it_is_judged_as_if_it_had_come_in_time() -> None:
    """The silence that was seen meanwhile was none; the time that has passed stays passed."""
    pressure = reading(10, sbp=130, dbp=80)
    waiting, told = advance(begin(T0, vitals(heart_rate=72), RULES), minute(13), RULES)
    assert "bp_gap" in [a.family for a in told]
    result = step(waiting, pressure, RULES)
    assert isinstance(result, tuple)
    in_time = run(pressure, until=13)
    assert result[0].alerts == in_time.alerts
    assert result[0].clock == minute(13)
    later, more = advance(result[0], minute(22.1), RULES)
    assert [a.family for a in more if a.family == "bp_gap"] == ["bp_gap"]
    assert later.alerts == run(pressure, until=22.1).alerts


def test_a_value_of_the_last_instant_of_a_session_still_belongs_to_it() -> None:
    state = run(reading(10, sbp=130, dbp=80), event(20, EventKind.SESSION_CLOSED))
    assert isinstance(step(state, reading(20, recorded=26, spo2=97), RULES), tuple)
    assert isinstance(step(state, reading(20.01, recorded=26, spo2=97), RULES), Rejected)
    (found,) = said(run(event(20, EventKind.SESSION_CLOSED), reading(20, heart_rate=131)))
    assert not found.after_session


def test_a_value_without_a_symptom_is_no_symptom_beside_a_red_pressure() -> None:
    assert raised(run(reading(1, sbp=182, dbp=80), reading(2, heart_rate=80))) == [("sbp_high", RED)]
    symptom = reading(2, symptoms=frozenset({"nausea"}))
    assert ("sbp_high", STOP) in raised(run(reading(1, sbp=182, dbp=80), symptom))


def test_two_values_of_one_instant_are_both_judged() -> None:
    """The second is not older than the first."""
    assert raised(run(reading(1, heart_rate=80), reading(1, recorded=1.1, heart_rate=112))) == [("heart_rate_high", AMBER)]


def test_step_gives_exactly_what_is_new_and_does_not_touch_its_input() -> None:
    state = begin(T0, vitals(), RULES)
    before = repr(state)
    result = step(state, reading(1, heart_rate=112), RULES)
    assert isinstance(result, tuple)
    assert [a.family for a in result[1]] == ["heart_rate_high", "spo2_gap"]
    assert repr(state) == before
    assert advance(result[0], minute(0.5), RULES) == (result[0], ())


stream_values = st.sampled_from([98, 95, 94, 93, 91, 90, 88, 87, None])
entries = st.lists(
    st.one_of(
        st.builds(
            lambda at, lag, v: reading(at / 60, recorded=(at + lag) / 60, source=Source.STREAM, spo2=v),
            st.integers(0, 600), st.sampled_from([0, 0, 0, 1, 40, 400]), stream_values,
        ),
        st.builds(
            lambda at, lag, s, d: reading(at / 60, recorded=(at + lag) / 60, sbp=s, dbp=d),
            st.integers(0, 1500), st.sampled_from([0, 0, 25, 400]), st.sampled_from([85, 97, 130, 158, 170, 182]), st.sampled_from([70, 100, 112, 121]),
        ),
        st.builds(
            lambda at, lag, h, m: reading(at / 60, recorded=(at + lag) / 60, heart_rate=h, moaa_s=m),
            st.integers(0, 1500), st.sampled_from([0, 30, 400]), st.sampled_from([40, 72, 112, 131]), st.sampled_from([5, 4, 2, 1]),
        ),
        st.builds(lambda at: reading(at / 60, symptoms=frozenset({"nausea"})), st.integers(0, 1500)),
        st.builds(lambda at: event(at / 60, EventKind.INFUSION_ENDED), st.integers(600, 900)),
    ),
    min_size=1,
    max_size=14,
)  # fmt: skip


@settings(max_examples=120, deadline=None)
@given(entries, st.randoms(use_true_random=False))
def test_any_order_of_arrival_gives_the_same_alerts_once_all_are_in(given_: list[Reading | Event], chance: Any) -> None:
    in_order = run(*given_, until=35)
    shuffled = given_[:]
    chance.shuffle(shuffled)
    state = begin(T0, vitals(heart_rate=72), RULES)
    told: set[str] = set()
    for entry in shuffled:
        result = step(state, entry, RULES)
        assert isinstance(result, tuple)
        state = result[0]
        told |= {a.id for a in result[1]}
    state, last = advance(state, minute(35), RULES)
    told |= {a.id for a in last}
    assert state.alerts == in_order.alerts
    assert state.open == in_order.open
    # Whatever the state holds in the end was also given to the caller at some step.
    assert {a.id for a in state.alerts} <= told


@settings(max_examples=200, deadline=None)
@given(entries, st.integers(0, 12))
def test_a_fold_that_was_kept_goes_on_as_if_it_had_never_stopped(given_: list[Reading | Event], cut: int) -> None:
    begun = begin(T0, vitals(heart_rate=72), RULES)
    log = sorted(given_, key=order)
    before, after = log[:cut], log[cut:]
    first = fold(begun, before, before[-1].recorded_at if before else T0, RULES)
    assert isinstance(first, AlertState)
    resumed = resume(begun, json.loads(json.dumps(kept(first))))
    try:
        on = fold(resumed, after, minute(35), RULES)
    except LookupError:
        assert not continues(resumed, after, RULES), "what needs the log before it is known before"
        return
    whole = fold(begun, log, minute(35), RULES)
    assert isinstance(on, AlertState)
    assert isinstance(whole, AlertState)
    assert (*first.alerts, *on.alerts) == whole.alerts
    assert kept(on) == kept(whole)


def test_what_a_kept_fold_cannot_judge_alone_is_known_before() -> None:
    begun = begin(T0, vitals(), RULES)
    first = run(*(reading(at, source=Source.STREAM, spo2=98) for at in (1, 2)), baseline=vitals())
    resumed = resume(begun, kept(first))
    assert continues(resumed, [reading(3, source=Source.STREAM, spo2=90)], RULES)
    calm, low = (reading(1.5, recorded=3, source=Source.STREAM, spo2=value) for value in (98, 90))
    assert continues(resumed, [calm], RULES)
    assert not continues(resumed, [low], RULES), "it may complete a run of older samples"
    assert not continues(resumed, [low, calm], RULES)
    assert continues(resumed, [replace(low, source=Source.TYPED)], RULES)
    assert not continues(resumed, [reading(1.9, spo2=98)], RULES), "it was recorded before the last one"


WORSE = {
    "sbp": [(120, 200, 1), (97, 20, -1)],
    "dbp": [(70, 200, 1)],
    "heart_rate": [(80, 250, 1), (80, 0, -1)],
    "spo2": [(100, 0, -1)],
    "resp_rate": [(14, 0, -1), (14, 80, 1)],
    "moaa_s": [(5, 0, -1)],
    "cadss6": [(0, 24, 1)],
}


@pytest.mark.parametrize(("signal", "path"), [(s, p) for s, paths in WORSE.items() for p in paths])
@pytest.mark.parametrize("before", [{}, {"sbp": 182, "dbp": 112}, {"symptoms": frozenset({"nausea"})}])
def test_worse_vitals_never_lower_the_tier(signal: str, path: tuple[int, int, int], before: dict[str, Any]) -> None:
    last = -1
    start, end, sign = path
    for value in range(start, end + sign, sign):
        values: dict[str, Any] = {signal: value}
        if signal == "sbp":
            values["dbp"] = 60
        state = run(*([reading(0.1, **before)] if before else []), reading(0.9, **values))
        found = [a for a in state.alerts if a.at == minute(0.9)]
        tier = max((int(a.tier) for a in found), default=0)
        assert tier >= last, (signal, value)
        last = tier
    assert last > 0


@settings(max_examples=100)
@given(st.integers(60, 230), st.integers(0, 60), st.integers(30, 140), st.integers(0, 40))
def test_a_higher_pressure_never_lowers_the_tier(sbp: int, more: int, dbp: int, also: int) -> None:
    def worst(s: int, diastolic: int) -> int:
        families = {"sbp_high", "dbp_high"}
        return max((int(a.tier) for a in run(reading(1, sbp=s, dbp=diastolic)).alerts if a.family in families), default=0)

    assert worst(sbp + more, dbp + also) >= worst(sbp, dbp)


def test_as_a_part_it_replays_a_session_with_evidence() -> None:
    case = AlertCase(
        at=wall("2027-01-25T10:31"), start=T0, baseline=vitals(), readings=(reading(0.5, heart_rate=131, spo2=98),)
    )
    found = alerts(case, RULES)
    assert isinstance(found, Evaluation)
    assert found.outcome is Outcome.REVIEW
    assert found.result is not None
    assert isinstance(found.result[0], Alert)
    calm = replace(case, readings=(reading(0.5, heart_rate=72, spo2=98),))
    quiet = alerts(calm, RULES)
    assert isinstance(quiet, Evaluation)
    assert quiet.outcome is Outcome.ROUTINE
    unknown = alerts(replace(calm, baseline=None), RULES)
    assert isinstance(unknown, Evaluation)
    assert unknown.outcome is Outcome.REVIEW
    amber = reading(0.6, resp_rate=10)
    done = {
        family: event(0.8, EventKind.RESOLVED, family=family, role="prescriber")
        for family in ("heart_rate_high", "resp_rate_low")
    }
    settled = replace(case, readings=(*case.readings, amber), events=tuple(done.values()))
    was_red = alerts(settled, RULES)
    assert isinstance(was_red, Evaluation)
    assert was_red.outcome is Outcome.REVIEW, "a RED is reviewed, also when nothing is open any more"
    was_amber = alerts(replace(calm, readings=(*calm.readings, amber), events=(done["resp_rate_low"],)), RULES)
    assert isinstance(was_amber, Evaluation)
    assert was_amber.outcome is Outcome.ROUTINE
    impossible = alerts(replace(calm, readings=(reading(0.5, spo2=101),)), RULES)
    assert isinstance(impossible, Rejected)


def test_the_next_silence_is_exactly_when_silence_raises_the_next_alert() -> None:
    """A caller that waits until then, and looks, finds it; a moment before there is nothing."""
    state = begin(T0, vitals(), RULES)
    raised = []
    while (due := next_silence(state, RULES)) is not None:
        quiet, none = advance(state, due - dt.timedelta(microseconds=2), RULES)
        assert none == ()
        state, new = advance(quiet, due, RULES)
        assert new, "nothing was raised when it was due"
        raised += [(alert.family, alert.tier.name) for alert in new]
    assert sorted(raised) == [
        ("bp_gap", "AMBER"), ("bp_gap", "RED"), ("bp_gap", "STOP"), ("spo2_gap", "RED"), ("spo2_gap", "STOP"),
    ]  # fmt: skip
