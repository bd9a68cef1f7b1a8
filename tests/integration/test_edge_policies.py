"""Webhooks, one-time links, the board's origin and traces: over HTTP, against the ledger."""

import base64
import hashlib
import hmac
import json
import time

import aiohttp
import pytest

from tests.support.ledger.http import LINK, WEBHOOK_SECRET
from tests.support.load import NO_BROKER
from tests.support.tokens import bearer
from tests.support.world import World

pytestmark = pytest.mark.asyncio

BOARD = "http://board.test:8080"
JSON = {"Content-Type": "application/json"}


def _signed(body: bytes, *, age_s: int = 0, id_: str = "call-1") -> dict[str, str]:
    sent = str(int(time.time()) - age_s)
    mark = hmac.digest(WEBHOOK_SECRET, f"{id_}.{sent}.".encode() + body, hashlib.sha256)
    return {**JSON, "webhook-id": id_, "webhook-timestamp": sent, "webhook-signature": "v1," + base64.b64encode(mark).decode()}


async def test_signatures_links_and_origins_are_checked_and_used_once(world: World) -> None:
    ledger = await world.spawn(**NO_BROKER, TELEMED_HTTP_BOARD_ORIGIN=BOARD)
    async with aiohttp.ClientSession(ledger.url) as session:

        async def post(path: str, body: bytes | None, headers: dict[str, str]) -> int:
            async with session.post(path, data=body, headers=headers) as response:
                return response.status

        call = json.dumps({"id": "c1", "account": "a1"}).encode()
        assert await post("/webhooks/platform", call, JSON) == 401
        assert await post("/webhooks/platform", call + b" ", _signed(call)) == 401
        assert await post("/webhooks/platform", call, _signed(call, age_s=3600)) == 401
        assert [await post("/webhooks/platform", call, _signed(call)) for _ in range(3)] == [200, 200, 200]
        assert await world.value("select count(*) from fired where dedupe_key = 'called:c1'") == 1
        assert await post("/links", None, {"Authorization": "Link nothing"}) == 401
        assert [await post("/links", None, {"Authorization": f"Link {LINK}"}) for _ in range(2)] == [200, 401]

        asks = {"Access-Control-Request-Method": "POST"}
        for origin, status in ((BOARD, 204), (BOARD + ".evil.test", 403), ("null", 403)):
            async with session.options("/entries", headers={**asks, "Origin": origin}) as response:
                assert response.status == status
                assert response.headers.get("Access-Control-Allow-Origin") == (BOARD if status == 204 else None)

        parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        named = {**bearer(), "traceparent": parent, "X-Request-Id": "request-1234"}
        async with session.get("/accounts", headers=named) as response:
            assert response.status == 200
            assert response.headers["X-Request-Id"] == "request-1234"
            assert response.headers["traceparent"].split("-")[1] == parent.split("-")[1]
        async with session.get("/docs") as response:
            assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")
        async with session.get("/openapi.json") as response:
            assert (await response.json())["openapi"] == "3.1.0"
