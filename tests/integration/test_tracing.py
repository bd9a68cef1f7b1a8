"""One request's trace, followed by what a real SDK exports: from its sender over the outbox to every consumer."""

import asyncio
import json
import sys
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from services.runtime.tracing import ATTRIBUTES
from tests.support import leaks
from tests.support.tokens import bearer
from tests.support.waiting import eventually
from tests.support.world import Process, World

pytestmark = pytest.mark.asyncio

EXPORTED = {"OTEL_TRACES_EXPORTER": "console", "OTEL_BSP_SCHEDULE_DELAY": "100"}
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
ACCOUNT, ENTRY, PERSON = "account-canary-7351", "entry-canary-7351", "nurse.canary-7351"


def spans(process: Process) -> Iterator[dict[str, Any]]:
    """What the console exporter wrote between the lines of the log; all of it is JSON."""
    text = process.log.read_text()
    position = 0
    while position < len(text):
        try:
            found, position = json.JSONDecoder().raw_decode(text, position)
        except ValueError:
            return  # the last one is still being written
        position += len(text[position:]) - len(text[position:].lstrip())
        if "context" in found:
            yield found


def context(of: dict[str, Any]) -> tuple[str, str]:
    return of["context"]["trace_id"].removeprefix("0x"), of["context"]["span_id"].removeprefix("0x")


async def test_a_request_is_followed_from_its_sender_to_the_consumers_of_its_event(world: World) -> None:
    ledger = await world.spawn(**EXPORTED)
    headers = {**bearer(PERSON), "traceparent": f"00-{TRACE}-{PARENT}-01", "Idempotency-Key": "key-canary-7351"}
    async with aiohttp.ClientSession(ledger.url, headers=headers) as session:
        body = {"account": ACCOUNT, "entry": ENTRY, "amount": 1}
        async with session.post("/entries", json=body) as answer:
            assert answer.status == 201
            told = answer.headers["traceparent"].split("-")
        for path in (f"/accounts/{ACCOUNT}", f"/accounts/{ACCOUNT}/nothing", f"/accounts?sort={ACCOUNT}"):
            async with session.get(path) as answer:
                assert answer.status in (200, 400, 404)
        async with session.request("PROPFIND", f"/{ACCOUNT}") as answer:
            assert answer.status == 404
    await world.settled(1)

    async def all_exported() -> bool:
        names = [span["name"] for span in spans(ledger)]
        return names.count("GET /accounts/{account}") == 1 and sum(name.startswith("process ") for name in names) >= 2

    await eventually(all_exported, what="the spans are exported")
    found = list(spans(ledger))
    served = next(span for span in found if span["name"] == "POST /entries")
    trace, span = context(served)
    assert (trace, served["parent_id"].removeprefix("0x")) == (TRACE, PARENT)
    assert told[1:3] == [trace, span], "the client is told"
    kept = [row["traceparent"].split("-")[1:3] for row in await world.rows("select traceparent from outbox")]
    assert kept == [[trace, span]], "the outbox row keeps it"
    linked = {other["name"]: other for other in found if (trace, span) in [context(link) for link in other["links"]]}
    assert set(linked) == {f"publish {world.topic}", "process ledger.mirror", "process ledger.totals"}
    assert {other["kind"] for other in linked.values()} == {"SpanKind.PRODUCER", "SpanKind.CONSUMER"}
    assert TRACE not in {context(other)[0] for other in linked.values()}, "batches are traces of their own"

    requests = {other["name"]: other["attributes"] for other in found if other["kind"] == "SpanKind.SERVER"}
    assert {"GET /accounts/{account}", "GET /accounts", "GET -", "_OTHER -"} <= set(requests)
    assert requests["GET /accounts"]["http.response.status_code"] == 400
    for one in found:
        assert one["attributes"].keys() <= ATTRIBUTES, one
        assert one["events"] == [], "no text of an error"
    await leaks.assert_kept(world, [ACCOUNT, ENTRY, PERSON], leaks.logs(world))


async def test_an_error_leaves_its_status_and_not_its_text(world: World) -> None:
    """The database refuses what a consumer writes, and names the row: the text of its error would hold the account."""
    ledger = await world.spawn(**EXPORTED)
    assert (await world.post(ledger, "e1", ACCOUNT)).status == 201
    await world.settled(1)
    async with world.owner() as connection:
        await connection.execute("alter table mirror add constraint canary check (total < 2)")
    assert (await world.post(ledger, "e2", ACCOUNT)).status == 201

    async def failed() -> bool:
        return any(span["status"]["status_code"] == "ERROR" for span in spans(ledger))

    await eventually(failed, what="a failed batch")
    for span in spans(ledger):
        assert span["events"] == []
        assert "description" not in span["status"]
    await leaks.assert_kept(world, [ACCOUNT], leaks.logs(world))


@pytest.mark.parametrize(
    ("before", "exporter", "said"),
    [
        ("", "none", ""),
        ("", "nonsense", "tracing-exporter-unknown"),
        ("import sys; sys.modules['opentelemetry.sdk.trace'] = None; ", "otlp", "tracing-not-installed"),
    ],
)
async def test_without_an_exporter_the_service_works_and_says_why(before: str, exporter: str, said: str) -> None:
    code = (
        f"{before}from services.runtime import log, tracing\nlog.configure('x'); tracing.export_spans('x')\n"
        "with tracing.serving('GET', '/a', '') as span: assert tracing.current_traceparent()\n"
        "with tracing.publishing('t', [None]), tracing.processing('c', [[('ce_id', b'')]]): pass\n"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code), env={"OTEL_TRACES_EXPORTER": exporter}, stderr=asyncio.subprocess.PIPE
    )
    text = (await process.communicate())[1].decode()
    assert process.returncode == 0, text
    assert [json.loads(line)["event"] for line in text.splitlines()] == ([said] if said else [])
