"""What the room listens to: signed plans make sessions; decisions, consent and risk are facts that its gates read.

What arrives while a patient is in the chair asks for a human's decision at once (decision B3); it changes neither pump nor
plan.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any
from uuid import UUID

from schemas.envelope import Envelope
from schemas.events import consultation, follow_up, treatment_planning
from schemas.events.shared import RiskFlagged
from services.directory.subscriptions import directory
from services.runtime.database import Reader
from services.runtime.messaging.changes import Changes, Context, Put, RowChange
from services.runtime.messaging.inbox import Subscription
from services.session_logging import events
from services.session_logging.commands.room import SYSTEM, Log, Room, entry, written
from services.session_logging.domain.gates import result_code
from services.session_logging.domain.sessions import (
    AFTER,
    HERE,
    RUNNING,
    Kind,
    Session,
    SessionEnding,
    SessionState,
    Terms,
    move,
)
from services.session_logging.store import sessions as store

__all__ = ["FACTS", "subscriptions"]

RISK_HIGH = "risk-high"
"""What a patient is held for of whom another service has found a high risk."""
FACTS = "session_logging.facts"
"""Name of the consumer whose facts the gates read."""
_HARMLESS = ("normal", "negative")
_NOT_HERE = (SessionState.SCHEDULED, SessionState.CLOSED)


class _Cases:
    """Facts about a case; withdrawal of consent reaches a patient in the chair."""

    def __init__(self, room: Room, values: Callable[[Any], Mapping[str, object]], kind: str = "", code: str = "") -> None:
        self._room, self._values, self._kind, self._code = room, values, kind, code

    def key(self, item: Envelope[Any]) -> UUID:
        patient: UUID = item.data.patient
        return patient

    async def load(self, read: Reader, keys: Collection[UUID]) -> Mapping[UUID, Sequence[Log]]:
        return await _in_the_chair(read, keys) if self._kind else {}

    def decide(
        self, state: Sequence[Log] | None, item: Envelope[Any], context: Context
    ) -> tuple[Sequence[Log] | None, Changes]:
        known = store.case_row(item.data.case, {"patient": item.data.patient, **self._values(item.data)})
        if not self._kind:
            return state, Changes(rows=[known])
        mine = [log for log in state or () if log.session.case == item.data.case]
        return _arrived(self._room, [known], mine, self._kind, self.code(item.data), context)

    def code(self, data: Any) -> str:
        """What a patient in the chair is held for."""
        return self._code


class _Results(_Cases):
    """A test that was found abnormal or positive asks a prescriber, until the next decision on its case (decision B3)."""

    def __init__(self, room: Room) -> None:
        super().__init__(room, lambda data: {"result": data.test}, Kind.DECISION_NEEDED)

    def decide(
        self, state: Sequence[Log] | None, item: Envelope[consultation.ResultReported], context: Context
    ) -> tuple[Sequence[Log] | None, Changes]:
        return (state, Changes()) if item.data.finding in _HARMLESS else super().decide(state, item, context)

    def code(self, data: consultation.ResultReported) -> str:
        return result_code(data.test)


class _Risks:
    """The suicide risk that another service has found."""

    def __init__(self, room: Room, owner: str) -> None:
        self._room, self._owner = room, owner

    def key(self, item: Envelope[RiskFlagged]) -> UUID:
        return item.data.patient

    async def load(self, read: Reader, keys: Collection[UUID]) -> Mapping[UUID, Sequence[Log]]:
        return await _in_the_chair(read, keys)

    def decide(
        self, state: Sequence[Log] | None, item: Envelope[RiskFlagged], context: Context
    ) -> tuple[Sequence[Log] | None, Changes]:
        data = item.data
        known = store.risk_rows(data.patient, self._owner, data.level, data.proven, data.assessed_at, context.now)
        asks = state if data.level == "HIGH" else ()
        return _arrived(self._room, known, asks or (), Kind.DECISION_NEEDED, RISK_HIGH, context)


class _Plans:
    """A plan was held, released or stopped; its sessions that have not begun are off with a stop."""

    def __init__(self, room: Room, status: str) -> None:
        self._room, self._status = room, status

    def key(self, item: Envelope[Any]) -> UUID:
        plan: UUID = item.data.plan
        return plan

    async def load(self, read: Reader, keys: Collection[UUID]) -> Mapping[UUID, Sequence[Log]]:
        return await _of_plans(read, keys)

    def decide(
        self, state: Sequence[Log] | None, item: Envelope[Any], context: Context
    ) -> tuple[Sequence[Log] | None, Changes]:
        values = {"patient": item.data.patient, "number": item.data.version, "status": self._status}
        known = store.plan_row(item.data.plan, values)
        here = state or ()
        if self._status == "active":
            return state, Changes(rows=[known])
        off = [log for log in here if log.session.state is SessionState.SCHEDULED] if self._status == "stopped" else []
        rows: list[RowChange] = []
        told = []
        for log in off:
            cancelled = _cancelled(log.session, context)
            rows += written(log.session, cancelled, SYSTEM, context)
            told += [events.session_changed(cancelled), events.session_closed(cancelled)]
        left = [log for log in here if log not in off]
        chair = [log for log in left if log.session.state is not SessionState.SCHEDULED]
        _, changes = _arrived(self._room, [known], chair, Kind.DECISION_NEEDED, f"plan-{self._status}", context)
        return None, replace(changes, rows=[*rows, *changes.rows], events=[*told, *changes.events])


@dataclass(frozen=True, slots=True)
class _Signed:
    """A version was signed: its sessions exist from now on, as it says; what it no longer has is off."""

    room: Room

    def key(self, item: Envelope[treatment_planning.PlanSigned]) -> UUID:
        return item.data.plan

    async def load(self, read: Reader, keys: Collection[UUID]) -> Mapping[UUID, Sequence[Log]]:
        return await _of_plans(read, keys)

    def decide(
        self, state: Sequence[Log] | None, item: Envelope[treatment_planning.PlanSigned], context: Context
    ) -> tuple[Sequence[Log] | None, Changes]:
        data = item.data
        terms = Terms(_text(data.dose), data.basis, _text(data.duration), _text(data.cap) if data.cap else None)
        there = {log.session.id: log.session for log in state or ()}
        scheduled = {key: session for key, session in there.items() if session.state is SessionState.SCHEDULED}
        wanted = []
        for one in data.sessions:
            known = scheduled.pop(one.session, None)
            if known is None and one.session in there:
                continue  # it has begun, or is over, since the plan was drafted: it keeps the terms that it began under
            wanted.append(
                Session(
                    one.session,
                    data.plan,
                    data.version,
                    terms,
                    data.case,
                    data.patient,
                    data.therapy,
                    one.ordinal,
                    one.phase,
                    one.starts.at,
                    one.starts.zone,
                    version=known.version if known else 0,
                )
            )
        off = [(session, _cancelled(session, context)) for session in scheduled.values()]
        told = [events.session_changed(one) for one in [*wanted, *(after for _, after in off)]]
        told += [events.session_closed(after) for _, after in off]
        # A plan that is held stays held: only a release makes it active again.
        values = {"patient": data.patient, "number": data.version, "terms": asdict(terms)}
        known_plan = store.plan_row(data.plan, values)
        chair = [log for log in state or () if log.session.state is not SessionState.SCHEDULED]
        _, changes = _arrived(self.room, [known_plan], chair, Kind.DECISION_NEEDED, "plan-amended", context)
        rows: list[RowChange] = [store.session_row(one) for one in wanted]
        rows += [row for before, after in off for row in written(before, after, SYSTEM, context)]
        return None, replace(changes, rows=[*rows, *changes.rows], events=[*told, *changes.events])


def _cancelled(session: Session, context: Context) -> Session:
    return move(session, SessionState.CLOSED, context.now, ending=SessionEnding.CANCELLED.value, closed_at=context.now)


def _arrived(
    room: Room, known: Sequence[Put], logs: Sequence[Log], kind: str, code: str, context: Context
) -> tuple[None, Changes]:
    """A fact, and what it means for patients who are here: an alert while the infusion runs, a closed gate before it. After it
    only a high risk is the room's: who is found ready to go home is not.
    """
    found = Changes(rows=list(known))
    for log in logs:
        said = entry(kind, SYSTEM, context, data={"code": code})
        if log.session.state in RUNNING:
            here = log.session
        elif log.session.state in HERE:
            here = move(log.session, SessionState.HELD, context.now)
        elif log.session.state in AFTER and code == RISK_HIGH:
            here = move(log.session, SessionState.RECOVERY, context.now)
        else:
            continue
        told = [events.session_changed(here)] if here.state is not log.session.state else []
        if log.session.state in HERE:
            rows = [*written(log.session, here, SYSTEM, context), store.entry_row(log.session.id, said)]
            changes = Changes(rows=rows)
        else:
            logged = room.logged(log, here, [said], context)
            assert isinstance(logged, Changes)  # noqa: S101 - an entry of now is never refused
            changes = logged
        found = Changes(
            rows=[*found.rows, *changes.rows],
            events=[*found.events, *told, *changes.events],
            timers=[*found.timers, *changes.timers],
            pages=[*found.pages, *changes.pages],
        )
    return None, found


async def _in_the_chair(read: Reader, patients: Collection[UUID]) -> Mapping[UUID, Sequence[Log]]:
    found = await store.sessions_of_patients(read, patients)
    return {
        patient: [await Log.load(read, one) for one in sessions if one.state is not SessionState.SCHEDULED]
        for patient, sessions in found.items()
    }


async def _of_plans(read: Reader, plans: Collection[UUID]) -> Mapping[UUID, Sequence[Log]]:
    found = await store.sessions_of_plans(read, plans)
    return {
        plan: [Log(one) if one.state in _NOT_HERE else await Log.load(read, one) for one in sessions]
        for plan, sessions in found.items()
    }


def _text(value: Any) -> str:
    return f"{value.value:f} {value.unit}"


def _decided(data: consultation.DecisionSigned) -> Mapping[str, object]:
    return {
        "kind": data.kind,
        "proposed": data.proposed,
        "valid_until": data.valid_until,
        "examined_at": data.examined_at,
        "consent": data.consent,
        "sex": data.sex,
        "pregnancy_possible": data.pregnancy_possible,
        "weight": _text(data.weight) if data.weight else None,
        "height": _text(data.height) if data.height else None,
        # Whoever has signed has seen what was found until then.
        "result": None,
    }


def subscriptions(room: Room) -> tuple[Subscription, ...]:
    """The table of what the room listens to."""
    facts: dict[str, Any] = {
        consultation.DECISION_SIGNED.name: _Cases(room, _decided),
        consultation.CONSENT_GIVEN.name: _Cases(room, lambda data: {"consent": data.version, "withdrawn_at": None}),
        consultation.CONSENT_WITHDRAWN.name: _Cases(
            room,
            lambda data: {"consent": None, "withdrawn_at": data.withdrawn_at},
            Kind.CONSENT_WITHDRAWN,
            "consent-withdrawn",
        ),
        consultation.RESULT_REPORTED.name: _Results(room),
        consultation.PDMP_CHECKED.name: _Cases(room, lambda data: {"pdmp_checked_at": data.checked_at}),
        consultation.RISK_FLAGGED.name: _Risks(room, "consultation"),
        follow_up.RISK_FLAGGED.name: _Risks(room, "follow_up"),
        treatment_planning.PLAN_SIGNED.name: _Signed(room),
        treatment_planning.PLAN_HELD.name: _Plans(room, "held"),
        treatment_planning.PLAN_RELEASED.name: _Plans(room, "active"),
        treatment_planning.PLAN_STOPPED.name: _Plans(room, "stopped"),
    }
    # One at a time: what arrives for a patient in the chair is folded into a log that the event before may have changed.
    return (directory("session_logging"), Subscription(FACTS, facts, max_events=1))
