"""What a human has to do between visits, by when. Pure."""

import datetime as dt
from dataclasses import dataclass, replace
from uuid import UUID

__all__ = ["CareTask", "closed"]


@dataclass(frozen=True, slots=True)
class CareTask:
    """Something that somebody of a role has to do.

    Attributes:
        kind: ``check-24h``, ``welfare``, ``hospital-call``, ``day-7-review``, ``futility-review``, ``relapse-review``,
            ``serious-event-review``, ``birth-date-check`` or ``message-uncertain``.
    """

    id: UUID
    patient: UUID
    session: UUID | None
    kind: str
    role: str
    opened_at: dt.datetime
    due_at: dt.datetime
    status: str = "open"
    closed_by: str | None = None
    closed_at: dt.datetime | None = None
    note: str | None = None
    version: int = 0


def closed(task: CareTask, by: str | None, at: dt.datetime, note: str | None, *, void: bool = False) -> CareTask:
    """A task that is done, or no longer needed."""
    return replace(task, status="void" if void else "done", closed_by=by, closed_at=at, note=note)
