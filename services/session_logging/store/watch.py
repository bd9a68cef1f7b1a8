"""SQL of samples, alerts and gates."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from services.runtime.database import Reader, Record
from services.runtime.messaging.changes import Append, Row
from services.session_logging.domain.alarms import Raised, Sample
from services.session_logging.domain.sessions import Review

__all__ = [
    "Head",
    "alert",
    "alert_row",
    "alerts",
    "dues",
    "evaluations",
    "head",
    "known_samples",
    "page_of",
    "sample_row",
    "samples",
    "samples_since",
]

_ALERT = """select id, session, patient, key, family, tier, rule, value, at, raised_at, late, verify, nurse_by, nurse_at,
                   prescriber_by, prescriber_at, status, action, resolved_by, resolved_at, version from alert"""


class Head(NamedTuple):
    """Where the log of a session stands, and what stands beside it.

    Attributes:
        version: 0 before anything was recorded.
        stands: the fold of all of it; None when whoever recorded last has not kept one.
        review: the open one that the session has caused.
        next_start: when the patient's next session is planned to begin.
    """

    version: int
    stands: Mapping[str, Any] | None
    review: Review | None
    next_start: dt.datetime | None


async def head(read: Reader, session_id: UUID) -> Head:
    """All of it by one query: a batch asks every time."""
    row = await read.fetchrow(
        """select coalesce(h.version, 0) as version, case when h.folded = h.version then h.fold end as stands,
                  (select min(o.starts_at) from session o
                   where o.patient = s.patient and o.id <> s.id and o.state <> 'closed') as next_start,
                  r.id, r.patient, r.session, r.cause, r.opened_at, r.decision, r.decided_by, r.decided_at, r.version as read
           from session s left join log_head h on h.session = s.id
           left join review r on r.session = s.id and r.decision is null where s.id = $1""",
        session_id,
    )
    if row is None:
        return Head(0, None, None, None)
    version, stands, next_start, *review = row.values()
    return Head(version, stands, Review(*review) if review[0] is not None else None, next_start)


# With the span of the session, so that only its months are looked into.
_SAMPLE = """select device, seq, at, recorded_at, heart_rate, resp_rate, spo2, origin from sample where session = $1
             and at >= (select coalesce(checked_in_at, '-infinity') from session where id = $1)
             and at <= (select coalesce(closed_at + interval '1 min', 'infinity') from session where id = $1)"""


async def samples(read: Reader, session_id: UUID) -> list[Sample]:
    """The stream of a session."""
    rows = await read.fetch(f"{_SAMPLE} order by recorded_at, at, seq", session_id)
    return [Sample(*row.values()) for row in rows]


async def samples_since(read: Reader, session_id: UUID, at: dt.datetime) -> list[Sample]:
    """What a monitor has measured after an instant by its own clock."""
    rows = await read.fetch(f"{_SAMPLE} and at > $2 order by recorded_at, at, seq", session_id, at)
    return [Sample(*row.values()) for row in rows]


async def known_samples(read: Reader, session_id: UUID, batch: Sequence[Sample]) -> list[Sample]:
    """What has come before under a number or an instant of a batch, all of one monitor."""
    rows = await read.fetch(
        f"{_SAMPLE} and device = $2 and (seq = any($3) or at = any($4))",
        session_id,
        batch[0].device,
        [one.seq for one in batch],
        [one.at for one in batch],
    )
    return [Sample(*row.values()) for row in rows]


def sample_row(session_id: UUID, wanted: Sample) -> Append:
    """What is written of a sample."""
    values = {
        "session": session_id,
        "device": wanted.device,
        "seq": wanted.seq,
        "at": wanted.at,
        "recorded_at": wanted.recorded_at,
        "heart_rate": wanted.heart_rate,
        "resp_rate": wanted.resp_rate,
        "spo2": wanted.spo2,
        "origin": wanted.origin,
    }
    return Append("sample", values)


async def alert(read: Reader, alert_id: UUID) -> Raised | None:
    """An alert."""
    row = await read.fetchrow(f"{_ALERT} where id = $1", alert_id)
    return None if row is None else Raised(*row.values())


async def alerts(read: Reader, session_id: UUID) -> list[Raised]:
    """The alerts of a session, as they were raised."""
    rows = await read.fetch(f"{_ALERT} where session = $1 order by raised_at, id", session_id)
    return [Raised(*row.values()) for row in rows]


def alert_row(wanted: Raised) -> Row:
    """What is written of an alert."""
    values = {
        "session": wanted.session,
        "patient": wanted.patient,
        "key": wanted.key,
        "family": wanted.family,
        "tier": wanted.tier,
        "rule": wanted.rule,
        "value": wanted.value,
        "at": wanted.at,
        "raised_at": wanted.raised_at,
        "late": wanted.late,
        "verify": wanted.verify,
        "nurse_by": wanted.nurse_by,
        "nurse_at": wanted.nurse_at,
        "prescriber_by": wanted.prescriber_by,
        "prescriber_at": wanted.prescriber_at,
        "status": wanted.status,
        "action": wanted.action,
        "resolved_by": wanted.resolved_by,
        "resolved_at": wanted.resolved_at,
    }
    return Row("alert", {"id": wanted.id}, values, wanted.version)


async def evaluations(read: Reader, session_id: UUID) -> list[Record]:
    """What gates were asked and what they said, newest first."""
    return await read.fetch(
        """select id, gate, outcome, evidence, revision, evaluated_at, asked_by from gate_evaluation where session = $1
           order by evaluated_at desc, id desc""",
        session_id,
    )


async def dues(read: Reader, session_id: UUID) -> dict[dt.datetime, dt.datetime]:
    """Sets of vitals that were not taken when they were due: when that was, and when it was noticed."""
    rows = await read.fetch("select due_at, raised_at from vitals_due where session = $1", session_id)
    return {row["due_at"]: row["raised_at"] for row in rows}


async def page_of(read: Reader, keys: Sequence[str]) -> list[UUID]:
    """Open pages with these keys."""
    rows = await read.fetch("select id from page where dedupe_key = any($1) and status = 'open'", list(keys))
    return [row["id"] for row in rows]
