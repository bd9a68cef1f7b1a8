"""The local stack's own OpenID Connect provider: a page on which one picks who one is, and tokens for that person.

``python -m services.cli.stack.issuer --keys FOLDER --port N --client NAME=REDIRECT_URI``. Authorization code with PKCE (RFC
7636, S256 only) for browsers, as OAuth 2.1 asks: exact redirect URIs, codes that work once and briefly. There is no password,
which is why it listens on loopback only and refuses to run anywhere but in a local stack.
"""

import argparse
import asyncio
import base64
import hashlib
import hmac
import html
import os
import re
import secrets
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from aiohttp import web

from services.cli.stack.identity import TOKEN_S, Keys, Person, people
from services.cli.stack.ports import HOST
from services.runtime.settings import Environment, ProcessSettings, load

__all__ = ["Issuer", "serve"]

_CODE_S = 60
_PAGE_S = 600
_CHALLENGE = re.compile(r"^[A-Za-z0-9_-]{43}$")
_VERIFIER = re.compile(r"^[A-Za-z0-9._~-]{43,128}$")
_LONGEST_STATE = 512
_MOST_PENDING = 1000
_SECURE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Sign in</title><style>body{{font:18px/1.5 system-ui,sans-serif;max-width:32rem;margin:3rem auto;padding:0 1rem}}
button{{display:block;width:100%;text-align:left;font:inherit;padding:.6rem 1rem;margin:.4rem 0;border:1px solid #888;
border-radius:.4rem;background:#fff;cursor:pointer}}button:focus-visible{{outline:3px solid #06c}}small{{color:#555}}</style>
<main><h1>Who are you?</h1><p>This is the sign-in of a local stack: pick a person. There is no password here, and none of these
people exist.</p><form method="post" action="/authorize"><input type="hidden" name="page" value="{page}">{buttons}</form>
</main></html>"""


@dataclass(frozen=True, slots=True)
class _Asked:
    client: str
    redirect: str
    state: str
    challenge: str
    until: float


@dataclass(frozen=True, slots=True)
class _Code:
    asked: _Asked
    person: Person
    signed_in_at: int
    until: float


class Issuer:
    """Pages and codes that are under way, in memory: after a restart one signs in again."""

    def __init__(self, keys: Keys, url: str, clients: Mapping[str, str]) -> None:
        self._keys = keys
        self._url = url
        self._clients = clients
        self._people = people()
        self._pages: dict[str, _Asked] = {}
        self._codes: dict[str, _Code] = {}

    def application(self) -> web.Application:
        """Its routes."""
        application = web.Application(client_max_size=16 * 1024)
        application.add_routes(
            [
                web.get("/.well-known/openid-configuration", self._discovery),
                web.get("/jwks", self._jwks),
                web.get("/authorize", self._ask),
                web.post("/authorize", self._picked),
                web.post("/token", self._token),
                web.options("/token", self._preflight),
                web.get("/readyz", self._ready),
            ]
        )
        return application

    async def _ready(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _discovery(self, request: web.Request) -> web.Response:
        document = {
            "issuer": self._url,
            "authorization_endpoint": f"{self._url}/authorize",
            "token_endpoint": f"{self._url}/token",
            "jwks_uri": f"{self._url}/jwks",
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["none"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["EdDSA"],
        }
        return web.json_response(document, headers={**_SECURE, **self._cors(request)})

    async def _jwks(self, _: web.Request) -> web.Response:
        # Read each time: a rotated key counts at once.
        return web.json_response(await asyncio.to_thread(self._keys.published), headers=_SECURE)

    async def _ask(self, request: web.Request) -> web.Response:
        query = request.query
        client, redirect = query.get("client_id", ""), query.get("redirect_uri", "")
        if self._clients.get(client) != redirect or not redirect:
            # Never redirected to: it may be anybody's address.
            return _refusal("the client or its redirect URI is not known")
        if query.get("response_type") != "code" or query.get("code_challenge_method") != "S256":
            return _refusal("only the code flow with PKCE (S256) is offered")
        state, challenge = query.get("state", ""), query.get("code_challenge", "")
        if not _CHALLENGE.match(challenge) or not 0 < len(state) <= _LONGEST_STATE:
            return _refusal("state and code_challenge are needed")
        page = secrets.token_urlsafe(24)
        _forget(self._pages)
        self._pages[page] = _Asked(client, redirect, state, challenge, time.monotonic() + _PAGE_S)
        buttons = "".join(
            f'<button name="login" value="{html.escape(one.login)}">{html.escape(one.name)}<br>'
            f"<small>{html.escape(', '.join(one.roles))}</small></button>"
            for one in self._people.values()
        )
        target = urlsplit(redirect)
        policy = (
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; "
            f"form-action 'self' {target.scheme}://{target.netloc}"
        )
        body = _PAGE.format(page=page, buttons=buttons)
        return web.Response(text=body, content_type="text/html", headers={**_SECURE, "Content-Security-Policy": policy})

    async def _picked(self, request: web.Request) -> web.Response:
        form = await request.post()
        asked = self._pages.pop(str(form.get("page", "")), None)
        person = self._people.get(str(form.get("login", "")))
        if asked is None or asked.until < time.monotonic() or person is None:
            return _refusal("this page is no longer valid: begin again")
        code = secrets.token_urlsafe(32)
        _forget(self._codes)
        self._codes[code] = _Code(asked, person, int(time.time()), time.monotonic() + _CODE_S)
        location = f"{asked.redirect}?{urlencode({'code': code, 'state': asked.state, 'iss': self._url})}"
        return web.Response(status=303, headers={**_SECURE, "Location": location})

    async def _token(self, request: web.Request) -> web.Response:
        form = {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
        headers = {**_SECURE, **self._cors(request)}
        if form.get("grant_type") != "authorization_code":
            return web.json_response({"error": "unsupported_grant_type"}, status=400, headers=headers)
        # Taken away whatever comes of it: a code that was tried once is of no more use to anybody.
        code = self._codes.pop(form.get("code", ""), None)
        if code is None or not _fits(code, form):
            return web.json_response({"error": "invalid_grant"}, status=400, headers=headers)
        token = await asyncio.to_thread(
            self._keys.token, code.person, self._url, client=code.asked.client, signed_in_at=code.signed_in_at
        )
        answer = {"access_token": token, "token_type": "Bearer", "expires_in": TOKEN_S}
        return web.json_response(answer, headers=headers)

    async def _preflight(self, request: web.Request) -> web.Response:
        allowed = {"Access-Control-Allow-Methods": "POST", "Access-Control-Allow-Headers": "Content-Type"}
        return web.Response(status=204, headers={**self._cors(request), **allowed})

    def _cors(self, request: web.Request) -> dict[str, str]:
        origin = request.headers.get("Origin", "")
        known = {f"{parts.scheme}://{parts.netloc}" for parts in map(urlsplit, self._clients.values())}
        return {"Access-Control-Allow-Origin": origin, "Vary": "Origin"} if origin in known else {}


def _fits(code: _Code, form: Mapping[str, str]) -> bool:
    """RFC 6749 4.1.3 and RFC 7636 4.6: same client, same address, and whoever asked knows the verifier."""
    verifier = form.get("code_verifier", "")
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    return (
        code.until >= time.monotonic()
        and form.get("client_id") == code.asked.client
        and form.get("redirect_uri") == code.asked.redirect
        and _VERIFIER.match(verifier) is not None
        and hmac.compare_digest(challenge, code.asked.challenge)
    )


def _forget(kept: "dict[str, _Asked] | dict[str, _Code]") -> None:
    now = time.monotonic()
    for name in [name for name, one in kept.items() if one.until < now][:_MOST_PENDING]:
        del kept[name]
    while len(kept) >= _MOST_PENDING:
        del kept[next(iter(kept))]


def _refusal(text: str) -> web.Response:
    return web.Response(text=f"{text}\n", status=400, headers=_SECURE)


async def serve(keys: Keys, port: int, clients: Mapping[str, str]) -> None:
    """Until SIGTERM."""
    keys.ensure()
    runner = web.AppRunner(Issuer(keys, f"http://{HOST}:{port}", clients).application(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, HOST, port, reuse_address=True).start()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    await stopping.wait()
    await runner.cleanup()


def main() -> None:
    """See the module."""
    if load(ProcessSettings).env is not Environment.LOCAL:
        sys.stderr.write("the local issuer runs in a local stack only: it asks for no password\n")
        sys.exit(2)
    parser = argparse.ArgumentParser()
    parser.add_argument("--keys", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--client", action="append", default=[], metavar="NAME=REDIRECT_URI")
    given = parser.parse_args()
    os.umask(0o077)
    asyncio.run(serve(Keys(given.keys), given.port, dict(client.split("=", 1) for client in given.client)))


if __name__ == "__main__":
    main()
