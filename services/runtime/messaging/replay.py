"""Sending kept events again, from the outbox: to the replay topic for a rebuild, or to the live topic to close a gap.

Both send the same bytes under the same ids and sequences, so every cursor drops what it knows.
"""

import asyncio
import json
import time

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from schemas.envelope import Attributes, headers_of
from services.runtime.database import Connection, Record
from services.runtime.messaging import kafka as clients
from services.runtime.messaging.inbox import REPLAY_END_HEADER, replay_topic
from services.runtime.settings import KafkaSettings
from services.runtime.waiting import within

__all__ = ["replay", "resend"]


async def replay(connection: Connection, kafka: KafkaSettings, topic: str, *, per_second: int = 5000) -> int:
    """Send a service's whole outbox to its replay topic, then an end marker to every partition. Returns events sent.

    Args:
        connection: as the owning service's role.
        topic: the service's live topic.
        per_second: throttle, so that a rebuild does not slow the clinic.
    """
    producer = clients.producer(kafka, "telemed.replay")
    sent, last_id, started = 0, 0, time.monotonic()
    target = replay_topic(topic)
    try:
        await within(15, producer.start())
        # What was committed before this instant is in the replay: whoever is made anew since later waits for another one.
        as_of = (await connection.fetchval("select clock_timestamp()")).isoformat()
        while rows := await connection.fetch(
            """select id, event_id, type, source, epoch, sequence, key, lane, body, traceparent, recorded_at from outbox
               where id > $1 and topic = $2 order by id limit 500""",
            last_id,
            topic,
        ):
            lanes: dict[int, list[int]] = {}
            for index, row in enumerate(rows):
                lanes.setdefault(row["lane"], []).append(index)
            for lane, indexes in lanes.items():
                await _send(producer, target, lane, [rows[index] for index in indexes])
            sent, last_id = sent + len(rows), rows[-1]["id"]
            await asyncio.sleep(max(0.0, started + sent / per_second - time.monotonic()))
        for lane in range(kafka.partitions):
            end = json.dumps({"as_of": as_of}).encode()
            await producer.send_and_wait(target, value=end, partition=lane, headers=[(REPLAY_END_HEADER, b"1")])
        await within(15, producer.stop())
    finally:
        await clients.end_producer(producer)
    return sent


async def _send(producer: AIOKafkaProducer, topic: str, lane: int, rows: list[Record]) -> None:
    while rows:
        builder = producer.create_batch()
        taken = 0
        for row in rows:
            event = Attributes(row["event_id"], row["type"], row["source"], row["epoch"], row["sequence"], row["key"])
            stamp = int(row["recorded_at"].timestamp() * 1000)
            headers = headers_of(event, row["traceparent"])
            if builder.append(key=row["key"].encode(), value=row["body"], timestamp=stamp, headers=headers) is None:
                break
            taken += 1
        if not taken:
            raise KafkaError("an event does not fit into a batch")
        builder.close()
        await (await producer.send_batch(builder, topic, partition=lane))
        rows = rows[taken:]


async def resend(connection: Connection, *, source: str, from_sequence: int = 1) -> int:
    """Queue kept events of one source for the live topic again. Returns how many. The relay does the rest."""
    queued = await connection.fetch(
        """insert into outbox_pending (lane, id) select lane, id from outbox where source = $1 and sequence >= $2
           on conflict do nothing returning id""",
        source,
        from_sequence,
    )
    return len(queued)
