"""Who may be the same person: name, birth date and one contact, never one of them alone."""

import datetime as dt
from dataclasses import replace
from uuid import UUID

import pytest

from services.consultation.domain import Likeness, Patient, Person, likeness, may_be_merged, name_key, unresolved

ADA = Person("Ada", "López-O'Neil", dt.date(1983, 6, 9), "family@example.org", "+12125550123")


def patient(number: int, person: Person = ADA, **changed: object) -> Patient:
    return replace(Patient(UUID(int=number), person, "America/New_York", "en-US", "US-NY"), **changed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Likeness.SAME),
        ({"email": "FAMILY@example.org", "phone": None}, Likeness.SAME),
        ({"email": None}, Likeness.SAME),
        ({"given_name": "ada ", "family_name": "Lopez O Neil"}, Likeness.SAME),
        ({"email": None, "phone": None}, Likeness.POSSIBLE),
        ({"email": "new@example.org", "phone": "+13475550100"}, Likeness.POSSIBLE),
        ({"birth_date": dt.date(1983, 9, 6)}, Likeness.POSSIBLE),
        ({"given_name": "Eva"}, Likeness.POSSIBLE),
        ({"given_name": "Eva", "birth_date": dt.date(2012, 1, 1)}, Likeness.NONE),
        ({"birth_date": dt.date(2012, 1, 1), "email": None, "phone": None}, Likeness.NONE),
        ({"given_name": "Eva", "email": None, "phone": None}, Likeness.NONE),
    ],
)
def test_how_much_two_are_alike(changes: dict[str, object], expected: Likeness) -> None:
    other = replace(ADA, **changes)  # type: ignore[arg-type]
    assert likeness(ADA, other) is expected
    assert likeness(other, ADA) is expected


def test_no_contact_at_all_is_no_contact_in_common() -> None:
    bare = replace(ADA, email=None, phone=None)
    assert likeness(bare, bare) is Likeness.POSSIBLE


def test_a_name_is_compared_without_what_people_write_differently() -> None:
    assert name_key(ADA) == name_key(Person("ADA", "Lopez O’Neil", ADA.birth_date)) == "adalopezoneil"
    assert name_key(Person("Jürgen", "Groß", ADA.birth_date)) == "jurgengross"


def test_whoever_may_be_the_same_has_to_be_looked_at() -> None:
    twin, stranger = patient(1, replace(ADA, given_name="Eva")), patient(2, Person("Bo", "Li", dt.date(1990, 1, 1)))
    assert [one.id for one in unresolved(ADA, [patient(3), twin, stranger], [])] == [UUID(int=3), twin.id]
    assert unresolved(ADA, [twin, stranger], [twin.id]) == []


@pytest.mark.parametrize(
    ("survivor", "duplicate", "why"),
    [
        (patient(1), patient(2), ""),
        (patient(1), patient(2, status="inactive"), ""),
        (patient(1), patient(1), "same-record"),
        (patient(1), patient(2, status="merged"), "not-active"),
        (patient(1), patient(2, status="deceased"), "not-active"),
        (patient(1, status="merged"), patient(2), "not-active"),
        (patient(1, account=UUID(int=8)), patient(2, account=UUID(int=9)), "two-accounts"),
        (patient(1, account=UUID(int=8)), patient(2), ""),
    ],
)
def test_which_records_can_be_made_one(survivor: Patient, duplicate: Patient, why: str) -> None:
    assert may_be_merged(survivor, duplicate) == why
