"""The local issuer's people, keys and tokens. For a stack on one machine only: nothing of it is taken in production."""

import base64
import os
import secrets
import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.cli.stack.errors import StackError
from services.cli.stack.keys import write_private_key
from services.cli.stack.ports import HOST
from services.cli.stack.settings import StackSettings
from services.runtime.settings import Environment, ProcessSettings, load

__all__ = ["AUDIENCE", "TOKEN_S", "Keys", "Person", "issuer_url", "people", "refuse_in_production"]

AUDIENCE = "telemed"
TOKEN_S = 3600
_KEPT = 3
"""Older keys stay published for the tokens that they have signed."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who can sign in here: login, id in our records, what the sign-in page calls them, roles."""

    login: str
    person: str
    name: str
    roles: tuple[str, ...]


def people() -> Mapping[str, Person]:
    """Everybody, by login."""
    document = tomllib.loads(Path(__file__).with_name("people.toml").read_text(encoding="utf-8"))
    return {
        f"{kind}.{letter}": Person(f"{kind}.{letter}", one["person"], one["name"], tuple(one["roles"]))
        for kind, letters in document.items()
        for letter, one in letters.items()
    }


def issuer_url(settings: StackSettings) -> str:
    """What stands in ``iss`` of this stack's tokens; also where its issuer listens."""
    return f"http://{HOST}:{settings.port(settings.issuer_port)}"


def refuse_in_production() -> None:
    """Stop unless this is a local stack's own process or command.

    Unset, ``TELEMED_ENV`` means production as it does for services, but for who has named no provider: that is the local stack.

    Raises:
        StackError: this is production.
        SettingsError: ``TELEMED_ENV`` says neither.
    """
    named = any(os.environ.get(f"TELEMED_OIDC_ISSUER{form}") for form in ("", "_FILE"))
    if (named or "TELEMED_ENV" in os.environ) and load(ProcessSettings).env is Environment.PRODUCTION:
        raise StackError("the local issuer is refused in production: people sign in at the provider in TELEMED_OIDC_ISSUER")


class Keys:
    """A folder of Ed25519 keys, readable by their owner only. The newest signs; all are published."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def rotate(self) -> str:
        """Make another key, which signs from now on; returns its id. Only the newest few are kept."""
        # Names sort by age.
        kid = f"local-{time.time_ns():020d}-{secrets.token_hex(4)}"
        write_private_key(self._folder / f"{kid}.pem")
        for old in self._files()[:-_KEPT]:
            old.unlink(missing_ok=True)
        return kid

    def ensure(self) -> None:
        """Make the first key if there is none."""
        if not self._files():
            self.rotate()

    def published(self) -> dict[str, Any]:
        """The JWK set (RFC 7517, 8037)."""
        return {"keys": [_jwk(path.stem, _read(path)) for path in self._files()]}

    def token(self, person: Person, issuer: str, *, client: str, signed_in_at: int, lifetime_s: int = TOKEN_S) -> str:
        """An access token (RFC 9068) as the newest key signs it.

        Raises:
            StackError: there is no key: the stack was never started here.
        """
        files = self._files()
        if not files:
            raise StackError(f"no key in {self._folder}: start the stack once (telemed up)")
        now = int(time.time())
        claims = {
            "iss": issuer,
            "aud": AUDIENCE,
            "sub": person.login,
            "azp": client,
            "person": person.person,
            "roles": list(person.roles),
            "auth_time": signed_in_at,
            "iat": now,
            "nbf": now,
            "exp": now + lifetime_s,
            "jti": secrets.token_hex(8),
        }
        return jwt.encode(claims, _read(files[-1]), "EdDSA", headers={"typ": "at+jwt", "kid": files[-1].stem})

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("local-*.pem"))


def _read(path: Path) -> Ed25519PrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, Ed25519PrivateKey):
        raise StackError(f"{path} is not an Ed25519 key")
    return key


def _jwk(kid: str, key: Ed25519PrivateKey) -> dict[str, Any]:
    raw = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    coded = base64.urlsafe_b64encode(raw).decode().rstrip("=")
    return {"kty": "OKP", "crv": "Ed25519", "x": coded, "kid": kid, "alg": "EdDSA", "use": "sig"}
