"""A monitor's batch row by row, the fold that is kept of it, what has run by rate and time, curves that hide no extreme."""

import datetime as dt
import json
import uuid
from dataclasses import replace
from typing import Any

import pytest

from services.session_logging.domain.alarms import Sample, Watched, continued, watch
from services.session_logging.domain.sessions import Entry, Kind, Session, SessionState, Terms
from services.session_logging.domain.streams import Judged, judge
from services.session_logging.domain.totals import by_rate, thinned
from tests.support.rules import rules

NOW = dt.datetime(2027, 1, 25, 15, 30, tzinfo=dt.UTC)
RULES = rules("ketamine")


def sample(seq: int, second: float, **values: Any) -> Sample:
    at = NOW + dt.timedelta(seconds=second)
    return replace(Sample("monitor-1", seq, at, at, heart_rate=80, spo2=98), **values)


def judged(*batch: Sample, known: tuple[Sample, ...] = ()) -> tuple[list[int], list[int], list[tuple[int, str]]]:
    found: Judged = judge(batch, known, NOW - dt.timedelta(minutes=10), None, NOW, RULES)
    return [one.seq for one in found.accepted], found.duplicates, [(seq, why.value) for seq, why in found.refused]


def test_each_row_is_taken_or_refused_for_itself() -> None:
    known = (sample(1, -60), sample(2, -59))
    assert judged(
        sample(1, -60),  # the same again
        sample(2, -58),  # its number, another instant
        sample(9, -59),  # its instant, another number: the monitor counts anew
        sample(3, -57, spo2=101),
        sample(4, -56, spo2=-1),
        sample(5, -55, heart_rate=1000),
        sample(6, 6),
        sample(7, -601),
        sample(8, -54, spo2=None, heart_rate=None),
        sample(8, -54, spo2=None, heart_rate=None),
        sample(8, -54, spo2=40),
        sample(10, 5, heart_rate=0, spo2=0),
        known=known,
    ) == (
        [8, 10],
        [1, 8],
        [
            (2, "conflicting"),
            (9, "conflicting"),
            (3, "impossible"),
            (4, "impossible"),
            (5, "impossible"),
            (6, "in-the-future"),
            (7, "before-check-in"),
            (8, "conflicting"),
        ],
    )


def test_a_sample_of_a_clock_that_is_ahead_is_recorded_no_earlier_than_it_was_true() -> None:
    found = judge([sample(1, 5)], (), None, None, NOW, RULES)
    assert [one.recorded_at - NOW for one in found.accepted] == [dt.timedelta(seconds=5)]


def entry(kind: str, minute: float, **data: str) -> Entry:
    at = NOW + dt.timedelta(minutes=minute)
    return Entry(uuid.uuid4(), kind, at, at, "nurse", data)


@pytest.mark.parametrize(
    ("minute", "wanted"),
    [(0, "0.0 mL"), (10, "25.0 mL"), (15, "25.0 mL"), (20, "25.0 mL"), (30, "45.0 mL"), (40, "55.0 mL"), (60, "55.0 mL")],
)
def test_what_has_run_by_rate_and_time(minute: float, wanted: str) -> None:
    log = [
        entry("end", 40),
        entry("start", 0, rate="150.0 mL/h"),
        entry("vitals", 5),
        entry("pause", 10),
        entry("resume", 20, rate="120.0 mL/h"),
        entry("rate", 30, rate="60.0 mL/h"),
    ]
    assert str(by_rate(log, NOW + dt.timedelta(minutes=minute))) == wanted


def test_a_spike_of_one_second_is_as_high_in_the_curve_as_it_was() -> None:
    stream = [sample(second, second, spo2=98) for second in range(3600)]
    stream[1234] = replace(stream[1234], spo2=71)
    stream[1300] = replace(stream[1300], spo2=None)
    curve = thinned(stream, 50)["spo2"]
    assert len(curve) <= 50
    assert min(one.low for one in curve) == 71
    assert [one.low for one in curve if one.from_at <= stream[1234].at <= one.to_at] == [71]
    assert sum(one.samples for one in curve) == 3599
    assert thinned(stream, 50)["resp_rate"] == []


def test_a_fold_goes_on_from_where_it_was_kept_only_if_it_is_of_this_log() -> None:
    ids = [uuid.uuid4() for _ in range(4)]
    terms = Terms("0.5 mg/kg", "actual", "40 min")
    plain = Session(ids[0], ids[1], 1, terms, ids[2], ids[3], "ketamine", 1, "induction", NOW, "America/New_York")
    session = replace(plain, state=SessionState.INFUSING, started_at=NOW)

    def said(kind: str, second: float, **data: Any) -> Entry:
        at = NOW + dt.timedelta(seconds=second)
        return Entry(uuid.uuid4(), kind, at, at, "nurse", data)

    def folded(entries: list[Entry], samples: list[Sample], now: float, after: Watched | None = None) -> Watched:
        kept = None
        if after is not None:
            kept = continued(session, entries, samples, [], json.loads(json.dumps(after.kept)), RULES)
            assert kept is not None
        found = watch(session, entries, samples, [], NOW + dt.timedelta(seconds=now), RULES, kept)
        assert isinstance(found, Watched)
        return found

    entries = [said(Kind.VITALS, 1, sbp="128 mm[Hg]", dbp="78 mm[Hg]", spo2="98 %")]
    # The last two are of a monitor that is ahead: they are judged at once, and kept as folded when their time has come.
    first = [sample(second, second, spo2=90 if second >= 6 else 98) for second in range(2, 10)]
    behind = folded(entries, first, 7)
    assert behind.kept is not None
    assert behind.kept["ahead"] is True
    more = [sample(second, second, spo2=90) for second in range(10, 15)]
    on = folded(entries, [*first[-2:], *more], 14, behind)
    whole = folded(entries, [*first, *more], 14)
    assert [one.id for one in on.alerts] == [one.id for one in whole.alerts] == ["spo2_low/RED/2027-01-25T15:30:11+00:00"]
    assert on.kept == whole.kept

    stands, late = behind.kept, replace(sample(20, 1.5, spo2=88), recorded_at=NOW + dt.timedelta(seconds=8))

    def goes_on(entries: list[Entry], *samples: Sample, session: Session = session) -> bool:
        return continued(session, entries, samples, [], stands, RULES) is not None

    assert goes_on(entries, *more)
    assert goes_on([*entries, said(Kind.END, 8)], *more)
    old = {**stands, "shape": 1, "fold": {"clock": NOW.isoformat()}}
    assert continued(session, entries, more, [], old, RULES) is None, "one that other code has written is not even read"
    assert not goes_on([]), "an entry that was taken back"
    assert not goes_on([*entries, said(Kind.END, 3)]), "one that was written meanwhile, and not seen"
    assert not goes_on(entries, late), "older than what is known of its signal"
    assert not goes_on(entries, session=replace(session, started_at=NOW + dt.timedelta(seconds=1)))


def test_a_gap_stays_one_and_what_came_late_lies_where_it_was_true() -> None:
    stream = [sample(second, second, spo2=98) for second in [*range(300), *range(900, 1200)]]
    curve = thinned(list(reversed(stream)), 60)["spo2"]
    assert all(one.to_at - one.from_at < dt.timedelta(seconds=20) for one in curve), "no span reaches over the gap"
    assert sum(one.samples for one in curve) == 600
    assert [one.from_at for one in curve] == sorted(one.from_at for one in curve)
    assert thinned([], 60) == {"heart_rate": [], "resp_rate": [], "spo2": []}
    assert [one.samples for one in thinned(stream[:1], 60)["spo2"]] == [1]
