"""SQL of tasks, guidance and the care journey."""

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from services.follow_up.domain.tasks import CareTask
from services.runtime.database import Reader, Record
from services.runtime.messaging.changes import Put, Row

__all__ = [
    "guidance",
    "guidance_row",
    "journey",
    "journey_row",
    "open_of_patients",
    "open_tasks_after",
    "patient_of_task",
    "task",
    "task_row",
    "tasks",
]

_TASK = (
    """select id, patient, session, kind, role, opened_at, due_at, status, closed_by, closed_at, note, version from care_task"""
)


async def task(read: Reader, task_id: UUID) -> CareTask | None:
    """A task."""
    return (await tasks(read, [task_id])).get(task_id)


async def tasks(read: Reader, ids: Collection[UUID]) -> Mapping[UUID, CareTask]:
    """Many tasks."""
    rows = await read.fetch(f"{_TASK} where id = any($1)", list(ids))
    return {row["id"]: CareTask(*row.values()) for row in rows}


async def patient_of_task(read: Reader, task_id: UUID) -> UUID | None:
    """Whom a task is about."""
    found: UUID | None = await read.fetchval("select patient from care_task where id = $1", task_id)
    return found


async def open_of_patients(read: Reader, patients: Collection[UUID]) -> Mapping[UUID, list[CareTask]]:
    """Open tasks of patients."""
    rows = await read.fetch(f"{_TASK} where patient = any($1) and status = 'open' order by due_at, id", list(patients))
    found: dict[UUID, list[CareTask]] = {patient: [] for patient in patients}
    for row in rows:
        found[row["patient"]].append(CareTask(*row.values()))
    return found


async def open_tasks_after(read: Reader, after: UUID | None, limit: int) -> list[CareTask]:
    """Everything that is open, the next due first, behind a task."""
    rows = await read.fetch(
        f"""{_TASK} where status = 'open'
            and ($1::uuid is null or (due_at, id) > (select due_at, id from care_task where id = $1))
            order by due_at, id limit $2""",
        after,
        limit,
    )
    return [CareTask(*row.values()) for row in rows]


def task_row(wanted: CareTask) -> Row:
    """What is written of a task."""
    values = {
        "patient": wanted.patient,
        "session": wanted.session,
        "kind": wanted.kind,
        "role": wanted.role,
        "opened_at": wanted.opened_at,
        "due_at": wanted.due_at,
        "status": wanted.status,
        "closed_by": wanted.closed_by,
        "closed_at": wanted.closed_at,
        "note": wanted.note,
    }
    return Row("care_task", {"id": wanted.id}, values, wanted.version)


async def guidance(read: Reader, patients: Collection[UUID]) -> Mapping[UUID, list[tuple[str, str, dt.datetime]]]:
    """What patients were given to read: topic, stage, when."""
    rows = await read.fetch(
        "select patient, topic, stage, given_at from guidance where patient = any($1) order by given_at, topic", list(patients)
    )
    found: dict[UUID, list[tuple[str, str, dt.datetime]]] = {patient: [] for patient in patients}
    for row in rows:
        found[row["patient"]].append((row["topic"], row["stage"], row["given_at"]))
    return found


def guidance_row(patient: UUID, topic: str, stage: str, at: dt.datetime) -> Put:
    """Something that a patient was given to read."""
    return Put("guidance", {"patient": patient, "topic": topic, "stage": stage}, {"given_at": at})


def journey_row(
    patient: UUID, at: dt.datetime, identifier: UUID, type_: str, source: str, sequence: int, data: Mapping[str, Any]
) -> Put:
    """Something that happened."""
    values = {"type": type_, "source": source, "sequence": sequence, "data": dict(data)}
    return Put("journey", {"patient": patient, "at": at, "id": identifier}, values)


async def journey(read: Reader, patient: UUID, after: Sequence[str], limit: int) -> list[Record]:
    """What happened to a patient, oldest first, behind an instant and an id."""
    at = dt.datetime.fromisoformat(after[0]) if after else None
    return await read.fetch(
        # Always a place to begin behind: "or it is null" would walk what lies before it.
        """select at, id, type, source, sequence, data from journey where patient = $1
           and (at, id) > (coalesce($2, '-infinity'::timestamptz), coalesce($3, '00000000-0000-0000-0000-000000000000'::uuid))
           order by at, id limit $4""",
        patient,
        at,
        UUID(after[1]) if after else None,
        limit,
    )
