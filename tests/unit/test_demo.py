"""The demo's morning: who comes follows from a seed, and courses on one clock go on in its order."""

import asyncio
import datetime as dt
from collections.abc import Callable, Coroutine
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from services.cli.demo.course import FIRST_DAY
from services.cli.demo.morning import OUTCOMES, book
from services.cli.demo.stage import Turns
from services.therapies.calendar import whole_years

SEEDS = range(30)
INFUSED = {"aborted", "RED unanswered", "left against advice", "goes well"}
START = dt.datetime(2027, 1, 12, 9, tzinfo=dt.UTC)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_seed_books_each_outcome_once_and_the_first_are_the_same_however_many_come(seed: int) -> None:
    booked = book(8, seed, 1)
    assert {one.outcome for one in booked} == set(OUTCOMES)
    assert [book(count, seed, 1) for count in range(1, 9)] == [booked[:count] for count in range(1, 9)]
    assert all(before.slot < after.slot for before, after in pairwise(booked))
    assert booked[0].slot >= "09:00"
    assert booked[-1].slot < "12:00"


def test_another_seed_books_others() -> None:
    orders = {tuple(one.outcome for one in book(8, seed, 1)) for seed in SEEDS}
    bodies = {tuple((one.who.birth_date, one.who.weight) for one in book(8, seed, 1)) for seed in SEEDS}
    assert len(orders) == len(bodies) == len(SEEDS)


@pytest.mark.parametrize("seed", SEEDS)
def test_nobody_meets_themselves_in_another_run(seed: int) -> None:
    one, other = book(8, seed, 1), book(8, seed, 2)
    for names in (lambda who: who.email, lambda who: who.device, lambda who: (who.given_name, who.family_name)):
        everybody = [names(booked.who) for booked in (*one, *other)]
        assert len(set(everybody)) == 16
    assert len({booked.who.login for booked in one}) == 8
    # But for who they are, they are the same.
    assert [replace(a.who, family_name="", email="", device="") for a in one] == [
        replace(b.who, family_name="", email="", device="") for b in other
    ]
    assert all(booked.who.email.endswith("@example.org") and "Fictitious" in booked.who.family_name for booked in one)


@pytest.mark.parametrize("seed", SEEDS)
def test_everybody_is_an_adult_whose_dose_is_in_the_bottle(seed: int) -> None:
    for one in book(8, seed, 1):
        assert whole_years(one.who.birth_date, FIRST_DAY) >= 18
        assert whole_years(one.who.birth_date, FIRST_DAY) < 65
        assert Decimal("18.5") < one.who.weight / (one.who.height / 100) ** 2 < Decimal(30)
        assert one.who.volume == one.who.weight / 2 / 50 <= 1
        assert ("hcg" in one.who.tests) is one.who.female


@pytest.mark.parametrize("seed", SEEDS)
def test_no_nurse_has_more_than_two_on_the_pump(seed: int) -> None:
    infused = [one for one in book(8, seed, 1) if one.outcome in INFUSED]
    for one in infused:
        same = [other for other in infused if other.who.nurse == one.who.nurse and _minute(other.slot) <= _minute(one.slot)]
        assert sum(_minute(one.slot) < _minute(other.slot) + 46 for other in same) <= 2
        assert {one.who.nurse, one.who.witness} == {"nurse.a", "nurse.b"}


def _minute(clock: str) -> int:
    return int(clock[:2]) * 60 + int(clock[3:])


async def _play(*courses: Callable[[Turns], Coroutine[Any, Any, None]]) -> list[dt.datetime]:
    turns = Turns(len(courses))
    moved = []
    async with asyncio.TaskGroup() as group:
        for course in courses:
            group.create_task(turns.play(course(turns)))
        while (at := await turns.next()) is not None:
            moved.append(at)
            turns.give()
    return moved[len(courses) :]


def _course(said: list[str], name: str, *minutes: int) -> Callable[[Turns], Coroutine[Any, Any, None]]:
    async def play(turns: Turns) -> None:
        for minute in minutes:
            said.append(f"{name} before {minute}")
            await asyncio.sleep(0)  # others run here, and wait for their turn
            await turns.wait(START + dt.timedelta(minutes=minute))
            said.append(f"{name} {minute}")

    return play


def test_courses_go_on_one_at_a_time_in_the_order_of_the_clock() -> None:
    said: list[str] = []
    moved = asyncio.run(_play(_course(said, "a", 10, 30), _course(said, "b", 5, 20, 25), _course(said, "c")))
    assert moved == [START + dt.timedelta(minutes=minute) for minute in (5, 10, 20, 25, 30)]
    steps = [one for one in said if "before" not in one]
    assert steps == ["b 5", "a 10", "b 20", "b 25", "a 30"]
    # What somebody does between two waits is not interrupted by anybody.
    assert all(said.index(step) + 1 == said.index(after) for step, after in (("b 5", "b before 20"), ("a 10", "a before 30")))


def test_a_course_that_fails_ends_all() -> None:
    async def fails(turns: Turns) -> None:
        await turns.wait(START)
        raise LookupError("wrong")

    said: list[str] = []
    with pytest.raises(ExceptionGroup) as failed:
        asyncio.run(_play(_course(said, "a", 10), fails))
    assert failed.group_contains(LookupError)
    assert "a 10" not in said
