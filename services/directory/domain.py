"""Patients, staff, duty and opening hours as values, and the questions that are asked of them. Pure."""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from schemas.values import zone_of

__all__ = ["OpenSpan", "OpeningHours", "Patient", "Qualification", "Shift", "Staff", "lacks_to_prescribe"]

_SEARCHED_DAYS = 60


@dataclass(frozen=True, slots=True)
class Patient:
    """What a service knows of a patient.

    Attributes:
        id: of the patient.
        account: person who signs in as this patient; None while nobody does.
        zone: in which the patient reads the clock.
        language: BCP 47.
        region: ISO 3166-2 code of the state where they live.
        status: ``active``, ``inactive``, ``merged``, ``entered-in-error`` or ``deceased``.
        care_team: id of each member to the role they have in it.
        merged_into: under which patient id a merged record goes on.
    """

    id: UUID
    account: UUID | None
    zone: str
    language: str
    region: str
    status: str
    care_team: tuple[tuple[UUID, str], ...] = ()
    merged_into: UUID | None = None

    @property
    def active(self) -> bool:
        """Whether anything may be planned, scheduled or sent for them."""
        return self.status == "active"

    def treated_by(self, person: str) -> bool:
        """Whether somebody is on the care team."""
        return any(str(member) == person for member, _ in self.care_team)


@dataclass(frozen=True, slots=True)
class Qualification:
    """A credential: what it is, where it holds, from when until when."""

    kind: str
    region: str | None
    site: UUID | None
    valid_from: dt.datetime
    valid_until: dt.datetime | None

    def holds(self, at: dt.datetime) -> bool:
        """Whether it is valid then; its last instant is outside."""
        return self.valid_from <= at and (self.valid_until is None or at < self.valid_until)


@dataclass(frozen=True, slots=True)
class Staff:
    """A member of staff with what they hold."""

    id: UUID
    roles: frozenset[str]
    credentials: tuple[Qualification, ...]
    active: bool

    def holds(self, kind: str, at: dt.datetime, *, region: str | None = None, site: UUID | None = None) -> bool:
        """Whether they work here and hold a valid credential: of that region, of that site, where one is asked for."""
        return self.active and any(
            one.kind == kind
            and one.holds(at)
            and (region is None or one.region == region)
            and (site is None or one.site == site)
            for one in self.credentials
        )


def lacks_to_prescribe(signer: Staff | None, region: str, at: dt.datetime) -> str:
    """What a signer lacks to decide on, plan or order treatment for a patient of a state (decision A18); empty: nothing."""
    if signer is None or not signer.active or "prescriber" not in signer.roles:
        return "prescriber"
    if not signer.holds("licence", at, region=region):
        return "licence"
    return next((kind for kind in ("dea", "acls") if not signer.holds(kind, at)), "")


@dataclass(frozen=True, slots=True)
class Shift:
    """Somebody on duty for a role; ``pager`` is where they are called."""

    staff: UUID
    role: str
    pager: str
    starts_at: dt.datetime
    ends_at: dt.datetime


def duty_until(shifts: Iterable[Shift], at: dt.datetime) -> dt.datetime | None:
    """Until when somebody with these shifts is on duty at least; None if they are not then."""
    return max((one.ends_at for one in shifts if one.starts_at <= at < one.ends_at), default=None)


@dataclass(frozen=True, slots=True)
class OpenSpan:
    """Open on a weekday (0 is Monday) between two wall-clock times; 24:00 is ``dt.time.max``."""

    weekday: int
    opens: dt.time
    closes: dt.time


@dataclass(frozen=True, slots=True)
class OpeningHours:
    """When the clinic is open, by its own wall clock."""

    zone: str
    spans: tuple[OpenSpan, ...]
    closed: frozenset[dt.date]

    def open_at(self, at: dt.datetime) -> bool:
        """Whether it is open at an instant."""
        local = at.astimezone(zone_of(self.zone))
        return any(span.opens <= local.time() < span.closes for span in self._on(local.date()))

    def after_open_time(self, start: dt.datetime, span: dt.timedelta) -> dt.datetime:
        """The instant at which the clinic has been open for so long since ``start``.

        Raises:
            ValueError: it does not open that long in the next weeks; a due time must never be silently far away.
        """
        zone = zone_of(self.zone)
        local = start.astimezone(zone)
        left = span
        for offset in range(_SEARCHED_DAYS):
            day = local.date() + dt.timedelta(days=offset)
            for hours in self._on(day):
                opens = dt.datetime.combine(day, hours.opens, zone).astimezone(dt.UTC)
                closes = dt.datetime.combine(day, hours.closes, zone).astimezone(dt.UTC)
                begins = max(opens, start)
                if begins >= closes:
                    continue
                if closes - begins >= left:
                    return begins + left
                left -= closes - begins
        raise ValueError("the clinic does not open for so long")

    def due(self, start: dt.datetime, span: dt.timedelta, latest: dt.datetime) -> dt.datetime:
        """The instant by which something is due that has so much open time, and never later than ``latest``."""
        try:
            return min(self.after_open_time(start, span), latest)
        except ValueError:
            return latest

    def _on(self, day: dt.date) -> Iterable[OpenSpan]:
        if day in self.closed:
            return ()
        return sorted((span for span in self.spans if span.weekday == day.weekday()), key=lambda span: span.opens)
