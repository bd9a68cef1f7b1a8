"""SQL of the contact book, messages and links."""

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from services.follow_up.domain.links import Contact, Link
from services.follow_up.domain.reminders import Rung, SessionFact, VisitFact
from services.runtime.database import Reader, Record
from services.runtime.messaging.changes import Put, Row

__all__ = [
    "contact",
    "contact_row",
    "link_by_hash",
    "link_row",
    "links",
    "plan_row",
    "plans_off",
    "recipient_row",
    "recipients",
    "reminder",
    "reminder_row",
    "reminders",
    "rungs_of",
    "session_fact",
    "session_facts",
    "session_row",
    "sessions_of",
    "tried_links",
    "visit_row",
    "visits_of",
]

_REMINDER = "select id, patient, about, kind, rung, due_at, zone, about_at, status, channel, settled_at from reminder"
_LINK = """select token_hash, id, patient, instruments, made_at, expires_at, tries, answered, status, version from link"""
_SESSION = """select session, patient, care_case, plan, ordinal, phase, starts_at, zone, state, started_at, ending
              from session_fact"""


async def contact(read: Reader, patient: UUID) -> Contact | None:
    """A patient's entry in the contact book."""
    row = await read.fetchrow(
        """select patient, email, phone, email_agreed, birth_salt, birth_hash, entered_by, entered_at, version from contact
           where patient = $1""",
        patient,
    )
    return None if row is None else Contact(*row.values())


def contact_row(wanted: Contact) -> Row:
    """What is written of it."""
    values = {
        "email": wanted.email,
        "phone": wanted.phone,
        "email_agreed": wanted.email_agreed,
        "birth_salt": wanted.birth_salt,
        "birth_hash": wanted.birth_hash,
        "entered_by": wanted.entered_by,
        "entered_at": wanted.entered_at,
    }
    return Row("contact", {"patient": wanted.patient}, values, wanted.version)


async def session_fact(read: Reader, session: UUID) -> SessionFact | None:
    """A session."""
    return (await session_facts(read, [session])).get(session)


async def session_facts(read: Reader, ids: Collection[UUID]) -> Mapping[UUID, SessionFact]:
    """Many sessions."""
    rows = await read.fetch(f"{_SESSION} where session = any($1)", list(ids))
    return {row["session"]: SessionFact(*row.values()) for row in rows}


async def sessions_of(read: Reader, patients: Collection[UUID]) -> Mapping[UUID, list[SessionFact]]:
    """Sessions of patients, in time order."""
    rows = await read.fetch(f"{_SESSION} where patient = any($1) order by starts_at, session", list(patients))
    found: dict[UUID, list[SessionFact]] = {}
    for row in rows:
        found.setdefault(row["patient"], []).append(SessionFact(*row.values()))
    return found


def session_row(wanted: SessionFact) -> Put:
    """What is kept of a session."""
    values = {
        "patient": wanted.patient,
        "care_case": wanted.case,
        "plan": wanted.plan,
        "ordinal": wanted.ordinal,
        "phase": wanted.phase,
        "starts_at": wanted.starts_at,
        "zone": wanted.zone,
        "state": wanted.state,
        "started_at": wanted.started_at,
        "ending": wanted.ending,
    }
    return Put("session_fact", {"session": wanted.session}, values)


async def plans_off(read: Reader, patients: Collection[UUID]) -> frozenset[UUID]:
    """Plans of patients that are held or stopped."""
    rows = await read.fetch("select plan from plan_fact where patient = any($1) and not active", list(patients))
    return frozenset(row["plan"] for row in rows)


def plan_row(plan: UUID, patient: UUID, *, active: bool) -> Put:
    """What is kept of a plan."""
    return Put("plan_fact", {"plan": plan}, {"patient": patient, "active": active})


async def visits_of(read: Reader, patients: Collection[UUID]) -> Mapping[UUID, list[VisitFact]]:
    """Visits of patients, in time order."""
    rows = await read.fetch(
        "select visit, patient, starts_at, zone, status from visit_fact where patient = any($1) order by starts_at, visit",
        list(patients),
    )
    found: dict[UUID, list[VisitFact]] = {}
    for row in rows:
        found.setdefault(row["patient"], []).append(VisitFact(*row.values()))
    return found


def visit_row(wanted: VisitFact) -> Put:
    """What is kept of a visit."""
    values = {
        "patient": wanted.patient,
        "starts_at": wanted.starts_at,
        "zone": wanted.zone,
        "status": wanted.status,
    }
    return Put("visit_fact", {"visit": wanted.visit}, values)


async def reminder(read: Reader, reminder_id: UUID) -> Rung | None:
    """A message."""
    row = await read.fetchrow(f"{_REMINDER} where id = $1", reminder_id)
    return None if row is None else Rung(*row.values())


async def rungs_of(read: Reader, patients: Collection[UUID]) -> Mapping[UUID, list[Rung]]:
    """Messages of patients that wait, went out or may have gone out, by what they are about."""
    rows = await read.fetch(
        f"{_REMINDER} where patient = any($1) and status in ('planned', 'sent', 'uncertain') order by due_at, id",
        list(patients),
    )
    found: dict[UUID, list[Rung]] = {}
    for row in rows:
        found.setdefault(row["about"], []).append(Rung(*row.values()))
    return found


async def reminders(read: Reader, patient: UUID) -> Sequence[Rung]:
    """Every message of a patient, the next or newest first."""
    rows = await read.fetch(f"{_REMINDER} where patient = $1 order by due_at desc, id limit 200", patient)
    return [Rung(*row.values()) for row in rows]


def reminder_row(wanted: Rung) -> Put:
    """What is written of a message. Its timer alone settles it, or the event that withdraws it with its timer."""
    values = {
        "patient": wanted.patient,
        "about": wanted.about,
        "kind": wanted.kind,
        "rung": wanted.rung,
        "due_at": wanted.due_at,
        "zone": wanted.zone,
        "about_at": wanted.about_at,
        "status": wanted.status,
        "channel": wanted.channel,
        "settled_at": wanted.settled_at,
    }
    return Put("reminder", {"id": wanted.id}, values)


async def link_by_hash(read: Reader, token_hash: bytes) -> Link | None:
    """The link of a token."""
    row = await read.fetchrow(f"{_LINK} where token_hash = $1", token_hash)
    return None if row is None else _link(row)


async def links(read: Reader, patients: Collection[UUID]) -> list[Link]:
    """Open links of patients."""
    rows = await read.fetch(f"{_LINK} where patient = any($1) and status = 'open' order by made_at", list(patients))
    return [_link(row) for row in rows]


async def tried_links(read: Reader, patient: UUID, at: dt.datetime) -> list[Link]:
    """Links of a patient who is treated here that wrong birth dates were given for, and whose time is not over."""
    rows = await read.fetch(
        f"""{_LINK} where patient = $1 and tries > 0 and status in ('open', 'dead') and expires_at > $2
            and not exists (select 1 from recipient r where r.patient = $1 and r.status <> 'active')""",
        patient,
        at,
    )
    return [_link(row) for row in rows]


def link_row(wanted: Link) -> Row:
    """What is written of a link."""
    values = {
        "id": wanted.id,
        "patient": wanted.patient,
        "instruments": list(wanted.instruments),
        "made_at": wanted.made_at,
        "expires_at": wanted.expires_at,
        "tries": wanted.tries,
        "answered": list(wanted.answered),
        "status": wanted.status,
    }
    return Row("link", {"token_hash": wanted.token_hash}, values, wanted.version)


def _link(row: Record) -> Link:
    return Link(
        row["token_hash"],
        row["id"],
        row["patient"],
        tuple(row["instruments"]),
        row["made_at"],
        row["expires_at"],
        row["tries"],
        tuple(row["answered"]),
        row["status"],
        row["version"],
    )


async def recipients(read: Reader, patients: Collection[UUID]) -> Mapping[UUID, tuple[str, str, str]]:
    """Zone, language and status of patients."""
    rows = await read.fetch("select patient, zone, language, status from recipient where patient = any($1)", list(patients))
    return {row["patient"]: (row["zone"], row["language"], row["status"]) for row in rows}


def recipient_row(patient: UUID, zone: str, language: str, status: str) -> Put:
    """What is kept of a recipient."""
    return Put("recipient", {"patient": patient}, {"zone": zone, "language": language, "status": status})
