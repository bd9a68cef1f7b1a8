"""Presence as intervals: whatever the order and however often it is told, the same comes of it."""

import datetime as dt
import json
import time
from dataclasses import replace
from uuid import UUID

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.runtime.edge.policy import Signed
from services.runtime.edge.principal import Unauthenticated
from services.video_visits import livekit
from services.video_visits.domain import (
    Interval,
    Role,
    Visit,
    both_since,
    closed,
    joined,
    last_left,
    left,
    may_join,
    missing,
    superseded,
    together_s,
)

T0 = dt.datetime(2027, 1, 19, 15, tzinfo=dt.UTC)
LIMITS = {"before": dt.timedelta(minutes=15), "after": dt.timedelta(minutes=30)}


def at(second: int) -> dt.datetime:
    return T0 + dt.timedelta(seconds=second)


_CALL = st.tuples(st.sampled_from(("a", "b", "c", "d")), st.booleans(), st.integers(0, 100))
CALLS = st.lists(_CALL, min_size=1, max_size=12, unique_by=lambda call: call[:2])


def told(calls: list[tuple[str, bool, int]]) -> dict[str, Interval]:
    found: dict[str, Interval] = {}
    for connection, there, second in calls:
        role = Role.PATIENT if connection in "ab" else Role.CLINICIAN
        found[connection] = (joined if there else left)(found.get(connection, Interval(connection, role)), at(second))
    return found


@given(CALLS, st.randoms())
def test_order_and_repetition_change_nothing(calls: list[tuple[str, bool, int]], chance: object) -> None:
    again = [*calls, *calls]
    chance.shuffle(again)  # type: ignore[attr-defined]
    assert told(again) == told(calls)


@given(CALLS)
def test_both_are_together_exactly_in_the_seconds_in_which_each_is_there(calls: list[tuple[str, bool, int]]) -> None:
    intervals = list(told(calls).values())

    def there(role: Role, second: int) -> bool:
        middle = at(second) + dt.timedelta(milliseconds=500)
        spans = [(one.joined_at, one.left_at or at(100)) for one in intervals if one.role is role and one.whole]
        return any(start is not None and start <= middle < end for start, end in spans)

    seconds = [second for second in range(100) if there(Role.PATIENT, second) and there(Role.CLINICIAN, second)]
    assert together_s(intervals, at(100)) == len(seconds)
    if seconds:
        assert both_since(intervals, at(100)) == at(seconds[0])


def test_who_is_missing_and_when_the_last_one_left() -> None:
    patient, clinician = Interval("a", Role.PATIENT, at(0), at(5)), Interval("c", Role.CLINICIAN, at(1))
    assert [missing(one) for one in ([], [patient], [clinician], [patient, clinician])] == ["both", "clinician", "patient", ""]
    assert last_left([patient, clinician]) is None
    assert last_left([patient, left(clinician, at(9))]) == at(9)
    assert last_left([]) is None
    assert not Interval("a", Role.PATIENT, None, at(5)).whole


def test_a_closed_room_ends_what_is_open_in_it_and_a_later_room_what_is_open_in_an_earlier_one() -> None:
    before = Interval("a", Role.PATIENT, at(0), at(3), "R1")
    open_ = Interval("c", Role.CLINICIAN, at(1), None, "R1")
    later = Interval("b", Role.PATIENT, at(9), None, "R2")
    unknown = Interval("d", Role.PATIENT, at(2))
    intervals = [before, open_, later, unknown]
    assert closed(intervals, "R1", at(5)) == [replace(open_, left_at=at(5)), replace(unknown, left_at=at(5))]
    assert superseded(intervals, "R2", at(9)) == [replace(open_, left_at=at(9))]
    # A join of the earlier room that is told late is no later room.
    assert superseded(intervals, "R1", at(4)) == []


def test_a_join_is_possible_in_its_time_only_and_the_patient_is_asked_where_they_are() -> None:
    visit = Visit(UUID(int=1), UUID(int=2), None, UUID(int=3), T0, "UTC", 45, True, located_at=T0)
    minutes = {-16: "not-now", -15: "", 0: "", 75: "", 76: "not-now"}
    for minute, refused in minutes.items():
        assert may_join(visit, Role.CLINICIAN, T0 + dt.timedelta(minutes=minute), LIMITS) == refused, minute
    asked = Visit(UUID(int=1), UUID(int=2), None, UUID(int=3), T0, "UTC", 45, True)
    assert may_join(asked, Role.PATIENT, T0, LIMITS) == "address-missing"
    assert may_join(visit, Role.PATIENT, T0, LIMITS) == ""


SECRET = "a secret of the tests, long enough"


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"URL": "wss://video.test", "API_KEY": "key", "API_SECRET": SECRET}.items():
        monkeypatch.setenv(f"TELEMED_LIVEKIT_{name}", value)


@pytest.mark.usefixtures("platform")
def test_a_webhook_counts_with_the_published_digest_of_its_body_and_with_no_other() -> None:
    # livekit/node-sdks, packages/livekit-server-sdk: the claim of this body.
    body = (
        b'{"event":"room_started", "room":{"sid":"RM_TkVjUvAqgzKz", "name":"mytestroom", "emptyTimeout":300, '
        b'"creationTime":"1628545903", "turnPassword":"ICkSr2rEeslkN6e9bXL4Ji5zzMD5Z7zzr6ulOaxMj6N", '
        b'"enabledCodecs":[{"mime":"audio/opus"}, {"mime":"video/VP8"}]}}'
    )
    now = int(time.time())
    claims = {"iss": "key", "nbf": now - 5, "exp": now + 60, "sha256": "CoEQz1chqJ9bnZRcORddjplkvpjmPujmLTR42DbefYI="}

    def signed(sent: bytes, **changed: object) -> Signed:
        token = jwt.encode({**claims, **changed}, SECRET, "HS256")
        return Signed({"authorization": token}, sent, "https://clinic.test/livekit")

    livekit.verify(signed(body))
    refused = [signed(body + b" "), signed(body, iss="other"), signed(body, exp=now - 61), signed(body, sha256="")]
    for call in refused:
        with pytest.raises(Unauthenticated):
            livekit.verify(call)


@pytest.mark.parametrize(
    "changed",
    [
        {"id": ""},
        {"id": "\0"},
        {"id": None},
        {"createdAt": "9" * 30},
        {"createdAt": -1},
        {"createdAt": 1e400},
        {"participant": {"sid": "P\0"}},
        {"participant": []},
        {"participant": {"sid": "P", "joinedAt": "-1"}},
        {"room": "x"},
        {"room": {"sid": "R\0"}},
    ],
)
def test_a_webhook_that_cannot_be_kept_is_not_read(changed: dict[str, object]) -> None:
    visit = UUID(int=7)
    sent = {
        "id": "EV_1",
        "event": "participant_joined",
        "createdAt": "1628545903",
        "room": {"name": f"visit-{visit}", "sid": "RM_1"},
        "participant": {"sid": "PA_1", "identity": "patient"},
    }
    assert livekit.read_call(json.dumps(sent).encode()) == livekit.Call(
        "EV_1", "joined", visit, "RM_1", "PA_1", Role.PATIENT, 1628545903
    )
    assert livekit.read_call(json.dumps(sent | changed).encode()) is None


def test_a_room_and_a_participant_that_are_not_ours_are_read_as_nobody() -> None:
    sent = {"id": "1", "event": "track_published", "room": {"name": "visit-x"}, "participant": {"identity": "José"}}
    call = livekit.read_call(json.dumps(sent).encode())
    assert call is not None
    assert (call.kind, call.visit, call.role) == ("", None, None)
