"""The services around a reader, as far as it hears of them: their outboxes, their topics and their heartbeats, the real ones.

What they tell is what they would, without the commands behind it; so a test says when, in which order and how often.
"""

import datetime as dt
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import uuid_utils.compat
from aiokafka import AIOKafkaProducer

from schemas.envelope import Attributes, EventData, headers_of
from schemas.registry import EventType
from services.runtime.messaging import kafka as clients
from services.runtime.messaging.lanes import lane_of
from services.runtime.messaging.relay import HEARTBEAT_HEADER
from tests.support.care import Care
from tests.support.world import PARTITIONS

__all__ = ["Owners", "Record", "owners"]


@dataclass(frozen=True, slots=True)
class Record:
    """An event on its way."""

    topic: str
    lane: int
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


@dataclass
class Owners:
    """See the module."""

    care: Care
    producer: AIOKafkaProducer
    sequences: dict[str, int] = field(default_factory=dict)

    async def tell(self, kind: EventType, source: str, key: UUID, *told: EventData) -> list[Record]:
        """Commit events to the owner's outbox and publish them."""
        records = await self.commit(kind, source, key, *told)
        await self.publish(records)
        return records

    async def commit(self, kind: EventType, source: str, key: UUID, *told: EventData) -> list[Record]:
        """Events as their owner's outbox keeps them, not published yet."""
        now = dt.datetime.now(dt.UTC)
        topic, lane, patient = kind.topic(self.care.prefix), lane_of(str(key), PARTITIONS), str(key)
        rows: list[tuple[Any, ...]] = []
        records = []
        for data in told:
            sequence = self.sequences[source] = self.sequences.get(source, 0) + 1
            event = Attributes(uuid_utils.compat.uuid7(), kind.name, source, 1, sequence, patient)
            body = kind.envelope(
                id=event.id,
                source=source,
                type=kind.name,
                time=now,
                recordedtime=now,
                dataschema=kind.dataschema,
                partitionkey=patient,
                sequence=sequence,
                epoch=1,
                data=data,
            ).encode()
            rows.append((event.id, source, sequence, kind.name, topic, patient, lane, body))
            records.append(Record(topic, lane, patient.encode(), body, headers_of(event)))
        async with self.care.owner(kind.owner) as connection:
            await connection.executemany(
                """insert into outbox (event_id, source, epoch, sequence, type, topic, key, lane, body)
                   values ($1, $2, 1, $3, $4, $5, $6, $7, $8)""",
                rows,
            )
        return records

    async def publish(self, records: Sequence[Record]) -> None:
        """Put records on their topics, in this order."""
        sent = [
            await self.producer.send(one.topic, value=one.value, key=one.key, partition=one.lane, headers=one.headers)
            for one in records
        ]
        for answer in sent:
            await answer

    async def beat(self, *names: str) -> dt.datetime:
        """Each of these services says that everything it has committed until now is published. Returns that instant."""
        as_of = dt.datetime.now(dt.UTC)
        for name in names:
            topic = f"{self.care.prefix}.{name.replace('_', '-')}.events"
            for lane in range(PARTITIONS):
                value = json.dumps({"as_of": as_of.isoformat(), "last_event": None}).encode()
                await self.producer.send_and_wait(topic, value=value, partition=lane, headers=[(HEARTBEAT_HEADER, b"1")])
        return as_of


@asynccontextmanager
async def owners(care: Care) -> AsyncIterator[Owners]:
    """The services around whatever runs in a world; none of them needs to run."""
    producer = clients.producer(care.kafka, "owners")
    await producer.start()
    try:
        yield Owners(care, producer)
    finally:
        await producer.stop()
