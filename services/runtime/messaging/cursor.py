"""The one rule that decides what becomes of an arriving event. Pure; the property tests run it by the thousand.

A consumer keeps one cursor (epoch, sequence, id) per source. That gives dedupe for ever, gap detection and healing of order
in one row per aggregate, however long ago an event was applied.
"""

from enum import Enum
from typing import NamedTuple
from uuid import UUID

__all__ = ["Cursor", "Verdict", "classify", "rolled_back"]


class Cursor(NamedTuple):
    """The last event of one source that a consumer has applied."""

    epoch: int
    sequence: int
    event_id: UUID


class Verdict(Enum):
    """What to do with an event."""

    APPLY = "apply"
    DUPLICATE = "duplicate"
    GAP = "gap"
    """An earlier event of this source is missing: wait for it."""
    FORK = "fork"
    """A known sequence under another id: two histories of one aggregate. Never guess: park, page."""


def classify(cursor: Cursor | None, event: Cursor) -> Verdict:
    """Judge an event against the cursor of its source.

    Within one epoch the next sequence is applied, a later one is a gap, and an earlier one is a duplicate, unless its id is
    newer than the cursor's: ids increase along a source, so such an event was written after a database was set back.
    A first event with sequence > 1 is always a gap. In a newer epoch (raised after a restore) the owner's history counts:
    its sequence may overlap what was applied of the lost history (``rolled_back`` says by how much), but never leave a hole.
    Events of an older epoch are duplicates.
    """
    if cursor is None:
        return Verdict.APPLY if event.sequence == 1 else Verdict.GAP
    if event.epoch < cursor.epoch:
        return Verdict.DUPLICATE
    if event.sequence > cursor.sequence + 1:
        return Verdict.GAP
    if event.sequence == cursor.sequence + 1 or event.epoch > cursor.epoch:
        return Verdict.APPLY
    if event.sequence == cursor.sequence:
        return Verdict.DUPLICATE if event.event_id == cursor.event_id else Verdict.FORK
    return Verdict.FORK if event.event_id.int > cursor.event_id.int else Verdict.DUPLICATE


def rolled_back(cursor: Cursor | None, event: Cursor) -> int:
    """How many events this consumer applied that the owner no longer knows (only ever > 0 in a newer epoch)."""
    if cursor is None or event.epoch <= cursor.epoch:
        return 0
    return cursor.sequence + 1 - event.sequence
