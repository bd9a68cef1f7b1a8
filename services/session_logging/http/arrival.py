"""Routes before the infusion: check-in, facts of the day, dose, decisions, overrides, the start gate."""

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from services.runtime.database import Reader
from services.runtime.edge.fields import Code, Id, Instant, Line, Request, Response, field_error
from services.runtime.edge.policy import Bearer
from services.runtime.edge.problems import ProblemType
from services.runtime.edge.route import KEY_REQUIRED, Asked, Example, Route, reply
from services.runtime.messaging.changes import Changes, Context, Rejected
from services.runtime.messaging.unit_of_work import Decide
from services.session_logging.commands.arrival import Arrival, Gate, shut_by
from services.session_logging.domain.gates import Stock
from services.session_logging.http.shared import (
    DEVICE_BOUND,
    DRAWN,
    ILLEGAL,
    LATER,
    NURSES,
    ON_SITE,
    OUTSIDE,
    PRESCRIBERS,
    SessionPath,
    SessionShown,
    Strength,
    Text,
    Volume,
    Weight,
    act_route,
    exact,
    of,
    person,
    refused,
    shown,
)
from services.therapies import evidence
from services.therapies.evidence import Evaluation

__all__ = ["GateAnswer", "routes", "show_gate"]

_TODAY = ProblemType("not-today", 409, "This session is planned for another day")
_NEVER = ProblemType("never-overridden", 422, "Nobody may override this")
_NOT_HELD = ProblemType("not-held", 409, "This rule does not hold the start now")
_RECHECK = ProblemType("recheck-first", 409, "What holds the start is measured again before anybody overrides it")


class FactsBody(Request):
    """Facts of the day; what is left out was not said. ``changes`` names what has changed since the last visit, an empty list
    is "nothing". The last thing said of each holds; ``at`` is when it was true, now unless it is given. When the prescriber who
    was named as on site has left, nobody is until somebody is named. ``concomitant`` are those of these drugs that the patient
    takes, and ``ready_at`` is when they would have been ready to leave but for the minimum time: the record asks for both.
    """

    at: Instant | None = None
    identity_confirmed: bool | None = None
    consent_reconfirmed: bool | None = None
    prescriber_on_site: Id | None = None
    prescriber_left: Literal[True] | None = None
    escort_name: Line | None = None
    escort_phone: Line | None = None
    escort_phoned: bool | None = None
    escort_seen: bool | None = None
    pdmp_checked: bool | None = None
    pdmp_due: bool | None = None
    hcg: Literal["negative", "positive", "refused"] | None = None
    last_solids: Instant | None = None
    last_clear_fluids: Instant | None = None
    substances: bool | None = None
    substances_at: Instant | None = None
    glp1: bool | None = None
    glp1_last: Instant | None = None
    glp1_checklist_complete: bool | None = None
    gi_symptoms: bool | None = None
    changes: Annotated[tuple[Code, ...], Field(max_length=20, strict=False)] | None = None
    weight: Weight | None = None
    weight_remeasured: bool | None = None
    oriented_x4: bool | None = None
    gait_steady: bool | None = None
    vomiting: bool | None = None
    aldrete: Annotated[int, Field(ge=0, le=10)] | None = None
    instructions_given: bool | None = None
    concomitant: (
        Annotated[tuple[Literal["sedative", "opioid", "stimulant", "maoi"], ...], Field(max_length=4, strict=False)] | None
    ) = None
    ready_at: Instant | None = None

    @model_validator(mode="after")
    def _here_or_gone(self) -> Self:
        if self.prescriber_left and self.prescriber_on_site is not None:
            raise field_error("contradicts", "/prescriber_left")
        return self


class CheckInBody(FactsBody):
    """The patient is here, with what is known at the door; ``device`` is the monitor that is bound to them."""

    device: Code | None = None


class StockBody(Request):
    """Strength of the vial, and the total volume of the bag with the drug in it."""

    strength: Strength
    bag: Volume


class DecisionBody(Request):
    """What the prescriber on site has decided: about today's risk (face to face), a change, a weight, a resume."""

    about: Literal["risk", "changes", "weight", "resume"]
    start: bool
    reason: Annotated[Text, Field(min_length=3)]


class OverrideBody(Request):
    """The rule, and why it does not hold this patient back today."""

    rule: Code
    reason: Annotated[Text, Field(min_length=3)]


class GateAnswer(Response):
    """What a gate says, with everything that keeps it shut; kept under its id."""

    evaluation: Id
    session: SessionShown
    outcome: str
    shut_by: list[str]
    reasons: list[str]
    revision: str
    approver: str


class DoseAnswer(Response):
    """The dose of the day, or what is missing for it."""

    session: SessionShown
    outcome: str
    missing: list[str]
    dose: dict[str, Any] | None


def show_gate(gate: Gate) -> GateAnswer:
    """A gate as it is answered."""
    found = gate.evaluation
    return GateAnswer(
        evaluation=gate.id,
        session=shown(gate.session),
        outcome=found.outcome.value,
        shut_by=shut_by(found),
        reasons=[f"{one.rule}: {one.reason}" for one in found.findings]
        + [f"{one.field}: {one.message}" for one in found.missing],
        revision=found.revision,
        approver=found.approver,
    )


def _facts(body: FactsBody) -> dict[str, Any]:
    """What was said, as the log keeps it."""
    given = body.model_dump(mode="json", exclude_none=True, exclude={"at", "device"})
    if body.weight is not None:
        given["weight"] = str(body.weight)
    if body.prescriber_left:
        given["prescriber_on_site"] = None
    return given


def routes(arrival: Arrival) -> tuple[Route, ...]:
    """The routes, in the room."""
    strength = {"value": "50", "unit": "mg/mL"}
    bag = {"value": "100.00", "unit": "mL"}
    return (
        act_route(
            "check_in",
            "check-in",
            "The patient is here: who checks them in is responsible for them",
            NURSES,
            lambda asked, *more: arrival.check_in(
                asked.path.session, person(asked), _facts(asked.body), asked.body.device, *more
            ),
            body=CheckInBody,
            errors=(_TODAY, DEVICE_BOUND),
            example={"identity_confirmed": True, "escort_phoned": True, "changes": [], "device": "monitor-1"},
        ),
        act_route(
            "say_facts",
            "facts",
            "Say facts of the day, as they become known",
            NURSES,
            lambda asked, *more: arrival.say(
                asked.path.session, asked.principal.person, _facts(asked.body), asked.body.at, *more
            ),
            body=FactsBody,
            errors=LATER,
            example={"hcg": "negative"},
        ),
        act_route(
            "hand_over",
            "handover",
            "Take the patient over from the nurse who was responsible",
            NURSES,
            lambda asked, *more: arrival.hand_over(asked.path.session, person(asked), *more),
        ),
        Route(
            name="settle_dose",
            method="POST",
            path_template="/sessions/{session}/dose",
            summary="Compute the dose of the day from today's weight under the signed plan, and freeze it",
            policy=Bearer(NURSES, of("session")),
            audit="session.dose",
            request=StockBody,
            path=SessionPath,
            response=DoseAnswer,
            command=_settle(arrival),
            idempotency=KEY_REQUIRED,
            errors=(ILLEGAL, OUTSIDE, DRAWN),
            examples=(Example({"strength": strength, "bag": bag}),),
        ),
        act_route(
            "decide",
            "decisions",
            "Say what the prescriber on site has decided",
            PRESCRIBERS,
            lambda asked, *more: arrival.decide(asked.path.session, asked.principal, asked.body.model_dump(), *more),
            body=DecisionBody,
            errors=(ON_SITE,),
            example={"about": "risk", "start": True, "reason": "Seen face to face, no plan, no intent"},
        ),
        act_route(
            "override",
            "overrides",
            "Override a rule that may be overridden, with a reason",
            PRESCRIBERS,
            lambda asked, *more: arrival.override(asked.path.session, asked.principal, asked.body.model_dump(), *more),
            body=OverrideBody,
            errors=(ON_SITE, _NEVER, _NOT_HELD, _RECHECK),
            example={"rule": "K-S-FASTING", "reason": "Clear broth only, no aspiration risk"},
        ),
        Route(
            name="ask_start_gate",
            method="POST",
            path_template="/sessions/{session}/start-evaluations",
            summary="Ask the start gate; what it says is kept, and nothing starts",
            policy=Bearer(NURSES, of("session")),
            audit="gate.start",
            path=SessionPath,
            response=GateAnswer,
            status=201,
            command=_ask(arrival),
            idempotency=KEY_REQUIRED,
            errors=(ILLEGAL,),
        ),
    )


def _settle(arrival: Arrival) -> Callable[[Asked[StockBody, SessionPath]], Decide]:
    def command(asked: Asked[StockBody, SessionPath]) -> Decide:
        async def decide(read: Reader, context: Context) -> Changes | Rejected:
            body: Any = asked.body
            stock = Stock(exact(body.strength), exact(body.bag))
            made = await arrival.settle_dose(asked.path.session, asked.principal.person, stock, read, context)
            if isinstance(made, Rejected):
                return made
            if isinstance(made, evidence.Rejected):
                return refused(made)
            changes, session, found = made
            return replace(changes, reply=reply(_dose(session, found)))

        return decide

    return command


def _dose(session: Any, found: Evaluation[Any]) -> DoseAnswer:
    return DoseAnswer(
        session=shown(session),
        outcome=found.outcome.value,
        missing=list(found.lacks()),
        dose=dict(session.dose) if session.dose else None,
    )


def _ask(arrival: Arrival) -> Callable[[Asked[Any, SessionPath]], Decide]:
    def command(asked: Asked[Any, SessionPath]) -> Decide:
        async def decide(read: Reader, context: Context) -> Changes | Rejected:
            made = await arrival.ask_start(asked.path.session, asked.principal.person, read, context)
            return made if isinstance(made, Rejected) else replace(made[0], reply=reply(show_gate(made[1]), 201))

        return decide

    return command
