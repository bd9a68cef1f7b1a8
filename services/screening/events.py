"""What screening says in public, under the types of whoever owns it: codes and numbers, never answers or notes."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from schemas.envelope import EventData
from schemas.events import shared
from schemas.registry import EventType
from services.runtime.messaging.changes import NewEvent
from services.screening.domain import NAMES, Risk, Task
from services.therapies.instruments import Score

__all__ = ["Owner", "closed", "flagged", "opened", "scored"]


@dataclass(frozen=True, slots=True)
class Owner:
    """The service that takes the answers: its types, and the source under which it speaks of a patient."""

    source: Callable[[UUID], str]
    scored: EventType
    flagged: EventType
    opened: EventType
    closed: EventType

    def event(self, kind: EventType, patient: UUID, data: EventData) -> NewEvent:
        """An event of this owner about a patient."""
        return NewEvent(self.source(patient), kind.name, str(patient), data)


def scored(
    owner: Owner, assessment: UUID, patient: UUID, found: Score, suicide_item: int | None, rater: UUID | None, at: datetime
) -> NewEvent:
    """A questionnaire was answered."""
    data = shared.InstrumentScored(
        assessment=assessment,
        patient=patient,
        instrument=NAMES[found.instrument],
        total=found.total,
        severity=found.band.replace(" ", "-") if found.band else None,
        complete=not found.missing,
        suicide_item=suicide_item,
        by=rater,
        answered_at=at,
    )
    return owner.event(owner.scored, patient, data)


def flagged(owner: Owner, patient: UUID, risk: Risk, instrument: str, task: Task | None) -> NewEvent:
    """A level holds from now on."""
    data = shared.RiskFlagged(
        assessment=risk.assessment,
        patient=patient,
        level=risk.level.value,
        proven=risk.proven.value if risk.proven is not risk.level else None,
        instrument=instrument,
        task=task.id if task else None,
        due_at=task.due_at if task else None,
        assessed_at=risk.assessed_at,
    )
    return owner.event(owner.flagged, patient, data)


def opened(owner: Owner, task: Task) -> NewEvent:
    """Somebody has to act."""
    data = shared.TaskOpened(task=task.id, patient=task.patient, kind=task.kind.value, role=task.role, due_at=task.due_at)
    return owner.event(owner.opened, task.patient, data)


def closed(owner: Owner, task: Task) -> NewEvent:
    """It is done, or no longer needed."""
    assert task.closed_at is not None  # noqa: S101 - only closed tasks are told
    data = shared.TaskClosed(
        task=task.id,
        patient=task.patient,
        outcome=task.status,
        by=UUID(task.closed_by) if task.closed_by else None,
        closed_at=task.closed_at,
    )
    return owner.event(owner.closed, task.patient, data)
