"""Ledgers of the benches: the tests' ledger with one consumer at a time, and one that also makes its own load.

As a program (``python -m benchmarks.ledger ROLE``) it is a service process like any other: HTTP, relay, consumers, timers.
"""

import asyncio
import dataclasses
import gc
import json
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from uuid import uuid4

from benchmarks.loop import loop_factory
from schemas.envelope import Envelope
from services.runtime import log
from services.runtime.database import Budget, Reader
from services.runtime.messaging.changes import Changes, Context, RowChanges
from services.runtime.messaging.inbox import Projection, Subscription
from services.runtime.messaging.unit_of_work import read_context
from services.runtime.serve import Runtime, build, main
from services.runtime.service import Service
from services.runtime.settings import load_service
from tests.support.ledger import domain, events, store
from tests.support.ledger.app import SERVICE
from tests.support.ledger.subscriptions import MIRROR, TOTALS

__all__ = ["ACCOUNTS", "EFFECTS", "MIRROR", "SERVICE", "TOTALS", "Load", "ledger"]

ACCOUNTS = 500
TICK_S = 0.005

Posted = Envelope[events.EntryPosted]


class _Effects:
    """A projection that also writes one row per event, by whose time the latency is judged."""

    def key(self, item: Posted) -> str:
        return item.data.account

    async def load(self, read: Reader, keys: Collection[str]) -> Mapping[str, int]:
        return await store.totals(read, keys)

    def decide(self, state: int | None, item: Posted, context: Context) -> tuple[int, RowChanges]:
        total = (state or 0) + item.data.amount
        effect = store.effect_row("ledger.mirror", item.id, item.source, item.sequence, item.data.amount)
        return total, RowChanges(rows=[store.total_row(item.data.account, total), effect])


EFFECTS = Projection("ledger.mirror", {events.ENTRY_POSTED.name: _Effects()})
_SUBSCRIPTIONS: dict[str, Subscription] = {"projection": EFFECTS, "reaction": MIRROR}


def ledger(*subscriptions: Subscription) -> Service:
    """A ledger with these consumers."""
    return dataclasses.replace(SERVICE, subscriptions=subscriptions)


class Load:
    """Open loop: command number n is due at ``start + n / rate``, whatever became of the others. Every command that is due at
    a tick is written in one transaction, as coalesced requests are."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._accounts = {number: domain.Account(f"a{number}") for number in range(ACCOUNTS)}

    async def run(self, rate: float, count: int) -> list[tuple[str, int, float]]:
        """Write everything. Returns of each command the source and sequence of its event, and when it was due."""
        due: list[tuple[str, int, float]] = []
        start = time.time() + 0.2
        while len(due) < count:
            now = time.time()
            until = min(count, int((now - start) * rate) + 1) if now >= start else 0
            if until > len(due):
                await self._write([start + number / rate for number in range(len(due), until)], due)
            else:
                next_due = start + len(due) / rate
                next_tick = now + TICK_S if rate * TICK_S > 1 else now
                await asyncio.sleep(max(next_due, next_tick) - now)
        return due

    async def _write(self, instants: Sequence[float], due: list[tuple[str, int, float]]) -> None:
        changes = []
        for instant in instants:
            number = len(due) * 7919 % ACCOUNTS
            before = self._accounts[number]
            decided = domain.decide_post(before, uuid4().hex, 1)
            assert isinstance(decided, domain.EntryPosted)
            changes.append(Changes(rows=store.account_rows(before, decided), events=events.public(decided, padding=_PADDING)))
            after = self._accounts[number] = domain.evolve(before, decided)
            due.append((events.source_of(after.id), after.version, instant))
        runtime = self._runtime
        async with runtime.database.acquire(Budget.HTTP) as connection, connection.transaction():
            await runtime.unit_of_work.write(connection, changes, await read_context(connection))
        runtime.unit_of_work.wake.after(changes)


_PADDING = "x" * 257  # about 700 bytes in all


async def _write_on_demand() -> None:
    """What a service has of commands and relay, without its routes: each line ``{"rate", "count"}`` on standard input is one
    load, answered by one line on standard output."""
    runtime = build(ledger(), load_service())
    await runtime.database.open()
    gc.collect()
    gc.freeze()  # as ``serve`` does
    gc.set_threshold(10_000, 20, 50)
    relay = asyncio.create_task(runtime.relay.run())
    load = Load(runtime)
    try:
        while line := await asyncio.to_thread(sys.stdin.readline):
            wanted = json.loads(line)
            due = await load.run(wanted["rate"], wanted["count"])
            samples = [sample for metric in runtime.metrics.relay_batch.collect() for sample in metric.samples]
            counted = sum(sample.value for sample in samples if sample.name.endswith("_count"))
            sys.stdout.write(json.dumps({"due": due, "relay_runs": counted}) + "\n")
            sys.stdout.flush()
    finally:
        relay.cancel()
        await asyncio.gather(relay, return_exceptions=True)
        await runtime.relay.close()
        await runtime.database.close()


def _program(role: str) -> None:
    """``writer`` writes and publishes; ``command`` takes commands; ``projection`` and ``reaction`` consume."""
    if role == "writer":
        log.configure("ledger")
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(_write_on_demand())
    elif role == "command":
        main(ledger())
    else:
        main(ledger(_SUBSCRIPTIONS[role]))


if __name__ == "__main__":
    _program(sys.argv[1])
