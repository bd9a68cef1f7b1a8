"""Signatures and broken glass: over HTTP, against the ledger."""

import json
import time
from typing import Any

import aiohttp
import pytest

from services.runtime.edge.principal import Role
from tests.support.load import NO_BROKER
from tests.support.tokens import bearer
from tests.support.waiting import eventually
from tests.support.world import Process, World

pytestmark = pytest.mark.asyncio

PATIENT = "0192f0a0-0000-7000-8000-000000000001"
OTHER = "0192f0a0-0000-7000-8000-000000000002"
TERMS: dict[str, Any] = {
    "label": "plain",
    "owner": PATIENT,
    "starts": "2199-01-01T00:00:00Z",
    "ends": "2199-02-01T00:00:00Z",
    "zone": "America/New_York",
    "fee": {"value": "0.50", "unit": "mg/kg"},
    "active": True,
    "units": 1,
}


async def call(ledger: Process, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
    given = {"Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    data = None if body is None else json.dumps(body)
    async with aiohttp.request(method, ledger.url + path, data=data, headers=given) as response:
        text = await response.text()
        return response.status, json.loads(text) if text else None


async def test_a_signature_needs_a_fresh_sign_in_and_what_was_shown(world: World) -> None:
    ledger = await world.spawn(**NO_BROKER)
    now = int(time.time())
    fresh = bearer("nurse.a", auth_time=now)
    entry = {"account": "a1", "entry": "e1", "amount": 1}
    assert (await call(ledger, "POST", "/entries", entry, **fresh, Idempotency_Key="key-0001"))[0] == 201
    assert (await call(ledger, "PUT", "/accounts/a1/terms", TERMS, **fresh, If_Match='"0"'))[0] == 200
    _, shown = await call(ledger, "GET", "/accounts/a1/terms", **fresh)
    path, wanted = "/accounts/a1/terms/signatures", {"meaning": "agreed", "licence": "NY-1", "shown": shown["shown"]}

    async def attempt(key: str, signature: dict[str, str], headers: dict[str, str]) -> tuple[int, str]:
        status, body = await call(ledger, "POST", path, {"signature": signature}, **headers, Idempotency_Key=key)
        return status, body.get("code", "")

    for key, auth_time in (("key-old1", now - 301), ("key-futu", now + 600)):
        assert await attempt(key, wanted, bearer("nurse.a", auth_time=auth_time)) == (403, "sign-in-again")
    assert await attempt("key-none", wanted, bearer("nurse.a")) == (403, "sign-in-again")
    assert await attempt("key-hash", {**wanted, "shown": "0" * 64}, fresh) == (409, "not-what-was-shown")
    assert await world.value("select count(*) from signature") == 0

    # Somebody edits between showing and signing: what was seen is no longer what would be signed.
    changed = {**TERMS, "fee": {"value": "0.75", "unit": "mg/kg"}}
    assert (await call(ledger, "PUT", "/accounts/a1/terms", changed, **fresh, If_Match='"1"'))[0] == 200
    assert await attempt("key-late", wanted, fresh) == (409, "not-what-was-shown")
    _, shown = await call(ledger, "GET", "/accounts/a1/terms", **fresh)
    wanted["shown"] = shown["shown"]
    assert [await attempt("key-sign", wanted, fresh) for _ in range(2)] == [(201, "")] * 2
    (row,) = await world.rows("select * from signature")
    assert (row["signer"], row["version"], row["meaning"], row["licence"]) == ("nurse.a", 2, "agreed", "NY-1")
    assert row["shown_hash"].hex() == shown["shown"]


async def test_broken_glass_opens_one_record_briefly_and_calls_somebody(world: World) -> None:
    ledger = await world.spawn()
    nurse = bearer("nurse.a")
    reason = "zoe-canary-7351 is unconscious in the waiting room"
    wanted = {"patient": PATIENT, "reason": reason, "minutes": 30}

    async def chart(patient: str, headers: dict[str, str]) -> int:
        return (await call(ledger, "GET", f"/charts/{patient}", **headers))[0]

    assert await chart(PATIENT, nurse) == 404
    for refused in (bearer("p", Role.PATIENT), bearer("auditor.a", Role.AUDITOR)):
        assert (await call(ledger, "POST", "/break-glass", wanted, **refused, Idempotency_Key="key-0001"))[0] == 403
    for wrong in ({"reason": "short"}, {"minutes": 61}, {"minutes": 0}):
        status, _ = await call(ledger, "POST", "/break-glass", {**wanted, **wrong}, **nurse, Idempotency_Key="key-0002")
        assert status == 422
    assert await world.value("select count(*) from broken_glass") == 0

    status, granted = await call(ledger, "POST", "/break-glass", wanted, **nurse, Idempotency_Key="key-0003")
    assert status == 201
    assert await chart(PATIENT, nurse) == 200
    assert await chart(OTHER, nurse) == 404, "another patient's record stays shut"
    assert await chart(PATIENT, bearer("nurse.b")) == 404, "and for anybody else"
    assert await chart(PATIENT, bearer("nurse.a", Role.AUDITOR)) == 403, "a grant never widens a role"

    rows = await world.rows("select action, policy from audit where actor = 'nurse.a' order by id")
    actions = [row["action"] for row in rows]
    assert actions.count("glass.break") == 1
    assert actions.count("chart.read") == 1
    assert actions.count("chart.read:refused") == 3
    (opened,) = [row["policy"] for row in rows if row["action"] == "chart.read"]
    assert opened == f"Bearer: nurse; broken-glass {granted['grant']}", "who reads the audit sees that the glass was broken"

    async def paged() -> list[str]:
        page = await world.value("select id from page where code = 'edge.glass-broken'")
        return world.servers.mail.raw(str(page)) if page else []

    (mail,) = await eventually(paged, what="the clinic's lead is paged")
    assert "zoe-canary" not in mail
    assert PATIENT not in mail

    await world.advance(86_400)
    assert await chart(PATIENT, nurse) == 200, "half an hour of real time, whatever the clinic's clock is moved to"
    async with world.owner() as owner:
        await owner.execute("update broken_glass set expires_at = clock_timestamp()")
    assert await chart(PATIENT, nurse) == 404, "it has expired"
