"""A monitor's batch: what becomes of each of its rows, and how far its clock is from the clinic's. Pure."""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from services.session_logging.domain.alarms import UNITS, Sample, quantity
from services.therapies.evidence import Thresholds

__all__ = ["Judged", "Why", "judge"]

_SKEW: Final = dt.timedelta(seconds=5)
"""How far a monitor's clock may be ahead of the clinic's."""
_SIGNALS: Final = tuple((name, unit, f"possible.{name}") for name, unit in UNITS.items())


class Why(StrEnum):
    """Why a row is not taken. Only what cannot be is refused: a value that is possible is kept, however unlikely."""

    IMPOSSIBLE = "impossible"
    FUTURE = "in-the-future"
    EARLY = "before-check-in"
    AFTER = "after-session"
    CONFLICTING = "conflicting"


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of a batch, row by row."""

    accepted: list[Sample] = field(default_factory=list)
    duplicates: list[int] = field(default_factory=list)
    refused: list[tuple[int, Why]] = field(default_factory=list)


def judge(
    batch: Sequence[Sample],
    known: Iterable[Sample],
    since: dt.datetime | None,
    until: dt.datetime | None,
    now: dt.datetime,
    rules: Thresholds,
) -> Judged:
    """Each row for itself, in the order of the batch.

    A row is known by its number, and by its instant: the same again is a duplicate, another one under either is refused, so
    that a monitor that was restarted and counts anew replaces nothing.

    Args:
        known: samples of this monitor that have one of the batch's numbers or instants.
        since: when the patient was checked in.
        until: when the session was closed, if it is.
    """
    found = Judged()
    numbers = {one.seq: one for one in known}
    instants = {one.at: one for one in known}
    for one in batch:
        before = numbers.get(one.seq, instants.get(one.at))
        if before is not None and _same(before, one):
            found.duplicates.append(one.seq)
        elif (why := _wrong(one, since, until, now, rules)) is not None:
            found.refused.append((one.seq, why))
        elif before is not None:
            found.refused.append((one.seq, Why.CONFLICTING))
        else:
            # A monitor that is a little ahead: nothing is recorded before it was true.
            taken = replace(one, recorded_at=max(now, one.at))
            numbers[one.seq] = instants[one.at] = taken
            found.accepted.append(taken)
    return found


def _same(one: Sample, other: Sample) -> bool:
    return replace(one, recorded_at=other.recorded_at) == other


def _wrong(
    one: Sample, since: dt.datetime | None, until: dt.datetime | None, now: dt.datetime, rules: Thresholds
) -> Why | None:
    if one.at > now + _SKEW:
        return Why.FUTURE
    if since is not None and one.at < since:
        return Why.EARLY
    if until is not None and one.at > until:
        return Why.AFTER
    for name, unit, limit in _SIGNALS:
        value = quantity(getattr(one, name), unit)
        if value is not None and (value.value < 0 or rules[limit].met_by(value)):
            return Why.IMPOSSIBLE
    return None
