"""Testosterone: the criterion, what speaks against it, titration, laboratory cycle, monitoring."""

import datetime as dt
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.values import Quantity, ValueProblem
from services.therapies.body import Sex
from services.therapies.cases import read_case
from services.therapies.evidence import Evaluation, Outcome, Rejected
from services.therapies.testosterone import (
    QUESTIONS,
    AdjustmentCase,
    BloodPressure,
    EligibilityCase,
    LabCycleCase,
    MonitoringCase,
    SamplePoint,
    TestosteroneSample,
    adjustment,
    eligibility,
    in_ng_per_dl,
    lab_cycle,
    monitoring,
)
from tests.support.rules import q, rules, seen, wall

RULES = rules("testosterone")
NOW = wall("2027-02-01T09:00")
DAY = wall("2027-01-30T08:00").at
REVIEW = Outcome.REVIEW_REQUIRED


def sample(
    value: str, at: str = "2027-01-20T08:10", *, fasting: bool | None = True, zone: str = "America/New_York"
) -> TestosteroneSample:
    return TestosteroneSample(q(value), wall(at, zone), fasting)


def bp(sbp: int, dbp: int, day: str = "2027-01-30") -> BloodPressure:
    return BloodPressure(q(f"{sbp} mm[Hg]"), q(f"{dbp} mm[Hg]"), wall(f"{day}T10:00").at)


LOW = (sample("280 ng/dL"), sample("291 ng/dL", "2027-01-27T08:30"))


def man(**changes: Any) -> EligibilityCase:
    answers: dict[str, Any] = dict.fromkeys(QUESTIONS, False)
    answers["symptoms_or_signs"] = True
    case = EligibilityCase(
        at=NOW, birth_date=dt.date(1980, 3, 1), sex_at_birth=Sex.MALE, samples=LOW, lh=seen("6 [IU]/L", DAY), fsh=seen("5 [IU]/L", DAY),
        breast_symptoms=False, haematocrit=seen("45.0 %", DAY), altitude=False, psa=seen("1.00 ng/mL", DAY), high_prostate_risk=False,
        lipids_at=DAY, ipss=5, cardiovascular_event=False, blood_pressure=(bp(128, 78),), **answers,
    )  # fmt: skip
    return replace(case, **changes)


def outcome(**changes: Any) -> Outcome:
    return eligibility(man(**changes), RULES).outcome


def criterion(*samples: TestosteroneSample, **changes: Any) -> bool | None:
    return eligibility(man(samples=samples, **changes), RULES).result


def test_the_unremarkable_case_is_eligible() -> None:
    found = eligibility(man(), RULES)
    assert (found.outcome, found.findings, found.missing) == (Outcome.ELIGIBLE, (), ())


@pytest.mark.parametrize(
    ("row", "samples", "expected"),
    [
        ("V-T1", LOW, True),
        ("V-T3", (sample("299 ng/dL"), sample("300 ng/dL", "2027-01-27T08:30")), False),
        ("299.9", (sample("299.9 ng/dL"), sample("299 ng/dL", "2027-01-27T08:30")), True),
        ("one sample", LOW[:1], None),
        ("same local day", (LOW[0], sample("291 ng/dL", "2027-01-20T09:30")), None),
        ("07:00 and 10:00", (sample("280 ng/dL", "2027-01-20T07:00"), sample("280 ng/dL", "2027-01-27T10:00")), True),
        ("06:59", (sample("280 ng/dL", "2027-01-20T06:59"), LOW[1]), None),
        ("10:01", (sample("280 ng/dL", "2027-01-20T10:01"), LOW[1]), None),
        ("not fasting", (sample("280 ng/dL", fasting=False), LOW[1]), None),
        ("fasting unknown", (sample("280 ng/dL", fasting=None), LOW[1]), None),
        ("ng/mL", (sample("2.80 ng/mL"), LOW[1]), True),
        ("ng/mL at the limit", (sample("3.00 ng/mL"), LOW[1]), False),
        ("nmol/L below", (sample("10.4 nmol/L"), LOW[1]), True),
        ("nmol/L above", (sample("10.41 nmol/L"), LOW[1]), False),
        ("old", (sample("280 ng/dL", "2026-07-01T08:00"), LOW[1]), None),
        ("implausible", (sample("3001 ng/dL"), LOW[1]), None),
        ("wrong kind of unit", (sample("280 mg"), LOW[1]), None),
        ("morning where the patient is", (sample("280 ng/dL", "2027-01-20T08:00", zone="Asia/Tokyo"), LOW[1]), True),
        ("the two newest count", (sample("500 ng/dL", "2027-01-10T08:00"), *LOW), True),
        ("a newer normal one counts", (*LOW, sample("400 ng/dL", "2027-01-29T08:00")), False),
    ],
)
def test_the_criterion(row: str, samples: tuple[TestosteroneSample, ...], expected: bool | None) -> None:
    found = eligibility(man(samples=samples), RULES)
    assert found.result is expected, row
    if expected is False:
        assert found.outcome is Outcome.INELIGIBLE
    if expected is None:
        assert found.outcome is Outcome.INCOMPLETE


def test_symptoms_are_part_of_the_criterion_and_questionnaires_are_not() -> None:
    assert outcome(symptoms_or_signs=False) is Outcome.INELIGIBLE
    assert outcome(symptoms_or_signs=None) is Outcome.INCOMPLETE
    assert not any("adam" in name for name in EligibilityCase.__annotations__)


def test_v_t5_a_value_without_unit_is_an_error_naming_the_field() -> None:
    raw = {
        "at": {"at": "2027-02-01T09:00:00-05:00", "zone": "America/New_York"},
        "samples": [
            {
                "value": "280",
                "collected": {"at": "2027-01-20T08:10:00-05:00", "zone": "America/New_York"},
                "fasting": True,
            }
        ],
    }
    found = read_case(EligibilityCase, raw)
    assert isinstance(found, Rejected)
    assert [(p.field, p.message) for p in found.problems] == [("samples[0].value", "has no unit")]


def test_unit_normalisation_is_exact() -> None:
    assert in_ng_per_dl(q("10 nmol/L"), RULES).value == Decimal("288.42")
    assert in_ng_per_dl(q("2.8 ng/mL"), RULES).value == Decimal("280")
    assert in_ng_per_dl(q("2800 pg/mL"), RULES).value == Decimal("280")
    with pytest.raises(ValueProblem):
        in_ng_per_dl(q("280 mg"), RULES)


@given(st.decimals(Decimal("0.01"), Decimal("100"), places=2))
def test_nmol_round_trip(value: Decimal) -> None:
    assert in_ng_per_dl(Quantity(value, "nmol/L"), RULES).value / Decimal("28.842") == value


INELIGIBLE_WHEN = {
    "breast_cancer", "prostate_cancer", "prostate_nodule", "sleep_apnoea_untreated", "heart_failure_uncontrolled", "thrombophilia",
    "fertility_desired", "testosterone_hypersensitivity", "serious_heart_liver_kidney_disease",
}  # fmt: skip


@pytest.mark.parametrize("question", sorted(QUESTIONS - {"symptoms_or_signs"}))
def test_each_question_yes_no_unknown(question: str) -> None:
    """V-T13 among them: a wish for children holds."""
    assert outcome(**{question: True}) is (Outcome.INELIGIBLE if question in INELIGIBLE_WHEN else REVIEW)
    assert outcome(**{question: None}) is Outcome.INCOMPLETE


@pytest.mark.parametrize(
    ("row", "changes", "expected"),
    [
        ("V-T11", {"haematocrit": seen("51 %", DAY)}, Outcome.INELIGIBLE),
        ("Hct 50.1", {"haematocrit": seen("50.1 %", DAY)}, Outcome.INELIGIBLE),
        ("Hct 50.0", {"haematocrit": seen("50.0 %", DAY)}, REVIEW),
        ("Hct 50.0 at altitude", {"haematocrit": seen("50.0 %", DAY), "altitude": True}, Outcome.ELIGIBLE),
        ("Hct 48.1", {"haematocrit": seen("48.1 %", DAY)}, REVIEW),
        ("Hct 48.0", {"haematocrit": seen("48.0 %", DAY)}, Outcome.ELIGIBLE),
        ("Hct as a fraction", {"haematocrit": seen("0.45 %", DAY)}, Outcome.INCOMPLETE),
        ("no Hct", {"haematocrit": None}, Outcome.INCOMPLETE),
        ("PSA 4.0", {"psa": seen("4.0 ng/mL", DAY)}, Outcome.ELIGIBLE),
        ("PSA 4.01", {"psa": seen("4.01 ng/mL", DAY)}, Outcome.INELIGIBLE),
        ("PSA 4.01, urology", {"psa": seen("4.01 ng/mL", DAY), "urology_cleared": True}, Outcome.ELIGIBLE),
        ("PSA 3.0, risk", {"psa": seen("3.0 ng/mL", DAY), "high_prostate_risk": True}, Outcome.ELIGIBLE),
        ("PSA 3.01, risk", {"psa": seen("3.01 ng/mL", DAY), "high_prostate_risk": True}, Outcome.INELIGIBLE),
        ("PSA 3.01, risk unknown", {"psa": seen("3.01 ng/mL", DAY), "high_prostate_risk": None}, Outcome.INELIGIBLE),
        ("no PSA at 46", {"psa": None}, Outcome.INCOMPLETE),
        ("no PSA at 40", {"psa": None, "birth_date": dt.date(1986, 3, 1)}, Outcome.ELIGIBLE),
        ("no PSA at 41", {"psa": None, "birth_date": dt.date(1986, 2, 1) - dt.timedelta(days=366)}, Outcome.INCOMPLETE),
        ("no PSA at 40 with risk", {"psa": None, "birth_date": dt.date(1986, 3, 1), "high_prostate_risk": True}, Outcome.INCOMPLETE),
        ("PSA at 40 still counts", {"psa": seen("9 ng/mL", DAY), "birth_date": dt.date(1986, 3, 1)}, Outcome.INELIGIBLE),
        ("IPSS 19", {"ipss": 19}, Outcome.ELIGIBLE),
        ("IPSS 20", {"ipss": 20}, Outcome.INELIGIBLE),
        ("IPSS unknown", {"ipss": None}, Outcome.INCOMPLETE),
        ("event at 6 months", {"cardiovascular_event": True, "cardiovascular_event_date": dt.date(2026, 8, 1)}, Outcome.INELIGIBLE),
        ("event a day earlier", {"cardiovascular_event": True, "cardiovascular_event_date": dt.date(2026, 7, 31)}, Outcome.ELIGIBLE),
        ("event undated", {"cardiovascular_event": True}, Outcome.INCOMPLETE),
        ("LH 4.1", {"lh": seen("4.1 [IU]/L", DAY)}, Outcome.ELIGIBLE),
        ("LH 4, prolactin missing", {"lh": seen("4 [IU]/L", DAY)}, Outcome.INCOMPLETE),
        ("LH 4, prolactin there", {"lh": seen("4 [IU]/L", DAY), "prolactin": seen("8 ng/mL", DAY)}, REVIEW),
        ("no LH", {"lh": None}, Outcome.INCOMPLETE),
        ("no FSH", {"fsh": None}, Outcome.INCOMPLETE),
        ("breast symptoms", {"breast_symptoms": True}, Outcome.INCOMPLETE),
        ("breast symptoms, estradiol", {"breast_symptoms": True, "estradiol": seen("30 pg/mL", DAY)}, Outcome.ELIGIBLE),
        ("estradiol in the wrong unit", {"breast_symptoms": True, "estradiol": seen("30 ng/mL", DAY)}, Outcome.INCOMPLETE),
        ("no lipids", {"lipids_at": None}, Outcome.INCOMPLETE),
        ("woman", {"sex_at_birth": Sex.FEMALE}, Outcome.INELIGIBLE),
        ("sex unknown", {"sex_at_birth": None}, Outcome.INCOMPLETE),
        ("one raised visit", {"blood_pressure": (bp(140, 80),)}, Outcome.ELIGIBLE),
        ("two raised visits", {"blood_pressure": (bp(140, 80, "2027-01-20"), bp(120, 90))}, REVIEW),
        ("139/89 twice", {"blood_pressure": (bp(139, 89, "2027-01-20"), bp(139, 89))}, Outcome.ELIGIBLE),
        ("two readings of one visit", {"blood_pressure": (bp(140, 80), bp(150, 90))}, Outcome.ELIGIBLE),
        ("180/80", {"blood_pressure": (bp(180, 80),)}, REVIEW),
        ("150/110", {"blood_pressure": (bp(150, 110),)}, REVIEW),
        ("no pressure", {"blood_pressure": ()}, Outcome.INCOMPLETE),
        ("old pressure", {"blood_pressure": (bp(120, 80, "2026-12-01"),)}, Outcome.INCOMPLETE),
    ],
)  # fmt: skip
def test_rows(row: str, changes: dict[str, Any], expected: Outcome) -> None:
    assert outcome(**changes) is expected, row


# --- Titration --------------------------------------------------------------------------------------------------------


def adjust(product: str, dose: str, level: str, point: SamplePoint | None, **changes: Any) -> Evaluation[Quantity] | Rejected:
    base: dict[str, Any] = {
        "at": NOW, "product": product, "dose": q(dose), "level": q(level), "collected": wall("2027-01-29T08:00"), "sample_point": point,
        "dose_since": dt.date(2027, 1, 15),
    }  # fmt: skip
    return adjustment(AdjustmentCase(**base | changes), RULES)


def result(found: Evaluation[Quantity] | Rejected) -> tuple[str, str | None]:
    if isinstance(found, Rejected):
        return found.problems[0].code, None
    return found.outcome.value, None if found.result is None else str(found.result)


PRE, MID, TROUGH = SamplePoint.PRE_DOSE, SamplePoint.MID_INTERVAL, SamplePoint.TROUGH


@pytest.mark.parametrize(
    ("row", "product", "dose", "level", "point", "expected"),
    [
        ("V-T9", "gel-1.62", "40.5 mg", "349 ng/dL", PRE, ("PROPOSED", "60.75 mg")),
        ("V-T9", "gel-1.62", "40.5 mg", "350 ng/dL", PRE, ("PROPOSED", "40.5 mg")),
        ("V-T9", "gel-1.62", "40.5 mg", "750 ng/dL", PRE, ("PROPOSED", "40.5 mg")),
        ("V-T9", "gel-1.62", "40.5 mg", "751 ng/dL", PRE, ("PROPOSED", "20.25 mg")),
        ("in nmol/L", "gel-1.62", "40.5 mg", "26.1 nmol/L", PRE, ("PROPOSED", "20.25 mg")),
        ("in nmol/L, in range", "gel-1.62", "40.5 mg", "26.0 nmol/L", PRE, ("PROPOSED", "40.5 mg")),
        ("lowest dose, too high", "gel-1.62", "20.25 mg", "751 ng/dL", PRE, ("REVIEW", "20.25 mg")),
        ("highest dose, too low", "gel-1.62", "81 mg", "349 ng/dL", PRE, ("REVIEW", "81 mg")),
        ("outside the label", "gel-1.62", "101.25 mg", "349 ng/dL", PRE, ("outside-range", None)),
        ("units", "gel-1.62", "2 mL", "349 ng/dL", PRE, ("not-a-mass", None)),
        ("timing unknown", "gel-1.62", "40.5 mg", "349 ng/dL", None, ("HOLD", None)),
        ("wrong timing", "gel-1.62", "40.5 mg", "349 ng/dL", SamplePoint.AFTER_APPLICATION, ("HOLD", None)),
        ("Xyosted 649", "xyosted", "75 mg", "649 ng/dL", TROUGH, ("PROPOSED", "75 mg")),
        ("Xyosted 650", "xyosted", "75 mg", "650 ng/dL", TROUGH, ("PROPOSED", "50 mg")),
        ("Xyosted 350", "xyosted", "75 mg", "350 ng/dL", TROUGH, ("PROPOSED", "75 mg")),
        ("Xyosted 349", "xyosted", "75 mg", "349 ng/dL", TROUGH, ("PROPOSED", "100 mg")),
        ("IM 600", "cypionate-im", "100 mg", "600 ng/dL", MID, ("PROPOSED", "100 mg")),
        ("IM 601", "cypionate-im", "100 mg", "601 ng/dL", MID, ("REVIEW", None)),
        ("IM 350", "enanthate-im", "100 mg", "350 ng/dL", MID, ("PROPOSED", "100 mg")),
        ("IM 349", "enanthate-im", "100 mg", "349 ng/dL", MID, ("REVIEW", None)),
        ("IM at trough", "enanthate-im", "100 mg", "349 ng/dL", TROUGH, ("HOLD", None)),
        ("undecanoate", "undecanoate-im", "750 mg", "349 ng/dL", TROUGH, ("REVIEW", None)),
        ("implausible level", "gel-1.62", "40.5 mg", "3500 ng/dL", PRE, ("HOLD", None)),
        ("unknown product", "pellets", "75 mg", "349 ng/dL", PRE, ("unknown-product", None)),
    ],
)
def test_titration(
    row: str, product: str, dose: str, level: str, point: SamplePoint | None, expected: tuple[str, str | None]
) -> None:
    assert result(adjust(product, dose, level, point)) == expected, row


@pytest.mark.parametrize(("since", "expected"), [(dt.date(2027, 1, 15), "PROPOSED"), (dt.date(2027, 1, 16), "HOLD")])
def test_a_level_needs_two_weeks_on_the_dose(since: dt.date, expected: str) -> None:
    assert result(adjust("gel-1.62", "40.5 mg", "349 ng/dL", PRE, dose_since=since))[0] == expected


@pytest.mark.parametrize("product", ["gel-1.62", "xyosted", "cypionate-im", "enanthate-im", "undecanoate-im"])
def test_every_product_has_its_note(product: str) -> None:
    found = adjust(product, "750 mg" if product == "undecanoate-im" else "75 mg", "400 ng/dL", MID)
    assert isinstance(found, Evaluation)
    assert found.fired()[0] == f"T-N-{product.upper()}"


@given(st.integers(0, 3000), st.sampled_from(["20.25", "40.5", "60.75", "81"]))
def test_a_gel_dose_moves_by_one_step_inside_its_range(level: int, dose: str) -> None:
    found = adjust("gel-1.62", f"{dose} mg", f"{level} ng/dL", PRE)
    assert isinstance(found, Evaluation)
    assert found.result is not None
    assert Decimal("20.25") <= found.result.value <= Decimal("81")
    assert abs(found.result.value - Decimal(dose)) in (0, Decimal("20.25"))


# --- Cycle and monitoring ---------------------------------------------------------------------------------------------


def test_the_laboratory_cycle() -> None:
    found = lab_cycle(
        LabCycleCase(at=NOW, product="gel-1.62", started=dt.date(2027, 1, 31), dose_changed=dt.date(2027, 3, 1), years=2),
        RULES,
    )
    assert isinstance(found, Evaluation)
    assert found.result is not None
    assert [(d.reason, d.first.isoformat(), d.last.isoformat()) for d in found.result] == [
        ("gel day 14", "2027-02-14", "2027-02-14"), ("gel day 28", "2027-02-28", "2027-02-28"),
        ("dose change", "2027-03-15", "2027-04-12"), ("month 3", "2027-04-30", "2027-07-31"),
        ("month 6", "2027-07-31", "2027-08-31"), ("month 12", "2028-01-31", "2028-02-29"), ("month 24", "2029-01-31", "2029-02-28"),
    ]  # fmt: skip
    other = lab_cycle(LabCycleCase(at=NOW, product="xyosted", started=dt.date(2027, 1, 31)), RULES)
    assert isinstance(other, Evaluation)
    assert other.result is not None
    assert not any(d.reason.startswith("gel") for d in other.result)
    assert isinstance(lab_cycle(LabCycleCase(at=NOW, product="pellets", started=NOW.date), RULES), Rejected)


def visit(**changes: Any) -> Evaluation[bool]:
    case = MonitoringCase(
        at=NOW, started=dt.date(2026, 11, 1), haematocrit=seen("45.0 %", DAY), psa=seen("1.0 ng/mL", DAY),
        psa_baseline=seen("1.0 ng/mL", wall("2026-10-01T08:00").at), blood_pressure=(bp(128, 78),), symptoms=(),
    )  # fmt: skip
    return monitoring(replace(case, **changes), RULES)


def test_an_unremarkable_visit_is_routine() -> None:
    assert (visit().outcome, visit().fired(), visit().result) == (Outcome.ROUTINE, (), False)


@pytest.mark.parametrize(
    ("row", "changes", "fired", "holds"),
    [
        ("Hct 49.9", {"haematocrit": seen("49.9 %", DAY)}, (), False),
        ("Hct 50.0", {"haematocrit": seen("50.0 %", DAY)}, ("T-M-HAEMATOCRIT-WATCH",), False),
        ("Hct 53.99", {"haematocrit": seen("53.99 %", DAY)}, ("T-M-HAEMATOCRIT-WATCH",), False),
        ("Hct 54.0", {"haematocrit": seen("54.0 %", DAY)}, ("T-M-HAEMATOCRIT",), True),
        ("Hct 54.0, old", {"haematocrit": seen("54.0 %", DAY - dt.timedelta(days=300))}, ("T-M-HAEMATOCRIT",), True),
        ("Hct 80", {"haematocrit": seen("80 %", DAY)}, ("T-M-HAEMATOCRIT",), True),
        ("V-T8 4.0", {"psa": seen("4.0 ng/mL", DAY), "psa_confirmed": True, "psa_baseline": seen("3.0 ng/mL", DAY)}, (), False),
        ("V-T8 4.1", {"psa": seen("4.1 ng/mL", DAY), "psa_confirmed": True, "psa_baseline": seen("3.0 ng/mL", DAY)}, ("T-M-PSA",), True),
        ("4.1 unconfirmed", {"psa": seen("4.1 ng/mL", DAY), "psa_baseline": seen("3.0 ng/mL", DAY)}, ("T-M-PSA-REPEAT",), False),
        ("rise 1.4", {"psa": seen("2.4 ng/mL", DAY), "psa_confirmed": True}, (), False),
        ("rise 1.41", {"psa": seen("2.41 ng/mL", DAY), "psa_confirmed": True}, ("T-M-PSA-RISE",), True),
        ("rise after a year", {"psa": seen("2.41 ng/mL", DAY), "psa_confirmed": True, "psa_baseline": seen("1.0 ng/mL", wall("2026-01-29T08:00").at)}, (), False),
        ("rise at a year", {"psa": seen("2.41 ng/mL", DAY), "psa_confirmed": True, "psa_baseline": seen("1.0 ng/mL", wall("2026-01-30T08:00").at)}, ("T-M-PSA-RISE",), True),
        ("new finding", {"new_prostate_finding": True}, ("T-M-PROSTATE",), True),
        ("urgent pressure", {"blood_pressure": (bp(180, 90),)}, ("T-M-BP-URGENT",), False),
        ("two raised visits", {"blood_pressure": (bp(140, 80, "2027-01-10"), bp(141, 80))}, ("T-M-BP",), False),
        ("no benefit at 3 months", {"testosterone_normal": True, "symptom_gain": False}, ("T-M-NO-BENEFIT",), False),
        ("too early to say", {"testosterone_normal": True, "symptom_gain": False, "started": dt.date(2026, 11, 2)}, (), False),
        ("priapism", {"symptoms": ("priapism over 4 h",)}, ("T-M-URGENT",), False),
        ("gynaecomastia", {"symptoms": ("gynaecomastia",)}, ("T-M-SOON",), False),
    ],
)  # fmt: skip
def test_monitoring(row: str, changes: dict[str, Any], fired: tuple[str, ...], holds: bool) -> None:
    found = visit(**changes)
    assert (found.fired(), found.result) == (fired, holds), row
    assert found.outcome is Outcome.REVIEW or not fired


@pytest.mark.parametrize("fact", ["haematocrit", "psa", "psa_baseline", "symptoms"])
def test_what_is_unknown_is_reviewed(fact: str) -> None:
    changes: dict[str, Any] = {fact: None}
    assert visit(**changes).outcome is Outcome.REVIEW
    assert visit(psa=None, psa_due=False).outcome is Outcome.ROUTINE
