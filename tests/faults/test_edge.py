"""Faults of clients and of the budget behind the edge: rows 3, 40 and 64 of the fault matrix, over raw connections."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import socket
import struct
import time

import aiohttp
import pytest

from services.runtime.edge.principal import Role
from tests.support.ledger.http import WEBHOOK_SECRET
from tests.support.ledger_checks import check_ledger
from tests.support.load import Asked, Load, hold
from tests.support.timings import Timings
from tests.support.tokens import bearer
from tests.support.waiting import eventually
from tests.support.world import Process, World

pytestmark = pytest.mark.asyncio


def request_of(asked: Asked) -> bytes:
    """The bytes of posting an entry, under its own key."""
    headers = {
        "Host": "a",
        **bearer(),
        "Content-Type": "application/json",
        "Idempotency-Key": asked.entry,
        "Content-Length": str(len(asked.body)),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST /entries HTTP/1.1\r\n{lines}\r\n".encode() + asked.body


async def test_row_3_a_client_that_is_cut_off_at_any_byte_can_settle_it_with_its_key(world: World, seed: int) -> None:
    """Row 3: within the head, within the body, before and within the answer; closed or reset."""
    ledger = await world.spawn(failpoints="command.before_commit=delay:0.01")
    async with Load(seed) as load:

        async def cut(asked: Asked) -> None:
            text = request_of(asked)
            whole = load.random.random() < 0.5
            size = len(text) if whole else load.random.randrange(1, len(text))
            reader, writer = await asyncio.open_connection("127.0.0.1", ledger.port)
            writer.write(text[:size])
            await writer.drain()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(reader.read(load.random.randrange(1, 20)), load.random.uniform(0.0, 0.04))
            if load.random.random() < 0.5:
                reset = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            writer.close()

        for _ in range(30):
            await asyncio.gather(*(cut(load.new()) for _ in range(4)))
        names = list(load.asked)

        async def at_rest() -> bool:
            busy = (
                "select count(*) from pg_stat_activity where datname = current_database() and state <> 'idle' and usename = $1"
            )
            return not await world.value(busy, "telemed_ledger")

        await eventually(at_rest, what="nothing is being done any more")
        written = await world.value("select count(*) from entry where id = any($1)", names)
        assert 0 < written < len(names), f"{written} of {len(names)} written: the fault did not bite"
        await check_ledger(world, load)
    events = {json.loads(line)["event"] for line in ledger.log.read_text().splitlines()}
    assert not events & {"internal-error", "unexpected", "connection-failed"}, "a client that leaves is no fault of ours"


async def test_row_40_every_kind_of_route_is_refused_in_time_while_all_connections_are_in_use(world: World, seed: int) -> None:
    """Row 40: commands, reads, lists, links, webhooks and refusals that must be written down: 503 and when to come again."""
    ledger = await world.spawn(failpoints="command.before_commit=delay:5")
    call = b'{"id": "c1", "account": "a1"}'
    sent = str(int(time.time()))
    mark = base64.b64encode(hmac.digest(WEBHOOK_SECRET, f"c.{sent}.".encode() + call, hashlib.sha256)).decode()
    signed = {"webhook-id": "c", "webhook-timestamp": sent, "webhook-signature": f"v1,{mark}"}
    nurse, patient = bearer(), bearer("patient.b", Role.PATIENT)
    asks: list[tuple[str, str, bytes | None, dict[str, str]]] = [
        ("POST", "/entries", b'{"account": "a1", "entry": "e", "amount": 1}', {**nurse, "Idempotency-Key": "k"}),
        ("GET", "/accounts/a1", None, nurse),
        ("GET", "/accounts/a1", None, patient),
        ("GET", "/accounts", None, nurse),
        ("GET", "/accounts", None, patient),
        ("POST", "/links", None, {"Authorization": "Link nothing"}),
        ("POST", "/webhooks/platform", call, signed),
        ("POST", "/enquiries", b'{"text": "hello"}', {"Idempotency-Key": "q"}),
    ]
    async with Load(seed, accounts=8) as load, aiohttp.ClientSession(ledger.url) as session:
        holding = await hold(ledger, load)

        async def ask(method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, str]:
            given = {**headers, "Content-Type": "application/json"}
            async with session.request(method, path, data=body, headers=given) as response:
                problem = json.loads(await response.read())
                assert response.headers["Retry-After"]
                return response.status, problem["code"]

        async with asyncio.timeout(4):
            answers = await asyncio.gather(*(ask(*one) for one in asks))
        assert set(answers) == {(503, "unavailable")}, answers
        assert not any(task.done() for task in holding), "they hold on still"
        assert (await ledger.get("/readyz"))[0] == 200
        assert {answer.status for answer in await asyncio.gather(*holding)} == {201}
        assert await world.value("select count(*) from fired") == 0
        audited = await world.rows("select distinct action from audit where actor <> 'deployment'")
        assert [row["action"] for row in audited] == ["entry.post"], "what was refused read and wrote nothing"
        await check_ledger(world, load, process=await world.spawn())


async def test_row_64_thousands_of_clients_that_do_not_finish_keep_nobody_out(
    world: World, seed: int, timings: Timings
) -> None:
    """Row 64: half headers, bodies that never come, byte after byte; as many of each as there may be connections at all."""
    count = timings.slow_clients
    ledger = await world.spawn(TELEMED_HTTP_CONNECTIONS=str(count))
    webhook = b"POST /webhooks/platform HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
    head = b"GET /accounts HTTP/1.1\r\nHost: a\r\nX: "
    # Text at once, and what drips after it.
    kinds = [(head, b"")] * count + [(webhook, b"")] * count + [(head, b"x"), (webhook, b" ")] * (count // 10)
    ended: list[float] = []
    async with Load(seed) as load:
        load.random.shuffle(kinds)
        attack = asyncio.gather(
            *(_never_finishes(ledger, text, drip, ended, load.random.uniform(0, 4)) for text, drip in kinds)
        )
        load.start([ledger], workers=4)
        await attack
        await load.stop()
        assert len(ended) == len(kinds)
        assert max(ended) < 10, f"one was held for {max(ended):.1f} s"
        assert len(load.asked) > 50
        assert set(load.statuses) <= {0, 201}
        # The last request of each worker may have been cut by ``stop``; none was kept out.
        assert load.statuses[0] <= 4, load.statuses
        await check_ledger(world, load)


async def _never_finishes(process: Process, text: bytes, drip: bytes, ended: list[float], after_s: float) -> None:
    """One slow client, until it is cut off."""
    await asyncio.sleep(after_s)
    reader, writer = await asyncio.open_connection("127.0.0.1", process.port)
    began = time.monotonic()
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(30):
            writer.write(text)
            while not reader.at_eof():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(reader.read(65_536), 0.5 if drip else None)
                writer.write(drip)
    ended.append(time.monotonic() - began)
    writer.close()
