"""A case over HTTP: history, findings, examination, education, consent, the rules' proposal, and a decision that is signed."""

import datetime as dt
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from services.therapies.ketamine.eligibility import QUESTIONS
from tests.support.care import Answer, Care
from tests.support.consultation import events, post, registered, staffed
from tests.support.servers import Servers
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio

REASON = "canary-7351: hypertension controlled; amlodipine on session mornings"
TOPICS = ("misconceptions", "addiction", "recreational use", "side effects", "off-label status", "what to expect")
TRIALS = [
    {"drug": "sertraline", "dose": "150 mg/d", "start": "2025-08-04", "end": "2025-10-13", "outcome": "none"},
    {"drug": "venlafaxine", "dose": "150 mg/d", "start": "2025-10-20", "end": "2026-04-06", "outcome": "partial"},
    {"drug": "mirtazapine", "dose": "15 mg/d", "start": "2026-04-20", "end": "2026-05-11", "outcome": "intolerant"},
    {"drug": "bupropion", "dose": "300 mg/d", "start": "2026-06-01", "outcome": "none"},
]
INTAKE: dict[str, Any] = {
    **dict.fromkeys(QUESTIONS, False),
    "capacity_confirmed": True,
    "hypertension_treated": True,
    "sex_at_birth": "female",
    "pregnancy_potential": True,
    "primary_diagnosis": "F33.2",
    "trials": [{**trial, "adherence": "95 %"} for trial in TRIALS],
    "episode_start": "2025-07-14",
    "severity": "severe",
    "augmentations": ["aripiprazole"],
    "ect": False,
    "allergies": [],
    "medications": ["amlodipine", "bupropion"],
    "child_pugh": "none",
    "cardiovascular_event": False,
}
MEASURED = {
    "weight": "82.0 kg",
    "height": "168.0 cm",
    "sbp": "128 mm[Hg]",
    "dbp": "78 mm[Hg]",
    "heart_rate": "74 /min",
    "resp_rate": "14 /min",
    "spo2": "98 %",
    "temperature": "36.7 Cel",
}
TESTS = {
    **dict.fromkeys(("ecg", "renal", "liver", "blood_count", "metabolic_panel", "tsh"), "normal"),
    "hcg": "negative",
    "drug_screen": "negative",
}
APPROVED = {"kind": "approved", "reason": REASON, "conditions": ["K-E-HYPERTENSION"]}


@pytest_asyncio.fixture
async def clinic(servers: Servers, tmp_path: Path) -> AsyncIterator[Care]:
    async with staffed(servers, tmp_path) as made:
        yield made


async def opened(clinic: Care) -> tuple[str, str]:
    """A patient treated by nurse.b, psychiatrist.a and prescriber.a, and their ketamine case."""
    patient = await registered(clinic)
    team = [("nurse.b", "nurse"), ("psychiatrist.a", "prescriber"), ("prescriber.a", "prescriber")]
    body = {"care_team": [{"staff": clinic.id(login), "role": role} for login, role in team]}
    (await clinic.call("front_desk.a", "consultation", "PUT", f"/patients/{patient}/care-team", body, version=3)).ok()
    case = (await post(clinic, "nurse.b", f"/patients/{patient}/cases", {"therapy": "ketamine"})).ok()["case"]
    return patient, f"/cases/{case}"


async def now(clinic: Care) -> dt.datetime:
    found: dt.datetime = await clinic.value("", "select clinic_now()")
    return found


def quantity(text: str) -> dict[str, str]:
    value, unit = text.split(" ")
    return {"value": value, "unit": unit}


async def everything_known(clinic: Care, patient: str, case: str, *, hcg: str = "negative", version: int = 0) -> None:
    """Intake, questionnaires, tests and the examination of the demo patient."""
    (await clinic.call("patient.a", "consultation", "PUT", f"{case}/intake", {"answers": INTAKE}, version=version)).ok()
    for instrument, answers in (("audit_c", [1, 0, 0]), ("dast10", [0, 0, 1] + [0] * 7), ("stop_bang", [1, 1] + [0] * 6)):
        body = {"instrument": instrument, "answers": answers}
        (await post(clinic, "nurse.b", f"/patients/{patient}/assessments", body)).ok()
    screen = {"version": "screener", "q1": True, "q2": True, "q3": False, "q4": False, "q5": False, "q6": False}
    (await post(clinic, "nurse.b", f"/patients/{patient}/suicide-screens", screen)).ok()
    at = (await now(clinic) - dt.timedelta(minutes=5)).isoformat()
    for test, found in {**TESTS, "hcg": hcg}.items():
        (await post(clinic, "nurse.b", f"{case}/results", {"test": test, "finding": found, "taken_at": at})).ok()
    (await post(clinic, "nurse.b", f"{case}/pdmp-checks", {"finding": "clear", "checked_at": at})).ok()
    seen = {"examined_at": at, **{name: quantity(text) for name, text in MEASURED.items()}}
    (await post(clinic, "psychiatrist.a", f"{case}/examinations", seen)).ok()


async def consented(clinic: Care, case: str) -> str:
    for topic in TOPICS:
        (await post(clinic, "patient.a", f"{case}/readings", {"topic": topic, "content": "2026-11"})).ok()
    given = await post(clinic, "patient.a", f"{case}/consents", {"version": "3", "method": "on-screen"})
    return str(given.ok()["consent"])


async def asked(clinic: Care, case: str) -> dict[str, Any]:
    found: dict[str, Any] = (await post(clinic, "psychiatrist.a", f"{case}/evaluations", None)).ok()
    return found


async def draft(clinic: Care, case: str, wanted: dict[str, Any], login: str = "psychiatrist.a") -> Answer:
    return await post(clinic, login, f"{case}/decision-drafts", wanted, key="")


async def sign(clinic: Care, case: str, wanted: dict[str, Any], shown: str, licence: str = "US-NY", **more: Any) -> Answer:
    signature = {"meaning": wanted["kind"], "licence": licence, "shown": shown}
    return await post(clinic, "psychiatrist.a", f"{case}/decisions", {**wanted, "signature": signature}, **more)


async def test_the_demo_patient_is_incomplete_twice_then_for_review_and_a_human_decides(clinic: Care) -> None:
    patient, case = await opened(clinic)
    without = {name: value for name, value in INTAKE.items() if name != "allergies"}
    (await clinic.call("patient.a", "consultation", "PUT", f"{case}/intake", {"answers": without}, version=0)).ok()
    first = await asked(clinic, case)
    assert first["outcome"] == "INCOMPLETE"
    assert "allergies" in first["missing"]
    changed = await clinic.call("patient.a", "consultation", "PUT", f"{case}/intake", {"answers": INTAKE}, version=1)
    assert changed.headers["ETag"] == '"2"'
    second = await asked(clinic, case)
    assert second["outcome"] == "INCOMPLETE"
    assert "allergies" not in second["missing"]
    assert {"ecg", "hcg", "weight", "cssrs"} <= set(second["missing"])
    kept = await clinic.rows("consultation", "select number, answers ? 'allergies' as said from intake_version order by number")
    assert [tuple(row) for row in kept] == [(1, False), (2, True)]

    await everything_known(clinic, patient, case, version=2)
    found = await asked(clinic, case)
    assert (found["outcome"], found["rules"], found["missing"]) == ("REVIEW_REQUIRED", ["K-E-HYPERTENSION"], [])
    assert found["approver"] == "NOT APPROVED"
    result = found["evidence"]["result"]
    assert (result["treatment_resistant"], result["bmi"], result["maudsley"]["total"]) == (True, "29.05", 9)
    again = (await clinic.call("nurse.b", "consultation", "GET", f"{case}/evaluation")).ok()
    assert again == found

    # Nobody is treated without consent, and nobody consents without having read.
    assert (await draft(clinic, case, APPROVED)).code == "no-consent"
    early = await post(clinic, "patient.a", f"{case}/consents", {"version": "3", "method": "on-screen"})
    assert (early.status, early.code) == (409, "education-not-read")
    for login, method in (("front_desk.a", "on-screen"), ("nurse.b", "on-screen"), ("patient.a", "on-paper")):
        for_them = await post(clinic, login, f"{case}/consents", {"version": "3", "method": method})
        assert (for_them.status, for_them.code) == (403, "not-your-way-to-consent")
    await consented(clinic, case)
    assert (await draft(clinic, case, {**APPROVED, "reason": ""})).code == "reason-required"
    assert (await draft(clinic, case, {**APPROVED, "conditions": ["K-E-AGE"]})).code == "condition-unknown"
    shown = (await draft(clinic, case, APPROVED)).ok()
    assert shown["content"]["proposed"] == "REVIEW_REQUIRED"
    assert await clinic.value("consultation", "select count(*) from decision") == 0, "a draft decides nothing"

    assert (await sign(clinic, case, {**APPROVED, "reason": "another"}, shown["shown"])).code == "not-what-was-shown"
    assert (await sign(clinic, case, APPROVED, shown["shown"], licence="US-NJ")).code == "wrong-licence"
    old = clinic.bearer("psychiatrist.a", auth_time=int(dt.datetime.now(dt.UTC).timestamp()) - 600)
    stale = await sign(clinic, case, APPROVED, shown["shown"], headers={**old, "Idempotency-Key": "stale-0001"})
    assert stale.code == "sign-in-again"
    assert await clinic.value("consultation", "select count(*) from signature") == 0
    (await sign(clinic, case, APPROVED, shown["shown"])).ok()
    (told,) = await events(clinic, "decision-signed")
    today = await clinic.value("", "select (clinic_now() at time zone 'America/New_York')::date")
    assert (told["kind"], told["proposed"], told["conditions"]) == ("approved", "REVIEW_REQUIRED", ["K-E-HYPERTENSION"])
    assert told["valid_until"] == (today + dt.timedelta(days=30)).isoformat()
    assert (told["weight"], told["sex"], told["consent"]) == ({"value": "82.0", "unit": "kg"}, "female", "3")
    assert (told["by"], told["signed_hash"]) == (clinic.id("psychiatrist.a"), shown["shown"])
    outbox = await clinic.rows("consultation", "select body from outbox")
    assert not [row for row in outbox if "canary-7351" in str(row["body"])], "the reason stays"
    (decided,) = (await clinic.call("nurse.b", "consultation", "GET", f"{case}/decisions")).ok()["decisions"]
    assert decided["content"] == shown["content"]
    seen = [one["outcome"] for one in await events(clinic, "eligibility-proposed")]
    assert seen == ["INCOMPLETE", "INCOMPLETE", "REVIEW_REQUIRED"]


async def test_what_was_recorded_since_makes_a_proposal_stale_and_ineligible_is_never_approved(clinic: Care) -> None:
    patient, case = await opened(clinic)
    await everything_known(clinic, patient, case, hcg="positive")
    await consented(clinic, case)
    assert (await draft(clinic, case, APPROVED)).code == "evaluation-stale", "nobody has asked the rules"
    assert (await asked(clinic, case))["outcome"] == "INELIGIBLE"
    assert (await draft(clinic, case, {**APPROVED, "conditions": []})).code == "not-approvable"
    at = (await now(clinic) - dt.timedelta(minutes=1)).isoformat()
    (await post(clinic, "nurse.b", f"{case}/results", {"test": "hcg", "finding": "negative", "taken_at": at})).ok()
    assert (await draft(clinic, case, APPROVED)).code == "evaluation-stale"
    assert (await asked(clinic, case))["outcome"] == "REVIEW_REQUIRED"
    (await draft(clinic, case, APPROVED)).ok()
    # On another day the same facts may say something else.
    await clinic.advance(86_400)
    assert (await draft(clinic, case, APPROVED)).code == "evaluation-stale"


async def test_only_a_prescriber_with_everything_a_decision_needs_decides(clinic: Care) -> None:
    patient, case = await opened(clinic)
    await everything_known(clinic, patient, case)
    await consented(clinic, case)
    await asked(clinic, case)
    refused = await draft(clinic, case, APPROVED, "prescriber.a")
    assert (refused.status, refused.code) == (403, "not-qualified"), "no DEA registration"
    assert (await draft(clinic, case, APPROVED, "nurse.b")).status == 403
    assert (await draft(clinic, case, APPROVED, "patient.a")).status == 403
    # What is not proposed needs a reason, whichever way.
    assert (await draft(clinic, case, {"kind": "revoked", "reason": "why"})).code == "nothing-to-revoke"
    wanted = {"kind": "refused"}
    shown = (await draft(clinic, case, wanted)).ok()
    signed = {**wanted, "reason": "", "conditions": []}
    answers = [await sign(clinic, case, signed, shown["shown"], key="one-key-01") for _ in range(2)]
    assert [answer.status for answer in answers] == [201, 201]
    assert answers[0].body == answers[1].body
    assert await clinic.value("consultation", "select count(*) from decision") == 1


async def test_consent_is_withdrawn_at_any_time_and_an_approval_revoked(clinic: Care) -> None:
    patient, case = await opened(clinic)
    await everything_known(clinic, patient, case)
    consent = await consented(clinic, case)
    assert (
        await post(clinic, "patient.a", f"{case}/consents", {"version": "3", "method": "on-screen"})
    ).code == "consent-holds"
    old = await post(clinic, "patient.a", f"{case}/consents", {"version": "2", "method": "on-screen"})
    assert (old.status, old.code) == (409, "consent-text-not-in-force")
    await asked(clinic, case)
    shown = (await draft(clinic, case, APPROVED)).ok()
    (await sign(clinic, case, APPROVED, shown["shown"])).ok()
    path = f"/consents/{consent}/withdrawal"
    assert (await post(clinic, "patient.b", path, None)).status == 404
    (await post(clinic, "patient.a", path, None)).ok()
    assert (await post(clinic, "patient.a", path, None)).code == "consent-withdrawn"
    (told,) = await events(clinic, "consent-withdrawn")
    assert told["consent"] == consent
    assert (await draft(clinic, case, APPROVED)).code == "no-consent"
    revoked = {"kind": "revoked", "reason": "consent withdrawn", "conditions": []}
    shown = (await draft(clinic, case, revoked)).ok()
    (await sign(clinic, case, revoked, shown["shown"])).ok()
    assert [one["kind"] for one in await events(clinic, "decision-signed")] == ["approved", "revoked"]


async def test_every_bad_field_of_an_intake_is_named_and_changes_nothing(clinic: Care) -> None:
    _, case = await opened(clinic)
    wrong = {
        "allergies": "none",
        "psychosis_current": "no",
        "favourite_colour": "blue",
        "weight": {"value": "82 kg", "at": "2026-01-01T00:00:00Z"},
        "trials": [{"drug": "sertraline", "dose": "150", "start": "2025-08-04"}],
        "episode_start": "July",
    }
    refused = await clinic.call("patient.a", "consultation", "PUT", f"{case}/intake", {"answers": wrong}, version=0)
    assert (refused.status, refused.code) == (422, "intake-malformed")
    named = {(error["pointer"], error["code"]) for error in refused.body["errors"]}
    assert named == {
        ("/answers/allergies", "invalid"),
        ("/answers/psychosis_current", "invalid"),
        ("/answers/favourite_colour", "unknown-field"),
        ("/answers/weight", "not-of-the-intake"),
        ("/answers/trials/0/dose", "invalid"),
        ("/answers/episode_start", "invalid"),
    }
    assert (await clinic.call("patient.a", "consultation", "PUT", f"{case}/intake", {"answers": INTAKE})).status == 428
    assert (await clinic.call("patient.b", "consultation", "GET", f"{case}/intake")).status == 404
    assert await clinic.value("consultation", "select count(*) from intake_version") == 0


async def test_a_record_is_opened_in_an_emergency_and_everything_done_under_it_says_so(clinic: Care) -> None:
    patient, case = await opened(clinic)
    assert (await clinic.call("nurse.a", "consultation", "GET", f"/patients/{patient}/cases")).status == 404
    why = {"patient": patient, "reason": "canary-7351: unconscious in the waiting room", "minutes": 5}
    assert (await post(clinic, "front_desk.a", "/break-glass", why)).status == 403
    grant = (await post(clinic, "nurse.a", "/break-glass", why)).ok()["grant"]
    (await clinic.call("nurse.a", "consultation", "GET", f"/patients/{patient}/cases")).ok()
    (await clinic.call("nurse.a", "consultation", "GET", f"{case}/decisions")).ok()
    assert (await clinic.call("nurse.a", "consultation", "GET", f"/patients/{clinic.id('patient.b')}/cases")).status == 404
    rows = await clinic.rows(
        "consultation", "select policy from audit where actor = $1 and policy like '%broken-glass%'", clinic.id("nurse.a")
    )
    assert len(rows) == 2
    assert all(grant in row["policy"] for row in rows)
    page = await clinic.value("consultation", "select id from page where code = 'edge.glass-broken'")

    async def told() -> bool:
        return bool(clinic.servers.mail.raw(str(page)))

    await eventually(told, what="whoever leads the clinic is told")
    assert not [mail for mail in clinic.servers.mail.raw(str(page)) if "canary-7351" in mail]


async def test_findings_fit_their_test_have_units_and_have_happened(clinic: Care) -> None:
    _, case = await opened(clinic)
    at = (await now(clinic) - dt.timedelta(minutes=1)).isoformat()
    wrong = await post(clinic, "nurse.b", f"{case}/results", {"test": "hcg", "finding": "normal", "taken_at": at})
    assert [error["pointer"] for error in wrong.body["errors"]] == ["/finding"]
    later = (await now(clinic) + dt.timedelta(days=1)).isoformat()
    future = await post(clinic, "nurse.b", f"{case}/results", {"test": "hcg", "finding": "negative", "taken_at": later})
    assert (future.status, future.code) == (422, "in-the-future")
    for body, pointer in (
        ({"weight": {"value": "82.0", "unit": "[lb_av]"}}, "/weight/unit"),
        ({"weight": {"value": "82.0"}}, "/weight/unit"),
        ({"sbp": {"value": "128", "unit": "mm[Hg]"}}, "/dbp"),
        ({"spo2": {"value": 98, "unit": "%"}}, "/spo2/value"),
    ):
        refused = await post(clinic, "psychiatrist.a", f"{case}/examinations", {"examined_at": at, **body})
        assert refused.status == 422
        assert pointer in [error["pointer"] for error in refused.body["errors"]], refused.body
    assert (await post(clinic, "nurse.b", f"{case}/examinations", {"examined_at": at})).status == 403, "a prescriber examines"
    unknown = await post(clinic, "patient.a", f"{case}/readings", {"topic": "the weather", "content": "1"})
    assert (unknown.status, unknown.code) == (422, "topic-unknown")
    for table in ("result", "examination", "topic_read"):
        assert await clinic.value("consultation", f"select count(*) from {table}") == 0, table
