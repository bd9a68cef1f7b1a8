"""Body size: body mass index, ideal and adjusted weight. Exact until shown."""

from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from schemas.values import Quantity, round_half_up
from services.therapies.evidence import Threshold, Thresholds

__all__ = ["Sex", "adjusted_weight", "bmi_met", "bmi_shown", "ideal_weight"]


class Sex(StrEnum):
    """Sex assigned at birth: chooses formulas and cuts, nothing else."""

    FEMALE = "female"
    MALE = "male"


def bmi_met(limit: Threshold, weight: Quantity, height: Quantity) -> bool:
    """Whether weight over squared height meets a body mass index limit, without dividing."""
    kg, m = weight.to("kg").value, height.to("m").value
    return limit.met_by_ratio(kg, m * m)


def bmi_shown(weight: Quantity, height: Quantity) -> Decimal:
    """Body mass index in kg/m2 with two decimals, half up: for display."""
    m = height.to("m").value
    return round_half_up(weight.to("kg").value / (m * m), 2)


def ideal_weight(height: Quantity, sex: Sex, rules: Thresholds) -> Fraction:
    """Devine 1974 in kg: a base by sex and a fixed amount per inch above five feet. Exact; may be unusable for small
    adults.
    """
    inches = Fraction(height.to("cm").value) / Fraction("2.54") - Fraction(rules["devine.from"].value)
    return Fraction(rules[f"devine.{sex.value}"].value) + Fraction(rules["devine.per_inch"].value) * inches


def adjusted_weight(actual: Quantity, height: Quantity, sex: Sex, rules: Thresholds) -> Fraction:
    """Ideal weight plus a share of what is above it, in kg. Exact."""
    ideal = ideal_weight(height, sex, rules)
    share = Fraction(rules["adjusted.share"].value) / 100
    return ideal + share * (Fraction(actual.to("kg").value) - ideal)
