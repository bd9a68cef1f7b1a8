"""What must stay inside does stay inside: free text and names of persons, through the edge, the bus, the logs and the mails."""

import aiohttp
import pytest

from tests.support import leaks
from tests.support.tokens import token
from tests.support.waiting import eventually
from tests.support.world import World

pytestmark = pytest.mark.asyncio

LABEL, PERSON, POSTED = "Zoë Canary, born 7351", "nurse.canary-7351", 'Padding "canary" 7351'


async def test_free_text_and_persons_stay_in_their_tables_and_the_scan_sees_what_does_go_out(world: World) -> None:
    ledger = await world.spawn()
    text = token(PERSON)
    headers = {"Authorization": f"Bearer {text}", "User-Agent": PERSON, "X-Request-Id": "canary-7351"}
    terms = {
        "label": LABEL, "owner": "0192f0a0-0000-7000-8000-000000000001", "starts": "2199-01-01T00:00:00Z", "units": 1,
        "ends": "2199-02-01T00:00:00Z", "zone": "UTC", "fee": {"value": "1", "unit": "mg"}, "active": True,
    }  # fmt: skip
    async with aiohttp.ClientSession(ledger.url, headers=headers) as session:
        entry = {"account": "a1", "entry": "e1", "amount": 1, "padding": POSTED, "page": True}
        async with session.post("/entries", json=entry, headers={"Idempotency-Key": "k1"}) as answer:
            assert answer.status == 201
        async with session.put("/accounts/a1/terms", json=terms, headers={"If-Match": '"0"'}) as answer:
            assert answer.status == 200
        async with session.get("/accounts", params={"sort": LABEL}) as answer:
            assert answer.status == 400
        async with session.get("/accounts/" + LABEL) as answer:
            assert answer.status == 404
    await world.settled(1)

    async def told() -> bool:
        return any(b"ledger.flagged" in mail for mail in leaks.mails(world).values())

    await eventually(told, what="somebody was called by mail")
    said = {**leaks.logs(world), **await leaks.metrics(world), **leaks.mails(world)}
    bus = await leaks.topics(world)
    await leaks.assert_kept(world, [LABEL, PERSON], {**said, **bus})
    assert "terms" in await leaks.owners(world, LABEL)
    assert "audit" in await leaks.owners(world, PERSON)
    # The test ledger's own event carries a free text, which no product's event may: so the scan of the bus can fail.
    await leaks.assert_kept(world, [POSTED], said)
    assert leaks.leaks([POSTED], bus)
    # A token is nobody's row, and stands nowhere.
    assert leaks.leaks([text, text.rpartition(".")[2]], {**said, **bus}) == []
    with pytest.raises(AssertionError, match="sits in no table"):
        await leaks.assert_kept(world, ["a-canary-that-nobody-keeps"], said)
