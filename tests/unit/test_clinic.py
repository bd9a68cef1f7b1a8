"""The roster's holes and the opening hours: pure decisions of the clinic and the directory."""

import datetime as dt
from uuid import UUID

import pytest

from services.clinic.domain import Calendar, Coverage, Hours, Shift, Span, Staff, may_take, overlapping_hours, uncovered
from services.directory.domain import OpeningHours, OpenSpan, Qualification
from services.directory.domain import Staff as Known

NY = "America/New_York"
ANN = UUID(int=1)
ALWAYS = Coverage("nurse", "always", dt.timedelta(hours=72))
OPEN = Coverage("nurse", "open", dt.timedelta(hours=72))
# Monday 25 January 2027; 08:00 to 18:00 in New York is 13:00 to 23:00 UTC.
WEEK = Calendar(NY, tuple(Hours(day, 480, 1080) for day in range(5)), (dt.date(2027, 1, 27),))


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(f"{text}+00:00")


def shift(start: str, end: str, *, role: str = "nurse", active: bool = True) -> Shift:
    return Shift(UUID(int=9), role, ANN, "nurse-1", at(start), at(end), active)


@pytest.mark.parametrize(
    ("shifts", "holes"),
    [
        ([], [("2027-01-25T00:00", "2027-01-26T00:00")]),
        ([shift("2027-01-24T00:00", "2027-01-27T00:00")], []),
        ([shift("2027-01-25T00:00", "2027-01-25T12:00"), shift("2027-01-25T12:00", "2027-01-26T00:00")], []),
        (
            [shift("2027-01-25T00:00", "2027-01-25T12:00"), shift("2027-01-25T12:01", "2027-01-26T00:00")],
            [("2027-01-25T12:00", "2027-01-25T12:01")],
        ),
        (
            [shift("2027-01-25T06:00", "2027-01-25T20:00"), shift("2027-01-25T08:00", "2027-01-25T09:00")],
            [("2027-01-25T00:00", "2027-01-25T06:00"), ("2027-01-25T20:00", "2027-01-26T00:00")],
        ),
        ([shift("2027-01-24T00:00", "2027-01-27T00:00", role="prescriber")], [("2027-01-25T00:00", "2027-01-26T00:00")]),
        ([shift("2027-01-24T00:00", "2027-01-27T00:00", active=False)], [("2027-01-25T00:00", "2027-01-26T00:00")]),
    ],
)
def test_a_minute_without_anybody_is_a_hole(shifts: list[Shift], holes: list[tuple[str, str]]) -> None:
    found = uncovered(ALWAYS, shifts, WEEK, at("2027-01-25T00:00"), at("2027-01-26T00:00"))
    assert found == [Span(at(start), at(end)) for start, end in holes]


def test_while_the_clinic_is_closed_nobody_is_missing() -> None:
    found = uncovered(OPEN, [], WEEK, at("2027-01-23T00:00"), at("2027-01-29T00:00"))
    # Saturday, Sunday and the closed Wednesday are left out.
    assert [span.starts_at for span in found] == [at(f"2027-01-{day}T13:00") for day in (25, 26, 28)]
    assert {span.ends_at - span.starts_at for span in found} == {dt.timedelta(hours=10)}


def test_what_is_not_known_to_be_closed_is_open() -> None:
    assert uncovered(OPEN, [], None, at("2027-01-24T00:00"), at("2027-01-25T00:00"))


@pytest.mark.parametrize(("day", "opens"), [(12, "13:00"), (15, "12:00")])
def test_opening_time_is_what_the_wall_clock_shows(day: int, opens: str) -> None:
    """The clocks change on Sunday 14 March 2027."""
    found = uncovered(OPEN, [], WEEK, at(f"2027-03-{day}T00:00"), at(f"2027-03-{day + 1}T00:00"))
    assert found[0].starts_at == at(f"2027-03-{day}T{opens}")


def test_only_who_works_here_and_has_the_role_is_put_on_the_roster() -> None:
    nurse = Staff(ANN, "Ann", ("nurse",), (), active=True)
    assert may_take(nurse, "nurse") == ""
    assert may_take(nurse, "clinic") == ""
    assert may_take(nurse, "prescriber") == "role-not-held"
    assert may_take(None, "nurse") == "staff-unknown"
    assert may_take(Staff(ANN, "Ann", ("nurse",), (), active=False), "nurse") == "staff-inactive"


def test_opening_times_of_a_day_do_not_overlap() -> None:
    assert overlapping_hours([Hours(0, 480, 720), Hours(0, 719, 1080)])
    assert not overlapping_hours([Hours(0, 480, 720), Hours(0, 720, 1080), Hours(1, 480, 720)])


HOURS = OpeningHours(NY, tuple(OpenSpan(day, dt.time(8), dt.time(18)) for day in range(5)), frozenset({dt.date(2027, 1, 18)}))


@pytest.mark.parametrize(
    ("start", "hours", "due"),
    [
        ("2027-01-14T20:00", 2, "2027-01-14T22:00"),  # Thursday 15:00 local
        ("2027-01-14T22:00", 2, "2027-01-15T14:00"),  # an hour today, one tomorrow
        ("2027-01-15T22:30", 1, "2027-01-19T13:30"),  # Friday evening, a weekend, a closed Monday
        ("2027-01-16T12:00", 1, "2027-01-19T14:00"),
    ],
)
def test_time_counts_while_the_clinic_is_open(start: str, hours: int, due: str) -> None:
    assert HOURS.after_open_time(at(start), dt.timedelta(hours=hours)) == at(due)


def test_a_clinic_that_never_opens_gives_no_due_time() -> None:
    with pytest.raises(ValueError, match="does not open"):
        OpeningHours(NY, (), frozenset()).after_open_time(at("2027-01-14T20:00"), dt.timedelta(hours=1))


def test_a_credential_holds_until_the_instant_that_it_ends_where_it_was_granted() -> None:
    licence = Qualification("licence", "US-NY", None, at("2025-01-01T00:00"), at("2027-01-01T00:00"))
    staff = Known(ANN, frozenset({"prescriber"}), (licence,), active=True)
    assert staff.holds("licence", at("2026-12-31T23:59"), region="US-NY")
    assert not staff.holds("licence", at("2027-01-01T00:00"), region="US-NY")
    assert not staff.holds("licence", at("2024-12-31T23:59"), region="US-NY")
    assert not staff.holds("licence", at("2026-01-01T00:00"), region="US-NJ")
    assert not staff.holds("dea", at("2026-01-01T00:00"))
    assert not Known(ANN, frozenset(), (licence,), active=False).holds("licence", at("2026-01-01T00:00"))
