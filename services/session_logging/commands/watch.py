"""Use cases of watching: what is typed, what a monitor sends, alerts that humans acknowledge and resolve, and what is due."""

import datetime as dt
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import uuid_utils.compat

from services.directory.domain import Shift
from services.runtime.database import Reader
from services.runtime.messaging.changes import (
    AcknowledgePage,
    CancelTimers,
    Changes,
    Context,
    RaisePage,
    Rejected,
    RowChange,
)
from services.session_logging import events
from services.session_logging.commands.arrival import present, recordable
from services.session_logging.commands.room import (
    ALERT_DUE,
    AMBER_UNCHECKED,
    PAUSE_UNRECORDED,
    SYSTEM,
    UNBOUND,
    VITALS_DUE,
    Log,
    Room,
    entry,
    look_at,
    page_key,
    page_keys,
)
from services.session_logging.domain.alarms import Raised, Sample, impossible, looked_again
from services.session_logging.domain.sessions import AFTER, RUNNING, Kind, Session, SessionState, newest
from services.session_logging.domain.streams import Judged, judge
from services.session_logging.store import sessions as store
from services.session_logging.store import watch as alarms
from services.therapies import evidence

__all__ = ["Ingested", "NotBound", "Watch"]


@dataclass(frozen=True, slots=True)
class Ingested:
    """What became of a batch, row by row, and how far the monitor's clock was ahead of the clinic's."""

    judged: Judged
    offset: dt.timedelta | None


@dataclass(frozen=True, slots=True)
class NotBound:
    """A batch of a monitor that is not bound to this session: none of it is kept, and somebody is called."""


@dataclass(frozen=True, slots=True)
class Watch:
    """The use cases, in the room."""

    room: Room

    async def record(
        self, session_id: UUID, data: Mapping[str, Any], at: dt.datetime | None, by: UUID, read: Reader, context: Context
    ) -> tuple[Changes, Session] | Rejected | evidence.Rejected:
        """A set of vitals that somebody types; the alerts that follow are raised in the same commit.

        After the session one that was true in it is taken until the record is signed (decision A13).
        """
        session = await recordable(session_id, at, read, context)
        if isinstance(session, Rejected):
            return session
        typed = self.room.scored(data, at or context.now, session, context)
        if isinstance(typed, evidence.Rejected):
            return typed
        told = []
        said = entry(Kind.VITALS, str(by), context, at, typed)
        if wrong := impossible(said, self.room.pinned(session, context)):
            return wrong
        if typed.get("cadss6") is not None:
            told.append(events.cadss6_scored(session, said.id, typed["cadss6"], by, said.at))
        changes = self.room.logged(await self.room.log(read, session, [said]), session, [said], context)
        if isinstance(changes, evidence.Rejected):
            return changes
        told = [events.vitals_summarised(session, said), *told, *changes.events]
        return replace(changes, events=told), session

    async def check_paper(
        self, session_id: UUID, by: UUID, read: Reader, context: Context
    ) -> tuple[Changes, Session] | Rejected:
        """Somebody else than who typed them has compared the sets from paper with the sheet (decision B1)."""
        session = await store.session(read, session_id)
        if session is None:
            return Rejected("not-found", status=404)
        if session.locked_at is not None:
            return Rejected("record-locked")
        typed = [one for one in await store.entries(read, session_id) if one.data.get("source") == "paper"]
        if not typed:
            return Rejected("no-paper", final=False)
        if any(one.by == str(by) for one in typed):
            return Rejected("self-checked", final=False)
        said = entry(Kind.PAPER_CHECKED, str(by), context, data={"entries": [str(one.id) for one in typed]})
        return Changes(rows=[store.entry_row(session_id, said)], patient=str(session.patient)), session

    async def symptoms_over(
        self, session_id: UUID, by: UUID, read: Reader, context: Context
    ) -> tuple[Changes, Session] | Rejected | evidence.Rejected:
        """The symptoms that were entered are over."""
        return await self._note(session_id, Kind.SYMPTOMS_OVER, by, read, context)

    async def device_lost(
        self, session_id: UUID, by: UUID, read: Reader, context: Context
    ) -> tuple[Changes, Session] | Rejected | evidence.Rejected:
        """The monitor no longer measures."""
        return await self._note(session_id, Kind.DEVICE_LOST, by, read, context)

    async def nurse_left(
        self, session_id: UUID, by: UUID, read: Reader, context: Context
    ) -> tuple[Changes, Session] | Rejected | evidence.Rejected:
        """The nurse who is responsible leaves, and nobody has taken the patient over: RED while the session runs (decision B4).
        Whoever sees it may say it. A handover makes somebody responsible again, and closes nothing.
        """
        session = await present(session_id, read)
        if isinstance(session, Rejected):
            return session
        if session.nurse is None:
            return Rejected("nobody-responsible", final=False)
        left = replace(session, nurse=None)
        said = entry(Kind.NURSE_LEFT, str(by), context, data={"from": str(session.nurse)})
        changes = self.room.logged(await self.room.log(read, session, [said]), left, [said], context)
        if isinstance(changes, evidence.Rejected):
            return changes
        told = [events.session_changed(left, by), *changes.events]
        return replace(changes, events=told), replace(left, version=session.version + 1)

    async def _note(
        self, session_id: UUID, kind: str, by: UUID, read: Reader, context: Context
    ) -> tuple[Changes, Session] | Rejected | evidence.Rejected:
        session = await present(session_id, read)
        if isinstance(session, Rejected):
            return session
        said = entry(kind, str(by), context)
        changes = self.room.logged(await self.room.log(read, session, [said]), session, [said], context)
        if isinstance(changes, evidence.Rejected):
            return changes
        return changes, session

    async def ingest(
        self, session_id: UUID, batch: Sequence[Sample], sent_at: dt.datetime | None, read: Reader, context: Context
    ) -> tuple[Changes, Ingested | NotBound] | Rejected | evidence.Rejected:
        """A batch of the monitor that is bound to the session: each row is taken, known, or refused for itself (decision B2).

        Args:
            batch: of one monitor.
            sent_at: the monitor's own clock when it sent them.
        """
        session = await store.session(read, session_id)
        if session is None:
            return Rejected("not-found", status=404)
        device = batch[0].device
        if session.locked_at is not None:
            return Rejected("record-locked")
        if session.device != device:
            page = RaisePage(UNBOUND, f"{UNBOUND}:{device}:{session_id}", str(session_id))
            return Changes(pages=[page], patient=str(session.patient)), NotBound()
        rules = self.room.pinned(session, context)
        before = await alarms.known_samples(read, session_id, batch)
        judged = judge(batch, before, session.checked_in_at, session.closed_at, context.now, rules)
        offset = sent_at - context.now if sent_at else None
        kept = store.append(
            "batch",
            id=uuid_utils.compat.uuid7(),
            session=session_id,
            device=device,
            received_at=context.now,
            offset_ms=offset // _MS if offset is not None else None,
            accepted=len(judged.accepted),
            duplicates=len(judged.duplicates),
            refused=[[seq, why.value] for seq, why in judged.refused],
        )
        outcome = Ingested(judged, offset)
        if not judged.accepted:
            return Changes(rows=[kept], patient=str(session.patient)), outcome
        log = await self.room.log(read, session, samples=judged.accepted)
        changes = self.room.logged(log, session, [], context, judged.accepted)
        if isinstance(changes, evidence.Rejected):
            return changes
        told = [events.stream_summarised(session, judged.accepted), *changes.events]
        return replace(changes, rows=[*changes.rows, kept], events=told), outcome

    async def bind(
        self, session_id: UUID, device: str | None, by: UUID, read: Reader, context: Context
    ) -> tuple[Changes, Session] | Rejected | evidence.Rejected:
        """Another monitor is bound to the session by its scan, or none any more."""
        session = await present(session_id, read)
        if isinstance(session, Rejected):
            return session
        if device is not None and await store.bound_elsewhere(read, device, session_id):
            return Rejected("device-bound", final=False)
        bound = replace(session, device=device)
        said = entry(Kind.DEVICE, str(by), context, data={"from": session.device, "to": device})
        rows: list[RowChange] = [store.session_row(bound), store.entry_row(session_id, said)]
        return Changes(rows=rows, patient=str(session.patient)), replace(bound, version=session.version + 1)

    async def acknowledge(
        self, alert_id: UUID, role: str, by: UUID, read: Reader, context: Context
    ) -> tuple[Changes, Raised] | Rejected:
        """Somebody of a role has taken an alert over: that ends the pages of their ladder and no other (decision A2)."""
        alert = await alarms.alert(read, alert_id)
        if alert is None:
            return Rejected("not-found", status=404)
        if alert.status != "open":
            return Rejected("alert-closed")
        known_at = alert.nurse_at if role == "nurse" else alert.prescriber_at
        pages = [AcknowledgePage(page, str(by)) for page in await alarms.page_of(read, page_keys(alert, role))]
        if known_at is not None:
            # Taken before; a page of the ladder that was raised since is ended all the same.
            return Changes(pages=pages, patient=str(alert.patient)), alert
        taken = (
            replace(alert, nurse_by=str(by), nurse_at=context.now)
            if role == "nurse"
            else replace(alert, prescriber_by=str(by), prescriber_at=context.now)
        )
        told = events.alert_acknowledged(alert, role, by, context.now)
        changes = Changes(rows=[alarms.alert_row(taken)], events=[told], pages=pages, patient=str(alert.patient))
        return changes, replace(taken, version=alert.version + 1)

    async def resolve(
        self, alert_id: UUID, role: str, action: str, by: UUID, read: Reader, context: Context
    ) -> tuple[Changes, Raised] | Rejected:
        """A human closes an alert and says what was done; nothing closes by itself. RED and STOP are a prescriber's."""
        alert = await alarms.alert(read, alert_id)
        if alert is None:
            return Rejected("not-found", status=404)
        if alert.status != "open":
            return Rejected("alert-closed")
        if alert.grave and role != "prescriber":
            return Rejected("not-of-your-role", final=False)
        closed = replace(alert, status="resolved", action=action, resolved_by=str(by), resolved_at=context.now)
        keys = page_keys(alert, "nurse", "prescriber")
        # The head of the log: whoever records at the same time has to look at what is open now.
        head = await alarms.head(read, alert.session)
        changes = Changes(
            rows=[alarms.alert_row(closed), store.head_row(alert.session, head.version, head.stands)],
            events=[events.alert_resolved(closed, by)],
            pages=[AcknowledgePage(page, str(by)) for page in await alarms.page_of(read, keys)],
            timers=[CancelTimers(str(alert.id), (ALERT_DUE,))],
            patient=str(alert.patient),
        )
        return changes, replace(closed, version=alert.version + 1)

    def silence(self, log: Log, context: Context) -> Changes:
        """Time has passed without anything: the alerts about silence that are due by now."""
        if log.session.state is SessionState.CLOSED:
            return Changes()
        changes = self.room.logged(log, log.session, [], context)
        assert isinstance(changes, Changes)  # noqa: S101 - nothing new that could be refused
        return changes

    def on_roster(self, log: Log, nurse: str, shifts: Iterable[Shift], context: Context) -> Changes:
        """The roster is looked at: that the shift of the nurse who is responsible is over, and nobody has taken the patient
        over, is RED (decision B4). They stay responsible until somebody does, and are told so once.
        """
        session = log.session
        if str(session.nurse) != nurse or session.state not in RUNNING | AFTER:
            return Changes()
        if due := self.room.roster_due(session, shifts, context):
            return Changes(timers=[due])
        last = newest(log.entries, Kind.HANDOVER, Kind.SHIFT_OVER)
        if last is not None and last.kind == Kind.SHIFT_OVER:
            return Changes()
        said = entry(Kind.SHIFT_OVER, SYSTEM, context, data={"nurse": nurse})
        changes = self.room.logged(log, session, [said], context)
        assert isinstance(changes, Changes)  # noqa: S101 - an entry of now is never refused
        return changes

    def stopped(self, log: Log, by: UUID, withdrawn_at: dt.datetime | None, context: Context) -> Changes:
        """What follows from a STOP that is written: its alerts, the next silence, and what others are told."""
        changes = self.silence(log, context)
        told = [events.session_changed(log.session, by)]
        if withdrawn_at is not None:
            told.append(events.consent_withdrawn(log.session, by, withdrawn_at))
        return replace(changes, events=[*told, *changes.events])

    def vitals_due(self, log: Log, noticed: Collection[dt.datetime], context: Context) -> Changes:
        """The time of the next set of vitals has come: a notice if it has not been taken, once for each that is due.

        Args:
            noticed: instants of which there is a notice.
        """
        session = log.session
        due = None if session.state is SessionState.CLOSED else self.room.pressure_due(log, context)
        if due is None or due in noticed:
            return Changes()
        if due > context.now:
            return Changes(timers=[look_at(VITALS_DUE, log, due, recorded=False)])
        row = store.append("vitals_due", session=session.id, due_at=due, raised_at=context.now)
        return Changes(rows=[row], events=[events.vitals_due(session, due)], patient=str(session.patient))

    def due(self, alert: Raised, log: Log, what: str) -> Changes:
        """What an alert asks for should have been done by now."""
        if alert.status != "open":
            return Changes()
        since = [one for one in log.entries if one.recorded_at >= alert.raised_at]
        if what == "pause":
            done = log.session.state is not SessionState.INFUSING or any(one.kind == Kind.PAUSE for one in since)
            code = PAUSE_UNRECORDED
        else:
            done = any(looked_again(alert, one) and one.at > alert.at for one in since)
            code = AMBER_UNCHECKED
        return Changes() if done else Changes(pages=[RaisePage(code, page_key(alert.id, what), str(alert.id))])


_MS = dt.timedelta(milliseconds=1)
