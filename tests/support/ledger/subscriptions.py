"""What the ledger listens to: its own events, once as a reaction and once as a projection."""

from collections.abc import Collection, Mapping

from schemas.envelope import Envelope
from services.runtime.database import Reader
from services.runtime.messaging.changes import Changes, Context, RowChanges
from services.runtime.messaging.inbox import Projection, Subscription
from tests.support.ledger import domain, events, store

__all__ = ["MIRROR", "SUBSCRIPTIONS", "TOTALS"]

Posted = Envelope[events.EntryPosted]


class MirrorEntries:
    """Reaction: keeps a versioned mirror and writes one effect row per event."""

    def key(self, item: Posted) -> str:
        return item.data.account

    async def load(self, read: Reader, keys: Collection[str]) -> Mapping[str, domain.Mirror]:
        return await store.mirrors(read, keys)

    def decide(self, state: domain.Mirror | None, item: Posted, context: Context) -> tuple[domain.Mirror, Changes]:
        before = state or domain.Mirror()
        after = domain.mirror_entry(before, item.data.amount)
        effect = store.effect_row("ledger.mirror", item.id, item.source, item.sequence, item.data.amount)
        return after, Changes(rows=[store.mirror_row(item.data.account, before, after), effect])


class SumEntries:
    """Projection: the total of each account."""

    def key(self, item: Posted) -> str:
        return item.data.account

    async def load(self, read: Reader, keys: Collection[str]) -> Mapping[str, int]:
        return await store.totals(read, keys)

    def decide(self, state: int | None, item: Posted, context: Context) -> tuple[int, RowChanges]:
        total = (state or 0) + item.data.amount
        return total, RowChanges(rows=[store.total_row(item.data.account, total)])


MIRROR = Subscription("ledger.mirror", {events.ENTRY_POSTED.name: MirrorEntries()}, max_events=10)
TOTALS = Projection("ledger.totals", {events.ENTRY_POSTED.name: SumEntries()})
SUBSCRIPTIONS = (MIRROR, TOTALS)
