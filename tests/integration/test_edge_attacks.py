"""Hostile requests against the ledger's declared routes: a declared refusal each, the ledger unchanged, nothing in the logs.

Every test names the attacks that it tries by their numbers in ``tests/support/attacks.py``.
"""

import asyncio
import base64
import copy
import gzip
import hashlib
import hmac
import io
import json
import re
import socket
import struct
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.runtime.edge.openapi import errors_of
from services.runtime.edge.principal import Role
from services.runtime.edge.route import Route
from services.runtime.log import ALLOWED
from tests.support import leaks
from tests.support.attacks import ATTACKS, attack
from tests.support.ledger.http import ROUTES
from tests.support.load import NO_BROKER
from tests.support.tokens import KEY, bearer, encode, token
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


def declared(method: str, path: str) -> Route | None:
    """The route that a request goes to, if any."""
    for route in ROUTES:
        if route.method == method and re.fullmatch(re.sub("{[a-z_]+}", "[^/]+", route.path_template), path.partition("?")[0]):
            return route
    return None


@dataclass
class Client:
    """Speaks to one ledger, and accepts no answer that its document does not announce."""

    world: World
    ledger: Process
    session: aiohttp.ClientSession
    secrets: set[str] = field(default_factory=set)

    async def send(self, method: str, path: str, body: Any = None, **headers: str | None) -> tuple[int, Any, Any]:
        """As a nurse, unless a header says otherwise; returns status, body and headers."""
        given = {**bearer(), **JSON, **{name.replace("_", "-"): value for name, value in headers.items()}}
        text_sent = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        data = text_sent if text_sent is None else io.BytesIO(text_sent)
        sent = {name: value for name, value in given.items() if value is not None}
        self.secrets.add(sent.get("Authorization", CANARY))
        async with self.session.request(method, self.ledger.url + path, data=data, headers=sent) as response:
            text = await response.read()
            shown: Any = json.loads(text) if text else None
        route = declared(method, path)
        if response.status >= 400:
            allowed = {(kind.status, kind.code) for kind in errors_of(route)} if route else {(404, "not-found")}
            assert (response.status, shown["code"]) in allowed, (method, path, response.status, shown)
            assert response.headers["Content-Type"].startswith("application/problem+json")
        else:
            assert route is not None
            assert response.status == route.status
        return response.status, shown, response.headers

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

    def head(self, start: str, **headers: str) -> bytes:
        """The beginning of a request as a nurse makes it, without the empty line."""
        text = token()
        self.secrets.add(text)
        given = {"Host": "a", "Authorization": f"Bearer {text}", **JSON, **headers}
        lines = [f"{name.replace('_', '-')}: {value}" for name, value in given.items()]
        return "\r\n".join([f"{start} HTTP/1.1", *lines, ""]).encode()

    async def rows(self) -> dict[str, str]:
        """A digest of every table but the audit, where refusals are written down, and its seals."""
        async with self.world.owner() as connection:
            tables = await connection.fetch("select tablename from pg_tables where schemaname = 'ledger'")
            query = "select md5(coalesce(string_agg(t::text, '|' order by t::text), '')) from ledger.{} t"
            names = {row["tablename"] for row in tables} - {"audit", "audit_seal"}
            assert {"account", "entry", "terms", "outbox", "timer", "idempotency"} <= names
            return {name: await connection.fetchval(query.format(name)) for name in sorted(names)}

    @asynccontextmanager
    async def unchanged(self) -> AsyncIterator[None]:
        """Nothing is written inside."""
        before = await self.rows()
        yield
        assert await self.rows() == before


@pytest_asyncio.fixture
async def client(world: World) -> AsyncIterator[Client]:
    """Whatever a test does: no stack trace, no key of a log that is not allowed, and no canary outside its table."""
    ledger = await world.spawn(wait=True, **NO_BROKER, TELEMED_HTTP_HEAD_TIMEOUT_S="1", TELEMED_HTTP_BODY_TIMEOUT_S="1")
    named = {"User-Agent": CANARY, "X-Request-Id": CANARY}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20), headers=named) as session:
        made = Client(world, ledger, session)
        first = {"account": "a1", "entry": "e1", "amount": 5, "padding": CANARY}
        assert (await made.send("POST", "/entries", first, Idempotency_Key="k1"))[0] == 201
        yield made
        assert (await made.send("GET", "/accounts/a1"))[0] == 200, "it is well afterwards"
    said = {**leaks.logs(world), **await leaks.metrics(world)}
    await leaks.assert_kept(world, [CANARY], said)
    assert leaks.leaks(made.secrets - {CANARY}, said) == []
    for line in ledger.log.read_text().splitlines():
        entry = json.loads(line)
        assert entry.keys() <= ALLOWED
        assert entry["event"] not in ("undeclared-rejection", "unexpected", "connection-failed", "internal-error"), entry


_ENTRY = '{"account": "a1", "entry": "' + CANARY + '", "amount": %s, "padding": "%s"}'
BODIES: tuple[tuple[int, bytes, int, str], ...] = (
    (1, (_ENTRY % ("1", "\\u0000")).encode(), 422, "nul-character"),
    (2, (_ENTRY % ("1", "\\ud800")).encode(), 422, "lone-surrogate"),
    (3, (_ENTRY % ("NaN", "")).encode(), 422, "not-a-number"),
    (4, (_ENTRY % ("-Infinity", "")).encode(), 422, "not-a-number"),
    (5, (_ENTRY % ("1e400", "")).encode(), 422, "out-of-range"),
    (6, (_ENTRY % ('"NaN"', "")).encode(), 422, "not-an-integer"),
    (7, (_ENTRY % ("-0.0", "")).encode(), 422, "not-an-integer"),
    (8, (_ENTRY % ("true", "")).encode(), 422, "not-an-integer"),
    (9, (_ENTRY % ('"12"', "")).encode(), 422, "not-an-integer"),
    (10, (_ENTRY % ("3.0", "")).encode(), 422, "not-an-integer"),
    (11, (_ENTRY % (str(2**63), "")).encode(), 422, "out-of-range"),
    (12, (_ENTRY % ("9" * 400, "")).encode(), 422, "too-many-digits"),
    (13, (_ENTRY % ("9" * 5000, "")).encode(), 422, "too-many-digits"),
    (14, b'{"account": "a1", "account": "a2", "entry": "x", "amount": 1}', 422, "repeated-key"),
    (15, b'{"account": "a1", "entry": "x", "amount": 1, "balance": 9}', 422, "unknown-field"),
    (16, b'{"Account": "a1", "entry": "x", "amount": 1}', 422, "unknown-field"),
    (38, (_ENTRY % ("1", "\u202e")).encode(), 422, "bidi-control"),
    (39, (_ENTRY % ("1", "\u200b")).encode(), 422, "invisible-character"),
    (42, b"[" * 100_000, 400, "too-deep"),
    (43, b"[" + b"0," * 100_000 + b"0]", 422, "not-an-object"),
    (43, b"[" + b"0," * 1_000_000 + b"0]", 413, "body-too-large"),
    (44, b"\xef\xbb\xbf" + (_ENTRY % ("1", "")).encode(), 400, "byte-order-mark"),
    (45, (_ENTRY % ("1", "")).encode("utf-16-le"), 400, "not-utf-8"),
)


@attack(*(number for number, *_ in BODIES))
async def test_bodies_that_would_be_guessed_lost_or_break_something_are_refused_by_name(client: Client) -> None:
    async with client.unchanged():
        for number, body, status, code in BODIES:
            what = ATTACKS[number]
            answered, problem, _ = await client.send("POST", "/entries", body, Idempotency_Key=f"b{number}")
            assert answered == status, (what, answered, problem)
            assert code in [error["code"] for error in problem.get("errors", ())] or code == problem["code"], (what, problem)
        status, problem, _ = await client.send("POST", "/entries", b"{'a': 1}", Idempotency_Key="b")
        assert (status, problem["errors"][0]["code"]) == (400, "not-json")


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


TERMS_REFUSED: tuple[tuple[int, str, Any, str], ...] = (
    (17, "starts", 1_700_000_000, "not-an-instant"),
    (18, "starts", "1700000000000", "not-an-instant"),
    (19, "starts", "9999-12-31T23:59:59-14:00", "out-of-range"),
    (20, "starts", "0001-01-01T00:00:00+14:00", "out-of-range"),
    (21, "starts", "2199-06-30T23:59:60Z", "not-an-instant"),
    (22, "starts", "2199-01-01T24:00:00Z", "not-an-instant"),
    (23, "starts", "2199-01-01T00:00:00", "no-offset"),
    (24, "starts", "2199-01-01T00:00:00+23:59", "out-of-range"),
    (25, "zone", "Mars/Base", "unknown-zone"),
    (26, "zone", "../../etc/passwd", "unknown-zone"),
    (29, "ends", "2198-01-01T00:00:00Z", "ends-before-it-starts"),
    (31, "owner", f"urn:uuid:{UUID}", "not-a-uuid"),
    (31, "owner", "{" + UUID + "}", "not-a-uuid"),
    (32, "owner", "00000000-0000-0000-0000-000000000000", "nil-uuid"),
    (37, "active", "yes", "not-a-boolean"),
)
QUANTITIES_REFUSED = (
    ({"value": "-0.0", "unit": "mg"}, "negative-zero"),
    ({"value": 0.5, "unit": "mg"}, "not-a-decimal"),
    ({"value": "NaN", "unit": "mg"}, "not-a-decimal"),
    ({"value": "1e3", "unit": "mg"}, "not-a-decimal"),
    ({"value": "0.5\n", "unit": "mg"}, "not-a-decimal"),
    ({"value": "0.5"}, "required"),
)


@attack(*(number for number, *_ in TERMS_REFUSED), 30)
async def test_times_zones_ids_and_quantities_are_strict(client: Client) -> None:
    refused = [(ATTACKS[number], name, value, code) for number, name, value, code in TERMS_REFUSED]
    refused += [("quantity", "fee", value, code) for value, code in QUANTITIES_REFUSED]
    async with client.unchanged():
        for what, name, value, code in refused:
            status, problem, _ = await client.send("PUT", "/accounts/a1/terms", {**TERMS, name: value}, If_Match='"0"')
            assert status == 422, (what, status, problem)
            assert code in [error["code"] for error in problem["errors"]], (what, problem)
        past = {**TERMS, "starts": "2001-01-01T00:00:00Z"}
        status, problem, _ = await client.send("PUT", "/accounts/a1/terms", past, If_Match='"0"')
        assert (status, problem["code"]) == (409, "starts-in-the-past")


@attack(27, 28)
async def test_what_a_clock_change_skips_or_repeats_has_one_meaning(client: Client) -> None:
    """Not refused: a person may well mean it. Skipped is moved forward by the change, of two the first is meant."""
    meant = {
        "2199-03-10T02:30:00": datetime(2199, 3, 10, 7, 30, tzinfo=UTC),
        "2199-11-03T01:30:00": datetime(2199, 11, 3, 5, 30, tzinfo=UTC),
    }
    for local in meant:
        timer = {"kind": "ledger.fire", "key": local, "subject": "s", "due": local, "zone": "America/New_York"}
        assert (await client.send("POST", "/timers", timer))[0] == 204
    rows = await client.world.rows("select dedupe_key, due_at from timer")
    assert {row["dedupe_key"]: row["due_at"] for row in rows} == meant


TEXTS = {
    63: "'; drop table entry; --",
    64: "{0} %s %n ${x} {{7*7}}",
    66: "<script>alert(1)</script>",
    91: "${jndi:ldap://127.0.0.1/a}",
}
VALID: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("POST", "/entries", {"account": "a1", "entry": "e7", "amount": 1, "padding": "plain"}),
    ("POST", "/timers", {"kind": "k", "key": "k", "subject": "s", "due": "2199-01-01T00:00:00", "zone": "UTC"}),
    ("PUT", "/accounts/a1/terms", {**TERMS, "tags": ["plain"]}),
    ("POST", "/enquiries", {"text": "plain"}),
)


def each_text_replaced(body: Any, text: str) -> Iterator[Any]:
    """Copies of a document, each with another of its strings replaced."""
    places = body.items() if isinstance(body, dict) else enumerate(body)
    for key, value in list(places):
        if isinstance(value, str):
            made = copy.copy(body)
            made[key] = text
            yield made
        elif isinstance(value, dict | list):
            for inner in each_text_replaced(value, text):
                made = copy.copy(body)
                made[key] = inner
                yield made


@attack(*TEXTS)
async def test_texts_that_mean_something_elsewhere_are_just_texts(client: Client) -> None:
    """In every text of every route: refused by its form, or kept as it came. Also in paths, parameters and headers."""
    tried = 0
    for text in TEXTS.values():
        for method, path, valid in VALID:
            for body in each_text_replaced(valid, text):
                tried += 1
                status, _, _ = await client.send(method, path, body, Idempotency_Key=f"t{tried}", If_Match='"0"')
                assert status < 300 or status in (409, 412, 422, 429), (path, body, status)
        assert (await client.send("GET", f"/accounts/{quote(text, safe='')}"))[0] == 404
        assert (await client.send("GET", f"/accounts?after={quote(text, safe='')}"))[0] == 400
        key = await client.send("POST", "/entries", VALID[0][2], Idempotency_Key=text)
        assert key[0] in (201, 400, 409)
    assert tried > 60
    version = int(await client.world.value("select coalesce(max(version), 0) from terms"))
    for text in TEXTS.values():
        status, _, headers = await client.send("PUT", "/accounts/a1/terms", {**TERMS, "label": text}, If_Match=f'"{version}"')
        version += 1
        assert (status, headers["ETag"]) == (200, f'"{version}"')
        assert await client.world.value("select label from terms") == text
    assert await client.world.value("select fee::text || fee_unit from terms") == "0.50mg/kg"


@attack(40)
async def test_a_name_in_two_unicode_forms_is_one_name(client: Client) -> None:
    for version, name in enumerate(("Zoe\u0308", "Zo\u00eb")):
        terms = {**TERMS, "label": name}
        status, shown, _ = await client.send("PUT", "/accounts/a1/terms", terms, If_Match=f'"{version}"')
        assert (status, shown["label"]) == (200, "Zo\u00eb")
        assert await client.world.value("select label from terms") == "Zo\u00eb"


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
    assert (await client.send("PUT", "/accounts/nobody/terms", TERMS, If_Match='"0"'))[0] == 404


@attack(41, 46, 47, 48)
async def test_size_and_type_are_refused_before_parsing(client: Client) -> None:
    async with client.unchanged():
        status, problem, _ = await client.send("POST", "/enquiries", b'"' + b"x" * 10_000_000 + b'"', Idempotency_Key="k")
        assert (status, problem["code"]) == (413, "body-too-large")
        assert (await client.send("POST", "/entries", b"<a/>", Content_Type="text/xml"))[0] == 415
        bomb = gzip.compress(b"0" * 20_000_000)
        for body in (bomb, bomb[:50]):
            assert (await client.send("POST", "/entries", body, Content_Encoding="gzip"))[0] == 415


_POST = b"POST /entries HTTP/1.1\r\nHost: a\r\n"
_GET = b"GET /accounts HTTP/1.1\r\nHost: a\r\n"
REQUESTS: tuple[tuple[int, bytes], ...] = (
    (49, _POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),
    (50, _POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (52, _GET + b"Host: b\r\n\r\n"),
    (54, _GET + b"X: " + b"a" * 9_000 + b"\r\n\r\n"),
    (59, b"TRACE /accounts HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    (59, b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    (59, b"CONNECT /accounts HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    (59, b"BREW /accounts HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    (59, b"PATCH /accounts HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    (60, b"GET /%2e%2e/accounts;x=1//a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    (60, b"GET //accounts HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    (60, b"GET /livez/../accounts HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    (60, b"GET /accounts/a1;admin=1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    (60, b"GET /accounts%2fa1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    (62, _GET + b"X: a\rb\nc" + CANARY.encode() + b"\r\n\r\n"),
    (62, _GET + b"X: a\r\n" + CANARY.encode() + b"\r\n\r\n"),
    (92, _GET + b"User-Agent: " + b"a" * 100_000 + b"\r\n\r\n"),
)


@attack(*(number for number, _ in REQUESTS))
async def test_http_that_two_readers_would_understand_differently_is_refused(client: Client) -> None:
    async with client.unchanged():
        for number, text in REQUESTS:
            answer = await client.raw(text)
            assert answer.startswith((b"HTTP/1.0 400", b"HTTP/1.1 4")), (ATTACKS[number], text[:60], answer[:200])
            assert answer.count(b"application/problem+json") == 1, (ATTACKS[number], text[:60], answer)


@attack(51)
async def test_chunks_with_junk_are_no_second_request(client: Client) -> None:
    head = client.head("POST /entries", Transfer_Encoding="chunked", Connection="close", Idempotency_Key="chunks") + b"\r\n"
    inside = b"2;x=" + CANARY.encode()
    chunks = (
        b"2;\x00\x01\r\n{}\r\n0\r\n\r\n",
        inside + b"\r\n{}\r\n0\r\n\r\n",
        inside + b"\nGET /x HTTP/1.1\r\n{}\r\n0\r\n\r\n",
        inside + b"a" * 100_000 + b"\r\n{}\r\n0\r\n\r\n",
        b"0x2\r\n{}\r\n0\r\n\r\n",
        b"-2\r\n{}\r\n0\r\n\r\n",
        b"ffffffffffffffffff\r\n{}\r\n0\r\n\r\n",
        b"2\r\n{}xx0\r\n\r\n",
        b"2\r\n{}\r\n0\r\nHost: b\r\nAuthorization: Bearer x\r\n\r\n",
    )
    async with client.unchanged():
        for text in chunks:
            answer = await client.raw(head + text)
            assert answer.startswith((b"HTTP/1.0 4", b"HTTP/1.1 4")), (text[:60], answer[:200])
            assert answer.count(b"HTTP/1.") == 1, (text[:60], answer)


@attack(57)
async def test_a_client_that_leaves_during_its_answer_costs_nothing(client: Client) -> None:
    request = client.head("GET /openapi.json") + b"\r\n"
    for number in range(40):
        with socket.create_connection(("127.0.0.1", client.ledger.port)) as gone:
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            gone.sendall(request * 20)
            if number % 2:
                assert gone.recv(10) == b"HTTP/1.1 2"
            # Closed with a reset, as a network does it.
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    async with client.unchanged():
        assert (await client.send("GET", "/accounts/a1"))[0] == 200


@attack(58)
async def test_keep_alive_of_http_1_0_is_understood(client: Client) -> None:
    text = client.head("GET /accounts/a1").replace(b"HTTP/1.1", b"HTTP/1.0")
    answer = await client.raw((text + b"Connection: keep-alive\r\n\r\n") * 2 + text + b"\r\n")
    assert answer.count(b" 200 OK") == 3
    kept = {b"connection: keep-alive" in part.lower() for part in answer.split(b"HTTP/1.")[1:3]}
    assert kept == {True}


@attack(55, 56)
async def test_clients_that_do_not_finish_are_cut_off(client: Client) -> None:
    """Half a header is closed without an answer, a body that does not come is answered with 408."""
    never = client.raw(client.head("POST /entries", Content_Length="100") + b"\r\n{")
    half, silent = client.raw(b"GET /accounts HT"), client.raw(b"")
    answers = await asyncio.gather(never, half, silent, *(client.raw(b"GET / HTTP/1.1\r\nHo") for _ in range(200)))
    assert answers[0].startswith(b"HTTP/1.1 408")
    assert answers[1] == answers[2] == b""
    assert (await client.send("GET", "/accounts/a1"))[0] == 200


@attack(61, 94, 95)
async def test_parameters_are_declared_and_bounded(client: Client) -> None:
    bad = (
        "limit=0", "limit=-1", "limit=1000000000", "limit=1.0", "limit=1_0", "limit=%2B1", "limit=%201", "limit=01", "limit=",
        "limit=1&limit=2", "limit=1&limit=1",
        "sort=secret", "after=%00", "after=AAAA", f"{CANARY}=1", "limit[]=1",
    )  # fmt: skip
    async with client.unchanged():
        for query in bad:
            status, problem, _ = await client.send("GET", f"/accounts?{query}")
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


def _swapped(secret: bytes, claims: dict[str, Any]) -> str:
    """A token whose signature is an HMAC under our public key, for software that lets the token choose the algorithm."""
    signed = encode({"alg": "HS256", "typ": "JWT", "kid": "k1"}, claims).rpartition(".")[0]
    mark = base64.urlsafe_b64encode(hmac.digest(secret, signed.encode(), hashlib.sha256)).decode().rstrip("=")
    return f"{signed}.{mark}"


@attack(67, 34)
async def test_tokens_that_are_not_ours_now_and_for_us_are_refused(client: Client) -> None:
    claims = {"iss": "https://issuer.test", "aud": "ledger", "sub": "x", "azp": "t", "roles": ["nurse"], "nbf": 0, "exp": 9**12}
    public = KEY.public_key()
    bad = {
        "none": None,
        "alg none": encode({"alg": "none", "kid": "k1"}, claims).rpartition(".")[0] + ".",
        "swap": encode({"alg": "HS256", "kid": "k1"}, claims),
        "swap, raw key": _swapped(public.public_bytes(Encoding.Raw, PublicFormat.Raw), claims),
        "swap, PEM": _swapped(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), claims),
        "kid path": encode({"alg": "EdDSA", "kid": "../../dev/null"}, claims),
        "audience": token(aud="another"),
        "another clinic": token(iss="https://issuer.of-another-clinic.test"),
        "expired": token(exp=int(time.time()) - 1),
        "not yet": token(nbf=int(time.time()) + 60),
        "altered": token()[:-3] + "AAA",
        "no token": "x" * 7_000,
    }
    async with client.unchanged():
        for what, text in bad.items():
            for path in ("/accounts/a1", "/accounts"):
                status, problem, headers = await client.send("GET", path, Authorization=text and f"Bearer {text}")
                assert (status, problem["code"]) == (401, "unauthenticated"), what
                assert headers["WWW-Authenticate"] == "Bearer"
        for size in (9_000, 1_000_000):
            huge = await client.raw(b"GET /accounts HTTP/1.1\r\nAuthorization: Bearer " + b"a" * size)
            assert huge.startswith(b"HTTP/1.0 400"), size


@attack(35, 36)
async def test_what_is_gone_never_was_or_is_not_yours_looks_the_same(client: Client) -> None:
    async with client.world.owner() as connection:
        await connection.execute("insert into account values ('gone', 1, 1)")
        assert (await client.send("GET", "/accounts/gone"))[0] == 200
        await connection.execute("delete from account where id = 'gone'")
    async with client.unchanged():
        assert (await client.send("GET", "/accounts/gone"))[:2] == (await client.send("GET", "/accounts/never"))[:2]
        patient = bearer("patient.b", Role.PATIENT)["Authorization"]
        guesses = [await client.send("GET", f"/accounts/a{number}", Authorization=patient) for number in range(20)]
    assert {json.dumps(guess[:2]) for guess in guesses} == {json.dumps((await client.send("GET", "/accounts/never"))[:2])}
    tries = await client.world.value("select count(*) from audit where action = 'account.read:refused'")
    assert tries == len(guesses), "each is written down"


@attack(33, 53)
async def test_another_persons_record_is_not_there_and_the_try_is_written_down(client: Client) -> None:
    patient = bearer("patient.b", Role.PATIENT)["Authorization"]
    forged = {"X_User_Id": "nurse.a", "X_Forwarded_For": "127.0.0.1"}
    assert (await client.send("GET", "/accounts/a1", Authorization=patient, **forged))[0] == 404
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


@attack(70, 71, 72)
async def test_a_key_means_one_request(client: Client) -> None:
    body = {"account": "a1", "entry": "once", "amount": 1}
    async with client.unchanged():
        for key in (None, "", "k" * 129, "k" * 10_000, "schl\u00fcssel", "a b", '"open'):
            assert (await client.send("POST", "/entries", body, Idempotency_Key=key))[0] == 400
    answers = await asyncio.gather(*(client.send("POST", "/entries", body, Idempotency_Key="same") for _ in range(100)))
    assert {status for status, _, _ in answers} <= {201, 409, 503}
    assert await client.world.value("select count(*) from entry where id = 'once'") == 1
    again = await client.send("POST", "/entries", body, Idempotency_Key='"same"')
    assert again[:2] == (201, {"entry": "once", "balance": 6})
    status, problem, _ = await client.send("POST", "/entries", {**body, "amount": 2}, Idempotency_Key="same")
    assert (status, problem["code"]) == (422, "idempotency-key-reused")
    assert await client.world.value("select count(*) from audit where action = 'entry.post'") == 2


@attack(53)
async def test_a_public_route_has_a_rate_that_no_header_widens(client: Client) -> None:
    answers = [
        await client.send(
            "POST", "/enquiries", {"text": "hello"}, Authorization=None, Idempotency_Key=f"q{n}", X_Forwarded_For=f"10.0.0.{n}"
        )
        for n in range(7)
    ]
    assert [status for status, _, _ in answers].count(429) == 2
    assert int(answers[-1][2]["Retry-After"]) >= 1


@attack(62)
async def test_line_breaks_reach_neither_headers_nor_logs(client: Client) -> None:
    broken = f"a\r\nX-Forged: {CANARY}\nb"
    async with client.unchanged():
        status, problem, _ = await client.send("PUT", "/accounts/a1/terms", {**TERMS, "label": broken}, If_Match='"0"')
        assert (status, problem["errors"][0]["code"]) == (422, "control-character")
        path = f"/accounts/{quote(broken, safe='')}"
        for authorization in (bearer()["Authorization"], bearer("p", Role.PATIENT)["Authorization"], None):
            status, _, headers = await client.send(
                "GET", path, Authorization=authorization, X_Request_Id=quote(broken), traceparent=quote(broken)
            )
            assert status in (401, 404)
            assert "X-Forged" not in headers
            assert re.fullmatch("[0-9a-f]{32}", headers["X-Request-Id"]), "a wrong id is replaced, not repeated"


@attack(92)
async def test_a_long_user_agent_is_nobody_s_business(client: Client) -> None:
    assert (await client.send("GET", "/accounts/a1", User_Agent=CANARY * 500))[0] == 200


def _written_then_read(port: int, text: bytes) -> bytes:
    """A client that writes all of its request, piece by piece, before it looks for an answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=12) as client:
        for start in range(0, len(text), 65_536):
            client.sendall(text[start : start + 65_536])
        answer = b""
        while some := client.recv(65_536):
            answer += some
        return answer


async def test_a_refusal_of_unreadable_bytes_arrives_however_much_the_client_still_writes(client: Client) -> None:
    """Without reading on, a reset of the connection overtakes the answer."""
    for text in (_GET + b"X: " + b"a" * 3_000_000 + b"\r\n\r\n", b"GET /" + b"a" * 1_000_000, b"\0" * 1_000_000):
        asked = [asyncio.to_thread(_written_then_read, client.ledger.port, text) for _ in range(4)]
        assert {answer[:12] for answer in await asyncio.gather(*asked)} == {b"HTTP/1.0 400"}


async def test_reading_on_has_an_end(client: Client) -> None:
    """A client that never stops writing is cut off by the amount; one that drips on and does not close, by the time."""

    async def drip(writer: asyncio.StreamWriter, text: bytes, pause_s: float) -> None:
        async with asyncio.timeout(12):
            while True:
                writer.write(text)
                await writer.drain()
                await asyncio.sleep(pause_s)

    for text, pause_s in ((b"\0" * 65_536, 0), (b"\0", 0.05)):
        reader, writer = await asyncio.open_connection("127.0.0.1", client.ledger.port)
        with pytest.raises(ConnectionError):
            await drip(writer, text, pause_s)
        assert reader.at_eof() or reader.exception()
        writer.close()


async def test_bytes_that_are_no_http_are_logged_as_such_without_themselves(client: Client) -> None:
    """aiohttp would log what it cannot read: the line, the header, the chunk."""
    name = CANARY.encode()
    garbage = (
        b"GET /" + name + b"\x00 HTTP/1.1\r\n\r\n",
        name + b"\r\n\r\n",
        b"GET / HTTP/9.9 " + name + b"\r\n\r\n",
        _GET + name + b"\x01: x\r\n\r\n",
        _GET + b"X: \x00" + name + b"\r\n\r\n",
        _GET + b"Content-Length: " + name + b"\r\n\r\n",
        _GET + b"Cookie: a=" + name + b"\xff\xfe;;=\r\nConnection: close\r\n\r\n",
        client.head("POST /entries", Transfer_Encoding="chunked", Idempotency_Key="g") + b"\r\n" + name + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + name,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + name,
    )
    async with client.unchanged():
        for text in garbage:
            answer = await client.raw(text)
            assert answer.startswith((b"HTTP/1.0 400", b"HTTP/1.1 4")), (text, answer[:100])
            assert name not in answer
    assert client.ledger.log.read_text().count('"malformed-request"') >= 7
