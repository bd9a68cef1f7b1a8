"""An OpenID Connect provider as tests need one: real keys, real HTTP, and told how to misbehave."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.cli.stack.identity import Keys, people
from services.cli.stack.issuer import Issuer
from services.cli.stack.ports import HOST, free_ports
from services.runtime.edge.principal import Role

__all__ = ["AUDIENCE", "Provider", "issuer", "provider"]

AUDIENCE = "telemed"


class Provider:
    """Serves its discovery document and keys; counts how often it was asked for them."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.keys = {"k1": Ed25519PrivateKey.generate()}
        self.asked = 0
        self.answer: web.Response | None = None
        self.hangs = False

    def token(self, login: str, *roles: Role, kid: str = "k1", header: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token as the provider makes them; ``claims`` and ``header`` replace its own, None leaves one out."""
        now = int(time.time())
        payload = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": login,
            "person": login,
            "azp": "tests",
            "roles": [str(role) for role in roles],
            "auth_time": now,
            "iat": now,
            "nbf": now - 5,
            "exp": now + 3600,
            **claims,
        }
        payload = {name: value for name, value in payload.items() if value is not None}
        return jwt.encode(payload, self.keys[kid], "EdDSA", headers={"typ": "at+jwt", "kid": kid, **(header or {})})

    def bearer(self, login: str, *roles: Role, **more: Any) -> dict[str, str]:
        """As a header."""
        return {"Authorization": f"Bearer {self.token(login, *roles, **more)}"}

    async def discovery(self, _: web.Request) -> web.Response:
        return web.json_response({"issuer": self.url, "jwks_uri": f"{self.url}/jwks"})

    async def jwks(self, _: web.Request) -> web.Response:
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.answer is not None:
            return web.Response(status=self.answer.status, body=self.answer.body, headers=self.answer.headers)
        published = []
        for kid, key in self.keys.items():
            entry = jwt.algorithms.OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
            published.append({**entry, "kid": kid, "use": "sig", "alg": "EdDSA"})
        return web.json_response({"keys": published})


@asynccontextmanager
async def provider(port: int = 0) -> AsyncIterator[Provider]:
    """A provider that runs."""
    port = port or free_ports(1)[0]
    made = Provider(f"http://{HOST}:{port}")
    application = web.Application()
    application.add_routes([web.get("/.well-known/openid-configuration", made.discovery), web.get("/jwks", made.jwks)])
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, HOST, port, reuse_address=True).start()
    try:
        yield made
    finally:
        await runner.cleanup()


class _Issuer(Provider):
    """The local stack's issuer in the place of a provider: people sign in on its page, tests get tokens by its key."""

    def __init__(self, url: str, keys: Keys) -> None:
        super().__init__(url)
        self._keys = keys

    def token(self, login: str, *roles: Role, kid: str = "", header: dict[str, Any] | None = None, **claims: Any) -> str:
        signed_in_at = int(claims.get("auth_time", time.time()))
        return self._keys.token(people()[login], self.url, client="tests", signed_in_at=signed_in_at)


@asynccontextmanager
async def issuer(folder: Path, board: str) -> AsyncIterator[Provider]:
    """The local stack's issuer, for one board."""
    port = free_ports(1)[0]
    keys, url = Keys(folder), f"http://{HOST}:{port}"
    keys.ensure()
    runner = web.AppRunner(Issuer(keys, url, {"board": board}).application(), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, HOST, port, reuse_address=True).start()
    try:
        yield _Issuer(url, keys)
    finally:
        await runner.cleanup()
