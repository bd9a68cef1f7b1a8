"""The demo's patient, through every service as real processes: each step a public call, each hand-over an event on Kafka."""

from pathlib import Path

import pytest

from services.cli.demo.seed import seed
from services.cli.demo.story import FIRST_DAY, Story
from tests.support import leaks
from tests.support.care import Care, care
from tests.support.servers import Servers
from tests.support.stage import on_stage

pytestmark = pytest.mark.asyncio

_LONG = 12
"""A shorter canary is looked for as it is: in base64 it would be found by chance, or not at all."""


@pytest.mark.timeout(600)
async def test_one_patients_whole_path(servers: Servers, tmp_path: Path) -> None:
    async with care(servers, tmp_path) as made:
        # Two replicas of each, asked in turn: whoever is asked knows what the other was told.
        await made.spawn(*made.services)
        await made.spawn(*made.services)
        assert {len(where) for where in made.urls().values()} == {2}
        async with on_stage(made) as stage:
            story = Story(stage, FIRST_DAY, number=int(made.database.removeprefix("c_"), 16), weekly=1)
            await seed(stage, until=story.at(120, "00:00"))
            await story.play()
            await stage.settle()
            assert [(one.name, one.wanted, one.found) for one in stage.checks if not one.holds] == []
            assert len(stage.checks) > 30
            await _nothing_about_a_person_is_outside(made, story)


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
