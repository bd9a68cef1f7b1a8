"""Use cases of the clinic, one function each: read, decide, answer with what to write."""

import datetime as dt
from collections.abc import Sequence

from services.clinic import events, store
from services.clinic.domain import Calendar, Coverage, Shift, Site, Staff, may_take, overlapping_hours, uncovered
from services.runtime.database import Reader
from services.runtime.messaging.changes import Changes, Context, RaisePage, Rejected, SetTimer

__all__ = [
    "CHECK_COVERAGE",
    "UNCOVERED",
    "check_coverage",
    "require_coverage",
    "set_calendar",
    "set_shift",
    "set_site",
    "set_staff",
]

CHECK_COVERAGE = "clinic.check-coverage"
"""Timer: look ahead on the roster."""
UNCOVERED = "clinic.uncovered"
"""Page: a role will have nobody on duty."""

_LONGEST = dt.timedelta(days=1)
"""Between two looks at the roster, at most."""


async def set_staff(wanted: Staff, read: Reader, _: Context) -> Changes:
    """Register somebody, or change what they are and hold."""
    known = await store.staff(read, wanted.id)
    row = store.staff_row(wanted, known.version if known else 0)
    return Changes(rows=[row], events=[events.staff_changed(wanted)])


async def set_site(wanted: Site, read: Reader, _: Context) -> Changes:
    """Open a site, or change it."""
    known = await store.site(read, wanted.id)
    return Changes(rows=[store.site_row(wanted, known.version if known else 0)], events=[events.site_changed(wanted)])


async def set_calendar(wanted: Calendar, read: Reader, context: Context) -> Changes | Rejected:
    """Say when the clinic is open."""
    if overlapping_hours(wanted.hours):
        return Rejected("hours-overlap")
    known = await store.calendar(read)
    row = store.calendar_row(wanted, known.version if known else 0)
    check = _check_now(context, f"calendar:{row.version}")
    return Changes(rows=[row], events=[events.calendar_changed(wanted)], timers=[check])


async def set_shift(wanted: Shift, read: Reader, context: Context) -> Changes | Rejected:
    """Put somebody on the roster, move their shift, or take it off."""
    known = await store.shift(read, wanted.id)
    if wanted.active and (refusal := may_take(await store.staff(read, wanted.staff), wanted.role)):
        return Rejected(refusal)
    row = store.shift_row(wanted, known.version if known else 0)
    check = _check_now(context, f"shift:{wanted.id}:{row.version}")
    return Changes(rows=[row], events=[events.shift_changed(wanted)], timers=[check])


async def require_coverage(wanted: Coverage, read: Reader, context: Context) -> Changes:
    """Say that a role must never be without somebody on duty."""
    known = await store.coverage(read, wanted.role)
    row = store.coverage_row(wanted, known.version if known else 0)
    return Changes(rows=[row], timers=[_check_now(context, f"coverage:{wanted.role}:{row.version}")])


def check_coverage(rules: Sequence[Coverage], shifts: Sequence[Shift], calendar: Calendar | None, context: Context) -> Changes:
    """Page for the first hole of each role within its notice, once for each day; look again when the next one comes into it."""
    pages = []
    # On a grid, so that several edits do not each begin a chain of looks.
    again = context.now.replace(hour=0, minute=0, second=0, microsecond=0) + _LONGEST
    for rule in rules:
        holes = uncovered(rule, shifts, calendar, context.now, context.now + rule.notice)
        # One page for a role and day: a hole that has begun would otherwise be another one at every look.
        pages += [RaisePage(UNCOVERED, f"uncovered:{rule.role}:{hole.starts_at.date()}", rule.role) for hole in holes[:1]]
        ahead = context.now + rule.notice
        # A hole that is there already is paged again for each day that it lasts.
        comes = [hole.starts_at - rule.notice for hole in uncovered(rule, shifts, calendar, ahead, ahead + _LONGEST)]
        again = min([again, *(at for at in comes if at > context.now)])
    return Changes(pages=pages, timers=[SetTimer(CHECK_COVERAGE, f"look:{again.isoformat()}", "roster", again)])


def _check_now(context: Context, cause: str) -> SetTimer:
    return SetTimer(CHECK_COVERAGE, cause, "roster", context.now)
