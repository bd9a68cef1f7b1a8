"""All SQL of screening."""

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from services.directory import store as directory
from services.runtime.database import Reader, Record
from services.runtime.messaging.changes import Append, Row
from services.screening.domain import Risk, Task, TaskKind
from services.therapies.instruments import RiskLevel

__all__ = [
    "assessments",
    "levels",
    "open_tasks",
    "open_tasks_after",
    "page_of",
    "patient_of_task",
    "risk",
    "risk_of_person",
    "risk_row",
    "risks",
    "task",
    "task_row",
    "tasks",
]

_TASK = """select id, patient, kind, level, role, cause, caused_at, opened_at, due_at, assignee, acknowledged_at, status,
                  closed_by, closed_at, note, version from task"""


async def risk(read: Reader, patient: UUID) -> Risk | None:
    """The level that holds for a patient."""
    return (await risks(read, [patient])).get(patient)


async def risk_of_person(read: Reader, patient: UUID) -> Risk | None:
    """The level that holds for a person, whichever of their merged records the newest answers are in."""
    found = await risks(read, await directory.records(read, patient))
    return max(found.values(), key=lambda one: one.assessed_at, default=None)


async def risks(read: Reader, patients: Collection[UUID]) -> Mapping[UUID, Risk]:
    """The levels of many patients; one who never answered is left out."""
    rows = await read.fetch(
        "select patient, level, proven, assessment, assessed_at, version from risk where patient = any($1)", list(patients)
    )
    return {
        row["patient"]: Risk(
            RiskLevel(row["level"]), RiskLevel(row["proven"]), row["assessment"], row["assessed_at"], row["version"]
        )
        for row in rows
    }


def risk_row(patient: UUID, wanted: Risk) -> Row:
    """What is written of the level that holds."""
    values = {
        "level": wanted.level.value,
        "proven": wanted.proven.value,
        "assessment": wanted.assessment,
        "assessed_at": wanted.assessed_at,
    }
    return Row("risk", {"patient": patient}, values, wanted.version)


async def assessments(read: Reader, patient: UUID, limit: int) -> list[Record]:
    """The newest answers of a person, newest first, whichever of their merged records they are in."""
    return await read.fetch(
        f"select * from assessment where patient in {directory.RECORDS} order by answered_at desc, id desc limit $2",
        patient,
        limit,
    )


async def levels(read: Reader, patient: UUID, since: dt.datetime) -> list[tuple[RiskLevel, dt.datetime, dt.datetime]]:
    """What a person's screens since an instant have proven, under whichever id; each with when it was answered and recorded."""
    rows = await read.fetch(
        f"""select proven, answered_at, recorded_at from assessment
           where patient in {directory.RECORDS} and proven is not null and answered_at >= $2 order by answered_at, id""",
        patient,
        since,
    )
    return [(RiskLevel(row["proven"]), row["answered_at"], row["recorded_at"]) for row in rows]


async def task(read: Reader, task_id: UUID) -> Task | None:
    """A task."""
    return (await tasks(read, [task_id])).get(task_id)


async def tasks(read: Reader, ids: Collection[UUID]) -> Mapping[UUID, Task]:
    """Many tasks."""
    return {row["id"]: _task(row) for row in await read.fetch(f"{_TASK} where id = any($1)", list(ids))}


async def open_tasks(read: Reader, patients: Collection[UUID]) -> list[Task]:
    """What is open of some patients, most urgent first."""
    rows = await read.fetch(f"{_TASK} where patient = any($1) and status = 'open' order by due_at, id", list(patients))
    return [_task(row) for row in rows]


async def open_tasks_after(read: Reader, after: UUID | None, limit: int) -> list[Task]:
    """Everything that is open, the next due first, behind a task."""
    rows = await read.fetch(
        f"""{_TASK} where status = 'open'
            and ($1::uuid is null or (due_at, id) > (select due_at, id from task where id = $1))
            order by due_at, id limit $2""",
        after,
        limit,
    )
    return [_task(row) for row in rows]


async def patient_of_task(read: Reader, task_id: UUID) -> UUID | None:
    """Whom a task is about."""
    found: UUID | None = await read.fetchval("select patient from task where id = $1", task_id)
    return found


async def page_of(read: Reader, keys: Sequence[str]) -> list[UUID]:
    """Open pages with these keys."""
    rows = await read.fetch("select id from page where dedupe_key = any($1) and status = 'open'", list(keys))
    return [row["id"] for row in rows]


def task_row(wanted: Task) -> Row:
    """What is written of a task."""
    values = {
        "patient": wanted.patient,
        "kind": wanted.kind.value,
        "level": wanted.level.value,
        "role": wanted.role,
        "assignee": wanted.assignee,
        "cause": wanted.cause,
        "caused_at": wanted.caused_at,
        "opened_at": wanted.opened_at,
        "due_at": wanted.due_at,
        "acknowledged_at": wanted.acknowledged_at,
        "status": wanted.status,
        "closed_by": wanted.closed_by,
        "closed_at": wanted.closed_at,
        "note": wanted.note,
    }
    return Row("task", {"id": wanted.id}, values, wanted.version)


def assessment_row(**values: object) -> Append:
    """Answers as given."""
    return Append("assessment", values)


def _task(row: Record) -> Task:
    return Task(
        row["id"],
        row["patient"],
        TaskKind(row["kind"]),
        RiskLevel(row["level"]),
        row["role"],
        row["cause"],
        row["caused_at"],
        row["opened_at"],
        row["due_at"],
        row["assignee"],
        row["acknowledged_at"],
        row["status"],
        row["closed_by"],
        row["closed_at"],
        row["note"],
        row["version"],
    )
