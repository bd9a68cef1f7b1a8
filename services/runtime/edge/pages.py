"""Keyset pages: a bounded size, and a cursor that holds the key of the last item shown. No counting, no offsets."""

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Annotated
from urllib.parse import urlencode

from pydantic import BeforeValidator, Field, WithJsonSchema

from services.runtime.edge.fields import Request, field_error

__all__ = ["MAX_PAGE", "Cursor", "Page", "cursor", "link"]

MAX_PAGE = 200
_LONGEST = 600
_KEY_PARTS = 4
_KEY_LENGTH = 100


def cursor(key: Sequence[str]) -> str:
    """The opaque form of a key."""
    return base64.urlsafe_b64encode(json.dumps(list(key), separators=(",", ":")).encode()).decode().rstrip("=")


def _read(text: object) -> object:
    # A cursor only says where to go on: it widens nothing, so it needs no signature. What it holds is checked like any input.
    if isinstance(text, tuple):
        return text
    if not isinstance(text, str) or not text or len(text) > _LONGEST:
        raise field_error("not-a-cursor")
    try:
        key = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode("ascii"))
    except (binascii.Error, ValueError, RecursionError):
        raise field_error("not-a-cursor") from None
    if not isinstance(key, list) or not 1 <= len(key) <= _KEY_PARTS:
        raise field_error("not-a-cursor")
    if not all(isinstance(part, str) and len(part) <= _KEY_LENGTH and part.isprintable() for part in key):
        raise field_error("not-a-cursor")
    return tuple(key)


Cursor = Annotated[
    tuple[str, ...],
    BeforeValidator(_read),
    WithJsonSchema({"type": "string", "maxLength": _LONGEST, "pattern": "^[A-Za-z0-9_-]+$"}),
]


class Page(Request):
    """Query parameters of every list; subclass it for filters."""

    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 50
    after: Cursor | None = None


def link(path: str, query: Sequence[tuple[str, str]], key: Sequence[str]) -> str:
    """RFC 8288, relative to the request: the same query behind the last item."""
    kept = [(name, value) for name, value in query if name != "after"]
    return f'<{path}?{urlencode([*kept, ("after", cursor(key))])}>; rel="next"'
