"""Where a story is played: services that are called over HTTP as somebody, and the clinic clock, moved between the steps."""

import asyncio
import datetime as dt
import heapq
import itertools
import json
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

import aiohttp

from services.cli.operate import clock
from services.runtime.database import Connection
from services.runtime.service import Service

__all__ = ["Answer", "Check", "Stage", "Turns", "Unexpected"]

_STRANGER = "patient.b"
"""Who has no business with anybody's steps."""
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

_PATIENCE_S = 30.0
"""How long a service that does not answer is asked again; real time."""


_AGAIN_S = 0.2
"""After how long it is asked again, unless it says when."""
_TICK_S = 0.5
"""How often the clinic clock is moved while somebody watches; real time."""


class Unexpected(Exception):
    """A step was answered in another way than the story says; the text names both."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a service answered."""

    status: int
    body: Any

    @property
    def code(self) -> str:
        """Code of a problem document; empty for a success."""
        return str(self.body.get("code", "")) if self.status >= 400 and isinstance(self.body, dict) else ""


@dataclass(frozen=True, slots=True)
class Check:
    """One expected result of a story, and what was found."""

    name: str
    wanted: Any
    found: Any

    @property
    def holds(self) -> bool:
        """Whether they are the same."""
        return bool(self.wanted == self.found)


class Turns:
    """Courses that share one clock: one at a time goes on, the one that waits for the earliest instant.

    Args:
        count: how many.
    """

    def __init__(self, count: int) -> None:
        self._left = count
        self._waiting: list[tuple[dt.datetime, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._changed = asyncio.Event()

    async def play(self, course: Coroutine[Any, Any, None]) -> None:
        """Play one of them, from its first turn on."""
        try:
            await self.wait(dt.datetime.min.replace(tzinfo=dt.UTC))
            await course
        finally:
            course.close()
            self._left -= 1
            self._changed.set()

    async def wait(self, at: dt.datetime) -> None:
        """Let the others go on until it is this course's turn at an instant."""
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (at, next(self._order), mine))
        self._changed.set()
        await mine

    async def next(self) -> dt.datetime | None:
        """The earliest instant that anybody waits for, once all of them wait; None when all have ended."""
        while len(self._waiting) < self._left:
            self._changed.clear()
            await self._changed.wait()
        return self._waiting[0][0] if self._waiting else None

    def give(self) -> None:
        """Let whoever waits for that instant go on."""
        heapq.heappop(self._waiting)[2].set_result(None)


@dataclass
class Stage:
    """See the module.

    Attributes:
        session: for HTTP.
        urls: of the services, by name.
        bearer: header of somebody's token, by login, signed in just now.
        ids: somebody's id in tokens, events and rows, by login.
        connection: as the owner of the database, for the clinic clock.
        services: of the deployment; their work is waited for before the next step.
        prefix: of the topics.
        mails: everything that the mail server has taken.
        say: prints a line.
        zone: in which the story's clock is read.
        by: who moves the clock; it is written down.
        turns: where several courses are played side by side.
        pace: clinic seconds for a real one while somebody watches.
        tried: the kinds of step that somebody has tried with a wrong token.
    """

    session: aiohttp.ClientSession
    urls: Mapping[str, str]
    bearer: Callable[[str], Mapping[str, str]]
    ids: Mapping[str, str]
    connection: Connection
    services: Sequence[Service]
    prefix: str
    mails: Callable[[], Awaitable[Sequence[Mapping[str, Any]]]]
    say: Callable[[str], None]
    zone: str = "America/New_York"
    by: str = "demo"
    checks: list[Check] = field(default_factory=list)
    steps: int = 0
    turns: Turns | None = None
    pace: float | None = None
    watched: int = 0
    tried: set[tuple[str, str, str]] = field(default_factory=set)

    async def now(self) -> dt.datetime:
        """The clinic clock, as the story reads it."""
        found: dt.datetime = await self.connection.fetchval("select runtime.clinic_now()")
        return found.astimezone(ZoneInfo(self.zone))

    async def settle(self) -> None:
        """Wait until every service has done what is due."""
        await clock.quiet(self.connection, self.services, self.prefix, 60.0)

    async def until(self, at: dt.datetime) -> None:
        """Wait for an instant of the clinic clock; nothing where it has passed.

        The clock is moved there, from due instant to due instant, once nobody has anything earlier to do.
        """
        if at <= await self.now():
            return
        if self.turns is None:
            await self.move(at)
        else:
            await self.turns.wait(at)

    async def together(self, courses: Sequence[Coroutine[Any, Any, None]]) -> None:
        """Play several courses side by side, each step in the order of the clinic clock."""
        self.turns = Turns(len(courses))
        try:
            async with asyncio.TaskGroup() as group:
                for course in courses:
                    group.create_task(self.turns.play(course))
                while (at := await self.turns.next()) is not None:
                    await self.move(at)
                    self.turns.give()
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        finally:
            self.turns = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While this lasts the clinic clock goes at the stage's pace, if it has one."""
        self.watched += 1
        try:
            yield
        finally:
            self.watched -= 1

    async def move(self, at: dt.datetime) -> None:
        """Move the clinic clock on to an instant: at once, or in small steps while somebody watches."""
        began, start = time.monotonic(), await self.now()
        while (now := await self.now()) < at:
            goal = at
            if self.pace and self.watched:
                goal = min(at, start + dt.timedelta(seconds=self.pace * (time.monotonic() - began)))
            if goal > now:
                await self._jump(goal)
            if goal < at:
                await asyncio.sleep(_TICK_S)

    async def _jump(self, at: dt.datetime) -> None:
        try:
            target = clock.Target(to=at.astimezone(dt.UTC))
            await clock.advance(self.connection, self.services, self.prefix, target, by=self.by, reason="demo")
        except ValueError:
            if await self.now() < at:
                raise
            # The instant came by itself, while the services finished what was due before it.

    async def call(
        self,
        login: str | None,
        service: str,
        method: str,
        path: str,
        body: object = None,
        *,
        version: int | None = None,
        headers: Mapping[str, str] | None = None,
        refused: str = "",
        quiet: bool = True,
    ) -> Any:
        """One step: somebody asks a service, and it answers as the story says. Before the first step of each kind somebody else
        tries it, whose token is as good and who has no business with it.

        Args:
            login: who; None without a token.
            service: whom.
            method: of HTTP.
            path: with its query.
            body: sent as JSON.
            version: sent as ``If-Match``.
            headers: more.
            refused: the code of the refusal that the story wants; a success otherwise.
            quiet: whether to wait first until every service has done what is due.

        Returns:
            The body of the answer.

        Raises:
            Unexpected: it was another answer.
        """
        if quiet:
            await self.settle()
        given = dict(self.bearer(login)) if login else {}
        if method == "POST":
            given["Idempotency-Key"] = secrets.token_hex(8)
        if version is not None:
            given["If-Match"] = f'"{version}"'
        given |= headers or {}
        data = None if body is None else json.dumps(body).encode()
        if data is not None:
            given.setdefault("Content-Type", "application/json")
        if login:
            await self._try_with_a_wrong_token(service, method, path, data, given)
        self.steps += 1
        answer = await self._asked(service, method, path, data, given)
        at = await self.now()
        outcome = answer.code or str(answer.status)
        self.say(f"{at:%a %d %b %H:%M:%S}  {login or 'the public':<15} {service}: {method} {_short(path)} -> {outcome}")
        if answer.code != refused or (not refused and answer.status >= 300):
            asked = f"{login or 'the public'} {service} {method} {path}"
            raise Unexpected(f"{asked}: {answer.status} {answer.body}, wanted {refused or 'success'}")
        return answer.body

    async def _try_with_a_wrong_token(
        self, service: str, method: str, path: str, data: bytes | None, headers: Mapping[str, str]
    ) -> None:
        kind = (service, method, _ID.sub("..", path.partition("?")[0]))
        if kind in self.tried:
            return
        self.tried.add(kind)
        answer = await self._answered(service, method, path, data, {**headers, **self.bearer(_STRANGER)})
        if answer.status not in (403, 404):
            raise Unexpected(f"{_STRANGER} {service} {method} {path}: {answer.status} {answer.body}, wanted a refusal")

    async def _asked(self, service: str, method: str, path: str, data: bytes | None, headers: Mapping[str, str]) -> Answer:
        """Ask for a step of the story."""
        return await self._answered(service, method, path, data, headers)

    async def _answered(self, service: str, method: str, path: str, data: bytes | None, headers: Mapping[str, str]) -> Answer:
        """Ask as a careful client does: where no answer came, or none is known yet, the same again under the same key."""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                async with self.session.request(method, self.urls[service] + path, data=data, headers=headers) as response:
                    text = await response.read()
                    answer = Answer(response.status, json.loads(text) if text else None)
                    wait = float(response.headers.get("Retry-After", _AGAIN_S))
            except aiohttp.ClientConnectionError:
                if time.monotonic() > deadline:
                    raise
                wait = _AGAIN_S
            else:
                later = answer.status in (429, 503) or answer.code == "request-in-progress"
                if not later or time.monotonic() > deadline:
                    return answer
            await asyncio.sleep(wait)

    def check(self, name: str, wanted: object, found: object) -> None:
        """Compare a result with what the story says; a difference is printed, and ends the demo with 1."""
        one = Check(name, wanted, found)
        self.checks.append(one)
        if not one.holds:
            self.say(f"  DIFFERS  {name}: wanted {wanted}, found {found}")


def _short(path: str) -> str:
    """A path whose ids are cut to their last characters, for reading."""
    return "/".join(f"..{part[-4:]}" if len(part) == 36 and part.count("-") == 4 else part for part in path.split("/"))
