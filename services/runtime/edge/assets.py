"""Pages: files of a service's own package, shown as they are. No build step, nothing from another host, nothing about anybody.

What is served is listed at the start and nothing else exists, so a path that wanders off finds nothing. They are no routes:
they show no record, ask for no token and leave no audit row; whatever a page knows of a person it gets by the routes, with that
person's token.
"""

import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from services.runtime.edge.route import RouteError
from services.runtime.settings import SettingsError

__all__ = ["Page", "add_pages"]

_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "svg": "image/svg+xml",
}
_NAME = re.compile(r"^[a-z0-9_]+(\.[a-z0-9_]+)*\.(css|html|js|json|svg)\Z")
_ORIGIN = re.compile(r"^(https?|wss?)://[A-Za-z0-9.-]+(:[0-9]+)?\Z")
_DOCUMENT = "index.html"
_ALONE = {
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a service.

    Attributes:
        path: where its ``index.html`` is shown, e.g. ``/board``; the other files lie below it, ``/board/main.js``.
        folder: its files, in the package of the service. Folders in it are not looked into.
        made: further files, made once at the start, e.g. from settings; a ``SettingsError`` keeps the process from starting.
        calls: other origins that its scripts may call, as they stand in the settings; its own is always allowed.
    """

    path: str
    folder: Path
    made: Callable[[], Mapping[str, bytes]] = dict
    calls: Callable[[], Sequence[str]] = tuple

    def files(self) -> Mapping[str, bytes]:
        """What there is, by name."""
        return {path.name: path.read_bytes() for path in sorted(self.folder.iterdir()) if path.is_file()} | {**self.made()}

    def policy(self) -> str:
        """Its Content-Security-Policy. Text cannot become markup (``trusted-types``), whatever a script does with it."""
        calls = self.calls()
        if wrong := [origin for origin in calls if not _ORIGIN.match(origin)]:
            raise SettingsError(f"{self.path}: {len(wrong)} of the origins that it calls are none")
        called = " ".join(("'self'", *calls))
        return (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
            f"connect-src {called}; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
            "require-trusted-types-for 'script'; trusted-types 'none'"
        )


def add_pages(
    application: web.Application, pages: Sequence[Page], expect: Callable[[web.Request], Awaitable[web.StreamResponse | None]]
) -> None:
    """Read the pages' files and add a way to each; ``expect`` answers an ``Expect`` header as the routes do.

    Raises:
        RouteError: a file has a name or a type that is not served, or a page has no ``index.html``.
        SettingsError: what a page is made of is set wrongly.
    """
    for page in pages:
        files, policy = page.files(), page.policy()
        strange = [name for name in files if not _NAME.match(name)]
        if strange or _DOCUMENT not in files:
            raise RouteError(f"{page.path} cannot be shown: {', '.join(strange) or 'no ' + _DOCUMENT}")
        for name, content in files.items():
            path = page.path if name == _DOCUMENT else f"{page.path}/{name}"
            headers = {**_ALONE, "Content-Type": _TYPES[name.rpartition(".")[2]]}
            if name == _DOCUMENT:
                headers |= {"Content-Security-Policy": policy, "Cache-Control": "no-store"}
            else:
                # Asked for again each time, so that a page never runs with scripts of another version.
                headers |= {"ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"', "Cache-Control": "no-cache"}
            application.router.add_get(path, _shows(content, headers), expect_handler=expect)


def _shows(content: bytes, headers: Mapping[str, str]) -> Callable[[web.Request], Awaitable[web.Response]]:
    etag = headers.get("ETag", "")

    async def show(request: web.Request) -> web.Response:
        known = [one.strip().removeprefix("W/") for one in request.headers.get("If-None-Match", "").split(",")[:8]]
        if etag and etag in known:
            return web.Response(status=304, headers=headers)
        return web.Response(body=content, headers=headers)

    return show
