"""What the declarations are turned into: a valid OpenAPI 3.1 document, an access table, a page; and what start refuses."""

from dataclasses import replace
from typing import Any

import pytest
from openapi_spec_validator import validate

from services.runtime.edge.fields import Line, Request
from services.runtime.edge.openapi import access_table, document, page
from services.runtime.edge.route import RouteError, check
from tests.support.ledger.http import ROUTES


def test_the_document_is_valid_for_an_outside_validator() -> None:
    made: Any = document("ledger", ROUTES)
    validate(made)
    post = made["paths"]["/entries"]["post"]
    assert {"201", "400", "401", "403", "404", "409", "413", "415", "422", "503"} <= set(post["responses"])
    assert "overdrawn" in post["responses"]["409"]["content"]["application/problem+json"]["examples"]


def test_the_access_table_names_each_route_once() -> None:
    table = access_table([("ledger", ROUTES)])
    assert all(table.count(f"`{route.method} {route.path_template}`") == 1 for route in ROUTES)
    assert "| `GET /accounts` |  | x | x |" in table


def test_the_page_loads_nothing() -> None:
    shown = page("ledger", ROUTES)
    assert not [word for word in ("<script", "src=", "<link", "url(", "http://", "https://") if word in shown]


class Searched(Request):
    """By a name, which every proxy on the way would write down."""

    name: Line


class Written(Request):
    """Anything at all."""

    name: str | None = None


@pytest.mark.parametrize("model", [Searched, Written])
def test_a_route_with_free_text_in_its_url_does_not_start(model: type[Request]) -> None:
    listing = next(route for route in ROUTES if route.name == "list_accounts")
    check([listing])
    with pytest.raises(RouteError, match="free text in its URL"):
        check([replace(listing, query_model=model)])


@pytest.mark.parametrize(
    "wrong", [{"policy": None}, {"audit": None}, {"idempotency": None}, {"name": "Not Snake"}, {"command": None}]
)
def test_a_route_without_policy_audit_key_or_command_does_not_start(wrong: dict[str, Any]) -> None:
    with pytest.raises(RouteError):
        check([replace(ROUTES[0], **wrong)])
