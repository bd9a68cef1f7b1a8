"""A real Chromium or Chrome: found on the machine, else installed, else an error that says how to get one. No test is skipped.

``python -m tests.support.browser`` does that alone and prints which one it is; ``make test`` calls it first.
"""

import asyncio
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import Browser, ConsoleMessage, Page, Request, async_playwright, expect

__all__ = ["Chromium", "NoBrowser", "Tab", "browsing", "found", "obtained"]

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
_FLAGS = (
    "--no-sandbox",  # Chromium's own refuses to run as root; the tests load nothing but pages of their own
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # there is no third host
)
_INSTALL_S = 600
_PATIENCE_MS = 20_000
"""How long a page is waited for; an expectation that does not come is the failure."""
_HOW = "install Chromium or Chrome (Debian: apt-get install chromium), or name one: CHROME=/path/to/chrome"


expect.set_options(timeout=_PATIENCE_MS)


class NoBrowser(Exception):
    """There is none, and none could be installed."""


def found(environment: Mapping[str, str] = os.environ) -> str | None:
    """The browser of this machine.

    Raises:
        NoBrowser: ``CHROME`` names one that is not there.
    """
    if named := environment.get("CHROME"):
        if shutil.which(named) is None:
            raise NoBrowser(f"CHROME={named} cannot be run")
        return named
    of_path = (shutil.which(name, path=environment.get("PATH", "")) for name in _NAMES)
    return next((one for one in (*of_path, *(place for place in _PLACES if Path(place).exists())) if one), None)


def obtained() -> str:
    """The browser of this machine, installed first if there is none.

    Raises:
        NoBrowser: what was tried, and how to get one.
    """
    if here := found():
        return here
    tried = []
    for name, install, look in _ways():
        try:
            install()
        except (OSError, subprocess.SubprocessError) as error:
            tried.append(f"{name}: {_said(error)}")
            continue
        if here := look():
            return here
        tried.append(f"{name}: it is not there afterwards")
    raise NoBrowser("; ".join(["no Chromium or Chrome is on this machine", *tried, _HOW]))


def _ways() -> Sequence[tuple[str, Callable[[], None], Callable[[], str | None]]]:
    download = ("Playwright's download", _download, _downloaded)
    if sys.platform == "linux" and os.geteuid() == 0 and _is_debian() and shutil.which("apt-get"):
        return (("apt-get install chromium", _debian, found), download)
    return (download,)


def _is_debian() -> bool:
    # Ubuntu's package of that name is only a pointer to another installer.
    try:
        return platform.freedesktop_os_release().get("ID") == "debian"
    except OSError:
        return False


def _debian() -> None:
    wait = ("-o", "DPkg::Lock::Timeout=300")
    for command in (("update",), ("install", "--yes", "--no-install-recommends", "chromium")):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(
            ["apt-get", "-qq", *wait, *command], check=True, capture_output=True, timeout=_INSTALL_S, env=environment
        )


def _download() -> None:
    command = [sys.executable, "-m", "playwright", "install", "chromium"]
    subprocess.run(command, check=True, capture_output=True, timeout=_INSTALL_S)


def _downloaded() -> str | None:
    async def ask() -> str:
        async with async_playwright() as playwright:
            return playwright.chromium.executable_path

    path = asyncio.run(ask())
    return path if Path(path).exists() else None


def _said(error: Exception) -> str:
    lines = error.stderr.decode(errors="replace").split("\n") if isinstance(error, subprocess.CalledProcessError) else []
    return next((line.strip() for line in reversed(lines) if line.strip()), type(error).__name__)[:200]


@dataclass
class Tab:
    """A page in the browser, and what went wrong on it.

    Attributes:
        errors: of the console, of scripts, and of the page's own security policy.
        hosts: of everything that it has asked for.
    """

    page: Page
    errors: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", self._asked)

    def _said(self, message: ConsoleMessage) -> None:
        # A refusal or a server that is gone is told by the page itself, and asserted on there.
        if message.type in ("error", "warning") and not message.text.startswith("Failed to load resource"):
            self.errors.append(message.text)

    def _asked(self, request: Request) -> None:
        self.hosts.add(urlsplit(request.url).hostname or "")


@dataclass
class Chromium:
    """A browser that runs; each tab is somebody's own, with nothing in it."""

    _browser: Browser
    tabs: list[Tab] = field(default_factory=list)

    async def tab(self, *, width: int = 1280, height: int = 800, **context: Any) -> Tab:
        """Open one; keyword arguments are those of Playwright's contexts."""
        made = await self._browser.new_context(viewport={"width": width, "height": height}, **context)
        made.set_default_timeout(_PATIENCE_MS)
        await made.add_init_script(_TELLS_VIOLATIONS)
        tab = Tab(await made.new_page())
        self.tabs.append(tab)
        return tab


_TELLS_VIOLATIONS = """addEventListener("securitypolicyviolation",
    (event) => console.error(`policy: ${event.effectiveDirective} ${event.blockedURI}`));"""


@asynccontextmanager
async def browsing() -> AsyncIterator[Chromium]:
    """Start it and end it; then no tab may have had an error, nor have asked anybody but this machine."""
    path = await asyncio.to_thread(obtained)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=_FLAGS)
        try:
            made = Chromium(browser)
            yield made
        finally:
            await browser.close()
    errors = [error for tab in made.tabs for error in tab.errors]
    assert errors == [], errors
    assert {host for tab in made.tabs for host in tab.hosts} <= {"127.0.0.1"}


if __name__ == "__main__":
    try:
        print(f"browser: {obtained()}")
    except NoBrowser as none:
        sys.exit(f"browser: {none}")
