"""What the board makes of events: in whatever order they come, the same rows; and to whom it shows what of them."""

import datetime as dt
import json
import random
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import REGISTRY
from services.staff_dashboard.domain import TREND, Cursor, Fact, Item, Kind, View, folded, local_day, shown, view_of

T0 = dt.datetime(2027, 1, 21, 15, 0, tzinfo=dt.UTC)
PATIENT, OTHER, NURSE = (UUID(int=number) for number in (1, 2, 3))
SESSION, ALERT, TASK = (UUID(int=number) for number in (11, 12, 13))
DAY = local_day(T0, "America/New_York")


def at(minutes: float) -> str:
    return (T0 + dt.timedelta(minutes=minutes)).isoformat()


def fact(number: int, **data: Any) -> Fact:
    """An event that was recorded so many seconds after the first."""
    return Fact(T0 + dt.timedelta(seconds=number), UUID(int=number + 1), data)


def measure(value: str, unit: str) -> dict[str, str]:
    return {"value": value, "unit": unit}


def planned(number: int, state: str = "scheduled", starts: float = 0.0) -> tuple[str, Fact]:
    return "session-changed", fact(
        number,
        session=str(SESSION),
        patient=str(PATIENT),
        plan=str(UUID(int=21)),
        case=str(UUID(int=22)),
        therapy="ketamine",
        ordinal=1,
        phase="induction",
        starts={"at": at(starts), "zone": "America/New_York"},
        state=state,
    )


def started(number: int, minutes: float = 0.0) -> tuple[str, Fact]:
    return "infusion-started", fact(
        number,
        dose=measure("41.0", "mg"),
        rate=measure("150.0", "mL/h"),
        duration=measure("40", "min"),
        started_at=at(minutes),
    )


def vitals(number: int, minutes: float, origin: str = "monitor", **measured: Any) -> tuple[str, Fact]:
    return "vitals-summarised", fact(number, origin=origin, from_at=at(minutes), to_at=at(minutes), **measured)


def raised(number: int, tier: str = "RED") -> tuple[str, Fact]:
    data = {"tier": tier, "signal": "sbp_high", "rule": "alert.sbp_high.RED", "at": at(5), "raised_at": at(5), "late": False}
    return "alert-raised", fact(number, session=str(SESSION), **data)


def acknowledged(number: int, role: str) -> tuple[str, Fact]:
    return "alert-acknowledged", fact(number, role=role, by=str(NURSE), acknowledged_at=at(6))


def item(kind: Kind, *told: tuple[str, Fact], patient: UUID = PATIENT) -> Item:
    facts: Any = {}
    for name, one in told:
        facts = folded(facts, name, one)
    return Item(kind, {Kind.SESSION: SESSION, Kind.ALERT: ALERT, Kind.TASK: TASK}[kind], patient, facts)


HISTORY = [
    planned(0),
    planned(1, "checked-in"),
    vitals(2, -4, "typed", sbp=130, dbp=80),
    planned(3, "ready"),
    started(4),
    planned(5, "infusing"),
    *(vitals(6 + number, number, heart_rate=70 + number) for number in range(70)),
    ("infusion-rate-changed", fact(80, rate=measure("100.0", "mL/h"), changed_at=at(10))),
    ("infusion-paused", fact(81, reason="alert", paused_at=at(16))),
    planned(82, "paused"),
    ("infusion-resumed", fact(83, resumed_at=at(20))),
    planned(84, "infusing"),
    ("infusion-ended", fact(85, given=measure("41.0", "mg"), reason="complete", ended_at=at(64))),
    planned(86, "recovery"),
    ("session-discharged", fact(87, discharged_at=at(180))),
    ("session-closed", fact(88, ending="completed")),
]


@given(st.randoms(use_true_random=False), st.integers(0, len(HISTORY)), st.lists(st.integers(0, len(HISTORY) - 1)))
def test_in_whatever_order_events_come_and_however_often_the_row_is_the_same(
    shuffle: random.Random, length: int, again: list[int]
) -> None:
    told = HISTORY[:length]
    arrived = [*told, *(told[number] for number in again if number < length)]
    shuffle.shuffle(arrived)
    in_order, shuffled = item(Kind.SESSION, *told), item(Kind.SESSION, *arrived)
    assert shown(shuffled) == shown(in_order)
    assert (shuffled.open, shuffled.starts_at, shuffled.facts) == (in_order.open, in_order.starts_at, in_order.facts)


@given(st.permutations([raised(0), acknowledged(1, "nurse"), acknowledged(2, "prescriber")]))
def test_an_acknowledgement_that_comes_before_its_alert_is_not_lost(arrived: list[tuple[str, Fact]]) -> None:
    row = shown(item(Kind.ALERT, *arrived))
    assert row is not None
    assert [one["role"] for one in row["acknowledgements"]] == ["nurse", "prescriber"]
    assert item(Kind.ALERT, *arrived).open


def test_what_has_only_half_been_told_is_no_row_and_not_open() -> None:
    for kind, told in (
        (Kind.ALERT, acknowledged(1, "nurse")),
        (Kind.SESSION, vitals(1, 0, heart_rate=70)),
        (Kind.TASK, ("task-closed", fact(1, outcome="done"))),
    ):
        assert shown(item(kind, told)) is None
        assert not item(kind, told).open
    task = ("task-opened", fact(0, service="follow_up", kind="check-24h", role="nurse", due_at=at(60)))
    assert not item(Kind.TASK, ("task-closed", fact(1, outcome="done")), task).open, "it was closed, though told of late"


def test_a_monitor_never_pushes_the_last_typed_pressure_out() -> None:
    typed = vitals(0, 0, "typed", sbp=181, dbp=100)
    row = shown(item(Kind.SESSION, planned(1), typed, *(vitals(2 + n, 1 + n / 60, spo2="98") for n in range(5 * TREND))))
    assert row is not None
    assert len(row["vitals"]) == TREND + 1
    assert (row["vitals"][0]["sbp"], row["vitals"][0]["spo2"]) == (181, None), "what was not measured is not there"


def test_vitals_stand_by_their_own_time_however_late_they_come() -> None:
    row = shown(item(Kind.SESSION, planned(0), vitals(1, 5, heart_rate=80), vitals(99, 2, heart_rate=60)))
    assert row is not None
    assert [one["heart_rate"] for one in row["vitals"]] == [60, 80]


@pytest.mark.parametrize(
    ("changes", "planned_end"),
    [
        ([], 40),
        # 25 mL are in after ten minutes, the other 75 take 45 at 100 mL/h.
        ([("infusion-rate-changed", fact(10, rate=measure("100.0", "mL/h"), changed_at=at(10)))], 55),
        ([("infusion-paused", fact(10, reason="alert", paused_at=at(10)))], None),
        (
            [
                ("infusion-paused", fact(10, reason="alert", paused_at=at(10))),
                ("infusion-resumed", fact(11, resumed_at=at(15))),
            ],
            45,
        ),
        (
            [
                ("infusion-paused", fact(10, reason="alert", paused_at=at(10))),
                ("infusion-rate-changed", fact(11, rate=measure("75", "mL/h"), changed_at=at(15))),
                ("infusion-resumed", fact(12, resumed_at=at(15))),
            ],
            75,
        ),
        ([("infusion-rate-changed", fact(10, rate=measure("1.5", "mL/min"), changed_at=at(10)))], None),
        ([("infusion-rate-changed", fact(10, rate=measure("0", "mL/h"), changed_at=at(10)))], None),
    ],
)
def test_the_planned_end_is_when_the_bag_is_empty(changes: list[tuple[str, Fact]], planned_end: float | None) -> None:
    row = shown(item(Kind.SESSION, planned(0), started(1), *changes))
    assert row is not None
    found = row["infusion"]["planned_end_at"]
    assert (found and dt.datetime.fromisoformat(found)) == (
        None if planned_end is None else T0 + dt.timedelta(minutes=planned_end)
    )


# --- who is shown what ---------------------------------------------------------------------------------------------------

HISTORY_OF = (T0, 1)
WHOLE = View(HISTORY_OF, DAY, clinical=True, patients=None)
FRONT = replace(WHOLE, clinical=False)
OWN = replace(WHOLE, patients=frozenset({PATIENT}))


def test_the_front_desk_sees_sessions_without_what_is_measured_and_nothing_that_tells_of_illness() -> None:
    session = item(Kind.SESSION, planned(0, "infusing"), started(1), vitals(2, 1, heart_rate=80))
    row = FRONT.row(session)
    assert row is not None
    assert (row["infusion"], row["vitals"], row["overrides"]) == (None, [], [])
    assert "41.0" not in json.dumps(row)
    assert (FRONT.sees(session), FRONT.sees(item(Kind.ALERT, raised(0)))) == (True, False)
    tasks = [item(Kind.TASK, ("task-opened", fact(0, role=role))) for role in ("nurse", "front_desk")]
    assert [FRONT.sees(task) for task in tasks] == [False, True]
    assert [WHOLE.sees(task) for task in tasks] == [True, True]


def test_who_is_not_on_duty_sees_their_own_patients() -> None:
    person = str(NURSE)
    assert view_of(HISTORY_OF, DAY, person, {"nurse"}, {("nurse", person)}, ()) == WHOLE
    assert view_of(HISTORY_OF, DAY, person, {"nurse"}, {("prescriber", person)}, {PATIENT}) == OWN, "on duty in another role"
    assert view_of(HISTORY_OF, DAY, person, {"front_desk"}, (), ()) == FRONT
    assert view_of(HISTORY_OF, DAY, person, {"front_desk", "nurse"}, (), {PATIENT}) == OWN
    assert [OWN.sees(item(Kind.ALERT, raised(0), patient=patient)) for patient in (PATIENT, OTHER)] == [True, False]


@pytest.mark.parametrize(
    ("told", "there"),
    [
        ([planned(0)], True),
        ([planned(0, starts=24 * 60)], False),
        ([planned(0, starts=-24 * 60)], False),
        ([planned(0, "infusing", starts=-24 * 60)], True),
        ([planned(0, "discharge-ready", starts=-24 * 60)], True),
        ([planned(0, "a-state-of-next-year", starts=-24 * 60)], True),
        ([planned(0, "closed")], True),
        ([planned(0, "infusing", starts=-24 * 60), ("session-closed", fact(1, ending="aborted"))], False),
        # Still Thursday in New York, whatever day it is in Greenwich.
        ([planned(0, starts=13.5 * 60)], True),
        ([planned(0, starts=14.5 * 60)], False),
    ],
)
def test_on_the_board_are_the_sessions_of_the_clinics_day_and_every_running_one(
    told: list[tuple[str, Fact]], there: bool
) -> None:
    assert WHOLE.has(item(Kind.SESSION, *told)) is there


def test_while_nobody_has_said_where_the_clinic_is_the_running_ones_are_there() -> None:
    nowhere = replace(WHOLE, day=None)
    assert [nowhere.has(item(Kind.SESSION, planned(0, state))) for state in ("scheduled", "infusing")] == [False, True]


@given(st.integers(0, 2**33 - 1), st.integers(0, 2**20 - 1))
def test_a_cursor_is_a_number_that_a_browser_holds(position: int, view: int) -> None:
    cursor = Cursor(position, view)
    assert Cursor.of(int(cursor)) == cursor
    assert int(float(int(cursor))) == int(cursor) < 2**53


def test_another_view_has_another_cursor() -> None:
    views = [
        WHOLE,
        FRONT,
        OWN,
        replace(OWN, patients=frozenset({PATIENT, OTHER})),
        replace(OWN, patients=frozenset()),
        replace(WHOLE, day=local_day(T0 + dt.timedelta(days=1), "America/New_York")),
        replace(WHOLE, day=None),
        replace(WHOLE, history=(T0 + dt.timedelta(seconds=1), 1)),
        replace(WHOLE, history=(T0, 2)),
    ]
    assert len({view.digest for view in views}) == len(views)
    assert all(view.digest < 2**20 for view in views)


def test_every_event_that_the_board_folds_has_the_fields_that_it_reads() -> None:
    """By the registry's own samples, which have every field: a renamed field would otherwise be found by a clinician."""
    from services.staff_dashboard.subscriptions import _KINDS

    items: dict[Kind, Item] = {}
    for name, kind in _KINDS.items():
        known = REGISTRY.get(name)
        assert known is not None
        assert known.sample is not None
        data = known.sample.model_dump(mode="json", exclude_none=True)
        before = items.setdefault(kind, Item(kind, UUID(int=9), PATIENT, {}))
        told = folded(before.facts, name.split(".")[3], Fact(T0, UUID(int=9), {"service": known.owner, **data}))
        items[kind] = replace(before, facts=told)
    rows = {kind: shown(one) for kind, one in items.items()}
    empty = {kind: [name for name, value in (row or {"row": None}).items() if value is None] for kind, row in rows.items()}
    assert empty == {Kind.SESSION: [], Kind.ALERT: [], Kind.TASK: []}
