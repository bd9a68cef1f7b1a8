"""What visits say in public: the only place that decides what leaves. The address stays; of it only the state is told."""

import datetime as dt

from schemas.envelope import EventData
from schemas.events import video_visits
from schemas.fields import ZonedInstant
from schemas.registry import EventType
from services.runtime.messaging.changes import NewEvent
from services.video_visits.domain import Visit

__all__ = ["visit_cancelled", "visit_ended", "visit_missed", "visit_scheduled", "visit_started"]


def _event(kind: EventType, visit: Visit, data: EventData) -> NewEvent:
    return NewEvent(f"/video_visits/visits/{visit.id}", kind.name, str(visit.patient), data)


def visit_scheduled(visit: Visit) -> NewEvent:
    """It is to take place, or was moved."""
    data = video_visits.VisitScheduled(
        visit=visit.id,
        patient=visit.patient,
        case=visit.case,
        clinician=visit.clinician,
        starts=ZonedInstant(at=visit.starts_at, zone=visit.zone),
        minutes=visit.minutes,
        by_video=visit.by_video,
    )
    return _event(video_visits.VISIT_SCHEDULED, visit, data)


def visit_started(visit: Visit) -> NewEvent:
    """Both are there."""
    assert visit.started_at is not None  # noqa: S101 - only a started one is told
    data = video_visits.VisitStarted(visit=visit.id, patient=visit.patient, region=visit.region, started_at=visit.started_at)
    return _event(video_visits.VISIT_STARTED, visit, data)


def visit_ended(visit: Visit, together: int) -> NewEvent:
    """It is over."""
    assert visit.ended_at is not None  # noqa: S101 - only an ended one is told
    data = video_visits.VisitEnded(visit=visit.id, patient=visit.patient, ended_at=visit.ended_at, together=together)
    return _event(video_visits.VISIT_ENDED, visit, data)


def visit_missed(visit: Visit, missing: str, at: dt.datetime) -> NewEvent:
    """Somebody did not come."""
    data = video_visits.VisitMissed(visit=visit.id, patient=visit.patient, missing=missing, judged_at=at)
    return _event(video_visits.VISIT_MISSED, visit, data)


def visit_cancelled(visit: Visit, reason: str) -> NewEvent:
    """It will not take place."""
    data = video_visits.VisitCancelled(visit=visit.id, patient=visit.patient, reason=reason)
    return _event(video_visits.VISIT_CANCELLED, visit, data)
