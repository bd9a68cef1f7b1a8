"""Asking a declared route as somebody."""

import base64
import json
import re
from collections.abc import Mapping
from typing import Any

import aiohttp
from pydantic import BaseModel

from services.runtime.edge.route import Route

__all__ = ["NOBODY", "ask", "example", "with_algorithm"]

NOBODY = "0192f0a0-0000-7000-8000-000000000001"
"""An id that names nothing."""


async def ask(
    url: str, route: Route, headers: Mapping[str, str], body: object = None, ids: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Ask a route. Returns the status, and the problem's code unless it is a success.

    Args:
        url: of the service.
        route: which.
        headers: with the token.
        body: sent as JSON.
        ids: of records, by the names of the path's parameters; the others are well-formed and name nothing.
    """
    # A stream of events has no end: the head of the answer is enough.
    async with aiohttp.request(route.method, url + _path(route, ids or {}), headers=headers, json=body) as response:
        problem = response.headers.get("Content-Type", "") == "application/problem+json"
        return response.status, (await response.json())["code"] if problem else ""


def example(route: Route) -> object:
    """The body of its first example."""
    return next((one.request for one in route.examples if one.request), None)


def _path(route: Route, ids: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        if match[1] in ids:
            return ids[match[1]]
        schema = _field(route.path, match[1])
        return NOBODY if schema.get("format") == "uuid" else str((schema.get("examples") or schema.get("enum") or ["x1"])[0])

    return re.sub(r"{([a-z_]+)}", value, route.path_template)


def _field(model: type[BaseModel], name: str) -> dict[str, Any]:
    schema: dict[str, Any] = model.model_json_schema()
    found: dict[str, Any] = schema["properties"][name]
    return schema["$defs"][found["$ref"].rpartition("/")[2]] if "$ref" in found else found


def with_algorithm(header: Mapping[str, str], algorithm: str) -> dict[str, str]:
    """A good token whose head claims another algorithm."""
    head, payload, signature = header["Authorization"].removeprefix("Bearer ").split(".")
    claimed = {**json.loads(base64.urlsafe_b64decode(head + "==")), "alg": algorithm}
    head = base64.urlsafe_b64encode(json.dumps(claimed).encode()).decode().rstrip("=")
    return {"Authorization": f"Bearer {head}.{payload}.{'' if algorithm == 'none' else signature}"}
