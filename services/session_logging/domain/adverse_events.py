"""An adverse event: a human entry; the software proposes a grade. Pure."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from services.session_logging.domain.gates import vitals_of
from services.session_logging.domain.sessions import Entry, Kind
from services.therapies.evidence import Thresholds
from services.therapies.ketamine.records import AdverseEvent as Graded
from services.therapies.ketamine.records import Intake, Intervention, Serious, propose_grade

__all__ = ["AdverseEvent", "Reported", "proposed"]

_REVIEWED: Final = 2
"""Grade from which a prescriber reviews before the next session (decision B13)."""
_CALLED: Final = 3
"""Grade from which a prescriber is called at once."""


@dataclass(frozen=True, slots=True)
class Reported:
    """What a human reports: how grave (CTCAE grade), whether it was the drug, what was done, what makes it serious.

    Attributes:
        intervention: what it needed; None if that is not said, like ``oral_intake``, how much the patient eats and drinks.
        outcome: what has become of it so far; None while that is not known.
    """

    term: str
    grade: int
    relatedness: str
    action: str
    serious: tuple[str, ...]
    note: str
    onset_at: dt.datetime
    intervention: str | None = None
    oral_intake: str | None = None
    outcome: str | None = None


@dataclass(frozen=True, slots=True)
class AdverseEvent:
    """An adverse event as a human entered it; the software has proposed a grade. See ``Reported``."""

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
    intervention: str | None = None
    oral_intake: str | None = None
    outcome: str | None = None
    version: int = 0

    @property
    def reviewed(self) -> bool:
        """Whether a prescriber looks at it before the next session: it is serious, or graded so by human or software."""
        return bool(self.serious) or max(self.grade, self.proposed_grade or 0) >= _REVIEWED

    @property
    def calls(self) -> bool:
        """Whether a prescriber is called at once."""
        return bool(self.serious) or max(self.grade, self.proposed_grade or 0) >= _CALLED


def proposed(said: Reported, entries: Sequence[Entry], rules: Thresholds) -> int | None:
    """The grade that follows from what was said, and from the session's pressures: the last one before it set in, and every
    one since.
    """
    sets = sorted((vitals_of(one) for one in entries if one.kind == Kind.VITALS), key=lambda one: one.at)
    pressures = [one for one in sets if one.sbp is not None or one.dbp is not None]
    before = [one for one in pressures if one.at < said.onset_at]
    event = Graded(
        term=said.term,
        serious=frozenset(Serious(one) for one in said.serious),
        intervention=Intervention(said.intervention) if said.intervention else None,
        oral_intake=Intake(said.oral_intake) if said.oral_intake else None,
        readings=(*before[-1:], *pressures[len(before) :]),
    )
    return propose_grade(event, rules).grade
