"""What was kept on paper while the system was down: which of its acts fit what is known of the pump. Pure.

An act that was done was done, whatever the room would have said to it. What cannot be is another matter: a pump that stands is
not paused again. So acts from paper are put among those that are known, in true time, and each is refused that leads nowhere.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from services.session_logging.domain.sessions import Entry, Kind, Session, SessionState, move

__all__ = ["ACTS", "Placed", "Sheet", "after", "fit"]

_S = SessionState
_LEADS: Final[Mapping[tuple[SessionState | None, str], SessionState]] = {
    (None, Kind.START): _S.INFUSING,
    (_S.INFUSING, Kind.RATE): _S.INFUSING,
    (_S.INFUSING, Kind.PAUSE): _S.PAUSED,
    (_S.PAUSED, Kind.RESUME): _S.INFUSING,
    (_S.INFUSING, Kind.END): _S.RECOVERY,
    (_S.PAUSED, Kind.END): _S.RECOVERY,
}
"""Where an act leads from where the pump stands; what is not named leads nowhere."""
ACTS: Final = frozenset({Kind.RATE, Kind.PAUSE, Kind.RESUME, Kind.END})
"""Acts that paper may tell of. No infusion starts while the system is down (decision B1)."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A row of the sheet: its place in the batch, what it is about, when it was true, and what it says."""

    row: int
    kind: str
    at: dt.datetime
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Placed:
    """An act that fits: from where to where the session went by it; ``last`` if nothing that is known came after it."""

    act: Sheet
    before: SessionState
    after: SessionState
    last: bool


def fit(entries: Sequence[Entry], rows: Sequence[Sheet]) -> tuple[list[Placed], dict[int, str]]:
    """Put acts from paper among those that are known.

    Returns:
        Those that fit, in true time; and of the others, by row, why not: ``illegal-move`` from where the pump stood, or
        ``conflicting`` with what is known to have been done after it.
    """
    known = sorted((one for one in entries if one.kind in ACTS | {Kind.START}), key=lambda one: (one.at, one.recorded_at))
    waiting = sorted(rows, key=lambda one: (one.at, one.row))
    placed: list[Placed] = []
    refused: dict[int, str] = {}
    state: SessionState | None = None
    for following in (*known, None):
        gap = [one for one in waiting if following is None or one.at < following.at]
        waiting = waiting[len(gap) :]
        found, wrong, reached = _walk(gap, state, following is None)
        if following is not None and (reached, following.kind) not in _LEADS:
            # Then the pump cannot have gone elsewhere before: only what leaves it where it stood is left.
            moved = {one.act.row: "conflicting" for one in found if one.before is not one.after}
            found, wrong, reached = _walk([one for one in gap if one.kind == Kind.RATE], state, False)
            wrong |= moved
        placed += found
        refused |= wrong
        if following is not None:
            state = _LEADS.get((reached, following.kind), reached)
    return placed, refused


def _walk(
    rows: Sequence[Sheet], state: SessionState | None, last: bool
) -> tuple[list[Placed], dict[int, str], SessionState | None]:
    found: list[Placed] = []
    refused: dict[int, str] = {}
    for row in rows:
        to = _LEADS.get((state, row.kind))
        if to is None or state is None:
            refused[row.row] = "illegal-move"
        else:
            found.append(Placed(row, state, to, last))
            state = to
    return found, refused, state


def after(session: Session, act: Sheet) -> Session:
    """The session as it stands after the last act that is known."""
    match act.kind:
        case Kind.RATE:
            return move(session, session.state, act.at, rate=act.data["rate"])
        case Kind.PAUSE:
            return move(session, _S.PAUSED, act.at, paused_at=act.at)
        case Kind.RESUME:
            return move(session, _S.INFUSING, act.at, paused_at=None, rate=act.data["rate"])
    pump = act.data["pump_volume"]
    return move(session, _S.RECOVERY, act.at, rate=None, paused_at=None, ended_at=act.at, pump_volume=pump)
