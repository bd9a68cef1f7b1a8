"""What the room does when time comes: silence raises its alerts, and what an alert asks for is looked for."""

import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from uuid import UUID

from services.directory import store as directory
from services.directory.domain import Shift
from services.runtime.database import Reader
from services.runtime.messaging.changes import Append, Changes, Context, RaisePage
from services.runtime.messaging.timers import Timer
from services.session_logging.commands.room import RECORD_DUE, Log
from services.session_logging.commands.watch import Watch
from services.session_logging.domain.alarms import Raised
from services.session_logging.domain.sessions import Session
from services.session_logging.store import sessions as store
from services.session_logging.store import watch as alarms

__all__ = ["AlertDue", "RecordDue", "ShiftOver", "Silence", "Stopped", "VitalsDue"]


@dataclass(frozen=True, slots=True)
class Silence:
    """Raises the alerts about silence of a session."""

    watch: Watch

    def key(self, item: Timer) -> UUID:
        return UUID(item.subject)

    async def load(self, read: Reader, keys: Collection[UUID]) -> Mapping[UUID, Log]:
        return await self.watch.room.logs(read, keys)

    def decide(self, state: Log | None, item: Timer, context: Context) -> tuple[Log | None, Changes]:
        return (state, Changes()) if state is None else (None, self.watch.silence(state, context))


@dataclass(frozen=True, slots=True)
class VitalsDue:
    """Notices that a set of vitals is due and has not been taken."""

    watch: Watch

    def key(self, item: Timer) -> UUID:
        return UUID(item.subject)

    async def load(self, read: Reader, keys: Collection[UUID]) -> Mapping[UUID, tuple[Log, Collection[dt.datetime]]]:
        return {key: (log, await alarms.dues(read, key)) for key, log in (await self.watch.room.logs(read, keys)).items()}

    def decide(
        self, state: tuple[Log, Collection[dt.datetime]] | None, item: Timer, context: Context
    ) -> tuple[tuple[Log, Collection[dt.datetime]] | None, Changes]:
        if state is None:
            raise LookupError("the session is not known")
        log, noticed = state
        changes = self.watch.vitals_due(log, noticed, context)
        # Another timer of the same set finds the notice.
        return (log, [*noticed, *(row.values["due_at"] for row in changes.rows if isinstance(row, Append))]), changes


@dataclass(frozen=True, slots=True)
class ShiftOver:
    """Looks at the roster for the nurse who is responsible."""

    watch: Watch

    def key(self, item: Timer) -> tuple[UUID, UUID]:
        return UUID(item.subject), UUID(item.payload["nurse"])

    async def load(
        self, read: Reader, keys: Collection[tuple[UUID, UUID]]
    ) -> Mapping[tuple[UUID, UUID], tuple[Log, list[Shift]]]:
        logs = await self.watch.room.logs(read, {session for session, _ in keys})
        return {(session, nurse): (logs[session], await directory.shifts(read, "nurse", nurse)) for session, nurse in keys}

    def decide(
        self, state: tuple[Log, list[Shift]] | None, item: Timer, context: Context
    ) -> tuple[tuple[Log, list[Shift]] | None, Changes]:
        if state is None:
            return None, Changes()  # another look at the same time has found what there is
        return None, self.watch.on_roster(state[0], item.payload["nurse"], state[1], context)


@dataclass(frozen=True, slots=True)
class Stopped:
    """Tells what follows from a STOP, which itself writes as little as it can and waits for nobody."""

    watch: Watch

    def key(self, item: Timer) -> UUID:
        return UUID(item.subject)

    async def load(self, read: Reader, keys: Collection[UUID]) -> Mapping[UUID, Log]:
        return await self.watch.room.logs(read, keys)

    def decide(self, state: Log | None, item: Timer, context: Context) -> tuple[Log | None, Changes]:
        if state is None:
            raise LookupError("the session is not known")
        at = item.payload.get("withdrawn_at")
        withdrawn_at = dt.datetime.fromisoformat(at) if at else None
        return state, self.watch.stopped(state, UUID(item.payload["by"]), withdrawn_at, context)


@dataclass(frozen=True, slots=True)
class RecordDue:
    """Calls somebody when a record was not signed in time."""

    def key(self, item: Timer) -> UUID:
        return UUID(item.subject)

    async def load(self, read: Reader, keys: Collection[UUID]) -> Mapping[UUID, Session]:
        return await store.sessions(read, keys)

    def decide(self, state: Session | None, item: Timer, context: Context) -> tuple[Session | None, Changes]:
        if state is None:
            raise LookupError("the session is not known")
        if state.locked_at is not None:
            return state, Changes()
        return state, Changes(pages=[RaisePage(RECORD_DUE, f"{RECORD_DUE}:{state.id}", str(state.id))])


@dataclass(frozen=True, slots=True)
class AlertDue:
    """Calls somebody when what an alert asks for was not done."""

    watch: Watch

    def key(self, item: Timer) -> UUID:
        return UUID(item.subject)

    async def load(self, read: Reader, keys: Collection[UUID]) -> Mapping[UUID, tuple[Raised, Log]]:
        found = {}
        for key in keys:
            alert = await alarms.alert(read, key)
            if alert is not None:
                found[key] = (alert, (await self.watch.room.logs(read, [alert.session]))[alert.session])
        return found

    def decide(
        self, state: tuple[Raised, Log] | None, item: Timer, context: Context
    ) -> tuple[tuple[Raised, Log] | None, Changes]:
        if state is None:
            raise LookupError("the alert is not known")
        return state, self.watch.due(*state, item.payload["what"])
