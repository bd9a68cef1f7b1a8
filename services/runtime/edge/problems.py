"""Errors as the edge tells them: RFC 9457 problem documents with stable codes, and JSON pointers to every bad field.

A problem never holds what the client sent, and nothing that differs from one try to the next: a replayed answer must be the
same bytes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aiohttp import web

__all__ = ["CONTENT_TYPE", "FieldProblem", "Problem", "ProblemType", "document", "response"]

CONTENT_TYPE = "application/problem+json"
_SHOWN = 100
"""Field problems of one answer: enough for any honest client."""


@dataclass(frozen=True, slots=True)
class ProblemType:
    """A kind of error. ``code`` never changes its meaning; ``title`` is for people and may be reworded."""

    code: str
    status: int
    title: str


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One thing that is wrong.

    Attributes:
        at: JSON pointer into the body, or a parameter's name.
        code: stable.
        place: which of the two: ``pointer``, ``parameter`` or ``header``.
    """

    at: str
    code: str
    place: str = "pointer"

    @classmethod
    def of_path(cls, path: str, code: str, root: str = "") -> "FieldProblem":
        """From a dotted path: ``trials[0].dose`` under ``/answers`` is ``/answers/trials/0/dose``."""
        return cls(f"{root}/{path.replace('[', '.').replace(']', '').replace('.', '/')}"[:200], code)


class Problem(Exception):
    """Ends the handling of a request with a problem document."""

    def __init__(
        self,
        kind: ProblemType,
        *,
        reason: str = "",
        errors: Sequence[FieldProblem] = (),
        headers: Mapping[str, str] | None = None,
        close: bool = False,
    ) -> None:
        super().__init__(kind.code)
        self.kind = kind
        self.reason = reason
        self.errors = errors
        self.headers = headers or {}
        self.close = close


def document(kind: ProblemType, *, reason: str = "", errors: Sequence[FieldProblem] = ()) -> bytes:
    """The problem document."""
    found: dict[str, object] = {
        "type": f"urn:telemed:problem:{kind.code}",
        "title": kind.title,
        "status": kind.status,
        "code": kind.code,
    }
    if reason:
        found["reason"] = reason
    if errors:
        found["errors"] = [{error.place: error.at, "code": error.code} for error in errors[:_SHOWN]]
    return json.dumps(found).encode()


def response(problem: Problem) -> web.Response:
    """The problem as an HTTP response."""
    kind = problem.kind
    body = document(kind, reason=problem.reason, errors=problem.errors)
    answer = web.Response(body=body, status=kind.status, headers=problem.headers, content_type=CONTENT_TYPE)
    if problem.close:
        answer.force_close()
    return answer


MALFORMED_REQUEST = ProblemType("malformed-request", 400, "The bytes are not an HTTP request that is understood here")
MALFORMED_BODY = ProblemType("malformed-body", 400, "The body is not one JSON document in UTF-8")
INVALID_PARAMETERS = ProblemType("invalid-parameters", 400, "Parameters or headers are missing or wrong")
UNAUTHENTICATED = ProblemType("unauthenticated", 401, "Who is asking could not be verified")
FORBIDDEN = ProblemType("forbidden", 403, "This role may not do this")
ORIGIN_REFUSED = ProblemType("origin-not-allowed", 403, "Pages of this origin may not call this service")
NOT_FOUND = ProblemType("not-found", 404, "There is no such thing, or none that you may see")
METHOD_NOT_ALLOWED = ProblemType("method-not-allowed", 405, "This method is not offered here")
TIMEOUT = ProblemType("request-timeout", 408, "The body did not arrive in time")
IN_PROGRESS = ProblemType("request-in-progress", 409, "A request with the same idempotency key is being worked on; ask again")
CONFLICT = ProblemType("conflict", 409, "Others changed the same record at the same time; ask again")
PRECONDITION_FAILED = ProblemType("precondition-failed", 412, "The record has changed since you read it")
BODY_TOO_LARGE = ProblemType("body-too-large", 413, "The body is larger than this route takes")
EVENT_TOO_LARGE = ProblemType("event-too-large", 413, "What follows from this request is too large to be told to others")
UNSUPPORTED_MEDIA_TYPE = ProblemType("unsupported-media-type", 415, "The body's type or encoding is not taken here")
EXPECTATION_FAILED = ProblemType("expectation-failed", 417, "The expectation is not known here")
INVALID_BODY = ProblemType("invalid-body", 422, "Fields of the body are missing or wrong")
KEY_REUSED = ProblemType("idempotency-key-reused", 422, "This idempotency key was used for another request")
PRECONDITION_REQUIRED = ProblemType("precondition-required", 428, "Say which version you have read: If-Match is required")
TOO_MANY_REQUESTS = ProblemType("too-many-requests", 429, "Too many requests; wait")
INTERNAL = ProblemType("internal-error", 500, "Something is broken here; nothing about it is told outside")
UNAVAILABLE = ProblemType("unavailable", 503, "Not possible at the moment; nothing was done")
OUTCOME_UNKNOWN = ProblemType("outcome-unknown", 503, "It may or may not have been done; ask again with the same key")

KERNEL = {kind.code: kind for kind in (IN_PROGRESS, CONFLICT, KEY_REUSED)}
"""Rejections that come from the unit of work itself."""
