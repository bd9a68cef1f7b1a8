"""Pages of a service: what was listed at the start is shown under a strict policy, and nothing else is."""

import asyncio
import subprocess
import sys
import zipfile
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from services.cli.catalogue import load_services
from services.runtime.edge.assets import Page, add_pages
from services.runtime.edge.route import RouteError
from services.runtime.settings import SettingsError
from tests.support.load import NO_BROKER
from tests.support.world import ROOT, World


async def _no_answer(_: web.Request) -> None:
    """To no expectation."""


async def _raw(port: int, path: str) -> tuple[int, bytes]:
    """As no client library would send it: the path byte by byte."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: ledger\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()
    return int(answer.split(b" ", 2)[1]), answer


@pytest.mark.asyncio
async def test_a_page_is_shown_under_its_policy_and_nothing_beside_it_is_found(world: World) -> None:
    ledger = await world.spawn(**NO_BROKER)
    before = await world.value("select count(*) from audit")
    async with aiohttp.ClientSession(ledger.url) as session:
        async with session.get("/ledger") as response:
            assert (response.status, response.content_type) == (200, "text/html")
            policy = dict(part.split(" ", 1) for part in response.headers["Content-Security-Policy"].split("; "))
            assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == policy["form-action"] == "'none'"
            assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
            assert policy["require-trusted-types-for"] == "'script'"
            assert response.headers["Cache-Control"] == "no-store"
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Referrer-Policy"] == "no-referrer"
        async with session.get("/ledger/main.js") as response:
            assert (response.status, response.content_type) == (200, "text/javascript")
            assert response.headers["Cache-Control"] == "no-cache"
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            tag, text = response.headers["ETag"], await response.text()
        async with session.get("/ledger/main.js", headers={"If-None-Match": tag}) as response:
            assert (response.status, await response.text()) == (304, "")
        async with session.get("/ledger/main.js", headers={"If-None-Match": '"of-another-version"'}) as response:
            assert (response.status, await response.text()) == (200, text)
        async with session.head("/ledger/main.css") as response:
            assert (response.status, response.content_type, await response.text()) == (200, "text/css", "")
        for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            async with session.request(method, "/ledger/main.js", json={}) as response:
                assert (response.status, response.content_type) == (405, "application/problem+json")
                assert response.headers["Allow"] == "GET, HEAD"
    for path in (
        "/ledger/index.html",
        "/ledger/",
        "/ledger/../app.py",
        "/ledger/..%2fapp.py",
        "/ledger/%2e%2e/app.py",
        "/ledger/..%5capp.py",
        "/ledger//app.py",
        "/ledger/main.js%00.css",
        "/ledger/MAIN.JS",
        "/ledger/page/main.js",
        "/ledger//etc/passwd",
    ):
        status, body = await _raw(ledger.port, path)
        assert status in (400, 404), path
        assert b"SERVICE" not in body
    assert await world.value("select count(*) from audit") == before, "a page shows no record"


def test_a_page_that_cannot_be_shown_as_it_is_keeps_its_service_from_starting(tmp_path: Path) -> None:
    page = Page("/page", tmp_path, calls=lambda: ("https://a.example/path",))
    with pytest.raises(SettingsError, match="/page"):
        page.policy()
    (tmp_path / "secret.pem").write_text("x")
    (tmp_path / "index.html").write_text("x")
    with pytest.raises(RouteError, match=r"secret\.pem"):
        add_pages(web.Application(), [Page("/page", tmp_path)], _no_answer)
    (tmp_path / "secret.pem").rename(tmp_path / "main.js")
    (tmp_path / "index.html").rename(tmp_path / "page.html")
    with pytest.raises(RouteError, match=r"no index\.html"):
        add_pages(web.Application(), [Page("/page", tmp_path)], _no_answer)
    assert (
        "connect-src 'self' https://a.example:8443 http://127.0.0.1:7001;"
        in Page("/page", tmp_path, calls=lambda: ("https://a.example:8443", "http://127.0.0.1:7001")).policy()
    )


def test_an_installed_package_has_its_pages(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=100)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for service in load_services():
        for page in service.pages:
            folder = page.folder.resolve().relative_to(ROOT)
            assert {f"{folder}/{path.name}" for path in page.folder.iterdir()} <= names
