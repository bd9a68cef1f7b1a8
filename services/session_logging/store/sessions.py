"""SQL of sessions, their log, and the facts that others own."""

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

from services.directory import store as directory
from services.runtime.database import Reader, Record
from services.runtime.messaging.changes import Append, Put, Row
from services.session_logging.domain.sessions import CaseFacts, Entry, Kind, Review, Session, SessionState, Terms
from services.therapies.instruments import RiskLevel

__all__ = [
    "append",
    "asked_last",
    "bound_elsewhere",
    "case_facts",
    "case_row",
    "entries",
    "entry_of",
    "entry_row",
    "head",
    "head_row",
    "infusions",
    "last_weight",
    "moves",
    "nurse_load",
    "on_day",
    "open_others",
    "open_review",
    "patient_of",
    "plan_row",
    "plan_status",
    "plan_version",
    "responsible",
    "review",
    "review_of_session",
    "review_row",
    "risk_rows",
    "risks",
    "session",
    "session_row",
    "sessions",
    "sessions_of_patients",
    "sessions_of_plans",
]

_SESSION = """select id, plan, plan_number, terms, care_case, patient, therapy, ordinal, phase, starts_at, zone, state, nurse,
                     device, dose, rate, baseline, baseline_cadss6, baseline_risk, checked_in_at, started_at, paused_at,
                     ended_at, pump_volume, ending, closed_at, moved_at, locked_at, version from session"""
_REVIEW = """select id, patient, session, cause, opened_at, decision, decided_by, decided_at, version from review"""


async def session(read: Reader, session_id: UUID) -> Session | None:
    """A session."""
    return (await sessions(read, [session_id])).get(session_id)


async def sessions(read: Reader, ids: Collection[UUID]) -> Mapping[UUID, Session]:
    """Many sessions."""
    return {row["id"]: _session(row) for row in await read.fetch(f"{_SESSION} where id = any($1)", list(ids))}


async def sessions_of_plans(read: Reader, plans: Collection[UUID]) -> Mapping[UUID, list[Session]]:
    """Every session of plans, in time order."""
    rows = await read.fetch(f"{_SESSION} where plan = any($1) order by starts_at, id", list(plans))
    found: dict[UUID, list[Session]] = {plan: [] for plan in plans}
    for row in rows:
        found[row["plan"]].append(_session(row))
    return found


async def sessions_of_patients(read: Reader, patients: Collection[UUID]) -> Mapping[UUID, list[Session]]:
    """Sessions of persons that are not over, under whichever id, in time order."""
    found = {}
    for patient in patients:
        query = f"{_SESSION} where patient in {directory.RECORDS} and state <> 'closed' order by starts_at, id"
        found[patient] = [_session(row) for row in await read.fetch(query, patient)]
    return found


async def on_day(read: Reader, starts: dt.datetime, ends: dt.datetime, after: UUID | None, limit: int) -> list[Session]:
    """Sessions that are planned to begin in a span of time, in order, behind one."""
    rows = await read.fetch(
        f"""{_SESSION} where starts_at >= $1 and starts_at < $2
            and ($3::uuid is null or (starts_at, id) > (select starts_at, id from session where id = $3))
            order by starts_at, id limit $4""",
        starts,
        ends,
        after,
        limit,
    )
    return [_session(row) for row in rows]


async def patient_of(read: Reader, table: str, identifier: UUID) -> UUID | None:
    """Whose record it is."""
    query = {
        "session": "select patient from session where id = $1",
        "alert": "select patient from alert where id = $1",
        "adverse_event": "select patient from adverse_event where id = $1",
        "review": "select patient from review where id = $1",
        "entry": "select s.patient from entry e join session s on s.id = e.session where e.id = $1",
        "waste": "select s.patient from waste w join session s on s.id = w.session where w.id = $1",
    }[table]
    found: UUID | None = await read.fetchval(query, identifier)
    return found


async def infusions(read: Reader, patient: UUID, session_id: UUID) -> list[dt.datetime]:
    """When the patient's other infusions began."""
    rows = await read.fetch(
        f"""select started_at from session where patient in {directory.RECORDS} and id <> $2 and started_at is not null
            order by started_at""",
        patient,
        session_id,
    )
    return [row["started_at"] for row in rows]


async def last_weight(read: Reader, patient: UUID, session_id: UUID) -> str | None:
    """The weight that the dose of the last infusion was calculated on."""
    found: str | None = await read.fetchval(
        f"""select dose->>'weight' from session where patient in {directory.RECORDS} and id <> $2 and started_at is not null
           order by started_at desc limit 1""",
        patient,
        session_id,
    )
    return found


async def open_others(read: Reader, patient: UUID, session_id: UUID) -> bool:
    """Whether another session of the patient is going on."""
    found: bool = await read.fetchval(
        f"""select exists (select 1 from session where patient in {directory.RECORDS} and id <> $2
                          and state not in ('scheduled', 'closed'))""",
        patient,
        session_id,
    )
    return found


async def bound_elsewhere(read: Reader, device: str, session_id: UUID) -> bool:
    """Whether a monitor is bound to another session that is not over."""
    found: bool = await read.fetchval(
        "select exists (select 1 from session where device = $1 and id <> $2 and state <> 'closed')", device, session_id
    )
    return found


async def nurse_load(read: Reader, nurse: UUID, session_id: UUID) -> tuple[int, int]:
    """Other patients of a nurse: infusing or paused, and with those in recovery."""
    row = await read.fetchrow(
        """select count(*) filter (where state in ('infusing', 'paused')) as infusing, count(*) as total from session
           where nurse = $1 and id <> $2 and state in ('infusing', 'paused', 'recovery', 'discharge-ready')""",
        nurse,
        session_id,
    )
    assert row is not None  # noqa: S101 - an aggregate always has a row
    return row["infusing"], row["total"]


async def responsible(read: Reader, subject: UUID) -> UUID | None:
    """Who is responsible now for the session that an alert is of, or for a session."""
    found: UUID | None = await read.fetchval(
        "select nurse from session where id = coalesce((select session from alert where id = $1), $1)", subject
    )
    return found


def session_row(wanted: Session) -> Row:
    """What is written of a session."""
    values = {
        "plan": wanted.plan,
        "plan_number": wanted.plan_number,
        "terms": asdict(wanted.terms),
        "care_case": wanted.case,
        "patient": wanted.patient,
        "therapy": wanted.therapy,
        "ordinal": wanted.ordinal,
        "phase": wanted.phase,
        "starts_at": wanted.starts_at,
        "zone": wanted.zone,
        "state": wanted.state.value,
        "nurse": wanted.nurse,
        "device": wanted.device,
        "dose": wanted.dose,
        "rate": wanted.rate,
        "baseline": wanted.baseline,
        "baseline_cadss6": wanted.baseline_cadss6,
        "baseline_risk": wanted.baseline_risk,
        "checked_in_at": wanted.checked_in_at,
        "started_at": wanted.started_at,
        "paused_at": wanted.paused_at,
        "ended_at": wanted.ended_at,
        "pump_volume": wanted.pump_volume,
        "ending": wanted.ending,
        "closed_at": wanted.closed_at,
        "moved_at": wanted.moved_at,
        "locked_at": wanted.locked_at,
    }
    return Row("session", {"id": wanted.id}, values, wanted.version)


async def moves(read: Reader, session_id: UUID) -> Sequence[Record]:
    """Where a session has stood, in the order in which it was recorded."""
    return await read.fetch(
        """select from_state, to_state, ending, at, recorded_at, by_person from move where session = $1
           order by recorded_at, id""",
        session_id,
    )


async def head(read: Reader, session_id: UUID) -> int:
    """Where the log of a session stands; 0 before anything was recorded."""
    found: int | None = await read.fetchval("select version from log_head where session = $1", session_id)
    return found or 0


def head_row(session_id: UUID, known: int, stands: Mapping[str, Any] | None = None) -> Row:
    """What whoever records writes, so that of two who record at once one looks again; with where the fold of the log stands
    then. Without that, the next one folds from the beginning.
    """
    values = {} if stands is None else {"fold": stands, "folded": known + 1}
    return Row("log_head", {"session": session_id}, values, known)


async def entries(read: Reader, session_id: UUID, *, all_of_them: bool = False) -> list[Entry]:
    """The log of a session, in the order in which it was recorded; what was entered in error only if all of it is asked for."""
    rows = await read.fetch(
        "select id, kind, at, recorded_at, by_person, data from entry where session = $1 order by recorded_at, id", session_id
    )
    found = [Entry(*row.values()) for row in rows]
    wrong = set() if all_of_them else {one.data["entry"] for one in found if one.kind == Kind.ERROR}
    return [one for one in found if str(one.id) not in wrong]


async def entry_of(read: Reader, entry_id: UUID) -> tuple[UUID, Entry] | None:
    """An entry, and of which session it is."""
    row = await read.fetchrow("select session, id, kind, at, recorded_at, by_person, data from entry where id = $1", entry_id)
    if row is None:
        return None
    of, *values = row.values()
    return of, Entry(*values)


def entry_row(session_id: UUID, wanted: Entry) -> Append:
    """What is written of an entry."""
    values = {
        "id": wanted.id,
        "session": session_id,
        "kind": wanted.kind,
        "at": wanted.at,
        "recorded_at": wanted.recorded_at,
        "by_person": wanted.by,
        "data": dict(wanted.data),
    }
    return Append("entry", values)


# --- facts of others -----------------------------------------------------------------------------------------------------


async def case_facts(read: Reader, case_id: UUID) -> CaseFacts | None:
    """What is known of a case."""
    row = await read.fetchrow(
        """select kind, proposed, valid_until, examined_at, consent, withdrawn_at, sex, pregnancy_possible, weight, height,
                  pdmp_checked_at, result from case_fact where care_case = $1""",
        case_id,
    )
    return None if row is None else CaseFacts(*row.values())


def case_row(case_id: UUID, values: Mapping[str, object]) -> Put:
    """What is kept of a case."""
    return Put("case_fact", {"care_case": case_id}, values)


async def plan_status(read: Reader, plan_id: UUID) -> str | None:
    """Where a plan stands: ``active``, ``held`` or ``stopped``."""
    found: str | None = await read.fetchval("select status from plan_fact where plan = $1", plan_id)
    return found


async def plan_version(read: Reader, plan_id: UUID) -> tuple[int, Terms | None]:
    """The newest signed version of a plan, and its terms, if they have been heard."""
    row = await read.fetchrow("select number, terms from plan_fact where plan = $1", plan_id)
    return (0, None) if row is None else (row["number"], Terms(**row["terms"]) if row["terms"] else None)


def plan_row(plan_id: UUID, values: Mapping[str, object]) -> Put:
    """What is kept of a plan."""
    return Put("plan_fact", {"plan": plan_id}, values)


async def risks(read: Reader, patient: UUID, since: dt.datetime) -> Sequence[tuple[str, dt.datetime, dt.datetime]]:
    """Levels that other services have found in a person's answers since an instant, under whichever id: the last of each, and
    every grave one; each with when it was answered and heard.
    """
    rows = await read.fetch(
        f"""with known as (select patient from {directory.RECORDS} known)
            select level, assessed_at, assessed_at as heard_at from risk_fact
            where patient in (select patient from known) and assessed_at >= $2
            union all select level, assessed_at, heard_at from risk_found
            where patient in (select patient from known) and assessed_at >= $2""",
        patient,
        since,
    )
    return [(row["level"], row["assessed_at"], row["heard_at"]) for row in rows]


def risk_rows(
    patient: UUID, owner: str, level: str, proven: str | None, assessed_at: dt.datetime, heard_at: dt.datetime
) -> list[Put]:
    """The level that a service has found last; and if its answers prove a grave one, that, which no later answer takes back."""
    rows = [Put("risk_fact", {"patient": patient, "owner": owner}, {"level": level, "assessed_at": assessed_at})]
    grave = proven or level
    if grave in (RiskLevel.HIGH, RiskLevel.MODERATE):
        key = {"patient": patient, "owner": owner, "level": grave, "assessed_at": assessed_at}
        rows.append(Put("risk_found", key, {"heard_at": heard_at}))
    return rows


# --- reviews -------------------------------------------------------------------------------------------------------------


async def review(read: Reader, review_id: UUID) -> Review | None:
    """A review."""
    row = await read.fetchrow(f"{_REVIEW} where id = $1", review_id)
    return None if row is None else Review(*row.values())


async def open_review(read: Reader, patient: UUID, but: UUID | None = None) -> Review | None:
    """A review of an earlier session that a prescriber has not decided."""
    row = await read.fetchrow(
        f"""{_REVIEW} where patient in {directory.RECORDS} and decision is null and ($2::uuid is null or session <> $2)
            order by opened_at limit 1""",
        patient,
        but,
    )
    return None if row is None else Review(*row.values())


async def review_of_session(read: Reader, session_id: UUID) -> Review | None:
    """The open review that a session has caused."""
    row = await read.fetchrow(f"{_REVIEW} where session = $1 and decision is null", session_id)
    return None if row is None else Review(*row.values())


async def asked_last(read: Reader, session_id: UUID, gate: str) -> dt.datetime | None:
    """When a gate was asked last."""
    found: dt.datetime | None = await read.fetchval(
        "select max(evaluated_at) from gate_evaluation where session = $1 and gate = $2", session_id, gate
    )
    return found


def review_row(wanted: Review) -> Row:
    """What is written of a review."""
    values = {
        "patient": wanted.patient,
        "session": wanted.session,
        "cause": wanted.cause,
        "opened_at": wanted.opened_at,
        "decision": wanted.decision,
        "decided_by": wanted.decided_by,
        "decided_at": wanted.decided_at,
    }
    return Row("review", {"id": wanted.id}, values, wanted.version)


def append(table: str, **values: Any) -> Append:
    """A row of one of the tables that are never changed."""
    return Append(table, values)


def _session(row: Record) -> Session:
    values = dict(row.items())
    values["case"] = values.pop("care_case")
    values["terms"] = Terms(**row["terms"])
    values["state"] = SessionState(row["state"])
    return Session(**values)
