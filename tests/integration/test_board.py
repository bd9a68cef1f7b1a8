"""The board over HTTP and over events: what stands on it, and a stream that misses nothing."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from services.cli.demo.patient import Vitals
from services.cli.demo.story import Story
from tests.support.care import Care
from tests.support.servers import Servers
from tests.support.stage import planned
from tests.support.waiting import eventually

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(300)]

GOOD = Vitals(6, 140, 84, 88, 16, 98)
RED = Vitals(5, 181, 100, 120, 16, 98)


@pytest_asyncio.fixture
async def scene(servers: Servers, tmp_path: Path) -> AsyncIterator[tuple[Care, Story]]:
    async with planned(servers, tmp_path) as made:
        yield made


@dataclass
class Reader:
    """A client of the stream, as the page is one: keeps rows by id, and the last id for going on."""

    care: Care
    login: str
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    position: int = 0
    seen: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    ended: tuple[str, str] | None = None
    _task: "asyncio.Task[None] | None" = None

    async def snapshot(self) -> Any:
        shown = (await self.care.call(self.login, "staff_dashboard", "GET", "/snapshot")).ok()
        self.rows = {row[kind]: row for kind in ("session", "alert", "task") for row in shown[f"{kind}s"]}
        self.position = shown["position"]
        return shown

    def follow(self, url: str = "", **claims: Any) -> None:
        self.ended = None
        self._task = asyncio.create_task(self._read(url or self.care.running["staff_dashboard"].url, claims))

    async def cut(self) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _read(self, url: str, claims: dict[str, Any]) -> None:
        headers = self.care.bearer(self.login, **claims)
        timeout = aiohttp.ClientTimeout(total=None)
        async with self.care.session.get(f"{url}/stream?after={self.position}", headers=headers, timeout=timeout) as answer:
            assert (answer.status, answer.headers["Content-Type"]) == (200, "text/event-stream"), await answer.text()
            assert (answer.headers["Cache-Control"], answer.headers["X-Accel-Buffering"]) == ("no-store", "no")
            event: dict[str, str] = {}
            async for line in answer.content:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name:
                    event[name] = value
                    continue
                self._take(event)
                event = {}

    def _take(self, event: dict[str, str]) -> None:
        kind, data = event["event"], json.loads(event["data"])
        self.seen.append((kind, data))
        if kind in ("reset", "close"):
            self.ended = (kind, data["reason"])
        if kind not in ("session", "alert", "task"):
            assert "id" not in event
            return
        assert int(event["id"]) > self.position, "in order"
        self.position = int(event["id"])
        if data.pop("gone", False):
            self.rows.pop(data[kind], None)
        else:
            self.rows[data[kind]] = data


@asynccontextmanager
async def reader(care: Care, login: str) -> AsyncIterator[Reader]:
    made = Reader(care, login)
    yield made
    if made._task is not None:
        await made.cut()


async def same(client: Reader) -> None:
    """What the client has made of snapshot and stream is what a new snapshot shows."""

    async def agree() -> bool:
        other = Reader(client.care, client.login)
        await other.snapshot()
        return client.rows == other.rows

    await eventually(agree, what="the client has what the board has")


async def test_a_running_infusion_is_followed_by_people_who_may_see_it(scene: tuple[Care, Story]) -> None:
    care, story = scene
    async with reader(care, "nurse.a") as nurse, reader(care, "front_desk.a") as desk:
        shown = await nurse.snapshot()
        print(json.dumps(shown, indent=1))
        await desk.snapshot()
        nurse.follow()
        desk.follow()
        path, _ = await story.start_first()
        await story.stage.settle()
        print(nurse.ended, desk.ended, len(nurse.seen))
        (await care.call("nurse.a", "session_logging", "POST", f"{path}/vitals", RED.body())).ok()
        await story.stage.settle()
        await asyncio.sleep(2)
        print(json.dumps(nurse.seen, indent=1)[:6000])
        print(desk.seen)
