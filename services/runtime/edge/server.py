"""From a request to its answer. The order is fixed: size and type, authenticate, role, body, relationship, stored reply,
If-Match, decide. Whatever a client sends, the answer is a declared one.
"""

import asyncio
import base64
import functools
import hashlib
import ipaddress
import json
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

from aiohttp import web
from pydantic import BaseModel, ValidationError

from services.runtime import log, tracing
from services.runtime.database import Budget, Database, OutcomeUnknown, Reader, Unavailable
from services.runtime.edge import openapi, problems, strict_json
from services.runtime.edge.assets import Page, add_pages
from services.runtime.edge.audit import ReadAudit, audit_entry, target_of
from services.runtime.edge.pages import link
from services.runtime.edge.policy import Bearer, OneTimeLink, Public, Signed, WebhookSignature, role_is_enough
from services.runtime.edge.principal import Authenticate, Principal, Unauthenticated
from services.runtime.edge.printed import Printed
from services.runtime.edge.problems import FieldProblem, Problem, ProblemType
from services.runtime.edge.rates import Rates, client_address
from services.runtime.edge.route import Asked, Decide, Find, NaturalKey, Nothing, Route, RouteError, check
from services.runtime.edge.stream import Follow, Streams
from services.runtime.messaging.changes import Changes, Context, Rejected
from services.runtime.messaging.unit_of_work import EventTooLarge, IdempotencyKey, UnitOfWork, read_context
from services.runtime.settings import HttpSettings

__all__ = ["Edge"]

_log = log.get_logger()

_KEY = re.compile(r'^(?:"([!#-~]{1,128})"|([!#-~]{1,128}))$')
# A UUID and nothing else: it stands in logs, where a client must not be able to write a name.
_REQUEST_ID = re.compile(r"^[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}\Z")
_ID = re.compile(r"^[A-Za-z0-9-]{1,64}$")
_ETAG = re.compile(r'^"([0-9]{1,18})"$')
_SENT_BY_THE_BOARD = ("Authorization", "Content-Type", "Idempotency-Key", "If-Match", "X-Request-Id", "traceparent")
_RETRY = {"Retry-After": "1"}
_SECURE = {"X-Content-Type-Options": "nosniff", "Server": "telemed"}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Edge:
    """The declared routes of one service on an aiohttp application."""

    def __init__(
        self,
        routes: Sequence[Route],
        authenticate: Authenticate | None,
        unit_of_work: UnitOfWork,
        database: Database,
        settings: HttpSettings,
        pages: Sequence[Page] = (),
    ) -> None:
        check(routes)
        if authenticate is None and any(isinstance(route.policy, Bearer) for route in routes):
            raise RouteError("routes for signed-in users are declared, and nothing that verifies their tokens")
        self.routes = tuple(routes)
        self._pages = tuple(pages)
        self._authenticate = authenticate or _nobody
        self._unit_of_work = unit_of_work
        self._database = database
        self._settings = settings
        self._reads = ReadAudit(database, unit_of_work)
        self._streams = Streams(database)
        self._rates = {r.name: Rates(r.policy.count, r.policy.per_s) for r in routes if isinstance(r.policy, Public)}
        self._trusted = [ipaddress.ip_network(text) for text in settings.trusted_proxies.split(",") if text]

    def application(self, service: str) -> web.Application:
        """The application, with the document of its routes; routes of health and metrics may be added to it."""
        application = web.Application(middlewares=[self._around], client_max_size=1024 * 1024)
        application.on_response_prepare.append(self._dress)
        application.on_shutdown.append(self._streams.stop)
        for route in self.routes:
            handler = functools.partial(self._handle, route)
            application.router.add_route(route.method, route.path_template, handler, expect_handler=_expect)
        described = json.dumps(openapi.document(service, self.routes)).encode()
        shown = openapi.page(service, self.routes)
        style = base64.b64encode(hashlib.sha256(openapi.STYLE.encode()).digest()).decode()
        only = f"default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

        async def describe(_: web.Request) -> web.Response:
            return web.Response(body=described, content_type="application/json")

        async def show(_: web.Request) -> web.Response:
            return web.Response(text=shown, content_type="text/html", headers={"Content-Security-Policy": only})

        application.router.add_get("/openapi.json", describe)
        application.router.add_get("/docs", show)
        add_pages(application, self._pages, _expect)
        return application

    # --- around every request --------------------------------------------------------------------------------------

    @web.middleware
    async def _around(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("X-Request-Id", "")
        request_id = given if _REQUEST_ID.match(given) else uuid4().hex
        request["request_id"] = request_id
        label = request.match_info.route.resource.canonical if request.match_info.route.resource else "-"
        with tracing.serving(request.method, label, request.headers.get("traceparent", "")) as span:
            response = await self._answer(request, handler, label)
            request["traceparent"] = tracing.current_traceparent()
            tracing.answered(span, response.status)
        return response

    async def _dress(self, request: web.Request, response: web.StreamResponse) -> None:
        """What every answer has in its head, also one whose body goes on for hours."""
        if "request_id" not in request:
            return  # refused before anything of ours saw it
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers.update(_SECURE)
        response.headers["X-Request-Id"] = request["request_id"]
        if traceparent := request.get("traceparent") or tracing.current_traceparent():
            response.headers["traceparent"] = traceparent
        self._allow_origin(request, response)

    async def _answer(self, request: web.Request, handler: Handler, label: str) -> web.StreamResponse:
        try:
            if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
                return self._preflight(request)
            return await handler(request)
        except Problem as problem:
            found = problem
        except web.HTTPMethodNotAllowed as error:
            found = Problem(problems.METHOD_NOT_ALLOWED, headers={"Allow": ", ".join(sorted(error.allowed_methods))})
        except web.HTTPException as error:
            found = Problem(problems.NOT_FOUND if error.status < 500 else problems.INTERNAL)
        except EventTooLarge:
            found = Problem(problems.EVENT_TOO_LARGE)
        except Unavailable:
            found = Problem(problems.UNAVAILABLE, headers=_RETRY)
        except OutcomeUnknown:
            found = Problem(problems.OUTCOME_UNKNOWN, headers=_RETRY)
        except ConnectionError:
            raise  # the client is gone
        except Exception as error:  # noqa: BLE001 - the last resort: nothing of it is told, neither outside nor in the log
            _log.error("unexpected", error_class=type(error).__name__, route=label, request_id=request["request_id"])
            found = Problem(problems.INTERNAL, close=True)
        if found.kind.status >= 500 or found.kind.status in (401, 403):
            _log.warning("refused", code=found.kind.code, route=label, request_id=request["request_id"], reason=found.reason)
        return problems.response(found)

    # --- pages of the board ----------------------------------------------------------------------------------------

    def _allow_origin(self, request: web.Request, response: web.StreamResponse) -> None:
        response.headers["Vary"] = "Origin"
        board = self._settings.board_origin
        if board and request.headers.get("Origin") == board:
            response.headers["Access-Control-Allow-Origin"] = board
            response.headers["Access-Control-Expose-Headers"] = "ETag, Link, Location, Retry-After, X-Request-Id"

    def _preflight(self, request: web.Request) -> web.Response:
        if not self._settings.board_origin or request.headers.get("Origin") != self._settings.board_origin:
            raise Problem(problems.ORIGIN_REFUSED)
        return web.Response(
            status=204,
            headers={
                "Access-Control-Allow-Methods": "GET, POST, PUT, PATCH, DELETE",
                "Access-Control-Allow-Headers": ", ".join(_SENT_BY_THE_BOARD),
                "Access-Control-Max-Age": "600",
            },
        )

    # --- one request of a declared route ---------------------------------------------------------------------------

    async def _handle(self, route: Route, request: web.Request) -> web.StreamResponse:
        origin = self._origin(request)
        if isinstance(route.policy, Public):
            wait = self._rates[route.name].take(origin)
            if wait:
                raise Problem(problems.TOO_MANY_REQUESTS, headers={"Retry-After": str(int(wait) + 1)}, close=True)
        _check_length(route, request)
        if isinstance(route.policy, WebhookSignature):
            raw = await self._body(route, request)
            principal = _sender(route.policy, request, raw)
        else:
            principal = await self._who(route, request)
            raw = await self._body(route, request)
        asked = _asked(route, request, principal, raw, origin)
        if route.query is not None:
            return await self._read(route, request, asked, route.query(asked))
        if route.stream is not None:
            return await self._stream(route, request, asked, route.stream(asked))
        if route.command is None:
            raise RouteError(route.name)  # ``check`` has refused it already
        return await self._write(route, request, asked, route.command(asked))

    def _origin(self, request: web.Request) -> str:
        return client_address(request.remote or "", request.headers.get("X-Forwarded-For", ""), self._trusted)

    async def _who(self, route: Route, request: web.Request) -> Principal:
        policy = route.policy
        if isinstance(policy, Public):
            return Principal("public", "anonymous", "public", frozenset(), "anonymous")
        values = request.headers.getall("Authorization", [])
        scheme, _, token = (values[0] if len(values) == 1 else "").partition(" ")
        wanted = "link" if isinstance(policy, OneTimeLink) else "bearer"
        if scheme.lower() != wanted or not token:
            raise _unauthenticated("token-missing")
        try:
            if isinstance(policy, OneTimeLink):
                async with self._database.reading(Budget.HTTP) as connection:
                    found = await policy.find(Reader(connection), token, await read_context(connection))
                if found is not None:
                    return found
                raise _unauthenticated("link-not-valid")
            principal = await self._authenticate(token)
        except Unauthenticated as error:
            raise _unauthenticated(error.code) from None
        if isinstance(policy, Bearer) and not principal.roles & policy.roles:
            await self._refused(route, request, principal, target_of(dict(request.match_info)), "role")
            raise Problem(problems.FORBIDDEN, close=True)
        return principal

    async def _refused(self, route: Route, request: web.Request, principal: Principal, target: str, reason: str) -> None:
        """Somebody who is known tried what they may not do: that is written down too."""
        origin = self._origin(request)
        asked = Asked(principal, Nothing(), Nothing(), Nothing(), request_id=request["request_id"], origin=origin)
        printable = "".join(character for character in target if character.isprintable())[:200]
        patient = request.match_info.get("patient", "")
        entry = audit_entry(route, asked, printable, reason=reason, patient=patient if _ID.match(patient) else "")
        await self._reads.record(replace(entry, action=f"{entry.action}:refused"))

    async def _body(self, route: Route, request: web.Request) -> bytes:
        if not request.body_exists:
            return b""
        if request.headers.get("Expect"):
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0
        chunks: list[bytes] = []
        size = 0
        try:
            # One deadline for the whole body: aiohttp has none, and a byte now and then would hold a connection for ever.
            async with asyncio.timeout(self._settings.body_timeout_s):
                while chunk := await request.content.readany():
                    size += len(chunk)
                    if size > route.max_body:
                        raise Problem(problems.BODY_TOO_LARGE, close=True)
                    chunks.append(chunk)
        except TimeoutError:
            raise Problem(problems.TIMEOUT, close=True) from None
        except (web.RequestPayloadError, ValueError):
            raise Problem(problems.MALFORMED_REQUEST, close=True) from None
        return b"".join(chunks)

    async def _relationship(self, route: Route, asked: Asked[Any, Any, Any], reader: Reader, context: Context) -> str:
        policy = route.policy
        if not isinstance(policy, Bearer):
            return type(policy).__name__
        return await policy.relationship(reader, asked.principal, route.record(asked), context)

    async def _read(self, route: Route, request: web.Request, asked: Asked[Any, Any, Any], find: Find) -> web.Response:
        record = route.record(asked)
        target = target_of(record)
        async with self._database.reading(Budget.HTTP) as connection:
            context = await read_context(connection)
            reader = Reader(connection)
            related = await self._relationship(route, asked, reader, context)
            found = await find(reader, context) if related else None
        if found is None:
            await self._refused(route, request, asked.principal, target, "relationship")
            raise Problem(problems.NOT_FOUND)
        if route.audit is not None:
            shown = "" if isinstance(found, Rejected) else ",".join(found.shown)
            reason = f"{request.query_string[:500]} -> {shown}" if shown or request.query_string else ""
            patient = record.get("patient", "") or ("" if isinstance(found, Rejected) else found.patient)
            await self._reads.record(audit_entry(route, asked, target, related=related, reason=reason, patient=patient))
        if isinstance(found, Rejected):
            raise Problem(_kind(route, found))
        if isinstance(found.body, Printed):
            headers = {"Content-Security-Policy": found.body.policy, "Referrer-Policy": "no-referrer"}
            return web.Response(text=found.body.html, content_type="text/html", headers=headers)
        answer = self._success(route, route.status, found.body.model_dump_json().encode())
        if found.after:
            answer.headers["Link"] = link(request.path, list(request.query.items()), found.after)
        return answer

    async def _stream(
        self, route: Route, request: web.Request, asked: Asked[Any, Any, Any], follow: Follow
    ) -> web.StreamResponse:
        record = route.record(asked)
        target = target_of(record)
        async with self._database.reading(Budget.HTTP) as connection:
            related = await self._relationship(route, asked, Reader(connection), await read_context(connection))
        if not related:
            await self._refused(route, request, asked.principal, target, "relationship")
            raise Problem(problems.NOT_FOUND)

        async def audited(shown: Sequence[str] = ()) -> None:
            reason = f"{request.query_string[:500]} -> {','.join(shown)}"
            patient = record.get("patient", "")
            await self._reads.record(audit_entry(route, asked, target, related=related, reason=reason, patient=patient))

        await audited()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        return await self._streams.serve(request, response, follow, asked.principal.expires_at, audited)

    async def _write(self, route: Route, request: web.Request, asked: Asked[Any, Any, Any], decide: Decide) -> web.Response:
        record = route.record(asked)
        target = target_of(record)
        related = "role"
        if isinstance(route.policy, Bearer) and route.policy.relationship is not role_is_enough:
            async with self._database.reading(Budget.HTTP) as connection:
                related = await self._relationship(route, asked, Reader(connection), await read_context(connection))
            if not related:
                await self._refused(route, request, asked.principal, target, "relationship")
                raise Problem(problems.NOT_FOUND)
        key = _idempotency_key(route, request, asked)
        versions = _if_match(request) if route.edits is not None else ()

        async def whole(read: Reader, context: Context) -> Changes | Rejected:
            if route.edits is not None:
                version = await route.edits(read, asked)
                if version is None:
                    return _rejected(problems.NOT_FOUND)
                if version not in versions:
                    return _rejected(problems.PRECONDITION_FAILED)
            decided = await decide(read, context)
            if isinstance(decided, Rejected):
                kind = _kind(route, decided)
                return replace(decided, status=kind.status, body=decided.body or problems.document(kind))
            patient = record.get("patient", "") or decided.patient
            reason = f" -> {','.join(decided.shown)}" if decided.shown else ""
            entry = audit_entry(route, asked, target, related=related, reason=reason, patient=patient)
            return replace(decided, audit=[*decided.audit, entry])

        outcome = await self._unit_of_work.execute(whole, key=key, one_snapshot=route.edits is not None or route.alone)
        if isinstance(outcome, Rejected):
            if not outcome.body:
                kind = _kind(route, outcome)
                raise Problem(kind, headers=_RETRY if kind.status == 409 else {})
            return web.Response(body=outcome.body, status=outcome.status, content_type=problems.CONTENT_TYPE)
        return self._success(route, outcome.status, outcome.body)

    def _success(self, route: Route, status: int, body: bytes) -> web.Response:
        if status >= 400:  # a stored refusal, replayed
            return web.Response(body=body, status=status, content_type=problems.CONTENT_TYPE)
        answer = web.Response(body=body or None, status=status, content_type="application/json" if body else None)
        if route.response is not None and body and ("version" in route.response.model_fields or route.location):
            shown = route.response.model_validate_json(body)
            version = getattr(shown, "version", None)
            if version is not None:
                answer.headers["ETag"] = f'"{version}"'
            if route.location:
                answer.headers["Location"] = route.location.format_map({name: str(value) for name, value in shown})
        return answer


# --- pieces ------------------------------------------------------------------------------------------------------------


async def _nobody(_: str) -> Principal:
    raise Unauthenticated("token-not-verifiable")


async def _expect(request: web.Request) -> None:
    # 100 Continue is sent only once the body is wanted: after the token and the announced size were looked at.
    if request.headers.get("Expect", "").lower() != "100-continue":
        raise Problem(problems.EXPECTATION_FAILED, close=True)


def _check_length(route: Route, request: web.Request) -> None:
    if (request.content_length or 0) > route.max_body:
        raise Problem(problems.BODY_TOO_LARGE, close=True)
    if not request.body_exists:
        return
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise Problem(problems.UNSUPPORTED_MEDIA_TYPE, headers={"Accept-Encoding": "identity"}, close=True)
    if route.method not in ("GET", "DELETE") and request.content_type not in route.media_types:
        raise Problem(problems.UNSUPPORTED_MEDIA_TYPE, headers={"Accept": ", ".join(route.media_types)}, close=True)


def _unauthenticated(code: str) -> Problem:
    return Problem(problems.UNAUTHENTICATED, reason=code, headers={"WWW-Authenticate": "Bearer"}, close=True)


def _sender(policy: WebhookSignature, request: web.Request, raw: bytes) -> Principal:
    headers = {name.lower(): value for name, value in request.headers.items()}
    try:
        policy.verify(Signed(headers, raw, str(request.url)))
    except Unauthenticated as error:
        raise _unauthenticated(error.code) from None
    return Principal("webhook", policy.sender, policy.sender, frozenset(), f"webhook:{policy.sender}")


def _asked(route: Route, request: web.Request, principal: Principal, raw: bytes, origin: str) -> Asked[Any, Any, Any]:
    path = _path(route, request)
    wrong: list[FieldProblem] = []
    query: BaseModel = Nothing()
    repeated = sorted({name for name in request.query if len(request.query.getall(name)) > 1})
    wrong += [FieldProblem(name[:64], "repeated-parameter", "parameter") for name in repeated]
    try:
        query = strict_json.read_parameters(dict(request.query), route.query_model)
    except ValidationError as error:
        wrong += strict_json.problems_of(error, dict(request.query), "parameter")
    if wrong:
        raise Problem(problems.INVALID_PARAMETERS, errors=[replace(one, at=one.at[:64]) for one in wrong])
    return Asked(
        principal=principal,
        body=_parsed(route, raw),
        path=path,
        query=query,
        raw=raw,
        headers={name.lower(): value for name, value in request.headers.items()},
        origin=origin,
        request_id=request["request_id"],
    )


def _path(route: Route, request: web.Request) -> BaseModel:
    try:
        return strict_json.read_parameters(dict(request.match_info), route.path)
    except ValidationError:
        raise Problem(problems.NOT_FOUND) from None  # a name that no record can have


def _parsed(route: Route, raw: bytes) -> BaseModel:
    if route.request is None:
        if raw and not isinstance(route.policy, WebhookSignature):
            raise Problem(problems.MALFORMED_BODY, errors=[FieldProblem("", "no-body-wanted")])
        return Nothing()
    try:
        return strict_json.read(raw, route.request)
    except strict_json.Malformed as error:
        raise Problem(problems.MALFORMED_BODY, errors=[FieldProblem("", error.code)]) from None
    except strict_json.Invalid as error:
        raise Problem(problems.INVALID_BODY, errors=error.errors) from None


def _idempotency_key(route: Route, request: web.Request, asked: Asked[Any, Any, Any]) -> IdempotencyKey | None:
    if route.idempotency is None:
        return None
    if isinstance(route.idempotency, NaturalKey):
        if route.idempotency.key is None:
            return None
        text = route.idempotency.key(asked)
    else:
        given = request.headers.getall("Idempotency-Key", [])
        match = _KEY.match(given[0]) if len(given) == 1 else None
        if match is None:
            code = "repeated" if len(given) > 1 else "wrong-form" if given else "required"
            raise Problem(problems.INVALID_PARAMETERS, errors=[FieldProblem("Idempotency-Key", code, "header")])
        text = match[1] or match[2]
    who = asked.principal
    # Where the request went is part of what it said.
    said = f"{request.method} {request.path_qs}\n".encode() + asked.raw
    return IdempotencyKey.of(who.issuer, who.subject, who.client, route.name, text, said)


def _if_match(request: web.Request) -> tuple[int, ...]:
    given = ",".join(request.headers.getall("If-Match", []))
    if not given:
        raise Problem(problems.PRECONDITION_REQUIRED)
    matches = [_ETAG.match(part.strip()) for part in given.split(",")[:8]]
    # A weak tag, or one that is not ours, names no version of this record.
    return tuple(int(match[1]) for match in matches if match is not None)


def _rejected(kind: ProblemType) -> Rejected:
    return Rejected(kind.code, status=kind.status, body=problems.document(kind), final=False)


def _kind(route: Route, rejected: Rejected) -> ProblemType:
    for kind in (*route.errors, *problems.KERNEL.values(), problems.NOT_FOUND):
        if kind.code == rejected.code:
            return kind
    _log.error("undeclared-rejection", code=rejected.code, route=route.name)
    return ProblemType(rejected.code, rejected.status, "Refused")
