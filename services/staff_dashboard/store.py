"""All SQL of the board."""

import datetime as dt
import zlib
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from services.runtime.database import Connection, Reader, Record
from services.runtime.messaging.changes import Put
from services.staff_dashboard.domain import Fact, Item, Kind

__all__ = ["CHANNEL", "Known", "after", "item_row", "items", "known", "on_board", "place", "standing"]

CHANNEL = "staff_dashboard"
"""On which every change of a row, and every position that is given, is notified."""
_ITEM = "select kind, id, patient, facts, position from item"
_LOCK = zlib.crc32(b"telemed.staff_dashboard.sequencer")


async def items(read: Reader, keys: Collection[tuple[Kind, UUID]]) -> Mapping[tuple[Kind, UUID], Item]:
    """Many rows; one of which nothing was told is left out."""
    rows = await read.fetch(
        f"{_ITEM} where (kind, id) in (select * from unnest($1::text[], $2::uuid[]))",
        [kind.value for kind, _ in keys],
        [identifier for _, identifier in keys],
    )
    return {(item.kind, item.id): item for item in map(_item, rows)}


def item_row(wanted: Item) -> Put:
    """What is written of a row. Its place in the stream is given later, when this is committed."""
    values = {
        "patient": wanted.patient,
        "facts": {
            name: [{"recorded": fact.recorded.isoformat(), "id": str(fact.id), "data": dict(fact.data)} for fact in facts]
            for name, facts in wanted.facts.items()
        },
        "open": wanted.open,
        "starts_at": wanted.starts_at,
        "position": None,
    }
    return Put("item", {"kind": wanted.kind.value, "id": wanted.id}, values)


async def on_board(read: Reader, begins: dt.datetime | None, ends: dt.datetime | None) -> list[Item]:
    """What is open, and every session that begins in a span of time."""
    rows = await read.fetch(
        f"{_ITEM} where open union all {_ITEM} where not open and kind = 'session' and starts_at >= $1 and starts_at < $2",
        begins,
        ends,
    )
    return [_item(row) for row in rows]


# --- the stream ----------------------------------------------------------------------------------------------------------


class Standing(NamedTuple):
    """The last position that was given, and since when the history lasts that it belongs to."""

    position: int
    since: dt.datetime


async def standing(read: Reader) -> Standing:
    """Where the stream stands."""
    (row,) = await read.fetch("select position, since from sequencer")
    return Standing(*row)


async def place(connection: Connection, most: int = 1000) -> int:
    """Give committed changes their places in the stream. Returns how many; none while another replica is at it.

    One at a time, so that positions become visible in their order: whoever reads by position misses nothing, whatever other
    transactions are open. What is being changed again at this moment gets its place afterwards.
    """
    async with connection.transaction():
        if not await connection.fetchval("select pg_try_advisory_xact_lock($1)", _LOCK):
            return 0
        placed: int = await connection.fetchval(
            """with unplaced as materialized (
                   select kind, id from item where position is null order by kind, id limit $1 for update skip locked),
               numbered as (select kind, id, row_number() over (order by kind, id) as number from unplaced),
               moved as (
                   update sequencer set position = position + (select count(*) from numbered)
                   where exists (select 1 from numbered) returning position - (select count(*) from numbered) as before),
               placed as (
                   update item i set position = moved.before + n.number from numbered n, moved
                   where i.kind = n.kind and i.id = n.id returning 1)
               select count(*) from placed""",
            most,
        )
    return placed


async def after(read: Reader, position: int, limit: int) -> list[tuple[int, Item]]:
    """The changes behind a position, in their order: each row once, as it stands now."""
    rows = await read.fetch(f"{_ITEM} where position > $1 order by position limit $2", position, limit)
    return [(row["position"], _item(row)) for row in rows]


# --- how much is known ---------------------------------------------------------------------------------------------------


class Known(NamedTuple):
    """How far a topic is read here.

    Attributes:
        partitions: of which something is known.
        watermark: everything that its owner committed before has been read; None if that is not known of every partition.
        parked: events that wait.
    """

    partitions: int
    watermark: dt.datetime | None
    parked: int


async def known(read: Reader, consumer: str, topics: Sequence[str]) -> Mapping[str, Known]:
    """How far topics are read by a consumer."""
    rows = await read.fetch(
        """select t.topic, count(p.watermark) as partitions, min(p.watermark) as watermark,
                  (select count(*) from parked w where w.consumer = $1 and w.topic = t.topic) as parked
           from unnest($2::text[]) t (topic)
           left join consumer_partition p on p.consumer = $1 and p.topic = t.topic
           group by t.topic""",
        consumer,
        list(topics),
    )
    return {row["topic"]: Known(row["partitions"], row["watermark"], row["parked"]) for row in rows}


def _item(row: Record) -> Item:
    facts = {
        name: [Fact(dt.datetime.fromisoformat(one["recorded"]), UUID(one["id"]), one["data"]) for one in kept]
        for name, kept in row["facts"].items()
    }
    return Item(Kind(row["kind"]), row["id"], row["patient"], facts)
