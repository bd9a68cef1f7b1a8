"""Who is asking, by the word of an OpenID Connect provider: a bearer JWT (RFC 9068) against its published keys (RFC 7517).

A token says which key signed it and how; both are only looked up, never followed: the algorithm must be on our list and fit
the key, the key must be one that the provider publishes now, and nothing in a token makes us fetch anything but that list.
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from services.runtime.database import Unavailable
from services.runtime.edge.principal import Principal, Role, Unauthenticated
from services.runtime.log import get_logger
from services.runtime.settings import OidcSettings, SettingsError
from services.runtime.waiting import within

__all__ = ["Oidc"]

_LONGEST_TOKEN = 8192
_LONGEST_ANSWER = 256 * 1024
_LONGEST_ID = 200
_SMALLEST_RSA = 2048
_TYPES = frozenset({"at+jwt", "application/at+jwt", "jwt"})
_FITS: Mapping[str, Callable[[object], bool]] = {
    "EdDSA": lambda key: isinstance(key, Ed25519PublicKey),
    "ES256": lambda key: isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1),
    "RS256": lambda key: isinstance(key, RSAPublicKey) and key.key_size >= _SMALLEST_RSA,
    "PS256": lambda key: isinstance(key, RSAPublicKey) and key.key_size >= _SMALLEST_RSA,
}
# A provider that is down is not asked again for every request.
_RETRY_S = 1.0

_log = get_logger()


@dataclass(frozen=True, slots=True)
class _Key:
    """A published key; ``algorithm`` is the only one it may be used with, if the provider says so."""

    public: Any
    algorithm: str | None


@dataclass(slots=True)
class Oidc:
    """Verifies the tokens of one provider. Call it with a token.

    Raises:
        SettingsError: no issuer, or an address that is not https (plain http is taken for loopback, and never in production).
    """

    settings: OidcSettings
    production: bool
    _keys: Mapping[str, _Key] = field(default_factory=dict)
    _fetched_at: float = float("-inf")
    _tried_at: float = float("-inf")
    _unknown_at: float = float("-inf")
    _refresh: "asyncio.Task[None] | None" = None
    _session: aiohttp.ClientSession | None = None

    def __post_init__(self) -> None:
        if not self.settings.issuer:
            raise SettingsError("TELEMED_OIDC_ISSUER: is needed by routes that people sign in for")
        for variable, url in (("ISSUER", self.settings.issuer), ("JWKS_URL", self.settings.jwks_url)):
            if url and not self._acceptable(url):
                raise SettingsError(f"TELEMED_OIDC_{variable}: must be an https URL")

    async def __call__(self, token: str) -> Principal:
        """The principal of a token.

        Raises:
            Unauthenticated: it is not a valid token of this provider for us, now.
            Unavailable: no keys can be had, or what is known of them is too old.
        """
        kid, algorithm = self._header(token)
        key = await self._key(kid)
        if key is None:
            raise Unauthenticated("token-key-unknown")
        if key.algorithm not in (None, algorithm) or not _FITS[algorithm](key.public):
            raise Unauthenticated("token-not-verifiable")
        try:
            claims = jwt.decode(
                token,
                key.public,
                algorithms=[algorithm],
                audience=self.settings.audience,
                issuer=self.settings.issuer,
                leeway=self.settings.leeway_s,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except (jwt.ExpiredSignatureError, jwt.ImmatureSignatureError):
            raise Unauthenticated("token-expired") from None
        except (jwt.InvalidIssuerError, jwt.InvalidAudienceError):
            raise Unauthenticated("token-for-another") from None
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
            raise Unauthenticated("token-not-verifiable") from None
        return self._principal(claims)

    async def close(self) -> None:
        """End what is under way."""
        if self._refresh is not None:
            self._refresh.cancel()
            await asyncio.gather(self._refresh, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    # --- the token -------------------------------------------------------------------------------------------------

    def _header(self, token: str) -> tuple[str, str]:
        if len(token) > _LONGEST_TOKEN:
            raise Unauthenticated("token-malformed")
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise Unauthenticated("token-malformed") from None
        kid, algorithm, kind = header.get("kid"), header.get("alg"), header.get("typ")
        if "crit" in header or not isinstance(kind, str) or kind.lower() not in _TYPES:
            raise Unauthenticated("token-not-verifiable")
        if algorithm not in self.settings.algorithms or not isinstance(kid, str) or not 0 < len(kid) <= _LONGEST_ID:
            raise Unauthenticated("token-not-verifiable")
        return kid, algorithm

    def _principal(self, claims: Mapping[str, Any]) -> Principal:
        subject = claims["sub"]
        person = claims.get(self.settings.person_claim, subject)
        client = claims.get("azp") or claims.get("client_id") or "-"
        given = claims.get(self.settings.roles_claim, [])
        # Not printable: NUL and lone surrogates too, which PostgreSQL takes in no text; they would fail the audit of others.
        if not all(
            isinstance(text, str) and 0 < len(text) <= _LONGEST_ID and text.isprintable() for text in (subject, person, client)
        ):
            raise Unauthenticated("token-malformed")
        if not isinstance(given, list):
            raise Unauthenticated("token-malformed")
        known = set(Role)
        roles = frozenset(Role(role) for role in given if isinstance(role, str) and role in known)
        instants = (_instant(claims.get(name)) for name in ("auth_time", "exp"))
        return Principal(claims["iss"], subject, client, roles, person, *instants)

    # --- the keys --------------------------------------------------------------------------------------------------

    async def _key(self, kid: str) -> _Key | None:
        now = time.monotonic()
        age = now - self._fetched_at
        if age > self.settings.stale_s:
            await self._wait_for_keys(now)
        elif age > self.settings.refresh_s and now - self._tried_at > _RETRY_S:
            self._start_refresh(now)  # who asks now is served by what is known
        if kid not in self._keys and now - self._unknown_at > self.settings.unknown_key_s:
            # A new key of the provider, or a made-up one: asked once, whoever sends how many of them.
            self._unknown_at = now
            if self._fetched_at < now:
                self._start_refresh(now)
        if kid not in self._keys and self._refresh is not None:
            await asyncio.shield(self._refresh)  # it may bring the key; it ends within the timeout
        return self._keys.get(kid)

    async def _wait_for_keys(self, now: float) -> None:
        if self._refresh is not None or now - self._tried_at > _RETRY_S:
            await asyncio.shield(self._start_refresh(now))
        if time.monotonic() - self._fetched_at > self.settings.stale_s:
            raise Unavailable("identity")

    def _start_refresh(self, now: float) -> "asyncio.Task[None]":
        if self._refresh is None:
            self._tried_at = now
            self._refresh = asyncio.create_task(self._fetch())
            self._refresh.add_done_callback(self._refreshed)
        return self._refresh

    def _refreshed(self, _: "asyncio.Task[None]") -> None:
        self._refresh = None

    async def _fetch(self) -> None:
        try:
            keys = await within(self.settings.timeout_s, self._published())
        except (aiohttp.ClientError, OSError, ValueError, TypeError, RecursionError) as error:
            _log.warning("identity-keys-not-fetched", error_class=type(error).__name__)
            return
        self._keys, self._fetched_at = keys, time.monotonic()

    async def _published(self) -> Mapping[str, _Key]:
        address = self.settings.jwks_url
        if not address:
            found = await self._get(f"{self.settings.issuer.rstrip('/')}/.well-known/openid-configuration")
            address = found.get("jwks_uri", "")
            if found.get("issuer") != self.settings.issuer or not isinstance(address, str) or not self._acceptable(address):
                raise ValueError("the discovery document is not this issuer's")
        published = (await self._get(address)).get("keys")
        if not isinstance(published, list):
            raise ValueError("no list of keys")  # noqa: TRY004 - what a server sends is a value, right or wrong
        keys = {}
        for entry in published[:100]:
            if isinstance(entry, dict) and isinstance(kid := entry.get("kid"), str) and (key := _read(entry)) is not None:
                keys[kid] = key
        if not keys:
            raise ValueError("no usable key")
        return keys

    async def _get(self, address: str) -> dict[str, Any]:
        if self._session is None:
            self._session = aiohttp.ClientSession(auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar())
        # No redirect: what we are sent to would be an address that nobody has configured.
        async with self._session.get(address, allow_redirects=False, headers={"Accept": "application/json"}) as response:
            if response.status != 200:
                raise ValueError("no answer")
            raw = await response.content.read(_LONGEST_ANSWER + 1)
            while len(raw) <= _LONGEST_ANSWER and (more := await response.content.read(_LONGEST_ANSWER + 1 - len(raw))):
                raw += more
        if len(raw) > _LONGEST_ANSWER:
            raise ValueError("too large an answer")
        found = json.loads(raw)
        if not isinstance(found, dict):
            raise ValueError("no object")  # noqa: TRY004 - see above
        return found

    def _acceptable(self, url: str) -> bool:
        parts = urlsplit(url)
        return parts.scheme == "https" or (parts.scheme == "http" and not self.production and _loopback(parts.hostname or ""))


def _read(entry: Mapping[str, Any]) -> _Key | None:
    """A public signature key of a kind we know; any other entry is none of ours."""
    if entry.get("use", "sig") != "sig" or "d" in entry or entry.get("kty") == "oct":
        return None
    algorithm = entry.get("alg")
    if algorithm not in (None, *_FITS):  # compared, not looked up: it may be a list
        return None
    try:
        public = jwt.PyJWK(dict(entry)).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    return _Key(public, algorithm)


def _instant(seconds: object) -> datetime | None:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
