"""Role by route, out of the declarations: each role, no token, an expired one, one for another audience, on every route."""

import secrets
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from services.runtime.edge.policy import Bearer, role_is_enough
from services.runtime.edge.principal import Role
from services.runtime.edge.route import Route
from tests.support.asking import NOBODY, ask, example, with_algorithm
from tests.support.care import Care, care
from tests.support.ledger.http import ROUTES
from tests.support.load import NO_BROKER
from tests.support.servers import Servers
from tests.support.tokens import bearer
from tests.support.world import World

pytestmark = pytest.mark.asyncio


async def _try(url: str, routes: Iterable[Route], as_role: Any, strangers: Sequence[dict[str, str]]) -> list[str]:
    """What is wrong; a role that may ask is let in as far as the body or the record."""
    wrong = []
    for route in routes:
        if not isinstance(route.policy, Bearer):
            continue
        for stranger in strangers:
            status, _ = await ask(url, route, stranger)
            wrong += [f"{route.name}: {status} for {stranger}"] if status != 401 else []
        for role in Role:
            status, _ = await ask(url, route, as_role(role))
            if (status == 403) != (role not in route.policy.roles) or status in (401, 500):
                wrong.append(f"{route.name}: {status} as {role}")
    return wrong


async def test_every_route_of_the_ledger_asks_who_comes(world: World) -> None:
    ledger = await world.spawn(**NO_BROKER)
    now = int(time.time())
    strangers = [
        {},
        {"Authorization": "Basic bnVyc2U6bnVyc2U="},
        {"Authorization": "Bearer "},
        bearer("nurse.a", exp=now - 60),
        bearer("nurse.a", nbf=now + 60),
        bearer("nurse.a", aud="another"),
        bearer("nurse.a", iss="https://elsewhere.test"),
        *(with_algorithm(bearer("nurse.a"), algorithm) for algorithm in ("none", "HS256")),
    ]
    assert not await _try(ledger.url, ROUTES, lambda role: bearer(f"{role}.x", role), strangers)
    written = "select (select count(*) from entry) + (select count(*) from timer) + (select count(*) from broken_glass)"
    assert await world.value(written) == 0
    refusals = sum(len(set(Role) - route.policy.roles) for route in ROUTES if isinstance(route.policy, Bearer))
    assert await world.value("select count(*) from audit where action like '%:refused' and reason = 'role'") == refusals


# Where a declaration has no example of its own.
_BODIES = {
    "edit_terms": {
        "label": "plain",
        "owner": NOBODY,
        "starts": "2199-01-01T00:00:00Z",
        "ends": "2199-02-01T00:00:00Z",
        "zone": "America/New_York",
        "fee": {"value": "0.50", "unit": "mg/kg"},
        "active": True,
        "units": 1,
    }
}


async def test_on_no_route_of_the_ledger_is_anybody_elses_record_there(world: World) -> None:
    ledger = await world.spawn(**NO_BROKER)
    async with world.owner() as owner:
        await owner.execute("insert into account values ('a1', 5, 1), ('x1', 5, 1)")
    written = "select (select count(*) from entry) + (select count(*) from terms) + (select count(*) from outbox)"
    tried = []
    for route in ROUTES:
        if not isinstance(route.policy, Bearer) or route.policy.relationship is role_is_enough:
            continue
        role = Role.PATIENT if Role.PATIENT in route.policy.roles else Role.NURSE
        headers = {**bearer("stranger.a", role), "Idempotency-Key": secrets.token_hex(8), "If-Match": '"0"'}
        body = _BODIES.get(route.name) or example(route)
        assert await ask(ledger.url, route, headers, body) == (404, "not-found"), route.name
        tried.append(f"{route.audit}:refused")
    assert {"entry.post:refused", "terms.edit:refused", "account.read:refused", "chart.read:refused"} <= set(tried)
    rows = await world.rows("select action from audit where actor = 'stranger.a' and reason = 'relationship' order by id")
    assert [row["action"] for row in rows] == tried
    assert await world.value(written) == 0
    assert await world.value("select count(*) from audit where actor <> 'deployment'") == len(tried)


@pytest_asyncio.fixture
async def everybody(servers: Servers, tmp_path: Path) -> AsyncIterator[Care]:
    async with care(servers, tmp_path) as made:
        yield made


@pytest.mark.parametrize(
    ("issuer", "says"),
    [("", "TELEMED_OIDC_ISSUER: is needed"), ("http://issuer.example.org", "TELEMED_OIDC_ISSUER: must be an https URL")],
)
async def test_a_service_for_people_does_not_start_without_a_provider_it_can_trust(
    everybody: Care, issuer: str, says: str
) -> None:
    with pytest.raises(AssertionError, match="it ended with 1"):
        await everybody.spawn("clinic", TELEMED_OIDC_ISSUER=issuer)
    assert says in everybody.processes[-1].log.read_text()
