"""Role by route, out of the declarations: each role, no token, an expired one, one for another audience, on every route."""

import base64
import json
import re
import secrets
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from pydantic import BaseModel

from services.cli.catalogue import load_services
from services.runtime.edge.policy import Bearer, role_is_enough
from services.runtime.edge.principal import Role
from services.runtime.edge.route import Route
from tests.support.care import Care, care
from tests.support.ledger.http import ROUTES
from tests.support.load import NO_BROKER
from tests.support.servers import Servers
from tests.support.tokens import bearer
from tests.support.world import World

pytestmark = pytest.mark.asyncio
ID = "0192f0a0-0000-7000-8000-000000000001"
SERVICES = [service for service in load_services() if service.routes]


def _url(route: Route) -> str:
    """The route's address with parameters that are well-formed and name nothing."""

    def sample(match: re.Match[str]) -> str:
        schema = _field(route.path, match[1])
        return ID if schema.get("format") == "uuid" else str((schema.get("examples") or schema.get("enum") or ["x1"])[0])

    return re.sub(r"{([a-z_]+)}", sample, route.path_template)


def _field(model: type[BaseModel], name: str) -> dict[str, Any]:
    schema: dict[str, Any] = model.model_json_schema()
    found: dict[str, Any] = schema["properties"][name]
    return schema["$defs"][found["$ref"].rpartition("/")[2]] if "$ref" in found else found


async def _ask(url: str, route: Route, headers: dict[str, str], body: object = None) -> int:
    async with aiohttp.request(route.method, url + _url(route), headers=headers, json=body) as response:
        return response.status


def _with_algorithm(header: dict[str, str], algorithm: str) -> dict[str, str]:
    """A good token whose head claims another algorithm."""
    head, payload, signature = header["Authorization"].removeprefix("Bearer ").split(".")
    claimed = {**json.loads(base64.urlsafe_b64decode(head + "==")), "alg": algorithm}
    head = base64.urlsafe_b64encode(json.dumps(claimed).encode()).decode().rstrip("=")
    return {"Authorization": f"Bearer {head}.{payload}.{'' if algorithm == 'none' else signature}"}


async def _try(url: str, routes: Iterable[Route], as_role: Any, strangers: Sequence[dict[str, str]]) -> list[str]:
    """What is wrong; a role that may ask is let in as far as the body or the record."""
    wrong = []
    for route in routes:
        if not isinstance(route.policy, Bearer):
            continue
        for stranger in strangers:
            status = await _ask(url, route, stranger)
            wrong += [f"{route.name}: {status} for {stranger}"] if status != 401 else []
        for role in Role:
            status = await _ask(url, route, as_role(role))
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
        *(_with_algorithm(bearer("nurse.a"), algorithm) for algorithm in ("none", "HS256")),
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
        "owner": ID,
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
        body = _BODIES.get(route.name) or next((one.request for one in route.examples if one.request), None)
        assert await _ask(ledger.url, route, headers, body) == 404, route.name
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


@pytest.mark.parametrize("name", [service.name for service in SERVICES])
async def test_every_route_of_a_service_asks_who_comes(everybody: Care, name: str) -> None:
    await everybody.spawn(name)
    issuer, now = everybody.provider, int(time.time())
    strangers = [
        {},
        issuer.bearer("nurse.a", Role.NURSE, exp=now - 600),
        issuer.bearer("nurse.a", Role.NURSE, aud="another"),
        issuer.bearer("nurse.a", Role.NURSE, iss="https://elsewhere.test"),
        issuer.bearer("nurse.a", Role.NURSE, header={"kid": "unknown"}),
        issuer.bearer("nurse.a", Role.NURSE, person="a\x00b"),  # PostgreSQL has no such text
        *(_with_algorithm(issuer.bearer("nurse.a", Role.NURSE), algorithm) for algorithm in ("none", "HS256")),
    ]
    routes = everybody.services[name].routes
    url = everybody.running[name].url
    assert not await _try(url, routes, lambda role: issuer.bearer(f"{role}.x", role, person=ID), strangers)


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


@pytest.mark.parametrize("name", [service.name for service in SERVICES])
async def test_no_route_about_a_patient_is_open_to_strangers_by_role_alone(name: str) -> None:
    """A route that names a patient checks whose record it is; the front desk and auditors are the relationship's business."""
    (service,) = [service for service in SERVICES if service.name == name]
    by_role_alone = [
        route.name
        for route in service.routes
        if isinstance(route.policy, Bearer)
        and route.policy.relationship.__name__ == "role_is_enough"
        and "{patient}" in route.path_template
    ]
    assert not by_role_alone
