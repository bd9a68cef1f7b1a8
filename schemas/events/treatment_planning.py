"""What ``treatment_planning`` tells of a plan; its source is ``/treatment_planning/plans/<id>``."""

from decimal import Decimal
from typing import Annotated

from pydantic import AwareDatetime, Field

from schemas.envelope import EventData
from schemas.events.shared import AT, CASE, PATIENT, SINCE, STAFF, THING
from schemas.fields import Code, Measure, OpaqueId, PatientId, Revision, Sha256, ZonedInstant
from schemas.registry import event_type

__all__ = [
    "EVENTS",
    "PLAN_HELD",
    "PLAN_PROPOSED",
    "PLAN_RELEASED",
    "PLAN_SIGNED",
    "PLAN_STOPPED",
    "PlanHeld",
    "PlanProposed",
    "PlanReleased",
    "PlanSigned",
    "PlanStopped",
    "PlannedSession",
]


class PlanProposed(EventData):
    """The therapy's rules propose a plan; nothing follows from it until a prescriber signs.

    Attributes:
        plan: id of the plan.
        version: of the draft.
        case: for which.
        patient: whose.
        therapy: under which programme.
        revision: the thresholds it was proposed under.
    """

    plan: OpaqueId
    version: Annotated[int, Field(ge=1)]
    case: OpaqueId
    patient: PatientId
    therapy: Code
    revision: Revision


class PlannedSession(EventData):
    """One treatment session that the plan wants.

    Attributes:
        session: id of the session, given by the plan and kept by later versions of it.
        ordinal: its place in the series of the case, from 1.
        starts: when it begins.
        phase: ``induction`` or ``maintenance``.
    """

    session: OpaqueId
    ordinal: Annotated[int, Field(ge=1, le=1000)]
    starts: ZonedInstant
    phase: Code


class PlanSigned(EventData):
    """A prescriber has signed a version of the plan: the first, or one that amends it. It replaces the versions before it for
    every session that has not begun.

    Attributes:
        plan: id of the plan.
        version: which was signed; 1 is the first.
        case: for which.
        patient: whose.
        therapy: under which programme.
        dose: per weight, as ordered: 0.5 mg/kg.
        basis: weight that the dose is per: ``actual``, ``ideal`` or ``adjusted``.
        cap: most that may be given in a session; absent if only the hard limit holds.
        duration: of one infusion.
        sessions: every session of the plan that is still to be held, in order.
        reason: why it was amended; absent for version 1.
        by: the prescriber.
        signed_at: when.
        signed_hash: SHA-256 of the exact version that was shown.
        revision: the thresholds it was made under.
    """

    plan: OpaqueId
    version: Annotated[int, Field(ge=1)]
    case: OpaqueId
    patient: PatientId
    therapy: Code
    dose: Measure
    basis: Code
    cap: Measure | None = None
    duration: Measure
    sessions: list[PlannedSession]
    reason: Code | None = None
    by: OpaqueId
    signed_at: AwareDatetime
    signed_hash: Sha256
    revision: Revision


class PlanHeld(EventData):
    """Nothing is given under the plan until it is released.

    Attributes:
        plan: id of the plan.
        version: that is held.
        patient: whose.
        reason: why.
    """

    plan: OpaqueId
    version: Annotated[int, Field(ge=1)]
    patient: PatientId
    reason: Code


class PlanReleased(EventData):
    """The plan is no longer held.

    Attributes:
        plan: id of the plan.
        version: that holds again.
        patient: whose.
        by: the prescriber who released it.
    """

    plan: OpaqueId
    version: Annotated[int, Field(ge=1)]
    patient: PatientId
    by: OpaqueId


class PlanStopped(EventData):
    """The plan has ended; every session that has not begun is off.

    Attributes:
        plan: id of the plan.
        version: the last.
        patient: whose.
        reason: why.
    """

    plan: OpaqueId
    version: Annotated[int, Field(ge=1)]
    patient: PatientId
    reason: Code


_REVISION = "ketamine/2026-11-23/0123456789abcdef"

PLAN_PROPOSED = event_type(
    "treatment_planning",
    "plan-proposed",
    PlanProposed,
    since=SINCE,
    sample=PlanProposed(plan=THING, version=1, case=CASE, patient=PATIENT, therapy="ketamine", revision=_REVISION),
)
PLAN_SIGNED = event_type(
    "treatment_planning",
    "plan-signed",
    PlanSigned,
    since=SINCE,
    sample=PlanSigned(
        plan=THING,
        version=2,
        case=CASE,
        patient=PATIENT,
        therapy="ketamine",
        dose=Measure(value=Decimal("0.5"), unit="mg/kg"),
        basis="actual",
        cap=Measure(value=Decimal("80"), unit="mg"),
        duration=Measure(value=Decimal("50"), unit="min"),
        sessions=[
            PlannedSession(session=THING, ordinal=2, starts=ZonedInstant(at=AT, zone="America/New_York"), phase="induction")
        ],
        reason="pressure-rise",
        by=STAFF,
        signed_at=AT,
        signed_hash="0" * 64,
        revision=_REVISION,
    ),
)
PLAN_HELD = event_type(
    "treatment_planning",
    "plan-held",
    PlanHeld,
    since=SINCE,
    urgent=True,
    sample=PlanHeld(plan=THING, version=1, patient=PATIENT, reason="consent-withdrawn"),
)
PLAN_RELEASED = event_type(
    "treatment_planning",
    "plan-released",
    PlanReleased,
    since=SINCE,
    sample=PlanReleased(plan=THING, version=1, patient=PATIENT, by=STAFF),
)
PLAN_STOPPED = event_type(
    "treatment_planning",
    "plan-stopped",
    PlanStopped,
    since=SINCE,
    urgent=True,
    sample=PlanStopped(plan=THING, version=1, patient=PATIENT, reason="series-complete"),
)
EVENTS = (PLAN_PROPOSED, PLAN_SIGNED, PLAN_HELD, PLAN_RELEASED, PLAN_STOPPED)
