"""The controlled drug at a chair: drawn = given + wasted to a hundredth of a millilitre, before two people."""

import asyncio
from pathlib import Path

import pytest

from tests.support.chair import Chair, ml, quantity
from tests.support.room import room
from tests.support.servers import Servers

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(300)]


async def stands(chair: Chair) -> list[str]:
    """What keeps the ledger from being closed, by the code of the refusal."""
    answer = await chair.ask("nurse.a", "closure", {"ending": "aborted", "note": "Rescheduled"})
    return [one["code"] for one in answer.body["errors"]] if answer.code == "not-possible" else [answer.code]


async def test_what_is_drawn_is_the_dose_of_the_day_from_a_vial_that_has_not_expired(servers: Servers, tmp_path: Path) -> None:
    async with room(servers, tmp_path, patients=1, sessions=1) as (chair,):
        await chair.arrive()
        (await chair.ask("nurse.a", "facts", {"weight": quantity("82.0", "kg")})).ok()
        stock = {"strength": quantity("50", "mg/mL"), "bag": ml("100.00")}
        drawing = {**stock, "drawn": ml("1.00"), "into_bag": ml("0.82"), "vial": "V-1", "lot": "L-1", "expires": "2027-01-25"}
        assert (await chair.ask("nurse.a", "drug", drawing)).code == "dose-not-settled"
        (await chair.ask("nurse.a", "dose", stock)).ok()
        for change, code in (
            ({"expires": "2027-01-24"}, "drug-expired"),
            ({"strength": quantity("100", "mg/mL")}, "not-the-dose"),
            ({"into_bag": ml("0.83")}, "not-the-dose"),
            ({"bag": ml("99.99")}, "not-the-dose"),
            ({"drawn": ml("0.81")}, "not-the-dose"),
            ({"drawn": ml("1.005")}, "not-measurable"),
            ({"drawn": quantity("50", "mg")}, "invalid-body"),
            ({"lot": ""}, "invalid-body"),
        ):
            answer = await chair.ask("nurse.a", "drug", {**drawing, **change})
            assert (answer.code, answer.status in (409, 422)) == (code, True), change
        (await chair.ask("nurse.a", "drug", drawing)).ok()  # on its last day
        assert (await chair.ask("nurse.b", "drug", drawing)).code == "drug-drawn"
        drug = (await chair.record())["drug"]
        assert [drug[name] for name in ("vial", "lot", "expires", "strength", "drawn", "into_bag", "drawn_by")] == [
            "V-1",
            "L-1",
            "2027-01-25",
            "50 mg/mL",
            "1.00 mL",
            "0.82 mL",
            chair.care.id("nurse.a"),
        ]


async def test_a_hundredth_of_a_millilitre_blocks_and_a_witness_is_a_second_person(servers: Servers, tmp_path: Path) -> None:
    async with room(servers, tmp_path, patients=2, sessions=1) as (chair, started):
        await chair.arrive()
        await chair.prepare()
        assert (await chair.ask("nurse.a", "wastes", {"volume": ml("0.005")})).code == "not-measurable"
        assert (await chair.ask("nurse.a", "wastes", {"volume": ml("1.01")})).code == "more-than-drawn"
        nothing = await chair.ask("nurse.a", "wastes", {"volume": ml("0.00")})
        assert (nothing.status, nothing.body["errors"]) == (422, [{"pointer": "/volume/value", "code": "zero"}])
        # Not more than there is, in as many parts as anybody likes, seen or not, unless a part was none.
        part = (await chair.ask("nurse.b", "wastes", {"volume": ml("0.60")})).ok()["waste"]
        assert (await chair.ask("nurse.b", "wastes", {"volume": ml("0.60")})).code == "more-than-drawn"
        at_once = await asyncio.gather(*(chair.ask("nurse.b", "wastes", {"volume": ml("0.30")}) for _ in range(2)))
        assert sorted(one.status for one in at_once) == [201, 422], "0.90 of 1.00 mL are gone"
        for wrong in (part, next(one.body["waste"] for one in at_once if one.status == 201)):
            (await chair.ask("nurse.b", f"/wastes/{wrong}/error", {"reason": "Nothing was thrown away"})).ok()
        body = {"volume": ml("0.99"), "method": "rendered-irretrievable"}
        waste = (await chair.ask("nurse.b", "wastes", body)).ok()
        assert (waste["method"], waste["witness"]) == ("rendered-irretrievable", None)
        assert await stands(chair) == ["discrepancy"], "waste counts once it was witnessed"
        witness = f"/wastes/{waste['waste']}/witness"
        assert (await chair.ask("nurse.a", witness)).code == "self-witnessed", "nurse A drew it"
        assert (await chair.ask("nurse.b", witness)).code == "self-witnessed", "nurse B threw it away"
        assert (await chair.ask("therapist.a", witness)).status == 403, "a witness is a nurse or a prescriber"
        assert (await chair.ask(None, witness)).status == 401
        assert (await chair.ask("prescriber.a", witness)).ok()["witness"] == chair.care.id("prescriber.a")
        assert (await chair.ask("psychiatrist.a", witness)).code == "witnessed"
        assert await stands(chair) == ["discrepancy"], "0.01 mL is missing"
        await chair.waste("0.01", "prescriber.a")
        (await chair.ask("nurse.a", "closure", {"ending": "aborted", "note": "Rescheduled"})).ok()
        assert (await chair.ask("nurse.a", "wastes", {"volume": ml("0.01")})).code == "illegal-move", "balanced and closed"

        # Who has witnessed does not give, and who gives does not witness.
        await started.arrive()
        await started.prepare()
        await started.waste("0.18", "nurse.b")
        refused = await started.ask("nurse.b", "start")
        assert (refused.status, refused.code) == (403, "self-witnessed")
        (await started.ask("prescriber.a", "start")).ok()
        (await started.ask("prescriber.a", "end", {"pump_volume": ml("50.00")})).ok()
        assert (await started.ask("nurse.a", "wastes", {"volume": ml("0.42")})).code == "more-than-drawn", "0.41 were given"
        rest = (await started.ask("nurse.a", "wastes", {"volume": ml("0.41")})).ok()
        assert (await started.ask("prescriber.a", f"/wastes/{rest['waste']}/witness")).code == "self-witnessed"
        (await started.ask("nurse.b", f"/wastes/{rest['waste']}/witness")).ok()
        # Interrupted: given is what the pump reported, 41.0 mg x 50 of 100 mL.
        given = await started.rows(
            "select convert_from(body, 'UTF8')::jsonb #>> '{data,given,value}' from outbox where type like '%infusion-ended%'"
        )
        assert given == [("20.50",)]


async def test_who_walks_out_leaves_a_ledger_that_calls_until_it_balances(servers: Servers, tmp_path: Path) -> None:
    async with room(servers, tmp_path, patients=1, sessions=1) as (chair,):
        await chair.start()
        (await chair.ask("nurse.a", "stop", {})).ok()
        assert (await chair.ask("nurse.a", "closure", {"ending": "eloped"})).ok()["state"] == "closed"
        await chair.stage.settle()
        [(review,)] = await chair.rows("select id from review where cause = 'alert-red'")
        (await chair.ask("prescriber.a", f"/reviews/{review}/decision", {"decision": "continue"})).ok()
        page = "select status from page where code = 'session.drug-unaccounted'"
        assert await chair.rows(page) == [("open",)]
        assert (await chair.record())["totals"]["pump"] == "unknown", "what nobody has read agrees with nothing"
        unread = {"pump_volume": ml("4.0"), "reason": "Nothing was read yet"}
        assert (await chair.ask("nurse.a", "pump-volume-corrections", unread)).code == "pump-not-read"
        assert (await chair.ask("nurse.a", "pump-volume", {"pump_volume": ml("10.0")})).ok()["pump_volume"] == "10.0 mL"
        assert await chair.rows(page) == [("open",)]
        await chair.waste("0.73")
        assert await chair.rows(page) == [("open",)], "0.08 mL given + 0.18 + 0.73 wasted of 1.00 mL"
        await chair.waste("0.01")
        assert await chair.rows(page) == [("acknowledged",)]
        assert (await chair.ask("nurse.a", "wastes", {"volume": ml("0.01")})).code == "illegal-move"
        assert (await chair.ask("nurse.a", "pump-volume", {"pump_volume": ml("10.0")})).code == "pump-read"

        # What the pump reports is no more than a figure: 10 mL where 150 mL/h have run for seconds is flagged, not corrected.
        first = (await chair.record())["totals"]
        assert (first["pump_volume"], first["given"], first["given_per_kg"]) == ("10.0 mL", "4.00 mg", "0.049 mg/kg")
        assert (float(first["by_rate"].split()[0]) < 2, first["pump"]) == (True, "differs")
        wrong: dict[str, object] = {"pump_volume": ml("4.0"), "reason": "canary-9137: read off the pump of chair 2"}
        for change, code in (
            ({"pump_volume": ml("100.1")}, "more-than-the-bag"),
            ({"pump_volume": quantity("4.0", "mg")}, "invalid-body"),
            ({"reason": ""}, "invalid-body"),
        ):
            answer = await chair.ask("nurse.a", "pump-volume-corrections", wrong | change)
            assert (answer.status, answer.code) == (422, code)
        assert (await chair.ask("therapist.a", "pump-volume-corrections", wrong)).status == 403
        assert (await chair.record())["totals"] == first, "what is refused changes nothing"
        # Corrected: both figures stay, totals and flag follow, and the ledger that was closed on the wrong one calls again.
        assert (await chair.ask("nurse.b", "pump-volume-corrections", wrong)).ok()["pump_volume"] == "4.0 mL"
        shown = await chair.record()
        assert (shown["totals"]["given"], shown["totals"]["pump"]) == ("1.50 mg", "agrees")
        said = {one["kind"]: one["data"] for one in shown["entries"]}
        assert said["pump-volume"]["pump_volume"] == "10.0 mL"
        assert said["pump-corrected"] == {"from": "10.0 mL", "pump_volume": "4.0 mL", "reason": wrong["reason"]}
        assert await chair.rows(page) == [("acknowledged",), ("open",)]
        assert await chair.rows("select cause from review where decision is null") == [("correction",)]
        given = "select convert_from(body, 'UTF8')::jsonb #>> '{data,given,value}' from outbox where type like $1 order by id"
        assert await chair.rows(given, "%infusion-ended%") == [("4.00",), ("1.50",)]
        # What was witnessed by mistake stays, too, and counts no longer; the rest of the vial is thrown away anew.
        wastes = await chair.rows("select id from waste where volume = '0.73 mL'")
        error = f"/wastes/{wastes[0][0]}/error"
        assert (await chair.ask("nurse.a", error, {"reason": ""})).code == "invalid-body"
        assert (await chair.ask("nurse.a", error, {"reason": "0.78 mL were left"})).ok()["error_reason"] == "0.78 mL were left"
        assert (await chair.ask("nurse.a", error, {"reason": "Once more"})).code == "entered-in-error"
        assert (await chair.ask("nurse.b", f"/wastes/{wastes[0][0]}/witness")).code == "entered-in-error"
        assert await chair.rows(page) == [("acknowledged",), ("open",)]
        await chair.waste("0.78")
        assert await chair.rows(page) == [("acknowledged",), ("acknowledged",)]
        drug = (await chair.record())["drug"]
        assert [(one["volume"], one["error_reason"]) for one in drug["wastes"]] == [
            ("0.18 mL", None),
            ("0.73 mL", "0.78 mL were left"),
            ("0.01 mL", None),
            ("0.78 mL", None),
        ]
        await chair.stage.settle()
        assert not [row for row in await chair.rows("select body from outbox") if b"canary-9137" in bytes(row[0])]
