"""What a session leaves behind: the grade proposed for an adverse event, and the arithmetic of the controlled-drug
ledger.

An adverse event is a human entry; the software proposes its grade. Ketamine is a schedule III drug: every drawn
millilitre is given or wasted before two people.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Final

from schemas.values import Quantity
from services.therapies.evidence import Problem, Rejected, Thresholds
from services.therapies.ketamine.eligibility import BloodPressure
from services.therapies.ketamine.gates import VitalsSet

__all__ = [
    "AdverseEvent",
    "Intake",
    "Intervention",
    "Ledger",
    "LedgerBalance",
    "Serious",
    "ledger",
    "propose_grade",
    "pump_disagrees",
]

HYPERTENSION: Final = "hypertension"
"""The term that is graded by blood pressures; of another event they say nothing."""


class Serious(StrEnum):
    """What makes an adverse event serious (21 CFR 312.32)."""

    DEATH = "death"
    LIFE_THREATENING = "life-threatening"
    HOSPITALISATION = "hospitalisation"
    DISABILITY = "disability"
    CONGENITAL_ANOMALY = "congenital anomaly"
    IMPORTANT_MEDICAL_EVENT = "important medical event"


class Intake(StrEnum):
    """How much a nauseated patient eats and drinks (CTCAE v5.0: grades 1, 2 and 3)."""

    EATING = "eating"
    LESS = "less"
    NEEDS_SUPPORT = "tube feeding or infusion needed"


class Intervention(StrEnum):
    """What an adverse event needed (CTCAE v5.0: grades 1, 2 and 3)."""

    NONE = "none"
    MINIMAL = "minimal or local"
    HOSPITAL = "hospitalisation or major"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdverseEvent:
    """What a human entered. ``readings`` are the blood pressures around it, in time order; either half may be missing."""

    term: str
    serious: frozenset[Serious] = frozenset()
    intervention: Intervention | None = None
    oral_intake: Intake | None = None
    readings: tuple[BloodPressure | VitalsSet, ...] = ()


@dataclass(frozen=True, slots=True)
class GradeProposal:
    """Proposed CTCAE grade (None when nothing supports one) and serious flag, with the reason for each; a clinician
    signs or changes it.
    """

    grade: int | None
    serious: bool
    reasons: tuple[str, ...]


def propose_grade(event: AdverseEvent, rules: Thresholds) -> GradeProposal:
    """The highest grade that anything entered supports. Hypertension counts by its highest confirmed level: two readings in
    a row.
    """
    grades: list[tuple[int, str]] = []
    if Serious.DEATH in event.serious:
        grades.append((5, "death"))
    if Serious.LIFE_THREATENING in event.serious:
        grades.append((4, "life-threatening"))
    if Serious.HOSPITALISATION in event.serious:
        grades.append((3, "hospitalisation"))
    if event.intervention is not None:
        grades.append((list(Intervention).index(event.intervention) + 1, f"intervention: {event.intervention.value}"))
    if event.oral_intake is not None:
        grades.append((list(Intake).index(event.oral_intake) + 1, f"intake: {event.oral_intake.value}"))
    pressure = _confirmed_pressure(event.readings, rules) if event.term == HYPERTENSION else 0
    if pressure:
        grades.append((pressure, "highest confirmed blood pressure"))
    grade = max((g for g, _ in grades), default=None)
    reasons = tuple(reason for g, reason in grades if g == grade)
    return GradeProposal(grade, bool(event.serious), reasons + tuple(sorted(f"serious: {s.value}" for s in event.serious)))


def _confirmed_pressure(readings: Sequence[BloodPressure | VitalsSet], rules: Thresholds) -> int:
    def level(r: BloodPressure | VitalsSet) -> int:
        return max(
            (
                int(grade)
                for part, value in (("sbp", r.sbp), ("dbp", r.dbp))
                for grade, limit in rules.under(f"grade.{part}").items()
                if value is not None and limit.met_by(value)
            ),
            default=0,
        )

    return max((min(level(a), level(b)) for a, b in pairwise(readings)), default=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """One patient's drug in one session, in mL of stock. ``administered`` of an interrupted infusion is what the pump
    reported, never the plan.

    ``administered_by``, ``drawn_by`` and ``waste_witness`` are opaque ids of people; ``witness_role`` is theirs at the
    clinic.
    """

    strength: Quantity
    drawn: Quantity
    administered: Quantity
    wasted: Quantity
    drawn_by: str
    administered_by: str
    waste_witness: str | None
    witness_role: str | None


@dataclass(frozen=True, slots=True)
class LedgerBalance:
    """Balanced amounts; mass is volume times strength."""

    drawn: Quantity
    administered: Quantity
    wasted: Quantity


def pump_volume_to_stock(delivered: Quantity, bag: Quantity, drawn_into_bag: Quantity, rules: Thresholds) -> Quantity:
    """Stock (mL) that an infusion delivered when the pump stopped at ``delivered`` of ``bag``: in proportion, rounded
    half up to 0.01 mL.

    The rest of the bag is wastage: what went into it minus this, so that both always add up.
    """
    from fractions import Fraction

    step = rules["ledger.volume"].value
    share = Fraction(drawn_into_bag.to("mL").value) * Fraction(delivered.to("mL").value) / Fraction(bag.to("mL").value)
    return Quantity(step * int(share / Fraction(step) + Fraction(1, 2)), "mL")


def pump_disagrees(reported: Quantity, by_rate: Quantity, bag: Quantity, rules: Thresholds) -> bool:
    """Whether what the pump says it has delivered and what its rates and their times come to are further apart than is
    signed, in percent of the bag: a share of the bag is the same share of the dose, however little has run.
    """
    return rules["pump.disagree"].met_by_percent(abs(reported.to("mL").value - by_rate.to("mL").value), bag.to("mL").value)


def ledger(entry: Ledger, rules: Thresholds) -> LedgerBalance | Rejected:
    """Check that drawn = administered + wasted to 0.01 mL (and so to 0.1 mg), by two people. A discrepancy blocks
    closing the session.
    """
    problems = []
    amounts = {"drawn": entry.drawn, "administered": entry.administered, "wasted": entry.wasted}
    ml = {name: amount.to("mL").value for name, amount in amounts.items()}
    step = rules["ledger.volume"].value
    for name, value in ml.items():
        if value < 0:
            problems.append(Problem("invalid", name, "is below zero"))
        if value % step:
            problems.append(Problem("invalid", name, f"is finer than {step} mL"))
    difference = ml["drawn"] - ml["administered"] - ml["wasted"]
    if difference:
        mass = difference * entry.strength.to("mg/mL").value
        problems.append(Problem("discrepancy", "drawn", f"{difference} mL ({mass.normalize():f} mg) not accounted for"))
    if ml["wasted"] > 0:
        problems += _witness(entry)
    if problems:
        return Rejected(tuple(problems))
    strength = entry.strength.to("mg/mL").value
    return LedgerBalance(*(Quantity(value * strength, "mg") for value in ml.values()))


def _witness(entry: Ledger) -> list[Problem]:
    if not entry.waste_witness:
        return [Problem("missing", "waste_witness", "waste needs a witness")]
    if entry.waste_witness in (entry.drawn_by, entry.administered_by):
        return [Problem("self-witnessed", "waste_witness", "the witness neither drew nor gave the drug")]
    if entry.witness_role not in ("nurse", "prescriber"):
        return [Problem("not-qualified", "witness_role", "the witness is a nurse or a prescriber")]
    return []
