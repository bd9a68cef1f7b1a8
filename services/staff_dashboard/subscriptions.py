"""What the board listens to: everything that makes or changes one of its rows, and the directory."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

from schemas.envelope import Envelope
from schemas.events import consultation, follow_up, session_logging
from schemas.registry import EventType
from services.directory.subscriptions import directory
from services.runtime.database import Reader
from services.runtime.messaging.changes import Context, RowChanges
from services.runtime.messaging.inbox import Projection, Subscription
from services.staff_dashboard import store
from services.staff_dashboard.domain import Fact, Item, Kind, folded

__all__ = ["BOARD", "OWNERS", "subscriptions"]

BOARD: Final = "staff_dashboard.board"
"""Name of the consumer that keeps the rows."""

_ROWS: Final[Mapping[Kind, Sequence[EventType]]] = {
    Kind.SESSION: (
        session_logging.SESSION_CHANGED,
        session_logging.GATE_EVALUATED,
        session_logging.INFUSION_STARTED,
        session_logging.INFUSION_RATE_CHANGED,
        session_logging.INFUSION_PAUSED,
        session_logging.INFUSION_RESUMED,
        session_logging.INFUSION_ENDED,
        session_logging.VITALS_SUMMARISED,
        session_logging.SESSION_DISCHARGED,
        session_logging.SESSION_CLOSED,
    ),
    Kind.ALERT: (session_logging.ALERT_RAISED, session_logging.ALERT_ACKNOWLEDGED, session_logging.ALERT_RESOLVED),
    Kind.TASK: tuple(
        kind for owner in (consultation, session_logging, follow_up) for kind in (owner.TASK_OPENED, owner.TASK_CLOSED)
    ),
}
_KINDS: Final = {told.name: kind for kind, all_told in _ROWS.items() for told in all_told}
OWNERS: Final = tuple(sorted({told.owner for all_told in _ROWS.values() for told in all_told}))
"""Services whose events make the rows."""


class _Told:
    """One more fact about a row."""

    def key(self, item: Envelope[Any]) -> tuple[Kind, UUID]:
        kind = _KINDS[item.type]
        return kind, getattr(item.data, kind.value)

    async def load(self, read: Reader, keys: Collection[tuple[Kind, UUID]]) -> Mapping[tuple[Kind, UUID], Item]:
        return await store.items(read, keys)

    def decide(self, state: Item | None, item: Envelope[Any], context: Context) -> tuple[Item | None, RowChanges]:
        kind, identifier = self.key(item)
        *_, owner, name, _version = item.type.split(".")
        fact = Fact(item.recordedtime, item.id, {"service": owner, **item.data.model_dump(mode="json", exclude_none=True)})
        before = state or Item(kind, identifier, item.data.patient, {})
        after = replace(before, facts=folded(before.facts, name, fact))
        return after, RowChanges(rows=[store.item_row(after)])


def subscriptions() -> tuple[Subscription, ...]:
    """The table of what the board listens to."""
    # One handler for all: what is loaded for it is shared by the events of a batch.
    return (directory("staff_dashboard"), Projection(BOARD, dict.fromkeys(_KINDS, _Told()), tables=("item",)))
