"""What ``clinic`` tells: who works here and may do what, who is on duty, where and when the clinic is open.

Each event carries the whole state of its aggregate, so that a reader keeps a copy by replacing a row.
"""

from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import AwareDatetime, Field

from schemas.envelope import EventData
from schemas.fields import Code, OpaqueId, Zone, in_unit, open_code
from schemas.registry import DataClass, event_type

__all__ = [
    "CALENDAR_CHANGED",
    "EVENTS",
    "SHIFT_CHANGED",
    "SITE_CHANGED",
    "STAFF_CHANGED",
    "CalendarChanged",
    "Credential",
    "CredentialKind",
    "OpenHours",
    "ShiftChanged",
    "SiteChanged",
    "StaffChanged",
    "StaffRole",
]


class StaffRole(StrEnum):
    """What a member of staff is."""

    PRESCRIBER = "prescriber"
    NURSE = "nurse"
    THERAPIST = "therapist"
    FRONT_DESK = "front_desk"
    AUDITOR = "auditor"
    ADMIN = "admin"


class CredentialKind(StrEnum):
    """What somebody is qualified or registered for."""

    LICENCE = "licence"
    """Of a state; ``region`` names it."""
    DEA = "dea"
    """Registration at a site (21 CFR 1301.12); ``site`` names it."""
    ACLS = "acls"
    BLS = "bls"


class Credential(EventData):
    """One qualification or registration.

    Attributes:
        kind: what it is.
        region: ISO 3166-2 code of the state that granted it, where that matters.
        site: the site it holds for, where that matters.
        valid_from: from when it holds.
        valid_until: until when it holds; absent if it does not end.
    """

    kind: Annotated[Code, open_code(CredentialKind)]
    region: Code | None = None
    site: OpaqueId | None = None
    valid_from: AwareDatetime
    valid_until: AwareDatetime | None = None


class StaffChanged(EventData):
    """Somebody works here, with these roles and credentials from now on; or no longer.

    Attributes:
        staff: id of the member of staff.
        roles: what they are.
        credentials: what they hold.
        active: whether they work here now.
    """

    staff: OpaqueId
    roles: list[Annotated[Code, open_code(StaffRole)]]
    credentials: list[Credential]
    active: bool


class SiteChanged(EventData):
    """A place where patients are treated.

    Attributes:
        site: id of the site.
        region: ISO 3166-2 code of its state.
        zone: in which people there read the clock.
        chairs: how many patients can be infused at once.
        active: whether patients are treated there now.
    """

    site: OpaqueId
    region: Code
    zone: Zone
    chairs: Annotated[int, Field(ge=0, le=500)]
    active: bool


class OpenHours(EventData):
    """Hours of one weekday, by the clinic's wall clock.

    Attributes:
        weekday: 0 is Monday (ISO 8601 weekday minus one).
        opens: minutes after midnight.
        closes: minutes after midnight.
    """

    weekday: Annotated[int, Field(ge=0, le=6)]
    opens: Annotated[int, in_unit("min"), Field(ge=0, le=1440)]
    closes: Annotated[int, in_unit("min"), Field(ge=0, le=1440)]


class CalendarChanged(EventData):
    """When the clinic is open: what "business hours" and "business day" mean.

    Attributes:
        zone: of the clinic.
        hours: one entry per open span; a weekday without one is closed.
        closed: days on which it is closed whatever the weekday.
    """

    zone: Zone
    hours: list[OpenHours]
    closed: list[date]


class ShiftChanged(EventData):
    """Somebody is on duty for a role, from when to when; a roster is made of these.

    Attributes:
        shift: id of the shift.
        role: for which pages they are called: a staff role, ``clinic`` for everybody, ``operator`` for the machines.
        staff: who is on duty.
        pager: opaque address of the pager they carry; the deployment's mail domain makes an address of it.
        starts_at: from when.
        ends_at: until when.
        active: false once the shift was taken off the roster.
    """

    shift: OpaqueId
    role: Code
    staff: OpaqueId
    pager: Code
    starts_at: AwareDatetime
    ends_at: AwareDatetime
    active: bool


_SINCE = "2026-11-27"
_STAFF = UUID("018f0000-0000-7000-8000-00000000a001")
_SITE = UUID("018f0000-0000-7000-8000-00000000b001")
_SHIFT = UUID("018f0000-0000-7000-8000-00000000c001")

STAFF_CHANGED = event_type(
    "clinic",
    "staff-changed",
    StaffChanged,
    since=_SINCE,
    data_class=DataClass.OPERATIONAL,
    sample=StaffChanged(
        staff=_STAFF,
        roles=["prescriber"],
        credentials=[
            Credential(
                kind="licence",
                region="US-NY",
                site=_SITE,
                valid_from=datetime(2025, 1, 1, tzinfo=UTC),
                valid_until=datetime(2028, 1, 1, tzinfo=UTC),
            )
        ],
        active=True,
    ),
)
SITE_CHANGED = event_type(
    "clinic",
    "site-changed",
    SiteChanged,
    since=_SINCE,
    data_class=DataClass.OPERATIONAL,
    sample=SiteChanged(site=_SITE, region="US-NY", zone="America/New_York", chairs=3, active=True),
)
CALENDAR_CHANGED = event_type(
    "clinic",
    "calendar-changed",
    CalendarChanged,
    since=_SINCE,
    data_class=DataClass.OPERATIONAL,
    sample=CalendarChanged(
        zone="America/New_York", hours=[OpenHours(weekday=0, opens=480, closes=1080)], closed=[date(2027, 1, 18)]
    ),
)
SHIFT_CHANGED = event_type(
    "clinic",
    "shift-changed",
    ShiftChanged,
    since=_SINCE,
    data_class=DataClass.OPERATIONAL,
    sample=ShiftChanged(
        shift=_SHIFT,
        role="nurse",
        staff=_STAFF,
        pager="nurse-1",
        starts_at=datetime(2027, 1, 25, 12, tzinfo=UTC),
        ends_at=datetime(2027, 1, 26, 0, tzinfo=UTC),
        active=True,
    ),
)
EVENTS = (STAFF_CHANGED, SITE_CHANGED, CALENDAR_CHANGED, SHIFT_CHANGED)
