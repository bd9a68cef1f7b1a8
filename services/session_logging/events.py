"""What the infusion room says in public: the only place that decides what leaves. Names, words and samples stay."""

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from schemas.envelope import EventData
from schemas.events import session_logging, shared
from schemas.fields import Measure, ZonedInstant
from schemas.registry import EventType
from schemas.values import Quantity
from services.runtime.messaging.changes import NewEvent
from services.screening.events import Owner
from services.session_logging.domain.adverse_events import AdverseEvent
from services.session_logging.domain.alarms import Raised, Sample
from services.session_logging.domain.sessions import Entry, Review, Session
from services.therapies.evidence import Evaluation

__all__ = [
    "OWNER",
    "adverse_event_recorded",
    "adverse_event_resolved",
    "alert_acknowledged",
    "alert_raised",
    "alert_resolved",
    "cadss6_scored",
    "consent_withdrawn",
    "gate_evaluated",
    "infusion_ended",
    "infusion_paused",
    "infusion_rate_changed",
    "infusion_resumed",
    "infusion_started",
    "measure",
    "record_asked",
    "record_signed",
    "rescue_given",
    "rescue_in_error",
    "review_closed",
    "review_opened",
    "session_changed",
    "session_closed",
    "session_discharged",
    "stream_summarised",
    "vitals_due",
    "vitals_summarised",
]

OWNER = Owner(
    lambda patient: f"/session_logging/patients/{patient}",
    session_logging.INSTRUMENT_SCORED,
    session_logging.RISK_FLAGGED,
    session_logging.TASK_OPENED,
    session_logging.TASK_CLOSED,
)
"""Under which names screening speaks here."""


def _event(kind: EventType, session: Session | Raised | AdverseEvent, data: EventData) -> NewEvent:
    identifier = session.id if isinstance(session, Session) else session.session
    return NewEvent(f"/session_logging/sessions/{identifier}", kind.name, str(session.patient), data)


def measure(text: str) -> Measure:
    """Text with a unit, as events carry it."""
    quantity = Quantity.parse(text)
    return Measure(value=quantity.value, unit=quantity.unit)


def session_changed(session: Session, by: UUID | None = None) -> NewEvent:
    """A session, whole, and who has changed it; nobody if something that was heard did."""
    data = session_logging.SessionChanged(
        session=session.id,
        plan=session.plan,
        plan_version=session.plan_number,
        case=session.case,
        patient=session.patient,
        therapy=session.therapy,
        ordinal=session.ordinal,
        phase=session.phase,
        starts=ZonedInstant(at=session.starts_at, zone=session.zone),
        state=session.state,
        nurse=session.nurse,
        by=by,
        moved_at=session.moved_at,
    )
    return _event(session_logging.SESSION_CHANGED, session, data)


def gate_evaluated(
    session: Session,
    identifier: UUID,
    gate: str,
    found: Evaluation[Any],
    shut_by: list[str],
    at: dt.datetime,
    overridden: Sequence[tuple[str, UUID]] = (),
) -> NewEvent:
    """A gate was asked: what keeps it shut, and which rules do not because somebody has overridden them; the reason stays."""
    data = session_logging.GateEvaluated(
        evaluation=identifier,
        session=session.id,
        patient=session.patient,
        gate=gate,
        outcome=found.outcome,
        rules=shut_by,
        revision=found.revision,
        evaluated_at=at,
        overrides=[session_logging.Overridden(rule=rule, by=by) for rule, by in overridden],
    )
    return _event(session_logging.GATE_EVALUATED, session, data)


def infusion_started(session: Session, volume: str, by: UUID) -> NewEvent:
    """The pump runs."""
    assert session.dose is not None  # noqa: S101 - nothing starts without a dose
    assert session.rate is not None  # noqa: S101 - likewise
    assert session.started_at is not None  # noqa: S101 - likewise
    data = session_logging.InfusionStarted(
        session=session.id,
        patient=session.patient,
        dose=measure(session.dose["mass"]),
        volume=measure(volume),
        rate=measure(session.rate),
        duration=measure(session.terms.duration),
        by=by,
        started_at=session.started_at,
    )
    return _event(session_logging.INFUSION_STARTED, session, data)


def infusion_rate_changed(session: Session, by: UUID, at: dt.datetime) -> NewEvent:
    """The pump runs at another rate."""
    assert session.rate is not None  # noqa: S101 - a running pump has a rate
    data = session_logging.InfusionRateChanged(
        session=session.id, patient=session.patient, rate=measure(session.rate), by=by, changed_at=at
    )
    return _event(session_logging.INFUSION_RATE_CHANGED, session, data)


def infusion_paused(session: Session, reason: str, by: UUID, at: dt.datetime) -> NewEvent:
    """The pump stands."""
    data = session_logging.InfusionPaused(session=session.id, patient=session.patient, reason=reason, by=by, paused_at=at)
    return _event(session_logging.INFUSION_PAUSED, session, data)


def infusion_resumed(session: Session, by: UUID, at: dt.datetime) -> NewEvent:
    """The pump runs again."""
    data = session_logging.InfusionResumed(session=session.id, patient=session.patient, by=by, resumed_at=at)
    return _event(session_logging.INFUSION_RESUMED, session, data)


def infusion_ended(session: Session, given: str, reason: str, by: UUID) -> NewEvent:
    """The pump is off, and it is known what was given."""
    assert session.ended_at is not None  # noqa: S101 - only an ended one is told
    data = session_logging.InfusionEnded(
        session=session.id, patient=session.patient, given=measure(given), reason=reason, by=by, ended_at=session.ended_at
    )
    return _event(session_logging.INFUSION_ENDED, session, data)


def rescue_given(session: Session, entry: Entry) -> NewEvent:
    """Another drug than the infusion was given."""
    said = entry.data
    data = session_logging.RescueDrugGiven(
        entry=entry.id,
        session=session.id,
        patient=session.patient,
        group=said["group"],
        drug=said["drug"],
        dose=measure(said["dose"]),
        route=said["route"],
        ordered_by=UUID(said["ordered_by"]) if said["ordered_by"] else None,
        given_by=UUID(said["given_by"]),
        given_at=entry.at,
    )
    return _event(session_logging.RESCUE_DRUG_GIVEN, session, data)


def rescue_in_error(session: Session, entry: UUID, by: UUID, at: dt.datetime) -> NewEvent:
    """It was not, or not like that."""
    data = session_logging.RescueDrugInError(entry=entry, session=session.id, patient=session.patient, by=by, said_at=at)
    return _event(session_logging.RESCUE_DRUG_IN_ERROR, session, data)


def vitals_summarised(session: Session, entry: Entry) -> NewEvent:
    """A typed set."""

    def number(name: str) -> Decimal | None:
        text = entry.data.get(name)
        return Quantity.parse(text).value if text else None

    def whole(name: str) -> int | None:
        value = number(name)
        return None if value is None else int(value)

    spo2 = number("spo2")
    data = session_logging.VitalsSummarised(
        session=session.id,
        patient=session.patient,
        origin=entry.data.get("source", "typed"),
        from_at=entry.at,
        to_at=entry.at,
        sbp=whole("sbp"),
        dbp=whole("dbp"),
        heart_rate=whole("heart_rate"),
        resp_rate=whole("resp_rate"),
        spo2=spo2,
        spo2_low=spo2,
        moaa_s=entry.data.get("moaa_s"),
    )
    return _event(session_logging.VITALS_SUMMARISED, session, data)


def stream_summarised(session: Session, samples: list[Sample]) -> NewEvent:
    """A span of a monitor's stream."""
    ordered = sorted(samples, key=lambda one: one.at)
    saturations = [one.spo2 for one in ordered if one.spo2 is not None]
    data = session_logging.VitalsSummarised(
        session=session.id,
        patient=session.patient,
        origin="monitor",
        from_at=ordered[0].at,
        to_at=ordered[-1].at,
        heart_rate=next((one.heart_rate for one in reversed(ordered) if one.heart_rate is not None), None),
        resp_rate=next((one.resp_rate for one in reversed(ordered) if one.resp_rate is not None), None),
        spo2=Decimal(saturations[-1]) if saturations else None,
        spo2_low=Decimal(min(saturations)) if saturations else None,
    )
    return _event(session_logging.VITALS_SUMMARISED, session, data)


def vitals_due(session: Session, at: dt.datetime) -> NewEvent:
    """A set of vitals is due and has not been taken."""
    data = session_logging.VitalsDue(session=session.id, patient=session.patient, due_at=at)
    return _event(session_logging.VITALS_DUE, session, data)


def alert_raised(alert: Raised, answer_due_at: dt.datetime | None) -> NewEvent:
    """A rule of the alert table holds."""
    data = session_logging.AlertRaised(
        alert=alert.id,
        session=alert.session,
        patient=alert.patient,
        tier=alert.tier,
        signal=alert.family.replace(" ", "-")[:64],
        rule=alert.rule.replace(" ", "-"),
        at=alert.at,
        raised_at=alert.raised_at,
        late=alert.late,
        answer_due_at=answer_due_at,
    )
    return _event(session_logging.ALERT_RAISED, alert, data)


def alert_acknowledged(alert: Raised, role: str, by: UUID, at: dt.datetime) -> NewEvent:
    """A human has taken it over on a ladder."""
    data = session_logging.AlertAcknowledged(
        alert=alert.id, session=alert.session, patient=alert.patient, role=role, by=by, acknowledged_at=at
    )
    return _event(session_logging.ALERT_ACKNOWLEDGED, alert, data)


def alert_resolved(alert: Raised, by: UUID) -> NewEvent:
    """A human has closed it."""
    assert alert.resolved_at is not None  # noqa: S101 - only a closed one is told
    assert alert.action is not None  # noqa: S101 - likewise
    data = session_logging.AlertResolved(
        alert=alert.id,
        session=alert.session,
        patient=alert.patient,
        action=alert.action,
        by=by,
        resolved_at=alert.resolved_at,
    )
    return _event(session_logging.ALERT_RESOLVED, alert, data)


def adverse_event_recorded(event: AdverseEvent) -> NewEvent:
    """A human has entered an adverse event; the note stays."""
    data = session_logging.AdverseEventRecorded(
        adverse_event=event.id,
        session=event.session,
        patient=event.patient,
        term=event.term,
        grade=event.grade,
        relatedness=event.relatedness,
        action=event.action,
        serious=bool(event.serious),
        onset_at=event.onset_at,
        by=UUID(event.entered_by),
    )
    return _event(session_logging.ADVERSE_EVENT_RECORDED, event, data)


def adverse_event_resolved(event: AdverseEvent) -> NewEvent:
    """It is over."""
    assert event.resolved_at is not None  # noqa: S101 - only one that is over is told
    data = session_logging.AdverseEventResolved(
        adverse_event=event.id, session=event.session, patient=event.patient, resolved_at=event.resolved_at
    )
    return _event(session_logging.ADVERSE_EVENT_RESOLVED, event, data)


def consent_withdrawn(session: Session, by: UUID, at: dt.datetime) -> NewEvent:
    """The patient has withdrawn consent at the chair; consultation, which owns it, writes it down."""
    data = session_logging.ConsentWithdrawn(
        session=session.id, case=session.case, patient=session.patient, by=by, withdrawn_at=at
    )
    return _event(session_logging.CONSENT_WITHDRAWN, session, data)


def session_discharged(session: Session, by: UUID, at: dt.datetime, contact_due_at: dt.datetime) -> NewEvent:
    """The patient may go; the contact after it is asked for by this."""
    data = session_logging.SessionDischarged(
        session=session.id, patient=session.patient, by=by, discharged_at=at, contact_due_at=contact_due_at
    )
    return _event(session_logging.SESSION_DISCHARGED, session, data)


def session_closed(
    session: Session,
    given: str | None = None,
    peak_sbp: int | None = None,
    record_due_on: dt.date | None = None,
    by: UUID | None = None,
) -> NewEvent:
    """Nothing more happens in it."""
    assert session.ending is not None  # noqa: S101 - only a closed one is told
    assert session.closed_at is not None  # noqa: S101 - likewise
    data = session_logging.SessionClosed(
        session=session.id,
        patient=session.patient,
        plan=session.plan,
        ordinal=session.ordinal,
        ending=session.ending,
        started_at=session.started_at,
        ended_at=session.ended_at,
        given=measure(given) if given else None,
        peak_sbp=peak_sbp,
        record_due_on=record_due_on,
        closed_at=session.closed_at,
        by=by,
    )
    return _event(session_logging.SESSION_CLOSED, session, data)


def cadss6_scored(session: Session, identifier: UUID, total: int, by: UUID, at: dt.datetime) -> NewEvent:
    """Dissociation was rated."""
    data = shared.InstrumentScored(
        assessment=identifier,
        patient=session.patient,
        case=session.case,
        session=session.id,
        instrument="CADSS-6",
        total=total,
        complete=True,
        by=by,
        answered_at=at,
    )
    return _event(session_logging.INSTRUMENT_SCORED, session, data)


def record_asked(task: UUID, session: Session, due_at: dt.datetime) -> NewEvent:
    """The record of a session has to be signed."""
    data = shared.TaskOpened(
        task=task, patient=session.patient, session=session.id, kind="monitoring-record", role="prescriber", due_at=due_at
    )
    return OWNER.event(session_logging.TASK_OPENED, session.patient, data)


def record_signed(task: UUID, session: Session, by: UUID, at: dt.datetime) -> NewEvent:
    """It was signed."""
    data = shared.TaskClosed(task=task, patient=session.patient, outcome="done", by=by, closed_at=at)
    return OWNER.event(session_logging.TASK_CLOSED, session.patient, data)


def review_opened(review: Review, due_at: dt.datetime) -> NewEvent:
    """A prescriber has to say how to go on."""
    data = shared.TaskOpened(
        task=review.id,
        patient=review.patient,
        session=review.session,
        kind="review-before-next-session",
        role="prescriber",
        due_at=due_at,
    )
    return OWNER.event(session_logging.TASK_OPENED, review.patient, data)


def review_closed(review: Review) -> NewEvent:
    """It was said."""
    assert review.decided_at is not None  # noqa: S101 - only a decided one is told
    assert review.decided_by is not None  # noqa: S101 - likewise
    data = shared.TaskClosed(
        task=review.id, patient=review.patient, outcome="done", by=UUID(review.decided_by), closed_at=review.decided_at
    )
    return OWNER.event(session_logging.TASK_CLOSED, review.patient, data)
