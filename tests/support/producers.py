"""What a broker remembers of idempotent producers, and a producer that speaks under another one's name."""

import asyncio
import struct
from collections.abc import Sequence
from typing import NamedTuple

from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord

from services.cli.stack.ports import HOST
from services.runtime.messaging import kafka as clients
from services.runtime.settings import KafkaSettings

__all__ = ["Remembered", "impersonate", "remembered"]

_DESCRIBE_PRODUCERS = 61


class Remembered(NamedTuple):
    """A producer's state in one partition."""

    producer_id: int
    epoch: int
    last_sequence: int


async def remembered(port: int, topic: str, partition: int) -> list[Remembered]:
    """The broker's answer to DescribeProducers (version 0), which aiokafka does not speak."""
    name = topic.encode()
    body = struct.pack(">hhih", _DESCRIBE_PRODUCERS, 0, 1, -1) + b"\0"
    body += b"\x02" + bytes([len(name) + 1]) + name + b"\x02" + struct.pack(">i", partition) + b"\0\0"
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(struct.pack(">i", len(body)) + body)
        await writer.drain()
        (size,) = struct.unpack(">i", await reader.readexactly(4))
        answer = await reader.readexactly(size)
    finally:
        writer.close()
        await writer.wait_closed()
    # Correlation id, tags, throttle time, one topic, its name, one partition, its number and error.
    at = 4 + 1 + 4 + 1 + 1 + len(name) + 1 + 4
    (error,) = struct.unpack_from(">h", answer, at)
    assert error == 0, f"DescribeProducers: error {error}"
    at += 2 + 1  # no error message
    found = []
    for _ in range(answer[at] - 1):
        producer_id, epoch, last, _, _, _ = struct.unpack_from(">qiiqiq", answer, at + 1)
        found.append(Remembered(producer_id, epoch, last))
        at += 36 + 1
    return found


async def impersonate(
    kafka: KafkaSettings,
    other: Remembered,
    where: TopicPartition,
    records: "Sequence[ConsumerRecord[bytes, bytes]]",
) -> None:
    """Append copies of records under another producer's id, so that its own next sequence is not the one expected."""
    producer = clients.producer(kafka, "impostor")
    await producer.start()
    try:
        state = producer._txn_manager
        state._pid_and_epoch = type(state._pid_and_epoch)(other.producer_id, other.epoch)
        state._sequence_numbers[where] = other.last_sequence + 1
        builder = producer.create_batch()
        for record in records:
            assert builder.append(key=record.key, value=record.value, timestamp=record.timestamp, headers=list(record.headers))
        await asyncio.wait_for(await producer.send_batch(builder, where.topic, partition=where.partition), 10)
    finally:
        await producer.stop()
