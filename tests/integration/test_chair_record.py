"""The record of a session: what was entered wrongly, what comes late, who signs it, and what may be written after that."""

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from tests.support.care import Answer
from tests.support.chair import CALM, Chair, ml, quantity
from tests.support.room import room
from tests.support.servers import Servers

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(300)]


async def newest(chair: Chair, kind: str = "vitals") -> str:
    """The entry of a kind that was recorded last."""
    query = "select id from entry where session = $1 and kind = $2 order by recorded_at desc, id desc limit 1"
    return str((await chair.rows(query, chair.id, kind))[0][0])


def pressure(sbp: int) -> dict[str, Any]:
    return {**CALM.body(), "sbp": quantity(str(sbp), "mm[Hg]")}


async def draft(chair: Chair) -> dict[str, Any]:
    answer = await chair.care.call("prescriber.a", "session_logging", "GET", f"{chair.path}/record-draft")
    return dict(answer.ok())


async def test_a_wrong_entry_stays_and_counts_no_longer(servers: Servers, tmp_path: Path) -> None:
    async with room(servers, tmp_path, patients=4, sessions=1) as (chair, other, again_on, heavy):
        await chair.start()
        (await chair.ask("nurse.a", "vitals", pressure(130))).ok()
        # Typed into the wrong chart: RED here; the alert stays until a human resolves it, and the next RED is no repetition.
        (await chair.ask("nurse.a", "vitals", pressure(185))).ok()
        wrong = await newest(chair)
        assert (await chair.ask("nurse.a", f"/entries/{wrong}/correction", {"reason": "x"})).code == "invalid-body"
        body = {"reason": "canary-5561: of the patient in chair 2"}
        assert (await chair.ask("therapist.a", f"/entries/{wrong}/correction", body)).status == 403
        (await chair.ask("nurse.a", f"/entries/{wrong}/correction", body)).ok()
        assert (await chair.ask("nurse.a", f"/entries/{wrong}/correction", body)).code == "entered-in-error"
        assert await chair.rows("select tier, family, status from alert") == [("RED", "sbp_high", "open")]
        red = (await chair.rows("select id from alert"))[0][0]
        (await chair.ask("prescriber.a", f"/alerts/{red}/resolution", {"action": "rechecked"})).ok()
        (await chair.ask("nurse.a", "vitals", pressure(181))).ok()
        tiers = await chair.rows("select tier from alert where status = 'open'")
        assert tiers == [("RED",)], "the reading before it was another patient's"

        # Corrected: what was right counts at the time of the wrong one, and raises what it has to.
        (await chair.ask("nurse.a", "vitals", {"spo2": quantity("98", "%")})).ok()
        typo = await newest(chair)
        low = {"reason": "88, not 98", "values": {"spo2": quantity("88", "%")}}
        (await chair.ask("nurse.a", f"/entries/{typo}/correction", low)).ok()
        then = "select tier, at = (select at from entry where id = $1) from alert where family = 'spo2_low'"
        stop = await chair.rows(then, typo)
        assert stop == [("STOP", True)]
        right = await newest(chair)
        impossible = {"reason": "not possible", "values": {"spo2": quantity("101", "%")}}
        assert (await chair.ask("nurse.a", f"/entries/{right}/correction", impossible)).status == 422
        # What was done was done.
        begun = await newest(chair, "start")
        assert (await chair.ask("nurse.a", f"/entries/{begun}/correction", body)).code == "not-correctable"
        # The record shows all of it, the wrong ones too; on the bus there is no word of why.
        entries = {one["entry"]: one for one in (await chair.record())["entries"]}
        assert wrong in entries
        assert entries[right]["data"]["corrects"] == typo
        assert [one["data"]["reason"] for one in entries.values() if one["kind"] == "entered-in-error"] == [
            "canary-5561: of the patient in chair 2",
            "88, not 98",
        ]
        await chair.stage.settle()
        assert not [row for row in await chair.rows("select body from outbox") if b"canary-5561" in bytes(row[0])]

        # A gate that was fed by it would not have opened: a review, and the old decision stays as it was (decision B10).
        await other.start()
        await other.tend(1)
        first = "select id from entry where session = $1 and kind = 'vitals' order by at limit 1"
        fed = (await other.rows(first, other.id))[0][0]
        reviews = "select cause from review where session = $1"
        same = {"reason": "The same again", "values": {**CALM.body(cadss6=[0] * 6)}}
        (await other.ask("nurse.a", f"/entries/{fed}/correction", same)).ok()
        assert await other.rows(reviews, other.id) == [], "it would still have opened"
        again = await newest(other)
        held = {"reason": "145, not 128", "values": {**pressure(145), "cadss6": [0] * 6}}
        (await other.ask("nurse.a", f"/entries/{again}/correction", held)).ok()
        assert await other.rows(reviews, other.id) == [("correction",)]
        kept = await other.rows("select outcome from gate_evaluation where session = $1 and gate = 'start'", other.id)
        assert kept == [("OPEN",)]
        (await other.ask("nurse.a", "end", {"pump_volume": ml("10.0")})).ok()
        await the_gate_of_a_resume_and_the_dose(again_on, heavy)


async def the_gate_of_a_resume_and_the_dose(chair: Chair, heavy: Chair) -> None:
    """Each gate that an entry has fed is asked again: that of a resume, and the dose of the day."""
    reviews = "select cause from review where session = $1"
    await chair.start()
    (await chair.ask("nurse.a", "pause", {"reason": "other"})).ok()
    (await chair.ask("prescriber.a", "decisions", {"about": "resume", "start": True, "reason": "Seen at the bedside"})).ok()
    (await chair.ask("nurse.a", "vitals", pressure(150))).ok()
    (await chair.ask("nurse.a", "resume", {"rate": quantity("150.0", "mL/h"), "patient_agrees": True})).ok()
    fed = await newest(chair)
    (await chair.ask("nurse.a", f"/entries/{fed}/correction", {"reason": "159, not 150", "values": pressure(159)})).ok()
    assert await chair.rows(reviews, chair.id) == [], "the pump would have gone on all the same"
    fed = await newest(chair)
    (await chair.ask("nurse.a", f"/entries/{fed}/correction", {"reason": "162, not 159", "values": pressure(162)})).ok()
    assert await chair.rows(reviews, chair.id) == [("correction",)]

    # 77 kg are more than 5 % from the 82 kg of the intake: the dose rests on the second measurement.
    await heavy.arrive()
    (await heavy.ask("nurse.a", "facts", {"weight": quantity("77.0", "kg"), "hcg": "negative"})).ok()
    (await heavy.ask("nurse.a", "facts", {"weight_remeasured": True})).ok()
    measured = await newest(heavy, "facts")
    stock = {"strength": quantity("50", "mg/mL"), "bag": ml("100.00")}
    assert (await heavy.ask("nurse.a", "dose", stock)).ok()["dose"]["mass"] == "38.50 mg"
    (await heavy.ask("nurse.a", "facts", {"gait_steady": True})).ok()
    unrelated = {"reason": "Of another patient"}
    (await heavy.ask("nurse.a", f"/entries/{await newest(heavy, 'facts')}/correction", unrelated)).ok()
    assert await heavy.rows(reviews, heavy.id) == []
    (await heavy.ask("nurse.a", f"/entries/{measured}/correction", unrelated)).ok()
    assert await heavy.rows(reviews, heavy.id) == [("correction",)]


_RECORD_TASK = """select convert_from(body, 'UTF8')::jsonb #>> '{data,due_at}' from outbox
                  where type like '%task-opened%' and convert_from(body, 'UTF8') like '%monitoring-record%'"""


async def test_the_record_is_signed_when_it_is_complete_and_then_only_added_to(servers: Servers, tmp_path: Path) -> None:
    async with room(servers, tmp_path, sessions=1) as (chair,):
        await chair.start()
        await chair.tend(3)
        # What is left in the bag is written down as thrown away before anybody has read the pump, and nobody has seen it.
        left = (await chair.ask("nurse.a", "wastes", {"volume": ml("0.82")})).ok()["waste"]
        missing = set((await draft(chair))["missing"])
        assert missing == {"session-open", "waste-unwitnessed", "drug-unaccounted", "cadss6", "pump-volume"}
        # The record is owed from the start on: who is never closed has a clock, too.
        opened = await chair.rows(_RECORD_TASK)
        assert [dt.datetime.fromisoformat(due) for (due,) in opened] == [chair.planned + dt.timedelta(days=7)]
        await chair.end("100.0")
        await chair.recover()
        (await chair.ask("nurse.a", "facts", {"concomitant": ["sedative"]})).ok()
        (await chair.discharge()).ok()
        # All of it was given: what nobody has seen thrown away was not, and a ledger that is closed and balances stays so.
        refused = await chair.ask("nurse.b", f"/wastes/{left}/witness")
        assert (refused.status, refused.code) == (409, "illegal-move")
        assert await chair.rows("select status from page where code = 'session.drug-unaccounted'") == []
        assert set((await draft(chair))["missing"]) == {"waste-unwitnessed"}
        (await chair.ask("nurse.a", f"/wastes/{left}/error", {"reason": "The bag was empty"})).ok()
        assert (await draft(chair))["missing"] == []
        assert chair.started is not None
        ended = dt.datetime.fromisoformat((await chair.shown())["ended_at"])

        def at(minutes: float) -> str:
            assert chair.started is not None
            return (chair.started + dt.timedelta(minutes=minutes)).astimezone(dt.UTC).isoformat()

        # Late, after the session: what was RED then is the prescriber's now; what was after it is no entry (decision A13).
        sheet = {"source": "paper", "at": at(2), "heart_rate": quantity("131", "/min")}
        (await chair.ask("nurse.a", "vitals", sheet)).ok()
        late = await chair.rows("select tier, family, late from alert")
        assert late == [("RED", "heart_rate_high", True)]
        pages = await chair.rows("select code from page where code like 'session.%'")
        assert pages == [("session.late-danger",)], "nobody is called to a chair that is empty"
        now = (await chair.stage.now()).astimezone(dt.UTC)
        assert now > ended
        await chair.wait(minutes=1)
        beyond = {"heart_rate": quantity("70", "/min"), "at": (now + dt.timedelta(seconds=30)).isoformat()}
        refused = await chair.ask("nurse.a", "vitals", beyond)
        assert (refused.status, refused.code) == (422, "after-session")
        assert (await chair.ask("nurse.a", "vitals", CALM.body())).code == "illegal-move", "now is after the session"
        refused = await chair.ask("nurse.a", "paper-batches", {"rows": [{"kind": "vitals", **beyond}]})
        assert refused.body["errors"] == [{"pointer": "/rows/0/at", "code": "after-session"}]

        shown = await draft(chair)
        assert set(shown["missing"]) == {"alert-open", "paper-unchecked"}
        signature = {"meaning": "authored", "licence": "US-NY", "shown": shown["shown"]}
        refused = await chair.ask("prescriber.a", "record-signature", {"signature": signature})
        assert (refused.status, refused.code) == (409, "record-incomplete")
        assert {one["pointer"] for one in refused.body["errors"]} == {"/record/alert-open", "/record/paper-unchecked"}
        red = (await chair.rows("select id from alert"))[0][0]
        (await chair.ask("prescriber.a", f"/alerts/{red}/resolution", {"action": "prescriber-informed"})).ok()
        assert (await chair.ask("nurse.a", "paper-checks")).code == "self-checked"
        (await chair.ask("nurse.b", "paper-checks")).ok()

        # Seven days: tracked from the close, called when nobody has signed, and ended by the signature.
        assert await chair.rows(_RECORD_TASK) == opened, "closed when it may be: its day stays"
        due = dt.datetime.fromisoformat(opened[0][0])
        called = "select status from page where code = 'session.record-due'"
        await chair.until(due - dt.timedelta(minutes=1))
        assert await chair.rows(called) == []
        await chair.until(due + dt.timedelta(minutes=1))
        assert await chair.rows(called) == [("open",)]
        refused = await chair.ask("nurse.a", "record-signature", {"signature": signature})
        assert refused.status == 403, "a prescriber signs"
        stale = await chair.ask("prescriber.a", "record-signature", {"signature": signature})
        assert stale.code == "not-what-was-shown"
        shown = await draft(chair)
        assert shown["missing"] == []
        assert (await chair.ask("nurse.a", "addenda", {"text": "Too early"})).code == "record-open"
        signed = await chair.ask("prescriber.a", "record-signature", {"signature": {**signature, "shown": shown["shown"]}})
        assert signed.ok()["locked_at"] is not None
        assert await chair.rows(called) == [("acknowledged",)]
        assert await chair.rows("select count(*) from outbox where type like '%task-closed%'") != [(0,)]

        # Locked: nothing in it changes any more, an addendum is added.
        wrong = await newest(chair)
        for what, body in (
            ("vitals", sheet),
            (f"/entries/{wrong}/correction", {"reason": "Too late for that"}),
            ("paper-checks", None),
            ("paper-batches", {"rows": [{**sheet, "kind": "vitals"}]}),
            ("rescue-drugs", {"group": "other", "drug": "x", "dose": quantity("1", "mg"), "route": "oral", "at": at(2)}),
            ("pump-volume-corrections", {"pump_volume": ml("99.0"), "reason": "Too late for that"}),
            ("record-signature", {"signature": {**signature, "shown": shown["shown"]}}),
            ("wastes", {"volume": ml("0.01")}),
            (f"/wastes/{left}/witness", None),
        ):
            answer = await chair.ask("prescriber.a", what, body)
            assert (answer.status, answer.code) == (409, "record-locked"), what
        # What becomes known after that is recorded all the same, as an addendum: it calls, and waits for a prescriber.
        for (review,) in await chair.rows("select id::text from review where decision is null"):
            (await chair.ask("prescriber.a", f"/reviews/{review}/decision", {"decision": "continue"})).ok()
        fell = {"term": "fall", "grade": 3, "relatedness": "possible", "action": "none", "onset_at": at(150)}
        event = (await chair.ask("nurse.a", "adverse-events", fell)).ok()
        assert await chair.rows("select cause from review where decision is null") == [("adverse-event",)]
        assert await chair.rows("select count(*) from page where code = 'session.adverse-event'") == [(1,)]
        over = {"resolved_at": at(600)}
        (await chair.ask("nurse.a", f"/adverse-events/{event['adverse_event']}/resolution", over)).ok()
        added = [one["data"] for one in (await chair.record())["entries"] if one["kind"] == "addendum"]
        assert [(one["adverse_event"], one.get("grade"), one.get("outcome")) for one in added] == [
            (event["adverse_event"], 3, None),
            (event["adverse_event"], None, "resolved"),
        ]
        (await chair.ask("nurse.a", "addenda", {"text": "The patient <b>called</b>: slept well"})).ok()
        record = await chair.record()
        assert record["entries"][-1]["kind"] == "addendum"
        assert [one["subject"] for one in record["signatures"]] == ["discharge", "record"]
        assert (record["summary"]["before"], record["summary"]["leaving"]) == ("128/78 mm[Hg]", "128/78 mm[Hg]")
        assert record["summary"]["monitored_minutes"] >= 120
        assert [record["summary"][name] for name in ("first", "at_40", "breathing", "concomitant", "ready_at")] == [
            True,
            "128/78 mm[Hg]",
            False,
            ["sedative"],
            None,
        ]
        assert [record["summary"][f"acceptable_{when}"] for when in ("before", "leaving")] == [True, True]

        # On paper: the same, for whoever may read it, and read like any record.
        async def printed(login: str | None) -> Answer:
            return await chair.care.call(login, "session_logging", "GET", f"{chair.path}/monitoring-record/page")

        assert [(await printed(login)).status for login in (None, "front_desk.a", "therapist.a")] == [401, 403, 404]
        page = await printed("nurse.a")
        assert page.headers["Content-Type"] == "text/html; charset=utf-8"
        assert page.headers["Cache-Control"] == "no-store"
        assert page.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'sha256-")
        for said in (
            "Signed by",
            "RED late",
            "heart_rate_high",
            "DIFFERS",
            "K-",
            "entered after the signature",
            "&lt;b&gt;called&lt;/b&gt;",
            "NOT APPROVED",
            "<svg",
        ):
            assert said in page.body, said
        assert "<script" not in page.body
        reads = "select patient from audit where action = 'session.record-page'"
        assert await chair.rows(reads) == [(chair.patient,)]
