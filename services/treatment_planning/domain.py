"""What a plan is, and what may be done with it. Pure."""

import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any
from uuid import UUID

from pydantic import BaseModel

__all__ = [
    "Act",
    "Approval",
    "Plan",
    "PlanContent",
    "PlannedSession",
    "Status",
    "Terms",
    "held",
    "numbered",
    "plan_case",
    "released",
    "stopped",
    "to_be_held",
    "unknown_sessions",
]


class Status(StrEnum):
    """Where a plan stands: a draft schedules nothing, nor does one that is held or stopped."""

    DRAFT = "draft"
    ACTIVE = "active"
    HELD = "held"
    STOPPED = "stopped"


class Act(StrEnum):
    """What is done with a plan beside signing it."""

    HELD = "held"
    RELEASED = "released"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Approval:
    """What consultation says of a case: the newest decision, until when it may be used, and the consent that holds."""

    case: UUID
    patient: UUID
    therapy: str
    decision: UUID | None
    kind: str | None
    proposed: str | None
    conditions: tuple[str, ...]
    valid_until: dt.date | None
    examined_at: dt.datetime | None
    consent: str | None

    @property
    def approved(self) -> bool:
        """Whether the newest decision is an approval; its date is for the rules."""
        return self.kind == "approved"


class PlannedSession(BaseModel):
    """One session that is wanted; its id stays with it whenever it is moved."""

    session: UUID
    ordinal: int
    starts: dt.datetime
    zone: str
    phase: str


class Terms(BaseModel):
    """What a prescriber decides: dose per weight (``0.5 mg/kg``), whose weight, duration, most in a session, and when.

    ``duration_override`` and ``step_reason`` are the reasons that the therapy's limits ask for; ``reason`` is the code of an
    amendment.
    """

    dose: str
    basis: str
    duration: str
    cap: str | None = None
    duration_override: str = ""
    step_reason: str = ""
    reason: str | None = None
    sessions: list[PlannedSession]


class PlanContent(BaseModel):
    """Exactly what is shown to the signer, and hashed.

    Attributes:
        number: of the version that this would be.
        decision: the approval that it rests on, with its conditions and last day.
        monitoring: how often what is measured, as the therapy's signed figures say.
        outcome: what the rules say of it: ``PROPOSED``, or ``REVIEW`` with what is ``missing``.
    """

    plan: UUID
    number: int
    case: UUID
    patient: UUID
    therapy: str
    decision: UUID | None
    conditions: list[str]
    valid_until: dt.date | None
    terms: Terms
    monitoring: dict[str, str]
    outcome: str
    missing: list[str]
    revision: str
    approver: str


@dataclass(frozen=True, slots=True)
class Plan:
    """A treatment plan of a case.

    Attributes:
        number: newest version that was signed; 0 while none is.
        signed: terms of that version.
        draft: terms that would be the next version; None when nothing is being changed.
        reason: code of why it is held or stopped.
    """

    id: UUID
    case: UUID
    patient: UUID
    therapy: str
    status: Status
    number: int = 0
    signed: Terms | None = None
    draft: Terms | None = None
    reason: str | None = None
    version: int = 0


def plan_case(approval: Approval | None, terms: Terms | None, plan: Plan | None, at: dt.datetime, zone: str) -> dict[str, Any]:
    """The question to the therapy's rules about a plan, as a document; without ``terms`` it asks for the usual ones."""
    found: dict[str, Any] = {
        "at": {"at": at.isoformat(), "zone": zone},
        "eligibility": approval.proposed if approval else None,
        "eligibility_signed": approval.approved if approval else None,
        "eligibility_valid_until": approval.valid_until.isoformat() if approval and approval.valid_until else None,
        "in_person_evaluation": approval.examined_at.isoformat() if approval and approval.examined_at else None,
        "consent_current": approval is not None and approval.consent is not None,
    }
    if terms is not None:
        found["plan"] = {
            "dose": terms.dose,
            "basis": terms.basis,
            "duration": terms.duration,
            "cap": terms.cap,
            "duration_override": terms.duration_override,
            "step_reason": terms.step_reason,
            "previous_dose": plan.signed.dose if plan and plan.signed else None,
        }
    return found


def to_be_held(sessions: Sequence[PlannedSession], begun: Collection[UUID]) -> list[PlannedSession]:
    """Those that the plan may still change."""
    return [one for one in sessions if one.session not in begun]


def unknown_sessions(
    wanted: Sequence[PlannedSession], plan: Plan, given: Collection[UUID], begun: Collection[UUID]
) -> list[int]:
    """Places of wanted sessions whose id is not one that this plan gave, or is used twice, or has begun."""
    known = {one.session for terms in (plan.signed, plan.draft) if terms for one in terms.sessions} - set(begun)
    seen: set[UUID] = set()
    wrong = []
    for place, one in enumerate(wanted):
        if one.session in seen or (one.session in given and one.session not in known):
            wrong.append(place)
        seen.add(one.session)
    return wrong


def numbered(sessions: Sequence[PlannedSession], begun: int) -> list[PlannedSession]:
    """Sessions in time order, counted on behind those that have begun."""
    ordered = sorted(sessions, key=lambda one: one.starts)
    return [one.model_copy(update={"ordinal": begun + place}) for place, one in enumerate(ordered, 1)]


def held(plan: Plan, reason: str) -> Plan | str:
    """The plan, held; or why it cannot be."""
    if plan.status is not Status.ACTIVE:
        return "not-active"
    return replace(plan, status=Status.HELD, reason=reason)


def released(plan: Plan, approval: Approval | None, today: dt.date) -> Plan | str:
    """The plan, active again; or why it cannot be: an approval and a consent have to hold."""
    if plan.status is not Status.HELD:
        return "not-held"
    if approval is None or not approval.approved or approval.valid_until is None or approval.valid_until < today:
        return "not-approved"
    if approval.consent is None:
        return "no-consent"
    return replace(plan, status=Status.ACTIVE, reason=None)


def stopped(plan: Plan, reason: str) -> Plan | str:
    """The plan, ended for good; or why it cannot be."""
    if plan.status is Status.STOPPED:
        return "stopped"
    return replace(plan, status=Status.STOPPED, reason=reason, draft=None)
