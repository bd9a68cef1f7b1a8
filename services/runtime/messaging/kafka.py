"""Clients of Apache Kafka with every setting that matters named, because the library's defaults lose or repeat data.

aiokafka by default starts at ``latest``, commits by itself, fetches without limit, and is not idempotent. Static membership is
never set: its heartbeats cannot fence a twin, and two members with one id were seen to read everything both. Transactions are
never used: whoever lost their coordinator waited for ever, and outbox and cursors give what they would.
"""

import math
import ssl
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from services.runtime.settings import KafkaSettings
from services.runtime.waiting import within

__all__ = ["MAX_BATCH_BYTES", "admin", "close_consumer", "consumer", "end_producer", "producer"]

MAX_BATCH_BYTES = 900_000
"""One batch per lane and run; below the broker's default ``message.max.bytes`` (1,048,588)."""


def connection_options(kafka: KafkaSettings) -> dict[str, Any]:
    """Bootstrap and security options, the same for every client."""
    options: dict[str, Any] = {"bootstrap_servers": kafka.bootstrap, "security_protocol": kafka.security_protocol}
    if kafka.security_protocol.endswith("SSL"):
        context = ssl.create_default_context(cafile=str(kafka.ca_file) if kafka.ca_file else None)
        if kafka.cert_file and kafka.key_file:
            context.load_cert_chain(str(kafka.cert_file), str(kafka.key_file))
        options["ssl_context"] = context
    if kafka.security_protocol.startswith("SASL") and kafka.password is not None:
        options["sasl_mechanism"] = kafka.sasl_mechanism
        options["sasl_plain_username"] = kafka.username
        options["sasl_plain_password"] = kafka.password.get_secret_value()
    return options


def producer(kafka: KafkaSettings, client_id: str) -> AIOKafkaProducer:
    """The relay's producer. No linger and no compression: the relay batches by itself and waits for every batch."""
    made = AIOKafkaProducer(
        **connection_options(kafka),
        client_id=client_id,
        acks="all",
        enable_idempotence=True,
        linger_ms=0,
        compression_type=None,
        max_batch_size=MAX_BATCH_BYTES,
        request_timeout_ms=10_000,
    )
    # aiokafka never lets an idempotent batch expire, except while a partition has no leader, as for a moment after every
    # restart of a broker. The batch has its sequence by then, so the hole would end the producer.
    made._message_accumulator._batch_ttl = math.inf
    return made


async def end_producer(old: AIOKafkaProducer) -> None:
    """End a producer for real.

    ``stop()`` waits for its flush, and after a bounded ``stop()`` its sender lives on and delivers what was given up on
    (aiokafka #1101). Only closing the sender and the client ends it.
    """
    sender = getattr(old, "_sender", None)
    task = getattr(sender, "sender_task", None)
    if task is not None:
        # Not ``sender.close()``: it awaits the produce request in flight, which may never be answered.
        task.cancel()
    try:
        await within(5, old.client.close())
    except (TimeoutError, KafkaError, OSError):
        pass
    finally:
        old._closed = True  # or its finalizer warns of a producer left open


def consumer(kafka: KafkaSettings, client_id: str, group: str | None, *, poll_records: int) -> AIOKafkaConsumer:
    """A consumer whose offsets are only a hint: the cursor rows are the truth.

    Its ``getmany`` takes one partition after the other until it has enough: a backlog of one goes first, but no further than
    the megabyte that one fetch brings of a partition, so the others wait for at most that.
    """
    session_ms = int(kafka.session_timeout_s * 1000)
    return AIOKafkaConsumer(
        **connection_options(kafka),
        client_id=client_id,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        max_poll_records=poll_records,
        fetch_min_bytes=1,
        session_timeout_ms=session_ms,
        max_poll_interval_ms=int(kafka.max_poll_interval_s * 1000),
        heartbeat_interval_ms=max(100, session_ms // 10),
        rebalance_timeout_ms=session_ms,
        request_timeout_ms=max(40_000, session_ms + 5_000),
    )


async def close_consumer(old: AIOKafkaConsumer) -> None:
    """Leave the group and close; bounded, because a broker that is gone would be waited for."""
    try:
        await within(5, old.stop())
    except (TimeoutError, KafkaError, OSError):
        await _quietly(old._client.close())


async def admin(kafka: KafkaSettings) -> AIOKafkaAdminClient:
    """A started admin client; the caller closes it."""
    client = AIOKafkaAdminClient(**connection_options(kafka), client_id="telemed.admin", request_timeout_ms=10_000)
    await client.start()
    return client


async def _quietly(closing: Any) -> None:
    try:
        await within(5, closing)
    except (TimeoutError, KafkaError, OSError):
        return
