"""All SQL of treatment planning."""

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from services.directory import store as directory
from services.runtime.database import Reader, Record
from services.runtime.messaging.changes import Append, Put, Row
from services.treatment_planning.domain import Act, Approval, Plan, Status, Terms

__all__ = [
    "Begun",
    "act_row",
    "acts",
    "approval",
    "begun",
    "case_row",
    "open_plans_of_cases",
    "open_plans_of_patients",
    "patient_of_case",
    "patient_of_plan",
    "plan",
    "plan_row",
    "plans_of_case",
    "session_row",
    "version_row",
    "versions",
]

_PLAN = "select id, care_case, patient, therapy, status, number, signed, draft, reason, version from plan"


@dataclass(frozen=True, slots=True)
class Begun:
    """Sessions of a patient that are no longer a plan's to change: their ids, and when infusions started."""

    sessions: frozenset[UUID]
    starts: tuple[dt.datetime, ...]


async def approval(read: Reader, case_id: UUID) -> Approval | None:
    """What is known of a case."""
    row = await read.fetchrow(
        """select care_case, patient, therapy, decision, kind, proposed, conditions, valid_until, examined_at, consent
           from case_fact where care_case = $1""",
        case_id,
    )
    if row is None:
        return None
    return Approval(
        row["care_case"],
        row["patient"],
        row["therapy"],
        row["decision"],
        row["kind"],
        row["proposed"],
        tuple(row["conditions"]),
        row["valid_until"],
        row["examined_at"],
        row["consent"],
    )


async def patient_of_case(read: Reader, case_id: UUID) -> UUID | None:
    """Whose case it is."""
    found: UUID | None = await read.fetchval("select patient from case_fact where care_case = $1", case_id)
    return found


async def patient_of_plan(read: Reader, plan_id: UUID) -> UUID | None:
    """Whose plan it is."""
    found: UUID | None = await read.fetchval("select patient from plan where id = $1", plan_id)
    return found


def case_row(case_id: UUID, values: Mapping[str, object]) -> Put:
    """What is kept of a case."""
    return Put("case_fact", {"care_case": case_id}, values)


def session_row(session: UUID, values: Mapping[str, object]) -> Put:
    """What is kept of a session."""
    return Put("session_fact", {"session": session}, values)


async def begun(read: Reader, patient_id: UUID) -> Begun:
    """A person's sessions that have begun or are over, whichever of their merged records they are in."""
    rows = await read.fetch(
        f"""select session, started_at from session_fact
           where patient in {directory.RECORDS} and state <> 'scheduled' and ending is distinct from 'voided'""",
        patient_id,
    )
    starts = sorted(row["started_at"] for row in rows if row["started_at"] is not None)
    return Begun(frozenset(row["session"] for row in rows), tuple(starts))


async def plan(read: Reader, plan_id: UUID) -> Plan | None:
    """A plan."""
    row = await read.fetchrow(f"{_PLAN} where id = $1", plan_id)
    return None if row is None else _plan(row)


async def plans_of_case(read: Reader, case_id: UUID) -> list[Plan]:
    """The plans of a case, newest first."""
    return [_plan(row) for row in await read.fetch(f"{_PLAN} where care_case = $1 order by id desc", case_id)]


async def open_plans_of_cases(read: Reader, cases: Collection[UUID]) -> Mapping[UUID, Plan]:
    """The plan of each case that has not been stopped."""
    rows = await read.fetch(f"{_PLAN} where care_case = any($1) and status <> 'stopped'", list(cases))
    return {row["care_case"]: _plan(row) for row in rows}


async def open_plans_of_patients(read: Reader, patients: Collection[UUID]) -> Mapping[UUID, Sequence[Plan]]:
    """Plans of patients that have not been stopped."""
    rows = await read.fetch(f"{_PLAN} where patient = any($1) and status <> 'stopped' order by id", list(patients))
    found: dict[UUID, list[Plan]] = {}
    for row in rows:
        found.setdefault(row["patient"], []).append(_plan(row))
    return found


def plan_row(wanted: Plan) -> Row:
    """What is written of a plan."""
    values = {
        "care_case": wanted.case,
        "patient": wanted.patient,
        "therapy": wanted.therapy,
        "status": wanted.status.value,
        "number": wanted.number,
        "signed": wanted.signed.model_dump(mode="json") if wanted.signed else None,
        "draft": wanted.draft.model_dump(mode="json") if wanted.draft else None,
        "reason": wanted.reason,
    }
    return Row("plan", {"id": wanted.id}, values, wanted.version)


async def versions(read: Reader, plan_id: UUID) -> list[Record]:
    """What was signed, newest first."""
    return await read.fetch(
        "select number, content, signature, signed_by, signed_at from plan_version where plan = $1 order by number desc",
        plan_id,
    )


def version_row(**values: object) -> Append:
    """A version that was signed."""
    return Append("plan_version", values)


async def acts(read: Reader, plan_id: UUID) -> list[Record]:
    """What was done with a plan beside signing it, newest first."""
    return await read.fetch(
        "select act, reason, by_person, at from plan_act where plan = $1 order by at desc, id desc", plan_id
    )


def act_row(identifier: UUID, plan_id: UUID, act: Act, reason: str, by: str, at: dt.datetime) -> Append:
    """Something that was done with a plan."""
    values = {"id": identifier, "plan": plan_id, "act": act.value, "reason": reason, "by_person": by, "at": at}
    return Append("plan_act", values)


def _plan(row: Record) -> Plan:
    return Plan(
        row["id"],
        row["care_case"],
        row["patient"],
        row["therapy"],
        Status(row["status"]),
        row["number"],
        Terms.model_validate(row["signed"]) if row["signed"] else None,
        Terms.model_validate(row["draft"]) if row["draft"] else None,
        row["reason"],
        row["version"],
    )
