"""The role table, route by route: what docs/access.md says is tried on every declared route of every service, by every role."""

import secrets
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

import pytest
import pytest_asyncio

from services.cli.access_table import DOCUMENT
from services.cli.catalogue import load_services
from services.runtime.edge.policy import Bearer, OneTimeLink, WebhookSignature, role_is_enough
from services.runtime.edge.principal import Role
from services.runtime.edge.route import Route
from services.runtime.service import Service
from tests.support.asking import ask, example, with_algorithm
from tests.support.care import Care, care
from tests.support.load import NO_BROKER
from tests.support.provider import Provider
from tests.support.servers import Servers

pytestmark = pytest.mark.asyncio

SERVICES = [service.name for service in load_services() if service.routes]

# Whose the records are that the routes for patients are tried on, and who they are not.
IDS = {word: str(uuid5(NAMESPACE_URL, word)) for word in ("patient", "case", "consent", "plan", "visit")}
OWNER, STRANGER, STRANGE = (str(uuid5(NAMESPACE_URL, word)) for word in ("owner", "stranger", "strange patient"))

_FACTS = f"""insert into patient_fact (patient, account, zone, language, region, status, care_team)
    values ('{IDS["patient"]}', '{OWNER}', 'America/New_York', 'en-US', 'US-NY', 'active', '[]'),
           ('{STRANGE}', '{STRANGER}', 'America/New_York', 'en-US', 'US-NY', 'active', '[]')"""
_RECORDS = {
    "consultation": f"""
        insert into patient values ('{IDS["patient"]}', 'Zoe', 'Marlow', 'zoe marlow', '1983-06-09', null, null, '{OWNER}',
                                    'America/New_York', 'en-US', 'US-NY', 'active', '[]', null, 1);
        insert into care_case values ('{IDS["case"]}', '{IDS["patient"]}', 'ketamine', clinic_now(), 'nurse', 'open', 1);
        insert into consent values ('{IDS["consent"]}', '{IDS["case"]}', '3', 'on-screen', clinic_now(), '{OWNER}', '{OWNER}',
                                    null, null, 1)""",
    "treatment_planning": f"""
        insert into case_fact (care_case, patient, therapy) values ('{IDS["case"]}', '{IDS["patient"]}', 'ketamine');
        insert into plan values ('{IDS["plan"]}', '{IDS["case"]}', '{IDS["patient"]}', 'ketamine', 'draft', null, 0, null,
                                 null, 1)""",
    "video_visits": f"""
        insert into visit (id, patient, clinician, starts_at, zone, minutes, by_video, state, version)
        values ('{IDS["visit"]}', '{IDS["patient"]}', '{STRANGE}', clinic_now() + interval '1 day', 'America/New_York', 45,
                false, 'scheduled', 1)""",
}


Table = Mapping[tuple[str, str], frozenset[Role]]


def _table(service: str) -> Table:
    """What the document says: who may ask, by method and path."""
    section = DOCUMENT.read_text(encoding="utf-8").split(f"\n## {service}\n")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("|")]
    roles = [Role(name) for name in rows[0][1:-1]]
    assert set(roles) == set(Role)
    found = {}
    for row in rows[2:]:
        method, path = row[0].strip("`").split(" ")
        found[method, path] = frozenset(role for role, mark in zip(roles, row[1:-1], strict=True) if mark == "x")
    return found


def _person(role: Role) -> str:
    return str(uuid5(NAMESPACE_URL, role))


@pytest_asyncio.fixture
async def everybody(servers: Servers, tmp_path: Path) -> AsyncIterator[Care]:
    async with care(servers, tmp_path) as made:
        yield made


async def _spawned(everybody: Care, name: str) -> tuple[Service, str]:
    """One process of a service that hears and tells nothing, over a patient with their records, and another patient."""
    service = everybody.services[name]
    async with everybody.owner(service.schema) as connection:
        if await connection.fetchval("select to_regclass('patient_fact') is not null"):
            await connection.execute(_FACTS)
        if name in _RECORDS:
            await connection.execute(_RECORDS[name])
    await everybody.spawn(name, **NO_BROKER, TELEMED_AUDIT_PUBLISH_S="3600")
    return service, everybody.running[name].url


async def _contents(everybody: Care, service: Service) -> Mapping[str, str]:
    """A digest of every table of a service but the audit's."""
    found = {}
    async with everybody.owner(service.schema) as connection:
        for row in await connection.fetch("select tablename from pg_tables where schemaname = $1", service.schema):
            if row[0] not in ("audit", "audit_seal"):
                query = f"select md5(coalesce(string_agg(t::text, ' ' order by t::text), '')) from {row[0]} t"
                found[row[0]] = await connection.fetchval(query)
    return found


async def _ask(url: str, route: Route, token: Mapping[str, str]) -> tuple[int, str]:
    headers = {"Idempotency-Key": secrets.token_hex(8), "If-Match": '"0"', **token}
    return await ask(url, route, headers, example(route), IDS)


def _routes(service: Service) -> list[tuple[Route, Bearer]]:
    return [(route, route.policy) for route in service.routes if isinstance(route.policy, Bearer)]


@pytest.mark.parametrize("name", SERVICES)
async def test_every_route_asks_who_comes_and_lets_in_whom_the_table_names(everybody: Care, name: str) -> None:
    service, url = await _spawned(everybody, name)
    table = _table(name)
    assert table.keys() == {(route.method, route.path_template) for route in service.routes}
    before = await _contents(everybody, service)
    await _nobody_without_a_good_token(everybody.provider, service, url)
    refused = [
        *await _no_other_role(everybody.provider, service, url, table),
        *await _nobody_elses_record(everybody.provider, service, url),
    ]
    query = "select actor, action, reason from audit where action like '%:refused' and reason = any($1) order by id"
    assert [tuple(row) for row in await everybody.rows(name, query, ["role", "relationship"])] == refused
    assert await _contents(everybody, service) == before
    await _their_own_record(everybody.provider, service, url)
    await _the_roles_of_the_table(everybody.provider, service, url, table)
    # Whoever is refused their own record was tried on one that is not there: plant it above.
    assert not await everybody.rows(name, "select action from audit where action like '%:refused' and actor = $1", OWNER)
    assert len(await everybody.rows(name, query, ["role"])) == len([row for row in refused if row[2] == "role"])


async def _nobody_without_a_good_token(issuer: Provider, service: Service, url: str) -> None:
    now = int(time.time())
    strangers = [
        {},
        issuer.bearer("nurse.a", Role.NURSE, exp=now - 600),
        issuer.bearer("nurse.a", Role.NURSE, aud="another"),
        issuer.bearer("nurse.a", Role.NURSE, iss="https://elsewhere.test"),
        issuer.bearer("nurse.a", Role.NURSE, header={"kid": "unknown"}),
        issuer.bearer("nurse.a", Role.NURSE, person="a\x00b"),  # PostgreSQL has no such text
        *(with_algorithm(issuer.bearer("nurse.a", Role.NURSE), algorithm) for algorithm in ("none", "HS256")),
    ]
    for route in service.routes:
        if isinstance(route.policy, Bearer | OneTimeLink | WebhookSignature):
            for stranger in strangers:
                assert (await _ask(url, route, stranger))[0] == 401, (route.name, stranger)


async def _no_other_role(issuer: Provider, service: Service, url: str, table: Table) -> list[tuple[str, str, str]]:
    """Returns the audit rows that there must be."""
    refused = []
    for route, _ in _routes(service):
        for role in sorted(set(Role) - table[route.method, route.path_template]):
            header = issuer.bearer(f"{role}.x", role, person=_person(role))
            assert await _ask(url, route, header) == (403, "forbidden"), (route.name, role)
            refused.append((_person(role), f"{route.audit}:refused", "role"))
    return refused


async def _the_roles_of_the_table(issuer: Provider, service: Service, url: str, table: Table) -> None:
    for route, _ in _routes(service):
        for role in table[route.method, route.path_template]:
            status, code = await _ask(url, route, issuer.bearer(f"{role}.x", role, person=_person(role)))
            assert status < 500, (route.name, role, code)
            # A decision may have a 403 of its own ("not-your-way-to-consent"); this one is the role's.
            assert code not in ("unauthenticated", "forbidden"), (route.name, role)


async def _nobody_elses_record(issuer: Provider, service: Service, url: str) -> list[tuple[str, str, str]]:
    """Returns the audit rows that there must be."""
    for route in _for_patients(service):
        header = issuer.bearer("stranger", Role.PATIENT, person=STRANGER)
        assert await _ask(url, route, header) == (404, "not-found"), route.name
    return [(STRANGER, f"{route.audit}:refused", "relationship") for route in _for_patients(service)]


async def _their_own_record(issuer: Provider, service: Service, url: str) -> None:
    for route in _for_patients(service):
        status, code = await _ask(url, route, issuer.bearer("owner", Role.PATIENT, person=OWNER))
        assert status < 500, (route.name, code)
        assert code not in ("unauthenticated", "forbidden"), route.name


def _for_patients(service: Service) -> list[Route]:
    return [
        route
        for route, policy in _routes(service)
        if Role.PATIENT in policy.roles and policy.relationship is not role_is_enough
    ]


@pytest.mark.parametrize("name", SERVICES)
async def test_no_route_about_a_patient_is_open_to_strangers_by_role_alone(name: str) -> None:
    """A route that names a patient checks whose record it is; the front desk and auditors are the relationship's business."""
    (service,) = [service for service in load_services() if service.name == name]
    open_to_all = [route.name for route, policy in _routes(service) if policy.relationship is role_is_enough]
    assert not [route.name for route in service.routes if route.name in open_to_all and "{patient}" in route.path_template]
