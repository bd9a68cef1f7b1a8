"""The local issuer as its own process: the code flow with PKCE, keys that rotate, and where it refuses to run."""

import asyncio
import base64
import hashlib
import os
import re
import secrets
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import aiohttp
import pytest
import pytest_asyncio

from services.cli.stack.identity import AUDIENCE, Keys, people
from services.cli.stack.ports import HOST, free_ports
from services.cli.stack.process import Child
from services.runtime.edge.identity import Oidc
from services.runtime.edge.principal import Role
from services.runtime.settings import OidcSettings
from tests.support.waiting import eventually
from tests.support.world import ROOT

pytestmark = pytest.mark.asyncio
BOARD = "http://127.0.0.1:7999/board"
MODULE = "services.cli.stack.issuer"


@dataclass
class Running:
    """An issuer, and a browser of sorts."""

    url: str
    keys: Path
    session: aiohttp.ClientSession

    async def sign_in(self, login: str, challenge: str, **changed: str) -> tuple[int, str]:
        """From the page to the redirect: status, and where it leads (or the refusal)."""
        query = {
            "client_id": "board",
            "redirect_uri": BOARD,
            "response_type": "code",
            "state": "state-1",
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            **changed,
        }
        async with self.session.get(f"{self.url}/authorize?{urlencode(query)}") as response:
            text = await response.text()
            if response.status != 200:
                return response.status, text
            assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")
            assert "<script" not in text
        page = re.search(r'name="page" value="([^"]+)"', text)
        assert page
        return await self.pick(page[1], login)

    async def pick(self, page: str, login: str) -> tuple[int, str]:
        form = {"page": page, "login": login}
        async with self.session.post(f"{self.url}/authorize", data=form, allow_redirects=False) as response:
            return response.status, response.headers.get("Location", await response.text())

    async def exchange(self, code: str, verifier: str, **changed: str) -> tuple[int, dict[str, str]]:
        form = {
            "grant_type": "authorization_code",
            "client_id": "board",
            "redirect_uri": BOARD,
            "code": code,
            "code_verifier": verifier,
            **changed,
        }
        async with self.session.post(f"{self.url}/token", data=form) as response:
            return response.status, await response.json()


def pair() -> tuple[str, str]:
    verifier = secrets.token_urlsafe(48)
    digest = hashlib.sha256(verifier.encode()).digest()
    return verifier, base64.urlsafe_b64encode(digest).decode().rstrip("=")


@pytest_asyncio.fixture
async def issuer(tmp_path: Path) -> AsyncIterator[Running]:
    (port,) = free_ports(1)
    command = [sys.executable, "-m", MODULE, "--keys", str(tmp_path / "keys"), f"--port={port}", f"--client=board={BOARD}"]
    env = {**os.environ, "TELEMED_ENV": "local", "PYTHONPATH": str(ROOT)}
    child = await Child.start(command, log=tmp_path / "issuer.log", env=env)
    async with aiohttp.ClientSession() as session:
        running = Running(f"http://{HOST}:{port}", tmp_path / "keys", session)

        async def answers() -> bool:
            try:
                async with session.get(f"{running.url}/readyz") as response:
                    return response.status == 200
            except aiohttp.ClientError:
                return False

        await eventually(answers, what="the issuer is ready")
        yield running
    await child.stop()


async def test_a_browser_signs_in_and_the_services_believe_the_token(issuer: Running) -> None:
    verifier, challenge = pair()
    status, location = await issuer.sign_in("nurse.a", challenge)
    assert status == 303
    assert location.startswith(BOARD + "?")
    answer = parse_qs(urlsplit(location).query)
    assert answer["state"] == ["state-1"]
    status, body = await issuer.exchange(answer["code"][0], verifier)
    assert status == 200
    oidc = Oidc(OidcSettings(issuer=issuer.url, audience=AUDIENCE), production=False)
    try:
        who = await oidc(body["access_token"])
        assert (who.subject, who.roles, who.client) == ("nurse.a", frozenset({Role.NURSE}), "board")
        assert who.person == people()["nurse.a"].person
        assert who.authenticated_at is not None

        # Another key signs from now on; the older token still holds, and the new one is believed after one question.
        Keys(issuer.keys).rotate()
        newer = Keys(issuer.keys).token(people()["nurse.b"], issuer.url, client="x", signed_in_at=0)
        assert (await oidc(newer)).subject == "nurse.b"
        assert (await oidc(body["access_token"])).subject == "nurse.a"
    finally:
        await oidc.close()


async def test_a_code_works_once_for_whoever_asked(issuer: Running) -> None:
    async def code(challenge: str) -> str:
        _, location = await issuer.sign_in("nurse.a", challenge)
        return parse_qs(urlsplit(location).query)["code"][0]

    verifier, challenge = pair()
    used = await code(challenge)
    assert (await issuer.exchange(used, verifier))[0] == 200
    assert (await issuer.exchange(used, verifier)) == (400, {"error": "invalid_grant"})
    for changed in (
        {"code_verifier": pair()[0]},
        {"code_verifier": "short"},
        {"client_id": "other"},
        {"redirect_uri": BOARD + "/"},
    ):
        fresh = await code(challenge)
        assert (await issuer.exchange(fresh, verifier, **changed))[0] == 400, changed
        assert (await issuer.exchange(fresh, verifier))[0] == 400, "a code that was tried is used up"
    assert (await issuer.exchange("made-up", verifier))[0] == 400
    assert (await issuer.exchange(await code(challenge), verifier, grant_type="password"))[0] == 400


async def test_nobody_is_sent_where_nobody_asked(issuer: Running) -> None:
    _, challenge = pair()
    for changed in (
        {"redirect_uri": "https://evil.test/"},
        {"redirect_uri": BOARD + "x"},
        {"client_id": "evil"},
        {"code_challenge_method": "plain"},
        {"response_type": "token"},
        {"code_challenge": ""},
        {"state": ""},
    ):
        status, text = await issuer.sign_in("nurse.a", challenge, **changed)
        assert status == 400, changed
        assert "evil" not in text
    assert (await issuer.pick("made-up", "nurse.a"))[0] == 400
    assert (await issuer.sign_in("nobody", challenge))[0] == 400


async def test_only_the_boards_pages_may_ask_for_tokens(issuer: Running) -> None:
    for origin, allowed in (("http://127.0.0.1:7999", True), ("http://evil.test", False)):
        async with issuer.session.options(f"{issuer.url}/token", headers={"Origin": origin}) as response:
            assert (response.headers.get("Access-Control-Allow-Origin") == origin) is allowed


async def test_keys_are_for_their_owner_only_and_only_a_few_are_kept(issuer: Running) -> None:
    assert stat.S_IMODE(issuer.keys.stat().st_mode) == 0o700
    newest = [Keys(issuer.keys).rotate() for _ in range(5)][-1]
    files = sorted(issuer.keys.glob("*.pem"))
    assert len(files) == 3
    assert files[-1].stem == newest
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    async with issuer.session.get(f"{issuer.url}/jwks") as response:
        published = await response.json()
    assert [key["kid"] for key in published["keys"]] == [path.stem for path in files]
    assert all("d" not in key for key in published["keys"])


@pytest.mark.parametrize("env", [{}, {"TELEMED_ENV": "production"}])
async def test_it_is_refused_outside_a_local_stack(tmp_path: Path, env: dict[str, str]) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TELEMED_")}
    command = [sys.executable, "-m", MODULE, "--keys", str(tmp_path / "keys"), "--port=1"]
    done = await asyncio.to_thread(
        subprocess.run, command, cwd=ROOT, env={**kept, **env}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "local stack only" in done.stderr
    assert not (tmp_path / "keys").exists()


@pytest.mark.parametrize("command", [["token", "--as", "nurse.a"], ["keys", "rotate"]])
@pytest.mark.parametrize(
    "env",
    [
        {"TELEMED_ENV": "production"},
        {"TELEMED_ENV": "staging"},
        {"TELEMED_ENV": ""},
        {"TELEMED_OIDC_ISSUER": "https://issuer.example.org"},
    ],
    ids=["production", "unknown", "empty", "as-a-service-in-production"],
)
async def test_its_commands_are_refused_in_production(tmp_path: Path, command: list[str], env: dict[str, str]) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TELEMED_")}
    Keys(tmp_path / "issuer").rotate()
    before = os.listdir(tmp_path / "issuer")
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "services.cli.main", *command],
        cwd=ROOT,
        env={**kept, **env, "TELEMED_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stdout
    assert not done.stdout
    assert "production" in done.stderr
    assert os.listdir(tmp_path / "issuer") == before
