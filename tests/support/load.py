"""A client that keeps books: posts entries, remembers every answer, and asks again with the same key what it does not know."""

import asyncio
import json
import random
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import aiohttp

from tests.support.tokens import bearer
from tests.support.waiting import eventually
from tests.support.world import Process

__all__ = ["NO_BROKER", "Answer", "Asked", "Load", "hold"]

NO_BROKER = {"TELEMED_KAFKA_BOOTSTRAP": "127.0.0.1:1"}
"""Environment of a process that takes commands only: nothing listens there, so it neither publishes nor consumes."""

_SETTLED = (201, 413, 422)


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and raw bytes; status 0 with the error's class when nothing came, or not in time: the outcome is unknown."""

    status: int
    body: bytes = b""

    @property
    def final(self) -> bool:
        """Whether the same key gets this answer for ever."""
        return self.status in _SETTLED


@dataclass(slots=True)
class Asked:
    """One entry: what was asked for, and every answer to it, in order."""

    account: str
    entry: str
    amount: int
    body: bytes
    answers: list[Answer] = field(default_factory=list)

    @property
    def acknowledged(self) -> bool:
        """Whether anyone was ever told that it is written."""
        return any(answer.status == 201 for answer in self.answers)

    @property
    def settled(self) -> bool:
        """Whether its outcome is known."""
        return any(answer.final for answer in self.answers)


class Load:
    """Posts entries to some accounts, at random, from one seed.

    Every entry carries a name that must never leave the database: ``canaries`` are searched for in logs and metrics.
    """

    def __init__(self, seed: int, *, accounts: int = 6, timeout_s: float = 20.0) -> None:
        self.random = random.Random(seed)
        mark = secrets.token_hex(6)
        self.accounts = [f"acc-{mark}-{number}" for number in range(accounts)]
        self.name = f'Zoë "{mark[::-1]}" O\'Neil'
        self.canaries = (mark, self.name)
        self.asked: dict[str, Asked] = {}
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None
        self._running: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        # No connection is kept: one that the other side has just closed would look like an unknown outcome.
        self._session = aiohttp.ClientSession(timeout=self._timeout, connector=aiohttp.TCPConnector(limit=0, force_close=True))
        return self

    async def __aexit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        await self.stop()
        assert self._session is not None
        await self._session.close()

    # --- asking ----------------------------------------------------------------------------------------------------

    def new(self, account: str = "", amount: int = 0, **more: object) -> Asked:
        """An entry to ask for: at a random account, unless one is named."""
        account = account or self.random.choice(self.accounts)
        amount = amount or self.random.randint(1, 50)
        entry = f"e{len(self.asked)}-{secrets.token_hex(4)}"
        wanted = {"account": account, "entry": entry, "amount": amount, "padding": self.name, **more}
        asked = self.asked[entry] = Asked(account, entry, amount, json.dumps(wanted).encode())
        return asked

    async def ask(self, process: Process, asked: Asked) -> Answer:
        """Post an entry, again if need be; always under its own key."""
        assert self._session is not None
        try:
            url = f"{process.url}/entries"
            headers = {**bearer(), "Content-Type": "application/json", "Idempotency-Key": asked.entry}
            async with self._session.post(url, data=asked.body, headers=headers) as response:
                answer = Answer(response.status, await response.read())
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            answer = Answer(0, type(error).__name__.encode())
        asked.answers.append(answer)
        return answer

    async def post(self, process: Process, account: str = "", amount: int = 0, **more: object) -> Answer:
        """Ask once for something new."""
        return await self.ask(process, self.new(account, amount, **more))

    async def run(self, processes: Sequence[Process], count: int, *, workers: int = 4) -> None:
        """Post so many entries, some at a time, each to a random one of the processes."""
        left = iter(range(count))

        async def work() -> None:
            for _ in left:
                await self.post(self.random.choice(processes))

        await asyncio.gather(*(work() for _ in range(workers)))

    def start(
        self,
        processes: Sequence[Process],
        *,
        workers: int = 3,
        pause_s: float = 0.02,
        while_true: Callable[[], Awaitable[bool]] | None = None,
    ) -> None:
        """Post until ``stop``. The list may change meanwhile. With ``while_true`` it waits whenever that says no."""

        async def work() -> None:
            while True:
                if while_true is None or await while_true():
                    await self.post(self.random.choice(processes))
                await asyncio.sleep(pause_s)

        self._running = [asyncio.create_task(work()) for _ in range(workers)]

    async def stop(self) -> None:
        """End what ``start`` began; a request under way becomes one whose outcome is unknown."""
        for task in self._running:
            task.cancel()
        for task in self._running:
            with suppress(asyncio.CancelledError):
                await task
        self._running = []

    async def settle(self, process: Process, *, within_s: float = 30.0) -> None:
        """Ask again, with the same keys, until the outcome of everything is known."""

        async def known() -> bool:
            for asked in self.unsettled:
                await self.ask(process, asked)
            return not self.unsettled

        await eventually(known, within_s=within_s, what="every outcome known")

    # --- the books -------------------------------------------------------------------------------------------------

    @property
    def unsettled(self) -> list[Asked]:
        """Entries whose outcome is not known."""
        return [asked for asked in self.asked.values() if not asked.settled]

    @property
    def acknowledged(self) -> list[Asked]:
        """Entries of which somebody was told that they are written."""
        return [asked for asked in self.asked.values() if asked.acknowledged]

    @property
    def refused(self) -> list[bytes]:
        """What was said to those that were answered, but not with a 201."""
        return [a.body for asked in self.asked.values() for a in asked.answers if a.status not in {0, 201}]

    @property
    def statuses(self) -> Counter[int]:
        """How often each status came; 0 stands for no answer."""
        return Counter(answer.status for asked in self.asked.values() for answer in asked.answers)


async def hold(process: Process, load: Load, *, connections: int = 8) -> list["asyncio.Task[Answer]"]:
    """Have commands that are delayed at their commit hold so many connections, each one of its own.

    One after the other: those that come together would share a connection.
    """
    asking: list[asyncio.Task[Answer]] = []
    for number, account in enumerate(load.accounts[:connections], start=1):
        asking.append(asyncio.create_task(load.post(process, account)))

        async def held(number: int = number) -> bool:
            return process.fired().count("command.before_commit") >= number

        await eventually(held, what=f"{number} connections are held")
    return asking
