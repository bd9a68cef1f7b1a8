"""Use cases of the infusion: start, rate, pause, resume, end, and STOP, which always works."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import uuid_utils.compat

from schemas.values import Quantity
from services.directory import store as directory
from services.runtime.database import Reader
from services.runtime.messaging.changes import Changes, Context, NewEvent, Rejected, RowChange, SetTimer
from services.session_logging import events
from services.session_logging.commands.arrival import Arrival, Gate, asked, illegal, kept, present, recordable, shut_by
from services.session_logging.commands.ledger import DrugLedger
from services.session_logging.commands.room import (
    RECORD_DUE,
    STOPPED,
    Log,
    Room,
    entry,
    in_order_or_rejected,
    stop_pages,
    written,
)
from services.session_logging.domain import totals
from services.session_logging.domain.alarms import STOPS, human_stop
from services.session_logging.domain.drug import Rescue
from services.session_logging.domain.gates import overridden, resume_case, worst_today
from services.session_logging.domain.sessions import (
    AFTER,
    HERE,
    RUNNING,
    Entry,
    Kind,
    Session,
    SessionState,
    move,
    newest,
    record_due_at,
    record_due_on,
    record_task,
)
from services.session_logging.domain.totals import end_reason
from services.session_logging.store import aftercare as drugs
from services.session_logging.store import sessions as store
from services.session_logging.store import watch as alarms
from services.therapies import evidence
from services.therapies.evidence import Outcome, Thresholds, plain
from services.therapies.ketamine.gates import resume_gate

__all__ = ["Infusion", "NotStaff", "given", "not_staff"]

_Done = tuple[Changes, Session] | Rejected | evidence.Rejected


@dataclass(frozen=True, slots=True)
class NotStaff:
    """Who was named as having done something does not do that here: fields, each with its code."""

    fields: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Infusion:
    """The use cases; a start asks the same gate as ``Arrival``."""

    arrival: Arrival
    ledger: DrugLedger

    async def start(
        self, session_id: UUID, by: UUID, read: Reader, context: Context
    ) -> tuple[Changes, Session] | tuple[Changes, Gate] | Rejected | evidence.Rejected:
        """A nurse starts the pump, if the gate is open now. A refusal is kept like any other answer of the gate."""
        room = self.arrival.room
        session = await present(session_id, read, HERE)
        if isinstance(session, Rejected):
            return session
        log = await Log.load(read, session)
        known = await room.known(session, log.entries, read, context)
        found = self.arrival.evaluate(session, known, context)
        if found.outcome is not Outcome.OPEN or found.result is None:
            return asked(session, known, found, str(by), context)
        drawn = await drugs.drawn(read, session_id)
        if drawn is None:
            return Rejected("drug-not-drawn", final=False)
        if await self._has_witnessed(session_id, by, read):
            return Rejected("self-witnessed", final=False)
        assert session.dose is not None  # noqa: S101 - the gate asks whether it is settled
        worst = worst_today(known, room.moment(session, context))
        running = move(
            session,
            SessionState.INFUSING,
            context.now,
            started_at=context.now,
            rate=session.dose["pump_rate"],
            baseline=plain(found.result.vitals),
            baseline_cadss6=found.result.cadss6,
            baseline_risk=worst.value if worst else None,
        )
        begun = entry(Kind.START, str(by), context, data={"rate": running.rate})
        changes = room.logged(log, running, [begun], context)
        if isinstance(changes, evidence.Rejected):
            return changes
        changes = _record_asked(changes, running, room.pinned(session, context))
        identifier = uuid_utils.compat.uuid7()
        told = [
            events.gate_evaluated(running, identifier, "start", found, [], context.now, overridden(known.entries, found)),
            events.infusion_started(running, drawn.into_bag, by),
            events.session_changed(running, by),
        ]
        rows: list[RowChange] = [*changes.rows, kept(identifier, session, "start", found, str(by), context)]
        timers = [*changes.timers, *await room.on_roster(running, read, context)]
        return replace(changes, rows=rows, events=[*told, *changes.events], timers=timers), _next(running)

    async def change_rate(self, session_id: UUID, rate: Quantity, by: UUID, read: Reader, context: Context) -> _Done:
        """The rate may be lowered, or put back to what the plan says (decision A9)."""
        session = await present(session_id, read, frozenset({SessionState.INFUSING}))
        if isinstance(session, Rejected):
            return session
        if rate > Quantity.parse((session.dose or {})["pump_rate"]):
            return Rejected("above-plan", final=False)
        changed = replace(session, rate=str(rate))
        said = entry(Kind.RATE, str(by), context, data={"rate": str(rate)})
        told = events.infusion_rate_changed(changed, by, context.now)
        return await self._log(session, changed, said, read, context, told)

    async def pause(
        self, session_id: UUID, reason: str, at: dt.datetime | None, by: UUID, read: Reader, context: Context
    ) -> _Done:
        """The pump stands; a human has done it, and says when."""
        session = await present(session_id, read, frozenset({SessionState.INFUSING}))
        if isinstance(session, Rejected):
            return session
        if refused := in_order_or_rejected(at, session, context):
            return refused
        paused = move(session, SessionState.PAUSED, at or context.now, paused_at=at or context.now)
        said = entry(Kind.PAUSE, str(by), context, at, {"reason": reason})
        told = (events.infusion_paused(paused, reason, by, said.at), events.session_changed(paused, by))
        return await self._log(session, paused, said, read, context, *told)

    async def resume(
        self, session_id: UUID, rate: Quantity, agrees: bool, by: UUID, read: Reader, context: Context
    ) -> tuple[Changes, Session] | tuple[Changes, Gate] | Rejected | evidence.Rejected:
        """The pump runs again, if the gate of a resume is open."""
        room = self.arrival.room
        session = await present(session_id, read, frozenset({SessionState.PAUSED}))
        if isinstance(session, Rejected):
            return session
        log = await Log.load(read, session)
        known = await room.known(session, log.entries, read, context)
        case = resume_case(session, rate, agrees, known, room.moment(session, context))
        found = resume_gate(case, room.pinned(session, context))
        identifier = uuid_utils.compat.uuid7()
        row = kept(identifier, session, "resume", found, str(by), context)
        told = [events.gate_evaluated(session, identifier, "resume", found, shut_by(found), context.now)]
        if found.outcome is not Outcome.OPEN:
            changes = Changes(rows=[store.session_row(session), row], events=told, patient=str(session.patient))
            return changes, Gate(identifier, _next(session), found)
        if await self._has_witnessed(session_id, by, read):
            return Rejected("self-witnessed", final=False)
        running = move(session, SessionState.INFUSING, context.now, paused_at=None, rate=str(rate))
        said = entry(Kind.RESUME, str(by), context, data={"rate": str(rate)})
        changed = room.logged(log, running, [said], context)
        if isinstance(changed, evidence.Rejected):
            return changed
        told += [events.infusion_resumed(running, by, context.now), events.session_changed(running, by)]
        return replace(changed, rows=[*changed.rows, row], events=[*told, *changed.events]), _next(running)

    async def end(
        self, session_id: UUID, pump_volume: Quantity, at: dt.datetime | None, by: UUID, read: Reader, context: Context
    ) -> _Done:
        """The pump is off for good, and says how much of the bag it has delivered."""
        session = await present(session_id, read, RUNNING)
        if isinstance(session, Rejected):
            return session
        if refused := in_order_or_rejected(at, session, context):
            return refused
        if pump_volume > Quantity.parse((session.dose or {})["bag"]):
            return Rejected("more-than-the-bag", final=False)
        reason = end_reason("complete", replace(session, pump_volume=str(pump_volume)))
        return await self._end(session, reason, str(pump_volume), at, by, read, context)

    async def stop(self, session_id: UUID, reason: str, by: UUID, read: Reader, context: Context) -> _Done:
        """The patient asks to stop, or somebody sees that it must: from any state, before any other check.

        What runs ends; what has not begun does not begin; and it is written down wherever the session stands. An infusion that
        is ended, and an emergency after it, are a STOP alert whatever was measured: its pages are in this commit. Nothing is
        written that anybody who records holds, so it waits for no batch: what follows from it is told by a timer, at once.
        """
        session = await store.session(read, session_id)
        if session is None:
            return Rejected("not-found", status=404)
        emergency = session.state in AFTER and reason == "emergency" and not await self._is_called(session_id, read)
        return _halted(session, reason, by, context, emergency=emergency)

    async def withdraw(self, session_id: UUID, by: UUID, read: Reader, context: Context) -> _Done:
        """The patient withdraws consent at the chair: a STOP wherever the session stands, and consultation is told."""
        session = await store.session(read, session_id)
        if session is None:
            return Rejected("not-found", status=404)
        changes, halted = _halted(session, "consent-withdrawn", by, context, withdrawn=True)
        said = store.entry_row(session_id, entry(Kind.CONSENT_WITHDRAWN, str(by), context))
        known = await alarms.alerts(read, session_id)
        # Heard from elsewhere before: that has called everybody already, and what is open is not raised again.
        heard = any(one.family == "consent_withdrawn" and one.status == "open" for one in known)
        return replace(changes, rows=[*changes.rows, said], pages=[] if heard else changes.pages), halted

    async def read_pump(self, session_id: UUID, pump_volume: Quantity, by: UUID, read: Reader, context: Context) -> _Done:
        """After a STOP: how much of the bag the pump had delivered."""
        session = await present(session_id, read, AFTER | {SessionState.CLOSED})
        if isinstance(session, Rejected):
            return session
        if session.started_at is None:
            return illegal(session)
        if session.pump_volume is not None:
            return Rejected("pump-read")
        if pump_volume > Quantity.parse((session.dose or {})["bag"]):
            return Rejected("more-than-the-bag", final=False)
        known = replace(session, pump_volume=str(pump_volume))
        mass = await given(known, read, self.arrival.room, context)
        said = entry(Kind.PUMP_VOLUME, str(by), context, data={"pump_volume": str(pump_volume)})
        ended = next(one for one in await store.entries(read, session_id) if one.kind == Kind.END)
        told = [events.infusion_ended(known, mass, end_reason(ended.data["reason"], known), by)] if mass else []
        rows: list[RowChange] = [store.session_row(known), store.entry_row(session.id, said)]
        pages = await self.ledger.recounted(known, str(by), read, context)
        return Changes(rows=rows, events=told, pages=pages, patient=str(session.patient)), _next(known)

    async def give_rescue(
        self, session_id: UUID, wanted: Rescue, at: dt.datetime | None, by: UUID, read: Reader, context: Context
    ) -> tuple[Changes, Session] | NotStaff | Rejected | evidence.Rejected:
        """Another drug was given: which, how much, how, who ordered it, who gave it, and when. After the session, too, like a
        late set of vitals, until the record is signed.
        """
        session = await recordable(session_id, at, read, context)
        if isinstance(session, Rejected):
            return session
        if strangers := await not_staff(wanted.said(), read):
            return NotStaff(strangers)
        said = entry(Kind.RESCUE, str(by), context, at, wanted.said())
        changes = self.arrival.room.logged(await Log.load(read, session), session, [said], context)
        if isinstance(changes, evidence.Rejected):
            return changes
        return replace(changes, events=[events.rescue_given(session, said), *changes.events]), session

    async def _is_called(self, session_id: UUID, read: Reader) -> bool:
        """Whether everybody is being called for a human's STOP already, and nobody has answered yet."""
        last = newest(await store.entries(read, session_id), Kind.END, Kind.EMERGENCY)
        why = last and (last.data.get("code") or last.data.get("reason"))
        if last is None or why not in STOPS:
            return False
        alert = await alarms.alert(read, human_stop(session_id, why, last.at))
        # Its pages come before it: none is there in the instant before the timer of its STOP has told what follows.
        return alert is None or (alert.status == "open" and alert.nurse_at is None and alert.prescriber_at is None)

    async def _has_witnessed(self, session_id: UUID, by: UUID, read: Reader) -> bool:
        """Whether somebody who wants to give the drug has witnessed that a part of it was thrown away."""
        return any(one.witness == str(by) for one in await drugs.wastes(read, session_id))

    async def _end(
        self,
        session: Session,
        reason: str,
        pump_volume: str | None,
        at: dt.datetime | None,
        by: UUID,
        read: Reader,
        context: Context,
    ) -> _Done:
        ended = move(
            session,
            SessionState.RECOVERY,
            at or context.now,
            rate=None,
            paused_at=None,
            ended_at=at or context.now,
            pump_volume=pump_volume,
        )
        said = entry(Kind.END, str(by), context, at, {"reason": reason, "pump_volume": pump_volume})
        mass = await given(ended, read, self.arrival.room, context)
        told = [events.infusion_ended(ended, mass, reason, by)] if mass else []
        return await self._log(session, ended, said, read, context, *told, events.session_changed(ended, by))

    async def _log(
        self, known: Session, session: Session, said: Entry, read: Reader, context: Context, *told: NewEvent
    ) -> _Done:
        changes = self.arrival.room.logged(await Log.load(read, known), session, [said], context)
        if isinstance(changes, evidence.Rejected):
            return changes
        return replace(changes, events=[*told, *changes.events]), _next(session)


def _next(session: Session) -> Session:
    return replace(session, version=session.version + 1)


def _halted(
    session: Session, reason: str, by: UUID, context: Context, *, withdrawn: bool = False, emergency: bool = False
) -> tuple[Changes, Session]:
    """A STOP, in as few rows as it can be: the session, its move, an entry, its pages, the timer that tells what follows."""
    halted = session
    if session.state in RUNNING:
        halted = move(session, SessionState.RECOVERY, context.now, rate=None, paused_at=None, ended_at=context.now)
        said = entry(Kind.END, str(by), context, data={"reason": reason, "pump_volume": None})
    elif session.state in HERE:
        halted = move(session, SessionState.HELD, context.now)
        said = entry(Kind.DECISION_NEEDED, str(by), context, data={"code": reason})
    elif emergency:
        halted = replace(session)  # whoever closes it at the same time looks again
        said = entry(Kind.EMERGENCY, str(by), context, data={"code": reason})
    else:
        said = entry(Kind.FACTS, str(by), context, data={"stop_asked": reason})
    rows: list[RowChange] = [store.entry_row(session.id, said)]
    if halted is not session:
        rows += written(session, halted, str(by), context)
    follows = {"by": str(by), "withdrawn_at": context.now.isoformat() if withdrawn else None}
    timer = SetTimer(STOPPED, f"{STOPPED}:{said.id}", str(session.id), context.now, follows)
    calls = session.state in RUNNING or emergency
    pages = stop_pages(human_stop(session.id, reason, context.now)) if calls else []
    changes = Changes(rows=rows, timers=[timer], pages=pages, patient=str(session.patient))
    return changes, _next(halted) if halted is not session else session


def _record_asked(changes: Changes, session: Session, rules: Thresholds) -> Changes:
    """From the start on the record is owed, and somebody is called when nobody has signed it in time."""
    day = record_due_on(session, rules["record.due"].elapsed)
    assert day is not None  # noqa: S101 - it has begun
    due = record_due_at(session, day)
    timer = SetTimer(RECORD_DUE, f"{RECORD_DUE}:{session.id}", str(session.id), due)
    told = events.record_asked(record_task(session.id), session, due)
    return replace(changes, timers=[*changes.timers, timer], events=[*changes.events, told])


async def not_staff(said: Mapping[str, Any], read: Reader) -> list[tuple[str, str]]:
    """Who is named as having done, given or ordered something and does not do that here: fields, each with its code."""
    found = []
    for name, roles, code in (
        ("done_by", {"nurse", "prescriber"}, "not-a-nurse-or-prescriber"),
        ("given_by", {"nurse", "prescriber"}, "not-a-nurse-or-prescriber"),
        ("ordered_by", {"prescriber"}, "not-a-prescriber"),
    ):
        if person := said.get(name):
            known = await directory.staff(read, UUID(person))
            if known is None or not known.roles & roles:
                found.append((name, code))
    return found


async def given(session: Session, read: Reader, room: Room, context: Context) -> str | None:
    """Drug that the patient has received, as text in mg; None while the pump was not read or nothing was drawn."""
    volume = Quantity.parse(session.pump_volume) if session.pump_volume else None
    mass = totals.given(await drugs.drawn(read, session.id), volume, room.pinned(session, context))
    return str(mass) if mass is not None else None
