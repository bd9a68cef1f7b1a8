"""The topics of the product. Brokers create none by themselves: a misspelt name must fail, not make a topic."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from services.runtime.messaging import kafka as clients
from services.runtime.messaging.inbox import replay_topic
from services.runtime.settings import KafkaSettings
from services.runtime.waiting import within

if TYPE_CHECKING:
    from services.runtime.service import Service

__all__ = ["TopicsDiffer", "ensure", "names"]


class TopicsDiffer(Exception):
    """A topic exists with another number of partitions: keys would move. Partitions are never changed in place."""


def names(prefix: str, services: Iterable["Service"]) -> list[str]:
    """Every topic: one for each service's events, one for its replays, one for dead letters."""
    live = [service.topic(prefix) for service in services]
    return [*live, *(replay_topic(topic) for topic in live), f"{prefix}.dead-letters"]


async def ensure(kafka: KafkaSettings, services: Sequence["Service"]) -> list[str]:
    """Create the topics that are missing and wait until every partition has a leader. Returns the names created.

    Raises:
        TopicsDiffer: see the class.
        KafkaError, TimeoutError: the broker refused or cannot be reached.
    """
    wanted = names(kafka.topic_prefix, services)
    admin = await clients.admin(kafka)
    try:
        missing = sorted(set(wanted) - set(await admin.list_topics()))
        if missing:
            response = await admin.create_topics(
                [
                    NewTopic(
                        name,
                        num_partitions=kafka.partitions,
                        replication_factor=kafka.replication,
                        topic_configs={
                            "cleanup.policy": "delete",
                            "retention.ms": str(kafka.retention_days * 86_400_000),
                            "min.insync.replicas": str(kafka.min_insync_replicas),
                            "unclean.leader.election.enable": "false",
                        },
                    )
                    for name in missing
                ]
            )
            for _, code, *_ in response.topic_errors:  # type: ignore[attr-defined]
                error = for_code(code)
                if code and error is not TopicAlreadyExistsError:
                    raise error
        await within(30, _led(admin, wanted, kafka.partitions))
    finally:
        await admin.close()
    return missing


async def _led(admin: AIOKafkaAdminClient, wanted: Sequence[str], partitions: int) -> None:
    while True:
        described = await admin.describe_topics(list(wanted))
        counts = {
            topic["topic"]: [partition["leader"] for partition in topic["partitions"]]
            for topic in described
            if topic["error_code"] == 0
        }
        if set(counts) >= set(wanted) and all(leader >= 0 for leaders in counts.values() for leader in leaders):
            differing = sorted(name for name, leaders in counts.items() if name in wanted and len(leaders) != partitions)
            if differing:
                raise TopicsDiffer(f"not {partitions} partitions: {', '.join(differing)}")
            return
        await asyncio.sleep(0.05)
