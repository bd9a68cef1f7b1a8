"""Webhooks, one-time links, the board's origin and traces: over HTTP, against the ledger."""

import asyncio
import base64
import hashlib
import hmac
import json
import time

import aiohttp
import pytest

from services.runtime.edge.audit import ReadAudit
from services.runtime.messaging.changes import AuditEntry
from services.runtime.serve import build
from tests.support import leaks
from tests.support.attacks import attack
from tests.support.ledger.app import SERVICE
from tests.support.ledger.http import LINK, WEBHOOK_SECRET
from tests.support.load import NO_BROKER
from tests.support.tokens import bearer
from tests.support.world import World

pytestmark = pytest.mark.asyncio

BOARD = "http://board.test:8080"
JSON = {"Content-Type": "application/json"}


def _signed(body: bytes, *, age_s: int = 0, id_: str = "call-1", secret: bytes = WEBHOOK_SECRET) -> dict[str, str]:
    sent = str(int(time.time()) - age_s)
    mark = hmac.digest(secret, f"{id_}.{sent}.".encode() + body, hashlib.sha256)
    return {**JSON, "webhook-id": id_, "webhook-timestamp": sent, "webhook-signature": "v1," + base64.b64encode(mark).decode()}


@attack(68, 69)
async def test_signatures_links_and_origins_are_checked_and_used_once(world: World) -> None:
    ledger = await world.spawn(**NO_BROKER, TELEMED_HTTP_BOARD_ORIGIN=BOARD)
    async with aiohttp.ClientSession(ledger.url) as session:

        async def post(path: str, body: bytes | None, headers: dict[str, str]) -> int:
            async with session.post(path, data=body, headers=headers) as response:
                return response.status

        call = json.dumps({"id": "c1", "account": "a1"}).encode()
        assert await post("/webhooks/platform", call, JSON) == 401
        assert await post("/webhooks/platform", call + b" ", _signed(call)) == 401
        for age_s in (3600, -3600):
            assert await post("/webhooks/platform", call, _signed(call, age_s=age_s)) == 401
        # The same document written anew, another key, another id or no known scheme under a good signature.
        assert await post("/webhooks/platform", json.dumps(json.loads(call), indent=1).encode(), _signed(call)) == 401
        assert await post("/webhooks/platform", call, _signed(call, secret=b"of-somebody-else")) == 401
        assert await post("/webhooks/platform", call, {**_signed(call), "webhook-id": "call-2"}) == 401
        good, bad = _signed(call), _signed(call, secret=b"of-somebody-else")["webhook-signature"]
        assert await post("/webhooks/platform", call, {**good, "webhook-signature": bad.replace("v1,", "v2,")}) == 401
        assert await world.value("select count(*) from fired") == 0
        # Two signatures while keys are changed: one of them must fit.
        both = f"{bad} {good['webhook-signature']}"
        assert await post("/webhooks/platform", call, {**good, "webhook-signature": both}) == 200
        assert [await post("/webhooks/platform", call, _signed(call)) for _ in range(3)] == [200, 200, 200]
        assert await world.value("select count(*) from fired where dedupe_key = 'called:c1'") == 1
        assert await post("/links", None, {"Authorization": "Link nothing"}) == 401
        assert [await post("/links", None, {"Authorization": f"Link {LINK}"}) for _ in range(2)] == [200, 401]

        asks = {"Access-Control-Request-Method": "POST"}
        for origin, status in ((BOARD, 204), (BOARD + ".evil.test", 403), ("null", 403)):
            async with session.options("/entries", headers={**asks, "Origin": origin}) as response:
                assert response.status == status
                assert response.headers.get("Access-Control-Allow-Origin") == (BOARD if status == 204 else None)

        request_id = "0af76519-16cd-43dd-8448-eb211c80319c"
        parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        named = {**bearer(), "traceparent": parent, "X-Request-Id": request_id}
        async with session.get("/accounts", headers=named) as response:
            assert response.status == 200
            assert response.headers["X-Request-Id"] == request_id
            assert response.headers["traceparent"].split("-")[1] == parent.split("-")[1]
        async with session.get("/docs") as response:
            assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")
        async with session.get("/openapi.json") as response:
            assert (await response.json())["openapi"] == "3.1.0"
    secrets = [LINK, _signed(call)["webhook-signature"], named["Authorization"]]
    assert leaks.leaks(secrets, {**leaks.logs(world), **await leaks.metrics(world)}) == []


async def test_a_reader_that_asks_again_at_once_is_written_down_again(world: World) -> None:
    """In the very moment in which its first row is there the writer has nobody left: the second must not wait for that one."""
    runtime = build(SERVICE, world.settings())
    await runtime.database.open()
    try:
        audit = ReadAudit(runtime.database, runtime.unit_of_work)
        async with asyncio.timeout(60):
            for number in range(5):
                await audit.record(AuditEntry("nurse.a", "chart.read", f"chart/{number}"))
        assert await world.value("select count(*) from audit where action = 'chart.read'") == 5
    finally:
        await runtime.database.close()
