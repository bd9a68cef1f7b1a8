"""Complete, unremarkable ketamine cases; a test changes the one fact it is about."""

import datetime as dt
from dataclasses import replace
from typing import Any

from services.therapies.body import Sex
from services.therapies.evidence import Outcome
from services.therapies.instruments import RiskLevel
from services.therapies.ketamine.discharge import DischargeCase
from services.therapies.ketamine.dosing import Basis, DoseCase, DosePlan
from services.therapies.ketamine.eligibility import (
    QUESTIONS,
    BloodPressure,
    EligibilityCase,
    Severity,
    Sign,
    TestResult,
    Trial,
    TrialOutcome,
)
from services.therapies.ketamine.gates import FACT_OWNERS, ResumeCase, StartCase, VitalsSet
from tests.support.rules import local, q, seen, wall

_OPEN, _HOLD, _NO = Outcome.OPEN, Outcome.HOLD, Outcome.NO_START
START_BANDS: dict[str, dict[int, Outcome]] = {
    "sbp": {89: _NO, 90: _OPEN, 140: _OPEN, 141: _HOLD, 159: _HOLD, 160: _NO},
    "dbp": {90: _OPEN, 91: _HOLD, 99: _HOLD, 100: _NO},
    "heart_rate": {49: _NO, 50: _OPEN, 100: _OPEN, 101: _HOLD, 120: _HOLD, 121: _NO},
    "spo2": {92: _NO, 93: _HOLD, 94: _HOLD, 95: _OPEN, 100: _OPEN},
    "resp_rate": {9: _NO, 10: _OPEN, 24: _OPEN, 25: _HOLD, 30: _HOLD, 31: _NO},
}
"""The start table: V-V1, V-V2, V-V4 and the rest. A systolic value is beside a diastolic one of 60."""
RESUME_BAND: tuple[tuple[str, int, bool], ...] = (
    ("sbp", 95, False), ("sbp", 96, True), ("sbp", 159, True), ("sbp", 160, False),
    ("dbp", 99, True), ("dbp", 100, False), ("spo2", 94, False), ("spo2", 95, True),
    ("heart_rate", 50, False), ("heart_rate", 51, True), ("heart_rate", 109, True), ("heart_rate", 110, False),
    ("resp_rate", 10, False), ("resp_rate", 11, True), ("resp_rate", 24, True), ("resp_rate", 25, False),
    ("moaa_s", 3, False), ("moaa_s", 4, True),
)  # fmt: skip
"""Values with which an infusion may go on, and with which not (decision A9)."""
DISCHARGE_LIMITS: tuple[tuple[str, int, bool], ...] = (
    ("sbp", 89, False), ("sbp", 90, True), ("sbp", 140, True), ("sbp", 141, False), ("dbp", 90, True), ("dbp", 91, False),
    ("heart_rate", 49, False), ("heart_rate", 50, True), ("heart_rate", 110, True), ("heart_rate", 111, False),
    ("resp_rate", 9, False), ("resp_rate", 10, True), ("resp_rate", 24, True), ("resp_rate", 25, False),
    ("spo2", 94, False), ("spo2", 95, True),
)  # fmt: skip
"""Values with which somebody may go home whose baseline was lower, and with which not (decision A14)."""
NOW = wall("2027-01-21T16:00")
DAY = local("2027-01-21T10:00")
START = wall("2027-01-25T10:30")


def bp(sbp: int | str, dbp: int | str, at: dt.datetime = DAY) -> BloodPressure:
    return BloodPressure(q(f"{sbp} mm[Hg]"), q(f"{dbp} mm[Hg]"), at)


def trial(drug: str, dose: str, start: str, end: str | None, outcome: str | None, **more: Any) -> Trial:
    return Trial(
        drug=drug,
        dose=q(f"{dose} mg/d"),
        start=dt.date.fromisoformat(start),
        end=dt.date.fromisoformat(end) if end else None,
        outcome=TrialOutcome(outcome) if outcome else None,
        **{"adherence": q("95 %"), **more},
    )


TRIALS = (
    trial("sertraline", "100", "2026-01-01", "2026-02-26", "none"),  # 8 weeks
    trial("bupropion", "300", "2026-03-01", "2026-04-19", "partial"),  # 7 weeks
)


def eligible(**changes: Any) -> EligibilityCase:
    """A patient nothing speaks against: ELIGIBLE."""
    answers: dict[str, Any] = dict.fromkeys(QUESTIONS, False)
    answers["capacity_confirmed"] = True
    normal = TestResult(Sign.NORMAL, DAY)
    case = EligibilityCase(
        at=NOW,
        birth_date=dt.date(1983, 6, 9),
        sex_at_birth=Sex.FEMALE,
        pregnancy_potential=True,
        primary_diagnosis="F33.2",
        trials=TRIALS,
        episode_start=dt.date(2025, 7, 14),
        severity=Severity.SEVERE,
        augmentations=(),
        ect=False,
        allergies=(),
        medications=("amlodipine",),
        weight=seen("82.0 kg", DAY),
        height=seen("168.0 cm", DAY),
        blood_pressure=(bp(128, 78),),
        heart_rate=seen("74 /min", DAY),
        resp_rate=seen("14 /min", DAY),
        spo2=seen("98 %", DAY),
        temperature=seen("36.7 Cel", DAY),
        ecg=normal,
        renal=normal,
        liver=normal,
        blood_count=normal,
        metabolic_panel=normal,
        tsh=normal,
        drug_screen=TestResult(Sign.NEGATIVE, DAY),
        hcg=TestResult(Sign.NEGATIVE, DAY),
        cssrs=RiskLevel.LOW,
        cssrs_at=DAY,
        audit_c=1,
        dast10=0,
        stop_bang=2,
        child_pugh="none",
        cardiovascular_event=False,
        **answers,
    )
    return replace(case, **changes)


PLAN = DosePlan(dose=q("0.5 mg/kg"), basis=Basis.ACTUAL, duration=q("40 min"))


def dose_case(weight: str = "82.0 kg", plan: DosePlan = PLAN, **changes: Any) -> DoseCase:
    case = DoseCase(
        at=START,
        plan=plan,
        weight=seen(weight, local("2027-01-25T10:17")),
        strength=q("50 mg/mL"),
        bag=q("100 mL"),
    )
    return replace(case, **changes)


def vitals(at: dt.datetime = START.at - dt.timedelta(minutes=13), **changes: Any) -> VitalsSet:
    """128/78, HR 76, RR 14, SpO2 98 on room air, MOAA/S 5; numbers get their units."""
    units = {"sbp": "mm[Hg]", "dbp": "mm[Hg]", "heart_rate": "/min", "resp_rate": "/min", "spo2": "%"}
    values: dict[str, Any] = {
        "sbp": 128,
        "dbp": 78,
        "heart_rate": 76,
        "resp_rate": 14,
        "spo2": 98,
        "on_oxygen": False,
        "moaa_s": 5,
    } | changes
    given: dict[str, Any] = {k: q(f"{v} {units[k]}") if k in units and v is not None else v for k, v in values.items()}
    return VitalsSet(at=at, **given)


def start_case(**changes: Any) -> StartCase:
    """A start nothing speaks against: OPEN."""
    now = START.at
    case = StartCase(
        at=START,
        identity_confirmed=True,
        consent_withdrawn=False,
        consent_version="v3",
        consent_current_version="v3",
        consent_reconfirmed_at=now - dt.timedelta(minutes=10),
        hcg_due=True,
        hcg="negative",
        hcg_at=now - dt.timedelta(minutes=9),
        eligibility=Outcome.REVIEW_REQUIRED,
        eligibility_signed=True,
        eligibility_valid_until=dt.date(2027, 2, 20),
        plan_signed_and_active=True,
        in_person_evaluation=True,
        prescriber_on_site=True,
        nurse_infusing=1,
        nurse_total=1,
        escort_named_and_phoned=True,
        pdmp_due=True,
        pdmp_checked_at=now - dt.timedelta(minutes=25),
        last_solids=local("2027-01-24T20:00"),
        last_clear_fluids=local("2027-01-25T08:15"),
        substances=False,
        glp1=False,
        cssrs=RiskLevel.LOW,
        cssrs_at=now - dt.timedelta(minutes=20),
        changes_reported=(),
        review_before_next_session_open=False,
        other_session_open=False,
        monitor_linked=True,
        dose_settled=True,
        birth_date=dt.date(1983, 6, 9),
        cadss6=0,
        facts_as_of=dict.fromkeys(FACT_OWNERS, now - dt.timedelta(seconds=5)),
        sets=(vitals(),),
    )
    return replace(case, **changes)


def resume_case(**changes: Any) -> ResumeCase:
    """A resume nothing speaks against: OPEN."""
    at = wall("2027-01-25T11:00")
    case = ResumeCase(
        at=at,
        paused_at=at.at - dt.timedelta(minutes=10),
        prescriber_ordered=True,
        patient_agrees=True,
        consent_withdrawn=False,
        prescriber_on_site=True,
        plan_signed_and_active=True,
        stop_open=False,
        red_unanswered=False,
        vitals=vitals(at.at - dt.timedelta(minutes=2)),
        rate=q("150 mL/h"),
        plan_rate=q("150 mL/h"),
        nurse_infusing=1,
        nurse_total=1,
        facts_as_of=dict.fromkeys(FACT_OWNERS, at.at - dt.timedelta(seconds=5)),
    )
    return replace(case, **changes)


def discharge_case(**changes: Any) -> DischargeCase:
    """A discharge nothing speaks against: READY, at 12:34."""
    day = "2027-01-25T"
    case = DischargeCase(
        at=wall(day + "12:34"),
        started=local(day + "10:30"),
        ended=local(day + "11:10"),
        baseline=vitals(),
        baseline_cadss6=0,
        sets=(vitals(local(day + "12:10")), vitals(local(day + "12:25"))),
        cadss6=1,
        aldrete=10,
        oriented_x4=True,
        gait_steady=True,
        vomiting=False,
        escort_seen=True,
        alert_open=False,
        baseline_risk=RiskLevel.LOW,
        cssrs=RiskLevel.NONE,
        cssrs_at=local(day + "12:28"),
        red_occurred=False,
        signer_role="nurse",
        instructions_given=True,
        contact_booked=True,
    )
    return replace(case, **changes)
