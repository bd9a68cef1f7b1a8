"""The route by which a session takes a version of its plan that was signed while the patient is here."""

from typing import Annotated

from pydantic import Field

from services.runtime.edge.fields import Request
from services.runtime.edge.problems import ProblemType
from services.runtime.edge.route import Route
from services.session_logging.commands.amendment import Amendment
from services.session_logging.http.shared import MORE_THAN_BAG, ON_SITE, OUTSIDE, PRESCRIBERS, act_route

__all__ = ["routes"]

_VERSION = ProblemType("not-the-version", 409, "This is not the newest signed version of an active plan, or the session has it")
_SETTLED = ProblemType("dose-not-settled", 409, "The dose of the day is not settled")
_FASTER = ProblemType("above-plan", 422, "What has begun is not given faster: a step up is for a later session")
_GIVEN = ProblemType("given-already", 409, "The patient has received all that this version orders: end the infusion")


class PlanVersionBody(Request):
    """The version that the prescriber takes for this session."""

    number: Annotated[int, Field(ge=2)]


def routes(amendment: Amendment) -> tuple[Route, ...]:
    """The route, in the room."""
    return (
        act_route(
            "take_plan_version",
            "plan-version",
            "Take the newest signed version of the plan for a session that waits or is paused; the gates ask by it from now on",
            PRESCRIBERS,
            lambda asked, *more: amendment.take(asked.path.session, asked.body.number, asked.principal, *more),
            body=PlanVersionBody,
            errors=(ON_SITE, _VERSION, _SETTLED, _FASTER, _GIVEN, MORE_THAN_BAG, OUTSIDE),
            example={"number": 2},
        ),
    )
