"""What answers about suicide open: levels, clocks and tasks, by the signed ladders."""

import datetime as dt
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.directory.domain import OpeningHours, OpenSpan
from services.screening.commands import HIGH, INCOMPLETE, OVERDUE, ladders
from services.screening.domain import (
    Followed,
    Item,
    Risk,
    Task,
    TaskKind,
    after_item,
    after_screen,
    item_of,
    not_screened,
    overdue,
)
from services.therapies.evidence import Evaluation
from services.therapies.instruments import RiskLevel, score
from tests.support.rules import rules

CADENCE, SCALES = rules("cadence"), rules("instruments")
NOW = dt.datetime(2027, 1, 15, 1, 52, tzinfo=dt.UTC)  # Thursday evening in New York
MINUTE, HOUR = dt.timedelta(minutes=1), dt.timedelta(hours=1)
WEEKDAYS = tuple(OpenSpan(day, dt.time(8), dt.time(18)) for day in range(5))
HOURS = OpeningHours("America/New_York", WEEKDAYS, frozenset())
PATIENT, CAUSE = UUID(int=1), UUID(int=2)
LEVELS = tuple(RiskLevel)


def task(number: int = 10, *, at: dt.datetime = NOW, **changed: object) -> Task:
    made = Task(UUID(int=number), PATIENT, TaskKind.REVIEW, RiskLevel.NONE, "", CAUSE, at, opened_at=at, due_at=at)
    return replace(made, **changed)  # type: ignore[arg-type]


def risk(level: RiskLevel, at: dt.datetime = NOW, version: int = 0) -> Risk:
    return Risk(level, level, CAUSE, at, version)


def screened(
    level: RiskLevel, known: Risk | None = None, tasks: tuple[Task, ...] = (), hours: OpeningHours | None = HOURS
) -> Followed:
    return after_screen(risk(level), known, tasks, task(), hours, CADENCE)


@pytest.mark.parametrize(
    ("level", "role", "due"),
    [
        (RiskLevel.HIGH, "prescriber", NOW + 5 * MINUTE),
        (RiskLevel.INCOMPLETE, "prescriber", NOW + 5 * MINUTE),
        # Four open hours: Friday from 08:00 New York.
        (RiskLevel.MODERATE, "prescriber", dt.datetime(2027, 1, 15, 17, 0, tzinfo=dt.UTC)),
        (RiskLevel.LOW, "nurse", NOW + 72 * HOUR),
    ],
)
def test_each_level_has_its_clock(level: RiskLevel, role: str, due: dt.datetime) -> None:
    opened = screened(level).opened
    assert opened is not None
    assert (opened.kind, opened.level, opened.role, opened.due_at) == (TaskKind.REVIEW, level, role, due)


def test_none_opens_nothing_and_still_holds() -> None:
    assert screened(RiskLevel.NONE) == Followed(risk=risk(RiskLevel.NONE))


@pytest.mark.parametrize("hours", [None, OpeningHours("America/New_York", (), frozenset())])
def test_a_clinic_that_is_never_open_answers_a_moderate_within_the_cap(hours: OpeningHours | None) -> None:
    opened = screened(RiskLevel.MODERATE, hours=hours).opened
    assert opened is not None
    assert opened.due_at == NOW + 24 * HOUR


def test_over_a_weekend_the_cap_wins() -> None:
    friday = dt.datetime(2027, 1, 15, 22, 30, tzinfo=dt.UTC)
    wanted = task(at=friday)
    opened = after_screen(risk(RiskLevel.MODERATE, friday), None, (), wanted, HOURS, CADENCE).opened
    assert opened is not None
    assert opened.due_at == friday + 24 * HOUR


def test_the_same_level_opens_no_second_task_and_another_one_does() -> None:
    high = task(11, level=RiskLevel.HIGH, role="prescriber")
    assert screened(RiskLevel.HIGH, risk(RiskLevel.HIGH), (high,)).opened is None
    assert screened(RiskLevel.LOW, risk(RiskLevel.HIGH), (high,)).opened is not None


@given(st.sampled_from(LEVELS), st.sampled_from(LEVELS))
def test_a_high_is_never_closed_by_answers(level: RiskLevel, known: RiskLevel) -> None:
    high = task(11, level=RiskLevel.HIGH)
    assert high not in screened(level, risk(known), (high,)).void


def test_complete_answers_end_what_waited_for_them() -> None:
    screen = task(11, kind=TaskKind.SCREEN, level=RiskLevel.INCOMPLETE)
    review = task(12, level=RiskLevel.INCOMPLETE)
    assert screened(RiskLevel.LOW, None, (screen, review)).void == (screen, review)
    assert screened(RiskLevel.INCOMPLETE, None, (screen, review)).void == ()


def test_answers_from_long_before_do_not_count_for_an_item() -> None:
    """A screen of the same sitting does, also when it came first; the signed ten minutes tell a sitting."""
    screen = task(11, kind=TaskKind.SCREEN, level=RiskLevel.INCOMPLETE)
    for before, void in ((10 * MINUTE, (screen,)), (10 * MINUTE + dt.timedelta(seconds=1), ())):
        found = after_screen(risk(RiskLevel.LOW, NOW - before), None, (screen,), task(), HOURS, CADENCE)
        assert found.void == void


def test_the_newest_answers_hold_and_older_ones_are_acted_on_all_the_same() -> None:
    known = risk(RiskLevel.LOW, NOW, version=4)
    found = after_screen(risk(RiskLevel.HIGH, NOW - HOUR), known, (), task(), HOURS, CADENCE)
    assert found.risk is None
    assert found.opened is not None
    assert found.opened.urgent
    again = after_screen(risk(RiskLevel.NONE, NOW), known, (), task(), HOURS, CADENCE).risk
    assert again is not None, "of one instant, what was recorded last holds"
    newer = after_screen(risk(RiskLevel.NONE, NOW + HOUR), known, (), task(), HOURS, CADENCE).risk
    assert newer is not None
    assert (newer.level, newer.version) == (RiskLevel.NONE, 4)


@pytest.mark.parametrize(
    ("instrument", "answers", "item"),
    [
        ("phq9", [0] * 9, Item.CLEAR),
        ("phq9", [0] * 8 + [1], Item.SCREEN),
        ("phq9", [0] * 8 + [None], Item.MISSING),
        ("qids_sr16", [0] * 11 + [1] + [0] * 4, Item.REVIEW),
        ("qids_sr16", [0] * 11 + [2] + [0] * 4, Item.SCREEN),
        ("qids_sr16", [0] * 11 + [None] + [0] * 4, Item.MISSING),
        ("madrs", [0] * 9 + [2], Item.CLEAR),
        ("madrs", [0] * 9 + [3], Item.SCREEN),
        ("madrs", [0] * 9 + [None], Item.MISSING),
        ("gad7", [3] * 7, Item.CLEAR),
    ],
)
def test_what_a_suicide_item_comes_to(instrument: str, answers: list[int | None], item: Item) -> None:
    found = score(instrument, answers, NOW, SCALES)
    assert isinstance(found, Evaluation)
    assert item_of(found.fired()) is item


def item(kind: Item, known: Risk | None = None, tasks: tuple[Task, ...] = ()) -> Followed:
    return after_item(kind, known, tasks, task(), HOURS, CADENCE)


def test_an_item_opens_the_screen_which_has_ten_minutes() -> None:
    opened = item(Item.SCREEN).opened
    assert opened is not None
    assert (opened.kind, opened.due_at, opened.urgent) == (TaskKind.SCREEN, NOW + 10 * MINUTE, False)
    assert item(Item.SCREEN, tasks=(opened,)) == Followed(), "one screen at a time"
    assert item(Item.CLEAR) == Followed()


def test_a_missing_item_is_on_the_clock_of_high_at_once() -> None:
    found = item(Item.MISSING)
    assert found.risk == Risk(RiskLevel.INCOMPLETE, RiskLevel.NONE, CAUSE, NOW, 0)
    assert found.opened is not None
    assert (found.opened.level, found.opened.urgent) == (RiskLevel.INCOMPLETE, True)


def test_one_point_of_qids_is_reviewed_like_a_low() -> None:
    opened = item(Item.REVIEW).opened
    assert opened is not None
    assert (opened.kind, opened.level, opened.due_at) == (TaskKind.REVIEW, RiskLevel.LOW, NOW + 72 * HOUR)


@pytest.mark.parametrize("kind", [Item.SCREEN, Item.MISSING, Item.REVIEW])
def test_a_complete_screen_of_the_same_sitting_sets_the_clock_whatever_the_item_says(kind: Item) -> None:
    assert item(kind, risk(RiskLevel.LOW, NOW - 9 * MINUTE)) == Followed()
    assert item(kind, risk(RiskLevel.INCOMPLETE, NOW - 9 * MINUTE)).opened is not None
    assert item(kind, risk(RiskLevel.LOW, NOW - 11 * MINUTE)).opened is not None


def test_a_missing_item_does_not_hide_what_is_known_to_be_worse_or_newer() -> None:
    for known in (risk(RiskLevel.HIGH, NOW - HOUR), risk(RiskLevel.INCOMPLETE, NOW + HOUR)):
        found = item(Item.MISSING, known)
        assert found.risk is None
        assert found.opened is not None
    same_moment = item(Item.MISSING, replace(risk(RiskLevel.INCOMPLETE, version=2), assessment=UUID(int=9))).risk
    assert same_moment == Risk(RiskLevel.INCOMPLETE, RiskLevel.INCOMPLETE, CAUSE, NOW, 2)


def test_a_screen_that_nobody_completed_counts_as_incomplete() -> None:
    screen = task(11, kind=TaskKind.SCREEN, level=RiskLevel.INCOMPLETE)
    known = Risk(RiskLevel.LOW, RiskLevel.LOW, CAUSE, NOW - HOUR, 3)
    found = not_screened(screen, known, (screen,), task(12), CADENCE)
    assert found.risk == Risk(RiskLevel.INCOMPLETE, RiskLevel.LOW, CAUSE, NOW, 3)
    assert found.opened is not None
    assert (found.opened.kind, found.opened.level, found.opened.urgent) == (TaskKind.REVIEW, RiskLevel.INCOMPLETE, True)
    for status in ("void", "done"):
        assert not_screened(replace(screen, status=status), None, (), task(12), CADENCE) == Followed()


def test_whom_a_due_task_calls() -> None:
    high = task(level=RiskLevel.HIGH)
    assert overdue(high)
    assert not overdue(replace(high, acknowledged_at=NOW)), "a human has answered; the talk goes on"
    low = task(level=RiskLevel.LOW, acknowledged_at=NOW)
    assert overdue(low), "the contact itself was due"
    assert not overdue(replace(low, status="done"))


def test_the_ladders_are_those_that_were_signed() -> None:
    made = ladders(CADENCE)
    for code in (HIGH, INCOMPLETE):
        rungs = [(rung.after.total_seconds(), rung.role) for rung in made[code].rungs]
        assert rungs == [(0, "prescriber"), (60, "nurse"), (300, "clinic")]
    assert [rung.role for rung in made[OVERDUE].rungs] == ["nurse", "prescriber", "clinic"]
