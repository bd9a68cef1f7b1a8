"""Use cases of the record: what was entered wrongly, corrections, the signature that locks it, and addenda after that."""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from schemas.values import Moment, Quantity
from services.directory import store as directory
from services.runtime.database import Reader
from services.runtime.edge.principal import Principal
from services.runtime.edge.signature import SignatureBody, sign
from services.runtime.messaging.changes import AcknowledgePage, CancelTimers, Changes, Context, Rejected, RowChange
from services.session_logging import events
from services.session_logging.commands.aftercare import Aftercare, opens_review
from services.session_logging.commands.arrival import illegal, present, shut_by
from services.session_logging.commands.infusion import given
from services.session_logging.commands.room import RECORD_DUE, Log, entry
from services.session_logging.domain.alarms import impossible
from services.session_logging.domain.gates import Known, Stock, discharge_case, dose_case, resume_case, start_case
from services.session_logging.domain.sessions import (
    AFTER,
    CORRECTABLE,
    Entry,
    Kind,
    Session,
    SessionState,
    counts_from,
    newest,
    record_task,
)
from services.session_logging.domain.totals import end_reason, totals
from services.session_logging.store import aftercare as drugs
from services.session_logging.store import sessions as store
from services.session_logging.store import watch as alarms
from services.therapies import evidence
from services.therapies.ketamine.discharge import discharge
from services.therapies.ketamine.dosing import Dose, dose_of_the_day
from services.therapies.ketamine.gates import FACT_OWNERS, resume_gate, start_gate

__all__ = ["Incomplete", "Record", "RecordContent"]


class RecordContent(BaseModel):
    """Exactly what is shown to who signs the record, and hashed: all that was kept, by its ids, and what came of it. ``pump``
    says whether what the pump reports agrees with rate and time: ``agrees``, ``differs`` or ``unknown``.
    """

    session: UUID
    patient: UUID
    ending: str | None
    started_at: dt.datetime | None
    ended_at: dt.datetime | None
    entries: list[UUID]
    alerts: list[UUID]
    adverse_events: list[UUID]
    samples: int
    by_rate: str | None
    pump_volume: str | None
    pump: str | None
    given: str | None


@dataclass(frozen=True, slots=True)
class Incomplete:
    """What is missing in a record, as codes; nobody signs it like that."""

    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Record:
    """The use cases, with those of aftercare."""

    aftercare: Aftercare

    async def correct(
        self, entry_id: UUID, values: Mapping[str, Any] | None, reason: str, by: UUID, read: Reader, context: Context
    ) -> tuple[Changes, Session] | Rejected | evidence.Rejected:
        """An entry was wrong: it stays, with the reason, and counts no longer; ``values`` are what was right, at the same time.

        Alerts follow from what counts now; what was raised before stays a human's to resolve. If a gate that it fed would
        have said something else, a review opens, and the old decision stays as it was (decisions B2, B10).
        """
        found = await store.entry_of(read, entry_id)
        session = await store.session(read, found[0]) if found else None
        if found is None or session is None:
            return Rejected("not-found", status=404)
        wrong = found[1]
        if session.locked_at is not None:
            return Rejected("record-locked")
        if wrong.kind not in CORRECTABLE or (values is not None and wrong.kind != Kind.VITALS):
            return Rejected("not-correctable")
        log = await Log.load(read, session)
        if entry_id not in {one.id for one in log.entries}:
            return Rejected("entered-in-error")
        new = [entry(Kind.ERROR, str(by), context, data={"entry": str(entry_id), "reason": reason})]
        if values is not None:
            scored = self.aftercare.arrival.room.scored(values, wrong.at, session, context)
            if isinstance(scored, evidence.Rejected):
                return scored
            corrects = {"corrects": str(entry_id), "counts_from": counts_from(wrong).isoformat()}
            right = entry(Kind.VITALS, str(by), context, wrong.at, {**scored, **corrects})
            if refused := impossible(right, self.aftercare.arrival.room.pinned(session, context)):
                return refused
            new.append(right)
        left = [one for one in log.entries if one.id != entry_id]
        changes = self.aftercare.arrival.room.logged(replace(log, entries=left), session, new, context)
        if isinstance(changes, evidence.Rejected):
            return changes
        counts = [*left, *(one for one in new if one.kind == Kind.VITALS)]
        reviewed = log.review is not None or opens_review(changes)
        if not reviewed and await self._would_differ(session, log.entries, counts, wrong, read, context):
            review, opened = await self.aftercare.review(session, "correction", read, context)
            changes = replace(changes, rows=[*changes.rows, review], events=[*changes.events, opened])
        if wrong.kind == Kind.RESCUE:
            told = events.rescue_in_error(session, entry_id, by, context.now)
            changes = replace(changes, events=[*changes.events, told])
        return changes, session

    async def correct_pump(
        self, session_id: UUID, pump_volume: Quantity, reason: str, by: UUID, read: Reader, context: Context
    ) -> tuple[Changes, Session] | Rejected:
        """What the pump had delivered was read or typed wrongly: the first figure stays in the log, with the reason.

        What was given, its totals and the ledger follow from the right one. If the session is over, and was closed on what is
        no longer so, a review opens; how it ended stays as it was (decision B10).
        """
        session = await present(session_id, read, AFTER | {SessionState.CLOSED})
        if isinstance(session, Rejected):
            return session
        if session.locked_at is not None:
            return Rejected("record-locked")
        if session.pump_volume is None or session.dose is None:
            return Rejected("pump-not-read", final=False)
        if pump_volume > Quantity.parse(session.dose["bag"]):
            return Rejected("more-than-the-bag", final=False)
        right = replace(session, pump_volume=str(pump_volume))
        corrected = {"from": session.pump_volume, "pump_volume": right.pump_volume, "reason": reason}
        said = entry(Kind.PUMP_CORRECTED, str(by), context, data=corrected)
        rows: list[RowChange] = [store.session_row(right), store.entry_row(session_id, said)]
        ended = next(one for one in await store.entries(read, session_id) if one.kind == Kind.END)
        before, after = (end_reason(ended.data["reason"], one) for one in (session, right))
        mass = await given(right, read, self.aftercare.arrival.room, context)
        told = [events.infusion_ended(right, mass, after, by)] if mass else []
        ledger = self.aftercare.ledger
        pages = await ledger.recounted(right, str(by), read, context)
        unbalanced = await ledger.unbalanced(right, read, context) is not None
        otherwise = session.state is SessionState.CLOSED and (before != after or unbalanced)
        if otherwise and await store.review_of_session(read, session_id) is None:
            review, opened = await self.aftercare.review(session, "correction", read, context)
            rows.append(review)
            told.append(opened)
        changes = Changes(rows=rows, events=told, pages=pages, patient=str(session.patient))
        return changes, replace(right, version=session.version + 1)

    async def show(self, session_id: UUID, read: Reader, context: Context) -> tuple[RecordContent, tuple[str, ...]] | Rejected:
        """What would be signed, and what is missing for that."""
        session = await store.session(read, session_id)
        if session is None:
            return Rejected("not-found", status=404)
        if session.state is SessionState.SCHEDULED:
            return illegal(session)
        return await self._content(session, read, context), await self.missing(session, read, context)

    async def lock(
        self, session_id: UUID, given: SignatureBody, who: Principal, read: Reader, context: Context
    ) -> tuple[Changes, Session] | Incomplete | Rejected:
        """A prescriber signs the record; from then on only addenda are written."""
        session = await store.session(read, session_id)
        if session is None:
            return Rejected("not-found", status=404)
        if session.state is SessionState.SCHEDULED:
            return illegal(session)
        if session.locked_at is not None:
            return Rejected("record-locked")
        if missing := await self.missing(session, read, context):
            return Incomplete(missing)
        patient = await directory.patient(read, session.patient)
        signer = await directory.staff(read, UUID(who.person))
        region = patient.region if patient else None
        if signer is None or region is None or not signer.holds("licence", context.now, region=region):
            return Rejected("not-qualified", final=False)
        if given.licence != region:
            return Rejected("wrong-licence", final=False)
        content = await self._content(session, read, context)
        signed = sign(given, who, content, subject=f"sessions/{session_id}/record", version=session.version, context=context)
        if isinstance(signed, Rejected):
            return signed
        locked = replace(session, locked_at=context.now)
        # The head of the log: who records at the same moment has to see that it is locked.
        rows: list[RowChange] = [
            store.session_row(locked),
            store.head_row(session_id, await store.head(read, session_id)),
            signed.row,
        ]
        pages = await alarms.page_of(read, [f"{RECORD_DUE}:{session_id}"])
        told = []
        if session.started_at is not None:
            told.append(events.record_signed(record_task(session_id), session, UUID(who.person), context.now))
        changes = Changes(
            rows=rows,
            events=told,
            timers=[CancelTimers(str(session_id), (RECORD_DUE,))],
            pages=[AcknowledgePage(page, who.person) for page in pages],
            patient=str(session.patient),
        )
        return changes, replace(locked, version=session.version + 1)

    async def add(
        self, session_id: UUID, text: str, by: UUID, read: Reader, context: Context
    ) -> tuple[Changes, Session] | Rejected:
        """An addendum to a record that is locked; it changes nothing in it."""
        session = await store.session(read, session_id)
        if session is None:
            return Rejected("not-found", status=404)
        if session.locked_at is None:
            return Rejected("record-open", final=False)
        said = entry(Kind.ADDENDUM, str(by), context, data={"text": text})
        return Changes(rows=[store.entry_row(session_id, said)], patient=str(session.patient)), session

    async def missing(self, session: Session, read: Reader, context: Context) -> tuple[str, ...]:
        """What a record lacks to be signed, as codes."""
        entries, wastes = await store.entries(read, session.id), await drugs.wastes(read, session.id)
        lacks = {
            "session-open": session.state is not SessionState.CLOSED,
            "alert-open": any(one.status == "open" for one in await alarms.alerts(read, session.id)),
            "adverse-event-open": any(one.resolved_at is None for one in await drugs.adverse_events(read, session.id)),
            "paper-unchecked": bool(_unchecked(entries)),
            "rescue-order": any(one.kind == Kind.RESCUE and not one.data["ordered_by"] for one in entries),
            "waste-unwitnessed": any(one.witness is None and one.error_at is None for one in wastes),
            "drug-unaccounted": await self.aftercare.ledger.unbalanced(session, read, context) is not None,
        }
        if session.started_at is not None:
            sets = [one for one in entries if one.kind == Kind.VITALS and one.at >= session.started_at]
            lacks |= {
                "vitals": not any(one.data.get("sbp") for one in sets),
                "cadss6": not any(one.data.get("cadss6") is not None for one in sets),
                "pump-volume": session.pump_volume is None,
            }
        return tuple(name for name, lacking in lacks.items() if lacking)

    async def _content(self, session: Session, read: Reader, context: Context) -> RecordContent:
        rules = self.aftercare.arrival.room.pinned(session, context)
        counted = await store.entries(read, session.id)
        ran = totals(session, counted, await drugs.drawn(read, session.id), context.now, rules)
        return RecordContent(
            session=session.id,
            patient=session.patient,
            ending=session.ending,
            started_at=session.started_at,
            ended_at=session.ended_at,
            entries=[one.id for one in await store.entries(read, session.id, all_of_them=True)],
            alerts=[one.id for one in await alarms.alerts(read, session.id)],
            adverse_events=[one.id for one in await drugs.adverse_events(read, session.id)],
            samples=len(await alarms.samples(read, session.id)),
            by_rate=ran.by_rate if ran else None,
            pump_volume=ran.pump_volume if ran else None,
            pump=ran.pump if ran else None,
            given=ran.given if ran else None,
        )

    async def _would_differ(
        self, session: Session, old: Sequence[Entry], new: Sequence[Entry], wrong: Entry, read: Reader, context: Context
    ) -> bool:
        """Whether a gate that was fed by it would have said something else: dose, start, each resume, discharge. All but the
        entries is the same on both sides.
        """
        room = self.aftercare.arrival.room
        rules = room.pinned(session, context)
        sides = [await room.known(session, entries, read, context) for entries in (old, new)]

        def at(instant: dt.datetime, known: Known) -> Known:
            then = [one for one in known.entries if counts_from(one) <= instant]
            return replace(known, entries=then, facts_as_of=dict.fromkeys(FACT_OWNERS, instant))

        def asked(instant: dt.datetime, evaluate: Callable[[Known, Moment], Any]) -> bool:
            if counts_from(wrong) > instant:
                return False
            moment = Moment(instant, session.zone)
            before, after = (evaluate(at(instant, one), moment) for one in sides)
            return _says(before) != _says(after)

        def dose(known: Known, at: Moment) -> Any:
            stock = Stock(*(Quantity.parse((session.dose or {})[name]) for name in ("strength", "bag")))
            return dose_of_the_day(dose_case(session, stock, known, at), rules)

        def left(known: Known, at: Moment) -> Any:
            return discharge(discharge_case(session, "prescriber", known, at), rules)

        def resumed(paused: Entry, one: Entry) -> bool:
            stood, rate = replace(session, paused_at=paused.at), Quantity.parse(one.data["rate"])
            return asked(one.at, lambda known, at: resume_gate(resume_case(stood, rate, True, known, at), rules))

        settled = await store.asked_last(read, session.id, "dose")
        if session.dose is not None and settled is not None and asked(settled, dose):
            return True
        if session.started_at is not None and asked(
            session.started_at, lambda known, at: start_gate(start_case(session, known, at), rules)
        ):
            return True
        if any(resumed(*acts) for acts in _resumes(old)):
            return True
        return session.closed_at is not None and session.ended_at is not None and asked(session.closed_at, left)


def _says(found: Any) -> object:
    """What is compared of an answer: what keeps a gate shut, and of a dose how much it is."""
    if isinstance(found, evidence.Rejected):
        return found.problems
    return found.outcome, shut_by(found), found.result if isinstance(found.result, Dose) else None


def _resumes(entries: Sequence[Entry]) -> list[tuple[Entry, Entry]]:
    """Each time the gate of a resume has let the pump go on, with the pause before it; paper asks nobody."""
    acts = sorted((one for one in entries if one.kind in (Kind.PAUSE, Kind.RESUME)), key=lambda one: (one.at, one.recorded_at))
    return [
        (before, one)
        for before, one in pairwise(acts)
        if one.kind == Kind.RESUME and before.kind == Kind.PAUSE and one.data.get("source") != "paper"
    ]


def _unchecked(entries: Sequence[Entry]) -> list[Entry]:
    """What came from paper and nobody has compared with the sheet since."""
    checked = newest(entries, Kind.PAPER_CHECKED)
    return [
        one
        for one in entries
        if one.data.get("source") == "paper" and (checked is None or one.recorded_at > checked.recorded_at)
    ]
