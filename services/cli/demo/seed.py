"""``telemed seed``: the clinic of the local stack's people, made through the routes of ``clinic`` by its administrator."""

import datetime as dt
from typing import Any, Final
from uuid import NAMESPACE_URL, UUID, uuid5

from services.cli.demo.stage import Stage, Unexpected

__all__ = ["SITE", "seed"]

SITE: Final = UUID("018f0000-0000-7000-8000-00000000b001")
_STAFF: Final = {
    "psychiatrist.a": ("prescriber",),
    "prescriber.a": ("prescriber",),
    "nurse.a": ("nurse",),
    "nurse.b": ("nurse",),
    "therapist.a": ("therapist",),
    "front_desk.a": ("front_desk",),
    "admin.a": ("admin",),
}
_ON_DUTY: Final = {
    "nurse": "nurse.a",
    "prescriber": "prescriber.a",
    "clinic": "psychiatrist.a",
    "front_desk": "front_desk.a",
    "admin": "admin.a",
}
_SHIFT: Final = dt.timedelta(days=30)


async def seed(stage: Stage, *, until: dt.datetime) -> None:
    """Staff with credentials and licences, the site, opening hours, and a roster without a hole until an instant.

    What is there already is left as it is, so it may be called again.
    """
    for login, roles in _STAFF.items():
        body = {"name": login, "roles": list(roles), "credentials": _credentials(roles), "active": True}
        await _once(stage, f"/staff/{stage.ids[login]}", body)
    site = {"name": "Main street", "region": "US-NY", "zone": stage.zone, "chairs": 3, "active": True}
    await _once(stage, f"/sites/{SITE}", site)
    hours = [{"weekday": day, "opens": 480, "closes": 1140} for day in range(5)]
    await _once(stage, "/calendar", {"zone": stage.zone, "hours": hours, "closed": []})
    # Shifts on a fixed grid: whoever seeds again makes the same ones.
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    now = await stage.now()
    while start < until:
        if start + _SHIFT > now:
            for role, login in _ON_DUTY.items():
                shift = {
                    "role": role,
                    "staff": stage.ids[login],
                    "pager": f"pager-{role.replace('_', '-')}",
                    "starts_at": start.isoformat(),
                    "ends_at": (start + _SHIFT).isoformat(),
                }
                await _once(stage, f"/shifts/{uuid5(NAMESPACE_URL, f'{role} {start.isoformat()}')}", shift)
        start += _SHIFT
    for role in ("nurse", "prescriber"):
        await _once(stage, f"/coverage/{role}", {"hours": "always", "notice_h": 48})


def _credentials(roles: tuple[str, ...]) -> list[dict[str, Any]]:
    since = {"valid_from": "2025-01-01T00:00:00Z"}
    licence = {"kind": "licence", "region": "US-NY", **since}
    if "prescriber" in roles:
        return [licence, {"kind": "dea", "site": str(SITE), **since}, {"kind": "acls", **since}]
    return [licence] if "nurse" in roles else []


async def _once(stage: Stage, path: str, body: object) -> None:
    try:
        await stage.call("admin.a", "clinic", "PUT", path, body, version=0, quiet=False)
    except Unexpected as unexpected:
        if "precondition-failed" not in str(unexpected):
            raise
