"""What a demo shows of the machines: each event as it arrives from Kafka, and at the end what all of it came to."""

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

from aiokafka import TopicPartition

from services.cli.demo.stage import Stage
from services.runtime.messaging.kafka import close_consumer, consumer
from services.runtime.settings import KafkaSettings

__all__ = ["Arrivals", "listening", "summary"]


@dataclass(slots=True)
class Arrivals:
    """Every event that came while the story was played: how often of each type, and how long after its commit, by service."""

    types: Counter[str] = field(default_factory=Counter)
    after_s: dict[str, list[float]] = field(default_factory=dict)
    pages: int = 0
    mails: int = 0


@asynccontextmanager
async def listening(stage: Stage, kafka: KafkaSettings, say: Callable[[str], None]) -> AsyncIterator[Arrivals]:
    """Read every topic from now on, as any consumer would."""
    found = Arrivals(pages=await _pages(stage), mails=len(await stage.mails()))
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


async def _read(reader: object, found: Arrivals, say: Callable[[str], None]) -> None:
    while True:
        batches = await reader.getmany(timeout_ms=200)  # type: ignore[attr-defined]
        for records in batches.values():
            for record in records:
                headers = dict(record.headers)
                if "ce_type" not in headers:
                    continue  # a heartbeat
                event = json.loads(record.value)
                after = time.time() - datetime.fromisoformat(event["recordedtime"]).timestamp()
                kind = event["type"].removeprefix("org.telemed.")
                owner = event["source"].split("/")[1]
                found.types[kind] += 1
                found.after_s.setdefault(owner, []).append(after)
                aggregate = event["source"].rsplit("/", 1)[-1][-4:]
                say(f"{'':21}  event  {kind}  ..{aggregate} #{int(event['sequence'])}  {after * 1000:.0f} ms after its commit")


async def _pages(stage: Stage) -> int:
    counts = [await stage.connection.fetchval(f"select count(*) from {service.schema}.page") for service in stage.services]
    return sum(counts)


async def summary(stage: Stage, found: Arrivals) -> list[str]:
    """The lines with which a demo ends."""
    held = sum(check.holds for check in stage.checks)
    return [
        "",
        f"{stage.steps} steps by people; {held} of {len(stage.checks)} expected results hold",
        *(f"  DIFFERS  {one.name}: wanted {one.wanted}, found {one.found}" for one in stage.checks if not one.holds),
        f"{sum(found.types.values())} events:",
        *(f"  {number:5}  {kind}" for kind, number in sorted(found.types.items())),
        "from commit to arrival:",
        *(
            f"  {owner:20} p50 {_percentile(after, 50) * 1000:5.0f} ms   p99 {_percentile(after, 99) * 1000:5.0f} ms"
            for owner, after in sorted(found.after_s.items())
        ),
        f"{await _pages(stage) - found.pages} pages, {len(await stage.mails()) - found.mails} mails",
        *(f"{name:20} {url}/docs" for name, url in stage.urls.items()),
    ]


def _percentile(values: list[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]
