"""Hazards of the libraries that the kernel stands on: settings asked of the real objects, floors, waits, and clocks.

Each hazard is named in a comment where it is handled (``consumer.py``, ``kafka.py``, ``relay.py``, ``database.py``,
``waiting.py``) and tried here or in ``tests/faults``. These cannot occur here, so nothing handles them:

- of transactions (a coordinator lost for ever) and of static membership: neither is used, as is tried below;
- of thousands of topics: a service has two, and one is shared;
- of large values: an event ends at 64 KiB (row 33);
- of aiokafka's own commits, which are tried again without end when it stops: it makes none;
- of a frozen clock, which hangs aiokafka: the clinic clock is the database's, and no test touches a process's;
- of the instrumentation of asyncio, which leaks: it is not installed, as is tried below;
- of pgbouncer: see ``database.py``;
- of tasks that nobody holds: ruff refuses them (RUF006).
"""

import ast
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

ROOT = Path(__file__).parents[2]
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
    paths = (ROOT / "services").rglob("*.py")
    used = [path.name for path in paths if re.search(r"\bwait_for\(", path.read_text(encoding="utf-8"))]
    assert used == []


async def test_a_backlog_of_one_partition_goes_first_by_one_fetch_only() -> None:
    with consumer() as made:
        assert made._max_partition_fetch_bytes == 2**20


@pytest.mark.parametrize("floor", ["aiokafka>=0.14", "aiohttp>=3.14", "asyncpg>=0.32"])
async def test_no_version_is_taken_in_which_a_known_hazard_is_not_mended(floor: str) -> None:
    """aiokafka 0.14: stops that hang, fetches that end in silence, storage errors that are not tried again. aiohttp 3.14:
    request smuggling. asyncpg 0.32: pools that leak when an acquire is given up."""
    assert f'"{floor}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


async def test_nothing_instruments_asyncio() -> None:
    pinned = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "requirements").glob("*.txt"))
    assert "opentelemetry-api==" in pinned
    assert "opentelemetry-instrumentation" not in pinned


OWN_CLOCK = {
    "consultation/app.py": "whose figures are signed on the day on which it starts",
    "follow_up/app.py": "the same",
    "session_logging/app.py": "the same",
    "runtime/edge/policy.py": "how old a webhook is",
    "runtime/edge/stream.py": "when a token ends",
    "runtime/messaging/relay.py": "stamp of a heartbeat's record, which nobody reads",
    "video_visits/http.py": "when a join token ends",
    "video_visits/livekit.py": "when a webhook was made that does not say so",
}
"""Who asks the clock of its process, and what for: of pods whose clocks are apart nothing else differs (row 47)."""


async def test_time_is_the_databases_and_no_process_asks_its_own_clock_for_more_than_is_listed_here() -> None:
    services = ROOT / "services"
    paths = [path for path in services.rglob("*.py") if path.relative_to(services).parts[0] != "cli"]
    asked = {path.relative_to(services).as_posix() for path in paths if _asks_its_clock(path.read_text(encoding="utf-8"))}
    assert asked == OWN_CLOCK.keys()


def _asks_its_clock(text: str) -> bool:
    names = {
        ast.unparse(node.func) if isinstance(node, ast.Call) else ast.unparse(node)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call | ast.Attribute)
    }
    return any(re.fullmatch(r"(\w+\.)*(time\.time(_ns)?|date(time)?\.(now|utcnow|today))", name) for name in names)
