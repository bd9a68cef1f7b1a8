"""The local issuer as its own process: the code flow with PKCE, keys that rotate, and where it refuses to run."""

import asyncio
import os
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
import pytest_asyncio

from services.cli.stack.identity import AUDIENCE, Keys, people
from services.cli.stack.ports import HOST, free_ports
from services.cli.stack.process import Child
from services.runtime.edge.identity import Oidc
from services.runtime.edge.principal import Role
from services.runtime.settings import OidcSettings
from tests.support.sign_in import Browser, pair
from tests.support.waiting import eventually
from tests.support.world import ROOT

pytestmark = pytest.mark.asyncio
BOARD = "http://127.0.0.1:7999/board"
MODULE = "services.cli.stack.issuer"


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest_asyncio.fixture
async def browser(tmp_path: Path, keys: Path) -> AsyncIterator[Browser]:
    (port,) = free_ports(1)
    command = [sys.executable, "-m", MODULE, "--keys", str(keys), f"--port={port}", f"--client=board={BOARD}"]
    env = {**os.environ, "TELEMED_ENV": "local", "PYTHONPATH": str(ROOT)}
    child = await Child.start(command, log=tmp_path / "issuer.log", env=env)
    async with aiohttp.ClientSession() as session:
        found = Browser(f"http://{HOST}:{port}", BOARD, session)

        async def answers() -> bool:
            try:
                async with session.get(f"{found.issuer}/readyz") as response:
                    return response.status == 200
            except aiohttp.ClientError:
                return False

        await eventually(answers, what="the issuer is ready")
        yield found
    await child.stop()


async def test_a_browser_signs_in_and_the_services_believe_the_token(browser: Browser, keys: Path) -> None:
    verifier, challenge = pair()
    status, location = await browser.sign_in("nurse.a", challenge)
    assert status == 303
    assert location.startswith(BOARD + "?")
    answer = parse_qs(urlsplit(location).query)
    assert answer["state"] == ["state-1"]
    status, body = await browser.exchange(answer["code"][0], verifier)
    assert status == 200
    oidc = Oidc(OidcSettings(issuer=browser.issuer, audience=AUDIENCE), production=False)
    try:
        who = await oidc(body["access_token"])
        assert (who.subject, who.roles, who.client) == ("nurse.a", frozenset({Role.NURSE}), "board")
        assert who.person == people()["nurse.a"].person
        assert who.authenticated_at is not None

        # Another key signs from now on; the older token still holds, and the new one is believed after one question.
        Keys(keys).rotate()
        newer = Keys(keys).token(people()["nurse.b"], browser.issuer, client="x", signed_in_at=0)
        assert (await oidc(newer)).subject == "nurse.b"
        assert (await oidc(body["access_token"])).subject == "nurse.a"
    finally:
        await oidc.close()


async def test_a_code_works_once_for_whoever_asked(browser: Browser) -> None:
    async def code(challenge: str) -> str:
        _, location = await browser.sign_in("nurse.a", challenge)
        return parse_qs(urlsplit(location).query)["code"][0]

    verifier, challenge = pair()
    used = await code(challenge)
    assert (await browser.exchange(used, verifier))[0] == 200
    assert (await browser.exchange(used, verifier)) == (400, {"error": "invalid_grant"})
    for changed in (
        {"code_verifier": pair()[0]},
        {"code_verifier": "short"},
        {"client_id": "other"},
        {"redirect_uri": BOARD + "/"},
    ):
        fresh = await code(challenge)
        assert (await browser.exchange(fresh, verifier, **changed))[0] == 400, changed
        assert (await browser.exchange(fresh, verifier))[0] == 400, "a code that was tried is used up"
    assert (await browser.exchange("made-up", verifier))[0] == 400
    assert (await browser.exchange(await code(challenge), verifier, grant_type="password"))[0] == 400


async def test_nobody_is_sent_where_nobody_asked(browser: Browser) -> None:
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
        status, text = await browser.sign_in("nurse.a", challenge, **changed)
        assert status == 400, changed
        assert "evil" not in text
    assert (await browser.pick("made-up", "nurse.a"))[0] == 400
    assert (await browser.sign_in("nobody", challenge))[0] == 400


async def test_only_the_boards_pages_may_ask_for_tokens(browser: Browser) -> None:
    for origin, allowed in (("http://127.0.0.1:7999", True), ("http://evil.test", False)):
        async with browser.session.options(f"{browser.issuer}/token", headers={"Origin": origin}) as response:
            assert (response.headers.get("Access-Control-Allow-Origin") == origin) is allowed


async def test_keys_are_for_their_owner_only_and_only_a_few_are_kept(browser: Browser, keys: Path) -> None:
    assert stat.S_IMODE((await asyncio.to_thread(keys.stat)).st_mode) == 0o700
    newest = [Keys(keys).rotate() for _ in range(5)][-1]
    files = sorted(await asyncio.to_thread(lambda: list(keys.glob("*.pem"))))
    assert len(files) == 3
    assert files[-1].stem == newest
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    async with browser.session.get(f"{browser.issuer}/jwks") as response:
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
