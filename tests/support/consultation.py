"""A clinic with its consultation running: staff, duty and opening hours known, and a patient to begin with."""

import datetime as dt
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.care import Answer, Care, care
from tests.support.servers import Servers

__all__ = ["HOME", "PERSON", "corrected", "events", "post", "registered", "staffed"]

PERSON: dict[str, Any] = {
    "given_name": "Zoë",
    "family_name": "Canary-7351",
    "birth_date": "1983-06-09",
    "email": "zoe.canary@example.org",
    "phone": "+12125557351",
}
HOME = {"zone": "America/New_York", "language": "en-US", "region": "US-NY"}
STAFF = {"nurse.a": "nurse", "nurse.b": "nurse", "prescriber.a": "prescriber", "psychiatrist.a": "prescriber"}


def _held(login: str) -> list[dict[str, str]]:
    since = {"valid_from": "2025-01-01T00:00:00Z"}
    licence = {"kind": "licence", "region": "US-NY", **since}
    if login != "psychiatrist.a":
        return [licence]
    return [licence, {"kind": "dea", "site": "018f0000-0000-7000-8000-00000000b001", **since}, {"kind": "acls", **since}]


@asynccontextmanager
async def staffed(servers: Servers, folder: Path) -> AsyncIterator[Care]:
    """A clinic that is open on weekdays, its staff known to the consultation; prescriber.a and nurse.a are on duty.

    Of the prescribers only psychiatrist.a has all that a decision needs.
    """
    async with care(servers, folder) as made:
        await made.spawn("clinic", "consultation")
        for login, role in STAFF.items():
            body = {"name": login, "roles": [role], "credentials": _held(login), "active": True}
            (await made.call("admin.a", "clinic", "PUT", f"/staff/{made.id(login)}", body, version=0)).ok()
        hours = [{"weekday": day, "opens": 480, "closes": 1080} for day in range(5)]
        calendar = {"zone": "America/New_York", "hours": hours, "closed": []}
        (await made.call("admin.a", "clinic", "PUT", "/calendar", calendar, version=0)).ok()
        now = await made.value("", "select clinic_now()")
        for number, (role, login) in enumerate((("prescriber", "prescriber.a"), ("nurse", "nurse.a"), ("clinic", "nurse.b"))):
            shift = {
                "role": role,
                "staff": made.id(login),
                "pager": f"pager-{role.replace('_', '-')}",
                "starts_at": (now - dt.timedelta(hours=1)).isoformat(),
                "ends_at": (now + dt.timedelta(days=20)).isoformat(),
            }
            path = f"/shifts/018f0000-0000-7000-8000-00000000c00{number}"
            (await made.call("admin.a", "clinic", "PUT", path, shift, version=0)).ok()
        await made.until("consultation", "select count(*) = 3 from shift_fact")
        await made.until("consultation", "select count(*) = 4 from staff_fact")
        await made.until("consultation", "select count(*) = 1 from calendar_fact")
        yield made


async def post(clinic: Care, login: str | None, path: str, body: object, **more: Any) -> Answer:
    """Ask the consultation as somebody."""
    return await clinic.call(login, "consultation", "POST", path, body, **more)


async def registered(clinic: Care, **changed: Any) -> str:
    """A patient with an account and nurse.b on the care team; the row has version 3."""
    made = (await post(clinic, "front_desk.a", "/patients", {**PERSON, **HOME, **changed})).ok()
    path = f"/patients/{made['patient']}"
    account = {"account": clinic.id("patient.a")}
    (await clinic.call("front_desk.a", "consultation", "PUT", f"{path}/account", account, version=1)).ok()
    team = {"care_team": [{"staff": clinic.id("nurse.b"), "role": "nurse"}]}
    (await clinic.call("front_desk.a", "consultation", "PUT", f"{path}/care-team", team, version=2)).ok()
    return str(made["patient"])


async def corrected(clinic: Care, patient: str, **changed: Any) -> None:
    """The front desk changes who a patient is, or where."""
    path = f"/patients/{patient}"
    shown = (await clinic.call("front_desk.a", "consultation", "GET", path)).ok()
    body = {name: shown[name] for name in (*PERSON, *HOME)} | changed
    (await clinic.call("front_desk.a", "consultation", "PUT", path, body, version=shown["version"])).ok()


async def events(clinic: Care, kind: str) -> list[dict[str, Any]]:
    """What the consultation said of a kind, in order."""
    query = "select body from outbox where type = $1 order by id"
    rows = await clinic.rows("consultation", query, f"org.telemed.consultation.{kind}.v1")
    return [json.loads(row["body"])["data"] for row in rows]
