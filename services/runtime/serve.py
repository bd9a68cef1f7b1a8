"""Runs one service process: HTTP, relay, consumers, drains, timers and pages in one task group; ordered start and stop.

If any of them ends unexpectedly, the process ends non-zero and its supervisor starts a new one: a dead background task must
never hide behind a healthy-looking HTTP port.
"""

import asyncio
import gc
import os
import signal
import sys
import time
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from prometheus_client import generate_latest

from services.runtime import log
from services.runtime.audit.seal import DEVELOPMENT, Key
from services.runtime.audit.sealer import Sealer
from services.runtime.database import LOST, TRANSIENT, Budget, Database, Unavailable
from services.runtime.edge.connections import Limits, Runner
from services.runtime.edge.identity import Oidc
from services.runtime.edge.policy import Bearer
from services.runtime.edge.principal import Authenticate
from services.runtime.edge.route import RouteError
from services.runtime.edge.server import Edge
from services.runtime.failpoints import Failpoints
from services.runtime.messaging.consumer import Consumer
from services.runtime.messaging.inbox import Inbox
from services.runtime.messaging.ladders import PAGE_KIND
from services.runtime.messaging.paging import Pager
from services.runtime.messaging.parking import Drain
from services.runtime.messaging.relay import Relay
from services.runtime.messaging.timers import Timers
from services.runtime.messaging.unit_of_work import UnitOfWork, Wake
from services.runtime.metrics import Metrics
from services.runtime.migrations import MigrationError, pending
from services.runtime.service import Service
from services.runtime.settings import Environment, ServiceSettings, SettingsError, load_service
from services.runtime.tracing import export_spans
from services.runtime.waiting import within

__all__ = ["Runtime", "main", "serve"]

_log = log.get_logger()


@dataclass(slots=True)
class Runtime:
    """What a service's routes and tests reach of the running process."""

    service: Service
    settings: ServiceSettings
    database: Database
    unit_of_work: UnitOfWork
    metrics: Metrics
    failpoints: Failpoints
    relay: Relay
    consumers: tuple[Consumer, ...]
    drains: tuple[Drain, ...]
    timers: Timers
    sealer: Sealer | None
    identity: Oidc | None = None
    ready: bool = False
    port: int = 0


def build(service: Service, settings: ServiceSettings) -> Runtime:
    """Wire a service; nothing is opened yet."""
    metrics = Metrics()
    failpoints = Failpoints.parse(settings.process.failpoints, settings.process.failpoint_log)
    database = Database(settings.database, service.schema, metrics)
    kafka, messaging = settings.kafka, settings.messaging
    unit_of_work = UnitOfWork(
        database,
        registry=service.registry,
        service=service.name,
        topic_prefix=kafka.topic_prefix,
        partitions=kafka.partitions,
        ladders=dict(service.ladders()),
        metrics=metrics,
        wake=Wake(asyncio.Event(), asyncio.Event()),
        failpoints=failpoints,
    )
    consumers, drains = [], []
    for subscription in service.subscriptions:
        inbox = Inbox(
            subscription, unit_of_work, service.registry, kafka.topic_prefix, service.schema, messaging, metrics, failpoints
        )
        client_id = f"telemed.{service.name}.{os.getpid()}"
        consumer = Consumer(inbox, database, kafka, messaging, metrics, failpoints, client_id)
        consumers.append(consumer)
        drains.append(Drain(inbox, database, messaging, failpoints, consumer.handled))
    return Runtime(
        service,
        settings,
        database,
        unit_of_work,
        metrics,
        failpoints,
        Relay(database, unit_of_work, kafka, messaging, service.schema, service.topic(kafka.topic_prefix), metrics, failpoints),
        tuple(consumers),
        tuple(drains),
        Timers(
            database,
            unit_of_work,
            {**service.timers, PAGE_KIND: Pager(settings.smtp, service.on_call)},
            messaging,
            metrics,
            failpoints,
        ),
        _sealer(service, settings, database, unit_of_work, metrics, failpoints),
    )


def _sealer(
    service: Service,
    settings: ServiceSettings,
    database: Database,
    unit_of_work: UnitOfWork,
    metrics: Metrics,
    failpoints: Failpoints,
) -> Sealer | None:
    given, production = settings.audit, settings.process.env is Environment.PRODUCTION
    if given.key_file is None:
        if production:
            raise SettingsError("TELEMED_AUDIT_KEY_FILE: is required in production")
        return None
    try:
        key = Key.read(given.key_file)
    except (OSError, ValueError) as error:
        raise SettingsError(f"TELEMED_AUDIT_KEY_FILE: {type(error).__name__}") from None
    if production and key.id.startswith(DEVELOPMENT):
        raise SettingsError("TELEMED_AUDIT_KEY_FILE: a development key is refused in production")
    return Sealer(
        database, unit_of_work, service.name, service.role, key, given.heads_file, given.publish_s, metrics, failpoints
    )


def main(service: Service) -> None:
    """``python -m services.<name>``: run until SIGTERM. Exit 0 after a drained stop, 2 on a wrong setting, 1 on a crash."""
    log.configure(service.name)
    export_spans(service.name)
    try:
        settings = load_service()
    except SettingsError as error:
        sys.stderr.write(f"{service.name}: {error}\n")
        sys.exit(2)
    try:
        import uvloop

        loop_factory: Any = uvloop.new_event_loop
    except ImportError:
        loop_factory = None
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        sys.exit(runner.run(serve(service, settings)))


async def serve(service: Service, settings: ServiceSettings) -> int:
    """Start, run until SIGTERM or SIGINT, stop in order. Returns the exit code."""
    try:
        runtime = build(service, settings)
    except SettingsError as error:
        _log.error("cannot-start", error_class="SettingsError", reason=str(error))
        return 2
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _on_signal, stopping)
    try:
        await _open(runtime)
    except (Unavailable, MigrationError) as error:
        _log.error("cannot-start", error_class=type(error).__name__, reason=str(error))
        return 1
    try:
        site = await _listen(runtime)
    except (RouteError, SettingsError) as error:
        _log.error("cannot-start", error_class=type(error).__name__, reason=str(error))
        await runtime.database.close()
        return 1
    # What was made until now lives as long as the process: the collector need not walk it again (p99 of reads 10 -> 1 ms).
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)
    workers = [
        asyncio.create_task(work, name=name)
        for name, work in (
            ("relay", runtime.relay.run()),
            ("timers", runtime.timers.run()),
            ("gauges", _gauges(runtime)),
            ("loop", _watch_loop(runtime)),
            ("housekeeping", _housekeeping(runtime)),
            *([("sealer", runtime.sealer.run())] if runtime.sealer else []),
            *((f"consumer {c.subscription.consumer}", c.run()) for c in runtime.consumers),
            *((f"drain {d.inbox.subscription.consumer}", d.run()) for d in runtime.drains),
        )
    ]
    runtime.ready = True
    _log.info("ready", port=runtime.port)
    stop = asyncio.create_task(stopping.wait())
    done, _ = await asyncio.wait([stop, *workers], return_when=asyncio.FIRST_COMPLETED)
    crashed = [task for task in done if task is not stop]
    for task in crashed:
        # A worker that something else has cancelled has no exception to ask for.
        error_class = "CancelledError" if task.cancelled() else type(task.exception()).__name__
        _log.error("worker-ended", name=task.get_name(), error_class=error_class)
    try:
        await within(settings.messaging.drain_s, _stop(runtime, site, workers))
    except TimeoutError:
        _log.warning("drain-timed-out")
    return 1 if crashed else 0


def _on_signal(stopping: asyncio.Event) -> None:
    if stopping.is_set():
        _log.warning("stopped-at-once")
        os._exit(130)  # a second signal: safe as kill -9 is, by construction
    stopping.set()


async def _open(runtime: Runtime) -> None:
    await runtime.database.open()
    async with runtime.database.acquire(Budget.HTTP) as connection:
        lacking = [name for name in await pending(connection, runtime.service) if "_pre_" in name]
    if lacking:
        raise MigrationError(f"not migrated: {', '.join(lacking)}")


async def _listen(runtime: Runtime) -> web.AppRunner:
    service, http = runtime.service, runtime.settings.http
    edge = Edge(service.routes, _authenticate(runtime), runtime.unit_of_work, runtime.database, http, service.pages)
    application = edge.application(service.name)
    application.router.add_get("/livez", _livez)
    application.router.add_get("/readyz", _bound(_readyz, runtime))
    application.router.add_get("/metrics", _bound(_metrics, runtime))
    runner = Runner(application, Limits(http.connections, http.head_timeout_s, http.keep_alive_s))
    await runner.setup()
    await web.TCPSite(runner, http.host, http.port, reuse_address=True).start()
    runtime.port = runner.addresses[0][1]
    return runner


def _authenticate(runtime: Runtime) -> Authenticate | None:
    service, settings = runtime.service, runtime.settings
    if service.authenticate is not None:
        return service.authenticate(settings)
    if not any(isinstance(route.policy, Bearer) for route in service.routes):
        return None
    runtime.identity = Oidc(settings.oidc, settings.process.env is Environment.PRODUCTION)
    return runtime.identity


async def _stop(runtime: Runtime, site: web.AppRunner, workers: list["asyncio.Task[None]"]) -> None:
    """Not ready -> no new requests, those in flight answered -> consumers, timers, relay -> database."""
    runtime.ready = False
    await site.cleanup()
    relay = next(task for task in workers if task.get_name() == "relay")
    others = [task for task in workers if task is not relay]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    # What the last requests wrote goes out with one last pass, if the broker lets it.
    runtime.unit_of_work.wake.relay.set()
    await _settled(_outbox_empty(runtime), 2.0)
    relay.cancel()
    await asyncio.gather(relay, return_exceptions=True)
    await runtime.relay.close()
    if runtime.identity is not None:
        await runtime.identity.close()
    await runtime.database.close()


async def _settled(condition: Coroutine[Any, Any, None], limit_s: float) -> None:
    with suppress(*LOST):
        await within(limit_s, condition)


async def _outbox_empty(runtime: Runtime) -> None:
    while True:
        async with runtime.database.acquire(Budget.HTTP) as connection:
            if not await connection.fetchval("select exists (select 1 from outbox_pending)"):
                return
        await asyncio.sleep(0.02)


# --- health and metrics ------------------------------------------------------------------------------------------------


def _bound(handler: Any, runtime: Runtime) -> Any:
    async def handle(_: web.Request) -> web.Response:
        response: web.Response = await handler(runtime)
        return response

    return handle


async def _livez(_: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


async def _readyz(runtime: Runtime) -> web.Response:
    """Ready with the database and the start done. A broker that is down only degrades: the outbox absorbs it."""
    if not runtime.ready:
        return web.json_response({"status": "stopping" if runtime.port else "starting"}, status=503)
    try:
        # Not of the routes' budget: when that is used up we are busy, not unwell.
        async with runtime.database.acquire(Budget.TIMERS) as connection:
            await connection.fetchval("select 1")
    except LOST as error:
        return web.json_response({"status": "unready", "reason": f"database: {error}"}, status=503)
    degraded = runtime.relay.interrupted or any(consumer.interrupted for consumer in runtime.consumers)
    return web.json_response({"status": "degraded" if degraded else "ok"})


async def _metrics(runtime: Runtime) -> web.Response:
    return web.Response(body=generate_latest(runtime.metrics.registry), content_type="text/plain")


async def _gauges(runtime: Runtime) -> None:
    """What is read from the database for ``/metrics``, every two seconds."""
    metrics = runtime.metrics
    while True:
        with suppress(*TRANSIENT):
            async with runtime.database.acquire(Budget.TIMERS) as connection:
                row = await connection.fetchrow(
                    """select (select count(*) from (select 1 from outbox_pending limit 100001) p) as pending,
                              (select extract(epoch from clock_timestamp() - o.recorded_at) from outbox o
                               where o.id = (select min(id) from outbox_pending)) as oldest,
                              (select extract(epoch from runtime.clinic_now() - due_at) from timer
                               where status = 'waiting' order by due_at, id limit 1) as overdue,
                              (select count(*) from page where status = 'open') as pages"""
                )
                parked = await connection.fetch("select consumer, reason, count(*) as n from parked group by 1, 2")
                ages = await connection.fetch(
                    """select consumer, topic, extract(epoch from clock_timestamp() - min(watermark)) as age
                       from consumer_partition where watermark is not null group by 1, 2"""
                )
                holder = await connection.fetchrow(
                    "select pid, extract(epoch from age) as age from runtime.oldest_transaction() where pid is not null"
                )
            if row is not None:
                metrics.outbox_pending.set(row["pending"])
                metrics.outbox_oldest.set(float(row["oldest"] or 0))
                metrics.timers_overdue.set(max(0.0, float(row["overdue"] or 0)))
                metrics.pages_open.set(row["pages"])
            metrics.parked.clear()
            for entry in parked:
                metrics.parked.labels(entry["consumer"], entry["reason"]).set(entry["n"])
            for entry in ages:
                metrics.watermark_age.labels(entry["consumer"], entry["topic"]).set(float(entry["age"]))
            metrics.relay_blocked_by.clear()
            if holder is not None:
                metrics.relay_blocked_by.labels(str(holder["pid"])).set(float(holder["age"] or 0))
        await asyncio.sleep(2)


async def _housekeeping(runtime: Runtime) -> None:
    """Stored replies are kept for seven days: longer than any client retries."""
    while True:
        with suppress(*TRANSIENT):
            async with runtime.database.acquire(Budget.TIMERS) as connection:
                await connection.execute("delete from idempotency where created_at < clock_timestamp() - interval '7 days'")
        await asyncio.sleep(3600)


async def _watch_loop(runtime: Runtime) -> None:
    """A loop that stands still sends no heartbeats: alarm long before the group session ends."""
    limit = runtime.settings.messaging.loop_stall_ms / 1000
    while True:
        before = time.monotonic()
        await asyncio.sleep(0.05)
        await runtime.failpoints.hit("loop.tick")
        late = time.monotonic() - before - 0.05
        runtime.metrics.loop_stall.observe(max(0.0, late))
        if late > limit:
            runtime.metrics.loop_stalls.inc()
            _log.error("loop-stalled", seconds=round(late, 3))
