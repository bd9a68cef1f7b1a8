"""A session: its states and moves, what was entered in it, and the facts of the day that follow. Pure."""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final
from uuid import UUID, uuid5

from schemas.events.session_logging import SessionEnding, SessionState
from schemas.values import zone_of

__all__ = [
    "AFTER",
    "BEFORE",
    "CORRECTABLE",
    "ENDINGS",
    "HERE",
    "MOVES",
    "RUNNING",
    "CaseFacts",
    "Entry",
    "Kind",
    "Review",
    "Session",
    "SessionEnding",
    "SessionState",
    "Terms",
    "allowed",
    "counts_from",
    "facts_of",
    "may_move",
    "move",
    "newest",
    "record_due_at",
    "record_due_on",
    "record_task",
]

S = SessionState
MOVES: Final[Mapping[SessionState, frozenset[SessionState]]] = {
    S.SCHEDULED: frozenset({S.CHECKED_IN, S.CLOSED}),
    S.CHECKED_IN: frozenset({S.HELD, S.READY, S.INFUSING, S.CLOSED}),
    S.HELD: frozenset({S.READY, S.INFUSING, S.CLOSED}),
    S.READY: frozenset({S.HELD, S.INFUSING, S.CLOSED}),
    S.INFUSING: frozenset({S.PAUSED, S.RECOVERY}),
    S.PAUSED: frozenset({S.INFUSING, S.RECOVERY}),
    S.RECOVERY: frozenset({S.DISCHARGE_READY, S.CLOSED}),
    S.DISCHARGE_READY: frozenset({S.RECOVERY, S.CLOSED}),
    S.CLOSED: frozenset(),
}
"""Where a session may go from where it stands."""

HERE: Final = frozenset({S.CHECKED_IN, S.HELD, S.READY})
BEFORE: Final = HERE | {S.SCHEDULED}
AFTER: Final = frozenset({S.RECOVERY, S.DISCHARGE_READY})
RUNNING: Final = frozenset({S.INFUSING, S.PAUSED})

ENDINGS: Final[Mapping[SessionEnding, frozenset[SessionState]]] = {
    SessionEnding.NO_SHOW: frozenset({S.SCHEDULED}),
    SessionEnding.CANCELLED: frozenset({S.SCHEDULED}),
    SessionEnding.VOIDED: frozenset({S.SCHEDULED, *HERE}),
    SessionEnding.ABORTED: HERE,
    SessionEnding.LEFT_AGAINST_ADVICE: HERE | AFTER,
    SessionEnding.ELOPED: HERE | AFTER,
    SessionEnding.TRANSFERRED: HERE | AFTER,
}
"""Endings beside a signed discharge, and the states in which each is possible. A running infusion is stopped first, and who
was given drug goes home by a signed discharge only (``completed``, or ``aborted`` when the bag was not emptied), unless they
leave by themselves or in an ambulance.
"""


class Kind:
    """Kinds of entries."""

    FACTS = "facts"
    VITALS = "vitals"
    DRUG = "drug"
    START = "start"
    RATE = "rate"
    PAUSE = "pause"
    RESUME = "resume"
    END = "end"
    PUMP_VOLUME = "pump-volume"
    PUMP_CORRECTED = "pump-corrected"
    RESCUE = "rescue-drug"
    SYMPTOMS_OVER = "symptoms-over"
    DECISION = "decision"
    OVERRIDE = "override"
    DECISION_NEEDED = "decision-needed"
    PLAN_VERSION = "plan-version"
    CONSENT_WITHDRAWN = "consent-withdrawn"
    DEVICE = "device"
    DEVICE_LOST = "device-lost"
    HANDOVER = "handover"
    NURSE_LEFT = "nurse-left"
    SHIFT_OVER = "shift-over"
    EMERGENCY = "emergency"
    CLOSED = "closed"
    ERROR = "entered-in-error"
    PAPER_CHECKED = "paper-checked"
    ADDENDUM = "addendum"


CORRECTABLE: Final = frozenset({Kind.VITALS, Kind.FACTS, Kind.RESCUE, Kind.SYMPTOMS_OVER, Kind.DEVICE_LOST})
"""Kinds of entries that may have been wrong: what was measured, said, or given beside the infusion. What was done to the pump
was done.
"""


@dataclass(frozen=True, slots=True)
class Terms:
    """What the signed plan orders for this session, as text with units."""

    dose: str
    basis: str
    duration: str
    cap: str | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """A session, as it stands.

    Attributes:
        nurse: who is responsible; None before check-in.
        device: the monitor that is bound to it.
        dose: the dose of the day, once it is settled, as text with units.
        rate: of the pump now.
        baseline: the set that the gate passed on, frozen; with it ``baseline_cadss6`` and ``baseline_risk``.
        pump_volume: what the pump says it has delivered; None until somebody has read it.
        moved_at: since when it stands where it stands; None while it is scheduled.
        locked_at: when its record was signed; from then on only addenda are written.
    """

    id: UUID
    plan: UUID
    plan_number: int
    terms: Terms
    case: UUID
    patient: UUID
    therapy: str
    ordinal: int
    phase: str
    starts_at: dt.datetime
    zone: str
    state: SessionState = SessionState.SCHEDULED
    nurse: UUID | None = None
    device: str | None = None
    dose: Mapping[str, Any] | None = None
    rate: str | None = None
    baseline: Mapping[str, Any] | None = None
    baseline_cadss6: int | None = None
    baseline_risk: str | None = None
    checked_in_at: dt.datetime | None = None
    started_at: dt.datetime | None = None
    paused_at: dt.datetime | None = None
    ended_at: dt.datetime | None = None
    pump_volume: str | None = None
    ending: str | None = None
    closed_at: dt.datetime | None = None
    moved_at: dt.datetime | None = None
    locked_at: dt.datetime | None = None
    version: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that was done, measured, seen or said; ``at`` is when it was true."""

    id: UUID
    kind: str
    at: dt.datetime
    recorded_at: dt.datetime
    by: str
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CaseFacts:
    """What consultation and treatment planning say, as far as it has come here.

    Attributes:
        result: test that was found abnormal or positive since the decision; nobody has decided over it.
    """

    kind: str | None = None
    proposed: str | None = None
    valid_until: dt.date | None = None
    examined_at: dt.datetime | None = None
    consent: str | None = None
    withdrawn_at: dt.datetime | None = None
    sex: str | None = None
    pregnancy_possible: bool | None = None
    weight: str | None = None
    height: str | None = None
    pdmp_checked_at: dt.datetime | None = None
    result: str | None = None


@dataclass(frozen=True, slots=True)
class Review:
    """A prescriber has to say how to go on before the next session (decision B13)."""

    id: UUID
    patient: UUID
    session: UUID
    cause: str
    opened_at: dt.datetime
    decision: str | None = None
    decided_by: str | None = None
    decided_at: dt.datetime | None = None
    version: int = 0


def may_move(session: Session, to: SessionState) -> bool:
    """Whether a session may go there from where it stands."""
    return to in MOVES[session.state]


def allowed(session: Session) -> list[str]:
    """Where a session may go from where it stands: states, and endings."""
    states = [state.value for state in MOVES[session.state] - {S.CLOSED}]
    endings = [ending.value for ending, where in ENDINGS.items() if session.state in where]
    discharged = [SessionEnding.COMPLETED.value] if session.state in AFTER else []
    return sorted([*states, *endings, *discharged])


def move(session: Session, to: SessionState, at: dt.datetime, **changes: Any) -> Session:
    """The session as it stands there since ``at``; one that stays where it is stands there as long as before.

    Raises:
        ValueError: a session cannot go there from where it stands; a use case has to refuse that before.
    """
    if to is session.state:
        return replace(session, **changes)
    if not may_move(session, to):
        raise ValueError(f"{session.state.value} to {to.value}")
    return replace(session, state=to, moved_at=at, **changes)


def record_task(session_id: UUID) -> UUID:
    """Id of the task to sign a session's record."""
    return uuid5(session_id, "record")


def record_due_on(session: Session, wait: dt.timedelta) -> dt.date | None:
    """Local day by which the record of a session has to be signed: so long after the day of its start, however late it was
    closed; None if nothing was given.
    """
    return session.started_at.astimezone(zone_of(session.zone)).date() + wait if session.started_at else None


def record_due_at(session: Session, day: dt.date) -> dt.datetime:
    """When somebody is called about a record that is due on a local day: at the hour of the session."""
    zone = zone_of(session.zone)
    return dt.datetime.combine(day, session.starts_at.astimezone(zone).time(), zone).astimezone(dt.UTC)


def facts_of(entries: Iterable[Entry]) -> dict[str, tuple[Any, dt.datetime]]:
    """The facts of the day: of each the value recorded last, and when it was true; of a score the one that was true last, for
    sets of vitals come late.
    """
    found: dict[str, tuple[Any, dt.datetime]] = {}
    for entry in sorted(entries, key=lambda one: (one.recorded_at, one.id)):
        if entry.kind == Kind.FACTS:
            found |= {name: (value, entry.at) for name, value in entry.data.items()}
        elif entry.kind == Kind.VITALS and entry.data.get("cadss6") is not None:
            score = (entry.data["cadss6"], entry.at)
            found["cadss6"] = max(score, found.get("cadss6", score), key=lambda one: one[1])
    return found


def counts_from(entry: Entry) -> dt.datetime:
    """When what an entry says was first known: a correction takes the place of what it corrects."""
    first = entry.data.get("counts_from")
    return dt.datetime.fromisoformat(first) if first else entry.recorded_at


def newest(entries: Sequence[Entry], *kinds: str) -> Entry | None:
    """The entry of these kinds that was recorded last."""
    found = [entry for entry in entries if entry.kind in kinds]
    return max(found, key=lambda one: (one.recorded_at, one.id), default=None)
