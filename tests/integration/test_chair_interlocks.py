"""What shuts the gate of a start is said to the service that owns it, and comes to the chair over Kafka.

Every service runs. Each fact is said by a public call, the start is refused by the rule that it breaks, and where somebody may
take it back the gate opens again; consent that is withdrawn at the chair goes the other way.
"""

import datetime as dt
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from services.cli.demo.story import Story
from tests.support.care import Care
from tests.support.chair import CALM, SINCE, Chair, quantity
from tests.support.servers import Servers
from tests.support.stage import planned

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(300)]

Act = Callable[[], Awaitable[Any]]


async def shut_by(chair: Chair) -> set[str]:
    """What keeps the gate shut, once everything that was said has come."""
    await chair.stage.settle()
    return set((await chair.ask("nurse.a", "start-evaluations")).ok()["shut_by"])


async def test_each_interlock_is_said_to_its_owner_and_shuts_the_gate(servers: Servers, tmp_path: Path) -> None:
    async with planned(servers, tmp_path) as (care, story):
        chair = Chair(care, story.stage, story.patient, story.sessions)
        assert (await chair.ask("nurse.a", "check-in", {"device": "monitor-1"})).code == "not-today"
        await story.stage.until(story.at(13, "10:05"))
        await story.check_in(chair.path, 13)
        await story.stage.until(story.at(13, "10:17"))
        await chair.ready()
        assert await shut_by(chair) == set()
        await facts_of_others(care, story, chair)
        await facts_of_the_day(chair)
        await facts_that_wait(care, story, chair)
        await consent(care, story, chair)
        await eligibility(care, story, chair)


async def refused(chair: Chair, rule: str) -> None:
    await chair.stage.settle()
    answer = await chair.ask("nurse.a", "start")
    assert (answer.status, answer.code) == (409, "gate-shut"), (rule, answer.body)
    assert f"/gate/{rule}" in [error["pointer"] for error in answer.body["errors"]], (rule, answer.body)
    assert (await chair.shown())["started_at"] is None


async def facts_of_others(care: Care, story: Story, chair: Chair) -> None:
    """Laboratory, plan, suicide risk of two services, the prescriber's registration: each shuts it, and is taken back."""

    async def say(login: str, service: str, method: str, path: str, body: object = None, **more: Any) -> Any:
        return (await care.call(login, service, method, path, body, **more)).ok()

    async def decide(about: str) -> None:
        decided = {"about": about, "start": True, "reason": "Seen face to face before the start"}
        (await chair.ask("prescriber.a", "decisions", decided)).ok()

    async def found(test: str, finding: str) -> None:
        taken = (await chair.stage.now() - dt.timedelta(minutes=1)).astimezone(dt.UTC).isoformat()
        result = {"test": test, "finding": finding, "taken_at": taken}
        await say("nurse.a", "consultation", "POST", f"/cases/{story.case}/results", result)

    async def screened(service: str, patient: str = story.patient) -> None:
        await say("nurse.a", service, "POST", f"/patients/{patient}/suicide-screens", SINCE | {"q4": True})

    async def merged() -> None:
        await screened("consultation", twice)
        why = {"duplicate": twice, "reason": "The same person under her married name"}
        await say("front_desk.a", "consultation", "POST", f"/patients/{story.patient}/merges", why)

    async def said(facts: dict[str, object]) -> None:
        (await chair.ask("nurse.a", "facts", facts)).ok()

    async def checked() -> None:
        """The prescription monitoring programme is asked where its answer is kept."""
        body = {"finding": "clear", "checked_at": (await chair.stage.now()).astimezone(dt.UTC).isoformat()}
        await say("nurse.a", "consultation", "POST", f"/cases/{story.case}/pdmp-checks", body)

    async def registered(*kinds: str) -> None:
        path = f"/staff/{chair.stage.ids['prescriber.a']}"
        known = await say("admin.a", "clinic", "GET", path)
        held = [one for one in doctor["credentials"] if one["kind"] in kinds]
        body = {"name": known["name"], "roles": known["roles"], "active": True, "credentials": held}
        await say("admin.a", "clinic", "PUT", path, body, version=known["version"])

    doctor = await say("admin.a", "clinic", "GET", f"/staff/{chair.stage.ids['prescriber.a']}")
    kinds = [one["kind"] for one in doctor["credentials"]]
    plan = f"/plans/{story.plan}"
    home = {"zone": "America/New_York", "language": "en-US", "region": "US-NY"}
    married = {"given_name": "Zoe", "family_name": "Vane", "birth_date": "1971-02-03", "phone": "+12125550199", **home}
    twice = str((await say("front_desk.a", "consultation", "POST", "/patients", married))["patient"])
    interlocks: list[tuple[str, Act, Act]] = [
        ("K-S-CHECKIN", lambda: found("drug_screen", "positive"), lambda: decide("changes")),
        # What was decided about the first result was not decided about the second.
        ("K-S-CHECKIN", lambda: found("ecg", "abnormal"), lambda: decide("changes")),
        (
            "K-S-PLAN",
            lambda: say("nurse.a", "treatment_planning", "POST", f"{plan}/hold", {"reason": "clinical-review"}),
            lambda: released(say, decide, plan),
        ),
        ("K-S-PRESCRIBER", lambda: registered("licence", "acls"), lambda: registered(*kinds)),
        ("K-S-RISK", lambda: screened("consultation"), lambda: both(decide)),
        ("K-S-RISK", lambda: screened("follow_up"), lambda: both(decide)),
        ("K-S-PDMP", lambda: said({"pdmp_checked": False}), checked),
        # What was answered under another id counts from the merge on, and whoever still uses that id is heard.
        ("K-S-RISK", merged, lambda: decide("risk")),
        ("K-S-RISK", lambda: screened("session_logging", twice), lambda: decide("risk")),
    ]
    for rule, told, taken_back in interlocks:
        await told()
        await refused(chair, rule)
        await taken_back()
        assert await shut_by(chair) == set(), rule


async def released(say: Callable[..., Awaitable[Any]], decide: Callable[[str], Awaitable[None]], plan: str) -> None:
    await say("psychiatrist.a", "treatment_planning", "POST", f"{plan}/release")
    await decide("changes")


async def both(decide: Callable[[str], Awaitable[None]]) -> None:
    for about in ("risk", "changes"):
        await decide(about)


async def facts_of_the_day(chair: Chair) -> None:
    """Those that the room owns itself: pregnancy, identity, escort, a GLP-1 agonist, the monitor, blood pressure."""
    week = (await chair.stage.now() - dt.timedelta(days=6)).astimezone(dt.UTC).isoformat()
    monitor = (await chair.shown())["device"]
    for rule, wrong, right in (
        ("K-S-HCG", {"hcg": "positive"}, {"hcg": "negative"}),
        ("K-S-HCG-REFUSED", {"hcg": "refused"}, {"hcg": "negative"}),
        ("K-S-IDENTITY", {"identity_confirmed": False}, {"identity_confirmed": True}),
        ("K-S-ESCORT", {"escort_phoned": False}, {"escort_phoned": True}),
        ("K-S-GLP1", {"glp1": True, "glp1_last": week, "gi_symptoms": False}, {"glp1_checklist_complete": True}),
        ("K-S-GLP1-SYMPTOMS", {"gi_symptoms": True}, {"gi_symptoms": False}),
    ):
        (await chair.ask("nurse.a", "facts", wrong)).ok()
        await refused(chair, rule)
        (await chair.ask("nurse.a", "facts", right)).ok()
        assert await shut_by(chair) == set(), rule
    (await chair.ask("nurse.a", "device", {"device": None})).ok()
    await refused(chair, "K-S-MONITOR")
    (await chair.ask("nurse.a", "device", {"device": monitor})).ok()
    (await chair.ask("nurse.a", "vitals", CALM.body() | {"sbp": quantity("160", "mm[Hg]")})).ok()
    await refused(chair, "K-S-SBP")
    await chair.wait(minutes=5)
    (await chair.ask("nurse.a", "vitals", CALM.body())).ok()
    assert await shut_by(chair) == set()


async def facts_that_wait(care: Care, story: Story, chair: Chair) -> None:
    """Events of this patient that could not be applied shut their gate alone, and so does an owner who is silent."""
    parked = """insert into parked (consumer, source, epoch, sequence, event_id, type, topic, partition, record_offset, key,
                                    headers, reason, status)
                values ('session_logging.facts', $1, 1, 99, gen_random_uuid(), 'x', $2, 0, 0, $3, '{}', 'failed', 'dead')"""

    async def shut() -> set[str]:
        return set((await chair.ask("nurse.a", "start-evaluations")).ok()["shut_by"])

    topic = f"{care.prefix}.consultation.events"
    async with care.owner("session_logging") as connection:
        await connection.execute(parked, "/consultation/patients/other", topic, care.id("patient.b").encode())
        assert await shut() == set(), "another patient's events wait, not this one's"
        await connection.execute(parked, "/consultation/patients/this", topic, story.patient.encode())
        assert await shut() == {"facts_as_of.consultation"}
        await connection.execute("delete from parked")
    # The owner falls silent: what it last said is no longer current after a minute.
    await care.running["consultation"].kill()
    # A heartbeat that is still on its way would undo what is done to the watermark.
    await care.read_out("session_logging.facts", topic)
    late = "update consumer_partition set watermark = watermark - interval '61 s' where consumer = 'session_logging.facts'"
    async with care.owner("session_logging") as connection:
        await connection.execute(f"{late} and topic = $1", topic)
    assert await shut() == {"facts_as_of.consultation"}
    answer = await chair.ask("nurse.a", "start")
    assert "/gate/facts_as_of.consultation" in [error["pointer"] for error in answer.body["errors"]]
    await care.spawn("consultation")
    assert await shut_by(chair) == set()


async def consent(care: Care, story: Story, chair: Chair) -> None:
    """Withdrawn at its owner it shuts the gate; given anew and withdrawn at the chair, it is withdrawn at its owner."""
    held = "select id::text from consent where care_case = $1 and withdrawn_at is null"
    given = await care.value("consultation", held, story.case)
    (await care.call(story.account, "consultation", "POST", f"/consents/{given}/withdrawal")).ok()
    await refused(chair, "K-S-CONSENT-WITHDRAWN")
    await refused(chair, "K-S-PLAN")
    body = {"version": "3", "method": "on-screen"}
    anew = (await care.call(story.account, "consultation", "POST", f"/cases/{story.case}/consents", body)).ok()["consent"]
    # What was withdrawn in this session stays so for this session, whatever is signed meanwhile.
    await refused(chair, "K-S-CONSENT-WITHDRAWN")
    stopped = (await chair.ask("nurse.b", "consent-withdrawal", key="")).ok()
    assert stopped["state"] == "held"
    await chair.stage.settle()
    said = await chair.rows("select max(at) from entry where kind = 'consent-withdrawn' and by_person = $1", care.id("nurse.b"))
    rows = await care.rows("consultation", "select id::text, withdrawn_at from consent where id = $1", anew)
    assert [tuple(row) for row in rows] == [(anew, said[0][0])], "it is the instant of the chair, not of its arrival"
    assert await care.value("treatment_planning", "select status from plan where id = $1", story.plan) == "held"


async def eligibility(care: Care, story: Story, chair: Chair) -> None:
    """A new answer speaks against ketamine, and whoever decides revokes the approval: nothing starts on it any more."""

    async def ask(login: str, method: str, path: str, body: object = None, **more: Any) -> Any:
        return (await care.call(login, "consultation", method, f"/cases/{story.case}/{path}", body, **more)).ok()

    intake = await ask("psychiatrist.a", "GET", "intake")
    answers = {**intake["answers"], "psychosis_current": True}
    await ask(story.account, "PUT", "intake", {"answers": answers}, version=intake["version"])
    assert (await ask("psychiatrist.a", "POST", "evaluations"))["outcome"] == "INELIGIBLE"
    wanted = {"kind": "revoked", "reason": "Psychotic symptoms since the last visit", "conditions": []}
    draft = await ask("psychiatrist.a", "POST", "decision-drafts", wanted)
    signature = {"meaning": "revoked", "licence": "US-NY", "shown": draft["shown"]}
    await ask("psychiatrist.a", "POST", "decisions", {**wanted, "signature": signature})
    await refused(chair, "K-S-INELIGIBLE")
    await refused(chair, "K-S-ELIGIBILITY")
