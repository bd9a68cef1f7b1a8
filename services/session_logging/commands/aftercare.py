"""Use cases after the infusion: adverse events, discharge, other endings, and the review before the next session."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import uuid_utils.compat
from pydantic import BaseModel

from schemas.values import Quantity
from services.directory import store as directory
from services.runtime.database import Reader
from services.runtime.edge.principal import Principal, Role
from services.runtime.edge.signature import SignatureBody, content_hash, sign
from services.runtime.messaging.changes import Changes, Context, NewEvent, RaisePage, Rejected, Row, RowChange
from services.session_logging import events
from services.session_logging.commands.arrival import Arrival, Gate, illegal, kept, present, shut_by
from services.session_logging.commands.infusion import given
from services.session_logging.commands.ledger import DrugLedger
from services.session_logging.commands.room import (
    ADVERSE_EVENT,
    LEFT,
    TRANSFERRED,
    Log,
    entry,
    fresh_or_rejected,
    in_order_or_rejected,
    written,
)
from services.session_logging.domain.adverse_events import AdverseEvent, Reported, proposed
from services.session_logging.domain.gates import discharge_case
from services.session_logging.domain.sessions import (
    AFTER,
    ENDINGS,
    Entry,
    Kind,
    Review,
    Session,
    SessionEnding,
    SessionState,
    move,
    newest,
    record_due_on,
)
from services.session_logging.domain.totals import end_reason
from services.session_logging.store import aftercare as drugs
from services.session_logging.store import sessions as store
from services.therapies import evidence
from services.therapies.evidence import Evaluation, Outcome
from services.therapies.ketamine.discharge import Discharge, discharge

__all__ = ["Aftercare", "Closing", "DischargeContent", "Home", "opens_review"]

_PAGES = {
    SessionEnding.LEFT_AGAINST_ADVICE: LEFT,
    SessionEnding.ELOPED: LEFT,
    SessionEnding.TRANSFERRED: TRANSFERRED,
}
"""Endings that are true whatever is missing: whom they call. A discrepancy of the ledger stays to be explained."""
_EXPLAINED = frozenset({SessionEnding.ABORTED, SessionEnding.VOIDED})
"""Endings that somebody decides, and gives the reason for."""


@dataclass(frozen=True, slots=True)
class Closing:
    """How a session ends, and since when.

    Attributes:
        at: when it was true; now if it is not said.
        note: why; it stays in the room.
        called_at: of a transfer: when the ambulance was called.
        screened: of who leaves by themselves: what became of the suicide screen that they were offered.
    """

    ending: SessionEnding
    at: dt.datetime | None = None
    note: str = ""
    called_at: dt.datetime | None = None
    screened: str | None = None

    def said(self) -> dict[str, Any]:
        """As the log keeps it."""
        called = self.called_at.isoformat() if self.called_at else None
        return {"ending": self.ending.value, "note": self.note, "called_at": called, "screened": self.screened}


class DischargeContent(BaseModel):
    """Exactly what is shown to who signs a discharge, and hashed.

    Attributes:
        outcome: of the gate: ``READY``, or ``NOT_READY`` with what is ``open``.
        given: drug received.
        inputs: every fact that the gate looked at, as it was read.
    """

    session: UUID
    patient: UUID
    ended_at: dt.datetime | None
    given: str | None
    outcome: str
    open: list[str]
    inputs: dict[str, str]
    revision: str
    approver: str


@dataclass(frozen=True, slots=True)
class Home:
    """What the discharge gate says, and what would be signed."""

    gate: Gate
    content: DischargeContent
    shown: str
    earliest: dt.datetime | None


@dataclass(frozen=True, slots=True)
class Aftercare:
    """The use cases, in the room of ``Arrival``, with the ledger that has to balance."""

    arrival: Arrival
    ledger: DrugLedger

    async def enter_adverse_event(
        self, session_id: UUID, said: Reported, by: str, read: Reader, context: Context
    ) -> tuple[Changes, AdverseEvent] | Rejected:
        """A human enters an adverse event with its grade; the software proposes one beside it.

        One that becomes known after the record was signed is an addendum to it, and calls and is reviewed like any other.
        """
        session = await store.session(read, session_id)
        if session is None:
            return Rejected("not-found", status=404)
        if session.state is SessionState.SCHEDULED:
            return illegal(session)
        if said.onset_at > context.now:
            return Rejected("in-the-future", final=False)
        entries = await store.entries(read, session_id)
        made = AdverseEvent(
            uuid_utils.compat.uuid7(),
            session_id,
            session.patient,
            said.term,
            said.grade,
            proposed(said, entries, self.arrival.room.pinned(session, context)),
            said.relatedness,
            said.action,
            said.serious,
            said.note,
            said.onset_at,
            by,
            context.now,
            intervention=said.intervention,
            oral_intake=said.oral_intake,
            outcome=said.outcome,
        )
        rows = self._of_event(made, session, by, context, {"term": made.term, "grade": made.grade})
        told: list[NewEvent] = [events.adverse_event_recorded(made)]
        pages = [RaisePage(ADVERSE_EVENT, f"{ADVERSE_EVENT}:{made.id}", str(session_id))] if made.calls else []
        if made.reviewed and await store.review_of_session(read, session_id) is None:
            review, opened = await self.review(session, "adverse-event", read, context)
            rows.append(review)
            told.append(opened)
        return Changes(rows=rows, events=told, pages=pages, patient=str(session.patient)), replace(made, version=1)

    async def resolve_adverse_event(
        self, event_id: UUID, at: dt.datetime, outcome: str, by: str, read: Reader, context: Context
    ) -> tuple[Changes, AdverseEvent] | Rejected:
        """It is over, and how it ended."""
        known = await drugs.adverse_event(read, event_id)
        session = await store.session(read, known.session) if known else None
        if known is None or session is None:
            return Rejected("not-found", status=404)
        if known.resolved_at is not None:
            return Rejected("resolved")
        if not known.onset_at <= at <= context.now:
            return Rejected("in-the-future", final=False)
        over = replace(known, resolved_at=at, outcome=outcome)
        rows = self._of_event(over, session, by, context, {"resolved_at": at.isoformat(), "outcome": outcome})
        changes = Changes(rows=rows, events=[events.adverse_event_resolved(over)], patient=str(known.patient))
        return changes, replace(over, version=known.version + 1)

    def _of_event(
        self, event: AdverseEvent, session: Session, by: str, context: Context, said: Mapping[str, Any]
    ) -> list[RowChange]:
        """What is written of an adverse event; the session's row, so that whoever signs the record meanwhile looks again."""
        rows: list[RowChange] = [drugs.adverse_event_row(event), store.session_row(session)]
        if session.locked_at is not None:
            added = {"adverse_event": str(event.id), **said}
            rows.append(store.entry_row(session.id, entry(Kind.ADDENDUM, by, context, data=added)))
        return rows

    async def ask_discharge(
        self, session_id: UUID, who: Principal, read: Reader, context: Context
    ) -> tuple[Changes, Home] | Rejected:
        """Ask whether the patient may go: all that is missing, the earliest time, and what would be signed."""
        session = await present(session_id, read, AFTER)
        if isinstance(session, Rejected):
            return session
        found, home = await self._home(session, who, read, context)
        return self._asked(session, found, home, who.person, context)

    async def discharge(
        self, session_id: UUID, given_signature: SignatureBody, who: Principal, read: Reader, context: Context
    ) -> tuple[Changes, Session] | tuple[Changes, Home] | Rejected | evidence.Rejected:
        """A licensed clinician signs that the patient may go, accompanied; the session is closed with it."""
        session = await present(session_id, read, AFTER)
        if isinstance(session, Rejected):
            return session
        found, home = await self._home(session, who, read, context)
        if found.outcome is not Outcome.READY or found.result is None:
            return self._asked(session, found, home, who.person, context)
        patient = await directory.patient(read, session.patient)
        signer = await directory.staff(read, UUID(who.person))
        region = patient.region if patient else None
        if signer is None or region is None or not signer.holds("licence", context.now, region=region):
            return Rejected("not-qualified", final=False)
        if given_signature.licence != region:
            return Rejected("wrong-licence", final=False)
        if refused := await self.ledger.unbalanced(session, read, context):
            return refused
        version = session.version
        signed = sign(
            given_signature, who, home.content, subject=f"sessions/{session_id}/discharge", version=version, context=context
        )
        if isinstance(signed, Rejected):
            return signed
        rules = self.arrival.room.pinned(session, context)
        closing = Closing(await self._ended_as(session, read))
        ended = await self._close(session, closing, UUID(who.person), read, context)
        if isinstance(ended, evidence.Rejected):
            return ended
        changes, closed = ended
        due = context.now + rules["check.after_discharge"].elapsed
        told = events.session_discharged(closed, UUID(who.person), context.now, due)
        kept_row = kept(home.gate.id, session, "discharge", found, who.person, context)
        changes = replace(changes, rows=[signed.row, kept_row, *changes.rows], events=[told, *changes.events])
        return changes, closed

    async def close(
        self, session_id: UUID, closing: Closing, by: UUID, read: Reader, context: Context
    ) -> tuple[Changes, Session] | Rejected | evidence.Rejected:
        """A session that ends in another way than by a signed discharge, at the time at which it did.

        One that nobody has begun needs a reason and a drug that is accounted for. Who has left, or was taken away, has:
        nothing that is missing refuses that, a human is called, and follow-up sets its clocks by the event (decisions B5, B6).
        """
        session = await store.session(read, session_id)
        if session is None:
            return Rejected("not-found", status=404)
        if session.state not in ENDINGS[closing.ending]:
            return illegal(session)
        if refused := in_order_or_rejected(closing.at, session, context) or fresh_or_rejected(
            closing.called_at, session, context
        ):
            return refused
        if closing.ending is SessionEnding.NO_SHOW and context.now < session.starts_at:
            return Rejected("not-yet", final=False)
        if closing.ending in _EXPLAINED and not closing.note.strip():
            return Rejected("reason-missing", final=False)
        if closing.ending not in _PAGES and (unexplained := await self.ledger.unbalanced(session, read, context)):
            return unexplained
        ended = await self._close(session, closing, by, read, context)
        if isinstance(ended, evidence.Rejected):
            return ended
        changes, closed = ended
        if code := _PAGES.get(closing.ending):
            left = RaisePage(code, f"{code}:{session_id}", str(session_id))
            missing = await self.ledger.missing(session, read, context)
            changes = replace(changes, pages=[*changes.pages, left, *missing])
        if closing.ending is SessionEnding.TRANSFERRED and await store.review_of_session(read, session_id) is None:
            review, opened = await self.review(session, "transferred", read, context)
            changes = replace(changes, rows=[*changes.rows, review], events=[*changes.events, opened])
        return changes, closed

    async def decide_review(
        self, review_id: UUID, decision: str, who: Principal, read: Reader, context: Context
    ) -> tuple[Changes, Review] | Rejected:
        """A prescriber says how to go on: continue, amend the plan, or stop."""
        review = await store.review(read, review_id)
        if review is None:
            return Rejected("not-found", status=404)
        if review.decision is not None:
            return Rejected("review-decided")
        decided = replace(review, decision=decision, decided_by=who.person, decided_at=context.now)
        changes = Changes(rows=[store.review_row(decided)], events=[events.review_closed(decided)], patient=str(review.patient))
        return changes, replace(decided, version=review.version + 1)

    async def _home(
        self, session: Session, who: Principal, read: Reader, context: Context
    ) -> tuple[Evaluation[Discharge], Home]:
        room = self.arrival.room
        known = await room.known(session, await store.entries(read, session.id), read, context)
        role = "prescriber" if Role.PRESCRIBER in who.roles else "nurse" if Role.NURSE in who.roles else None
        case = discharge_case(session, role, known, room.moment(session, context))
        found = discharge(case, room.pinned(session, context))
        content = DischargeContent(
            session=session.id,
            patient=session.patient,
            ended_at=session.ended_at,
            given=await given(session, read, self.arrival.room, context),
            outcome=found.outcome.value,
            open=shut_by(found),
            inputs={one.name: f"{one.value} {one.at}".strip() for one in found.inputs},
            revision=found.revision,
            approver=found.approver,
        )
        state = SessionState.DISCHARGE_READY if found.outcome is Outcome.READY else SessionState.RECOVERY
        gate = Gate(uuid_utils.compat.uuid7(), move(session, state, context.now), found)
        return found, Home(gate, content, content_hash(content), found.result.earliest if found.result else None)

    def _asked(
        self, session: Session, found: Evaluation[Discharge], home: Home, by: str, context: Context
    ) -> tuple[Changes, Home]:
        moved = home.gate.session
        told = [events.gate_evaluated(session, home.gate.id, "discharge", found, shut_by(found), context.now)]
        if moved.state is not session.state:
            told.append(events.session_changed(moved, UUID(by)))
        rows = [*written(session, moved, by, context), kept(home.gate.id, session, "discharge", found, by, context)]
        return Changes(rows=rows, events=told, patient=str(session.patient)), home

    async def _close(
        self, session: Session, closing: Closing, by: UUID, read: Reader, context: Context
    ) -> tuple[Changes, Session] | evidence.Rejected:
        """Rejected if something is recorded that was true after that end."""
        room = self.arrival.room
        at = closing.at or context.now
        closed = move(session, SessionState.CLOSED, at, ending=closing.ending.value, closed_at=at, rate=None)
        said = entry(Kind.CLOSED, str(by), context, at, closing.said())
        log = await Log.load(read, session)
        changes = room.logged(log, closed, [said], context)
        if isinstance(changes, evidence.Rejected):
            return changes
        due = record_due_on(session, room.pinned(session, context)["record.due"].elapsed)
        told = [
            events.session_changed(closed, by),
            events.session_closed(closed, await given(closed, read, room, context), _peak(log.entries, session), due, by),
        ]
        changes = replace(changes, events=[*changes.events, *told])
        return changes, replace(closed, version=session.version + 1)

    async def _ended_as(self, session: Session, read: Reader) -> SessionEnding:
        """What a signed discharge ends: the whole of it, or an infusion that was stopped before the bag was empty."""
        ended = newest(await store.entries(read, session.id), Kind.END)
        whole = ended is not None and end_reason(ended.data["reason"], session) == "complete"
        return SessionEnding.COMPLETED if whole else SessionEnding.ABORTED

    async def review(self, session: Session, cause: str, read: Reader, context: Context) -> tuple[RowChange, NewEvent]:
        """A prescriber has to say how to go on before the next session (decision B13)."""
        others = (await store.sessions_of_patients(read, [session.patient]))[session.patient]
        starts = next((one.starts_at for one in others if one.id != session.id), None)
        wait = self.arrival.room.pinned(session, context)["check.after_discharge"].elapsed
        opened = Review(uuid_utils.compat.uuid7(), session.patient, session.id, cause, context.now)
        return store.review_row(opened), events.review_opened(opened, starts or context.now + wait)


def opens_review(changes: Changes) -> bool:
    """Whether a review opens already by what is written: a session has one at a time."""
    return any(isinstance(row, Row) and row.table == "review" for row in changes.rows)


def _peak(entries: Sequence[Entry], session: Session) -> int | None:
    """Highest systolic pressure of the infusion."""
    if session.started_at is None:
        return None
    ended = session.ended_at or session.started_at
    found = [
        int(Quantity.parse(one.data["sbp"]).value)
        for one in entries
        if one.kind == Kind.VITALS and one.data.get("sbp") and session.started_at <= one.at <= ended
    ]
    return max(found, default=None)
