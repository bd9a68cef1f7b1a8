"""The use case of a paper batch: what was kept on a sheet while the system was down comes back in one call (decision B1)."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import uuid_utils.compat

from schemas.values import Quantity
from services.runtime.database import Reader
from services.runtime.messaging.changes import Changes, Context, NewEvent, Rejected, RowChange
from services.session_logging import events
from services.session_logging.commands.aftercare import Aftercare, opens_review
from services.session_logging.commands.arrival import illegal
from services.session_logging.commands.infusion import given, not_staff
from services.session_logging.commands.room import Log, entry, fresh_or_rejected
from services.session_logging.domain.alarms import impossible
from services.session_logging.domain.paper import ACTS, Placed, Sheet, after, fit
from services.session_logging.domain.sessions import Entry, Kind, Session, SessionState
from services.session_logging.domain.totals import end_reason
from services.session_logging.store import sessions as store
from services.therapies import evidence

__all__ = ["Paper", "Row", "Taken"]

ACCEPTED, DUPLICATE, REFUSED = "accepted", "duplicate", "refused"


@dataclass(frozen=True, slots=True)
class Row:
    """What became of a row: ``accepted`` as an entry, a ``duplicate`` of one that is known, or ``refused`` with every bad field
    and why.
    """

    row: int
    status: str
    entry: UUID | None = None
    problems: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Taken:
    """A batch, row by row, and the session as it stands then."""

    session: Session
    rows: Sequence[Row]


@dataclass(slots=True)
class _Batch:
    """Collects what becomes of rows."""

    rows: dict[int, Row] = field(default_factory=dict)
    entries: dict[int, Entry] = field(default_factory=dict)

    def refuse(self, row: int, *problems: tuple[str, str]) -> None:
        self.rows[row] = Row(row, REFUSED, problems=problems)

    def take(self, sheet: Sheet, by: UUID, context: Context) -> None:
        made = entry(sheet.kind, str(by), context, sheet.at, sheet.data)
        self.entries[sheet.row] = made
        self.rows[sheet.row] = Row(sheet.row, ACCEPTED, made.id)


@dataclass(frozen=True, slots=True)
class Paper:
    """The use case, with those of aftercare."""

    aftercare: Aftercare

    async def transcribe(
        self, session_id: UUID, sheets: Sequence[Sheet], by: UUID, read: Reader, context: Context
    ) -> tuple[Changes, Taken] | Rejected | evidence.Rejected:
        """Take each row for itself: one that is wrong keeps no other from being known, and the second time changes nothing.

        RED and STOP that it tells of are raised, late, with their true time; nobody is called for a late AMBER. An act that the
        room would have asked a gate about, or refused, was done all the same: it is kept, and a prescriber has to look at it.
        """
        session = await store.session(read, session_id)
        if session is None:
            return Rejected("not-found", status=404)
        if session.state is SessionState.SCHEDULED:
            return illegal(session)
        if session.locked_at is not None:
            return Rejected("record-locked")
        log = await Log.load(read, session)
        batch = _Batch()
        fresh = await self._fresh(session, sheets, batch, read, context)
        placed, elsewhere = fit(log.entries, [one for one in fresh if one.kind in ACTS])
        for row, code in elsewhere.items():
            batch.refuse(row, ("kind", code))
        for sheet in sorted(fresh, key=lambda one: (one.at, one.row)):
            if sheet.row not in batch.rows:
                batch.take(sheet, by, context)
        new = list(batch.entries.values())
        taken = Taken(session, [batch.rows[one] for one in sorted(batch.rows)])
        if not new:
            return Changes(patient=str(session.patient)), taken
        changes = self.aftercare.arrival.room.logged(log, session, new, context)
        if isinstance(changes, evidence.Rejected):
            return changes
        moved = session
        for one in placed:
            if one.last:
                moved = after(moved, one.act)
        moves = [_move(session, one, by, context) for one in placed if one.before is not one.after]
        rows: list[RowChange] = [*changes.rows, store.session_row(moved), *moves]
        told = [*await self._told(session, moved, placed, batch, by, read, context), *changes.events]
        reviewed = log.review is not None or opens_review(changes)
        if not reviewed and any(_unasked(session, one.act) for one in placed):
            review, asked = await self.aftercare.review(session, "paper", read, context)
            rows.append(review)
            told.append(asked)
        changes = replace(changes, rows=rows, events=told)
        return changes, replace(taken, session=replace(moved, version=session.version + 1))

    async def _fresh(
        self, session: Session, sheets: Sequence[Sheet], batch: _Batch, read: Reader, context: Context
    ) -> list[Sheet]:
        """Rows that can have been, and are not known; what cannot be, or is known, is noted in the batch."""
        room = self.aftercare.arrival.room
        rules = room.pinned(session, context)
        known = {_key(one.kind, one.at, one.data) for one in await store.entries(read, session.id, all_of_them=True)}
        found = []
        for sheet in sheets:
            problems = [*_misplaced(sheet, session, context), *await not_staff(sheet.data, read)]
            data = dict(sheet.data)
            if sheet.kind == Kind.VITALS and not problems:
                scored = room.scored(data, sheet.at, session, context)
                wrong = scored if isinstance(scored, evidence.Rejected) else None
                if not isinstance(scored, evidence.Rejected):
                    data = scored
                    wrong = impossible(entry(Kind.VITALS, "", context, sheet.at, data), rules)
                problems += [(one.field, one.code) for one in wrong.problems] if wrong else []
            if sheet.kind == Kind.END:
                pump, bag = data["pump_volume"], (session.dose or {}).get("bag")
                problems += [("pump_volume", "more-than-the-bag")] if pump and bag and _more(pump, bag) else []
                data["reason"] = end_reason(data["reason"], replace(session, pump_volume=pump))
            key = _key(sheet.kind, sheet.at, data)
            if problems:
                batch.refuse(sheet.row, *problems)
            elif key in known:
                batch.rows[sheet.row] = Row(sheet.row, DUPLICATE)
            else:
                known.add(key)
                found.append(replace(sheet, data=data))
        return found

    async def _told(
        self,
        session: Session,
        moved: Session,
        placed: Sequence[Placed],
        batch: _Batch,
        by: UUID,
        read: Reader,
        context: Context,
    ) -> list[NewEvent]:
        """What others hear, in true time; the session itself once, as it stands in the end."""
        told: list[NewEvent] = []
        for made in sorted(batch.entries.values(), key=lambda one: one.at):
            who = UUID(made.data["done_by"]) if made.data.get("done_by") else by
            match made.kind:
                case Kind.VITALS:
                    told.append(events.vitals_summarised(session, made))
                    if made.data.get("cadss6") is not None:
                        told.append(events.cadss6_scored(session, made.id, made.data["cadss6"], by, made.at))
                case Kind.RESCUE:
                    told.append(events.rescue_given(session, made))
                case Kind.RATE:
                    told.append(events.infusion_rate_changed(replace(session, rate=made.data["rate"]), who, made.at))
                case Kind.PAUSE:
                    told.append(events.infusion_paused(session, made.data["reason"], who, made.at))
                case Kind.RESUME:
                    told.append(events.infusion_resumed(session, who, made.at))
                case Kind.END:
                    mass = await given(moved, read, self.aftercare.arrival.room, context)
                    told += [events.infusion_ended(moved, mass, made.data["reason"], who)] if mass else []
        if any(one.last and one.before is not one.after for one in placed):
            told.append(events.session_changed(moved, by))
        return told


def _misplaced(sheet: Sheet, session: Session, context: Context) -> list[tuple[str, str]]:
    if session.closed_at is not None and sheet.at > session.closed_at:
        return [("at", "after-session")]
    refused = fresh_or_rejected(sheet.at, session, context)
    return [("at", refused.code)] if refused else []


def _unasked(session: Session, act: Sheet) -> bool:
    """Whether nobody could be asked who would have been: the gate of a resume, or the plan about a rate above it."""
    if act.kind == Kind.RESUME:
        return True
    plan = (session.dose or {}).get("pump_rate")
    return act.kind == Kind.RATE and plan is not None and _more(act.data["rate"], plan)


def _more(one: str, other: str) -> bool:
    return Quantity.parse(one) > Quantity.parse(other)


def _move(session: Session, one: Placed, by: UUID, context: Context) -> Any:
    return store.append(
        "move",
        id=uuid_utils.compat.uuid7(),
        session=session.id,
        from_state=one.before.value,
        to_state=one.after.value,
        ending=None,
        at=one.act.at,
        recorded_at=context.now,
        by_person=str(by),
    )


def _key(kind: str, at: dt.datetime, data: Any) -> str:
    """What makes two rows the same: what they are about, when, and what they say."""
    said = {name: value for name, value in data.items() if value is not None}
    return f"{kind}/{at.astimezone(dt.UTC).isoformat()}/{evidence.canonical(said).decode()}"
