"""How current the facts are that a service has of a patient, per service that owns them (decision A17)."""

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from services.directory import store
from services.runtime.database import Reader
from services.runtime.messaging.changes import Context
from services.runtime.messaging.lanes import lane_of
from services.runtime.messaging.parking import freshness
from services.runtime.settings import KafkaSettings

__all__ = ["Facts"]


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts that one consumer keeps.

    Attributes:
        consumer: name of its subscription.
        kafka: the deployment's topics; asked when it is needed, as settings are read at start.
    """

    consumer: str
    kafka: Callable[[], KafkaSettings]

    async def as_of(self, read: Reader, owners: Sequence[str], patient: UUID, context: Context) -> dict[str, dt.datetime]:
        """By owner, the instant of the clinic clock up to which its facts of a patient are complete here.

        An owner that was never heard of, or of whose events about the patient one waits, is left out. What was merged into the
        patient's record counts as theirs.
        """
        kafka = self.kafka()
        records = await store.records(read, patient)
        found = {}
        for owner in owners:
            fresh = [
                await freshness(
                    read,
                    consumer=self.consumer,
                    topic=f"{kafka.topic_prefix}.{owner.replace('_', '-')}.events",
                    lane=lane_of(str(record), kafka.partitions),
                    partitionkey=str(record),
                    context=context,
                )
                for record in records
            ]
            behind = [one.behind_s for one in fresh if one.behind_s is not None and not one.parked]
            if len(behind) == len(records):
                found[owner] = context.now - dt.timedelta(seconds=max(behind))
        return found
