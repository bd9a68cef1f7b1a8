"""A real LiveKit server, true participants, and a post office between the server and us that keeps what passes."""

import asyncio
import json
import os
import secrets
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from services.cli.stack import livekit
from services.cli.stack.kafka import default_cache
from services.cli.stack.parts import is_ready
from services.cli.stack.ports import HOST, free_ports
from services.cli.stack.process import Child, last_line
from tests.support.care import Care
from tests.support.visits import ask
from tests.support.waiting import eventually

__all__ = ["Delivery", "Participant", "Video", "participant", "running", "token_for"]

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One call of the server, as it came.

    Attributes:
        at: when it came, in seconds since 1970.
        took_s: until our service had answered.
        status: what it answered; 0 for none.
    """

    body: bytes
    token: str
    at: float
    took_s: float
    status: int

    @property
    def says(self) -> Any:
        """What it says."""
        return json.loads(self.body)

    @property
    def event(self) -> str:
        """Its kind, in the server's words."""
        return str(self.says["event"])


@dataclass
class Video:
    """See the module.

    Attributes:
        target: our service, where calls are handed on to; empty while it is away.
        cut: how many more calls are handed on without their answer being given back: the server cannot know, and repeats.
        deliveries: all of them, in order of arrival.
    """

    url: str
    secret: str
    command: list[str]
    log: Path
    server: Child | None = None
    target: str = ""
    cut: int = 0
    deliveries: list[Delivery] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """What the service is told."""
        return {
            "TELEMED_LIVEKIT_URL": self.url,
            "TELEMED_LIVEKIT_API_KEY": livekit.API_KEY,
            "TELEMED_LIVEKIT_API_SECRET": self.secret,
        }

    def of(self, visit: str, *events: str) -> list[Delivery]:
        """Calls about the room of a visit."""
        room = f"visit-{visit.rsplit('/', 1)[1]}"
        about = [one for one in self.deliveries if one.says.get("room", {}).get("name") == room]
        return [one for one in about if not events or one.event in events]

    async def start(self) -> None:
        """Start the server, also anew after ``kill``; returns when it answers."""
        self.server = server = await Child.start(self.command, log=self.log, env={"PATH": os.defpath})

        async def answers() -> bool:
            assert server.returncode is None, last_line(self.log)
            return await is_ready(self.url.replace("ws", "http", 1))

        await eventually(answers, what="the server answers")

    async def kill(self) -> None:
        """kill -9: whoever was connected is not, and nobody is told."""
        if self.server is not None:
            await self.server.kill()

    async def come(self, visit: str, event: str, number: int = 1, *, within_s: float = 60.0) -> Delivery:
        """Wait for a call of a kind about a visit: the first, the second, ... that our service has taken."""

        async def there() -> list[Delivery]:
            found = [one for one in self.of(visit, event) if one.status == 200]
            return found if len(found) >= number else []

        return (await eventually(there, within_s=within_s, what=f"{event} {number} of {visit}"))[number - 1]


@dataclass
class Participant:
    """Somebody in a room, as a process of their own."""

    process: asyncio.subprocess.Process
    happened: list[dict[str, Any]] = field(default_factory=list)
    left_at: float = 0.0
    """When they were told to leave, or were killed, in seconds since 1970."""

    async def happens(self, what: str, *, within_s: float = 60.0) -> dict[str, Any]:
        """Wait until something has happened to them."""

        async def there() -> dict[str, Any] | None:
            return next((one for one in self.happened if one["what"] == what), None)

        return await eventually(there, within_s=within_s, what=f"{what}; so far {self.happened}") or {}

    async def leave(self) -> None:
        """In order, as by a button."""
        assert self.process.stdin is not None
        self.left_at = time.time()
        self.process.stdin.close()
        await asyncio.wait_for(self.process.wait(), 30)

    async def die(self) -> None:
        """As by a battery that is empty: nobody says anything."""
        self.left_at = time.time()
        self.process.kill()
        await self.process.wait()

    async def read(self) -> None:
        """Keep what it prints."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            with suppress(json.JSONDecodeError):
                self.happened.append(json.loads(line))


@asynccontextmanager
async def participant(token: dict[str, Any]) -> AsyncIterator[Participant]:
    """A process that joins with a token of ours."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.video.participant",
        cwd=_ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if not name.startswith("TELEMED_")},
    )
    made = Participant(process)
    reading = asyncio.create_task(made.read())
    try:
        assert process.stdin is not None
        process.stdin.write(json.dumps(token).encode() + b"\n")
        await process.stdin.drain()
        yield made
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        await reading


async def token_for(clinic: Care, login: str, visit: str) -> dict[str, Any]:
    """What our route gives somebody who may join."""
    found: dict[str, Any] = (await ask(clinic, login, "POST", f"{visit}/join-tokens", key="")).ok()
    return found


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Video]:
    """The real server, which calls us by way of the post office."""
    binary = livekit.find(default_cache())
    assert binary is not None, "no LiveKit server: run `make e2e-video`, which builds it"
    port, udp_port, post_port = free_ports(3)
    secret, url = secrets.token_urlsafe(24), f"http://{HOST}:{port}"
    config = livekit.configuration(
        folder / "livekit.json",
        port=port,
        udp_port=udp_port,
        secret=secret,
        webhook=f"http://{HOST}:{post_port}{livekit.WEBHOOK}",
    )
    video = Video(url.replace("http", "ws"), secret, livekit.command(binary, config), folder / "livekit.log")
    async with aiohttp.ClientSession() as session:
        runner = web.AppRunner(_post_office(video, session), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, HOST, post_port).start()
        try:
            await video.start()
            yield video
        finally:
            await video.kill()
            await runner.cleanup()


def _post_office(video: Video, session: aiohttp.ClientSession) -> web.Application:
    async def hand_on(request: web.Request) -> web.StreamResponse:
        at, body = time.time(), await request.read()
        headers = {name: request.headers[name] for name in ("Authorization", "Content-Type")}
        status = 0
        with suppress(aiohttp.ClientError):
            async with session.post(video.target + livekit.WEBHOOK, data=body, headers=headers) as response:
                status = response.status
        video.deliveries.append(Delivery(body, headers["Authorization"], at, time.time() - at, status))
        if video.cut and status:
            video.cut -= 1
            status = 0
        if not status:
            assert request.transport is not None
            request.transport.abort()
        return web.Response(status=status or 502)

    application = web.Application()
    application.router.add_post(livekit.WEBHOOK, hand_on)
    return application
