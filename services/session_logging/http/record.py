"""Routes of the record: entries in error and corrections, the signature that locks it, addenda."""

from collections.abc import Callable
from typing import Any

from services.runtime.database import Reader
from services.runtime.edge import problems
from services.runtime.edge.fields import Id, Request, Response
from services.runtime.edge.policy import Bearer
from services.runtime.edge.problems import FieldProblem, ProblemType
from services.runtime.edge.route import KEY_REQUIRED, Asked, Example, Find, Found, Route
from services.runtime.edge.signature import SIGNATURE_PROBLEMS, SignatureBody, content_hash
from services.runtime.messaging.changes import Changes, Context, Rejected
from services.runtime.messaging.unit_of_work import Decide
from services.session_logging.commands.record import Incomplete, Record, RecordContent
from services.session_logging.http.sessions import READERS
from services.session_logging.http.shared import (
    ILLEGAL,
    IN_ERROR,
    LOCKED,
    MORE_THAN_BAG,
    NURSES,
    OUTSIDE,
    PRESCRIBERS,
    PUMP_UNREAD,
    Reason,
    SessionPath,
    SessionShown,
    Volume,
    act_route,
    answered,
    exact,
    of,
    person,
)
from services.session_logging.http.watch import VitalsValues, typed

__all__ = ["routes"]

_CORRECTABLE = ProblemType("not-correctable", 409, "Only what was measured or said can have been wrong, not what was done")
_OPEN = ProblemType("record-open", 409, "The record is not signed yet: enter it there")
_INCOMPLETE = ProblemType("record-incomplete", 409, "The record is not complete: everything that is missing is named")
_QUALIFIED = ProblemType("not-qualified", 403, "A record is signed by somebody licensed in the patient's state")
_LICENCE = ProblemType("wrong-licence", 409, "The signature names a licence of another state than the patient's")


class EntryPath(Request):
    """Path of an entry."""

    entry: Id


class CorrectionBody(Request):
    """Why the entry is wrong; ``values`` are what was right at the same time, nothing if it belongs to somebody else."""

    reason: Reason
    values: VitalsValues | None = None


class PumpCorrectionBody(Request):
    """What the pump had delivered in truth, and why the figure before was wrong."""

    pump_volume: Volume
    reason: Reason


class AddendumBody(Request):
    """What is added to a signed record."""

    text: Reason


class SignBody(Request):
    """The signature; ``shown`` is the hash that the draft was shown with."""

    signature: SignatureBody


class DraftShown(Response):
    """What would be signed, its hash, and what is missing for that."""

    content: RecordContent
    shown: str
    missing: list[str]


def routes(record: Record) -> tuple[Route, ...]:
    """The routes, in the room."""
    return (
        Route(
            name="correct_entry",
            method="POST",
            path_template="/entries/{entry}/correction",
            summary="Say that an entry was wrong, and what was right: the wrong one stays, and counts no longer",
            policy=Bearer(NURSES, of("entry")),
            audit="entry.correct",
            request=CorrectionBody,
            path=EntryPath,
            response=SessionShown,
            command=_correct(record),
            idempotency=KEY_REQUIRED,
            errors=(LOCKED, _CORRECTABLE, IN_ERROR, OUTSIDE),
            examples=(Example({"reason": "Typed into the wrong chart"}),),
        ),
        act_route(
            "correct_pump",
            "pump-volume-corrections",
            "Say that what the pump had delivered was recorded wrongly, and what is right: both stay, totals and ledger follow",
            NURSES,
            lambda asked, *more: record.correct_pump(
                asked.path.session, exact(asked.body.pump_volume), asked.body.reason, person(asked), *more
            ),
            body=PumpCorrectionBody,
            errors=(LOCKED, PUMP_UNREAD, MORE_THAN_BAG),
            example={"pump_volume": {"value": "98.0", "unit": "mL"}, "reason": "Read off the wrong pump"},
        ),
        Route(
            name="draft_record",
            method="GET",
            path_template="/sessions/{session}/record-draft",
            summary="What would be signed as the record, and what is missing for that",
            policy=Bearer(READERS, of("session")),
            audit="record.draft",
            path=SessionPath,
            response=DraftShown,
            query=_draft(record),
            errors=(ILLEGAL,),
        ),
        Route(
            name="sign_record",
            method="POST",
            path_template="/sessions/{session}/record-signature",
            summary="Sign the record; from then on only addenda are written",
            policy=Bearer(PRESCRIBERS, of("session")),
            audit="record.sign",
            request=SignBody,
            path=SessionPath,
            response=SessionShown,
            command=_sign(record),
            idempotency=KEY_REQUIRED,
            errors=(ILLEGAL, LOCKED, _INCOMPLETE, _QUALIFIED, _LICENCE, *SIGNATURE_PROBLEMS),
            examples=(Example({"signature": {"meaning": "authored", "licence": "US-NY", "shown": "0" * 64}}),),
        ),
        act_route(
            "add_addendum",
            "addenda",
            "Add to a signed record",
            NURSES,
            lambda asked, *more: record.add(asked.path.session, asked.body.text, person(asked), *more),
            body=AddendumBody,
            errors=(_OPEN,),
            example={"text": "The hospital called back: nothing was found"},
        ),
    )


def _correct(record: Record) -> Callable[[Asked[CorrectionBody, EntryPath]], Decide]:
    def command(asked: Asked[CorrectionBody, EntryPath]) -> Decide:
        body = asked.body
        values = typed(body.values) if body.values is not None else None

        async def decide(read: Reader, context: Context) -> Changes | Rejected:
            return answered(await record.correct(asked.path.entry, values, body.reason, person(asked), read, context))

        return decide

    return command


def _draft(record: Record) -> Callable[[Asked[Any, SessionPath]], Find]:
    def query(asked: Asked[Any, SessionPath]) -> Find:
        async def find(read: Reader, context: Context) -> Found | Rejected:
            found = await record.show(asked.path.session, read, context)
            if isinstance(found, Rejected):
                return found
            content, missing = found
            shown = DraftShown(content=content, shown=content_hash(content), missing=list(missing))
            return Found(shown, patient=str(content.patient))

        return find

    return query


def _sign(record: Record) -> Callable[[Asked[SignBody, SessionPath]], Decide]:
    def command(asked: Asked[SignBody, SessionPath]) -> Decide:
        async def decide(read: Reader, context: Context) -> Changes | Rejected:
            made = await record.lock(asked.path.session, asked.body.signature, asked.principal, read, context)
            if isinstance(made, Incomplete):
                errors = [FieldProblem(f"/record/{name}", "missing") for name in made.missing]
                return Rejected(_INCOMPLETE.code, body=problems.document(_INCOMPLETE, errors=errors), final=False)
            return answered(made)

        return decide

    return command
