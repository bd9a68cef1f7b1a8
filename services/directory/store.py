"""All SQL of the directory."""

import datetime as dt
from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

from services.directory.domain import OpeningHours, OpenSpan, Patient, Qualification, Shift, Staff
from services.runtime.database import Reader, Record

__all__ = [
    "RECORDS",
    "duties",
    "on_duty",
    "opening_hours",
    "patient",
    "patient_of_account",
    "patients",
    "records",
    "shifts",
    "site_region",
    "staff",
    "staff_with",
    "treated_by",
]

_PATIENT = "select patient, account, zone, language, region, status, care_team, merged_into from patient_fact"
_STAFF = "select staff, roles, credentials, active from staff_fact"
_MINUTES_A_DAY = 1440
RECORDS = """(with recursive above (patient) as (
                  select $1::uuid
                  union select merged_into from patient_fact join above using (patient) where merged_into is not null),
              record (patient) as (
                  select patient from above
                  union select fact.patient from patient_fact fact join record on fact.merged_into = record.patient)
              select patient from record)"""
"""Subquery: the ids under which the person with the id ``$1`` is kept: that, those that were merged into it, and the one into
which it was merged, with all of theirs.

What is dangerous for a person is so whichever id it was said of.
"""


async def patient(read: Reader, patient_id: UUID) -> Patient | None:
    """A patient, if this service has heard of them."""
    row = await read.fetchrow(f"{_PATIENT} where patient = $1", patient_id)
    return None if row is None else _patient(row)


async def patients(read: Reader, ids: Collection[UUID]) -> Mapping[UUID, Patient]:
    """Many patients; one that is unknown here is left out."""
    rows = await read.fetch(f"{_PATIENT} where patient = any($1)", list(ids))
    return {row["patient"]: _patient(row) for row in rows}


async def records(read: Reader, patient_id: UUID) -> list[UUID]:
    """The ids of a patient: their own, and those of duplicates that were merged into it."""
    return [row["patient"] for row in await read.fetch(f"select patient from {RECORDS} known", patient_id)]


async def patient_of_account(read: Reader, account: UUID) -> Patient | None:
    """The patient as whom a person signs in."""
    row = await read.fetchrow(f"{_PATIENT} where account = $1 and status <> 'merged' limit 1", account)
    return None if row is None else _patient(row)


async def staff(read: Reader, staff_id: UUID) -> Staff | None:
    """A member of staff, if this service has heard of them."""
    row = await read.fetchrow(f"{_STAFF} where staff = $1", staff_id)
    return None if row is None else _staff(row)


async def staff_with(read: Reader, role: str) -> list[Staff]:
    """Everybody of a role who works here, in a stable order."""
    rows = await read.fetch(f"{_STAFF} where $1 = any(roles) and active order by staff", role)
    return [_staff(row) for row in rows]


async def site_region(read: Reader, site: UUID) -> str | None:
    """The state of an active site."""
    region: str | None = await read.fetchval("select region from site_fact where site = $1 and active", site)
    return region


async def on_duty(read: Reader, role: str, at: dt.datetime) -> list[Shift]:
    """Who is on duty for a role, longest on duty first."""
    rows = await read.fetch(
        """select staff, role, pager, starts_at, ends_at from shift_fact
           where active and role = $1 and starts_at <= $2 and ends_at > $2 order by starts_at, shift""",
        role,
        at,
    )
    return [Shift(row["staff"], row["role"], row["pager"], row["starts_at"], row["ends_at"]) for row in rows]


async def shifts(read: Reader, role: str, staff_id: UUID) -> list[Shift]:
    """When somebody is on duty for a role, in time order."""
    rows = await read.fetch(
        """select staff, role, pager, starts_at, ends_at from shift_fact
           where active and role = $1 and staff = $2 order by starts_at, shift""",
        role,
        staff_id,
    )
    return [Shift(*row.values()) for row in rows]


async def duties(read: Reader, at: dt.datetime) -> frozenset[tuple[str, str]]:
    """Everybody who is on duty, as pairs of role and person."""
    rows = await read.fetch("select distinct role, staff from shift_fact where active and starts_at <= $1 and ends_at > $1", at)
    return frozenset((row["role"], str(row["staff"])) for row in rows)


async def treated_by(read: Reader, people: Collection[str]) -> Mapping[str, frozenset[UUID]]:
    """On the care teams of which patients some people are; whoever is on none is left out."""
    rows = await read.fetch(
        """select member->>'staff' as person, array_agg(patient) as patients
           from patient_fact, jsonb_array_elements(care_team) member where member->>'staff' = any($1) group by 1""",
        list(people),
    )
    return {row["person"]: frozenset(row["patients"]) for row in rows}


async def opening_hours(read: Reader) -> OpeningHours | None:
    """When the clinic is open; None until the clinic has said so."""
    row = await read.fetchrow("select zone, hours, closed from calendar_fact")
    if row is None:
        return None
    spans = tuple(OpenSpan(hours["weekday"], _time(hours["opens"]), _time(hours["closes"])) for hours in row["hours"])
    return OpeningHours(row["zone"], spans, frozenset(row["closed"]))


def _time(minutes: int) -> dt.time:
    return dt.time.max if minutes >= _MINUTES_A_DAY else dt.time(minutes // 60, minutes % 60)


def _patient(row: Record) -> Patient:
    team = tuple((UUID(member["staff"]), str(member["role"])) for member in row["care_team"])
    return Patient(
        row["patient"],
        row["account"],
        row["zone"],
        row["language"],
        row["region"],
        row["status"],
        team,
        row["merged_into"],
    )


def _staff(row: Record) -> Staff:
    held = tuple(_qualification(one) for one in row["credentials"])
    return Staff(row["staff"], frozenset(row["roles"]), held, row["active"])


def _qualification(held: Mapping[str, Any]) -> Qualification:
    until = held.get("valid_until")
    return Qualification(
        held["kind"],
        held.get("region"),
        UUID(held["site"]) if held.get("site") else None,
        dt.datetime.fromisoformat(held["valid_from"]),
        dt.datetime.fromisoformat(until) if until else None,
    )
