"""SQL of the drug and of adverse events."""

from uuid import UUID

from services.runtime.database import Reader, Record
from services.runtime.messaging.changes import Row
from services.session_logging.domain.adverse_events import AdverseEvent
from services.session_logging.domain.drug import Drawn, Waste

__all__ = [
    "adverse_event",
    "adverse_event_row",
    "adverse_events",
    "drawn",
    "drawn_row",
    "open_pages",
    "signatures",
    "waste",
    "waste_row",
    "wastes",
]

_WASTE = """select id, session, volume, wasted_by, wasted_at, method, witness, witnessed_at, error_reason, error_by, error_at,
                   version from waste"""
_ADVERSE = """select id, session, patient, term, grade, proposed_grade, relatedness, action, serious, note, onset_at,
                     entered_by, entered_at, resolved_at, intervention, oral_intake, outcome, version from adverse_event"""


async def drawn(read: Reader, session_id: UUID) -> Drawn | None:
    """What was drawn for a session."""
    row = await read.fetchrow(
        """select session, strength, drawn, into_bag, bag, vial, lot, expires, drawn_by, drawn_at, version from drug
           where session = $1""",
        session_id,
    )
    return None if row is None else Drawn(**dict(row.items()))


def drawn_row(wanted: Drawn) -> Row:
    """What is written of what was drawn."""
    values = {
        "strength": wanted.strength,
        "drawn": wanted.drawn,
        "into_bag": wanted.into_bag,
        "bag": wanted.bag,
        "vial": wanted.vial,
        "lot": wanted.lot,
        "expires": wanted.expires,
        "drawn_by": wanted.drawn_by,
        "drawn_at": wanted.drawn_at,
    }
    return Row("drug", {"session": wanted.session}, values, wanted.version)


async def waste(read: Reader, waste_id: UUID) -> Waste | None:
    """Something that was thrown away."""
    row = await read.fetchrow(f"{_WASTE} where id = $1", waste_id)
    return None if row is None else Waste(*row.values())


async def wastes(read: Reader, session_id: UUID) -> list[Waste]:
    """Everything that was thrown away in a session."""
    rows = await read.fetch(f"{_WASTE} where session = $1 order by wasted_at, id", session_id)
    return [Waste(*row.values()) for row in rows]


def waste_row(wanted: Waste) -> Row:
    """What is written of it."""
    values = {
        "session": wanted.session,
        "volume": wanted.volume,
        "wasted_by": wanted.wasted_by,
        "wasted_at": wanted.wasted_at,
        "method": wanted.method,
        "witness": wanted.witness,
        "witnessed_at": wanted.witnessed_at,
        "error_reason": wanted.error_reason,
        "error_by": wanted.error_by,
        "error_at": wanted.error_at,
    }
    return Row("waste", {"id": wanted.id}, values, wanted.version)


async def open_pages(read: Reader, code: str, subject: UUID) -> list[UUID]:
    """Open pages of a code about something, however often it was raised."""
    rows = await read.fetch("select id from page where code = $1 and subject = $2 and status = 'open'", code, str(subject))
    return [row["id"] for row in rows]


async def signatures(read: Reader, session_id: UUID) -> list[Record]:
    """What was signed in a session."""
    return await read.fetch(
        """select subject, meaning, signer, licence, signed_at, shown_hash from signature where subject like $1
           order by signed_at, id""",
        f"sessions/{session_id}/%",
    )


async def adverse_event(read: Reader, event_id: UUID) -> AdverseEvent | None:
    """An adverse event."""
    row = await read.fetchrow(f"{_ADVERSE} where id = $1", event_id)
    return None if row is None else AdverseEvent(*row.values())


async def adverse_events(read: Reader, session_id: UUID) -> list[AdverseEvent]:
    """Those of a session."""
    rows = await read.fetch(f"{_ADVERSE} where session = $1 order by onset_at, id", session_id)
    return [AdverseEvent(*row.values()) for row in rows]


def adverse_event_row(wanted: AdverseEvent) -> Row:
    """What is written of it."""
    values = {
        "session": wanted.session,
        "patient": wanted.patient,
        "term": wanted.term,
        "grade": wanted.grade,
        "proposed_grade": wanted.proposed_grade,
        "relatedness": wanted.relatedness,
        "action": wanted.action,
        "serious": list(wanted.serious),
        "note": wanted.note,
        "onset_at": wanted.onset_at,
        "entered_by": wanted.entered_by,
        "entered_at": wanted.entered_at,
        "resolved_at": wanted.resolved_at,
        "intervention": wanted.intervention,
        "oral_intake": wanted.oral_intake,
        "outcome": wanted.outcome,
    }
    return Row("adverse_event", {"id": wanted.id}, values, wanted.version)
