"""Routes of the clinic: any member of staff reads, admins edit."""

import datetime as dt
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

from pydantic import Field, model_validator

from schemas.events.clinic import CredentialKind, StaffRole
from services.clinic import commands, store
from services.clinic.domain import ON_CALL_ROLES, Calendar, Coverage, Credential, Hours, Shift, Site, Staff, uncovered
from services.runtime.database import Reader
from services.runtime.edge.fields import Code, Date, Id, Instant, Line, Region, Request, Response, Zone, field_error
from services.runtime.edge.pages import Page
from services.runtime.edge.policy import Bearer, role_is_enough
from services.runtime.edge.principal import Role
from services.runtime.edge.problems import ProblemType
from services.runtime.edge.route import Asked, Example, Find, Found, Route, reply
from services.runtime.messaging.changes import Changes, Context, Rejected, Row
from services.runtime.messaging.unit_of_work import Decide

__all__ = ["ROUTES"]

_ANY_STAFF = Bearer(frozenset(Role) - {Role.PATIENT, Role.INTEGRATION}, role_is_enough)
_ADMIN = Bearer(frozenset({Role.ADMIN}), role_is_enough)

_UNKNOWN = ProblemType("staff-unknown", 409, "There is no such member of staff")
_INACTIVE = ProblemType("staff-inactive", 409, "This member of staff no longer works here")
_NOT_HELD = ProblemType("role-not-held", 409, "This member of staff does not have the role")
_OVERLAP = ProblemType("hours-overlap", 422, "Two opening times of one weekday overlap")

_LONGEST_SHIFT = dt.timedelta(days=31)
_LONGEST_VIEW = dt.timedelta(days=62)

_Versioned = TypeVar("_Versioned", Staff, Site, Calendar, Shift, Coverage)


def _answered(changes: Changes, show: Callable[[_Versioned], Response], wanted: _Versioned) -> Changes:
    """The changes of an edit, with what it made as the answer."""
    (row,) = changes.rows
    assert isinstance(row, Row)  # noqa: S101 - every edit of the clinic writes one versioned row
    return replace(changes, reply=reply(show(replace(wanted, version=row.version))))


# --- staff ---------------------------------------------------------------------------------------------------------------


class StaffPath(Request):
    """Path of a member of staff."""

    staff: Id


class CredentialBody(Request):
    """A qualification or registration; a licence names its region, a DEA registration its site."""

    kind: Literal[CredentialKind.LICENCE, CredentialKind.DEA, CredentialKind.ACLS, CredentialKind.BLS]
    valid_from: Instant
    valid_until: Instant | None = None
    region: Region | None = None
    site: Id | None = None

    @model_validator(mode="after")
    def _complete(self) -> "CredentialBody":
        if (self.kind == CredentialKind.LICENCE) != (self.region is not None):
            raise field_error("region-and-licence-belong-together", "/region")
        if (self.kind == CredentialKind.DEA) != (self.site is not None):
            raise field_error("site-and-dea-belong-together", "/site")
        if self.valid_until is not None and self.valid_until <= self.valid_from:
            raise field_error("ends-before-it-starts", "/valid_until")
        return self


class StaffBody(Request):
    """Somebody who works here."""

    name: Line
    roles: Annotated[list[StaffRole], Field(min_length=1, max_length=8)]
    credentials: Annotated[list[CredentialBody], Field(max_length=50)]
    active: bool


class StaffShown(Response):
    """Somebody who works here, with the version that an edit must name."""

    staff: Id
    name: str
    roles: list[str]
    credentials: list[CredentialBody]
    active: bool
    version: int


class StaffList(Response):
    """Staff in the order of their ids."""

    staff: list[StaffShown]


def _show_staff(staff: Staff) -> StaffShown:
    held = [
        CredentialBody(
            kind=CredentialKind(one.kind),
            valid_from=one.valid_from,
            valid_until=one.valid_until,
            region=one.region,
            site=one.site,
        )
        for one in staff.credentials
    ]
    return StaffShown(
        staff=staff.id,
        name=staff.name,
        roles=list(staff.roles),
        credentials=held,
        active=staff.active,
        version=staff.version,
    )


async def _staff_version(read: Reader, asked: Asked[Any, StaffPath]) -> int:
    known = await store.staff(read, asked.path.staff)
    return known.version if known else 0


def _set_staff(asked: Asked[StaffBody, StaffPath]) -> Decide:
    body = asked.body
    held = tuple(Credential(str(c.kind), c.valid_from, c.valid_until, c.region, c.site) for c in body.credentials)
    wanted = Staff(asked.path.staff, body.name, tuple(str(role) for role in body.roles), held, body.active)

    async def decide(read: Reader, context: Context) -> Changes:
        changes = await commands.set_staff(wanted, read, context)
        return _answered(changes, _show_staff, wanted)

    return decide


def _get_staff(asked: Asked[Any, StaffPath]) -> Find:
    async def find(read: Reader, _: Context) -> Found | Rejected:
        known = await store.staff(read, asked.path.staff)
        return Found(_show_staff(known)) if known else Rejected("not-found", status=404)

    return find


def _list_staff(asked: Asked[Any, Any, Page]) -> Find:
    async def find(read: Reader, _: Context) -> Found:
        after = UUID(asked.query.after[0]) if asked.query.after else UUID(int=0)
        rows = await store.staff_after(read, after, asked.query.limit + 1)
        shown = rows[: asked.query.limit]
        more = (str(shown[-1].id),) if len(rows) > len(shown) else ()
        return Found(StaffList(staff=[_show_staff(one) for one in shown]), [str(one.id) for one in shown], more)

    return find


# --- sites and opening hours ---------------------------------------------------------------------------------------------


class SitePath(Request):
    """Path of a site."""

    site: Id


class SiteBody(Request):
    """A place where patients are treated."""

    name: Line
    region: Region
    zone: Zone
    chairs: Annotated[int, Field(ge=0, le=500)]
    active: bool


class SiteShown(Response):
    """A site, with the version that an edit must name."""

    site: Id
    name: str
    region: str
    zone: str
    chairs: int
    active: bool
    version: int


class SiteList(Response):
    """Every site."""

    sites: list[SiteShown]


def _show_site(site: Site) -> SiteShown:
    return SiteShown(
        site=site.id,
        name=site.name,
        region=site.region,
        zone=site.zone,
        chairs=site.chairs,
        active=site.active,
        version=site.version,
    )


async def _site_version(read: Reader, asked: Asked[Any, SitePath]) -> int:
    known = await store.site(read, asked.path.site)
    return known.version if known else 0


def _set_site(asked: Asked[SiteBody, SitePath]) -> Decide:
    body = asked.body
    wanted = Site(asked.path.site, body.name, body.region, body.zone, body.chairs, body.active)

    async def decide(read: Reader, context: Context) -> Changes:
        return _answered(await commands.set_site(wanted, read, context), _show_site, wanted)

    return decide


def _list_sites(_: Asked[Any]) -> Find:
    async def find(read: Reader, __: Context) -> Found:
        known = await store.sites(read)
        return Found(SiteList(sites=[_show_site(site) for site in known]), [str(site.id) for site in known])

    return find


class HoursBody(Request):
    """An opening time of one weekday: 0 is Monday, minutes after midnight of the clinic's wall clock."""

    weekday: Annotated[int, Field(ge=0, le=6)]
    opens: Annotated[int, Field(ge=0, le=1439)]
    closes: Annotated[int, Field(ge=1, le=1440)]

    @model_validator(mode="after")
    def _in_order(self) -> "HoursBody":
        if self.closes <= self.opens:
            raise field_error("ends-before-it-starts", "/closes")
        return self


class CalendarBody(Request):
    """When the clinic is open."""

    zone: Zone
    hours: Annotated[list[HoursBody], Field(max_length=50)]
    closed: Annotated[list[Date], Field(max_length=1000)]


class CalendarShown(Response):
    """When the clinic is open, with the version that an edit must name."""

    zone: str
    hours: list[HoursBody]
    closed: list[Date]
    version: int


def _show_calendar(calendar: Calendar) -> CalendarShown:
    hours = [HoursBody(weekday=one.weekday, opens=one.opens, closes=one.closes) for one in calendar.hours]
    return CalendarShown(zone=calendar.zone, hours=hours, closed=list(calendar.closed), version=calendar.version)


async def _calendar_version(read: Reader, _: Asked[Any]) -> int:
    known = await store.calendar(read)
    return known.version if known else 0


def _set_calendar(asked: Asked[CalendarBody]) -> Decide:
    hours = tuple(Hours(one.weekday, one.opens, one.closes) for one in asked.body.hours)
    wanted = Calendar(asked.body.zone, hours, tuple(sorted(set(asked.body.closed))))

    async def decide(read: Reader, context: Context) -> Changes | Rejected:
        decided = await commands.set_calendar(wanted, read, context)
        return decided if isinstance(decided, Rejected) else _answered(decided, _show_calendar, wanted)

    return decide


def _get_calendar(_: Asked[Any]) -> Find:
    async def find(read: Reader, __: Context) -> Found | Rejected:
        known = await store.calendar(read)
        return Found(_show_calendar(known)) if known else Rejected("not-found", status=404)

    return find


# --- roster --------------------------------------------------------------------------------------------------------------

DutyRole = Annotated[Code, Field(examples=["nurse", "clinic"])]
_DUTY_ROLES = frozenset(str(role) for role in StaffRole) | ON_CALL_ROLES


def _known_role(role: str) -> None:
    if role not in _DUTY_ROLES:
        raise field_error("unknown-role", "/role")


class ShiftPath(Request):
    """Path of a shift."""

    shift: Id


class ShiftBody(Request):
    """Somebody on duty for a role: a staff role, ``clinic`` (everybody is called) or ``operator`` (the machines)."""

    role: DutyRole
    staff: Id
    pager: Annotated[Code, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    starts_at: Instant
    ends_at: Instant
    active: bool = True

    @model_validator(mode="after")
    def _sound(self) -> "ShiftBody":
        _known_role(self.role)
        if self.ends_at <= self.starts_at:
            raise field_error("ends-before-it-starts", "/ends_at")
        if self.ends_at - self.starts_at > _LONGEST_SHIFT:
            raise field_error("out-of-range", "/ends_at")
        return self


class ShiftShown(Response):
    """A shift, with the version that an edit must name."""

    shift: Id
    role: str
    staff: Id
    pager: str
    starts_at: Instant
    ends_at: Instant
    active: bool
    version: int


class CoveragePath(Request):
    """Path of a role's coverage."""

    role: DutyRole

    @model_validator(mode="after")
    def _known(self) -> "CoveragePath":
        _known_role(self.role)
        return self


class CoverageBody(Request):
    """Somebody must be on duty: ``always``, or while the clinic is ``open``; a hole is paged ``notice_h`` hours before."""

    hours: Literal["always", "open"]
    notice_h: Annotated[int, Field(ge=1, le=720)] = 72


class CoverageShown(Response):
    """A role's coverage, with the version that an edit must name."""

    role: str
    hours: str
    notice_h: int
    version: int


class RosterQuery(Request):
    """A span of time, at most 62 days."""

    start: Instant
    end: Instant

    @model_validator(mode="after")
    def _in_order(self) -> "RosterQuery":
        if not self.start < self.end <= self.start + _LONGEST_VIEW:
            raise field_error("out-of-range", "/end")
        return self


class Uncovered(Response):
    """A span in which a role has nobody on duty though it must have."""

    role: str
    starts_at: Instant
    ends_at: Instant


class RosterShown(Response):
    """Who is on duty, and where nobody is."""

    shifts: list[ShiftShown]
    uncovered: list[Uncovered]


def _show_shift(shift: Shift) -> ShiftShown:
    return ShiftShown(
        shift=shift.id,
        role=shift.role,
        staff=shift.staff,
        pager=shift.pager,
        starts_at=shift.starts_at,
        ends_at=shift.ends_at,
        active=shift.active,
        version=shift.version,
    )


async def _shift_version(read: Reader, asked: Asked[Any, ShiftPath]) -> int:
    known = await store.shift(read, asked.path.shift)
    return known.version if known else 0


def _set_shift(asked: Asked[ShiftBody, ShiftPath]) -> Decide:
    body = asked.body
    wanted = Shift(asked.path.shift, body.role, body.staff, body.pager, body.starts_at, body.ends_at, body.active)

    async def decide(read: Reader, context: Context) -> Changes | Rejected:
        decided = await commands.set_shift(wanted, read, context)
        return decided if isinstance(decided, Rejected) else _answered(decided, _show_shift, wanted)

    return decide


def _show_coverage(rule: Coverage) -> CoverageShown:
    hours = int(rule.notice.total_seconds() // 3600)
    return CoverageShown(role=rule.role, hours=rule.hours, notice_h=hours, version=rule.version)


async def _coverage_version(read: Reader, asked: Asked[Any, CoveragePath]) -> int:
    known = await store.coverage(read, asked.path.role)
    return known.version if known else 0


def _set_coverage(asked: Asked[CoverageBody, CoveragePath]) -> Decide:
    wanted = Coverage(asked.path.role, asked.body.hours, dt.timedelta(hours=asked.body.notice_h))

    async def decide(read: Reader, context: Context) -> Changes:
        changes = await commands.require_coverage(wanted, read, context)
        return _answered(changes, _show_coverage, wanted)

    return decide


def _roster(asked: Asked[Any, Any, RosterQuery]) -> Find:
    start, end = asked.query.start, asked.query.end

    async def find(read: Reader, _: Context) -> Found:
        shifts = await store.shifts_between(read, start, end)
        opening = await store.calendar(read)
        holes = [
            Uncovered(role=rule.role, starts_at=hole.starts_at, ends_at=hole.ends_at)
            for rule in await store.coverages(read)
            for hole in uncovered(rule, shifts, opening, start, end)
        ]
        shown = RosterShown(shifts=[_show_shift(shift) for shift in shifts], uncovered=holes)
        return Found(shown, [str(shift.id) for shift in shifts])

    return find


# --- the table -----------------------------------------------------------------------------------------------------------

_NURSE = {
    "name": "Ann Lee",
    "roles": ["nurse"],
    "credentials": [{"kind": "licence", "region": "US-NY", "valid_from": "2025-01-01T00:00:00Z"}],
    "active": True,
}

ROUTES = (
    Route(
        name="set_staff",
        method="PUT",
        path_template="/staff/{staff}",
        summary="Register a member of staff, or change their roles and credentials",
        policy=_ADMIN,
        audit="staff.set",
        path=StaffPath,
        request=StaffBody,
        response=StaffShown,
        command=_set_staff,
        edits=_staff_version,
        examples=(Example(_NURSE),),
    ),
    Route(
        name="get_staff",
        method="GET",
        path_template="/staff/{staff}",
        summary="A member of staff",
        policy=_ANY_STAFF,
        audit="staff.read",
        path=StaffPath,
        response=StaffShown,
        query=_get_staff,
    ),
    Route(
        name="list_staff",
        method="GET",
        path_template="/staff",
        summary="All staff, page by page",
        policy=_ANY_STAFF,
        audit="staff.list",
        query_model=Page,
        response=StaffList,
        query=_list_staff,
    ),
    Route(
        name="set_site",
        method="PUT",
        path_template="/sites/{site}",
        summary="Open a site, or change it",
        policy=_ADMIN,
        audit="site.set",
        path=SitePath,
        request=SiteBody,
        response=SiteShown,
        command=_set_site,
        edits=_site_version,
    ),
    Route(
        name="list_sites",
        method="GET",
        path_template="/sites",
        summary="Every site",
        policy=_ANY_STAFF,
        audit="site.list",
        response=SiteList,
        query=_list_sites,
    ),
    Route(
        name="set_calendar",
        method="PUT",
        path_template="/calendar",
        summary="Say when the clinic is open",
        policy=_ADMIN,
        audit="calendar.set",
        request=CalendarBody,
        response=CalendarShown,
        command=_set_calendar,
        edits=_calendar_version,
        errors=(_OVERLAP,),
    ),
    Route(
        name="get_calendar",
        method="GET",
        path_template="/calendar",
        summary="When the clinic is open",
        policy=_ANY_STAFF,
        audit="calendar.read",
        response=CalendarShown,
        query=_get_calendar,
    ),
    Route(
        name="set_shift",
        method="PUT",
        path_template="/shifts/{shift}",
        summary="Put somebody on the roster, move their shift, or take it off",
        policy=_ADMIN,
        audit="shift.set",
        path=ShiftPath,
        request=ShiftBody,
        response=ShiftShown,
        command=_set_shift,
        edits=_shift_version,
        errors=(_UNKNOWN, _INACTIVE, _NOT_HELD),
    ),
    Route(
        name="set_coverage",
        method="PUT",
        path_template="/coverage/{role}",
        summary="Say that a role must never be without somebody on duty",
        policy=_ADMIN,
        audit="coverage.set",
        path=CoveragePath,
        request=CoverageBody,
        response=CoverageShown,
        command=_set_coverage,
        edits=_coverage_version,
    ),
    Route(
        name="roster",
        method="GET",
        path_template="/roster",
        summary="Who is on duty, and where nobody is",
        policy=_ANY_STAFF,
        audit="roster.read",
        query_model=RosterQuery,
        response=RosterShown,
        query=_roster,
    ),
)
