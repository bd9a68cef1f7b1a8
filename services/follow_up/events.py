"""What follow-up says in public: the only place that decides what leaves. Addresses, notes and answers stay."""

from uuid import UUID

from schemas.events import follow_up, shared
from services.follow_up.domain.outcomes import Reviewed
from services.follow_up.domain.reminders import Rung
from services.follow_up.domain.tasks import CareTask
from services.runtime.messaging.changes import NewEvent
from services.screening.events import Owner

__all__ = [
    "OWNER",
    "check_completed",
    "guidance_given",
    "outcome_reviewed",
    "reminder_settled",
    "task_closed",
    "task_opened",
]

OWNER = Owner(
    lambda patient: f"/follow_up/patients/{patient}",
    follow_up.INSTRUMENT_SCORED,
    follow_up.RISK_FLAGGED,
    follow_up.TASK_OPENED,
    follow_up.TASK_CLOSED,
)
"""Under which names screening speaks here."""


def reminder_settled(one: Rung) -> NewEvent:
    """A message went out, or will not."""
    assert one.settled_at is not None  # noqa: S101 - only a settled one is told
    data = follow_up.ReminderSettled(
        reminder=one.id,
        patient=one.patient,
        about=one.about,
        kind=one.kind,
        rung=one.rung,
        outcome=one.status,
        channel=one.channel,
        settled_at=one.settled_at,
    )
    return OWNER.event(follow_up.REMINDER_SETTLED, one.patient, data)


def check_completed(task: CareTask, kind: str) -> NewEvent:
    """A check between visits was made."""
    assert task.closed_at is not None  # noqa: S101 - only one that was made is told
    assert task.closed_by is not None  # noqa: S101 - likewise
    data = follow_up.CheckCompleted(
        check=task.id,
        patient=task.patient,
        session=task.session,
        kind=kind,
        by=UUID(task.closed_by),
        completed_at=task.closed_at,
    )
    return OWNER.event(follow_up.CHECK_COMPLETED, task.patient, data)


def task_opened(task: CareTask) -> NewEvent:
    """Somebody has to do something."""
    data = shared.TaskOpened(
        task=task.id, patient=task.patient, session=task.session, kind=task.kind, role=task.role, due_at=task.due_at
    )
    return OWNER.event(follow_up.TASK_OPENED, task.patient, data)


def task_closed(task: CareTask) -> NewEvent:
    """It is done, or no longer needed."""
    assert task.closed_at is not None  # noqa: S101 - only a closed one is told
    data = shared.TaskClosed(
        task=task.id,
        patient=task.patient,
        outcome=task.status,
        by=UUID(task.closed_by) if task.closed_by else None,
        closed_at=task.closed_at,
    )
    return OWNER.event(follow_up.TASK_CLOSED, task.patient, data)


def outcome_reviewed(patient: UUID, reviewed: Reviewed) -> NewEvent:
    """A score was compared with its baseline."""
    assert reviewed.score.total is not None  # noqa: S101 - only a complete score is compared
    data = follow_up.OutcomeReviewed(
        assessment=reviewed.score.assessment,
        patient=patient,
        instrument=reviewed.score.instrument,
        baseline=reviewed.baseline.total,
        total=reviewed.score.total,
        change=reviewed.shown,
        response=reviewed.response,
        remission=reviewed.remission,
        relapse=reviewed.relapse,
        criteria=list(reviewed.criteria),
        at=reviewed.score.at,
    )
    return OWNER.event(follow_up.OUTCOME_REVIEWED, patient, data)


def guidance_given(patient: UUID, topic: str, stage: str, version: str) -> NewEvent:
    """Guidance of a stage is there for the patient."""
    data = follow_up.GuidanceGiven(
        patient=patient, content=topic.replace(" ", "-"), version=version, stage=stage.replace(" ", "-")
    )
    return OWNER.event(follow_up.GUIDANCE_GIVEN, patient, data)
