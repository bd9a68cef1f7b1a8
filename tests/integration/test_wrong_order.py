"""What people do in the wrong order is refused by its stable code, and changes nothing in any service."""

import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from services.cli.demo.morning import Booked, Guest
from services.cli.demo.patient import Person
from services.cli.demo.story import Story
from tests.support.care import Answer, Care
from tests.support.servers import Servers
from tests.support.stage import planned

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(300)]

_ASIDE = {"audit", "audit_seal", "idempotency", "consumer_cursor", "consumer_partition", "kernel", "schema_migration"}
"""What tells who has asked and been refused, and how far is read: it changes by being asked, or by itself."""
_GATE = {
    *(f"session_logging.{table}" for table in ("gate_evaluation", "session", "move", "stream", "outbox")),
    "follow_up.journey",
}
"""Where a gate keeps its answer, whatever it was: with its event, and a session that it holds."""


async def everything(care: Care) -> dict[str, list[str]]:
    """Every row of every service, but for what is set aside."""
    found = {}
    async with care.owner() as connection:
        for service in care.services.values():
            names = await connection.fetch("select tablename from pg_tables where schemaname = $1", service.schema)
            for name in sorted({row["tablename"] for row in names} - _ASIDE):
                table = f"{service.schema}.{name}"
                rows = await connection.fetch(f"select t::text as row from {table} t")
                found[table] = sorted(row["row"] for row in rows)
    return found


@asynccontextmanager
async def unchanged(care: Care, story: Story, *but: str) -> AsyncIterator[None]:
    """What is done in here leaves every row as it was, but for these tables."""
    await story.stage.settle()
    before = await everything(care)
    assert sum(map(len, before.values())) > 100
    yield
    await story.stage.settle()
    after = await everything(care)
    assert [table for table, rows in after.items() if rows != before[table] and table not in but] == []


def refused(answer: Answer, status: int, code: str) -> Answer:
    assert (answer.status, answer.code, answer.headers["Content-Type"]) == (status, code, "application/problem+json")
    return answer


async def test_decisions_plans_and_links(servers: Servers, tmp_path: Path) -> None:
    async with planned(servers, tmp_path) as (care, story):
        approval = {"kind": "approved", "reason": "the patient wishes it", "conditions": []}
        signature = {"meaning": "approved", "licence": "US-NY", "shown": "0" * 64}
        series = {"first": "2027-02-08", "time": "10:30", "weekdays": [1, 3, 5]}

        async def approved(case: str, status: int, code: str) -> None:
            for what, body in (("decision-drafts", approval), ("decisions", {**approval, "signature": signature})):
                answer = await care.call("psychiatrist.a", "consultation", "POST", f"/cases/{case}/{what}", body)
                refused(answer, 409, "not-approvable")
            answer = await care.call("psychiatrist.a", "treatment_planning", "POST", f"/cases/{case}/plans", series)
            refused(answer, status, code)

        who = Person(
            login="patient.b",
            given_name="Otto",
            family_name=story.person["family_name"],
            birth_date=dt.date(1990, 3, 1),
            email=f"o.{story.person['email']}",
        )
        # Nobody was tested or examined: the rules say what is missing, and nobody decides over it.
        other = Guest(story.stage, story.first, Booked(who, "09:00", "wrong order"))
        await other.known()
        found = await other.evaluated()
        assert found["outcome"] == "INCOMPLETE"
        assert {"ecg", "weight", "tsh"} <= set(found["missing"])
        async with unchanged(care, story):
            # Planning has heard of no consent yet, and so of no case.
            await approved(other.case, 404, "not-found")
        # Everything is known, and it speaks against the treatment.
        intake = await care.call(other.account, "consultation", "GET", f"/cases/{other.case}/intake")
        answers = {**intake.ok()["answers"], "aneurysm_or_avm": True}
        changed = await care.call(
            other.account, "consultation", "PUT", f"/cases/{other.case}/intake", {"answers": answers}, version=1
        )
        assert changed.status == 200
        assert (await other.seen())["outcome"] == "INELIGIBLE"
        async with unchanged(care, story):
            await approved(other.case, 409, "not-approved")

        # A draft that somebody else has edited since, and a patient of somebody else.
        plan = (await care.call("psychiatrist.a", "treatment_planning", "GET", f"/plans/{story.plan}")).ok()
        kept = [{name: one[name] for name in ("session", "starts", "phase")} for one in plan["signed"]["sessions"]]
        terms = {"dose": {"value": "0.5", "unit": "mg/kg"}, "basis": "actual", "duration": {"value": "45", "unit": "min"}}
        async with unchanged(care, story):
            draft = f"/plans/{story.plan}/draft"
            edit = {**terms, "sessions": kept}
            stale = await care.call("psychiatrist.a", "treatment_planning", "PUT", draft, edit, version=plan["version"] - 1)
            refused(stale, 412, "precondition-failed")
            for service, path, body in (
                ("treatment_planning", f"/plans/{story.plan}/hold", {"reason": "clinical-review"}),
                ("session_logging", f"/sessions/{story.sessions[0]['session']}/stop", {"reason": "patient-asked"}),
                ("consultation", f"/patients/{story.patient}/assessments", {"instrument": "gad7", "answers": [0] * 7}),
            ):
                refused(await care.call("therapist.a", service, "POST", path, body), 404, "not-found")

        # A link whose time is over.
        (await care.call("nurse.a", "follow_up", "POST", f"/patients/{story.patient}/links")).ok()
        await story.stage.settle()
        mails = [mail for mail in await story.stage.mails() if story.person["email"] in mail["to"] and "#" in mail["text"]]
        holder = {"Authorization": f"Link {mails[-1]['text'].split('#', 1)[1].split()[0]}"}
        birth = {"birth_date": story.person["birth_date"]}
        opening = ("follow_up", "POST", "/link/opening", birth)
        assert (await care.call(None, *opening, headers=holder)).status == 200
        await story.stage.until(await care.value("follow_up", "select max(expires_at) from link"))
        async with unchanged(care, story):
            late = refused(await care.call(None, *opening, headers=holder), 401, "unauthenticated")
            assert late.body["reason"] == "link-not-valid"
            answers = {**birth, "instrument": "phq9", "answers": [0] * 9}
            refused(
                await care.call(None, "follow_up", "POST", "/link/answers", answers, headers=holder), 401, "unauthenticated"
            )


async def test_at_the_chair(servers: Servers, tmp_path: Path) -> None:
    async with planned(servers, tmp_path) as (care, story):
        path, _ = await story.start_first()

        async def room(what: str, body: object = None) -> Answer:
            return await care.call("nurse.a", "session_logging", "POST", f"{path}/{what}", body)

        # Home before it is time.
        (await room("end", {"pump_volume": {"value": "100.0", "unit": "mL"}})).ok()
        shown = (await room("discharge-evaluations")).ok()["shown"]
        async with unchanged(care, story, *_GATE):
            signed = await room("discharge", {"signature": {"meaning": "discharged", "licence": "US-NY", "shown": shown}})
            early = refused(signed, 409, "gate-shut")
            assert "/gate/K-X-TIME" in {error["pointer"] for error in early.body["errors"]}
        told = "select count(*) from outbox where type similar to '%session-(discharged|closed).%'"
        assert await care.value("session_logging", told) == 0
        assert await care.value("session_logging", "select state from session where started_at is not null") == "recovery"
        (await room("closure", {"ending": "left-against-advice", "note": "Walked out"})).ok()

        # A start without consent.
        consent = await care.value("consultation", "select id from consent")
        (await care.call("patient.a", "consultation", "POST", f"/consents/{consent}/withdrawal")).ok()
        path = f"/sessions/{story.sessions[1]['session']}"
        await story.stage.until(story.at(15, "10:15"))
        await story.check_in(path, 15)
        async with unchanged(care, story, *_GATE):
            shut = refused(await room("start"), 409, "gate-shut")
            assert {"/gate/K-S-CONSENT", "/gate/K-S-CONSENT-WITHDRAWN"} <= {error["pointer"] for error in shut.body["errors"]}
        state = "select state, started_at from session where id = $1"
        (row,) = await care.rows("session_logging", state, story.sessions[1]["session"])
        assert (row["state"], row["started_at"]) == ("held", None)
        assert await care.value("session_logging", "select count(*) from outbox where type like '%infusion-started%'") == 1
