"""Ketamine: dose of the day, calendars, plan. Never above plan, cap or hard limit; never inside gap or cap."""

import datetime as dt
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from schemas.values import Moment, zone_of
from services.therapies.body import Sex, adjusted_weight, bmi_shown, ideal_weight
from services.therapies.evidence import Evaluation, Outcome, Rejected
from services.therapies.ketamine.dosing import Basis, Dose, DosePlan, check_plan, dose_of_the_day
from services.therapies.ketamine.schedule import (
    MaintenanceCase,
    PlanCase,
    ScheduleCase,
    check_series,
    maintenance,
    plan,
    schedule,
)
from tests.support.ketamine_cases import PLAN, START, dose_case
from tests.support.rules import NEW_YORK, d, local, q, rules, seen, wall

RULES = rules("ketamine")


def dose(**changes: Any) -> Dose:
    found = dose_of_the_day(dose_case(**changes), RULES)
    assert isinstance(found, Evaluation)
    assert found.result is not None, found.missing
    assert found.outcome is Outcome.PROPOSED
    return found.result


def codes(**changes: Any) -> set[str]:
    found = dose_of_the_day(dose_case(**changes), RULES)
    if isinstance(found, Rejected):
        return {p.code for p in found.problems}
    assert found.result is None or not found.missing
    return {p.code for p in found.missing}


def test_v_d1() -> None:
    found = dose()
    assert (found.mass, found.volume) == (q("41.0 mg"), q("0.82 mL"))
    assert found.mass_per_hour == q("61.5 mg/h")
    assert found.mass_per_minute == q("1.025 mg/min")
    assert found.pump_rate == q("150 mL/h")
    assert found.concentration == q("0.41 mg/mL")


def test_demo_sessions_two_to_six() -> None:
    found = dose(plan=replace(PLAN, duration=q("50 min")))
    assert (found.pump_rate, found.mass_per_minute) == (q("120 mL/h"), q("0.82 mg/min"))
    assert found.mass_per_hour == q("49.2 mg/h")


def test_v_d3() -> None:
    assert dose(weight="70.0 kg").mass == q("35.0 mg")


def test_pounds_are_converted_exactly() -> None:
    found = dose(weight="180.0 [lb_av]")  # 81.6466266 kg
    assert found.ordered.value == Decimal("40.82331330")
    assert (found.volume, found.mass) == (q("0.81 mL"), q("40.5 mg"))


def test_volume_is_rounded_down_and_mass_follows() -> None:
    found = dose(weight="83.9 kg")  # 41.95 mg = 0.839 mL
    assert (found.volume, found.mass, found.ordered) == (q("0.83 mL"), q("41.5 mg"), q("41.95 mg"))


@pytest.mark.parametrize(
    ("row", "changes", "code"),
    [
        ("V-D4", {"plan": replace(PLAN, dose=q("1.1 mg/kg"))}, "above-hard-maximum"),
        ("just above", {"plan": replace(PLAN, dose=q("1.001 mg/kg"))}, "above-hard-maximum"),
        ("too little", {"plan": replace(PLAN, dose=q("0.099 mg/kg"))}, "below-minimum"),
        ("V-D5", {"plan": replace(PLAN, duration=q("20 min"))}, "needs-override"),
        ("39 min", {"plan": replace(PLAN, duration=q("39 min"))}, "needs-override"),
        ("61 min", {"plan": replace(PLAN, duration=q("61 min"))}, "needs-override"),
        ("blank override", {"plan": replace(PLAN, duration=q("20 min"), duration_override=" ")}, "needs-override"),
        ("no time at all", {"plan": replace(PLAN, duration=q("0 min"), duration_override="x")}, "invalid"),
        ("V-D6", {"strength": q("100 mg/mL"), "bag": None}, "undiluted"),
        ("no bag", {"bag": None}, "missing"),
        ("empty bag", {"bag": q("0 mL")}, "invalid"),
        ("too concentrated", {"bag": q("20.4 mL")}, "too-concentrated"),
        ("unknown stock", {"strength": q("25 mg/mL")}, "unknown-strength"),
        ("step up", {"plan": replace(PLAN, previous_dose=q("0.24 mg/kg"), step_reason="partial")}, "step-too-large"),
        ("no reason", {"plan": replace(PLAN, previous_dose=q("0.4 mg/kg"))}, "needs-reason"),
        ("zero cap", {"plan": replace(PLAN, cap=q("0 mg"))}, "invalid"),
        ("no weight", {"weight": None}, "missing"),
        ("yesterday's weight", {"weight": seen("82.0 kg", local("2027-01-24T10:17"))}, "stale"),
        ("tomorrow's weight", {"weight": seen("82.0 kg", START.at + dt.timedelta(seconds=1))}, "stale"),
        ("implausible", {"weight": seen("29.9 kg", START.at)}, "implausible"),
        ("pounds typed as kg", {"weight": seen("400 kg", START.at)}, "implausible"),
        ("V-D10", {"last_weight": q("93.2 kg"), "weight_confirmed": True}, "remeasure"),
        ("6 % unconfirmed", {"last_weight": q("87.3 kg")}, "confirm"),
        ("intake disagrees", {"intake_weight": q("78.0 kg")}, "remeasure"),
        ("62 kg patient, 82 typed", {"intake_weight": q("62.0 kg")}, "remeasure"),
        ("ideal weight without height", {"plan": replace(PLAN, basis=Basis.IDEAL)}, "missing"),
    ],
)
def test_what_stops_a_dose(row: str, changes: dict[str, Any], code: str) -> None:
    if isinstance(changes.get("weight"), str) or "weight" not in changes:
        assert code in codes(**changes), row
        return
    found = dose_of_the_day(replace(dose_case(), **changes), RULES)
    problems = found.problems if isinstance(found, Rejected) else found.missing
    assert code in {p.code for p in problems}, row


@pytest.mark.parametrize(
    "changes",
    [
        {"plan": replace(PLAN, dose=q("1.0 mg/kg")), "bag": q("100 mL")},
        {"plan": replace(PLAN, dose=q("0.1 mg/kg"))},
        {"plan": replace(PLAN, duration=q("60 min"))},
        {"plan": replace(PLAN, duration=q("1 h"))},
        {"plan": replace(PLAN, duration=q("20 min"), duration_override="prescriber: tolerated before")},
        {"bag": q("20.5 mL")},
        {"plan": replace(PLAN, previous_dose=q("0.25 mg/kg"), step_reason="partial response")},
        {"plan": replace(PLAN, previous_dose=q("1.0 mg/kg"), step_reason="sedation")},
        {"last_weight": q("91.2 kg"), "weight_remeasured": True, "weight_confirmed": True},
        {"last_weight": q("86.3 kg")},  # 4.98 %
        {"last_weight": q("80.0 kg")},
        {"intake_weight": q("86.3 kg")},
        {"intake_weight": q("78.0 kg"), "weight_remeasured": True},
        {"strength": q("100 mg/mL")},
        {"strength": q("10 mg/mL")},
    ],
)
def test_what_does_not(changes: dict[str, Any]) -> None:
    dose(**changes)


@pytest.mark.parametrize(
    ("last", "expected"),
    [("82.0 kg", set()), ("80.0 kg", {"confirm"}), ("100.0 kg", {"confirm"}), ("76.36 kg", {"confirm", "remeasure"})],
)
def test_weight_change_limits_are_strict(last: str, expected: set[str]) -> None:
    """84.0 against 80.0 is exactly 5 %: allowed; 84.1 is not. 90 against 100 is exactly 10 %."""
    weight = {"82.0 kg": "86.1 kg", "80.0 kg": "84.1 kg", "100.0 kg": "90.0 kg", "76.36 kg": "84.0 kg"}[last]
    assert codes(weight=weight, last_weight=q(last)) >= expected
    if not expected:
        assert dose(weight=weight, last_weight=q(last)).mass == q("43.0 mg")
    assert ("remeasure" in codes(weight=weight, last_weight=q(last))) is ("remeasure" in expected)


def test_cap_of_the_plan() -> None:
    found = dose(weight="150.0 kg", plan=replace(PLAN, cap=q("60 mg")))
    assert (found.mass, found.capped) == (q("60 mg"), True)
    assert dose(weight="120.0 kg", plan=replace(PLAN, cap=q("60 mg"))).capped is False


def test_v_d8_ideal_and_adjusted_weight() -> None:
    height = q("180 cm")
    assert round(ideal_weight(height, Sex.MALE, RULES), 1) == Fraction("75.0")
    assert round(adjusted_weight(q("150 kg"), height, Sex.MALE, RULES), 1) == Fraction("105.0")
    found = dose(weight="150.0 kg", plan=replace(PLAN, basis=Basis.ADJUSTED), height=height, sex_at_birth=Sex.MALE)
    assert (found.dosing_weight, found.mass) == (q("105.0 kg"), q("52.5 mg"))
    found = dose(weight="150.0 kg", plan=replace(PLAN, basis=Basis.IDEAL), height=height, sex_at_birth=Sex.FEMALE)
    assert found.dosing_weight == q("70.5 kg")


def test_ideal_weight_above_the_actual_stays_under_the_hard_limit() -> None:
    case = dose_case(
        "50.0 kg", replace(PLAN, dose=q("1.0 mg/kg"), basis=Basis.IDEAL), height=q("190 cm"), sex_at_birth=Sex.MALE
    )
    found = dose_of_the_day(case, RULES)
    assert isinstance(found, Rejected)
    assert found.problems[0].code == "above-hard-maximum"


def test_body_mass_index_is_shown() -> None:
    assert bmi_shown(q("82.0 kg"), q("168.0 cm")) == d("29.05")
    assert bmi_shown(q("92.0 kg"), q("175 cm")) == d("30.04")
    assert bmi_shown(q("82.0 kg"), q("174 cm")) == d("27.08")
    assert dose(height=q("168.0 cm")).bmi == d("29.05")


doses = st.decimals(Decimal("0.05"), Decimal("1.3"), places=3)
weights = st.decimals(Decimal("25"), Decimal("310"), places=1)


@settings(max_examples=200)
@given(
    per_kg=doses,
    weight=weights,
    basis=st.sampled_from(Basis),
    cap=st.one_of(st.none(), st.decimals(Decimal("1"), Decimal("200"), places=1)),
    minutes=st.integers(30, 70),
    strength=st.sampled_from(["10 mg/mL", "50 mg/mL", "100 mg/mL"]),
    bag=st.decimals(Decimal("10"), Decimal("500"), places=0),
    height=st.decimals(Decimal("125"), Decimal("220"), places=1),
    sex=st.sampled_from(Sex),
)
def test_a_dose_never_exceeds_plan_cap_or_hard_limit(
    per_kg: Decimal, weight: Decimal, basis: Basis, cap: Decimal | None, minutes: int, strength: str, bag: Decimal,
    height: Decimal, sex: Sex,
) -> None:  # fmt: skip
    order = DosePlan(
        dose=q(f"{per_kg} mg/kg"),
        basis=basis,
        duration=q(f"{minutes} min"),
        cap=q(f"{cap} mg") if cap is not None else None,
    )
    case = dose_case(
        f"{weight} kg", order, strength=q(strength), bag=q(f"{bag} mL"), height=q(f"{height} cm"), sex_at_birth=sex
    )
    found = dose_of_the_day(case, RULES)
    if isinstance(found, Rejected) or found.result is None:
        return
    result = found.result
    mass, basis_kg = Fraction(result.mass.value), Fraction(result.dosing_weight.value)
    assert mass <= Fraction(per_kg) * basis_kg
    assert mass <= Fraction(weight)  # 1.0 mg per kg of actual weight
    assert cap is None or mass <= Fraction(cap)
    assert result.mass.value == result.volume.value * q(strength).value
    assert mass / Fraction(bag) <= 2
    assert 40 <= minutes <= 60
    assert 30 <= weight <= 300
    # Rounding down loses less than one step of volume.
    assert Fraction(result.ordered.value) - mass < Fraction("0.01") * Fraction(q(strength).value)
    # The pump does not run faster than the plan.
    assert Fraction(result.pump_rate.value) * minutes <= Fraction(bag) * 60


# --- Calendars --------------------------------------------------------------------------------------------------------


def series(**changes: Any) -> tuple[Moment, ...]:
    base: dict[str, Any] = {
        "at": wall("2027-01-21T16:00"), "first": dt.date(2027, 1, 25), "time": dt.time(10, 30), "weekdays": (1, 3, 5),
    }  # fmt: skip
    found = schedule(ScheduleCase(**base | changes), RULES)
    assert isinstance(found, Evaluation), found
    assert found.result is not None
    return found.result


def test_induction_of_the_demo() -> None:
    assert [m.date.isoformat() for m in series()] == [
        "2027-01-25", "2027-01-27", "2027-01-29", "2027-02-01", "2027-02-03", "2027-02-05",
    ]  # fmt: skip
    assert series()[0].at == dt.datetime(2027, 1, 25, 15, 30, tzinfo=dt.UTC)


def test_two_a_week_for_three_weeks() -> None:
    assert [m.date.isoformat() for m in series(weekdays=(2, 5))] == [
        "2027-01-26", "2027-01-29", "2027-02-02", "2027-02-05", "2027-02-09", "2027-02-12",
    ]  # fmt: skip


def test_three_days_in_a_row_are_spread_by_the_gap() -> None:
    assert [m.date.isoformat() for m in series(weekdays=(1, 2, 3))][:4] == [
        "2027-01-25",
        "2027-01-27",
        "2027-02-01",
        "2027-02-03",
    ]


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"weekdays": (1,)}, "weekdays"), ({"weekdays": (1, 3, 5, 6)}, "weekdays"), ({"weekdays": (0, 3)}, "weekdays"),
     ({"first": dt.date(2027, 1, 20)}, "first"), ({"count": 0}, "count")],
)  # fmt: skip
def test_a_series_that_cannot_be(changes: dict[str, Any], field: str) -> None:
    base: dict[str, Any] = {
        "at": wall("2027-01-21T16:00"), "first": dt.date(2027, 1, 25), "time": dt.time(10, 30), "weekdays": (1, 3, 5),
    }  # fmt: skip
    found = schedule(ScheduleCase(**base | changes), RULES)
    assert isinstance(found, Rejected)
    assert found.problems[0].field == field


@pytest.mark.parametrize(
    ("starts", "codes_"),
    [
        (["2027-01-25T10:30", "2027-01-26T22:30"], set()),  # exactly 36 h
        (["2027-01-25T10:30", "2027-01-26T22:29"], {"gap"}),
        (["2027-03-13T12:00", "2027-03-15T00:00"], {"gap"}),  # 35 h elapsed over the spring change
        (["2027-03-13T11:00", "2027-03-15T00:00"], set()),
        (["2027-11-06T12:00", "2027-11-07T23:00"], set()),  # 36 h elapsed over the autumn change
        (["2027-01-25T10:00", "2027-01-27T10:00", "2027-01-29T10:00", "2027-01-31T10:00"], {"cap"}),
        (["2027-01-25T10:00", "2027-01-27T10:00", "2027-01-29T10:00", "2027-02-01T08:00"], set()),
        (["2028-02-26T10:00", "2028-02-28T10:00", "2028-03-01T10:00", "2028-03-03T10:00"], {"cap"}),
        (["2028-02-26T10:00", "2028-02-28T10:00", "2028-03-01T10:00", "2028-03-04T10:00"], set()),
    ],
)
def test_gap_and_cap_at_their_boundaries(starts: list[str], codes_: set[str]) -> None:
    assert {p.code for p in check_series([wall(s) for s in starts], NEW_YORK, RULES)} == codes_


ZONES = ["America/New_York", "America/Los_Angeles", "America/Phoenix", "Europe/London", "Australia/Lord_Howe", "UTC"]


@settings(max_examples=80)
@given(
    first=st.dates(dt.date(2027, 1, 1), dt.date(2029, 12, 31)),
    time=st.times(dt.time(6), dt.time(20)),
    weekdays=st.sets(st.integers(1, 7), min_size=2, max_size=3),
    zone=st.sampled_from(ZONES),
    earlier=st.lists(st.integers(-15, 10), max_size=3),
)
def test_a_calendar_never_breaks_gap_or_cap(
    first: dt.date, time: dt.time, weekdays: set[int], zone: str, earlier: list[int]
) -> None:
    before = tuple(wall((first + dt.timedelta(days=n)).isoformat() + "T12:00", zone) for n in earlier)
    assume(not check_series(before, zone, RULES))
    case = ScheduleCase(
        at=wall((first - dt.timedelta(days=1)).isoformat() + "T12:00", zone), first=first, time=time,
        weekdays=tuple(sorted(weekdays)), earlier=before,
    )  # fmt: skip
    found = schedule(case, RULES)
    assert isinstance(found, Evaluation)
    assert found.result is not None
    instants = sorted([m.at for m in before] + [m.at for m in found.result])
    assert all(b - a >= dt.timedelta(hours=36) for a, b in pairwise(instants))
    dates = [i.astimezone(zone_of(zone)).date() for i in instants]
    for day in dates:
        assert sum(day <= other < day + dt.timedelta(days=7) for other in dates) <= 3
    assert len(found.result) == 6
    assert {m.date.isoweekday() for m in found.result} <= weekdays


def keep(**changes: Any) -> MaintenanceCase:
    base: dict[str, Any] = {
        "at": wall("2027-02-12T10:00"), "last": wall("2027-03-09T10:30"), "time": dt.time(10, 30), "responded": True,
        "interval_weeks": 1, "weekly_given": 0,
    }  # fmt: skip
    return MaintenanceCase(**base | changes)


def test_maintenance_keeps_the_wall_clock_over_the_spring_change() -> None:
    found = maintenance(keep(), RULES)
    assert isinstance(found, Evaluation)
    assert found.result == wall("2027-03-16T10:30")
    assert found.result.at == dt.datetime(2027, 3, 16, 14, 30, tzinfo=dt.UTC)


@pytest.mark.parametrize(("weeks", "given_", "ok"), [(2, 3, False), (2, 4, True), (3, 4, True), (4, 4, True), (5, 4, False)])
def test_longer_intervals_after_four_weekly_ones(weeks: int, given_: int, ok: bool) -> None:
    assert isinstance(maintenance(keep(interval_weeks=weeks, weekly_given=given_), RULES), Evaluation) is ok


@pytest.mark.parametrize("responded", [False, None])
def test_no_maintenance_without_a_response(responded: bool | None) -> None:
    found = maintenance(keep(responded=responded), RULES)
    assert isinstance(found, Evaluation)
    assert (found.outcome, found.result) == (Outcome.HOLD, None)


def plan_case(**changes: Any) -> PlanCase:
    base: dict[str, Any] = {
        "at": wall("2027-01-21T16:00"), "eligibility": Outcome.REVIEW_REQUIRED, "eligibility_signed": True,
        "eligibility_valid_until": dt.date(2027, 2, 20), "in_person_evaluation": local("2027-01-21T10:00"),
        "consent_current": True, "plan": PLAN,
    }  # fmt: skip
    return PlanCase(**base | changes)


def test_a_plan_is_proposed_only_on_signed_eligibility_in_person_and_consent() -> None:
    found = plan(plan_case(), RULES)
    assert isinstance(found, Evaluation)
    assert found.outcome is Outcome.PROPOSED
    for changes in (
        {"eligibility": None}, {"eligibility": Outcome.INCOMPLETE}, {"eligibility_signed": None}, {"consent_current": None},
        {"eligibility_valid_until": dt.date(2027, 1, 20)}, {"eligibility_valid_until": None}, {"in_person_evaluation": None},
        {"in_person_evaluation": local("2027-01-22T10:00")},
    ):  # fmt: skip
        found = plan(plan_case(**changes), RULES)
        assert isinstance(found, Evaluation)
        assert found.outcome is Outcome.REVIEW, changes
    assert isinstance(plan(plan_case(eligibility=Outcome.INELIGIBLE), RULES), Rejected)
    assert isinstance(plan(plan_case(plan=replace(PLAN, dose=q("1.1 mg/kg"))), RULES), Rejected)


def test_what_is_small_is_not_nothing() -> None:
    """A cap of 1 mg, a minute and 1 mL are odd, and are asked about elsewhere; none of them is "not above zero"."""

    def invalid(plan: DosePlan) -> set[str]:
        return {problem.field for problem in check_plan(plan, RULES) if problem.code == "invalid"}

    assert invalid(replace(PLAN, cap=q("1 mg"), duration=q("1 min"), duration_override="a short one")) == set()
    assert invalid(replace(PLAN, cap=q("0 mg"), duration=q("0 min"))) == {"plan.cap", "plan.duration"}
    found = dose_of_the_day(dose_case(bag=q("1 mL")), RULES)
    assert not isinstance(found, Rejected) or "bag" not in {one.field for one in found.problems if one.code == "invalid"}


@pytest.mark.parametrize(("height", "expected"), [("168.0 cm", "59.6 kg"), ("169.0 cm", "60.5 kg"), ("170.9 cm", "62.3 kg")])
def test_a_dosing_weight_is_rounded_to_the_nearest_step(height: str, expected: str) -> None:
    """45.5 kg + 2.3 kg for each inch above 60: 59.626, 60.531 and 62.252 kg."""
    case = dose_case(plan=replace(PLAN, basis=Basis.IDEAL), height=q(height), sex_at_birth=Sex.FEMALE)
    found = dose_of_the_day(case, RULES)
    assert isinstance(found, Evaluation)
    assert found.result is not None
    assert found.result.dosing_weight == q(expected)
