"""Which lane, that is which partition, a key belongs to."""

from aiokafka.partitioner import murmur2

__all__ = ["lane_of"]


def lane_of(key: str, partitions: int) -> int:
    """The partition that Kafka's default partitioner gives this key (murmur2, sign bit dropped).

    It is stored with the outbox row, so that a lane's owner knows when its backlog is empty.
    """
    return int((murmur2(key.encode()) & 0x7FFFFFFF) % partitions)
