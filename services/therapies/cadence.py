"""When people are contacted, paged and reminded, and what they are given to read: data that other services schedule
from.

Everything here is arithmetic on signed figures; sending, paging and waiting are other services' work. An urgent
clinical alert is never deferred by quiet hours, and no message replaces a human step.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Final

from schemas.values import Moment
from services.therapies.calendar import out_of_quiet_hours, resolve
from services.therapies.evidence import Thresholds
from services.therapies.protocol import Keys

__all__ = [
    "KEYS",
    "BusinessHours",
    "Contact",
    "Page",
    "Reminder",
    "Rung",
    "business_deadline",
    "contacts",
    "due_pages",
    "education",
    "ladder",
    "reminders",
    "send_at",
]

PROGRAMMES: Final = ("ketamine", "semaglutide", "testosterone")
STAGES: Final = ("before consent", "before the first visit", "during treatment", "after treatment")

KEYS: Final = Keys(
    values={
        "contact.ketamine.*": "h",
        "contact.semaglutide.*": "d",
        "contact.testosterone.*": "mo",
        "ladder.*": "s",
        "visit.*": "s",
        "reminder.*": "h",
        "reminder_keeps": "min",
        "quiet.from": "min",
        "quiet.to": "min",
        "moderate.business": "h",
        "moderate.cap": "h",
    },
    lists=frozenset(f"education.{programme}.{stage}" for programme in PROGRAMMES for stage in STAGES)
    | {f"asks.{programme}" for programme in PROGRAMMES},
)


@dataclass(frozen=True, slots=True)
class Contact:
    """A contact of a programme: its name, and how long after its anchor (named in the name) or how often it is, as
    signed.
    """

    name: str
    after: str
    source: str


@dataclass(frozen=True, slots=True)
class Rung:
    """One step of an escalation ladder: after how much elapsed time without an answer, who or what."""

    after: dt.timedelta
    who: str


def contacts(programme: str, rules: Thresholds) -> tuple[Contact, ...]:
    """The contacts of a programme, soonest first."""
    found = sorted(rules.under(f"contact.{programme}").items(), key=lambda pair: (pair[1].quantity, pair[0]))
    return tuple(Contact(name, str(t.quantity), t.source) for name, t in found)


def ladder(name: str, rules: Thresholds) -> tuple[Rung, ...]:
    """The rungs of a ladder (``red``, ``stop``, ``suicide HIGH``, ...), soonest first; empty for an unknown name."""
    found = ((t.elapsed, who) for who, t in rules.under(f"ladder.{name}").items())
    return tuple(Rung(after, who) for after, who in sorted(found))


@dataclass(frozen=True, slots=True)
class Page:
    """A page that is due: when, and to whom."""

    at: dt.datetime
    who: str


def due_pages(
    tier: str,
    raised_at: dt.datetime,
    now: dt.datetime,
    rules: Thresholds,
    *,
    nurse_acknowledged_at: dt.datetime | None = None,
    prescriber_at: dt.datetime | None = None,
    pause_recorded_at: dt.datetime | None = None,
    rechecked_at: dt.datetime | None = None,
) -> tuple[Page, ...]:
    """Every page of an alert that was due by ``now``, from the signed ladders.

    Two ladders for a RED and for a STOP: a nurse's acknowledgement ends only the nurse's; the prescriber's runs until a
    prescriber acknowledged or is at the bedside. A pause that nobody recorded is paged again. An AMBER without its recheck
    pages a second nurse.
    """
    ends = {"red": nurse_acknowledged_at, "red prescriber": prescriber_at, "red pause": pause_recorded_at}
    by_tier: dict[str, dict[str, dt.datetime | None]] = {
        "AMBER": {"amber": rechecked_at},
        "RED": ends,
        "STOP": {"stop": nurse_acknowledged_at, "stop prescriber": prescriber_at},
    }
    pages = [
        Page(raised_at + rung.after, rung.who)
        for name, answered in by_tier[tier].items()
        for rung in ladder(name, rules)
        if raised_at + rung.after <= now and (answered is None or raised_at + rung.after < answered)
    ]
    return tuple(sorted(pages, key=lambda page: (page.at, page.who)))


# --- Reminders and quiet hours ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reminder:
    """One reminder of a visit: its rung (hours before) and when it is sent, in the recipient's zone."""

    rung: str
    at: Moment


def _clock(key: str, rules: Thresholds) -> dt.time:
    minutes = rules[key].count
    return dt.time(minutes // 60, minutes % 60)


def send_at(due: Moment, rules: Thresholds, *, urgent: bool = False) -> Moment:
    """When a message due at ``due`` goes out: at once when urgent, otherwise not in the recipient's quiet hours."""
    return due if urgent else out_of_quiet_hours(due, _clock("quiet.from", rules), _clock("quiet.to", rules))


def reminders(visit: Moment, recipient_zone: str, rules: Thresholds) -> tuple[Reminder, ...]:
    """The reminders of a visit, in elapsed hours before it, out of the recipient's quiet hours.

    One that would move to after the visit, or to less than the signed time before it, is dropped.
    """
    found = []
    for name, limit in rules.under("reminder").items():
        at = send_at(Moment(visit.at - limit.elapsed, recipient_zone), rules)
        if visit.at - at.at >= min(rules["reminder_keeps"].elapsed, limit.elapsed):
            found.append(Reminder(name, at))
    return tuple(sorted(found, key=lambda reminder: reminder.at))


@dataclass(frozen=True, slots=True)
class BusinessHours:
    """When the clinic is open: ISO weekdays, from, to (in its zone), and dates it is closed."""

    weekdays: frozenset[int]
    opens: dt.time
    closes: dt.time
    closed: frozenset[dt.date] = frozenset()


def business_deadline(detected: Moment, hours: BusinessHours, rules: Thresholds) -> dt.datetime:
    """By when a MODERATE risk is answered: the signed business hours of the clinic's zone, and never later than the cap
    of elapsed hours.
    """
    cap = detected.at + rules["moderate.cap"].elapsed
    left = rules["moderate.business"].elapsed
    day = detected.date
    while resolve(day, hours.opens, detected.zone).at < cap:
        opens, closes = (resolve(day, clock, detected.zone).at for clock in (hours.opens, hours.closes))
        start = max(opens, detected.at)
        if day.isoweekday() in hours.weekdays and day not in hours.closed and start < closes:
            if start + left <= closes:
                return min(start + left, cap)
            left -= closes - start
        day += dt.timedelta(days=1)
    return cap


# --- Education --------------------------------------------------------------------------------------------------------


def education(programme: str, stage: str, rules: Thresholds) -> tuple[str, ...]:
    """Content topics of a programme at a stage; their texts are versioned elsewhere. Sent behind a link, no drug name
    in the message.

    Raises:
        KeyError: no such programme or stage.
    """
    return rules.lists[f"education.{programme}.{stage}"]
