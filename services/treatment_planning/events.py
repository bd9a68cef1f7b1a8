"""What treatment planning says in public: the only place that decides what leaves. Reasons in words stay."""

from datetime import datetime
from uuid import UUID

from schemas.envelope import EventData
from schemas.events import treatment_planning
from schemas.fields import Measure, ZonedInstant
from schemas.registry import EventType
from schemas.values import Quantity
from services.runtime.messaging.changes import NewEvent
from services.treatment_planning.domain import Plan, PlanContent

__all__ = ["plan_held", "plan_proposed", "plan_released", "plan_signed", "plan_stopped"]


def _event(kind: EventType, plan: UUID, patient: UUID, data: EventData) -> NewEvent:
    return NewEvent(f"/treatment_planning/plans/{plan}", kind.name, str(patient), data)


def plan_proposed(plan: Plan, revision: str) -> NewEvent:
    """A draft exists; nothing follows from it."""
    data = treatment_planning.PlanProposed(
        plan=plan.id,
        version=plan.number + 1,
        case=plan.case,
        patient=plan.patient,
        therapy=plan.therapy,
        revision=revision,
    )
    return _event(treatment_planning.PLAN_PROPOSED, plan.id, plan.patient, data)


def plan_signed(content: PlanContent, by: UUID, at: datetime, signed_hash: str) -> NewEvent:
    """A version holds from now on for every session that has not begun."""
    terms = content.terms
    sessions = [
        treatment_planning.PlannedSession(
            session=one.session,
            ordinal=one.ordinal,
            starts=ZonedInstant(at=one.starts, zone=one.zone),
            phase=one.phase,
        )
        for one in terms.sessions
    ]
    data = treatment_planning.PlanSigned(
        plan=content.plan,
        version=content.number,
        case=content.case,
        patient=content.patient,
        therapy=content.therapy,
        dose=_measure(terms.dose),
        basis=terms.basis,
        cap=_measure(terms.cap) if terms.cap else None,
        duration=_measure(terms.duration),
        sessions=sessions,
        reason=terms.reason,
        by=by,
        signed_at=at,
        signed_hash=signed_hash,
        revision=content.revision,
    )
    return _event(treatment_planning.PLAN_SIGNED, content.plan, content.patient, data)


def plan_held(plan: Plan, reason: str) -> NewEvent:
    """Nothing is given under it until it is released."""
    data = treatment_planning.PlanHeld(plan=plan.id, version=plan.number, patient=plan.patient, reason=reason)
    return _event(treatment_planning.PLAN_HELD, plan.id, plan.patient, data)


def plan_released(plan: Plan, by: UUID) -> NewEvent:
    """It holds again."""
    data = treatment_planning.PlanReleased(plan=plan.id, version=plan.number, patient=plan.patient, by=by)
    return _event(treatment_planning.PLAN_RELEASED, plan.id, plan.patient, data)


def plan_stopped(plan: Plan, reason: str) -> NewEvent:
    """It has ended."""
    data = treatment_planning.PlanStopped(plan=plan.id, version=plan.number, patient=plan.patient, reason=reason)
    return _event(treatment_planning.PLAN_STOPPED, plan.id, plan.patient, data)


def _measure(text: str) -> Measure:
    quantity = Quantity.parse(text)
    return Measure(value=quantity.value, unit=quantity.unit)
