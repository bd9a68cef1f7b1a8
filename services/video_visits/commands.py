"""Use cases of visits: scheduled, moved, cancelled; joined; judged by who was there."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from schemas.values import zone_of
from services.directory import store as directory
from services.runtime.database import Reader
from services.runtime.messaging.changes import CancelTimers, Changes, Context, Rejected, RowChange, SetTimer
from services.therapies.evidence import Thresholds
from services.therapies.rulebook import Rulebook
from services.video_visits import events, livekit, store
from services.video_visits.domain import (
    OPEN,
    Interval,
    Role,
    State,
    Visit,
    both_since,
    closed,
    joined,
    last_left,
    left,
    may_join,
    missing,
    superseded,
    together_s,
)
from services.video_visits.livekit import Call

__all__ = ["INTERRUPTED", "NO_SHOW", "Joined", "Visits"]

NO_SHOW = "video_visits.no-show"
"""Timer: by now both should have been there."""
INTERRUPTED = "video_visits.interrupted"
"""Timer: nobody has come back."""
LIVEKIT = "livekit"
_MOMENT = dt.timedelta(milliseconds=1)
"""The two clocks are read one after the other: closer than this their distance is not known."""


@dataclass(frozen=True, slots=True)
class Joined:
    """Somebody may join: as what, until when."""

    visit: Visit
    role: Role


@dataclass(frozen=True, slots=True)
class Visits:
    """The use cases, under the signed times."""

    rulebook: Rulebook

    async def schedule(self, wanted: Visit, read: Reader, context: Context) -> tuple[Changes, Visit] | Rejected:
        """A visit is to take place."""
        hours = await directory.opening_hours(read)
        if hours is None:
            return Rejected("calendar-unknown", final=False)
        patient = await directory.patient(read, wanted.patient)
        if patient is None or not patient.active:
            return Rejected("patient-not-active", final=False)
        clinician = await directory.staff(read, wanted.clinician)
        if clinician is None or not clinician.active:
            return Rejected("staff-unknown", final=False)
        if wanted.starts_at <= context.now:
            return Rejected("in-the-past", final=False)
        made = replace(wanted, zone=hours.zone)
        row = store.visit_row(made)
        changes = Changes(
            rows=[row],
            events=[events.visit_scheduled(made)],
            timers=[self._judged(made, context)],
            patient=str(made.patient),
        )
        return changes, replace(made, version=row.version)

    async def move(
        self, visit_id: UUID, starts_at: dt.datetime, read: Reader, context: Context
    ) -> tuple[Changes, Visit] | Rejected:
        """It takes place at another time."""
        visit = await _open(visit_id, read, State.SCHEDULED)
        if isinstance(visit, Rejected):
            return visit
        if starts_at <= context.now:
            return Rejected("in-the-past", final=False)
        moved = replace(visit, starts_at=starts_at, region=None, address=None, located_at=None)
        row = store.visit_row(moved)
        timers: list[SetTimer | CancelTimers] = [CancelTimers(str(visit.id), (NO_SHOW,)), self._judged(moved, context)]
        changes = Changes(rows=[row], events=[events.visit_scheduled(moved)], timers=timers, patient=str(visit.patient))
        return changes, replace(moved, version=row.version)

    async def cancel(self, visit_id: UUID, reason: str, read: Reader, context: Context) -> tuple[Changes, Visit] | Rejected:
        """It does not take place."""
        visit = await _open(visit_id, read, State.SCHEDULED)
        if isinstance(visit, Rejected):
            return visit
        return self.cancelled(visit, reason)

    def cancelled(self, visit: Visit, reason: str) -> tuple[Changes, Visit]:
        """A visit that does not take place; said by a person, or because the patient is no longer treated."""
        off = replace(visit, state=State.CANCELLED, reason=reason)
        row = store.visit_row(off)
        timers = [CancelTimers(str(visit.id), (NO_SHOW, INTERRUPTED))]
        changes = Changes(rows=[row], events=[events.visit_cancelled(off, reason)], timers=timers, patient=str(visit.patient))
        return changes, replace(off, version=row.version)

    async def locate(
        self, visit_id: UUID, region: str, address: str, read: Reader, context: Context
    ) -> tuple[Changes, Visit] | Rejected:
        """Where the patient is today: it decides which licence counts, and where help is sent."""
        visit = await _open(visit_id, read)
        if isinstance(visit, Rejected):
            return visit
        located = replace(visit, region=region, address=address, located_at=context.now)
        row = store.visit_row(located)
        return Changes(rows=[row], patient=str(visit.patient)), replace(located, version=row.version)

    async def join(self, visit_id: UUID, role: Role, read: Reader, context: Context) -> Joined | Rejected:
        """Whether somebody may join by video now."""
        visit = await store.visit(read, visit_id)
        if visit is None:
            return Rejected("not-found", status=404)
        if not livekit.configured():
            return Rejected("not-by-video", final=False)
        rules = self._rules(visit.zone, context)
        limits = {"before": rules["visit.join before the start"].elapsed, "after": rules["visit.join after the end"].elapsed}
        if refused := may_join(visit, role, context.now, limits):
            return Rejected(refused, final=False)
        if role is Role.CLINICIAN and visit.region is not None:
            staff = await directory.staff(read, visit.clinician)
            if staff is None or not staff.holds("licence", context.now, region=visit.region):
                return Rejected("no-licence-there", final=False)
        return Joined(visit, role)

    async def attend(
        self, visit_id: UUID, role: Role, there: bool, at: dt.datetime | None, read: Reader, context: Context
    ) -> tuple[Changes, Visit] | Rejected:
        """A visit in person: who is in the room, as staff say it."""
        visit = await _open(visit_id, read)
        if isinstance(visit, Rejected):
            return visit
        if visit.by_video and livekit.configured():
            return Rejected("by-video", final=False)
        at = at or context.now
        if at > context.now:
            return Rejected("in-the-future", final=False)
        presence = await store.presence(read, visit_id)
        # In the room somebody has one connection: the next one begins when they come again.
        own = [one for one in presence if one.role is role]
        number = len(own) + (1 if there and (not own or own[-1].left_at is not None) else 0)
        known = _known(presence, f"{role.value}-{max(number, 1)}", role)
        return self._present(visit, presence, [(joined if there else left)(known, at)], context)

    async def called(self, call: Call, read: Reader, context: Context) -> Changes:
        """The platform says that something happened. What has come before, or is of no room of ours, changes nothing."""
        if await store.known_call(read, LIVEKIT, call.id):
            return Changes()
        at = _clinic_time(call.at, context)
        kept = store.call_row(LIVEKIT, call.id, call.visit, call.kind or "other", at, context.now)
        visit = await store.visit(read, call.visit) if call.visit else None
        if visit is None:
            return Changes(rows=[kept])
        presence = await store.presence(read, visit.id)
        heard = _heard(call, presence, context)
        if not heard:
            return Changes(rows=[kept], patient=str(visit.patient))
        changes, _ = self._present(visit, presence, heard, context)
        return replace(changes, rows=[kept, *changes.rows])

    def _present(
        self, visit: Visit, presence: Sequence[Interval], made: Sequence[Interval], context: Context
    ) -> tuple[Changes, Visit]:
        """Connections began or ended."""
        intervals = list({one.connection: one for one in (*presence, *made)}.values())
        rows: list[RowChange] = [store.presence_row(visit.id, one) for one in made]
        told = []
        timers: list[SetTimer | CancelTimers] = []
        after = visit
        since = both_since(intervals, context.now)
        if visit.state in (State.SCHEDULED, State.MISSED) and since is not None:
            # A join that was delivered late, of before the judgement, takes the judgement back.
            after = replace(visit, state=State.STARTED, started_at=since, reason=None)
            told.append(events.visit_started(after))
            timers.append(CancelTimers(str(visit.id), (NO_SHOW,)))
        if after.state is State.STARTED:
            gone = last_left(intervals)
            timers.append(CancelTimers(str(visit.id), (INTERRUPTED,)))
            if gone is not None:
                wait = self._rules(visit.zone, context)["visit.interrupted"].elapsed
                key = f"{INTERRUPTED}:{visit.id}:{visit.version}"
                timers.append(SetTimer(INTERRUPTED, key, str(visit.id), gone + wait))
        # The visit's row always: of two who come at once, one has to see the other.
        rows.append(store.visit_row(after))
        changes = Changes(rows=rows, events=told, timers=timers, patient=str(visit.patient))
        return changes, replace(after, version=visit.version + 1)

    def ended(self, visit: Visit, presence: Sequence[Interval], context: Context) -> Changes:
        """Nobody has come back: the visit is over since the last one left."""
        gone = last_left(presence)
        if visit.state is not State.STARTED or gone is None:
            return Changes()
        over = replace(visit, state=State.ENDED, ended_at=gone)
        return Changes(
            rows=[store.visit_row(over)],
            events=[events.visit_ended(over, together_s(presence, gone))],
            timers=[CancelTimers(str(visit.id), (INTERRUPTED,))],
        )

    def judged(self, visit: Visit, presence: Sequence[Interval], context: Context) -> Changes:
        """Some time after the planned start: who has not come, is missing."""
        if visit.state is not State.SCHEDULED:
            return Changes()
        absent = missing(presence) or "both"  # they were there, and never together
        missed = replace(visit, state=State.MISSED, reason=absent)
        return Changes(rows=[store.visit_row(missed)], events=[events.visit_missed(missed, absent, context.now)])

    def _judged(self, visit: Visit, context: Context) -> SetTimer:
        wait = self._rules(visit.zone, context)["visit.no-show"].elapsed
        key = f"{NO_SHOW}:{visit.id}:{visit.starts_at.isoformat()}:{visit.version}"
        return SetTimer(NO_SHOW, key, str(visit.id), visit.starts_at + wait)

    def _rules(self, zone: str, context: Context) -> Thresholds:
        return self.rulebook.on("cadence", context.now.astimezone(zone_of(zone)).date())


def _known(presence: Sequence[Interval], connection: str, role: Role, room: str = "") -> Interval:
    """A connection as it is known, or a new one."""
    return next((one for one in presence if one.connection == connection), Interval(connection, role, room=room))


def _clinic_time(real: int, context: Context) -> dt.datetime:
    """The platform's clock is real time; the visit is on the clinic's. Nothing has happened later than now."""
    shift = round((context.now - context.recorded) / _MOMENT) * _MOMENT
    return min(context.now, dt.datetime.fromtimestamp(real, dt.UTC) + shift)


def _heard(call: Call, presence: Sequence[Interval], context: Context) -> list[Interval]:
    """The connections that a call of the platform begins or ends.

    A room is closed soon after the last one has left it; that ends no visit: who comes back is in a new room.
    """
    at = _clinic_time(call.at, context)
    if call.kind == "closed":
        return closed(presence, call.room, at)
    if not call.kind or call.role is None or not call.connection:
        return []
    known = _known(presence, call.connection, call.role, call.room)
    if call.kind == "joined":
        return [*superseded(presence, call.room, at), joined(known, at)]
    if call.kind == "left" and call.since is not None:
        # Its "joined" may never have come: the platform gives a call up after some tries.
        known = joined(known, min(at, _clinic_time(call.since, context)))
    return [left(known, at)]


async def _open(visit_id: UUID, read: Reader, *states: State) -> Visit | Rejected:
    visit = await store.visit(read, visit_id)
    if visit is None:
        return Rejected("not-found", status=404)
    return visit if visit.state in (states or OPEN) else Rejected("visit-over", final=False)
