"""What visits listen to: the directory; and a patient who is no longer treated here is not visited."""

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from schemas.envelope import Envelope
from schemas.events import consultation
from services.directory.subscriptions import directory
from services.runtime.database import Reader
from services.runtime.messaging.changes import Changes, Context
from services.runtime.messaging.inbox import Subscription
from services.video_visits import store
from services.video_visits.commands import Visits
from services.video_visits.domain import State, Visit

__all__ = ["subscriptions"]


class _Patients:
    def __init__(self, visits: Visits) -> None:
        self._visits = visits

    def key(self, item: Envelope[consultation.PatientChanged]) -> UUID:
        return item.data.patient

    async def load(self, read: Reader, keys: Collection[UUID]) -> Mapping[UUID, Sequence[Visit]]:
        return {patient: await store.visits_of_patient(read, patient) for patient in keys}

    def decide(
        self, state: Sequence[Visit] | None, item: Envelope[consultation.PatientChanged], context: Context
    ) -> tuple[Sequence[Visit] | None, Changes]:
        status = item.data.status
        if status == consultation.PatientStatus.ACTIVE:
            return state, Changes()
        off = [self._visits.cancelled(one, f"patient-{status}") for one in state or () if one.state is State.SCHEDULED]
        changed = {visit.id: visit for _, visit in off}
        found = Changes(
            rows=[row for changes, _ in off for row in changes.rows],
            events=[event for changes, _ in off for event in changes.events],
            timers=[timer for changes, _ in off for timer in changes.timers],
        )
        return [changed.get(one.id, one) for one in state or ()], found


def subscriptions(visits: Visits) -> tuple[Subscription, ...]:
    """The table of what visits listen to."""
    handlers = {consultation.PATIENT_CHANGED.name: _Patients(visits)}
    return (directory("video_visits"), Subscription("video_visits.patients", handlers))
