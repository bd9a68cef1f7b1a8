"""Who may use a route: one of four policies, declared with the route and checked before anything is decided."""

import base64
import hashlib
import hmac
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from services.runtime.database import Reader
from services.runtime.edge.principal import Principal, Role, Unauthenticated
from services.runtime.messaging.changes import Context

__all__ = [
    "Bearer",
    "FindLink",
    "OneTimeLink",
    "Policy",
    "Public",
    "Relationship",
    "Signed",
    "WebhookSignature",
    "role_is_enough",
    "standard_webhook",
]

Relationship = Callable[[Reader, Principal, Mapping[str, str], Context], Awaitable[str]]
"""What somebody has to do with the record that a request is about, as its audit row says it (``care-team``); empty: nothing.

Reads the service's own ``patient_fact`` rows. The mapping holds what the route declares in ``about`` (its path parameters,
unless it says otherwise).
"""


async def role_is_enough(_: Reader, __: Principal, ___: Mapping[str, str], ____: Context) -> str:
    """For routes that are about nobody's record."""
    return "role"


@dataclass(frozen=True, slots=True)
class Bearer:
    """A signed-in person or program with one of these roles, and with that relationship to the record."""

    roles: frozenset[Role]
    relationship: Relationship

    def __post_init__(self) -> None:
        if not self.roles:
            raise ValueError("a bearer policy names at least one role")


FindLink = Callable[[Reader, str, Context], Awaitable[Principal | None]]


@dataclass(frozen=True, slots=True)
class OneTimeLink:
    """The holder of a link that was sent to them; ``Authorization: Link <token>``, posted by the page that the link opens.

    Attributes:
        find: whom a token stands for, or None when it is unknown, used up or expired. The command uses it up, in its own
            transaction, by a versioned row: of two that come at once one wins.
    """

    find: FindLink


@dataclass(frozen=True, slots=True)
class Signed:
    """A webhook as it came: nothing of it is parsed before its signature is verified."""

    headers: Mapping[str, str]
    body: bytes
    url: str


@dataclass(frozen=True, slots=True)
class WebhookSignature:
    """A platform that signs its calls.

    Attributes:
        sender: name of the platform; the actor in the audit.
        verify: raises ``Unauthenticated`` unless the raw bytes carry a fresh signature. Real time, never the clinic clock.
    """

    sender: str
    verify: Callable[[Signed], None]


@dataclass(frozen=True, slots=True)
class Public:
    """Anyone, within a rate: ``count`` requests per ``per_s`` seconds for each client address and process."""

    count: int
    per_s: float

    def __post_init__(self) -> None:
        if self.count < 1 or self.per_s <= 0:
            raise ValueError("a public route has a rate limit")


Policy = Bearer | OneTimeLink | WebhookSignature | Public


def standard_webhook(secrets: Callable[[], Sequence[bytes]], *, tolerance_s: int = 300) -> Callable[[Signed], None]:
    """Verifies Standard Webhooks 1.0.0: HMAC-SHA256 over ``id.timestamp.body``, several signatures while keys are rotated.

    Args:
        secrets: the keys that are valid now.
        tolerance_s: how old or new the signed time may be.
    """

    def verify(call: Signed) -> None:
        id_, sent, signatures = (call.headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature"))
        if not (id_ and sent and signatures):
            raise Unauthenticated("signature-missing")
        if not (sent.isascii() and sent.isdigit() and len(sent) <= 12):
            raise Unauthenticated("signature-malformed")
        if abs(time.time() - int(sent)) > tolerance_s:
            raise Unauthenticated("signature-too-old")
        signed = f"{id_}.{sent}.".encode() + call.body
        wanted = [base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)) for secret in secrets()]
        given = [part.removeprefix("v1,").encode() for part in signatures.split(" ")[:8] if part.startswith("v1,")]
        # Every pair is compared, in constant time: how long it takes says nothing about which one fits.
        if not sum(hmac.compare_digest(one, other) for one in given for other in wanted):
            raise Unauthenticated("signature-wrong")

    return verify
