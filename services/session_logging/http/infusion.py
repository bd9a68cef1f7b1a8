"""Routes of the infusion: start, rate, pause, resume, end, STOP, and consent that is withdrawn at the chair."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator

from services.runtime.database import Reader
from services.runtime.edge import problems
from services.runtime.edge.fields import Code, Id, Instant, Quantity, Request
from services.runtime.edge.problems import FieldProblem, ProblemType
from services.runtime.edge.route import Asked, Route
from services.runtime.messaging.changes import Context, Rejected
from services.session_logging.commands.infusion import Infusion, NotStaff
from services.session_logging.domain.drug import Rescue
from services.session_logging.http.shared import (
    AFTER_SESSION,
    LATER,
    LOCKED,
    MORE_THAN_BAG,
    NURSES,
    ORDER,
    OUTSIDE,
    SELF_WITNESSED,
    SHUT,
    TEAM,
    Rate,
    SessionPath,
    Volume,
    act_route,
    exact,
    in_unit,
    person,
    some,
)

__all__ = ["NOT_STAFF", "RescueValues", "rescue", "routes"]

_NOT_DRAWN = ProblemType("drug-not-drawn", 409, "No drug was drawn")
_ABOVE = ProblemType("above-plan", 422, "The rate may be lowered or put back to the plan's, never above it")
NOT_STAFF = ProblemType("not-staff", 422, "Who is named does not do this here")
_READ = ProblemType("pump-read", 409, "What the pump delivered was recorded already")


RescueDose = Annotated[Quantity, in_unit("mg", "ug", "g", "mL", "L/min"), AfterValidator(some)]


class RateBody(Request):
    """The new rate of the pump."""

    rate: Rate


class PauseBody(Request):
    """Why the pump stands, and since when."""

    reason: Literal["alert", "patient-asked", "line-problem", "other"]
    at: Instant | None = None


class ResumeBody(Request):
    """At which rate, and whether the patient agrees."""

    rate: Rate
    patient_agrees: bool


class PumpBody(Request):
    """What the pump says it has delivered."""

    pump_volume: Volume


class EndBody(PumpBody):
    """The pump is off; since when."""

    at: Instant | None = None


class RescueValues(Request):
    """Another drug than the infusion; ``group`` as the clinic keeps them at hand. Whoever records it has given it, unless
    ``given_by`` says otherwise; ``ordered_by`` may follow, and until then the record is not complete.
    """

    group: Literal["antihypertensive", "antiemetic", "benzodiazepine", "oxygen", "other"]
    drug: Code
    dose: RescueDose
    route: Literal["intravenous", "intramuscular", "subcutaneous", "oral", "sublingual", "intranasal", "inhaled", "rectal"]
    ordered_by: Id | None = None
    given_by: Id | None = None


class RescueBody(RescueValues):
    """The same, and when."""

    at: Instant | None = None


class StopBody(Request):
    """Who asks for it, if there is time to say: the patient, or an emergency."""

    reason: Literal["patient-asked", "emergency"] = "emergency"


def routes(infusion: Infusion) -> tuple[Route, ...]:
    """The routes, in the room."""
    rate = {"rate": {"value": "150.0", "unit": "mL/h"}}
    pump = {"pump_volume": {"value": "100.0", "unit": "mL"}}
    return (
        act_route(
            "start_infusion",
            "start",
            "Start the infusion, if the gate is open now",
            NURSES,
            lambda asked, *more: infusion.start(asked.path.session, person(asked), *more),
            errors=(SHUT, _NOT_DRAWN, SELF_WITNESSED, OUTSIDE),
        ),
        act_route(
            "change_rate",
            "rate",
            "Lower the rate, or put it back to the plan's",
            NURSES,
            lambda asked, *more: infusion.change_rate(asked.path.session, exact(asked.body.rate), person(asked), *more),
            body=RateBody,
            errors=(_ABOVE, OUTSIDE),
            example=rate,
        ),
        act_route(
            "pause_infusion",
            "pause",
            "Say that the pump stands",
            NURSES,
            lambda asked, *more: infusion.pause(asked.path.session, asked.body.reason, asked.body.at, person(asked), *more),
            body=PauseBody,
            errors=(*LATER, ORDER, OUTSIDE),
            example={"reason": "alert"},
        ),
        act_route(
            "resume_infusion",
            "resume",
            "Go on after a pause, if the gate of a resume is open",
            NURSES,
            lambda asked, *more: infusion.resume(
                asked.path.session,
                exact(asked.body.rate),
                asked.body.patient_agrees,
                person(asked),
                *more,
            ),
            body=ResumeBody,
            errors=(SHUT, SELF_WITNESSED, OUTSIDE),
            example={**rate, "patient_agrees": True},
        ),
        act_route(
            "end_infusion",
            "end",
            "Say that the pump is off for good, and what it has delivered",
            NURSES,
            lambda asked, *more: infusion.end(
                asked.path.session,
                exact(asked.body.pump_volume),
                asked.body.at,
                person(asked),
                *more,
            ),
            body=EndBody,
            errors=(*LATER, ORDER, MORE_THAN_BAG, OUTSIDE),
            example=pump,
        ),
        act_route(
            "stop",
            "stop",
            "STOP: works from any state, before any other check",
            TEAM,
            lambda asked, *more: infusion.stop(asked.path.session, asked.body.reason, person(asked), *more),
            body=StopBody,
            example={"reason": "patient-asked"},
            at_once=True,
        ),
        act_route(
            "give_rescue",
            "rescue-drugs",
            "Record another drug than the infusion: which, how much, how, who ordered it and who gave it",
            NURSES,
            lambda asked, *more: _rescued(infusion, asked, *more),
            body=RescueBody,
            errors=(*LATER, AFTER_SESSION, LOCKED, NOT_STAFF, OUTSIDE),
            example={
                "group": "antiemetic",
                "drug": "ondansetron",
                "dose": {"value": "4", "unit": "mg"},
                "route": "intravenous",
            },
        ),
        act_route(
            "read_pump",
            "pump-volume",
            "After a STOP: what the pump had delivered",
            NURSES,
            lambda asked, *more: infusion.read_pump(
                asked.path.session,
                exact(asked.body.pump_volume),
                person(asked),
                *more,
            ),
            body=PumpBody,
            errors=(_READ, MORE_THAN_BAG),
            example=pump,
        ),
        act_route(
            "withdraw_consent",
            "consent-withdrawal",
            "The patient withdraws consent at the chair",
            TEAM,
            lambda asked, *more: infusion.withdraw(asked.path.session, person(asked), *more),
            at_once=True,
        ),
    )


def rescue(body: RescueValues, by: UUID) -> Rescue:
    """A rescue drug as the room knows it."""
    return Rescue(body.group, body.drug, str(body.dose), body.route, body.ordered_by, body.given_by or by)


async def _rescued(infusion: Infusion, asked: Asked[RescueBody, SessionPath], read: Reader, context: Context) -> Any:
    body, by = asked.body, person(asked)
    made = await infusion.give_rescue(asked.path.session, rescue(body, by), body.at, by, read, context)
    if isinstance(made, NotStaff):
        errors = [FieldProblem(f"/{name}", code) for name, code in made.fields]
        return Rejected(NOT_STAFF.code, body=problems.document(NOT_STAFF, errors=errors), final=False)
    return made
