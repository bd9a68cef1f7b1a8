"""Use cases of treatment planning: the therapy's rules propose, a prescriber edits within their limits and signs."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import uuid_utils.compat

from schemas.values import zone_of
from services.directory import store as directory
from services.directory.domain import lacks_to_prescribe
from services.runtime.database import Reader
from services.runtime.edge.principal import Principal
from services.runtime.edge.signature import SignatureBody, content_hash, sign
from services.runtime.messaging.changes import Changes, Context, NewEvent, Rejected
from services.therapies import evidence
from services.therapies.cases import read_case
from services.therapies.evidence import Evaluation, Outcome, Thresholds
from services.therapies.protocol import Part, Therapy
from services.therapies.registry import THERAPIES
from services.therapies.rulebook import Rulebook
from services.treatment_planning import events, store
from services.treatment_planning.domain import (
    Act,
    Approval,
    Plan,
    PlanContent,
    PlannedSession,
    Status,
    Terms,
    held,
    numbered,
    plan_case,
    released,
    stopped,
    to_be_held,
    unknown_sessions,
)

__all__ = ["SYSTEM", "Draft", "Plans", "Series", "Wanted", "hold", "stop"]

SYSTEM = "treatment_planning"
"""Who has acted, where an event of another service is the cause."""


@dataclass(frozen=True, slots=True)
class Series:
    """When sessions are wanted: from which local date, at which wall-clock time, on which ISO weekdays, how many."""

    first: dt.date
    time: dt.time
    weekdays: tuple[int, ...]
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """A session as somebody edits it; ``session`` is None for a new one."""

    session: UUID | None
    starts: dt.datetime
    phase: str


@dataclass(frozen=True, slots=True)
class Draft:
    """What would be signed, and its hash."""

    content: PlanContent
    shown: str


@dataclass(frozen=True, slots=True)
class _Rules:
    """What a therapy says of plans, under one revision, in the clinic's zone."""

    therapy: Therapy
    thresholds: Thresholds
    zone: str


@dataclass(frozen=True, slots=True)
class Plans:
    """The use cases, under the signed rules."""

    rulebook: Rulebook

    async def propose(
        self, case_id: UUID, wanted: Series, read: Reader, context: Context
    ) -> tuple[Changes, Plan] | Rejected | evidence.Rejected:
        """The rules propose dose, duration and dates for an approved case; nothing follows from it until it is signed."""
        approval = await store.approval(read, case_id)
        if approval is None:
            return Rejected("not-found", status=404)
        if not approval.approved:
            return Rejected("not-approved", final=False)
        if case_id in await store.open_plans_of_cases(read, [case_id]):
            return Rejected("plan-exists")
        rules = await self._rules(approval.therapy, read, context)
        if isinstance(rules, Rejected):
            return rules
        begun = await store.begun(read, approval.patient)
        dates = _ask(rules.therapy.schedule, _schedule_case(wanted, begun.starts, rules, context), rules)
        usual = _ask(rules.therapy.plan, plan_case(approval, None, None, context.now, rules.zone), rules)
        for asked in (dates, usual):
            if isinstance(asked, evidence.Rejected):
                return asked
        terms = _proposed(dates, usual, len(begun.sessions))
        plan = Plan(uuid_utils.compat.uuid7(), case_id, approval.patient, approval.therapy, Status.DRAFT, draft=terms)
        row = store.plan_row(plan)
        told = events.plan_proposed(plan, rules.thresholds.revision)
        return Changes(rows=[row], events=[told], patient=str(plan.patient)), replace(plan, version=row.version)

    async def edit(
        self, plan_id: UUID, terms: Terms, wanted: Sequence[Wanted], read: Reader, context: Context
    ) -> tuple[Changes, Plan] | Rejected | evidence.Rejected:
        """The prescriber changes what would be signed next; the first change after a signature begins a new version."""
        plan = await store.plan(read, plan_id)
        if plan is None:
            return Rejected("not-found", status=404)
        if plan.status is Status.STOPPED:
            return Rejected("plan-stopped")
        rules = await self._rules(plan.therapy, read, context)
        if isinstance(rules, Rejected):
            return rules
        begun = await store.begun(read, plan.patient)
        given = {one.session for one in wanted if one.session is not None}
        sessions = [
            PlannedSession(
                session=one.session or uuid_utils.compat.uuid7(),
                ordinal=0,
                starts=one.starts,
                zone=rules.zone,
                phase=one.phase,
            )
            for one in wanted
        ]
        if wrong := unknown_sessions(sessions, plan, given, begun.sessions):
            problems = [evidence.Problem("unknown", f"sessions[{place}].session", "is not to be changed") for place in wrong]
            return evidence.Rejected(tuple(problems))
        terms = terms.model_copy(update={"sessions": numbered(sessions, len(begun.sessions))})
        approval = await store.approval(read, plan.case)
        if refused := _refused(approval, terms, plan, begun.starts, rules, context):
            return refused
        edited = replace(plan, draft=terms)
        row = store.plan_row(edited)
        told = [] if plan.draft else [events.plan_proposed(edited, rules.thresholds.revision)]
        return Changes(rows=[row], events=told, patient=str(plan.patient)), replace(edited, version=row.version)

    async def draft(self, plan_id: UUID, read: Reader, context: Context) -> Draft | Rejected | evidence.Rejected:
        """What would be signed now."""
        plan = await store.plan(read, plan_id)
        if plan is None:
            return Rejected("not-found", status=404)
        content = await self._content(plan, read, context)
        return content if isinstance(content, Rejected | evidence.Rejected) else Draft(content, content_hash(content))

    async def sign(
        self, plan_id: UUID, given: SignatureBody, who: Principal, read: Reader, context: Context
    ) -> tuple[Changes, Plan] | Rejected | evidence.Rejected:
        """A prescriber signs what was shown: a version that replaces the ones before it for every session not begun."""
        plan = await store.plan(read, plan_id)
        if plan is None:
            return Rejected("not-found", status=404)
        if plan.status is Status.STOPPED:
            return Rejected("plan-stopped")
        patient = await directory.patient(read, plan.patient)
        signer = await directory.staff(read, UUID(who.person))
        if patient is None or lacks_to_prescribe(signer, patient.region, context.now):
            return Rejected("not-qualified", final=False)
        if not patient.active:
            return Rejected("patient-not-active")
        if given.licence != patient.region:
            return Rejected("wrong-licence", final=False)
        content = await self._content(plan, read, context)
        if isinstance(content, Rejected | evidence.Rejected):
            return content
        if content.outcome != Outcome.PROPOSED:
            problems = [evidence.Problem("missing", name, "is needed before a plan is signed") for name in content.missing]
            return evidence.Rejected(tuple(problems))
        if plan.signed is not None and content.terms.reason is None:
            return Rejected("reason-required", final=False)
        signed = sign(given, who, content, subject=f"plans/{plan_id}", version=content.number, context=context)
        if isinstance(signed, Rejected):
            return signed
        status = Status.ACTIVE if plan.status is Status.DRAFT else plan.status
        made = replace(plan, status=status, number=content.number, signed=content.terms, draft=None)
        row = store.plan_row(made)
        kept = store.version_row(
            plan=plan.id,
            number=content.number,
            content=content.model_dump(mode="json"),
            signature=signed.id,
            signed_by=who.person,
            signed_at=signed.at,
        )
        told = events.plan_signed(content, UUID(who.person), signed.at, signed.hash)
        changes = Changes(rows=[row, signed.row, kept], events=[told], patient=str(plan.patient))
        return changes, replace(made, version=row.version)

    async def hold(
        self, plan_id: UUID, reason: str, by: str, read: Reader, context: Context
    ) -> tuple[Changes, Plan] | Rejected:
        """Anybody who treats the patient may hold a plan: nothing is given under it until a prescriber releases it."""
        plan = await store.plan(read, plan_id)
        if plan is None:
            return Rejected("not-found", status=404)
        return hold(plan, reason, by, context)

    async def release(self, plan_id: UUID, who: Principal, read: Reader, context: Context) -> tuple[Changes, Plan] | Rejected:
        """A prescriber lets a held plan go on."""
        plan = await store.plan(read, plan_id)
        if plan is None:
            return Rejected("not-found", status=404)
        patient = await directory.patient(read, plan.patient)
        signer = await directory.staff(read, UUID(who.person))
        if patient is None or lacks_to_prescribe(signer, patient.region, context.now):
            return Rejected("not-qualified", final=False)
        if not patient.active:
            return Rejected("patient-not-active")
        hours = await directory.opening_hours(read)
        if hours is None:
            return Rejected("calendar-unknown", final=False)
        today = context.now.astimezone(zone_of(hours.zone)).date()
        wanted = released(plan, await store.approval(read, plan.case), today)
        if isinstance(wanted, str):
            return Rejected(wanted, final=False)
        return _acted(
            Act.RELEASED, plan.reason or "", wanted, [events.plan_released(wanted, UUID(who.person))], who.person, context
        )

    async def stop(
        self, plan_id: UUID, reason: str, by: str, read: Reader, context: Context
    ) -> tuple[Changes, Plan] | Rejected:
        """A prescriber ends a plan; every session that has not begun is off."""
        plan = await store.plan(read, plan_id)
        if plan is None:
            return Rejected("not-found", status=404)
        return stop(plan, reason, by, context)

    async def _content(self, plan: Plan, read: Reader, context: Context) -> PlanContent | Rejected | evidence.Rejected:
        if plan.draft is None:
            return Rejected("nothing-drafted", final=False)
        rules = await self._rules(plan.therapy, read, context)
        if isinstance(rules, Rejected):
            return rules
        begun = await store.begun(read, plan.patient)
        # What has begun since it was drafted is no longer the plan's to change.
        left = numbered(to_be_held(plan.draft.sessions, begun.sessions), len(begun.sessions))
        terms = plan.draft.model_copy(update={"sessions": left})
        approval = await store.approval(read, plan.case)
        if refused := _refused(approval, terms, plan, begun.starts, rules, context):
            return refused
        found = _ask(rules.therapy.plan, plan_case(approval, terms, plan, context.now, rules.zone), rules)
        assert isinstance(found, Evaluation)  # noqa: S101 - refused ones went back above
        return PlanContent(
            plan=plan.id,
            number=plan.number + 1,
            case=plan.case,
            patient=plan.patient,
            therapy=plan.therapy,
            decision=approval.decision if approval else None,
            conditions=list(approval.conditions) if approval else [],
            valid_until=approval.valid_until if approval else None,
            terms=terms,
            monitoring={name: str(limit.quantity) for name, limit in rules.thresholds.under("cadence").items()},
            outcome=found.outcome.value,
            missing=list(found.lacks()),
            revision=found.revision,
            approver=rules.thresholds.approver,
        )

    async def _rules(self, name: str, read: Reader, context: Context) -> _Rules | Rejected:
        hours = await directory.opening_hours(read)
        if hours is None:
            return Rejected("calendar-unknown", final=False)
        therapy = THERAPIES[name]
        if therapy.plan is None or therapy.series is None:
            return Rejected("not-planned-here")
        return _Rules(therapy, self.rulebook.on(name, context.now.astimezone(zone_of(hours.zone)).date()), hours.zone)


def hold(plan: Plan, reason: str, by: str, context: Context) -> tuple[Changes, Plan] | Rejected:
    """Hold a plan; by a person, or by an event that took away what it rests on."""
    wanted = held(plan, reason)
    if isinstance(wanted, str):
        return Rejected(wanted, final=False)
    return _acted(Act.HELD, reason, wanted, [events.plan_held(wanted, reason)], by, context)


def stop(plan: Plan, reason: str, by: str, context: Context) -> tuple[Changes, Plan] | Rejected:
    """End a plan; of one that was never signed nobody else has heard."""
    wanted = stopped(plan, reason)
    if isinstance(wanted, str):
        return Rejected("plan-stopped")
    told = [events.plan_stopped(wanted, reason)] if plan.number else []
    return _acted(Act.STOPPED, reason, wanted, told, by, context)


def _acted(act: Act, reason: str, wanted: Plan, told: Sequence[NewEvent], by: str, context: Context) -> tuple[Changes, Plan]:
    row = store.plan_row(wanted)
    said = store.act_row(uuid_utils.compat.uuid7(), wanted.id, act, reason, by, context.now)
    changes = Changes(rows=[row, said], events=told, patient=str(wanted.patient))
    return changes, replace(wanted, version=row.version)


def _refused(
    approval: Approval | None,
    terms: Terms,
    plan: Plan,
    starts: Sequence[dt.datetime],
    rules: _Rules,
    context: Context,
) -> evidence.Rejected | None:
    """Every limit that terms break: those of the dose, and those of the series."""
    document: Mapping[str, Any] = plan_case(approval, terms, plan, context.now, rules.zone)
    about_dose = _ask(rules.therapy.plan, document, rules)
    series = {
        "at": {"at": context.now.isoformat(), "zone": rules.zone},
        "starts": [{"at": one.starts.isoformat(), "zone": one.zone} for one in terms.sessions],
        "earlier": [{"at": start.isoformat(), "zone": rules.zone} for start in starts],
    }
    about_dates = _ask(rules.therapy.series, series, rules)
    problems = [
        replace(one, field=one.field.removeprefix("plan.").replace("starts", "sessions"))
        for found in (about_dose, about_dates)
        if isinstance(found, evidence.Rejected)
        for one in found.problems
    ]
    return evidence.Rejected(tuple(problems)) if problems else None


def _proposed(dates: Any, usual: Any, begun: int) -> Terms:
    """Terms out of what the rules propose: starts, and a dose plan."""
    sessions = [
        PlannedSession(session=uuid_utils.compat.uuid7(), ordinal=0, starts=start.at, zone=start.zone, phase="induction")
        for start in dates.result
    ]
    dose = usual.result
    return Terms(dose=str(dose.dose), basis=dose.basis.value, duration=str(dose.duration), sessions=numbered(sessions, begun))


def _schedule_case(wanted: Series, starts: Sequence[dt.datetime], rules: _Rules, context: Context) -> dict[str, Any]:
    return {
        "at": {"at": context.now.isoformat(), "zone": rules.zone},
        "first": wanted.first.isoformat(),
        "time": wanted.time.isoformat(),
        "weekdays": list(wanted.weekdays),
        "count": wanted.count,
        "earlier": [{"at": start.isoformat(), "zone": rules.zone} for start in starts],
    }


def _ask(part: Part | None, document: Mapping[str, Any], rules: _Rules) -> Evaluation[Any] | evidence.Rejected:
    assert part is not None  # noqa: S101 - `_rules` refuses a therapy without these parts
    case = read_case(part.case, document)
    return case if isinstance(case, evidence.Rejected) else part.evaluate(case, rules.thresholds)
