"""Seals a service's audit rows soon after they are committed: one sealer at a time, with a role of its own.

Ids are given out before they are committed, so a row may appear behind ones that are sealed. What is missing between the sealed
ids is remembered and looked for again until nobody can still commit it; a row that comes even later is found by ``telemed audit
verify`` as unsealed. Every seal also goes into an append-only file, and its head is published about once a minute: whoever
changes the database would have to change those as well.
"""

import asyncio
import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import asyncpg

from schemas.events.shared import AuditSealed
from services.runtime.audit.seal import COLUMNS, FIRST, Head, Key, Seal, seal
from services.runtime.database import LOST, Budget, Connection, Database, Record
from services.runtime.failpoints import Failpoints
from services.runtime.log import get_logger
from services.runtime.messaging.changes import Changes, NewEvent, RaisePage
from services.runtime.messaging.unit_of_work import UnitOfWork, read_context
from services.runtime.metrics import Metrics
from services.runtime.settings import sealer_role

__all__ = ["BEHIND", "LATE", "Sealer"]

BEHIND = "runtime.audit-behind-its-heads"
"""Page: the database lacks seals that were published. It was set back, or somebody has taken them away."""
LATE = "runtime.audit-not-sealed"
"""Page: audit rows are not being sealed."""

_EVERY_S = 0.5
_BATCH = 5000
_HOLES_FOR_S = 600.0
"""Longer than any transaction of ours can last: statements and idle transactions are ended after seconds."""
_LATE_AFTER_S = 30.0

_log = get_logger()


@dataclass(slots=True)
class Sealer:
    """One service's sealer; any number may run, one works.

    Attributes:
        heads: append-only file of this service's seals; None: none is kept.
        publish_s: a head is published at most this often.
    """

    database: Database
    unit_of_work: UnitOfWork
    service: str
    role: str
    key: Key
    heads: Path | None
    publish_s: float
    metrics: Metrics
    failpoints: Failpoints
    _last: Head | None = None
    _top: int = 0
    _holes: dict[int, float] = field(default_factory=dict)
    _published: Head | None = None
    # Not at once: a service that restarts again and again would publish each time.
    _published_at: float = field(default_factory=time.monotonic)
    _well_at: float = field(default_factory=time.monotonic)
    _written: int = -1

    async def run(self) -> None:
        """Seal until cancelled. No failure of the database ends it; one that lasts pages."""
        while True:
            connection: Connection | None = None
            try:
                connection = await self.database.connect("sealer", idle_in_transaction_s=10)
                await connection.execute(f"set role {sealer_role(self.role)}")
                while True:
                    while await self.run_once(connection) >= _BATCH:
                        pass
                    await asyncio.sleep(_EVERY_S)
            except Exception as error:  # noqa: BLE001 - requests must go on, whatever the clients make of their servers
                _log.warning("sealer-interrupted", error_class=type(error).__name__)
                self._last = None
                await self._page_if_late()
                await asyncio.sleep(1)
            finally:
                if connection is not None:
                    connection.terminate()

    async def run_once(self, connection: Connection) -> int:
        """Seal what is there, up to a batch. Returns how many rows."""
        made: Seal | None = None
        rows: Sequence[Record] = ()
        async with connection.transaction():
            # Held until the seal is committed: a second sealer would give the same number.
            if not await connection.fetchval("select pg_try_advisory_xact_lock(hashtext($1))", f"telemed.{self.service}.seal"):
                self._last = None
                self._well_at = time.monotonic()
                return 0
            if self._last is None:
                await self._take_over(connection)
            last = self._last or Head(0, FIRST)
            rows = await connection.fetch(
                f"select {', '.join(COLUMNS)} from audit where id > $1 or id = any($2::bigint[]) order by id limit $3",
                self._top,
                list(self._holes),
                _BATCH,
            )
            if rows:
                now = await connection.fetchval("select clock_timestamp()")
                made = seal(rows, last, self.service, self.key, now)
                await connection.execute(
                    """insert into audit_seal (number, ids, count, rows_hash, previous, sealed_at, key, hash, signature)
                       values ($1, $2, $3, $4, $5, $6, $7, $8, $9)""",
                    made.number,
                    [asyncpg.Range(first, end + 1) for first, end in made.ids],
                    made.count,
                    made.rows_hash,
                    made.previous,
                    made.sealed_at,
                    made.key,
                    made.hash,
                    made.signature,
                )
                await self.failpoints.hit("seal.before_commit")
        if made is not None:
            await self.failpoints.hit("seal.after_commit")
            self._advance(made)
        self._well_at = time.monotonic()
        self.metrics.audit_unsealed.set(0)
        await self._file(connection)
        await self.failpoints.hit("seal.after_file")
        await self._publish()
        return len(rows)

    # --- what is sealed and what is missing ------------------------------------------------------------------------

    async def _take_over(self, connection: Connection) -> None:
        """Learn from the seals what is done; whatever was missing in the last minutes may still come."""
        row = await connection.fetchrow("select number, hash from audit_seal order by number desc limit 1")
        self._last = Head(row["number"], row["hash"]) if row else Head(0, FIRST)
        spans = await connection.fetch(
            """select lower(r) as first, upper(r) - 1 as last
               from unnest((select range_agg(span) from audit_seal s, unnest(s.ids) span
                            where s.sealed_at > clock_timestamp() - make_interval(secs => $1)
                               or s.number = (select max(number) from audit_seal))) r
               order by 1""",
            _HOLES_FOR_S,
        )
        self._top = spans[-1]["last"] if spans else 0
        self._holes = {}
        now = time.monotonic()
        for before, after in pairwise(spans):
            self._holes |= dict.fromkeys(range(before["last"] + 1, after["first"]), now)

    def _advance(self, made: Seal) -> None:
        now = time.monotonic()
        for first, last in made.ids:
            if first > self._top:
                self._holes |= dict.fromkeys(range(self._top + 1, first), now)
                self._top = last
            else:
                for one in range(first, last + 1):
                    self._holes.pop(one, None)
                self._top = max(self._top, last)
        self._holes = {one: since for one, since in self._holes.items() if now - since < _HOLES_FOR_S}
        self._last = Head(made.number, made.hash)

    # --- heads outside the database --------------------------------------------------------------------------------

    async def _compare(self, heads: Path, last: Head) -> None:
        """At the start: a file that is ahead of the database means that the database was set back."""
        known = await asyncio.to_thread(_read_heads, heads)
        written = known[-1].number if known else 0
        if written > last.number:
            _log.error("audit-behind-its-heads", count=written - last.number)
            self.metrics.audit_behind.set(written - last.number)
            await self._page(BEHIND, f"audit-behind:{known[-1].hash.hex()[:16]}")
        self._written = min(written, last.number)

    async def _file(self, connection: Connection) -> None:
        if self.heads is None or self._last is None or self._last.number <= self._written:
            return
        try:
            if self._written < 0:
                await self._compare(self.heads, self._last)
            rows = await connection.fetch(
                "select number, hash, key, signature, sealed_at from audit_seal where number > $1 order by number limit 10000",
                self._written,
            )
            await asyncio.to_thread(_append, self.heads, rows)
        except OSError as error:
            # Seals go on; the file catches up when it can be written again.
            _log.error("audit-heads-not-written", error_class=type(error).__name__)
            self.metrics.audit_heads_failing.set(1)
            await self._page(LATE, f"audit-heads:{self._written}")
            return
        self.metrics.audit_heads_failing.set(0)
        self._written = rows[-1]["number"] if rows else self._written

    async def _publish(self) -> None:
        if self._last is None or self._last.number == 0 or self._last == self._published:
            return
        if time.monotonic() - self._published_at < self.publish_s:
            return
        head = self._last
        kind = f"org.telemed.{self.service}.audit-sealed.v1"
        data = AuditSealed(number=head.number, hash=head.hash.hex(), key=self.key.id)
        event = NewEvent(f"/{self.service}/audit", kind, "audit", data)
        async with self.database.acquire(Budget.TIMERS) as connection, connection.transaction():
            changes = Changes(events=[event])
            await self.unit_of_work.write(connection, [changes], await read_context(connection))
        self.unit_of_work.wake.after([changes])
        self._published, self._published_at = head, time.monotonic()

    # --- alarms ----------------------------------------------------------------------------------------------------

    async def _page_if_late(self) -> None:
        late = time.monotonic() - self._well_at
        self.metrics.audit_unsealed.set(late)
        if late > _LATE_AFTER_S:
            await self._page(LATE, f"audit-late:{int(self._well_at)}")

    async def _page(self, code: str, dedupe_key: str) -> None:
        with suppress(*LOST):
            async with self.database.acquire(Budget.TIMERS) as connection, connection.transaction():
                changes = Changes(pages=[RaisePage(code, dedupe_key, self.service)])
                await self.unit_of_work.write(connection, [changes], await read_context(connection))
            self.unit_of_work.wake.after([changes])


def _read_heads(path: Path) -> list[Head]:
    """Every head of a file; a last line that was cut off by a crash is left out."""
    heads = []
    with suppress(FileNotFoundError):
        for line in path.read_text(encoding="ascii").splitlines():
            with suppress(ValueError, KeyError):
                one = json.loads(line)
                heads.append(Head(one["number"], bytes.fromhex(one["hash"])))
    return heads


def _append(path: Path, rows: Sequence[Record]) -> None:
    # Opened anew each time: whoever rotates the file needs to tell nobody.
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lines = [
        json.dumps(
            {
                "number": row["number"],
                "hash": row["hash"].hex(),
                "key": row["key"],
                "signature": row["signature"].hex(),
                "sealed_at": row["sealed_at"].isoformat(),
            }
        )
        for row in rows
    ]
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        # A line break first: after a crash in the middle of a line, what follows must not be lost with it.
        cut = os.fstat(handle).st_size and path.read_bytes()[-1:] != b"\n"
        os.write(handle, ("\n" * bool(cut) + "".join(f"{line}\n" for line in lines)).encode("ascii"))
        os.fsync(handle)
    finally:
        os.close(handle)
