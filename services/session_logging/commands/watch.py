"""Use cases of watching: what is typed, what a monitor sends, alerts that humans acknowledge and resolve, and what is due."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from services.runtime.database import Reader
from services.runtime.messaging.changes import (
    AcknowledgePage,
    CancelTimers,
    Changes,
    Context,
    RaisePage,
    Rejected,
)
from services.session_logging import events
from services.session_logging.commands.arrival import present
from services.session_logging.commands.room import (
    ALERT_DUE,
    AMBER_UNCHECKED,
    PAUSE_UNRECORDED,
    Log,
    Room,
    entry,
    fresh_or_rejected,
    page_key,
    page_keys,
)
from services.session_logging.domain.alarms import Raised, Sample, impossible
from services.session_logging.domain.sessions import Kind, Session, SessionState
from services.session_logging.store import sessions as store
from services.session_logging.store import watch as alarms
from services.therapies import evidence
from services.therapies.instruments import score

__all__ = ["Ingested", "Watch"]


@dataclass(frozen=True, slots=True)
class Ingested:
    """What became of a batch: numbers that were taken, and those that had come before."""

    accepted: tuple[int, ...]
    duplicates: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Watch:
    """The use cases, in the room."""

    room: Room

    async def record(
        self, session_id: UUID, data: Mapping[str, Any], at: dt.datetime | None, by: UUID, read: Reader, context: Context
    ) -> tuple[Changes, Session] | Rejected | evidence.Rejected:
        """A set of vitals that somebody types; the alerts that follow are raised in the same commit."""
        session = await present(session_id, read)
        if isinstance(session, Rejected):
            return session
        if refused := fresh_or_rejected(at, session, context):
            return refused
        typed = dict(data)
        told = []
        if answers := typed.pop("cadss6_answers", None):
            found = score("cadss6", answers, at or context.now, self.room.rules("instruments", session.zone, context))
            if isinstance(found, evidence.Rejected):
                return found
            assert found.result is not None  # noqa: S101 - a score is always given
            typed |= {"cadss6": found.result.total, "cadss6_answers": list(answers)}
        said = entry(Kind.VITALS, str(by), context, at, typed)
        if wrong := impossible(said, self.room.rules("ketamine", session.zone, context)):
            return wrong
        if typed.get("cadss6") is not None:
            told.append(events.cadss6_scored(session, said.id, typed["cadss6"], by, said.at))
        changes = self.room.logged(await Log.load(read, session), session, [said], context)
        if isinstance(changes, evidence.Rejected):
            return changes
        told = [events.vitals_summarised(session, said), *told, *changes.events]
        return replace(changes, events=told), session

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

    async def _note(
        self, session_id: UUID, kind: str, by: UUID, read: Reader, context: Context
    ) -> tuple[Changes, Session] | Rejected | evidence.Rejected:
        session = await present(session_id, read)
        if isinstance(session, Rejected):
            return session
        changes = self.room.logged(await Log.load(read, session), session, [entry(kind, str(by), context)], context)
        if isinstance(changes, evidence.Rejected):
            return changes
        return changes, session

    async def ingest(
        self, session_id: UUID, device: str, samples: Sequence[Sample], read: Reader, context: Context
    ) -> tuple[Changes, Ingested] | Rejected | evidence.Rejected:
        """A batch of the monitor that is bound to the session. A sample that has come before changes nothing."""
        session = await present(session_id, read)
        if isinstance(session, Rejected):
            return session
        if session.device != device:
            return Rejected("not-bound", final=False)
        if any(one.at > context.now + _SKEW for one in samples):
            return Rejected("in-the-future", final=False)
        before = await alarms.known_samples(read, session_id, device, [one.seq for one in samples])
        new = [replace(one, recorded_at=max(context.now, one.at)) for one in samples if one.seq not in before]
        outcome = Ingested(tuple(one.seq for one in new), tuple(sorted(before)))
        if not new:
            return Changes(patient=str(session.patient)), outcome
        changes = self.room.logged(await Log.load(read, session), session, [], context, new)
        if isinstance(changes, evidence.Rejected):
            return changes
        told = [events.stream_summarised(session, new), *changes.events]
        return replace(changes, events=told), outcome

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
        changes = Changes(
            rows=[alarms.alert_row(closed), store.head_row(alert.session, await store.head(read, alert.session))],
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

    def stopped(self, log: Log, by: UUID, withdrawn_at: dt.datetime | None, context: Context) -> Changes:
        """What follows from a STOP that is written: its alerts, the next silence, and what others are told."""
        changes = self.silence(log, context)
        told = [events.session_changed(log.session, by)]
        if withdrawn_at is not None:
            told.append(events.consent_withdrawn(log.session, by, withdrawn_at))
        return replace(changes, events=[*told, *changes.events])

    def due(self, alert: Raised, log: Log, what: str) -> Changes:
        """What an alert asks for should have been done by now."""
        if alert.status != "open":
            return Changes()
        since = [one for one in log.entries if one.recorded_at >= alert.raised_at]
        if what == "pause":
            done = log.session.state is not SessionState.INFUSING or any(one.kind == Kind.PAUSE for one in since)
            code = PAUSE_UNRECORDED
        else:
            done = any(one.kind == Kind.VITALS and one.at > alert.at for one in since)
            code = AMBER_UNCHECKED
        return Changes() if done else Changes(pages=[RaisePage(code, page_key(alert.id, what), str(alert.id))])


_SKEW = dt.timedelta(seconds=5)
"""How far a monitor's clock may be ahead of the clinic's."""
