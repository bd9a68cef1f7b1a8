"""Semaglutide for weight management: eligibility, titration, missed doses by product and country, response, rapid loss.

Doses are mass (mg), never "units" or a volume: that is how compounded semaglutide was overdosed. Nothing escalates by
itself: a step is proposed and a prescriber signs it.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Final

from schemas.values import Moment, Quantity
from services.therapies.body import Sex, bmi_met, bmi_shown
from services.therapies.calendar import add_months, resolve, whole_years
from services.therapies.evidence import (
    ELIGIBILITY_PRECEDENCE,
    Assessment,
    Evaluation,
    Observation,
    Outcome,
    Problem,
    Rejected,
    Thresholds,
    is_stale,
    percent_shown,
)
from services.therapies.protocol import Keys, Part, Therapy

__all__ = [
    "THERAPY",
    "DoseCase",
    "EligibilityCase",
    "GivenDose",
    "MissedCase",
    "MissedDose",
    "ResponseCase",
    "ScheduleCase",
    "Slot",
    "dose",
    "eligibility",
    "missed_dose",
    "response",
    "schedule",
]


# --- Eligibility ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class EligibilityCase:
    """What is known at ``at``, in the patient's zone. None is unknown and never counts as fine.

    ``comorbidities`` and ``medications`` are None until asked. ``hcg_negative_at`` is the date of the last negative
    pregnancy test; ``hcg_positive`` counts however old it is. The yes/no fields are asked by the signed rules.
    """

    at: Moment
    birth_date: dt.date | None = None
    sex_at_birth: Sex | None = None
    pregnancy_potential: bool | None = None
    hcg_positive: bool | None = None
    hcg_negative_at: dt.datetime | None = None
    planned_conception: bool | None = None
    planned_conception_date: dt.date | None = None
    weight: Observation | None = None
    height: Observation | None = None
    waist: Observation | None = None
    comorbidities: tuple[str, ...] | None = None
    medications: tuple[str, ...] | None = None
    hba1c: Observation | None = None
    egfr: Observation | None = None
    next_sedation: dt.date | None = None
    medullary_thyroid_carcinoma: bool | None = None
    men2: bool | None = None
    semaglutide_hypersensitivity: bool | None = None
    other_glp1: bool | None = None
    eating_disorder_active: bool | None = None
    pancreatitis_confirmed_on_glp1: bool | None = None
    pancreatitis_history: bool | None = None
    gallbladder_disease: bool | None = None
    kidney_injury_or_dehydration: bool | None = None
    insulin_or_sulfonylurea: bool | None = None
    diabetic_retinopathy: bool | None = None
    raised_heart_rate: bool | None = None
    severe_gi_disease: bool | None = None
    type_1_diabetes: bool | None = None


QUESTIONS: Final = frozenset(n for n, kind in EligibilityCase.__annotations__.items() if kind == (bool | None)) - {
    "pregnancy_potential",
    "hcg_positive",
    "planned_conception",
}


def eligibility(case: EligibilityCase, rules: Thresholds) -> Evaluation[Decimal]:
    """Propose an eligibility outcome for a start; the result is the body mass index for display.

    Body mass index of 30 or more, or of 27 or more with a weight-related condition. A depressive history is monitored
    (clinic policy), not excluded: the regulator asked in January 2026 to remove that warning.
    """
    e = Assessment("semaglutide.eligibility", rules, case.at.at)
    e.ask(case, "S-E-")
    born = e.look("birth_date", case.birth_date)
    if case.birth_date is None:
        e.lack("birth_date", "age")
    elif rules["age.minimum"].met_by(Quantity(Decimal(whole_years(case.birth_date, case.at.date)), "a")):
        e.fire("S-E-AGE", born)
    bmi = _body(case, e)
    _pregnancy(case, e)
    for name in ("hba1c", "egfr"):
        value = e.fresh(name, getattr(case, name), rules["age_of.tests"], "baseline laboratory")
        if value is not None:
            _plausible(name, value, e)
    if case.waist is not None:
        e.look("waist", case.waist)
        _plausible("waist", case.waist.value, e)
    taken = e.look("medications", case.medications)
    if case.medications is None:
        e.lack("medications", "other GLP-1 agonists and interactions")
    else:
        stacked = sorted({m.lower() for m in case.medications} & set(rules.lists["drugs.glp1"]))
        if stacked and not case.other_glp1:
            e.fire("S-E-GLP1", taken, detail=", ".join(stacked))
    if case.next_sedation is not None and case.next_sedation >= case.at.date:
        e.fire("S-E-SEDATION", e.look("next_sedation", case.next_sedation))
    return e.close(e.worst(ELIGIBILITY_PRECEDENCE, Outcome.INCOMPLETE), bmi)


def _plausible(name: str, value: Quantity, e: Assessment) -> bool:
    low, high = e.thresholds[f"plausible.{name}.low"], e.thresholds[f"plausible.{name}.high"]
    if low.met_by(value) or high.met_by(value):
        e.lack(
            name,
            f"{value} is outside {low.quantity} to {high.quantity}: measure again, confirm the unit",
            "implausible",
        )
        return False
    return True


def _body(case: EligibilityCase, e: Assessment) -> Decimal | None:
    weight = e.fresh(
        "weight", case.weight, e.thresholds["age_of.weight"], "body mass index; baseline of every later comparison"
    )
    height = e.look("height", case.height)
    e.look("comorbidities", case.comorbidities)
    if case.height is None:
        e.lack("height", "body mass index")
    if weight is None or case.height is None:
        return None
    usable = [_plausible("weight", weight, e), _plausible("height", case.height.value, e)]
    if not all(usable):
        return None
    related = set(e.thresholds.lists["comorbidities"])
    if any(bmi_met(e.thresholds[f"plausible.bmi.{end}"], weight, case.height.value) for end in ("low", "high")):
        e.lack("bmi", "body mass index is outside the plausible range: confirm the units", "implausible")
    elif not bmi_met(e.thresholds["bmi.alone"], weight, case.height.value):
        if not bmi_met(e.thresholds["bmi.with_condition"], weight, case.height.value):
            e.fire("S-E-BMI", e.inputs["weight"], height)
        elif case.comorbidities is None:
            e.lack("comorbidities", "needed between the two body mass index limits")
        elif not related & {c.lower() for c in case.comorbidities}:
            e.fire("S-E-BMI", e.inputs["weight"], height, e.inputs["comorbidities"])
    return bmi_shown(weight, case.height.value)


def _pregnancy(case: EligibilityCase, e: Assessment) -> None:
    if case.hcg_positive:
        e.fire("S-E-PREGNANCY", e.look("hcg_positive", case.hcg_positive))
    e.look("pregnancy_potential", case.pregnancy_potential)
    e.look("sex_at_birth", case.sex_at_birth)
    if case.pregnancy_potential is None and case.sex_at_birth is not Sex.MALE:
        e.lack("pregnancy_potential", "decides whether a pregnancy test is due")
    if not case.pregnancy_potential:
        return
    tested = case.hcg_negative_at
    e.look("hcg_negative_at", "negative" if tested else None, tested)
    if not case.hcg_positive and (tested is None or is_stale(tested, e.now, e.thresholds["age_of.hcg"])):
        e.lack("hcg_negative_at", "a recent pregnancy test")
    planned = e.look("planned_conception", case.planned_conception)
    if case.planned_conception is None or (case.planned_conception and case.planned_conception_date is None):
        e.lack("planned_conception", "whether and when a pregnancy is planned")
    elif case.planned_conception and case.planned_conception_date is not None:
        latest = add_months(case.planned_conception_date, -e.thresholds["washout"].count)
        if case.at.date >= latest:
            e.fire("S-E-CONCEPTION", planned)


# --- Titration --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Slot:
    """One weekly dose as planned: its number (from 1), when, and how much."""

    number: int
    at: Moment
    dose: Quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleCase:
    """A titration to propose: first dose (local date and time in the patient's zone), ceiling, number
    of weekly doses.
    """

    at: Moment
    first: dt.date
    time: dt.time
    ceiling: Quantity
    doses: int


def ladder(rules: Thresholds) -> tuple[Quantity, ...]:
    """The labelled steps in order, without the 7.2 mg dose, which is a decision of its own."""
    return tuple(sorted(t.quantity for key, t in rules.under("step").items() if key != "days"))


def schedule(case: ScheduleCase, rules: Thresholds) -> Evaluation[tuple[Slot, ...]] | Rejected:
    """Propose the weekly calendar as if every step is tolerated: the same weekday and wall-clock time, four doses a
    step, to the ceiling.

    Each step up still has to be proposed by ``dose`` on what was truly given, and signed.
    """
    steps = ladder(rules)
    problems = []
    if case.ceiling not in steps:
        problems.append(Problem("not-a-step", "ceiling", f"must be one of {', '.join(map(str, steps))}"))
    if not 0 < case.doses <= _MOST:
        problems.append(Problem("invalid", "doses", f"must be 1 to {_MOST}"))
    if problems:
        return Rejected(tuple(problems))
    e = Assessment("semaglutide.schedule", rules, case.at.at)
    for name in ("first", "time", "ceiling", "doses"):
        e.look(name, getattr(case, name))
    per_step, days = rules["doses_per_step"].count, rules["interval"].elapsed.days
    top = steps.index(case.ceiling)
    slots = tuple(
        Slot(
            n + 1,
            resolve(case.first + dt.timedelta(days=days * n), case.time, case.at.zone),
            steps[min(n // per_step, top)],
        )
        for n in range(case.doses)
    )
    return e.close(Outcome.PROPOSED, slots)


_MOST = 520  # a bound on the calendar, not a clinical number


@dataclass(frozen=True, slots=True)
class GivenDose:
    """A dose that was truly taken: the weekly slot it belongs to (planned local date), when, and how much."""

    slot: dt.date
    at: dt.datetime
    dose: Quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class DoseCase:
    """A dose that is asked for.

    Attributes:
        at: when it is to be given, in the patient's zone.
        slot: the weekly slot it is for (planned local date).
        requested: mass.
        ceiling: highest dose the signed plan authorises.
        given: every dose so far.
        tolerated: the current step is tolerated; None is not known, which never steps up.
        stop_reason: pancreatitis suspected, pregnancy, or another reason to stop; None until asked, empty when there is
            none.
        high_dose_approved: a prescriber found further loss clinically indicated and approved 7.2 mg.
        consecutive_missed: weekly doses missed in a row just before this one.
        next_sedation: next infusion or other sedation, if one is booked.
    """

    at: Moment
    slot: dt.date
    requested: Quantity
    ceiling: Quantity
    given: tuple[GivenDose, ...]
    tolerated: bool | None
    stop_reason: str | None
    consecutive_missed: int | None
    high_dose_approved: bool = False
    next_sedation: dt.date | None = None


def dose(case: DoseCase, rules: Thresholds) -> Evaluation[Quantity] | Rejected:
    """Check one weekly dose against the ladder, the plan's ceiling, and what was truly given.

    A step up is one step, after at least four given doses of the current step and 28 days from its first; a step down
    is free. One dose per weekly slot and at least 48 h apart, which is also the rule for changing the weekday.

    Returns:
        ``Rejected`` for a dose that must not be given as asked; HOLD when a fact is missing, the step is not tolerated
        or treatment is to stop; REVIEW after two or more missed doses (a prescriber re-initiates lower); otherwise
        PROPOSED.
    """
    try:
        problems = _order_problems(case, rules)
    except ValueError:
        return Rejected.one("not-a-mass", "requested", "doses are mass (mg), never a volume or units")
    if problems:
        return Rejected(tuple(problems))
    e = Assessment("semaglutide.dose", rules, case.at.at)
    for name in ("requested", "ceiling", "tolerated", "stop_reason", "consecutive_missed"):
        e.look(name, getattr(case, name))
    last = _last(case.given)
    if last is not None:
        e.look("last dose", last.dose, last.at)
    for name in ("stop_reason", "consecutive_missed"):
        if getattr(case, name) is None:
            e.lack(name, "asked before every dose")
    if case.stop_reason:
        e.fire("S-D-STOP", e.inputs["stop_reason"])
    steps_up = last is not None and case.requested > last.dose
    if steps_up and case.tolerated is not True:
        e.fire("S-D-NOT-TOLERATED", e.inputs["tolerated"])
    if last is not None and case.requested < last.dose:
        e.fire("S-D-STEP-DOWN", e.inputs["requested"])
    if case.next_sedation is not None:
        until = case.next_sedation - case.at.date
        if dt.timedelta(0) <= until <= rules["sedation"].elapsed:
            e.fire("S-D-SEDATION", e.look("next_sedation", case.next_sedation))
    missed = rules["missed.many"].met_by(Quantity(Decimal(case.consecutive_missed or 0), "1"))
    if missed:
        e.fire("S-M-MANY", e.inputs["consecutive_missed"])
    if e.absent or case.stop_reason or (steps_up and case.tolerated is not True):
        return e.close(Outcome.HOLD)
    return e.close(Outcome.REVIEW, None) if missed else e.close(Outcome.PROPOSED, case.requested)


def _last(given: Sequence[GivenDose]) -> GivenDose | None:
    return max(given, key=lambda g: g.at, default=None)


def _order_problems(case: DoseCase, rules: Thresholds) -> list[Problem]:
    steps, high = ladder(rules), rules["high_dose"].quantity
    problems = []
    if case.requested not in (*steps, high):
        return [Problem("not-a-step", "requested", f"must be one of {', '.join(map(str, (*steps, high)))}")]
    if case.requested > case.ceiling:
        problems.append(Problem("above-ceiling", "requested", f"the plan authorises up to {case.ceiling}"))
    if any(g.slot == case.slot for g in case.given):
        problems.append(Problem("slot-taken", "slot", "this weekly dose was given already"))
    last = _last(case.given)
    if last is not None and not rules["apart"].reached(case.at.at - last.at):
        problems.append(Problem("too-soon", "at", f"less than {rules['apart'].quantity} after the last dose"))
    return problems + _step_problems(case, last, (*steps, high), rules)


def _step_problems(case: DoseCase, last: GivenDose | None, steps: tuple[Quantity, ...], rules: Thresholds) -> list[Problem]:
    if last is None:
        first = steps[0]
        return [] if case.requested == first else [Problem("step-skipped", "requested", f"treatment starts at {first}")]
    if case.requested <= last.dose:
        return []
    allowed = steps[steps.index(last.dose) + 1] if last.dose in steps[:-1] else last.dose
    if case.requested > allowed:
        return [Problem("step-skipped", "requested", f"the next step after {last.dose} is {allowed}")]
    problems = []
    current = _current_step(case.given, last.dose)
    since = case.at.at - current[0].at
    enough = len(current) >= rules["doses_per_step"].count
    # Planned dates count as well as instants: at the spring change 28 calendar days are an hour short of 28 x 24 h.
    days = max(since.days, (case.slot - current[0].slot).days)
    if not enough or days < rules["step.days"].elapsed.days:
        problems.append(
            Problem(
                "step-too-early",
                "requested",
                f"{len(current)} doses in {days} days at {last.dose}; "
                f"{rules['doses_per_step'].count} and {rules['step.days'].elapsed.days} are needed",
            )
        )
    if case.requested == rules["high_dose"].quantity and not case.high_dose_approved:
        problems.append(Problem("needs-approval", "requested", "a prescriber approves it when more loss is indicated"))
    return problems


def _current_step(given: Sequence[GivenDose], amount: Quantity) -> list[GivenDose]:
    """The doses of the current step: the newest ones that are all of ``amount``."""
    run: list[GivenDose] = []
    for one in sorted(given, key=lambda g: g.at, reverse=True):
        if one.dose != amount:
            break
        run.append(one)
    return run[::-1]


# --- Missed doses -----------------------------------------------------------------------------------------------------


class MissedDose(StrEnum):
    """What the label of the product says about a dose asked for late."""

    GIVE = "give now"
    SKIP = "skip, next dose as planned"
    PRESCRIBER = "the prescriber decides"


@dataclass(frozen=True, slots=True, kw_only=True)
class MissedCase:
    """A dose that was missed: product and country (``wegovy-us``), when it was planned, when it is asked about, when
    the next is planned.
    """

    at: Moment
    product: str
    planned: Moment
    next: Moment
    consecutive_missed: int


def missed_dose(case: MissedCase, rules: Thresholds) -> Evaluation[MissedDose] | Rejected:
    """Apply the missed-dose rule of exactly this product and country; hours are elapsed hours.

    Two or more in a row are never scheduled automatically: the prescriber gets a task (the current US label
        re-initiates at a lower dose).
    """
    if case.product not in rules.lists["products"]:
        return Rejected.one("unknown-product", "product", f"must be one of {', '.join(rules.lists['products'])}")
    if case.next <= case.planned or case.consecutive_missed < 1:
        return Rejected.one("invalid", "next", "one dose at least is missed, and the next is planned after it")
    e = Assessment("semaglutide.missed_dose", rules, case.at.at)
    e.look("product", case.product)
    planned = e.look("planned", "dose", case.planned.at)
    following = e.look("next", "dose", case.next.at)
    count = e.look("consecutive_missed", case.consecutive_missed)
    if rules["missed.many"].met_by(Quantity(Decimal(case.consecutive_missed), "1")):
        e.fire("S-M-MANY", count)
        return e.close(Outcome.REVIEW, MissedDose.PRESCRIBER)
    until_next, late = (
        rules.values.get(f"missed.until_next.{case.product}"),
        rules.values.get(f"missed.late.{case.product}"),
    )
    give = until_next is not None and until_next.reached(case.next.at - case.at.at)
    give = give or (late is not None and late.reached(case.at.at - case.planned.at) and case.at < case.next)
    e.fire("S-M-ONE", planned, following, detail=case.product)
    return e.close(Outcome.PROPOSED, MissedDose.GIVE if give else MissedDose.SKIP)


# --- Response ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseCase:
    """What a response review looks at.

    Attributes:
        first_dose: of the treatment.
        baseline: last measured weight before the first dose; immutable from then on.
        weights: measured since, in any order.
        height: for the body mass index.
        intolerance_with_dehydration: reported at this contact; None until asked.
    """

    at: Moment
    first_dose: Moment
    baseline: Observation
    weights: tuple[Observation, ...]
    height: Quantity | None = None
    intolerance_with_dehydration: bool | None = None


def response(case: ResponseCase, rules: Thresholds) -> Evaluation[Decimal] | Rejected:
    """Propose what a prescriber should look at; the result is the percentage lost, for display. Never an automatic
    stop.
    """
    if case.baseline.at > case.first_dose.at:
        return Rejected.one("baseline", "baseline", "the baseline is the last weight before the first dose")
    e = Assessment("semaglutide.response", rules, case.at.at)
    baseline = e.look("baseline", case.baseline)
    newest = max((w for w in case.weights if w.at <= case.at.at), key=lambda w: w.at, default=None)
    if newest is None or is_stale(newest.at, e.now, rules["age_of.weight"]):
        e.look("weight", newest)
        e.lack("weight", "a recent weight")
        return e.close(Outcome.REVIEW)
    weight = e.look("weight", newest)
    before, now = case.baseline.value.to("kg").value, newest.value.to("kg").value
    for key, rule in (("review.3", "S-R-3"), ("review.6", "S-R-6")):
        due = add_months(case.first_dose.date, rules[key].count) <= case.at.date
        if due and rules["review.loss"].met_by_percent(before - now, before):
            e.fire(rule, baseline, weight, detail=f"{percent_shown(before - now, before)} % lost")
    _rapid(case, newest, e)
    review = any(f.outcome is Outcome.REVIEW for f in e.findings) or e.absent
    return e.close(Outcome.REVIEW if review else Outcome.ROUTINE, percent_shown(before - now, before))


def _rapid(case: ResponseCase, newest: Observation, e: Assessment) -> None:
    """Averaged over the signed window; and at once when the loss of the whole window happened in less."""
    limit, window = e.thresholds["rapid.rate"], e.thresholds["rapid.window"].elapsed.days
    weight = e.inputs["weight"]
    now = Fraction(newest.value.to("kg").value)
    for earlier in (case.baseline, *case.weights):
        days = (Moment(newest.at, case.at.zone).date - Moment(earlier.at, case.at.zone).date).days
        if not 0 < days <= 2 * window:
            continue
        lost = Fraction(earlier.value.to("kg").value) - now
        if lost * 7 > Fraction(limit.value) * max(days, window):
            e.fire("S-R-RAPID", weight, e.look("earlier weight", earlier))
            break
    if case.height is None:
        e.lack("height", "body mass index")
    elif bmi_met(e.thresholds["rapid.bmi"], newest.value, case.height):
        e.fire("S-R-UNDERWEIGHT", weight)
    told = e.look("intolerance_with_dehydration", case.intolerance_with_dehydration)
    if case.intolerance_with_dehydration is None:
        e.lack("intolerance_with_dehydration", "asked at every contact")
    elif case.intolerance_with_dehydration:
        e.fire("S-R-DEHYDRATION", told)


VALUES: Final[dict[str, str]] = {
    key: unit
    for unit, keys in {
        "a": "age.minimum",
        "kg/m2": "bmi.alone bmi.with_condition plausible.bmi.low plausible.bmi.high rapid.bmi",
        "mo": "washout review.3 review.6",
        "mg": "step.1 step.2 step.3 step.4 step.5 high_dose",
        "1": "doses_per_step missed.many",
        "d": "interval step.days age_of.tests age_of.weight age_of.hcg sedation missed.late.*",
        "h": "apart missed.until_next.*",
        "%": "review.loss plausible.hba1c.low plausible.hba1c.high",
        "kg/wk": "rapid.rate",
        "wk": "rapid.window",
        "kg": "plausible.weight.low plausible.weight.high",
        "cm": "plausible.height.low plausible.height.high plausible.waist.low plausible.waist.high",
        "mL/min/{1.73_m2}": "plausible.egfr.low plausible.egfr.high",
    }.items()
    for key in keys.split()
}

RULES: Final = frozenset(
    {
        "S-E-AGE",
        "S-E-BMI",
        "S-E-PREGNANCY",
        "S-E-CONCEPTION",
        "S-E-GLP1",
        "S-E-SEDATION",
        "S-D-STOP",
        "S-D-NOT-TOLERATED",
        "S-D-STEP-DOWN",
        "S-D-SEDATION",
        "S-M-ONE",
        "S-M-MANY",
        "S-R-3",
        "S-R-6",
        "S-R-RAPID",
        "S-R-UNDERWEIGHT",
        "S-R-DEHYDRATION",
    }
)

THERAPY: Final = Therapy(
    name="semaglutide",
    keys=Keys(values=VALUES, rules=RULES, questions=QUESTIONS, lists=frozenset({"comorbidities", "drugs.glp1", "products"})),
    eligibility=Part(EligibilityCase, eligibility),
    dose=Part(DoseCase, dose),
    schedule=Part(ScheduleCase, schedule),
    adjustment=Part(MissedCase, missed_dose),
    response=Part(ResponseCase, response),
)
