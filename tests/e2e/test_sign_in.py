"""Signing in at a stack that runs: its issuer is one of its parts, and its commands make tokens that a service believes."""

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

import aiohttp
import psutil
import pytest

from services.cli.stack.identity import AUDIENCE, people
from services.cli.stack.ports import HOST, free_ports
from services.runtime.edge.identity import Oidc
from services.runtime.edge.principal import Principal, Role
from services.runtime.settings import OidcSettings
from tests.e2e.test_stack import Stack, get, one_line
from tests.support.sign_in import Browser, pair


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    subprocess.run([sys.executable, "-m", "services.cli.main", "stack", "prepare"], check=True, timeout=110)
    stack = Stack(tmp_path / "home")
    stack.ports["ISSUER_PORT"] = free_ports(1)[0]
    stack.environment["TELEMED_STACK_ISSUER_PORT"] = str(stack.ports["ISSUER_PORT"])
    yield stack
    stack.end()


def _believed(issuer: str, *tokens: str) -> list[Principal]:
    async def ask() -> list[Principal]:
        oidc = Oidc(OidcSettings(issuer=issuer, audience=AUDIENCE), production=False)
        try:
            return [await oidc(token) for token in tokens]
        finally:
            await oidc.close()

    return asyncio.run(ask())


async def _signed_in(issuer: str, board: str, login: str) -> str:
    async with aiohttp.ClientSession() as session:
        browser = Browser(issuer, board, session)
        verifier, challenge = pair()
        status, location = await browser.sign_in(login, challenge)
        assert status == 303
        status, body = await browser.exchange(parse_qs(urlsplit(location).query)["code"][0], verifier)
        assert status == 200
        return body["access_token"]


def test_a_running_stack_has_an_issuer_and_its_commands_sign_for_it(stack: Stack) -> None:
    stack.environment["STACK_NOTE_NAME"] = "staff_dashboard"
    supervisor = stack.up()
    issuer = f"http://{HOST}:{stack.ports['ISSUER_PORT']}"
    assert get(f"{issuer}/.well-known/openid-configuration")["issuer"] == issuer
    told = psutil.Process(stack.pids()["staff_dashboard"]).environ()
    assert (told["TELEMED_OIDC_ISSUER"], told["TELEMED_OIDC_AUDIENCE"]) == (issuer, AUDIENCE)
    assert re.search(r"^\W*issuer\b", stack.call("status").stdout, re.MULTILINE)

    older = stack.call("token", "--as", "nurse.a")
    assert stack.call("keys", "rotate").returncode == 0
    newer = stack.call("token", "--as", "admin.a")
    nurse, admin = _believed(issuer, older.stdout.strip(), newer.stdout.strip())
    assert (nurse.person, nurse.roles) == (people()["nurse.a"].person, frozenset({Role.NURSE}))
    assert (admin.person, admin.roles) == (people()["admin.a"].person, frozenset({Role.ADMIN}))
    seen = asyncio.run(_signed_in(issuer, f"{stack.service}/board", "prescriber.a"))
    (prescriber,) = _believed(issuer, seen)
    assert (prescriber.subject, prescriber.client) == ("prescriber.a", "board"), (
        "code flow with PKCE, as the board's page does it"
    )
    assert "nobody is called" in one_line(stack.call("token", "--as", "nobody"))
    assert "production" in one_line(stack.call("token", "--as", "nurse.a", TELEMED_ENV="production"))

    supervisor.terminate()
    assert supervisor.wait(60) == 0
    with pytest.raises(OSError, match="refused"):
        urlopen(issuer, timeout=2)
    # The folder of keys is enough to sign: the command asks no server.
    assert stack.call("token", "--as", "nurse.a").returncode == 0
