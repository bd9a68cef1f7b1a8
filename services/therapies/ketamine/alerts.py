"""Alerts during a session: a fold over what was measured, entered and done, live or in replay.

``step`` takes a state and one entry and gives the next state and the alerts that are new. Each entry says when it was
true (``at``) and when it was recorded (``recorded_at``); alerts depend only on the set of entries and the time reached,
so any order of delivery ends with the same alerts. An alert that was once given stays the caller's to keep until a
human resolves it: nothing here takes one back, closes one, or touches session or pump.

Bands are inclusive as the signed comparisons say; a value of a stream has to stay in its band for the rule's dwell
(last minus first qualifying sample; a missing sample neither counts nor resets, one outside the band resets), a typed
value counts at once.
"""

import bisect
import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any, Final, NamedTuple

from schemas.values import Moment, Quantity
from services.therapies.evidence import Assessment, Evaluation, Outcome, Problem, Rejected, Threshold, Thresholds
from services.therapies.ketamine.gates import VitalsSet

__all__ = [
    "EVENT_ALERTS",
    "FAMILIES",
    "PRESSURES",
    "Alert",
    "AlertCase",
    "AlertState",
    "Event",
    "EventKind",
    "Reading",
    "Source",
    "Tier",
    "advance",
    "alert_key",
    "alerts",
    "begin",
    "continues",
    "event_family",
    "fold",
    "kept",
    "next_silence",
    "order",
    "pressure_due",
    "resume",
    "step",
]


class Tier(IntEnum):
    """AMBER: tell the nurse, recheck. RED: pause, prescriber to the bedside. STOP: end, emergency."""

    AMBER = 1
    RED = 2
    STOP = 3


class Source(StrEnum):
    """Where a reading comes from; ``paper`` is typed in later from a sheet."""

    TYPED = "typed"
    STREAM = "stream"
    PAPER = "paper"


class EventKind(StrEnum):
    """What people did or learned during the session that alerts depend on."""

    INFUSION_ENDED = "infusion ended"
    SESSION_CLOSED = "session closed"
    RESOLVED = "resolved"
    SYMPTOMS_RESOLVED = "symptoms resolved"
    DEVICE_LOST = "device lost"
    DECISION_NEEDED = "decision needed"
    CONSENT_WITHDRAWN = "consent withdrawn"
    STOPPED = "stopped by a human"
    NO_NURSE = "no responsible nurse on site"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What was measured or seen at one instant. None is not measured (or NaN in a stream), never normal.

    Attributes:
        at: when it was true.
        recorded_at: when it was typed in or arrived.
        symptoms: codes; those of the signed lists have a tier, any other still counts as "a symptom".
    """

    id: str
    at: dt.datetime
    recorded_at: dt.datetime
    source: Source
    sbp: Quantity | None = None
    dbp: Quantity | None = None
    heart_rate: Quantity | None = None
    resp_rate: Quantity | None = None
    spo2: Quantity | None = None
    on_oxygen: bool | None = None
    moaa_s: int | None = None
    cadss6: int | None = None
    symptoms: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something people did. ``family`` and ``role`` are for RESOLVED: which alert, and who; RED and STOP are a
    prescriber's to resolve. ``code`` says of a decision what it is about, and of a STOP why: each is a signal of its own.
    """

    id: str
    at: dt.datetime
    recorded_at: dt.datetime
    kind: EventKind
    family: str = ""
    role: str = ""
    code: str = ""


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert as first raised.

    Attributes:
        family: signal and direction (``sbp_high``); at most one is open per session and family, a higher tier is a new
            alert, and so is each time of what calls ``ANEW``.
        at: true time at which the rule was met; ``since`` the first sample of the dwell, or the same.
        raised_at: when the system could know.
        value: what was measured, or for how long nothing was.
        late: entered after newer values were known, or long after its true time.
        after_session: recorded after the session closed: a task for the responsible prescriber.
        verify: the value is possible but not plausible: verify now.
    """

    family: str
    tier: Tier
    at: dt.datetime
    since: dt.datetime
    raised_at: dt.datetime
    value: str
    rule: str
    late: bool = False
    after_session: bool = False
    verify: bool = False

    @property
    def id(self) -> str:
        """Stable over replays."""
        return alert_key(self.family, self.tier, self.at)


def alert_key(family: str, tier: Tier, at: dt.datetime) -> str:
    """What an alert is known by: whoever folds the same log finds the same one."""
    return f"{family}/{tier.name}/{at.isoformat()}"


def event_family(kind: EventKind, code: str = "") -> str:
    """The signal of what people did."""
    family, _ = EVENT_ALERTS[kind]
    return f"{family}:{code}" if code else family


Order = tuple[dt.datetime, dt.datetime, str]


class Cuff(NamedTuple):
    """A cuff reading: by family the tier of what was measured, None for nothing; a half that was not measured has none."""

    at: dt.datetime
    id: str
    tiers: Mapping[str, Tier | None]


@dataclass(slots=True)
class AlertState:
    """Everything the fold knows. A value: never changed, ``step`` and ``advance`` give a new one.

    ``rechecks`` says of which half of a RED pressure the next one is awaited, and since when.
    ``open`` is the highest tier open per family; ``accepted`` the AMBER values of the gate's set, shown as accepted and
    firing again only when worse; ``last`` the place in the log of the entry behind which it stands; ``resumed`` whether
    the log before that is missing (``resume``). The rest is bookkeeping of the rules.
    """

    start: dt.datetime
    baseline: VitalsSet | None
    clock: dt.datetime
    silent_from: dt.datetime
    log: "list[Reading | Event]" = field(default_factory=list)
    alerts: tuple[Alert, ...] = ()
    open: dict[str, Tier] = field(default_factory=dict)
    accepted: dict[str, Quantity] = field(default_factory=dict)
    runs: dict[tuple[str, Tier], dt.datetime] = field(default_factory=dict)
    newest: dict[str, dt.datetime] = field(default_factory=dict)
    pressures: tuple[Cuff, ...] = ()
    gaps_done: dict[str, tuple[dt.datetime, Tier]] = field(default_factory=dict)
    rechecks: dict[str, dt.datetime] = field(default_factory=dict)
    awake_sets: int = 0
    on_oxygen: bool = False
    symptoms: frozenset[str] = frozenset()
    ended: dt.datetime | None = None
    closed: dt.datetime | None = None
    last: Order | None = None
    resumed: bool = False

    def _copy(self) -> "AlertState":
        # Written out: this runs for every sample, and ``dataclasses.replace`` takes longer than the rules.
        return AlertState(
            self.start,
            self.baseline,
            self.clock,
            self.silent_from,
            self.log.copy(),
            self.alerts,
            dict(self.open),
            self.accepted,
            dict(self.runs),
            dict(self.newest),
            self.pressures,
            dict(self.gaps_done),
            dict(self.rechecks),
            self.awake_sets,
            self.on_oxygen,
            self.symptoms,
            self.ended,
            self.closed,
            self.last,
            self.resumed,
        )


# signal -> its alert families; the direction is in the signed comparison.
FAMILIES: Final[Mapping[str, tuple[str, ...]]] = {
    "sbp": ("sbp_high", "sbp_low"),
    "dbp": ("dbp_high",),
    "heart_rate": ("heart_rate_high", "heart_rate_low"),
    "spo2": ("spo2_low",),
    "resp_rate": ("resp_rate_low", "resp_rate_high"),
    "moaa_s": ("moaa_s",),
    "cadss6": ("cadss6",),
}
PRESSURES: Final = ("sbp", "dbp")
STREAMED: Final = ("heart_rate", "spo2", "resp_rate")
WORST_FIRST: Final = (Tier.STOP, Tier.RED, Tier.AMBER)
LIMIT_KEYS: Final = {
    family: tuple((tier, f"alert.{family}.{tier.name}") for tier in WORST_FIRST)
    for families in FAMILIES.values()
    for family in families
}
# Written out: what a stream is judged by is looked up for every sample.
STREAM_KEYS: Final = {
    signal: tuple(
        (family, tier, key, f"dwell.{family}.{tier.name}") for family in FAMILIES[signal] for tier, key in LIMIT_KEYS[family]
    )
    for signal in STREAMED
}
POSSIBLE_KEYS: Final = {signal: f"possible.{signal}" for signal in FAMILIES}
PLAUSIBLE_KEYS: Final = {signal: (f"plausible.{signal}.low", f"plausible.{signal}.high") for signal in FAMILIES}
EVENT_ALERTS: Final[Mapping[EventKind, tuple[str, Tier]]] = {
    EventKind.DEVICE_LOST: ("spo2_gap", Tier.STOP),
    EventKind.DECISION_NEEDED: ("decision_needed", Tier.RED),
    EventKind.CONSENT_WITHDRAWN: ("consent_withdrawn", Tier.STOP),
    EventKind.STOPPED: ("stopped", Tier.STOP),
    EventKind.NO_NURSE: ("no_nurse", Tier.RED),
}
ANEW: Final = frozenset({EventKind.DECISION_NEEDED, EventKind.NO_NURSE, EventKind.STOPPED})
"""What calls anew each time that it happens, also while somebody still looks at the one before."""
BP_GAP: Final = tuple(
    tuple((tier, f"gap.bp.{phase}.{tier.name}") for tier in (Tier.AMBER, Tier.RED, Tier.STOP))
    for phase in ("infusion", "recovery")
)
SPO2_GAP: Final = ((Tier.RED, "gap.spo2.RED"), (Tier.STOP, "gap.spo2.STOP"))
NO_RUN: Final = ("spo2_on_oxygen", Tier.STOP)

Entry = Reading | Event


def begin(start: dt.datetime, baseline: VitalsSet | None, rules: Thresholds) -> AlertState:
    """The state at the start of the infusion. ``baseline`` is the frozen set the gate passed on."""
    state = AlertState(start, baseline, clock=start, silent_from=start)
    for signal, families in FAMILIES.items():
        value = _value(baseline, signal)
        for family in families:
            tier, _ = _tier(family, value, None, rules) if value is not None else (None, "")
            if tier is Tier.AMBER and value is not None:
                state.accepted[family] = value
    return state


def step(state: AlertState, entry: Entry, rules: Thresholds) -> tuple[AlertState, tuple[Alert, ...]] | Rejected:
    """The next state and the alerts that are new. An entry already known changes nothing.

    Returns:
        ``Rejected`` only for what cannot be: an impossible value, a time after recording or after the session closed, a
            resolution by
        someone who may not.
    """
    behind = _behind(state, entry)
    if behind and _known(state, entry):
        return state, ()
    problems = _impossible(state, entry, rules)
    if problems:
        return Rejected(problems)
    if behind:
        return _refold(state, entry, rules)
    work = state._copy()
    _apply(work, entry, rules)
    return work, work.alerts[len(state.alerts) :]


def advance(state: AlertState, now: dt.datetime, rules: Thresholds) -> tuple[AlertState, tuple[Alert, ...]]:
    """Let time pass to ``now`` without an entry: what raises the alerts about silence."""
    if now <= state.clock:
        return state, ()
    work = state._copy()
    _silence(work, now, rules)
    work.clock = now
    return work, work.alerts[len(state.alerts) :]


def next_silence(state: AlertState, rules: Thresholds) -> dt.datetime | None:
    """When the next alert about silence is due if nothing comes; None when none is left to raise."""
    if state.closed is not None:
        return None
    due = [
        since + limit.elapsed
        for family, tier, limit, since in _watched(state, rules)
        if (seen := state.gaps_done.get(family)) is None or seen[0] != since or seen[1] < tier
    ]
    # A limit of "more than" is reached just behind it.
    return min(due) + dt.timedelta(microseconds=1) if due else None


def pressure_due(state: AlertState, rules: Thresholds) -> dt.datetime | None:
    """When the next blood pressure is due: by the phase's cadence, or sooner after a RED one; None once the session is over."""
    if state.closed is not None:
        return None
    last = max(state.start, state.pressures[-1][0]) if state.pressures else state.start
    phase = "infusion" if state.ended is None else "recovery"
    due = last + rules[f"cadence.bp.{phase}"].elapsed
    return min([due, *(since + rules["recheck.red.due"].elapsed for since in state.rechecks.values())])


def fold(state: AlertState, entries: Iterable[Entry], now: dt.datetime, rules: Thresholds) -> AlertState | Rejected:
    """Replay: all entries in whatever order, then time to ``now``. The same as many a ``step``, without a copy for each."""
    work = state._copy()
    for entry in sorted(entries, key=order):
        if _behind(work, entry):
            result = step(work, entry, rules)
            if isinstance(result, Rejected):
                return result
            work = result[0]
        elif problems := _impossible(work, entry, rules):
            return Rejected(problems)
        else:
            _apply(work, entry, rules)
    return advance(work, now, rules)[0]


# --- Kept beside the log ----------------------------------------------------------------------------------------------


def kept(state: AlertState) -> dict[str, Any]:
    """A state as JSON, to be kept beside its log: neither the log itself nor the alerts, which are kept already."""
    return {
        "clock": state.clock.isoformat(),
        "silent_from": state.silent_from.isoformat(),
        "open": {family: tier.value for family, tier in state.open.items()},
        "runs": [[family, tier.value, since.isoformat()] for (family, tier), since in state.runs.items()],
        "newest": {signal: at.isoformat() for signal, at in state.newest.items()},
        "cuffs": [[one.at.isoformat(), one.id, dict(one.tiers)] for one in state.pressures],
        "gaps_done": [[family, at.isoformat(), tier.value] for family, (at, tier) in state.gaps_done.items()],
        "rechecks": {signal: since.isoformat() for signal, since in state.rechecks.items()},
        # What the code before this one reads before it sees that the rest is not its own. To be left out in the next release.
        "pressures": [],
        "recheck_from": None,
        "awake_sets": state.awake_sets,
        "on_oxygen": state.on_oxygen,
        "symptoms": sorted(state.symptoms),
        "ended": state.ended and state.ended.isoformat(),
        "closed": state.closed and state.closed.isoformat(),
        "last": state.last and [state.last[0].isoformat(), state.last[1].isoformat(), state.last[2]],
    }


def resume(state: AlertState, data: Mapping[str, Any]) -> AlertState:
    """The state that was ``kept``, put on the one with which its session began. It goes on with what ``continues`` it only."""

    def at(text: str | None) -> dt.datetime | None:
        return dt.datetime.fromisoformat(text) if text else None

    def instant(text: str) -> dt.datetime:
        return dt.datetime.fromisoformat(text)

    def tier(value: int | None) -> Tier | None:
        return Tier(value) if value is not None else None

    work = state._copy()
    work.clock, work.silent_from = instant(data["clock"]), instant(data["silent_from"])
    work.open = {family: Tier(value) for family, value in data["open"].items()}
    work.runs = {(family, Tier(value)): instant(since) for family, value, since in data["runs"]}
    work.newest = {signal: instant(when) for signal, when in data["newest"].items()}
    work.pressures = tuple(
        Cuff(instant(when), identifier, {family: tier(value) for family, value in tiers.items()})
        for when, identifier, tiers in data["cuffs"]
    )
    work.gaps_done = {family: (instant(when), Tier(value)) for family, when, value in data["gaps_done"]}
    work.rechecks = {signal: instant(since) for signal, since in data["rechecks"].items()}
    work.awake_sets, work.on_oxygen = data["awake_sets"], data["on_oxygen"]
    work.symptoms = frozenset(data["symptoms"])
    work.ended, work.closed = at(data["ended"]), at(data["closed"])
    last = data["last"]
    work.last = last and (instant(last[0]), instant(last[1]), last[2])
    work.resumed = True
    return work


def continues(state: AlertState, entries: Sequence[Entry], rules: Thresholds) -> bool:
    """Whether a state can take entries without the log before it: all of them are behind it, and where a sample of a stream is
    older than what is known of its signal, neither it nor anything that it could be a part of is in a band.
    """
    last, newest, late = state.last, dict(state.newest), set()
    for entry in sorted(entries, key=order):
        if (last is not None and order(entry) <= last) or entry.recorded_at < state.clock:
            return False
        last = order(entry)
        if isinstance(entry, Event):
            continue
        for signal in STREAMED:
            if getattr(entry, signal) is None:
                continue
            known = newest.get(signal)
            if known is None or entry.at >= known:
                newest[signal] = entry.at
            elif entry.source is Source.STREAM:
                late.add(signal)
    runs = {family for family, _ in state.runs}
    values = [(s, _value(e, s)) for s in late for e in entries if isinstance(e, Reading) and e.source is Source.STREAM]
    return all(runs.isdisjoint(FAMILIES[signal]) for signal in late) and not any(
        value is not None and _in_some_band(signal, value, rules) for signal, value in values
    )


def _in_some_band(signal: str, value: Quantity, rules: Thresholds) -> bool:
    limits = (rules.values.get(key) for _, _, key, _ in STREAM_KEYS[signal])
    return any(limit is not None and limit.met_by(value) for limit in limits)


def _whole(state: AlertState) -> "list[Reading | Event]":
    if state.resumed:
        raise LookupError("what does not continue a resumed state needs the log before it")
    return state.log


def order(entry: Entry) -> Order:
    """The place of an entry in its log: by when it was recorded."""
    return entry.recorded_at, entry.at, entry.id


def _behind(state: AlertState, entry: Entry) -> bool:
    """Whether an entry belongs before one that the state has, or before its time."""
    return (state.last is not None and order(entry) <= state.last) or entry.recorded_at < state.clock


def _known(state: AlertState, entry: Entry) -> bool:
    log = _whole(state)
    index = bisect.bisect_left(log, order(entry), key=order)
    return index < len(log) and order(log[index]) == order(entry)


def _refold(state: AlertState, entry: Entry, rules: Thresholds) -> tuple[AlertState, tuple[Alert, ...]]:
    """An entry delivered after later ones: fold all of them anew in the order they were recorded."""
    work = begin(state.start, state.baseline, rules)
    for one in sorted((*_whole(state), entry), key=order):
        _apply(work, one, rules)
    _silence(work, state.clock, rules)
    work.clock = state.clock
    before = {alert.id for alert in state.alerts}
    return work, tuple(alert for alert in work.alerts if alert.id not in before)


def _impossible(state: AlertState, entry: Entry, rules: Thresholds) -> tuple[Problem, ...]:
    problems = []
    if entry.at > entry.recorded_at:
        problems.append(Problem("future", "at", "is after the time it was recorded"))
    if state.closed is not None and entry.at > state.closed:
        problems.append(Problem("after-session", "at", "is after the end of the session: write an addendum"))
    if isinstance(entry, Event):
        tier = state.open.get(entry.family)
        if entry.kind is EventKind.RESOLVED and entry.role != "prescriber" and tier is not None and tier > Tier.AMBER:
            problems.append(Problem("not-allowed", "role", "RED and STOP are resolved by a prescriber"))
        return tuple(problems)
    for signal, key in POSSIBLE_KEYS.items():
        value = _value(entry, signal)
        if value is None:
            continue
        limit = rules.values.get(key)
        if value.value < 0 or (limit is not None and limit.met_by(value)):
            problems.append(Problem("impossible", signal, f"{value} is physically impossible"))
    for signal, highest in (("moaa_s", 5), ("cadss6", 24)):
        scored = _value(entry, signal)
        if scored is not None and scored.value > highest:
            problems.append(Problem("impossible", signal, f"is above {highest}"))
    return tuple(problems)


def _value(source: Reading | VitalsSet | None, signal: str) -> Quantity | None:
    raw = getattr(source, signal, None)
    return Quantity(Decimal(raw), "{score}") if isinstance(raw, int) else raw


# --- One entry --------------------------------------------------------------------------------------------------------


def _apply(work: AlertState, entry: Entry, rules: Thresholds) -> None:
    work.log.append(entry)
    work.last = order(entry)
    # Silence up to this instant is judged by what was known before the entry; at the instant itself the entry counts.
    _silence(work, entry.recorded_at, rules, inclusive=False)
    work.clock = max(work.clock, entry.recorded_at)
    if isinstance(entry, Event):
        _event(work, entry, rules)
    else:
        _reading(work, entry, rules)
    _silence(work, work.clock, rules)


def _event(work: AlertState, event: Event, rules: Thresholds) -> None:
    if event.kind is EventKind.INFUSION_ENDED:
        work.ended = event.at
    elif event.kind is EventKind.SESSION_CLOSED:
        work.closed = event.at
    elif event.kind is EventKind.SYMPTOMS_RESOLVED:
        work.symptoms = frozenset()
    elif event.kind is EventKind.RESOLVED:
        work.open.pop(event.family, None)
        for key in [k for k in work.runs if k[0] == event.family]:
            del work.runs[key]  # a signal still in its band has to dwell anew
    else:
        name, tier = EVENT_ALERTS[event.kind]
        family, value = event_family(event.kind, event.code), event.code or event.kind.value
        late = rules["late"].reached(event.recorded_at - event.at)
        if event.kind in ANEW:
            work.open.pop(family, None)
        _raise(work, family, tier, event.at, event.at, value, f"event.{name}", event.recorded_at, late=late)


def _reading(work: AlertState, r: Reading, rules: Thresholds) -> None:
    if r.on_oxygen is not None:
        work.on_oxygen = r.on_oxygen
    overdue = rules["late"].reached(r.recorded_at - r.at)
    for symptom in sorted(r.symptoms):
        for tier in WORST_FIRST:
            if symptom in rules.lists[f"symptoms.{tier.name}"]:
                rule = f"symptoms.{tier.name}"
                _raise(work, f"symptom:{symptom}", tier, r.at, r.at, symptom, rule, r.recorded_at, late=overdue)
                break
    work.symptoms = work.symptoms | r.symptoms
    if r.sbp is not None or r.dbp is not None:
        _pressure(work, r, rules, overdue)
    elif r.symptoms:
        _symptomatic(work, r)
    for signal in FAMILIES:
        value = _value(r, signal)
        if value is None or signal in PRESSURES:
            continue
        newest = work.newest.get(signal)
        superseded = newest is not None and r.at < newest
        if r.source is Source.STREAM and signal in STREAMED:
            _sample(work, r, signal, value, rules, superseded)
        else:
            _typed(work, r, signal, value, rules, superseded, overdue)
        if newest is None or r.at > newest:
            work.newest[signal] = r.at
    if r.spo2 is not None:
        covers = rules["gap.spo2.typed_covers"].elapsed - rules["gap.spo2.RED"].elapsed
        covered = r.at if r.source is Source.STREAM else r.at + covers
        work.silent_from = max(work.silent_from, covered)
    if r.moaa_s is not None and work.ended is not None and r.at >= work.ended:
        awake = not rules["start.moaa_s"].met_by(Quantity(Decimal(r.moaa_s), "{score}"))
        work.awake_sets = work.awake_sets + 1 if awake else 0


def _tier(family: str, value: Quantity, baseline: Quantity | None, rules: Thresholds) -> tuple[Tier | None, str]:
    """The worst tier whose signed limit the value meets, by value alone, and the key of that limit."""
    for tier, key in LIMIT_KEYS[family]:
        limit = rules.values.get(key)
        if limit is not None and limit.met_by(value):
            return tier, key
    if family == "sbp_high" and baseline is not None:
        rise = Quantity(value.value - baseline.to(value.unit).value, value.unit)
        if rules["alert.sbp_rise.AMBER"].met_by(rise):
            return Tier.AMBER, "alert.sbp_rise.AMBER"
    return None, ""


def _accepted(work: AlertState, family: str, value: Quantity, rules: Thresholds) -> bool:
    """Whether an AMBER value is no worse than the one the gate's set was accepted with."""
    accepted = work.accepted.get(family)
    if accepted is None:
        return False
    upward = rules[f"alert.{family}.AMBER"].comparison.startswith(">")
    return value <= accepted if upward else value >= accepted


def _implausible(signal: str, value: Quantity, rules: Thresholds) -> bool:
    limits = (rules.values.get(key) for key in PLAUSIBLE_KEYS[signal])
    return any(limit is not None and limit.met_by(value) for limit in limits)


def _typed(
    work: AlertState, r: Reading, signal: str, value: Quantity, rules: Thresholds, superseded: bool, overdue: bool
) -> None:
    verify = _implausible(signal, value, rules)
    raised = False
    for family in FAMILIES[signal]:
        tier, rule = _tier(family, value, None, rules)
        if tier is None or (tier is Tier.AMBER and _accepted(work, family, value, rules) and not verify):
            continue
        raised = True
        if tier is not Tier.AMBER or not superseded:
            late = superseded or overdue
            _raise(work, family, tier, r.at, r.at, str(value), rule, r.recorded_at, late=late, verify=verify)
    if verify and not raised and not superseded:
        rule = f"plausible.{signal}"
        _raise(work, f"{signal}_implausible", Tier.AMBER, r.at, r.at, str(value), rule, r.recorded_at, verify=True)
    if signal == "spo2":
        _oxygen_run(work, r, value, rules, superseded)


# --- Blood pressure ---------------------------------------------------------------------------------------------------


def _pressure(work: AlertState, r: Reading, rules: Thresholds, overdue: bool) -> None:
    """A cuff reading: its own tier, STOP when the next reading after a RED is RED again, STOP with any symptom.

    Repetition needs no pause to have been recorded and no minimum time apart. Each half is judged for itself: one that was
    not measured is neither the next reading of its RED nor its recheck.
    """
    baseline = work.baseline.sbp if work.baseline else None
    found: dict[str, tuple[Tier | None, str]] = {}
    measured = {signal: value for signal in PRESSURES if (value := _value(r, signal)) is not None}
    verify = bool(r.sbp and r.dbp and r.sbp <= r.dbp)
    for signal, value in measured.items():
        for family in FAMILIES[signal]:
            tier, rule = _tier(family, value, baseline, rules)
            accepted = tier is Tier.AMBER and _accepted(work, family, value, rules)
            found[family] = (None, "") if accepted else (tier, rule)
        verify = verify or _implausible(signal, value, rules)
    index = bisect.bisect_left(work.pressures, (r.at, r.id))
    earlier, later = work.pressures[:index], work.pressures[index:]
    point = Cuff(r.at, r.id, {family: tier for family, (tier, _) in found.items()})
    work.pressures = (*earlier, point, *later)
    shown = f"{_plain(r.sbp)}/{_plain(r.dbp)} mm[Hg]"
    for family, (tier, rule) in found.items():
        if tier is None:
            continue
        before, after = _of_family(reversed(earlier), family), _of_family(later, family)
        superseded = after is not None
        repeated = family != _LOW and tier >= Tier.RED and any(_red(p, family) for p in (before, after))
        symptomatic = bool(work.symptoms) and (tier >= Tier.RED or family == _LOW)
        if tier is Tier.AMBER and superseded and not symptomatic:
            continue
        final, why = (Tier.STOP, f"{rule} again") if repeated else (tier, rule)
        if symptomatic:
            final, why = Tier.STOP, f"{rule} with a symptom"
        late = superseded or overdue
        _raise(work, family, final, r.at, r.at, shown, why, r.recorded_at, late=late, verify=verify)
    if verify and not later and all(tier is None for tier, _ in found.values()):
        _raise(work, "bp_implausible", Tier.AMBER, r.at, r.at, shown, "plausible.bp", r.recorded_at, verify=True)
    for signal in measured:
        if _of_family(later, FAMILIES[signal][0]) is None:
            work.rechecks.pop(signal, None)
            if any(_red(point, family) for family in FAMILIES[signal]):
                work.rechecks[signal] = r.recorded_at


_LOW: Final = "sbp_low"


def _of_family(points: Iterable[Cuff], family: str) -> Cuff | None:
    """The first in which what a family is about was measured."""
    return next((one for one in points if family in one.tiers), None)


def _red(point: Cuff | None, family: str) -> bool:
    tier = point.tiers[family] if point is not None else None
    return tier is not None and tier >= Tier.RED


def _symptomatic(work: AlertState, r: Reading) -> None:
    """A symptom entered on its own: STOP when the pressure then in force was RED, or low at all."""
    index = bisect.bisect_right(work.pressures, (r.at, "\uffff"))
    for family in (family for signal in PRESSURES for family in FAMILIES[signal]):
        point = _of_family(reversed(work.pressures[:index]), family)
        tier = point.tiers[family] if point is not None else None
        if tier is not None and (tier >= Tier.RED or family == _LOW):
            shown = ", ".join(sorted(r.symptoms))
            rule = f"alert.{family} with a symptom"
            _raise(work, family, Tier.STOP, r.at, r.at, shown, rule, r.recorded_at)


def _plain(value: Quantity | None) -> str:
    return "?" if value is None else f"{value.to('mm[Hg]').value:f}"


# --- Streams ----------------------------------------------------------------------------------------------------------


def _in_band(work: AlertState, family: str, tier: Tier, value: Quantity, rules: Thresholds) -> bool:
    limit = rules.values.get(f"alert.{family}.{tier.name}")
    if limit is None or not limit.met_by(value):
        return False
    return not (tier is Tier.AMBER and _accepted(work, family, value, rules))


def _sample(work: AlertState, r: Reading, signal: str, value: Quantity, rules: Thresholds, superseded: bool) -> None:
    samples: Samples | None = None
    for family, tier, key, dwell in STREAM_KEYS[signal]:
        limit = rules.values.get(key)
        if limit is None:
            continue
        inside = limit.met_by(value) and not (tier is Tier.AMBER and _accepted(work, family, value, rules))
        if superseded:
            since = work.runs.get((family, tier))
            if inside or (since is not None and since < r.at):
                samples = _samples(work, signal) if samples is None else samples
                _late_sample(work, r, samples, family, tier, rules[dwell], rules)
        elif inside:
            since = work.runs.setdefault((family, tier), r.at)
            if rules[dwell].reached(r.at - since):
                late, verify = rules["late"].reached(r.recorded_at - r.at), _implausible(signal, value, rules)
                _raise(work, family, tier, r.at, since, str(value), key, r.recorded_at, late=late, verify=verify)
        elif work.runs:
            work.runs.pop((family, tier), None)
    if signal == "spo2":
        _oxygen_run(work, r, value, rules, superseded)


Samples = list[tuple[dt.datetime, Quantity]]


def _samples(work: AlertState, signal: str) -> Samples:
    """Every sample of a stream so far, in true time."""
    found = [
        (entry.at, value)
        for entry in _whole(work)
        if isinstance(entry, Reading) and entry.source is Source.STREAM and (value := _value(entry, signal)) is not None
    ]
    return sorted(found, key=lambda sample: sample[0])


def _late_sample(
    work: AlertState, r: Reading, samples: Samples, family: str, tier: Tier, dwell: Threshold, rules: Thresholds
) -> None:
    """A sample that came after newer ones: look at the run it completes or breaks. Only RED and STOP are raised in
    retrospect.
    """
    index = bisect.bisect_left(samples, r.at, key=lambda sample: sample[0])

    def inside(i: int) -> bool:
        return _in_band(work, family, tier, samples[i][1], rules)

    if not inside(index):
        current = work.runs.get((family, tier))
        if current is not None and current < r.at:
            if index + 1 < len(samples):
                work.runs[family, tier] = samples[index + 1][0]
            else:
                del work.runs[family, tier]  # nothing of the stream is newer: what superseded it was typed
        return
    first = last = index
    while first > 0 and inside(first - 1):
        first -= 1
    while last + 1 < len(samples) and inside(last + 1):
        last += 1
    since = samples[first][0]
    if last + 1 == len(samples):
        work.runs[family, tier] = since  # the run is still going on
    reached = next((sample for sample in samples[first : last + 1] if dwell.reached(sample[0] - since)), None)
    if reached is not None and tier is not Tier.AMBER:
        rule = f"alert.{family}.{tier.name}"
        _raise(work, family, tier, reached[0], since, str(reached[1]), rule, r.recorded_at, late=True)


def _oxygen_run(work: AlertState, r: Reading, value: Quantity, rules: Thresholds, superseded: bool) -> None:
    """STOP when the saturation stays at or below the limit on oxygen for its dwell, whoever measures it."""
    limit, dwell = rules["alert.spo2_on_oxygen.STOP"], rules["dwell.spo2_on_oxygen.STOP"]
    if superseded:
        return
    if not (work.on_oxygen and limit.met_by(value)):
        work.runs.pop(NO_RUN, None)
        return
    since = work.runs.setdefault(NO_RUN, r.at)
    if dwell.reached(r.at - since):
        _raise(work, "spo2_low", Tier.STOP, r.at, since, f"{value} on oxygen", limit.key, r.recorded_at)


# --- Silence ----------------------------------------------------------------------------------------------------------


def _silence(work: AlertState, until: dt.datetime, rules: Thresholds, *, inclusive: bool = True) -> None:
    """Raise what was due by ``until`` because nothing came: pressure gap, saturation gap, overdue recheck. None after
    the session closed.
    """
    if work.closed is not None:
        until = min(until, work.closed)
    due = [
        (since + limit.elapsed, family, tier, limit, since)
        for family, tier, limit, since in _watched(work, rules)
        if until - since > limit.elapsed or (inclusive and limit.reached(until - since))
    ]
    for at, family, tier, limit, since in sorted(due, key=lambda d: (d[0], d[1], d[2])):
        seen = work.gaps_done.get(family)
        if seen is None or seen[0] != since or seen[1] < tier:
            work.gaps_done[family] = (since, tier)
            _raise(work, family, tier, at, since, f"nothing for {limit.quantity}", limit.key, at)


def _watched(state: AlertState, rules: Thresholds) -> list[tuple[str, Tier, Threshold, dt.datetime]]:
    """Of what silence is an alert now: family, tier, limit, and since when it is silent."""
    last = max(state.start, state.pressures[-1][0]) if state.pressures else state.start
    signed = rules.values
    watched = [("bp_gap", tier, signed[key], last) for tier, key in BP_GAP[state.ended is not None]]
    if state.awake_sets == 0 or state.awake_sets < signed["gap.spo2.awake_sets"].count:
        watched += [("spo2_gap", tier, signed[key], state.silent_from) for tier, key in SPO2_GAP]
    if state.rechecks:
        watched.append(("bp_recheck", Tier.STOP, rules["recheck.red.overdue"], min(state.rechecks.values())))
    return watched


def _raise(
    work: AlertState,
    family: str,
    tier: Tier,
    at: dt.datetime,
    since: dt.datetime,
    value: str,
    rule: str,
    raised_at: dt.datetime,
    *,
    late: bool = False,
    verify: bool = False,
) -> None:
    """Add an alert unless one of the family is open at this tier or a higher one: then the reading only adds to it."""
    current = work.open.get(family)
    if current is not None and current >= tier:
        return
    after = work.closed is not None and raised_at > work.closed
    work.open[family] = tier
    work.alerts = (*work.alerts, Alert(family, tier, at, since, raised_at, value, rule, late, after, verify))


# --- As a part of the therapy -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertCase:
    """A whole session to replay: start, the set the gate passed on, everything entered, and the instant reached."""

    at: Moment
    start: dt.datetime
    baseline: VitalsSet | None = None
    readings: tuple[Reading, ...] = ()
    events: tuple[Event, ...] = ()


def alerts(case: AlertCase, rules: Thresholds) -> Evaluation[tuple[Alert, ...]] | Rejected:
    """Replay a session and give every alert; REVIEW when a RED or STOP was raised or anything is still open."""
    state = fold(begin(case.start, case.baseline, rules), [*case.readings, *case.events], case.at.at, rules)
    if isinstance(state, Rejected):
        return state
    e = Assessment("ketamine.alerts", rules, case.at.at)
    for family, value in sorted(state.accepted.items()):
        e.look(f"accepted at start: {family}", value)
    for alert in state.alerts:
        e.look(f"{alert.tier.name} {alert.family}", f"{alert.value} ({alert.rule})", alert.at)
    if case.baseline is None:
        e.lack("baseline", "the rise from the pre-dose value cannot be judged")
    worst = max((alert.tier for alert in state.alerts), default=None)
    urgent = worst is not None and worst >= Tier.RED
    return e.close(Outcome.REVIEW if urgent or state.open or e.absent else Outcome.ROUTINE, state.alerts)
