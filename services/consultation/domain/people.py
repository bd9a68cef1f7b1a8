"""Enquiries and patients as values, and who may be the same person. Pure."""

import datetime as dt
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from uuid import UUID

__all__ = [
    "ANSWERED_WITHIN",
    "NOT_IN_USE",
    "STANDINGS",
    "Enquiry",
    "Likeness",
    "Member",
    "Patient",
    "Person",
    "likeness",
    "may_be_merged",
    "name_key",
    "unresolved",
]

ANSWERED_WITHIN = dt.timedelta(hours=8)
"""Opening hours within which an enquiry gets its first answer: one business day (decision B14)."""


STANDINGS = ("active", "inactive", "deceased")
"""What a patient whose record is in use is to the clinic."""
NOT_IN_USE = ("merged", "entered-in-error")
"""What a record is that nobody writes to any more."""


@dataclass(frozen=True, slots=True)
class Enquiry:
    """Somebody who asks to become a patient.

    Attributes:
        status: ``open``, ``linked`` to a patient, or ``closed``.
        closed_for: code of why, when closed.
        handled_by: who linked or closed it.
        version: of the row; 0 while there is none.
    """

    id: UUID
    name: str
    email: str | None
    phone: str | None
    language: str
    zone: str
    therapy: str
    received_at: dt.datetime
    status: str = "open"
    patient: UUID | None = None
    closed_for: str | None = None
    handled_by: str | None = None
    version: int = 0


@dataclass(frozen=True, slots=True)
class Person:
    """What tells one person from another."""

    given_name: str
    family_name: str
    birth_date: dt.date
    email: str | None = None
    phone: str | None = None


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody of a care team, and as what."""

    staff: UUID
    role: str


@dataclass(frozen=True, slots=True)
class Patient:
    """A patient of the clinic.

    Attributes:
        account: the person who signs in as this patient.
        zone: in which they read the clock.
        region: ISO 3166-2 code of the state where they live.
        status: ``active``, ``inactive``, ``merged``, ``entered-in-error`` or ``deceased``.
        merged_into: the record that goes on, where this one was a second one of the same person.
        version: of the row; 0 while there is none.
    """

    id: UUID
    person: Person
    zone: str
    language: str
    region: str
    status: str = "active"
    account: UUID | None = None
    care_team: tuple[Member, ...] = ()
    merged_into: UUID | None = None
    version: int = 0


class Likeness(StrEnum):
    """How much a person is like a known patient. Only a human says that they are the same."""

    SAME = "same"
    """Name, birth date and one contact agree (decision B11)."""
    POSSIBLE = "possible"
    """Two of the three agree: a changed name, a mistyped date, a new address."""
    NONE = "none"
    """One alone says nothing: families share an e-mail address, strangers share a name or a birthday."""


def name_key(person: Person) -> str:
    """A name without what people leave out or write differently: case, accents, spaces, hyphens, apostrophes."""
    letters = unicodedata.normalize("NFKD", f"{person.given_name} {person.family_name}".casefold())
    return "".join(letter for letter in letters if letter.isalnum())


def likeness(one: Person, other: Person) -> Likeness:
    """Compare two persons by name, birth date and contact."""
    agree = (
        name_key(one) == name_key(other),
        one.birth_date == other.birth_date,
        _same_address(one.email, other.email) or _same_number(one.phone, other.phone),
    )
    return {3: Likeness.SAME, 2: Likeness.POSSIBLE}.get(sum(agree), Likeness.NONE)


def unresolved(person: Person, known: Sequence[Patient], distinct: Sequence[UUID]) -> list[Patient]:
    """Known patients who may be this person and of whom nobody has said yet that they are not."""
    return [
        patient for patient in known if patient.id not in distinct and likeness(person, patient.person) is not Likeness.NONE
    ]


def may_be_merged(survivor: Patient, duplicate: Patient) -> str:
    """Why two records cannot be made one; empty if they can."""
    if survivor.id == duplicate.id:
        return "same-record"
    if survivor.status != "active" or duplicate.status not in ("active", "inactive"):
        return "not-active"
    if survivor.account and duplicate.account and survivor.account != duplicate.account:
        return "two-accounts"
    return ""


def merged(survivor: Patient, duplicate: Patient) -> Patient:
    """The duplicate, as it stands from now on."""
    return replace(duplicate, status="merged", merged_into=survivor.id)


def _same_address(one: str | None, other: str | None) -> bool:
    return one is not None and other is not None and one.casefold() == other.casefold()


def _same_number(one: str | None, other: str | None) -> bool:
    return one is not None and one == other
