"""Relationship checks of routes, over the service's own copy: whose record is it, and does the asker have to do with it?"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from uuid import UUID

from services.directory import store
from services.directory.domain import Patient
from services.runtime.database import Reader
from services.runtime.edge.break_glass import broken_glasses, or_broken_glass
from services.runtime.edge.fields import Id, Request
from services.runtime.edge.policy import Relationship
from services.runtime.edge.principal import Principal, Role
from services.runtime.messaging.changes import Context

__all__ = [
    "PatientPath",
    "about",
    "checked_patient_by_patient",
    "either",
    "own_or_care_team",
    "own_record",
    "treats",
    "treats_or_on_duty",
    "visible",
]


class PatientPath(Request):
    """Path of a patient; ``patient`` is what these checks read."""

    patient: Id


_CLINIC_WIDE = frozenset({Role.FRONT_DESK, Role.AUDITOR})


async def own_record(read: Reader, who: Principal, record: Mapping[str, str], _: Context) -> str:
    """The patient themself, by the account that is theirs. ``record`` names a ``patient``."""
    known = await _patient(read, record)
    return "own-record" if known is not None and Role.PATIENT in who.roles and str(known.account) == who.person else ""


async def _treats(read: Reader, who: Principal, record: Mapping[str, str], _: Context) -> str:
    if who.roles & _CLINIC_WIDE:
        return "clinic-wide"
    known = await _patient(read, record)
    return "care-team" if known is not None and who.roles - {Role.PATIENT} and known.treated_by(who.person) else ""


async def _treats_or_on_duty(read: Reader, who: Principal, record: Mapping[str, str], context: Context) -> str:
    if related := await _treats(read, who, record, context):
        return related
    if await _patient(read, record) is None:
        return ""
    duties = [shift for role in sorted(who.roles) for shift in await store.on_duty(read, role, context.now)]
    return "on-duty" if any(str(shift.staff) == who.person for shift in duties) else ""


_treats.__name__, _treats_or_on_duty.__name__ = "treats", "treats_or_on_duty"  # as the access table shows them

treats = or_broken_glass(_treats)
"""Staff on the patient's care team, or under a broken glass; front desk and auditors see every patient, as far as their roles
let them."""
treats_or_on_duty = or_broken_glass(_treats_or_on_duty)
"""The same, or on duty now in one of their roles: whoever is called at night has to see whom it is about."""


async def checked_patient_by_patient(_: Reader, __: Principal, ___: Mapping[str, str], ____: Context) -> str:
    """For answers about many patients: each is checked by itself, and left out unless ``treats_or_on_duty`` holds."""
    return "patient-by-patient"


async def visible(read: Reader, who: Principal, patients: Collection[UUID], context: Context) -> frozenset[UUID]:
    """``treats_or_on_duty`` for many patients at once: those for whom it holds."""
    known = await store.patients(read, patients)
    duties = await store.duties(read, context.now)
    if who.roles & _CLINIC_WIDE or any((role, who.person) in duties for role in who.roles):
        return frozenset(known)
    treated = {patient for patient, one in known.items() if who.roles - {Role.PATIENT} and one.treated_by(who.person)}
    return frozenset(treated | (await broken_glasses(read, who, known, context)).keys())


def either(one: Relationship, other: Relationship) -> Relationship:
    """The first of two that holds."""

    async def check(read: Reader, who: Principal, record: Mapping[str, str], context: Context) -> str:
        return await one(read, who, record, context) or await other(read, who, record, context)

    check.__name__ = f"{one.__name__}_or_{other.__name__}"  # as the access table shows it
    return check


def about(word: str, patient_of: Callable[[Reader, UUID], Awaitable[UUID | None]]) -> Callable[[Relationship], Relationship]:
    """For records that belong to a patient: makes a check of the patient into one of the record.

    Args:
        word: what the record is called in the path: ``plan``.
        patient_of: whose it is.
    """

    def of(relationship: Relationship) -> Relationship:
        async def check(read: Reader, who: Principal, record: Mapping[str, str], context: Context) -> str:
            patient = await patient_of(read, UUID(record[word]))
            return await relationship(read, who, {"patient": str(patient)}, context) if patient else ""

        check.__name__ = f"{relationship.__name__}_of_the_{word}"  # as the access table shows it
        return check

    return of


own_or_care_team = either(own_record, treats)
"""The patient themself, or who treats them."""


async def _patient(read: Reader, record: Mapping[str, str]) -> Patient | None:
    try:
        patient = UUID(record["patient"])
    except ValueError:
        return None
    return await store.patient(read, patient)
