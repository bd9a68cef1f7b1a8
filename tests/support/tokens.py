"""Who calls the ledger in tests: real signed JWTs (Ed25519) of an issuer that exists only here."""

import base64
import json
import time
from datetime import UTC, datetime
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.runtime.edge.principal import Principal, Role, Unauthenticated

__all__ = ["AUDIENCE", "ISSUER", "KEY", "authenticate", "bearer", "encode", "token"]

ISSUER = "https://issuer.test"
AUDIENCE = "ledger"
KEY = Ed25519PrivateKey.from_private_bytes(b"only for the tests of the ledger")
_LONGEST = 8192


def token(person: str = "nurse.a", *roles: Role, **claims: Any) -> str:
    """A token as the issuer makes them; ``claims`` replace its own."""
    now = int(time.time())
    payload = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": person,
        "azp": "tests",
        "roles": [str(role) for role in roles or (Role.NURSE,)],
        "nbf": now - 5,
        "exp": now + 3600,
        **claims,
    }
    return encode({"alg": "EdDSA", "typ": "at+jwt", "kid": "k1"}, payload)


def encode(header: dict[str, Any], payload: dict[str, Any], *, key: Ed25519PrivateKey = KEY) -> str:
    """Any header and payload, signed."""
    signed = ".".join(_b64(json.dumps(part).encode()) for part in (header, payload))
    return f"{signed}.{_b64(key.sign(signed.encode()))}"


def bearer(person: str = "nurse.a", *roles: Role, **claims: Any) -> dict[str, str]:
    """As a header."""
    return {"Authorization": f"Bearer {token(person, *roles, **claims)}"}


async def authenticate(text: str) -> Principal:
    """Verify a token of this issuer."""
    if len(text) > _LONGEST:
        raise Unauthenticated("token-malformed")
    try:
        head, body, signature = text.split(".")
        header, payload = json.loads(_unb64(head)), json.loads(_unb64(body))
        if header["alg"] != "EdDSA" or header["kid"] != "k1":
            raise Unauthenticated("token-not-verifiable")
        KEY.public_key().verify(_unb64(signature), f"{head}.{body}".encode())
        if payload["iss"] != ISSUER or payload["aud"] != AUDIENCE:
            raise Unauthenticated("token-for-another")
        if not payload["nbf"] <= time.time() < payload["exp"]:
            raise Unauthenticated("token-expired")
        roles = frozenset(Role(role) for role in payload["roles"])
        signed_in = datetime.fromtimestamp(payload["auth_time"], UTC) if "auth_time" in payload else None
        return Principal(ISSUER, payload["sub"], payload["azp"], roles, payload["sub"], signed_in)
    except (ValueError, KeyError, TypeError, InvalidSignature, RecursionError):
        raise Unauthenticated("token-malformed") from None


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
