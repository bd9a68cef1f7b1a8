"""The demo's patient, through every service as real processes: each step a public call, each hand-over an event on Kafka."""

import dataclasses
import random

import pytest

from services.cli.demo.stage import Stage
from services.cli.demo.story import Story
from services.cli.operate import acts
from services.runtime.database import Reader
from services.runtime.messaging.inbox import Projection
from services.session_logging.domain.sessions import record_task
from services.staff_dashboard.domain import Kind, shown
from services.staff_dashboard.store import items
from services.staff_dashboard.subscriptions import BOARD
from tests.faults.conftest import OwnBroker
from tests.support import leaks
from tests.support.care import Care
from tests.support.servers import Servers
from tests.support.torment import walk

pytestmark = pytest.mark.asyncio

_LONG = 12
"""A shorter canary is looked for as it is: in base64 it would be found by chance, or not at all."""


@pytest.mark.timeout(900)
async def test_one_patients_whole_path_and_its_beginning_again_while_everything_breaks(
    seed: int, servers: Servers, own_broker: OwnBroker, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # Two replicas of each, asked in turn: whoever is asked knows what the other was told.
    async with walk(servers, tmp_path_factory.mktemp("calm"), replicas=2) as calm:
        assert {len(where) for where in calm.care.urls().values()} == {2}
        await calm.begin()
        ledger, history = await calm.ledger(), list(calm.stage.history)
        await calm.go_on()
        assert len(calm.stage.checks) > 30
        assert await calm.mails_amiss() == []
        await _nothing_about_a_person_is_outside(calm.care, calm.story)
        await _the_board_says_what_the_owners_say(calm.care)
        for service, consumer in (("staff_dashboard", BOARD), ("follow_up", "follow_up.journey")):
            await _made_anew_it_is_the_same_and_nobody_hears_of_it(calm.care, calm.stage, service, consumer)

    chance = random.Random(seed)
    apart = dataclasses.replace(servers, kafka=own_broker.broker)
    async with walk(apart, tmp_path_factory.mktemp("torn"), mischief=True) as torn:
        victims = chance.sample(sorted(torn.care.services), 2)
        faults = torn.draw(chance, history, victims, own_broker.broker)
        await torn.tormented(torn.begin(), faults)
        await torn.came_to(ledger)
        assert torn.struck.keys() == {*victims, "broker"}


async def _the_board_says_what_the_owners_say(made: Care) -> None:
    """Row by row: every session with its state, every alert and every task with whether somebody has ended it."""
    sessions = await made.rows("session_logging", "select id, state, started_at, locked_at from session")
    states = {row["id"]: row["state"] for row in sessions}
    ends = {row["id"]: row["status"] == "open" for row in await made.rows("session_logging", "select id, status from alert")}
    for service, query in (
        ("consultation", "select id, status = 'open' as open from task"),
        ("session_logging", "select id, status = 'open' as open from task"),
        ("follow_up", "select id, status = 'open' as open from task"),
        ("follow_up", "select id, status = 'open' as open from care_task"),
        ("session_logging", "select id, decision is null as open from review"),
    ):
        ends |= {row["id"]: row["open"] for row in await made.rows(service, query)}
    given = [row for row in sessions if row["started_at"] is not None and row["state"] == "closed"]
    ends |= {record_task(row["id"]): row["locked_at"] is None for row in given}
    async with made.as_service("staff_dashboard") as connection:
        keys = [(Kind(row["kind"]), row["id"]) for row in await connection.fetch("select kind, id from item")]
        found = (await items(Reader(connection), keys)).values()
    assert {item.id: (shown(item) or {}).get("state") for item in found if item.kind is Kind.SESSION} == states
    assert {item.id: item.open for item in found if item.kind is not Kind.SESSION} == ends
    assert len(states) > 5
    assert len(ends) > 5


async def _made_anew_it_is_the_same_and_nobody_hears_of_it(made: Care, stage: Stage, service: str, consumer: str) -> None:
    known = made.services[service]
    table = next(one.tables[0] for one in known.subscriptions if isinstance(one, Projection) and one.consumer == consumer)
    query = f"select to_jsonb(t) - 'position' as row from {table} t order by 1"
    before = await made.rows(service, query)
    mails = len(await stage.mails())
    async with made.as_service(service) as connection:
        owners = await acts.rebuild(
            connection, made.kafka, known, consumer, by="Ann Operator", reason="to see that it is the same"
        )
    for owner in owners:
        async with made.as_service(owner) as connection:
            await acts.replay(connection, made.kafka, made.services[owner], per_second=5000, by="Ann Operator")
    waits = "select count(*) = 0 from consumer_partition where consumer = $1 and topic like '%.replay' and not replayed"
    await made.until(service, waits, consumer, within_s=120)
    await stage.settle()
    assert await made.rows(service, query) == before
    assert len(before) > 10
    assert len(await stage.mails()) == mails


async def _nothing_about_a_person_is_outside(made: Care, story: Story) -> None:
    """Names, addresses and words stay in their owners' tables: not on the bus, in no log, metric or page."""
    kept = {
        story.person["family_name"]: ("consultation", "select family_name from patient"),
        story.person["email"]: ("follow_up", "select email from contact"),
        story.person["birth_date"]: ("consultation", "select birth_date::text from patient"),
        "Sam Marlow": ("session_logging", "select data->>'escort_name' from entry where data ? 'escort_name'"),
        "12 Canary Street, Albany": ("video_visits", "select address from visit where address is not null"),
        "+1 212 555 0142": ("session_logging", "select data->>'escort_phone' from entry where data ? 'escort_phone'"),
        "amlodipine on session mornings": ("consultation", "select content->>'reason' from decision"),
        "Called at 09:10; safety plan made": ("consultation", "select note from task where note is not null"),
    }
    for canary, (service, query) in kept.items():
        values = [row[0] for row in await made.rows(service, query)]
        assert any(canary in value for value in values), f"{canary} is not at home in {service}"
    texts = leaks.logs(made)
    for name, process in made.running.items():
        texts[f"metrics of {name}"] = (await process.get("/metrics"))[1].encode()
        for row in await made.rows(name, "select id, body, source, key from outbox"):
            texts[f"{name} event {row['id']}"] = bytes(row["body"]) + row["source"].encode() + row["key"].encode()
    assert len(texts) > 500
    assert leaks.leaks([canary for canary in kept if len(canary) > _LONG], texts) == []
    short = [canary.lower().encode() for canary in kept if len(canary) <= _LONG]
    assert [place for place, text in texts.items() if any(canary in text.lower() for canary in short)] == []
    sent = {path.name: path.read_bytes() for path in made.servers.mail.folder.glob("*.eml")}
    words = [*(canary for canary in kept if "@" not in canary and canary != story.person["birth_date"]), "ketamine", "infusion"]
    assert [name for name, mail in sent.items() if any(word.lower().encode() in mail.lower() for word in words)] == []
