"""What visits do when time comes: who has not come is missing, and who has not come back is gone."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from uuid import UUID

from services.runtime.database import Reader
from services.runtime.messaging.changes import Changes, Context
from services.runtime.messaging.timers import Timer
from services.video_visits import store
from services.video_visits.commands import NO_SHOW, Visits
from services.video_visits.domain import Interval, Visit

__all__ = ["VisitDue"]


@dataclass(frozen=True, slots=True)
class VisitDue:
    """Judges a visit by who was there."""

    visits: Visits

    def key(self, item: Timer) -> UUID:
        return UUID(item.subject)

    async def load(self, read: Reader, keys: Collection[UUID]) -> Mapping[UUID, tuple[Visit, list[Interval]]]:
        found, presences = await store.visits(read, keys), await store.presences(read, keys)
        return {visit.id: (visit, presences.get(visit.id, [])) for visit in found.values()}

    def decide(
        self, state: tuple[Visit, list[Interval]] | None, item: Timer, context: Context
    ) -> tuple[tuple[Visit, list[Interval]] | None, Changes]:
        if state is None:
            raise LookupError("the visit is not known")
        judge = self.visits.judged if item.kind == NO_SHOW else self.visits.ended
        return state, judge(*state, context)
