"""From the log of a session to its alerts: every entry and sample folded by the signed rules. Pure.

Which alerts there are depends on the entries alone: a batch that comes twice, late or out of order ends with the same alerts.
Where the fold stands is kept beside the log, so that what only continues it need not read an hour of samples again; anything
else is folded from the beginning.
"""

import datetime as dt
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final
from uuid import UUID, uuid5

from schemas.values import Quantity
from services.session_logging.domain.gates import frozen
from services.session_logging.domain.sessions import Entry, Kind, Session
from services.therapies.evidence import Rejected, Thresholds
from services.therapies.ketamine.alerts import (
    EVENT_ALERTS,
    FAMILIES,
    PRESSURES,
    Alert,
    AlertState,
    Event,
    EventKind,
    Reading,
    Source,
    Tier,
    alert_key,
    begin,
    continues,
    event_family,
    fold,
    kept,
    next_silence,
    order,
    pressure_due,
    resume,
)

__all__ = [
    "STOPS",
    "UNITS",
    "Raised",
    "Sample",
    "Watched",
    "continued",
    "human_stop",
    "impossible",
    "looked_again",
    "quantity",
    "raised_id",
    "resolutions",
    "watch",
]

UNITS: Final = {"heart_rate": "/min", "resp_rate": "/min", "spo2": "%"}
"""What a monitor measures."""
_SIGNALS: Final = {family: signal for signal, families in FAMILIES.items() for family in families}
_SHAPE: Final = 2
"""Of what is kept of a fold: another one makes every fold begin anew."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One second of a monitor; None is not measured."""

    device: str
    seq: int
    at: dt.datetime
    recorded_at: dt.datetime
    heart_rate: int | None = None
    resp_rate: int | None = None
    spo2: int | None = None
    origin: str | None = None


@dataclass(frozen=True, slots=True)
class Raised:
    """An alert that was raised; a human acknowledges it on each ladder, and a human resolves it.

    Attributes:
        key: stable over replays of the same log; the id follows from it.
    """

    id: UUID
    session: UUID
    patient: UUID
    key: str
    family: str
    tier: str
    rule: str
    value: str
    at: dt.datetime
    raised_at: dt.datetime
    late: bool
    verify: bool
    nurse_by: str | None = None
    nurse_at: dt.datetime | None = None
    prescriber_by: str | None = None
    prescriber_at: dt.datetime | None = None
    status: str = "open"
    action: str | None = None
    resolved_by: str | None = None
    resolved_at: dt.datetime | None = None
    version: int = 0

    @property
    def grave(self) -> bool:
        """Whether it is RED or STOP."""
        return self.tier != Tier.AMBER.name


@dataclass(frozen=True, slots=True)
class Watched:
    """What a log comes to: its alerts, when silence would raise the next one, and when a blood pressure is due.

    Attributes:
        alerts: every one so far; of a fold that was continued, those since.
        kept: where the fold stands, as JSON, to be kept beside the log; None while there is nothing to fold.
    """

    alerts: tuple[Alert, ...]
    silent_at: dt.datetime | None
    pressure_due: dt.datetime | None = None
    kept: Mapping[str, Any] | None = None


def watch(
    session: Session,
    entries: Sequence[Entry],
    samples: Sequence[Sample],
    resolved: Sequence[tuple[Raised, str]],
    now: dt.datetime,
    rules: Thresholds,
    folded: AlertState | None = None,
) -> Watched | Rejected:
    """Fold the log of a session that has started, up to ``now``.

    Args:
        samples: all of them; those behind ``folded`` where there is one.
        resolved: alerts that were closed, each with the role of who closed it.
        folded: where the fold stood, if it can go on from there (``continued``).
    """
    if session.started_at is None:
        return Watched((), None)
    said = _said(session.started_at, entries, resolved)
    log = [one for one in said if not _in(folded, one)]
    log += [_of_sample(one) for one in samples if one.recorded_at >= session.started_at]
    # Of a monitor whose clock is ahead: folded now, and kept as folded once its time has come.
    ahead = [one for one in log if one.recorded_at > now]
    log = [one for one in log if one.recorded_at <= now]
    state = fold(folded or begin(session.started_at, frozen(session), rules), log, now, rules)
    if isinstance(state, Rejected):
        return state
    stands = {"shape": _SHAPE, "fold": kept(state), "of": _seal(session, said, state, rules), "ahead": bool(ahead)}
    state = fold(state, ahead, now, rules) if ahead else state
    if isinstance(state, Rejected):
        return state
    return Watched(state.alerts, next_silence(state, rules), pressure_due(state, rules), stands)


def continued(
    session: Session,
    entries: Sequence[Entry],
    samples: Sequence[Sample],
    resolved: Sequence[tuple[Raised, str]],
    stands: Mapping[str, Any],
    rules: Thresholds,
) -> AlertState | None:
    """The fold of a log as it was kept, if it is of this log and can go on with what is new; else the whole log is needed.

    Args:
        entries: all of them, with those that are about to be recorded.
        samples: those that are not in the fold yet.
        stands: what ``Watched.kept`` was.
    """
    if session.started_at is None or stands.get("shape") != _SHAPE:
        return None
    state = resume(begin(session.started_at, frozen(session), rules), stands["fold"])
    said = _said(session.started_at, entries, resolved)
    if stands["of"] != _seal(session, said, state, rules):
        return None
    new = [one for one in said if not _in(state, one)] + [_of_sample(one) for one in samples]
    return state if continues(state, new, rules) else None


def _said(started_at: dt.datetime, entries: Iterable[Entry], resolved: Iterable[tuple[Raised, str]]) -> list[Reading | Event]:
    """What a log has beside the samples."""
    found = [one for entry in entries if entry.recorded_at >= started_at for one in _of_entry(entry)]
    return found + [_of_resolution(one, role) for one, role in resolved]


def _in(folded: AlertState | None, one: Reading | Event) -> bool:
    return folded is not None and folded.last is not None and order(one) <= folded.last


def _seal(session: Session, said: Iterable[Reading | Event], state: AlertState, rules: Thresholds) -> str:
    """Tells whether a fold is of this log and by these rules: an entry that came in between, or was taken back, changes it."""
    seen = sorted(one.id for one in said if _in(state, one))
    begun = session.started_at and session.started_at.astimezone(dt.UTC).isoformat()
    of = (_SHAPE, rules.revision, begun, sorted((session.baseline or {}).items(), key=str), seen)
    return hashlib.sha256(repr(of).encode()).hexdigest()


_EVENTS: Final = {
    Kind.END: EventKind.INFUSION_ENDED,
    Kind.CLOSED: EventKind.SESSION_CLOSED,
    Kind.SYMPTOMS_OVER: EventKind.SYMPTOMS_RESOLVED,
    Kind.DEVICE_LOST: EventKind.DEVICE_LOST,
    Kind.DECISION_NEEDED: EventKind.DECISION_NEEDED,
    Kind.CONSENT_WITHDRAWN: EventKind.CONSENT_WITHDRAWN,
    Kind.NURSE_LEFT: EventKind.NO_NURSE,
    Kind.SHIFT_OVER: EventKind.NO_NURSE,
    Kind.EMERGENCY: EventKind.STOPPED,
}
STOPS: Final = ("patient-asked", "emergency")
"""Why a human ends an infusion at once; consent that is withdrawn has an alert of its own."""


def _of_entry(entry: Entry) -> list[Reading | Event]:
    if entry.kind == Kind.VITALS:
        return [reading(entry)]
    kind = _EVENTS.get(entry.kind)
    if kind is None:
        return []
    code = entry.data["code"] if kind in (EventKind.DECISION_NEEDED, EventKind.STOPPED) else ""
    found: list[Reading | Event] = [Event(id=str(entry.id), at=entry.at, recorded_at=entry.recorded_at, kind=kind, code=code)]
    if entry.kind == Kind.END and (why := entry.data.get("reason")) in STOPS:
        stopped = EventKind.STOPPED
        found.append(Event(id=f"stop:{entry.id}", at=entry.at, recorded_at=entry.recorded_at, kind=stopped, code=why))
    return found


def reading(entry: Entry) -> Reading:
    """A typed set as the rules read it."""
    data = entry.data
    given = {name: Quantity.parse(data[name]) for name in ("sbp", "dbp", "heart_rate", "resp_rate", "spo2") if data.get(name)}
    return Reading(
        id=str(entry.id),
        at=entry.at,
        recorded_at=entry.recorded_at,
        source=Source.PAPER if data.get("source") == "paper" else Source.TYPED,
        on_oxygen=data.get("on_oxygen"),
        moaa_s=data.get("moaa_s"),
        cadss6=data.get("cadss6"),
        # A code has no spaces; the signed lists name symptoms in words.
        symptoms=frozenset(code.replace("-", " ") for code in data.get("symptoms", ())),
        **given,
    )


@lru_cache(maxsize=4096)
def quantity(value: int | None, unit: str) -> Quantity | None:
    """A value of a monitor with its unit; None is not measured."""
    return None if value is None else Quantity.parse(f"{value} {unit}")


def _of_sample(one: Sample) -> Reading:
    return Reading(
        id=f"{one.device}:{one.seq:012d}",
        at=one.at,
        recorded_at=one.recorded_at,
        source=Source.STREAM,
        heart_rate=quantity(one.heart_rate, UNITS["heart_rate"]),
        resp_rate=quantity(one.resp_rate, UNITS["resp_rate"]),
        spo2=quantity(one.spo2, UNITS["spo2"]),
    )


def _of_resolution(alert: Raised, role: str) -> Event:
    assert alert.resolved_at is not None  # noqa: S101 - only closed ones are given
    return Event(
        id=f"resolved:{alert.id}",
        at=alert.resolved_at,
        recorded_at=alert.resolved_at,
        kind=EventKind.RESOLVED,
        family=alert.family,
        role=role,
    )


def raised_id(session: UUID, key: str) -> UUID:
    """Id of an alert of a session: the same whoever finds it, so that nobody is called twice for it."""
    return uuid5(session, key)


def resolutions(alerts: Sequence[Raised]) -> list[tuple[Raised, str]]:
    """Alerts whose resolution ends what their signal has raised, each with the role of who may say so.

    That of a lower tier ends nothing while a higher one of the same signal is open: a nurse closes the AMBER, the RED stays.
    """
    return [
        (one, "prescriber" if one.grave else "nurse")
        for one in alerts
        if one.resolved_at is not None and not any(_above(other, one, one.resolved_at) for other in alerts)
    ]


def _above(other: Raised, one: Raised, at: dt.datetime) -> bool:
    """Whether an alert of a higher tier of the same signal was open then."""
    is_open = other.raised_at <= at and (other.resolved_at is None or other.resolved_at > at)
    return is_open and other.family == one.family and Tier[other.tier] > Tier[one.tier]


def human_stop(session: UUID, reason: str, at: dt.datetime) -> UUID:
    """Id of the alert that follows from an infusion that a human has ended then."""
    kind = EventKind.STOPPED if reason in STOPS else EventKind.CONSENT_WITHDRAWN
    family = event_family(kind, reason if kind is EventKind.STOPPED else "")
    return raised_id(session, alert_key(family, EVENT_ALERTS[kind][1], at))


def looked_again(alert: Raised, entry: Entry) -> bool:
    """Whether an entry is the recheck that an alert asks for: what it is about was measured again, by a human."""
    if alert.family.startswith("symptom:"):
        return entry.kind == Kind.SYMPTOMS_OVER or bool(entry.kind == Kind.VITALS and entry.data.get("symptoms"))
    if entry.kind != Kind.VITALS:
        return False
    signal = _SIGNALS.get(alert.family, alert.family.removesuffix("_implausible"))
    match signal:
        case "bp_gap":
            return any(entry.data.get(one) for one in PRESSURES)
        case "bp":
            return all(entry.data.get(one) for one in PRESSURES)
    return entry.data.get(signal) is not None


def impossible(entry: Entry, rules: Thresholds) -> Rejected | None:
    """What of a typed set no body can have, whatever the state of the session (decision A3)."""
    known = fold(begin(entry.at, None, rules), [reading(entry)], entry.recorded_at, rules)
    return known if isinstance(known, Rejected) else None
