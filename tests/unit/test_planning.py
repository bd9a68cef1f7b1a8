"""Decisions of treatment planning, of follow-up and of the room, without any server."""

import datetime as dt
from types import SimpleNamespace
from uuid import UUID

import pytest

from schemas.events import treatment_planning
from schemas.events.session_logging import SessionState
from services.directory.facts import Facts
from services.follow_up.domain.links import TRIES, Contact, Link, birth_hash, is_birth_date, refusal, tried
from services.follow_up.domain.outcomes import Baseline, Score, State, frozen, review
from services.follow_up.domain.reminders import SessionFact, planned
from services.runtime.messaging.changes import Context
from services.runtime.settings import KafkaSettings
from services.session_logging.commands.room import Log, Room
from services.session_logging.domain.sessions import ENDINGS, MOVES, Entry, Kind, Session, facts_of
from services.session_logging.domain.sessions import Terms as RoomTerms
from services.session_logging.subscriptions import _Signed
from services.therapies.ketamine.schedule import SeriesCase, series
from services.therapies.rulebook import Rulebook
from services.treatment_planning.domain import (
    Approval,
    Plan,
    PlannedSession,
    Status,
    Terms,
    held,
    numbered,
    released,
    stopped,
    to_be_held,
    unknown_sessions,
)
from tests.support.rules import rules, wall

AT = dt.datetime(2027, 1, 21, 21, tzinfo=dt.UTC)
TODAY = AT.date()


def number(value: int) -> UUID:
    return UUID(int=value)


def session(value: int, day: int) -> PlannedSession:
    return PlannedSession(
        session=number(value), ordinal=0, starts=AT + dt.timedelta(days=day), zone="America/New_York", phase="induction"
    )


SESSIONS = [session(1, 4), session(2, 6), session(3, 8)]
TERMS = Terms(dose="0.5 mg/kg", basis="actual", duration="40 min", sessions=SESSIONS)
PLAN = Plan(number(10), number(11), number(12), "ketamine", Status.ACTIVE, 1, TERMS)
APPROVAL = Approval(number(11), number(12), "ketamine", number(13), "approved", "ELIGIBLE", (), TODAY, AT, "3")


def test_sessions_are_counted_on_in_time_order_and_those_that_began_are_left() -> None:
    ordered = numbered([session(3, 8), session(1, 4)], 2)
    assert [(one.session.int, one.ordinal) for one in ordered] == [(1, 3), (3, 4)]
    assert [one.session.int for one in to_be_held(SESSIONS, {number(1)})] == [2, 3]


def test_only_sessions_that_the_plan_gave_and_that_have_not_begun_may_be_edited() -> None:
    new, stranger = session(7, 9), session(8, 10)
    wanted = [*SESSIONS, stranger, new, SESSIONS[1]]
    given = {one.session for one in wanted} - {new.session}
    assert unknown_sessions(wanted, PLAN, given, {number(1)}) == [0, 3, 5]
    assert unknown_sessions([*SESSIONS, new], PLAN, {one.session for one in SESSIONS}, ()) == []


def test_what_may_be_done_with_a_plan_depends_on_where_it_stands() -> None:
    on_hold = held(PLAN, "clinical-review")
    assert isinstance(on_hold, Plan)
    assert (on_hold.status, on_hold.reason) == (Status.HELD, "clinical-review")
    assert held(on_hold, "again") == "not-active"
    assert released(PLAN, APPROVAL, TODAY) == "not-held"
    for wrong, code in (
        ({"kind": "revoked"}, "not-approved"),
        ({"valid_until": TODAY - dt.timedelta(days=1)}, "not-approved"),
        ({"valid_until": None}, "not-approved"),
        ({"consent": None}, "no-consent"),
    ):
        changed = {name: getattr(APPROVAL, name) for name in APPROVAL.__slots__} | wrong
        assert released(on_hold, Approval(**changed), TODAY) == code
    assert released(on_hold, None, TODAY) == "not-approved"
    again = released(on_hold, APPROVAL, TODAY)
    assert isinstance(again, Plan)
    assert (again.status, again.reason) == (Status.ACTIVE, None)
    ended = stopped(on_hold, "series-complete")
    assert isinstance(ended, Plan)
    assert stopped(ended, "twice") == "stopped"


def test_a_chosen_series_names_each_start_that_is_past_or_too_close() -> None:
    case = SeriesCase(at=wall("2027-01-21T16:00"), starts=(wall("2027-01-20T10:30"), wall("2027-01-25T10:30")))
    refused = series(case, rules("ketamine"))
    assert [(one.code, one.field) for one in refused.problems] == [("in-the-past", "starts[0]")]  # type: ignore[union-attr]
    close = SeriesCase(
        at=wall("2027-01-21T16:00"),
        starts=(wall("2027-01-27T22:30"), wall("2027-01-25T10:30")),
        earlier=(wall("2027-01-24T22:31"),),
    )
    assert [one.code for one in series(close, rules("ketamine")).problems] == ["gap"]  # type: ignore[union-attr]
    free = SeriesCase(at=case.at, starts=(wall("2027-01-27T22:30"), wall("2027-01-25T10:30")))
    assert series(free, rules("ketamine")).result == (free.starts[1], free.starts[0])  # type: ignore[union-attr]


# --- the room ------------------------------------------------------------------------------------------------------------


def test_every_state_can_be_left_but_the_last_and_every_ending_is_a_move() -> None:
    assert set(MOVES) == set(SessionState)
    assert [state for state, moves in MOVES.items() if not moves] == [SessionState.CLOSED]
    for states in ENDINGS.values():
        assert all(SessionState.CLOSED in MOVES[state] for state in states)
    assert not any(SessionState.INFUSING in states or SessionState.PAUSED in states for states in ENDINGS.values())


def test_of_each_fact_the_value_recorded_last_holds() -> None:
    later = AT + dt.timedelta(minutes=5)
    entries = [
        Entry(number(2), Kind.FACTS, AT, later, "b", {"hcg": "negative"}),
        Entry(number(1), Kind.FACTS, later, AT, "a", {"hcg": "refused", "aldrete": 9}),
        Entry(number(3), Kind.VITALS, later, later, "a", {"cadss6": 0, "sbp": "120 mm[Hg]"}),
    ]
    assert facts_of(entries) == {"hcg": ("negative", AT), "aldrete": (9, later), "cadss6": (0, later)}


def test_an_amended_plan_moves_what_is_ahead_ends_what_it_no_longer_has_and_leaves_what_has_begun() -> None:
    def known(value: int, state: SessionState) -> Log:
        return Log(
            Session(number(value), PLAN.id, 1, RoomTerms("0.5 mg/kg", "actual", "40 min"), PLAN.case, PLAN.patient, "ketamine",
                    value, "induction", AT, "America/New_York", state, version=5)
        )  # fmt: skip

    sample = treatment_planning.PLAN_SIGNED.sample
    assert isinstance(sample, treatment_planning.PlanSigned)
    wanted = [sample.sessions[0].model_copy(update={"session": number(value), "ordinal": value}) for value in (1, 2, 3, 5)]
    data = sample.model_copy(update={"plan": PLAN.id, "patient": PLAN.patient, "sessions": wanted})
    states = {1: SessionState.CLOSED, 2: SessionState.CLOSED, 3: SessionState.SCHEDULED, 4: SessionState.SCHEDULED}
    room = Room(Rulebook(production=lambda: False), Facts("x", KafkaSettings))
    context = Context(AT, AT)
    item = SimpleNamespace(data=data)
    _, changes = _Signed(room).decide([known(*one) for one in states.items()], item, context)  # type: ignore[arg-type]
    rows = {row.key["id"].int: row for row in changes.rows if row.table == "session"}  # type: ignore[union-attr]
    assert sorted(rows) == [3, 4, 5], "what is over is left as it was"
    assert [(rows[value].values["state"], rows[value].expected) for value in (3, 4, 5)] == [  # type: ignore[union-attr]
        ("scheduled", 5),
        ("closed", 5),
        ("scheduled", 0),
    ]
    assert rows[3].values["plan_number"] == data.version  # type: ignore[union-attr]


# --- between visits ------------------------------------------------------------------------------------------------------


def test_a_link_dies_with_the_fifth_wrong_birth_date_and_at_its_end() -> None:
    link = Link(b"", number(1), number(2), ("phq9",), AT, AT + dt.timedelta(days=7))
    assert refusal(link, AT) == ""
    assert refusal(link, link.expires_at) == "link-expired"
    for count in range(1, TRIES + 1):
        link = tried(link)
        assert (link.status == "dead") is (count == TRIES)
    assert refusal(link, AT) == "link-not-valid"
    salt = b"0" * 16
    born = dt.date(1983, 6, 9)
    contact = Contact(number(2), None, None, False, salt, birth_hash(born, salt), "desk", AT)
    assert is_birth_date(contact, born)
    assert not is_birth_date(contact, dt.date(1983, 9, 6))


@pytest.mark.parametrize(("state", "now_h", "rungs"), [("scheduled", 100, 3), ("scheduled", 30, 2), ("checked-in", 100, 0)])
def test_only_a_session_that_is_ahead_is_reminded_of_and_no_rung_is_sent_late(state: str, now_h: int, rungs: int) -> None:
    starts = dt.datetime(2027, 1, 25, 15, 30, tzinfo=dt.UTC)
    fact = SessionFact(number(1), number(2), number(3), number(4), 1, "induction", starts, "America/New_York", state)
    ids = [number(value) for value in range(20, 28)]
    found = planned(fact.appointment, "America/New_York", starts - dt.timedelta(hours=now_h), ids, rules("cadence"))
    assert len(found) == rungs
    assert len({one.id for one in found}) == rungs


def test_a_baseline_is_the_last_complete_score_before_the_first_infusion_and_is_frozen_once() -> None:
    started = AT + dt.timedelta(days=4)
    old = Score(number(1), "MADRS", 30, started - dt.timedelta(days=15))
    base = Score(number(2), "MADRS", 36, started - dt.timedelta(days=6))
    partial = Score(number(3), "MADRS", None, started - dt.timedelta(days=1))
    state = State((old, base, partial), {}, (started,))
    ketamine, scales = rules("ketamine"), rules("instruments")
    assert frozen(State((old, base), {}, ()), ketamine) == {}, "nothing is frozen before the first infusion"
    found = frozen(state, ketamine)
    assert {name: (one.total, one.assessment) for name, one in found.items()} == {"MADRS": (36, number(2))}
    kept = State(
        (*state.scores, Score(number(9), "MADRS", 10, base.at)), {"MADRS": Baseline("MADRS", 36, number(2), AT)}, (started,)
    )
    assert frozen(kept, ketamine) == {}

    def reviewed(total: int) -> tuple[bool, bool]:
        score = Score(number(5), "MADRS", total, started + dt.timedelta(days=7))
        made = review(State((score,), kept.baselines, (started,)), score, wall("2027-02-12T10:00"), scales, ketamine)
        assert made is not None
        return made.response, made.remission

    # Exactly half is a response; remission is by any of the signed criteria.
    assert [reviewed(total) for total in (19, 18, 13, 12)] == [(False, False), (True, False), (True, False), (True, True)]
    before = Score(number(6), "MADRS", 5, started - dt.timedelta(hours=1))
    assert review(kept, before, wall("2027-02-12T10:00"), scales, ketamine) is None
