"""What the routes of the room have in common: a session as it is shown, who may do what, how refusals are told."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, Field

from schemas.values import Quantity as Exact
from services.directory import policy
from services.runtime.database import Reader
from services.runtime.edge import problems
from services.runtime.edge.fields import Code, Id, Instant, Note, Quantity, Request, Response, field_error
from services.runtime.edge.policy import Bearer, Relationship
from services.runtime.edge.principal import Role
from services.runtime.edge.problems import FieldProblem, ProblemType
from services.runtime.edge.route import KEY_REQUIRED, Asked, Example, NaturalKey, Route, reply
from services.runtime.messaging.changes import Changes, Context, Rejected, Reply
from services.runtime.messaging.unit_of_work import Decide
from services.session_logging.commands.arrival import ILLEGAL, Gate, shut_by
from services.session_logging.domain.sessions import Session
from services.session_logging.store import sessions as store
from services.therapies import evidence

__all__ = [
    "AFTER_SESSION",
    "DEVICE_BOUND",
    "DRAWN",
    "ILLEGAL",
    "IN_ERROR",
    "LATER",
    "LOCKED",
    "MORE_THAN_BAG",
    "NURSES",
    "ON_SITE",
    "ORDER",
    "OUTSIDE",
    "PRESCRIBERS",
    "PUMP_UNREAD",
    "SELF_WITNESSED",
    "SHUT",
    "TEAM",
    "Rate",
    "Reason",
    "SessionPath",
    "SessionShown",
    "Strength",
    "Text",
    "Volume",
    "Weight",
    "act_route",
    "answered",
    "exact",
    "in_unit",
    "of",
    "person",
    "refused",
    "shown",
    "shut",
    "some",
]

TEAM = frozenset({Role.PRESCRIBER, Role.NURSE, Role.THERAPIST})
NURSES = frozenset({Role.PRESCRIBER, Role.NURSE})
PRESCRIBERS = frozenset({Role.PRESCRIBER})

AFTER_SESSION = ProblemType("after-session", 422, "The session was over then: write an addendum")
DEVICE_BOUND = ProblemType("device-bound", 409, "This monitor is bound to another session that is not over")
IN_ERROR = ProblemType("entered-in-error", 409, "This entry counts no longer already")
DRAWN = ProblemType("drug-drawn", 409, "The drug was drawn already")
LATER = (
    ProblemType("in-the-future", 422, "This has not happened yet"),
    ProblemType("before-check-in", 422, "The patient was not here then"),
)
LOCKED = ProblemType("record-locked", 409, "The record is signed: only addenda are written")
MORE_THAN_BAG = ProblemType("more-than-the-bag", 422, "The pump cannot have delivered more than the bag holds")
ON_SITE = ProblemType("not-on-site", 403, "Only the qualified prescriber who was named as on site today")
ORDER = ProblemType("out-of-order", 422, "The session did not stand where it stands then")
OUTSIDE = ProblemType("not-possible", 422, "This cannot be, or the therapy's limits do not allow it")
PUMP_UNREAD = ProblemType("pump-not-read", 409, "What the pump has delivered was not recorded")
SELF_WITNESSED = ProblemType("self-witnessed", 403, "Who witnesses has neither drawn, given nor wasted the drug")
SHUT = ProblemType("gate-shut", 409, "The gate is not open: every rule and missing fact is named")

Text = Annotated[Note, Field(max_length=2000)]
Reason = Annotated[Text, Field(min_length=3)]


def of(record: str) -> Relationship:
    """The check of a record of a session: on the patient's care team, or on duty."""
    return policy.about(record, partial(_patient_of, record))(policy.treats_or_on_duty)


async def _patient_of(record: str, read: Reader, identifier: UUID) -> UUID | None:
    return await store.patient_of(read, record, identifier)


class SessionPath(Request):
    """Path of a session."""

    session: Id


class SessionShown(Response):
    """A session, as it stands."""

    session: Id
    plan: Id
    plan_number: int
    case: Id
    patient: Id
    therapy: str
    ordinal: int
    phase: str
    starts_at: Instant
    zone: str
    state: str
    nurse: Id | None
    device: Code | None
    dose: dict[str, Any] | None
    rate: str | None
    checked_in_at: Instant | None
    started_at: Instant | None
    paused_at: Instant | None
    ended_at: Instant | None
    pump_volume: str | None
    ending: str | None
    locked_at: Instant | None
    version: int


def shown(session: Session) -> SessionShown:
    """A session as it is answered."""
    return SessionShown(
        session=session.id,
        plan=session.plan,
        plan_number=session.plan_number,
        case=session.case,
        patient=session.patient,
        therapy=session.therapy,
        ordinal=session.ordinal,
        phase=session.phase,
        starts_at=session.starts_at,
        zone=session.zone,
        state=session.state.value,
        nurse=session.nurse,
        device=session.device,
        dose=dict(session.dose) if session.dose else None,
        rate=session.rate,
        checked_in_at=session.checked_in_at,
        started_at=session.started_at,
        paused_at=session.paused_at,
        ended_at=session.ended_at,
        pump_volume=session.pump_volume,
        ending=session.ending,
        locked_at=session.locked_at,
        version=session.version,
    )


def refused(rejected: evidence.Rejected) -> Rejected:
    """What the rules refuse, with every bad field."""
    errors = [FieldProblem.of_path(one.field, one.code) for one in rejected.problems]
    return Rejected(OUTSIDE.code, body=problems.document(OUTSIDE, errors=errors), final=False)


def shut(gate: Gate, kind: ProblemType = SHUT) -> Reply:
    """A gate that is not open: a problem that names all that keeps it shut. What it said is kept all the same."""
    errors = [FieldProblem(f"/gate/{name}"[:200], "shut") for name in shut_by(gate.evaluation)]
    return Reply(kind.status, problems.document(kind, errors=errors))


def answered(decided: Any, status: int = 200) -> Changes | Rejected:
    """A use case's outcome as an answer: the session, the refusal of a gate, or of the rules."""
    if isinstance(decided, Rejected):
        return decided
    if isinstance(decided, evidence.Rejected):
        return refused(decided)
    changes: Changes
    changes, outcome = decided
    if isinstance(outcome, Gate):
        return replace(changes, reply=shut(outcome))
    return replace(changes, reply=reply(shown(outcome), status))


def person(asked: Asked[Any, Any, Any]) -> UUID:
    """Who asks."""
    return UUID(asked.principal.person)


_Act = Callable[[Asked[Any, SessionPath], Reader, Context], Awaitable[Any]]


def act_route(
    name: str,
    path: str,
    summary: str,
    roles: frozenset[Role],
    act: _Act,
    *,
    body: type[Request] | None = None,
    errors: tuple[ProblemType, ...] = (),
    example: dict[str, Any] | None = None,
    at_once: bool = False,
) -> Route:
    """A POST about a session that answers with the session. One that is to be done ``at_once`` asks for no key, and waits for
    nobody else's transaction.
    """

    def command(asked: Asked[Any, SessionPath]) -> Decide:
        async def decide(read: Reader, context: Context) -> Changes | Rejected:
            return answered(await act(asked, read, context))

        return decide

    return Route(
        name=name,
        method="POST",
        path_template=f"/sessions/{{session}}/{path}",
        summary=summary,
        policy=Bearer(roles, of("session")),
        audit=f"session.{name.replace('_', '-')}",
        request=body,
        path=SessionPath,
        response=SessionShown,
        command=command,
        idempotency=NaturalKey(of="the session: what has stopped is stopped") if at_once else KEY_REQUIRED,
        alone=at_once,
        errors=errors if at_once else (ILLEGAL, *errors),
        examples=(Example(example),) if example is not None else (),
    )


def exact(given: Quantity) -> Exact:
    """A quantity as the rules compute with it."""
    return Exact(given.value, given.unit)


def in_unit(*units: str) -> Any:
    """A quantity that is not negative and given in one of these units: nothing is converted here."""

    def check(given: Quantity) -> Quantity:
        if given.unit not in units:
            raise field_error("wrong-unit", "/unit")
        if given.value < 0:
            raise field_error("negative", "/value")
        return given

    return AfterValidator(check)


def some(given: Quantity) -> Quantity:
    """A quantity that is not nothing."""
    if given.value == 0:
        raise field_error("zero", "/value")
    return given


Volume = Annotated[Quantity, in_unit("mL")]
Rate = Annotated[Quantity, in_unit("mL/h"), AfterValidator(some)]
"""Of a pump that runs: one that stands is paused."""
Strength = Annotated[Quantity, in_unit("mg/mL")]
Weight = Annotated[Quantity, in_unit("kg")]
