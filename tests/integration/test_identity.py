"""Bearer tokens against a provider's keys: what is let in, what is not, and what happens when the provider is not itself."""

import asyncio
import base64
import hmac
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import jwt
import pytest
import pytest_asyncio
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.runtime.database import Unavailable
from services.runtime.edge.identity import Oidc
from services.runtime.edge.principal import Principal, Role, Unauthenticated
from services.runtime.settings import OidcSettings, SettingsError
from tests.support.provider import Provider, provider
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio
PERSON = "018f0000-0000-7000-8000-0000000000b1"


@pytest_asyncio.fixture
async def issuer() -> AsyncIterator[Provider]:
    async with provider() as made:
        yield made


@pytest_asyncio.fixture
async def oidc(issuer: Provider) -> AsyncIterator[Oidc]:
    made = Oidc(OidcSettings(issuer=issuer.url, unknown_key_s=60), production=False)
    yield made
    await made.close()


async def refused(oidc: Oidc, token: str) -> str:
    with pytest.raises(Unauthenticated) as error:
        await oidc(token)
    return error.value.code


def _b64(document: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")


async def test_a_good_token_says_who_somebody_is(oidc: Oidc, issuer: Provider) -> None:
    at, ends = (int(time.time()) + seconds for seconds in (-100, 900))
    who = await oidc(issuer.token("nurse.a", Role.NURSE, person=PERSON, auth_time=at, exp=ends))
    instants = (datetime.fromtimestamp(at, UTC), datetime.fromtimestamp(ends, UTC))
    assert who == Principal(issuer.url, "nurse.a", "tests", frozenset({Role.NURSE}), PERSON, *instants)


async def test_a_role_that_we_do_not_know_gives_nothing(oidc: Oidc, issuer: Provider) -> None:
    who = await oidc(issuer.token("nurse.a", roles=["nurse", "superuser", 7]))
    assert who.roles == {Role.NURSE}


HOUR = 3600


@pytest.mark.parametrize(("claim", "from_now"), [("exp", -HOUR), ("nbf", HOUR), ("iat", HOUR)])
async def test_a_token_out_of_its_time_is_refused(oidc: Oidc, issuer: Provider, claim: str, from_now: int) -> None:
    claims: dict[str, Any] = {claim: int(time.time()) + from_now}
    assert await refused(oidc, issuer.token("nurse.a", Role.NURSE, **claims)) == "token-expired"


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"exp": None}, "token-not-verifiable"),
        ({"exp": "soon"}, "token-not-verifiable"),
        ({"exp": 1e400}, "token-not-verifiable"),
        ({"aud": "another"}, "token-for-another"),
        ({"aud": ["another", "third"]}, "token-for-another"),
        ({"aud": None}, "token-not-verifiable"),
        ({"iss": "https://elsewhere.test"}, "token-for-another"),
        ({"sub": None}, "token-not-verifiable"),
        ({"sub": ""}, "token-malformed"),
        ({"sub": "x" * 300}, "token-malformed"),
        ({"person": 7}, "token-malformed"),
        ({"person": "a\x00b"}, "token-malformed"),
        ({"sub": "\ud800"}, "token-malformed"),
        ({"azp": "a\nb"}, "token-malformed"),
        ({"azp": ["a"]}, "token-malformed"),
        ({"roles": "nurse"}, "token-malformed"),
    ],
    ids=lambda value: json.dumps(value, default=str)[:40],
)
async def test_claims_that_are_not_for_us_are_refused(oidc: Oidc, issuer: Provider, claims: dict[str, Any], code: str) -> None:
    assert await refused(oidc, issuer.token("nurse.a", Role.NURSE, **claims)) == code


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ({"typ": "JWT"}, ""),
        ({"typ": "application/at+jwt"}, ""),
        ({"typ": "id+jwt"}, "token-not-verifiable"),
        ({"typ": None}, "token-not-verifiable"),
        ({"crit": ["exp"]}, "token-malformed"),
        ({"kid": "../../etc/passwd"}, "token-key-unknown"),
        ({"kid": "x" * 201}, "token-not-verifiable"),
        ({"jku": "http://127.0.0.1:1/keys"}, ""),
    ],
    ids=lambda value: json.dumps(value)[:40],
)
async def test_a_header_is_looked_up_never_followed(oidc: Oidc, issuer: Provider, header: dict[str, Any], code: str) -> None:
    token = issuer.token("nurse.a", Role.NURSE, header=header)
    if code:
        assert await refused(oidc, token) == code
    else:
        assert (await oidc(token)).subject == "nurse.a"


async def test_no_algorithm_but_those_on_the_list_and_none_that_does_not_fit_the_key(oidc: Oidc, issuer: Provider) -> None:
    good = issuer.token("nurse.a", Role.NURSE)
    _, payload, signature = good.split(".")
    for algorithm in ("none", "HS256", "RS256", "PS256", "ES256", "EdDSA "):
        head = _b64({"alg": algorithm, "typ": "at+jwt", "kid": "k1"})
        assert await refused(oidc, f"{head}.{payload}.{signature}") == "token-not-verifiable", algorithm
        assert await refused(oidc, f"{head}.{payload}.") in ("token-not-verifiable", "token-malformed"), algorithm
    # The oldest confusion: the public key taken for a shared secret.
    public = issuer.keys["k1"].public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    head = _b64({"alg": "HS256", "typ": "at+jwt", "kid": "k1"})
    mac = base64.urlsafe_b64encode(hmac.digest(public, f"{head}.{payload}".encode(), "sha256")).decode().rstrip("=")
    assert await refused(oidc, f"{head}.{payload}.{mac}") == "token-not-verifiable"


async def test_the_list_of_algorithms_holds_where_the_key_would_do(issuer: Provider) -> None:
    """An RSA key that names no algorithm verifies PS256 as well as RS256: the list alone decides."""
    key = rsa.generate_private_key(65537, 2048)
    issuer.answer = web.json_response(
        {"keys": [{**jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": "rsa"}]}
    )
    claims = {"iss": issuer.url, "aud": "telemed", "sub": "a", "exp": int(time.time()) + 60}
    token = jwt.encode(claims, key, "PS256", headers={"typ": "at+jwt", "kid": "rsa"})
    narrow = Oidc(OidcSettings(issuer=issuer.url, algorithms=("RS256",)), production=False)
    wide = Oidc(OidcSettings(issuer=issuer.url, algorithms=("PS256",)), production=False)
    try:
        assert (await wide(token)).subject == "a"
        assert await refused(narrow, token) == "token-not-verifiable"
        _, payload, signature = token.split(".")
        for algorithm in ("none", "HS256"):
            head = _b64({"alg": algorithm, "typ": "at+jwt", "kid": "rsa"})
            assert await refused(wide, f"{head}.{payload}.{signature}") == "token-not-verifiable"
    finally:
        await narrow.close()
        await wide.close()


async def test_a_token_signed_by_another_key_or_changed_afterwards_is_refused(oidc: Oidc, issuer: Provider) -> None:
    good = issuer.token("nurse.a", Role.NURSE)
    head, payload, signature = good.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    assert await refused(oidc, f"{head}.{_b64({**claims, 'roles': ['admin']})}.{signature}") == "token-not-verifiable"
    forged = jwt.encode(claims, Ed25519PrivateKey.generate(), "EdDSA", headers={"typ": "at+jwt", "kid": "k1"})
    assert await refused(oidc, forged) == "token-not-verifiable"


@pytest.mark.parametrize("token", ["", ".", "..", "a.b.c", "é.é.é", "{}" * 10, "x" * 9000, "a" * 4000 + "." * 4000])
async def test_what_is_no_token_is_refused_and_asks_nobody(oidc: Oidc, issuer: Provider, token: str) -> None:
    assert await refused(oidc, token) == "token-malformed"
    assert issuer.asked == 0


async def test_other_kinds_of_keys_work_and_weak_ones_do_not(issuer: Provider) -> None:
    curve, strong = ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505 - that it is weak is the point
    published = [
        {**jwt.algorithms.ECAlgorithm.to_jwk(curve.public_key(), as_dict=True), "kid": "ec"},
        {**jwt.algorithms.RSAAlgorithm.to_jwk(strong.public_key(), as_dict=True), "kid": "rsa"},
        {**jwt.algorithms.RSAAlgorithm.to_jwk(weak.public_key(), as_dict=True), "kid": "weak"},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "shared"},
        {"kty": "what", "kid": "odd"},
        {"kty": "RSA", "alg": [], "kid": "listed"},
        "no key at all",
    ]
    issuer.answer = web.json_response({"keys": published})
    oidc = Oidc(OidcSettings(issuer=issuer.url), production=False)
    now = int(time.time())
    claims = {"iss": issuer.url, "aud": "telemed", "sub": "a", "exp": now + 60, "roles": []}
    try:
        for kid, key, algorithm in (("ec", curve, "ES256"), ("rsa", strong, "RS256")):
            token = jwt.encode(claims, key, algorithm, headers={"typ": "at+jwt", "kid": kid})
            assert (await oidc(token)).subject == "a"
        for kid in ("weak", "shared", "odd"):
            token = jwt.encode(claims, strong, "RS256", headers={"typ": "at+jwt", "kid": kid})
            assert await refused(oidc, token) in ("token-not-verifiable", "token-key-unknown")
    finally:
        await oidc.close()


async def test_a_rotated_key_is_asked_for_once(oidc: Oidc, issuer: Provider) -> None:
    await oidc(issuer.token("nurse.a", Role.NURSE))
    assert issuer.asked == 1
    issuer.keys["k2"] = Ed25519PrivateKey.generate()
    token = issuer.token("nurse.a", Role.NURSE, kid="k2")
    # Whoever comes while the question is under way waits for its answer.
    found = await asyncio.gather(*(oidc(token) for _ in range(20)))
    assert {one.subject for one in found} == {"nurse.a"}
    assert issuer.asked == 2


async def test_a_flood_of_made_up_keys_asks_the_provider_once(oidc: Oidc, issuer: Provider) -> None:
    await oidc(issuer.token("nurse.a", Role.NURSE))
    for number in range(50):
        code = await refused(oidc, issuer.token("nurse.a", Role.NURSE, header={"kid": f"made-up-{number}"}))
        assert code == "token-key-unknown"
    assert issuer.asked == 2


async def test_many_first_requests_ask_once(oidc: Oidc, issuer: Provider) -> None:
    await asyncio.gather(*(oidc(issuer.token("nurse.a", Role.NURSE)) for _ in range(30)))
    assert issuer.asked == 1


async def test_while_the_provider_is_down_known_keys_hold_for_a_bounded_time(issuer: Provider) -> None:
    oidc = Oidc(OidcSettings(issuer=issuer.url, refresh_s=0.05, stale_s=1.5), production=False)
    token = issuer.token("nurse.a", Role.NURSE)
    try:
        await oidc(token)
        issuer.answer = web.Response(status=500)
        await asyncio.sleep(0.1)
        assert (await oidc(token)).subject == "nurse.a"

        async def closed() -> bool:
            try:
                await oidc(token)
            except Unavailable:
                return True
            return False

        await eventually(closed, within_s=10, what="keys that are too old are not used")
        issuer.answer = None

        async def open_again() -> bool:
            return not await closed()

        await eventually(open_again, within_s=10, what="it is asked again, and answers")
    finally:
        await oidc.close()


@pytest.mark.parametrize(
    "answer",
    [
        web.Response(status=404),
        web.Response(status=302, headers={"Location": "/.well-known/openid-configuration"}),
        web.Response(body=b"<html>"),
        web.Response(body=b"[]"),
        web.Response(body=b'{"keys": 7}'),
        web.Response(body=b'{"keys": []}'),
        web.Response(body=b'{"keys": [' + b" " * 300_000 + b"]}"),
        web.Response(body=b"[" * 100_000),
    ],
    ids=["missing", "redirect", "page", "list", "number", "empty", "huge", "nested"],
)
async def test_an_answer_that_is_no_key_set_lets_nobody_in(oidc: Oidc, issuer: Provider, answer: web.Response) -> None:
    issuer.answer = answer
    with pytest.raises(Unavailable):
        await oidc(issuer.token("nurse.a", Role.NURSE))


async def test_a_provider_that_does_not_answer_is_waited_for_briefly(issuer: Provider) -> None:
    oidc = Oidc(OidcSettings(issuer=issuer.url, timeout_s=0.2), production=False)
    issuer.hangs = True
    with pytest.raises(Unavailable):
        await oidc(issuer.token("nurse.a", Role.NURSE))
    await oidc.close()


async def test_production_wants_https_and_everybody_an_issuer() -> None:
    with pytest.raises(SettingsError, match="TELEMED_OIDC_ISSUER"):
        Oidc(OidcSettings(), production=False)
    with pytest.raises(SettingsError, match="https"):
        Oidc(OidcSettings(issuer="http://127.0.0.1:18080"), production=True)
    with pytest.raises(SettingsError, match="https"):
        Oidc(OidcSettings(issuer="http://issuer.example.org"), production=False)
    with pytest.raises(SettingsError, match="JWKS_URL"):
        Oidc(OidcSettings(issuer="https://issuer.example.org", jwks_url="http://10.0.0.1/jwks"), production=False)
