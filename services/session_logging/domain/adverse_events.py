"""An adverse event: a human entry; the software proposes a grade. Pure."""

import datetime as dt
from dataclasses import dataclass
from typing import Final
from uuid import UUID

__all__ = ["REVIEWED_FROM", "AdverseEvent", "Reported"]

REVIEWED_FROM: Final = 2
"""Grade from which a prescriber reviews before the next session (decision B13)."""


@dataclass(frozen=True, slots=True)
class Reported:
    """What a human reports: how grave (CTCAE grade), whether it was the drug, what was done, what makes it serious."""

    term: str
    grade: int
    relatedness: str
    action: str
    serious: tuple[str, ...]
    note: str
    onset_at: dt.datetime


@dataclass(frozen=True, slots=True)
class AdverseEvent:
    """An adverse event as a human entered it; the software has proposed a grade."""

    id: UUID
    session: UUID
    patient: UUID
    term: str
    grade: int
    proposed_grade: int | None
    relatedness: str
    action: str
    serious: tuple[str, ...]
    note: str
    onset_at: dt.datetime
    entered_by: str
    entered_at: dt.datetime
    resolved_at: dt.datetime | None = None
    version: int = 0
