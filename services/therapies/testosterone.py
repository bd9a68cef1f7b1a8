"""Testosterone replacement: two low morning samples, what speaks against it, titration by level and sampling point,
monitoring.

A level is compared only when its unit, its local collection time and its relation to the last dose are known.
Questionnaires (ADAM, qADAM) inform and never decide (AUA 2018, statement 5). Long-acting esters are never given
intravenously.
"""

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final

from schemas.values import Moment, Quantity, ValueProblem
from services.therapies.body import Sex
from services.therapies.calendar import add_months, whole_years
from services.therapies.evidence import (
    ELIGIBILITY_PRECEDENCE,
    Assessment,
    Evaluation,
    Observation,
    Outcome,
    Rejected,
    Thresholds,
    is_stale,
)
from services.therapies.protocol import Keys, Part, Therapy

__all__ = [
    "THERAPY",
    "AdjustmentCase",
    "BloodPressure",
    "Due",
    "EligibilityCase",
    "LabCycleCase",
    "MonitoringCase",
    "SamplePoint",
    "TestosteroneSample",
    "adjustment",
    "eligibility",
    "in_ng_per_dl",
    "lab_cycle",
    "monitoring",
]


def in_ng_per_dl(value: Quantity, rules: Thresholds) -> Quantity:
    """A testosterone concentration in ng/dL, exactly, from ng/dL, ng/mL, another mass concentration, or nmol/L.

    Raises:
        ValueProblem: the unit is not one of a testosterone concentration.
    """
    if value.unit == "nmol/L":
        return Quantity(value.value * rules["conversion.nmol_per_l"].value, "ng/dL")
    return value.to("ng/dL")


# --- Eligibility ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TestosteroneSample:
    """One total testosterone: value with its unit, when and in which zone it was drawn, fasting or not (None is not
    known).
    """

    __test__ = False  # not a pytest class

    value: Quantity
    collected: Moment
    fasting: bool | None


@dataclass(frozen=True, slots=True)
class BloodPressure:
    """One visit's reading."""

    sbp: Quantity
    dbp: Quantity
    at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class EligibilityCase:
    """What is known at ``at``, in the patient's zone. None is unknown and never counts as fine.

    ``estradiol`` is needed with breast symptoms, ``prolactin`` with a low or low-normal LH, ``psa`` above the signed
    age or with a risk. ``altitude`` is a practice or home at altitude, where a higher haematocrit is usual. The yes/no
    fields are asked by signed rules.
    """

    at: Moment
    birth_date: dt.date | None = None
    sex_at_birth: Sex | None = None
    samples: tuple[TestosteroneSample, ...] = ()
    symptoms_or_signs: bool | None = None
    lh: Observation | None = None
    fsh: Observation | None = None
    prolactin: Observation | None = None
    estradiol: Observation | None = None
    breast_symptoms: bool | None = None
    haematocrit: Observation | None = None
    altitude: bool | None = None
    psa: Observation | None = None
    high_prostate_risk: bool | None = None
    urology_cleared: bool | None = None
    lipids_at: dt.datetime | None = None
    ipss: int | None = None
    cardiovascular_event: bool | None = None
    cardiovascular_event_date: dt.date | None = None
    blood_pressure: tuple[BloodPressure, ...] = ()
    breast_cancer: bool | None = None
    prostate_cancer: bool | None = None
    prostate_nodule: bool | None = None
    sleep_apnoea_untreated: bool | None = None
    heart_failure_uncontrolled: bool | None = None
    thrombophilia: bool | None = None
    vte_history: bool | None = None
    fertility_desired: bool | None = None
    testosterone_hypersensitivity: bool | None = None
    serious_heart_liver_kidney_disease: bool | None = None
    anticoagulant: bool | None = None
    opioid_use: bool | None = None
    steroid_use: bool | None = None
    anabolic_use: bool | None = None


QUESTIONS: Final = frozenset(n for n, kind in EligibilityCase.__annotations__.items() if kind == (bool | None)) - {
    "breast_symptoms",
    "altitude",
    "high_prostate_risk",
    "urology_cleared",
    "cardiovascular_event",
}


def eligibility(case: EligibilityCase, rules: Thresholds) -> Evaluation[bool]:
    """Propose an eligibility outcome; the result is whether the low-testosterone criterion is met, None while not
    known.

    The criterion: below 300 ng/dL in two fasting samples of 07:00 to 10:00 local time on different local dates, the two
        newest that count,
    with symptoms or signs (AUA 2018, Endocrine Society 2018).
    """
    e = Assessment("testosterone.eligibility", rules, case.at.at)
    e.ask(case, "T-E-")
    sex = e.look("sex_at_birth", case.sex_at_birth)
    if case.sex_at_birth is None:
        e.lack("sex_at_birth", "indication")
    elif case.sex_at_birth is Sex.FEMALE:
        e.fire("T-E-SEX", sex)
    low = _criterion(case, e)
    _work_up(case, e)
    _prostate(case, e)
    _blood(case, e)
    _heart(case, e)
    return e.close(e.worst(ELIGIBILITY_PRECEDENCE, Outcome.INCOMPLETE), low)


def _plausible(name: str, kind: str, value: Quantity, e: Assessment) -> bool:
    """Inside the signed plausible range, in a unit of the right kind; otherwise noted as not usable."""
    low, high = e.thresholds[f"plausible.{kind}.low"], e.thresholds[f"plausible.{kind}.high"]
    try:
        outside = low.met_by(value) or high.met_by(value)
    except ValueProblem as problem:
        e.lack(name, problem.reason, "wrong-unit")
        return False
    if outside:
        e.lack(name, f"{value} is outside {low.quantity} to {high.quantity}: repeat, confirm the unit", "implausible")
    return not outside


def _level(name: str, sample: Quantity, e: Assessment) -> Quantity | None:
    try:
        level = in_ng_per_dl(sample, e.thresholds)
    except ValueProblem as problem:
        e.lack(name, problem.reason, "wrong-unit")
        return None
    return level if _plausible(name, "testosterone", level, e) else None


def _criterion(case: EligibilityCase, e: Assessment) -> bool | None:
    limits = e.thresholds
    told = e.look("symptoms_or_signs", case.symptoms_or_signs)
    if case.symptoms_or_signs is None:
        e.lack("symptoms_or_signs", "the criterion needs symptoms or signs")
    by_date: dict[dt.date, tuple[str, Quantity]] = {}
    for i, sample in sorted(enumerate(case.samples), key=lambda pair: pair[1].collected):
        name = f"samples[{i}]"
        e.look(
            name,
            f"{sample.value}, {sample.collected.local:%Y-%m-%d %H:%M} local, fasting {sample.fasting}",
            sample.collected.at,
        )
        level = _level(name, sample.value, e)
        if level is not None and _counts(name, sample, e):
            by_date[sample.collected.date] = (name, level)
    newest = [by_date[day] for day in sorted(by_date)][-limits["samples"].count :]
    if len(newest) < limits["samples"].count:
        e.lack("samples", "two fasting samples of 07:00 to 10:00 local time on different days")
        return None
    low = all(limits["testosterone.low"].met_by(level) for _, level in newest)
    if not low:
        e.fire("T-E-NOT-LOW", *(e.inputs[name] for name, _ in newest))
    elif case.symptoms_or_signs is False:
        e.fire("T-E-NO-SYMPTOMS", told)
    if case.symptoms_or_signs is None and low:
        return None
    return low and bool(case.symptoms_or_signs)


def _counts(name: str, sample: TestosteroneSample, e: Assessment) -> bool:
    """Whether a sample is a fasting morning one of recent date; otherwise it is listed as not usable."""
    limits, clock = e.thresholds, sample.collected.local
    minutes = Quantity(Decimal(clock.hour * 60 + clock.minute), "min")
    if is_stale(sample.collected.at, e.now, limits["age_of.samples"]):
        e.lack(name, "is too old", "stale")
    elif limits["window.from"].met_by(minutes) or limits["window.to"].met_by(minutes):
        e.lack(name, f"was drawn at {clock:%H:%M} local time, outside the morning window", "not-morning")
    elif sample.fasting is not True:
        e.lack(name, "is not known to be fasting", "not-fasting")
    else:
        return True
    return False


def _work_up(case: EligibilityCase, e: Assessment) -> None:
    limit = e.thresholds["age_of.tests"]
    lh = e.fresh("lh", case.lh, limit, "cause: for every low testosterone")
    e.fresh("fsh", case.fsh, limit, "cause")
    for name in ("lh", "fsh"):
        value = getattr(case, name)
        if value is not None:
            _plausible(name, "gonadotropin", value.value, e)
    if lh is not None and e.thresholds["lh.low_normal"].met_by(lh):
        prolactin = e.fresh("prolactin", case.prolactin, limit, "cause: LH is low or low-normal")
        if prolactin is not None and _plausible("prolactin", "prolactin", prolactin, e):
            e.fire("T-E-SECONDARY", e.inputs["lh"], e.inputs["prolactin"])
    e.look("breast_symptoms", case.breast_symptoms)
    if case.breast_symptoms is None:
        e.lack("breast_symptoms", "decides whether estradiol is due")
    elif case.breast_symptoms:
        estradiol = e.fresh("estradiol", case.estradiol, limit, "cause: breast symptoms")
        if estradiol is not None:
            _plausible("estradiol", "estradiol", estradiol, e)
    e.look("lipids_at", "measured" if case.lipids_at else None, case.lipids_at)
    if case.lipids_at is None or is_stale(case.lipids_at, e.now, limit):
        e.lack("lipids_at", "lipids before the start")


def _prostate(case: EligibilityCase, e: Assessment) -> None:
    limits = e.thresholds
    risk = e.look("high_prostate_risk", case.high_prostate_risk)
    e.look("birth_date", case.birth_date)
    if case.high_prostate_risk is None:
        e.lack("high_prostate_risk", "limit of the PSA")
    if case.birth_date is None:
        e.lack("birth_date", "age decides whether a PSA is due")
    age = None if case.birth_date is None else Quantity(Decimal(whole_years(case.birth_date, case.at.date)), "a")
    due = age is None or limits["psa.from_age"].met_by(age) or case.high_prostate_risk is not False
    psa = e.fresh("psa", case.psa, limits["age_of.tests"], "before the start at this age or risk") if due else None
    if not due and case.psa is not None:
        e.look("psa", case.psa)
        psa = case.psa.value
    if psa is not None and _plausible("psa", "psa", psa, e):
        limit = limits["psa.start.high_risk" if case.high_prostate_risk is not False else "psa.start"]
        if limit.met_by(psa) and case.urology_cleared is not True:
            e.fire("T-E-PSA", e.inputs["psa"], risk)
    score = e.look("ipss", case.ipss)
    if case.ipss is None:
        e.lack("ipss", "lower urinary tract symptoms")
    elif limits["ipss.severe"].met_by(Quantity(Decimal(case.ipss), "{score}")):
        e.fire("T-E-LUTS", score)


def _blood(case: EligibilityCase, e: Assessment) -> None:
    value = e.fresh("haematocrit", case.haematocrit, e.thresholds["age_of.tests"], "before the start")
    altitude = e.look("altitude", case.altitude)
    if value is None or not _plausible("haematocrit", "haematocrit", value, e):
        return
    if e.thresholds["haematocrit.start"].met_by(value):
        e.fire("T-E-HAEMATOCRIT", e.inputs["haematocrit"])
    elif e.thresholds["haematocrit.start.review"].met_by(value) and case.altitude is not True:
        e.fire("T-E-HAEMATOCRIT-REVIEW", e.inputs["haematocrit"], altitude)


def _heart(case: EligibilityCase, e: Assessment) -> None:
    event = e.look("cardiovascular_event", case.cardiovascular_event)
    day = e.look("cardiovascular_event_date", case.cardiovascular_event_date)
    if case.cardiovascular_event is None or (case.cardiovascular_event and case.cardiovascular_event_date is None):
        e.lack("cardiovascular_event", "myocardial infarction or stroke, and when")
    elif case.cardiovascular_event_date is not None:
        until = add_months(case.cardiovascular_event_date, e.thresholds["event.recent"].count)
        if case.at.date <= until:
            e.fire("T-E-CV-EVENT", event, day)
    _pressure(case.blood_pressure, "T-E", e)


def _pressure(readings: tuple[BloodPressure, ...], prefix: str, e: Assessment) -> None:
    """Raised on the two newest visits: review; very high on the newest: the same day. At every visit (label warning of
    2025).
    """
    limits = e.thresholds
    ordered = sorted((r for r in readings if r.at <= e.now), key=lambda r: r.at)
    for r in ordered:
        e.look(f"blood_pressure {r.at:%Y-%m-%d}", f"{r.sbp} / {r.dbp}", r.at)
    if not ordered or is_stale(ordered[-1].at, e.now, limits["age_of.pressure"]):
        e.lack("blood_pressure", "at every visit")
        return

    def met(band: str, r: BloodPressure) -> bool:
        return limits[f"pressure.sbp.{band}"].met_by(r.sbp) or limits[f"pressure.dbp.{band}"].met_by(r.dbp)

    shown = e.inputs[f"blood_pressure {ordered[-1].at:%Y-%m-%d}"]
    if met("urgent", ordered[-1]):
        e.fire(f"{prefix}-BP-URGENT", shown)
    visits = {r.at.date(): r for r in ordered}
    newest = [visits[day] for day in sorted(visits)][-2:]
    if len(newest) > 1 and all(met("raised", r) for r in newest):
        e.fire(f"{prefix}-BP", shown)
    for r in ordered[-1:]:
        if r.sbp <= r.dbp:
            e.lack("blood_pressure", "systolic is not above diastolic: measure again", "implausible")


# --- Titration --------------------------------------------------------------------------------------------------------


class SamplePoint(StrEnum):
    """When a level was drawn in relation to the dose."""

    PRE_DOSE = "before the morning application"
    AFTER_APPLICATION = "2 to 8 h after application"
    MID_INTERVAL = "middle of the injection interval"
    TROUGH = "just before the next injection"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdjustmentCase:
    """A level on treatment.

    Attributes:
        product: ``gel-1.62``, ``xyosted``, ``cypionate-im``, ``enanthate-im`` or ``undecanoate-im``.
        dose: current one.
        level, collected: the value with its unit, and when it was drawn.
        sample_point: None is not known, and then the level is never compared.
        dose_since: since when the current dose is taken.
    """

    at: Moment
    product: str
    dose: Quantity
    level: Quantity
    collected: Moment
    sample_point: SamplePoint | None
    dose_since: dt.date


# product -> sampling point its titration rule is written for
SAMPLED_AT: Final = {
    "gel-1.62": SamplePoint.PRE_DOSE,
    "xyosted": SamplePoint.TROUGH,
    "cypionate-im": SamplePoint.MID_INTERVAL,
    "enanthate-im": SamplePoint.MID_INTERVAL,
}
STEPPED: Final = ("gel-1.62", "xyosted")
"""Products whose label fixes the step; for the others the prescriber chooses the amount inside the range."""


def adjustment(case: AdjustmentCase, rules: Thresholds) -> Evaluation[Quantity] | Rejected:
    """Propose the next dose from a level, for a prescriber to sign.

    Gel 1.62 % and the subcutaneous auto-injector move by one labelled step inside their range; for intramuscular esters
    a level out of range is a review without an amount. The note of the product comes with every evaluation.

    Returns:
        ``Rejected`` for an unknown product or a dose outside its labelled range; HOLD when the level cannot be used;
        REVIEW or PROPOSED.
    """
    if case.product not in rules.lists["products"]:
        return Rejected.one("unknown-product", "product", f"must be one of {', '.join(rules.lists['products'])}")
    low, high = rules[f"dose.{case.product}.low"], rules[f"dose.{case.product}.high"]
    try:
        outside = low.met_by(case.dose) or high.met_by(case.dose)
    except ValueProblem:
        return Rejected.one("not-a-mass", "dose", "doses are mass (mg), never a volume or units")
    if outside:
        return Rejected.one("outside-range", "dose", f"the label allows {low.quantity} to {high.quantity}")
    e = Assessment("testosterone.adjustment", rules, case.at.at)
    e.look("product", case.product)
    e.look("dose", case.dose)
    drawn = e.look("level", case.level, case.collected.at)
    e.look("sample_point", case.sample_point)
    e.fire(f"T-N-{case.product.upper()}")
    level = _level("level", case.level, e)
    if case.sample_point is None:
        e.lack("sample_point", "a level of unknown timing is never compared")
    elif case.product in SAMPLED_AT and case.sample_point is not SAMPLED_AT[case.product]:
        e.lack("sample_point", f"the rule of this product is for a sample {SAMPLED_AT[case.product].value}", "wrong-point")
    days = Quantity(Decimal((case.collected.date - case.dose_since).days), "d")
    if not rules["settled"].met_by(days):
        e.lack(
            "collected",
            f"drawn {days.value} days after the last dose change; {rules['settled'].quantity} are needed",
            "too-early",
        )
    if level is None or e.absent:
        return e.close(Outcome.HOLD)
    if case.product not in SAMPLED_AT:
        return e.close(Outcome.REVIEW)
    too_high = rules[f"level.{case.product}.high"].met_by(level)
    too_low = rules[f"level.{case.product}.low"].met_by(level)
    if not (too_high or too_low):
        return e.close(Outcome.PROPOSED, case.dose)
    e.fire("T-A-HIGH" if too_high else "T-A-LOW", drawn)
    if case.product not in STEPPED:
        return e.close(Outcome.REVIEW)
    step = rules[f"dose.{case.product}.step"].value
    mg = case.dose.to("mg").value + (-step if too_high else step)
    bounded = min(max(mg, low.value), high.value)
    if bounded != mg:
        e.fire("T-A-LIMIT", e.inputs["dose"])
        return e.close(Outcome.REVIEW, Quantity(bounded, "mg"))
    return e.close(Outcome.PROPOSED, Quantity(mg, "mg"))


# --- Laboratory cycle -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Due:
    """Tests to do from one local date to another, for a reason."""

    reason: str
    tests: tuple[str, ...]
    first: dt.date
    last: dt.date


@dataclass(frozen=True, slots=True, kw_only=True)
class LabCycleCase:
    """A course of treatment: product, first dose, date of the last dose change if any, and how many yearly rounds to
    list.
    """

    at: Moment
    product: str
    started: dt.date
    dose_changed: dt.date | None = None
    years: int = 1


def lab_cycle(case: LabCycleCase, rules: Thresholds) -> Evaluation[tuple[Due, ...]] | Rejected:
    """List the tests due after a start: gel day 14 and 28, months 3 (to 6), 6 and 12, then yearly, and 2 to 6 weeks
    after a change.
    """
    if case.product not in rules.lists["products"] or case.years < 1:
        return Rejected.one("invalid", "product", f"must be one of {', '.join(rules.lists['products'])}, for a year or more")
    e = Assessment("testosterone.lab_cycle", rules, case.at.at)
    for name in ("product", "started", "dose_changed"):
        e.look(name, getattr(case, name))
    due = []
    if case.product.startswith("gel"):
        for key in ("cycle.gel.first", "cycle.gel.second"):
            day = case.started + rules[key].elapsed
            due.append(Due(f"gel day {rules[key].count}", ("testosterone, before the dose",), day, day))
    if case.dose_changed is not None:
        first, last = (case.dose_changed + rules[f"cycle.change.{k}"].elapsed for k in ("from", "to"))
        due.append(Due("dose change", ("testosterone",), first, last))
    for name, tests in (("first", "tests.first"), ("second", "tests.second")):
        from_, to = (add_months(case.started, rules[f"cycle.{name}.{k}"].count) for k in ("from", "to"))
        due.append(Due(f"month {rules[f'cycle.{name}.from'].count}", rules.lists[tests], from_, to))
    for year in range(1, case.years + 1):
        months = rules["cycle.yearly"].count * year
        from_, to = (add_months(case.started, months + n) for n in (0, rules["cycle.yearly.window"].count))
        due.append(Due(f"month {months}", rules.lists["tests.yearly"], from_, to))
    return e.close(Outcome.PROPOSED, tuple(sorted(due, key=lambda d: (d.first, d.reason))))


# --- Monitoring -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitoringCase:
    """Results on treatment, at a visit.

    Attributes:
        psa_baseline: before treatment, with its date; ``psa_confirmed`` says that the new value was repeated.
        new_prostate_finding: on examination.
        testosterone_normal, symptom_gain: judged by a clinician at months 3 to 6; None before.
        symptoms: reported codes; those of the signed lists are urgent or soon.
    """

    at: Moment
    started: dt.date
    haematocrit: Observation | None = None
    psa: Observation | None = None
    psa_baseline: Observation | None = None
    psa_confirmed: bool | None = None
    psa_due: bool | None = None
    new_prostate_finding: bool | None = None
    blood_pressure: tuple[BloodPressure, ...] = ()
    testosterone_normal: bool | None = None
    symptom_gain: bool | None = None
    symptoms: tuple[str, ...] | None = None


def monitoring(case: MonitoringCase, rules: Thresholds) -> Evaluation[bool]:
    """Propose what a prescriber should look at; the result is whether renewals are to be held. Never an
    automatic stop.
    """
    e = Assessment("testosterone.monitoring", rules, case.at.at)
    value = e.fresh("haematocrit", case.haematocrit, rules["age_of.haematocrit"], "haematocrit on treatment")
    if case.haematocrit is not None:
        # A dangerous value counts even when it is old or not plausible.
        seen = case.haematocrit.value
        if value is not None:
            _plausible("haematocrit", "haematocrit", seen, e)
        if rules["haematocrit.hold"].met_by(seen):
            e.fire("T-M-HAEMATOCRIT", e.inputs["haematocrit"])
        elif rules["haematocrit.watch"].met_by(seen):
            e.fire("T-M-HAEMATOCRIT-WATCH", e.inputs["haematocrit"])
    _psa(case, e)
    finding = e.look("new_prostate_finding", case.new_prostate_finding)
    if case.new_prostate_finding:
        e.fire("T-M-PROSTATE", finding)
    _pressure(case.blood_pressure, "T-M", e)
    month = add_months(case.started, rules["benefit.from"].count)
    normal, gain = e.look("testosterone_normal", case.testosterone_normal), e.look("symptom_gain", case.symptom_gain)
    if case.at.date >= month and case.testosterone_normal and case.symptom_gain is False:
        e.fire("T-M-NO-BENEFIT", normal, gain)
    told = e.look("symptoms", case.symptoms)
    if case.symptoms is None:
        e.lack("symptoms", "asked at every contact")
    for symptom in case.symptoms or ():
        if symptom in rules.lists["symptoms.urgent"]:
            e.fire("T-M-URGENT", told, detail=symptom)
        elif symptom in rules.lists["symptoms.soon"]:
            e.fire("T-M-SOON", told, detail=symptom)
    holds = {"T-M-HAEMATOCRIT", "T-M-PSA-RISE", "T-M-PSA", "T-M-PROSTATE"} & {f.rule for f in e.findings}
    review = any(f.outcome is Outcome.REVIEW for f in e.findings) or e.absent
    return e.close(Outcome.REVIEW if review else Outcome.ROUTINE, bool(holds))


def _psa(case: MonitoringCase, e: Assessment) -> None:
    """Above the limit, or risen by too much within a year of the baseline: confirmed goes to urology, not yet confirmed
    is repeated.
    """
    limits = e.thresholds
    if case.psa is None:
        e.look("psa", None)
        if case.psa_due is not False:
            e.lack("psa", "whether it is due, or its value")
        return
    psa = e.look("psa", case.psa)
    if not _plausible("psa", "psa", case.psa.value, e):
        return
    found = ["T-M-PSA"] if limits["psa.high"].met_by(case.psa.value) else []
    baseline = e.look("psa_baseline", case.psa_baseline)
    if case.psa_baseline is None:
        e.lack("psa_baseline", "the rise cannot be judged")
    else:
        rise = case.psa.value.to("ng/mL").value - case.psa_baseline.value.to("ng/mL").value
        first = Moment(case.psa_baseline.at, case.at.zone).date
        within = Moment(case.psa.at, case.at.zone).date <= add_months(first, limits["psa.rise.months"].count)
        if within and limits["psa.rise"].met_by(Quantity(rise, "ng/mL")):
            found.append("T-M-PSA-RISE")
    for rule in found:
        if case.psa_confirmed is True:
            e.fire(rule, psa, baseline)
        else:
            e.fire("T-M-PSA-REPEAT", psa, baseline)


VALUES: Final[dict[str, str]] = {
    key: unit
    for unit, keys in {
        "ng/dL": """
            conversion.nmol_per_l testosterone.low plausible.testosterone.low plausible.testosterone.high level.*
        """,
        "1": "samples",
        "min": "window.from window.to",
        "d": """
            age_of.samples age_of.tests age_of.pressure age_of.haematocrit settled cycle.gel.first cycle.gel.second
        """,
        "[IU]/L": "lh.low_normal plausible.gonadotropin.low plausible.gonadotropin.high",
        "ng/mL": """
            plausible.prolactin.low plausible.prolactin.high plausible.psa.low plausible.psa.high psa.start
            psa.start.high_risk psa.high psa.rise
        """,
        "pg/mL": "plausible.estradiol.low plausible.estradiol.high",
        "a": "psa.from_age",
        "{score}": "ipss.severe",
        "%": """
            plausible.haematocrit.low plausible.haematocrit.high haematocrit.start haematocrit.start.review
            haematocrit.hold haematocrit.watch
        """,
        "mo": """
            event.recent psa.rise.months benefit.from cycle.first.from cycle.first.to cycle.second.from cycle.second.to
            cycle.yearly cycle.yearly.window
        """,
        "mm[Hg]": "pressure.sbp.raised pressure.dbp.raised pressure.sbp.urgent pressure.dbp.urgent",
        "mg": "dose.*",
        "wk": "cycle.change.from cycle.change.to recheck.haematocrit.from recheck.haematocrit.to",
    }.items()
    for key in keys.split()
}

RULES: Final = frozenset(
    {
        "T-E-SEX",
        "T-E-NOT-LOW",
        "T-E-NO-SYMPTOMS",
        "T-E-SECONDARY",
        "T-E-PSA",
        "T-E-LUTS",
        "T-E-HAEMATOCRIT",
        "T-E-HAEMATOCRIT-REVIEW",
        "T-E-CV-EVENT",
        "T-E-BP",
        "T-E-BP-URGENT",
        "T-A-HIGH",
        "T-A-LOW",
        "T-A-LIMIT",
        "T-N-GEL-1.62",
        "T-N-XYOSTED",
        "T-N-CYPIONATE-IM",
        "T-N-ENANTHATE-IM",
        "T-N-UNDECANOATE-IM",
        "T-M-HAEMATOCRIT",
        "T-M-HAEMATOCRIT-WATCH",
        "T-M-PSA",
        "T-M-PSA-RISE",
        "T-M-PSA-REPEAT",
        "T-M-PROSTATE",
        "T-M-BP",
        "T-M-BP-URGENT",
        "T-M-NO-BENEFIT",
        "T-M-URGENT",
        "T-M-SOON",
    }
)

THERAPY: Final = Therapy(
    name="testosterone",
    keys=Keys(
        values=VALUES,
        rules=RULES,
        questions=QUESTIONS,
        lists=frozenset({"products", "symptoms.urgent", "symptoms.soon", "tests.first", "tests.second", "tests.yearly"}),
    ),
    eligibility=Part(EligibilityCase, eligibility),
    schedule=Part(LabCycleCase, lab_cycle),
    adjustment=Part(AdjustmentCase, adjustment),
    response=Part(MonitoringCase, monitoring),
)
