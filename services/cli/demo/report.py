"""What a demo shows of the machines: each event as it arrives from Kafka, and at the end what all of it came to."""

import asyncio
import contextlib
import json
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

from aiokafka import AIOKafkaConsumer, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from services.cli.demo.stage import Stage
from services.runtime.messaging.kafka import close_consumer, consumer
from services.runtime.settings import KafkaSettings

__all__ = ["Arrivals", "listening", "summary"]


_BOARD = "staff_dashboard"
_EFFECT = "telemed_event_age_seconds"
Effects = Mapping[str, Mapping[float, float]]
"""By service: how many events it has applied within so many seconds of their commit, as it counts them itself."""


@dataclass(slots=True)
class Arrivals:
    """What there was before the story, and every event that came while it was played."""

    effects: Effects
    pages: Counter[str]
    mails: int
    types: Counter[str] = field(default_factory=Counter)


@asynccontextmanager
async def listening(stage: Stage, kafka: KafkaSettings, say: Callable[[str], None]) -> AsyncIterator[Arrivals]:
    """Read every topic from now on, as any consumer would."""
    found = Arrivals(await _effects(stage), await _pages(stage), len(await stage.mails()))
    reader = consumer(kafka, "telemed.demo", None, poll_records=500)
    await reader.start()
    topics = [service.topic(kafka.topic_prefix) for service in stage.services]
    reader.assign([TopicPartition(topic, number) for topic in topics for number in range(kafka.partitions)])
    await reader.seek_to_end()
    task = asyncio.create_task(_read(reader, found, say))
    try:
        yield found
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await close_consumer(reader)


async def _read(reader: AIOKafkaConsumer, found: Arrivals, say: Callable[[str], None]) -> None:
    while True:
        batches = await reader.getmany(timeout_ms=200)
        for records in batches.values():
            for record in records:
                headers = dict(record.headers)
                if record.value is None or "ce_type" not in headers:
                    continue  # a heartbeat
                event = json.loads(record.value)
                after = time.time() - datetime.fromisoformat(event["recordedtime"]).timestamp()
                kind = event["type"].removeprefix("org.telemed.")
                found.types[kind] += 1
                aggregate = event["source"].rsplit("/", 1)[-1][-4:]
                say(f"{'':21}  event  {kind}  ..{aggregate} #{int(event['sequence'])}  {after * 1000:.0f} ms after its commit")


async def _pages(stage: Stage) -> Counter[str]:
    """How many pages were raised, by code."""
    found: Counter[str] = Counter()
    for service in stage.services:
        for row in await stage.connection.fetch(f"select code, count(*) as number from {service.schema}.page group by code"):
            found[row["code"]] += row["number"]
    return found


async def _effects(stage: Stage) -> Effects:
    found = {}
    for name, url in stage.urls.items():
        async with stage.session.get(f"{url}/metrics") as response:
            families = text_string_to_metric_families(await response.text())
            counts: dict[float, float] = {}
            for one in (sample for family in families for sample in family.samples if sample.name == f"{_EFFECT}_bucket"):
                within = float(one.labels["le"])
                counts[within] = counts.get(within, 0) + one.value
            found[name] = counts
    return found


async def summary(stage: Stage, found: Arrivals, outbox: str) -> list[str]:
    """The lines with which a demo ends; ``outbox`` is where its mail is shown."""
    held = sum(check.holds for check in stage.checks)
    effects, pages = await _effects(stage), await _pages(stage) - found.pages
    return [
        "",
        f"{stage.steps} steps by people, of {len(stage.tried)} kinds, each of which was refused to a wrong token",
        f"{held} of {len(stage.checks)} expected results hold",
        *(f"  DIFFERS  {one.name}: wanted {one.wanted}, found {one.found}" for one in stage.checks if not one.holds),
        f"{sum(found.types.values())} events:",
        *(f"  {number:5}  {kind}" for kind, number in sorted(found.types.items())),
        "from commit to effect, in the service that listens:",
        *(_within(name, found.effects.get(name, {}), now) for name, now in sorted(effects.items())),
        f"{sum(pages.values())} pages:",
        *(f"  {number:5}  {code}" for code, number in sorted(pages.items())),
        f"{len(await stage.mails()) - found.mails} mails: {outbox}",
        *([f"board: {stage.urls[_BOARD]}/board"] if _BOARD in stage.urls else []),
        "API pages:",
        *(f"  {name:20} {url}/docs" for name, url in stage.urls.items()),
    ]


def _within(name: str, before: Mapping[float, float], now: Mapping[float, float]) -> str:
    """Within which time half, and 99 %, of what has been applied since was applied."""
    counts = {within: number - before.get(within, 0) for within, number in sorted(now.items())}
    applied = counts.get(math.inf, 0)
    if not applied:
        return f"  {name:20} listens to nothing that came"
    half, most = (next(within for within, number in counts.items() if number >= applied * share) for share in (0.5, 0.99))
    return f"  {name:20} {applied:5.0f} applied   p50 <= {half * 1000:.0f} ms   p99 <= {most * 1000:.0f} ms"
