"""The board as one person sees it: what stands on it now, and every change from there on.

Each process has one feed: a connection of its own that waits for notifications, gives committed changes their places, reads
them, and hands each row, encoded once, to everybody who may see it. It lives while somebody streams. Whatever breaks it ends
those streams, and each client goes on from where it was.
"""

import asyncio
import datetime as dt
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from services.directory import store as directory
from services.runtime.database import Budget, Connection, Database, Reader
from services.runtime.edge.principal import Principal
from services.runtime.edge.stream import Frame, Outlet, body
from services.runtime.log import get_logger
from services.runtime.messaging.changes import Context
from services.runtime.messaging.unit_of_work import read_context
from services.runtime.settings import KafkaSettings
from services.runtime.waiting import within
from services.staff_dashboard import store
from services.staff_dashboard.domain import Cursor, Item, Kind, View, local_day, view_of

__all__ = ["Board", "Snapshot"]

_log = get_logger()

_BEAT_S: Final = 5.0
"""How often a client hears how far behind the board is; and how soon another day or another duty is noticed."""
_POLL_S: Final = 1.0
"""A poll is the truth; a notification is only a hint."""
_PAGE: Final = 200


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What stands on somebody's board.

    Attributes:
        cursor: from which the stream goes on.
        zone: of the clinic; None while it has not said so.
        lag: how much of what happened is known here.
        rows: by kind, as JSON.
    """

    cursor: Cursor
    view: View
    zone: str | None
    lag: Mapping[str, Any]
    rows: Mapping[Kind, Sequence[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class _Sources:
    """How far the services are read whose events make the rows."""

    consumer: str
    owners: Sequence[str]
    kafka: Callable[[], KafkaSettings]

    async def lag(self, read: Reader, context: Context) -> dict[str, Any]:
        """By the watermarks that the owners put on their topics: silence of a dead one is not taken for quiet."""
        kafka = self.kafka()
        topics = {owner: f"{kafka.topic_prefix}.{owner.replace('_', '-')}.events" for owner in self.owners}
        known = await store.known(read, self.consumer, list(topics.values()))
        sources: list[dict[str, Any]] = []
        known_s: list[float] = []
        for owner, topic in topics.items():
            found, behind, as_of = known[topic], None, None
            if found.watermark is not None and found.partitions == kafka.partitions:
                behind = round(max(0.0, (context.recorded - found.watermark).total_seconds()), 1)
                as_of = _text(context.now - dt.timedelta(seconds=behind))
                known_s.append(behind)
            sources.append({"service": owner, "as_of": as_of, "behind_s": behind, "parked": found.parked})
        worst = max(known_s) if len(known_s) == len(sources) else None
        return {
            "clinic_now": _text(context.now),
            "clock_offset_s": round((context.now - context.recorded).total_seconds()),
            "lag": {"behind_s": worst, "sources": sources},
        }


@dataclass(eq=False, slots=True)
class _Viewer:
    """Somebody who streams."""

    who: Principal
    view: View
    digest: int
    outlet: Outlet
    position: int

    def offer(self, position: int, item: Item, encoded: "_Encoded") -> None:
        """One change, if it is news to them and they may see it."""
        if position <= self.position:
            return
        self.position = position
        if not self.view.sees(item):
            return
        made = encoded.body(item, self.view)
        if made is not None:
            # The newest of a session is all there is to know of it; an alert or a task is never left out.
            key = str(item.id) if item.kind is Kind.SESSION else ""
            cursor = str(int(Cursor(position, self.digest)))
            self.outlet.offer(Frame(made, cursor, key, f"{item.kind}/{item.id}"))


@dataclass(slots=True)
class _Encoded:
    """Events of one change, made once for all who are shown the same."""

    made: dict[tuple[bool, bool], bytes | None] = field(default_factory=dict)

    def body(self, item: Item, view: View) -> bytes | None:
        """The event; None where there is nothing to show yet."""
        which = (view.clinical, view.has(item))
        if which not in self.made:
            row = view.row(item)
            if row is not None and not which[1]:
                row |= {"gone": True}
            self.made[which] = None if row is None else body(item.kind, json.dumps(row, default=str))
        return self.made[which]


class Board:
    """The board of one process.

    Args:
        consumer: that keeps its rows.
        owners: services whose events make them.
        kafka: the deployment's topics; asked when it is needed, as settings are read at start.
    """

    def __init__(self, consumer: str, owners: Sequence[str], kafka: Callable[[], KafkaSettings]) -> None:
        self._sources = _Sources(consumer, owners, kafka)
        self._viewers: set[_Viewer] = set()
        self._position = 0
        self._feed: asyncio.Task[None] | None = None

    async def snapshot(self, who: Principal, read: Reader, context: Context) -> Snapshot:
        """Everything that stands on somebody's board."""
        # The place first: what changes while the rows are read comes again with the stream, and does no harm twice.
        standing = await store.standing(read)
        zone = await self._zone(read)
        (view,) = await self._views(read, context, standing, zone, [who])
        rows: dict[Kind, list[dict[str, Any]]] = {kind: [] for kind in Kind}
        for item in await store.on_board(read, *(view.day or (None, None))):
            if view.sees(item) and (row := view.row(item)) is not None:
                rows[item.kind].append(row)
        cursor = Cursor(standing.position, view.digest)
        return Snapshot(cursor, view, zone, await self._sources.lag(read, context), rows)

    async def follow(self, who: Principal, after: int, outlet: Outlet, database: Database) -> None:
        """Feed a stream with everything behind a cursor; with a reset where that cannot be told without a gap."""
        async with database.reading(Budget.HTTP) as connection:
            read, context = Reader(connection), await read_context(connection)
            standing = await store.standing(read)
            (view,) = await self._views(read, context, standing, await self._zone(read), [who])
            lag = await self._sources.lag(read, context)
        cursor = Cursor.of(after)
        if cursor.view != view.digest or cursor.position > standing.position:
            outlet.end("no-such-place", kind="reset")
            return
        outlet.offer(_beat(lag))
        viewer = _Viewer(who, view, view.digest, outlet, cursor.position)
        await self._catch_up(viewer, database)
        # Nothing is awaited between the last look and this: what the feed hands out from here on reaches this viewer too.
        self._viewers.add(viewer)
        if self._feed is None:
            self._position = viewer.position
            self._feed = asyncio.create_task(self._run(database))
        try:
            await asyncio.Event().wait()
        finally:
            self._viewers.discard(viewer)
            if not self._viewers and self._feed is not None:
                self._feed.cancel()
                self._feed = None

    async def _catch_up(self, viewer: _Viewer, database: Database) -> None:
        """Hand out what is behind the viewer's place, as far as the feed is by then."""
        while True:
            async with database.reading(Budget.HTTP) as connection:
                read = Reader(connection)
                standing = await store.standing(read)
                page = await store.after(read, viewer.position, _PAGE)
            for position, item in page:
                viewer.offer(position, item, _Encoded())
            if len(page) == _PAGE:
                await viewer.outlet.sent()
                continue
            # A row that has changed since stands further on, or has no place yet: everything up to here was seen.
            viewer.position = max(viewer.position, standing.position)
            if self._feed is None or viewer.position >= self._position:
                return

    # --- the feed of the process -----------------------------------------------------------------------------------

    async def _run(self, database: Database) -> None:
        connection: Connection | None = None
        try:
            connection = await database.connect("board", idle_in_transaction_s=_BEAT_S)
            woken = asyncio.Event()
            await connection.add_listener(store.CHANNEL, lambda *_: woken.set())
            beat_at = time.monotonic() + _BEAT_S
            while True:
                woken.clear()
                await self._hand_out(connection)
                if time.monotonic() >= beat_at:
                    beat_at = time.monotonic() + _BEAT_S
                    await self._look(connection)
                with suppress(TimeoutError):
                    await within(min(_POLL_S, max(0.0, beat_at - time.monotonic())), woken.wait())
        except Exception as error:  # noqa: BLE001 - each client asks again, from where it was
            _log.warning("board-feed-interrupted", error_class=type(error).__name__)
            self._feed = None
            for viewer in self._viewers:
                viewer.outlet.end("unavailable")
        finally:
            if connection is not None:
                connection.terminate()

    async def _hand_out(self, connection: Connection) -> None:
        while await store.place(connection):
            pass
        while page := await store.after(Reader(connection), self._position, _PAGE):
            for position, item in page:
                encoded = _Encoded()
                for viewer in self._viewers:
                    viewer.offer(position, item, encoded)
                self._position = position

    async def _look(self, connection: Connection) -> None:
        """Tell everybody how far behind the board is; whoever is to be shown something else now begins anew."""
        read, context = Reader(connection), await read_context(connection)
        beat = _beat(await self._sources.lag(read, context))
        viewers = list(self._viewers)
        views = await self._views(
            read, context, await store.standing(read), await self._zone(read), [viewer.who for viewer in viewers]
        )
        for viewer, view in zip(viewers, views, strict=True):
            if view == viewer.view:
                viewer.outlet.offer(beat)
            else:
                viewer.outlet.end("view-changed", kind="reset")

    # --- who is shown what -----------------------------------------------------------------------------------------

    async def _zone(self, read: Reader) -> str | None:
        hours = await directory.opening_hours(read)
        return None if hours is None else hours.zone

    async def _views(
        self, read: Reader, context: Context, standing: store.Standing, zone: str | None, people: Sequence[Principal]
    ) -> list[View]:
        duty = await directory.duties(read, context.now)
        away = {one.person for one in people if not any((role, one.person) in duty for role in one.roles)}
        treated = await directory.treated_by(read, away) if away else {}
        day = None if zone is None else local_day(context.now, zone)
        history = (standing.since, context.epoch)
        return [view_of(history, day, one.person, one.roles, duty, treated.get(one.person, frozenset())) for one in people]


def _beat(lag: Mapping[str, Any]) -> Frame:
    return Frame(body("lag", json.dumps(lag)), key="lag")


def _text(at: dt.datetime) -> str:
    return at.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
