"""The board over HTTP and over events: what stands on it, for whom, and a stream that misses nothing."""

import asyncio
import contextlib
import datetime as dt
import json
import random
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4, uuid5

import aiohttp
import pytest
import pytest_asyncio

from schemas.events import clinic, consultation, follow_up, session_logging
from schemas.events.shared import TaskClosed, TaskOpened
from schemas.fields import Measure, ZonedInstant
from services.cli.operate import acts
from services.staff_dashboard.domain import Cursor
from services.staff_dashboard.subscriptions import BOARD, OWNERS
from tests.support.care import Care, care
from tests.support.owners import Owners, owners
from tests.support.servers import Servers
from tests.support.waiting import eventually
from tests.support.world import Process

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(300)]

ZONE = "America/New_York"
STAFF = {"nurse.a": "nurse", "prescriber.a": "prescriber"}
WHO = {"by": "Ann Operator", "reason": "the rows were wrong"}


def measure(value: str, unit: str) -> Measure:
    return Measure(value=Decimal(value), unit=unit)


@dataclass
class Chair:
    """A patient with a session, as the other services tell of it."""

    tell: Owners
    patient: UUID = field(default_factory=uuid4)
    session: UUID = field(default_factory=uuid4)
    starts: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))

    @property
    def source(self) -> str:
        return f"/session_logging/sessions/{self.session}"

    @property
    def ids(self) -> dict[str, Any]:
        return {"session": self.session, "patient": self.patient}

    def changed(self, state: str) -> session_logging.SessionChanged:
        return session_logging.SessionChanged(
            **self.ids,
            plan=uuid5(self.session, "plan"),
            plan_version=1,
            case=uuid5(self.session, "case"),
            therapy="ketamine",
            ordinal=1,
            phase="induction",
            starts=ZonedInstant(at=self.starts, zone=ZONE),
            state=state,
        )

    async def stands(self, state: str) -> None:
        await self.tell.tell(session_logging.SESSION_CHANGED, self.source, self.patient, self.changed(state))

    async def infuses(self) -> None:
        await self.stands("infusing")
        data = session_logging.InfusionStarted(
            **self.ids,
            dose=measure("41.0", "mg"),
            volume=measure("0.82", "mL"),
            rate=measure("150.0", "mL/h"),
            duration=measure("40", "min"),
            by=uuid4(),
            started_at=self.starts,
        )
        await self.tell.tell(session_logging.INFUSION_STARTED, self.source, self.patient, data)

    async def closes(self) -> None:
        data = session_logging.SessionClosed(
            **self.ids, plan=uuid5(self.session, "plan"), ordinal=1, ending="completed", closed_at=self.starts
        )
        await self.tell.tell(session_logging.SESSION_CLOSED, self.source, self.patient, data)

    async def measures(self, *pressures: int) -> None:
        data = [
            session_logging.VitalsSummarised(
                **self.ids,
                origin="typed",
                from_at=self.starts + dt.timedelta(seconds=number),
                to_at=self.starts + dt.timedelta(seconds=number),
                sbp=sbp,
                spo2=Decimal("98"),
            )
            for number, sbp in enumerate(pressures)
        ]
        await self.tell.tell(session_logging.VITALS_SUMMARISED, self.source, self.patient, *data)

    def alarm(self, alert: UUID) -> session_logging.AlertRaised:
        return session_logging.AlertRaised(
            **self.ids,
            alert=alert,
            tier="RED",
            signal="sbp_high",
            rule="alert.sbp_high.RED",
            at=self.starts,
            raised_at=self.starts,
            late=False,
            answer_due_at=self.starts + dt.timedelta(seconds=90),
        )

    async def overrules(self, gate: str, *rules: str, by: str) -> None:
        overrides = [session_logging.Overridden(rule=rule, by=UUID(by)) for rule in rules]
        sample = session_logging.GATE_EVALUATED.sample
        assert sample is not None
        data = sample.model_copy(update={**self.ids, "gate": gate, "overrides": overrides})
        await self.tell.tell(session_logging.GATE_EVALUATED, self.source, self.patient, data)

    async def alarms(self, count: int = 1) -> list[UUID]:
        alerts = [uuid4() for _ in range(count)]
        await self.tell.tell(session_logging.ALERT_RAISED, self.source, self.patient, *map(self.alarm, alerts))
        return alerts

    async def answers(self, alert: UUID) -> None:
        data = session_logging.AlertAcknowledged(**self.ids, alert=alert, role="nurse", by=uuid4(), acknowledged_at=self.starts)
        await self.tell.tell(session_logging.ALERT_ACKNOWLEDGED, self.source, self.patient, data)

    async def resolves(self, alert: UUID) -> None:
        data = session_logging.AlertResolved(**self.ids, alert=alert, action="observed", by=uuid4(), resolved_at=self.starts)
        await self.tell.tell(session_logging.ALERT_RESOLVED, self.source, self.patient, data)

    async def owes(self, role: str = "nurse") -> UUID:
        task = uuid4()
        data = TaskOpened(task=task, patient=self.patient, kind="check-24h", role=role, due_at=self.starts)
        await self.tell.tell(follow_up.TASK_OPENED, f"/follow_up/patients/{self.patient}", self.patient, data)
        return task

    async def does(self, task: UUID) -> None:
        data = TaskClosed(task=task, patient=self.patient, outcome="done", by=uuid4(), closed_at=self.starts)
        await self.tell.tell(follow_up.TASK_CLOSED, f"/follow_up/patients/{self.patient}", self.patient, data)

    async def known(self, *team: tuple[str, str]) -> None:
        """Consultation tells who treats the patient."""
        members = [consultation.CareTeamMember(staff=UUID(staff), role=role) for staff, role in team]
        data = consultation.PatientChanged(
            patient=self.patient, zone=ZONE, language="en-US", region="US-NY", status="active", care_team=members
        )
        await self.tell.tell(consultation.PATIENT_CHANGED, f"/consultation/patients/{self.patient}", self.patient, data)


@dataclass
class Client:
    """As the page is one: keeps rows by id, and from where it goes on when its stream breaks off.

    Attributes:
        closed: why its streams ended, in order.
        ended: the last event of a stream after which it does not come again by itself.
    """

    care: Care
    login: str
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    position: int = 0
    seen: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    ended: tuple[str, str] | None = None
    _task: "asyncio.Task[None] | None" = None

    async def snapshot(self) -> Any:
        async def answered() -> Any:
            answer = await self.care.call(self.login, "staff_dashboard", "GET", "/snapshot")
            return answer if answer.status != 503 else None

        shown = (await eventually(answered)).ok()
        self.rows = {row[kind]: row for kind in ("session", "alert", "task") for row in shown[f"{kind}s"]}
        self.position = shown["position"]
        return shown

    async def follow(self, *, process: Process | None = None, by_header: bool = False, **claims: Any) -> None:
        """Stream from now on; returns when the first event is there."""
        await self.cut()
        self.ended, known = None, len(self.seen)
        url = (process or self.care.running["staff_dashboard"]).url
        self._task = asyncio.create_task(self._read(url, by_header, self.care.bearer(self.login, **claims)))

        async def streams() -> bool:
            return len(self.seen) > known

        await eventually(streams, within_s=60, what="it streams")

    async def cut(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def done(self) -> tuple[str, str]:
        """How the stream ended."""
        assert self._task is not None
        await asyncio.wait_for(self._task, 60)
        assert self.ended is not None
        return self.ended

    async def _read(self, url: str, by_header: bool, bearer: dict[str, str]) -> None:
        while self.ended is None:
            place = {"Last-Event-ID": str(self.position)} if by_header else {}
            where = f"{url}/stream" if by_header else f"{url}/stream?after={self.position}"
            try:
                async with self.care.session.get(
                    where, headers={**bearer, **place}, timeout=aiohttp.ClientTimeout(total=None)
                ) as answer:
                    if answer.status != 503:
                        await self._events(answer)
            except aiohttp.ClientError:
                await asyncio.sleep(0.1)

    async def _events(self, answer: aiohttp.ClientResponse) -> None:
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/event-stream"), await answer.text()
        assert (answer.headers["Cache-Control"], answer.headers["X-Accel-Buffering"]) == ("no-store", "no")
        event: dict[str, str] = {}
        async for line in answer.content:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name:
                event[name] = value
            else:
                self.take(event)
                event = {}

    def take(self, event: dict[str, str]) -> None:
        kind, data = event["event"], json.loads(event["data"])
        self.seen.append((kind, data))
        if kind == "close":
            self.closed.append(data["reason"])
        if kind == "reset" or data.get("reason") == "token-expired":
            self.ended = (kind, data["reason"])
        if kind not in ("session", "alert", "task"):
            assert "id" not in event
            return
        assert int(event["id"]) > self.position, "in order"
        self.position = int(event["id"])
        if data.get("gone"):
            self.rows.pop(data[kind], None)
        else:
            self.rows[data[kind]] = data

    def lags(self) -> list[dict[str, Any]]:
        return [data for kind, data in self.seen if kind == "lag"]


async def agrees(client: Client) -> None:
    """What a client has made of snapshot and stream is what a new snapshot shows."""

    async def same() -> bool:
        other = Client(client.care, client.login)
        await other.snapshot()
        return client.rows == other.rows

    await eventually(same, what="the client has what the board has")


@dataclass
class Scene:
    """A board that runs alone, and everything around it that tells it something."""

    care: Care
    owners: Owners
    clients: list[Client] = field(default_factory=list)

    def client(self, login: str = "nurse.a") -> Client:
        self.clients.append(Client(self.care, login))
        return self.clients[-1]

    def chair(self, **changed: Any) -> Chair:
        return Chair(self.owners, **changed)

    async def applied(self) -> None:
        """Wait until everything that was told of the board's rows is in them."""

        async def all_applied() -> bool:
            known = await self.care.rows(
                "staff_dashboard", "select source, sequence from consumer_cursor where consumer like 'staff_dashboard.%'"
            )
            reached = {row["source"]: row["sequence"] for row in known}
            return all(reached.get(source, 0) >= sequence for source, sequence in self.owners.sequences.items())

        await eventually(all_applied, within_s=60, what="every event applied")


@pytest_asyncio.fixture
async def scene(servers: Servers, tmp_path: Path) -> AsyncIterator[Scene]:
    """The clinic is in New York; nurse.a and prescriber.a are on duty now."""
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(care(servers, tmp_path))
        around = await stack.enter_async_context(owners(world))
        made = Scene(world, around)
        now = dt.datetime.now(dt.UTC)
        calendar = clinic.CalendarChanged(zone=ZONE, hours=[], closed=[])
        await around.tell(clinic.CALENDAR_CHANGED, "/clinic/calendar", uuid4(), calendar)
        for login, role in STAFF.items():
            shift = uuid4()
            data = clinic.ShiftChanged(
                shift=shift,
                role=role,
                staff=UUID(world.id(login)),
                pager=f"pager-{role}",
                starts_at=now - dt.timedelta(hours=1),
                ends_at=now + dt.timedelta(days=2),
                active=True,
            )
            await around.tell(clinic.SHIFT_CHANGED, f"/clinic/shifts/{shift}", shift, data)
        await world.spawn("staff_dashboard")
        await made.applied()
        yield made
        for client in made.clients:
            await client.cut()


async def test_each_is_shown_what_they_may_see_and_the_stream_is_what_the_snapshot_is(scene: Scene) -> None:
    care, chair, other = scene.care, scene.chair(), scene.chair()
    await chair.known((care.id("therapist.a"), "therapist"))
    await other.known()
    clients = {login: scene.client(login) for login in ("nurse.a", "therapist.a", "front_desk.a")}
    await other.stands("checked-in")
    await chair.stands("scheduled")
    await scene.applied()
    for client in clients.values():
        await client.snapshot()
        await client.follow()
    # Overridden and overridden no longer; then the gate through which it went, and another gate after it.
    for gate, rules in (("start", ("K-S-SBP",)), ("start", ()), ("start", ("K-S-FASTING", "K-S-HR")), ("discharge", ())):
        await chair.overrules(gate, *rules, by=care.id("prescriber.a"))
    await chair.infuses()
    await chair.measures(130, 181)
    (alert,) = await chair.alarms()
    await other.alarms()
    task, desk_task = await chair.owes(), await chair.owes("front_desk")
    await chair.answers(alert)
    await scene.applied()
    for client in clients.values():
        await agrees(client)
    nurse, therapist, desk = (
        {kind: {key for key, row in client.rows.items() if kind in row and key == row[kind]} for kind in ("session", "task")}
        for client in clients.values()
    )
    assert nurse["session"] == desk["session"] == {str(chair.session), str(other.session)}
    assert therapist["session"] == {str(chair.session)}, "not on duty: their own patients"
    assert (nurse["task"], desk["task"]) == ({str(task), str(desk_task)}, {str(desk_task)})
    row = clients["nurse.a"].rows[str(chair.session)]
    assert [one["sbp"] for one in row["vitals"]] == [130, 181]
    assert (row["infusion"]["rate"], row["state"]) == ({"value": "150.0", "unit": "mL/h"}, "infusing")
    overridden = [{"rule": rule, "by": care.id("prescriber.a")} for rule in ("K-S-FASTING", "K-S-HR")]
    assert row["overrides"] == clients["therapist.a"].rows[str(chair.session)]["overrides"] == overridden
    shown = clients["nurse.a"].rows[str(alert)]
    assert (shown["tier"], [one["role"] for one in shown["acknowledgements"]]) == ("RED", ["nurse"])
    assert str(other.patient) not in json.dumps(clients["therapist.a"].seen), "filtered before it was sent"
    told = json.dumps(clients["front_desk.a"].seen)
    assert [word for word in ("181", "41.0", "RED", "K-S-", str(alert), str(task)) if word in told] == []

    # What leaves the board is told once more, and says so.
    await chair.resolves(alert)
    await chair.does(task)
    await scene.applied()
    await agrees(clients["nurse.a"])
    gone = [data[kind] for kind, data in clients["nurse.a"].seen if data.get("gone")]
    assert sorted(gone) == sorted([str(alert), str(task)])

    # Who was shown what is written down, by whom and under which right; each id once for each stream.
    rows = await care.rows("staff_dashboard", "select action, reason, policy from audit where actor = $1", care.id("nurse.a"))
    follows = [row for row in rows if row["action"] == "board.follow"]
    named = [one for row in follows for one in row["reason"].rpartition("-> ")[2].split(",") if one]
    received = {f"{kind}/{data[kind]}" for kind, data in clients["nurse.a"].seen if kind in ("session", "alert", "task")}
    assert sorted(named) == sorted(received)
    assert "Bearer: nurse" in follows[0]["policy"]
    (read,) = [row for row in rows if row["action"] == "board.read"][:1]
    assert f"session/{other.session}" in read["reason"]
    for login, status in (("patient.a", 403), ("auditor.a", 403), (None, 401)):
        assert (await care.call(login, "staff_dashboard", "GET", "/stream?after=0")).status == status
        assert (await care.call(login, "staff_dashboard", "GET", "/snapshot")).status == status
    configuration = (await care.call(None, "staff_dashboard", "GET", "/config.json")).ok()
    assert (configuration["issuer"], configuration["client_id"]) == (care.provider.url, "board")
    assert configuration["services"]["session_logging"] == "http://127.0.0.1:7005"


async def test_a_client_that_is_cut_again_and_again_misses_nothing(scene: Scene) -> None:
    chairs = [scene.chair() for _ in range(4)]
    for chair in chairs:
        await chair.infuses()
    await scene.applied()
    client = scene.client()
    await client.snapshot()
    await client.follow()
    raised: list[UUID] = []

    async def happen() -> None:
        for number in range(60):
            chair = random.choice(chairs)
            await (chair.owes() if random.random() < 0.5 else chair.measures(100, 120))
            alerts = await chair.alarms()
            raised.extend(alerts)
            if number % 2:
                await chair.answers(alerts[0])
                await chair.resolves(alerts[0])

    happening = asyncio.create_task(happen())
    cuts = 0
    while not happening.done():
        await asyncio.sleep(random.uniform(0.05, 0.3))
        await client.cut()
        cuts += 1
        await client.follow(by_header=bool(cuts % 2))
    await happening
    await scene.applied()
    await agrees(client)
    assert cuts > 3, "it was cut"
    assert {data["alert"] for kind, data in client.seen if kind == "alert"} == set(map(str, raised)), "no alert was left out"


async def test_what_cannot_be_told_without_a_gap_begins_anew(scene: Scene) -> None:
    care, chair = scene.care, scene.chair()
    await chair.stands("scheduled")
    await scene.applied()
    client = scene.client()
    await client.snapshot()
    await client.follow()
    await client.cut()
    good = client.position
    for position in (0, int(Cursor(Cursor.of(good).position + 1000, Cursor.of(good).view)), good ^ 1):
        client.position = position
        await client.follow()
        assert await client.done() == ("reset", "no-such-place")
    other = scene.client("prescriber.a")
    other.position = good
    await other.follow()
    assert other.lags(), "who sees the same goes on from the same place"

    # The clinic's next day: whoever streams is told, and whoever comes back with yesterday's place too.
    client.position = good
    await client.follow()
    await care.advance(24 * 3600)
    assert await client.done() == ("reset", "view-changed")
    await client.follow()
    assert await client.done() == ("reset", "no-such-place")
    await client.snapshot()
    assert client.rows == {}, "yesterday's session is no longer there"
    await client.follow()
    await scene.chair(starts=dt.datetime.now(dt.UTC) + dt.timedelta(days=1)).stands("scheduled")
    await scene.applied()
    await agrees(client)
    assert len(client.rows) == 1
    refused = await care.call("nurse.a", "staff_dashboard", "GET", "/stream?after=-1")
    assert (refused.status, refused.code) == (400, "invalid-parameters")


async def test_a_running_session_stays_on_the_board_over_midnight(scene: Scene) -> None:
    chair, planned = scene.chair(), scene.chair()
    await chair.infuses()
    await planned.stands("scheduled")
    await scene.applied()
    await scene.care.advance(24 * 3600)
    client = scene.client()
    await client.snapshot()
    assert set(client.rows) == {str(chair.session)}
    await client.follow()
    await chair.closes()
    await scene.applied()
    await agrees(client)
    assert client.rows == {}
    gone = [data["ending"] for kind, data in client.seen if data.get("gone") and data[kind] == str(chair.session)]
    assert gone == ["completed"]


async def test_a_stream_ends_with_the_token_and_with_the_process(scene: Scene) -> None:
    care, client, other = scene.care, scene.client(), scene.client("prescriber.a")
    chair = scene.chair()
    await chair.stands("scheduled")
    await scene.applied()
    for one in (client, other):
        await one.snapshot()
    await other.follow()
    await client.follow(exp=int(time.time()) + 3)
    assert await client.done() == ("close", "token-expired")
    await chair.stands("checked-in")
    await agrees(other)
    board = care.running["staff_dashboard"]
    began = time.monotonic()
    board.send(signal.SIGTERM)

    async def told() -> bool:
        return other.closed == ["stopping"]

    await eventually(told, what="it was told why")
    assert await board.ended() == 0
    assert "drain-timed-out" not in board.log.read_text()
    assert time.monotonic() - began < 10, "within the drain"
    await care.spawn("staff_dashboard")
    await client.follow()
    await agrees(client)


async def test_a_client_that_reads_nothing_is_let_go_and_hinders_nobody(scene: Scene) -> None:
    chair = scene.chair()
    await chair.stands("infusing")
    await scene.applied()
    slow, quick = scene.client(), scene.client()
    await slow.snapshot()
    await quick.snapshot()
    await quick.follow()
    where = urlsplit(scene.care.running["staff_dashboard"].url)
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(raw, (where.hostname, where.port))
    bearer = scene.care.bearer("nurse.a")["Authorization"]
    head = f"GET /stream?after={slow.position} HTTP/1.1\r\nHost: board\r\nAuthorization: {bearer}\r\n\r\n"
    await loop.sock_sendall(raw, head.encode())
    raised: list[UUID] = []
    for _ in range(5):
        raised += await chair.alarms(500)
    await scene.applied()

    async def all_seen() -> bool:
        return len(quick.rows) > len(raised)

    await eventually(all_seen, within_s=60, what="the other client has them all")
    # What was under way to the slow one is whole and in order; then it is let go.
    got = b""
    with contextlib.suppress(ConnectionError):
        while piece := await asyncio.wait_for(loop.sock_recv(raw, 65536), 30):
            got += piece
    raw.close()
    for block in _unchunked(got).decode(errors="ignore").split("\n\n")[:-1]:
        event = dict(line.partition(": ")[::2] for line in block.split("\n"))
        if event.keys() >= {"event", "data"} and event["data"].endswith("}"):
            slow.take(event)
    assert 0 < len(slow.rows) < len(raised), "it was let go half-way: not all was kept for it"
    await slow.follow()
    await agrees(slow)
    assert {data["alert"] for kind, data in slow.seen if kind == "alert"} == set(map(str, raised))


def _unchunked(raw: bytes) -> bytes:
    body, out = raw.partition(b"\r\n\r\n")[2], b""
    while body:
        size, _, body = body.partition(b"\r\n")
        if not size or not int(size, 16):
            break
        out, body = out + body[: int(size, 16)], body[int(size, 16) + 2 :]
    return out


async def test_every_replica_streams_what_any_replica_has_read(scene: Scene) -> None:
    care = scene.care
    first = care.running["staff_dashboard"]
    await care.spawn("staff_dashboard")
    second = care.running["staff_dashboard"]
    chairs = [scene.chair() for _ in range(8)]  # on every partition, so in both processes
    one, two = scene.client(), scene.client("prescriber.a")
    for client, process in ((one, first), (two, second)):
        await client.snapshot()
        await client.follow(process=process)
    for chair in chairs:
        await chair.infuses()
        await chair.alarms(3)
    await scene.applied()
    for client in (one, two):
        await agrees(client)
    assert len(one.rows) == 8 * 4
    assert one.rows == two.rows
    by = await care.rows("staff_dashboard", "select count(*) as n, count(distinct position) as places from item")
    assert [tuple(row) for row in by] == [(32, 32)]

    # Its replica dies: the client goes on at the other one, from where it was.
    await first.kill()
    for chair in chairs:
        await chair.alarms()
    await one.follow(process=second)
    await scene.applied()
    await agrees(one)
    assert len(one.rows) == 8 * 5


async def test_what_was_committed_and_not_placed_when_the_process_died_is_not_lost(scene: Scene) -> None:
    care, chair = scene.care, scene.chair()
    await chair.infuses()
    await scene.applied()
    client = scene.client()
    await client.snapshot()
    await client.follow()
    await client.cut()
    await care.running["staff_dashboard"].kill()
    # Nobody streams, so nothing gives places; and the process dies as soon as the alert is committed.
    await care.spawn("staff_dashboard", TELEMED_FAILPOINTS="consumer.after_commit=kill@1")
    (alert,) = await chair.alarms()
    await care.running["staff_dashboard"].ended(60)
    assert "consumer.after_commit" in care.running["staff_dashboard"].failpoint_log.read_text(), "the fault bit"
    waiting = "select count(*) from item where position is null"
    await care.spawn("staff_dashboard")
    await scene.applied()
    assert await care.value("staff_dashboard", waiting) >= 1, "committed, and without a place"
    await client.follow()
    await agrees(client)
    assert str(alert) in client.rows
    assert await care.value("staff_dashboard", waiting) == 0


async def test_how_far_behind_the_board_is_is_what_its_sources_say(scene: Scene) -> None:
    client = scene.client()
    shown = await client.snapshot()
    assert shown["lag"]["behind_s"] is None, "never heard of is not current"
    assert {source["service"]: source["behind_s"] for source in shown["lag"]["sources"]} == dict.fromkeys(OWNERS)
    await scene.owners.beat(*OWNERS[1:])
    await scene.care.until("staff_dashboard", "select count(watermark) = 8 from consumer_partition where consumer = $1", BOARD)
    assert (await client.snapshot())["lag"]["behind_s"] is None
    await scene.owners.beat(*OWNERS)
    await scene.care.until("staff_dashboard", "select count(watermark) = 12 from consumer_partition where consumer = $1", BOARD)
    assert (await client.snapshot())["lag"]["behind_s"] < 60
    # One of them falls silent; the others go on.
    await client.follow()

    async def behind() -> bool:
        await scene.owners.beat(*OWNERS[1:])
        lags = [data["lag"] for data in client.lags()]
        first = {source["service"]: source["behind_s"] for source in lags[-1]["sources"]} if lags else {}
        return bool(first and first[OWNERS[0]] > 8 and lags[-1]["behind_s"] == first[OWNERS[0]] > first[OWNERS[1]])

    await eventually(behind, within_s=60, what="the silent one is seen")
    told = client.lags()[-1]
    assert (told["clock_offset_s"], dt.datetime.fromisoformat(told["clinic_now"]).tzinfo) == (0, dt.UTC)

    # An event of it waits here: that is shown too, whatever the watermark says.
    chair = scene.chair()
    first, second = await scene.owners.commit(
        session_logging.SESSION_CHANGED, chair.source, chair.patient, chair.changed("scheduled"), chair.changed("infusing")
    )
    await scene.owners.publish([second])
    await scene.care.until("staff_dashboard", "select count(*) = 1 from parked where consumer = $1", BOARD)
    (source,) = [one for one in (await client.snapshot())["lag"]["sources"] if one["service"] == "session_logging"]
    assert source["parked"] == 1
    await scene.owners.publish([first])
    await scene.applied()
    await agrees(client)
    assert client.rows[str(chair.session)]["state"] == "infusing"


async def test_a_board_that_is_made_anew_is_the_one_it_was_and_sends_nothing(scene: Scene) -> None:
    care, chairs = scene.care, [scene.chair() for _ in range(3)]
    for chair in chairs:
        await chair.infuses()
        await chair.measures(120, 130)
        alerts = await chair.alarms(3)
        await chair.answers(alerts[0])
        await chair.resolves(alerts[1])
        await chair.does(await chair.owes())
        await chair.owes()
    await scene.applied()
    client = scene.client()
    before = await client.snapshot()
    await client.follow()
    # A replay of some other day lies on the topics: what was told since is not in it.
    await _replayed(scene)
    late = scene.chair()
    await late.owes()
    await scene.applied()
    async with care.owner("staff_dashboard") as connection:
        await connection.execute("update item set facts = '{}', open = false")
        await connection.execute("delete from item where kind = 'task'")
    said = await _said(care)

    async with scene.care.as_service("staff_dashboard") as connection:
        named = await acts.rebuild(connection, scene.care.kafka, care.services["staff_dashboard"], BOARD, **WHO)
    assert tuple(named) == OWNERS
    assert await client.done() == ("reset", "view-changed")
    # It goes on while events come, and waits for a replay that began after it.
    await chairs[0].alarms()
    rebuilding = "select count(*) from consumer_partition where consumer = $1 and topic like '%.replay' and not replayed"
    assert await care.value("staff_dashboard", rebuilding, BOARD) == 12
    await _replayed(scene)
    await care.until("staff_dashboard", f"select ({rebuilding}) = 0", BOARD, within_s=60)
    await scene.applied()
    after = await client.snapshot()
    assert {name: len(after[name]) - len(before[name]) for name in ("sessions", "alerts", "tasks")} == {
        "sessions": 0,
        "alerts": 1,
        "tasks": 1,
    }
    ours = [row for name in ("sessions", "tasks", "alerts") for row in before[name]]
    assert [row for row in ours if row not in after["sessions"] + after["tasks"] + after["alerts"]] == []
    assert await _said(care) == said, "nothing was told, paged or timed by it"
    # And it is live again.
    await client.follow()
    await chairs[1].alarms()
    await scene.applied()
    await agrees(client)
    assert await care.value("staff_dashboard", "select count(*) from parked") == 0
    rows = await care.rows("staff_dashboard", "select actor, target, reason from audit where action = 'consumer.rebuild'")
    assert [tuple(row) for row in rows] == [("Ann Operator", BOARD, WHO["reason"])]
    async with scene.care.as_service("follow_up") as connection:
        with pytest.raises(ValueError, match="does more than keep rows"):
            await acts.rebuild(connection, scene.care.kafka, care.services["follow_up"], "follow_up.care", **WHO)


async def _replayed(scene: Scene) -> None:
    for name in OWNERS:
        service = scene.care.services[name]
        async with scene.care.as_service(name) as connection:
            await acts.replay(connection, scene.care.kafka, service, per_second=5000, **WHO)


async def _said(care: Care) -> tuple[int, ...]:
    row = await care.rows(
        "staff_dashboard",
        """select (select count(*) from outbox where type not like '%audit-sealed%'), (select count(*) from page),
                  (select count(*) from timer)""",
    )
    return tuple(row[0])
