"""All SQL of visits."""

import datetime as dt
from collections.abc import Collection, Mapping
from uuid import UUID

from services.runtime.database import Reader, Record
from services.runtime.messaging.changes import Append, Put, Row
from services.video_visits.domain import Interval, Role, State, Visit

__all__ = [
    "call_row",
    "known_call",
    "on_day",
    "patient_of_visit",
    "presence",
    "presence_row",
    "presences",
    "visit",
    "visit_row",
    "visits",
    "visits_of_patient",
]

_VISIT = """select id, patient, care_case, clinician, starts_at, zone, minutes, by_video, state, region, address, located_at,
                   started_at, ended_at, reason, version from visit"""


async def visit(read: Reader, visit_id: UUID) -> Visit | None:
    """A visit."""
    return (await visits(read, [visit_id])).get(visit_id)


async def visits(read: Reader, ids: Collection[UUID]) -> Mapping[UUID, Visit]:
    """Many visits."""
    return {row["id"]: _visit(row) for row in await read.fetch(f"{_VISIT} where id = any($1)", list(ids))}


async def visits_of_patient(read: Reader, patient: UUID) -> list[Visit]:
    """A patient's visits, newest first."""
    return [_visit(row) for row in await read.fetch(f"{_VISIT} where patient = $1 order by starts_at desc, id", patient)]


async def on_day(read: Reader, starts: dt.datetime, ends: dt.datetime, limit: int) -> list[Visit]:
    """Visits that are planned to begin in a span of time."""
    rows = await read.fetch(
        f"{_VISIT} where starts_at >= $1 and starts_at < $2 order by starts_at, id limit $3", starts, ends, limit
    )
    return [_visit(row) for row in rows]


async def patient_of_visit(read: Reader, visit_id: UUID) -> UUID | None:
    """Whose visit it is."""
    found: UUID | None = await read.fetchval("select patient from visit where id = $1", visit_id)
    return found


def visit_row(wanted: Visit) -> Row:
    """What is written of a visit."""
    values = {
        "patient": wanted.patient,
        "care_case": wanted.case,
        "clinician": wanted.clinician,
        "starts_at": wanted.starts_at,
        "zone": wanted.zone,
        "minutes": wanted.minutes,
        "by_video": wanted.by_video,
        "state": wanted.state.value,
        "region": wanted.region,
        "address": wanted.address,
        "located_at": wanted.located_at,
        "started_at": wanted.started_at,
        "ended_at": wanted.ended_at,
        "reason": wanted.reason,
    }
    return Row("visit", {"id": wanted.id}, values, wanted.version)


async def presence(read: Reader, visit_id: UUID) -> list[Interval]:
    """Who was there."""
    return (await presences(read, [visit_id])).get(visit_id, [])


async def presences(read: Reader, ids: Collection[UUID]) -> Mapping[UUID, list[Interval]]:
    """Who was there, of many visits; connections in the order in which they began."""
    query = """select visit, connection, role, joined_at, left_at, room from presence where visit = any($1)
               order by coalesce(joined_at, left_at), connection"""
    rows = await read.fetch(query, list(ids))
    found: dict[UUID, list[Interval]] = {}
    for row in rows:
        one = Interval(row["connection"], Role(row["role"]), row["joined_at"], row["left_at"], row["room"])
        found.setdefault(row["visit"], []).append(one)
    return found


def presence_row(visit_id: UUID, wanted: Interval) -> Put:
    """What is written of a connection; the visit's row keeps two who write at once apart."""
    values = {"role": wanted.role.value, "joined_at": wanted.joined_at, "left_at": wanted.left_at, "room": wanted.room}
    return Put("presence", {"visit": visit_id, "connection": wanted.connection}, values)


async def known_call(read: Reader, platform: str, identifier: str) -> bool:
    """Whether a call of the platform was taken before."""
    found: bool = await read.fetchval(
        "select exists (select 1 from platform_call where platform = $1 and id = $2)", platform, identifier
    )
    return found


def call_row(platform: str, identifier: str, visit_id: UUID | None, kind: str, at: dt.datetime, now: dt.datetime) -> Append:
    """A call that was taken."""
    values = {"platform": platform, "id": identifier, "visit": visit_id, "kind": kind, "at": at, "received_at": now}
    return Append("platform_call", values)


def _visit(row: Record) -> Visit:
    values = dict(row.items())
    values["case"] = values.pop("care_case")
    values["state"] = State(row["state"])
    return Visit(**values)
