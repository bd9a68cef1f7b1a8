"""Semaglutide: eligibility, titration, missed doses, response. The calendar vectors are in the patient's zone."""

import datetime as dt
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.values import Quantity
from services.therapies.evidence import Evaluation, Outcome, Rejected
from services.therapies.semaglutide import (
    QUESTIONS,
    DoseCase,
    EligibilityCase,
    GivenDose,
    MissedCase,
    MissedDose,
    ResponseCase,
    ScheduleCase,
    Slot,
    dose,
    eligibility,
    missed_dose,
    response,
    schedule,
)
from tests.support.rules import q, rules, seen, wall

RULES = rules("semaglutide")
NOW = wall("2027-01-04T09:00")
DAY = NOW.at - dt.timedelta(days=2)


def person(**changes: Any) -> EligibilityCase:
    answers: dict[str, Any] = dict.fromkeys(QUESTIONS, False)
    case = EligibilityCase(
        at=NOW, birth_date=dt.date(1983, 6, 9), pregnancy_potential=False, weight=seen("92.0 kg", DAY), height=seen("175 cm", DAY),
        comorbidities=(), medications=(), hba1c=seen("5.4 %", DAY), egfr=seen("92 mL/min/{1.73_m2}", DAY), **answers,
    )  # fmt: skip
    return replace(case, **changes)


def outcome(**changes: Any) -> Outcome:
    return eligibility(person(**changes), RULES).outcome


@pytest.mark.parametrize(
    ("row", "changes", "expected"),
    [
        ("V-D15 BMI 30.04", {}, Outcome.ELIGIBLE),
        ("V-D17 BMI 27.08, hypertension", {"weight": seen("82.0 kg", DAY), "height": seen("174 cm", DAY), "comorbidities": ("Hypertension",)}, Outcome.ELIGIBLE),
        ("BMI 27.08 alone", {"weight": seen("82.0 kg", DAY), "height": seen("174 cm", DAY)}, Outcome.INELIGIBLE),
        ("BMI 27.08, unrelated", {"weight": seen("82.0 kg", DAY), "height": seen("174 cm", DAY), "comorbidities": ("gout",)}, Outcome.INELIGIBLE),
        ("BMI 27.08, unknown", {"weight": seen("82.0 kg", DAY), "height": seen("174 cm", DAY), "comorbidities": None}, Outcome.INCOMPLETE),
        ("BMI exactly 30", {"weight": seen("76.8 kg", DAY), "height": seen("160 cm", DAY)}, Outcome.ELIGIBLE),
        ("BMI just below 30", {"weight": seen("76.7 kg", DAY), "height": seen("160 cm", DAY)}, Outcome.INELIGIBLE),
        ("BMI exactly 27", {"weight": seen("69.12 kg", DAY), "height": seen("160 cm", DAY), "comorbidities": ("dyslipidaemia",)}, Outcome.ELIGIBLE),
        ("BMI just below 27", {"weight": seen("69.11 kg", DAY), "height": seen("160 cm", DAY), "comorbidities": ("dyslipidaemia",)}, Outcome.INELIGIBLE),
        ("BMI above 30, unknown conditions", {"comorbidities": None}, Outcome.ELIGIBLE),
        ("weight in pounds as kg", {"weight": seen("202.8 [lb_av]", DAY)}, Outcome.ELIGIBLE),
        ("implausible height", {"height": seen("1.75 cm", DAY)}, Outcome.INCOMPLETE),
        ("implausible body mass index", {"weight": seen("290 kg", DAY)}, Outcome.INCOMPLETE),
        ("old weight", {"weight": seen("92.0 kg", DAY - dt.timedelta(days=40))}, Outcome.INCOMPLETE),
        ("no weight", {"weight": None}, Outcome.INCOMPLETE),
        ("no height", {"height": None}, Outcome.INCOMPLETE),
        ("waist 250", {"waist": seen("250 cm", DAY)}, Outcome.ELIGIBLE),
        ("waist 251", {"waist": seen("251 cm", DAY)}, Outcome.INCOMPLETE),
        ("17 years", {"birth_date": dt.date(2009, 1, 5)}, Outcome.INELIGIBLE),
        ("18 today", {"birth_date": dt.date(2009, 1, 4)}, Outcome.ELIGIBLE),
        ("no birth date", {"birth_date": None}, Outcome.INCOMPLETE),
        ("stacked", {"medications": ("Tirzepatide",)}, Outcome.INELIGIBLE),
        ("unrelated medicine", {"medications": ("amlodipine",)}, Outcome.ELIGIBLE),
        ("medicines unknown", {"medications": None}, Outcome.INCOMPLETE),
        ("sedation planned", {"next_sedation": dt.date(2027, 1, 20)}, Outcome.REVIEW_REQUIRED),
        ("sedation long past", {"next_sedation": dt.date(2026, 1, 20)}, Outcome.ELIGIBLE),
        ("HbA1c 20", {"hba1c": seen("20.0 %", DAY)}, Outcome.ELIGIBLE),
        ("HbA1c 20.1", {"hba1c": seen("20.1 %", DAY)}, Outcome.INCOMPLETE),
        ("no HbA1c", {"hba1c": None}, Outcome.INCOMPLETE),
        ("old eGFR", {"egfr": seen("92 mL/min/{1.73_m2}", DAY - dt.timedelta(days=90))}, Outcome.INCOMPLETE),
        ("pregnant", {"hcg_positive": True}, Outcome.INELIGIBLE),
        ("potential unknown", {"pregnancy_potential": None}, Outcome.INCOMPLETE),
        ("potential, untested", {"pregnancy_potential": True, "planned_conception": False}, Outcome.INCOMPLETE),
        ("potential, tested", {"pregnancy_potential": True, "hcg_negative_at": DAY, "planned_conception": False}, Outcome.ELIGIBLE),
        ("test too old", {"pregnancy_potential": True, "hcg_negative_at": DAY - dt.timedelta(days=6), "planned_conception": False}, Outcome.INCOMPLETE),
        ("plans unknown", {"pregnancy_potential": True, "hcg_negative_at": DAY}, Outcome.INCOMPLETE),
        ("plans undated", {"pregnancy_potential": True, "hcg_negative_at": DAY, "planned_conception": True}, Outcome.INCOMPLETE),
        ("in two months", {"pregnancy_potential": True, "hcg_negative_at": DAY, "planned_conception": True, "planned_conception_date": dt.date(2027, 3, 4)}, Outcome.INELIGIBLE),
        ("a day later", {"pregnancy_potential": True, "hcg_negative_at": DAY, "planned_conception": True, "planned_conception_date": dt.date(2027, 3, 5)}, Outcome.ELIGIBLE),
    ],
)  # fmt: skip
def test_eligibility_rows(row: str, changes: dict[str, Any], expected: Outcome) -> None:
    assert outcome(**changes) is expected, row


ABSOLUTE = {
    "medullary_thyroid_carcinoma", "men2", "semaglutide_hypersensitivity", "other_glp1", "eating_disorder_active",
    "pancreatitis_confirmed_on_glp1",
}  # fmt: skip


@pytest.mark.parametrize("question", sorted(QUESTIONS))
def test_each_question_yes_no_unknown(question: str) -> None:
    """V-S14 among them: family MTC yes is INELIGIBLE, unknown INCOMPLETE."""
    assert outcome(**{question: True}) is (Outcome.INELIGIBLE if question in ABSOLUTE else Outcome.REVIEW_REQUIRED)
    assert outcome(**{question: None}) is Outcome.INCOMPLETE


def test_body_mass_index_is_shown() -> None:
    assert eligibility(person(), RULES).result == Decimal("30.04")


# --- Calendar ---------------------------------------------------------------------------------------------------------


def slots(first: str, time: str = "08:00", ceiling: str = "2.4 mg", doses: int = 20) -> tuple[Slot, ...]:
    case = ScheduleCase(
        at=NOW, first=dt.date.fromisoformat(first), time=dt.time.fromisoformat(time), ceiling=q(ceiling), doses=doses
    )
    found = schedule(case, RULES)
    assert isinstance(found, Evaluation)
    assert found.result is not None
    return found.result


def test_v_s1_step_dates() -> None:
    first_of = {str(s.dose): s.at.date.isoformat() for s in reversed(slots("2027-01-04"))}
    assert first_of == {
        "0.25 mg": "2027-01-04", "0.5 mg": "2027-02-01", "1.0 mg": "2027-03-01", "1.7 mg": "2027-03-29", "2.4 mg": "2027-04-26",
    }  # fmt: skip
    assert [s.number for s in slots("2027-01-04") if s.dose == q("1.0 mg")] == [9, 10, 11, 12]


def test_v_s3_the_wall_clock_stays() -> None:
    at = {s.at.date.isoformat(): s.at.at for s in slots("2027-01-04")}
    assert at["2027-03-08"] == dt.datetime(2027, 3, 8, 13, tzinfo=dt.UTC)
    assert at["2027-03-15"] == dt.datetime(2027, 3, 15, 12, tzinfo=dt.UTC)


def test_the_ceiling_is_kept() -> None:
    assert max(s.dose for s in slots("2027-01-04", ceiling="1.7 mg", doses=52)) == q("1.7 mg")
    case = ScheduleCase(at=NOW, first=NOW.date, time=dt.time(8), ceiling=q("2.0 mg"), doses=4)
    assert isinstance(schedule(case, RULES), Rejected)
    assert isinstance(schedule(replace(case, ceiling=q("2.4 mg"), doses=0), RULES), Rejected)


@settings(max_examples=60)
@given(
    st.dates(dt.date(2027, 1, 1), dt.date(2032, 1, 1)),
    st.times(),
    st.sampled_from(["America/New_York", "Europe/London", "Australia/Lord_Howe", "America/Phoenix"]),
    st.sampled_from(["0.25 mg", "0.5 mg", "1.0 mg", "1.7 mg", "2.4 mg"]),
)
def test_a_calendar_never_skips_a_step_exceeds_the_ceiling_or_doubles_a_week(
    first: dt.date, time: dt.time, zone: str, ceiling: str
) -> None:
    case = ScheduleCase(at=wall("2026-12-31T00:00", zone), first=first, time=time, ceiling=q(ceiling), doses=60)
    found = schedule(case, RULES)
    assert isinstance(found, Evaluation)
    assert found.result is not None
    steps = ["0.25", "0.5", "1.0", "1.7", "2.4"]
    for a, b in pairwise(found.result):
        assert b.at.date - a.at.date == dt.timedelta(days=7)
        assert dt.timedelta(days=6, hours=23) <= b.at.at - a.at.at <= dt.timedelta(days=7, hours=1)
        assert steps.index(str(b.dose.value)) - steps.index(str(a.dose.value)) in (0, 1)
    assert max(s.dose for s in found.result) <= q(ceiling)
    for step in steps[: steps.index(ceiling.split()[0])]:
        assert sum(s.dose == q(f"{step} mg") for s in found.result) == 4


# --- One dose ---------------------------------------------------------------------------------------------------------


def given_doses(*amounts: str, start: str = "2027-01-04") -> tuple[GivenDose, ...]:
    days = [dt.date.fromisoformat(start) + dt.timedelta(days=7 * i) for i in range(len(amounts))]
    return tuple(GivenDose(day, wall(f"{day}T08:00").at, q(f"{a} mg")) for day, a in zip(days, amounts, strict=True))


def ask(requested: str, given_: tuple[GivenDose, ...], **changes: Any) -> Evaluation[Quantity] | Rejected:
    """The next weekly slot after what was given."""
    day = given_[-1].slot + dt.timedelta(days=7) if given_ else dt.date(2027, 1, 4)
    base: dict[str, Any] = {
        "at": wall(f"{day}T08:00"), "slot": day, "requested": q(requested), "ceiling": q("7.2 mg"), "given": given_,
        "tolerated": True, "stop_reason": "", "consecutive_missed": 0,
    }  # fmt: skip
    return dose(DoseCase(**base | changes), RULES)


def code(found: Evaluation[Quantity] | Rejected) -> str:
    return found.problems[0].code if isinstance(found, Rejected) else found.outcome.value


FOUR, EIGHT = ("0.25",) * 4, ("0.25",) * 4 + ("0.5",) * 4
FULL = EIGHT + ("1.0",) * 4 + ("1.7",) * 4


@pytest.mark.parametrize(
    ("row", "requested", "given_", "expected"),
    [
        ("first", "0.25 mg", (), "PROPOSED"),
        ("first too high", "0.5 mg", (), "step-skipped"),
        ("after three", "0.5 mg", FOUR[:3], "step-too-early"),
        ("after four", "0.5 mg", FOUR, "PROPOSED"),
        ("stay", "0.25 mg", FOUR, "PROPOSED"),
        ("skip a step", "1.0 mg", FOUR, "step-skipped"),
        ("V-S4 dose 9", "1.7 mg", EIGHT, "step-skipped"),
        ("dose 9 right", "1.0 mg", EIGHT, "PROPOSED"),
        ("step down", "0.25 mg", EIGHT, "PROPOSED"),
        ("to 2.4", "2.4 mg", FULL, "PROPOSED"),
        ("V-S12 after 3 weeks", "7.2 mg", (*FULL, "2.4", "2.4", "2.4"), "step-too-early"),
        ("V-S12 unapproved", "7.2 mg", (*FULL, "2.4", "2.4", "2.4", "2.4"), "needs-approval"),
        ("not a step", "2.0 mg", FULL, "not-a-step"),
        ("units", "10 mL", FULL, "not-a-step"),
        ("micrograms", "250 ug", (), "PROPOSED"),
        ("after a step down the count starts anew", "0.5 mg", (*EIGHT, "0.25"), "step-too-early"),
    ],
)
def test_steps(row: str, requested: str, given_: tuple[str, ...], expected: str) -> None:
    assert code(ask(requested, given_doses(*given_))) == expected, row


def test_v_s12_approved_after_four_weeks() -> None:
    given_ = given_doses(*FULL, "2.4", "2.4", "2.4", "2.4")
    assert code(ask("7.2 mg", given_, high_dose_approved=True)) == "PROPOSED"
    assert code(ask("7.2 mg", given_, high_dose_approved=True, ceiling=q("2.4 mg"))) == "above-ceiling"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"ceiling": q("0.25 mg")}, "above-ceiling"),
        ({"slot": dt.date(2027, 1, 25)}, "slot-taken"),
        ({"at": wall("2027-01-27T08:00"), "requested": "0.25 mg"}, "PROPOSED"),  # exactly 48 h
        ({"at": wall("2027-01-27T07:59"), "requested": "0.25 mg"}, "too-soon"),
        ({"at": wall("2027-01-31T08:00"), "slot": dt.date(2027, 1, 31)}, "step-too-early"),  # 27 days
        ({"tolerated": False}, "HOLD"),
        ({"tolerated": None}, "HOLD"),
        ({"tolerated": None, "requested": "0.25 mg"}, "PROPOSED"),
        ({"stop_reason": "pancreatitis suspected"}, "HOLD"),
        ({"stop_reason": None}, "HOLD"),
        ({"consecutive_missed": None}, "HOLD"),
        ({"consecutive_missed": 1}, "PROPOSED"),
        ({"consecutive_missed": 2}, "REVIEW"),
    ],
)
def test_one_dose(changes: dict[str, Any], expected: str) -> None:
    changes = dict(changes)
    requested = str(changes.pop("requested", "0.5 mg"))
    assert code(ask(requested, given_doses(*FOUR), **changes)) == expected, changes


def test_a_step_over_the_spring_change_counts_calendar_days() -> None:
    given_ = given_doses(*FOUR, start="2027-02-22")  # the 28th day is 2027-03-22, an hour short of 672 h
    assert code(ask("0.5 mg", given_)) == "PROPOSED"


@pytest.mark.parametrize(("day", "warns"), [("2027-02-08", True), ("2027-02-09", False), ("2027-01-31", False)])
def test_a_dose_before_sedation_tells_the_other_team(day: str, warns: bool) -> None:
    found = ask("0.5 mg", given_doses(*FOUR), next_sedation=dt.date.fromisoformat(day))
    assert isinstance(found, Evaluation)
    assert ("S-D-SEDATION" in found.fired()) is warns


ladder_doses = st.sampled_from(["0.25", "0.5", "1.0", "1.7", "2.4", "7.2"])


@settings(max_examples=150)
@given(st.lists(st.tuples(ladder_doses, st.integers(1, 15)), max_size=30), ladder_doses, st.booleans())
def test_whatever_is_asked_the_proposed_path_never_skips_or_exceeds(
    asked: list[tuple[str, int]], ceiling: str, approved: bool
) -> None:
    taken: list[GivenDose] = []
    day = dt.date(2027, 1, 4)
    for amount, gap in asked:
        day += dt.timedelta(days=gap)
        found = dose(
            DoseCase(
                at=wall(f"{day}T08:00"), slot=day, requested=q(f"{amount} mg"), ceiling=q(f"{ceiling} mg"), given=tuple(taken),
                tolerated=True, stop_reason="", consecutive_missed=0, high_dose_approved=approved,
            ),
            RULES,
        )  # fmt: skip
        if isinstance(found, Evaluation) and found.result is not None:
            taken.append(GivenDose(day, wall(f"{day}T08:00").at, found.result))
    order = [Decimal(s) for s in ("0.25", "0.5", "1.0", "1.7", "2.4", "7.2")]
    amounts = [order.index(t.dose.value) for t in taken]
    assert all(t.dose <= q(f"{ceiling} mg") for t in taken)
    assert all(b - a <= 1 for a, b in pairwise(amounts))
    for i, (a, b) in enumerate(pairwise(amounts)):
        if b > a:
            assert amounts[max(0, i - 3) : i + 1] == [a] * 4
            assert (taken[i + 1].slot - taken[i - 3].slot).days >= 28
    assert not amounts or amounts[0] == 0


# --- Missed doses -----------------------------------------------------------------------------------------------------


def missed(
    at: str,
    product: str = "wegovy-us",
    planned: str = "2027-03-10T08:00",
    following: str = "2027-03-17T08:00",
    n: int = 1,
) -> Any:
    case = MissedCase(at=wall(at), product=product, planned=wall(planned), next=wall(following), consecutive_missed=n)
    found = missed_dose(case, RULES)
    return found.result if isinstance(found, Evaluation) else found


@pytest.mark.parametrize(
    ("row", "at", "product", "expected"),
    [
        ("V-S6 119.0 h", "2027-03-12T08:00", "wegovy-us", MissedDose.GIVE),
        ("V-S7 48.0 h", "2027-03-15T08:00", "wegovy-us", MissedDose.SKIP),
        ("V-S7 48.02 h", "2027-03-15T07:59", "wegovy-us", MissedDose.GIVE),
        ("V-S8 24 h", "2027-03-16T08:00", "wegovy-us", MissedDose.SKIP),
        ("older US label", "2027-03-15T07:59", "wegovy-us-2024", MissedDose.GIVE),
        ("EU, 5 days elapsed", "2027-03-15T09:00", "wegovy-eu", MissedDose.GIVE),
        ("EU, later", "2027-03-15T09:01", "wegovy-eu", MissedDose.SKIP),
        ("UK clinic, 4 days elapsed", "2027-03-14T09:00", "wegovy-uk-clinic", MissedDose.GIVE),
        ("UK clinic, later", "2027-03-14T09:01", "wegovy-uk-clinic", MissedDose.SKIP),
        ("Ozempic, 5 days elapsed", "2027-03-15T09:00", "ozempic-us", MissedDose.GIVE),
        ("Ozempic, later", "2027-03-15T09:01", "ozempic-us", MissedDose.SKIP),
        ("tablets", "2027-03-10T20:00", "oral-us", MissedDose.SKIP),
    ],
)
def test_missed_dose_by_product_and_country(row: str, at: str, product: str, expected: MissedDose) -> None:
    assert missed(at, product) is expected, row


def test_v_s6_counts_elapsed_hours() -> None:
    assert (wall("2027-03-17T08:00").at - wall("2027-03-12T08:00").at) == dt.timedelta(hours=119)


@pytest.mark.parametrize("product", ["wegovy-us", "wegovy-eu", "ozempic-us", "oral-us", "wegovy-us-2024", "wegovy-uk-clinic"])
def test_v_s11_two_missed_go_to_the_prescriber(product: str) -> None:
    case = MissedCase(
        at=wall("2027-03-16T08:00"),
        product=product,
        planned=wall("2027-03-15T08:00"),
        next=wall("2027-03-22T08:00"),
        consecutive_missed=2,
    )
    found = missed_dose(case, RULES)
    assert isinstance(found, Evaluation)
    assert (found.outcome, found.result) == (Outcome.REVIEW, MissedDose.PRESCRIBER)


def test_an_unknown_product_has_no_rule() -> None:
    assert isinstance(missed("2027-03-12T08:00", "compounded"), Rejected)
    assert isinstance(missed("2027-03-12T08:00", following="2027-03-10T08:00"), Rejected)
    assert isinstance(missed("2027-03-12T08:00", n=0), Rejected)


# --- Response ---------------------------------------------------------------------------------------------------------

START = wall("2027-01-04T08:00")


def review(weight: str, on: str, **changes: Any) -> tuple[Outcome, tuple[str, ...]]:
    base: dict[str, Any] = {
        "at": wall(f"{on}T12:00"), "first_dose": START, "baseline": seen("100.0 kg", START.at - dt.timedelta(hours=1)),
        "weights": (seen(weight, wall(f"{on}T10:00").at),), "height": q("175 cm"), "intolerance_with_dehydration": False,
    }  # fmt: skip
    found = response(ResponseCase(**base | changes), RULES)
    assert isinstance(found, Evaluation)
    return found.outcome, found.fired()


@pytest.mark.parametrize(
    ("weight", "on", "expected"),
    [
        ("95.1 kg", "2027-04-03", ()), ("95.1 kg", "2027-04-04", ("S-R-3",)), ("95.0 kg", "2027-04-04", ()),
        ("95.001 kg", "2027-04-04", ("S-R-3",)), ("95.1 kg", "2027-07-03", ("S-R-3",)), ("95.1 kg", "2027-07-04", ("S-R-3", "S-R-6")),
        ("104.0 kg", "2027-07-04", ("S-R-3", "S-R-6")), ("209.4 [lb_av]", "2027-04-04", ()),
    ],
)  # fmt: skip
def test_response_reviews(weight: str, on: str, expected: tuple[str, ...]) -> None:
    assert review(weight, on) == (Outcome.REVIEW if expected else Outcome.ROUTINE, expected)


def series(*points: tuple[str, str]) -> Any:
    return tuple(seen(w, wall(f"{day}T10:00").at) for w, day in points)


@pytest.mark.parametrize(
    ("points", "rapid"),
    [
        ((("94.0 kg", "2027-03-01"), ("88.0 kg", "2027-03-29")), False),  # 6.0 kg in 28 days: 1.5 a week
        ((("94.0 kg", "2027-03-01"), ("87.9 kg", "2027-03-29")), True),
        ((("94.0 kg", "2027-03-15"), ("87.9 kg", "2027-03-29")), True),  # as much in two weeks
        ((("94.0 kg", "2027-03-22"), ("92.0 kg", "2027-03-29")), False),
        ((("94.0 kg", "2027-02-15"), ("85.0 kg", "2027-03-29")), False),  # 9.0 kg in 42 days
        ((("94.0 kg", "2027-02-15"), ("84.9 kg", "2027-03-29")), True),
    ],
)
def test_rapid_loss(points: Any, rapid: bool) -> None:
    _, fired = review("90 kg", "2027-03-29", weights=series(*points), baseline=seen("95.0 kg", START.at))
    assert ("S-R-RAPID" in fired) is rapid


def test_underweight_dehydration_and_unknowns() -> None:
    limit = "56.65 kg"  # BMI 18.498 at 175 cm
    assert "S-R-UNDERWEIGHT" in review(limit, "2027-03-29")[1]
    assert "S-R-UNDERWEIGHT" not in review("56.66 kg", "2027-03-29")[1]
    assert review("90.0 kg", "2027-03-29", intolerance_with_dehydration=True)[1] == ("S-R-DEHYDRATION",)
    assert review("90.0 kg", "2027-03-29", intolerance_with_dehydration=None)[0] is Outcome.REVIEW
    assert review("90.0 kg", "2027-03-29", height=None)[0] is Outcome.REVIEW
    assert review("90.0 kg", "2027-03-29", weights=())[0] is Outcome.REVIEW
    assert review("90.0 kg", "2027-03-29", weights=series(("90 kg", "2027-02-20")))[0] is Outcome.REVIEW


def test_the_baseline_is_from_before_the_first_dose() -> None:
    case = ResponseCase(
        at=wall("2027-03-29T12:00"),
        first_dose=START,
        baseline=seen("100 kg", START.at + dt.timedelta(seconds=1)),
        weights=(),
    )
    assert isinstance(response(case, RULES), Rejected)
