"""A browser of sorts that signs in at an issuer: the code flow with PKCE (RFC 7636), as the board's page does it."""

import base64
import hashlib
import re
import secrets
from dataclasses import dataclass
from urllib.parse import urlencode

import aiohttp

__all__ = ["Browser", "pair"]


@dataclass
class Browser:
    """At one issuer, for the pages of one board.

    Attributes:
        issuer: its URL.
        board: where it is sent back to.
    """

    issuer: str
    board: str
    session: aiohttp.ClientSession

    async def sign_in(self, login: str, challenge: str, **changed: str) -> tuple[int, str]:
        """From the page to the redirect: status, and where it leads (or the refusal)."""
        query = {
            "client_id": "board",
            "redirect_uri": self.board,
            "response_type": "code",
            "state": "state-1",
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            **changed,
        }
        async with self.session.get(f"{self.issuer}/authorize?{urlencode(query)}") as response:
            text = await response.text()
            if response.status != 200:
                return response.status, text
            assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")
            assert "<script" not in text
        page = re.search(r'name="page" value="([^"]+)"', text)
        assert page
        return await self.pick(page[1], login)

    async def pick(self, page: str, login: str) -> tuple[int, str]:
        """Choose somebody on a page of the issuer."""
        form = {"page": page, "login": login}
        async with self.session.post(f"{self.issuer}/authorize", data=form, allow_redirects=False) as response:
            return response.status, response.headers.get("Location", await response.text())

    async def exchange(self, code: str, verifier: str, **changed: str) -> tuple[int, dict[str, str]]:
        """The code for a token."""
        form = {
            "grant_type": "authorization_code",
            "client_id": "board",
            "redirect_uri": self.board,
            "code": code,
            "code_verifier": verifier,
            **changed,
        }
        async with self.session.post(f"{self.issuer}/token", data=form) as response:
            return response.status, await response.json()


def pair() -> tuple[str, str]:
    """A verifier and its challenge."""
    verifier = secrets.token_urlsafe(48)
    digest = hashlib.sha256(verifier.encode()).digest()
    return verifier, base64.urlsafe_b64encode(digest).decode().rstrip("=")
