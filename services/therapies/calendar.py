"""Dates and clocks: recurring wall-clock events, calendar months, quiet hours, gap and cap of a series.

Elapsed time is always a difference of UTC instants. A recurring event is a local date and a local time in a zone and is
resolved to an instant only here, so that both changes of the clocks and leap days are handled once.
"""

import calendar
import datetime as dt
from collections.abc import Sequence

from schemas.values import Moment, zone_of

__all__ = [
    "add_months",
    "breaks_cap",
    "breaks_gap",
    "months_between",
    "out_of_quiet_hours",
    "resolve",
    "weekly",
    "whole_years",
]


def resolve(date: dt.date, time: dt.time, zone: str) -> Moment:
    """The instant of a wall-clock time on a date.

    A time skipped by the spring change is moved forward by the length of the gap (02:30 becomes 03:30); one that
    happens twice in autumn is the first of the two. Either way it is one instant.
    """
    return Moment(dt.datetime.combine(date, time, zone_of(zone)), zone)


def weekly(start: dt.date, time: dt.time, zone: str, count: int, days: int) -> tuple[Moment, ...]:
    """``count`` events, ``days`` apart by the calendar, at the same wall-clock time."""
    return tuple(resolve(start + dt.timedelta(days=days * i), time, zone) for i in range(count))


def add_months(date: dt.date, months: int) -> dt.date:
    """The same day ``months`` later, or the last day of that month when it is shorter (31 Jan + 1 = 28 or 29 Feb)."""
    index = date.year * _MONTHS + date.month - 1 + months
    year, month = index // _MONTHS, index % _MONTHS + 1
    return date.replace(year=year, month=month, day=min(date.day, calendar.monthrange(year, month)[1]))


_MONTHS = 12


def months_between(start: dt.date, end: dt.date) -> tuple[int, bool]:
    """Whole calendar months from ``start`` to ``end``, and whether days are left over."""
    months = (end.year - start.year) * _MONTHS + end.month - start.month
    if add_months(start, months) > end:
        months -= 1
    return months, add_months(start, months) < end


def whole_years(birth: dt.date, on: dt.date) -> int:
    """Age in completed years; someone born on 29 February has the birthday on 1 March of a common year."""
    return on.year - birth.year - ((on.month, on.day) < (birth.month, birth.day))


def breaks_gap(starts: Sequence[Moment], gap: dt.timedelta) -> int | None:
    """Index of the first start that is less than ``gap`` of elapsed time after the one before, in time order; None when
    none is.
    """
    ordered = sorted(s.at for s in starts)
    return next((i for i in range(1, len(ordered)) if ordered[i] - ordered[i - 1] < gap), None)


def breaks_cap(starts: Sequence[Moment], zone: str, cap: int, days: int) -> int | None:
    """Index of the first start that makes more than ``cap`` in some ``days`` consecutive local dates of ``zone``; None
    when none does.
    """
    dates = sorted(s.at.astimezone(zone_of(zone)).date() for s in starts)
    return next((i for i in range(cap, len(dates)) if (dates[i] - dates[i - cap]).days < days), None)


def out_of_quiet_hours(due: Moment, quiet_from: dt.time, quiet_to: dt.time) -> Moment:
    """``due`` itself, or the end of the quiet hours (which span midnight) it falls in, in the recipient's zone."""
    clock = due.local.time()
    if clock >= quiet_from:
        return resolve(due.date + dt.timedelta(days=1), quiet_to, due.zone)
    if clock < quiet_to:
        return resolve(due.date, quiet_to, due.zone)
    return due
