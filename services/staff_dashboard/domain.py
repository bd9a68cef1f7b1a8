"""What the board makes of events: facts are kept by kind, the newest of each, and a row is derived from them. Pure.

Nothing depends on the order in which events come: the newest by (recorded time, id) holds, whichever came last.
"""

import datetime as dt
import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

from schemas.values import zone_of

__all__ = ["TREND", "Cursor", "Fact", "Facts", "Item", "Kind", "View", "folded", "local_day", "shown", "view_of"]

TREND = 60
"""Summaries of vitals that a session's row shows of each origin."""
_HISTORY = 200
"""Changes of a pump that are kept of a session: more than any infusion has."""
# A state that we do not know yet is one in which somebody may be in the chair.
_NOBODY_THERE = frozenset({"", "scheduled", "closed"})
_VIEWS = 2**20
_SECONDS = {"s": 1, "min": 60, "h": 3600}


class Kind(StrEnum):
    """What a row of the board is."""

    ALERT = "alert"
    SESSION = "session"
    TASK = "task"


@dataclass(frozen=True, slots=True)
class Fact:
    """An event, as far as it is kept: its data as the bus has it."""

    recorded: dt.datetime
    id: UUID
    data: Mapping[str, Any]


Facts = Mapping[str, Sequence[Fact]]
"""By the event's name, the oldest first; vitals by their origin, so that a monitor's many never push a typed set out, and what
gates said by the gate.
"""


def folded(known: Facts, name: str, fact: Fact) -> Facts:
    """The facts with one more. What is known already changes nothing, in whatever order things come."""
    most = 1
    if name == "vitals-summarised":
        name, most = f"{name}:{fact.data['origin']}", TREND
    elif name == "gate-evaluated":
        name = f"{name}:{fact.data['gate']}"
    elif name in ("infusion-rate-changed", "infusion-paused", "infusion-resumed", "alert-acknowledged"):
        most = _HISTORY
    kept = {one.id: one for one in (*known.get(name, ()), fact)}
    return {**known, name: sorted(kept.values(), key=_order)[-most:]}


def _order(fact: Fact) -> tuple[Any, ...]:
    # Vitals by their own time: a stretch that is delivered late is no newer than what was measured since.
    at = dt.datetime.fromisoformat(fact.data["to_at"]) if "to_at" in fact.data else fact.recorded
    return (at, fact.recorded, fact.id)


@dataclass(frozen=True, slots=True)
class Item:
    """A row of the board, with everything that was told of it."""

    kind: Kind
    id: UUID
    patient: UUID
    facts: Facts

    @property
    def open(self) -> bool:
        """Whether it is on the board whatever the day: a session in or past check-in, an alert or task that nobody ended."""
        match self.kind:
            case Kind.SESSION:
                return _state(self.facts) not in _NOBODY_THERE
            case Kind.ALERT:
                return "alert-raised" in self.facts and "alert-resolved" not in self.facts
            case Kind.TASK:
                return "task-opened" in self.facts and "task-closed" not in self.facts

    @property
    def starts_at(self) -> dt.datetime | None:
        """When a session is planned to begin."""
        planned = _last(self.facts, "session-changed")
        return dt.datetime.fromisoformat(planned["starts"]["at"]) if planned else None


def shown(item: Item) -> dict[str, Any] | None:
    """What the board shows of it, as JSON; None while what makes it a row has not been told."""
    match item.kind:
        case Kind.SESSION:
            return _session(item)
        case Kind.ALERT:
            return _alert(item)
        case Kind.TASK:
            return _task(item)


def _last(facts: Facts, name: str) -> Mapping[str, Any]:
    return facts[name][-1].data if facts.get(name) else {}


def _state(facts: Facts) -> str:
    # Closed is closed: of a service's two words for it, one may be set aside here.
    return "closed" if "session-closed" in facts else str(_last(facts, "session-changed").get("state", ""))


def _session(item: Item) -> dict[str, Any] | None:
    told, closed = _last(item.facts, "session-changed"), _last(item.facts, "session-closed")
    if not told:
        return None
    vitals = [fact for name, facts in item.facts.items() if name.startswith("vitals-summarised:") for fact in facts]
    return {
        "session": str(item.id),
        "patient": str(item.patient),
        "plan": told["plan"],
        "case": told["case"],
        "therapy": told["therapy"],
        "ordinal": told["ordinal"],
        "phase": told["phase"],
        "starts": told["starts"],
        "state": _state(item.facts),
        "nurse": told.get("nurse"),
        "overrides": _last(item.facts, "gate-evaluated:start").get("overrides", []),
        "infusion": _infusion(item.facts),
        "vitals": [_vitals(fact.data) for fact in sorted(vitals, key=_order)],
        "discharged_at": _last(item.facts, "session-discharged").get("discharged_at"),
        "ending": closed.get("ending"),
    }


def _vitals(data: Mapping[str, Any]) -> dict[str, Any]:
    measured = ("sbp", "dbp", "heart_rate", "resp_rate", "spo2", "spo2_low", "moaa_s")
    return {"at": data["to_at"], "origin": data["origin"], **{name: data.get(name) for name in measured}}


def _alert(item: Item) -> dict[str, Any] | None:
    raised, resolved = _last(item.facts, "alert-raised"), _last(item.facts, "alert-resolved")
    if not raised:
        return None
    taken = [fact.data for fact in item.facts.get("alert-acknowledged", ())]
    return {
        "alert": str(item.id),
        "session": raised["session"],
        "patient": str(item.patient),
        "tier": raised["tier"],
        "signal": raised["signal"],
        "rule": raised["rule"],
        "at": raised["at"],
        "raised_at": raised["raised_at"],
        "late": raised["late"],
        "answer_due_at": raised.get("answer_due_at"),
        "acknowledgements": [{"role": one["role"], "by": one["by"], "at": one["acknowledged_at"]} for one in taken],
        "resolved_at": resolved.get("resolved_at"),
        "action": resolved.get("action"),
    }


def _task(item: Item) -> dict[str, Any] | None:
    opened, closed = _last(item.facts, "task-opened"), _last(item.facts, "task-closed")
    if not opened:
        return None
    return {
        "task": str(item.id),
        "service": opened["service"],
        "patient": str(item.patient),
        "session": opened.get("session"),
        "kind": opened["kind"],
        "role": opened["role"],
        "due_at": opened["due_at"],
        "assignee": opened.get("assignee"),
        "state": closed.get("outcome", "open"),
    }


# --- the pump ------------------------------------------------------------------------------------------------------------


def _infusion(facts: Facts) -> dict[str, Any] | None:
    started, ended = _last(facts, "infusion-started"), _last(facts, "infusion-ended")
    if not started:
        return None
    rate, paused_at, planned_end = _pump(facts, started)
    return {
        "started_at": started["started_at"],
        "dose": started["dose"],
        "rate": rate,
        "paused_at": None if ended else paused_at,
        "planned_end_at": None if ended or planned_end is None else _text(planned_end),
        "ended_at": ended.get("ended_at"),
        "given": ended.get("given"),
        "reason": ended.get("reason"),
    }


def _pump(facts: Facts, started: Mapping[str, Any]) -> tuple[Mapping[str, Any], str | None, dt.datetime | None]:
    """The rate that is set, since when the pump stands if it does, and when the bag is empty if it goes on like this.

    The bag holds what the first rate gives in the planned duration. No end is named while the pump stands, or where rates are
    in different units.
    """
    changes = [
        (dt.datetime.fromisoformat(fact.data[when]), fact.recorded, fact.id, name, fact.data)
        for name, when in (
            ("infusion-rate-changed", "changed_at"),
            ("infusion-paused", "paused_at"),
            ("infusion-resumed", "resumed_at"),
        )
        for fact in facts.get(name, ())
    ]
    rate, paused_at = started["rate"], None
    since = dt.datetime.fromisoformat(started["started_at"])
    span, units = _SECONDS.get(started["duration"]["unit"]), {rate["unit"]}
    left = Decimal(rate["value"]) * Decimal(started["duration"]["value"]) * (span or 0)
    for at, _, _, name, data in sorted(changes, key=lambda change: change[:3]):
        if paused_at is None:
            left -= Decimal(rate["value"]) * _seconds(at - since)
        since = at
        if name == "infusion-rate-changed":
            rate = data["rate"]
            units.add(rate["unit"])
        else:
            paused_at = data["paused_at"] if name == "infusion-paused" else None
    if paused_at is not None or span is None or len(units) > 1 or not Decimal(rate["value"]):
        return rate, paused_at, None
    return rate, None, since + dt.timedelta(seconds=float(max(left, Decimal(0)) / Decimal(rate["value"])))


def _seconds(span: dt.timedelta) -> Decimal:
    return Decimal(span // dt.timedelta(microseconds=1)) / 1_000_000


def _text(at: dt.datetime) -> str:
    return at.astimezone(dt.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


# --- who is shown what ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class View:
    """What somebody is shown now.

    Attributes:
        history: of the board: since when it lasts, and the epoch, which a restored database raises.
        day: from when until when the clinic's local day lasts; None while nobody has said in which zone the clinic is.
        clinical: whether they see vitals, infusions, alerts and clinical tasks; the front desk does not.
        patients: whom they see; None is everybody: whoever is on duty, and the front desk.
    """

    history: tuple[dt.datetime, int]
    day: tuple[dt.datetime, dt.datetime] | None
    clinical: bool
    patients: frozenset[UUID] | None

    @property
    def digest(self) -> int:
        """20 bits that stand for it in a cursor."""
        who = None if self.patients is None else sorted(map(str, self.patients))
        said = repr((self.history, self.day, self.clinical, who)).encode()
        return int.from_bytes(hashlib.sha256(said).digest()[:4], "big") % _VIEWS

    def sees(self, item: Item) -> bool:
        """Whether it may be shown to them at all, on the board or leaving it."""
        if self.patients is not None and item.patient not in self.patients:
            return False
        if self.clinical or item.kind is Kind.SESSION:
            return True
        return item.kind is Kind.TASK and _last(item.facts, "task-opened").get("role") == "front_desk"

    def has(self, item: Item) -> bool:
        """Whether it is on their board."""
        if item.open or item.kind is not Kind.SESSION or item.starts_at is None or self.day is None:
            return item.open
        return self.day[0] <= item.starts_at < self.day[1]

    def row(self, item: Item) -> dict[str, Any] | None:
        """What they are shown of it; None where there is nothing to show."""
        row = shown(item)
        if row is not None and item.kind is Kind.SESSION and not self.clinical:
            row |= {"infusion": None, "vitals": [], "overrides": []}
        return row


@dataclass(frozen=True, slots=True)
class Cursor:
    """From where a client goes on: the last change it has, and the view under which it has the ones before.

    A client that was shown another view (another day, other patients) lacks rows that did not change since, and has others that
    it should not: it must begin anew.
    """

    position: int
    view: int

    def __int__(self) -> int:
        # Below 2^53, so that a browser's numbers hold it.
        return self.position * _VIEWS + self.view

    @classmethod
    def of(cls, number: int) -> "Cursor":
        """The reverse."""
        return cls(*divmod(number, _VIEWS))


def local_day(now: dt.datetime, zone: str) -> tuple[dt.datetime, dt.datetime]:
    """The clinic's day at an instant."""
    here = zone_of(zone)
    day = now.astimezone(here).date()
    begins, ends = (dt.datetime.combine(one, dt.time(), here) for one in (day, day + dt.timedelta(days=1)))
    return begins.astimezone(dt.UTC), ends.astimezone(dt.UTC)


def view_of(
    history: tuple[dt.datetime, int],
    day: tuple[dt.datetime, dt.datetime] | None,
    person: str,
    roles: Collection[str],
    duty: Collection[tuple[str, str]],
    treated: Collection[UUID],
) -> View:
    """What somebody is shown.

    Args:
        duty: who is on duty now, as pairs of role and person.
        treated: patients on whose care team they are.
    """
    clinical = bool(set(roles) - {"front_desk"})
    whole = not clinical or any((role, person) in duty for role in roles)
    return View(history, day, clinical, None if whole else frozenset(treated))
