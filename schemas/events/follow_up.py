"""What ``follow_up`` tells; everything about one patient has the source ``/follow_up/patients/<id>``."""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from pydantic import AwareDatetime, Field

from schemas.envelope import EventData
from schemas.events.shared import (
    AT,
    PATIENT,
    SINCE,
    STAFF,
    THING,
    InstrumentScored,
    RiskFlagged,
    TaskClosed,
    TaskOpened,
    instrument_sample,
    risk_sample,
    task_closed_sample,
    task_opened_sample,
)
from schemas.fields import Code, DecimalText, OpaqueId, PatientId, open_code
from schemas.registry import event_type

__all__ = [
    "CHECK_COMPLETED",
    "EVENTS",
    "GUIDANCE_GIVEN",
    "INSTRUMENT_SCORED",
    "OUTCOME_REVIEWED",
    "REMINDER_SETTLED",
    "RISK_FLAGGED",
    "TASK_CLOSED",
    "TASK_OPENED",
    "CheckCompleted",
    "GuidanceGiven",
    "OutcomeReviewed",
    "ReminderOutcome",
    "ReminderSettled",
]


class ReminderOutcome(StrEnum):
    """What became of a reminder."""

    SENT = "sent"
    WITHDRAWN = "withdrawn"
    """What it was about has changed before it went out."""
    DROPPED = "dropped"
    """It would have come in quiet hours and too late afterwards, or there is no consent for a channel."""
    UNCERTAIN = "uncertain"
    """A crash in between: it may have gone out, and is not sent again."""


class ReminderSettled(EventData):
    """A reminder went out, or will not.

    Attributes:
        reminder: id of the reminder.
        patient: whom it is for.
        about: id of the session, visit or questionnaire.
        kind: ``session``, ``visit``, ``questionnaire`` or ``check``.
        rung: how long before: ``72h``, ``24h``, ``2h``; ``due`` for what has no rungs.
        outcome: what became of it.
        channel: how it went out; absent unless it did.
        settled_at: when.
    """

    reminder: OpaqueId
    patient: PatientId
    about: OpaqueId
    kind: Code
    rung: Code
    outcome: Annotated[Code, open_code(ReminderOutcome)]
    channel: Code | None = None
    settled_at: AwareDatetime


class CheckCompleted(EventData):
    """A check between visits was made.

    Attributes:
        check: id of the check.
        patient: whom it was about.
        session: after which session; absent if after none.
        kind: ``24h`` or ``welfare``.
        by: who made it.
        completed_at: when.
    """

    check: OpaqueId
    patient: PatientId
    session: OpaqueId | None = None
    kind: Code
    by: OpaqueId
    completed_at: AwareDatetime


class OutcomeReviewed(EventData):
    """A score was compared with its frozen baseline; it proposes and decides nothing.

    Attributes:
        assessment: the answers that were compared.
        patient: whose.
        instrument: which.
        baseline: total before the first infusion.
        total: total now.
        change: fall from the baseline in percent, two decimals, half up, for showing.
        response: whether the criterion of response holds.
        remission: whether the criterion of remission holds.
        relapse: whether the flag of relapse is up.
        criteria: ids of the criteria that hold.
        at: when it was answered.
    """

    assessment: OpaqueId
    patient: PatientId
    instrument: Code
    baseline: Annotated[int, Field(ge=0, le=200)]
    total: Annotated[int, Field(ge=0, le=200)]
    change: DecimalText
    response: bool
    remission: bool
    relapse: bool
    criteria: list[Code]
    at: AwareDatetime


class GuidanceGiven(EventData):
    """Guidance of a stage was made available to the patient: lifestyle and supportive therapy.

    Attributes:
        patient: to whom.
        content: which.
        version: of the content.
        stage: of care.
    """

    patient: PatientId
    content: Code
    version: Code
    stage: Code


INSTRUMENT_SCORED = event_type("follow_up", "instrument-scored", InstrumentScored, since=SINCE, sample=instrument_sample())
RISK_FLAGGED = event_type("follow_up", "risk-flagged", RiskFlagged, since=SINCE, urgent=True, sample=risk_sample())
REMINDER_SETTLED = event_type(
    "follow_up",
    "reminder-settled",
    ReminderSettled,
    since=SINCE,
    sample=ReminderSettled(
        reminder=THING,
        patient=PATIENT,
        about=THING,
        kind="session",
        rung="24h",
        outcome="sent",
        channel="email",
        settled_at=AT,
    ),
)
CHECK_COMPLETED = event_type(
    "follow_up",
    "check-completed",
    CheckCompleted,
    since=SINCE,
    sample=CheckCompleted(check=THING, patient=PATIENT, session=THING, kind="24h", by=STAFF, completed_at=AT),
)
TASK_OPENED = event_type("follow_up", "task-opened", TaskOpened, since=SINCE, sample=task_opened_sample())
TASK_CLOSED = event_type("follow_up", "task-closed", TaskClosed, since=SINCE, sample=task_closed_sample())
OUTCOME_REVIEWED = event_type(
    "follow_up",
    "outcome-reviewed",
    OutcomeReviewed,
    since=SINCE,
    sample=OutcomeReviewed(
        assessment=THING,
        patient=PATIENT,
        instrument="PHQ-9",
        baseline=21,
        total=8,
        change=Decimal("61.90"),
        response=True,
        remission=False,
        relapse=False,
        criteria=["phq9.response"],
        at=AT,
    ),
)
GUIDANCE_GIVEN = event_type(
    "follow_up",
    "guidance-given",
    GuidanceGiven,
    since=SINCE,
    sample=GuidanceGiven(patient=PATIENT, content="sleep", version="1", stage="induction"),
)
EVENTS = (
    INSTRUMENT_SCORED,
    RISK_FLAGGED,
    REMINDER_SETTLED,
    CHECK_COMPLETED,
    TASK_OPENED,
    TASK_CLOSED,
    OUTCOME_REVIEWED,
    GUIDANCE_GIVEN,
)
