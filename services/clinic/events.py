"""What the clinic says in public: the only place that decides what leaves. Names stay here."""

from uuid import UUID

from schemas.envelope import EventData
from schemas.events import clinic
from services.clinic.domain import Calendar, Shift, Site, Staff
from services.runtime.messaging.changes import NewEvent

__all__ = ["calendar_changed", "shift_changed", "site_changed", "staff_changed"]

_CALENDAR = "calendar"


def staff_changed(staff: Staff) -> NewEvent:
    """Somebody's roles and credentials, whole."""
    held = [
        clinic.Credential(
            kind=one.kind, region=one.region, site=one.site, valid_from=one.valid_from, valid_until=one.valid_until
        )
        for one in staff.credentials
    ]
    data = clinic.StaffChanged(staff=staff.id, roles=list(staff.roles), credentials=held, active=staff.active)
    return _event("staff", staff.id, clinic.STAFF_CHANGED.name, data)


def site_changed(site: Site) -> NewEvent:
    """A site, whole."""
    data = clinic.SiteChanged(site=site.id, region=site.region, zone=site.zone, chairs=site.chairs, active=site.active)
    return _event("sites", site.id, clinic.SITE_CHANGED.name, data)


def calendar_changed(calendar: Calendar) -> NewEvent:
    """The opening hours, whole."""
    hours = [clinic.OpenHours(weekday=one.weekday, opens=one.opens, closes=one.closes) for one in calendar.hours]
    data = clinic.CalendarChanged(zone=calendar.zone, hours=hours, closed=list(calendar.closed))
    return NewEvent("/clinic/calendar", clinic.CALENDAR_CHANGED.name, _CALENDAR, data)


def shift_changed(shift: Shift) -> NewEvent:
    """A shift, whole."""
    data = clinic.ShiftChanged(
        shift=shift.id,
        role=shift.role,
        staff=shift.staff,
        pager=shift.pager,
        starts_at=shift.starts_at,
        ends_at=shift.ends_at,
        active=shift.active,
    )
    return _event("shifts", shift.id, clinic.SHIFT_CHANGED.name, data)


def _event(kind: str, aggregate: UUID, name: str, data: EventData) -> NewEvent:
    return NewEvent(f"/clinic/{kind}/{aggregate}", name, str(aggregate), data)
