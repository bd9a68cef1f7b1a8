"""What people do in the wrong order is refused by its stable code, and changes nothing in any service."""

import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from services.cli.demo.course import FIRST_DAY
from services.cli.demo.morning import Guest, book
from services.cli.demo.seed import seed
from tests.support.care import Care, care
from tests.support.room import room
from tests.support.servers import Servers
from tests.support.stage import on_stage
from tests.support.unchanged import GATE, refused, unchanged

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(300)]


@asynccontextmanager
async def two(servers: Servers, folder: Path) -> AsyncIterator[tuple[Care, Guest, Guest]]:
    """A patient with a signed plan, and one who has enquired and answered; everything but the chair runs."""
    async with care(servers, folder) as made:
        # The audit tells how far it is sealed, and refusals are audited: once an hour is seldom enough here.
        names = ("clinic", "consultation", "treatment_planning", "follow_up")
        await made.spawn(*names, TELEMED_AUDIT_PUBLISH_S="3600")
        async with on_stage(made) as stage:
            await seed(stage, until=dt.datetime(2027, 5, 1, tzinfo=dt.UTC))
            booked = book(2, 7, int(made.database.removeprefix("c_"), 16))
            one, other = (
                Guest(stage, FIRST_DAY, replace(each, who=replace(each.who, login=login)))
                for each, login in zip(booked, ("patient.a", "patient.b"), strict=True)
            )
            await one.planned()
            await other.known()
            yield made, one, other


async def test_decisions_plans_and_links(servers: Servers, tmp_path: Path) -> None:
    async with two(servers, tmp_path) as (made, one, other):
        approval = {"kind": "approved", "reason": "the patient wishes it", "conditions": []}
        signature = {"meaning": "approved", "licence": "US-NY", "shown": "0" * 64}
        series = {"first": "2027-02-08", "time": "10:30", "weekdays": [1, 3, 5]}

        async def approved(status: int, code: str) -> None:
            async with unchanged(made, one.stage):
                for what, body in (("decision-drafts", approval), ("decisions", {**approval, "signature": signature})):
                    answer = await made.call("psychiatrist.a", "consultation", "POST", f"/cases/{other.case}/{what}", body)
                    refused(answer, 409, "not-approvable")
                path = f"/cases/{other.case}/plans"
                refused(await made.call("psychiatrist.a", "treatment_planning", "POST", path, series), status, code)

        # Nobody was tested or examined: the rules say what is missing, and nobody decides over it.
        found = await other.evaluated()
        assert found["outcome"] == "INCOMPLETE"
        assert {"ecg", "weight", "tsh"} <= set(found["missing"])
        # Planning has heard of no consent yet, and so of no case.
        await approved(404, "not-found")
        # Everything is known, and it speaks against the treatment.
        intake = f"/cases/{other.case}/intake"
        answers = (await made.call("patient.b", "consultation", "GET", intake)).ok()["answers"]
        changed = {"answers": {**answers, "aneurysm_or_avm": True}}
        (await made.call("patient.b", "consultation", "PUT", intake, changed, version=1)).ok()
        assert (await other.seen())["outcome"] == "INELIGIBLE"
        await approved(409, "not-approved")

        # A draft that somebody else has edited since, and a patient of somebody else.
        plan = (await made.call("psychiatrist.a", "treatment_planning", "GET", f"/plans/{one.plan}")).ok()
        kept = [{name: session[name] for name in ("session", "starts", "phase")} for session in plan["signed"]["sessions"]]
        terms = {"dose": {"value": "0.5", "unit": "mg/kg"}, "basis": "actual", "duration": {"value": "45", "unit": "min"}}
        async with unchanged(made, one.stage):
            draft = f"/plans/{one.plan}/draft"
            edit = {**terms, "sessions": kept}
            stale = await made.call("psychiatrist.a", "treatment_planning", "PUT", draft, edit, version=plan["version"] - 1)
            refused(stale, 412, "precondition-failed")
            for service, path, body in (
                ("treatment_planning", f"/plans/{one.plan}/hold", {"reason": "clinical-review"}),
                ("consultation", f"/patients/{one.patient}/assessments", {"instrument": "gad7", "answers": [0] * 7}),
                ("follow_up", f"/patients/{one.patient}/links", None),
            ):
                refused(await made.call("therapist.a", service, "POST", path, body), 404, "not-found")

        # A link whose time is over.
        (await made.call("nurse.a", "follow_up", "POST", f"/patients/{one.patient}/links")).ok()
        await one.stage.settle()
        mails = [mail for mail in await one.stage.mails() if one.who.email in mail["to"] and "#" in mail["text"]]
        holder = {"Authorization": f"Link {mails[-1]['text'].split('#', 1)[1].split()[0]}"}
        birth = {"birth_date": one.who.birth_date.isoformat()}
        (await made.call(None, "follow_up", "POST", "/link/opening", birth, headers=holder)).ok()
        await one.stage.until(await made.value("follow_up", "select max(expires_at) from link"))
        given = {**birth, "instrument": "phq9", "answers": [0] * 9}
        async with unchanged(made, one.stage):
            for path, body in (("/link/opening", birth), ("/link/answers", given)):
                late = refused(await made.call(None, "follow_up", "POST", path, body, headers=holder), 401, "unauthenticated")
                assert late.body["reason"] == "link-not-valid"


async def test_at_the_chair(servers: Servers, tmp_path: Path) -> None:
    async with room(servers, tmp_path) as (chair,):
        # A start whose consent nobody has confirmed, and then withdrawn.
        await chair.arrive(consent_reconfirmed=False)
        await chair.prepare()
        for rule in ("K-S-CONSENT", "K-S-CONSENT-WITHDRAWN"):
            async with unchanged(chair.care, chair.stage, *GATE):
                shut = refused(await chair.ask("nurse.a", "start"), 409, "gate-shut")
                assert f"/gate/{rule}" in {error["pointer"] for error in shut.body["errors"]}
            shown = await chair.shown()
            assert (shown["state"], shown["started_at"], shown["rate"]) == ("held", None, None)
            (await chair.ask("nurse.a", "consent-withdrawal")).ok()
        await chair.waste("1.00")
        (await chair.ask("nurse.a", "closure", {"ending": "aborted", "note": "Consent withdrawn"})).ok()
        told = "select count(*) from outbox where type similar to '%infusion-(started|ended).%'"
        assert await chair.rows(told) == [(0,)]

        # Home before it is time.
        await chair.start(2)
        await chair.end()
        async with unchanged(chair.care, chair.stage, *GATE):
            early = refused(await chair.discharge(), 409, "gate-shut")
            assert "/gate/K-X-TIME" in {error["pointer"] for error in early.body["errors"]}
        assert (await chair.shown())["state"] == "recovery"
        assert await chair.rows("select count(*) from outbox where type like '%session-discharged%'") == [(0,)]
