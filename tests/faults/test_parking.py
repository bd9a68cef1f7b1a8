"""Events that cannot be applied: rows 21, 22, 23, 24, 27 of the fault matrix, forks, gaps, misplaced and urgent ones."""

import hashlib
import json
import random
import signal
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

import pytest
from aiokafka.structs import ConsumerRecord
from pydantic import Field

from schemas.envelope import EventData
from schemas.registry import DEAD_LETTERED, Registry, event_type
from services.runtime.messaging.inbox import Projection, Subscription
from services.runtime.messaging.parking import retry, skip
from services.runtime.serve import build
from tests.support import leaks
from tests.support.ledger import subscriptions
from tests.support.ledger.app import SERVICE
from tests.support.ledger.events import ENTRY_POSTED, REGISTRY, source_of
from tests.support.ledger_checks import CONSUMERS, check_ledger
from tests.support.load import Load
from tests.support.raw import Raw, entry, put
from tests.support.waiting import eventually
from tests.support.world import World

pytestmark = pytest.mark.asyncio

FEW_TRIES = {"TELEMED_MESSAGING_PARK_ATTEMPTS": "3", "TELEMED_MESSAGING_PARK_MAX_RETRY_S": "0.5"}


async def parked(world: World, account: str = "", consumer: str = "ledger.mirror") -> list[tuple[int, str, str]]:
    """What waits: sequence, reason, status."""
    rows = await world.rows(
        "select sequence, reason, status from parked where consumer = $1 and ($2 = '' or source = $3) order by sequence, id",
        consumer,
        account,
        source_of(account),
    )
    return [tuple(row) for row in rows]


async def reached(world: World, account: str, sequence: int) -> bool:
    """Whether both consumers have applied a source up to a sequence."""
    query = "select count(*) from consumer_cursor where source = $1 and sequence = $2"
    return bool(await world.value(query, source_of(account), sequence) == len(CONSUMERS))


async def pages(world: World, code: str) -> list[str]:
    """Subjects of the pages with a code."""
    return [row["subject"] for row in await world.rows("select subject from page where code = $1 order by raised_at", code)]


async def mails(world: World, code: str) -> list[str]:
    """Raw mails about this world's pages with a code."""
    ids = [str(row["id"]) for row in await world.rows("select id from page where code = $1", code)]
    return [text for page in ids for text in world.servers.mail.raw(f"X-Telemed-Page: {page}")]


async def announced(world: World) -> list["ConsumerRecord[bytes, bytes]"]:
    """Dead letters on their topic."""
    return await world.dump(f"{world.prefix}.dead-letters")


def about(record: "ConsumerRecord[bytes, bytes]") -> dict[str, Any]:
    """What a dead letter says."""
    return dict(json.loads(record.value or b"")["data"])


async def test_row_21_a_poisoned_aggregate_waits_alone_is_given_up_loudly_and_comes_back(world: World, seed: int) -> None:
    """Row 21: the handler always raises for one account. It parks, all others flow; after some tries it is announced without
    its content; cured and tried again, everything is applied in order. An urgent event behind it calls somebody at once."""
    async with Load(seed, accounts=4) as load:
        replicas = [await world.spawn(**FEW_TRIES) for _ in range(2)]
        sick, healthy = load.accounts[0], load.accounts[1:]
        await load.post(replicas[0], sick)
        await eventually(lambda: reached(world, sick, 1), what="the first one is applied")
        await world.rows("insert into poison values ($1)", sick)
        for _ in range(3):
            await load.post(replicas[1], sick)
            for account in healthy:
                await load.post(replicas[0], account)
        await load.post(replicas[0], sick, flagged=True)
        for account in healthy:
            await eventually(partial(reached, world, account, 3), what="the others flow")

        async def given_up() -> bool:
            return (2, "failed", "dead") in await parked(world, sick)

        await eventually(given_up, what="the first one behind the poison is given up")
        waiting = await parked(world, sick)
        assert waiting == [(2, "failed", "dead"), *((number, "behind", "waiting") for number in (3, 4, 5, 6))]
        assert await pages(world, "runtime.dead-letter") == [source_of(sick)]
        assert await pages(world, "runtime.urgent-parked") == [source_of(sick)]
        await eventually(lambda: mails(world, "runtime.urgent-parked"), what="a mail about the urgent one")

        (letter,) = await eventually(lambda: announced(world), what="the dead letter is announced")
        dead = (await world.rows("select * from parked where status = 'dead'"))[0]
        assert about(letter) == {
            "consumer": "ledger.mirror",
            "event_type": ENTRY_POSTED.name,
            "source_hash": hashlib.sha256(source_of(sick).encode()).hexdigest()[:16],
            "sequence": 2,
            "error_class": "Poisoned",
            "origin_topic": world.topic,
            "origin_partition": dead["partition"],
            "origin_offset": dead["record_offset"],
        }
        assert leaks.leaks((*load.canaries, sick), leaks.record(letter)) == []

        await world.rows("delete from poison")
        async with world.owner() as connection:
            assert await retry(connection, [dead["id"]], by="a person") == 1
        await check_ledger(world, load)
        assert await world.value("select count(*) from audit where action = 'parked.retry' and actor = 'a person'") == 1


BAD_HEADERS = (
    ("ce_id", b"no id"),
    ("ce_sequence", b"99999999999999999999"),
    ("ce_sequence", b"-1"),
    ("ce_epoch", b"99999999999"),
    ("ce_source", b"/ledger/\x00"),
    ("ce_source", b"/ledger/" + b"x" * 5000),
    ("ce_type", b"\xff\xfe"),
    ("ce_partitionkey", b""),
)
CANARY = "c4n4ry-of-a-poison-record"


def unreadable(account: str) -> list[Raw]:
    """Records of every kind that no consumer of ours can read."""
    good = entry(account, 1)
    value, key = good.value, good.key
    assert value is not None
    return [
        Raw(None, key),
        Raw(None, key, good.headers),
        Raw(b"", None),
        Raw(f"not JSON, {CANARY}".encode(), key),
        Raw(b"\xff\xfe" + CANARY.encode("utf-16"), key),
        Raw(value.decode().encode("utf-16"), key),
        Raw(json.dumps({"text": CANARY}).encode(), key),
        Raw(json.dumps([CANARY]).encode(), key),
        Raw(value, key, tuple((name, text) for name, text in good.headers if name != "ce_source")),
        *(
            Raw(value, key, tuple((name, bad if name == which else text) for name, text in good.headers))
            for which, bad in BAD_HEADERS
        ),
        Raw(CANARY.encode(), key, (("a\x00name", CANARY.encode()), ("content-type", b"\x00"))),
    ]


async def test_row_22_what_is_no_event_is_kept_with_its_bytes_announced_and_passed(world: World, seed: int) -> None:
    """Row 22: not JSON, no value, other encodings, headers missing or impossible to store: parked, and everybody goes on."""
    records = unreadable("stray")
    async with Load(seed) as load:
        ledger = await world.spawn()
        await put(world, records)
        await load.run([ledger], 20)
        await check_ledger(world, load, strays=len(records))
        for consumer in CONSUMERS:
            rows = await world.rows("select * from parked where consumer = $1", consumer)
            assert {row["status"] for row in rows} == {"dead"}
            assert {row["reason"] for row in rows} == {"undecodable"}
            kept = sorted((row["body"], row["key"]) for row in rows if row["body"] is not None and row["key"] is not None)
            assert kept == sorted((one.value, one.key) for one in records if one.value is not None and one.key is not None)
        pages_of = await world.value("select count(*) from page where code = 'runtime.dead-letter'")
        assert pages_of == len(records) * len(CONSUMERS)

        async def all_announced() -> bool:
            return len(await announced(world)) == len(records) * len(CONSUMERS)

        await eventually(all_announced, what="each is announced by each consumer")
        letters = await announced(world)
        assert {about(letter)["event_type"] for letter in letters} == {"unknown"}
        assert {about(letter)["error_class"] for letter in letters} == {
            "no-value",
            "not-json",
            "not-cloudevents",
            "bad-attribute",
        }
        said = {**leaks.logs(world), **{name: text for letter in letters for name, text in leaks.record(letter).items()}}
        await leaks.assert_kept(world, [CANARY], said)


class PostedV2(EventData):
    """The ledger's next major."""

    account: str
    amounts: list[int]


class LaterPosted(EventData):
    """What a later version makes of an event whose balance is missing."""

    account: Annotated[str, Field(max_length=40)]
    entry: Annotated[str, Field(max_length=40)]
    amount: int
    balance: int = 0
    padding: str = ""


V2 = event_type("ledger", "entry-posted", PostedV2, major=2, since="2027-01-01")
LATER = replace(ENTRY_POSTED, data=LaterPosted)


class SumV2(subscriptions.SumEntries):
    """The projection of the version that knows both majors."""

    def decide(self, state: int | None, item: Any, context: Any) -> Any:
        return super().decide(state, _as_v1(item), context)


class MirrorV2(subscriptions.MirrorEntries):
    """The reaction of the version that knows both majors."""

    def decide(self, state: Any, item: Any, context: Any) -> Any:
        return super().decide(state, _as_v1(item), context)


def _as_v1(item: Any) -> Any:
    if item.type != V2.name:
        return item
    amount = sum(item.data.amounts)
    return item.model_copy(update={"data": LaterPosted(account=item.data.account, entry="", amount=amount)})


def later(service: Any) -> Any:
    """The ledger as deployed next month."""
    registry = Registry((*(kind for kind in REGISTRY.events if kind is not ENTRY_POSTED), LATER, V2))
    names = (LATER.name, V2.name)
    return replace(
        service,
        registry=registry,
        subscriptions=(
            Subscription("ledger.mirror", dict.fromkeys(names, MirrorV2())),
            Projection("ledger.totals", dict.fromkeys(names, SumV2())),
        ),
    )


async def test_rows_23_24_27_strange_events_wait_alone_until_they_can_be_applied(world: World, seed: int) -> None:
    """Row 23: an unknown major and a missing field wait for the next deploy, and only their aggregates with them. Row 24: an
    unknown field is ignored. Row 27: 3 before 2 waits, somebody is called when 2 does not come, and it heals when 2 does."""
    chance = random.Random(seed)
    ledger = await world.spawn(TELEMED_MESSAGING_PARK_MAX_RETRY_S="0.3")
    missing = chance.randint(2, 4)
    after = range(missing + 1, 6)
    ordered = {number: entry("order", number) for number in range(1, 6)}
    sources = [
        [entry("major", 1, type=V2.name, data={"account": "major", "amounts": [3, 4]}), entry("major", 2)],
        [entry("field", 1, data={"account": "field", "entry": "x", "amount": 5}), entry("field", 2)],
        [entry("minor", 1, data={"account": "minor", "entry": "y", "amount": 6, "balance": 6, "later": {"deep": [1]}})],
        [ordered[number] for number in ordered if number != missing],
        [entry("plain", 1)],
    ]
    amounts = {"major": [7, 1], "field": [5, 1], "minor": [6], "order": [1] * 5, "plain": [1]}
    await put(world, _shuffled(chance, sources))
    for account, sequence in (("minor", 1), ("plain", 1), ("order", missing - 1)):
        await eventually(partial(reached, world, account, sequence), what=f"{account} flows")

    async def all_wait() -> bool:
        return len(await parked(world)) == 4 + len(after)

    await eventually(all_wait, what="the others wait")
    assert await parked(world, "major") == [(1, "incompatible", "waiting"), (2, "behind", "waiting")]
    assert await parked(world, "field") == [(1, "incompatible", "waiting"), (2, "behind", "waiting")]
    reasons = {number: "gap" if number == missing + 1 else "behind" for number in after}
    assert await parked(world, "order") == [(number, reason, "waiting") for number, reason in reasons.items()]

    async def called() -> bool:
        return await pages(world, "runtime.gap") == [source_of("order")] * len(CONSUMERS)

    await eventually(called, what="a gap that does not heal calls somebody, once")
    await put(world, [ordered[missing]])
    await eventually(lambda: reached(world, "order", 5), what="it heals")
    order = "select array_agg(sequence::int order by id) from effect where source = $1"
    assert await world.value(order, source_of("order")) == [1, 2, 3, 4, 5]

    ledger.send(signal.SIGTERM)
    assert await ledger.ended() == 0
    deployed = build(later(SERVICE), world.settings(park_first_retry_s=0.05, park_max_retry_s=0.1))
    await deployed.database.open()
    try:
        for account in ("major", "field"):

            async def drained(account: str = account) -> bool:
                for drain in deployed.drains:
                    await drain.run_once()
                return await reached(world, account, 2)

            await eventually(drained, what=f"{account} is applied by the new version")
    finally:
        await deployed.database.close()
    assert await parked(world) == []
    totals = {row["account"]: row["total"] for row in await world.rows("select account, total from total")}
    assert totals == {account: sum(given) for account, given in amounts.items()}
    mirrors = {row["account"]: row["total"] for row in await world.rows("select account, total from mirror")}
    assert mirrors == totals
    async with Load(seed) as load:
        await load.run([await world.spawn()], 10)
        await check_ledger(world, load, foreign=amounts)


def _shuffled(chance: random.Random, sources: Sequence[Sequence[Raw]]) -> list[Raw]:
    """Records of several sources in any order that keeps each source's own."""
    turns = [left for left, count in [(iter(records), len(records)) for records in sources] for _ in range(count)]
    chance.shuffle(turns)
    return [next(left) for left in turns]


async def test_forks_and_misplaced_events_are_never_applied_and_call_somebody(world: World, seed: int) -> None:
    """A known sequence under another id stops its aggregate until a named person drops it. A type on a foreign topic, or a key
    that is not the partition key, blocks nobody."""
    ledger = await world.spawn()
    await put(world, [entry("fork", number) for number in (1, 2, 3)])
    await eventually(lambda: reached(world, "fork", 3), what="applied")
    forged = [entry("fork", 2), entry("fork", 3)]
    foreign = f"{world.prefix}.dead-letters"
    misplaced = [entry("lost", 1, key="somebody-else"), replace(entry("lost", 1), key=None)]
    lost = [*misplaced, entry("lost", 1), entry("lost", 2, type=DEAD_LETTERED.name)]
    await put(world, _shuffled(random.Random(seed), [[*forged, entry("fork", 4)], lost]))
    await eventually(lambda: reached(world, "lost", 1), what="the right one is applied")

    async def set_aside() -> bool:
        return len(await parked(world)) == 6

    await eventually(set_aside, what="set aside")
    assert await parked(world, "fork") == [(2, "fork", "dead"), (3, "fork", "dead"), (4, "behind", "waiting")]
    reasons = await world.rows(
        "select reason, error_class from parked where consumer = 'ledger.mirror' and source like 'kafka:%' order by error_class"
    )
    assert [tuple(row) for row in reasons] == [("misplaced", "key"), ("misplaced", "key"), ("misplaced", "topic")]
    assert foreign == DEAD_LETTERED.topic(world.prefix)
    assert len(await pages(world, "runtime.fork")) == 2 * len(CONSUMERS)
    await eventually(lambda: mails(world, "runtime.fork"), what="a mail about the fork")
    applied = await world.rows("select event_id from effect")
    assert not {row["event_id"] for row in applied} & {one.id for one in (*forged, *misplaced)}

    async with world.owner() as connection:
        for row in await connection.fetch("select id from parked where reason = 'fork'"):
            await skip(connection, row["id"], by="a person", reason="written before the restore")
        with pytest.raises(ValueError, match="a reason is needed"):
            await skip(connection, 0, by="a person", reason=" ")
    await eventually(lambda: reached(world, "fork", 4), what="the aggregate goes on")
    assert await world.value("select count(*) from effect where source = $1", source_of("fork")) == 4
    assert await world.value("select count(*) from audit where action = 'parked.skip' and reason <> ''") == 4
    async with Load(seed) as load:
        await load.run([ledger], 10)
        await check_ledger(world, load, strays=3, foreign={"fork": [1] * 4, "lost": [1]})
