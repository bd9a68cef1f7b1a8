"""The rule that judges an arriving event: its table, and what must hold for every history."""

from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.runtime.messaging.cursor import Cursor, Verdict, classify, rolled_back

APPLY, DUPLICATE, GAP, FORK = Verdict.APPLY, Verdict.DUPLICATE, Verdict.GAP, Verdict.FORK


def at(epoch: int, sequence: int, number: int) -> Cursor:
    return Cursor(epoch, sequence, UUID(int=number))


@pytest.mark.parametrize(
    ("cursor", "event", "verdict"),
    [
        pytest.param(None, at(1, 1, 10), APPLY, id="the first event of a source"),
        pytest.param(None, at(1, 2, 20), GAP, id="a first event that is not number one"),
        pytest.param(None, at(2, 1, 10), APPLY, id="the first event, already in a later epoch"),
        pytest.param(None, at(2, 3, 30), GAP, id="a later epoch does not excuse a missing beginning"),
        pytest.param(at(1, 5, 50), at(1, 6, 60), APPLY, id="the next one"),
        pytest.param(at(1, 5, 50), at(1, 5, 50), DUPLICATE, id="the same one again"),
        pytest.param(at(1, 5, 50), at(1, 1, 10), DUPLICATE, id="an old one again"),
        pytest.param(at(1, 5, 50), at(1, 7, 70), GAP, id="one is missing"),
        pytest.param(at(1, 5, 50), at(1, 5, 51), FORK, id="the same sequence under a newer id"),
        pytest.param(at(1, 5, 50), at(1, 5, 49), FORK, id="the same sequence under an older id"),
        pytest.param(at(1, 5, 50), at(1, 3, 51), FORK, id="an old sequence written after the cursor's event"),
        pytest.param(at(1, 5, 50), at(2, 6, 60), APPLY, id="a new epoch goes on"),
        pytest.param(at(1, 5, 50), at(2, 3, 60), APPLY, id="a new epoch overlaps what was lost"),
        pytest.param(at(1, 5, 50), at(2, 5, 60), APPLY, id="a new epoch replaces the last one"),
        pytest.param(at(1, 5, 50), at(2, 7, 70), GAP, id="a new epoch leaves a hole"),
        pytest.param(at(2, 5, 50), at(1, 6, 60), DUPLICATE, id="a late event of the lost history"),
        pytest.param(at(2, 5, 50), at(1, 5, 49), DUPLICATE, id="an old event of the old epoch"),
    ],
)
def test_each_verdict(cursor: Cursor | None, event: Cursor, verdict: Verdict) -> None:
    assert classify(cursor, event) is verdict


@pytest.mark.parametrize(
    ("cursor", "event", "lost"),
    [
        (None, at(2, 1, 10), 0),
        (at(1, 5, 50), at(1, 6, 60), 0),
        (at(1, 5, 50), at(2, 6, 60), 0),
        (at(1, 5, 50), at(2, 5, 60), 1),
        (at(1, 5, 50), at(2, 3, 60), 3),
        (at(2, 5, 50), at(1, 6, 60), 0),
    ],
)
def test_how_many_applied_events_the_owner_no_longer_knows(cursor: Cursor | None, event: Cursor, lost: int) -> None:
    assert rolled_back(cursor, event) == lost


def replay(arrivals: list[Cursor]) -> list[Cursor]:
    """Apply what the rule lets through; a gap is simply not applied."""
    cursor: Cursor | None = None
    applied = []
    for event in arrivals:
        if classify(cursor, event) is APPLY:
            cursor = event
            applied.append(event)
    return applied


@settings(deadline=None)
@given(length=st.integers(1, 20), arrivals=st.lists(st.integers(1, 20), max_size=80))
def test_every_event_of_one_history_is_applied_at_most_once_and_in_order_however_it_arrives(
    length: int, arrivals: list[int]
) -> None:
    history = [at(1, number, number * 10) for number in range(1, length + 1)]
    applied = replay([history[number - 1] for number in arrivals if number <= length])
    assert applied == history[: len(applied)]


@settings(deadline=None)
@given(repeated=st.lists(st.lists(st.integers(0, 30), max_size=3), min_size=1, max_size=30))
def test_a_log_in_order_is_applied_completely_whatever_is_repeated_in_between(repeated: list[list[int]]) -> None:
    history = [at(1, number, number * 10) for number in range(1, len(repeated) + 1)]
    log: list[Cursor] = []
    for position, again in enumerate(repeated):
        log += [history[position], *(history[back % (position + 1)] for back in again)]
    assert replay(log) == history


@settings(deadline=None)
@given(kept=st.integers(1, 20), lost=st.integers(1, 20), seen=st.integers(0, 20), fresh=st.integers(1, 20))
def test_a_history_written_after_a_restore_without_a_new_epoch_is_never_applied_beside_the_lost_one(
    kept: int, lost: int, seen: int, fresh: int
) -> None:
    old = [at(1, number, number * 10) for number in range(1, kept + lost + 1)]
    cursor = old[min(kept + seen, len(old) - 1)]
    new = [at(1, kept + number, 10_000 + number) for number in range(1, fresh + 1)]
    for event in new:
        if event.sequence <= cursor.sequence:
            assert classify(cursor, event) is FORK


@settings(deadline=None)
@given(kept=st.integers(1, 20), seen=st.integers(0, 20), fresh=st.integers(1, 20))
def test_a_history_written_under_a_new_epoch_is_applied_completely_from_the_restored_point(
    kept: int, seen: int, fresh: int
) -> None:
    cursor = at(1, kept + seen, (kept + seen) * 10)
    for number in range(1, fresh + 1):
        event = at(2, kept + number, 10_000 + number)
        assert classify(cursor, event) is APPLY
        assert rolled_back(cursor, event) == (seen if number == 1 else 0)
        cursor = event
