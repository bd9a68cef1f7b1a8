"""A route, declared once. Checks, access table, OpenAPI document and tests are all made from this declaration."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, get_args

from pydantic import BaseModel
from typing_extensions import TypeVar

from services.runtime.database import Reader
from services.runtime.edge.fields import TEXT_FORMS, Request
from services.runtime.edge.policy import Bearer, Policy, Public, WebhookSignature
from services.runtime.edge.principal import Principal
from services.runtime.edge.problems import ProblemType
from services.runtime.edge.stream import Follow
from services.runtime.messaging.changes import Changes, Context, Rejected, Reply

__all__ = [
    "KEY_REQUIRED",
    "Asked",
    "Example",
    "Find",
    "Found",
    "NaturalKey",
    "Nothing",
    "Route",
    "RouteError",
    "Version",
    "check",
    "reply",
]

SAFE = frozenset({"GET"})
METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
_PARAMETER = re.compile(r"{([a-z_]+)}")


class RouteError(ValueError):
    """A route is declared wrongly; the service does not start."""


class Nothing(Request):
    """No parameters, no body."""


B = TypeVar("B", bound=BaseModel, default=Nothing)
P = TypeVar("P", bound=BaseModel, default=Nothing)
Q = TypeVar("Q", bound=BaseModel, default=Nothing)


@dataclass(frozen=True, slots=True)
class Asked(Generic[B, P, Q]):
    """A request that is well-formed, authenticated and allowed for its role.

    Attributes:
        principal: who asks.
        body: validated.
        path: validated path parameters.
        query: validated query parameters.
        raw: the body's bytes; for webhooks that are no JSON.
        headers: lower-case names; for webhooks that say something there.
        origin: address of the client.
        request_id: of this request; also in its logs and in the answer's headers.
    """

    principal: Principal
    body: B
    path: P
    query: Q
    raw: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    origin: str = ""
    request_id: str = ""


Decide = Callable[[Reader, Context], Awaitable[Changes | Rejected]]
Find = Callable[[Reader, Context], Awaitable["Found | Rejected"]]
Version = Callable[[Reader, Asked[Any, Any, Any]], Awaitable[int | None]]
"""The version of the record that a request edits; None when there is no such record."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a read answers with.

    Attributes:
        body: the answer.
        shown: ids of the records that it shows, for the audit row of a list.
        after: key of the last item when there is more: the next page begins behind it.
        patient: whose record it is, for the audit row, where the request does not say so.
    """

    body: BaseModel
    shown: Sequence[str] = ()
    after: Sequence[str] = ()
    patient: str = ""


@dataclass(frozen=True, slots=True)
class NaturalKey:
    """A request that comes twice does nothing twice by what it says, so it needs no ``Idempotency-Key``.

    Attributes:
        of: what makes it unique, for the document; e.g. ``session and sequence``.
        key: takes a key from the request, under which its answer is kept like that of an ``Idempotency-Key``; without it, the
            command's own rows must refuse or absorb the second time.
    """

    of: str
    key: Callable[[Asked[Any, Any, Any]], str] | None = None


@dataclass(frozen=True, slots=True)
class _KeyRequired:
    pass


KEY_REQUIRED = _KeyRequired()
"""The client sends an ``Idempotency-Key``; the same key and body get the same answer for seven days."""


@dataclass(frozen=True, slots=True)
class Example:
    """A request and its answer, shown in the document."""

    request: Mapping[str, Any] | None = None
    response: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Route:
    """One operation of a service.

    Attributes:
        name: unique in the service, snake_case; the operation's id, the idempotency scope and the metrics' label.
        summary: one line.
        policy: who may use it. There is no default: a route without one cannot be declared.
        audit: what the audit row says was done; None only where nobody's record is read or written.
        command: makes the decision of a write from the request.
        query: makes the look-up of a read from the request.
        stream: makes what feeds an answer that goes on (Server-Sent Events) from the request.
        request, path, query_model: models of body, path and query parameters.
        response: model of the answer's body, None for no body. Its field ``version`` becomes the ``ETag``.
        status: of success.
        idempotency: for unsafe methods that are not repeatable by nature (POST, PATCH): ``KEY_REQUIRED`` or a ``NaturalKey``.
        edits: reads the version that ``If-Match`` must name; then the header is required.
        alone: whether a command has its transaction to itself, so that it waits for no other's.
        about: which record a request is about: names to ids. Default: the path parameters.
        errors: what the decision may answer beside the edge's own errors.
        media_types: what the body may be.
        max_body: in bytes; larger is refused before parsing.
        location: path of what was made, from fields of the answer.
        examples: shown in the document, and tried in its test.
    """

    name: str
    method: str
    path_template: str
    summary: str
    policy: Policy
    audit: str | None
    command: Callable[[Any], Decide] | None = None
    query: Callable[[Any], Find] | None = None
    stream: Callable[[Any], Follow] | None = None
    request: type[BaseModel] | None = None
    path: type[BaseModel] = Nothing
    query_model: type[BaseModel] = Nothing
    response: type[BaseModel] | None = None
    status: int = 200
    idempotency: _KeyRequired | NaturalKey | None = None
    edits: Version | None = None
    alone: bool = False
    about: Callable[[Any], Mapping[str, str]] | None = None
    errors: tuple[ProblemType, ...] = ()
    media_types: tuple[str, ...] = ("application/json",)
    max_body: int = 64 * 1024
    location: str = ""
    examples: tuple[Example, ...] = ()

    def record(self, asked: Asked[Any, Any, Any]) -> Mapping[str, str]:
        """Names and ids of what this request is about."""
        if self.about is not None:
            return self.about(asked)
        return {name: str(value) for name, value in asked.path}


def reply(body: BaseModel, status: int = 200) -> Reply:
    """A command's answer."""
    return Reply(status, body.model_dump_json().encode())


def check(routes: Sequence[Route]) -> None:
    """Refuse wrong declarations, all at once.

    Raises:
        RouteError: naming every route and what is wrong with it.
    """
    problems: list[str] = []
    seen: set[str] = set()
    for route in routes:
        for label in (route.name, f"{route.method} {_PARAMETER.sub('{}', route.path_template)}"):
            if label in seen:
                problems.append(f"{route.name}: {label} is declared twice")
            seen.add(label)
        problems += [f"{route.name}: {problem}" for problem in _problems(route)]
    if problems:
        raise RouteError("; ".join(problems))


def _problems(route: Route) -> list[str]:
    safe = route.method in SAFE
    rules = (
        (isinstance(route.policy, get_args(Policy)), "has no policy"),
        (bool(re.fullmatch("[a-z][a-z0-9_]*", route.name)), "has a name that is not snake_case"),
        (route.method in METHODS, f"has the method {route.method}"),
        (route.path_template.startswith("/"), "has a path that does not begin with /"),
        (
            set(_PARAMETER.findall(route.path_template)) == set(route.path.model_fields),
            "has other path parameters than its path",
        ),
        (
            [route.command, route.query, route.stream].count(None) == 2,
            "needs a command, a query or a stream, one of them",
        ),
        (safe == (route.command is None), "a GET reads, every other method writes"),
        (route.stream is None or isinstance(route.policy, Bearer), "is a stream, and those are for people who sign in"),
        (not safe or route.request is None, "takes a body with a GET"),
        (
            route.audit is not None or (safe and isinstance(route.policy, Public)),
            "has no audit action: only public reads may do without",
        ),
        (not safe or (route.idempotency is None and route.edits is None), "is safe and needs neither key nor If-Match"),
        (
            route.method not in ("POST", "PATCH") or route.idempotency is not None or route.edits is not None,
            "is unsafe and declares neither an idempotency key nor a natural one",
        ),
        (
            not isinstance(route.policy, WebhookSignature) or isinstance(route.idempotency, NaturalKey),
            "is a webhook: its sender knows no Idempotency-Key, declare a natural one",
        ),
        (not isinstance(route.policy, Bearer) or bool(route.policy.roles), "names no role"),
        (not _texts(route.path) | _texts(route.query_model), "takes free text in its URL, which others keep in their logs"),
        (200 <= route.status < 300, "has a status of success outside 2xx"),
    )
    return [problem for holds, problem in rules if not holds]


def _texts(model: type[BaseModel]) -> set[str]:
    """Parameters that take any text, names of people included: neither a code, an id, a time, nor one word of a list."""
    found = set()
    for name, schema in model.model_json_schema().get("properties", {}).items():
        for branch in schema.get("anyOf", [schema]):
            formed = branch.keys() & {"format", "enum", "const"} or branch.get("pattern") not in (None, *TEXT_FORMS)
            if branch.get("type") == "string" and not formed:
                found.add(name)
    return found
