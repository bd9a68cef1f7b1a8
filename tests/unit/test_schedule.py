"""Wall-clock rules and instants, around the hours that do not exist and those that come twice (fault rows 48, 49)."""

import importlib.resources
import zoneinfo
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from services.runtime.messaging.schedule import LocalRule, due_at, tzdata_version

NEW_YORK, BERLIN, LORD_HOWE = "America/New_York", "Europe/Berlin", "Australia/Lord_Howe"
KIRITIMATI, HOWLAND = "Pacific/Kiritimati", "Etc/GMT+12"  # +14:00 and -12:00


@pytest.mark.parametrize(
    ("local", "zone", "instant"),
    [
        pytest.param("2026-06-01T09:00", NEW_YORK, "2026-06-01T13:00Z", id="an ordinary summer morning"),
        pytest.param("2026-01-05T09:00", NEW_YORK, "2026-01-05T14:00Z", id="an ordinary winter morning"),
        pytest.param("2026-03-08T01:59", NEW_YORK, "2026-03-08T06:59Z", id="the minute before the missing hour"),
        pytest.param("2026-03-08T02:30", NEW_YORK, "2026-03-08T07:30Z", id="in the missing hour: 02:30 becomes 03:30"),
        pytest.param("2026-03-08T03:00", NEW_YORK, "2026-03-08T07:00Z", id="the minute after the missing hour"),
        pytest.param("2026-11-01T01:30", NEW_YORK, "2026-11-01T05:30Z", id="in the repeated hour: the first one"),
        pytest.param("2026-11-01T02:00", NEW_YORK, "2026-11-01T07:00Z", id="after the repeated hour"),
        pytest.param("2026-03-29T02:15", BERLIN, "2026-03-29T01:15Z", id="missing hour of another rule"),
        pytest.param("2026-10-25T02:15", BERLIN, "2026-10-25T00:15Z", id="repeated hour of another rule"),
        pytest.param("2026-10-04T02:10", LORD_HOWE, "2026-10-03T15:40Z", id="a change of half an hour: 02:10 becomes 02:40"),
        pytest.param("2026-04-05T01:45", LORD_HOWE, "2026-04-04T14:45Z", id="a repeated half hour"),
        pytest.param("2028-02-29T08:00", NEW_YORK, "2028-02-29T13:00Z", id="leap day"),
        pytest.param("2028-02-29T23:59", KIRITIMATI, "2028-02-29T09:59Z", id="leap day at +14:00"),
        pytest.param("2026-12-31T23:59", HOWLAND, "2027-01-01T11:59Z", id="year end at -12:00"),
        pytest.param("2027-01-01T00:00", KIRITIMATI, "2026-12-31T10:00Z", id="new year at +14:00"),
        pytest.param("2027-01-01T00:00", HOWLAND, "2027-01-01T12:00Z", id="new year at -12:00"),
        pytest.param("2011-12-30T12:00", "Pacific/Apia", "2011-12-30T22:00Z", id="a day that was skipped altogether"),
    ],
)
def test_an_instant_follows_from_the_wall_clock_and_its_zone(local: str, zone: str, instant: str) -> None:
    assert due_at(LocalRule(datetime.fromisoformat(local), zone)) == datetime.fromisoformat(instant)


def test_a_rule_carries_no_offset_of_its_own() -> None:
    with pytest.raises(ValueError, match="no offset"):
        LocalRule(datetime(2026, 1, 1, tzinfo=UTC), NEW_YORK)


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../../etc/passwd", "", "/etc/localtime"])
def test_a_zone_that_does_not_exist_is_refused(zone: str) -> None:
    with pytest.raises((ZoneInfoNotFound, ValueError)):
        due_at(LocalRule(datetime(2026, 1, 1, 9), zone))  # noqa: DTZ001 - wall-clock times are naive


ZoneInfoNotFound = zoneinfo.ZoneInfoNotFoundError
ZONES = [NEW_YORK, BERLIN, LORD_HOWE, KIRITIMATI, HOWLAND, "Asia/Kathmandu", "Africa/Casablanca", "America/Sao_Paulo"]
locals_ = st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1))  # noqa: DTZ001 - wall-clock times are naive


@settings(deadline=None, max_examples=400)
@given(local=locals_, zone=st.sampled_from(ZONES))
def test_a_time_that_exists_is_hit_exactly_and_one_that_does_not_only_moves_forward(local: datetime, zone: str) -> None:
    shown = due_at(LocalRule(local, zone)).astimezone(ZoneInfo(zone)).replace(tzinfo=None, fold=0)
    assert timedelta(0) <= shown - local <= timedelta(hours=1)
    if shown != local:
        # Really missing: no instant of that day shows it.
        utc = local.replace(tzinfo=UTC)
        offsets = {(utc + timedelta(hours=hours)).astimezone(ZoneInfo(zone)).utcoffset() for hours in (-36, 36)}
        for offset in offsets:
            assert offset is not None
            instant = (local - offset).replace(tzinfo=UTC)
            assert instant.astimezone(ZoneInfo(zone)).replace(tzinfo=None, fold=0) != local


@settings(deadline=None, max_examples=400)
@given(local=locals_, zone=st.sampled_from(ZONES))
def test_of_a_time_that_comes_twice_the_first_is_meant(local: datetime, zone: str) -> None:
    due = due_at(LocalRule(local, zone))
    for earlier in (timedelta(minutes=30), timedelta(hours=1)):
        shown = (due - earlier).astimezone(ZoneInfo(zone)).replace(tzinfo=None, fold=0)
        assert shown != local


@settings(deadline=None, max_examples=200)
@given(local=locals_, apart=st.timedeltas(timedelta(hours=2), timedelta(days=3)), zone=st.sampled_from(ZONES))
def test_a_later_wall_clock_time_is_never_due_earlier(local: datetime, apart: timedelta, zone: str) -> None:
    assume(local + apart < datetime(2035, 1, 2))  # noqa: DTZ001 - wall-clock times are naive
    assert due_at(LocalRule(local, zone)) < due_at(LocalRule(local + apart, zone))


def test_a_change_of_the_zone_rules_moves_the_instant_and_keeps_the_wall_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The government of New York gives up daylight saving after a booking was made: nine stays nine."""
    rule = LocalRule(datetime(2026, 6, 1, 9), NEW_YORK)  # noqa: DTZ001 - wall-clock times are naive
    before = due_at(rule)
    # The rules of Panama (EST all year) under New York's name: a real zone file, read the way an update would be.
    (tmp_path / "America").mkdir()
    panama = importlib.resources.files("tzdata").joinpath("zoneinfo", "America", "Panama").read_bytes()
    (tmp_path / NEW_YORK).write_bytes(panama)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(zoneinfo, "TZPATH", zoneinfo.TZPATH)
            zoneinfo.reset_tzpath([str(tmp_path)])
            ZoneInfo.clear_cache()
            after = due_at(rule)
    finally:
        zoneinfo.reset_tzpath()
        ZoneInfo.clear_cache()
    assert (before, after) == (datetime(2026, 6, 1, 13, tzinfo=UTC), datetime(2026, 6, 1, 14, tzinfo=UTC))
    assert due_at(rule) == before


def test_the_version_of_the_rules_is_known() -> None:
    year, _, number = tzdata_version().partition(".")
    assert int(year) >= 2026
    assert int(number) >= 1
