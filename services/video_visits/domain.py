"""A visit and who was there: states, presence as intervals, what a join needs. Pure."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final
from uuid import UUID

__all__ = [
    "OPEN",
    "Interval",
    "Role",
    "State",
    "Visit",
    "both_since",
    "closed",
    "joined",
    "last_left",
    "left",
    "may_join",
    "missing",
    "superseded",
    "together_s",
]


class State(StrEnum):
    """Where a visit stands."""

    SCHEDULED = "scheduled"
    STARTED = "started"
    ENDED = "ended"
    MISSED = "missed"
    CANCELLED = "cancelled"


class Role(StrEnum):
    """As whom somebody takes part; planted in the token, never read from a name."""

    PATIENT = "patient"
    CLINICIAN = "clinician"


OPEN: Final = frozenset({State.SCHEDULED, State.STARTED})


@dataclass(frozen=True, slots=True)
class Visit:
    """A visit, as it stands.

    Attributes:
        region: of the state where the patient is today; None until they were asked.
        started_at: since when both were there.
    """

    id: UUID
    patient: UUID
    case: UUID | None
    clinician: UUID
    starts_at: dt.datetime
    zone: str
    minutes: int
    by_video: bool
    state: State = State.SCHEDULED
    region: str | None = None
    address: str | None = None
    located_at: dt.datetime | None = None
    started_at: dt.datetime | None = None
    ended_at: dt.datetime | None = None
    reason: str | None = None
    version: int = 0

    @property
    def room(self) -> str:
        """Name of its room on the platform: an opaque id."""
        return f"visit-{self.id}"


@dataclass(frozen=True, slots=True)
class Interval:
    """One connection of somebody: open while it has no end; one whose end came first has no beginning yet.

    Attributes:
        room: id of the platform's room in which it was; a room that was closed is opened anew under its name, as another one.
            Empty in person, and where it is not known.
    """

    connection: str
    role: Role
    joined_at: dt.datetime | None = None
    left_at: dt.datetime | None = None
    room: str = ""

    @property
    def whole(self) -> bool:
        """Whether it counts: it has begun, and not after its end."""
        return self.joined_at is not None and (self.left_at is None or self.joined_at <= self.left_at)


def joined(one: Interval, at: dt.datetime) -> Interval:
    """Somebody is there. What is known of a connection stays: its first beginning, and its end, if that came first."""
    return one if one.joined_at is not None else replace(one, joined_at=at)


def left(one: Interval, at: dt.datetime) -> Interval:
    """Somebody is gone: it ends its own connection and no other, so one that comes late cannot evict who has come back."""
    return one if one.left_at is not None else replace(one, left_at=at)


def closed(intervals: Sequence[Interval], room: str, at: dt.datetime) -> list[Interval]:
    """A room was closed: what is open in it ends, and nothing in a later one."""
    return [left(one, at) for one in intervals if one.left_at is None and one.room in ("", room)]


def superseded(intervals: Sequence[Interval], room: str, at: dt.datetime) -> list[Interval]:
    """Somebody has joined a later room: what is still open in an earlier one has ended, and nobody was left to say so."""
    return [
        left(one, at)
        for one in intervals
        if one.left_at is None and one.room not in ("", room) and one.joined_at is not None and one.joined_at <= at
    ]


def _spans(intervals: Sequence[Interval], role: Role, until: dt.datetime) -> list[tuple[dt.datetime, dt.datetime]]:
    """When anybody of a role was there: overlapping connections as one span."""
    found = sorted(
        (one.joined_at, one.left_at or until) for one in intervals if one.role is role and one.whole and one.joined_at
    )
    merged: list[tuple[dt.datetime, dt.datetime]] = []
    for start, end in found:
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _both(intervals: Sequence[Interval], until: dt.datetime) -> list[tuple[dt.datetime, dt.datetime]]:
    patient, clinician = (_spans(intervals, role, until) for role in (Role.PATIENT, Role.CLINICIAN))
    overlaps = [(max(a[0], b[0]), min(a[1], b[1])) for a in patient for b in clinician]
    return sorted((start, end) for start, end in overlaps if start < end)


def both_since(intervals: Sequence[Interval], now: dt.datetime) -> dt.datetime | None:
    """Since when both have been there for the first time; None if they never were."""
    return next((start for start, _ in _both(intervals, now + dt.timedelta(microseconds=1))), None)


def together_s(intervals: Sequence[Interval], until: dt.datetime) -> int:
    """For how many seconds both were there, added up."""
    return int(sum((end - start).total_seconds() for start, end in _both(intervals, until)))


def last_left(intervals: Sequence[Interval]) -> dt.datetime | None:
    """When the last one left; None while somebody is there, or nobody ever was."""
    whole = [one for one in intervals if one.whole]
    if not whole or any(one.left_at is None for one in whole):
        return None
    return max(one.left_at for one in whole if one.left_at is not None)


def missing(intervals: Sequence[Interval]) -> str:
    """Who never came: ``patient``, ``clinician``, ``both``; empty if nobody is missing."""
    there = {one.role for one in intervals if one.whole}
    absent = [role.value for role in (Role.PATIENT, Role.CLINICIAN) if role not in there]
    return "both" if len(absent) == len(Role) else "".join(absent)


def may_join(visit: Visit, role: Role, now: dt.datetime, limits: Mapping[str, dt.timedelta]) -> str:
    """Why nobody may join now, as a stable code; empty if they may.

    Args:
        visit: which.
        role: who asks.
        now: of the clinic clock.
        limits: ``before`` the start and ``after`` the planned end.
    """
    if not visit.by_video:
        return "not-by-video"
    if visit.state not in OPEN:
        return "visit-over"
    if not visit.starts_at - limits["before"] <= now <= visit.starts_at + dt.timedelta(minutes=visit.minutes) + limits["after"]:
        return "not-now"
    located = visit.located_at is not None and now - visit.located_at <= _TODAY
    # Where the patient is today is asked first: it decides the licence, and where help is sent.
    return "" if located or role is Role.CLINICIAN else "address-missing"


_TODAY: Final = dt.timedelta(hours=12)
