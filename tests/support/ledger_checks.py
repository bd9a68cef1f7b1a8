"""What must be true of the ledger after every fault, whatever it was: nothing lost, nothing twice, nothing out of order.

Called L1 to L8. Everything is judged from outside: rows of the database, records of the topic, answers to clients, logs.
"""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

import asyncpg
from aiokafka.structs import ConsumerRecord

from schemas.envelope import Attributes, Undecodable, attributes_of
from tests.support import leaks
from tests.support.ledger.app import SERVICE
from tests.support.ledger.events import ENTRY_FLAGGED, ENTRY_POSTED, source_of
from tests.support.load import Load
from tests.support.waiting import eventually
from tests.support.world import Process, World

__all__ = ["CONSUMERS", "check_ledger", "check_no_leak", "check_order_on_topic", "check_secrecy", "records_by_event"]

CONSUMERS = tuple(subscription.consumer for subscription in SERVICE.subscriptions)
_CONNECTIONS = 8 + 4 + 3 + 2 + 2  # the pools, the relay's and the sealer's own, each with one more while it is being replaced
_TASKS = {
    "AIOKafkaConnection._read": 12,
    "Fetcher._proc_fetch_request": 6,
    "Event.wait": 6,
    "AIOKafkaClient._md_synchronizer": 3,
}
"""Tasks of one kind: three clients of up to three brokers, and workers that rest. Of any other kind there are two at most, of
our two consumers: a task that is left behind by a request or by what was replaced is one too many."""
_MEMORY = 64 * 1024 * 1024
"""How much larger a process may be than the smallest one was when it was ready: a few megabytes are usual."""


async def check_ledger(
    world: World,
    load: Load,
    *,
    process: Process | None = None,
    parked: Collection[str] = (),
    strays: int = 0,
    lost: int = 0,
    foreign: Mapping[str, Sequence[int]] | None = None,
    within_s: float = 45.0,
) -> dict[str, int]:
    """Wait until everything is settled (L6), then check L1 to L8.

    Args:
        world: its living processes are looked at, and the logs of all.
        load: what was asked for, and what the answers were. What is unknown is settled here.
        process: whom to ask again; default: the last one that lives.
        parked: sources of which events wait or are dead because the test means it; checked for order, and for every one of
            their events being either applied or parked with an alarm.
        strays: undecodable or misplaced records that the test has put on the topic; each is parked for every consumer.
        lost: sessions of the database whose clients the test has lost without a word; the server does not know yet.
        foreign: accounts whose events the test has put on the topic itself, in whatever order: their amounts in the order of
            their sequences. No outbox knows them; they take effect like any other.
        within_s: how long everything may take to settle now that the fault is over.

    Returns:
        What was counted: ``entries``, ``records`` and ``duplicates`` (records beyond the first of each event).
    """
    alive = [one for one in world.processes if one.popen.poll() is None]
    process = process or alive[-1]
    await load.settle(process, within_s=within_s)
    await _replies_are_kept(load, process)
    await _settled(world, parked, strays, within_s)

    async with world.owner() as connection:
        outbox = await connection.fetch("select id, event_id, source, sequence, epoch, type, lane from outbox order by id")
        effects = await connection.fetch("select consumer, event_id, source, sequence, amount from effect order by id")
        await _written(connection, load, outbox)
        await _applied(connection, outbox, effects, parked, foreign or {})
        await _aside(connection, strays)
        await _timers(world, connection)
        waiting = await connection.fetchval("select count(*) from parked")
    await _told_of_parked(alive, waiting)
    records = await world.dump()
    _published(outbox, records)
    check_order_on_topic(records, but=[source_of(account) for account in foreign or ()])
    await check_no_leak(world, alive, lost)
    await check_secrecy(world, load.canaries)
    published = records_by_event(records)
    duplicates = sum(len(copies) - 1 for copies in published.values())
    return {"entries": len(load.acknowledged), "records": len(records), "duplicates": duplicates}


# --- L5: unknown is settled ----------------------------------------------------------------------------------------------


async def _replies_are_kept(load: Load, process: Process) -> None:
    """L5: every request has an answer by now, and the same key gets the same bytes."""
    left = iter(list(load.asked.values()))

    async def compare() -> None:
        for asked in left:
            first = next(answer for answer in asked.answers if answer.final)
            again = await load.ask(process, asked)
            assert again == first, f"L5: {asked.entry} was told {first}, and now {again}"

    await asyncio.gather(*(compare() for _ in range(4)))


# --- L6: liveness --------------------------------------------------------------------------------------------------------


async def _settled(world: World, parked: Collection[str], strays: int, within_s: float) -> None:
    """L6: nothing pending or due, and both consumers stand where the outbox ends, except for what is parked on purpose."""

    left: dict[str, object] = {}

    async def done() -> bool:
        async with world.owner() as connection:
            left["pending"] = await connection.fetchval("select count(*) from outbox_pending")
            left["behind"] = await connection.fetchval(
                """select count(*)
                   from (select source, max(sequence) as sequence from outbox where topic = $2 group by source) o
                   cross join unnest($1::text[]) consumer
                   left join consumer_cursor c on c.consumer = consumer.consumer and c.source = o.source
                   where coalesce(c.sequence, 0) < o.sequence and not o.source = any($3::text[])""",
                list(CONSUMERS),
                world.topic,
                list(parked),
            )
            left["parked"] = await connection.fetchval(
                "select count(*) from parked where not source = any($1::text[]) and not source like 'kafka:%'", list(parked)
            )
            left["overdue"] = await connection.fetchval(
                "select count(*) from timer where status = 'sending' or (status = 'waiting' and due_at <= runtime.clinic_now())"
            )
            aside = await connection.fetchval("select count(*) from parked where source like 'kafka:%'")
            left["strays"] = max(0, strays * len(CONSUMERS) - int(aside))
            return not any(left.values())

    try:
        await eventually(done, within_s=within_s)
    except AssertionError:
        raise AssertionError(f"L6: not settled within {within_s} s: {left}") from None


# --- L1, L2: nothing lost, nothing twice ---------------------------------------------------------------------------------


async def _written(connection: "asyncpg.Connection[asyncpg.Record]", load: Load, outbox: Sequence[asyncpg.Record]) -> None:
    """L1, L2 of the writing side: what was acknowledged is there, once; what was refused is not."""
    entries = {row["id"]: row for row in await connection.fetch("select id, account, amount from entry")}
    for asked in load.asked.values():
        row = entries.get(asked.entry)
        if asked.acknowledged:
            assert row is not None, f"L1: {asked.entry} was acknowledged and is lost"
            assert (row["account"], row["amount"]) == (asked.account, asked.amount), f"L1: {asked.entry} differs"
        else:
            assert row is None, f"L5: {asked.entry} was refused and is written"
    rows = await connection.fetch(
        """select o.source, convert_from(o.body, 'UTF8')::jsonb #>> '{data,entry}' as entry from outbox o where o.type = $1""",
        ENTRY_POSTED.name,
    )
    said = Counter((row["source"], row["entry"]) for row in rows)
    assert said == Counter((source_of(row["account"]), entry) for entry, row in entries.items()), (
        "L1: entries and outbox differ"
    )
    of_account: dict[str, list[int]] = defaultdict(list)
    for row in entries.values():
        of_account[row["account"]].append(row["amount"])
    balances = await connection.fetch("select id, balance, version from account")
    for account in balances:
        mine = of_account[account["id"]]
        assert (account["balance"], account["version"]) == (sum(mine), len(mine)), f"L2: account {account['id']}"
    sequences: dict[str, list[int]] = defaultdict(list)
    for row in outbox:
        sequences[row["source"]].append(row["sequence"])
    for source, given in sequences.items():
        assert given == list(range(1, len(given) + 1)), f"L3: outbox of {source} has {given}"


def _published(outbox: Sequence[asyncpg.Record], records: Sequence["ConsumerRecord[bytes, bytes]"]) -> None:
    """L1 of the topic: each event of the outbox is on it at least once, in its lane, unchanged."""
    found = records_by_event(records)
    for row in outbox:
        copies = found.get(str(row["event_id"]))
        if row["source"].startswith("/ledger/accounts/"):
            assert copies, f"L1: event {row['source']} {row['sequence']} is not on the topic"
            assert {record.partition for record in copies} == {row["lane"]}
            assert len({record.value for record in copies}) == 1


async def _applied(
    connection: "asyncpg.Connection[asyncpg.Record]",
    outbox: Sequence[asyncpg.Record],
    effects: Sequence[asyncpg.Record],
    parked: Collection[str],
    foreign: Mapping[str, Sequence[int]],
) -> None:
    """L1-L4 of the reading side."""
    waiting: dict[tuple[str, str], set[int]] = defaultdict(set)
    for row in await connection.fetch("select consumer, source, sequence from parked where not source like 'kafka:%'"):
        assert row["source"] in parked, f"L6: {row['source']} is parked"
        waiting[row["consumer"], row["source"]].add(row["sequence"])
    cursors = {
        (row["consumer"], row["source"]): row["sequence"]
        for row in await connection.fetch("select consumer, source, sequence from consumer_cursor")
    }
    doubled = [event for event, times in Counter((row["consumer"], row["event_id"]) for row in effects).items() if times > 1]
    assert not doubled, f"L2: doubled effects {doubled}"
    sums = {row["account"]: row["total"] for row in await connection.fetch("select account, total from total")}
    mirrors = {row["account"]: row["total"] for row in await connection.fetch("select account, total from mirror")}
    amounts = await connection.fetch(
        """select source, sequence, (convert_from(body, 'UTF8')::jsonb #>> '{data,amount}')::bigint as amount
           from outbox where type = $1""",
        ENTRY_POSTED.name,
    )
    in_effect: dict[str, list[int]] = defaultdict(list)
    for row in effects:
        in_effect[row["source"]].append(row["sequence"])
    events: dict[str, set[int]] = defaultdict(set)
    for row in outbox:
        if row["source"].startswith("/ledger/accounts/"):
            events[row["source"]].add(row["sequence"])
    entries: dict[str, dict[int, int]] = defaultdict(dict)
    for row in amounts:
        entries[row["source"]][row["sequence"]] = row["amount"]
    for account, given in foreign.items():
        entries[source_of(account)] = dict(enumerate(given, start=1))
        events[source_of(account)] = set(entries[source_of(account)])
    for source, all_of_it in events.items():
        account = source.removeprefix("/ledger/accounts/")
        posted = entries[source]
        for consumer in CONSUMERS:
            cursor = cursors.get((consumer, source), 0)
            # L4: what is not applied stands in the parking table, nothing else is missing.
            missing = {number for number in all_of_it if number > cursor}
            assert missing <= waiting[consumer, source], f"L4: {consumer} {source} dropped {missing}"
            if source not in parked:
                assert not missing, f"L1: {consumer} has not applied {source} {missing}"
            total = sum(amount for number, amount in posted.items() if number <= cursor)
            kept = mirrors if consumer == "ledger.mirror" else sums
            assert kept.get(account, 0) == total, f"L2: {consumer} {account} has {kept.get(account)}, not {total}"
        applied = [number for number in sorted(posted) if number <= cursors.get(("ledger.mirror", source), 0)]
        assert in_effect[source] == applied, f"L3: {source} was applied as {in_effect[source]}"


async def _aside(connection: "asyncpg.Connection[asyncpg.Record]", strays: int) -> None:
    """L4: what was set aside is there. Somebody is called for what no retry can help, for a gap that does not heal, and for
    whatever is urgent."""
    count = await connection.fetchval("select count(*) from parked where source like 'kafka:%'")
    assert count == strays * len(CONSUMERS), f"L4: {count} records aside, {strays} strays for each consumer"
    silent = await connection.fetch(
        """select consumer, d.source, d.sequence, d.reason from parked d, lateral (values
               (status = 'dead', format('dead:%s:%s:%s:%s:%s', consumer, d.source, d.epoch, d.sequence, d.event_id)),
               (alarmed_at is not null, format('gap:%s:%s:%s', consumer, d.source, d.sequence)),
               (type = $1, format('parked:%s:%s:%s', consumer, d.source, d.sequence))) due (yes, page)
           where due.yes and not exists (select 1 from page p where p.dedupe_key = due.page)""",
        ENTRY_FLAGGED.name,
    )
    assert not silent, f"L4: parked without a page: {[dict(row) for row in silent]}"


async def _told_of_parked(alive: Sequence[Process], waiting: int) -> None:
    """L4: each parked event stands in the figure that an operator is alarmed by, of every process."""
    for process in alive:

        async def told(process: Process = process) -> bool:
            return await process.metric("telemed_parked{") == waiting

        await eventually(told, what=f"L4: {waiting} parked, and the metrics say so")


async def _timers(world: World, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """L2 and L4 of time: a timer that is done took effect once, any other one never, and none before it was due; of a call
    there is one mail, and for one of which nobody knows whether it was made somebody is called."""
    timers = await connection.fetch(
        """select t.kind, t.dedupe_key, t.status, count(f.id) as fired, coalesce(bool_or(f.at < t.due_at), false) as early,
                  exists (select 1 from page p where p.dedupe_key = 'uncertain:' || t.dedupe_key) as called
           from timer t left join fired f using (dedupe_key) where t.kind like 'ledger.%' group by t.id"""
    )
    for timer in timers:
        key, done, uncertain = timer["dedupe_key"], timer["status"] == "done", timer["status"] == "uncertain"
        assert timer["fired"] == done, f"L2: timer {key} is {timer['status']} and has fired {timer['fired']} times"
        assert not timer["early"], f"L2: timer {key} fired before it was due"
        assert timer["called"] == uncertain, f"L4: timer {key} is {timer['status']}; called: {timer['called']}"
        if timer["kind"] == "ledger.notify":
            mails = len(world.servers.mail.raw(f"<{key}@telemed>"))
            assert mails in {int(done), int(done or uncertain)}, f"L2: {mails} mails of timer {key}, {timer['status']}"


# --- L3: order -----------------------------------------------------------------------------------------------------------


def records_by_event(
    records: Iterable["ConsumerRecord[bytes, bytes]"],
) -> Mapping[str, list["ConsumerRecord[bytes, bytes]"]]:
    """Copies of each event, in order."""
    found: dict[str, list[ConsumerRecord[bytes, bytes]]] = defaultdict(list)
    for record in records:
        event = dict(record.headers).get("ce_id")
        if event is not None:
            found[event.decode()].append(record)
    return found


def check_order_on_topic(records: Sequence["ConsumerRecord[bytes, bytes]"], *, but: Collection[str] = ()) -> None:
    """L3: the first appearances of a source's sequences are 1, 2, 3 ... without a hole; later copies do not matter, nor do
    sources that a test has put on the topic itself."""
    seen: dict[tuple[str, int], list[int]] = defaultdict(list)
    for record in sorted(records, key=lambda one: (one.partition, one.offset)):
        if "ce_id" not in dict(record.headers):
            continue
        try:
            event: Attributes = attributes_of(record.value, record.headers)
        except Undecodable:
            continue  # put there by a test
        if event.source in but:
            continue
        order = seen[event.source, event.epoch]
        if event.sequence not in order:
            order.append(event.sequence)
    for (source, epoch), order in seen.items():
        assert order == list(range(order[0], order[0] + len(order))), f"L3: {source} ({epoch}) came as {order}"
        assert order[0] == 1 or epoch > 1, f"L3: {source} starts with {order[0]}"


# --- L7: no leak ---------------------------------------------------------------------------------------------------------


async def check_no_leak(world: World, alive: Sequence[Process], lost: int = 0, memory: int = _MEMORY) -> None:
    """L7: no session stands in an open transaction, none too many; every living process says that it is well, and holds no
    more memory and no more tasks than one that has just begun."""

    async def none_open() -> bool:
        async with world.owner() as connection:
            return not await connection.fetchval(
                """select count(*) from pg_stat_activity
                   where datname = $1 and usename = $2 and state like 'idle in transaction%'""",
                world.database,
                SERVICE.role,
            )

    await eventually(none_open, what="L7: no open transaction")
    sessions = await world.value(
        "select count(*) from pg_stat_activity where datname = $1 and usename = $2", world.database, SERVICE.role
    )
    assert sessions - lost <= _CONNECTIONS * len(alive), (
        f"L7: {sessions} sessions of {len(alive)} processes, {lost} of them lost"
    )
    for process in alive:
        status, text = await process.get("/metrics")
        assert status == 200
        assert "telemed_outbox_pending " in text
        assert (await process.get("/livez"))[0] == 200

        async def healthy(process: Process = process) -> bool:
            return bool(json.loads((await process.get("/readyz"))[1])["status"] == "ok")

        await eventually(healthy, what="L7: ready and not degraded")
        await _as_at_the_beginning(world, process, memory)


async def _as_at_the_beginning(world: World, process: Process, memory: int) -> None:
    """L7: tasks and memory."""

    async def none_left() -> bool:
        tasks.clear()
        tasks.update(await process.tasks())
        return all(count <= _TASKS.get(name, 2) for name, count in tasks.items())

    tasks: Counter[str] = Counter()
    try:
        await eventually(none_left)
    except AssertionError:
        raise AssertionError(f"L7: more tasks than at the beginning: {tasks}") from None
    baseline = min(one.memory_when_ready for one in world.processes if one.memory_when_ready)
    grown = process.memory - baseline
    assert grown < memory, f"L7: {grown} bytes more than when the smallest one was ready"


# --- L8: nothing about anybody in logs or metrics ------------------------------------------------------------------------


async def check_secrecy(world: World, canaries: Collection[str]) -> None:
    """L8: what the database knows of somebody stands in no log of any process and in no metric."""
    await leaks.assert_kept(world, canaries, {**leaks.logs(world), **await leaks.metrics(world)})
