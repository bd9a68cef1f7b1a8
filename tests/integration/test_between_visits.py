"""Follow-up over HTTP and over events: links, checks, mail that is lost on the way, and who may see what."""

import datetime as dt
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio

from services.cli.demo.story import Story
from tests.support.attacks import attack
from tests.support.care import Answer, Care
from tests.support.consultation import corrected
from tests.support.servers import Servers
from tests.support.stage import Turns, planned
from tests.support.waiting import eventually

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(300)]

BIRTH = {"birth_date": "1983-06-09"}


@pytest_asyncio.fixture
async def scene(servers: Servers, tmp_path: Path) -> AsyncIterator[tuple[Care, Story]]:
    async with planned(servers, tmp_path) as made:
        yield made


async def ask(care: Care, login: str | None, method: str, path: str, body: object = None, **more: Any) -> Answer:
    return await care.call(login, "follow_up", method, path, body, **more)


async def link(care: Care, story: Story) -> dict[str, str]:
    """A link is asked for, and comes by mail."""
    known = len(care.servers.mail.raw(story.person["email"]))
    (await ask(care, "nurse.a", "POST", f"/patients/{story.patient}/links")).ok()

    async def mailed() -> Any:
        return len(care.servers.mail.raw(story.person["email"])) > known

    await eventually(mailed, what="the link is mailed")
    await story.stage.settle()
    text = [mail for mail in await story.stage.mails() if story.person["email"] in mail["to"]][-1]["text"]
    for word in ("ketamine", "depression", "infusion", "PHQ"):
        assert word.lower() not in text.lower()
    assert "988" in text
    return {"Authorization": f"Link {text.split('#', 1)[1].split()[0]}"}


async def test_a_link_opens_for_the_right_birth_date_five_times_tried_and_once_answered(scene: tuple[Care, Story]) -> None:
    care, story = scene
    holder = await link(care, story)
    assert (await ask(care, None, "POST", "/link/opening", BIRTH, headers={"Authorization": "Link nothing"})).status == 401
    opened = (await ask(care, None, "POST", "/link/opening", BIRTH, headers=holder)).ok()
    assert opened["instruments"] == ["phq9", "gad7"]
    answers = {**BIRTH, "instrument": "phq9", "answers": [1, 1, 0, 0, 0, 0, 0, 0, 1]}
    malformed = await ask(care, None, "POST", "/link/answers", {**answers, "answers": [9] * 9}, headers=holder)
    assert malformed.status == 422
    answered = (await ask(care, None, "POST", "/link/answers", answers, headers=holder)).ok()
    assert (answered["total"], answered["screen_now"], answered["help"]) == (3, True, "988")
    again = await ask(care, None, "POST", "/link/answers", answers, headers=holder)
    assert (again.status, again.body) == (201, answered), "who did not hear it sends the same again"
    assert await care.value("follow_up", "select count(*) from assessment where instrument = 'phq9'") == 1
    others = await ask(care, None, "POST", "/link/answers", {**answers, "answers": [0] * 9}, headers=holder)
    assert (others.status, others.code) == (409, "not-asked")
    # The other questionnaire does not use the link up while the screen is owed; whoever opens it again is asked for it.
    gad = {**BIRTH, "instrument": "gad7", "answers": [0] * 7}
    assert (await ask(care, None, "POST", "/link/answers", gad, headers=holder)).ok()["screen_now"] is True
    left = (await ask(care, None, "POST", "/link/opening", BIRTH, headers=holder)).ok()
    assert (left["instruments"], left["screen_now"]) == ([], True)
    # The suicide item opened the screen; the same link takes it, and HIGH pages from here.
    high = {**BIRTH, "q1": True, "q2": True, "q4": True}
    screened = (await ask(care, None, "POST", "/link/suicide-screen", high, headers=holder)).ok()
    assert screened["level"] == "HIGH"
    assert await care.value("follow_up", "select count(*) from page where code = 'screening.risk-high'") == 1
    # Used up now: it opens nothing, but what it has sent may be sent again.
    assert (await ask(care, None, "POST", "/link/opening", BIRTH, headers=holder)).status == 401
    assert (await ask(care, None, "POST", "/link/answers", gad, headers=holder)).ok()["screen_now"] is False
    assert (await ask(care, None, "POST", "/link/suicide-screen", high, headers=holder)).ok()["level"] == "HIGH"
    await story.stage.settle()
    assert await care.value("session_logging", "select level from risk_fact where owner = 'follow_up'") == "HIGH"

    other = await link(care, story)
    for _ in range(5):
        wrong = await ask(care, None, "POST", "/link/opening", {"birth_date": "1983-09-06"}, headers=other)
        assert (wrong.status, wrong.code) == (403, "birth-date-wrong")
    dead = await ask(care, None, "POST", "/link/opening", BIRTH, headers=other)
    assert dead.status == 401, "five tries end a link, whoever holds it"
    # It was the clinic that was wrong: the desk hears of it, asks, and corrects its book; the link holds for who is right.
    await corrected(care, story.patient, birth_date="1983-09-06")
    await story.stage.settle()
    work = await care.rows("follow_up", "select kind, role from care_task where status = 'open'")
    assert [tuple(row) for row in work] == [("birth-date-check", "front_desk")]
    right = {"birth_date": "1983-09-06"}
    book = {"email": story.person["email"], "email_agreed": True, **right}
    path = f"/patients/{story.patient}/contact"
    (await ask(care, "front_desk.a", "PUT", path, {**book, **BIRTH}, version=1)).ok()
    assert (await ask(care, None, "POST", "/link/opening", right, headers=other)).status == 401, "the same date as before"
    (await ask(care, "front_desk.a", "PUT", path, book, version=2)).ok()
    assert (await ask(care, None, "POST", "/link/opening", right, headers=other)).ok()["instruments"] == ["phq9", "gad7"]
    assert (await ask(care, None, "POST", "/link/opening", BIRTH, headers=other)).code == "birth-date-wrong"
    tables = await care.rows("follow_up", "select * from link")
    assert not [row for row in tables if holder["Authorization"].split()[1].encode() in bytes(row["token_hash"])]
    assert b"1983" not in b"".join(bytes(row["birth_hash"]) for row in await care.rows("follow_up", "select * from contact"))


async def test_a_form_opens_only_with_somebody_on_duty_and_what_it_was_answered_is_taken_all_the_same(
    scene: tuple[Care, Story],
) -> None:
    care, story = scene
    holder = await link(care, story)
    (await ask(care, None, "POST", "/link/opening", BIRTH, headers=holder)).ok()
    now = await care.value("", "select clinic_now()")
    query = f"start={quote(now.isoformat())}&end={quote((now + dt.timedelta(minutes=1)).isoformat())}"
    for shift in (await care.call("nurse.a", "clinic", "GET", f"/roster?{query}")).ok()["shifts"]:
        if shift["role"] in ("nurse", "prescriber"):
            body = {name: shift[name] for name in ("role", "staff", "pager", "starts_at", "ends_at")} | {"active": False}
            (await care.call("admin.a", "clinic", "PUT", f"/shifts/{shift['shift']}", body, version=shift["version"])).ok()
    await story.stage.settle()
    closed = await ask(care, None, "POST", "/link/opening", BIRTH, headers=holder)
    assert (closed.status, closed.code) == (409, "nobody-on-duty")
    answers = {**BIRTH, "instrument": "phq9", "answers": [1, 1, 0, 0, 0, 0, 0, 0, 3]}
    assert (await ask(care, None, "POST", "/link/answers", answers, headers=holder)).ok()["screen_now"] is True
    high = {**BIRTH, "q1": True, "q2": True, "q4": True}
    assert (await ask(care, None, "POST", "/link/suicide-screen", high, headers=holder)).ok()["level"] == "HIGH"
    assert await care.value("follow_up", "select count(*) from page where code = 'screening.risk-high'") == 1


async def test_a_message_that_may_have_gone_out_is_not_sent_again(scene: tuple[Care, Story]) -> None:
    care, story = scene
    before = len(care.servers.mail.raw(story.person["email"]))
    settled = "select count(*) from outbox where type like '%reminder-settled%'"
    told = await care.value("follow_up", settled)
    await care.running["follow_up"].kill()
    await care.spawn("follow_up", TELEMED_FAILPOINTS="call.after_call=kill@1", TELEMED_MESSAGING_LEASE_S="2")
    doomed = care.running["follow_up"]
    # The first reminder of the first session comes due: it is sent, and the process dies before it is written down.
    due = await care.value("follow_up", "select min(due_at) from reminder where status = 'planned'")
    await care.advance((due - await care.value("", "select clinic_now()")).total_seconds() + 1)
    await doomed.ended()
    assert "call.after_call" in doomed.failpoint_log.read_text(), "the fault bit"
    await care.spawn("follow_up", TELEMED_MESSAGING_LEASE_S="2")
    await care.until("follow_up", "select count(*) = 1 from reminder where status = 'uncertain'")
    await care.until("follow_up", "select count(*) = 1 from care_task where kind = 'message-uncertain'")
    story.stage.urls = Turns(care.urls())
    await story.stage.settle()
    assert len(care.servers.mail.raw(story.person["email"])) == before + 1, "raw deliveries: it went out once"
    assert await care.value("follow_up", settled) == told + 1

    # Where the patient reads the clock now, quiet hours put the same message later than it went out: it stays the one.
    async def planned_again(rung: str) -> bool:
        await corrected(care, story.patient, zone="America/Los_Angeles")
        await story.stage.settle()
        query = "select about::text, rung from reminder where status = 'planned' and zone = 'America/Los_Angeles'"
        found = {tuple(row) for row in await care.rows("follow_up", query)}
        assert found, "or the others were not looked at"
        return (story.sessions[0]["session"], rung) in found

    assert not await planned_again("72h")
    await corrected(care, story.patient, zone="America/New_York")
    await story.stage.until(story.at(12, "10:31"))
    sent = "select count(*) from reminder where about = $1 and rung = '24h' and status = 'sent'"
    assert await care.value("follow_up", sent, story.sessions[0]["session"]) == 1
    assert not await planned_again("24h")


@attack(83)
async def test_who_sees_what_a_check_needs_its_screen_and_who_has_died_is_left_in_peace(scene: tuple[Care, Story]) -> None:
    care, story = scene
    path = f"/patients/{story.patient}"
    for login, what, status in (
        ("patient.a", "/contact", 200),
        ("patient.b", "/contact", 404),
        ("therapist.a", "/outcomes", 404),
        ("front_desk.a", "/outcomes", 403),
        ("auditor.a", "/journey", 200),
        ("patient.a", "/journey", 403),
        ("nurse.a", "/journey?limit=3", 200),
    ):
        answer = await ask(care, login, "GET", path + what)
        assert answer.status == status, (login, what)
    first = await ask(care, "nurse.a", "GET", f"{path}/journey?limit=3")
    assert len(first.body["steps"]) == 3
    link_to = first.headers["Link"].split(";")[0].strip("<>")
    rest = (await ask(care, "nurse.a", "GET", link_to)).ok()["steps"]
    assert {one["event"] for one in rest}.isdisjoint({one["event"] for one in first.body["steps"]})
    text = str((await ask(care, "auditor.a", "GET", f"{path}/journey?limit=200")).ok())
    assert story.person["family_name"] not in text

    bad = {"email": "nobody", "email_agreed": True, "birth_date": "1983-06-09"}
    refused = await ask(care, "front_desk.a", "PUT", f"{path}/contact", bad, version=1)
    assert [error["pointer"] for error in refused.body["errors"]] == ["/email"]

    # A patient's messages go to the address of the contact book: nobody else changes it, and no request brings its own.
    kept = await care.rows("follow_up", "select patient, email, version from contact")
    elsewhere = "z.other.patient@example.org"
    theirs = {**bad, "email": elsewhere}
    for login, method, what, body, status in (
        ("patient.b", "PUT", "/contact", theirs, 404),
        ("patient.b", "POST", "/links", None, 403),
        ("nurse.a", "POST", "/links", {"email": elsewhere}, 400),
    ):
        answer = await ask(care, login, method, path + what, body, **({"version": 1} if method == "PUT" else {}))
        assert answer.status == status, (login, what, answer.body)
    assert await care.rows("follow_up", "select patient, email, version from contact") == kept
    assert care.servers.mail.raw(elsewhere) == []

    # A task for somebody; who is not of its role does not close it, and a check is not done without its suicide screen.
    async with care.owner("follow_up") as connection:
        await connection.execute(
            """insert into care_task (id, patient, kind, role, opened_at, due_at, status, version)
               values ('018f0000-0000-7000-8000-00000000dd01', $1, 'check-24h', 'nurse', clinic_now(), $2, 'open', 1)""",
            story.patient,
            dt.datetime(2027, 2, 1, tzinfo=dt.UTC),
        )
    done = "/care-tasks/018f0000-0000-7000-8000-00000000dd01/completion"
    assert (await ask(care, "front_desk.a", "POST", done, {"note": "called"})).code == "not-of-your-role"
    assert (await ask(care, "nurse.a", "POST", done, {"note": "called"})).code == "not-screened"
    none = {"version": "since-last", **dict.fromkeys(("q1", "q2", "q3", "q4", "q5", "q6"), False)}
    (await ask(care, "nurse.a", "POST", f"{path}/suicide-screens", none)).ok()
    assert (await ask(care, "nurse.a", "POST", done, {"note": "called"})).ok()["status"] == "done"
    assert (await ask(care, "nurse.a", "POST", done, {"note": "called"})).code == "task-closed"
    await who_has_died(care, story)


async def who_has_died(care: Care, story: Story) -> None:
    """Nothing is asked of them or planned for them in any service; a prescriber reviews the event."""
    holder = await link(care, story)
    path = f"/patients/{story.patient}"
    now = await care.value("", "select clinic_now()")
    wanted = {"clinician": care.id("psychiatrist.a"), "starts": (now + dt.timedelta(days=2)).isoformat(), "by_video": False}
    (await care.call("front_desk.a", "video_visits", "POST", f"{path}/visits", {**wanted, "case": story.case})).ok()
    await story.stage.settle()
    planned_messages = "select count(*) from reminder where status = 'planned'"
    assert await care.value("follow_up", planned_messages) > 18

    async def said(login: str, **body: object) -> Answer:
        answer = await care.call(login, "consultation", "POST", f"{path}/status", body)
        await story.stage.settle()
        return answer

    yesterday = (now - dt.timedelta(days=1)).isoformat()
    died = {"status": "deceased", "since": yesterday, "reason": "The hospital called: canary-5521"}
    assert (await said("patient.a", **died)).status == 403
    assert (await said("therapist.a", **died)).status == 404
    later = await said("nurse.a", **died | {"since": (now + dt.timedelta(days=1)).isoformat()})
    assert (later.status, later.code) == (422, "in-the-future")
    assert (await said("nurse.a", status="active", reason="She is well")).code == "status-unchanged"
    assert (await said("nurse.a", **died)).ok()["status"] == "deceased"

    assert await care.value("follow_up", planned_messages) == 0
    timers = "select count(*) from timer where kind = 'follow_up.message' and status = 'waiting'"
    assert await care.value("follow_up", timers) == 0
    assert await care.value("treatment_planning", "select status || reason from plan") == "stoppeddeceased"
    endings = await care.rows("session_logging", "select state, ending, count(*) from session group by 1, 2")
    assert [tuple(row) for row in endings] == [("closed", "cancelled", 6)]
    states = "select count(*) from visit where state = 'scheduled'"
    assert await care.value("video_visits", states) == 0
    assert await care.value("video_visits", "select count(*) from visit where reason = 'patient-deceased'") == 1
    assert (await ask(care, None, "POST", "/link/opening", BIRTH, headers=holder)).status == 401
    mails = len(care.servers.mail.raw(story.person["email"]))
    assert (await ask(care, "nurse.a", "POST", f"{path}/links")).code == "patient-not-active"
    said_of = "select kind, by_person, reason, since = $1 from identity_fact where kind = 'deceased'"
    kept = await care.rows("consultation", said_of, now - dt.timedelta(days=1))
    assert [tuple(row) for row in kept] == [("deceased", care.id("nurse.a"), died["reason"], True)]

    # A serious event review is open, once, however often the record is edited; nobody else may close it.
    await corrected(care, story.patient, zone="America/Chicago")
    await story.stage.settle()
    work = await care.rows("follow_up", "select id::text, kind, role, status from care_task where kind <> 'check-24h'")
    assert [tuple(row)[1:] for row in work] == [("serious-event-review", "prescriber", "open")]
    review = f"/care-tasks/{work[0]['id']}/completion"
    assert (await ask(care, "nurse.a", "POST", review, {"note": "Seen"})).code == "not-of-your-role"
    (await ask(care, "psychiatrist.a", "POST", review, {"note": "Reviewed with the team; reported"})).ok()
    for schema in ("consultation", "follow_up", "treatment_planning", "video_visits"):
        assert await care.value(schema, "select count(*) from outbox where position('canary-5521'::bytea in body) > 0") == 0, (
            "the reason stays"
        )

    # It was another patient: the record is in use again, and nothing comes back that nobody has planned anew.
    assert (await said("nurse.a", status="active", reason="Mistaken for another patient")).ok()["status"] == "active"
    assert await care.value("follow_up", planned_messages) == 0
    assert len(care.servers.mail.raw(story.person["email"])) == mails
    assert await care.value("treatment_planning", "select status from plan") == "stopped"
