"""An electronic signature: a fresh sign-in, what it means, the licence, and the hash of exactly what was shown.

Never a yes: the signer is known by a sign-in at most five minutes old, and what they sign is named by its SHA-256, so that
nobody signs another version than the one they saw. The row goes into the transaction of what is signed and is never changed.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any

import uuid_utils.compat
from pydantic import BaseModel, Field

from services.runtime.edge.fields import Code, Request
from services.runtime.edge.principal import Principal
from services.runtime.edge.problems import ProblemType
from services.runtime.messaging.changes import Append, Context, Rejected

__all__ = ["FRESH", "SIGNATURE_PROBLEMS", "SignatureBody", "Signed", "content_hash", "sign"]

FRESH = timedelta(minutes=5)
"""How old the sign-in of a signer may be; real time, as tokens are."""

_NOT_FRESH = ProblemType("sign-in-again", 403, "A signature needs a sign-in at most five minutes old")
_NOT_SHOWN = ProblemType("not-what-was-shown", 409, "What was shown to the signer is not what would be signed")
SIGNATURE_PROBLEMS = (_NOT_FRESH, _NOT_SHOWN)
"""What every route that takes a signature may answer."""


class SignatureBody(Request):
    """Part of the body of a request that signs.

    Attributes:
        meaning: what the signature says, e.g. ``approved``, ``authored``, ``witnessed``.
        licence: the licence under which it is given.
        shown: SHA-256 in hex of what was shown, as the answer that showed it gave it.
    """

    meaning: Code
    licence: Code
    shown: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature that holds: its id, its row, and what goes into the public event."""

    id: Any
    row: Append
    by: str
    hash: str
    at: datetime


def content_hash(content: BaseModel) -> str:
    """SHA-256 in hex over the canonical JSON of what is shown: keys sorted, no spaces, nothing left out."""
    document = content.model_dump(mode="json")
    return hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()).hexdigest()


def sign(
    given: SignatureBody, who: Principal, content: BaseModel, *, subject: str, version: int, context: Context
) -> Signed | Rejected:
    """Check a signature.

    Args:
        given: what the signer sent.
        who: by the token.
        content: what is signed, as the service would show it now.
        subject: what it is about, as a path: ``plans/<id>``.
        version: of what is signed.
        context: ``recorded`` is compared with the sign-in, ``now`` is when it was signed.

    Returns:
        The signature, or ``sign-in-again`` or ``not-what-was-shown``.
    """
    if who.authenticated_at is None or not timedelta(0) <= context.recorded - who.authenticated_at + _SKEW <= FRESH + _SKEW:
        return Rejected(_NOT_FRESH.code, final=False)
    wanted = content_hash(content)
    if given.shown != wanted:
        return Rejected(_NOT_SHOWN.code, final=False)
    identifier = uuid_utils.compat.uuid7()
    row = Append(
        "signature",
        {
            "id": identifier,
            "subject": subject,
            "version": version,
            "shown_hash": bytes.fromhex(wanted),
            "meaning": given.meaning,
            "signer": who.person,
            "issuer": who.issuer,
            "licence": given.licence,
            "authenticated_at": who.authenticated_at,
            "signed_at": context.now,
        },
    )
    return Signed(identifier, row, who.person, wanted, context.now)


_SKEW = timedelta(seconds=30)
"""The provider's clock may be ahead of the database's."""
