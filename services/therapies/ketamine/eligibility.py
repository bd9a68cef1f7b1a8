"""Who may be proposed for ketamine infusions: treatment resistance, staging, contraindications, interactions, tests.

Ketamine is approved as an anaesthetic; its use in depression is off-label and every text says so.
"""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final

from schemas.values import Moment, Quantity
from services.therapies.body import Sex, bmi_met, bmi_shown
from services.therapies.calendar import months_between, whole_years
from services.therapies.evidence import (
    ELIGIBILITY_PRECEDENCE,
    Assessment,
    Evaluation,
    Observation,
    Outcome,
    Thresholds,
)
from services.therapies.instruments import RiskLevel

__all__ = [
    "BloodPressure",
    "Eligibility",
    "EligibilityCase",
    "Maudsley",
    "Severity",
    "TestResult",
    "Trial",
    "TrialJudgement",
    "TrialOutcome",
    "eligibility",
    "judge_trial",
    "maudsley",
]


class TrialOutcome(StrEnum):
    """What an antidepressant trial achieved; partial is an improvement below response (less than 50 %)."""

    REMISSION = "remission"
    RESPONSE = "response"
    PARTIAL = "partial"
    NONE = "none"
    INTOLERANT = "intolerant"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One antidepressant course.

    Attributes:
        drug: generic name as in the signed list of minimum doses.
        dose: highest daily dose.
        start, end: of the course; no end means ongoing, counted to the evaluation date.
        outcome: None when not known.
        weeks_at_dose: weeks at or above the minimum effective dose; None takes the whole course.
        adherence: share of doses taken; None is counted and flagged.
        current_episode: False for a course of an earlier episode, which does not count.
    """

    drug: str
    dose: Quantity
    start: dt.date
    end: dt.date | None = None
    outcome: TrialOutcome | None = None
    weeks_at_dose: Decimal | None = None
    adherence: Quantity | None = None
    current_episode: bool = True


@dataclass(frozen=True, slots=True)
class TrialJudgement:
    """How a course counts: ``failed``, ``intolerant``, ``helped``, ``inadequate``, ``other episode`` or ``unknown``.

    ``weeks`` has one decimal, half up, for display; the comparison is made in days.
    """

    drug: str
    verdict: str
    weeks: Decimal
    notes: tuple[str, ...] = ()


class Severity(StrEnum):
    """Baseline severity category of the Maudsley staging method."""

    SUBSYNDROMAL = "subsyndromal"
    MILD = "mild"
    MODERATE = "moderate"
    SEVERE = "severe"
    PSYCHOTIC = "severe with psychosis"


@dataclass(frozen=True, slots=True)
class Maudsley:
    """Maudsley staging (Fekadu 2009, 2018): points per dimension, their total 3 to 15, and the band."""

    duration: int
    severity: int
    failures: int
    augmentation: int
    ect: int
    total: int
    band: str


class Sign(StrEnum):
    """Result of a test."""

    NORMAL = "normal"
    ABNORMAL = "abnormal"
    NEGATIVE = "negative"
    POSITIVE = "positive"


@dataclass(frozen=True, slots=True)
class TestResult:
    """A test as read by a clinician."""

    __test__ = False  # not a pytest class

    result: Sign
    at: dt.datetime


@dataclass(frozen=True, slots=True)
class BloodPressure:
    """One reading."""

    sbp: Quantity
    dbp: Quantity
    at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class EligibilityCase:
    """What intake, tests and visits know about a patient at ``at``. None is unknown and never counts as fine.

    ``trials``, ``medications`` and ``allergies`` are None until asked; an empty tuple is "none". ``episode_start``
    dates the current episode. ``cssrs`` is the level of the baseline suicide screen. The yes/no fields are asked by the
    signed contraindication rules.
    """

    at: Moment
    birth_date: dt.date | None = None
    sex_at_birth: Sex | None = None
    pregnancy_potential: bool | None = None
    primary_diagnosis: str | None = None
    trials: tuple[Trial, ...] | None = None
    episode_start: dt.date | None = None
    severity: Severity | None = None
    augmentations: tuple[str, ...] | None = None
    ect: bool | None = None
    allergies: tuple[str, ...] | None = None
    medications: tuple[str, ...] | None = None
    lorazepam_equivalent: Quantity | None = None
    weight: Observation | None = None
    height: Observation | None = None
    blood_pressure: tuple[BloodPressure, ...] = ()
    heart_rate: Observation | None = None
    resp_rate: Observation | None = None
    spo2: Observation | None = None
    temperature: Observation | None = None
    ecg: TestResult | None = None
    renal: TestResult | None = None
    liver: TestResult | None = None
    blood_count: TestResult | None = None
    metabolic_panel: TestResult | None = None
    tsh: TestResult | None = None
    drug_screen: TestResult | None = None
    hcg: TestResult | None = None
    cssrs: RiskLevel | None = None
    cssrs_at: dt.datetime | None = None
    audit_c: int | None = None
    dast10: int | None = None
    stop_bang: int | None = None
    child_pugh: str | None = None
    cardiovascular_event: bool | None = None
    cardiovascular_event_date: dt.date | None = None
    ketamine_hypersensitivity: bool | None = None
    pressure_rise_hazard: bool | None = None
    aneurysm_or_avm: bool | None = None
    intracerebral_haemorrhage: bool | None = None
    raised_intracranial_pressure: bool | None = None
    eye_pressure_uncontrolled: bool | None = None
    glaucoma_controlled: bool | None = None
    psychosis_current: bool | None = None
    psychosis_past: bool | None = None
    mania_current: bool | None = None
    schizophrenia_spectrum: bool | None = None
    lactating: bool | None = None
    substance_use_disorder_active: bool | None = None
    intoxicated: bool | None = None
    ketamine_or_pcp_misuse: bool | None = None
    delirium_dementia_or_intellectual_disability: bool | None = None
    capacity_confirmed: bool | None = None
    arrhythmia_unstable: bool | None = None
    heart_failure_decompensated: bool | None = None
    cerebrovascular_unstable: bool | None = None
    hypertension_treated: bool | None = None
    sleep_apnoea: bool | None = None
    cystitis_or_urinary_symptoms: bool | None = None
    hyperthyroid: bool | None = None
    seizure: bool | None = None
    ptsd_or_dissociative: bool | None = None
    personality_disorder_primary: bool | None = None
    glp1_agonist: bool | None = None


@dataclass(frozen=True, slots=True)
class Eligibility:
    """What the evaluation worked out besides its findings.

    Attributes:
        treatment_resistant: None while trials are unknown.
        trials: each course and how it counts.
        maudsley: None when it does not apply (no failed trial) or a dimension is unknown.
        bmi: kg/m2 with two decimals, for display.
        valid_until: last local date on which a decision signed now may be used.
    """

    treatment_resistant: bool | None
    trials: tuple[TrialJudgement, ...]
    maudsley: Maudsley | None
    bmi: Decimal | None
    valid_until: dt.date


QUESTIONS: Final = frozenset(name for name, kind in EligibilityCase.__annotations__.items() if kind == (bool | None)) - {
    "pregnancy_potential",
    "ect",
    "cardiovascular_event",
}

RULES: Final = frozenset(
    f"K-E-{name}"
    for name in [
        "AGE",
        "DIAGNOSIS",
        "BIPOLAR",
        "NOT-TRD",
        "WEIGHT",
        "OBESITY",
        "BP",
        "BP-RAISED",
        "PREGNANCY",
        "CV-EVENT",
        "CHILD-PUGH-C",
        "CHILD-PUGH-B",
        "OSA",
        "TEST",
        "DRUG-SCREEN",
        "ALCOHOL",
        "DRUGS",
        "RISK",
        "BENZODIAZEPINE",
        "BENZODIAZEPINE-CAP",
        "DEPRESSANT",
        "THEOPHYLLINE",
        "PRESSOR",
        "RESPONSE-DRUG",
        "CYP3A4",
        "GLP1",
    ]
)


def eligibility(case: EligibilityCase, rules: Thresholds) -> Evaluation[Eligibility]:
    """Propose an eligibility outcome; INELIGIBLE > INCOMPLETE > REVIEW_REQUIRED > ELIGIBLE_WITH_CONDITIONS > ELIGIBLE.

    Every finding and every missing fact is listed whatever the outcome. ELIGIBLE needs every fact known, fresh and
    plausible.
    """
    e = Assessment("ketamine.eligibility", rules, case.at.at)
    e.ask(case, "K-E-")
    _person(case, e)
    trials = _trials(case, e)
    bmi = _body(case, e)
    _pressure(case, e)
    _other_vitals(case, e)
    _tests(case, e)
    _scores(case, e)
    _conditions(case, e)
    _medications(case, e)
    staging = _staging(case, trials, e)
    result = Eligibility(
        _resistant(trials, rules) if case.trials is not None else None,
        trials,
        staging,
        bmi,
        case.at.date + rules["eligibility.valid"].elapsed,
    )
    return e.close(e.worst(ELIGIBILITY_PRECEDENCE, Outcome.INCOMPLETE), result)


def _person(case: EligibilityCase, e: Assessment) -> None:
    born = e.look("birth_date", case.birth_date)
    if case.birth_date is None:
        e.lack("birth_date", "age")
    else:
        age = Quantity(Decimal(whole_years(case.birth_date, case.at.date)), "a")
        if e.thresholds["age.minimum"].met_by(age) or e.thresholds["age.elderly"].met_by(age):
            e.fire("K-E-AGE", born, detail=f"{age.value} years")
    code = e.look("primary_diagnosis", case.primary_diagnosis)
    if not case.primary_diagnosis:
        e.lack("primary_diagnosis", "indication")
    elif case.primary_diagnosis.startswith("F31"):
        e.fire("K-E-BIPOLAR", code)
    elif not case.primary_diagnosis.startswith(("F32", "F33")):
        e.fire("K-E-DIAGNOSIS", code)
    e.look("allergies", case.allergies)
    if case.allergies is None:
        e.lack("allergies", "hypersensitivity")
    elif case.ketamine_hypersensitivity is not True and any("ketamine" in a.lower() for a in case.allergies):
        e.fire("K-E-HYPERSENSITIVITY", e.inputs["allergies"])


def judge_trial(trial: Trial, on: dt.date, rules: Thresholds) -> TrialJudgement:
    """How one antidepressant course counts towards treatment resistance, on a date.

    A failed course has at least the minimum effective dose for at least the signed number of weeks, adherence not known
    to be below the limit, and less than response. Stopped early for side effects is counted apart (Sackeim 2019).
    """
    days = ((trial.end or on) - trial.start).days
    weeks = Decimal(days) / 7
    if trial.weeks_at_dose is not None:
        weeks = min(weeks, trial.weeks_at_dose)
    shown = weeks.quantize(Decimal("0.1"))
    minimum = rules.values.get(f"trd.dose.{trial.drug.lower()}")
    notes = ("adherence unknown",) if trial.adherence is None else ()
    if not trial.current_episode:
        verdict = "other episode"
    elif trial.outcome is TrialOutcome.INTOLERANT:
        verdict = "intolerant"
    elif trial.outcome in (TrialOutcome.RESPONSE, TrialOutcome.REMISSION):
        verdict = "helped"
    elif trial.outcome is None or minimum is None:
        verdict = "unknown"
    elif (
        minimum.met_by(trial.dose)
        and rules["trd.min_weeks"].met_by(Quantity(weeks, "wk"))
        and (trial.adherence is None or rules["trd.adherence"].met_by(trial.adherence))
    ):
        verdict = "failed"
    else:
        verdict = "inadequate"
    return TrialJudgement(trial.drug, verdict, shown, notes)


def _trials(case: EligibilityCase, e: Assessment) -> tuple[TrialJudgement, ...]:
    if case.trials is None:
        e.look("trials", None)
        e.lack("trials", "treatment resistance")
        return ()
    judged = []
    for i, trial in enumerate(case.trials):
        verdict = judge_trial(trial, case.at.date, e.thresholds)
        end = trial.end.isoformat() if trial.end else "ongoing"
        e.look(f"trials[{i}]", f"{trial.drug} {trial.dose}, {trial.start} to {end}, {verdict.weeks} wk: {verdict.verdict}")
        judged.append(verdict)
    if not _resistant(tuple(judged), e.thresholds):
        unknown = [i for i, verdict in enumerate(judged) if verdict.verdict == "unknown"]
        for i in unknown:
            e.lack(f"trials[{i}]", "outcome, or a drug without a signed minimum dose")
        if not unknown:
            e.fire("K-E-NOT-TRD", detail=f"{sum(v.verdict == 'failed' for v in judged)} failed adequate trials")
    return tuple(judged)


def _resistant(trials: Iterable[TrialJudgement], rules: Thresholds) -> bool:
    failed = sum(verdict.verdict == "failed" for verdict in trials)
    return rules["trd.min_trials"].met_by(Quantity(Decimal(failed), "1"))


def maudsley(
    duration: Quantity, severity: Severity, failures: int, augmentation: bool, ect: bool, rules: Thresholds
) -> Maudsley | None:
    """Stage a depressive episode; None when no antidepressant failed, because the method then does not apply.

    Args:
        duration: of the episode, in months; a fraction above 12 counts as the next category.
        failures: failed adequate antidepressants.
        augmentation, ect: whether ever used in this episode.
    """
    count = Quantity(Decimal(failures), "1")
    if failures < 1:
        return None
    points = (
        int(rules.band("msm.duration", duration)),
        list(Severity).index(severity) + 1,
        int(rules.band("msm.failures", count)),
        int(augmentation),
        int(ect),
    )
    total = sum(points)
    return Maudsley(*points, total=total, band=rules.band("msm.band", Quantity(Decimal(total), "{score}")))


def _staging(case: EligibilityCase, trials: tuple[TrialJudgement, ...], e: Assessment) -> Maudsley | None:
    for name in ("episode_start", "severity", "augmentations", "ect"):
        e.look(name, getattr(case, name))
        if getattr(case, name) is None:
            e.lack(name, "Maudsley staging")
    if case.severity is Severity.PSYCHOTIC and case.psychosis_current is not True:
        e.fire("K-E-PSYCHOSIS", e.inputs["severity"])
    if case.episode_start is None or case.severity is None or case.augmentations is None or case.ect is None:
        return None
    months, more = months_between(case.episode_start, case.at.date)
    duration = Quantity(Decimal(2 * months + more) / 2, "mo")  # days over a whole month: any fraction decides the same
    failed = sum(verdict.verdict == "failed" for verdict in trials)
    return maudsley(duration, case.severity, failed, bool(case.augmentations), case.ect, e.thresholds)


def plausible(name: str, kind: str, value: Quantity, e: Assessment) -> bool:
    """Whether a value is inside the signed plausible range; outside it is noted as not usable, never as normal."""
    low, high = e.thresholds[f"plausible.{kind}.low"], e.thresholds[f"plausible.{kind}.high"]
    if low.met_by(value) or high.met_by(value):
        e.lack(
            name,
            f"{value} is outside {low.quantity} to {high.quantity}: measure again, confirm the unit",
            "implausible",
        )
        return False
    return True


def _body(case: EligibilityCase, e: Assessment) -> Decimal | None:
    limits = e.thresholds
    weight = e.fresh("weight", case.weight, limits["age_of.vitals"], "dose")
    height = e.look("height", case.height)
    if (
        weight
        and plausible("weight", "weight", weight, e)
        and any(limits[f"weight.{k}"].met_by(weight) for k in ("low", "high"))
    ):
        e.fire("K-E-WEIGHT", e.inputs["weight"])
    if case.height is None:
        e.lack("height", "body mass index")
        return None
    if not plausible("height", "height", case.height.value, e) or weight is None:
        return None
    if any(bmi_met(limits[f"plausible.bmi.{k}"], weight, case.height.value) for k in ("low", "high")):
        e.lack("bmi", "body mass index is outside the plausible range: confirm the units", "implausible")
    elif bmi_met(limits["bmi.obese"], weight, case.height.value):
        e.fire("K-E-OBESITY", e.inputs["weight"], height)
    return bmi_shown(weight, case.height.value)


def _pressure(case: EligibilityCase, e: Assessment) -> None:
    """Two newest readings uncontrolled: INELIGIBLE until controlled; one of them: INCOMPLETE, repeat; else the raised
    band: REVIEW.
    """
    limits = e.thresholds
    readings = sorted(case.blood_pressure, key=lambda r: r.at)
    entries = [e.look(f"blood_pressure[{i}]", f"{r.sbp} / {r.dbp}", r.at) for i, r in enumerate(readings)]
    usable = [
        (r, entry)
        for r, entry in zip(readings, entries, strict=True)
        if dt.timedelta(0) <= e.now - r.at <= limits["age_of.vitals"].elapsed
    ]
    if not usable:
        e.lack("blood_pressure", "no reading that is recent enough")
        return
    newest = usable[-2:]
    for r, _ in newest:
        plausible("blood_pressure", "sbp", r.sbp, e)
        plausible("blood_pressure", "dbp", r.dbp, e)
        if r.sbp <= r.dbp:
            e.lack("blood_pressure", "systolic is not above diastolic: measure again", "implausible")
    shown = [entry for _, entry in newest]
    high = [_either("uncontrolled", r, limits) for r, _ in newest]
    if all(high) and len(high) > 1:
        e.fire("K-E-BP", *shown)
    elif any(high):
        e.lack("blood_pressure", "one uncontrolled reading: repeat", "repeat")
    if any(_either("raised", r, limits) for r, _ in newest):
        e.fire("K-E-BP-RAISED", *shown)


def _either(band: str, r: BloodPressure, limits: Thresholds) -> bool:
    return limits[f"pressure.sbp.{band}"].met_by(r.sbp) or limits[f"pressure.dbp.{band}"].met_by(r.dbp)


def _other_vitals(case: EligibilityCase, e: Assessment) -> None:
    for name in ("heart_rate", "resp_rate", "spo2", "temperature"):
        value = e.fresh(name, getattr(case, name), e.thresholds["age_of.vitals"], "intake vitals")
        if value:
            plausible(name, name, value, e)


def _fresh_test(name: str, test: TestResult | None, limit: str, e: Assessment) -> Sign | None:
    e.look(name, test.result if test else None, test.at if test else None)
    if test is None:
        e.lack(name, "test due at intake")
        return None
    if not dt.timedelta(0) <= e.now - test.at <= e.thresholds[limit].elapsed:
        e.lack(name, "test is too old", "stale")
        return None
    return test.result


def _tests(case: EligibilityCase, e: Assessment) -> None:
    for name in ("ecg", "renal", "liver", "blood_count", "metabolic_panel", "tsh"):
        result = _fresh_test(name, getattr(case, name), "age_of.tests", e)
        if result not in (None, Sign.NORMAL):
            e.fire("K-E-TEST", e.inputs[name], detail=name)
    screen = _fresh_test("drug_screen", case.drug_screen, "age_of.tests", e)
    if screen not in (None, Sign.NEGATIVE, Sign.NORMAL):
        e.fire("K-E-DRUG-SCREEN", e.inputs["drug_screen"])
    e.look("pregnancy_potential", case.pregnancy_potential)
    e.look("sex_at_birth", case.sex_at_birth)
    if case.sex_at_birth is None:
        e.lack("sex_at_birth", "chooses cuts and formulas")
    if case.pregnancy_potential is None and case.sex_at_birth is not Sex.MALE:
        e.lack("pregnancy_potential", "decides whether a pregnancy test is due")
    if case.hcg is not None and case.hcg.result not in (Sign.NEGATIVE, Sign.NORMAL):
        # A positive result counts however old it is and whoever was tested.
        e.fire("K-E-PREGNANCY", e.look("hcg", case.hcg.result, case.hcg.at))
    elif case.pregnancy_potential:
        _fresh_test("hcg", case.hcg, "age_of.hcg", e)


def _scores(case: EligibilityCase, e: Assessment) -> None:
    risk = e.look("cssrs", case.cssrs, case.cssrs_at)
    if case.cssrs in (RiskLevel.HIGH, RiskLevel.MODERATE, RiskLevel.INCOMPLETE):
        e.fire("K-E-RISK", risk)
    if case.cssrs is None or case.cssrs_at is None or case.cssrs is RiskLevel.INCOMPLETE:
        e.lack("cssrs", "baseline suicide screen")
    elif not dt.timedelta(0) <= e.now - case.cssrs_at <= e.thresholds["age_of.cssrs"].elapsed:
        e.lack("cssrs", "baseline suicide screen is too old", "stale")
    sex = "male" if case.sex_at_birth is Sex.MALE else "female"
    for name, limit, rule in (
        ("audit_c", f"audit_c.raised.{sex}", "K-E-ALCOHOL"),
        ("dast10", "dast10.raised", "K-E-DRUGS"),
        ("stop_bang", "stop_bang.raised", "K-E-OSA"),
    ):
        value = getattr(case, name)
        entry = e.look(name, value)
        if value is None:
            e.lack(name, "intake screen")
        elif e.thresholds[limit].met_by(Quantity(Decimal(value), "{score}")):
            e.fire(rule, entry)


def _conditions(case: EligibilityCase, e: Assessment) -> None:
    grade = e.look("child_pugh", case.child_pugh)
    if case.child_pugh is None:
        e.lack("child_pugh", "hepatic impairment (none, A, B or C)")
    elif case.child_pugh in ("B", "C"):
        e.fire(f"K-E-CHILD-PUGH-{case.child_pugh}", grade)
    elif case.child_pugh not in ("none", "A"):
        e.lack("child_pugh", "must be none, A, B or C", "invalid")
    event = e.look("cardiovascular_event", case.cardiovascular_event)
    day = e.look("cardiovascular_event_date", case.cardiovascular_event_date)
    if case.cardiovascular_event is None:
        e.lack("cardiovascular_event", "myocardial infarction, stroke or major cardiovascular event")
    elif case.cardiovascular_event and case.cardiovascular_event_date is None:
        e.lack("cardiovascular_event_date", "when it was")
    elif case.cardiovascular_event and case.cardiovascular_event_date is not None:
        ago = Quantity(Decimal((case.at.date - case.cardiovascular_event_date).days), "d")
        if e.thresholds["event.recent"].met_by(ago):
            e.fire("K-E-CV-EVENT", event, day)


DRUG_RULES: Final[Mapping[str, str]] = {
    "drugs.benzodiazepine": "K-E-BENZODIAZEPINE",
    "drugs.depressant": "K-E-DEPRESSANT",
    "drugs.theophylline": "K-E-THEOPHYLLINE",
    "drugs.pressor": "K-E-PRESSOR",
    "drugs.response": "K-E-RESPONSE-DRUG",
    "drugs.cyp3a4": "K-E-CYP3A4",
    "drugs.glp1": "K-E-GLP1",
}


def _medications(case: EligibilityCase, e: Assessment) -> None:
    entry = e.look("medications", case.medications)
    if case.medications is None:
        e.lack("medications", "interactions")
        return
    taken = {name.lower() for name in case.medications}
    fired = {finding.rule for finding in e.findings}
    for group, rule in DRUG_RULES.items():
        found = sorted(taken & set(e.thresholds.lists[group]))
        if found and rule not in fired:
            e.fire(rule, entry, detail=", ".join(found))
        if found and group == "drugs.benzodiazepine":
            daily = e.look("lorazepam_equivalent", case.lorazepam_equivalent)
            if case.lorazepam_equivalent is None:
                e.lack("lorazepam_equivalent", "daily benzodiazepine dose")
            elif e.thresholds["lorazepam.cap"].met_by(case.lorazepam_equivalent):
                e.fire("K-E-BENZODIAZEPINE-CAP", daily)
