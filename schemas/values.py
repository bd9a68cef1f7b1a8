"""Values that mean the same everywhere: a number with its unit, a coded concept, an instant with its zone.

Standard library only, so that the public event contract and the pure clinical rules can share them.

Numbers are ``Decimal`` end to end. A conversion is exact or it is refused: one that has no finite decimal result (1 kg
in pounds) needs a stated number of places, and comparisons across units never round at all.
"""

import datetime as dt
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from fractions import Fraction
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

__all__ = ["UNITS", "Coded", "Moment", "Quantity", "ValueProblem", "round_half_up", "zone_of"]


class ValueProblem(ValueError):
    """A value that cannot be used as given: no unit, an unknown or wrong unit, a float, a naive time.

    Attributes:
        field: which value it was, in the words of the caller (``"weight"``); empty when only the caller knows.
        reason: what is wrong, in one sentence without the value itself being trusted.
    """

    def __init__(self, reason: str, field: str = "") -> None:
        super().__init__(f"{field}: {reason}" if field else reason)
        self.field = field
        self.reason = reason


# UCUM code -> (dimension, how many of the dimension's base unit one of it is). Factors are definitions, hence exact.
# "units" is not here on purpose: it is never a dose unit (the medication errors with compounded semaglutide were
# confusions of units, mL and mg). nmol/L of one substance and ng/dL are different dimensions: turning one into the
# other
# needs the substance's molar mass and is done, by name, in the module that knows the substance.
UNITS: Final[dict[str, tuple[str, Fraction]]] = {
    "kg": ("mass", Fraction(1_000_000)),
    "g": ("mass", Fraction(1000)),
    "mg": ("mass", Fraction(1)),
    "ug": ("mass", Fraction(1, 1000)),
    "[lb_av]": ("mass", Fraction("453592.37")),
    "m": ("length", Fraction(100)),
    "cm": ("length", Fraction(1)),
    "[in_i]": ("length", Fraction("2.54")),
    "L": ("volume", Fraction(1000)),
    "mL": ("volume", Fraction(1)),
    "mg/kg": ("dose per weight", Fraction(1)),
    "ug/kg": ("dose per weight", Fraction(1, 1000)),
    "mg/mL": ("mass concentration", Fraction(1)),
    "ug/mL": ("mass concentration", Fraction(1, 1000)),
    "mg/dL": ("mass concentration", Fraction(1, 100)),
    "g/dL": ("mass concentration", Fraction(10)),
    "ng/mL": ("mass concentration", Fraction(1, 1_000_000)),
    "ng/dL": ("mass concentration", Fraction(1, 100_000_000)),
    "pg/mL": ("mass concentration", Fraction(1, 1_000_000_000)),
    "nmol/L": ("substance concentration", Fraction(1)),
    "mg/d": ("dose per day", Fraction(1)),
    "mg/h": ("mass rate", Fraction(1)),
    "mg/min": ("mass rate", Fraction(60)),
    "mL/h": ("volume rate", Fraction(1)),
    "mL/min": ("volume rate", Fraction(60)),
    "L/min": ("volume rate", Fraction(60_000)),
    "s": ("time", Fraction(1)),
    "min": ("time", Fraction(60)),
    "h": ("time", Fraction(3600)),
    "d": ("time", Fraction(86_400)),
    "wk": ("time", Fraction(604_800)),
    "mo": ("calendar", Fraction(1)),
    "a": ("calendar", Fraction(12)),
    "mm[Hg]": ("pressure", Fraction(1)),
    "/min": ("rate", Fraction(1)),
    "%": ("fraction", Fraction(1)),
    "Cel": ("temperature", Fraction(1)),
    "kg/m2": ("body mass index", Fraction(1)),
    "kg/wk": ("weight change", Fraction(1)),
    "U/L": ("catalytic concentration", Fraction(1)),
    "[IU]/L": ("international units", Fraction(1)),
    "mL/min/{1.73_m2}": ("filtration", Fraction(1)),
    "ms": ("interval", Fraction(1)),
    "{score}": ("score", Fraction(1)),
    "1": ("count", Fraction(1)),
}


@dataclass(frozen=True, slots=True, eq=False)
class Quantity:
    """A number and its UCUM unit, for example ``Quantity(Decimal("82.0"), "kg")``.

    Equality and order are of the amount (``1 g == 1000 mg``) and exact; values of different dimensions are never equal
    and ordering them is an error, so a dose in mg cannot be compared with a volume in mL by accident.

    Raises:
        ValueProblem: no unit, a unit that is not in ``UNITS``, or a value that is not a finite ``Decimal``.
    """

    value: Decimal
    unit: str

    def __post_init__(self) -> None:
        if type(self.value) is not Decimal:
            raise ValueProblem("the number must be a decimal, never a binary float")
        if not self.value.is_finite():
            raise ValueProblem("the number is not finite")
        if self.unit not in UNITS:
            raise ValueProblem("has no unit" if not self.unit else f"the unit {self.unit[:20]!r} is not known")

    @classmethod
    def parse(cls, text: str, field: str = "") -> "Quantity":
        """Read ``"82.0 kg"``: a plain decimal number, one space, a UCUM unit.

        Raises:
            ValueProblem: naming ``field``, when the number or the unit is missing or not usable.
        """
        number, _, unit = text.partition(" ")
        try:
            return cls(_plain_decimal(number), unit)
        except ValueProblem as problem:
            raise ValueProblem(problem.reason, field) from None

    @property
    def dimension(self) -> str:
        """What is measured: ``"mass"``, ``"pressure"``; two quantities are comparable when it is the same."""
        return UNITS[self.unit][0]

    def _base(self) -> Fraction:
        return Fraction(self.value) * UNITS[self.unit][1]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Quantity):
            return NotImplemented
        if self.unit == other.unit:
            return self.value == other.value
        return self.dimension == other.dimension and self._base() == other._base()

    def __lt__(self, other: "Quantity") -> bool:
        if self.unit == other.unit:
            return self.value < other.value
        if self.dimension != other.dimension:
            raise ValueProblem(f"{self.unit} and {other.unit} cannot be compared")
        return self._base() < other._base()

    # Written out rather than derived: the alert rules compare for every sample.
    def __gt__(self, other: "Quantity") -> bool:
        return self.value > other.value if self.unit == other.unit else other < self

    def __ge__(self, other: "Quantity") -> bool:
        return self.value >= other.value if self.unit == other.unit else not self < other

    def __le__(self, other: "Quantity") -> bool:
        return self.value <= other.value if self.unit == other.unit else not other < self

    def __hash__(self) -> int:
        return hash((self.dimension, self._base()))

    def __str__(self) -> str:
        return f"{self.value:f} {self.unit}"

    def to(self, unit: str, places: int | None = None) -> "Quantity":
        """The same amount in another unit of the same dimension.

        Args:
            unit: UCUM code.
            places: decimals to round to (half up), for display. Without it only an exact result is given.

        Raises:
            ValueProblem: another dimension, an unknown unit, or no finite decimal result and no ``places``.
        """
        if unit == self.unit and places is None:
            return self
        if unit not in UNITS or UNITS[unit][0] != self.dimension:
            raise ValueProblem(f"{self.unit} cannot be expressed in {unit[:20]}")
        amount = self._base() / UNITS[unit][1]
        if places is not None:
            return Quantity(_rounded(amount, places), unit)
        exact = _exact_decimal(amount)
        if exact is None:
            raise ValueProblem(f"{self} has no exact value in {unit}; state the places to round to")
        return Quantity(exact, unit)


def _plain_decimal(text: str) -> Decimal:
    # Decimal() also takes "1e5", "1_000", " 3 " and "Infinity"; a clinical number is digits with at most one point.
    body = text.removeprefix("-")
    if not body or not body.replace(".", "", 1).isdigit() or not body.isascii() or body[0] == "." or body[-1] == ".":
        raise ValueProblem("is not a plain decimal number")
    try:
        return Decimal(text)
    except InvalidOperation:  # pragma: no cover - the shape was checked above
        raise ValueProblem("is not a plain decimal number") from None


def _exact_decimal(amount: Fraction) -> Decimal | None:
    """The finite decimal equal to ``amount``, or None when there is none (a denominator with other primes than 2 and
    5).
    """
    twos = fives = 0
    rest = amount.denominator
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    if rest != 1:
        return None
    places = max(twos, fives)
    digits = amount.numerator * 10**places // amount.denominator
    return _shifted(digits, places)


def _rounded(amount: Fraction, places: int) -> Decimal:
    scaled = abs(amount) * 10**places
    digits = (2 * scaled.numerator + scaled.denominator) // (2 * scaled.denominator)  # half up, away from zero
    return _shifted(-digits if amount < 0 else digits, places)


def _shifted(digits: int, places: int) -> Decimal:
    # Built from its parts: arithmetic would round to the context's 28 digits.
    return Decimal((int(digits < 0), tuple(int(c) for c in str(abs(digits))), -places))


def round_half_up(value: Decimal, places: int) -> Decimal:
    """``value`` with exactly ``places`` decimals, half up: for numbers that are shown, never before a comparison."""
    return value.quantize(Decimal((0, (1,), -places)), rounding=ROUND_HALF_UP)


@dataclass(frozen=True, slots=True)
class Coded:
    """A concept in a public code system, for example ``Coded("http://loinc.org", "8480-6", "Systolic blood
    pressure")``.
    """

    system: str
    code: str
    display: str


@lru_cache(maxsize=64)
def zone_of(name: str) -> ZoneInfo:
    """The IANA zone of that name.

    Raises:
        ValueProblem: there is no such zone.
    """
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueProblem("is not an IANA time zone") from None


@dataclass(frozen=True, slots=True, order=True)
class Moment:
    """An instant, and the zone in which people there read the clock.

    ``at`` is always UTC, so that differences are elapsed time; ``local`` is for wall-clock rules (dates, quiet hours).

    Raises:
        ValueProblem: a naive time or an unknown zone.
    """

    at: dt.datetime
    zone: str

    def __post_init__(self) -> None:
        if self.at.tzinfo is None:
            raise ValueProblem("the time has no offset")
        object.__setattr__(self, "at", self.at.astimezone(dt.UTC))
        zone_of(self.zone)

    @property
    def local(self) -> dt.datetime:
        """The wall clock in ``zone``."""
        return self.at.astimezone(zone_of(self.zone))

    @property
    def date(self) -> dt.date:
        """The local calendar date."""
        return self.local.date()
