"""A lane is the partition that Kafka's default partitioner gives a key; if they differed, per-key order would be lost."""

import random

from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given, settings
from hypothesis import strategies as st

from services.runtime.messaging.lanes import lane_of


@settings(deadline=None)
@given(key=st.text(min_size=1, max_size=100), partitions=st.integers(1, 1000))
def test_the_lane_of_a_key_is_the_partition_of_the_default_partitioner(key: str, partitions: int) -> None:
    everything = list(range(partitions))
    assert lane_of(key, partitions) == DefaultPartitioner()(key.encode(), everything, everything)


# murmur2 of Apache Kafka's own test (UtilsTest.testMurmur2), so that this does not lean on aiokafka alone.
MURMUR2 = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}


def test_values_known_from_kafka_itself_never_move() -> None:
    """Rows of an outbox carry their lane for ever; another number for the same key would put a patient on two lanes."""
    assert {key: lane_of(key, 12) for key in MURMUR2} == {key: (value & 0x7FFFFFFF) % 12 for key, value in MURMUR2.items()}


def test_keys_spread_over_all_lanes() -> None:
    draw = random.Random(7)
    lanes = [lane_of(f"{draw.getrandbits(64):x}", 12) for _ in range(1200)]
    assert min(lanes.count(lane) for lane in range(12)) > 50
