"""Ketamine: treatment resistance, staging, and every row that speaks against it."""

import dataclasses
import datetime as dt
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.therapies.body import Sex
from services.therapies.evidence import Outcome, canonical
from services.therapies.instruments import RiskLevel
from services.therapies.ketamine.eligibility import (
    DRUG_RULES,
    QUESTIONS,
    EligibilityCase,
    Severity,
    Sign,
    TestResult,
    eligibility,
    judge_trial,
    maudsley,
)
from tests.support.ketamine_cases import DAY, NOW, TRIALS, bp, eligible, trial
from tests.support.rules import d, q, rules, seen

RULES = rules("ketamine")


def outcome(**changes: Any) -> Outcome:
    return eligibility(eligible(**changes), RULES).outcome


def fired(**changes: Any) -> tuple[str, ...]:
    return eligibility(eligible(**changes), RULES).fired()


def test_the_unremarkable_case_is_eligible_with_all_evidence() -> None:
    found = eligibility(eligible(), RULES)
    assert found.outcome is Outcome.ELIGIBLE
    assert found.findings == ()
    assert found.missing == ()
    assert found.revision == RULES.revision
    assert found.approver == "NOT APPROVED"
    weight = next(i for i in found.inputs if i.name == "weight")
    assert (weight.value, weight.at) == ("82.0 kg", "2027-01-21T15:00:00+00:00")


def test_equal_inputs_and_revision_give_equal_bytes() -> None:
    assert canonical(eligibility(eligible(), RULES)) == canonical(eligibility(eligible(), RULES))
    assert canonical(eligibility(eligible(), RULES)) != canonical(eligibility(eligible(seizure=True), RULES))


# --- Treatment history ------------------------------------------------------------------------------------------------


def test_v_e1_two_adequate_failures_are_treatment_resistant() -> None:
    found = eligibility(eligible(trials=TRIALS), RULES).result
    assert found is not None
    assert found.treatment_resistant is True
    assert [(t.verdict, str(t.weeks)) for t in found.trials] == [("failed", "8.0"), ("failed", "7.0")]


DAYS42: dict[str, Any] = {"start": "2026-01-01", "end": "2026-02-12"}


@pytest.mark.parametrize(
    ("row", "course", "verdict"),
    [
        ("exactly 6 weeks", trial("sertraline", "50", **DAYS42, outcome="none"), "failed"),
        ("a day less", trial("sertraline", "50", "2026-01-01", "2026-02-11", "none"), "inadequate"),
        ("dose just below", trial("sertraline", "49.9", **DAYS42, outcome="none"), "inadequate"),
        ("adherence 75", trial("sertraline", "50", **DAYS42, outcome="none", adherence=q("75 %")), "failed"),
        ("adherence 74.9", trial("sertraline", "50", **DAYS42, outcome="none", adherence=q("74.9 %")), "inadequate"),
        ("adherence unknown counts", trial("sertraline", "50", **DAYS42, outcome="none", adherence=None), "failed"),
        ("intolerance is apart", trial("sertraline", "200", "2026-01-01", "2026-06-01", "intolerant"), "intolerant"),
        ("response is no failure", trial("sertraline", "200", **DAYS42, outcome="response"), "helped"),
        ("remission is no failure", trial("sertraline", "200", **DAYS42, outcome="remission"), "helped"),
        ("weeks at the dose count", trial("sertraline", "50", **DAYS42, outcome="none", weeks_at_dose=d("5.9")), "inadequate"),
        ("weeks at the dose never lengthen", trial("sertraline", "50", "2026-01-01", "2026-02-01", "none", weeks_at_dose=d("9")), "inadequate"),
        ("earlier episode", trial("sertraline", "50", **DAYS42, outcome="none", current_episode=False), "other episode"),
        ("unknown outcome", trial("sertraline", "50", **DAYS42, outcome=None), "unknown"),
        ("unknown drug", trial("placebonine", "50", **DAYS42, outcome="none"), "unknown"),
        ("ongoing to today", trial("sertraline", "50", "2026-12-10", None, "none"), "failed"),
        ("ongoing a day short", trial("sertraline", "50", "2026-12-11", None, "none"), "inadequate"),
    ],
)  # fmt: skip
def test_adequate_trial(row: str, course: Any, verdict: str) -> None:
    assert judge_trial(course, dt.date(2027, 1, 21), RULES).verdict == verdict, row


def test_unknown_adherence_is_flagged() -> None:
    assert judge_trial(replace(TRIALS[0], adherence=None), NOW.date, RULES).notes == ("adherence unknown",)


@pytest.mark.parametrize("drug", sorted(RULES.under("trd.dose")))
def test_each_minimum_dose_at_and_just_below(drug: str) -> None:
    minimum = RULES[f"trd.dose.{drug}"].value
    at = trial(drug, str(minimum), **DAYS42, outcome="none")
    assert judge_trial(at, NOW.date, RULES).verdict == "failed"
    below = replace(at, dose=q(f"{minimum - d('0.1')} mg/d"))
    assert judge_trial(below, NOW.date, RULES).verdict == "inadequate"


def test_the_published_minimum_doses() -> None:
    expected = {
        "citalopram": 20, "escitalopram": 10, "fluoxetine": 20, "paroxetine": 20, "sertraline": 50, "fluvoxamine": 100,
        "venlafaxine": 75, "desvenlafaxine": 50, "duloxetine": 60, "bupropion": 300, "mirtazapine": 15, "vortioxetine": 10,
        "vilazodone": 20, "trazodone": 150, "amitriptyline": 150, "imipramine": 150, "nortriptyline": 75, "phenelzine": 45,
        "tranylcypromine": 30, "selegiline patch": 6,
    }  # fmt: skip
    assert {drug: int(t.value) for drug, t in RULES.under("trd.dose").items()} == expected


@pytest.mark.parametrize(
    ("trials", "expected"),
    [
        ((), Outcome.INELIGIBLE),
        (TRIALS[:1], Outcome.INELIGIBLE),
        (None, Outcome.INCOMPLETE),
        ((TRIALS[0], trial("bupropion", "300", **DAYS42, outcome=None)), Outcome.INCOMPLETE),
        (TRIALS, Outcome.ELIGIBLE),
    ],
)
def test_treatment_resistance_decides(trials: Any, expected: Outcome) -> None:
    assert outcome(trials=trials) is expected


# --- Maudsley ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "months", "severity", "failures", "augmentation", "ect", "total", "band"),
    [
        ("V-M1", "6", Severity.SUBSYNDROMAL, 1, False, False, 3, "mild"),
        ("V-M2", "8", Severity.MILD, 2, False, False, 4, "mild"),
        ("V-M4a", "24", Severity.MODERATE, 5, False, False, 8, "moderate"),
        ("V-M4b", "25", Severity.SEVERE, 5, False, False, 10, "moderate"),
        ("V-M6", "36", Severity.SEVERE, 6, True, False, 11, "severe"),
        ("V-M8", "60", Severity.PSYCHOTIC, 11, True, True, 15, "severe"),
        ("12 months", "12", Severity.SUBSYNDROMAL, 1, False, False, 3, "mild"),
        ("12.5 months", "12.5", Severity.SUBSYNDROMAL, 1, False, False, 4, "mild"),
        ("24.5 months", "24.5", Severity.SUBSYNDROMAL, 1, False, False, 5, "mild"),
        ("6 is mild", "25", Severity.SUBSYNDROMAL, 3, False, False, 6, "mild"),
        ("7 is moderate", "25", Severity.MILD, 3, False, False, 7, "moderate"),
        ("2 failures", "6", Severity.MILD, 2, False, False, 4, "mild"),
        ("3 failures", "6", Severity.MILD, 3, False, False, 5, "mild"),
        ("4 failures", "6", Severity.MILD, 4, False, False, 5, "mild"),
        ("7 failures", "6", Severity.MILD, 7, False, False, 7, "moderate"),
        ("10 failures", "6", Severity.MILD, 10, False, False, 7, "moderate"),
        ("11 failures", "6", Severity.MILD, 11, False, False, 8, "moderate"),
        ("ECT", "6", Severity.MILD, 1, False, True, 5, "mild"),
    ],
)
def test_maudsley_staging(
    row: str, months: str, severity: Severity, failures: int, augmentation: bool, ect: bool, total: int, band: str
) -> None:
    found = maudsley(q(f"{months} mo"), severity, failures, augmentation, ect, RULES)
    assert found is not None
    assert (found.total, found.band) == (total, band), row


def test_v_m10_no_failure_no_staging_and_no_resistance() -> None:
    assert maudsley(q("6 mo"), Severity.MILD, 0, False, False, RULES) is None
    found = eligibility(eligible(trials=()), RULES)
    assert found.result is not None
    assert (found.result.maudsley, found.result.treatment_resistant) == (None, False)
    assert "K-E-NOT-TRD" in found.fired()


def test_v_m8_psychotic_severity_is_also_the_exclusion() -> None:
    assert outcome(severity=Severity.PSYCHOTIC) is Outcome.INELIGIBLE


@pytest.mark.parametrize(
    ("start", "points"),
    [("2026-01-21", 1), ("2026-01-20", 2), ("2025-01-21", 2), ("2025-01-20", 3)],
)
def test_duration_in_calendar_months(start: str, points: int) -> None:
    found = eligibility(eligible(episode_start=dt.date.fromisoformat(start)), RULES).result
    assert found is not None
    assert found.maudsley is not None
    assert found.maudsley.duration == points


# --- Contraindications ------------------------------------------------------------------------------------------------

ABSOLUTE = {
    "ketamine_hypersensitivity", "pressure_rise_hazard", "aneurysm_or_avm", "intracerebral_haemorrhage",
    "raised_intracranial_pressure", "eye_pressure_uncontrolled", "psychosis_current", "mania_current", "schizophrenia_spectrum",
    "lactating", "substance_use_disorder_active", "intoxicated", "delirium_dementia_or_intellectual_disability",
    "arrhythmia_unstable", "heart_failure_decompensated", "cerebrovascular_unstable",
}  # fmt: skip
RELATIVE = {
    "glaucoma_controlled", "psychosis_past", "ketamine_or_pcp_misuse", "hypertension_treated", "sleep_apnoea",
    "cystitis_or_urinary_symptoms", "hyperthyroid", "seizure", "ptsd_or_dissociative", "personality_disorder_primary",
    "glp1_agonist",
}  # fmt: skip


def test_every_question_is_in_the_table() -> None:
    assert ABSOLUTE | RELATIVE | {"capacity_confirmed"} == QUESTIONS


@pytest.mark.parametrize("question", sorted(ABSOLUTE | RELATIVE))
def test_each_contraindication_yes_no_and_unknown(question: str) -> None:
    assert outcome(**{question: True}) is (Outcome.INELIGIBLE if question in ABSOLUTE else Outcome.REVIEW_REQUIRED)
    assert outcome(**{question: False}) is Outcome.ELIGIBLE
    unknown = eligibility(eligible(**{question: None}), RULES)
    assert unknown.outcome is Outcome.INCOMPLETE
    assert unknown.lacks() == (question,)


def test_capacity_must_be_confirmed() -> None:
    assert outcome(capacity_confirmed=False) is Outcome.INELIGIBLE
    assert outcome(capacity_confirmed=None) is Outcome.INCOMPLETE


@pytest.mark.parametrize(
    ("row", "changes", "expected"),
    [
        ("V-E4 hCG", {"hcg": TestResult(Sign.POSITIVE, DAY)}, Outcome.INELIGIBLE),
        ("V-E4 AVM", {"aneurysm_or_avm": True}, Outcome.INELIGIBLE),
        ("V-E4 two readings", {"blood_pressure": (bp(168, 102), bp(168, 102, DAY + dt.timedelta(minutes=5)))}, Outcome.INELIGIBLE),
        ("V-E4 controlled", {"blood_pressure": (bp(132, 84),), "hypertension_treated": True}, Outcome.REVIEW_REQUIRED),
        ("V-E5 allergies", {"allergies": None}, Outcome.INCOMPLETE),
        ("allergy to ketamine", {"allergies": ("Ketamine",)}, Outcome.INELIGIBLE),
        ("allergy to something else", {"allergies": ("penicillin",)}, Outcome.ELIGIBLE),
        ("old positive hCG still counts", {"hcg": TestResult(Sign.POSITIVE, DAY - dt.timedelta(days=20))}, Outcome.INELIGIBLE),
        ("no hCG", {"hcg": None}, Outcome.INCOMPLETE),
        ("stale hCG", {"hcg": TestResult(Sign.NEGATIVE, DAY - dt.timedelta(days=8))}, Outcome.INCOMPLETE),
        ("no potential, no hCG needed", {"hcg": None, "pregnancy_potential": False}, Outcome.ELIGIBLE),
        ("potential unknown", {"hcg": None, "pregnancy_potential": None}, Outcome.INCOMPLETE),
        ("man", {"hcg": None, "pregnancy_potential": None, "sex_at_birth": Sex.MALE}, Outcome.ELIGIBLE),
        ("Child-Pugh A", {"child_pugh": "A"}, Outcome.ELIGIBLE),
        ("Child-Pugh B", {"child_pugh": "B"}, Outcome.ELIGIBLE_WITH_CONDITIONS),
        ("Child-Pugh C", {"child_pugh": "C"}, Outcome.INELIGIBLE),
        ("Child-Pugh unknown", {"child_pugh": None}, Outcome.INCOMPLETE),
        ("Child-Pugh nonsense", {"child_pugh": "D"}, Outcome.INCOMPLETE),
        ("event at 6 weeks", {"cardiovascular_event": True, "cardiovascular_event_date": dt.date(2026, 12, 10)}, Outcome.INELIGIBLE),
        ("event a day earlier", {"cardiovascular_event": True, "cardiovascular_event_date": dt.date(2026, 12, 9)}, Outcome.ELIGIBLE),
        ("event undated", {"cardiovascular_event": True}, Outcome.INCOMPLETE),
        ("event unknown", {"cardiovascular_event": None}, Outcome.INCOMPLETE),
        ("bipolar", {"primary_diagnosis": "F31.4"}, Outcome.REVIEW_REQUIRED),
        ("single episode", {"primary_diagnosis": "F32.2"}, Outcome.ELIGIBLE),
        ("anxiety only", {"primary_diagnosis": "F41.1"}, Outcome.INELIGIBLE),
        ("no diagnosis", {"primary_diagnosis": None}, Outcome.INCOMPLETE),
        ("drug screen positive", {"drug_screen": TestResult(Sign.POSITIVE, DAY)}, Outcome.REVIEW_REQUIRED),
        ("no drug screen", {"drug_screen": None}, Outcome.INCOMPLETE),
        ("risk HIGH is for a human, not a no", {"cssrs": RiskLevel.HIGH}, Outcome.REVIEW_REQUIRED),
        ("risk MODERATE", {"cssrs": RiskLevel.MODERATE}, Outcome.REVIEW_REQUIRED),
        ("risk INCOMPLETE", {"cssrs": RiskLevel.INCOMPLETE}, Outcome.INCOMPLETE),
        ("risk unknown", {"cssrs": None}, Outcome.INCOMPLETE),
        ("risk old", {"cssrs_at": DAY - dt.timedelta(days=31)}, Outcome.INCOMPLETE),
        ("AUDIT-C 2", {"audit_c": 2}, Outcome.ELIGIBLE),
        ("AUDIT-C 3, woman", {"audit_c": 3}, Outcome.REVIEW_REQUIRED),
        ("AUDIT-C 3, man", {"audit_c": 3, "sex_at_birth": Sex.MALE, "hcg": None, "pregnancy_potential": False}, Outcome.ELIGIBLE),
        ("AUDIT-C 4, man", {"audit_c": 4, "sex_at_birth": Sex.MALE, "hcg": None, "pregnancy_potential": False}, Outcome.REVIEW_REQUIRED),
        ("AUDIT-C unknown", {"audit_c": None}, Outcome.INCOMPLETE),
        ("DAST 2", {"dast10": 2}, Outcome.ELIGIBLE),
        ("DAST 3", {"dast10": 3}, Outcome.REVIEW_REQUIRED),
        ("STOP-BANG 2", {"stop_bang": 2}, Outcome.ELIGIBLE),
        ("STOP-BANG 3", {"stop_bang": 3}, Outcome.REVIEW_REQUIRED),
    ],
)  # fmt: skip
def test_rows(row: str, changes: dict[str, Any], expected: Outcome) -> None:
    assert outcome(**changes) is expected, row


@pytest.mark.parametrize(
    ("birth", "expected"),
    [
        ("2009-01-22", Outcome.REVIEW_REQUIRED),  # 17
        ("2009-01-21", Outcome.ELIGIBLE),  # 18 today
        ("1962-01-22", Outcome.ELIGIBLE),  # 64
        ("1962-01-21", Outcome.REVIEW_REQUIRED),  # 65 today
        ("1951-01-21", Outcome.REVIEW_REQUIRED),  # 76
    ],
)
def test_age(birth: str, expected: Outcome) -> None:
    assert outcome(birth_date=dt.date.fromisoformat(birth)) is expected


@pytest.mark.parametrize("name", ["ecg", "renal", "liver", "blood_count", "metabolic_panel", "tsh"])
def test_each_test_is_due_fresh_and_normal(name: str) -> None:
    assert outcome(**{name: None}) is Outcome.INCOMPLETE
    assert outcome(**{name: TestResult(Sign.ABNORMAL, DAY)}) is Outcome.REVIEW_REQUIRED
    assert outcome(**{name: TestResult(Sign.NORMAL, NOW.at - dt.timedelta(days=90))}) is Outcome.ELIGIBLE
    assert outcome(**{name: TestResult(Sign.NORMAL, NOW.at - dt.timedelta(days=90, seconds=1))}) is Outcome.INCOMPLETE
    assert outcome(**{name: TestResult(Sign.NORMAL, NOW.at + dt.timedelta(seconds=1))}) is Outcome.INCOMPLETE


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        ("44.9 kg", Outcome.REVIEW_REQUIRED), ("45.0 kg", Outcome.ELIGIBLE),
        ("29.9 kg", Outcome.INCOMPLETE), ("300.1 kg", Outcome.INCOMPLETE),
        ("180.8 [lb_av]", Outcome.ELIGIBLE), ("65.9 [lb_av]", Outcome.INCOMPLETE),
    ],
)  # fmt: skip
def test_weight_limits(weight: str, expected: Outcome) -> None:
    assert outcome(weight=seen(weight, DAY)) is expected


@pytest.mark.parametrize(
    ("weight", "height", "expected"),
    [
        ("115.0", "200.0", Outcome.ELIGIBLE),
        ("115.1", "200.0", Outcome.REVIEW_REQUIRED),
        ("101.2", "184.0", Outcome.ELIGIBLE),  # BMI 29.89
        ("76.8", "160.0", Outcome.REVIEW_REQUIRED),  # BMI exactly 30
        ("76.7", "160.0", Outcome.ELIGIBLE),
        ("46.0", "182.0", Outcome.INCOMPLETE),  # BMI 13.89: confirm the units
        ("86.4", "120.0", Outcome.REVIEW_REQUIRED),  # BMI exactly 60
        ("86.5", "120.0", Outcome.INCOMPLETE),
        ("50.0", "119.9", Outcome.INCOMPLETE),
        ("90.0", "230.1", Outcome.INCOMPLETE),
    ],
)
def test_body_mass_limits(weight: str, height: str, expected: Outcome) -> None:
    assert outcome(weight=seen(f"{weight} kg", DAY), height=seen(f"{height} cm", DAY)) is expected


def later(minutes: int) -> dt.datetime:
    return DAY + dt.timedelta(minutes=minutes)


@pytest.mark.parametrize(
    ("readings", "expected"),
    [
        ((bp(140, 90),), Outcome.ELIGIBLE),
        ((bp(141, 90),), Outcome.REVIEW_REQUIRED),
        ((bp(140, 91),), Outcome.REVIEW_REQUIRED),
        ((bp(159, 99),), Outcome.REVIEW_REQUIRED),
        ((bp(160, 80),), Outcome.INCOMPLETE),
        ((bp(130, 100),), Outcome.INCOMPLETE),
        ((bp(160, 80), bp(130, 100, later(9))), Outcome.INELIGIBLE),
        ((bp(160, 80), bp(130, 80, later(9))), Outcome.INCOMPLETE),
        ((bp(160, 80), bp(130, 80, later(9)), bp(128, 80, later(18))), Outcome.ELIGIBLE),
        ((bp(170, 80), bp(170, 80, later(9)), bp(130, 80, later(18))), Outcome.INCOMPLETE),
        ((bp(80, 120),), Outcome.INCOMPLETE),
        ((bp(40, 30),), Outcome.INCOMPLETE),
        ((bp(128, 78, NOW.at - dt.timedelta(days=31)),), Outcome.INCOMPLETE),
        ((), Outcome.INCOMPLETE),
    ],
)
def test_blood_pressure(readings: Any, expected: Outcome) -> None:
    assert outcome(blood_pressure=readings) is expected


@pytest.mark.parametrize(
    ("name", "low", "below", "high", "above"),
    [
        ("heart_rate", "25 /min", "24 /min", "220 /min", "221 /min"),
        ("resp_rate", "4 /min", "3 /min", "60 /min", "61 /min"),
        ("spo2", "50 %", "49 %", "100 %", "100.1 %"),
        ("temperature", "30.0 Cel", "29.9 Cel", "43.0 Cel", "43.1 Cel"),
    ],
)
def test_plausible_ranges(name: str, low: str, below: str, high: str, above: str) -> None:
    for usable in (low, high):
        assert outcome(**{name: seen(usable, DAY)}) is Outcome.ELIGIBLE
    for not_usable in (below, above):
        assert outcome(**{name: seen(not_usable, DAY)}) is Outcome.INCOMPLETE
    assert outcome(**{name: None}) is Outcome.INCOMPLETE


# --- Interactions -----------------------------------------------------------------------------------------------------

BY_GROUP = {
    "drugs.benzodiazepine": Outcome.INCOMPLETE,  # the daily dose is asked for
    "drugs.depressant": Outcome.REVIEW_REQUIRED,
    "drugs.theophylline": Outcome.INELIGIBLE,
    "drugs.pressor": Outcome.ELIGIBLE_WITH_CONDITIONS,
    "drugs.response": Outcome.REVIEW_REQUIRED,
    "drugs.cyp3a4": Outcome.ELIGIBLE_WITH_CONDITIONS,
    "drugs.glp1": Outcome.REVIEW_REQUIRED,
}


@pytest.mark.parametrize(("group", "drug"), [(g, drug) for g in DRUG_RULES for drug in RULES.lists[g]])
def test_each_interacting_drug_is_found(group: str, drug: str) -> None:
    found = eligibility(eligible(medications=("amlodipine", drug.title())), RULES)
    assert found.outcome is BY_GROUP[group]
    assert found.fired() == (DRUG_RULES[group],)
    assert drug in found.findings[0].reason


@pytest.mark.parametrize(
    ("daily", "expected"), [("2 mg/d", Outcome.ELIGIBLE_WITH_CONDITIONS), ("2.1 mg/d", Outcome.REVIEW_REQUIRED)]
)
def test_lorazepam_equivalent_cap(daily: str, expected: Outcome) -> None:
    found = eligibility(eligible(medications=("clonazepam",), lorazepam_equivalent=q(daily)), RULES)
    assert found.outcome is expected
    assert found.findings[0].action


# --- Precedence and monotony ------------------------------------------------------------------------------------------

LADDER: list[tuple[Outcome, dict[str, Any]]] = [
    (Outcome.INELIGIBLE, {"aneurysm_or_avm": True}),
    (Outcome.INCOMPLETE, {"ecg": None}),
    (Outcome.REVIEW_REQUIRED, {"seizure": True}),
    (Outcome.ELIGIBLE_WITH_CONDITIONS, {"child_pugh": "B"}),
]


@pytest.mark.parametrize("first", range(4))
def test_precedence_and_every_list_is_shown(first: int) -> None:
    changes: dict[str, Any] = {}
    for _, change in LADDER[first:]:
        changes |= change
    found = eligibility(eligible(**changes), RULES)
    assert found.outcome is LADDER[first][0]
    expected = [("K-E-ANEURYSM", 0), ("K-E-SEIZURE", 2), ("K-E-CHILD-PUGH-B", 3)]
    assert set(found.fired()) == {rule for rule, at in expected if at >= first}
    assert found.lacks() == (("ecg",) if first <= 1 else ())


FACTS = [f.name for f in dataclasses.fields(EligibilityCase) if f.name != "at"]
RANK = [
    Outcome.ELIGIBLE,
    Outcome.ELIGIBLE_WITH_CONDITIONS,
    Outcome.REVIEW_REQUIRED,
    Outcome.INCOMPLETE,
    Outcome.INELIGIBLE,
]


def blank(case: EligibilityCase, names: set[str]) -> EligibilityCase:
    """The case with these facts unknown."""
    unknown: dict[str, Any] = {name: () if name == "blood_pressure" else None for name in names}
    return replace(case, **unknown)


@settings(max_examples=150)
@given(st.sets(st.sampled_from(FACTS)), st.sampled_from(sorted(ABSOLUTE)), st.sets(st.sampled_from(FACTS)))
def test_more_data_never_turns_ineligible_into_eligible(hidden: set[str], finding: str, still: set[str]) -> None:
    known = {finding: True}
    everything = eligible(**known)

    def without(names: set[str]) -> EligibilityCase:
        return blank(everything, names - {finding})

    less, more = without(hidden), without(hidden & still)
    assert eligibility(less, RULES).outcome is Outcome.INELIGIBLE
    assert eligibility(more, RULES).outcome is Outcome.INELIGIBLE


@settings(max_examples=150)
@given(
    st.sets(
        st.sampled_from([f for f in FACTS if f not in {"lorazepam_equivalent", "cardiovascular_event_date"}]),
        min_size=1,
    )
)
def test_missing_data_never_gives_eligible(hidden: set[str]) -> None:
    assert eligibility(blank(eligible(), hidden), RULES).outcome in (Outcome.INCOMPLETE, Outcome.INELIGIBLE)


def test_valid_until_is_thirty_days_on() -> None:
    found = eligibility(eligible(), RULES).result
    assert found is not None
    assert found.valid_until == dt.date(2027, 2, 20)


@pytest.mark.parametrize("fact", [f for f in FACTS if f not in {"lorazepam_equivalent", "cardiovascular_event_date"}])
def test_each_fact_alone_unknown_is_incomplete(fact: str) -> None:
    assert eligibility(blank(eligible(), {fact}), RULES).outcome is Outcome.INCOMPLETE
