"""All SQL of the clinic."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from services.clinic.domain import Calendar, Coverage, Credential, Hours, Shift, Site, Staff
from services.runtime.database import Reader, Record
from services.runtime.messaging.changes import Row

__all__ = [
    "calendar",
    "calendar_row",
    "coverage",
    "coverage_row",
    "coverages",
    "shift",
    "shift_row",
    "shifts_ahead",
    "shifts_between",
    "site",
    "site_row",
    "sites",
    "staff",
    "staff_after",
    "staff_row",
]

_STAFF = "select id, display_name, roles, credentials, active, version from staff"
_SITE = "select id, display_name, region, zone, chairs, active, version from site"
_SHIFT = "select id, role, staff, pager, starts_at, ends_at, active, version from shift"


# --- staff ---------------------------------------------------------------------------------------------------------------


async def staff(read: Reader, staff_id: UUID) -> Staff | None:
    """A member of staff."""
    row = await read.fetchrow(f"{_STAFF} where id = $1", staff_id)
    return None if row is None else _staff(row)


async def staff_after(read: Reader, after: UUID, limit: int) -> list[Staff]:
    """Staff behind an id, in order."""
    return [_staff(row) for row in await read.fetch(f"{_STAFF} where id > $1 order by id limit $2", after, limit)]


def staff_row(wanted: Staff, version: int) -> Row:
    """What is written of a member of staff whose row has this version."""
    values = {
        "display_name": wanted.name,
        "roles": list(wanted.roles),
        "credentials": [_held(one) for one in wanted.credentials],
        "active": wanted.active,
    }
    return Row("staff", {"id": wanted.id}, values, version)


def _staff(row: Record) -> Staff:
    held = tuple(_credential(one) for one in row["credentials"])
    return Staff(row["id"], row["display_name"], tuple(row["roles"]), held, row["active"], row["version"])


def _held(one: Credential) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "valid_from": one.valid_from.isoformat(),
        "valid_until": one.valid_until.isoformat() if one.valid_until else None,
        "region": one.region,
        "site": str(one.site) if one.site else None,
    }


def _credential(held: Mapping[str, Any]) -> Credential:
    return Credential(
        held["kind"],
        dt.datetime.fromisoformat(held["valid_from"]),
        dt.datetime.fromisoformat(held["valid_until"]) if held["valid_until"] else None,
        held["region"],
        UUID(held["site"]) if held["site"] else None,
    )


# --- sites and opening hours ---------------------------------------------------------------------------------------------


async def site(read: Reader, site_id: UUID) -> Site | None:
    """A site."""
    row = await read.fetchrow(f"{_SITE} where id = $1", site_id)
    return None if row is None else _site(row)


async def sites(read: Reader) -> list[Site]:
    """Every site; a clinic has a handful."""
    return [_site(row) for row in await read.fetch(f"{_SITE} order by id")]


def site_row(wanted: Site, version: int) -> Row:
    """What is written of a site whose row has this version."""
    values = {
        "display_name": wanted.name,
        "region": wanted.region,
        "zone": wanted.zone,
        "chairs": wanted.chairs,
        "active": wanted.active,
    }
    return Row("site", {"id": wanted.id}, values, version)


def _site(row: Record) -> Site:
    return Site(row["id"], row["display_name"], row["region"], row["zone"], row["chairs"], row["active"], row["version"])


async def calendar(read: Reader) -> Calendar | None:
    """The opening hours, once there are some."""
    row = await read.fetchrow("select zone, hours, closed, version from calendar")
    if row is None:
        return None
    hours = tuple(Hours(one["weekday"], one["opens"], one["closes"]) for one in row["hours"])
    return Calendar(row["zone"], hours, tuple(row["closed"]), row["version"])


def calendar_row(wanted: Calendar, version: int) -> Row:
    """What is written of the opening hours, whose row has this version."""
    hours = [{"weekday": one.weekday, "opens": one.opens, "closes": one.closes} for one in wanted.hours]
    return Row("calendar", {"only_row": True}, {"zone": wanted.zone, "hours": hours, "closed": list(wanted.closed)}, version)


# --- roster --------------------------------------------------------------------------------------------------------------


async def shift(read: Reader, shift_id: UUID) -> Shift | None:
    """A shift."""
    row = await read.fetchrow(f"{_SHIFT} where id = $1", shift_id)
    return None if row is None else _shift(row)


async def shifts_between(read: Reader, start: dt.datetime, end: dt.datetime) -> list[Shift]:
    """Shifts on the roster that touch a span of time."""
    rows = await read.fetch(
        f"{_SHIFT} where active and starts_at < $2 and ends_at > $1 order by starts_at, id limit 5000", start, end
    )
    return [_shift(row) for row in rows]


async def shifts_ahead(read: Reader, rules: Sequence[Coverage]) -> list[Shift]:
    """Shifts that touch the longest notice of some rules and the day behind it, from now on by the clinic's clock."""
    notice = max((rule.notice for rule in rules), default=dt.timedelta(0)) + dt.timedelta(days=1)
    rows = await read.fetch(
        f"{_SHIFT} where active and ends_at > runtime.clinic_now() and starts_at < runtime.clinic_now() + $1", notice
    )
    return [_shift(row) for row in rows]


def shift_row(wanted: Shift, version: int) -> Row:
    """What is written of a shift whose row has this version."""
    values = {
        "role": wanted.role,
        "staff": wanted.staff,
        "pager": wanted.pager,
        "starts_at": wanted.starts_at,
        "ends_at": wanted.ends_at,
        "active": wanted.active,
    }
    return Row("shift", {"id": wanted.id}, values, version)


def _shift(row: Record) -> Shift:
    return Shift(
        row["id"],
        row["role"],
        row["staff"],
        row["pager"],
        row["starts_at"],
        row["ends_at"],
        row["active"],
        row["version"],
    )


async def coverage(read: Reader, role: str) -> Coverage | None:
    """Whether and when somebody has to be on duty for a role."""
    row = await read.fetchrow("select role, hours, notice, version from coverage where role = $1", role)
    return None if row is None else Coverage(row["role"], row["hours"], row["notice"], row["version"])


async def coverages(read: Reader) -> Sequence[Coverage]:
    """Every role that must be covered."""
    rows = await read.fetch("select role, hours, notice, version from coverage order by role")
    return [Coverage(row["role"], row["hours"], row["notice"], row["version"]) for row in rows]


def coverage_row(wanted: Coverage, version: int) -> Row:
    """What is written of a role's coverage, whose row has this version."""
    return Row("coverage", {"role": wanted.role}, {"hours": wanted.hours, "notice": wanted.notice}, version)
