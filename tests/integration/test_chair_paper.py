"""Drugs beside the infusion, and what was kept on paper while the system was down: it comes back as one batch (decision B1)."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.chair import CALM, Chair, ml, quantity
from tests.support.room import room
from tests.support.servers import Servers

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(300)]

ONDANSETRON = {"group": "antiemetic", "drug": "ondansetron", "dose": quantity("4", "mg"), "route": "intravenous"}


def at(chair: Chair, minute: float) -> str:
    """A minute of the infusion."""
    assert chair.started is not None
    return (chair.started + dt.timedelta(minutes=minute)).astimezone(dt.UTC).isoformat()


def vitals(chair: Chair, minute: float, **values: int) -> dict[str, Any]:
    """A set of the sheet: calm, but for some pressures."""
    pressures = {name: quantity(str(value), "mm[Hg]") for name, value in values.items()}
    return {"kind": "vitals", "at": at(chair, minute), **CALM.body(), **pressures}


async def told(chair: Chair, kind: str) -> list[dict[str, Any]]:
    rows = await chair.rows(
        "select convert_from(body, 'UTF8')::jsonb -> 'data' from outbox where type like $1 and source like $2 order by id",
        f"%.{kind}.v1",
        f"%{chair.id}",
    )
    return [json.loads(row[0]) for row in rows]


async def missing(chair: Chair) -> set[str]:
    return set((await chair.record())["missing"])


async def test_paper_and_rescue_drugs(servers: Servers, tmp_path: Path) -> None:
    async with room(servers, tmp_path, patients=2, sessions=1) as (chair, other):
        nurse, doctor = chair.care.id("nurse.b"), chair.care.id("prescriber.a")
        await chair.start()
        await chair.minute(11)
        await chair.stage.settle()
        sheet: list[Any] = [
            vitals(chair, 2),
            {"kind": "rate", "at": at(chair, 3), "rate": quantity("60.0", "mL/h")},
            vitals(chair, 4, sbp=185),
            {"kind": "pause", "at": at(chair, 5), "reason": "alert", "done_by": nurse},
            {"kind": "rescue-drug", "at": at(chair, 6), **ONDANSETRON, "ordered_by": doctor, "given_by": nurse},
            {"kind": "resume", "at": at(chair, 8), "rate": quantity("120.0", "mL/h"), "ordered_by": doctor, "done_by": nurse},
            vitals(chair, 5.5, dbp=100),
            # What is wrong is named for itself, and keeps nothing else from being known.
            vitals(chair, 2),
            {"kind": "pause", "at": at(chair, 6), "reason": "other"},
            {"kind": "vitals", "at": at(chair, 7), "spo2": quantity("101", "%")},
            {"kind": "vitals", "at": at(chair, 7), "sbp": quantity("18", "kPa"), "moaa_s": 6},
            {"kind": "vitals", "at": at(chair, 7)},
            {"kind": "rate", "at": at(chair, 12), "rate": quantity("60.0", "mL/h")},
            {"kind": "rate", "at": at(chair, -60), "rate": quantity("60.0", "mL/h")},
            {"kind": "rescue-drug", "at": at(chair, 6), **ONDANSETRON, "dose": quantity("4", "mL/h"), "ordered_by": nurse},
            {"kind": "rescue-drug", "at": at(chair, 6), **ONDANSETRON, "ordered_by": nurse},
            {"kind": "end", "at": at(chair, 10), "pump_volume": ml("100.1")},
            {"kind": "start", "at": at(chair, 10)},
            "nothing",
        ]
        assert (await chair.ask("therapist.a", "paper-batches", {"rows": sheet})).status == 403
        assert (await chair.ask("nurse.a", "paper-batches", {"rows": []})).code == "invalid-body"
        before = await chair.rows("select count(*) from entry")
        worst = await chair.ask("nurse.a", "paper-batches", {"rows": sheet[9:]})
        assert (worst.status, worst.code) == (422, "nothing-taken")
        assert {"pointer": "/rows/1/sbp/unit", "code": "wrong-unit"} in worst.body["errors"]
        assert await chair.rows("select count(*) from entry") == before

        answer = (await chair.ask("nurse.a", "paper-batches", {"rows": sheet})).ok()
        found = [(one["status"], [(error["pointer"], error["code"]) for error in one["errors"]]) for one in answer["rows"]]
        assert found == [
            *[("accepted", [])] * 7,
            ("duplicate", []),
            ("refused", [("/kind", "illegal-move")]),
            ("refused", [("/spo2", "impossible")]),
            ("refused", [("/sbp/unit", "wrong-unit"), ("/moaa_s", "out-of-range")]),
            ("refused", [("", "nothing-measured")]),
            ("refused", [("/at", "in-the-future")]),
            ("refused", [("/at", "before-check-in")]),
            ("refused", [("/dose/unit", "wrong-unit")]),
            ("refused", [("/ordered_by", "not-a-prescriber")]),
            ("refused", [("/pump_volume", "more-than-the-bag")]),
            ("refused", [("/kind", "not-allowed")]),
            ("refused", [("", "not-an-object")]),
        ]
        # The session stands where the sheet has left it, and went there when it did.
        assert (answer["session"]["state"], answer["session"]["rate"]) == ("infusing", "120.0 mL/h")
        moves = [(one["to_state"], dt.datetime.fromisoformat(one["at"])) for one in (await chair.record())["moves"][-2:]]
        assert moves == [(to, dt.datetime.fromisoformat(at(chair, minute))) for to, minute in (("paused", 5), ("infusing", 8))]
        # 3 min at 150 mL/h, 2 at 60, none, 3 at 120.
        ran = (await chair.record())["totals"]["by_rate"]
        assert 15.4 <= float(ran.split()[0]) <= 16.5
        # RED is raised and called for with its true time; nobody is called for what was AMBER long ago.
        alerts = await chair.rows(
            "select family, tier, late, at, id::text from alert where family like '%bp_high' order by family"
        )
        assert [one[:4] for one in alerts] == [
            ("dbp_high", "AMBER", True, dt.datetime.fromisoformat(at(chair, 5.5))),
            ("sbp_high", "RED", True, dt.datetime.fromisoformat(at(chair, 4))),
        ]
        pages = "select code from page where subject = $1 order by code"
        assert await chair.rows(pages, alerts[1][4]) == [("session.alert-red",), ("session.alert-red-prescriber",)]
        due = await chair.rows("select count(*) from timer where subject = $1", alerts[0][4])
        assert due == [(0,)]
        assert await chair.rows("select cause from review where session = $1", chair.id) == [("alert-red",)]
        # Others hear of it, in true time and by whom; no word of the sheet but codes and numbers.
        paper = [one for one in await told(chair, "vitals-summarised") if one["origin"] == "paper"]
        assert [dt.datetime.fromisoformat(one["from_at"]) for one in paper] == [
            dt.datetime.fromisoformat(at(chair, minute)) for minute in (2, 4, 5.5)
        ]
        assert [one["by"] for one in await told(chair, "infusion-resumed")] == [nurse]
        given = (await told(chair, "rescue-drug-given"))[0]
        assert (given["drug"], given["dose"], given["ordered_by"], given["given_by"]) == (
            "ondansetron",
            {"value": "4", "unit": "mg"},
            doctor,
            nurse,
        )
        # The same sheet again, by another call, changes nothing.
        entries, events = await chair.rows("select count(*) from entry"), await chair.rows("select count(*) from outbox")
        again = (await chair.ask("nurse.a", "paper-batches", {"rows": sheet[:7]})).ok()
        assert {one["status"] for one in again["rows"]} == {"duplicate"}
        assert await chair.rows("select count(*) from entry") == entries
        assert await chair.rows("select count(*) from outbox") == events

        # It was typed by one and is compared with the sheet by another: acts and drugs, too.
        assert "paper-unchecked" in await missing(chair)
        assert (await chair.ask("nurse.a", "paper-checks")).code == "self-checked"
        (await chair.ask("nurse.b", "paper-checks")).ok()
        assert "paper-unchecked" not in await missing(chair)
        await chair.minute(13)
        end = {"kind": "end", "at": at(chair, 12), "pump_volume": ml("17.5")}
        ended = (await chair.ask("nurse.a", "paper-batches", {"rows": [end]})).ok()["session"]
        assert (ended["state"], ended["pump_volume"], ended["rate"]) == ("recovery", "17.5 mL", None)
        assert dt.datetime.fromisoformat(ended["ended_at"]) == dt.datetime.fromisoformat(at(chair, 12))
        assert (await chair.record())["totals"]["pump"] == "agrees"
        assert [one["reason"] for one in await told(chair, "infusion-ended")] == ["stopped"]
        assert "paper-unchecked" in await missing(chair)
        # Who has made the pump run by the sheet does not witness what is thrown away.
        rest = (await chair.ask("prescriber.a", "wastes", {"volume": ml("0.68")})).ok()
        assert (await chair.ask("nurse.b", f"/wastes/{rest['waste']}/witness")).code == "self-witnessed"

        # Live: a drug beside the infusion, by whom and on whose order; what is not known yet keeps the record open.
        await other.start()
        (await other.ask("nurse.a", "vitals", CALM.body())).ok()
        for change, pointer, code in (
            ({"drug": "two words"}, "/drug", "wrong-form"),
            ({"dose": quantity("0", "mg")}, "/dose/value", "zero"),
            ({"dose": {"value": "4"}}, "/dose/unit", "required"),
            ({"route": "arterial"}, "/route", "not-allowed"),
            ({"ordered_by": nurse}, "/ordered_by", "not-a-prescriber"),
            ({"given_by": chair.care.id("therapist.a")}, "/given_by", "not-a-nurse-or-prescriber"),
        ):
            refused = await other.ask("nurse.a", "rescue-drugs", ONDANSETRON | change)
            assert (refused.status, refused.body["errors"]) == (422, [{"pointer": pointer, "code": code}]), change
        future = (await other.stage.now() + dt.timedelta(minutes=1)).astimezone(dt.UTC).isoformat()
        assert (await other.ask("nurse.a", "rescue-drugs", {**ONDANSETRON, "at": future})).code == "in-the-future"
        assert (await other.ask("therapist.a", "rescue-drugs", ONDANSETRON)).status == 403
        assert await told(other, "rescue-drug-given") == []
        (await other.ask("nurse.a", "rescue-drugs", ONDANSETRON)).ok()
        assert "rescue-order" in await missing(other)
        page = (await other.care.call("nurse.b", "session_logging", "GET", f"{other.path}/handover")).ok()
        assert [(one["drug"], one["dose"], one["route"]) for one in page["rescue_drugs"]] == [
            ("ondansetron", "4 mg", "intravenous")
        ]
        wrong = await other.rows("select id::text from entry where session = $1 and kind = 'rescue-drug'", other.id)
        (await other.ask("nurse.a", f"/entries/{wrong[0][0]}/correction", {"reason": "It was 8 mg"})).ok()
        assert [one["entry"] for one in await told(other, "rescue-drug-in-error")] == [wrong[0][0]]
        right = {**ONDANSETRON, "dose": quantity("8", "mg"), "ordered_by": doctor}
        (await other.ask("nurse.a", "rescue-drugs", right)).ok()
        assert "rescue-order" not in await missing(other)
        assert [one["given_by"] for one in await told(other, "rescue-drug-given")] == [other.care.id("nurse.a")] * 2

        # What nobody could be asked is kept, and a prescriber has to look at it; what was done live stands.
        await other.minute(2)
        (await other.ask("nurse.a", "pause", {"reason": "other"})).ok()
        late = [
            {"kind": "rate", "at": at(other, 1), "rate": quantity("150.1", "mL/h")},
            {"kind": "pause", "at": at(other, 1.5), "reason": "other"},
        ]
        rows = (await other.ask("nurse.a", "paper-batches", {"rows": late})).ok()
        assert [(one["status"], [error["code"] for error in one["errors"]]) for one in rows["rows"]] == [
            ("accepted", []),
            ("refused", ["conflicting"]),
        ]
        assert rows["session"]["state"] == "paused"
        assert await other.rows("select cause from review where session = $1", other.id) == [("paper",)]
        # It is decided; then the set that the start was allowed on turns out to have been RED: one review, not two.
        review = await other.rows("select id::text from review where session = $1", other.id)
        (await other.ask("prescriber.a", f"/reviews/{review[0][0]}/decision", {"decision": "continue"})).ok()
        fed = await other.rows(
            "select id::text from entry where session = $1 and kind = 'vitals' order by at limit 1", other.id
        )
        values = {**CALM.body(cadss6=[0] * 6), "sbp": quantity("185", "mm[Hg]")}
        (await other.ask("nurse.a", f"/entries/{fed[0][0]}/correction", {"reason": "185, not 128", "values": values})).ok()
        assert await other.rows("select cause from review where session = $1 and decision is null", other.id) == [
            ("alert-red",)
        ]
