"""Routes of the controlled drug: drawn, thrown away, witnessed."""

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import AfterValidator

from services.runtime.database import Reader
from services.runtime.edge.fields import Code, Date, Id, Request, Response
from services.runtime.edge.policy import Bearer
from services.runtime.edge.problems import ProblemType
from services.runtime.edge.route import KEY_REQUIRED, Asked, Example, Route, reply
from services.runtime.messaging.changes import Changes, Context, Rejected
from services.runtime.messaging.unit_of_work import Decide
from services.session_logging.commands.ledger import DrugLedger
from services.session_logging.domain.drug import Drawing, Waste
from services.session_logging.http.shared import (
    DRAWN,
    ILLEGAL,
    IN_ERROR,
    LOCKED,
    NURSES,
    SELF_WITNESSED,
    Reason,
    SessionPath,
    Strength,
    Volume,
    act_route,
    of,
    some,
)

__all__ = ["routes"]

_SETTLED = ProblemType("dose-not-settled", 409, "The dose of the day is not settled")
_NOT_DRAWN = ProblemType("drug-not-drawn", 409, "No drug was drawn")
_EXPIRED = ProblemType("drug-expired", 422, "The vial has expired")
_NOT_DOSE = ProblemType("not-the-dose", 422, "This is not the settled dose: strength, volume into the bag, or the bag differ")
_WITNESSED = ProblemType("witnessed", 409, "This was witnessed already")
_MEASURABLE = ProblemType("not-measurable", 422, "A volume is finer than the ledger counts")
_MORE = ProblemType("more-than-drawn", 422, "More than was drawn cannot have been given and thrown away")


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
    """How much of the drug is thrown away, and how."""

    volume: Annotated[Volume, AfterValidator(some)]
    method: Literal["incinerated", "rendered-irretrievable", "sewer"] | None = None


class WrongBody(Request):
    """Why it was not thrown away, or not as much."""

    reason: Reason


class WasteShown(Response):
    """Something that was thrown away; it counts once it was witnessed."""

    waste: Id
    session: Id
    volume: str
    method: str | None
    witness: str | None
    error_reason: str | None


class WastePath(Request):
    """Path of a waste."""

    waste: Id


def routes(ledger: DrugLedger) -> tuple[Route, ...]:
    """The routes, in the room."""
    mL = {"unit": "mL"}
    strength = {"value": "50", "unit": "mg/mL"}
    bag = {"value": "100.00", **mL}
    return (
        act_route(
            "draw_drug",
            "drug",
            "Say what was drawn from which vial, and how much of it goes into the bag",
            NURSES,
            lambda asked, *more: ledger.draw(asked.path.session, _drawing(asked.body), asked.principal.person, *more),
            body=DrawBody,
            errors=(_SETTLED, DRAWN, _EXPIRED, _NOT_DOSE, _MEASURABLE),
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
            command=_waste(ledger),
            idempotency=KEY_REQUIRED,
            errors=(ILLEGAL, LOCKED, _NOT_DRAWN, _MEASURABLE, _MORE),
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
            command=_witness(ledger),
            idempotency=KEY_REQUIRED,
            errors=(ILLEGAL, LOCKED, _WITNESSED, SELF_WITNESSED, IN_ERROR),
        ),
        Route(
            name="waste_in_error",
            method="POST",
            path_template="/wastes/{waste}/error",
            summary="Say that this was not thrown away, or not as much: the entry stays and counts no longer",
            policy=Bearer(NURSES, of("waste")),
            audit="drug.waste-in-error",
            request=WrongBody,
            path=WastePath,
            response=WasteShown,
            command=_wrong(ledger),
            idempotency=KEY_REQUIRED,
            errors=(LOCKED, IN_ERROR),
            examples=(Example({"reason": "The syringe held 0.41 mL, not 0.14"}),),
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


def _show_waste(waste: Waste) -> WasteShown:
    return WasteShown(
        waste=waste.id,
        session=waste.session,
        volume=waste.volume,
        method=waste.method,
        witness=waste.witness,
        error_reason=waste.error_reason,
    )


def _waste(ledger: DrugLedger) -> Callable[[Asked[WasteBody, SessionPath]], Decide]:
    def command(asked: Asked[WasteBody, SessionPath]) -> Decide:
        async def decide(read: Reader, context: Context) -> Changes | Rejected:
            body, by = asked.body, asked.principal.person
            made = await ledger.waste(asked.path.session, str(body.volume), body.method, by, read, context)
            return made if isinstance(made, Rejected) else replace(made[0], reply=reply(_show_waste(made[1]), 201))

        return decide

    return command


def _witness(ledger: DrugLedger) -> Callable[[Asked[Any, WastePath]], Decide]:
    def command(asked: Asked[Any, WastePath]) -> Decide:
        async def decide(read: Reader, context: Context) -> Changes | Rejected:
            made = await ledger.witness(asked.path.waste, asked.principal.person, read, context)
            return made if isinstance(made, Rejected) else replace(made[0], reply=reply(_show_waste(made[1])))

        return decide

    return command


def _wrong(ledger: DrugLedger) -> Callable[[Asked[WrongBody, WastePath]], Decide]:
    def command(asked: Asked[WrongBody, WastePath]) -> Decide:
        async def decide(read: Reader, context: Context) -> Changes | Rejected:
            reason, by = asked.body.reason, asked.principal.person
            made = await ledger.waste_wrong(asked.path.waste, reason, by, read, context)
            return made if isinstance(made, Rejected) else replace(made[0], reply=reply(_show_waste(made[1])))

        return decide

    return command
