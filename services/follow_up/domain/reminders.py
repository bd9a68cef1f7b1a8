"""Which messages a visit asks for, and what becomes of those that are planned when it changes. Pure."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from schemas.values import Moment
from services.therapies.cadence import reminders
from services.therapies.evidence import Thresholds

__all__ = ["Appointment", "Rung", "SessionFact", "VisitFact", "planned", "settled"]


@dataclass(frozen=True, slots=True)
class Appointment:
    """Something that a patient comes to: what about, when, in whose clock, and whether it is still ahead."""

    about: UUID
    patient: UUID
    kind: str
    starts_at: dt.datetime
    zone: str
    ahead: bool


@dataclass(frozen=True, slots=True)
class VisitFact:
    """A visit, as its owner tells of it."""

    visit: UUID
    patient: UUID
    starts_at: dt.datetime
    zone: str
    status: str

    @property
    def appointment(self) -> Appointment:
        """As what a patient is reminded of."""
        return Appointment(self.visit, self.patient, "visit", self.starts_at, self.zone, self.status == "scheduled")


@dataclass(frozen=True, slots=True)
class SessionFact:
    """A session, as its owner tells of it."""

    session: UUID
    patient: UUID
    case: UUID
    plan: UUID
    ordinal: int
    phase: str
    starts_at: dt.datetime
    zone: str
    state: str
    started_at: dt.datetime | None = None
    ending: str | None = None

    @property
    def appointment(self) -> Appointment:
        """As what a patient is reminded of."""
        return Appointment(self.session, self.patient, "session", self.starts_at, self.zone, self.state == "scheduled")


@dataclass(frozen=True, slots=True)
class Rung:
    """A message of a visit.

    Attributes:
        rung: how long before, as events call it: ``72h``.
        zone: in which the patient reads the clock.
        about_at: when the visit is.
        status: ``planned``, ``sent``, ``withdrawn``, ``dropped`` or ``uncertain``.
    """

    id: UUID
    patient: UUID
    about: UUID
    kind: str
    rung: str
    due_at: dt.datetime
    zone: str
    about_at: dt.datetime | None
    status: str = "planned"
    channel: str | None = None
    settled_at: dt.datetime | None = None


def planned(wanted: Appointment, zone: str, now: dt.datetime, ids: Sequence[UUID], rules: Thresholds) -> tuple[Rung, ...]:
    """The messages of an appointment that is ahead; one whose time has passed is not sent late.

    Args:
        wanted: what it is about.
        zone: of the patient.
        now: of the clinic clock.
        ids: one for each possible message.
        rules: of ``cadence``.
    """
    if not wanted.ahead:
        return ()
    found = reminders(Moment(wanted.starts_at, wanted.zone), zone, rules)
    return tuple(
        Rung(
            identifier,
            wanted.patient,
            wanted.about,
            wanted.kind,
            one.rung.replace(" ", ""),
            one.at.at,
            zone,
            wanted.starts_at,
        )
        for identifier, one in zip(ids, found, strict=False)
        if one.at.at > now
    )


def settled(one: Rung, outcome: str, at: dt.datetime, channel: str | None = None) -> Rung:
    """A message that was sent, or will not be."""
    return replace(one, status=outcome, settled_at=at, channel=channel)
