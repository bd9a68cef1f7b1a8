"""Settings of the Kafka clients that keep us from losing or repeating events, asked of the real objects; and waits."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from services.runtime.messaging import kafka as clients
from services.runtime.settings import KafkaSettings

pytestmark = pytest.mark.asyncio

NOWHERE = KafkaSettings(bootstrap="127.0.0.1:1")


@contextmanager
def consumer(group: str | None = "group", kafka: KafkaSettings = NOWHERE) -> Iterator[AIOKafkaConsumer]:
    made = clients.consumer(kafka, "test", group, poll_records=17)
    yield made
    made._closed = True  # never started: there is nothing to stop


@contextmanager
def producer() -> Iterator[AIOKafkaProducer]:
    made = clients.producer(NOWHERE, "test")
    yield made
    made._closed = True


async def test_offsets_are_never_committed_behind_our_back() -> None:
    with consumer() as made:
        assert made._enable_auto_commit is False


async def test_a_new_group_starts_at_the_beginning_not_at_the_end() -> None:
    with consumer() as made:
        assert made._auto_offset_reset == "earliest"


async def test_what_a_transaction_has_not_committed_is_not_read() -> None:
    with consumer() as made:
        assert made._isolation_level == "read_committed"


async def test_there_is_no_static_membership() -> None:
    with consumer() as made:
        assert made._group_instance_id is None


async def test_a_poll_is_bounded_and_nothing_waits_for_a_full_fetch() -> None:
    with consumer() as made:
        assert made._max_poll_records == 17
        assert made._fetch_min_bytes == 1


@pytest.mark.parametrize("session_s", [1.0, 6.0, 10.0, 60.0])
async def test_a_member_sends_several_heartbeats_in_each_session_and_a_join_may_take_as_long(session_s: float) -> None:
    with consumer(kafka=NOWHERE.model_copy(update={"session_timeout_s": session_s})) as made:
        assert made._session_timeout_ms == session_s * 1000
        assert made._heartbeat_interval_ms * 3 <= made._session_timeout_ms
        assert made._request_timeout_ms > made._session_timeout_ms


async def test_the_producer_is_idempotent_and_waits_for_every_replica_in_sync() -> None:
    with producer() as made:
        assert made._txn_manager is not None
        assert made._txn_manager.transactional_id is None
        assert made._sender._acks == -1


async def test_the_producer_neither_waits_nor_compresses() -> None:
    with producer() as made:
        assert made._message_accumulator._linger_time == 0
        assert made._message_accumulator._compression_type == 0


async def test_a_batch_fits_into_what_a_broker_takes_by_default() -> None:
    assert clients.MAX_BATCH_BYTES < 1_048_588
    with producer() as made:
        assert made._message_accumulator._batch_size == clients.MAX_BATCH_BYTES


async def test_ending_a_producer_stops_its_sender_even_with_no_broker() -> None:
    made = clients.producer(NOWHERE, "test")
    before = asyncio.all_tasks()
    with pytest.raises(Exception, match="Unable to bootstrap"):
        await made.start()
    await clients.end_producer(made)
    assert made._closed
    assert asyncio.all_tasks() == before


async def test_every_bounded_wait_of_the_services_is_one_that_loses_no_cancellation() -> None:
    """See ``services.runtime.waiting``."""
    services = Path(__file__).parents[2] / "services"
    used = [path.name for path in services.rglob("*.py") if re.search(r"\bwait_for\(", path.read_text(encoding="utf-8"))]
    assert used == []
