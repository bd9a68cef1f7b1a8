"""The OpenAPI 3.1 document and the access table of some routes, made from their declarations alone."""

import html
import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from services.runtime.edge import problems
from services.runtime.edge.policy import Bearer, OneTimeLink, Public, WebhookSignature
from services.runtime.edge.principal import Role
from services.runtime.edge.printed import Printed
from services.runtime.edge.problems import ProblemType
from services.runtime.edge.route import KEY_REQUIRED, Nothing, Route

__all__ = ["STYLE", "access_table", "document", "page"]

STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}pre{background:#eee;padding:1em;overflow:auto}"
)
_REF = "#/components/schemas/{model}"


def errors_of(route: Route) -> list[ProblemType]:
    """Everything but success that a route may answer with."""
    found = [
        problems.MALFORMED_REQUEST,
        problems.INVALID_PARAMETERS,
        problems.NOT_FOUND,
        problems.INTERNAL,
        problems.UNAVAILABLE,
    ]
    if isinstance(route.policy, Public):
        found.append(problems.TOO_MANY_REQUESTS)
    else:
        found.append(problems.UNAUTHENTICATED)
    if isinstance(route.policy, Bearer):
        found.append(problems.FORBIDDEN)
    # A body is refused for its size or type even where none is wanted.
    found += [problems.TIMEOUT, problems.BODY_TOO_LARGE, problems.UNSUPPORTED_MEDIA_TYPE, problems.EXPECTATION_FAILED]
    found.append(problems.MALFORMED_BODY)
    if route.request is not None:
        found.append(problems.INVALID_BODY)
    if route.command is not None:
        found += [problems.CONFLICT, problems.EVENT_TOO_LARGE, problems.OUTCOME_UNKNOWN]
    if route.idempotency is not None:
        found += [problems.IN_PROGRESS, problems.KEY_REUSED]
    if route.edits is not None:
        found += [problems.PRECONDITION_FAILED, problems.PRECONDITION_REQUIRED]
    return sorted({*found, *route.errors}, key=lambda kind: (kind.status, kind.code))


def document(service: str, routes: Sequence[Route]) -> dict[str, Any]:
    """The OpenAPI document of a service."""
    models = _models(routes)
    references, definitions = models_json_schema([(model, "validation") for model in models], ref_template=_REF)
    refs = {model: schema for (model, _), schema in references.items()}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path_template, {})[route.method.lower()] = _operation(route, refs)
    return {
        "openapi": "3.1.0",
        "info": {"title": service, "version": "1"},
        "paths": paths,
        "components": {
            "schemas": {**definitions.get("$defs", {}), "Problem": _PROBLEM},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "link": {"type": "http", "scheme": "link"},
                "signature": {"type": "apiKey", "in": "header", "name": "webhook-signature"},
            },
        },
    }


_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "reason": {"type": "string"},
        "errors": {"type": "array", "items": {"type": "object", "required": ["code"]}},
    },
}


def _models(routes: Sequence[Route]) -> list[type[BaseModel]]:
    found = [model for route in routes for model in (route.request, route.response) if model not in (None, Printed)]
    return list(dict.fromkeys(found))


def _operation(route: Route, refs: Mapping[Any, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {"operationId": route.name, "summary": route.summary, "parameters": _parameters(route)}
    made["description"] = f"{_who(route)}."
    match route.policy:
        case Bearer():
            made["security"] = [{"bearer": []}]
        case OneTimeLink():
            made["security"] = [{"link": []}]
        case WebhookSignature():
            made["security"] = [{"signature": []}]
        case Public():
            made["security"] = []
    if route.request is not None:
        content: dict[str, Any] = {"schema": refs[route.request]}
        shown = {f"example{n}": {"value": dict(e.request)} for n, e in enumerate(route.examples) if e.request is not None}
        if shown:
            content["examples"] = shown
        made["requestBody"] = {"required": True, "content": dict.fromkeys(route.media_types, content)}
    success: dict[str, Any] = {"description": "Success", "headers": _headers(route)}
    if route.response is Printed:
        success["content"] = {"text/html": {"schema": {"type": "string"}}}
    elif route.response is not None:
        content = {"schema": refs[route.response]}
        shown = {f"example{n}": {"value": dict(e.response)} for n, e in enumerate(route.examples) if e.response is not None}
        if shown:
            content["examples"] = shown
        success["content"] = {"text/event-stream" if route.stream is not None else "application/json": content}
    made["responses"] = {str(route.status): success}
    for kind in errors_of(route):
        answer = made["responses"].setdefault(
            str(kind.status),
            {
                "description": "",
                "content": {problems.CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": {}}},
            },
        )
        answer["description"] = "; ".join(filter(None, (answer["description"], f"{kind.code}: {kind.title}")))
        answer["content"][problems.CONTENT_TYPE]["examples"][kind.code] = {"value": json.loads(problems.document(kind))}
    return made


def _headers(route: Route) -> dict[str, Any]:
    text = {"schema": {"type": "string"}}
    found: dict[str, Any] = {"X-Request-Id": text}
    if route.response is not None and "version" in route.response.model_fields:
        found["ETag"] = text
    if "after" in route.query_model.model_fields:
        found["Link"] = text
    if route.location:
        found["Location"] = text
    return found


def _parameters(route: Route) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for place, model in (("path", route.path), ("query", route.query_model)):
        if model is Nothing:
            continue
        schema = model.model_json_schema()
        for name, field in schema.get("properties", {}).items():
            needed = place == "path" or name in schema.get("required", ())
            found.append({"name": name, "in": place, "required": needed, "schema": field})
    if route.idempotency is KEY_REQUIRED:
        pattern = {"type": "string", "pattern": "^[!#-~]{1,128}$"}
        found.append({"name": "Idempotency-Key", "in": "header", "required": True, "schema": pattern})
    if route.edits is not None:
        pattern = {"type": "string", "pattern": '^"[0-9]{1,18}"$'}
        found.append({"name": "If-Match", "in": "header", "required": True, "schema": pattern})
    return found


def _who(route: Route) -> str:
    match route.policy:
        case Bearer(roles):
            return f"{', '.join(sorted(roles))}; {_relationship(route.policy)}"
        case OneTimeLink():
            return "the holder of a one-time link"
        case WebhookSignature(sender):
            return f"{sender}, by signature"
        case Public(count, per_s):
            return f"anyone, {count} requests in {per_s:g} s"


def _relationship(policy: Bearer) -> str:
    return policy.relationship.__name__.strip("_").replace("_", " ")


def access_table(services: Sequence[tuple[str, Sequence[Route]]]) -> str:
    """Role x route, as Markdown."""
    lines: list[str] = []
    for service, routes in services:
        lines += [f"## {service}", "", "| route | " + " | ".join(Role) + " | how |", "|---" * (len(Role) + 2) + "|"]
        for route in routes:
            roles = route.policy.roles if isinstance(route.policy, Bearer) else frozenset()
            marks = " | ".join("x" if role in roles else "" for role in Role)
            how = _relationship(route.policy) if isinstance(route.policy, Bearer) else _who(route)
            lines.append(f"| `{route.method} {route.path_template}` | {marks} | {how} |")
        lines.append("")
    return "\n".join(lines)


def page(service: str, routes: Sequence[Route]) -> str:
    """The document for people: plain HTML without a script, a font or anything else from another host."""
    made = document(service, routes)
    parts = [f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(service)}</title><style>{STYLE}</style>"]
    parts.append(f"<h1>{html.escape(service)}</h1><p><a href=/openapi.json>openapi.json</a></p>")
    for path, operations in made["paths"].items():
        for method, operation in operations.items():
            shown = html.escape(json.dumps(operation, indent=1))
            parts.append(f"<h2>{method.upper()} {html.escape(path)}</h2><p>{html.escape(operation['summary'])}</p>")
            parts.append(
                f"<p>{html.escape(operation['description'])}</p><details><summary>All</summary><pre>{shown}</pre></details>"
            )
    return "".join(parts)
