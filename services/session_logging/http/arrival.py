"""Routes before the infusion: check-in, facts of the day, dose, drug, decisions, overrides, the start gate."""

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field

from services.runtime.database import Reader
from services.runtime.edge.fields import Code, Date, Id, Instant, Line, Request, Response
from services.runtime.edge.policy import Bearer
from services.runtime.edge.problems import ProblemType
from services.runtime.edge.route import KEY_REQUIRED, Asked, Example, Route, reply
from services.runtime.messaging.changes import Changes, Context, Rejected
from services.runtime.messaging.unit_of_work import Decide
from services.session_logging.commands.arrival import Arrival, Gate, shut_by
from services.session_logging.domain.drug import Drawing, Waste
from services.session_logging.domain.gates import Stock
from services.session_logging.http.shared import (
    ILLEGAL,
    LATER,
    NURSES,
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
_BOUND = ProblemType("device-bound", 409, "This monitor is bound to another session that is not over")
_ON_SITE = ProblemType("not-on-site", 403, "Only the qualified prescriber who was named as on site today")
_SETTLED = ProblemType("dose-not-settled", 409, "The dose of the day is not settled")
_DRAWN = ProblemType("drug-drawn", 409, "The drug was drawn already")
_NOT_DRAWN = ProblemType("drug-not-drawn", 409, "No drug was drawn")
_EXPIRED = ProblemType("drug-expired", 422, "The vial has expired")
_NOT_DOSE = ProblemType("not-the-dose", 422, "This is not the settled dose: strength, volume into the bag, or the bag differ")
_WITNESSED = ProblemType("witnessed", 409, "This was witnessed already")
_SELF = ProblemType("self-witnessed", 403, "The witness neither drew nor gave nor wasted the drug")


class FactsBody(Request):
    """Facts of the day; what is left out was not said. ``changes`` names what has changed since the last visit, an empty list
    is "nothing". The last thing said of each holds; ``at`` is when it was true, now unless it is given.
    """

    at: Instant | None = None
    identity_confirmed: bool | None = None
    consent_reconfirmed: bool | None = None
    prescriber_on_site: Id | None = None
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


class CheckInBody(FactsBody):
    """The patient is here, with what is known at the door; ``device`` is the monitor that is bound to them."""

    device: Code | None = None


class StockBody(Request):
    """Strength of the vial, and the total volume of the bag with the drug in it."""

    strength: Strength
    bag: Volume


class DrawBody(Request):
    """What was drawn from which vial, and how much of it goes into the bag."""

    strength: Strength
    drawn: Volume
    into_bag: Volume
    bag: Volume
    vial: Code
    lot: Code
    expires: Date


class WasteBody(Request):
    """How much of the drug is thrown away."""

    volume: Volume


class WasteShown(Response):
    """Something that was thrown away; it counts once it was witnessed."""

    waste: Id
    session: Id
    volume: str
    witness: str | None


class WastePath(Request):
    """Path of a waste."""

    waste: Id


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
    return given


def routes(arrival: Arrival) -> tuple[Route, ...]:
    """The routes, in the room."""
    mL = {"unit": "mL"}
    strength = {"value": "50", "unit": "mg/mL"}
    bag = {"value": "100.00", **mL}
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
            errors=(_TODAY, _BOUND),
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
            errors=(ILLEGAL, OUTSIDE),
            examples=(Example({"strength": strength, "bag": bag}),),
        ),
        act_route(
            "draw_drug",
            "drug",
            "Say what was drawn from which vial, and how much of it goes into the bag",
            NURSES,
            lambda asked, *more: arrival.draw(asked.path.session, _drawing(asked.body), asked.principal.person, *more),
            body=DrawBody,
            errors=(_SETTLED, _DRAWN, _EXPIRED, _NOT_DOSE),
            example={
                "strength": strength,
                "drawn": {"value": "1.00", **mL},
                "into_bag": {"value": "0.82", **mL},
                "bag": bag,
                "vial": "V-1",
                "lot": "L-1",
                "expires": "2028-01-31",
            },
        ),
        Route(
            name="waste_drug",
            method="POST",
            path_template="/sessions/{session}/wastes",
            summary="Say that drug is thrown away; it counts once somebody else has witnessed it",
            policy=Bearer(NURSES, of("session")),
            audit="drug.waste",
            request=WasteBody,
            path=SessionPath,
            response=WasteShown,
            status=201,
            command=_waste(arrival),
            idempotency=KEY_REQUIRED,
            errors=(ILLEGAL, _NOT_DRAWN),
            examples=(Example({"volume": {"value": "0.18", **mL}}),),
        ),
        Route(
            name="witness_waste",
            method="POST",
            path_template="/wastes/{waste}/witness",
            summary="Witness, under your own login, that drug was thrown away",
            policy=Bearer(NURSES, of("waste")),
            audit="drug.witness",
            path=WastePath,
            response=WasteShown,
            command=_witness(arrival),
            idempotency=KEY_REQUIRED,
            errors=(_WITNESSED, _SELF),
        ),
        act_route(
            "decide",
            "decisions",
            "Say what the prescriber on site has decided",
            PRESCRIBERS,
            lambda asked, *more: arrival.decide(asked.path.session, asked.principal, asked.body.model_dump(), *more),
            body=DecisionBody,
            errors=(_ON_SITE,),
            example={"about": "risk", "start": True, "reason": "Seen face to face, no plan, no intent"},
        ),
        act_route(
            "override",
            "overrides",
            "Override a rule that may be overridden, with a reason",
            PRESCRIBERS,
            lambda asked, *more: arrival.override(asked.path.session, asked.principal, asked.body.model_dump(), *more),
            body=OverrideBody,
            errors=(_ON_SITE,),
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


def _drawing(body: DrawBody) -> Drawing:
    return Drawing(
        strength=str(body.strength),
        drawn=str(body.drawn),
        into_bag=str(body.into_bag),
        bag=str(body.bag),
        vial=body.vial,
        lot=body.lot,
        expires=body.expires,
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


def _show_waste(waste: Waste) -> WasteShown:
    return WasteShown(waste=waste.id, session=waste.session, volume=waste.volume, witness=waste.witness)


def _waste(arrival: Arrival) -> Callable[[Asked[WasteBody, SessionPath]], Decide]:
    def command(asked: Asked[WasteBody, SessionPath]) -> Decide:
        async def decide(read: Reader, context: Context) -> Changes | Rejected:
            made = await arrival.waste(asked.path.session, str(asked.body.volume), asked.principal.person, read, context)
            return made if isinstance(made, Rejected) else replace(made[0], reply=reply(_show_waste(made[1]), 201))

        return decide

    return command


def _witness(arrival: Arrival) -> Callable[[Asked[Any, WastePath]], Decide]:
    def command(asked: Asked[Any, WastePath]) -> Decide:
        async def decide(read: Reader, context: Context) -> Changes | Rejected:
            made = await arrival.witness(asked.path.waste, asked.principal.person, read, context)
            return made if isinstance(made, Rejected) else replace(made[0], reply=reply(_show_waste(made[1])))

        return decide

    return command


def _ask(arrival: Arrival) -> Callable[[Asked[Any, SessionPath]], Decide]:
    def command(asked: Asked[Any, SessionPath]) -> Decide:
        async def decide(read: Reader, context: Context) -> Changes | Rejected:
            made = await arrival.ask_start(asked.path.session, asked.principal.person, read, context)
            return made if isinstance(made, Rejected) else replace(made[0], reply=reply(show_gate(made[1]), 201))

        return decide

    return command
