"""Numbers with units: exact, and errors that name the field."""

import datetime as dt
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.values import UNITS, Moment, Quantity, ValueProblem, round_half_up
from tests.support.rules import q

decimals = st.decimals(min_value=Decimal("-100000"), max_value=Decimal("100000"), places=6, allow_nan=False)


@pytest.mark.parametrize(
    ("given_", "unit", "expected"),
    [
        ("1 kg", "mg", "1000000"),
        ("2.5 mg", "ug", "2500"),
        ("500 ug", "mg", "0.5"),
        ("1 [lb_av]", "kg", "0.45359237"),
        ("0.45359237 kg", "[lb_av]", "1"),
        ("70 [in_i]", "cm", "177.8"),
        ("2.8 ng/mL", "ng/dL", "280"),
        ("280 ng/dL", "ng/mL", "2.8"),
        ("61.5 mg/h", "mg/min", "1.025"),
        ("2 h", "min", "120"),
        ("50 mg/mL", "ug/mL", "50000"),
        ("1 a", "mo", "12"),
    ],
)
def test_conversions_are_exact_both_ways(given_: str, unit: str, expected: str) -> None:
    there = q(given_).to(unit)
    assert there.value == Decimal(expected)
    assert there.to(q(given_).unit).value == q(given_).value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("280", "no unit"),
        ("10 units", "not known"),
        ("10 [iU]", "not known"),
        ("82.0kg", "plain decimal"),
        ("1e3 kg", "plain decimal"),
        ("NaN kg", "plain decimal"),
        ("Infinity kg", "plain decimal"),
        ("1_000 kg", "plain decimal"),
        (" kg", "plain decimal"),
        ("8.2.0 kg", "plain decimal"),
        ("٣ kg", "plain decimal"),
        ("3. kg", "plain decimal"),
    ],
)
def test_a_value_that_cannot_be_trusted_is_an_error_naming_the_field(text: str, reason: str) -> None:
    with pytest.raises(ValueProblem, match=reason) as caught:
        Quantity.parse(text, "weight")
    assert caught.value.field == "weight"


def test_a_binary_float_is_refused() -> None:
    with pytest.raises(ValueProblem, match="binary float"):
        Quantity(0.5, "mg")  # type: ignore[arg-type]


def test_units_is_never_a_unit() -> None:
    assert not {"units", "unit", "U", "IU"} & set(UNITS)


def test_different_dimensions_do_not_compare_and_are_never_equal() -> None:
    assert q("1 mg") != q("1 mL")
    with pytest.raises(ValueProblem):
        assert q("1 mg") < q("1 mL")
    with pytest.raises(ValueProblem):
        q("1 nmol/L").to("ng/dL")
    assert q("1 g") == q("1000 mg")
    assert hash(q("1 g")) == hash(q("1000 mg"))
    assert q("1 [lb_av]") < q("0.4536 kg")
    assert q("1 mg").__eq__(1) is NotImplemented


def test_an_inexact_conversion_needs_stated_places() -> None:
    with pytest.raises(ValueProblem, match="no exact value"):
        q("82 kg").to("[lb_av]")
    assert q("82 kg").to("[lb_av]", places=1) == q("180.8 [lb_av]")
    assert q("-82 kg").to("[lb_av]", places=1) == q("-180.8 [lb_av]")
    assert q("82.5 mg").to("g", places=2).value == Decimal("0.08")
    assert q("85 mg").to("g", places=2).value == Decimal("0.09")


@given(decimals, st.sampled_from(sorted(UNITS)), st.sampled_from(sorted(UNITS)))
def test_round_trips_are_exact(value: Decimal, unit: str, other: str) -> None:
    start = Quantity(value, unit)
    if UNITS[unit][0] != UNITS[other][0]:
        with pytest.raises(ValueProblem):
            start.to(other)
        return
    try:
        there = start.to(other)
    except ValueProblem:
        # Refused only when there truly is no finite decimal: some prime but 2 and 5 stays in the denominator.
        rest = (Fraction(value) * UNITS[unit][1] / UNITS[other][1]).denominator
        while rest % 2 == 0:
            rest //= 2
        while rest % 5 == 0:
            rest //= 5
        assert rest != 1
        return
    assert there.to(unit).value == value
    assert there == start


@given(decimals, decimals)
def test_order_across_units_is_the_order_of_the_amounts(a: Decimal, b: Decimal) -> None:
    assert (Quantity(a, "kg") < Quantity(b, "[lb_av]")) == (Fraction(a) < Fraction(b) * Fraction("0.45359237"))


def test_a_naive_time_or_an_unknown_zone_is_refused() -> None:
    with pytest.raises(ValueProblem, match="no offset"):
        Moment(dt.datetime(2027, 1, 1), "America/New_York")  # noqa: DTZ001 - the point of the test
    with pytest.raises(ValueProblem, match="IANA"):
        Moment(dt.datetime(2027, 1, 1, tzinfo=dt.UTC), "New York")


def test_rounding_is_half_up() -> None:
    assert round_half_up(Decimal("30.045"), 2) == Decimal("30.05")
