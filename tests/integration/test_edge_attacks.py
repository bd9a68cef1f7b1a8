"""Hostile requests against the ledger's declared routes: a declared refusal each, the ledger unchanged, nothing in the logs."""

import asyncio
import gzip
import io
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import pytest_asyncio

from services.runtime.edge.principal import Role
from tests.support.load import NO_BROKER
from tests.support.tokens import bearer, encode, token
from tests.support.world import Process, World

pytestmark = pytest.mark.asyncio

JSON = {"Content-Type": "application/json"}
CANARY = "zoe-canary-7351"
UUID = "0192f0a0-0000-7000-8000-000000000001"
TERMS: dict[str, Any] = {
    "label": "plain",
    "owner": UUID,
    "starts": "2199-01-01T00:00:00Z",
    "ends": "2199-02-01T00:00:00Z",
    "zone": "America/New_York",
    "fee": {"value": "0.50", "unit": "mg/kg"},
    "active": True,
    "units": 1,
}


@dataclass
class Client:
    """Speaks to one ledger."""

    world: World
    ledger: Process
    session: aiohttp.ClientSession
    seen: list[str] = field(default_factory=list)

    async def send(self, method: str, path: str, body: Any = None, **headers: str | None) -> tuple[int, Any, Any]:
        """As a nurse, unless a header says otherwise; returns status, body and headers."""
        given = {**bearer(), **JSON, **{name.replace("_", "-"): value for name, value in headers.items()}}
        text_sent = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        data = text_sent if text_sent is None else io.BytesIO(text_sent)
        sent = {name: value for name, value in given.items() if value is not None}
        async with self.session.request(method, self.ledger.url + path, data=data, headers=sent) as response:
            text = await response.read()
            return response.status, json.loads(text) if text else None, response.headers

    async def raw(self, text: bytes, within_s: float = 12.0) -> bytes:
        """Bytes on a socket; everything that comes back until the other side closes, or cuts us off while we still write."""
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(self.ledger.url).port)
        answer = b""
        try:
            async with asyncio.timeout(within_s):
                writer.write(text)
                while some := await reader.read(65_536):
                    answer += some
        except ConnectionError:
            pass
        finally:
            writer.close()
        return answer

    async def counts(self) -> list[Any]:
        """How much is written."""
        tables = ("entry", "account", "outbox", "terms", "timer", "fired", "idempotency")
        return [await self.world.value(f"select count(*) from {table}") for table in tables]


@pytest_asyncio.fixture
async def client(world: World) -> AsyncIterator[Client]:
    ledger = await world.spawn(wait=True, **NO_BROKER, TELEMED_HTTP_HEAD_TIMEOUT_S="1", TELEMED_HTTP_BODY_TIMEOUT_S="1")
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
        made = Client(world, ledger, session)
        status, _, _ = await made.send("POST", "/entries", {"account": "a1", "entry": "e1", "amount": 5}, Idempotency_Key="k1")
        assert status == 201
        yield made
    log = ledger.log.read_text()
    assert "undeclared-rejection" not in log
    assert "Traceback" not in log
    assert CANARY not in log


_ENTRY = '{"account": "a1", "entry": "' + CANARY + '", "amount": %s, "padding": "%s"}'
BODIES: tuple[tuple[str, bytes, int, str], ...] = (
    ("1 NUL", (_ENTRY % ("1", "\\u0000")).encode(), 422, "nul-character"),
    ("2 lone surrogate", (_ENTRY % ("1", "\\ud800")).encode(), 422, "lone-surrogate"),
    ("3 NaN", (_ENTRY % ("NaN", "")).encode(), 422, "not-a-number"),
    ("4 Infinity", (_ENTRY % ("-Infinity", "")).encode(), 422, "not-a-number"),
    ("5 1e400", (_ENTRY % ("1e400", "")).encode(), 422, "out-of-range"),
    ("6 NaN as text", (_ENTRY % ('"NaN"', "")).encode(), 422, "not-an-integer"),
    ("7 minus zero", (_ENTRY % ("-0.0", "")).encode(), 422, "not-an-integer"),
    ("8 true for an integer", (_ENTRY % ("true", "")).encode(), 422, "not-an-integer"),
    ("9 text for an integer", (_ENTRY % ('"12"', "")).encode(), 422, "not-an-integer"),
    ("10 3.0 for an integer", (_ENTRY % ("3.0", "")).encode(), 422, "not-an-integer"),
    ("11 over int64", (_ENTRY % (str(2**63), "")).encode(), 422, "out-of-range"),
    ("12 400 digits", (_ENTRY % ("9" * 400, "")).encode(), 422, "too-many-digits"),
    ("13 5,000 digits", (_ENTRY % ("9" * 5000, "")).encode(), 422, "too-many-digits"),
    ("14 repeated key", b'{"account": "a1", "account": "a2", "entry": "x", "amount": 1}', 422, "repeated-key"),
    ("15 unknown key", b'{"account": "a1", "entry": "x", "amount": 1, "balance": 9}', 422, "unknown-field"),
    ("16 other case", b'{"Account": "a1", "entry": "x", "amount": 1}', 422, "unknown-field"),
    ("38 bidi override", (_ENTRY % ("1", "\u202e")).encode(), 422, "bidi-control"),
    ("39 zero-width", (_ENTRY % ("1", "\u200b")).encode(), 422, "invisible-character"),
    ("42 depth 100,000", b"[" * 100_000, 400, "too-deep"),
    ("43 many elements", b"[" + b"0," * 100_000 + b"0]", 422, "not-an-object"),
    ("44 byte order mark", b"\xef\xbb\xbf" + (_ENTRY % ("1", "")).encode(), 400, "byte-order-mark"),
    ("45 UTF-16", (_ENTRY % ("1", "")).encode("utf-16-le"), 400, "not-utf-8"),
    ("not JSON", b"{'a': 1}", 400, "not-json"),
)


async def test_bodies_that_would_be_guessed_lost_or_break_something_are_refused_by_name(client: Client) -> None:
    before = await client.counts()
    for number, (what, body, status, code) in enumerate(BODIES):
        answered, problem, headers = await client.send("POST", "/entries", body, Idempotency_Key=f"b{number}")
        assert answered == status, (what, answered, problem)
        assert headers["Content-Type"].startswith("application/problem+json"), what
        assert code in [error["code"] for error in problem["errors"]], (what, problem)
    assert await client.counts() == before


async def test_all_bad_fields_are_told_at_once_with_pointers(client: Client) -> None:
    body = b'{"account": "", "amount": NaN, "flagged": "yes", "padding": "\\u0000"}'
    status, problem, _ = await client.send("POST", "/entries", body, Idempotency_Key="k2")
    assert status == 422
    found = {error["pointer"]: error["code"] for error in problem["errors"]}
    assert found == {
        "/account": "too-short",
        "/entry": "required",
        "/amount": "not-a-number",
        "/flagged": "not-a-boolean",
        "/padding": "nul-character",
    }


TERMS_REFUSED: tuple[tuple[str, str, Any, str], ...] = (
    ("17 epoch number", "starts", 1_700_000_000, "not-an-instant"),
    ("18 milliseconds", "starts", "1700000000000", "not-an-instant"),
    ("19 last year", "starts", "9999-12-31T23:59:59-14:00", "out-of-range"),
    ("20 first year", "starts", "0001-01-01T00:00:00+14:00", "out-of-range"),
    ("21 leap second", "starts", "2199-06-30T23:59:60Z", "not-an-instant"),
    ("22 24:00", "starts", "2199-01-01T24:00:00Z", "not-an-instant"),
    ("23 naive", "starts", "2199-01-01T00:00:00", "no-offset"),
    ("24 offset", "starts", "2199-01-01T00:00:00+23:59", "out-of-range"),
    ("25 unknown zone", "zone", "Mars/Base", "unknown-zone"),
    ("26 zone as a path", "zone", "../../etc/passwd", "unknown-zone"),
    ("29 end before start", "ends", "2198-01-01T00:00:00Z", "ends-before-it-starts"),
    ("31 urn", "owner", f"urn:uuid:{UUID}", "not-a-uuid"),
    ("31 braces", "owner", "{" + UUID + "}", "not-a-uuid"),
    ("32 nil", "owner", "00000000-0000-0000-0000-000000000000", "nil-uuid"),
    ("37 yes", "active", "yes", "not-a-boolean"),
    ("negative zero", "fee", {"value": "-0.0", "unit": "mg"}, "negative-zero"),
    ("quantity as a number", "fee", {"value": 0.5, "unit": "mg"}, "not-a-decimal"),
    ("quantity without unit", "fee", {"value": "0.5"}, "required"),
)


async def test_times_zones_ids_and_quantities_are_strict(client: Client) -> None:
    for what, name, value, code in TERMS_REFUSED:
        status, problem, _ = await client.send("PUT", "/accounts/a1/terms", {**TERMS, name: value}, If_Match='"0"')
        assert status == 422, (what, status, problem)
        assert code in [error["code"] for error in problem["errors"]], (what, problem)
    past = {**TERMS, "starts": "2001-01-01T00:00:00Z"}
    status, problem, _ = await client.send("PUT", "/accounts/a1/terms", past, If_Match='"0"')
    assert (status, problem["code"]) == (409, "starts-in-the-past")  # 30
    assert await client.world.value("select count(*) from terms") == 0


async def test_texts_that_mean_something_elsewhere_are_just_texts(client: Client) -> None:
    texts = ["'; drop table entry; --", "{0} %s ${x}", "<script>alert(1)</script>", "Zoe\u0308"]  # 63, 64, 66, 40
    for version, text in enumerate(texts):
        terms = {**TERMS, "label": text}
        status, shown, headers = await client.send("PUT", "/accounts/a1/terms", terms, If_Match=f'"{version}"')
        assert status == 200, shown
        assert headers["ETag"] == f'"{version + 1}"'
    assert await client.world.value("select label from terms") == "Zo\u00eb"
    assert await client.world.value("select fee::text || fee_unit from terms") == "0.50mg/kg"


async def test_an_edit_names_the_version_that_was_read(client: Client) -> None:
    assert (await client.send("PUT", "/accounts/a1/terms", TERMS))[0] == 428
    for stale in ('"7"', 'W/"0"', "*", "nonsense"):
        assert (await client.send("PUT", "/accounts/a1/terms", TERMS, If_Match=stale))[0] == 412
    answers = await asyncio.gather(
        *(client.send("PUT", "/accounts/a1/terms", {**TERMS, "units": n}, If_Match='"0"') for n in range(20))
    )
    statuses = [status for status, _, _ in answers]
    assert statuses.count(200) == 1
    assert set(statuses) <= {200, 409, 412, 503}
    assert (await client.send("PUT", "/accounts/nobody/terms", TERMS, If_Match='"0"'))[0] == 404  # 35, 36


async def test_size_and_type_are_refused_before_parsing(client: Client) -> None:
    before = await client.counts()
    status, problem, _ = await client.send("POST", "/enquiries", b'"' + b"x" * 10_000_000 + b'"', Idempotency_Key="k")
    assert (status, problem["code"]) == (413, "body-too-large")  # 41
    assert (await client.send("POST", "/entries", b"<a/>", Content_Type="text/xml"))[0] == 415  # 46
    bomb = gzip.compress(b"0" * 20_000_000)
    for body in (bomb, bomb[:50]):  # 47, 48
        assert (await client.send("POST", "/entries", body, Content_Encoding="gzip"))[0] == 415
    assert await client.counts() == before


async def test_http_that_two_readers_would_understand_differently_is_refused(client: Client) -> None:
    post = b"POST /entries HTTP/1.1\r\nHost: a\r\n"
    attacks = {
        "49": post + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        "50": post + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "52": b"GET /accounts HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "54": b"GET /accounts HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 9_000 + b"\r\n\r\n",
        "59": b"TRACE /accounts HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "59 unknown": b"BREW /accounts HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "60": b"GET /%2e%2e/accounts;x=1//a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "62": b"GET /accounts HTTP/1.1\r\nHost: a\r\nX: a\rb\nc" + CANARY.encode() + b"\r\n\r\n",
        "92": b"GET /accounts HTTP/1.1\r\nHost: a\r\nUser-Agent: " + b"a" * 100_000 + b"\r\n\r\n",
    }
    for what, text in attacks.items():
        answer = await client.raw(text)
        assert answer.startswith((b"HTTP/1.0 400", b"HTTP/1.1 4")), (what, answer[:200])
        assert b"application/problem+json" in answer, what


async def test_clients_that_do_not_finish_are_cut_off(client: Client) -> None:
    """55, 56: half a header is closed without an answer, a body that does not come is answered with 408."""
    head = f"POST /entries HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nAuthorization: Bearer {token()}\r\n"
    never = client.raw(f"{head}Content-Length: 100\r\n\r\n{{".encode())
    half, silent = client.raw(b"GET /accounts HT"), client.raw(b"")
    answers = await asyncio.gather(never, half, silent, *(client.raw(b"GET / HTTP/1.1\r\nHo") for _ in range(200)))
    assert answers[0].startswith(b"HTTP/1.1 408")
    assert answers[1] == answers[2] == b""
    assert (await client.send("GET", "/accounts/a1"))[0] == 200


async def test_parameters_are_declared_and_bounded(client: Client) -> None:
    for query in ("limit=0", "limit=-1", "limit=1000000000", "limit=1&limit=2", "sort=secret", "after=%00", "after=AAAA"):
        status, problem, _ = await client.send("GET", f"/accounts?{query}")  # 61, 94, 95
        assert (status, problem["code"]) == (400, "invalid-parameters"), query
    for number in range(5):
        body = {"account": f"p{number}", "entry": f"p{number}", "amount": 1}
        assert (await client.send("POST", "/entries", body, Idempotency_Key=f"p{number}"))[0] == 201
    path, names = "/accounts?limit=2", []
    while path:
        status, page, headers = await client.send("GET", path)
        assert status == 200
        names += [account["account"] for account in page["accounts"]]
        path = headers["Link"].partition(">")[0].removeprefix("<") if "Link" in headers else ""
    assert names == ["a1", "p0", "p1", "p2", "p3", "p4"]
    assert await client.world.value("select count(*) from audit where action = 'account.list'") == 3


async def test_tokens_that_are_not_ours_now_and_for_us_are_refused(client: Client) -> None:
    claims = {"iss": "https://issuer.test", "aud": "ledger", "sub": "x", "azp": "t", "roles": ["nurse"], "nbf": 0, "exp": 9**12}
    bad = {
        "none": None,
        "alg none": encode({"alg": "none", "kid": "k1"}, claims).rpartition(".")[0] + ".",
        "swap": encode({"alg": "HS256", "kid": "k1"}, claims),
        "kid path": encode({"alg": "EdDSA", "kid": "../../dev/null"}, claims),
        "audience": token(aud="another"),
        "expired": token(exp=1),
        "not yet": token(nbf=9**12),
    }
    for what, text in bad.items():
        for path in ("/accounts/a1", "/accounts"):
            status, problem, headers = await client.send("GET", path, Authorization=text and f"Bearer {text}")
            assert (status, problem["code"]) == (401, "unauthenticated"), what
            assert headers["WWW-Authenticate"] == "Bearer"
    large = await client.raw(b"GET /accounts HTTP/1.1\r\nAuthorization: Bearer " + b"a" * 9_000)
    assert large.startswith(b"HTTP/1.0 400")
    # The rest of a megabyte is never read, and the reset that follows may overtake the answer: refused or cut, not served.
    huge = await client.raw(b"GET /accounts HTTP/1.1\r\nAuthorization: Bearer " + b"a" * 1_000_000)
    assert huge == b"" or huge.startswith(b"HTTP/1.0 400")


async def test_another_persons_record_is_not_there_and_the_try_is_written_down(client: Client) -> None:
    patient = bearer("patient.b", Role.PATIENT)["Authorization"]
    forged = {"X_User_Id": "nurse.a", "X_Forwarded_For": "127.0.0.1"}  # 53
    assert (await client.send("GET", "/accounts/a1", Authorization=patient, **forged))[0] == 404  # 33
    terms = await client.send("PUT", "/accounts/a1/terms", TERMS, Authorization=patient, If_Match='"0"')
    assert terms[0] == 404
    assert (await client.send("GET", "/accounts", Authorization=patient))[0] == 403
    refused = await client.world.rows(
        "select actor, action, target, reason from audit where action like '%:refused' order by id"
    )
    assert [tuple(row) for row in refused] == [
        ("patient.b", "account.read:refused", "account/a1", "relationship"),
        ("patient.b", "terms.edit:refused", "account/a1", "relationship"),
        ("patient.b", "account.list:refused", "-", "role"),
    ]
    async with client.world.owner() as connection:
        await connection.execute("insert into patient_fact values ('a1', 'patient.b')")
    assert (await client.send("GET", "/accounts/a1", Authorization=patient))[0] == 200


async def test_a_key_means_one_request(client: Client) -> None:
    body = {"account": "a1", "entry": "once", "amount": 1}
    for key in (None, "", "k" * 200, "schl\u00fcssel", "a b"):  # 72
        assert (await client.send("POST", "/entries", body, Idempotency_Key=key))[0] == 400
    answers = await asyncio.gather(*(client.send("POST", "/entries", body, Idempotency_Key="same") for _ in range(100)))  # 71
    assert {status for status, _, _ in answers} <= {201, 409, 503}
    assert await client.world.value("select count(*) from entry where id = 'once'") == 1
    again = await client.send("POST", "/entries", body, Idempotency_Key='"same"')
    assert again[:2] == (201, {"entry": "once", "balance": 6})
    status, problem, _ = await client.send("POST", "/entries", {**body, "amount": 2}, Idempotency_Key="same")  # 70
    assert (status, problem["code"]) == (422, "idempotency-key-reused")
    assert await client.world.value("select count(*) from audit where action = 'entry.post'") == 2


async def test_a_public_route_has_a_rate(client: Client) -> None:
    answers = [
        await client.send("POST", "/enquiries", {"text": "hello"}, Authorization=None, Idempotency_Key=f"q{n}")
        for n in range(7)
    ]
    assert [status for status, _, _ in answers].count(429) == 2
    assert int(answers[-1][2]["Retry-After"]) >= 1
