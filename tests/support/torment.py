"""A walk along a patient's path while services die, the broker and the database go, and events come twice and out of order."""

import asyncio
import datetime as dt
import email
import json
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from services.cli.demo.seed import seed as plant
from services.cli.demo.stage import Answer, Stage
from services.cli.demo.story import FIRST_DAY, Story
from services.cli.operate import clock
from services.cli.stack.kafka import KafkaBroker
from services.cli.stack.postgres import PostgresServer
from services.runtime.database import Connection
from tests.support.care import Care, care
from tests.support.care_ledger import Ledger, differences, ledger
from tests.support.servers import Servers
from tests.support.stage import Turns, on_stage
from tests.support.waiting import eventually

__all__ = ["Walk", "walk"]

_OF_THE_FAULTS = frozenset({"runtime.urgent-parked"})
"""Calls of operators that the faults cause: one is made at once for an urgent event that waits for an earlier one."""

Fault = Callable[[], Coroutine[Any, Any, None]]


class Step(NamedTuple):
    """A request of the story: whom it asks, and how."""

    service: str
    method: str


@dataclass
class Watched(Stage):
    """A stage that tells what goes on.

    Attributes:
        history: every request.
        asking: the request that has no answer yet.
        moving: whether the clinic clock is being moved.
        during: breaks something along the next POST, and is over before the story looks again.
    """

    history: list[Step] = field(default_factory=list)
    asking: Step | None = None
    moving: bool = False
    during: Fault | None = None

    async def move(self, at: dt.datetime) -> None:
        self.moving = True
        await super().move(at)
        self.moving = False

    async def _asked(self, service: str, method: str, path: str, data: bytes | None, headers: Mapping[str, str]) -> Answer:
        self.asking = Step(service, method)
        self.history.append(self.asking)
        breaking = None
        if self.during is not None and method == "POST":
            breaking, self.during = asyncio.ensure_future(self.during()), None
        answer = await super()._asked(service, method, path, data, headers)
        if breaking is not None:
            await breaking
        self.asking = None
        return answer


@dataclass
class Walk:
    """One patient's path.

    Attributes:
        struck: what each fault has broken off, by what was struck.
    """

    care: Care
    stage: Watched
    stack: AsyncExitStack
    struck: dict[str, list[str]] = field(default_factory=dict)
    story: Story = field(init=False)

    def __post_init__(self) -> None:
        self.story = Story(self.stage, FIRST_DAY, number=self.number, weekly=1)

    @property
    def number(self) -> int:
        """Of the patient: the mail server is shared, so each walk is another one's."""
        return int(self.care.database.removeprefix("c_"), 16)

    async def begin(self) -> None:
        """From the enquiry to the day after the first session."""
        await self.story.to_the_plan()
        await self.story.first_session()
        await self.story.amendment()
        await self.stage.settle()

    async def go_on(self) -> None:
        """From there to the review in spring."""
        await self.story.induction()
        await self.story.maintenance()
        await self.story.results()
        await self.stage.settle()
        assert [(one.name, one.wanted, one.found) for one in self.stage.checks if not one.holds] == []

    async def all_of_it(self) -> None:
        """Both."""
        await self.begin()
        await self.go_on()

    async def tormented(self, course: Awaitable[None], faults: Sequence[tuple[int, Fault]]) -> None:
        """Walk while one fault after the other strikes, each from some step on."""
        async with asyncio.TaskGroup() as tasks:
            tormenting = tasks.create_task(self._torment(faults))
            await course
            async with asyncio.timeout(60):
                await tormenting
        await self.stage.settle()

    async def _torment(self, faults: Sequence[tuple[int, Fault]]) -> None:
        for step, fault in sorted(faults, key=lambda one: one[0]):

            async def reached(step: int = step) -> bool:
                return self.stage.steps >= step

            await eventually(reached, within_s=900, what=f"step {step}")
            await fault()

    # --- what breaks -----------------------------------------------------------------------------------------------

    def draw(
        self, chance: random.Random, history: Sequence[Step], victims: Sequence[str], broker: KafkaBroker
    ) -> list[tuple[int, Fault]]:
        """When the services and the broker are struck.

        Args:
            chance: decides.
            history: of the same path, undisturbed.
            victims: services; each is killed at a step after which it still has something to do.
        """
        begin = 1 + next(place for place, step in enumerate(history) if step.service != "clinic")
        chair = next(place for place, step in enumerate(history) if step.service == "session_logging")
        found: list[tuple[int, Fault]] = []
        for name in victims:
            asked = [place for place, step in enumerate(history) if step == (name, "POST")]
            found.append((chance.randrange(begin, asked[-1] if asked else len(history) - 10), self.kills(name)))
        # Not while the monitor runs: a minute without a sample is an alarm, and rightly.
        found.append((chance.randrange(begin, chair - 3), self.restarts(broker)))
        return found

    def kills(self, name: str) -> Fault:
        """kill -9 of a process of a service in the middle of its work; then another one starts."""

        async def kill() -> None:
            async with self.care.owner() as connection:
                while not self.struck.get(name):
                    if not await self._work(connection, name):
                        await asyncio.sleep(0.005)
                        continue
                    victim = self.care.running[name]
                    await victim.kill()
                    assert victim.popen.returncode == -signal.SIGKILL
                    self.struck[name] = await self._work(connection, name)
                    await self.care.spawn(name)
                    self.stage.urls = Turns(self.care.urls())

        return kill

    def restarts(self, broker: KafkaBroker) -> Fault:
        """kill -9 of the broker, which comes back when something waits for it."""

        async def restart() -> None:
            await broker.kill()
            assert not broker.alive

            async def waiting() -> list[str]:
                return [line for line in await self._unfinished(connection) if "not published" in line]

            async with self.care.owner() as connection:
                self.struck["broker"] = await eventually(waiting, within_s=60, what="something waits for the broker")
            await broker.restart()

        return restart

    def crashes(self, postgres: PostgresServer) -> Fault:
        """A crash of the database along a request; it recovers at its next start."""

        async def crash() -> None:
            over = asyncio.Event()

            async def along() -> None:
                await postgres.stop("immediate")
                assert not postgres.alive
                self.struck["database"] = [str(self.stage.asking)]
                await postgres.restart()
                self.stage.connection = await self.stack.enter_async_context(self.care.owner())
                over.set()

            # Of a database that was cloned from a template the server hands out the first numbers of a sequence without
            # writing so to its log, up to the next checkpoint: after a crash it would give them again.
            async with self.care.owner() as connection:
                await connection.execute("checkpoint")
            self.stage.during = along
            await over.wait()

        return crash

    async def _work(self, connection: Connection, name: str) -> list[str]:
        """What a service has begun and not finished; nothing where it must not be killed.

        Only a POST is asked again without a trace: a second GET is another row of the audit, and a PUT that was carried out and
        not answered is told from another's by its version only. A message whose sender died is left to a human and not sent
        again: by design that is another ledger, and it is tried where messages are.
        """
        lines = [line for line in await self._unfinished(connection) if line.startswith((f"{name}:", f"{name}."))]
        asked = self.stage.asking is not None and self.stage.asking.service == name
        sending = self.stage.moving or any("timers due" in line or "calls under way" in line for line in lines)
        if (asked and self.stage.asking != (name, "POST")) or (name == "follow_up" and sending):
            return []
        return [*lines, f"{name}: a request not answered"] if asked else lines

    async def _unfinished(self, connection: Connection) -> Sequence[str]:
        return (await clock.standing(connection, self.stage.services, self.care.prefix)).unfinished

    # --- what is left ----------------------------------------------------------------------------------------------

    async def ledger(self) -> Ledger:
        """In the words of the story."""
        story = self.story
        names = {person.person: login for login, person in self.care.people.items()}
        names |= {story.patient: "patient", story.case: "case", story.plan: "plan", str(self.number): "number"}
        names |= {self.care.prefix: "prefix", self.care.provider.url: "issuer"}
        names |= {one["session"]: f"session {number}" for number, one in enumerate(story.sessions, 1)}
        return await ledger(self.care, names, without=_OF_THE_FAULTS)

    async def came_to(self, calm: Ledger) -> None:
        """Nothing is lost and nothing is there twice, although events came twice and too early."""
        assert [(one.name, one.wanted, one.found) for one in self.stage.checks if not one.holds] == []
        torn = await self.ledger()
        found = differences(calm, torn)
        assert not found, json.dumps(found, indent=1)
        events = sum(torn[f"{name}.outbox"].total() for name in self.care.services)
        assert await self.handled("duplicate") > events
        assert await self.handled("gap") > 0
        assert await self.mails_amiss() == []

    async def handled(self, outcome: str) -> float:
        """Events that the living processes have met, by what became of them."""
        living = [one for one in self.care.processes if one.popen.poll() is None]
        lines = [line for one in living for line in (await one.get("/metrics"))[1].splitlines()]
        wanted = [line for line in lines if line.startswith("telemed_events_handled_total") and f'outcome="{outcome}"' in line]
        return sum(float(line.rsplit(" ", 1)[1]) for line in wanted)

    async def mails_amiss(self) -> list[str]:
        """Messages to the patient that are not one raw mail each, and calls that nobody got."""
        mails = [email.message_from_string(text) for text in self.care.servers.mail.raw("")]
        found = Counter(str(mail["Message-ID"]).strip() for mail in mails)
        to_the_patient = sum(self.story.person["email"] in str(mail["To"]) for mail in mails)
        sent = [row["id"] for row in await self.care.rows("follow_up", "select id from reminder where status = 'sent'")]
        amiss = [f"message {one}" for one in sent if found[f"<{one}@telemed>"] != 1]
        if to_the_patient != len(sent):
            amiss.append(f"{to_the_patient} mails for {len(sent)} messages")
        for name in self.care.services:
            for row in await self.care.rows(name, "select page_id, count(*) as calls from page_attempt group by page_id"):
                got = {str(mail["Message-ID"]) for mail in mails if mail["X-Telemed-Page"] == str(row["page_id"])}
                if len(got) != row["calls"]:
                    amiss.append(f"{name} page {row['page_id']}: {len(got)} of {row['calls']} calls")
        return amiss


@asynccontextmanager
async def walk(servers: Servers, folder: Path, *, replicas: int = 1, mischief: bool = False) -> AsyncIterator[Walk]:
    """Every service, so many times, and a clinic that is ready for its first patient.

    Args:
        mischief: events come twice and out of order.
    """
    async with AsyncExitStack() as stack:
        made = await stack.enter_async_context(care(servers, folder))
        if mischief:
            made.runner = ("tests.support.mischief",)
            # A gap that heals in time calls nobody; what time that is, is tried elsewhere.
            made.environment |= {"TELEMED_MESSAGING_GAP_ALARM_S": "30", "TELEMED_KAFKA_SESSION_TIMEOUT_S": "3"}
        for _ in range(replicas):
            await made.spawn(*made.services)
        stage = Watched(**vars(await stack.enter_async_context(on_stage(made))))
        found = Walk(made, stage, stack)
        # From the same instant, whichever day it is: the roster is looked at each day.
        await stage.until(found.story.at(-1, "00:00"))
        await plant(stage, until=found.story.at(120, "00:00"))
        yield found
