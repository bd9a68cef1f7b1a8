"""What schemathesis is told beside the document; loaded by its command line (``SCHEMATHESIS_HOOKS``)."""

import json
from typing import Any

import schemathesis

__all__ = ["RULES", "valid_by_schema_is_refused_by_rules_only"]

RULES = frozenset({
    "idempotency-key-reused",   # depends on what was sent before
    "ends-before-it-starts",    # two fields together
    "offset-and-zone", "no-offset",
    "unknown-zone",             # a list that changes every year
    "not-a-cursor",             # opaque: only what a page has handed out
    "not-an-integer",           # 1.0 is an integer to JSON Schema, and none to us
})  # fmt: skip
"""Why a request may be refused that fits the schema. Everything else that is refused, the schema has to tell."""

_LOOSE = "/due"
"""Of the test ledger alone: either of two forms of a time, as plain text."""


@schemathesis.check
def valid_by_schema_is_refused_by_rules_only(
    ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case[Any]
) -> None:
    """A schema that promises more than is taken misleads whoever writes a client from it."""
    if case.meta is None or not case.meta.generation.mode.is_positive or response.status_code not in (400, 422):
        return
    problem = json.loads(response.content)
    codes = {error["code"] for error in problem.get("errors", ()) if error.get("pointer") != _LOOSE} or {problem["code"]}
    codes -= {"invalid-body"}
    assert codes <= RULES, f"{case.method} {case.path} fits the schema and is refused: {problem}"
