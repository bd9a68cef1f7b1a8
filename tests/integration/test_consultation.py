"""The consultation over HTTP: enquiries, who is who, care teams and cases; suicide answers with their task, clock and page."""

import asyncio
import datetime as dt
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.care import Care
from tests.support.consultation import HOME, PERSON, events, post, registered, staffed
from tests.support.load import NO_BROKER
from tests.support.servers import Servers
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio

CANARIES = ("Zoë", "Canary-7351", "zoe.canary@example.org", "+12125557351", "1983-06-09")
ENQUIRY = {
    "name": "Zoë Canary-7351",
    "email": "zoe.canary@example.org",
    "language": "en-US",
    "zone": "America/New_York",
    "therapy": "ketamine",
}
ALL_NO = {"version": "screener", "q1": False, "q2": False, "q6": False}
HIGH = {"version": "screener", "q4": True}
LOW = {"version": "screener", "q1": True, "q2": True, "q3": False, "q4": False, "q5": False, "q6": False}


@pytest_asyncio.fixture
async def clinic(servers: Servers, tmp_path: Path) -> AsyncIterator[Care]:
    async with staffed(servers, tmp_path) as made:
        yield made


async def said(clinic: Care) -> str:
    """Everything that the consultation ever said in public."""
    rows = await clinic.rows("consultation", "select body from outbox")
    return json.dumps([json.loads(row["body"]) for row in rows], ensure_ascii=False)


async def mails(clinic: Care, code: str) -> list[str]:
    """Raw mails of every page with a code, by the pager that got them."""
    pages = await clinic.rows("consultation", "select id from page where code = $1", code)
    return [mail for page in pages for mail in clinic.servers.mail.raw(str(page["id"]))]


async def called(clinic: Care, code: str, *pagers: str) -> None:
    """Wait until exactly these pagers were called, in order."""

    async def all_called() -> bool:
        return len(await mails(clinic, code)) >= len(pagers)

    await eventually(all_called, what=f"{pagers} called")
    found = await mails(clinic, code)
    assert sorted(pager for pager in pagers if any(f"To: {pager}@" in mail for mail in found)) == sorted(pagers), found
    assert len(found) == len(pagers)


# --- enquiries and who is who --------------------------------------------------------------------------------------------


async def test_anybody_may_enquire_is_told_where_help_is_and_says_nothing_of_their_health(clinic: Care) -> None:
    taken = await post(clinic, None, "/enquiries", ENQUIRY, key="enquiry-1")
    assert (taken.status, taken.body["crisis_line"], taken.body["emergency"]) == (201, "988", "911")
    again = await post(clinic, None, "/enquiries", ENQUIRY, key="enquiry-1")
    assert again.body == taken.body
    for wrong, field in (
        ({"message": "I feel low"}, "/message"),
        ({"email": None}, "/email"),
        ({"email": "no address"}, "/email"),
        ({"therapy": "botox"}, "/therapy"),
        ({"zone": "Mars/Base"}, "/zone"),
    ):
        refused = await post(clinic, None, "/enquiries", {**ENQUIRY, **wrong})
        assert refused.status == 422
        assert field in [error["pointer"] for error in refused.body["errors"]], refused.body
    assert await clinic.value("consultation", "select count(*) from enquiry") == 1
    statuses = [(await post(clinic, None, "/enquiries", ENQUIRY)).status for _ in range(6)]
    assert statuses[-1] == 429, "one address asks at most ten times a minute"
    assert (await clinic.call("patient.a", "consultation", "GET", "/enquiries")).status == 403
    listed = (await clinic.call("front_desk.a", "consultation", "GET", "/enquiries?limit=1")).ok()
    assert [one["enquiry"] for one in listed["enquiries"]] == [taken.body["enquiry"]]


async def test_an_enquiry_that_nobody_answers_calls_the_front_desk_after_a_business_day(clinic: Care) -> None:
    waiting = (await post(clinic, None, "/enquiries", ENQUIRY)).ok()["enquiry"]
    answered = (await post(clinic, None, "/enquiries", ENQUIRY)).ok()["enquiry"]
    closed = await post(clinic, "front_desk.a", f"/enquiries/{answered}/closure", {"reason": "unreachable"})
    assert closed.ok()["status"] == "closed"
    again = await post(clinic, "front_desk.a", f"/enquiries/{answered}/closure", {"reason": "spam"})
    assert (again.status, again.code) == (409, "enquiry-closed")
    await clinic.advance(4 * 86_400)
    subject = await clinic.until("consultation", "select subject from page where code = 'consultation.enquiry-waits'")
    assert subject == waiting
    assert await clinic.value("consultation", "select count(*) from page") == 1


async def test_a_second_enquiry_from_a_shared_address_becomes_one_patient_only_when_staff_say_so(clinic: Care) -> None:
    first, second = [(await post(clinic, None, "/enquiries", ENQUIRY)).ok()["enquiry"] for _ in range(2)]
    wanted = {**PERSON, **HOME, "enquiry": first}
    made = await post(clinic, "front_desk.a", "/patients", wanted)
    patient = made.ok()["patient"]
    assert made.headers["Location"] == f"/patients/{patient}"
    # The same address alone says nothing; with the birth date it asks a human.
    sister = {**PERSON, "given_name": "Eva", "birth_date": "1990-01-01", "phone": None}
    assert (await post(clinic, "front_desk.a", "/patients/matches", sister, key="")).ok()["matches"] == []
    (match,) = (await post(clinic, "front_desk.a", "/patients/matches", PERSON, key="")).ok()["matches"]
    assert (match["patient"], match["likeness"]) == (patient, "same")
    reason = {"patient": patient, "reason": "Called back: birth date and phone agree"}
    assert (await post(clinic, "nurse.a", f"/enquiries/{second}/link", reason)).ok()["status"] == "linked"
    assert (await post(clinic, "nurse.a", f"/enquiries/{second}/link", reason)).code == "enquiry-closed"
    assert await clinic.value("consultation", "select count(*) from patient") == 1
    said = await clinic.rows("consultation", "select kind, patient::text, other::text from identity_fact order by at, id")
    assert [tuple(row) for row in said] == [("registered", patient, first), ("linked", patient, second)]
    # A read of a record by matching is a read of that record.
    read = "select count(*) from audit where action = 'patient.matched' and patient = $1"
    assert await clinic.value("consultation", read, patient) == 1


async def test_whoever_may_be_known_has_to_be_ruled_out_by_name(clinic: Care) -> None:
    patient = await registered(clinic)
    twin = {**PERSON, **HOME, "given_name": "Eva"}
    refused = await post(clinic, "front_desk.a", "/patients", twin)
    assert (refused.status, refused.code) == (409, "possible-duplicate")
    made = await post(clinic, "front_desk.a", "/patients", {**twin, "distinct_from": [patient]})
    assert made.status == 201
    assert await clinic.value("consultation", "select count(*) from patient") == 2


async def test_of_two_who_register_one_person_at_once_one_has_to_look(clinic: Care) -> None:
    wanted = {**PERSON, **HOME}
    answers = await asyncio.gather(*(post(clinic, "front_desk.a", "/patients", wanted) for _ in range(6)))
    assert sorted(answer.status for answer in answers) == [201] + [409] * 5
    assert {answer.code for answer in answers if answer.status == 409} == {"possible-duplicate"}
    assert await clinic.value("consultation", "select count(*) from patient") == 1
    assert len(await events(clinic, "patient-changed")) == 1


async def test_names_stay_and_what_others_need_is_told(clinic: Care) -> None:
    patient = await registered(clinic)
    told = await events(clinic, "patient-changed")
    assert told[-1]["account"] == clinic.id("patient.a")
    assert told[-1]["care_team"] == [{"staff": clinic.id("nurse.b"), "role": "nurse"}]
    shown = (await clinic.call("patient.a", "consultation", "GET", f"/patients/{patient}")).ok()
    assert all(canary in json.dumps(shown, ensure_ascii=False) for canary in CANARIES), "or nothing is proven"
    logs = "".join(process.log.read_text() for process in clinic.processes)
    left = await said(clinic) + logs
    assert [canary for canary in CANARIES if canary in left] == []


async def test_who_sees_a_patient(clinic: Care) -> None:
    patient = await registered(clinic)
    path = f"/patients/{patient}"
    seen = {
        login: (await clinic.call(login, "consultation", "GET", path)).status
        for login in ("patient.a", "patient.b", "nurse.b", "psychiatrist.a", "front_desk.a", "auditor.a", "admin.a")
    }
    assert seen == {
        "patient.a": 200,
        "patient.b": 404,
        "nurse.b": 200,
        "psychiatrist.a": 404,
        "front_desk.a": 200,
        "auditor.a": 200,
        "admin.a": 403,
    }
    policies = {
        row["actor"]: row["policy"]
        for row in await clinic.rows("consultation", "select actor, policy from audit where action = 'patient.read'")
    }
    assert policies[clinic.id("nurse.b")] == "Bearer: nurse; care-team"
    assert policies[clinic.id("patient.a")] == "Bearer: patient; own-record"


async def test_a_care_team_is_of_staff_who_work_here_in_roles_they_have(clinic: Care) -> None:
    patient = await registered(clinic)
    for member, code in (
        ({"staff": clinic.id("nurse.a"), "role": "prescriber"}, "role-not-held"),
        ({"staff": clinic.id("patient.b"), "role": "nurse"}, "staff-unknown"),
    ):
        body = {"care_team": [member]}
        refused = await clinic.call("front_desk.a", "consultation", "PUT", f"/patients/{patient}/care-team", body, version=3)
        assert (refused.status, refused.code) == (409, code)
    stale = await clinic.call(
        "front_desk.a", "consultation", "PUT", f"/patients/{patient}/care-team", {"care_team": []}, version=2
    )
    assert stale.status == 412
    assert (await clinic.call("nurse.b", "consultation", "GET", f"/patients/{patient}")).status == 200


async def test_of_two_patients_who_get_one_account_at_once_one_has_it(clinic: Care) -> None:
    first = await registered(clinic)
    second = (await post(clinic, "front_desk.a", "/patients", {**PERSON, **HOME, "distinct_from": [first]})).ok()["patient"]
    (await clinic.call("front_desk.a", "consultation", "PUT", f"/patients/{first}/account", {"account": None}, version=3)).ok()
    body = {"account": clinic.id("patient.b")}
    answers = await asyncio.gather(
        *(
            clinic.call("front_desk.a", "consultation", "PUT", f"/patients/{patient}/account", body, version=version)
            for patient, version in ((first, 4), (second, 1))
        )
    )
    assert sorted(answer.status for answer in answers) == [200, 409]
    assert [answer.code for answer in answers if answer.status == 409] == ["account-taken"]


async def test_merging_is_said_with_both_ids_hides_no_danger_and_can_be_undone(clinic: Care) -> None:
    survivor = await registered(clinic)
    twice = {**PERSON, **HOME, "distinct_from": [survivor]}
    duplicate = (await post(clinic, "front_desk.a", "/patients", twice)).ok()["patient"]
    (await post(clinic, "nurse.b", f"/patients/{survivor}/suicide-screens", ALL_NO)).ok()
    (await post(clinic, "nurse.a", f"/patients/{duplicate}/suicide-screens", HIGH)).ok()
    away = {"status": "inactive", "reason": "Moved to another state"}
    assert (await post(clinic, "front_desk.a", f"/patients/{duplicate}/status", away)).ok()["status"] == "inactive"

    async def risk() -> tuple[str, list[str], int]:
        shown = (await clinic.call("nurse.b", "consultation", "GET", f"/patients/{survivor}/risk")).ok()
        return shown["level"], [one["level"] for one in shown["tasks"]], len(shown["assessments"])

    why = {"duplicate": duplicate, "reason": "Registered twice on the phone"}
    assert (await post(clinic, "nurse.b", f"/patients/{survivor}/merges", why)).status == 403
    gone = (await post(clinic, "front_desk.a", f"/patients/{survivor}/merges", why)).ok()
    assert (gone["patient"], gone["status"], gone["merged_into"]) == (duplicate, "merged", survivor)
    again = await post(clinic, "front_desk.a", f"/patients/{survivor}/merges", why)
    assert (again.status, again.code) == (409, "not-mergeable")
    edit = await clinic.call(
        "front_desk.a", "consultation", "PUT", f"/patients/{duplicate}", {**PERSON, **HOME}, version=gone["version"]
    )
    assert (edit.status, edit.code) == (409, "record-not-in-use")
    fact = "select merged_into::text from patient_fact where patient = $1"
    assert await clinic.value("consultation", fact, duplicate) == survivor
    assert await risk() == ("HIGH", ["HIGH"], 2)
    died = {"status": "deceased", "reason": "Her sister called"}
    assert (await post(clinic, "front_desk.a", f"/patients/{duplicate}/status", died)).code == "record-not-in-use"

    path = f"/patients/{survivor}/merges/{duplicate}/undoing"
    back = (await post(clinic, "front_desk.a", path, {"reason": "Mother and daughter"})).ok()
    assert (back["status"], back["merged_into"]) == ("inactive", None), "it is again what it was"
    assert await risk() == ("NONE", [], 1)
    assert (await post(clinic, "front_desk.a", path, {"reason": "Mother and daughter"})).code == "not-merged"
    error = await post(clinic, "front_desk.a", f"/patients/{duplicate}/entered-in-error", {"reason": "A training"})
    assert error.ok()["status"] == "entered-in-error"
    said = await clinic.rows("consultation", "select kind, patient::text, other::text from identity_fact order by at, id")
    assert [tuple(row) for row in said][2:] == [
        ("inactive", duplicate, None),
        ("merged", survivor, duplicate),
        ("unmerged", survivor, duplicate),
        ("entered-in-error", duplicate, None),
    ]
    assert await events(clinic, "patients-merged") == [{"survivor": survivor, "duplicate": duplicate}]
    assert await events(clinic, "patients-unmerged") == [{"survivor": survivor, "duplicate": duplicate}]


async def test_one_open_case_of_a_programme(clinic: Care) -> None:
    patient = await registered(clinic)
    path = f"/patients/{patient}/cases"
    answers = await asyncio.gather(*(post(clinic, "nurse.b", path, {"therapy": "ketamine"}) for _ in range(6)))
    assert sorted(answer.status for answer in answers) == [201] + [409] * 5
    case = next(answer.body for answer in answers if answer.status == 201)
    refused = await post(clinic, "nurse.b", path, {"therapy": "ketamine"})
    assert (refused.status, refused.code) == (409, "case-open")
    assert (await post(clinic, "nurse.a", path, {"therapy": "semaglutide"})).status == 404, "not on the care team"
    (await post(clinic, "front_desk.a", path, {"therapy": "semaglutide"})).ok()
    listed = (await clinic.call("patient.a", "consultation", "GET", path)).ok()["cases"]
    assert [one["therapy"] for one in listed] == ["semaglutide", "ketamine"]
    assert (await events(clinic, "case-opened"))[0] == {"case": case["case"], "patient": patient, "therapy": "ketamine"}


# --- suicide answers -----------------------------------------------------------------------------------------------------


async def test_a_high_has_its_task_clock_and_page_without_kafka_and_is_closed_by_a_human_only(clinic: Care) -> None:
    patient = await registered(clinic)
    await clinic.running["consultation"].kill()
    await clinic.spawn("consultation", **NO_BROKER)
    path = f"/patients/{patient}/suicide-screens"
    answer = (await post(clinic, "patient.a", path, HIGH)).ok()
    assert (answer["level"], answer["help"]) == ("HIGH", "988")
    await called(clinic, "screening.risk-high", "pager-prescriber")
    for mail in await mails(clinic, "screening.risk-high"):
        assert patient not in mail
        assert "suicide" not in mail.lower()
    await clinic.advance(60)
    await called(clinic, "screening.risk-high", "pager-prescriber", "pager-nurse")
    await clinic.advance(240)
    await called(clinic, "screening.risk-high", "pager-prescriber", "pager-nurse", "pager-clinic")

    # Better answers later change the level that holds, and not what a human has to do.
    (await post(clinic, "patient.a", path, ALL_NO)).ok()
    assert (await post(clinic, "patient.b", path, HIGH)).status == 404
    listed = (await clinic.call("psychiatrist.a", "consultation", "GET", "/tasks")).ok()["tasks"]
    (task,) = [one for one in listed if one["level"] == "HIGH"]
    # Who is on duty may see whom it is about, care team or not; who is neither may not.
    assert (await clinic.call("psychiatrist.a", "consultation", "GET", f"/patients/{patient}/risk")).status == 404
    risk = (await clinic.call("prescriber.a", "consultation", "GET", f"/patients/{patient}/risk")).ok()
    assert (risk["level"], [one["level"] for one in risk["tasks"]]) == ("NONE", ["HIGH"])
    (await post(clinic, "prescriber.a", f"/tasks/{task['task']}/acknowledgement", None)).ok()
    assert (
        await clinic.value(
            "consultation", "select count(*) from page where status = 'open' and code = $1", "screening.risk-high"
        )
        == 0
    )
    note = {"note": "Called; safety plan made, sister is with her"}
    nurse = await post(clinic, "nurse.b", f"/tasks/{task['task']}/completion", note)
    assert (nurse.status, nurse.code) == (403, "not-of-your-role"), "a high is closed by a prescriber"
    done = (await post(clinic, "prescriber.a", f"/tasks/{task['task']}/completion", note)).ok()
    assert (done["status"], done["assignee"]) == ("done", clinic.id("prescriber.a"))
    assert (await post(clinic, "prescriber.a", f"/tasks/{task['task']}/completion", note)).code == "task-closed"
    told = [(one["level"], one.get("task")) for one in await events(clinic, "risk-flagged")]
    assert told == [("HIGH", task["task"]), ("NONE", None)]
    (closed,) = await events(clinic, "task-closed")
    assert (closed["outcome"], closed["by"]) == ("done", clinic.id("prescriber.a"))
    assert "sister" not in await said(clinic)


async def test_a_positive_item_opens_the_screen_whose_level_sets_the_clock(clinic: Care) -> None:
    patient = await registered(clinic)
    answers = {"instrument": "phq9", "answers": [3, 3, 3, 3, 2, 2, 2, 2, 1]}
    told = (await post(clinic, "patient.a", f"/patients/{patient}/assessments", answers)).ok()
    assert (told["total"], told["severity"], told["screen_now"], told["help"]) == (21, "severe", True, "988")
    (screen,) = await clinic.rows("consultation", "select kind, role, due_at - opened_at as within from task")
    assert tuple(screen) == ("risk-screen", "nurse", dt.timedelta(minutes=10))

    level = (await post(clinic, "patient.a", f"/patients/{patient}/suicide-screens", LOW)).ok()
    assert level["level"] == "LOW"
    tasks = await clinic.rows(
        "consultation", "select kind, level, status, due_at - opened_at as within from task order by opened_at"
    )
    assert [tuple(row) for row in tasks] == [
        ("risk-screen", "INCOMPLETE", "void", dt.timedelta(minutes=10)),
        ("risk-review", "LOW", "open", dt.timedelta(hours=72)),
    ]
    await clinic.advance(600)
    assert [one["level"] for one in await events(clinic, "risk-flagged")] == ["LOW"]
    scored = await events(clinic, "instrument-scored")
    assert [(one["instrument"], one["total"], one["suicide_item"]) for one in scored] == [("PHQ-9", 21, 1)]
    # Nobody calls in three days: the next human is called.
    await clinic.advance(72 * 3600)
    await called(clinic, "screening.task-overdue", "pager-nurse")


async def test_a_screen_that_nobody_completes_in_ten_minutes_is_incomplete_and_pages(clinic: Care) -> None:
    patient = await registered(clinic)
    answers = {"instrument": "phq9", "answers": [0, 0, 0, 0, 0, 0, 0, 0, 2]}
    (await post(clinic, "patient.a", f"/patients/{patient}/assessments", answers)).ok()
    await clinic.advance(590)
    assert await clinic.value("consultation", "select count(*) from page") == 0
    await clinic.advance(10)
    await called(clinic, "screening.risk-incomplete", "pager-prescriber")
    (flagged,) = await events(clinic, "risk-flagged")
    assert (flagged["level"], flagged["proven"]) == ("INCOMPLETE", "NONE")
    screen = await clinic.value("consultation", "select id::text from task where kind = 'risk-screen'")
    refused = await post(clinic, "nurse.b", f"/tasks/{screen}/completion", {"note": "done"})
    assert (refused.status, refused.code) == (409, "screen-not-completed")
    # The answers come: both tasks fall away, and nobody is called any more.
    (await post(clinic, "nurse.b", f"/patients/{patient}/suicide-screens", ALL_NO)).ok()
    assert await clinic.value("consultation", "select count(*) from task where status = 'open'") == 0
    assert await clinic.value("consultation", "select count(*) from page where status = 'open'") == 0
    await clinic.advance(600)
    await called(clinic, "screening.risk-incomplete", "pager-prescriber")


async def test_what_is_missing_never_refuses_a_suicide_answer(clinic: Care) -> None:
    patient = await registered(clinic)
    missing = {"instrument": "phq9", "answers": [1, None, None, None, None, None, None, None, None]}
    told = (await post(clinic, "patient.a", f"/patients/{patient}/assessments", missing)).ok()
    assert (told["total"], told["level"], told["help"]) == (None, "INCOMPLETE", "988")
    await called(clinic, "screening.risk-incomplete", "pager-prescriber")
    # One yes is enough for HIGH, and a clock that is ahead is no reason either.
    ahead = {**HIGH, "answered_at": "2199-01-01T00:00:00Z"}
    assert (await post(clinic, "nurse.b", f"/patients/{patient}/suicide-screens", ahead)).ok()["level"] == "HIGH"
    kept = "select answered_at <= clinic_now() and answers ? 'answered_at_said' from assessment where level = 'HIGH'"
    assert await clinic.value("consultation", kept)


async def test_what_is_no_answer_is_named_item_by_item_and_changes_nothing(clinic: Care) -> None:
    patient = await registered(clinic)
    path = f"/patients/{patient}/assessments"
    wrong = {"instrument": "phq9", "answers": [0, 4, 0, 0, 5, 0, 0, 0, 0]}
    refused = await post(clinic, "patient.a", path, wrong)
    assert (refused.status, refused.code) == (422, "answers-malformed")
    assert [error["pointer"] for error in refused.body["errors"]] == ["/answers/1", "/answers/4"]
    short = await post(clinic, "patient.a", path, {"instrument": "gad7", "answers": [0, 0, 0]})
    assert [error["code"] for error in short.body["errors"]] == ["item-count"]
    coerced = await post(clinic, "patient.a", path, {"instrument": "phq9", "answers": ["3"] * 9})
    assert len(coerced.body["errors"]) == 9
    rated = await post(clinic, "patient.a", path, {"instrument": "madrs", "answers": [0] * 10})
    assert (rated.status, rated.code) == (403, "clinician-rates")
    text = await post(clinic, "patient.a", f"/patients/{patient}/suicide-screens", {**LOW, "q3": "yes"})
    assert [error["pointer"] for error in text.body["errors"]] == ["/q3"]
    for table in ("assessment", "task", "risk", "page"):
        assert await clinic.value("consultation", f"select count(*) from {table}") == 0, table
    (await post(clinic, "nurse.b", path, {"instrument": "madrs", "answers": [4, 4, 3, 4, 3, 4, 5, 4, 3, 2]})).ok()
    (row,) = await clinic.rows("consultation", "select total, severity, rater from assessment")
    assert tuple(row) == (36, "severe", clinic.id("nurse.b"))


async def test_names_are_told_to_whoever_may_know_them_and_written_down_once(clinic: Care) -> None:
    treated = await registered(clinic)
    somebody = {"family_name": "Canary-7352", "email": "other@example.org", "phone": "+12125557352"}
    other = (await post(clinic, "front_desk.a", "/patients", {**PERSON, **HOME, **somebody})).ok()["patient"]
    unknown = "018f0000-0000-7000-8000-00000000ffff"

    async def names(login: str) -> list[str]:
        answer = await post(clinic, login, "/patients/names", {"patients": [treated, other, unknown]}, key="")
        return [one["family_name"] for one in answer.ok()["names"]]

    both = ["Canary-7351", "Canary-7352"]
    assert sorted(await names("nurse.a")) == sorted(await names("front_desk.a")) == both, "on duty; clinic-wide"
    assert await names("therapist.a") == []
    shown = (await post(clinic, "nurse.a", "/patients/names", {"patients": [treated]}, key="")).ok()["names"]
    assert shown == [{"patient": treated, "given_name": "Zoë", "family_name": "Canary-7351", "birth_date": "1983-06-09"}]
    rows = await clinic.rows("consultation", "select actor, reason from audit where action = 'patients.names' order by id")
    assert len(rows) == 4, "one for each request"
    assert set(rows[0]["reason"].removeprefix(" -> ").split(",")) == {treated, other}
    assert rows[2]["reason"] == "", "who was shown nothing"

    glass = {"patient": other, "reason": "Unconscious in the waiting room", "minutes": 5}
    (await post(clinic, "psychiatrist.a", "/break-glass", glass)).ok()
    assert await names("psychiatrist.a") == ["Canary-7352"]
    assert (await post(clinic, "patient.a", "/patients/names", {"patients": [treated]}, key="")).status == 403
    bodies: list[dict[str, list[str]]] = [{"patients": []}, {"patients": [unknown] * 201}, {"patients": ["Zoë"]}]
    for body in bodies:
        assert (await post(clinic, "nurse.a", "/patients/names", body, key="")).code == "invalid-body"
