"""Routes after the infusion: adverse events, discharge, other endings, the review before the next session."""

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from services.runtime.database import Reader
from services.runtime.edge.fields import Code, Id, Instant, Request, Response, field_error
from services.runtime.edge.policy import Bearer
from services.runtime.edge.problems import ProblemType
from services.runtime.edge.route import KEY_REQUIRED, Asked, Example, Route, reply
from services.runtime.edge.signature import SIGNATURE_PROBLEMS, SignatureBody
from services.runtime.messaging.changes import Changes, Context, Rejected
from services.runtime.messaging.unit_of_work import Decide
from services.session_logging.commands.aftercare import Aftercare, Closing, DischargeContent, Home
from services.session_logging.domain.adverse_events import Reported
from services.session_logging.domain.sessions import SessionEnding
from services.session_logging.http.arrival import GateAnswer, show_gate
from services.session_logging.http.sessions import AdverseEventShown, show_adverse_event
from services.session_logging.http.shared import (
    ILLEGAL,
    LATER,
    NURSES,
    ORDER,
    OUTSIDE,
    PRESCRIBERS,
    PUMP_UNREAD,
    SHUT,
    SessionPath,
    SessionShown,
    Text,
    act_route,
    answered,
    of,
    person,
    shut,
)

__all__ = ["routes"]

_FUTURE = ProblemType("in-the-future", 422, "This has not happened yet, or ended before it began")
_RESOLVED = ProblemType("resolved", 409, "This adverse event is over already")
_QUALIFIED = ProblemType("not-qualified", 403, "A discharge needs somebody licensed in the patient's state")
_LICENCE = ProblemType("wrong-licence", 409, "The signature names a licence of another state than the patient's")
_NOT_YET = ProblemType("not-yet", 422, "Nobody has missed a session that has not begun")
_REASON = ProblemType("reason-missing", 422, "Why the session is aborted or voided has to be said")
_DECIDED = ProblemType("review-decided", 409, "This review is decided already")


class AdverseEventBody(Request):
    """What happened, how grave it is (CTCAE grade, as you judge it), and whether it was the drug. A grade is proposed beside
    yours: that of ``hypertension`` by the pressures of the session, of any event by what it needed and what the patient eats.
    """

    term: Code
    grade: Annotated[int, Field(ge=1, le=5)]
    relatedness: Literal["none", "possible", "probable", "definite"]
    action: Literal["none", "paused", "stopped", "drug-given"]
    serious: Annotated[
        tuple[
            Literal[
                "death",
                "life-threatening",
                "hospitalisation",
                "disability",
                "congenital anomaly",
                "important medical event",
            ],
            ...,
        ],
        Field(max_length=6, strict=False),
    ] = ()
    onset_at: Instant
    intervention: Literal["none", "minimal or local", "hospitalisation or major"] | None = None
    oral_intake: Literal["eating", "less", "tube feeding or infusion needed"] | None = None
    outcome: Literal["recovering", "ongoing", "fatal", "unknown"] | None = None
    note: Text = ""


class AdverseEventPath(Request):
    """Path of an adverse event."""

    adverse_event: Id


class OverBody(Request):
    """When it was over, and how it ended."""

    resolved_at: Instant
    outcome: Literal["resolved", "resolved-with-sequelae", "fatal"] = "resolved"


class DischargeAnswer(Response):
    """What the discharge gate says, what would be signed, and its hash."""

    gate: GateAnswer
    earliest: Instant | None
    content: DischargeContent
    shown: str


class SignBody(Request):
    """The signature; ``shown`` is the hash that the gate answered with."""

    signature: SignatureBody


class CloseBody(Request):
    """How the session ends, where it is not by a signed discharge, and since when. ``called_at`` is when the ambulance was
    called, and belongs to a transfer; ``screened`` is what became of the suicide screen that is offered to who leaves by
    themselves.
    """

    ending: Literal["no-show", "cancelled", "voided", "aborted", "left-against-advice", "eloped", "transferred"]
    at: Instant | None = None
    note: Text = ""
    called_at: Instant | None = None
    screened: Literal["taken", "declined", "not-possible"] | None = None

    @model_validator(mode="after")
    def _called(self) -> Self:
        if self.ending == "transferred" and self.called_at is None:
            raise field_error("required", "/called_at")
        return self


class ReviewPath(Request):
    """Path of a review."""

    review: Id


class ReviewBody(Request):
    """How it goes on."""

    decision: Literal["continue", "amend", "stop"]


class ReviewShown(Response):
    """A review before the next session."""

    review: Id
    session: Id
    cause: str
    decision: str | None


def routes(aftercare: Aftercare) -> tuple[Route, ...]:
    """The routes, in the room."""
    signature = {"meaning": "discharged", "licence": "US-NY", "shown": "0" * 64}
    return (
        Route(
            name="enter_adverse_event",
            method="POST",
            path_template="/sessions/{session}/adverse-events",
            summary="Enter an adverse event",
            policy=Bearer(NURSES, of("session")),
            audit="adverse-event.enter",
            request=AdverseEventBody,
            path=SessionPath,
            response=AdverseEventShown,
            status=201,
            command=_enter(aftercare),
            idempotency=KEY_REQUIRED,
            errors=(ILLEGAL, _FUTURE),
            examples=(
                Example(
                    {
                        "term": "dizziness",
                        "grade": 1,
                        "relatedness": "probable",
                        "action": "none",
                        "onset_at": "2026-01-25T15:56:00Z",
                    }
                ),
            ),
        ),
        Route(
            name="resolve_adverse_event",
            method="POST",
            path_template="/adverse-events/{adverse_event}/resolution",
            summary="Say that an adverse event is over",
            policy=Bearer(NURSES, of("adverse_event")),
            audit="adverse-event.resolve",
            request=OverBody,
            path=AdverseEventPath,
            response=AdverseEventShown,
            command=_over(aftercare),
            idempotency=KEY_REQUIRED,
            errors=(_RESOLVED, _FUTURE),
            examples=(Example({"resolved_at": "2026-01-25T16:50:00Z"}),),
        ),
        Route(
            name="ask_discharge_gate",
            method="POST",
            path_template="/sessions/{session}/discharge-evaluations",
            summary="Ask whether the patient may go: what is missing, the earliest time, and what would be signed",
            policy=Bearer(NURSES, of("session")),
            audit="gate.discharge",
            path=SessionPath,
            response=DischargeAnswer,
            status=201,
            command=_ask(aftercare),
            idempotency=KEY_REQUIRED,
            errors=(ILLEGAL,),
        ),
        Route(
            name="discharge",
            method="POST",
            path_template="/sessions/{session}/discharge",
            summary="Sign that the patient may go, accompanied; the session is closed with it",
            policy=Bearer(NURSES, of("session")),
            audit="session.discharge",
            request=SignBody,
            path=SessionPath,
            response=SessionShown,
            command=_discharge(aftercare),
            idempotency=KEY_REQUIRED,
            errors=(ILLEGAL, SHUT, OUTSIDE, PUMP_UNREAD, _QUALIFIED, _LICENCE, *SIGNATURE_PROBLEMS),
            examples=(Example({"signature": signature}),),
        ),
        act_route(
            "close_session",
            "closure",
            "End a session in another way than by a signed discharge",
            NURSES,
            lambda asked, *more: aftercare.close(asked.path.session, _closing(asked.body), person(asked), *more),
            body=CloseBody,
            errors=(*LATER, ORDER, _NOT_YET, _REASON, PUMP_UNREAD, OUTSIDE),
            example={"ending": "no-show"},
        ),
        Route(
            name="decide_review",
            method="POST",
            path_template="/reviews/{review}/decision",
            summary="Say how to go on before the next session",
            policy=Bearer(PRESCRIBERS, of("review")),
            audit="review.decide",
            request=ReviewBody,
            path=ReviewPath,
            response=ReviewShown,
            command=_review(aftercare),
            idempotency=KEY_REQUIRED,
            errors=(_DECIDED,),
            examples=(Example({"decision": "continue"}),),
        ),
    )


def _closing(body: CloseBody) -> Closing:
    return Closing(SessionEnding(body.ending), body.at, body.note, body.called_at, body.screened)


def _enter(aftercare: Aftercare) -> Callable[[Asked[AdverseEventBody, SessionPath]], Decide]:
    def command(asked: Asked[AdverseEventBody, SessionPath]) -> Decide:
        body, by = asked.body, asked.principal.person
        said = Reported(**{**dict(body), "serious": tuple(body.serious)})

        async def decide(read: Reader, context: Context) -> Changes | Rejected:
            made = await aftercare.enter_adverse_event(asked.path.session, said, by, read, context)
            return made if isinstance(made, Rejected) else replace(made[0], reply=reply(show_adverse_event(made[1]), 201))

        return decide

    return command


def _over(aftercare: Aftercare) -> Callable[[Asked[OverBody, AdverseEventPath]], Decide]:
    def command(asked: Asked[OverBody, AdverseEventPath]) -> Decide:
        body, by = asked.body, asked.principal.person

        async def decide(read: Reader, context: Context) -> Changes | Rejected:
            made = await aftercare.resolve_adverse_event(
                asked.path.adverse_event, body.resolved_at, body.outcome, by, read, context
            )
            return made if isinstance(made, Rejected) else replace(made[0], reply=reply(show_adverse_event(made[1])))

        return decide

    return command


def _show_home(home: Home) -> DischargeAnswer:
    return DischargeAnswer(gate=show_gate(home.gate), earliest=home.earliest, content=home.content, shown=home.shown)


def _ask(aftercare: Aftercare) -> Callable[[Asked[Any, SessionPath]], Decide]:
    def command(asked: Asked[Any, SessionPath]) -> Decide:
        async def decide(read: Reader, context: Context) -> Changes | Rejected:
            made = await aftercare.ask_discharge(asked.path.session, asked.principal, read, context)
            return made if isinstance(made, Rejected) else replace(made[0], reply=reply(_show_home(made[1]), 201))

        return decide

    return command


def _discharge(aftercare: Aftercare) -> Callable[[Asked[SignBody, SessionPath]], Decide]:
    def command(asked: Asked[SignBody, SessionPath]) -> Decide:
        async def decide(read: Reader, context: Context) -> Changes | Rejected:
            made: Any = await aftercare.discharge(asked.path.session, asked.body.signature, asked.principal, read, context)
            if isinstance(made, tuple) and isinstance(made[1], Home):
                changes: Changes = made[0]
                return replace(changes, reply=shut(made[1].gate))
            return answered(made)

        return decide

    return command


def _review(aftercare: Aftercare) -> Callable[[Asked[ReviewBody, ReviewPath]], Decide]:
    def command(asked: Asked[ReviewBody, ReviewPath]) -> Decide:
        async def decide(read: Reader, context: Context) -> Changes | Rejected:
            made = await aftercare.decide_review(asked.path.review, asked.body.decision, asked.principal, read, context)
            if isinstance(made, Rejected):
                return made
            review = made[1]
            shown = ReviewShown(review=review.id, session=review.session, cause=review.cause, decision=review.decision)
            return replace(made[0], reply=reply(shown))

        return decide

    return command
