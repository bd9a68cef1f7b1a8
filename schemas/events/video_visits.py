"""What ``video_visits`` tells of a visit; its source is ``/video_visits/visits/<id>``."""

from enum import StrEnum
from typing import Annotated

from pydantic import AwareDatetime, Field

from schemas.envelope import EventData
from schemas.events.shared import AT, CASE, PATIENT, SINCE, STAFF, THING
from schemas.fields import Code, OpaqueId, PatientId, ZonedInstant, in_unit, open_code
from schemas.registry import event_type

__all__ = [
    "EVENTS",
    "VISIT_CANCELLED",
    "VISIT_ENDED",
    "VISIT_MISSED",
    "VISIT_SCHEDULED",
    "VISIT_STARTED",
    "Missing",
    "VisitCancelled",
    "VisitEnded",
    "VisitMissed",
    "VisitScheduled",
    "VisitStarted",
]


class VisitScheduled(EventData):
    """A visit is to take place; another one of the same visit moves it.

    Attributes:
        visit: id of the visit.
        patient: who is seen.
        case: for which case; absent if for none.
        clinician: who sees them.
        starts: when it begins.
        minutes: how long it is planned to last.
        by_video: false if it is held in person, as where no video platform is configured.
    """

    visit: OpaqueId
    patient: PatientId
    case: OpaqueId | None = None
    clinician: OpaqueId
    starts: ZonedInstant
    minutes: Annotated[int, in_unit("min"), Field(ge=1, le=480)]
    by_video: bool


class VisitStarted(EventData):
    """Patient and clinician are both there.

    Attributes:
        visit: id of the visit.
        patient: who is seen.
        region: ISO 3166-2 code of the state where the patient is today, which decides the licence; absent if not asked.
        started_at: since when both were there.
    """

    visit: OpaqueId
    patient: PatientId
    region: Code | None = None
    started_at: AwareDatetime


class VisitEnded(EventData):
    """The visit is over.

    Attributes:
        visit: id of the visit.
        patient: who was seen.
        ended_at: when the last of them left.
        together: how long both were there, added up over every interval.
    """

    visit: OpaqueId
    patient: PatientId
    ended_at: AwareDatetime
    together: Annotated[int, in_unit("s"), Field(ge=0)]


class Missing(StrEnum):
    """Who did not come."""

    PATIENT = "patient"
    CLINICIAN = "clinician"
    BOTH = "both"


class VisitMissed(EventData):
    """The visit did not take place, because somebody did not come.

    Attributes:
        visit: id of the visit.
        patient: who was to be seen.
        missing: who did not come.
        judged_at: when that was certain.
    """

    visit: OpaqueId
    patient: PatientId
    missing: Annotated[Code, open_code(Missing)]
    judged_at: AwareDatetime


class VisitCancelled(EventData):
    """The visit will not take place.

    Attributes:
        visit: id of the visit.
        patient: who was to be seen.
        reason: why.
    """

    visit: OpaqueId
    patient: PatientId
    reason: Code


VISIT_SCHEDULED = event_type(
    "video_visits",
    "visit-scheduled",
    VisitScheduled,
    since=SINCE,
    sample=VisitScheduled(
        visit=THING,
        patient=PATIENT,
        case=CASE,
        clinician=STAFF,
        starts=ZonedInstant(at=AT, zone="America/New_York"),
        minutes=45,
        by_video=True,
    ),
)
VISIT_STARTED = event_type(
    "video_visits",
    "visit-started",
    VisitStarted,
    since=SINCE,
    sample=VisitStarted(visit=THING, patient=PATIENT, region="US-NY", started_at=AT),
)
VISIT_ENDED = event_type(
    "video_visits",
    "visit-ended",
    VisitEnded,
    since=SINCE,
    sample=VisitEnded(visit=THING, patient=PATIENT, ended_at=AT, together=2520),
)
VISIT_MISSED = event_type(
    "video_visits",
    "visit-missed",
    VisitMissed,
    since=SINCE,
    sample=VisitMissed(visit=THING, patient=PATIENT, missing="patient", judged_at=AT),
)
VISIT_CANCELLED = event_type(
    "video_visits",
    "visit-cancelled",
    VisitCancelled,
    since=SINCE,
    sample=VisitCancelled(visit=THING, patient=PATIENT, reason="patient-asked"),
)
EVENTS = (VISIT_SCHEDULED, VISIT_STARTED, VISIT_ENDED, VISIT_MISSED, VISIT_CANCELLED)
