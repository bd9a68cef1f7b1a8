"""SQL of enquiries and people."""

from collections.abc import Collection, Mapping
from uuid import UUID

from services.consultation.domain.people import STANDINGS, Enquiry, Member, Patient, Person, name_key
from services.runtime.database import Reader, Record
from services.runtime.messaging.changes import Append, Row, RowChange

__all__ = [
    "enquiries",
    "enquiries_after",
    "enquiry",
    "enquiry_row",
    "identity_row",
    "like",
    "patient",
    "patient_row",
    "patients",
    "person_key_row",
    "standing",
]

_ENQUIRY = """select id, name, email, phone, language, zone, therapy, received_at, status, patient, closed_for, handled_by,
                     version from enquiry"""
_PATIENT = """select id, given_name, family_name, birth_date, email, phone, account, zone, language, region, status, care_team,
                     merged_into, version from patient"""


# --- enquiries -----------------------------------------------------------------------------------------------------------


async def enquiry(read: Reader, enquiry_id: UUID) -> Enquiry | None:
    """An enquiry."""
    return (await enquiries(read, [enquiry_id])).get(enquiry_id)


async def enquiries(read: Reader, ids: Collection[UUID]) -> Mapping[UUID, Enquiry]:
    """Many enquiries."""
    return {row["id"]: Enquiry(*row) for row in await read.fetch(f"{_ENQUIRY} where id = any($1)", list(ids))}


async def enquiries_after(read: Reader, after: UUID | None, limit: int) -> list[Enquiry]:
    """Open enquiries behind one, oldest first."""
    rows = await read.fetch(
        f"""{_ENQUIRY} where status = 'open'
            and ($1::uuid is null or (received_at, id) > (select received_at, id from enquiry where id = $1))
            order by received_at, id limit $2""",
        after,
        limit,
    )
    return [Enquiry(*row) for row in rows]


def enquiry_row(wanted: Enquiry) -> Row:
    """What is written of an enquiry."""
    values = {
        "name": wanted.name,
        "email": wanted.email,
        "phone": wanted.phone,
        "language": wanted.language,
        "zone": wanted.zone,
        "therapy": wanted.therapy,
        "received_at": wanted.received_at,
        "status": wanted.status,
        "patient": wanted.patient,
        "closed_for": wanted.closed_for,
        "handled_by": wanted.handled_by,
    }
    return Row("enquiry", {"id": wanted.id}, values, wanted.version)


# --- patients ------------------------------------------------------------------------------------------------------------


async def patient(read: Reader, patient_id: UUID) -> Patient | None:
    """A patient."""
    return (await patients(read, [patient_id])).get(patient_id)


async def patients(read: Reader, ids: Collection[UUID]) -> Mapping[UUID, Patient]:
    """Many patients."""
    return {row["id"]: _patient(row) for row in await read.fetch(f"{_PATIENT} where id = any($1)", list(ids))}


async def like(read: Reader, person: Person) -> list[Patient]:
    """Patients who share a name, a birth date or a contact with a person; the decision says what that means."""
    rows = await read.fetch(
        f"""{_PATIENT} where status not in ('merged', 'entered-in-error')
            and ((birth_date = $1 and (name_key = $2 or lower(email) = lower($3) or phone = $4))
                 or (name_key = $2 and (lower(email) = lower($3) or phone = $4)))
            order by id limit 50""",
        person.birth_date,
        name_key(person),
        person.email,
        person.phone,
    )
    return [_patient(row) for row in rows]


def patient_row(wanted: Patient) -> Row:
    """What is written of a patient."""
    values = {
        "given_name": wanted.person.given_name,
        "family_name": wanted.person.family_name,
        "name_key": name_key(wanted.person),
        "birth_date": wanted.person.birth_date,
        "email": wanted.person.email,
        "phone": wanted.person.phone,
        "account": wanted.account,
        "zone": wanted.zone,
        "language": wanted.language,
        "region": wanted.region,
        "status": wanted.status,
        "care_team": [{"staff": str(member.staff), "role": member.role} for member in wanted.care_team],
        "merged_into": wanted.merged_into,
    }
    return Row("patient", {"id": wanted.id}, values, wanted.version)


async def person_key_row(read: Reader, person: Person) -> RowChange:
    """Takes the name and birth date: of two who register the same person at once, one has to look again."""
    key = {"name_key": name_key(person), "birth_date": person.birth_date}
    version = await read.fetchval("select version from person_key where name_key = $1 and birth_date = $2", *key.values())
    return Row("person_key", key, {}, version or 0)


async def standing(read: Reader, patient_id: UUID) -> str:
    """What was last said that a patient is to the clinic, whatever their record is now."""
    said: str | None = await read.fetchval(
        "select kind from identity_fact where patient = $1 and kind = any($2) order by at desc, id desc limit 1",
        patient_id,
        list(STANDINGS),
    )
    return said or "active"


def identity_row(**values: object) -> Append:
    """Something that was said about who is who."""
    return Append("identity_fact", values)


def _patient(row: Record) -> Patient:
    return Patient(
        row["id"],
        Person(row["given_name"], row["family_name"], row["birth_date"], row["email"], row["phone"]),
        row["zone"],
        row["language"],
        row["region"],
        row["status"],
        row["account"],
        tuple(Member(UUID(one["staff"]), one["role"]) for one in row["care_team"]),
        row["merged_into"],
        row["version"],
    )
