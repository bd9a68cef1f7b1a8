"""Facts that more than one service establishes: a questionnaire was scored, a suicide risk was found, somebody has to act.

Each owner publishes them under a type of its own; a reader handles them alike.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Final
from uuid import UUID

from pydantic import AwareDatetime, Field

from schemas.envelope import EventData
from schemas.fields import Code, OpaqueId, PatientId, Sha256, open_code
from schemas.registry import DataClass, EventType, event_type

__all__ = [
    "AT",
    "CASE",
    "PATIENT",
    "SINCE",
    "STAFF",
    "THING",
    "AuditSealed",
    "InstrumentScored",
    "RiskFlagged",
    "RiskLevel",
    "TaskClosed",
    "TaskOpened",
    "audit_sealed",
    "instrument_sample",
    "risk_sample",
    "task_closed_sample",
    "task_opened_sample",
]

SINCE: Final = "2026-11-27"
# Ids and the instant of the samples.
AT: Final = datetime(2027, 1, 21, 20, 30, tzinfo=UTC)
PATIENT: Final = UUID("018f0000-0000-7000-8000-000000000001")
CASE: Final = UUID("018f0000-0000-7000-8000-000000000002")
STAFF: Final = UUID("018f0000-0000-7000-8000-00000000a001")
THING: Final = UUID("018f0000-0000-7000-8000-000000000009")


class RiskLevel(StrEnum):
    """Level of suicide risk that a C-SSRS proves."""

    NONE = "NONE"
    LOW = "LOW"
    MODERATE = "MODERATE"
    HIGH = "HIGH"
    INCOMPLETE = "INCOMPLETE"
    """Not all was answered: on the clock of HIGH until it is."""


class InstrumentScored(EventData):
    """A questionnaire was answered and scored.

    Attributes:
        assessment: id of the answered questionnaire; its answers stay with the owner.
        patient: whose.
        case: for which case; absent if for none.
        session: before or after which session; absent if for none.
        instrument: which: ``PHQ-9``, ``GAD-7``, ``QIDS-SR16``, ``MADRS``, ``CADSS-6``.
        total: sum of the answers; absent when it cannot be given.
        severity: band of the total; absent without one.
        complete: whether every item was answered.
        suicide_item: points of the item that asks about suicide; absent if there is none or it was not answered.
        by: the clinician who rated; absent where the patient answered.
        answered_at: when it was answered.
    """

    assessment: OpaqueId
    patient: PatientId
    case: OpaqueId | None = None
    session: OpaqueId | None = None
    instrument: Code
    total: Annotated[int, Field(ge=0, le=200)] | None = None
    severity: Code | None = None
    complete: bool
    suicide_item: Annotated[int, Field(ge=0, le=6)] | None = None
    by: OpaqueId | None = None
    answered_at: AwareDatetime


class RiskFlagged(EventData):
    """Answers about suicide give a level. The service that took them has its own task, clock and page already.

    Attributes:
        assessment: id of the answers.
        patient: whose.
        level: what they prove; the last level of this owner is what holds.
        proven: with INCOMPLETE, the level that the given answers prove already.
        instrument: which answers: ``C-SSRS``, ``C-SSRS-SINCE-LAST``, ``PHQ-9``, ``QIDS-SR16``, ``MADRS``.
        task: id of the task that the owner opened; absent if the level asks for none.
        due_at: until when a clinician has to have acted; absent without a task.
        assessed_at: when the answers were given.
    """

    assessment: OpaqueId
    patient: PatientId
    level: Annotated[Code, open_code(RiskLevel)]
    proven: Annotated[Code, open_code(RiskLevel)] | None = None
    instrument: Code
    task: OpaqueId | None = None
    due_at: AwareDatetime | None = None
    assessed_at: AwareDatetime


class TaskOpened(EventData):
    """Somebody has to do something by a time.

    Attributes:
        task: id of the task.
        patient: whom it is about.
        session: for which session; absent if for none.
        kind: what is to be done: ``risk-review``, ``check-24h``, ``review-before-next-session``, ``monitoring-record``.
        role: who may do it.
        assignee: the named human it waits for; absent if for anybody of the role.
        due_at: by when.
    """

    task: OpaqueId
    patient: PatientId
    session: OpaqueId | None = None
    kind: Code
    role: Code
    assignee: OpaqueId | None = None
    due_at: AwareDatetime


class TaskClosed(EventData):
    """A task is done, or no longer needed.

    Attributes:
        task: id of the task.
        patient: whom it was about.
        outcome: ``done`` or ``void``.
        by: who closed it; absent when the fact behind it went away.
        closed_at: when.
    """

    task: OpaqueId
    patient: PatientId
    outcome: Code
    by: OpaqueId | None = None
    closed_at: AwareDatetime


class AuditSealed(EventData):
    """The newest seal over a service's audit rows: whoever has read it notices when those rows are changed.

    Attributes:
        number: of the seal within the service's chain.
        hash: SHA-256 of the seal, which holds that of the one before.
        key: id of the key that signed it.
    """

    number: Annotated[int, Field(ge=1)]
    hash: Sha256
    key: Code


def audit_sealed(owner: str) -> EventType:
    """The type of one service's seals."""
    sample = AuditSealed(number=4711, hash="0" * 64, key="audit-2027")
    return event_type(owner, "audit-sealed", AuditSealed, since=SINCE, data_class=DataClass.OPERATIONAL, sample=sample)


def instrument_sample() -> InstrumentScored:
    """For the types of all owners."""
    return InstrumentScored(
        assessment=THING,
        patient=PATIENT,
        case=CASE,
        session=THING,
        instrument="PHQ-9",
        total=21,
        severity="severe",
        complete=True,
        suicide_item=1,
        by=STAFF,
        answered_at=AT,
    )


def risk_sample() -> RiskFlagged:
    """For the types of all owners."""
    return RiskFlagged(
        assessment=THING,
        patient=PATIENT,
        level="INCOMPLETE",
        proven="LOW",
        instrument="C-SSRS",
        task=THING,
        due_at=AT,
        assessed_at=AT,
    )


def task_opened_sample() -> TaskOpened:
    """For the types of all owners."""
    return TaskOpened(
        task=THING, patient=PATIENT, session=THING, kind="risk-review", role="prescriber", assignee=STAFF, due_at=AT
    )


def task_closed_sample() -> TaskClosed:
    """For the types of all owners."""
    return TaskClosed(task=THING, patient=PATIENT, outcome="done", by=STAFF, closed_at=AT)
