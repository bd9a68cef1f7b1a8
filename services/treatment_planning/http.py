"""Routes of treatment planning: propose, edit, show what would be signed, sign; hold, release, stop."""

import datetime as dt
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field

from services.directory import policy
from services.runtime.database import Reader
from services.runtime.edge import problems
from services.runtime.edge.fields import Code, Date, Id, Instant, Note, Quantity, Request, Response
from services.runtime.edge.policy import Bearer
from services.runtime.edge.principal import Role
from services.runtime.edge.problems import FieldProblem, ProblemType
from services.runtime.edge.route import KEY_REQUIRED, Asked, Example, Find, Found, NaturalKey, Route, reply
from services.runtime.edge.signature import SIGNATURE_PROBLEMS, SignatureBody
from services.runtime.messaging.changes import Changes, Context, Rejected
from services.runtime.messaging.unit_of_work import Decide
from services.therapies import evidence
from services.treatment_planning import store
from services.treatment_planning.commands import Plans, Series, Wanted
from services.treatment_planning.domain import Plan, PlanContent, Terms

__all__ = ["routes"]

_TEAM = frozenset({Role.PRESCRIBER, Role.NURSE, Role.THERAPIST})
_READERS = _TEAM | {Role.PATIENT, Role.FRONT_DESK, Role.AUDITOR}

_of_plan = policy.about("plan", store.patient_of_plan)
_of_case = policy.about("case", store.patient_of_case)

_NOT_APPROVED = ProblemType("not-approved", 409, "No approval of this case holds")
_EXISTS = ProblemType("plan-exists", 409, "This case has a plan that has not been stopped")
_CALENDAR = ProblemType("calendar-unknown", 409, "The clinic has not said in which zone and when it is open")
_NOT_PLANNED = ProblemType("not-planned-here", 409, "This programme has no planned sessions")
_LIMITS = ProblemType("outside-limits", 422, "The therapy's limits do not allow this plan")
_STOPPED = ProblemType("plan-stopped", 409, "This plan has ended")
_NOTHING = ProblemType("nothing-drafted", 409, "Nothing is drafted: edit the plan first")
_QUALIFIED = ProblemType(
    "not-qualified", 403, "A plan needs a prescriber licensed in the patient's state, with DEA registration and ACLS"
)
_LICENCE = ProblemType("wrong-licence", 409, "The signature names a licence of another state than the patient's")
_REASON = ProblemType("reason-required", 422, "An amendment says why")
_PATIENT = ProblemType("patient-not-active", 409, "This patient is not treated here now")
_NOT_ACTIVE = ProblemType("not-active", 409, "Only an active plan can be held")
_NOT_HELD = ProblemType("not-held", 409, "This plan is not held")
_CONSENT = ProblemType("no-consent", 409, "No consent holds")

Text = Annotated[Note, Field(max_length=2000)]
Weekday = Annotated[int, Field(ge=1, le=7)]


class CasePath(Request):
    """Path of a case."""

    case: Id


class PlanPath(Request):
    """Path of a plan."""

    plan: Id


class SeriesBody(Request):
    """From which date of the clinic, at which of its clock times, on which ISO weekdays (Monday is 1)."""

    first: Date
    time: Annotated[str, Field(pattern="^([01][0-9]|2[0-3]):[0-5][0-9]$", examples=["10:30"])]
    weekdays: Annotated[tuple[Weekday, ...], Field(min_length=1, max_length=7, strict=False)]
    count: Annotated[int, Field(ge=1, le=52)] | None = None


class SessionBody(Request):
    """A session that is wanted; one that the plan has already keeps its id."""

    session: Id | None = None
    starts: Instant
    phase: Literal["induction", "maintenance"]


class TermsBody(Request):
    """What would be signed next. ``reason`` is why a signed plan is amended; the limits ask for the other reasons."""

    dose: Quantity
    basis: Literal["actual", "ideal", "adjusted"]
    duration: Quantity
    cap: Quantity | None = None
    duration_override: Text = ""
    step_reason: Text = ""
    reason: Code | None = None
    sessions: Annotated[tuple[SessionBody, ...], Field(min_length=1, max_length=52, strict=False)]


class SignBody(Request):
    """The signature; ``shown`` is the hash that the draft was shown with."""

    signature: SignatureBody


class HoldBody(Request):
    """Why nothing may be given under the plan for now."""

    reason: Literal["adverse-event", "clinical-review", "patient-asked", "supply"]


class StopBody(Request):
    """Why the plan ends."""

    reason: Literal["series-complete", "no-response", "adverse-event", "patient-asked", "clinical-decision"]


class PlanShown(Response):
    """A plan: what holds, and what would be signed next."""

    plan: Id
    case: Id
    patient: Id
    therapy: str
    status: str
    reason: str | None
    number: int
    signed: Terms | None
    draft: Terms | None
    version: int


class PlanList(Response):
    """The plans of a case, newest first."""

    plans: list[PlanShown]


class DraftShown(Response):
    """What would be signed, and its hash."""

    content: PlanContent
    shown: str


class VersionShown(Response):
    """A version that was signed, with exactly what was shown to its signer."""

    number: int
    content: PlanContent
    signature: Id
    signed_by: str
    signed_at: Instant


class ActShown(Response):
    """What was done with a plan beside signing it."""

    act: str
    reason: str
    by: str
    at: Instant


class HistoryShown(Response):
    """Everything that was signed and done, newest first."""

    versions: list[VersionShown]
    acts: list[ActShown]


def routes(plans: Plans) -> tuple[Route, ...]:
    """The routes, under the signed rules."""
    prescriber = Bearer(frozenset({Role.PRESCRIBER}), _of_plan(policy.treats))
    readers = Bearer(_READERS, _of_plan(policy.own_or_care_team))
    terms = {
        "dose": {"value": "0.5", "unit": "mg/kg"},
        "basis": "actual",
        "duration": {"value": "40", "unit": "min"},
        "sessions": [{"starts": "2027-01-25T15:30:00Z", "phase": "induction"}],
    }
    return (
        Route(
            name="propose_plan",
            method="POST",
            path_template="/cases/{case}/plans",
            summary="Have the therapy's rules propose a plan for an approved case",
            policy=Bearer(frozenset({Role.PRESCRIBER, Role.NURSE}), _of_case(policy.treats)),
            audit="plan.propose",
            request=SeriesBody,
            path=CasePath,
            response=PlanShown,
            status=201,
            command=_propose(plans),
            idempotency=KEY_REQUIRED,
            errors=(_NOT_APPROVED, _EXISTS, _CALENDAR, _NOT_PLANNED, _LIMITS),
            location="/plans/{plan}",
            examples=(Example({"first": "2027-01-25", "time": "10:30", "weekdays": [1, 3, 5]}),),
        ),
        Route(
            name="list_plans",
            method="GET",
            path_template="/cases/{case}/plans",
            summary="The plans of a case",
            policy=Bearer(_READERS, _of_case(policy.own_or_care_team)),
            audit="plans.read",
            path=CasePath,
            response=PlanList,
            query=_list,
        ),
        Route(
            name="show_plan",
            method="GET",
            path_template="/plans/{plan}",
            summary="A plan: what holds, and what is drafted",
            policy=readers,
            audit="plan.read",
            path=PlanPath,
            response=PlanShown,
            query=_show,
        ),
        Route(
            name="show_plan_history",
            method="GET",
            path_template="/plans/{plan}/history",
            summary="Every version that was signed, and every hold, release and stop",
            policy=readers,
            audit="plan.history",
            path=PlanPath,
            response=HistoryShown,
            query=_history,
        ),
        Route(
            name="edit_plan",
            method="PUT",
            path_template="/plans/{plan}/draft",
            summary="Change what would be signed next, within the therapy's limits",
            policy=prescriber,
            audit="plan.edit",
            request=TermsBody,
            path=PlanPath,
            response=PlanShown,
            command=_edit(plans),
            edits=_plan_version,
            errors=(_STOPPED, _CALENDAR, _NOT_PLANNED, _LIMITS),
            examples=(Example(terms),),
        ),
        Route(
            name="show_plan_draft",
            method="GET",
            path_template="/plans/{plan}/draft",
            summary="What would be signed, with its hash",
            policy=Bearer(_TEAM, _of_plan(policy.treats)),
            audit="plan.draft",
            path=PlanPath,
            response=DraftShown,
            query=_draft(plans),
            errors=(_NOTHING, _CALENDAR, _NOT_PLANNED, _LIMITS),
        ),
        Route(
            name="sign_plan",
            method="POST",
            path_template="/plans/{plan}/versions",
            summary="Sign what was shown: the first version, or an amendment",
            policy=prescriber,
            audit="plan.sign",
            request=SignBody,
            path=PlanPath,
            response=PlanShown,
            status=201,
            command=_sign(plans),
            idempotency=KEY_REQUIRED,
            errors=(
                _STOPPED,
                _NOTHING,
                _CALENDAR,
                _NOT_PLANNED,
                _LIMITS,
                _QUALIFIED,
                _LICENCE,
                _REASON,
                _PATIENT,
                *SIGNATURE_PROBLEMS,
            ),
            examples=(Example({"signature": {"meaning": "approved", "licence": "US-NY", "shown": "0" * 64}}),),
        ),
        _act_route(
            "hold",
            "Hold a plan: nothing is given under it",
            Bearer(_TEAM, _of_plan(policy.treats)),
            HoldBody,
            lambda asked, read, context: plans.hold(asked.path.plan, asked.body.reason, asked.principal.person, read, context),
            (_NOT_ACTIVE,),
            {"reason": "clinical-review"},
        ),
        _act_route(
            "release",
            "Let a held plan go on",
            prescriber,
            None,
            lambda asked, read, context: plans.release(asked.path.plan, asked.principal, read, context),
            (_NOT_HELD, _NOT_APPROVED, _CONSENT, _QUALIFIED, _PATIENT, _CALENDAR),
            None,
        ),
        _act_route(
            "stop",
            "End a plan for good",
            prescriber,
            StopBody,
            lambda asked, read, context: plans.stop(asked.path.plan, asked.body.reason, asked.principal.person, read, context),
            (_STOPPED,),
            {"reason": "series-complete"},
        ),
    )


_Act = Callable[[Asked[Any, PlanPath], Reader, Context], Awaitable[tuple[Changes, Plan] | Rejected]]


def _act_route(
    name: str,
    summary: str,
    who: Bearer,
    body: type[Request] | None,
    act: _Act,
    errors: tuple[ProblemType, ...],
    example: Mapping[str, Any] | None,
) -> Route:
    def command(asked: Asked[Any, PlanPath]) -> Decide:
        async def decide(read: Reader, context: Context) -> Changes | Rejected:
            return _answered(await act(asked, read, context))

        return decide

    return Route(
        name=f"{name}_plan",
        method="POST",
        path_template=f"/plans/{{plan}}/{name}",
        summary=summary,
        policy=who,
        audit=f"plan.{name}",
        request=body,
        path=PlanPath,
        response=PlanShown,
        command=command,
        idempotency=NaturalKey(of="the state of the plan: a second one finds it done"),
        errors=errors,
        examples=(Example(example),) if example else (),
    )


def _shown(plan: Plan) -> PlanShown:
    return PlanShown(
        plan=plan.id,
        case=plan.case,
        patient=plan.patient,
        therapy=plan.therapy,
        status=plan.status.value,
        reason=plan.reason,
        number=plan.number,
        signed=plan.signed,
        draft=plan.draft,
        version=plan.version,
    )


def _answered(decided: tuple[Changes, Plan] | Rejected | evidence.Rejected, status: int = 200) -> Changes | Rejected:
    if isinstance(decided, Rejected):
        return decided
    if isinstance(decided, evidence.Rejected):
        return _outside(decided)
    changes, plan = decided
    return replace(changes, reply=reply(_shown(plan), status))


def _outside(rejected: evidence.Rejected) -> Rejected:
    errors = [FieldProblem.of_path(one.field, one.code) for one in rejected.problems]
    return Rejected(_LIMITS.code, body=problems.document(_LIMITS, errors=errors), final=False)


async def _plan_version(read: Reader, asked: Asked[Any, PlanPath]) -> int | None:
    plan = await store.plan(read, asked.path.plan)
    return plan.version if plan else None


def _propose(plans: Plans) -> Callable[[Asked[SeriesBody, CasePath]], Decide]:
    def command(asked: Asked[SeriesBody, CasePath]) -> Decide:
        body = asked.body
        wanted = Series(body.first, dt.time.fromisoformat(body.time), tuple(body.weekdays), body.count)

        async def decide(read: Reader, context: Context) -> Changes | Rejected:
            return _answered(await plans.propose(asked.path.case, wanted, read, context), 201)

        return decide

    return command


def _edit(plans: Plans) -> Callable[[Asked[TermsBody, PlanPath]], Decide]:
    def command(asked: Asked[TermsBody, PlanPath]) -> Decide:
        body = asked.body
        terms = Terms(
            dose=str(body.dose),
            basis=body.basis,
            duration=str(body.duration),
            cap=str(body.cap) if body.cap else None,
            duration_override=body.duration_override,
            step_reason=body.step_reason,
            reason=body.reason,
            sessions=[],
        )
        wanted = [Wanted(one.session, one.starts, one.phase) for one in body.sessions]

        async def decide(read: Reader, context: Context) -> Changes | Rejected:
            return _answered(await plans.edit(asked.path.plan, terms, wanted, read, context))

        return decide

    return command


def _sign(plans: Plans) -> Callable[[Asked[SignBody, PlanPath]], Decide]:
    def command(asked: Asked[SignBody, PlanPath]) -> Decide:
        async def decide(read: Reader, context: Context) -> Changes | Rejected:
            signed = await plans.sign(asked.path.plan, asked.body.signature, asked.principal, read, context)
            return _answered(signed, 201)

        return decide

    return command


def _draft(plans: Plans) -> Callable[[Asked[Any, PlanPath]], Find]:
    def query(asked: Asked[Any, PlanPath]) -> Find:
        async def find(read: Reader, context: Context) -> Found | Rejected:
            found = await plans.draft(asked.path.plan, read, context)
            if isinstance(found, Rejected):
                return found
            if isinstance(found, evidence.Rejected):
                return _outside(found)
            return Found(DraftShown(content=found.content, shown=found.shown), patient=str(found.content.patient))

        return find

    return query


def _list(asked: Asked[Any, CasePath]) -> Find:
    async def find(read: Reader, _: Context) -> Found:
        plans = await store.plans_of_case(read, asked.path.case)
        patient = str(plans[0].patient) if plans else ""
        return Found(PlanList(plans=[_shown(one) for one in plans]), [str(one.id) for one in plans], patient=patient)

    return find


def _show(asked: Asked[Any, PlanPath]) -> Find:
    async def find(read: Reader, _: Context) -> Found | Rejected:
        plan = await store.plan(read, asked.path.plan)
        return Found(_shown(plan), patient=str(plan.patient)) if plan else Rejected("not-found", status=404)

    return find


def _history(asked: Asked[Any, PlanPath]) -> Find:
    async def find(read: Reader, _: Context) -> Found | Rejected:
        plan = await store.plan(read, asked.path.plan)
        if plan is None:
            return Rejected("not-found", status=404)
        shown = HistoryShown(
            versions=[
                VersionShown(
                    number=row["number"],
                    content=PlanContent.model_validate(row["content"]),
                    signature=row["signature"],
                    signed_by=row["signed_by"],
                    signed_at=row["signed_at"],
                )
                for row in await store.versions(read, plan.id)
            ],
            acts=[
                ActShown(act=row["act"], reason=row["reason"], by=row["by_person"], at=row["at"])
                for row in await store.acts(read, plan.id)
            ],
        )
        return Found(shown, patient=str(plan.patient))

    return find
