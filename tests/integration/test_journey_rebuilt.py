"""The care journey made anew from replays while the services run: it is what it was, misses nothing, and tells nobody."""

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from schemas.events import REGISTRY, consultation, session_logging, treatment_planning, video_visits
from schemas.registry import DataClass, EventType
from services.cli.operate import acts
from services.follow_up.subscriptions import JOURNEY
from tests.support.care import Care, care
from tests.support.owners import Owners, owners
from tests.support.servers import Servers
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio

WHO = {"by": "Ann Operator", "reason": "the rows were wrong"}
PATIENT = UUID("018f0000-0000-7000-8000-000000000001")
FIRST = (consultation.PATIENT_CHANGED, session_logging.SESSION_CHANGED, video_visits.VISIT_SCHEDULED)
"""What the others need to have been told before them."""


@dataclass
class Scene:
    """Follow-up runs; everybody else is heard of by their real events."""

    care: Care
    owners: Owners

    async def tell(self, kind: EventType) -> None:
        """Its sample; all samples are about one patient."""
        assert kind.sample is not None
        await self.owners.tell(kind, f"/{kind.owner}/samples/{kind.short}", PATIENT, kind.sample)

    async def register_duplicate(self) -> None:
        """The other patient in the samples of a merge."""
        kind, merged = consultation.PATIENT_CHANGED, consultation.PATIENTS_MERGED.sample
        assert isinstance(kind.sample, consultation.PatientChanged)
        assert isinstance(merged, consultation.PatientsMerged)
        data = kind.sample.model_copy(update={"patient": merged.duplicate})
        await self.owners.tell(kind, f"/consultation/samples/{merged.duplicate}", merged.duplicate, data)

    async def journey(self) -> list[dict[str, Any]]:
        """As an auditor reads it, page by page."""
        found: list[dict[str, Any]] = []
        path: str | None = f"/patients/{PATIENT}/journey?limit=20"
        while path:
            answer = await self.care.call("auditor.a", "follow_up", "GET", path)
            found += answer.ok()["steps"]
            path = answer.headers["Link"].split(">")[0].lstrip("<") if "Link" in answer.headers else None
        return found

    async def read(self, consumer: str) -> None:
        """Wait until a consumer has applied all that was told to it."""
        kinds = next(one for one in self.care.services["follow_up"].subscriptions if one.consumer == consumer).handlers
        topics = {kind.topic(self.care.prefix) for kind in map(REGISTRY.get, kinds) if kind is not None}
        for owner in self.care.services:
            await self.care.until(
                "follow_up",
                f"""select not exists (select 1 from {owner}.outbox o
                        left join consumer_cursor c on c.consumer = $1 and c.source = o.source
                        where o.topic = any($2) and coalesce(c.sequence, 0) < o.sequence)""",
                consumer,
                topics,
                within_s=60,
            )

    async def said(self) -> dict[str, int]:
        """How much follow-up has told, timed, paged and asked of people so far, and every mail."""
        tables = ("outbox", "timer", "page", "page_attempt", "care_task", "parked")
        counts = {table: int(await self.care.value("follow_up", f"select count(*) from {table}")) for table in tables}
        return {**counts, "mails": len(self.care.servers.mail.raw(""))}

    async def begin(self) -> list[str]:
        """An operator asks for the rebuild. Returns whose replays it waits for."""
        service = self.care.services["follow_up"]
        async with self.care.as_service("follow_up") as connection:
            return await acts.rebuild(connection, self.care.kafka, service, JOURNEY, **WHO)

    async def replay(self, names: Collection[str]) -> None:
        for name in names:
            async with self.care.as_service(name) as connection:
                service = self.care.services[name]
                await acts.replay(connection, self.care.kafka, service, per_second=5000, **WHO)

    async def rebuilt(self) -> None:
        waiting = "select count(*) from consumer_partition where consumer = $1 and topic like '%.replay' and not replayed"
        await self.care.until("follow_up", f"select ({waiting}) = 0", JOURNEY, within_s=60)


@pytest_asyncio.fixture
async def scene(servers: Servers, tmp_path: Path) -> AsyncIterator[Scene]:
    async with care(servers, tmp_path) as world, owners(world) as around:
        # The seals of its audit would stand among what it tells.
        await world.spawn("follow_up", TELEMED_AUDIT_PUBLISH_S="3600")
        yield Scene(world, around)


async def test_the_journey_made_anew_is_the_one_that_was_and_nobody_hears_of_it(scene: Scene) -> None:
    care = scene.care
    told = [kind for kind in REGISTRY.events if kind.data_class is not DataClass.OPERATIONAL]
    await scene.register_duplicate()
    for kind in sorted(told, key=lambda kind: kind not in FIRST):
        await scene.tell(kind)
    await scene.read("follow_up.care")
    await care.until("follow_up", "select not exists (select 1 from outbox_pending) and not exists (select 1 from parked)")
    await scene.read(JOURNEY)
    before, said = await scene.journey(), await scene.said()
    assert {step["type"] for step in before} >= {kind.name.removeprefix("org.telemed.") for kind in told}
    assert len(before) > len(told), "follow-up's own answers are in it too"
    assert said["outbox"], "events could be told twice"
    assert said["timer"], "reminders could be planned twice"
    assert said["care_task"], "somebody could be asked twice"

    named = await scene.begin()
    assert named == sorted({kind.owner for kind in told})
    assert await scene.journey() == []
    await scene.replay(named)
    await scene.rebuilt()
    assert await scene.journey() == before
    assert await scene.said() == said

    # Again, while the clinic goes on: before its owner's replay, after it, and when all is over.
    await scene.begin()
    await scene.tell(session_logging.VITALS_SUMMARISED)
    *others, last = named
    await scene.replay(others)
    await scene.tell(session_logging.VITALS_SUMMARISED)
    await scene.tell(treatment_planning.PLAN_HELD)
    await care.until("follow_up", "select count(*) > 0 from consumer_partition where consumer = $1 and replayed", JOURNEY)
    assert len(await scene.journey()) < len(before) + 3, "the rebuild was over before anything could come in between"
    await scene.replay([last])
    await scene.rebuilt()
    await scene.tell(video_visits.VISIT_MISSED)

    async def all_there() -> bool:
        return len(await scene.journey()) >= len(before) + 4

    await eventually(all_there, what="what came meanwhile")
    after = await scene.journey()
    new = [step for step in after if step not in before]
    assert [step for step in after if step in before] == before
    assert sorted(step["type"] for step in new) == [
        "session_logging.vitals-summarised.v1",
        "session_logging.vitals-summarised.v1",
        "treatment_planning.plan-held.v1",
        "video_visits.visit-missed.v1",
    ]
    assert await scene.said() == said
    assert await care.value("follow_up", "select count(*) from audit where action = 'consumer.rebuild'") == 2
