"""Dose of the day: milligrams from today's weight, volume, dilution and pump rate, all inside the plan and the hard
limits.
"""

from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from enum import StrEnum
from fractions import Fraction

from schemas.values import Moment, Quantity, round_half_up
from services.therapies.body import Sex, adjusted_weight, bmi_shown, ideal_weight
from services.therapies.evidence import Assessment, Evaluation, Observation, Outcome, Problem, Rejected, Thresholds
from services.therapies.ketamine.eligibility import plausible

__all__ = ["Basis", "Dose", "DoseCase", "DosePlan", "check_plan", "dose_of_the_day", "from_bag"]


class Basis(StrEnum):
    """Which weight the dose is calculated on; explicit in every plan."""

    ACTUAL = "actual"
    IDEAL = "ideal"
    ADJUSTED = "adjusted"


@dataclass(frozen=True, slots=True, kw_only=True)
class DosePlan:
    """What the prescriber signs: dose per weight, weight basis, optional cap in mg, and duration.

    ``duration_override`` is the prescriber's reason for a duration outside the allowed range; ``step_reason`` for a
    dose that differs from the last.
    """

    dose: Quantity
    basis: Basis
    duration: Quantity
    cap: Quantity | None = None
    previous_dose: Quantity | None = None
    step_reason: str = ""
    duration_override: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DoseCase:
    """The day's facts for one infusion.

    Attributes:
        weight: today's, at the chair.
        intake_weight: from intake; more than the signed difference from today's needs a second measurement.
        last_weight: at the last session; None before the first.
        weight_remeasured: today's weight was measured a second time and holds.
        weight_confirmed: the prescriber confirmed today's weight after a change.
        strength: of the stock, mg/mL.
        bag: total volume of the bag, drug included.
    """

    at: Moment
    plan: DosePlan
    weight: Observation | None
    strength: Quantity
    bag: Quantity | None
    height: Quantity | None = None
    sex_at_birth: Sex | None = None
    intake_weight: Quantity | None = None
    last_weight: Quantity | None = None
    weight_remeasured: bool = False
    weight_confirmed: bool = False


@dataclass(frozen=True, slots=True)
class Dose:
    """One infusion, as it is to be drawn up and run.

    Attributes:
        ordered: dose per weight times dosing weight, exact, capped by the plan.
        volume: of stock to draw for the patient, rounded down to 0.01 mL.
        mass: what that volume holds: volume times strength, never above ``ordered``.
        concentration: in the bag, for display, four decimals, half up; compared with its limit before rounding.
        pump_rate: of the bag, rounded down to 0.1 mL/h.
        mass_per_minute, mass_per_hour: for display, three decimals, half up.
        dosing_weight: the weight the dose was calculated on.
        bmi: for display beside the weight.
    """

    ordered: Quantity
    volume: Quantity
    mass: Quantity
    concentration: Quantity
    pump_rate: Quantity
    mass_per_minute: Quantity
    mass_per_hour: Quantity
    dosing_weight: Quantity
    bmi: Decimal | None
    capped: bool


def check_plan(plan: DosePlan, rules: Thresholds) -> tuple[Problem, ...]:
    """Everything that makes a dose plan unacceptable, whoever signs it (hard limits) or without a stated reason (the
    rest).
    """
    problems = []
    if rules["dose.maximum"].met_by(plan.dose):
        problems.append(Problem("above-hard-maximum", "plan.dose", f"{plan.dose} is above {rules['dose.maximum'].quantity}"))
    if rules["dose.minimum"].met_by(plan.dose):
        problems.append(Problem("below-minimum", "plan.dose", f"{plan.dose} is below {rules['dose.minimum'].quantity}"))
    if plan.cap is not None and plan.cap <= Quantity(Decimal(0), "mg"):
        problems.append(Problem("invalid", "plan.cap", "must be above zero"))
    outside = any(rules[f"duration.{k}"].met_by(plan.duration) for k in ("minimum", "maximum"))
    if plan.duration <= Quantity(Decimal(0), "min"):
        problems.append(Problem("invalid", "plan.duration", "must be above zero"))
    elif outside and not plan.duration_override.strip():
        allowed = f"{rules['duration.minimum'].quantity} to {rules['duration.maximum'].quantity}"
        problems.append(Problem("needs-override", "plan.duration", f"outside {allowed}: needs the prescriber's reason"))
    if plan.previous_dose is not None and plan.dose != plan.previous_dose:
        step = plan.dose.to("mg/kg").value - plan.previous_dose.to("mg/kg").value
        if rules["dose.step_up"].met_by(Quantity(step, "mg/kg")):
            problems.append(Problem("step-too-large", "plan.dose", f"more than {rules['dose.step_up'].quantity} up"))
        if not plan.step_reason.strip():
            problems.append(Problem("needs-reason", "plan.step_reason", "a changed dose needs the prescriber's reason"))
    return tuple(problems)


def dose_of_the_day(case: DoseCase, rules: Thresholds) -> Evaluation[Dose] | Rejected:
    """Calculate one infusion from the signed plan and today's weight.

    Returns:
        ``Rejected`` when plan, stock or bag break a limit. Otherwise PROPOSED with the dose, or HOLD without one when
        the weight is missing, not of today, implausible, changed, or contradicted. Never more than the plan, its cap,
        or the hard limit per actual weight.
    """
    problems = [*check_plan(case.plan, rules), *_stock(case, rules)]
    if problems:
        return Rejected(tuple(problems))
    e = Assessment("ketamine.dose", rules, case.at.at)
    for name in ("strength", "bag", "height", "intake_weight", "last_weight"):
        e.look(name, getattr(case, name))
    e.look("plan", f"{case.plan.dose}, {case.plan.basis.value} weight, {case.plan.duration}")
    actual = _weight_today(case, e)
    basis = _dosing_weight(case, actual, e) if actual else None
    if actual is None or basis is None or e.absent:
        return e.close(Outcome.HOLD)
    dose = _dose(case, actual, basis, rules)
    if isinstance(dose, Rejected):
        return dose
    return e.close(Outcome.PROPOSED, dose)


def _stock(case: DoseCase, rules: Thresholds) -> list[Problem]:
    problems = []
    if case.strength not in [Quantity.parse(s) for s in rules.lists["strengths"]]:
        problems.append(Problem("unknown-strength", "strength", f"{case.strength} is not a stock strength"))
    if case.bag is None:
        if rules["strength.never_undiluted"].met_by(case.strength):
            problems.append(Problem("undiluted", "bag", f"{case.strength} is never given intravenously undiluted"))
        else:
            problems.append(Problem("missing", "bag", "the total volume of the bag is needed"))
    elif case.bag <= Quantity(Decimal(0), "mL"):
        problems.append(Problem("invalid", "bag", "must be above zero"))
    return problems


def _weight_today(case: DoseCase, e: Assessment) -> Quantity | None:
    e.look("weight", case.weight)
    if case.weight is None:
        e.lack("weight", "today's weight")
        return None
    if case.weight.at > case.at.at or Moment(case.weight.at, case.at.zone).date != case.at.date:
        e.lack("weight", "not measured at this visit", "stale")
        return None
    weight = case.weight.value
    if not plausible("weight", "weight", weight, e):
        return None
    kg = weight.to("kg").value
    if case.intake_weight is not None:
        intake = case.intake_weight.to("kg").value
        if e.thresholds["weight.disagree"].met_by_percent(abs(kg - intake), intake) and not case.weight_remeasured:
            e.lack("weight", "differs from the intake weight: measure again", "remeasure")
    if case.last_weight is not None:
        last = case.last_weight.to("kg").value
        change = abs(kg - last)
        if e.thresholds["weight.remeasure"].met_by_percent(change, last) and not case.weight_remeasured:
            e.lack("weight", "changed by more than a tenth since the last session: measure again", "remeasure")
        if e.thresholds["weight.confirm"].met_by_percent(change, last) and not case.weight_confirmed:
            e.lack("weight_confirmed", "weight changed since the last session: the prescriber confirms", "confirm")
    return weight


def _dosing_weight(case: DoseCase, actual: Quantity, e: Assessment) -> Quantity | None:
    if case.plan.basis is Basis.ACTUAL:
        return actual
    for name in ("height", "sex_at_birth"):
        if getattr(case, name) is None:
            e.lack(name, f"{case.plan.basis.value} weight")
    if case.height is None or case.sex_at_birth is None or not plausible("height", "height", case.height, e):
        return None
    if case.plan.basis is Basis.IDEAL:
        exact = ideal_weight(case.height, case.sex_at_birth, e.thresholds)
    else:
        exact = adjusted_weight(actual, case.height, case.sex_at_birth, e.thresholds)
    step = Fraction(e.thresholds["dosing_weight.step"].value)
    return Quantity(e.thresholds["dosing_weight.step"].value * int(exact / step + Fraction(1, 2)), "kg")


def _dose(case: DoseCase, actual: Quantity, basis: Quantity, rules: Thresholds) -> Dose | Rejected:
    per_kg, strength = case.plan.dose.to("mg/kg").value, case.strength.to("mg/mL").value
    ordered = per_kg * basis.to("kg").value
    cap = case.plan.cap.to("mg").value if case.plan.cap is not None else None
    capped = cap is not None and ordered > cap
    if cap is not None and capped:
        ordered = cap
    if rules["dose.maximum"].met_by_ratio(ordered, actual.to("kg").value):
        return Rejected.one("above-hard-maximum", "plan.dose", "the dose is above the hard limit for the actual weight")
    volume = floor_to(Fraction(ordered) / Fraction(strength), rules["volume.step"].value)
    mass = volume * strength
    assert case.bag is not None  # noqa: S101 - `_stock` rejected its absence
    bag, minutes = case.bag.to("mL").value, case.plan.duration.to("min").value
    if rules["concentration.maximum"].met_by_ratio(mass, bag):
        limit = rules["concentration.maximum"].quantity
        return Rejected.one("too-concentrated", "bag", f"the final concentration would be above {limit}: use a larger bag")
    rate = floor_to(Fraction(bag) * 60 / Fraction(minutes), rules["rate.step"].value)
    return Dose(
        Quantity(ordered, "mg"),
        Quantity(volume, "mL"),
        Quantity(mass, "mg"),
        Quantity(round_half_up(mass / bag, 4), "mg/mL"),
        Quantity(rate, "mL/h"),
        Quantity(round_half_up(mass / minutes, 3), "mg/min"),
        Quantity(round_half_up(mass * 60 / minutes, 3), "mg/h"),
        basis,
        bmi_shown(actual, case.height) if case.height is not None else None,
        capped,
    )


def from_bag(
    dose: Dose, plan: DosePlan, into_bag: Quantity, bag: Quantity, rules: Thresholds
) -> tuple[Quantity, Quantity] | None:
    """How much of a bag that is mixed already holds a dose, and the pump's rate for the plan's duration, both rounded down;
    None if the bag holds less than the dose.
    """
    share = Fraction(dose.volume.to("mL").value) / Fraction(into_bag.to("mL").value)
    if share > 1:
        return None
    volume = floor_to(Fraction(bag.to("mL").value) * share, rules["volume.step"].value)
    rate = floor_to(Fraction(volume) * 60 / Fraction(plan.duration.to("min").value), rules["rate.step"].value)
    return Quantity(volume, "mL"), Quantity(rate, "mL/h")


def floor_to(value: Fraction, step: Decimal) -> Decimal:
    """The largest multiple of ``step`` that is not above ``value``: what is drawn or run is never more than ordered."""
    return (Decimal(int(value / Fraction(step))) * step).quantize(step, rounding=ROUND_FLOOR)
