"""Decisions of the clinic's reference data: pure."""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal
from uuid import UUID

from schemas.values import zone_of

__all__ = [
    "ON_CALL_ROLES",
    "Calendar",
    "Coverage",
    "Credential",
    "Hours",
    "Shift",
    "Site",
    "Span",
    "Staff",
    "may_take",
    "overlapping_hours",
    "uncovered",
]

ON_CALL_ROLES = frozenset({"clinic", "operator"})
"""Roles of the roster that are no roles of staff: everybody who is called clinic-wide, and those who run the machines."""


@dataclass(frozen=True, slots=True)
class Credential:
    """A qualification or registration of somebody: of a region (licence), of a site (DEA), or of neither (ACLS)."""

    kind: str
    valid_from: dt.datetime
    valid_until: dt.datetime | None = None
    region: str | None = None
    site: UUID | None = None


@dataclass(frozen=True, slots=True)
class Staff:
    """Somebody who works here. ``version`` is 0 while there is no row."""

    id: UUID
    name: str
    roles: tuple[str, ...]
    credentials: tuple[Credential, ...]
    active: bool
    version: int = 0


@dataclass(frozen=True, slots=True)
class Site:
    """A place where patients are treated."""

    id: UUID
    name: str
    region: str
    zone: str
    chairs: int
    active: bool
    version: int = 0


@dataclass(frozen=True, slots=True)
class Hours:
    """Open on a weekday (0 is Monday), in minutes after midnight of the clinic's wall clock."""

    weekday: int
    opens: int
    closes: int


@dataclass(frozen=True, slots=True)
class Calendar:
    """When the clinic is open."""

    zone: str
    hours: tuple[Hours, ...]
    closed: tuple[dt.date, ...]
    version: int = 0


@dataclass(frozen=True, slots=True)
class Shift:
    """Somebody on duty for a role."""

    id: UUID
    role: str
    staff: UUID
    pager: str
    starts_at: dt.datetime
    ends_at: dt.datetime
    active: bool = True
    version: int = 0


@dataclass(frozen=True, slots=True)
class Coverage:
    """A role that somebody must be on duty for: always, or while the clinic is open; how long before a hole it is paged."""

    role: str
    hours: Literal["always", "open"]
    notice: dt.timedelta
    version: int = 0


@dataclass(frozen=True, slots=True)
class Span:
    """From an instant to another, the second outside."""

    starts_at: dt.datetime
    ends_at: dt.datetime


def may_take(staff: Staff | None, role: str) -> str:
    """Why somebody may not be put on duty for a role; empty when they may."""
    if staff is None:
        return "staff-unknown"
    if not staff.active:
        return "staff-inactive"
    if role not in ON_CALL_ROLES and role not in staff.roles:
        return "role-not-held"
    return ""


def overlapping_hours(hours: Iterable[Hours]) -> bool:
    """Whether two open spans of one weekday overlap."""
    ordered = sorted(hours, key=lambda one: (one.weekday, one.opens))
    return any(a.weekday == b.weekday and b.opens < a.closes for a, b in pairwise(ordered))


def uncovered(
    rule: Coverage, shifts: Sequence[Shift], calendar: Calendar | None, start: dt.datetime, end: dt.datetime
) -> list[Span]:
    """The spans between two instants in which nobody is on duty though somebody has to be.

    Without a calendar nothing is known to be closed, so somebody has to be there always.
    """
    needed = [Span(start, end)] if rule.hours == "always" or calendar is None else _open(calendar, start, end)
    on_duty = sorted((s.starts_at, s.ends_at) for s in shifts if s.active and s.role == rule.role)
    return [gap for span in needed for gap in _holes(span, on_duty)]


def _open(calendar: Calendar, start: dt.datetime, end: dt.datetime) -> list[Span]:
    zone = zone_of(calendar.zone)
    day, last = start.astimezone(zone).date(), end.astimezone(zone).date()
    spans = []
    while day <= last:
        midnight = dt.datetime.combine(day, dt.time(0), zone)
        for hours in sorted(calendar.hours, key=lambda one: one.opens):
            if hours.weekday == day.weekday() and day not in calendar.closed:
                # Wall-clock minutes, so that 09:00 is 09:00 on the days when the clock changes too.
                opens = (midnight + dt.timedelta(minutes=hours.opens)).astimezone(dt.UTC)
                closes = (midnight + dt.timedelta(minutes=hours.closes)).astimezone(dt.UTC)
                if max(opens, start) < min(closes, end):
                    spans.append(Span(max(opens, start), min(closes, end)))
        day += dt.timedelta(days=1)
    return spans


def _holes(span: Span, on_duty: Sequence[tuple[dt.datetime, dt.datetime]]) -> list[Span]:
    holes, reached = [], span.starts_at
    for starts_at, ends_at in on_duty:
        if starts_at >= span.ends_at or ends_at <= reached:
            continue
        if starts_at > reached:
            holes.append(Span(reached, starts_at))
        reached = ends_at
    if reached < span.ends_at:
        holes.append(Span(reached, span.ends_at))
    return holes
