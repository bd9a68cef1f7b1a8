"""The clinic service: staff, sites, opening hours and the roster, over HTTP; events out, pages in advance."""

import datetime as dt
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio

from tests.support.care import Care, care
from tests.support.servers import Servers
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio
SITE = "018f0000-0000-7000-8000-00000000b001"
SHIFT = "018f0000-0000-7000-8000-00000000c001"
NAME = "Zoë Canary, RN"
HOUR = dt.timedelta(hours=1)


def quoted(at: dt.datetime) -> str:
    return quote(at.isoformat())


@pytest_asyncio.fixture
async def clinic(servers: Servers, tmp_path: Path) -> AsyncIterator[Care]:
    async with care(servers, tmp_path) as made:
        await made.spawn("clinic")
        yield made


def nurse(**changed: Any) -> dict[str, Any]:
    licence = {"kind": "licence", "region": "US-NY", "valid_from": "2025-01-01T00:00:00Z"}
    return {"name": NAME, "roles": ["nurse"], "credentials": [licence], "active": True, **changed}


async def events(clinic: Care, kind: str) -> list[dict[str, Any]]:
    query = "select body from outbox where type = $1 order by id"
    return [json.loads(row["body"]) for row in await clinic.rows("clinic", query, f"org.telemed.clinic.{kind}.v1")]


async def test_staff_are_edited_by_admins_version_by_version_and_their_names_stay(clinic: Care) -> None:
    person = clinic.id("nurse.a")
    path = f"/staff/{person}"
    assert (await clinic.call("nurse.a", "clinic", "PUT", path, nurse(), version=0)).status == 403
    made = await clinic.call("admin.a", "clinic", "PUT", path, nurse(), version=0)
    assert made.ok()["version"] == 1
    assert (await clinic.call("admin.a", "clinic", "PUT", path, nurse(), version=0)).status == 412
    assert (await clinic.call("admin.a", "clinic", "PUT", path, nurse())).status == 428
    changed = await clinic.call("admin.a", "clinic", "PUT", path, nurse(roles=["nurse", "therapist"]), version=1)
    assert changed.headers["ETag"] == '"2"'
    shown = await clinic.call("front_desk.a", "clinic", "GET", path)
    assert shown.ok()["name"] == NAME
    listed = await clinic.call("front_desk.a", "clinic", "GET", "/staff?limit=1")
    assert [one["staff"] for one in listed.ok()["staff"]] == [person]
    assert (await clinic.call("patient.a", "clinic", "GET", path)).status == 403

    told = await events(clinic, "staff-changed")
    assert [one["sequence"] for one in told] == ["0000000001", "0000000002"]
    assert told[-1]["data"]["roles"] == ["nurse", "therapist"]
    assert NAME not in json.dumps(told, ensure_ascii=False)
    assert await clinic.value("clinic", "select count(*) from audit where action = 'staff.set'") == 2


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"roles": []}, "/roles"),
        ({"roles": ["king"]}, "/roles/0"),
        ({"credentials": [{"kind": "licence", "valid_from": "2025-01-01T00:00:00Z"}]}, "/credentials/0/region"),
        ({"credentials": [{"kind": "dea", "valid_from": "2025-01-01T00:00:00Z"}]}, "/credentials/0/site"),
        ({"credentials": [{"kind": "acls", "region": "US-NY", "valid_from": "2025-01-01T00:00:00Z"}]}, "/credentials/0/region"),
        ({"credentials": [{"kind": "acls", "valid_from": "2025-01-01"}]}, "/credentials/0/valid_from"),
        (
            {"credentials": [{"kind": "acls", "valid_from": "2025-01-01T00:00:00Z", "valid_until": "2024-01-01T00:00:00Z"}]},
            "/credentials/0/valid_until",
        ),
        ({"name": " "}, "/name"),
    ],
    ids=lambda value: json.dumps(value)[:50],
)
async def test_what_is_wrong_is_named_and_changes_nothing(clinic: Care, wrong: dict[str, Any], field: str) -> None:
    answer = await clinic.call("admin.a", "clinic", "PUT", f"/staff/{clinic.id('nurse.a')}", nurse(**wrong), version=0)
    assert answer.status == 422
    assert field in [error["pointer"] for error in answer.body["errors"]]
    assert await clinic.value("clinic", "select count(*) from staff") == 0
    assert not await events(clinic, "staff-changed")


async def test_a_role_without_anybody_on_duty_is_shown_and_paged_in_advance(clinic: Care) -> None:
    person = clinic.id("nurse.a")
    now = await clinic.value("", "select clinic_now()")
    (await clinic.call("admin.a", "clinic", "PUT", f"/staff/{person}", nurse(), version=0)).ok()
    hours = [{"weekday": day, "opens": 0, "closes": 1440} for day in range(7)]
    calendar = {"zone": "America/New_York", "hours": hours, "closed": []}
    (await clinic.call("admin.a", "clinic", "PUT", "/calendar", calendar, version=0)).ok()
    overlapping = {**calendar, "hours": [*hours, {"weekday": 0, "opens": 60, "closes": 120}]}
    answer = await clinic.call("admin.a", "clinic", "PUT", "/calendar", overlapping, version=1)
    assert (answer.status, answer.code) == (422, "hours-overlap")

    def shift(**changed: Any) -> dict[str, Any]:
        end = now.replace(microsecond=0)
        return {
            "role": "nurse",
            "staff": person,
            "pager": "nurse-1",
            "starts_at": "2026-01-01T00:00:00Z",
            "ends_at": end.isoformat(),
            **changed,
        }

    for wrong, code in (
        ({"role": "prescriber", "starts_at": "2026-11-20T00:00:00Z"}, "role-not-held"),
        ({"staff": SITE, "starts_at": "2026-11-20T00:00:00Z"}, "staff-unknown"),
    ):
        answer = await clinic.call("admin.a", "clinic", "PUT", f"/shifts/{SHIFT}", shift(**wrong), version=0)
        assert (answer.status, answer.code) == (409, code)
    assert (await clinic.call("admin.a", "clinic", "PUT", f"/shifts/{SHIFT}", shift(), version=0)).status == 422

    # Somebody is there for one day; a nurse is needed always, and holes are to be known two days before.
    tomorrow = {"starts_at": (now - HOUR).isoformat(), "ends_at": (now + 24 * HOUR).isoformat()}
    (await clinic.call("admin.a", "clinic", "PUT", f"/shifts/{SHIFT}", shift(**tomorrow), version=0)).ok()
    assert not await clinic.value("clinic", "select count(*) from page")
    rule = {"hours": "always", "notice_h": 12}
    (await clinic.call("admin.a", "clinic", "PUT", "/coverage/nurse", rule, version=0)).ok()
    await clinic.until("clinic", "select count(*) from timer where dedupe_key like 'look:%'")
    assert not await clinic.value("clinic", "select count(*) from page"), "the hole is not near enough"

    (await clinic.call("admin.a", "clinic", "PUT", "/coverage/nurse", {**rule, "notice_h": 48}, version=1)).ok()
    page = await clinic.until("clinic", "select id from page where code = 'clinic.uncovered' and subject = 'nurse'")

    async def mailed() -> list[str]:
        return clinic.servers.mail.raw(str(page))

    await eventually(mailed, what="the hole is paged")
    query = f"start={quoted(now)}&end={quoted(now + 48 * HOUR)}"
    roster = (await clinic.call("nurse.a", "clinic", "GET", f"/roster?{query}")).ok()
    (hole,) = roster["uncovered"]
    assert (hole["role"], [one["pager"] for one in roster["shifts"]]) == ("nurse", ["nurse-1"])

    # The clinic's clock goes on: it looks again by itself, and does not page the same day's hole twice.
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + 24 * HOUR
    await clinic.advance((midnight - now).total_seconds() + 1)
    await clinic.until("clinic", "select count(*) > 1 from timer where dedupe_key like 'look:%'")
    assert await clinic.value("clinic", "select count(*) from page") == 1
    assert len(await events(clinic, "shift-changed")) == 1
    assert len(await events(clinic, "calendar-changed")) == 1


async def test_a_site_is_where_and_how_large_it_is_said_to_be(clinic: Care) -> None:
    site = {"name": "Main house", "region": "US-NY", "zone": "America/New_York", "chairs": 3, "active": True}
    (await clinic.call("admin.a", "clinic", "PUT", f"/sites/{SITE}", site, version=0)).ok()
    for wrong in ({"region": "New York"}, {"zone": "Mars/Base"}, {"chairs": -1}):
        answer = await clinic.call("admin.a", "clinic", "PUT", f"/sites/{SITE}", {**site, **wrong}, version=1)
        assert answer.status == 422
    (told,) = await events(clinic, "site-changed")
    assert told["data"] == {"site": SITE, "region": "US-NY", "zone": "America/New_York", "chairs": 3, "active": True}
    listed = await clinic.call("nurse.a", "clinic", "GET", "/sites")
    assert [one["name"] for one in listed.ok()["sites"]] == ["Main house"]
