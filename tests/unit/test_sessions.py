"""Where a session may go from where it stands, and the facts of its day."""

import datetime as dt
import uuid
from dataclasses import replace

import pytest

from services.session_logging.domain.sessions import (
    ENDINGS,
    MOVES,
    Entry,
    Session,
    SessionEnding,
    SessionState,
    Terms,
    allowed,
    facts_of,
    may_move,
    move,
)

NOW = dt.datetime(2027, 1, 25, 15, 30, tzinfo=dt.UTC)
STATES = tuple(SessionState)


def session(state: SessionState) -> Session:
    terms = Terms("0.5 mg/kg", "actual", "40 min")
    ids = [uuid.uuid4() for _ in range(4)]
    plain = Session(ids[0], ids[1], 1, terms, ids[2], ids[3], "ketamine", 1, "induction", NOW, "America/New_York")
    return replace(plain, state=state)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("to", STATES)
def test_a_session_moves_where_the_table_says_and_nowhere_else(state: SessionState, to: SessionState) -> None:
    before = session(state)
    later = NOW + dt.timedelta(minutes=1)
    if to is state:
        assert move(before, to, later) == before, "who stays has stood there as long as before"
    elif to in MOVES[state]:
        moved = move(before, to, later)
        assert (moved.state, moved.moved_at) == (to, later)
    else:
        assert not may_move(before, to)
        with pytest.raises(ValueError, match="to"):
            move(before, to, later)


def test_what_a_state_allows() -> None:
    assert {state.value: allowed(session(state)) for state in STATES} == {
        "scheduled": ["cancelled", "checked-in", "no-show", "voided"],
        "checked-in": [
            "aborted",
            "eloped",
            "held",
            "infusing",
            "left-against-advice",
            "ready",
            "transferred",
            "voided",
        ],
        "held": ["aborted", "eloped", "infusing", "left-against-advice", "ready", "transferred", "voided"],
        "ready": ["aborted", "eloped", "held", "infusing", "left-against-advice", "transferred", "voided"],
        "infusing": ["paused", "recovery"],
        "paused": ["infusing", "recovery"],
        "recovery": ["completed", "discharge-ready", "eloped", "left-against-advice", "transferred"],
        "discharge-ready": ["completed", "eloped", "left-against-advice", "recovery", "transferred"],
        "closed": [],
    }


def test_who_was_given_drug_is_never_closed_without_a_discharge_by_who_stays() -> None:
    given = {SessionState.RECOVERY, SessionState.DISCHARGE_READY}
    gone = {SessionEnding.LEFT_AGAINST_ADVICE, SessionEnding.ELOPED, SessionEnding.TRANSFERRED}
    assert {ending for ending, states in ENDINGS.items() if states & given} == gone
    assert not any(states & {SessionState.INFUSING, SessionState.PAUSED} for states in ENDINGS.values())


def test_a_score_that_comes_late_does_not_take_the_place_of_a_newer_one() -> None:
    later = NOW + dt.timedelta(minutes=60)
    typed = Entry(uuid.UUID(int=1), "vitals", later, later, "nurse", {"cadss6": 0})
    late = Entry(uuid.UUID(int=2), "vitals", NOW, later + dt.timedelta(minutes=5), "nurse", {"cadss6": 14, "source": "paper"})
    assert facts_of([typed, late])["cadss6"] == (0, later)
    # A fact is said, and the last word holds; a score that was true at the same time is corrected by the one recorded last.
    again = Entry(uuid.UUID(int=3), "vitals", later, later + dt.timedelta(minutes=9), "nurse", {"cadss6": 3})
    assert facts_of([again, late, typed])["cadss6"] == (3, later)
