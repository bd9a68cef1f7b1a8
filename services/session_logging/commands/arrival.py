"""Use cases before the infusion: check-in, facts of the day, dose, decisions and overrides, the start gate."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import uuid_utils.compat

from schemas.values import Moment
from services.runtime.database import Reader
from services.runtime.edge import problems
from services.runtime.edge.principal import Principal
from services.runtime.edge.problems import FieldProblem, ProblemType
from services.runtime.messaging.changes import Changes, Context, RaisePage, Rejected, RowChange
from services.session_logging import events
from services.session_logging.commands.room import TOO_MANY, Room, entry, fresh_or_rejected, written
from services.session_logging.domain.gates import Known, Stock, dose_case, overridden, prescriber_named, start_case
from services.session_logging.domain.sessions import (
    AFTER,
    BEFORE,
    HERE,
    RUNNING,
    Entry,
    Kind,
    Session,
    SessionState,
    allowed,
    may_move,
    move,
)
from services.session_logging.store import aftercare as drugs
from services.session_logging.store import sessions as store
from services.therapies import evidence
from services.therapies.evidence import Evaluation, Outcome, plain
from services.therapies.ketamine.dosing import dose_of_the_day
from services.therapies.ketamine.gates import FrozenBaseline, start_gate, too_many

__all__ = ["ILLEGAL", "Arrival", "Gate", "asked", "illegal", "kept", "present", "recordable", "shut_by"]

ILLEGAL = ProblemType("illegal-move", 409, "The session cannot do this from where it stands: its state and its moves are named")


@dataclass(frozen=True, slots=True)
class Gate:
    """What a gate said, kept under an id."""

    id: UUID
    session: Session
    evaluation: Evaluation[Any]


@dataclass(frozen=True, slots=True)
class Arrival:
    """The use cases, in the room."""

    room: Room

    async def check_in(
        self, session_id: UUID, nurse: UUID, facts: Mapping[str, Any], device: str | None, read: Reader, context: Context
    ) -> tuple[Changes, Session] | Rejected:
        """The patient is here; whoever checks them in is responsible for them."""
        session = await store.session(read, session_id)
        if session is None:
            return Rejected("not-found", status=404)
        if not may_move(session, SessionState.CHECKED_IN):
            return illegal(session)
        if self.room.moment(session, context).date != Moment(session.starts_at, session.zone).date:
            return Rejected("not-today", final=False)
        if device is not None and await store.bound_elsewhere(read, device, session_id):
            return Rejected("device-bound", final=False)
        here = move(session, SessionState.CHECKED_IN, context.now, nurse=nurse, device=device, checked_in_at=context.now)
        said = entry(Kind.FACTS, str(nurse), context, data=facts)
        rows = [*written(session, here, str(nurse), context), store.entry_row(session.id, said)]
        changes = Changes(rows=rows, events=[events.session_changed(here, nurse)], patient=str(session.patient))
        return changes, replace(here, version=session.version + 1)

    async def say(
        self, session_id: UUID, by: str, facts: Mapping[str, Any], at: dt.datetime | None, read: Reader, context: Context
    ) -> tuple[Changes, Session] | Rejected:
        """Facts of the day, as they become known; the last one said of each holds, all are kept."""
        session = await present(session_id, read)
        if isinstance(session, Rejected):
            return session
        if refused := fresh_or_rejected(at, session, context):
            return refused
        said = store.entry_row(session.id, entry(Kind.FACTS, by, context, at, facts))
        # The session's row makes a gate that is asked meanwhile look again.
        changes = Changes(rows=[store.session_row(session), said], patient=str(session.patient))
        return changes, replace(session, version=session.version + 1)

    async def hand_over(
        self, session_id: UUID, nurse: UUID, read: Reader, context: Context
    ) -> tuple[Changes, Session] | Rejected:
        """The incoming nurse takes the patient over, under their own login (decision B4).

        A nurse who has too many patients with this one is not refused, for nobody else may be there: the prescriber is called,
        and no pump of theirs is started or goes on after a pause until somebody has relieved them.
        """
        session = await present(session_id, read)
        if isinstance(session, Rejected):
            return session
        taken = replace(session, nurse=nurse)
        infusing, total = await store.nurse_load(read, nurse, session_id)
        infusing, total = infusing + (session.state in RUNNING), total + (session.state in RUNNING | AFTER)
        crowded = too_many(infusing, total, self.room.pinned(session, context))
        load = {"infusing": infusing, "total": total, "too_many": crowded}
        said = entry(Kind.HANDOVER, str(nurse), context, data={"from": str(session.nurse), **load})
        rows: list[RowChange] = [store.session_row(taken), store.entry_row(session.id, said)]
        timers = await self.room.on_roster(taken, read, context)
        pages = [RaisePage(TOO_MANY, f"{TOO_MANY}:{said.id}", str(session_id))] if crowded else []
        told = [events.session_changed(taken, nurse)]
        changes = Changes(rows=rows, events=told, timers=timers, pages=pages, patient=str(session.patient))
        return changes, replace(taken, version=session.version + 1)

    async def settle_dose(
        self, session_id: UUID, by: str, stock: Stock, read: Reader, context: Context
    ) -> tuple[Changes, Session, Evaluation[Any]] | Rejected | evidence.Rejected:
        """The dose of the day, from today's weight under the signed plan. Frozen for this session once it is drawn."""
        session = await present(session_id, read, BEFORE)
        if isinstance(session, Rejected):
            return session
        if await drugs.drawn(read, session_id) is not None:
            return Rejected("drug-drawn", final=False)
        known = await self._known(session, read, context)
        case = dose_case(session, stock, known, self.room.moment(session, context))
        found = dose_of_the_day(case, self.room.pinned(session, context))
        if isinstance(found, evidence.Rejected):
            return found
        dose = plain(found.result) if found.outcome is Outcome.PROPOSED else None
        if dose is not None and case.weight is not None:
            dose |= {"weight": str(case.weight.value), "strength": str(stock.strength), "bag": str(stock.bag)}
        settled = replace(session, dose=dose)
        identifier = uuid_utils.compat.uuid7()
        rows: list[RowChange] = [store.session_row(settled), kept(identifier, session, "dose", found, by, context)]
        return Changes(rows=rows, patient=str(session.patient)), replace(settled, version=session.version + 1), found

    async def decide(
        self, session_id: UUID, who: Principal, data: Mapping[str, Any], read: Reader, context: Context
    ) -> tuple[Changes, Session] | Rejected:
        """The prescriber on site says what they have decided: about today's risk, a change, a weight, a resume."""
        return await self._prescriber_says(session_id, who, Kind.DECISION, data, read, context)

    async def override(
        self, session_id: UUID, who: Principal, data: Mapping[str, Any], read: Reader, context: Context
    ) -> tuple[Changes, Session] | Rejected:
        """The prescriber on site overrides a rule that holds the start now, with a reason; what would not count is refused."""
        found = await self._on_site(session_id, who, HERE, read, context)
        if isinstance(found, Rejected):
            return found
        session, known = found
        said = entry(Kind.OVERRIDE, who.person, context, data=data)
        counted = self.evaluate(session, replace(known, entries=[*known.entries, said]), context)
        outcomes = {one.outcome for one in counted.findings if one.rule == data["rule"]}
        if outcomes != {Outcome.NOTE}:
            may = data["rule"] in self.room.pinned(session, context).lists["start.overridable"]
            if not may or Outcome.NO_START in outcomes:
                return Rejected("never-overridden", final=False)
            return Rejected("recheck-first" if outcomes else "not-held", final=False)
        return self._says(session, said)

    async def _prescriber_says(
        self, session_id: UUID, who: Principal, kind: str, data: Mapping[str, Any], read: Reader, context: Context
    ) -> tuple[Changes, Session] | Rejected:
        found = await self._on_site(session_id, who, None, read, context)
        return found if isinstance(found, Rejected) else self._says(found[0], entry(kind, who.person, context, data=data))

    async def _on_site(
        self, session_id: UUID, who: Principal, states: frozenset[SessionState] | None, read: Reader, context: Context
    ) -> tuple[Session, Known] | Rejected:
        """The session, if it is the prescriber on site who asks."""
        session = await present(session_id, read, states)
        if isinstance(session, Rejected):
            return session
        known = await self._known(session, read, context)
        if known.prescriber is not True or str(prescriber_named(known.entries)) != who.person:
            return Rejected("not-on-site", final=False)
        return session, known

    def _says(self, session: Session, said: Entry) -> tuple[Changes, Session]:
        changes = Changes(rows=[store.session_row(session), store.entry_row(session.id, said)], patient=str(session.patient))
        return changes, replace(session, version=session.version + 1)

    async def ask_start(self, session_id: UUID, by: str, read: Reader, context: Context) -> tuple[Changes, Gate] | Rejected:
        """Ask the start gate; what it says is kept and shown, and nothing starts."""
        session = await present(session_id, read, BEFORE)
        if isinstance(session, Rejected):
            return session
        known = await self._known(session, read, context)
        return asked(session, known, self.evaluate(session, known, context), by, context)

    def evaluate(self, session: Session, known: Known, context: Context) -> Evaluation[FrozenBaseline]:
        """The start gate about what is known."""
        case = start_case(session, known, self.room.moment(session, context))
        return start_gate(case, self.room.pinned(session, context))

    async def _known(self, session: Session, read: Reader, context: Context) -> Known:
        return await self.room.known(session, await store.entries(read, session.id), read, context)


def asked(session: Session, known: Known, found: Evaluation[Any], by: str, context: Context) -> tuple[Changes, Gate]:
    """A start gate that was asked: kept, told, and the session is ready or held by it."""
    state = SessionState.READY if found.outcome is Outcome.OPEN else SessionState.HELD
    moved = move(session, state, context.now)
    identifier = uuid_utils.compat.uuid7()
    told = [
        events.gate_evaluated(
            session, identifier, "start", found, shut_by(found), context.now, overridden(known.entries, found)
        )
    ]
    if moved.state is not session.state:
        told.append(events.session_changed(moved, UUID(by)))
    rows = [*written(session, moved, by, context), kept(identifier, session, "start", found, by, context)]
    changes = Changes(rows=rows, events=told, patient=str(session.patient))
    return changes, Gate(identifier, replace(moved, version=session.version + 1), found)


def kept(identifier: UUID, session: Session, gate: str, found: Evaluation[Any], by: str, context: Context) -> Any:
    """The row of an evaluation, with all of its evidence."""
    return store.append(
        "gate_evaluation",
        id=identifier,
        session=session.id,
        gate=gate,
        outcome=found.outcome.value,
        evidence=plain(found),
        revision=found.revision,
        evaluated_at=context.now,
        asked_by=by,
    )


def shut_by(found: Evaluation[Any]) -> list[str]:
    """What keeps a gate shut: rules that fired against it, and facts that are missing, as codes."""
    against = (Outcome.NO_START, Outcome.HOLD, Outcome.NOT_READY)
    fired = [one.rule for one in found.findings if one.outcome in against]
    return [*fired, *(name.replace("[", ".").replace("]", "").replace(" ", "-") for name in found.lacks())]


async def present(session_id: UUID, read: Reader, states: frozenset[SessionState] | None = None) -> Session | Rejected:
    """A session whose patient is here, and which is in one of these states."""
    session = await store.session(read, session_id)
    if session is None:
        return Rejected("not-found", status=404)
    if session.state not in (HERE | RUNNING | AFTER if states is None else states - {SessionState.SCHEDULED}):
        return illegal(session)
    return session


async def recordable(session_id: UUID, at: dt.datetime | None, read: Reader, context: Context) -> Session | Rejected:
    """A session in which something may be recorded that was true then, now if nobody says when: while the patient is here, and
    after the session until its record is signed, if it was true in it (decision A13).
    """
    session = await present(session_id, read, HERE | RUNNING | AFTER | ({SessionState.CLOSED} if at else set()))
    if isinstance(session, Rejected):
        return session
    if session.locked_at is not None:
        return Rejected("record-locked")
    if at is not None and session.closed_at is not None and at > session.closed_at:
        return Rejected("after-session")
    return fresh_or_rejected(at, session, context) or session


def illegal(session: Session) -> Rejected:
    """A move that the session's state does not allow: where it stands, and where it may go from there."""
    moves = [FieldProblem(f"/moves/{name}", "allowed") for name in allowed(session)]
    return Rejected(ILLEGAL.code, body=problems.document(ILLEGAL, reason=session.state.value, errors=moves), final=False)
